"""The engine's own time: what passes before a call starts that could start already.

A scenario says two things of it. ``scheduler: {start_s, end_s}`` is the work of the engine's one
loop, one start or end after the other. A *gap* is time that each start takes, however many others
there are: from the moment at which its inputs and a place are there to its start. A scenario has no
word for a gap, so it is added to the seconds of the calls: a place is held for both.

A trace of the simulator says when the loop had let each call go (``entered``) and when it was
answered, and the loop's time follows to the last digit. Of any other engine, where several starts
were due at once, the time between two of them is the loop's; where none was due before, what is
left is the gap. Both are means of the middle half, which a pause of the machine does not move.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Final

from sim.experiments.calibration.record import Call, Record

__all__ = ["LONG", "Overhead", "overhead_of"]

LONG: Final = 10
"""A start that waits so many times the gap, and longer than `LONG_S`, waits for something else."""

LONG_S: Final = 0.02

_FEWEST = 20
"""Starts that were due together, below which the loop's time is not told from them."""

_FEW = 5
"""Starts of a column that were due alone, below which it has no gap."""

_NOTHING_S = 1e-6
"""A difference of two recorded times below this is none."""


@dataclass(frozen=True, slots=True)
class Overhead:
    """The engine's own time.

    Attributes:
        known: False if the file does not tell since when a call could start.
        start_s: of the loop, for each start.
        end_s: of the loop, for each end.
        exact: the file says when the loop let calls go.
        gaps_s: by column, seconds that each start takes beside.
        starts: how many starts the gaps are from.
        long_starts: how many of them waited for something that the trace does not show.
        long_s: for how many seconds in all.
    """

    known: bool = False
    start_s: float = 0.0
    end_s: float = 0.0
    exact: bool = False
    gaps_s: Mapping[str, float] = field(default_factory=dict)
    starts: int = 0
    long_starts: int = 0
    long_s: float = 0.0


def overhead_of(record: Record) -> Overhead:
    """The engine's own time in a recorded run."""
    calls = sorted(
        (call for call in record.calls if call.free_s is not None), key=lambda call: call.start_s
    )
    if not calls:
        return Overhead()
    looped = [call for call in calls if call.loop_s is not None]
    if looped:
        start_s, end_s = _loop_s(looped)
        return Overhead(True, start_s, end_s, exact=True, starts=len(calls))
    start_s = _between_starts_s(calls)
    gaps: dict[str, list[float]] = {}
    for call in calls:
        assert call.free_s is not None
        if call.free_s >= call.before_s[0] and call.number == 1:
            gaps.setdefault(call.column, []).append(call.start_s - call.free_s)
    found = {
        name: max(0.0, _middle(each) - start_s) for name, each in gaps.items() if len(each) >= _FEW
    }
    all_gaps = [gap for each in gaps.values() for gap in each]
    usual = _middle(all_gaps) if all_gaps else 0.0
    long = [gap for gap in all_gaps if gap > max(LONG * usual, LONG_S)]
    return Overhead(
        True,
        start_s,
        0.0,
        gaps_s={name: gap for name, gap in found.items() if gap > _NOTHING_S},
        starts=len(calls),
        long_starts=len(long),
        long_s=sum(long),
    )


def _loop_s(calls: Sequence[Call]) -> tuple[float, float]:
    """The loop's seconds for a start and for an end, from when it was through with each."""
    steps = []
    for call in calls:
        assert call.loop_s is not None
        entered_s, answered_s = call.loop_s
        steps.append((entered_s, 0, call.start_s))
        steps.append((call.end_s, 1, answered_s))
    found: tuple[list[float], list[float]] = ([], [])
    before_s = 0.0
    for through_s, kind, due_s in sorted(steps):
        found[kind].append(through_s - max(due_s, before_s))
        before_s = through_s
    start_s, end_s = (max(0.0, median(each)) for each in found)
    return tuple(0.0 if each < _NOTHING_S else each for each in (start_s, end_s))  # type: ignore[return-value]


def _between_starts_s(calls: Sequence[Call]) -> float:
    """The time between two starts where the later one and the one before both could start."""
    found = [
        call.start_s - call.before_s[0]
        for call in calls
        if call.free_s is not None and call.free_s < call.before_s[1]
    ]
    if len(found) < _FEWEST:
        return 0.0
    seconds = _middle(found)
    return seconds if seconds > _NOTHING_S else 0.0


def _middle(values: Sequence[float]) -> float:
    """The mean of the middle half."""
    ordered = sorted(values)
    cut = len(ordered) // 4
    return fmean(ordered[cut : len(ordered) - cut])
