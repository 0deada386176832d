"""A small sweep for tests: its files, and its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from sim.experiments.sweep.points import Sweep, load_sweep
from sim.experiments.sweep.store import SweepFolder, manifest_of
from tests.sim.experiments.test_replication import SMALL

SCENARIO = SMALL.replace("rows: 20", "rows: 10")

GRID: dict[str, Any] = {"limits.resources.chat": [1, 2, 4], "policy": ["fifo", "row-first"]}


def write_sweep(folder: Path, scenario: str = SCENARIO, **fields: Any) -> Path:
    """A sweep file and its scenario; without fields a grid of 6 points with 3 replications."""
    (folder / "small.yaml").write_text(scenario)
    path = folder / "sweep.yaml"
    given = fields or {"grid": GRID, "replications": 3}
    path.write_text(yaml.safe_dump({"scenario": "./small.yaml", **given}, sort_keys=False))
    return path


def sweep_of(folder: Path, scenario: str = SCENARIO, **fields: Any) -> Sweep:
    """The same, read."""
    return load_sweep(write_sweep(folder, scenario, **fields))


def begun(sweep: Sweep, path: Path, *, checked: bool = True) -> SweepFolder:
    """A folder that holds the sweep, and no run yet."""
    folder = SweepFolder(path)
    folder.begin(manifest_of(sweep, checked=checked), sweep.points)
    return folder
