"""Root causes: which violations are told as one bug, and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pytest

from cellspec import ColumnDescriptor, ExecutionTraits
from cellspec.check.checker import Finding
from cellspec.conformance.campaign.campaign import run_campaign
from cellspec.conformance.campaign.causes import RUN_ON_ALWAYS, RUN_ON_EVERY, Causes, Place
from cellspec.conformance.campaign.needs import needs_of
from cellspec.conformance.campaign.options import Options
from cellspec.conformance.campaign.rehearsal import Rehearsal
from cellspec.conformance.campaign.results import Campaign
from cellspec.conformance.campaign.suite import Suite
from cellspec.conformance.campaign.symptoms import symptom_of
from cellspec.conformance.judge.evidence import Evidence
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.workload import Fault, Workload
from cellspec.machine.machine import FailurePolicy, Limits
from tests.matrix.combined_mutants import combined
from tests.matrix.engine_mutants import ENGINE_MUTANTS
from tests.matrix.root_causes import measured

Breaks = Callable[[Workload], Sequence[str]]


class Engine:
    """Stands for an engine: breaks the clauses that `breaks` gives, the first first."""

    def __init__(self, breaks: Breaks) -> None:
        self.breaks = breaks
        self.runs = 0

    def __call__(self, work: Workload, waived: Collection[str]) -> RunResult:
        self.runs += 1
        found = [clause for clause in self.breaks(work) if clause not in waived]
        result = RunResult(work, {"trace": 1}, outcomes=["success"])
        result.violations += [Finding(clause, f"{clause} broke") for clause in found[:1]]
        return result


COLUMN = (ColumnDescriptor("a"),)
PLAIN = Workload(COLUMN, 4)
LIMITED = Workload(COLUMN, 4, limits=Limits(workers=1))
RETRIED = Workload(
    COLUMN, 4, failures=FailurePolicy(max_attempts=2), faults=(Fault("a", 0, failure="retryable"),)
)
CRASHED = Workload(COLUMN, 4, crashes=(3,))


def sorted_by(breaks: Breaks, *works: Workload) -> Causes:
    """The roots of an engine that runs these workloads."""
    engine = Engine(breaks)
    causes = Causes(engine)
    for number, work in enumerate(works, 1):
        result = engine(work, ())
        if result.violations:
            causes.sort(result, Place("core", number, 7))
    return causes


def clauses_of(causes: Causes) -> list[str]:
    return [root.failure.clause for root in causes.roots]


def limited_or_crashed(work: Workload) -> list[str]:
    """Two bugs: one needs a limit, the other a crash."""
    return ["SCHED-11"] * bool(work.limits.workers) + ["CKPT-12"] * bool(work.crashes)


def test_two_bugs_are_two_roots_each_with_its_smallest_workload_and_where_it_was_found() -> None:
    causes = sorted_by(limited_or_crashed, PLAIN, LIMITED, CRASHED, LIMITED)
    assert clauses_of(causes) == ["SCHED-11", "CKPT-12"]
    first, second = causes.roots
    assert (first.found, second.found) == (2, 1)
    assert (first.failure.workload.rows, second.failure.workload.rows) == (1, 1)
    assert (second.failure.profile, second.failure.example, second.failure.seed) == ("core", 3, 7)


def test_a_bug_that_always_hides_behind_another_is_found_with_that_one_waived() -> None:
    both = CRASHED.replace(limits=Limits(workers=1))
    causes = sorted_by(limited_or_crashed, both)
    assert clauses_of(causes) == ["SCHED-11", "CKPT-12"]
    # Its smallest workload has no limit, so nothing is left to waive.
    assert causes.roots[1].failure.waived == ()


def test_behind_a_bug_that_shows_in_many_workloads_one_of_four_is_run_on() -> None:
    engine = Engine(limited_or_crashed)
    causes = Causes(engine)

    def runs_behind(work: Workload) -> int:
        before = engine.runs
        causes.sort(RunResult(work, {}, violations=[Finding("SCHED-11", "SCHED-11 broke")]))
        return engine.runs - before

    for _ in range(RUN_ON_ALWAYS):
        runs_behind(LIMITED)
    assert sum(runs_behind(LIMITED) for _ in range(40)) == 10
    both = CRASHED.replace(limits=Limits(workers=1))
    assert clauses_of(causes) == ["SCHED-11"]
    for _ in range(RUN_ON_EVERY):
        runs_behind(both)
    assert clauses_of(causes) == ["SCHED-11", "CKPT-12"]


def test_a_bug_that_once_hid_behind_another_is_sorted_again_when_it_shows_alone() -> None:
    """Without a search for smaller workloads nothing parts the two in the first workload."""
    engine = Engine(limited_or_crashed)
    causes = Causes(engine, shrink_runs=0)
    both = CRASHED.replace(limits=Limits(workers=1))
    causes.sort(engine(both, ()), Place("core", 1, 7))
    assert [dict(root.consequences) for root in causes.roots] == [{"CKPT-12": 1}]
    for number in (2, 3):
        causes.sort(engine(CRASHED, ()), Place("core", number, 7))
    assert clauses_of(causes) == ["SCHED-11", "CKPT-12"]
    assert [(root.found, dict(root.consequences)) for root in causes.roots] == [(1, {}), (2, {})]


def test_two_bugs_with_the_same_consequence_are_two_roots() -> None:
    def breaks(work: Workload) -> list[str]:
        first = limited_or_crashed(work)
        return [*first, "TABLE-04"] if first else []

    causes = sorted_by(breaks, LIMITED, CRASHED)
    assert clauses_of(causes) == ["SCHED-11", "CKPT-12"]


def test_what_breaks_behind_the_root_in_its_smallest_workload_is_a_consequence() -> None:
    def breaks(work: Workload) -> list[str]:
        return ["SCHED-11", "TABLE-01"] if work.limits.workers else []

    causes = sorted_by(breaks, LIMITED, LIMITED.replace(rows=9))
    (root,) = causes.roots
    assert dict(root.consequences) == {"TABLE-01": 2}
    assert root.alone == set()


def test_a_clause_that_breaks_first_where_the_root_would_break_behind_it_is_a_consequence() -> None:
    def breaks(work: Workload) -> list[str]:
        if not work.limits.workers:
            return []
        return ["CKPT-08", "SCHED-11"] if work.crashes else ["SCHED-11"]

    causes = sorted_by(breaks, LIMITED, LIMITED.replace(crashes=(3,)))
    (root,) = causes.roots
    assert (root.failure.clause, dict(root.consequences)) == ("SCHED-11", {"CKPT-08": 1})
    assert root.alone == {"CKPT-08"}


def test_a_bug_with_many_consequences_does_not_hide_another_behind_them() -> None:
    many = ["CKPT-08", "SCHED-01", "SCHED-10", "BARR-01"]

    def breaks(work: Workload) -> list[str]:
        # Which of them shows first differs from run to run, so that no one waiver lifts them all.
        first = work.seed % len(many)
        one = ["BARR-06", *many[first:], *many[:first]] if work.limits.workers else []
        return [*one, "TABLE-02"] if work.crashes else one

    works = [CRASHED.replace(limits=Limits(workers=1), seed=seed) for seed in range(8)]
    assert clauses_of(sorted_by(breaks, *works)) == ["BARR-06", "TABLE-02"]


def test_a_root_that_needs_nothing_does_not_swallow_the_others() -> None:
    def breaks(work: Workload) -> list[str]:
        plain = ["TABLE-02"] if work.rows > 2 else []
        return ["CKPT-12", *plain] if work.crashes else plain

    assert clauses_of(sorted_by(breaks, PLAIN, CRASHED)) == ["TABLE-02", "CKPT-12"]


def test_work_that_is_left_undone_is_one_bug_however_it_shows() -> None:
    def breaks(work: Workload) -> list[str]:
        if not work.limits.workers:
            return []
        return ["CKPT-19"] if work.checkpoint_every_rows else ["SCHED-12"]

    saving = LIMITED.replace(checkpoint_every_rows=1)
    (root,) = sorted_by(breaks, LIMITED, saving).roots
    assert (root.failure.clause, dict(root.consequences)) == ("SCHED-12", {"CKPT-19": 1})


def test_like_clauses_are_two_bugs_if_most_of_what_their_workloads_ask_for_differs() -> None:
    def breaks(work: Workload) -> list[str]:
        if work.crashes and work.limits.workers and work.storage_s:
            return ["CKPT-12"]
        return ["CKPT-08"] if work.crashes and work.keep else []

    slow = CRASHED.replace(limits=Limits(workers=1), storage_s=0.5)
    assert clauses_of(sorted_by(breaks, slow, CRASHED.replace(keep=True))) == ["CKPT-12", "CKPT-08"]


def test_one_clause_that_two_bugs_break_has_two_roots_with_names_of_their_own() -> None:
    def breaks(work: Workload) -> list[str]:
        return ["SCHED-12"] if work.crashes or work.limits.workers else []

    class Dies(Engine):
        def __call__(self, work: Workload, waived: Collection[str]) -> RunResult:
            result = super().__call__(work, waived)
            if result.violations and not work.crashes:
                result.violations = [Finding("SCHED-12", "the engine died of KeyError: 'a'")]
            return result

    engine = Dies(breaks)
    causes = Causes(engine)
    for work in (CRASHED, LIMITED):
        causes.sort(engine(work, ()))
    assert [root.failure.name for root in causes.roots] == ["SCHED-12", "SCHED-12-2"]


def test_a_symptom_has_no_names_numbers_and_texts() -> None:
    one, two, other = (
        symptom_of(Finding("SCHED-11", detail))
        for detail in (
            "b[3] starts with 1 call of 'r' in flight, of 1 at most",
            "barrier 2 of 'a' starts with 12 calls of 's' in flight, of 3 at most",
            "b[3] starts although it failed for good",
        )
    )
    assert one == two != other


def test_the_place_where_an_exception_came_from_is_part_of_the_symptom() -> None:
    def died(line: str) -> Finding:
        return Finding("SCHED-12", "the engine died of KeyError: 1", explanation=(line,))

    one, two = 'File "/a/engine.py", line 7, in start', 'File "/b/engine.py", line 9, in start'
    other = 'File "/a/engine.py", line 7, in stop'
    assert symptom_of(died(one)) == symptom_of(died(two)) != symptom_of(died(other))


def test_the_needs_of_a_workload_are_what_a_plain_one_lacks() -> None:
    assert needs_of(PLAIN) == frozenset()
    assert needs_of(RETRIED) == {"max_attempts", "retryable"}
    barrier = ColumnDescriptor("a", None, None, ExecutionTraits.BARRIER)
    assert needs_of(CRASHED.replace(columns=(barrier,))) == {"BARRIER", "crashes"}
    batches = ColumnDescriptor("a", None, None, ExecutionTraits.BATCH_BARRIER)
    asked = PLAIN.replace(columns=(batches,), batch_size=2)
    assert needs_of(asked) == {"BARRIER", "BATCH_BARRIER"}


@pytest.mark.parametrize("examples", [40, 80])
def test_an_engine_whose_every_workload_fails_in_a_new_way_costs_a_bounded_number_of_runs(
    examples: int,
) -> None:
    """Its symptoms never come again: the worst case."""

    class Odd(Engine):
        def __call__(self, work: Workload, waived: Collection[str]) -> RunResult:
            result = super().__call__(work, waived)
            word = "".join(chr(97 + int(digit)) for digit in str(self.runs))
            result.violations = [Finding("SCHED-12", f"died of {word}")]
            return result

    engine = Odd(lambda _: ["SCHED-12"])
    causes = Causes(engine, runs=300)
    run_campaign(engine, "core", max_examples=examples, causes=causes)
    # Once with all judged, twice behind, and one in five again; and around the first symptoms.
    assert engine.runs <= 300 + 50 + 3.2 * examples


def test_the_search_behind_large_workloads_that_always_fail_is_bounded_by_their_events(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run of a large workload takes as long as many of small ones, and counts as many."""
    for name, number in (("EVENTS_AT_FIRST", 500), ("EVENTS_KEPT", 100)):
        monkeypatch.setattr(f"cellspec.conformance.campaign.causes.{name}", number)
    events = 0

    def run(work: Workload, _: Collection[str]) -> RunResult:
        nonlocal events
        number = 10 * work.rows
        events += number
        result = RunResult(work, {"trace": 1}, events=[{}] * number, outcomes=["failed"])
        word = "".join(chr(97 + int(digit)) for digit in str(events))
        result.violations = [Finding("SCHED-12", f"died of {word}")]
        return result

    causes = Causes(run)
    for _ in range(100):
        causes.sort(run(PLAIN.replace(rows=40), ()))
    drawn = 100 * 400
    # Each once as it is, and twice behind the clause that broke; and the search.
    assert events - 3 * drawn <= 500 + drawn / 2 + 3 * 400


