"""The explorer: its counts are derived, it agrees with the machine, and it finds broken rules.

Counts of whole bounds are on ``specs/exploration.md``; here are the closed forms, the graphs of
bounds 0, and everything that takes less than a second.
"""

from __future__ import annotations

import itertools
import json
from math import comb
from pathlib import Path
from typing import Any

import pytest

from cellspec.check.checker import check_file
from cellspec.clauses import clause_set_data
from cellspec.errors import SpecError, Violation
from cellspec.explore import bounds
from cellspec.explore.actions import actions_of, machine_for
from cellspec.explore.bounds import BOUNDS, Configuration, Progress, Totals, explore, search_for
from cellspec.explore.counterexamples import counterexample_lines, explain_path
from cellspec.explore.equivalence import Difference, check_equivalence
from cellspec.explore.invariants import Invariants
from cellspec.explore.page import compare_page, pinned
from cellspec.explore.pipelines import KINDS, Shape, all_shapes, distinct_shapes, parse_shape
from cellspec.explore.relation import Faults, Relation
from cellspec.explore.search import SearchResult
from cellspec.explore.steps import Step
from cellspec.explore.symmetry import may_reduce
from cellspec.graph.nodes import BarrierNodeId
from cellspec.machine.machine import Machine
from sim.cli import main
from tests.explore.mutants import MUTANTS, Mutant, RestoresEveryBarrier, mutant_table, search_of
from tests.oracles import Definition

pytestmark = pytest.mark.invariant

PAGE = Path(__file__).parents[2] / "specs" / "exploration.md"
CHAIN = "a v:barrier(a) c(v)"


def found(line: str, rows: int, batch: int | None = None, **faults: Any) -> SearchResult:
    return search_for(parse_shape(line).graph(rows, batch), Faults(**faults)).run()


def states(line: str, rows: int, batch: int | None = None, **faults: Any) -> int:
    return found(line, rows, batch, **faults).states


def chain(columns: int) -> str:
    names = "abcdef"[:columns]
    return " ".join(name + (f"({names[at - 1]})" if at else "") for at, name in enumerate(names))


# Closed forms; each is derived in specs/exploration.md


SIZES = list(itertools.product((1, 2, 3), (1, 2, 3)))


@pytest.mark.parametrize(("columns", "rows"), SIZES)
def test_rows_of_a_chain_are_independent(columns: int, rows: int) -> None:
    assert states(chain(columns), rows) == (2 * columns + 1) ** rows


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_a_barrier_parts_the_states_in_two(rows: int) -> None:
    assert states("a v:barrier(a)", rows) == 2 * 3**rows + 1
    assert states(CHAIN, rows) == 3**rows + 1 + 5**rows


def test_batches_are_independent() -> None:
    assert states("a v:batch(a)", 4, 2) == (2 * 3**2 + 1) ** 2
    assert states("a v:batch(a)", 3, 2) == (2 * 3**2 + 1) * (2 * 3 + 1)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_an_ordered_column_is_one_line(rows: int) -> None:
    assert states("a:row+ordered", rows) == 2 * rows + 1


@pytest.mark.parametrize(("columns", "rows", "workers"), [(2, 3, 1), (2, 3, 2), (1, 4, 2)])
def test_workers_bound_the_calls_in_flight(columns: int, rows: int, workers: int) -> None:
    assert states(chain(columns), rows, workers=workers) == sum(
        comb(rows, busy) * columns**busy * (columns + 1) ** (rows - busy)
        for busy in range(workers + 1)
    )


@pytest.mark.parametrize("crashes", [1, 2, 3])
@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (1, 3), (2, 2), (2, 3), (3, 2)])
def test_a_chain_with_crashes(columns: int, rows: int, crashes: int) -> None:
    places = 2 * columns + 1
    before = comb(rows + 2, 2) + sum(
        2 * columns * places ** (rows - prefix - 1) * comb(prefix + 2, 2) for prefix in range(rows)
    )
    after = sum(places ** (rows - claimed) for claimed in range(rows + 1))
    assert states(chain(columns), rows, crashes=crashes) == crashes * before + after


