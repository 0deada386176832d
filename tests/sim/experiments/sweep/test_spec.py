"""Sweep files: their points, and their faults with file, line and field."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from cellspec.errors import FaultsError, SpecError
from sim.experiments.sweep.points import load_sweep
from sim.experiments.sweep.spec import (
    LadderSpec,
    PrecisionSpec,
    RandomSpec,
    RangeSpec,
    SweepSpec,
    canonical,
    load_spec,
)
from tests.sim.experiments.sweep.small import GRID, sweep_of, write_sweep
from tests.sim.experiments.test_replication import BESIDE

ROOT = Path(__file__).parents[4]


def fields_of(folder: Path, **fields: Any) -> list[dict[str, Any]]:
    return [dict(one.fields) for one in sweep_of(folder, replications=1, **fields).points]


def test_a_grid_has_a_point_for_each_combination_the_last_field_changing_first(
    tmp_path: Path,
) -> None:
    assert fields_of(tmp_path, grid=GRID) == [
        {"limits.resources.chat": chat, "policy": policy}
        for chat in (1, 2, 4)
        for policy in ("fifo", "row-first")
    ]


def test_a_ladder_climbs_by_its_factor_and_stands_beside_itself(tmp_path: Path) -> None:
    ladder = {"field": "limits.resources.chat", "most": 9, "factor": 1.5}
    found = fields_of(tmp_path, grid={"policy": ["fifo", "row-first"]}, ladder=ladder)
    rungs = [1, 2, 3, 5, 8]
    assert [one["limits.resources.chat"] for one in found] == rungs * 2
    assert [one["policy"] for one in found] == ["fifo"] * 5 + ["row-first"] * 5


def test_a_ladder_may_reach_as_far_as_numbers_do() -> None:
    ladder = {"field": "rows", "factor": 1000, "most": 1e308, "whole": False}
    rungs = LadderSpec.model_validate(ladder).rungs()
    assert (len(rungs), rungs[0], rungs[-1]) == (103, 1, 1e306)
    tiny = LadderSpec.model_validate(ladder | {"from": 1e-300, "most": 1e300}).rungs()
    assert (len(tiny), tiny[-1]) == (201, 1e300)


def test_fields_within_set_may_be_set_again_by_the_points(tmp_path: Path) -> None:
    limits = {"workers": 8, "resources": {"chat": 4}}
    sweep = sweep_of(
        tmp_path, replications=1, set={"limits": limits}, grid={"limits.workers": [2, 3]}
    )
    assert len(sweep.scenarios) == 2


def test_values_may_be_mappings_whose_keys_are_of_several_kinds(tmp_path: Path) -> None:
    values: list[Any] = [{1: "a", "b": 2}, {"1": "a", "b": 3}, "fifo"]
    sweep = sweep_of(tmp_path, replications=1, grid={"policy": values})
    assert [one.error is None for one in sweep.points] == [False, False, True]
    assert canonical({2: 0, 10: 1}) == canonical({"10": 1, "2": 0})


def test_a_pipeline_beside_that_keeps_its_seed_is_remarked_on(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, BESIDE, replications=1, grid={"policy": ["fifo", "row-first"]})
    (remark,) = sweep.kept_seeds
    assert remark.startswith("beside 'fixed': it states seed 7, and draws the same in every run")


def test_more_random_points_and_more_fields_leave_the_others_as_they_are(tmp_path: Path) -> None:
    wide: dict[str, Any] = {"rows": {"from": 1, "to": 1000, "whole": True, "scale": "log"}}
    few = fields_of(tmp_path, random={"points": 5, "seed": 3, "fields": wide})
    policy = {"policy": ["fifo", "row-first"]}
    many = fields_of(tmp_path, random={"points": 9, "seed": 3, "fields": wide | policy})
    assert [one["rows"] for one in many][:5] == [one["rows"] for one in few]
    other = fields_of(tmp_path, random={"points": 5, "seed": 4, "fields": wide})
    assert other != few
    assert all(isinstance(one["rows"], int) and 1 <= one["rows"] <= 1000 for one in many)


def test_a_random_point_that_was_drawn_before_is_left_out(tmp_path: Path) -> None:
    fields = {"policy": ["fifo", "row-first"]}
    sweep = sweep_of(tmp_path, replications=1, random={"points": 40, "fields": fields})
    assert (len(sweep.points), sweep.repeated) == (2, 38)


def test_every_whole_number_of_a_range_is_drawn_as_often(tmp_path: Path) -> None:
    field = {"columns.answer.latency.mean_s": {"from": 1, "to": 3, "whole": True}}
    noise = {"limits.workers": {"from": 1, "to": 10**6, "whole": True}}
    found = fields_of(tmp_path, random={"points": 300, "fields": field | noise})
    drawn = [one["columns.answer.latency.mean_s"] for one in found]
    assert all(70 < drawn.count(value) < 130 for value in (1, 2, 3))


def test_a_point_is_the_scenario_that_run_makes_with_its_fields(tmp_path: Path) -> None:
    from sim.scenario.loader import load_scenario

    fixed = {"rows": 5}
    sweep = sweep_of(tmp_path, replications=1, set=fixed, grid=GRID)
    point = sweep.points[3]
    options = {"rows": "5", "limits.resources.chat": "2", "policy": "row-first", "seed": "0"}
    assert point.digest == load_scenario(tmp_path / "small.yaml", options).digest()


FAULTS: list[tuple[str, str]] = [
    ("replications: 3\n", "1: expected grid, random or ladder, got none of them"),
    ("grid: {rows: [1]}\n", "1: expected exactly one of replications, precision, got none"),
    ("replications: 0\ngrid: {rows: [1]}\n", "2: replications: expected at least 1, got 0"),
    ("replication: 3\ngrid: {rows: [1]}\n", "2: replication: no such field; did you mean"),
    ("replications: 3\ngrid:\n  rows: 4\n", "4: grid.rows: expected a list, got 4"),
    ("replications: 3\ngrid:\n  rows: []\n", "4: grid.rows: expected at least one item, got a"),
    ("replications: 3\ngrid:\n  rows: [1, 2, 1]\n", "4: grid.rows[2]: 1 is given twice"),
    ("replications: 3\ngrid:\n  seed: [1]\n", "4: grid.seed: runs of a point have the seeds 0, 1"),
    ("replications: 3\nset: {seed: 1}\ngrid: {rows: [1]}\n", "3: set.seed: runs of a point have"),
    ("replications: 3\ngrid:\n  name: [a]\n", "4: grid.name: decides nothing of a run"),
    (
        "replications: 3\nset: {rows: 2}\ngrid:\n  rows: [1]\n",
        "5: grid.rows: 'rows' is given in set too",
    ),
    (
        "replications: 3\ngrid:\n  limits.workers: [1]\n  limits: [{workers: 2}]\n",
        "4: grid.limits.workers: lies within 'limits', which grid gives as a whole",
    ),
    (
        "replications: 3\nset: {limits.workers: 1}\ngrid:\n  limits: [{workers: 2}]\n",
        "3: set.limits.workers: lies within 'limits', which grid gives as a whole",
    ),
    (
        "replications: 3\ngrid:\n  rows: [1, .nan]\n",
        "4: grid.rows[1]: expected a finite number, got .nan",
    ),
    (
        "replications: 3\ngrid:\n  rows: !!set {1, 2}\n",
        "4: grid.rows: expected text, numbers, lists or mappings, got a value of type set",
    ),
    (
        "replications: 3\nset:\n  rows: {a: [!!binary aGVsbG8=]}\ngrid: {policy: [fifo]}\n",
        "4: set.rows.a[0]: expected text, numbers, lists or mappings, got a value of type bytes",
    ),
    (
        "replications: 1\nladder: {field: rows, from: 0.3, most: 3}\n",
        "3: ladder.from: expected a whole number, or whole: false, got 0.3",
    ),
    (
        "replications: 1\nladder: {field: rows, factor: 1.0000001, most: 64}\n",
        "3: ladder.factor: expected larger steps: from 1 to 64 it takes 41,588,832, and may take",
    ),
    (
        "replications: 1\nrandom:\n  points: 2\n  fields:\n    rows: {from: -1e308, to: 1e308}\n",
        "6: random.fields.rows.to: expected no more than 1.8e+308 above from (-1e+308)",
    ),
    (
        "precision: {half_width: 2}\ngrid: {rows: [1]}\n",
        "2: precision.half_width: expected less than 1, got 2",
    ),
    (
        "replications: 1\nladder: {field: rows, from: 9, most: 3}\n",
        "3: ladder.most: expected at least from (9), got 3",
    ),
    (
        "replications: 1\nrandom:\n  points: 2\n  fields:\n    rows: {from: 9, to: 3}\n",
        "6: random.fields.rows.to: expected more than from (9), got 3",
    ),
    (
        "replications: 1\nrandom:\n  points: 2\n  fields:\n    rows: {form: 1, to: 3}\n",
        "6: random.fields.rows.form: no such field; did you mean 'from'?",
    ),
    (
        "replications: 1\nrandom: {points: 90000, fields: {rows: [1]}}\ngrid: {policy: [a, b]}\n",
        "1: has 180,000 points, and may have 100,000",
    ),
]


@pytest.mark.parametrize(("text", "message"), FAULTS, ids=[text for text, _ in FAULTS])
def test_a_fault_names_file_line_and_field(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(f"scenario: text_to_sql\n{text}")
    with pytest.raises(FaultsError) as found:
        load_spec(path)
    assert found.value.lines[0].startswith(f"{path}:{message}")
    assert len(found.value.lines) == 1


def test_a_field_that_the_scenario_lacks_is_said_before_anything_runs(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, replications=1, grid={"limits.worker": [1, 2]})
    with pytest.raises(SpecError) as found:
        load_sweep(path)
    assert str(found.value) == (
        f"{path}: no point can be run; point 0 (limits.worker=1): ./small.yaml: limits"
        ".worker: no such field; did you mean 'workers'?"
    )


def test_a_point_that_cannot_be_run_stands_beside_the_others(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, replications=1, grid={"limits.workers": [0, 2]})
    bad, good = sweep.points
    assert good.error is None
    assert bad.digest is None
    assert bad.error == "./small.yaml: limits.workers: expected at least 1, got 0"


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        ("text_to_sq", "scenario: no example is called 'text_to_sq': did you mean text_to_sql?"),
        ("./absent.yaml", "scenario: {folder}/absent.yaml: cannot be read: No such file"),
    ],
)
def test_a_scenario_that_is_not_there_is_named(scenario: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(f"scenario: {scenario}\nreplications: 1\ngrid: {{rows: [1]}}\n")
    with pytest.raises(SpecError) as found:
        load_sweep(path)
    assert str(found.value).startswith(f"{path}: {message.format(folder=tmp_path)}")


def test_the_sweep_file_of_the_page_is_one(tmp_path: Path) -> None:
    page = (ROOT / "simulations" / "sweeps.md").read_text(encoding="utf-8")
    path = tmp_path / "sweep.yaml"
    path.write_text(page.partition("```yaml\n")[2].partition("```")[0])
    assert load_spec(path).size == 6


def test_the_page_names_every_field() -> None:
    page = (ROOT / "simulations" / "sweeps.md").read_text(encoding="utf-8")
    table = "\n".join(line for line in page.splitlines() if line.startswith("| `"))
    for model in (SweepSpec, PrecisionSpec, RandomSpec, RangeSpec, LadderSpec):
        for name, field in model.model_fields.items():
            assert re.search(rf"\b{field.alias or name}\b", table), name
