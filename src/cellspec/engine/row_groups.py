"""`RowGroups`: which rows may be worked on, in groups that are admitted one after the other."""

from __future__ import annotations

from collections.abc import Callable

from cellspec.engine.failures import EarlyStop
from cellspec.engine.observer import Observer
from cellspec.engine.progress import Progress
from cellspec.graph.nodes import NodeId, NodeKey, split_key
from cellspec.machine.limits import Limits

__all__ = ["RowGroups"]


class RowGroups:
    """Admits groups of rows, lowest first, and retires each one whose rows are all resolved.

    Args:
        progress: how many cells of each row are open.
        limits: how many rows form a group, and how many groups may be worked on.
        early_stop: a run that stops admits no further group.
        observer: is notified of each group.
        announce: called with each node that was held back until its group was admitted.

    Attributes:
        limits: as given.
        group_rows: how many rows form a group.
        group_count: how many groups there are; 0 if rows are not grouped.
        group_open: for each group, how many of its rows are open.
        next_group: the lowest group that is not admitted.
        groups_in: how many groups are admitted and have an open row.
    """

    def __init__(
        self,
        progress: Progress,
        limits: Limits,
        early_stop: EarlyStop,
        observer: Observer,
        announce: Callable[[NodeId], None],
    ) -> None:
        rows = progress.rows
        self.progress = progress
        self.limits = limits
        self.early_stop = early_stop
        self.group_rows = limits.group_rows or rows
        self.group_count = -(-rows // self.group_rows) if limits.group_rows else 0
        self.group_open = [0] * self.group_count
        self.next_group = 0
        self.groups_in = 0
        self._closed = False
        self._held: dict[int, list[NodeKey]] = {}
        self._observer = observer
        self._announce = announce

    def begin(self) -> None:
        """Count the open rows of each group, as an incarnation begins."""
        for group in range(self.group_count):
            start = group * self.group_rows
            rows = self.progress.open_cells[start : start + self.group_rows]
            self.group_open[group] = len(rows) - rows.count(0)

    def group_of(self, row: int) -> int:
        """The group of a row."""
        return row // self.group_rows

    def is_admitted(self, key: NodeKey) -> bool:
        """True if the node's rows are in an admitted group (clause GROUP-01)."""
        return not self.group_count or self.last_group_out(key) is None

    def last_group_out(self, key: NodeKey) -> int | None:
        """The last group that still has to be admitted for a node; None if it may run.

        Output waits for its barrier alone. What a barrier node reads may have been claimed by an
        earlier incarnation, before its rows are admitted in this one.
        """
        column, place, is_barrier = split_key(key)
        rule = self.progress.rules.columns[column]
        if not is_barrier:
            group = self.group_of(place)
            return group if not rule.is_barrier and group >= self.next_group else None
        last = self.group_of(self.progress.rules.scope_bounds(column, place)[1] - 1)
        return last if last >= self.next_group else None

    def hold(self, key: NodeKey) -> None:
        """Hold a node back until its rows are admitted."""
        group = self.last_group_out(key)
        assert group is not None
        self._held.setdefault(group, []).append(key)

    def admit(self) -> None:
        """Admit groups, lowest rows first, while the limit allows (clauses GROUP-02, GROUP-06)."""
        while self.next_group < self.group_count and self.may_admit():
            group = self.next_group
            self.next_group += 1
            # A group that an earlier incarnation finished needs no admission.
            if self.group_open[group]:
                self.groups_in += 1
                self._observer.admitted(group)
            for key in self._held.pop(group, ()):
                self._announce(self.progress.node(key))

    def close(self) -> None:
        """Admit no further group: somebody wants the run to end (clause STOP-05)."""
        self._closed = True

    def may_admit(self) -> bool:
        """True if the limit on groups has room for one more, and the run does not stop."""
        most = self.limits.groups
        room = most is None or self.groups_in < most
        return room and self.early_stop.reason is None and not self._closed

    def count_row(self, row: int) -> None:
        """The last open cell of a row was resolved."""
        if not self.group_count:
            return
        group = self.group_of(row)
        self.group_open[group] -= 1
        if not self.group_open[group] and group < self.next_group:
            self.retire(group)

    def retire(self, group: int) -> None:
        """Every row of a group is resolved: another group may be admitted in its place."""
        self.groups_in -= 1
        self._observer.retired(group)
        self.admit()
