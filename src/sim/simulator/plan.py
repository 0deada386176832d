"""The plan of a run: everything that decides it, beside its graph and its latencies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cellspec.machine.limits import FailurePolicy, Limits
from cellspec.state.claims import Claim
from sim.endpoints.plan import EndpointPlan, SerialPlan, ThrottlePlan
from sim.policies import Policy

__all__ = ["AcceptPlan", "CheckpointPlan", "CrashPlan", "RunPlan"]


@dataclass(frozen=True, slots=True)
class CheckpointPlan:
    """When a checkpoint is written, and how long storage takes.

    Attributes:
        every_rows: after so many rows. With version 1 rows are finished rows; with versions 2 and
            3, which save cells of any column, so many rows' worth of them.
        every_s: after so many seconds.
        version: of the payload.
        write_s: seconds from the begin of a write until it is durable.
        blocking: no call starts while a checkpoint is due or is being written; what runs goes on.
    """

    every_rows: int | None = None
    every_s: float | None = None
    version: int = 1
    write_s: float = 0.0
    blocking: bool = False


@dataclass(frozen=True, slots=True)
class CrashPlan:
    """One cause of crashes: a number of an event, a time, or a mean time between crashes.

    Attributes:
        at_event: just after the event of this number, from 1.
        at_time_s: seconds since the run began.
        mean_s: mean seconds from the start, or a resume, to a crash.
        count: at most so many crashes of that mean; None: again and again.
    """

    at_event: int | None = None
    at_time_s: float | None = None
    mean_s: float | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class AcceptPlan:
    """A run that ends when enough rows are accepted.

    Attributes:
        rows: so many are enough.
        rate: the share of rows that is accepted.
        draws_anew: a row that is made again after a crash is judged anew.
    """

    rows: int
    rate: float = 1.0
    draws_anew: bool = False


@dataclass(frozen=True, slots=True)
class RunPlan:
    """Everything that decides a run, beside its graph and its latencies.

    Attributes:
        range_rows: by column, how many rows one call of it makes.
        timeouts: by column, the seconds after which a call is given up.
        endpoints: by resource, the server behind it.
        throttles: by resource, how its client lowers its own limit.
        serial: the scheduler's own time; None if it takes none.
        start_from: what an earlier process left on storage; None if the run is the first.
        accept: when enough rows are made; None if all are wanted.
        shares: by resource that is shared, the weights of its columns.
        arrivals: by row, when it comes, in seconds, in order; each is then a row group of its own.
            Empty if all rows are there from the start.
    """

    seed: int = 0
    limits: Limits = field(default_factory=Limits)
    policy: Policy = "row-first"
    checkpoint: CheckpointPlan | None = None
    crashes: Sequence[CrashPlan] = ()
    restart_delay_s: float = 0.0
    failures: FailurePolicy | None = None
    range_rows: Mapping[str, int] = field(default_factory=dict)
    endpoints: Mapping[str, EndpointPlan] = field(default_factory=dict)
    throttles: Mapping[str, ThrottlePlan] = field(default_factory=dict)
    serial: SerialPlan | None = None
    timeouts: Mapping[str, float] = field(default_factory=dict)
    start_from: Claim | None = None
    accept: AcceptPlan | None = None
    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    arrivals: Sequence[float] = ()
