"""The transition system against a model by definition: the same steps are allowed, with one result.

Hypothesis drives both through the same actions, on random pipelines with barriers of both scopes,
skips, limits, row groups, failures of every kind, ranges, early stops, checkpoints of both
versions, crashes, and resumes with other targets. Actions that the specification does not allow are
tried too: the machine must refuse them with a clause that the model finds broken as well, and stay
as it was. Somebody listens all the while: whatever becomes ready is announced, once.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
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
    CellNodeId,
    ColumnDescriptor,
    ExecutionGraph,
    ExecutionTraits,
    Limits,
    Machine,
    SpecError,
    Violation,
)
from cellspec.actions import Failure, Outcome
from tests.pair import FAILURES, Pair, snapshot
from tests.run_oracle import Spans, spans
from tests.strategies import Case, Plan, plans

T = ExecutionTraits
OUTCOMES: tuple[Outcome, ...] = ("success", "stopped", "failed")
KINDS = (
    "start",
    "complete",
    "emit",
    "fail",
    "cancel",
    "skip",
    "drop",
    "admit",
    "retire",
    "durable",
    "checkpoint_begin",
    "checkpoint_durable",
    "checkpoint_failed",
    "crash",
    "resume",
    "stop",
    "end",
)
ON_NODES = ("start", "complete", "fail", "cancel")


small = st.integers(0, 63)


class MachineFollowsTheModel(RuleBasedStateMachine):
    """Any sequence of steps; each rule is one kind of step, and `pick` says which of those."""

    @initialize(plan=plans(max_columns=5, max_rows=6))
    def begin(self, plan: Plan) -> None:
        self.pair = Pair(plan)

    def _any(self, *kinds: str) -> bool:
        return bool(self.pair.enabled(*kinds))

    def _take(self, pick: int, *kinds: str) -> None:
        offers = self.pair.enabled(*kinds)
        self.pair.take(offers[pick % len(offers)])

    @precondition(lambda self: self.pair.work())
    @rule(answers=st.lists(small, min_size=1, max_size=40))
    def work(self, answers: list[int]) -> None:
        """Several steps forward, so that a run gets far within a few rules."""
        for pick in answers:
            offers = self.pair.work()
            if offers:
                self.pair.take(offers[pick % len(offers)])

    @precondition(lambda self: self.pair.work())
    @rule(share=st.sampled_from((1.0, 0.5, 0.8, 0.9)))
    def work_on(self, share: float) -> None:
        """A share of what is left, row by row, so that rows finish while others have to wait."""
        pair, model = self.pair, self.pair.model

        def left() -> int:
            return sum(not model.resolved(node) for node in model.definition.nodes())

        target = (1 - share) * left()
        while left() > target and (offers := pair.work()):
            order = ("retire", "admit", "complete", "skip", "drop", "start")
            pair.take(min(offers, key=lambda a: (order.index(a.kind), a.rows or (-1, 0))))

    @precondition(lambda self: self._any("start"))
    @rule(pick=small)
    def start(self, pick: int) -> None:
        self._take(pick, "start")

    @precondition(lambda self: self._any("complete"))
    @rule(pick=small)
    def complete(self, pick: int) -> None:
        self._take(pick, "complete")

    @precondition(lambda self: self.pair.fails and (self.pair.model.running or self.pair.gives()))
    @rule(
        pick=small,
        failure=st.sampled_from(FAILURES),
        rest=st.sampled_from((None, None, 0.0, 1.0, 2.0)),
    )
    def fail(self, pick: int, failure: Failure, rest: float | None) -> None:
        pair = self.pair
        running = pair.enabled("fail") + pair.enabled("cancel") + pair.gives()
        if running:
            until = None if rest is None else pair.machine.now + rest
            action = running[pick % len(running)]._replace(kind="fail", until=until)
            pair.attempt(action._replace(failure=failure))

    @precondition(lambda self: self._ranges())
    @rule(pick=small)
    def start_range(self, pick: int) -> None:
        ranges = self._ranges()
        self.pair.take(ranges[pick % len(ranges)])

    def _ranges(self) -> list[Action]:
        """Every range that may start, longer ones first."""
        model = self.pair.model
        rows = list(model.rows)
        found = [
            Action("start", name, (start, stop), attempt=model.spent(CellNodeId(start, name)) + 1)
            for name in model.names
            if model.is_streamable(name)
            for start in rows
            for stop in rows[start + 1 :]
        ]
        found = [a._replace(rows=(a.rows[0], a.rows[1] + 1)) for a in found if a.rows is not None]
        found.sort(key=lambda a: a.rows[0] - a.rows[1] if a.rows is not None else 0)
        return [action for action in found if not self.pair.broken(action)]

    @precondition(lambda self: self.pair.gives())
    @rule(pick=small)
    def give(self, pick: int) -> None:
        gives = self.pair.gives()
        self.pair.take(gives[pick % len(gives)])

    @precondition(lambda self: self._outputs())
    @rule(pick=small, length=st.integers(1, 8))
    def emit(self, pick: int, length: int) -> None:
        """A finished barrier gives a range of its output cells at once."""
        outputs = self._outputs()
        first = outputs[pick % len(outputs)]
        stop = first.row + 1
        while stop < first.row + length and CellNodeId(stop, first.column) in outputs:
            stop += 1
        self.pair.attempt(Action("emit", first.column, (first.row, stop)))

    def _outputs(self) -> list[CellNodeId]:
        model = self.pair.model
        cells = (CellNodeId(row, name) for name in model.names for row in model.rows)
        return [c for c in cells if model.is_output(c) and not model.emit_breaks([c])]

    @precondition(lambda self: self._any("skip"))
    @rule(pick=small)
    def skip(self, pick: int) -> None:
        self._take(pick, "skip")

    @precondition(lambda self: self._any("drop", "admit", "retire", "stop"))
    @rule(pick=small)
    def manage(self, pick: int) -> None:
        self._take(pick, "drop", "admit", "retire", "stop")

    @precondition(lambda self: self._any("durable"))
    @rule(pick=small, everything=st.booleans())
    def store(self, pick: int, everything: bool) -> None:
        self._take(pick, "durable")
        while everything and self._any("durable"):
            self._take(0, "durable")

    @precondition(lambda self: self._any("checkpoint_begin", "checkpoint_durable"))
    @rule(pick=small)
    def checkpoint(self, pick: int) -> None:
        self._take(pick, "checkpoint_begin", "checkpoint_durable", "checkpoint_failed")

    @precondition(lambda self: self._any("durable", "checkpoint_begin"))
    @rule(pick=small, steps=st.sampled_from((3, 2)))
    def save(self, pick: int, steps: int) -> None:
        """All data to storage, a claim on it, and most often the claim's own arrival there."""
        while self._any("drop", "durable"):
            self._take(0, "drop", "durable")
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
                self._take(pick, "resume")

    @precondition(lambda self: self.pair.model.over())
    @rule(
        pending=st.booleans(),
        more=st.none() | st.integers(-3, 3),
        keep=st.booleans(),
        told=st.booleans(),
        forget=st.none() | st.integers(0, 5),
        invent=st.none() | st.integers(0, 5),
    )
    def resume(
        self,
        pending: bool,
        more: int | None,
        keep: bool,
        told: bool,
        forget: int | None,
        invent: int | None,
    ) -> None:
        """A new life, perhaps with another target; what storage says may have a row wrong."""
        pair, model = self.pair, self.pair.model
        known = model.pending_claim if pending and model.pending_claim else model.durable_claim
        action = Action("resume", claim=pair.claim(known), keep=keep)
        if told:
            must, may = model.covered_drops(known)
            # A claim may not cover a drop that storage gives back all the same.
            drops = set(may if keep else must)
            if invent is not None:
                drops.add(invent)
            if forget is not None:
                drops.discard(forget)
            skips = model.covered_skips(known, drops)
            if forget is not None:
                skips = {n: spans(set(_rows(s)) - {forget}) for n, s in skips.items()}
            action = action._replace(dropped=spans(drops))
            action = action._replace(skipped={n: s for n, s in skips.items() if s})
        if more is not None:
            records = max(1, len(model.rows) + more)
            limit = model.rules.groups
            if limit is not None and model.groups_needed(records) > limit:
                self._refused_target(action._replace(records=records))
                return
            action = action._replace(records=records)
        pair.attempt(action)

    def _refused_target(self, action: Action) -> None:
        """A target under which a barrier could never run is refused, and changes nothing."""
        before = snapshot(self.pair.machine)
        broken = self.pair.broken(action)
        with pytest.raises((SpecError, Violation)) as caught:
            self.pair.machine.apply(action)
        if isinstance(caught.value, Violation):
            assert caught.value.clause in broken
        assert snapshot(self.pair.machine) == before

    @precondition(lambda self: self._any("end"))
    @rule(pick=small)
    def end(self, pick: int) -> None:
        self._take(pick, "end")

    @rule(seconds=st.sampled_from((1.0, 0.0, -1.0, 1.5, 5.0)))
    def wait(self, seconds: float) -> None:
        """The clock moves; work that could have been started must have been."""
        self.pair.wait(self.pair.machine.now + seconds)

    @rule(
        kind=st.sampled_from(("start", "complete", "emit", "fail", "cancel", "skip", "drop")),
        attempt=st.sampled_from((1, 2, 3)),
    )
    def sweep(self, kind: str, attempt: int) -> None:
        self.pair.sweep(kind, attempt)

    @rule(
        kind=st.sampled_from(KINDS),
        place=st.tuples(st.integers(0, 7), st.integers(0, 7), st.integers(1, 3)),
        barrier=st.booleans(),
        attempt=st.sampled_from((1, 1, 1, 2, 3)),
        base=st.sampled_from(("prefix", "durable", "claim", "pending")),
        change=st.lists(st.integers(-2, 2), max_size=5),
        reads=st.none() | st.sets(st.integers(0, 5)),
    )
    def attempt(
        self,
        kind: str,
        place: tuple[int, int, int],
        barrier: bool,
        attempt: int,
        base: str,
        change: list[int],
        reads: set[int] | None,
    ) -> None:
        """Any well-formed action, allowed or not."""
        pair = self.pair
        total = pair.graph.num_records
        name = pair.graph.column_names[place[0] % pair.graph.num_columns]
        row = place[1] % total
        longer = (row, min(row + place[2], total))
        scopes = pair.model.definition.barriers(name)
        action = Action(kind, name, (row, row + 1))
        if kind in ON_NODES:
            if barrier and scopes:
                scope = place[1] % len(scopes)
                action = Action(kind, name, scope=scope)
                if kind == "start" and reads is not None:
                    action = action._replace(reads=spans(reads))
            elif kind == "start" and pair.model.is_streamable(name):
                action = Action(kind, name, longer)
            if kind == "start":
                action = action._replace(attempt=attempt)
            elif kind == "fail":
                action = action._replace(failure=FAILURES[attempt - 1])
        elif kind == "emit":
            if not scopes:
                return
            action = Action(kind, name, longer)
        elif kind == "durable":
            action = Action(kind, name if barrier else "", longer)
        elif kind in ("checkpoint_begin", "resume"):
            action = Action(kind, claim=self._near(base, change))
        elif kind in ("admit", "retire"):
            if pair.model.rules.group_rows is None:
                return
            action = Action(kind, rows=longer)
        elif kind == "end":
            action = Action(kind, outcome=OUTCOMES[place[2] - 1])
        elif kind not in ("skip", "drop"):
            action = Action(kind)
        pair.attempt(action)

    def _near(self, base: str, change: list[int]) -> tuple[int, ...]:
        model = self.pair.model
        known = {
            "prefix": model.prefixes(),
            "durable": {name: model.durable(name) for name in model.names},
            "claim": model.durable_claim,
            "pending": model.pending_claim or model.durable_claim,
        }[base]
        claim = [known[name] for name in self.pair.graph.column_names]
        for position, by in enumerate(change[: len(claim)]):
            claim[position] = min(max(claim[position] + by, 0), len(model.rows))
        return tuple(claim)

    @rule(pick=small)
    def nonsense(self, pick: int) -> None:
        """An action that names nothing in this graph is refused as input, not as a violation."""
        actions = _nonsense(self.pair.graph, grouped=self.pair.model.rules.group_rows is not None)
        before = snapshot(self.pair.machine)
        with pytest.raises(SpecError) as caught:
            self.pair.machine.apply(actions[pick % len(actions)])
        assert "\n" not in str(caught.value)
        assert snapshot(self.pair.machine) == before

    @invariant()
    def agrees(self) -> None:
        self.pair.check()


