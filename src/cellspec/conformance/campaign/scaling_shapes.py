"""Shapes: small workloads of which each grows in one respect alone.

=========  ========  ===============================================================================
clause     shape     the respect in which it grows
=========  ========  ===============================================================================
COST-02    history   within one run, the events so far; the queue gets shorter
COST-01    crowd     the rows, and the calls in flight; the queue stays empty
COST-01    wide      the rows; row groups keep few of them in flight and in the queue
COST-01    failures  the same, with calls that fail and rows that are dropped
COST-01    saves     the same, with a checkpoint every few rows
COST-03    queue     ready nodes whose resource is used up, while others go past them
COST-04    barrier   the rows that a barrier waits for
=========  ========  ===============================================================================

The shapes are judged in this order, so that scaling is reported of the narrowest shape. An engine
without row groups gets all rows at once; there a queue shows as COST-01.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from cellspec.conformance.run.workload import Fault, Workload
from cellspec.graph.columns import ColumnDescriptor, ExecutionTraits
from cellspec.machine.limits import FailurePolicy, Limits

__all__ = ["COST_CLAUSES", "COST_PROFILE", "HISTORY", "SHAPES", "Shape", "grown"]

COST_PROFILE = "counted_work"
"""The capability of engines whose work can be counted."""
HISTORY = "COST-02"
"""The clause that is judged within one run."""
_BASE_ROWS = 25


@dataclass(frozen=True)
class Shape:
    """A workload to grow, and the clause that its scaling judges.

    Attributes:
        name: one word.
        clause: the clause's number.
        what: the respect in which the workload grows, in words that end "an event costs more …".
        work: the workload, with the fewest rows.
        needs: the capabilities of engines that it is run on.
    """

    name: str
    clause: str
    what: str
    work: Workload
    needs: frozenset[str] = frozenset()

    def asked_of(self, capabilities: Collection[str]) -> Workload:
        """The workload, without row groups for an engine that has none."""
        limits = self.work.limits
        if "groups" not in capabilities:
            limits = replace(limits, group_rows=None, groups=None)
        return self.work.replace(limits=limits)


def _cells(*needs: str) -> tuple[ColumnDescriptor, ...]:
    """Columns by name, each with its dependencies: ``"c<ab"``."""
    made = []
    for text in needs:
        name, _, needed = text.partition("<")
        made.append(ColumnDescriptor(name, dependencies=list(needed)))
    return tuple(made)


# Some engines make a column without inputs in one call; so the barrier needs a column with one.
_GATE = (
    *_cells("a", "b<a"),
    ColumnDescriptor("v", traits=ExecutionTraits.BARRIER, dependencies=["b"]),
    ColumnDescriptor("c", dependencies=["v"]),
)
_FEW = Limits(workers=8, group_rows=5, groups=3)
_WITH_ROWS = "with more rows"
SHAPES: tuple[Shape, ...] = (
    Shape(
        "history",
        "COST-02",
        "the more events there were",
        Workload(_cells("a", "b<a"), rows=_BASE_ROWS, limits=Limits(workers=4)),
    ),
    Shape(
        "crowd",
        "COST-01",
        _WITH_ROWS,
        Workload(_cells("a", "b<a"), rows=_BASE_ROWS, latency_s={"a": 60.0, "b": 60.0}),
    ),
    Shape(
        "wide",
        "COST-01",
        _WITH_ROWS,
        Workload(_cells("a", "b<a", "c<a", "d<a", "e<bcd"), rows=_BASE_ROWS, limits=_FEW),
    ),
    Shape(
        "failures",
        "COST-01",
        _WITH_ROWS,
        Workload(
            _cells("a", "b<a"),
            rows=_BASE_ROWS,
            limits=_FEW,
            failures=FailurePolicy(2),
            faults=(
                *(Fault("b", row) for row in range(0, _BASE_ROWS, 5)),
                *(Fault("a", row, failure="permanent") for row in range(3, _BASE_ROWS, 10)),
            ),
        ),
        frozenset(("retries", "drops")),
    ),
    Shape(
        "saves",
        "COST-01",
        _WITH_ROWS,
        Workload(_cells("a", "b<a"), rows=_BASE_ROWS, limits=_FEW, checkpoint_every_rows=5),
        frozenset(("resume",)),
    ),
    Shape(
        "queue",
        "COST-03",
        "the longer the queue is of what cannot start",
        Workload(
            _cells("a", "b<a", "c<a"),
            rows=_BASE_ROWS,
            limits=Limits(resources={"r": 1, "s": 1}, column_resource={"b": "r", "c": "s"}),
            latency_s={"b": 8.0},
        ),
    ),
    Shape(
        "barrier",
        "COST-04",
        "the more rows a barrier waits for",
        Workload(_GATE, rows=_BASE_ROWS, limits=Limits(workers=8)),
    ),
)
"""The shapes, in the order in which they are judged."""
COST_CLAUSES: frozenset[str] = frozenset(shape.clause for shape in SHAPES)
"""The clauses about cost."""


def grown(work: Workload, times: int) -> Workload:
    """The workload with so many times its rows; failures and skips come as often."""
    barriers = {rule.name for rule in work.graph().rules.columns if rule.is_barrier}
    return work.replace(
        rows=work.rows * times,
        faults=tuple(
            replace(fault, position=fault.position + block * work.rows)
            for block in range(times)
            for fault in work.faults
            if block == 0 or fault.column not in barriers
        ),
        skips=tuple(
            (column, row + block * work.rows)
            for block in range(times)
            for column, row in work.skips
        ),
    )
