"""The words of a header about an endpoint, and what they mean: speeds, limits, weather, clients.

They are those of a scenario file. A field that is not named here is the engine's own, and nobody
asks for it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from cellspec.errors import TraceError
from cellspec.trace import Header
from cellspec.trace.reader import explain

__all__ = ["EndpointWords", "LimitWords", "Span", "Speed", "ThrottleWords", "words_of"]

Above0: TypeAlias = Annotated[float, Meta(gt=0)]
# What is divided by is above 0 by so much that no quotient overflows, as in a scenario file.
Divisor: TypeAlias = Annotated[float, Meta(ge=1e-9)]
From0: TypeAlias = Annotated[float, Meta(ge=0)]
Whole: TypeAlias = Annotated[int, Meta(ge=1)]


class LimitWords(msgspec.Struct, frozen=True):
    """A provider's limit on requests or tokens, each `per_s` seconds."""

    per_s: Divisor
    requests: Divisor | None = None
    tokens: Divisor | None = None
    burst: Divisor | None = None
    window: Literal["bucket", "fixed"] = "bucket"
    charge: Literal["reserved", "used"] = "reserved"
    give_back: bool = False


class RefusalWords(msgspec.Struct, frozen=True):
    """How a call is refused."""

    latency_s: From0 = 0.0
    retry_after: Literal["exact", "none"] = "exact"
    charged: bool = False


class Span(msgspec.Struct, frozen=True):
    """A time ``[from_s, to_s)``; `running` is what becomes of calls in an outage."""

    from_s: From0
    to_s: From0
    running: Literal["fail", "hang", "finish"] = "fail"


class ColdStartWords(msgspec.Struct, frozen=True):
    """The seconds before an endpoint that nobody used begins to serve."""

    first_s: From0
    idle_s: From0 | None = None


class ThrottleWords(msgspec.Struct, frozen=True):
    """A client that lowers its own limit when it is refused, and raises it after successes."""

    start: Whole | None = None
    decrease: Annotated[float, Meta(gt=0, le=1)] = 0.75
    increase: Whole = 1
    successes: Whole = 25
    cool_down_s: From0 = 2.0
    pause_s: Above0 | None = None


class EndpointWords(msgspec.Struct, frozen=True):
    """One endpoint and its client; `shared_with` names other pipelines that send it calls."""

    tpot_s: dict[str, Divisor] | None = None
    work: dict[str, Divisor] | None = None
    beyond: Literal["line", "hold", "refuse"] | None = None
    prefill_tokens_per_s: Divisor | None = None
    prefill_stalls_decode: bool = False
    max_in_flight: Whole | None = None
    queue: Annotated[int, Meta(ge=0)] | None = None
    kv_tokens: Above0 | None = None
    limits: tuple[LimitWords, ...] = ()
    refusal: RefusalWords = RefusalWords()
    outages: tuple[Span, ...] = ()
    pauses: tuple[Span, ...] = ()
    cold_start: ColdStartWords | None = None
    throttle: ThrottleWords | None = None
    shared_with: tuple[str, ...] = ()


def words_of(header: Header, source: str) -> dict[str, EndpointWords]:
    """By resource, the words of a header about the endpoint behind it.

    Raises:
        TraceError: a field has another value than the word may have.
    """
    found = {}
    for name, given in (header.endpoints or {}).items():
        try:
            words = msgspec.convert(given, EndpointWords)
        except msgspec.ValidationError as error:
            field, expected = explain(error, given)
            where = ".".join(filter(None, ("endpoints", name, field)))
            raise TraceError(source, 1, where, expected) from None
        _expect_sense(words, f"endpoints.{name}", source)
        found[name] = words
    return found


def _expect_sense(words: EndpointWords, where: str, source: str) -> None:
    for name, table in (("tpot_s", words.tpot_s), ("work", words.work)):
        for calls in table or ():
            if calls != "full_speed" and not (calls.isdecimal() and int(calls)):
                expected = f"expected numbers of calls, from 1, got {calls!r}"
                raise TraceError(source, 1, f"{where}.{name}", expected)
        if table is not None and not table:
            raise TraceError(source, 1, f"{where}.{name}", "expected at least one number of calls")
    for place, limit in enumerate(words.limits):
        if (limit.requests is None) == (limit.tokens is None):
            expected = "expected either requests or tokens"
            raise TraceError(source, 1, f"{where}.limits.{place}", expected)


class Speed:
    """The seconds that a unit of work takes, by how many calls share the endpoint's speed.

    They lie on straight lines between the points of the table; below the first point its value
    holds. Without a table a unit takes a second, however many calls there are.
    """

    def __init__(self, words: EndpointWords) -> None:
        self._full = 0.0
        self._calls: list[int] = []
        self._seconds: list[float] = []
        self._goes_on = words.beyond == "line"
        table: Mapping[str, float] = words.tpot_s or {}
        if words.work is not None:
            self._full = words.work.get("full_speed", 0.0)
            table = {calls: 1 / speed for calls, speed in words.work.items() if not self._full}
        for calls, seconds in sorted((int(calls), seconds) for calls, seconds in table.items()):
            self._calls.append(calls)
            self._seconds.append(seconds)

    def unit_s(self, calls: int) -> float:
        """Seconds a unit while so many calls run."""
        if self._full:
            return max(1.0, calls / self._full)
        points, seconds = self._calls, self._seconds
        if not points:
            return 1.0
        place = bisect_left(points, calls)
        if place == 0:
            return seconds[0]
        if place == len(points):
            if not self._goes_on or len(points) == 1:
                return seconds[-1]
            place -= 1
        before, after = points[place - 1], points[place]
        share = (calls - before) / (after - before)
        return seconds[place - 1] * (1 - share) + seconds[place] * share


def stalls_of(words: EndpointWords) -> list[tuple[float, float]]:
    """The times in which nothing advances, in order and apart: pauses, and outages that hang."""
    hanging = [one for one in words.outages if one.running == "hang"]
    joined: list[tuple[float, float]] = []
    for start, stop in sorted((one.from_s, one.to_s) for one in (*words.pauses, *hanging)):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], stop)
        elif stop > start:
            joined.append((start, stop))
    return joined


def outage_end_s(outages: Sequence[Span], t: float) -> float:
    """When the outage at time t ends; minus infinity if there is none."""
    running = [one.to_s for one in outages if one.from_s <= t < one.to_s]
    return max(running, default=-math.inf)
