"""``python -m tests.theory.page``: what theory knows of a run, beside what is simulated.

Prints the page ``simulations/theory.md``, or the sections that are named; ``--write`` writes the
page, and ``--check`` says whether it is as it would be written. Cases and workflows lie beside the
checkout in ``../shared`` and are read from there.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sim.experiments.experiment import Experiment
from sim.experiments.intervals import mean_of
from sim.experiments.replication import replicate
from sim.scenario.scenario import Scenario
from tests.theory.cases import CASES, SURE, Case, read_cases
from tests.theory.formulas import daly_s, graham_bounds_s, young_s
from tests.theory.frame import ROOT, Frame, table
from tests.theory.models import (
    CHECKPOINTS,
    GRAHAM,
    HAIR_S,
    Model,
    closed_networks,
    crashes,
    lines,
    saves,
    tandems,
)
from tests.theory.workflows import WORKFLOWS, Workflow, read_workflows

__all__ = [
    "MODELS",
    "PAGE",
    "SECTIONS",
    "Theory",
    "line_of",
    "page",
    "rounded",
    "within_bounds",
]

PAGE = ROOT / "simulations" / "theory.md"

POLICIES = ("fifo", "column-first", "critical-path", "random")
SHOWN_WORKERS = (2, 8)
ALL_WORKERS = (1, 2, 4, 8, 16)
EXACT_S = 1e-6

MODELS: Mapping[str, Callable[[Mapping[str, Case]], Sequence[Model]]] = {
    "lines": lines,
    "tandems": tandems,
    "closed": closed_networks,
    "crashes": crashes,
    "checkpoints": lambda _: saves(),
}
"""By section of the page, its models."""

HEAD = ("case", "model", "theory s", "simulated s", "runs", "off", "seed 0")


@dataclass(frozen=True, slots=True)
class Theory:
    """Makes the runs of a page.

    Attributes:
        cases: by name, those with known answers.
        jobs: runs at once.
    """

    cases: Mapping[str, Case]
    jobs: int = 1

    @classmethod
    def read(cls, jobs: int = 1) -> Theory:
        """With the cases of ``../shared/theory``.

        Raises:
            OSError: they cannot be read.
        """
        return cls({case.id: case for case in read_cases()}, jobs)

    def models(self, section: str) -> Sequence[Model]:
        return MODELS[section](self.cases)

    def values(self, model: Model, runs: int = 0) -> list[float]:
        """The figure of each seed of a model.

        Args:
            model: what is run.
            runs: how many seeds; 0 for as many as the model takes.
        """
        scenarios = [Scenario.model_validate(data) for data in model.scenarios]
        experiment = Experiment(scenarios, jobs=self.jobs)
        experiment.grow(runs or model.runs)
        found = [experiment.values(model.figure, place) for place in range(len(scenarios))]
        first = found[0]
        assert first is not None
        if len(found) == 1:
            return first
        second = found[1]
        assert second is not None
        return [(b - a) / model.rows_between for a, b in zip(first, second, strict=True)]


def makespan_s(data: Mapping[str, Any]) -> float:
    """The makespan of seed 0 of a scenario, judged as it runs."""
    found = replicate(Scenario.model_validate(data), 0).value("makespan_s")
    assert found is not None
    return found


def rounded(seconds: float) -> str:
    """Seconds in five digits."""
    digits = 4 if seconds == 0 else max(0, 4 - math.floor(math.log10(abs(seconds))))
    return f"{seconds:,.{digits}f}"


def line_of(model: Model, values: Sequence[float]) -> list[str]:
    """The line of a model on the page.

    Raises:
        AssertionError: the mean of the runs is not what theory says.
    """
    found = mean_of(values)
    assert found.sd is not None
    assert found.half_width is not None
    error = found.sd / math.sqrt(found.runs)
    off = (found.mean - model.mean) / error
    most = SURE * error + model.margin
    assert abs(found.mean - model.mean) <= most, (model.label, found, model.mean)
    simulated = f"{rounded(found.mean)} ± {found.half_width:.2g}"
    if found.half_width >= 100:
        simulated = f"{rounded(found.mean)} ± {found.half_width:,.0f}"
    known = rounded(model.mean)
    if model.margin:
        known += f" ± {model.margin:.2g}"
    return [
        model.case,
        model.label,
        known,
        simulated,
        str(found.runs),
        f"{off:+.1f}",
        rounded(values[0]),
    ]


def table_of(theory: Theory, section: str) -> str:
    """The table of the models of a section."""
    lines = [line_of(model, theory.values(model)) for model in theory.models(section)]
    return table(HEAD, lines, 2)


# Sections

LINES = """\
Customers come at exponential gaps to a desk of one or several servers (M/M/2 has two), in the order
of their coming. *Gap* is the mean gap, m the mean service time. The figure is the mean wait of so
many customers, the first ones of a run that begins empty; it is below that of the steady state.

