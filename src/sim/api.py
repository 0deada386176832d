"""Experiments in Python: ``from sim import load, run, compare, sweep``.

A notebook asks the same questions as the command line, and goes on with the answers::

    from sim import compare, load, run

    today = load("text_to_sql", {"rows": 200})
    more = load("text_to_sql", {"rows": 200, "limits.resources.nvidia-text": 8})
    runs = run(today, replications=20)
    runs.mean("makespan_s").half_width      # seconds, 95 %
    runs["makespan_s"]                      # an array, one number a run
    compare(today, more, replications=20).difference("rows_per_s").relative

    made = sweep(
        {
            "scenario": "text_to_sql",
            "set": {"rows": 200},
            "replications": 20,
            "grid": {"limits.resources.nvidia-text": [4, 8, 16]},
        },
        "out",                              # the folder keeps the runs; a second call goes on
    )
    made["rows_per_s"]                      # an array, a line a point, a column a run

Seeds are 0, 1, 2, … in each of them, so that results of one call can be paired with those of
another. Figures have the names of ``cellspec run --format csv``; `sim.figures` defines them.
Nothing here prints. ``simulations/python.md`` shows each call and what it gives. pandas is imported
where it is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from cellspec.errors import MissingExtraError, SpecError
from cellspec.text import counted, did_you_mean
from sim.examples import example_path, is_path
from sim.experiments.compared import PAIRS, Comparison
from sim.experiments.compared import compare as compare_pairs
from sim.experiments.intervals import Difference, Mean, Quantile, mean_of, quantile_of
from sim.experiments.replicated import replicated
from sim.experiments.replication import Replication
from sim.experiments.stopping import FIRST_ROUND, MOST_RUNS, FixedRuns, Precision, Stopping
from sim.experiments.sweep.derived import PointRuns, derived_files, point_runs
from sim.experiments.sweep.points import load_sweep
from sim.experiments.sweep.runner import make_missing
from sim.experiments.sweep.store import SweepFolder, manifest_of
from sim.scenario.loader import ScenarioFile
from sim.scenario.scenario import Scenario

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

__all__ = ["PairedRuns", "Runs", "SweepRuns", "compare", "load", "run", "sweep"]

OnRun: TypeAlias = Callable[[int, Replication], object]
"""Called after each run with the place of its scenario, and the run; for progress."""


@dataclass(frozen=True, slots=True, repr=False)
class Runs:
    """The runs of one scenario.

    Attributes:
        scenario: what was run; its own seed was left out.
        replications: the runs, in the order of their seeds.
    """

    scenario: Scenario
    replications: tuple[Replication, ...]

    def __len__(self) -> int:
        return len(self.replications)

    def __repr__(self) -> str:
        """One line, for a notebook: how many runs, and how long they took."""
        seeds = self.seeds
        return (
            f"<{counted(len(self), 'run')} of {self.scenario.name!r}, seeds {seeds[0]} to "
            f"{seeds[-1]}: makespan_s {_words(self.mean('makespan_s'))}>"
        )

    @property
    def seeds(self) -> list[int]:
        """The seed of each run."""
        return [one.seed for one in self.replications]

    @property
    def figures(self) -> list[str]:
        """The names of all figures, words among them."""
        return list(dict.fromkeys(name for one in self.replications for name in one.figures))

    def __getitem__(self, figure: str) -> Floats:
        """A figure of each run; NaN where a run has none.

        Returns:
            An array of the shape (runs,).

        Raises:
            KeyError: no figure has this name.
            SpecError: its values are words.
        """
        import numpy as np

        _check_numbers(figure, (one.figures.get(figure) for one in self.replications))
        values = [one.value(self._known(figure)) for one in self.replications]
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

    def mean(self, figure: str) -> Mean:
        """The mean of a figure, with its interval (95 %).

        Raises:
            KeyError: no figure has this name.
            SpecError: a run has no such figure, so that there is no mean of all.
            MissingExtraError: scipy is not installed.
        """
        return mean_of(self._numbers(figure))

    def quantile(self, figure: str, share: float) -> Quantile | None:
        """A quantile of a figure over runs, with its interval; None if the runs are too few for it.

        Args:
            figure: its name.
            share: between 0 and 1, as in 0.95.

        Raises:
            KeyError, SpecError, MissingExtraError: as of `mean`; or the share is none.
        """
        if not 0 < share < 1:
            raise SpecError(f"share: expected a number between 0 and 1, got {share}")
        return quantile_of(self._numbers(figure), share)

    def to_pandas(self) -> Any:
        """A DataFrame with a line for each run, and a column for each figure.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return _pandas().DataFrame([dict(one.figures) for one in self.replications])

    def _numbers(self, figure: str) -> list[float]:
        values = [one.value(self._known(figure)) for one in self.replications]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            raise SpecError(
                f"{figure}: {len(values) - len(known)} of {len(values)} runs have none, and so "
                "there is no mean of all"
            )
        return known

    def _known(self, figure: str) -> str:
        if figure not in self.replications[0].figures:
            near = did_you_mean(figure, self.figures)
            raise KeyError(f"no figure is named {figure!r}{near}")
        return figure


