"""What ``cellspec run --report`` and ``--figures`` add to a run: a recorder, the page, files."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cellspec.files import check_folder, path_of
from sim.output.report.plots import check_plots, plots
from sim.output.report.recorder import RunRecorder
from sim.output.report.run_page import charts_of_run, run_page
from sim.results import Result
from sim.results_together import TogetherResult
from sim.scenario.scenario import Scenario
from sim.simulation import trace_header

__all__ = ["also", "check_reporting", "files_of_report", "recorders"]


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


def check_reporting(args: argparse.Namespace) -> None:
    """What can be known before a run that may take an hour: where figures go, and who draws them.

    Raises:
        SpecError: the folder of figures cannot be one.
        MissingExtraError: matplotlib is not installed, and figures are wanted.
    """
    if args.figures is not None:
        check_folder(args.figures)
        check_plots()


def files_of_report(
    args: argparse.Namespace, result: Result | TogetherResult, records: Sequence[RunRecorder]
) -> list[tuple[Path, Mapping[str, str | bytes]]]:
    """By folder, the page of a run that is over and its figures, as far as they are wanted."""
    for record in records:
        record.close()
    found: list[tuple[Path, Mapping[str, str | bytes]]] = []
    if args.report is not None:
        page = path_of(args.report)
        found.append((page.parent, {page.name: run_page(result, records)}))
    if args.figures is not None:
        figures = plots(charts_of_run(result, records), args.figures_format)
        found.append((path_of(args.figures), figures))
    return found
