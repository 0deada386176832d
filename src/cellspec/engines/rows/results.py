"""The results of tasks: values, and the markers that take the place of one.

A cell that was skipped hands `SKIPPED` to the tasks that read it, and a cell of a dropped row a
`Dropped`. A task that is given either passes it on; a barrier leaves that row out. So a task needs
to know nothing of rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from cellspec.conformance.run.values import SKIPPED, Skipped
from cellspec.faults import BackPressure

__all__ = ["Dropped", "Result", "Row", "first_dropped", "has_skipped", "patiently", "values_of"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Dropped:
    """The result of a cell of a dropped row.

    Attributes:
        column: the column whose failure is the cause.
    """

    column: str


Result: TypeAlias = str | Skipped | Dropped
"""What a cell gives to the tasks that read it."""

Row: TypeAlias = Mapping[str, Result]
"""The inputs of a task in one row: the results of the columns that it needs, by column."""


def first_dropped(inputs: Row) -> Dropped | None:
    """The marker of a dropped row among the inputs; None if there is none."""
    return next((given for given in inputs.values() if isinstance(given, Dropped)), None)


def has_skipped(inputs: Row) -> bool:
    """True if an input was skipped."""
    return any(given is SKIPPED for given in inputs.values())


def values_of(inputs: Row) -> dict[str, str]:
    """The inputs that have a value."""
    return {name: given for name, given in inputs.items() if isinstance(given, str)}


def patiently(call: Callable[[], T], back_off_s: float = 0.0) -> T:
    """Make a call again as long as it is turned away, after the time that it asks for.

    Args:
        call: the call.
        back_off_s: seconds to wait if it names no time.
    """
    while True:
        try:
            return call()
        except BackPressure as busy:
            time.sleep(back_off_s if busy.retry_after_s is None else busy.retry_after_s)
