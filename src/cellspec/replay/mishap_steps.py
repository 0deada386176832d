"""The steps at which an engine meets the mishaps of a trace when the engine of the trace did.

A mishap is a crash, a request to stop, or the loss of a worker. A workload counts it in steps of
the engine, and a trace has its time: how many steps an engine takes until a moment is its own
affair. So the steps at that moment are tried, first those with which the engine does most of what
the trace holds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Literal, TypeAlias

from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.backend import Backend
from cellspec.conformance.run.workload import Workload
from cellspec.replay.source import Steps, numbered
from cellspec.replay.workload_of import ends_of
from cellspec.trace import to_json

__all__ = ["STEPS_MAX", "Mishap", "MishapSearch", "mishaps_of"]

STEPS_MAX = 400
"""How many steps at one moment are tried, one after the other."""

MishapKind: TypeAlias = Literal["crash", "stop_requested", "worker_lost"]

_FIELDS: dict[str, Literal["crashes", "stop_at", "worker_losses"]] = {
    "crash": "crashes",
    "stop_requested": "stop_at",
    "worker_lost": "worker_losses",
}
_WORDS = {"crash": "crash", "stop_requested": "request to stop", "worker_lost": "loss of a worker"}


@dataclass(frozen=True, slots=True)
class Mishap:
    """A mishap of a trace.

    Attributes:
        kind: its event.
        incarnation: in which run of the process it is, from 0.
        place: how many events of the trace come before it.
        after_s: the last end of a call before it; an engine acts at such a moment.
        before_s: its own time.
    """

    kind: MishapKind
    incarnation: int
    place: int
    after_s: float
    before_s: float

    def at_step(self, work: Workload, step: int) -> Workload:
        """The workload with this mishap at a step; 0 for never."""
        name = _FIELDS[self.kind]
        known: tuple[int, ...] = getattr(work, name)
        longer = [*known, *[0] * (self.incarnation + 1 - len(known))]
        longer[self.incarnation] = step
        return work.replace(**{name: tuple(longer)})

    def __str__(self) -> str:
        return f"the {_WORDS[self.kind]} in run {self.incarnation + 1} of the process"


def mishaps_of(steps: Steps, work: Workload) -> list[Mishap]:
    """The mishaps of a trace, in order: of each kind the first in a run of the process."""
    ends = {event.seq for _, event in ends_of(steps.events, work.graph())}
    found: dict[tuple[int, str], Mishap] = {}
    ended_s = 0.0
    for place, (incarnation, event) in enumerate(numbered(steps.events)):
        kind = event.event
        if kind == "crash" or kind == "stop_requested" or kind == "worker_lost":
            before_s = max(ended_s, event.t)
            mishap = Mishap(kind, incarnation, place, ended_s, before_s)
            found.setdefault((incarnation, kind), mishap)
        elif event.seq in ends:
            ended_s = event.t
    return list(found.values())


@dataclass(slots=True)
class MishapSearch:
    """Workloads with the mishaps of a trace, at steps that fit.

    Attributes:
        engine: the engine.
        steps: the trace.
        missed: the mishaps that come at no step of the engine, and are left out.
    """

    engine: Backend
    steps: Steps
    missed: list[str] = field(default_factory=list)
    _lines: list[dict[str, object]] = field(default_factory=list)

    def workloads(self, work: Workload) -> Iterator[Workload]:
        """The workloads to try: all steps that fit the last mishap, after the first fits of others.

        None if the last mishap is a crash that comes at no step.
        """
        self._lines = [to_json(event) for event in self.steps.events]
        mishaps = mishaps_of(self.steps, work)
        crashes = [mishap.incarnation for mishap in mishaps if mishap.kind == "crash"]
        if crashes:
            # How many processes there may be is known to engines that count deaths.
            work = work.replace(crashes=(0,) * (max(crashes) + 1))
        for number, mishap in enumerate(mishaps, 1):
            fitting = self._fitting(work, mishap)
            if not fitting and mishap.kind != "crash":
                self.missed.append(str(mishap))
            elif number == len(mishaps):
                yield from (mishap.at_step(work, step) for step in fitting)
                return
            else:
                work = mishap.at_step(work, fitting[0] if fitting else 1)
        yield work

    def _fitting(self, work: Workload, mishap: Mishap) -> list[int]:
        """The steps at which a mishap comes between two moments; what repeats most of the trace
        comes first."""
        times: dict[int, float] = {}
        agreed: dict[int, int] = {}

        def time_of(step: int) -> float:
            if step not in times:
                result = run_workload(self.engine, mishap.at_step(work, step))
                times[step] = _time(result, mishap)
                both = zip(result.events, self._lines, strict=False)
                agreed[step] = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], both))
            return times[step]

        # The later the step the later the mishap, and beyond the last step there is none.
        high = 1
        while time_of(high) < mishap.after_s:
            high *= 2
        first = bisect_left(range(high + 1), mishap.after_s, 1, key=time_of)
        steps = range(first, first + STEPS_MAX)
        fitting = list(takewhile(lambda step: time_of(step) <= mishap.before_s, steps))
        return sorted(fitting, key=lambda step: -agreed[step])


def _time(result: RunResult, mishap: Mishap) -> float:
    """When a run came to a mishap; infinity if it did not.

    Minus infinity if the process died before it said from what it goes on: what follows is judged
    by tables, and has no events.
    """
    incarnation = 0
    over = False
    for event in result.events:
        incarnation += over
        over = event["event"] in ("crash", "end")
        if incarnation == mishap.incarnation and event["event"] == mishap.kind:
            return float(event["t"])
    early = result.outcomes[mishap.incarnation : mishap.incarnation + 1] == [mishap.kind]
    return float("-inf") if early else float("inf")
