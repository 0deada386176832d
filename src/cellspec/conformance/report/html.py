"""The report as pages: a matrix of clauses and backends, and a page for each failure.

`render` turns the results of a conformance run, as `cellspec.conformance` writes them to JSON, into
files. ``index.html`` answers *which engine keeps which rule*: one row a clause with its sentence,
one column a backend, and beside it what the verdicts rest on (what was tried, which situations the
campaign was in, the seed, and how to run it again). Each failure has a page of its own: the clause,
the explanation, the smallest workload as a table, the grid rows × columns with a slider over the
events (`cellspec.conformance.report.grid_page`), and the lines to paste to see it again.

A verdict is shown as it was given. Nothing here concludes one, and a word that is no verdict is
refused. The pages need nothing but themselves: no server, no network. Equal results give equal
bytes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cellspec.clauses import Clause, chapters, clauses
from cellspec.conformance.report.grid_page import SCRIPTS, grid_section, render_trace
from cellspec.conformance.report.markup import Child, Markup, document, join, tag, text
from cellspec.conformance.report.workload_table import workload_section
from cellspec.errors import SpecError

__all__ = ["INDEX", "RESULTS_FORMAT", "render", "render_trace"]

RESULTS_FORMAT = 1
"""The version of the results that `render` reads."""

INDEX = "index.html"

_SYMBOL = {
    "pass": "✓",
    "violated": "✗",
    "inconclusive": "?",
    "not claimed": "–",
    "xfail": "△",
    "not repeated": "↺",
    "shown by a replay": "R",
    "shown by a script": "S",
}
_MEANING = {
    "pass": "nothing broke it, and the evidence is complete",
    "violated": "a run broke it",
    "inconclusive": "nothing broke it, and something is missing that a pass needs",
    "not claimed": "the backend does not claim what the clause is about",
    "xfail": "a run broke it, as the list of expected failures says",
    "not repeated": "a run broke it, and the replay of its workload did not",
    "shown by a replay": "no run here broke it, and the workload of another release breaks it",
    "shown by a script": "no run broke it, or none again, and a stand-alone script shows it broken",
}
_BEYOND = ("not repeated", "shown by a replay", "shown by a script")
"""What a campaign over releases says beside the verdicts (`simulations.releases.findings`)."""

_KINDS: Mapping[str, tuple[type, ...]] = {
    "an object": (Mapping,),
    "a list": (list, tuple),
    "a text": (str,),
}
# What a reader who looks for trouble wants to see.
_OPEN = frozenset({"violated", "inconclusive", "xfail", *_BEYOND})


@dataclass(frozen=True, slots=True)
class _Result:
    """What was found about one clause; `page` is its failure's file, if it has one."""

    verdict: str
    reason: str
    examples: int | None
    failure: Mapping[str, Any] | None
    page: str | None


@dataclass(frozen=True, slots=True)
class _Backend:
    """One column of the matrix."""

    name: str
    version: str
    capabilities: tuple[str, ...]
    seed: object
    command: str
    results: Mapping[str, _Result]
    evidence: Mapping[str, Any]
    sometimes: Mapping[str, Any]
    profiles: Mapping[str, Mapping[str, Any]]


def render(results: Mapping[str, Any]) -> dict[str, str]:
    """The pages of a report, as file name → text, for one folder.

    Args:
        results: what a conformance run found, of `RESULTS_FORMAT`.

    Raises:
        SpecError: results of another format, or a field that cannot be read; the message names it.
    """
    if results.get("format") != RESULTS_FORMAT:
        raise SpecError(
            f"results: format: expected {RESULTS_FORMAT}, got {results.get('format')!r}"
        )
    suite = _field(results, "suite", "an object", "results")
    taken: set[str] = {INDEX}
    backends = [
        _read_backend(item, f"results: backends[{place}]", taken)
        for place, item in enumerate(_field(results, "backends", "a list", "results"))
    ]
    pages = {INDEX: _index(suite, backends)}
    for backend in backends:
        for number, result in backend.results.items():
            if result.page is not None:
                pages[result.page] = _failure_page(backend, number, result)
    return pages


# Reading the results


def _read_backend(item: object, where: str, taken: set[str]) -> _Backend:
    if not isinstance(item, Mapping):
        raise SpecError(f"{where}: expected an object, got {item!r:.80}")
    name = _field(item, "name", "a text", where)
    where = f"results: backend {name!r}"
    found: dict[str, _Result] = {}
    for number, entry in _field(item, "clauses", "an object", where).items():
        if not isinstance(entry, Mapping):
            raise SpecError(f"{where}: {number}: expected an object, got {entry!r:.80}")
        found[str(number)] = _read_result(name, str(number), entry, f"{where}: {number}", taken)
    profiles = _optional(item, "profiles", where)
    profiles = {str(key): _field(profiles, key, "an object", where) for key in profiles}
    # What a profile owes and the campaign was never in is as much a finding as what it was in.
    owed = {what: 0 for each in profiles.values() for what in _optional(each, "sometimes", where)}
    return _Backend(
        name=name,
        version=str(item.get("version", "")),
        capabilities=tuple(map(str, item.get("capabilities") or ())),
        seed=item.get("seed"),
        command=str(item.get("command") or ""),
        results=found,
        evidence=_optional(item, "evidence", where),
        sometimes={**owed, **_optional(item, "sometimes", where)},
        profiles=profiles,
    )


