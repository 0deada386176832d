"""A run of a scenario as a user would make it: what it printed, and the trace that it wrote.

This is the one part of the recomputation that knows the simulator; it hands on text alone.
"""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.cli import main

__all__ = ["Run", "run"]


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
    path, file = folder / "scenario.yaml", folder / "run.jsonl"
    # Every JSON text is YAML too, and json writes it much faster.
    path.write_text(json.dumps(data), encoding="utf-8")
    out, err = io.StringIO(), io.StringIO()
    options = ["--trace", str(file)] if trace else []
    with redirect_stdout(out), redirect_stderr(err):
        code = main(["run", str(path), "--format", "json", *options])
    printed = json.loads(out.getvalue()) if out.getvalue() else {}
    lines = file.read_text(encoding="utf-8").splitlines() if trace and file.exists() else []
    return Run(code, printed, lines, err.getvalue())