def _rows(ranges: Spans) -> list[int]:
    return [row for span in ranges for row in range(*span)]


def _nonsense(graph: ExecutionGraph, *, grouped: bool) -> list[Action]:
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
        Action("drop", rows=(0, 1)),
        Action("drop", name),
        Action("skip", name),
        Action("fail", name, scope=scopes, failure="permanent"),
        Action("admit"),
        Action("retire", rows=(0, total + 1)),
        Action("dance"),
        Action(""),
    ]
    if not scopes:
        found.append(Action("emit", name, (0, 1)))
    if not grouped:
        found.append(Action("admit", rows=(0, total)))
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
    "SCHED-13",
    "BARR-01",
    "BARR-02",
    "BARR-06",
    "BARR-07",
    "BARR-08",
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
    "CKPT-16",
    "CKPT-17",
    "FAIL-01",
    "FAIL-02",
    "FAIL-03",
    "FAIL-04",
    "DROP-01",
    "DROP-02",
    "DROP-03",
    "DROP-04",
    "SKIP-01",
    "SKIP-02",
    "SKIP-03",
    "GROUP-01",
    "GROUP-02",
    "GROUP-03",
    "GROUP-05",
    "GROUP-06",
    "RANGE-01",
    "RANGE-02",
    "STOP-01",
    "STOP-02",
    "STOP-03",
)
def test_the_machine_allows_and_refuses_what_the_model_does() -> None:
    often = settings(max_examples=3 * settings().max_examples)
    run_state_machine_as_test(MachineFollowsTheModel, settings=often)


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
    pair = Pair(Plan(HALF_DONE, Limits(), None))

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
