"""The words of ``cellspec compare``: a table with a verdict for each figure, JSON and CSV."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cellspec.text import counted, noun, table_lines
from sim.experiments.compared import Compared, Comparison, Outcomes, as_share
from sim.experiments.experiment import Experiment
from sim.experiments.intervals import LEVEL, Mean
from sim.experiments.replication import fingerprint_of
from sim.experiments.stopping import Precision
from sim.output.manifest import manifest_text
from sim.output.result_data import csv_lines
from sim.output.result_table import printable
from sim.output.uncertain import apart, estimated, known, percent, rounded, telling
from sim.results import NOT_CHECKED, SATISFIED
from sim.scenario.scenario import Scenario

__all__ = [
    "OUT_FILES",
    "Report",
    "files_of_compare",
    "gain_words",
    "render_compare",
    "verdict_words",
]

_GAIN_SHOWN = 1e6

_SETTINGS, _LONGEST = 10, 60
"""So many settings are shown, and so many characters of each value."""


@dataclass(frozen=True, slots=True)
class Report:
    """What is said of a comparison.

    Attributes:
        found: the comparison.
        a, b: how the user names each scenario: its file, and the settings for it alone.
        figure: the one of the headline.
        precision: what was wished; None for a number of pairs.
    """

    found: Comparison
    a: str
    b: str
    figure: str
    precision: Precision | None = None


def render_compare(report: Report, form: str) -> str:
    """The comparison as a table, as JSON, or as CSV."""
    if form == "json":
        return json.dumps(_data(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if form == "csv":
        return _csv(report.found)
    return "".join(f"{line.rstrip()}\n" for line in _lines(report))


def _lines(report: Report) -> list[str]:
    found = report.found
    lines = [
        f"A  {printable(report.a)}",
        f"B  {printable(report.b)}",
        _of_seeds(found),
        *_settings(found),
        *_chance(found),
        "",
        _headline(report),
    ]
    if not found.identical:
        lines += ["", *_table(report), *_identical(report)]
        lines += [_of_outcomes(one) for one in found.outcomes if not one.identical]
    lines += _only("A", found.only_a) + _only("B", found.only_b)
    if found.is_alike and not found.identical:
        lines.append("every pair has the same figures: no draw of A or B depends on the seed")
    verdict = SATISFIED if found.checked else f"{NOT_CHECKED}: clauses of time were off"
    return [*lines, "", *_meaning(report), verdict]


def _of_seeds(found: Comparison) -> str:
    pairs = counted(found.pairs, "pair")
    seeds_a, seeds_b = (
        f"{first:,} to {first + found.pairs - 1:,}"
        for first in (found.first_seed_a, found.first_seed_b)
    )
    if not found.independent:
        return f"{pairs} of runs on common random numbers: seeds {seeds_a}"
    return f"{pairs} of independent runs: seeds {seeds_a} of A, {seeds_b} of B"


def _chance(found: Comparison) -> list[str]:
    if not found.same_scenario or found.identical:
        return []
    return ["A and B are the same scenario: whatever differs is chance"]


def _settings(found: Comparison) -> list[str]:
    lines = [
        f"setting {printable(one.name)}: A {_plain(one.a)}, B {_plain(one.b)}"
        for one in found.settings[:_SETTINGS]
    ]
    more = len(found.settings) - _SETTINGS
    return [*lines, f"{counted(more, 'more setting')}: --format json"] if more > 0 else lines


def _plain(value: Any) -> str:
    """A value in a line."""
    if value is None:
        return "none"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,}"
    text = printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _headline(report: Report) -> str:
    found = report.found
    if found.identical:
        figures = len(found.figures) + len(found.outcomes)
        words = f"all {figures} figures are equal in each of {counted(found.pairs, 'pair')}"
        same = "; A and B are the same scenario" if found.same_scenario else ""
        return f"identical: {words}{same}"
    one = found.of(report.figure)
    words = f"{printable(one.figure)}: {verdict_words(one, found.pairs)}"
    gain = None if found.independent or one.found is None else one.found.gain
    if gain is not None:
        words += f"; gain {gain_words(gain)}"
    return f"{words}{_of_precision(report, one)}"


def _of_precision(report: Report, one: Compared) -> str:
    wished = report.precision
    if wished is None:
        return ""
    if one.found is None:
        return f"\nprecision: {percent(wished.half_width)} of A's mean wished, not reached"
    half = one.found.relative_half_width
    if half is None and not wished.is_met(as_share(one)):
        return f"\nprecision: {percent(wished.half_width)} of A's mean wished, which is 0"
    reached = percent(half or 0.0)
    words = f"\nprecision: {percent(wished.half_width)} of A's mean wished, {reached} reached"
    share = as_share(one)
    if wished.is_met(share):
        return words
    enough = wished.runs_wanted(share)
    return f"{words}, at the cap" + (
        f"; --most {estimated(enough)} may be enough" if enough else ""
    )


def verdict_words(one: Compared, pairs: int) -> str:
    """What the runs show of a figure: "B lower by 4.2 % ± 0.3 %"."""
    verdict = one.verdict
    if verdict == "lacking" or one.found is None:
        if one.identical:
            return "identical"
        return "; ".join(
            f"{lacking} of {counted(pairs, 'run')} of {name} {noun(lacking, 'has', 'have')} none"
            for name, lacking in (("A", one.lacking_a), ("B", one.lacking_b))
            if lacking
        )
    share, half = one.found.relative, one.found.relative_half_width
    if verdict == "identical":
        return verdict
    if verdict == "no difference shown":
        around = one.found.difference.half_width
        if share is None or around is None:
            return verdict
        # The interval of the difference itself, which holds zero; that of the share may not.
        by = 100 * around / abs(one.found.a.mean)
        low, high = rounded(100 * share - by, 100 * share + by, by=by, more=1)
        return f"{verdict} ({low} % to {high} %)"
    if share is None or half is None or abs(share) <= half:
        # A's mean is 0, or is known less well than the difference: its share says too little.
        difference = one.found.difference
        size, width = apart(abs(difference.mean), difference.half_width or 0.0)
        return f"B {verdict} by {size} ± {width}"
    size, width = apart(100 * abs(share), 100 * half)
    return f"B {verdict} by {size} % ± {width} %"


def gain_words(gain: float) -> str:
    """How many times as many independent runs it would take: "35 x"."""
    if gain > _GAIN_SHOWN:
        return f"> {_GAIN_SHOWN:,.0f} x"
    return f"{gain:.1f} x" if gain < 10 else f"{float(f'{gain:.2g}'):,.0f} x"


def _table(report: Report) -> list[str]:
    found = report.found
    lines = [["figure", "A", "B", "B - A", "±", "gain", "verdict"]]
    for one in _shown(report):
        numbers = ["–"] * 4
        gain = None
        if one.found is not None:
            difference, gain = one.found.difference, one.found.gain
            numbers = _numbers(
                one.found.a.mean, one.found.b.mean, difference.mean, difference.half_width
            )
        lines.append(
            [
                printable(one.figure),
                *numbers,
                "–" if gain is None or found.independent else gain_words(gain),
                verdict_words(one, found.pairs),
            ]
        )
    return table_lines(lines, left=(0, 6))


def _numbers(a: float, b: float, difference: float, half: float | None) -> list[str]:
    """A line of the table, with two digits of the half-width, or as many as the verdict takes."""
    return known([a, b, difference, half], half, more=telling(difference, half or 0.0, 1))


def _shown(report: Report) -> list[Compared]:
    """The figure of the headline, and those that decide most, where they differ."""
    found = report.found
    names = [name for name in found.shown if name != report.figure]
    rest = [one for one in map(found.of, names) if one.verdict != "identical"]
    return [found.of(report.figure), *rest]


def _identical(report: Report) -> list[str]:
    """The deciding figures that are equal, and where the others are."""
    found = report.found
    same = [name for name in found.shown if found.of(name).verdict == "identical"]
    lines = [f"identical: {', '.join(map(printable, same))}"] if same else []
    more = len({one.figure for one in found.figures} - {*found.shown, report.figure})
    return [*lines, f"{counted(more, 'more figure')}: --format json, or csv"] if more else lines


def _of_outcomes(one: Outcomes) -> str:
    def words(runs: Mapping[str, int]) -> str:
        return ", ".join(f"{printable(word)} {count:,}" for word, count in runs.items())

    return f"{printable(one.figure)}: A {words(one.a)}; B {words(one.b)}"


def _only(name: str, figures: Sequence[str]) -> list[str]:
    """The figures of one scenario alone: those of one pipeline, or of one resource, as one."""
    counts: dict[str, int] = {}
    for figure in figures:
        # The names of pipelines and resources may hold points.
        owner = _pipeline(figure, figures) or figure.rpartition(".")[0] or figure
        counts[owner] = counts.get(owner, 0) + 1
    if not counts:
        return []
    words = (f"{printable(part)} ({counted(number, 'figure')})" for part, number in counts.items())
    return [f"only in {name}: {', '.join(words)}"]


def _pipeline(figure: str, figures: Sequence[str]) -> str | None:
    """The pipeline of a figure; None for one that is of none, or of one that both have."""
    owners = (one.removesuffix(".makespan_s") for one in figures if one.endswith(".makespan_s"))
    return next((owner for owner in owners if figure.startswith(f"{owner}.")), None)


def _meaning(report: Report) -> list[str]:
    if report.found.identical:
        return []
    lines = [
        f"±: the true difference is within it in {percent(LEVEL)} of comparisons, for each figure "
        "by itself;",
        "   of twenty figures without any difference one shows a difference on average.",
        "%: of A's mean.",
    ]
    if not report.found.independent:
        lines.append("gain: so many times as many independent runs would give an equal interval.")
    return lines


# For programs


def _mean(found: Mean) -> dict[str, float | None]:
    return {"mean": found.mean, "sd": found.sd, "half_width": found.half_width}


def _figure(one: Compared) -> dict[str, Any]:
    found = one.found
    data: dict[str, Any] = {"figure": one.figure, "verdict": one.verdict}
    data |= {"lacking_a": one.lacking_a, "lacking_b": one.lacking_b}
    if found is None:
        return data
    return data | {
        "a": _mean(found.a),
        "b": _mean(found.b),
        "difference": _mean(found.difference),
        "relative": found.relative,
        "relative_half_width": found.relative_half_width,
        "gain": found.gain,
    }


def _data(report: Report) -> dict[str, Any]:
    found, wished = report.found, report.precision
    data: dict[str, Any] = {
        "a": report.a,
        "b": report.b,
        "pairs": found.pairs,
        "first_seed_a": found.first_seed_a,
        "first_seed_b": found.first_seed_b,
        "common_random_numbers": not found.independent,
        "level": LEVEL,
        "checked": found.checked,
        "identical": found.identical,
        "same_scenario": found.same_scenario,
        "figure": report.figure,
        "verdict": found.of(report.figure).verdict,
    }
    if wished is not None:
        one = found.of(report.figure)
        data["precision"] = {
            "half_width": wished.half_width,
            "most_runs": wished.most_runs,
            "met": wished.is_met(as_share(one)),
        }
    return data | {
        "settings": [{"name": one.name, "a": one.a, "b": one.b} for one in found.settings],
        "figures": [_figure(one) for one in found.figures],
        "outcomes": [
            {"figure": one.figure, "a": one.a, "b": one.b, "identical": one.identical}
            for one in found.outcomes
        ],
        "only_a": list(found.only_a),
        "only_b": list(found.only_b),
    }


def _csv(found: Comparison) -> str:
    """A line for each number that both scenarios have."""
    lines = []
    for one in found.figures:
        data = _figure(one)
        flat: dict[str, Any] = {"figure": one.figure, "pairs": found.pairs}
        for part in ("a", "b", "difference"):
            mean = data.get(part, {})
            flat[f"{part}_mean" if part != "difference" else part] = mean.get("mean")
            flat[f"{part}_half_width" if part != "difference" else "half_width"] = mean.get(
                "half_width"
            )
        for name in ("relative", "relative_half_width", "gain", "lacking_a", "lacking_b"):
            flat[name] = data.get(name)
        lines.append(flat | {"verdict": one.verdict})
    return csv_lines(lines)


OUT_FILES: Final = (
    "a.yaml",
    "b.yaml",
    "manifest.json",
    "comparison.json",
    "comparison.csv",
    "runs.csv",
)
"""The names of the files that ``--out`` writes."""


def files_of_compare(
    report: Report, a: Scenario, b: Scenario, made: Experiment, folder: Path
) -> dict[str, str]:
    """The text of each of `OUT_FILES`.

    Args:
        report: what is said.
        a, b: the scenarios.
        made: their runs.
        folder: where the files will stand.
    """
    runs = [
        {"scenario": name, **run.figures}
        for name, all_runs in zip("AB", made.runs, strict=True)
        for run in all_runs
    ]
    return {
        "a.yaml": a.to_yaml(folder),
        "b.yaml": b.to_yaml(folder),
        "manifest.json": _manifest(report.found, made),
        "comparison.json": render_compare(report, "json"),
        "comparison.csv": render_compare(report, "csv"),
        "runs.csv": csv_lines(runs),
    }


def _manifest(found: Comparison, made: Experiment) -> str:
    inputs: dict[str, object] = {}
    for letter, runs in zip("ab", made.runs, strict=True):
        inputs[f"scenario_digest_{letter}"] = runs[0].figures["scenario_digest"]
        inputs[f"first_seed_{letter}"] = runs[0].seed
        inputs[f"fingerprint_{letter}"] = fingerprint_of(runs)
    return manifest_text(intervals=True, **inputs, pairs=found.pairs, checked=found.checked)
