"""Fuzzing: draws, schedules, the end of a search, and the files that it leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cellspec.clauses import clause_set_data
from cellspec.conformance.campaign.generator.size import Knobs, Size
from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.run.backend import CAPABILITIES
from cellspec.conformance.run.case import read_case
from cellspec.conformance.run.coverage_goals import Sometimes
from cellspec.conformance.run.workload import Workload
from cellspec.engines.machine import MachineBackend
from cellspec.engines.reference import ReferenceBackend
from cellspec.errors import SpecError
from cellspec.fuzz.draws import workload
from cellspec.fuzz.options import Options
from cellspec.fuzz.schedules import DEPTH, SCHEDULES, pct_bound, schedule
from cellspec.fuzz.search import search
from cellspec.machine.machine import Machine
from cellspec.state.claims import Claim
from cellspec.state.codes import READY
from sim.cli import main
from sim.output import fuzz as command

REFERENCE = "cellspec.engines.reference:ReferenceBackend"
SMALL = Size(columns=(3, 6), rows=(5, 20), cells=100)


class AskedForNothing(ReferenceBackend):
    """An engine that fits no workload."""

    def fit(self, _work: Workload) -> None:
        return None


class CannotSkip(ReferenceBackend):
    """An engine that cannot be asked for skips."""

    unasked = frozenset(one for one in Sometimes if "skip" in one.value)


def options(**changes: object) -> Options:
    plain = {
        "backend": REFERENCE,
        "folder": Path.cwd(),
        "size": SMALL,
        "plateau": 10_000,
        "shrink_runs": 40,
    }
    return Options(**(plain | changes))  # type: ignore[arg-type]


# Workloads


def test_workloads_are_large_and_have_every_feature_or_not() -> None:
    drawn = [workload(seed, CAPABILITIES) for seed in range(80)]
    assert max(len(work.columns) for work in drawn) >= 20
    assert max(work.rows for work in drawn) >= 200
    tests: list[Callable[[Workload], bool]] = [
        lambda work: bool(work.faults),
        lambda work: bool(work.skips),
        lambda work: bool(work.crashes),
        lambda work: bool(work.targets),
        lambda work: work.limits.group_rows is not None,
        lambda work: work.failures.stop_window is not None,
        lambda work: bool(work.stop_at),
        lambda work: bool(work.worker_losses),
        lambda work: bool(work.killers),
        lambda work: bool(work.storage_faults),
        lambda work: bool(work.rejects),
        lambda work: any(work.visits),
        lambda work: bool(work.texts),
        lambda work: bool(work.row_ids),
        lambda work: work.failures.timeout_s is not None,
        lambda work: work.checkpoint_version == 3,
    ]
    for has in tests:
        assert 0 < sum(map(has, drawn)) < len(drawn)


def test_a_workload_is_a_function_of_its_seed_and_asks_for_nothing_that_is_not_claimed() -> None:
    assert workload(3, CAPABILITIES) == workload(3, CAPABILITIES)
    for seed in range(30):
        work = workload(seed, {"core"})
        assert not [*work.faults, *work.skips, *work.crashes, *work.stop_at]
        assert work.limits.group_rows is None
        assert all("BATCH" not in str(one.traits) for one in work.columns)


def test_each_knob_turns_the_feature_in_its_name() -> None:
    def faults(count: int) -> int:
        knobs = Knobs(faults=count)
        return sum(len(workload(seed, CAPABILITIES, SMALL, knobs).faults) for seed in range(20))

    def mishaps(count: int) -> int:
        knobs = Knobs(mishaps=count)
        drawn = [workload(seed, CAPABILITIES, SMALL, knobs) for seed in range(60)]
        return sum(
            len([*work.rejects, *work.storage_faults, *work.worker_losses, *work.killers])
            for work in drawn
        )

    assert faults(0) == 0 < faults(4) < faults(40)
    assert mishaps(0) == 0 < mishaps(1) < mishaps(6)


def test_what_an_engine_cannot_do_changes_nothing_else_that_a_seed_draws() -> None:
    for seed in range(20):
        old, new = (
            workload(seed, frozenset(CAPABILITIES) - less, SMALL, Knobs())
            for less in (set(), {"any_text", "row_ids", "killer_cells", "lost_workers"})
        )
        assert (old.columns, old.rows, old.limits) == (new.columns, new.rows, new.limits)
        assert old.order_seed == new.order_seed


# Schedules


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "latency"])
def test_a_schedule_decides_which_call_ends_next_and_the_case_needs_it_no_more(name: str) -> None:
    work = workload(4, CAPABILITIES, SMALL)
    first = run_workload(ReferenceBackend(), work, choose=schedule(name, 1, 50))
    again = run_workload(ReferenceBackend(), work, choose=schedule(name, 1, 50))
    other = run_workload(ReferenceBackend(), work, choose=schedule(name, 2, 50))
    assert first.events == again.events != other.events
    assert not first.violations


def test_pct_holds_a_call_back_as_long_as_others_can_end() -> None:
    choose = schedule("pct", 5, 1000)
    assert choose is not None
    order = [choose("end of call", ["a", "b", "c"]) for _ in range(3)]
    assert len(set(order)) == 1, "the highest priority always comes first"
    assert pct_bound(10, 1) == pytest.approx(1 / 10)
    assert pct_bound(10, DEPTH) == pytest.approx(1 / 1000)


def test_pct_meets_a_mistake_of_depth_one_at_least_as_often_as_its_bound_says() -> None:
    met = 0
    for seed in range(400):
        choose = schedule("pct", seed, 10)
        assert choose is not None
        met += choose("end of call", list(range(10))) == 7
    assert met / 400 >= pct_bound(10, 1) * 0.6


# The search


@pytest.mark.long
def test_the_same_seed_gives_the_same_account_however_many_processes_there_are() -> None:
    accounts = [
        command.render_json(search(options(examples=45, methods=("pct", "targeted"), jobs=jobs)))
        for jobs in (1, 2)
    ]
    assert accounts[0] == accounts[1]


@pytest.mark.long
def test_a_search_stops_where_nothing_new_comes_up() -> None:
    size = Size(columns=(2, 3), rows=(3, 5), cells=15)
    done = search(options(plateau=15, methods=("latency",), size=size))
    assert done.stopped.startswith("nothing new in 15 runs")
    assert done.total == done.last_new + 15


def test_a_search_names_the_situations_that_it_missed() -> None:
    done = search(options(examples=1, methods=("random",)))
    shown = command.render_text(done)
    assert done.uncovered()
    assert f"not covered: {done.uncovered()[0].value}" in shown
    assert "no clause broke" in shown


def test_a_corpus_is_kept_and_run_first(tmp_path: Path) -> None:
    first = search(options(examples=20, methods=("random",), corpus=tmp_path / "corpus"))
    kept = sorted((tmp_path / "corpus").glob("*.json"))
    assert 0 < len(kept) <= first.total
    again = search(options(examples=len(kept), corpus=tmp_path / "corpus"))
    assert again.pairs == first.pairs


def test_a_search_stops_if_the_engine_can_be_asked_for_nothing() -> None:
    done = search(options(backend="tests.fuzz.test_fuzz:AskedForNothing", methods=("random",)))
    assert done.stopped == "the engine cannot be asked for any of 200 workloads"
    assert done.total == 0


def test_a_search_that_could_ask_for_nothing_is_inconclusive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["fuzz", "--backend", "tests.fuzz.test_fuzz:AskedForNothing"]) == 3


def test_situations_that_an_engine_cannot_be_asked_for_are_not_missed() -> None:
    backend = "tests.fuzz.test_fuzz:CannotSkip"
    uncovered = search(options(backend=backend, examples=1, methods=("random",))).uncovered()
    assert uncovered
    assert not set(uncovered) & set(CannotSkip.unasked)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        '{"corpus": 1, "method": "pct", "seed": 1}',
        '{"corpus": 2, "method": "pct", "seed": 1, "knobs": {"faults": 1e9}}',
        '{"corpus": 2, "method": "pct", "seed": 1, "knobs": {"faults": "many"}}',
        '{"corpus": 2, "method": "pct", "seed": 1, "knobs": {"luck": 1}}',
    ],
)
def test_a_file_that_is_no_corpus_entry_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(SpecError, match=r"x\.json: is no entry of a corpus"):
        search(options(examples=1, corpus=tmp_path))


def test_a_failure_is_made_small_and_replays_without_its_schedule(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    backend = "tests.matrix.fuzzed:BarrierReadsStaleRows"
    aimed = ["--backend", backend, "--methods", "random", "--seed", "7"]
    code = main(["fuzz", *aimed, "--case", "found.json"])
    shown = capsys.readouterr().out
    assert code == 1, shown
    case = read_case(tmp_path / "found.json")
    assert case.clause in shown
    again = next(line for line in shown.splitlines() if line.startswith("again: "))
    assert len(case.workload.columns) <= 4
    assert main(again.split()[2:]) == 1


def test_bad_options_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for argv, expected in (
        (["--case", str(tmp_path)], "cannot be written: it is a folder"),
        (["--case", str(tmp_path / "file" / "x")], "is no folder"),
        (["--corpus", str(tmp_path / "file")], "is no folder"),
        (["--methods", "magic"], "unknown 'magic'"),
        (["--examples", "0"], "expected"),
        (["--time", "-1"], "seconds"),
        (["--backend", "nowhere:X"], "cannot be imported"),
        (["--backend", "cellspec.engines.reference:ThreadBackend"], "--methods latency"),
    ):
        assert main(["fuzz", *argv]) == 2
        complaint = capsys.readouterr().err
        assert expected in complaint
        assert complaint.count("\n") == 1


def test_stdout_of_a_search_is_json_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fuzz", "--examples", "3", "--methods", "random", "--format", "json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["runs"] == {"random": 3}
    assert plain["clauses"] == clause_set_data()
    assert plain["violation"] is None


# The transition system as an engine


@pytest.mark.long
def test_the_transition_system_is_judged_by_the_tables_that_it_leaves() -> None:
    machine = "cellspec.engines.machine:MachineBackend"
    done = search(options(backend=machine, examples=40, methods=("latency", "random")))
    assert done.found is None, done.found
    assert done.crashes


def test_a_rule_that_allows_too_much_shows_in_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    class RestoresBarriers(Machine):
        """After a resume, the first barrier counts as complete."""

        def resume(self, claim: Claim, **more: Any) -> None:
            super().resume(claim, **more)
            for rule in self.graph.rules.columns:
                if rule.is_barrier and self.counters.barrier_state(rule.index, 0) == READY:
                    self.counters.resolve_barrier(rule.index, 0)

    monkeypatch.setattr(MachineBackend, "machine_class", RestoresBarriers)
    machine = "cellspec.engines.machine:MachineBackend"
    done = search(options(backend=machine, examples=400, methods=("latency",)))
    assert done.found is not None
