"""``python -m tests.matrix``: measure every mutant; ``--write`` the pages of ``specs/``.

``--chapters`` writes the chapters alone, with the measurement that the published matrix shows: for
a clause that was reworded.

Without ``--write`` the fresh measurement is compared with the published page: exit code 1 and the
lines that differ if it is not the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from tests.matrix.cost_measure import first_costly, measure_cost
from tests.matrix.cost_mutants import COST_MUTANTS
from tests.matrix.endpoint_mutants import ENDPOINT_MUTANTS, EndpointMutant, measure_endpoint
from tests.matrix.engine_measure import EngineRow, measure_engine, reference_breaks
from tests.matrix.engine_mutants import ENGINE_MUTANTS, EngineMutant
from tests.matrix.journal_mutants import JOURNAL_MUTANTS
from tests.matrix.measure import judge, measure
from tests.matrix.mutants import MUTANTS, Mutant
from tests.matrix.pages import SPECS, chapter_pages, matrix_page
from tests.matrix.second_mutants import SECOND_MUTANTS
from tests.matrix.subject import Subject
from tests.matrix.trace_mutants import TRACE_MUTANTS, TraceMutant, measure_trace

M = TypeVar("M", Mutant, EngineMutant, TraceMutant, EndpointMutant)
R = TypeVar("R")


def _measured(mutants: Sequence[M], measure: Callable[[M], R]) -> Iterator[R]:
    for number, mutant in enumerate(mutants, start=1):
        print(f"\r{number}/{len(mutants)} {mutant.name:50s}", end="", file=sys.stderr, flush=True)
        yield measure(mutant)


_ENGINES = [*ENGINE_MUTANTS, *JOURNAL_MUTANTS, *SECOND_MUTANTS]


def _measure_engine(number: int) -> EngineRow:
    return measure_engine(_ENGINES[number])


def _measured_engines() -> Iterator[EngineRow]:
    """The engines in processes beside each other: each is judged by workloads, and by no clock."""
    with ProcessPoolExecutor() as pool:
        for number, row in enumerate(pool.map(_measure_engine, range(len(_ENGINES))), start=1):
            shown = f"{number}/{len(_ENGINES)} {row.name:50s}"
            print(f"\r{shown}", end="", file=sys.stderr, flush=True)
            yield row


def _write_chapters(matrix: str) -> None:
    for path, text in chapter_pages(matrix).items():
        path.write_text(text, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write specs/ instead of comparing")
    parser.add_argument(
        "--chapters", action="store_true", help="write only the chapters, and measure nothing"
    )
    args = parser.parse_args()
    if args.chapters:
        _write_chapters((SPECS / "matrix.md").read_text(encoding="utf-8"))
        return 0
    write = args.write
    wrong = judge(Subject())
    if wrong is not None:
        print(f"the reference breaks {wrong}", file=sys.stderr)
        return 1
    broken = next(reference_breaks(), None)
    if broken is not None:
        print(f"the reference engine breaks {broken[1]} on workload {broken[0]}", file=sys.stderr)
        return 1
    costly = first_costly(EngineMutant("reference", "nothing"))
    if costly[0]:
        print(f"the reference engine breaks {costly[0]} with shape {costly[1]}", file=sys.stderr)
        return 1
    rows = list(_measured(MUTANTS, measure))
    engines = list(_measured_engines())
    costs = list(_measured(COST_MUTANTS, measure_cost))
    traces = list(_measured(TRACE_MUTANTS, measure_trace))
    endpoints = _measured(ENDPOINT_MUTANTS, measure_endpoint)
    page = matrix_page(rows, engines, traces, costs, endpoints)
    print(file=sys.stderr)
    published = SPECS / "matrix.md"
    if write:
        SPECS.mkdir(exist_ok=True)
        published.write_text(page, encoding="utf-8")
        _write_chapters(page)
        return 0
    before = published.read_text(encoding="utf-8").splitlines()
    different = [line for line in page.splitlines() if line not in before]
    print("\n".join(different) or "specs/matrix.md is as measured")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
