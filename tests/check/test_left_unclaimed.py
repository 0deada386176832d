"""What a run leaves unclaimed at its end, and what it saves late: traces made by hand.

Most are of right engines that look wrong at first (STOP-07, STOP-08, CKPT-19, CKPT-22).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest

from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits, Limits
from cellspec.check.checker import Checker
from cellspec.machine.limits import FailurePolicy, SavePolicy
from cellspec.trace import Event, header_for

T = ExecutionTraits
A = ColumnDescriptor("a")
B = ColumnDescriptor("b", dependencies=["a"])
K = ColumnDescriptor("b", dependencies=["a"], may_skip=True)
ORDERED = ColumnDescriptor("o", dependencies=["a"], traits=T.ROW_STREAMABLE | T.ORDERED)
X = ColumnDescriptor("x", dependencies=["o"])
G = ColumnDescriptor("g", dependencies=["a"], traits=T.BARRIER)
OB = ColumnDescriptor("g", dependencies=["a"], traits=T.BATCH_BARRIER | T.ORDERED)
ST = ColumnDescriptor("s", dependencies=["a"], traits=T.ROW_STREAMABLE)

TABLES = (
    *("core", "retries", "drops", "skips", "resume", "interrupts", "early_stop", "prompt_saving"),
    *("lost_workers", "filters", "cache"),
)
SETS = (*TABLES, "set_claims", "commits")
R1 = SavePolicy(rows=1)
STOPS = "start a 1; made a 0; 1; fail a 1 failure=permanent; drop a 1"
FAILED_CLAIM = 'made a 0; durable 0; checkpoint_begin claim={"a":1}; checkpoint_failed'
BEHIND_A_GAP = "start a 0; made a 1 2; durable 2"
THE_GAP_CLOSES = "fail a 0 failure=permanent; drop a 0; stop_requested; end outcome=interrupted"
CLAIMED_ONCE = (
    'made a 0; durable 0; checkpoint_begin claim={"a":1}; checkpoint_durable; crash; '
    'resume claim={"a":1}; made a 1; durable 1'
)


def events_of(steps: str) -> Iterator[dict[str, Any]]:
    """Events with times, each from its kind, column, rows and other fields.

    A number is the time from there on. `made` cells start and then complete, and `saved` ones are
    committed one by one.
    """
    t, number = 0.0, 0
    for step in steps.split("; "):
        kind, *words = step.split()
        if kind.isdigit():
            t = float(kind)
            continue
        each = [step]
        if kind in ("made", "saved"):
            column = "" if words[0].isdigit() else words.pop(0)
            each = [f"{kind} {column} {row}" for kind in ("start", "complete") for row in words]
            if kind == "saved":
                each = [x for row in words for x in (f"commit_begin {column} {row}", "committed")]
        for one in each:
            number += 1
            yield {"seq": number, "t": t, **fields(one)}


def fields(step: str) -> dict[str, Any]:
    """The fields of one event."""
    kind, *words = step.split()
    found: dict[str, Any] = {"event": kind}
    for word in words:
        name, _, value = word.partition("=")
        if value:
            found[name] = json.loads(value) if value[0] in "0123456789[{" else value
        elif word[0].isdigit():
            start, _, stop = word.partition(":")
            found["rows"] = (int(start), int(stop)) if stop else int(start)
        else:
            found["column"] = word
    return found


def broken(
    columns: Sequence[ColumnDescriptor],
    rows: int,
    steps: str,
    *,
    claims: Sequence[str] = SETS,
    version: int | None = None,
    batch: int | None = None,
    **header: Any,
) -> str:
    """The clause that a trace breaks, or ""."""
    checker = Checker(
        header_for(
            ExecutionGraph(rows, columns, batch_size=batch),
            engine="hand",
            version="1",
            claims=claims,
            claim_version=version,
            **header,
        )
    )
    for event in events_of(steps):
        found = checker.feed(msgspec.convert(event, Event))
        if found is not None:
            return found.clause
    return ""


ASKED: dict[str, Any] = {
    "idle_s": 9.0,
    "claims": ("core", "resume", "interrupts"),
    "version": 1,
}
"""An engine of whole rows that resumes, may be asked to stop, and may take its time."""


def case(
    name: str,
    columns: Sequence[ColumnDescriptor],
    rows: int,
    steps: str,
    clause: str,
    **header: Any,
) -> Any:
    """A trace, and the clause that it breaks; "" for a right one."""
    return pytest.param(columns, rows, steps, clause, header, id=name.replace(" ", "-"))


CASES = [
    case(
        "a table has a finished row behind a gap",
        [A],
        3,
        "made a 0 2; durable 0; durable 2; stop_requested; end outcome=interrupted",
        "",
        claims=TABLES,
    ),
    case(
        "a whole row waits for its turn",
        [A, ORDERED, X],
        3,
        "made a 0 1; made o 0; made o 1; made x 1; stop_requested; end outcome=interrupted",
        "",
    ),
    case(
        "an input was lost",
        [A, B],
        2,
        "made a 0; made b 0; worker_lost; stop_requested; lose a 0; end outcome=interrupted",
        "",
        claims=(*SETS, "column_checkpoints"),
    ),
    case(
        "an input of a whole row was lost",
        [A, B],
        2,
        "made a 0; made b 0; worker_lost; stop_requested; lose a 0; end outcome=interrupted",
        "",
    ),
    case(
        "a commit failed",
        [A],
        2,
        "made a 0; commit_begin 0; commit_failed; stop_requested; end outcome=interrupted",
        "",
    ),
    case(
        "a commit failed and a later one landed",
        [A],
        3,
        "made a 0 1; commit_begin 0; commit_failed; saved 1; stop_requested; "
        "end outcome=interrupted",
        "STOP-07",
    ),
    case(
        "a write failed of a row whose turn came later",
        [A],
        3,
        f"{BEHIND_A_GAP}; write_begin 1; checkpoint_failed; 1; {THE_GAP_CLOSES}",
        "",
        claims=TABLES,
    ),
    case(
        "a row whose turn came later was never written",
        [A],
        3,
        f"{BEHIND_A_GAP}; 1; {THE_GAP_CLOSES}",
        "STOP-07",
        claims=TABLES,
    ),
    case(
        "a write failed of a row whose turn came later, and storage works again",
        [A],
        3,
        f"{BEHIND_A_GAP}; write_begin 1; checkpoint_failed; 1; durable 2; {THE_GAP_CLOSES}",
        "STOP-07",
        claims=TABLES,
    ),
    case(
        "a process has nothing left to do",
        [A],
        2,
        'made a 0 1; saved 0 1; crash; resume claim={"a":2}; end outcome=success',
        "",
    ),
    case(
        "storage is left alone after a save that failed, until the policy asks again",
        [A],
        4,
        'start a 2; start a 3; made a 0 1; durable 0:2; checkpoint_begin claim={"a":2}; 1; '
        "checkpoint_failed; 2; complete a 2; 5; complete a 3; durable 0:4; "
        'checkpoint_begin claim={"a":4}; 6; checkpoint_durable; end outcome=success',
        "",
        saving=SavePolicy(rows=2),
    ),
    case(
        "storage is left alone though the policy asks again",
        [A],
        4,
        'start a 2; start a 3; made a 0 1; durable 0:2; checkpoint_begin claim={"a":2}; 1; '
        "checkpoint_failed; 2; complete a 2; 5; complete a 3; 6; durable 0:4; "
        'checkpoint_begin claim={"a":4}',
        "CKPT-19",
        saving=SavePolicy(rows=2),
    ),
    case(
        "the engine pauses after a save that failed, and saves when the pause is over",
        [A],
        4,
        'made a 0 1; start a 2; durable 0:2; checkpoint_begin claim={"a":2}; 1; '
        "checkpoint_failed; pause until=9; 2; complete a 2; 9; durable 0:3; "
        'checkpoint_begin claim={"a":3}; checkpoint_durable; made a 3; saved 3; '
        "end outcome=success",
        "",
        saving=R1,
    ),
    case(
        "a pause after a save that failed is over, and nothing is saved",
        [A],
        4,
        'made a 0 1; start a 2; start a 3; durable 0:2; checkpoint_begin claim={"a":2}; 1; '
        "checkpoint_failed; pause until=9; 2; complete a 2; 10; complete a 3",
        "CKPT-19",
        saving=R1,
    ),
    case(
        "a pause after a call that failed is no excuse to save late",
        [A],
        4,
        "start a 0; start a 1; start a 2; 1; fail a 0 failure=backpressure; pause until=9; "
        "complete a 1; saved 1; 2; complete a 2; 3; saved 2",
        "CKPT-19",
        saving=R1,
    ),
    case(
        "a save that failed is tried again after the seconds of the policy",
        [A],
        3,
        'start a 2; made a 0 1; 2; durable 0:2; checkpoint_begin claim={"a":2}; 3; '
        'checkpoint_failed; 5; durable 0:2; checkpoint_begin claim={"a":2}; '
        'checkpoint_durable; 9; complete a 2; durable 2; checkpoint_begin claim={"a":3}; '
        "checkpoint_durable; end outcome=success",
        "",
        saving=SavePolicy(seconds=2.0),
    ),
    case(
        "a save that failed is not tried again after the seconds of the policy",
        [A],
        3,
        'start a 2; made a 0 1; 2; durable 0:2; checkpoint_begin claim={"a":2}; 3; '
        'checkpoint_failed; 6; complete a 2; durable 0:2; checkpoint_begin claim={"a":2}',
        "CKPT-19",
        saving=SavePolicy(seconds=2.0),
    ),
    case(
        "more rows are asked for",
        [A],
        2,
        'made a 1; saved 1; crash; resume claim={"a":[[1,2]]} records=4; made a 3 0 2; '
        "saved 3 0 2; 3; end outcome=success",
        "",
        saving=R1,
    ),
    case(
        "more rows are asked for and saved late",
        [A],
        2,
        'made a 1; saved 1; crash; resume claim={"a":[[1,2]]} records=4; start a 0; '
        "start a 2; made a 3; 3; complete a 0",
        "CKPT-19",
        saving=R1,
    ),
    case(
        "fewer rows are asked for",
        [A],
        4,
        'made a 1; saved 1; crash; resume claim={"a":[[1,2]]} records=2; made a 0; '
        "saved 0; 3; end outcome=success",
        "",
        saving=R1,
    ),
    case(
        "rows finish while storage is busy",
        [A],
        4,
        "start a 0; start a 1; start a 2; start a 3; 1; complete a 2; commit_begin 2; 2; "
        "complete a 1; 3; complete a 3; 4; committed; saved 1; commit_begin 3; 6; "
        "committed; complete a 0; commit_begin 0; 7; committed; end outcome=success",
        "",
        saving=R1,
    ),
    case(
        "a row is dropped",
        [A, B],
        3,
        "start a 0; made a 1; 1; fail a 0 failure=permanent; drop a 0; saved 0; "
        "made b 1; saved 1; start a 2; 2; complete a 2; start b 2; 3; complete b 2; "
        "saved 2; 4; end outcome=success",
        "",
        saving=R1,
    ),
    case(
        "a row is filtered",
        [A, B],
        2,
        "start a 0; start a 1; 1; complete a 1 rejected=[[1,2]]; "
        "drop a 1 cause=filtered; saved 1; 2; complete a 0; made b 0; saved 0; 3; "
        "end outcome=success",
        "",
        saving=R1,
    ),
    case(
        "a filtered row is recorded late",
        [A],
        2,
        "start a 0; start a 1; 1; complete a 1 rejected=[[1,2]]; 2; complete a 0; "
        "drop a 1 cause=filtered; saved 0 1; 3; end outcome=success",
        "",
        saving=R1,
    ),
    case(
        "output of a barrier comes row by row",
        [A, G],
        3,
        "start a 0; start a 1; start a 2; 1; complete a 1; saved a 1; 2; complete a 0; "
        "complete a 2; saved a 0 2; start g scope=0; 3; complete g scope=0; emit g 2; "
        "saved g 2; emit g 0:2; saved g 0 1; 4; end outcome=success",
        "",
        saving=R1,
    ),
    case(
        "output of a barrier is saved late",
        [A, G],
        3,
        "made a 0 1 2; start g scope=0; 3; complete g scope=0; emit g 2; emit g 0:2; 4; "
        "saved 0 1 2",
        "CKPT-19",
        saving=R1,
    ),
    case(
        "row groups finish out of order",
        [A],
        5,
        "admit 0:2; admit 2:4; admit 4:5; start a 0; start a 1; start a 2; start a 3; "
        "start a 4; 1; complete a 4; saved 4; retire 4:5; 2; complete a 3; complete a 2; "
        "saved 2 3; retire 2:4; 3; complete a 0; 4; complete a 1; saved 0 1; retire 0:2; "
        "5; end outcome=success",
        "",
        saving=SavePolicy(group=True),
        limits=Limits(group_rows=2),
    ),
    case(
        "a save comes when its seconds are over",
        [A],
        3,
        "start a 0; start a 1; start a 2; 1; complete a 2; 3; saved 2; complete a 1; 5; "
        "commit_begin 1; complete a 0; 9; committed; saved 0; end outcome=success",
        "",
        saving=SavePolicy(seconds=2.0),
    ),
    case(
        "one file after the other is written, of one row each, while storage is busy",
        [A],
        3,
        "start a 0; start a 1; start a 2; 1; complete a 0; commit_begin 0; complete a 1; "
        "complete a 2; 2; committed; commit_begin 1; 3; committed; commit_begin 2; 4; committed; "
        "end outcome=success",
        "",
        saving=R1,
    ),
    case(
        "data that is durable is not claimed while other data is written",
        [A],
        4,
        "start a 0; start a 1; start a 2; start a 3; 1; complete a 0; write_begin 0; 2; "
        "durable 0; complete a 1; write_begin 1; 3; durable 1; complete a 2; write_begin 2; 4; "
        "complete a 3",
        "CKPT-19",
        saving=R1,
    ),
    case(
        "a row that finished while storage was busy waits for its seconds again",
        [A],
        3,
        "start a 0; start a 1; start a 2; 1; complete a 2; 3; saved 2; complete a 1; 5; "
        "commit_begin 1; complete a 0; 9; committed; 11; saved 0; end outcome=success",
        "CKPT-19",
        saving=SavePolicy(seconds=2.0),
    ),
    case(
        "commits overlap",
        [A],
        3,
        "start a 0; start a 1; start a 2; 1; complete a 2; commit_begin 2 commit=1; "
        "complete a 1; commit_begin 1 commit=2; 2; committed commit=2; complete a 0; "
        "commit_begin 0 commit=3; 3; committed commit=1; 4; committed commit=3; "
        "end outcome=success",
        "",
        saving=R1,
    ),
    case(
        "nothing is done",
        [A],
        3,
        "stop_requested; end outcome=interrupted",
        "",
    ),
    case(
        "nobody resumes from the table",
        [A],
        3,
        "made a 0 1; durable 0; stop_requested; end outcome=interrupted",
        "",
        claims=("core", "interrupts"),
    ),
    case(
        "a column is ahead of whole rows",
        [A, B],
        3,
        'made a 0 1; made b 0; durable 0; checkpoint_begin claim={"a":1,"b":1}; '
        "checkpoint_durable; stop_requested; end outcome=interrupted",
        "",
        claims=(*TABLES, "column_checkpoints"),
        version=1,
    ),
    case(
        "a column is ahead and could be claimed",
        [A, B],
        3,
        'made a 0 1; made b 0; durable 0; checkpoint_begin claim={"a":1,"b":1}; '
        "checkpoint_durable; stop_requested; end outcome=interrupted",
        "STOP-07",
        claims=(*TABLES, "column_checkpoints"),
        version=2,
    ),
    case(
        "a claim of one column shows the kind",
        [A, B],
        3,
        "made a 0 1; saved a 0; stop_requested; end outcome=interrupted",
        "STOP-07",
    ),
    case(
        "half a row cannot be claimed",
        [A, B],
        3,
        "made a 0 1; made b 1; saved 1; stop_requested; end outcome=interrupted",
        "",
    ),
    case(
        "time is real",
        [A],
        3,
        "start a 0; start a 1; made a 2; 9; complete a 0",
        "",
        saving=R1,
        clock="real",
    ),
    case(
        "a lost cell is made again",
        [A, B],
        2,
        "start a 0; start a 1; 1; complete a 1; worker_lost; lose a 1; start a 1; 2; "
        "complete a 1; start b 1; 3; complete b 1; saved 1; complete a 0; made b 0; "
        "saved 0; 4; end outcome=success",
        "",
        saving=R1,
    ),
    case(
        "a whole row is lost at once",
        [A, B],
        2,
        "start a 0; start a 1; 1; complete a 1; start b 1; 2; complete b 1; worker_lost; "
        "lose b 1; lose a 1; start a 1; 3; complete a 1; start b 1; 4; complete b 1; "
        "saved 1",
        "",
        saving=R1,
    ),
    case(
        "a barrier is lost and runs again",
        [A, G],
        2,
        "made a 0 1; saved a 0 1; start g scope=0; 1; complete g scope=0; emit g 0; "
        "saved g 0; emit g 1; worker_lost; lose g scope=0; start g scope=0; 2; "
        "complete g scope=0; emit g 1; saved g 1; 3; end outcome=success",
        "",
        saving=R1,
    ),
    case(
        "a barrier is lost at the end",
        [A, G],
        2,
        "made a 0 1; saved a 0 1; start g scope=0; 1; complete g scope=0; emit g 0; "
        "saved g 0; emit g 1; worker_lost; stop_requested; lose g scope=0; "
        "end outcome=interrupted",
        "",
    ),
    case(
        "claims and commits take turns",
        [A],
        4,
        "start a 0; start a 1; start a 2; start a 3; 1; complete a 3; saved 3; 2; "
        'complete a 1; durable 1; checkpoint_begin claim={"a":[[1,2],[3,4]]}; 3; '
        "checkpoint_durable; complete a 0; saved 0; 4; complete a 2; saved 2; 5; "
        "end outcome=success",
        "",
        saving=R1,
    ),
    case(
        "a commit ends before a claim that began earlier",
        [A],
        3,
        "start a 0; start a 1; start a 2; 1; complete a 2; durable 2; "
        'checkpoint_begin claim={"a":[[2,3]]}; complete a 1; commit_begin 1; 2; '
        "committed; 3; checkpoint_durable; complete a 0; saved 0; 4; "
        "end outcome=success",
        "",
        saving=R1,
    ),
    case(
        "a cell is committed twice",
        [A],
        3,
        "start a 0; start a 1; start a 2; 1; complete a 2; saved 2 2; 2; complete a 1; "
        "3; complete a 0; saved 0 1",
        "CKPT-19",
        saving=R1,
    ),
    case(
        "a batch in order has half of its output",
        [A, OB],
        4,
        "made a 0 1 2 3; saved a 0 1 2 3; start g scope=0; 1; complete g scope=0; "
        "emit g 1; stop_requested; end outcome=interrupted",
        "",
        batch=2,
    ),
    case(
        "a commit that failed had landed",
        [A],
        2,
        'made a 0 1; commit_begin 0:2; commit_failed; crash; resume claim={"a":2}; '
        "end outcome=success",
        "",
    ),
    case(
        "a dropped row is not claimed",
        [A],
        3,
        "start a 1; made a 0; saved 0; 1; fail a 1 failure=permanent; drop a 1; stop; "
        "end outcome=stopped",
        "STOP-08",
        failures=FailurePolicy(1, 1, 1.0),
    ),
    case(
        "a run is asked for no claims",
        [A],
        3,
        "made a 0 1; durable 0:2; stop_requested; end outcome=interrupted",
        "",
        version=0,
    ),
    case(
        "no whole row is finished",
        [A, B],
        3,
        "made a 0; stop_requested; end outcome=interrupted",
        "",
        version=1,
    ),
    case(
        "nobody resumes after an early stop",
        [A],
        3,
        "start a 2; made a 0 1; durable 0; 1; fail a 2 failure=permanent; drop a 2; "
        "stop; end outcome=stopped",
        "",
        claims=("core", "early_stop", "drops"),
        failures=FailurePolicy(1, 1, 1.0),
    ),
    case(
        "a row is skipped",
        [A, K],
        3,
        "start a 0; start a 1; start a 2; 1; complete a 1; skip b 1; saved 1; 2; "
        "complete a 0; complete a 2; skip b 0; saved 0; made b 2; saved 2; 3; "
        "end outcome=success",
        "",
        saving=R1,
    ),
    case(
        "a skipped row is saved late",
        [A, K],
        3,
        "start a 0; start a 1; start a 2; 1; complete a 1; skip b 1; 2; complete a 0",
        "CKPT-19",
        saving=R1,
    ),
    case(
        "half a commit saves no row",
        [A, B],
        2,
        "start a 0; made a 1; 1; saved a 1; durable a 1; made b 1; durable b 1; 2; crash",
        "CKPT-19",
        saving=R1,
    ),
    case(
        "a recalled cell ends a row",
        [A, B],
        3,
        'start a 0; made a 1; durable a 1; 1; crash; resume claim={"a":0,"b":0}; '
        "recall a 1; start b 1; start a 0; start a 2; 2; complete b 1; saved 1; 3; "
        "complete a 0; complete a 2; made b 0 2; saved 0 2; 4; end outcome=success",
        "",
        saving=R1,
    ),
    case(
        "a range gives rows out of order",
        [A, ST],
        4,
        "made a 0 1 2 3; start s 0:4; 1; complete s 1; saved 1; 2; complete s 3; "
        "saved 3; 3; complete s 0; complete s 2; saved 0 2; 4; end outcome=success",
        "",
        saving=R1,
    ),
    case(
        "whole rows were asked for and sets come",
        [A],
        3,
        "made a 2; saved 2; stop_requested; end outcome=interrupted",
        "",
        version=1,
    ),
    case(
        "whole rows were asked for and a set could be claimed",
        [A],
        3,
        "made a 2 1; saved 2; stop_requested; end outcome=interrupted",
        "STOP-07",
        version=1,
    ),
    case(
        "set claims by column",
        [A, B],
        3,
        "start a 0; start a 2; made a 1; 1; durable a 1; "
        'checkpoint_begin claim={"a":[[1,2]],"b":0}; checkpoint_durable; made b 1; '
        'durable b 1; checkpoint_begin claim={"a":[[1,2]],"b":[[1,2]]}; '
        "checkpoint_durable; 2; complete a 0",
        "",
        saving=R1,
    ),
    case(
        "a drop of a row group is not recorded yet",
        [A],
        4,
        "admit 0:2; admit 2:4; start a 0; start a 1; made a 3; start a 2; 1; "
        "fail a 2 failure=permanent; 2; drop a 2; saved 2 3; complete a 0",
        "",
        saving=SavePolicy(group=True),
        limits=Limits(group_rows=2),
    ),
    case(
        "a dropped row has no row in the table",
        [A],
        4,
        "start a 1; made a 0 2; durable 0; durable 2; 1; fail a 1 failure=permanent; "
        "drop a 1; stop_requested; end outcome=interrupted",
        "",
        claims=TABLES,
    ),
    case(
        "a drop is claimed whole",
        [A, B],
        3,
        "start a 0; start a 2; made a 1; saved a 1; start b 1; 1; "
        "fail b 1 failure=permanent; drop b 1; saved b 1; crash; "
        'resume claim={"a":[[1,2]],"b":[[1,2]]} dropped=[[1,2]]; start a 0; start a 2; '
        "2; complete a 0",
        "",
        saving=R1,
    ),
    case(
        "a drop is not on storage",
        [A, B],
        3,
        "start a 0; start a 2; made a 1; saved a 1; start b 1; 1; "
        'fail b 1 failure=permanent; drop b 1; crash; resume claim={"a":[[1,2]],"b":0}; '
        "start a 0; start a 2; 2; complete a 0",
        "",
        saving=R1,
    ),
    case(
        "a commit is open at the end",
        [A],
        2,
        "made a 0; commit_begin 0; stop_requested; end outcome=interrupted",
        "STOP-07",
    ),
    case(
        "rows could not be written",
        [A],
        3,
        "made a 0; write_begin 0; checkpoint_failed; stop_requested; end outcome=interrupted",
        "",
    ),
    case(
        "rows were written again and not claimed",
        [A],
        3,
        "made a 0; write_begin 0; checkpoint_failed; durable 0; stop_requested; "
        "end outcome=interrupted",
        "STOP-07",
    ),
    case(
        "a filtered row is not claimed",
        [A],
        2,
        "start a 0; complete a 0 rejected=[[0,1]]; drop a 0 cause=filtered; "
        "stop_requested; end outcome=interrupted",
        "STOP-07",
    ),
    case(
        "a barrier was not started",
        [A, G],
        2,
        "made a 0 1; saved a 0 1; stop_requested; end outcome=interrupted",
        "",
    ),
    case(
        "a column is ahead in a table",
        [A, B],
        3,
        "made a 0 1; durable a 0:2; made b 0; durable b 0; stop_requested; end outcome=interrupted",
        "",
        claims=TABLES,
    ),
    case(
        "a failure leaves what an early stop saves",
        [A],
        3,
        f"{STOPS}; stop; end outcome=failed",
        "STOP-08",
        claims=("core", "resume", "drops", "early_stop"),
        version=1,
        failures=FailurePolicy(1, 1, 1.0),
    ),
    case(
        "a failure leaves what a due early stop saves",
        [A],
        3,
        f"{STOPS}; end outcome=failed",
        "STOP-08",
        claims=("core", "resume", "drops", "early_stop"),
        version=1,
        failures=FailurePolicy(1, 1, 1.0),
    ),
    case(
        "a failure saves what an early stop saves",
        [A],
        3,
        f'{STOPS}; stop; durable 0:2; checkpoint_begin claim={{"a":2}}; checkpoint_durable; '
        "end outcome=failed",
        "",
        claims=("core", "resume", "drops", "early_stop"),
        version=1,
        failures=FailurePolicy(1, 1, 1.0),
    ),
    case(
        "storage fails at an early stop",
        [A],
        3,
        f'{STOPS}; stop; durable 0:2; checkpoint_begin claim={{"a":2}}; checkpoint_failed; '
        "end outcome=failed",
        "",
        claims=("core", "resume", "drops", "early_stop"),
        version=1,
        failures=FailurePolicy(1, 1, 1.0),
    ),
    case(
        "an engine without drops ends with its row at an early stop",
        [A],
        3,
        "made a 0; start a 1; start a 2; durable 0; "
        'checkpoint_begin claim={"a":1}; checkpoint_durable; 1; fail a 1 failure=permanent; '
        "end outcome=failed",
        "",
        claims=("core", "resume", "early_stop"),
        version=1,
        failures=FailurePolicy(1, 2, 0.5),
    ),
    case(
        "an engine without drops loses what it finished at an early stop",
        [A],
        3,
        "made a 0; start a 1; 1; fail a 1 failure=permanent; end outcome=failed",
        "STOP-08",
        claims=("core", "resume", "early_stop"),
        version=1,
        failures=FailurePolicy(1, 2, 0.5),
    ),
    case(
        "a failure leaves a call in flight at an early stop",
        [A],
        3,
        "start a 2; start a 0; 1; fail a 0 failure=permanent; drop a 0; stop; durable 0; "
        'checkpoint_begin claim={"a":1}; checkpoint_durable; end outcome=failed',
        "STOP-09",
        claims=("core", "resume", "drops", "early_stop"),
        version=1,
        failures=FailurePolicy(1, 1, 1.0),
    ),
    case(
        "a claim that failed excuses what it held",
        [A],
        4,
        f"{FAILED_CLAIM}; 2; stop_requested; end outcome=interrupted",
        "",
        **ASKED,
    ),
    case(
        "a claim that failed excuses nothing finished later",
        [A],
        4,
        f"{FAILED_CLAIM}; made a 1; 2; stop_requested; end outcome=interrupted",
        "STOP-07",
        **ASKED,
    ),
    case(
        "a claim fails to the end",
        [A],
        4,
        f'{FAILED_CLAIM}; made a 1; 2; durable 1; checkpoint_begin claim={{"a":2}}; '
        "checkpoint_failed; stop_requested; end outcome=interrupted",
        "",
        **ASKED,
    ),
    case(
        "storage works again after a claim that failed",
        [A],
        4,
        f"{FAILED_CLAIM}; 2; durable 0; stop_requested; end outcome=interrupted",
        "STOP-07",
        **ASKED,
    ),
    case(
        "rows that failed excuse what was finished",
        [A],
        4,
        "made a 0; checkpoint_failed; 2; stop_requested; end outcome=interrupted",
        "",
        **ASKED,
    ),
    case(
        "rows that failed excuse nothing finished later",
        [A],
        4,
        "made a 0; checkpoint_failed; made a 1; 2; stop_requested; end outcome=interrupted",
        "STOP-07",
        **ASKED,
    ),
    case(
        "a commit that failed excuses its own rows",
        [A],
        4,
        "made a 0 2; commit_begin 0; commit_failed; 2; stop_requested; end outcome=interrupted",
        "STOP-07",
        idle_s=9.0,
        claims=SETS,
    ),
    case(
        "commits fail to the end",
        [A],
        4,
        "made a 0 2; commit_begin 0; commit_failed; commit_begin 2; commit_failed; 2; "
        "stop_requested; end outcome=interrupted",
        "",
        idle_s=9.0,
        claims=SETS,
    ),
    case(
        "a table that failed misses what was finished later",
        [A],
        4,
        "made a 0; durable 0; made a 1; checkpoint_failed; made a 2; 2; stop_requested; "
        "end outcome=interrupted",
        "STOP-07",
        idle_s=9.0,
        claims=("core", "resume", "interrupts"),
    ),
    case(
        "a resumed process claims no more",
        [A],
        2,
        f"{CLAIMED_ONCE}; end outcome=success",
        "CKPT-22",
        claims=("core", "resume"),
    ),
    case(
        "a resumed process claims again",
        [A],
        2,
        f'{CLAIMED_ONCE}; checkpoint_begin claim={{"a":2}}; checkpoint_durable; '
        "end outcome=success",
        "",
        claims=("core", "resume"),
    ),
    case(
        "a resumed process has nothing left to claim",
        [A],
        1,
        'made a 0; durable 0; checkpoint_begin claim={"a":1}; checkpoint_durable; crash; '
        'resume claim={"a":1}; end outcome=success',
        "",
        claims=("core", "resume"),
    ),
    case(
        "a table is resumed from without claims",
        [A],
        2,
        'made a 0; durable 0; crash; resume claim={"a":0}; made a 0 1; durable 0:2; '
        "end outcome=success",
        "",
        claims=("core", "resume"),
    ),
    case(
        "claims by column are asked for and none comes",
        [A],
        1,
        "made a 0; durable 0; end outcome=success",
        "CKPT-22",
        claims=("core", "resume", "column_checkpoints"),
        version=2,
    ),
]


@pytest.mark.clause("STOP-07", "STOP-08", "CKPT-19", "CKPT-22")
@pytest.mark.parametrize(("columns", "rows", "steps", "clause", "header"), CASES)
def test_a_trace_is_blamed_for_what_it_could_have_claimed_and_for_nothing_else(
    columns: Sequence[ColumnDescriptor],
    rows: int,
    steps: str,
    clause: str,
    header: dict[str, Any],
) -> None:
    assert broken(columns, rows, steps, **header) == clause


@pytest.mark.parametrize(
    ("outcome", "before", "kind", "left_open"),
    [
        ("interrupted", "stop_requested", None, ["STOP-07"]),
        ("stopped", "start a 1; fail a 1 failure=permanent; drop a 1; stop", None, ["STOP-08"]),
        ("interrupted", "durable 0; stop_requested", None, []),
        ("interrupted", "stop_requested", 0, []),
    ],
)
@pytest.mark.clause("STOP-07", "STOP-08")
def test_a_trace_says_if_nobody_knows_what_it_had_to_claim(
    outcome: str, before: str, kind: int | None, left_open: list[str]
) -> None:
    header = header_for(
        ExecutionGraph(2, [A]),
        engine="hand",
        version="1",
        failures=FailurePolicy(1, stop_window=1),
        claims=TABLES,
        claim_version=kind,
        idle_s=9.0,
    )
    checker = Checker(header)
    for event in events_of(f"made a 0; {before}; end outcome={outcome}"):
        assert checker.feed(msgspec.convert(event, Event)) is None
    about = [one for one in checker.result().unjudged if one[:4] in ("STOP", "CKPT")]
    assert about == left_open
