"""`calibrate`: a record becomes a scenario, with all that was fitted to it."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from cellspec.errors import SpecError
from cellspec.text import counted, listed_names, quoted
from sim.experiments.calibration.dispatch import Dispatch, dispatch_of
from sim.experiments.calibration.failing import Failing, backoff_of, failing_of
from sim.experiments.calibration.fits import FEWEST, Fit, fit
from sim.experiments.calibration.neighbours import likeness
from sim.experiments.calibration.overhead import Overhead, overhead_of
from sim.experiments.calibration.record import Call, Record, most_at_once
from sim.experiments.calibration.warmth import WarmUp, warm_ups
from sim.scenario.scenario import Scenario

if TYPE_CHECKING:
    from numpy.random import Generator

__all__ = ["Calibration", "ColumnFit", "calibrate", "resampled", "resized"]


@dataclass(frozen=True, slots=True)
class ColumnFit:
    """The fit of one column.

    Attributes:
        column: whose.
        seconds: of its calls, with the engine's gap; None if the file has no times.
        per_row_s: seconds that a barrier's call takes beside, for each row that it reads.
        tokens: of the prompt and of the answer, where they are recorded.
        alike: how far calls that start one after the other take alike long; None if they do not.
        at_once: the most of its calls that were in flight at one moment.
    """

    column: str
    seconds: Fit | None
    per_row_s: float = 0.0
    tokens: tuple[Fit, Fit] | None = None
    alike: float | None = None
    at_once: int = 1


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was fitted to a record.

    Attributes:
        record: what it was fitted to.
        columns: the fit of each column that has calls.
        overhead: the engine's own time.
        warm_ups: by resource, whether its first calls were slower.
        failing: of the columns whose calls failed.
        dispatch: in which order ready calls start.
        scenario: the scenario as plain data.
        places: by column of the record, the columns of the scenario that are as fast.
        piped: the scenario is a user's, into which the fits are filled.
        remarks: what the reader of the scenario has to know of it, a sentence each.
    """

    record: Record
    columns: Sequence[ColumnFit]
    overhead: Overhead
    warm_ups: Sequence[WarmUp]
    failing: Sequence[Failing]
    dispatch: Dispatch
    scenario: dict[str, Any]
    places: dict[str, list[str]]
    piped: bool
    remarks: list[str]


def calibrate(record: Record, source: str, pipeline: Scenario | None = None) -> Calibration:
    """Fit a scenario to a record.

    Args:
        record: what was recorded.
        source: the name of its file, which the scenario gives as its source.
        pipeline: a scenario whose latencies and failure rates are to be filled in; by default the
            record's own columns make a scenario.

    Raises:
        SpecError: the pipeline has no column and no resource with a name of the record's.
        MissingExtraError: scipy is not installed.
    """
    overhead = overhead_of(record)
    warm = warm_ups(record) if record.timed else []
    remarks: list[str] = []
    columns = [
        _column_fit(name, record, overhead, warm, remarks)
        for name in record.columns
        if record.of_column(name)
    ]
    unseen = [name for name in record.columns if not record.of_column(name)]
    if unseen:
        words = quoted(unseen)
        remarks.append(f"no call of {words} has ended: the scenario gives it no time")
    data = copy.deepcopy(record.scenario)
    if pipeline is not None:
        data = pipeline.model_dump(by_alias=True, exclude_unset=True)
    data["source"] = f"cellspec calibrate {source}: {record.engine}"
    made = Calibration(
        record,
        columns,
        overhead,
        warm,
        failing_of(record),
        dispatch_of(record),
        data,
        {},
        pipeline is not None,
        remarks,
    )
    made.places.update(_places(made, pipeline))
    _fill(made)
    remarks += _remarks(made)
    if made.piped:
        record.lacks[:] = [text for text in record.lacks if "--pipeline" not in text]
    return made


