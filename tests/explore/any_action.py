"""Any action, as a broken engine might take it: most of them are forbidden."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import get_args

from cellspec import ColumnDescriptor, ExecutionGraph, Limits, Machine
from cellspec.conformance.run.workload import Workload
from cellspec.machine.actions import Action, Failure, Outcome
from tests.strategies import Case

PREFIX = "zz"
"""Before each column's name, so that no word of a message is one by chance."""


def renamed(case: Case) -> Case:
    """The same pipeline, with longer names."""

    def item(column: ColumnDescriptor) -> ColumnDescriptor:
        return replace(
            column,
            name=PREFIX + column.name,
            dependencies=tuple(PREFIX + name for name in column.dependencies),
            side_effects=tuple(PREFIX + name for name in column.side_effects),
        )

    return replace(case, columns=tuple(map(item, case.columns)))


def renamed_limits(limits: Limits) -> Limits:
    """Limits of a renamed pipeline."""
    taken = {PREFIX + name: used for name, used in limits.column_resource.items()}
    return replace(limits, column_resource=taken)


def any_action(machine: Machine, rng: random.Random) -> Action:
    """Some action on the machine's graph, right or wrong; calls of nodes more often than others."""
    graph = machine.graph
    column = rng.randrange(graph.num_columns)
    name = graph.column_names[column]
    rows = _span(rng, graph.num_records)
    row = (rows[0], rows[0] + 1)
    kind = rng.choice(_KINDS)
    if kind in ("start", "complete", "fail", "cancel"):
        attempt = rng.choice((1, 1, 1, 2, 3))
        failure: Failure | None = rng.choice(get_args(Failure)) if kind == "fail" else None
        until = rng.choice((None, machine.now + 1, machine.now - 1)) if kind == "fail" else None
        scopes = graph.rules.scope_count(column)
        if scopes and rng.random() < 0.7:
            reads = rng.choice((None, (rows,))) if kind == "start" else None
            return Action(
                kind,
                name,
                scope=rng.randrange(scopes),
                attempt=attempt,
                failure=failure,
                until=until,
                reads=reads,
            )
        span = rows if rng.random() < 0.2 else row
        return Action(kind, name, span, attempt=attempt, failure=failure, until=until)
    if kind in ("skip", "drop", "emit", "durable"):
        return Action(kind, name, rows)
    if kind in ("admit", "retire"):
        return Action(kind, rows=_group(machine, rng, rows))
    if kind == "end":
        outcome: Outcome = rng.choice(get_args(Outcome))
        return Action("end", outcome=outcome)
    if kind in ("checkpoint_begin", "resume"):
        return _claim(machine, rng, kind)
    return Action(kind)


_KINDS = (
    *("start", "start", "start", "start", "complete", "complete", "complete", "fail", "cancel"),
    *("emit", "emit", "skip", "drop", "durable", "admit", "admit", "retire"),
    *("checkpoint_begin", "checkpoint_durable", "checkpoint_failed"),
    *("crash", "resume", "resume", "stop", "end"),
)


def _span(rng: random.Random, total: int) -> tuple[int, int]:
    start = rng.randrange(total)
    return start, rng.randint(start + 1, total)


def _group(machine: Machine, rng: random.Random, rows: tuple[int, int]) -> tuple[int, int]:
    size = machine.limits.group_rows
    if size is None or rng.random() < 0.2:
        return rows
    start = rows[0] - rows[0] % size
    return start, min(start + size, machine.graph.num_records)


def _claim(machine: Machine, rng: random.Random, kind: str) -> Action:
    total = machine.graph.num_records
    claim = rng.choice(
        (
            machine.durable_claim,
            machine.pending_claim or machine.durable_claim,
            machine.claim(1),
            machine.claim(2),
            tuple(rng.randint(0, total) for _ in machine.durable_claim),
        )
    )
    if kind == "checkpoint_begin":
        return Action(kind, claim=claim)
    rows = _span(rng, total)
    return Action(
        kind,
        claim=claim,
        dropped=rng.choice((None, None, (), (rows,))),
        skipped=rng.choice((None, None, {}, {machine.graph.column_names[0]: (rows,)})),
        records=rng.choice((None, None, None, total + 1, max(total - 1, 1))),
        keep=rng.random() < 0.3,
    )


def graph_of(case: Case) -> ExecutionGraph:
    """The graph of a renamed case."""
    return renamed(case).graph()


def renamed_workload(work: Workload) -> Workload:
    """The same workload, with longer names."""

    def long(name: str) -> str:
        return PREFIX + name

    return work.replace(
        columns=renamed(Case(work.rows, work.columns)).columns,
        limits=renamed_limits(work.limits),
        latency_s={long(name): seconds for name, seconds in work.latency_s.items()},
        faults=tuple(replace(fault, column=long(fault.column)) for fault in work.faults),
        skips=tuple((long(name), row) for name, row in work.skips),
        ends=tuple(replace(end, column=long(end.column)) for end in work.ends),
        rejects=tuple((long(name), row) for name, row in work.rejects),
        killers=tuple((long(name), row) for name, row in work.killers),
        versions={long(name): version for name, version in work.versions.items()},
        texts={long(name): texts for name, texts in work.texts.items()},
    )
