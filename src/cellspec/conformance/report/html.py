"""The report as pages: a matrix of clauses and backends, and a page for each failure.

`render` turns the results of a conformance run (`cellspec.conformance.report.results`) into files.
``index.html`` shows which engine keeps which rule (`cellspec.conformance.report.matrix_page`). Each
failure has a page of its own (`cellspec.conformance.report.failure_page`).

A page shows each verdict as it was given, and refuses any other word. Pages are self-contained:
they work without server and network. Equal results give equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cellspec.conformance.report.failure_page import failure_page
from cellspec.conformance.report.grid_page import render_trace
from cellspec.conformance.report.matrix_page import matrix_page
from cellspec.conformance.report.read_results import (
    INDEX,
    RESULTS_FORMAT,
    ClauseResult,
    field,
    read_backend,
    updated,
)

__all__ = ["INDEX", "RESULTS_FORMAT", "render", "render_trace"]


def render(results: Mapping[str, Any]) -> dict[str, str]:
    """The pages of a report, as file name → text, for one folder.

    Args:
        results: the results of a conformance run, of `RESULTS_FORMAT` or of format 1.

    Raises:
        SpecError: results of another format, or a field that cannot be read; the message names it.
    """
    results = updated(results)
    suite = field(results, "suite", "an object", "results")
    taken: set[str] = {INDEX}
    backends = [
        read_backend(item, f"results: backends[{place}]", taken)
        for place, item in enumerate(field(results, "backends", "a list", "results"))
    ]
    pages = {INDEX: matrix_page(suite, backends)}
    for backend in backends:
        for number, result in backend.results.items():
            if result.page is not None:
                pages[result.page] = failure_page(backend, number, result)
        for cause in backend.causes:
            if cause.page is not None and cause.failure is not None:
                verdict = backend.results[cause.clause].verdict
                own = ClauseResult(verdict, "", None, cause.failure, cause.page)
                pages[cause.page] = failure_page(backend, cause.clause, own)
    return pages
