"""From a run's counters to figures, and from figures to a table, JSON or CSV.

`summarise` turns what a run did into a `Result`: plain numbers, each with its unit in its name.
Three renderings show the same object: `render_table` for people, `render_json` for programs, and
`render_csv`, one flat line a run, for a spreadsheet of many runs. None of them holds anything that
depends on the machine's speed, so that equal runs give equal bytes.

What each figure is stands in `sim.figures`.
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from cellspec.text import counted
from sim.scenario.remarks import load_notes

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario
    from sim.simulator.outcome import Outcome

__all__ = [
    "ColumnFigures",
    "IncarnationFigures",
    "ResourceFigures",
    "Result",
    "render_csv",
    "render_json",
    "render_table",
    "summarise",
]

SATISFIED = "every event satisfied the specification"
NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class ResourceFigures:
    """What one resource did; times in seconds.

    Attributes:
        resource: its name; None for the columns that take none.
        limit: how many nodes may use it at once; None for no limit.
        cells_done: of the columns that take it, those done again included, barriers left out.
        wait_calls: calls whose waits are looked at.
    """

    resource: str | None
    limit: int | None
    calls: int
    cells_done: int
    busy_s: float
    utilisation: float | None
    mean_in_flight: float | None
    wait_calls: int
    wait_s: float
    mean_wait_s: float | None
    wait_p50_s: float | None
    wait_p95_s: float | None
    wait_p99_s: float | None
    mean_wait_q1_s: float | None
    mean_wait_q2_s: float | None
    mean_wait_q3_s: float | None
    mean_wait_q4_s: float | None


@dataclass(frozen=True, slots=True)
class ColumnFigures:
    """What one column did; times in seconds. `cells_done` holds those done again."""

    column: str
    resource: str | None
    barrier: bool
    calls: int
    cells_done: int
    busy_s: float
    busy_s_per_cell: float | None


@dataclass(frozen=True, slots=True)
class IncarnationFigures:
    """One incarnation of the process, from its start or resume to its crash or the end.

    Attributes:
        ended_by: ``"crash"`` or ``"end"``.
        claimed_rows: rows complete when it began.
        cells_lost: complete at its crash and not held by the claim: they are done again.
        in_flight_lost: calls that ran when it crashed.
        busy_lost_s: worker time of both.
    """

    incarnation: int
    start_s: float
    end_s: float
    ended_by: str
    claimed_rows: int
    cells_done: int
    cells_lost: int
    in_flight_lost: int
    busy_lost_s: float


@dataclass(frozen=True, slots=True)
class FailureFigures:
    """What went wrong in one column.

    Attributes:
        retryable, backpressure, permanent: calls that failed, by kind.
        rows_dropped: rows given up because of the column.
        skipped: cells of other rows that were skipped, by their own condition or because an input
            was.
    """

    column: str
    retryable: int
    backpressure: int
    permanent: int
    rows_dropped: int
    skipped: int


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of one run, as `sim.figures` defines them.

    Rates are None for a run that took no time, and `first_row_s` for one that delivered no row.

    Attributes:
        notes: what a reader must know of the figures, a line each.
    """

    name: str
    scenario_digest: str
    seed: int
    policy: str
    rows: int
    columns: int
    cells: int
    workers: int
    makespan_s: float
    rows_tried: int
    rows_delivered: int
    rows_dropped: int
    cells_made: int
    rows_per_s: float | None
    cells_per_s: float | None
    first_row_s: float | None
    row_age_p50_s: float | None
    row_age_p95_s: float | None
    row_age_p99_s: float | None
    window_rows: int
    events: int
    calls: int
    worker_busy_s: float
    busy_lost_s: float
    busy_lost_share: float | None
    worker_utilisation: float | None
    mean_in_flight: float | None
    checkpoints: int
    checkpoint_bytes: int
    crashes_planned: int
    crashes: int
    cells_done: int
    cells_done_again: int
    cells_done_again_share: float | None
    in_flight_lost: int
    sampled_every: int
    checked: bool
    verdict: str
    outcome: str
    fingerprint: str
    by_resource: tuple[ResourceFigures, ...]
    by_column: tuple[ColumnFigures, ...]
    incarnations: tuple[IncarnationFigures, ...]
    failures: tuple[FailureFigures, ...]
    notes: tuple[str, ...]


