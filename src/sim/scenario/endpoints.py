"""Endpoints and their clients in a scenario file, as strict records: ``endpoints``, ``throttle``.

`EndpointSpec` is the server behind a resource, `ThrottleSpec` a client that is careful with it, and
`SchedulerSpec` the scheduler's own time. Each gives its plan, as `sim.endpoints.plan` defines it.
Names that refer to another part of the file, and what one column asks of an endpoint, are checked
when the scenario is put together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from sim.endpoints.plan import (
    ColdStart,
    EndpointPlan,
    LimitPlan,
    Outage,
    Pause,
    Price,
    RefusalPlan,
    SerialPlan,
    SpeedTable,
    ThrottlePlan,
)
from sim.scenario.records import LimitsSpec, Name, Positive, Share, one_of_schema
from sim.scenario.strict import (
    DIVISOR,
    Fault,
    PositiveSeconds,
    Seconds,
    StrictModel,
    faults_error,
    field_error,
)

__all__ = [
    "ColdStartSpec",
    "EndpointSpec",
    "FullSpeed",
    "LimitSpec",
    "OutageSpec",
    "PauseSpec",
    "PriceSpec",
    "RefusalSpec",
    "ResourceOutage",
    "SchedulerSpec",
    "ThrottleSpec",
    "endpoint_plans",
    "overlap_faults",
    "rate_limits",
]

PositiveNumber = Annotated[float, Field(gt=0, le=1e15, allow_inf_nan=False), DIVISOR]
"""An amount of tokens or requests, or a speed."""
Money = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


def _counts(table: Any) -> Any:
    """A table whose keys are numbers; JSON writes them as strings."""
    if not isinstance(table, Mapping):
        return table
    if "full_speed" in table:
        raise field_error("", "full_speed stands in work, and alone: no table goes with it")
    found: dict[Any, Any] = {}
    for key, value in table.items():
        number = int(key) if isinstance(key, str) and key.isascii() and key.isdigit() else key
        if number in found:
            raise field_error("", f"{number} is given twice")
        found[number] = value
    return found


class FullSpeed(StrictModel):
    """So many calls run at speed 1; more share the speed of so many."""

    full_speed: Positive = Field(description="each of n calls runs at min(1, full_speed / n)")


def _kind_of_work(work: Any) -> str:
    """Which of the two ways a file says the speed of work in."""
    if isinstance(work, FullSpeed):
        return "full_speed"
    numbers = isinstance(work, Mapping) and any(
        type(key) is int or (isinstance(key, str) and key.isdigit()) for key in work
    )
    return "table" if numbers or work == {} else "full_speed"


_AS_NUMBERS = Field(min_length=1, json_schema_extra={"propertyNames": {"pattern": "^[0-9]+$"}})
Tpot = Annotated[
    dict[Positive, Annotated[PositiveSeconds, DIVISOR]], _AS_NUMBERS, BeforeValidator(_counts)
]
Work = Annotated[
    Annotated[FullSpeed, Tag("full_speed")]
    | Annotated[
        dict[Positive, PositiveNumber], _AS_NUMBERS, BeforeValidator(_counts), Tag("table")
    ],
    Discriminator(_kind_of_work),
]


class LimitSpec(StrictModel):
    """A provider's limit on requests or tokens."""

    model_config = ConfigDict(json_schema_extra=one_of_schema("requests", "tokens"))
    one_of = ("requests", "tokens")

    requests: PositiveNumber | None = Field(None, description="so many requests each per_s")
    tokens: PositiveNumber | None = Field(None, description="so many tokens each per_s")
    per_s: Annotated[PositiveSeconds, DIVISOR] = Field(
        description="seconds in which so much may be used"
    )
    burst: PositiveNumber | None = Field(
        None, description="what the bucket holds, full at the start; none: the limit itself"
    )
    window: Literal["bucket", "fixed"] = Field(
        "bucket",
        description="bucket: refills all the time; fixed: full again at 0, per_s, 2 per_s, …",
    )
    charge: Literal["reserved", "used"] = Field(
        "reserved",
        description="what a call takes of tokens: its prompt and max_output_tokens, or its prompt "
        "and the answer as it will be",
    )
    give_back: bool = Field(
        False, description="what a call reserved and did not use comes back at its end"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        faults = []
        if self.window == "fixed" and self.burst is not None:
            text = "a fixed window has no bucket; leave burst out, or take window: bucket"
            faults.append(Fault(("burst",), text))
        elif self.requests is not None and self.holds < 1:
            name, text = "burst", f"expected at least 1, got {self.holds:g}: no call could pass"
            if self.burst is None:
                longer = (
                    "a longer per_s" if self.window == "fixed" else "a longer per_s, or burst: 1"
                )
                name, text = "requests", f"{text}; say {longer}"
            faults.append(Fault((name,), text))
        if self.tokens is None and self.charge != "reserved":
            faults.append(Fault(("charge",), "is read only with tokens: a call is one request"))
        if self.give_back and self.tokens is None:
            faults.append(Fault(("give_back",), "is read only with tokens: a call is one request"))
        elif self.give_back and self.charge == "used":
            faults.append(Fault(("give_back",), "nothing is left to give back with charge: used"))
        if faults:
            raise faults_error(faults)
        return self

    @property
    def amount(self) -> float:
        """Requests or tokens each ``per_s``."""
        return (self.requests if self.requests is not None else self.tokens) or 0.0

    @property
    def holds(self) -> float:
        """The most that one call can take."""
        return self.amount if self.burst is None else self.burst

    def plan(self) -> LimitPlan:
        """The limit as an endpoint takes it."""
        return LimitPlan(
            counts="tokens" if self.requests is None else "requests",
            amount=self.amount,
            per_s=self.per_s,
            burst=self.holds,
            window=self.window,
            charge=self.charge,
            give_back=self.give_back,
        )


class RefusalSpec(StrictModel):
    """How a call is refused."""

    latency_s: Seconds = Field(0.0, description="seconds until the client hears of a refusal")
    retry_after: Literal["exact", "none"] = Field(
        "exact", description="exact: the client is told when to come back; none: it is not"
    )
    charged: bool = Field(False, description="a refused call counts for limits on requests too")


class PauseSpec(StrictModel):
    """A time in which nothing that runs or begins advances."""

    from_s: Seconds = Field(description="seconds since the run began")
    to_s: Seconds = Field(description="seconds since the run began; more than from_s")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.to_s <= self.from_s:
            text = f"expected more than from_s ({self.from_s:g}), got {self.to_s:g}"
            raise field_error("to_s", text)
        return self


class OutageSpec(PauseSpec):
    """A time in which an endpoint is down: calls that come are refused until it ends."""

    running: Literal["fail", "hang", "finish"] = Field(
        "fail",
        description="calls that run or wait are lost, and tried again without spending an "
        "attempt; or stand still; or go on",
    )
    refuse: Literal["until end"] = Field(
        "until end", description="Retry-After is the rest of the outage"
    )

    def plan(self) -> Outage:
        """The outage as an endpoint takes it."""
        return Outage(self.from_s, self.to_s, self.running)


class ResourceOutage(OutageSpec):
    """An outage that stands beside the endpoints: the older place."""

    resource: Name = Field(description="whose endpoint is down")


class ColdStartSpec(StrictModel):
    """The seconds before an endpoint that nobody used begins to serve."""

    first_s: Seconds = Field(description="seconds before the first call is served")
    idle_s: PositiveSeconds | None = Field(
        None, description="so many seconds without a call make it cold again; none: it stays warm"
    )


class PriceSpec(StrictModel):
    """What tokens cost."""

    prompt_per_million: Money = Field(0.0, description="for a million prompt tokens")
    output_per_million: Money = Field(0.0, description="for a million output tokens")
    cached_share: Share = Field(0.0, description="share of the prompt that costs nothing")


class EndpointSpec(StrictModel):
    """The server behind a resource; ``limits.resources`` stays the limit of its client."""

    tpot_s: Tpot | None = Field(
        None,
        description="calls that decode at once to the seconds of each output token, with straight "
        "lines between the points; for columns whose latency is a request",
    )
    work: Work | None = Field(
        None,
        description="for any other latency, which is seconds of work at speed 1: full_speed, or "
        "calls at once to the speed of each",
    )
    beyond: Literal["line", "hold", "refuse"] | None = Field(
        None,
        description="with more calls at once than the table's last point: its last line goes on, "
        "its last value holds, or the scenario is refused before the run; none: refuse",
    )
    prefill_tokens_per_s: PositiveNumber | None = Field(
        None,
        description="prompts are read one at a time, in the order of arrival, at so many tokens a "
        "second; none: they take no time",
    )
    prefill_stalls_decode: bool = Field(False, description="no token comes while a prompt is read")
    max_in_flight: Positive | None = Field(
        None, description="calls that are served at once; none: any number"
    )
    queue: Annotated[int, Field(ge=0)] | None = Field(
        None, description="calls that wait to be served, others are refused; none: any number"
    )
    kv_tokens: PositiveNumber | None = Field(
        None, description="room for the tokens of the calls that are served; none: enough"
    )
    limits: Annotated[tuple[LimitSpec, ...], Field(strict=False)] = Field(
        (), description="of the provider: what is above them is refused"
    )
    refusal: RefusalSpec = Field(RefusalSpec(), description="how a call is refused")
    outages: Annotated[tuple[OutageSpec, ...], Field(strict=False)] = ()
    pauses: Annotated[tuple[PauseSpec, ...], Field(strict=False)] = ()
    cold_start: ColdStartSpec | None = Field(None, description="none: it serves at once")
    price: PriceSpec | None = Field(None, description="none: what it costs is not known")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        faults = []
        if self.tpot_s is not None and self.work is not None:
            text = "expected one of tpot_s and work, got both: a call is tokens, or seconds"
            faults.append(Fault(("work",), text))
        if self.beyond is not None and self.table is None:
            text = "is read only with tpot_s, or with work by calls at once"
            faults.append(Fault(("beyond",), text))
        if self.beyond == "line" and len(self.table or "12") < 2:
            faults.append(Fault(("beyond",), "expected two points at least for a line, got one"))
        if self.prefill_stalls_decode and self.prefill_tokens_per_s is None:
            text = "is read only with prefill_tokens_per_s"
            faults.append(Fault(("prefill_stalls_decode",), text))
        for name, times in (("outages", self.outages), ("pauses", self.pauses)):
            faults += overlap_faults({(name, i): one for i, one in enumerate(times)})
        if faults:
            raise faults_error(faults)
        return self

    @property
    def table(self) -> Mapping[int, float] | None:
        """Calls at once to the seconds of a unit of work, if the endpoint gives a table."""
        if self.tpot_s is not None:
            return self.tpot_s
        if isinstance(self.work, dict):
            return {calls: 1 / speed for calls, speed in self.work.items()}
        return None

    def speed(self) -> SpeedTable | None:
        """How fast calls run by their number; None if each runs as if it were alone."""
        if isinstance(self.work, FullSpeed):
            return SpeedTable.sharing(self.work.full_speed)
        if self.table is None:
            return None
        return SpeedTable(
            tuple(sorted(self.table.items())), "line" if self.beyond == "line" else "hold"
        )

    def plan(
        self,
        name: str,
        further_limits: Sequence[LimitPlan] = (),
        further_outages: Sequence[OutageSpec] = (),
    ) -> EndpointPlan:
        """The endpoint as a run takes it.

        Args:
            name: of the endpoint and its resource.
            further_limits: those that stand elsewhere in the file.
            further_outages: the same.
        """
        outages = sorted((*self.outages, *further_outages), key=lambda one: one.from_s)
        pauses = sorted(self.pauses, key=lambda one: one.from_s)
        cold, price = self.cold_start, self.price
        return EndpointPlan(
            name=name,
            speed=self.speed(),
            prefill_tokens_per_s=self.prefill_tokens_per_s,
            prefill_stalls_decode=self.prefill_stalls_decode,
            max_in_flight=self.max_in_flight,
            queue=self.queue,
            kv_tokens=self.kv_tokens,
            limits=(*(limit.plan() for limit in self.limits), *further_limits),
            refusal=RefusalPlan(**self.refusal.model_dump()),
            outages=tuple(one.plan() for one in outages),
            pauses=tuple(Pause(one.from_s, one.to_s) for one in pauses),
            cold_start=None
            if cold is None
            else ColdStart(cold.first_s, math.inf if cold.idle_s is None else cold.idle_s),
            price=None if price is None else Price(**price.model_dump()),
        )


class ThrottleSpec(StrictModel):
    """A client that lowers its own limit when it is refused, and raises it after successes."""

    start: Positive | None = Field(
        None, description="calls that may be out at once at first; none: the limit of the resource"
    )
    decrease: float = Field(
        0.75,
        gt=0,
        lt=1,
        allow_inf_nan=False,
        description="a refusal multiplies the limit by it, once for the calls of one burst",
    )
    increase: Positive = Field(1, description="what the limit is raised by")
    successes: Positive = Field(25, description="so many calls that end well raise the limit")
    cool_down_s: Seconds = Field(
        2.0, description="seconds without a call after a refusal that says no Retry-After"
    )
    ramp_s: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="seconds in which the limit rises at the start: 0 only",
        json_schema_extra={"maximum": 0},
    )
    pause_s: PositiveSeconds | None = Field(
        None,
        description="instead of all the others: no call goes out for so many seconds after a "
        "refusal, whatever its Retry-After, and the limit stays",
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.ramp_s:
            what = "expected 0: a limit that rises by time is not simulated; say a lower start"
            raise faults_error([Fault(("ramp_s",), f"{what}, from which successes raise it")])
        if self.pause_s is not None:
            faults = [
                Fault((name,), "is not read with pause_s: the limit stays; leave one of them out")
                for name, field in type(self).model_fields.items()
                if name != "pause_s" and getattr(self, name) != field.default
            ]
            if faults:
                raise faults_error(faults)
        return self

    def plan(self, most: int) -> ThrottlePlan:
        """The throttle as a client takes it; `most` is the client's limit of the resource."""
        if self.pause_s is not None:
            return ThrottlePlan.pausing(self.pause_s, most)
        return ThrottlePlan(
            start=most if self.start is None else min(self.start, most),
            decrease=self.decrease,
            increase=self.increase,
            successes=self.successes,
            cool_down_s=self.cool_down_s,
            most=most,
        )


class SchedulerSpec(StrictModel):
    """The scheduler's own time, one thing at a time: ends before starts, each in order."""

    start_s: Seconds = Field(0.0, description="seconds of the loop for each start of a call")
    end_s: Seconds = Field(0.0, description="seconds of the loop for each end of a call")

    def plan(self) -> SerialPlan:
        """The scheduler's time as a run takes it."""
        return SerialPlan(self.start_s, self.end_s)


def endpoint_plans(
    endpoints: Mapping[str, EndpointSpec], outages: Sequence[ResourceOutage], limits: LimitsSpec
) -> dict[str, EndpointPlan]:
    """By resource that has one, its endpoint, with what stands elsewhere in the file.

    Args:
        endpoints: by resource.
        outages: that stand beside the endpoints.
        limits: of the clients; a resource may say here how many requests a minute are taken.
    """
    rates = {name: limit.plan() for name, limit in rate_limits(limits).items()}
    names = dict.fromkeys([*endpoints, *(item.resource for item in outages), *rates])
    return {
        name: endpoints.get(name, EndpointSpec()).plan(
            name,
            [rates[name]] if name in rates else [],
            [item for item in outages if item.resource == name],
        )
        for name in names
    }


def rate_limits(limits: LimitsSpec) -> dict[str, LimitSpec]:
    """By resource whose client is told a rate, the limit of a provider that is the same."""
    # A rate by the minute is kept from the first second on: no burst of a minute's calls.
    rates = limits.requests_per_minute()
    return {name: LimitSpec(requests=rate, per_s=60, burst=1) for name, rate in rates.items()}


def overlap_faults(times: Mapping[tuple[str | int, ...], PauseSpec]) -> list[Fault]:
    """The faults of times that overlap, each at the one that begins later.

    Args:
        times: by place in the file.
    """
    found = []
    for (_, one), (place, other) in pairwise(sorted(times.items(), key=lambda x: x[1].from_s)):
        if other.from_s < one.to_s:
            text = (
                f"expected at least {one.to_s:g}, where the one before ends, got "
                f"{other.from_s:g}: make one of the two"
            )
            found.append(Fault((*place, "from_s"), text))
    return found
