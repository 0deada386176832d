"""The words of ``cellspec run --replications``: a table, JSON, CSV, and the files of ``--out``.

The table shows the figures that decide (`sim.experiments.deciding`), JSON and CSV all that are
numbers. Figures have the names that ``--figure`` and the sheet of a single run give them; their
units are at the end of the names.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cellspec.text import counted
from sim.experiments.intervals import LEVEL, Mean, Quantile, least_runs
from sim.experiments.replicated import SHARES, Replicated, RunFigure
from sim.experiments.stopping import Precision, Stopping
from sim.output.manifest import manifest_text
from sim.output.result_data import csv_lines
from sim.output.result_table import decimals, integers, printable, table
from sim.scenario.scenario import Scenario

__all__ = ["OUT_FILES", "files_of_runs", "render_runs"]

OUT_FILES = ("scenario.yaml", "manifest.json", "result.json", "fingerprint.txt", "runs.csv")
"""The names of the files that ``--out`` writes."""

_QUANTILES = tuple(f"p{100 * share:g}" for share in SHARES)


def render_runs(made: Replicated, rule: Stopping, form: str) -> str:
    """The figures of all runs as a table, as JSON, or as CSV.

    Args:
        made: the runs.
        rule: by which they ended.
        form: "table", "json" or "csv".
    """
    if form == "json":
        return json.dumps(_data(made, rule), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return _csv(made) if form == "csv" else _table(made, rule)


def files_of_runs(
    scenario: Scenario, made: Replicated, rule: Stopping, folder: Path
) -> dict[str, str]:
    """The text of each of `OUT_FILES`.

    Args:
        scenario: what was run.
        made: its runs.
        rule: by which they ended.
        folder: where the files will stand.
    """
    first = made.runs[0].figures
    return {
        "scenario.yaml": scenario.with_seed(made.runs[0].seed).to_yaml(folder),
        "manifest.json": manifest_text(
            intervals=True,
            scenario_digest=str(first["scenario_digest"]),
            seed=made.runs[0].seed,
            runs=len(made.runs),
            checked=bool(first["checked"]),
            fingerprint=made.fingerprint,
        ),
        "result.json": render_runs(made, rule, "json"),
        "fingerprint.txt": made.fingerprint + "\n",
        "runs.csv": csv_lines([run.figures for run in made.runs]),
    }


# The table


def _table(made: Replicated, rule: Stopping) -> str:
    first, last = made.runs[0], made.runs[-1]
    shown = made.figures()[: len(made.shown)]
    seeds = (
        f"seeds {first.seed} to {last.seed}" if len(made.runs) > 1 else f"one seed ({first.seed})"
    )
    enough = [len(made.runs) >= least_runs(share) for share in SHARES]
    lines = [
        f"{printable(str(first.figures['name']))}: {counted(len(made.runs), 'run')}, {seeds}",
        "",
        *_mean_table(shown),
    ]
    if any(enough):
        lines += ["", *_quantile_table(shown, enough)]
    notes = [
        f"{name} over runs: not determined; an interval of it takes {least_runs(share)} runs"
        for name, share, is_enough in zip(_QUANTILES, SHARES, enough, strict=True)
        if not is_enough
    ]
    notes += [
        f"{figure.name}: {counted(figure.lacking, 'run')} had none, so there is no mean of all"
        for figure in shown
        if figure.lacking
    ]
    if made.is_alike:
        notes.append("every run has the same figures: no draw of the scenario depends on the seed")
    if isinstance(rule, Precision):
        notes.append(precision_words(made.figure, made.reached, made.is_met, rule))
    verdict = str(first.figures["verdict"])
    if not first.figures["checked"]:
        verdict += ": clauses of time were off"
    digest = first.figures["scenario_digest"]
    lines += [
        "",
        *notes,
        *[""] * bool(notes),
        verdict,
        f"fingerprint {made.fingerprint}  scenario {digest} with seed {first.seed}",
    ]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def precision_words(figure: str, reached: Mean, is_met: bool, rule: Precision) -> str:
    """What became of a wish for a narrow interval, in a sentence.

    Args:
        figure: that it is about.
        reached: the last interval.
        is_met: whether it is as narrow as was wished.
        rule: the wish.
    """
    wished, runs = f"± {_percent(rule.half_width)}", counted(reached.runs, "run")
    if reached.relative is None:
        why = "one run has no interval" if reached.runs < 2 else "the mean is 0"
        return f"{figure}: {wished} was wished, and not reached with {runs}: {why}"
    if is_met:
        return f"{figure}: {wished} was wished; reached ± {_percent(reached.relative)} with {runs}"
    enough = rule.runs_wanted(reached) or 0
    return (
        f"{figure}: {wished} was wished; reached ± {_percent(reached.relative)} with {runs}, the "
        f"most that were allowed; --most {_rounded(enough):,} may be enough"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _rounded(runs: int) -> int:
    """A number of runs that is only an estimate, rounded up to two digits."""
    step = int(10 ** max(len(str(runs)) - 2, 0))
    return -(-runs // step) * step


def _mean_table(figures: Sequence[RunFigure]) -> list[str]:
    rows = [_line(figure) for figure in figures]
    shares = [None if figure.mean is None else figure.mean.relative for figure in figures]
    labels = ("mean", f"± ({100 * LEVEL:g} %)", "sd", "least", "greatest")
    columns = [(label, [row[place] for row in rows]) for place, label in enumerate(labels)]
    percent = ["–" if share is None else f"{100 * share:.2g}" for share in shares]
    names = [printable(figure.name) for figure in figures]
    return table([("figure", names), *columns[:2], ("± %", percent), *columns[2:]], words=1)


def _line(figure: RunFigure) -> list[str]:
    """The figures of a line, which have a unit in common, and so many decimals."""
    mean = figure.mean
    parts = (None,) * 3 if mean is None else (mean.mean, mean.half_width, mean.sd)
    return _aligned([*parts, figure.least, figure.greatest])


def _aligned(values: Sequence[float | None]) -> list[str]:
    """Figures of one unit, with as many decimals each; none if all of them are whole."""
    whole = all(value is None or value == int(value) for value in values)
    return (
        integers([None if value is None else int(value) for value in values])
        if whole
        else decimals(values)
    )


def _quantile_table(figures: Sequence[RunFigure], enough: Sequence[bool]) -> list[str]:
    """Of each quantile that the runs are enough for, the estimate and the interval."""
    columns: list[tuple[str, list[str]]] = [("over runs", [printable(one.name) for one in figures])]
    for place, name in enumerate(_QUANTILES):
        if enough[place]:
            found = [_quantile(figure.quantiles[place]) for figure in figures]
            columns.append((name, [value for value, _ in found]))
            columns.append((f"{100 * LEVEL:g} % interval", [interval for _, interval in found]))
    return table(columns, words=1)


def _quantile(found: Quantile | None) -> tuple[str, str]:
    if found is None:
        return "–", "–"
    value, low, high = _aligned([found.value, found.low, found.high])
    return value, f"{low} to {high}"


# For programs


def _data(made: Replicated, rule: Stopping) -> dict[str, Any]:
    first = made.runs[0]
    precision = None
    if isinstance(rule, Precision):
        precision = {
            "figure": made.figure,
            "half_width": rule.half_width,
            "most_runs": rule.most_runs,
            "reached": made.reached.relative,
            "met": made.is_met,
        }
    return {
        "name": first.figures["name"],
        "scenario_digest": first.figures["scenario_digest"],
        "runs": len(made.runs),
        "first_seed": first.seed,
        "level": LEVEL,
        "precision": precision,
        "checked": first.figures["checked"],
        "verdict": first.figures["verdict"],
        "fingerprint": made.fingerprint,
        "figures": [_nested(figure) for figure in made.figures()],
    }


def _nested(figure: RunFigure) -> dict[str, Any]:
    quantiles = {
        name: None if one is None else {key: asdict(one)[key] for key in ("value", "low", "high")}
        for name, one in zip(_QUANTILES, figure.quantiles, strict=True)
    }
    mean = figure.mean
    return {
        "figure": figure.name,
        "lacking": figure.lacking,
        "mean": None if mean is None else mean.mean,
        "half_width": None if mean is None else mean.half_width,
        "sd": None if mean is None else mean.sd,
        "least": figure.least,
        "greatest": figure.greatest,
        **quantiles,
    }


def _csv(made: Replicated) -> str:
    """A header, and a line for each figure; what is not determined is empty."""
    lines = []
    for figure in made.figures():
        fields = _nested(figure)
        line = {"figure": fields.pop("figure"), "runs": len(made.runs), **fields}
        for name in _QUANTILES:
            found = line.pop(name) or dict.fromkeys(("value", "low", "high"))
            line |= {
                name: found["value"],
                f"{name}_low": found["low"],
                f"{name}_high": found["high"],
            }
        lines.append(line)
    return csv_lines(lines)
