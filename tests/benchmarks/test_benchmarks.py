"""The benchmarks run, and their page has every budget. No figure is judged here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import claiming, kinds, simulating, tracing, tracking
from tests.benchmarks.drawing import drawing_share
from tests.benchmarks.engines_page import render as of_engines
from tests.benchmarks.page import budgets, render
from tests.benchmarks.timing import Figure, interleave, machine_size, versions

RESULTS = Path(__file__).parents[2] / "simulations" / "results"


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return {
        "command": "pytest",
        "rounds": 1,
        "machine": machine_size(),
        "versions": versions(),
        "cells": simulating.measure_cells(20, 1),
        "kinds": kinds.measure_kinds(20, 1),
        "trackers": tracking.measure_trackers((10, 20), (5,), 1),
        "checkpoints": tracking.measure_checkpoints((1_000, 2_000), 1),
        "claims": claiming.measure_claims(1_200, 1),
        "scale": [
            simulating.measure_scale(rows, policy, 200)
            for policy in ("row-first", "fifo")
            for rows in (50, 100)
        ]
        + [kinds.measure_kind_scale(rows, "50 % refusals", 200) for rows in (50, 100)],
        "million": simulating.measure_crash(60),
        "traces": tracing.measure_traces(10, 1),
        "check": tracing.measure_check(20),
        "start": {"import cellspec": [0.1, 0.2]},
    }


def test_every_part_measures_something(data: dict[str, Any]) -> None:
    assert all(value > 0 for cell in data["cells"]["cells"] for value in cell["ratio"])
    assert [size["rows"] for size in data["trackers"]["sizes"]] == [10, 20]
    assert "600 cells in 1" not in data["million"]["output"]


def test_the_page_has_every_budget(data: dict[str, Any]) -> None:
    page = render(data)
    table = page[page.index("## Budgets") : page.index("## One simulated cell")]
    for what, *_ in budgets(data):
        assert what in table
    assert table.count("bytes a cell") >= 2
    assert "DataDesigner" in page
    assert "## A million rows" in page
    assert "| read and check |" in page
    assert "≥ 300,000 events/s" in table


def test_the_page_without_the_million(data: dict[str, Any]) -> None:
    assert "Left out" in render({**data, "million": None})


def test_a_figure_is_a_median_of_rounds_and_ratios_stay_within_a_round() -> None:
    ones, twos = Figure((1.0, 3.0, 2.0)), Figure((2.0, 6.0, 4.0))
    assert twos.median == 4.0
    assert twos.over(ones).values == (2.0, 2.0, 2.0)
    assert ones.show(0) == "2 (1–3)"


def test_cases_take_turns_and_the_first_round_is_dropped() -> None:
    calls: list[str] = []

    def case(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    found = interleave({"a": lambda: case("a"), "b": lambda: case("b")}, 2)
    assert calls == ["a", "b"] * 3
    assert found["a"].values == (3.0, 5.0)


@pytest.mark.parametrize(("name", "rendered"), [("benchmarks", render), ("engines", of_engines)])
def test_a_page_of_results_shows_its_raw_figures(
    name: str, rendered: Callable[[dict[str, Any]], str]
) -> None:
    data = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    page = (RESULTS / f"{name}.md").read_text(encoding="utf-8")
    # The raw figures are sorted by name, so tables may come in another order.
    assert sorted(rendered(data).splitlines()) == sorted(page.splitlines())


def test_the_share_of_drawing_is_a_part_of_a_campaign() -> None:
    assert 0 < drawing_share("core", 2) < 1
