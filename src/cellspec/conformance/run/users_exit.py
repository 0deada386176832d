"""The user's own end of a run, by Ctrl-C, debugger or time limit. It says nothing of the engine.

Each comes as an exception out of the engine's code, where the run was: `KeyboardInterrupt` of
Ctrl-C, ``pytest.exit.Exception`` of ``q`` at a breakpoint under pytest, `bdb.BdbQuit` elsewhere,
and ``pytest.fail.Exception`` of a plugin that limits how long a test may take. Code that takes an
exception for the engine's or the adapter's must ask `pass_on` first. This module is the one place
that knows these exceptions.

An engine may swallow the exception in a handler of its own, or leave it in a task or a thread that
nobody asks for it. So the debugger itself is asked too; the pytest plugin notes each that opens.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

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

_opened: list[Any] = []
"""The debuggers that were noted, each with the attribute ``quitting`` of `bdb.Bdb`."""


def note_debugger(debugger: Any) -> None:
    """Note a debugger that opens, a `bdb.Bdb`, so that the run ends when the user quits it."""
    _opened.append(debugger)


def forget_debuggers() -> None:
    """Forget all debuggers: their run is over."""
    _opened.clear()


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
        if isinstance(each, own):
            raise each


def _users_own() -> tuple[type[BaseException], ...]:
    """The exceptions by which a user ends a run; modules that are not loaded have raised none."""
    own: list[type[BaseException]] = [KeyboardInterrupt]
    if (debugger := sys.modules.get("bdb")) is not None:
        own.append(debugger.BdbQuit)
    if (runner := sys.modules.get("pytest")) is not None:
        own += [runner.exit.Exception, runner.fail.Exception]
    return tuple(own)


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
