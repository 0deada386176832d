"""Kept scopes: how much of what a barrier gave a run of the process finds when it resumes.

Some coverage goals are about a barrier that runs again although storage holds a part of what it
gave. An engine that writes each answer of a barrier whole never leaves a part, so it cannot be in
these situations, however many workloads it is given. What its resumes found tells it from an engine
that was given too few.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import Enum

from cellspec.conformance.run.coverage_goals import Sometimes
from cellspec.graph.rules import Rules

__all__ = ["NEEDS_KEPT", "Kept", "kept_scopes"]


class Kept(Enum):
    """What a resume found of the answer of a barrier on several rows, dropped rows aside."""

    ANY = "some or all of it"
    PART = "a part of it"
    GAP = "a row of it, and not each row before"


NEEDS_KEPT: Mapping[Sometimes, Kept] = {
    Sometimes.BARRIER_AGAIN: Kept.PART,
    Sometimes.BARRIER_BETWEEN: Kept.GAP,
}
"""Situations that only what a resume found can lead to, unless a row is dropped: its cells count
as claimed, and its barrier may run all the same."""


def kept_scopes(
    rules: Rules, claimed: Sequence[Collection[int]], dropped: Collection[int]
) -> Iterator[Kept]:
    """What a resume found of the answers of all barriers.

    Args:
        rules: the rules of the pipeline.
        claimed: by column, the rows that it found.
        dropped: the rows that it knows as dropped.
    """
    for rule in rules.columns:
        for scope in range(rules.scope_count(rule.index)):
            live = [r for r in range(*rules.scope_bounds(rule.index, scope)) if r not in dropped]
            held = [row in claimed[rule.index] for row in live]
            if len(live) < 2 or not any(held):
                continue
            yield Kept.ANY
            if not all(held):
                yield Kept.PART
                if any(held[held.index(False) :]):
                    yield Kept.GAP
