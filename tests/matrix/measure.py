"""The measurement: which clause catches each mutant first, and what happens without it.

Examples are tried from the simplest on. On each, the run comes first, because a violation in a run
is what an engine's author sees, and then the checks in the order of the clauses. The first that
fails has caught the mutant. Then the same again with that clause off: the mutant survives, or
another clause catches it, or it breaks down without a verdict.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cellspec import Violation
from sim.simulator.simulator import Simulator
from tests.matrix.checks import CHECKS, LATE, ONCE, ordered_checks, run
from tests.matrix.examples import SMOKE, Example, examples
from tests.matrix.mutants import Mutant
from tests.matrix.subject import Subject


@dataclass(frozen=True)
class Kill:
    """How a subject was caught: by which clause, on which example (from 1), saying what."""

    clause: str
    example: int
    example_name: str
    detail: str


@dataclass(frozen=True)
class Row:
    """One line of the matrix."""

    mutant: Mutant
    smoke: str
    killed: Kill | None
    without: str


def judge(subject: Subject, off: Iterable[str] = ()) -> Kill | None:
    """The first clause that the subject breaks, or None if it keeps them all."""
    waived = frozenset(off)
    for number, example in enumerate(examples(), start=1):
        kill = _judge_run(subject, example, number, waived)
        if kill is not None:
            return kill
        clauses = [
            clause
            for clause in ordered_checks()
            if clause not in LATE and (number == 1 or clause not in ONCE)
        ]
        kill = _judge_checks(subject, example, number, clauses, waived)
        if kill is not None:
            return kill
    return _judge_checks(subject, examples()[0], len(examples()), sorted(LATE), waived)


def _judge_run(subject: Subject, example: Example, number: int, off: frozenset[str]) -> Kill | None:
    # A run takes its graph from the reference, so only an engine of one's own can break it.
    if subject.simulator is Simulator and subject != Subject():
        return None
    try:
        run(subject, example, off)
    except Violation as error:
        return Kill(error.clause, number, example.name, error.detail)
    except Exception as error:
        return Kill(type(error).__name__, number, example.name, str(error))
    return None


def _judge_checks(
    subject: Subject, example: Example, number: int, clauses: Iterable[str], off: frozenset[str]
) -> Kill | None:
    if subject.simulator is not Simulator:
        return None
    for clause in clauses:
        if clause in off:
            continue
        try:
            CHECKS[clause](subject, example)
        except Exception as error:
            return Kill(clause, number, example.name, f"{type(error).__name__}: {error}")
    return None


def smoke(subject: Subject) -> str:
    """What is wrong with the subject on the simplest workload of all; "" if nothing."""
    try:
        graph = subject.graph_of(SMOKE)
        tracker = subject.tracker.for_graph(graph)
        for _ in range(SMOKE.rows * len(SMOKE.columns)):
            for node in graph.iter_ready_nodes(tracker):
                tracker.mark_complete(node)
        assert graph.get_completed_row_count(tracker) == SMOKE.rows
        run(subject, SMOKE)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def measure(mutant: Mutant) -> Row:
    """One mutant, judged."""
    killed = judge(mutant.subject)
    without = ""
    if killed is not None:
        after = judge(mutant.subject, off=[killed.clause])
        without = "survives" if after is None else f"then {after.clause}"
    return Row(mutant, smoke(mutant.subject), killed, without)
