"""Cost: does what an event costs grow, with rows, with history, with a queue, behind a barrier?

An engine that looks at every row whenever something happens is right, and at ten thousand rows it
is of no use. Timing it says little on a busy machine; so work is *counted*
(`cellspec.conformance.run.line_counter`), on a few small workloads of which each grows in one
respect alone:

=========  ========  ===============================================================================
clause     shape     what grows
=========  ========  ===============================================================================
COST-02    history   within one run, the events so far; the queue gets shorter
COST-01    crowd     the rows, and the calls in flight; nothing waits in line
COST-01    wide      the rows; row groups keep few of them in flight and in line
COST-01    failures  the same, with calls that fail and rows that are dropped
COST-01    saves     the same, with a checkpoint every few rows
COST-03    queue     ready nodes whose resource is used up, while others go past them
COST-04    barrier   the rows that a barrier waits for
=========  ========  ===============================================================================

They are judged in this order: what grows in one respect is told of that one. An engine that knows
no row groups is asked for all rows at once; there a queue shows as COST-01.

*By ratio.* A shape is run with 25, 100 and 400 rows. What the rows from 25 to 100 add is divided by
the events that they add, and so is what the rows from 100 to 400 add; what a run costs once, and
never again, is in neither. An engine whose cost per event is constant has a ratio of 1, one with a
heap up to about 1.3 (the logarithm of four times as many), one that looks at all rows each time
tends to 4. History is judged within the run of 400 rows: the work of an event when most of the last
column is done, by that when little of it is. An event costs too much if its whole work grows more
than a logarithm does (`LIMIT`), or if single functions do that an event calls (`FUNCTION_LIMIT`): a
search through all rows is small at first beside what else a large engine does, and is what is left
in the end.

*Once more.* One shape is run twice; if the counts differ, nothing can be said.

An engine whose calls are made in other threads or processes, or whose time is real, is not judged:
how often it looks whether there is something to do is then a matter of the machine.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from cellspec.check.checker import Finding
from cellspec.conformance.campaign.failures import Campaign, failure_of
from cellspec.conformance.judge.evidence import Evidence
from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.backend import Backend, fit_of
from cellspec.conformance.run.line_counter import LineCounter, Metered
from cellspec.conformance.run.workload import Fault, Workload
from cellspec.errors import SpecError
from cellspec.graph.columns import ColumnDescriptor, ExecutionTraits
from cellspec.machine.limits import FailurePolicy, Limits

__all__ = [
    "COST_CLAUSES",
    "COST_PROFILE",
    "LIMIT",
    "SHAPES",
    "CostCampaign",
    "Growth",
    "Part",
    "Shape",
    "function_text",
    "grown",
    "growth_text",
    "judge_cost",
    "rounded",
    "run_cost_campaign",
]

COST_PROFILE = "counted_work"
"""The capability that is claimed to be judged by what this module counts."""

TIMES = (1, 4, 16)
"""How many times its rows a shape is run with."""

FEWER_TIMES = (1, 2, 8)
"""The same, for an engine that would take too long over more."""

LINES_MAX = 10_000_000
"""Lines of one run above which fewer rows are taken: about ten seconds."""

LIMIT = 1.5
"""From this ratio on an event costs too much: for four times as many rows the logarithm grows 1.3
times, the square root 2 times."""

FUNCTION_LIMIT = 2.5
"""From this ratio on a function is said to grow: more than a square root, and more than what comes
of another mix of events."""

FUNCTION_LINES = 10
"""What a function that grows must add to an event to be told of, in lines: with a thousand times
the rows it is a thousand times that."""

_SAME = 1.02
"""How far two counts of one workload may be apart: caches of the engine's may fill once."""

_EARLY, _LATE = (0.1, 0.3), (0.7, 0.9)
"""The parts of the last column between which history is compared."""

NOT_COUNTED = (
    "the engine's work cannot be counted: its run is no coroutine in virtual time, and how often "
    "it looks for work is a matter of the machine"
)

HISTORY = "COST-02"
"""The clause that is judged within one run."""