def _column_fit(
    name: str,
    record: Record,
    overhead: Overhead,
    warm: Sequence[WarmUp],
    remarks: list[str],
) -> ColumnFit:
    calls = record.of_column(name)
    if not record.timed:
        return ColumnFit(name, None, tokens=_tokens(calls))
    cold_s = max(
        (one.until_s for one in warm if one.resource == record.resources.get(name)),
        default=-math.inf,
    )
    well = [call for call in calls if call.failure is None]
    late = [call for call in calls if call.failure == "timeout"]
    mine = [call for call in well if call.start_s >= cold_s]
    if well and not mine:
        remarks.append(f"{name!r}: no call ended well but those of a cold start; they are taken")
    if not well:
        remarks.append(f"{name!r}: no call ended well; the seconds are those of failed ones")
    used = mine or well or calls
    per_row_s = _per_row_s(name, used, remarks)
    gap_s = overhead.gaps_s.get(name, 0.0)
    seconds = [
        max(0.0, _served_s(call, overhead) + gap_s - per_row_s * call.reads) for call in used
    ]
    if late:
        # All that is known of them is that they are longer than the bound.
        seconds += [2 * max(call.seconds for call in late)] * len(late)
    found = fit(seconds, censored=bool(late))
    alike = None
    # The seconds of an endpoint that the file describes are not fitted, and a log may lack starts.
    described = record.resources.get(name) in record.described
    if not described and found.model["model"] != "constant" and len({c.start_s for c in used}) > 1:
        order = sorted(range(len(used)), key=lambda number: used[number].start_s)
        alike = likeness([seconds[number] for number in order])
    return ColumnFit(name, found, per_row_s, _tokens(calls), alike, most_at_once(used))


def _served_s(call: Call, overhead: Overhead) -> float:
    """The seconds of a call without those of the scheduler's loop, where these are known."""
    if overhead.exact and call.loop_s is not None:
        return call.loop_s[1] - call.loop_s[0]
    return call.seconds


def _per_row_s(name: str, calls: Sequence[Call], remarks: list[str]) -> float:
    """Of a barrier whose calls read different numbers of rows: the slope, by least squares."""
    reads = [call.reads for call in calls]
    if not any(reads):
        return 0.0
    if len(set(reads)) < 2 or len(calls) < 3:
        remarks.append(
            f"{name!r}: its calls read {counted(max(reads), 'row')} each, so how its time grows "
            "with them is not known: say it as latency_per_row_s"
        )
        return 0.0
    mean_x, mean_y = fmean(reads), fmean(call.seconds for call in calls)
    spread = math.fsum((x - mean_x) ** 2 for x in reads)
    shared = math.fsum((call.reads - mean_x) * (call.seconds - mean_y) for call in calls)
    # No more than each call has, so that none is left with less than nothing.
    most = min(call.seconds / call.reads for call in calls if call.reads)
    return float(f"{min(max(shared / spread, 0.0), most):.6g}")


def _tokens(calls: Iterable[Call]) -> tuple[Fit, Fit] | None:
    pairs = [
        (prompt, output)
        for prompt, output in (call.tokens for call in calls if call.failure in (None, "timeout"))
        if prompt is not None and output is not None
    ]
    if not pairs:
        return None
    prompts, outputs = zip(*pairs, strict=True)
    return fit(prompts, unit=""), fit(outputs, unit="")


# The scenario


def _places(made: Calibration, pipeline: Scenario | None) -> dict[str, list[str]]:
    """By column of the record, the columns of the scenario that are as fast as it is.

    Raises:
        SpecError: the pipeline knows none of the names.
    """
    names = [one.column for one in made.columns]
    if pipeline is None:
        return {name: [name] for name in names}
    found: dict[str, list[str]] = {}
    known = pipeline.graph().column_names
    for name in names:
        if name in known:
            found[name] = [name]
        elif mine := [x for x, used in pipeline.column_resource.items() if used == name]:
            found[name] = mine
    if not found and len(names) == len(known) == 1:
        found[names[0]] = list(known)
    missing = [name for name in names if name not in found]
    if not found:
        raise SpecError(
            f"--pipeline: the scenario has no column and no resource named {quoted(missing)}: its "
            f"columns are {listed_names(known)}; --column NAME says whose calls they are, and "
            "--column-by FIELD by which field they differ"
        )
    if missing:
        made.remarks.append(f"no column of the pipeline takes the fit of {quoted(missing)}")
    return found


