"""`Resume`: brings an incarnation to where storage says that an earlier one got."""

from __future__ import annotations

from array import array
from functools import reduce
from itertools import pairwise

from cellspec.engine.call_states import ENDED
from cellspec.engine.calls import Drop, Restored
from cellspec.engine.progress import Progress
from cellspec.engine.values import SKIPPED
from cellspec.errors import CheckpointError
from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.nodes import barrier_key
from cellspec.graph.rowset import rows_of
from cellspec.machine.policy import changed_scopes
from cellspec.state.claims import (
    Claim,
    count_rows,
    covers,
    end_of,
    holds,
    join,
    meet,
    minus,
    normal,
    prefix_of,
    reaches,
    spans,
)
from cellspec.state.tracker import CompletionTracker

__all__ = ["Resume"]


class Resume:
    """Restores tracker, states and values from a checkpoint and the rows under it.

    Args:
        graph: the columns and rows to generate now; there may be more or fewer rows than before.
        tracker_class: which tracker to use.
    """

    def __init__(self, graph: ExecutionGraph, tracker_class: type[CompletionTracker]) -> None:
        self.graph = graph
        self._tracker_class = tracker_class

    def check_target(self, records: int, claim: Claim, *, keep: bool) -> None:
        """Refuse another number of rows if it changes a scope that has output (clause CKPT-16).

        Args:
            records: the number of rows that the earlier incarnation wanted.
            claim: for each column, the rows that the checkpoint claims.
            keep: keep the output of such scopes instead.

        Raises:
            CheckpointError: a scope with output would change.
        """
        if keep:
            return
        for changed in changed_scopes(self.graph.rules, records, self.graph.num_records):
            if meet(claim[changed.column], normal([(changed.start, changed.before)])):
                name = self.graph.rules.columns[changed.column].name
                raise CheckpointError(
                    f"checkpoint: barrier {name!r} gave output to "
                    f"claimed rows from rows {changed.start} to {changed.before - 1}; with "
                    f"{self.graph.num_records} rows it would read rows {changed.start} to "
                    f"{changed.after - 1}; resume with keep=True to keep that output"
                )

    def covered_drops(self, restored: Restored, claim: Claim) -> dict[int, Drop]:
        """The drops that the claim covers; any other row is tried again (clause CKPT-17)."""
        return {row: drop for row, drop in restored.dropped.items() if reaches(claim, row)}

    def restore_tracker(
        self, restored: Restored, claim: Claim, dropped: dict[int, Drop]
    ) -> CompletionTracker:
        """A tracker in which the claimed cells are resolved."""
        skipped = {
            rule.name: [
                row
                for row in rows_of(spans(claim[rule.index]))
                if row not in dropped and restored.rows[row].get(rule.name) is SKIPPED
            ]
            for rule in self.graph.rules.columns
            if rule.skippable
        }
        return self._tracker_class.from_checkpoint(
            restored.checkpoint,
            self.graph,
            dropped=dropped,
            skipped=skipped,
            # The engine has asked for it: it knows what storage holds of versions 1 and 2 too.
            keep_config=True,
        )

    def restore_states(self, progress: Progress, claim: Claim) -> None:
        """End the claimed cells, the dropped rows, and the barriers that need not run again."""
        edges = {0, progress.rows}
        for column, rows in enumerate(claim):
            for span in spans(rows):
                progress.state.end_rows(column, *span)
                edges.update(span)
        for start, stop in pairwise(sorted(edges)):
            left = sum(not covers(rows, start) for rows in claim)
            progress.open_cells[start:stop] = array("L", [left]) * (stop - start)
        whole = reduce(meet, claim)
        progress.open_rows = progress.rows - count_rows(whole)
        for row in progress.dropped:
            progress.open_rows -= not covers(whole, row)
            progress.end_row(row)
        for rule in self.graph.rules.columns:
            for scope in range(self.graph.rules.scope_count(rule.index)):
                if holds(claim[rule.index], *self.graph.rules.scope_bounds(rule.index, scope)):
                    progress.state[barrier_key(rule.index, scope)] = ENDED

    def restore_values(self, progress: Progress, restored: Restored, claim: Claim) -> None:
        """Take back the values that an unfinished row, or a barrier that must run, will read."""
        whole = reduce(meet, claim)
        first = end_of(claim)
        for rule in self.graph.rules.columns:
            for scope in range(self.graph.rules.scope_count(rule.index)):
                if progress.state[barrier_key(rule.index, scope)] != ENDED:
                    first = min(first, self.graph.rules.scope_bounds(rule.index, scope)[0])
                    break
        needed = minus(reduce(join, claim), min(first, prefix_of(whole)))
        for row in rows_of(spans(needed)):
            if progress.is_live(row) and (row >= first or not covers(whole, row)):
                for name, value in restored.rows[row].items():
                    column = self.graph.rules.index[name]
                    if covers(claim[column], row):
                        progress.values.put(column, row, value)
