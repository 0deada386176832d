"""`ProgressLine`: one line on a terminal that is written over while work goes on."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from cellspec.console import say

__all__ = ["ProgressLine", "progress_line"]


def progress_line(every_s: float = 0.1, *, cursor_first: bool = False) -> ProgressLine | None:
    """A line of progress on stderr, if that is a terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    return ProgressLine(every_s, cursor_first=cursor_first)


class ProgressLine:
    """One line on a terminal that is written over.

    Args:
        every_s: wall seconds between two lines at least; `is_due` says when they are over.
        stream: the terminal; None for stderr, where a failing write is passed over.
        cursor_first: leave the cursor at the start of the line, so that the next output of the
            program takes its place.
    """

    def __init__(
        self, every_s: float = 0.1, stream: TextIO | None = None, *, cursor_first: bool = False
    ) -> None:
        self._every_s = every_s
        self._stream = stream
        self._cursor_first = cursor_first
        self._next_s = float("-inf")
        self._width = 0

    @property
    def is_due(self) -> bool:
        """Whether the last line is old enough; asked before the next one is put into words.

        It goes by the reader's clock, since a terminal is slow even where a run's time is virtual.
        """
        return time.monotonic() >= self._next_s

    def show(self, line: str) -> None:
        """Put a line in place of the last one."""
        self._next_s = time.monotonic() + self._every_s
        self._put(f"\x1b[K{line}\r" if self._cursor_first else line.ljust(self._width))
        self._width = len(line)

    def clear(self) -> None:
        """Leave the terminal's line empty."""
        if self._width:
            self._put(" " * self._width)
            self._put("")

    def _put(self, text: str) -> None:
        if self._stream is None:
            say(f"\r{text}", end="")
        else:
            self._stream.write(f"\r{text}")
            self._stream.flush()