@dataclass(frozen=True, slots=True, repr=False)
class PairedRuns:
    """The runs of two scenarios, run by run on the same seeds, or on seeds of their own.

    Attributes:
        a, b: the runs of each.
        comparison: every figure that both have, with its verdict.
    """

    a: Runs
    b: Runs
    comparison: Comparison

    def __repr__(self) -> str:
        """One line, for a notebook: how many pairs, and how their makespans differ."""
        pairs = counted(len(self.a), "pair")
        names = f"A {self.a.scenario.name!r} and B {self.b.scenario.name!r}"
        if self.identical:
            return f"<{pairs} of runs, {names}: identical>"
        found = self.difference("makespan_s").difference
        return f"<{pairs} of runs, {names}: makespan_s of B less that of A {_words(found)}>"

    @property
    def identical(self) -> bool:
        """Whether both scenarios gave the same figures in every pair."""
        return self.comparison.identical

    def difference(self, figure: str) -> Difference:
        """A figure of B less that of A, with its interval (95 %).

        Raises:
            KeyError: no figure of both has this name.
            SpecError: a run has no such figure.
        """
        found = self.comparison.of(figure).found
        if found is None:
            raise SpecError(f"{figure}: a run has none, and so there is no difference of all")
        return found

    def to_pandas(self) -> Any:
        """A DataFrame with a line for each figure: means, difference, half-width, gain, verdict.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        lines = []
        for one in self.comparison.figures:
            found = one.found
            lines.append(
                {
                    "figure": one.figure,
                    "a": None if found is None else found.a.mean,
                    "b": None if found is None else found.b.mean,
                    "difference": None if found is None else found.difference.mean,
                    "half_width": None if found is None else found.difference.half_width,
                    "relative": None if found is None else found.relative,
                    "gain": None if found is None else found.gain,
                    "verdict": one.verdict,
                }
            )
        return _pandas().DataFrame(lines).set_index("figure")


@dataclass(frozen=True, slots=True, repr=False)
class SweepRuns:
    """The runs of a sweep.

    Attributes:
        folder: keeps them, with ``runs.csv`` and ``summary.csv``.
        points: each with its fields and its runs, in the order of the sweep.
    """

    folder: Path
    points: tuple[PointRuns, ...]

    def __len__(self) -> int:
        return len(self.points)

    def __repr__(self) -> str:
        """One line, for a notebook: how many points and runs, and which points have none."""
        runs = sum(len(one.good) for one in self.points)
        failed = sum(not one.good for one in self.points)
        without = f", {counted(failed, 'point')} without any run" if failed else ""
        return (
            f"<{counted(len(self), 'point')}, {counted(runs, 'run')}{without}, in "
            f"{str(self.folder)!r}>"
        )

    @property
    def fields(self) -> list[Mapping[str, Any]]:
        """Of each point, the values of the fields that make it this point."""
        return [one.point.fields for one in self.points]

    @property
    def figures(self) -> list[str]:
        """The names of all figures, words among them."""
        runs = (run for one in self.points for run in one.good.values())
        return list(dict.fromkeys(name for run in runs for name in run.figures))

    def __getitem__(self, figure: str) -> Floats:
        """A figure of each run; NaN where there is no run, or where it has none.

        Returns:
            An array of the shape (points, most runs of a point).

        Raises:
            KeyError: no figure has this name.
            SpecError: its values are words.
        """
        import numpy as np

        self._check(figure)
        runs = (run for one in self.points for run in one.good.values())
        _check_numbers(figure, (run.figures.get(figure) for run in runs))
        shape = len(self.points), max(max(one.runs, default=-1) + 1 for one in self.points)
        found = np.full(shape, np.nan)
        for place, one in enumerate(self.points):
            for seed, run in one.good.items():
                value = run.figures.get(figure)
                if isinstance(value, int | float) and not isinstance(value, bool):
                    found[place, seed] = value
        return found

    def mean(self, figure: str) -> list[Mean | None]:
        """Of each point, a figure with its interval (95 %); None if a run failed, or has none.

        Raises:
            KeyError: no figure has this name.
            MissingExtraError: scipy is not installed.
        """
        self._check(figure)
        return [one.mean(figure) for one in self.points]

    def to_pandas(self) -> Any:
        """A DataFrame with a line for each run: point, fields, seed, and a column for each figure.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return _pandas().DataFrame(
            [
                {"point": one.point.number, **one.point.fields, "seed": seed, **run.figures}
                for one in self.points
                for seed, run in one.good.items()
            ]
        )

    def _check(self, figure: str) -> None:
        if figure not in self.figures:
            near = did_you_mean(figure, self.figures)
            raise KeyError(f"no figure is named {figure!r}{near}")


