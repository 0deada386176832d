"""`Saving`: which rows are written when, and how much the next checkpoint may claim.

A save writes rows, and after them a checkpoint that claims them (clause CKPT-10). One save is in
flight at a time (clause CKPT-11).
"""

from __future__ import annotations

import heapq
from functools import reduce
from typing import Any

from cellspec.engine.call_states import ENDED
from cellspec.engine.calls import CheckpointPlan, Drop, Save
from cellspec.engine.observer import Observer
from cellspec.engine.progress import Progress
from cellspec.graph.nodes import barrier_key
from cellspec.graph.rowset import ranges_of
from cellspec.state.checkpoint import Checkpoint, read_payload
from cellspec.state.claims import (
    Claim,
    Rows,
    count_rows,
    end_of,
    join,
    meet,
    minus,
    normal,
    spans,
)

__all__ = ["FINAL_TRIES", "Saving"]

FINAL_TRIES = 3
"""How often the last save of an incarnation is tried before the run is said to have failed."""


class Saving:
    """Decides which rows to save, and forgets the values that storage holds.

    Args:
        progress: the resolved cells, and their values.
        plan: when to save.
        observer: is notified of each step of a save.

    Attributes:
        claimed: for each column, the rows that the newest durable checkpoint claims.
        in_flight: the save that is being written, or None.
        error: the error of the last save; None if it succeeded.
    """

    def __init__(self, progress: Progress, plan: CheckpointPlan, observer: Observer) -> None:
        columns = progress.column_count
        self.progress = progress
        self.plan = plan
        self.claimed: Claim = (0,) * columns
        self.in_flight: Save | None = None
        self.error: Exception | None = None
        self._observer = observer
        self._durable: list[Rows] = [0] * columns
        self._released: Rows = 0
        self._unsaved_drops: list[int] = []
        self._final_saved = False
        self._final_tries = 0
        self._plan_next()

    def restore(self, claim: Claim) -> None:
        """Go on from a checkpoint that is durable."""
        self._durable = list(claim)
        self._released = reduce(meet, claim)
        self.claimed = claim
        self._plan_next()

    def _plan_next(self) -> None:
        """Count progress until the next save from here."""
        self._due_rows = count_rows(reduce(meet, self.claimed))
        self._due_cells = self.progress.cells_done

    def note_drop(self, row: int) -> None:
        """A row was dropped; its drop is to be written."""
        heapq.heappush(self._unsaved_drops, row)

    def may_begin(self) -> bool:
        """True between two saves, if the last one is still to come."""
        return self.in_flight is None and not self._final_saved

    def is_done(self) -> bool:
        """True if the last save is durable, or was tried often enough."""
        return self._final_saved or self._final_tries >= FINAL_TRIES

    def next_save(self, *, final: bool) -> Save | None:
        """Begin a save, unless there is nothing to write.

        Args:
            final: all calls have ended, so that this is the last one.
        """
        save = self._make_save(final=final)
        if not save.ranges and not save.dropped and save.checkpoint is None:
            self._plan_next()
            self._final_saved = final
            return None
        self.in_flight = save
        for name, start, stop in save.ranges:
            self._observer.rows_begin(name, start, stop)
        for start, stop in _drops_alone(save):
            self._observer.drops_begin(start, stop)
        return save

    def is_due(self) -> bool:
        """True if there was progress enough since the last save."""
        every = self.plan.every_rows
        if every is None:
            return False
        if self._rows_done() - self._due_rows >= every:
            return True
        done = self.progress.cells_done - self._due_cells
        return self.plan.version > 1 and done >= every * self.progress.column_count

    def _rows_done(self) -> int:
        """The rows whose cells are all resolved, as far as a claim may hold them: O(1)."""
        if self.plan.version > 2:
            return self.progress.rows - self.progress.open_rows
        return self.progress.completed_rows()

    def claim(self) -> Checkpoint:
        """The payload that may be written now: all that is resolved (CKPT-02, CKPT-13)."""
        progress = self.progress
        return progress.tracker.to_checkpoint(progress.graph, self.plan.version)

    def _make_save(self, *, final: bool) -> Save:
        progress = self.progress
        checkpoint = self.claim()
        claim = read_payload(checkpoint, progress.graph, progress.dropped)
        rows: dict[int, dict[str, Any]] = {}
        ranges = []
        for column, mine in enumerate(claim):
            name = progress.rules.columns[column].name
            for start, stop in spans(minus(mine, self._durable[column])):
                ranges.append((name, start, stop))
                for row in range(start, stop):
                    if progress.is_live(row):
                        rows.setdefault(row, {})[name] = progress.values.get(column, row)
        return Save(
            ranges=tuple(ranges),
            rows=rows,
            dropped=self.drops_to_save(end_of(claim)),
            checkpoint=checkpoint if claim != self.claimed else None,
            final=final,
        )

    def drops_to_save(self, stop: int) -> dict[int, Drop]:
        """The drops before row `stop` that storage does not hold yet (clause DROP-04)."""
        found: dict[int, Drop] = {}
        while self._unsaved_drops and self._unsaved_drops[0] < stop:
            row = heapq.heappop(self._unsaved_drops)
            found[row] = self.progress.dropped[row]
        return found

    # The steps of a save

    def on_rows_durable(self, save: Save) -> None:
        """The rows of a save are safe; a checkpoint may be begun on them (clause CKPT-10)."""
        for name, start, stop in save.ranges:
            column = self.progress.rules.index[name]
            self._durable[column] = join(self._durable[column], normal([(start, stop)]))
            self._observer.rows_durable(name, start, stop)
        for start, stop in _drops_alone(save):
            self._observer.drops_durable(start, stop)
        safe = reduce(meet, self._durable)
        for start, stop in spans(minus(safe, self._released)):
            self._release(start, stop)
        self._released = join(self._released, safe)
        if save.checkpoint is None:
            self._succeed(save)

    def on_rows_failed(self, save: Save, error: Exception) -> None:
        """The rows of a save could not be written: they are not claimed."""
        self._observer.rows_failed(error)
        for row in save.dropped:
            self.note_drop(row)
        self._fail(save, error)

    def on_checkpoint_begin(self, save: Save) -> None:
        """The checkpoint of a save is about to be written."""
        assert save.checkpoint is not None
        self._observer.checkpoint_begin(save.checkpoint)

    def on_checkpoint_durable(self, save: Save) -> None:
        """The checkpoint of a save is safe."""
        assert save.checkpoint is not None
        self.claimed = read_payload(save.checkpoint, self.progress.graph, self.progress.dropped)
        self._observer.checkpoint_durable(save.checkpoint)
        self._succeed(save)

    def on_checkpoint_failed(self, save: Save, error: Exception) -> None:
        """The checkpoint of a save could not be written; the one before still counts."""
        assert save.checkpoint is not None
        self._observer.checkpoint_failed(save.checkpoint, error)
        self._fail(save, error)

    def _succeed(self, save: Save) -> None:
        self.in_flight = None
        self._final_saved = save.final
        self.error = None
        self._plan_next()

    def _fail(self, save: Save, error: Exception) -> None:
        """Work goes on, and the next save tries again; the last one a few times."""
        self.in_flight = None
        self.error = error
        self._final_tries += save.final
        self._due_rows, self._due_cells = self._rows_done(), self.progress.cells_done

    # Values that are not needed any more

    def release_scope(self, call_start: int, call_stop: int) -> None:
        """A barrier has run: rows of its scope that are safe were kept for it alone."""
        for start, stop in spans(meet(self._released, normal([(call_start, call_stop)]))):
            self._release(start, stop)

    def _release(self, start: int, stop: int) -> None:
        """Forget the values of rows that are safe, unless a barrier has still to read them."""
        for row in range(start, stop):
            if not self._is_pinned(row):
                self.progress.values.forget_row(row)

    def _is_pinned(self, row: int) -> bool:
        """True if a barrier that has not run will read the row."""
        progress = self.progress
        return any(
            rule.is_barrier
            and progress.state[barrier_key(rule.index, row // rule.scope_rows)] != ENDED
            for rule in progress.rules.columns
        )


def _drops_alone(save: Save) -> list[tuple[int, int]]:
    """The ranges of dropped rows that a save writes with no cell beside them."""
    return [] if save.ranges else list(ranges_of(save.dropped))
