"""The plan of an endpoint: everything that decides how it answers, and how its client asks.

A scenario (`sim.scenario`) is read and checked; what is left of its ``endpoints``, ``throttle`` and
``scheduler`` are these records, which the parts of a run take. Times are in seconds, counts of
tokens may be fractions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Literal

__all__ = [
    "ColdStart",
    "EndpointPlan",
    "LimitPlan",
    "Outage",
    "Pause",
    "Price",
    "RefusalPlan",
    "SerialPlan",
    "SpeedTable",
    "ThrottlePlan",
]


@dataclass(frozen=True, slots=True)
class SpeedTable:
    """The seconds that one unit of work takes, by how many calls run at once.

    A unit is a token of a ``request``, and a second of any other latency. The seconds lie on
    straight lines between the points; below the first point its value holds.

    Attributes:
        points: (calls at once, seconds a unit), by calls.
        beyond: above the last point the last line goes on, or the last value holds.
    """

    points: tuple[tuple[int, float], ...]
    beyond: Literal["line", "hold"] = "hold"

    @classmethod
    def sharing(cls, full_speed: int) -> SpeedTable:
        """Each of n calls runs at min(1, full_speed / n)."""
        return cls(((full_speed, 1.0), (2 * full_speed, 2.0)), "line")

    def as_much_with(self, calls: float) -> int:
        """The fewest calls at once that do at least 99 % of the work a second that `calls` do."""
        enough = 0.99 * calls / self.unit_s(calls)
        return next(n for n in count() if n >= calls or n / self.unit_s(n) >= enough)

    def unit_s(self, calls: float) -> float:
        """Seconds a unit while `calls` run at once, or on average."""
        points = self.points
        if calls <= points[0][0]:
            return points[0][1]
        for (n, low), (m, high) in pairwise(points):
            if calls <= m:
                return low + (high - low) * (calls - n) / (m - n)
        if self.beyond == "hold" or len(points) == 1:
            return points[-1][1]
        (n, low), (m, high) = points[-2:]
        return high + (high - low) * (calls - m) / (m - n)


@dataclass(frozen=True, slots=True)
class LimitPlan:
    """A provider's limit on requests or tokens: a bucket that refills all the time, or a window.

    Attributes:
        counts: what is limited.
        amount: so many each `per_s` seconds.
        burst: what the bucket holds; it is full at 0 s. A fixed window has none.
        window: ``"bucket"``, or ``"fixed"``: the count begins again at 0, per_s, 2 per_s, …
        charge: tokens of a call: prompt and `max_output_tokens` (``"reserved"``), or prompt and
            the answer as it will be (``"used"``).
        give_back: when a call ends, what it reserved and did not use comes back.
    """

    counts: Literal["requests", "tokens"]
    amount: float
    per_s: float
    burst: float
    window: Literal["bucket", "fixed"] = "bucket"
    charge: Literal["reserved", "used"] = "reserved"
    give_back: bool = False


@dataclass(frozen=True, slots=True)
class RefusalPlan:
    """How a call is refused.

    Attributes:
        latency_s: from the call's arrival until the client hears of it.
        retry_after: the client is told when to come back, or nothing.
        charged: a refused call takes from the limits on requests all the same.
    """

    latency_s: float = 0.0
    retry_after: Literal["exact", "none"] = "exact"
    charged: bool = False


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which calls are refused, or hang.

    Attributes:
        from_s, to_s: the outage is ``[from_s, to_s)``.
        running: what becomes of the calls that are there, those in the line too: they are lost and
            tried again without spending an attempt, they stand still, or they go on.
    """

    from_s: float
    to_s: float
    running: Literal["fail", "hang", "finish"] = "fail"


@dataclass(frozen=True, slots=True)
class Pause:
    """A time ``[from_s, to_s)`` in which nothing that runs or begins advances."""

    from_s: float
    to_s: float


@dataclass(frozen=True, slots=True)
class ColdStart:
    """The seconds before an endpoint that was not used, or not for `idle_s`, begins to serve."""

    first_s: float
    idle_s: float = math.inf


@dataclass(frozen=True, slots=True)
class Price:
    """Money for a million tokens; `cached_share` of the prompt costs nothing."""

    prompt_per_million: float = 0.0
    output_per_million: float = 0.0
    cached_share: float = 0.0


@dataclass(frozen=True, slots=True)
class EndpointPlan:
    """One server behind a resource.

    Attributes:
        name: of the endpoint, which is the name of its resource.
        speed: how fast calls run by their number; None if each runs as if it were alone.
        prefill_tokens_per_s: prompts are read one at a time, in the order of arrival, so fast;
            None if they take no time.
        prefill_stalls_decode: no call that decodes advances while a prompt is read.
        max_in_flight: calls served at once; None if any number is.
        queue: calls that wait to be served; None if any number may. Others are refused.
        kv_tokens: room for what the calls that are served reserve; None if there is enough.
    """

    name: str
    speed: SpeedTable | None = None
    prefill_tokens_per_s: float | None = None
    prefill_stalls_decode: bool = False
    max_in_flight: int | None = None
    queue: int | None = None
    kv_tokens: float | None = None
    limits: Sequence[LimitPlan] = ()
    refusal: RefusalPlan = RefusalPlan()
    outages: Sequence[Outage] = ()
    pauses: Sequence[Pause] = ()
    cold_start: ColdStart | None = None
    price: Price | None = None


@dataclass(frozen=True, slots=True)
class ThrottlePlan:
    """A client that lowers its own limit when it is refused, and raises it after successes.

    Attributes:
        start: calls that may be out at once, at first.
        decrease: a refusal multiplies the limit by it, once for the calls of one burst.
        increase, successes: so many successes raise the limit by `increase`.
        cool_down_s: no call goes out for so long after a refusal that says nothing itself.
        most: the limit is never above it.
        heeds_retry_after: a refusal that says Retry-After sets the time instead of `cool_down_s`.
    """

    start: int
    decrease: float = 0.75
    increase: int = 1
    successes: int = 25
    cool_down_s: float = 2.0
    most: int = 1 << 30
    heeds_retry_after: bool = True

    @classmethod
    def pausing(cls, pause_s: float, most: int = 1 << 30) -> ThrottlePlan:
        """All calls pause for `pause_s` after a refusal, and the limit stays (``pause_s: 10``)."""
        return cls(most, decrease=1.0, cool_down_s=pause_s, most=most, heeds_retry_after=False)


@dataclass(frozen=True, slots=True)
class SerialPlan:
    """The scheduler's own time for each start and each end of a call, one at a time."""

    start_s: float = 0.0
    end_s: float = 0.0
