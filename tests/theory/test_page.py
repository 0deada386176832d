"""The page of theory says what is worked out and simulated now: a part of it, made again."""

from __future__ import annotations

import math
import re

import pytest

from sim.experiments.intervals import mean_of
from tests.theory.cases import FOLDER, SURE
from tests.theory.formulas import critical_path_s, mmk_wait_s
from tests.theory.models import GRAHAM, HAIR_S, Model, graham
from tests.theory.page import (
    MODELS,
    PAGE,
    SECTIONS,
    Theory,
    line_of,
    makespan_s,
    page,
    rounded,
    within_bounds,
)
from tests.theory.validation import DATA
from tests.theory.workflows import WORKFLOWS, read_workflows

needs_cases = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the page was not compared: there is no folder ../shared/theory"
)
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="no workflow was simulated: there is no folder ../shared/data"
)


def lines_of(section: str) -> list[list[str]]:
    """The lines of the tables of models in a section of the page."""
    title, _ = SECTIONS[section]
    text = PAGE.read_text(encoding="utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line] for line in lines[2:]]


@needs_cases
@pytest.mark.parametrize("section", MODELS)
def test_a_table_says_what_theory_says_now_and_what_seed_0_gives(section: str) -> None:
    theory = Theory.read()
    models = theory.models(section)
    lines = lines_of(section)
    assert len(lines) == len(models) >= 3
    for model, (case, label, known, simulated, runs, off, first) in zip(models, lines, strict=True):
        assert (case, label, runs) == (model.case, model.label, str(model.runs))
        assert known.split(" ± ")[0] == rounded(model.mean)
        assert first == rounded(*theory.values(model, runs=1)), "run `make validation`"
        mean, half = (float(part.replace(",", "")) for part in simulated.split(" ± "))
        # Half a width is t standard errors, and t is near 2 for 40 runs and more.
        error = half / 2
        assert abs(mean - model.mean) <= SURE * error + model.margin
        assert float(off) == pytest.approx((mean - model.mean) / error, abs=0.15)


def numbers(pattern: str, label: str) -> list[float]:
    """The numbers of a label that has this form; none if it has another."""
    found = re.fullmatch(pattern.replace("#", r"([\d.,]+)"), label)
    return [float(number.replace(",", "")) for number in found.groups()] if found else []


def by_the_page(label: str) -> float | None:
    """What a model's own words and the formulas of the page give; None of other models."""
    if found := numbers(r"M/M/#: gap # s, m # s, first #", label):
        servers, gap_s, service_s, customers = found
        return mmk_wait_s(gap_s, service_s, int(servers), int(customers))
    if found := numbers(r"one station, # of # s, # rows", label):
        k, m, n = found
        return m * ((n - k) / k + sum(1 / i for i in range(1, int(k) + 1)))
    if found := numbers(r"# rows of # s, nothing is saved; M # s, D # s", label):
        rows, row_s, big_m, d = found
        return (big_m + d) * math.expm1(rows * row_s / big_m)
    if found := numbers(r"# rows of # s, saved every #; M # s, D # s", label):
        rows, row_s, every, big_m, d = found
        return rows / every * (big_m + d) * math.expm1(every * row_s / big_m)
    if found := numbers(r"# exponential rows of # s, saved one by one; M # s, D # s", label):
        rows, m, big_m, d = found
        return rows * (m + d * m / big_m)
    if found := numbers(r"# rows of # s, saved every #, C # s; M # s, D # s", label):
        rows, row_s, every, c, big_m, d = found
        lost, lost_all = (-math.expm1(-x / big_m) for x in (every * row_s, every * row_s + c))
        piece_s = (big_m + d) * lost_all / (1 - lost_all + (lost_all - lost) / 2)
        return rows / every * piece_s
    return None


@pytest.mark.parametrize(("section", "models"), [("lines", 3), ("tandems", 1), ("crashes", 6)])
def test_what_theory_says_follows_from_the_words_of_the_page(section: str, models: int) -> None:
    again = [(by_the_page(label), known) for _, label, known, *_ in lines_of(section)]
    found = [(mean, known) for mean, known in again if mean is not None]
    assert len(found) == models
    for mean, known in found:
        # The page has five digits, and its gaps too.
        assert mean == pytest.approx(float(known.replace(",", "")), rel=2e-4), known


@needs_cases
@needs_data
@pytest.mark.parametrize("section", ["anomalies"])
def test_a_section_without_chance_is_made_again(section: str) -> None:
    (text,) = page(Theory.read(), [section])
    assert f"{text}\n" in PAGE.read_text(encoding="utf-8"), "run `make validation`"


@needs_data
def test_a_workflow_keeps_the_bounds_that_the_page_gives() -> None:
    assert WORKFLOWS.is_dir()
    workflows = read_workflows()
    assert len(workflows) == 11
    text = PAGE.read_text(encoding="utf-8")
    for workflow in workflows:
        (line,) = re.findall(rf"^\| {workflow.name} \|(.*)\|$", text, re.MULTILINE)
        tasks, work, chain, published, *_ = (cell.strip() for cell in line.split("|"))
        assert tasks == str(len(workflow.seconds))
        found = (workflow.work_s, workflow.chain_s, workflow.published_s)
        assert (work, chain, published) == tuple(map(rounded, found))
    fork = next(one for one in workflows if "forkjoin" in one.name)
    by_workers = within_bounds(fork)
    (line,) = re.findall(rf"^\| {fork.name} \|(.*)\|$", text, re.MULTILINE)
    assert tuple(cell.strip() for cell in line.split("|"))[-3:] == by_workers[2]


def test_the_list_decides_as_graham_says() -> None:
    for label, known_s, data in GRAHAM:
        assert makespan_s(data) == pytest.approx(known_s, abs=HAIR_S + 1e-6), label
    # Three machines can do no better, however the tasks are listed.
    seconds = dict(zip("123456789", (3, 2, 2, 2, 4, 4, 4, 4, 9), strict=True))
    needs = {task: ["1"] if task == "9" else ["4"] if task in "5678" else [] for task in seconds}
    assert critical_path_s(seconds, needs) == 12 == math.ceil(makespan_s(graham()))


def test_a_mean_that_is_not_the_one_of_theory_stops_the_page() -> None:
    values = [9.0, 10.0, 11.0, 10.0]
    error = (mean_of(values).sd or 0.0) / 2
    near = Model("m", 10 + 3.4 * error, "makespan_s", ({},))
    assert line_of(near, values)[-2] == "-3.4"
    with pytest.raises(AssertionError):
        line_of(Model("m", 10 + 3.6 * error, "makespan_s", ({},)), values)
