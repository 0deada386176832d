"""The words of ``cellspec tune``: what was tried, what was put out and why, and the winner."""

from __future__ import annotations

import csv
import io
import json
import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cellspec.text import counted
from sim.experiments.elimination import Against, Kept, Out, Standing
from sim.experiments.intervals import LEVEL, Difference, Mean
from sim.experiments.tuned import Candidate, Fresh, Stage, Tuned
from sim.output.result_table import decimals, integers, printable, table
from sim.output.uncertain import apart

__all__ = ["Report", "render"]

OWN = "as it is"

_SHOWN = 8
"""Of those that are not told apart from the winner."""


@dataclass(frozen=True, slots=True)
class Report:
    """A search, and what the command line says of it.

    Attributes:
        tuned: what came of it.
        name: of the scenario.
        scenario: the scenario as the command line names it.
        sets: the texts of ``--set``.
        not_searched: a line for each field that was left out, and why.
        remarks: what else a reader is to know.
    """

    tuned: Tuned
    name: str
    scenario: str
    sets: Sequence[str]
    not_searched: Sequence[str]
    remarks: Sequence[str]

    @property
    def command(self) -> str:
        """The command that runs the winner; "" without one."""
        if self.tuned.winner is None:
            return ""
        winner = self.tuned.winner
        sets = [one for one in self.sets if one.partition("=")[0] not in winner]
        sets += [f"{name}={text}" for name, text in winner.items()]
        words = ["cellspec", "run", self.scenario]
        for one in sets:
            words += ["--set", one]
        return shlex.join(words)


def render(report: Report, form: str) -> str:
    """The search as a table, as JSON, or as CSV with a line for each candidate of each stage."""
    return {"table": _table, "json": _json, "csv": _csv}[form](report)


# Text


def _table(report: Report) -> str:
    tuned = report.tuned
    lines = [*_head(report), ""]
    for stage in tuned.stages:
        lines += [*_stage(tuned, stage), ""]
    said = [f"not searched: {one}" for one in report.not_searched]
    said += [f"note: {one}" for one in report.remarks]
    if said:
        lines += [*map(_wrapped, said), ""]
    lines += _winner(report)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _head(report: Report) -> list[str]:
    tuned, effort = report.tuned, report.tuned.effort
    way = "less" if tuned.goal.less_is_better else "more"
    within = "".join(f", {one.figure} at most {_number(one.most)}" for one in tuned.limits)
    how = ""
    if len(tuned.stages[0].fields) > 1:
        how = "; all combinations"
    if tuned.one_at_a_time:
        how = "; one field at a time: combinations that were not tried may be better"
    passes = max((stage.number for stage in tuned.stages), default=1)
    if tuned.one_at_a_time and not tuned.settled:
        how += f"; {counted(passes, 'cycle')}, and the last one still changed something"
    lines = [
        f"{printable(report.name)}: {tuned.goal.name} ({tuned.figure}, {way} is better){within}",
        f"{counted(tuned.tried, 'setting')} tried, each on the seeds 0, 1, …{how}",
        "a candidate is out when its interval shows it to be worse than the best one, or above a "
        f"limit; at most {_percent(effort.error)} of searches put out the best one of a stage",
    ]
    return [_wrapped(line) for line in lines]


