"""Campaigns: their draws, their end, their smallest workloads and their evidence."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable, Collection

import pytest

from cellspec import ColumnDescriptor, Limits
from cellspec.check.checker import Finding
from cellspec.conformance.campaign.campaign import REPEAT_EVERY, run_campaign
from cellspec.conformance.campaign.causes import Causes, Run
from cellspec.conformance.campaign.results import Campaign, Failure
from cellspec.conformance.campaign.shrink_workload import shrunk_workload
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.backend import CAPABILITIES
from cellspec.conformance.run.coverage_goals import Sometimes
from cellspec.conformance.run.values import Table
from cellspec.conformance.run.workload import Fault, Workload
from cellspec.errors import SpecError

BEHIND_RUNS = 1
"""Runs that look behind the only clause that breaks, in the smallest workload."""

START = {"seq": 1, "t": 0.0, "event": "start", "column": "a", "rows": 0}
END = {"seq": 2, "t": 1.0, "event": "end", "outcome": "success"}


class Engine:
    """Stands for an engine: breaks the clause that `breaks` gives, and keeps the workloads
    asked."""

    def __init__(self, breaks: Callable[[Workload], str]) -> None:
        self.breaks = breaks
        self.asked: list[Workload] = []

    def __call__(self, work: Workload, waive: Collection[str]) -> RunResult:
        self.asked.append(work)
        clause = self.breaks(work)
        found = [Finding(clause, f"{clause} broke")] if clause and clause not in waive else []
        return RunResult(
            work,
            {"trace": 1},
            events=[START, END],
            violations=found,
            outcomes=["success"],
            tables=[Table({})],
        )


def campaign(run: Run, *, profile: str = "resume", examples: int = 30, seed: int = 0) -> Campaign:
    return run_campaign(
        run,
        profile,
        beside=CAPABILITIES,
        max_examples=examples,
        seed=seed,
        stops_at=lambda _: True,
    )


def asked(*, examples: int = 30, seed: int = 0) -> list[Workload]:
    engine = Engine(lambda _: "")
    campaign(engine, examples=examples, seed=seed)
    return engine.asked


# The heap


def test_the_garbage_collector_passes_over_what_was_there_before_a_campaign() -> None:
    frozen: list[int] = []

    def breaks(_: Workload) -> str:
        frozen.append(gc.get_freeze_count())
        if len(frozen) == 3:
            raise RuntimeError("the engine fails")
        return ""

    gc.unfreeze()
    with pytest.raises(RuntimeError, match="the engine fails"):
        campaign(Engine(breaks))
    assert min(frozen) > 1000
    assert gc.get_freeze_count() == 0


# Draws


def no_row_groups(work: Workload) -> Workload | None:
    """The fit of an engine without row groups that runs a dozen rows at most."""
    if work.rows > 12:
        return None
    return work.replace(limits=Limits(workers=work.limits.workers))


def test_an_engine_is_asked_only_for_workloads_that_it_can_express() -> None:
    engine = Engine(lambda work: "SCHED-01" if len(work.columns) > 1 else "")
    found = run_campaign(engine, "groups", beside=CAPABILITIES, fit=no_row_groups)
    assert all(work == no_row_groups(work) for work in engine.asked)
    assert found.failures["SCHED-01"].workload.limits.group_rows is None
    assert len(found.failures["SCHED-01"].workload.columns) == 2


def test_a_backend_that_takes_no_workload_is_refused_in_one_line() -> None:
    with pytest.raises(SpecError, match="profile core: of 100 workloads the backend's fit takes"):
        run_campaign(Engine(lambda _: ""), "core", fit=lambda _: None)


def test_without_a_redraw_the_draws_are_as_ever() -> None:
    engine = Engine(lambda _: "")
    run_campaign(engine, "resume", beside=CAPABILITIES, max_examples=30, fit=lambda work: work)
    assert engine.asked == asked()


def test_a_seed_draws_the_same_workloads_and_another_seed_others() -> None:
    assert asked(seed=3) == asked(seed=3)
    assert asked(seed=3)[2:] != asked(seed=4)[2:]


def test_a_shorter_campaign_is_the_beginning_of_a_longer_one() -> None:
    longer = asked(examples=20)
    shorter = asked(examples=7)
    assert longer[: len(shorter)] == shorter


def test_a_campaign_loads_no_library_that_could_change_its_draws() -> None:
    code = (
        "import sys\n"
        "from cellspec.conformance.campaign.campaign import drawn_workload\n"
        "drawn_workload(0, 'resume', 2)\n"
        "print([name for name in ('hypothesis', 'random', 'numpy') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "hypothesis" not in done.stdout
    assert "numpy" not in done.stdout


def test_most_pipelines_of_a_campaign_differ() -> None:
    done = campaign(Engine(lambda _: ""), examples=60)
    assert len(done.evidence.graphs) > 45


# Stopping and shrinking


def breaks_with_rows(work: Workload) -> str:
    return "BARR-01" if work.rows > 2 else ""


def test_a_campaign_stops_at_its_first_violation() -> None:
    engine = Engine(breaks_with_rows)
    done = campaign(engine)
    assert list(done.failures) == ["BARR-01"]
    found = done.failures["BARR-01"]
    assert done.evidence.stopped_at == "BARR-01"
    assert done.evidence.workloads == found.example < 30
    assert found.profile == "resume"
    assert found.detail == "BARR-01 broke"


def test_the_failure_that_is_kept_is_the_smallest_that_was_seen() -> None:
    found = campaign(Engine(breaks_with_rows)).failures["BARR-01"]
    assert (len(found.workload.columns), found.workload.rows) == (1, 3)
    assert not found.workload.crashes


def test_shrinking_keeps_to_the_clause_that_broke() -> None:
    """Every smaller workload breaks another clause, and is left out for that."""

    def breaks(work: Workload) -> str:
        if work.rows > 4:
            return "BARR-01"
        return "SCHED-01" if work.rows == 1 and len(work.columns) == 1 and work.seed else ""

    engine = Engine(breaks)
    done = campaign(engine, seed=2)
    assert list(done.failures) == ["BARR-01"]
    assert done.failures["BARR-01"].workload.rows == 5


def test_shrinking_ends_after_so_many_runs() -> None:
    engine = Engine(lambda work: "BARR-01" if len(work.columns) > 2 else "")
    drawn = run_campaign(Engine(lambda _: ""), "resume", beside=CAPABILITIES, max_examples=30)
    assert drawn.evidence.stopped_at == ""
    found = shrunk_by(engine, 5)
    repeats = -(-found.example // REPEAT_EVERY)
    assert len(engine.asked) <= found.example + repeats + 5 + BEHIND_RUNS
    engine.asked.clear()
    shrunk_by(engine, 0)
    assert len(engine.asked) == found.example + repeats + BEHIND_RUNS


def shrunk_by(engine: Engine, runs: int) -> Failure:
    """The failure that stops a campaign, after so many runs in search of a smaller workload."""
    done = run_campaign(
        engine,
        "resume",
        beside=CAPABILITIES,
        max_examples=30,
        causes=Causes(engine, shrink_runs=runs),
        stops_at=lambda _: True,
    )
    return done.failures["BARR-01"]


def test_a_crash_is_found_again_when_steps_before_it_are_taken_away() -> None:
    """Steps move when cells go: here the crash must come at the last step of the run."""

    def breaks(work: Workload) -> str:
        steps = 2 * len(work.columns) * work.rows
        return "CKPT-12" if work.crashes[-1:] == (steps,) else ""

    columns = [ColumnDescriptor(name) for name in "abcd"]
    large = Workload(tuple(columns), rows=5, crashes=(7, 40))
    assert breaks(large)
    small = shrunk_workload(large, lambda work: bool(breaks(work)), runs_max=500)
    assert (len(small.columns), small.rows, small.crashes) == (1, 1, (2,))


def test_the_columns_left_are_called_by_the_first_letters() -> None:
    columns = (
        ColumnDescriptor("x"),
        ColumnDescriptor("y", side_effects=["y_more"]),
        ColumnDescriptor("z", dependencies=["y_more"]),
    )
    limits = Limits(resources={"r": 1}, column_resource={"z": "r"})
    large = Workload(columns, 1, limits=limits, latency_s={"z": 1.0}, faults=(Fault("z", 0),))

    def breaks(work: Workload) -> bool:
        limited, slow = work.limits.column_resource, work.latency_s
        return any(item.dependencies for item in work.columns) and bool(
            limited and slow and work.faults
        )

    small = shrunk_workload(large, breaks, runs_max=200)
    assert [item.name for item in small.columns] == ["a", "b"]
    assert (small.limits.column_resource, small.latency_s) == ({"b": "r"}, {"b": 1.0})
    assert small.faults == (Fault("b", 0),)


def test_a_campaign_goes_on_and_tells_each_cause_once() -> None:
    def breaks(work: Workload) -> str:
        return "BARR-01" if work.rows > 2 else "SCHED-01" if len(work.columns) > 2 else ""

    done = run_campaign(Engine(breaks), "core", max_examples=30)
    assert sorted(done.failures) == ["BARR-01", "SCHED-01"]
    assert done.evidence.waived == ()
    assert done.evidence.stopped_at == ""
    assert done.evidence.workloads == 30


def test_a_violation_that_does_not_come_again_is_still_a_violation() -> None:
    seen: list[Workload] = []

    def breaks(work: Workload) -> str:
        seen.append(work)
        return "BARR-01" if len(seen) == 9 else ""

    done = campaign(Engine(breaks))
    assert list(done.failures) == ["BARR-01"]
    assert done.evidence.stopped_at == "BARR-01"


def test_an_error_of_the_suite_itself_is_no_verdict_on_the_engine() -> None:
    def run(_work: Workload, _waive: Collection[str]) -> RunResult:
        raise RuntimeError("the suite is broken")

    with pytest.raises(RuntimeError, match="the suite is broken"):
        campaign(run)


# Evidence


def test_evidence_counts_the_drawn_workloads_and_not_the_smaller_ones() -> None:
    done = campaign(Engine(lambda _: ""))
    evidence = done.evidence
    assert (evidence.planned, evidence.workloads, evidence.repeated) == (30, 30, 2)
    assert evidence.events == 60
    assert evidence.exercised["SCHED-02"] == 30
    assert evidence.exercised["SCHED-10"] == 30
    assert evidence.exercised["BARR-01"] == 0
    assert evidence.sometimes[Sometimes.BARRIER_RAN] == 0
    assert len(evidence.traces) == 1


def test_an_engine_that_differs_from_itself_is_found_out() -> None:
    runs = iter(range(10_000))

    def run(work: Workload, _waive: Collection[str]) -> RunResult:
        event = {**START, "t": float(next(runs))}
        return RunResult(work, {}, events=[event], outcomes=["success"], tables=[Table({})])

    assert campaign(run).evidence.unequal.startswith("event 1 is ")
    real = run_campaign(run, "core", max_examples=6, deterministic=False)
    assert real.evidence.unequal == ""


def test_two_runs_in_real_time_must_break_the_same_and_end_in_the_same_table() -> None:
    runs = iter(range(10_000))

    def other_table(work: Workload, _waive: Collection[str]) -> RunResult:
        table = Table({0: {"a": str(next(runs))}})
        return RunResult(work, {}, outcomes=["success"], tables=[table])

    done = run_campaign(other_table, "core", max_examples=6, deterministic=False)
    assert done.evidence.unequal == "the final table"

    runs = iter(range(2))

    def other_verdict(work: Workload, _waive: Collection[str]) -> RunResult:
        broken = [Finding("BARR-01", "")] if next(runs) % 2 else []
        return RunResult(work, {}, violations=broken, outcomes=["success"], tables=[Table({})])

    done = run_campaign(other_verdict, "core", max_examples=1, deterministic=False)
    assert done.evidence.unequal == "the first breaks no clause, the second BARR-01"


def test_the_dullest_workload_comes_first_and_once() -> None:
    first, *others = asked(examples=8)
    assert (len(first.columns), first.rows, first.crashes) == (1, 1, (1,))
    again = [work for work in others[1:] if work == first]
    assert again == []