@pytest.mark.parametrize(("columns", "rows"), [(1, 2), (2, 2), (2, 3)])
def test_retries_and_drops_of_a_chain(columns: int, rows: int) -> None:
    places = 2 * columns + 1
    assert states(chain(columns), rows, retries=2) == 3 * places**rows
    for drops in range(rows + 1):
        assert states(chain(columns), rows, drops=drops) == sum(
            comb(rows, lost) * places ** (rows - lost) for lost in range(drops + 1)
        )


@pytest.mark.parametrize(("columns", "rows"), SIZES)
def test_rows_that_are_alike_are_counted_once(columns: int, rows: int) -> None:
    search = search_for(parse_shape(chain(columns)).graph(rows), Faults(), symmetric=True)
    assert search.run().states == comb(2 * columns + rows, rows)


@pytest.mark.parametrize(
    ("columns", "rows", "groups"), [(1, 3, 1), (2, 3, 2), (1, 4, 2), (3, 2, 2)]
)
def test_row_groups_bound_the_rows_that_are_open(columns: int, rows: int, groups: int) -> None:
    assert states(chain(columns), rows, group_rows=1, groups=groups) == sum(
        comb(rows, open_) * (2 * columns) ** open_ * 2 ** (rows - open_)
        for open_ in range(min(groups, rows) + 1)
    )


# The page


def test_the_page_has_the_counts_of_single_graphs() -> None:
    rows = [(one, explore(one, Progress(None))) for one in BOUNDS[0]]
    assert compare_page(PAGE, 0, rows) == ""


def test_the_page_has_the_broken_rules() -> None:
    assert mutant_table() in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [1, 2, 3])
def test_the_page_has_a_line_for_each_configuration(name: int) -> None:
    lines = pinned(PAGE, name)
    assert len(lines) == len(BOUNDS[name])
    for one, line in zip(BOUNDS[name], lines, strict=True):
        assert line.startswith(f"| {one.columns} of {', '.join(one.kinds)} | {one.rows} |")
        assert f"| {one.rules()} |" in line


@pytest.mark.long
def test_the_page_has_the_counts_of_a_small_configuration_of_all_bounds() -> None:
    for name in (2, 3):
        for place, one in enumerate(BOUNDS[name]):
            if one.columns == 2 and not one.faults.drops:
                line = pinned(PAGE, name)[place]
                totals = explore(one, Progress(None))
                assert f"| {totals.states:,} | {totals.transitions:,} |" in line
                assert not totals.clause


# Which graphs


def test_every_graph_is_there() -> None:
    assert len(list(all_shapes(4, ("row", "barrier")))) == 2**6 * 2**4
    for columns in (1, 2, 3, 4):
        classes = distinct_shapes(columns, ("row", "barrier"))
        assert sum(classes.values()) == 2 ** (columns * (columns - 1) // 2) * 2**columns


def test_a_shape_is_read_as_it_is_written() -> None:
    for shape in all_shapes(3, ("row", "batch+ordered")):
        assert parse_shape(str(shape)) == shape


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "at least one column"),
        ("a b(c)", "needs 'c', which no column before is"),
        ("a a", "'a' is there twice"),
        ("a:wall", "unknown kind 'wall'"),
        ("a )", "expected columns as in"),
    ],
)
def test_a_line_that_is_no_graph_is_refused(line: str, why: str) -> None:
    with pytest.raises(SpecError, match=why):
        parse_shape(line)


@pytest.mark.parametrize(
    "faults", [{"crashes": 1}, {"crashes": 1, "versions": (1, 2)}, {"retries": 1, "drops": 1}]
)
def test_graphs_that_differ_in_names_only_have_the_same_counts(faults: dict[str, Any]) -> None:
    def counts(shape: Shape) -> tuple[int, int, int]:
        one = search_for(shape.graph(2), Faults(**faults)).run()
        return one.states, one.transitions, one.depth

    columns = 2 if "versions" in faults else 3
    orders = list(itertools.permutations(range(columns)))
    known: dict[Shape, tuple[int, int, int]] = {}
    for shape in all_shapes(columns, ("row", "barrier")):
        least = min(one for order in orders if (one := shape.renamed(order)) is not None)
        assert known.setdefault(least, counts(least)) == counts(shape)
    assert known.keys() == distinct_shapes(columns, ("row", "barrier")).keys()


# What is explored is what runs


def small(one: Configuration) -> bool:
    return explore(one, Progress(None)).transitions <= 1000