def summarise(scenario: Scenario, outcome: Outcome, *, checked: bool) -> Result:
    """The figures of a run that ended well.

    Args:
        scenario: what was run.
        outcome: what the simulator counted.
        checked: whether every event was judged; else the verdict does not claim it.

    Raises:
        SpecError: a file of the scenario can no longer be read.
    """
    graph = scenario.graph()
    cells = graph.num_records * graph.num_columns
    makespan, busy = outcome.makespan_s, sum(outcome.busy_s)
    again = sum(incarnation.cells_lost for incarnation in outcome.incarnations)
    lost = sum(incarnation.busy_lost_s for incarnation in outcome.incarnations)
    ages = [None if age is None else _tidy(age) for age in outcome.ages_s]
    return Result(
        name=scenario.name,
        scenario_digest=scenario.digest(),
        seed=scenario.seed,
        policy=scenario.policy,
        rows=graph.num_records,
        columns=graph.num_columns,
        cells=cells,
        workers=scenario.limits.workers,
        makespan_s=_tidy(makespan),
        rows_tried=outcome.tried,
        rows_delivered=outcome.delivered,
        rows_dropped=outcome.dropped,
        cells_made=outcome.made,
        rows_per_s=_ratio(outcome.delivered, makespan),
        cells_per_s=_ratio(outcome.made, makespan),
        first_row_s=_tidy(outcome.first_row_s) if isfinite(outcome.first_row_s) else None,
        row_age_p50_s=ages[0],
        row_age_p95_s=ages[1],
        row_age_p99_s=ages[2],
        window_rows=outcome.window_rows,
        events=outcome.events,
        calls=sum(outcome.calls),
        worker_busy_s=_tidy(busy),
        busy_lost_s=_tidy(lost),
        busy_lost_share=_ratio(lost, busy),
        worker_utilisation=_ratio(busy, scenario.limits.workers * makespan),
        mean_in_flight=_ratio(busy, makespan),
        checkpoints=outcome.checkpoints,
        checkpoint_bytes=outcome.checkpoint_bytes,
        crashes_planned=sum(
            crash.random.count if crash.random else 1 for crash in scenario.crashes
        ),
        crashes=sum(incarnation.crashed for incarnation in outcome.incarnations),
        cells_done=outcome.cells_done,
        cells_done_again=again,
        cells_done_again_share=_ratio(again, outcome.cells_done),
        in_flight_lost=sum(incarnation.in_flight_lost for incarnation in outcome.incarnations),
        sampled_every=outcome.sampled_every,
        checked=checked,
        verdict=SATISFIED if checked else NOT_CHECKED,
        outcome=outcome.outcome,
        fingerprint=outcome.fingerprint,
        by_resource=_resources(scenario, outcome),
        by_column=_columns(scenario, outcome),
        incarnations=_incarnations(outcome),
        failures=() if scenario.is_plain else _failures(scenario, outcome),
        notes=tuple(load_notes(scenario)),
    )


