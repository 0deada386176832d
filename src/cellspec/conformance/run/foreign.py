"""Foreign exceptions: failures of generators that name no kind, as other people's code raises them.

An engine cannot know what a `ValueError` of a client library means. The workload declares how such
an exception is to be read (`Workload.foreign`), as a program that is configured for its libraries
would: as permanent, or as retryable. A `TimeoutError` is worth another attempt to everybody, so a
workload that reads foreign exceptions as permanent raises none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

__all__ = ["FOREIGN", "Reading", "Unheard", "is_foreign"]

Reading: TypeAlias = Literal["permanent", "retryable"]
"""How an engine is to read an exception that names no kind."""


class Unheard(Exception):  # noqa: N818 - nobody has heard of it
    """An exception that no engine knows."""


FOREIGN: Mapping[str, type[Exception]] = {
    "ValueError": ValueError,
    "OSError": OSError,
    "Unheard": Unheard,
    "TimeoutError": TimeoutError,
}
"""The exceptions that a call of a workload may raise, by name."""


def is_foreign(error: BaseException) -> bool:
    """True for an exception of `FOREIGN`; a subclass is another matter."""
    return type(error) in FOREIGN.values()
