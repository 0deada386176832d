"""The definition of each figure of ``cellspec run``: one table, for page, ``--help`` and tests.

Each definition can be followed on a trace of the run (``--trace FILE``) alone, by a program that
is independent of this package. This module defines the figures; `sim.results` works them out for a
run, and holds them.

`TERMS` says the words that the definitions use, `FIGURES` one sentence or two for each figure.
`page_text` is ``simulations/figures.md``, `help_text` the end of
``cellspec run --help``; ``python -m sim.figures`` prints the page.
"""

from __future__ import annotations

import sys
import textwrap
from typing import NamedTuple

from cellspec.exit_codes import FINE, put, run_command

__all__ = [
    "BESIDE",
    "FIGURES",
    "FROM_SCENARIO",
    "KEPT_CALLS",
    "SAMPLED_CELLS",
    "TERMS",
    "Figure",
    "help_text",
    "page_text",
]

SAMPLED_CELLS = 200_000
"""Tables of at most so many cells are looked at in full; of larger ones a sample of rows."""

KEPT_CALLS = 1 << 20
"""The most calls of the sample whose waits are kept."""


class Figure(NamedTuple):
    """One figure: its key in JSON, its unit, its label in the text, and its definition."""

    key: str
    unit: str
    label: str
    meaning: str


