"""Calls that fail: another attempt after a backoff (`Retries`), or an early stop of the run.

`Retries` counts the attempts of each node and holds it in backoff until its moment has come.
`EarlyStop` looks at the last calls of the run and stops it if too many of them failed permanently.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable

from cellspec.engine.call_states import BACKOFF, WAITING
from cellspec.engine.calls import Backoff, Call
from cellspec.engine.observer import Observer
from cellspec.engine.progress import Progress
from cellspec.engine.ready_queues import ReadyQueues
from cellspec.faults import BackPressure, GeneratorError
from cellspec.graph.nodes import CellNodeId, NodeKey, split_key
from cellspec.machine.actions import Failure
from cellspec.machine.limits import FailurePolicy
from cellspec.machine.policy import is_final
from cellspec.text import counted

__all__ = ["EarlyStop", "Retries", "cause_of", "failure_of"]


def failure_of(error: BaseException, foreign: Failure = "permanent") -> Failure:
    """The kind of a failure: as a `GeneratorError` names it, a time-out, or else `foreign`."""
    if isinstance(error, GeneratorError):
        return error.failure
    return "timeout" if isinstance(error, TimeoutError) else foreign


def cause_of(error: BaseException) -> str:
    """An exception in one line, as the record of a dropped row keeps it."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Retries:
    """The attempts of each node, and the nodes that are in backoff.

    Args:
        progress: states, and attempts spent.
        queues: take a node back when its backoff is over.
        policy: how many attempts a node has.
        backoff: how long a node waits after a failure.

    Attributes:
        pending: a heap of (moment in seconds, stamp, keys) of nodes in backoff.
    """

    def __init__(
        self, progress: Progress, queues: ReadyQueues, policy: FailurePolicy, backoff: Backoff
    ) -> None:
        self.progress = progress
        self.queues = queues
        self.policy = policy
        self.pending: list[tuple[float, int, tuple[NodeKey, ...]]] = []
        self._backoff = backoff

    def is_final(self, call: Call, failure: Failure) -> bool:
        """True if the node is not tried again: it is of no use, or no attempt is left."""
        return is_final(failure, call.attempt, self.policy.max_attempts)

    def spend_attempt(self, keys: Iterable[NodeKey]) -> None:
        """Nodes failed in a way that spends an attempt (clause FAIL-01)."""
        attempts = self.progress.attempts
        for key in keys:
            attempts[key] = attempts.get(key, 0) + 1

    def backoff_until(self, key: NodeKey, error: BaseException, now: float) -> float:
        """The moment from which a node that failed may start again (clause FAIL-03)."""
        if isinstance(error, BackPressure) and error.retry_after_s is not None:
            return now + max(0.0, error.retry_after_s)
        backoffs = self.progress.backoffs
        backoffs[key] = backoffs.get(key, 0) + 1
        return now + self._backoff.backoff_s(backoffs[key])

    def back_off(self, keys: list[NodeKey], until: float) -> None:
        """Hold nodes until a moment."""
        for key in keys:
            self.progress.state[key] = BACKOFF
        heapq.heappush(self.pending, (until, self.queues.stamp(), tuple(keys)))

    def return_at_once(self, key: NodeKey) -> None:
        """A node whose call was cancelled may start again without a backoff."""
        self.progress.state[key] = BACKOFF
        self.wake(key)

    def wake_due(self, now: float) -> None:
        """Queue each node whose backoff is over."""
        while self.pending and self.pending[0][0] <= now:
            for key in heapq.heappop(self.pending)[2]:
                self.wake(key)

    def wake(self, key: NodeKey) -> None:
        """The backoff of a node is over, unless its row was dropped meanwhile."""
        if self.progress.state[key] != BACKOFF:
            return
        if self.is_ready(key):
            self.queues.enqueue(key)
        else:
            # A row of an ordered range, behind the one that failed.
            self.progress.state[key] = WAITING

    def is_ready(self, key: NodeKey) -> bool:
        """True if a node that was started before is ready again."""
        column, row, is_barrier = split_key(key)
        name = self.progress.rules.columns[column].name
        return is_barrier or self.progress.tracker.is_in_turn(CellNodeId(row, name))

    def next_wake_s(self) -> float | None:
        """The moment at which the next backoff ends; None without a backoff."""
        state = self.progress.state
        while self.pending and all(state[key] != BACKOFF for key in self.pending[0][2]):
            heapq.heappop(self.pending)
        return self.pending[0][0] if self.pending else None


class EarlyStop:
    """Stops a run of which too many calls fail permanently (clause STOP-01).

    Attributes:
        ends: the last calls that ended, True for each that completed.
        policy: the window, and the rate of failures that stops the run.
        reason: why the run stops, in words; None while it goes on.
    """

    def __init__(self, policy: FailurePolicy, observer: Observer) -> None:
        self.policy = policy
        self.ends: deque[bool] = deque(maxlen=policy.stop_window)
        self.reason: str | None = None
        self._most = policy.stop_failures
        self._observer = observer

    def note_end(self, *, well: bool) -> None:
        """A call that completed, or failed permanently, enters the window.

        It does so even if its rows were dropped meanwhile: the endpoint answered. A failure that
        may be tried again stays out, and so does the last one of a spent budget: the endpoint may
        be down, and the pipeline right.
        """
        if self.policy.stop_window is None:
            return
        self.ends.append(well)
        if self.reason is None and self.fails_too_often():
            bad = self.ends.count(False)
            self.reason = f"{bad} of the last {counted(len(self.ends), 'call')} failed permanently"
            self._observer.stopped(self.reason)

    def fails_too_often(self) -> bool:
        """True if the window is full and holds as many failures as stop the run."""
        full = len(self.ends) == self.ends.maxlen
        return self._most is not None and full and self.ends.count(False) >= self._most
