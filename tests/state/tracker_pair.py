"""A tracker beside the tracker by definition: each step is taken on both, and all answers compared.

Two drivers choose the steps: Hypothesis (`test_tracker_stateful`), and a random number generator
that goes on for as long as one likes (`restores`).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from hypothesis import note
from hypothesis.errors import InvalidArgument

from cellspec import BarrierNodeId, CellNodeId, CompletionTracker, NodeId
from cellspec.graph.rowset import ranges_of, rows_of
from tests.oracles import Definition
from tests.state.tracker_oracle import TrackerModel
from tests.strategies import Case

__all__ = ["TrackerPair"]


def say(text: str) -> None:
    """Note a step for the report of a failing example, if Hypothesis runs one."""
    with contextlib.suppress(InvalidArgument):
        note(text)


class TrackerPair:
    """A tracker of `case` and its model.

    Attributes:
        nodes: all nodes, each after those that it waits for.
        notified: what was announced since the last look, if somebody listens.
    """

    def __init__(self, case: Case, cls: type[CompletionTracker], *, bare: bool) -> None:
        self.graph = case.graph()
        definition = Definition(case.rows, case.columns, case.batch_size, case.barrier_scope)
        self.model = TrackerModel(definition)
        self.nodes = list(self.graph.iter_nodes())
        self.cells = [node for node in self.nodes if isinstance(node, CellNodeId)]
        self.notified: list[NodeId] | None = None
        self.tracker = cls(case.rows) if bare else cls.for_graph(self.graph)

    # Steps

    def mark(self, node: NodeId) -> None:
        say(f"    complete {node}")
        self.tracker.mark_complete(node)
        self.model.mark_complete(node)

    def skip(self, cell: CellNodeId) -> None:
        say(f"    skip {cell}")
        self.tracker.mark_skipped(cell)
        self.model.mark_skipped(cell)

    def drop(self, row: int) -> None:
        say(f"    drop {row}")
        self.tracker.mark_dropped(row)
        self.model.mark_dropped(row)

    def go_on(self, pick: int) -> bool:
        """Complete or skip what is ready, as an engine does it; False if nothing is."""
        before = self.model.notified()
        ready = [node for node in self.nodes if node in before]
        if not ready:
            return False
        # Half of all picks take the first, so that rows and columns are finished.
        node = ready[pick // 2 % len(ready) if pick % 2 else 0]
        if isinstance(node, CellNodeId) and self.model.must_skip(node):
            self.skip(node)
        else:
            self.mark(node)
        self.check_notified(before)
        return True

    def listen(self) -> None:
        """Somebody else listens from now on, and hears at once of all that is ready."""
        notified: list[NodeId] = []
        self.notified = notified
        self.tracker.listen(notified.append)
        self.check_notified(set())

    # Incarnations

    def restore_own(self, version: int) -> None:
        """Through its checkpoint, told of the drops and skips that were."""
        claim = self.model.claim(version)
        payload = self.tracker.to_checkpoint(self.graph, version)
        self.check_payload(payload, claim)
        skipped = [cell for cell in self.cells if self.model.is_skipped(cell)]
        self.restore(payload, claim, self.model.dropped, skipped)
        # Nobody has dropped a row since: the claim is what it was (CKPT-14).
        assert self.tracker.to_checkpoint(self.graph, version) == payload

    def restore(
        self,
        payload: Mapping[str, Any],
        claim: Mapping[str, Collection[int]],
        drops: Iterable[int],
        skips: Iterable[CellNodeId],
    ) -> None:
        """From any checkpoint, told of those of the drops and skips that it covers."""
        dropped = sorted(row for row in drops if any(row in rows for rows in claim.values()))
        skipped: dict[str, list[int]] = {}
        for cell in skips:
            if cell.row in claim[cell.column]:
                skipped.setdefault(cell.column, []).append(cell.row)
        say(f"    restore {payload}, dropped {dropped}, skipped {skipped}")
        self.tracker = type(self.tracker).from_checkpoint(
            json.loads(json.dumps(payload)), self.graph, dropped=dropped, skipped=skipped
        )
        self.model.restore(claim, dropped, skipped)
        self.notified = None

    def payload_of(self, claim: Mapping[str, Collection[int]], version: int) -> dict[str, Any]:
        """The payload of a claim, by the words of the clauses."""
        names = self.graph.column_names
        total = self.graph.num_records
        whole = [row for row in range(total) if all(row in claim[name] for name in names)]
        rows = next((row for row in range(total) if row not in whole), total)
        if version == 1:
            return {"version": 1, "completed_rows": rows}
        column_rows: dict[str, Any] = {
            name: len(claim[name])
            if version == 2
            else [list(span) for span in ranges_of(sorted(claim[name]))]
            for name in names
        }
        return {
            "version": version,
            "completed_rows": rows,
            "column_rows": column_rows,
            "graph": self.graph.fingerprint,
        }

    # Comparisons

    def check_notified(self, before: set[NodeId]) -> None:
        """What became ready since was announced, once, and nothing else."""
        if self.notified is not None:
            assert len(self.notified) == len(set(self.notified))
            assert set(self.notified) == self.model.notified() - before
            self.notified.clear()

    def check_payload(
        self, payload: Mapping[str, Any], claim: Mapping[str, Collection[int]]
    ) -> None:
        assert payload == self.payload_of(claim, payload["version"])
        assert payload["completed_rows"] == self.model.completed_rows()

    def check_resolved(self) -> None:
        tracker, done = self.tracker, self.model.done()
        assert {node for node in self.nodes if node in tracker} == done
        assert len(tracker) == len(done)
        for name in self.graph.column_names:
            count = sum(cell in done for cell in self.model.definition.cells(name))
            assert tracker.column_completion_count(name) == count
            assert tracker.is_column_complete(name) == (count == self.graph.num_records)
        for cell in self.cells:
            assert tracker.is_skipped(cell) == self.model.is_skipped(cell)
            assert tracker.must_skip(cell) == self.model.must_skip(cell)
            assert tracker.is_in_turn(cell) == self.model.is_in_turn(cell)

    def check_ready(self) -> None:
        expected = self.model.ready()
        found = list(self.graph.iter_ready_nodes(self.tracker))
        assert len(found) == len(set(found))
        assert set(found) == expected
        for name in self.graph.column_names:
            own = set(self.graph.iter_ready_nodes_for_column(name, self.tracker))
            assert own == {node for node in expected if node.column == name}

    def check_reads(self) -> None:
        for node in self.nodes:
            if isinstance(node, BarrierNodeId):
                found = self.tracker.barrier_reads(node)
                assert list(rows_of(found)) == self.model.reads(node)

    def check_rows(self) -> None:
        model, graph = self.model, self.graph
        for row in range(graph.num_records):
            assert graph.is_row_complete(row, self.tracker) == model.row_complete(row)
            assert self.tracker.is_dropped(row) == (row in model.dropped)
        assert graph.get_completed_row_count(self.tracker) == model.completed_rows()
        assert graph.is_complete(self.tracker) == (model.done() == set(self.nodes))

    def check_checkpoints(self) -> None:
        for version in (1, 2, 3):
            payload = self.tracker.to_checkpoint(self.graph, version)
            self.check_payload(payload, self.model.claim(version))

    def check(self) -> None:
        """Every question has the model's answer."""
        self.check_resolved()
        self.check_ready()
        self.check_reads()
        self.check_rows()
        self.check_checkpoints()
