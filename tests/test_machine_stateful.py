"""The transition system against the naive model: the same steps are allowed, with the same result.

Hypothesis drives both through the same actions, on random pipelines with barriers of both scopes,
limits, checkpoints of both versions, crashes and resumes. Actions that the specification does not
allow are tried too: the machine must refuse them with a clause that the model finds broken as well,
and stay as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cellspec import (
    Action,
    BarrierNodeId,
    CellNodeId,
    ColumnDescriptor,
    ExecutionGraph,
    ExecutionTraits,
    Limits,
    Machine,
    NodeId,
    SpecError,
    Violation,
)
from tests.oracles import Definition, NaiveModel
from tests.strategies import Case, limited_cases, picks

T = ExecutionTraits
KINDS = (
    "start",
    "complete",
    "emit",
    "durable",
    "checkpoint_begin",
    "checkpoint_durable",
    "crash",
    "resume",
    "end",
)


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
            list(counters.busy),
            list(counters.load),
            list(counters.rows),
            list(counters.open_cells),
            list(counters.open_barriers),
            counters.claimed,
        ),
        "run": (machine.incarnation, machine.now, machine.crashed, machine.ended),
        "storage": (tuple(machine.durable), machine.durable_claim, machine.pending_claim),
        "ready work": machine.dispatchable(),
    }


class Pair:
    """A machine and its model, moved by the same actions."""

    def __init__(self, case: Case, limits: Limits) -> None:
        self.graph = case.graph()
        self.machine = Machine(self.graph, limits)
        self.model = NaiveModel(
            Definition(case.rows, case.columns, case.batch_size, case.barrier_scope),
            workers=limits.workers,
            resources=limits.resources,
            column_resource=limits.column_resource,
        )
        self.best_rows = 0
        self.best_claim = dict.fromkeys(self.graph.column_names, 0)

    def enabled(self, *kinds: str) -> list[Action]:
        return [action for action in self.machine.enabled() if not kinds or action.kind in kinds]

    def node(self, action: Action) -> NodeId:
        if action.scope is None:
            assert action.rows is not None
            return CellNodeId(action.rows[0], action.column)
        batched = self.model.definition.is_batched(action.column)
        return BarrierNodeId(action.column, action.scope if batched else None)

    def _arguments(self, action: Action) -> tuple[str, tuple[Any, ...]]:
        """Which methods of the model stand for an action, and with which arguments."""
        kind = action.kind
        if kind in ("start", "complete"):
            return kind, (self.node(action),)
        if kind == "emit":
            assert action.rows is not None
            return kind, ([CellNodeId(row, action.column) for row in range(*action.rows)],)
        if kind == "durable":
            assert action.rows is not None
            return kind, (action.column, action.rows[1])
        if kind in ("checkpoint_begin", "resume"):
            assert action.claim is not None
            return kind, (dict(zip(self.graph.column_names, action.claim, strict=True)),)
        return kind, ()

    def broken(self, action: Action) -> set[str]:
        kind, arguments = self._arguments(action)
        judge = {"checkpoint_begin": "begin", "checkpoint_durable": "written"}.get(kind, kind)
        found: set[str] = getattr(self.model, f"{judge}_breaks")(*arguments)
        return found

    def take(self, action: Action) -> None:
        """Both sides take a step that the model allows."""
        kind, arguments = self._arguments(action)
        move = {
            "checkpoint_begin": "begin",
            "checkpoint_durable": "written",
            "durable": "store",
        }.get(kind, kind)
        getattr(self.model, move)(*arguments)
        self.machine.apply(action)

    def attempt(self, action: Action) -> None:
        """A step that may be wrong: the machine agrees with the model whether it is."""
        broken = self.broken(action)
        if not broken:
            note(f"    {action}")
            self.take(action)
            return
        before = snapshot(self.machine)
        with pytest.raises(Violation) as caught:
            self.machine.apply(action)
        note(f"    refused: {action}: {caught.value}")
        assert caught.value.clause in broken, (str(action), str(caught.value), broken)
        assert "\n" not in str(caught.value)
        assert snapshot(self.machine) == before

    # What must hold after every step

    def check_readiness(self) -> None:
        model, machine = self.model, self.machine
        starts = {self.node(action) for action in self.enabled("start")}
        startable = set() if model.crashed or model.ended else model.startable()
        assert starts == startable
        if not (model.crashed or model.ended):
            assert bool(machine.dispatchable()) == bool(startable)
        assert {self.node(action) for action in self.enabled("complete")} == model.running
        assert machine.in_flight == len(model.working())
        assert not any(isinstance(n, CellNodeId) and model.is_claimed(n) for n in starts)

    def check_progress(self) -> None:
        model, machine = self.model, self.machine
        prefixes = model.prefixes()
        names = self.graph.column_names
        assert machine.completed_rows == model.completed_rows()
        assert machine.claim(1) == (model.completed_rows(),) * len(names)
        assert machine.claim(2) == tuple(prefixes[name] for name in names)
        assert machine.durable == [model.durable[name] for name in names]

    def check_claims(self) -> None:
        """Claims never fall, and neither do the rows that a resume starts from."""
        durable = self.model.durable_claim
        assert self.machine.durable_claim == tuple(durable[n] for n in self.graph.column_names)
        assert all(durable[name] >= rows for name, rows in self.best_claim.items())
        assert self.machine.completed_rows >= self.best_rows
        self.best_claim = dict(durable)
        self.best_rows = min(durable.values())

    def check_offers(self) -> None:
        """All that is offered is allowed, and unless the run is over something is offered."""
        offers = self.enabled()
        for action in offers:
            assert not self.broken(action), str(action)
        assert bool(offers) != self.model.ended
        assert any(a.kind == "end" for a in offers) == (not self.model.end_breaks())
        if not self.model.crashed and not self.model.ended:
            assert [a for a in offers if a.kind != "crash"], "the run stands still"

    def run_to_the_end(self, answers: Sequence[int]) -> None:
        """Go on without a crash, by `answers`, then by the first offer, until nothing is left."""
        steps = 0
        while offers := [a for a in self.enabled() if a.kind != "crash"]:
            pick = answers[steps] if steps < len(answers) else 0
            self.take(offers[pick % len(offers)])
            steps += 1


class MachineFollowsTheModel(RuleBasedStateMachine):
    """Any sequence of steps; each rule is one kind of step, and `pick` says which of those."""

    @initialize(start=limited_cases(max_columns=5, max_rows=6))
    def begin(self, start: tuple[Case, Limits]) -> None:
        self.pair = Pair(*start)

    def _any(self, *kinds: str) -> bool:
        return bool(self.pair.enabled(*kinds))

    def _take(self, pick: int, *kinds: str) -> None:
        offers = self.pair.enabled(*kinds)
        action = offers[pick % len(offers)]
        note(f"    {action}")
        self.pair.take(action)

    @precondition(lambda self: self._any("start"))
    @rule(pick=st.integers(0, 63))
    def start(self, pick: int) -> None:
        self._take(pick, "start")

    @precondition(lambda self: self._any("complete"))
    @rule(pick=st.integers(0, 63))
    def complete(self, pick: int) -> None:
        self._take(pick, "complete")

    @precondition(lambda self: self._any("start", "complete"))
    @rule(answers=st.lists(st.integers(0, 63), min_size=1, max_size=40))
    def work(self, answers: list[int]) -> None:
        """Several starts and completions, so that a run gets far within a few rules."""
        for pick in answers:
            if self._any("start", "complete"):
                self._take(pick, "start", "complete")

    @precondition(lambda self: self._outputs())
    @rule(pick=st.integers(0, 63), length=st.integers(1, 8))
    def emit(self, pick: int, length: int) -> None:
        """A finished barrier gives a range of its output cells at once."""
        outputs = self._outputs()
        first = outputs[pick % len(outputs)]
        stop = first.row + 1
        while stop < first.row + length and CellNodeId(stop, first.column) in outputs:
            stop += 1
        self.pair.attempt(Action("emit", first.column, (first.row, stop)))

    def _outputs(self) -> list[CellNodeId]:
        pair = self.pair
        nodes = (pair.node(action) for action in pair.enabled("start"))
        is_barrier = pair.model.definition.is_barrier
        return [n for n in nodes if isinstance(n, CellNodeId) and is_barrier(n.column)]

    @precondition(lambda self: self._any("durable"))
    @rule(pick=st.integers(0, 63), everything=st.booleans())
    def store(self, pick: int, everything: bool) -> None:
        self._take(pick, "durable")
        while everything and self._any("durable"):
            self._take(0, "durable")

    @precondition(lambda self: self._any("checkpoint_begin", "checkpoint_durable"))
    @rule(pick=st.integers(0, 63))
    def checkpoint(self, pick: int) -> None:
        self._take(pick, "checkpoint_begin", "checkpoint_durable")

    @precondition(lambda self: self._any("start", "complete"))
    @rule(share=st.sampled_from((1.0, 0.5, 0.8, 0.9)))
    def work_on(self, share: float) -> None:
        """A share of what is left, row by row, so that rows finish while others have to wait."""
        pair = self.pair
        nodes = len(pair.model.definition.nodes())
        target = len(pair.model.done) + share * (nodes - len(pair.model.done))
        while len(pair.model.done) < target and self._any("start", "complete"):
            offers = pair.enabled("complete") or pair.enabled("start")
            action = min(offers, key=lambda offer: offer.rows or (-1, 0))
            note(f"    {action}")
            pair.take(action)

    @precondition(lambda self: self._any("durable"))
    @rule(pick=st.integers(0, 63), steps=st.sampled_from((3, 2)))
    def save(self, pick: int, steps: int) -> None:
        """All data to storage, a claim on it, and most often the claim's own arrival there."""
        while self._any("durable"):
            self._take(0, "durable")
        if self._any("checkpoint_durable"):
            self._take(0, "checkpoint_durable")
        if self._any("checkpoint_begin"):
            self._take(pick, "checkpoint_begin")
            if steps == 3:
                self._take(0, "checkpoint_durable")

    @precondition(lambda self: self._any("crash"))
    @rule(luck=st.sampled_from((0, 1, 2)), pick=st.none() | st.integers(0, 1))
    def crash(self, luck: int, pick: int | None) -> None:
        """Two times in three nothing happens, or no run would ever get far."""
        if luck == 0:
            self._take(0, "crash")
            if pick is not None:
                self.resume(pick)

    @precondition(lambda self: self._any("resume"))
    @rule(pick=st.integers(0, 63))
    def resume(self, pick: int) -> None:
        self._take(pick, "resume")
        self._check_restored()

    def _check_restored(self) -> None:
        """A barrier is complete exactly if all its scope is claimed."""
        pair = self.pair
        claim = pair.machine.durable_claim
        for column, name in enumerate(pair.graph.column_names):
            for number, barrier in enumerate(pair.model.definition.barriers(name)):
                complete = pair.machine.counters.is_barrier_resolved(column, number)
                scope = pair.model.definition.scope(barrier)
                assert complete == all(row < claim[column] for row in scope), str(barrier)

    @precondition(lambda self: self._any("end"))
    @rule()
    def end(self) -> None:
        self._take(0, "end")

    @rule(seconds=st.sampled_from((1.0, 0.0, -1.0)))
    def wait(self, seconds: float) -> None:
        """The clock moves; work that could have been started must have been."""
        pair = self.pair
        broken = {"SCHED-08"} if seconds < 0 else set()
        if seconds > 0:
            broken = pair.model.wait_breaks()
        then = pair.machine.now + seconds
        before = snapshot(pair.machine)
        if not broken:
            pair.machine.at(then)
            assert pair.machine.now == then
            return
        with pytest.raises(Violation) as caught:
            pair.machine.at(then)
        assert {caught.value.clause} == broken
        assert snapshot(pair.machine) == before

    @rule(
        kind=st.sampled_from(KINDS),
        place=st.tuples(st.integers(0, 7), st.integers(0, 7), st.integers(1, 3)),
        barrier=st.booleans(),
        base=st.sampled_from(("prefix", "durable", "claim", "pending")),
        change=st.lists(st.integers(-2, 2), max_size=5),
    )
    def attempt(
        self,
        kind: str,
        place: tuple[int, int, int],
        barrier: bool,
        base: str,
        change: list[int],
    ) -> None:
        """Any well-formed action, allowed or not."""
        pair = self.pair
        name = pair.graph.column_names[place[0] % pair.graph.num_columns]
        row = place[1] % pair.graph.num_records
        scopes = pair.model.definition.barriers(name)
        action = Action(kind, name, (row, row + 1))
        if kind in ("start", "complete"):
            if barrier and scopes:
                action = Action(kind, name, scope=place[1] % len(scopes))
        elif kind == "emit":
            if not scopes:
                return
            action = Action(kind, name, (row, min(row + place[2], pair.graph.num_records)))
        elif kind == "durable":
            action = Action(kind, name, (0, row + 1))
        elif kind in ("checkpoint_begin", "resume"):
            action = Action(kind, claim=self._near(base, change))
        else:
            action = Action(kind)
        pair.attempt(action)

    def _near(self, base: str, change: list[int]) -> tuple[int, ...]:
        model = self.pair.model
        known = {
            "prefix": model.prefixes(),
            "durable": model.durable,
            "claim": model.durable_claim,
            "pending": model.pending_claim or model.durable_claim,
        }[base]
        top = model.definition.num_records
        claim = [known[name] for name in self.pair.graph.column_names]
        for position, by in enumerate(change[: len(claim)]):
            claim[position] = min(max(claim[position] + by, 0), top)
        return tuple(claim)

    @rule(pick=st.integers(0, 63))
    def nonsense(self, pick: int) -> None:
        """An action that names nothing in this graph is refused as input, not as a violation."""
        action = _nonsense(self.pair.graph)[pick % len(_nonsense(self.pair.graph))]
        before = snapshot(self.pair.machine)
        with pytest.raises(SpecError) as caught:
            self.pair.machine.apply(action)
        assert "\n" not in str(caught.value)
        assert snapshot(self.pair.machine) == before

    @invariant()
    def agrees(self) -> None:
        self.pair.check_readiness()
        self.pair.check_progress()
        self.pair.check_claims()
        self.pair.check_offers()


