"""A scenario that was run many times: its figures with intervals, and how they vary.

`replicated` runs it with seed after seed until a rule says that it is enough. The *mean* of a
figure answers "what will it be on average", with an interval that narrows as runs are added. Its
*quantiles over runs* answer "what will my one run be": how far 19 of 20 runs go does not narrow,
it only becomes known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sim.experiments.deciding import GIVEN, check_figure, deciding, numbers
from sim.experiments.experiment import Experiment
from sim.experiments.intervals import NO_MEAN, Mean, Quantile, mean_of, quantile_of
from sim.experiments.replication import Replication, fingerprint_of
from sim.experiments.stopping import Stopping, run_until
from sim.scenario.scenario import Scenario

__all__ = ["SHARES", "Replicated", "RunFigure", "replicated"]

SHARES = (0.5, 0.95, 0.99)
"""The quantiles over runs that are worked out."""


@dataclass(frozen=True, slots=True)
class RunFigure:
    """One figure over all runs.

    Attributes:
        name: as in `Replication.figures`, with its unit.
        mean: with its interval; None if a run has no such figure.
        least, greatest: of any run; None likewise.
        quantiles: of `SHARES`; None where the runs are too few for an interval.
        lacking: runs that have no such figure.
    """

    name: str
    mean: Mean | None
    least: float | None
    greatest: float | None
    quantiles: tuple[Quantile | None, ...]
    lacking: int


@dataclass(frozen=True, slots=True)
class Replicated:
    """All runs of a scenario.

    Attributes:
        runs: in the order of their seeds, which have no gaps.
        figure: the name of the figure that the rule is about.
        reached: its interval; `NO_MEAN` where a run lacks it.
        is_met: whether that is as narrow as was wished.
        shown: names of the figures that decide; the first is `figure` if that is not among them.
    """

    runs: tuple[Replication, ...]
    figure: str
    reached: Mean
    is_met: bool
    shown: tuple[str, ...]

    def figures(self) -> list[RunFigure]:
        """Every figure that is a number, those that decide first."""
        of_runs = [numbers(run.figures) for run in self.runs]
        names = dict.fromkeys([*self.shown, *(name for run in of_runs for name in run)])
        return [_run_figure(name, [run.get(name) for run in of_runs]) for name in names]

    def outcomes(self) -> dict[str, Mapping[str, int]]:
        """How runs ended: by figure, such as `outcome`, how many runs ended with which word."""
        names = [
            name
            for name in self.runs[0].figures
            if name.rpartition(".")[2] not in GIVEN and isinstance(self.runs[0].figures[name], str)
        ]
        return {
            name: dict(sorted(Counter(str(run.figures[name]) for run in self.runs).items()))
            for name in names
        }

    @property
    def is_alike(self) -> bool:
        """Whether every run has the same figures: nothing in the scenario is random."""
        first = numbers(self.runs[0].figures)
        return len(self.runs) > 1 and all(numbers(run.figures) == first for run in self.runs)

    @property
    def fingerprint(self) -> str:
        """Of the fingerprints of all runs, one a line."""
        return fingerprint_of(self.runs)


def replicated(
    scenario: Scenario,
    rule: Stopping,
    *,
    figure: str = "makespan_s",
    first_seed: int = 0,
    jobs: int = 1,
    cluster: str = "loky",
    checked: bool = True,
    name: str = "",
    on_run: Callable[[int, Replication], object] = lambda _place, _run: None,
) -> Replicated:
    """Run a scenario until a rule says that it is enough.

    Args:
        scenario: what is run; its own seed is left out.
        rule: how many runs are enough.
        figure: the name of the one that the rule is about.
        first_seed: of the first run; those of the others follow it.
        jobs, cluster, checked, on_run: as of `Experiment`.
        name: of the scenario's file, for the errors of its runs.

    Raises:
        SpecError: no run has such a figure, or a run cannot be made.
        MissingExtraError: scipy is not installed; or several jobs, and joblib is not, or the
            cluster's package.
        Violation: an event breaks a clause.
    """
    # What is not installed, and a name that is misspelled, show themselves before hours of runs.
    mean_of((0.0, 1.0))

    def checked_run(place: int, run: Replication) -> None:
        check_figure(figure, run.figures)
        on_run(place, run)

    made = Experiment(
        [scenario],
        first_seeds=[first_seed],
        jobs=jobs,
        cluster=cluster,
        checked=checked,
        names=[name],
        on_run=checked_run,
    )

    def look() -> Mean:
        values = made.values(figure)
        return NO_MEAN if values is None else mean_of(values)

    reached, is_met = run_until(rule, made.grow, look)
    runs = tuple(made.runs[0])
    shown = deciding([run.figures for run in runs])
    return Replicated(runs, figure, reached, is_met, tuple(dict.fromkeys([figure, *shown])))


def _run_figure(name: str, found: Sequence[float | None]) -> RunFigure:
    values = [value for value in found if value is not None]
    if len(values) < len(found):
        # The runs that have it are another kind of run: their mean would not be that of all.
        return RunFigure(name, None, None, None, (None,) * len(SHARES), len(found) - len(values))
    return RunFigure(
        name,
        mean_of(values),
        min(values),
        max(values),
        tuple(quantile_of(values, share) for share in SHARES),
        0,
    )
