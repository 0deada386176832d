"""The cost of an event in CPU time and in questions to the graph: figures to look at.

Where an engine scans its tracker at each event, the cost grows with the number of rows. CPU time is
noisy, so the best of a few runs counts, and the figure decides no clause
(`cellspec.conformance.campaign.scaling` judges cost by counted lines).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.backend import Fit
from cellspec.conformance.run.workload import Workload
from cellspec.graph.columns import ColumnDescriptor
from cellspec.machine.limits import Limits

__all__ = ["COST_ROWS", "cost_ratios"]

COST_ROWS = (30, 240)
"""Rows of the two runs that are compared."""

_COST_RUNS = 3


def cost_ratios(run: Callable[[Workload], RunResult], fit: Fit) -> dict[str, Any]:
    """The cost of an event with many rows, divided by that with few.

    Args:
        run: runs one workload.
        fit: brings a workload to one that the engine can be asked for.
    """
    columns = (
        ColumnDescriptor("a"),
        ColumnDescriptor("b", dependencies=["a"]),
        ColumnDescriptor("c", dependencies=["b"]),
    )
    each = []
    for rows in COST_ROWS:
        drawn = Workload(columns, rows=rows, limits=Limits(workers=8))
        work = fit(drawn) or drawn
        costs = [run(work).cost for _ in range(_COST_RUNS)]
        cost = min(costs, key=lambda cost: cost.cpu_s)
        each.append([cost.cpu_s / max(cost.events, 1), cost.graph_questions / max(cost.events, 1)])
    (few_s, few_asked), (many_s, many_asked) = each
    return {
        "rows": list(COST_ROWS),
        "cpu_ratio": round(many_s / few_s, 3) if few_s else 0.0,
        "question_ratio": round(many_asked / few_asked, 3) if few_asked else 0.0,
    }
