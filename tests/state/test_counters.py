"""The counters: what they hold after any step is what a plain count of the nodes' states says."""

from __future__ import annotations

import random
import sys
from typing import Any

import pytest

from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits
from cellspec.graph.rowset import RowSet, ranges_of, rows_of
from cellspec.state.claims import normal, spans
from cellspec.state.codes import BACKOFF, CLAIMED, DONE, LAST_WAIT, RANGED, READY, RUNNING
from cellspec.state.counters import UNLIMITED, Counters
from cellspec.state.places import SharedPlaces
from cellspec.state.slots import release
from tests.state.counter_walk import CounterWalk
from tests.state.recount import Recount, expect_counted

T = ExecutionTraits
C = ColumnDescriptor


class Listener:
    """A judge that lets all pass, or ignores an end, and somebody who hears of ready work."""

    def __init__(self, *, ignores: bool = False) -> None:
        self.heard: list[tuple[object, ...]] = []
        self.ignores = ignores

    def not_ready(self, column: int, row: int) -> None:
        self.heard.append(("not ready", column, row))

    def not_running(self, column: int, row: int) -> bool:
        self.heard.append(("not running", column, row))
        return self.ignores

    def no_slot(self, column: int, row: int) -> None:
        self.heard.append(("no slot", column, row))

    def is_to_be_skipped(self, column: int, row: int) -> None:
        self.heard.append(("to be skipped", column, row))


def counters_of(
    rows: int, *columns: ColumnDescriptor, batch_size: int | None = None, **more: Any
) -> Counters:
    return Counters(ExecutionGraph(rows, columns, batch_size=batch_size).rules, **more)


def make(counters: Counters, column: int, *rows: int) -> None:
    for row in rows:
        counters.start[column](row)
        counters.resolve[column](row)


def run_node(counters: Counters, column: int, scope: int = 0) -> None:
    """A barrier node runs, and all its output that is wanted is given."""
    counters.start_barrier(column, scope)
    counters.resolve_barrier(column, scope)
    body = counters.cells[column]
    make(counters, column, *(row for row in rows_of_node(counters, column, scope) if not body[row]))


def rows_of_node(counters: Counters, column: int, scope: int) -> range:
    return range(*counters.rules.scope_bounds(column, scope))


@pytest.mark.parametrize("first", range(0, 60, 10))
def test_after_any_steps_every_count_is_right_and_all_that_is_ready_was_announced_once(
    first: int,
) -> None:
    for number in range(first, first + 10):
        walk = CounterWalk(number)
        for _ in range(60):
            walk.step()


# Starts


def shared(*takes: dict[int, int]) -> SharedPlaces:
    return SharedPlaces([1, 2], takes, UNLIMITED)


LIMITS: dict[str, dict[str, Any]] = {
    "workers": {"workers": 1},
    "workers, and a group that has room": {"workers": 1, "capacity": [2, 2]},
    "workers, and places that are free": {"workers": 1, "capacity": shared({1: 1}, {})},
    "a group": {"capacity": [1, UNLIMITED]},
    "a place": {"capacity": shared({0: 1}, {})},
}


@pytest.mark.clause("SCHED-06")
@pytest.mark.parametrize("limits", LIMITS.values(), ids=list(LIMITS))
def test_a_start_beyond_a_limit_is_told_and_no_other(limits: dict[str, Any]) -> None:
    judge = Listener()
    counters = counters_of(3, C("a"), C("b", dependencies=["a"]), judge=judge, **limits)
    counters.start[0](0)
    assert judge.heard == []
    counters.start[0](1)
    assert judge.heard == [("no slot", 0, 1)]


@pytest.mark.parametrize("capacity", [None, [1, 1], shared({}, {0: 1})])
def test_a_start_that_is_let_pass_takes_place(capacity: Any) -> None:
    judge = Listener()
    counters = counters_of(2, C("a"), C("b", dependencies=["a"]), judge=judge, capacity=capacity)
    counters.start[1](0)
    assert judge.heard == [("not ready", 1, 0)]
    assert (counters.cells[1][0], counters.load) == (RUNNING, 1)


def made(judge: Listener) -> Counters:
    counters = counters_of(2, C("a"), C("b", dependencies=["a"]), judge=judge)
    make(counters, 0, 0, 1)
    make(counters, 1, 0, 1)
    return counters


