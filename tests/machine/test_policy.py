"""Each rule that is arithmetic has one answer, and it is that of definitions that share no code.

Whoever asks a rule (transition system, reference engine, probe, harness) is asked here too, as a
function, for every number that matters.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from decimal import Decimal

import pytest

from cellspec import (
    CheckpointError,
    ColumnDescriptor,
    ExecutionGraph,
    ExecutionTraits,
    FailurePolicy,
    Limits,
    Machine,
    SpecError,
    Violation,
)
from cellspec.conformance import Fault, Workload, run_workload
from cellspec.conformance.run.backend import Backend
from cellspec.engine.calls import CELL, Call
from cellspec.engine.scheduler import Scheduler
from cellspec.graph.nodes import CellNodeId
from cellspec.machine.actions import Failure
from cellspec.machine.policy import (
    changed_scopes,
    is_final,
    scopes_too_wide,
    stop_threshold,
    within_budget,
)
from tests.engines.test_reference import BACKENDS
from tests.oracles import Definition
from tests.run_oracle import RunModel, RunRules

pytestmark = pytest.mark.invariant

T = ExecutionTraits
KINDS: tuple[Failure, ...] = ("retryable", "backpressure", "permanent")
A = ColumnDescriptor("a")

ODD = [(25, 0.28, 7), (25, 0.56, 14), (100, 0.07, 7), (100, 0.14, 14), (100, 0.28, 28)]
"""Window, rate and threshold, where the product of the two as floating-point numbers is more."""


# The early stop


@pytest.mark.clause("STOP-01")
def test_the_threshold_is_the_least_count_that_makes_up_the_share() -> None:
    for window in range(1, 201):
        for percent in range(1, 101):
            least = next(n for n in range(window + 1) if 100 * n >= percent * window)
            assert stop_threshold(window, percent / 100) == least, (window, percent)


@pytest.mark.parametrize(("window", "rate", "most"), ODD)
def test_a_rate_means_the_decimal_number_that_it_is_written_as(
    window: int, rate: float, most: int
) -> None:
    assert most == Decimal(str(rate)) * window
    assert FailurePolicy(1, window, rate).stop_failures == most


def test_without_a_window_there_is_no_threshold() -> None:
    assert FailurePolicy().stop_failures is None
    assert FailurePolicy(1, 3, 1).stop_failures == 3
    assert [FailurePolicy(1, 7, rate).stop_failures for rate in (5 / 7, 4 / 7)] == [6, 4]


def halts_of_machine(policy: FailurePolicy, ends: list[bool]) -> list[bool]:
    machine = Machine(ExecutionGraph(len(ends), [A]), failures=policy)
    found = []
    for row, failed in enumerate(ends):
        machine.start_cell(0, row)
        if failed:
            machine.fail_cell(0, row, "permanent")
        else:
            machine.complete_cell(0, row)
        found.append(machine.must_stop)
        if machine.must_stop:
            break
    return found


def halts_of_engine(policy: FailurePolicy, ends: list[bool]) -> list[bool]:
    scheduler = Scheduler(ExecutionGraph(1, [A]), failures=policy)
    found = []
    for failed in ends:
        scheduler.early_stop.note_end(well=not failed)
        found.append(scheduler.early_stop.reason is not None)
        if found[-1]:
            break
    return found


def halts_of_oracle(policy: FailurePolicy, ends: list[bool]) -> list[bool]:
    rules = RunRules(stop_window=policy.stop_window, stop_rate=policy.stop_rate)
    model = RunModel(Definition(1, [A]), rules)
    found = []
    for failed in ends:
        model.ends.append(failed)
        found.append(model.must_stop())
        if found[-1]:
            break
    return found


def edges(window: int, most: int) -> Iterator[list[bool]]:
    """Calls of which one failure fewer than the threshold, and then as many, fill the window."""
    yield [True] * (most - 1) + [False] * (window - most + 1)
    yield [False] * (window - most) + [True] * most


@pytest.mark.clause("STOP-01", "STOP-02")
@pytest.mark.parametrize("window", [1, 2, 3, 7, 25, 29, 50, 100, 200])
def test_machine_engine_and_oracle_stop_at_the_same_call(window: int) -> None:
    step = 1 if window < 100 else 7
    rates = [percent / 100 for percent in range(1, 101, step)]
    # The digits of a quotient may say a little more than it: 5/7 is 0.7142857142857143.
    for rate in (*rates, *(count / window for count in range(1, window, step))):
        policy = FailurePolicy(1, window, rate)
        most = policy.stop_failures
        assert most is not None
        for ends in edges(window, most):
            right = halts_of_oracle(policy, ends)
            assert halts_of_machine(policy, ends) == right, (policy, ends)
            assert halts_of_engine(policy, ends) == right, (policy, ends)


@pytest.mark.clause("STOP-01", "STOP-02")
@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
@pytest.mark.parametrize(("window", "rate", "most"), [ODD[0], ODD[2]])
def test_engines_stop_at_a_share_that_no_float_holds(
    backend: Backend, window: int, rate: float, most: int
) -> None:
    work = Workload(
        columns=(A,),
        rows=window + 5,
        # Some rows must be left to start when the share is reached.
        limits=Limits(workers=2),
        failures=FailurePolicy(1, stop_window=window, stop_rate=rate),
        faults=tuple(Fault("a", row, failure="permanent") for row in range(most)),
    )
    result = run_workload(backend, work)
    assert not result.violations
    assert result.outcomes == ["stopped"]


@pytest.mark.clause("STOP-01", "STOP-02")
@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
@pytest.mark.parametrize("fails", [False, True])
def test_engines_count_a_call_whose_row_was_dropped_meanwhile(
    backend: Backend, *, fails: bool
) -> None:
    late = (Fault("a", 0, failure="permanent"),) if fails else ()
    work = Workload(
        columns=(A, ColumnDescriptor("b"), ColumnDescriptor("c", dependencies=("a",))),
        rows=1,
        failures=FailurePolicy(1, stop_window=2, stop_rate=0.5),
        faults=(Fault("b", 0, failure="permanent"), *late),
        latency_s={"a": 5.0, "b": 1.0},
    )
    assert not run_workload(backend, work).violations


# The budget of attempts


def fails_for_good(failures: tuple[Failure, ...], budget: int) -> bool:
    """The oracle's word on a node that failed so."""
    node = CellNodeId(0, "a")
    model = RunModel(Definition(1, [A]), RunRules(max_attempts=budget))
    model.failed = [(node, failure) for failure in failures]
    return model.failed_for_good(node)


