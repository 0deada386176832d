"""The source of a replay: a trace, a case file, or either of them as a replay string."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cellspec.conformance.run.case import Case, case_of
from cellspec.errors import SpecError, TraceError
from cellspec.replay.strings import PREFIX, from_string
from cellspec.trace import Event, Header, TraceReader, to_json

__all__ = ["Steps", "numbered", "read_source"]


@dataclass(frozen=True, slots=True)
class Steps:
    """A trace in memory; a failure has a few hundred steps.

    Attributes:
        source: its name.
        header: line 1.
        events: the steps, in order.
        unread: why reading ended before the footer; "" if it did not.
    """

    source: str
    header: Header
    events: tuple[Event, ...]
    unread: str = ""

    def to_lines(self) -> list[str]:
        """The trace again, without a footer, because a failure is not a whole run."""
        lines = [to_json(self.header), *map(to_json, self.events)]
        return [json.dumps(line, separators=(",", ":")) for line in lines]


def numbered(events: Iterable[Event]) -> Iterator[tuple[int, Event]]:
    """The events of a run, each with the number of its incarnation, from 0."""
    incarnation, over = 0, False
    for event in events:
        if over or event.event == "resume":
            incarnation += 1
        over = event.event in ("crash", "end")
        yield incarnation, event


def read_source(source: str) -> Steps | Case:
    """The content of a file or of a replay string.

    Raises:
        SpecError: it cannot be read, or is neither a trace nor a case; one line that names it.
    """
    if source.startswith(PREFIX):
        name, data = "replay string", from_string(source)
    else:
        name = source
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise SpecError(f"{source}: cannot be read: {error.strerror}") from None
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            raise SpecError(f"{name}: is damaged: it cannot be decompressed") from None
    if _is_case(data):
        return case_of(data, name)
    return _read_steps(data, name)


def _is_case(data: bytes) -> bool:
    """A case is one object with a field of its own; a trace's first line is an object already."""
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError):
        # Perhaps not a trace either: the message is best about the kind that it resembles.
        return data.lstrip()[:1] == b"{" and b'"trace"' not in data.partition(b"\n")[0]
    return not (isinstance(whole, dict) and "trace" in whole)


def _read_steps(data: bytes, name: str) -> Steps:
    with TraceReader(io.BytesIO(data), name=name) as reader:
        events: list[Event] = []
        unread = ""
        try:
            events.extend(reader)
        except TraceError as error:
            unread = str(error)
        return Steps(name, reader.header, tuple(events), unread)
