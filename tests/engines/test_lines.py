"""The line protocol: the lines of both sides, the message about each bad one, and time.

The reference speaks it from another process, so the whole of it is used; a stub says whatever a
test wants it to. The example engine on Node has tests of its own (`test_node`).
"""

from __future__ import annotations

import importlib
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cellspec import ColumnDescriptor, ExecutionTraits, FailurePolicy, Limits, SpecError
from cellspec.conformance import Fault, SavePolicy, Workload, run_workload
from cellspec.conformance.campaign.campaign import drawn_workload
from cellspec.conformance.campaign.smoke import smoke
from cellspec.conformance.judge.profiles import PROFILES
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.backend import (
    bypass_bound_of,
    check_capabilities,
    killer_tries_of,
)
from cellspec.conformance.run.coverage_goals import Sometimes
from cellspec.conformance.run.loading import load_backend
from cellspec.conformance.run.workload import StorageFault
from cellspec.engines.lines import COMMAND_VARIABLE, LineBackend
from cellspec.engines.lines import messages as m
from cellspec.engines.lines.backend import NOT_BY_LINES
from cellspec.engines.lines.check import main
from cellspec.engines.lines.process import EngineProcess
from cellspec.engines.lines.schema import schema_files
from tests.engines.protocol_page import PAGE, shown_table, table

T = ExecutionTraits
ROOT = Path(__file__).parents[2]
PAGES = ROOT / "specs" / "protocol"
REFERENCE = [sys.executable, "-m", "tests.engines.reference_engine"]
HELLO = {"event": "hello", "protocol": 1, "name": "stub", "version": "1", "capabilities": ["core"]}
WAIT = {"event": "wait"}
START = {"event": "start", "column": "a", "rows": 0}

CELL = Workload((ColumnDescriptor("a", traits=T.START),), rows=2)
BARRIER = Workload(
    (ColumnDescriptor("a"), ColumnDescriptor("v", traits=T.BARRIER, dependencies=["a"])), rows=2
)
ALL_OF_IT = Workload(
    (
        ColumnDescriptor("a", traits=T.START | T.ROW_STREAMABLE),
        ColumnDescriptor("b", dependencies=["a"], may_skip=True),
        ColumnDescriptor("v", traits=T.BATCH_BARRIER, dependencies=["b"]),
        ColumnDescriptor("o", traits=T.ORDERED, dependencies=["v"], propagate_skip=False),
        ColumnDescriptor("w", traits=T.BARRIER, dependencies=["o"]),
    ),
    rows=6,
    batch_size=3,
    limits=Limits(workers=2, resources={"r": 1}, column_resource={"b": "r"}, group_rows=2),
    failures=FailurePolicy(max_attempts=3),
    faults=(
        Fault("a", 1, failure="retryable"),
        Fault("b", 0, failure="backpressure", cool_down_s=1.0),
        Fault("o", 4, failure="permanent"),
        Fault("w", 0, failure="retryable"),
    ),
    skips=(("b", 2),),
    checkpoint_every_rows=2,
    crashes=(45, 30),
)


def stub(*turns: Sequence[Any]) -> list[str]:
    """The command of an engine that writes these lines at any input."""
    path = str(Path(__file__).with_name("stub_engine.py"))
    return [sys.executable, "-S", path, json.dumps(turns)]


@pytest.fixture
def made() -> Iterator[list[LineBackend]]:
    """Backends to close."""
    backends: list[LineBackend] = []
    yield backends
    for backend in backends:
        backend.close()


@pytest.fixture(scope="module")
def reference() -> Iterator[LineBackend]:
    backend = LineBackend(REFERENCE, folder=ROOT)
    yield backend
    backend.close()


def run_stub(made: list[LineBackend], work: Workload, *turns: Sequence[Any]) -> RunResult:
    made.append(LineBackend(stub([HELLO], *turns)))
    return run_workload(made[-1], work)


# The reference, in another process


@pytest.mark.parametrize(
    "profile",
    [each.name for each in PROFILES if each.name not in {*NOT_BY_LINES, "killer_cells"}],
)
def test_the_reference_is_blamed_for_nothing_behind_the_protocol(
    reference: LineBackend, profile: str
) -> None:
    beside = sorted(reference.capabilities - {profile})
    for example in range(1, 5):
        work = drawn_workload(7, profile, example, beside)
        result = run_workload(reference, work)
        assert result.violations == [], (work, result.explanation)


def test_the_smoke_test_finds_nothing_wrong(reference: LineBackend) -> None:
    assert smoke(lambda work: run_workload(reference, work)) is None


