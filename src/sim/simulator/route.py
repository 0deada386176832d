"""The route of a call: what it goes through from its start to its end, where no latency says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import simpy

from cellspec.graph.rowset import RowSet
from cellspec.machine.actions import Failure
from cellspec.trace.format import EndpointSums
from sim.simulator.outcome import Outcome
from sim.simulator.row_times import RowTimes
from sim.simulator.run_state import Task

__all__ = ["Finish", "Route"]


class Finish(Protocol):
    """Takes a call that is through its route; called at that time, once."""

    def __call__(self, task: Task, failure: Failure | None = None, /) -> None:
        """The call ends as drawn for it, or by `failure`.

        Other calls may enter the route before this returns.
        """


class Route(Protocol):
    """The way of the calls of one or several columns; it lives through all incarnations."""

    def attach(
        self, env: simpy.Environment, finish: Finish, dropped: RowSet, times: RowTimes
    ) -> None:
        """An incarnation begins, with a clock of its own and without calls.

        Args:
            env: the clock.
            finish: takes calls that are through.
            dropped: the rows that are dropped, as they are now at any time of it.
            times: takes the moments of calls of cells.
        """

    def enter(self, task: Task, call: int, stop: int, fails: bool, t: float) -> None:
        """A call starts; it may be through at this same time, but only after this returned.

        Args:
            task: the call; its node is `column` and `row`.
            call: which call of its node in this incarnation, from 1.
            stop: the row after the last of its range; for anything else the row after its own.
            fails: it will end with an error.
            t: now, in seconds.
        """

    @property
    def may_hold_up(self) -> bool:
        """True if a call on it may wait for anything beside its own work."""

    def skip(self, column: int, row: int) -> None:
        """A cell of one of its columns is skipped."""

    def ended(self, task: Task) -> None:
        """A call that was through ends now; told where something holds calls up before that."""

    def gave(self, task: Task) -> None:
        """A range that was through has given the last of its rows."""

    def holds_up(self) -> str:
        """What a call on it waits for, beside its own work, in a word; "" if none does."""

    def crash(self, t: float) -> None:
        """The process died at `t`: the calls that are under way are gone."""

    def sums(self, t: float) -> Mapping[str, EndpointSums]:
        """By endpoint on it, what it has counted up to time t, as a trace states it."""

    def add_up(self, outcome: Outcome) -> None:
        """The run is over; `outcome` has its makespan, and gets what the route counted."""
