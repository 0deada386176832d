"""The steps at which an engine can be crashed so that it dies when the engine of a trace did."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import takewhile

from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.backend import Backend
from cellspec.conformance.run.workload import Workload
from cellspec.replay.source import Steps
from cellspec.replay.workload_of import ends_of

__all__ = ["CRASH_STEPS_MAX", "crash_steps"]

CRASH_STEPS_MAX = 400
"""How many steps at one moment an engine is crashed at, one after the other."""


def crash_steps(engine: Backend, work: Workload, steps: Steps) -> Iterator[tuple[int, ...]]:
    """Steps to crash at, one list a run: all that come at the time at which the trace crashes.

    How many steps an engine takes until a moment is its own affair, so each is tried. With several
    crashes the first ones are fixed, one after the other, at the first step that fits.
    """
    # An engine acts between calls at the moment when a call ends.
    ends = {event.seq for _, event in ends_of(steps.events, work.graph())}
    moments: list[tuple[float, float]] = []
    ended_s = 0.0
    for event in steps.events:
        if event.event == "crash":
            moments.append((ended_s, event.t))
        elif event.seq in ends:
            ended_s = event.t
    fixed: tuple[int, ...] = ()
    for number, (after, before) in enumerate(moments):
        fitting = _steps_between(engine, work, fixed, after, max(after, before))
        if number == len(moments) - 1:
            yield from ((*fixed, step) for step in fitting)
            return
        fixed = (*fixed, fitting[0] if fitting else 1)
    yield fixed


def _steps_between(
    engine: Backend, work: Workload, fixed: tuple[int, ...], after_s: float, before_s: float
) -> list[int]:
    """The steps at which the next incarnation dies between two moments if it is crashed there."""
    times: dict[int, float] = {}

    def time_of(step: int) -> float:
        if step not in times:
            result = run_workload(engine, work.replace(crashes=(*fixed, step)))
            times[step] = _crash_time(result, len(fixed))
        return times[step]

    # The later the step the later the crash, and beyond the last step there is none.
    high = 1
    while time_of(high) < after_s:
        high *= 2
    first = bisect_left(range(high + 1), after_s, 1, key=time_of)
    steps = range(first, first + CRASH_STEPS_MAX)
    return list(takewhile(lambda step: time_of(step) <= before_s, steps))


def _crash_time(result: RunResult, number: int) -> float:
    times = [float(event["t"]) for event in result.events if event["event"] == "crash"]
    return times[number] if number < len(times) else float("inf")