def made_in_any_order(judge: Listener) -> Counters:
    counters = counters_of(2, C("a"), C("b", dependencies=["a"]), judge=judge)
    for column in (1, 0):
        for row in range(2):
            counters.offer(column, row)
            counters.start[column](row)
            counters.resolve[column](row)
    return counters


def claimed(judge: Listener) -> Counters:
    counters = counters_of(2, C("a"), C("b", dependencies=["a"]), judge=judge)
    counters.restore((2, 2))
    return counters


def claimed_but_for_a_dropped_row(judge: Listener) -> Counters:
    counters = counters_of(2, C("a"), C("b", dependencies=["a"]), judge=judge)
    counters.restore((1, 1), RowSet(2, [1]))
    return counters


@pytest.mark.clause("BARR-02")
def test_output_that_starts_takes_no_place() -> None:
    judge = Listener()
    counters = counters_of(2, C("b", traits=T.BARRIER), judge=judge, capacity=[1], workers=1)
    for row in range(2):
        counters.start[0](row)
    assert judge.heard == [("not ready", 0, 0), ("not ready", 0, 1)]
    assert [counters.cells[0][row] for row in range(2)] == [RUNNING, RUNNING]
    assert (counters.load, counters.busy) == (0, [0])


FINISHED = (made, made_in_any_order, claimed, claimed_but_for_a_dropped_row)


@pytest.mark.parametrize("finished", FINISHED)
@pytest.mark.parametrize("paused", [False, True])
def test_in_a_finished_column_no_step_has_an_effect(finished: Any, paused: bool) -> None:
    judge = Listener()
    counters: Counters = finished(judge)
    if paused:
        counters.block_calls()
        counters.allow_calls()
    for column in range(2):
        judge.heard.clear()
        assert not isinstance(counters.cells[column], bytearray)
        counters.start[column](1)
        counters.resolve[column](1)
        assert judge.heard == [("not ready", column, 1), ("not running", column, 1)]
        expect_counted(counters)


def test_the_bytes_of_a_finished_column_are_let_go_though_its_inputs_are_open() -> None:
    counters = counters_of(2, C("a"), C("b"), C("c", dependencies=["a", "b"]))
    body, other = counters.cells[2], bytearray(2)
    for row in range(2):
        counters.resolve[2](row)
    assert sys.getrefcount(body) == sys.getrefcount(other)


@pytest.mark.clause("STOP-01")
def test_starts_that_are_blocked_stay_so_until_the_next_restore() -> None:
    judge = Listener()
    counters = counters_of(2, C("a"), judge=judge)
    counters.block_starts()
    counters.allow_calls()
    counters.start[0](0)
    assert judge.heard == [("not ready", 0, 0)]
    assert counters.load == 0
    counters.restore((0,))
    counters.block_calls()
    counters.allow_calls()
    counters.start[0](0)
    assert judge.heard == [("not ready", 0, 0)]
    assert counters.load == 1


def test_a_cell_that_is_marked_without_a_start_is_not_ready_any_more() -> None:
    counters = counters_of(2, C("a"), C("b", dependencies=["a"]), groups=[1, 0])
    counters.resolve[0](0)
    assert counters.ready == [1, 1]
    expect_counted(counters)


@pytest.mark.clause("CKPT-19")
def test_a_part_has_every_cell_in_once_each_is_resolved_whatever_is_given_twice() -> None:
    counters = counters_of(
        4, C("a"), C("b", dependencies=["a"]), judge=Listener(ignores=True), part_rows=2
    )
    for column in (0, 1):
        make(counters, column, 0, 1, 2)
        counters.resolve[column](0)
        expect_counted(counters)
    assert counters.parts is not None
    assert [counters.parts.is_whole(part) for part in (0, 1)] == [True, False]


SKIPS = {
    "made": [C("v", traits=T.NONE)],
    "made, and read by another column": [C("v"), C("w", dependencies=["v"])],
    "given by a barrier": [C("v", traits=T.BARRIER)],
    "made in order": [C("v", traits=T.ORDERED)],
}


