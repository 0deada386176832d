"""A step whose clause is waived is booked: what follows it is judged as if it had been right.

Three things are shown. Whatever is taken with every clause waived, the machine's counts are those
of its states. A step that breaks one clause, and what an engine does next because of it, break no
other. And of the broken engines of the matrix, run with the clause waived that they break, nothing
else is reported but what follows from the mistake, which a table lists with its reasons.
"""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from cellspec import Machine, SpecError
from cellspec.clauses import clauses
from cellspec.counters import READY, RUNNING
from tests.any_action import any_action, graph_of, renamed_limits
from tests.strategies import Plan, plans


def expect_counts(machine: Machine) -> None:
    """What is counted is what a look at every node finds."""
    counters, columns = machine.counters, machine.graph.rules.columns
    ready, barriers = [0] * len(counters.ready), [0] * len(counters.ready)
    running = sum(machine._strays.values()) + sum(map(len, machine._ranges))
    running += sum(counters.abandoned.values())
    for rule in columns:
        rows = range(machine.graph.num_records)
        states = [counters.cells[rule.index][row] for row in rows]
        group = machine._output_group if rule.is_barrier else machine.group_of[rule.index]
        ready[group] += states.count(READY)
        running += 0 if rule.is_barrier else states.count(RUNNING)
        scopes = range(machine.graph.rules.scope_count(rule.index))
        nodes = [counters.barrier_state(rule.index, scope) for scope in scopes]
        barriers[machine.group_of[rule.index]] += nodes.count(READY)
        running += nodes.count(RUNNING)
        assert counters.open_cells[rule.index] == sum(
            not counters.is_resolved(rule.index, row) for row in rows
        )
    if machine.crashed or machine.ended:
        assert counters.load[0] == 0
        return
    assert counters.ready == ready
    assert counters.ready_barriers == barriers
    assert counters.load[0] == running


@given(plans(max_columns=4, max_rows=5), st.integers(0, 10**6))
def test_with_every_clause_waived_any_action_is_taken_and_the_counts_hold(
    plan: Plan, seed: int
) -> None:
    machine = Machine(
        graph_of(plan.case), renamed_limits(plan.limits), failures=plan.failures, waive=[*clauses()]
    )
    rng = random.Random(seed)
    for _ in range(60):
        if rng.random() < 0.2:
            machine.at(machine.now + rng.choice((0.5, 1.0, -0.5)))
        try:
            machine.apply(any_action(machine, rng))
        except SpecError:
            continue
        expect_counts(machine)