def noting(works: list[Workload]) -> Breaks:
    """Breaks nothing, and keeps the workloads."""

    def breaks(work: Workload) -> list[str]:
        works.append(work)
        return []

    return breaks


def test_seeds_join_their_evidence_and_a_failure_says_its_seed() -> None:
    first: list[Workload] = []
    run_campaign(Engine(noting(first)), "core", max_examples=8, seed=4)
    engine = Engine(lambda work: [] if work in first else ["SCHED-11"])
    joined = run_campaign(engine, "core", max_examples=8, seed=4, seeds=3)
    assert (joined.evidence.planned, joined.evidence.workloads) == (24, 24)
    assert joined.failures["SCHED-11"].seed == 5


def test_a_root_knows_the_seeds_that_show_it() -> None:
    engine = Engine(lambda work: ["CKPT-12"] * bool(work.crashes))
    causes = Causes(engine)
    run_campaign(engine, "resume", max_examples=12, seed=4, seeds=2, causes=causes)
    (root,) = causes.roots
    assert (root.failure.clause, root.seeds) == ("CKPT-12", {4, 5})


def test_a_rehearsal_takes_the_workload_that_covers_most_that_is_new() -> None:
    rehearsal = Rehearsal(lambda work: RunResult(work, {"trace": 1}), 3)
    works = [PLAIN, LIMITED, RETRIED.replace(limits=Limits(workers=1))]
    assert rehearsal.take(works.__getitem__) == works[2]
    assert rehearsal.take([*works[1:], CRASHED].__getitem__) == CRASHED