@pytest.mark.clause("SKIP-01")
@pytest.mark.parametrize("others", SKIPS.values(), ids=list(SKIPS))
def test_once_all_inputs_are_resolved_a_cell_with_a_skipped_one_is_announced_to_be_skipped(
    others: list[ColumnDescriptor],
) -> None:
    counters = counters_of(3, *others, C("a"), C("c", dependencies=["v", "a"]))
    c, a = len(others) + 1, len(others)
    listener = Listener()
    counters.listen(on_skip=listener.is_to_be_skipped)
    counters.restore((0,) * (c + 1))
    counters.skip(a, 0)
    counters.skip(a, 2)
    make(counters, a, 1)
    assert listener.heard == []
    if counters.rules.columns[0].is_barrier:
        counters.start_barrier(0, 0)
        counters.resolve_barrier(0, 0)
        counters.resolve_range(0, 0, 3)
    else:
        make(counters, 0, 0, 1, 2)
    assert listener.heard == [("to be skipped", c, 0), ("to be skipped", c, 2)]
    expect_counted(counters)


# Places


def test_places_that_nobody_watches_are_all_free() -> None:
    places = shared({0: 1}, {1: 1}, {})
    assert (places.taken(0), places.taken(1)) == (0, 0)
    assert places[:] == [1, 2, UNLIMITED]
    assert places[1:] == [2, UNLIMITED]


# Ranges, and cells in backoff


@pytest.mark.clause("RANGE-01", "FAIL-08")
def test_a_row_of_a_range_stays_in_flight_when_a_lost_input_of_it_is_made_again() -> None:
    counters = counters_of(2, C("a"), C("b", dependencies=["a"], traits=T.ROW_STREAMABLE))
    make(counters, 0, 0, 1)
    counters.start_range(1, 0, 2)
    counters.lose(0, 0)
    make(counters, 0, 0)
    assert [counters.cells[1][row] for row in range(2)] == [RANGED, RANGED]
    assert not counters.must_skip(1, 0)


@pytest.mark.clause("RANGE-01", "FAIL-08")
def test_a_row_of_a_range_stays_in_flight_when_lost_output_that_it_read_is_given_again() -> None:
    columns = C("b", traits=T.BARRIER), C("c", dependencies=["b"], traits=T.ROW_STREAMABLE)
    counters = counters_of(2, *columns)
    run_node(counters, 0)
    counters.start_range(1, 0, 2)
    counters.lose_barrier(0, 0, ())
    counters.start_barrier(0, 0)
    counters.resolve_barrier(0, 0)
    counters.resolve_range(0, 0, 2)
    assert [counters.cells[1][row] for row in range(2)] == [RANGED, RANGED]


@pytest.mark.clause("RANGE-01", "SCHED-01")
def test_a_row_of_a_range_that_nobody_kept_from_an_early_start_stays_in_flight() -> None:
    counters = counters_of(2, C("a"), C("b", dependencies=["a"], traits=T.ROW_STREAMABLE))
    counters.start_range(1, 0, 2)
    make(counters, 0, 0, 1)
    assert [counters.cells[1][row] for row in range(2)] == [RANGED, RANGED]


@pytest.mark.clause("RANGE-01", "SCHED-13")
def test_a_row_of_a_range_in_order_stays_in_flight_when_its_turn_comes() -> None:
    counters = counters_of(3, C("o", traits=T.ORDERED | T.ROW_STREAMABLE))
    counters.start_range(0, 0, 2)
    counters.offer(0, 0)
    counters.recall(0, 0)
    assert [counters.cells[0][row] for row in range(3)] == [DONE, RANGED, LAST_WAIT]


def test_the_end_of_a_range_is_no_end_of_the_one_behind_it() -> None:
    counters = counters_of(4, C("a", traits=T.ROW_STREAMABLE))
    counters.start_range(0, 0, 2)
    counters.start_range(0, 2, 4)
    assert counters.stop_range(0, 0, 2) == [0, 1]
    assert [counters.cells[0][row] for row in range(4)] == [BACKOFF, BACKOFF, RANGED, RANGED]


@pytest.mark.clause("SCHED-13", "FAIL-03")
def test_a_row_of_a_failed_range_in_order_waits_for_those_before_it() -> None:
    counters = counters_of(2, C("o", traits=T.ORDERED | T.ROW_STREAMABLE))
    counters.start_range(0, 0, 2)
    counters.stop_range(0, 0, 2)
    counters.free_slot(0)
    for row in (1, 0):
        release(counters, 0, row)
    assert [counters.cells[0][row] for row in range(2)] == [READY, LAST_WAIT]
    expect_counted(counters)


