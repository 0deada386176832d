"""What a workload does to an engine while it runs, beside calls that fail.

A worker is lost, or the process dies of a call, or in the middle of a write. To have a worker lost,
the suite calls the backend between two steps of the engine: in virtual time from the loop, in real
time from another thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from cellspec.conformance.run.calls import Calls
from cellspec.conformance.run.recorder import Recorder
from cellspec.conformance.run.torn_writes import FileWatch
from cellspec.conformance.run.workload import Workload

__all__ = ["Disturbing", "Later"]

Later: TypeAlias = Callable[[Callable[[], None]], object]
"""Has a function called soon, outside of the engine's own steps."""


class Disturbing:
    """What a workload does to one incarnation. See `cellspec.conformance.run.disturbing`.

    Args:
        work: the workload.
        incarnation: the number of the incarnation, from 0.
        recorder, calls: those of its probe.
    """

    def __init__(self, work: Workload, incarnation: int, recorder: Recorder, calls: Calls) -> None:
        self._loss_step = work.loss_step(incarnation)
        self._recorder = recorder
        self._calls = calls

    @property
    def killer(self) -> tuple[str, int] | None:
        """The cell (column, row) whose call ended the process, if one did."""
        return self._recorder.killer

    @property
    def torn_at(self) -> tuple[str, str]:
        """The kind of operation on a file in whose middle the process died, and where in words;
        both "" if it died in none."""
        files = self._recorder.files
        return ("", "") if files is None else (files.died_at, files.where)

    def watch_files(self, files: FileWatch) -> None:
        """Have the process die in the middle of an operation on a file."""
        self._recorder.watch(files)

    def have_worker_lost(self, later: Later, lose: Callable[[], None]) -> None:
        """Have the engine lose a worker after the step that the workload names, if it names one.

        Args:
            later: delays the call of `lose`.
            lose: makes the engine lose a worker, and returns at once.
        """
        if self._loss_step:
            self._calls.remade.on = True
            recorder = self._recorder
            recorder.on_step[self._loss_step] = lambda: later(lambda: recorder.lose_worker(lose))