TERMS: tuple[tuple[str, str], ...] = (
    (
        "time",
        "`t` of an event. Incarnation 0 begins at 0 s, each other incarnation at its `resume`; an "
        "incarnation ends at its `crash`, or at the `end` of the run.",
    ),
    (
        "call",
        "the work that one `start` begins: a cell, a range of rows, or a barrier node. Each "
        "attempt is a call of its own. Output cells of a barrier (`emit`) and skipped cells are "
        "not calls. A call of a cell or barrier node ends at its `complete`, `fail` or `cancel`, a "
        "range at the `complete` of its last row, or at its `fail` or `cancel`, which names the "
        "first row that it had not given; a call that has not ended at the end of its incarnation "
        "ends there.",
    ),
    (
        "value",
        "a cell has a value from its `complete` or `emit` on, unless its row was dropped before, "
        "or is among those that the `complete` has `rejected`: then the call ends all the same, "
        "and gives no value.",
    ),
    (
        "resume",
        "of each column a `resume` keeps the rows of its `claim` (ranges, or a number: so many "
        "rows from row 0 on) as they were at the crash, with a value, skipped, or neither. Rows "
        "that were dropped when this claim was begun (its last `checkpoint_begin`), and of which "
        "it holds a cell, stay dropped. Everything else is as at the start of the run.",
    ),
    (
        "start",
        "a `crash` whose `reason` is `start_from` ends the process that made the checkpoint from "
        "which the run starts: nothing up to it counts for any figure, and the run begins with the "
        "`resume` after it, whose claim it *found*.",
    ),
    (
        "resolved",
        "a cell is resolved if it has a value, is skipped, or its row is dropped.",
    ),
    (
        "ready",
        "a cell is ready from the latest of these times in its incarnation: the start of the "
        "incarnation; the "
        "time at which the last cell that it needs (the `needs` of its column, in its row) was "
        "resolved, where cells kept at a `resume` count from then; the `admit` of its row "
        "group, if the run has row groups; if its column is ORDERED, the time at which the last "
        "cell of the column in an earlier row was resolved; the `until` of the last "
        "`fail` before this start of a call that should have given it.",
    ),
    (
        "cost",
        "of a cell: from the start of the call that gave its value to its `complete`; in a range, "
        "from the `complete` of the row before it in the range, or for its first row from the "
        "start. Of a barrier node: from its start to its `complete`; its output cells have "
        "no cost.",
    ),
    (
        "lost",
        "at a crash: calls that run are lost, a range only from the last `complete` in it on; so "
        "is each value that the `resume` does not keep, unless the `resume` keeps its row dropped; "
        "and so is each barrier node that was complete by a run of this incarnation, if the "
        "claim does not hold the output of its whole scope.",
    ),
    (
        "working columns",
        "the columns that take a resource; if none does, all columns.",
    ),
    (
        "sample",
        f"rows whose number is a multiple of n. n is 1 for tables of at most {SAMPLED_CELLS:,} "
        f"cells (rows × columns); else the smallest prime number that is at least cells / "
        f"{SAMPLED_CELLS:,}. A call of a cell or range is in the sample if its first row is. If "
        f"there are more than {KEPT_CALLS:,} calls in the sample, over all resources and "
        "incarnations, every second of them is left out, in the order of their `start`, beginning "
        "with the second; and so again until there are not more.",
    ),
    (
        "parts of a call",
        "where a resource has an endpoint or a throttle, `request` events say how far a call of "
        "its columns is. A `sent` is accepted if the next event of its call is a `queued` or "
        "`serving` at the same time; else it is refused. From its start (with a scheduler that "
        "takes time: its `entered`), or from a `lost`, to its next `sent` a call is in the "
        "client's line; from there to the `sent` that is accepted it is refused; then it is in "
        "the endpoint's queue until its `serving`, in prefill until its `decoding`, and in decode "
        "until it ends, is `answered` or `lost`.",
    ),
    (
        "chain",
        "of a row, from its last cell back: the cell that got its value, or was skipped, last; "
        "before each cell the one that got its value or was skipped last of those that it needs "
        "in its row, as they are at the end of the run, and not after it; of equal ones the first "
        "column of the header. Each cell of the chain has the time from the end of the one before "
        "it to its own end, from the first start of the row (see row_age) on. It is divided, from "
        "the beginning on, into these parts, each up to its moment if that is later. `redone`: "
        "the start of the incarnation in which the cell got its value. For a cell that barriers "
        "give, `barrier`: its `emit`. For any other, of its calls in that incarnation: `order`: "
        "if its column is ORDERED, the last time at which the cell of the row before got a value "
        "or was skipped, unless that is after the first of these calls started; `waiting`: the "
        "start of the first; `retries`: that of the one which gave the value. Then, of this call: "
        "`scheduler`, with a scheduler that takes time: its `entered`, and from its last "
        "`answered` to the end; with an endpoint or a throttle `outage`: its last `lost`, and its "
        "parts `line`, `refused`, `queue`, `prefill` and `decode`; else `running`. The last of "
        "them is up to the last `answered` with a scheduler, else to the end. What is left of the "
        "time of a skipped cell is `waiting`.",
    ),
    (
        "paid",
        "each time that a call is served (`serving`), whatever becomes of it, the tokens of its "
        "last `sent` are paid, but not if it is given up, cut off or lost at that very moment; it "
        "is paid for one of these causes: `lost` if it is `lost`, or does not end by a "
        "`complete`, or the row (of a range the first) had been dropped before; `done again` if "
        "an earlier call of its column with the same first row or scope was paid and not lost; "
        "`first` otherwise.",
    ),
    (
        "percentile",
        "p of n values in order: the one at place p × n / 100, rounded up, counted from 1.",
    ),
)

FROM_SCENARIO = (
    "name",
    "scenario_digest",
    "seed",
    "policy",
    "rows",
    "columns",
    "cells",
    "workers",
    "crashes_planned",
    "checked",
    "verdict",
    "fingerprint",
    "notes",
)
"""The fields of a result that are not figures of the run."""

_AT_END = "At the end of the run"

