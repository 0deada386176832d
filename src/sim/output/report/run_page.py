"""The page of a run: its figures, its charts over time, and its tables."""

from __future__ import annotations

from collections.abc import Sequence

from cellspec.conformance.report.markup import Child, Markup, tag
from cellspec.text import counted
from sim.output.report.charts import Chart
from sim.output.report.page import charts_section, facts, page, table_of
from sim.output.report.recorder import RunRecorder
from sim.output.report.run_charts import charts_of_parts, charts_over_time
from sim.output.report.together_charts import charts_together
from sim.output.result_table import (
    bill_table,
    column_table,
    endpoint_table,
    failure_table,
    incarnation_table,
    printable,
    resource_table,
    summary,
    times_table,
    wait_table,
)
from sim.output.together import common_endpoints_table, pipelines_table
from sim.results import Result
from sim.results_together import TogetherResult

__all__ = ["charts_of_run", "run_page"]


def run_page(result: Result | TogetherResult, records: Sequence[RunRecorder]) -> str:
    """The report of a run: one self-contained HTML file, the same bytes for the same run.

    Args:
        result: its figures.
        records: of each pipeline, what was recorded of its run, closed.
    """
    runs = _runs(result)
    several = len(runs) > 1
    parts = [
        child
        for place, (run, record) in enumerate(zip(runs, records, strict=True))
        for child in (
            *([tag("h1", f"Pipeline {printable(run.name)}"), _about(run)] if several else []),
            *_run(run, record, f"{place + 1}-" if several else ""),
        )
    ]
    body: list[Child] = [tag("h1", printable(result.name)), _about(result)]
    if isinstance(result, TogetherResult):
        body += [
            table_of("Pipelines", pipelines_table(result)),
            table_of("Endpoints of all", common_endpoints_table(result)),
            charts_section("All pipelines over time", charts_together(result, records)),
        ]
    return page(f"{printable(result.name)}: report of a run", [*body, *parts, _end(result)])


def charts_of_run(result: Result | TogetherResult, records: Sequence[RunRecorder]) -> list[Chart]:
    """The charts of that page, in its order but for those of all pipelines, which come last."""
    runs = _runs(result)
    found = []
    for place, (run, record) in enumerate(zip(runs, records, strict=True)):
        key = f"{place + 1}-" if len(runs) > 1 else ""
        found += [*charts_over_time(run, record, key), *charts_of_parts(run, key)]
    if isinstance(result, TogetherResult):
        found += charts_together(result, records)
    return found


def _runs(result: Result | TogetherResult) -> tuple[Result, ...]:
    return result.pipelines if isinstance(result, TogetherResult) else (result,)


def _about(result: Result | TogetherResult) -> Markup:
    once = "One run is one draw: another seed gives other figures."
    if isinstance(result, TogetherResult):
        size = f"{counted(len(result.pipelines), 'pipeline')} beside each other"
    else:
        size = (
            f"{counted(result.rows, 'row')} × {counted(result.columns, 'column')}, policy "
            f"{result.policy}, {counted(result.workers, 'worker')}"
        )
    return tag("p", f"{size}, seed {result.seed}. {once}", class_="about")


def _run(result: Result, record: RunRecorder, key: str) -> list[Child]:
    several = len(result.incarnations) > 1
    endpoints = bool(result.by_endpoint)
    return [
        facts([*summary(result), *([("cost", f"{result.cost:.6g}")] if result.cost else [])]),
        *(tag("p", note) for note in result.notes),
        charts_section("Over time", charts_over_time(result, record, key)),
        charts_section("Where it went", charts_of_parts(result, key)),
        table_of("Resources", resource_table(result)),
        table_of("Waits before calls", wait_table(result)),
        table_of("Columns", column_table(result)),
        table_of("Failures", failure_table(result) if result.failures else None),
        table_of("Endpoints", endpoint_table(result) if endpoints else None),
        table_of("Times of calls", times_table(result) if endpoints else None),
        table_of("Bill", bill_table(result)),
        table_of("Runs of the process", incarnation_table(result) if several else None),
    ]


def _end(result: Result | TogetherResult) -> Markup:
    """What made the page, and what tells whether another run is the same."""
    unjudged = "" if result.checked else ": clauses of time were off"
    fields = [
        ("verdict", f"{result.verdict}{unjudged}"),
        ("fingerprint", result.fingerprint),
        ("scenario", result.scenario_digest),
    ]
    return tag("section", tag("h2", "Identity"), facts(fields))
