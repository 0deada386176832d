"""All failures of a release matrix in one HTML page, event by event.

The page is one file. It begins with the root causes and the matrix
(`simulations.releases.causes_page`), and a table of the failures. Each failure has a section with
its clause, the explanation, the workload, and the trace as data; one viewer, that of the suite's
report, draws the trace of the section that the address names (``#failure=NAME``). The page shows
the failures that the Markdown page describes at length.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cellspec.clauses import clauses
from cellspec.conformance.report.grid_page import SCRIPTS, encode
from cellspec.conformance.report.markup import Markup, document, join, json_block, tag, text
from cellspec.conformance.report.workload_table import workload_section
from cellspec.errors import SpecError
from simulations.releases.cases import explanation_of
from simulations.releases.causes_page import broken_now_section, matrix_section, mended_section
from simulations.releases.explained import explain
from simulations.releases.findings import Defect, Findings
from simulations.releases.markdown_defects import replay_command
from simulations.releases.markdown_text import places

__all__ = ["failures_page"]


def failures_page(found: Findings) -> str:
    """The page: equal findings give equal bytes."""
    shown = [one for one in found.defects if one.repeated and not one.after]
    told = explain(found)
    engine = found.engine.engine
    about = (
        f"The root causes, and under them the {len(shown)} smallest workloads that break a clause, "
        f"of {len(found.engine.releases)} releases. Choose one to see its run event by event."
    )
    links = (tag("a", name, href=name) for name in (f"{found.name}.md", f"{found.name}.json"))
    body = (
        tag(
            "header",
            tag("h1", f"{engine}: failures, event by event"),
            tag("p", about),
            tag("p", "The matrix and all that was measured: ", join(links, ", "), class_="about"),
        ),
        tag(
            "main",
            broken_now_section(found, told),
            matrix_section(found),
            mended_section(found, told),
            _contents(shown),
            *(_section(each) for each in shown),
        ),
    )
    script = Path(__file__).with_name("failures.js").read_text(encoding="utf-8")
    return document(f"{engine}: failures", body, scripts=SCRIPTS, prelude=script)


def _contents(shown: list[Defect]) -> Markup:
    rows = (
        tag(
            "tr",
            tag("td", tag("a", one.clause, href=_anchor(one), data_shows=one.identity)),
            tag("td", str(one.shown.failure["detail"])),
            tag("td", places(one.found)),
        )
        for one in shown
    )
    heads = (tag("th", name, scope="col") for name in ("clause", "failure", "found by"))
    return tag(
        "section",
        tag("h2", "Failures"),
        tag(
            "div",
            tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows), class_="plain"),
            class_="wide",
        ),
        aria_label="Failures",
    )


def _anchor(defect: Defect, event: str = "") -> str:
    return f"#failure={defect.identity}" + (f"&event={event}" if event else "")


def _section(defect: Defect) -> Markup:
    failure = defect.shown.failure
    clause = clauses().get(defect.clause)
    return tag(
        "section",
        tag("h2", f"{defect.clause} · {places(defect.found)}"),
        tag(
            "div",
            tag("p", clause.text, class_="clause-text") if clause else None,
            tag("p", f"✗ {failure['detail']}", class_="detail"),
            class_="callout",
        ),
        *_explanation(defect),
        *_grid(failure, defect),
        tag("h3", "The smallest workload that breaks it"),
        workload_section(failure["workload"]),
        tag(
            "details",
            tag("summary", "case file"),
            tag("pre", tag("code", json.dumps(failure["workload"], ensure_ascii=False, indent=1))),
        ),
        tag("h3", "Replay it"),
        tag("pre", tag("code", replay_command(defect)), class_="code"),
        id=f"failure={defect.identity}",
        data_failure=defect.identity,
        aria_label=defect.identity,
    )


def _explanation(defect: Defect) -> Iterator[Markup]:
    lines = explanation_of(defect.shown.failure)
    if lines:
        yield tag("h3", "Explanation")
        yield tag("ol", *(tag("li", _linked(line, defect)) for line in lines), class_="story")


def _linked(line: str, defect: Defect) -> Markup:
    """A line in which the number of an event moves the viewer there."""
    pieces = re.split(r"(\bevents? #?\d+\b|(?<![^ ])#?\d+(?=:? t=))", line)
    return join(
        tag("a", piece, href=_anchor(defect, re.sub(r"[^0-9]", "", piece)))
        if at % 2
        else text(piece)
        for at, piece in enumerate(pieces)
    )


def _grid(failure: dict[str, Any], defect: Defect) -> Iterator[Markup]:
    trace = failure.get("trace")
    if trace is None:
        return
    yield tag("h3", "What happened, event by event")
    try:
        data = encode(trace["header"], trace["events"])
    except SpecError as error:
        yield tag("p", f"No grid can be drawn: {error}")
        return
    data["violation"] = failure.get("seq")
    data["why"] = f"{defect.clause}: {failure['detail']}"
    yield tag("noscript", tag("p", "A script of this page draws the grid; scripts are off."))
    yield tag("div", data_replay=True)
    yield json_block(f"trace-{defect.identity}", data)
