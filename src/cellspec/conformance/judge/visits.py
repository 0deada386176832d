"""Visits: a process of somebody else begins in the folder of a run, and must leave it as it is.

Between two incarnations of a run the suite starts the engine in the run's folder with another
version of a column, another batch size or another pipeline (`Workload.visits`). The engine must
refuse, or begin in a fresh place (clauses CKPT-20 and CKPT-21). Either way the run's table must
read as before, and the table of a process that was not refused must hold its own values alone. The
next incarnation then goes on from the folder, and its resume is judged like any other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from cellspec.conformance.judge.run_end import first_line
from cellspec.conformance.judge.table_judge import TableJudge
from cellspec.conformance.run.backend import Backend, table_of
from cellspec.conformance.run.incarnations import Incarnation
from cellspec.conformance.run.probe import Probe, Refused
from cellspec.conformance.run.users_exit import pass_on
from cellspec.conformance.run.values import Registry, Table, Value
from cellspec.conformance.run.workload import Visit, Workload
from cellspec.errors import SpecError
from cellspec.graph.columns import ColumnDescriptor
from cellspec.state.claims import Rows, covers

__all__ = ["CLAUSE_OF", "BadVisit", "judge_visit", "visiting_workload"]

CLAUSE_OF: Mapping[Visit, str] = {
    "config": "CKPT-20",
    "batch_size": "CKPT-21",
    "pipeline": "CKPT-21",
}
"""The clause that judges each kind of visit."""

_WORDS: Mapping[Visit, str] = {
    "config": "another version of {column!r}",
    "batch_size": "another batch size",
    "pipeline": "another pipeline ({column})",
}


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BadVisit:
    """A visit that broke a clause: the clause, and the violation in one line."""

    clause: str
    detail: str


@dataclass(frozen=True, slots=True)
class Host:
    """The run whose folder a visitor is given.

    Attributes:
        backend: the engine.
        probe: the probe of the run's last incarnation.
        kept: the cells that storage must keep.
        by_column: a row may be half there.
    """

    backend: Backend
    probe: Probe
    kept: Mapping[tuple[str, int], Value]
    by_column: bool


def kept_cells(table: Table, claim: Mapping[str, Rows] | None) -> dict[tuple[str, int], Value]:
    """The cells of a table that a claim covers; all of them if claims are unknown."""
    return {
        (name, row): value
        for row, cells in sorted(table.rows.items())
        for name, value in cells.items()
        if claim is None or covers(claim.get(name, 0), row)
    }


def visiting_workload(
    work: Workload, kind: Visit, kept: Collection[tuple[str, int]], number: int = 0
) -> tuple[Workload, str] | None:
    """The work of a visitor, and its difference in words; None if there is nothing to protect.

    Args:
        work: the workload of the run.
        kind: what differs.
        kept: the cells that storage must keep.
        number: of the incarnation that is next. With the seed of the workload it says which column
            differs, and in what.
    """
    held = {name for name, _ in kept}
    columns = [item.name for item in work.columns if item.name in held]
    if kind == "config":
        # A version that the run did not state is not compared.
        columns = [name for name in columns if name in work.versions]
    if not columns:
        return None
    # As many rows as the run had, so that nothing else can be the reason of a refusal.
    rows = work.rows_of(max(number - 1, 0))
    plain = work.replace(
        rows=rows,
        targets=(),
        crashes=(),
        killers=(),
        visits=(),
        ends=(),
        faults=(),
        storage_faults=(),
        skips=tuple(cell for cell in work.skips if cell[1] < rows),
        rejects=tuple(cell for cell in work.rejects if cell[1] < rows),
        keep=False,
    )
    choice = work.seed + number
    if kind == "config":
        column = columns[choice % len(columns)]
        versions = {**work.versions, column: f"{work.versions[column]}+"}
        return plain.replace(versions=versions), _WORDS[kind].format(column=column)
    if kind == "pipeline":
        others = list(_other_pipelines(plain))
        other, words = others[choice % len(others)]
        return other, _WORDS[kind].format(column=words)
    if work.batch_size is None:
        return None
    words = _WORDS[kind]
    other = plain.replace(batch_size=work.batch_size + 1)
    same = other.graph().fingerprint == work.graph().fingerprint
    return None if same else (other, words)


def _other_pipelines(work: Workload) -> Iterator[tuple[Workload, str]]:
    """Pipelines like that of a workload, each with its difference in words: never none."""
    columns = work.columns
    yield work.replace(columns=(*columns, ColumnDescriptor("visitor"))), "one column more"
    for item in columns:
        for need in item.dependencies:
            left = tuple(name for name in item.dependencies if name != need)
            fewer = tuple(replace(item, dependencies=left) if c is item else c for c in columns)
            with suppress(SpecError):
                yield work.replace(columns=fewer), f"{item.name!r} does not read {need!r}"
    for item in columns:
        given = {item.name, *item.side_effects}
        others = tuple(other for other in columns if other is not item)
        if not others or any(given & set(other.dependencies) for other in others):
            continue
        resources = _without(work.limits.column_resource, item.name)
        with suppress(SpecError):
            yield (
                work.replace(
                    columns=others,
                    skips=tuple(cell for cell in work.skips if cell[0] != item.name),
                    rejects=tuple(cell for cell in work.rejects if cell[0] != item.name),
                    versions=_without(work.versions, item.name),
                    texts=_without(work.texts, item.name),
                    latency_s=_without(work.latency_s, item.name),
                    limits=replace(work.limits, column_resource=resources),
                ),
                f"without {item.name!r}",
            )


def _without(by_column: Mapping[str, T], column: str) -> dict[str, T]:
    return {name: value for name, value in by_column.items() if name != column}


def judge_visit(
    host: Host,
    visitor: Workload,
    ended: Incarnation,
    registry: Registry,
    kind: Visit,
    words: str,
) -> BadVisit | None:
    """The clause that a visit broke, or None.

    Args:
        host: the run that was visited.
        visitor: the work that the visitor was asked for.
        ended: the visitor's process, after its end.
        registry: the calls of the visitor.
        kind: what differs.
        words: the same in words.
    """

    def bad(detail: str) -> BadVisit:
        return BadVisit(CLAUSE_OF[kind], f"a process with {words} {detail}")

    if not isinstance(ended.error, Refused | SpecError):
        wrong = _wrong_if_let_in(host, visitor, ended, registry)
        if wrong:
            return bad(wrong)
    host.probe.folder = ended.left
    try:
        after = table_of(host.backend, host.probe)
    except Exception as error:
        pass_on(error)
        return bad(f"left a table that cannot be read any more: {first_line(error)}")
    for (name, row), value in host.kept.items():
        found = after.rows.get(row, {}).get(name)
        if found != value:
            there = "is gone" if found is None else f"is {found!r}, and was {value!r}"
            return bad(f"changed what it found: {name}[{row}] {there}")
    return None


def _wrong_if_let_in(host: Host, visitor: Workload, ended: Incarnation, registry: Registry) -> str:
    """What is wrong with a visitor that was not refused, in words; "" if it ran as it must."""
    if ended.error is not None:
        return f"was not refused, and died: {first_line(ended.error)}"
    ends = [entry for entry in ended.probe.log if entry["event"] == "end"]
    if not ends:
        return "was not refused, and did not report how it ended"
    ended.probe.folder = ended.left
    judge = TableJudge(visitor, registry, by_column=host.by_column)
    try:
        table = table_of(host.backend, ended.probe)
    except Exception as error:
        pass_on(error)
        return f"was let in, and its table cannot be read: {first_line(error)}"
    broken = judge.judge(ended.probe.incarnation, table, ends[0]["outcome"])
    return "" if broken is None else f"was let in, and its table is wrong: {broken.detail}"
