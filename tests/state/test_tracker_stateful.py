"""The trackers against a tracker by definition: any marks in any order, restores, listeners.

Hypothesis marks nodes complete, skips cells and drops rows, in an order that an engine would take
and in any other, on a tracker of a graph, on a bare one and on one behind a lock; restores it from
checkpoints of both versions, telling it drops and skips; resets it; and listens. After each step
every question has the model's answer, and whoever listens has heard of what became ready.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from cellspec import (
    BarrierNodeId,
    CellNodeId,
    CompletionTracker,
    NodeId,
    ThreadSafeCompletionTracker,
)
from cellspec.graph.rowset import rows_of
from tests.oracles import Definition
from tests.state.tracker_oracle import TrackerModel
from tests.strategies import Case, cases

pytestmark = pytest.mark.invariant

small = st.integers(0, 63)


class TrackersFollowTheModel(RuleBasedStateMachine):
    """Any marks, restores and resets of one tracker."""

    @initialize(
        case=cases(max_columns=4, max_rows=5, skips=True),
        safe=st.booleans(),
        bare=st.lists(small, max_size=4) | st.none(),
        listens=st.booleans(),
    )
    def begin(self, case: Case, safe: bool, bare: list[int] | None, listens: bool) -> None:
        self.graph = case.graph()
        definition = Definition(case.rows, case.columns, case.batch_size, case.barrier_scope)
        self.model = TrackerModel(definition)
        # In the graph's order: what comes first is what others wait for.
        self.nodes = list(self.graph.iter_nodes())
        self.cells = [node for node in self.nodes if isinstance(node, CellNodeId)]
        self.notified: list[NodeId] | None = None
        cls = ThreadSafeCompletionTracker if safe else CompletionTracker
        self.tracker: CompletionTracker
        if bare is None:
            self.tracker = cls.for_graph(self.graph)
        else:
            self.tracker = cls(case.rows)
            # Before a graph asks, the tracker does not know what these mean.
            for pick in bare:
                self.mark(self.nodes[pick % len(self.nodes)])
            assert self.graph.get_completed_row_count(self.tracker) == self.model.completed_rows()
        if listens:
            self.listen()

    def mark(self, node: NodeId) -> None:
        note(f"    complete {node}")
        self.tracker.mark_complete(node)
        self.model.mark_complete(node)

    def _check_notified(self, before: set[NodeId]) -> None:
        """What became ready since was announced, once, and nothing else."""
        if self.notified is not None:
            assert len(self.notified) == len(set(self.notified))
            assert set(self.notified) == self.model.notified() - before
            self.notified.clear()

    # Marks

    @rule(picks=st.lists(small, min_size=1, max_size=12))
    def go_on(self, picks: list[int]) -> None:
        """What is ready is completed, what is to be skipped is skipped: as an engine does it."""
        for pick in picks:
            before = self.model.notified()
            ready = [node for node in self.nodes if node in before]
            if not ready:
                return
            # Half of all picks take the first, so that rows and columns are finished.
            node = ready[pick // 2 % len(ready) if pick % 2 else 0]
            if isinstance(node, CellNodeId) and self.model.must_skip(node):
                self._skip(node)
            else:
                self.mark(node)
            self._check_notified(before)

    @rule(picks=st.lists(small, min_size=1, max_size=3))
    def complete_anything(self, picks: list[int]) -> None:
        for pick in picks:
            before = self.model.notified()
            self.mark(self.nodes[pick % len(self.nodes)])
            self._check_notified(before)

    def _skip(self, cell: CellNodeId) -> None:
        note(f"    skip {cell}")
        self.tracker.mark_skipped(cell)
        self.model.mark_skipped(cell)

    @rule(pick=small)
    def skip_anything(self, pick: int) -> None:
        before = self.model.notified()
        self._skip(self.cells[pick % len(self.cells)])
        self._check_notified(before)

    @rule(pick=small)
    def skip_what_is_ready(self, pick: int) -> None:
        before = self.model.notified()
        ready = [cell for cell in self.cells if cell in before]
        if ready:
            self._skip(ready[pick % len(ready)])
            self._check_notified(before)

    @rule(pick=small)
    def drop(self, pick: int) -> None:
        before, row = self.model.notified(), pick % self.graph.num_records
        note(f"    drop {row}")
        self.tracker.mark_dropped(row)
        self.model.mark_dropped(row)
        self._check_notified(before)

    # Incarnations

    @rule()
    def listen(self) -> None:
        """Somebody else listens from now on, and hears at once of all that is ready."""
        notified: list[NodeId] = []
        self.notified = notified
        self.tracker.listen(notified.append)
        self._check_notified(set())

    @rule(luck=st.integers(0, 3))
    def reset(self, luck: int) -> None:
        """Three times in four nothing happens, or no tracker would ever get far."""
        if luck:
            return
        self.tracker.reset()
        self.model.restore(dict.fromkeys(self.model.names, 0))
        self._check_notified(set())

    @rule(
        version=st.sampled_from((1, 2)),
        drops=st.none() | st.sets(st.integers(0, 5), max_size=2),
        skips=st.sets(small, max_size=4),
        listens=st.booleans(),
        luck=st.booleans(),
    )
    def restore(
        self, version: int, drops: set[int] | None, skips: set[int], listens: bool, luck: bool
    ) -> None:
        """Through its checkpoint, told of the drops and skips that were, or of others."""
        if luck:
            return
        claim = self.model.claim(version)
        payload = self.tracker.to_checkpoint(self.graph, version)
        self._check_payload(payload, claim)
        if drops is not None:
            self._restore(payload, claim, drops, [self._cell(pick) for pick in skips], listens)
            return
        skipped = [cell for cell in self.cells if self.model.is_skipped(cell)]
        self._restore(payload, claim, self.model.dropped, skipped, listens)
        # Nobody has dropped a row since: the claim is what it was (CKPT-14).
        assert self.tracker.to_checkpoint(self.graph, version) == payload

    @rule(
        ends=st.lists(small, min_size=4, max_size=4),
        drops=st.sets(st.integers(0, 5), max_size=3),
        skips=st.sets(small, max_size=4),
        listens=st.booleans(),
    )
    def restore_anything(
        self, ends: list[int], drops: set[int], skips: set[int], listens: bool
    ) -> None:
        """From a checkpoint of another run: any claim that one could have made."""
        definition = self.model.definition
        claim: dict[str, int] = {}
        for name, end in zip(self.graph.column_names, ends, strict=False):
            inputs = [claim[need] for need in definition.inputs(name)]
            claim[name] = min([end % (self.graph.num_records + 1), *inputs])
        payload = {
            "version": 2,
            "completed_rows": min(claim.values()),
            "column_rows": claim,
            "graph": self.graph.fingerprint,
        }
        self._restore(payload, claim, drops, [self._cell(pick) for pick in skips], listens)

    def _cell(self, pick: int) -> CellNodeId:
        return self.cells[pick % len(self.cells)]

    def _restore(
        self,
        payload: Mapping[str, Any],
        claim: Mapping[str, int],
        drops: Iterable[int],
        skips: Iterable[CellNodeId],
        listens: bool,
    ) -> None:
        dropped = sorted(row for row in drops if row < max(claim.values()))
        skipped: dict[str, list[int]] = {}
        for cell in skips:
            if cell.row < claim[cell.column]:
                skipped.setdefault(cell.column, []).append(cell.row)
        note(f"    restore {payload}, dropped {dropped}, skipped {skipped}")
        self.tracker = type(self.tracker).from_checkpoint(
            json.loads(json.dumps(payload)), self.graph, dropped=dropped, skipped=skipped
        )
        self.model.restore(claim, dropped, skipped)
        self.notified = None
        if listens:
            self.listen()

    def _check_payload(self, payload: Mapping[str, Any], claim: Mapping[str, int]) -> None:
        rows = self.model.completed_rows()
        if payload["version"] == 1:
            assert payload == {"version": 1, "completed_rows": rows}
            return
        assert payload == {
            "version": 2,
            "completed_rows": rows,
            "column_rows": claim,
            "graph": self.graph.fingerprint,
        }

    # What must hold after every step

    @invariant()
    def nodes_are_resolved_as_the_model_says(self) -> None:
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

    @invariant()
    def ready_nodes_are_those_of_the_model(self) -> None:
        expected = self.model.ready()
        found = list(self.graph.iter_ready_nodes(self.tracker))
        assert len(found) == len(set(found))
        assert set(found) == expected
        for name in self.graph.column_names:
            own = set(self.graph.iter_ready_nodes_for_column(name, self.tracker))
            assert own == {node for node in expected if node.column == name}

    @invariant()
    def barriers_read_what_the_model_says(self) -> None:
        for node in self.nodes:
            if isinstance(node, BarrierNodeId):
                found = self.tracker.barrier_reads(node)
                assert list(rows_of(found)) == self.model.reads(node)

    @invariant()
    def rows_are_complete_as_the_model_says(self) -> None:
        model, graph = self.model, self.graph
        for row in range(graph.num_records):
            assert graph.is_row_complete(row, self.tracker) == model.row_complete(row)
            assert self.tracker.is_dropped(row) == (row in model.dropped)
        assert graph.get_completed_row_count(self.tracker) == model.completed_rows()
        assert graph.is_complete(self.tracker) == (model.done() == set(self.nodes))

    @invariant()
    def checkpoints_claim_what_the_model_says(self) -> None:
        for version in (1, 2):
            payload = self.tracker.to_checkpoint(self.graph, version)
            self._check_payload(payload, self.model.claim(version))


@pytest.mark.clause(
    "BARR-06",
    "BARR-08",
    "CKPT-02",
    "CKPT-05",
    "CKPT-06",
    "CKPT-07",
    "CKPT-13",
    "CKPT-14",
    "CKPT-15",
    "GRAPH-13",
    "SCHED-13",
    "TRACK-01",
    "TRACK-04",
    "TRACK-06",
    "TRACK-09",
    "TRACK-10",
    "TRACK-12",
    "TRACK-13",
    "TRACK-14",
)
def test_a_tracker_answers_as_its_marks_say_whatever_their_order() -> None:
    often = settings(max_examples=3 * settings().max_examples, stateful_step_count=30)
    run_state_machine_as_test(TrackersFollowTheModel, settings=often)
