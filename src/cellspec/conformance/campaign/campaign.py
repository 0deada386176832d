"""A campaign: many random workloads of one profile, and what breaks in them.

Hypothesis draws the workloads (`cellspec.conformance.campaign.strategies`), and the harness runs
and judges each. The campaign keeps `Evidence` of the runs, and a `Failure` for each bug that it
finds.

*One cause does not hide others.* A violation is sorted by its root
(`cellspec.conformance.campaign.causes`), and the campaign goes on: with the next workload, and
with this one behind the clause that broke. The run that came farthest is the evidence. A campaign
may also be asked to stop at the first violation.

*Same seed, same campaign.* The draws are a function of the seed alone. An example database, a
deadline and other imported modules leave them unchanged.

*Every so often twice.* One workload in five is run a second time, and both runs must be equal.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import seed as seeded
from hypothesis.internal.conjecture.providers import HypothesisProvider
from hypothesis.strategies import SearchStrategy

from cellspec.conformance.campaign.causes import Causes, Place, Run
from cellspec.conformance.campaign.results import Campaign
from cellspec.conformance.campaign.strategies import workloads
from cellspec.conformance.judge.coverage import Coverage, coverage_of
from cellspec.conformance.judge.evidence import Evidence
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.backend import Fit
from cellspec.conformance.run.workload import Workload
from cellspec.errors import SpecError

__all__ = [
    "REDRAWS_MAX",
    "REPEAT_EVERY",
    "draw",
    "draws_of_the_seed_alone",
    "run_campaign",
]

REPEAT_EVERY = 5
"""Of so many workloads one is run twice."""

REDRAWS_MAX = 100
"""How often a workload is drawn again for a backend that cannot be asked for it."""


def run_campaign(
    run: Run,
    profile: str,
    *,
    beside: Collection[str] = (),
    max_examples: int = 100,
    seed: int = 0,
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
        max_examples: workloads to run.
        seed: the seed of the draws.
        deterministic: whether two runs of one workload must be equal to the byte, or only in
            violation and table.
        causes: the roots that are known from other campaigns; new ones are added.
        stops_at: whether the campaign ends when this clause broke.
        waive: clauses not to judge at all.
        fit: brings a workload to one that the engine can be asked for; if it gives None, the
            workload is drawn again.
    """
    campaign = Campaign(profile, Evidence(planned=max_examples))
    evidence = campaign.evidence
    strategy = workloads(profile, beside=sorted(beside))
    always = tuple(sorted(waive))
    causes = Causes(run, fit=fit) if causes is None else causes
    for example in range(1, max_examples + 1):
        work = _fitting(strategy, fit, seed, profile, example)
        waived = always
        try:
            result = run(work, waived)
        except Exception as error:
            error.add_note(f"workload {example} of profile {profile}: {work!r}")
            raise
        if result.violations:
            found = causes.sort(result, Place(profile, example, seed), waived, stops_at)
            for failure in found.failures:
                campaign.failures.setdefault(failure.clause, failure)
            result, waived = found.last, found.waived
            evidence.stopped_at = found.stopped_at
        _account(evidence, work, result, partial(run, work, waived), deterministic)
        if evidence.stopped_at:
            break
    evidence.waived = always
    return campaign


def _fitting(
    strategy: SearchStrategy[Workload], fit: Fit, seed: int, profile: str, example: int
) -> Workload:
    """The n-th workload of a campaign: the first draw that the engine can be asked for."""
    for again in range(REDRAWS_MAX):
        seed_here = workload_seed(seed, profile, example, again)
        work = fit(draw(strategy, seed_here, dullest=example == 1 and not again))
        if work is not None:
            return work
    raise SpecError(
        f"profile {profile}: of {REDRAWS_MAX} workloads the backend's fit takes none; it has a "
        "capability that no workload asks for"
    )


def workload_seed(seed: int, profile: str, example: int, again: int = 0) -> int:
    """The seed of the n-th workload of a profile's campaign, at the first or a later try."""
    text = f"{seed} {profile} {example}" + (f" {again}" if again else "")
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def draw(strategy: SearchStrategy[Workload], seed: int, *, dullest: bool = False) -> Workload:
    """One workload, a function of the seed alone.

    Each workload of a campaign is drawn on its own, from a seed of its own. Asked for a hundred at
    once, Hypothesis makes most of them by small changes to the ones before, which gives less than
    half as many different pipelines. And so the first workloads of a longer campaign are those of a
    shorter one.

    Args:
        strategy: the strategy to draw from.
        seed: the seed of the draw.
        dullest: take the first choice of everything instead.
    """
    drawn: list[Workload] = []

    # Hypothesis begins with the dullest example, always, and draws the second.
    @seeded(seed)
    @settings(
        max_examples=1 if dullest else 2,
        database=None,
        deadline=None,
        derandomize=False,
        print_blob=False,
        verbosity=Verbosity.quiet,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def keep(work: Workload) -> None:
        drawn.append(work)

    # Without a database nobody asks for the key of this function in it: a digest of its source.
    vars(keep)["_hypothesis_internal_database_key"] = b""
    with draws_of_the_seed_alone(), warnings.catch_warnings():
        # Threads of an engine that is never stopped may use it meanwhile; no draw sees that.
        warnings.filterwarnings("ignore", "Do not use the `random` module inside strategies")
        keep()
    return drawn[-1]


def _account(
    evidence: Evidence,
    work: Workload,
    result: RunResult,
    run_again: Callable[[], RunResult],
    deterministic: bool,
) -> None:
    _count(
        evidence,
        coverage_of(
            work,
            result.events,
            refused=bool(result.refused) and result.refusal_is_due,
            visits=result.visits,
            torn=result.torn,
            silent=result.silent,
            due_saves=result.due_saves,
        ),
    )
    evidence.refused += bool(result.refused)
    evidence.by_table_alone += result.by_table_alone
    evidence.blocking.update(result.blocking)
    evidence.reports_claims = evidence.reports_claims or any(map(_claims, result.events))
    evidence.graphs.add(_digest(work.graph().rules.columns))
    if evidence.workloads % REPEAT_EVERY == 1:
        evidence.repeated += 1
        difference = _difference(result, run_again(), deterministic)
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


@contextlib.contextmanager
def draws_of_the_seed_alone() -> Iterator[None]:
    """Keep Hypothesis from drawing constants that it found in the source of imported modules.

    It does so now and then, and for good reason. But then the draws of a seed change with a number
    in an unrelated module, and "found in 7 workloads" would be wrong tomorrow.
    """
    drawn = getattr(HypothesisProvider, "_maybe_draw_constant", None)
    if drawn is None:
        yield
        return
    HypothesisProvider._maybe_draw_constant = lambda *_, **__: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        HypothesisProvider._maybe_draw_constant = drawn  # type: ignore[method-assign]
