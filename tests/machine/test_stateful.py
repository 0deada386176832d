"""The transition system against a model by definition: the same steps are allowed, with one result.

Hypothesis drives both through the same actions, on random pipelines with barriers of both scopes,
skips, limits, row groups, failures of every kind, ranges, early stops, checkpoints of both
versions, crashes, and resumes with other targets. Actions that the specification does not allow are
tried too: the machine must refuse them with a clause that the model finds broken as well, and stay
as it was. Somebody listens all the while: whatever becomes ready is announced, once.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
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
    FailurePolicy,
    Limits,
    Machine,
    SpecError,
    Violation,
)
from cellspec.state.claims import Claim
from tests.pair import FAILURES, OUTCOMES, QUIET, Pair, snapshot
from tests.run_oracle import Spans, spans
from tests.strategies import Case, Plan, plans

pytestmark = pytest.mark.invariant

T = ExecutionTraits
KINDS = (
    "start",
    "complete",
    "emit",
    "fail",
    "cancel",
    "take_back",
    "skip",
    "drop",
    "admit",
    "retire",
    "durable",
    "checkpoint_begin",
    "checkpoint_durable",
    "checkpoint_failed",
    "commit_begin",
    "committed",
    "commit_failed",
    "crash",
    "resume",
    "stop",
    "stop_requested",
    "end",
    "pause",
    "write_begin",
    "worker_lost",
    "lose",
    "recall",
)
STEPS = (
    *("start",) * 8,
    *("complete",) * 6,
    *("fail",) * 5,
    *("range", "give", "row", "pass", "sweep") * 2,
    *("admit", "retire", "skip", "drop", "emit", "durable", "save"),
    *("checkpoint_begin", "checkpoint_durable", "checkpoint_failed"),
    *("cancel", "stop", "stop_requested", "end", "crash", "resume", "pause", "write_begin"),
    *("reject", "reject", "take_back", "take_back"),
    *("worker_lost", "lose", "lose", "lose", "recall", "recall"),
    *("set_claim", "set_claim", "commit_begin", "commit_begin", "committed", "commit_failed"),
    *("give_up", "give_up", "cells"),
)
SWEPT = ("start", "complete", "emit", "fail", "cancel", "skip", "drop", "take_back", "start")
AT_LEAST = (
    *("start", "complete", "give", "drop", "skip", "admit", "retire", "stop"),
    *("durable", "checkpoint_begin", "checkpoint_durable", "end", "pass", "resume"),
)
ON_NODES = ("start", "complete", "fail", "cancel", "take_back")


small = st.integers(0, 63)


class MachineFollowsTheModel(RuleBasedStateMachine):
    """Any sequence of steps that the model allows, of steps that may be wrong, and of resumes."""

    @initialize(plan=plans(max_columns=4, max_rows=5))
    def begin(self, plan: Plan) -> None:
        self.plan = plan
        self.pair = Pair(plan)

    @rule(answers=st.binary(min_size=1, max_size=12) | st.binary(min_size=20, max_size=60))
    def steps(self, answers: bytes) -> None:
        """Steps that the model allows; a byte says of which kind, if any, and which of those."""
        for answer in answers:
            wish, pick = STEPS[answer % len(STEPS)], answer // len(STEPS)
            for kind in (wish, *AT_LEAST):
                if self._step(kind, pick):
                    break

    def _step(self, kind: str, pick: int) -> bool:
        """True if there was a step of this kind, and it was taken."""
        pair = self.pair
        if pair.model.over() and kind != "resume":
            return False
        if kind == "pass":
            return self._let_time_pass(pick)
        if kind == "save":
            return self._save(pick)
        if kind == "row":
            return self._finish_a_row()
        if kind == "cells":
            return self._store_cells(pick)
        if kind == "sweep":
            pair.sweep(SWEPT[pick % len(SWEPT)])
            return True
        if kind == "stop_requested":
            # Seldom, or few runs would get far.
            if pick % 4:
                return False
            pair.take(Action(kind))
            return True
        if kind == "resume" and pair.model.ended and pick % 2:
            # There is little left to see of this run.
            self.pair = Pair(self.plan)
            return True
        steps = self._steps(kind, pick)
        if steps:
            pair.take(steps[pick % len(steps)])
        return bool(steps)

    def _steps(self, kind: str, pick: int) -> list[Action]:
        pair = self.pair
        if kind in ("fail", "cancel", "take_back"):
            ending = [a for a in pair.enabled("complete") if not self._is_output(a)]
            ending = [a._replace(kind=kind) for a in ending + pair.gives()]
            if kind != "fail":
                return [action for action in ending if not pair.broken(action)]
            rest = (None, 0.0, 1.0, 2.0)[pick % 4]
            until = None if rest is None else pair.machine.now + rest
            failure = FAILURES[pick // 4 % 4]
            ending = [a._replace(failure=failure, until=until) for a in ending]
            return [action for action in ending if not pair.broken(action)] * pair.fails
        if kind == "range":
            return self._ranges()
        if kind == "give":
            return pair.gives()
        if kind == "reject":
            ending = [a for a in pair.enabled("complete") if not self._is_output(a)]
            return [self._rejecting(action, pick) for action in ending + pair.gives()]
        if kind == "emit":
            return self._emissions()
        if kind == "admit":
            return pair.enabled("admit")[:1]
        if kind in ("pause", "write_begin"):
            return self._breaks(kind, pick)
        if kind == "recall":
            nodes = pair.model.definition.nodes()
            found = [pair.action(kind, n) for n in nodes if not pair.model.is_output(n)]
            return [action for action in found if not pair.broken(action)]
        if kind in ("set_claim", "commit_begin", "committed", "commit_failed"):
            return self._sets(kind, pick)
        if kind == "give_up":
            return self._give_ups()
        if kind == "resume" and pair.model.ended:
            return self._next_targets()
        return pair.enabled(kind)

    def _sets(self, kind: str, pick: int) -> list[Action]:
        """A claim of any rows, a commit of cells that nobody claimed, or the end of a commit."""
        pair, model = self.pair, self.pair.model
        if not self.plan.sets:
            return []
        if kind in ("committed", "commit_failed"):
            return [Action(kind, commit=number) for number in model.open_commits]
        most = model.most()
        if kind == "set_claim":
            there = {name: rows & model.stored[name] for name, rows in most.items()}
            some = model.closed(there, leave=pick)
            claims = [Action("checkpoint_begin", claim=pair.claim(some))]
        else:
            new = {name: rows - model.durable_claim[name] for name, rows in most.items()}
            some = model.closed(new, model.durable_claim, leave=pick)
            number = (None, 0, 1)[pick % 3]
            claims = [Action(kind, claim=pair.claim(some), commit=number)] * any(some.values())
        return [claim for claim in claims if not pair.broken(claim)]

    def _give_ups(self) -> list[Action]:
        """Rows that may be dropped because a node of theirs ended so many processes."""
        model = self.pair.model
        if model.rules.killer_tries is None:
            return []
        found = [
            Action("drop", node.column, (row, row + 1), cause="killer")
            for node in model.died_with
            for row in model.rows_of(node)
        ]
        return [action for action in found if not self.pair.broken(action)]

    def _store_cells(self, pick: int) -> bool:
        """The data of cells that are resolved goes to storage, some of it beyond a gap."""
        model = self.pair.model
        cells = [
            CellNodeId(row, name)
            for name in model.names
            for row in model.rows
            if (row + pick) % 3 and row not in model.stored[name]
        ]
        for cell in cells:
            action = self.pair.action("durable", cell)
            if not self.pair.broken(action):
                self.pair.take(action)
        return bool(cells)

    def _rejecting(self, action: Action, pick: int) -> Action:
        """An end whose answer rejects its row; of a barrier, some rows of its scope."""
        node = self.pair.node(action)
        if isinstance(node, CellNodeId):
            return action._replace(rejected=((node.row, node.row + 1),))
        scope = self.pair.model.definition.scope(node)
        some = [row for place, row in enumerate(scope) if (pick >> place) & 1] or [scope[-1]]
        return action._replace(rejected=spans(some))

    def _breaks(self, kind: str, pick: int) -> list[Action]:
        """A pause after a failure, or a write that takes its time."""
        model = self.pair.model
        if kind == "write_begin":
            name = ("", *model.names)[pick % (len(model.names) + 1)]
            write = Action(kind, name, (0, max(1, model.completed_rows())))
            return [] if self.pair.broken(write) else [write]
        # An engine that conserves work may not pause while any work is ready.
        pauses = Action(kind, until=model.now + (0.0, 1.0, 6.0)[pick % 3])
        return [pauses] if model.unanswered and not model.rules.conserves else []

    def _next_targets(self) -> list[Action]:
        """A run that has ended goes on with the same target, or with one or two rows more."""
        pair, model = self.pair, self.pair.model
        again = Action("resume", claim=pair.claim(model.durable_claim), keep=True)
        total = len(model.rows)
        most = model.rules.groups
        targets = [n for n in (total + 1, total + 2, total + 3) if n <= 8]
        fitting = [n for n in targets if most is None or model.groups_needed(n) <= most]
        return [again._replace(records=n) for n in fitting] or [again]

    def _is_output(self, action: Action) -> bool:
        return self.pair.model.is_output(self.pair.node(action))

    def _ranges(self) -> list[Action]:
        """Every range that may start, longer ones first."""
        model = self.pair.model
        found = [
            Action("start", name, span, attempt=model.spent(CellNodeId(span[0], name)) + 1)
            for name in model.names
            if model.is_streamable(name)
            for span in self._spans()
        ]
        return [action for action in found if not self.pair.broken(action)]

    def _emissions(self) -> list[Action]:
        """Every range of output that may be given, longer ones first."""
        model = self.pair.model
        names = [name for name in model.names if model.definition.is_barrier(name)]
        found = [Action("emit", name, span) for name in names for span in self._spans()]
        return [action for action in found if not self.pair.broken(action)]

    def _spans(self) -> list[tuple[int, int]]:
        total = len(self.pair.model.rows)
        return [
            (start, start + length)
            for length in range(total, 1, -1)
            for start in range(total - length + 1)
        ]

    def _finish_a_row(self) -> bool:
        """The first row that can be finished is: rows end while others have to wait."""
        model = self.pair.model
        order = ("retire", "admit", "complete", "skip", "drop", "start")
        left, taken = model.completed_rows(), False
        while model.completed_rows() == left and (offers := self.pair.work()):
            action = min(offers, key=lambda a: (order.index(a.kind), a.rows or (-1, 0)))
            self.pair.take(action)
            taken = True
        return taken

    def _let_time_pass(self, pick: int) -> bool:
        """Everything that can start does, and then the clock moves."""
        pair = self.pair
        t = pair.machine.now + (1.0, 5.0)[pick % 2]
        while pair.model.idle_breaks(t) and not pair.model.stop_requested:
            admissions = pair.enabled("admit")[:1]
            steps = pair.enabled("retire") + admissions + pair.enabled("start")
            steps = steps or pair.enabled("skip")
            if not steps:
                assert pair.model.paused(), pair.model.idle_breaks(t)
                break
            pair.take(steps[0])
        if pick % 4 and pair.model.save_breaks(t):
            self._save(pick)
        pair.wait(t)
        return True

    def _save(self, pick: int) -> bool:
        """All data to storage, a claim on it, and perhaps the claim's own arrival there."""
        pair = self.pair
        while steps := pair.enabled("drop", "durable"):
            pair.take(steps[0])
        if steps := pair.enabled("checkpoint_durable"):
            pair.take(steps[0])
        if steps := pair.enabled("checkpoint_begin"):
            pair.take(steps[pick % len(steps)])
            if pick % 3:
                pair.take(Action("checkpoint_durable"))
        return True

    @precondition(lambda self: self.pair.enabled("crash"))
    @rule(luck=st.integers(0, 3), pick=st.integers(0, 3), resumed=st.booleans())
    def crash(self, luck: int, pick: int, resumed: bool) -> None:
        """Three times in four nothing happens, or no run would ever get far."""
        if luck:
            return
        self._save(pick)
        self.pair.take(Action("crash"))
        if resumed:
            self._step("resume", pick)

    @precondition(lambda self: self.pair.model.over())
    @rule(
        pending=st.booleans(),
        choice=small,
        more=st.none() | st.integers(-3, 3),
        keep=st.booleans(),
        given_back=st.booleans(),
        forget=st.none() | st.integers(0, 5),
        invent=st.none() | st.integers(0, 5),
    )
    def resume(
        self,
        pending: bool,
        choice: int,
        more: int | None,
        keep: bool,
        given_back: bool,
        forget: int | None,
        invent: int | None,
    ) -> None:
        """A new incarnation, perhaps with another target; storage may have a row wrong."""
        pair, model = self.pair, self.pair.model
        found = model.resumable()
        known = found[(choice if pending else 0) % len(found)]
        action = Action("resume", claim=pair.claim(known), keep=keep)
        if given_back:
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

    # Steps that may be wrong

    @rule(seconds=st.sampled_from((1.0, 0.0, -1.0, 1.5, 5.0)))
    def wait(self, seconds: float) -> None:
        """The clock moves; work that could have been started must have been."""
        self.pair.wait(self.pair.machine.now + seconds)

    @rule(kind=st.sampled_from(SWEPT), attempt=st.sampled_from((0, 1, 2, 3)))
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
        says=st.booleans(),
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
        says: bool,
    ) -> None:
        """Any well-formed action, allowed or not."""
        sets = self.plan.sets and says
        if kind in ("checkpoint_begin", "resume") or (kind == "commit_begin" and sets):
            self.pair.attempt(Action(kind, claim=self._near(base, change, place if sets else None)))
            return
        action = self._somewhere(kind, place, barrier=barrier, attempt=attempt)
        if action is not None:
            if kind == "start" and action.scope is not None and reads is not None:
                action = action._replace(reads=spans(reads))
            if kind in ON_NODES[1:] and says:
                action = action._replace(attempt=attempt)
            if kind == "drop" and says:
                action = action._replace(cause="filtered" if barrier else "killer")
            self.pair.attempt(action)

    def _somewhere(
        self, kind: str, place: tuple[int, int, int], *, barrier: bool, attempt: int
    ) -> Action | None:
        model = self.pair.model
        total = len(model.rows)
        name = model.names[place[0] % len(model.names)]
        row = place[1] % total
        longer = (row, min(row + place[2], total))
        scopes = model.definition.barriers(name)
        if kind in ON_NODES:
            action = Action(kind, name, (row, row + 1))
            if barrier and scopes:
                action = Action(kind, name, scope=place[1] % len(scopes))
            elif kind == "start" and model.is_streamable(name):
                action = Action(kind, name, longer)
            if kind == "start":
                return action._replace(attempt=attempt)
            return action._replace(failure=FAILURES[place[2] % 4]) if kind == "fail" else action
        if kind in ("lose", "recall"):
            place_of = {"scope": row % len(scopes)} if scopes else {"rows": (row, row + 1)}
            return Action(kind, name, **place_of)
        if kind == "emit":
            return Action(kind, name, longer) if scopes else None
        if kind == "pause":
            if model.rules.conserves:
                return None
            return Action(kind, until=(None, model.now, model.now + 1.0, 0.0)[place[2]])
        if kind == "commit_begin" and not self.plan.sets:
            return None
        if kind in ("committed", "commit_failed"):
            return Action(kind, commit=(None, 0, 1)[place[2] - 1])
        if kind in ("durable", "write_begin", "commit_begin"):
            return Action(kind, name if barrier else "", longer)
        if kind in ("admit", "retire"):
            return Action(kind, rows=longer) if model.rules.group_rows is not None else None
        if kind == "end":
            return Action(kind, outcome=OUTCOMES[place[0] % len(OUTCOMES)])
        return Action(kind, name, (row, row + 1)) if kind in QUIET else Action(kind)

    def _near(
        self, base: str, change: list[int], beside: tuple[int, int, int] | None = None
    ) -> Claim:
        """A claim of so many rows of each column more or less, and perhaps of rows beside it."""
        model = self.pair.model
        rows = len(model.rows)
        known = {
            "prefix": model.first_rows(model.prefixes()),
            "durable": {name: frozenset(model.stored[name]) for name in model.names},
            "claim": model.durable_claim,
            "pending": model.pending_claim or model.durable_claim,
        }[base]
        claim = [known[name] for name in self.pair.graph.column_names]
        if beside is not None:
            column, row = beside[0] % len(claim), beside[1] % rows
            claim[column] ^= frozenset(range(row, min(row + beside[2], rows)))
        elif not self.plan.sets:
            counts = [len(held) for held in claim]
            for position, by in enumerate(change[: len(claim)]):
                counts[position] = min(max(counts[position] + by, 0), rows)
            claim = [frozenset(range(count)) for count in counts]
        names = self.pair.graph.column_names
        return self.pair.claim(dict(zip(names, claim, strict=True)))

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
    "CKPT-18",
    "CKPT-19",
    "CKPT-22",
    "CKPT-23",
    "FAIL-01",
    "FAIL-02",
    "FAIL-03",
    "FAIL-04",
    "FAIL-05",
    "FAIL-06",
    "FAIL-07",
    "DROP-01",
    "DROP-02",
    "DROP-03",
    "DROP-04",
    "DROP-05",
    "DROP-06",
    "SKIP-01",
    "SKIP-02",
    "SKIP-03",
    "GROUP-01",
    "GROUP-02",
    "GROUP-03",
    "GROUP-05",
    "GROUP-06",
    "GROUP-07",
    "GROUP-08",
    "RANGE-01",
    "RANGE-02",
    "STOP-01",
    "STOP-02",
    "STOP-03",
    "STOP-04",
    "STOP-05",
    "STOP-06",
    "STOP-07",
    "STOP-08",
    "STOP-09",
    "SCHED-14",
    "SCHED-15",
    "SCHED-16",
    "SCHED-17",
)
def test_the_machine_allows_and_refuses_the_same_steps_as_the_model() -> None:
    often = settings(max_examples=3 * settings().max_examples)
    run_state_machine_as_test(MachineFollowsTheModel, settings=often)


