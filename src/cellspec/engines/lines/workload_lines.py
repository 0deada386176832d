"""A workload in the words of the protocol: the lines that begin a run, or ask for the table."""

from __future__ import annotations

from cellspec.conformance.run.probe import Probe
from cellspec.conformance.run.workload import Workload
from cellspec.engines.lines.to_engine import Checkpoints, Column, Failures, Limits, Read, Run
from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.rules import ColumnRule

__all__ = ["columns_of", "read_message", "run_message"]


def run_message(probe: Probe) -> Run:
    """The line that begins a run of the process."""
    work = probe.work
    limits, failures = work.limits, work.failures
    return Run(
        t=probe.now(),
        incarnation=probe.incarnation,
        folder=str(probe.folder),
        rows=probe.rows,
        columns=columns_of(work, probe.graph),
        limits=Limits(limits.workers, dict(limits.resources), limits.group_rows, limits.groups),
        failures=Failures(
            failures.max_attempts, failures.stop_window, failures.stop_rate, probe.timeout_s
        ),
        checkpoint=Checkpoints(work.checkpoint_every_rows, work.checkpoint_version),
        keep=work.keep,
        config=probe.graph.config,
        row_ids=probe.row_ids if work.row_ids else (),
    )


def read_message(probe: Probe) -> Read:
    """The line that asks for the table in a probe's folder.

    A run that was asked for fewer rows than are there may have died before it could refuse, so this
    names the most rows that any run was asked for.
    """
    work = probe.work
    graph = work.graph(max(range(work.incarnations), key=work.rows_of))
    return Read(
        folder=str(probe.folder),
        rows=graph.num_records,
        columns=columns_of(work, graph),
        row_ids=work.ids if work.row_ids else (),
    )


def columns_of(work: Workload, graph: ExecutionGraph) -> tuple[Column, ...]:
    """The columns of a workload, for one run of it."""
    rules = graph.rules

    def column(rule: ColumnRule) -> Column:
        return Column(
            name=rule.name,
            kind="barrier" if rule.is_barrier else "range" if rule.streamable else "cell",
            needs=tuple(rules.columns[need].name for need in rule.needs),
            scope_rows=rule.scope_rows,
            batched=rule.is_barrier and rule.batched,
            resource=work.limits.column_resource.get(rule.name),
            ordered=rule.ordered,
            skip_rows=tuple(
                row
                for row in range(graph.num_records if rule.may_skip else 0)
                if work.wants_skip(rule.name, row)
            ),
            passes_skips=rule.propagates,
        )

    return tuple(map(column, rules.columns))
