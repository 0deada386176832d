"""`AsyncioEngine`: the scheduler on one event loop, each call in a task.

A task picks its own work at the moment it runs, and goes from there into the generator without a
pause, so that the choice still holds at the start. A task that picks a call starts one more task, a
*spark*, which looks for the next call and ends if there is none. Each event after which a call may
start sends a spark too. So all calls that may start do so before time moves on.

The coroutine that called `run` saves: it writes what is due while calls are in flight, and sleeps
until a save is due or the run is over. Writing, and generators that are plain functions, go through
the loop's default executor.

The loop's clock is the only clock, so the engine runs unchanged in virtual time.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import Any

from cellspec.engine.base import Engine, Result, RunBrokeOff
from cellspec.engine.calls import BARRIER, RANGE, Call, Save, StoreWrite
from cellspec.faults import GeneratorError

__all__ = ["AsyncioEngine"]

_END = object()


class AsyncioEngine(Engine):
    """Runs a graph on the running event loop; for the arguments see `Engine`.

    Attributes:
        cancel_dropped: cancel running calls of rows that were dropped meanwhile, if their
            generators are coroutine functions; otherwise they end, and their values are thrown
            away.
        storing: surrounds each write of storage, by what it writes; a test slows writes here, or
            fails them with an `OSError`.
    """

    cancel_dropped: bool = True
    _begun = False
    storing: Callable[[StoreWrite], AbstractAsyncContextManager[object]] = staticmethod(
        lambda _: nullcontext()
    )

    async def run(self, *, resume: bool = True, keep: bool = False) -> Result:
        """Run to the end.

        Args:
            resume: go on from the run in the folder; False refuses a folder that holds a run.
            keep: with another number of rows, keep the output of barriers whose scope has changed.

        Raises:
            SpecError: the run in the folder cannot be resumed, or not with this graph.
        """
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._task_of: dict[int, asyncio.Task[Any]] = {}
        self._cancelled: set[int] = set()
        self._sparked = False
        self._timer: asyncio.TimerHandle | None = None
        self._error: BaseException | None = None
        self._begun = True
        try:
            self.scheduler.on_news = self._look_around
            self.begin(self._loop.time(), resume=resume, keep=keep)
            await self._drive()
        finally:
            try:
                await self._abandon()
            finally:
                self.close()
        return self.result_of(self.scheduler.finish())

    def request_stop(self) -> None:
        """End the run soon: calls in flight end, no other starts, and what is finished is saved.

        Call it on the loop of the run, for example from a signal:
        ``loop.add_signal_handler(signal.SIGINT, engine.request_stop)``. It returns at once, and
        `run` returns with the outcome "interrupted", or "success" if nothing was left to do.
        """
        self.scheduler.request_stop()
        if self._begun:
            self._news.set()

    async def _drive(self) -> None:
        self._look_around()
        while not self.scheduler.is_over():
            self._news.clear()
            save = self.scheduler.due_save()
            if save is not None:
                await self._save(save)
            elif not self.scheduler.is_over():
                await self._news.wait()
            if self._error is not None:
                raise self._error

    async def _abandon(self) -> None:
        """Cancel every task of the run, and wait for its end."""
        if self._timer is not None:
            self._timer.cancel()
        while self._tasks:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for task in tasks:
                self._tasks.pop(task, None)  # one that was cancelled before it began

    # Tasks

    def _spark(self) -> None:
        scheduler = self.scheduler
        if not self._sparked and scheduler.may_start() and any(scheduler.queues.queues):
            self._sparked = True
            self._tasks[self._loop.create_task(self._work())] = None

    async def _work(self) -> None:
        """Pick calls and make them, until all that may start has started."""
        self._sparked = False
        task = asyncio.current_task()
        assert task is not None
        try:
            self.scheduler.advance(self._loop.time())
            while (call := self.scheduler.next_call()) is not None:
                self._spark()
                await self._make(call)
        except RunBrokeOff:
            return
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._break(error)
        finally:
            self._tasks.pop(task, None)

    def _break(self, error: BaseException) -> None:
        """End the run with an error of another kind than a failed call."""
        if self._error is None:
            self._error = error
        self._news.set()

    def _report(self, step: Callable[..., None], *arguments: Any) -> None:
        """Report to the scheduler how a call goes, and see to the consequences."""
        if self._error is not None:
            raise RunBrokeOff
        try:
            self.scheduler.advance(self._loop.time())
            step(*arguments)
            self._look_around()
        except GeneratorError:
            raise
        except BaseException as error:
            self._break(error)
            raise RunBrokeOff from error

    def _look_around(self) -> None:
        """Something changed: look for work, a save, the end of a backoff, a call to cancel."""
        self._spark()
        if self.scheduler.is_save_due() or self.scheduler.is_over():
            self._news.set()
        if self.cancel_dropped:
            self._cancel_doomed()
        wake_s = self.scheduler.wake_s()
        if self._timer is not None and self._timer.when() != wake_s:
            self._timer.cancel()
            self._timer = None
        if self._timer is None and wake_s is not None:
            self._timer = self._loop.call_at(wake_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        try:
            self.scheduler.advance(self._loop.time())
            self._look_around()
        except BaseException as error:
            self._break(error)

    def _cancel_doomed(self) -> None:
        for call in self.scheduler.doomed():
            task = self._task_of.get(call.number)
            # A thread cannot be stopped; its call keeps its slot until it ends.
            stoppable = self.generators[call.column].is_async
            if task is not None and stoppable and call.number not in self._cancelled:
                self._cancelled.add(call.number)
                task.cancel()

    # Calls

    async def _make(self, call: Call) -> None:
        """Make a call and report how it went."""
        task = asyncio.current_task()
        assert task is not None
        self._task_of[call.number] = task
        bound: asyncio.Timeout | None = None
        try:
            if self.timeout_s is None:
                done = await self._answer(call)
            else:
                async with asyncio.timeout(self.timeout_s) as bound:
                    done = await self._answer(call)
        except asyncio.CancelledError:
            if call.number not in self._cancelled:
                raise
            task.uncancel()
            done = (self.scheduler.on_cancel, call)
        except Exception as error:
            if bound is not None and bound.expired() and not self.generators[call.column].is_async:
                self._report(self.observer.abandoned, call)
            done = (self.scheduler.on_fail, call, error)
        finally:
            del self._task_of[call.number]
            self._cancelled.discard(call.number)
        self._report(*done)

    async def _answer(self, call: Call) -> tuple[Any, ...]:
        """Make a call: the report of its end, and what goes with it."""
        if call.kind == RANGE:
            await self._give_rows(call)
            return self.scheduler.on_range_end, call
        return self.scheduler.on_complete, call, await self._value(call)

    async def _value(self, call: Call) -> Any:
        generator = self.generators[call.column]
        if call.kind == BARRIER:
            given: tuple[Any, ...] = (call.rows, call.inputs)
        else:
            given = (call.start, call.inputs[0])
        if generator.is_async:
            value = await generator.call(*given)
        else:
            value = await self._in_thread(generator.call, *given)
            if inspect.isawaitable(value):
                value = await value
        # An answer by row stays one; any other is a list, if it is an iterator.
        return list(value) if call.kind == BARRIER and not isinstance(value, Mapping) else value

    async def _give_rows(self, call: Call) -> None:
        generator = self.generators[call.column]
        rows = generator.call(call.rows, call.inputs)
        if not generator.is_async:
            rows = self._iterate_in_thread(rows)
        async with aclosing(rows):
            async for row, value in rows:
                self._report(self.scheduler.on_row, call, row, value)

    async def _iterate_in_thread(self, rows: Any) -> AsyncIterator[tuple[int, Any]]:
        iterator = iter(rows)
        # StopIteration cannot come out of a future, so the end is a value.
        while (item := await self._in_thread(next, iterator, _END)) is not _END:
            yield item

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await self._loop.run_in_executor(None, function, *arguments)

    # Saving

    async def _save(self, save: Save) -> None:
        scheduler = self.scheduler
        try:
            if save.has_data:
                async with self.storing("data"):
                    await self._in_thread(self.store.write_rows, save)
        except OSError as error:
            self._save_step(scheduler.on_rows_failed, save, error)
            return
        self._save_step(scheduler.on_rows_durable, save)
        if save.checkpoint is None:
            return
        self._save_step(scheduler.on_checkpoint_begin, save)
        try:
            async with self.storing("claim"):
                await self._in_thread(self.store.write_checkpoint, save.checkpoint)
        except OSError as error:
            self._save_step(scheduler.on_checkpoint_failed, save, error)
        else:
            self._save_step(scheduler.on_checkpoint_durable, save)

    def _save_step(self, step: Callable[..., None], *arguments: Any) -> None:
        self.scheduler.advance(self._loop.time())
        step(*arguments)
        self._look_around()