def test_two_runs_of_a_workload_write_the_same_trace(
    reference: LineBackend, tmp_path: Path
) -> None:
    texts = []
    for name in ("one.jsonl", "two.jsonl"):
        result = run_workload(reference, ALL_OF_IT, trace=tmp_path / name)
        assert result.outcomes == ["crash", "crash", "success"], result.explanation
        texts.append((tmp_path / name).read_bytes())
    assert texts[0] == texts[1]


def test_a_crash_kills_the_process_and_the_next_run_has_another(
    reference: LineBackend,
) -> None:
    hellos = []
    watched = LineBackend(
        REFERENCE, folder=ROOT, watch=lambda _, text: hellos.append('"hello"' in text)
    )
    try:
        result = run_workload(watched, ALL_OF_IT)
        assert result.outcomes == ["crash", "crash", "success"]
        assert sum(hellos) == 3
        before = sum(hellos)
        run_workload(watched, CELL)
        assert sum(hellos) == before, "a run that ends by itself leaves the process to the next"
    finally:
        watched.close()
    assert reference.name == "cellspec-by-lines"


# Every line has a schema


@pytest.fixture(scope="module")
def exchange() -> list[tuple[str, dict[str, Any]]]:
    """The lines of real runs, in which every kind comes up but a checkpoint that fails."""
    lines: list[tuple[str, dict[str, Any]]] = []
    backend = LineBackend(
        REFERENCE, folder=ROOT, watch=lambda way, text: lines.append((way, json.loads(text)))
    )
    try:
        run_workload(backend, ALL_OF_IT)
        run_workload(
            backend,
            BARRIER.replace(
                rows=4,
                faults=(Fault("a", 0, failure="permanent"),),
                failures=FailurePolicy(stop_window=1),
            ),
        )
        run_workload(backend, BARRIER.replace(rows=4, limits=Limits(group_rows=1, groups=2)))
        asked = run_workload(backend, BARRIER.replace(rows=4, stop_at=(2,), stop_twice=True))
        assert asked.outcomes == ["interrupted", "success"]
        assert not asked.violations
        two = (ColumnDescriptor("a"), ColumnDescriptor("b"))
        dropped = (Fault("a", 0, failure="permanent"),)
        run_workload(backend, Workload(two, rows=1, latency_s={"b": 9.0}, faults=dropped))
    finally:
        backend.close()
    return lines


def schema(way: str) -> Any:
    text = (PAGES / f"{'from' if way == 'from' else 'to'}-engine.schema.json").read_text("utf-8")
    return jsonschema.Draft202012Validator(json.loads(text))


@pytest.mark.parametrize("name", sorted(schema_files()))
def test_the_published_schemas_are_those_of_the_messages(name: str) -> None:
    published = (PAGES / name).read_text(encoding="utf-8")
    assert published == schema_files()[name], (
        "run: python -m cellspec.engines.lines.schema specs/protocol"
    )
    jsonschema.Draft202012Validator.check_schema(json.loads(published))


COMMITS = ("commit_begin", "committed", "commit_failed")


@pytest.mark.parametrize(
    "line",
    [
        {"event": "commit_begin", "rows": [0, 2]},
        {"event": "commit_begin", "rows": 3, "column": "a", "commit": 7},
        {"event": "commit_begin", "claim": {"a": [[0, 2], [4, 5]], "b": 2}},
        {"event": "committed"},
        {"event": "committed", "commit": 7},
        {"event": "commit_failed", "commit": 0, "reason": "no answer"},
        {"event": "checkpoint_begin", "claim": {"a": [[0, 2], [4, 5]], "b": 2}},
        {"event": "resume", "claim": {"a": [], "b": [[1, 2]]}},
    ],
)
def test_claims_of_any_rows_and_commits_are_lines_of_the_protocol(line: dict[str, Any]) -> None:
    assert not list(schema("from").iter_errors(line))
    assert json.loads(m.encode(m.decode(json.dumps(line).encode()))) == line


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"event": "commit_begin"}, "commit_begin: rows: expected either rows, or a claim"),
        ({"event": "commit_begin", "rows": 1, "claim": {}}, "expected either rows, or a claim"),
        ({"event": "commit_begin", "column": "a", "claim": {"a": 1}}, "no such field beside"),
        ({"event": "checkpoint_begin", "claim": {"a": -1}}, "claim.a: expected a number of rows"),
        ({"event": "checkpoint_begin", "claim": {"a": [[2, 2]]}}, "claim.a: expected ranges"),
    ],
)
def test_a_line_whose_claim_is_none_is_refused(line: dict[str, Any], reason: str) -> None:
    with pytest.raises(m.BadLine, match=re.escape(reason)):
        m.decode(json.dumps(line).encode())


