"""`Machine`: the transition system of a run, with a method for each action.

Everything that runs, explores or judges goes through `Machine`. Its state is, for each node,
pending (a countdown), running, complete, skipped or dropped; which rows are dropped, and which of
these drops the engine has recorded; the durable rows; the claim being written; and the incarnation,
0 and then one more at each resume. An action that the specification does not allow raises
`Violation` with the clause that it would break, and leaves the state as it was; of an action on
several single cells, those before the one that breaks it have been taken.

====================  =======================================================================
action                meaning
====================  =======================================================================
start                 a cell, a range of a streamable column, or a barrier node begins; it takes
                      a worker and a resource
complete              a call ends well, or gives some rows of its range
emit                  output cells of a finished barrier, as a range: start and complete at once
fail                  a call ends badly; its node may be tried again, or has failed for good
take_back             a call is cancelled, to be made again by another worker
cancel                a call ends without a result, because it is not wanted any more
skip                  a cell is resolved without a value
drop                  the engine records that rows are given up, and because of which column
admit, retire         a row group begins, and ends
write_begin           data is handed to storage, which takes its time
durable               data is safe on storage
checkpoint_begin      a claim is being written
checkpoint_durable    that claim is safe on storage
checkpoint_failed     that claim could not be written
commit_begin          data and the claim on it are handed to storage in one write
committed             that commit is safe on storage
commit_failed         it reported an error; it may be on storage all the same
crash                 everything that is not durable is gone
resume                a new incarnation begins, from a claim that storage gave back
pause                 no call starts until a time, after one that failed
stop                  an early stop: starts are refused from now on
stop_requested        somebody asks the run to stop: starts are refused from now on
end                   the run reports how it ended
====================  =======================================================================

A node *fails for good* with a permanent failure, or when a retryable one or a time-out spends its
last attempt.
At that moment its row is dropped: every open cell of the row is resolved, and barriers wait for it
no longer. A barrier that fails for good drops the rows that still wanted its output. The `drop`
that follows is a record, and comes before a claim holds a cell that the drop left unmade. A call
that ends well may *reject* its row instead: that is dropped in the same way, as filtered.

A driver decides which action comes next. The simulator, where time decides, calls the methods
directly. A driver that enumerates asks `enabled` and hands an `Action` to `apply`; an action names
its column, so a recorded list replays on any driver.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from cellspec.graph.configuration import Config
from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.rowset import Ranges
from cellspec.machine import (
    barriers,
    cells,
    clock,
    commits,
    drops,
    early_stop,
    enabled,
    ending,
    failures,
    idleness,
    pauses,
    resuming,
    row_groups,
    saving,
)
from cellspec.machine.actions import Action, Cause, Choose, Failure, Outcome
from cellspec.machine.apply import resume_arguments, take_action
from cellspec.machine.limits import ClaimKind, FailurePolicy, Limits, SavePolicy
from cellspec.machine.overtaking import Overtaking
from cellspec.machine.run_state import RunState
from cellspec.state.claims import Claim

__all__ = [
    "Action",
    "Choose",
    "Failure",
    "FailurePolicy",
    "Limits",
    "Machine",
    "Outcome",
    "Ranges",
    "SavePolicy",
]


class Machine:
    """The transition system of one run, interpreted by counters.

    Each step is a method. Its work is done by the function of the same name in the module of that
    part of a run (`cells`, `barriers`, `failures`, `saving`, …), which describes its arguments,
    and the clauses by which it may be refused. Each raises `Violation` if the step is refused.

    Args:
        graph: of the run.
        limits: on the work in flight; by default none.
        failures: the failure policy; by default one attempt a node. `enabled` offers failures
            only if this is given.
        drops: the engine can drop rows and go on without them; where it does not, a run
            may give up at a failure for good (clause SCHED-14).
        real_time: time just passes, so that a call may end a little after its bound.
        waive: clauses not to judge; a step that breaks one is taken, and later steps are judged as
            if it had been right (see `cellspec.machine.explain_refusal`).
        config: by column, a digest of what shapes its values (clause CKPT-20).
        saving: when the engine promises to save (clause CKPT-19); by default it promises nothing.
        idle_s: how long, in seconds, ready work may wait while nothing is in flight (SCHED-15).
            With a wait that is allowed, cells start through `start_cell` alone.
        slack_s: how much longer than it may any work waits, in seconds; for runs in real time.
        bypass: the most later nodes of its resource that overtake a ready one (SCHED-17); by
            default no bound is promised. With one, cells start through `start_cell` alone.
        claims: what the run's claims hold; by default they have to show it.
        hears_late: in the moment in which a call ends, an engine that is watched from outside may
            still start what this forbids (DROP-03, BARR-06 to BARR-08, STOP-01).

    Raises:
        SpecError: limits under which a barrier would wait for ever (clause GROUP-04).

    Attributes:
        state: all that the machine knows of the run; its fields are described at `RunState`.
        graph, counters, group_of, limits, failures, attempts, backoffs, unrecorded, durable,
            admitted: those of `state`.
        on_step: called with each step that was taken, as an `Action`, after it was. Refused steps
            are not passed on, and steps that a driver takes on `counters` directly are unseen.
    """

    def __init__(
        self,
        graph: ExecutionGraph,
        limits: Limits | None = None,
        *,
        failures: FailurePolicy | None = None,
        drops: bool = True,
        waive: Collection[str] = (),
        config: Config | None = None,
        real_time: bool = False,
        saving: SavePolicy | None = None,
        idle_s: float = 0.0,
        slack_s: float = 0.0,
        bypass: int | None = None,
        claims: ClaimKind | None = None,
        hears_late: bool = False,
    ) -> None:
        state = RunState(
            graph,
            limits or Limits(),
            failures,
            drops=drops,
            waive=waive,
            config=config,
            real_time=real_time,
            saving=saving,
            idle_s=idle_s,
            slack_s=slack_s,
            claims=claims,
            hears_late=hears_late,
        )
        state.judge = cells.CellJudge(state)
        state.set_graph(graph)
        self._overtaking: Overtaking | None = None
        if bypass is not None and "SCHED-17" not in waive:
            state.overtaking = self._overtaking = Overtaking(state, bypass)
        self.state = state
        self.on_step: Callable[[Action], object] | None = None
        # Plain attributes, for they are read for each event. Only a resume replaces the first two;
        # the others are changed in place.
        self.graph, self.counters = state.graph, state.counters
        self.group_of, self.limits, self.failures = state.group_of, state.limits, state.failures
        self.attempts, self.backoffs = state.attempts, state.backoffs
        self.unrecorded, self.durable, self.admitted = (
            state.unrecorded,
            state.durable,
            state.admitted,
        )
        self.listen(None, lambda *_: None, lambda *_: None)

    def listen(
        self,
        on_cell: Sequence[Callable[[int], object]] | None,
        on_cells: Callable[[int, int, int], object],
        on_barrier: Callable[[int, int], object],
        on_skip: Callable[[int, int], object] = lambda *_: None,
    ) -> None:
        """Subscribe to ready work (see `Counters.listen`): at once, or between crash and resume."""
        overtaking = self._overtaking
        if overtaking is not None:
            on_cell, on_cells, on_barrier = overtaking.listener(on_cell, on_cells, on_barrier)
        self.counters.listen(on_cell, on_cells, on_barrier, on_skip)
        if not self.state.is_over:
            resuming.restore(self.state, self.state.durable_claim)

    def _note(
        self,
        kind: str,
        column: int | None = None,
        rows: tuple[int, int] | None = None,
        **fields: Any,
    ) -> None:
        """Hand a step that was taken to `on_step`."""
        assert self.on_step is not None
        name = "" if column is None else self.state.name_of(column)
        self.on_step(Action(kind, name, rows, **fields))

    # What a driver asks; `RunState` describes the fields

    @property
    def now(self) -> float:
        """The time of the last event, in seconds."""
        return self.state.now

    @property
    def incarnation(self) -> int:
        """0, and one more at each resume."""
        return self.state.incarnation

    @property
    def crashed(self) -> bool:
        """True between a crash and the resume that follows."""
        return self.state.crashed

    @property
    def ended(self) -> bool:
        """True after the run reported its end."""
        return self.state.ended

    @property
    def must_stop(self) -> bool:
        """True if so many of the last calls failed that starts are refused."""
        return self.state.must_stop

    @property
    def stopped(self) -> bool:
        """True if the engine has stopped early."""
        return self.state.stopped

    @property
    def stop_requested(self) -> bool:
        """True if somebody asked the run to stop."""
        return self.state.stop_requested

    @property
    def durable_claim(self) -> Claim:
        """The last claim that became durable."""
        return self.state.durable_claim

    @property
    def pending_claim(self) -> Claim | None:
        """The claim being written, or None."""
        return self.state.pending_claim

    @property
    def completed_rows(self) -> int:
        """Rows resolved without a gap from row 0. O(1): kept as rows finish."""
        return self.counters.rows

    @property
    def in_flight(self) -> int:
        """Nodes running, output cells of barriers not counted."""
        return self.counters.load

    def claim(self, version: int) -> Claim:
        """The largest claim that a checkpoint of this version may make now."""
        run = self.state
        return run.counters.claimable() if version == 3 else saving.longest_claim(run, version)

    def dispatchable(self) -> str:
        """One node that could start now, in words; "" if there is none. O(resources)."""
        return idleness.dispatchable(self.state)

    def enabled(self) -> Iterator[Action]:
        """Every action that the specification allows now, lazily, in a fixed order.

        Checkpoints are offered for version 1 and 2, each with its longest claim; data is offered
        to storage as a whole column prefix; ranges, and resumes with another target, are not
        offered. An end as failed, a time-out, an answer that rejects rows and a call taken back are
        left out too. A failure is offered as each other kind, without a backoff.
        """
        return enabled.enabled(self.state)

    # Time

    def at(self, t: float, *, ends: bool = False) -> None:
        """The clock reads `t` seconds; all that could have started before must have started.

        Args:
            t: the time.
            ends: the run reports its end now, which judges the wait before it (SCHED-14).

        Raises:
            Violation: SCHED-08 (time fell), SCHED-09 (dispatchable work was left when time moved),
                GROUP-06 (a row group was left waiting), SCHED-15 (work was left waiting while
                nothing was in flight), FAIL-07 (a call passed its bound), CKPT-19 (a save was due).
        """
        clock.at(self.state, t, ends=ends)

    def set_clock(self, t: float) -> None:
        """The clock reads `t` seconds, unjudged: a new process may read another clock."""
        self.state.now = t

    def stuck(self) -> None:
        """The driver finds that the run is deadlocked.

        Raises:
            Violation: SCHED-12, if the run has not ended.
        """
        ending.stuck(self.state)

    # Steps

    def apply(self, action: Action) -> None:
        """Take one step.

        Raises:
            Violation: the clause that the step would break; the state is then as it was, but for
                the cells before, in an action on several single cells.
            SpecError: an action with an unknown column, rows or kind.
        """
        if action.kind == "resume":
            self.resume(**resume_arguments(self.state, action))
        else:
            take_action(self.state, action, self.on_step)

    def start_cell(self, column: int, row: int, attempt: int | None = None) -> None:
        """A cell starts. Without a bound of calls ``counters.start[column](row)`` is the same."""
        cells.start_cell(self.state, column, row, attempt)
        if self.on_step is not None:
            self._note("start", column, (row, row + 1), attempt=attempt)

    def complete_cell(self, column: int, row: int, attempt: int | None = None) -> None:
        """A running cell ends well; of one whose row was dropped only the call counts (STOP-01)."""
        cells.complete_cell(self.state, column, row, attempt)
        if self.on_step is not None:
            self._note("complete", column, (row, row + 1), attempt=attempt)

    def skip_cell(self, column: int, row: int) -> None:
        """A cell is resolved without a value."""
        cells.skip_cell(self.state, column, row)
        if self.on_step is not None:
            self._note("skip", column, (row, row + 1))

    def start_range(self, column: int, start: int, stop: int, attempt: int | None = None) -> None:
        """Rows ``[start, stop)`` of a streamable column start as one task."""
        cells.start_range(self.state, column, start, stop, attempt)
        if self.on_step is not None:
            self._note("start", column, (start, stop), attempt=attempt)

    def start_barrier(
        self,
        column: int,
        scope: int,
        reads: Ranges | None = None,
        attempt: int | None = None,
    ) -> None:
        """A barrier node starts, and reads every live row of its scope."""
        barriers.start_barrier(self.state, column, scope, reads, attempt)
        if self.on_step is not None:
            reads = self.counters.reads(column, scope) if reads is None else reads
            self._note("start", column, scope=scope, attempt=attempt, reads=reads)

    def complete_barrier(self, column: int, scope: int, attempt: int | None = None) -> None:
        """A running barrier node ends well: its output cells are ready."""
        barriers.complete_barrier(self.state, column, scope, attempt)
        if self.on_step is not None:
            self._note("complete", column, scope=scope, attempt=attempt)

    def emit(self, column: int, start: int, stop: int) -> None:
        """A finished barrier gives its output cells of rows ``[start, stop)``."""
        barriers.emit(self.state, column, start, stop)
        if self.on_step is not None:
            self._note("emit", column, (start, stop))

    def fail_cell(
        self,
        column: int,
        row: int,
        failure: Failure,
        until: float | None = None,
        attempt: int | None = None,
    ) -> None:
        """A running cell, or the rest of the running range that it is in, ends badly."""
        failures.fail_cell(self.state, column, row, failure, until, attempt)
        if self.on_step is not None:
            self._note(
                "fail", column, (row, row + 1), failure=failure, until=until, attempt=attempt
            )

    def cancel_cell(self, column: int, row: int, attempt: int | None = None) -> None:
        """A running cell, or range, is cancelled: its row was dropped, or the run stopped."""
        failures.cancel_cell(self.state, column, row, attempt)
        if self.on_step is not None:
            self._note("cancel", column, (row, row + 1), attempt=attempt)

    def fail_barrier(
        self,
        column: int,
        scope: int,
        failure: Failure,
        until: float | None = None,
        attempt: int | None = None,
    ) -> None:
        """A running barrier node ends badly; if for good, rows that want its output are dropped."""
        failures.fail_barrier(self.state, column, scope, failure, until, attempt)
        if self.on_step is not None:
            self._note("fail", column, scope=scope, failure=failure, until=until, attempt=attempt)

    def cancel_barrier(self, column: int, scope: int, attempt: int | None = None) -> None:
        """A running barrier node is cancelled: its output is unwanted, or the run stopped."""
        failures.cancel_barrier(self.state, column, scope, attempt)
        if self.on_step is not None:
            self._note("cancel", column, scope=scope, attempt=attempt)

    def record_drop(self, column: int, start: int, stop: int, cause: Cause | None = None) -> None:
        """The engine records that rows ``[start, stop)`` are dropped because of `column`."""
        drops.record_drop(self.state, column, start, stop, cause)
        if self.on_step is not None:
            self._note("drop", column, (start, stop), cause=cause)

    def admit(self, start: int, stop: int) -> None:
        """A row group begins: from now on its rows may run."""
        row_groups.admit(self.state, start, stop)
        if self.on_step is not None:
            self._note("admit", None, (start, stop))

    def retire(self, start: int, stop: int) -> None:
        """A row group ends: each of its rows is resolved."""
        row_groups.retire(self.state, start, stop)
        if self.on_step is not None:
            self._note("retire", None, (start, stop))

    def write_begin(self, column: int | None, start: int, stop: int) -> None:
        """Rows ``[start, stop)`` of a column, or of every one, are handed to storage."""
        columns = range(self.graph.num_columns) if column is None else (column,)
        saving.write_begin(self.state, columns, start, stop)
        if self.on_step is not None:
            self._note("write_begin", column, (start, stop))

    def durable_rows(self, column: int, stop: int, start: int = 0) -> None:
        """Rows ``[start, stop)`` of a column, drops and skip marks among them, are on storage."""
        # Observers are notified of new rows alone.
        new = max(start, self.durable[column])
        saving.store(self.state, (column,), start, stop)
        if self.on_step is not None:
            self._note("durable", column, (new, stop))

    def checkpoint_begin(self, claim: Claim) -> None:
        """A claim is handed to storage."""
        saving.checkpoint_begin(self.state, claim)
        if self.on_step is not None:
            self._note("checkpoint_begin", claim=claim)

    def checkpoint_durable(self) -> None:
        """The claim being written is safe on storage."""
        saving.checkpoint_durable(self.state)
        if self.on_step is not None:
            self._note("checkpoint_durable")

    def checkpoint_failed(self) -> None:
        """The claim being written, or else rows, could not be written; the claim before stands."""
        saving.checkpoint_failed(self.state)
        if self.on_step is not None:
            self._note("checkpoint_failed")

    def commit_begin(self, cells: Claim, number: int | None = None) -> None:
        """Data is handed to storage in one write with the claim on it: by column, what is new."""
        commits.commit_begin(self.state, cells, number)
        if self.on_step is not None:
            self._note("commit_begin", claim=cells, commit=number)

    def committed(self, number: int | None = None) -> None:
        """A commit is safe on storage: its data, and the claim on it."""
        commits.committed(self.state, number)
        if self.on_step is not None:
            self._note("committed", commit=number)

    def commit_failed(self, number: int | None = None) -> None:
        """A commit reported an error; it may be on storage all the same."""
        commits.commit_failed(self.state, number)
        if self.on_step is not None:
            self._note("commit_failed", commit=number)

    def crash(self) -> None:
        """The process is gone, with all that runs."""
        resuming.crash(self.state)
        if self.on_step is not None:
            self._note("crash")

    def resume(
        self,
        claim: Claim,
        *,
        dropped: Ranges | None = None,
        skipped: Mapping[str, Ranges] | None = None,
        records: int | None = None,
        keep: bool = False,
        config: Config | None = None,
        keep_config: bool = False,
    ) -> None:
        """A new process begins from `claim`; exactly the claimed cells are complete."""
        resuming.expect_config(self.state, claim, config, keep=keep_config)
        resuming.resume(self.state, claim, dropped, skipped, records, keep=keep)
        self.graph, self.counters = self.state.graph, self.state.counters
        if self.on_step is not None:
            self._note(
                "resume",
                claim=claim,
                dropped=dropped,
                skipped=skipped,
                records=records,
                keep=keep,
                config=config,
                keep_config=keep_config,
            )

    def pause(self, until: float | None) -> None:
        """The engine starts no call before `until`, in seconds of the clock."""
        pauses.pause(self.state, until)
        if self.on_step is not None:
            self._note("pause", until=until)

    def stop(self) -> None:
        """The engine stops early: calls in flight may end, and starts are refused."""
        early_stop.stop(self.state)
        if self.on_step is not None:
            self._note("stop")

    def request_stop(self) -> None:
        """Somebody asks the run to stop: calls in flight may end, and starts are refused."""
        early_stop.request_stop(self.state)
        if self.on_step is not None:
            self._note("stop_requested")

    def end(self, outcome: Outcome = "success") -> None:
        """The run reports how it ended."""
        ending.end(self.state, outcome)
        if self.on_step is not None:
            self._note("end", outcome=outcome)
