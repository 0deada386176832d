"""From a run to its figures, and how they are shown."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from sim.cli import main
from sim.output.result_data import render_csv, render_json
from sim.output.result_table import render_table
from sim.results import Result, summarise
from sim.scenario.loader import load_scenario
from sim.scenario.scenario import Scenario
from sim.simulation import run_plan
from sim.simulator.simulator import Simulator

SCENARIO: dict[str, Any] = {
    "name": "small",
    "rows": 4,
    "seed": 9,
    "columns": [
        {"name": "a", "traits": ["START"], "latency": {"model": "constant", "value_s": 1}},
        {
            "name": "v",
            "traits": ["BARRIER"],
            "dependencies": ["a"],
            "latency": {"model": "constant", "value_s": 2},
        },
        {
            "name": "b",
            "dependencies": ["v"],
            "resource": "gpu",
            "latency": {"model": "constant", "value_s": 3},
        },
    ],
    "limits": {"workers": 4, "resources": {"gpu": 2}},
    "policy": "row-first",
    "checkpoint": {"every_rows": 1},
    "crashes": [{"at_time_s": 7.0}, {"random": {"mean_s": 1e9, "count": 2}}],
    "restart_delay_s": 3.0,
}
# a runs from 0 to 1 s, v to 3 s, b[0] and b[1] to 6 s, b[2] and b[3] are in flight at the crash.
# Incarnation 1 begins at 10 s: a[2] and a[3] to 11 s, v to 13 s, b[2] and b[3] to 16 s.


def load(folder: Path, **changes: Any) -> Scenario:
    path = folder / "scenario.yaml"
    path.write_text(yaml.safe_dump({**SCENARIO, **changes}), encoding="utf-8")
    return load_scenario(path)


def figures(scenario: Scenario, *, checked: bool = True) -> Result:
    simulator = Simulator(
        scenario.graph(), scenario.latency_source(), run_plan(scenario), checked=checked
    )
    return summarise(scenario, simulator.run(), checked=checked)


@pytest.fixture
def result(tmp_path: Path) -> Result:
    return figures(load(tmp_path))


def test_every_figure_of_a_run_made_by_hand(result: Result) -> None:
    assert (result.name, result.seed, result.policy) == ("small", 9, "row-first")
    assert (result.rows, result.columns, result.cells, result.workers) == (4, 3, 12, 4)
    assert result.makespan_s == 16.0
    assert (result.rows_per_s, result.cells_per_s) == (4 / 16, 12 / 16)
    assert (result.rows_tried, result.rows_delivered, result.rows_dropped) == (4, 4, 0)
    # b is the only column that takes a resource: its rows end in order.
    assert (result.first_row_s, result.window_rows) == (6.0, 0)
    # Rows 0 and 1 from 3 to 6 s, rows 2 and 3 from 6 to 16 s.
    assert (result.row_age_p50_s, result.row_age_p95_s, result.row_age_p99_s) == (3.0, 10.0, 10.0)
    # Of rows 2 and 3 4 s up to the resume, a, v and b again; of rows 0 and 1 b alone.
    parts = {item.part: item.mean_s or 0.0 for item in result.row_time}
    assert parts == {"redone": 2 * 4 / 4, "running": (2 * 4 + 2 * 3) / 4, "barrier": 2 * 2 / 4}
    assert result.row_age_mean_s == sum(parts.values()) == 6.5
    # a: 4 + 2; v: 2 + 2; b: 2 × 3, 2 × 1 cut short, 2 × 3.
    assert result.worker_busy_s == 6 + 4 + 14
    assert result.worker_utilisation == 24 / (4 * 16)
    assert result.mean_in_flight == 24 / 16
    # Both b of a pair end at 6 s and at 16 s: a claim on row 0, on row 1, and so on.
    assert result.checkpoints == 4
    assert result.checkpoint_bytes == 4 * len('{"version": 1, "completed_rows": 1}')
    assert (result.crashes_planned, result.crashes) == (3, 1)
    # a and v of rows 2 and 3.
    assert (result.cells_done, result.cells_done_again) == (16, 4)
    assert result.cells_done_again_share == pytest.approx(4 / 16)
    assert result.in_flight_lost == 2
    # Starts of a: 4 + 2, of v: 1 + 1, of b: 4 + 2.
    assert result.calls == 14
    # a of rows 2 and 3, v, and one second of two b.
    assert result.busy_lost_s == 2 + 2 + 2
    assert result.busy_lost_share == 6 / 24
    assert result.checked
    assert result.verdict == "every event satisfied the specification"


def test_figures_by_resource(result: Result) -> None:
    gpu, free = result.by_resource
    assert (gpu.resource, gpu.limit, gpu.cells_done, gpu.busy_s) == ("gpu", 2, 4, 14.0)
    assert gpu.utilisation == 14 / (2 * 16)
    assert gpu.mean_in_flight == 14 / 16
    # b[2] and b[3] waited from 3 to 6 s, in the second quarter; b[0], b[1] and both again did not.
    assert (gpu.calls, gpu.wait_calls, gpu.wait_s, gpu.mean_wait_s) == (6, 6, 6.0, 1.0)
    assert (gpu.wait_p50_s, gpu.wait_p95_s, gpu.wait_p99_s) == (0.0, 3.0, 3.0)
    quarters = (gpu.mean_wait_q1_s, gpu.mean_wait_q2_s, gpu.mean_wait_q3_s, gpu.mean_wait_q4_s)
    assert quarters == (0.0, 3.0, None, 0.0)
    # The barrier's own cells are no work of a worker.
    assert (free.resource, free.limit, free.cells_done, free.busy_s) == (None, None, 6, 10.0)
    assert free.utilisation is None
    assert free.mean_wait_s == 0.0


def test_a_resource_entry_for_no_resource_only_if_a_column_takes_none(tmp_path: Path) -> None:
    columns = [{**item, "resource": "gpu"} for item in SCENARIO["columns"]]
    only = figures(load(tmp_path, columns=columns))
    assert [item.resource for item in only.by_resource] == ["gpu"]


def test_figures_by_column(result: Result) -> None:
    a, v, b = result.by_column
    assert (a.column, a.resource, a.barrier, a.cells_done, a.busy_s) == ("a", None, False, 6, 6.0)
    assert (v.column, v.barrier, v.calls, v.cells_done, v.busy_s) == ("v", True, 2, 6, 4.0)
    assert (b.column, b.resource, b.cells_done, b.busy_s_per_cell) == ("b", "gpu", 4, 14 / 4)


def test_figures_by_incarnation(result: Result) -> None:
    first, second = result.incarnations
    assert (first.incarnation, first.start_s, first.end_s, first.ended_by) == (0, 0.0, 7.0, "crash")
    assert (first.claimed_rows, first.cells_done) == (0, 10)
    assert (first.cells_lost, first.in_flight_lost, first.busy_lost_s) == (4, 2, 6.0)
    assert (second.incarnation, second.start_s, second.end_s) == (1, 10.0, 16.0)
    assert (second.ended_by, second.claimed_rows, second.cells_done) == ("end", 2, 6)
    assert (second.cells_lost, second.in_flight_lost) == (0, 0)


def test_cells_done_is_the_table_and_what_was_done_again(result: Result) -> None:
    assert result.cells_done == result.cells + result.cells_done_again
    assert result.cells_done == sum(item.cells_done for item in result.by_column)
    assert result.cells_done == sum(item.cells_done for item in result.incarnations)
    assert result.worker_busy_s == sum(item.busy_s for item in result.by_resource)


def test_a_run_that_takes_no_time_has_no_rates(tmp_path: Path) -> None:
    columns = [{"name": "a"}, {"name": "b", "dependencies": ["a"]}]
    none = figures(load(tmp_path, columns=columns, crashes=[], checkpoint=None))
    assert none.makespan_s == 0.0
    assert none.rows_per_s is None
    assert none.worker_utilisation is None
    assert json.loads(render_json(none))["rows_per_s"] is None
    assert "0:00:00 (0 s)" in render_table(none)
    (line,) = csv.DictReader(io.StringIO(render_csv(none)))
    assert line["rows_per_s"] == ""


# JSON

KEYS = [
    "name",
    "scenario_digest",
    "seed",
    "policy",
    "rows",
    "columns",
    "cells",
    "workers",
    "makespan_s",
    "rows_tried",
    "rows_delivered",
    "rows_dropped",
    "cells_made",
    "rows_per_s",
    "cells_per_s",
    "first_row_s",
    "row_age_p50_s",
    "row_age_p95_s",
    "row_age_p99_s",
    "row_age_mean_s",
    "window_rows",
    "events",
    "calls",
    "worker_busy_s",
    "busy_lost_s",
    "busy_lost_share",
    "worker_utilisation",
    "mean_in_flight",
    "checkpoints",
    "checkpoint_bytes",
    "crashes_planned",
    "crashes",
    "cells_done",
    "cells_done_again",
    "cells_done_again_share",
    "in_flight_lost",
    "sampled_every",
    "checked",
    "verdict",
    "outcome",
    "fingerprint",
    "by_resource",
    "by_column",
    "row_time",
    "incarnations",
    "failures",
    "notes",
]


def test_json_keys_are_stable_and_in_order(result: Result) -> None:
    data = json.loads(render_json(result))
    assert list(data) == KEYS
    assert data["by_resource"][0] == {
        "resource": "gpu",
        "limit": 2,
        "calls": 6,
        "cells_done": 4,
        "busy_s": 14.0,
        "utilisation": 0.4375,
        "mean_in_flight": 0.875,
        "wait_calls": 6,
        "wait_s": 6.0,
        "mean_wait_s": 1.0,
        "wait_p50_s": 0.0,
        "wait_p95_s": 3.0,
        "wait_p99_s": 3.0,
        "mean_wait_q1_s": 0.0,
        "mean_wait_q2_s": 3.0,
        "mean_wait_q3_s": None,
        "mean_wait_q4_s": 0.0,
    }
    assert list(data["by_column"][0]) == [
        "column",
        "resource",
        "barrier",
        "calls",
        "cells_done",
        "busy_s",
        "busy_s_per_cell",
        "call_p50_s",
        "call_p95_s",
        "call_p99_s",
    ]
    assert list(data["incarnations"][0]) == [
        "incarnation",
        "start_s",
        "end_s",
        "ended_by",
        "claimed_rows",
        "cells_done",
        "cells_lost",
        "in_flight_lost",
        "busy_lost_s",
    ]


def test_a_run_that_takes_next_to_no_time_has_no_rates(tmp_path: Path) -> None:
    columns = [
        {"name": "a", "traits": ["START"], "latency": {"model": "constant", "value_s": 1e-320}}
    ]
    result = figures(load(tmp_path, columns=columns, checkpoint=None, crashes=[]))
    assert result.makespan_s > 0
    assert result.rows_per_s is None
    assert json.loads(render_json(result))["cells_per_s"] is None


def test_json_has_no_number_that_json_has_not(result: Result) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        render_json(replace(result, makespan_s=math.inf))


# CSV


def test_csv_is_a_header_and_one_line(result: Result) -> None:
    text = render_csv(result)
    assert text.count("\n") == 2
    assert "\r" not in text
    (line,) = csv.DictReader(io.StringIO(text))
    assert line["makespan_s"] == "16.0"
    assert line["checked"] == "true"
    assert line["resource.gpu.limit"] == "2"
    assert line["resource.gpu.utilisation"] == "0.4375"
    singles = KEYS[: KEYS.index("by_resource")]
    assert list(line)[: len(singles)] == singles
    assert all(name.startswith("resource.gpu.") for name in list(line)[len(singles) :])


def test_csv_headers_agree_between_runs_of_one_scenario(tmp_path: Path) -> None:
    calm = figures(load(tmp_path, crashes=[], seed=1))
    rough = figures(load(tmp_path, seed=2))
    assert render_csv(calm).splitlines()[0] == render_csv(rough).splitlines()[0]


# The table


def test_the_table_as_a_whole(result: Result) -> None:
    text = render_table(result)
    fingerprint = f"fingerprint {result.fingerprint}  scenario {result.scenario_digest}\n"
    assert text == EXPECTED + fingerprint


# Events: incarnation 0 has 8 of a, 3 of v (with its emission), 6 of b and two checkpoints of 5
# (three columns, begin, durable); crash and resume are 2; incarnation 1 has 4, 3, 4, two
# checkpoints, the end.
EXPECTED = """\
small: 4 rows × 3 columns = 12 cells
policy row-first, 4 workers, seed 9

