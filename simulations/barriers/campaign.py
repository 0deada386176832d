"""What is run, and the runs as a table: a line for each, in the order of points and seeds.

A *point* is a pipeline under an option and a setting. The seeds are 0, 1, 2, … for every point, so
that points differ on common random numbers: the same tokens, and the same gaps between crashes.

Each pipeline is run as it is, and with a search for near duplicates, which needs the dataset; about
one crash comes in a run. Three pipelines are also run with other crashes, batches and costs of
barriers, one of them changed at a time.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from sim.experiments.experiment import Experiment
from sim.experiments.replication import Replication, replicate
from simulations.barriers.pipelines import OPTIONS, Option, Pipeline, Setting

__all__ = [
    "FIGURES",
    "LEVELS",
    "RUNS",
    "SEEDS",
    "VARIED",
    "Point",
    "Run",
    "as_csv",
    "crash_s",
    "from_csv",
    "made",
    "points",
    "run_of",
]

RUNS = Path(__file__).parent / "runs.csv"
SEEDS = 20

VARIED = (("text_to_python", True), ("text_to_sql", False), ("pdf_qa_mcp", False))
"""The pipelines with which settings are varied, and whether with the search."""

LEVELS: Mapping[str, tuple[float, ...]] = {
    "crashes": (0, 0.5, 1, 2),
    "batch": (10, 20, 40, 100),
    "cost": (1, 10, 100),
}
"""Crashes in a run without any, on average; rows of a batch; times the barriers' own times."""

FIGURES = (
    "makespan_s",
    "rows_per_s",
    "busy_lost_s",
    "crashes",
    "first_row_s",
    "checkpoint_bytes",
)


class Point(NamedTuple):
    """What is run with each seed."""

    pipeline: str
    search: bool
    option: Option
    setting: Setting


@dataclass(frozen=True, slots=True)
class Run:
    """The figures of one run of a point, by `FIGURES`."""

    point: Point
    seed: int
    figures: tuple[float, ...]

    def value(self, figure: str) -> float:
        return self.figures[FIGURES.index(figure)]


def crash_s(pipeline: Pipeline) -> int:
    """The mean time to a crash at which about one comes in a run, in seconds: its makespan."""
    found = replicate(pipeline.scenario("A", Setting(), search=False), 0).value("makespan_s")
    assert found is not None
    return round(found / 10) * 10


def points(pipelines: Sequence[Pipeline]) -> list[Point]:
    """All points, each once.

    Without barriers B is as A and D as C, and only A and C are run.
    """
    found: dict[Point, None] = {}
    by_name = {one.name: one for one in pipelines}
    base = {one.name: Setting(crash_s=crash_s(one)) for one in pipelines}
    for pipeline in pipelines:
        for search in (False, True):
            options = OPTIONS if search or pipeline.barriers else ("A", "C")
            for option in options:
                found[Point(pipeline.name, search, option, base[pipeline.name])] = None
    for name, search in VARIED:
        for setting in settings(base[by_name[name].name]):
            for option in OPTIONS:
                found[Point(name, search, option, setting)] = None
    return list(found)


def settings(base: Setting) -> Iterator[Setting]:
    """Each level of what is varied, the rest as in the base."""
    for level in LEVELS["crashes"]:
        yield replace(base, crash_s=round(base.crash_s / level) if level else 0)
    for level in LEVELS["batch"]:
        yield replace(base, batch=int(level))
    for level in LEVELS["cost"]:
        yield replace(base, cost=float(level))


def made(
    pipelines: Sequence[Pipeline],
    wanted: Sequence[Point],
    *,
    seeds: int = SEEDS,
    jobs: int = 1,
    on_run: Callable[[int, Replication], object] = lambda _place, _run: None,
) -> list[Run]:
    """Run points with the seeds from 0 on; every event is judged."""
    by_name = {one.name: one for one in pipelines}
    scenarios = [
        by_name[name].scenario(option, setting, search=search)
        for name, search, option, setting in wanted
    ]
    experiment = Experiment(scenarios, jobs=jobs, on_run=on_run)
    experiment.grow(seeds)
    return [
        run_of(point, run)
        for point, runs in zip(wanted, experiment.runs, strict=True)
        for run in runs
    ]


def run_of(point: Point, run: Replication) -> Run:
    """The figures of a run, each in seven digits."""
    values = [run.value(name) for name in FIGURES]
    return Run(point, run.seed, tuple(float(f"{value or 0.0:.7g}") for value in values))


HEAD = ("pipeline", "search", "option", "crash_s", "batch", "cost", "seed", *FIGURES)


def as_csv(runs: Iterable[Run]) -> str:
    """The table of runs."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEAD)
    for run in runs:
        name, search, option, setting = run.point
        of_setting = (setting.crash_s, setting.batch, f"{setting.cost:g}")
        figures = (f"{value:.7g}" for value in run.figures)
        writer.writerow([name, int(search), option, *of_setting, run.seed, *figures])
    return text.getvalue()


def from_csv(text: str) -> dict[Point, list[Run]]:
    """The runs of each point, in the order of the table."""
    found = []
    for line in csv.DictReader(io.StringIO(text)):
        setting = Setting(int(line["crash_s"]), int(line["batch"]), float(line["cost"]))
        option = next(one for one in OPTIONS if one == line["option"])
        point = Point(line["pipeline"], line["search"] == "1", option, setting)
        figures = tuple(float(line[name]) for name in FIGURES)
        found.append(Run(point, int(line["seed"]), figures))
    return {point: list(runs) for point, runs in groupby(found, lambda run: run.point)}