def _fill(made: Calibration) -> None:
    """Write what was fitted into the scenario."""
    data, places = made.scenario, made.places
    for one in made.columns:
        for name in places.get(one.column, ()):
            _put_latency(data, name, _latency(data, one, name), one.per_row_s)
    if made.dispatch.starts and made.record.source == "trace":
        data.update(made.dispatch.words(made.record.resources))
    for name, (own, of) in made.record.skipped.items() if "columns" in data else ():
        _column(data, name)["skip_rate"] = round(own / of, 6)
    by_column: dict[str, Any] = {}
    for fails in made.failing:
        for name in places.get(fails.column, ()):
            by_column[name] = fails.rates()
            if fails.timeout_s is not None and "columns" in data:
                _column(data, name)["timeout_s"] = fails.timeout_s
    if by_column:
        backoff = {"backoff": backoff_of(made.record.calls) or {"first_s": 0.0}}
        given = {"max_attempts": 3, **backoff, **(data.get("failures") or {})}
        rates = {name: rates for name, rates in by_column.items() if rates}
        data["failures"] = {**given, "by_column": {**given.get("by_column", {}), **rates}}
    over = made.overhead
    if over.start_s or over.end_s:
        data["scheduler"] = {"start_s": _tidy(over.start_s), "end_s": _tidy(over.end_s)}
    for warm in made.warm_ups:
        if warm.resource in made.record.described:
            continue
        if warm.first_s and warm.resource in data["limits"].get("resources", {}):
            endpoint = data.setdefault("endpoints", {}).setdefault(warm.resource, {})
            endpoint["cold_start"] = {"first_s": _tidy(warm.first_s)}
    if made.record.timed and made.record.source == "trace":
        measured = made.record.scenario["limits"].get("resources", {})
        mine = {
            name: limit
            for name, limit in measured.items()
            if name in data["limits"].get("resources", {}) and name not in made.record.described
        }
        if mine:
            data["limits"] = {**data["limits"], "measured_at": mine}


def _latency(data: Mapping[str, Any], one: ColumnFit, name: str) -> dict[str, Any]:
    """The latency of a column: in seconds, or in tokens where its endpoint is fast in tokens."""
    by_tokens = any(
        "tpot_s" in endpoint
        for resource, endpoint in (data.get("endpoints") or {}).items()
        if "columns" in data and resource in _taken(_column(data, name))
    )
    if one.tokens is not None and (one.seconds is None or by_tokens):
        prompt, output = one.tokens
        counts = {"prompt_tokens": prompt.model, "output_tokens": output.model}
        return {"model": "request", **counts}
    assert one.seconds is not None
    return one.seconds.model


def _taken(column: Mapping[str, Any]) -> Iterable[str]:
    """The resources that a column takes."""
    return column.get("resources") or [column.get("resource") or ""]


def _put_latency(
    data: dict[str, Any], name: str, latency: dict[str, Any], per_row_s: float
) -> None:
    if "columns" in data:
        column = _column(data, name)
        column["latency"] = latency
        if per_row_s and latency["model"] != "request":
            column["latency_per_row_s"] = per_row_s
        return
    given = data["pipeline"].setdefault("latency", {})
    given.setdefault("by_column", {})[name] = latency
    if per_row_s:
        given.setdefault("per_row_s_by_column", {})[name] = per_row_s