FIGURES: tuple[Figure, ...] = (
    Figure("makespan_s", "s", "makespan", "The time of `end`, crashes and restarts included."),
    Figure(
        "outcome",
        "",
        "outcome",
        "`success`, `stopped`, or `interrupted` (enough rows were accepted), as `end` says.",
    ),
    Figure(
        "rows_tried",
        "rows",
        "rows tried",
        "Rows of which a cell was started (alone or in a range) or skipped, or that are in the "
        "scope of a barrier node that was started, in any incarnation; of a run that ended as "
        "`interrupted`, rows whose cells are all resolved at its end.",
    ),
    Figure(
        "rows_delivered",
        "rows",
        "delivered",
        f"{_AT_END}: rows that are not dropped and are `durable` in every column. What is durable "
        "at a `resume` is its claim.",
    ),
    Figure("rows_dropped", "rows", "dropped", f"{_AT_END}: rows that are dropped."),
    Figure(
        "cells_made",
        "cells",
        "cells made",
        "Cells of delivered rows that have a value; skipped ones have none.",
    ),
    Figure(
        "rows_per_s",
        "rows/s",
        "throughput",
        "Delivered rows, without those that the run found in every column, over the makespan; none "
        "if it is 0.",
    ),
    Figure(
        "cells_per_s",
        "cells/s",
        "throughput",
        "Cells made, without those that the run found, over the makespan; none if it is 0.",
    ),
    Figure(
        "first_row_s",
        "s",
        "first row complete",
        "The first time from which on some row is not dropped, has all its cells resolved, and so "
        "have all rows before it, to the end of the run: where a crash loses the row, it is "
        "complete again later. None if no row is delivered.",
    ),
    Figure(
        "row_age_p50_s, row_age_p95_s, row_age_p99_s",
        "s",
        "row age",
        "Percentiles over the delivered rows of the sample: from the first start, in any "
        "incarnation, of a cell of a working column in the row (alone or in a range) to the time "
        "at which the last of its cells, as they are at the end of the run, got its value or was "
        "skipped. Rows of which no such cell was started are left out.",
    ),
    Figure("row_age_mean_s", "s", "time of a row", "The mean of these ages."),
    Figure(
        "window_rows",
        "rows",
        "largest out-of-order window",
        "The largest value, over all cells of working columns at the event that gave them a value, "
        "of row + 1 − (rows from row 0 on without a gap whose cells are all resolved, just after "
        "that event); 0 if none is above.",
    ),
    Figure("checkpoints", "", "checkpoints", "How many `checkpoint_durable` there are."),
    Figure(
        "checkpoint_bytes",
        "bytes",
        "checkpoints",
        "The sum of the lengths of their payloads as JSON text (`cellspec.state.checkpoint`); it "
        "follows from claim, graph and `checkpoint.version`, which is in the scenario.",
    ),
    Figure(
        "events",
        "",
        "events",
        "How many event lines the trace has, those of `request` left out.",
    ),
    Figure("calls", "calls", "calls", "How many calls were started."),
    Figure(
        "worker_busy_s",
        "s",
        "busy s",
        "The sum over all calls of the time from their start to their end.",
    ),
    Figure(
        "busy_lost_s",
        "s",
        "busy time lost to crashes",
        "The part of it that crashes lost: of each lost call the time from its start to the crash "
        "(of a range from its last `complete`), and the cost of each lost value and barrier node.",
    ),
    Figure("busy_lost_share", "", "busy time lost to crashes", "busy_lost_s / worker_busy_s."),
    Figure(
        "worker_utilisation", "", "utilisation %", "worker_busy_s / (limit of workers × makespan)."
    ),
    Figure("mean_in_flight", "calls", "mean in flight", "worker_busy_s / makespan."),
    Figure("crashes", "", "crashes", "How many `crash` there are."),
    Figure(
        "cells_done",
        "cells",
        "cells done",
        "How often a cell got a value, in all incarnations: a value that was lost and made again "
        "counts twice.",
    ),
    Figure(
        "cells_done_again",
        "cells",
        "cells lost to crashes",
        "Values that were lost, summed over the crashes.",
    ),
    Figure(
        "cells_done_again_share",
        "",
        "cells lost to crashes",
        "cells_done_again / cells_done.",
    ),
    Figure("in_flight_lost", "calls", "in flight lost", "Calls that ran at a crash."),
    Figure(
        "sampled_every",
        "rows",
        "waits and ages of",
        "n of the sample: waits and ages are those of every n-th row.",
    ),
    Figure("by_resource.calls", "calls", "calls", "Calls of the columns that take the resource."),
    Figure(
        "by_resource.cells_done",
        "cells",
        "cells",
        "cells_done of its columns, output cells of barriers left out.",
    ),
    Figure(
        "by_resource.busy_s",
        "s",
        "busy s",
        "As worker_busy_s, over its calls, each as often as it takes places of the resource.",
    ),
    Figure(
        "by_resource.utilisation",
        "",
        "utilisation %",
        "Its busy_s / (its limit × makespan); none without a limit.",
    ),
    Figure("by_resource.mean_in_flight", "places", "mean in flight", "Its busy_s / makespan."),
    Figure(
        "by_resource.wait_calls",
        "calls",
        "",
        "Its calls of cells and ranges that are in the sample; calls of barrier nodes are not.",
    ),
    Figure(
        "by_resource.wait_s",
        "s",
        "",
        "The sum of their waits. The wait of a call is from the time at which its cell, or the "
        "first cell of its range, was ready to its start. A call that did not start has no wait.",
    ),
    Figure("by_resource.mean_wait_s", "s", "mean wait s", "wait_s / wait_calls."),
    Figure(
        "by_resource.wait_p50_s, wait_p95_s, wait_p99_s",
        "s",
        "p50, p95, p99",
        "Percentiles of these waits.",
    ),
    Figure(
        "by_resource.mean_wait_q1_s … mean_wait_q4_s",
        "s",
        "mean wait s by quarter",
        "Their mean by the quarter of the makespan in which the call started; a start on the "
        "boundary of two is in the later one, one at the very end in the last.",
    ),
    Figure("by_column.calls", "calls", "calls", "Calls of the column."),
    Figure("by_column.cells_done", "cells", "cells done", "cells_done of the column."),
    Figure("by_column.busy_s", "s", "busy s", "As worker_busy_s, over calls of the column."),
    Figure("by_column.busy_s_per_cell", "s", "busy s per cell", "Its busy_s / its cells_done."),
    Figure(
        "by_column.call_p50_s, call_p95_s, call_p99_s",
        "s",
        "call s p50, p95, p99",
        "Percentiles over the delivered rows of the sample: from the start of the call that gave "
        "the cell its value, as it is at the end of the run, to its `complete`. What is skipped, "
        "found, or the output of a barrier is left out.",
    ),
    Figure(
        "row_time.mean_s",
        "s",
        "time of a row",
        "Over the rows of which row_age is the age, the mean seconds of their chains in this "
        "part. A part that nothing is in is left out. Together the parts are row_age_mean_s: "
        "each moment of a row is in one.",
    ),
    Figure("row_time.share", "", "time of a row", "Its mean_s / row_age_mean_s."),
    Figure(
        "incarnations.start_s, end_s, ended_by",
        "s",
        "start s, end s, ended by",
        "When the incarnation began and ended, and whether with a `crash` or with the `end`.",
    ),
    Figure(
        "incarnations.claimed_rows",
        "rows",
        "rows at start",
        "Rows from row 0 on without a gap whose cells are all resolved when it begins.",
    ),
    Figure("incarnations.cells_done", "cells", "cells done", "Values that cells got in it."),
    Figure(
        "incarnations.cells_lost",
        "cells",
        "of them lost",
        "Values lost at its crash.",
    ),
    Figure(
        "incarnations.in_flight_lost", "calls", "in flight lost", "Calls that ran at its crash."
    ),
    Figure("incarnations.busy_lost_s", "s", "busy s lost", "busy_lost_s of its crash."),
    Figure(
        "failures.retryable, backpressure, permanent",
        "calls",
        "retryable, back-pressure, permanent",
        "`fail` events of the column by `failure`, in all incarnations; a `timeout` is retryable.",
    ),
    Figure(
        "failures.rows_dropped",
        "rows",
        "rows dropped",
        f"{_AT_END}: dropped rows whose last `drop` names the column.",
    ),
    Figure(
        "failures.skipped",
        "cells",
        "cells skipped",
        f"{_AT_END}: skipped cells of the column in rows that are not dropped.",
    ),
    Figure("cost", "money", "cost", "The sum of by_endpoint.cost."),
    Figure(
        "binding.share",
        "",
        "binding",
        "The share of the makespan in which that held the run up. At each moment it is the first "
        "of these that applies. For each endpoint: a call is in its queue (`endpoint NAME`); a "
        "call was refused, and is not yet told or, without a throttle, sent again: of the first of "
        "these to be refused, what refused it, `by` in its `turned_away` or `refused` "
        "(`limit N (requests) NAME`, `limit N (tokens) NAME`, N as the scenario lists the limits; "
        "`outage NAME`; for a full queue `endpoint NAME`); a call waits for the throttle, before "
        "it is first sent or after it was told of a refusal: until `cool_down_s`, or the "
        "`retry_after_s` that the throttle heeds, have passed since the last that was told, what "
        "refused that one; then other calls of the client (`throttle NAME`). With a scheduler that "
        "takes time: two calls or more are before their `entered` or after their `answered` "
        "(`scheduler`). A node is ready to start, no stop has come or been asked for, and: a "
        "checkpoint that blocks is being written (`checkpoint`); too few places of a resource are "
        "free for such a node (`resource NAME`, the first in the scenario); as many calls as "
        "workers are (`workers`). The time is between a crash and its resume "
        "(`restart`). Nothing of all that: no call waits for anything but other calls "
        "(`pipeline`). The text "
        "calls an endpoint saturated that held the run up for 90 % of it.",
    ),
    Figure("by_endpoint.sent", "", "sent", "How many `sent` there are of calls of its columns."),
    Figure(
        "by_endpoint.accepted, refused",
        "",
        "accepted, refused",
        "How many of these were accepted, and refused.",
    ),
    Figure("by_endpoint.refused_share", "", "refused %", "Its refused / its sent."),
    Figure("by_endpoint.lost", "", "lost", "How many `lost` there are of calls of its columns."),
    Figure(
        "by_endpoint.mean_in_flight",
        "calls",
        "mean in flight",
        "The sum of queue_s, prefill_s and decode_s of its columns / makespan.",
    ),
    Figure(
        "by_endpoint.mean_decoding",
        "calls",
        "mean decoding",
        "The sum of decode_s of its columns / makespan.",
    ),
    Figure(
        "by_endpoint.as_much_with",
        "calls",
        "as much with",
        "The fewest calls that decode at once and do at least 99 % of the work a second that "
        "mean_decoding calls do, at the endpoint's speeds for so many; none without an endpoint, "
        "and where pipelines share it.",
    ),
    Figure(
        "by_endpoint.mean_limit",
        "calls",
        "mean limit",
        "The mean over the makespan of its throttle's limit: what the scenario says at the start "
        "and from each `crash` or `stop_requested` on, then `limit` of the last `request` that "
        "states it; none without a throttle.",
    ),
    Figure(
        "by_endpoint.prompt_tokens, output_tokens",
        "tokens",
        "prompt tokens, output tokens",
        "The sums over its items of the bill.",
    ),
    Figure("by_endpoint.cost", "money", "cost", "The sum over its items of the bill."),
    Figure(
        "call_times.line_s, refused_s, queue_s, prefill_s, decode_s",
        "s",
        "line s, refused s, queue s, prefill s, decode s",
        "The time that calls of the column were in each of their parts.",
    ),
    Figure("bill.calls", "", "calls", "How often a call of the column was paid for the cause."),
    Figure(
        "bill.prompt_tokens, output_tokens",
        "tokens",
        "prompt tokens, output tokens",
        "Their tokens.",
    ),
    Figure(
        "bill.cost",
        "money",
        "cost",
        "(prompt_tokens × (1 − cached_share) × prompt_per_million + output_tokens × "
        "output_per_million) / 1,000,000, at the endpoint's price; 0 without one.",
    ),
)

