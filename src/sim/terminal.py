"""The person at the terminal: notes, progress and the cost of a run, all of it on stderr.

Progress is one line that is written over, and only where stderr is a terminal.
"""

from __future__ import annotations

import sys
import time

from cellspec.exit_codes import FINE, complain, say

__all__ = ["Progress", "note", "plain_stdout", "progress_line", "say_cost"]


def note(line: str) -> None:
    """Say one line that is no error."""
    complain(line, FINE)


def say_cost(what: str, count: int, seconds: float) -> None:
    """Say wall time, speed and memory, which differ from run to run.

    Args:
        what: the things that were counted, as in "events".
        count: how many there were.
        seconds: the wall time.
    """
    memory = _peak_memory_mib()
    note(
        f"wall time {seconds:.2f} s, {count / max(seconds, 1e-9):,.0f} {what}/s"
        + (f", peak memory {memory:,.0f} MiB" if memory else "")
    )


def _peak_memory_mib() -> float | None:
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def plain_stdout() -> None:
    """Make stdout's bytes independent of the locale and the platform."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")


def progress_line(every_s: float = 0.1) -> Progress | None:
    """A line of progress; None where stderr is no terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    return Progress(every_s)


class Progress:
    """One line on a terminal that is written over.

    Args:
        every_s: wall seconds between two lines at least.
    """

    def __init__(self, every_s: float = 0.1) -> None:
        self._every_s = every_s
        self._next = 0.0
        self._width = 0

    @property
    def is_due(self) -> bool:
        """Whether the last line is old enough; asked before the next one is put into words."""
        return time.monotonic() >= self._next

    def show(self, line: str) -> None:
        """Put a line in place of the last one."""
        self._next = time.monotonic() + self._every_s
        self._put(line.ljust(self._width))
        self._width = len(line)

    def clear(self) -> None:
        """Leave the terminal's line empty."""
        if self._width:
            self._put(" " * self._width)
            self._put("")

    def _put(self, text: str) -> None:
        say(f"\r{text}", end="")
