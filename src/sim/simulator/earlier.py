"""The process before a run that starts from a checkpoint: it made what the checkpoint claims.

It makes the claimed cells, and what they rest on, saves them and crashes, all at 0 s. So the
machine, and whoever reads the trace, knows where the claim comes from. For the figures of the run
nothing of it counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from cellspec.errors import SpecError
from cellspec.machine.machine import Machine
from cellspec.state.claims import Claim, Rows, covers, join, normal, spans
from sim.simulator.row_groups import RowGroups
from sim.simulator.run_state import RunState

__all__ = ["begin_from", "make_claim"]


def begin_from(state: RunState, claim: Claim, subscribe: Callable[[], None]) -> None:
    """Begin a run as the process that resumes from a checkpoint.

    Args:
        state: the run, before its first incarnation.
        claim: what the checkpoint holds.
        subscribe: lets the run's own queues receive what is ready.

    Raises:
        SpecError: its cells lie in more row groups than are admitted at once.
    """
    machine = state.machine
    make_claim(state, claim)
    subscribe()
    machine.resume(claim)
    state.other_events += 1
    state.digest.update(repr((machine.incarnation, 0.0, claim)).encode())
    state.outcome.first_row_s = 0.0 if machine.completed_rows else math.inf


def make_claim(state: RunState, claim: Claim) -> None:
    """Let a process make the cells of a claim, save them, and crash; all at once.

    Args:
        state: the run, before its first incarnation.
        claim: what the checkpoint holds.

    Raises:
        SpecError: its cells lie in more row groups than are admitted at once.
    """
    machine, events = state.machine, state.other_events
    process = _Process(state, _wanted(state, claim))
    process.work()
    if not process.has_made_all:
        raise SpecError(
            "start_from: its cells lie in more row groups than limits.row_groups.admitted allows "
            "at once"
        )
    for column, rows in enumerate(claim):
        for start, stop in spans(rows):
            machine.durable_rows(column, stop, start)
    machine.checkpoint_begin(claim)
    machine.checkpoint_durable()
    machine.crash()
    # Its events are none of the run's.
    state.other_events = events


def _wanted(state: RunState, claim: Claim) -> list[Rows]:
    """By column, the rows that are to be made: those of the claim, and what they rest on."""
    wanted = list(claim)
    for rule in reversed(state.rules.columns):
        rows = wanted[rule.index]
        if rule.is_barrier:
            rows = normal(
                state.rules.scope_bounds(rule.index, scope)
                for start, stop in spans(rows)
                for scope in range(start // rule.scope_rows, (stop - 1) // rule.scope_rows + 1)
            )
            wanted[rule.index] = rows
        for need in rule.needs:
            wanted[need] = join(wanted[need], rows)
    return wanted


class _Process:
    """A process that makes what is wanted, a call at a time, as its machine lets it.

    Args:
        state: the run.
        wanted: by column, rows.
    """

    def __init__(self, state: RunState, wanted: list[Rows]) -> None:
        self._state, self._machine, self._wanted = state, state.machine, wanted
        self._left = [sum(stop - start for start, stop in spans(rows)) for rows in wanted]
        # What is ready: column, first row, row after the last.
        self._rows: list[tuple[int, int, int]] = []
        self._barriers: list[tuple[int, int]] = []
        self._listen(self._machine)

    def _listen(self, machine: Machine) -> None:
        def taker(column: int) -> object:
            return lambda row: self._rows.append((column, row, row + 1))

        columns = range(self._state.graph.num_columns)
        machine.listen(
            [taker(column) for column in columns],  # type: ignore[misc]
            lambda *rows: self._rows.append(rows),
            lambda *node: self._barriers.append(node),
        )

    @property
    def has_made_all(self) -> bool:
        """True if everything that is wanted has been made."""
        return not any(self._left)

    def work(self) -> None:
        """Make what can be made."""
        has_groups = self._state.plan.limits.group_rows is not None
        groups = RowGroups(self._state) if has_groups else None
        while True:
            while self._rows or self._barriers:
                if self._barriers:
                    self._run_barrier()
                    continue
                rows = self._make_cells()
                if groups is not None:
                    groups.touch(*rows)
            if self.has_made_all or groups is None or not groups.move():
                return

    def _run_barrier(self) -> None:
        """Run a barrier node; its output is ready then."""
        column, scope = self._barriers.pop()
        start, stop = self._state.rules.scope_bounds(column, scope)
        if any(start < last and first < stop for first, last in spans(self._wanted[column])):
            self._machine.start_barrier(column, scope)
            self._machine.complete_barrier(column, scope)

    def _make_cells(self) -> tuple[int, int]:
        """Make those of some ready cells that are wanted, or give output; their rows."""
        column, start, stop = self._rows.pop()
        machine = self._machine
        if self._state.rules.columns[column].is_barrier:
            machine.emit(column, start, stop)
            self._left[column] -= stop - start
            return start, stop
        for row in range(start, stop):
            if covers(self._wanted[column], row):
                machine.start_cell(column, row, 1)
                machine.complete_cell(column, row)
                self._left[column] -= 1
        return start, stop
