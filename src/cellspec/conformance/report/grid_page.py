"""A trace as a picture: the grid rows × columns at every event, with a slider over time.

A trace is a list of events; a mistake shows in the table. `grid_section` packs a trace into data
for the scripts beside this module: ``replay.js`` steps through the events and applies each to the
picture, ``grid.js`` draws it. Both only display: an event that the specification forbids is drawn
as the engine reported it, because the reader came to see it. So a bad trace is drawn too. Columns
and rows that do not exist, fields of the wrong type, clocks that stand still or run back are all
shown as text, and only a header without columns or without a number of rows is refused.

The data is compact: an event is a short array, column names are replaced by their positions, and
usual values are left out. Snapshots that make the slider quick are taken in the browser.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

from cellspec.conformance.report.markup import Markup, document, json_block, tag
from cellspec.errors import SpecError
from cellspec.trace import graph_of, header_from_json

__all__ = ["MAX_CELLS", "MAX_EVENTS", "SCRIPTS", "grid_section", "render_trace"]

MAX_CELLS = 4_000_000
"""Cells of the largest grid that a page shows; the browser holds a few bytes for each."""
MAX_EVENTS = 1_000_000
"""Events of the longest trace that a page shows: a file of about 40 MB."""

SCRIPTS = ("replay.js", "grid.js", "copy.js")
"""The scripts of a page that has a grid."""

# Fields that have a place of their own in an event's array; the others travel by name.
_PLACED = frozenset({"seq", "t", "event", "column", "rows", "scope"})


def render_trace(
    header: Mapping[str, Any],
    events: Iterable[Mapping[str, Any]],
    title: str,
    *,
    violation: int | None = None,
) -> str:
    """A page of its own for one trace: equal traces give equal bytes.

    Args:
        header: the trace's first line.
        events: its events, in order.
        title: the title of the page, in a few words.
        violation: the ``seq`` of the event that broke a clause, to be marked.

    Raises:
        SpecError: the header has no grid to draw, or there is more than a page can show.
    """
    engine = header.get("engine")
    about = [f"{key} {value}" for key, value in _facts(header, engine)]
    body = (
        tag("header", tag("h1", title), tag("p", " · ".join(about), class_="about")),
        tag("main", grid_section(header, events, violation=violation)),
    )
    return document(title, body, scripts=SCRIPTS)


def _facts(header: Mapping[str, Any], engine: object) -> Iterable[tuple[str, object]]:
    if isinstance(engine, Mapping):
        yield "engine", " ".join(str(engine[k]) for k in ("name", "version") if k in engine)
    for key in ("seed", "clock"):
        if header.get(key) is not None:
            yield key, header[key]


def grid_section(
    header: Mapping[str, Any],
    events: Iterable[Mapping[str, Any]],
    *,
    violation: int | None = None,
    why: str = "",
) -> Markup:
    """The section of a page that shows a trace; the page must load `SCRIPTS`.

    Args:
        header: the trace's first line.
        events: its events, in order.
        violation: the ``seq`` of the event that broke a clause, if one did.
        why: the violation by that event, in one line.

    Raises:
        SpecError: the header has no grid to draw, or there is more than a page can show.
    """
    data = encode(header, list(events))
    data["violation"] = violation
    data["why"] = why
    return tag(
        "section",
        tag("h2", "What happened, event by event"),
        tag(
            "noscript",
            tag("p", "The grid is drawn by a script of this page, and scripts are switched off."),
        ),
        tag("div", id="replay"),
        json_block("trace-data", data),
        class_="replay",
        aria_label="Events and grid",
    )


def encode(header: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The data of a trace for ``replay.js``, which describes it.

    Raises:
        SpecError: see `grid_section`.
    """
    graph = _mapping(header, "graph", "trace header")
    columns = _columns(graph)
    rows = graph.get("rows")
    if not _is_count(rows):
        raise SpecError(f"trace header: graph: rows: expected a number of rows, got {rows!r}")
    most = _most_rows(rows, events, MAX_CELLS // len(columns))
    limits = header.get("limits")
    limits = limits if isinstance(limits, Mapping) else {}
    failures = header.get("failures")
    attempts = failures.get("max_attempts") if isinstance(failures, Mapping) else None
    names = _Places(column["name"] for column in columns)
    kinds = _Places()
    packed = [_pack(event, names, kinds) for event in events]
    numbers = [event.get("seq") for event in events]
    data: dict[str, Any] = {
        "columns": _layout(header, columns, limits),
        "rows": rows,
        "mostRows": most,
        "maxAttempts": attempts if _is_count(attempts) else 1,
        "limits": _limits(limits),
        "kinds": kinds.words,
        "names": names.words,
        "events": packed,
    }
    if numbers != list(range(1, len(events) + 1)):
        data["seq"] = [_plain(number) for number in numbers]
    return data


def _mapping(holder: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = holder.get(key)
    if not isinstance(value, Mapping):
        raise SpecError(f"{where}: {key}: expected an object, got {value!r:.80}")
    return value


def _columns(graph: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    columns = graph.get("columns")
    if not isinstance(columns, Sequence) or isinstance(columns, str) or not columns:
        raise SpecError(f"trace header: graph: columns: expected a list, got {columns!r:.80}")
    for place, column in enumerate(columns):
        if not isinstance(column, Mapping) or not isinstance(column.get("name"), str):
            raise SpecError(
                f"trace header: graph: columns[{place}]: expected an object with a name, "
                f"got {column!r:.80}"
            )
    return list(columns)


def _most_rows(rows: int, events: Sequence[Mapping[str, Any]], bound: int) -> int:
    """The largest number of rows in any incarnation; resumes with an absurd number are left out."""
    if rows > bound or len(events) > MAX_EVENTS:
        raise SpecError(
            f"trace: {rows:,} rows and {len(events):,} events are more than a page can show; it "
            f"has room for {bound:,} rows of these columns and {MAX_EVENTS:,} events"
        )
    targets = (event.get("records") for event in events if event.get("event") == "resume")
    return max([rows, *(target for target in targets if _is_count(target) and target <= bound)])


def _layout(
    header: Mapping[str, Any], columns: Sequence[Mapping[str, Any]], limits: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The look of each column: its inputs, and the number of rows of a barrier's scope.

    The graph's rules say this. If the header makes no graph, its columns are drawn as plain
    columns.
    """
    try:
        rules = graph_of(header_from_json(header)).rules
    except (SpecError, UnicodeEncodeError):  # a name may hold half of a surrogate pair
        known = {}
    else:
        known = {rule.name: rule for rule in rules.columns}
    place_of = {column["name"]: place for place, column in enumerate(columns)}
    resource_of = limits.get("column_resource")
    resource_of = resource_of if isinstance(resource_of, Mapping) else {}
    drawn = []
    for column in columns:
        resource = resource_of.get(column["name"])
        item: dict[str, Any] = {
            "name": column["name"],
            "traits": _strings(column.get("traits")),
            "needs": [],
            "scope": 0,
            "streams": False,
            "resource": resource if isinstance(resource, str) else None,
        }
        rule = known.get(column["name"])
        if rule is not None:
            item["needs"] = [place_of[rules.columns[need].name] for need in rule.needs]
            # The dataset is one scope, even if a later incarnation changes its size.
            item["scope"] = rule.scope_rows if rule.batched else MAX_CELLS * rule.is_barrier
            item["streams"] = rule.streamable
        drawn.append(item)
    return drawn


def _limits(limits: Mapping[str, Any]) -> dict[str, Any]:
    resources = limits.get("resources")
    resources = resources if isinstance(resources, Mapping) else {}
    return {
        "workers": _plain(limits.get("workers")),
        "resources": [[str(name), _plain(limit)] for name, limit in resources.items()],
        "groupRows": _plain(limits.get("group_rows")),
        "groups": _plain(limits.get("groups")),
    }


class _Places:
    """Words by position; one that was not met before is given the next, so that it can be shown."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self.words = list(words)
        self._place: dict[str, int] = {}
        for place, word in enumerate(self.words):
            self._place.setdefault(word, place)

    def of(self, word: str) -> int:
        place = self._place.setdefault(word, len(self.words))
        if place == len(self.words):
            self.words.append(word)
        return place


def _pack(event: Mapping[str, Any], names: _Places, kinds: _Places) -> list[Any]:
    """``[kind, t, column, start, stop, scope, rest]``; -1 for a missing value."""
    kind, column = str(event.get("event")), event.get("column", "")
    start, stop = _rows(event.get("rows"))
    scope = event.get("scope")
    t = event.get("t")
    packed: list[Any] = [
        kinds.of(kind),
        t if isinstance(t, int | float) and not isinstance(t, bool) and math.isfinite(t) else None,
        -1 if column in ("", None) else names.of(str(column)),
        start,
        stop,
        scope if _is_count(scope) else -1,
    ]
    rest = {str(key): _plain(value) for key, value in event.items() if key not in _PLACED}
    if rest.get("attempt") == 1:
        del rest["attempt"]
    return [*packed, rest] if rest else packed


def _rows(rows: object) -> tuple[int, int]:
    if _is_count(rows):
        return rows, rows + 1
    if isinstance(rows, Sequence) and len(rows) == 2 and all(_is_count(row) for row in rows):
        return rows[0], rows[1]
    return -1, -1


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _strings(value: object) -> list[str]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return []
    return [item for item in value if isinstance(item, str)]


def _plain(value: Any) -> Any:
    """`value` as JSON can hold it in a browser: finite numbers, and names for keys."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | str) or _is_count(value):
        return value
    if isinstance(value, int | float) and math.isfinite(value) and abs(value) < 2**53:
        return value
    return str(value)
