"""A machine and its model side by side: one driver that moves both, and compares them.

`Pair.take` takes a step that the model allows, on both sides. `Pair.attempt` takes one that may be
wrong: the machine must refuse it with a clause that the model finds broken as well, and stay as it
was. `Pair.check` compares all that can be asked of the two. Somebody listens all the while:
whatever becomes ready is announced, and announced once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import currently_in_test_context, note

from cellspec import (
    Action,
    BarrierNodeId,
    CellNodeId,
    ExecutionGraph,
    FailurePolicy,
    Machine,
    NodeId,
    Violation,
)
from cellspec.machine.actions import Cause, Failure, Outcome
from cellspec.machine.ending import expect_failure
from cellspec.machine.killers import Killers
from cellspec.machine.limits import ClaimKind
from cellspec.state.claims import Claim, normal
from cellspec.state.claims import spans as ranges_of
from cellspec.state.codes import READY, SKIP_READY
from tests.oracles import Definition
from tests.run_oracle import Held, RunModel, RunRules, spans
from tests.strategies import Plan

__all__ = ["FAILURES", "OUTCOMES", "QUIET", "Pair", "snapshot", "words_of_action"]

FAILURES: tuple[Failure, ...] = ("retryable", "backpressure", "permanent", "timeout")
OFFERED = FAILURES[:3]
QUIET = ("skip", "drop")
OUTCOMES: tuple[Outcome, ...] = ("success", "stopped", "failed", "interrupted")


def words_of_action(action: Action) -> str:
    """An action in words, with all that is special about it."""
    plain = Action(action.kind)._asdict()
    more = {
        key: value
        for key, value in action._asdict().items()
        if value != plain[key] and key not in ("column", "rows", "scope", "claim")
    }
    return f"{action} {more or ''}".rstrip()


def _say(line: str) -> None:
    if currently_in_test_context():
        note(f"    {line}")


def snapshot(machine: Machine) -> Mapping[str, Any]:
    """Everything that a step could change."""
    counters = machine.counters
    columns = range(machine.graph.num_columns)
    rows = range(machine.graph.num_records)
    return {
        "cells": [[counters.cells[column][row] for row in rows] for column in columns],
        "barriers": [bytes(states) for states in counters.barriers],
        "counts": (
            list(counters.ready),
            list(counters.ready_barriers),
            list(counters.busy),
            counters.load,
            counters.rows,
            list(counters.open_cells),
            list(counters.open_barriers),
            counters.claimed,
        ),
        "rows": (
            list(counters.dropped),
            {column: list(rows) for column, rows in sorted(counters.skipped.items())},
            dict(counters.abandoned),
            sorted(counters.unrun),
            dict(machine.unrecorded),
        ),
        "failures": (dict(machine.attempts), dict(machine.backoffs), machine.must_stop),
        "stop": (machine.stop_requested, machine.state.claim_version),
        "groups": sorted(machine.admitted),
        "run": (
            machine.incarnation,
            machine.now,
            machine.crashed,
            machine.ended,
            machine.stopped,
            machine.graph.num_records,
        ),
        "pauses": (machine.state.paused_until, machine.state.unanswered),
        "storage": (tuple(machine.durable), machine.durable_claim, machine.pending_claim),
        "killers": vars(machine.state.killers) if machine.state.killers is not None else None,
        "writes": list(machine.state.writes),
        "ready work": machine.dispatchable(),
    }


class Pair:
    """A machine and its model, moved by the same actions; and somebody who listens."""

    def __init__(self, plan: Plan) -> None:
        case, limits, policy = plan.case, plan.limits, plan.failures
        self.machine = Machine(
            case.graph(),
            limits,
            failures=policy,
            drops=plan.drops,
            saving=plan.saving,
            bypass=plan.bypass,
            claims=ClaimKind(3, by_column=True) if plan.states else None,
        )
        if plan.killer_tries is not None:
            self.machine.state.killers = Killers(plan.killer_tries)
        self.machine.state.once_read = {}
        saving = plan.saving
        # As with SCHED-09, GROUP-06 and GROUP-07 waived, which alone change nothing else.
        self.machine.state.judges_idleness = plan.conserves
        default = policy or FailurePolicy()
        self.model = RunModel(
            Definition(case.rows, case.columns, case.batch_size, case.barrier_scope),
            RunRules(
                limits.workers,
                limits.resources,
                limits.column_resource,
                limits.group_rows,
                limits.groups,
                default.max_attempts,
                default.stop_window,
                default.stop_rate,
                default.timeout_s,
                plan.drops,
                plan.conserves,
                *((saving.rows, saving.group, saving.seconds) if saving else (None, False, None)),
                bypass=plan.bypass,
                killer_tries=plan.killer_tries,
                claims_any=plan.states,
            ),
        )
        self.model.move_on()
        self.fails = policy is not None
        self.machine.state.offers_losses = True
        self.notified: list[NodeId] = []
        self._offers: list[Action] | None = None
        self._listen()
        self.best_rows = 0
        self.best_claim: Held = self.model.durable_claim

    @property
    def graph(self) -> ExecutionGraph:
        return self.machine.graph

    def _listen(self) -> None:
        def on_cell(column: int) -> Callable[[int], object]:
            return lambda row: self._notify(CellNodeId(row, self.graph.column_names[column]))

        def on_cells(column: int, start: int, stop: int) -> None:
            for row in range(start, stop):
                on_cell(column)(row)

        self.machine.listen(
            [on_cell(column) for column in range(self.graph.num_columns)],
            on_cells,
            lambda column, scope: self._notify(self.graph.barrier_node(column, scope)),
            lambda column, row: on_cell(column)(row),
        )

    def _notify(self, node: NodeId) -> None:
        assert node not in self.notified, f"{node} is announced twice"
        self.notified.append(node)

    def _take_out(self) -> None:
        """What is not ready any more is taken out of the line."""
        counters, index = self.machine.counters, self.graph.rules.index

        def state(node: NodeId) -> int:
            column = index[node.column]
            if isinstance(node, BarrierNodeId):
                return counters.barrier_state(column, node.batch or 0)
            return counters.cells[column][node.row]

        self.notified = [node for node in self.notified if state(node) in (READY, SKIP_READY)]

    # Actions and what they are to the model

    def node(self, action: Action) -> NodeId:
        if action.scope is None:
            assert action.rows is not None
            return CellNodeId(action.rows[0], action.column)
        batched = self.model.definition.is_batched(action.column)
        return BarrierNodeId(action.column, action.scope if batched else None)

    def action(self, kind: str, node: NodeId, **more: Any) -> Action:
        if isinstance(node, BarrierNodeId):
            return Action(kind, node.column, scope=node.batch or 0, **more)
        return Action(kind, node.column, (node.row, node.row + 1), **more)

    def claim(self, claim: Held) -> Claim:
        return tuple(normal((r, r + 1) for r in claim[name]) for name in self.graph.column_names)

    def _claim_of(self, action: Action) -> Held:
        """What an action claims, or what a commit brings."""
        rows = frozenset(range(*action.rows)) if action.rows is not None else frozenset[int]()
        if action.claim is None:
            mine = self._columns(action)
            return {name: rows if name in mine else frozenset() for name in self.model.names}
        return {
            name: frozenset(row for span in ranges_of(held) for row in range(*span))
            for name, held in zip(self.graph.column_names, action.claim, strict=True)
        }

    def _is_range(self, action: Action) -> bool:
        return (
            action.kind == "start"
            and action.rows is not None
            and action.rows[1] > action.rows[0] + 1
            and self.model.is_streamable(action.column)
        )

    def _columns(self, action: Action) -> list[str]:
        return [action.column] if action.column else self.model.names

    def _given_back(self, action: Action) -> dict[str, Any]:
        return {
            "dropped": action.dropped,
            "skipped": action.skipped,
            "records": action.records,
            "keep": action.keep,
        }

    def broken(self, action: Action) -> set[str]:
        """The clauses that an action breaks, says the model."""
        model, kind = self.model, action.kind
        rows = range(*action.rows) if action.rows is not None else range(0)
        if kind == "start":
            if self._is_range(action):
                return model.range_breaks(action.column, rows, action.attempt)
            node = self.node(action)
            if isinstance(node, BarrierNodeId):
                return model.read_breaks(node, action.reads, action.attempt)
            return model.start_breaks(node, action.attempt)
        if kind == "fail":
            return model.fail_breaks(self.node(action), action.attempt, action.failure)
        if kind in ("complete", "cancel", "take_back"):
            judge: Callable[..., set[str]] = getattr(model, f"{kind}_breaks")
            return judge(self.node(action), action.attempt)
        if kind == "emit":
            return model.emit_breaks([CellNodeId(row, action.column) for row in rows])
        if kind in ("lose", "recall"):
            breaks: Callable[..., set[str]] = getattr(model, f"{kind}_breaks")
            return breaks(self.node(action))
        if kind == "skip":
            return model.skip_breaks(CellNodeId(rows[0], action.column))
        if kind == "drop":
            return {c for row in rows for c in model.drop_breaks(action.column, row, action.cause)}
        if kind == "admit":
            return model.admit_breaks(rows)
        if kind == "retire":
            return model.retire_breaks(rows)
        if kind == "durable":
            return model.durable_breaks(self._columns(action), rows)
        if kind == "write_begin":
            return model.write_breaks(self._columns(action), rows)
        if kind == "pause":
            return model.pause_breaks(action.until)
        if kind == "checkpoint_begin":
            return model.begin_breaks(self._claim_of(action))
        if kind == "checkpoint_durable":
            return model.written_breaks()
        if kind == "commit_begin":
            return model.commit_begin_breaks(self._claim_of(action), action.commit)
        if kind in ("committed", "commit_failed"):
            return model.committed_breaks(action.commit)
        if kind == "resume":
            return model.resume_breaks(self._claim_of(action), **self._given_back(action))
        if kind == "end":
            return model.end_breaks(action.outcome or "success")
        return model.stop_breaks() if kind == "stop" else model.over()

    def _move(self, action: Action) -> None:
        model, kind = self.model, action.kind
        rows = range(*action.rows) if action.rows is not None else range(0)
        if kind == "start" and self._is_range(action):
            model.start_range(action.column, rows)
        elif kind == "complete" and action.rejected is not None:
            model.reject(
                self.node(action), [row for span in action.rejected for row in range(*span)]
            )
        elif kind in ("start", "complete", "cancel", "take_back", "lose", "recall"):
            getattr(model, kind)(self.node(action))
        elif kind == "fail":
            assert action.failure is not None
            model.fail(self.node(action), action.failure, action.until)
        elif kind == "emit":
            model.emit([CellNodeId(row, action.column) for row in rows])
        elif kind == "skip":
            model.skip(CellNodeId(rows[0], action.column))
        elif kind == "drop":
            for row in rows:
                model.drop(row, action.column)
        elif kind in ("admit", "retire"):
            getattr(model, kind)(rows)
        elif kind == "durable":
            model.store(self._columns(action), rows)
        elif kind == "write_begin":
            model.write_begin(self._columns(action), rows)
        elif kind == "pause":
            assert action.until is not None
            model.pause(action.until)
        elif kind == "checkpoint_begin":
            model.begin(self._claim_of(action))
        elif kind == "commit_begin":
            model.commit_begin(self._claim_of(action), action.commit)
        elif kind in ("committed", "commit_failed"):
            getattr(model, kind)(action.commit)
        elif kind == "resume":
            model.resume(self._claim_of(action), **self._given_back(action))
            self.notified.clear()
        else:
            names = {
                "checkpoint_durable": "written",
                "checkpoint_failed": "not_written",
                "stop_requested": "request",
                "worker_lost": "lose_worker",
            }
            getattr(model, names.get(kind, kind))()

    def take(self, action: Action) -> None:
        """Both sides take a step that the model allows."""
        action = self._outspoken(action)
        _say(f"{words_of_action(action)}")
        self._offers = None
        self._take_out()
        self._move(action)
        self.model.move_on(admits=action.kind == "admit")
        self.machine.apply(action)

    def _outspoken(self, action: Action) -> Action:
        """After commits, a resume that says which drops storage gave back: no claim tells it."""
        if action.kind != "resume" or action.dropped is not None or not self.model.commits:
            return action
        must, _ = self.model.covered_drops(self._claim_of(action))
        return action._replace(dropped=spans(must))

    def attempt(self, action: Action) -> None:
        """A step that may be wrong: the machine agrees with the model whether it is."""
        action = self._outspoken(action)
        broken = self.broken(action)
        if not broken:
            self.take(action)
            return
        before = snapshot(self.machine)
        self._refused(action, broken)
        assert snapshot(self.machine) == before

    def _refused(self, action: Action, broken: set[str]) -> None:
        notified = list(self.notified)
        _say(f"{words_of_action(action)} is to be refused: {', '.join(sorted(broken))}")
        with pytest.raises(Violation) as caught:
            self.machine.apply(action)
        assert caught.value.clause in broken, (words_of_action(action), str(caught.value), broken)
        assert "\n" not in str(caught.value)
        assert self.notified == notified

    def sweep(self, kind: str, attempt: int = 0) -> None:
        """Every step of a kind that the model refuses is refused; attempt 0 is the right one.

        An end tells its attempt, but for attempt 1, which it leaves out.
        """
        before = snapshot(self.machine)
        for node in self.model.definition.nodes():
            is_cell, output = isinstance(node, CellNodeId), self.model.is_output(node)
            if (kind in QUIET and not is_cell) or (kind == "emit" and not output):
                continue
            action = self.action(kind, node)
            if kind == "start" or (
                kind in ("complete", "fail", "cancel", "take_back") and attempt != 1
            ):
                action = action._replace(attempt=attempt or self.model.spent(node) + 1)
            if kind == "fail":
                action = action._replace(failure=FAILURES[attempt % 4])
            broken = self.broken(action)
            if broken:
                self._refused(action, broken)
        assert snapshot(self.machine) == before

    def wait(self, t: float) -> None:
        """The clock moves to `t`, moment by moment: each end of a backoff is one."""
        _say(f"wait until {t:g} s")
        self._take_out()
        self._offers = None
        if t < self.model.now:
            with pytest.raises(Violation, match=r"^SCHED-08"):
                self.machine.at(t)
            return
        late = self.model.late_breaks(t)
        if late:
            # The first that the machine finds is as good.
            late |= self.model.idle_breaks(self.model.next_moment(t))
            with pytest.raises(Violation) as caught:
                self.machine.at(t)
            assert caught.value.clause in late
            return
        while self.model.now < t:
            moment = self.model.next_moment(t)
            broken = self.model.save_breaks(t) or self.model.idle_breaks(moment)
            if broken:
                _say(f"    which is too late: {', '.join(sorted(broken))}")
                with pytest.raises(Violation) as caught:
                    self.machine.at(t)
                assert caught.value.clause in broken
                assert self.machine.now == self.model.now
                return
            self.model.pass_to(moment)
            self.model.move_on()
        self.machine.at(t)

    # What is offered

    def enabled(self, *kinds: str) -> list[Action]:
        if self._offers is None:
            self._offers = list(self.machine.enabled())
        return [action for action in self._offers if not kinds or action.kind in kinds]

    def gives(self) -> list[Action]:
        """Rows that running ranges may give now; a machine does not offer them."""
        return [
            self.action("complete", CellNodeId(row, ranged.column))
            for ranged in self.model.ranges
            for row in ranged.left()
            if not self.model.complete_breaks(CellNodeId(row, ranged.column))
        ]

    def work(self) -> list[Action]:
        """What brings a run forward; row groups in order, for others may lead nowhere."""
        admissions = self.enabled("admit")[:1]
        return admissions + self.enabled("start", "complete", *QUIET, "retire") + self.gives()

    def expected(self) -> set[Action]:
        """Every action that a machine should offer, says the model."""
        model = self.model
        if model.ended:
            return set()
        if model.crashed:
            known, open_commits = model.durable_claim, model.open_commits.values()
            new = [each for each in (model.pending_claim, *open_commits) if each is not None]
            claims = [known, *(model.together(known, each) for each in new)]
            return {Action("resume", claim=self.claim(claim)) for claim in claims}
        found = {
            self.action("start", node, attempt=model.spent(node) + 1)
            for node in model.startable()
            if model.is_output(node) or not (model.paused() or model.bypass_breaks([node]))
        }
        abandoned = model.abandoned()
        for node in model.running:
            found.add(self.action("complete", node))
            if node in abandoned:
                found.add(self.action("cancel", node))
            elif self.fails and not model.is_output(node):
                found |= {self.action("fail", node, failure=kind) for kind in OFFERED}
        for name in model.names:
            cells = (CellNodeId(row, name) for row in model.rows)
            found |= {self.action("skip", c) for c in cells if not model.skip_breaks(c)}
        for rows in model.groups().values():
            span = (rows.start, rows.stop)
            found |= {Action("admit", rows=span)} if not model.admit_breaks(rows) else set()
            found |= {Action("retire", rows=span)} if not model.retire_breaks(rows) else set()
        for row in model.unrecorded():
            cause: Cause | None = "filtered" if row in model.filtered else None
            found.add(Action("drop", model.dropped[row], (row, row + 1), cause=cause))
        for cell in model.died_in:
            if isinstance(cell, CellNodeId) and model.is_killer(cell):
                give_up = self.action("drop", cell, cause="killer")
                found |= {give_up} if not self.broken(give_up) else set()
        return found | self._expected_of_the_run() | {Action("crash")}

    def _expected_of_the_run(self) -> set[Action]:
        model = self.model
        found: set[Action] = set()
        for name in model.names:
            offers = [
                rows
                for rows in range(model.durable(name) + 1, model.prefix(name) + 1)
                if not model.durable_breaks([name], range(rows))
            ]
            if offers:
                found.add(Action("durable", name, (0, offers[-1])))
        if model.pending_claim is not None:
            found.add(Action("checkpoint_durable"))
            found |= {Action("checkpoint_failed")} if self.fails else set()
        counts = (dict.fromkeys(model.names, model.completed_rows()), model.prefixes())
        for claim in map(model.first_rows, counts):
            if not model.begin_breaks(claim) and claim != model.durable_claim:
                found.add(Action("checkpoint_begin", claim=self.claim(claim)))
        found |= self._expected_of_sets()
        calls = [a for a in self.enabled("take_back") if not self.broken(a)]
        # The first call that may be taken back, whichever that is.
        found |= set(calls[:1])
        taken = [n for n in model.running if not model.take_back_breaks(n)]
        assert bool(calls) >= any(n not in model.abandoned() for n in taken)
        if not model.worker_gone:
            found.add(Action("worker_lost"))
        found |= {self.action("lose", n) for n in model.definition.nodes() if model.may_lose(n)}
        if not model.end_breaks("success"):
            found.add(Action("end"))
        if model.must_stop() and not model.stopped:
            found.add(Action("stop"))
        for outcome in ("stopped", "interrupted"):
            if not model.end_breaks(outcome):
                found.add(Action("end", outcome=outcome))
        return found

    def _expected_of_sets(self) -> set[Action]:
        """A run whose claims have gaps is offered one of any rows, and a commit at a time."""
        model = self.model
        found: set[Action] = set()
        for number in model.open_commits:
            found.add(Action("committed", commit=number))
            found |= {Action("commit_failed", commit=number)} if self.fails else set()
        if not model.claims_sets() or model.unrecorded():
            return found
        most = model.most()
        new = {name: rows - model.durable_claim[name] for name, rows in most.items()}
        if any(new.values()) and not model.open_commits:
            found.add(Action("commit_begin", claim=self.claim(new)))
        claim = model.stored_claim()
        begins = Action("checkpoint_begin", claim=self.claim(claim))
        if model.has_gap(claim) and claim != model.durable_claim and not self.broken(begins):
            found.add(begins)
        return found

    # What must hold after every step

    def check_readiness(self) -> None:
        model, machine = self.model, self.machine
        odd = set(self.enabled()) ^ self.expected()
        assert not odd, sorted(map(words_of_action, odd))
        assert len(self.enabled()) == len(set(self.enabled()))
        for action in self.enabled():
            assert not self.broken(action), words_of_action(action)
        if not (model.over() or model.halted()):
            assert bool(machine.dispatchable()) == bool(model.dispatchable())
        assert machine.in_flight == len(model.working())

    def check_announcements(self) -> None:
        """What is ready was announced, and nothing else is in line but what was resolved since."""
        if self.model.over():
            return
        self._take_out()
        to_skip = {
            CellNodeId(action.rows[0], action.column)
            for action in self.enabled("skip")
            if action.rows is not None
        }
        marked = {cell for cell in to_skip if self.model.marked(cell)}
        assert set(self.notified) == self.model.ready() | marked

    def check_progress(self) -> None:
        model, machine = self.model, self.machine
        prefixes = model.prefixes()
        names = self.graph.column_names
        assert machine.completed_rows == model.completed_rows()
        assert machine.claim(1) == (model.completed_rows(),) * len(names)
        assert machine.claim(2) == tuple(prefixes[name] for name in names)
        assert machine.durable == [model.durable(name) for name in names]
        assert set(machine.unrecorded) == model.unrecorded()
        assert set(machine.counters.dropped) == set(model.dropped)
        assert machine.claim(3) == self.claim(model.most())
        window = model.rules.stop_window
        if window is not None:
            assert list(machine.state.ends) == model.ends[-window:]
        assert machine.must_stop == model.must_stop()
        assert machine.stopped == model.stopped
        assert machine.stop_requested == model.stop_requested
        if not model.over():
            assert machine.admitted == model.admitted

    def check_nodes(self) -> None:
        """Each node is resolved, or not, on both sides; and barriers would read the same rows."""
        model, counters, index = self.model, self.machine.counters, self.graph.rules.index
        for node in model.definition.nodes():
            column = index[node.column]
            if isinstance(node, CellNodeId):
                assert counters.is_resolved(column, node.row) == model.cell_resolved(node)
                skipped = counters.is_skipped(column, node.row)
                assert skipped == (model.results.get(node) == "skip")
                continue
            scope = node.batch or 0
            assert counters.is_barrier_resolved(column, scope) == model.barrier_resolved(node)
            assert counters.reads(column, scope) == model.reads(node)

    def check_claims(self) -> None:
        """Claims never fall, and neither do the rows that a resume starts from."""
        durable = self.model.durable_claim
        assert self.machine.durable_claim == self.claim(durable)
        assert all(durable[name] >= rows for name, rows in self.best_claim.items())
        assert self.machine.completed_rows >= self.best_rows
        self.best_claim = durable
        self.best_rows = self.model.whole_rows(durable)

    def check_going_on(self) -> None:
        """Something is left to do or wait for (GROUP-08), but for a run that is over or gave up."""
        model = self.model
        if not (model.over() or model.gave_up):
            useful = [a for a in self.enabled() if a.kind != "crash"]
            waits = model.cooling or model.paused()
            assert useful or model.ranges or waits, "the run stands still"

    def check_endings(self) -> None:
        """What the run may say of itself if it ended now (SCHED-10, SCHED-14, STOP-03 and on)."""
        if self.model.over():
            return
        for outcome in OUTCOMES:
            action = Action("end", outcome=outcome)
            broken = self.broken(action)
            if broken:
                self._refused(action, broken)
            elif outcome == "failed":
                expect_failure(self.machine.state)

    def check(self) -> None:
        self.check_readiness()
        self.check_announcements()
        self.check_progress()
        if not self.model.over():
            self.check_nodes()
        self.check_claims()
        self.check_going_on()
        self.check_endings()

    def run_to_the_end(self, answers: Sequence[int] = ()) -> None:
        """Go on without a crash or a failure, by `answers`, then by the first offer."""
        steps = 0
        while not self.model.ended:
            idle = ("crash", "fail", "checkpoint_failed")
            offers = [a for a in self.enabled() if a.kind not in idle] + self.gives()
            # A node in backoff may be tried again at once only if the engine may decide so.
            if not offers:
                assert self.model.cooling, "the run stands still"
                self.wait(self.model.next_moment(float("inf")))
                continue
            pick = answers[steps] if steps < len(answers) else 0
            self.take(offers[pick % len(offers)])
            steps += 1
