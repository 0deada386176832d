"""The user's own end of a run, by Ctrl-C, debugger or time limit. It says nothing of the engine.

Each comes as an exception out of the engine's code, where the run was: `KeyboardInterrupt` of
Ctrl-C, ``pytest.exit.Exception`` of ``q`` at a breakpoint under pytest, `bdb.BdbQuit` elsewhere,
and ``pytest.fail.Exception`` of a plugin that limits how long a test may take. The last one comes
out of the handler of a signal; an engine that calls ``pytest.fail`` itself has died. Code that
takes an exception for the engine's or the adapter's must ask `pass_on` first. This module is the
one place that knows these exceptions.

An engine may swallow the exception in a handler of its own, or leave it in a task or a thread that
nobody asks for it. So the debugger itself is asked too; the pytest plugin notes each that opens.

An engine meets its breakpoint in many tasks or threads. They open a debugger one after another, and
once the user has quit one of them, no other opens: a breakpoint ends the task or the thread.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
import traceback
from types import FrameType
from typing import Any, NoReturn

__all__ = [
    "forget_debuggers",
    "is_debugged",
    "note_debugger",
    "pass_on",
    "pass_on_quit",
    "was_quit",
]

_DEBUGGERS = frozenset({"pdb", "bdb", "pydevd", "_pydevd_bundle"})
"""Modules of which a frame is on the stack while a debugger waits for its user."""

_OPENS_S = 1.0
"""A debugger that was noted has its prompt after so many seconds."""

_opened: list[Any] = []
"""The debuggers that were noted, each with the attribute ``quitting`` of `bdb.Bdb`."""

_turn = threading.Lock()
_last_opened: list[tuple[int, float]] = []
"""The thread that opened a debugger last, and when."""

_hooks: list[tuple[Any, str, Any]] = []
"""What breakpoints called before the user quit: module, name and function."""


class _Quit(KeyboardInterrupt):
    """Ends the loop of an engine at a breakpoint behind the one where the user quit."""


def note_debugger(debugger: Any) -> None:
    """Note a debugger that opens, a `bdb.Bdb`, so that the run ends when the user quits it.

    It waits while another thread is at a prompt.

    Raises:
        KeyboardInterrupt, SystemExit: the user has quit already. The second is for threads, which
            it ends in silence.
    """
    me = threading.get_ident()
    while not was_quit():
        with _turn:
            thread, at_s = _last_opened[-1] if _last_opened else (me, 0.0)
            soon = time.monotonic() - at_s < _OPENS_S
            if thread == me or not (soon or is_debugged()):
                _last_opened[:] = [(me, time.monotonic())]
                break
        time.sleep(0.02)
    else:
        _end_here()
    _opened.append(debugger)
    quit_it = getattr(debugger, "set_quit", None)
    if quit_it is not None:

        def set_quit() -> None:
            quit_it()
            _close_breakpoints()

        debugger.set_quit = set_quit


def _close_breakpoints() -> None:
    """Have each breakpoint from now on end its task or thread, without a prompt."""
    for module, name in ((sys, "breakpointhook"), (sys.modules.get("pdb"), "set_trace")):
        if module is not None:
            _hooks.append((module, name, getattr(module, name)))
            setattr(module, name, _end_here)


def _end_here(*_: object, **__: object) -> NoReturn:
    if threading.current_thread() is threading.main_thread():
        raise _Quit
    raise SystemExit


def forget_debuggers() -> None:
    """Forget all debuggers: their run is over."""
    _opened.clear()
    _last_opened.clear()
    while _hooks:
        module, name, function = _hooks.pop()
        setattr(module, name, function)


def was_quit() -> bool:
    """Whether the user has quit a debugger that was noted."""
    return any(getattr(debugger, "quitting", False) for debugger in _opened)


def pass_on_quit() -> None:
    """End the run if the user has quit a debugger, whatever became of the exception.

    Raises:
        bdb.BdbQuit: the user has.
    """
    if was_quit():
        import bdb

        raise bdb.BdbQuit


def pass_on(error: BaseException | None) -> None:
    """Raise the user's own end of the run if an exception is one, or was caused by one.

    Args:
        error: an exception that came out of code of the engine or of its adapter; None is none.

    Raises:
        KeyboardInterrupt, bdb.BdbQuit, pytest.exit.Exception, pytest.fail.Exception: the user ended
            the run.
    """
    own = _users_own()
    for each in _chain(error):
        if isinstance(each, own) or _is_time_limit(each):
            raise each


def _users_own() -> tuple[type[BaseException], ...]:
    """The exceptions by which a user ends a run; modules that are not loaded have raised none."""
    own: list[type[BaseException]] = [KeyboardInterrupt]
    if (debugger := sys.modules.get("bdb")) is not None:
        own.append(debugger.BdbQuit)
    if (runner := sys.modules.get("pytest")) is not None:
        own.append(runner.exit.Exception)
    return tuple(own)


def _is_time_limit(error: BaseException) -> bool:
    """Whether a plugin failed the test of the engine: the handler of a signal raised it."""
    runner = sys.modules.get("pytest")
    if runner is None or not isinstance(error, runner.fail.Exception):
        return False
    handlers = {
        getattr(signal.getsignal(number), "__code__", None) for number in signal.valid_signals()
    }
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code in handlers for frame, _ in frames)


def _chain(error: BaseException | None) -> list[BaseException]:
    """An exception, the members of groups, and all that they were raised from or behind."""
    found: dict[int, BaseException] = {}
    left = [error]
    while left:
        each = left.pop()
        if each is None or id(each) in found:
            continue
        found[id(each)] = each
        left += [each.__context__, each.__cause__]
        if isinstance(each, BaseExceptionGroup):
            left += reversed(each.exceptions)
    return list(found.values())


def is_debugged() -> bool:
    """Whether a thread is in a debugger: then nobody knows how long somebody will look at it."""
    for frame in sys._current_frames().values():
        at: FrameType | None = frame
        while at is not None:
            if at.f_globals.get("__name__", "").partition(".")[0] in _DEBUGGERS:
                return True
            at = at.f_back
    return False
