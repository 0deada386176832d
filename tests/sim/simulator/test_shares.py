"""Columns that share a resource by weights, against a program of a few lines."""

from __future__ import annotations

import json
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


def naive_ends(places: int, weights: dict[str, float], rows: int) -> dict[str, float]:
    """Waves of one second: each place goes to the column that lacks most of its share."""
    left, t = dict.fromkeys(weights, rows), 0.0
    ends: dict[str, float] = {}
    while any(left.values()):
        running = dict.fromkeys(weights, 0)
        for _ in range(min(places, sum(left.values()))):
            active = [name for name in weights if left[name] or running[name]]
            total = sum(weights[name] for name in active)
            lacks = {n: weights[n] / total * places - running[n] for n in active if left[n]}
            name = max(lacks, key=lambda n: lacks[n])
            running[name] += 1
            left[name] -= 1
        t += 1.0
        ends |= {name: t for name in weights if running[name]}
    return ends


def test_what_a_column_does_not_use_the_others_take(tmp_path: Path) -> None:
    # 6 and 2 places to 50 s; then 200 calls of b are left, on 8 places.
    assert ends_of(scenario(8, {"a": 3, "b": 1}), tmp_path) == {"a": 50.0, "b": 75.0}
    # The order of the columns decides nothing.
    assert ends_of(scenario(8, {"b": 1, "a": 3}), tmp_path) == {"a": 50.0, "b": 75.0}


@pytest.mark.parametrize("seed", range(12))
def test_shares_hold_for_any_weights(seed: int, tmp_path: Path) -> None:
    pick = random.Random(seed)
    weights = {name: float(pick.randint(1, 5)) for name in "abcd"[: pick.randint(2, 4)]}
    places, rows = pick.randint(len(weights), 16), pick.randint(10, 120)
    found = ends_of(scenario(places, weights, rows), tmp_path)
    expected = naive_ends(places, weights, rows)
    # Within a wave the places are given back one by one, not all at once.
    assert found.keys() == expected.keys()
    assert all(abs(found[name] - expected[name]) <= 2.0 for name in expected)
    assert max(found.values()) == max(expected.values())


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
