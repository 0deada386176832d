"""Traceability: every clause has a check, every check catches a broken engine, measured."""

from __future__ import annotations

import pytest

from cellspec.clauses import clauses
from cellspec.conformance.judge.profiles import DRAWN, PROFILES
from tests.matrix.checks import CHECKS, RUN_CLAUSES
from tests.matrix.cost_measure import costly_clause
from tests.matrix.cost_mutants import COST_MUTANTS
from tests.matrix.endpoint_mutants import ENDPOINT_MUTANTS, EndpointMutant, endpoint_breaks
from tests.matrix.engine_measure import broken_clause, smoke_of
from tests.matrix.engine_mutants import ENGINE_MUTANTS, EngineMutant
from tests.matrix.journal_mutants import JOURNAL_MUTANTS
from tests.matrix.measure import Row, judge, smoke
from tests.matrix.mutants import MUTANTS, Mutant
from tests.matrix.pages import SPECS, chapter_pages, counts, first_kills, matrix_start, published
from tests.matrix.second_mutants import SECOND_MUTANTS
from tests.matrix.subject import Subject
from tests.matrix.trace_mutants import RUNS, TRACE_MUTANTS, TraceMutant, trace_breaks

PAGE = SPECS / "matrix.md"
ENGINES: list[EngineMutant] = [*ENGINE_MUTANTS, *JOURNAL_MUTANTS, *SECOND_MUTANTS]


def test_every_clause_has_exactly_one_check_and_every_check_a_clause() -> None:
    judged = {one.number for profile in PROFILES for one in profile.clauses}
    by_trace = {"TRACE-01", "TRACE-02"}
    by_trace |= {one.number for one in clauses().values() if one.chapter == "endpoints"}
    assert len([*CHECKS, *RUN_CLAUSES]) == len({*CHECKS, *RUN_CLAUSES})
    assert {*CHECKS, *RUN_CLAUSES} | judged | by_trace == set(clauses())


def test_the_reference_keeps_every_clause_on_every_example() -> None:
    assert judge(Subject()) is None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name.replace(" ", "-"))
def test_mutant_is_caught_as_published(mutant: Mutant) -> None:
    assert smoke(mutant.subject) == "", "a mutant must pass the smoke example"
    killed = judge(mutant.subject)
    assert killed is not None, "no clause catches it"
    assert killed.clause in clauses(), f"it breaks down instead of breaking a clause: {killed}"
    start = matrix_start(Row(mutant, "", killed, ""))
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    assert any(line.startswith(start) for line in lines), f"`make specs` is due: {start}"


def test_the_reference_engine_keeps_every_clause_where_a_mutant_breaks_one() -> None:
    page = PAGE.read_text(encoding="utf-8")
    right = EngineMutant("reference", "nothing")
    for number in sorted({published(page, mutant.name).example for mutant in ENGINE_MUTANTS}):
        assert broken_clause(right, number) == "", f"workload {number}"


def test_the_journals_keep_every_clause_where_a_mutant_of_theirs_breaks_one() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for mutant in JOURNAL_MUTANTS:
        right = mutant.as_right()
        assert broken_clause(right, published(page, mutant.name).example) == "", mutant.name


@pytest.mark.parametrize("mutant", ENGINES, ids=lambda m: m.name.replace(" ", "-"))
def test_broken_engine_passes_smoke_and_is_caught_as_published(mutant: EngineMutant) -> None:
    row = published(PAGE.read_text(encoding="utf-8"), mutant.name)
    assert row.wrong == mutant.wrong, "`make specs` is due"
    assert smoke_of(mutant) == "", "a mutant must pass the smoke test"
    assert broken_clause(mutant, row.example) == row.clause, "`make specs` is due"