def _nonsense(graph: ExecutionGraph) -> list[Action]:
    name, total = graph.column_names[0], graph.num_records
    scopes = graph.rules.scope_count(0)
    found = [
        Action("start", "nobody", (0, 1)),
        Action("start", name),
        Action("start", name, (-1, 0)),
        Action("complete", name, (total, total + 1)),
        Action("start", name, (0, 0)),
        Action("start", name, scope=scopes),
        Action("complete", name, scope=-1),
        Action("emit", name, (0, total + 1)),
        Action("durable", name, (0, total + 1)),
        Action("durable", "nobody", (0, 1)),
        Action("durable", name),
        Action("checkpoint_begin"),
        Action("checkpoint_begin", claim=()),
        Action("checkpoint_begin", claim=(0,) * (graph.num_columns + 1)),
        Action("resume"),
        Action("resume", claim=()),
        Action("fail", name, (0, 1)),
        Action("drop", rows=(0, 1)),
        Action("dance"),
        Action(""),
    ]
    if not scopes:
        found.append(Action("emit", name, (0, 1)))
    return found


@pytest.mark.clause(
    "SCHED-01",
    "SCHED-02",
    "SCHED-03",
    "SCHED-04",
    "SCHED-05",
    "SCHED-06",
    "SCHED-07",
    "SCHED-08",
    "SCHED-09",
    "SCHED-10",
    "SCHED-11",
    "BARR-01",
    "BARR-02",
    "CKPT-05",
    "CKPT-06",
    "CKPT-07",
    "CKPT-08",
    "CKPT-09",
    "CKPT-10",
    "CKPT-11",
    "CKPT-12",
    "CKPT-13",
    "CKPT-15",
)
def test_the_machine_allows_and_refuses_what_the_naive_model_does() -> None:
    often = settings(max_examples=3 * settings().max_examples)
    run_state_machine_as_test(MachineFollowsTheModel, settings=often)


