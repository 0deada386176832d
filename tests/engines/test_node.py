"""The example engine on Node passes with its capabilities, and broken variants of it fail."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from cellspec import ColumnDescriptor, ExecutionTraits, FailurePolicy, Limits
from cellspec.conformance import Fault, Workload, run_workload
from cellspec.conformance.campaign.campaign import run_campaign
from cellspec.conformance.campaign.causes import Causes
from cellspec.conformance.campaign.options import MAX_EXAMPLES, Options
from cellspec.conformance.campaign.smoke import smoke
from cellspec.conformance.campaign.suite import Suite
from cellspec.conformance.judge.profiles import PROFILES, profile_of
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.judge.verdict import Verdict
from cellspec.conformance.run.case import read_case
from cellspec.engines.lines import COMMAND_VARIABLE, LineBackend
from tests.engines.protocol_page import PAGE, exchange, shown_exchange

NODE = shutil.which("node")
pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(NODE is None, reason="node is not installed"),
]

T = ExecutionTraits
ROOT = Path(__file__).parents[2]
ENGINE = ROOT / "examples" / "node" / "engine.mjs"
MUTANTS = Path(__file__).with_name("node_mutants")
CASES = Path(__file__).with_name("node_cases")

BROKEN = {
    "claims_before_rows": ("resume", "CKPT-10"),
    "comes_back_too_early": ("retries", "FAIL-03"),
    "first_in_line_blocks": ("core", "SCHED-09"),
    "forgets_order": ("ordered", "SCHED-13"),
    "ignores_workers": ("core", "SCHED-06"),
    "keeps_worker_of_barrier": ("core", "SCHED-12"),
    "shifts_output_of_barriers": ("core", "TABLE-03"),
    "waits_for_first_input": ("core", "SCHED-01"),
    "works_on_dropped_rows": ("drops", "DROP-03"),
}
"""For each broken variant the profile whose campaign finds it, and the clause that it breaks."""

THREE_INCARNATIONS = Workload(
    (
        ColumnDescriptor("a", traits=T.START),
        ColumnDescriptor("v", traits=T.BATCH_BARRIER, dependencies=["a"]),
        ColumnDescriptor("c", traits=T.ORDERED, dependencies=["v"]),
    ),
    rows=6,
    batch_size=3,
    limits=Limits(workers=2),
    failures=FailurePolicy(max_attempts=2),
    faults=(Fault("a", 1), Fault("c", 4, failure="permanent")),
    checkpoint_every_rows=1,
    crashes=(30, 12),
)


@pytest.fixture(scope="module")
def engine() -> Iterator[LineBackend]:
    backend = LineBackend(["node", str(ENGINE)])
    yield backend
    backend.close()


@pytest.mark.long
def test_every_clause_of_the_core_profile_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMMAND_VARIABLE, "node examples/node/engine.mjs")
    monkeypatch.chdir(ROOT)
    options = Options("cellspec.engines.lines:LineBackend", ROOT, "core", max_examples=MAX_EXAMPLES)
    suite = Suite.of(options)
    assert suite.smoke is None
    suite.run_all()
    verdicts = {clause.number: judged for _, clause, judged in suite.judgements()}
    # The engine promises no bound on overtaking: the line protocol has no field for one.
    assert verdicts.pop("SCHED-17").verdict is Verdict.NOT_CLAIMED
    assert {judged.verdict for judged in verdicts.values()} == {Verdict.PASS}, verdicts
    assert {"SCHED-09", "SCHED-12", "BARR-06", "TABLE-02"} <= set(verdicts)


NAMES = [each.name for each in PROFILES]


@pytest.mark.long
@pytest.mark.parametrize("profile", ["ordered", "retries", "drops", "filters", "resume"])
def test_its_other_capabilities_pass(engine: LineBackend, profile: str) -> None:
    assert profile in engine.capabilities
    later = NAMES[NAMES.index(profile) :]
    campaign = run_campaign(
        lambda work, waived: run_workload(engine, work, waive=tuple(waived)),
        profile,
        beside=sorted(engine.capabilities.difference(later)),
        max_examples=20,
    )
    assert campaign.failures == {}
    assert campaign.evidence.unequal == ""


@pytest.mark.parametrize("case", sorted(CASES.glob("*.json")), ids=lambda path: path.stem)
def test_what_once_went_wrong_does_not_again(engine: LineBackend, case: Path) -> None:
    result = run_workload(engine, read_case(case).workload)
    assert result.violations == [], result.explanation


def test_two_runs_write_the_same_trace_through_crashes(engine: LineBackend, tmp_path: Path) -> None:
    texts = []
    for name in ("one.jsonl", "two.jsonl"):
        result = run_workload(engine, THREE_INCARNATIONS, trace=tmp_path / name)
        assert result.violations == [], result.explanation
        assert result.outcomes == ["crash", "crash", "success"]
        assert result.tables[-1].dropped == {4}
        texts.append((tmp_path / name).read_bytes())
    assert texts[0] == texts[1]


def test_each_mutant_is_listed() -> None:
    assert sorted(BROKEN) == sorted(path.stem for path in MUTANTS.glob("*.mjs"))


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_variant_breaks_its_clause(name: str) -> None:
    profile, clause = BROKEN[name]
    backend = LineBackend(["node", str(MUTANTS / f"{name}.mjs")])

    def run(work: Workload, waived: Collection[str] = ()) -> RunResult:
        return run_workload(backend, work, waive=tuple(waived))

    try:
        assert smoke(run) is None
        beside = {"batch_barriers", "work_conserving", "storage_steps"} & backend.capabilities
        campaign = run_campaign(
            run,
            profile,
            beside=sorted(beside),
            max_examples=60,
            causes=Causes(run, shrink_runs=40),
            stops_at=lambda _: True,
        )
    finally:
        backend.close()
    assert list(campaign.failures) == [clause]
    assert clause in {each.number for each in profile_of(profile).clauses}


def test_the_page_shows_the_output_of_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert shown_exchange(PAGE.read_text(encoding="utf-8")) == exchange(), (
        "run: python -m tests.engines.protocol_page --write"
    )


def test_the_example_stays_small_and_needs_nothing() -> None:
    text = ENGINE.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 280
    assert set(re.findall(r'from "(.*?)"', text)) == {"node:fs", "node:path", "node:url"}
    assert max(map(len, text.splitlines())) <= 100


def test_the_engine_ends_with_its_input() -> None:
    found = subprocess.run(
        ["node", str(ENGINE)], input="", capture_output=True, text=True, timeout=30, check=False
    )
    assert found.returncode == 0
    assert found.stdout.startswith('{"event":"hello","protocol":2,"name":"cells-on-node"')
