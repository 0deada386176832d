"""Virtual time for asyncio: years of sleeping in milliseconds, and the same run for the same seed.

An asyncio engine is hard to test because its run depends on the clock, on threads and on luck.
`VirtualTimeLoop` is an event loop without all three. Its clock is a number. It stands still while
callbacks are ready; when all have run, it jumps to the next timer. A run takes as long as its
computations.

>>> import asyncio
>>> from cellspec import virtualtime
>>> async def main() -> float:
...     await asyncio.sleep(10 * 365 * 24 * 3600)
...     return asyncio.get_running_loop().time()
>>> virtualtime.run(main())
315360000.0

**Order.** Timers fire in the order of their deadlines, callbacks run in the order of registration,
and neither the process's hash seed nor the addresses of tasks that are kept in sets change
anything. A ``seed`` asks for another order that the code under
test must bear as well. Within one iteration of the loop:

- a plain callback (``call_soon``, done callbacks, timers) stays first in, first out: it runs after
  the callbacks registered before it, and before *everything* registered after it;
- a wake-up (the next step of a task, or a function given to an executor) may be *late*: it may run
  after anything else of the iteration, but not ahead of a callback registered before it;
- timers of exactly the same deadline may fire in any order, which asyncio leaves undefined.

So what asyncio documents about callbacks holds under every seed. That tasks woken together step in
the order of their wake-ups is not documented. It changes between loops, Python versions and eager
task factories, and an engine that needs it has a bug.

**Waiting for the outside is an error.** Without a ready callback and without a timer the program
stands still for ever: `Deadlock` lists the task waits, each with the line of code and the awaited
object. Threads, sockets and processes need real time: `RealTimeError` names the call. Both end the
run at once, past every ``except``. An endless run is a `Livelock`. Functions for
``asyncio.to_thread`` and the default executor run in the loop's own thread, in zero virtual time.

**Crashes.** ``loop.abort(reason)`` ends the run there and then, and ``await loop.freeze(reason)``
even without unwinding the caller. The code of the run stops there. Its tasks unwind once the run
is over, when ``loop.aborted`` says so.

Code that asks the operating system (``time.monotonic``, ``datetime.now``) sees real time. Code that
blocks (``time.sleep``, a socket's ``connect``, a wait for a child process) takes it, and a
`RealTimeWarning` names its line.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import math
import random
import sys
import warnings
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypedDict, TypeVar, TypeVarTuple, Unpack

from cellspec.errors import SpecError
from cellspec.virtualtime.blocking import noticed
from cellspec.virtualtime.hermetic import HermeticLoop
from cellspec.virtualtime.tasks import (
    A_THREAD,
    Abandoned,
    Deadlock,
    Livelock,
    NumberedTask,
    RealTimeError,
    VirtualTimeError,
    WaitingTask,
    WeakInOrder,
    unwind,
    waiting_task,
)

__all__ = [
    "Abandoned",
    "Deadlock",
    "Livelock",
    "LoopOptions",
    "RealTimeError",
    "VirtualTimeError",
    "VirtualTimeLoop",
    "WaitingTask",
    "run",
]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_CANCELLED_TIMERS_MIN = 100


class LoopOptions(TypedDict, total=False):
    """The options of `VirtualTimeLoop`, which `run` hands on to it."""

    seed: int | None
    start_s: float
    max_time_s: float
    max_iterations: int
    max_idle_iterations: int
    inline_executors: bool


class VirtualTimeLoop(HermeticLoop):
    """An asyncio event loop whose clock jumps from timer to timer. For one thread.

    Most tests need only `run`. The loop itself is for a runner of your own, such as
    ``asyncio.Runner(loop_factory=VirtualTimeLoop)``. It opens no file descriptor. Task-3 is the
    third task of the loop, not of the process.

    Args:
        seed: permutes wake-ups and timers of one deadline (see the module); None leaves them first
            in, first out.
        start_s: the clock at first, in seconds.
        max_time_s: the last moment of the run; a later timer makes it a `Livelock`.
        max_iterations: of the loop, in all; more are a `Livelock`.
        max_idle_iterations: of the loop, at one instant; more are a `Livelock`.
        inline_executors: also run functions for a *custom* executor in the loop's thread. Without
            it such an executor is a `RealTimeError`.

    Raises:
        SpecError: if an argument is not a number, or out of range.
    """

    def __init__(
        self,
        *,
        seed: int | None = None,
        start_s: float = 0.0,
        max_time_s: float = math.inf,
        max_iterations: int = 10_000_000,
        max_idle_iterations: int = 1_000_000,
        inline_executors: bool = False,
    ) -> None:
        if seed is not None and (type(seed) is not int or seed < 0):
            raise SpecError(f"seed: expected an integer from 0, or None, got {seed!r}")
        if type(start_s) not in (int, float) or not math.isfinite(start_s):
            raise SpecError(f"start_s: expected a finite number of seconds, got {start_s!r}")
        if type(max_time_s) not in (int, float) or not max_time_s >= start_s:
            raise SpecError(f"max_time_s: expected seconds from start_s on, got {max_time_s!r}")
        for name, limit in [("", max_iterations), ("idle_", max_idle_iterations)]:
            if type(limit) is not int or limit < 1:
                raise SpecError(f"max_{name}iterations: expected a positive integer, got {limit!r}")
        super().__init__(inline_executors=inline_executors)
        self._now = float(start_s)
        self._draw = None if seed is None else random.Random(seed).random
        self._max_time_s = max_time_s
        self._max_iterations = max_iterations
        self._max_idle_iterations = max_idle_iterations
        self._iterations = self._idle_iterations = self._most_idle = 0
        # (deadline, tie-break, number, timer)
        self._timers: list[tuple[float, float, int, Any]] = []
        self._timers_made = self._timers_cancelled = 0
        self._tasks = WeakInOrder()
        self._tasks_made = 0
        self._asyncgens = WeakInOrder()

    # Time

    def time(self) -> float:
        """The clock, in seconds."""
        return self._now

    @property
    def turns(self) -> int:
        """The iterations of the loop so far; it stands still while one callback runs."""
        return self._iterations

    @property
    def idle_turns(self) -> int:
        """The most iterations so far at one instant."""
        return max(self._most_idle, self._idle_iterations)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run `callback` at the instant `when`, or now if that is past; an infinite one is not run.

        Raises:
            RealTimeError: if another thread calls while the loop runs.
            SpecError: if `when` is not a number.
        """
        self._check_usable()
        if math.isnan(when):
            raise SpecError("when: expected a number of seconds, got nan")
        timer: Any = asyncio.TimerHandle(when, callback, args, self, context)
        timer._scheduled = True
        tie_break = 0.0 if self._draw is None else self._draw()
        heapq.heappush(self._timers, (when, tie_break, self._timers_made, timer))
        self._timers_made += 1
        return timer  # type: ignore[no-any-return]

    def _timer_handle_cancelled(self, handle: Any) -> None:
        # Time-outs are nearly always cancelled: without this they would pile up until their time.
        if not handle._scheduled:
            return
        self._timers_cancelled += 1
        if self._timers_cancelled > max(_CANCELLED_TIMERS_MIN, len(self._timers) // 2):
            self._timers = [entry for entry in self._timers if not entry[3]._cancelled]
            heapq.heapify(self._timers)
            # The one that is being cancelled does not say so yet.
            self._timers_cancelled = 1

    def _run_once(self) -> None:
        """One iteration: let time pass if nothing is ready, then run what is ready now."""
        if self._aborted is not None:
            raise self._aborted
        ready = self._ready
        self._iterations += 1
        self._idle_iterations += 1
        if not ready and not self._stopping:
            self._jump()
        if self._iterations > self._max_iterations:
            self._endless(f"{self._max_iterations:,} iterations of the loop")
        if self._idle_iterations > self._max_idle_iterations:
            self._endless(f"{self._max_idle_iterations:,} iterations without any time passing")
        timers = self._timers
        while timers and timers[0][0] <= self._now:
            timer = heapq.heappop(timers)[3]
            timer._scheduled = False
            if timer._cancelled:
                self._timers_cancelled -= 1
            else:
                ready.append(timer)
        if self._draw is not None and len(ready) > 1:
            self._permute(self._draw)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()
                if self._aborted is not None:
                    raise self._aborted

    def _jump(self) -> None:
        """Move the clock to the next timer. The only place where time passes."""
        timers = self._timers
        while timers and timers[0][3]._cancelled:
            heapq.heappop(timers)[3]._scheduled = False
            self._timers_cancelled -= 1
        if not timers or timers[0][0] == math.inf:
            self._stuck()
        if timers[0][0] > self._max_time_s:
            self._endless(f"the next timer is due at {timers[0][0]:.12g} s, past max_time_s")
        if timers[0][0] > self._now:
            self._now = float(timers[0][0])
            if self._idle_iterations > self._most_idle:
                self._most_idle = self._idle_iterations
            self._idle_iterations = 1

    # Order

    def _permute(self, draw: Callable[[], float]) -> None:
        """Put what is ready into one of the orders that the module allows, each with a chance.

        Handles are inserted one after the other, never before `floor`: the place after the last
        plain callback so far.
        """
        order: list[asyncio.Handle] = []
        floor = 0
        for handle in self._ready:
            free = len(order) - floor
            place = floor + int(draw() * (free + 1)) if free else floor
            order.insert(place, handle)
            if not self.is_wake_up(handle):
                floor = place + 1
        self._ready.clear()
        self._ready.extend(order)

    # Tasks

    def create_task(self, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
        """A task, with a name and a place in sets that are the same in each run of a program."""
        self._tasks_made += 1
        if kwargs.get("name") is None:
            kwargs["name"] = f"Task-{self._tasks_made}"
        task: asyncio.Task[Any]
        if self.get_task_factory() is None:
            self._check_usable()
            task = NumberedTask(coro, number=self._tasks_made, loop=self, **kwargs)
        else:
            task = super().create_task(coro, **kwargs)
        self._tasks.add(task)
        return task

    def _live_tasks(self) -> list[asyncio.Task[Any]]:
        """Tasks that are not done, by creation; those made behind the loop's back last, by name."""
        known = [task for task in self._tasks if not task.done()]
        others = asyncio.all_tasks(self).difference(known)
        return known + sorted(others, key=lambda task: task.get_name())

    # Ends

    @property
    def aborted(self) -> BaseException | None:
        """Why the run is over; what still runs when this is set is no part of it."""
        return self._aborted

    def abort(self, reason: BaseException) -> NoReturn:
        """End the run here: nothing else of it is executed, and `reason` comes out of the loop.

        It is raised in the caller too, whose frames unwind while `aborted` is set. If they catch
        it, they run up to their next ``await`` and no further.

        Raises:
            BaseException: `reason`, or the one of the first call.
        """
        if self._aborted is None:
            self._aborted = reason
        raise self._aborted

    async def freeze(self, reason: BaseException) -> NoReturn:
        """The same as `abort`, for a coroutine: it stays suspended here, and nothing unwinds."""
        if self._aborted is None:
            self._aborted = reason
        await self.create_future()
        raise AssertionError("an aborted loop went on")

    def abandon(self, reason: BaseException | None = None) -> None:
        """Close the loop without going on with the run or warning of unfinished tasks.

        Tasks that are not done unwind in the order of their creation: `Abandoned` comes out of
        their ``await``. Their ``finally`` blocks run then, with `aborted` set and to no effect on
        the run. Their exceptions and callbacks are dropped, and if they await, `Abandoned` comes
        again. Asynchronous generators outside of a task are just dropped.

        Args:
            reason: the value of `aborted` from now on, unless it is set already.

        Raises:
            RuntimeError: if the loop is running.
        """
        if self.is_running():
            raise RuntimeError("a running loop cannot be abandoned; abort() ends its run")
        if self.is_closed():
            return
        if self._aborted is None:
            self._aborted = reason or VirtualTimeError("the run was abandoned", self._now)
        outer = asyncio._get_running_loop()
        # With a running loop, a task that retries for ever suspends again; without, it would spin.
        asyncio._set_running_loop(self)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                unwind(self._live_tasks)
                self.close()
        finally:
            asyncio._set_running_loop(outer)

    def close(self) -> None:
        """Close the loop; it must not be running."""
        super().close()
        self._timers.clear()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Report an error without a waiting task, unless it is left over from an aborted run."""
        if self._aborted is not None:
            return
        error = context.get("exception")
        if "handle" in context and not isinstance(error, Exception | asyncio.CancelledError | None):
            # asyncio would log it and go on, but it was meant to end more than this callback.
            self._aborted = error
        else:
            super().call_exception_handler(context)

    def _stuck(self) -> NoReturn:
        tasks = [waiting_task(task) for task in self._live_tasks()]
        at = f"at virtual time {self._now:.12g} s"
        if any(task.awaits == A_THREAD for task in tasks):
            raise RealTimeError(f"only a real thread could go on {at}", self._now, tasks)
        raise Deadlock(f"nothing can ever run {at}: nothing is ready, no timer", self._now, tasks)

    def _endless(self, limit: str) -> NoReturn:
        # Counted anew, so that a runner can still cancel what runs and clean up.
        self._iterations = self._idle_iterations = 0
        tasks = [waiting_task(task) for task in self._live_tasks()]
        what = f"the run does not end: {limit}, at virtual time {self._now:.12g} s"
        raise Livelock(what, self._now, tasks)


def run(
    main: Coroutine[Any, Any, T] | Callable[[], Coroutine[Any, Any, T]],
    *,
    debug: bool | None = None,
    **options: Unpack[LoopOptions],
) -> T:
    """Run a coroutine in virtual time, as ``asyncio.run`` does in real time.

    When `main` ends, the tasks that are left are cancelled in the order of their creation, run to
    their ends, and asynchronous generators are closed. When the run is cut short, by an error of
    this module or by ``loop.abort``, its code stops there (see `VirtualTimeLoop.abandon`).

    Args:
        main: a coroutine, or a function that gives one.
        debug: asyncio's debug mode; None leaves it to the environment.
        **options: of `VirtualTimeLoop`: ``seed``, ``max_time_s`` and so on.

    Returns:
        The result of `main`.

    Raises:
        Deadlock: if each task waits, and neither a callback nor a timer is left.
        Livelock: if the run goes past a limit.
        RealTimeError: if it needs a thread, a socket, a pipe or a process.
        SpecError: if an argument cannot be used.
        RuntimeError: if an event loop is running in this thread.
        BaseException: the exception of `main`, or of ``loop.abort``.
    """
    try:
        if asyncio._get_running_loop() is not None:
            raise RuntimeError("virtualtime.run() cannot be called while an event loop is running")
        loop = VirtualTimeLoop(**options)
    except BaseException:
        if asyncio.iscoroutine(main):
            main.close()  # or Python would warn that it never ran
        raise
    if debug is not None:
        loop.set_debug(debug)
    try:
        coroutine = main() if callable(main) else main
        if not asyncio.iscoroutine(coroutine):
            given = type(coroutine).__name__
            raise SpecError(f"main: expected a coroutine or a function of one, got {given}")
        task = loop.create_task(coroutine)
        try:
            with noticed():
                return loop.run_until_complete(task)  # type: ignore[no-any-return]
        except KeyboardInterrupt:
            # It goes on to the caller; asyncio would print it once more, of the task that it met.
            loop.set_exception_handler(lambda *_: None)
            raise
        finally:
            if task.done() and loop.aborted is None:
                _finish(loop)
    finally:
        if loop.aborted is not None or loop._live_tasks():
            loop.abandon(sys.exception())
        loop.close()


def _finish(loop: VirtualTimeLoop) -> None:
    """Cancel tasks, let them clean up, and close asynchronous generators, in a fixed order."""
    left = loop._live_tasks()
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    for task in left:
        if not task.cancelled() and (error := task.exception()) is not None:
            message = "an exception while a task that was left over was being cancelled"
            loop.call_exception_handler({"message": message, "exception": error, "task": task})
    if len(loop._asyncgens):
        loop.run_until_complete(loop.shutdown_asyncgens())
