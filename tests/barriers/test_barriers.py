"""The page of the barrier options says what was run, and what is run again is the same."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from sim.experiments.intervals import mean_of
from sim.experiments.replication import replicate
from sim.scenario.remarks import scope_changes_result
from simulations.barriers import campaign
from simulations.barriers.campaign import Point, Run
from simulations.barriers.figure import lines_svg
from simulations.barriers.page import FIGURE, PAGE, Results, cell, figure, lost_per_crash, page
from simulations.barriers.pipelines import GRAPHS, OPTIONS, SEARCH, Setting, read_pipelines
from tests.theory.validation import DATA

needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="no barrier option was run: there is no folder ../shared/data"
)


def runs_there() -> dict[Point, list[Run]]:
    return campaign.from_csv(campaign.RUNS.read_text(encoding="utf-8"))


@needs_data
def test_page_and_figure_say_what_the_runs_give() -> None:
    results = Results(read_pipelines(), runs_there())
    text = "\n\n".join(page(results)) + "\n"
    assert PAGE.read_text(encoding="utf-8") == text, "run `python -m simulations.barriers --page`"
    assert FIGURE.read_text(encoding="utf-8") == figure(results)


@needs_data
def test_the_runs_are_those_of_the_campaign() -> None:
    assert GRAPHS.is_file()
    runs = runs_there()
    assert list(runs) == campaign.points(read_pipelines())
    assert all([run.seed for run in of] == [*range(campaign.SEEDS)] for of in runs.values())
    text = campaign.RUNS.read_text(encoding="utf-8")
    assert campaign.as_csv(run for of in runs.values() for run in of) == text


@needs_data
def test_a_run_made_again_is_the_one_that_is_written_down() -> None:
    pipelines = {one.name: one for one in read_pipelines()}
    runs = runs_there()
    # One under each option, each with another seed.
    for seed, option in enumerate(OPTIONS):
        of_option = [point for point in runs if point.option == option]
        point = of_option[(7 * seed + 11) % len(of_option)]
        name, search, option, setting = point
        scenario = pipelines[name].scenario(option, setting, search=search)
        assert campaign.run_of(point, replicate(scenario, seed)) == runs[point][seed], point


@needs_data
def test_an_option_says_what_barriers_wait_for_and_what_checkpoints_count() -> None:
    pipelines = read_pipelines()
    assert len(pipelines) == 13
    assert sum(bool(one.barriers) for one in pipelines) == 7
    (sql,) = [one for one in pipelines if one.name == "text_to_sql"]
    found = {}
    for option in OPTIONS:
        scenario = sql.scenario(option, Setting(), search=True)
        scopes = {rule.name: rule.scope_rows for rule in scenario.graph().rules.columns}
        assert scenario.checkpoint is not None
        found[option] = (
            scopes["code_validity_result"],
            scopes[SEARCH],
            scenario.checkpoint.version,
            scope_changes_result(scenario),
        )
    assert found == {
        "A": (200, 200, 1, ()),
        "B": (40, 40, 1, (SEARCH,)),
        "C": (200, 200, 2, ()),
        "D": (40, 200, 2, ()),
    }
    assert scope_changes_result(sql.scenario("B", Setting(), search=False)) == ()


def of(lost: float, crashes: float) -> Run:
    figures = tuple(
        {"busy_lost_s": lost, "crashes": crashes}.get(name, 1.0) for name in campaign.FIGURES
    )
    return Run(Point("p", False, "A", Setting()), 0, figures)


def test_what_a_crash_loses_is_all_that_was_lost_by_all_crashes() -> None:
    runs = [of(10, 1), of(30, 2), of(0, 0), of(20, 1)]
    found = lost_per_crash(runs)
    assert found is not None
    assert found.mean == 15
    # By hand: what is left of each run beside 15 s a crash, by one crash on average.
    left = mean_of([-5.0, 0.0, 0.0, 5.0])
    assert found.half_width == left.half_width
    assert lost_per_crash([of(0, 0), of(0, 0)]) is None
    assert cell(lost_per_crash([of(0, 0)])) == "–"


def test_the_figure_is_a_picture_with_its_units() -> None:
    means = [mean_of([1.0, 2.0]), mean_of([300.0, 500.0])]
    text = lines_svg("title", "x, runs", "y, s", [0, 2], [("A", means), ("B", means)])
    words = [one.text for one in ElementTree.fromstring(text).iter() if one.text]
    assert {"title", "x, runs", "y, s", "A", "B"} <= set(words)
