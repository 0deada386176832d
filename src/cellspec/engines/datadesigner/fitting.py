"""Parts of a workload, brought to another one that DataDesigner can be asked for.

A workload that is fitted to DataDesigner may have other scopes of barriers, and fewer rows. A fault
or an end that names one is brought to a node that is there. Its rows come in row groups of a size,
the *buffer size*.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from cellspec.conformance.run.workload import End, Fault, Workload

__all__ = ["buffer_rows", "fitted_ends", "fitted_faults", "node_counts"]


def buffer_rows(work: Workload) -> int:
    """Rows of a row group: the workload's, or else a size that its seed draws.

    DataDesigner always works in row groups, and a workload without any has no say in their size:
    one group of all rows, or two to four.
    """
    own = work.limits.group_rows or work.batch_size
    return own or -(-work.rows_of(0) // (1 + work.seed // 2 % 4))


def node_counts(work: Workload) -> dict[str, int]:
    """For each column the number of its nodes that can fail, in the run with the most rows."""
    graph = work.graph(max(range(work.incarnations), key=work.rows_of))
    return {
        rule.name: graph.rules.scope_count(rule.index) or graph.num_records
        for rule in graph.rules.columns
    }


def fitted_faults(faults: Iterable[Fault], counts: Mapping[str, int]) -> tuple[Fault, ...]:
    """The faults, each at a node that is there; of two that meet at one node the first.

    Backoffs are left out: a model's client keeps those, and is not here. So are foreign exceptions:
    the generators raise errors of DataDesigner's models, and built-in ones, for any failure.
    """
    came_from: dict[tuple[str, int], int] = {}
    kept = []
    for fault in faults:
        position = fault.position % counts[fault.column]
        if came_from.setdefault((fault.column, position), fault.position) == fault.position:
            kept.append(replace(fault, position=position, cool_down_s=0.0, raises=""))
    return tuple(kept)


def fitted_ends(ends: Iterable[End], counts: Mapping[str, int]) -> tuple[End, ...]:
    """The ends of calls of nodes that are there."""
    return tuple(end for end in ends if end.position < counts[end.column])
