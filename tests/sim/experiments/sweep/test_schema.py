"""The JSON Schema of sweep files, for editors: current, and true of the example."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from sim.cli import main
from sim.experiments.sweep.spec import sweep_schema

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
