"""A workspace for a release matrix of the toy engine."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from simulations.releases import environments
from simulations.releases.environments import Workspace
from simulations.releases.release_list import read_list
from tests.releases.toy import ENGINE, LIST, ROOT


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with environments that are ready, and a suite that stays as it is."""
    monkeypatch.setattr(environments, "suite_digest", lambda _: "0123")
    listed = tmp_path / "lists" / "toy.toml"
    (listed.parent / "scripts").mkdir(parents=True)
    listed.write_text(LIST.format(here=tmp_path))
    (tmp_path / "toy_engine.py").write_text(ENGINE)
    workspace = Workspace(read_list(listed), "toy", tmp_path / "work", ROOT)
    for release in workspace.engine.releases:
        python = workspace.python(release)
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\nTOY={release.version} exec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        ready = {"key": workspace.environment_key(release)}
        (workspace.place(release) / "ready.json").write_text(json.dumps(ready))
    return workspace