@pytest.mark.long
@pytest.mark.parametrize("mutant", COST_MUTANTS, ids=lambda m: m.name.replace(" ", "-"))
def test_engine_that_does_too_much_is_caught_by_its_cost_alone(mutant: EngineMutant) -> None:
    row = published(PAGE.read_text(encoding="utf-8"), mutant.name)
    assert row.wrong == mutant.wrong, "`make specs` is due"
    assert smoke_of(mutant) == "", "a mutant must pass the smoke test"
    assert costly_clause(mutant, row.example) == row.clause, "`make specs` is due"
    for number in range(1, 2 * len(DRAWN) + 1):
        assert broken_clause(mutant, number) == "", f"workload {number}"


@pytest.mark.parametrize("mutant", TRACE_MUTANTS, ids=lambda m: m.name.replace(" ", "-"))
def test_wrong_trace_is_caught_as_published(mutant: TraceMutant) -> None:
    row = published(PAGE.read_text(encoding="utf-8"), mutant.name)
    assert row.wrong == mutant.wrong, "`make specs` is due"
    assert trace_breaks(mutant.change, row.example) == row.clause, "`make specs` is due"


@pytest.mark.parametrize("mutant", ENDPOINT_MUTANTS, ids=lambda m: m.name.replace(" ", "-"))
def test_wrong_endpoint_is_caught_as_published(mutant: EndpointMutant) -> None:
    row = published(PAGE.read_text(encoding="utf-8"), mutant.name)
    assert row.wrong == mutant.wrong, "`make specs` is due"
    assert endpoint_breaks(mutant, row.example) == row.clause, "`make specs` is due"
    assert endpoint_breaks(None, row.example) == ""


def test_a_right_trace_breaks_nothing() -> None:
    for number in range(1, RUNS + 1):
        assert trace_breaks(lambda lines: lines, number) == ""


def test_most_broken_engines_are_not_trivial() -> None:
    page = PAGE.read_text(encoding="utf-8")
    hard = [m for m in ENGINES if published(page, m.name).example > len(DRAWN)]
    assert len(hard) >= 40


def test_every_clause_catches_a_mutant_first() -> None:
    killed = first_kills(PAGE.read_text(encoding="utf-8"))
    tested = {c.number for c in clauses().values() if not c.status.startswith("untestable")}
    assert tested - set(killed) == set(), "clauses that catch no mutant"
    assert set(killed) - set(clauses()) == set(), "mutants caught by no clause"


def test_the_matrix_lists_each_mutant_once() -> None:
    listed = sorted(
        name for names in first_kills(PAGE.read_text(encoding="utf-8")).values() for name in names
    )
    names = [one.name for one in MUTANTS] + [one.name for one in ENGINES]
    names += [one.name for one in TRACE_MUTANTS] + [one.name for one in COST_MUTANTS]
    names += [one.name for one in ENDPOINT_MUTANTS]
    assert listed == sorted(names)


def test_the_matrix_counts_its_mutants_and_the_clauses() -> None:
    total = len(MUTANTS) + len(ENGINES) + len(TRACE_MUTANTS) + len(COST_MUTANTS)
    total += len(ENDPOINT_MUTANTS)
    assert counts(total) in PAGE.read_text(encoding="utf-8"), "`make specs` is due"


def test_every_clause_says_what_it_must() -> None:
    for clause in clauses().values():
        assert clause.level in ("MUST", "SHOULD")
        assert clause.text.endswith(".")
        assert clause.intent.endswith(".")
        assert (
            clause.source == "seed" or clause.source == "design" or "seed defect" in clause.source
        )
        assert clause.status in ("tested", "stochastic") or clause.status.startswith("untestable: ")


def test_every_defect_of_the_seed_has_a_clause_and_a_mutant() -> None:
    for number in range(1, 13):
        source = f"seed defect {number}"
        assert any(clause.source == source for clause in clauses().values()), source
        assert any(f"({source})" in mutant.wrong for mutant in MUTANTS), source


def test_the_chapters_are_made_from_the_registry() -> None:
    for path, text in chapter_pages(PAGE.read_text(encoding="utf-8")).items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: `make specs` is due"
