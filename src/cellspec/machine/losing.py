"""The loss of a worker, and the results that went with it (clause FAIL-08).

The worker that made a result may be the only one that holds it until it is durable. When the worker
is lost, so are such results: they alone are pending again, and are made again before a node that
waits for them starts. Dependents that run or are complete have their value, and stay. A lost result
of a row group that has retired is made again without another admission.
"""

from __future__ import annotations

from cellspec.graph.nodes import NodeKey, barrier_key, cell_key
from cellspec.graph.rowset import GrowingRows
from cellspec.machine.explain_refusal import expect_running
from cellspec.machine.run_state import RunState
from cellspec.state.codes import DONE, READY

__all__ = [
    "lose_barrier",
    "lose_cells",
    "may_lose",
    "may_lose_barrier",
    "worker_lost",
]


def worker_lost(run: RunState) -> None:
    """A worker is gone, with results that only it held: none that is made from now on."""
    if expect_running(run, "loss of a worker"):
        run.since_loss = GrowingRows(run.graph.num_records, run.graph.num_columns)


def lose_cells(run: RunState, column: int, start: int, stop: int) -> None:
    """The values of cells ``[start, stop)`` of a column that is no barrier went with a worker.

    That of a dropped row is wanted by nobody, and changes nothing.

    Raises:
        Violation: FAIL-08 (no worker was lost, or a cell is durable or not complete), SCHED-07.
    """
    name = run.name_of(column)
    if not _expect_loss(run, f"{name}[{start}]"):
        return
    lost = []
    for row in range(start, stop):
        why = _why_kept(run, column, row)
        if why:
            run.breaks("FAIL-08", f"{name}[{row}] is lost with a worker, but {why}")
        elif row not in run.counters.dropped:
            lost.append(row)
    for row in lost:
        _note(run, (column, row))
        run.counters.lose(column, row)
    _keep_blocked(run)


def _why_kept(run: RunState, column: int, row: int) -> str:
    """Why a cell cannot lose its value, in words; "" if it can."""
    counters = run.counters
    if counters.cells[column][row] < DONE:
        return "is not complete"
    if counters.is_claimed(column, row):
        return "was claimed by a checkpoint"
    if counters.is_skipped(column, row):
        return "was skipped"
    unmade = counters.lost.get(column)
    if unmade is not None and row in unmade:
        return "was never made: its row was dropped"
    if _is_later(run, column, row):
        return "was made after the loss"
    return "is durable" if run.on_storage.within(column, row, row + 1) else ""


def _is_later(run: RunState, column: int, place: int) -> bool:
    """True if a row, or a scope of a barrier, was made since the last worker was lost."""
    known = run.since_loss
    return known is not None and known.first_outside(column, place, place + 1) < 0


def may_lose(run: RunState, column: int, row: int) -> bool:
    """True if the value of a cell is wanted, and may go with a worker."""
    return not _why_kept(run, column, row) and row not in run.counters.dropped


def lose_barrier(run: RunState, column: int, scope: int) -> None:
    """What a barrier node gave, and is not durable, went with a worker.

    Raises:
        Violation: FAIL-08 (no worker was lost, the barrier node is not complete, or all that it
            gave is durable), SCHED-07.
    """
    key = barrier_key(column, scope)
    where = run.where(key)
    if not _expect_loss(run, where):
        return
    why = _why_output_kept(run, column, scope)
    if why:
        run.breaks("FAIL-08", f"{where} is lost with a worker, but {why}")
        return
    live = _live_output(run, column, scope)
    if live:
        _note(run, key)
        # What was given has been read, perhaps: it is made again, and not skipped.
        given = (row for row in live if run.counters.cells[column][row] == DONE)
        run.gone.update(
            cell_key(column, row)
            for row in given
            if not run.on_storage.within(column, row, row + 1)
        )
        span = run.graph.rules.scope_bounds(column, scope)
        run.counters.lose_barrier(column, scope, run.on_storage.within(column, *span))


def _why_output_kept(run: RunState, column: int, scope: int) -> str:
    """Why what a barrier node gave cannot be lost, in words; "" if it can."""
    if run.counters.barrier_state(column, scope) != DONE:
        return "is not complete"
    if (column, scope) in run.counters.unrun:
        return "never ran"
    if _is_later(run, column, scope):
        return "ran after the loss"
    live = _live_output(run, column, scope)
    kept = sum(bool(run.on_storage.within(column, row, row + 1)) for row in live)
    return "all that it gave is durable" if live and kept == len(live) else ""


def _live_output(run: RunState, column: int, scope: int) -> list[int]:
    """The rows that hold, or are to get, output of a complete barrier node."""
    counters = run.counters
    rows = range(*run.graph.rules.scope_bounds(column, scope))
    body = counters.cells[column]
    return [
        row
        for row in rows
        if row not in counters.dropped
        and not counters.is_skipped(column, row)
        and body[row] in (READY, DONE)
    ]


def may_lose_barrier(run: RunState, column: int, scope: int) -> bool:
    """True if what a barrier node gave is wanted, and may go with a worker."""
    return not _why_output_kept(run, column, scope) and bool(_live_output(run, column, scope))


def _expect_loss(run: RunState, where: str) -> bool:
    """True if a process runs whose results may be lost, for it has lost a worker."""
    if not expect_running(run, f"loss of {where}"):
        return False
    if run.since_loss is None:
        run.breaks("FAIL-08", f"{where} is lost although no worker was")
    return True


def _note(run: RunState, key: NodeKey) -> None:
    """A node is to be made again; its attempts go on if they are still known."""
    run.gone.add(key)
    if run.forget_at and key not in run.attempts:
        run.uncounted.add(key)


def _keep_blocked(run: RunState) -> None:
    """A column that is open again starts no cell of a run that stops, or in a pause."""
    if run.counters.starts_blocked:
        run.counters.block_starts()
    elif run.is_paused and "SCHED-16" not in run.waived:
        run.counters.block_calls()