BESIDE: tuple[Figure, ...] = (
    Figure("pipelines", "", "", "The figures of each pipeline, as above, from its own trace."),
    Figure("makespan_s", "s", "", "The largest makespan_s of the pipelines."),
    Figure("common_endpoints.pipelines", "", "pipelines", "How many pipelines it serves."),
    Figure(
        "common_endpoints.sent, accepted, refused, lost, cost",
        "",
        "sent, accepted, refused, lost",
        "The sums of these over by_endpoint of the pipelines.",
    ),
    Figure("common_endpoints.refused_share", "", "refused %", "Its refused / its sent."),
    Figure(
        "common_endpoints.mean_in_flight",
        "calls",
        "mean in flight",
        "The sum over pipelines of mean_in_flight of by_endpoint × makespan_s of the pipeline / "
        "makespan_s of all.",
    ),
    Figure(
        "common_endpoints.utilisation",
        "",
        "utilisation %",
        "The sum over pipelines of prefill_s and decode_s of call_times at the endpoint / "
        "(its `max_in_flight` × makespan_s of all); none without `max_in_flight`.",
    ),
)
"""The figures of a scenario with pipelines beside it, where they are not those of one pipeline."""

_BESIDE = """\
A scenario with `beside` gives one JSON object with the figures of each pipeline in `pipelines`, and
of the endpoints that serve them in `common_endpoints`; its `fingerprint` is that of those of the
pipelines, one a line, as BLAKE2b with 16 bytes. CSV has a line for each pipeline, and with
`--trace FILE` each writes a trace, with its name before the end of FILE."""

