"""The runs of a search: one workload on the engine, under one schedule, judged."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from cellspec.conformance.judge.coverage import coverage_of
from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.backend import Backend, fit_of
from cellspec.fuzz.account import FoundViolation, RunSummary
from cellspec.fuzz.options import BATCH, Options
from cellspec.fuzz.schedules import SCHEDULES, schedule
from cellspec.fuzz.swarm import KNOBS, Knobs, Size, workload
from cellspec.replay import ends_of
from cellspec.trace import event_from_json

__all__ = ["run_once", "seed_of", "targeted_runs"]


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


def targeted_runs(backend: Backend, options: Options, number: int) -> list[RunSummary]:
    """A batch in which Hypothesis turns the knobs towards rare situations."""
    from hypothesis import HealthCheck, Phase, Verbosity, given, settings, target
    from hypothesis import seed as seeded
    from hypothesis import strategies as st

    from cellspec.conformance.campaign.campaign import draws_of_the_seed_alone

    seen: list[RunSummary] = []
    knob = st.floats(0, 1, width=32)

    @seeded(seed_of(options.seed, number))
    @settings(
        max_examples=BATCH,
        database=None,
        deadline=None,
        verbosity=Verbosity.quiet,
        phases=(Phase.generate, Phase.target),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**31 - 1), st.tuples(*[knob] * len(KNOBS)))
    def aim(seed: int, knobs: tuple[float, ...]) -> None:
        if (seen and seen[-1].found is not None) or len(seen) >= 2 * BATCH:
            return
        one = run_once(backend, "targeted", seed, Knobs(*knobs), options.size)
        if one is not None:
            seen.append(one)
            target(float(one.in_doubt), label="results in doubt at a crash")
            target(float(len(one.sometimes)), label="situations")

    with draws_of_the_seed_alone():
        aim()
    return seen
