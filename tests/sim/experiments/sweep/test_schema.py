"""The JSON Schema of sweep files, for editors: current, and true of the example."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cellspec.errors import FaultsError
from sim.cli import main
from sim.experiments.sweep.spec import spec_of, sweep_schema

SIMULATIONS = Path(__file__).parents[4] / "simulations"


def test_the_schema_beside_the_sweep_is_what_the_command_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["schema", "sweep"]) == 0
    kept = (SIMULATIONS / "sweep.schema.json").read_text(encoding="utf-8")
    assert capsys.readouterr().out == kept, (
        "write it again: cellspec schema sweep > simulations/sweep.schema.json"
    )
    assert json.loads(kept).items() > sweep_schema().items()


def test_the_shipped_sweep_fits_the_schema() -> None:
    validator = jsonschema.Draft202012Validator(sweep_schema())
    text = (SIMULATIONS / "concurrency_sweep.yaml").read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=sweep.schema.json\n")
    validator.validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    "change",
    [
        {"replications": None, "precision": {"half_width": 0.1}, "more": 1},
        {"precision": {"half_width": 0.1}},
        {"ladder": {"field": "limits.workers"}},
        {"random": {"points": 3, "fields": {"limits.workers": {"from": 1}}}},
    ],
)
def test_what_is_no_sweep_does_not_fit(change: dict[str, Any]) -> None:
    text = (SIMULATIONS / "concurrency_sweep.yaml").read_text(encoding="utf-8")
    validator = jsonschema.Draft202012Validator(sweep_schema())
    assert not validator.is_valid(yaml.safe_load(text) | change)


LADDER: dict[str, Any] = {"field": "rows", "most": 8}
FORMS: dict[str, list[Any]] = {
    "scenario": ["./a.yaml", "", None, 3],
    "description": ["", None, "x", 3],
    "set": [{}, {"rows": 3}, {"": 3}, {"name": "a"}, None, [1]],
    "replications": [1, 0, None, True, 2.5, "3"],
    "precision": [
        None,
        *({"half_width": width} for width in (0.1, 0, 1, True, "0.1", None)),
        *({"half_width": 0.1, "most": most} for most in (9, 10)),
        {"half_width": 0.1, "figure": ""},
        {},
    ],
    "grid": [{}, None, {"rows": []}, {"rows": "fifo"}, {"rows": 4}, {"": [1]}, {"rows": [[], {}]}]
    + [{name: [1]} for name in ("rows", "seed", "name", "description", "source")],
    "random": [
        None,
        {"points": 2, "fields": {}},
        *({"points": 2, "fields": {name: [1]}} for name in ("rows", "seed", "name")),
        *({"points": points, "fields": {"rows": [1]}} for points in (0, 1, 100_000, 100_001)),
        *({"points": 2, "seed": seed, "fields": {"rows": [1]}} for seed in (-1, 0, 0.5)),
        *(
            {"points": 2, "fields": {"rows": {"from": 1, "to": 3} | more}}
            for more in ({}, {"whole": 1}, {"whole": True}, {"scale": "log"}, {"scale": "ln"})
        ),
    ],
    "ladder": [
        None,
        LADDER,
        {"field": "rows"},
        *(LADDER | {"field": name} for name in ("", "seed", "source")),
        *(LADDER | {"factor": factor} for factor in (1, 1.5, 1000, 1001)),
        *(LADDER | {"from": start} for start in (0, 1, "1")),
        *(LADDER | {"gain": gain} for gain in (-0.1, 0, 0.5, 1)),
        *(LADDER | {"better": better} for better in ("lower", "up")),
    ],
    "more": [1],
}


@pytest.mark.parametrize("field", FORMS)
def test_the_schema_takes_what_is_accepted_and_nothing_else(field: str) -> None:
    validator = jsonschema.Draft202012Validator(sweep_schema())
    whole = {"scenario": "text_to_sql", "replications": 3, "grid": {"policy": ["fifo"]}}
    for value in FORMS[field]:
        for left_out in ((), ("replications",), ("grid",), ("replications", "grid")):
            given = {name: item for name, item in whole.items() if name not in left_out}
            given[field] = value
            try:
                spec_of(given, Path("sweep.yaml"))
                accepted = True
            except FaultsError:
                accepted = False
            assert validator.is_valid(given) is accepted, given
