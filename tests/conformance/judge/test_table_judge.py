"""A table is judged by its values alone: every mistake in it shows there."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import cellspec.conformance.judge.expected_table as expected_table_module
import cellspec.conformance.judge.table_judge as table_judge_module
import cellspec.conformance.run.values as values_module
from cellspec import ColumnDescriptor, ExecutionTraits, FailurePolicy
from cellspec.conformance import SKIPPED, Fault, RunResult, Table, Value, Workload, run_workload
from cellspec.conformance.judge.expected_table import expected_table
from cellspec.conformance.judge.table_judge import TableJudge, TableViolation
from cellspec.conformance.run.values import Registry, barrier_value, barrier_values, value_of
from tests.tiny import TinyAsync
from tests.workloads import workloads

T = ExecutionTraits
A, B = ColumnDescriptor("a"), ColumnDescriptor("b", dependencies=["a"])
V = ColumnDescriptor("v", traits=T.BARRIER, dependencies=["a"])
C = ColumnDescriptor("c", dependencies=["v"])
S = ColumnDescriptor("s", dependencies=["a"], may_skip=True)
D = ColumnDescriptor("d", dependencies=["s"])
U = ColumnDescriptor("u", traits=T.BARRIER, dependencies=["s"])

Cells = dict[int, dict[str, Value]]


def run(work: Workload) -> RunResult:
    result = run_workload(TinyAsync(), work)
    assert not result.violations, result.violations
    return result


def judge(
    work: Workload,
    table: Table,
    calls: Registry,
    outcome: str = "success",
    *,
    dropped: Container[int] | None = None,
    after_crash: bool = False,
) -> TableViolation | None:
    tables = TableJudge(work, calls)
    if after_crash:
        assert tables.judge(0, Table({}), "crash") is None
    return tables.judge(int(after_crash), table, outcome, dropped=dropped)


def cells_of(table: Table) -> Cells:
    return {row: dict(cells) for row, cells in table.rows.items()}


# Values

names = st.text("abc", min_size=1, max_size=2)
inputs = st.dictionaries(names, st.text("xyz", max_size=2), max_size=3)
reads = st.lists(st.tuples(st.integers(0, 3), inputs), max_size=3)


@given(st.lists(st.tuples(names, st.integers(0, 3), inputs), max_size=8))
def test_a_value_depends_on_its_column_its_row_and_its_inputs(
    cells: list[tuple[str, int, dict[str, str]]],
) -> None:
    different = {repr((name, row, sorted(mine.items()))) for name, row, mine in cells}
    assert len({value_of(*cell) for cell in cells}) == len(different)


@given(st.lists(st.tuples(names, st.integers(0, 3), reads), max_size=8))
def test_a_barriers_value_tells_all_that_it_read_in_order(
    runs: list[tuple[str, int, list[tuple[int, dict[str, str]]]]],
) -> None:
    different = {
        repr((name, row, [(r, sorted(mine.items())) for r, mine in read]))
        for name, row, read in runs
    }
    assert len({barrier_value(*each) for each in runs}) == len(different)


def test_values_are_the_same_on_every_machine() -> None:
    assert value_of("a", 3, {"b": "1", "c": "2"}) == "a.3.9a9b99ccaec6"
    assert value_of("a", 3, {"c": "2", "b": "1"}) == value_of("a", 3, {"b": "1", "c": "2"})
    assert barrier_value("v", 0, [(0, {"a": "1"}), (1, {})]) == "v.0.e6823941bd15"


# What a run must end with


def test_a_row_that_fails_for_good_is_dropped_and_one_that_may_be_tried_again_is_not() -> None:
    faults = (
        Fault("a", 0, 1, "retryable"),
        Fault("a", 1, 1, "permanent"),
        *(Fault("a", 2, call, "retryable") for call in (1, 2)),
        Fault("a", 3, 1, "backpressure"),
        Fault("a", 3, 2, "retryable"),
        *(Fault("a", 4, call, "backpressure") for call in (1, 2, 3)),
    )
    work = Workload((A,), 5, faults=faults, failures=FailurePolicy(max_attempts=2))
    assert expected_table(work, 5).dropped == frozenset({1, 2})


def test_a_barrier_that_fails_for_good_drops_the_rows_that_want_its_output() -> None:
    work = Workload((S, A, U), 3, faults=(Fault("u", 0, failure="permanent"),), skips=(("s", 1),))
    expected = expected_table(work, 3)
    assert expected.dropped == frozenset({0, 2})
    assert expected.rows[1]["u"] is SKIPPED


def test_a_cell_that_is_skipped_does_not_fail() -> None:
    work = Workload(
        (A, S, D),
        2,
        skips=(("s", 0),),
        faults=tuple(Fault(name, 0, failure="permanent") for name in "sd"),
    )
    expected = expected_table(work, 2)
    assert expected.dropped == frozenset()
    assert (expected.rows[0]["s"], expected.rows[0]["d"]) == (SKIPPED, SKIPPED)


def test_a_skip_stops_at_a_column_that_does_not_propagate_it() -> None:
    deaf = ColumnDescriptor("d", dependencies=["s"], propagate_skip=False)
    expected = expected_table(Workload((A, S, deaf), 1, skips=(("s", 0),)), 1)
    assert expected.rows[0]["d"] == value_of("d", 0, {})


def test_a_barrier_reads_the_rows_of_its_scope_that_are_left() -> None:
    batched = ColumnDescriptor("w", traits=T.BATCH_BARRIER, dependencies=["s"])
    work = Workload(
        (A, S, batched),
        5,
        batch_size=3,
        skips=(("s", 2),),
        faults=(Fault("a", 1, failure="permanent"),),
    )
    rows = expected_table(work, 5).rows
    first = [(0, {"s": value_of("s", 0, {"a": value_of("a", 0, {})})})]
    assert rows[0]["w"] == barrier_value("w", 0, first)
    assert rows[2]["w"] is SKIPPED
    last = [(row, {"s": value_of("s", row, {"a": value_of("a", row, {})})}) for row in (3, 4)]
    assert rows[4]["w"] == barrier_value("w", 4, last)


@pytest.mark.parametrize(
    ("failing", "resumed", "is_open"),
    [
        ("a", False, False),  # before the barrier: it never reads the row
        ("b", False, True),  # beside it: it may
        ("c", False, False),  # after it: it has
        ("c", True, True),  # after it, and it may run again without the row
        ("a", True, False),
        ("v", True, False),
    ],
)
def test_a_value_is_open_exactly_if_a_drop_may_come_before_or_after_it_is_read(
    failing: str, resumed: bool, is_open: bool
) -> None:
    work = Workload((A, B, V, C), 3, faults=(Fault(failing, 0, failure="permanent"),))
    rows = expected_table(work, 3, resumed=resumed).rows
    for cells in rows.values():
        assert {name for name, value in cells.items() if value is None} == (
            {"v", "c"} if is_open else set()
        )


def test_no_table_is_expected_where_a_failure_takes_the_rest_of_a_range_with_it() -> None:
    stream = ColumnDescriptor("a", traits=T.ROW_STREAMABLE)
    work = Workload((stream,), 3, faults=(Fault("a", 1, failure="permanent"),))
    assert expected_table(work, 3).dropped == frozenset({1})
    assert expected_table(work, 3, ranged=["a"]).dropped is None
    harmless = work.replace(faults=(Fault("a", 1),), failures=FailurePolicy(max_attempts=2))
    assert expected_table(harmless, 3, ranged=["a"]).dropped == frozenset()


@given(st.sampled_from(["core", "ordered", "drops", "skips", "retries"]).flatmap(workloads))
def test_a_right_engine_ends_with_the_expected_table(work: Workload) -> None:
    assume(work.failures.stop_window is None)
    result = run(work)
    (table,) = result.tables
    expected = expected_table(work, work.rows)
    assert table.dropped == expected.dropped
    for row, cells in expected.rows.items():
        for name, value in cells.items():
            assert value is None or table.rows[row][name] == value


# The judge

WORK = Workload(
    (A, S, D, V, C),
    4,
    faults=(Fault("a", 1, failure="permanent"),),
    skips=(("s", 2),),
)


Change = Callable[[Cells], object]


def altered(change: Change) -> TableViolation | None:
    result = run(WORK)
    (table,) = result.tables
    cells = cells_of(table)
    change(cells)
    return judge(WORK, replace(table, rows=cells), result.calls)


def swap(name: str, one: int, two: int) -> Change:
    def change(cells: Cells) -> None:
        cells[one][name], cells[two][name] = cells[two][name], cells[one][name]

    return change


def put(row: int, name: str, value: object) -> Change:
    return lambda cells: cells[row].update({name: value})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("change", "clause", "detail"),
    [
        pytest.param(
            lambda cells: cells[0].pop("d"),
            "TABLE-01",
            "row 0 is durable without a cell in 'd'",
            id="a cell is missing",
        ),
        pytest.param(
            put(0, "d", None), "TABLE-01", "d[0] holds None: no value and no skip mark", id="None"
        ),
        pytest.param(
            put(3, "zzz", "1"), "TABLE-01", "row 3 holds a column 'zzz' that is none", id="a column"
        ),
        pytest.param(
            lambda cells: cells.pop(3),
            "TABLE-04",
            "success, but row 3 is neither durable nor dropped",
            id="a row is lost",
        ),
        pytest.param(
            lambda cells: cells.update({7: cells[0]}),
            "TABLE-04",
            "storage holds row 7, but the run has 4 rows",
            id="a row too many",
        ),
        pytest.param(
            lambda cells: cells.update({1: cells[0]}),
            "TABLE-04",
            "row 1 is durable and dropped",
            id="a dropped row comes back",
        ),
        pytest.param(
            put(0, "a", "a.0.made-up"),
            "TABLE-02",
            "a[0] holds 'a.0.made-up': no call made it",
            id="a value that nobody made",
        ),
        pytest.param(swap("a", 0, 3), "TABLE-02", "it was made for a[3]", id="rows change places"),
        pytest.param(swap("d", 0, 3), "TABLE-02", "it was made for d[3]", id="cells change places"),
        pytest.param(
            swap("v", 0, 3), "TABLE-03", "a run of 'v' gave it to row 3", id="outputs change places"
        ),
        pytest.param(
            put(0, "v", "v.0.made-up"),
            "TABLE-03",
            "v[0] holds 'v.0.made-up': no run of 'v' gave it to this row",
            id="an output that no run gave",
        ),
        pytest.param(
            put(0, "c", SKIPPED),
            "TABLE-08",
            "c[0] is skipped, and has no reason to be",
            id="a skip without a reason",
        ),
        pytest.param(
            lambda cells: cells[2].update(d=value_of("d", 2, {})),
            "TABLE-02",
            "no call made it",
            id="a cell that should be skipped",
        ),
    ],
)
def test_each_thing_that_can_be_wrong_in_a_table_has_its_clause(
    change: Change, clause: str, detail: str
) -> None:
    broken = altered(change)
    assert broken is not None
    assert (broken.clause, detail in broken.detail) == (clause, True), broken


def test_the_table_of_a_right_run_breaks_no_clause() -> None:
    assert altered(lambda _: None) is None


def test_a_value_that_stands_beside_another_than_it_was_made_from_is_stale() -> None:
    result = run(WORK)
    cells = cells_of(result.tables[0])
    stale = value_of("d", 0, {"s": "s.0.older"})
    result.calls.add_cell(0, "d", 0, {"s": "s.0.older"}, stale)
    cells[0]["d"] = stale
    broken = judge(WORK, replace(result.tables[0], rows=cells), result.calls)
    assert broken is not None
    assert broken.clause == "TABLE-02"
    assert "made from 's.0.older' of 's', but 's.0." in broken.detail


def test_an_output_of_a_run_that_read_other_values_than_stand_there_is_stale() -> None:
    result = run(WORK)
    cells = cells_of(result.tables[0])
    read = [(row, {"a": f"a.{row}.older"}) for row in (0, 2, 3)]
    values = {row: barrier_value("v", row, read) for row, _ in read}
    result.calls.add_barrier(0, "v", 0, read, values)
    cells[3]["v"] = values[3]
    broken = judge(WORK, replace(result.tables[0], rows=cells), result.calls)
    assert broken is not None
    assert broken.clause == "TABLE-03"
    assert "the run read 'a.0.older' in a[0]" in broken.detail


def test_a_row_that_storage_holds_twice_is_found() -> None:
    result = run(WORK)
    records = [*result.tables[0].rows.items(), (3, result.tables[0].rows[3])]
    twice = Table.from_records(records, result.tables[0].dropped)
    broken = judge(WORK, twice, result.calls)
    assert broken == TableViolation("TABLE-01", "storage holds row 3 more than once")


@pytest.mark.parametrize(
    ("dropped", "detail"),
    [
        (frozenset(), "success, but row 1 is neither durable nor dropped"),
        (frozenset({1, 9}), "storage holds row 9, but the run has 4 rows"),
    ],
)
def test_drops_that_are_missing_or_of_no_row_are_found(
    dropped: frozenset[int], detail: str
) -> None:
    result = run(WORK)
    broken = judge(WORK, replace(result.tables[0], dropped=dropped), result.calls)
    assert broken == TableViolation("TABLE-04", detail)


def test_a_row_that_is_dropped_without_a_reason_is_found() -> None:
    result = run(WORK)
    cells = cells_of(result.tables[0])
    del cells[3]
    table = Table(cells, frozenset({1, 3}))
    broken = judge(WORK, table, result.calls, dropped={1})
    assert broken == TableViolation(
        "TABLE-07", "row 3 counts as dropped in the table, and the run did not drop it"
    )
    after_crash = judge(WORK, table, result.calls, after_crash=True)
    assert after_crash == TableViolation(
        "TABLE-06", "row 3 is dropped; a run without a crash does not drop it"
    )


@given(workloads("skips", beside=["core", "drops", "retries"]), st.data())
def test_no_single_cell_of_a_final_table_can_be_changed_unseen(
    work: Workload, data: st.DataObject
) -> None:
    assume(work.failures.stop_window is None)
    result = run(work)
    cells = cells_of(result.tables[0])
    assume(cells)
    row = data.draw(st.sampled_from(sorted(cells)), "row")
    name = data.draw(st.sampled_from(sorted(cells[row])), "column")
    others: list[Value | None] = [
        value for other in cells.values() for value in other.values() if value != cells[row][name]
    ]
    value = data.draw(st.sampled_from([None, SKIPPED, "made up", *others]), "value")
    assume(value != cells[row][name])
    cells[row][name] = value  # type: ignore[assignment]
    assert judge(work, replace(result.tables[0], rows=cells), result.calls) is not None


# Over the incarnations


def incarnations(
    before: Table,
    after: Table,
    *,
    claim: Mapping[str, int] | None,
    faults: Sequence[Fault] = (),
    by_column: bool = False,
) -> TableViolation | None:
    work = Workload((A, B), 3, crashes=(1,), faults=tuple(faults))
    judge = TableJudge(work, calls_of_ab(), by_column=by_column)
    assert judge.judge(0, before, "crash", claim) is None
    return judge.judge(1, after, "crash", claim)


def calls_of_ab() -> Registry:
    calls = Registry()
    for row in range(3):
        for version in ("", "x"):
            a = value_of("a", row, {"older": version} if version else {})
            calls.add_cell(0, "a", row, {}, a)
            calls.add_cell(0, "b", row, {"a": a}, value_of("b", row, {"a": a}))
    return calls


def ab(*rows: int, version: str = "", dropped: Sequence[int] = ()) -> Table:
    cells = {}
    for row in rows:
        a = value_of("a", row, {"older": version} if version else {})
        cells[row] = {"a": a, "b": value_of("b", row, {"a": a})}
    return Table(cells, frozenset(dropped))


TWO = {"a": 2, "b": 2}


def test_claimed_rows_may_not_be_lost() -> None:
    assert incarnations(ab(0, 1, 2), ab(0, 1), claim=TWO) is None
    broken = incarnations(ab(0, 1), ab(0), claim=TWO)
    assert broken is not None
    assert broken.clause == "TABLE-05"
    assert broken.detail.startswith("a[1] was safe at the end of run 1 of the process as 'a.1.")
    assert broken.detail.endswith("at the end of run 2 of the process nothing stands there")


def test_claimed_cells_may_not_change() -> None:
    broken = incarnations(ab(0, 1), Table({**ab(0).rows, **ab(1, version="x").rows}), claim=TWO)
    assert broken is not None
    assert broken.clause == "TABLE-05"
    assert (
        incarnations(ab(0, 1), Table({**ab(0).rows, **ab(1, version="x").rows}), claim={}) is None
    )


def test_claimed_drops_may_not_be_forgotten() -> None:
    broken = incarnations(ab(0, dropped=[1]), ab(0, 1), claim=TWO)
    assert broken is not None
    assert broken.clause == "TABLE-05"
    assert "the drop of row 1 was safe" in broken.detail


def test_without_a_claim_rows_may_be_thrown_away_but_not_made_anew_to_another_value() -> None:
    assert incarnations(ab(0, 1), ab(0), claim=None) is None
    broken = incarnations(ab(0, 1), ab(0, 1, version="x"), claim=None)
    assert broken is not None
    assert broken.clause == "TABLE-05"
    racing = (Fault("b", 2, failure="permanent"),)
    assert incarnations(ab(0, 1), ab(0, 1, version="x"), claim=None, faults=racing) is None


def test_a_row_may_be_half_there_only_where_columns_are_claimed_one_by_one() -> None:
    half = Table({0: {"a": value_of("a", 0, {})}})
    assert incarnations(half, half, claim={"a": 1}, by_column=True) is None
    work = Workload((A, B), 3, crashes=(1,))
    broken = TableJudge(work, calls_of_ab()).judge(0, half, "crash")
    assert broken == TableViolation("TABLE-01", "row 0 is durable without a cell in 'b'")


def test_the_input_of_an_earlier_incarnation_counts_as_far_as_it_was_claimed() -> None:
    work = Workload((A, V), 2, crashes=(1,))
    old = {row: f"a.{row}.old" for row in range(2)}
    new = {0: old[0], 1: "a.1.new"}
    calls = Registry()
    for row in range(2):
        calls.add_cell(0, "a", row, {}, old[row])
        calls.add_cell(1, "a", row, {}, new[row])
    read = [(row, {"a": old[row]}) for row in range(2)]
    calls.add_barrier(0, "v", 0, read, {0: "v.0.old", 1: "v.1.old"})
    first: Cells = {0: {"a": old[0], "v": "v.0.old"}}
    for safe, clause in ((1, None), (2, "TABLE-03")):
        judge = TableJudge(work, calls, by_column=True, waive=["TABLE-05"])
        before = Table({**first, 1: {"a": old[1]}})
        assert judge.judge(0, before, "crash", {"a": safe, "v": 1}) is None
        broken = judge.judge(1, Table({**first, 1: {"a": new[1]}}), "crash", {"a": safe, "v": 1})
        assert (broken.clause if broken else None) == clause


def test_two_runs_may_mix_in_a_scope_that_another_target_changed() -> None:
    work = Workload((A, V), 2, targets=(2, 3), keep=True)
    result = run_workload(TinyAsync(), work)
    assert result.violations == []
    assert [len(table.rows) for table in result.tables] == [2, 3]
    kept, grown = result.tables
    assert kept.rows[0]["v"] == grown.rows[0]["v"]


def test_a_row_beyond_a_smaller_target_may_be_kept_in_a_scope_that_grows_later() -> None:
    w = ColumnDescriptor("w", traits=T.BATCH_BARRIER)
    work = Workload((w,), 6, batch_size=5, crashes=(9, 1), targets=(6, 5, 9), keep=True)
    calls, cells = Registry(), Cells()
    for incarnation, scope, rows in ((0, 0, range(5)), (0, 1, range(5, 6)), (2, 1, range(5, 9))):
        reads: list[tuple[int, dict[str, Value]]] = [(row, {}) for row in rows]
        given = barrier_values("w", list(rows), reads)
        calls.add_barrier(incarnation, "w", scope, reads, given)
        cells |= {row: {"w": value} for row, value in given.items() if row not in cells}
    before = Table({row: cells[row] for row in range(6)})
    judge = TableJudge(work, calls)
    assert judge.judge(0, before, "crash", {"w": 6}) is None
    assert judge.judge(1, before, "crash", {"w": 6}) is None
    assert judge.judge(2, Table(cells), "success", {"w": 9}) is None


def test_a_clause_that_is_waived_is_not_judged() -> None:
    judge = TableJudge(WORK, Registry(), waive=[f"TABLE-0{number}" for number in range(1, 7)])
    assert judge.judge(0, Table({9: {}}), "success") is None


# Independence


@pytest.mark.parametrize("module", [expected_table_module, table_judge_module, values_module])
def test_the_table_judge_shares_no_code_with_the_modules_that_engines_are_built_on(
    module: ModuleType,
) -> None:
    allowed = {
        "cellspec.graph.columns",
        "cellspec.conformance.judge.expected_table",
        "cellspec.conformance.run.values",
        "cellspec.conformance.run.workload",
        "cellspec.rejected",
        "cellspec.skipped",
        # It spells counts in messages, and knows nothing of rows or values.
        "cellspec.text",
    }
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    imported = {
        name
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    ours = {name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names}
    assert ours <= allowed
    # A workload makes graphs, and the judge must not ask it for one.
    asked = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not asked & {"graph", "rules"}