def _read_result(
    backend: str, number: str, entry: Mapping[str, Any], where: str, taken: set[str]
) -> _Result:
    verdict = entry.get("verdict")
    if verdict not in _SYMBOL:
        raise SpecError(f"{where}: verdict: expected one of {', '.join(_SYMBOL)}, got {verdict!r}")
    failure = entry.get("failure")
    if failure is not None and not isinstance(failure, Mapping):
        raise SpecError(f"{where}: failure: expected an object or null, got {failure!r:.80}")
    examples = entry.get("examples")
    return _Result(
        verdict=str(verdict),
        reason=str(entry.get("reason") or ""),
        examples=examples if isinstance(examples, int) else None,
        failure=failure,
        page=None if failure is None else _page_name(backend, number, taken),
    )


def _page_name(backend: str, number: str, taken: set[str]) -> str:
    """``failure-<backend>-<clause>.html``, in characters that every file system has, once."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{backend}-{number}").strip("-.") or "page"
    names = (
        f"failure-{plain[:120]}{mark}.html" for mark in ("", *(f"-{n}" for n in range(2, 999)))
    )
    # File systems that ignore case would take two names for one.
    name = next(name for name in names if name.lower() not in taken)
    taken.add(name.lower())
    return name


def _field(holder: Mapping[str, Any], key: str, words: str, where: str) -> Any:
    value = holder.get(key)
    if not isinstance(value, _KINDS[words]):
        raise SpecError(f"{where}: {key}: expected {words}, got {value!r:.80}")
    return value


def _optional(holder: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value: Mapping[str, Any] = (
        {} if holder.get(key) is None else _field(holder, key, "an object", where)
    )
    return value


# The matrix


def _index(suite: Mapping[str, Any], backends: Sequence[_Backend]) -> str:
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
            _matrix(backends),
            _profiles(backends),
            _obligations(backends),
            _legend(backends),
        ),
    )
    return document(title, body, scripts=("matrix.js", "copy.js"))


def _badge(verdict: str, *more: Child) -> Markup:
    """A verdict as symbol, word and colour; the element around it says the colour."""
    return tag("span", f"{_SYMBOL[verdict]} {verdict}", *more, class_="verdict")


def _card(backend: _Backend) -> Markup:
    counts = Counter(result.verdict for result in backend.results.values())
    found = [verdict for verdict in _SYMBOL if counts[verdict]]
    identity = f"command-{_anchor(backend.name)}"
    return tag(
        "section",
        tag("h2", backend.name, " ", tag("span", backend.version, class_="quiet")),
        _bar(counts),
        tag(
            "ul",
            *(
                tag("li", _badge(verdict, f" {counts[verdict]}"), data_verdict=verdict)
                for verdict in found
            ),
            class_="verdicts",
        ),
        tag("div", *(tag("span", name, class_="badge") for name in backend.capabilities)),
        _facts({"seed": backend.seed, **backend.evidence}),
        _code("run it again", backend.command or _usual_command(backend), identity),
        class_="card",
        aria_label=f"backend {backend.name}",
    )


def _anchor(name: str) -> str:
    """An identity for an element: the name, or rather its code points where they are unusual."""
    return re.sub(r"[^A-Za-z0-9]", lambda odd: f"_{ord(odd.group()):x}_", name)


def _usual_command(backend: _Backend) -> str:
    seed = f" --seed={backend.seed}" if isinstance(backend.seed, int) else ""
    return f"pytest --pyargs cellspec.conformance --engine-backend=MODULE:CLASS{seed}"


def _bar(counts: Counter[str]) -> Markup:
    """The counts as one stacked bar; the words beside it say the same."""
    total, at = sum(counts.values()) or 1, 0.0
    parts = []
    for verdict in _SYMBOL:
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


def _words(key: object) -> str:
    return str(key).replace("_", " ")


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


def _matrix(backends: Sequence[_Backend]) -> Markup:
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


def _chapters_of(backends: Sequence[_Backend]) -> Iterator[tuple[str, str, list[str]]]:
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


def _clause_row(number: str, backends: Sequence[_Backend]) -> Markup:
    results = [backend.results.get(number) for backend in backends]
    is_open = any(result is None or result.verdict in _OPEN for result in results)
    return tag(
        "tr",
        tag("th", tag("b", number), _sentence(number), scope="row", class_="clause"),
        *map(_result_cell, results),
        id=number,
        class_="clause",
        data_open="yes" if is_open else "no",
    )


def _sentence(number: str) -> str:
    clause = clauses().get(number)
    return clause.text if clause else "(a clause that this report does not know)"


def _result_cell(result: _Result | None) -> Markup:
    if result is None:
        return tag("td", tag("span", "no result", class_="quiet"), class_="result")
    words = f"{_SYMBOL[result.verdict]} {result.verdict}"
    verdict = (
        tag("a", words, href=result.page, class_="verdict")
        if result.page
        else tag("span", words, class_="verdict")
    )
    many = result.examples
    count = None if many is None else f"{many:,} example{'' if many == 1 else 's'}"
    reason = None if result.verdict == "pass" else result.reason or None
    return tag(
        "td",
        verdict,
        tag("small", count) if count else None,
        tag("small", reason, class_="reason") if reason else None,
        class_="result",
        data_verdict=result.verdict,
    )


def _profiles(backends: Sequence[_Backend]) -> Markup | None:
    """What was tried in each profile's campaign, or why there was none."""
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
    parts.append(f"{sum(bool(count) for count in met)} of {len(met)} situations")
    stopped = profile.get("stopped_at")
    return tag(
        "td",
        " · ".join(parts),
        tag("span", f" ✗ stopped at {stopped}", class_="never") if stopped else None,
    )