def _resources(scenario: Scenario, outcome: Outcome) -> tuple[ResourceFigures, ...]:
    """One entry a resource, in the scenario's order, then one for columns that take none."""
    rules, resource_of = scenario.graph().rules.columns, scenario.column_resource
    found = []
    limits: list[tuple[str | None, int | None]] = [*scenario.resource_limits.items(), (None, None)]
    for (name, limit), waits in zip(limits, outcome.waits, strict=True):
        mine = [rule for rule in rules if resource_of.get(rule.name) == name]
        if name is None and not mine:
            continue
        done = sum(outcome.done[rule.index] for rule in mine if not rule.is_barrier)
        busy = sum(outcome.busy_s[rule.index] for rule in mine)
        by_rank = [None if wait is None else _tidy(wait) for wait in waits.percentiles]
        by_quarter = [None if wait is None else _tidy(wait) for wait in waits.by_quarter]
        found.append(
            ResourceFigures(
                resource=name,
                limit=limit,
                calls=sum(outcome.calls[rule.index] for rule in mine),
                cells_done=done,
                busy_s=_tidy(busy),
                utilisation=_ratio(busy, limit * outcome.makespan_s) if limit else None,
                mean_in_flight=_ratio(busy, outcome.makespan_s),
                wait_calls=waits.calls,
                wait_s=_tidy(waits.total_s),
                mean_wait_s=_ratio(waits.total_s, waits.calls),
                wait_p50_s=by_rank[0],
                wait_p95_s=by_rank[1],
                wait_p99_s=by_rank[2],
                mean_wait_q1_s=by_quarter[0],
                mean_wait_q2_s=by_quarter[1],
                mean_wait_q3_s=by_quarter[2],
                mean_wait_q4_s=by_quarter[3],
            )
        )
    return tuple(found)


def _columns(scenario: Scenario, outcome: Outcome) -> tuple[ColumnFigures, ...]:
    return tuple(
        ColumnFigures(
            column=rule.name,
            resource=scenario.column_resource.get(rule.name),
            barrier=rule.is_barrier,
            calls=outcome.calls[rule.index],
            cells_done=outcome.done[rule.index],
            busy_s=_tidy(outcome.busy_s[rule.index]),
            busy_s_per_cell=_ratio(outcome.busy_s[rule.index], outcome.done[rule.index]),
        )
        for rule in scenario.graph().rules.columns
    )


def _incarnations(outcome: Outcome) -> tuple[IncarnationFigures, ...]:
    return tuple(
        IncarnationFigures(
            incarnation=incarnation.number,
            start_s=_tidy(incarnation.start_s),
            end_s=_tidy(incarnation.end_s),
            ended_by="crash" if incarnation.crashed else "end",
            claimed_rows=incarnation.claimed_rows,
            cells_done=incarnation.cells_done,
            cells_lost=incarnation.cells_lost,
            in_flight_lost=incarnation.in_flight_lost,
            busy_lost_s=_tidy(incarnation.busy_lost_s),
        )
        for incarnation in outcome.incarnations
    )


def _failures(scenario: Scenario, outcome: Outcome) -> tuple[FailureFigures, ...]:
    return tuple(
        FailureFigures(
            column=rule.name,
            retryable=outcome.failures[rule.index]["retryable"],
            backpressure=outcome.failures[rule.index]["backpressure"],
            permanent=outcome.failures[rule.index]["permanent"],
            rows_dropped=outcome.rows_dropped[rule.index],
            skipped=outcome.skipped[rule.index],
        )
        for rule in scenario.graph().rules.columns
    )


def _tidy(value: float) -> float:
    """Without the last digits of a float sum, which mean nothing and look as if they did."""
    return float(f"{value:.12g}") + 0.0


def _ratio(part: float, whole: float) -> float | None:
    return _tidy(part / whole) if whole > 0 else None


# For programs


