"""How often ``run --precision 0.02`` holds the true mean.

Each scenario has a figure whose mean follows from a formula. A *repetition* is one whole
experiment: runs are added round by round until the half-width is 2 % of the mean twice in a row,
as the command does it. Looking again and again favours intervals that are narrow by chance, so that
fewer than 95 of 100 hold the mean: how many do is what is counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

from cellspec.parallel import in_parallel
from sim.experiments.replicated import replicated
from sim.experiments.stopping import LEAST_RUNS, MOST_RUNS, Precision
from sim.scenario.loader import load_scenario
from sim.scenario.scenario import Scenario
from tests.theory.frame import table

__all__ = [
    "HARD",
    "KNOWN",
    "LEAST_SHARE",
    "REPETITIONS",
    "Known",
    "Repetition",
    "first_words",
    "rendered",
    "repetition",
    "repetitions",
    "section",
]

REPETITIONS = 2000
"""Repetitions of each scenario."""

WISHED = 0.02
"""The half-width as a share of the mean."""

APART = MOST_RUNS
"""Between the first seeds of two repetitions: no repetition takes more."""

LEAST_SHARE = 0.92
"""What has to hold."""


@dataclass(frozen=True, slots=True)
class Known:
    """A scenario with a figure whose mean is known.

    Attributes:
        name: in words.
        text: the scenario, as YAML.
        figure: of a run.
        mean: the true mean of the figure.
        why: where it comes from.
    """

    name: str
    text: str
    figure: str
    mean: float
    why: str


@dataclass(frozen=True, slots=True)
class Repetition:
    """One experiment.

    Attributes:
        runs: that it took.
        mean, half_width: the interval that it ended with.
        holds: whether the true mean is in it.
    """

    runs: int
    mean: float
    half_width: float
    holds: bool


def _one_column(rows: int, latency: str, rest: str) -> str:
    return (
        f"name: known\nrows: {rows}\ncolumns:\n  - name: answer\n    traits: [CELL_BY_CELL]\n"
        f"    resource: chat\n    latency: {latency}\n"
        f"limits: {{workers: 1, resources: {{chat: 1}}}}\n{rest}"
    )


def _crashing(calls: int, between_s: float) -> str:
    return _one_column(
        calls,
        "{model: constant, value_s: 1}",
        "checkpoint: {every_rows: 1}\nredo: same\nrestart_delay_s: 0.5\n"
        f"crashes: [{{random: {{mean_s: {between_s}}}}}]\n",
    )


def _crashed_s(calls: int, between_s: float) -> float:
    """The mean makespan of calls of 1 s, one after the other, each begun again after a crash."""
    return calls * math.expm1(1 / between_s) * (between_s + 0.5)


KNOWN = (
    Known(
        "calls in a line",
        _one_column(25, "{model: gamma, mean_s: 1, shape: 16}", ""),
        "makespan_s",
        25.0,
        "25 calls one after the other, of 1 s on average (gamma, shape 16)",
    ),
    Known(
        "rows that fail",
        _one_column(
            40,
            "{model: constant, value_s: 1}",
            "failures: {max_attempts: 1, default: {permanent: 0.1}}\n",
        ),
        "rows_delivered",
        36.0,
        "40 rows, of which each fails for good with probability 0.1",
    ),
    Known(
        "random crashes",
        _crashing(20, 10),
        "makespan_s",
        _crashed_s(20, 10),
        "20 calls of 1 s, a crash after 10 s on average, restarts of 0.5 s: "
        "20 (e^(1/10) − 1) (10 + 0.5)",
    ),
)
"""The intervals of these have to hold the mean in at least `LEAST_SHARE` of the repetitions."""

HARD = (
    Known(
        "rare crashes",
        _crashing(10, 60),
        "makespan_s",
        _crashed_s(10, 60),
        "10 calls of 1 s, a crash after 60 s on average, restarts of 0.5 s: "
        "10 (e^(1/60) − 1) (60 + 0.5)",
    ),
)
"""Five of six runs of this one are equal, and the sixth is up to a tenth longer."""


def repetition(number: int, known: Known) -> Repetition:
    """One experiment, with the seeds that belong to its number."""
    made = replicated(
        _scenario(known.text),
        Precision(WISHED),
        figure=known.figure,
        first_seed=APART * number,
        checked=False,
    )
    found = made.reached
    assert found.half_width is not None
    return Repetition(
        found.runs, found.mean, found.half_width, abs(found.mean - known.mean) <= found.half_width
    )


def repetitions(known: Known, count: int = REPETITIONS, jobs: int = 1) -> Iterator[Repetition]:
    """The experiments with the numbers 0 to `count` − 1."""
    return in_parallel(_numbered, [(number, known) for number in range(count)], jobs=jobs)


def _numbered(task: tuple[int, Known]) -> Repetition:
    return repetition(*task)


@cache
def _scenario(text: str) -> Scenario:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "known.yaml"
        path.write_text(text, encoding="utf-8")
        return load_scenario(path)


TITLE = "## Runs until a precision is reached"

TEXT = f"""\
`cellspec run --precision 0.02`, {REPETITIONS:,} times for each scenario if the table gives no other
number: 10 runs, and then a quarter more at a time, until the half-width is at most 2 % of the mean
twice in a row, the second time with at least {LEAST_RUNS} runs. Looking again and again favours
intervals that are narrow by chance; at least {100 * LEAST_SHARE:g} % have to hold the mean all the
same. With figures that are more skewed the rule does not reach this share, as the second table
shows.
"""

HARD_TEXT = """\
Where most runs are alike and a few are longer, twenty runs may hold none of the long ones, and
the rule ends too early. This is measured on such a scenario, of which no share is asked:
"""

HARD_END = """\
If a fault is as rare as this, give a number of runs in which it comes many times, as in
`--replications 200`: it does not depend on what the runs so far look like.
"""


def section(jobs: int = 1) -> str:
    """The section of the page."""
    return rendered({one.name: list(repetitions(one, jobs=jobs)) for one in (*KNOWN, *HARD)})


def rendered(found: Mapping[str, Sequence[Repetition]]) -> str:
    """The section of the page, of the repetitions of each scenario."""
    known, hard = ([_line(one, found[one.name]) for one in group] for group in (KNOWN, HARD))
    head = ("scenario", "figure", "true mean", "repetitions", "held it", "runs", "repetition 0")
    whys = [f"- *{one.name}*: {one.why}." for one in (*KNOWN, *HARD)]
    return "\n".join(
        [
            TITLE,
            "",
            TEXT,
            table(head, known, 2),
            "",
            HARD_TEXT,
            table(head, hard, 2),
            "",
            HARD_END,
            *whys,
            "",
        ]
    )


def _line(known: Known, found: Sequence[Repetition]) -> list[str]:
    return [
        known.name,
        f"`{known.figure}`",
        f"{known.mean:.6g}",
        f"{len(found):,}",
        f"{100 * fmean(one.holds for one in found):.2f} %",
        f"{fmean(one.runs for one in found):.1f}",
        first_words(found[0]),
    ]


def first_words(found: Repetition) -> str:
    """The first repetition, so that the tests can make it again and compare."""
    return f"{found.runs} runs: {found.mean:.4f} ± {found.half_width:.4f}"
