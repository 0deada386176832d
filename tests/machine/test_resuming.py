"""A crash and the resume after it: what storage may give back, and what a process leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
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
from cellspec.graph.rowset import Ranges
from cellspec.machine.killers import Killers
from cellspec.machine.limits import SavePolicy
from cellspec.machine.resuming import covered_drops
from cellspec.state.claims import Claim, spans
from tests.pair import snapshot

pytestmark = pytest.mark.invariant

T = ExecutionTraits
NONE: Claim = (0, 0, 0)
CRASH = Action("crash")


def machine(*waive: str, rows: int = 4, **promises: Any) -> Machine:
    """Cells of a and of b, and cells of c that need those of a."""
    columns = [
        ColumnDescriptor("a", may_skip=True),
        ColumnDescriptor("b", may_skip=True),
        ColumnDescriptor("c", dependencies=["a"]),
    ]
    return Machine(ExecutionGraph(rows, columns), waive=waive, **promises)


def take(run: Machine, *actions: Action) -> Machine:
    for action in actions:
        run.apply(action)
    return run


def each(kind: str, column: str, *rows: int, **fields: Any) -> list[Action]:
    return [Action(kind, column, (row, row + 1), **fields) for row in rows]


def make(run: Machine, column: str, *rows: int) -> Machine:
    return take(run, *each("start", column, *rows), *each("complete", column, *rows))


def give_up(run: Machine, column: str, *rows: int) -> Machine:
    """Cells fail for good, and the drop of their rows is recorded."""
    failures = each("fail", column, *rows, failure="permanent")
    return take(run, *each("start", column, *rows), *failures, *each("drop", column, *rows))


def save(run: Machine, claim: Claim) -> Machine:
    """A claim, of rows whose data is durable, is safe."""
    for rule, rows in zip(run.graph.rules.columns, claim, strict=True):
        for span in spans(rows):
            run.apply(Action("durable", rule.name, span))
    return take(run, Action("checkpoint_begin", claim=claim), Action("checkpoint_durable"))


def go_on(run: Machine, claim: Claim, **fields: Any) -> Machine:
    return take(run, CRASH, Action("resume", claim=claim, **fields))


def refusal(run: Machine, claim: Claim, **fields: Any) -> str:
    with pytest.raises(Violation) as found:
        run.apply(Action("resume", claim=claim, **fields))
    return str(found.value)


# What storage may give back


@pytest.mark.clause("CKPT-12")
@pytest.mark.parametrize("way", ["claim", "commit"])
def test_a_write_that_failed_in_one_process_cannot_land_in_a_later_one(way: str) -> None:
    run = make(machine(), "a", 0)
    if way == "claim":
        begun, failed = Action("checkpoint_begin", claim=(1, 0, 0)), Action("checkpoint_failed")
    else:
        begun, failed = Action("commit_begin", claim=(1, 0, 0)), Action("commit_failed")
    take(run, Action("durable", "a", (0, 1)), begun, failed)
    take(go_on(run, NONE), CRASH)
    assert refusal(run, (1, 0, 0)).startswith("CKPT-12: ")


@pytest.mark.clause("CKPT-12")
def test_beside_a_commit_the_first_cell_is_named_that_nothing_brings() -> None:
    run = take(make(machine(), "a", 0, 1), Action("commit_begin", claim=(1, 0, 0)), CRASH)
    assert refusal(run, (2, 0, 0)).startswith("CKPT-12: resumed with a[0], which the last durable")
    assert refusal(run, (1, 1, 0)).startswith("CKPT-12: resumed with a[0], which the last durable")
    assert refusal(run, (0, 1, 0)).startswith("CKPT-12: resumed with b[0], which the last durable")
    run = take(make(make(machine(), "a", 0), "b", 0), Action("commit_begin", claim=(1, 0, 0)))
    save(run, (0, 1, 0)).apply(CRASH)
    assert refusal(run, (1, 0, 0)).startswith("CKPT-12: resumed without b[0], which the last")
    run = take(make(machine(), "a", 0, 1), Action("commit_begin", claim=(1, 0, 0)))
    take(run, Action("committed"), CRASH)
    assert refusal(run, (2, 0, 0)).startswith("CKPT-12: resumed with a[1], which the last durable")
    assert refusal(run, NONE).startswith("CKPT-09: resumed without a[0], which the last durable")


@pytest.mark.clause("CKPT-12")
def test_of_a_claim_with_a_gap_the_first_cell_is_named_that_nothing_brings() -> None:
    run = take(make(machine(), "a", 0, 2), CRASH)
    assert refusal(run, (((0, 1), (2, 3)), 0, 0)).startswith("CKPT-12: resumed with a[0], which")


@pytest.mark.clause("CKPT-12")
def test_a_claim_of_the_same_rows_of_every_column_is_named_by_these_rows() -> None:
    run = make(make(make(machine(), "a", 1), "b", 1), "c", 1)
    take(run, *each("durable", "", 1))
    take(run, Action("checkpoint_begin", claim=(((1, 2),),) * 3), CRASH)
    assert refusal(run, (1, 1, 1)) == (
        "CKPT-12: resumed from a claim of 1 row of every column; the last durable one is of 0 rows "
        "of every column, and being written was one of row 1 of 'a', row 1 of 'b', row 1 of 'c'"
    )


@pytest.mark.clause("CKPT-23")
def test_less_than_the_last_claim_is_a_loss_also_if_rows_could_not_be_written_since() -> None:
    run = save(make(machine(), "a", 0, 1), (1, 0, 0))
    take(run, *each("write_begin", "a", 1), Action("checkpoint_failed"), CRASH)
    assert refusal(run, NONE).startswith("CKPT-23: ")
    assert refusal(run, (2, 0, 0)).startswith("CKPT-12: ")


# The drops of a claim


@pytest.mark.clause("CKPT-17")
@pytest.mark.parametrize("claim", [(4, 4, 4), (((0, 2), (3, 4)), 4, ((0, 2), (3, 4)))])
def test_every_drop_is_read_back_of_which_the_claim_has_a_cell_that_was_never_made(
    claim: Claim,
) -> None:
    run = make(machine(), "b", 0, 1)
    give_up(run, "a", 0, 1)
    give_up(make(run, "a", 2, 3), "b", 2, 3)
    save(run, claim)
    for _ in range(2):
        run.apply(CRASH)
        assert refusal(run, claim, dropped=()) == (
            "CKPT-17: resumed without the drop of rows 0–3, of which the claim covers cells that "
            "were never made"
        )
        run.apply(Action("resume", claim=claim, dropped=((0, 4),)))
    assert list(run.counters.dropped) == [0, 1, 2, 3]


@pytest.mark.clause("CKPT-17")
def test_a_claim_behind_a_gap_rests_on_the_drops_of_its_rows() -> None:
    claim: Claim = (((0, 1), (2, 4)), 0, 0)
    run = save(give_up(make(machine(), "b", *range(4)), "a", 0, 3), (0, 0, 0))
    save(make(run, "a", 2), claim)
    run.apply(CRASH)
    assert refusal(run, claim, dropped=()).startswith(
        "CKPT-17: resumed without the drop of rows 0, 3"
    )


@pytest.mark.clause("CKPT-17")
@pytest.mark.parametrize(("dropped", "words"), [(((0, 1), (2, 3)), "row 2"), (((0, 2),), "row 1")])
def test_no_drop_is_read_back_that_is_beyond_the_claim_or_that_nobody_recorded(
    dropped: Ranges, words: str
) -> None:
    run = save(give_up(make(machine(), "b", *range(4)), "a", 0, 2), (1, 2, 0))
    run.apply(CRASH)
    assert list(covered_drops(run.state, (1, 2, 0))) == [0]
    assert refusal(run, (1, 2, 0), dropped=dropped) == (
        f"CKPT-17: resumed with the drop of {words}, which the claim does not reach, or which "
        "nobody recorded"
    )


@pytest.mark.clause("CKPT-17")
def test_storage_keeps_the_drops_that_were_recorded_before_the_claim_and_that_it_reaches() -> None:
    run = save(make(machine(), "a", 0, 1, 2), (1, 0, 0))
    give_up(run, "c", 0, 1, 2)
    run.apply(Action("durable", "a", (0, 3)))
    run.apply(Action("checkpoint_begin", claim=(2, 0, 0)))
    assert covered_drops(run.state, (1, 0, 0)) == []
    assert covered_drops(run.state, (2, 0, 0)) == [0, 1]
    go_on(run, (2, 0, 0))
    assert list(run.counters.dropped) == [0, 1]
    go_on(run, (2, 0, 0))
    assert list(run.counters.dropped) == [0, 1]


@pytest.mark.clause("DROP-05")
def test_why_rows_were_dropped_is_known_as_long_as_they_are() -> None:
    run = machine(rows=9)
    for row in (0, 1, 2, 8):
        reject = Action("complete", "a", (row, row + 1), rejected=((row, row + 1),))
        take(run, *each("start", "a", row), reject, *each("drop", "a", row, cause="filtered"))
    save(run, (2, 0, 0))
    go_on(run, (2, 0, 0), records=8)
    assert run.state.causes == {0: "filtered", 1: "filtered"}


# The skips of a claim


@pytest.mark.clause("SKIP-03")
def test_the_skips_of_every_column_are_those_of_the_claim() -> None:
    run = take(machine(), *each("skip", "a", 0, 1), *each("skip", "b", 0))
    make(run, "b", 1)
    save(run, (2, 2, 0))
    skipped: Mapping[str, Ranges] = {"a": ((0, 2),), "b": ((0, 1),)}
    for _ in range(2):
        run.apply(CRASH)
        for name in ("a", "b"):
            assert refusal(run, (2, 2, 0), skipped={**skipped, name: ((1, 2),)}) == (
                f"SKIP-03: resumed with row 1 of {name!r} skipped; the claim covers skips of "
                + ("rows 0–1" if name == "a" else "row 0")
            )
        run.apply(Action("resume", claim=(2, 2, 0), skipped=skipped))
    assert {
        column: list(rows) for column, rows in run.counters.skipped.items() if rows
    }.items() >= {
        0: [0, 1],
        1: [0],
    }.items()


@pytest.mark.clause("SKIP-03")
def test_where_skips_are_not_judged_the_engine_goes_on_from_those_that_it_read() -> None:
    run = save(make(machine("SKIP-03"), "a", 0, 1, 2), (2, 0, 0))
    go_on(run, (2, 0, 0), skipped={"a": ((0, 4),)})
    assert [run.counters.is_skipped(0, row) for row in range(4)] == [True, True, False, False]


# Another number of rows


@pytest.mark.clause("CKPT-16")
def test_the_barrier_is_named_of_which_something_was_claimed_and_whose_scope_changes() -> None:
    columns = [
        ColumnDescriptor("a"),
        ColumnDescriptor("u", traits=T.BARRIER),
        ColumnDescriptor("v", traits=T.BARRIER, dependencies=["a"]),
    ]
    run = make(Machine(ExecutionGraph(2, columns)), "a", 0, 1)
    take(run, Action("start", "v", scope=0), Action("complete", "v", scope=0))
    take(save(take(run, Action("emit", "v", (0, 2))), (2, 0, 1)), CRASH)
    assert refusal(run, (2, 0, 1), records=3) == (
        "CKPT-16: resumed with 3 rows instead of 2: the barrier of 'v' had 1 row claimed, and its "
        "scope changes"
    )


@pytest.mark.clause("CKPT-16")
def test_the_first_claimed_cell_beyond_the_last_row_is_named() -> None:
    claim: Claim = (((1, 2),), ((0, 1), (2, 3)), 0)
    run = save(make(make(machine(), "a", 1), "b", 0, 2), claim)
    run.apply(CRASH)
    assert refusal(run, claim, records=2) == "CKPT-16: resumed with 2 rows, but b[2] is claimed"


@pytest.mark.clause("CKPT-12", "CKPT-16")
def test_the_number_of_rows_that_there_were_is_no_other_target() -> None:
    run = go_on(machine("CKPT-12"), (9, 0, 0), records=4)
    assert run.durable_claim == (4, 0, 0)


@pytest.mark.clause("CKPT-17")
def test_where_drops_are_not_judged_rows_that_there_are_not_are_not_dropped() -> None:
    run = go_on(machine("CKPT-17", rows=9), NONE, dropped=((1, 2), (8, 9)), records=8)
    assert list(run.counters.dropped) == [1]


# Configurations


def configured(**config: str) -> Machine:
    run = machine(config=config)
    return save(make(make(run, "a", 0), "b", 0), (1, 1, 0))


@pytest.mark.clause("CKPT-20")
def test_what_a_process_made_that_told_no_configuration_is_taken_over_by_any() -> None:
    run = go_on(go_on(configured(), (1, 1, 0), config={"a": "x"}), (1, 1, 0), config={"a": "y"})
    save(make(run, "a", 1), (2, 1, 0))
    run.apply(CRASH)
    assert refusal(run, (2, 1, 0), config={"a": "x"}).startswith("CKPT-20: resumed with configur")


@pytest.mark.clause("CKPT-20")
def test_a_process_that_tells_no_configuration_does_not_hide_that_of_an_earlier_one() -> None:
    run = take(go_on(configured(a="x"), (1, 1, 0)), CRASH)
    assert refusal(run, (1, 1, 0), config={"a": "y"}) == (
        "CKPT-20: resumed with configuration y of 'a', of which claimed cells were made with x"
    )
    run.apply(Action("resume", claim=(1, 1, 0), config={"a": "x"}))


@pytest.mark.clause("CKPT-20")
def test_a_change_that_one_process_was_told_to_keep_later_ones_keep_and_no_other() -> None:
    run = configured(a="x", b="x")
    go_on(run, (1, 1, 0), config={"a": "y", "b": "x"}, keep_config=True)
    go_on(run, (1, 1, 0), config={"a": "y", "b": "x"})
    run.apply(CRASH)
    assert refusal(run, (1, 1, 0), config={"a": "y", "b": "z"}) == (
        "CKPT-20: resumed with configuration z of 'b', of which claimed cells were made with x"
    )


@pytest.mark.clause("CKPT-16", "CKPT-20")
def test_a_process_keeps_what_has_changed_only_if_it_is_told_to() -> None:
    columns = [ColumnDescriptor("a"), ColumnDescriptor("v", traits=T.BARRIER)]
    grown = Machine(ExecutionGraph(1, columns))
    take(grown, Action("start", "v", scope=0), Action("complete", "v", scope=0))
    save(make(make(grown, "v", 0), "a", 0), (1, 1)).apply(CRASH)
    with pytest.raises(Violation, match=r"^CKPT-16: .* had 1 row claimed, and its scope changes"):
        grown.resume((1, 1), records=2)
    grown.resume((1, 1), records=2, keep=True)
    changed = take(configured(a="x"), CRASH)
    with pytest.raises(Violation, match=r"^CKPT-20: resumed with configuration y of 'a'"):
        changed.resume((1, 1, 0), config={"a": "y"})
    changed.resume((1, 1, 0), config={"a": "y"}, keep_config=True)


# What a process leaves behind


@pytest.mark.clause("FAIL-04")
def test_a_write_that_an_earlier_process_lost_is_nothing_to_give_up_for() -> None:
    run = make(machine(), "a", 0)
    take(run, *each("write_begin", "a", 0), Action("checkpoint_failed"))
    make(go_on(run, NONE), "a", 1)
    take(run, *each("write_begin", "a", 1), Action("checkpoint_failed"), *each("durable", "a", 1))
    take(run, *each("start", "a", 2))
    with pytest.raises(Violation, match=r"^FAIL-04: a\[2\] is cancelled although its value is"):
        take(run, *each("cancel", "a", 2))


@pytest.mark.clause("SCHED-15")
def test_a_write_that_an_earlier_process_began_is_no_reason_to_wait() -> None:
    run = make(machine("SCHED-09"), "a", 0)
    take(run, *each("write_begin", "a", 0))
    run.at(1.0)
    go_on(run, NONE)
    with pytest.raises(Violation, match=r"^SCHED-15: "):
        run.at(2.0)


def saving(policy: SavePolicy) -> Machine:
    return machine("SCHED-09", "SCHED-15", saving=policy)


def finish(run: Machine, *rows: int) -> Machine:
    return make(make(make(run, "a", *rows), "b", *rows), "c", *rows)


@pytest.mark.clause("CKPT-19")
@pytest.mark.parametrize("way", ["claim", "write"])
def test_a_save_that_an_earlier_process_began_is_none_of_this_one(way: str) -> None:
    run = saving(SavePolicy(rows=2))
    if way == "claim":
        take(finish(run, 0, 1), Action("durable", rows=(0, 2)))
        take(run, Action("checkpoint_begin", claim=(2, 2, 2)))
    else:
        take(finish(run, 0), Action("write_begin", rows=(0, 1)))
    finish(go_on(run, NONE), 0, 1)
    with pytest.raises(Violation, match=r"^CKPT-19: 2 rows could be claimed at t=0 s, 0 at the"):
        run.at(1.0)


@pytest.mark.clause("CKPT-19")
def test_what_waited_for_a_save_in_an_earlier_process_waits_anew_once_it_is_made_again() -> None:
    run = finish(saving(SavePolicy(seconds=1.0)), 0)
    run.at(0.75)
    finish(go_on(run, NONE), 0)
    run.at(1.75)
    with pytest.raises(Violation, match=r"^CKPT-19: "):
        run.at(2.0)


@pytest.mark.clause("SCHED-16")
@pytest.mark.parametrize("reason", ["pause", "wait", "none"])
def test_the_next_process_may_go_on_with_a_pause_or_a_wait_that_it_knows_of(reason: str) -> None:
    run = machine(failures=FailurePolicy(3))
    take(run, *each("start", "a", 0, 1), *each("fail", "a", 0, failure="retryable"))
    if reason == "wait":
        take(run, *each("fail", "a", 1, failure="retryable", until=9.0))
    if reason == "pause":
        take(run, Action("pause", until=9.0))
    go_on(run, NONE)
    if reason != "none":
        take(run, Action("pause", until=9.0))
    with pytest.raises(Violation, match=r"^SCHED-16: "):
        take(run, Action("pause", until=9.0))


@pytest.mark.clause("SCHED-07", "FAIL-07")
def test_time_passes_and_late_reports_come_after_a_crash_and_change_nothing() -> None:
    columns = [ColumnDescriptor("a"), ColumnDescriptor("s", traits=T.ROW_STREAMABLE)]
    run = Machine(
        ExecutionGraph(4, columns),
        failures=FailurePolicy(3, timeout_s=1.0),
        waive=["SCHED-07", "SCHED-02"],
    )
    take(run, *each("start", "a", 0, 0, 1), Action("start", "s", (0, 3)), *each("complete", "s", 1))
    take(run, *each("fail", "a", 1, failure="retryable", until=9.0))
    take(run, Action("start", "s", (3, 4)), CRASH)
    assert run.backoffs == {}
    gone = snapshot(run)
    for kind, fields in (("complete", {}), ("fail", {"failure": "retryable"}), ("cancel", {})):
        take(run, *each(kind, "a", 0, 1, **fields), *each(kind, "s", 0, 3, **fields))
    assert snapshot(run) == gone
    run.at(20.0)


# Who is suspected of the death of a process


@pytest.mark.clause("DROP-06")
def test_of_a_range_the_rows_are_suspected_that_it_has_not_given() -> None:
    columns = [ColumnDescriptor("s", traits=T.ROW_STREAMABLE), ColumnDescriptor("b")]
    run = Machine(ExecutionGraph(8, columns), Limits(workers=4), failures=FailurePolicy(1))
    run.state.killers = Killers(1)
    take(run, Action("start", "s", (0, 3)), Action("start", "s", (3, 6)))
    # Rows 0 and 5 are dropped while they are in flight; row 1 is given.
    take(run, *each("start", "b", 0, 5), *each("fail", "b", 0, 5, failure="permanent"))
    take(run, *each("complete", "s", 1))
    run.set_clock(1.0)
    take(run, CRASH, Action("resume", claim=(0, 0)))
    for row in range(8):
        drop = Action("drop", "s", (row, row + 1), cause="killer")
        if row in (0, 2, 3, 4, 5):
            run.apply(drop)
        else:
            with pytest.raises(Violation, match=rf"^DROP-06: row {row} is given up as a killer"):
                run.apply(drop)


@pytest.mark.clause("CKPT-25")
@pytest.mark.parametrize(("died_at", "heard"), [(1.0, False), (1.5, False), (1.75, True)])
def test_a_process_may_have_stored_more_than_it_had_time_to_tell(
    died_at: float, heard: bool
) -> None:
    run = take(make(machine("SCHED-09", slack_s=0.5), "a", 0, 1), *each("start", "a", 2))
    run.set_clock(1.0)
    take(run, *each("durable", "a", 0))
    run.set_clock(died_at)
    go_on(run, NONE)
    take(run, *each("recall", "a", 0))
    if heard:
        with pytest.raises(Violation, match=r"^CKPT-25: a\[1\] is recalled from a cache, but no"):
            take(run, *each("recall", "a", 1))
    else:
        take(run, *each("recall", "a", 1))
