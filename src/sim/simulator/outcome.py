"""The counters of a run: its simulator adds them up, and `sim.results` turns them into figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from sim.simulator.endpoint_counts import EndpointOutcome
from sim.simulator.timings import Ages, Waits

__all__ = ["Incarnation", "Outcome"]


@dataclass(slots=True)
class Incarnation:
    """The counts of one incarnation (one run of the process). Times in seconds.

    Attributes:
        claimed_rows: rows that were complete when it began.
        cells_done: cells that got a value.
        cells_lost: of all cells with a value at its crash, those that are to be made again.
        in_flight_lost: calls that ran when it crashed.
        busy_lost_s: worker time of both.
    """

    number: int
    start_s: float
    claimed_rows: int
    end_s: float = 0.0
    crashed: bool = False
    cells_done: int = 0
    cells_lost: int = 0
    in_flight_lost: int = 0
    busy_lost_s: float = 0.0


@dataclass(slots=True)
class Outcome:
    """The counters of one run; `sim.figures` defines them.

    Attributes:
        makespan_s: from the start to the end of the last write, restarts included.
        events: actions taken: starts, completions, emissions, storage, crashes and resumes.
        done: by column, cells that got a value, those done again included.
        calls: by column, calls that started.
        busy_s: by column, seconds of worker time.
        waits: by resource (then the columns without one), how long calls were ready.
        sampled_every: waits and ages are those of every so many rows.
        ages: of rows when they were complete.
        first_row_s: when the first row was complete and stayed so through every crash.
        window_rows: the largest distance from the first unfinished row to a finished cell.
        checkpoints, checkpoint_bytes: written, and durable.
        tried, delivered, dropped: rows.
        made: cells with a value in delivered rows.
        found_rows, found_cells: of those, what the checkpoint held that the run started from.
        spent_crashes: those at an event or a time whose moment came: the field of
            `sim.simulator.plan.CrashPlan`, its value, and whether it struck, or another one did.
        outcome: how the run ended: "success", "stopped" or "interrupted".
        failures: by column, calls that failed, by kind; empty for a plain run.
        rows_dropped: by column, rows given up because of it, as they are at the end.
        skipped: by column, cells of other rows that were skipped, likewise.
        fingerprint: a digest of the order of all completions, of the clock at intervals, at each
            resume and at the end, and of each resume's claim.
        endpoints: what went on behind resources that have one.
        binding: of a run with routes, the seconds by what held it up; see
            `sim.simulator.binding`.
    """

    makespan_s: float = 0.0
    events: int = 0
    cells_done: int = 0
    done: list[int] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    busy_s: list[float] = field(default_factory=list)
    waits: list[Waits] = field(default_factory=list)
    sampled_every: int = 1
    ages: Ages = field(default_factory=Ages)
    first_row_s: float = math.inf
    window_rows: int = 0
    checkpoints: int = 0
    checkpoint_bytes: int = 0
    tried: int = 0
    delivered: int = 0
    dropped: int = 0
    made: int = 0
    found_rows: int = 0
    found_cells: int = 0
    incarnations: list[Incarnation] = field(default_factory=list)
    spent_crashes: list[tuple[str, float, bool]] = field(default_factory=list)
    outcome: str = "success"
    failures: list[dict[str, int]] = field(default_factory=list)
    rows_dropped: list[int] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    fingerprint: str = ""
    endpoints: list[EndpointOutcome] = field(default_factory=list)
    binding: Mapping[str, float] | None = None

    def down(self) -> list[tuple[float, float]]:
        """From each crash to its resume, in seconds: the process was not there."""
        return [(one.end_s, then.start_s) for one, then in pairwise(self.incarnations)]

    @property
    def wait_s(self) -> list[float]:
        """By resource (then the columns without one), the sum of the waits."""
        return [item.total_s for item in self.waits]