def _column(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(item for item in data["columns"] if item["name"] == name)
    return found


def _remarks_of_fits(columns: Sequence[ColumnFit]) -> list[str]:
    found = [
        f"{one.column!r}: calls that start one after the other take alike long (rank correlation "
        f"{one.alike:.2f}; up to {counted(one.at_once, 'call')} ran at once), as calls do that "
        "wait for the same thing, such as the engine's loop; their seconds hold that wait, and "
        f"another run waits otherwise: {one.column} call_s is not to be trusted, nor is its "
        "interval"
        for one in columns
        if one.alike is not None
    ]
    for one in columns:
        for each in (one.seconds, *(one.tokens or ())):
            if each is not None and each.too_heavy is not None:
                found.append(
                    f"{one.column!r}: pareto with alpha {each.too_heavy['alpha']:.3g} has "
                    f"{each.heavy_lead:.1f} less BIC, and is not taken: "
                    f"{counted(each.calls, 'call')} do not show that the variance is infinite. The "
                    "tail may be longer than the scenario says"
                )
    return found


def _remarks(made: Calibration) -> list[str]:
    found = []
    record, over = made.record, made.overhead
    found += _remarks_of_fits(made.columns)
    few = [
        f"{one.column!r} ({count})" for one in made.columns if (count := _calls_of(one)) < FEWEST
    ]
    if few:
        found.append(
            f"fewer than {FEWEST} calls of {', '.join(few)} say little of how long others take: "
            "the intervals below are too narrow for them"
        )
    backoff = (made.scenario.get("failures") or {}).get("backoff") or {}
    if made.failing and not backoff_of(record.calls) and not backoff.get("first_s", 1.0):
        found.append(
            "how long a failed call waits for its next try is not recorded: the scenario lets it "
            "wait for nothing; say it under failures.backoff"
        )
    for name in sorted(record.described):
        found.append(
            f"the file describes the endpoint {name!r}: the scenario takes it as it is, and of its "
            "calls the tokens instead of the seconds"
        )
    for one in made.failing:
        if one.timeout_s is not None:
            found.append(
                f"{one.column!r}: calls that timed out would have taken longer than "
                f"{one.timeout_s:.4g} s, nobody knows how long: the scenario says nothing of a "
                "longer timeout_s"
            )
        fits = next((fit for fit in made.columns if fit.column == one.column), None)
        if one.seconds is None or fits is None or fits.seconds is None:
            continue
        if abs(one.seconds - fits.seconds.mean) > 0.5 * max(one.seconds, fits.seconds.mean):
            found.append(
                f"{one.column!r}: failed calls took {one.seconds:.3g} s on average, and the "
                f"others {fits.seconds.mean:.3g} s; in the scenario both take the latter"
            )
    if over.long_starts:
        found.append(
            f"{over.long_starts:,} of {counted(over.starts, 'start')} waited longer than the "
            f"others, for {over.long_s:.3g} s in all; the trace does not show for what"
        )
    return found


def _calls_of(one: ColumnFit) -> int:
    """How many calls a column's fit is from."""
    fits: list[Fit | None] = [one.seconds, *(one.tokens or ())]
    return min(found.calls for found in fits if found is not None)


def _tidy(value: float) -> float:
    return float(f"{value:.6g}")


def resized(data: Mapping[str, Any], like: Record) -> dict[str, Any]:
    """A scenario with the rows and limits of another run.

    Args:
        data: the scenario, as plain data.
        like: the record of the other run.

    Raises:
        SpecError: the other run has other columns.
    """
    mine = [item["name"] for item in data.get("columns", ())]
    if sorted(mine) != sorted(like.columns):
        raise SpecError(
            f"expected a run of the columns {listed_names(mine)}, got {listed_names(like.columns)}"
        )
    measured = {k: v for k, v in data["limits"].items() if k == "measured_at"}
    found = {**data, "rows": like.scenario["rows"]}
    found["limits"] = {**like.scenario["limits"], **measured}
    found.pop("batch_size", None)
    if "batch_size" in like.scenario:
        found["batch_size"] = like.scenario["batch_size"]
    return found


def resampled(made: Calibration, data: Mapping[str, Any], rng: Generator) -> dict[str, Any]:
    """The scenario as it would be after another record of as many calls.

    Args:
        made: what was fitted.
        data: the scenario, perhaps of another size.
        rng: draws the other record.
    """
    found = copy.deepcopy(dict(data))
    for one in made.columns:
        places = made.places.get(one.column, ())
        again = replace(
            one,
            seconds=None if one.seconds is None else _again(one.seconds, rng),
            tokens=one.tokens and (_again(one.tokens[0], rng), _again(one.tokens[1], rng)),
        )
        for name in places:
            _put_latency(found, name, _latency(found, again, name), one.per_row_s)
    if "columns" in found:
        for name, (own, of) in made.record.skipped.items():
            _column(found, name)["skip_rate"] = float(rng.binomial(of, own / of)) / of
    by_column = (found.get("failures") or {}).get("by_column", {})
    for fails in made.failing:
        for name in made.places.get(fails.column, ()):
            if rates := by_column.get(name):
                by_column[name] = _rates_again(rates, fails.calls, rng)
    return found


def _again(fit: Fit, rng: Generator) -> Fit:
    return replace(fit, model=fit.again(rng))


def _rates_again(rates: Mapping[str, float], calls: int, rng: Generator) -> dict[str, float]:
    """Failure rates as another record of as many calls has them."""
    rest = max(0.0, 1 - math.fsum(rates.values()))
    counts = rng.multinomial(calls, [*rates.values(), rest])
    # A scenario in which every call is refused has no end.
    return {
        kind: min(int(count) / calls, 0.999) for kind, count in zip(rates, counts, strict=False)
    }
