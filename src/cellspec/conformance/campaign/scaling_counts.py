"""Counted runs: one workload with more and more rows, under the line counter."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise

from cellspec.conformance.campaign.scaling_limits import Part, Scaling
from cellspec.conformance.campaign.scaling_shapes import HISTORY, Shape, grown
from cellspec.conformance.judge.evidence import Evidence
from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.backend import Backend, fit_of
from cellspec.conformance.run.line_counter import LineCounter, Metered
from cellspec.conformance.run.workload import Workload

__all__ = [
    "FEWER_TIMES",
    "LINES_MAX",
    "TIMES",
    "CountedRuns",
    "OtherViolation",
    "Unjudgeable",
    "measured",
]

TIMES = (1, 4, 16)
"""How many times its rows a shape is run with."""
FEWER_TIMES = (1, 2, 8)
"""The same, for an engine that would take too long over more."""
LINES_MAX = 10_000_000
"""Lines of one run above which fewer rows are taken: about ten seconds."""
_SAME = 1.02
"""How far two counts of one workload may be apart: a cache of the engine may fill once."""
_EARLY, _LATE = (0.1, 0.3), (0.7, 0.9)
"""The parts of the last column between which history is compared."""
_CPU_RUNS = 2


class Unjudgeable(Exception):  # noqa: N818 - it is no error of anybody's
    """The shape cannot judge this engine; the text is the reason."""


class OtherViolation(Exception):  # noqa: N818 - a message between modules of the campaign
    """A run broke a clause that is about something else than cost."""

    def __init__(self, result: RunResult) -> None:
        self.result = result


class CountedRuns:
    """Runs one workload with more and more rows under the line counter, and keeps the evidence.

    Args:
        backend: the engine.
        work: the workload, with the fewest rows.
        waive: clauses to leave unjudged.
        evidence: counts the runs.
    """

    def __init__(
        self, backend: Backend, work: Workload, waive: Collection[str], evidence: Evidence
    ) -> None:
        self.work = work
        self._backend = backend
        self._waive = tuple(waive)
        self._evidence = evidence
        self._fit = fit_of(backend)
        # Imports and caches on first use are in this run alone.
        self.base, _ = self.run(1)
        self._counters = {1: self.run(1)[1]}
        self.expect_same(self._counters[1], self.run(1)[1])

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many times its rows the workload is run with: fewer, if that took too long."""
        one, four = self.line_counter(1).lines, self.line_counter(4).lines
        # As the work grew from 1 to 4, so it is expected to grow from 4 to 16.
        return TIMES if four * four <= LINES_MAX * one else FEWER_TIMES

    def line_counter(self, times: int) -> LineCounter:
        """The count of a run with so many times the rows; the run is made once."""
        if times not in self._counters:
            self._counters[times] = self.run(times)[1]
        return self._counters[times]

    def run(self, times: int, at: tuple[int, ...] = ()) -> tuple[RunResult, LineCounter]:
        """One run, with so many times the rows; `at` is that of `LineCounter`."""
        line_counter = LineCounter(at)
        result = self._run(Metered(self._backend, line_counter), times)
        evidence = self._evidence
        evidence.workloads += 1
        evidence.incarnations += 1
        evidence.events += len(result.events)
        evidence.graphs.add(repr(result.work.columns))
        order = [(event["event"], event.get("column")) for event in result.events]
        evidence.traces.add(repr(order))
        return result, line_counter

    def expect_same(self, one: LineCounter, other: LineCounter) -> None:
        """Note it if two counts of one workload differ."""
        self._evidence.repeated += 1
        few, many = sorted((one.lines, other.lines))
        if many > _SAME * few and not self._evidence.unequal:
            self._evidence.unequal = (
                f"{one.lines:,} lines of work in the first, {other.lines:,} in the second"
            )

    def cpu_ratio(self) -> float:
        """CPU time of an event with the most rows, divided by that with fewer."""
        few, many = (self._cpu_each(times) for times in self.sizes[-2:])
        return many / few if few else 0.0

    def _cpu_each(self, times: int) -> float:
        """Seconds of CPU for an event, without the line counter: the best of a few runs."""
        costs = [self._run(self._backend, times).cost for _ in range(_CPU_RUNS)]
        return min(cost.cpu_s / max(cost.events, 1) for cost in costs)

    def _run(self, backend: Backend, times: int) -> RunResult:
        asked = self._fit(grown(self.work, times))
        if asked is None:
            raise Unjudgeable("the engine cannot be asked for such a workload")
        result = run_workload(backend, asked, waive=self._waive)
        if result.violations:
            raise OtherViolation(result)
        if result.refused:
            raise Unjudgeable(f"the engine refuses such a workload: {result.refused}")
        return result


def _by_rows(clause: str, what: str, counts: CountedRuns) -> Scaling:
    """The lines that the rows from one size to the next add."""
    parts = []
    for few, many in pairwise(counts.sizes):
        one, other = counts.line_counter(few), counts.line_counter(many)
        events = len(other.marks) - len(one.marks)
        if events <= 0:
            raise Unjudgeable("the engine's runs do not grow with rows")
        before, after = one.by_function(), other.by_function()
        added = {name: lines - before.get(name, 0) for name, lines in after.items()}
        rows = counts.work.rows
        about = f"from {few * rows} to {many * rows} rows"
        parts.append(Part(about, other.lines - one.lines, events, added))
    return Scaling(clause, what, parts[0], parts[1])


def _by_history(clause: str, what: str, counts: CountedRuns) -> Scaling:
    """The work of an event, late and early in one run."""
    times = counts.sizes[-1]
    result, line_counter = counts.run(times)
    ends = _ends_of_last_column(result)
    windows = [[ends[int(share * len(ends))] for share in ab] for ab in (_EARLY, _LATE) if ends]
    if not windows or any(start >= stop for start, stop in windows):
        raise Unjudgeable("the engine's runs are too short")
    _, again = counts.run(times, tuple(event for window in windows for event in window))
    counts.expect_same(line_counter, again)
    parts = []
    for when, (start, stop) in zip(("early", "late"), windows, strict=True):
        if not again.noted.keys() >= {start, stop}:
            raise Unjudgeable("two runs of one workload differ")
        before, after = again.noted[start], again.noted[stop]
        added = {name: lines - before.get(name, 0) for name, lines in after.items()}
        about = f"{when} in a run of {times * counts.work.rows} rows"
        parts.append(Part(about, sum(added.values()), stop - start, added))
    return Scaling(clause, what, parts[0], parts[1])


def _ends_of_last_column(result: RunResult) -> list[int]:
    """The numbers, from 1, of the events that complete a cell of the last column."""
    last = result.work.graph().column_names[-1]
    return [
        number
        for number, event in enumerate(result.events, 1)
        if event["event"] == "complete" and event["column"] == last
    ]


def measured(shape: Shape, counts: CountedRuns) -> Scaling:
    """Run a shape, and count the lines for an event at two sizes, or early and late in one run.

    Raises:
        OtherViolation: a run breaks another clause.
        Unjudgeable: the engine refuses the shape, its runs do not grow or are too short, or two
            runs of one workload differ.
    """
    measure = _by_history if shape.clause == HISTORY else _by_rows
    return measure(shape.clause, shape.what, counts)
