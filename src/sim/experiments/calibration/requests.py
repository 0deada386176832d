"""Requests as logs hold them, and what their readers share: failures, numbers, moments.

Each reader gives one `Request` a call, with all its fields, so that one of them can say whose call
it is: `sim.experiments.calibration.litellm`, `spans` and `csv_log`. What a log says of a failure is
brought to the kinds that a scenario knows (`ending_of`). A request of which a log says too little,
or says it again, is left out and counted (`Omitted`); what contradicts itself is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from cellspec.errors import SpecError
from sim.experiments.calibration.record import Ending

__all__ = ["Omitted", "Request", "ending_of", "moment_of", "number_of", "span_of"]


@dataclass(slots=True)
class Request:
    """One request of a log.

    Attributes:
        start_s: seconds since 1970, or of the log's own clock; None if the log does not tell.
        seconds: how long it took; None if the log does not tell.
        failure: how it failed; None if it ended well.
        named: the log names the kind of its failure.
        resource: the model that was asked; "" if the log does not tell.
        tokens: of the prompt and of the answer; None where the log does not tell.
        first_token_s: seconds to the first token; None if the log does not tell.
        cached: it was answered from a cache.
        fields: all that the log says of it.
    """

    start_s: float | None = None
    seconds: float | None = None
    failure: Ending | None = None
    named: bool = True
    resource: str = ""
    tokens: tuple[float | None, float | None] = (None, None)
    first_token_s: float | None = None
    cached: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)


class Omitted:
    """Requests that a reader leaves out, counted by the reason."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[int, str]] = {}

    def add(self, one: str, many: str, where: str) -> None:
        """Count a request that is left out.

        Args:
            one, many: what it is, as in "request without an end", for one and for several.
            where: it stands in the file.
        """
        count, first = self._found.get((one, many), (0, where))
        self._found[one, many] = count + 1, first

    @property
    def sentences(self) -> list[str]:
        """How many requests were left out, and where the first one stands, by reason."""
        return [
            f"{count:,} {many}, the first at {where}" if count > 1 else f"1 {one}, at {where}"
            for (one, many), (count, where) in self._found.items()
        ]


_BY_NAME: Final[tuple[tuple[str, Ending], ...]] = (
    (r"rate.?limit|too.?many|throttl|overload|quota|429", "back_pressure"),
    (r"time.?d?.?out|connection|unavailable|internal.?server|server.?error|5\d\d", "retryable"),
    (r"bad.?request|auth|permission|not.?found|invalid|content|unprocess|4\d\d", "permanent"),
)


def ending_of(code: object, name: str = "") -> tuple[Ending, bool]:
    """The kind of a failure, and whether the log names it; retryable if it does not.

    Args:
        code: a status of HTTP, or any other word for the error.
        name: the class of the error.
    """
    number = number_of(code)
    if number is not None and 400 <= number < 600:
        if number == 429:
            return "back_pressure", True
        return ("retryable" if number >= 500 or number == 408 else "permanent"), True
    for pattern, kind in _BY_NAME:
        if re.search(pattern, f"{name} {code or ''}", re.IGNORECASE):
            return kind, True
    return "retryable", False


def number_of(given: object) -> float | None:
    """A finite number, from one or from its text; None for anything else."""
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        return None
    try:
        value = float(given)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


_SCALES: Final = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3))
"""Since 1970 no second has so high a number: from the first on these are nanoseconds, and so on."""


def moment_of(given: object) -> float | None:
    """Seconds, from a number or from a date and time in ISO 8601; None for anything else.

    A number that is too large for seconds since 1970 counts milli-, micro- or nanoseconds. A date
    without a time zone is in UTC.
    """
    value = number_of(given)
    if value is not None:
        return value * next((scale for least, scale in _SCALES if abs(value) >= least), 1.0)
    if not isinstance(given, str):
        return None
    # Python takes six digits of a second, and some logs have seven.
    text = re.sub(r"(\.\d{6})\d+", r"\1", given.strip())
    try:
        moment = datetime.fromisoformat(text.removesuffix(" UTC"))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def span_of(where: str, start_s: float, end_s: float) -> float:
    """The seconds from a start to an end.

    Raises:
        SpecError: the end is before the start.
    """
    if end_s < start_s:
        raise SpecError(f"{where}: expected an end after its start, got {end_s - start_s:g} s")
    return end_s - start_s
