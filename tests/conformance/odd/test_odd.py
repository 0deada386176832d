"""Odd but right engines under the suite: no clause may call them wrong.

A few workloads of each profile; ``make odd`` runs the long campaign.
"""

from __future__ import annotations

import importlib

import pytest

from cellspec.conformance import CAPABILITIES, Backend, Probe, run_workload
from cellspec.conformance.campaign.campaign import run_campaign
from cellspec.conformance.judge.profiles import PROFILES
from tests.conformance.odd.adapters import ADAPTERS

EXAMPLES = 8
NAMES = [profile.name for profile in PROFILES]

WAITS_FOR = {
    "journal-data-then-claim": "set claims: a claim by column of any rows",
    "journal-one-commit": "commits: commit_begin, committed",
    "batch-files": "commits: commit_begin of a claim, committed",
    "graceful-stop": "interrupts: request_stop; and commits",
    "graceful-cancels": "interrupts: request_stop; and commits",
    "lost-worker": "lost_workers: take_back, lost; and set claims",
    "saves-by-group": "commits: commit_begin of a claim, committed",
    "saves-by-seconds": "commits: commit_begin of a claim, committed",
    "pauses-on-429": "pause: a pause of every start",
}
"""For each adapter the word of its reports that the probe does not have yet."""


def backend_of(name: str) -> Backend:
    module, attribute = ADAPTERS[name].split(":")
    made: Backend = getattr(importlib.import_module(module), attribute)()
    return made


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=[pytest.mark.xfail(strict=True, reason=WAITS_FOR[name])]
            if name in WAITS_FOR
            else [],
        )
        for name in ADAPTERS
    ],
)
def test_no_clause_calls_an_odd_engine_wrong(name: str) -> None:
    backend = backend_of(name)
    assert backend.capabilities <= set(CAPABILITIES)
    assert name != "pauses-on-429" or hasattr(Probe, "pause")
    for number, profile in enumerate(NAMES):
        if profile not in backend.capabilities:
            continue
        campaign = run_campaign(
            lambda work, waived: run_workload(backend, work, waive=tuple(waived)),
            profile,
            beside=sorted(backend.capabilities.difference(NAMES[number:])),
            max_examples=EXAMPLES,
        )
        assert campaign.failures == {}
        assert campaign.evidence.unequal == ""
