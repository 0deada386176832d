"""Task waits: where each task of an asyncio program waits and for which object, and the errors.

When a run in virtual time cannot go on (`cellspec.virtualtime.loop`), the reader of the error needs
three facts of each task that is not done: its name, the line of *their* code where it stands, and
the object that it awaits. A suspended coroutine holds all three. They are read here from its chain
of awaits: asyncio's own frames are left out of the place, and name the awaited object.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any, NamedTuple

__all__ = [
    "A_THREAD",
    "Abandoned",
    "Deadlock",
    "Livelock",
    "NumberedFuture",
    "NumberedTask",
    "RealTimeError",
    "VirtualTimeError",
    "WaitingTask",
    "WeakInOrder",
    "unwind",
    "waiting_task",
]

A_THREAD = "a thread"

_LISTED_TASKS_MAX = 20
# How often a coroutine may catch what it is thrown, or await in a `finally`, before it is given up.
_THROWS_MAX = 100
# Coroutines that cannot be unwound stay here: their destruction would make noise at some time.
_undead: list[object] = []


class WaitingTask(NamedTuple):
    """A task that was not done when a run ended, as `Deadlock` and `Livelock` list it."""

    task: str
    where: str
    awaits: str

    def __str__(self) -> str:
        return f"{self.task} in {self.where} waits for {self.awaits}"


class VirtualTimeError(RuntimeError):
    """A run that cannot go on in virtual time.

    Attributes:
        time_s: the loop's clock.
        tasks: the tasks that were not done, in the order of their creation.
    """

    def __init__(self, what: str, time_s: float, tasks: Iterable[WaitingTask] = ()) -> None:
        self.time_s = time_s
        self.tasks = tuple(tasks)
        lines = [what, *(f"  {task}" for task in self.tasks[:_LISTED_TASKS_MAX])]
        if len(self.tasks) > _LISTED_TASKS_MAX:
            lines.append(f"  and {len(self.tasks) - _LISTED_TASKS_MAX} more")
        super().__init__("\n".join(lines))


class Deadlock(VirtualTimeError):  # noqa: N818 - the field's word
    """Every task waits, and neither a callback nor a timer is left that could wake one."""


class Livelock(VirtualTimeError):  # noqa: N818 - the field's word
    """The run went past a limit: of iterations, of iterations at one instant, or of time."""


class RealTimeError(VirtualTimeError):
    """Something needs a real thread, socket, pipe or process, which virtual time cannot wait for.

    It is raised where the call is made, and again out of the loop: an engine that catches
    everything cannot go on as if a generator had failed.
    """


class Abandoned(BaseException):
    """Comes out of each ``await`` of a run that is over, so that its coroutines unwind.

    It is a `BaseException` other than a cancellation: a handler of those would go on.
    """


class NumberedTask(asyncio.Task[Any]):
    """A task whose place in a set is the same in each run.

    `asyncio.TaskGroup` and `asyncio.wait` keep tasks in sets, and so do programs. The order of a
    set follows the hashes of its items, which are addresses unless a class says otherwise: then
    tasks are cancelled in another order from run to run.
    """

    def __init__(self, coro: Any, *, number: int, **kwargs: Any) -> None:
        self._number = number
        super().__init__(coro, **kwargs)

    def __hash__(self) -> int:
        return self._number


class NumberedFuture(asyncio.Future[Any]):
    """The same for a future that a program gets from its loop, and may keep in a set."""

    def __init__(self, *, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self._number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._number


class WeakInOrder:
    """A `weakref.WeakSet` that is iterated in the order of insertion, not of addresses."""

    def __init__(self) -> None:
        self._refs: dict[weakref.ref[Any], None] = {}

    def add(self, item: object) -> None:
        # No function in Python: Ctrl-C within one would be printed and lost. A reference that is no
        # longer here does not call.
        self._refs[weakref.ref(item, self._refs.pop)] = None

    def discard(self, item: object) -> None:
        self._refs.pop(weakref.ref(item), None)

    def clear(self) -> None:
        self._refs.clear()

    def __len__(self) -> int:
        return len(self._refs)

    def __iter__(self) -> Iterator[Any]:
        items = [ref() for ref in list(self._refs)]
        return (item for item in items if item is not None)


def _frames_of(coroutine: object) -> list[FrameType]:
    """The frames of a suspended coroutine, outermost first; an empty list if it is finished."""
    frames: list[FrameType] = []
    awaited = coroutine
    while awaited is not None:
        for kind, next_name in [("cr", "await"), ("gi", "yieldfrom"), ("ag", "await")]:
            if hasattr(awaited, f"{kind}_frame"):
                frame = getattr(awaited, f"{kind}_frame")
                awaited = getattr(awaited, f"{kind}_{next_name}")
                break
        else:
            # An iterator of an asynchronous generator does not say whose it is.
            inner = (CoroutineType, GeneratorType, AsyncGeneratorType)
            awaited = next((x for x in gc.get_referents(awaited) if isinstance(x, inner)), None)
            continue
        if frame is None or frame in frames:
            break
        frames.append(frame)
    return frames


def waiting_task(task: asyncio.Task[Any]) -> WaitingTask:
    """The place of `task` in code outside of asyncio, if there is one, and the awaited object."""
    frames = _frames_of(task.get_coro())
    inside = [frame.f_globals.get("__name__", "").startswith("asyncio.") for frame in frames]
    last = max((i for i, is_inside in enumerate(inside) if not is_inside), default=len(frames) - 1)
    where = "a coroutine that is closed"
    if frames:
        code = frames[last].f_code
        file = "/".join(PurePath(code.co_filename).parts[-2:])
        where = f"{code.co_qualname} ({file}:{frames[last].f_lineno})"
    called = _method(frames[last + 1]) if last + 1 < len(frames) else ""
    return WaitingTask(
        task.get_name(), where, _what_for(getattr(task, "_fut_waiter", None), called)
    )


def _method(frame: FrameType) -> str:
    """The function of a frame, by the class of the object that it was called on."""
    code = frame.f_code
    owner = frame.f_locals.get("self") if "." in code.co_qualname else None
    return code.co_qualname if owner is None else f"{type(owner).__qualname__}.{code.co_name}"


def _what_for(future: Any, called: str) -> str:
    """Names a future that a task waits for; `called` is the function of asyncio that awaits it."""
    if future is None:
        return "its turn"
    # Only the future of a thread's future has such a callback: a gathered one is asked for all.
    for part in (future, *getattr(future, "_children", ())):
        if any("_chain_future." in repr(entry[0]) for entry in part._callbacks or ()):
            return A_THREAD
    if isinstance(future, asyncio.Task):
        return f"task {future.get_name()}"
    if called:
        return f"asyncio's {called}"
    return "asyncio.gather" if hasattr(future, "_children") else "a future"


def unwind(live_tasks: Callable[[], list[asyncio.Task[Any]]]) -> None:
    """Throw `Abandoned` into all live tasks, and into those made meanwhile, until they are done."""
    left: list[Any] = []
    for _ in range(_THROWS_MAX):
        coroutines = [task.get_coro() for task in live_tasks()]
        left = [coroutine for coroutine in coroutines if _frames_of(coroutine)]
        if not left:
            return
        for coroutine in left:
            try:
                # Not `close`: it tears off what is awaited within, if that awaits in a `finally`.
                coroutine.throw(Abandoned())
            except KeyboardInterrupt:
                raise
            except BaseException:
                continue
    _undead.extend(left)
