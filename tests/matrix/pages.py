"""The pages of ``specs/``: a chapter for each group of clauses, and the matrix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cellspec.clauses import Chapter, Clause, chapters, clauses
from cellspec.conformance.campaign.scaling_shapes import SHAPES
from cellspec.conformance.judge.profiles import ENGINE_CLAUSES
from tests.matrix.endpoint_mutants import RUNS_AT_ENDPOINTS
from tests.matrix.engine_measure import AFTER, PROFILES, WORKLOADS, EngineRow
from tests.matrix.examples import examples
from tests.matrix.measure import Row
from tests.matrix.trace_mutants import RUNS

SPECS = Path(__file__).parents[2] / "specs"


def chapter_page(chapter: Chapter, kills: dict[str, list[str]]) -> str:
    """One chapter: its clauses, each with its reason, its source and the mutants it catches."""
    lines = [f"# {chapter.title}", "", chapter.about, ""]
    lines += ["This page is made from `src/cellspec/clauses.toml` by `make specs`.", ""]
    for clause in clauses().values():
        if clause.chapter == chapter.name:
            lines += _clause_lines(clause, kills.get(clause.number, []))
    return "\n".join(lines)


def _clause_lines(clause: Clause, mutants: Sequence[str]) -> list[str]:
    caught = ", ".join(mutants) if mutants else "none"
    judged = "engines" if clause.number in ENGINE_CLAUSES else "the classes of this package"
    if clause.chapter == "endpoints":
        judged = "traces of calls at endpoints"
    return [
        f"## {clause.number} ({clause.level})",
        "",
        clause.text,
        "",
        f"*Why:* {clause.intent}  ",
        f"*Source:* {clause.source}. *Status:* {clause.status}. *Judges:* {judged}.  ",
        f"*Catches first:* {caught}.",
        "",
    ]


def matrix_page(
    rows: Iterable[Row],
    engines: Iterable[EngineRow],
    traces: Iterable[EngineRow],
    costs: Iterable[EngineRow],
    endpoints: Iterable[EngineRow],
) -> str:
    """Mutants × clauses as measured: one line a mutant."""
    rows, engines, traces, costs = list(rows), list(engines), list(traces), list(costs)
    endpoints = list(endpoints)
    count = len(rows) + len(engines) + len(traces) + len(costs) + len(endpoints)
    lines = [
        "# Matrix of mutants and clauses",
        "",
        "Each line is an engine broken on purpose, the clause whose check caught it first, on",
        "which example, and what happens when that check is off. The reference passes every check",
        "on every example. `make specs` measures this page; the tests measure clause and example",
        "again each time.",
        "",
        f"{counts(count)} A mutant that is",
        "caught on example 1 is trivial: any workload shows it.",
        "",
        "## Parts and simulated engines",
        "",
        "Graphs, trackers and checkpoints are judged by a check for each clause (method: unit and",
        f"property), simulators by the run itself (method: simulation), on {len(examples())}",
        "examples.",
        "",
        *_HEAD,
    ]
    lines += [matrix_line(row) for row in rows]
    lines += [
        "",
        "## Engines under the conformance suite",
        "",
        "The reference engine on asyncio in virtual time with one part broken, judged by the suite",
        "(method: conformance). The example is the number of the workload, of those that the suite",
        f"draws from seed 0: one of each of the {len(PROFILES)} profiles in turn, then the next of",
        f"each; up to {WORKLOADS:,} were tried, and up to {AFTER:,} with a check off. In which",
        "share of seeds a run at the default size kills each is in [power.md](power.md).",
        "",
        *_HEAD,
        *map(engine_line, engines),
        "",
        *_cost_section(costs),
        "",
        "## Traces",
        "",
        "Right runs, written down wrongly, judged by the checker (method: trace check). The",
        f"example is the number of the run, of {RUNS}.",
        "",
        *_HEAD,
        *map(engine_line, traces),
        "",
        *endpoint_section(endpoints),
    ]
    return "\n".join([*lines, ""])


def counts(mutants: int) -> str:
    """How many mutants and clauses there are, those that judge an engine counted apart."""
    judging = len(ENGINE_CLAUSES)
    endpoints = sum(clause.chapter == "endpoints" for clause in clauses().values())
    return (
        f"{mutants} mutants, {len(clauses())} clauses: {judging} judge an engine, {endpoints} "
        f"calls at endpoints, {len(clauses()) - judging - endpoints} the classes of this package."
    )


def endpoint_section(endpoints: Iterable[EngineRow]) -> list[str]:
    """The simulated endpoints that are wrong."""
    return [
        "## Endpoints",
        "",
        "The simulator with one part of an endpoint or its client broken and its own checks off,",
        "judged by the checker from the trace alone (method: trace check). The example is the",
        f"number of the scenario, of {RUNS_AT_ENDPOINTS}.",
        "",
        *_HEAD,
        *map(engine_line, endpoints),
    ]


def _cost_section(costs: Iterable[EngineRow]) -> list[str]:
    shapes = ", ".join(f"{number} {shape.name}" for number, shape in enumerate(SHAPES, 1))
    return [
        "## Engines that do too much",
        "",
        "The reference engine with something that gives what it should and costs too much, judged",
        "by counted work (method: cost). They break no other clause. The example is the number of",
        f"the workload that is run with more and more rows: {shapes}.",
        "",
        *_HEAD,
        *map(engine_line, costs),
    ]


_HEAD = (
    "| mutant | what is wrong | clause | example | with its check off |",
    "| --- | --- | --- | --- | --- |",
)


def engine_line(row: EngineRow) -> str:
    """One mutant of an engine or of a trace."""
    return f"{engine_start(row)} {row.without} |"


def engine_start(row: EngineRow) -> str:
    """The part of a line that the tests measure again."""
    clause, example = (row.clause, str(row.example)) if row.clause else ("**none**", "")
    return f"| {row.name} | {row.wrong} | {clause} | {example} |"


def published(matrix: str, name: str) -> EngineRow:
    """The line of a mutant, read off the matrix page.

    Raises:
        LookupError: the page has no such line.
    """
    for line in matrix.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[0] == name and cells[3].isdigit():
            return EngineRow(name, cells[1], cells[2], int(cells[3]), cells[4])
    raise LookupError(name)


def matrix_line(row: Row) -> str:
    """One mutant of the matrix."""
    return f"{matrix_start(row)} {row.without} |"


def matrix_start(row: Row) -> str:
    """The part of a line that the tests measure again."""
    kill = row.killed
    clause, example = (kill.clause, str(kill.example)) if kill else ("**none**", "")
    return f"| {row.mutant.name} | {row.mutant.wrong} | {clause} | {example} |"


def first_kills(matrix: str) -> dict[str, list[str]]:
    """Mutants by the clause that catches them first, read off the matrix page."""
    found: dict[str, list[str]] = {}
    for line in matrix.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and "-" in cells[2] and cells[0] != "mutant" and cells[0] != "---":
            found.setdefault(cells[2], []).append(cells[0])
    return found


def chapter_pages(matrix: str) -> dict[Path, str]:
    """Every chapter's file and text, given the matrix page."""
    kills = first_kills(matrix)
    return {SPECS / f"{item.name}.md": chapter_page(item, kills) for item in chapters()}
