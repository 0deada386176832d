"""Cost: lines of work are counted, and the work of an event must not grow."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cellspec.conformance import CAPABILITIES, Probe, Table, Workload, run_workload
from cellspec.conformance.campaign.options import Options
from cellspec.conformance.campaign.scaling import (
    NOT_COUNTED,
    CostCampaign,
    judge_cost,
    run_cost_campaign,
)
from cellspec.conformance.campaign.scaling_limits import FUNCTION_LINES, Part, Scaling, rounded
from cellspec.conformance.campaign.scaling_shapes import COST_CLAUSES, SHAPES, Shape, grown
from cellspec.conformance.campaign.suite import Suite
from cellspec.conformance.judge.profiles import profile_of
from cellspec.conformance.judge.verdict import Verdict
from cellspec.conformance.report.failure_text import failure_text
from cellspec.conformance.run.line_counter import LineCounter, Metered
from cellspec.conformance.run.workload import Fault
from cellspec.engines.reference import ReferenceBackend, ThreadBackend
from cellspec.errors import SpecError
from cellspec.graph.columns import ColumnDescriptor, ExecutionTraits
from cellspec.machine.limits import Limits
from tests.conformance.second_engine import ColumnFirst
from tests.matrix.cost_mutants import COST_MUTANTS

ROOT = Path(__file__).parents[3]
CHAIN = Workload(
    (ColumnDescriptor("a"), ColumnDescriptor("b", dependencies=["a"])),
    rows=6,
    limits=Limits(workers=2),
)
ALL = frozenset(CAPABILITIES)


def shape(name: str) -> Shape:
    return next(one for one in SHAPES if one.name == name)


def wrong(name: str) -> ReferenceBackend:
    return next(mutant for mutant in COST_MUTANTS if mutant.name == name).backend()


def counted(
    run: Callable[[Probe], Coroutine[Any, Any, None]], work: Workload = CHAIN
) -> LineCounter:
    """The lines counted for a coroutine function that has a probe."""

    class Backend:
        name, version, capabilities = "some", "1", frozenset({"core"})

        async def run(self, probe: Probe) -> None:
            await run(probe)

        def table(self, _: Probe) -> Table:
            return Table({})

    line_counter = LineCounter()
    run_workload(Metered(Backend(), line_counter), work)
    return line_counter


# What is counted


async def _three_lines(_: Probe) -> None:
    one = 1
    two = one + 1
    assert two == 2


def test_a_line_counts_once_each_time_it_is_executed() -> None:
    own = counted(_three_lines).by_function()
    assert {name.partition(" ")[0]: lines for name, lines in own.items()}["_three_lines"] == 3


@pytest.mark.parametrize(
    "loop",
    [
        lambda: [number + 1 for number in range(1000)],
        lambda: sum(1 for _ in range(1000)),
        lambda: all(number < 1000 for number in range(1000)),
        lambda: max(range(1000), key=lambda number: -number),
    ],
)
def test_each_turn_of_a_loop_on_one_line_counts(loop: Callable[[], object]) -> None:
    async def run(_: Probe) -> None:
        loop()

    assert 1000 <= counted(run).lines <= 1100


def test_lines_of_the_library_count_and_lines_of_the_loop_do_not() -> None:
    async def waits(_: Probe) -> None:
        await asyncio.wait([asyncio.ensure_future(asyncio.sleep(1)) for _ in range(100)])

    async def sleeps(_: Probe) -> None:
        for _turn in range(100):
            await asyncio.sleep(1)

    names = " ".join(counted(waits).by_function())
    assert "asyncio/tasks.py" in names
    assert "_run_once" not in names
    assert "virtualtime" not in names
    names = " ".join(counted(sleeps).by_function())
    assert "_run_once" not in names


def test_lines_of_the_judge_do_not_count() -> None:
    async def run(probe: Probe) -> None:
        for row in range(6):
            await probe.cell("a", row, {})

    line_counter = counted(run)
    assert len(line_counter.marks) >= 12
    assert not [name for name in line_counter.by_function() if "conformance/run" in name]
    assert line_counter.lines < 20


def test_work_of_c_code_within_one_line_is_not_counted() -> None:
    """The limit of the method, as the module says: CPU time sees it."""

    async def few(_: Probe) -> None:
        assert -1 not in list(range(10))

    async def many(_: Probe) -> None:
        assert -1 not in list(range(10_000))

    assert counted(few).lines == counted(many).lines


def test_the_trace_function_of_a_debugger_is_put_back() -> None:
    def mine(*_: object) -> None:
        return None

    before = sys.gettrace()
    sys.settrace(mine)
    try:
        counted(_three_lines)
        assert sys.gettrace() is mine
    finally:
        sys.settrace(before)


def test_counts_are_the_same_for_any_hash_seed() -> None:
    code = (
        "from cellspec.conformance import Workload, run_workload\n"
        "from cellspec.conformance.campaign.scaling import SHAPES\n"
        "from cellspec.conformance.run.line_counter import LineCounter, Metered\n"
        "from cellspec.engines.reference import ReferenceBackend\n"
        "for shape in SHAPES:\n"
        "    for _ in range(2):\n"
        "        meter = LineCounter()\n"
        "        run_workload(Metered(ReferenceBackend(), meter), shape.work)\n"
        "    print(shape.name, meter.lines)\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(said) == 1
    assert said.pop().count("\n") == len(SHAPES)


# What grows


def scaling(before: float, after: float, rest: float = 0.0) -> Scaling:
    """A function that costs so much for each of 100 events, in an event that costs more."""

    def part(about: str, lines: float) -> Part:
        mine = {"f": round(100 * lines), "g": round(100 * rest)}
        return Part(about, sum(mine.values()), 100, mine)

    return Scaling("COST-01", "with more rows", part("few", before), part("many", after))


@pytest.mark.parametrize(
    ("before", "after", "rest", "too_much"),
    [
        (100, 100, 0, False),
        (100, 130, 0, False),  # a logarithm
        (100, 200, 0, True),  # a square root
        (100, 400, 0, True),
        (31, 124, 3_000, True),  # linear, in an engine that does much else
        (50, 100, 3_000, False),  # a square root there is not told from noise
        (1, 4, 3_000, False),  # adds fewer lines than is worth telling
        (0, 50, 3_000, False),  # was never called with few rows: it was switched on
    ],
)
def test_more_than_a_logarithm_is_too_much(
    before: float, after: float, rest: float, too_much: bool
) -> None:
    assert scaling(before, after, rest).is_too_much == too_much


def test_a_ratio_below_its_limit_is_not_shown_as_the_limit() -> None:
    assert [rounded(ratio) for ratio in (1.4975, 1.5, 1.0749)] == [1.49, 1.5, 1.07]


def test_a_finding_names_the_functions_that_grow() -> None:
    found = scaling(31, 124, 69).finding()
    assert found.detail == (
        "an event costs more with more rows: 100 lines few, 193 many, "
        "1.93 times as much (limit 1.5); of them 31 and 124, 4.0 times as much (limit 2.5), in f"
    )
    assert found.explanation == (
        "lines for an event, few and many, of what grows most:",
        "  f: 31.0 and 124.0",
    )
    assert FUNCTION_LINES < 124 - 31


def test_failures_come_as_often_in_a_workload_that_is_grown() -> None:
    columns = (
        ColumnDescriptor("a", may_skip=True),
        ColumnDescriptor("v", traits=ExecutionTraits.BARRIER, dependencies=["a"]),
    )
    work = Workload(columns, rows=3, faults=(Fault("a", 1), Fault("v", 0)), skips=(("a", 2),))
    large = grown(work, 3)
    assert large.rows == 9
    assert [(fault.column, fault.position) for fault in large.faults] == [
        ("a", 1),
        ("v", 0),
        ("a", 4),
        ("a", 7),
    ]
    assert large.skips == (("a", 2), ("a", 5), ("a", 8))
    assert grown(work, 1) == work


# Who is blamed


@pytest.mark.long
@pytest.mark.clause("COST-01", "COST-02", "COST-03", "COST-04")
def test_the_reference_does_no_more_work_per_event_in_a_long_run() -> None:
    """The shapes are those with which the matrix measures mutants that do too much."""
    found = run_cost_campaign(ReferenceBackend(), ALL)
    assert not found.failures
    assert list(found.scalings) == [one.name for one in SHAPES]
    for name, one in found.scalings.items():
        assert 0.9 < one.ratio < 1.1, name
        assert not one.growing, name
    assert found.evidence.unequal == ""
    assert found.evidence.exercised.keys() == COST_CLAUSES


@pytest.mark.long
@pytest.mark.parametrize("name", [one.name for one in SHAPES])
def test_an_engine_that_looks_at_every_cell_is_blamed_but_for_its_history(name: str) -> None:
    """The second engine gives the right table and says of itself that it is far too slow."""
    assert "counted_work" not in ColumnFirst.capabilities
    work = shape(name).work
    small = work.replace(rows=5, faults=tuple(fault for fault in work.faults if fault.position < 5))
    result = judge_cost(ColumnFirst(), shape(name).clause, small)
    if name == "history":
        assert not result.violations
    else:
        assert [found.clause for found in result.violations] == [shape(name).clause]
        assert "second_engine.py" in result.violations[0].detail


@pytest.mark.long
@pytest.mark.clause("COST-03")
def test_one_cause_is_reported_once() -> None:
    mutant = wrong("reads its log again")
    shapes = [shape("history"), shape("queue")]
    found = run_cost_campaign(mutant, ALL, shapes=shapes)
    assert list(found.failures) == ["COST-02"]
    assert found.scalings["queue"].is_too_much
    assert "breaks COST-02 already" in found.evidence.unjudged["COST-03"]
    waived = run_cost_campaign(mutant, ALL, shapes=shapes, waive=["COST-02"])
    assert list(waived.failures) == ["COST-03"]


# Who is not judged


def test_an_engine_in_real_time_is_not_judged() -> None:
    found = run_cost_campaign(ThreadBackend(), ALL)
    assert found.evidence.unjudged == dict.fromkeys(COST_CLAUSES, NOT_COUNTED)
    assert not found.evidence.workloads
    assert "counted_work" not in ThreadBackend.capabilities
    with pytest.raises(SpecError, match="cannot be counted"):
        judge_cost(ThreadBackend(), "COST-01", CHAIN)


def test_an_engine_is_not_asked_for_shapes_beyond_its_capabilities() -> None:
    found = run_cost_campaign(
        ReferenceBackend(),
        {"core"},
        shapes=[one for one in SHAPES if one.name in ("wide", "failures", "saves")],
    )
    assert list(found.scalings) == ["wide"]
    assert shape("wide").asked_of({"core"}).limits == Limits(workers=8)
    assert shape("wide").asked_of({"groups"}) == shape("wide").work


class Picky(ReferenceBackend):
    """Cannot be asked for barriers; and for many rows only in row groups."""

    def fit(self, work: Workload) -> Workload | None:
        if any(rule.is_barrier for rule in work.graph().rules.columns):
            return None
        return work.replace(limits=replace(work.limits, group_rows=10, groups=3))


def test_a_workload_is_fitted_to_the_engine() -> None:
    found = run_cost_campaign(Picky(), ALL, shapes=[shape("queue"), shape("barrier")])
    assert not found.failures
    assert list(found.scalings) == ["queue"]
    assert found.evidence.unjudged == {"COST-04": "the engine cannot be asked for such a workload"}


class InBatches(ColumnFirst):
    """Makes one batch of all rows, and only after each column of it looks at every cell of it."""

    def fit(self, work: Workload) -> Workload | None:
        return work.replace(batch_size=work.rows)


@pytest.mark.long
def test_a_failure_about_cost_is_of_the_workload_that_was_asked_for() -> None:
    """The fitted smallest size would, grown, have batches of the smallest size."""
    asked = shape("queue").work.replace(rows=5)
    found = run_cost_campaign(InBatches(), ALL, shapes=[replace(shape("queue"), work=asked)])
    failure = found.failures["COST-03"]
    assert failure.workload == asked
    again = judge_cost(InBatches(), "COST-03", failure.workload, waive=failure.waived)
    assert [(one.clause, one.detail) for one in again.violations] == [("COST-03", failure.detail)]


class Lazy(ReferenceBackend):
    """Ends at once."""

    async def run(self, probe: Probe) -> None:
        probe.end("success")


def test_a_run_that_breaks_another_clause_is_reported_and_judged_on_without_it() -> None:
    shapes = [shape("crowd"), shape("barrier")]
    found = run_cost_campaign(Lazy(), ALL, shapes=shapes)
    assert found.failures
    assert not found.failures.keys() & COST_CLAUSES
    assert not found.scalings
    assert found.evidence.waived == tuple(sorted(found.failures))
    assert found.evidence.unjudged.keys() == {"COST-01", "COST-04"}


class Wavering(ReferenceBackend):
    """Does more each time it is run."""

    runs = 0

    async def run(self, probe: Probe) -> None:
        self.runs += 1
        sum(1 for _ in range(2_000 * self.runs))
        await super().run(probe)


def test_counts_that_differ_are_said_to() -> None:
    found = run_cost_campaign(Wavering(), ALL, shapes=[shape("barrier")])
    assert "lines of work in the first" in found.evidence.unequal


def test_a_clause_that_is_not_about_cost_is_refused() -> None:
    with pytest.raises(SpecError, match="'BARR-01' is not about cost; those are COST-01"):
        judge_cost(ReferenceBackend(), "BARR-01", CHAIN)


# In the suite


def searching() -> ReferenceBackend:
    """A backend by name, for the suite."""
    return wrong("searches the line")


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    folder = tmp_path_factory.mktemp("suite")
    found = Suite.of(
        Options(
            "tests.conformance.campaign.test_scaling:searching", folder, profiles="counted_work"
        )
    )
    found.run_all()
    return found


@pytest.mark.long
def test_the_suite_names_the_clauses_that_break_and_those_that_hold(suite: Suite) -> None:
    profile = profile_of("counted_work")
    said = {one.number: suite.judge(one, profile).verdict for one in profile.clauses}
    assert said.pop("COST-03") is Verdict.VIOLATED
    assert set(said.values()) == {profile_verdict(suite)}
    assert isinstance(suite.campaigns["counted_work"], CostCampaign)


def profile_verdict(suite: Suite) -> Verdict:
    """The verdicts on the clauses that held."""
    profile = profile_of("counted_work")
    (judgement,) = [suite.judge(one, profile) for one in profile.clauses if one.number == "COST-01"]
    assert judgement.passed
    return judgement.verdict


@pytest.mark.long
def test_a_failure_names_its_functions_and_can_be_run_again(suite: Suite) -> None:
    failure = suite.failures["COST-03"]
    text = failure_text(suite, failure)
    assert "the workload, which is run with more and more rows" in text
    assert "_OneLine._may_take (matrix/cost_mutants.py:" in text
    assert 'judge_cost(searching(), "COST-03", work)' in text
    saved = json.loads(suite.saved["COST-03"].read_text())
    assert saved["clause"] == "COST-03"
    options = Options(suite.options.backend, suite.options.folder, replay=suite.saved["COST-03"])
    again = Suite.of(options).replay()
    assert again is not None
    assert (again.clause, again.detail) == (failure.clause, failure.detail)


@pytest.mark.long
def test_the_figures_are_reported(suite: Suite) -> None:
    figures = suite.cost()["counted"]
    assert list(figures) == [one.name for one in SHAPES]
    assert figures["queue"]["ratio"] > 2
    assert all(one["cpu_ratio"] > 0 for one in figures.values())
