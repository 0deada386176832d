"""Answers from a cache: a node is complete without a call (clause CKPT-25).

A cache may outlive a crash although the run's claims do not cover what it holds. Its answers are
neither claims nor calls: a recalled node could start now, takes no worker and spends no attempt.

What one write made durable may take several reports. Of a process that dies between them nobody can
say that a value was not durable: whatever it had made may be recalled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from cellspec.errors import Violation
from cellspec.graph.nodes import barrier_key, column_of, place_of
from cellspec.graph.rowset import flagged, ranges_of, rows_of
from cellspec.machine.explain_refusal import (
    expect_running,
    judge_start,
    may_retry,
    refuse_barrier,
)
from cellspec.machine.run_state import RunState
from cellspec.state.claims import Rows, as_rows, covers, join, minus, normal
from cellspec.state.codes import CLAIMED, DONE, READY, RUNNING, has_begun
from cellspec.text import listed, row_words

__all__ = ["note_durable", "recall_barrier", "recall_cells"]

_IS_COMPLETE = bytes(code in (DONE, CLAIMED) for code in range(256))


def note_durable(run: RunState) -> None:
    """A process is over: what it made durable may be recalled, of a barrier for what it read."""
    for column, rows in enumerate(run.once_durable):
        safe = normal(run.on_storage.ranges(column))
        if run.cut_off:
            safe = join(safe, _made(run, column))
        run.once_durable[column] = join(rows, minus(safe, _without_value(run, column)))
    known = run.once_read
    if known is not None:
        for key, reads in run.reads.items():
            column, scope = column_of(key), place_of(key)
            span = run.graph.rules.scope_bounds(column, scope)
            if run.cut_off or run.on_storage.within(column, *span):
                known.setdefault(key, set()).add(reads)
    run.stored_at, run.cut_off = -math.inf, False


def _made(run: RunState, column: int) -> Rows:
    """The rows of a column that are complete."""
    body = run.counters.cells[column]
    if not isinstance(body, bytearray):
        return run.graph.num_records
    return as_rows([*flagged(body.translate(_IS_COMPLETE))])


def _without_value(run: RunState, column: int) -> Rows:
    """The rows of a column that are resolved without a value: skipped, or never made for a drop."""
    counters = run.counters
    return join(
        as_rows(ranges_of(counters.lost.get(column, ()))),
        as_rows(ranges_of(counters.skipped.get(column, ()))),
    )


def recall_cells(run: RunState, column: int, start: int, stop: int) -> None:
    """Cells ``[start, stop)`` of a column that is no barrier are complete without a call.

    Raises:
        Violation: CKPT-25 (no earlier incarnation made the value durable), SCHED-07, and what
            forbids the start of the cell, its worker apart.
    """
    counters = run.counters
    for row in range(start, stop):
        where = f"{run.name_of(column)}[{row}]"
        if not expect_running(run, f"recall of {where}"):
            return
        if counters.cells[column][row] != READY:
            with _named_a_recall(where):
                judge_start(run, column, row)
        if not covers(run.once_durable[column], row):
            _refuse(run, where)
        if not has_begun(counters.cells[column][row]):
            run.backoffs.pop((column, row), None)
            counters.offer(column, row)
            counters.recall(column, row)
            if run.since_loss is not None:
                run.since_loss.add(column, row, row + 1)


def recall_barrier(run: RunState, column: int, scope: int) -> None:
    """A barrier node is complete without a call; its output is given as after a run.

    Raises:
        Violation: as `recall_cells`; the output of each row that it reads was durable, and a call
            read exactly these rows.
    """
    key, counters = barrier_key(column, scope), run.counters
    where = run.where(key)
    if not expect_running(run, f"recall of {where}"):
        return
    state = counters.barrier_state(column, scope)
    with _named_a_recall(where):
        if state != READY and not may_retry(run, key, state):
            refuse_barrier(run, column, scope)
    reads = counters.reads(column, scope)
    if not all(covers(run.once_durable[column], row) for row in rows_of(reads)):
        _refuse(run, where)
    known = (run.once_read or {}).get(key)
    if known is not None and state < RUNNING and reads not in known:
        run.breaks(
            "CKPT-25",
            f"{where} is recalled from a cache for {row_words(reads)}, but its calls read "
            f"{listed(sorted(map(row_words, known)), 3)}",
        )
    if state < RUNNING:
        run.backoffs.pop(key, None)
        counters.resolve_barrier(column, scope)
        if run.since_loss is not None:
            run.since_loss.add(column, scope, scope + 1)


@contextmanager
def _named_a_recall(where: str) -> Iterator[None]:
    """What is refused as a start of a node is called a recall, for nothing started."""
    try:
        yield
    except Violation as broken:
        detail = broken.detail.replace(f"{where} starts ", f"{where} is recalled ")
        raise Violation(broken.clause, detail) from None


def _refuse(run: RunState, where: str) -> None:
    run.breaks(
        "CKPT-25",
        f"{where} is recalled from a cache, but no earlier incarnation made its value durable",
    )
