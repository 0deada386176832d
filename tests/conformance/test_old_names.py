"""The names up to version 0.1: an adapter that was written with them runs unchanged."""

from __future__ import annotations

import hashlib
import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cellspec import ColumnDescriptor
from cellspec.conformance import Finding, Workload, run_workload
from tests.tiny import TinyAsync

OLD = Path(__file__).parent / "tutorial_0_1"
WORK = Workload((ColumnDescriptor("a"),), 2, crashes=(1,))

# The adapter and the engine that the tutorial ended with before `life` was called incarnation.
DIGESTS = {
    "my_backend.py": "fccaf7b383e30eff50ba075d320d1bcb0230f0321161f317781dbd153bf51032",
    "my_engine.py": "32910e957bc95f26435e25447a1a49a3278565cc619efc1938f134a2ac6bc4dd",
}


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_the_files_of_the_old_tutorial_are_as_they_were(name: str) -> None:
    assert hashlib.sha256((OLD / name).read_bytes()).hexdigest() == DIGESTS[name]


@pytest.mark.long
def test_the_adapter_of_the_old_tutorial_passes_all_that_it_has_the_capabilities_for(
    tmp_path: Path,
) -> None:
    for name in DIGESTS:
        shutil.copy(OLD / name, tmp_path)
    suite = [
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--pyargs"),
        *("cellspec.conformance", "--engine-backend=my_backend:MyBackend", "--max-examples=60"),
    ]
    run = subprocess.run(
        suite, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    assert re.search(r"^clauses: 48 pass, \d+ not claimed$", run.stdout, re.MULTILINE)


def test_a_probe_and_a_workload_have_their_old_names() -> None:
    probes = []

    class Listening(TinyAsync):
        async def run(self, probe):  # type: ignore[no-untyped-def]
            probes.append((probe.life, probe.claims, probe.capabilities, probe.work.lives))
            await super().run(probe)

    assert not run_workload(Listening(), WORK).violations
    capabilities = frozenset(TinyAsync.capabilities)
    assert probes == [(life, capabilities, capabilities, 2) for life in (0, 1)]


def test_a_result_and_a_finding_give_their_explanation_by_its_old_name() -> None:
    found = Finding("SCHED-01", "too early", explanation=("the rule", "found: too early"))
    assert found.story == found.explanation
    result = run_workload(TinyAsync(), WORK)
    assert result.story == result.explanation == ()
    result.violations.append(found)
    assert result.story == result.explanation == found.explanation


# What tests imported that the suite printed, and the place of each name now.
PASTED = {
    ("cellspec.conformance.cost", "judge_cost"): "cellspec.conformance.campaign.scaling",
    ("cellspec.conformance.harness", "run_workload"): "cellspec.conformance.judge.harness",
    ("cellspec.conformance.reference", "ReferenceBackend"): "cellspec.engines.reference",
    ("cellspec.conformance.reference", "ThreadBackend"): "cellspec.engines.reference",
    ("cellspec.conformance.workload", "End"): "cellspec.conformance.run.workload",
    ("cellspec.conformance.workload", "Fault"): "cellspec.conformance.run.workload",
    ("cellspec.conformance.workload", "Workload"): "cellspec.conformance.run.workload",
    ("sim.fuzz.machine", "MachineBackend"): "cellspec.engines.machine",
}


@pytest.mark.parametrize(("older", "name"), sorted(PASTED))
def test_a_name_that_a_pasted_test_imports_is_handed_on(older: str, name: str) -> None:
    home = PASTED[older, name]
    with pytest.warns(DeprecationWarning, match=rf"is now {home}\.{name};") as warned:
        found = getattr(importlib.import_module(older), name)
    assert found is getattr(importlib.import_module(home), name)
    assert warned[0].filename == __file__


OLDER_PLACES = sorted({older for older, _ in PASTED})


@pytest.mark.parametrize("older", OLDER_PLACES)
def test_every_name_of_an_older_place_exists(older: str) -> None:
    module = importlib.import_module(older)
    for name, home in vars(module)["_HOME_OF"].items():
        with pytest.warns(DeprecationWarning, match=f"{name} is now {home}"):
            assert getattr(module, name) is getattr(importlib.import_module(home), name)
    with pytest.raises(AttributeError, match=f"module '{older}' has no attribute 'nothing'"):
        module.nothing  # noqa: B018


def test_a_pasted_test_of_version_0_1_runs(tmp_path: Path) -> None:
    pasted = """
import sim.fuzz.machine
from cellspec import ColumnDescriptor, ExecutionTraits
from cellspec.conformance.cost import judge_cost
from cellspec.conformance.harness import run_workload
from cellspec.conformance.reference import ReferenceBackend
from cellspec.conformance.workload import End, Fault, Workload
from cellspec.machine import FailurePolicy, Limits

work = Workload((ColumnDescriptor("a"),), 2)
for backend in (ReferenceBackend(), sim.fuzz.machine.MachineBackend()):
    assert not run_workload(backend, work).violations
"""
    run = subprocess.run(
        [sys.executable, "-c", pasted], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert run.returncode == 0, run.stderr


def test_the_older_command_prints_the_schema_of_a_scenario() -> None:
    texts = [
        subprocess.run(
            [sys.executable, "-W", "error", "-m", module],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for module in ("sim.scenario", "sim.scenario.schema")
    ]
    assert texts[0] == texts[1]
    assert texts[0].startswith("{")
