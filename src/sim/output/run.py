"""The words of ``cellspec run``: the result in each format, and the files of ``--out``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from sim.output.manifest import manifest_text
from sim.output.result_data import render_csv, render_json
from sim.output.result_table import render_table
from sim.output.together import csv_together, json_together, table_together
from sim.results import Result
from sim.results_together import TogetherResult
from sim.scenario.scenario import Scenario

__all__ = ["OUT_FILES", "files_of_run", "render"]

OUT_FILES: Final = ("scenario.yaml", "manifest.json", "result.json", "fingerprint.txt", "runs.csv")
"""The names of the files that ``--out`` writes."""

_RENDERED: Final[Mapping[str, Callable[[Result], str]]] = {
    "table": render_table,
    "json": render_json,
    "csv": render_csv,
}


_TOGETHER: Final[Mapping[str, Callable[[TogetherResult], str]]] = {
    "table": table_together,
    "json": json_together,
    "csv": csv_together,
}


def render(result: Result | TogetherResult, form: str) -> str:
    """The result as a table, as JSON, or as CSV."""
    return _RENDERED[form](result) if isinstance(result, Result) else _TOGETHER[form](result)


def files_of_run(
    scenario: Scenario, result: Result | TogetherResult, folder: Path
) -> dict[str, str]:
    """The text of each of `OUT_FILES`; the folder is where they will stand."""
    return {
        "scenario.yaml": scenario.to_yaml(folder),
        "manifest.json": manifest_text(
            scenario_digest=result.scenario_digest,
            seed=result.seed,
            checked=result.checked,
            fingerprint=result.fingerprint,
        ),
        "result.json": render(result, "json"),
        "fingerprint.txt": result.fingerprint + "\n",
        "runs.csv": render(result, "csv"),
    }
