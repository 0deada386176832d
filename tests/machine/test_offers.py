"""Which steps a machine offers: all that it would take, of those that it offers at all."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from cellspec import (
    Action,
    ColumnDescriptor,
    ExecutionGraph,
    ExecutionTraits,
    FailurePolicy,
    Limits,
    Machine,
    Violation,
)
from cellspec.graph.nodes import barrier_key
from cellspec.machine.killers import Killers
from cellspec.machine.limits import ClaimKind
from cellspec.state.claims import Claim
from tests.machine.test_refusals import made, refusal, take

T = ExecutionTraits

COLUMNS = [
    ColumnDescriptor("a", traits=T.START),
    ColumnDescriptor("z", traits=T.START),
    ColumnDescriptor("b", dependencies=["a", "z"]),
    ColumnDescriptor("o", traits=T.ORDERED, dependencies=["a"]),
    ColumnDescriptor("v", traits=T.BATCH_BARRIER, dependencies=["a"]),
]
ANY_ROWS = ClaimKind(3, by_column=True)
FIRST_ROWS = ClaimKind(2, by_column=True)


def machine(columns: str = "azbov", rows: int = 4, **options: Any) -> Machine:
    chosen = [each for each in COLUMNS if each.name in columns]
    options.setdefault("failures", FailurePolicy(2))
    return Machine(ExecutionGraph(rows, chosen, batch_size=2), **options)


def offered(run: Machine, *kinds: str) -> list[str]:
    """The steps of these kinds that are offered, in words."""
    found = [each for each in run.enabled() if each.kind in kinds]
    return [f"{each} {each.outcome or each.cause or ''}".rstrip() for each in found]


def claims(run: Machine, kind: str = "checkpoint_begin") -> list[Claim | None]:
    return [each.claim for each in run.enabled() if each.kind == kind]


def save(run: Machine, claim: Claim) -> None:
    run.apply(Action("checkpoint_begin", claim=claim))
    run.apply(Action("checkpoint_durable"))


def store(run: Machine, *rows: int) -> None:
    """Cells of these numbers of rows become durable, by column."""
    for column, count in enumerate(rows):
        if count:
            run.durable_rows(column, count)


# All of them


class _Walk:
    """Random steps, kept so that they can be taken again."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(f"offers {seed}")
        self.steps: list[tuple[float, Action]] = []
        self.fails = self.dice.choice((0.0, 0.3))
        self.kind = self.dice.choice((None, ClaimKind(1, by_column=False), FIRST_ROWS))
        self.run = self.made_again()

    def made_again(self) -> Machine:
        """The machine after the same steps."""
        limits = Limits(workers=2, resources={"r": 1}, column_resource={"a": "r", "v": "r"})
        run = machine(
            rows=2,
            limits=limits,
            failures=FailurePolicy(2, stop_window=6, stop_rate=0.5),
            waive=["SCHED-09", "SCHED-15"],
            claims=self.kind,
        )
        for t, step in self.steps:
            run.at(t)
            run.apply(step)
        return run

    def go(self) -> None:
        """Take one step, maybe after a while."""
        weights = {"crash": 0.02, "durable": 3.0, "checkpoint_begin": 3.0, "fail": self.fails}
        options = [*self.run.enabled()]
        if not options:
            return
        likely = [weights.get(each.kind, 1.0) for each in options]
        step = self.dice.choices(options, likely)[0]
        t = self.run.now + self.dice.choice((0.0, 0.5))
        if step.failure == "retryable":
            step = step._replace(until=self.dice.choice((None, t + 1.0)))
        if step.kind == "crash" and self.dice.random() < 0.5:
            step = Action("stop_requested")
        self.run.at(t)
        try:
            self.run.apply(step)
        except Violation:
            # It was offered for the moment before.
            assert t > self.steps[-1][0] if self.steps else t
            self.run = self.made_again()
        else:
            self.steps.append((t, step))

    def is_taken(self, action: Action) -> bool:
        try:
            self.made_again().apply(action)
        except Violation:
            return False
        return True


