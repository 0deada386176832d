"""The progress of many runs, on stderr: how many are made, how sure a figure is, and what is left.

    with run_progress(30, go_on="nothing is kept") as progress:
        Experiment(scenarios, on_run=progress.done).grow(30)

It is shown on a terminal alone, as a bar by rich where that is installed, else as a line; it
follows NO_COLOR. The time that is left comes from the mean time of the runs that were made. Who
interrupts the command (Ctrl-C, SIGTERM) reads in one line how many runs were made, and how to go
on; the exit code is that of every command.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from cellspec.console import say
from cellspec.progress_line import ProgressLine, progress_line
from cellspec.text import counted
from sim.terminal import note

if TYPE_CHECKING:
    from sim.experiments.intervals import Mean
    from sim.experiments.stopping import Stopping

__all__ = [
    "RunProgress",
    "begin_again",
    "run_progress",
    "runs_ahead",
    "show_interval",
    "time_words",
]


_SAID_S = 0.2
"""Seconds for which what is said beside the count stays: runs may be far shorter."""


@contextmanager
def run_progress(
    total: int | None = None,
    *,
    about: bool = False,
    go_on: str | Callable[[int], str] = "",
    thing: str = "run",
) -> Iterator[RunProgress]:
    """A context in which runs are counted, and shown on a terminal.

    Args:
        total: how many there will be; None if nobody knows yet.
        about: `total` is an estimate.
        go_on: said if the command is interrupted: what is kept, and the command that goes on; or a
            function of the number of runs made that gives it.
        thing: the word for a run.
    """
    progress = RunProgress(total, thing, about=about)
    try:
        with progress.shown():
            yield progress
    except BaseException as stop:
        # Ctrl-C and SIGTERM; not an error, and not a generator that is closed.
        if not isinstance(stop, Exception | GeneratorExit | SystemExit):
            words = go_on if isinstance(go_on, str) else go_on(progress.made)
            note(f"{progress.count_words()} made{f'; {words}' if words else ''}")
        raise


class RunProgress:
    """How far an experiment is.

    Attributes:
        made: runs that were made.
        total: runs that there will be; None if nobody knows yet.

    Args:
        total: as above.
        thing: the word for a run.
        clock: the reader's, in seconds.
        about: as above.
    """

    def __init__(
        self,
        total: int | None = None,
        thing: str = "run",
        clock: Callable[[], float] = time.monotonic,
        *,
        about: bool = False,
    ) -> None:
        self.made = 0
        self.total = total
        self._about = about
        self._thing = thing
        self._said, self._said_at = "", float("-inf")
        self._clock = clock
        self._start = self._last = clock()
        self._drawing: _Drawing | None = None

    @property
    def is_due(self) -> bool:
        """Whether anybody sees it, and what was said is old; else nothing need be worked out."""
        return self._drawing is not None and self._clock() - self._said_at >= _SAID_S

    def done(self, *_run: object) -> None:
        """Count one run; it takes what `Experiment` tells of it, the place and the run."""
        self.made += 1
        if self.total is not None and self.made > self.total:
            # Of an estimate that was too small nothing is left to say.
            self.total = None if self._about else self.made
        self._last = self._clock()
        self._draw()

    def expect(self, total: int, *, about: bool = False) -> None:
        """Say anew how many runs there will be.

        Args:
            total: with those that were made.
            about: it is an estimate, as of a precision.
        """
        self.total, self._about = max(total, self.made), about
        self._draw()

    def say(self, text: str) -> None:
        """Show a text beside the count, such as the half-width so far, in place of the last one."""
        self._said, self._said_at = text, self._clock()
        self._draw()

    def count_words(self) -> str:
        """How many runs of how many: "12 of about 60 runs"."""
        if self.total is None:
            return counted(self.made, self._thing)
        return f"{self.made:,} of {'about ' * self._about}{counted(self.total, self._thing)}"

    def left_s(self) -> float | None:
        """Seconds that the other runs will take, each as long as the mean of those made so far."""
        if self.total is None or not self.made:
            return None
        mean_s = (self._last - self._start) / self.made
        since_s = self._clock() - self._last
        return max(mean_s * (self.total - self.made) - since_s, 0.0)

    def words(self) -> list[str]:
        """All that is shown: the count, what was said, and the time that is left."""
        left = self.left_s()
        parts = [
            self.count_words(),
            self._said,
            "" if left is None else f"{time_words(left)} left",
        ]
        return [part for part in parts if part]

    @contextmanager
    def shown(self) -> Iterator[None]:
        """A context in which it is drawn, if stderr is a terminal."""
        self._drawing = _drawing()
        self._draw()
        try:
            yield
        finally:
            if self._drawing is not None:
                self._drawing.close()
            self._drawing = None

    def _draw(self) -> None:
        if self._drawing is not None:
            self._drawing.draw(self)


def begin_again(rule: Stopping, size: int) -> str:
    """What an interrupt of runs that are not kept says: how to have as many, and to keep them.

    Args:
        rule: when there would have been enough.
        size: what `--replications` has to say for as many; below 2 nothing is said of it.
    """
    from sim.experiments.stopping import Precision

    instead = " instead of --precision" if isinstance(rule, Precision) else ""
    as_many = f"; --replications {size}{instead} ends with as many" if size > 1 else ""
    return (
        "nothing is kept, and the same command begins again"
        f"{as_many}; a sweep (`cellspec sweep`) keeps each run, and goes on"
    )


def runs_ahead(rule: Stopping) -> int:
    """The runs that a rule makes at least, unless it is met by a figure that no run has."""
    from sim.experiments.stopping import LEAST_RUNS, Precision

    if isinstance(rule, Precision):
        return min(LEAST_RUNS, rule.most_runs)
    return rule.next_size(0)


def show_interval(
    progress: RunProgress, found: Mean, rule: Stopping, words: str, each: int = 1
) -> None:
    """Show how sure a figure is so far, and about how many runs there will be.

    Args:
        progress: where it is shown.
        found: the interval that the rule will look at, of the runs so far.
        rule: when there are enough.
        words: what the half-width is, with ``{}`` in its place.
        each: runs that are made for one of those that are counted in `found`.
    """
    from sim.experiments.stopping import FIRST_ROUND, Precision
    from sim.output.uncertain import significant

    if found.relative is not None:
        progress.say(words.format(f"± {significant(100 * found.relative, 2)} %"))
    # Of few runs the interval is so wide that it would promise hours.
    if isinstance(rule, Precision) and found.runs >= FIRST_ROUND:
        wanted = rule.runs_wanted(found)
        if wanted is not None:
            progress.expect(each * min(wanted, rule.most_runs), about=True)


def time_words(seconds: float) -> str:
    """A time to come, no finer than anybody would tell it: "8 s", "3 min", "2 h 10 min"."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60:,} h {minutes % 60} min"


