"""What common random numbers gain: comparisons of the shipped text-to-SQL pipeline, measured.

Each case is one ``cellspec compare``, whose command the page shows. The gain of a case is an
estimate from its pairs, and so are its digits: the first says how large it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sim.experiments.compared import PAIRS, Compared, compare
from sim.experiments.stopping import FixedRuns
from sim.output.compare import gain_words, verdict_words
from sim.scenario.loader import load_scenario

__all__ = ["CASES", "Case", "compared_case", "rendered", "section"]

SCENARIO = Path(__file__).parents[2] / "simulations" / "text_to_sql.yaml"

_NO_CRASH = "crashes=[]"
_AT_RANDOM = "crashes=[{random: {mean_s: 600}}]"
_TWO = "crashes=[{at_time_s: 1000}, {at_time_s: 2000}]"
_LIMIT = "limits.resources.nvidia-text"


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison.

    Attributes:
        name: the question, in words.
        both, a, b: the values of ``--set``, ``--set-a`` and ``--set-b``.
    """

    name: str
    both: tuple[str, ...]
    a: tuple[str, ...]
    b: tuple[str, ...]

    def command(self) -> str:
        """The command that makes it."""
        options = [
            *(f"--set {_quoted(one)}" for one in self.both),
            *(f"--set-a {_quoted(one)}" for one in self.a),
            *(f"--set-b {_quoted(one)}" for one in self.b),
        ]
        return f"cellspec compare text_to_sql {' '.join(options)}"


def _quoted(text: str) -> str:
    return f"'{text}'" if set(text) & set("[]{} ") else text


CASES = (
    Case("limit 4 → 5, no crash", ("rows=200", _NO_CRASH), (), (f"{_LIMIT}=5",)),
    Case(
        "policy fifo → row-first", ("rows=200", _NO_CRASH), ("policy=fifo",), ("policy=row-first",)
    ),
    Case("policy fifo → random", ("rows=200", _NO_CRASH), ("policy=fifo",), ("policy=random",)),
    Case(
        "a checkpoint every 60 → 240 s, random crashes",
        ("rows=200", _AT_RANDOM, "checkpoint.every_rows=null"),
        ("checkpoint.every_s=60",),
        ("checkpoint.every_s=240",),
    ),
    Case(
        "limit 4 → 5, two crashes",
        ("rows=400", "checkpoint.every_rows=20", _TWO),
        (),
        (f"{_LIMIT}=5",),
    ),
)


def compared_case(case: Case, pairs: int = PAIRS, jobs: int = 1) -> Compared:
    """The makespan of a case, compared.

    Args:
        case: what is compared.
        pairs: of runs.
        jobs: runs at once.
    """
    a, b = (
        load_scenario(SCENARIO, dict(one.split("=", 1) for one in (*case.both, *mine)))
        for mine in (case.a, case.b)
    )
    found, _ = compare(a, b, FixedRuns(pairs), jobs=jobs, checked=False)
    return found.of("makespan_s")


def section(jobs: int = 1) -> str:
    """The section of the page."""
    return rendered([compared_case(case, jobs=jobs) for case in CASES])


def rendered(found: Sequence[Compared]) -> str:
    """The section, from the comparisons of `CASES`."""
    lines = [
        "## What common random numbers gain",
        "",
        f"The makespan of `text_to_sql`, with {PAIRS} pairs of runs. The gain is how many times as",
        "many independent runs would give an interval as narrow.",
        "",
        "| question | verdict | gain |",
        "| -------- | ------- | ---- |",
        *(
            f"| {case.name} | {verdict_words(one, PAIRS)} "
            f"| {gain_words(one.found.gain) if one.found and one.found.gain else '–'} |"
            for case, one in zip(CASES, found, strict=True)
        ),
        "",
        "The commands:",
        "",
        *(f"- `{case.command()}`" for case in CASES),
        "",
        "What a crash costs is decided by what is in flight and saved at its moment. Two runs that",
        "differ in a limit are elsewhere by then, and what they lose has little in common: that is",
        "why the last gain is near 1. Without the crashes the same limit has the first one.",
    ]
    return "\n".join(lines) + "\n"
