"""`REJECTED`: the answer of a call that its row is not wanted; it stands in place of a value.

A filter gives it: the call ended well, and the row is dropped with the cause ``filtered``. As
`cellspec.skipped.SKIPPED` it is one object, also after pickling.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

__all__ = ["REJECTED", "Rejected"]


class Rejected(Enum):
    """The type of `REJECTED`, so that it can be told from every value by ``is``."""

    REJECTED = "rejected"

    def __repr__(self) -> str:
        return "REJECTED"


REJECTED: Final = Rejected.REJECTED
"""Given in place of a value by a call that rejects its row."""