{table}

- M/M/k: the chain of what each customer meets, worked out customer by customer. Steady, in the
  order of the table: {steady_mmk}, by Erlang's formula C
  (Kleinrock, Queueing Systems I, 1975, section 3.5).
- M/D/1, M/G/1 with gamma services: Spitzer's identity, E W(n+1) = Σ E max(0, S(i))/i over the walks
  S of services less gaps, i = 1 to n (Asmussen, Applied Probability and Queues, 2003, section
  VIII.4). Steady: {steady_mg1}, by Pollaczek and
  Khinchine's r/(1 − r) · m(1 + c²)/2 (Kleinrock, section 5.6). Here r is the load, m/gap; and c²
  is the variance of a service over m²: 0 of a constant, 1/a of a gamma of shape a, e^(b²) − 1 of a
  lognormal of sigma b.
- The lognormal one is known from 400 runs of another program, whose own error is given."""


def lines_section(theory: Theory) -> str:
    """Waiting lines."""
    models = theory.models("lines")

    def steady(start: str) -> str:
        found = [one for one in models if one.label.startswith(start)]
        return ", ".join(f"{rounded(one.steady)} s" for one in found)

    mmk = steady("M/M")
    mg1 = f"{steady('M/D')}, {steady('M/G')}"
    return LINES.format(table=table_of(theory, "lines"), steady_mmk=mmk, steady_mg1=mg1)


TANDEMS = """\
All rows are there from the start, and calls are exponential: *16 of 2 s* is a station that makes 16
calls at a time, each of 2 s on average. The figure is the makespan.

{table}

- One station of k places, n calls of mean m: m · ((n − k)/k + 1 + 1/2 + … + 1/k). One ends every
  m/k on average while calls wait, and the last k race each other.
- Tandem: the mean time V that is left, state by state (rows at the first station, at the second):
  V = (1 + Σ rate · V after)/Σ rate. The rate of a station with i rows and k places is min(i, k)/m.

Of constant times a tandem is exact. 1,000 rows through stations of 2, 1 and 10 s with 2, 1 and 10
servers take 2 + 1,000 + 10 s: {constant} s simulated ([validation](validation.md))."""


def tandems_section(theory: Theory) -> str:
    """One station after another."""
    columns: list[dict[str, Any]] = []
    for name, seconds in (("read", 2.0), ("embed", 1.0), ("write", 10.0)):
        column: dict[str, Any] = {
            "name": name,
            "traits": ["CELL_BY_CELL"] if columns else ["START", "CELL_BY_CELL"],
            "resource": name,
            "latency": {"model": "constant", "value_s": seconds},
        }
        if columns:
            column["dependencies"] = [columns[-1]["name"]]
        columns.append(column)
    limits = {"workers": 13, "resources": {"read": 2, "embed": 1, "write": 10}}
    data = {"name": "tandem", "rows": 1000, "columns": columns, "limits": limits}
    constant_s = makespan_s(data)
    assert abs(constant_s - 1012) <= EXACT_S
    return TANDEMS.format(table=table_of(theory, "tandems"), constant=f"{constant_s:,.0f}")


CLOSED = """\
Rows are admitted one by one (`limits.row_groups: {{rows: 1}}`): the next one when one is finished,
so that always equally many are under way. Times are exponential, and *1 of 1 s* is a station as
above. *Think* is a station with a server for each row.

{table}

- A makespan: state by state, as of a tandem; what is finished is admitted anew.
- *A row*: the makespan of 600 rows less that of 200 with the same seed, by 400. Beginning and end
  cancel, and 1/X is left: X is the throughput by mean value analysis with several servers (Reiser
  and Lavenberg, Journal of the ACM 27, 1980, 313-322)."""


def closed_section(theory: Theory) -> str:
    """Closed networks."""
    return CLOSED.format(table=table_of(theory, "closed"))


ANOMALIES = """\
More machines, shorter tasks or fewer dependencies may take *longer*. Graham's example has nine
tasks of 3, 2, 2, 2, 4, 4, 4, 4 and 9 s; task 9 waits for task 1, and tasks 5 to 8 wait for task 4
(SIAM Journal on Applied Mathematics 17, 1969, 416-429). A task is a column, there is one row, and
`policy: column-first` is the list. Task 4 takes a millisecond less than his, so that it ends before
what ends with it.

