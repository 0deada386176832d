"""The tasks of Ray: what runs in its worker processes."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cellspec.conformance.run.values import SKIPPED
from cellspec.engines.remote import RemoteProbe
from cellspec.engines.rows.results import (
    Dropped,
    Result,
    first_dropped,
    has_skipped,
    patiently,
    values_of,
)
from cellspec.faults import Permanent

__all__ = ["BACK_OFF_S", "Spec", "run_barrier", "run_cell"]

BACK_OFF_S = 0.004
"""Seconds to wait before a call that was turned away without a time is made again."""


@dataclass(frozen=True, slots=True)
class Spec:
    """The work of a task.

    Attributes:
        column: the column.
        rows: the row of a cell, or the rows that a barrier may read.
        needs: the columns that it needs; the inputs of each row are in this order.
        may_skip: the column has a condition of its own.
        propagates: the column passes skips on.
        gave_up: Ray has given up the call: it has failed for good, and is left out.
    """

    column: str
    rows: tuple[int, ...]
    needs: tuple[str, ...]
    may_skip: bool
    propagates: bool
    gave_up: bool

    def by_row(self, inputs: Sequence[Result]) -> Iterator[tuple[int, dict[str, Result]]]:
        """Each row with its inputs; further inputs are there for the order alone."""
        width = len(self.needs)
        for place, row in enumerate(self.rows):
            mine = inputs[place * width : (place + 1) * width]
            yield row, dict(zip(self.needs, mine, strict=True))


def run_cell(call: RemoteProbe, spec: Spec, *inputs: Result) -> Result:
    """The task of a cell."""
    ((row, mine),) = spec.by_row(inputs)
    dropped = first_dropped(mine)
    if dropped is not None:
        return dropped
    if (spec.propagates and has_skipped(mine)) or (
        spec.may_skip and call.wants_skip(spec.column, row)
    ):
        call.ask("skip", spec.column, row)
        return SKIPPED
    if spec.gave_up:
        return Dropped(spec.column)
    attempt = _attempt()
    try:
        value: str = patiently(
            lambda: call.cell(spec.column, row, values_of(mine), attempt), BACK_OFF_S
        )
    except Permanent:
        return Dropped(spec.column)
    return value


def run_barrier(
    call: RemoteProbe, spec: Spec, scope: int, wanted: Sequence[int], *inputs: Result
) -> Any:
    """The task of a barrier: a result for each of its rows, None where none is wanted."""
    given = dict(spec.by_row(inputs))
    results: dict[int, Result | None] = {row: first_dropped(given[row]) for row in spec.rows}
    live = [row for row in spec.rows if results[row] is None]
    skips = [row for row in live if spec.propagates and has_skipped(given[row])]
    reads = [row for row in live if row not in skips]
    if any(row in wanted for row in reads):
        results.update(_barrier_values(call, spec, scope, reads, given))
    for row in skips:
        if row in wanted:
            call.ask("skip", spec.column, row)
            results[row] = SKIPPED
    values = [results[row] for row in spec.rows]
    return values if len(values) > 1 else values[0]


def _barrier_values(
    call: RemoteProbe,
    spec: Spec,
    scope: int,
    reads: Sequence[int],
    given: Mapping[int, Mapping[str, Result]],
) -> Mapping[int, Result]:
    failed = dict.fromkeys(reads, Dropped(spec.column))
    if spec.gave_up:
        return failed
    attempt = _attempt()
    mine = [values_of(given[row]) for row in reads]
    try:
        values = patiently(
            lambda: call.barrier(spec.column, scope, reads, mine, attempt), BACK_OFF_S
        )
    except Permanent:
        return failed
    return dict(zip(reads, values, strict=True))


def _attempt() -> int | None:
    """The number of Ray's attempt at this task, from 1; None if this release has no number."""
    # Ray has no public name for it.
    worker = importlib.import_module("ray._private.worker").global_worker
    number = getattr(worker.core_worker, "get_current_task_attempt_number", None)
    return None if number is None else int(number()) + 1
