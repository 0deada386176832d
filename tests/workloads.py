"""Random workloads as a Hypothesis strategy: the generator of campaigns, asked by Hypothesis."""

from __future__ import annotations

from collections.abc import Collection

from hypothesis import strategies as st

from cellspec.conformance.campaign.choices import Choices
from cellspec.conformance.campaign.generator.size import SMALL, Size
from cellspec.conformance.campaign.generator.workload import workload
from cellspec.conformance.run.workload import Workload

__all__ = ["HypothesisChoices", "workloads"]


class HypothesisChoices(Choices):
    """Choices that Hypothesis makes, and can make again with duller ones.

    Args:
        draw: the function that Hypothesis gives to a composite strategy.
    """

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def integer(self, low: int, high: int) -> int:
        return self._draw(st.integers(low, high))

    def part(self, name: str) -> HypothesisChoices:  # noqa: ARG002 - one source for all
        return self


@st.composite
def workloads(
    draw: st.DrawFn,
    profile: str = "core",
    *,
    beside: Collection[str] = (),
    size: Size = SMALL,
) -> Workload:
    """Workloads of a profile; see `cellspec.conformance.campaign.generator.workload.workload`."""
    return workload(HypothesisChoices(draw), profile, beside, size=size)
