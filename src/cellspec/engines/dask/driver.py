"""The driver of Dask: one run of the process as a graph of Dask, and the results that come back."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from cellspec.conformance.run.probe import Probe
from cellspec.engines.dask.calls import CallBroker, Calls
from cellspec.engines.dask.tasks import Job, make_cell, output_of, run_barrier
from cellspec.engines.rows import DriverState
from cellspec.graph.rules import ColumnRule

__all__ = ["Driver", "Key"]

Key: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True)
class _EarlierFirst:
    """The priority of a key: the earlier its first row, the higher. Dask calls it with the key."""

    rows_of_one: int

    def __call__(self, key: Key) -> int:
        return -key[1] * self.rows_of_one


class ReportedState(DriverState):
    """The driver's state; the `CallBroker` has reported dropped rows already."""

    def drop(self, row: int, column: str) -> None:
        self.dropped[row] = column
        self.tracker.mark_dropped(row)


class Driver:
    """Gives one run of the process to Dask as a graph, and keeps the results that come back.

    Each method is one decision, so that a test can override one to make an engine that is wrong.

    Args:
        probe: the probe of this run.
        elsewhere: tasks run in other processes, which may die.
    """

    state_class: type[DriverState] = ReportedState
    broker_class: type[CallBroker] = CallBroker

    def __init__(self, probe: Probe, *, elsewhere: bool) -> None:
        self.probe = probe
        self.state = self.state_class(probe)
        self.broker = self.broker_class(probe, remembers=elsewhere)
        self.rules = probe.work.graph(probe.incarnation).rules
        self._mark = secrets.token_hex(4)
        self._arrived: dict[Key, Any] = {}

    def drive(self, client: Any, calls: Calls) -> None:
        """Have Dask run every task that is left.

        Raises:
            Crash: the process is gone.
            Exception: a task raised it, and Dask does not run that task again.
        """
        from distributed import as_completed

        graph, nodes = self.graph(calls)
        futures = client.get(graph, list(nodes), sync=False)
        try:
            done = as_completed(futures, loop=client.loop, with_results=True, raise_errors=False)
            for batch in done.batches():
                self._check_crash()
                for future, result in batch:
                    if future.status != "finished":
                        self._give_up(future, result)
                    self._arrived[nodes[future.key]] = result
                self._settle()
                self.state.save_if_due()
        finally:
            for future in futures:
                # Dask stops running a task when its last future is released.
                future.release()

    def _check_crash(self) -> None:
        if self.broker.crash is not None:
            raise self.broker.crash

    def _give_up(self, future: Any, result: Any) -> None:
        error = result[1] if future.status == "error" else None
        if isinstance(error, Exception):
            raise error
        raise RuntimeError(f"{future.key}: Dask ended it as {future.status}")

    # The graph

    def graph(self, calls: Calls) -> tuple[Any, dict[Key, Key]]:
        """The tasks that are left, as a Dask graph; and the node of each key that is awaited."""
        from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

        layers: dict[str, Any] = {}
        waits: dict[str, set[str]] = {}
        nodes: dict[Key, Key] = {}
        for rule in self.rules.columns:
            tasks = self.barriers(rule, calls) if rule.is_barrier else self.cells(rule, calls)
            kind = "barrier" if rule.is_barrier else "cell"
            layers[self._layer(rule.name, kind)] = MaterializedLayer(
                tasks, annotations=self.annotations(rule)
            )
            waits[self._layer(rule.name, kind)] = {
                self._layer(self.rules.columns[need].name, "cell") for need in rule.needs
            }
            nodes |= {key: (rule.name, key[1]) for key in tasks}
            if rule.is_barrier:
                outputs = self.outputs(rule)
                layers[self._layer(rule.name, "cell")] = MaterializedLayer(
                    outputs, annotations={"priority": _EarlierFirst(1)}
                )
                waits[self._layer(rule.name, "cell")] = {self._layer(rule.name, "barrier")}
        return HighLevelGraph(layers, waits), nodes

    def cells(self, rule: ColumnRule, calls: Calls) -> dict[Key, Any]:
        """The tasks of a column of cells."""
        return {
            self.key(rule.name, "cell", row): (
                make_cell,
                Job(calls, rule.name, row, self.needs(rule)),
                self.inputs(rule, row),
                self.before(rule, row),
            )
            for row in range(self.rules.num_records)
            if self.state.result(rule.name, row) is None
        }

    def before(self, rule: ColumnRule, row: int) -> list[Any]:
        """The inputs that a cell waits for without being given them: in order, the row before."""
        row = self.state.row_before(row) if rule.ordered else -1
        return [self.result(rule.name, row)] if row >= 0 else []

    def barriers(self, rule: ColumnRule, calls: Calls) -> dict[Key, Any]:
        """The tasks of a barrier, for the scopes whose output is wanted."""
        tasks: dict[Key, Any] = {}
        before: list[Key] = []
        for scope, rows in self._scopes(rule):
            wanted = self.wanted(rule, rows)
            if not wanted:
                continue
            live = tuple(row for row in rows if row not in self.state.dropped)
            key = self.key(rule.name, "barrier", scope)
            tasks[key] = (
                run_barrier,
                Job(calls, rule.name, scope, self.needs(rule), live, wanted),
                [self.inputs(rule, row) for row in live],
                before,
            )
            before = [key] if rule.ordered else []
        return tasks

    def outputs(self, rule: ColumnRule) -> dict[Key, Any]:
        """The tasks of a barrier's output cells."""
        return {
            self.key(rule.name, "cell", row): (
                output_of,
                self.key(rule.name, "barrier", scope),
                row,
            )
            for scope, rows in self._scopes(rule)
            for row in self.wanted(rule, rows)
        }

    def needs(self, rule: ColumnRule) -> tuple[str, ...]:
        """The columns whose results are inputs of this column's tasks."""
        return tuple(self.rules.columns[need].name for need in rule.needs)

    def inputs(self, rule: ColumnRule, row: int) -> list[Any]:
        """Those results in one row, or the keys of the tasks that make them."""
        return [self.result(name, row) for name in self.needs(rule)]

    def result(self, column: str, row: int) -> Any:
        """The result of a cell, or the key of the task that makes it."""
        known = self.state.result(column, row)
        return self.key(column, "cell", row) if known is None else known

    def wanted(self, rule: ColumnRule, rows: Iterable[int]) -> tuple[int, ...]:
        """The rows whose output a barrier has still to give."""
        return self.state.wanted(rule.name, rows)

    def annotations(self, rule: ColumnRule) -> dict[str, Any]:
        """A column's annotations: retries, priority and the resource of each task."""
        found: dict[str, Any] = {
            "retries": self.retries(),
            "priority": _EarlierFirst(rule.scope_rows or 1),
        }
        resource = self.probe.work.limits.column_resource.get(rule.name)
        if resource is not None:
            found["resources"] = {resource: 1}
        return found

    def retries(self) -> int:
        """How often Dask may run a task again."""
        return self.probe.work.failures.max_attempts - 1

    def _scopes(self, rule: ColumnRule) -> Iterator[tuple[int, range]]:
        for scope in range(self.rules.scope_count(rule.index)):
            yield scope, range(*self.rules.scope_bounds(rule.index, scope))

    def _layer(self, column: str, kind: str) -> str:
        return f"{column}-{kind}-{self._mark}"

    def key(self, column: str, kind: str, position: int) -> Key:
        return (self._layer(column, kind), position)

    # Results

    def _settle(self) -> None:
        """Take over the results that have arrived, each node after those that it needs.

        Dask ends tasks in the order of their dependencies, and reports tasks that end together in
        any order.
        """
        for rule in self.rules.columns:
            mine = sorted(at for name, at in self._arrived if name == rule.name)
            for position in mine:
                if self._has_needs(rule, position):
                    self._take(rule, position, self._arrived.pop((rule.name, position)))

    def _has_needs(self, rule: ColumnRule, position: int) -> bool:
        rows: Sequence[int] = (position,)
        if rule.is_barrier:
            rows = range(*self.rules.scope_bounds(rule.index, position))
        before = self.state.row_before(rows[0]) if rule.ordered else -1
        if before >= 0 and self.state.result(rule.name, before) is None:
            return False
        return all(
            self.state.result(name, row) is not None for name in self.needs(rule) for row in rows
        )

    def _take(self, rule: ColumnRule, position: int, result: Any) -> None:
        if rule.is_barrier:
            node = self.state.graph.barrier_node(rule.index, position)
            self.state.settle_barrier(node, result)
        else:
            self.state.settle(rule.name, position, result)
