"""Odd but right engines under the suite: no clause may call them wrong.

A few workloads of each profile; ``make odd`` runs the long campaign.
"""

from __future__ import annotations

import importlib

import pytest

from cellspec import ColumnDescriptor
from cellspec.conformance import (
    CAPABILITIES,
    Backend,
    Fault,
    Probe,
    Workload,
    run_workload,
)
from cellspec.conformance.campaign.campaign import run_campaign
from cellspec.conformance.judge.profiles import PROFILES
from tests.conformance.odd.adapters import ADAPTERS

EXAMPLES = 8
NAMES = [profile.name for profile in PROFILES]


def backend_of(name: str) -> Backend:
    module, attribute = ADAPTERS[name].split(":")
    made: Backend = getattr(importlib.import_module(module), attribute)()
    return made


@pytest.mark.long
@pytest.mark.parametrize("name", ADAPTERS)
def test_no_clause_calls_an_odd_engine_wrong(name: str) -> None:
    backend = backend_of(name)
    assert backend.capabilities <= set(CAPABILITIES)
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


@pytest.mark.clause("SCHED-15")
def test_an_engine_that_pauses_everything_and_does_not_say_so_is_idle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Probe, "pause", lambda *_: None)
    campaign = run_campaign(
        lambda work, waived: run_workload(backend_of("pauses-on-429"), work, waive=tuple(waived)),
        "retries",
        max_examples=40,
    )
    assert list(campaign.failures) == ["SCHED-15"]


def test_either_of_two_failures_at_one_instant_may_be_the_cause_of_a_drop() -> None:
    work = Workload(
        (ColumnDescriptor("a"), ColumnDescriptor("b")),
        rows=1,
        faults=(Fault("a", 0, failure="permanent"), Fault("b", 0, failure="permanent")),
        latency_s={"a": 0.0, "b": 0.0},
    )
    for seed in range(4):  # The engine looks at ended calls in an order of its own.
        result = run_workload(backend_of("graceful-stop"), work.replace(order_seed=seed))
        assert not result.violations
