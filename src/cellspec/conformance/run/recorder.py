"""The recorder: the events of one incarnation in one order, and the step at which it dies.

Calls and reports of an engine may come from any thread. The recorder numbers the *steps* at which
the process could die, and kills it at the step that the workload names: the folder is frozen as it
is at that instant, and `Crash` comes out of that call and of every later one.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Collection
from pathlib import PurePath
from types import FrameType
from typing import Any, NoReturn, TypeAlias

from cellspec.conformance.run.bounds import ROOMY, Bounds
from cellspec.conformance.run.clock import Clock
from cellspec.conformance.run.standing import places_of
from cellspec.conformance.run.torn_writes import FileWatch
from cellspec.conformance.run.users_exit import pass_on
from cellspec.errors import SpecError

__all__ = ["AdapterError", "Crash", "Endless", "Entry", "Recorder"]

Entry: TypeAlias = dict[str, Any]
"""One recorded event: the fields of a trace event but its number."""

_STARTS = frozenset({"start", "admit"})
_REACTIONS = frozenset({"cancel", "take_back", "end"})


class Crash(BaseException):
    """The process is gone: raised out of the call at the crash step, and out of every later one."""


class Endless(Crash):
    """The run has used the probe so often that it will never end.

    Attributes:
        places: where the engine was then, the innermost line first.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"stopped after {what}")
        self.places = tuple(places_of(sys._getframe(1)))


class AdapterError(SpecError):
    """The backend fits no engine, or not what it is asked for; the adapter is to be mended.

    Of cellspec's own errors it alone is bad input once a run has begun.
    """


