"""The weather of a server: pauses and outages, which come at planned times."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence

import simpy

from sim.endpoints.plan import Outage, Pause
from sim.endpoints.timer import SAME_S, Timer

__all__ = ["Weather"]

_Turn = tuple[float, int, Callable[[float], object]]
"""When, in which order at one instant, what."""


class Weather:
    """Turns of the weather, each at its time.

    The kernel is asked for a wake only while somebody `watch`es: an outage in a year does not keep
    a run from ending. What turned meanwhile is made up for, in order, by `catch_up`.

    Args:
        env: the clock.
        pauses, outages: what is planned; they may overlap.
        stall, go_on: get the time at which one pause, or outage in which calls hang, begins or is
            over.
        fail: gets the time at which the calls that run are lost.

    Attributes:
        next_s: when the weather turns next; infinity if it never does.
    """

    def __init__(
        self,
        env: simpy.Environment,
        pauses: Sequence[Pause],
        outages: Sequence[Outage],
        *,
        stall: Callable[[float], object],
        go_on: Callable[[float], object],
        fail: Callable[[float], object],
    ) -> None:
        still: list[Pause | Outage] = [
            *pauses,
            *(outage for outage in outages if outage.running == "hang"),
        ]
        turns: list[_Turn] = []
        for time in still:
            if time.from_s < time.to_s:
                # What is over at an instant is over before what begins then.
                turns += [(time.to_s, 0, go_on), (time.from_s, 1, stall)]
        turns += [
            (outage.from_s, 2, fail)
            for outage in outages
            if outage.running == "fail" and outage.from_s < outage.to_s
        ]
        self._turns = sorted(turns, key=lambda turn: turn[:2])
        self._outages = deque(sorted((outage.from_s, outage.to_s) for outage in outages))
        self._turned = 0
        self.next_s = self._turns[0][0] if self._turns else math.inf
        self._watched = False
        self.attach(env)

    def attach(self, env: simpy.Environment) -> None:
        """Go on with another clock, with nobody watching."""
        self._timer = Timer(env, self.catch_up)
        self._watched = False

    def watch(self) -> None:
        """Turn in time from now on; all turns so far have been made up for."""
        self._watched = True
        if self.next_s < math.inf:
            self._timer.at(self.next_s)

    def look_away(self) -> None:
        """Nobody is there whom a turn would meet."""
        self._watched = False
        self._timer.clear()

    def catch_up(self, t: float) -> None:
        """Take every turn that is due by time t in seconds, each at its own time."""
        while self.next_s <= t:
            when, _, action = self._turns[self._turned]
            self._turned += 1
            more = self._turned < len(self._turns)
            self.next_s = self._turns[self._turned][0] if more else math.inf
            # To those who are here it turns now, whatever the clock rounded.
            action(t if t - when < SAME_S else when)
        if self._watched and self.next_s < math.inf:
            self._timer.at(self.next_s)

    def outage_s(self, t: float) -> float:
        """The rest of the outage at time t, in seconds; 0 if there is none.

        It is asked at times that never go back.
        """
        outages, end_s = self._outages, t
        while outages and outages[0][1] <= t:
            outages.popleft()
        for from_s, to_s in outages:
            if from_s > t:
                break
            end_s = max(end_s, to_s)
        return end_s - t if end_s - t > SAME_S else 0.0
