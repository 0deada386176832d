"""``plans/barrier-checkpointing.md``: what the runs say, with intervals, and the decision.

The sentences with numbers are made of the runs. Each claim is checked first, and the page is not
written if the runs do not bear it out.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from sim.experiments.intervals import Difference, Mean, mean_of, paired
from sim.scenario.remarks import scope_changes_result
from simulations.barriers.campaign import LEVELS, SEEDS, VARIED, Point, Run, settings
from simulations.barriers.figure import lines_svg
from simulations.barriers.pipelines import OPTIONS, ROOT, SEARCH, Option, Pipeline, Setting

__all__ = ["FIGURE", "PAGE", "Results", "cell", "figure", "lost_per_crash", "page", "shown"]

PAGE = ROOT / "plans" / "barrier-checkpointing.md"

Measure = Callable[[Sequence[Run]], "Mean | None"]


def of(figure: str, scale: float = 1.0) -> Measure:
    """The mean of a figure of the runs."""
    return lambda runs: mean_of([run.value(figure) * scale for run in runs])


def lost_per_crash(runs: Sequence[Run]) -> Mean | None:
    """The busy time that a crash loses: all that was lost, by all crashes; None without crashes.

    The interval is that of a ratio of two means (Cochran, Sampling Techniques, 1977, section 6.3).
    """
    lost = [run.value("busy_lost_s") for run in runs]
    crashes = [run.value("crashes") for run in runs]
    if not sum(crashes):
        return None
    ratio, each = sum(lost) / sum(crashes), sum(crashes) / len(runs)
    left = mean_of([(a - ratio * b) / each for a, b in zip(lost, crashes, strict=True)])
    return replace(left, mean=ratio)


MEASURES: Mapping[str, tuple[str, Measure]] = {
    "makespan": ("Makespan, s", of("makespan_s")),
    "lost": ("Work lost per crash, s of calls", lost_per_crash),
    "first": ("Time to the first row that is complete for good, s", of("first_row_s")),
    "rate": ("Rows an hour", of("rows_per_s", 3600)),
    "bytes": ("Bytes of all checkpoints of a run", of("checkpoint_bytes")),
}


class Results:
    """The runs of a campaign, by point.

    Args:
        pipelines: those that were run.
        runs: of each point.
    """

    def __init__(self, pipelines: Sequence[Pipeline], runs: Mapping[Point, Sequence[Run]]) -> None:
        self.pipelines = {one.name: one for one in pipelines}
        self._runs = runs
        # The first points of a pipeline are those of its base setting.
        self.base = {point.pipeline: point.setting for point in reversed(list(runs))}

    def runs(
        self, name: str, option: Option, setting: Setting | None = None, *, search: bool
    ) -> Sequence[Run]:
        """The runs of a pipeline under an option; in the base setting if no other is given."""
        if not search and not self.pipelines[name].barriers:
            # Without barriers there is nothing to wait for.
            option = "A" if option in ("A", "B") else "C"
        return self._runs[Point(name, search, option, setting or self.base[name])]

    def changed(self, name: str, *, search: bool) -> bool:
        """Whether batch scope changes the result of a pipeline."""
        scenario = self.pipelines[name].scenario("B", self.base[name], search=search)
        return bool(scope_changes_result(scenario))

    def difference(
        self,
        figure: str,
        name: str,
        one: Option,
        other: Option,
        setting: Setting | None = None,
        *,
        search: bool,
    ) -> Difference:
        """A figure under the other option less under the one, seed by seed."""
        a, b = (
            [run.value(figure) for run in self.runs(name, option, setting, search=search)]
            for option in (one, other)
        )
        return paired(a, b)

    def means(self, figure: str, option: Option, *, search: bool) -> dict[str, float]:
        """By pipeline, the mean of a figure in the base setting."""
        return {
            name: mean_of(
                [run.value(figure) for run in self.runs(name, option, search=search)]
            ).mean
            for name in self.pipelines
        }


def cell(found: Mean | None) -> str:
    """A mean and its interval, to the digits that the interval leaves."""
    if found is None:
        return "–"
    half, digits = found.half_width or 0.0, _digits(found)
    return f"{found.mean:,.{digits}f} ± {half:,.{digits}f}"


def _digits(found: Mean) -> int:
    """Places after the point: two digits of the half-width, and no more than two places."""
    half = found.half_width or 0.0
    return 0 if half == 0 else min(max(1 - math.floor(math.log10(half)), 0), 2)


def shown(found: Difference) -> str:
    """A paired difference; in brackets if it may be chance."""
    mean, digits = found.difference, _digits(found.difference)
    text = f"{mean.mean:+,.{digits}f} ± {mean.half_width or 0.0:,.{digits}f}"
    if found.identical:
        return "0"
    return text if found.is_shown else f"({text})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """A table in Markdown, whose first columns hold words."""
    line = [" --- " if place < words else " ---: " for place in range(len(head))]
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(line)}|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


# Tables


def pipelines_table(results: Results) -> str:
    """What the pipelines are."""
    rows = []
    for name, pipeline in results.pipelines.items():
        types = [one["type"] for one in pipeline.columns if one["name"] in pipeline.barriers]
        kinds = [f"{types.count(kind)} {kind}" for kind in dict.fromkeys(types)]
        rows.append(
            [
                name,
                str(len(pipeline.columns)),
                str(pipeline.calls),
                ", ".join(str(most) for _, most in pipeline.places),
                ", ".join(kinds) or "none",
                f"{results.base[name].crash_s:,}",
            ]
        )
    head = ["pipeline", "columns", "calls of models", "at once", "barriers", "a crash every, s"]
    return table(head, rows)


def base_table(results: Results, measure: str, *, search: bool) -> str:
    """A figure of all pipelines under all options, about one crash a run."""
    title, found = MEASURES[measure]
    head = ["pipeline", *(f"{option} (other result)" if search and option == "B" else option
                          for option in OPTIONS)]  # fmt: skip
    rows = [
        [name, *(cell(found(results.runs(name, option, search=search))) for option in OPTIONS)]
        for name, pipeline in results.pipelines.items()
        if search or pipeline.barriers
    ]
    return f"*{title}*\n\n{table(head, rows)}"


def differences_table(results: Results, *, search: bool) -> str:
    """The paired differences of the makespan."""
    pairs: tuple[tuple[Option, Option], ...] = (("A", "C"), ("C", "D"), ("B", "D"))
    rows = [
        [
            name,
            *(
                shown(results.difference("makespan_s", name, one, other, search=search))
                for one, other in pairs
            ),
        ]
        for name, pipeline in results.pipelines.items()
        if search or pipeline.barriers
    ]
    head = ["pipeline", *(f"{other} less {one}" for one, other in pairs)]
    return f"*Makespan, paired differences, s (in brackets: may be chance)*\n\n{table(head, rows)}"


def varied_table(results: Results, measure: str) -> str:
    """A figure under other crashes, batches and costs."""
    title, found = MEASURES[measure]
    rows = []
    for name, search in VARIED:
        levels = [(what, level) for what, values in LEVELS.items() for level in values]
        for (what, level), setting in zip(levels, settings(results.base[name]), strict=True):
            means = (
                cell(found(results.runs(name, option, setting, search=search)))
                for option in OPTIONS
            )
            label = f"{name}{' + search' if search else ''}"
            rows.append([label, f"{what} {level:g}", *means])
    return f"*{title}*\n\n{table(['pipeline', 'setting', *OPTIONS], rows, 2)}"


# The decision


def span(values: Sequence[float], digits: int = 0, unit: str = "") -> str:
    """From the least to the most."""
    return f"{min(values):,.{digits}f}{unit} to {max(values):,.{digits}f}{unit}"


def share(found: Difference) -> float:
    """A difference in percent of what it is less of."""
    return 100 * found.difference.mean / found.a.mean


def checkpoints_argument(results: Results) -> str:
    """What checkpoints of columns save, where a barrier needs the dataset."""
    names = list(results.pipelines)
    saved = [results.difference("makespan_s", name, "A", "C", search=True) for name in names]
    assert all(one.is_shown and one.difference.mean < 0 for one in saved)
    lost = {
        option: [_lost(results.runs(name, option, search=True)) for name in names]
        for option in OPTIONS
    }
    assert all(c < a for a, c in zip(lost["A"], lost["C"], strict=True))
    name, search = VARIED[0]
    calm = replace(results.base[name], crash_s=0)
    none = results.difference("makespan_s", name, "A", "C", calm, search=search)
    size = results.means("checkpoint_bytes", "C", search=True).values()
    return CHECKPOINTS.format(
        pipelines=len(names),
        saved=span([-share(one) for one in saved], 0, " %"),
        lost_a=span(lost["A"]),
        lost_c=span(lost["C"]),
        none=f"{none.difference.mean:+.2f} ± {none.difference.half_width or 0:.2f}",
        calm=f"{none.a.mean:,.0f}",
        name=name,
        bytes=span([one / 1000 for one in size], 1, " kB"),
    )


CHECKPOINTS = """\
**Checkpoints of columns (A to C).** With a barrier that needs the dataset and about one crash a
run, C takes less time than A in all {pipelines} pipelines, by {saved} of A's makespan, and
each interval leaves zero out: a crash loses {lost_a} s of calls under A, {lost_c} s under C. The
price is {bytes} of checkpoints a run. Without crashes C costs nothing that these runs
show: C less A is {none} s of {calm} s with {name}."""


def batches_argument(results: Results) -> str:
    """What barriers of a batch give, where they give the same result."""
    names = [name for name, one in results.pipelines.items() if one.barriers]
    sooner = {
        name: results.difference("first_row_s", name, "C", "D", search=False) for name in names
    }
    late = [name for name, one in sooner.items() if one.is_shown and -share(one) > 25]
    times = [sooner[name].a.mean / sooner[name].b.mean for name in late]
    faster = [results.difference("makespan_s", name, "C", "D", search=False) for name in names]
    assert not any(one.is_shown and share(one) > 1 for one in faster)
    name, search = VARIED[1]
    dear = replace(results.base[name], cost=100.0)
    cost = results.difference("makespan_s", name, "C", "D", dear, search=search)
    assert cost.is_shown
    assert cost.difference.mean < 0
    return BATCHES.format(
        with_barriers=len(names),
        late=len(late),
        times=span(times, 1),
        first_c=span([sooner[one].a.mean for one in late]),
        first_d=span([sooner[one].b.mean for one in late]),
        shown=sum(one.is_shown for one in faster),
        least=f"{min(share(one) for one in faster):+.1f} %",
        most=f"{max(share(one) for one in faster):+.1f} %",
        name=name,
        cost=shown(cost),
        cost_share=f"{-share(cost):.0f} %",
        row_s="2",
    )


BATCHES = """\
**Barriers of a batch (C to D).** {late} of the {with_barriers} pipelines with barriers have one
after their last calls or between them: their first row is there after {first_d} s under D, and
after {first_c} s under C, {times} times as long. The makespan differs by {least} to {most}; in
{shown} of the {with_barriers} the interval leaves zero out. What D gains grows with
the barrier's own time: at {row_s} s a row the validator of {name} is done beside the
calls of later batches, and D less C is {cost} s, {cost_share} of the makespan."""


def scope_argument(results: Results) -> str:
    """What batch scope for all, without checkpoints of columns, gives."""
    names = list(results.pipelines)
    changed = [name for name in names if results.changed(name, search=True)]
    assert changed == names
    assert not any(results.changed(name, search=False) for name in names)
    slower = [results.difference("makespan_s", name, "D", "B", search=True) for name in names]
    assert all(one.difference.mean > 0 for one in slower)
    lost = {
        option: [_lost(results.runs(name, option, search=True)) for name in names]
        for option in OPTIONS
    }
    name, search = VARIED[0]
    small = replace(results.base[name], batch=10)
    near = results.difference("makespan_s", name, "D", "B", small, search=search)
    return SCOPE.format(
        name=name,
        small=small.batch,
        near=shown(near),
        pipelines=len(names),
        lost_b=span(lost["B"]),
        lost_d=span(lost["D"]),
        slower=span([share(one) for one in slower], 0, " %"),
        shown=sum(one.is_shown for one in slower),
        search=SEARCH,
    )


SCOPE = """\
**Batch scope for all (B).** It shows first rows about as soon as D does without the search, yet its
checkpoints count finished rows: a crash loses {lost_b} s of calls with the search, where D loses
{lost_d} s, and B takes {slower} longer than D ({shown} of {pipelines} intervals leave zero
out). Small batches bring it near: with batches of {small} rows B less D is {near} s with
{name}. But the smaller the batch, the more of the result is another: `{search}`
finds near duplicates within a batch only, and that is another table, whatever it costs. So B is no
setting to be tuned: `cellspec run` names the columns that `barrier_scope: batch` lets read less
than they declare, and a search for good settings leaves it out where there are any
(`sim.scenario.remarks.scope_changes_result`)."""


def _lost(runs: Sequence[Run]) -> float:
    found = lost_per_crash(runs)
    assert found is not None
    return found.mean


# The page

FIGURE = ROOT / "plans" / "barrier-checkpointing.svg"

TOP = """\
# Barriers and checkpoints: the options A to D, measured