_CULPRITS = 3
_CPU_RUNS = 2
_BASE_ROWS = 25


# Shapes


@dataclass(frozen=True)
class Shape:
    """A workload that is grown, and the clause that it speaks for.

    Attributes:
        name: one word.
        clause: the clause's number.
        what: what grows, in words that end "an event costs more …".
        work: the workload, with the fewest rows.
        needs: what an engine must claim to be asked for it.
    """

    name: str
    clause: str
    what: str
    work: Workload
    needs: frozenset[str] = frozenset()

    def asked_of(self, claims: Collection[str]) -> Workload:
        """The workload without what the engine has no notion of."""
        limits = self.work.limits
        if "groups" not in claims:
            limits = replace(limits, group_rows=None, groups=None)
        return self.work.replace(limits=limits)


def _cells(*needs: str) -> tuple[ColumnDescriptor, ...]:
    """Columns by name, each with the names of what it needs: ``"c<ab"``."""
    made = []
    for text in needs:
        name, _, needed = text.partition("<")
        made.append(ColumnDescriptor(name, dependencies=list(needed)))
    return tuple(made)


# Some engines make a column that needs nothing in one call; so a barrier needs one that does not.
_GATE = (
    *_cells("a", "b<a"),
    ColumnDescriptor("v", traits=ExecutionTraits.BARRIER, dependencies=["b"]),
    ColumnDescriptor("c", dependencies=["v"]),
)
_FEW = Limits(workers=8, group_rows=5, groups=3)
_WITH_ROWS = "with more rows"

SHAPES: tuple[Shape, ...] = (
    Shape(
        "history",
        "COST-02",
        "the more events there were",
        Workload(_cells("a", "b<a"), rows=_BASE_ROWS, limits=Limits(workers=4)),
    ),
    Shape(
        "crowd",
        "COST-01",
        _WITH_ROWS,
        Workload(_cells("a", "b<a"), rows=_BASE_ROWS, latency_s={"a": 60.0, "b": 60.0}),
    ),
    Shape(
        "wide",
        "COST-01",
        _WITH_ROWS,
        Workload(_cells("a", "b<a", "c<a", "d<a", "e<bcd"), rows=_BASE_ROWS, limits=_FEW),
    ),
    Shape(
        "failures",
        "COST-01",
        _WITH_ROWS,
        Workload(
            _cells("a", "b<a"),
            rows=_BASE_ROWS,
            limits=_FEW,
            failures=FailurePolicy(2),
            faults=(
                *(Fault("b", row) for row in range(0, _BASE_ROWS, 5)),
                *(Fault("a", row, failure="permanent") for row in range(3, _BASE_ROWS, 10)),
            ),
        ),
        frozenset(("retries", "drops")),
    ),
    Shape(
        "saves",
        "COST-01",
        _WITH_ROWS,
        Workload(_cells("a", "b<a"), rows=_BASE_ROWS, limits=_FEW, checkpoint_every_rows=5),
        frozenset(("resume",)),
    ),
    Shape(
        "queue",
        "COST-03",
        "the longer the queue is of what cannot start",
        Workload(
            _cells("a", "b<a", "c<a"),
            rows=_BASE_ROWS,
            limits=Limits(resources={"r": 1, "s": 1}, column_resource={"b": "r", "c": "s"}),
            latency_s={"b": 8.0},
        ),
    ),
    Shape(
        "barrier",
        "COST-04",
        "the more rows a barrier waits for",
        Workload(_GATE, rows=_BASE_ROWS, limits=Limits(workers=8)),
    ),
)
"""What is run, in the order in which it is judged."""

COST_CLAUSES: frozenset[str] = frozenset(shape.clause for shape in SHAPES)
"""The clauses about cost."""


def grown(work: Workload, times: int) -> Workload:
    """The workload with so many times its rows; what fails and what is skipped comes as often."""
    barriers = {rule.name for rule in work.graph().rules.columns if rule.is_barrier}
    return work.replace(
        rows=work.rows * times,
        faults=tuple(
            replace(fault, position=fault.position + block * work.rows)
            for block in range(times)
            for fault in work.faults
            if block == 0 or fault.column not in barriers
        ),
        skips=tuple(
            (column, row + block * work.rows)
            for block in range(times)
            for column, row in work.skips
        ),
    )


