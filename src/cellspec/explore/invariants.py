"""The clauses as the explorer judges them: stated a second time, apart from the steps.

The relation is compiled from the reference, and would agree with any reference. So this module
states the clauses once more, as arithmetic on rows and scopes. It calls neither `get_dependencies`
nor a tracker or a checkpoint. `Invariants` answers with the number of the clause that a step or a
state breaks, or "" if it breaks none.

=========  =========================================================================================
clause     what is held against it
=========  =========================================================================================
SCHED-01   a cell starts, and a cell of its row that it needs is not resolved
SCHED-13   a cell of an ordered column starts before every earlier row is resolved
BARR-01    a barrier node starts, and a cell of its scope that it needs is not resolved
BARR-02    an output cell starts before its barrier node is complete
BARR-08    a barrier node starts, and none of its output cells is wanted
SCHED-02   a node starts that is in flight
SCHED-03   a node starts that is resolved (SCHED-05 if a resume claimed it)
SCHED-04   a node ends that is not in flight, or is in flight still after a resume
DROP-01    a failure for good drops other rows than those that want the call
DROP-03    a cell of a dropped row starts
SCHED-06   more calls are in flight than there are workers
SCHED-10   success is possible with a cell that is not resolved
SCHED-12   a state from which the run cannot end well, or in which it stands still
GROUP-01   a cell, or a barrier node over a row, starts before the row's group is admitted
GROUP-02   more row groups are admitted at once than the limit allows
GROUP-03   a row group is admitted again
GROUP-08   such a state as for SCHED-12, in which row groups with open cells hold every place
STOP-05    a call starts after a stop was requested
STOP-06    the run ends as interrupted, and no stop was requested
STOP-07    the run ends as interrupted, and could claim more
FAIL-08    a result is lost that a claim holds, or another with it
CKPT-02    what a checkpoint would claim is not what is resolved without a gap (CKPT-13: of a
           column; CKPT-09: it is less than what is claimed already)
CKPT-06    after a restore other cells are done than those claimed or dropped; or a cell is done
           though what it waits for is not, and no claim holds it (nor a loss took it)
CKPT-07    after a restore a barrier node is done whose scope is not all claimed (nor unwanted), or
           is not done whose scope is
CKPT-12    a resume begins from a claim that is neither the last durable one nor the one in flight
CKPT-17    after a resume other rows are dropped than those that were, below the claim
=========  =========================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cellspec.graph.graph import ExecutionGraph
from cellspec.state.claims import Claim

__all__ = ["Invariants"]


class Invariants:
    """The invariants of a graph's steps and states, on the bits of `Relation`.

    Args:
        graph: a small graph.
        claims: the claims that the explorer knows, by index.
        workers: calls in flight at once; None for no limit.
        waive: clauses to leave unjudged, to see the consequences.
        drops: by claim, the rows (a mask) whose drop was recorded when it was begun, and which it
            reaches; None if a claim reaches a dropped row only when all of it is resolved.
        losses: results may be lost: what was made from one that is lost stays resolved.
        group_rows: rows of a row group; None if rows are not admitted in groups.
        groups: row groups that may be admitted at once; None for no limit.
    """

    def __init__(
        self,
        graph: ExecutionGraph,
        claims: Sequence[Claim],
        workers: int | None = None,
        waive: Sequence[str] = (),
        drops: Sequence[int] | None = None,
        *,
        losses: bool = False,
        group_rows: int | None = None,
        groups: int | None = None,
    ) -> None:
        self.losses, self.groups = losses, groups
        rules = graph.rules
        self.rows, self.width, self.workers = graph.num_records, graph.num_columns, workers
        self.waived = frozenset(waive)
        self.claims = list(claims)
        self._drops = None if drops is None else list(drops)
        # Barrier nodes come after all cells, column by column; `_scopes` holds their rows.
        self._scopes: list[tuple[int, int, int]] = []
        self._first_barrier: dict[int, int] = {}
        for rule in rules.columns:
            if rule.scope_rows:
                self._first_barrier[rule.index] = len(self._scopes)
                for start in range(0, self.rows, rule.scope_rows):
                    stop = min(start + rule.scope_rows, self.rows)
                    self._scopes.append((rule.index, start, stop))
        self._rules = rules.columns
        self._groups = list(self._state_groups(group_rows))
        self._group_bits = sum(group for group, _, _ in self._groups)
        self.count = self.rows * self.width + len(self._scopes) + len(self._groups)
        self.required: list[int] = []
        self.clause: list[str] = []
        self.before: list[int] = []
        self._state_cells()
        self._state_barriers()
        self._every = (1 << self.count) - 1
        self._all_required = [
            (self.required[place] | self.before[place], 1 << place)
            for place in range(len(self.required))
        ]
        self._outputs = [
            (self._wanted(place, 0), 1 << place)
            for place in range(len(self.required))
            if self._is_barrier(place)
        ]
        # Output that is given stays and counts, although its barrier may be lost and run again.
        awaited = {} if losses else self._first_barrier
        # The nodes by which a row of a column counts, if it is not claimed (CKPT-13, TRACK-06).
        self._counted = [
            [
                self._cell(row, column)
                | (self._barrier_over(column, row) if column in awaited else 0)
                for row in range(self.rows)
            ]
            for column in range(self.width)
        ]
        self.is_call = [not self._is_output(place) for place in range(len(self.required))]
        self.calls = sum(1 << place for place, is_call in enumerate(self.is_call) if is_call)
        self.claimed_cells = [self._claimed(claim) for claim in self.claims]
        self.after_restore = [cells | self._whole_scopes(cells) for cells in self.claimed_cells]
        self.cells = (1 << self.rows * self.width) - 1

    def _cell(self, row: int, column: int) -> int:
        return 1 << row * self.width + column

    def _barrier_over(self, column: int, row: int) -> int:
        scope = row // self._rules[column].scope_rows
        return 1 << self.rows * self.width + self._first_barrier[column] + scope

    def _is_output(self, place: int) -> bool:
        return place < self.rows * self.width and place % self.width in self._first_barrier

    def _state_cells(self) -> None:
        for row in range(self.rows):
            for column in range(self.width):
                rule, before = self._rules[column], 0
                if column in self._first_barrier:
                    required, clause = self._barrier_over(column, row), "BARR-02"
                else:
                    required = sum(self._cell(row, need) for need in rule.needs)
                    clause = "SCHED-01"
                    if rule.ordered:
                        before = sum(self._cell(earlier, column) for earlier in range(row))
                self.required.append(required)
                self.clause.append(clause)
                self.before.append(before)

    def _state_barriers(self) -> None:
        for column, start, stop in self._scopes:
            rule, before = self._rules[column], 0
            if rule.ordered and start:
                scopes = range(0, start, rule.scope_rows)
                before = sum(self._barrier_over(column, earlier) for earlier in scopes)
            self.required.append(
                sum(self._cell(row, need) for row in range(start, stop) for need in rule.needs)
            )
            self.clause.append("BARR-01")
            self.before.append(before)

    def _state_groups(self, size: int | None) -> Iterator[tuple[int, int, int]]:
        """The bit of each row group, its cells, and all nodes over its rows; bits follow nodes."""
        cells = self.rows * self.width
        for place, start in enumerate(range(0, self.rows, size) if size else ()):
            stop = min(start + (size or 0), self.rows)
            mine = sum(self._cell(row, c) for row in range(start, stop) for c in range(self.width))
            over = sum(
                1 << cells + node
                for node, (_, low, high) in enumerate(self._scopes)
                if low < stop and start < high
            )
            yield 1 << cells + len(self._scopes) + place, mine, mine | over

    def _claimed(self, claim: Claim) -> int:
        return sum(
            self._cell(row, column)
            for column, rows in enumerate(claim)
            for start, stop in ([(0, rows)] if isinstance(rows, int) else rows)
            for row in range(start, stop)
        )

    def _whole_scopes(self, cells: int) -> int:
        first = self.rows * self.width
        return sum(
            1 << first + place
            for place, (column, start, stop) in enumerate(self._scopes)
            if not sum(self._cell(row, column) for row in range(start, stop)) & ~cells
        )

    def _wanted(self, place: int, done: int) -> int:
        """The output cells that a barrier node still has to make."""
        column, start, stop = self._scopes[place - self.rows * self.width]
        return sum(self._cell(row, column) for row in range(start, stop)) & ~done

    def _is_barrier(self, place: int) -> bool:
        return place >= self.rows * self.width

    def _or_waived(self, *clauses: str) -> str:
        for clause in clauses:
            if clause and clause not in self.waived:
                return clause
        return ""

    # Steps

    def look(self, done: int, dropped: int) -> tuple[int, int]:
        """Two masks of nodes that follow from the done nodes alone.

        The first: those that may not start. The second: those that are done though a node that they
        wait for is open, which is right only where a claim holds them.
        """
        content, undone = self._group_bits, ~done
        for required, node in self._all_required:
            if not required & undone:
                content |= node
        unsettled = done & ~content
        if self.losses:
            unsettled = 0
        if dropped:
            for row in range(self.rows):
                if dropped >> row & 1:
                    unsettled &= ~(((1 << self.width) - 1) << row * self.width)
        if dropped or self.waived:
            places = range(len(self.required))
            return sum(1 << n for n in places if self._start_breaks(done, dropped, n)), unsettled
        allowed = content & undone
        for outputs, node in self._outputs:
            if not outputs & undone:
                allowed &= ~node
        for group, _, waiting in self._groups:
            if group & undone:
                allowed &= ~waiting
        return self._every & ~allowed, unsettled

    def _start_breaks(self, done: int, dropped: int, place: int) -> str:
        found: list[str] = []
        barrier = self._is_barrier(place)
        if not barrier and dropped >> place // self.width & 1:
            found.append("DROP-03")
        elif done >> place & 1:
            found.append("SCHED-03")
        if self.required[place] & ~done:
            found.append(self.clause[place])
        if self.before[place] & ~done:
            found.append("BARR-01" if barrier else "SCHED-13")
        if barrier and not self._wanted(place, done):
            found.append("BARR-08")
        if self._groups_over(place) & ~done:
            found.append("GROUP-01")
        return self._or_waived(*found) if found else ""

    def _groups_over(self, place: int) -> int:
        """The row groups that a node waits for, as a mask."""
        return sum(group for group, _, waiting in self._groups if waiting >> place & 1)

    def admissions(self, done: int, places: Iterable[int]) -> tuple[int, str] | None:
        """The first of some admissions, one of them next, that breaks a clause, and that clause."""
        full = self.groups is not None and len(self._holding(done)) >= self.groups
        for place in places:
            again = "GROUP-03" if done >> place & 1 else ""
            clause = self._or_waived(again, "GROUP-02" if full else "")
            if clause:
                return place, clause
        return None

    def _holding(self, done: int) -> list[int]:
        """The admitted row groups with an open cell: one without has retired."""
        return [group for group, cells, _ in self._groups if done & group and cells & ~done]

    def starts(
        self, done: int, flight: int, dropped: int, starts: int, forbidden: int
    ) -> tuple[int, str] | None:
        """The first of some starts that breaks a clause, and that clause.

        Args:
            done: the resolved nodes.
            flight: the nodes in flight.
            dropped: the rows that were dropped.
            starts: the nodes that a relation lets start, one of them next.
            forbidden: the first mask of `look` for these done nodes.
        """
        full = self.workers is not None and (flight & self.calls).bit_count() >= self.workers
        odd = starts & (forbidden | flight | (self.calls if full else 0))
        while odd:
            low = odd & -odd
            odd ^= low
            place = low.bit_length() - 1
            clause = self._or_waived(
                "SCHED-02" if flight & low else "",
                self._start_breaks(done, dropped, place),
                "SCHED-06" if full and self.calls & low else "",
            )
            if clause:
                return place, clause
        return None

    def end(self, flight: int, place: int) -> str:
        """The clause that the end of a call breaks."""
        return self._or_waived("" if flight >> place & 1 else "SCHED-04")

    def restore(self, claim: int, before: int, after: int) -> str:
        """The clause that a resume breaks, given the base before the crash."""
        size = self.count
        claimed = sum(
            1 << row
            for row in range(self.rows)
            if self.claimed_cells[claim] >> row * self.width & (1 << self.width) - 1
        )
        kept = before >> 2 * size & claimed if self._drops is None else self._drops[claim]
        odd = (self._restored(claim, kept) ^ after) & (1 << size) - 1
        return self._or_waived(
            "CKPT-06" if odd & self.cells else "",
            "CKPT-07" if odd & ~self.cells & ~self._group_bits else "",
            "GROUP-01" if odd & self._group_bits else "",
            "SCHED-04" if after >> size & (1 << size) - 1 else "",
            "CKPT-17" if after >> 2 * size != kept else "",
        )

    def _restored(self, claim: int, dropped: int) -> int:
        """The nodes resolved after a restore: claimed, of a dropped row, or an unwanted barrier."""
        found = self.after_restore[claim]
        if self._drops is not None:
            for row in range(self.rows):
                if dropped >> row & 1:
                    found |= sum(self._cell(row, column) for column in range(self.width))
        # A row group that is whole needs no admission.
        found |= sum(group for group, cells, _ in self._groups if not cells & ~found)
        if not dropped or self._drops is None:
            return found
        before = -1
        while before != found:
            before = found
            for outputs, node in self._outputs:
                place = node.bit_length() - 1
                awaited = self.required[place] | self.before[place] | self._groups_over(place)
                if not (outputs | awaited) & ~found:
                    found |= node
        return found

    def fail(self, before: int, after: int, place: int) -> str:
        """The clause that a failure for good breaks, by the rows that it drops."""
        size = self.count
        done = before & (1 << size) - 1
        rows = range(self.rows)
        if self._is_barrier(place):
            column = self._scopes[place - self.rows * self.width][0]
            wanted = self._wanted(place, done)
            wanting = [row for row in rows if wanted & self._cell(row, column)]
        else:
            wanting = [place // self.width]
        dropped = before >> 2 * size | sum(1 << row for row in wanting)
        return self._or_waived("" if after >> 2 * size == dropped else "DROP-01")

    def lose(self, before: int, after: int, place: int, safe: int) -> str:
        """The clause that a loss breaks; `safe` is what claims hold of the cells of the node."""
        gone = 1 << place
        right = not safe
        if self._is_barrier(place):
            left = self._wanted(place, 0) & ~safe
            gone |= left
            right = bool(left)
        return self._or_waived("" if right and after == before & ~gone else "FAIL-08")

    def starts_in_stop(self, places: Iterable[int]) -> int:
        """The first of some starts after a request that breaks STOP-05; −1 for none."""
        if "STOP-05" in self.waived:
            return -1
        return next((place for place in places if self.is_call[place]), -1)

    def interruption(
        self, version: int, done: int, dropped: int, durable: int, *, stopping: bool
    ) -> str:
        """The clause that an end as interrupted breaks, with this last durable claim."""
        held = self.claimed_cells[durable]
        right = self._closed(held, done)
        if version < 3:
            right = self._claimed(tuple(self._counts(version, done, dropped, held)))
        return self._or_waived("" if stopping else "STOP-06", "STOP-07" if right & ~held else "")

    def resume(self, claim: int, durable: int, pending: int | None) -> str:
        """The clause that a resume from a claim breaks."""
        return self._or_waived("" if claim in (durable, pending) else "CKPT-12")

    # States

    def states(self, done: int, unsettled: int) -> tuple[int, str]:
        """The last durable claims, as a mask, with which these done nodes break a clause."""
        wrong, bit, undone = 0, 1, ~done
        for held in self.claimed_cells:
            if held & undone or unsettled & ~held:
                wrong |= bit
            bit <<= 1
        clause = self._or_waived("CKPT-06")
        return (wrong, clause) if clause else (0, "")

    def reported(self, version: int, claim: Claim, done: int, dropped: int, durable: int) -> str:
        """The clause that a report of finished rows breaks."""
        held = self.claimed_cells[durable]
        if version == 3:
            mine, right = self._claimed(claim), self._closed(held, done)
            falls = held & ~mine
            return "" if mine == right else self._or_waived("CKPT-09" if falls else "", "CKPT-13")
        counts = self._counts(version, done, dropped, held)
        before = [self._held(column, held) for column in range(self.width)]
        if version == 1:
            before = [min(before)] * self.width
        if claim == tuple(counts):
            return ""
        falls = any(self._held(c, self._claimed(claim)) < before[c] for c in range(self.width))
        return self._or_waived("CKPT-09" if falls else "", "CKPT-02" if version == 1 else "CKPT-13")

    def _counts(self, version: int, done: int, dropped: int, held: int) -> list[int]:
        """How many rows of each column a claim of rows, or of columns, would hold."""
        counts = [
            self._prefix(column, done, dropped, self._held(column, held))
            for column in range(self.width)
        ]
        if version == 1:
            return [min(counts)] * self.width
        if self.losses:
            # Clause CKPT-05, for an input that is lost: columns come after those that they need.
            for rule in self._rules:
                counts[rule.index] = min([counts[rule.index], *(counts[n] for n in rule.needs)])
        return counts

    def _held(self, column: int, cells: int) -> int:
        """How many first rows of a column are among some cells."""
        row = 0
        while row < self.rows and cells & self._cell(row, column):
            row += 1
        return row

    def _closed(self, held: int, done: int) -> int:
        """Clauses CKPT-05 and CKPT-13: the largest closed set of resolved cells."""
        found = held
        for row in range(self.rows):
            for column in range(self.width):
                if not self._counted[column][row] & ~done:
                    found |= self._cell(row, column)
        before = -1
        while before != found:
            before = found
            for row in range(self.rows):
                for column in range(self.width):
                    cell = self._cell(row, column)
                    if cell & ~held & found and self._claimed_after(row, column) & ~found:
                        found &= ~cell
        return found

    def _claimed_after(self, row: int, column: int) -> int:
        """The cells without which a cell is not claimed: its inputs, and those before in order."""
        rule = self._rules[column]
        cells = sum(self._cell(row, need) for need in rule.needs)
        if rule.ordered:
            first = row // rule.scope_rows * rule.scope_rows if rule.scope_rows else row
            cells |= sum(self._cell(earlier, column) for earlier in range(first))
        return cells

    def _prefix(self, column: int, done: int, dropped: int, held: int) -> int:
        """Clause CKPT-13: resolved cells, counted on from those that the claim holds."""
        row, counted, open_nodes = held, self._counted[column], ~done
        while row < self.rows:
            if dropped >> row & 1:
                if open_nodes & self._cell(row, column):
                    break
            elif open_nodes & counted[row]:
                break
            row += 1
        return row

    def success(self, done: int) -> str:
        """The clause that a report of success breaks."""
        return self._or_waived("SCHED-10" if self.cells & ~done else "")

    def trap(self, done: int | None = None) -> str:
        """The clause that a trap breaks: a state from which every good end is out of reach.

        Args:
            done: what is done in it; None in a stop, in which no row group is waited for.
        """
        full = (
            self.groups is not None
            and done is not None
            and len(self._holding(done)) >= self.groups
            and any(cells & ~done and not group & done for group, cells, _ in self._groups)
        )
        return self._or_waived("GROUP-08" if full else "", "SCHED-12")
