"""`SKIPPED`: the marker that stands in place of a value where a cell was skipped.

Engines, backends and the suite use the one object, so that ``value is SKIPPED`` holds in all of
them, and after pickling too.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

__all__ = ["SKIPPED", "Skipped"]


class Skipped(Enum):
    """The type of `SKIPPED`, so that it can be told from every value by ``is``."""

    SKIPPED = "skipped"

    def __repr__(self) -> str:
        return "SKIPPED"


SKIPPED: Final = Skipped.SKIPPED
"""Stands in place of a value where a cell was skipped."""