def chains() -> Iterator[tuple[tuple[Failure, ...], int]]:
    """Every way to fail up to five times, of which only the last may be final, and a budget."""
    for budget in range(1, 5):
        for length in range(1, 6):
            for failures in itertools.product(KINDS, repeat=length):
                if not fails_for_good(failures[:-1], budget):
                    yield failures, budget


def final_by_machine(failures: tuple[Failure, ...], budget: int) -> bool:
    machine = Machine(ExecutionGraph(1, [A]), failures=FailurePolicy(budget))
    for failure in failures:
        machine.start_cell(0, 0)
        machine.fail_cell(0, 0, failure)
    return bool(machine.unrecorded)


def final_by_engine(failures: tuple[Failure, ...], budget: int) -> bool:
    scheduler = Scheduler(ExecutionGraph(1, [A]), failures=FailurePolicy(budget))
    attempt = 1 + failures[:-1].count("retryable")
    call = Call(0, "a", 0, CELL, 0, 1, None, attempt, (0,), ({},))
    return scheduler.retries.is_final(call, failures[-1])


@pytest.mark.clause("FAIL-02")
def test_machine_engine_and_oracle_agree_on_which_failure_is_the_last() -> None:
    for failures, budget in chains():
        right = fails_for_good(failures, budget)
        attempt = 1 + failures[:-1].count("retryable")
        assert is_final(failures[-1], attempt, budget) == right, (failures, budget)
        assert final_by_machine(failures, budget) == right, (failures, budget)
        assert final_by_engine(failures, budget) == right, (failures, budget)


@pytest.mark.clause("FAIL-02")
@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
def test_engines_and_the_probe_agree_on_which_failure_is_the_last(backend: Backend) -> None:
    for failures, budget in (((*KINDS[1::-1], "retryable"), 2), (("retryable",) * 3, 4)):
        faults = tuple(Fault("a", 1, n, failure) for n, failure in enumerate(failures, 1))
        work = Workload(columns=(A,), rows=2, faults=faults, failures=FailurePolicy(budget))
        assert not run_workload(backend, work).violations


@pytest.mark.clause("FAIL-05")
def test_the_attempt_of_a_call_is_known_until_it_ends_however_many_others_failed_since() -> None:
    rows = 5_000
    graph = ExecutionGraph(rows, [A, ColumnDescriptor("b")])
    machine = Machine(graph, failures=FailurePolicy(3))
    machine.start_cell(0, 0)
    machine.fail_cell(0, 0, "retryable", attempt=1)
    machine.start_cell(0, 0)
    machine.start_cell(1, 0)
    machine.fail_cell(1, 0, "permanent", attempt=1)
    for row in range(1, rows):
        machine.start_cell(1, row)
        machine.fail_cell(1, row, "retryable")
        machine.start_cell(1, row)
        machine.complete_cell(1, row, 2)
    assert len(machine.attempts) < rows
    with pytest.raises(Violation, match=r"^FAIL-05: attempt 1 of a\[0\] ends, but attempt 2 is"):
        machine.cancel_cell(0, 0, attempt=1)
    machine.complete_cell(0, 0, attempt=2)


