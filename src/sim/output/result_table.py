"""The result of a run as a table for a terminal: units in the labels, columns of figures aligned.

`sim.figures` defines each figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cellspec.text import counted, table_lines
from sim.results import Result

__all__ = [
    "Columns",
    "bill_table",
    "column_table",
    "decimals",
    "endpoint_table",
    "failure_table",
    "incarnation_table",
    "integers",
    "printable",
    "render_table",
    "resource_table",
    "summary",
    "table",
    "times_table",
    "wait_table",
]

SATURATED = 0.9
"""Calls wait in the queue of a saturated endpoint for at least this share of the run."""

ENOUGH = 0.9
"""Where so few of the calls at once would do as much, the endpoint is saturated too."""


class Columns(NamedTuple):
    """A table by columns, before it is text: of each column its label and its cells.

    Attributes:
        words: so many columns, the first, hold words; the rest hold figures.
    """

    columns: Sequence[tuple[str, Sequence[str]]]
    words: int

    def lines(self) -> list[str]:
        """The table for a terminal."""
        return table(self.columns, words=self.words)


def render_table(result: Result) -> str:
    """The result as text for a terminal, units in the labels, columns of figures aligned."""
    size = f"{counted(result.rows, 'row')} × {counted(result.columns, 'column')}"
    title = f"{printable(result.name)}: {size}"
    parts = [
        f"{title} = {counted(result.cells, 'cell')}",
        f"policy {result.policy}, {counted(result.workers, 'worker')}, seed {result.seed}",
        "",
        *_summary_lines(result),
        "",
        *resource_table(result).lines(),
        "",
        *wait_table(result).lines(),
        "",
        *column_table(result).lines(),
    ]
    if result.row_time:
        parts += ["", _row_time(result)]
    if result.failures:
        parts += ["", *failure_table(result).lines()]
    if result.binding:
        parts += ["", _binding(result)]
    if result.by_endpoint:
        parts += ["", *endpoint_table(result).lines(), "", *times_table(result).lines()]
    if (bill := bill_table(result)) is not None:
        parts += ["", *bill.lines()]
    if len(result.incarnations) > 1:
        parts += ["", *incarnation_table(result).lines()]
    if result.notes:
        parts += ["", *result.notes]
    verdict = result.verdict if result.checked else f"{result.verdict}: clauses of time were off"
    parts += ["", verdict, f"fingerprint {result.fingerprint}  scenario {result.scenario_digest}"]
    return "".join(f"{line.rstrip()}\n" for line in parts)


def _crashes(result: Result) -> str:
    if result.crashes_planned is None:
        return f"{result.crashes:,}; they come again and again"
    # "of 2" says that a planned crash did not come: the run was over first.
    return f"{result.crashes:,} of {result.crashes_planned:,} planned"


def summary(result: Result) -> list[tuple[str, str]]:
    """The figures of the run as a whole: of each its label, and its value with its unit."""
    ages = (result.row_age_p50_s, result.row_age_p95_s, result.row_age_p99_s)
    lines = [
        ("makespan", f"{_clock(result.makespan_s)} ({seconds(result.makespan_s)} s)"),
        (
            "rows",
            f"{result.rows_tried:,} tried, {result.rows_delivered:,} delivered, "
            f"{result.rows_dropped:,} dropped",
        ),
        ("throughput", f"{_rate(result.rows_per_s)} rows/s, {_rate(result.cells_per_s)} cells/s"),
        (
            "first row complete",
            "never" if result.first_row_s is None else f"{seconds(result.first_row_s)} s",
        ),
        ("row age p50, p95, p99", f"{', '.join(map(seconds_or_none, ages))} s"),
        ("largest out-of-order window", f"{counted(result.window_rows, 'row')}"),
        ("checkpoints", f"{result.checkpoints:,} ({counted(result.checkpoint_bytes, 'byte')})"),
        ("calls, events", f"{result.calls:,}, {result.events:,}"),
    ]
    if result.failures:
        lines.append(("outcome", result.outcome))
    if result.crashes_planned != 0:
        lost = f"{result.cells_done_again:,}"
        if result.cells_done_again_share is not None:
            lost += f" ({100 * result.cells_done_again_share:.3g} % of all done)"
        paid = f"{seconds(result.busy_lost_s)} s"
        if result.busy_lost_share is not None:
            paid += f" ({100 * result.busy_lost_share:.3g} % of all)"
        lines += [
            ("crashes", _crashes(result)),
            ("cells lost to crashes", lost),
            ("busy time lost to crashes", paid),
        ]
    return lines


def _summary_lines(result: Result) -> list[str]:
    lines = summary(result)
    lines.append(("one seed", "no intervals: --replications 30 gives them"))
    width = max(len(label) for label, _ in lines)
    return [f"{label:<{width}}  {text}" for label, text in lines]


def resource_table(result: Result) -> Columns:
    """What each resource did, and all workers."""
    items = result.by_resource
    limits = [*(item.limit for item in items), result.workers]
    shares = [*(item.utilisation for item in items), result.worker_utilisation]
    return Columns(
        [
            ("resource", [*(printable(item.resource or "(none)") for item in items), "workers"]),
            ("limit", integers(limits)),
            ("busy s", decimals([*(item.busy_s for item in items), result.worker_busy_s])),
            ("utilisation %", decimals([None if x is None else 100 * x for x in shares])),
            (
                "mean in flight",
                decimals([*(item.mean_in_flight for item in items), result.mean_in_flight]),
            ),
            ("calls", integers([*(item.calls for item in items), result.calls])),
            ("cells", integers([*(item.cells_done for item in items), None])),
        ],
        words=1,
    )


def wait_table(result: Result) -> Columns:
    """How long calls waited before they started, by resource."""
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
    return Columns(
        [
            (f"wait s{every}", [printable(item.resource or "(none)") for item in items]),
            *((label, decimals(values)) for label, values in figures),
        ],
        words=1,
    )


def column_table(result: Result) -> Columns:
    """What each column did."""
    items = result.by_column
    kinds = ["barrier" if item.barrier else "" for item in items]
    columns = [
        ("column", [printable(item.column) for item in items]),
        ("resource", [printable(item.resource or "") for item in items]),
        ("kind", kinds),
        ("calls", integers([item.calls for item in items])),
        ("cells done", integers([item.cells_done for item in items])),
        ("busy s", decimals([item.busy_s for item in items])),
        ("busy s per cell", decimals([item.busy_s_per_cell for item in items])),
        ("call s p50", decimals([item.call_p50_s for item in items])),
        ("p95", decimals([item.call_p95_s for item in items])),
        ("p99", decimals([item.call_p99_s for item in items])),
    ]
    words = 3
    if not any(kinds):
        del columns[2]
        words = 2
    return Columns(columns, words=words)


def failure_table(result: Result) -> Columns:
    """Failures, drops and skips by column."""
    items = result.failures
    return Columns(
        [
            ("column", [printable(item.column) for item in items]),
            ("retryable", integers([item.retryable for item in items])),
            ("back-pressure", integers([item.backpressure for item in items])),
            ("permanent", integers([item.permanent for item in items])),
            ("rows dropped", integers([item.rows_dropped for item in items])),
            ("cells skipped", integers([item.skipped for item in items])),
        ],
        words=1,
    )


def _binding(result: Result) -> str:
    """What held the run up; an endpoint that did so nearly all the time is saturated."""
    shares = []
    for item in result.binding or ():
        if item.share is None:
            continue
        saturated = item.share >= SATURATED and item.binding.startswith("endpoint ")
        said = " (saturated)" if saturated else ""
        shares.append(f"{printable(item.binding)} {100 * item.share:.3g} %{said}")
    lines = [f"binding: {' | '.join(shares)}"]
    for endpoint in result.by_endpoint:
        enough, decoding = endpoint.as_much_with, endpoint.mean_decoding
        if enough is not None and decoding is not None and enough <= ENOUGH * decoding:
            name = printable(endpoint.endpoint)
            does = f"decodes {decoding:.3g} calls at once, and does as much with {enough}"
            lines.append(f"saturated: {name} {does}")
    return "\n".join(lines)


def _row_time(result: Result) -> str:
    """Where the time of rows went, the largest part first."""
    items = sorted(result.row_time, key=lambda item: -(item.share or 0.0))
    shares = [f"{item.part} {100 * item.share:.3g} %" for item in items if item.share is not None]
    mean = seconds_or_none(result.row_age_mean_s)
    return f"time of a row: {mean} s = {' | '.join(shares)}"


def endpoint_table(result: Result) -> Columns:
    """What each endpoint took in and refused."""
    items = result.by_endpoint
    shares = [item.refused_share for item in items]
    columns = [
        ("endpoint", [printable(item.endpoint) for item in items]),
        ("sent", integers([item.sent for item in items])),
        ("accepted", integers([item.accepted for item in items])),
        ("refused", integers([item.refused for item in items])),
        ("refused %", decimals([None if x is None else 100 * x for x in shares])),
        ("lost", integers([item.lost for item in items])),
        ("mean in flight", decimals([item.mean_in_flight for item in items])),
        ("mean limit", decimals([item.mean_limit for item in items])),
    ]
    return Columns(columns, words=1)


def times_table(result: Result) -> Columns:
    """Where the time of calls went behind an endpoint, by column."""
    items = result.call_times
    return Columns(
        [
            ("calls of column", [printable(item.column) for item in items]),
            ("line s", decimals([item.line_s for item in items])),
            ("refused s", decimals([item.refused_s for item in items])),
            ("queue s", decimals([item.queue_s for item in items])),
            ("prefill s", decimals([item.prefill_s for item in items])),
            ("decode s", decimals([item.decode_s for item in items])),
        ],
        words=1,
    )


def bill_table(result: Result) -> Columns | None:
    """Tokens and money; None for calls that have neither."""
    items = result.bill
    if not any(item.prompt_tokens or item.output_tokens for item in items):
        return None
    total = sum(item.calls for item in items)
    columns = [
        ("tokens of", [*(printable(item.column) for item in items), "all"]),
        ("cause", [*(item.cause for item in items), ""]),
        ("calls", integers([*(item.calls for item in items), total])),
        ("prompt tokens", decimals([*(item.prompt_tokens for item in items), None])),
        ("output tokens", decimals([*(item.output_tokens for item in items), None])),
    ]
    # Where the scenario states no price a cost of 0 would be an untruth.
    if result.cost:
        columns.append(("cost", decimals([*(item.cost for item in items), result.cost])))
    return Columns(columns, words=2)


def incarnation_table(result: Result) -> Columns:
    """The runs of the process."""
    items = result.incarnations
    return Columns(
        [
            ("incarnation", integers([item.incarnation for item in items])),
            ("start s", decimals([item.start_s for item in items])),
            ("end s", decimals([item.end_s for item in items])),
            ("ended by", [item.ended_by for item in items]),
            ("rows at start", integers([item.claimed_rows for item in items])),
            ("cells done", integers([item.cells_done for item in items])),
            ("of them lost", integers([item.cells_lost for item in items])),
            ("in flight lost", integers([item.in_flight_lost for item in items])),
            ("busy s lost", decimals([item.busy_lost_s for item in items])),
        ],
        words=0,
    )


def table(columns: Sequence[tuple[str, Sequence[str]]], *, words: int) -> list[str]:
    """Lines of a table; its first `words` columns are left-aligned, the rest right-aligned."""
    lines = [[label for label, _ in columns]]
    lines += [list(row) for row in zip(*(cells for _, cells in columns), strict=True)]
    return table_lines(lines, left=range(words))


def printable(text: str) -> str:
    """A name on one line, without anything that a terminal would act upon."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def integers(values: Sequence[int | None]) -> list[str]:
    """Whole figures of one table column."""
    return ["–" if value is None else f"{value:,}" for value in values]


def decimals(values: Sequence[float | None]) -> list[str]:
    """Figures of one table column: as many decimals as its largest needs for four digits."""
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    digits = 1 if largest >= 100 else 2 if largest >= 10 else 3 if largest >= 1 else 4
    if 0 < largest < 0.1:
        return ["–" if value is None else f"{value:.3g}" for value in values]
    return ["–" if value is None else f"{value:,.{digits}f}" for value in values]


def seconds(value: float) -> str:
    return f"{value:,.1f}" if value >= 100 else f"{value:.4g}"


def seconds_or_none(value: float | None) -> str:
    return "–" if value is None else seconds(value)


def _rate(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _clock(seconds: float) -> str:
    """Seconds as h:mm:ss, rounded to the nearest second."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,}:{minutes:02}:{rest:02}"
