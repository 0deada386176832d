"""A campaign: many random workloads of one profile, and the smallest that breaks a clause.

Hypothesis draws the workloads (`cellspec.conformance.strategies`), the harness runs each and says
what it broke, and the campaign keeps account: `Evidence` of what was tried, and for each clause
that broke a `Failure`.

*One cause, one failure.* A broken engine breaks more than one clause, and one bug of it shows in
nearly every workload. So a campaign stops at its first violation. From there on it only looks for
a smaller workload that breaks the *same* clause: fewer columns, then fewer rows, crashes and
faults. It goes on only with a clause that may be waived, because it is expected to fail or because
the user asked for all that can be found: then with that clause not judged.

*Same seed, same campaign.* The draws are a function of the seed and of nothing else; neither an
example database, nor a deadline, nor what else has been imported has a part in it.

*Every so often twice.* One workload in five is run a second time, and both runs must be equal.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import seed as seeded
from hypothesis.errors import HypothesisException
from hypothesis.internal.conjecture.providers import HypothesisProvider
from hypothesis.strategies import SearchStrategy

from cellspec.conformance.harness import RunResult
from cellspec.conformance.strategies import workloads
from cellspec.conformance.witness import Seen, watch
from cellspec.conformance.workload import Workload
from cellspec.verdict import Evidence

__all__ = ["REPEAT_EVERY", "Campaign", "Failure", "Run", "failure_of", "run_campaign", "size_of"]

REPEAT_EVERY = 5
"""Of so many workloads one is run twice."""

SHRINK_RUNS_MAX = 1_500
"""Runs after a violation, in search of a smaller workload. A count, so that it is the same count
on a slow machine."""


Run: TypeAlias = Callable[[Workload, Collection[str]], RunResult]
"""Runs one workload, with these clauses waived."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A clause that broke, and the smallest workload found that breaks it.

    Attributes:
        clause: its number.
        detail: what happened, in one line.
        story: what led to it, a line for each step.
        workload: the workload.
        header: the first line of the trace of that run.
        events: its events.
        profile: the profile whose campaign found it; "" if no campaign did.
        example: which workload of the campaign broke it first, from 1.
        waived: the clauses that were not judged.
        seq: the number of the event that broke it; None if it was not an event.
    """

    clause: str
    detail: str
    story: tuple[str, ...]
    workload: Workload
    header: Mapping[str, Any]
    events: tuple[Mapping[str, Any], ...]
    profile: str = ""
    example: int = 0
    waived: tuple[str, ...] = ()
    seq: int | None = None


@dataclass(slots=True)
class Campaign:
    """What a campaign found: evidence, and failures by clause."""

    profile: str
    evidence: Evidence
    failures: dict[str, Failure] = field(default_factory=dict)


def failure_of(
    work: Workload,
    result: RunResult,
    *,
    profile: str = "",
    example: int = 0,
    waived: Collection[str] = (),
) -> Failure:
    """The failure of a run that broke something."""
    broken = result.violations[0]
    return Failure(
        clause=broken.clause,
        detail=broken.detail,
        story=tuple(broken.story),
        workload=work,
        header=result.header,
        events=tuple(result.events),
        profile=profile,
        example=example,
        waived=tuple(waived),
        seq=broken.seq,
    )


def size_of(work: Workload) -> tuple[int, ...]:
    """What makes a workload small: columns, then rows, then crashes, then faults, then the rest."""
    rows = max(work.rows_of(life) for life in range(work.lives))
    return (
        len(work.columns),
        rows,
        len(work.crashes) + len(work.targets),
        len(work.faults) + len(work.skips),
        len(work.to_json()),
    )


def run_campaign(
    run: Run,
    profile: str,
    *,
    beside: Collection[str] = (),
    max_examples: int = 100,
    seed: int = 0,
    deterministic: bool = True,
    may_waive: Callable[[str], bool] = lambda _: False,
    waive: Collection[str] = (),
) -> Campaign:
    """Run random workloads of a profile until one breaks a clause, or all have been run.

    Args:
        run: runs one workload.
        profile: the profile.
        beside: other capabilities that workloads may make use of.
        max_examples: workloads to run.
        seed: what they are drawn from.
        deterministic: whether two runs of one workload must be equal to the byte, or in what they
            broke and in the table.
        may_waive: whether to go on, without judging it, after a clause broke.
        waive: clauses not to judge at all.
    """
    campaign = Campaign(profile, Evidence(planned=max_examples))
    evidence = campaign.evidence
    strategy = workloads(profile, beside=sorted(beside))
    waived = tuple(sorted(waive))
    for example in range(1, max_examples + 1):
        search = _Search(run, evidence, waived, deterministic)
        search.draw(strategy, _number(f"{seed} {profile} {example}"), dullest=example == 1)
        if search.best is None:
            continue
        work, result = search.best
        found = failure_of(work, result, profile=profile, example=example, waived=waived)
        campaign.failures[found.clause] = found
        if not may_waive(found.clause):
            evidence.stopped_at = found.clause
            break
        waived = tuple(sorted({*waived, found.clause}))
    evidence.waived = waived
    return campaign


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


class _Enough(BaseException):
    """Shrinking has gone on for long enough. No `Exception`, so that Hypothesis lets it pass."""


class _Broke(Exception):  # noqa: N818 - the workload did, and no error happened
    """The workload breaks the clause that is looked for."""


class _Search:
    """Draws one workload, and if that breaks a clause, smaller ones that break the same."""

    def __init__(
        self, run: Run, evidence: Evidence, waived: tuple[str, ...], deterministic: bool
    ) -> None:
        self.run = run
        self.evidence = evidence
        self.waived = waived
        self.deterministic = deterministic
        self.clause = ""
        self.shrinking = 0
        self.best: tuple[Workload, RunResult] | None = None
        self._best_size: tuple[int, ...] = ()

    def draw(self, strategy: SearchStrategy[Workload], seed: int, *, dullest: bool) -> None:
        """Draw a workload and run it.

        Each workload of a campaign is drawn on its own, from a seed of its own. Asked for a hundred
        at once, Hypothesis makes most of them by small changes to the ones before, which gives
        less than half as many different pipelines. And so the first workloads of a longer campaign
        are those of a shorter one.

        Args:
            strategy: what to draw from.
            seed: what it is drawn with.
            dullest: take the first choice of everything instead.
        """
        # The dullest workload is what Hypothesis always begins with.
        first = not dullest

        @seeded(seed)
        @settings(
            max_examples=1 if dullest else 2,
            database=None,
            deadline=None,
            derandomize=False,
            report_multiple_bugs=False,
            print_blob=False,
            verbosity=Verbosity.quiet,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def judge(work: Workload) -> None:
            nonlocal first
            if first:
                first = False
            else:
                self._judge(work)

        with _draws_of_the_seed_alone():
            try:
                judge()
            except (_Broke, _Enough):
                pass
            except HypothesisException:
                # An engine that is not deterministic: what broke once does not break again. The
                # violation was seen, and counts.
                if self.best is None:
                    raise

    def _judge(self, work: Workload) -> None:
        if self.clause:
            self.shrinking += 1
            if self.shrinking > SHRINK_RUNS_MAX:
                raise _Enough
        result = self.run(work, self.waived)
        if not self.clause:
            self._account(work, result)
        if not result.violations:
            return
        clause = result.violations[0].clause
        if not self.clause:
            self.clause = clause
        if clause == self.clause:
            size = size_of(work)
            if self.best is None or size < self._best_size:
                self.best, self._best_size = (work, result), size
            raise _Broke

    def _account(self, work: Workload, result: RunResult) -> None:
        evidence = self.evidence
        seen = watch(work, result.events, refused=bool(result.refused))
        _count(evidence, seen)
        evidence.refused += bool(result.refused)
        evidence.by_table_alone += result.by_table_alone
        evidence.graphs.add(_digest(work.graph().rules.columns))
        if evidence.workloads % REPEAT_EVERY == 1:
            evidence.repeated += 1
            again = self.run(work, self.waived)
            evidence.unequal = evidence.unequal or _difference(result, again, self.deterministic)


def _count(evidence: Evidence, seen: Seen) -> None:
    evidence.workloads += 1
    evidence.lives += seen.lives
    evidence.crash_points += seen.crashes
    evidence.events += seen.events
    evidence.inferred += seen.inferred
    evidence.traces.add(seen.digest)
    evidence.occasions.update(sorted(seen.occasions))
    evidence.inferred_occasions.update(sorted(seen.inferred_occasions))
    evidence.sometimes.update(sorted(seen.sometimes))


def _digest(value: object) -> str:
    return hashlib.blake2b(repr(value).encode(), digest_size=8).hexdigest()


def _difference(first: RunResult, second: RunResult, deterministic: bool) -> str:
    """What differs between two runs of one workload; "" if nothing that must not."""
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
    """Whether a run of this workload can end in one table only, whatever was faster than what."""
    return (
        bool(result.tables)
        and result.outcomes[-1:] == ["success"]
        and not result.tables[-1].dropped
        and not result.work.targets
    )


@contextlib.contextmanager
def _draws_of_the_seed_alone() -> Iterator[None]:
    """Keep Hypothesis from drawing constants that it found in the source of imported modules.

    It does so now and then, and for good reason. But then what a seed draws changes with a number
    in an unrelated module, and "found in 7 workloads" would mean nothing tomorrow.
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
