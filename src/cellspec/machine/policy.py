"""Decisions that several parts take alike: is a failure final, must a run stop, what changes.

Each is one pure function of numbers. The transition system, the reference engine, the suite and the
adapters ask here, so that all of them round and count in one way. The oracles of the tests, the
invariants of the explorer and the second engine decide for themselves on purpose.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from cellspec.graph.rowset import parts_touched
from cellspec.graph.rules import Rules
from cellspec.machine.actions import Failure

__all__ = [
    "ChangedScope",
    "WideScope",
    "admission_leads_nowhere",
    "changed_scopes",
    "is_final",
    "scopes_too_wide",
    "spends_attempt",
    "stop_threshold",
    "within_budget",
]


def stop_threshold(window: int, rate: float) -> int:
    """How many of the last `window` calls must have failed permanently for a run to stop early.

    A rate means the decimal number that it is written as: 0.28 of 25 calls are 7, which neither
    ``0.28 * 25`` nor ``7 / 25 >= 0.28`` says for every window and rate (clause STOP-01).
    """
    return math.ceil(Fraction(str(rate)) * window)


def spends_attempt(failure: Failure) -> bool:
    """True for a failure that spends one of a node's attempts (clause FAIL-01)."""
    return failure in ("retryable", "timeout")


def is_final(failure: Failure, attempt: int, max_attempts: int) -> bool:
    """True if a node that failed is not tried again in this incarnation (clause FAIL-02).

    Args:
        failure: how it failed.
        attempt: which attempt it was, from 1: one more than the failures before it that spent one.
        max_attempts: the attempts that a node has.
    """
    if spends_attempt(failure):
        return attempt >= max_attempts
    return failure == "permanent"


def within_budget(answers: Sequence[Failure], max_attempts: int) -> tuple[Failure, ...]:
    """The failures of one node in a row, without those that would be final."""
    kept: list[Failure] = []
    for failure in answers:
        if not is_final(failure, 1 + sum(map(spends_attempt, kept)), max_attempts):
            kept.append(failure)
    return tuple(kept)


class ChangedScope(NamedTuple):
    """A scope of a barrier that another number of rows changes.

    Attributes:
        column: the barrier's column, by position.
        start: the scope's first row.
        before: the row after its last, before.
        after: the same with the new number of rows; `start` if there is no such scope any more.
    """

    column: int
    start: int
    before: int
    after: int


def changed_scopes(rules: Rules, before: int, after: int) -> Iterator[ChangedScope]:
    """The scopes of barriers that have other rows once there are `after` rows, not `before`.

    A claim that holds a row of one of them has output that was made from other rows (CKPT-16).

    Args:
        rules: of the graph, with any number of rows.
        before: the rows that there were.
        after: the rows that there are to be.
    """
    if before == after:
        return
    for rule in rules.columns:
        if not rule.is_barrier:
            continue
        size = rule.scope_rows if rule.batched else max(before, after)
        # Every scope that ends before the fewer rows do is whole in both.
        first = min(before, after) // size * size
        for start in range(first, before, size):
            stop = min(start + size, after)
            yield ChangedScope(rule.index, start, min(start + size, before), max(start, stop))


class WideScope(NamedTuple):
    """A scope of a barrier that touches more row groups than may be admitted at once.

    Attributes:
        column: the barrier's column, by position.
        scope: which of its nodes.
        groups: the numbers of the row groups that the scope touches.
    """

    column: int
    scope: int
    groups: range


def scopes_too_wide(
    rules: Rules, group_rows: int | None, groups: int | None
) -> Iterator[WideScope]:
    """The barrier nodes that could wait for ever for a row group to be admitted (GROUP-04).

    Args:
        rules: of the graph.
        group_rows: rows of a row group; None if rows are not admitted in groups.
        groups: row groups that may be admitted at once; None if unlimited.
    """
    if group_rows is None or groups is None:
        return
    for rule in rules.columns:
        for scope in range(rules.scope_count(rule.index)):
            touched = parts_touched(*rules.scope_bounds(rule.index, scope), group_rows)
            if len(touched) > groups:
                yield WideScope(rule.index, scope, touched)


