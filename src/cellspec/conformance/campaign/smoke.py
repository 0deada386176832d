"""The smoke test: a few tiny workloads, run before everything else.

A suite that meets an adapter with two wires crossed would report forty broken clauses, all of them
true and all useless. So a few workloads come first that any engine gets right: one cell; a cell
that needs another; a barrier over two rows. A violation there is one of two:

- *your adapter is wrong*: the probe was called in an impossible way, or no call of a generator
  reached it; an exception came out; or a single cell did not reach the table. Nothing can be
  judged, and the suite stops;
- *your engine is wrong*: everything is wired, and a clause broke all the same. The suite takes it
  for what it is, a violation like that of any other workload, and goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cellspec.conformance.campaign.causes import LEFT_UNDONE
from cellspec.conformance.judge.run_result import Interrupted, RunResult
from cellspec.conformance.run.backend import Fit
from cellspec.conformance.run.workload import Workload
from cellspec.graph.columns import ColumnDescriptor, ExecutionTraits

__all__ = ["SMOKE", "SmokeFailure", "failure_of", "smoke"]

SMOKE = "smoke"
"""The name of the smoke test where a failure names its profile."""

_NOT_BY_WIRES = frozenset(LEFT_UNDONE - {"SCHED-12"})
"""Clauses that no wire breaks, however simple the workload: the engine waited where it need not."""

_STORAGE = "CKPT"
"""The chapter of clauses that an engine may break by how it saves, with a single cell too."""


@dataclass(frozen=True, slots=True)
class SmokeFailure:
    """The failure of the smoke test.

    Attributes:
        blames: ``"adapter"`` or ``"engine"``.
        reason: the mistake, in one line.
        explanation: the events before it, a line each.
        workload: the workload that failed.
        result: its run.
        clause: the clause that broke; "" if the adapter made a mistake that leaves none to judge.
    """

    blames: str
    reason: str
    explanation: tuple[str, ...]
    workload: Workload
    result: RunResult
    clause: str = ""

    def __str__(self) -> str:
        return f"your {self.blames} is wrong: {self.reason}"


def smoke(
    run: Callable[[Workload], RunResult],
    fit: Fit = lambda work: work,
    goes_on: Callable[[int, SmokeFailure], bool] = lambda *_: False,
) -> SmokeFailure | None:
    """Run the workloads of the smoke test; None if all is well.

    Args:
        run: runs one workload.
        fit: brings a workload to one that the engine can be asked for.
        goes_on: whether the test goes on after the failure of this workload, counted from 1; by
            default it ends at the first failure.
    """
    for number, (trivial, drawn) in enumerate(_workloads(), 1):
        work = fit(drawn)
        if work is None:
            continue
        try:
            result = run(work)
        except Interrupted as stop:
            stop.example = number
            raise
        found = failure_of(work, result, trivial)
        if found is not None and not goes_on(number, found):
            return found
    return None


def failure_of(work: Workload, result: RunResult, trivial: bool = False) -> SmokeFailure | None:
    """What is wrong in the run of a small workload, and whose fault it is; None if nothing is.

    Args:
        work: the workload.
        result: its run.
        trivial: it is too simple for an engine to break a rule, so the adapter is at fault; but
            for rules about waiting and saving.
    """
    broken = result.violations[0] if result.violations else None
    called = any(event["event"] == "start" for event in result.events)
    if result.adapter:
        # The rule and the finding, its first two lines, are beside the point.
        return SmokeFailure("adapter", result.adapter, result.explanation[2:], work, result)
    if not called and broken is not None and broken.clause == "SCHED-12":
        reason = f"{broken.detail}, and no call of a generator had reached the probe by then"
        return SmokeFailure("adapter", reason, broken.explanation[2:], work, result)
    if not called:
        reason = (
            "no call of a generator reached the probe; every value must come from probe.cell, "
            "probe.barrier or probe.range"
        )
        return SmokeFailure("adapter", reason, (), work, result)
    if broken is None:
        return None
    clause = broken.clause
    by_wires = trivial and clause not in _NOT_BY_WIRES and not clause.startswith(_STORAGE)
    blames = "adapter" if by_wires else "engine"
    reason = f"{clause}: {broken.detail}"
    return SmokeFailure(blames, reason, broken.explanation, work, result, clause)


def _workloads() -> Iterator[tuple[bool, Workload]]:
    """Workloads, each with whether it is too simple for an engine to break a rule."""
    first = ColumnDescriptor("a", traits=ExecutionTraits.START)
    yield True, Workload((first,), rows=1)
    yield False, Workload((first, ColumnDescriptor("b", dependencies=["a"])), rows=2)
    barrier = ColumnDescriptor("v", traits=ExecutionTraits.BARRIER, dependencies=["a"])
    yield False, Workload((first, barrier, ColumnDescriptor("c", dependencies=["v"])), rows=2)