makespan                     0:00:16 (16 s)
rows                         4 tried, 4 delivered, 0 dropped
throughput                   0.25 rows/s, 0.75 cells/s
first row complete           6 s
row age p50, p95, p99        3, 10, 10 s
largest out-of-order window  0 rows
checkpoints                  4 (140 bytes)
calls, events                14, 51
crashes                      1 of 3 planned
cells lost to crashes        4 (25 % of all done)
busy time lost to crashes    6 s (25 % of all)
one seed                     no intervals: --replications 30 gives them

resource  limit  busy s  utilisation %  mean in flight  calls  cells
gpu           2   14.00          43.75           0.875      6      4
(none)        –   10.00              –           0.625      8      6
workers       4   24.00          37.50           1.500     14      –

wait s   mean     p50    p95    p99  mean of quarter 1      2       3       4
gpu     1.000  0.0000  3.000  3.000             0.0000  3.000       –  0.0000
(none)  0.000  0.0000  0.000  0.000             0.0000      –  0.0000       –

column  resource  kind     calls  cells done  busy s  busy s per cell  call s p50    p95    p99
a                              6           6    6.00            1.000       1.000  1.000  1.000
v                 barrier      2           6    4.00            0.667           –      –      –
b       gpu                    6           4   14.00            3.500       3.000  3.000  3.000