@pytest.mark.parametrize("one", [one for one in BOUNDS[0] if small(one)], ids=str)
def test_relation_and_machine_allow_the_same_steps(one: Configuration) -> None:
    graph = parse_shape(one.graph).graph(one.rows, one.batch)
    search = search_for(graph, one.faults)
    run = search.run()
    assert check_equivalence(search) == (run.states, run.transitions)


@pytest.mark.long
@pytest.mark.parametrize(
    "faults",
    [
        Faults(crashes=1, drops=1),
        Faults(crashes=1, versions=(1, 2, 3)),
        Faults(stops=1, versions=(3,)),
        Faults(losses=1),
    ],
    ids=str,
)
def test_relation_and_machine_agree_on_every_graph_of_two_columns(faults: Faults) -> None:
    for shape in distinct_shapes(2, ("row", "barrier")):
        check_equivalence(search_for(shape.graph(2), faults))


@pytest.mark.clause("CKPT-05", "CKPT-13")
@pytest.mark.parametrize("graph", ["a:row+ordered", "v:batch+ordered", "v:batch+ordered b(v)"])
def test_relation_and_machine_agree_on_claims_of_cells_in_order(graph: str) -> None:
    search = search_for(parse_shape(graph).graph(2, 1), Faults(crashes=1, versions=(3,)))
    run = search.run()
    assert run.clause == ""
    assert check_equivalence(search) == (run.states, run.transitions)


@pytest.mark.long
def test_the_states_with_claims_of_each_kind_are_counted() -> None:
    """3 columns × 2 rows, one crash."""
    counts = {}
    for versions in ((1,), (2,), (3,), (1, 2, 3)):
        one = Configuration(2, Faults(crashes=1, versions=versions), 3, ("row", "barrier"))
        counts[versions] = explore(one, Progress(None)).states
    assert counts == {(1,): 17_752, (2,): 91_058, (3,): 196_366, (1, 2, 3): 197_478}


@pytest.mark.long
@pytest.mark.clause("STOP-05", "STOP-06", "STOP-07")
def test_the_states_with_a_stop_are_counted() -> None:
    """3 columns × 2 rows, one stop on request, without a crash and with one."""
    counts = {}
    for crashes, versions in ((0, (1,)), (0, (2,)), (0, (3,)), (1, (1,))):
        faults = Faults(crashes=crashes, stops=1, versions=versions)
        totals = explore(Configuration(2, faults, 3, ("row", "barrier")), Progress(None))
        assert not totals.clause
        counts[crashes, versions] = totals.states
    assert counts == {(0, (1,)): 26_600, (0, (2,)): 153_929, (0, (3,)): 340_376, (1, (1,)): 54_680}


@pytest.mark.clause("STOP-05", "STOP-06", "STOP-07")
@pytest.mark.parametrize(
    ("graph", "rows", "faults"),
    [
        ("a b(a)", 2, Faults(stops=1, retries=1)),
        pytest.param("a b(a)", 2, Faults(stops=2, drops=1), marks=pytest.mark.long),
        pytest.param(
            "a v:barrier(a)",
            2,
            Faults(stops=1, crashes=1, torn=True, versions=(1, 2)),
            marks=pytest.mark.long,
        ),
        pytest.param(
            "a v:barrier(a) b(a)",
            1,
            Faults(stops=1, crashes=1, drops=1, versions=(2,)),
            marks=pytest.mark.long,
        ),
        ("a v:batch(a) b(v)", 2, Faults(stops=1, workers=1, versions=(3,))),
    ],
    ids=str,
)
def test_relation_and_machine_agree_on_a_stop(graph: str, rows: int, faults: Faults) -> None:
    search = search_for(parse_shape(graph).graph(rows, 1), faults)
    run = search.run()
    assert run.clause == ""
    assert check_equivalence(search) == (run.states, run.transitions)


@pytest.mark.long
@pytest.mark.clause("FAIL-08")
def test_the_states_with_a_lost_result_are_counted() -> None:
    """3 columns × 2 rows, one loss, without a crash and with one."""
    counts = {}
    for crashes, versions in ((0, (1,)), (1, (1,)), (1, (2,)), (1, (3,))):
        faults = Faults(crashes=crashes, losses=1, versions=versions)
        totals = explore(Configuration(2, faults, 3, ("row", "barrier")), Progress(None))
        assert not totals.clause
        counts[crashes, versions] = totals.states
    assert counts == {
        (0, (1,)): 39_496,
        (1, (1,)): 85_680,
        (1, (2,)): 345_724,
        (1, (3,)): 703_376,
    }


