"""The figures of a run that decide something: what a table of many runs shows of them all.

A run has about a hundred figures. An architect decides by the time and the money that a pipeline
takes, by what is left of it after drops and crashes, and by what holds it up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from cellspec.errors import SpecError
from cellspec.text import did_you_mean
from sim.figures import FROM_SCENARIO
from sim.result_fields import Scalar

__all__ = ["GIVEN", "check_figure", "deciding", "numbers"]

GIVEN = frozenset({*FROM_SCENARIO, "limit", "pipelines"})
"""What a result repeats of its scenario and of how it was judged, by the end of its name."""

_OF_A_PIPELINE = {
    "makespan_s": True,
    "rows_per_s": True,
    "first_row_s": True,
    "row_age_p95_s": True,
    "rows_delivered": True,
    "rows_dropped": False,
    "cost": False,
    "crashes": False,
    "busy_lost_s": False,
    "busy_lost_share": False,
    "cells_done_again": False,
    "checkpoint_bytes": False,
}
"""The figures of one pipeline, and whether they are shown where they are 0 in every run."""

_OF_AN_ENDPOINT = ("utilisation", "refused_share", "cost")
"""The figures of an endpoint that serves several pipelines; shown where they are not 0."""


def deciding(runs: Sequence[Mapping[str, Scalar]]) -> list[str]:
    """The names of the figures that decide, in the order in which a table shows them.

    Those of faults, money and checkpoints are left out where they are 0 in every run. Of the
    resources the busiest is named: it holds the run up.

    Args:
        runs: of each run its figures, as in `sim.experiments.replication.Replication.figures`.
    """
    names = dict.fromkeys(name for run in runs for name in run)
    values = [numbers(run) for run in runs]
    pipelines = dict.fromkeys(
        name.removesuffix("makespan_s") for name in names if name.endswith(".makespan_s")
    )
    found = ["makespan_s"] if pipelines else []
    for start in pipelines or [""]:
        found += [
            start + name
            for name, always in _OF_A_PIPELINE.items()
            if start + name in names and (always or _is_more(values, start + name))
        ]
        found += _busiest(values, [name for name in names if _is_utilisation(name, start)])
    for name in names:
        kind, _, key = name.rpartition(".")
        wanted = _OF_AN_ENDPOINT if pipelines else ("refused_share",)
        if kind.startswith("endpoint.") and key in wanted and _is_more(values, name):
            found.append(name)
    return found


def check_figure(name: str, figures: Mapping[str, Scalar], option: str = "--figure") -> None:
    """Refuse the name of a figure that runs do not have, that is no number, or that is given.

    Args:
        name: as a user gave it.
        figures: of one run.
        option: where it was given.

    Raises:
        SpecError: it cannot be used; one line that says why.
    """
    if name not in figures:
        near = did_you_mean(name, figures) or "; `cellspec run --format csv` names them"
        raise SpecError(f"{option}: no figure of this scenario is called {name!r}{near}")
    if isinstance(figures[name], str | bool):
        raise SpecError(f"{option}: {name} is {figures[name]!r}, and no number")
    if name.rpartition(".")[2] in GIVEN:
        raise SpecError(f"{option}: {name} is what the scenario says, and no figure of its runs")


def numbers(figures: Mapping[str, Scalar]) -> dict[str, float | int]:
    """The figures of a run that are numbers, but for its seed, which is given and not found."""
    return {
        name: value
        for name, value in figures.items()
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and name.rpartition(".")[2] != "seed"
    }


def _is_more(runs: Sequence[Mapping[str, float]], name: str) -> bool:
    """Whether any run has a figure other than 0."""
    return any(run.get(name) for run in runs)


def _is_utilisation(name: str, start: str) -> bool:
    rest = name.removeprefix(start)
    return name.startswith(start) and (
        rest == "worker_utilisation"
        or (rest.startswith("resource.") and rest.endswith(".utilisation"))
    )


def _busiest(runs: Sequence[Mapping[str, float]], names: Sequence[str]) -> list[str]:
    """The one of some utilisations that is the largest on average; none if none is a number."""
    # Of a resource and the workers that are as busy, the resource says more.
    ordered = sorted(names, key=lambda name: name.endswith("worker_utilisation"))
    found = {name: [run[name] for run in runs if name in run] for name in ordered}
    means = {name: fmean(values) for name, values in found.items() if values}
    return [max(means, key=lambda name: means[name])] if means else []
