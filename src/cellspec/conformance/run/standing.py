"""Where threads stand: for each, the line of the engine's code, and what it calls there.

A thread that hangs, or that runs on for ever, is somewhere. The innermost of its frames are often
those of a library that it waits in; the reader looks for the line of *their* code that led there.
So frames of the standard library and of this package are left out of the place.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import PurePath
from types import FrameType

from cellspec.virtualtime import VirtualTimeLoop

__all__ = ["place_of", "places_of", "threads_waiting"]

_LISTED_THREADS_MAX = 20
_LISTED_PLACES_MAX = 6
_LOOP = VirtualTimeLoop.run_forever.__code__


def place_of(frame: FrameType | None) -> str:
    """The innermost line outside of libraries: function, file and line; "" if there is none.

    What called a loop in virtual time is no part of the engine.
    """
    return next(_places(frame), "")


def places_of(frame: FrameType) -> list[str]:
    """The lines outside of libraries that led to a frame, the innermost first: "in …"."""
    return [f"in {place}" for place in islice(_places(frame), _LISTED_PLACES_MAX)]


def _places(frame: FrameType | None) -> Iterator[str]:
    while frame is not None and frame.f_code is not _LOOP:
        if not _is_library(frame):
            file = "/".join(PurePath(frame.f_code.co_filename).parts[-2:])
            yield f"{frame.f_code.co_qualname} ({file}:{frame.f_lineno})"
        frame = frame.f_back


def threads_waiting(but: Collection[int | None]) -> list[str]:
    """A line for each thread that stands in code outside of libraries, in the order of their start.

    Args:
        but: the identities of threads that are left out.
    """
    frames = sys._current_frames()
    found: list[str] = []
    for thread in threading.enumerate():
        frame = None if thread.ident is None else frames.get(thread.ident)
        place = "" if thread.ident in but else place_of(frame)
        if place and frame is not None:
            found.append(f"{thread.name} in {place}{_called(frame)}")
    more = len(found) - _LISTED_THREADS_MAX
    return found[:_LISTED_THREADS_MAX] + ([f"and {more} more"] if more > 0 else [])


def _called(frame: FrameType) -> str:
    """What the engine's line waits for, if that is a function of the standard library."""
    inner: FrameType | None = None
    at: FrameType | None = frame
    while at is not None and _is_library(at):
        inner, at = at, at.f_back
    if inner is None:
        return ""
    code = inner.f_code
    owner = inner.f_locals.get("self") if "." in code.co_qualname else None
    name = code.co_qualname if owner is None else f"{type(owner).__qualname__}.{code.co_name}"
    return f" waits for {_package(inner)}'s {name}"


def _is_library(frame: FrameType) -> bool:
    package = _package(frame)
    return package == "cellspec" or package in sys.stdlib_module_names


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
