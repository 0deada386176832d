"""A small sweep for the tests of reports: made by the command, in a second or two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from sim.cli import main

__all__ = ["SCENARIO", "sweep"]

SCENARIO: dict[str, Any] = {
    "name": "small",
    "rows": 24,
    "seed": 0,
    "redo": "fresh",
    "columns": [
        {
            "name": "a",
            "traits": ["START"],
            "resource": "gpu",
            "latency": {
                "model": "request",
                "prompt_tokens": {"model": "constant", "value": 100},
                "output_tokens": {"model": "lognormal", "median": 60, "p99": 200},
            },
        }
    ],
    "limits": {"workers": 64, "resources": {"gpu": 4}},
    "endpoints": {
        "gpu": {
            "tpot_s": {1: 0.05, 8: 0.05},
            "max_in_flight": 8,
            "price": {"prompt_per_million": 1.0, "output_per_million": 4.0},
        }
    },
    "checkpoint": {"every_rows": 4, "write_s": 0.5},
    "crashes": [{"random": {"mean_s": 40}}],
}


def sweep(folder: Path, **fields: Any) -> Path:
    """The folder of a sweep over these fields of the scenario, with six seeds a point."""
    folder.mkdir(exist_ok=True)
    scenario, file = folder / "small.yaml", folder / "sweep.yaml"
    scenario.write_text(yaml.safe_dump(SCENARIO), encoding="utf-8")
    data = {"scenario": "./small.yaml", "replications": 6, **fields}
    file.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    assert main(["sweep", str(file), "--out", str(folder / "out")]) == 0
    return folder / "out"
