"""A scenario that was run many times: its seeds, its figures, and when it ends."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev

import pytest

from cellspec.errors import SpecError
from sim.experiments.deciding import check_figure, deciding
from sim.experiments.intervals import NO_MEAN, mean_of
from sim.experiments.replicated import Replicated, replicated
from sim.experiments.replication import replicate
from sim.experiments.stopping import FixedRuns, Precision, Stopping, next_size
from sim.scenario.loader import load_scenario
from tests.sim.experiments.test_replication import BESIDE, SMALL

CRASHING = """
name: crashing
rows: 30
seed: 77
columns:
  - {name: a, traits: [CELL_BY_CELL], resource: chat, latency: {model: exponential, mean_s: 2}}
limits: {workers: 3, resources: {chat: 4}}
checkpoint: {every_rows: 10}
crashes: [{random: {mean_s: 15}}]
redo: fresh
"""

LUCKY = """
name: lucky
rows: 1
columns:
  - {name: a, traits: [CELL_BY_CELL], latency: {model: constant, value_s: 1}}
limits: {workers: 1, resources: {}}
failures: {default: {permanent: 0.5}}
"""
"""Of one row that is dropped with probability 1/2 there may be no first row."""

FIXED = """
name: fixed
rows: 4
columns:
  - {name: a, traits: [CELL_BY_CELL], latency: {model: constant, value_s: 2}}
