"""Hints for a file that was given to the wrong command: its kind, and the command that takes it.

The parse error of a good file of another kind helps its reader little. The beginning of a file
tells its kind. For a file of an unknown kind the hint is empty, and the parse error stands.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cellspec.errors import SpecError

__all__ = ["hint_for_check", "hint_for_run", "hinting_at_replay"]

HEAD_BYTES = 1 << 16


def hint_for_run(path: str | Path) -> str:
    """The hint for a file that `run` cannot read as a scenario; "" if its kind is unknown."""
    kind = _kind(Path(path))
    return {
        "trace": f"this is a trace of a run: cellspec check {path} judges it, and cellspec "
        f"calibrate {path} makes a scenario of it",
        "case": f"this is a failure that was found: cellspec replay {path}",
        "chrome": "this is a Chrome trace, made for looking at (ui.perfetto.dev); run takes a "
        "scenario",
        "datadesigner": "this is a DataDesigner configuration: put it under pipeline: in a "
        f"scenario, as in pipeline: {{datadesigner: {path}}}, with name, rows and limits",
        "opentelemetry": f"these are OpenTelemetry spans: cellspec calibrate {path} makes a "
        "scenario of calls to models",
        "python": "this is Python; of a DataDesigner recipe write the configuration that its "
        "builder holds as YAML, and put that under pipeline: in a scenario",
    }.get(kind, "")


def hint_for_check(path: str | Path) -> str:
    """The hint for a file that `check` cannot read as a trace; "" if its kind is unknown."""
    kind = _kind(Path(path))
    return {
        "scenario": f"this is a scenario: cellspec run {path} --trace FILE writes a trace",
        "case": f"this is a failure that was found: cellspec replay {path}",
        "datadesigner": "this is a DataDesigner configuration, and check takes a trace of a run; "
        f"put it under pipeline: in a scenario, as in pipeline: {{datadesigner: {path}}}",
        "chrome": "this is a Chrome trace, made for looking at (ui.perfetto.dev); check takes the "
        "trace that it was made from",
        "opentelemetry": "these are OpenTelemetry spans, and check takes a cellspec trace: one "
        "JSON object a line, a header first (plans/trace.md says how to write one)",
    }.get(kind, "")


@contextmanager
def hinting_at_replay(path: str) -> Iterator[None]:
    """A context in which an error about a file of another kind ends with the hint for that file."""
    try:
        yield
    except SpecError:
        if hint := _hint_for_replay(path):
            raise SpecError(f"{path}: {hint}") from None
        raise


def _hint_for_replay(path: str) -> str:
    kind = _kind(Path(path))
    return {
        "scenario": f"this is a scenario: cellspec run {path} --trace FILE writes a trace, which "
        "replay takes",
        "datadesigner": "this is a DataDesigner configuration, and replay takes a trace or a case; "
        f"put it under pipeline: in a scenario, as in pipeline: {{datadesigner: {path}}}",
        "chrome": "this is a Chrome trace, made for looking at (ui.perfetto.dev); replay takes the "
        "trace that it was made from",
        "opentelemetry": "these are OpenTelemetry spans; replay takes a cellspec trace or a case",
    }.get(kind, "")


def _kind(path: Path) -> str:
    text = _head(path)
    start = text.lstrip()
    first = start.partition("\n")[0]
    if first.startswith("{") and '"trace":' in first and '"engine":' in first:
        return "trace"
    if first.startswith("{") and re.search(r'"(traceEvents|displayTimeUnit)"', text):
        return "chrome"
    if first.startswith("[") and '"ph"' in text:
        return "chrome"
    if start[:1] in ("{", "[") and re.search(r'"(resource|scope)_?[sS]pans"', text):
        return "opentelemetry"
    if start.startswith("cellspec1.") or (
        start.startswith("{") and '"failure":' in text and '"workload":' in text
    ):
        return "case"
    if re.search(r'^\s*"?data_designer"?\s*:|\bcolumn_type"?\s*:', text, re.MULTILINE):
        return "datadesigner"
    if path.suffix == ".py":
        return "python"
    # As YAML, or as JSON.
    key = '"{}" *:' if start.startswith("{") else "^{}:"
    if all(re.search(key.format(name), text, re.MULTILINE) for name in ("rows", "limits")):
        return "scenario"
    return ""


def _head(path: Path) -> str:
    """The beginning of a file as text, unpacked if it is packed; "" if it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(HEAD_BYTES)
        if data.startswith(b"\x1f\x8b"):
            data = zlib.decompressobj(wbits=31).decompress(data, HEAD_BYTES)
    except (OSError, zlib.error):
        return ""
    return data.decode("utf-8-sig", "replace")
