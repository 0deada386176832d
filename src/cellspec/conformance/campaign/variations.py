"""Variations: further properties of a drawn workload, which follow from the workload itself.

A workload is drawn small, for a violation must be readable. Some mistakes need more: a hundred
rows, three resources, values that look like something else, a stranger in the folder. Each is
added to a part of the workloads, by a hash of what was drawn, so that it changes no other draw.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import TypeAlias, get_args

from cellspec.conformance.run.foreign import FOREIGN, Reading
from cellspec.conformance.run.row_ids import RowIds
from cellspec.conformance.run.values import Texts
from cellspec.conformance.run.workload import Fault, Visit, Workload
from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.rowset import parts_touched
from cellspec.machine.limits import Limits

__all__ = ["step_count", "varied"]

_ROWS = (9, 12, 17, 33, 66, 101, 130, 200)
"""Numbers of rows: names that sort as texts, and the places where a byte or a page wraps."""

_MOST_CELLS = 400

_VISITS: tuple[Visit, ...] = ("", "", "", "config", "batch_size", "pipeline")

_Vary: TypeAlias = "Callable[[Workload, Callable[[str], int]], Workload]"


def varied(work: Workload, known: Collection[str]) -> Workload:
    """The workload with the properties that its hash asks for.

    Args:
        work: a workload as it was drawn.
        known: the capabilities of the engine.
    """
    drawn = repr((work.seed, work.order_seed, work.rows, work.crashes, len(work.columns)))

    def number(what: str) -> int:
        """A number that follows from the workload and from what it decides."""
        text = f"{drawn}\n{what}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "big")

    larger = _with_more_rows(work, number)
    if larger is not work:
        work = _with_later_steps(work, larger, number, known)
    for capability, vary in _VARIATIONS:
        if not capability or capability in known:
            work = vary(work, number)
    return work


def step_count(calls: Iterable[int], rows: int, every: int | None, known: Collection[str]) -> int:
    """Steps of a run, about: two of each call, and those of each time that rows are saved.

    Args:
        calls: by column, how many calls it takes.
        rows: of the dataset.
        every: rows between two saves; None for one save at the end.
        known: the capabilities of the engine.
    """
    saves = 1 if every is None else -(-rows // every)
    return 2 * sum(calls) + saves * (12 if "storage_steps" in known else 4)


def _step_count_of(work: Workload, known: Collection[str]) -> int:
    rules = _largest_graph(work).rules
    rows = max(work.rows, *work.targets, 0)
    calls = [rules.scope_count(rule.index) or rows for rule in rules.columns]
    return step_count(calls, rows, work.checkpoint_every_rows, known)


def _with_later_steps(
    work: Workload, larger: Workload, number: Callable[[str], int], known: Collection[str]
) -> Workload:
    """The larger one of two workloads, disturbed at the same parts of its run as the other.

    Most of the runs that save, and those without a crash, crash late, where much is claimed.
    An engine that claims its first rows at the very end goes on from nothing after the first of
    these crashes, and the second one finds it there.
    """
    before, after = (_step_count_of(one, known) for one in (work, larger))

    def later(steps: Iterable[int]) -> tuple[int, ...]:
        return tuple(step and 1 + (step - 1) * after // before for step in steps)

    crashes = later(work.crashes)
    every = work.checkpoint_every_rows
    # A process that is to be asked for fewer rows must die before they are claimed.
    if not work.targets and every and not work.stop_at and (not crashes or number("late") % 4):
        parts = (36 + number("late crash") % 20, 54 + number("second late crash") % 20)
        crashes = tuple(1 + part * after // 64 for part in parts)
    return larger.replace(
        limits=_with_more_groups(work, larger),
        crashes=crashes,
        stop_at=later(work.stop_at),
        worker_losses=later(work.worker_losses),
    )


def _with_more_groups(work: Workload, larger: Workload) -> Limits:
    """The limits of a larger workload: as many more groups as its scopes touch (GROUP-04)."""
    limits = work.limits
    if limits.groups is None or limits.group_rows is None:
        return limits
    more = _groups_of_a_scope(larger) - _groups_of_a_scope(work)
    return replace(limits, groups=limits.groups + more)


def _groups_of_a_scope(work: Workload) -> int:
    """How many row groups a scope touches at most."""
    rules = _largest_graph(work).rules
    scopes = [
        rules.scope_bounds(rule.index, scope)
        for rule in rules.columns
        for scope in range(rules.scope_count(rule.index))
    ]
    size = work.limits.group_rows or 1
    return max((len(parts_touched(*scope, size)) for scope in scopes), default=1)


def _largest_graph(work: Workload) -> ExecutionGraph:
    return work.graph(max(range(work.incarnations), key=work.rows_of))


def _with_more_rows(work: Workload, number: Callable[[str], int]) -> Workload:
    """One workload in eight with many rows; a part of its failures and skips moves to the end."""
    least = max(work.rows, *work.targets, 6)
    sizes = [rows for rows in _ROWS if rows > least and rows * len(work.columns) <= _MOST_CELLS]
    if number("many rows") % 8 or not sizes:
        return work
    if work.checkpoint_every_rows and number("far") % 4:
        # To have claims far behind the first rows for the next process to resume from.
        sizes = sizes[-3:]
    rows = sizes[number("rows") % len(sizes)]
    more = rows - work.rows
    of_scopes = _barriers(work)
    every = work.checkpoint_every_rows

    most = max(work.rows, *work.targets, 0)

    def moved(column: str, row: int) -> int:
        # Beyond the rows that there were, so that no two faults meet in one cell.
        moves = column not in of_scopes and row + more >= most and number(f"{column} {row}") % 2
        return row + more if moves else row

    # A cell of a larger target may be where another is moved to; the first one's failures stay.
    faults: dict[tuple[str, int, int], Fault] = {}
    for fault in work.faults:
        position = moved(fault.column, fault.position)
        faults.setdefault((fault.column, position, fault.call), replace(fault, position=position))
    return work.replace(
        rows=rows,
        targets=tuple(target + more for target in work.targets),
        faults=tuple(faults.values()),
        skips=tuple(dict.fromkeys((name, moved(name, row)) for name, row in work.skips)),
        # One save for each row would be most of the run.
        checkpoint_every_rows=every and max(every, rows // 8),
    )


def _with_many_retries(work: Workload, number: Callable[[str], int]) -> Workload:
    """One workload in eight with a column in which each cell fails once, all about together."""
    taken = {(fault.column, fault.position) for fault in work.faults}
    columns = [
        fault.column
        for fault in work.faults
        if fault.failure == "retryable" and (fault.column not in _barriers(work))
    ]
    if number("many retries") % 8 or not columns or work.failures.max_attempts == 1:
        return work
    rows = range(max(work.rows, *work.targets, 0))
    column = columns[number("column of retries") % len(columns)]
    more = [Fault(column, row, cool_down_s=0.25) for row in rows if (column, row) not in taken]
    return work.replace(faults=(*work.faults, *more))


def _barriers(work: Workload) -> frozenset[str]:
    return frozenset(rule.name for rule in work.graph().rules.columns if rule.is_barrier)


def _with_more_resources(work: Workload, number: Callable[[str], int]) -> Workload:
    """Half of the workloads that use a resource with two or three of them."""
    users = sorted(work.limits.column_resource)
    if len(users) < 2 or number("resources") % 2:
        return work
    names = ("r", "s", "t")[: 2 + number("third") % 2]
    resource_of = {name: names[number(f"resource of {name}") % len(names)] for name in users}
    used = sorted(set(resource_of.values()))
    resources = {name: 1 + number(f"slots of {name}") % 3 for name in used}
    return work.replace(
        limits=replace(work.limits, resources=resources, column_resource=resource_of)
    )


def _with_texts(work: Workload, number: Callable[[str], int]) -> Workload:
    """One workload in four with values that look like something else, in half of its columns."""
    if number("texts") % 4:
        return work
    looks = get_args(Texts)[1:]
    chosen = {
        item.name: looks[number(f"texts of {item.name}") % len(looks)]
        for item in work.columns
        if number(f"has texts {item.name}") % 2
    }
    return work.replace(texts=chosen)


def _with_row_ids(work: Workload, number: Callable[[str], int]) -> Workload:
    """Half of the workloads with rows that have ids of their own."""
    kinds = get_args(RowIds)[1:]
    if number("row ids") % 2:
        return work
    return work.replace(row_ids=kinds[number("kind of row ids") % len(kinds)])


def _with_visits(work: Workload, number: Callable[[str], int]) -> Workload:
    """Other processes begin in the folder after some of the crashes."""
    visits = [
        _VISITS[number(f"visit {place}") % len(_VISITS)] for place in range(len(work.crashes))
    ]
    if not any(visits):
        return work
    # A version that is not stated is not compared.
    versions = {item.name: "1" for item in work.columns} if "config" in visits else {}
    return work.replace(visits=tuple(visits), versions=versions)


def _with_foreign_failures(work: Workload, number: Callable[[str], int]) -> Workload:
    """Half of the workloads with exceptions that name no kind: these are permanent failures."""
    return _raising(work, number, "permanent")


def _with_foreign_exceptions(work: Workload, number: Callable[[str], int]) -> Workload:
    """The same with a reading that the engine is told."""
    reading: Reading = "retryable" if number("reading") % 2 else "permanent"
    plain = tuple(replace(fault, raises="") for fault in work.faults)
    return _raising(work.replace(faults=plain), number, reading)


def _raising(work: Workload, number: Callable[[str], int], reading: Reading) -> Workload:
    """Half of the workloads with foreign exceptions in place of failures of one kind.

    Half of their calls that are turned away until no time in particular do not say when to come
    back, as many a 429 has no such header.
    """
    if number("foreign") % 2:
        return work
    names = [name for name in FOREIGN if reading == "retryable" or name != "TimeoutError"]

    def varied_fault(fault: Fault) -> Fault:
        drawn = number(f"raises {fault.column} {fault.position} {fault.call}")
        if fault.failure == reading and not fault.answers and drawn % 3:
            return replace(fault, raises=names[drawn // 3 % len(names)])
        is_open = fault.failure == "backpressure" and not fault.cool_down_s and drawn % 2
        return replace(fault, cool_down_s=None) if is_open else fault

    return work.replace(foreign=reading, faults=tuple(map(varied_fault, work.faults)))


_VARIATIONS: tuple[tuple[str, _Vary], ...] = (
    ("retries", _with_many_retries),
    ("", _with_more_resources),
    ("any_text", _with_texts),
    ("row_ids", _with_row_ids),
    ("config", _with_visits),
    ("", _with_foreign_failures),
    # An engine that cannot be told how to read an exception does not know filters either: it
    # takes one that it does not know for permanent.
    ("filters", _with_foreign_exceptions),
)
"""Each variation with the capability that it needs; "" for none."""