def test_a_rehearsal_draws_on_while_something_is_wanted_that_nothing_covers() -> None:
    wanted = needs_of(CRASHED) - needs_of(PLAIN)
    rehearsal = Rehearsal(lambda work: RunResult(work, {"trace": 1}), 3, wanted)
    works = [PLAIN, LIMITED, LIMITED, LIMITED, CRASHED]
    assert rehearsal.take(works.__getitem__) == CRASHED
    # It has come now, so the usual number is enough, and the list is not read on.
    assert rehearsal.take([PLAIN, PLAIN, RETRIED].__getitem__) == RETRIED


def test_a_rehearsal_gives_up_what_no_workload_covers() -> None:
    rehearsal = Rehearsal(lambda work: RunResult(work, {"trace": 1}), 2, ["no such thing"])
    drawn: list[int] = []

    def draw(number: int) -> Workload:
        drawn.append(number)
        return PLAIN

    for _ in range(3):
        rehearsal.take(draw)
    assert len(drawn) == 40 + 3 * 2


def test_a_campaign_with_a_rehearsal_runs_one_workload_of_so_many_on_the_engine() -> None:
    slow, fast = Engine(lambda _: []), Engine(lambda _: [])
    rehearsal = Rehearsal(lambda work: fast(work, ()), 4)
    done = run_campaign(slow, "core", max_examples=5, rehearsal=rehearsal)
    assert done.evidence.workloads == 5
    assert (fast.runs, slow.runs) == (20, 6)