class Recorder:
    """Keeps the events of one incarnation, and ends it. See `cellspec.conformance.run.recorder`.

    Args:
        clock: the time of this incarnation.
        crash_step: the step at which the process dies, from 1; 0 for no crash.
        freeze: called at the instant of the crash; it copies the folder.
        stop_steps: the steps after which the engine is asked to stop.
        notice_s: seconds of the clock within which an engine may still start what it had decided
            on when it was asked to stop, and a worker that is lost may still end its calls.
        bounds: how much the incarnation may do. Time is looked at only after `Bounds.idle_uses`,
            so up to twice as many may come at one instant.

    Attributes:
        log: the events, in order.
        steps: the steps so far.
        ended_by: ``"crash"``, ``"limit"`` or ``"misuse"``, if the suite ended the incarnation.
        ended_at_s: the time of that end.
        left_at_s: the time on the clock when the incarnation was over, whoever ended it: later than
            its last event if the engine waited since. None while it runs.
        endless: why the suite stopped an incarnation that would never end; None else.
        killer: the cell (column, row) whose call ended the process, if one did.
        misuse: the mistake of the adapter, in one line; "" for none.
        misuse_place: the line of the adapter that made it, if that is known.
        storage_reported: the backend reported a step of storage.
        lock: held while an event is recorded; whoever must record several at once holds it too.
        gone: set when the process is dead or has ended.
        files: sees what the process does with files; None if it does not die of that.
        before_crash: called at the instant of the crash, before the folder is frozen.
        on_stop_step: called at each step of `stop_steps`; it sees to it that the engine is asked.
        on_step: by the number of a step, what is called after it.
    """

    def __init__(
        self,
        clock: Clock,
        crash_step: int,
        freeze: Callable[[], None],
        *,
        stop_steps: Collection[int] = (),
        notice_s: float = 0.0,
        bounds: Bounds = ROOMY,
    ) -> None:
        self.log: list[Entry] = []
        self.steps = 0
        self.ended_by = ""
        self.ended_at_s = 0.0
        self.left_at_s: float | None = None
        self.endless: Endless | None = None
        self.killer: tuple[str, int] | None = None
        self.misuse = ""
        self.misuse_place: tuple[str, ...] = ()
        self.storage_reported = False
        self.lock = threading.RLock()
        self.gone = threading.Event()
        self.before_crash: Callable[[], None] = lambda: None
        self.on_step: dict[int, Callable[[], object]] = {}
        self._clock = clock
        self._crash_step = crash_step
        self._freeze = freeze
        self.on_stop_step: Callable[[], object] = lambda: None
        self._stop_steps = stop_steps
        self._notice_s = notice_s
        self._bounds = bounds
        self._uses, self._looks_after, self._looked_at_s = 0, 0, -math.inf
        self._requests: list[Entry] = []
        self._noticed_by_s: float | None = None
        self.files: FileWatch | None = None
        self._loss: Entry | None = None
        self._lost_by_s: float | None = None

    def record(self, event: str, **fields: Any) -> Entry:
        """Append an event; it is stamped with the time."""
        entry: Entry = {"t": self._clock.now(), "event": event, **fields}
        self.log.append(entry)
        if self._requests:
            self._settle_requests(entry)
        if self._loss is not None:
            self._settle_loss(self._loss, entry)
        return entry

    def report(self, event: str, **fields: Any) -> None:
        """Append an event that the backend reports. It is a step, but for the end of the run."""
        with self.lock:
            self.check_alive()
            self.record(event, **fields)
            if event != "end":
                # A process that has ended cannot crash any more.
                self.step()

    def report_storage(self, event: str, **fields: Any) -> None:
        """Append an event of storage that the backend reports."""
        with self.lock:
            self.storage_reported = True
            self.report(event, **fields)

    def step(self) -> None:
        """Count one more step; at the crash step the process dies."""
        self.steps += 1
        if self.steps == self._crash_step:
            if self.files is None:
                self._die(f"the process dies at step {self.steps}")
            self.files.arm()
        if self.steps in self._stop_steps:
            self.on_stop_step()
        if self.steps in self.on_step:
            self.on_step.pop(self.steps)()

    def watch(self, files: FileWatch) -> None:
        """Have the process die in an operation on a file that comes after the crash step."""
        files.lock = self.lock
        files.die = self._die_at_file
        self.files = files

    def _die_at_file(self, where: str) -> None:
        """The process dies at a file, of a write at the time of the last event before it."""
        if self.files is not None and self.files.died_at == "write" and self.log:
            # The write is seen only now: nobody can say when after that event it was done.
            self.ended_by, self.ended_at_s = "crash", self.log[-1]["t"]
        self._die(f"the process dies {where}")

    def kill(self, column: str, row: int) -> NoReturn:
        """The call of a cell ends the process."""
        self.killer = (column, row)
        self._die(f"the process dies of {column}[{row}]")

    def _die(self, why: str) -> NoReturn:
        self.gone.set()
        if self.files is not None:
            self.files.disarm()
        self.before_crash()
        self._freeze()
        self.halt("crash", Crash(why))

    # Stop on request

    def request_stop(self, ask: Callable[[], None]) -> None:
        """Record that a stop is requested, and ask the engine; not of a process that is gone."""
        with self.lock:
            if self.gone.is_set() or any(entry["event"] == "end" for entry in self.log[-1:]):
                return
            self._requests.append(self.record("stop_requested", reason="the workload says so"))
            self._noticed_by_s = None
        # Without the lock: an engine may take a lock of its own, under which it reports.
        try:
            ask()
        except Exception as error:
            pass_on(error)
            self.misuse = f"request_stop: {type(error).__name__}: {error}"
        self._noticed_by_s = self._clock.now() + self._notice_s

    def _settle_requests(self, entry: Entry) -> None:
        """Move requests behind what was decided on before the engine could know of them.

        That is a start, and the resume of a process that was asked while it read its storage.
        """
        kind, until = entry["event"], self._noticed_by_s
        late = until is not None and entry["t"] > until
        if kind in _REACTIONS or (late and kind != "resume"):
            self._requests.clear()
        elif kind in _STARTS or kind == "resume":
            for request in self._requests:
                self._move_behind(request, entry)

    def _move_behind(self, moved: Entry, entry: Entry) -> None:
        """Move an event to the end of the log, behind its last entry."""
        place = next(i for i in reversed(range(len(self.log))) if self.log[i] is moved)
        del self.log[place]
        moved["t"] = entry["t"]
        self.log.append(moved)

    def lose_worker(self, lose: Callable[[], None]) -> None:
        """Record that a worker is lost, and have the engine lose it, unless the process is gone."""
        with self.lock:
            if self.gone.is_set() or any(entry["event"] == "end" for entry in self.log[-1:]):
                return
            self._loss = self.record("worker_lost", reason="the workload says so")
            self._lost_by_s = None
        # Without the lock: an engine may take a lock of its own, under which it reports.
        try:
            lose()
        except Exception as error:
            pass_on(error)
            if not self.misuse:
                self.misuse = f"lose_worker: {type(error).__name__}: {error}"
        self._lost_by_s = self._clock.now() + self._notice_s

    def _settle_loss(self, loss: Entry, entry: Entry) -> None:
        """Move the loss of a worker behind calls that ended before the worker was really gone."""
        kind, until = entry["event"], self._lost_by_s
        if kind in ("lose", "take_back") or (until is not None and entry["t"] > until):
            self._loss = None
        elif kind == "complete":
            self._move_behind(loss, entry)

    def halt(self, why: str, reason: BaseException) -> NoReturn:
        """End the incarnation, and raise `reason`."""
        self._leave()
        if not self.ended_by:
            self.ended_by, self.ended_at_s = why, self._clock.now()
        self.gone.set()
        self._clock.halt(reason)

    def refuse(self, mistake: str) -> NoReturn:
        """End the incarnation because of a mistake of the adapter, in one line.

        The run is over even if the engine catches the error.
        """
        if not self.misuse:
            self.misuse, self.misuse_place = mistake, _caller()
        self.halt("misuse", AdapterError(mistake))

    def check_alive(self) -> None:
        """Count a call or a report.

        Raises:
            Crash: the process is gone, died in what it has just written, or will never end.
        """
        if self.gone.is_set():
            raise Crash("the process is gone")
        if self.files is not None:
            self.files.look()
        self._uses += 1
        if self._uses > self._looks_after:
            self._look()

    def _look(self) -> None:
        """End the incarnation if it will never end."""
        now_s = self._clock.now()
        most, idle = self._bounds.uses, self._bounds.idle_uses
        if self._uses > most:
            self.stop_endless(f"{most:,} calls and reports")
        if now_s == self._looked_at_s:
            self.stop_endless(f"{idle:,} calls and reports without any time passing")
        self._looked_at_s = now_s
        self._looks_after = min(self._uses + idle, most)

    def stop_endless(self, what: str) -> NoReturn:
        """End an incarnation that will never end, and say after what."""
        if self.endless is None:
            self.endless = Endless(what)
        self.halt("limit", self.endless)

    def close(self) -> None:
        """End the incarnation: calls that are still running get `Crash`."""
        with self.lock:
            self._leave()
            self.gone.set()

    def _leave(self) -> None:
        """The incarnation is over now, unless it was before."""
        if self.left_at_s is None:
            self.left_at_s = self._clock.now()


def _caller() -> tuple[str, ...]:
    """The line of code outside of this package that called it, if there is one."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] != "cellspec":
            code = frame.f_code
            file = "/".join(PurePath(code.co_filename).parts[-2:])
            return (f"called in {code.co_qualname} ({file}:{frame.f_lineno})",)
        frame = frame.f_back
    return ()
