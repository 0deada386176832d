"""The words of ``cellspec fuzz``: the runs, the situations that came up, the broken clause.

With a number of runs as budget, stdout is the same bytes for the same seed, engine and versions;
with seconds as budget the number of runs depends on the machine. These words say of an engine that
a clause broke, or that none did so far. That an engine is right is said by a campaign with coverage
goals alone (`cellspec.conformance.judge.verdict`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cellspec.clauses import clause_set_data
from cellspec.conformance.run.case import Case, describe
from cellspec.conformance.run.coverage_goals import Sometimes
from cellspec.fuzz.account import Account
from cellspec.fuzz.schedules import DEPTH, pct_bound

__all__ = ["FORMAT", "render_json", "render_text"]

FORMAT = 2
"""The version of the JSON; format 1 had no number, and called one situation "… its cool-down"."""


def render_text(done: Account, *, again: str = "") -> str:
    """The account for a person.

    Args:
        done: the search.
        again: the command that replays the failure.
    """
    return "\n".join(_lines(done, again)) + "\n"


def _lines(done: Account, again: str) -> Iterator[str]:
    yield f"{done.options.backend}, seed {done.options.seed}"
    yield (
        f"{done.total:,} runs: {done.events:,} events, {done.crashes:,} crashes, "
        f"{len(done.traces):,} different orders of events, {done.refused:,} refused as they must be"
    )
    yield f"most results in doubt at one crash: {done.in_doubt:,}"
    for method, runs in done.runs.items():
        yield f"  {method:9} {runs:>7,} runs"
    if "pct" in done.runs:
        mean = max(1, done.events // (2 * max(1, done.total)))
        yield (
            f"  a pct run meets a mistake of depth {DEPTH} among {mean:,} calls with probability "
            f"at least {pct_bound(mean):.1e}"
        )
    yield f"stopped: {done.stopped}"
    yield ""
    yield f"{'situation':66}  {'runs':>7}"
    for what in Sometimes:
        if what in done.sometimes:
            yield f"{what.value:66}  {done.sometimes[what]:>7,}"
    uncovered = done.uncovered()
    yield ""
    if uncovered:
        yield f"not covered: {'; '.join(one.value for one in uncovered)}"
    else:
        yield "every situation that the engine's capabilities allow was seen"
    yield ""
    if done.case is None:
        yield "no clause broke"
    else:
        yield from _broken(done.case, again)
        if not done.comes_again:
            yield "it does not come again without the schedule that found it: run this search again"


def _broken(case: Case, again: str) -> Iterator[str]:
    yield f"violated: {case.clause}"
    yield f"  {case.detail}"
    yield "the smallest workload found"
    work = case.workload
    yield from (f"  {line}" for line in describe(work))
    if again:
        yield ""
        yield f"again: {again}"


def render_json(done: Account) -> str:
    """The account for a program."""
    plain: dict[str, Any] = {
        "format": FORMAT,
        "backend": done.options.backend,
        "clauses": clause_set_data(),
        "seed": done.options.seed,
        "runs": dict(done.runs),
        "events": done.events,
        "crashes": done.crashes,
        "refused": done.refused,
        "distinct_traces": len(done.traces),
        "in_doubt_max": done.in_doubt,
        "sometimes": {what.value: done.sometimes.get(what, 0) for what in Sometimes},
        "pairs": len(done.pairs),
        "last_new": done.last_new,
        "never_seen": [one.value for one in done.uncovered()],
        "stopped": done.stopped,
        "violation": None
        if done.case is None
        else {
            "clause": done.case.clause,
            "detail": done.case.detail,
            "method": done.found.method if done.found is not None else "",
            "case": json.loads(done.case.to_json()),
        },
    }
    return json.dumps(plain, indent=2, ensure_ascii=False) + "\n"
