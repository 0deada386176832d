"""How large workloads get, and how much of each thing is in them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from cellspec.conformance.campaign.choices import Choices

__all__ = ["KNOBS", "LARGE", "SMALL", "Knobs", "Size", "any_knobs", "usual_knobs"]


@dataclass(frozen=True, slots=True)
class Size:
    """How large workloads get.

    Attributes:
        columns: the fewest and the most columns; at most 26.
        rows: the fewest and the most rows.
        cells: the most cells: a wide pipeline has fewer rows.
        many_rows: numbers of rows that one workload in eight has instead.
        mixing: in how many workloads of 60 a feature is mixed in.
        saves: about how many times a run of many rows saves at most.
        scheduled: a schedule may set when calls end. Then the workload does not decide which calls
            time out, so no row is lost to time-outs.
    """

    columns: tuple[int, int] = (3, 24)
    rows: tuple[int, int] = (20, 300)
    cells: int = 1_500
    many_rows: tuple[int, ...] = ()
    mixing: int = 36
    saves: int = 300
    scheduled: bool = True


LARGE = Size()
"""The size of a fuzzed workload."""

SMALL = Size(
    columns=(1, 5),
    rows=(1, 6),
    cells=400,
    # Names that sort as texts, and the places where a byte or a page wraps.
    many_rows=(9, 12, 17, 33, 66, 101, 130, 200),
    mixing=20,
    saves=8,
    scheduled=False,
)
"""The size of a campaign's workload: small, for a violation must be readable."""


@dataclass(frozen=True, slots=True)
class Knobs:
    """How much of each thing is in a workload. The targeted search of the fuzzer turns them.

    Attributes:
        barriers: of 64 columns, how many are barriers.
        edges: of 64 columns far before it, how many a column needs; the nearest it needs by half.
        slots: how many calls may run at once.
        faults: how many nodes fail.
        lateness: how late in its incarnation a process crashes, in 64ths of it, for half of the
            crashes.
        saving: how often the rows of a run are halved to get those between two saves; 0 for one
            save at the end.
        mishaps: how many calls time out or reject their row, writes fail, workers are lost and
            cells end the process.
    """

    barriers: int = 20
    edges: int = 8
    slots: int = 4
    faults: int = 8
    lateness: int = 24
    saving: int = 4
    mishaps: int = 0


KNOBS: Mapping[str, tuple[int, int]] = {
    "barriers": (0, 32),
    "edges": (0, 16),
    "slots": (1, 64),
    "faults": (0, 40),
    "lateness": (0, 64),
    "saving": (0, 8),
    "mishaps": (0, 6),
}
"""The knobs of a fuzzed workload, with the least and the most of each."""


def any_knobs(choices: Choices) -> Knobs:
    """Knobs drawn over their whole ranges; few slots as often as many."""
    drawn = {name: choices.integer(*span) for name, span in KNOBS.items() if name != "slots"}
    return Knobs(**drawn, slots=choices.sample((1, 2, 4, 8, 16, 32, 64)))


def usual_knobs(choices: Choices, has: Collection[str]) -> Knobs:
    """The knobs of a campaign's workload."""
    # What barriers do with rows that are missing needs barriers.
    barriers = 16 + 8 * ("batch_barriers" in has)
    barriers += 8 * bool({"drops", "skips", "resume"}.intersection(has))
    # A claim with a gap is of interest where a barrier gave output behind it.
    barriers += 12 * ("set_claims" in has)
    return Knobs(
        barriers=barriers,
        edges=32,
        slots=choices.integer(1, 3),
        faults=choices.integer(1, 4),
        lateness=24,
        saving=choices.sample((0, 8, 8, 8, 1, 1)),
        mishaps=choices.integer(1, 4),
    )
