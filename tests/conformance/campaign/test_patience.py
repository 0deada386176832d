"""Patience: the first run that stands still is waited for in full, and later ones less long."""

from __future__ import annotations

from cellspec.conformance.campaign.patience import Patience
from cellspec.conformance.judge.harness import STALL_S


def test_every_run_is_waited_for_in_full_until_one_stands_still() -> None:
    patience = Patience()
    patience.note(False, 0.01)
    assert patience.wait_s == STALL_S
    patience.note(True, STALL_S)
    assert patience.wait_s == 2.0


def test_an_engine_whose_runs_are_slow_is_waited_for_longer_and_never_longer_than_in_full() -> None:
    patience = Patience()
    patience.note(True, STALL_S)
    patience.note(False, 1.5)
    assert patience.wait_s == 6.0
    patience.note(False, 60.0)
    assert patience.wait_s == STALL_S
