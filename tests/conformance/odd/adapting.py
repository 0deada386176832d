"""What the adapters of the odd engines share: the probe's pipeline in the engines' words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from cellspec.conformance import SKIPPED, BackPressure, Probe, Retryable, Table
from cellspec.graph.rules import ColumnRule
from tests.conformance.odd.pipeline import SKIP, Again, Busy, Column, Job

__all__ = ["job_of", "table_of"]


def job_of(probe: Probe) -> Job:
    """The job that a probe describes; its generators are the probe's calls."""
    limits = probe.work.limits
    return Job(
        columns=[_column(probe, rule) for rule in probe.graph.rules.columns],
        rows=probe.rows,
        folder=probe.folder,
        workers=limits.workers,
        resources=dict(limits.resources),
        attempts=probe.work.failures.max_attempts,
        every=probe.work.checkpoint_every_rows or 2,
    )


def _column(probe: Probe, rule: ColumnRule) -> Column:
    async def make(
        number: int, rows: list[int], inputs: list[dict[str, Any]]
    ) -> Sequence[str | None]:
        given = [
            {name: SKIPPED if value is SKIP else value for name, value in row.items()}
            for row in inputs
        ]
        try:
            if rule.is_barrier:
                return cast("list[str]", await probe.barrier(rule.name, number, rows, given))
            return [cast("str", await probe.cell(rule.name, rows[0], given[0]))]
        except BackPressure as error:
            raise Busy(error.retry_after_s or 1.0) from None
        except Retryable:
            raise Again from None

    return Column(
        name=rule.name,
        needs=tuple(probe.graph.rules.columns[need].name for need in rule.needs),
        make=make,
        scope_rows=rule.scope_rows,
        ordered=rule.ordered,
        resource=probe.work.limits.column_resource.get(rule.name, ""),
        leaves_out=lambda row: probe.wants_skip(rule.name, row),
        passes_skips=rule.propagates,
    )


def table_of(rows: dict[int, dict[str, Any]], dropped: Sequence[int] | set[int]) -> Table:
    """A table in the suite's words."""
    return Table(
        {
            row: {
                name: SKIPPED if value is SKIP else cast("str", value)
                for name, value in cells.items()
            }
            for row, cells in rows.items()
        },
        frozenset(dropped),
    )
