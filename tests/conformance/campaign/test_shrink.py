"""The search for smaller examples: bounded tries, each example once, and nothing left to take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from cellspec import ColumnDescriptor, ExecutionTraits, FailurePolicy, Limits
from cellspec.conformance.campaign.shrink import Tries, fewest, shrink
from cellspec.conformance.campaign.shrink_workload import shrunk_workload
from cellspec.conformance.run.workload import End, Fault, StorageFault, Workload
from cellspec.machine.machine import Failure


def test_an_example_is_asked_about_once() -> None:
    asked: list[int] = []

    def breaks(one: int) -> bool:
        asked.append(one)
        return True

    tries = Tries(breaks, 10, key=lambda one: one)
    tries.skip(3)
    assert [tries.breaks(one) for one in (1, 1, 2, 3)] == [True, False, True, False]
    assert asked == [1, 2]


def test_no_more_examples_are_asked_about_than_allowed() -> None:
    tries = Tries[int](lambda _: True, 2)
    assert [tries.breaks(1) for _ in range(4)] == [True, True, False, False]
    assert tries.left == 0


def test_passes_begin_again_with_the_first_after_each_smaller_example() -> None:
    def halves(number: int) -> int | None:
        return number // 2 if number % 2 == 0 and number > 2 else None

    def one_less(number: int) -> int | None:
        return number - 1 if number > 1 else None

    assert shrink(12, [halves]) == 3
    assert shrink(12, [halves, one_less]) == 1


@given(st.integers(1, 40), st.data())
def test_exactly_the_items_that_are_needed_are_left(count: int, data: st.DataObject) -> None:
    needed = data.draw(st.sets(st.integers(0, count - 1), min_size=1))

    def suffices(items: Sequence[int]) -> bool:
        assert items
        return needed <= set(items)

    assert list(fewest(range(count), suffices)) == sorted(needed)


PLAIN = Workload((ColumnDescriptor("a"),), rows=1)
RICH = Workload(
    (
        ColumnDescriptor("x", may_skip=True),
        ColumnDescriptor("y", traits=ExecutionTraits.BATCH_BARRIER, dependencies=["x"]),
    ),
    rows=4,
    batch_size=2,
    barrier_scope="batch",
    seed=7,
    limits=Limits(2, {"r": 1}, {"x": "r"}, 2, 2),
    failures=FailurePolicy(2, 4, 0.5, 9.5),
    latency_s={"x": 2.0},
    faults=(Fault("x", 0), Fault("x", 2, failure="timeout")),
    rejects=(("x", 3),),
    foreign="retryable",
    skips=(("x", 1),),
    checkpoint_every_rows=1,
    checkpoint_version=2,
    crashes=(3,),
    targets=(4, 6),
    order_seed=5,
    keep=True,
    ends=(End(0, "x", 0, 1, 9.0),),
    versions={"x": "1"},
    texts={"y": "null"},
    visits=("config",),
    stop_at=(5,),
    stop_twice=True,
    storage_s=0.5,
    storage_faults=(StorageFault("claim", 2),),
    worker_losses=(2,),
    row_ids="gappy",
    killers=(("x", 0),),
    torn=(1,),
)
"""A workload that makes use of every field."""


def test_each_field_of_a_workload_is_put_back_to_its_usual_value() -> None:
    for record, usual in ((RICH, PLAIN), (RICH.limits, Limits()), (RICH.failures, FailurePolicy())):
        for field in fields(record):
            # No workload asks an engine for calls of several places.
            if field.name != "column_places":
                assert getattr(record, field.name) != getattr(usual, field.name), field.name
    assert shrunk_workload(RICH, lambda _: True, runs_max=10_000) == PLAIN


def test_of_two_kinds_that_do_as_well_the_same_one_is_left() -> None:
    kinds: tuple[Failure, ...] = ("retryable", "permanent", "backpressure", "timeout")
    barriers = (ExecutionTraits.BARRIER, ExecutionTraits.BATCH_BARRIER)
    found = {
        shrunk_workload(
            Workload(
                (ColumnDescriptor("a", traits=barrier),),
                rows=2,
                batch_size=1,
                failures=FailurePolicy(timeout_s=1.0),
                faults=(Fault("a", 0, failure=kind),),
                storage_faults=(StorageFault("claim", 2, lands=True, lasts=lasts),),
            ),
            lambda work: bool(
                any(column.traits in barriers for column in work.columns)
                and work.faults
                and work.storage_faults
            ),
            runs_max=1000,
        ).to_json()
        for kind in kinds
        for barrier in barriers
        for lasts in (True, False)
    }
    assert len(found) == 1
    (one,) = found
    assert Workload.from_json(one).storage_faults == (StorageFault("claim", 1),)