_INTRODUCTION = """\
`cellspec run` prints these figures as text (`--format table`), JSON and CSV. Each follows from
the run's trace (`--trace FILE`) alone, by the definitions below. JSON keys are given as they stand
in an item of a list: `by_resource.calls` is `calls` of each item of `by_resource`. CSV has the
figures of the run, and those by resource as `resource.NAME.KEY`. A mean, share or percentile of
an empty set is none (`null` in JSON, an empty field in CSV, – in the text). Numbers are rounded to
twelve significant digits. `by_resource` has an item for each resource with a limit, and after
them one for the columns that take none, if there are any. `failures` is empty if the scenario has
no failures, skips, row groups, ranges or arrivals, and wants every row. `cost`, `by_endpoint`,
`call_times`, `bill` and `binding` are there if it has endpoints, throttles or a scheduler that
takes time; CSV has the first, and those by endpoint as `endpoint.NAME.KEY`.

`make recompute` works every figure of 10,000 random runs out from their traces, with a program that
shares nothing with the simulator (`tests/recompute`), and compares."""


_HEAD = ("| key | unit | in the text | definition |", "| --- | --- | --- | --- |")


def page_text() -> str:
    """The page ``simulations/figures.md``."""
    lines = [
        "# The figures of a run",
        "",
        _INTRODUCTION,
        "",
        "This page is made from `src/sim/figures.py` by `python -m sim.figures`.",
        "",
        "## Terms",
        "",
    ]
    lines += [f"- **{name}**: {text}" for name, text in TERMS]
    lines += [
        "",
        "## Figures",
        "",
        *_HEAD,
    ]
    lines += [f"| `{f.key}` | {f.unit} | {f.label} | {f.meaning} |" for f in FIGURES]
    rest = ", ".join(f"`{name}`" for name in FROM_SCENARIO)
    lines += ["", f"Beside them a result names the scenario and the judgement: {rest}."]
    lines += ["", "## Several pipelines", "", _BESIDE, "", *_HEAD]
    lines += [f"| `{f.key}` | {f.unit} | {f.label} | {f.meaning} |" for f in BESIDE]
    return "\n".join(lines) + "\n"


def help_text() -> str:
    """The same for a terminal, at most 98 characters wide."""

    def filled(title: str, text: str) -> str:
        plain = text.replace("`", "")
        return textwrap.fill(
            f"{title}: {plain}", 98, initial_indent="  ", subsequent_indent="      "
        )

    lines = ["terms of the figures:", *(filled(*term) for term in TERMS), "", "figures:"]
    for figure in FIGURES:
        unit = f" ({figure.unit})" if figure.unit else ""
        lines.append(filled(f"{figure.key}{unit}", figure.meaning))
    lines += ["", "figures of several pipelines (beside), as far as they are common:"]
    lines += [filled(figure.key, figure.meaning) for figure in BESIDE]
    return "\n".join(lines)


def main() -> int:
    """Print the page; an exit code of `cellspec.exit_codes`."""

    def command() -> int:
        put(page_text())
        return FINE

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
