"""`ThreadEngine`: the scheduler behind one lock, each call in a thread of a pool.

A thread takes the lock, picks its own call, gives the lock back, makes the call, and takes the lock
again to report. The thread that called `run` saves, and wakes nodes whose backoff is over. All
wait on one condition, which every change notifies.

The tracker is a `ThreadSafeCompletionTracker`, so that progress can be read from any thread without
the engine's lock.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

from cellspec.engine.base import Engine, Result, RunBrokeOff
from cellspec.engine.calls import BARRIER, RANGE, Call, Save, StoreWrite
from cellspec.faults import GeneratorError
from cellspec.state.tracker import ThreadSafeCompletionTracker

__all__ = ["ThreadEngine"]


class ThreadEngine(Engine):
    """Runs a graph on threads; for the arguments see `Engine`.

    A call of a row that was dropped meanwhile keeps its slot until it ends; its value is thrown
    away. So is that of a call that took longer than its bound, but its slot is free at once. If the
    run breaks off, by an exception of an observer or of storage, threads that are within a call are
    left to end on their own.

    Attributes:
        threads_most: threads of the pool, if no limit on workers asks for fewer.
        clock: monotonic seconds, by which backoffs and reports of failures are timed.
        storing: surrounds each write of storage, by what it writes; a test slows writes here, or
            fails them with an `OSError`.
    """

    tracker_class = ThreadSafeCompletionTracker
    threads_most: int = 32
    clock: Callable[[], float] = staticmethod(time.monotonic)
    storing: Callable[[StoreWrite], AbstractContextManager[object]] = staticmethod(
        lambda _: nullcontext()
    )

    @cached_property
    def _changed(self) -> threading.Condition:
        return threading.Condition()

    def run(self, *, resume: bool = True, keep: bool = False) -> Result:
        """Run to the end.

        Args:
            resume: go on from the run in the folder; False refuses a folder that holds a run.
            keep: with another number of rows, keep the output of barriers whose scope has changed.

        Raises:
            SpecError: the run in the folder cannot be resumed, or not with this graph.
        """
        self._deadlines: deque[tuple[float, Call, threading.Thread]] = deque()
        self._unbound: dict[int, Call] = {}
        self._given_up: set[int] = set()
        self._closed = False
        self._error: BaseException | None = None
        count = min(self.scheduler.limits.workers or self.threads_most, self.threads_most)
        self._threads = [self._new_thread(number) for number in range(count)]
        with self._changed:
            try:
                self.scheduler.on_news = self._changed.notify_all
                self.begin(self.clock(), resume=resume, keep=keep)
                for thread in self._threads:
                    thread.start()
                self._drive()
                ending = self.scheduler.finish()
            finally:
                self._closed = True
                self._changed.notify_all()
                self.close()
        for thread in self._threads:
            thread.join()
        return self.result_of(ending)

    def _new_thread(self, number: int) -> threading.Thread:
        return threading.Thread(target=self._work, name=f"cellspec-{number}", daemon=True)

    def request_stop(self) -> None:
        """End the run soon: calls in flight end, no other starts, and what is finished is saved.

        Call it from any thread, or from a signal handler. It returns at once, and `run` returns
        with the outcome "interrupted", or "success" if nothing was left to do.
        """
        with self._changed:
            self.scheduler.request_stop()
            self._changed.notify_all()

    def _drive(self) -> None:
        while not self.scheduler.is_over():
            save = self.scheduler.due_save()
            if save is not None:
                self._save(save)
            elif not self.scheduler.is_over():
                moments = [self.scheduler.wake_s(), self._next_deadline_s()]
                wake_s = min((each for each in moments if each is not None), default=None)
                self._changed.wait(None if wake_s is None else max(0.0, wake_s - self.clock()))
                self._advance()
                self._give_up_late_calls()
            if self._error is not None:
                raise self._error

    def _next_deadline_s(self) -> float | None:
        """When the bound of the oldest call in flight is over; None if none has a bound."""
        while self._deadlines and not self.scheduler.slots.is_running(self._deadlines[0][1]):
            self._deadlines.popleft()
        return self._deadlines[0][0] if self._deadlines else None

    def _give_up_late_calls(self) -> None:
        """A thread cannot be stopped: another takes its place, and its late end is thrown away."""
        while (until := self._next_deadline_s()) is not None and until <= self.clock():
            _, call, thread = self._deadlines.popleft()
            self._given_up.add(call.number)
            self._threads.remove(thread)
            self._threads.append(self._new_thread(call.number))
            self._threads[-1].start()
            self.observer.abandoned(call)
            error = TimeoutError(f"{call} took longer than {self.timeout_s:g} s")
            self.scheduler.on_fail(call, error)
            self._changed.notify_all()

    def _advance(self) -> None:
        self.scheduler.advance(self.clock())
        self._changed.notify_all()

    # Threads

    def _work(self) -> None:
        with self._changed:
            while not self._closed:
                try:
                    call = self.scheduler.next_call()
                    if call is None:
                        self._changed.wait()
                    elif not self._make(call):
                        return
                except RunBrokeOff:
                    return
                except BaseException as error:
                    self._break(error)

    def unlocked(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function that may take long, without the lock."""
        self._changed.release()
        try:
            return function(*arguments)
        finally:
            self._changed.acquire()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a piece of a generator: it takes its time, so without the lock."""
        self.begin_bound()
        return self.unlocked(function, *arguments)

    def begin_bound(self) -> None:
        """The call of this thread takes time from now on, and its bound counts from here.

        Not from where the thread took the call: on a busy machine it may wait in between.
        """
        call = self._unbound.pop(threading.get_ident(), None)
        if call is not None and self.timeout_s is not None:
            until_s = self.clock() + self.timeout_s
            self._deadlines.append((until_s, call, threading.current_thread()))
            self._changed.notify_all()

    def _report(self, step: Callable[..., None], *arguments: Any) -> None:
        """Report to the scheduler how a call goes, unless the run broke off."""
        if self._closed:
            raise RunBrokeOff
        try:
            self.scheduler.advance(self.clock())
            step(*arguments)
            self._changed.notify_all()
        except GeneratorError:
            raise
        except BaseException as error:
            self._break(error)
            raise RunBrokeOff from error

    def _break(self, error: BaseException) -> None:
        """End the run with an error of another kind than a failed call."""
        if self._error is None:
            self._error = error
        self._closed = True
        self._changed.notify_all()

    # Calls

    def _make(self, call: Call) -> bool:
        """Make a call and report how it went; false if it was given up, and with it the thread."""
        scheduler = self.scheduler
        if self.timeout_s is not None:
            self._unbound[threading.get_ident()] = call
        try:
            if call.kind == RANGE:
                self._give_rows(call)
                done: tuple[Any, ...] = (scheduler.on_range_end, call)
            else:
                done = (scheduler.on_complete, call, self.call(self._value, call))
        except Exception as error:
            done = (scheduler.on_fail, call, error)
        if call.number in self._given_up:
            self._given_up.discard(call.number)
            return False
        self._report(*done)
        return True

    def _value(self, call: Call) -> Any:
        generator = self.generators[call.column]
        if call.kind == BARRIER:
            value = generator.call(call.rows, call.inputs)
        else:
            value = generator.call(call.start, call.inputs[0])
        if inspect.isawaitable(value):
            value = asyncio.run(_wait_for(value))
        # An answer by row stays one; any other is a list, if it is an iterator.
        return list(value) if call.kind == BARRIER and not isinstance(value, Mapping) else value

    def _give_rows(self, call: Call) -> None:
        rows = self._iterate(call)
        try:
            while (item := self.call(next, rows, None)) is not None:
                if call.number in self._given_up:
                    return
                self._report(self.scheduler.on_row, call, *item)
        finally:
            self.call(rows.close)

    def _iterate(self, call: Call) -> Generator[tuple[int, Any], None, None]:
        generator = self.generators[call.column]
        rows = generator.call(call.rows, call.inputs)
        if not generator.is_async:
            yield from rows
            return
        with asyncio.Runner() as runner:
            try:
                while (item := runner.run(_next(rows))) is not None:
                    yield item
            finally:
                runner.run(rows.aclose())

    # Saving

    def _save(self, save: Save) -> None:
        scheduler = self.scheduler
        try:
            if save.has_data:
                self.unlocked(self._store, "data", self.store.write_rows, save)
        except OSError as error:
            self._save_step(scheduler.on_rows_failed, save, error)
            return
        self._save_step(scheduler.on_rows_durable, save)
        if save.checkpoint is None:
            return
        self._save_step(scheduler.on_checkpoint_begin, save)
        try:
            self.unlocked(self._store, "claim", self.store.write_checkpoint, save.checkpoint)
        except OSError as error:
            self._save_step(scheduler.on_checkpoint_failed, save, error)
        else:
            self._save_step(scheduler.on_checkpoint_durable, save)

    def _store(self, what: StoreWrite, write: Callable[[Any], None], given: Any) -> None:
        with self.storing(what):
            write(given)

    def _save_step(self, step: Callable[..., None], *arguments: Any) -> None:
        if self._error is not None:
            raise self._error
        self.scheduler.advance(self.clock())
        step(*arguments)
        self._changed.notify_all()


async def _wait_for(value: Awaitable[Any]) -> Any:
    return await value


async def _next(rows: AsyncIterator[tuple[int, Any]]) -> tuple[int, Any] | None:
    return await anext(rows, None)
