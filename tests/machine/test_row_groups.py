"""Row groups in every order: from no state that is lawful does a crash alone lead on (GROUP-08).

Small graphs of two and three columns, each with every size of groups and batches and every limit,
are run through every order of admissions, with all other work done at once. The machine
offers exactly the admissions after which, by definition, some order ends the run. The explorer
shows the same with all other work in every order (`tests/explore/test_groups.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from cellspec import (
    Action,
    ColumnDescriptor,
    ExecutionGraph,
    ExecutionTraits,
    Limits,
    Machine,
    SpecError,
)
from cellspec.errors import Violation
from cellspec.machine.policy import admission_leads_nowhere
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


@pytest.mark.parametrize("rows", [2, 3, pytest.param(4, marks=pytest.mark.long)])
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


def spans_of(
    rows: int, size: int, batch: int | None, closed: frozenset[int], first: int | None
) -> list[range]:
    """By group the groups that it waits for.

    Args:
        rows: how many there are.
        size: of a group.
        batch: rows of a batch; None without a batch barrier.
        closed: groups in which the barrier's output is claimed.
        first: with an ordered column the first group that is not resolved.
    """
    found = []
    for group, start in enumerate(range(0, rows, size)):
        stop = min(start + size, rows)
        low = group if first is None else min(group, first)
        high = group
        if batch is not None and group not in closed:
            low = min(low, start // batch * batch // size)
            high = (min(-(-stop // batch) * batch, rows) - 1) // size
        found.append(range(low, high + 1))
    return found


def every_order_is_stuck(
    now: frozenset[int], spans: list[range], left: set[int], most: int
) -> bool:
    """By definition: no order of admissions lets every group end; each is tried."""
    stuck: dict[frozenset[int], bool] = {}

    def search(known: frozenset[int]) -> bool:
        if known not in stuck:
            outside = left - known
            holding = sum(not outside.isdisjoint(spans[each]) for each in now | known)
            stuck[known] = bool(outside) and (
                holding >= most or all(search(known | {each}) for each in outside)
            )
        return stuck[known]

    return search(now)


@pytest.mark.parametrize(("rows", "size"), [(4, 1), (5, 1), (7, 2), (9, 2), (10, 3)])
def test_runs_of_neighbours_decide_like_the_trial_of_every_order(rows: int, size: int) -> None:
    count = -(-rows // size)
    refused = 0
    for batch, order in itertools.product((None, *range(2, rows)), (False, True)):
        for states in itertools.product(["waiting", "admitted", "resolved"], repeat=count):
            left = {each for each, state in enumerate(states) if state == "waiting"}
            admitted = {each for each, state in enumerate(states) if state == "admitted"}
            resolved = {each for each, state in enumerate(states) if state == "resolved"}
            first = min(left | admitted, default=0) if order else None
            for claimed in (frozenset[int](), frozenset(resolved ^ {count - 1})):
                spans = spans_of(rows, size, batch, claimed | resolved, first)
                scopes = max(map(len, spans_of(rows, 1, batch, frozenset(), None)))
                widest = -(-scopes // size) + (size > 1)
                for most in range(max(widest, len(admitted) + 1), count):
                    for group in left:
                        found = admission_leads_nowhere(
                            group, admitted, most, spans.__getitem__, left.__contains__
                        )
                        now = frozenset({group, *admitted})
                        assert found == every_order_is_stuck(now, spans, left, most)
                        refused += found
    assert refused


# Larger tables, each of which only some part of the search decides rightly: rows of the table, of a
# group and of a batch, an ordered column, each group as it is (waiting, admitted or resolved), the
# groups whose output is claimed, the limit, and the group that is to be admitted.
LARGER = [
    (7, 1, 4, True, "wwwwraa", {1}, 4, 1),
    (7, 1, 4, False, "awwwwrw", set[int](), 4, 6),
    (7, 1, 3, False, "wwawwwa", {1, 3}, 3, 4),
    (8, 1, 3, False, "wwwwawrw", {2}, 3, 1),
    (9, 1, 5, False, "wrwwaawww", {3, 8}, 5, 7),
    (14, 3, 5, False, "wwwwa", set[int](), 3, 0),
    (8, 1, 3, False, "wwarrrww", set[int](), 3, 7),
    (7, 1, 4, False, "waawwwa", {2}, 4, 5),
    (9, 1, 4, False, "wwwwwaaww", {0, 8, 3}, 4, 2),
    (10, 1, 4, False, "aawwwwwwaw", set[int](), 5, 4),
    (10, 1, 4, False, "wwwwwwwwaw", set[int](), 4, 3),
]


@pytest.mark.parametrize(
    ("rows", "size", "batch", "order", "states", "claimed", "most", "group"), LARGER
)
def test_runs_of_neighbours_decide_like_the_trial_of_every_order_in_larger_tables(
    rows: int,
    size: int,
    batch: int,
    order: bool,
    states: str,
    claimed: set[int],
    most: int,
    group: int,
) -> None:
    left = {each for each, state in enumerate(states) if state == "w"}
    admitted = {each for each, state in enumerate(states) if state == "a"}
    resolved = {each for each, state in enumerate(states) if state == "r"}
    first = min(left | admitted) if order else None
    spans = spans_of(rows, size, batch, frozenset(claimed | resolved), first)
    now = frozenset({group, *admitted})
    assert admission_leads_nowhere(
        group, admitted, most, spans.__getitem__, left.__contains__
    ) == every_order_is_stuck(now, spans, left, most)


def test_a_group_that_waits_for_nobody_makes_no_other_wait() -> None:
    """Row 16 has its output claimed, and lets rows 12 to 15 end beside rows 8 to 11."""
    columns = (A, X, ColumnDescriptor("c", dependencies=["x"]))
    limits = Limits(group_rows=4, groups=2)
    run = Machine(Case(17, columns, batch_size=5).graph(), limits)
    run.apply(Action("admit", rows=(12, 16)))
    run.apply(Action("admit", rows=(16, 17)))
    for row in (15, 16):
        run.apply(Action("start", "a", (row, row + 1)))
        run.apply(Action("complete", "a", (row, row + 1)))
    run.apply(Action("start", "x", scope=3))
    run.apply(Action("complete", "x", scope=3))
    run.apply(Action("start", "x", (16, 17)))
    run.apply(Action("complete", "x", (16, 17)))
    run.apply(Action("durable", "a", (15, 17)))
    run.apply(Action("durable", "x", (16, 17)))
    claim = (((15, 17),), ((16, 17),), 0)
    run.apply(Action("checkpoint_begin", claim=claim))
    run.apply(Action("checkpoint_durable"))
    run.apply(Action("crash"))
    run.apply(Action("resume", claim=claim))
    for first in (8, 16, 12, 4, 0):
        run.apply(Action("admit", rows=(first, min(first + 4, 17))))
        now = ("start", "complete", "retire")
        while step := next((each for each in run.enabled() if each.kind in now), None):
            run.apply(step)
    assert run.completed_rows == 17


@pytest.mark.clause("SKIP-01")
def test_a_cell_is_not_skipped_before_its_row_group_is_admitted() -> None:
    columns = [ColumnDescriptor("a", may_skip=True)]
    run = Machine(ExecutionGraph(4, columns), Limits(group_rows=2))
    message = "SKIP-01: a[2] is skipped although it waits for row group 1, which is not admitted"
    with pytest.raises(Violation) as caught:
        run.skip_cell(0, 2)
    assert str(caught.value) == message
    run.admit(2, 4)
    run.skip_cell(0, 2)
