"""When a workload saves, what its claims hold, and how its storage fails."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from cellspec.conformance.campaign.choices import Choices
from cellspec.conformance.campaign.generator.columns import Shape
from cellspec.conformance.campaign.generator.size import Knobs, Size
from cellspec.conformance.run.workload import StorageFault, StorageWrite

__all__ = ["claim_version", "draw_storage_faults", "rows_between_saves"]


def rows_between_saves(shape: Shape, knobs: Knobs, size: Size) -> int | None:
    """The rows between two saves; None for one save at the end."""
    if not knobs.saving:
        return None
    # One save for each row would be most of a run with many.
    return max(1, shape.rows >> knobs.saving, shape.rows // size.saves)


def claim_version(
    choices: Choices, known: Collection[str], has: Collection[str]
) -> Literal[1, 2, 3]:
    """The version of the checkpoints: an engine that claims any cells is asked for no less.

    One that also claims the first rows of each column is asked for every version.
    """
    if "resume" not in has:
        return 1
    any_cells = not {"set_claims", "commits"}.isdisjoint(known)
    by_column = "column_checkpoints" in known
    if any_cells and not by_column:
        return 3
    if "set_claims" in has and any_cells:
        return 3
    if "column_checkpoints" in has:
        return 2
    if choices.chance(2, 3):
        return 3 if any_cells else 2 if by_column else 1
    return 2 if any_cells and choices.chance(1, 2) else 1


def draw_storage_faults(choices: Choices, knobs: Knobs) -> tuple[float, tuple[StorageFault, ...]]:
    """How long a write takes, in seconds, and the writes that fail, now and then or from one on."""
    storage_s = choices.sample((0.0, 0.25, 1.0))
    faults: dict[tuple[StorageWrite, int], StorageFault] = {}
    kinds: tuple[StorageWrite, ...] = ("data", "claim", "claim")
    for _ in range(knobs.mishaps):
        write, number = choices.sample(kinds), choices.either((1, 2), (1, 5))
        faults[write, number] = StorageFault(
            write, number, lands=choices.chance(1, 2), lasts=choices.chance(1, 6)
        )
    return storage_s, tuple(faults.values())