A barrier column needs rows of its inputs before it gives any output. The plan that this project
started from left open how barriers and checkpoints go together, and listed four options:

| option | barriers wait for | a checkpoint counts |
| --- | --- | --- |
| A | the dataset | finished rows (version 1) |
| B | a batch, every one of them (`barrier_scope: batch`) | finished rows (version 1) |
| C | the dataset | the first rows of each column (version 2) |
| D | what each declares: the dataset or a batch | the first rows of each column (version 2) |

**The decision: D.** A column declares `BATCH_BARRIER` where a batch gives it the same result, and
`BARRIER` where it needs the dataset; checkpoints are of version 2. The rest of this page is why.
[The plan](execution-graph.md#open-decisions-of-the-seed-and-how-each-was-closed) has how each
option runs in the reference engine.

`make experiments` makes all runs (minutes on two cores) and writes this page; the single runs are
in [runs.csv](../simulations/barriers/runs.csv), and `python -m simulations.barriers --page` writes
the page again from them. A test repeats some of the runs."""

SETUP = """\
## What was run

{pipelines} real pipelines: the DataDesigner configurations of `../shared/data/configs` that call a
model (NVIDIA-NeMo/DataDesigner 0.9.6, Apache-2.0), with their columns, dependencies and limits. A
barrier is a column whose generator takes a whole table and needs other columns.

{table}

None of these barriers needs the dataset: expressions and validators look at one row at a time. So
each pipeline is also run *with a search* for near duplicates among the answers of its last model,
which does need it (`{search}`, a column of ours).

Each run has {rows} rows in batches of {batch}, a checkpoint due every 60 s that takes 0.1 s to
write, crashes at exponential distances with the mean of the table (about one a run), 60 s to
restart, and `redo: fresh`. Calls have the tokens of published requests, at the endpoint of
[text_to_sql](../simulations/text_to_sql.yaml). An expression takes 1 ms a row, a validator 0.5 s
and 20 ms a row, the search 1 s and 2 ms a row: assumptions, which are varied below.

Means are those of {seeds} seeds, with their intervals (95 %). Seeds are the same for all, so that
options meet the same tokens and the same gaps between crashes, and differences are taken seed by
seed. Pipelines meet the same gaps too, each in its own measure: that all agree is not so many
findings that know nothing of each other."""

FIGURE_TEXT = """\
![Makespan of {name} with a search, by crashes a run, for the four options]({file})

*{name} with a search: makespan by crashes, with intervals. C and D lie on each other.*"""


def page(results: Results) -> Iterator[str]:
    """The parts of the page, whose sentences are filled to lines.

    Raises:
        AssertionError: the runs do not bear a claim out.
    """
    for part in _parts(results):
        for block in part.split("\n\n"):
            yield block if block.startswith(("|", "#", "!")) else _filled(block)


def _filled(text: str) -> str:
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def _parts(results: Results) -> Iterator[str]:
    base = Setting()
    yield TOP
    yield SETUP.format(
        pipelines=len(results.pipelines),
        table=pipelines_table(results),
        search=SEARCH,
        rows=base.rows,
        batch=base.batch,
        seeds=SEEDS,
    )
    yield "## Why D"
    yield checkpoints_argument(results)
    yield FIGURE_TEXT.format(name=VARIED[0][0], file=FIGURE.name)
    yield batches_argument(results)
    yield scope_argument(results)
    yield when_argument(results)
    yield (
        "## With a search, which needs the dataset\n\n"
        "Under B the search reads a batch, and the result is another one."
    )
    yield differences_table(results, search=True)
    for measure in MEASURES:
        yield base_table(results, measure, search=True)
    yield (
        "## As they are: each barrier looks at one row at a time\n\n"
        "Batches give the same result under all options. Pipelines without barriers are left\n"
        "out: there B is as A, and D as C."
    )
    yield differences_table(results, search=False)
    for measure in MEASURES:
        yield base_table(results, measure, search=False)
    yield VARIED_TEXT
    for measure in MEASURES:
        yield varied_table(results, measure)


def when_argument(results: Results) -> str:
    """Where another option will do."""
    apart = [
        abs(share(results.difference("makespan_s", name, one, "D", calm, search=search)))
        for name, search in VARIED
        for calm in (replace(results.base[name], crash_s=0),)
        for one in OPTIONS
    ]
    return WHEN.format(most=f"{max(apart):.2f} %", plan=PLAN)


PLAN = "execution-graph.md#open-decisions-of-the-seed-and-how-each-was-closed"

WHEN = """\
**When another one will do.** A where a run is short beside the time between crashes: without
crashes all options take the same time within {most} on the three pipelines below. C where nobody
has said which barriers may read a batch: it loses as little as D, and shows its first row at the
end. Version 3, which claims any cells, loses less still where many calls are in flight:
[the plan]({plan})
compares it.

**What these runs do not show.** All pipelines call models at the same measured speeds, with the
same published lengths; the times of barriers are assumptions. A crash takes the whole process, and
storage itself loses nothing."""

VARIED_TEXT = """\
## Crashes, batches and costs of barriers, one at a time

*crashes*: how many come in a run without any, on average; *batch*: its rows; *cost*: by what the
barriers' own times are multiplied. The rest is as above. With the search B gives another result."""


def figure(results: Results) -> str:
    """The figure, as SVG."""
    name, search = VARIED[0]
    levels = LEVELS["crashes"]
    under = list(settings(results.base[name]))[: len(levels)]

    def makespan_s(option: Option, setting: Setting) -> Mean:
        runs = results.runs(name, option, setting, search=search)
        return mean_of([run.value("makespan_s") for run in runs])

    return lines_svg(
        f"{name} with a search, {SEEDS} seeds, 95 % intervals",
        "crashes in the time of a run without any",
        "makespan, s",
        levels,
        [(option, [makespan_s(option, setting) for setting in under]) for option in OPTIONS],
    )
