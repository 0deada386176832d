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
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any

from cellspec.engine.base import Engine, Result, RunBrokeOff
from cellspec.engine.calls import BARRIER, RANGE, Call, Save
from cellspec.faults import GeneratorError
from cellspec.state.tracker import ThreadSafeCompletionTracker

__all__ = ["ThreadEngine"]


class ThreadEngine(Engine):
    """Runs a graph on threads; for the arguments see `Engine`.

    A call of a row that was dropped meanwhile keeps its slot until it ends; its value is thrown
    away. If the run breaks off, by an exception of an observer or of storage, threads that are
    within a call are left to end on their own.

    Attributes:
        threads_most: threads of the pool, if no limit on workers asks for fewer.
        clock: monotonic seconds, by which backoffs and reports of failures are timed.
    """

    tracker_class = ThreadSafeCompletionTracker
    threads_most: int = 32
    clock: Callable[[], float] = staticmethod(time.monotonic)

    def run(self, *, resume: bool = True, keep: bool = False) -> Result:
        """Run to the end.

        Args:
            resume: go on from the run in the folder; False refuses a folder that holds a run.
            keep: with another number of rows, keep the output of barriers whose scope has changed.

        Raises:
            SpecError: the run in the folder cannot be resumed, or not with this graph.
        """
        self._changed = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None
        count = min(self.scheduler.limits.workers or self.threads_most, self.threads_most)
        threads = [
            threading.Thread(target=self._work, name=f"cellspec-{number}", daemon=True)
            for number in range(count)
        ]
        with self._changed:
            try:
                self.begin(self.clock(), resume=resume, keep=keep)
                for thread in threads:
                    thread.start()
                self._drive()
                ending = self.scheduler.finish()
            finally:
                self._closed = True
                self._changed.notify_all()
                self.store.close()
        for thread in threads:
            thread.join()
        return self.result_of(ending)

    def _drive(self) -> None:
        while not self.scheduler.is_over():
            save = self.scheduler.due_save()
            if save is not None:
                self._save(save)
            elif not self.scheduler.is_over():
                wake_s = self.scheduler.wake_s()
                self._changed.wait(None if wake_s is None else max(0.0, wake_s - self.clock()))
                self._advance()
            if self._error is not None:
                raise self._error

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
                    else:
                        self._make(call)
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
        return self.unlocked(function, *arguments)

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

    def _make(self, call: Call) -> None:
        """Make a call and report how it went."""
        scheduler = self.scheduler
        try:
            if call.kind == RANGE:
                self._give_rows(call)
                done: tuple[Any, ...] = (scheduler.on_range_end, call)
            else:
                done = (scheduler.on_complete, call, self.call(self._value, call))
        except Exception as error:
            done = (scheduler.on_fail, call, error)
        self._report(*done)

    def _value(self, call: Call) -> Any:
        generator = self.generators[call.column]
        if call.kind == BARRIER:
            value = generator.call(call.rows, call.inputs)
        else:
            value = generator.call(call.start, call.inputs[0])
        if inspect.isawaitable(value):
            value = asyncio.run(_wait_for(value))
        return list(value) if call.kind == BARRIER else value

    def _give_rows(self, call: Call) -> None:
        rows = self._iterate(call)
        try:
            while (item := self.call(next, rows, None)) is not None:
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
            self.unlocked(self.store.write_rows, save)
        except OSError as error:
            self._save_step(scheduler.on_rows_failed, save, error)
            return
        self._save_step(scheduler.on_rows_durable, save)
        if save.checkpoint is None:
            return
        self._save_step(scheduler.on_checkpoint_begin, save)
        try:
            self.unlocked(self.store.write_checkpoint, save.checkpoint)
        except OSError as error:
            self._save_step(scheduler.on_checkpoint_failed, save, error)
        else:
            self._save_step(scheduler.on_checkpoint_durable, save)

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
