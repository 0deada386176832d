"""The discrete-event simulator: a run of a graph in virtual time, on SimPy.

Time decides which action comes next: a node that starts takes a latency, and completes when SimPy's
clock reaches its end. Everything else is the specification's: `cellspec.machine.machine` announces
ready nodes, refuses actions that are not allowed, and restores the claim of a checkpoint. The
simulator adds the parts of an engine: queues, workers, the moment of a checkpoint, storage that
takes time, and crashes.

`Simulator` drives a run. It is composed (`sim.simulator.composition`): `sim.simulator.calls` start
and end the nodes, and parts beside it hold what a run may ask for beyond that: calls that fail
(`failing`), ranges (`ranges`), output, skips and row groups (`consequences`). One event handler
runs for each completion, and does the same four things: complete the node, start ready nodes,
checkpoint if it is time, count. Its cost does not grow with rows or columns. A started node is one
pooled SimPy event, handed back to the kernel each time; creating a `Timeout` for each node would
cost as much again as all the rest of the kernel.

A crash throws away the SimPy environment, with all that was in flight. The next incarnation begins
after the restart delay, from a claim that storage gives back: the last one that was durable, or the
one that was being written, by a draw from the seed.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import reduce
from typing import Any, NoReturn

from cellspec.graph.graph import ExecutionGraph
from cellspec.machine.actions import Choose
from cellspec.machine.actions import Outcome as Ending
from cellspec.state.checkpoint import make_payload
from cellspec.state.claims import Claim, meet, minus, prefix_of, spans
from sim.simulator.accepting import Accepting
from sim.simulator.call_outcomes import CallOutcomes
from sim.simulator.calls import Calls
from sim.simulator.claim_schedule import ClaimSchedule
from sim.simulator.composition import Composition
from sim.simulator.crashes import CrashSchedule, Progress, SeededChoice
from sim.simulator.earlier import begin_from
from sim.simulator.latency import Latency
from sim.simulator.losses import lost_barriers_s, lost_in_flight_s, value_losses
from sim.simulator.outcome import Incarnation, Outcome
from sim.simulator.picking import Picker, pick_of
from sim.simulator.plan import RunPlan
from sim.simulator.queues import ReadyQueue, make_queue
from sim.simulator.recording import Notify
from sim.simulator.route import Route
from sim.simulator.run_state import Crashed, RunState, Settle, Task
from sim.simulator.table import add_up
from sim.simulator.time_outs import bounded

__all__ = ["Simulator", "survives"]


def _keeps_steps(kind: type[Simulator]) -> bool:
    """True if a kind of simulator overrides none of the steps that the plain loop does without."""
    steps = ("_completion", "_dispatcher", "_picker", "_settler")
    return all(getattr(kind, step) is getattr(Simulator, step) for step in steps)


class _End(Exception):  # noqa: N818 - a control transfer out of the event loop
    """The run is over."""


class Simulator:
    """One run. An engine broken on purpose overrides one of its methods.

    Args:
        graph: the graph whose cells are made.
        latency: how long each node takes.
        plan: limits, policy, checkpoints, crashes and the seed.
        outcomes: how calls end, and which cells are skipped; by default all end well.
        notify: receives every step; see `sim.simulator.recording`.
        routes: by column, what its calls go through; see `sim.simulator.route`.
        checked: judge time too (SCHED-08, SCHED-09); all other clauses are part of how the state
            moves, and cannot be switched off.
        choose: answers the question that time leaves open: "claim after crash". By default a draw
            from the seed.
        progress: called now and then with (seconds, finished rows).
        on_resume: called with the number of each incarnation that begins after a crash, where the
            draws of a run differ by it.
    """

    waive: Collection[str] = ()
    """Clauses not to judge: for measuring what else would catch a broken engine."""

    def __init__(
        self,
        graph: ExecutionGraph,
        latency: Latency,
        plan: RunPlan,
        *,
        outcomes: CallOutcomes | None = None,
        notify: Notify | None = None,
        routes: Mapping[int, Route] | None = None,
        checked: bool = True,
        choose: Choose | None = None,
        progress: Callable[[float, int], object] | None = None,
        on_resume: Callable[[int], object] | None = None,
    ) -> None:
        self.graph, self.rules, self.plan = graph, graph.rules, plan
        if plan.timeouts:
            latency, outcomes = bounded(graph, plan.timeouts, latency, outcomes, routes or {})
        self.parts = Composition(graph, plan, outcomes, notify, routes or {})
        self.machine = self.parts.make_machine(checked=checked, waive=self.waive)
        self.state = RunState(
            graph,
            latency,
            plan,
            self.machine,
            timed=checked or self.parts.is_timed,
            progress=progress,
        )
        self.calls = Calls(self.state, self.parts)
        self.outcome = self.state.outcome
        self._blocks = plan.checkpoint is not None and plan.checkpoint.blocking
        self._judges_idleness = self.machine.state.judges_idleness
        self.choose = choose or SeededChoice(plan.seed)
        self._crashes = CrashSchedule(plan, self.outcome.spent_crashes)
        self._next_claim = ClaimSchedule(self.state)
        self._on_resume = on_resume
        found = plan.start_from or self.machine.durable_claim
        self._progress = Progress(found) if self._crashes.end_never else None

    @property
    def now(self) -> float:
        """Seconds since the run began."""
        return float(self.state.env.now)

    def run(self) -> Outcome:
        """Run to the end, through every crash, and return the counters.

        Raises:
            Violation: an event breaks a clause.
            EndlessError: crashes come again and again, and for long nothing more was saved.
        """
        self.set_up()
        start_s: float | None = 0.0
        while start_s is not None:
            self.begin(start_s)
            survives(self, self._live)
            start_s = self.end()
        return self.add_up()

    def _live(self) -> None:
        """One incarnation, to its crash or to the end of the run."""
        self.start()
        if self.parts.is_looped and not self.state.crash_event and _keeps_steps(type(self)):
            steps = (self._settle, self._follow)
            self.calls.run_plain(self._pick, self.queues, self._next_claim, *steps)
        else:
            self.state.env.run()
        self.machine.stuck()

    # The parts of a run, for who lets several go on at once

    def set_up(self) -> None:
        """Before the first incarnation: find what there is on storage."""
        if self.plan.start_from is None:
            self._subscribe()
        else:
            begin_from(self.state, self.plan.start_from, self._subscribe)

    def begin(self, start_s: float) -> None:
        """An incarnation begins, with a new clock; `start` is to follow."""
        machine, state = self.machine, self.state
        incarnation = Incarnation(machine.incarnation, start_s, machine.completed_rows)
        self.outcome.incarnations.append(incarnation)
        # What is on storage beside the claim is not used after a crash.
        self._durable = machine.durable_claim
        state.begin(start_s)
        self.calls.begin()
        state.crash_event = self._crashes.event
        self._settle = self._settler()
        state.env.handler = self._completion()
        self._set_writing(False)
        self._gave_up = False
        self.state.rows_seen = -1
        if not self.calls.tally.has_live_row(machine.completed_rows):
            # No row was complete yet, or the crash lost the first one that was.
            self.outcome.first_row_s = math.inf
        self._next_claim.plan()
        self._schedule_crash(start_s)
        self._schedule_timer()
        self.calls.consequences.watch(self._settle)

    def start(self) -> None:
        """Start what can start when the incarnation begins."""
        self._settle(self.now)

    def end(self) -> float | None:
        """The incarnation is over; when the next one begins, or None if the run is over.

        Raises:
            EndlessError: crashes come again and again, and for long nothing more was saved.
        """
        state, incarnation = self.state, self.outcome.incarnations[-1]
        incarnation.end_s = state.env.now
        state.timings.settle(incarnation.start_s)
        state.emissions.clear()
        state.stop_tasks()
        self.calls.count(incarnation)
        if not incarnation.crashed:
            return None
        start_s = incarnation.end_s + self.plan.restart_delay_s
        self._resume(incarnation, start_s)
        if self._on_resume is not None:
            self._on_resume(self.machine.incarnation)
        return start_s

    def add_up(self) -> Outcome:
        """The run is over: its counters."""
        self.state.flush_log()
        add_up(self.state, self.calls, self._durable, self.now)
        return self.outcome

    # Nodes

    def _settler(self) -> Settle:
        """The steps after any event: what follows by itself, start nodes, checkpoint, finish."""
        state, machine, dispatch = self.state, self.machine, self._dispatcher()
        counters, emissions, consequences = state.counters, state.emissions, self.calls.consequences
        skips, groups, may_stop = consequences.skips, consequences.groups, self.parts.may_stop
        claims = self._next_claim

        def settle(t: float) -> None:
            if emissions or skips or (groups is not None and groups.may_move):
                consequences.take()
            dispatch(t)
            if counters.rows != state.rows_seen or state.done >= claims.cells:
                self._follow(t)
            if may_stop and machine.stopped and not machine.stop_requested:
                self._finish_stopped()

        return settle

    def _follow(self, t: float) -> None:
        """Rows are finished, or a claim may be due."""
        if self.machine.completed_rows != self.state.rows_seen:
            self._rows_finished(t)
        if self._is_due():
            self._begin_checkpoint()

    def _completion(self) -> Callable[[Task], None]:
        """The handler of completions."""
        return self.calls.completion(self._settle)

    def _dispatcher(self) -> Settle:
        """Starts nodes, at time t, while a worker, a resource and ready work are there."""
        self._pick = self._picker()
        dispatch = self.calls.dispatcher(self._pick)
        if self._blocks:
            dispatch = self._behind_writes(dispatch)
        accepting = self.calls.accepting
        return dispatch if accepting is None else self._until_enough(accepting, dispatch)

    def _until_enough(self, accepting: Accepting, dispatch: Settle) -> Settle:
        """`dispatch`, until enough rows are accepted; then the run comes to its end."""
        machine, state = self.machine, self.state

        def dispatch_or_stop(t: float) -> None:
            if not accepting.has_enough:
                dispatch(t)
            elif not machine.stop_requested:
                machine.request_stop()
                state.count_event()
                # Calls that end at this same moment are counted.
                state.after_all(self._give_up)

        return dispatch_or_stop

    def _behind_writes(self, dispatch: Settle) -> Settle:
        """`dispatch`, when no checkpoint is due or is being written."""

        def wait_or_dispatch(t: float) -> None:
            self._follow(t)
            if not self._writing:
                dispatch(t)

        return wait_or_dispatch

    def _picker(self) -> Picker:
        """Takes the next node to start, of those whose resource is free."""
        return pick_of(self.queues, self.state.capacity, self.machine.counters)

    # Rows and checkpoints

    def _rows_finished(self, t: float) -> None:
        machine, state = self.machine, self.state
        self.state.rows_seen = machine.completed_rows
        if self.outcome.first_row_s > t and self.calls.tally.has_live_row(self.state.rows_seen):
            self.outcome.first_row_s = t
        if state.progress is not None:
            state.progress(t, self.state.rows_seen)
        if self.state.rows_seen == self.graph.num_records:
            self._finish_run()

    def _is_due(self) -> bool:
        return not self._writing and self._next_claim.is_due

    def _begin_checkpoint(self) -> None:
        """Make data durable, then write a claim on it."""
        plan, machine = self.plan.checkpoint, self.machine
        assert plan is not None
        claim = self._claim(plan.version)
        self._next_claim.plan()
        if claim == machine.durable_claim:
            return
        self._make_durable(claim)
        machine.checkpoint_begin(claim)
        self.state.count_event()
        text = json.dumps(make_payload(self.graph, claim, plan.version))
        self._set_writing(True)
        if plan.write_s:
            self._open_write = self.now + plan.write_s, len(text)
            self.state.after(plan.write_s, lambda: self._written(len(text)))
        else:
            self._checkpoint_durable(len(text))

    def _claim(self, version: int) -> Claim:
        return self.machine.claim(version)

    def _make_durable(self, claim: Claim) -> None:
        """Hand the data of a claim to storage, as far as it is not there."""
        for column, rows in enumerate(claim):
            # A crash may come after each part.
            for start, stop in spans(minus(rows, self._durable[column])):
                self.machine.durable_rows(column, stop, start)
                self.state.count_event()
        self._durable = claim

    def _written(self, size: int) -> None:
        self._checkpoint_durable(size)
        if self._gave_up:
            self._finish_accepted()
        if self.state.rows_seen == self.graph.num_records:
            self._finish_run()
        elif self._is_due():
            self._begin_checkpoint()
        if self.machine.stopped:
            self._finish_stopped()
        if self._blocks:
            self._settle(self.now)

    def _set_writing(self, writing: bool) -> None:
        """A checkpoint is being written, or none is."""
        self._writing = writing
        if self._blocks:
            # Work that waits for a write is no idleness.
            self.machine.state.judges_idleness = self._judges_idleness and not writing

    def _checkpoint_durable(self, size: int) -> None:
        self.machine.checkpoint_durable()
        self._set_writing(False)
        self.outcome.checkpoints += 1
        self.outcome.checkpoint_bytes += size
        self.state.count_event()
        self.calls.saved()

    def _finish_run(self) -> None:
        """Every row is complete: write the last checkpoint if one is due, then report success."""
        machine = self.machine
        if machine.stopped:
            self._finish_stopped()
            return
        if self._writing:
            return
        if self.plan.checkpoint is None:
            self._make_durable((self.graph.num_records,) * self.graph.num_columns)
        elif min(map(prefix_of, machine.durable_claim)) < self.graph.num_records:
            self._begin_checkpoint()
            if self._writing:
                return
        self._end("success")

    def _finish_stopped(self) -> None:
        """An early stop: when the last call has ended, save finished rows, and end as stopped."""
        machine, plan = self.machine, self.plan.checkpoint
        if machine.in_flight or self._writing:
            return
        if plan is None:
            self._make_durable(self._claim(1))
        elif self._claim(plan.version) != machine.durable_claim:
            self._begin_checkpoint()
            if self._writing:
                return
        self._end("stopped")

    def _end(self, outcome: Ending) -> NoReturn:
        """Report the end of the run; calls of dropped rows may still run, and are given up."""
        in_flight = self.machine.in_flight
        self.machine.end(outcome)
        # They have started all the same.
        self.state.other_events += in_flight
        self.outcome.outcome = outcome
        raise _End

    def _give_up(self) -> None:
        """Nothing that was to come is wanted, but a write that has begun, and the next crash."""
        state = self.state
        self.calls.give_up()
        self._gave_up = True
        if self._writing:
            written_s, size = self._open_write
            state.after(written_s - self.now, lambda: self._written(size))
        if self._crashes.next_s < math.inf:
            state.after(self._crashes.next_s - self.now, self._on_crash)
        self._finish_accepted()

    def _finish_accepted(self) -> None:
        """Enough rows are accepted: save what is finished, and end as interrupted."""
        machine, plan = self.machine, self.plan.checkpoint
        if self._writing:
            return
        if plan is None:
            rows = reduce(meet, machine.claim(3))
            self._make_durable((rows,) * self.graph.num_columns)
        elif self._claim(plan.version) != machine.durable_claim:
            self._begin_checkpoint()
            if self._writing:
                return
        self._end("interrupted")

    def _schedule_timer(self) -> None:
        plan = self.plan.checkpoint
        if plan is not None and plan.every_s is not None:
            self.state.after(plan.every_s, self._on_timer)

    def _on_timer(self) -> None:
        if not self._writing:
            self._begin_checkpoint()
        # A run that is stuck must run out of events, and not tick on for ever.
        rows_come = self.calls.consequences.rows_come
        if self._writing or self.machine.in_flight or self.machine.backoffs or rows_come:
            self._schedule_timer()

    # Crash and resume

    def _schedule_crash(self, start_s: float) -> None:
        at_s = self._crashes.next_time(start_s)
        if at_s is not None:
            self.state.after(at_s - start_s, self._on_crash)

    def _on_crash(self) -> None:
        self._crashes.reach()
        raise Crashed

    def _resume(self, incarnation: Incarnation, t: float) -> None:
        machine, state, calls = self.machine, self.state, self.calls
        calls.crashed()
        state.flush_log()
        self._crashes.strike(state.events, incarnation.end_s)
        machine.crash()
        machine.at(t)
        claim = self._claim_after_crash()
        if self._progress is not None:
            self._progress.expect(claim, state.events)
        in_flight_s = lost_in_flight_s(state, calls, incarnation.end_s)
        incarnation.busy_lost_s = in_flight_s + lost_barriers_s(state, calls, claim)
        add_losses = value_losses(state, calls, incarnation)
        self._subscribe()
        machine.resume(claim)
        add_losses(claim)
        state.timings.of_rows.resumed(claim)
        state.other_events += 2
        calls.resumed(incarnation.in_flight_lost)
        state.digest.update(repr((machine.incarnation, t, claim)).encode())

    def _claim_after_crash(self) -> Claim:
        """The claim in storage: the last durable one, or the one that was being written."""
        machine = self.machine
        if machine.pending_claim is None:
            return machine.durable_claim
        return self.choose("claim after crash", (machine.durable_claim, machine.pending_claim))

    # Queues

    def _subscribe(self) -> None:
        """New queues, which the machine fills."""
        group_of = self.machine.group_of
        clock = itertools.count() if self.calls.shares or len(set(group_of)) > 1 else None
        self.queues = [self._make_queue(group, clock) for group in range(self.state.groups)]
        self.machine.listen(
            [
                self._take_output(rule.index) if rule.is_barrier else self._take_ready(rule.index)
                for rule in self.rules.columns
            ],
            self._take_rows,
            lambda column, scope: self.queues[group_of[column]].push_barrier(column, scope),
            self.calls.to_skip,
        )

    def _make_queue(self, group: int, clock: Iterator[int] | None) -> ReadyQueue:
        def make(place: int) -> ReadyQueue:
            label = (self.plan.seed, self.machine.incarnation, place)
            of = (self.plan.policy, self.machine.counters, clock, label)
            return make_queue(*of, self.state.latency.mean_s)

        return make(group) if self.calls.shares is None else self.calls.shares.queue(group, make)

    def _take_ready(self, column: int) -> Callable[[int], object]:
        queue = self.queues[self.machine.group_of[column]]
        return self.calls.ready_pusher(column, queue.cell_pusher(column))

    def _take_output(self, column: int) -> Callable[[int], object]:
        emissions = self.state.emissions
        return lambda row: emissions.append((column, row, row + 1))

    def _take_rows(self, column: int, start: int, stop: int) -> None:
        self.calls.rows_ready(column, start, stop)
        if self.rules.columns[column].is_barrier:
            self.state.emissions.append((column, start, stop))
        else:
            self.queues[self.machine.group_of[column]].push_cells(column, start, stop)


def survives(run: Simulator, action: Callable[..., object], *args: Any) -> bool:
    """Let `action` happen to a run; False if its incarnation is over by it: `end` is to follow."""
    try:
        action(*args)
    except _End:
        return False
    except Crashed:
        incarnation = run.outcome.incarnations[-1]
        incarnation.crashed = True
        incarnation.in_flight_lost = run.machine.in_flight
        return False
    return True