{graham}

Three more, found by search, of which no two ends coincide:

{found}"""


def anomalies_section(theory: Theory) -> str:
    """List scheduling."""
    graham = []
    for label, known_s, data in GRAHAM:
        got_s = makespan_s(data)
        assert abs(got_s - known_s) <= HAIR_S + EXACT_S, (label, got_s)
        graham.append([label, str(known_s), f"{got_s:.3f}"])
    pairs: dict[str, list[Case]] = {}
    for name, case in theory.cases.items():
        if name.startswith("G1-"):
            pairs.setdefault(name.rpartition("-")[0], []).append(case)
    found = []
    for name, cases in pairs.items():
        known, got = [], []
        for case in cases:
            (expected,) = case.expected
            got_s = makespan_s(case.scenario)
            assert expected.missed([got_s]) == "", (case.id, got_s)
            known.append(f"{expected.value:.3f}")
            got.append(f"{got_s:.3f}")
        found.append([name, *known, *got])
    assert len(found) == 3
    head = [
        "case",
        "2 workers, theory s",
        "3, theory s",
        "2 workers, simulated s",
        "3, simulated s",
    ]
    return ANOMALIES.format(
        graham=table(["what is changed", "Graham s", "simulated s"], graham, 1),
        found=table(head, found, 1),
    )


BOUNDS = """\
A schedule that leaves no worker idle beside work ends between max(C, W/k) and W/k + (1 − 1/k) C: W
is all work, C the longest chain, k the workers (Graham 1969). The cases are small tables of
constant times:

{cases}

These are real executions of scientific workflows: each task a column, one row, and the seconds that
it ran (WfInstances, doi 10.5281/zenodo.12510982, LGPL-3.0). *Published* is the makespan of the
execution itself, with the staging and queueing that the tasks' times do not hold: the chain is
below it too. Each was simulated with 1, 2, 4, 8, 16 and as many workers as it has tasks,
{policies}.
All {runs} runs keep the bounds; one worker takes all work, and as many as there are tasks take the
longest chain. The simulated makespans are the least and the most of the policies.

{workflows}"""


def bounds_section(theory: Theory) -> str:
    """Graham's bounds."""
    cases = []
    for name, case in theory.cases.items():
        if name.startswith("G2-"):
            (expected,) = case.expected
            got_s = makespan_s(case.scenario)
            low, high = expected.low - EXACT_S, expected.high + EXACT_S
            assert low <= got_s <= high, (name, got_s)
            workers = str(case.scenario["limits"]["workers"])
            shape = f"{len(case.scenario['columns'])} columns, {case.scenario['rows']} rows"
            sides = rounded(expected.low), rounded(got_s), rounded(expected.high)
            cases.append([name, shape, workers, *sides])
    assert len(cases) == 12
    rows, runs = [], 0
    for workflow in read_workflows():
        within = within_bounds(workflow)
        runs += len(within) * len(POLICIES)
        facts = [
            workflow.name,
            str(len(workflow.seconds)),
            rounded(workflow.work_s),
            rounded(workflow.chain_s),
            rounded(workflow.published_s),
        ]
        for k in SHOWN_WORKERS:
            rows.append([*facts, str(k), *within[k]])
            facts = [""] * len(facts)
    head = ["workers", "at least s", "simulated s", "at most s"]
    facts = ["workflow", "tasks", "work s", "chain s", "published s"]
    return BOUNDS.format(
        cases=table(["case", "table", *head], cases, 2),
        workflows=table([*facts, *head], rows, 1),
        policies=f"under {', '.join(POLICIES[:-1])} and {POLICIES[-1]}",
        runs=runs,
    )


def within_bounds(workflow: Workflow) -> dict[int, tuple[str, str, str]]:
    """By workers: the least makespan of theory, those of the simulator, and the most.

    Raises:
        AssertionError: a makespan breaks them.
    """
    assert workflow.chain_s <= workflow.published_s
    found, tasks = {}, len(workflow.seconds)
    for workers in sorted({*ALL_WORKERS, tasks}):
        low, high = graham_bounds_s(workflow.work_s, workflow.chain_s, workers)
        got = [makespan_s(workflow.scenario(workers, policy)) for policy in POLICIES]
        if workers >= tasks:
            high = low
        least, most = min(got), max(got)
        assert low - EXACT_S <= least <= most <= high + EXACT_S, (workflow.name, workers, got)
        ran = rounded(least)
        found[workers] = (
            rounded(low),
            ran if least == most else f"{ran} – {rounded(most)}",
            rounded(high),
        )
    return found


