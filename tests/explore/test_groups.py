"""Row groups in the explorer: no dead end under GROUP-08, and each that the rule leaves out is one.

The relation admits a group if some order of admissions ends the run with all work done at once.
Here a search without that rule finds the dead ends, through every interleaving of starts, ends and
admissions; the machine, which decides by intervals of rows, allows the same steps as the relation.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from cellspec.errors import SpecError
from cellspec.explore.actions import actions_of
from cellspec.explore.bounds import Configuration, search_for
from cellspec.explore.counterexamples import explain_path
from cellspec.explore.equivalence import check_equivalence
from cellspec.explore.invariants import Invariants
from cellspec.explore.pipelines import parse_shape
from cellspec.explore.relation import Faults
from cellspec.explore.search import Search
from cellspec.explore.steps import State
from cellspec.graph.graph import ExecutionGraph
from tests.explore.mutants import MUTANTS, AdmitsInAnyOrder, Mutant, search_of

pytestmark = [pytest.mark.invariant, pytest.mark.clause("GROUP-08")]

ORDER = ("row", "row+ordered", "batch", "batch+ordered")
DEAD_ENDS = {mutant.name: mutant for mutant in MUTANTS if mutant.clause == "GROUP-08"}


def every(columns: int, rows: int, batch: int, size: int, groups: int) -> Configuration:
    """All graphs of so many columns, ordered ones and batches among them."""
    return Configuration(rows, Faults(group_rows=size, groups=groups), columns, ORDER, batch)


def successors(search: Search) -> dict[State, list[State]]:
    """Every state that is reached, with those one step away."""
    found: dict[State, list[State]] = {}
    todo = [search.start()]
    while todo:
        state = todo.pop()
        if state not in found:
            found[state] = [after for _, after in search.steps(state)]
            todo += found[state]
    return found


def without_the_rule(graph: ExecutionGraph, faults: Faults) -> Search:
    relation = AdmitsInAnyOrder(graph, faults)
    size, most = faults.group_rows, faults.groups
    return Search(relation, Invariants(graph, relation.claims, group_rows=size, groups=most))


def lead_on(steps: dict[State, list[State]], ends: Iterable[State]) -> set[State]:
    """The states from which some steps lead to an end."""
    before: dict[State, list[State]] = {state: [] for state in steps}
    for state, others in steps.items():
        for other in others:
            before[other].append(state)
    todo, found = list(ends), set(ends)
    while todo:
        new = [state for state in before[todo.pop()] if state not in found]
        found.update(new)
        todo += new
    return found


@pytest.mark.parametrize(
    ("one", "counts"),
    [
        (every(2, 4, 2, 1, 2), (6_695, 410, 6_285)),
        (every(2, 5, 1, 2, 1), (12_943, 233, 12_710)),
        (every(1, 6, 3, 1, 3), (3_315, 76, 3_239)),
        (every(1, 6, 3, 2, 2), (870, 5, 865)),
    ],
    ids=str,
)
def test_the_rule_leaves_out_exactly_the_dead_ends(
    one: Configuration, counts: tuple[int, int, int]
) -> None:
    """Counts: states without the rule, those of them that are dead ends, and states with it."""
    free = dead = lawful = 0
    for shape in one.shapes():
        graph = shape.graph(one.rows, one.batch)
        search = without_the_rule(graph, one.faults)
        steps, end = successors(search), (1 << graph.num_records * graph.num_columns) - 1
        good = lead_on(steps, [state for state in steps if state.base & end == end])
        kept, todo = set(), [search.start()]
        while todo:
            state = todo.pop()
            if state in good and state not in kept:
                kept.add(state)
                todo += steps[state]
        assert kept == successors(search_for(graph, one.faults)).keys(), shape
        free, dead, lawful = free + len(steps), dead + len(steps) - len(good), lawful + len(kept)
    assert (free, dead, lawful) == counts


@pytest.mark.parametrize("mutant", DEAD_ENDS.values(), ids=list(DEAD_ENDS))
def test_a_dead_end_is_a_state_from_which_no_step_ends_the_run(mutant: Mutant) -> None:
    run = search_of(mutant).run()
    assert run.trap
    steps, search = successors(search_of(mutant)), search_of(mutant)
    state = search.start()
    for step in run.path:
        state = dict(search.steps(state))[step]
    reached, todo = {state}, [state]
    while todo:
        new = [other for other in steps[todo.pop()] if other not in reached]
        reached.update(new)
        todo += new
    assert not any(search.relation.is_end(each.base) for each in reached)


def test_the_ways_into_dead_ends_are_explained() -> None:
    order, batch = (search_of(DEAD_ENDS[name]) for name in DEAD_ENDS)
    assert explain_path(order, order.run().path) == ["row group 1 is admitted"]
    path = batch.run().path
    assert explain_path(batch, path) == ["row group 0 is admitted", "row group 2 is admitted"]
    assert [str(action) for action in actions_of(batch, path)] == ["admit [0]", "admit [2]"]


@pytest.mark.parametrize(
    ("graph", "rows", "batch", "faults"),
    [
        ("a:row+ordered b(a)", 3, None, Faults(crashes=1, group_rows=1, groups=2)),
        ("a:row+ordered v:batch(a)", 3, 3, Faults(group_rows=2, groups=2)),
        ("a v:batch(a)", 2, 2, Faults(crashes=1, versions=(1, 2, 3), group_rows=1, groups=2)),
        ("a v:barrier(a)", 2, None, Faults(drops=2, retries=1, group_rows=1)),
        ("a v:batch+ordered(a)", 2, 1, Faults(drops=1, workers=1, group_rows=1, groups=1)),
        ("v:batch c:row+ordered(v)", 4, 3, Faults(group_rows=1, groups=3)),
    ],
    ids=str,
)
def test_relation_and_machine_agree_on_row_groups(
    graph: str, rows: int, batch: int | None, faults: Faults
) -> None:
    search = search_for(parse_shape(graph).graph(rows, batch), faults)
    run = search.run()
    assert run.clause == ""
    assert check_equivalence(search) == (run.states, run.transitions)


def test_a_limit_that_is_too_low_for_a_scope_is_refused() -> None:
    graph = parse_shape("v:barrier").graph(3)
    with pytest.raises(SpecError, match="barrier 'v' waits for rows 0 to 2"):
        search_for(graph, Faults(group_rows=1, groups=2))
    one = Configuration(3, Faults(group_rows=1, groups=2), 1, ("row", "barrier"))
    assert list(map(str, one.shapes())) == ["a"]


@pytest.mark.parametrize(
    ("faults", "why"),
    [
        ({"groups": 1}, "groups: needs group_rows"),
        ({"group_rows": 0}, "group_rows: expected a number from 1"),
        ({"group_rows": 1, "losses": 1}, "group_rows: not beside losses"),
    ],
)
def test_groups_that_make_no_sense_are_refused(faults: dict[str, int], why: str) -> None:
    with pytest.raises(SpecError, match=why):
        Faults(**faults)  # type: ignore[arg-type]  # numbers