@pytest.mark.clause("FAIL-08")
def test_a_cell_in_backoff_waits_for_every_input_that_is_lost() -> None:
    counters = counters_of(1, C("a"), C("b"), C("c", dependencies=["a", "b"]))
    for column in (0, 1):
        make(counters, column, 0)
    counters.start[2](0)
    counters.hold(2, 0)
    assert counters.open_inputs(2, 0) == 0
    counters.lose(1, 0)
    assert counters.open_inputs(2, 0) == 1
    counters.lose(0, 0)
    assert counters.open_inputs(2, 0) == 2
    release(counters, 2, 0)
    expect_counted(counters)


@pytest.mark.clause("FAIL-08", "SCHED-13")
def test_a_cell_in_backoff_waits_for_a_lost_row_before_it_unless_it_is_known_to_be_its_turn() -> (
    None
):
    counters = counters_of(2, C("o", traits=T.ORDERED))
    make(counters, 0, 0)
    counters.start[0](1)
    counters.hold(0, 1)
    counters.lose(0, 0)
    assert counters.open_inputs(0, 1) == 1
    assert counters.open_inputs(0, 1, in_turn=True) == 0


@pytest.mark.clause("GROUP-01", "FAIL-03")
def test_a_cell_that_nobody_kept_from_an_early_start_is_counted_once_when_its_group_comes() -> None:
    counters = counters_of(2, C("a"), group_rows=2)
    counters.offer(0, 0)
    counters.start[0](0)
    counters.hold(0, 0)
    release(counters, 0, 0)
    assert counters.ready == [1]
    counters.admit(0, 2)
    assert counters.ready == [2]
    expect_counted(counters)


@pytest.mark.clause("FAIL-03")
def test_a_cell_in_backoff_that_waits_for_nothing_is_announced_when_it_is_released() -> None:
    counters = counters_of(2, C("a"))
    counters.start[0](1)
    counters.hold(0, 1)
    heard: list[int] = []
    counters.listen([heard.append])
    release(counters, 0, 1)
    assert heard == [1]
    expect_counted(counters)


@pytest.mark.clause("FAIL-03")
def test_only_a_barrier_node_in_backoff_is_released() -> None:
    counters = counters_of(4, C("b", traits=T.BATCH_BARRIER), batch_size=1)
    counters.start_barrier(0, 0)
    counters.start_barrier(0, 1)
    counters.resolve_barrier(0, 1)
    counters.start_barrier(0, 2)
    counters.hold_barrier(0, 2)
    for scope in range(4):
        counters.release_barrier(0, scope)
    assert list(counters.barriers[0]) == [RUNNING, DONE, READY, READY]
    expect_counted(counters)


@pytest.mark.clause("SCHED-13")
@pytest.mark.parametrize(
    ("dropped", "row", "before"), [((), 2, 1), ((0, 1, 3), 2, -1), ((1, 2), 3, 0), ((0,), 1, -1)]
)
def test_the_row_before_in_order_is_the_first_that_is_not_dropped(
    dropped: tuple[int, ...], row: int, before: int
) -> None:
    counters = counters_of(4, C("o", traits=T.ORDERED))
    for each in dropped:
        counters.drop(each)
    assert counters.row_in_turn(0, row) == before


# Barriers


@pytest.mark.clause("CKPT-07")
@pytest.mark.parametrize("seed", range(8))
def test_a_barrier_node_is_claimed_exactly_if_every_output_cell_is(seed: int) -> None:
    draw = random.Random(seed)
    counters = counters_of(6, C("b", traits=T.BATCH_BARRIER), batch_size=2)
    for _ in range(4):
        rows = {row for row in range(6) if draw.random() < 0.6}
        counters.restore((normal(ranges_of(sorted(rows))),))
        whole = [rows >= set(rows_of_node(counters, 0, scope)) for scope in range(3)]
        assert [counters.is_scope_claimed(0, scope) for scope in range(3)] == whole
        for scope in range(3):
            if not whole[scope]:
                run_node(counters, 0, scope)
        states = [counters.barrier_state(0, scope) for scope in range(3)]
        assert states == [CLAIMED if claimed else DONE for claimed in whole]


