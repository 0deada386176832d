"""What a run that accepts rows cannot have."""

from __future__ import annotations

from collections.abc import Iterator

from cellspec.graph.graph import ExecutionGraph
from sim.scenario.strict import Fault

__all__ = ["accept_faults"]


def accept_faults(wanted: int, rows: int, graph: ExecutionGraph) -> Iterator[Fault]:
    """Why rows cannot be accepted as a scenario wants it.

    Args:
        wanted: accepted rows.
        rows: of the dataset.
        graph: its columns.
    """
    if wanted > rows:
        text = f"expected at most {rows}, the rows of the dataset, got {wanted}"
        yield Fault(("accept", "rows"), text)
    for rule in graph.rules.columns:
        if rule.may_skip:
            text = (
                "a row is accepted or not by the call that ends last in it, and a cell of column "
                f"{rule.name!r} that is skipped has none; leave its skip rate out"
            )
            yield Fault(("accept",), text)
            return