# Engines of which the bugs are known


@pytest.mark.parametrize(("examples", "chosen"), [(20, True), (39, True), (40, False)])
def test_a_slow_engine_that_runs_more_workloads_runs_them_as_they_are_drawn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, examples: int, chosen: bool
) -> None:
    asked: list[bool] = []

    def run(_: object, profile: str, *, rehearsal: object, **_options: object) -> Campaign:
        asked.append(rehearsal is not None)
        return Campaign(profile, Evidence())

    monkeypatch.setattr("cellspec.conformance.campaign.suite.run_campaign", run)
    options = Options("reference", tmp_path, profiles="core", max_examples=examples, slow=True)
    Suite.of(options).run_all()
    assert asked == [chosen]


def test_real_bugs_two_at_a_time_are_told_apart() -> None:
    known = {mutant.name: mutant for mutant in ENGINE_MUTANTS}
    names = ("admits one more", "ignores conditions")
    found = measured([known[name] for name in names], examples=4)
    assert found.names_all, found
    assert len(found.roots) == 2, found


def test_bugs_of_one_method_do_not_go_together() -> None:
    first = ENGINE_MUTANTS[0]
    assert combined([first, first]) is None


# Runs that stand still


class Hanging(Engine):
    """Stands still in workloads for which `hangs` is true; notes how long each run was waited for.

    Args:
        hangs: of a workload.
        waits_s: how long a run is waited for, but for those that are waited for in full, 20 s.
    """

    def __init__(self, hangs: Callable[[Workload], bool], waits_s: float = 2.0) -> None:
        super().__init__(lambda work: ["SCHED-12"] if hangs(work) else [])
        self.waits_s = waits_s
        self.waited: list[float] = []

    def __call__(self, work: Workload, waived: Collection[str]) -> RunResult:
        return self._run(work, waived, self.waits_s)

    def patiently(self, work: Workload, waived: Collection[str]) -> RunResult:
        return self._run(work, waived, 20.0)

    def _run(self, work: Workload, waived: Collection[str], waits_s: float) -> RunResult:
        result = super().__call__(work, waived)
        if result.violations:
            result.stood_still_s, result.in_haste = waits_s, waits_s < 20.0
            self.waited.append(waits_s)
        return result


