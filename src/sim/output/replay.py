"""The words of ``cellspec replay`` and ``cellspec shrink``: a replay as text, JSON, trace and page.

All of it is the same bytes for the same case.
"""

from __future__ import annotations

import ast
import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cellspec.check.checker import Finding
from cellspec.check.explain import describe as describe_event
from cellspec.clauses import clause_set_data
from cellspec.conformance.report.grid_page import render_trace
from cellspec.conformance.run.registered import REFERENCE
from cellspec.files import write_files
from cellspec.replay.rerun import Replayed
from cellspec.trace import KINDS, Event, Footer, event_from_json, to_json

__all__ = [
    "render_json",
    "render_text",
    "replay_line",
    "script_text",
    "trace_text",
    "write_outputs",
]


def render_text(done: Replayed, *, test: bool = False) -> str:
    """The replay for a person."""
    lines = [*done.asked, ""]
    lines += [_event_line(event) for event in done.events]
    if done.state:
        lines += ["", *done.state]
    lines.append("")
    if done.finding is None:
        lines.append("no clause broke")
    else:
        where = "" if done.finding.seq is None else f" at event {done.finding.seq}"
        lines.append(f"violated: {done.finding.clause}{where}")
        lines += ["", *(f"  {line}" for line in done.finding.explanation)]
    lines += done.more
    if done.string:
        lines += ["", f"again: {replay_line(done.string, done.backend)}"]
    if test:
        lines += ["", done.test.rstrip()]
    return "\n".join(lines) + "\n"


def script_text(done: Replayed) -> str:
    """A Python script that runs the case and fails as long as it does: the test, called."""
    name = next(
        node.name for node in ast.parse(done.test).body if isinstance(node, ast.FunctionDef)
    )
    return f"{done.test.rstrip()}\n\n\n{name}()\n"


def replay_line(case: str, backend: str = "") -> str:
    """The command that replays a case; it names the engine, as a case's own word is never imported.

    Args:
        case: a file, or a line of text.
        backend: the engine; "" for the transition system, or the reference engine.
    """
    named = ["--backend", backend] if backend not in ("", REFERENCE) else []
    return shlex.join(["cellspec", "replay", *named, case])


def _event_line(event: Mapping[str, Any]) -> str:
    made: Event = event_from_json(event)
    return f"{made.seq:>5}  {describe_event(made)}"


def render_json(done: Replayed) -> str:
    """The replay for a program."""
    found = done.finding
    plain = {
        "case": done.source,
        "clauses": clause_set_data(),
        "violation": None
        if found is None
        else {
            "clause": found.clause,
            "detail": found.detail,
            "seq": found.seq,
            "story": list(found.explanation),
        },
        "more": list(done.more),
        "asked": list(done.asked),
        "header": done.header,
        "events": list(done.events),
        "state": list(done.state),
        "string": done.string,
        "backend": done.backend,
    }
    return json.dumps(plain, indent=2, ensure_ascii=False) + "\n"


def trace_text(done: Replayed) -> str:
    """The events of a replay as a trace."""
    lines = [done.header, *done.events, *done.rest]
    if not (done.is_part or done.is_cut_off):
        lines.append(_footer(lines[1:], done.finding))
    return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)


def write_outputs(done: Replayed, *, trace: Path | None, html: Path | None) -> None:
    """Write the trace of a replay, and its page.

    The trace goes on after the event that broke a clause, up to the end of that run of the process,
    and has its footer: it is the trace of a whole run, unless the replay was stopped or its own
    trace was cut off.

    Raises:
        SpecError: a file cannot be written, or its table is too large for a page.
    """
    if trace is not None:
        write_files(trace.parent, {trace.name: trace_text(done)})
    if html is not None:
        seq = None if done.finding is None else done.finding.seq
        title = "No clause broke" if done.finding is None else f"{done.finding.clause} broke"
        page = render_trace(done.header, done.events, title, violation=seq)
        write_files(html.parent, {html.name: page})


def _footer(events: Sequence[Mapping[str, Any]], finding: Finding | None) -> Mapping[str, Any]:
    found = Counter(event["event"] for event in events)
    counts: dict[Any, int] = {kind: found[kind] for kind in KINDS if found[kind]}
    return _json(Footer(True, len(events), counts, None if finding is None else "violated"))


def _json(value: Any) -> Mapping[str, Any]:
    plain: Mapping[str, Any] = to_json(value)
    return plain
