"""How often the interval of a comparison holds the true difference.

Each case is a pair of scenarios whose mean makespans follow from a formula. An *experiment* is a
comparison with `PAIRS` pairs of runs; it is repeated with other seeds, and counted is how often its
interval holds the true difference: on common random numbers, and with independent runs. Two
scenarios that are the same, run independently, have the true difference 0; the share of their
experiments that say *no difference shown* is counted too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

from sim.experiments.compared import INDEPENDENT_SEED, Compared, compared
from sim.experiments.replication import Replication, Task, packed, replications
from sim.scenario.loader import load_scenario

__all__ = ["CASES", "EXPERIMENTS", "PAIRS", "Case", "Counted", "counted", "rendered", "section"]

PAIRS = 30
"""Pairs of runs of one experiment, as `cellspec compare` makes them."""

EXPERIMENTS = 400
"""Experiments of a case, with the seeds 0 to 399: experiment k has its runs from 1,000 k on."""

APART = 1000
"""Between the first seeds of two experiments."""

FIGURE = "makespan_s"


@dataclass(frozen=True, slots=True)
class Case:
    """Two scenarios with known mean makespans.

    Attributes:
        name: of the case, in words.
        scenario: A, as YAML.
        sets: what differs in B.
        a_s, b_s: the mean makespans, in seconds.
        why: where these come from.
    """

    name: str
    scenario: str
    sets: dict[str, str]
    a_s: float
    b_s: float
    why: str


def _harmonic(number: int) -> float:
    return sum(1 / k for k in range(1, number + 1))


def _queue_s(rows: int, limit: int) -> float:
    """The mean makespan of independent exponential calls of mean 1 s, so many at once.

    While calls wait, the next end comes after 1 / limit on average; then the last ones end one by
    one, and the wait for the next of k that run is 1 / k.
    """
    return (rows - limit) / limit + _harmonic(limit)


def _crashed_s(rows: int, call_s: float, mean_s: float, restart_s: float) -> float:
    """The mean makespan of calls one after another, each begun again after a random crash.

    A call takes (e^(call / mean) - 1) × (mean + restart) on average, as Young and Daly have it.
    """
    return rows * (math.exp(call_s / mean_s) - 1) * (mean_s + restart_s)


_COLUMN = """
columns:
  - name: answer
    traits: [CELL_BY_CELL]
    resource: chat
    latency: """

CASES = (
    Case(
        "limit 4 → 5",
        f"name: limit\nrows: 40{_COLUMN}{{model: exponential, mean_s: 1}}\n"
        "limits: {workers: 40, resources: {chat: 4}}\n",
        {"limits.resources.chat": "5"},
        _queue_s(40, 4),
        _queue_s(40, 5),
        "n exponential calls of mean 1 s, k at once: (n − k) / k + 1 + 1/2 + … + 1/k",
    ),
    Case(
        "restart 1 → 2 s",
        f"name: restart\nrows: 10{_COLUMN}{{model: constant, value_s: 1}}\n"
        "limits: {workers: 1, resources: {chat: 1}}\ncheckpoint: {every_rows: 1}\n"
        "crashes: [{random: {mean_s: 2}}]\nredo: same\nrestart_delay_s: 1\n",
        {"restart_delay_s": "2"},
        _crashed_s(10, 1, 2, 1),
        _crashed_s(10, 1, 2, 2),
        "n calls of c s, a crash after M s on average, restarts of R s: n (e^(c/M) − 1) (M + R)",
    ),
    Case(
        "another latency",
        f"name: latency\nrows: 40{_COLUMN}{{model: exponential, mean_s: 1}}\n"
        "limits: {workers: 1, resources: {chat: 1}}\n",
        {"columns.answer.latency": "{model: uniform, low_s: 0.5, high_s: 1.7}"},
        40.0,
        44.0,
        "40 calls one after another, exponential of mean 1 s against uniform of mean 1.1 s",
    ),
)


@dataclass(frozen=True, slots=True)
class Counted:
    """How often intervals held, of so many experiments each.

    Attributes:
        case: what was compared.
        experiments: of each kind.
        paired, independent: intervals that held the true difference.
        paired_share, independent_share: intervals of the relative difference that held it.
        none_shown: comparisons of A with A, independent, that showed no difference.
        width, independent_width: the mean half-widths, in seconds.
        gain: the mean over experiments of what common random numbers gained.
    """

    case: Case
    experiments: int
    paired: int
    independent: int
    paired_share: int
    independent_share: int
    none_shown: int
    width: float
    independent_width: float
    gain: float


def counted(
    case: Case, experiments: int = EXPERIMENTS, pairs: int = PAIRS, *, jobs: int = 1
) -> Counted:
    """Repeat the experiments of a case, and count.

    Args:
        case: what is compared.
        experiments: how many.
        pairs: of runs, in each.
        jobs: runs at once.
    """
    found = [
        [compared(a, b, only=FIGURE).of(FIGURE) for a, b in zip(mine, others, strict=True)]
        for mine, others in _pairings(case, experiments, pairs, jobs)
    ]
    paired, independent, same = found
    truth = case.b_s - case.a_s
    return Counted(
        case,
        experiments,
        _held(paired, truth),
        _held(independent, truth),
        _held_share(paired, truth / case.a_s),
        _held_share(independent, truth / case.a_s),
        sum(one.verdict == "no difference shown" for one in same),
        fmean(_half(one) for one in paired),
        fmean(_half(one) for one in independent),
        fmean(one.found.gain for one in paired if one.found and one.found.gain),
    )


def _pairings(
    case: Case, experiments: int, pairs: int, jobs: int
) -> Iterator[tuple[list[list[Replication]], list[list[Replication]]]]:
    """Runs of A and of B by experiment: paired, independent, and A with an independent A."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.yaml"
        path.write_text(case.scenario, encoding="utf-8")
        a, b = packed(load_scenario(path)), packed(load_scenario(path, case.sets))
    of = [(a, 0), (b, 0), (b, INDEPENDENT_SEED), (a, INDEPENDENT_SEED)]
    tasks = (
        Task(place, scenario, first + APART * experiment + number, checked=False)
        for place, (scenario, first) in enumerate(of)
        for experiment in range(experiments)
        for number in range(pairs)
    )
    runs: list[list[Replication]] = [[] for _ in of]
    for place, run in replications(tasks, jobs=jobs):
        runs[place].append(run)
    a_runs, b_runs, b_apart, a_apart = (
        [one[k : k + pairs] for k in range(0, len(one), pairs)] for one in runs
    )
    yield a_runs, b_runs
    yield a_runs, b_apart
    yield a_runs, a_apart


