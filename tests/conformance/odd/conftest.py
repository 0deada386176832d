"""The odd engines sync each line that they write; here a process dies, and never a machine."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sync costs a disk's time and changes nothing that a dead process leaves behind."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
