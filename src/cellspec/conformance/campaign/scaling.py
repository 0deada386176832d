"""Scaling: whether the work of an event grows with rows, history, a queue or a barrier's scope.

An engine that looks at every row at each event is right, and useless at ten thousand rows. Times
say little on a busy machine, so the suite *counts* lines of the engine's code
(`cellspec.conformance.run.line_counter`). It runs a few small workloads, each of which grows in one
respect alone (`cellspec.conformance.campaign.scaling_shapes`), and compares the lines for an event
at one size and at another (`cellspec.conformance.campaign.scaling_limits`).

Two runs of one shape must give the same count; otherwise the clause is inconclusive. Engines that
make calls in other threads or processes, or run in real time, are left unjudged: how often such an
engine looks for work depends on the machine.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from cellspec.conformance.campaign.results import Campaign, failure_of
from cellspec.conformance.campaign.scaling_counts import (
    CountedRuns,
    OtherViolation,
    Unjudgeable,
    measured,
)
from cellspec.conformance.campaign.scaling_limits import Scaling
from cellspec.conformance.campaign.scaling_shapes import COST_CLAUSES, COST_PROFILE, SHAPES, Shape
from cellspec.conformance.judge.evidence import Evidence
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.backend import Backend
from cellspec.conformance.run.recorder import AdapterError
from cellspec.conformance.run.workload import Workload
from cellspec.errors import SpecError

__all__ = ["NOT_COUNTED", "CostCampaign", "judge_cost", "run_cost_campaign"]

NOT_COUNTED = (
    "the engine's work cannot be counted: its run is no coroutine in virtual time, and how often "
    "it looks for work is a matter of the machine"
)


def judge_cost(
    backend: Backend, clause: str, work: Workload, *, waive: Collection[str] = ()
) -> RunResult:
    """Run a workload with more and more rows, and judge the work of an event.

    Args:
        backend: the engine; its `run` is a coroutine function.
        clause: the clause about cost to judge.
        work: the workload with the fewest rows, as a case has it. It is grown first, and then each
            size is fitted to the engine. Fitted before it is grown, it could become another
            workload, with row groups of the fewest rows, say.
        waive: clauses to leave unjudged.

    Returns:
        The run with the fewest rows; if the clause is broken, that is its violation. If a run
        broke another clause, that run.

    Raises:
        SpecError: a clause that is not about cost.
        AdapterError: an engine whose work cannot be counted.
    """
    what = next((shape.what for shape in SHAPES if shape.clause == clause), None)
    if what is None:
        known = ", ".join(sorted(COST_CLAUSES))
        raise SpecError(f"clause: {clause!r} is not about cost; those are {known}")
    if not _can_count(backend):
        raise AdapterError(f"backend {backend.name}: {NOT_COUNTED}")
    evidence = Evidence()
    try:
        counts = CountedRuns(backend, work, waive, evidence)
        scaling = measured(Shape("", clause, what, work), counts)
    except OtherViolation as broken:
        return broken.result
    except Unjudgeable as error:
        raise AdapterError(f"{clause}: {error}") from None
    if scaling.is_too_much:
        counts.base.violations.append(scaling.finding())
    return counts.base


def _can_count(backend: Backend) -> bool:
    return inspect.iscoroutinefunction(backend.run)


@dataclass
class CostCampaign(Campaign):
    """A campaign about cost: its failures, and the scaling of each shape."""

    scalings: dict[str, Scaling] = field(default_factory=dict)


def run_cost_campaign(
    backend: Backend,
    capabilities: Collection[str],
    *,
    waive: Collection[str] = (),
    with_cpu: bool = False,
    shapes: Sequence[Shape] = SHAPES,
) -> CostCampaign:
    """Measure every shape that the engine may be asked for, and judge it.

    Each clause has runs of its own, so the campaign goes on after one breaks. One cause is reported
    once: a clause is left inconclusive if the function that grows most has broken another clause
    already. A run that breaks some other clause is a failure too; the shape is then measured with
    that clause waived.

    Args:
        backend: the engine.
        capabilities: its capabilities.
        waive: clauses to leave unjudged.
        with_cpu: measure CPU time as well.
        shapes: the shapes to measure.
    """
    evidence = Evidence()
    campaign = CostCampaign(COST_PROFILE, evidence)
    if not _can_count(backend):
        evidence.unjudged = {shape.clause: NOT_COUNTED for shape in SHAPES}
        return campaign
    judge = _CostJudge(campaign, backend, frozenset(capabilities), set(waive), with_cpu)
    for number, shape in enumerate(shapes, 1):
        if shape.needs <= judge.capabilities:
            while shape.clause not in judge.waived and not judge.is_done_with(shape, number):
                pass
    evidence.planned = evidence.workloads
    evidence.unjudged = judge.unjudged
    evidence.waived = tuple(sorted(judge.waived))
    return campaign


@dataclass
class _CostJudge:
    """Judges shape after shape, and keeps the verdicts so far."""

    campaign: CostCampaign
    backend: Backend
    capabilities: frozenset[str]
    waived: set[str]
    with_cpu: bool
    unjudged: dict[str, str] = field(default_factory=dict)
    blamed: dict[str, str] = field(default_factory=dict)

    def is_done_with(self, shape: Shape, number: int) -> bool:
        """Measure and judge a shape; False if it must be done again, with more waived."""
        evidence = self.campaign.evidence
        try:
            counts = CountedRuns(
                self.backend, shape.asked_of(self.capabilities), self.waived, evidence
            )
            scaling = measured(shape, counts)
            if self.with_cpu:
                scaling = replace(scaling, cpu_ratio=counts.cpu_ratio())
        except Unjudgeable as error:
            if not evidence.exercised[shape.clause]:
                self.unjudged[shape.clause] = str(error)
            return True
        except OtherViolation as broken:
            self.waived.add(self._fail(broken.result, number))
            return False
        self.campaign.scalings[shape.name] = scaling
        evidence.exercised[shape.clause] += 1
        self.unjudged.pop(shape.clause, None)
        if scaling.is_too_much and shape.clause not in self.campaign.failures:
            self._blame(shape, number, scaling, counts)
        return True

    def _blame(self, shape: Shape, number: int, scaling: Scaling, counts: CountedRuns) -> None:
        """Note that an event costs too much, unless the same cause was reported before."""
        worst = next(iter(scaling.growing), "")
        before = self.blamed.get(worst, shape.clause)
        if before != shape.clause:
            self.unjudged[shape.clause] = f"what grows is {worst}, which breaks {before} already"
            return
        for name in scaling.growing:
            self.blamed.setdefault(name, shape.clause)
        counts.base.violations.append(scaling.finding())
        self._fail(counts.base, number, asked=counts.work)

    def _fail(self, result: RunResult, number: int, asked: Workload | None = None) -> str:
        failure = failure_of(
            result, profile=COST_PROFILE, example=number, waived=sorted(self.waived)
        )
        if asked is not None:
            # What ran is the smallest size as the engine could be asked for it; grown again, that
            # may be another workload (`judge_cost`).
            failure = replace(failure, workload=asked)
        return self.campaign.failures.setdefault(failure.clause, failure).clause
