"""The person at the terminal: notes and the cost of a run, all of it on stderr."""

from __future__ import annotations

import sys
import time

from cellspec.exit_codes import FINE, complain

__all__ = ["note", "plain_stdout", "say_cost"]


def note(line: str) -> None:
    """Say one line that is news and no error."""
    complain(line, FINE)


def say_cost(things: str, count: int, seconds: float) -> None:
    """Say wall time, speed and memory, which differ from run to run.

    Args:
        things: the word for the things that were counted, as in "events".
        count: how many there were.
        seconds: the wall time.
    """
    memory = _peak_memory_mib()
    note(
        f"wall time {seconds:.2f} s, {count / max(seconds, 1e-9):,.0f} {things}/s"
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


class Clock:
    """Wall time and this process's own CPU time: on a busy machine they differ."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def say(self, states: int, *, alone: bool) -> None:
        """Say the speed of so many states; CPU time counts if this process was `alone`."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        words = f"{states:,} states in {wall:.1f} s"
        if alone:
            words += f", {cpu:.1f} s of CPU: {states / max(cpu, 1e-9):,.0f} a second on one core"
        note(words)
