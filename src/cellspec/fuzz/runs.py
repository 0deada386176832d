"""The runs of a search: one workload on the engine, under one schedule, judged."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from cellspec.conformance.campaign.generator.size import Knobs, Size
from cellspec.conformance.judge.coverage import coverage_of
from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.backend import Backend, fit_of
from cellspec.fuzz.account import FoundViolation, RunSummary
from cellspec.fuzz.draws import workload
from cellspec.fuzz.schedules import SCHEDULES, schedule
from cellspec.replay import ends_of
from cellspec.trace import event_from_json

__all__ = ["run_once", "seed_of"]


def seed_of(*parts: int) -> int:
    """A seed that is a function of these numbers."""
    text = " ".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big")


def run_once(
    backend: Backend, method: str, seed: int, knobs: Knobs | None, size: Size
) -> RunSummary | None:
    """One run, judged; None if the engine cannot be asked for that workload."""
    work = fit_of(backend)(workload(seed, backend.capabilities, size, knobs))
    if work is None:
        return None
    # Targeted runs take the schedules in turn: it is the workload that is aimed.
    order = SCHEDULES[seed % len(SCHEDULES)] if method == "targeted" else method
    choose = schedule(order, seed, work.graph().num_nodes)
    result = run_workload(backend, work, choose=choose)
    shown = coverage_of(
        work,
        result.events,
        refused=bool(result.refused) and result.refusal_is_due,
        visits=result.visits,
        silent=result.silent,
        due_saves=result.due_saves,
    )
    return RunSummary(
        method,
        seed,
        knobs,
        tuple(sorted(shown.sometimes)),
        shown.events,
        shown.crashes,
        _in_doubt(result),
        shown.digest,
        bool(result.refused),
        _found(result, method, timed=choose is None),
    )


def _in_doubt(result: RunResult) -> int:
    """Results of calls since the last claim that became durable, at the worst crash."""
    most = since = 0
    for event in result.events:
        kind = event["event"]
        since = 0 if kind == "checkpoint_durable" else since + (kind == "complete")
        if kind == "crash":
            most = max(most, since)
            since = 0
    return most


def _found(result: RunResult, method: str, *, timed: bool) -> FoundViolation | None:
    if not result.violations:
        return None
    broken = result.violations[0]
    if timed:
        return FoundViolation(broken.clause, broken.detail, result.work, method)
    events = map(event_from_json, result.events)
    ends = tuple(end for end, _ in ends_of(events, result.work.graph()))
    return FoundViolation(broken.clause, broken.detail, replace(result.work, ends=ends), method)
