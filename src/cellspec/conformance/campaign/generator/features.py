"""The features of a workload: which it is to have, and which it has.

A feature is called by the capability that an engine needs for it. Workloads are drawn *swarm*
fashion (Groce et al., ISSTA 2012): beside its own feature a workload has each of the others or not,
so that pairs of features meet, and each is also seen alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet

from cellspec.conformance.campaign.choices import Choices
from cellspec.conformance.run.workload import Workload
from cellspec.machine.policy import spends_attempt

__all__ = [
    "FEATURES",
    "MISHAPS",
    "NEEDS",
    "NEVER_TOGETHER",
    "allowed",
    "features_of",
    "mixed",
    "never_together",
]


def _drops(work: Workload) -> bool:
    """True if a node fails for good: by a permanent failure, or as its attempts are spent."""
    spent: dict[tuple[str, int], int] = {}
    for fault in work.faults:
        node = fault.column, fault.position
        if fault.failure == "permanent":
            return True
        if not fault.answers:
            spent[node] = spent.get(node, 0) + spends_attempt(fault.failure)
    return any(count >= work.failures.max_attempts for count in spent.values())


def _retries(work: Workload) -> bool:
    return any(f.failure in ("retryable", "backpressure") and not f.answers for f in work.faults)


FEATURES: Mapping[str, Callable[[Workload], bool]] = {
    "batch_barriers": lambda work: work.batch_size is not None,
    "groups": lambda work: work.limits.group_rows is not None,
    "streaming": lambda work: any(item.is_row_streamable for item in work.columns),
    "ordered": lambda work: any(item.is_ordered for item in work.columns),
    "retries": _retries,
    "drops": _drops,
    "skips": lambda work: bool(work.skips),
    "resume": lambda work: any(work.crashes),
    "column_checkpoints": lambda work: work.checkpoint_version == 2,
    "set_claims": lambda work: work.checkpoint_version == 3,
    "targets": lambda work: bool(work.targets),
    "config": lambda work: any(work.visits),
    "timeouts": lambda work: work.timeout_s is not None,
    "interrupts": lambda work: any(work.stop_at),
    "filters": lambda work: bool(work.rejects),
    "early_stop": lambda work: work.failures.stop_window is not None,
    "lost_workers": lambda work: any(work.worker_losses),
    "killer_cells": lambda work: bool(work.killers),
    "storage_faults": lambda work: bool(work.storage_faults),
    "torn_writes": lambda work: any(work.torn),
    "any_text": lambda work: bool(work.texts),
    "row_ids": lambda work: bool(work.row_ids),
}
"""The features, each with the question whether a workload has it."""

MISHAPS = frozenset(
    {
        "timeouts",
        "interrupts",
        "filters",
        "lost_workers",
        "killer_cells",
        "storage_faults",
        "torn_writes",
    }
)
"""Features that disturb so much that they are mixed in a third as often as the others."""

NEEDS: Mapping[str, tuple[str, ...]] = {
    # What storage loses shows in what the next process finds.
    "storage_faults": ("resume",),
    "torn_writes": ("resume",),
    # Only what a crash leaves can be recalled, claimed, or found by another process.
    "cache": ("resume",),
    "killer_cells": ("resume",),
    "targets": ("resume",),
    "config": ("resume",),
    "column_checkpoints": ("resume",),
    "set_claims": ("resume",),
    # Failures are counted that take rows away.
    "early_stop": ("drops",),
}
"""What a workload has to have for a feature to show."""

NEVER_TOGETHER: Mapping[frozenset[str], str] = {
    frozenset({"killer_cells", "targets"}): (
        "which rows are given up depends on what else was in flight, so nobody knows what a "
        "process that is asked for other rows must find"
    ),
    frozenset({"killer_cells", "config"}): (
        "which rows are given up depends on what else was in flight, so nobody knows what another "
        "process must leave as it is"
    ),
    frozenset({"column_checkpoints", "set_claims"}): "a run has checkpoints of one version",
}
"""Pairs of features that no workload has, with the reason."""


def never_together(names: Collection[str], profile: str) -> bool:
    """Whether no workload of a profile has all these features, each with what it needs."""
    parts = {profile, *names, *(need for name in names for need in NEEDS.get(name, ()))}
    return any(pair <= parts for pair in NEVER_TOGETHER)


def features_of(work: Workload) -> frozenset[str]:
    """The features that a workload really has, as it is put to an engine."""
    return frozenset(name for name, has in FEATURES.items() if has(work))


def allowed(has: Iterable[str], more: str) -> bool:
    """Whether a feature may come to others."""
    return all(frozenset({one, more}) not in NEVER_TOGETHER for one in has)


def mixed(
    choices: Choices, profile: str, known: AbstractSet[str], forced: Iterable[str], mixing: int
) -> frozenset[str]:
    """The features that a workload is to have: its profile's, the forced ones, and some others.

    Args:
        choices: the source of choices.
        profile: the feature that it has for sure.
        known: the capabilities that it may use.
        forced: further features that it is to have.
        mixing: in how many workloads of 60 another feature is mixed in.
    """
    has: dict[str, None] = {}

    def add(name: str) -> None:
        parts = (*NEEDS.get(name, ()), name)
        if all(allowed(has, one) for one in parts):
            has.update(dict.fromkeys(parts))

    for name in (profile, *forced):
        add(name)
    for name in FEATURES:
        # A coin is tossed whatever is known, so that it decides nothing about the next ones.
        tossed = choices.chance(mixing // 3 if name in MISHAPS else mixing, 60)
        needs = frozenset(NEEDS.get(name, ()))
        # A mishap brings what it needs; of the others that would make far too much of it.
        ready = needs <= (known if name in MISHAPS else has.keys())
        if name == "early_stop":
            ready = "drops" in has or "filters" in has
        if tossed and ready and name in known and allowed(has, name):
            has.update(dict.fromkeys((*needs, name) if name in MISHAPS else (name,)))
    return frozenset(has)
