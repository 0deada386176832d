"""A run of a scenario as a user would make it: what it printed, and the trace that it wrote.

This is the one part of the recomputation that knows the simulator; it hands on text alone.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.cli import main

__all__ = ["Run", "run", "run_csv", "run_tune"]


@dataclass(frozen=True, slots=True)
class Run:
    """What one command gave.

    Attributes:
        code: its exit code.
        printed: the JSON object on stdout; empty if the run was refused.
        trace: the lines of the trace file.
        said: stderr.
    """

    code: int
    printed: dict[str, Any]
    trace: list[str]
    said: str


def run(data: dict[str, Any], folder: Path, *, trace: bool = True) -> Run:
    """``python -m sim run --format json``, in this process, with ``--trace`` or without."""
    file = folder / "run.jsonl"
    code, out, err = _command(data, folder, "json", *(["--trace", str(file)] if trace else []))
    lines = file.read_text(encoding="utf-8").splitlines() if trace and file.exists() else []
    return Run(code, json.loads(out) if out else {}, lines, err)


def run_csv(data: dict[str, Any], folder: Path) -> dict[str, str]:
    """The one line that ``--format csv`` prints, by the names of its header."""
    _, out, _ = _command(data, folder, "csv")
    (row,) = csv.DictReader(io.StringIO(out))
    return row


def run_tune(data: Mapping[str, Any], folder: Path, *options: str) -> Run:
    """``python -m sim tune --format json`` with further options."""
    code, out, err = _command(data, folder, "json", *options, name="tune")
    return Run(code, json.loads(out) if out else {}, [], err)


def _command(
    data: Mapping[str, Any], folder: Path, form: str, *options: str, name: str = "run"
) -> tuple[int, str, str]:
    path = folder / "scenario.yaml"
    # Every JSON text is YAML too, and json writes it much faster.
    path.write_text(json.dumps(data), encoding="utf-8")
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([name, str(path), "--format", form, *options])
    return code, out.getvalue(), err.getvalue()
