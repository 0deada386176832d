"""Limits: which are refused, and places of several resources, counted by hand."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import Any

import pytest

from cellspec import (
    ColumnDescriptor,
    ExecutionGraph,
    ExecutionTraits,
    Limits,
    Machine,
    SpecError,
    Violation,
)
from cellspec.machine.limits import FailurePolicy

GPU = {"gpu": 3, "api": 2}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"workers": 0}, "limits: workers: expected a positive integer, got 0"),
        ({"workers": True}, "limits: workers: expected a positive integer, got True"),
        ({"group_rows": 0}, "limits: group_rows: expected a positive integer, got 0"),
        ({"groups": 1}, "limits: groups: needs group_rows, the rows of a row group"),
        ({"group_rows": 1, "groups": 0}, "limits: groups: expected a positive integer, got 0"),
        ({"resources": {"gpu": 0}}, "limits: gpu: expected a positive integer, got 0"),
        ({"column_resource": {"a": "gpu"}}, "column 'a' uses resource 'gpu', which has no limit"),
        (
            {"resources": GPU, "column_resource": {"a": "gpu", "b": "tpu"}},
            "limits: column 'b' uses resource 'tpu', which has no limit",
        ),
        (
            {"resources": GPU, "column_places": {"a": {"gpu": 1}}},
            "limits: column_places: a: expected its column_resource among 'gpu'",
        ),
        (
            {
                "resources": GPU,
                "column_resource": {"a": "gpu", "b": "gpu"},
                "column_places": {"a": {"gpu": 1}, "b": {"api": 1}},
            },
            "limits: column_places: b: expected its column_resource among 'api'",
        ),
        (
            {
                "resources": GPU,
                "column_resource": {"a": "gpu"},
                "column_places": {"a": {"gpu": 1, "tpu": 1}},
            },
            "limits: column_places: a: resource 'tpu' has no limit",
        ),
        *(
            (
                {
                    "resources": GPU,
                    "column_resource": {"a": "gpu"},
                    "column_places": {"a": {"gpu": 3, "api": places}},
                },
                "limits: column_places: a: api: expected from 1 to 2 places, the limit of the "
                f"resource, got {places}",
            )
            for places in (0, 3, True)
        ),
    ],
)
def test_limits_that_nobody_could_keep_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as refused:
        Limits(**given)
    assert str(refused.value).endswith(said)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"max_attempts": 0}, "failures: max_attempts: expected a positive integer, got 0"),
        ({"max_attempts": True}, "failures: max_attempts: expected a positive integer, got True"),
        ({"max_attempts": None}, "failures: max_attempts: expected a positive integer, got None"),
        ({"stop_window": 0}, "failures: stop_window: expected a positive integer, got 0"),
        ({"stop_window": 1, "stop_rate": 0.0}, "got 0.0"),
        ({"stop_window": 1, "stop_rate": 1.5}, "got 1.5"),
        *(
            ({"timeout_s": wrong}, f"failures: timeout_s: expected seconds above 0, got {wrong!r}")
            for wrong in (0.0, math.inf, True, "1")
        ),
    ],
)
def test_a_failure_policy_that_means_nothing_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as refused:
        FailurePolicy(**given)
    assert str(refused.value).endswith(said)


def test_the_least_and_the_most_that_limits_allow_are_taken() -> None:
    Limits(1, GPU, {"a": "gpu"}, 1, 1, {"a": {"gpu": 3, "api": 1}})
    FailurePolicy(max_attempts=1, stop_window=1, stop_rate=1.0, timeout_s=0.5)


PLACES = {"a": {"gpu": 2, "api": 1}, "b": {"gpu": 1}, "c": {"api": 1}, "d": {}}
"""What a call of each column takes; b and c take one place of their resource alone."""


def sharing(workers: int | None) -> Machine:
    columns = [ColumnDescriptor(name, traits=ExecutionTraits.START) for name in "abcd"]
    resource = {"a": "gpu", "b": "gpu", "c": "api"}
    places = {name: PLACES[name] for name in "ab"}
    limits = Limits(workers, GPU, resource, column_places=places)
    return Machine(ExecutionGraph(3, columns), limits)


@pytest.mark.clause("SCHED-11")
@pytest.mark.parametrize("workers", [None, 3])
@pytest.mark.parametrize("seed", range(4))
def test_a_call_starts_while_places_of_each_resource_that_it_takes_are_free(
    seed: int, workers: int | None
) -> None:
    drawn, machine = random.Random(seed), sharing(workers)
    pending = {(column, row) for column in range(4) for row in range(3)}
    running: set[tuple[int, int]] = set()
    while pending or running:
        taken: Counter[str] = Counter()
        for column, _ in running:
            taken.update(PLACES["abcd"[column]])
        room = workers is None or len(running) < workers
        fit = {
            name
            for name, places in PLACES.items()
            if room and all(taken[each] + count <= GPU[each] for each, count in places.items())
        }
        starts = {step.column for step in machine.enabled() if step.kind == "start"}
        assert starts == {name for name in fit if any("abcd"[c] == name for c, _ in pending)}
        for column, row in sorted(pending):
            if "abcd"[column] not in fit:
                with pytest.raises(Violation) as broken:
                    machine.start_cell(column, row)
                assert broken.value.clause == ("SCHED-11" if room else "SCHED-06")
                if room:
                    takes = PLACES["abcd"[column]]
                    lacks = [each for each in takes if taken[each] + takes[each] > GPU[each]]
                    assert any(f"{each!r}" in str(broken.value) for each in lacks)
                    assert any(f"{taken[each]} " in str(broken.value) for each in lacks)
                break
        may_start = [cell for cell in sorted(pending) if "abcd"[cell[0]] in fit]
        if may_start and (not running or drawn.random() < 0.6):
            cell = drawn.choice(may_start)
            # A driver that knows that its call fits takes the compiled function.
            machine.counters.start[cell[0]](cell[1])
            pending.remove(cell)
            running.add(cell)
        else:
            cell = drawn.choice(sorted(running))
            machine.complete_cell(*cell)
            running.remove(cell)
    assert machine.completed_rows == 3


@pytest.mark.clause("SCHED-11")
def test_columns_that_take_other_places_are_counted_apart() -> None:
    resource, places = {"a": "gpu", "b": "gpu"}, {"a": {"gpu": 2}, "b": {"gpu": 3}}
    limits = Limits(None, {"gpu": 3}, resource, column_places=places)
    assert [limits.takes[limits.group_of(name)] for name in "ab"] == [{"gpu": 2}, {"gpu": 3}]
    columns = [ColumnDescriptor(name, traits=ExecutionTraits.START) for name in "ab"]
    machine = Machine(ExecutionGraph(1, columns), limits)
    machine.start_cell(0, 0)
    with pytest.raises(Violation, match=r"^SCHED-11: b\[0\] takes 3 places of 'gpu'"):
        machine.start_cell(1, 0)


@pytest.mark.clause("FAIL-02", "SCHED-14")
def test_by_default_a_node_has_one_attempt_and_a_run_goes_on_without_a_row() -> None:
    machine = Machine(ExecutionGraph(2, [ColumnDescriptor("a")]), failures=FailurePolicy())
    machine.start_cell(0, 0)
    machine.fail_cell(0, 0, "retryable")
    assert list(machine.unrecorded) == [0]
    with pytest.raises(Violation, match=r"^SCHED-09: a\[1\] at t=0 s was ready"):
        machine.at(1.0)