RECALLS: tuple[dict[str, Any], ...] = (
    {"event": "recall", "column": "a", "rows": 3, "value": "x"},
    {"event": "recall", "column": "a", "rows": 3, "value": "x", "inputs": {"b": None}},
    {
        **{"event": "recall", "column": "v", "scope": 0, "reads": [[0, 1], [2, 3]]},
        **{"inputs": [{"a": "1"}, {}], "values": ["x", "y"]},
    },
)


@pytest.mark.parametrize("line", RECALLS, ids=["cell", "inputs", "barrier"])
def test_cells_and_barriers_are_recalled_in_lines_of_the_protocol(line: dict[str, Any]) -> None:
    own = jsonschema.Draft202012Validator(schema("from").schema)
    assert own.is_valid(line)
    assert json.loads(m.encode(m.decode(json.dumps(line).encode()))) == line
    for other in mutations(line):
        try:
            m.decode(json.dumps(other).encode())
            taken = True
        except m.BadLine:
            taken = False
        null = any(value is None for value in other.values())
        assert taken == own.is_valid(other) or (taken and null), other


def test_the_values_of_a_recalled_barrier_are_as_many_as_its_rows(made: list[LineBackend]) -> None:
    recall = {**RECALLS[2], "reads": [[0, 2]], "values": ["x"]}
    result = run_stub(made, BARRIER, [recall, WAIT])
    assert result.adapter == "line 2: recall: recall_barrier: 'v': 2 rows, 1 value"


@pytest.mark.parametrize("way", ["from", "to"])
def test_the_schemas_take_every_line_of_real_runs(
    exchange: list[tuple[str, dict[str, Any]]], way: str
) -> None:
    validator = schema(way)
    lines = [line for direction, line in exchange if direction == way]
    for line in lines:
        errors = [error.message for error in validator.iter_errors(line)]
        assert not errors, (line, errors)
    seen = {line["event"] for line in lines}
    known = set(m.FROM_ENGINE if way == "from" else m.TO_ENGINE)
    # The reference does none of these; below, other engines do.
    shown_below = {"abandon", "checkpoint_failed", "lose", "pause", "recall", "take_back"}
    assert known - seen <= shown_below | {"worker_lost", *COMMITS}, "runs of these are missing"


@pytest.mark.clause("SCHED-15", "SCHED-16")
@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
def test_a_pause_and_a_write_that_takes_time_are_told_in_a_line(
    made: list[LineBackend], told: bool
) -> None:
    pause = [{"event": "pause", "until": 9.0, "reason": "429"}] * told
    write = [{"event": "write_begin", "rows": 0, "column": "a"}] * told
    work = CELL.replace(rows=2, faults=(Fault("a", 0, failure="backpressure", cool_down_s=2.0),))
    turns = (
        [START, WAIT],
        [*pause, {**WAIT, "until": 9.0}],
        [START, WAIT],
        [*write, {**WAIT, "until": 30.0}],
        [{"event": "durable", "rows": 0, "column": "a"}, {**START, "rows": 1}, WAIT],
        [{"event": "durable", "rows": [0, 2]}, {"event": "end", "outcome": "success"}],
    )
    found = [one.clause for one in run_stub(made, work, *turns).violations]
    # The table of the stub is empty.
    assert found == (["TABLE-01"] if told else ["SCHED-15"])


@pytest.mark.clause("FAIL-06")
@pytest.mark.parametrize("word", ["take_back", "cancel"])
def test_a_call_that_is_taken_back_is_told_in_a_line(made: list[LineBackend], word: str) -> None:
    turns = (
        [START, {**WAIT, "until": 0.03125}],
        [{"event": word, "column": "a", "rows": 0, "reason": "it idles"}, START, WAIT],
        [{"event": "durable", "rows": 0}, {"event": "end", "outcome": "success"}],
    )
    result = run_stub(made, CELL.replace(rows=1), *turns)
    found = [one.clause for one in result.violations]
    # The table of the stub is empty; a call that is wanted must not be cancelled.
    assert found == (["TABLE-01"] if word == "take_back" else ["FAIL-04"])
    told = [event.get("reason") for event in result.events if event["event"] == word]
    assert told == (["it idles"] if word == "take_back" else [None])


