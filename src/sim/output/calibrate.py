"""The words of ``cellspec calibrate``: what was fitted, how well, and what it predicts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cellspec.text import counted, table_lines
from sim.experiments.calibration.calibration import Calibration, ColumnFit
from sim.experiments.calibration.fits import REFUSED, SHARES, Fit
from sim.experiments.calibration.prediction import Predicted
from sim.experiments.calibration.record import Record
from sim.experiments.calibration.warmth import WarmUp
from sim.output.result_table import decimals, printable, table
from sim.results import tidy

__all__ = ["Predictions", "render"]

Predictions = Mapping[str, tuple[Mapping[str, Any], Sequence[Predicted], str]]
"""By file of a record, the scenario that predicts it, as plain data, the figures, and why the
makespan is not among them; "" if it is."""


def render(made: Calibration, source: str, predictions: Predictions, form: str) -> str:
    """The calibration as text, or as JSON.

    Args:
        made: the calibration.
        source: the file of its record.
        predictions: by file, that of the record first.
        form: ``"table"`` or ``"json"``.
    """
    if form == "json":
        data = _data(made, source, predictions)
        return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    parts = [
        *_title(made.record, source),
        *_fit_table(made.columns),
        *_token_table(made.columns),
        "",
        *_engine(made),
        *_sentences("the file does not tell:", made.record.lacks),
        *_sentences("not fitted:", made.record.left_out),
        *_sentences("to know:", made.remarks),
    ]
    for file, (scenario, figures, no_makespan) in predictions.items():
        parts += ["", *_prediction(file, scenario, figures)]
        if no_makespan:
            parts.append(f"makespan_s: not compared: {printable(no_makespan)}")
    return "".join(f"{line.rstrip()}\n" for line in parts)


def _title(record: Record, source: str) -> list[str]:
    columns = counted(len(record.columns), "column")
    rows = f"{counted(record.scenario['rows'], 'row')} × {columns}, "
    calls = counted(len(record.calls), "call")
    return [f"{printable(source)}: {printable(record.engine)}", f"{rows}{calls}"]


# What was fitted


def _fit_table(columns: Sequence[ColumnFit]) -> list[str]:
    fits = [(one.column, one.seconds) for one in columns if one.seconds is not None]
    if not fits:
        return []
    lines = _table_of_fits("mean s", fits)
    rows = [(one.column, one.per_row_s) for one in columns if one.per_row_s]
    lines += [f"{name}: and {value:.4g} s for each row that it reads" for name, value in rows]
    return [
        "",
        *lines,
        "model: of the least BIC; a table of quantiles where a Kolmogorov-Smirnov test refuses "
        f"that (p < {REFUSED}, parametric bootstrap)",
    ]


def _token_table(columns: Sequence[ColumnFit]) -> list[str]:
    fits = [
        (f"{one.column} {what}", fit)
        for one in columns
        for what, fit in zip(("prompt", "answer"), one.tokens or (), strict=False)
    ]
    return ["", *_table_of_fits("mean tokens", fits)] if fits else []


def _table_of_fits(mean: str, fits: Sequence[tuple[str, Fit]]) -> list[str]:
    names, found = zip(*fits, strict=True)
    return table(
        [
            ("column", list(map(printable, names))),
            ("model", [_model_words(fit) for fit in found]),
            ("calls", [f"{fit.calls:,}" for fit in found]),
            (mean, decimals([fit.mean for fit in found])),
            ("KS", [f"{fit.distance:.3f}" for fit in found]),
            ("p", ["–" if fit.p_value is None else f"{fit.p_value:.3f}" for fit in found]),
            *(
                (f"p{100 * share:g} off", [_percent(fit.errors.get(share)) for fit in found])
                for share in SHARES
            ),
            ("next best", [_next(fit) for fit in found]),
        ],
        words=2,
    )


def _model_words(fit: Fit) -> str:
    model = fit.model
    if model["model"] == "quantiles":
        table_of = model.get("quantiles_s") or model.get("quantiles") or {}
        return f"quantiles, {len(table_of)} points"
    words = ", ".join(f"{name} {value:.4g}" for name, value in model.items() if name != "model")
    return f"{model['model']} {words}"


def _next(fit: Fit) -> str:
    """The family that comes next, and by how much its BIC is greater."""
    if fit.model["model"] == "quantiles":
        return f"{fit.best}, refused" if fit.best else "–"
    others = [(name, value) for name, value in fit.bic.items() if name != fit.best]
    return f"{others[0][0]} +{others[0][1]:.1f}" if others else "–"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:+.1f} %"


def _engine(made: Calibration) -> list[str]:
    """The lines about failures, the engine's own time, warm-up and order."""
    return [*_failures(made), *_overhead(made), *map(_warm_up, made.warm_ups), *_order(made)]


