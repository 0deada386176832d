"""A fitted scenario, simulated with several seeds, beside what was recorded.

The recorded run is one draw, and the fit is from one draw too. So beside the mean of the simulated
runs stands the interval in which such a record lies in 95 % of cases. Each run of it has a seed of
its own, and a scenario of its own: fitted to as many calls, drawn with replacement from the
recorded ones. The interval is mean ± t · sd · √(1 + 1/n) over the logarithms of these runs: so it
never reaches below 0, and reaches further up than down, as the runs of a long tail do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from pydantic import ValidationError

from cellspec.errors import FaultsError
from cellspec.parallel import in_parallel
from cellspec.text import counted
from sim.draws import stream
from sim.experiments.calibration.calibration import Calibration, resampled, resized
from sim.experiments.calibration.record import Record
from sim.experiments.intervals import Mean, mean_of
from sim.results import Result
from sim.results_together import result_of
from sim.scenario.messages import faults_of, place_words
from sim.scenario.scenario import Scenario
from sim.simulation import simulate

__all__ = ["TOO_WIDE", "Predicted", "predict", "scenario_of", "sized", "why_no_makespan"]

TOO_WIDE: Final = 3.0
"""An interval whose upper end is more than so many times the lower one tells nothing."""

_FAR: Final = 0.5
"""Nor does one that holds a record from which the mean of the runs is off by more than this."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """A figure as it was recorded, and as it is predicted.

    Attributes:
        figure: its name.
        recorded: in the run.
        predicted: the mean of the simulated runs.
        low, high: where a record lies in 95 % of cases; None for a single run.
        alike: its calls are not draws of their own (`sim.experiments.calibration.neighbours`), so
            that neither the prediction nor its interval is to be trusted.
    """

    figure: str
    recorded: float
    predicted: Mean
    low: float | None
    high: float | None
    alike: bool = False

    @property
    def error(self) -> float | None:
        """How far the prediction is off, as a share of the record; None if that is 0."""
        return None if self.recorded == 0 else self.predicted.mean / self.recorded - 1

    @property
    def holds(self) -> bool | None:
        """Whether the record lies in its interval; None for a single run."""
        if self.low is None or self.high is None:
            return None
        slack = 1e-5 * abs(self.recorded)
        return self.low - slack <= self.recorded <= self.high + slack

    @property
    def too_wide(self) -> bool:
        """Whether the record lies in an interval that nearly any record would lie in."""
        if not self.holds or self.low is None or self.high is None:
            return False
        far = self.error is not None and abs(self.error) > _FAR
        return far or self.high > TOO_WIDE * self.low


def scenario_of(data: Mapping[str, Any], folder: Path) -> Scenario:
    """The scenario that plain data describe.

    Args:
        data: its fields.
        folder: where the files lie that it names.

    Raises:
        FaultsError: they are no scenario.
    """
    try:
        return Scenario.model_validate(dict(data), context={"folder": folder})
    except ValidationError as error:
        lines = [
            f"{place_words(fault.where, data)}: {fault.text}"
            for fault in faults_of(error, dict(data))
        ]
        raise FaultsError([f"the fitted scenario: {line}" for line in lines]) from None


def sized(made: Calibration, against: Record | None) -> dict[str, Any]:
    """The scenario of a prediction, as plain data; see `predict`.

    Raises:
        SpecError: the other run has other columns.
    """
    return made.scenario if against is None else resized(made.scenario, against)


def predict(
    made: Calibration,
    folder: Path,
    *,
    runs: int,
    jobs: int = 1,
    against: Record | None = None,
    on_run: Callable[[], object] = lambda: None,
) -> list[Predicted]:
    """Simulate a fitted scenario with the seeds 0, 1, 2, …, and compare the runs with a record.

    Args:
        made: what was fitted.
        folder: where the files lie that the scenario names.
        runs: how many.
        jobs: runs at once.
        against: another run of the same columns, whose rows and limits the scenario takes; by
            default the one that was fitted.
        on_run: called after each of the 2 × `runs` runs; for progress.

    Raises:
        MissingExtraError: scipy is not installed, or, for several jobs, joblib.
        SpecError: the other run has other columns, or a run may never end.
    """
    record, data = against or made.record, sized(made, against)
    served = bool(made.overhead.start_s or made.overhead.end_s) and not made.overhead.exact
    scenario = scenario_of(data, folder)
    tasks = [_Task(scenario, seed, made.places, served) for seed in range(runs)]
    for seed in range(runs):
        other = scenario_of(resampled(made, data, stream(seed, "resample", "", 0).rng), folder)
        tasks.append(_Task(other, runs + seed, made.places, served))
    found = []
    for figures in in_parallel(_run, tasks, jobs=jobs):
        found.append(figures)
        on_run()
    predicted = []
    # Without dependencies, as a log is, nothing can be said of the whole.
    whole = record.source == "trace" or made.piped
    same_size = whole and scenario.rows == record.scenario["rows"]
    alike = {f"{one.column} call_s" for one in made.columns if one.alike is not None}
    for name, value in _recorded(record, made, same_size=same_size):
        mean, spread = (_values(part, name) for part in (found[:runs], found[runs:]))
        # A column that takes no time has nothing to predict.
        if mean and spread and (value or any(mean)):
            predicted.append(_predicted(name, value, mean, spread, alike=name in alike))
    return predicted


def why_no_makespan(made: Calibration, data: Mapping[str, Any], against: Record | None) -> str:
    """Why a prediction has no makespan to compare; "" if it has one, or the record lacks all of it.

    Args:
        made: what was fitted.
        data: the scenario that was simulated.
        against: the other run, if it is held against one.
    """
    record = against or made.record
    if record.source != "trace" and not made.piped:
        return ""
    if not record.makespan_s:
        return record.no_makespan or "the file does not tell it"
    rows, recorded = data["rows"], record.scenario["rows"]
    if rows != recorded:
        return f"the scenario has {counted(rows, 'row')}, and the record {recorded:,}"
    return ""


def _values(found: Sequence[Mapping[str, float | None]], name: str) -> list[float]:
    return [value for run in found if (value := run.get(name)) is not None]


def _predicted(
    name: str,
    recorded: float,
    values: Sequence[float],
    spread: Sequence[float],
    *,
    alike: bool,
) -> Predicted:
    as_logs = min(spread) > 0
    around = mean_of([math.log(value) for value in spread] if as_logs else spread)
    low = high = None
    if around.half_width is not None:
        # The half-width of a mean is t · sd / √n.
        reach = around.half_width * math.sqrt(around.runs + 1)
        low, high = around.mean - reach, around.mean + reach
        low, high = (math.exp(low), math.exp(high)) if as_logs else (max(0.0, low), high)
    return Predicted(name, recorded, mean_of(values), low, high, alike)


def _recorded(record: Record, made: Calibration, *, same_size: bool) -> Iterator[tuple[str, float]]:
    """The figures of a record that are compared."""
    if record.makespan_s and same_size:
        yield "makespan_s", record.makespan_s
        if record.rows is not None:
            yield "rows_per_s", record.rows / record.makespan_s
    for name in record.columns:
        # Other failed calls take as long as good ones in a simulation, and here as they will.
        well = [call for call in record.of_column(name) if call.failure in (None, "timeout")]
        if well and record.timed:
            gap_s = made.overhead.gaps_s.get(name, 0.0)
            yield f"{name} call_s", fmean(call.seconds for call in well) + gap_s


@dataclass(frozen=True, slots=True)
class _Task:
    """A run to be made.

    Attributes:
        scenario: what is run.
        seed: of the run.
        places: by column of the record, the columns of the scenario that it stands for.
        served: take the seconds of calls without those of the scheduler's loop.
    """

    scenario: Scenario
    seed: int
    places: Mapping[str, Sequence[str]]
    served: bool


def _run(task: _Task) -> dict[str, float | None]:
    """The figures of one run that are compared."""
    mine = task.scenario.with_seed(task.seed)
    served = _Served() if task.served else None
    result = result_of(mine, simulate(mine, [served]), checked=True)
    assert isinstance(result, Result)
    found: dict[str, float | None] = {
        "makespan_s": result.makespan_s,
        "rows_per_s": result.rows_per_s,
    }
    for name, places in task.places.items():
        items = [item for item in result.by_column if item.column in places]
        calls = sum(item.calls for item in items)
        busy_s = math.fsum(item.busy_s for item in items)
        if served is not None:
            busy_s = math.fsum(served.seconds.get(item.column, 0.0) for item in items)
        if calls:
            found[f"{name} call_s"] = busy_s / calls
    return found


class _Served:
    """Listens to a run: by column, the seconds from the loop's letting calls go to their answer.

    Another engine's loop holds its calls up before they start, and a trace of it has no more.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._entered: dict[tuple[Any, ...], float] = {}

    def __call__(self, event: str, t: float, **fields: Any) -> None:
        if event != "request":
            return
        step, column = fields["request"].step, fields["column"]
        node = column, fields.get("rows"), fields.get("scope")
        if step == "entered":
            self._entered[node] = t
        elif step == "answered":
            self.seconds[column] = self.seconds.get(column, 0.0) + t - self._entered.pop(node, t)
