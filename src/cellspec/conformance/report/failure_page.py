"""The page of a failure: clause, explanation, grid, workload, and how to see it again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from cellspec.clauses import Clause, clauses
from cellspec.conformance.report.grid_page import SCRIPTS, grid_section
from cellspec.conformance.report.markup import Markup, document, join, tag, text
from cellspec.conformance.report.page_parts import GENERATOR, badge, code_block, sentence
from cellspec.conformance.report.read_results import INDEX, BackendResults, ClauseResult
from cellspec.conformance.report.workload_table import workload_section
from cellspec.errors import SpecError

__all__ = ["failure_page"]


def failure_page(backend: BackendResults, number: str, result: ClauseResult) -> str:
    failure = result.failure or {}
    clause = clauses().get(number)
    title = f"{number} · {backend.name}"
    top = tag(
        "header",
        tag("p", tag("a", "← all clauses", href=f"{INDEX}#{number}")),
        tag(
            "h1",
            f"{number} ",
            badge(result.verdict),
            " ",
            tag("span", f"{backend.name} {backend.version}", class_="quiet"),
            data_verdict=result.verdict,
        ),
        _callout(number, clause, failure),
    )
    grid = _grid(failure)
    main = tag(
        "main",
        _explanation(failure),
        grid,
        _workload(failure),
        _again(failure),
    )
    scripts = SCRIPTS if grid else ("copy.js",)
    return document(title, (top, main), scripts=scripts, generator=GENERATOR)


def _callout(number: str, clause: Clause | None, failure: Mapping[str, Any]) -> Markup:
    broken = str(failure.get("clause") or number)
    other = f"broke {broken}: " if broken != number else ""
    return tag(
        "div",
        tag("p", sentence(number), class_="clause-text"),
        tag("p", clause.intent, class_="quiet") if clause else None,
        tag("p", f"✗ {other}{failure.get('detail') or 'no detail was given'}", class_="detail"),
        class_="callout",
    )


def _explanation(failure: Mapping[str, Any]) -> Markup | None:
    lines = failure.get("story")
    if not isinstance(lines, list | tuple) or not lines:
        return None
    return tag(
        "section",
        tag("h2", "The explanation"),
        tag("ol", *(tag("li", _with_links(str(line))) for line in lines), class_="explanation"),
        aria_label="The explanation",
    )


def _with_links(line: str) -> Markup:
    """A line of the explanation, in which each event is a link that moves the slider to it."""
    pieces = re.split(r"(\bevents? #?\d+\b|(?<![^ ])#?\d+(?=:? t=))", line)
    return join(
        tag("a", piece, href=f"#event={re.sub(r'[^0-9]', '', piece)}") if at % 2 else text(piece)
        for at, piece in enumerate(pieces)
    )


def _grid(failure: Mapping[str, Any]) -> Markup | None:
    trace = failure.get("trace")
    if not isinstance(trace, Mapping):
        return None
    header, events = trace.get("header"), trace.get("events")
    try:
        if not isinstance(header, Mapping) or not isinstance(events, list | tuple):
            raise SpecError("the trace has no header, or no events")
        odd = next((event for event in events if not isinstance(event, Mapping)), None)
        if odd is not None:
            raise SpecError(f"an event is no object: {odd!r:.80}")
        seq = failure.get("seq")
        return grid_section(
            header,
            events,
            violation=seq if isinstance(seq, int) else None,
            why=f"{failure.get('clause', '')}: {failure.get('detail', '')}",
        )
    except SpecError as error:
        why = tag("p", f"No grid can be drawn: {error}")
        return tag("section", tag("h2", "Events"), why, aria_label="Events")


def _workload(failure: Mapping[str, Any]) -> Markup | None:
    work = failure.get("workload")
    if not isinstance(work, Mapping):
        return None
    case = json.dumps(work, indent=1, ensure_ascii=False)
    return tag(
        "section",
        tag("h2", "The smallest workload that breaks it"),
        workload_section(work),
        tag("details", tag("summary", "case file"), code_block("case file (JSON)", case, "case")),
        aria_label="Workload",
    )


def _again(failure: Mapping[str, Any]) -> Markup | None:
    blocks = [
        code_block(title, str(failure[key]), f"again-{key}")
        for key, title in (("replay", "replay it"), ("pytest", "as a test"))
        if failure.get(key)
    ]
    if not blocks:
        return None
    return tag("section", tag("h2", "See it again"), *blocks, aria_label="See it again")
