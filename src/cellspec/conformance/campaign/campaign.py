"""A campaign: many random workloads of one profile, and what breaks in them.

The generator draws the workloads (`cellspec.conformance.campaign.generator`), and the harness runs
and judges each. The campaign keeps `Evidence` of the runs, and a `Failure` for each bug that it
finds.

*One cause does not hide others.* A violation is sorted by its root
(`cellspec.conformance.campaign.causes`), and the campaign goes on: with the next workload, and
with this one behind the clause that broke. The run that came farthest is the evidence. A campaign
may also be asked to stop at the first violation.

*Same seed, same campaign.* The draws are a function of the seed and of what the engine can be asked
for: the first workloads of a longer campaign are those of a shorter one. Every other workload has
the pair of features that was met least so far (`cellspec.conformance.campaign.pairs`).

*Every so often twice.* One workload in sixteen is run a second time, and both runs must be equal.
"""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from cellspec.conformance.campaign.causes import Causes, Place, Run
from cellspec.conformance.campaign.choices import DullestChoices, SeededChoices
from cellspec.conformance.campaign.generator.workload import workload
from cellspec.conformance.campaign.pairs import Pairs
from cellspec.conformance.campaign.rehearsal import Rehearsal
from cellspec.conformance.campaign.results import Campaign
from cellspec.conformance.judge.coverage import Coverage, run_coverage
from cellspec.conformance.judge.evidence import Evidence
from cellspec.conformance.judge.run_result import Interrupted, RunResult
from cellspec.conformance.run.backend import Fit
from cellspec.conformance.run.recorder import AdapterError
from cellspec.conformance.run.users_exit import pass_on
from cellspec.conformance.run.workload import Workload

__all__ = [
    "REDRAWS_MAX",
    "REPEAT_EVERY",
    "campaign_workloads",
    "drawn_workload",
    "run_campaign",
]

REPEAT_EVERY = 16
"""Of so many workloads one is run twice: 25 of a campaign of the default size."""

_APART = 10**9
"""Between the numbers of two workloads that are drawn for one place; no campaign is as long."""

REDRAWS_MAX = 100
"""How often a workload is drawn again for a backend that cannot be asked for it."""


