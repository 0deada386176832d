"""The clock modes: an incarnation runs in virtual time on a loop, or in real time in a thread.

Both give the engine a probe, run it to the end, and return the exception that came out, or None. A
crash is such an exception too; `Probe.ended_by` tells it apart.

In virtual time a crash stops the loop at that instant, with every task of the engine. In real time
the probe raises `Crash` out of every call, and the threads get a moment to notice. Their work in
that moment is ignored: the folder for the next incarnation was copied at the crash.

Under a debugger virtual time stands still. Real time goes on, but an engine that waits at a
breakpoint does not count as one that stands still. The user's own end of a run is no end of the
engine, and is passed on (`cellspec.conformance.run.users_exit`).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, Protocol, TypeAlias

from cellspec import virtualtime
from cellspec.conformance.run.backend import Backend
from cellspec.conformance.run.bounds import Bounds
from cellspec.conformance.run.clock import ChosenClock, Clock, LoopClock, WallClock
from cellspec.conformance.run.disturbing import Later
from cellspec.conformance.run.probe import Probe
from cellspec.conformance.run.standing import threads_waiting
from cellspec.conformance.run.users_exit import is_debugged, pass_on, pass_on_quit, was_quit
from cellspec.conformance.run.watchdog import Turns, watched_turns
from cellspec.conformance.run.workload import HANG_BOUNDS, TICK_S, Workload
from cellspec.exit_codes import leave_threads
from cellspec.machine.actions import Choose

__all__ = ["GRACE_S", "ClockMode", "MakeProbe", "RealClock", "StoodStill", "VirtualClock"]

GRACE_S = 5.0
"""Real seconds that threads have to notice that their process is gone."""

MakeProbe: TypeAlias = Callable[[Clock], Probe]


class StoodStill(TimeoutError):  # noqa: N818 - it says what the engine did
    """In real time nothing happened for so long that the run is given up.

    Attributes:
        waited_s: the real seconds for which nothing happened.
        threads: where each thread of the engine stood, a line each.
    """

    def __init__(self, waited_s: float, threads: Sequence[str]) -> None:
        super().__init__(f"nothing happened for {waited_s:g} s")
        self.waited_s = waited_s
        self.threads = tuple(threads)


class ClockMode(Protocol):
    """The kind of time of a run; it runs incarnations in that time."""

    clock: Literal["virtual", "real"]
    """Its name in a trace: ``"virtual"`` or ``"real"``."""

    scale: float
    """Seconds of its clock for one second of the workload."""

    part: float
    """Of the usual bounds of what an incarnation may do."""

    def run(
        self, backend: Backend, make: MakeProbe, start_s: float
    ) -> tuple[Probe, BaseException | None]:
        """Run one incarnation from `start_s` on; gives its probe, and the exception, if any."""


class VirtualClock:
    """Incarnations on a virtual loop; each ends by itself, by an abort, or by a deadlock.

    Args:
        work: the workload.
        choose: which of the calls in flight ends next; by default each takes as long as the
            workload says.
        part: of the usual bounds of what each incarnation may do.

    Attributes:
        part_used: of the usual bounds, the part that the incarnations needed so far, from 0 to 1.
    """

    clock: Literal["virtual", "real"] = "virtual"
    scale = 1.0

    def __init__(self, work: Workload, choose: Choose | None = None, *, part: float = 1.0) -> None:
        self.part, self.part_used = part, 0.0
        self._work = work
        self._choose = choose
        graphs = [work.graph(incarnation) for incarnation in range(work.incarnations)]
        nodes = max(graph.num_nodes for graph in graphs)
        calls = nodes + len(work.faults)
        self._bounds, self._usual = Bounds.of(calls, part), Bounds.of(calls)
        longest_s = 2 * max(work.latency_s.values(), default=1.0) + TICK_S
        hang_s = HANG_BOUNDS * (work.timeout_s or 0.0)
        waits_s = sum((fault.cool_down_s or 0.0) + hang_s for fault in work.faults)
        # A set end may be any time: a trace's clock may count from 1970.
        last_s = max((end.t for end in work.ends), default=0.0)
        self._horizon_s = last_s + 100_000.0 + 10 * (calls * longest_s + waits_s)
        self._seed = work.order_seed or None

    def run(
        self, backend: Backend, make: MakeProbe, start_s: float
    ) -> tuple[Probe, BaseException | None]:
        """Run one incarnation on a loop of its own."""
        made: list[Probe] = []
        turns = Turns(self._work)

        async def live() -> None:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, virtualtime.VirtualTimeLoop)
            turns.loop = loop
            clock = LoopClock(loop)
            probe = make(clock if self._choose is None else ChosenClock(loop, self._choose))
            made.append(probe)
            _deliver_stops(backend, probe, loop.call_soon)
            _deliver_losses(backend, probe, loop.call_soon)
            try:
                running = backend.run(probe)
                assert running is not None
                await running
            finally:
                # The loop cancels the remaining tasks next, and that is not the engine's doing.
                probe.close()

        error: BaseException | None = None
        try:
            with watched_turns(turns):
                virtualtime.run(
                    live,
                    seed=self._seed,
                    start_s=start_s,
                    max_time_s=start_s + self._horizon_s,
                    max_iterations=self._bounds.turns,
                    max_idle_iterations=self._bounds.idle_turns,
                )
        except BaseException as raised:
            pass_on_quit()
            error = turns.ended_by(raised)
            if error is None:
                pass_on(raised)
                error = raised
        pass_on_quit()
        if turns.loop is not None:
            times = [entry["t"] for entry in made[0].log]
            used = self._usual.part_used(turns.loop.turns, turns.loop.idle_turns, times)
            self.part_used = max(self.part_used, used)
        return made[0], error


class RealClock:
    """Incarnations in a thread of their own, in real time."""

    clock: Literal["virtual", "real"] = "real"
    part = 1.0

    def __init__(self, scale: float, stall_s: float) -> None:
        self.scale = scale
        self._stall_s = stall_s
        self._origin_s = time.monotonic()

    def run(
        self, backend: Backend, make: MakeProbe, start_s: float
    ) -> tuple[Probe, BaseException | None]:
        """Run one incarnation in a thread of its own; a coroutine on an ordinary loop there."""
        probe = make(WallClock(self.scale, self._origin_s))
        assert probe.now() >= start_s
        others = [thread.ident for thread in threading.enumerate()]
        _deliver_stops(backend, probe, _in_thread)
        _deliver_losses(backend, probe, _in_thread)
        box: list[BaseException] = []

        def live() -> None:
            try:
                running = backend.run(probe)
                if running is not None:
                    asyncio.run(running)
            except BaseException as error:
                box.append(error)

        thread = threading.Thread(target=live, name=f"incarnation-{probe.incarnation}", daemon=True)
        thread.start()
        stalled = self._wait(thread, probe)
        if thread.is_alive():
            leave_threads()
        stood = threads_waiting(others) if stalled else []
        probe.close()
        pass_on(box[0] if box else None)
        pass_on_quit()
        if stalled:
            return probe, StoodStill(self._stall_s, stood)
        return probe, box[0] if box else None

    def _wait(self, thread: threading.Thread, probe: Probe) -> bool:
        """Wait for the end of the incarnation; True if it stands still."""
        seen, since = -1, time.monotonic()
        while thread.is_alive():
            thread.join(0.02)
            now = time.monotonic()
            if len(probe.log) + probe.steps != seen:
                seen, since = len(probe.log) + probe.steps, now
            if probe.ended_by and now - since > GRACE_S and not is_debugged():
                # Threads that cannot be reached are left to themselves; the probe refuses them.
                return False
            if was_quit():
                return False
            if now - since > self._stall_s:
                if not is_debugged():
                    return True
                since = now
        return False


def _deliver_stops(
    backend: Backend, probe: Probe, later: Callable[[Callable[[], None]], object]
) -> None:
    """Have a backend that can be interrupted asked to stop where the workload says so."""
    if "interrupts" in probe.capabilities:
        asked: Any = backend
        probe.ask_to_stop(later, asked.request_stop)


def _deliver_losses(backend: Backend, probe: Probe, later: Later) -> None:
    """Have a backend that survives it lose a worker where the workload says so."""
    if "lost_workers" in probe.capabilities:
        losing: Any = backend
        probe.disturbing.have_worker_lost(later, partial(losing.lose_worker, probe))


def _in_thread(function: Callable[[], None]) -> None:
    threading.Thread(target=function, name="disturbance", daemon=True).start()
