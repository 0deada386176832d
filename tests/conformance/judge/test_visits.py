"""Processes of somebody else that begin in the folder of a run: refused, or in a fresh place."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cellspec.conformance import Backend, Probe, Table, run_workload
from cellspec.conformance.judge.visits import visiting_workload
from cellspec.conformance.run.workload import Visit, Workload
from cellspec.engines.reference import ReferenceBackend
from cellspec.graph.columns import ColumnDescriptor, ExecutionTraits
from tests.conformance.second_engine import ColumnFirst
from tests.matrix.engine_mutants import ENGINE_MUTANTS

WORK = Workload(
    columns=(
        ColumnDescriptor("a", traits=ExecutionTraits.START),
        ColumnDescriptor("b", traits=ExecutionTraits.BATCH_BARRIER, dependencies=["a"]),
    ),
    rows=8,
    batch_size=2,
    checkpoint_every_rows=1,
    crashes=(60,),
    versions={"a": "1"},
)
CLAUSES: dict[Visit, str] = {
    "config": "CKPT-20",
    "batch_size": "CKPT-21",
    "pipeline": "CKPT-21",
}


class FreshPlace(ReferenceBackend):
    """Keeps each pipeline, with its versions, in a folder of its own."""

    async def run(self, probe: Probe) -> None:
        probe.folder = self._place(probe)
        await super().run(probe)

    def table(self, probe: Probe) -> Table:
        folder, probe.folder = probe.folder, self._place(probe)
        try:
            return super().table(probe)
        finally:
            probe.folder = folder

    def _place(self, probe: Probe) -> Path:
        graph = probe.work.graph()
        place = probe.folder / "-".join([graph.fingerprint, *graph.config.values()])
        place.mkdir(exist_ok=True)
        return place


class LastOneWins(FreshPlace):
    """Clears the places of all others when it begins."""

    async def run(self, probe: Probe) -> None:
        mine = self._place(probe)
        for other in probe.folder.iterdir():
            if other != mine:
                shutil.rmtree(other)
        await super().run(probe)


@pytest.mark.parametrize("kind", CLAUSES)
@pytest.mark.parametrize("make", [ReferenceBackend, ColumnFirst, FreshPlace])
def test_an_engine_that_refuses_or_begins_in_a_fresh_place_is_right(
    make: Callable[[], Backend], kind: Visit
) -> None:
    # Late enough for a claim of either engine; one of them announces more steps.
    crash = 34 if make is ColumnFirst else 60
    result = run_workload(make(), WORK.replace(crashes=(crash,), visits=(kind,)))
    assert not result.violations, result.violations
    assert (result.visits, result.outcomes) == ([kind], ["crash", "success"])


@pytest.mark.clause("CKPT-20", "CKPT-21")
@pytest.mark.parametrize("kind", CLAUSES)
def test_an_engine_that_clears_the_place_of_another_is_found(kind: Visit) -> None:
    (found,) = run_workload(LastOneWins(), WORK.replace(visits=(kind,))).violations
    assert found.clause == CLAUSES[kind]
    assert "is gone" in found.detail or "cannot be read" in found.detail


@pytest.mark.clause("CKPT-20", "CKPT-21")
@pytest.mark.parametrize(
    ("name", "kind"),
    [("takes any version", "config"), ("clears the folder", "pipeline")],
)
def test_the_first_visit_finds_the_mutant(name: str, kind: Visit) -> None:
    (mutant,) = [item for item in ENGINE_MUTANTS if item.name == name]
    (found,) = run_workload(mutant.backend(), WORK.replace(visits=(kind,))).violations
    assert found.clause == CLAUSES[kind]


def test_visitors_differ_in_any_column_and_their_pipelines_in_many_ways() -> None:
    kept = [(item.name, 0) for item in WORK.columns]
    work = WORK.replace(versions={"a": "1", "b": "1"})

    def words(kind: Visit) -> set[str]:
        found = (visiting_workload(work, kind, kept, number) for number in range(6))
        return {visit[1] for visit in found if visit is not None}

    assert words("config") == {"another version of 'a'", "another version of 'b'"}
    assert words("pipeline") == {
        "another pipeline (one column more)",
        "another pipeline (without 'b')",
        "another pipeline ('b' does not read 'a')",
    }


def test_nobody_is_let_in_while_nothing_is_claimed() -> None:
    early = WORK.replace(crashes=(1,), visits=("config",))
    assert run_workload(ReferenceBackend(), early).visits == []


def test_a_version_that_was_not_stated_is_not_compared() -> None:
    silent = WORK.replace(versions={}, visits=("config",))
    assert run_workload(ReferenceBackend(), silent).visits == []
