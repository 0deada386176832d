"""A step whose clause is waived is booked: what follows it is judged as if it had been right.

Three things are shown. Whatever is taken with every clause waived, the machine's counts are those
of its states. A step that breaks one clause, and what an engine does next because of it, break no
other. And of the broken engines of the matrix, run with the clause waived that they break, nothing
else is reported but what follows from the mistake, which a table lists with its reasons.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellspec import Machine, SpecError
from cellspec.clauses import clauses
from cellspec.conformance.judge.profiles import DRAWN
from cellspec.state.codes import READY, RUNNING
from tests.explore.any_action import any_action, graph_of, renamed_limits
from tests.matrix.engine_measure import broken_clause
from tests.matrix.engine_mutants import ENGINE_MUTANTS, EngineMutant
from tests.matrix.pages import SPECS, published
from tests.strategies import Plan, plans


def expect_counts(machine: Machine) -> None:
    """What is counted is what a look at every node finds."""
    counters, columns = machine.counters, machine.graph.rules.columns
    ready, barriers = [0] * len(counters.ready), [0] * len(counters.ready)
    running = sum(machine.state.strays.values()) + sum(map(len, machine.state.ranges))
    running += sum(counters.abandoned.values())
    for rule in columns:
        rows = range(machine.graph.num_records)
        states = [counters.cells[rule.index][row] for row in rows]
        group = machine.state.output_group if rule.is_barrier else machine.group_of[rule.index]
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
        assert counters.load == 0
        return
    assert counters.ready == ready
    assert counters.ready_barriers == barriers
    assert counters.load == running


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


FOLLOWS: Mapping[str, tuple[str, str]] = {
    # By mutant: what else its mistake breaks, and why that is no false blame.
    "loses group slot on drop": (
        "SCHED-14",
        "what is never admitted is never made: the engine gives up",
    ),
    "renumbers groups": (
        "GROUP-07",
        "groups that are counted elsewhere retire elsewhere, too late",
    ),
    "holds eight retries": ("SCHED-15", "what is forgotten waits with nothing in flight"),
    "repeats timeouts for ever": (
        "DROP-03 DROP-04 FAIL-07 SCHED-12",
        "after its last attempt a row counts as dropped: the engine goes on with it",
    ),
    "takes unknown exceptions as answers": (
        "DROP-03 TABLE-02 TABLE-03 TABLE-04 TABLE-06 GROUP-03",
        "the table holds what no call gave",
    ),
    "repeats unknown exceptions": (
        "FAIL-02 DROP-03 DROP-04 SCHED-12",
        "after a permanent failure a row counts as dropped: the engine goes on with it",
    ),
    "records failed as filtered": ("TABLE-07", "the table has the same cause"),
    "fails rows left out": ("TABLE-07 DROP-01", "the table has the same cause"),
    "zips the answer": (
        "DROP-01 DROP-03 DROP-04 TABLE-03 TABLE-04 BARR-02 BARR-06",
        "the call counts as failed, and its rows as dropped: the engine goes on with them",
    ),
    "barrier reads a window": (
        "SCHED-12 BARR-02 TABLE-04 DROP-04 SCHED-09",
        "rows that the barrier did not read never get its output",
    ),
    "calls an interruption success": (
        "TABLE-04 STOP-03 CKPT-22",
        "the table is not whole, nor claimed",
    ),
    "begins anew after an interruption": (
        "CKPT-12 SCHED-05 TABLE-05 TABLE-06 TABLE-09 CKPT-09 CKPT-08 CKPT-17 SKIP-03 DROP-04",
        "what was claimed is made again, or given up",
    ),
    "queues the first only": (
        "SCHED-12 SCHED-14 SCHED-15",
        "what is never queued never runs: the engine waits for it, or gives up",
    ),
    "starts from snapshot": (
        "SCHED-02 SCHED-03 SCHED-06 SCHED-12 FAIL-03 FAIL-05 DROP-02 DROP-03 RANGE-02",
        "it starts whatever stands in line: each is such a start, or a call twice in flight",
    ),
    "offers dropped rows": ("DROP-02 SCHED-12", "the second call fails again; its counts go wrong"),
    "revives resting cells": (
        "SCHED-12 FAIL-01",
        "it dies, and that cancels what it ran; of a row that has ended it counts no attempts",
    ),
    "keeps slot on retry": ("SCHED-12", "in the end no slot is left"),
    "keeps slot of dropped": ("SCHED-12", "in the end no slot is left"),
    "forgets second retry": ("SCHED-12", "what is not tried again is never finished"),
    "tries once more": (
        "FAIL-02 DROP-03 DROP-04 SCHED-09 GROUP-07",
        "after its last attempt a row counts as dropped: the engine goes on with it",
    ),
    "retries permanent failures": (
        "FAIL-02 DROP-03 DROP-04 BARR-06 SCHED-09",
        "after a permanent failure a row counts as dropped: the engine goes on with it",
    ),
    "gives up early": ("TABLE-06 DROP-03", "the row is lost, in the table too"),
    "drops the next row": ("TABLE-06", "the row is lost, in the table too"),
    "drops no rows of barrier": (
        "DROP-01 DROP-03 DROP-04 SCHED-12 BARR-08 STOP-08 SCHED-14",
        "the rows that it leaves count as dropped, and the engine goes on with them, or waits",
    ),
    "records filtered as failed": ("TABLE-07", "the table holds the same cause"),
    "blames the first column": ("TABLE-07 DROP-01", "the table holds a cause of another column"),
    "drop holds barriers": (
        "SCHED-12 BARR-08 FAIL-04 CKPT-19 STOP-08 SCHED-14",
        "the barrier waits for ever, or runs when nobody wants it; giving up cancels what runs",
    ),
    "writes no drops": ("SCHED-12 FAIL-04", "storage refuses the claim; giving up cancels calls"),
    "passes skips on once": (
        "SCHED-12 SKIP-01 SKIP-02 TABLE-08",
        "one engine that takes the skip for passed on in one place, and not in another",
    ),
    "skips without reason": ("TABLE-08 TABLE-06", "the table holds the same skip"),
    "skips if all inputs were": ("TABLE-08 TABLE-06", "the table holds a value for the skip"),
    "asks the row before": ("TABLE-06 TABLE-08", "other values follow from another skip"),
    "ranges take waiting rows": ("TABLE-02", "a row that starts early reads nothing"),
    "restarts whole ranges": (
        "SCHED-12 FAIL-04 SCHED-03",
        "it loses count of its open cells, dies, and cancels what runs",
    ),
    "resumes barriers complete": (
        "GROUP-03 SCHED-12",
        "no row is finished whose barrier never ran",
    ),
    "barrier reads skipped rows": ("BARR-07", "it gives output to what it read"),
    "barrier reads as finished": ("TABLE-06", "another order of reading gives another value"),
    "misplaces output": ("TABLE-06", "other values follow from a misplaced one"),
    "admits last group early": ("SCHED-14", "no call can start, and the engine gives up"),
    "admits in waves": ("GROUP-06 SCHED-14 SCHED-15", "the group waits at a later moment too"),
    "reports success after stop": ("SCHED-10", "and it had not done all its work"),
    "reports failure for drops": ("SCHED-12 SCHED-14", "nothing stood in the way of success"),
    "ends before the last save": (
        "SCHED-10 TABLE-01 TABLE-04 CKPT-22 CKPT-23",
        "the same end, seen by outcome, by durable rows and by the table",
    ),
    "claims finished rows": ("SCHED-12 FAIL-04", "storage refuses the claim, and the engine dies"),
    "checks points ahead of data": (
        "SCHED-12 FAIL-04",
        "its own storage finds the claim without data, and the engine dies",
    ),
    "drops on double end": (
        "BARR-06 BARR-08 DROP-01 DROP-02 DROP-03 SCHED-09 TABLE-07 GROUP-07",
        "it reports a drop that it did not make, and goes on with the row",
    ),
    "swaps rows on write": ("TABLE-02 TABLE-03 TABLE-06 TABLE-08", "each swapped cell shows alone"),
    "resumes a row back": (
        "SKIP-03 FAIL-04 SCHED-12",
        "it tells of skips beyond the claim that it goes back to",
    ),
    "swallows write errors": (
        "CKPT-12 TABLE-01 TABLE-06",
        "the claim that was not written is what the next incarnation should go on from",
    ),
    "forgets drops": ("SCHED-12", "a row that is dropped and not known to be is waited for"),
    "table in order of names": ("TABLE-02 TABLE-03", "each moved row shows alone"),
    "table without gaps": (
        "TABLE-02 TABLE-03 TABLE-04 TABLE-05 TABLE-06",
        "each moved row shows alone",
    ),
    "table with dropped rows": (
        "TABLE-02 TABLE-03 TABLE-07",
        "an invented row shows cell by cell",
    ),
    "table of this incarnation": ("TABLE-05", "the missing row was claimed before"),
    "table that forgets values": ("TABLE-05 TABLE-08", "the lost value was claimed, and no skip"),
    "table that forgets drops": ("TABLE-05", "the lost drop was safe before"),
    "table that drops the last row": ("TABLE-06", "no run drops that row"),
    "table with values swapped": ("TABLE-06 TABLE-08 TABLE-05", "a skip mark was one of the two"),
    "claims from the resume": (
        "CKPT-19 STOP-08 TABLE-05",
        "rows that a claim takes back are unsaved again",
    ),
    "ends well after a failed write": ("TABLE-04", "what was not written is not in the table"),
    "ends without the last claim": ("TABLE-04 TABLE-01", "the table holds what is claimed"),
    "throws the claim before away": ("TABLE-05 TABLE-09", "and with it the rows that were safe"),
    "ignores conditions": ("TABLE-08 TABLE-06", "the table holds a value for the skip"),
    "gives up the row at the claim": ("SCHED-12", "its own counts go wrong"),
    "records the first drop": ("CKPT-17", "the next process does not know of the others"),
    "runs one group ahead": ("SKIP-01", "a cell of that group is skipped, too, before it may be"),
    "admits ten groups": ("SCHED-14", "no call can start, and the engine gives up"),
    "skips the rest of the row": ("TABLE-08 TABLE-06", "the table holds the same skip"),
    "counts first rows as done": ("STOP-04", "rows behind a gap are taken for ones that wait"),
}
WORKLOADS = range(1, 2 * len(DRAWN) + 1)


@pytest.mark.parametrize("mutant", ENGINE_MUTANTS, ids=lambda m: m.name.replace(" ", "-"))
def test_a_waived_mistake_shows_only_its_consequences(
    mutant: EngineMutant,
) -> None:
    page = (SPECS / "matrix.md").read_text(encoding="utf-8")
    # One that was never published yet has no example of its own.
    examples = [published(page, mutant.name).example] if f"| {mutant.name} |" in page else []
    follows = FOLLOWS.get(mutant.name, ("", ""))[0].split()
    for number in sorted({*WORKLOADS, *examples}):
        clause = broken_clause(mutant, number)
        if clause:
            more = broken_clause(mutant, number, (clause,))
            assert more in ("", *follows), f"workload {number}: {clause} waived, then {more}"