def test_failures_within_the_budget_are_not_final() -> None:
    for budget in range(1, 4):
        for failures in itertools.product(KINDS, repeat=5):
            kept = within_budget(failures, budget)
            assert not fails_for_good(kept, budget)
            assert (kept == failures) == (not fails_for_good(failures, budget))


# Another target


def pipelines(rows: int) -> Iterator[ExecutionGraph]:
    for size in range(1, 6):
        columns = [A, ColumnDescriptor("v", traits=T.BATCH_BARRIER, dependencies=("a",))]
        yield ExecutionGraph(rows, columns, batch_size=size)
    yield ExecutionGraph(rows, [A, ColumnDescriptor("v", traits=T.BARRIER, dependencies=("a",))])


def holds_a_changed_row(graph: ExecutionGraph, after: int, claimed: int) -> bool:
    """Some claimed row has another scope with the other number of rows, by definition."""
    columns = [graph.get_column_descriptor(name) for name in graph.column_names]
    old = Definition(graph.num_records, columns, graph.batch_size)
    new = Definition(after, columns, graph.batch_size)
    return any(
        old.scope(old.barrier_of("v", row)) != new.scope(new.barrier_of("v", row))
        for row in range(min(claimed, after))
    )


def resumes(graph: ExecutionGraph, after: int, claimed: int) -> bool:
    """Whether the machine lets a run go on with another number of rows."""
    machine = Machine(graph)
    machine.state.durable_claim = (claimed, claimed)
    machine.crash()
    try:
        machine.resume((claimed, claimed), records=after)
    except Violation as error:
        if error.clause != "CKPT-16":
            raise
        return False
    return True


@pytest.mark.clause("CKPT-16")
def test_machine_and_engine_refuse_another_target_where_a_claimed_scope_changes() -> None:
    for before, after in itertools.product(range(1, 8), repeat=2):
        for graph in pipelines(before):
            for claimed in range(min(before, after) + 1):
                changes = holds_a_changed_row(graph, after, claimed)
                where = (before, after, graph.batch_size, claimed)
                scopes = list(changed_scopes(graph.rules, before, after))
                assert any(claimed > scope.start for scope in scopes) == changes, where
                assert resumes(graph, after, claimed) != changes, where
                engine = Scheduler(graph.resized(after))
                if changes:
                    with pytest.raises(CheckpointError):
                        engine.resume.check_target(before, (claimed, claimed), keep=False)
                else:
                    engine.resume.check_target(before, (claimed, claimed), keep=False)
                engine.resume.check_target(before, (claimed, claimed), keep=True)


@pytest.mark.clause("CKPT-16")
def test_a_scope_changes_if_it_has_other_rows_by_another_target() -> None:
    columns = [A, ColumnDescriptor("b", dependencies=["a"], traits=T.BATCH_BARRIER)]
    columns.append(ColumnDescriptor("c", dependencies=["b"], traits=T.BARRIER))
    for size, before, after in itertools.product((1, 2, 3), range(1, 8), range(1, 8)):
        rules = ExecutionGraph(before, columns, batch_size=size).rules
        changed = []
        for column, rows in ((1, size), (2, 99)):
            for start in range(0, before, rows):
                had, has = min(start + rows, before), max(start, min(start + rows, after))
                if had != has:
                    changed.append((column, start, had, has))
        assert [tuple(each) for each in changed_scopes(rules, before, after)] == changed


def test_a_rate_that_is_no_share_is_refused() -> None:
    for rate in (0, 1.01, True, "0.5"):
        with pytest.raises(SpecError, match="stop_rate"):
            FailurePolicy(1, 2, rate)  # type: ignore[arg-type]


@pytest.mark.clause("GROUP-04")
def test_a_scope_is_too_wide_if_it_touches_more_groups_than_may_be_admitted() -> None:
    columns = [
        ColumnDescriptor("a", traits=ExecutionTraits.START),
        ColumnDescriptor("b", dependencies=["a"], traits=ExecutionTraits.BATCH_BARRIER),
    ]
    rules = ExecutionGraph(7, columns, batch_size=3).rules
    # Rows [0:3], [3:6] and [6:7] in groups of two touch 2, 2 and 1 of them.
    assert [wide[:2] for wide in scopes_too_wide(rules, 2, 1)] == [(1, 0), (1, 1)]
    assert not list(scopes_too_wide(rules, 2, 2))
    assert not list(scopes_too_wide(rules, None, None))


def test_without_row_groups_no_scope_is_too_wide() -> None:
    rules = ExecutionGraph(4, [ColumnDescriptor("v", traits=ExecutionTraits.BARRIER)]).rules
    assert [each.groups for each in scopes_too_wide(rules, 1, 3)] == [range(4)]
    for size, most in ((None, 3), (1, None), (1, 4)):
        assert not list(scopes_too_wide(rules, size, most))