@pytest.mark.clause("FAIL-07")
@pytest.mark.parametrize("word", ["abandon", "cancel"])
def test_the_late_end_of_an_abandoned_call_is_said_to_be_nobodys(
    made: list[LineBackend], word: str
) -> None:
    """The call hangs for three bounds; the one that is made instead ends before it."""
    lines: list[tuple[str, str]] = []
    hello = {**HELLO, "protocol": 2, "capabilities": ["core", "timeouts", "retries"]}
    turns: tuple[list[Any], ...] = (
        [START, {**WAIT, "until": 1.0}],
        [{"event": word, "column": "a", "rows": 0}, START, WAIT],
        [{**WAIT, "until": 9.0}],
        *[[{**WAIT, "until": 9.0}]] * (word == "abandon"),
        [{"event": "end", "outcome": "success"}],
    )
    made.append(LineBackend(stub([hello], *turns), watch=lambda *line: lines.append(line)))
    work = CELL.replace(
        rows=1,
        failures=FailurePolicy(max_attempts=2, timeout_s=1.0),
        faults=(Fault("a", 0, failure="timeout"),),
    )
    result = run_workload(made[-1], work)
    ends = [json.loads(line) for way, line in lines if way == "to" and '"complete"' in line]
    late = [end.get("late", False) for end in ends]
    assert late == ([False, True] if word == "abandon" else [False])
    fails = [event for event in result.events if event["event"] == "fail"]
    assert [(one["failure"], "abandoned" in one) for one in fails] == [
        ("timeout", word == "abandon")
    ]


def test_a_write_takes_as_long_and_fails_as_the_workload_says(made: list[LineBackend]) -> None:
    lines: list[dict[str, Any]] = []

    def watch(way: str, text: str) -> None:
        if way == "to" and '"go"' in text:
            lines.append(json.loads(text))

    hello = {**HELLO, "protocol": 2, "capabilities": ["core", "resume", "storage_faults"]}
    writes = [[{"event": "storage", "write": word}] for word in ("data", "claim", "claim", "data")]
    turns = ([{"event": "storage", "write": "data"}], *writes, [{"event": "refuse", "reason": ""}])
    work = CELL.replace(
        storage_s=0.5,
        storage_faults=(StorageFault("data", 2, lands=True), StorageFault("claim", 2, lasts=True)),
    )
    made.append(LineBackend(stub([hello], *turns), watch=watch))
    run_workload(made[-1], work)
    assert {(line.pop("t"), line.pop("until"), line.pop("event")) for line in lines} == {
        (0.0, 0.5, "go")
    }
    full = {"error": "ENOSPC"}
    assert lines == [{}, {"error": "EIO", "lands": True}, {}, full, full]


@pytest.mark.parametrize(
    ("protocol", "said", "heard"), [(1, {}, ()), (2, {}, None), (2, {"dropped": []}, ())]
)
def test_a_resume_that_does_not_tell_the_drops_says_none_in_version_1_alone(
    made: list[LineBackend], protocol: int, said: dict[str, Any], heard: object
) -> None:
    resume = {"event": "resume", "claim": {"a": 0}, **said}
    hello = {**HELLO, "protocol": protocol, "capabilities": ["core", "resume"]}
    turns = ([START, WAIT], [resume, {"event": "end", "outcome": "failed"}])
    # The first process dies at its first step, and the second begins with `resume`.
    made.append(LineBackend(stub([hello], turns[1])))
    result = run_workload(made[-1], CELL.replace(crashes=(1,)))
    assert result.adapter.startswith("line 2: resume: resumed: the first"), result
    made.append(LineBackend(by_life(hello, turns)))
    result = run_workload(made[-1], CELL.replace(crashes=(1,)))
    (found,) = [event for event in result.events if event["event"] == "resume"]
    assert found.get("dropped") == heard


def by_life(hello: dict[str, Any], turns: Sequence[Sequence[Any]]) -> list[str]:
    """The command of a stub whose turn depends on the number of its process."""
    said = [[json.dumps(line) for line in turn] for turn in turns]
    text = f"""
import json, sys
print({json.dumps(json.dumps(hello))}, flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    for said in {said!r}[asked["life"]] if asked["event"] == "run" else ():
        print(said, flush=True)
    if asked["event"] == "read":
        print('{{"event": "table", "rows": []}}', flush=True)
"""
    return [sys.executable, "-S", "-c", text]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"capabilities": ["core", "killer_cells"]}, "killer_tries: expected a number of processe"),
        ({"saving": {"rows": 2, "seconds": 1}}, "saving: expected one of rows, group and seconds"),
        ({"unasked": ["x"]}, "unasked: expected a situation as reports word it, such as 'a barr"),
        ({"bypass_bound": -1}, "hello: bypass_bound: expected int >= 0"),
        (
            {"protocol": 1, "capabilities": ["core", "cache"]},
            "capabilities: 'cache' needs lines of protocol 2; this hello says 1",
        ),
    ],
)
def test_a_hello_that_contradicts_itself_is_refused_in_one_line(
    change: dict[str, Any], message: str
) -> None:
    hello = {**HELLO, "protocol": 2, **change}
    with pytest.raises(SpecError, match=re.escape(message)) as found:
        LineBackend(stub([hello]))
    assert "\n" not in str(found.value)


