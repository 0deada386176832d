"""Workloads: what a call does is decided by the workload alone, and text gives it back whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellspec import ColumnDescriptor, ExecutionTraits, FailurePolicy, GraphError, Limits, SpecError
from cellspec.conformance import Fault, StorageFault, Workload
from cellspec.conformance.judge.profiles import DRAWN
from cellspec.conformance.run.workload import DEFAULT_LATENCY_S, TICK_S, End
from tests.workloads import workloads

T = ExecutionTraits
AB = (ColumnDescriptor("a", traits=T.START), ColumnDescriptor("b", dependencies=["a"]))
SKIPPING = (ColumnDescriptor("a", may_skip=True),)
BARRIER = (ColumnDescriptor("a"), ColumnDescriptor("v", traits=T.BARRIER, dependencies=["a"]))
NAMES = {
    each.__name__: each
    for each in (
        ColumnDescriptor,
        ExecutionTraits,
        FailurePolicy,
        Fault,
        Limits,
        StorageFault,
        Workload,
    )
}

any_workload = st.sampled_from([profile.name for profile in DRAWN]).flatmap(workloads)


def refusal(**fields: Any) -> str:
    given: dict[str, Any] = {"columns": AB, "rows": 3}
    with pytest.raises(SpecError) as caught:
        Workload(**(given | fields))
    text = str(caught.value)
    assert "\n" not in text
    return text


# Incarnations


def test_a_workload_without_crashes_and_targets_has_one_incarnation() -> None:
    work = Workload(AB, 3)
    assert (work.incarnations, work.crash_step(0), work.rows_of(0)) == (1, 0, 3)


def test_each_crash_adds_an_incarnation_and_the_last_one_runs_to_its_end() -> None:
    work = Workload(AB, 3, crashes=(5, 7))
    assert [work.crash_step(incarnation) for incarnation in range(work.incarnations)] == [5, 7, 0]


def test_incarnations_beyond_the_targets_keep_the_last_one() -> None:
    work = Workload(AB, 3, crashes=(5, 7), targets=(4, 6))
    assert [work.rows_of(incarnation) for incarnation in range(work.incarnations)] == [4, 6, 6]
    assert [work.graph(incarnation).num_records for incarnation in range(work.incarnations)] == [
        4,
        6,
        6,
    ]


# Calls


def test_latencies_are_multiples_of_a_tick_spread_around_the_mean() -> None:
    work = Workload(AB, 3, latency_s={"a": 2.0})
    drawn = [work.latency("a", row, 1) for row in range(400)]
    assert all(each / TICK_S == int(each / TICK_S) and 0 < each < 4.0 for each in drawn)
    assert 1.8 < sum(drawn) / len(drawn) < 2.2
    assert min(drawn) < 1.0 < 3.0 < max(drawn)


def test_a_column_that_is_not_named_has_the_default_latency() -> None:
    drawn = [Workload(AB, 3).latency("b", row, 1) for row in range(400)]
    assert abs(sum(drawn) / len(drawn) - DEFAULT_LATENCY_S) < 0.1


@pytest.mark.parametrize(
    ("mean_s", "expected"), [(0.0, 0.0), (0.001, TICK_S), (TICK_S, TICK_S)], ids=str
)
def test_a_mean_below_a_tick_is_a_tick_and_nothing_is_nothing(
    mean_s: float, expected: float
) -> None:
    assert Workload(AB, 3, latency_s={"a": mean_s}).latency("a", 0, 1) == expected


@given(any_workload, st.integers(1, 9), st.integers(1, 4))
def test_more_rows_and_other_crashes_never_change_a_call(
    work: Workload, more: int, call: int
) -> None:
    longer = work.replace(rows=work.rows + more, targets=(), crashes=(3,))
    for name in work.graph().column_names:
        for row in range(2):
            assert longer.latency(name, row, call) == work.latency(name, row, call)
            assert longer.fault(name, row, call) == work.fault(name, row, call)


def test_another_seed_draws_other_latencies() -> None:
    drawn = {
        tuple(Workload(AB, 3, seed=seed).latency("a", row, 1) for row in range(8))
        for seed in range(10)
    }
    assert len(drawn) == 10


def test_the_call_decides_which_fault_it_meets() -> None:
    work = Workload(AB, 3, faults=(Fault("a", 1, 2, "backpressure", 4.0),))
    assert [work.fault("a", 1, call) for call in (1, 2, 3)] == [None, work.faults[0], None]
    assert work.fault("a", 0, 2) is None
    assert work.fault("b", 1, 2) is None


def test_only_the_cells_that_are_named_want_to_be_skipped() -> None:
    work = Workload(SKIPPING, 3, skips=(("a", 1),))
    assert [work.wants_skip("a", row) for row in range(3)] == [False, True, False]


# Text


@given(any_workload)
def test_a_case_file_gives_the_workload_back(work: Workload) -> None:
    assert Workload.from_json(work.to_json()) == work
    assert Workload.from_dict(json.loads(json.dumps(work.to_dict()))) == work


@given(any_workload)
def test_the_repr_of_a_workload_is_python_that_makes_it(work: Workload) -> None:
    assert eval(repr(work), dict(NAMES)) == work


def test_the_repr_leaves_out_fields_with_their_default() -> None:
    work = Workload(AB, 3, faults=(Fault("a", 1, failure="permanent"),), limits=Limits(workers=2))
    assert repr(work) == (
        "Workload(columns=(ColumnDescriptor('a', traits=ExecutionTraits.START), "
        "ColumnDescriptor('b', dependencies=['a']),), rows=3, limits=Limits(workers=2), "
        "faults=(Fault('a', 1, failure='permanent'),))"
    )


def test_a_case_file_may_leave_out_fields_with_their_default() -> None:
    text = '{"case": 1, "rows": 2, "columns": [{"name": "a"}]}'
    assert Workload.from_json(text) == Workload((ColumnDescriptor("a"),), 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[1", "x.json: line 1: not JSON: Expecting ',' delimiter"),
        ("\n{,}", "x.json: line 2: not JSON: Expecting property name enclosed in double quotes"),
        ("[]", "x.json: expected an object, got list"),
        ("{}", "x.json: case: is missing (and 2 more)"),
        ('{"case": 2, "rows": 1, "columns": []}', "x.json: case: input should be 1, got 2"),
    ],
)
def test_a_file_that_is_no_case_file_is_refused_in_one_line(text: str, expected: str) -> None:
    with pytest.raises(SpecError) as caught:
        Workload.from_json(text, "x.json")
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"rows": "3"}, "x.json: rows: input should be a valid integer, got '3'"),
        ({"rows": True}, "x.json: rows: input should be a valid integer, got True"),
        ({"colour": 1}, "x.json: colour: is no field of a case file"),
        ({"limits": {"worker": 1}}, "x.json: limits.worker: is no field of a case file"),
        ({"limits": {"workers": 0}}, "x.json: limits: workers: expected a positive integer, got 0"),
        (
            {"faults": [{"column": "a", "position": 0}, {"column": "a"}]},
            "x.json: faults[1].position: is missing",
        ),
        (
            {"faults": [{"column": "z", "position": 0}]},
            "x.json: faults[0]: unknown column 'z'; the columns are 'a'",
        ),
        (
            {"columns": []},
            "x.json: column_descriptors cannot be empty: a graph has at least one column",
        ),
        (
            {"columns": [{"name": "a", "needs": ["z"]}]},
            "x.json: column 'a' depends on unknown column 'z'; available names: 'a'",
        ),
    ],
    ids=str,
)
def test_a_field_that_cannot_be_used_is_named(change: dict[str, Any], expected: str) -> None:
    data = {"case": 1, "rows": 3, "columns": [{"name": "a"}]} | change
    with pytest.raises(SpecError) as caught:
        Workload.from_dict(data, "x.json")
    assert str(caught.value) == expected


@given(st.text() | st.binary())
def test_any_text_is_a_workload_or_refused_in_one_line(text: str | bytes) -> None:
    with pytest.raises(SpecError) as caught:
        Workload.from_json(text)
    assert "\n" not in str(caught.value)


# What is refused


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"rows": 0}, "rows: expected an integer from 1 up, got 0"),
        ({"seed": 1.5}, "seed: expected an integer, got 1.5"),
        ({"order_seed": -1}, "order_seed: expected an integer from 0 up, got -1"),
        ({"checkpoint_every_rows": 0}, "checkpoint_every_rows: expected an integer from 1 up"),
        ({"checkpoint_version": 4}, "checkpoint_version: expected 1, 2 or 3, got 4"),
        ({"crashes": (1, -1)}, "crashes[1]: expected an integer from 0 up, got -1"),
        ({"targets": (2, 0)}, "targets[1]: expected an integer from 1 up, got 0"),
        ({"latency_s": {"z": 1.0}}, "latency_s.z: unknown column 'z'; the columns are 'a', 'b'"),
        ({"latency_s": {"a": -1.0}}, "latency_s.a: expected seconds from 0 up, got -1.0"),
        ({"latency_s": {"a": float("nan")}}, "latency_s.a: expected seconds from 0 up, got nan"),
        ({"skips": (("a", 0),)}, "skips[0]: column 'a' has no skip condition"),
        ({"faults": (Fault("a", 3),)}, "faults[0]: position 3 is out of range; expected 0 to 2"),
        ({"faults": (Fault("a", 0, 0),)}, "faults[0].call: expected an integer from 1 up, got 0"),
        (
            {"faults": (Fault("a", 0), Fault("a", 0, failure="permanent"))},
            "faults: two of them say how the same call fails",
        ),
        (
            {"faults": (Fault("a", 0, failure="permanent", raises="Odd"),)},
            "faults[0].raises: expected one of ValueError, OSError, Unheard, TimeoutError, "
            "got 'Odd'",
        ),
        (
            {"faults": (Fault("a", 0, raises="ValueError"),)},
            "faults[0].failure: expected permanent, as foreign exceptions are read, "
            "got 'retryable'",
        ),
        (
            {"faults": (Fault("a", 0, answers="short"),)},
            "faults[0].answers: column 'a' is no barrier",
        ),
        ({"foreign": "ignored"}, "foreign: expected permanent or retryable, got 'ignored'"),
        (
            {"faults": (Fault("a", 0, 1, "timeout"),)},
            "faults[0].failure: a call that hangs needs failures.timeout_s",
        ),
        (
            {"faults": (Fault("a", 0, 1, "odd"),)},  # type: ignore[arg-type]
            "faults[0].failure: expected one of retryable, backpressure, permanent, timeout, "
            "got 'odd'",
        ),
        (
            {"faults": (Fault("a", 0, 1, "backpressure", -2.0),)},
            "faults[0].cool_down_s: expected seconds from 0 up, got -2.0",
        ),
        (
            {"ends": (End(-1, "a", 0, 1, 0.5),)},
            "ends[0].incarnation (life in a case file): expected an integer from 0 up, got -1",
        ),
        (
            {"limits": Limits(resources={"x": 1}, column_resource={"z": "x"})},
            "limits.column_resource.z: unknown column 'z'; the columns are 'a', 'b'",
        ),
    ],
    ids=str,
)
def test_a_workload_that_makes_no_sense_is_refused_in_one_line(
    fields: dict[str, Any], expected: str
) -> None:
    assert refusal(**fields).startswith(f"workload: {expected}")


def test_a_fault_of_a_barrier_names_a_scope() -> None:
    assert Workload(BARRIER, 3, faults=(Fault("v", 0),)).faults
    text = refusal(columns=BARRIER, faults=(Fault("v", 1),))
    assert text == "workload: faults[0]: position 1 is out of range; expected 0 to 0"


def test_a_fault_may_be_in_rows_that_only_a_later_incarnation_has() -> None:
    assert Workload(AB, 3, targets=(3, 9), faults=(Fault("a", 8),)).faults


def test_columns_that_form_no_graph_are_refused_when_the_workload_is_made() -> None:
    with pytest.raises(GraphError, match="cycle"):
        Workload((ColumnDescriptor("a", dependencies=["a"]),), 1)