# Counts


@dataclass(frozen=True)
class Part:
    """A part of a run, or what one run adds to another: so much work for so many events."""

    about: str
    lines: int
    events: int
    by_function: Mapping[str, int]

    @property
    def each(self) -> float:
        """Lines for an event."""
        return self.lines / self.events

    def of(self, name: str) -> float:
        """Lines of one function for an event."""
        return self.by_function.get(name, 0) / self.events


@dataclass(frozen=True)
class Growth:
    """What an event costs before and after something grew.

    Attributes:
        clause: the clause that it is judged by.
        what: what grew, as in `Shape`.
        before, after: the two parts that are compared.
        cpu_ratio: what an event costs in CPU time with the most rows, by what it costs with a
            quarter of them: a figure to look at, and never a reason to say that a clause is broken.
            0 if that was not measured.
    """

    clause: str
    what: str
    before: Part
    after: Part
    cpu_ratio: float = 0.0

    @property
    def ratio(self) -> float:
        """How many times as much an event costs."""
        return self.after.each / self.before.each if self.before.lines else 1.0

    @property
    def is_too_much(self) -> bool:
        """True if an event, or a function that it calls, costs more than it may."""
        return self.ratio >= LIMIT or bool(self.growing)

    @property
    def function_ratio(self) -> float:
        """How many times as much an event costs in the function that grows worst; 0 without one."""
        worst = next(iter(self.growing), "")
        return self.after.of(worst) / self.before.of(worst) if worst else 0.0

    @property
    def growing(self) -> dict[str, float]:
        """The functions that grow, each with the lines that it adds to an event, the worst first.

        One that an event with few rows never called is none: it was switched on, and may not grow.
        """
        found = {}
        for name in self.after.by_function:
            few, many = self.before.of(name), self.after.of(name)
            if many - few >= FUNCTION_LINES and 0 < FUNCTION_LIMIT * few <= many:
                found[name] = many - few
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def finding(self) -> Finding:
        """What broke the clause, and the functions to look at."""
        before, after = self.before, self.after
        detail = (
            f"an event costs more {self.what}: {before.each:,.0f} lines {before.about}, "
            f"{after.each:,.0f} {after.about}, {growth_text(self.ratio)}"
        )
        if self.growing:
            worst = next(iter(self.growing))
            of_it = f"{before.of(worst):,.0f} and {after.of(worst):,.0f}"
            detail += f"; of them {of_it}, {function_text(self.function_ratio)}, in {worst}"
        lines = [
            f"  {name}: {self.before.of(name):,.1f} and {self.after.of(name):,.1f}"
            for name in list(self.growing)[:_CULPRITS]
        ]
        head = f"lines for an event, {before.about} and {after.about}, of what grows most:"
        return Finding(self.clause, detail, explanation=(head, *lines) if lines else ())


def growth_text(ratio: float) -> str:
    """How many times as much an event costs, and how many times is too much."""
    return f"{rounded(ratio):.2f} times as much (limit {LIMIT:g})"


def rounded(ratio: float) -> float:
    """The ratio in hundredths; one below the limit is not rounded up to it."""
    near = round(ratio, 2)
    return near if (near >= LIMIT) == (ratio >= LIMIT) else near - 0.01


def function_text(ratio: float) -> str:
    """The same of one function that an event calls."""
    return f"{ratio:.1f} times as much (limit {FUNCTION_LIMIT:g})"


class Unjudgeable(Exception):  # noqa: N818 - it is no error of anybody's
    """A shape says nothing of this engine; the reason is the text."""


class _Broken(Exception):  # noqa: N818 - a message, and never seen outside
    """A run broke some clause that is not about cost."""

    def __init__(self, result: RunResult) -> None:
        self.result = result


