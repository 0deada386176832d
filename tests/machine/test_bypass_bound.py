"""A promised bypass bound: which starts count, and which do not (SCHED-17)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from itertools import combinations

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
from cellspec.graph.nodes import NodeKey, barrier_key, column_of, is_barrier_key
from cellspec.machine.actions import Failure
from cellspec.machine.enabled import key_of
from cellspec.state.codes import READY

T = ExecutionTraits


@pytest.mark.clause("SCHED-17")
def test_output_of_a_barrier_is_not_taken_for_the_barrier_of_the_next_batch() -> None:
    """Cell 1 of the column has the place of barrier node 1, which became ready later."""
    columns = [
        ColumnDescriptor("d"),
        ColumnDescriptor("b", traits=T.BATCH_BARRIER | T.ORDERED),
    ]
    run = Machine(ExecutionGraph(4, columns, batch_size=2), bypass=0)
    run.apply(Action("start", "b", scope=0))
    run.apply(Action("complete", "b", scope=0))
    run.apply(Action("start", "b", (1, 2)))
    with pytest.raises(Violation, match=r"^SCHED-17: barrier 1 of 'b' starts, and is number 1 of"):
        run.apply(Action("start", "b", scope=1))


@pytest.mark.clause("SCHED-17", "RANGE-01")
def test_each_row_of_a_range_overtakes() -> None:
    columns = [
        ColumnDescriptor("a", traits=T.BARRIER),
        ColumnDescriptor("d"),
        ColumnDescriptor("s", traits=T.ROW_STREAMABLE, dependencies=["a"]),
    ]
    for bound, allowed in ((1, 1), (2, 2)):
        run = Machine(ExecutionGraph(3, columns), bypass=bound)
        run.apply(Action("start", "a", scope=0))
        run.apply(Action("complete", "a", scope=0))
        run.apply(Action("emit", "a", (0, 3)))
        with pytest.raises(Violation, match=rf"^SCHED-17: s\[{allowed}\] starts, and is number"):
            run.apply(Action("start", "s", (0, allowed + 1)))
        run.apply(Action("start", "s", (0, allowed)))
        with pytest.raises(Violation, match=rf"^SCHED-17: s\[{allowed}\] starts, and is number"):
            run.apply(Action("start", "s", (allowed, allowed + 1)))


@pytest.mark.clause("SCHED-17")
def test_only_starts_that_keep_the_bound_are_offered() -> None:
    chain = [ColumnDescriptor("a"), ColumnDescriptor("b", dependencies=["a"])]
    run = Machine(ExecutionGraph(2, chain), bypass=0)
    run.apply(Action("start", "a", (0, 1)))
    run.apply(Action("complete", "a", (0, 1)))
    assert [str(each) for each in run.enabled() if each.kind == "start"] == ["start a[1]"]


@pytest.mark.clause("SCHED-17")
def test_groups_that_are_admitted_one_after_the_other_are_ready_at_one_step() -> None:
    graph = ExecutionGraph(2, [ColumnDescriptor("a"), ColumnDescriptor("b", dependencies=["a"])])
    run = Machine(graph, Limits(group_rows=1), bypass=0)
    for row in (0, 1):
        run.apply(Action("admit", rows=(row, row + 1)))
    run.apply(Action("start", "a", (1, 2)))
    assert run.in_flight == 1


@pytest.mark.clause("SCHED-17")
@pytest.mark.parametrize("first", [0, 1])
def test_what_an_earlier_step_made_ready_is_ready_earlier(first: int) -> None:
    chain = [ColumnDescriptor("a"), ColumnDescriptor("b", dependencies=["a"])]
    run = Machine(ExecutionGraph(2, chain), bypass=0)
    run.apply(Action("start", "a", (0, 2)))
    for row in (1, 0):
        run.apply(Action("complete", "a", (row, row + 1)))
    start = Action("start", "b", (first, first + 1))
    if first == 1:
        run.apply(start)
        return
    with pytest.raises(Violation, match=r"^SCHED-17: b\[0\] starts, and is number 1 of those"):
        run.apply(start)


FAILURES: tuple[Failure, ...] = ("retryable", "retryable", "permanent")


class Line:
    """Who waits since which step, and how many that came later have passed: counted plainly."""

    def __init__(self, run: Machine, bound: int) -> None:
        self.run, self.bound, self.step = run, bound, 0
        self.since: dict[NodeKey, int] = {}
        self.passed: Counter[NodeKey] = Counter()
        self.look()

    def look(self) -> None:
        """A step was taken."""
        self.step += 1
        counters, rules = self.run.counters, self.run.graph.rules
        ready = list[NodeKey]()
        for rule in rules.columns:
            if rule.is_barrier:
                for scope in range(rules.scope_count(rule.index)):
                    if counters.barrier_state(rule.index, scope) == READY:
                        ready.append(barrier_key(rule.index, scope))
            else:
                ready += [(rule.index, row) for row in counters.iter_rows(rule.index, READY)]
        self.since = {key: self.since.get(key, self.step) for key in ready}
        self.passed = Counter({key: self.passed[key] for key in ready})

    def passes(self, keys: Sequence[NodeKey]) -> Counter[NodeKey]:
        """By node that these nodes would pass, how many have passed it then."""
        group_of, found = self.run.group_of, Counter[NodeKey]()
        for key, since in self.since.items():
            more = sum(self.since.get(each, 0) > since for each in keys)
            beside = group_of[column_of(key)] == group_of[column_of(keys[0])] and key not in keys
            if more and beside:
                found[key] = self.passed[key] + more
        return found

    def may_start(self, *keys: NodeKey) -> bool:
        return max(self.passes(keys).values(), default=0) <= self.bound

    def start(self, action: Action, *keys: NodeKey) -> None:
        """Nodes start; they are refused if one passes another once too often."""
        passes, where = self.passes(keys), self.run.state.where
        if self.may_start(*keys):
            self.run.apply(action)
            self.passed |= passes
            self.look()
            return
        first = min(self.since[key] for key in passes)
        longest = [key for key in passes if self.since[key] == first]
        with pytest.raises(Violation) as refused:
            self.run.apply(action)
        assert str(refused.value).split(", which still")[0] in {
            f"SCHED-17: {where(keys[-1])} starts, and is number {passes[key]} of those that were "
            f"ready after {where(key)}"
            for key in longest
        }


@pytest.mark.clause("SCHED-17")
@pytest.mark.parametrize("seed", range(16))
def test_a_start_is_refused_exactly_if_it_passes_a_waiting_node_once_too_often(seed: int) -> None:
    columns = [
        ColumnDescriptor("a", traits=T.START),
        ColumnDescriptor("o", traits=T.BATCH_BARRIER, dependencies=["a"]),
        ColumnDescriptor("s", traits=T.ROW_STREAMABLE, dependencies=["a"]),
        ColumnDescriptor("b", dependencies=["o", "s"]),
        # One whose cells still wait when their row is dropped.
        ColumnDescriptor("c", traits=T.START),
    ]
    drawn, bound, rows = random.Random(seed), seed % 4, 8
    graph = ExecutionGraph(rows, columns, batch_size=2)
    sharing = "aos" if seed % 3 else "os"
    limits = Limits(resources={"r": 99}, column_resource=dict.fromkeys(sharing + "c", "r"))
    waive = ["SCHED-09", "SCHED-15"]
    run = Machine(graph, limits, failures=FailurePolicy(9), waive=waive, bypass=bound)
    line = Line(run, bound)
    for row in drawn.sample(range(rows), rows - 1):
        # So that many rows of s are ready, each since another step.
        line.start(Action("start", "a", (row, row + 1)), (0, row))
        run.apply(Action("complete", "a", (row, row + 1)))
        line.look()
    ends = list(combinations(range(rows + 1), 2))
    spans = [[(2, row) for row in range(*each)] for each in ends if each[1] > each[0] + 1]
    for _ in range(90):
        offered = [each for each in run.enabled() if each.kind in ("start", "complete", "fail")]
        named = {each: key_of(graph.rules.index[each.column], each) for each in offered}
        starts = {named[each] for each in offered if each.kind == "start"}
        assert line.since.keys() & starts == set(filter(line.may_start, line.since))
        others = [each for each in offered if each.kind != "start" or named[each] not in line.since]
        ranges = [span for span in spans if line.since.keys() >= {*span}]
        luck = drawn.random()
        if luck < 0.02:
            run.apply(Action("crash"))
            run.apply(Action("resume", claim=(0,) * len(columns)))
            line.since.clear()
            line.passed.clear()
        elif luck < 0.1:
            run.at(run.now + 1)
        elif luck < 0.3 and ranges:
            span = drawn.choice(ranges)
            line.start(Action("start", "s", (span[0][1], span[-1][1] + 1)), *span)
        elif luck < 0.5 and line.since:
            # Of two, that which waits longer: else most would be refused.
            two = drawn.choices(sorted(line.since), k=2)
            key = min(two, key=lambda each: line.since[each])
            name, place = graph.column_names[column_of(key)], key[1]
            if is_barrier_key(key):
                line.start(Action("start", name, scope=place), key)
            else:
                line.start(Action("start", name, (place, place + 1)), key)
        elif others:
            action = drawn.choice(others)
            if action.kind == "fail":
                until = drawn.choice((None, run.now + 1, run.now + 2))
                failure = drawn.choice(FAILURES)
                until = None if failure == "permanent" else until
                action = action._replace(failure=failure, until=until)
            run.apply(action)
        line.look()


@pytest.mark.clause("SCHED-17")
def test_a_node_of_the_last_column_is_overtaken_as_any_other() -> None:
    chain = [
        ColumnDescriptor(name, dependencies=list(need))
        for name, need in (("a", ""), ("b", "a"), ("c", "b"))
    ]
    columns = [*chain, ColumnDescriptor("z")]
    for bound, allowed in enumerate(("a", "ab")):
        run = Machine(ExecutionGraph(1, columns), bypass=bound)
        for name in allowed:
            run.apply(Action("start", name, (0, 1)))
            run.apply(Action("complete", name, (0, 1)))
        with pytest.raises(Violation, match=rf"is number {bound + 1} of those .* after z\[0\]"):
            run.apply(Action("start", "abc"[bound + 1], (0, 1)))


@pytest.mark.clause("SCHED-17", "DROP-03")
def test_a_cell_whose_row_was_dropped_waits_no_more() -> None:
    columns = [
        ColumnDescriptor("a", traits=T.START),
        ColumnDescriptor("c", traits=T.START),
        ColumnDescriptor("s", traits=T.ROW_STREAMABLE, dependencies=["a"]),
    ]
    limits = Limits(resources={"r": 9}, column_resource={"s": "r"})
    run = Machine(ExecutionGraph(3, columns), limits, bypass=0)
    for row in (0, 2, 1):
        for kind in ("start", "complete"):
            run.apply(Action(kind, "a", (row, row + 1)))
    run.apply(Action("start", "c", (2, 3)))
    with pytest.raises(Violation, match=r"^SCHED-17: s\[1\] starts, .* after s\[2\], which"):
        run.apply(Action("start", "s", (0, 2)))
    run.apply(Action("fail", "c", (2, 3), failure="permanent"))
    run.apply(Action("start", "s", (0, 2)))


@pytest.mark.clause("SCHED-17", "STOP-05")
def test_a_start_that_is_refused_anyway_is_no_overtaking() -> None:
    chain = [ColumnDescriptor("a"), ColumnDescriptor("b", dependencies=["a"])]
    run = Machine(ExecutionGraph(2, chain), bypass=0)
    for kind in ("start", "complete"):
        run.apply(Action(kind, "a", (0, 1)))
    run.apply(Action("stop_requested"))
    with pytest.raises(Violation, match=r"^STOP-05: b\[0\] starts although a stop was requested"):
        run.apply(Action("start", "b", (0, 1)))


@pytest.mark.clause("SCHED-17", "FAIL-08")
def test_who_overtakes_nobody_is_not_refused_for_starts_that_were_not_judged() -> None:
    columns = [
        ColumnDescriptor("a", traits=T.START),
        ColumnDescriptor("s", traits=T.ROW_STREAMABLE, dependencies=["a"]),
    ]
    limits = Limits(resources={"r": 9}, column_resource={"s": "r"})
    run = Machine(ExecutionGraph(5, columns), limits, waive=["FAIL-08", "SCHED-01"], bypass=1)
    for rows in ((0, 1), (1, 3), (3, 5)):
        for kind in ("start", "complete"):
            run.apply(Action(kind, "a", rows))
    run.apply(Action("worker_lost"))
    run.apply(Action("lose", "a", (3, 5)))
    for row in (3, 4):
        run.apply(Action("start", "s", (row, row + 1)))
    run.apply(Action("start", "s", (0, 2)))
    assert run.in_flight == 3


@pytest.mark.clause("SCHED-17")
def test_where_the_bound_is_not_judged_every_start_is_offered() -> None:
    chain = [ColumnDescriptor("a"), ColumnDescriptor("b", dependencies=["a"])]
    run = Machine(ExecutionGraph(2, chain), waive=["SCHED-17"], bypass=0)
    for kind in ("start", "complete"):
        run.apply(Action(kind, "a", (0, 1)))
    offered = [str(each) for each in run.enabled() if each.kind == "start"]
    assert offered == ["start a[1]", "start b[0]"]
