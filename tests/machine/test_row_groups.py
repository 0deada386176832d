"""Row groups in every order: from no state that is lawful does a crash alone lead on (GROUP-08).

Small graphs of two and three columns, each with every size of groups and batches and every limit,
are run through every order of admissions, with all other work done at once. The machine
offers exactly the admissions after which, by definition, some order ends the run.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from cellspec import Action, ColumnDescriptor, ExecutionTraits, Limits, Machine, SpecError
from cellspec.errors import Violation
from tests.pair import Pair
from tests.strategies import Case, Plan

pytestmark = [pytest.mark.invariant, pytest.mark.clause("GROUP-08")]

T = ExecutionTraits
A = ColumnDescriptor("a", traits=T.START)
X = ColumnDescriptor("x", traits=T.BATCH_BARRIER, dependencies=["a"])
XO = ColumnDescriptor("x", traits=T.BATCH_BARRIER | T.ORDERED, dependencies=["a"])
O = ColumnDescriptor("o", traits=T.ORDERED, dependencies=["a"])  # noqa: E741
OX = ColumnDescriptor("o", traits=T.ORDERED, dependencies=["x"])
XB = ColumnDescriptor("x", traits=T.BATCH_BARRIER, dependencies=["o"])
SHAPES = {
    "ordered": (A, O),
    "batch": (A, X),
    "ordered batches": (A, XO),
    "ordered after batch": (A, X, OX),
    "batch after ordered": (A, O, XB),
}


def plans_of(columns: tuple[ColumnDescriptor, ...], rows: int) -> Iterator[Plan]:
    batches = range(1, rows + 1) if any(c.is_batch_barrier for c in columns) else [None]
    for size, most, batch in itertools.product(range(1, rows), range(1, rows), batches):
        yield Plan(Case(rows, columns, batch), Limits(group_rows=size, groups=most), None)


def settled(plan: Plan, admissions: tuple[Action, ...]) -> Pair:
    """A run after some admissions, each when all work before it is done."""
    pair = Pair(plan)
    for admission in (*admissions, None):
        while steps := pair.enabled("start", "complete", "retire"):
            pair.take(steps[0])
        if admission is not None:
            pair.take(admission)
    return pair


@pytest.mark.parametrize("rows", [2, 3, 4])
@pytest.mark.parametrize("columns", SHAPES.values(), ids=list(SHAPES))
def test_every_lawful_order_of_admissions_leads_to_the_end(
    columns: tuple[ColumnDescriptor, ...], rows: int
) -> None:
    for plan in plans_of(columns, rows):
        try:
            histories: list[tuple[Action, ...]] = [()]
            Pair(plan)
        except SpecError:
            # No order at all would do: GROUP-04.
            continue
        while histories:
            history = histories.pop()
            pair = settled(plan, history)
            pair.check_readiness()
            admissions = pair.enabled("admit")
            done = pair.machine.completed_rows == rows
            assert done or admissions, (plan, [str(step) for step in history])
            histories += [(*history, admission) for admission in admissions]


def test_the_admission_that_fills_the_limit_with_groups_that_wait_is_refused() -> None:
    machine = Machine(Case(3, (A, O)).graph(), Limits(group_rows=1, groups=2))
    machine.admit(2, 3)
    with pytest.raises(Violation, match=r"^GROUP-08: row group 1 is admitted with 1 admitted of 2"):
        machine.admit(1, 2)
    machine.admit(0, 1)


def test_groups_that_share_a_batch_may_not_keep_the_rest_of_it_out() -> None:
    machine = Machine(Case(5, (A, X), batch_size=2).graph(), Limits(group_rows=1, groups=2))
    machine.admit(0, 1)
    with pytest.raises(Violation, match=r"^GROUP-08"):
        machine.admit(2, 3)
    machine.admit(1, 2)


def test_without_a_limit_groups_are_admitted_in_any_order() -> None:
    machine = Machine(Case(3, (A, O)).graph(), Limits(group_rows=1))
    for row in (2, 1, 0):
        machine.admit(row, row + 1)


@pytest.mark.clause("GROUP-08")
def test_a_group_of_a_later_batch_may_come_first_if_its_batch_can_be_finished() -> None:
    """Three places: rows 3 and 4 are a batch, and give their places back to rows 1 and 2."""
    columns = [ColumnDescriptor("b", traits=ExecutionTraits.BATCH_BARRIER)]
    run = Machine(Case(5, tuple(columns), batch_size=3).graph(), Limits(group_rows=1, groups=3))
    run.apply(Action("admit", rows=(0, 1)))
    run.apply(Action("admit", rows=(3, 4)))
    with pytest.raises(Violation, match=r"^GROUP-08"):
        run.apply(Action("admit", rows=(1, 2)))
    run.apply(Action("admit", rows=(4, 5)))
