"""The watchdog: says where an engine is that does not come back to its event loop.

In virtual time a hang is known at once, but for one: a coroutine that computes for ever, without an
``await``, gives nobody else a turn. From outside nobody can tell it from one that computes for
long. So the watchdog ends no run, and no result depends on it or on any clock. It looks on from a
thread of its own, and when one turn of the loop has taken `QUIET_S` it says where the engine is.
The user decides: Ctrl-C then ends a run that runs on (`RunsOn`), and it is judged as a hang. Ctrl-C
before that says nothing of the engine.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

from cellspec.conformance.run.case import describe
from cellspec.conformance.run.standing import place_of
from cellspec.conformance.run.users_exit import is_debugged, pass_on
from cellspec.conformance.run.workload import Workload
from cellspec.virtualtime import Livelock, VirtualTimeLoop

__all__ = ["QUIET_S", "RunsOn", "Turns", "Watchdog", "watched_turns"]

QUIET_S = 30.0
"""Real seconds that one turn of a loop may take before somebody is told."""

_LOOKS = 20
"""So often the watchdog looks in that time, and sees no turn."""


class RunsOn(Livelock):
    """The user ended a run whose engine did not come back to its loop, and had been told so."""

    def __init__(self, place: str, time_s: float) -> None:
        what = f"the engine does not come back to its event loop: {place} runs on without an await"
        super().__init__(f"{what}, at virtual time {time_s:.12g} s", time_s)


class Turns:
    """A run in virtual time, as a watchdog sees it: it stands while the loop counts no turn.

    Attributes:
        loop: the loop, when the run has begun.
        work: the workload.
        named: where the engine was when somebody was told; "" until then.
    """

    def __init__(self, work: Workload) -> None:
        self.loop: VirtualTimeLoop | None = None
        self.work = work
        self.named = ""
        self._thread = threading.get_ident()

    @property
    def count(self) -> int:
        """The turns of the loop so far."""
        return 0 if self.loop is None else self.loop.turns

    def ended_by(self, error: BaseException) -> RunsOn | None:
        """The hang, if the user ended the run by Ctrl-C and had been told of one; None else."""
        if not self.named or self.loop is None:
            return None
        try:
            pass_on(error)
        except KeyboardInterrupt:
            return RunsOn(self.named, self.loop.time())
        return None

    def frame(self) -> FrameType | None:
        """Where the thread of the loop is now."""
        return sys._current_frames().get(self._thread)


_now: list[Turns] = []
"""The runs in virtual time that are under way, the innermost last."""


@contextmanager
def watched_turns(turns: Turns) -> Iterator[None]:
    """Let watchdogs see a run while the block runs."""
    _now.append(turns)
    try:
        yield
    finally:
        _now.remove(turns)


class Watchdog:
    """Looks at the runs of this process while its block runs.

    Args:
        say: called from another thread with one line for the user.
        quiet_s: real seconds that one turn may take; by default `QUIET_S`.
    """

    def __init__(self, say: Callable[[str], None], quiet_s: float | None = None) -> None:
        self._to_user = say
        self._quiet_s = QUIET_S if quiet_s is None else quiet_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        seen: tuple[Turns, int] | None = None
        looks = 0
        while not self._over.wait(self._quiet_s / _LOOKS):
            turns = _now[-1] if _now else None
            sees = None if turns is None else (turns, turns.count)
            if sees != seen or turns is None or turns.named or is_debugged():
                seen, looks = sees, 0
                continue
            # Looks are counted, and no time: a machine that was asleep is no engine that hangs.
            looks += 1
            if looks == _LOOKS:
                self._say(turns)

    def _say(self, turns: Turns) -> None:
        place = place_of(turns.frame()) or "code of a library"
        turns.named = place
        size = describe(turns.work)[0]
        self._to_user(
            f"a run of {size} has not come back to its event loop for "
            f"{self._quiet_s:g} s: it is in {place}. The suite waits; Ctrl-C ends it, and judges "
            "that the engine hangs there"
        )
