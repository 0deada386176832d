"""Calls in flight: coroutines of the probe that have begun, and the lines that name them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

from cellspec.engines.lines import messages as m
from cellspec.graph.rowset import rows_of

__all__ = ["Begun", "InFlight"]


class Begun:
    """A coroutine that has run up to its first wait already; await it to go on from there.

    A call has started when the engine says so, and not when a task gets to it.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._waits_for = coroutine.send(None)
        self.cancelled = False

    def cancel(self) -> None:
        """Let the coroutine see its cancellation now."""
        self.cancelled = True
        try:
            self._coroutine.throw(asyncio.CancelledError())
        except (asyncio.CancelledError, StopIteration):
            return

    def __await__(self) -> Generator[Any, Any, Any]:
        waits_for = self._waits_for
        try:
            while True:
                try:
                    answer = yield waits_for
                except BaseException as error:
                    if self.cancelled:
                        raise
                    waits_for = self._coroutine.throw(error)
                else:
                    waits_for = self._coroutine.send(answer)
        except StopIteration as done:
            return done.value


class InFlight:
    """A call in flight: a barrier node, or rows [start, stop) of which a range gives the first.

    One that was abandoned stays in flight and is named by no line of the engine any more.
    """

    def __init__(self, start: m.Start) -> None:
        self.column = start.column
        self.scope = start.scope
        self.reads = list(rows_of(start.reads or ()))
        rows = 0 if start.rows is None else start.rows
        self.start, self.stop = (rows, rows + 1) if isinstance(rows, int) else rows
        self.begun: Begun | None = None
        self.task: asyncio.Task[None] | None = None
        self.abandoned = False

    def is_that_of(self, line: m.Cancel | m.Abandon | m.TakeBack) -> bool:
        """Whether a line that names a call names this one."""
        if self.abandoned or line.column != self.column or line.scope != self.scope:
            return False
        rows = line.rows
        first = self.start if rows is None else rows if isinstance(rows, int) else rows[0]
        return self.start <= first < self.stop

    @property
    def lateness(self) -> dict[str, Any]:
        """How a line says that its end comes too late."""
        return {"late": True} if self.abandoned else {}

    @property
    def place(self) -> dict[str, Any]:
        """How a line names it."""
        if self.scope is not None:
            return {"scope": self.scope}
        one = self.stop == self.start + 1
        return {"rows": self.start if one else (self.start, self.stop)}