def _failures(made: Calibration) -> list[str]:
    if not made.failing:
        calls = len(made.record.calls)
        # None of n calls: with 95 % the share is below that at which (1 - share)^n is 5 %.
        most = 100 * -math.expm1(math.log(0.05) / calls)
        return [f"failures: none of {counted(calls, 'call')}, so at most {most:.2g} % fail"]
    lines = []
    for one in made.failing:
        shares = ", ".join(
            f"{kind.replace('_', '-')} {100 * count / one.calls:.2f} % ({count:,})"
            for kind, count in one.counts.items()
        )
        lines.append(f"failures of {printable(one.column)}: {shares} of {one.calls:,} calls")
    return lines


def _overhead(made: Calibration) -> list[str]:
    over = made.overhead
    if not over.known:
        return ["the engine's own time: not known; the file does not tell when calls were ready"]
    lines = []
    if over.start_s or over.end_s:
        lines.append(
            f"scheduler: {1000 * over.start_s:.3g} ms for each start, "
            f"{1000 * over.end_s:.3g} ms for each end, one after the other"
        )
    if over.gaps_s:
        gaps = ", ".join(
            f"{printable(name)} {1000 * gap:.3g} ms" for name, gap in over.gaps_s.items()
        )
        lines.append(
            f"gap: from a free place and inputs that are there to the start: {gaps}; "
            "the seconds above hold it"
        )
    return lines or ["the engine's own time: none; calls start when they can"]


def _warm_up(one: WarmUp) -> str:
    first = (
        f"warm-up of {printable(one.resource)}: the first {counted(one.calls, 'call')} took "
        f"{100 * abs(one.slower):.1f} % {'more' if one.slower > 0 else 'less'} than later ones "
        f"(p {one.p_value:.2g})"
    )
    if one.first_s:
        return f"{first}: cold_start of {one.first_s:.4g} s"
    return f"{first}: no cold start is shown"


def _order(made: Calibration) -> list[str]:
    found = made.dispatch
    if not found.starts:
        return []
    names = sorted(found.agreement, key=lambda name: -found.agreement[name])
    shares = ", ".join(f"{name} {100 * found.agreement[name]:.0f} %" for name in names)
    return [
        f"order: {found.order}; of {counted(found.starts, 'start')} with a choice an order would "
        f"have made: {shares}"
    ]


def _sentences(head: str, sentences: Iterable[str]) -> list[str]:
    found = [f"  {printable(sentence)}" for sentence in sentences]
    return ["", head, *found] if found else []


# What it predicts


def _prediction(file: str, data: Mapping[str, Any], figures: Sequence[Predicted]) -> list[str]:
    limits = ", ".join(
        f"{counted(limit, 'call')} of {printable(name)} at once"
        for name, limit in data["limits"].get("resources", {}).items()
        if isinstance(limit, int)
    )
    size = counted(data["rows"], "row") + (f", {limits}" if limits else "")
    if not figures:
        return [f"predicted for {printable(file)} ({size}): nothing; it has no times to compare"]
    runs = figures[0].predicted.runs
    rows = [["", "recorded", "predicted", "±", "off", "95 % of records", ""]]
    for one in figures:
        values = [one.recorded, one.predicted.mean, one.predicted.half_width, one.low, one.high]
        recorded, mean, half, low, high = decimals(values)
        reach = "–" if one.low is None else f"{low} to {high}"
        rows.append(
            [printable(one.figure), recorded, mean, half, _percent(one.error), reach, _verdict(one)]
        )
    notes = []
    if any(one.too_wide for one in figures):
        notes.append(
            "too wide to tell: nearly any record would lie in such an interval; a record of more "
            "calls makes it narrower"
        )
    return [
        f"predicted for {printable(file)} ({size}), from {counted(runs, 'run')}:",
        *table_lines(rows, left=(0, 6)),
        *notes,
    ]


