"""Blocking calls: code that takes real time on a virtual loop is told of, with file and line.

A coroutine that calls ``time.sleep``, opens a socket and waits for it, or waits for a child process
(``subprocess.run``), stops every task of its loop for as long as that takes. In virtual time it
takes nothing: clauses would judge an engine that waits as one that does not. Such a call is let
through, and a `RealTimeWarning` names it. The same calls always give the same warnings, because it
is the call that is noticed and not the time. A name that a module took from `time` counts too, if
the module was imported before the run.

Code of the standard library is not blamed: the line is the first outside of it that led there.

Functions that a loop runs for an executor (``asyncio.to_thread``) may block: in an engine they do
so in a thread of their own.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from threading import Lock
from types import FrameType
from typing import Any

from cellspec.virtualtime.hermetic import HermeticLoop

__all__ = ["RealTimeWarning", "blocking_calls", "noticed"]

_PLACES: tuple[tuple[Any, str, str], ...] = (
    (time, "sleep", "time.sleep()"),
    (socket.socket, "connect", "a connection of a socket"),
    (subprocess.Popen, "wait", "a wait for a child process"),
)
_lock = Lock()
_runs = 0
_originals: list[Any] = []
_kept: list[dict[str, None]] = []
_scanned: set[str] = set()
_imported: list[dict[str, Any]] = []
"""The names of modules that hold `time.sleep` as ``sleep`` or as another name of their own."""


class RealTimeWarning(RuntimeWarning):
    """Code on a virtual loop took real time."""


@contextmanager
def noticed() -> Iterator[None]:
    """Notice blocking calls on virtual loops, of any thread, while the block runs."""
    global _runs
    with _lock:
        _runs += 1
        if _runs == 1:
            _originals[:] = [getattr(owner, name) for owner, name, _ in _PLACES]
            for (owner, name, what), original in zip(_PLACES, _originals, strict=True):
                setattr(owner, name, _noticing(original, what))
            _look_for(_originals[0])
            _exchange(_originals[0], time.sleep)
    try:
        yield
    finally:
        with _lock:
            _runs -= 1
            if not _runs:
                _exchange(time.sleep, _originals[0])
                for (owner, name, _), original in zip(_PLACES, _originals, strict=True):
                    setattr(owner, name, original)


def _look_for(sleep: object) -> None:
    """Find the modules that took `time.sleep` by name; each module is looked at once."""
    for name in sys.modules.keys() - _scanned:
        names = getattr(sys.modules[name], "__dict__", None)
        values = list(names.values()) if isinstance(names, dict) and name != "time" else []
        if isinstance(names, dict) and any(value is sleep for value in values):
            _imported.append(names)
        _scanned.add(name)


def _exchange(before: object, after: object) -> None:
    for names in _imported:
        for name in [name for name, value in names.items() if value is before]:
            names[name] = after


@contextmanager
def blocking_calls() -> Iterator[dict[str, None]]:
    """Keep the blocking calls that are noticed while the block runs: what, and file and line."""
    found: dict[str, None] = {}
    _kept.append(found)
    try:
        yield found
    finally:
        # By identity: two that are empty are equal.
        _kept[:] = [one for one in _kept if one is not found]


def _noticing(original: Callable[..., Any], what: str) -> Callable[..., Any]:
    def call(*arguments: Any, **more: Any) -> Any:
        # A sleep of 0 seconds takes no time, and lets other threads run.
        if isinstance(asyncio._get_running_loop(), HermeticLoop) and arguments != (0,):
            _report(what)
        return original(*arguments, **more)

    return call


def _report(what: str) -> None:
    """Warn of a call, at the line that made it; calls of this package are its own affair."""
    frame = _blamed(sys._getframe(2))
    names = frame.f_globals
    if _package(frame) == "cellspec":
        return
    file = "/".join(PurePath(frame.f_code.co_filename).parts[-2:])
    for found in _kept:
        found[f"{what} at {file}:{frame.f_lineno}"] = None
    warnings.warn_explicit(
        f"{what} takes real time, and no virtual time: await asyncio.sleep() there, or run it "
        "by asyncio.to_thread()",
        RealTimeWarning,
        frame.f_code.co_filename,
        frame.f_lineno,
        registry=names.setdefault("__warningregistry__", {}),
    )


def _blamed(frame: FrameType) -> FrameType:
    """The first frame outside of the standard library; the given one if a loop called that."""
    found: FrameType | None = frame
    while found is not None and _package(found) in sys.stdlib_module_names:
        found = None if _package(found) == "asyncio" else found.f_back
    return frame if found is None else found


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
