"""The graph by definition: every node and edge written out, straight from the clauses.

Nothing here comes from the package but the value classes that name nodes and traits. It is slow and
obvious, and that is its use: the checks compare the reference, and every mutant, with it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from cellspec import BarrierNodeId, CellNodeId, ExecutionTraits, NodeId
from tests.matrix.examples import Example

_ANY = ExecutionTraits.BARRIER | ExecutionTraits.BATCH_BARRIER


class Definition:
    """All nodes of an example and what each depends on."""

    def __init__(self, example: Example) -> None:
        self.rows = example.rows
        self.names = [item[0] for item in example.columns]
        self.traits = {item[0]: item[3] for item in example.columns}
        self.batch_size = example.batch_size
        self.batched = {
            name: ExecutionTraits.BATCH_BARRIER in traits
            or (bool(traits & _ANY) and example.scope == "batch")
            for name, traits in self.traits.items()
        }
        producer = {made: item[0] for item in example.columns for made in (item[0], *item[5])}
        self.needs = {
            item[0]: list(dict.fromkeys(producer[need] for need in item[4]))
            for item in example.columns
        }
        self.deps: dict[NodeId, set[NodeId]] = {}
        for name in self.names:
            self._add(name)

    def is_barrier(self, name: str) -> bool:
        return bool(self.traits[name] & _ANY)

    def scopes(self, name: str) -> list[range]:
        """The row ranges of a barrier column's nodes."""
        if not self.is_barrier(name):
            return []
        if not self.batched[name]:
            return [range(self.rows)]
        assert self.batch_size is not None
        starts = range(0, self.rows, self.batch_size)
        return [range(start, min(start + self.batch_size, self.rows)) for start in starts]

    def barrier_of(self, name: str, row: int) -> BarrierNodeId:
        for number, scope in enumerate(self.scopes(name)):
            if row in scope:
                return BarrierNodeId(name, number if self.batched[name] else None)
        raise AssertionError(f"row {row} is in no scope of {name}")

    def _add(self, name: str) -> None:
        ordered = ExecutionTraits.ORDERED in self.traits[name]
        before: NodeId | None = None
        for scope in self.scopes(name):
            node = self.barrier_of(name, scope[0])
            self.deps[node] = {CellNodeId(row, need) for row in scope for need in self.needs[name]}
            if ordered and before is not None:
                self.deps[node].add(before)
            before = node
        for row in range(self.rows):
            cell = CellNodeId(row, name)
            if self.is_barrier(name):
                self.deps[cell] = {self.barrier_of(name, row)}
                continue
            self.deps[cell] = {CellNodeId(row, need) for need in self.needs[name]}
            if ordered and row:
                self.deps[cell].add(CellNodeId(row - 1, name))

    def ready(self, done: set[NodeId]) -> set[NodeId]:
        return {node for node, deps in self.deps.items() if node not in done and deps <= done}

    def row_complete(self, row: int, done: set[NodeId], claimed: Sequence[int] = ()) -> bool:
        """`claimed` gives rows claimed by column, in the order of `names`."""
        for index, name in enumerate(self.names):
            if CellNodeId(row, name) not in done:
                return False
            was_claimed = bool(claimed) and row < claimed[index]
            if self.is_barrier(name) and not was_claimed and self.barrier_of(name, row) not in done:
                return False
        return True

    def completed_rows(self, done: set[NodeId], claimed: Sequence[int] = ()) -> int:
        row = 0
        while row < self.rows and self.row_complete(row, done, claimed):
            row += 1
        return row

    def column_rows(self, name: str, done: set[NodeId], claimed: int = 0) -> int:
        inputs = [self.column_rows(need, done) for need in self.needs[name]]
        row, most = 0, min([self.rows, *inputs])
        while row < most and CellNodeId(row, name) in done:
            if self.is_barrier(name) and row >= claimed and self.barrier_of(name, row) not in done:
                break
            row += 1
        return row

    def claimable(self, done: set[NodeId], claim: Mapping[str, Collection[int]]) -> dict[str, Any]:
        """What a checkpoint of version 3 holds: each resolved cell that a claim may hold.

        `claim` is what the run was restored from; no row is dropped.
        """
        found: dict[str, set[int]] = {}
        while len(found) < len(self.names):
            for name in self.names:
                if not found.keys() >= set(self.needs[name]):
                    continue
                rows = {
                    row
                    for row in range(self.rows)
                    if CellNodeId(row, name) in done
                    and all(row in found[need] for need in self.needs[name])
                    and (
                        not self.is_barrier(name)
                        or row in claim[name]
                        or self.barrier_of(name, row) in done
                    )
                }
                found[name] = self.in_order(name, rows)
        return found

    def in_order(self, name: str, rows: set[int]) -> set[int]:
        """Those of the rows of a column that have all rows, or batches, before them."""
        if ExecutionTraits.ORDERED not in self.traits[name]:
            return rows
        first = min(set(range(self.rows + 1)) - rows)
        for scope in self.scopes(name):
            if first in scope:
                first = scope[-1] + 1
                break
        return {row for row in rows if row < first}

    def restored(self, claim: Mapping[str, Collection[int]]) -> set[NodeId]:
        """What is complete after a restore, by the general law."""
        done: set[NodeId] = {CellNodeId(row, name) for name in self.names for row in claim[name]}
        for name in self.names:
            for scope in self.scopes(name):
                if all(row in claim[name] for row in scope):
                    done.add(self.barrier_of(name, scope[0]))
        return done