def test_the_promises_of_a_hello_are_those_of_the_backend(made: list[LineBackend]) -> None:
    words = {
        "capabilities": ["core", "killer_cells", "prompt_saving"],
        "bypass_bound": 3,
        "killer_tries": 2,
        "saving": {"seconds": 1.5},
        "unasked": ["a barrier started"],
    }
    made.append(LineBackend(stub([{**HELLO, "protocol": 2, **words}])))
    backend = made[-1]
    assert (bypass_bound_of(backend), killer_tries_of(backend)) == (3, 2)
    assert backend.saving == SavePolicy(seconds=1.5)
    assert backend.unasked == (Sometimes.ASKED_IN_CLAIM, Sometimes.BARRIER_RAN)
    check_capabilities(backend)


BEHIND = {
    "tests.conformance.second_engine:ColumnFirst": {
        "retries": "fail",
        "filters": "filtered",
        "groups": "retire",
        "timeouts": "timeout",
        "prompt_saving": "checkpoint_durable",
        "interrupts": "stop_requested",
        "lost_workers": "lose",
        "killer_cells": "killer",
        "row_ids": "resume",
        "config": "resume",
    },
    "tests.conformance.cache_engine:Cached": {"cache": "recall"},
    "tests.conformance.journal_engine:Commits": {"commits": "committed", "set_claims": "resume"},
    "tests.conformance.odd.lost_worker:LostWorker": {"lost_workers": "lose"},
    "tests.conformance.odd.pauses_on_429:PausesOn429": {"retries": "pause"},
    "tests.engines.reference_engine:ReferenceBackend": {"storage_faults": "checkpoint_failed"},
}
"""By engine, profiles that it is run in here and behind the protocol, with a word to come up."""


@pytest.mark.long
@pytest.mark.parametrize("engine", BEHIND, ids=lambda name: name.rpartition(":")[2])
def test_an_engine_is_judged_behind_the_protocol_as_it_is_in_this_process(
    made: list[LineBackend], engine: str
) -> None:
    module, _, name = engine.partition(":")
    here = getattr(importlib.import_module(module), name)()
    made.append(LineBackend([*REFERENCE, engine], folder=ROOT))
    there = made[-1]
    # The reference counts deaths where a workload has several, which no line foretells.
    left_out = {*NOT_BY_LINES, *(["killer_cells"] if name == "ReferenceBackend" else [])}
    assert there.capabilities == here.capabilities.difference(left_out)
    for profile, word in BEHIND[engine].items():
        beside = sorted(there.capabilities - {profile})
        seen: set[Any] = set()
        for example in range(1, 16):
            work = drawn_workload(5, profile, example, beside)
            mine, other = (run_workload(backend, work) for backend in (here, there))
            assert mine.violations == other.violations == [], (work, other.explanation)
            assert (mine.adapter, other.adapter) == ("", "")
            assert bool(mine.refused) == bool(other.refused)
            # Calls that end at one instant may end in another order, and a crash comes by steps.
            assert mine.outcomes[-1:] == other.outcomes[-1:], work
            seen |= {value for event in other.events for value in event.values() if value == word}
            if example > 2 and seen:
                break
        assert seen, (profile, word)


_ODD: tuple[Any, ...] = (None, "", "x", 0, -1, 1.5, True, [], [3], [2, 1], [0, 2], {}, {"a": 1})


