"""Writing a trace: numbered, checked, and under its name only when it is whole.

A trace is written while its run goes on, perhaps for hours, so it cannot be held back to be written
at once. It grows under its name with ``.partial`` at the end, and takes its name in one atomic step
when its footer is written and all of it is on the disk. So a file under the name is whole. A writer
that was killed, or gave up, leaves a file whose name ends in ``.partial``. Its lines can still be
read, up to where it ends.

A writer numbers the events and checks that each is one that a reader takes: the program that writes
an unreadable trace learns it at the first line.
"""

from __future__ import annotations

import contextlib
import gzip
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import msgspec

from cellspec.errors import TraceError
from cellspec.files import GrowingFile
from cellspec.trace.format import (
    KINDS,
    Event,
    Footer,
    Header,
    Kind,
    VerdictWord,
    misfit,
    to_json,
)
from cellspec.trace.reader import MALFORMED, decode_event, decode_header, explain

__all__ = ["PARTIAL", "TraceWriter"]

PARTIAL = ".partial"
"""What the name of a trace ends in that has no footer yet."""

_BUFFER_BYTES = 1 << 18

_encode = msgspec.json.Encoder().encode


class Stream(Protocol):
    """A target of bytes."""

    def write(self, data: bytes | bytearray, /) -> object:
        """Take all of them."""
        ...


class TraceWriter:
    """A trace file that grows event by event. A context manager: leaving it well writes the footer.

    Leaving it because of an exception calls `abandon` instead.

    Args:
        path: where the trace goes; compressed if it ends in ``.gz``. A file of that name is
            replaced when the trace is whole; a link, a pipe or a device is refused. Or a stream,
            which stays open, and where a reader must see to it that the footer comes.
        header: line 1; see `cellspec.trace.header_for`.

    Attributes:
        header: line 1.
        events: how many were written.
        footer: the last line, once it is written.

    Raises:
        TraceError: a header that readers refuse, or a file that cannot be written.
    """

    def __init__(self, path: Path | str | Stream, header: Header) -> None:
        self.path = Path(path if isinstance(path, (str, Path)) else getattr(path, "name", "trace"))
        self.header = header
        self.events = 0
        self.footer: Footer | None = None
        self._counts: Counter[str] = Counter()
        self._buffer = bytearray()
        line = self._encode(header)
        try:
            decode_header(line)
        except MALFORMED as error:
            raise TraceError(str(self.path), 1, *explain(error, to_json(header))) from None
        self._growing: GrowingFile | None = None
        self._packed: gzip.GzipFile | None = None
        self._out: Stream | None = None
        if isinstance(path, (str, Path)):
            self._out = self._open(self.path)
        else:
            self._out = path
        self._append(line)

    def _open(self, path: Path) -> Stream:
        try:
            self._growing = GrowingFile(path, partial=path.with_name(path.name + PARTIAL))
        except (OSError, ValueError) as error:
            raise self._unwritable(error) from None
        file = self._growing.file
        if not path.name.endswith(".gz"):
            return file
        # No name and no time inside: one run gives one sequence of bytes.
        self._packed = gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0)
        return self._packed

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abandon()

    def add(self, event: Kind, t: float, **fields: Any) -> Event:
        """Write one event: its kind, its time in seconds, and the fields that say something.

        Raises:
            TraceError: an event that readers refuse (the field, and the expected value), or storage
                refused.
        """
        made = Event(self.events + 1, t, event, **fields)
        self.write(made)
        return made

    def write(self, event: Event) -> None:
        """Write one event that is numbered already.

        Raises:
            TraceError: as `add` does, and if the event has another number than the next.
        """
        if event.seq != self.events + 1:
            raise TraceError(
                str(self.path),
                self.events + 2,
                "seq",
                f"expected {self.events + 1}, got {event.seq}",
                clause="TRACE-01",
            )
        # Read back, as every reader will: NaN, say, is written as null and refused there.
        line = self._encode(event)
        try:
            odd = misfit(decode_event(line))
        except MALFORMED as error:
            odd = explain(error, to_json(event))
        if odd is not None:
            raise TraceError(str(self.path), self.events + 2, *odd)
        self._append(line)
        self.events += 1
        self._counts[event.event] += 1

    def close(self, verdict: VerdictWord | None = None) -> Footer:
        """Write the footer, put all of it on the disk, and give the file its name.

        Args:
            verdict: the writer's own verdict, if it judged the run.

        Raises:
            TraceError: storage refused; the partial file stays.
        """
        if self.footer is not None:
            return self.footer
        counts = {kind: self._counts[kind] for kind in KINDS if self._counts[kind]}
        footer = Footer(True, self.events, counts, verdict)  # type: ignore[arg-type]  # kinds
        self._append(self._encode(footer))
        self._flush()
        try:
            if self._packed is not None:
                self._packed.close()
            if self._growing is not None:
                self._growing.publish()
        except (OSError, ValueError) as error:
            raise self._unwritable(error) from None
        self._out = None
        self.footer = footer
        return footer

    def abandon(self) -> None:
        """Give up: the lines so far stay, under a name that ends in ``.partial``."""
        out, self._out = self._out, None
        if out is None:
            return
        with contextlib.suppress(OSError, ValueError):
            out.write(self._buffer)
            if self._packed is not None:
                self._packed.close()
        if self._growing is not None:
            self._growing.abandon(keep=True)

    def _encode(self, line: Header | Event | Footer) -> bytes:
        try:
            return _encode(line)
        except (UnicodeEncodeError, TypeError, OverflowError, RecursionError) as error:
            reason = f"expected values that JSON has, and text that UTF-8 has: {error}"
            raise TraceError(str(self.path), self.events + 2, "", reason) from None

    def _append(self, line: bytes) -> None:
        if self._out is None:
            raise TraceError(str(self.path), None, "", "cannot be written: it is closed")
        self._buffer += line
        self._buffer += b"\n"
        if len(self._buffer) >= _BUFFER_BYTES:
            self._flush()

    def _flush(self) -> None:
        assert self._out is not None
        try:
            self._out.write(self._buffer)
        except (OSError, ValueError) as error:
            raise self._unwritable(error) from None
        self._buffer.clear()

    def _unwritable(self, error: Exception) -> TraceError:
        reason = getattr(error, "strerror", None) or str(error)
        return TraceError(str(self.path), None, "", f"cannot be written: {reason}")
