"""The driver of Ray: it gives Ray the tasks of one run of the process, and keeps their results."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from cellspec.conformance.run.probe import Crash, Probe
from cellspec.engines.ray.instance import RESOURCES, WORKERS, part_of
from cellspec.engines.ray.row_groups import RowGroups
from cellspec.engines.ray.tasks import Spec, run_barrier, run_cell
from cellspec.engines.remote import Gone, RemoteProbe
from cellspec.engines.rows import DriverState, Dropped, Result
from cellspec.faults import Retryable
from cellspec.graph.nodes import BarrierNodeId, CellNodeId, NodeId
from cellspec.graph.rules import ColumnRule

__all__ = ["Driver", "Given", "Key"]

_LOOK_AGAIN_S = 0.004
_PROBE_LOOKS_S = 5.0
_WINDOW = 1000
"""References that the driver waits for at once: of those that are open, the first."""

Ref: TypeAlias = Any
Key: TypeAlias = tuple[str, int]
"""A cell: its column and its row."""


class Driver:
    """Gives Ray the tasks of one run of the process, and keeps their results.

    Args:
        ray: the module.
        probe: the probe of this run.
        call: the same probe, for tasks in other processes.
    """

    state_class: type[DriverState] = DriverState

    def __init__(self, ray: Any, probe: Probe, call: RemoteProbe) -> None:
        self.ray = ray
        self.probe = probe
        self.call = call
        self.state = self.state_class(probe)
        self.rules = self.state.graph.rules
        self.groups = RowGroups(probe, self.state)
        self.refs: dict[Key, Ref] = {}
        self.given: dict[NodeId, Given] = {}
        """The nodes whose tasks Ray has, without a result so far; each after its needs."""
        self.left: list[NodeId] = []
        """The nodes that Ray still has to be given, in the same order."""
        self._remote: dict[tuple[str, int], Any] = {}

    def run(self) -> None:
        """Run to the end.

        Raises:
            Crash: the process is gone.
            Refused: a resume that does not fit.
        """
        self.state.restore()
        self.left = [node for node in self.state.graph.iter_nodes() if self._is_task(node)]
        self._admit()
        while not self.state.complete:
            self._wait_for_results()
            self.state.save_if_due()
            if self.groups.retire():
                self._admit()
        self.state.save()
        self.probe.end("success")

    # Tasks

    def rule_of(self, node: NodeId) -> ColumnRule:
        """The rule of a node's column."""
        return self.rules.columns[self.rules.index[node.column]]

    def rows_of(self, node: NodeId) -> list[int]:
        """The row of a cell; the rows of a barrier's scope that are live."""
        if isinstance(node, CellNodeId):
            return [node.row]
        start, stop = self.rules.scope_bounds(self.rule_of(node).index, node.batch or 0)
        return [row for row in range(start, stop) if row not in self.state.dropped]

    def needs_of(self, node: NodeId) -> list[Key]:
        """The cells whose values are inputs of a node's call, row by row."""
        needs = [self.rules.columns[need].name for need in self.rule_of(node).needs]
        return [(need, row) for row in self.rows_of(node) for need in needs]

    def after(self, node: NodeId) -> list[Key]:
        """The cell of an ordered column that must be resolved first; no call reads it."""
        rule, rows = self.rule_of(node), self.rows_of(node)
        if not rule.ordered or not rows:
            return []
        if isinstance(node, CellNodeId):
            row = self.state.row_before(node.row)
            return [(node.column, row)] if row >= 0 else []
        before = range((node.batch or 0) * rule.scope_rows)
        keys = [(node.column, row) for row in before]
        # Any live row of the scope before waits for its barrier.
        waiting = [key for key in keys if key in self.refs and self.state.result(*key) is None]
        return waiting[-1:]

    def options_of(self, node: NodeId) -> dict[str, Any]:
        """Ray's options for a node's task: its resources and its retries."""
        limits = self.probe.work.limits
        taken = {} if limits.workers is None else {WORKERS: part_of(limits.workers)}
        resource = limits.column_resource.get(node.column)
        if resource is not None:
            place = list(limits.resources).index(resource)
            taken[RESOURCES[place]] = part_of(limits.resources[resource])
        return {
            "num_cpus": 1,
            "resources": taken,
            "max_retries": self.probe.work.failures.max_attempts - 1,
            "retry_exceptions": [Retryable],
        }

    def spec_of(self, node: NodeId, rows: Iterable[int], *, gave_up: bool) -> Spec:
        """The work of a node's task, for these rows."""
        rule = self.rule_of(node)
        return Spec(
            node.column,
            tuple(rows),
            tuple(self.rules.columns[need].name for need in rule.needs),
            may_skip=rule.may_skip,
            propagates=rule.propagates,
            gave_up=gave_up,
        )

    def _is_task(self, node: NodeId) -> bool:
        """True if a node is still to be run by a task of its own."""
        if isinstance(node, BarrierNodeId):
            return bool(self.state.wanted(node.column, self.rows_of(node)))
        rule = self.rule_of(node)
        if rule.is_barrier:
            return False
        return self.state.result(node.column, node.row) is None

    def _admit(self) -> None:
        """Admit row groups, and give Ray all tasks whose inputs are there or on their way."""
        self.groups.admit()
        left, self.left = self.left, []
        for node in left:
            inputs = [*self.needs_of(node), *self.after(node)]
            if not self._is_task(node):
                continue
            if self.groups.admits(self.rows_of(node)) and all(map(self._is_there, inputs)):
                self.submit(node)
            else:
                self.left.append(node)

    def _is_there(self, key: Key) -> bool:
        return key in self.refs or self.state.result(*key) is not None

    def input_of(self, key: Key) -> Any:
        """The input for a cell: its result, if the driver has it, else a reference."""
        known = self.state.result(*key)
        return self.refs[key] if known is None else known

    def submit(self, node: NodeId, *, gave_up: bool = False) -> None:
        """Give Ray the task of a node."""
        rows = self.rows_of(node)
        spec = self.spec_of(node, rows, gave_up=gave_up)
        keys = [*self.needs_of(node), *self.after(node)]
        inputs = [self.input_of(key) for key in keys]
        if isinstance(node, BarrierNodeId):
            wanted = self.state.wanted(node.column, rows)
            task = self.task(run_barrier, node, len(rows))
            refs = task.remote(self.call, spec, node.batch or 0, wanted, *inputs)
        else:
            refs = self.task(run_cell, node, 1).remote(self.call, spec, *inputs)
        refs = refs if isinstance(refs, list) else [refs]
        for key in self.given[node].keys(node) if node in self.given else ():
            del self.refs[key]
        self.given[node] = Given(rows, keys, refs)
        self.refs.update(zip(self.given[node].keys(node), refs, strict=True))

    def task(self, function: Callable[..., Any], node: NodeId, rows: int) -> Any:
        known = self._remote.get((node.column, rows))
        if known is None:
            options = {"name": node.column, "num_returns": rows, **self.options_of(node)}
            known = self._remote[node.column, rows] = self.ray.remote(**options)(function)
        return known

    # Results

    def _wait_for_results(self) -> None:
        """Wait until a task has ended, and take over the results of all that have ended."""
        open_now = list(itertools.islice(self.given.items(), _WINDOW))
        firsts = [given.refs[0] for _, given in open_now]
        self.ray.wait(firsts, num_returns=1)
        ended = set(self.ray.wait(firsts, num_returns=len(firsts), timeout=0)[0])
        for node, given in open_now:
            # Ray may report the later of two tasks first; and a task that was given to Ray again
            # has not ended.
            if given.refs[0] not in ended or self.given.get(node) is not given:
                continue
            if all(self.state.result(*key) is not None for key in given.inputs):
                self._take(node, given)

    def _take(self, node: NodeId, given: Given) -> None:
        try:
            values: list[Result] = self.ray.get(given.refs)
        except Exception as error:
            self.failed(node, error)
            return
        self._forget(node)
        if isinstance(node, CellNodeId):
            self.state.settle(node.column, node.row, values[0])
        else:
            wanted = set(self.state.wanted(node.column, given.rows))
            every = zip(given.rows, values, strict=True)
            self.state.settle_barrier(node, {row: value for row, value in every if row in wanted})

    def _forget(self, node: NodeId) -> None:
        for key in self.given.pop(node).keys(node):
            del self.refs[key]

    def failed(self, node: NodeId, error: Exception) -> None:
        """Ray gave up a task, and with it its dependents: give those to Ray again."""
        if isinstance(error, Gone):
            raise Crash("the process is gone") from None
        errors = self.ray.exceptions
        in_task = isinstance(error, errors.RayTaskError)
        if not isinstance(error, Retryable) and (in_task or not isinstance(error, errors.RayError)):
            raise error
        self._wait_for_probe(node)
        stale = set(self.given[node].keys(node))
        if isinstance(node, CellNodeId):
            self._forget(node)
            self.state.settle(node.column, node.row, Dropped(node.column))
        else:
            self.submit(node, gave_up=True)
        for other, given in list(self.given.items()):
            if not stale.intersection(given.inputs):
                continue
            stale.update(given.keys(other))
            if self._is_task(other):
                self.submit(other)
            else:
                self._forget(other)

    def _wait_for_probe(self, node: NodeId) -> None:
        """Wait until the probe has recorded the end of a node's call.

        Ray may learn of a dead worker before the probe looks at its connection again.
        """
        place = "rows" if isinstance(node, CellNodeId) else "scope"
        position = node.row if isinstance(node, CellNodeId) else node.batch or 0
        until = time.monotonic() + _PROBE_LOOKS_S
        while time.monotonic() < until:
            mine = [
                entry["event"]
                for entry in list(self.probe.log)
                if entry.get("column") == node.column and entry.get(place) == position
            ]
            if mine[-1:] != ["start"]:
                return
            time.sleep(_LOOK_AGAIN_S)


@dataclass(frozen=True, slots=True)
class Given:
    """A task that Ray has: the rows of its node, its inputs, and the reference of each row."""

    rows: list[int]
    inputs: list[Key]
    refs: list[Ref]

    def keys(self, node: NodeId) -> list[Key]:
        """The cells that the task resolves."""
        return [(node.column, row) for row in self.rows]