def load(scenario: str | Path, changes: Mapping[str, Any] | None = None) -> Scenario:
    """Read and check a scenario.

    Args:
        scenario: its file, or the name of an example (`sim.examples.EXAMPLES`).
        changes: fields that replace those of the file, by dotted path, as in
            ``{"columns.sql.latency.median_s": 2, "limits.workers": 64}``.

    Raises:
        FaultsError: it cannot be used: a line for each fault, which names the line of the file, or
            the change that brought it.
        SpecError: there is no such file or example; or a change has a value that no file could say.
        MissingExtraError: the scenario takes a DataDesigner pipeline, and that extra is absent.
    """
    named = isinstance(scenario, str) and not is_path(scenario)
    path = example_path(str(scenario)) if named else Path(scenario)
    given = _plain(changes or {}, "changes")
    texts = {name: json.dumps(value) for name, value in given.items()}
    return ScenarioFile(path).load(texts, option="changes: ")


def run(
    scenario: Scenario,
    replications: int | None = None,
    *,
    precision: float | None = None,
    figure: str = "makespan_s",
    most: int = MOST_RUNS,
    first_seed: int = 0,
    jobs: int = 1,
    checked: bool = True,
    on_run: OnRun = lambda _place, _run: None,
) -> Runs:
    """Run a scenario many times.

    Args:
        scenario: what is run.
        replications: how many runs; 10 if neither this nor `precision` is given.
        precision: go on until the interval of `figure` is so narrow: its half-width as a share of
            the mean, as in 0.02.
        figure: the one that the precision is about; a name of `sim.figures`.
        most: with `precision`, the most runs.
        first_seed: of the first run; those of the others follow it.
        jobs: runs at once.
        checked: judge every event against the specification.
        on_run: called after each run; for progress.

    Raises:
        SpecError: a run cannot be made, or has no such figure.
        MissingExtraError: scipy is not installed; or several jobs, and joblib is not.
        Violation: an event breaks a clause.
    """
    _check_scenario("scenario", scenario)
    _check_whole(first_seed=(first_seed, 0), jobs=(jobs, 1))
    found = replicated(
        scenario,
        _rule(replications, precision, most, FIRST_ROUND),
        figure=figure,
        first_seed=first_seed,
        jobs=jobs,
        checked=checked,
        on_run=on_run,
    )
    return Runs(scenario, found.runs)


def compare(
    a: Scenario,
    b: Scenario,
    replications: int | None = None,
    *,
    precision: float | None = None,
    figure: str = "makespan_s",
    most: int = MOST_RUNS,
    first_seed: int = 0,
    independent: bool = False,
    jobs: int = 1,
    checked: bool = True,
    on_run: OnRun = lambda _place, _run: None,
) -> PairedRuns:
    """Run two scenarios with the same seeds, and compare their figures.

    Args:
        a, b: the scenarios.
        replications: pairs of runs; 30 if neither this nor `precision` is given.
        precision: go on until the interval of the difference is so narrow, as a share of A's mean.
        figure, most, first_seed, jobs, checked, on_run: as of `run`.
        independent: give B other seeds.

    Raises:
        SpecError, MissingExtraError, Violation: as of `run`.
    """
    _check_scenario("a", a)
    _check_scenario("b", b)
    _check_whole(jobs=(jobs, 1))
    found, made = compare_pairs(
        a,
        b,
        _rule(replications, precision, most, PAIRS),
        figure=figure,
        first_seed=first_seed,
        independent=independent,
        jobs=jobs,
        checked=checked,
        on_run=on_run,
    )
    of_a, of_b = (Runs(one, tuple(runs)) for one, runs in zip((a, b), made.runs, strict=True))
    return PairedRuns(of_a, of_b, found)


