"""What a workload asks of an engine: the things that a plain one lacks, by name.

Two violations are likelier to be of one bug if their smallest workloads ask for the same things.
"""

from __future__ import annotations

from dataclasses import fields

from cellspec.conformance.run.workload import Workload
from cellspec.graph.columns import ColumnDescriptor

__all__ = ["needs_of"]

_USUAL = Workload((ColumnDescriptor("a"),), 1)
_IN_ALL = frozenset({"columns", "rows", "seed", "order_seed", "latency_s", "ends", "batch_size"})
"""Fields in which workloads differ anyway, or that others imply."""

_OF_PARTS = ("limits", "failures")
"""Fields that are made of parts."""


def needs_of(work: Workload) -> frozenset[str]:
    """What a workload asks for beyond plain cells, each thing by a name."""
    found: set[str] = set()
    for item in fields(Workload):
        value, usual = getattr(work, item.name), getattr(_USUAL, item.name)
        if item.name in _OF_PARTS:
            found.update(
                part.name
                for part in fields(value)
                if getattr(value, part.name) != getattr(usual, part.name)
            )
        elif item.name not in _IN_ALL and value != usual:
            found.add(item.name)
    found.update(fault.failure for fault in work.faults)
    for column in work.to_dict()["columns"]:
        found.update(column["traits"])
    if "BATCH_BARRIER" in found:
        # It is a barrier too, over a part of the rows.
        found.add("BARRIER")
    return frozenset(found - {"faults", "START", "CELL_BY_CELL", "stop_rate"})