@given(plan=plans(max_columns=3, max_rows=3), crashed=st.booleans())
def test_an_action_that_names_no_column_or_row_of_the_graph_is_refused_as_input(
    plan: Plan, crashed: bool
) -> None:
    pair = Pair(plan)
    if crashed:
        pair.take(Action("crash"))
    before = snapshot(pair.machine)
    for action in _nonsense(pair.graph, grouped=plan.limits.group_rows is not None):
        with pytest.raises(SpecError) as caught:
            pair.machine.apply(action)
        assert "\n" not in str(caught.value)
        assert snapshot(pair.machine) == before


LATE = (
    ("complete",),
    *(("fail", failure) for failure in FAILURES),
    ("cancel",),
    # Only of a range: its first row, and then the end of the rest.
    ("give", "complete"),
    ("give", "fail", "permanent"),
    ("give", "cancel"),
)


@pytest.mark.clause("STOP-01", "STOP-02", "FAIL-05")
@pytest.mark.parametrize("live", [False, True], ids=["every row dropped", "one row live"])
@pytest.mark.parametrize("again", [False, True], ids=["first attempt", "second attempt"])
def test_however_calls_of_dropped_rows_end_the_machine_and_the_model_count_alike(
    *, again: bool, live: bool
) -> None:
    """A cell, a range and a barrier run while rows are dropped, and end in each way."""
    columns = (
        ColumnDescriptor("a", traits=T.START),
        ColumnDescriptor("s", traits=T.START | T.ROW_STREAMABLE),
        ColumnDescriptor("v", traits=T.BARRIER, dependencies=["a"]),
        ColumnDescriptor("c", traits=T.START),
        ColumnDescriptor("k", traits=T.START),
    )
    policy = FailurePolicy(max_attempts=3, stop_window=9, stop_rate=1.0)
    both = (0, 2)
    calls = [Action("", "c", (0, 1)), Action("", "v", scope=0), Action("", "s", both)]
    attempt = 2 if again else 1
    for way in itertools.product(LATE[:5], LATE[:5], LATE):
        pair = Pair(Plan(Case(2, columns), Limits(), policy))
        for row in (0, 1):
            pair.take(Action("start", "a", (row, row + 1), attempt=1))
            pair.take(Action("complete", "a", (row, row + 1)))
        for number in range(1, attempt + 1):
            for call in calls:
                pair.take(call._replace(kind="start", attempt=number))
                if number < attempt:
                    pair.take(call._replace(kind="fail", failure="retryable"))
        for row in (0,) if live else (0, 1):
            pair.take(Action("start", "k", (row, row + 1), attempt=1))
            pair.take(Action("fail", "k", (row, row + 1), failure="permanent"))
        for call, steps in zip(calls, way, strict=True):
            _end_late(pair, call, steps, attempt)
        pair.check()