def _wrapped(text: str) -> str:
    """A sentence on lines of a terminal."""
    return textwrap.fill(
        text, 98, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _stage(tuned: Tuned, stage: Stage) -> list[str]:
    found = stage.found
    names = ", ".join(one.name for one in stage.fields) or "(nothing)"
    title = names if stage.number == 1 else f"{names}, cycle {stage.number}"
    if stage.base:
        title += f" (with {_settings(stage.base)})"
    means = [one.mean for one in found.standings]
    columns = [
        ("candidate", [_label(stage, one) for one in stage.candidates]),
        ("", [_verdict(tuned, stage, one) for one in found.standings]),
        ("runs", integers([_runs(one) for one in found.standings])),
        (tuned.goal.figure, _means(means)),
        ("±", _halves(means)),
    ]
    for place, limit in enumerate(tuned.limits):
        of_limit = [one.limits[place].mean if one.limits else None for one in found.standings]
        columns += [(limit.figure, _means(of_limit)), ("±", _halves(of_limit))]
    # The words come last, where they may be long.
    columns.append(columns.pop(1))
    lines = table(columns, words=1)
    return [title, *_left_aligned(lines, columns[-1][1]), _ended(tuned, stage)]


def _runs(one: Standing) -> int:
    """How many a candidate had made, whether they have the figure or not."""
    if one.mean is not None:
        return one.mean.runs
    return 0 if one.out is None else one.out.runs


def _means(found: Sequence[Mean | None]) -> list[str]:
    return decimals([None if one is None else one.mean for one in found])


def _halves(found: Sequence[Mean | None]) -> list[str]:
    return decimals([None if one is None else one.half_width for one in found])


def _left_aligned(lines: Sequence[str], words: Sequence[str]) -> list[str]:
    """A table whose last column, of words, begins at one place."""
    width = max(map(len, words), default=0)
    found = [lines[0].rstrip()]
    for line, text in zip(lines[1:], words, strict=True):
        found.append(f"{line[: len(line) - width]}{text}")
    return found


def _label(stage: Stage, candidate: Candidate) -> str:
    """The values that are compared, and what they bring with them."""
    compared = {name for choice in candidate.choices for name in choice.settings}
    more = {
        name: text
        for name, text in candidate.settings.items()
        if name not in compared and stage.base.get(name) != text
    }
    added = _settings(more) or ("" if candidate.changed else OWN)
    return (
        f"{printable(candidate.label or OWN)}{f' ({added})' if candidate.label and added else ''}"
    )


def _verdict(tuned: Tuned, stage: Stage, one: Standing) -> str:
    if one.out is not None:
        text = _out_words(tuned, stage, one.out)
        return f"nearest: {text}" if one.place == stage.chosen else text
    unsure = "".join(f"; {_kept_words(kept)}" for kept in one.limits if kept.meets is None)
    if one.place == stage.chosen:
        return f"best{unsure}"
    if one.against is None:
        return f"left{unsure}"
    against = _difference(one.against, tuned.figure)
    return f"not told apart: {against}{_few(stage, one)}{unsure}"


def _few(stage: Stage, one: Standing) -> str:
    """Why a candidate is left although its difference is shown."""
    if one.against is None or not one.against.found.is_shown or stage.chosen is None:
        return ""
    chosen = stage.found.standings[stage.chosen]
    return "; too few crashes came to put it out" if chosen.saw_few_crashes else ""


def _out_words(tuned: Tuned, stage: Stage, out: Out) -> str:
    after = f"out after {counted(out.runs, 'run')}"
    if out.against is not None:
        other = stage.candidates[out.against.place]
        found = _difference(out.against, tuned.figure)
        return f"{after}: {found} beside {printable(other.label)}"
    if out.limit is not None:
        return f"{after}: {_kept_words(out.limit)}"
    if out.reason == "no figure":
        return f"{after}: a run has no {out.text}"
    return f"{'refused' if not out.runs else after}: {printable(out.text)}"


def _kept_words(kept: Kept) -> str:
    words = {True: "within", False: "above", None: "not shown to be within"}[kept.meets]
    return f"{kept.limit.figure} {_interval(kept.mean)} {words} {_number(kept.limit.most)}"


def _ended(tuned: Tuned, stage: Stage) -> str:
    found = stage.found
    level, runs = (
        _percent(found.level),
        counted(found.sizes[-1], "run") if found.sizes else "no run",
    )
    left = len(found.left())
    precision = _percent(tuned.effort.precision)
    said = {
        "one left": f"{'one' if left else 'none'} is left after {runs}",
        "precise": f"after {runs} none of those left can be better by more than {precision}",
        "cap": f"the cap of {runs} was reached before {precision} could be told apart",
    }[found.ended]
    what = "limits and differences" if tuned.limits else "differences"
    text = f"{said}; {what} have intervals of {level}"
    if found.held is not None:
        other, before = stage.candidates[found.held.place], stage.candidates[found.chosen or 0]
        text += (
            f"\n{printable(before.label)} was chosen before, with more runs, and stays: in all of "
            f"them {printable(other.label)} is {_difference(found.held, tuned.figure)}"
        )
    return text


def _winner(report: Report) -> list[str]:
    tuned = report.tuned
    if tuned.winner is None:
        without = any(
            one.out is not None and one.out.reason == "no figure"
            for stage in tuned.stages
            for one in stage.found.standings
        )
        if without:
            return [
                "no winner: no candidate has every figure that is asked for in each of its runs"
            ]
        return ["no winner: no candidate can be run"]
    title = "no candidate keeps the limits; the nearest" if tuned.breaks_limits else "winner"
    lines = [f"{title}: {_settings(tuned.winner) or f'the scenario {OWN}'}"]
    if tuned.fresh is not None:
        lines += _fresh(tuned, tuned.fresh)
    beside = list(_beside(tuned))
    if beside:
        lines.append("not told apart from it:")
        lines += [f"  {name}  {words}" for name, words in beside[:_SHOWN]]
        if len(beside) > _SHOWN:
            lines.append(f"  and {len(beside) - _SHOWN:,} more, as above")
    lines += _crashes(tuned)
    lines += _ends_of_ladders(tuned)
    lines += _formulas(tuned)
    lines += [f"{_title_of_command(tuned)}:", f"  {report.command}"]
    return lines


def _title_of_command(tuned: Tuned) -> str:
    """What the command runs: an answer, or only the best that there is."""
    limits = "the limit" if len(tuned.limits) == 1 else "the limits"
    if tuned.breaks_limits:
        return f"the nearest, which breaks {limits}"
    if not tuned.keeps_limits:
        return f"run it, though it is not shown to keep {limits}"
    return "run it"


def _fresh(tuned: Tuned, fresh: Fresh) -> Iterator[str]:
    """What runs with fresh seeds say of the winner."""
    if fresh.error:
        yield _wrapped(f"  with a fresh seed it cannot be run: {printable(fresh.error)}")
        return
    last = fresh.first_seed + fresh.runs - 1
    runs = counted(fresh.runs, "run")
    yield f"  on {runs} with seeds that chose nothing, {fresh.first_seed} to {last}"
    rows = []
    if fresh.best is None:
        rows.append((tuned.goal.figure, "a run has none"))
    else:
        rows.append((tuned.goal.figure, f"{_interval(fresh.best)} ({_percent(LEVEL)})"))
    if fresh.own is not None:
        rows.append((OWN, _interval(fresh.own)))
    if fresh.gain is not None:
        shown = "" if fresh.gain.is_shown else ": no difference shown"
        gain = _difference(Against(0, fresh.gain), tuned.figure)
        rows.append(("difference", f"{gain}{shown}"))
    if fresh.makespan_s is not None:
        rows.append(("makespan_s", _interval(fresh.makespan_s)))
    for kept in fresh.keeps:
        over = f"above it in {kept.over:,} of {counted(kept.mean.runs, 'run')}"
        rows.append(("limit", f"{_kept_words(kept)}; {over}"))
    width = max(len(label) for label, _ in rows)
    yield from (f"  {label:<{width}}  {text}" for label, text in rows)


def _beside(tuned: Tuned) -> Iterator[tuple[str, str]]:
    """Of each field what is left beside the winner."""
    for stage in tuned.last_stages():
        for candidate, standing in stage.beside():
            if standing.against is not None:
                settings = _settings(candidate.settings) or f"the scenario {OWN}"
                if tuned.one_at_a_time:
                    settings = f"{stage.fields[0].name}={printable(candidate.label)}"
                against = _difference(standing.against, tuned.figure)
                yield settings, f"{against}{_few(stage, standing)}"


def _crashes(tuned: Tuned) -> Iterator[str]:
    """A line if the winner met too few crashes."""
    stage = tuned.stages[-1]
    if stage.chosen is None:
        return
    one = stage.found.standings[stage.chosen]
    if one.saw_few_crashes and one.mean is not None:
        yield _wrapped(
            f"a crash came in {one.crashed} of {counted(one.mean.runs, 'run')} of it, and what "
            "crashes cost is not known from so few: its figures and intervals leave that out"
        )


def _ends_of_ladders(tuned: Tuned) -> Iterator[str]:
    """A line for each number of the winner that is the largest or smallest that was tried."""
    for stage in tuned.last_stages():
        if stage.chosen is None:
            continue
        for field in stage.fields:
            settings = stage.candidates[stage.chosen].settings
            own = next((one.label for one in field.choices if one.is_own), "")
            value = settings.get(field.name, own)
            end = field.end(value)
            if end:
                yield f"{field.name}={value} is the {end} that was tried: --over {field.name}=…"


def _formulas(tuned: Tuned) -> list[str]:
    found = tuned.formulas
    if found is None:
        return []
    lines = table(
        [
            ("checkpoint interval", ["Young 1974", "Daly 2006"]),
            ("s", decimals([found.young_s, found.daly_s])),
            ("rows", decimals([found.young_rows, found.daly_rows])),
        ],
        words=1,
    )
    return [
        *lines,
        f"  for writes of {_number(found.write_s)} s that stop the run, exponential times of "
        f"{_number(found.crashes_s)} s to the next crash",
        f"  and {_number(found.rows_per_s)} rows/s without either (one run); they assume that rows "
        "come evenly,",
        "  and that a crash loses all since the last checkpoint",
    ]


def _settings(settings: Mapping[str, str]) -> str:
    return ", ".join(f"{printable(name)}={printable(text)}" for name, text in settings.items())


def _difference(against: Against, figure: str) -> str:
    """A difference, "+3.2 % ± 0.4 %": of the other's figure, or, if that says too little, as it is.

    The words never contradict what was decided by the difference itself: see `Difference.share`.
    """
    found = against.found
    if found.identical:
        return f"equal in all {counted(found.a.runs, 'run')}"
    if found.share is not None:
        share, half = found.share
        size, width = apart(100 * abs(share), 100 * half, 1)
        return f"{_sign(share)}{size} % ± {width} %"
    mean, around = found.difference.mean, found.difference.half_width
    if around is None:
        return f"{_sign(mean)}{_number(abs(mean))} {figure}"
    size, width = apart(abs(mean), around, 1)
    return f"{_sign(mean)}{size} ± {width} {figure}"


def _sign(value: float) -> str:
    return "+" if value > 0 else "−" if value < 0 else ""


def _percent(share: float) -> str:
    return f"{100 * share:.6g} %"


def _interval(mean: Mean) -> str:
    half = "" if mean.half_width is None else f" ± {_number(mean.half_width)}"
    return f"{_number(mean.mean)}{half}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.4g}"


# Data


def _json(report: Report) -> str:
    tuned = report.tuned
    is_found = not tuned.breaks_limits
    data = {
        "scenario": report.name,
        "goal": tuned.goal.name,
        "figure": tuned.figure,
        "less_is_better": tuned.goal.less_is_better,
        "within": {one.figure: one.most for one in tuned.limits},
        "precision": tuned.effort.precision,
        "most_runs": tuned.effort.most_runs,
        "error": round(tuned.effort.error, 12),
        "one_field_at_a_time": tuned.one_at_a_time,
        "settled": tuned.settled,
        "settings_tried": tuned.tried,
        "not_searched": list(report.not_searched),
        "remarks": list(report.remarks),
        "stages": [_stage_data(stage) for stage in tuned.stages],
        "winner": _winner_data(report) if tuned.winner is not None and is_found else None,
        "nearest": None if tuned.winner is None or is_found else _winner_data(report),
    }
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _stage_data(stage: Stage) -> dict[str, Any]:
    found = stage.found
    return {
        "cycle": stage.number,
        "fields": [one.name for one in stage.fields],
        "with": dict(stage.base),
        "level": found.level,
        "looks": list(found.sizes),
        "ended": found.ended,
        "chosen": stage.chosen,
        "held_against": _against_data(found.held),
        "candidates": [
            _candidate_data(stage.candidates[one.place], one) for one in found.standings
        ],
    }


def _candidate_data(candidate: Candidate, one: Standing) -> dict[str, Any]:
    data: dict[str, Any] = {
        "candidate": candidate.label or OWN,
        "as_it_is": not candidate.changed,
        "settings": dict(candidate.settings),
        "figure": _mean_data(one.mean),
        "limits": [_kept_data(kept) for kept in one.limits],
        "runs_with_a_crash": one.crashed,
        "out": None,
        "against": _against_data(one.against),
    }
    if one.out is not None:
        data["out"] = {
            "reason": one.out.reason,
            "runs": one.out.runs,
            "against": _against_data(one.out.against),
            "limit": None if one.out.limit is None else one.out.limit.limit.figure,
            "text": one.out.text,
        }
    return data


def _mean_data(mean: Mean | None) -> dict[str, Any] | None:
    if mean is None:
        return None
    return {"runs": mean.runs, "mean": mean.mean, "sd": mean.sd, "half_width": mean.half_width}


def _kept_data(kept: Kept) -> dict[str, Any]:
    return {
        "figure": kept.limit.figure,
        "most": kept.limit.most,
        "meets": kept.meets,
        "runs_above": kept.over,
        **(_mean_data(kept.mean) or {}),
    }


def _against_data(against: Against | None) -> dict[str, Any] | None:
    if against is None:
        return None
    found = against.found
    return {
        "candidate": against.place,
        "difference": found.difference.mean,
        "half_width": found.difference.half_width,
        **_share_data(found),
        "gain_of_common_random_numbers": found.gain,
    }


def _share_data(found: Difference) -> dict[str, float | None]:
    share, half = found.share or (None, None)
    return {"relative": share, "relative_half_width": half}


def _winner_data(report: Report) -> dict[str, Any]:
    tuned = report.tuned
    found, fresh = tuned.formulas, tuned.fresh
    assert fresh is not None
    return {
        "settings": dict(tuned.winner or {}),
        "keeps_limits": tuned.keeps_limits,
        "first_seed": fresh.first_seed,
        "figure": _mean_data(fresh.best),
        "as_it_is": _mean_data(fresh.own),
        "difference": None
        if fresh.gain is None
        else {
            "mean": fresh.gain.difference.mean,
            "half_width": fresh.gain.difference.half_width,
            **_share_data(fresh.gain),
            "level": round(LEVEL, 12),
        },
        "makespan_s": _mean_data(fresh.makespan_s),
        "limits": [_kept_data(kept) for kept in fresh.keeps],
        "error": fresh.error or None,
        "not_told_apart": [
            {"settings": dict(candidate.settings), **(_against_data(standing.against) or {})}
            for stage in tuned.last_stages()
            for candidate, standing in stage.beside()
        ],
        "checkpoint_interval": None
        if found is None
        else {
            "write_s": found.write_s,
            "mean_between_crashes_s": found.crashes_s,
            "rows_per_s": found.rows_per_s,
            "young_s": found.young_s,
            "young_rows": found.young_rows,
            "daly_s": found.daly_s,
            "daly_rows": found.daly_rows,
        },
        "command": report.command,
    }


def _csv(report: Report) -> str:
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    header = ("stage", "cycle", "fields", "candidate", "settings", "runs", "mean", "half_width")
    lines.writerow([*header, "chosen", "out", "out_after_runs", "against", "difference", "half"])
    for number, stage in enumerate(report.tuned.stages, 1):
        names = " ".join(one.name for one in stage.fields)
        for candidate, one in zip(stage.candidates, stage.found.standings, strict=True):
            mean, out_of = one.mean, one.out
            against = one.against if out_of is None else out_of.against
            lines.writerow(
                [
                    number,
                    stage.number,
                    names,
                    candidate.label or OWN,
                    _settings(candidate.settings),
                    *(("", "", "") if mean is None else (mean.runs, mean.mean, mean.half_width)),
                    one.place == stage.chosen,
                    "" if out_of is None else out_of.reason,
                    "" if out_of is None else out_of.runs,
                    "" if against is None else stage.candidates[against.place].label or OWN,
                    "" if against is None else against.found.difference.mean,
                    "" if against is None else against.found.difference.half_width,
                ]
            )
    return out.getvalue()
