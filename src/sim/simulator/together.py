"""Several runs at once, whose endpoints are common; each runs to its own end.

Each run has its own clock, which a crash throws away, and the common endpoints have one that stays.
All show the same time: the next event of all comes first, and at one instant the one that was
scheduled first. So a run beside which nothing else runs is the run that it would be alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from cellspec.errors import SpecError, TraceError
from sim.endpoints.desk import CommonServer
from sim.endpoints.plan import EndpointPlan
from sim.simulator.clock import Clock
from sim.simulator.outcome import Outcome
from sim.simulator.routes import OpenDesk
from sim.simulator.run_state import Task
from sim.simulator.simulator import Simulator, survives

__all__ = ["Together"]

_NEVER = math.inf, 0


class Together:
    """Runs that share endpoints.

    Args:
        plans: of the endpoints, by resource.
        traced: the runs are recorded.

    Attributes:
        servers: by resource, what is behind it.
    """

    def __init__(self, plans: Mapping[str, EndpointPlan], *, traced: bool) -> None:
        self._clock = Clock(0.0, Task)
        self._lanes: list[_Lane] = []
        self.servers = {
            name: CommonServer(plan, self._clock, traced=traced) for name, plan in plans.items()
        }

    def join(
        self, make: Callable[[Mapping[str, OpenDesk]], Simulator], name: str | None = None
    ) -> None:
        """One more run.

        Args:
            make: its simulator, given what opens its desks at the common endpoints.
            name: of its pipeline, for errors; None for the scenario's own.
        """
        lane = _Lane(self._clock, name)
        desks = {name: partial(server.desk, lane.inform) for name, server in self.servers.items()}
        lane.simulator = make(desks)
        self._lanes.append(lane)

    def run(self) -> list[Outcome]:
        """Run all to their ends; where several begin at one instant, in the order they joined.

        Raises:
            Violation: an event breaks a clause.
            SpecError: what one of them is to do cannot be done; the text names it.
        """
        for lane in self._lanes:
            lane.set_up()
        living = list(self._lanes)
        while living:
            self._step(living)
            living = [lane for lane in living if lane.outcome is None]
        return [lane.outcome for lane in self._lanes if lane.outcome is not None]

    def _step(self, living: list[_Lane]) -> None:
        """Let the next event of all happen."""
        clock = self._clock
        step, first = clock.step, clock.queue[0][:2] if clock.queue else _NEVER
        for lane in living:
            its_next = lane.next
            if its_next < first:
                step, first = lane.step, its_next
        t = first[0]
        if t == math.inf:
            # Nothing is to come: none of them ends any more.
            living[0].get_stuck()
            return
        if t > clock.now:
            for lane in living:
                lane.pass_to(t)
            clock.now = t
        step()


class _OfOneError(SpecError):
    """An error of one of several runs, which its text names."""


class _Lane:
    """One of several runs.

    Args:
        clock: of what they share; it gives events their places in an instant.
        name: of its pipeline, for errors; None for the scenario's own.

    Attributes:
        simulator: of the run; given before it begins.
        outcome: of the run; None while it goes on.
    """

    def __init__(self, clock: Clock, name: str | None) -> None:
        self._name = name
        self.simulator: Simulator
        self.outcome: Outcome | None = None
        self._order = clock.order
        # When the next incarnation begins, and its place in that instant; None while one lives.
        self._begins: tuple[float, int] | None = None

    def set_up(self) -> None:
        """Before the run: it begins at 0 s."""
        self.simulator.state.order = self._order
        try:
            self.simulator.set_up()
        except SpecError as error:
            raise self._named(error) from None
        self._begins = 0.0, next(self._order)

    @property
    def next(self) -> tuple[float, int]:
        """When its next event comes, in seconds, and its place in that instant."""
        if self._begins is not None:
            return self._begins
        queue = self.simulator.state.env.queue
        return queue[0][:2] if queue else _NEVER

    def step(self) -> None:
        """Let its next event happen."""
        simulator = self.simulator
        if self._begins is None:
            self.inform(simulator.state.env.step)
        else:
            start_s, self._begins = self._begins[0], None
            simulator.begin(start_s)
            self.inform(simulator.start)

    def inform(self, action: Callable[..., object], *args: Any) -> None:
        """Let something happen to the run, which may crash or end by it."""
        try:
            if survives(self.simulator, action, *args):
                return
            start_s = self.simulator.end()
        except SpecError as error:
            raise self._named(error) from None
        if start_s is None:
            self.outcome = self.simulator.add_up()
        else:
            self._begins = start_s, next(self._order)

    def _named(self, error: SpecError) -> SpecError:
        """The error, with the pipeline, if it is of that and names none yet."""
        if isinstance(error, _OfOneError | TraceError):
            return error
        if self._name is None:
            return _OfOneError(error)
        # An endpoint is stated for all of them.
        if str(error).startswith("endpoints."):
            return _OfOneError(f"{error} (for the pipeline {self._name!r})")
        return _OfOneError(f"beside {self._name!r}: {error}")

    def get_stuck(self) -> None:
        """Nothing is to come, and the run is not over."""
        self.simulator.machine.stuck()
        self.simulator.end()
        self.outcome = self.simulator.add_up()

    def pass_to(self, t: float) -> None:
        """Time passes up to t, in which nothing happens."""
        if self._begins is None:
            clock = self.simulator.state.env
            if clock.watch is not None:
                clock.watch(t - clock.now)
            clock.now = t
