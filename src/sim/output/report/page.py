"""The frame of a report: one HTML file that asks for nothing, its sections, and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files

from cellspec.conformance.report.markup import Child, Markup, document, tag
from sim.output.report.charts import Chart
from sim.output.report.svg import figure
from sim.output.result_table import Columns

__all__ = ["charts_section", "facts", "html_table", "page", "table_of"]


def page(title: str, body: Iterable[Child]) -> str:
    """A whole page: the same bytes for the same arguments."""
    style = files("sim.output.report").joinpath("assets", "report.css").read_text(encoding="utf-8")
    return document(title, [tag("main", *body, class_="report")], style=style)


def charts_section(title: str, charts: Sequence[Chart]) -> Markup | None:
    """A heading, and charts below it, beside each other where there is room."""
    if not charts:
        return None
    drawn = tag("div", *map(figure, charts), class_="charts")
    return tag("section", tag("h2", title), drawn)


def facts(lines: Iterable[tuple[str, Child]]) -> Markup:
    """Labels with their values."""
    items: list[Child] = []
    for label, value in lines:
        items += [tag("dt", label), tag("dd", value)]
    return tag("dl", *items, class_="facts")


def table_of(title: str, table: Columns | None) -> Markup | None:
    """A table as the terminal shows it, with a heading."""
    if table is None:
        return None
    rows = list(zip(*(cells for _, cells in table.columns), strict=True))
    return html_table(title, [label for label, _ in table.columns], rows, words=table.words)


def html_table(
    title: str, labels: Sequence[Child], rows: Iterable[Sequence[Child]], *, words: int
) -> Markup:
    """A table that scrolls sideways by itself where it is too wide for the page.

    Args:
        title: its heading.
        labels: of the columns.
        rows: the cells.
        words: so many columns, the first, hold words; the rest hold figures.
    """
    kinds = [None if place < words else "number" for place in range(len(labels))]
    head = [
        tag("th", label, scope="col", class_=kind)
        for label, kind in zip(labels, kinds, strict=True)
    ]
    body = [
        tag("tr", *(tag("td", cell, class_=kind) for cell, kind in zip(row, kinds, strict=True)))
        for row in rows
    ]
    table = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *body), class_="plain")
    scrolls = tag("div", table, class_="wide", tabindex="0", role="region", aria_label=title)
    return tag("section", tag("h2", title), scrolls)
