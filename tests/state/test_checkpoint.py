"""Checkpoints: what is written, and what is refused when it is read back."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellspec import (
    CHECKPOINT_VERSION,
    Action,
    CellNodeId,
    CheckpointError,
    ColumnDescriptor,
    CompletionTracker,
    ExecutionGraph,
    ExecutionTraits,
    Machine,
    NodeError,
    SpecError,
    ThreadSafeCompletionTracker,
    Violation,
)
from cellspec.state.checkpoint import (
    Payload,
    expect_config,
    kept_digests,
    make_payload,
    parse_payload,
)
from cellspec.text import counted
from tests.oracles import Definition
from tests.strategies import Case, cases, damaged

pytestmark = pytest.mark.invariant

T = ExecutionTraits
C = ColumnDescriptor

COLUMNS = [
    C("a", traits=T.START),
    C("b", traits=T.BARRIER, dependencies=["a"]),
    C("c", dependencies=["b"]),
]
GRAPH = ExecutionGraph(5, COLUMNS)
V1: dict[str, Any] = {"version": 1, "completed_rows": 3}
V2: dict[str, Any] = {
    "version": 2,
    "completed_rows": 2,
    "column_rows": {"a": 5, "b": 4, "c": 2},
    "graph": GRAPH.fingerprint,
}
DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]
HUGE = 10**5000
TOO_LARGE = "a value of type {} that is too large to show"


def refusal(payload: object) -> str:
    with pytest.raises(CheckpointError) as caught:
        CompletionTracker.from_checkpoint(payload, GRAPH)
    assert isinstance(caught.value, SpecError)
    return str(caught.value)


# What is written


@pytest.mark.clause("CKPT-01")
def test_the_default_is_version_1_and_exactly_two_fields() -> None:
    assert CHECKPOINT_VERSION == 1
    tracker = GRAPH.tracker()
    assert tracker.to_checkpoint(GRAPH) == {"version": 1, "completed_rows": 0}
    assert tracker.to_checkpoint(GRAPH, version=1) == {"version": 1, "completed_rows": 0}


@pytest.mark.clause("CKPT-02", "CKPT-13")
def test_version_2_adds_the_rows_of_each_column_and_the_graph() -> None:
    tracker = GRAPH.tracker()
    for row in (0, 1, 3):
        tracker.mark_complete(CellNodeId(row, "a"))
    assert tracker.to_checkpoint(GRAPH, version=2) == {
        "version": 2,
        "completed_rows": 0,
        "column_rows": {"a": 2, "b": 0, "c": 0},
        "graph": GRAPH.fingerprint,
    }


@pytest.mark.clause("CKPT-14")
@pytest.mark.parametrize("payload", [V1, V2], ids=["version 1", "version 2"])
@pytest.mark.parametrize("cls", [CompletionTracker, ThreadSafeCompletionTracker])
def test_a_payload_survives_json_and_comes_back_the_same(
    payload: dict[str, Any], cls: type[CompletionTracker]
) -> None:
    restored = cls.from_checkpoint(json.loads(json.dumps(payload)), GRAPH)
    assert type(restored) is cls
    assert restored.to_checkpoint(GRAPH, payload["version"]) == payload
    assert GRAPH.get_completed_row_count(restored) == payload["completed_rows"]


@pytest.mark.clause("CKPT-07", "CKPT-14")
@pytest.mark.parametrize("version", [1, 2])
def test_every_good_payload_restores_its_claim(version: int) -> None:
    for rows in range(6):
        claimed = {"version": 1, "completed_rows": rows}
        tracker = CompletionTracker.from_checkpoint(claimed, GRAPH)
        again = CompletionTracker.from_checkpoint(tracker.to_checkpoint(GRAPH, version), GRAPH)
        assert GRAPH.get_completed_row_count(again) == rows
        assert again.is_barrier_complete("b") == (rows == 5)
        assert again.to_checkpoint(GRAPH) == claimed


@pytest.mark.clause("CKPT-05", "CKPT-06", "CKPT-14")
@given(case=cases(max_columns=5, max_rows=4), ends=st.lists(st.integers(0, 4), min_size=5))
def test_a_claim_is_accepted_exactly_if_each_column_lies_within_all_its_inputs(
    case: Case, ends: list[int]
) -> None:
    graph = case.graph()
    claim = {name: min(end, case.rows) for name, end in zip(graph.column_names, ends, strict=False)}
    payload = {
        "version": 2,
        "completed_rows": min(claim.values()),
        "column_rows": claim,
        "graph": graph.fingerprint,
    }
    definition = Definition(case.rows, case.columns, case.batch_size, case.barrier_scope)
    ahead = [
        (name, need)
        for name in claim
        for need in definition.inputs(name)
        if claim[name] > claim[need]
    ]
    if not ahead:
        restored = CompletionTracker.from_checkpoint(payload, graph)
        assert restored.to_checkpoint(graph, 2) == payload
        return
    with pytest.raises(CheckpointError) as caught:
        CompletionTracker.from_checkpoint(payload, graph)
    assert str(caught.value) in {
        f"checkpoint: column_rows.{name}: claims {counted(claim[name], 'row')}, "
        f"but its input {need!r} claims {claim[need]}"
        for name, need in ahead
    }


@pytest.mark.clause("CKPT-17", "SKIP-03")
@pytest.mark.parametrize("bad", [-1, 5, True, False, 1.0, "1", None], ids=repr)
@pytest.mark.parametrize("first", [(), (0,), (0, 1)], ids=len)
def test_each_given_row_must_be_one_that_the_claim_covers(first: tuple[int, ...], bad: Any) -> None:
    rows = [*first, bad]
    with pytest.raises(CheckpointError) as caught:
        CompletionTracker.from_checkpoint(V2, GRAPH, dropped=rows)
    said = "expected rows from 0 to {}, which the checkpoint claims; got {!r}"
    assert str(caught.value) == "dropped: " + said.format(4, bad)
    with pytest.raises(CheckpointError) as caught:
        CompletionTracker.from_checkpoint(V2, GRAPH, skipped={"a": [0], "c": rows})
    assert str(caught.value) == "skipped.c: " + said.format(1, bad)
    with pytest.raises(CheckpointError, match=r"^skipped: unknown column 'z'$"):
        CompletionTracker.from_checkpoint(V2, GRAPH, skipped={"z": [0]})


@pytest.mark.parametrize("length", [59, 60, 61, 300])
def test_a_message_shows_at_most_60_characters_of_a_payload(length: int) -> None:
    name, value = "x" * length, "y" * (length - 2)
    shown = name if length <= 60 else "'" + "x" * 56 + "..."
    with pytest.raises(CheckpointError) as caught:
        CompletionTracker.from_checkpoint({"version": 1, "completed_rows": 0, name: 0}, GRAPH)
    assert str(caught.value) == f"checkpoint: {shown}: unknown in version 1"
    shown = f"'{value}'" if length <= 60 else "'" + "y" * 56 + "..."
    with pytest.raises(CheckpointError) as caught:
        CompletionTracker.from_checkpoint({"version": 1, "completed_rows": value}, GRAPH)
    assert str(caught.value) == (
        f"checkpoint: completed_rows: expected an integer from 0 to 5, got {shown}"
    )


TWO_INPUTS = ExecutionGraph(2, [C("a"), C("b"), C("c", dependencies=["a", "b"])])


@pytest.mark.clause("CKPT-05")
@pytest.mark.parametrize("behind", ["a", "b"])
def test_each_of_several_inputs_must_claim_the_rows_that_a_column_claims(behind: str) -> None:
    claim = {"a": 2, "b": 2, "c": 1, behind: 0}
    payload = {
        "version": 2,
        "completed_rows": 0,
        "column_rows": claim,
        "graph": TWO_INPUTS.fingerprint,
    }
    message = f"column_rows.c: claims 1 row, but its input '{behind}' claims 0"
    with pytest.raises(CheckpointError, match=message):
        CompletionTracker.from_checkpoint(payload, TWO_INPUTS)
    machine = Machine(TWO_INPUTS)
    for column in "abc":
        for kind in ("start", "complete"):
            machine.apply(Action(kind, column, (0, 1)))
        machine.apply(Action("durable", column, (0, 1)))
    with pytest.raises(Violation, match=r"^CKPT-05"):
        machine.apply(
            Action("checkpoint_begin", claim=tuple(0 if n == behind else 1 for n in "abc"))
        )


def test_any_mapping_is_an_object() -> None:
    restored = CompletionTracker.from_checkpoint(MappingProxyType(V1), GRAPH)
    assert GRAPH.get_completed_row_count(restored) == 3


# What is refused

BAD_COUNTS: list[tuple[Any, str]] = [
    (-1, "-1"),
    (6, "6"),
    (2.0, "2.0"),
    (math.nan, "nan"),
    (math.inf, "inf"),
    (True, "True"),
    (False, "False"),
    ("3", "'3'"),
    (None, "None"),
    ([], "[]"),
    ({}, "{}"),
    ([[{"x": [1]}]], "[[{'x': [1]}]]"),
    (10**30, str(10**30)),
    (HUGE, TOO_LARGE.format("int")),
    (DEEP, TOO_LARGE.format("list")),
    ("x" * 100, "'" + "x" * 56 + "..."),
    ("two\nlines", "'two\\nlines'"),
]


@pytest.mark.clause("CKPT-03")
@pytest.mark.parametrize(
    ("value", "shown"), BAD_COUNTS, ids=[shown[:32] for _, shown in BAD_COUNTS]
)
def test_a_count_that_is_no_number_of_rows_is_refused(value: Any, shown: str) -> None:
    expected = f"expected an integer from 0 to 5, got {shown}"
    assert refusal({**V1, "completed_rows": value}) == f"checkpoint: completed_rows: {expected}"
    bad = {**V2, "column_rows": {**V2["column_rows"], "b": value}}
    assert refusal(bad) == f"checkpoint: column_rows.b: {expected}"


BAD_VERSIONS: list[tuple[Any, str]] = [
    (0, "0"),
    (4, "4"),
    (-1, "-1"),
    (1.0, "1.0"),
    (3.0, "3.0"),
    (True, "True"),
    ("1", "'1'"),
    (None, "None"),
    ([1], "[1]"),
    (HUGE, TOO_LARGE.format("int")),
]


@pytest.mark.clause("CKPT-03")
@pytest.mark.parametrize(
    ("value", "shown"), BAD_VERSIONS, ids=[shown[:32] for _, shown in BAD_VERSIONS]
)
def test_an_unknown_version_is_refused_when_read_and_when_asked_for(value: Any, shown: str) -> None:
    expected = f"Incompatible checkpoint version: {shown}, expected 1, 2 or 3"
    assert refusal({**V1, "version": value}) == expected
    with pytest.raises(CheckpointError) as caught:
        GRAPH.tracker().to_checkpoint(GRAPH, version=value)
    assert str(caught.value) == expected


MALFORMED: list[tuple[Any, str]] = [
    (None, "expected an object, got None"),
    ([], "expected an object, got []"),
    (3, "expected an object, got 3"),
    ("{}", "expected an object, got '{}'"),
    ([("version", 1)], "expected an object, got [('version', 1)]"),
    (DEEP, f"expected an object, got {TOO_LARGE.format('list')}"),
    ({}, "version: missing; expected 1, 2 or 3"),
    ({"completed_rows": 1}, "version: missing; expected 1, 2 or 3"),
    ({"version": 1}, "completed_rows: missing; version 1 needs it"),
    ({"version": 2, "completed_rows": 1}, "column_rows: missing; version 2 needs it"),
    ({k: v for k, v in V2.items() if k != "graph"}, "graph: missing; version 2 needs it"),
    ({**V1, "rows": 1}, "rows: unknown in version 1"),
    ({**V1, "graph": GRAPH.fingerprint}, "graph: unknown in version 1"),
    ({**V2, "dropped": []}, "dropped: unknown in version 2"),
    ({**V1, 7: 1}, "7: unknown in version 1"),
    ({**V1, None: 1}, "None: unknown in version 1"),
    ({**V1, "two\nlines": 1}, "'two\\nlines': unknown in version 1"),
    ({**V1, HUGE: 1}, f"{TOO_LARGE.format('int')}: unknown in version 1"),
]


@pytest.mark.clause("CKPT-03")
@pytest.mark.parametrize(("payload", "message"), MALFORMED, ids=[m for _, m in MALFORMED])
def test_a_payload_with_the_wrong_shape_is_refused(payload: Any, message: str) -> None:
    assert refusal(payload) == f"checkpoint: {message}"


THIS_GRAPH = f"graph: this run's graph is {GRAPH.fingerprint}, the checkpoint is of"
OTHER_COLUMNS = "column_rows: expected the columns of the graph; differs in"
OTHER_GRAPH: list[tuple[str, Any, str]] = [
    ("graph", "0" * 32, f"{THIS_GRAPH} '{'0' * 32}'"),
    ("graph", None, f"{THIS_GRAPH} None"),
    ("column_rows", None, "column_rows: expected an object, got None"),
    ("column_rows", [5, 4, 2], "column_rows: expected an object, got [5, 4, 2]"),
    ("column_rows", {}, f"{OTHER_COLUMNS} 'a'"),
    ("column_rows", {"a": 5, "b": 4}, f"{OTHER_COLUMNS} 'c'"),
    ("column_rows", {"a": 5, "b": 4, "c": 2, "d": 1}, f"{OTHER_COLUMNS} 'd'"),
    (
        "column_rows",
        {"a": 5, "b": 4, "c": 2, HUGE: 1},
        f"{OTHER_COLUMNS} {TOO_LARGE.format('int')}",
    ),
]


@pytest.mark.clause("CKPT-04")
@pytest.mark.parametrize(("field", "value", "message"), OTHER_GRAPH, ids=range(len(OTHER_GRAPH)))
def test_a_payload_of_another_graph_is_refused(field: str, value: Any, message: str) -> None:
    assert refusal({**V2, field: value}) == f"checkpoint: {message}"


@pytest.mark.clause("CKPT-04")
def test_version_2_is_refused_by_another_pipeline_and_accepted_with_more_rows() -> None:
    more = ExecutionGraph(9, COLUMNS)
    restored = CompletionTracker.from_checkpoint(V2, more)
    assert restored.to_checkpoint(more, version=2) == V2
    ordered = ExecutionGraph(5, [C("a", traits=T.START | T.ORDERED), *COLUMNS[1:]])
    with pytest.raises(CheckpointError, match=r"^checkpoint: graph: this run's graph is "):
        CompletionTracker.from_checkpoint(V2, ordered)


@pytest.mark.clause("CKPT-05")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"column_rows": {"a": 3, "b": 4, "c": 2}},
            "column_rows.b: claims 4 rows, but its input 'a' claims 3",
        ),
        (
            {"column_rows": {"a": 5, "b": 2, "c": 3}},
            "column_rows.c: claims 3 rows, but its input 'b' claims 2",
        ),
        ({"completed_rows": 3}, "completed_rows: expected 2, the least of column_rows, got 3"),
        ({"completed_rows": 0}, "completed_rows: expected 2, the least of column_rows, got 0"),
    ],
)
def test_a_claim_that_no_run_can_have_made_is_refused(change: dict[str, Any], message: str) -> None:
    assert refusal({**V2, **change}) == f"checkpoint: {message}"


def is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= GRAPH.num_records


def is_valid(payload: object) -> bool:
    """By the words of CKPT-03 to CKPT-05."""
    if not isinstance(payload, Mapping) or type(payload.get("version")) is not int:
        return False
    if not is_count(payload.get("completed_rows")):
        return False
    if payload["version"] == 1:
        return set(payload) == {"version", "completed_rows"}
    rows = payload.get("column_rows")
    return (
        payload["version"] == 2
        and set(payload) == {"version", "completed_rows", "column_rows", "graph"}
        and payload["graph"] == GRAPH.fingerprint
        and isinstance(rows, Mapping)
        and set(rows) == {"a", "b", "c"}
        and all(is_count(value) for value in rows.values())
        and rows["a"] >= rows["b"] >= rows["c"]
        and bool(payload["completed_rows"] == rows["c"])
    )


@pytest.mark.clause("CKPT-03", "CKPT-04", "CKPT-05")
@given(payload=st.sampled_from((V1, V2)).flatmap(damaged))
def test_a_damaged_payload_is_refused_in_one_line_or_means_what_it_says(payload: object) -> None:
    if is_valid(payload):
        assert isinstance(payload, Mapping)
        restored = CompletionTracker.from_checkpoint(payload, GRAPH)
        assert restored.to_checkpoint(GRAPH, payload["version"]) == payload
        return
    message = refusal(payload)
    assert message.startswith(("checkpoint: ", "Incompatible checkpoint version: "))
    assert message.isprintable()
    assert len(message) < 250


V3: dict[str, Any] = {
    "version": 3,
    "completed_rows": 0,
    "column_rows": {"a": [[0, 2], [3, 5]], "b": [[1, 2], [4, 5]], "c": [[4, 5]]},
    "graph": GRAPH.fingerprint,
}


@pytest.mark.clause("CKPT-14")
@pytest.mark.parametrize("cls", [CompletionTracker, ThreadSafeCompletionTracker])
@pytest.mark.parametrize("config", [None, {}, {"a": "5e", "c": ""}], ids=repr)
def test_a_payload_of_any_rows_comes_back_the_same_with_its_config(
    cls: type[CompletionTracker], config: dict[str, str] | None
) -> None:
    payload = V3 if config is None else {**V3, "config": config}
    restored = cls.from_checkpoint(json.loads(json.dumps(payload)), GRAPH)
    assert restored.to_checkpoint(GRAPH, 3) == payload
    assert restored.to_checkpoint(GRAPH, 2)["column_rows"] == {"a": 2, "b": 0, "c": 0}
    restored.reset()
    assert "config" not in restored.to_checkpoint(GRAPH, 3)


@pytest.mark.clause("CKPT-20")
@pytest.mark.parametrize("cls", [CompletionTracker, ThreadSafeCompletionTracker])
def test_version_3_keeps_the_configuration_and_refuses_another(
    cls: type[CompletionTracker],
) -> None:
    old, new = (
        ExecutionGraph(5, [item.replace(version=versions.get(item.name)) for item in COLUMNS])
        for versions in ({"a": "1", "b": "1"}, {"a": "2", "c": "1"})
    )
    tracker = cls.for_graph(old)
    tracker.mark_complete(CellNodeId(3, "a"))
    payload = json.loads(json.dumps(tracker.to_checkpoint(old, 3)))
    assert payload["config"] == old.config
    assert "config" not in tracker.to_checkpoint(old, 2)
    with pytest.raises(CheckpointError) as caught:
        cls.from_checkpoint(payload, new)
    assert str(caught.value) == (
        f"checkpoint: config: 'a' has claimed cells of configuration {old.config['a']}, and is now "
        f"{new.config['a']}; give this run another folder, or keep_config=True to keep those cells"
    )
    kept = cls.from_checkpoint(payload, new, keep_config=True)
    # The digest of `b`, which states none now, stays beside the new ones.
    assert kept.to_checkpoint(new, 3)["config"] == {**old.config, **new.config}
    assert kept.to_checkpoint(new, 3)["column_rows"]["a"] == [[3, 4]]
    # What was kept is recorded, also by those that come after it.
    newer = ExecutionGraph(5, [item.replace(version="3") for item in COLUMNS])
    before = new
    for graph, digests in ((new, [old]), (newer, [old, new]), (newer, [old, new])):
        payload = json.loads(json.dumps(kept.to_checkpoint(before, 3)))
        kept, before = cls.from_checkpoint(payload, graph, keep_config=True), graph
        payload = kept.to_checkpoint(graph, 3)
        assert payload["kept"] == {"a": [each.config["a"] for each in digests]}
    kept.reset()
    assert "kept" not in kept.to_checkpoint(newer, 3)


@pytest.mark.clause("CKPT-20")
def test_a_column_without_claimed_cells_or_without_a_version_is_not_compared() -> None:
    graph = ExecutionGraph(5, [item.replace(version="2") for item in COLUMNS])
    nothing_of_c = {**V3, "column_rows": {**V3["column_rows"], "c": []}}
    same = {name: graph.config[name] for name in "ab"}
    for payload in (V3, {**nothing_of_c, "config": {**same, "c": "5e"}}):
        restored = CompletionTracker.from_checkpoint(payload, graph)
        assert restored.to_checkpoint(graph, 3) == {**payload, "config": graph.config}
    stated = {**V3, "config": dict.fromkeys("abc", "5e")}
    assert CompletionTracker.from_checkpoint(stated, GRAPH).to_checkpoint(GRAPH, 3) == stated


def versioned(**versions: str) -> ExecutionGraph:
    return ExecutionGraph(5, [item.replace(version=versions.get(item.name)) for item in COLUMNS])


@pytest.mark.clause("CKPT-20")
def test_the_first_changed_column_with_claimed_cells_is_named() -> None:
    old, new = versioned(a="1", b="1", c="1"), versioned(a="2", b="2", c="2")
    expect_config(new, (0, 0, 0), old.config)
    with pytest.raises(CheckpointError, match="config: 'c' has claimed cells"):
        expect_config(new, (0, 0, 1), old.config)
    expect_config(new, (3, 3, 3), new.config)


@pytest.mark.clause("CKPT-20")
@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        (versioned(a="1", b="1").config, versioned(a="1"), "'b'"),
        (versioned(a="1").config, versioned(a="1", b="1", c="1"), "'b'"),
        (versioned(b="1").config, versioned(a="1"), "'a', 'b'"),
        (None, versioned(a="1"), "'a'"),
        ({"z": "5e", **versioned(b="1").config}, versioned(), "'b'"),
        ({"z": "5e"}, versioned(c="1"), ""),
        (None, versioned(), ""),
    ],
)
def test_claimed_cells_that_cannot_be_compared_are_warned_of(
    before: dict[str, str] | None, after: ExecutionGraph, named: str
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        expect_config(after, (5, 2, 0), before)
    said = [str(each.message) for each in caught]
    words = f"checkpoint: config: claimed cells of {named} are not compared: they were made"
    assert len(said) == bool(named)
    assert all(each.startswith(words) for each in said)
    # It points to the line that asked.
    assert all(each.filename == __file__ for each in caught)


@pytest.mark.clause("CKPT-20")
def test_of_each_changed_column_with_claimed_cells_the_digest_is_kept_behind_earlier_ones() -> None:
    old, new = versioned(a="1", b="1", c="1"), versioned(a="2", b="2", c="2")
    claim, before = (0, 5, ((4, 5),)), old.config
    kept = kept_digests(new, Payload(claim, dict(before), {"b": ("5e",), "a": ("6f",)}))
    assert kept == {"a": ("6f",), "b": ("5e", before["b"]), "c": (before["c"],)}
    assert kept_digests(new, Payload(claim)) == {}
    # Each is written down, and read back.
    payload = make_payload(new, (5, 5, 5), 3, new.config, kept)
    assert payload["kept"] == {"a": ["6f"], "b": ["5e", before["b"]], "c": [before["c"]]}
    assert parse_payload(payload, new).kept == kept


RANGES = (
    "expected ranges [start, stop) of integers within 0 to 5, in order, none empty, none touching"
)
BAD_SETS: list[tuple[dict[str, Any], str]] = [
    ({"column_rows": {**V3["column_rows"], "c": [[4, 6]]}}, f"column_rows.c: {RANGES}"),
    ({"column_rows": {**V3["column_rows"], "c": [[3, 4], [4, 5]]}}, f"column_rows.c: {RANGES}"),
    ({"column_rows": {**V3["column_rows"], "c": 1}}, "column_rows.c: expected a list of ranges"),
    (
        {"column_rows": {**V3["column_rows"], "c": [[2, 3]]}},
        "column_rows.c: claims c[2], but its input 'b' does not",
    ),
    ({"completed_rows": 1}, "completed_rows: expected 0, the first rows of every column, got 1"),
    ({"config": []}, "config: expected an object, got []"),
    ({"config": {"z": "5e"}}, "config: expected columns of the graph, got 'z'"),
    ({"config": {"a": 5}}, "config.a: expected a string, got 5"),
    ({"kept": ["5e"]}, "kept: expected an object, got ['5e']"),
    ({"kept": {"z": ["5e"]}}, "kept: expected columns of the graph, got 'z'"),
    ({"kept": {"a": []}}, "kept.a: expected a list of strings, not empty, got []"),
    ({"kept": {"a": ["5e", 5]}}, "kept.a: expected a list of strings, not empty, got ['5e', 5]"),
    ({"kept": {"a": "5e"}}, "kept.a: expected a list of strings, not empty, got '5e'"),
    ({"kept": {"a": ["5e"], "b": []}}, "kept.b: expected a list of strings, not empty, got []"),
    ({"kept": {"a": ["5e"], "z": ["5e"]}}, "kept: expected columns of the graph, got 'z'"),
    ({"config": {"a": "5e", "b": 5}}, "config.b: expected a string, got 5"),
    *(
        ({"column_rows": {**V3["column_rows"], "c": [[4, 5], odd]}}, f"column_rows.c: {RANGES}")
        for odd in ([5], 5, [5, 5], [4, 5])
    ),
    *(
        ({"column_rows": {**V3["column_rows"], "c": [odd]}}, f"column_rows.c: {RANGES}")
        for odd in ([4, 4], [4.0, 5], [4, 5.0], [False, 1], [0, True], [-1, 1])
    ),
    (
        {"column_rows": {"a": [[0, 3]], "b": [[0, 4]], "c": []}},
        "column_rows.b: claims 4 rows, but its input 'a' claims 3",
    ),
    (
        {"column_rows": {"a": [[0, 3]], "b": [[1, 4]], "c": []}},
        "column_rows.b: claims b[3], but its input 'a' does not",
    ),
    (
        {"column_rows": {"a": [[1, 5]], "b": [[0, 4]], "c": []}},
        "column_rows.b: claims b[0], but its input 'a' does not",
    ),
    ({"rows": 1}, "rows: unknown in version 3"),
]


@pytest.mark.clause("CKPT-03", "CKPT-05")
@pytest.mark.parametrize(("change", "message"), BAD_SETS, ids=range(len(BAD_SETS)))
def test_a_bad_payload_of_any_rows_is_refused(change: dict[str, Any], message: str) -> None:
    assert refusal({**V3, **change}).startswith(f"checkpoint: {message}")


@pytest.mark.clause("CKPT-05")
def test_a_claim_out_of_order_is_refused_unless_the_row_is_dropped() -> None:
    graph = ExecutionGraph(3, [C("o", traits=T.ORDERED)])
    payload = {
        "version": 3,
        "completed_rows": 1,
        "column_rows": {"o": [[0, 1], [2, 3]]},
        "graph": graph.fingerprint,
    }
    with pytest.raises(CheckpointError) as caught:
        CompletionTracker.from_checkpoint(payload, graph)
    assert str(caught.value) == (
        "checkpoint: column_rows.o: claims o[2], but not every cell that comes before it in order"
    )
    assert CompletionTracker.from_checkpoint(payload, graph, dropped=[2]).is_dropped(2)


@pytest.mark.clause("CKPT-17", "SKIP-03")
def test_a_dropped_row_must_be_one_of_which_the_claim_holds_a_cell() -> None:
    for bad in (2, 5, -1, True):
        with pytest.raises(CheckpointError) as caught:
            CompletionTracker.from_checkpoint(V3, GRAPH, dropped=[0, bad])
        assert str(caught.value) == (
            f"dropped: expected rows of which the checkpoint claims a cell; got {bad!r}"
        )
    with pytest.raises(CheckpointError, match=r"^skipped\.c: expected rows of which"):
        CompletionTracker.from_checkpoint(V3, GRAPH, skipped={"c": [0]})


# Trackers and graphs that do not belong together


@pytest.mark.clause("CKPT-04")
@pytest.mark.parametrize("version", [1, 2])
def test_a_graphs_own_tracker_makes_no_checkpoint_of_another_graph(version: int) -> None:
    other = ExecutionGraph(5, [C("x")])
    with pytest.raises(NodeError) as caught:
        GRAPH.tracker().to_checkpoint(other, version)
    assert str(caught.value) == (
        "this tracker belongs to ExecutionGraph(num_records=5, columns=[a, b, c]); "
        "it was asked about ExecutionGraph(num_records=5, columns=[x])"
    )


@pytest.mark.parametrize("cls", [CompletionTracker, ThreadSafeCompletionTracker])
def test_a_tracker_makes_no_checkpoint_of_a_graph_with_other_rows(
    cls: type[CompletionTracker],
) -> None:
    more = ExecutionGraph(6, COLUMNS)
    for tracker in (cls(5), cls.for_graph(GRAPH)):
        with pytest.raises(NodeError) as caught:
            tracker.to_checkpoint(more)
        assert str(caught.value) == "a tracker of 5 rows was asked about a graph of 6"


@pytest.mark.clause("CKPT-02", "TRACK-03")
def test_a_bare_tracker_makes_a_checkpoint_of_the_columns_of_a_graph() -> None:
    tracker = CompletionTracker(5)
    for row in range(5):
        tracker.mark_complete(CellNodeId(row, "x"))
    tracker.mark_complete(CellNodeId(0, "a"))
    assert tracker.to_checkpoint(ExecutionGraph(5, [C("x")]))["completed_rows"] == 5
    payload = tracker.to_checkpoint(GRAPH, version=2)
    assert payload["column_rows"] == {"a": 1, "b": 0, "c": 0}


@pytest.mark.clause("CKPT-08", "CKPT-10")
def test_rows_may_become_durable_in_any_order_and_a_claim_waits_for_those_before() -> None:
    machine = Machine(GRAPH)
    for row in range(2):
        for kind in ("start", "complete"):
            machine.apply(Action(kind, "a", (row, row + 1)))
    with pytest.raises(Violation, match=r"CKPT-08: rows 1–2 of 'a' are .* row 2 is not"):
        machine.apply(Action("durable", "a", (1, 3)))
    machine.apply(Action("durable", "a", (1, 2)))
    assert machine.durable[0] == 0
    with pytest.raises(
        Violation, match="CKPT-10: 2 rows of 'a' are claimed, but only 0 are durable"
    ):
        machine.apply(Action("checkpoint_begin", claim=(2, 0, 0)))
    machine.apply(Action("durable", "a", (0, 1)))
    machine.apply(Action("checkpoint_begin", claim=(2, 0, 0)))
