"""The clock of an incarnation: what happens at one instant, and in which order."""

from __future__ import annotations

from typing import Any

import pytest
import simpy
from simpy.events import NORMAL, URGENT

from sim.simulator.clock import Clock
from sim.simulator.run_state import Task

LATE = simpy.events.EventPriority(NORMAL + 1)


def clock() -> Clock:
    made = Clock(0.0, Task)
    made.handler = lambda _: None
    return made


@pytest.mark.parametrize("make", [simpy.Environment, clock])
def test_at_one_instant_urgent_events_come_first_and_late_ones_last(make: Any) -> None:
    env: simpy.Environment = make()
    seen: list[str] = []

    def note(name: str) -> Any:
        return lambda _: seen.append(name)

    for name, priority in [("late", LATE), ("a", NORMAL), ("urgent", URGENT), ("b", NORMAL)]:
        event = simpy.Event(env)
        event._ok, event._value = True, None
        event.callbacks = [note(name)]
        env.schedule(event, priority, 1.0)
    env.timeout(0.5).callbacks = [note("before")]
    env.run()
    assert seen == ["before", "urgent", "a", "b", "late"]
