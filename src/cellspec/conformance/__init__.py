"""The conformance suite: is an engine that somebody else wrote right?

An engine is judged by what it does with workloads that the suite makes up. Its *backend*
(`Backend`) wires its generators to a `Probe`, which sees every call, and reads back the table that
the engine left on storage. `run_workload` runs one workload through crashes and resumes, and says
which clause of the specification was broken first, if any.

>>> from cellspec.conformance import Backend, Fault, Probe, Table, Workload
"""

from cellspec.conformance.backend import CAPABILITIES, SKIPPED, Backend, Table, Value
from cellspec.conformance.probe import AdapterError, Crash, Probe, Refused
from cellspec.conformance.workload import Fault, Workload
from cellspec.faults import BackPressure, GeneratorError, Permanent, Retryable

__all__ = [
    "CAPABILITIES",
    "SKIPPED",
    "AdapterError",
    "BackPressure",
    "Backend",
    "Crash",
    "Fault",
    "GeneratorError",
    "Permanent",
    "Probe",
    "Refused",
    "Retryable",
    "Table",
    "Value",
    "Workload",
]
