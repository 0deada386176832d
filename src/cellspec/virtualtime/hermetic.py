"""`HermeticLoop`: an asyncio event loop that is cut off from threads, sockets, pipes and processes.

Events from outside of a loop take real time, and come in an uncontrolled order. A `HermeticLoop` is
free of them. Each call that needs one is refused where it is made, and ends the run as well.
Functions for an executor are the exception: they run in the loop's own thread. The passing of time
and the order of callbacks are up to `cellspec.virtualtime.loop`.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable
from threading import current_thread, get_ident
from typing import Any, NoReturn, TypeVar, TypeVarTuple, Unpack

from cellspec.virtualtime.tasks import NumberedFuture, RealTimeError

__all__ = ["HermeticLoop"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# The names of a task's wake-ups, in C and in Python.
_WAKE_UPS = frozenset({"task_wakeup", "__wakeup", "__step"})
_NEEDS_THE_WORLD = (
    "add_reader",
    "add_writer",
    "remove_reader",
    "remove_writer",
    "connect_accepted_socket",
    "connect_read_pipe",
    "connect_write_pipe",
    "create_connection",
    "create_datagram_endpoint",
    "create_server",
    "create_unix_connection",
    "create_unix_server",
    "getaddrinfo",
    "getnameinfo",
    "sendfile",
    "sock_accept",
    "sock_connect",
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendall",
    "sock_sendfile",
    "sock_sendto",
    "start_tls",
    "subprocess_exec",
    "subprocess_shell",
)


class HermeticLoop(asyncio.BaseEventLoop):
    """A loop without outside events; see the module.

    Args:
        inline_executors: also run functions for a *custom* executor in the loop's thread.
    """

    # Attributes of the base class that this class and its children use. A loop is asked whether it
    # is closed when it dies, even if a bad argument kept it from being built.
    _ready: deque[asyncio.Handle]
    _thread_id: int | None = None
    _closed: bool = True
    _debug: bool
    _stopping: bool

    def __init__(self, *, inline_executors: bool) -> None:
        super().__init__()
        self._inline_executors = inline_executors
        self._in_job = False
        self._jobs_made = 0
        self._aborted: BaseException | None = None

    def call_soon(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """Run `callback` in the next iteration.

        Raises:
            RealTimeError: if another thread calls while the loop runs.
        """
        self._check_usable()
        if self._debug:
            return super().call_soon(callback, *args, context=context)
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """The same as `call_soon`, for the loop's own thread only.

        Raises:
            RealTimeError: if another thread calls while the loop runs; and if a function that runs
                inline asks for a coroutine, whose result it could wait for only in another thread.
        """
        name = getattr(callback, "__qualname__", "")
        if self._in_job and name.startswith("run_coroutine_threadsafe."):
            self._refuse(
                "asyncio.run_coroutine_threadsafe() from a function that runs inline in the loop's "
                "thread: the coroutine could not run before the function returns"
            )
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(
        self, executor: Any, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run `func` in the loop's own thread, in its turn, in zero virtual time.

        It runs as a callback of the next iteration. As in a thread, it runs outside of the running
        loop and its context variables. If its future is cancelled before, it does not run.

        Raises:
            RealTimeError: if `executor` is given, unless the loop has `inline_executors`.
        """
        self._check_executor("loop.run_in_executor", executor)
        self._jobs_made += 1
        future: asyncio.Future[T] = NumberedFuture(number=self._jobs_made, loop=self)
        self.call_soon(self._run_job, future, func, args, context=contextvars.Context())
        return future

    def _run_job(self, future: asyncio.Future[Any], func: Callable[..., Any], args: Any) -> None:
        if future.cancelled():
            return
        result = None
        error: BaseException | None = None
        self._in_job = True
        asyncio._set_running_loop(None)
        try:
            result = func(*args)
        except StopIteration as stop:
            # A future refuses it: it would end the coroutine that awaits it.
            error = RuntimeError("a function for an executor raised StopIteration")
            error.__cause__ = stop
        except (Exception, asyncio.CancelledError) as raised:
            error = raised
        finally:
            asyncio._set_running_loop(self)
            self._in_job = False
        if future.done():
            return  # the function itself cancelled the future
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def set_default_executor(self, executor: Any) -> None:
        """Change nothing: functions run inline.

        Raises:
            RealTimeError: unless the loop has `inline_executors`.
        """
        self._check_executor("loop.set_default_executor", executor)

    def _check_executor(self, call: str, executor: object) -> None:
        if executor is not None and not self._inline_executors:
            self._refuse(
                f"{call}({type(executor).__name__}) needs real threads or processes: "
                "use the default executor, or inline_executors=True to run its functions inline"
            )

    def is_wake_up(self, handle: Any) -> bool:
        """Whether `handle` is the next step of a task, or a function for an executor."""
        owner = getattr(handle._callback, "__self__", None)
        if owner is None:
            return False
        name = getattr(handle._callback, "__name__", "__step")  # a step in C has none
        if owner is self:
            return name == "_run_job"
        return name in _WAKE_UPS and asyncio.isfuture(owner)

    def _check_usable(self) -> None:
        if self._closed:
            raise RuntimeError("Event loop is closed")
        if get_ident() != self._thread_id and self._thread_id is not None:
            self._refuse(f"a call from thread {current_thread().name!r} into the loop")

    def _refuse(self, what: str) -> NoReturn:
        error = RealTimeError(f"virtual time waits for nothing real: {what}", self.time())
        if self.is_running() and self._aborted is None:
            self._aborted = error
        raise error


def _refused(name: str) -> Callable[..., NoReturn]:
    def method(self: HermeticLoop, *_args: object, **_kwargs: object) -> NoReturn:
        self._refuse(f"loop.{name}() needs a real socket, pipe or process: put a fake in its place")

    method.__name__ = name
    return method


for _name in _NEEDS_THE_WORLD:
    setattr(HermeticLoop, _name, _refused(_name))
