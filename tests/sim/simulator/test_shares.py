"""Columns that share a resource by weights, against a program of a few lines."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from cellspec.check import check_file
from sim.cli import main
from sim.scenario.loader import load_scenario
from tests.recompute.comparison import Comparison, compare_one
from tests.recompute.runner import run
from tests.recompute.scenarios import Data


def scenario(places: int, shares: dict[str, float], rows: int = 300, **changes: Any) -> Data:
    """Columns of 1 s each that all take one resource."""
    latency = {"model": "constant", "value_s": 1.0}
    columns = [
        {"name": name, "traits": ["START"], "resource": "chat", "latency": latency}
        for name in shares
    ]
    return {
        "name": "shared",
        "rows": rows,
        "seed": 0,
        "columns": columns,
        "limits": {"workers": 4096, "resources": {"chat": places}},
        "policy": "fifo",
        "shares": {"chat": shares},
        **changes,
    }


def ends_of(data: Data, folder: Path) -> dict[str, float]:
    """By column, when its last call ended."""
    done = run(data, folder)
    assert done.code == 0, done.said
    events = (json.loads(line) for line in done.trace)
    ends = [event for event in events if event.get("event") == "complete"]
    assert check_file(folder / "run.jsonl").violations == []
    return {event["column"]: event["t"] for event in ends}


def fluid_ends(places: float, weights: dict[str, float], rows: int) -> dict[str, float]:
    """When columns of calls of 1 s would end if a place could be divided."""
    left: dict[str, float] = dict.fromkeys(weights, float(rows))
    t, ends = 0.0, {}
    while left:
        total = sum(weights[name] for name in left)
        speeds = {name: places * weights[name] / total for name in left}
        step = min(left[name] / speeds[name] for name in left)
        t += step
        for name in list(left):
            left[name] -= step * speeds[name]
            if left[name] < 1e-6:
                ends[name] = t
                del left[name]
    return ends


def test_what_a_column_does_not_use_the_others_take(tmp_path: Path) -> None:
    # 6 and 2 places to 50 s; then 200 calls of b are left, on 8 places.
    assert ends_of(scenario(8, {"a": 3, "b": 1}), tmp_path) == {"a": 50.0, "b": 75.0}
    # The order of the columns decides nothing.
    assert ends_of(scenario(8, {"b": 1, "a": 3}), tmp_path) == {"a": 50.0, "b": 75.0}


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("bound", ["resource", "workers"])
def test_shares_hold_for_any_weights(seed: int, bound: str, tmp_path: Path) -> None:
    pick = random.Random(seed)
    weights = {name: float(pick.randint(1, 5)) for name in "abcd"[: pick.randint(2, 4)]}
    places, rows = pick.randint(1, 16), pick.randint(30, 120)
    data = scenario(places, weights, rows)
    if bound == "workers":
        data["limits"] = {"workers": places, "resources": {"chat": 64}}
    found = ends_of(data, tmp_path)
    expected = fluid_ends(places, weights, rows)
    assert found.keys() == expected.keys()
    # A column waits at most for one call of each other, and a wave more at its end.
    assert all(abs(found[name] - expected[name]) <= len(weights) + 1 for name in expected)
    assert max(found.values()) <= math.ceil(len(weights) * rows / places) + 1


def test_shares_of_less_than_a_place_hold_over_time(tmp_path: Path) -> None:
    # One place, by turns: one call of four is of b.
    assert ends_of(scenario(1, {"a": 3, "b": 1}), tmp_path) == {"a": 400.0, "b": 600.0}
    assert ends_of(scenario(2, {"a": 3, "b": 1}), tmp_path) == {"a": 200.0, "b": 300.0}


def test_a_column_that_had_nothing_to_start_does_not_save_its_time_up(tmp_path: Path) -> None:
    # b comes 30 s later; from then on each has one of two places, and b no more than that.
    data = scenario(2, {"a": 1, "b": 1}, rows=100)
    data["columns"].append(
        {
            "name": "late",
            "traits": ["START", "BARRIER"],
            "latency": {"model": "constant", "value_s": 30.0},
        }
    )
    data["columns"][1] |= {"traits": [], "dependencies": ["late"]}
    ends = ends_of(data, tmp_path)
    assert ends["a"] == 70.0
    assert ends["b"] == 100.0


def test_without_shares_first_come_is_first_served(tmp_path: Path) -> None:
    data = scenario(8, {"a": 3, "b": 1})
    del data["shares"]
    assert ends_of(data, tmp_path) == {"a": 38.0, "b": 75.0}
    # A column that is left out has weight 1.
    short = scenario(8, {"a": 3, "b": 1})
    short["shares"] = {"chat": {"a": 3}}
    assert ends_of(short, tmp_path) == {"a": 50.0, "b": 75.0}


@pytest.mark.parametrize("policy", ["fifo", "row-first", "column-first", "critical-path", "random"])
def test_shares_go_with_every_policy_and_through_crashes(policy: str, tmp_path: Path) -> None:
    data = scenario(
        4,
        {"a": 2, "b": 1, "c": 1},
        rows=30,
        policy=policy,
        checkpoint={"every_rows": 5, "version": 2},
        crashes=[{"at_time_s": 7.5}, {"at_event": 150}],
        failures={"default": {"retryable": 0.1, "permanent": 0.05}},
    )
    data["columns"][2]["dependencies"] = ["a"]
    data["columns"][1] |= {"traits": ["START", "ROW_STREAMABLE"], "range_rows": 3}
    assert compare_one(data, tmp_path, Comparison()) == []
    assert check_file(tmp_path / "run.jsonl").violations == []


@pytest.mark.parametrize(
    ("shares", "says"),
    [
        ({"chatt": {"a": 1}}, "shares.chatt: no column takes 'chatt'; did you mean 'chat'?"),
        ({"chat": {"aa": 1}}, "shares.chat.aa: no column 'aa' takes 'chat'; there are: 'a', 'b'"),
        ({"chat": {"a": 0}}, "shares.chat.a: expected more than 0, got 0"),
        ({"chat": {"a": 1e-300}}, "shares.chat.a: expected at least 1e-09, got 1e-300"),
    ],
)
def test_shares_of_what_is_not_there_are_refused(
    shares: Any, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scenario.yaml"
    data = {**scenario(8, {"a": 1, "b": 1}), "shares": shares}
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    assert main(["run", str(path)]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert says in error


def test_without_the_word_the_digest_is_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "scenario.yaml"
    data = scenario(8, {"a": 3, "b": 1})
    del data["shares"]
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    before = "e6553c0d34bdc71718fc91a050c38f8e"
    assert load_scenario(path).digest() == before
    assert load_scenario(path, {"shares.chat.a": "5"}).digest() != before
