"""Replaying and shrinking failures, as the receiver of a case file does."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellspec import (
    Action,
    BarrierNodeId,
    ColumnDescriptor,
    CompletionTracker,
    ExecutionGraph,
    ExecutionTraits,
    Machine,
    Violation,
)
from cellspec.check.checker import check_file
from cellspec.clauses import clause_set, clause_set_version
from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.backend import Backend
from cellspec.conformance.run.case import Case
from cellspec.conformance.run.workload import End, Fault, Workload
from cellspec.engine.calls import Drop, Restored
from cellspec.engine.resume import Resume
from cellspec.engine.scheduler import Scheduler
from cellspec.engines.reference import ReferenceBackend
from cellspec.errors import SpecError
from cellspec.explore.counterexamples import counterexample_lines
from cellspec.explore.relation import Faults, Relation
from cellspec.replay import (
    PREFIX,
    Steps,
    ends_of,
    judge,
    read_source,
    rerun,
    shrunk_trace,
    timed,
    to_string,
    workload_of,
)
from cellspec.replay.rerun import replay
from cellspec.state.claims import Claim
from cellspec.trace import TraceWriter, event_of, header_for
from sim.cli import main

T = ExecutionTraits
GRAPH = ExecutionGraph(
    4,
    [
        ColumnDescriptor("a"),
        ColumnDescriptor("z", dependencies=["a"]),
        ColumnDescriptor("b", traits=T.BARRIER, dependencies=["a"]),
        ColumnDescriptor("c", dependencies=["b"]),
    ],
)
KINDS = ("start", "complete")
REFERENCE = "cellspec.engines.reference:ReferenceBackend"


class _ResumesComplete(Resume):
    """After a resume, every barrier counts as complete of which any input does."""

    def restore_tracker(
        self, restored: Restored, claim: Claim, dropped: dict[int, Drop]
    ) -> CompletionTracker:
        tracker = super().restore_tracker(restored, claim, dropped)
        tracker.mark_complete(BarrierNodeId("b"))
        return tracker


class _BarriersComplete(Scheduler):
    """A scheduler that resumes so."""

    parts = replace(Scheduler.parts, resume=_ResumesComplete)


class BarriersStayComplete(ReferenceBackend):
    """An engine that is wrong in that."""

    scheduler_class = _BarriersComplete


class Leaves(ReferenceBackend):
    """A backend that ends the process when it is made."""

    def __init__(self) -> None:
        raise SystemExit(0)


class CannotFit(ReferenceBackend):
    """A backend whose `fit` fails."""

    def fit(self, _work: Workload) -> Workload:
        raise ValueError("no idea")


class FitsAnything(ReferenceBackend):
    """A backend whose `fit` gives something else than a workload."""

    def fit(self, _work: Workload) -> int:
        return 3


def barrier_twice(path: Path) -> Path:
    """The trace of a run that crashes after its barrier, and takes it for done."""
    actions = [
        Action("start", "z", (1, 2)),
        Action("complete", "z", (1, 2)),
        Action("start", "b", scope=0),
        Action("complete", "b", scope=0),
        Action("durable", "a", (0, 4)),
        Action("checkpoint_begin", claim=(4, 0, 0, 0)),
        Action("checkpoint_durable"),
        Action("emit", "b", (0, 4)),
        Action("crash"),
        Action("resume", claim=(4, 0, 0, 0)),
        Action("start", "c", (2, 3)),
    ]
    for row in range(4):
        cell = (row, row + 1)
        actions[2 * row : 2 * row] = [Action("start", "a", cell), Action("complete", "a", cell)]
    with TraceWriter(path, header_for(GRAPH, engine="mine", version="1")) as trace:
        for seq, action in enumerate(actions, 1):
            incarnation = 1 if action.kind == "resume" else None
            # Each call takes half a second, and the next begins when it ends.
            t = min(seq // 2, 6) / 2
            trace.write(event_of(action, GRAPH, seq=seq, t=t, incarnation=incarnation))
    return path


def explored(path: Path) -> Path:
    """A counterexample of the explorer, with all times 0: the crash is after the barrier."""
    graph = ExecutionGraph(
        2, [ColumnDescriptor("a"), ColumnDescriptor("b", traits=T.BARRIER, dependencies=["a"])]
    )
    cells = [Action(kind, "a", (row, row + 1)) for row in (1, 0) for kind in KINDS]
    scope = [Action(kind, "b", scope=0) for kind in KINDS]
    outputs = [Action(kind, "b", (row, row + 1)) for row in (0, 1) for kind in KINDS]
    relation = Relation(graph, Faults(crashes=1))
    saved = [
        Action("durable", "a", (0, 2)),
        Action("checkpoint_begin", claim=(2, 0)),
        Action("checkpoint_durable"),
    ]
    ends = [Action("crash"), Action("resume", claim=(2, 0))]
    actions = [*cells, *scope, *outputs, *saved, *ends]
    path.write_text(counterexample_lines(relation, actions, "1"))
    return path


def run(*args: object) -> int:
    return main([str(arg) for arg in args])


# On the transition system


def test_a_trace_is_replayed_a_line_for_each_event_up_to_the_violation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("replay", barrier_twice(tmp_path / "t.jsonl")) == 1
    shown = capsys.readouterr().out
    assert "   19  t=3 s start c[2]" in shown
    assert "violated: SCHED-01 at event 19" in shown
    assert "found: c[2] starts although" in shown


def test_a_replay_for_programs_carries_the_clause_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("replay", barrier_twice(tmp_path / "t.jsonl"), "--format", "json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["violation"]["clause"] == "SCHED-01"
    assert found["clauses"] == {"version": clause_set_version(), "digest": clause_set()}


def test_a_replay_may_stop_before_the_violation_and_shows_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("replay", barrier_twice(tmp_path / "t.jsonl"), "--until", 12) == 0
    shown = capsys.readouterr().out
    assert "a  ####\nz  o#oo\nb  oooo  barrier #\nc  ....\n" in shown
    assert "no clause broke" in shown


def test_a_line_of_text_is_the_same_case_and_gives_the_same_trace_byte_for_byte(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("replay", barrier_twice(tmp_path / "t.jsonl"), "--trace", tmp_path / "one.jsonl")
    shown = capsys.readouterr().out
    line = next(text for text in shown.split() if text.startswith(PREFIX))
    again = subprocess.run(
        [sys.executable, "-m", "sim", "replay", line, "--trace", "two.jsonl"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 1, again.stderr
    assert again.stdout == shown
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()


class _ForgetsRecords(Scheduler):
    """Rows are dropped without a record of it."""

    def _drop(self, rows: list[int], drop: Drop) -> None:
        for row in rows:
            self._drop_row(row, drop)


class ForgetsRecords(ReferenceBackend):
    """An engine that is wrong in that, and goes on to its end."""

    scheduler_class = _ForgetsRecords


def test_the_trace_of_a_replay_is_that_of_a_whole_run_with_its_end_and_footer(
    tmp_path: Path,
) -> None:
    backend = "tests.replay.test_replay:ForgetsRecords"
    work = Workload(
        columns=(ColumnDescriptor("a"), ColumnDescriptor("b", dependencies=["a"])),
        rows=2,
        faults=(Fault("a", 0, failure="permanent"),),
    )
    case, trace = tmp_path / "case.json", tmp_path / "t.jsonl"
    case.write_text(Case(work, backend=backend).to_json())
    assert run("replay", case, "--backend", backend, "--trace", trace) == 1
    replayed = replay(str(case), folder=tmp_path, backend=backend)
    assert replayed.finding is not None
    steps = read_source(str(trace))
    assert isinstance(steps, Steps)
    assert (steps.unread, steps.events[-1].event) == ("", "end")
    assert replayed.finding.seq is not None
    assert replayed.finding.seq < len(steps.events)
    (found,) = check_file(trace).violations
    assert (found.clause, found.seq) == (replayed.finding.clause, replayed.finding.seq)
    # A replay of that trace gives it again, and so does one that is right.
    assert run("replay", trace, "--trace", tmp_path / "again.jsonl") == 1
    assert (tmp_path / "again.jsonl").read_bytes() == trace.read_bytes()
    assert run("replay", case, "--backend", REFERENCE, "--trace", trace) == 0
    assert not check_file(trace).unreadable
    # What was stopped before its end is no whole run.
    assert run("replay", case, "--backend", REFERENCE, "--until", 3, "--trace", trace) == 0
    assert check_file(trace).unreadable


def test_the_test_that_is_printed_fails_as_the_case_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("replay", barrier_twice(tmp_path / "t.jsonl"), "--pytest")
    shown = capsys.readouterr().out
    code = shown[shown.index("import io") :]
    space: dict[str, object] = {}
    exec(compile(code, "pasted", "exec"), space)
    with pytest.raises(AssertionError, match="SCHED-01"):
        space["test_sched_01"]()  # type: ignore[operator]


def test_the_script_that_is_printed_is_alone_and_fails_as_the_case_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("replay", barrier_twice(tmp_path / "t.jsonl"), "--script") == 0
    script = capsys.readouterr().out
    with pytest.raises(AssertionError, match="SCHED-01"):
        exec(compile(script, "script", "exec"), {"__name__": "__main__"})


def test_a_page_with_a_slider_is_written_on_request(tmp_path: Path) -> None:
    run("replay", barrier_twice(tmp_path / "t.jsonl"), "--html", tmp_path / "page.html")
    assert "SCHED-01 broke" in (tmp_path / "page.html").read_text()


# Made small


def test_the_steps_left_of_a_trace_are_causes() -> None:
    graph = ExecutionGraph(3, [ColumnDescriptor("a"), ColumnDescriptor("n", dependencies=["a"])])
    machine = Machine(graph)
    events = []
    for seq, action in enumerate(
        [
            Action("start", "a", (0, 1)),
            Action("start", "a", (1, 2)),
            Action("complete", "a", (1, 2)),
            Action("start", "n", (1, 2)),
            Action("complete", "a", (0, 1)),
            Action("complete", "n", (1, 2)),
            Action("complete", "n", (1, 2)),
        ],
        1,
    ):
        events.append(event_of(action, graph, seq=seq, t=0.0))
        if seq < 7:
            machine.apply(action)
    header = header_for(graph, engine="mine", version="1")
    small = shrunk_trace(Steps("t", header, tuple(events)))
    assert [(event.event, event.column, event.rows) for event in small.events] == [
        ("complete", "n", 1)
    ]
    assert [event.seq for event in small.events] == [1]


@given(st.data())
def test_a_shrunk_trace_breaks_the_same_clause_and_no_step_can_be_left_out(
    data: st.DataObject,
) -> None:
    machine = Machine(GRAPH)
    events = []
    for seq in range(1, 30):
        enabled = [action for action in machine.enabled() if action.kind != "end"]
        wrong = Action("start", data.draw(st.sampled_from("azc")), (1, 2))
        action = data.draw(st.sampled_from([*enabled, *enabled, wrong]))
        incarnation = machine.incarnation + 1 if action.kind == "resume" else None
        events.append(event_of(action, GRAPH, seq=seq, t=0.0, incarnation=incarnation))
        try:
            machine.apply(action)
        except Violation as broken:
            clause = broken.clause
            break
    else:
        return
    steps = Steps("t", header_for(GRAPH, engine="mine", version="1"), tuple(events))
    small = shrunk_trace(steps)
    found = judge(small).finding
    assert found is not None
    assert found.clause == clause
    assert len(small.events) <= len(events)
    assert shrunk_trace(small).events == small.events


def test_a_trace_without_a_violation_is_not_made_small(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.jsonl"
    with TraceWriter(path, header_for(GRAPH, engine="mine", version="1")) as trace:
        trace.add("start", 0.0, column="a", rows=0)
    assert run("shrink", path) == 2
    assert "every step is allowed" in capsys.readouterr().err


# On an engine


def test_an_engine_meets_the_failures_of_a_trace_and_the_order_of_its_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = barrier_twice(tmp_path / "t.jsonl")
    assert run("replay", path, "--backend", REFERENCE) == 0
    shown = capsys.readouterr().out
    ends = [line.split()[3:] for line in shown.splitlines() if " complete " in line]
    assert [" ".join(end) for end in ends[:6]] == [
        "complete a[0]",
        "complete a[1]",
        "complete a[2]",
        "complete a[3]",
        "complete z[1]",
        "complete barrier 0 of 'b'",
    ]
    assert "crash" in shown


def test_a_broken_engine_breaks_the_clause_of_a_trace_of_another_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = barrier_twice(tmp_path / "t.jsonl")
    code = run("replay", path, "--backend", "tests.replay.test_replay:BarriersStayComplete")
    assert code == 1, capsys.readouterr().out


def test_a_case_is_replayed_and_made_small_on_the_engine_that_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = Workload(
        tuple(GRAPH.get_column_descriptor(name) for name in GRAPH.column_names),
        rows=4,
        checkpoint_every_rows=1,
        checkpoint_version=2,
        crashes=(26,),
    )
    case = tmp_path / "case.json"
    broken = "tests.replay.test_replay:BarriersStayComplete"
    case.write_text(Case(work, backend=broken).to_json())
    assert run("replay", case, "--backend", broken, "--pytest") == 1
    printed = capsys.readouterr().out
    assert "def test_" in printed
    again = next(line for line in printed.splitlines() if line.startswith("again: "))
    assert again.startswith(f"again: cellspec replay --backend {broken} cellspec1.")
    assert run(*shlex.split(again)[2:]) == 1
    assert run("replay", case, "--backend", REFERENCE) == 0
    capsys.readouterr()
    assert run("shrink", case, "--backend", broken, "--out", tmp_path / "small.json") == 0
    small = read_source(str(tmp_path / "small.json"))
    assert isinstance(small, Case)
    assert len(small.workload.columns) < 4
    assert run("replay", tmp_path / "small.json", "--backend", broken) == 1


@pytest.mark.parametrize("command", ["replay", "shrink"])
@pytest.mark.parametrize("as_text", [False, True])
def test_no_file_and_no_line_of_text_has_code_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    as_text: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "beside_the_case", raising=False)
    (tmp_path / "beside_the_case.py").write_text("open('harm', 'w').close()\n")
    work = Workload((ColumnDescriptor("a", traits=ExecutionTraits.START),), rows=1)
    case = Case(work, "SCHED-01", "", "beside_the_case:Backend").to_json()
    (tmp_path / "case.json").write_text(case)
    source = to_string(case) if as_text else "case.json"
    assert run(command, source) == 2
    out, err = capsys.readouterr()
    name = "replay string" if as_text else "case.json"
    assert (out, err) == (
        "",
        f"error: {name}: was found on beside_the_case:Backend, and no file's own word is run: name "
        "it with --backend beside_the_case:Backend to run it there, if you trust that code\n",
    )
    assert not Path("harm").exists()
    assert run(command, source, "--backend", "beside_the_case:Backend") == 2
    assert Path("harm").exists()


def test_a_name_that_is_none_is_not_offered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = Workload((ColumnDescriptor("a", traits=ExecutionTraits.START),), rows=1)
    (tmp_path / "case.json").write_text(Case(work, backend="a:b; rm -rf /").to_json())
    assert run("replay", tmp_path / "case.json") == 2
    assert "backend: expected module:attribute, got 'a:b; rm -rf /'" in capsys.readouterr().err


def test_an_engine_meets_a_counterexample_in_the_order_of_its_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = explored(tmp_path / "case.jsonl")
    steps = read_source(str(path))
    assert isinstance(steps, Steps)
    ends = [end for end, _ in ends_of(timed(steps).events, GRAPH)]
    assert [(end.column, end.position, end.call) for end in ends] == [
        ("a", 1, 1),
        ("a", 0, 1),
        ("b", 0, 1),
    ], "an output cell of a barrier is no call of it"
    assert run("replay", path, "--backend", REFERENCE) == 0
    shown = capsys.readouterr().out
    assert "columns × 2 rows" in shown
    assert shown.index("complete a[1]") < shown.index("complete a[0]") < shown.index("crash\n")
    assert run("replay", path, "--backend", "tests.replay.test_replay:BarriersStayComplete") == 1


def test_the_clock_of_a_trace_may_count_from_any_moment(tmp_path: Path) -> None:
    graph = ExecutionGraph(1, [ColumnDescriptor("a")])
    with TraceWriter(tmp_path / "t", header_for(graph, engine="mine", version="1")) as trace:
        trace.add("start", 1.7e9, column="a", rows=0)
        trace.add("complete", 1.7e9 + 1, column="a", rows=0)
    assert run("replay", tmp_path / "t", "--backend", REFERENCE) == 0


def test_the_workload_of_a_trace_ends_each_call_when_the_trace_does(tmp_path: Path) -> None:
    steps = read_source(str(barrier_twice(tmp_path / "t.jsonl")))
    assert isinstance(steps, Steps)
    work = workload_of(steps)
    assert End(0, "z", 1, 1, 2.5) in work.ends
    assert End(0, "b", 0, 1, 3.0) in work.ends
    assert Workload.from_json(work.to_json()) == work


def test_a_case_about_cost_is_run_with_more_and_more_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def judge_cost(engine: Backend, clause: str, work: Workload, **more: Any) -> RunResult:
        asked.append(clause)
        return run_workload(engine, work, **more)

    monkeypatch.setattr(rerun, "judge_cost", judge_cost)
    work = Workload((ColumnDescriptor("a"),), rows=2)
    path = tmp_path / "case.json"
    path.write_text(Case(work, "COST-01", backend=REFERENCE).to_json())
    assert run("replay", path) == 0
    assert asked == ["COST-01"]
    assert run("shrink", path) == 2
    assert "COST-01 is about cost" in capsys.readouterr().err


# Bad input


def test_a_trace_with_a_great_many_rows_is_replayed_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = ExecutionGraph(1_000_000, [ColumnDescriptor("a")])
    with TraceWriter(tmp_path / "t", header_for(graph, engine="mine", version="1")) as trace:
        trace.add("start", 0.0, column="a", rows=0)
    began_s = time.process_time()
    assert run("replay", tmp_path / "t") == 0
    assert time.process_time() - began_s < 1
    assert "1 column × 1,000,000 rows" in capsys.readouterr().out


def test_a_replay_that_was_asked_to_stop_does_not_say_where_the_trace_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = barrier_twice(tmp_path / "t.jsonl")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:9]))
    for until, cut in ((7, False), (8, False), (9, True)):
        # What was asked for was seen, or the trace is cut off before that: then nothing is known.
        assert run("replay", path, "--until", until) == (3 if cut else 0)
        assert ("cut off" in capsys.readouterr().out) is cut


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        ("leaves:Backend", "leaves: cannot be imported: SystemExit: enough"),
        ("tests.replay.test_replay:Leaves", "cannot be made: SystemExit"),
        ("tests.replay.test_replay:CannotFit", "backend CannotFit: fit: ValueError: no idea"),
        ("tests.replay.test_replay:FitsAnything", "fit: expected a Workload or None, got 3"),
        ("nowhere:Backend", "--backend: nowhere: cannot be imported"),
    ],
)
def test_a_backend_that_fails_is_refused_in_one_line(
    backend: str,
    expected: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "leaves.py").write_text("raise SystemExit('enough')\n")
    assert run("replay", barrier_twice(tmp_path / "t.jsonl"), "--backend", backend) == 2
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1
    assert expected in complaint


@pytest.mark.parametrize("option", ["--trace", "--html", "--out"])
@pytest.mark.parametrize("name", ["", "/", "..", "folder"])
def test_a_source_that_cannot_be_a_file_is_refused_in_one_line(
    option: str,
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    command = "shrink" if option == "--out" else "replay"
    assert run(command, barrier_twice(tmp_path / "t.jsonl"), option, name) == 2
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1
    assert ("got an empty text" if name == "" else "cannot be written: it is a folder") in complaint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty file"),
        ("{", "not JSON"),
        ('{"case": 1}', "columns"),
        ('{"trace": 1}\n', "line 1"),
        ('{"case": 1, "columns": [{"name": "\\ud800"}], "rows": 1}', "half a character"),
    ],
    ids=["empty", "half", "no columns", "no header", "half a character"],
)
def test_a_file_that_is_no_case_is_refused_in_one_line(
    text: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "case"
    path.write_text(text)
    assert run("replay", path) == 2
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1
    assert expected in complaint
    assert str(path) in complaint


def test_a_damaged_line_of_text_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    line = to_string("x" * 100)
    for damaged in (line[:-6], PREFIX, PREFIX + "!!!", PREFIX + "AAAA"):
        assert run("replay", damaged) == 2
        assert "replay string" in capsys.readouterr().err


def test_a_line_of_text_that_would_fill_the_memory_is_refused() -> None:
    with pytest.raises(SpecError, match="too long"):
        read_source(to_string("x" * (1 << 23)))
