"""Calls that fail: their node is tried again after a backoff, or its rows are given up."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Any

import simpy

from cellspec.graph.nodes import NodeKey, column_of, is_barrier_key
from cellspec.machine.actions import Failure
from cellspec.machine.clock import compile_at
from cellspec.machine.failures import compile_fail
from sim.simulator.call_outcomes import CallOutcomes
from sim.simulator.consequences import Consequences
from sim.simulator.ready_times import ReadyTimes
from sim.simulator.run_state import CallDetails, FailingCall, RunState, Settle
from sim.simulator.tally import Tally
from sim.simulator.timings import SAMPLED
from sim.simulator.tries import MANY, Tries

__all__ = ["Failing"]

_MANY_RESTS = 256
"""While there are no more ends of backoffs, nobody looks for those that are over."""


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
        tries: how many calls of each node failed in this incarnation.
        fail_cell: the n-th call of a cell that runs by itself fails: column, row, n, time.
        rests: the ends of backoffs that are no event yet, and of some that are over, as a heap:
            time, place within an instant.
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
        columns = range(state.graph.num_columns)
        fails = outcomes is not None and any(outcomes.may_fail(column) for column in columns)
        self.tries = Tries(state.graph.num_records, len(columns), expected=fails)
        self.settle: Settle
        self.rests: list[tuple[float, int]] = []
        self._spare: list[_Rest] = []
        self._numbered: list[FailingCall] = []

    def begin(self) -> None:
        """A new incarnation begins: it has called nothing yet."""
        self.tries.clear()
        self._spare.clear()
        self.rests.clear()
        self._next_s, self._many = math.inf, _MANY_RESTS
        self._on_over: list[Any] = [self._over]
        self._at = compile_at(self._state.machine.state)
        self.fail_cell = self._compile_fail_cell()

    def call(self, number: int) -> FailingCall:
        """What a call of one cell that fails has, by its number."""
        try:
            return self._numbered[number]
        except IndexError:
            for each in range(len(self._numbered), number + 1):
                self._numbered.append(FailingCall(each))
            return self._numbered[number]

    def _compile_fail_cell(self) -> Callable[[int, int, int, float], None]:
        """What `fail_cell` does, as a function that holds what it uses."""
        state, machine, outcomes = self._state, self._state.machine, self._outcomes
        tries, failures, flags = self.tries, state.outcome.failures, state.timings.flags
        tried, many = tries.counts, MANY
        until_of, failed, rests, env = self._ready.until, self._failed, self.rests, state.env
        order, push = env.order, heapq.heappush
        backoffs, unrecorded, sampled = machine.backoffs, machine.unrecorded, SAMPLED
        fail = compile_fail(machine.state) if machine.on_step is None else self._noted
        columns = range(state.graph.num_columns)
        alike = [None if outcomes is None else outcomes.only_failure(column) for column in columns]
        rests_s = () if outcomes is None else outcomes.backoffs_s

        def fail_cell(column: int, row: int, call: int, t: float) -> None:
            key, failure = (column, row), alike[column]
            if failure is None:
                assert outcomes is not None
                failure = outcomes.of_cell(column, row, call)
                assert failure is not None
            failures[column]["retryable" if failure == "timeout" else failure] += 1
            if call < many:
                tried[column][row] = call
            else:
                tries.note(key, call)
            if call <= len(rests_s):
                until = t + rests_s[call - 1]
            else:
                assert outcomes is not None
                until = t + outcomes.backoff_s(column, row, call, failure)
            if flags[row] & sampled:
                until_of[key] = until
            fail(key, failure, until)
            if unrecorded or not backoffs or env.watch is not None:
                failed(until)
                return
            # As `_failed`, inlined.
            state.other_events += 2
            push(rests, (until, next(order)))
            if len(rests) > self._many:
                self._forget_rests(t)

        return fail_cell

    def _noted(self, key: NodeKey, failure: Failure, until: float) -> None:
        """The call of a cell fails, and the machine tells who records it."""
        self._state.machine.fail_cell(*key, failure, until)

    def _forget_rests(self, t: float) -> None:
        """Those that are over are none any more; each is looked at a few times at most."""
        self.rests[:] = sorted(rest for rest in self.rests if rest[0] > t)
        self._many = max(_MANY_RESTS, 2 * len(self.rests))

    def fail(self, key: NodeKey, details: CallDetails, t: float) -> None:
        """A call of a node fails; of a range, the node is the first row that it has not given."""
        machine, failure = self._state.machine, details.failure
        assert failure is not None
        column, place = column_of(key), key[1]
        backoff_s = self._count(column, key, details.call, failure)
        if is_barrier_key(key):
            machine.fail_barrier(column, place, failure, t + backoff_s)
        else:
            self._ready.rests(column, place, details.stop, t + backoff_s)
            machine.fail_cell(column, place, failure, t + backoff_s)
        self._failed(t + backoff_s)

    def _count(self, column: int, key: NodeKey, call: int, failure: Failure) -> float:
        """A call of a node fails; how long it rests, if it is tried again."""
        assert self._outcomes is not None
        kind = "retryable" if failure == "timeout" else failure
        self._state.outcome.failures[column][kind] += 1
        self.tries.note(key, call)
        return self._outcomes.backoff_s(column, key[1], call, failure)

    def _failed(self, until: float) -> None:
        """The machine knows that a call failed, whose node may be tried again at a time."""
        state, machine, env = self._state, self._state.machine, self._state.env
        # Its start, which stops counting as in flight, and its failure.
        state.other_events += 2
        if machine.unrecorded:
            self._record_drops()
        if not machine.backoffs:
            return
        heapq.heappush(self.rests, (until, next(env.order)))
        if len(self.rests) > self._many:
            self._forget_rests(env.now)
        if env.watch is not None:
            self.wake()

    def wake(self) -> None:
        """A worker is free: the end of the next backoff is an event.

        While all are busy it is none. The machine hears of it with the next event, and until then
        nothing could start.
        """
        rests, env = self.rests, self._state.env
        while rests and rests[0][0] <= env.now:
            heapq.heappop(rests)
        if rests and rests[0][0] < self._next_s:
            rest = self._spare.pop() if self._spare else _Rest(env)
            rest.callbacks = self._on_over
            self._next_s, order = heapq.heappop(rests)
            # Among the events of its time it is where it was when the call failed.
            heapq.heappush(env.queue, (self._next_s, order, rest, -1, 0, 0))

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
        self._next_s = math.inf
        self._at(t)
        self.settle(t)
