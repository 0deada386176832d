"""The imports of an engine's tester: nothing of the simulator's libraries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HEAVY = ("numpy", "simpy", "pydantic", "yaml", "sim")

# An engine under test, its probe, the judge, the line protocol, the plugin.
TESTING_AN_ENGINE = f"""
import sys
import cellspec.conformance, cellspec.conformance.pytest.plugin
from cellspec import ColumnDescriptor, ExecutionTraits
from cellspec.conformance import Backend, Fault, Probe, Table, Workload, run_workload
from cellspec.engines.lines import LineBackend
from cellspec.engines.machine import MachineBackend
from cellspec.engines.reference import ReferenceBackend
for engine in (ReferenceBackend(), MachineBackend()):
    work = Workload((ColumnDescriptor("a", traits=ExecutionTraits.START),), rows=3, crashes=(2,))
    assert not run_workload(engine, work).violations
print([name for name in {HEAVY!r} if name in sys.modules])
"""


def test_testing_an_engine_imports_nothing_of_the_simulator(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TESTING_AN_ENGINE],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stderr, done.stdout) == ("", "[]\n")