class _Drawing(Protocol):
    """A place on a terminal that shows progress."""

    def draw(self, progress: RunProgress) -> None:
        """Show how far it is now."""

    def close(self) -> None:
        """Leave the place empty."""


def _drawing() -> _Drawing | None:
    line = progress_line()
    if line is None:
        return None
    try:
        return _Bar()
    except ImportError:
        return _Line(line)


class _Line:
    """A line of text, where rich is not installed."""

    def __init__(self, line: ProgressLine) -> None:
        self._line = line

    def draw(self, progress: RunProgress) -> None:
        if self._line.is_due:
            self._line.show("  ".join(progress.words()))

    def close(self) -> None:
        self._line.clear()


class _Bar:
    """A bar by rich, which draws itself anew four times a second."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._progress: RunProgress | None = None
        self._live = Live(
            get_renderable=self._renderable,
            console=Console(file=_Stderr(), force_terminal=True),  # type: ignore[arg-type]
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def draw(self, progress: RunProgress) -> None:
        if self._progress is None:
            self._progress = progress
            self._live.start()

    def close(self) -> None:
        if self._progress is not None:
            self._live.stop()

    def _renderable(self) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        progress = self._progress
        if progress is None:
            return Text("")
        bar = ProgressBar(
            total=progress.total, completed=progress.made, width=24, pulse=progress.total is None
        )
        row = Table.grid(padding=(0, 2))
        row.add_row(bar, *(Text(part, no_wrap=True) for part in progress.words()))
        return row


class _Stderr:
    """Stderr for rich: one that takes nothing ends no command."""

    @property
    def encoding(self) -> str:
        return getattr(sys.stderr, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        say(text, end="")
        return len(text)

    def flush(self) -> None:
        """Do nothing: `say` flushes."""

    def isatty(self) -> bool:
        return True
