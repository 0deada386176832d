"""How often ``tune`` puts the truly best candidate out.

Each case is a scenario and values of its checkpoint interval, whose mean makespans follow from a
formula: so it is known which of them is the best, and by how much. A *search* is one whole
elimination, with its rounds, as the command does it; it is repeated with other seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

from cellspec.parallel import in_parallel
from sim.experiments.elimination import Effort
from sim.experiments.tuned import Goal, Tuned, Tuning
from sim.experiments.tuning_fields import Settings, given_field
from sim.scenario.loader import ScenarioFile
from sim.scenario.scenario import Scenario
from tests.theory.frame import table

__all__ = ["CASES", "EFFORT", "SEARCHES", "Case", "Search", "searched", "section"]

SEARCHES = 200
"""Searches of each case."""

APART = 1000
"""Between the first seeds of two searches: none takes more."""

EFFORT = Effort(precision=0.02, most_runs=69)

MOST_LOST = 0.05
"""The share of searches that may put the best one out."""


@dataclass(frozen=True, slots=True)
class Case:
    """Rows that are made one after the other, saved every so many rows, with random crashes.

    Attributes:
        crashes_s: mean seconds from a start or resume to the next crash.
        values: rows between two checkpoints, the candidates.
        rows: of the run; a multiple of each value.
        write_s: seconds of a checkpoint, in which the run stands still.
        restart_s: seconds from a crash to the resume.
    """

    crashes_s: float
    values: tuple[int, ...]
    rows: int = 60
    write_s: float = 3.0
    restart_s: float = 6.0

    def text(self) -> str:
        """The scenario, as YAML; a row takes a second."""
        return (
            f"name: saved\nrows: {self.rows}\ncolumns:\n  - name: a\n    traits: [CELL_BY_CELL]\n"
            "    latency: {model: constant, value_s: 1}\nlimits: {workers: 1}\nredo: same\n"
            f"checkpoint: {{every_rows: {self.rows}, write_s: {self.write_s}, blocking: true}}\n"
            f"crashes: [{{random: {{mean_s: {self.crashes_s}}}}}]\n"
            f"restart_delay_s: {self.restart_s}\n"
        )

    def makespan_s(self, every_rows: int) -> float:
        """The mean makespan.

        A part from one checkpoint to the next takes w seconds without a crash. It is begun again
        after each one, but for a crash during the write, which keeps it with probability 1/2.
        """
        work, whole = float(every_rows), every_rows + self.write_s
        crash_in_work = -math.expm1(-work / self.crashes_s)
        crash_at_all = -math.expm1(-whole / self.crashes_s)
        ends = 1 - crash_at_all + (crash_at_all - crash_in_work) / 2
        part_s = (self.crashes_s + self.restart_s) * crash_at_all / ends
        return self.rows / every_rows * part_s

    def best(self) -> int:
        """The value with the shortest mean makespan."""
        return min(self.values, key=self.makespan_s)


CASES = (Case(120, (5, 10, 15, 20, 30)), Case(500, (10, 20, 30, 60), write_s=1.5))
"""With crashes in half of the runs, and in an eighth: of these ten runs may well see none, and then
those with the fewest checkpoints look best."""


@dataclass(frozen=True, slots=True)
class Search:
    """What one search found.

    Attributes:
        lost: it put out the value that is truly best.
        chosen: the value that it chose.
        runs: of all candidates.
        ended: as of `Elimination`.
    """

    lost: bool
    chosen: int
    runs: int
    ended: str


def searched(number: int, case: Case, effort: Effort = EFFORT) -> Search:
    """One search, with the seeds that belong to its number."""
    file, own = _loaded(case)

    def load(settings: Settings) -> Scenario:
        return file.load(settings) if settings else own

    values = ",".join(map(str, case.values))
    tuned = Tuning(
        load,
        [given_field("checkpoint.every_rows", values, load, own)],
        Goal("makespan", "makespan_s", True),
        effort=effort,
        first_seed=APART * number,
        checked=False,
        confirm=False,
    ).result()
    return _of(tuned, case)


def _of(tuned: Tuned, case: Case) -> Search:
    (stage,) = tuned.stages
    by_value = {
        int(candidate.label): stage.found.standings[place]
        for place, candidate in enumerate(stage.candidates)
    }
    assert stage.chosen is not None
    return Search(
        by_value[case.best()].out is not None,
        int(stage.candidates[stage.chosen].label),
        sum(one.mean.runs for one in stage.found.standings if one.mean is not None),
        stage.found.ended,
    )


@cache
def _loaded(case: Case) -> tuple[ScenarioFile, Scenario]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "saved.yaml"
        path.write_text(case.text(), encoding="utf-8")
        file = ScenarioFile(path)
    return file, file.load()


def _numbered(task: tuple[int, Case]) -> Search:
    return searched(*task)


TITLE = "## Searches for the best settings"

TEXT = f"""\
`cellspec tune` over checkpoint intervals whose mean makespans are known, {SEARCHES} times for each
case, to a precision of {100 * EFFORT.precision:g} % and with at most {EFFORT.most_runs} runs of
each candidate. It may put the truly best one out in {100 * MOST_LOST:g} % of the searches. In
brackets, how much longer the mean makespan of a candidate is than that of the best; *dear* is the
same of the chosen ones, on average and at most. Rows take a second each, one after the other.
"""


def section(jobs: int = 1) -> str:
    """The section of the page."""
    head = ("crashes", "rows between checkpoints", "best", "best put out", "best chosen", "dear")
    lines = [_line(case, jobs) for case in CASES]
    return "\n".join([TITLE, "", TEXT, table((*head, "runs of a search"), lines, 2), ""])


def _line(case: Case, jobs: int) -> Sequence[str]:
    found = list(in_parallel(_numbered, [(number, case) for number in range(SEARCHES)], jobs=jobs))
    best = case.best()
    dear = [case.makespan_s(one.chosen) / case.makespan_s(best) - 1 for one in found]
    return (
        f"{case.crashes_s:g} s apart, writes of {case.write_s:g} s",
        ", ".join(
            f"{value} (+{100 * (case.makespan_s(value) / case.makespan_s(best) - 1):.1f} %)"
            if value != best
            else f"{value}"
            for value in case.values
        ),
        f"{best}: {case.makespan_s(best):.2f} s",
        f"{100 * fmean(one.lost for one in found):.2f} %",
        f"{100 * fmean(one.chosen == best for one in found):.1f} %",
        f"{100 * fmean(dear):.2f} %, {100 * max(dear):.1f} %",
        f"{fmean(one.runs for one in found):.0f}",
    )
