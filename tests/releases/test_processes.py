"""Processes in the environment of a release."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from simulations.releases.processes import run_process


def test_a_process_keeps_the_bytecode_of_what_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the user's shell says: hundreds of processes import the same modules."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
    (tmp_path / "module_of_a_release.py").write_text("VALUE = 1\n")
    command = [sys.executable, "-c", "import module_of_a_release"]
    assert run_process(command, tmp_path, tmp_path / "log.txt", 60.0, {}) == 0
    assert list(tmp_path.glob("__pycache__/module_of_a_release.*.pyc"))