def _obligations(backends: Sequence[_Backend]) -> Markup | None:
    """Situations that the campaigns were in; one that never came has proved nothing."""
    names = list(dict.fromkeys(name for backend in backends for name in backend.sometimes))
    if not names:
        return None
    rows = (
        (tag("th", name, scope="row"), *(_times(each.sometimes.get(name)) for each in backends))
        for name in names
    )
    about = "A campaign must have been in each situation; what never happened proves nothing."
    title = "Situations the campaigns were in"
    return _comparison(title, about, "situation", backends, rows)


def _comparison(
    title: str,
    about: str,
    head: str,
    backends: Sequence[_Backend],
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
        return tag("td", tag("span", "not owed", class_="quiet"))
    if not count:
        return tag("td", tag("span", "✗ never", class_="never"))
    return tag("td", _value(count))


def _legend(backends: Sequence[_Backend]) -> Markup:
    used = {result.verdict for backend in backends for result in backend.results.values()}
    rows = (
        tag("tr", tag("td", _badge(verdict), data_verdict=verdict), tag("td", _MEANING[verdict]))
        for verdict in _SYMBOL
        if verdict not in _BEYOND or verdict in used
    )
    return tag(
        "section",
        tag("h2", "What the verdicts mean"),
        tag("table", tag("tbody", *rows), class_="plain"),
        aria_label="Verdicts",
    )


# A failure


def _failure_page(backend: _Backend, number: str, result: _Result) -> str:
    failure = result.failure or {}
    clause = clauses().get(number)
    title = f"{number} · {backend.name}"
    top = tag(
        "header",
        tag("p", tag("a", "← all clauses", href=f"{INDEX}#{number}")),
        tag(
            "h1",
            f"{number} ",
            _badge(result.verdict),
            " ",
            tag("span", f"{backend.name} {backend.version}", class_="quiet"),
            data_verdict=result.verdict,
        ),
        _callout(number, clause, failure),
    )
    grid = _grid(failure)
    main = tag(
        "main",
        _story(failure),
        grid,
        _workload(failure),
        _again(failure),
    )
    return document(title, (top, main), scripts=SCRIPTS if grid else ("copy.js",))


def _callout(number: str, clause: Clause | None, failure: Mapping[str, Any]) -> Markup:
    broken = str(failure.get("clause") or number)
    other = f"broke {broken}: " if broken != number else ""
    return tag(
        "div",
        tag("p", _sentence(number), class_="clause-text"),
        tag("p", clause.intent, class_="quiet") if clause else None,
        tag("p", f"✗ {other}{failure.get('detail') or 'no detail was given'}", class_="detail"),
        class_="callout",
    )


def _story(failure: Mapping[str, Any]) -> Markup | None:
    lines = failure.get("story")
    if not isinstance(lines, list | tuple) or not lines:
        return None
    return tag(
        "section",
        tag("h2", "The explanation"),
        tag("ol", *(tag("li", _with_links(str(line))) for line in lines), class_="story"),
        aria_label="The explanation",
    )


def _with_links(line: str) -> Markup:
    """A line of the explanation; what it calls an event moves the slider there."""
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
        tag("details", tag("summary", "case file"), _code("case file (JSON)", case, "case")),
        aria_label="Workload",
    )


def _again(failure: Mapping[str, Any]) -> Markup | None:
    blocks = [
        _code(title, str(failure[key]), f"again-{key}")
        for key, title in (("replay", "replay it"), ("pytest", "as a test"))
        if failure.get(key)
    ]
    if not blocks:
        return None
    return tag("section", tag("h2", "See it again"), *blocks, aria_label="See it again")


def _code(title: str, code: str, identity: str) -> Markup:
    return tag(
        "div",
        tag(
            "div",
            tag("h3", title),
            tag("button", "copy", type="button", data_copy=identity, aria_label=f"copy: {title}"),
            class_="code-head",
        ),
        tag("pre", tag("code", code, id=identity), class_="code"),
    )
