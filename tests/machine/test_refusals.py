"""What a refused step is told: the clause that it would break, and why, in words."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import pytest

from cellspec import Action, ColumnDescriptor, ExecutionGraph, ExecutionTraits, Machine, Violation
from cellspec.machine.limits import FailurePolicy, Limits

T = ExecutionTraits

COLUMNS = [
    ColumnDescriptor("a", traits=T.START),
    ColumnDescriptor("z", traits=T.START),
    ColumnDescriptor("k", dependencies=["a"], may_skip=True),
    ColumnDescriptor("b", dependencies=["a"]),
    ColumnDescriptor("c", dependencies=["b", "k"]),
    ColumnDescriptor("n", dependencies=["a", "k"], propagate_skip=False),
    ColumnDescriptor("o", traits=T.ROW_STREAMABLE | T.ORDERED, dependencies=["a"]),
    ColumnDescriptor("u", traits=T.BATCH_BARRIER | T.ORDERED, dependencies=["a"]),
    ColumnDescriptor("v", traits=T.BATCH_BARRIER, dependencies=["a", "k"], may_skip=True),
    ColumnDescriptor(
        "w", traits=T.BARRIER, dependencies=["k"], may_skip=True, propagate_skip=False
    ),
    ColumnDescriptor("g", traits=T.BARRIER, dependencies=["k"]),
    ColumnDescriptor("d", dependencies=["v", "b"]),
]


def machine(
    columns: Sequence[str] = (), rows: int = 6, limits: Limits | None = None, **options: Any
) -> Machine:
    """A run of some of the columns, by default of all; two attempts a node."""
    chosen = [each for each in COLUMNS if not columns or each.name in columns]
    graph = ExecutionGraph(rows, chosen, batch_size=2)
    return Machine(graph, limits, failures=FailurePolicy(2), **options)


_PLAIN: dict[str, Callable[[str], Any]] = {"until": float, "attempt": int}


def action(words: str) -> Action:
    """An action from words: "start a 0", "start o 0:2", "fail v /0 failure=permanent"."""
    kind, *rest = words.split()
    fields: dict[str, Any] = {}
    for word in rest:
        name, equals, value = word.partition("=")
        if equals:
            fields[name] = _PLAIN.get(name, str)(value)
        elif word[0] == "/":
            fields["scope"] = int(word[1:])
        elif word[0].isdigit():
            start, _, stop = word.partition(":")
            fields["rows"] = int(start), int(stop or int(start) + 1)
        else:
            fields["column"] = word
    return Action(kind, **fields)


def take(run: Machine, *steps: str) -> None:
    for words in steps:
        run.apply(action(words))


def made(column: str, *rows: int) -> list[str]:
    """The steps that make cells of a column."""
    return [f"{kind} {column} {row}" for row in rows for kind in ("start", "complete")]


def ran(column: str, scope: int) -> list[str]:
    """The steps by which a barrier node runs."""
    return [f"{kind} {column} /{scope}" for kind in ("start", "complete")]


def lost(*of: str) -> list[str]:
    """The steps by which results go with a worker."""
    return ["worker_lost", *(f"lose {words}" for words in of)]


def refusal(run: Machine, *steps: str) -> str:
    """What is said of the last step; "" if it is taken, as the others are."""
    take(run, *steps[:-1])
    try:
        take(run, *steps[-1:])
    except Violation as violation:
        return str(violation)
    return ""


ALL = range(6)
EARLY = "although its barrier is not complete"
LEFT_OUT = ["start a 0", "complete a 0", "skip k 0", *made("a", 1), *made("k", 1)]
"""A batch of which one row has no value."""
LOST = "was lost with a worker, and is not made again"

STEPS: list[tuple[list[str], str]] = [
    (["start b 0"], "SCHED-01: b[0] starts although a[0] is not complete"),
    ([*made("a", 1), "start o 1"], "SCHED-13: o[1] starts although o[0] before it in order"),
    (["start o 1"], "SCHED-01: o[1] starts although a[1] is not complete"),
    ([*made("a", 0, 1, 2), "start o 1:3"], "RANGE-01: o[1:3] starts although row 1 waits for o[0]"),
    (["start v 0"], f"BARR-02: v[0] is given {EARLY}"),
    ([*made("a", 0), "skip k 0", "start v 0"], "SKIP-02: v[0] starts although its input k[0] was"),
    ([*LEFT_OUT, *ran("v", 0), "start v 0"], "SKIP-02: v[0] starts although its input k[0] was"),
    (["emit v 0"], f"BARR-02: v[0] is given {EARLY}"),
    ([*LEFT_OUT, *ran("v", 0), "emit v 0"], "BARR-07: v[0] is given although its barrier left"),
    (
        [*LEFT_OUT, *ran("v", 0), "skip v 0", "emit v 0"],
        "BARR-07: v[0] is given although its barrier left the row out",
    ),
    (
        [*made("a", 0, 1), *made("k", 0, 1), *ran("v", 0), "skip v 0", "emit v 0"],
        "SCHED-03: v[0] is given although it was skipped",
    ),
    (
        [*made("a", 0, 1), *made("k", 0, 1), *ran("v", 0), "start v 0", "emit v 0"],
        "SCHED-02: v[0] is given while it is in flight",
    ),
    (
        [*made("a", *ALL), "skip k 0", *made("k", *ALL[1:]), *ran("w", 0), "skip w 0", "emit w 0"],
        "SCHED-03: w[0] is given although it was skipped",
    ),
    ([*made("a", 0), "skip k 0", "start k 0"], "SCHED-03: k[0] starts although it was skipped"),
    ([*made("a", 0), "start a 0"], "SCHED-03: a[0] starts although it is complete"),
    ([*made("a", 0), "start o 0", "start o 0:2"], "SCHED-02: o[0] starts while it is in flight"),
    (
        ["start a 0", "fail a 0 failure=retryable until=2", "start a 0"],
        "FAIL-03: a[0] starts at t=0 s, in a backoff until t=2 s",
    ),
    ([*made("a", 0), "complete a 0"], "SCHED-04: a[0] completes, but is complete already"),
    # What went with a worker
    ([*made("a", 0), *lost("a 0"), "start b 0"], f"FAIL-08: b[0] starts although a[0] {LOST}"),
    (
        [*made("a", 0), *made("k", 0), *lost("k 0"), "start c 0"],
        f"FAIL-08: c[0] starts although k[0] {LOST}",
    ),
    (
        [*made("a", *ALL), *ran("u", 0), *lost("u /0"), "start u /1"],
        f"FAIL-08: barrier 1 of 'u' starts although barrier 0 of 'u' {LOST}",
    ),
    (
        [*made("a", *ALL), *ran("u", 0), *ran("u", 1), *lost("u /1"), "start u /2"],
        f"FAIL-08: barrier 2 of 'u' starts although barrier 1 of 'u' {LOST}",
    ),
    (
        [
            *(*made("a", 0, 1), *made("k", 0, 1), "start v /0", "fail v /0 failure=retryable"),
            *(*lost("a 0"), "start v /0"),
        ],
        f"FAIL-08: barrier 0 of 'v' starts although a[0] {LOST}",
    ),
    (
        [
            *(*made("a", 0, 1), *made("o", 0), "start o 1", "fail o 1 failure=retryable"),
            *(*lost("o 0"), "start o 1"),
        ],
        f"FAIL-08: o[1] starts although o[0] {LOST}",
    ),
]


@pytest.mark.parametrize(("steps", "said"), STEPS, ids=[said[:40] for _, said in STEPS])
def test_a_refusal_names_the_rule_and_what_stands_in_the_way(steps: list[str], said: str) -> None:
    assert refusal(machine(), *steps).startswith(said)


def test_a_call_that_failed_may_be_made_again() -> None:
    steps = ["start a 0", "fail a 0 failure=retryable", "start a 0"]
    assert refusal(machine(), *steps) == ""
    steps = [*made("a", 0, 1), *made("k", 0, 1), "start v /0", "fail v /0 failure=retryable"]
    assert refusal(machine(), *steps, "start v /0") == ""


@pytest.mark.clause("BARR-07")
@pytest.mark.parametrize("rows", [2, 6])
def test_what_a_barrier_left_out_is_told_apart_when_its_column_is_finished_too(rows: int) -> None:
    steps = [*LEFT_OUT, *ran("v", 0), *made("v", 1), "skip v 0"]
    assert refusal(machine("akv", rows), *steps, "emit v 0") == (
        "BARR-07: v[0] is given although its barrier left the row out"
    )


@pytest.mark.clause("SCHED-05")
def test_output_that_is_claimed_is_not_given_again() -> None:
    run = machine("akv", 2)
    take(run, *LEFT_OUT, *ran("v", 0), *made("v", 1), "skip v 0")
    take(run, "durable a 0:2", "durable k 0:2", "durable v 0:2")
    run.apply(Action("checkpoint_begin", claim=(2, 2, 2)))
    take(run, "checkpoint_durable", "crash")
    run.apply(Action("resume", claim=(2, 2, 2), skipped={"k": ((0, 1),), "v": ((0, 1),)}))
    for row in (0, 1):
        assert refusal(run, f"emit v {row}") == (
            f"SCHED-05: v[{row}] is given although a checkpoint claimed it"
        )


def test_a_row_that_was_dropped_before_its_turn_is_called_dropped() -> None:
    steps = [*made("a", 0), "start z 1", "fail z 1 failure=permanent"]
    assert refusal(machine(), *steps, "complete o 1") == "SCHED-04: o[1] completes, but is dropped"


# Where other clauses are not judged

WAIVED: list[tuple[Collection[str], list[str], str]] = [
    (["SKIP-02"], [*made("a", 0), "skip k 0", "start v 0"], f"BARR-02: v[0] is given {EARLY}"),
    (["SKIP-02"], [*made("a", 0), "skip k 0", "start g 0"], f"BARR-02: g[0] is given {EARLY}"),
    (["SKIP-02"], [*LEFT_OUT, *ran("v", 0), "start v 0"], ""),
    (["SKIP-02"], [*made("a", 0), "skip k 0", "start c 0"], "SCHED-01: c[0] starts although b[0]"),
    (["SKIP-02"], [*made("a", 0), *made("b", 0), "skip k 0", "start c 0"], ""),
    (
        ["SKIP-02"],
        [
            *(*made("a", *ALL), *made("k", *range(5)), "skip k 5"),
            *(*ran("v", 2), *lost("v /2"), "start v 5"),
        ],
        f"FAIL-08: v[5] starts although barrier 2 of 'v' {LOST}",
    ),
    (
        ["SKIP-02"],
        [
            *(*made("a", *ALL), *made("k", *range(5)), "skip k 5"),
            *(*ran("g", 0), *lost("g /0"), "start g 5"),
        ],
        f"FAIL-08: g[5] starts although barrier 0 of 'g' {LOST}",
    ),
    (
        ["BARR-07"],
        [*LEFT_OUT, *ran("v", 0), "emit v 0", "emit v 0"],
        "SCHED-03: v[0] is given although it is complete",
    ),
    (
        ["BARR-02"],
        [*made("a", 0), *made("k", 0), "emit v 0:2", "start v /0"],
        "BARR-01: barrier 0 of 'v' starts although 2 nodes that it waits for are open, first a[1]",
    ),
    # A row that is given up
    (
        ["DROP-03"],
        ["start a 0", "start z 0", "fail z 0 failure=permanent", "start a 0"],
        "SCHED-02: a[0] starts while it is in flight",
    ),
    (
        ["DROP-03"],
        ["start z 0", "fail z 0 failure=permanent", "start a 0", "start a 0"],
        "SCHED-02: a[0] starts while it is in flight",
    ),
    (["DROP-03"], ["start z 0", "fail z 0 failure=permanent", "start a 0"], ""),
]


@pytest.mark.parametrize(("waive", "steps", "said"), WAIVED)
def test_a_step_that_breaks_two_rules_is_refused_for_the_one_that_is_judged(
    waive: Collection[str], steps: list[str], said: str
) -> None:
    found = refusal(machine(waive=waive), *steps)
    assert found.startswith(said)
    assert bool(found) == bool(said)


GROUPS = Limits(group_rows=2)


@pytest.mark.clause("GROUP-01")
@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([*made("a", 0), "start o 0:2"], "SCHED-01: o[1] starts although a[1] is not complete"),
        ([*made("a", 0, 1), "start o 0:2"], ""),
        ([*made("a", 1), "start o 1:3"], "SCHED-13: o[1] starts although o[0] before it in order"),
    ],
)
def test_where_admission_is_not_judged_a_range_waits_for_all_else(
    steps: list[str], said: str
) -> None:
    found = refusal(machine("azko", limits=GROUPS, waive=["GROUP-01"]), *steps)
    assert found.startswith(said)
    assert bool(found) == bool(said)


@pytest.mark.clause("SCHED-05", "GROUP-01")
def test_what_is_claimed_is_no_matter_of_admission() -> None:
    run = machine("az", limits=GROUPS)
    take(run, "admit 0:2", *made("a", 0), "durable a 0")
    run.apply(Action("checkpoint_begin", claim=(1, 0)))
    take(run, "checkpoint_durable", "crash")
    run.apply(Action("resume", claim=(1, 0)))
    assert refusal(run, "start a 0") == "SCHED-05: a[0] starts although a checkpoint claimed it"
    assert refusal(run, "start a 1").startswith("GROUP-01: a[1] starts although row group 0 is")


# An engine that may not have heard of a drop

FAILS = [f"fail z {row} failure=permanent" for row in ALL]
CALLS = [f"start z {row}" for row in ALL]
READ = [*made("a", 0, 1, 2, 3), *made("k", 0, 1, 2, 3)]

NEWS: list[tuple[list[str], str]] = [
    ([*made("a", 0), *FAILS[:1], "start b 0"], ""),
    ([*made("a", 0), "skip k 0", *FAILS[:1], "start n 0"], ""),
    ([*made("a", 0), *made("b", 0), "skip k 0", *FAILS[:1], "start c 0"], "DROP-03"),
    ([*made("a", 0), *made("b", 0), *FAILS[:1], "start c 0"], "DROP-03"),
    ([*FAILS[:1], "start a 0"], ""),
    ([*FAILS[:1], "start a 0", "start a 0"], "DROP-03"),
    ([*made("a", 0, 1), FAILS[1], "start o 1"], "DROP-03"),
    ([*made("a", 0, 1), *FAILS[:1], "start o 0"], ""),
    ([*READ, *FAILS[:2], "start v /0"], ""),
    ([*READ, *FAILS[:2], "start v /0", "start v /0"], "BARR-08"),
    ([*READ, *FAILS[2:3], *FAILS[:2], "start v /0"], ""),
    ([*READ, *FAILS[:2], "drop z 0:2", *FAILS[2:3], "start v /0"], "BARR-08"),
    ([*made("a", 1), *made("k", 1), *FAILS[:2], "start v /0"], ""),
    ([*made("a", 1), *made("k", 1), FAILS[1], "drop z 1", FAILS[0], "start v /0"], "BARR-08"),
    ([*READ, *FAILS[:2], *ran("v", 0), "emit v 0:2", "start v /0"], "BARR-08"),
]


@pytest.mark.clause("DROP-03", "BARR-08")
@pytest.mark.parametrize(("steps", "clause"), NEWS)
def test_an_engine_that_hears_late_may_start_what_it_could_without_the_drop(
    steps: list[str], clause: str
) -> None:
    run = machine(hears_late=True)
    assert refusal(run, *CALLS, *steps).partition(":")[0] == clause


@pytest.mark.clause("BARR-08")
@pytest.mark.parametrize(("until", "clause"), [("", ""), ("until=2", "BARR-08")])
def test_it_waits_for_the_backoff_of_a_barrier(until: str, clause: str) -> None:
    failed = ["start v /0", f"fail v /0 failure=retryable {until}".strip()]
    found = refusal(machine(hears_late=True), *CALLS, *READ, *failed, *FAILS[:2], "start v /0")
    assert found.partition(":")[0] == clause


@pytest.mark.clause("BARR-06")
@pytest.mark.parametrize(
    ("there", "steps", "reads", "clause"),
    [
        (4, FAILS[:2], (0, 4), ""),
        (4, FAILS[:2], (2, 4), ""),
        (4, FAILS[:2], (0, 3), "BARR-06"),
        (4, [FAILS[0], "drop z 0", FAILS[1]], (0, 4), "BARR-06"),
        (4, [FAILS[1], "drop z 1", FAILS[0]], (0, 4), "BARR-06"),
        (3, [*FAILS[:2], FAILS[3]], (0, 3), ""),
        (3, [*FAILS[:2], FAILS[3]], (0, 4), "BARR-06"),
    ],
)
def test_a_barrier_reads_what_is_there_and_rows_of_whose_drop_it_may_not_know(
    there: int, steps: list[str], reads: tuple[int, int], clause: str
) -> None:
    run = machine("azkg", rows=4, hears_late=True)
    take(run, *CALLS[:4], *made("a", *range(there)), *made("k", *range(there)), *steps)
    start = action("start g /0")._replace(reads=(reads,))
    if clause:
        with pytest.raises(Violation, match=rf"^{clause}: barrier 0 of 'g' reads rows 0"):
            run.apply(start)
    else:
        run.apply(start)


@pytest.mark.clause("GROUP-01", "DROP-03")
def test_where_admission_is_not_judged_it_may_start_a_row_that_is_not_admitted() -> None:
    run = machine("az", limits=GROUPS, hears_late=True, waive=["GROUP-01"])
    assert refusal(run, "start z 0", FAILS[0], "start a 0") == ""


@pytest.mark.clause("STOP-01")
def test_a_barrier_may_start_in_the_moment_in_which_the_run_has_to_stop() -> None:
    stops = FailurePolicy(1, stop_window=1, stop_rate=1.0)
    for hears_late in (True, False):
        graph = ExecutionGraph(4, COLUMNS[:8], batch_size=2)
        run = Machine(graph, failures=stops, hears_late=hears_late)
        found = refusal(run, *made("a", 0, 1), "start z 2", FAILS[2], "start u /0")
        assert found.partition(":")[0] == ("" if hears_late else "STOP-01")