@pytest.mark.clause("BARR-06")
def test_a_barrier_does_not_read_a_row_of_which_any_input_was_skipped() -> None:
    counters = counters_of(4, C("a"), C("v"), C("b", traits=T.BARRIER, dependencies=["a", "v"]))
    counters.skip(0, 0)
    counters.skip(1, 2)
    assert counters.reads(2, 0) == ((1, 2), (3, 4))


@pytest.mark.clause("FAIL-08", "BARR-08")
def test_a_lost_barrier_node_whose_whole_output_stays_resolves_without_a_run() -> None:
    counters = counters_of(2, C("b", traits=T.BARRIER))
    run_node(counters, 0)
    counters.lose_barrier(0, 0, ((0, 2),))
    assert counters.barrier_state(0, 0) == DONE
    assert (0, 0) in counters.unrun
    expect_counted(counters)


@pytest.mark.clause("FAIL-08")
def test_output_that_a_checkpoint_claimed_is_not_lost_with_its_barrier_node() -> None:
    counters = counters_of(5, C("b", traits=T.BARRIER))
    counters.restore((normal([(0, 1), (2, 3), (4, 5)]),))
    run_node(counters, 0)
    counters.lose_barrier(0, 0, ())
    found = [counters.cells[0][row] for row in range(5)]
    assert found == [CLAIMED, LAST_WAIT, CLAIMED, LAST_WAIT, CLAIMED]
    expect_counted(counters)


@pytest.mark.clause("FAIL-08", "SKIP-01")
def test_output_that_is_to_be_skipped_waits_again_for_its_lost_barrier_node() -> None:
    counters = counters_of(3, C("a"), C("b", traits=T.BARRIER, dependencies=["a"]))
    counters.skip(0, 0)
    make(counters, 0, 1, 2)
    run_node(counters, 1)
    counters.lose_barrier(1, 0, ())
    expect_counted(counters)
    assert [counters.must_skip(1, row) for row in range(3)] == [True, False, False]


def ready_but_for_a_lost_input() -> Counters:
    """Three barriers have counted who wants them; then a cell that they read is lost."""
    counters = counters_of(
        4,
        C("a", may_skip=True),
        C("b", traits=T.BATCH_BARRIER, dependencies=["a"]),
        C("c", traits=T.BATCH_BARRIER, dependencies=["a"]),
        C("d", traits=T.BATCH_BARRIER, dependencies=["a"], propagate_skip=False),
        batch_size=2,
    )
    counters.drop(0)
    make(counters, 0, 1, 2, 3)
    counters.lose(0, 3)
    return counters


@pytest.mark.clause("BARR-08", "SKIP-01")
def test_a_skip_of_a_lost_cell_leaves_a_barrier_as_many_rows_as_still_want_it() -> None:
    counters = ready_but_for_a_lost_input()
    assert [counters.wanted(column, 1) for column in (1, 2, 3)] == [2, 2, 2]
    counters.skip(0, 3)
    assert [counters.wanted(column, 1) for column in (1, 2, 3)] == [1, 1, 2]
    assert [counters.wanted(column, 0) for column in (1, 2, 3)] == [1, 1, 1]
    expect_counted(counters)


@pytest.mark.clause("FAIL-08", "TRACK-06")
def test_a_row_of_which_a_lost_cell_is_skipped_is_complete_again() -> None:
    counters = counters_of(
        3, C("a", may_skip=True), C("b", dependencies=["a"], propagate_skip=False)
    )
    for column in (0, 1):
        make(counters, column, 0, 1)
    counters.lose(0, 0)
    assert counters.rows == 0
    counters.skip(0, 0)
    assert counters.rows == 2
    expect_counted(counters)


@pytest.mark.clause("TRACK-13")
def test_output_that_is_to_be_skipped_is_not_ready_any_more() -> None:
    """Marks came out of order: the barrier node ran before its inputs were skipped."""
    counters = counters_of(2, C("a"), C("v"), C("b", traits=T.BARRIER, dependencies=["a", "v"]))
    counters.resolve_barrier(2, 0)
    assert counters.ready == [2, 2, 2]
    counters.skip(0, 0)
    assert counters.ready == [1, 2, 1]
    counters.skip(1, 0)
    assert counters.ready == [1, 1, 1]
    assert (counters.must_skip(2, 0), counters.must_skip(2, 1)) == (True, False)