def candidates(run: Machine) -> Iterator[Action]:
    """Steps that may or may not be allowed."""
    rules, rows = run.graph.rules, range(run.graph.num_records)
    for rule in rules.columns:
        for scope in range(rules.scope_count(rule.index)):
            spent = run.attempts.get(barrier_key(rule.index, scope), 0)
            yield Action("start", rule.name, scope=scope, attempt=spent + 1)
        for row in rows:
            spent = run.attempts.get((rule.index, row), 0)
            yield Action("start", rule.name, (row, row + 1), attempt=spent + 1)
    for version in (1, 2):
        if run.claim(version) != run.durable_claim:
            yield Action("checkpoint_begin", claim=run.claim(version))
    yield Action("checkpoint_durable")
    yield Action("end", outcome="success")
    yield Action("end", outcome="stopped")
    yield Action("end", outcome="interrupted")
    if not run.stopped:
        yield Action("stop")


def test_what_is_offered_is_what_would_be_taken() -> None:
    kinds = set[str]()
    for seed in range(16):
        walk = _Walk(seed)
        for _ in range(walk.dice.randint(5, 80)):
            walk.go()
        if walk.run.crashed:
            continue
        of_kinds = ("start", "checkpoint_begin", "checkpoint_durable", "end", "stop")
        found = {each for each in walk.run.enabled() if each.kind in of_kinds}
        expected = {each for each in candidates(walk.run) if walk.is_taken(each)}
        found = {
            each._replace(outcome=each.outcome or "success") if each.kind == "end" else each
            for each in found
        }
        assert found == expected
        kinds |= {f"{each.kind} {each.outcome or ''}".rstrip() for each in found}
    assert kinds >= {"start", "checkpoint_begin", "checkpoint_durable"}


# Calls


@pytest.mark.clause("FAIL-03", "SCHED-16")
def test_no_call_is_offered_in_its_backoff_or_in_a_pause() -> None:
    run = machine("a", 2, waive=["SCHED-09", "SCHED-15"])
    take(run, "start a 0", "fail a 0 failure=retryable until=2")
    assert offered(run, "start") == ["start a[1]"]
    take(run, "pause until=1")
    assert offered(run, "start") == []
    run.at(1.0)
    assert offered(run, "start") == ["start a[1]"]
    take(run, "start a 1", "fail a 1 failure=retryable")
    assert offered(run, "start") == ["start a[1]"], "when it starts is up to the engine"
    run.at(2.0)
    assert offered(run, "start") == ["start a[0]", "start a[1]"]


@pytest.mark.clause("SCHED-17")
def test_output_is_offered_whatever_waits() -> None:
    run = machine("av", 4, bypass=0)
    take(run, *made("a", 0, 1, 2, 3), "start v /0", "complete v /0")
    assert offered(run, "start") == ["start v barrier 1", "start v[0]", "start v[1]"]
    run = machine("azv", 2, bypass=0)
    take(run, *made("a", 0), *made("z", 0), *made("a", 1))
    assert offered(run, "start") == ["start z[1]"], "it was ready before the barrier"


@pytest.mark.clause("SCHED-06")
def test_output_is_offered_whoever_is_busy() -> None:
    run = machine("av", 4, limits=Limits(workers=1))
    take(run, *made("a", 0, 1), "start v /0", "complete v /0", "start a 2")
    assert offered(run, "start") == ["start v[0]", "start v[1]"]


@pytest.mark.clause("FAIL-08")
def test_what_went_with_a_worker_is_offered_before_what_waits_for_it() -> None:
    run = machine("azbv", 2)
    take(run, *made("a", 0, 1), *made("z", 0), "start v /0", "complete v /0")
    take(run, "start b 0", "fail b 0 failure=retryable", "worker_lost", "lose a 0")
    assert offered(run, "start") == ["start a[0]", "start z[1]", "start v[0]", "start v[1]"]
    take(run, *made("a", 0))
    assert offered(run, "start") == ["start z[1]", "start v[0]", "start v[1]", "start b[0]"]


