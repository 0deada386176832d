"""`Observer`: its methods are called at each step of a run; and `ProgressBar`, an observer.

Every method is empty unless it is overridden, and is called synchronously, at the moment of the
step and before anything that follows from it. That makes an observer enough for a progress bar, for
a log, and for an adapter to the conformance suite. It must not call back into the engine. In a
thread engine the calls come from several threads, one at a time. An exception of an observer ends
the run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TextIO

from cellspec.engine.calls import Call, Drop, Failed, Restored
from cellspec.machine.actions import Outcome
from cellspec.progress_line import ProgressLine
from cellspec.state.checkpoint import Checkpoint

__all__ = ["Observer", "Observers", "ProgressBar"]


class Observer:
    """Is notified of each step of a run. Override the methods of the steps that you want."""

    def began(self) -> None:
        """The first incarnation begins: storage is empty."""

    def resumed(self, restored: Restored) -> None:
        """A later incarnation begins, from the rows and the claim that storage gave back."""

    def started(self, call: Call) -> None:
        """A generator is about to be called."""

    def completed(self, call: Call, row: int | None) -> None:
        """A cell got its value: of a range, one of its rows. Of a barrier, None: its call ended."""

    def row_ignored(self, call: Call, row: int) -> None:
        """A range gave a row that it rejects, or that was dropped meanwhile."""

    def range_ended(self, call: Call) -> None:
        """A range has given its last row, and its slot is free."""

    def emitted(self, column: str, row: int) -> None:
        """A finished barrier gave the output cell of a row."""

    def failed(self, call: Call, failed: Failed) -> None:
        """A call failed."""

    def abandoned(self, call: Call) -> None:
        """A call passed its bound and cannot be ended; its failure follows, its late end does not.

        It is the call of a function in a thread.
        """

    def cancelled(self, call: Call) -> None:
        """A call was cancelled: its rows were dropped, or the run stopped."""

    def ignored(self, call: Call) -> None:
        """A call ended whose rows had been dropped meanwhile; its result is thrown away."""

    def skipped(self, column: str, row: int) -> None:
        """A cell was skipped."""

    def dropped(self, start: int, stop: int, drop: Drop) -> None:
        """Rows ``[start, stop)`` were given up."""

    def admitted(self, group: int) -> None:
        """A row group was admitted."""

    def retired(self, group: int) -> None:
        """Every row of a group is resolved, and another group may be admitted in its place."""

    def rows_begin(self, column: str, start: int, stop: int) -> None:
        """Rows ``[start, stop)`` of a column are about to be written."""

    def rows_durable(self, column: str, start: int, stop: int) -> None:
        """Rows ``[start, stop)`` of a column ("": of every column) are safe on storage."""

    def drops_begin(self, start: int, stop: int) -> None:
        """The drops of rows ``[start, stop)`` are about to be written, and no cell with them."""

    def drops_durable(self, start: int, stop: int) -> None:
        """Drops that were written without a cell are on storage."""

    def checkpoint_begin(self, checkpoint: Checkpoint) -> None:
        """A checkpoint is about to be written."""

    def checkpoint_durable(self, checkpoint: Checkpoint) -> None:
        """That checkpoint is safe on storage."""

    def checkpoint_failed(self, checkpoint: Checkpoint, error: Exception) -> None:
        """That checkpoint could not be written."""

    def rows_failed(self, error: Exception) -> None:
        """Rows could not be written; they are not claimed."""

    def storage_step(self, name: str) -> None:
        """Storage is about to do one operation on its folder.

        Called by the writing thread, beside the other calls: of an asyncio engine a thread of the
        loop's executor, of a thread engine the one that called `run`.
        """

    def stopped(self, reason: str) -> None:
        """Too many calls fail: the run starts no more."""

    def ended(self, outcome: Outcome, reason: str) -> None:
        """The incarnation is over."""


class Observers(Observer):
    """Several observers as one, notified in the order in which they are given."""

    def __init__(self, *observers: Observer) -> None:
        for name, step in vars(Observer).items():
            if callable(step) and not name.startswith("_"):
                setattr(self, name, _notify_all([getattr(one, name) for one in observers]))


def _notify_all(steps: list[Callable[..., None]]) -> Callable[..., None]:
    def notify(*arguments: object) -> None:
        for step in steps:
            step(*arguments)

    return notify


class ProgressBar(Observer):
    """One line on a terminal: rows saved, cells done, rows dropped. Other streams get no line.

    Args:
        rows: rows of the dataset.
        stream: where to draw; standard error by default, so that a pipe gets none of it.
    """

    WIDTH = 30
    EVERY_S = 0.1

    def __init__(self, rows: int, stream: TextIO | None = None) -> None:
        self._rows = rows
        self._stream = sys.stderr if stream is None else stream
        shown = self._stream.isatty()
        self._line = ProgressLine(self.EVERY_S, self._stream) if shown else None
        self._cells = self._dropped = self._saved = 0

    def resumed(self, restored: Restored) -> None:
        self._saved = restored.checkpoint["completed_rows"]

    def completed(self, call: Call, row: int | None) -> None:  # noqa: ARG002
        self._cells += row is not None
        self._draw()

    def dropped(self, start: int, stop: int, drop: Drop) -> None:  # noqa: ARG002
        self._dropped += stop - start
        self._draw()

    def checkpoint_durable(self, checkpoint: Checkpoint) -> None:
        self._saved = checkpoint["completed_rows"]
        self._draw()

    def ended(self, outcome: Outcome, reason: str) -> None:
        if self._line is not None:
            self._line.show(self._text())
            self._stream.write(f"\n{outcome}: {reason}\n")
            self._stream.flush()

    def _draw(self) -> None:
        if self._line is not None and self._line.is_due:
            self._line.show(self._text())

    def _text(self) -> str:
        filled = self.WIDTH * self._saved // self._rows
        return (
            f"[{'#' * filled}{'.' * (self.WIDTH - filled)}] {self._saved}/{self._rows} rows "
            f"saved, {self._cells} cells done, {self._dropped} rows dropped"
        )
