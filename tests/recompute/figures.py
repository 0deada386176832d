"""The figures of a run, worked out from its trace by what simulations/figures.md says they are.

Nothing here knows the simulator or the machine: it is plain arithmetic on what `history` read.
Where the page says that a figure follows from the scenario too, that is given beside. It is written
to be compared with the page sentence by sentence, and not to be fast.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any, TypeAlias

from tests.recompute.chains import CHAIN_PARTS, chain, giving_call
from tests.recompute.endpoints import endpoint_figures
from tests.recompute.history import Call, Cell, Claim, History, Incarnation

__all__ = ["NOT_FIGURES", "Figures", "count_figures", "differences", "figure_of", "recompute"]

Figures: TypeAlias = dict[str, Any]

NOT_FIGURES = frozenset(("scenario_digest", "checked", "verdict", "fingerprint", "notes"))
"""What a result holds that no trace tells."""

SAMPLED_CELLS, KEPT_CALLS = 200_000, 1_048_576
TOLERANCE = 1e-9


def recompute(scenario: dict[str, Any], history: History) -> Figures:
    """Every figure of a run, under the keys of the JSON that it prints."""
    return _Recompute(scenario, history).figures()


def differences(printed: Figures, worked_out: Figures) -> list[str]:
    """Where the two say something else, each as one line."""
    shown = {key: value for key, value in printed.items() if key not in NOT_FIGURES}
    return list(_compare("", shown, worked_out))


def count_figures(worked_out: Any) -> int:
    """How many single values there are to compare."""
    if isinstance(worked_out, dict):
        return sum(map(count_figures, worked_out.values()))
    if isinstance(worked_out, list):
        return sum(map(count_figures, worked_out))
    return 1


def figure_of(difference: str) -> str:
    """The figure that a difference is about, without the positions in lists."""
    return re.sub(r"\[\d+\]", "", difference.partition(":")[0])


def _compare(path: str, printed: Any, worked_out: Any) -> Iterable[str]:
    if isinstance(printed, dict) and isinstance(worked_out, dict):
        for key in dict.fromkeys((*printed, *worked_out)):
            where = f"{path}.{key}".removeprefix(".")
            if key not in worked_out:
                yield f"{where}: printed {printed[key]!r}, and has no definition here"
            elif key not in printed:
                yield f"{where}: not printed, worked out as {worked_out[key]!r}"
            else:
                yield from _compare(where, printed[key], worked_out[key])
    elif isinstance(printed, list) and isinstance(worked_out, list):
        if len(printed) != len(worked_out):
            yield f"{path}: printed {len(printed)} items, worked out {len(worked_out)}"
        for place, pair in enumerate(zip(printed, worked_out, strict=False)):
            yield from _compare(f"{path}[{place}]", *pair)
    elif not _equal(printed, worked_out):
        yield f"{path}: printed {printed!r}, worked out as {worked_out!r}"


def _equal(printed: Any, worked_out: Any) -> bool:
    """Sums may have been added in another order; counts are exact."""
    numbers = (int, float)
    if isinstance(printed, bool) or not isinstance(printed, numbers):
        return type(printed) is type(worked_out) and bool(printed == worked_out)
    if isinstance(worked_out, bool) or not isinstance(worked_out, numbers):
        return False
    if isinstance(printed, int) and isinstance(worked_out, int):
        return printed == worked_out
    return math.isclose(printed, worked_out, rel_tol=TOLERANCE, abs_tol=1e-12)


def _over(part: float, whole: float) -> float | None:
    """A share or a rate; of nothing there is none."""
    return part / whole if whole else None


def _percentile(values: Iterable[float], p: int) -> float | None:
    ordered = sorted(values)
    return ordered[-(-p * len(ordered) // 100) - 1] if ordered else None


def _ranges(rows: Iterable[int]) -> list[list[int]]:
    """Rows as [first, after the last] of each run of neighbours."""
    found: list[list[int]] = []
    for row in sorted(rows):
        if found and found[-1][1] == row:
            found[-1][1] = row + 1
        else:
            found.append([row, row + 1])
    return found


class _Recompute:
    def __init__(self, scenario: dict[str, Any], history: History) -> None:
        self.scenario, self.history = scenario, history
        self.incarnations, self.columns = history.incarnations, history.columns
        self.last = history.incarnations[-1]
        self.makespan = self.last.end_s
        self.calls = [
            (incarnation, call) for incarnation in self.incarnations for call in incarnation.calls
        ]
        self.workers: int = history.limits["workers"]
        self.looked_at = self.sampled_calls()
        # At each crash, what the resume that follows did not keep.
        pairs = pairwise(self.incarnations)
        self.lost = {before.number: self.lost_values(before, after) for before, after in pairs}

    def figures(self) -> Figures:
        return {
            **self.about(),
            **self.rows(),
            **self.work(),
            **self.crashes(),
            "by_resource": self.by_resource(),
            "by_column": [self.by_column(name) for name in self.columns],
            "row_time": self.row_time(),
            "incarnations": [self.incarnation(incarnation) for incarnation in self.incarnations],
            "failures": self.failures(),
            **endpoint_figures(self.scenario, self.history),
        }

    def about(self) -> Figures:
        rows, columns = self.history.rows, len(self.columns)
        return {
            "name": self.scenario["name"],
            "seed": self.history.header["seed"],
            "policy": self.scenario["policy"],
            "rows": rows,
            "columns": columns,
            "cells": rows * columns,
            "workers": self.workers,
            "crashes_planned": self.planned(),
        }

    def planned(self) -> int | None:
        """How many crashes the scenario asks for; none is a number of them without end."""
        found = 0
        for crash in self.scenario.get("crashes", ()):
            count = crash["random"].get("count") if "random" in crash else 1
            if count is None:
                return None
            found += count
        return found

    # Rows

    def rows(self) -> Figures:
        last, every = self.last, range(self.history.rows)
        delivered = self.delivered()
        made = sum(last.has_value((name, row)) for row in delivered for name in self.columns)
        found = self.history.found
        cells_found = sum(row in found[name] for row in delivered for name in self.columns)
        rows_found = sum(all(row in rows for rows in found.values()) for row in delivered)
        ages = self.ages()
        return {
            "makespan_s": self.makespan,
            "outcome": last.outcome,
            "rows_tried": sum(map(self.is_tried, every)),
            "rows_delivered": len(delivered),
            "rows_dropped": sum(last.is_dropped(row) for row in every),
            "cells_made": made,
            "rows_per_s": _over(len(delivered) - rows_found, self.makespan),
            "cells_per_s": _over(made - cells_found, self.makespan),
            "first_row_s": self.first_row() if delivered else None,
            **{f"row_age_p{p}_s": _percentile(ages, p) for p in (50, 95, 99)},
            "row_age_mean_s": _over(math.fsum(ages), len(ages)),
            "window_rows": self.window(),
            "sampled_every": self.every_n(),
        }

    def delivered(self) -> list[int]:
        """Rows that are not dropped and durable in every column at the end."""
        return [
            row
            for row in range(self.history.rows)
            if not self.last.is_dropped(row)
            and all(row in self.last.durable[name] for name in self.columns)
        ]

    def is_tried(self, row: int) -> bool:
        if self.last.outcome == "interrupted":
            return all(self.last.is_resolved((name, row)) for name in self.columns)
        started = any(row in call.rows for _, call in self.calls)
        return started or any(
            (name, row) in incarnation.skipped
            for incarnation in self.incarnations
            for name in self.columns
        )

    def first_row(self) -> float | None:
        """Since when, without a gap to the end, a row is complete with all before it."""
        since = None
        for step in self.history.steps:
            incarnation = self.history.numbered(step.incarnation)
            if all(
                self.was_dropped_by(incarnation, row, step.t) for row in range(step.finished_rows)
            ):
                since = None
            elif since is None:
                since = step.t
        return since

    def was_dropped_by(self, incarnation: Incarnation, row: int, t: float) -> bool:
        return row in incarnation.restored_drops or (
            row in incarnation.dropped and incarnation.dropped[row][1] <= t
        )

    def working(self) -> list[str]:
        taking = [name for name, column in self.columns.items() if column.resource is not None]
        return taking or list(self.columns)

    def first_start(self, row: int) -> float | None:
        """When a cell of a working column was first started in a row."""
        working = self.working()
        starts = (
            call.start_s
            for _, call in self.calls
            if call.scope is None and call.column in working and row in call.rows
        )
        return min(starts, default=None)

    def aged(self) -> list[tuple[int, float]]:
        """Each row that has an age, and when it began."""
        rows = filter(self.in_sample, self.delivered())
        found = ((row, self.first_start(row)) for row in rows)
        return [(row, begin) for row, begin in found if begin is not None]

    def ages(self) -> list[float]:
        return [
            max(self.last.since_s((name, row)) for name in self.columns) - begin
            for row, begin in self.aged()
        ]

    def row_time(self) -> list[Figures]:
        """The parts of the chains of the same rows."""
        ages, found = math.fsum(self.ages()), []
        chains = [chain(self.scenario, self.history, row, begin) for row, begin in self.aged()]
        for part in CHAIN_PARTS:
            total = math.fsum(seconds[part] for seconds in chains)
            if total > 0:
                shares = {"mean_s": total / len(chains), "share": _over(total, ages)}
                found.append({"part": part, **shares})
        return found

    def call_times(self, name: str) -> Figures:
        """How long the calls took that gave the cells of a column."""
        taken = []
        for row in self.delivered():
            call = giving_call(self.history, (name, row)) if self.in_sample(row) else None
            if call is not None:
                taken.append(self.last.since_s((name, row)) - call.start_s)
        return {f"call_p{p}_s": _percentile(taken, p) for p in (50, 95, 99)}

    def window(self) -> int:
        working = self.working()
        distances = [
            row + 1 - step.finished_rows
            for step in self.history.steps
            for name, row in step.given
            if name in working
        ]
        return max([0, *distances])

    def every_n(self) -> int:
        cells = self.history.rows * len(self.columns)
        if cells <= SAMPLED_CELLS:
            return 1
        n = -(-cells // SAMPLED_CELLS)
        while n < 2 or any(n % d == 0 for d in range(2, n)):
            n += 1
        return n

    def in_sample(self, row: int) -> bool:
        return row % self.every_n() == 0

    def sampled_calls(self) -> list[tuple[Incarnation, Call]]:
        """The calls whose waits are looked at, in the order of their start."""
        found = [
            (incarnation, call)
            for incarnation, call in self.calls
            if call.scope is None and self.in_sample(call.rows[0])
        ]
        while len(found) > KEPT_CALLS:
            found = found[::2]
        return found

    # Work

    def busy(self, calls: Iterable[tuple[Incarnation, Call]]) -> float:
        return math.fsum(
            (incarnation.end_s if call.end_s is None else call.end_s) - call.start_s
            for incarnation, call in calls
        )

    def cells_done(
        self, columns: Iterable[str], incarnations: Sequence[Incarnation] | None = None
    ) -> int:
        wanted = set(columns)
        return sum(
            name in wanted
            for incarnation in (incarnations or self.incarnations)
            for name, _ in incarnation.made
        )

    def work(self) -> Figures:
        busy = self.busy(self.calls)
        checkpoints = [
            claim for incarnation in self.incarnations for claim, _ in incarnation.claims_durable
        ]
        return {
            "checkpoints": len(checkpoints),
            "checkpoint_bytes": sum(map(self.payload_length, checkpoints)),
            "events": len(self.history.steps),
            "calls": len(self.calls),
            "worker_busy_s": busy,
            "worker_utilisation": _over(busy, self.workers * self.makespan),
            "mean_in_flight": _over(busy, self.makespan),
            "cells_done": self.cells_done(self.columns),
        }

    def payload_length(self, claim: Claim) -> int:
        saved = self.scenario.get("checkpoint")
        version = self.least_version() if saved is None else saved.get("version", 1)
        ranges = {name: _ranges(rows) for name, rows in claim.items()}
        first = {
            name: found[0][1] if found and found[0][0] == 0 else 0 for name, found in ranges.items()
        }
        payload: Figures = {"version": version, "completed_rows": min(first.values())}
        if version > 1:
            # A fingerprint has 32 characters, whatever they are.
            payload |= {"column_rows": first if version == 2 else ranges, "graph": "f" * 32}
        return len(json.dumps(payload))

    def least_version(self) -> int:
        """Of the checkpoint that a run writes which states none: it holds what the run found."""
        found = [_ranges(rows) for rows in self.incarnations[0].claim.values()]
        if any(len(ranges) > 1 or (ranges and ranges[0][0]) for ranges in found):
            return 3
        return 1 if all(ranges == found[0] for ranges in found) else 2

    # Crashes

    def lost_values(self, incarnation: Incarnation, after: Incarnation) -> list[Cell]:
        kept = [cell for cell, (what, _) in incarnation.restored.items() if what == "made"]
        return [
            cell
            for cell in (*incarnation.made, *kept)
            if cell not in after.restored and cell[1] not in after.restored_drops
        ]

    def lost_s(self, incarnation: Incarnation) -> float:
        """The busy time of workers that the crash at the end of an incarnation lost."""
        if incarnation.number not in self.lost:
            return 0.0
        claim = self.history.numbered(incarnation.number + 1).claim
        running = [
            incarnation.end_s - call.last_s for call in incarnation.calls if call.outcome == "lost"
        ]
        values = [incarnation.cost_s.get(cell, 0.0) for cell in self.lost[incarnation.number]]
        barriers = [
            call.end_s - call.start_s
            for call in incarnation.calls
            if call.scope is not None
            and call.outcome == "complete"
            and call.end_s is not None
            and not claim[call.column].issuperset(call.rows)
        ]
        return math.fsum((*running, *values, *barriers))

    def in_flight_lost(self, incarnation: Incarnation) -> int:
        return sum(call.outcome == "lost" for call in incarnation.calls)

    def crashes(self) -> Figures:
        lost_s = math.fsum(map(self.lost_s, self.incarnations))
        again, done = sum(map(len, self.lost.values())), self.cells_done(self.columns)
        return {
            "busy_lost_s": lost_s,
            "busy_lost_share": _over(lost_s, self.busy(self.calls)),
            "crashes": sum(incarnation.ended_by == "crash" for incarnation in self.incarnations),
            "cells_done_again": again,
            "cells_done_again_share": _over(again, done),
            "in_flight_lost": sum(map(self.in_flight_lost, self.incarnations)),
        }

    def incarnation(self, incarnation: Incarnation) -> Figures:
        claimed = 0
        if incarnation.number:
            # The step of its resume: the first one that belongs to it.
            claimed = next(
                s.finished_rows for s in self.history.steps if s.incarnation == incarnation.number
            )
        return {
            "incarnation": incarnation.number,
            "start_s": incarnation.start_s,
            "end_s": incarnation.end_s,
            "ended_by": incarnation.ended_by,
            "claimed_rows": claimed,
            "cells_done": self.cells_done(self.columns, [incarnation]),
            "cells_lost": len(self.lost.get(incarnation.number, ())),
            "in_flight_lost": self.in_flight_lost(incarnation),
            "busy_lost_s": self.lost_s(incarnation),
        }

    # Waits

    def by_resource(self) -> list[Figures]:
        limits: dict[str, int] = self.history.limits["resources"]
        found = [self.of_resource(name, limits[name]) for name in limits]
        if any(column.resource is None for column in self.columns.values()):
            found.append(self.of_resource(None, None))
        return found

    def of_resource(self, resource: str | None, limit: int | None) -> Figures:
        mine = {
            name: column.places.get(resource or "", 1)
            for name, column in self.columns.items()
            if resource in (column.places or (None,))
        }
        calls = [(incarnation, call) for incarnation, call in self.calls if call.column in mine]
        cells = [name for name in mine if not self.columns[name].scope_rows]
        of_column = ([one for one in calls if one[1].column == name] for name in mine)
        busy = math.fsum(
            n * self.busy(own) for n, own in zip(mine.values(), of_column, strict=True)
        )
        waits = [
            (call.start_s, call.start_s - self.ready_s(incarnation, call))
            for incarnation, call in self.looked_at
            if call.column in mine
        ]
        seconds = [wait for _, wait in waits]
        quarters = [[w for t, w in waits if self.quarter(t) == q] for q in range(4)]
        return {
            "resource": resource,
            "limit": limit,
            "calls": len(calls),
            "cells_done": self.cells_done(cells),
            "busy_s": busy,
            "utilisation": None if limit is None else _over(busy, limit * self.makespan),
            "mean_in_flight": _over(busy, self.makespan),
            "wait_calls": len(waits),
            "wait_s": math.fsum(seconds),
            "mean_wait_s": _over(math.fsum(seconds), len(seconds)),
            **{f"wait_p{p}_s": _percentile(seconds, p) for p in (50, 95, 99)},
            **{
                f"mean_wait_q{q + 1}_s": _over(math.fsum(quarters[q]), len(quarters[q]))
                for q in range(4)
            },
        }

    def quarter(self, t: float) -> int:
        if t >= self.makespan:
            return 3
        return math.floor(4 * Fraction(t) / Fraction(self.makespan))

    def ready_s(self, incarnation: Incarnation, call: Call) -> float:
        """Since when the first cell of a call could have started."""
        column, row = self.columns[call.column], call.rows[0]
        times = [incarnation.start_s]
        times += [incarnation.resolved_s((need, row)) for need in column.needs]
        times += [t for rows, t in incarnation.admitted if row in rows]
        if column.ordered:
            times += [incarnation.resolved_s((column.name, earlier)) for earlier in range(row)]
        if call.backoff_end_s is not None:
            times.append(call.backoff_end_s)
        return max(times)

    # Columns

    def by_column(self, name: str) -> Figures:
        calls = [(incarnation, call) for incarnation, call in self.calls if call.column == name]
        busy, done = self.busy(calls), self.cells_done([name])
        return {
            "column": name,
            "resource": self.columns[name].resource,
            "barrier": bool(self.columns[name].scope_rows),
            "calls": len(calls),
            "cells_done": done,
            "busy_s": busy,
            "busy_s_per_cell": _over(busy, done),
            **self.call_times(name),
        }

    def failures(self) -> list[Figures]:
        columns: list[Figures] = self.scenario["columns"]
        plain = (
            "failures" not in self.scenario
            and "accept" not in self.scenario
            and "arrivals" not in self.scenario
            and "row_groups" not in self.scenario["limits"]
            and not any(c.get("skip_rate") or c.get("range_rows", 1) > 1 for c in columns)
        )
        return [] if plain else [self.failures_of(name) for name in self.columns]

    def failures_of(self, name: str) -> Figures:
        kinds = [
            "retryable" if kind == "timeout" else kind
            for incarnation in self.incarnations
            for column, kind, _ in incarnation.failures
            if column == name
        ]
        last, every = self.last, range(self.history.rows)
        return {
            "column": name,
            **{kind: kinds.count(kind) for kind in ("retryable", "backpressure", "permanent")},
            "rows_dropped": sum(
                last.is_dropped(row) and last.drop_causes[row] == name for row in every
            ),
            "skipped": sum(
                last.was_skipped((name, row)) and not last.is_dropped(row) for row in every
            ),
        }