@pytest.mark.clause("FAIL-08", "CKPT-05")
@pytest.mark.parametrize(
    ("graph", "rows", "faults"),
    [
        ("a:row+ordered", 3, Faults(losses=2)),
        ("a v:barrier(a)", 2, Faults(losses=1, crashes=1)),
        ("a b(a)", 2, Faults(losses=1, crashes=1, versions=(2,))),
        ("a b(a)", 1, Faults(losses=2, stops=1, retries=1)),
        ("a v:batch(a) c(v)", 1, Faults(losses=1, crashes=1, versions=(1, 2, 3))),
    ],
    ids=str,
)
def test_relation_and_machine_agree_on_lost_results(graph: str, rows: int, faults: Faults) -> None:
    search = search_for(parse_shape(graph).graph(rows, 1), faults)
    run = search.run()
    assert run.clause == ""
    assert check_equivalence(search) == (run.states, run.transitions)


@pytest.mark.clause("FAIL-08")
def test_output_that_was_given_counts_although_its_barrier_is_lost() -> None:
    """v[0] is being given while its barrier is lost: it stays, and may be claimed."""
    search = search_for(parse_shape("a v:barrier(a)").graph(2), Faults(crashes=1, losses=1))
    names = [("start", 0), ("complete", 0), ("start", 2), ("complete", 2), ("start", 4)]
    names += [("complete", 4), ("start", 1), ("lose", 4), ("complete", 1)]
    state = search.start()
    for name in names:
        state = next(other for step, other in search.steps(state) if step[:2] == name)
    claims = [step.place for step, _ in search.steps(state) if step.kind == "checkpoint_begin"]
    assert [search.relation.claims[claim] for claim in claims] == [(1, 1)]
    assert explain_path(search, [Step(*name) for name in names])[-2] == (
        "a worker is lost, and with it the result of barrier v"
    )


def test_drops_leave_losses_out() -> None:
    with pytest.raises(SpecError, match="drops: not beside losses"):
        Faults(drops=1, losses=1)


def test_an_interruption_is_explained() -> None:
    search = search_for(parse_shape("a").graph(1), Faults(stops=1))
    path = [Step("stop_requested"), Step("interrupt", 0), Step("start", 0)]
    assert explain_path(search, path) == [
        "a stop is requested",
        "the run ends as interrupted, and the next process resumes from 0 rows",
        "a[0] starts",
    ]


def test_claims_of_cells_leave_drops_out() -> None:
    with pytest.raises(SpecError, match="drops: not beside version 3"):
        Faults(crashes=1, drops=1, versions=(3,))


@pytest.mark.long
@pytest.mark.clause("CKPT-17")
@pytest.mark.parametrize("versions", [(2,), (1, 2)])
@pytest.mark.parametrize(
    ("graph", "rows"),
    [
        ("a b(a)", 1),
        ("a b", 2),
        ("v:barrier b", 1),
        ("a v:barrier(a)", 2),
        ("a v:batch(a) b(a)", 1),
    ],
)
def test_relation_and_machine_agree_on_drops_of_rows_that_a_claim_of_columns_reaches(
    graph: str, rows: int, versions: tuple[int, ...]
) -> None:
    faults = Faults(crashes=1, drops=1, versions=versions)
    search = search_for(parse_shape(graph).graph(rows, rows), faults)
    run = search.run()
    assert run.clause == ""
    assert check_equivalence(search) == (run.states, run.transitions)


@pytest.mark.clause("CKPT-17")
def test_a_drop_after_a_claim_of_columns_was_begun_is_not_in_it() -> None:
    """One row: a resume from a claim of `a` alone has it dropped only if the drop came first."""
    graph = parse_shape("a b(a)").graph(1, None)
    relation = Relation(graph, Faults(crashes=1, drops=1, versions=(2,)))
    assert relation.drops_below((0, 0), 1) == 0
    without, held = relation.claim_index[(1, 0), 0], relation.claim_index[(1, 0), 1]
    row = 1 << 2 * relation.size
    assert not relation.restore(without, 1) & row
    assert relation.restore(held, 1) & row
    invariants = Invariants(graph, relation.claims, drops=relation.claim_drops)
    dropped = relation.restore(held, 1)
    assert invariants.restore(held, row, dropped) == ""
    assert invariants.restore(without, row, dropped) == "CKPT-06"
    assert invariants.restore(held, row, relation.restore(without, 1)) == "CKPT-06"