@pytest.mark.clause("DROP-03")
def test_each_call_of_a_dropped_row_may_end() -> None:
    run = machine("azb")
    take(run, "start a 0", "start a 1", "start z 0", "start z 1")
    take(run, "fail z 0 failure=permanent", "fail z 1 failure=permanent")
    assert offered(run, "cancel") == ["cancel a[0]", "cancel a[1]"]


@pytest.mark.clause("FAIL-06")
def test_a_call_is_taken_back_no_more_often_than_it_may_be() -> None:
    run = machine("a", 1)
    run.state.offers_losses = True
    for _ in range(8):
        take(run, "start a 0")
        assert offered(run, "take_back") == ["take_back a[0]"]
        take(run, "take_back a 0")
    take(run, "start a 0")
    assert offered(run, "take_back") == []
    assert refusal(run, "take_back a 0").startswith("FAIL-06")


@pytest.mark.clause("DROP-06")
def test_each_row_that_processes_died_of_may_be_given_up() -> None:
    run = machine("a", 3)
    run.state.killers = Killers(1)
    take(run, "start a 0", "start a 2", "crash")
    run.apply(Action("resume", claim=(0,)))
    assert offered(run, "drop") == ["drop a[0] killer", "drop a[2] killer"]
    assert offered(run, "start") == ["start a[1]"]


# Claims


@pytest.mark.clause("CKPT-09")
def test_no_claim_is_offered_of_less_than_the_last_one() -> None:
    run = machine("az", claims=FIRST_ROWS)
    take(run, *made("a", 0), *made("z", 0, 1, 2))
    store(run, 1, 3)
    save(run, (1, 3))
    assert claims(run) == []
    take(run, *made("a", 1))
    store(run, 2)
    assert claims(run) == [(2, 3)]
    run = machine("az", claims=FIRST_ROWS)
    take(run, *made("a", 0), *made("z", 0, 1, 2))
    store(run, 1, 3)
    assert claims(run) == [(1, 1), (1, 3)]
    run.apply(Action("checkpoint_begin", claim=(1, 3)))
    ends = ("checkpoint_durable", "checkpoint_failed")
    assert offered(run, *ends) == list(ends)
    run.state.offers_failures = False
    assert offered(run, *ends) == ["checkpoint_durable"]


@pytest.mark.clause("DROP-04")
def test_no_claim_is_offered_on_a_row_whose_drop_is_not_recorded() -> None:
    run = machine("az", claims=FIRST_ROWS)
    take(run, "start a 0", "fail a 0 failure=permanent", *made("a", 1), *made("z", 1))
    assert offered(run, "durable", "checkpoint_begin") == []
    take(run, "drop a 0")
    assert offered(run, "durable") == ["durable a[0:2]", "durable z[0:2]"]


@pytest.mark.clause("DROP-04")
def test_nor_where_the_cell_was_lost_while_it_was_committed() -> None:
    run = machine("az")
    take(run, *made("a", 0), *made("z", 0), "durable z 0")
    run.commit_begin((1, 0))
    take(run, "worker_lost", "lose a 0", "committed", "start a 0", "fail a 0 failure=permanent")
    assert claims(run) == []
    take(run, "drop a 0")
    assert claims(run) == [(1, 1)]


@pytest.mark.clause("CKPT-05")
def test_a_claim_of_any_rows_has_each_input_of_its_cells() -> None:
    run = machine("azb", claims=ANY_ROWS)
    take(run, *(words for column in "azb" for words in made(column, 0, 2)))
    run.durable_rows(2, 3, 2)
    run.durable_rows(0, 3, 2)
    assert claims(run) == [(((2, 3),), 0, 0)]
    run.durable_rows(1, 3, 2)
    assert claims(run) == [(((2, 3),), ((2, 3),), ((2, 3),))]