@pytest.mark.clause("FAIL-08", "TRACK-06")
@pytest.mark.parametrize("rows", [1, 2])
def test_a_row_of_which_a_lost_cell_is_made_again_is_complete_again(rows: int) -> None:
    counters = counters_of(2, C("a"), C("b", dependencies=["a"]))
    for column in (0, 1):
        make(counters, column, *range(rows))
    counters.lose(0, 0)
    assert counters.rows == 0
    make(counters, 0, 0)
    assert counters.rows == rows
    expect_counted(counters)


@pytest.mark.clause("BARR-02")
def test_all_that_waits_for_output_is_ready_once_it_is_given() -> None:
    counters = counters_of(
        3,
        C("b", traits=T.BARRIER),
        *(C(name, dependencies=["b"]) for name in "cd"),
        *(C(name, traits=T.BARRIER, dependencies=["b"]) for name in "ef"),
    )
    counters.start_barrier(0, 0)
    counters.resolve_barrier(0, 0)
    counters.resolve_range(0, 0, 2)
    expect_counted(counters)
    counters.resolve_range(0, 2, 3)
    expect_counted(counters)


@pytest.mark.clause("CKPT-08", "CKPT-15")
def test_claimed_rows_behind_a_gap_wait_for_no_barrier_node() -> None:
    counters = counters_of(4, C("b", traits=T.BATCH_BARRIER), batch_size=2)
    counters.restore((normal([(0, 1), (2, 3)]),))
    run_node(counters, 0, 0)
    assert counters.prefix(0) == 3
    expect_counted(counters)


@pytest.mark.clause("FAIL-08", "TRACK-06")
def test_rows_behind_output_that_was_kept_count_as_far_as_their_barrier_nodes_ran() -> None:
    counters = counters_of(
        6, C("a"), C("b", traits=T.BATCH_BARRIER, dependencies=["a"]), batch_size=2
    )
    make(counters, 0, *range(6))
    for scope in (0, 1):
        run_node(counters, 1, scope)
    counters.lose(0, 0)
    counters.lose_barrier(1, 0, ((0, 2),))
    counters.lose_barrier(1, 1, ((2, 3),))
    assert counters.prefix(1) == 3
    run_node(counters, 1, 1)
    for row in (4, 5):
        counters.resolve[1](row)
    assert counters.prefix(1) == 4


# Marks in any order


@pytest.mark.clause("CKPT-13")
def test_of_output_that_was_all_marked_early_the_rows_of_finished_nodes_are_claimed() -> None:
    counters = counters_of(8, C("b", traits=T.BATCH_BARRIER), batch_size=2)
    for row in range(8):
        counters.resolve[0](row)
    for scope in (0, 2):
        counters.resolve_barrier(0, scope)
    assert counters.claimable() == (((0, 2), (4, 6)),)


@pytest.mark.clause("BARR-08", "TRACK-06")
def test_a_barrier_node_is_wanted_by_its_own_rows_whatever_was_marked_early() -> None:
    counters = counters_of(6, C("b", traits=T.BATCH_BARRIER), batch_size=2)
    for row in (0, 1, 2, 5):
        counters.resolve[0](row)
    assert [counters.wanted(0, scope) for scope in range(3)] == [2, 2, 2]


