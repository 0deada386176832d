"""Blocking code on a loop in virtual time: threads take turns with the loop, one at a time.

`DataDesigner.create` blocks. It gives a coroutine to an event loop in another thread and waits for
its result, and functions that users write for whole columns run in threads too. In virtual time a
thread must not run beside the loop, because the machine would decide which of the two comes first.
So a thread and the loop take turns, like two people with one microphone:

1. `Handoff.run` starts the function in a thread of its own, and the loop *really* waits.
2. To wait for something that takes virtual time, the function calls `Handoff.wait_for` with a
   coroutine. Now the thread waits, the loop goes on, and other tasks run with it.
3. When the coroutine has its result, the thread gets it and the loop waits again, until the
   function returns.

If the run is cut short (the process of a workload dies, or the task is cancelled), `wait_for`
raises the cause in the thread; the thread unwinds, and is gone before the loop goes on.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Coroutine
from queue import SimpleQueue
from typing import Any, TypeVar

__all__ = ["Handoff"]

T = TypeVar("T")


class _Turn:
    """One thread: its requests to the loop, and the answers."""

    def __init__(self) -> None:
        # (a coroutine to wait for, or None at the end; result; error)
        self.asked: SimpleQueue[tuple[Any, Any, BaseException | None]] = SimpleQueue()
        self.answered: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self.cut_short: BaseException | None = None


class Handoff:
    """Runs blocking functions in threads that take turns with the loop; see the module."""

    def __init__(self) -> None:
        self._mine = threading.local()

    async def run(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a blocking function, with the context variables of the caller; gives its result.

        Raises:
            BaseException: any error of the function, or the cause that cut the waiting short.
        """
        turn = _Turn()
        context = contextvars.copy_context()

        def body() -> None:
            self._mine.turn = turn
            try:
                result = context.run(function, *args, **kwargs)
            except BaseException as error:
                turn.asked.put((None, None, error))
            else:
                turn.asked.put((None, result, None))

        thread = threading.Thread(target=body, name="cellspec-handoff", daemon=True)
        thread.start()
        while True:
            wanted, result, error = turn.asked.get()
            if wanted is None:
                thread.join()
                if error is not None:
                    raise error
                return result  # type: ignore[no-any-return]
            try:
                answer = await wanted
            except Exception as failed:
                turn.answered.put((None, failed))
            except BaseException as cut:
                self._cut_short(turn, cut)
                thread.join()
                raise
            else:
                turn.answered.put((answer, None))

    def _cut_short(self, turn: _Turn, cut: BaseException) -> None:
        """Have the function unwind; each further `wait_for` of it raises at once."""
        turn.cut_short = cut
        turn.answered.put((None, cut))

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """In a function that `run` runs: let the loop go on until a coroutine has its result.

        Raises:
            BaseException: any error of the coroutine, or the cause that cut the waiting short.
            RuntimeError: in a thread that `run` did not start.
        """
        turn: _Turn | None = getattr(self._mine, "turn", None)
        if turn is None or turn.cut_short is not None:
            coroutine.close()
            if turn is None:
                raise RuntimeError("wait_for() is called in a thread that run() did not start")
            raise turn.cut_short  # type: ignore[misc]
        turn.asked.put((coroutine, None, None))
        answer, error = turn.answered.get()
        if error is not None:
            raise error
        return answer  # type: ignore[no-any-return]