time of a row: 6.5 s = running 53.8 % | redone 30.8 % | barrier 15.4 %

incarnation  start s  end s  ended by  rows at start  cells done  of them lost  in flight lost  busy s lost
          0     0.00   7.00     crash              0          10             4               2        6.000
          1    10.00  16.00       end              2           6             0               0        0.000

every event satisfied the specification
"""  # noqa: E501


def test_no_claim_of_a_check_that_was_not_made(tmp_path: Path) -> None:
    result = figures(load(tmp_path), checked=False)
    assert (result.checked, result.verdict) == (False, "not checked")
    for text in (render_table(result), render_json(result), render_csv(result)):
        assert "satisfied" not in text
        assert "not checked" in text


def test_a_run_without_a_crash_shows_no_incarnations(tmp_path: Path) -> None:
    text = render_table(figures(load(tmp_path, crashes=[])))
    assert "incarnation" not in text
    assert "crash" not in text


def aligned(text: str) -> bool:
    """Whether all lines of each table are as wide as its header says: words left, figures right."""
    blocks = [block.splitlines() for block in text.split("\n\n")[2:-1]]
    return all(len({len(line) for line in block}) == 1 for block in blocks)


def test_tables_are_aligned_for_wide_letters_and_marks(tmp_path: Path) -> None:
    names = ["short", "漢字", "e\u0301", "a_rather_long_name_of_a_column"]
    columns = [{"name": n, "latency": {"model": "constant", "value_s": 1e5}} for n in names]
    text = render_table(figures(load(tmp_path, columns=columns, crashes=[])))
    assert aligned(text.replace("漢字", "abcd").replace("e\u0301", "e"))


def test_a_name_cannot_draw_on_the_terminal(tmp_path: Path) -> None:
    name = "a\x1b[31m\nred"
    text = render_table(figures(load(tmp_path, name=name, columns=[{"name": name}])))
    assert "\x1b" not in text
    assert "a\\x1b[31m\\nred: 4 rows × 1 column = 4 cells\n" in text


@pytest.mark.parametrize(
    ("seconds", "clock"),
    [
        (0.0, "0:00:00 (0 s)"),
        (0.0004, "0:00:00 (0.0004 s)"),
        (59.6, "0:01:00 (59.6 s)"),
        (3599.4, "0:59:59 (3,599.4 s)"),
        (360_000.0, "100:00:00 (360,000.0 s)"),
    ],
)
def test_the_makespan_is_shown_as_a_clock_and_in_seconds(
    result: Result, seconds: float, clock: str
) -> None:
    text = render_table(replace(result, makespan_s=seconds))
    assert f"makespan                     {clock}\n" in text


def test_very_small_and_very_large_figures_stay_readable(result: Result) -> None:
    tiny = replace(result, rows_per_s=3.2e-6, cells_per_s=1_234_567.8)
    assert "3.2e-06 rows/s, 1,234,568 cells/s" in render_table(tiny)


@pytest.mark.parametrize(
    ("endpoint", "enough"),
    [
        ({"work": {"full_speed": 8}}, 8),
        ({"work": {1: 1.0, 4: 0.5, 64: 0.03125}}, 4),
        # 16 calls take 1.5 s each, and 24 take 2.25 s: the table rises no more from 16 on.
        ({"work": {8: 1.0, 16: 1 / 1.5, 24: 1 / 2.25, 64: 1 / 6}}, 16),
        ({}, None),
    ],
)
def test_calls_beyond_those_that_an_endpoint_shares_well_are_said_to_be_too_many(
    endpoint: dict[str, Any], enough: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    column = {"name": "b", "traits": ["START"], "resource": "gpu"}
    data = {
        "name": "one",
        "rows": 640,
        "columns": [column | {"latency": {"model": "constant", "value_s": 3}}],
        "limits": {"workers": 64, "resources": {"gpu": 64}},
        "endpoints": {"gpu": endpoint},
    }
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    assert main(["run", str(path)]) == 0
    said = [x for x in capsys.readouterr().out.splitlines() if x.startswith("saturated: ")]
    text = f"saturated: gpu decodes 64 calls at once, and does as much with {enough}"
    assert said == ([] if enough is None else [text])


def test_more_calls_at_a_saturated_endpoint_wait_in_its_queue(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # 20 rows of 3 s, two at a time: 30 s, of which the last 3 s have an empty queue.
    found: dict[int, dict[str, Any]] = {}
    for most in (1, 2, 4):
        column = {"name": "b", "traits": ["START"], "resource": "gpu"}
        path = tmp_path / f"{most}.yaml"
        data = {
            "name": "one",
            "rows": 20,
            "columns": [column | {"latency": {"model": "constant", "value_s": 3}}],
            "limits": {"workers": 8, "resources": {"gpu": most}},
            "endpoints": {"gpu": {"max_in_flight": 2, "price": {"output_per_million": 1.0}}},
        }
        path.write_text(yaml.safe_dump(data), encoding="utf-8")
        assert main(["run", str(path), "--format", "json"]) == 0
        found[most] = json.loads(capsys.readouterr().out)
        assert main(["run", str(path)]) == 0
        (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("binding: ")]
        assert (
            line
            == {
                # Nothing waits while the last calls run.
                1: "binding: resource gpu 95 % | pipeline 5 %",
                2: "binding: resource gpu 90 % | pipeline 10 %",
                4: "binding: endpoint gpu 90 % (saturated) | pipeline 10 %",
            }[most]
        )
    assert [found[most]["makespan_s"] for most in found] == [60.0, 30.0, 30.0]
    (endpoint,) = found[4]["by_endpoint"]
    # Four calls are there for 27 s, and two for the last 3 s.
    assert endpoint["mean_in_flight"] == pytest.approx((4 * 27 + 2 * 3) / 30)
    (times,) = found[4]["call_times"]
    assert (times["queue_s"], times["decode_s"]) == (54.0, 60.0)


TWO_A_TENTH = {"requests": 2, "per_s": 10, "window": "fixed"}
TOKENS = {"tokens": 300, "per_s": 40, "window": "fixed"}


@pytest.mark.parametrize(
    ("rows", "endpoint", "throttle", "line"),
    [
        # Two go at 0 s, 10 s and 20 s, and each takes 1 s.
        (6, {"limits": [TWO_A_TENTH]}, None, "limit 1 (requests) chat 95.2 % | pipeline 4.76 %"),
        # The third call at 10 s finds room for a request, but no tokens until 40 s.
        (
            6,
            {"limits": [TWO_A_TENTH, TOKENS]},
            None,
            "limit 2 (tokens) chat 58.8 % | limit 1 (requests) chat 39.2 % | pipeline 1.96 %",
        ),
        # The client hears of it 1 s later, and waits for 10 s, or 9 s, from then.
        (
            3,
            {"limits": [TWO_A_TENTH], "refusal": {"latency_s": 1}},
            None,
            "limit 1 (requests) chat 91.7 % | pipeline 8.33 %",
        ),
        # One at a time: at 0 s and 1 s; at 2 s one is refused, for 8 s; at 10 s and 11 s.
        (
            4,
            {"limits": [TWO_A_TENTH]},
            {"start": 1},
            "limit 1 (requests) chat 66.7 % | throttle chat 25 % | pipeline 8.33 %",
        ),
        (
            1,
            {"outages": [{"from_s": 0, "to_s": 5}]},
            None,
            "outage chat 83.3 % | pipeline 16.7 %",
        ),
        # Who finds the one place taken comes back after 1 s.
        (
            2,
            {"max_in_flight": 1, "queue": 0},
            {"start": 2, "cool_down_s": 1},
            "endpoint chat 50 % | pipeline 50 %",
        ),
    ],
)
def test_a_call_that_was_refused_waits_for_what_refused_it(
    rows: int,
    endpoint: dict[str, Any],
    throttle: dict[str, Any] | None,
    line: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    latency = {
        "model": "request",
        "prompt_tokens": {"model": "constant", "value": 0},
        "output_tokens": {"model": "constant", "value": 100},
    }
    data = {
        "name": "refused",
        "rows": rows,
        "columns": [{"name": "a", "traits": ["START"], "resource": "chat", "latency": latency}],
        "limits": {"workers": 8, "resources": {"chat": 8}},
        "endpoints": {"chat": {"tpot_s": {1: 0.01, 8: 0.01}, **endpoint}},
    }
    if throttle is not None:
        data["throttle"] = {"chat": throttle}
    path = tmp_path / "refused.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    assert main(["run", str(path)]) == 0
    (found,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("binding: ")]
    assert found == f"binding: {line}"


def test_shares_that_are_printed_alike_are_in_the_order_of_names(tmp_path: Path) -> None:
    scenario = load(tmp_path)
    outcome = Simulator(scenario.graph(), scenario.latency_source(), run_plan(scenario)).run()
    assert 0.1 + 0.2 > 0.3
    outcome.binding = {"pipeline": 0.1, "outage x": 0.1 + 0.2, "checkpoint": 0.3, "workers": 1.0}
    found = summarise(scenario, outcome, checked=True).binding
    assert found is not None
    assert [item.binding for item in found] == ["workers", "checkpoint", "outage x", "pipeline"]


def test_a_result_without_endpoints_has_none_of_their_fields(tmp_path: Path) -> None:
    found = json.loads(render_json(figures(load(tmp_path))))
    assert list(found)[-1] == "notes"
    assert "binding" not in render_table(figures(load(tmp_path)))