def _half(one: Compared) -> float:
    assert one.found is not None
    assert one.found.difference.half_width is not None
    return one.found.difference.half_width


def _held(found: Sequence[Compared], truth: float) -> int:
    return sum(abs(one.found.difference.mean - truth) <= _half(one) for one in found if one.found)


def _held_share(found: Sequence[Compared], truth: float) -> int:
    return sum(
        abs((one.found.relative or 0.0) - truth) <= (one.found.relative_half_width or 0.0)
        for one in found
        if one.found
    )


def section(jobs: int = 1) -> str:
    """The section of the page."""
    return rendered([counted(case, jobs=jobs) for case in CASES])


def rendered(found: Sequence[Counted]) -> str:
    """The section, from what was counted."""
    lines = [
        "## Comparisons of two scenarios",
        "",
        f"`cellspec compare` with {PAIRS} pairs of runs, {EXPERIMENTS} times for each case, of",
        "pairs of scenarios whose mean makespans are known:",
        "",
        "| A → B | mean makespan of A, B | by |",
        "| ----- | --------------------- | -- |",
        *(
            f"| {one.case.name} | {one.case.a_s:.3f} s, {one.case.b_s:.3f} s | {one.case.why} |"
            for one in found
        ),
        "",
        "How often the interval of the difference held the true one, and the interval of the",
        "difference as a share of A's mean the true share; in brackets, of independent runs. The",
        "last column is the share of comparisons of A with A, on independent runs, that said",
        "*no difference shown*. What is wanted is 92 to 98 %.",
        "",
        "| A → B | difference | share | mean half-width | mean gain | A → A |",
        "| ----- | ---------- | ----- | --------------- | --------- | ----- |",
    ]
    for one in found:
        of = 100 / one.experiments
        lines.append(
            f"| {one.case.name} "
            f"| {of * one.paired:.1f} % ({of * one.independent:.1f} %) "
            f"| {of * one.paired_share:.1f} % ({of * one.independent_share:.1f} %) "
            f"| {one.width:.3f} s ({one.independent_width:.3f} s) "
            f"| {one.gain:.2g} "
            f"| {of * one.none_shown:.1f} % |"
        )
    return "\n".join(lines) + "\n"
