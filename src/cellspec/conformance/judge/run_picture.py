"""The picture of a run at one moment: the nodes in flight, resolved, dropped, skipped and claimed.

`cellspec.conformance.judge.coverage` keeps it while it reads the events of a run. The judges
use pictures of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from cellspec.conformance.run.workload import Workload

__all__ = ["Claimed", "Node", "RunPicture", "rows_of_claim", "span_of"]

Node: TypeAlias = tuple[int, bool, int]
"""A column by position, whether it is a barrier node, and the row or scope."""


Claimed: TypeAlias = int | Sequence[Sequence[int]]
"""The rows of a column in the claim of an event: a number of rows from 0 on, or ranges."""


class RunPicture:
    """The state of a run after some of its events.

    Attributes:
        claim_durable: a claim, or a commit, was durable at some time.
        claim_pending: a claim is being written.
        committed: a commit was durable at some time.
        commits: the commits that are open, by number: by column, their rows.
        failed_commits: those that reported an error.
        claimed: by column, the rows that the incarnation began with.
        resolved: by column, the moment at which each row was resolved, by a count of its own;
            claimed rows come before all others.
        dropped: the dropped rows.
        skipped: the skipped cells, by column and row.
        running: the calls in flight, each with the rows that it has still to give; empty for a
            barrier.
        streamed: the cells that a range in flight has given.
        busy_of: by resource, the calls in flight.
        waiting: the failed nodes in backoff: when they failed, and until when they wait.
        spent: by node, the attempts that it has spent.
        admitted: the first row of each row group in flight.
        retired: the number of row groups that have left.
        failed: a call failed.
        durable_rows: some rows are safe on storage.
        recalled: the cells that a cache answered for, by column and row.
        lost: the cells whose values went with a worker, by column and row.
    """

    def __init__(self, work: Workload) -> None:
        self.limits = work.limits
        self.claim_durable = self.committed = False
        self._work = work
        self.begin(0, {})

    def begin(self, incarnation: int, claim: Mapping[str, Claimed]) -> None:
        """Begin an incarnation: exactly the claimed rows are there."""
        self.rules = self._work.graph(min(incarnation, self._work.incarnations - 1)).rules
        self.columns = self.rules.columns
        self.rows = self.rules.num_records
        self.claimed = [
            {row for row in rows_of_claim(claim.get(rule.name, 0)) if row < self.rows}
            for rule in self.columns
        ]
        self.moment = 0
        self.resolved = [dict.fromkeys(sorted(rows), 0) for rows in self.claimed]
        self._first_open = [0] * len(self.columns)
        self.dropped: set[int] = set()
        self.skipped: set[tuple[int, int]] = set()
        self.running: dict[Node, set[int]] = {}
        self.streamed: set[tuple[int, int]] = set()
        self.busy_of: Counter[str] = Counter()
        self.waiting: dict[Node, tuple[float, float | None]] = {}
        self.spent: Counter[Node] = Counter()
        self.admitted: set[int] = set()
        self.retired = 0
        self.failed = False
        self.claim_pending = False
        self.commits: dict[int | None, dict[str, set[int]]] = {}
        self.failed_commits: list[dict[str, set[int]]] = []
        self.durable_rows = False
        self.lost: set[tuple[int, int]] = set()
        self.recalled: set[tuple[int, int]] = set()

    # What is where

    def node_of(self, event: Mapping[str, Any], column: int) -> Node:
        scope = event.get("scope")
        return (column, False, span_of(event)[0]) if scope is None else (column, True, scope)

    def rows_of(self, node: Node) -> range:
        """The rows of a barrier's scope."""
        return range(*self.rules.scope_bounds(node[0], node[2]))

    def scopes_of(self, rows: Collection[int]) -> Iterator[tuple[int, range]]:
        """Each barrier, by column, whose scope holds one of the rows, and the rows of the scope."""
        mine = frozenset(rows)
        for rule in self.columns:
            for scope in range(self.rules.scope_count(rule.index)):
                scope_rows = self.rows_of((rule.index, True, scope))
                if not mine.isdisjoint(scope_rows):
                    yield rule.index, scope_rows

    def resolve(self, column: int, rows: Iterable[int]) -> None:
        for row in rows:
            self.moment += 1
            self.resolved[column].setdefault(row, self.moment)

    def lose(self, column: int, rows: Iterable[int]) -> None:
        for row in rows:
            if self.resolved[column].pop(row, None) is not None:
                self.lost.add((column, row))
                self._first_open[column] = min(self._first_open[column], row)

    def is_resolved(self, column: int, row: int) -> bool:
        return row in self.resolved[column] or row in self.dropped

    def first_open(self, column: int) -> int:
        """The first row whose cell is still to be made. Amortized O(1)."""
        row = self._first_open[column]
        while self.is_resolved(column, row):
            row += 1
        self._first_open[column] = row
        return row

    def inputs_moment(self, column: int, row: int) -> int | None:
        """When the last input of a cell came; None if one is missing."""
        moments = [self.resolved[need].get(row) for need in self.columns[column].needs]
        known = [moment for moment in moments if moment is not None]
        return max(known, default=0) if len(known) == len(moments) else None

    def skips_input(self, column: int, row: int) -> bool:
        """True if an input of this cell was skipped."""
        return any((need, row) in self.skipped for need in self.columns[column].needs)

    def held_by(self, node: Node) -> Node:
        """The call in flight that has this cell still to give."""
        for running, left in self.running.items():
            if running[:2] == node[:2] and node[2] in left:
                return running
        return node

    def free(self, node: Node) -> None:
        if self.streamed:
            self.streamed -= {place for place in self.streamed if place[0] == node[0]}
        if self.running.pop(node, None) is not None:
            resource = self.limits.column_resource.get(self.columns[node[0]].name)
            if resource is not None:
                self.busy_of[resource] -= 1


def rows_of_claim(rows: Claimed) -> Iterator[int]:
    """The rows of a column in the claim of an event: a number of rows from 0 on, or ranges."""
    for start, stop in ((0, rows),) if isinstance(rows, int) else rows:
        yield from range(start, stop)


def span_of(event: Mapping[str, Any]) -> tuple[int, int]:
    """The rows ``[start, stop)`` of an event; an empty range if it names only a scope."""
    rows = event.get("rows")
    if rows is None:
        return 0, 0
    return (rows, rows + 1) if isinstance(rows, int) else (int(rows[0]), int(rows[1]))