@pytest.mark.clause("SCHED-10", "SCHED-12")
@given(start=limited_cases(max_columns=5, max_rows=6), before=picks, after=picks)
def test_after_any_steps_and_crashes_a_run_without_further_crashes_ends(
    start: tuple[Case, Limits], before: list[int], after: list[int]
) -> None:
    pair = Pair(*start)
    for pick in before:
        offers = pair.enabled()
        if not offers:
            break
        # Crashes are the last offer: taken modulo, they would be rare in a large graph.
        action = offers[-1] if pick == 63 else offers[pick % len(offers)]
        note(f"    {action}")
        pair.take(action)
    if pair.machine.crashed:
        pair.take(pair.enabled("resume")[0])
    pair.run_to_the_end(after)
    assert pair.machine.ended
    assert pair.machine.completed_rows == pair.graph.num_records
    assert pair.model.done >= {
        cell for name in pair.model.names for cell in pair.model.definition.cells(name)
    }


HALF_DONE = Case(
    4,
    (
        ColumnDescriptor("a", traits=T.START),
        ColumnDescriptor("b", traits=T.BARRIER, dependencies=["a"]),
        ColumnDescriptor("c", dependencies=["b"]),
    ),
)


@pytest.mark.clause("CKPT-07", "SCHED-05")
def test_a_half_done_column_after_a_barrier_keeps_its_claimed_rows_and_runs_the_barrier_again() -> (
    None
):
    pair = Pair(HALF_DONE, Limits())

    def cells(column: str, rows: range) -> None:
        for row in rows:
            for kind in ("start", "complete"):
                pair.take(Action(kind, column, (row, row + 1)))

    cells("a", range(4))
    pair.take(Action("start", "b", scope=0))
    pair.take(Action("complete", "b", scope=0))
    pair.take(Action("emit", "b", (0, 4)))
    cells("c", range(2))
    for column in "abc":
        pair.take(Action("durable", column, (0, 2)))
    pair.take(Action("checkpoint_begin", claim=(2, 2, 2)))
    pair.take(Action("checkpoint_durable"))
    pair.take(Action("crash"))
    pair.take(Action("resume", claim=(2, 2, 2)))

    assert pair.machine.completed_rows == 2
    assert [str(action) for action in pair.enabled("start")] == ["start a[2]", "start a[3]"]
    with pytest.raises(Violation, match=r"^SCHED-05: c\[1\] starts although a checkpoint claimed"):
        pair.machine.apply(Action("start", "c", (1, 2)))
    cells("a", range(2, 4))
    assert [str(action) for action in pair.enabled("start")] == ["start b barrier 0"]
    pair.run_to_the_end(())
    assert pair.machine.ended


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        pytest.param(
            (1, 1, 1),
            "CKPT-09: a: 1 rows claimed after 2 were",
            marks=pytest.mark.clause("CKPT-09"),
        ),
        pytest.param(
            (3, 3, 1),
            "CKPT-09: c: 1 rows claimed after 2 were",
            marks=pytest.mark.clause("CKPT-09"),
        ),
        pytest.param(
            (2, 3, 3),
            "CKPT-05: b: 3 rows claimed, but its input a claims 2",
            marks=pytest.mark.clause("CKPT-05"),
        ),
        pytest.param(
            (4, 3, 3),
            "CKPT-10: a: 4 rows claimed, but only 3 are durable",
            marks=pytest.mark.clause("CKPT-10"),
        ),
        pytest.param(
            (3, 3, 4),
            "CKPT-08: c: 4 rows claimed, but only 3 are resolved without a gap",
            marks=pytest.mark.clause("CKPT-08"),
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("resumed", [False, True], ids=["same process", "resumed"])
def test_a_claim_that_falls_or_has_nothing_under_it_is_refused(
    resumed: bool, claim: tuple[int, ...], message: str
) -> None:
    machine = Machine(HALF_DONE.graph())

    def finish(rows: range) -> None:
        for column in "abc":
            for row in rows if column == "c" else range(4):
                for kind in ("start", "complete"):
                    action = Action(kind, column, (row, row + 1))
                    if action in set(machine.enabled()):
                        machine.apply(action)
            if column == "a":
                for kind in ("start", "complete"):
                    machine.apply(Action(kind, "b", scope=0))

    finish(range(3))
    for rows in (2, 3):
        for column in "abc":
            machine.apply(Action("durable", column, (0, rows)))
        if rows == 2:
            machine.apply(Action("checkpoint_begin", claim=(2, 2, 2)))
            machine.apply(Action("checkpoint_durable"))
            if resumed:
                machine.apply(Action("crash"))
                machine.apply(Action("resume", claim=(2, 2, 2)))
                finish(range(3))
    with pytest.raises(Violation) as caught:
        machine.apply(Action("checkpoint_begin", claim=claim))
    assert str(caught.value).startswith(message)
    machine.apply(Action("checkpoint_begin", claim=(3, 3, 3)))


def test_an_action_reads_as_what_it_does() -> None:
    assert str(Action("start", "a", (3, 4))) == "start a[3]"
    assert str(Action("emit", "b", (0, 4))) == "emit b[0:4]"
    assert str(Action("complete", "b", scope=1)) == "complete b barrier 1"
    assert str(Action("checkpoint_begin", claim=(2, 1))) == "checkpoint_begin [2, 1]"
    assert str(Action("crash")) == "crash"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"workers": 0}, "limits: workers: expected a positive integer, got 0"),
        ({"workers": True}, "limits: workers: expected a positive integer, got True"),
        ({"workers": 1.5}, "limits: workers: expected a positive integer, got 1.5"),
        ({"resources": {"gpu": 0}}, "limits: gpu: expected a positive integer, got 0"),
        (
            {"column_resource": {"a": "gpu"}},
            "limits: column 'a' uses resource 'gpu', which has no limit",
        ),
    ],
)
def test_a_limit_that_nothing_could_pass_is_refused(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        Limits(**bad)
    assert str(caught.value) == message
