"""The names up to version 0.1: an adapter that was written with them runs unchanged."""

from __future__ import annotations

import hashlib
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
    assert re.search(r"^clauses: 43 pass, 22 not claimed$", run.stdout, re.MULTILINE)


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