def sweep(
    given: str | Path | Mapping[str, Any],
    out: str | Path,
    *,
    jobs: int = 1,
    checked: bool = True,
    on_run: Callable[[int], object] = lambda _known: None,
) -> SweepRuns:
    """Make the runs of a sweep that its folder lacks, and read all of them.

    Args:
        given: a sweep file, or its fields (`sim.experiments.sweep.spec.SweepSpec`).
        out: the folder that keeps the runs: what was made before is not made again.
        jobs, checked: as of `run`.
        on_run: called after each run with the number of runs that this call makes, as far as is
            known; for progress.

    Raises:
        FaultsError: the sweep has faults; a line for each.
        SpecError: no point can be run, or the folder holds another sweep.
        MissingExtraError: scipy is not installed; or several jobs, and joblib is not.
    """
    _check_whole(jobs=(jobs, 1))
    if isinstance(given, Mapping):
        given = _plain(given, "sweep")
    mine, folder = load_sweep(given), SweepFolder(out)
    folder.begin(manifest_of(mine, checked=checked), mine.points)
    make_missing(mine, folder, jobs=jobs, checked=checked, on_run=on_run)
    points = point_runs(mine.spec, mine.points, folder.runs())
    folder.write(lambda: derived_files(mine.spec, points))
    return SweepRuns(folder.path, tuple(points))


def _rule(replications: int | None, precision: float | None, most: int, default: int) -> Stopping:
    """When there are enough runs.

    Raises:
        SpecError: both rules are given, or one that no number of runs can meet.
    """
    if precision is None:
        runs = default if replications is None else replications
        _check_whole(replications=(runs, 1))
        return FixedRuns(runs)
    if replications is not None:
        raise SpecError("replications, precision: give one of them")
    if not 0 < precision < 1:
        raise SpecError(f"precision: expected a share between 0 and 1, got {precision}")
    _check_whole(most=(most, 1))
    return Precision(precision, most)


def _check_whole(**given: tuple[object, int]) -> None:
    """Refuse arguments that are no whole number, or less than each may be.

    Raises:
        SpecError: one of them is.
    """
    for name, (value, least) in given.items():
        if isinstance(value, bool) or not isinstance(value, int):
            raise SpecError(f"{name}: expected a whole number, got {value!r}")
        if value < least:
            raise SpecError(f"{name}: expected {least} or more, got {value}")


def _check_scenario(name: str, given: object) -> None:
    """Refuse what is no scenario.

    Raises:
        SpecError: it is none.
    """
    if not isinstance(given, Scenario):
        raise SpecError(f"{name}: expected a scenario, as in load('text_to_sql'), got {given!r}")


def _check_numbers(figure: str, values: Iterable[object]) -> None:
    """Refuse a figure of words, which no array of numbers holds.

    Raises:
        SpecError: it is one.
    """
    word = next((value for value in values if isinstance(value, str)), None)
    if word is not None:
        raise SpecError(f"{figure}: its values are words, as {word!r}; to_pandas() has them")


def _plain(value: Any, where: str) -> Any:
    """A value as a file could say it: numbers of numpy, ranges and paths become plain ones.

    Raises:
        SpecError: no file could say it.
    """
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{where}: {key}") for key, item in value.items()}
    if isinstance(value, list | tuple | range):
        return [_plain(item, where) for item in value]
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise SpecError(f"{where}: expected a number, a text, a list or a mapping, got {type(value)}")


def _words(mean: Mean) -> str:
    """A mean with its interval, in four digits."""
    if mean.half_width is None:
        return f"{mean.mean:.4g}, of one run"
    return f"{mean.mean:.4g} ± {mean.half_width:.2g} (95 %)"


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise MissingExtraError("to_pandas()", "pandas") from None
    return pandas
