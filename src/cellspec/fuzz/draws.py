"""The workloads of a search: large, and a function of a seed and of a few knobs."""

from __future__ import annotations

from collections.abc import Collection

from cellspec.conformance.campaign.choices import SeededChoices
from cellspec.conformance.campaign.generator import workload as generator
from cellspec.conformance.campaign.generator.size import LARGE, Knobs, Size, any_knobs
from cellspec.conformance.run.workload import Workload

__all__ = ["workload"]


def workload(
    seed: int, capabilities: Collection[str], size: Size = LARGE, knobs: Knobs | None = None
) -> Workload:
    """One workload.

    Args:
        seed: the seed of the draws.
        capabilities: the capabilities that it may use (see `cellspec.conformance.run.backend`).
        size: how large it gets.
        knobs: its knobs; by default drawn too.
    """
    choices = SeededChoices(f"fuzz {seed}")
    turned = knobs or any_knobs(choices.part("any knobs"))
    return generator.workload(choices, "core", capabilities, size=size, knobs=turned)
