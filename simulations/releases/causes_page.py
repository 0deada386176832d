"""The parts of the HTML page that come before its failures: root causes, and the matrix.

They have the order of the Markdown page: what is broken in the newest release, the matrix, and what
is mended since. A sign of the matrix tells under the pointer what it rests on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cellspec.conformance.report.markup import Child, Markup, join, tag
from simulations.releases.causes import Cause
from simulations.releases.explained import Explanation, Told, releases_with
from simulations.releases.findings import Defect, Findings
from simulations.releases.markdown_causes import clauses_of
from simulations.releases.matrix_cells import sign, why

__all__ = ["broken_now_section", "matrix_section", "mended_section"]


def broken_now_section(found: Findings, told: Explanation) -> Markup:
    """The root causes that the newest release has, what nothing explains, and questions."""
    title = f"Broken in {found.newest}, the newest release"
    return tag(
        "section",
        tag("h2", title),
        _causes(found, told.live),
        *_unshown(found, told),
        *_unexplained(told),
        *_questions(told),
        aria_label=title,
    )


def _causes(found: Findings, causes: Sequence[Told]) -> Markup:
    return _table(
        ("harm", "root cause", "public", "since", "where", "expected", "actual", "shown by"),
        [_row(found, one) for one in causes],
    )


def _unshown(found: Findings, told: Explanation) -> Iterator[Markup]:
    if told.unshown:
        yield tag("h3", f"Read in the source, and not shown in {found.newest}")
        yield _causes(found, told.unshown)


def _row(found: Findings, one: Told) -> list[Child]:
    cause = one.entry
    assert isinstance(cause, Cause)
    where = [
        tag(
            "code", f"{each.file.rpartition('/')[2]}:{found.place_now(cause.id, each) or each.line}"
        )
        for each in cause.places
    ]
    shown = [each for each in one.defects if found.newest in each.breaks_on]
    return [
        tag("strong", cause.harm),
        join((_worded(cause.title), f" ({clauses_of(one)})")),
        "yes" if cause.public else "–",
        cause.since,
        join(where, " "),
        _worded(cause.expected),
        _worded(cause.actual),
        join((*_scripts(one), *_failures(shown)), ", "),
    ]


def _worded(line: str) -> Markup:
    """A line of Markdown, in which only `code` is marked."""
    pieces = line.split("`")
    return join(tag("code", each) if at % 2 else each for at, each in enumerate(pieces))


def _scripts(one: Told) -> Iterator[Markup]:
    for script in one.scripts:
        yield tag("a", "script", href=f"scripts/{script.file}", title=script.file)


def _failures(defects: Iterable[Defect]) -> Iterator[Markup]:
    """Links to failures of this page; to the case file where it does not show the failure."""
    for one in defects:
        if one.repeated and not one.after:
            yield tag("a", one.clause, href=f"#failure={one.identity}", data_shows=one.identity)
        else:
            yield tag("a", one.clause, href=f"cases/{one.shown.name}")


def _unexplained(told: Explanation) -> Iterator[Markup]:
    if not told.unexplained:
        return
    yield tag("h3", "Not yet explained")
    yield tag(
        "ul",
        *(
            tag("li", tag("a", one.file, href=f"scripts/{one.file}"), ": ", _worded(one.defect))
            for one in told.scripts
        ),
        *(
            tag("li", link, f": {one.shown.failure['detail']}")
            for one, link in zip(told.defects, _failures(told.defects), strict=True)
        ),
        *(
            tag("li", f"{number}: broken once through {name}, and not by the replay")
            for number, name in told.once
        ),
        *(
            tag("li", f"{number}: broken through {name}, and no workload was kept")
            for number, name, of_root in told.consequences
            if not of_root
        ),
    )


def _questions(told: Explanation) -> Iterator[Markup]:
    asked = [one.entry for one in told.questions if not isinstance(one.entry, Cause)]
    if asked:
        yield tag("h3", "Questions")
        yield tag(
            "ul", *(tag("li", tag("strong", one.title), " ", _worded(one.text)) for one in asked)
        )


def matrix_section(found: Findings) -> Markup:
    """The matrix clauses × releases."""
    engine = found.engine
    names = ", then ".join(entry_point.name for entry_point in engine.entry_points)
    rows = [
        [number, *(_cell(found, release.version, number) for release in engine.releases)]
        for number in found.judged
    ]
    return tag(
        "section",
        tag("h2", "Clauses and releases"),
        tag(
            "p",
            f"A sign for each entry point: {names}. Point at a sign to read what it rests on; the "
            "other page has its meaning.",
        ),
        _table(("clause", *(release.version for release in engine.releases)), rows),
        aria_label="Clauses and releases",
    )


def _cell(found: Findings, version: str, number: str) -> Markup:
    signs = (
        tag(
            "span",
            sign(found, version, entry_point.name, number),
            title=f"{entry_point.name}: {why(found, version, entry_point.name, number)}",
        )
        for entry_point in found.engine.entry_points
    )
    return join(signs, " ")


def mended_section(found: Findings, told: Explanation) -> Markup | None:
    """The causes that the newest release has no longer; None without any."""
    if not told.mended:
        return None
    title = f"Mended before {found.newest}"
    rows: list[list[Child]] = []
    for one in told.mended:
        assert isinstance(one.entry, Cause)
        has = releases_with(found, one.entry)
        versions = has[0] if len(has) == 1 else f"{has[0]} to {has[-1]}"
        shown = join((*_scripts(one), *_failures(one.defects)), ", ")
        rows.append([one.entry.harm, _worded(one.entry.title), versions, shown])
    return tag(
        "section",
        tag("h2", title),
        _table(("harm", "root cause", "in", "shown by"), rows),
        aria_label=title,
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[Child]]) -> Markup:
    body = (tag("tr", *(tag("td", each) for each in row)) for row in rows)
    head = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in heads)))
    return tag("div", tag("table", head, tag("tbody", *body), class_="plain"), class_="wide")