_OF_STEPS = ("SCHED-01", "BARR", "SCHED-13", "STOP", "FAIL", "GROUP")


@pytest.mark.parametrize(
    "mutant",
    [m for m in MUTANTS if m.clause.startswith(_OF_STEPS)],
    ids=lambda m: m.name,
)
def test_a_relation_that_is_wrong_differs_from_the_machine(mutant: Mutant) -> None:
    with pytest.raises(Difference):
        check_equivalence(search_of(mutant))


@pytest.mark.parametrize("batch", [2, 3])
def test_relation_and_invariants_agree_with_the_naive_definition(batch: int) -> None:
    """Three statements of the dependencies; the last shares no code with the others."""
    for shape in distinct_shapes(3, tuple(KINDS)):
        graph = shape.graph(3, batch)
        relation = Relation(graph, Faults())
        invariants = Invariants(graph, relation.claims)
        columns = [graph.get_column_descriptor(name) for name in graph.column_names]
        naive = Definition(3, columns, batch)
        assert set(relation.nodes) == set(naive.nodes())
        for place, node in enumerate(relation.nodes):
            waits = naive.dependencies(node) | naive.earlier(node)
            needs = sum(relation.bit[need] for need in waits)
            assert (
                relation.needs[place]
                == needs
                == invariants.required[place] | invariants.before[place]
            )
            scope = naive.scope(node) if isinstance(node, BarrierNodeId) else ()
            cells = [graph.cell_node(graph.rules.index[node.column], row) for row in scope]
            assert relation.outputs[place] == sum(relation.bit[cell] for cell in cells)


# What is broken is found, in the fewest steps


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_a_broken_rule_is_found_in_the_fewest_steps(mutant: Mutant) -> None:
    run = search_of(mutant).run()
    assert (run.clause, len(run.path)) == (mutant.clause, mutant.steps)
    correct = parse_shape(mutant.graph).graph(mutant.rows, mutant.batch)
    assert not search_for(correct, Faults(**mutant.faults)).run().clause


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_a_mutant_keeps_its_verdict_when_rows_are_exchanged(mutant: Mutant) -> None:
    if not may_reduce(search_of(mutant).relation):
        with pytest.raises(ValueError, match="not interchangeable"):
            search_of(mutant, symmetric=True)
        return
    whole, reduced = search_of(mutant).run(), search_of(mutant, symmetric=True).run()
    assert (whole.clause, whole.path) == (reduced.clause, reduced.path)


_REPLAYED = ("SCHED-0", "SCHED-13", "BARR-0", "CKPT-12", "STOP-05", "GROUP")


@pytest.mark.parametrize(
    "mutant",
    [m for m in MUTANTS if m.clause.startswith(_REPLAYED)],
    ids=lambda m: m.name,
)
def test_a_counterexample_replays_on_the_machine(mutant: Mutant, tmp_path: Path) -> None:
    search = search_of(mutant)
    run = search.run()
    actions = actions_of(search, run.path)
    machine = machine_for(search.relation)
    if mutant.name == "KeepsCallsOfTheDead":
        return  # the dead call would have to end: the state is wrong, not yet a step
    for action in actions[:-1]:
        machine.apply(action)
    with pytest.raises(Violation) as broken:
        machine.apply(actions[-1])
    assert broken.value.clause == mutant.clause
    case = tmp_path / "case.jsonl"
    case.write_text(counterexample_lines(search.relation, actions, "1"), encoding="utf-8")
    assert [finding.clause for finding in check_file(case).violations] == [mutant.clause]


def test_a_counterexample_is_explained_a_line_a_step() -> None:
    search = search_of(MUTANTS[0])
    assert MUTANTS[0].relation is RestoresEveryBarrier
    assert explain_path(search, search.run().path) == [
        "a[0] starts",
        "a[1] starts",
        "a[0] ends",
        "a[1] ends",
        "barrier v starts",
        "barrier v ends",
        "v[0] starts",
        "v[0] ends",
        "data is durable, and a claim of 1 row is begun",
        "the process dies, and resumes from 1 row, which had just become durable",
    ]


