"""Why not: which clause a step would break that the state does not allow.

The counters notice that a step is out of order; the machine asks here what to say of it. Finding
the reason may take long, because it happens once: the step is refused, and a run that is judged
ends there. The order of the questions is part of the answer. What is true of the whole run comes
first (it is over, it has stopped early), then what is true of the row (it was dropped, its group
was not admitted), then what is true of the node.

A clause may be waived: then a step that breaks it is taken, and must leave a state from which the
next steps are judged rightly. A call that the state of its node has no room for (the node is
complete, its row was dropped, it runs already) is a *stray*: it holds a slot until it ends, and
changes nothing else. The steps of a process that crashed or ended count for nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from cellspec.errors import Violation
from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.nodes import CellNodeId, NodeId
from cellspec.machine.limits import Limits
from cellspec.state.counters import (
    CLAIMED,
    COOLING,
    DONE,
    DROPPED,
    RANGED,
    RUNNING,
    SKIP_READY,
    SKIPPED,
    Counters,
)
from cellspec.text import be, cell_words, counted, node_words

__all__ = ["FAILED", "Key", "Refusals", "words_of"]

Key = tuple[int, int]
"""A node by position: (column, row) of a cell, (−1 − column, scope) of a barrier node."""

FAILED = -1
"""In place of a count of spent attempts: the node failed for good."""


class Refusals:
    """The half of `cellspec.machine.machine.Machine` that says no."""

    graph: ExecutionGraph
    limits: Limits
    counters: Counters
    group_of: list[int]
    crashed: bool
    ended: bool
    must_stop: bool
    stopped: bool
    now: float
    attempts: dict[Key, int]
    cooling: dict[Key, float | None]
    admitted: set[int]
    _was_admitted: set[int]
    _strays: dict[Key, int]
    _presumed: set[tuple[int, int]]
    _waived: Collection[str]
    _is_barrier: list[bool]

    def _breaks(self, clause: str, detail: str) -> None:
        """Refuse a step, unless its clause is waived: the step is then taken as it is."""
        if clause not in self._waived:
            raise Violation(clause, detail)

    def _name(self, column: int) -> str:
        return self.graph.rules.columns[column].name

    def _where(self, key: Key) -> str:
        column, place = key
        if column >= 0:
            return cell_words(self._name(column), place)
        return node_words(self._name(-1 - column), scope=place)

    def _expect_running(self, what: str) -> bool:
        """True if there is a process; what one does that is gone (SCHED-07) counts for nothing."""
        if not (self.crashed or self.ended):
            return True
        state = "the end" if self.ended else "a crash, before the resume"
        self._breaks("SCHED-07", f"{what} after {state}")
        return False

    def _expect_starts(self, where: str) -> bool:
        if not self._expect_running(f"start of {where}"):
            return False
        if self.must_stop or self.stopped:
            self._breaks(
                "STOP-01",
                f"{where} starts although "
                + ("the run was stopped" if self.stopped else "too many of the last calls failed"),
            )
        return True

    # Cells

    def not_ready(self, column: int, row: int) -> bool:
        """Refuse to start a cell that is not ready, with the clause that says why.

        Returns:
            True if the start, which is not judged, is booked as a stray: the cell itself does not
            run. Else the cell is ready now.
        """
        if not self._expect_starts(f"{self._name(column)}[{row}]"):
            return True
        self._judge_start(column, row)
        if not self._is_barrier[column] and not self._has_slot(self.group_of[column]):
            self.no_slot(column, row)
        state = self.counters.cells[column][row]
        if state >= RANGED and state != COOLING:
            self._start_stray((column, row))
            return True
        self.cooling.pop((column, row), None)
        self.counters.offer(column, row)
        return False

    def _judge_start(self, column: int, row: int) -> None:
        """Refuse a start that the state does not allow; return if it does, or is not judged."""
        state = self._state(column, row)
        key = (column, row)
        if self._may_retry(key, state):
            return
        if row in self.counters.dropped:
            self._refuse_dropped(key)
            return
        held = self._group_of_row(row)
        if held is not None and state < RANGED:
            where = self._where(key)
            self._breaks("GROUP-01", f"{where} starts although row group {held} is not admitted")
        if state >= RANGED and state != COOLING:
            self._refuse_again(key, state)
        elif state < RANGED and self._is_barrier[column] and state < SKIP_READY:
            self._breaks(
                "BARR-02", f"{self._where(key)} is given although its barrier is not complete"
            )
        else:
            if SKIP_READY <= state < RANGED:
                self._breaks(
                    "SKIP-02",
                    f"{self._where(key)} starts although {self._skipped_input(column, row)}",
                )
            node = CellNodeId(row, self._name(column))
            if (
                state == COOLING
                or (held is None and state < SKIP_READY)
                or next(self._open_needs(node), None) is not None
            ):
                self._refuse_early(node)

    def _start_stray(self, key: Key) -> None:
        """A call begins that its node has no room for: it takes a slot, and changes nothing."""
        self._strays[key] = self._strays.get(key, 0) + 1
        self.counters.take_slot(key[0] if key[0] >= 0 else -1 - key[0])

    def _end_stray(self, key: Key) -> bool:
        """End a stray of a node, if there is one."""
        count = self._strays.pop(key, 0)
        if count > 1:
            self._strays[key] = count - 1
        if count:
            self.counters.free_slot(key[0] if key[0] >= 0 else -1 - key[0])
        return count > 0

    def _refuse_early(self, cell: CellNodeId) -> None:
        missing = list(self._open_needs(cell))
        where = f"{cell.column}[{cell.row}]"
        if missing and all(node.column == cell.column for node in missing):
            row = self.counters.row_in_turn(self.graph.rules.index[cell.column], cell.row)
            self._breaks(
                "SCHED-13",
                f"{where} starts although {cell.column}[{row}] before it in order is not resolved",
            )
            return
        first = words_of(missing[0]) if missing else "something that it waits for"
        self._breaks("SCHED-01", f"{where} starts although {first} is not complete")

    def _skipped_input(self, column: int, row: int) -> str:
        for need in self.graph.rules.columns[column].needs:
            if self.counters.is_skipped(need, row):
                return f"its input {self._name(need)}[{row}] was skipped"
        return "an input of it was skipped"

    def _refuse_dropped(self, key: Key) -> None:
        if self.attempts.get(key) == FAILED:
            self._breaks("FAIL-02", f"{self._where(key)} starts although it failed for good")
        else:
            self._breaks("DROP-03", f"{self._where(key)} starts although row {key[1]} was dropped")
        if key in self.counters.abandoned or key in self._strays:
            self._breaks("SCHED-02", f"{self._where(key)} starts while it is in flight")

    def _has_slot(self, group: int) -> bool:
        raise NotImplementedError

    def _may_retry(self, key: Key, state: int, *, in_turn: bool = False) -> bool:
        """True for a node that failed, and whose cool-down is over or was left to the engine.

        Args:
            key: the node.
            state: of the node.
            in_turn: it is known that no row before it holds it up.

        Raises:
            Violation: FAIL-03, if the cool-down is not over.
        """
        if state != COOLING:
            return False
        until = self.cooling.get(key)
        if until is not None and until > self.now:
            self._breaks(
                "FAIL-03",
                f"{self._where(key)} starts at t={self.now:g} s, but cools down until "
                f"t={until:g} s",
            )
        return in_turn or key[0] < 0 or not self.counters.is_behind(*key)

    def _refuse_again(self, key: Key, state: int) -> None:
        where = self._where(key)
        if state == CLAIMED:
            self._breaks("SCHED-05", f"{where} starts although a checkpoint claimed it")
        elif state in (RUNNING, RANGED):
            self._breaks("SCHED-02", f"{where} starts while it is in flight")
        elif state == SKIPPED or (key[0] >= 0 and self.counters.is_skipped(*key)):
            self._breaks("SCHED-03", f"{where} starts although it was skipped")
        else:
            self._breaks("SCHED-03", f"{where} starts although it is complete")

    def _state(self, column: int, row: int) -> int:
        state = self.counters.cells[column][row]
        # A column that is finished keeps one state for all its rows; what was claimed stays so.
        return CLAIMED if state == DONE and row < self.counters.claimed[column] else state

    def _group_of_row(self, row: int) -> int | None:
        """The row's group, if there are groups and it was not admitted."""
        size = self.limits.group_rows
        if size is None or row // size in self._was_admitted:
            return None
        return row // size

    def no_slot(self, column: int, row: int) -> None:
        """Refuse to start a cell beyond a limit."""
        self._refuse_limit(self.group_of[column], f"{self._name(column)}[{row}]")

    def _refuse_limit(self, group: int, where: str) -> None:
        workers = self.limits.workers
        if workers is not None and self.counters.load[0] >= workers:
            self._breaks(
                "SCHED-06",
                f"{where} starts with {counted(self.counters.load[0], 'worker')} busy of {workers}",
            )
        names = list(self.limits.resources)
        if group >= len(names) or self.counters.busy[group] < self.limits.resources[names[group]]:
            return
        name = names[group]
        self._breaks(
            "SCHED-11",
            f"{where} starts with {counted(self.counters.busy[group], 'call')} of {name!r} in "
            f"flight, of {self.limits.resources[name]} at most",
        )

    def _refuse_complete(self, where: str, state: int, clause: str = "SCHED-04") -> bool:
        """Refuse the end of what does not run; True if it is not judged, and there is a process."""
        verb = "completes" if clause == "SCHED-04" else "fails"
        if not self._expect_running(f"end of {where}"):
            return False
        self._breaks(clause, f"{where} {verb}, but is {_word(state)}")
        return True

    # Barriers

    def _refuse_barrier(self, column: int, scope: int) -> None:
        where = self._where((-1 - column, scope))
        state = self.counters.barrier_state(column, scope)
        if (column, scope) in self.counters.unrun:
            if self.attempts.get((-1 - column, scope)) == FAILED:
                self._breaks("FAIL-02", f"{where} starts although it failed for good")
                return
            self._breaks("BARR-08", f"{where} starts although no row of its scope wants its output")
        elif (column, scope) in self._presumed:
            self._refuse_early_barrier(column, scope, where)
        elif state >= COOLING:
            # Claims are of cells; a barrier that they made complete is complete.
            self._refuse_again((-1 - column, scope), DONE if state == CLAIMED else state)
        else:
            self._refuse_early_barrier(column, scope, where)

    def _refuse_early_barrier(self, column: int, scope: int, where: str) -> None:
        missing = list(self._open_needs(self.graph.barrier_node(column, scope)))
        start, stop = self.graph.rules.scope_bounds(column, scope)
        size = self.limits.group_rows
        if not missing:
            if size is None:
                return
            of_scope = range(start // size, -(-stop // size))
            groups = [group for group in of_scope if group not in self._was_admitted]
            if groups:
                words = ", ".join(map(str, groups))
                told = "row group" if len(groups) == 1 else "row groups"
                self._breaks(
                    "GROUP-01",
                    f"{where} starts although {told} {words} {be(len(groups))} not admitted",
                )
            return
        self._breaks(
            "BARR-01",
            f"{where} starts although {counted(len(missing), 'node')} that it waits for "
            f"{be(len(missing))} open, first {words_of(missing[0])}",
        )

    def _refuse_output(self, column: int, row: int) -> None:
        """An output cell is given that is not ready."""
        where = f"{self._name(column)}[{row}]"
        state = self._state(column, row)
        if row in self.counters.dropped:
            self._breaks("BARR-07", f"{where} is given although row {row} was dropped")
        elif SKIP_READY <= state < RANGED or (state == SKIPPED and self._left_out(column, row)):
            self._breaks("BARR-07", f"{where} is given although its barrier left the row out")
        elif state >= RANGED:
            self._refuse_again((column, row), state)
        else:
            self._breaks("BARR-02", f"{where} is given although its barrier is not complete")

    def _left_out(self, column: int, row: int) -> bool:
        """True if an input of the cell was skipped, and so was the cell."""
        rule = self.graph.rules.columns[column]
        return rule.propagates and any(self.counters.is_skipped(n, row) for n in rule.needs)

    def _open_needs(self, node: NodeId) -> Iterator[NodeId]:
        """What a node waits for; in an ordered column, past the rows that were dropped."""
        index = self.graph.rules.index[node.column]
        for need in self.graph.iter_dependencies(node):
            if isinstance(node, CellNodeId) and need == CellNodeId(node.row - 1, node.column):
                row = self.counters.row_in_turn(index, node.row)
                need = CellNodeId(max(row, 0), node.column)
            if not self._resolved_node(need):
                yield need

    def _resolved_node(self, node: NodeId) -> bool:
        index = self.graph.rules.index[node.column]
        if isinstance(node, CellNodeId):
            return self.counters.is_resolved(index, node.row)
        return self.counters.is_barrier_resolved(index, node.batch or 0)


def words_of(node: NodeId) -> str:
    """A node as messages name it."""
    if isinstance(node, CellNodeId):
        return cell_words(node.column, node.row)
    return node_words(node.column, scope=node.batch)


def _word(state: int) -> str:
    words = {
        CLAIMED: "claimed by a checkpoint",
        COOLING: "waiting to be tried again",
        SKIPPED: "skipped",
        DROPPED: "dropped",
    }
    return words.get(state, "complete already" if state >= DONE else "not running")
