"""The scenario of simulations/runs.md is one that runs, and uses all the words of the page."""

from __future__ import annotations

import re
from pathlib import Path

from cellspec.check import check_file
from sim.cli import main
from sim.scenario.loader import load_scenario

PAGE = Path(__file__).parents[3] / "simulations" / "runs.md"


def test_the_scenario_of_the_page_runs_and_its_trace_passes(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    path, trace = tmp_path / "scenario.yaml", tmp_path / "run.jsonl"
    path.write_text(text, encoding="utf-8")
    scenario = load_scenario(path)
    for word in ("start_from", "arrivals", "shares", "checkpoint", "crashes", "accept"):
        assert getattr(scenario, word)
    assert main(["run", str(path), "--trace", str(trace)]) == 0
    found = check_file(trace)
    assert (found.violations, found.outcome) == ([], "interrupted")
    # What it writes down it reads back.
    copy = tmp_path / "copy.yaml"
    copy.write_text(scenario.to_yaml(), encoding="utf-8")
    assert load_scenario(copy).digest() == scenario.digest()
