"""What a resume claims against the table before it, and engines that claim nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cellspec import ColumnDescriptor, ExecutionTraits
from cellspec.conformance.judge.coverage import coverage_of
from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.judge.kept_scopes import Kept, kept_scopes
from cellspec.conformance.judge.landed import judge_landed
from cellspec.conformance.judge.silent_resume import SilentResume, exercised_by, situations_of
from cellspec.conformance.judge.table_judge import Claimed, TableJudge
from cellspec.conformance.run.backend import Backend, fit_of
from cellspec.conformance.run.coverage_goals import Sometimes
from cellspec.conformance.run.values import SKIPPED, Registry, Table
from cellspec.conformance.run.workload import Workload
from cellspec.engines.reference import ReferenceBackend
from cellspec.replay.source import Steps, read_source
from cellspec.replay.workload_of import workload_of
from sim.cli import main
from tests.conformance.journal_engine import Commits, Tables
from tests.conformance.second_engine import ColumnFirst

CASES = Path(__file__).parents[2] / "cases" / "traces"
AB = (ColumnDescriptor("a"), ColumnDescriptor("b", dependencies=["a"]))
WORK = Workload(AB, 3, checkpoint_every_rows=1, crashes=(20,))
HALF = Table({0: {"a": "a0", "b": "b0"}, 1: {"a": "a1"}}, frozenset({2}))


def landed(
    claim: Mapping[str, Claimed],
    *commits: Mapping[str, Claimed],
    reported: Mapping[str, Claimed] | None = None,
    dropped: Sequence[int] = (),
    table: Table = HALF,
) -> list[str]:
    found = judge_landed(table, claim, commits, reported or {}, dropped)
    return [f"{one.clause} {one.cell}" for one in found]


@pytest.mark.clause("CKPT-10", "CKPT-18")
def test_a_claimed_cell_stands_in_the_table_that_the_process_before_left() -> None:
    assert landed({"a": 2, "b": 1}) == []
    assert landed({"a": 2, "b": 2}) == ["CKPT-10 ('b', 1)"]
    assert landed({"a": 2, "b": 2}, {"b": [(1, 2)]}) == ["CKPT-18 ('b', 1)"]
    # A dropped row has no cells, and a table may show whole rows alone.
    assert landed({"a": 3, "b": [(0, 1), (2, 3)]}) == []
    assert landed({"a": 3, "b": 1}, table=Table({0: HALF.rows[0]})) == []
    assert landed({"a": 2, "b": 2}, table=Table({0: HALF.rows[0]}), dropped=[1]) == []


@pytest.mark.clause("CKPT-18")
def test_a_commit_without_its_claim_left_nothing_in_the_table() -> None:
    assert landed({"a": 1, "b": 1}, {"a": [(1, 2)]}) == ["CKPT-18 ('a', 1)"]
    assert landed({"a": 1, "b": 1}, {"a": [(1, 2)]}, reported={"a": 2}) == []
    assert landed({"a": 2, "b": 1}, {"a": [(1, 2)]}) == []


# Engines that claim nothing


def silent(before: Table, **more: Any) -> SilentResume:
    made = SilentResume(1, before, ("a", "b"), 3, 3, crashes=1, outcome="success")
    return replace(made, **more)


@pytest.mark.clause("TABLE-05", "TABLE-06", "TABLE-09")
def test_the_tables_of_an_engine_without_claims_are_evidence() -> None:
    assert set(exercised_by(silent(HALF))) == {"TABLE-05", "TABLE-06", "TABLE-09"}
    assert set(exercised_by(silent(HALF, outcome="crash"))) == {"TABLE-05", "TABLE-09"}
    recalls = silent(HALF, log=[{"event": "recall", "column": "a", "rows": 2}])
    assert "CKPT-25" in set(exercised_by(recalls))
    assert set(exercised_by(silent(Table({1: {"a": "a1"}})))) == {"TABLE-06"}
    asked = silent(Table({}), crashes=0, interrupted=True, kills=2)
    assert set(exercised_by(asked)) == {"TABLE-06", "DROP-06"}
    assert set(situations_of(asked)) == {Sometimes.INTERRUPTED_RESUMED, Sometimes.KILLED_AGAIN}
    assert set(exercised_by(silent(HALF, rows=4))) == {"TABLE-06"}


def test_the_tables_of_an_engine_without_claims_show_its_situations() -> None:
    assert set(situations_of(silent(Table({})))) == {Sometimes.CRASH_EARLY}
    marked = Table({0: {"a": SKIPPED, "b": "b0"}}, frozenset({2}))
    seen = silent(marked, rows=2, outcome="crash", cut_write=True, barriers=(frozenset({0, 1}),))
    assert set(situations_of(seen)) == {
        Sometimes.CRASH_IN_CLAIM,
        Sometimes.CLAIM_PART,
        Sometimes.CRASH_TWICE,
        Sometimes.BARRIER_AGAIN,
        Sometimes.CLAIM_WITH_DROP,
        Sometimes.CLAIM_WITH_SKIP,
        Sometimes.FEWER_ROWS,
    }


@pytest.mark.clause("TABLE-05", "TABLE-09")
def test_a_row_that_stood_whole_is_neither_changed_nor_made_again() -> None:
    whole = Table({0: {"a": "x", "b": "y"}})
    for again, started, clause in (
        (Table({}), (), "TABLE-05"),
        (whole, {("b", 0)}, "TABLE-09"),
        (whole, {("b", 1)}, None),
    ):
        judge = TableJudge(WORK, Registry(), waive=["TABLE-02", "TABLE-04"])
        assert judge.judge(0, whole, "crash") is None
        found = judge.judge(1, again, "crash", started=started, silent=True)
        assert (found and found.clause) == clause


@pytest.mark.clause("TABLE-09")
def test_a_row_that_is_claimed_whole_is_not_made_again() -> None:
    judge = TableJudge(WORK, Registry(), by_column=True, waive=["TABLE-02", "TABLE-04"])
    assert judge.judge(0, HALF, "crash", {"a": 2, "b": [(0, 1)]}) is None
    assert judge.judge(1, HALF, "crash", {"a": 2, "b": 1}, started={("a", 1)}) is None
    found = judge.judge(2, HALF, "crash", {"a": 2, "b": 1}, started={("a", 0)})
    assert found is not None
    assert found.clause == "TABLE-09"
    assert "was claimed whole at the end of run 2" in found.detail


@pytest.mark.clause("TABLE-06", "TABLE-09")
def test_a_journal_that_says_nothing_is_judged_with_evidence(tmp_path: Path) -> None:
    result = run_workload(Tables(), WORK, trace=tmp_path / "trace.jsonl")
    assert (result.violations, result.outcomes) == ([], ["crash", "success"])
    assert [one.incarnation for one in result.silent] == [1]
    seen = coverage_of(WORK, result.events, silent=result.silent)
    assert {"TABLE-05", "TABLE-06", "TABLE-09"} <= seen.exercised


@pytest.mark.parametrize(
    ("backend", "version"), [(ReferenceBackend(), 3), (ColumnFirst(), 1), (Commits(), 3)]
)
def test_an_engine_is_asked_for_checkpoints_that_it_can_write(
    backend: Backend, version: int
) -> None:
    work = fit_of(backend)(WORK.replace(checkpoint_version=3))
    assert work is not None
    assert work.checkpoint_version == version


@pytest.mark.parametrize("case", ["per_task_cache", "per_task_cache_as_set"])
def test_a_trace_of_set_claims_is_replayed_and_drawn(case: str, tmp_path: Path) -> None:
    path = str(CASES / f"{case}.jsonl")
    steps = read_source(path)
    assert isinstance(steps, Steps)
    assert workload_of(steps).checkpoint_version == 3
    assert main(["replay", path, "--backend", "reference"]) == 0
    assert main(["check", path, "--chrome", str(tmp_path / "chrome.json")]) == 0
    text = (tmp_path / "chrome.json").read_text()
    rows = [one["args"] for one in json.loads(text)["traceEvents"] if one["name"] == "rows"]
    # All three rows at the end, of which the resume kept parts of two.
    assert rows[-1] == {"complete": 3, "dropped": 0, "in progress": 0}


@pytest.mark.parametrize(
    ("held", "dropped", "found"),
    [
        ((), (), set()),
        ((1,), (0, 2), set()),
        ((0, 1, 2), (), {Kept.ANY}),
        ((0, 2), (1,), {Kept.ANY}),
        ((0, 1), (), {Kept.ANY, Kept.PART}),
        ((1, 2), (), {Kept.ANY, Kept.PART, Kept.GAP}),
        ((0, 2), (), {Kept.ANY, Kept.PART, Kept.GAP}),
    ],
)
def test_what_a_resume_finds_of_a_barriers_answer_is_told(
    held: Sequence[int], dropped: Sequence[int], found: set[Kept]
) -> None:
    barrier = ColumnDescriptor("c", traits=ExecutionTraits.BARRIER, dependencies=["a"])
    rules = Workload((ColumnDescriptor("a"), barrier), 3).graph().rules
    assert set(kept_scopes(rules, [range(3), held], dropped)) == found