@contextmanager
def _heap_left_alone() -> Iterator[None]:
    """Have the garbage collector pass over all that exists now.

    It would look through every module that the engine has imported, again and again, and pandas
    alone has some hundred thousand objects.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@_heap_left_alone()
def run_campaign(
    run: Run,
    profile: str,
    *,
    beside: Collection[str] = (),
    max_examples: int = 100,
    seed: int = 0,
    seeds: int = 1,
    rehearsal: Rehearsal | None = None,
    deterministic: bool = True,
    causes: Causes | None = None,
    stops_at: Callable[[str], bool] = lambda _: False,
    waive: Collection[str] = (),
    fit: Fit = lambda work: work,
) -> Campaign:
    """Run random workloads of a profile, and sort what breaks by its root.

    Args:
        run: runs one workload.
        profile: the profile.
        beside: other capabilities that workloads may make use of.
        max_examples: workloads to run of each seed.
        seed: the seed of the draws; of several the first.
        seeds: how many seeds there are, one after the other.
        rehearsal: chooses, of several workloads, the one to run; by default all that are drawn are.
        deterministic: whether two runs of one workload must be equal to the byte, or only in
            violation and table.
        causes: the roots that are known from other campaigns; new ones are added.
        stops_at: whether the campaign ends when this clause broke.
        waive: clauses not to judge at all.
        fit: brings a workload to one that the engine can be asked for; if it gives None, the
            workload is drawn again.
    """
    campaign = Campaign(profile, Evidence(planned=max_examples * seeds))
    evidence = campaign.evidence
    always = tuple(sorted(waive))
    causes = Causes(run, fit=fit) if causes is None else causes
    pairs = Pairs(profile, beside)
    evidence.pairs, evidence.pair_goals = pairs.met, pairs.goals
    places = _places(profile, seed, seeds, max_examples)
    for place, work in campaign_workloads(pairs, places, rehearsal=rehearsal, fit=fit):
        waived = always
        try:
            result = run(work, waived)
        except Interrupted as stop:
            causes.add_interrupted(stop.result, place, waived)
            raise
        except Exception as error:
            pass_on(error)
            error.add_note(
                f"workload {place.example} of profile {profile}, seed {place.seed}: {work!r}"
            )
            raise
        if result.violations:
            found = causes.sort(result, place, waived, stops_at)
            for failure in found.failures:
                campaign.failures.setdefault(failure.clause, failure)
            result, waived = found.last, found.waived
            evidence.stopped_at = found.stopped_at
            evidence.stood_still = bool(found.stopped_at) and causes.waited_enough
        _account(evidence, work, result, partial(run, work, waived), deterministic)
        if evidence.stopped_at:
            break
    evidence.waived = always
    return campaign


def campaign_workloads(
    pairs: Pairs,
    places: Iterable[Place],
    *,
    rehearsal: Rehearsal | None = None,
    fit: Fit = lambda work: work,
) -> Iterator[tuple[Place, Workload]]:
    """The workloads of a campaign, each drawn when it is asked for.

    Args:
        pairs: the pairs of features, of which the least met ones come next; it counts on.
        places: the place of each workload, in the order of the campaign.
        rehearsal: chooses, of several workloads, the one to run; by default all that are drawn are.
        fit: brings a workload to one that the engine can be asked for, as of `run_campaign`.
    """
    for place in places:
        draw = partial(_drawn, fit, place, pairs.known, pairs.next(place.example))
        work = draw(0) if rehearsal is None else rehearsal.take(draw)
        pairs.count(work)
        yield place, work


def _places(profile: str, seed: int, seeds: int, examples: int) -> Iterator[Place]:
    """The workloads of a campaign, by seed and number."""
    for each in range(seed, seed + seeds):
        yield from (Place(profile, example, each) for example in range(1, examples + 1))


def _drawn(
    fit: Fit, place: Place, known: Collection[str], forced: tuple[str, ...], nth: int
) -> Workload:
    """One of the workloads that are drawn for a place, the first by default: 0, 1, …"""
    # Of another one a later part of the stream is taken, behind every campaign's end.
    example = place.example + nth * _APART
    draw = partial(drawn_workload, place.seed, place.profile, example, known, forced=forced)
    return _fitting(fit, place.profile, draw)


def _fitting(fit: Fit, profile: str, draw: Callable[..., Workload]) -> Workload:
    """The n-th workload of a campaign: the first draw that the engine can be asked for."""
    for again in range(REDRAWS_MAX):
        work = fit(draw(again=again))
        if work is not None:
            return work
    raise AdapterError(
        f"profile {profile}: of {REDRAWS_MAX} workloads the backend's fit takes none; it has a "
        "capability that no workload asks for"
    )


def drawn_workload(
    seed: int,
    profile: str,
    example: int,
    known: Collection[str] = (),
    *,
    again: int = 0,
    forced: Collection[str] = (),
) -> Workload:
    """The n-th workload of a profile's campaign, as it is drawn.

    Args:
        seed: the seed of the campaign.
        profile: the profile.
        example: the number of the workload, from 1; the first one is the dullest.
        known: other capabilities that it may make use of.
        again: how often it was drawn before.
        forced: features that it is to have; a campaign chooses a pair for every other one.
    """
    if example == 1 and not again:
        return workload(DullestChoices(), profile, known, forced=forced)
    text = f"{seed} {profile} {example}" + (f" {again}" if again else "")
    return workload(SeededChoices(text), profile, known, forced=forced)


def _account(
    evidence: Evidence,
    work: Workload,
    result: RunResult,
    run_again: Callable[[], RunResult],
    deterministic: bool,
) -> None:
    _count(evidence, run_coverage(result))
    evidence.refused += bool(result.refused)
    evidence.by_table_alone += result.by_table_alone
    evidence.blocking.update(result.blocking)
    evidence.reports_claims = evidence.reports_claims or any(map(_claims, result.events))
    evidence.graphs.add(_digest(work.graph().rules.columns))
    if evidence.workloads % REPEAT_EVERY == 1:
        evidence.repeated += 1
        # A run that is given up has as many events as it was given time for.
        difference = _difference(result, run_again(), deterministic and not result.stood_still_s)
        evidence.unequal = evidence.unequal or difference


def _count(evidence: Evidence, seen: Coverage) -> None:
    evidence.workloads += 1
    evidence.incarnations += seen.incarnations
    evidence.crash_points += seen.crashes
    evidence.events += seen.events
    evidence.inferred += seen.inferred
    evidence.traces.add(seen.digest)
    evidence.exercised.update(sorted(seen.exercised))
    evidence.exercised_inferred.update(sorted(seen.exercised_inferred))
    evidence.sometimes.update(sorted(seen.sometimes))
    evidence.kept.update(seen.kept)


def _claims(event: Mapping[str, Any]) -> bool:
    """True for the report of a claim."""
    resumes = event["event"] == "resume" and any(event["claim"].values())
    return resumes or event["event"] in ("checkpoint_begin", "commit_begin")


def _digest(value: object) -> str:
    return hashlib.blake2b(repr(value).encode(), digest_size=8).hexdigest()


def _difference(first: RunResult, second: RunResult, deterministic: bool) -> str:
    """The forbidden difference between two runs of one workload; "" if they agree."""
    broken = [next((one.clause for one in run.violations), "no clause") for run in (first, second)]
    if broken[0] != broken[1]:
        return f"the first breaks {broken[0]}, the second {broken[1]}"
    if deterministic:
        lines = [[json.dumps(event) for event in run.events] for run in (first, second)]
        for number, (one, two) in enumerate(zip(*lines, strict=False), 1):
            if one != two:
                return f"event {number} is {one} in the first, {two} in the second"
        if len(lines[0]) != len(lines[1]):
            return f"the first has {len(lines[0])} events, the second {len(lines[1])}"
    if _comparable(first) and _comparable(second) and first.tables[-1:] != second.tables[-1:]:
        return "the final table"
    return ""


def _comparable(result: RunResult) -> bool:
    """Whether every run of this workload ends in the same table, in any order of its calls."""
    return (
        bool(result.tables)
        and result.outcomes[-1:] == ["success"]
        and not result.tables[-1].dropped
        and not result.work.targets
    )