def render_json(result: Result) -> str:
    """The result as one JSON object, indented, keys always in the same order."""
    return json.dumps(asdict(result), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def render_csv(result: Result) -> str:
    """A header and one line: every single figure, and those of each resource.

    Columns and incarnations are left out, because their number differs between runs. The header
    is the same for all runs with the same resources.
    """
    flat: dict[str, Any] = {
        key: value for key, value in asdict(result).items() if not isinstance(value, tuple | list)
    }
    flat["checked"] = str(result.checked).lower()
    for item in result.by_resource:
        for key, value in asdict(item).items():
            if key != "resource" and item.resource is not None:
                flat[f"resource.{item.resource}.{key}"] = value
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(flat)
    writer.writerow("" if value is None else value for value in flat.values())
    return text.getvalue()


# For people


def render_table(result: Result) -> str:
    """The result as text for a terminal, units in the labels, columns of figures aligned."""
    size = f"{counted(result.rows, 'row')} × {counted(result.columns, 'column')}"
    title = f"{_printable(result.name)}: {size}"
    parts = [
        f"{title} = {counted(result.cells, 'cell')}",
        f"policy {result.policy}, {counted(result.workers, 'worker')}, seed {result.seed}",
        "",
        *_summary(result),
        "",
        *_resource_table(result),
        "",
        *_wait_table(result),
        "",
        *_column_table(result),
    ]
    if result.failures:
        parts += ["", *_failure_table(result)]
    if len(result.incarnations) > 1:
        parts += ["", *_incarnation_table(result)]
    if result.notes:
        parts += ["", *result.notes]
    verdict = result.verdict if result.checked else f"{result.verdict}: clauses of time were off"
    parts += ["", verdict, f"fingerprint {result.fingerprint}  scenario {result.scenario_digest}"]
    return "".join(f"{line.rstrip()}\n" for line in parts)


def _summary(result: Result) -> list[str]:
    ages = (result.row_age_p50_s, result.row_age_p95_s, result.row_age_p99_s)
    lines = [
        ("makespan", f"{_clock(result.makespan_s)} ({_seconds(result.makespan_s)} s)"),
        (
            "rows",
            f"{result.rows_tried:,} tried, {result.rows_delivered:,} delivered, "
            f"{result.rows_dropped:,} dropped",
        ),
        ("throughput", f"{_rate(result.rows_per_s)} rows/s, {_rate(result.cells_per_s)} cells/s"),
        (
            "first row complete",
            "never" if result.first_row_s is None else f"{_seconds(result.first_row_s)} s",
        ),
        ("row age p50, p95, p99", f"{', '.join(map(_seconds_or_none, ages))} s"),
        ("largest out-of-order window", f"{counted(result.window_rows, 'row')}"),
        ("checkpoints", f"{result.checkpoints:,} ({counted(result.checkpoint_bytes, 'byte')})"),
        ("calls, events", f"{result.calls:,}, {result.events:,}"),
    ]
    if result.failures:
        lines.append(("outcome", result.outcome))
    if result.crashes_planned:
        # "of 2" says that a planned crash did not come: the run was over first.
        lost = f"{result.cells_done_again:,}"
        if result.cells_done_again_share is not None:
            lost += f" ({100 * result.cells_done_again_share:.3g} % of all done)"
        paid = f"{_seconds(result.busy_lost_s)} s"
        if result.busy_lost_share is not None:
            paid += f" ({100 * result.busy_lost_share:.3g} % of all)"
        lines += [
            ("crashes", f"{result.crashes:,} of {result.crashes_planned:,} planned"),
            ("cells lost to crashes", lost),
            ("busy time lost to crashes", paid),
        ]
    width = max(len(label) for label, _ in lines)
    return [f"{label:<{width}}  {text}" for label, text in lines]


def _resource_table(result: Result) -> list[str]:
    items = result.by_resource
    limits = [*(item.limit for item in items), result.workers]
    shares = [*(item.utilisation for item in items), result.worker_utilisation]
    return _table(
        [
            ("resource", [*(_printable(item.resource or "(none)") for item in items), "workers"]),
            ("limit", _integers(limits)),
            ("busy s", _decimals([*(item.busy_s for item in items), result.worker_busy_s])),
            ("utilisation %", _decimals([None if x is None else 100 * x for x in shares])),
            (
                "mean in flight",
                _decimals([*(item.mean_in_flight for item in items), result.mean_in_flight]),
            ),
            ("calls", _integers([*(item.calls for item in items), result.calls])),
            ("cells", _integers([*(item.cells_done for item in items), None])),
        ],
        words=1,
    )


def _wait_table(result: Result) -> list[str]:
    items = result.by_resource
    every = "" if result.sampled_every == 1 else f", 1 row in {result.sampled_every:,}"
    figures = [
        ("mean", [item.mean_wait_s for item in items]),
        ("p50", [item.wait_p50_s for item in items]),
        ("p95", [item.wait_p95_s for item in items]),
        ("p99", [item.wait_p99_s for item in items]),
        ("mean of quarter 1", [item.mean_wait_q1_s for item in items]),
        ("2", [item.mean_wait_q2_s for item in items]),
        ("3", [item.mean_wait_q3_s for item in items]),
        ("4", [item.mean_wait_q4_s for item in items]),
    ]
    return _table(
        [
            (f"wait s{every}", [_printable(item.resource or "(none)") for item in items]),
            *((label, _decimals(values)) for label, values in figures),
        ],
        words=1,
    )


def _column_table(result: Result) -> list[str]:
    items = result.by_column
    kinds = ["barrier" if item.barrier else "" for item in items]
    columns = [
        ("column", [_printable(item.column) for item in items]),
        ("resource", [_printable(item.resource or "") for item in items]),
        ("kind", kinds),
        ("calls", _integers([item.calls for item in items])),
        ("cells done", _integers([item.cells_done for item in items])),
        ("busy s", _decimals([item.busy_s for item in items])),
        ("busy s per cell", _decimals([item.busy_s_per_cell for item in items])),
    ]
    words = 3
    if not any(kinds):
        del columns[2]
        words = 2
    return _table(columns, words=words)


def _failure_table(result: Result) -> list[str]:
    items = result.failures
    return _table(
        [
            ("column", [_printable(item.column) for item in items]),
            ("retryable", _integers([item.retryable for item in items])),
            ("back-pressure", _integers([item.backpressure for item in items])),
            ("permanent", _integers([item.permanent for item in items])),
            ("rows dropped", _integers([item.rows_dropped for item in items])),
            ("cells skipped", _integers([item.skipped for item in items])),
        ],
        words=1,
    )


def _incarnation_table(result: Result) -> list[str]:
    items = result.incarnations
    return _table(
        [
            ("incarnation", _integers([item.incarnation for item in items])),
            ("start s", _decimals([item.start_s for item in items])),
            ("end s", _decimals([item.end_s for item in items])),
            ("ended by", [item.ended_by for item in items]),
            ("rows at start", _integers([item.claimed_rows for item in items])),
            ("cells done", _integers([item.cells_done for item in items])),
            ("of them lost", _integers([item.cells_lost for item in items])),
            ("in flight lost", _integers([item.in_flight_lost for item in items])),
            ("busy s lost", _decimals([item.busy_lost_s for item in items])),
        ],
        words=0,
    )


def _table(columns: Sequence[tuple[str, Sequence[str]]], *, words: int) -> list[str]:
    """Lines of a table; its first `words` columns are left-aligned, the rest right-aligned."""
    widths = [max(map(_width, (label, *cells))) for label, cells in columns]
    lines = [[label for label, _ in columns]]
    lines += [list(row) for row in zip(*(cells for _, cells in columns), strict=True)]
    return ["  ".join(_aligned(line, widths, words)) for line in lines]


def _aligned(line: Iterable[str], widths: Sequence[int], words: int) -> Iterable[str]:
    for place, (text, width) in enumerate(zip(line, widths, strict=True)):
        space = " " * (width - _width(text))
        yield text + space if place < words else space + text


def _width(text: str) -> int:
    """How many places a terminal gives a text: two for a wide letter, none for a mark above one."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def _printable(text: str) -> str:
    """A name on one line, without anything that a terminal would act upon."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _integers(values: Sequence[int | None]) -> list[str]:
    return ["–" if value is None else f"{value:,}" for value in values]


def _decimals(values: Sequence[float | None]) -> list[str]:
    """Figures of one table column: as many decimals as its largest needs for four digits."""
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    digits = 1 if largest >= 100 else 2 if largest >= 10 else 3 if largest >= 1 else 4
    if 0 < largest < 0.1:
        return ["–" if value is None else f"{value:.3g}" for value in values]
    return ["–" if value is None else f"{value:,.{digits}f}" for value in values]


def _seconds(value: float) -> str:
    return f"{value:,.1f}" if value >= 100 else f"{value:.4g}"


def _seconds_or_none(value: float | None) -> str:
    return "–" if value is None else _seconds(value)


def _rate(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _clock(seconds: float) -> str:
    """Seconds as h:mm:ss, rounded to the nearest second."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,}:{minutes:02}:{rest:02}"
