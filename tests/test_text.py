"""Messages for people: counts that fit their nouns, names in quotation marks, and no reprs."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellspec import Machine, SpecError, Violation
from cellspec.clauses import clauses
from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.run.case import describe
from cellspec.conformance.run.workload import Workload
from cellspec.text import (
    be,
    cell_words,
    counted,
    instants,
    listed,
    listed_names,
    node_words,
    noun,
    quoted,
    row_words,
    span_words,
    table_lines,
)
from tests.explore.any_action import PREFIX, any_action, graph_of, renamed_limits, renamed_workload
from tests.matrix.engine_measure import workload
from tests.matrix.engine_mutants import ENGINE_MUTANTS, EngineMutant
from tests.matrix.pages import SPECS, published
from tests.strategies import Plan, plans

NOUNS = (
    "attempts|barriers|batches|bytes|calls|cells|claims|columns|drops|events|failures|groups|"
    "goals|incarnations|nodes|ranges|rows|runs|skips|slots|workers|workloads"
)
ODD = {
    "a count of one with a plural": rf"(?<![\d.,–:])1 (?:more |row )?(?:{NOUNS})\b",
    "a repr": r"\b[A-Z][A-Za-z]+\(|<[\w.]+ object",
    "an empty list": r"\[\]|\(\)|\{\}",
    "None": r"\bNone\b",
}
_NAME = re.compile(rf"(?<!['\w]){PREFIX}\w*(?!['\w\[])")


def odd(text: str) -> list[str]:
    """The faults of a line of a message."""
    found = [what for what, pattern in ODD.items() if re.search(pattern, text)]
    bare = _NAME.search(text)
    return found + ([f"{bare[0]} stands as a word"] if bare else [])


def expect_readable(lines: Iterable[str]) -> None:
    for line in lines:
        assert odd(line) == [], line


def test_moments_that_a_rounding_keeps_apart_are_written_apart() -> None:
    assert instants(0.5, 2.0, 0.5) == ["0.5 s", "2 s", "0.5 s"]
    assert instants(0.1 + 0.2, 0.3) == ["0.30000000000000004 s", "0.29999999999999999 s"]
    assert instants(1.0, 1.0000001) == ["1 s", "1.0000001 s"]


def test_the_lint_finds_what_it_is_for() -> None:
    for text in ("1 nodes", "of 1 rows", "1 row groups wait", "ends []", "Cell(0, 'a')", "in None"):
        assert odd(text), text
    assert odd("zza barrier 0 starts")
    assert not odd("barrier 1 of 'zza' reads rows 0–1 and zza[1], 1 row of 11 rows")


def test_counts_rows_and_names_are_spelled() -> None:
    assert (counted(1, "row"), counted(2000, "row"), counted(0, "row")) == (
        "1 row",
        "2,000 rows",
        "0 rows",
    )
    assert (counted(2, "leaf", "leaves"), be(1), be(0)) == ("2 leaves", "is", "are")
    assert (noun(1, "row"), noun(3, "row"), noun(2, "was", "were")) == ("row", "rows", "were")
    assert (listed_names([]), listed_names("ab")) == ("none", "'a', 'b'")
    assert (quoted([]), quoted("a"), quoted("ab"), quoted("abc")) == (
        "none",
        "'a'",
        "'a' and 'b'",
        "'a', 'b' and 'c'",
    )
    assert (row_words([]), row_words([(1, 2)]), row_words([(0, 4), (5, 6)])) == (
        "no row",
        "row 1",
        "rows 0–3, 5",
    )
    assert span_words((2 * n, 2 * n + 1) for n in range(9)) == "0, 2, 4, 6, 8, 10, 12, 14, …"
    assert (cell_words("a", 3), cell_words("a", 3, 4), cell_words("a", 3, 7)) == (
        "a[3]",
        "a[3]",
        "a[3:7]",
    )
    assert (node_words("a", 2), node_words("a", scope=1)) == ("a[2]", "barrier 1 of 'a'")
    assert (listed([], 2), listed(["a"], 2), listed(["a", "b", "c"], 2)) == (
        "none",
        "a",
        "a, b, and 1 more",
    )


def test_a_table_is_aligned_as_a_terminal_shows_it() -> None:
    rows = [("name", "count", "note"), ("データ", "1,000", "x"), ("e\u0301", "7", "long")]
    assert table_lines(rows, left=(0, 2)) == [
        "name    count  note",
        "データ  1,000  x   ",
        "e\u0301           7  long",
    ]


@pytest.mark.parametrize("number", sorted(clauses()))
def test_a_clause_is_readable_alone(number: str) -> None:
    text = clauses()[number].text
    assert text[0].isupper() or text.startswith(("completed_rows", "column_rows", "iter_nodes"))
    assert not re.search(r"\bonly for that\b|\bas above\b|\bthe same holds\b|\bis too\b", text)
    assert not text.startswith(("It ", "They ", "This ", "That ")), text


@given(plans(max_columns=4, max_rows=5), st.integers(0, 10**6))
def test_every_refusal_is_in_words(plan: Plan, seed: int) -> None:
    machine = Machine(graph_of(plan.case), renamed_limits(plan.limits), failures=plan.failures)
    rng = random.Random(seed)
    for _ in range(60):
        try:
            if rng.random() < 0.2:
                machine.at(machine.now + rng.choice((0.5, 1.0, -0.5)))
            machine.apply(any_action(machine, rng))
        except Violation as broken:
            expect_readable([broken.detail])
        except SpecError:
            pass


def broken_by(mutant: EngineMutant, most: int) -> tuple[Workload, list[str]]:
    """A workload that a mutant breaks, with renamed columns, and the lines about it.

    It is the published one, where the mutant is published, or else the first of so many.
    """
    page = (SPECS / "matrix.md").read_text(encoding="utf-8")
    known = [published(page, mutant.name).example] if f"| {mutant.name} |" in page else []
    for number in (*known, *range(1, most + 1)):
        work = renamed_workload(workload(number, mutant.able))
        result = run_workload(mutant.backend(), work)
        if result.violations and result.violations[0].clause != "SCHED-12":
            found = result.violations[0]
            # An engine's own code is no message: a traceback shows lines of it.
            words = [line for line in found.explanation[1:] if not line.startswith("    ")]
            return work, [found.detail, *words]
    return renamed_workload(workload(1)), []


@pytest.mark.parametrize("mutant", ENGINE_MUTANTS, ids=lambda m: m.name.replace(" ", "-"))
def test_what_is_said_of_a_broken_engine_is_words(mutant: EngineMutant) -> None:
    work, lines = broken_by(mutant, 40)
    expect_readable([*lines, *describe(work)])
