"""What ``cellspec run --report`` adds to a run: a recorder of its events, and the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sim.output.report.recorder import RunRecorder
from sim.output.report.run_page import run_page
from sim.results import Result
from sim.results_together import TogetherResult
from sim.scenario.scenario import Scenario
from sim.simulation import trace_header

__all__ = ["also", "recorders", "report_of"]


def recorders(scenario: Scenario) -> list[RunRecorder]:
    """Of each pipeline of a scenario, the recorder of its run."""
    runs = scenario.pipelines()
    found = []
    for place, run in enumerate(runs):
        others = [*runs[:place], *runs[place + 1 :]]
        limits = {
            name: max(1, min(plan.start, plan.most)) for name, plan in run.throttle_plans().items()
        }
        found.append(RunRecorder(trace_header(run, others), limits))
    return found


def also(
    first: Callable[..., object] | None, second: Callable[..., object]
) -> Callable[..., object]:
    """A listener that passes each event on to two; or the second, if there is no first."""
    if first is None:
        return second
    before = first

    def both(event: Any, t: float, **fields: Any) -> None:
        before(event, t, **fields)
        second(event, t, **fields)

    return both


def report_of(result: Result | TogetherResult, records: Sequence[RunRecorder]) -> str:
    """The page of a run that is over."""
    for record in records:
        record.close()
    return run_page(result, records)
