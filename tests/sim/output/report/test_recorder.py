"""What a report records of a run is what the figures of the run say, in bounded memory."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sim.commands.reporting import recorders
from sim.examples import example_path
from sim.output.report.recorder import MOST_CALLS, NO_RESOURCE, RunRecorder
from sim.output.report.run_page import run_page
from sim.output.report.series import BINS, MOST_CHANGES, MOST_MARKS, Bins, Steps, Thinned
from sim.results import Result
from sim.results_together import result_of
from sim.scenario.loader import load_scenario
from sim.simulation import simulate
from tests.recompute.scenarios import draw

CASES: dict[str, tuple[str, dict[str, str]]] = {
    "crashes": ("text_to_sql", {"rows": "300", "crashes": "[{at_time_s: 700}]"}),
    "small": ("text_to_sql", {"rows": "20", "crashes": "[{at_event: 150}]"}),
    "refusals": ("reviews_rate_limited", {"rows": "80", "crashes": "[{at_time_s: 900}]"}),
    "barriers": ("barrier_option_c", {"rows": "60"}),
}


def recorded(path: Path, overrides: dict[str, str]) -> list[tuple[Result, RunRecorder]]:
    scenario = load_scenario(str(path), overrides)
    records = recorders(scenario)
    found = result_of(scenario, simulate(scenario, [one.add for one in records]), checked=True)
    for record in records:
        record.close()
    results = [found] if isinstance(found, Result) else found.pipelines
    return list(zip(results, records, strict=True))


@pytest.fixture(scope="module", params=CASES)
def run(request: pytest.FixtureRequest) -> tuple[Result, RunRecorder]:
    name, overrides = CASES[request.param]
    (found,) = recorded(Path(example_path(name)), overrides)
    return found


def test_busy_time_is_that_of_the_figures(run: tuple[Result, RunRecorder]) -> None:
    result, record = run
    busy = {item.resource or NO_RESOURCE: item for item in result.by_resource}
    for resource in record.resources:
        item = busy[resource.name]
        # Calls are drawn in whole microseconds.
        assert resource.busy_s == pytest.approx(item.busy_s, abs=1e-6 * (item.calls + 1))
        assert resource.limit == item.limit
    by_column = {item.column: item.busy_s for item in result.by_column}
    for resource in record.resources:
        for column, bins in resource.busy.items():
            assert bins.total() == pytest.approx(by_column[column], abs=1e-6 * result.calls)
    assert record.calls == result.calls


def test_rows_end_as_the_figures_say(run: tuple[Result, RunRecorder]) -> None:
    result, record = run
    assert record.complete.value == result.rows_delivered
    assert record.dropped.value == result.rows_dropped
    assert record.in_progress.value == 0
    assert record.checkpoints.count == result.checkpoints
    assert record.crashes.count == result.crashes


def test_an_endpoint_has_the_counts_and_means_of_the_figures(
    run: tuple[Result, RunRecorder],
) -> None:
    result, record = run
    assert set(record.endpoints) == {item.endpoint for item in result.by_endpoint}
    for item in result.by_endpoint:
        endpoint = record.endpoints[item.endpoint]
        assert (endpoint.sent, endpoint.refused) == (item.sent, item.refused)
        assert endpoint.refusals.total() == item.refused
        mean = endpoint.inside.mean(result.makespan_s)
        assert mean == pytest.approx(item.mean_in_flight, rel=1e-9)
        if item.mean_limit is None:
            assert endpoint.limit is None
        else:
            assert endpoint.limit is not None
            assert endpoint.limit.mean(result.makespan_s) == pytest.approx(item.mean_limit)


def test_calls_of_a_short_run_are_kept_one_by_one(run: tuple[Result, RunRecorder]) -> None:
    result, record = run
    if result.calls > MOST_CALLS:
        assert all(resource.calls is None for resource in record.resources)
        return
    for resource in record.resources:
        assert resource.calls is not None
        assert all(lane < resource.lanes for lane, *_ in resource.calls)
        ends = [(lane, start, stop) for lane, start, stop, *_ in resource.calls]
        for lane in range(resource.lanes):
            mine = sorted((start, stop) for one, start, stop in ends if one == lane)
            for (_, stop), (start, _) in pairwise(mine):
                assert stop <= start
    lost = [how for one in record.resources for *_, how in one.calls or () if how == "crash"]
    assert len(lost) == result.in_flight_lost


ENDPOINT: dict[str, Any] = {"resource": "gpu", "latency": {"model": "constant", "value_s": 3}}
BESIDE: dict[str, Any] = {
    "name": "first",
    "rows": 20,
    "columns": [{"name": "a", "traits": ["START"], **ENDPOINT}],
    "limits": {"workers": 8, "resources": {"gpu": 4}},
    "endpoints": {"gpu": {"max_in_flight": 3}},
}


def test_pipelines_beside_each_other_have_a_record_each(tmp_path: Path) -> None:
    other = {**BESIDE, "name": "second", "rows": 12}
    del other["endpoints"]
    path = tmp_path / "first.yaml"
    path.write_text(yaml.safe_dump({**BESIDE, "beside": [other]}), encoding="utf-8")
    pairs = recorded(path, {})
    assert [result.name for result, _ in pairs] == ["first", "second"]
    for result, record in pairs:
        (item,) = result.by_endpoint
        endpoint = record.endpoints["gpu"]
        assert (endpoint.sent, record.complete.value) == (item.sent, result.rows_delivered)
        mean = endpoint.inside.mean(result.makespan_s)
        assert mean == pytest.approx(item.mean_in_flight)


# What random scenarios hold: ranges and barriers at endpoints, calls that take several places,
# throttles, filters, row groups. 56 starts from a checkpoint; 126 filters rows in their last cell.
NUMBERS = (*range(22), 56, 126)


def test_a_record_of_a_random_scenario_agrees_with_its_figures(tmp_path: Path) -> None:
    path = tmp_path / "random.yaml"
    endpoints = 0
    for number in NUMBERS:
        path.write_text(yaml.safe_dump(draw(3, number), sort_keys=False), encoding="utf-8")
        ((result, record),) = recorded(path, {})
        busy = {item.resource or NO_RESOURCE: item.busy_s for item in result.by_resource}
        for resource in record.resources:
            assert resource.busy_s == pytest.approx(busy.get(resource.name, 0.0), abs=1e-3), number
        assert record.calls == result.calls, number
        assert record.complete.value == result.rows_delivered, number
        assert record.dropped.value == result.rows_dropped, number
        counts = (record.checkpoints.count, record.crashes.count)
        assert counts == (result.checkpoints, result.crashes), number
        for item in result.by_endpoint:
            endpoints += 1
            endpoint = record.endpoints[item.endpoint]
            assert (endpoint.sent, endpoint.refused) == (item.sent, item.refused), number
            mean = endpoint.inside.mean(result.makespan_s)
            assert mean == pytest.approx(item.mean_in_flight), number
            if endpoint.limit is not None:
                limit = endpoint.limit.mean(result.makespan_s)
                assert limit == pytest.approx(item.mean_limit), number
        assert run_page(result, [record]).endswith("</html>\n")
    assert endpoints > 3


# Memory


spans = st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 10)), min_size=1)


@given(spans)
def test_bins_hold_all_that_was_added_in_the_place_where_it_was(
    added: list[tuple[float, float, float]],
) -> None:
    bins = Bins()
    end = max(max(start, stop) for start, stop, _ in added) or 1.0
    for one, other, weight in added:
        bins.add(min(one, other), max(one, other), weight)
    whole = sum(weight * abs(other - one) for one, other, weight in added)
    assert bins.total() == pytest.approx(whole, rel=1e-9, abs=1e-9)
    for joined in (1, 4):
        rates = bins.rates(end, joined)
        assert len(rates) <= BINS + 1
        again = sum(rate * (stop - start) for (start, rate), (stop, _) in pairwise(rates))
        assert again == pytest.approx(whole, rel=1e-9, abs=1e-9)
    # The first bin, by itself.
    (_, first), (edge, _) = rates[0], rates[1]
    inside = sum(
        weight * max(0.0, min(max(one, other), edge) - min(one, other))
        for one, other, weight in added
    )
    assert first * edge == pytest.approx(inside, rel=1e-6, abs=1e-6)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 50)), max_size=30))
def test_a_short_history_is_kept_exactly(changes: list[tuple[float, int]]) -> None:
    changes.sort(key=lambda change: change[0])
    steps = Steps()
    last: dict[float, float] = {0.0: 0.0}
    for t, value in changes:
        steps.set(t, value)
        last[t] = value
    assert steps.is_exact
    points = steps.points(101.0)
    for t, height in last.items():
        assert [y for x, y in points if x <= t][-1] == height
    assert points[-1] == (101.0, steps.value)


def test_a_long_history_takes_no_more_memory() -> None:
    steps = Steps()
    for k in range(100_000):
        steps.set(k, k % 7)
    assert not steps.is_exact
    points = steps.points(100_000)
    assert len(points) <= BINS + 1 < MOST_CHANGES
    assert steps.mean(100_000) == pytest.approx(3.0, rel=1e-3)


@given(st.integers(0, 5000))
def test_marks_are_thinned_evenly(count: int) -> None:
    marks = Thinned()
    for k in range(count):
        marks.add(float(k))
    assert marks.count == count
    assert len(marks.places) <= MOST_MARKS + 1
    assert marks.places == tuple(float(k) for k in range(0, count, marks.every))
