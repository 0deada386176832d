"""Rules that are arithmetic: when a failure is final, when a run must stop, which scopes change.

Each is one pure function of numbers. The transition system, the reference engine, the suite and the
adapters ask here, so that none of them rounds or counts in a way of its own. What a step may do is
the business of `cellspec.machine.machine`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from cellspec.graph.rules import Rules
from cellspec.machine.actions import Failure

__all__ = [
    "ChangedScope",
    "changed_scopes",
    "is_final",
    "stop_threshold",
    "within_budget",
]


def stop_threshold(window: int, rate: float) -> int:
    """How many of the last `window` calls must have failed permanently for a run to stop early.

    A rate means the decimal number that it is written as: 0.28 of 25 calls are 7, which neither
    ``0.28 * 25`` nor ``7 / 25 >= 0.28`` says for every window and rate (clause STOP-01).
    """
    return math.ceil(Fraction(str(rate)) * window)


def is_final(failure: Failure, attempt: int, max_attempts: int) -> bool:
    """True if a node that failed is not tried again in this incarnation (clause FAIL-02).

    Args:
        failure: how it failed.
        attempt: which attempt it was, from 1: one more than the retryable failures before it.
        max_attempts: the attempts that a node has.
    """
    if failure == "retryable":
        return attempt >= max_attempts
    return failure == "permanent"


def within_budget(answers: Sequence[Failure], max_attempts: int) -> tuple[Failure, ...]:
    """The failures of one node in a row, without those that would be final."""
    kept: list[Failure] = []
    for failure in answers:
        if not is_final(failure, 1 + kept.count("retryable"), max_attempts):
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