def mutations(line: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A line with one thing changed."""
    for name in line:
        yield {key: value for key, value in line.items() if key != name}
        for odd in _ODD:
            yield {**line, name: odd}
    for name in ("rows", "scope", "reads", "value", "values", "more"):
        if name not in line:
            for odd in _ODD:
                yield {**line, name: odd}


@pytest.mark.parametrize("way", ["from", "to"])
def test_schema_and_reader_refuse_the_same_lines(
    exchange: list[tuple[str, dict[str, Any]]], way: str
) -> None:
    whole = schema(way)
    known = m.FROM_ENGINE if way == "from" else m.TO_ENGINE
    tried: dict[str, None] = {}
    messages: list[str] = []
    for direction, line in exchange:
        shape = f"{line['event']} {sorted(line)} {type(line.get('rows')).__name__}"
        if direction != way or shape in tried:
            continue
        tried[shape] = None
        # Of all kinds only its own can match, so the others need not be tried each time.
        kind = {"$ref": f"#/$defs/event_{line['event']}", "$defs": whole.schema["$defs"]}
        own = jsonschema.Draft202012Validator(kind)
        for other in mutations(line):
            try:
                m.decode(json.dumps(other).encode(), known)
                taken = True
            except m.BadLine as error:
                taken = False
                messages.append(str(error))
            validator = own if other.get("event") == line["event"] else whole
            if taken != validator.is_valid(other):
                # The reader also takes null for what may be left out, and a schema cannot compare
                # the two ends of a range.
                null = taken and any(value is None for value in other.values())
                ends = not taken and "[2, 1]" in json.dumps(other)
                assert null or ends, (taken, json.dumps(other))
    assert len(tried) >= 5
    assert len(messages) > 100
    assert not any("\n" in text for text in messages)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("hello", "expected a JSON object, got 'hello'"),
        ("[1]", "expected a JSON object, got '[1]'"),
        ('{"evnt":"wait"}', f"event: expected one of {', '.join(m.FROM_ENGINE)}; got none"),
        ('{"event":"complete"}', 'got "complete"'),
        ('{"event":"start","rows":0}', "start: column: expected a value, got none"),
        ('{"event":"start","column":"a"}', "start: rows: expected either rows, of cells, or scope"),
        ('{"event":"start","column":"a","rows":"0"}', "start: rows: expected int | array"),
        ('{"event":"start","column":"a","row":0}', "start: row: no such field"),
        ('{"event":"start","column":"a","rows":[0,2],"inputs":{}}', "start: inputs: expected a li"),
        ('{"event":"start","column":"v","scope":0}', "start: reads: expected the rows that a barr"),
        ('{"event":"drop","column":"a","rows":[2,2]}', "drop: rows: expected rows [start, stop)"),
        ('{"event":"end","outcome":"ok"}', "end: outcome: expected one of success, stopped, faile"),
        ('{"event":"wait","until":NaN}', "expected a JSON object, got"),
        ('{"event":"wait"', "expected a JSON object, got"),
        ('{"event":"wait","until":-1}', "wait: until: expected float >= 0.0; got -1"),
    ],
)
def test_a_line_that_cannot_be_used_is_described_in_one_line(line: str, message: str) -> None:
    with pytest.raises(m.BadLine) as found:
        m.decode(line.encode())
    assert message in str(found.value)
    assert "\n" not in str(found.value)


def test_a_version_before_this_one_is_read() -> None:
    assert m.VERSIONS_READ[-1] == m.PROTOCOL_VERSION
    assert all(version >= m.PROTOCOL_VERSION - 1 for version in m.VERSIONS_READ)


# The adapter's fault


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        (["what am I to do?\n"], "line 2: expected a JSON object, got 'what am I to do?'"),
        ([{"event": "start", "colum": "a"}], "line 2: start: colum: no such field"),
        ([{**START, "column": "x"}], "line 2: start: unknown column 'x'; the workload has 'a'"),
        ([{**START, "rows": 7}], "line 2: start: row 7: there are 2 rows"),
        ([{"event": "skip", "column": "a", "rows": 9}], "'a': row 9 is out of range; there are 2"),
        ([{"event": "start", "column": "a", "scope": 0, "reads": []}], "'a' is no barrier"),
        ([START, {"event": "cancel", "column": "a", "rows": 1}], "no such call is in flig"),
        ([{"event": "cooling", "column": "a", "rows": 0, "until": 1}], "it did not fail before"),
        ([{"event": "admit", "rows": [0, 2]}], "line 2: admit: the workload has no row groups"),
        ([HELLO], "line 2: hello: not expected here"),
    ],
)
def test_a_line_that_contradicts_the_workload_is_the_adapters_fault(
    made: list[LineBackend], turn: list[Any], message: str
) -> None:
    turns: list[Any] = [*turn, WAIT]
    result = run_stub(made, CELL, turns)
    assert message in result.adapter
    assert "the last lines:" in result.explanation
    found = smoke(lambda _: result)
    assert found is not None
    assert str(found).startswith(f"your adapter is wrong: {result.adapter}")


def test_inputs_must_be_as_many_as_rows(made: list[LineBackend]) -> None:
    barrier = {"event": "start", "column": "v", "scope": 0, "reads": [[0, 2]], "inputs": [{}]}
    result = run_stub(made, BARRIER, [barrier, WAIT])
    assert result.adapter == "line 2: start: barrier: 'v': 2 rows, 1 input"


def test_a_row_group_is_named_by_its_rows(made: list[LineBackend]) -> None:
    work = CELL.replace(rows=3, limits=Limits(group_rows=2))
    result = run_stub(made, work, [{"event": "admit", "rows": [0, 1]}, WAIT])
    message = "line 2: admit: rows: expected a row group, such as [0, 2]"
    assert result.adapter == message


def test_an_answer_to_read_other_than_a_table_is_reported(made: list[LineBackend]) -> None:
    end = {"event": "end", "outcome": "success"}
    done: list[list[Any]] = [[START, {**START, "rows": 1}, WAIT], [WAIT], [end], [WAIT]]
    result = run_stub(made, CELL, *done)
    assert result.adapter.startswith("table: BadLine: line ")
    assert "expected table, the answer to read, got" in result.adapter


# The engine's fault


def test_an_engine_that_waits_for_nothing_stands_still(made: list[LineBackend]) -> None:
    result = run_stub(made, CELL, [START, WAIT], [WAIT])
    (found,) = result.violations
    assert found.clause == "SCHED-12"
    assert found.detail.startswith("the engine waits for nothing at virtual time 0.5625 s")
    assert '← {"event": "wait"}' in found.explanation
    assert result.adapter == ""


def test_a_turn_has_an_end(made: list[LineBackend]) -> None:
    steps = [{"event": "step", "name": "again"}] * 3000
    (found,) = run_stub(made, CELL, [START, *steps, WAIT]).violations
    assert (found.clause, found.detail) == (
        "SCHED-12",
        "the engine wrote 1,040 lines in one turn, and no wait",
    )


def test_lines_that_an_engine_wrote_before_its_end_are_read_before_its_end_is_reported(
    made: list[LineBackend],
) -> None:
    """The first answer comes when the process is gone, so that it meets a closed pipe."""
    read: list[str] = []

    def wait_for_the_end(way: str, text: str) -> None:
        if way == "from" and "again" in text:
            read.append(text)
            time.sleep(0.2)

    steps = [{"event": "step", "name": "again"}] * 3
    backend = LineBackend(stub([HELLO], [START, *steps, ["exit", 7]]), watch=wait_for_the_end)
    made.append(backend)
    (found,) = run_workload(backend, CELL).violations
    assert found.detail.endswith("EngineDied: its process ended with exit status 7")
    assert len(read) == len(steps)


def test_an_engine_that_dies_is_quoted(made: list[LineBackend]) -> None:
    result = run_stub(made, CELL, [START, WAIT], [["stderr", "panic: no such key"], ["exit", 3]])
    (found,) = result.violations
    assert found.clause == "SCHED-12"
    assert found.detail == (
        "the engine died of EngineDied: its process ended with exit status 3; "
        "it wrote to stderr: panic: no such key"
    )
    assert "  panic: no such key" in found.explanation


def test_an_engine_that_is_killed_is_reported_with_its_signal(made: list[LineBackend]) -> None:
    result = run_stub(made, CELL, [START, WAIT], [["kill"]])
    assert "was killed by SIGKILL" in result.violations[0].detail


def test_an_engine_that_is_silent_is_given_up_and_not_waited_for_as_long_again() -> None:
    backend = LineBackend(stub([HELLO], [["stderr", "thinking"], ["sleep", 60]]), silence_s=2.0)
    spent = []
    for _ in range(2):
        began = time.monotonic()
        (found,) = run_workload(backend, CELL).violations
        spent.append(time.monotonic() - began)
        assert found.clause == "SCHED-12"
        assert found.detail.startswith("the engine wrote no line for")
        assert "  thinking" in found.explanation
    assert spent[0] > 2.0
    assert spent[1] < 2.0


def test_a_call_ends_for_the_judge_when_the_engine_learns_of_it(made: list[LineBackend]) -> None:
    """Two calls end at one instant: a start after the first end comes before the second."""
    work = CELL.replace(rows=3, latency_s={"a": 0.0625})
    both = [{**START, "rows": row} for row in (0, 1)]
    result = run_stub(made, work, [*both, WAIT], [{**START, "rows": 2}, WAIT], [WAIT], [WAIT])
    order = [(event["event"], event["rows"]) for event in result.events]
    ended = [what for what in order if what[0] == "complete"]
    assert order[:3] == [("start", 0), ("start", 1), ended[0]]
    assert order[3:5] == [("start", 2), ended[1]]


def test_a_timer_wakes_the_engine_and_each_wait_sets_it_anew(made: list[LineBackend]) -> None:
    lines: list[str] = []
    later = {"event": "wait", "until": 0.25}
    turns: list[list[Any]] = [[HELLO], [START, later], [{"event": "wait", "until": 9}], [WAIT]]
    backend = LineBackend(stub(*turns), watch=lambda way, text: lines.append(f"{way} {text}"))
    made.append(backend)
    run_workload(backend, CELL)
    received = [json.loads(text[3:]) for text in lines if text.startswith("to ")]
    assert received[1] == {"event": "wake", "t": 0.25}
    assert (received[2]["event"], received[2]["t"]) == ("complete", 0.5625)
    assert len(received) == 3, "the time that the second wait named was taken back by the third"


# The process


def test_a_stop_kills_the_children_of_the_engine_too(tmp_path: Path) -> None:
    note = tmp_path / "child"
    process = EngineProcess(stub([["child", str(note)], HELLO]))
    process.receive(10.0)
    child = int(note.read_text())
    os.kill(child, 0)
    process.stop()
    until = time.monotonic() + 5
    while time.monotonic() < until and _is_running(child):
        time.sleep(0.01)
    assert not _is_running(child)


def _is_running(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ([], "engine command: expected a program and its arguments, got nothing"),
        (["/no/such/engine"], "engine command /no/such/engine: cannot be started: No such file"),
        (stub(["hello\n"]), "line 1: expected a JSON object, got 'hello'"),
        (stub([WAIT]), "line 1: expected hello, got wait"),
        (stub([{**HELLO, "protocol": 9}]), "line 1: hello: protocol: expected 1, 2, got 9"),
        (
            stub([["stderr", "at line 3\nError: no such key\n  in main"], ["exit", 4]]),
            "ended with exit status 4; it wrote to stderr: Error: no such key",
        ),
        (stub([{**HELLO, "capabilities": ["core", "counted_work"]}]), "is not possible"),
        (stub([{**HELLO, "capabilities": ["core", "torn_writes"]}]), "is not possible"),
    ],
)
def test_a_command_that_is_no_engine_is_refused_in_one_line(
    command: list[str], message: str
) -> None:
    with pytest.raises(SpecError) as found:
        LineBackend(command, silence_s=10.0)
    assert message in str(found.value)
    assert "\n" not in str(found.value)


def test_the_command_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = "cellspec.engines.lines:LineBackend"
    monkeypatch.delenv(COMMAND_VARIABLE, raising=False)
    with pytest.raises(SpecError, match="CELLSPEC_ENGINE: expected the command that starts"):
        load_backend(spec, tmp_path)
    monkeypatch.setenv(COMMAND_VARIABLE, "'unbalanced")
    with pytest.raises(SpecError, match="CELLSPEC_ENGINE: cannot be read: No closing quotation"):
        load_backend(spec, tmp_path)
    command = stub([HELLO])
    monkeypatch.setenv(COMMAND_VARIABLE, " ".join(f"'{part}'" for part in command))
    backend, made_by_call = load_backend(spec, tmp_path)
    assert made_by_call
    assert isinstance(backend, LineBackend)
    assert (backend.name, backend.version) == ("stub", "1")
    assert backend.capabilities == {"core"}
    backend.close()


def test_a_module_of_ones_own_may_name_the_command(tmp_path: Path) -> None:
    source = (
        "from cellspec.engines.lines import LineBackend\n"
        f"backend = LineBackend({stub([HELLO])!r})\n"
    )
    (tmp_path / "engine_of_mine.py").write_text(source, encoding="utf-8")
    backend, made_by_call = load_backend("engine_of_mine:backend", tmp_path)
    assert not made_by_call
    assert isinstance(backend, LineBackend)
    backend.close()


# The first day


def check(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stderr(err):
        code = main(arguments, out)
    return code, out.getvalue(), err.getvalue()


def test_the_check_names_the_fault_and_its_side() -> None:
    code, out, err = check(*stub([HELLO], [{"event": "start", "colum": "a"}]))
    assert code == 1
    assert err == ""
    assert "your adapter is wrong: line 2: start: colum: no such field" in out
    assert out.endswith("The protocol, line by line: specs/protocol/README.md\n")


def test_the_check_shows_each_line_if_it_is_asked_to() -> None:
    code, out, _ = check("--verbose", *stub([HELLO], [START, WAIT], [WAIT]))
    assert code == 1
    lines = out.splitlines()
    assert lines[0] == f"← {json.dumps(HELLO)}"
    assert any(line.startswith('→ {"event":"complete","t":0.5625,"column":"a"') for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "engine command: expected a program and its arguments, got nothing\n"),
        (["/no/such/engine"], "cannot be started: No such file or directory\n"),
        (stub([{**HELLO, "capabilities": ["core", "magic"]}]), "capabilities: unknown magic; ther"),
        (stub([{**HELLO, "capabilities": []}]), "capabilities: 'core' is missing"),
    ],
)
def test_the_check_refuses_a_command_that_it_cannot_check(
    arguments: list[str], message: str
) -> None:
    code, out, err = check(*arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_the_check_is_a_command() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "cellspec.engines.lines", "--silence", "never", "x"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 2
    assert "argument --silence: expected seconds, more than 0, got 'never'" in found.stderr


# The page


@pytest.mark.parametrize("way", ["to-engine", "from-engine"])
def test_the_page_lists_every_line_with_its_fields(way: str) -> None:
    shown = shown_table(PAGE.read_text(encoding="utf-8"), way)
    assert shown == table(way), "run: python -m tests.engines.protocol_page --write"