limits: {workers: 2, resources: {}}
"""


def make(folder: Path, text: str, rule: Stopping, **options: int | str) -> Replicated:
    path = folder / "scenario.yaml"
    path.write_text(text)
    return replicated(load_scenario(path), rule, **options)  # type: ignore[arg-type]


def test_the_seeds_begin_with_0_whatever_the_scenario_says(tmp_path: Path) -> None:
    made = make(tmp_path, CRASHING, FixedRuns(4))
    assert [run.seed for run in made.runs] == [0, 1, 2, 3]
    assert made.runs[2] == replicate(load_scenario(tmp_path / "scenario.yaml"), 2)
    later = make(tmp_path, CRASHING, FixedRuns(2), first_seed=2)
    assert later.runs == made.runs[2:]


def test_a_figure_has_its_mean_and_what_runs_had(tmp_path: Path) -> None:
    made = make(tmp_path, SMALL, FixedRuns(8))
    spans = [run.value("makespan_s") or 0.0 for run in made.runs]
    found = made.figures()[0]
    assert found.name == "makespan_s"
    assert found.mean is not None
    assert found.mean.mean == pytest.approx(fmean(spans), rel=1e-9)
    assert found.mean.sd == pytest.approx(stdev(spans), rel=1e-9)
    assert (found.least, found.greatest) == (min(spans), max(spans))
    median, *others = found.quantiles
    # Eight runs are enough for an interval of the median, and of no other quantile.
    assert median is not None
    assert others == [None, None]


def test_every_figure_that_is_a_number_is_there_once(tmp_path: Path) -> None:
    made = make(tmp_path, SMALL, FixedRuns(2))
    names = [figure.name for figure in made.figures()]
    assert len(names) == len(set(names))
    assert {"events", "resource.chat.wait_p95_s", *made.shown} <= set(names)
    assert not {"seed", "checked", "policy", "fingerprint"} & set(names)


def test_a_figure_that_one_run_lacks_has_no_mean(tmp_path: Path) -> None:
    made = make(tmp_path, LUCKY, FixedRuns(12), figure="first_row_s")
    found = made.figures()[0]
    assert found.name == "first_row_s"
    assert 0 < found.lacking < 12
    assert (found.mean, found.least, found.quantiles) == (None, None, (None, None, None))
    assert made.reached == NO_MEAN


def test_a_precision_ends_at_the_look_that_sees_a_run_without_the_figure(tmp_path: Path) -> None:
    made = make(tmp_path, LUCKY, Precision(0.02), figure="first_row_s")
    # No number of runs more would give it a mean.
    assert (len(made.runs), made.is_met) == (10, False)


def test_how_runs_end_is_counted_by_words(tmp_path: Path) -> None:
    stops = "failures: {default: {permanent: 0.2}, early_stop: {window: 4, rate: 0.5}}\n"
    made = make(tmp_path, CRASHING.replace("crashes:", f"{stops}crashes:"), FixedRuns(8))
    words = [str(run.figures["outcome"]) for run in made.runs]
    assert set(words) == {"stopped", "success"}
    assert made.outcomes() == {"outcome": {word: words.count(word) for word in sorted(set(words))}}


def test_a_precision_ends_with_the_round_that_confirms_it(tmp_path: Path) -> None:
    made = make(tmp_path, SMALL, Precision(0.1))
    runs = len(made.runs)
    sizes = [0, 10]
    while sizes[-1] < runs:
        sizes.append(next_size(sizes[-1]))
    assert sizes[-1] == runs >= 20
    assert made.is_met
    spans = [run.value("makespan_s") or 0.0 for run in made.runs]
    looks = [(size, mean_of(spans[:size]).relative or 0.0) for size in sizes[1:]]
    assert all(width <= 0.1 for _size, width in looks[-2:])
    assert all(
        size < 20 or now > 0.1 or before > 0.1 for (_, before), (size, now) in pairwise(looks[:-1])
    )


def test_a_precision_that_is_not_reached_says_so(tmp_path: Path) -> None:
    made = make(tmp_path, SMALL, Precision(0.0001, most_runs=12))
    assert (len(made.runs), made.is_met) == (12, False)


def test_runs_in_other_processes_are_the_same(tmp_path: Path) -> None:
    alone, beside = (make(tmp_path, SMALL, FixedRuns(5), jobs=jobs) for jobs in (1, 2))
    assert alone == beside
    assert alone.fingerprint == beside.fingerprint


def test_a_scenario_without_draws_gives_the_same_run_each_time(tmp_path: Path) -> None:
    assert make(tmp_path, FIXED, FixedRuns(3)).is_alike
    assert not make(tmp_path, SMALL, FixedRuns(3)).is_alike
    # One run shows nothing of the kind.
    assert not make(tmp_path, FIXED, FixedRuns(1)).is_alike


def test_a_misspelled_figure_is_refused_after_the_first_run(tmp_path: Path) -> None:
    told: list[object] = []
    path = tmp_path / "scenario.yaml"
    path.write_text(SMALL)
    with pytest.raises(SpecError, match=r"'makespan'; did you mean 'makespan_s'\?$"):
        replicated(
            load_scenario(path),
            FixedRuns(50),
            figure="makespan",
            on_run=lambda *run: told.append(run),
        )
    assert not told


@pytest.mark.parametrize("name", ["verdict", "checked"])
def test_a_figure_that_is_no_number_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match=r"and no number$"):
        check_figure(name, {"verdict": "fine", "checked": True})


@pytest.mark.parametrize("name", ["seed", "rows", "resource.chat.limit"])
def test_a_figure_that_the_scenario_gives_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecError, match=f"{name} is what the scenario says, and no figure of its"):
        make(tmp_path, SMALL, Precision(0.02), figure=name)


def test_figures_of_faults_are_shown_where_there_are_faults(tmp_path: Path) -> None:
    assert make(tmp_path, SMALL, FixedRuns(2)).shown == (
        "makespan_s",
        "rows_per_s",
        "first_row_s",
        "row_age_p95_s",
        "rows_delivered",
        "resource.chat.utilisation",
    )
    assert make(tmp_path, CRASHING, FixedRuns(2), figure="events").shown == (
        "events",
        "makespan_s",
        "rows_per_s",
        "first_row_s",
        "row_age_p95_s",
        "rows_delivered",
        "crashes",
        "busy_lost_s",
        "busy_lost_share",
        "cells_done_again",
        "checkpoint_bytes",
        # Three workers are busier than the four places at the endpoint.
        "worker_utilisation",
    )


def test_pipelines_beside_each_other_show_theirs(tmp_path: Path) -> None:
    shown = make(tmp_path, BESIDE, FixedRuns(2)).shown
    assert shown[:3] == ("makespan_s", "pipeline.day.makespan_s", "pipeline.day.rows_per_s")
    assert "pipeline.night.resource.chat.utilisation" in shown
    assert shown[-1] == "endpoint.chat.utilisation"


def test_without_runs_nothing_decides() -> None:
    assert deciding([]) == []