class _Counts:
    """Runs one workload with more and more rows under the meter, and keeps account.

    Args:
        backend: the engine.
        work: the workload, with the fewest rows.
        waive: clauses not to judge.
        evidence: what the runs are added to.
    """

    def __init__(
        self, backend: Backend, work: Workload, waive: Collection[str], evidence: Evidence
    ) -> None:
        self.work = work
        self._backend = backend
        self._waive = tuple(waive)
        self._evidence = evidence
        self._fit = fit_of(backend)
        # What is imported or cached when it is first used is in this run, and in no other.
        self.base, _ = self.run(1)
        self._meters = {1: self.run(1)[1]}
        self.expect_same(self._meters[1], self.run(1)[1])

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many times its rows the workload is run with: fewer, if that took too long."""
        one, four = self.line_counter(1).lines, self.line_counter(4).lines
        # As the work grew from 1 to 4, so it is expected to grow from 4 to 16.
        return TIMES if four * four <= LINES_MAX * one else FEWER_TIMES

    def line_counter(self, times: int) -> LineCounter:
        """The count of a run with so many times the rows; the run is made once."""
        if times not in self._meters:
            self._meters[times] = self.run(times)[1]
        return self._meters[times]

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
        """What an event costs in CPU time with the most rows, by what it costs with fewer."""
        few, many = (self._cpu_each(times) for times in self.sizes[-2:])
        return many / few if few else 0.0

    def _cpu_each(self, times: int) -> float:
        """Seconds of CPU for an event, without the meter: the best of a few runs."""
        costs = [self._run(self._backend, times).cost for _ in range(_CPU_RUNS)]
        return min(cost.cpu_s / max(cost.events, 1) for cost in costs)

    def _run(self, backend: Backend, times: int) -> RunResult:
        asked = self._fit(grown(self.work, times))
        if asked is None:
            raise Unjudgeable("the engine cannot be asked for such a workload")
        result = run_workload(backend, asked, waive=self._waive)
        if result.violations:
            raise _Broken(result)
        if result.refused:
            raise Unjudgeable(f"the engine refuses such a workload: {result.refused}")
        return result


def _by_rows(clause: str, what: str, counts: _Counts) -> Growth:
    """What the rows from one size to the next add."""
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
    return Growth(clause, what, parts[0], parts[1])


def _by_history(clause: str, what: str, counts: _Counts) -> Growth:
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
    return Growth(clause, what, parts[0], parts[1])


def _ends_of_last_column(result: RunResult) -> list[int]:
    """The numbers, from 1, of the events that complete a cell of the last column."""
    last = result.work.graph().column_names[-1]
    return [
        number
        for number, event in enumerate(result.events, 1)
        if event["event"] == "complete" and event["column"] == last
    ]


def _grow(shape: Shape, counts: _Counts) -> Growth:
    measure = _by_history if shape.clause == HISTORY else _by_rows
    return measure(shape.clause, shape.what, counts)


# Judging


def judge_cost(
    backend: Backend, clause: str, work: Workload, *, waive: Collection[str] = ()
) -> RunResult:
    """Run a workload with more and more rows, and judge what an event costs.

    Args:
        backend: the engine; its `run` is a coroutine function.
        clause: the clause about cost to judge.
        work: the workload with the fewest rows, as a case has it. It is grown first, and each size
            is then brought to what the engine can be asked for: one that was brought there before
            it is grown may be another, with row groups of the fewest rows, say.
        waive: clauses not to judge.

    Returns:
        The run with the fewest rows; if the clause is broken, that is its violation. If a run
        broke another clause, that run.

    Raises:
        SpecError: a clause that is not about cost, or an engine whose work cannot be counted.
    """
    what = next((shape.what for shape in SHAPES if shape.clause == clause), None)
    if what is None:
        known = ", ".join(sorted(COST_CLAUSES))
        raise SpecError(f"clause: {clause!r} is not about cost; those are {known}")
    if not _can_count(backend):
        raise SpecError(f"backend {backend.name}: {NOT_COUNTED}")
    evidence = Evidence()
    try:
        counts = _Counts(backend, work, waive, evidence)
        growth = _grow(Shape("", clause, what, work), counts)
    except _Broken as broken:
        return broken.result
    except Unjudgeable as error:
        raise SpecError(f"{clause}: {error}") from None
    if growth.is_too_much:
        counts.base.violations.append(growth.finding())
    return counts.base


def _can_count(backend: Backend) -> bool:
    return inspect.iscoroutinefunction(backend.run)


@dataclass
class CostCampaign(Campaign):
    """A campaign about cost: what was found, and what was measured, by shape."""

    growths: dict[str, Growth] = field(default_factory=dict)


def run_cost_campaign(
    backend: Backend,
    claims: Collection[str],
    *,
    waive: Collection[str] = (),
    with_cpu: bool = False,
    shapes: Sequence[Shape] = SHAPES,
) -> CostCampaign:
    """Measure every shape that the engine may be asked for, and judge it.

    Each clause has runs of its own, so one that breaks does not end the campaign. But one cause is
    told once: of a clause in which the same function grows most as in one that broke before,
    nothing is said. If a run breaks a clause that is not about cost, that is a failure too, and the
    shape is measured with that clause not judged.

    Args:
        backend: the engine.
        claims: what it claims.
        waive: clauses not to judge.
        with_cpu: measure CPU time as well.
        shapes: what to measure.
    """
    evidence = Evidence()
    campaign = CostCampaign(COST_PROFILE, evidence)
    if not _can_count(backend):
        evidence.unjudged = {shape.clause: NOT_COUNTED for shape in SHAPES}
        return campaign
    judge = _Judge(campaign, backend, frozenset(claims), set(waive), with_cpu)
    for number, shape in enumerate(shapes, 1):
        if shape.needs <= judge.claims:
            while shape.clause not in judge.waived and not judge.is_done_with(shape, number):
                pass
    evidence.planned = evidence.workloads
    evidence.unjudged = judge.unjudged
    evidence.waived = tuple(sorted(judge.waived))
    return campaign


@dataclass
class _Judge:
    """Judges shape after shape, and keeps account of what was said."""

    campaign: CostCampaign
    backend: Backend
    claims: frozenset[str]
    waived: set[str]
    with_cpu: bool
    unjudged: dict[str, str] = field(default_factory=dict)
    blamed: dict[str, str] = field(default_factory=dict)

    def is_done_with(self, shape: Shape, number: int) -> bool:
        """Measure and judge a shape; False if it must be done again, with more waived."""
        evidence = self.campaign.evidence
        try:
            counts = _Counts(self.backend, shape.asked_of(self.claims), self.waived, evidence)
            growth = _grow(shape, counts)
            if self.with_cpu:
                growth = replace(growth, cpu_ratio=counts.cpu_ratio())
        except Unjudgeable as error:
            if not evidence.exercised[shape.clause]:
                self.unjudged[shape.clause] = str(error)
            return True
        except _Broken as broken:
            self.waived.add(self._fail(broken.result, number))
            return False
        self.campaign.growths[shape.name] = growth
        evidence.exercised[shape.clause] += 1
        self.unjudged.pop(shape.clause, None)
        if growth.is_too_much and shape.clause not in self.campaign.failures:
            self._blame(shape, number, growth, counts)
        return True

    def _blame(self, shape: Shape, number: int, growth: Growth, counts: _Counts) -> None:
        """An event costs too much: that is a failure, unless the same was told before."""
        worst = next(iter(growth.growing), "")
        before = self.blamed.get(worst, shape.clause)
        if before != shape.clause:
            self.unjudged[shape.clause] = f"what grows is {worst}, which breaks {before} already"
            return
        for name in growth.growing:
            self.blamed.setdefault(name, shape.clause)
        counts.base.violations.append(growth.finding())
        self._fail(counts.base, number, asked=counts.work)

    def _fail(self, result: RunResult, number: int, asked: Workload | None = None) -> str:
        failure = failure_of(
            result, profile=COST_PROFILE, example=number, waived=sorted(self.waived)
        )
        if asked is not None:
            # What ran is the smallest size as the engine could be asked for it; grown again, that
            # may be another workload (`judge_cost`).
            failure = replace(failure, workload=asked)
        return self.campaign.failures.setdefault(failure.clause, failure).clause
