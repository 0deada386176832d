"""The matrix page: one row a clause, one column a backend, and the evidence beside it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from cellspec.clauses import chapters, clauses
from cellspec.conformance.judge.verdict import says_pass
from cellspec.conformance.report.markup import Markup, document, tag
from cellspec.conformance.report.page_parts import (
    BEYOND,
    GENERATOR,
    MEANINGS,
    OPEN,
    SYMBOLS,
    badge,
    code_block,
    sentence,
)
from cellspec.conformance.report.read_results import BackendResults, ClauseResult
from cellspec.text import counted

__all__ = ["matrix_page"]


def matrix_page(suite: Mapping[str, Any], backends: Sequence[BackendResults]) -> str:
    """The page of all verdicts, as HTML: a card for each backend, then a row for each clause.

    Args:
        suite: version, set of clauses and settings, from the results file.
        backends: the results of each backend.
    """
    title = "cellspec conformance"
    facts = [f"version {suite['version']}"] if suite.get("version") else []
    if suite.get("clauses"):
        digest = f" ({suite['digest']})" if suite.get("digest") else ""
        facts.append(f"clause set {suite['clauses']}{digest}")
    body = (
        tag("header", tag("h1", title), tag("p", " · ".join(facts), class_="about")),
        tag(
            "main",
            tag("div", *map(_card, backends), class_="cards"),
            *(_causes(backend) for backend in backends if backend.causes),
            _matrix(backends),
            _profiles(backends),
            _coverage_goals(backends),
            _legend(backends),
        ),
    )
    return document(title, body, scripts=("matrix.js", "copy.js"), generator=GENERATOR)


def _card(backend: BackendResults) -> Markup:
    counts = Counter(result.verdict for result in backend.results.values())
    found = [verdict for verdict in SYMBOLS if counts[verdict]]
    identity = f"command-{_anchor(backend.name)}"
    return tag(
        "section",
        tag("h2", backend.name, " ", tag("span", backend.version, class_="quiet")),
        _bar(counts),
        tag(
            "ul",
            *(
                tag("li", badge(verdict, f" {counts[verdict]}"), data_verdict=verdict)
                for verdict in found
            ),
            class_="verdicts",
        ),
        tag("div", *(tag("span", name, class_="badge") for name in backend.capabilities)),
        _facts({"seed": backend.seed, **backend.evidence}),
        code_block("run it again", backend.command or _usual_command(backend), identity),
        class_="card",
        aria_label=f"backend {backend.name}",
    )


def _causes(backend: BackendResults) -> Markup:
    """The root causes of a backend, each with what broke as a consequence."""
    title = f"Root causes: {backend.name} {backend.version}"
    about = (
        "Each is one bug, as far as the suite can tell, with the smallest workload that shows it."
    )
    items = (
        tag(
            "li",
            tag("a", cause.clause, href=cause.page) if cause.page else tag("b", cause.clause),
            f": {cause.words}",
            tag("small", f" and with it {', '.join(cause.consequences)}")
            if cause.consequences
            else None,
            tag("pre", tag("code", cause.replay), class_="code") if cause.replay else None,
        )
        for cause in backend.causes
    )
    return tag(
        "section",
        tag("h2", title),
        tag("p", about, class_="quiet"),
        tag("ol", *items, class_="causes"),
        aria_label=title,
    )


def _anchor(name: str) -> str:
    """An identity for an element: the name, or rather its code points where they are unusual."""
    return re.sub(r"[^A-Za-z0-9]", lambda odd: f"_{ord(odd.group()):x}_", name)


def _usual_command(backend: BackendResults) -> str:
    seed = f" --seed={backend.seed}" if isinstance(backend.seed, int) else ""
    return f"pytest --pyargs cellspec.conformance --engine-backend=MODULE:CLASS{seed}"


def _bar(counts: Counter[str]) -> Markup:
    """The counts as one stacked bar; the words beside it say the same."""
    total, at = sum(counts.values()) or 1, 0.0
    parts = []
    for verdict in SYMBOLS:
        width = 100 * counts[verdict] / total
        parts.append(
            tag(
                "rect",
                x=f"{at:.3f}",
                y=0,
                width=f"{width:.3f}",
                height=8,
                class_=verdict.replace(" ", "-"),
            )
        )
        at += width
    return tag(
        "svg",
        *parts,
        class_="bar",
        viewBox="0 0 100 8",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def _facts(facts: Mapping[str, Any]) -> Markup:
    pairs = ((tag("dt", _words(key)), tag("dd", _value(value))) for key, value in facts.items())
    return tag("dl", *(part for pair in pairs for part in pair), class_="facts")


_LABELS = {
    "lives": "incarnations",
    "by_table_alone": "incarnations judged by tables, and by calls without a claim",
}
"""Words for keys of the results file that say too little, or are older than the glossary."""


def _words(key: object) -> str:
    return _LABELS.get(str(key), str(key).replace("_", " "))


def _value(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return "; ".join(f"{_words(key)}: {_value(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value)) or "none"
    return str(value)


def _matrix(backends: Sequence[BackendResults]) -> Markup:
    known = clauses()
    judged = {number for backend in backends for number in backend.results}
    left = sum(number not in judged for number in known)
    note = f" {left} further clauses of the registry are no part of these results." if left else ""
    heads = (
        tag("th", backend.name, " ", tag("span", backend.version, class_="quiet"), scope="col")
        for backend in backends
    )
    bodies = (
        tag(
            "tbody",
            _chapter_row(title, about, len(backends)),
            *(_clause_row(n, backends) for n in own),
        )
        for title, about, own in _chapters_of(backends)
    )
    table = tag(
        "table",
        tag("thead", tag("tr", tag("th", "clause", scope="col"), *heads)),
        *bodies,
        id="matrix",
    )
    return tag(
        "section",
        tag("h2", "Clauses and backends"),
        tag(
            "p",
            f"{len(judged)} clauses, {len(backends)} backend{'s' * (len(backends) != 1)}.{note}",
            class_="quiet",
        ),
        _filter(),
        tag("div", table, class_="wide"),
        aria_label="Clauses and backends",
    )


def _filter() -> Markup:
    return tag(
        "div",
        tag(
            "label",
            "find ",
            tag("input", type="search", id="filter-text", placeholder="clause or word"),
        ),
        tag(
            "label",
            tag("input", type="checkbox", id="filter-open"),
            " only what is violated, inconclusive or expected to fail",
        ),
        id="filter",
        hidden=True,
    )


def _chapters_of(backends: Sequence[BackendResults]) -> Iterator[tuple[str, str, list[str]]]:
    """The chapters that have results, each with its clauses, in the order of the registry."""
    judged = {number for backend in backends for number in backend.results}
    known = clauses()
    for chapter in chapters():
        own = [n for n, clause in known.items() if clause.chapter == chapter.name and n in judged]
        if own:
            yield chapter.title, chapter.about, own
    foreign = sorted(judged - set(known))
    if foreign:
        yield "Other clauses", "Not in the clauses that this report knows.", foreign


def _chapter_row(title: str, about: str, backends: int) -> Markup:
    words = tag("span", about)
    return tag(
        "tr", tag("th", title, words, class_="chapter", scope="rowgroup", colspan=backends + 1)
    )


def _clause_row(number: str, backends: Sequence[BackendResults]) -> Markup:
    results = [backend.results.get(number) for backend in backends]
    is_open = any(result is None or result.verdict in OPEN for result in results)
    return tag(
        "tr",
        tag("th", tag("b", number), sentence(number), scope="row", class_="clause"),
        *map(_result_cell, results),
        id=number,
        class_="clause",
        data_open="yes" if is_open else "no",
    )


def _result_cell(result: ClauseResult | None) -> Markup:
    if result is None:
        return tag("td", tag("span", "no result", class_="quiet"), class_="result")
    words = f"{SYMBOLS[result.verdict]} {result.verdict}"
    verdict = (
        tag("a", words, href=result.page, class_="verdict")
        if result.page
        else tag("span", words, class_="verdict")
    )
    many = result.examples
    count = None if many is None else counted(many, "example")
    if count and result.exercised is not None:
        count = f"exercised by {result.exercised:,} of {count}"
    reason = None if says_pass(result.verdict) else result.reason or None
    return tag(
        "td",
        verdict,
        tag("small", count) if count else None,
        tag("small", reason, class_="reason") if reason else None,
        class_="result",
        data_verdict=result.verdict,
    )


def _profiles(backends: Sequence[BackendResults]) -> Markup | None:
    """The campaign of each profile, or the reason why it was left out."""
    names = list(dict.fromkeys(name for backend in backends for name in backend.profiles))
    rows = (
        (tag("th", name, scope="row"), *(_profile(each.profiles.get(name)) for each in backends))
        for name in names
    )
    about = "A profile's campaign runs workloads that are about one capability."
    return _comparison("Campaigns by profile", about, "profile", backends, rows) if names else None


def _profile(profile: Mapping[str, Any] | None) -> Markup:
    if profile is None or "not_run" in profile:
        why = "no result" if profile is None else str(profile["not_run"])
        return tag("td", tag("span", why, class_="quiet"))
    met = list(profile["sometimes"].values()) if isinstance(profile.get("sometimes"), dict) else []
    parts = [
        f"{_value(profile[key])} {word}"
        for key, word in (("workloads", "workloads"), ("crash_points", "crashes"))
        if key in profile
    ]
    parts.append(f"{sum(bool(count) for count in met)} of {len(met)} coverage goals")
    pairs = profile.get("pairs")
    if isinstance(pairs, dict) and pairs.get("possible"):
        parts.append(f"{pairs['met']} of {pairs['possible']} pairs of features")
        parts += [f"not met: {', '.join(pairs['unmet'])}"] if pairs["unmet"] else []
    stopped = profile.get("stopped_at")
    return tag(
        "td",
        " · ".join(parts),
        tag("span", f" ✗ stopped at {stopped}", class_="never") if stopped else None,
    )


def _coverage_goals(backends: Sequence[BackendResults]) -> Markup | None:
    """The coverage goals, with how often the campaigns met each."""
    names = list(dict.fromkeys(name for backend in backends for name in backend.sometimes))
    if not names:
        return None
    rows = (
        (tag("th", name, scope="row"), *(_times(each.sometimes.get(name)) for each in backends))
        for name in names
    )
    about = (
        "A campaign must meet each goal: it proves nothing about a situation that it never was in."
    )
    return _comparison("Coverage goals", about, "situation", backends, rows)


def _comparison(
    title: str,
    about: str,
    head: str,
    backends: Sequence[BackendResults],
    rows: Iterable[Iterable[Markup]],
) -> Markup:
    """A section with a table of one column a backend."""
    heads = (tag("th", name, scope="col") for name in (head, *(each.name for each in backends)))
    table = tag(
        "table",
        tag("thead", tag("tr", *heads)),
        tag("tbody", *(tag("tr", *cells) for cells in rows)),
        class_="plain",
    )
    return tag(
        "section",
        tag("h2", title),
        tag("p", about, class_="quiet"),
        tag("div", table, class_="wide"),
        aria_label=title,
    )


def _times(count: object) -> Markup:
    if count is None:
        return tag("td", tag("span", "no goal", class_="quiet"))
    if not count:
        return tag("td", tag("span", "✗ never", class_="never"))
    return tag("td", _value(count))


def _legend(backends: Sequence[BackendResults]) -> Markup:
    used = {result.verdict for backend in backends for result in backend.results.values()}
    rows = (
        tag("tr", tag("td", badge(verdict), data_verdict=verdict), tag("td", MEANINGS[verdict]))
        for verdict in SYMBOLS
        if verdict not in BEYOND or verdict in used
    )
    return tag(
        "section",
        tag("h2", "What the verdicts mean"),
        tag("table", tag("tbody", *rows), class_="plain"),
        aria_label="Verdicts",
    )
