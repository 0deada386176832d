"""Processes in the environment of a release."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest

from simulations.releases.processes import at_once, run_process


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


def test_an_error_of_one_task_ends_the_processes_of_all_and_no_other_is_begun(
    tmp_path: Path,
) -> None:
    """A task with several processes does not take the one that was ended for one that died."""
    said: list[int | None] = []

    def run(name: str, code: str) -> int | None:
        return run_process([sys.executable, "-c", code], tmp_path, tmp_path / name, 60.0, {})

    def several() -> None:
        for name in ("first", "second"):
            said.append(run(name, "import time; time.sleep(60)"))

    def fails() -> None:
        while not (tmp_path / "first").exists():
            pass
        raise ValueError("an error")

    with pytest.raises(ValueError, match="an error"):
        at_once(2, (several, fails))
    assert not said
    assert not (tmp_path / "second").exists()
    assert at_once(1, [partial(run, "third", "")]) == [0]
