"""The conformance suite: is an engine that somebody else wrote right?

An engine is judged by what it does with workloads that the suite makes up. Its *backend*
(`Backend`) wires its generators to a `Probe`, which sees every call, and reads back the table that
the engine left on storage. `run_workload` runs one workload through crashes and resumes, and says
which clause of the specification was broken first, if any.

>>> from cellspec.conformance import Backend, Fault, Probe, Table, Workload

The names below are loaded when they are first asked for: pytest loads this package in every run of
everybody who has it installed, for the plugin's sake.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cellspec.check.checker import Finding
    from cellspec.conformance.judge.harness import run_workload
    from cellspec.conformance.judge.run_result import RunResult
    from cellspec.conformance.run.backend import CAPABILITIES, Backend
    from cellspec.conformance.run.probe import AdapterError, Crash, Probe, Refused
    from cellspec.conformance.run.values import REJECTED, SKIPPED, Table, Value
    from cellspec.conformance.run.workload import End, Fault, StorageFault, Workload
    from cellspec.faults import BackPressure, GeneratorError, Permanent, Retryable
    from cellspec.machine.limits import SavePolicy

_HOMES = {
    "cellspec.check.checker": ("Finding",),
    "cellspec.conformance.judge.harness": ("run_workload",),
    "cellspec.conformance.judge.run_result": ("RunResult",),
    "cellspec.conformance.run.backend": ("CAPABILITIES", "Backend"),
    "cellspec.conformance.run.probe": ("AdapterError", "Crash", "Probe", "Refused"),
    "cellspec.conformance.run.values": ("REJECTED", "SKIPPED", "Table", "Value"),
    "cellspec.conformance.run.workload": ("End", "Fault", "StorageFault", "Workload"),
    "cellspec.faults": ("BackPressure", "GeneratorError", "Permanent", "Retryable"),
    "cellspec.machine.limits": ("SavePolicy",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "CAPABILITIES",
    "REJECTED",
    "SKIPPED",
    "AdapterError",
    "BackPressure",
    "Backend",
    "Crash",
    "End",
    "Fault",
    "Finding",
    "GeneratorError",
    "Permanent",
    "Probe",
    "Refused",
    "Retryable",
    "RunResult",
    "SavePolicy",
    "StorageFault",
    "Table",
    "Value",
    "Workload",
    "run_workload",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value