HANGS = Workload(COLUMN, 400)


def test_the_search_is_bounded_by_how_often_a_run_stands_still_and_the_last_is_waited_for() -> None:
    engine = Hanging(lambda _: True)
    causes = Causes(engine, patient=engine.patiently)
    causes.sort(engine.patiently(HANGS, ()))
    assert engine.waited[0] == engine.waited[-1] == 20.0
    assert set(engine.waited[1:-1]) == {2.0}
    assert sum(engine.waited) <= 100
    (root,) = causes.roots
    assert root.failure.workload.rows == 1

    slow = Hanging(lambda _: True, waits_s=20.0)
    causes = Causes(slow, patient=slow.patiently)
    causes.sort(slow.patiently(HANGS, ()))
    assert slow.waited == [20.0] * 4


def test_a_workload_that_only_paused_is_not_taken_for_one_that_hangs() -> None:
    engine = Hanging(lambda _: True)

    def patiently(work: Workload, waived: Collection[str]) -> RunResult:
        return Engine(lambda _: [])(work, waived)

    causes = Causes(engine, patient=patiently)
    causes.sort(engine.patiently(HANGS, ()))
    (root,) = causes.roots
    assert root.failure.workload == HANGS


def test_the_workloads_of_a_campaign_stand_still_a_few_times_and_then_it_stops() -> None:
    engine = Hanging(lambda work: work.rows >= 300)
    causes = Causes(engine, patient=engine.patiently)
    stops = []
    for number in range(1, 6):
        run = engine if causes.roots else engine.patiently
        found = causes.sort(
            run(HANGS, ()), Place("core", number), stops_at=lambda _: causes.waited_enough
        )
        stops.append(found.stopped_at)
    assert stops == ["", "", "", "SCHED-12", "SCHED-12"]
    # A workload that breaks a clause at once goes on as ever.
    engine.breaks = lambda _: ["TABLE-01"]
    quick = Engine(engine.breaks)(PLAIN, ())
    assert causes.sort(quick, stops_at=lambda _: causes.waited_enough).stopped_at == ""


def test_a_campaign_says_that_it_stopped_because_the_engine_stands_still() -> None:
    engine = Hanging(lambda work: work.rows > 1, waits_s=20.0)
    causes = Causes(engine)
    done = run_campaign(
        engine, "core", max_examples=30, causes=causes, stops_at=lambda _: causes.waited_enough
    )
    assert (done.evidence.stopped_at, done.evidence.stood_still) == ("SCHED-12", True)
    first = run_campaign(engine, "core", max_examples=30, stops_at=lambda _: True)
    assert (first.evidence.stopped_at, first.evidence.stood_still) == ("SCHED-12", False)


def test_a_violation_is_known_although_the_search_for_a_smaller_workload_is_interrupted() -> None:
    class Interrupted(Engine):
        def __call__(self, work: Workload, waived: Collection[str]) -> RunResult:
            if work.rows < 4:
                raise KeyboardInterrupt
            return super().__call__(work, waived)

    engine = Interrupted(lambda _: ["TABLE-01"])
    causes = Causes(engine)
    with pytest.raises(KeyboardInterrupt):
        causes.sort(engine(LIMITED, ()), Place("core", 3, 7))
    (root,) = causes.roots
    assert (root.found, root.seeds, root.failure.example) == (1, {7}, 3)
    assert (root.failure.clause, root.failure.is_smallest) == ("TABLE-01", False)
