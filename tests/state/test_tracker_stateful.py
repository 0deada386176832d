"""The trackers against a tracker by definition: any marks in any order, restores, listeners.

Hypothesis marks nodes complete, skips cells and drops rows, in an order that an engine would take
and in any other, on a tracker of a graph, on a bare one and on one behind a lock; restores it from
checkpoints of every version, telling it drops and skips; resets it; and listens. After each step
every question has the model's answer, and whoever listens has heard of what became ready.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from cellspec import CellNodeId, CompletionTracker, ThreadSafeCompletionTracker
from cellspec.state import restoring_sets
from tests.state.tracker_pair import TrackerPair
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
        at_once=st.booleans(),
    )
    def begin(
        self, case: Case, safe: bool, bare: list[int] | None, listens: bool, at_once: bool
    ) -> None:
        self.patch = pytest.MonkeyPatch()
        if at_once:
            # As a claim of many ranges is restored.
            self.patch.setattr(restoring_sets, "FEW_EDGES", 0)
            self.patch.setattr(restoring_sets, "FEW_RANGES", 0)
        cls = ThreadSafeCompletionTracker if safe else CompletionTracker
        self.pair = pair = TrackerPair(case, cls, bare=bare is not None)
        # Before a graph asks, a bare tracker does not know what these mean.
        for pick in bare or ():
            pair.mark(pair.nodes[pick % len(pair.nodes)])
        assert pair.graph.get_completed_row_count(pair.tracker) == pair.model.completed_rows()
        if listens:
            pair.listen()

    def teardown(self) -> None:
        self.patch.undo()

    # Marks

    @rule(picks=st.lists(small, min_size=1, max_size=12))
    def go_on(self, picks: list[int]) -> None:
        """What is ready is completed, what is to be skipped is skipped: as an engine does it."""
        for pick in picks:
            if not self.pair.go_on(pick):
                return

    @rule(picks=st.lists(small, min_size=1, max_size=3))
    def complete_anything(self, picks: list[int]) -> None:
        for pick in picks:
            before = self.pair.model.notified()
            self.pair.mark(self.pair.nodes[pick % len(self.pair.nodes)])
            self.pair.check_notified(before)

    @rule(pick=small)
    def skip_anything(self, pick: int) -> None:
        before = self.pair.model.notified()
        self.pair.skip(self._cell(pick))
        self.pair.check_notified(before)

    @rule(pick=small)
    def skip_what_is_ready(self, pick: int) -> None:
        before = self.pair.model.notified()
        ready = [cell for cell in self.pair.cells if cell in before]
        if ready:
            self.pair.skip(ready[pick % len(ready)])
            self.pair.check_notified(before)

    @rule(pick=small)
    def drop(self, pick: int) -> None:
        before = self.pair.model.notified()
        self.pair.drop(pick % self.pair.graph.num_records)
        self.pair.check_notified(before)

    # Incarnations

    @rule()
    def listen(self) -> None:
        self.pair.listen()

    @rule(luck=st.integers(0, 3))
    def reset(self, luck: int) -> None:
        """Three times in four nothing happens, or no tracker would ever get far."""
        if luck:
            return
        self.pair.tracker.reset()
        self.pair.model.restore(dict.fromkeys(self.pair.model.names, ()))
        self.pair.check_notified(set())

    @rule(
        version=st.sampled_from((1, 2, 3, 3)),
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
        pair = self.pair
        if drops is None:
            pair.restore_own(version)
        else:
            claim = pair.model.claim(version)
            payload = pair.tracker.to_checkpoint(pair.graph, version)
            pair.check_payload(payload, claim)
            if version == 3:
                # Without its drops, a claim of a dropped row may be out of order.
                drops = drops | pair.model.dropped
            pair.restore(payload, claim, drops, map(self._cell, skips))
        if listens:
            pair.listen()

    @rule(
        version=st.sampled_from((2, 3)),
        picks=st.lists(st.sets(st.integers(0, 5)) | st.integers(0, 5), min_size=4, max_size=4),
        drops=st.sets(st.integers(0, 5), max_size=3),
        skips=st.sets(small, max_size=4),
        listens=st.booleans(),
    )
    def restore_anything(
        self,
        version: int,
        picks: list[set[int] | int],
        drops: set[int],
        skips: set[int],
        listens: bool,
    ) -> None:
        """From a checkpoint of another run: any claim that one could have made."""
        pair = self.pair
        definition = pair.model.definition
        pair.model.dropped = drops
        claim: dict[str, set[int]] = {}
        for name, pick in zip(pair.graph.column_names, picks, strict=False):
            rows = set(range(pick)) if isinstance(pick, int) else pick
            rows = rows & set(range(pair.graph.num_records))
            rows = rows.intersection(*(claim[need] for need in definition.inputs(name)))
            if version == 2:
                rows = {row for row in rows if rows.issuperset(range(row))}
            claim[name] = pair.model.in_order(name, rows)
        pair.restore(pair.payload_of(claim, version), claim, drops, map(self._cell, skips))
        if listens:
            pair.listen()

    def _cell(self, pick: int) -> CellNodeId:
        return self.pair.cells[pick % len(self.pair.cells)]

    # What must hold after every step

    @invariant()
    def nodes_are_resolved_as_the_model_says(self) -> None:
        self.pair.check_resolved()

    @invariant()
    def ready_nodes_are_those_of_the_model(self) -> None:
        self.pair.check_ready()

    @invariant()
    def barriers_read_what_the_model_says(self) -> None:
        self.pair.check_reads()

    @invariant()
    def rows_are_complete_as_the_model_says(self) -> None:
        self.pair.check_rows()

    @invariant()
    def checkpoints_claim_what_the_model_says(self) -> None:
        self.pair.check_checkpoints()


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
