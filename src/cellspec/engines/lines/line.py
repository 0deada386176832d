"""The parts that all lines of the protocol share: the base class, and types of fields."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from cellspec.shapes import Range

__all__ = ["CLAIM", "NOW", "ROW_IDS", "Claimed", "Line", "RowIds", "Rows", "Values"]

# Without bounds on the single row, for the reason that `cellspec.trace.format` gives.
Rows: TypeAlias = Annotated[int | Range, Meta(description="One row, or rows [start, stop).")]
Claimed: TypeAlias = int | tuple[Range, ...]
Values: TypeAlias = dict[str, str | None]

CLAIM = Meta(
    description="For each column the rows that are claimed as resolved: a number of rows from 0 "
    "on, or ranges."
)
RowIds: TypeAlias = tuple[int | str, ...]
ROW_IDS = Meta(
    description="The ids by which the engine is to name the rows, in order; its lines name them by "
    "number. Left out if the numbers are the ids, as they are without the capability `row_ids`."
)
NOW = Meta(description="The time, in seconds: the suite's clock, which is virtual.")


class Line(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    tag_field="event",
):
    """One line; a field that it does not have is refused."""
