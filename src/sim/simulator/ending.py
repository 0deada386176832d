"""How calls end: well, with a failure, or by giving a row of their range."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cellspec.graph.nodes import column_of
from cellspec.machine.actions import Failure
from cellspec.machine.clock import compile_at
from cellspec.state.codes import RANGED, RUNNING
from sim.simulator.accepting import Accepting
from sim.simulator.composition import Composition
from sim.simulator.consequences import Consequences
from sim.simulator.costs import CallCosts
from sim.simulator.failing import Failing
from sim.simulator.run_state import CallDetails, FailingCall, RunState, Settle, Task
from sim.simulator.shares import Shares
from sim.simulator.tally import Tally
from sim.simulator.timings import SAMPLED

__all__ = ["Ends"]


class Ends:
    """Ends the calls of one run.

    Args:
        state: the run.
        parts: what it asks for.
        tally, consequences, failing: its parts.
        accepting: judges rows by their last call; None where all rows are wanted.
        shares: counts the calls that run; None if nobody asks.

    Attributes:
        costs: what values took, which a crash may lose; of this incarnation.
    """

    def __init__(
        self,
        state: RunState,
        parts: Composition,
        tally: Tally,
        consequences: Consequences,
        failing: Failing,
        accepting: Accepting | None,
        shares: Shares | None,
    ) -> None:
        self._state, self._parts, self._tally = state, parts, tally
        self._consequences, self._failing = consequences, failing
        self._accepting, self._shares = accepting, shares
        # What a crash may lose: only then somebody asks what it took.
        self._kept = set(parts.routes) if state.plan.crashes else set()

    def begin(self) -> None:
        """A new incarnation begins."""
        streams = {column for column, rows in enumerate(self._parts.range_rows) if rows > 1}
        kept = sorted(streams | self._kept)
        self.costs = CallCosts(self._state.latency, self._parts.outcomes, kept)

    def completion(self, settle: Settle) -> Callable[[Task], None]:
        """The handler of an incarnation's completions."""
        state, parts = self._state, self._parts
        env, machine, outcome, counters = state.env, state.machine, state.outcome, state.counters
        resolve, at, timed = self._resolves(), compile_at(machine.state), state.timed
        num_records, log, spare = state.graph.num_records, state.log.append, state.spare.append
        timings, works, made = state.timings, state.works, self._tally.made
        flags, ends, every, ended = timings.flags, timings.ends, timings.every, timings.ended
        is_even, may_stop, groups = parts.is_even, parts.may_stop, self._consequences.groups
        cells, sampled = counters.cells, SAMPLED
        emissions, skips = state.emissions, self._consequences.skips
        ends_rows = [rule.is_sink for rule in state.rules.columns]

        def completed(task: Task) -> None:
            t = env.now
            if timed:
                at(t)
            column, row = task.column, task.row
            details = task.details
            if details is not None and not details.ends_like_first:
                self._end(task, details, t)
            elif not is_even and cells[column][row] != RUNNING:
                task.details = None
                self.end_unwanted(column, row)
                spare(task)
            else:
                if details is not None:
                    task.details = None
                resolve[column](row)
                state.done = done = state.done + 1
                made[column] += 1
                flag = flags[row]
                if flag == sampled:
                    ends[column][row // every] = t
                elif flag:
                    ended(column, row, t)
                # A group ends with a cell that nothing waits for, or with what follows by itself.
                if groups is not None:
                    if emissions or skips:
                        groups.touch(row, row + 1)
                    elif ends_rows[column]:
                        groups.touch_last(row)
                if row > state.furthest and works[column]:
                    state.furthest = row
                    if row - counters.rows >= outcome.window_rows:
                        outcome.window_rows = row + 1 - counters.rows
                if done & 0xFFFF:
                    log(column * num_records + row)
                else:
                    self.log_and_flush(column * num_records + row, t)
                spare(task)
            if may_stop:
                self._stop_if_due()
            if state.crash_event:
                state.crash_if_due()
            settle(t)

        return completed

    def _resolves(self) -> Sequence[Callable[[int], object]]:
        """By column, what completes a cell."""
        machine = self._state.machine
        if not self._parts.by_steps:
            return machine.counters.resolve

        def resolve_of(column: int) -> Callable[[int], object]:
            return lambda row: machine.complete_cell(column, row)

        return [resolve_of(column) for column in range(self._state.graph.num_columns)]

    def log_and_flush(self, key: int, t: float) -> None:
        """Every so many cells the log is flushed; fingerprints are older than this function."""
        state, is_plain = self._state, self._parts.is_plain
        if not is_plain:
            state.log.append(key)
        state.note_progress(t)
        if is_plain:
            state.log.append(key)

    def _stop_if_due(self) -> None:
        """Stop early if too many calls failed."""
        state, machine = self._state, self._state.machine
        # A run in which all rows are complete has no starts to stop.
        left = machine.completed_rows < state.graph.num_records and not machine.stop_requested
        if left and machine.must_stop and not machine.stopped:
            machine.stop()
            state.other_events += 1

    def _end(self, task: Task, details: CallDetails | FailingCall, t: float) -> None:
        """A call with details ends, or gives a row of its range."""
        if isinstance(details, FailingCall):
            self.end_failing(task.column, task.row, details.call, t)
            task.details = None
            self._state.spare.append(task)
            return
        if task.column < 0:
            self._end_barrier(task, details, t)
        elif details.stop > details.start + 1:
            if not self._end_row(task, details, t):
                return
            if (route := self._parts.routes.get(task.column)) is not None:
                route.gave(task)
        else:
            self._end_cell(task, details, t)
        if self._shares is not None:
            self._shares.ended(column_of((task.column, task.row)))
        task.details = None
        self._state.spare.append(task)

    def end_failing(self, column: int, row: int, call: int, t: float) -> None:
        """The call of one cell fails."""
        if self._state.counters.cells[column][row] == RUNNING:
            self._failing.fail_cell(column, row, call, t)
        else:
            self.end_unwanted(column, row)

    def _end_cell(self, task: Task, details: CallDetails, t: float) -> None:
        column, row, machine = task.column, task.row, self._state.machine
        if machine.counters.cells[column][row] != RUNNING:
            self.end_unwanted(column, row)
        elif details.failure is not None:
            self._failing.fail((column, row), details, t)
        elif self._accepting is None or not self._accepting.rejects(column, row):
            machine.complete_cell(column, row)
            details.given = 1
            self.keep_costs(task)
            self._gave(column, row, t)

    def end_unwanted(self, column: int, row: int) -> None:
        """The call of a row ends that was dropped meanwhile."""
        self._state.machine.complete_cell(column, row)
        # Its start and its end, which gives no cell.
        self._state.other_events += 2

    def _end_row(self, task: Task, details: CallDetails, t: float) -> bool:
        """A range gives its next row, or fails half-way; True if it is over."""
        column, machine, state = task.column, self._state.machine, self._state
        row, rows = details.start + details.given, details.stop - details.start
        if details.failure is not None and (
            details.failure == "timeout" or details.given >= rows // 2
        ):
            state.outcome.busy_s[column] -= max(0.0, task.ends_s - t)
            self.keep_costs(task)
            self._failing.fail((column, row), details, t)
            return True
        wanted = machine.counters.cells[column][row] == RANGED
        if wanted and self._accepting is not None and self._accepting.rejects(column, row):
            # Of a range each row is one event, and its start another.
            state.other_events -= 1
            wanted = False
        else:
            machine.complete_cell(column, row)
            state.other_events += -1 if wanted else 1
        if wanted:
            self._gave(column, row, t)
        details.given += 1
        if row + 1 == details.stop:
            state.other_events += 1
            self.keep_costs(task)
            return True
        # From the start, so that rounding does not add up.
        due = details.start_s + details.seconds * (details.given + 1) / rows
        state.env.schedule(task, delay=max(0.0, due - t))
        return False

    def _end_barrier(self, task: Task, details: CallDetails, t: float) -> None:
        column, scope, state = column_of((task.column, task.row)), task.row, self._state
        if details.failure is not None:
            self._failing.fail((task.column, scope), details, t)
            return
        if self._accepting is None:
            state.machine.complete_barrier(column, scope)
        else:
            self._accepting.complete_barrier(column, scope)
        if column in self._kept:
            self.costs.add_barrier(column, scope, details.seconds)
        # Its start stops counting as in flight.
        state.other_events += 2
        state.log.append(task.column * state.graph.num_records + scope)

    def _gave(self, column: int, row: int, t: float) -> None:
        """A cell has its value."""
        state = self._state
        state.done = done = state.done + 1
        self._tally.made[column] += 1
        state.timings.ended(column, row, t)
        self._consequences.touch(row, row + 1)
        if row > state.furthest and state.works[column]:
            state.furthest = row
            if row - state.counters.rows >= state.outcome.window_rows:
                state.outcome.window_rows = row + 1 - state.counters.rows
        state.log.append(column * state.graph.num_records + row)
        if not done & 0xFFFF:
            state.note_progress(t)

    def through(self, task: Task, failure: Failure | None = None) -> None:
        """A call is through its route, now; with a failure of the route, it fails by that."""
        details = task.details
        assert not isinstance(details, FailingCall)
        if failure is not None:
            assert details is not None
            details.failure = failure
            details.ends_like_first = False
        state = self._state
        env = state.env
        if details is None:
            # As `book`, without a call: this is the hot path.
            state.outcome.busy_s[task.column] += env.now - task.start_s
        else:
            self.book(task)
        env.handler(task)

    def book(self, task: Task) -> None:
        """Count what a call on a route took up to now."""
        now, details = self._state.env.now, task.details
        task.ends_s = now
        if details is None:
            self._state.outcome.busy_s[task.column] += now - task.start_s
            return
        assert isinstance(details, CallDetails)
        details.seconds = now - details.start_s
        self._state.outcome.busy_s[column_of((task.column, task.row))] += details.seconds

    def keep_costs(self, task: Task) -> None:
        """Remember the cost of the rows that a call gave, until a claim holds them."""
        if isinstance(task.details, CallDetails):
            on_route = task.column in self._parts.routes
            self.costs.add_rows(task.column, *task.details.costs(on_route=on_route))
