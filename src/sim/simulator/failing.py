"""Calls that fail: their node is tried again after a backoff, or its rows are given up."""

from __future__ import annotations

from typing import Any

import simpy

from cellspec.graph.nodes import NodeKey, column_of, is_barrier_key
from cellspec.machine.clock import compile_at
from sim.simulator.call_outcomes import CallOutcomes
from sim.simulator.consequences import Consequences
from sim.simulator.ready_times import ReadyTimes
from sim.simulator.run_state import CallDetails, RunState, Settle
from sim.simulator.tally import FAILED, Tally

__all__ = ["Failing"]


class _Rest(simpy.events.Event):
    """The end of a backoff: a pooled event that is scheduled again and again."""

    def __init__(self, env: simpy.Environment) -> None:
        super().__init__(env)
        self._ok, self._value = True, None


class Failing:
    """The failures of a run.

    Args:
        state, tally, consequences, ready: of the run.
        outcomes: how long a backoff is.

    Attributes:
        calls: by node that failed, how many calls of it were made in this incarnation; kept until
            it ends well.
        settle: what follows each event; the end of a backoff is one.
    """

    def __init__(
        self,
        state: RunState,
        tally: Tally,
        consequences: Consequences,
        ready: ReadyTimes,
        outcomes: CallOutcomes | None,
    ) -> None:
        self._state, self._tally, self._consequences = state, tally, consequences
        self._ready = ready
        self._outcomes = outcomes
        self.calls: dict[NodeKey, int] = {}
        self.settle: Settle
        self._spare: list[_Rest] = []

    def begin(self) -> None:
        """A new incarnation begins: it has called nothing yet."""
        self.calls.clear()
        self._spare.clear()
        self._on_over: list[Any] = [self._over]
        self._at = compile_at(self._state.machine.state)

    def fail(self, key: NodeKey, details: CallDetails, t: float) -> None:
        """A call of a node fails; of a range, the node is the first row that it has not given."""
        state, machine, failure = self._state, self._state.machine, details.failure
        assert failure is not None and self._outcomes is not None  # noqa: PT018
        column, place = column_of(key), key[1]
        kind = "retryable" if failure == "timeout" else failure
        state.outcome.failures[column][kind] += 1
        self.calls[key] = details.call
        backoff_s = self._outcomes.backoff_s(column, place, details.call, failure)
        if is_barrier_key(key):
            machine.fail_barrier(column, place, failure, t + backoff_s)
        else:
            self._tally.tried[place] = FAILED
            self._ready.rests(column, place, details.stop, t + backoff_s)
            machine.fail_cell(column, place, failure, t + backoff_s)
        # Its start, which stops counting as in flight, and its failure.
        state.other_events += 2
        if machine.unrecorded:
            self._record_drops()
        if machine.backoffs:
            rest = self._spare.pop() if self._spare else _Rest(state.env)
            rest.callbacks = self._on_over
            state.env.schedule(rest, delay=backoff_s)

    def _record_drops(self) -> None:
        for row, cause in sorted(self._state.machine.unrecorded.items()):
            self._state.machine.record_drop(cause, row, row + 1)
            self._tally.blame(cause, row)
            self._state.other_events += 1
            self._consequences.touch(row, row + 1)

    def _over(self, rest: _Rest) -> None:
        """A backoff is over: the machine says so when it gets the time."""
        t = self._state.env.now
        self._spare.append(rest)
        self._at(t)
        self.settle(t)