def _verdict(one: Predicted) -> str:
    """What a figure's interval says of the record."""
    if one.holds is None:
        return "one run"
    if one.alike:
        return "not to be trusted"
    if one.too_wide:
        return "holds, too wide to tell"
    return "holds" if one.holds else "does not hold"


# JSON


def _data(made: Calibration, source: str, predictions: Predictions) -> dict[str, Any]:
    record, over = made.record, made.overhead
    return {
        "source": source,
        "kind": record.source,
        "engine": record.engine,
        "calls": len(record.calls),
        "columns": [
            {
                "column": one.column,
                "per_row_s": one.per_row_s,
                "alike": None if one.alike is None else tidy(one.alike),
                "seconds": None if one.seconds is None else _fit_data(one.seconds),
                "prompt_tokens": None if one.tokens is None else _fit_data(one.tokens[0]),
                "output_tokens": None if one.tokens is None else _fit_data(one.tokens[1]),
            }
            for one in made.columns
        ],
        "failures": [
            {
                "column": one.column,
                "calls": one.calls,
                "counts": dict(one.counts),
                "timeout_s": one.timeout_s,
                "mean_s": None if one.seconds is None else tidy(one.seconds),
            }
            for one in made.failing
        ],
        "overhead": {
            "known": over.known,
            "start_s": tidy(over.start_s),
            "end_s": tidy(over.end_s),
            "gaps_s": {name: tidy(gap) for name, gap in over.gaps_s.items()},
            "long_starts": over.long_starts,
            "long_s": tidy(over.long_s),
        },
        "warm_up": [
            {
                "resource": one.resource,
                "calls": one.calls,
                "slower": tidy(one.slower),
                "p_value": tidy(one.p_value),
                "first_s": tidy(one.first_s),
            }
            for one in made.warm_ups
        ],
        "order": {
            "starts": made.dispatch.starts,
            "taken": made.dispatch.order if made.dispatch.starts else None,
            "agreement": {k: tidy(v) for k, v in made.dispatch.agreement.items()},
        },
        "lacks": record.lacks,
        "not_fitted": record.left_out,
        "remarks": made.remarks,
        "predictions": [
            {
                "record": file,
                "rows": other["rows"],
                "limits": other["limits"],
                "figures": list(map(_figure_data, figures)),
                "no_makespan": no_makespan or None,
            }
            for file, (other, figures, no_makespan) in predictions.items()
        ],
        "scenario": made.scenario,
    }


def _fit_data(fit: Fit) -> dict[str, Any]:
    return {
        "model": fit.model,
        "calls": fit.calls,
        "mean": tidy(fit.mean),
        "ks_distance": tidy(fit.distance),
        "p_value": None if fit.p_value is None else tidy(fit.p_value),
        "bic": {name: tidy(value) for name, value in fit.bic.items()},
        "best": fit.best or None,
        "quantile_errors": {f"{share:g}": tidy(off) for share, off in fit.errors.items()},
    }


def _figure_data(one: Predicted) -> dict[str, Any]:
    return {
        "figure": one.figure,
        "recorded": tidy(one.recorded),
        "predicted": one.predicted.mean,
        "half_width": one.predicted.half_width,
        "runs": one.predicted.runs,
        "low": None if one.low is None else tidy(one.low),
        "high": None if one.high is None else tidy(one.high),
        "error": None if one.error is None else tidy(one.error),
        "holds": one.holds,
        "too_wide": one.too_wide,
        "trusted": not one.alike,
    }