def test_a_waived_clause_shows_its_consequences() -> None:
    run = search_of(MUTANTS[0], waive=("CKPT-07",)).run()
    assert (run.clause, len(run.path)) == ("CKPT-06", 10)


# Stopping and going on


SMALL = Configuration(2, Faults(crashes=1), 2, ("row", "barrier"))


def test_a_search_that_was_stopped_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "explored.jsonl"
    progress = Progress(path)
    whole = explore(SMALL, progress)
    progress.close()
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    assert len(lines) == whole.classes
    path.write_text("".join(lines[:3]) + lines[3][:20], encoding="utf-8")
    progress = Progress(path, resume=True)
    assert len(progress.known) == 3
    assert explore(SMALL, progress) == whole
    progress.close()
    assert path.read_text(encoding="utf-8").splitlines(keepends=True) == lines


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "explored.jsonl"
    path.write_text("no\n", encoding="utf-8")
    with pytest.raises(SpecError, match="not what an explorer wrote"):
        Progress(path, resume=True)


def test_processes_change_nothing() -> None:
    assert explore(SMALL, Progress(None), jobs=2) == explore(SMALL, Progress(None))


# The command


def test_the_command_prints_the_same_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["explore", "--columns", "2", "--rows", "2"]
    assert main(arguments) == 0
    first = capsys.readouterr()
    assert main(arguments) == 0
    assert capsys.readouterr().out == first.out
    assert "no clause broke" in first.out
    assert "a second on one core" in first.err


def test_one_graph_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explore", "--graph", CHAIN, "--equivalence", "--format", "json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == {
        "states": 93,
        "transitions": 192,
        "depth": 20,
        "ends": 9,
        "clause": "",
        "clauses": clause_set_data(),
        "replayed": 192,
    }


def test_a_graph_from_a_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search = search_of(MUTANTS[0])
    path = tmp_path / "case.jsonl"
    path.write_text(counterexample_lines(search.relation, [], "1"), encoding="utf-8")
    assert main(["explore", "--graph", str(path), "--crashes", "0"]) == 0
    assert "states                   19" in capsys.readouterr().out


def test_a_broken_clause_is_explained_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bounds, "Relation", MUTANTS[1].relation)
    out = tmp_path / "out"
    assert main(["explore", "--columns", "3", "--crashes", "0", "--out", str(out)]) == 1
    text = capsys.readouterr().out
    assert "SCHED-01 breaks after" in text
    assert [item.clause for item in check_file(out / "case.jsonl").violations] == ["SCHED-01"]


def test_a_relation_that_differs_from_the_machine_is_a_mistake_of_ours_and_no_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Machine, "apply", lambda *_: None)
    assert main(["explore", "--graph", "a", "--lockstep"]) == 70
    assert "error: relation and machine disagree: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--graph", "a b(c)"], "needs 'c'"),
        (["--graph", "v:batch"], "batch_size is needed"),
        (["--graph", " ".join(f"c{i}" for i in range(26)), "--rows", "2"], "at most 40"),
        (["--columns", "2", "--kinds", "wall"], "unknown kind 'wall'"),
        (["--columns", "2", "--kinds", "batch"], "needs --batch"),
        (["--columns", "6"], "at most 5"),
        (["--rows", "3"], "--bounds brings its own rows"),
        (["--bounds", "4"], "invalid choice"),
        (["--tier", "4"], "invalid choice"),
        (["--resume"], "needs --out"),
        (["--symmetry"], "needs --graph"),
        (["--graph", "a", "--symmetry"], "rows are not alike"),
        (["--bounds", "0", "--page", "absent.md"], "cannot be read"),
    ],
)
def test_bad_usage_is_one_line(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explore", *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert why in lines[-1]
    assert lines[-1].startswith("error: ")


def test_totals_keep_the_first_failure() -> None:
    totals = Totals()
    totals.add("a", 1, SearchResult(1, 1, 1, 1, 1, clause="X-01"))
    totals.add("b", 1, SearchResult(1, 1, 1, 1, 1, clause="X-02"))
    assert (totals.clause, totals.shape) == ("X-01", "a")