@pytest.mark.clause("CKPT-05", "CKPT-09")
def test_a_claim_with_a_dropped_row_out_of_order_is_not_made_smaller() -> None:
    run = machine("ao", 3, claims=ANY_ROWS)
    take(run, "start a 2", "fail a 2 failure=permanent", "drop a 2", *made("a", 0))
    cells: Claim = (((0, 1), (2, 3)), ((2, 3),))
    run.commit_begin(cells)
    run.committed()
    assert run.durable_claim == cells
    assert claims(run) == []
    run = machine("az", claims=ANY_ROWS, waive=["CKPT-10"])
    take(run, *made("a", 0), *made("z", 1))
    save(run, (1, 0))
    run.durable_rows(1, 2, 1)
    assert claims(run) == [], "row 0 was claimed, and is not stored"


@pytest.mark.clause("CKPT-12")
def test_storage_may_give_back_each_commit_that_was_open() -> None:
    run = machine("a", claims=ANY_ROWS)
    take(run, *made("a", 0, 1, 2, 3))
    run.commit_begin((1,), 1)
    run.commit_begin((((2, 3),),), 2)
    assert [each.commit for each in run.enabled() if each.kind == "committed"] == [1, 2]
    assert [each.commit for each in run.enabled() if each.kind == "commit_failed"] == [1, 2]
    take(run, "crash")
    assert claims(run, "resume") == [(0,), (1,), (((2, 3),),)]


# The end

STOPS = FailurePolicy(1, stop_window=2, stop_rate=0.5)


@pytest.mark.clause("STOP-07", "STOP-08")
@pytest.mark.parametrize(
    ("steps", "outcome"),
    [
        (["start a 1", "fail a 1 failure=permanent", "drop a 1", "stop"], "stopped"),
        (["stop_requested"], "interrupted"),
    ],
)
def test_a_run_that_stops_may_end_once_all_is_claimed(steps: Sequence[str], outcome: str) -> None:
    run = machine("a", failures=STOPS, claims=ClaimKind(1, by_column=False))
    take(run, *made("a", 0), *steps)
    rows = run.completed_rows
    assert offered(run, "end") == []
    store(run, rows)
    assert offered(run, "end") == []
    save(run, (rows,))
    assert offered(run, "end") == [f"end {outcome}"]


@pytest.mark.clause("STOP-03")
def test_a_run_that_stopped_early_is_offered_no_success() -> None:
    run = machine("a", 2, failures=STOPS)
    take(run, *made("a", 0), "start a 1", "fail a 1 failure=permanent", "drop a 1", "stop")
    store(run, 2)
    assert offered(run, "end") == ["end stopped"]


@pytest.mark.clause("SCHED-10", "CKPT-22")
def test_success_is_offered_once_all_is_stored_and_claimed() -> None:
    run = machine("az", 1, claims=ClaimKind(1, by_column=False))
    take(run, *made("a", 0), *made("z", 0))
    for stored in ((1, 0), (0, 1)):
        assert offered(run, "end") == []
        store(run, *stored)
    assert offered(run, "end") == []
    save(run, (1, 1))
    assert offered(run, "end") == ["end"]
    run = machine("az", 1)
    take(run, *made("a", 0), *made("z", 0))
    store(run, 1)
    assert offered(run, "end") == []
    store(run, 0, 1)
    assert offered(run, "end") == ["end"]


@pytest.mark.clause("SCHED-10")
def test_no_success_is_offered_before_each_cell_is_made() -> None:
    run = machine("a", 1, waive=["CKPT-08"])
    store(run, 1)
    assert offered(run, "end") == []
    take(run, *made("a", 0))
    assert offered(run, "end") == ["end"]


@pytest.mark.clause("DROP-04")
def test_no_success_is_offered_before_each_drop_is_recorded() -> None:
    run = machine("a", 1, waive=["SCHED-03"])
    take(run, *made("a", 0), "start a 0", "fail a 0 failure=permanent")
    store(run, 1)
    assert offered(run, "end") == []
    with pytest.raises(Violation, match=r"^DROP-04"):
        run.end()
    take(run, "drop a 0")
    assert offered(run, "end") == ["end"]