def _end_late(pair: Pair, call: Action, steps: tuple[str, ...], attempt: int) -> None:
    """A call ends so, if it may; by the name of another attempt it may not."""
    left = call
    if steps[0] == "give":
        pair.take(Action("complete", call.column, (0, 1), attempt=attempt))
        left, steps = call._replace(rows=(1, 2)), steps[1:]
    end = left._replace(kind=steps[0], failure=next((f for f in FAILURES if f in steps), None))
    for wrong in (3 - attempt, attempt + 1, 7):
        assert pair.broken(end._replace(attempt=wrong))
        pair.attempt(end._replace(attempt=wrong))
    rows = end.rows or (0, 1)
    each = (
        [end]
        if end.kind != "complete" or end.scope is not None
        else [end._replace(rows=(row, row + 1)) for row in range(*rows)]
    )
    for action in each:
        pair.attempt(action._replace(attempt=attempt))


@pytest.mark.clause("SCHED-14", "STOP-04")
@pytest.mark.parametrize("rows", [2, 3], ids=["all work done", "work left"])
def test_after_any_answer_of_storage_machine_and_model_agree_whether_a_run_may_give_up(
    rows: int,
) -> None:
    """Every history of up to six steps of storage; two rows are there for it, one by one."""
    cut = Plan(Case(rows, (ColumnDescriptor("a"),)), Limits(), FailurePolicy())
    made = [Action(kind, "a", (row, row + 1)) for row in (0, 1) for kind in ("start", "complete")]
    storage = (
        *(Action("durable", "a", (row, row + 1)) for row in (0, 1)),
        *(Action("checkpoint_begin", claim=(count,)) for count in (1, 2)),
        Action("checkpoint_durable"),
        Action("checkpoint_failed"),
    )
    found: set[bool] = set()
    histories: list[tuple[Action, ...]] = [()]
    while histories:
        history = histories.pop()
        pair = Pair(cut)
        for action in (*made, *history):
            pair.take(action)
        pair.check_endings()
        found.add(not pair.broken(Action("end", outcome="failed")))
        if len(history) < 6:
            saved = {event for event in history if event.kind == "durable"}
            histories += [
                (*history, each) for each in storage if each not in saved and not pair.broken(each)
            ]
    assert found == {True, False}


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
            "CKPT-09: 1 row of 'a' is claimed after 2 were",
            marks=pytest.mark.clause("CKPT-09"),
        ),
        pytest.param(
            (3, 3, 1),
            "CKPT-09: 1 row of 'c' is claimed after 2 were",
            marks=pytest.mark.clause("CKPT-09"),
        ),
        pytest.param(
            (2, 3, 3),
            "CKPT-05: 3 rows of 'b' are claimed, but only 2 of its input 'a'",
            marks=pytest.mark.clause("CKPT-05"),
        ),
        pytest.param(
            (4, 3, 3),
            "CKPT-10: 4 rows of 'a' are claimed, but only 3 are durable",
            marks=pytest.mark.clause("CKPT-10"),
        ),
        pytest.param(
            (3, 3, 4),
            "CKPT-08: 4 rows of 'c' are claimed, but only 3 are resolved without a gap",
            marks=pytest.mark.clause("CKPT-08"),
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("resumed", [False, True], ids=["same process", "resumed"])
def test_a_claim_that_falls_or_whose_rows_are_not_durable_is_refused(
    resumed: bool, claim: tuple[int, ...], message: str
) -> None:
    machine = Machine(HALF_DONE.graph())

    def finish(rows: range) -> None:
        for column in "abc":
            for row in rows if column == "c" else range(4):
                for kind in ("start", "complete"):
                    attempt = 1 if kind == "start" else None
                    action = Action(kind, column, (row, row + 1), attempt=attempt)
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


@pytest.mark.clause("GROUP-06")
@pytest.mark.parametrize(("most", "admitted"), [(1, 0), (2, 0), (2, 1), (3, 2), (None, 2)])
def test_a_group_that_the_limit_would_admit_is_not_left_waiting(
    most: int | None, admitted: int
) -> None:
    graph = Case(3, (ColumnDescriptor("a", traits=T.START),)).graph()
    machine = Machine(graph, Limits(group_rows=1, groups=most))
    for row in range(admitted):
        machine.apply(Action("admit", rows=(row, row + 1)))
        machine.apply(Action("start", "a", (row, row + 1)))
    with pytest.raises(Violation, match=r"^GROUP-06"):
        machine.at(1.0)
    for row in range(admitted, 3 if most is None else most):
        machine.apply(Action("admit", rows=(row, row + 1)))
        machine.apply(Action("start", "a", (row, row + 1)))
    machine.at(1.0)


def test_an_action_prints_its_kind_its_node_and_its_claim() -> None:
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
def test_a_limit_that_is_no_positive_integer_or_is_missing_is_refused(
    bad: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        Limits(**bad)
    assert str(caught.value) == message