@pytest.mark.clause("BARR-08", "CKPT-08", "CKPT-13", "TRACK-06")
@pytest.mark.parametrize("seed", range(40))
def test_output_that_is_marked_early_counts_once_its_barrier_node_is_resolved(seed: int) -> None:
    draw = random.Random(seed)
    total = draw.randint(4, 9)
    counters = counters_of(
        total,
        C("a"),
        C("v"),
        C("b", traits=T.BATCH_BARRIER, dependencies=["a", "v"], propagate_skip=draw.random() < 0.8),
        C("c", dependencies=["v", "b"]),
        batch_size=draw.randint(2, 3),
    )
    columns, plain = counters.rules.columns, Recount(counters)
    claim: list[set[int]] = []
    density = draw.choice((0.0, 0.4, 0.7))
    for rule in columns:
        rows = {row for row in range(total) if draw.random() < density}
        claim.append(rows.intersection(*(claim[need] for need in rule.needs)))
    counters.restore(tuple(normal(ranges_of(sorted(rows))) for rows in claim))
    cells = [(column, row) for column in range(4) for row in range(total)]
    nodes = range(counters.rules.scope_count(2))
    for _ in range(3 * total):
        column, row = draw.choice(cells)
        scope = draw.choice(nodes)
        chance = draw.random()
        if chance < 0.65 and not counters.is_resolved(column, row):
            counters.resolve[column](row)
        elif chance < 0.75 and not counters.is_resolved(column, row):
            counters.skip(column, row)
        elif chance < 0.8 and row not in counters.dropped:
            counters.drop(row)
        elif chance < 0.9 and not counters.is_barrier_resolved(2, scope):
            counters.resolve_barrier(2, scope)
        elif chance > 0.9 and counters.barrier_state(2, scope) == DONE:
            rows = set(rows_of_node(counters, 2, scope))
            kept = {each for each in rows if draw.random() < 0.3}
            counters.lose_barrier(2, scope, ranges_of(sorted(kept)))
        for rule in columns:
            assert counters.prefix(rule.index) == plain.prefix(rule), rule.name
        for each in nodes:
            if not counters.is_barrier_resolved(2, each) and draw.random() < 0.3:
                assert counters.wanted(2, each) == plain.wanted(columns[2], each)
    found = [set(rows_of(spans(rows))) for rows in counters.claimable()]
    for rule in columns:
        rows = {row for row in range(total) if plain.counts(rule, row)}
        assert found[rule.index] == rows.intersection(*(found[need] for need in rule.needs))


# Restores


@pytest.mark.clause("SKIP-01", "TRACK-14")
def test_after_a_restore_each_cell_that_is_to_be_skipped_is_announced() -> None:
    counters = counters_of(3, C("a"), C("v"), C("b", dependencies=["a", "v"]))
    old, new = Listener(), Listener()
    counters.listen(on_skip=old.is_to_be_skipped)
    counters.restore((3, 3, 0), None, {0: RowSet(3, [0]), 1: RowSet(3, [2])})
    expected = [("to be skipped", 2, row) for row in (0, 2)]
    assert old.heard == expected
    counters.listen(on_skip=new.is_to_be_skipped)
    counters.announce_all()
    assert new.heard == expected


@pytest.mark.clause("CKPT-15", "SCHED-13")
@pytest.mark.parametrize("behind", [(), (2,), (2, 3), (2, 3, 4)])
def test_after_a_restore_a_turn_passes_over_all_rows_that_were_dropped_and_claimed(
    behind: tuple[int, ...],
) -> None:
    counters = counters_of(6, C("o", traits=T.ORDERED))
    claim = normal(ranges_of([0, *behind]))
    counters.restore((claim,), RowSet(6, [1, *behind]))
    assert list(counters.iter_rows(0, READY)) == [2 + len(behind)]
    assert not counters.is_behind(0, 2 + len(behind))
    expect_counted(counters)


@pytest.mark.clause("CKPT-07", "CKPT-15", "SCHED-13")
@pytest.mark.parametrize("rows", [(1,), (1, 2), (2,), (1, 3), (3,), (0,), (0, 1, 2, 3)])
@pytest.mark.parametrize("claim", [(0, 0), (1, 1), (2, 0), (2, 1)])
def test_after_a_restore_nothing_waits_for_cells_of_dropped_rows(
    claim: tuple[int, int], rows: tuple[int, ...]
) -> None:
    counters = counters_of(
        4,
        C("a"),
        C("o", traits=T.ORDERED, dependencies=["a"]),
        C("c", dependencies=["a"]),
        C("b", traits=T.BARRIER, dependencies=["a", "o"]),
        C("v", traits=T.BATCH_BARRIER, dependencies=["a"]),
        C("w", traits=T.BATCH_BARRIER | T.ORDERED, dependencies=["a"]),
        batch_size=2,
    )
    counters.restore((*claim, *[claim[1]] * 4), RowSet(4, rows))
    expect_counted(counters)
