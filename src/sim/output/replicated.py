"""The words of ``cellspec run --replications``: a table, JSON, CSV, and the files of ``--out``.

The table shows the figures that decide (`sim.experiments.deciding`), JSON and CSV all that are
numbers. Figures have the names that ``--figure`` and the sheet of a single run give them; their
units are at the end of the names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cellspec.text import counted, noun
from sim.experiments.intervals import LEVEL, NO_MEAN, Quantile, least_runs
from sim.experiments.replicated import SHARES, Replicated, RunFigure
from sim.experiments.stopping import Precision, Stopping
from sim.output.manifest import manifest_text
from sim.output.result_data import csv_lines
from sim.output.result_table import printable, table
from sim.output.uncertain import estimated, known, percent, significant
from sim.scenario.scenario import Scenario

__all__ = ["files_of_runs", "render_runs"]

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
    """The text of each of `sim.output.run.OUT_FILES`.

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
    notes += [
        _of_outcome(name, found) for name, found in made.outcomes().items() if _is_news(found)
    ]
    if made.is_alike:
        notes.append("every run has the same figures: no draw of the scenario depends on the seed")
    if isinstance(rule, Precision):
        notes.append(precision_words(made, rule))
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


def _is_news(outcomes: Mapping[str, int]) -> bool:
    """Whether a run ended in another way than it was to."""
    return set(outcomes) != {"success"}


def _of_outcome(name: str, outcomes: Mapping[str, int]) -> str:
    """How the runs ended; the mean of a time says little where some of them were cut short."""
    if len(outcomes) == 1:
        return f"{printable(name)}: {next(iter(outcomes))} in every run"
    words = ", ".join(f"{word} in {counted(runs, 'run')}" for word, runs in outcomes.items())
    return f"{printable(name)}: {words}; the figures are of all of them together"


def precision_words(made: Replicated, rule: Precision) -> str:
    """What became of a wish for a narrow interval, in a sentence."""
    figure, reached = printable(made.figure), made.reached
    wished, runs = f"± {percent(rule.half_width)}", counted(len(made.runs), "run")
    if reached.relative is None:
        why = "the mean is 0" if reached.runs > 1 else "one run has no interval"
        if reached == NO_MEAN:
            lacking = sum(run.value(made.figure) is None for run in made.runs)
            why = f"{lacking:,} of them {noun(lacking, 'has', 'have')} none"
        return f"{figure}: {wished} was wished, and not reached with {runs}: {why}"
    if made.is_met and reached.relative == 0:
        return (
            f"{figure}: {wished} was wished; all {runs} have the same; of what comes less often "
            "than in one of so many they say nothing"
        )
    if made.is_met:
        return f"{figure}: {wished} was wished; reached ± {percent(reached.relative)} with {runs}"
    enough = rule.runs_wanted(reached) or 0
    return (
        f"{figure}: {wished} was wished; reached ± {percent(reached.relative)} with {runs}, the "
        f"most that were allowed; --most {estimated(enough)} may be enough"
    )


def _mean_table(figures: Sequence[RunFigure]) -> list[str]:
    rows = [_line(figure) for figure in figures]
    shares = [None if figure.mean is None else figure.mean.relative for figure in figures]
    labels = ("mean", f"± ({100 * LEVEL:g} %)", "sd", "least", "greatest")
    columns = [(label, [row[place] for row in rows]) for place, label in enumerate(labels)]
    percents = ["–" if share is None else significant(100 * share, 2) for share in shares]
    names = [printable(figure.name) for figure in figures]
    return table([("figure", names), *columns[:2], ("± %", percents), *columns[2:]], words=1)


def _line(figure: RunFigure) -> list[str]:
    """The figures of a line, which have a unit in common, and so many decimals."""
    mean = figure.mean
    parts = (None,) * 3 if mean is None else (mean.mean, mean.half_width, mean.sd)
    return known(parts, _finest(figure)) + _of_runs([figure.least, figure.greatest], figure)


def _of_runs(values: Sequence[float | None], figure: RunFigure) -> list[str]:
    """Figures that single runs had: without decimals where all of them are whole."""
    whole = all(value is None or value == int(value) for value in values)
    return known(values, None if whole else _finest(figure))


def _finest(figure: RunFigure) -> float | None:
    """The smaller one of half-width and deviation: the digits of either are worth showing."""
    mean = figure.mean
    if mean is None or mean.half_width is None or mean.sd is None:
        return None
    return min(mean.half_width, mean.sd)


def _quantile_table(figures: Sequence[RunFigure], enough: Sequence[bool]) -> list[str]:
    """Of each quantile that the runs are enough for, the estimate and the interval."""
    columns: list[tuple[str, list[str]]] = [("over runs", [printable(one.name) for one in figures])]
    for place, name in enumerate(_QUANTILES):
        if enough[place]:
            found = [_quantile(one.quantiles[place], one) for one in figures]
            columns.append((name, [value for value, _ in found]))
            columns.append((f"{100 * LEVEL:g} % interval", [interval for _, interval in found]))
    return table(columns, words=1)


def _quantile(found: Quantile | None, figure: RunFigure) -> tuple[str, str]:
    """A quantile and its interval, each with the decimals that the figure has above."""
    if found is None:
        return "–", "–"
    value, low, high = _of_runs([found.value, found.low, found.high], figure)
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
        "outcomes": [{"figure": name, "runs": found} for name, found in made.outcomes().items()],
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
