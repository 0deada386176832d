"""A workload as tables that a person can take in: columns, run, faults, skips, incarnations.

The tables show the content of a case file in the order of a reader's questions: the pipeline, the
limits, the failures, the crashes. A field that this module does not know is shown at the end, by
its name, rather than left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from cellspec.conformance.report.markup import Child, Markup, tag
from cellspec.text import counted, noun

__all__ = ["workload_section"]

# The fields that have a place of their own.
_PLACED = (
    *("case", "columns", "rows", "batch_size", "barrier_scope", "seed", "limits", "failures"),
    *("latency_s", "faults", "skips", "checkpoint_every_rows", "checkpoint_version", "crashes"),
    *("targets", "order_seed", "keep", "ends", "stop_at", "stop_twice"),
    *("storage_s", "storage_faults", "torn"),
)


def workload_section(work: Mapping[str, Any]) -> Markup:
    """A workload, given as the data of its case file."""
    facts = (part for name, words in _facts(work) for part in (tag("dt", name), tag("dd", words)))
    return tag(
        "div",
        _table(
            ("column", "traits", "needs", "side effects", "skips", "mean latency", "resource"),
            _column_rows(work),
        ),
        tag("dl", *facts, class_="facts"),
        _titled(
            "Calls that fail",
            ("column", "row or scope", "call", "failure", "backoff"),
            _fault_rows(work),
        ),
        _titled(
            "Calls that end at a set time",
            ("column", "row or scope", "incarnation", "call", "end"),
            _end_rows(work),
        ),
        _titled("Cells that are skipped", ("column", "row"), _skip_rows(work)),
        class_="workload",
    )


def _titled(title: str, heads: Sequence[str], rows: Iterable[Sequence[Child]]) -> Markup | None:
    found = list(rows)
    return tag("div", tag("h3", title), _table(heads, found)) if found else None


def _table(heads: Sequence[str], rows: Iterable[Sequence[Child]]) -> Markup:
    body = (
        tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:]))
        for row in rows
    )
    table = tag(
        "table",
        tag("thead", tag("tr", *(tag("th", head, scope="col") for head in heads))),
        tag("tbody", *body),
        class_="plain",
    )
    return tag("div", table, class_="wide")


def _column_rows(work: Mapping[str, Any]) -> Iterator[Sequence[Child]]:
    latency = _mapping(work.get("latency_s"))
    resource_of = _mapping(_mapping(work.get("limits")).get("column_resource"))
    for column in _items(work.get("columns")):
        fields = _mapping(column)
        name = str(fields.get("name", column))
        yield (
            tag("b", name, class_="mono"),
            _list(fields.get("traits"), str.lower),
            _list(fields.get("needs")),
            _list(fields.get("side_effects")),
            _skip_words(fields),
            f"{latency[name]} s" if name in latency else "usual",
            resource_of.get(name, "–"),
        )


def _skip_words(fields: Mapping[str, Any]) -> str:
    own = "by its own condition" if fields.get("may_skip") else ""
    kept = "" if fields.get("propagate_skip", True) else "not with its inputs"
    return ", ".join(part for part in (own, kept) if part) or "–"


def _facts(work: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    limits, failures = _mapping(work.get("limits")), _mapping(work.get("failures"))
    yield "rows", _plain(work.get("rows"))
    if work.get("batch_size") is not None:
        yield "batch", _counted(work["batch_size"], "row")
    if work.get("barrier_scope") == "batch":
        yield "barriers", "every one waits for its batch only"
    yield "limits", "; ".join(_limit_words(limits)) or "none"
    yield "failures", "; ".join(_failure_words(failures)) or "one attempt, no early stop"
    every = work.get("checkpoint_every_rows")
    rows = "row" if every == 1 else f"{every} rows"
    when = "at the end only" if every is None else f"every {rows}"
    yield "checkpoints", f"{when}, version {work.get('checkpoint_version', 1)}"
    yield "crashes", "; ".join(_crash_words(work)) or "none"
    stops = [f"incarnation {at} after step {step}" for at, step in _stops(work)]
    if stops:
        again = ", and again two steps later" if work.get("stop_twice") else ""
        yield "stop requests", "; ".join(stops) + again
    targets = _items(work.get("targets"))
    if targets:
        yield (
            "targets",
            "; ".join(
                f"incarnation {at}: {_counted(rows, 'row')}" for at, rows in enumerate(targets)
            ),
        )
    if work.get("keep"):
        yield "another target", "claimed rows of barriers that change are kept"
    storage = "; ".join(_storage_words(work))
    if storage:
        yield "storage", storage
    yield "seeds", f"latencies {work.get('seed', 0)}, order {work.get('order_seed', 0)}"
    for key, value in work.items():
        if key not in _PLACED:
            yield str(key), _plain(value)


def _stops(work: Mapping[str, Any]) -> Iterator[tuple[int, Any]]:
    return ((at, step) for at, step in enumerate(_items(work.get("stop_at"))) if step)


def _storage_words(work: Mapping[str, Any]) -> Iterator[str]:
    if work.get("storage_s"):
        yield f"{_plain(work['storage_s'])} s a write"
    for fault in map(_mapping, _items(work.get("storage_faults"))):
        lands = ", done all the same" if fault.get("lands") else ""
        lasts = ", as all later ones" if fault.get("lasts") else ""
        yield f"{fault.get('write')} write {fault.get('number', 1)} fails{lands}{lasts}"


def _limit_words(limits: Mapping[str, Any]) -> Iterator[str]:
    if limits.get("workers") is not None:
        yield _counted(limits["workers"], "worker")
    for name, limit in _mapping(limits.get("resources")).items():
        yield f"{limit} of {name}"
    if limits.get("group_rows") is not None:
        groups = limits.get("groups")
        most = "any number" if groups is None else f"at most {groups}"
        yield f"row groups of {_counted(limits['group_rows'], 'row')}, {most} admitted"


def _failure_words(failures: Mapping[str, Any]) -> Iterator[str]:
    attempts = failures.get("max_attempts")
    if attempts is not None:
        yield f"{attempts} {noun(attempts, 'attempt')}"
    if failures.get("stop_window") is not None:
        yield (
            f"early stop when {failures.get('stop_rate', 1.0)} of the last "
            f"{failures['stop_window']} calls failed permanently"
        )
    if failures.get("timeout_s") is not None:
        yield f"a call times out after {failures['timeout_s']} s"


def _crash_words(work: Mapping[str, Any]) -> Iterator[str]:
    torn = _items(work.get("torn"))
    for incarnation, step in enumerate(_items(work.get("crashes"))):
        operation = torn[incarnation] if incarnation < len(torn) else 0
        within = f"in operation {operation} on a file from step {step} on"
        where = within if operation else f"at step {step}"
        yield f"incarnation {incarnation} {where if step else 'not'}"


def _fault_rows(work: Mapping[str, Any]) -> Iterator[Sequence[Child]]:
    for fault in _items(work.get("faults")):
        fields = _mapping(fault)
        wait_s = fields.get("cool_down_s", 0)
        yield (
            tag("b", fields.get("column", ""), class_="mono"),
            _plain(fields.get("position")),
            _plain(fields.get("call", 1)),
            _plain(fields.get("failure")),
            f"{wait_s} s" if wait_s else "–",
        )


def _end_rows(work: Mapping[str, Any]) -> Iterator[Sequence[Child]]:
    for end in _items(work.get("ends")):
        fields = _mapping(end)
        yield (
            tag("b", fields.get("column", ""), class_="mono"),
            _plain(fields.get("position")),
            # The format's word for the incarnation.
            _plain(fields.get("life")),
            _plain(fields.get("call", 1)),
            f"{_plain(fields.get('t'))} s",
        )


def _skip_rows(work: Mapping[str, Any]) -> Iterator[Sequence[Child]]:
    for skip in _items(work.get("skips")):
        yield [tag("b", _plain(item), class_="mono") for item in _items(skip) or (skip,)]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _items(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _list(value: object, form: Any = str) -> str:
    return ", ".join(form(str(item)) for item in _items(value)) or "–"


def _counted(number: object, what: str) -> str:
    """A count with its noun; anything but a number stays as it is, for a file may hold anything."""
    return counted(number, what) if type(number) is int else f"{_plain(number)} {what}s"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
