"""The judge of a replayed trace: the transition system takes the steps one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from cellspec.check.checker import Checker, Finding
from cellspec.replay.source import Steps
from cellspec.trace import Event

__all__ = ["Judged", "events_until", "judge"]


@dataclass(slots=True)
class Judged:
    """The verdict of the transition system on the steps of a trace.

    Attributes:
        events: the steps that were put to it, the one that it refused with them.
        finding: the first step that is not allowed; None if all are.
        checker: the state after the last step that was allowed.
    """

    checker: Checker
    events: list[Event] = field(default_factory=list)
    finding: Finding | None = None


def judge(steps: Steps, until: int | None = None) -> Judged:
    """Put the steps of a trace to the transition system, one by one.

    Args:
        steps: the trace.
        until: the number of the last step to take, from 1; None for all.

    Raises:
        TraceError: the columns of the header form an invalid graph.
    """
    judged = Judged(Checker(steps.header, source=steps.source))
    for event in events_until(steps.events, until):
        judged.events.append(event)
        judged.finding = judged.checker.feed(event)
        if judged.finding is not None:
            break
    return judged


def events_until(events: Iterable[Event], until: int | None) -> Iterator[Event]:
    """The events up to a number, that one with them."""
    return (event for event in events if until is None or event.seq <= until)
