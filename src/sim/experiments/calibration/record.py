"""`Record`: what a recorded run shows, whichever file it comes from.

A record is a list of calls, each with its column, its start and its end, and the part of a scenario
that needs no fit: the columns, the limits, how often a call is tried. A trace of a run holds all of
that (`sim.experiments.calibration.from_trace`); a log of requests lacks some of it
(`sim.experiments.calibration.from_log`), and `Record.lacks` says what.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = ["Call", "Ending", "Record", "Source", "most_at_once"]

Ending: TypeAlias = Literal["retryable", "back_pressure", "permanent", "timeout"]
"""How a call failed, in the words of a scenario; a time-out is one that the engine ended."""

Source: TypeAlias = Literal["trace", "litellm", "opentelemetry", "csv"]
"""The kinds of files that a record comes from."""


@dataclass(slots=True)
class Call:
    """One call that ended; times in seconds of the file's clock.

    Attributes:
        column: whose call it is.
        start_s: its start.
        end_s: its end.
        failure: how it failed; None if it ended well.
        number: which call of its node it is, from 1; those that were told to wait count.
        place: its row, the first one of a range, or the number of a barrier's scope.
        ready_s: when its inputs were there; None if the file does not tell.
        free_s: since when it could have started: it was ready, and a place for it was free; None if
            the file does not tell.
        before_s: the two starts before it, of any column, the nearer one first.
        loop_s: when the scheduler had let it go, and when it was answered; None if not recorded.
        reads: rows that it read, of a barrier's call; 0 of any other.
        retry_s: of a call that failed, the seconds to its next try; None if not recorded.
        refused: an endpoint refused it that the file itself describes.
        timed: False of a call that failed if the file does not tell how long it took.
        tokens: of the prompt and of the answer; None where they are not recorded.
        first_token_s: seconds from its start to the first token; None if not recorded.
    """

    column: str
    start_s: float
    end_s: float
    failure: Ending | None = None
    number: int = 1
    place: int = 0
    ready_s: float | None = None
    free_s: float | None = None
    before_s: tuple[float, float] = (0.0, 0.0)
    loop_s: tuple[float, float] | None = None
    reads: int = 0
    retry_s: float | None = None
    refused: bool = False
    timed: bool = True
    tokens: tuple[float | None, float | None] = (None, None)
    first_token_s: float | None = None

    @property
    def seconds(self) -> float:
        """From the start to the end."""
        return self.end_s - self.start_s


@dataclass(slots=True)
class Record:
    """What a file shows of a run.

    Attributes:
        source: the kind of file.
        engine: who wrote it, in words.
        calls: in the order in which they ended.
        scenario: the fields of a scenario that need no fit, as plain data.
        resources: by column that takes one, its resource.
        described: the resources whose endpoints the file itself describes.
        skipped: by column, how many cells its own condition skipped, and of how many.
        makespan_s: from the first event to the last; None if the file has no times of day.
        no_makespan: why `makespan_s` is None, in words; "" if the file just does not tell.
        rows: that the run delivered; None if the file does not tell.
        timed: False if no call has a time; its tokens are all that is known.
        lacks: what the file does not tell, a sentence each.
        left_out: what the file tells and the fit does not take, a sentence each.
    """

    source: Source
    engine: str
    calls: list[Call]
    scenario: dict[str, Any]
    resources: Mapping[str, str]
    described: Collection[str] = ()
    skipped: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    makespan_s: float | None = None
    no_makespan: str = ""
    rows: int | None = None
    timed: bool = True
    lacks: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def of_column(self, column: str) -> list[Call]:
        """The calls of a column."""
        return [call for call in self.calls if call.column == column]

    @property
    def columns(self) -> list[str]:
        """The names of its columns, in the scenario's order."""
        return [item["name"] for item in self.scenario["columns"]]


def most_at_once(calls: Iterable[Call]) -> int:
    """The most calls that were in flight at one moment; at least 1."""
    steps = sorted(
        step for call in calls for step in ((call.start_s, 1), (call.end_s, -1)) if call.seconds
    )
    now = most = 0
    for _, change in steps:
        now += change
        most = max(most, now)
    return max(most, 1)
