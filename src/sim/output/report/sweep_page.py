"""The page of a sweep: its charts, and a table of its points."""

from __future__ import annotations

from collections.abc import Sequence

from cellspec.conformance.report.markup import Child, Markup, join, tag
from cellspec.text import counted
from sim.experiments.deciding import deciding
from sim.output.report.charts import Chart
from sim.output.report.page import charts_section, html_table, page
from sim.output.report.scale import measured, number
from sim.output.report.sweep_charts import Against, best_point, verdict, verdict_words
from sim.output.report.sweep_folder import Cell, SweepPoint, SweepTables
from sim.output.result_table import printable

__all__ = ["sweep_page"]


def sweep_page(sweep: SweepTables, charts: Sequence[Chart], against: Sequence[Against]) -> str:
    """The report of a sweep: one self-contained HTML file, the same bytes for the same folder.

    Args:
        sweep: as read.
        charts: as `sim.output.report.sweep_charts.charts_of_sweep` gives them.
        against: as `sim.output.report.sweep_charts.against_best` gives it.
    """
    runs = sum(point.runs for point in sweep.points)
    failed = [point for point in sweep.points if point.error]
    empty = sum(not point.runs and not point.error for point in sweep.points)
    said = [f"{counted(len(sweep.points), 'point')}, {counted(runs, 'run')}"]
    if failed:
        said.append(f"{counted(len(failed), 'point')} could not be run to the end")
    if empty:
        said.append(f"{counted(empty, 'point')} without runs, as above the end of a ladder")
    body: list[Child] = [
        tag("h1", f"{printable(sweep.name)}: sweep"),
        tag(
            "p",
            f"{'; '.join(said)}. Fields: {', '.join(map(printable, sweep.fields)) or 'none'}.",
            class_="about",
        ),
    ]
    body += [
        _best(sweep, against),
        charts_section("Charts", charts),
        _points(sweep),
        _failed(failed),
        _table_of_differences(against),
    ]
    return page(f"{printable(sweep.name)}: report of a sweep", body)


def _best(sweep: SweepTables, against: Sequence[Against]) -> Markup | None:
    """The point to choose by makespan, and whether the others are shown to be worse."""
    best = best_point(sweep)
    if best is None:
        return None
    named = f"Point {best.number} ({printable(best.words())})"
    makespan = join([_measured(best.figures["makespan_s"]), " s. "])
    if len(sweep.good) == 1:
        return tag("p", f"{named} alone has figures; its mean makespan is ", makespan)
    sure = (
        verdict_words(against)
        if against
        else ("With one run a point no difference from another can be shown.")
    )
    return tag("p", f"{named} has the least mean makespan: ", makespan, sure)


def _points(sweep: SweepTables) -> Markup:
    """All points with the figures that decide; each number as the summary has it."""
    names = _figures(sweep)
    labels: list[Child] = ["point", *map(printable, sweep.fields), "runs", *map(printable, names)]
    rows: list[list[Child]] = []
    for point in sweep.points:
        cells: list[Child] = [str(point.number), *_values(point), f"{point.runs:,}"]
        cells += [
            _measured(point.figures[name]) if name in point.figures else "–" for name in names
        ]
        rows.append(cells)
    return html_table("Points", labels, rows, words=1 + len(sweep.fields))


def _values(point: SweepPoint) -> list[str]:
    return [printable(value) for value in point.fields.values()]


def _failed(points: Sequence[SweepPoint]) -> Markup | None:
    if not points:
        return None
    rows = [
        [str(point.number), printable(point.words()), printable(point.error)] for point in points
    ]
    return html_table("Points that could not be run", ["point", "fields", "why"], rows, words=3)


def _figures(sweep: SweepTables) -> list[str]:
    runs = [figures for point in sweep.good for figures in point.by_seed.values()]
    known = {name for point in sweep.good for name in point.figures}
    return [name for name in deciding(runs) if name in known] or ["makespan_s"]


def _measured(cell: Cell) -> Markup:
    """A mean with its interval: rounded to be read, exact in ``value``."""
    shown = measured(cell.value, cell.half).split(" ± ")
    parts: list[Child] = [tag("data", shown[0], value=cell.mean)]
    if cell.half_width:
        parts += [" ± ", tag("data", shown[-1] if cell.half else "0", value=cell.half_width)]
    return join(parts)


def _table_of_differences(against: Sequence[Against]) -> Markup | None:
    if not against:
        return None
    labels = ["point", "fields", "pairs", "difference s", "± s", "relative %", "± %", "verdict"]
    rows = [_difference(one.point, one) for one in against]
    return html_table("Makespan against the best point", labels, rows, words=2)


def _difference(point: SweepPoint, one: Against) -> list[Child]:
    found = one.difference
    shares = ["–", "–"] if found.share is None else [number(100 * one) for one in found.share]
    return [
        str(point.number),
        printable(point.words()),
        f"{found.pairs:,}",
        number(found.difference.mean),
        number(found.difference.half_width or 0.0),
        *shares,
        verdict(one),
    ]