CRASHES = """\
One worker makes one row after the other, and the process crashes at exponential distances of mean
M; a restart takes D, in which nothing happens. A save stops the run for C, and takes no time where
no C is given; where rows are saved, the last ones are too. The figure is the makespan.

{table}

- A piece of work t that a crash loses takes (M + D)(e^(t/M) − 1). Where nothing is saved, all work
  is one piece; else what lies between two saves is one, and the makespan is the sum.
- With a write of C that stops the run, in which a crash keeps the save in one case of two, a piece
  takes (M + D) F(w)/(S(w) + (F(w) − F(t))/2), where w = t + C, F(x) = 1 − e^(−x/M), S = 1 − F.
- Exponential rows that are saved one by one and drawn anew after a crash forget how far they were:
  a row of mean m takes m, and D · m/M for restarts."""


def crashes_section(theory: Theory) -> str:
    """Random crashes."""
    return CRASHES.format(table=table_of(theory, "crashes"))


CHECKPOINT = """\
How often is a run best saved? {rows} rows of {row_s:g} s, a write of {write_s:g} s that stops the
run, crashes every {between_s:g} s, restarts of {restart_s:g} s; the means of theory are the formula
of the section above. All intervals ran with the same seeds. (The column *model* is
`checkpoint.every_rows`.)

{table}

Young's √(2CM) is {young_s:.1f} s or {young:.1f} rows, and Daly's of higher order {daly_s:.1f} s or
{daly:.1f} rows (Communications of the ACM 17, 1974, 530-531; Future Generation Computer Systems 22,
2006, 303-312). Of these intervals theory has the least makespan at {best} rows, and simulated it is
least at {simulated} rows."""


def checkpoints_section(theory: Theory) -> str:
    """Young's and Daly's best interval."""
    one, models = CHECKPOINTS, theory.models("checkpoints")
    values = [theory.values(model) for model in models]
    lines = [line_of(model, got) for model, got in zip(models, values, strict=True)]
    means = [sum(got) / len(got) for got in values]
    by_theory = min(models, key=lambda model: model.mean)
    simulated = models[means.index(min(means))]
    # Beside the best of theory others may be as good as it within what so many seeds can tell.
    assert simulated.mean <= 1.02 * by_theory.mean
    young, daly = young_s(one.write_s, one.between_s), daly_s(one.write_s, one.between_s)
    return CHECKPOINT.format(
        rows=one.rows,
        row_s=one.row_s,
        write_s=one.write_s,
        between_s=one.between_s,
        restart_s=one.restart_s,
        table=table(HEAD, lines, 2),
        young_s=young,
        young=young / one.row_s,
        daly_s=daly,
        daly=daly / one.row_s,
        best=by_theory.label,
        simulated=simulated.label,
    )


SECTIONS: Mapping[str, tuple[str, Callable[[Theory], str]]] = {
    "lines": ("Waiting lines", lines_section),
    "tandems": ("All rows at once", tandems_section),
    "closed": ("Closed networks", closed_section),
    "anomalies": ("Anomalies of list scheduling", anomalies_section),
    "bounds": ("Graham's bounds", bounds_section),
    "crashes": ("Random crashes", crashes_section),
    "checkpoints": ("Young's and Daly's interval", checkpoints_section),
}

TOP = f"""\
# What theory knows, simulated

Each section takes a model whose figures theory knows, and simulates it; every event of every run is
judged. Below each heading stands the command that prints its section.

A table gives the mean that theory has, the mean of so many seeds (0, 1, 2, …) with its interval
(95 %), by how many of its standard errors it is off, and the figure of seed 0. Each mean is within
{SURE} standard errors of theory, or the page is not written. A case is one of
`../shared/theory/cases.json`, beside the checkout, which other programs worked out; a test compares
those numbers with the ones worked out here. The formulas are in `tests/theory/formulas.py`.

`make validation` wrote this page. CI makes it again and compares it, the tests do with a part."""


FRAME = Frame[Theory]("tests.theory.page", PAGE, TOP, SECTIONS, (CASES, WORKFLOWS))


def page(theory: Theory, names: Sequence[str] = ()) -> Iterator[str]:
    """The sections of these names, or the page."""
    return FRAME.parts(theory, names)


def main() -> int:
    """Print, write or compare what is asked for."""
    parser = FRAME.parser(__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="runs at once (default: 2)")
    args = FRAME.asked(parser)
    return FRAME.answer(args, Theory.read(args.jobs))


if __name__ == "__main__":
    sys.exit(main())