def admission_leads_nowhere(
    group: int,
    admitted: Collection[int],
    most: int,
    waits_for: Callable[[int], range],
    is_outside: Callable[[int], bool],
) -> bool:
    """True if the admission of a row group leads where only a failure leads on (clause GROUP-08).

    A group that waits for rows of groups outside keeps its place until they are admitted. First
    these are admitted in thought, lowest rows first, which leads on in nearly every run. If that
    ends with every place held by a group that still waits, shortest runs of neighbours are tried.

    Args:
        group: the one that is to be admitted.
        admitted: those that hold a place now.
        most: row groups that may be admitted at once.
        waits_for: the groups on whose rows the open rows of a group depend, itself among them.
        is_outside: whether a group has work left and was not admitted yet.
    """
    if not _lowest_first_is_stuck(group, {group, *admitted}, most, waits_for, is_outside):
        return False
    admissions = _Admissions(group, admitted, most, waits_for, is_outside)
    while admissions.holding:
        if not admissions.admit_shortest_run():
            return True
    return False


class _Admissions:
    """Admissions in thought, and the groups that hold a place after them.

    A run is of neighbours, admitted one after the other while there is room, up to the first after
    which no more groups hold a place than before it. The shortest takes no room from any order that
    comes after it, for a part of it that gave more places back would be shorter. So runs decide
    like the trial of every order, and are few; `tests/machine/test_row_groups.py` compares them.
    """

    def __init__(
        self,
        group: int,
        admitted: Collection[int],
        most: int,
        waits_for: Callable[[int], range],
        is_outside: Callable[[int], bool],
    ) -> None:
        self._most, self._waits_for, self._is_outside = most, waits_for, is_outside
        self._known = {group}
        self.holding = self._waiting({group, *admitted})

    def _is_missing(self, group: int) -> bool:
        return group not in self._known and self._is_outside(group)

    def _waiting(self, groups: Collection[int]) -> set[int]:
        return {each for each in groups if any(map(self._is_missing, self._waits_for(each)))}

    def admit_shortest_run(self) -> bool:
        """Admit the shortest run; False if there is none."""
        starts = filter(self._is_missing, self._within_reach())
        runs = (self._run(first, up=up) for first in starts for up in (True, False))
        shortest = min(filter(None, runs), key=len, default=None)
        if shortest is None:
            return False
        self._known.update(shortest)
        self.holding = self._waiting({*self.holding, *shortest})
        return True

    def _within_reach(self) -> range:
        """The groups from the first to the last for which those that hold a place wait in turn."""
        seen, found = range(0), range(min(self.holding), max(self.holding) + 1)
        while seen != found:
            spans = [self._waits_for(each) for each in found if each not in seen]
            seen = found
            starts, stops = (span.start for span in spans), (span.stop for span in spans)
            found = range(min(found.start, *starts), max(found.stop, *stops))
        return found

    def _run(self, first: int, *, up: bool) -> list[int]:
        """The run from one group on, in a direction; empty if there is none."""
        now, run, following = set(self.holding), list[int](), [first]
        while following and len(now) < self._most:
            run.append(min(following) if up else max(following))
            self._known.add(run[-1])
            now = self._waiting({*now, run[-1]})
            if len(now) <= len(self.holding):
                self._known.difference_update(run)
                return run
            spans = map(self._waits_for, now)
            ahead = [
                range(run[-1] + 1, span.stop) if up else range(run[-1] - 1, span.start - 1, -1)
                for span in spans
            ]
            nearest = (next(filter(self._is_missing, each), None) for each in ahead)
            following = [each for each in nearest if each is not None]
        self._known.difference_update(run)
        return []


def _lowest_first_is_stuck(
    group: int,
    holding: set[int],
    most: int,
    waits_for: Callable[[int], range],
    is_outside: Callable[[int], bool],
) -> bool:
    """True if groups, admitted lowest rows first, end with each place held by one that waits.

    They do not once nothing below the groups that wait is missing, because a limit that admits
    each scope (GROUP-04) lets groups in the order of their rows come and go.
    """
    known: set[int] = {group}
    searched: dict[int, int] = {}

    def missing(waiting: int) -> int:
        """The first group outside that a group waits for; -1 if there is none."""
        wanted = waits_for(waiting)
        first = searched.get(wanted.start, wanted.start)
        while first < wanted.stop and (first in known or not is_outside(first)):
            first += 1
        searched[wanted.start] = min(first, wanted.stop)
        return first if first < wanted.stop else -1

    while True:
        open_needs = {each: need for each in holding if (need := missing(each)) >= 0}
        if not open_needs:
            return False
        lowest = min(open_needs.values())
        if lowest > max(open_needs):
            return False
        if len(open_needs) >= most:
            return True
        known.add(lowest)
        holding = {*open_needs, lowest}
