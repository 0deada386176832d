"""Reader of traces: a stream in constant memory that refuses a bad line by its number.

A reader checks every line. A trace comes from another program, another language or another disk; it
may be cut off, damaged, sorted, or something else altogether. Each line is decoded by types and
bounds (`cellspec.trace.format`), each event is checked against the fields of its kind, events must
be numbered without a gap, and the footer must count them. A mistake raises `TraceError`, one line
that names the file, the line, the field and the expected value, and reading stops there.

The hot path is one `decode` of msgspec and one look at the fields. Only when that fails is a line
looked at again, slowly, to name the mistake.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NoReturn, TypeVar

import msgspec

from cellspec.errors import TraceError
from cellspec.trace.format import (
    CHOICES,
    KINDS,
    LINE_BYTES_MAX,
    TRACE_VERSION,
    Event,
    Footer,
    Header,
    misfit,
)

__all__ = [
    "MALFORMED",
    "TraceReader",
    "decode_event",
    "decode_header",
    "event_from_json",
    "explain",
    "header_from_json",
]

_CHUNK_BYTES = 1 << 18
_GZIP_MAGIC = b"\x1f\x8b"
_SHOWN_CHARACTERS = 60

decode_header = msgspec.json.Decoder(Header).decode
decode_event = msgspec.json.Decoder(Event).decode
decode_footer = msgspec.json.Decoder(Footer).decode

MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

T = TypeVar("T")


class TraceReader:
    """A trace file, read once from its header to its footer. A context manager.

    Iterating yields the events; when it ends without an error, `footer` is there and agrees with
    them. Compressed files (gzip) are recognised by their first bytes.

    Args:
        source: a path, or an open binary file, which stays open.
        name: the name of the source in errors; by default its path, or "trace".

    Attributes:
        header: line 1.
        footer: the last line, or None until it is read.
        line: the number of the last line that was read.
        events: how many events were read.

    Raises:
        TraceError: the file cannot be read, or its first line is not a header.
    """

    def __init__(self, source: Path | str | BinaryIO, *, name: str | None = None) -> None:
        self.line = 0
        self.events = 0
        self.footer: Footer | None = None
        self._counts: dict[str, int] = dict.fromkeys(KINDS, 0)
        self._opened: list[BinaryIO] = []
        is_path = isinstance(source, str | Path)
        self.name = name if name is not None else str(source) if is_path else "trace"
        try:
            file = self._open(source)
            self._chunks = self._read_chunks(file)
            self._lines = self._read_lines()
            self.header = self._read_header()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> TraceReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file that the reader opened."""
        while self._opened:
            self._opened.pop().close()

    # Bytes

    def _open(self, source: Path | str | BinaryIO) -> BinaryIO:
        if not isinstance(source, str | Path):
            file = source
        else:
            try:
                file = Path(source).open("rb")  # noqa: SIM115 - closed by close()
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                self._refuse("", f"cannot be read: {reason}", whole=True)
            self._opened.append(file)
        return file

    def _read_chunks(self, file: BinaryIO) -> Iterator[bytes]:
        """The bytes of the file, uncompressed."""
        read = file.read
        try:
            chunk = read(_CHUNK_BYTES)
            if chunk.startswith(_GZIP_MAGIC):
                raw = io.BufferedReader(_Rest(chunk, file), _CHUNK_BYTES)
                read = gzip.GzipFile(fileobj=raw).read
                chunk = read(_CHUNK_BYTES)
            while chunk:
                yield chunk
                chunk = read(_CHUNK_BYTES)
        except EOFError:
            self.line += 1
            self._refuse("", "the compressed file is cut off here")
        except (OSError, zlib.error) as error:
            self.line += 1
            self._refuse("", f"cannot be read further: {error}")

    def _read_lines(self) -> Iterator[bytes]:
        """Lines without their ends; memory is bounded by the longest line that is allowed."""
        parts: list[bytes] = []
        size = 0
        for chunk in self._chunks:
            head, *more = chunk.split(b"\n")
            parts.append(head)
            size += len(head)
            if size > LINE_BYTES_MAX:
                self.line += 1
                self._refuse("", f"expected a line of at most {LINE_BYTES_MAX >> 20} MiB")
            if more:
                yield b"".join(parts)
                tail = more.pop()
                yield from more
                parts, size = [tail], len(tail)
        if size:
            yield b"".join(parts)

    # Lines

    def _read_header(self) -> Header:
        line = next(self._lines, None)
        if line is None:
            self._refuse("", "expected a trace, got an empty file", whole=True)
        self.line = 1
        try:
            return decode_header(line)
        except MALFORMED as error:
            self._refuse_header(line, error)

    def _refuse_header(self, line: bytes, error: Exception) -> NoReturn:
        value = self._parse(line)
        if "trace" not in value:
            if "event" in value or "footer" in value:
                got = "an event" if "event" in value else "a footer"
                self._refuse("", f"expected the header first, got {got}", clause="TRACE-01")
            self._refuse("", "expected the header of a trace, got another object")
        version = value["trace"]
        if type(version) is int and version > TRACE_VERSION:
            self._refuse(
                "trace",
                f"expected version 1 to {TRACE_VERSION}, got {_show(version)}, which is newer than "
                "this reader",
            )
        self._refuse_field(value, error)

    def __iter__(self) -> Iterator[Event]:
        """The events, one by one.

        Raises:
            TraceError: at the first line that is wrong, or at the end of a file without a footer.
        """
        number, counts = self.events, self._counts
        for line in self._lines:
            self.line += 1
            try:
                event = decode_event(line)
            except MALFORMED as error:
                self._end(line, error)
                return
            number += 1
            if event.seq != number:
                self._refuse("seq", f"expected {number}, got {event.seq}", clause="TRACE-01")
            odd = misfit(event)
            if odd is not None:
                self._refuse(*odd)
            self.events = number
            counts[event.event] += 1
            yield event
        if self.footer is None:
            self.line += 1
            self._refuse(
                "",
                f"expected event {number + 1} or the footer, but the file ends: the trace is cut "
                "off",
            )

    def _end(self, line: bytes, error: Exception) -> None:
        """A line that is not an event: the footer, or a mistake."""
        value = self._parse(line)
        if "trace" in value:
            self._refuse("trace", "expected an event, got a second header", clause="TRACE-01")
        if "footer" not in value:
            self._refuse_field(value, error)
        try:
            footer = decode_footer(line)
        except MALFORMED as wrong:
            self._refuse_field(value, wrong)
        if footer.footer is not True:
            self._refuse("footer", "expected true, got false")
        self._check_counts(footer)
        for _ in self._lines:
            self.line += 1
            self._refuse("", "expected nothing after the footer", clause="TRACE-01")
        self.footer = footer

    def _check_counts(self, footer: Footer) -> None:
        if footer.events != self.events:
            self._refuse(
                "events",
                f"expected {self.events}, the number of events before it, got {footer.events}",
                clause="TRACE-01",
            )
        stated = {str(kind): count for kind, count in footer.counts.items()}
        for kind in KINDS:
            expected, got = self._counts[kind], stated.get(kind, 0)
            if expected != got:
                self._refuse(f"counts.{kind}", f"expected {expected}, got {got}", clause="TRACE-01")

    # Messages

    def _refuse(
        self, field: str, expected: str, *, clause: str | None = None, whole: bool = False
    ) -> NoReturn:
        line = None if whole else self.line
        raise TraceError(self.name, line, field, expected, clause=clause) from None

    def _parse(self, line: bytes) -> dict[str, Any]:
        """A line as an object, or the reason why it is none."""
        if not line.strip():
            self._refuse("", "expected a JSON object, got an empty line")
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            self._refuse("", f"expected UTF-8, got byte 0x{line[error.start]:02x}")
        if text.startswith("\ufeff"):
            self._refuse("", "expected a JSON object, got a byte order mark")
        try:
            value = json.loads(text, parse_constant=self._refuse_constant)
        except TraceError:
            raise
        except RecursionError:
            self._refuse("", "expected a JSON object, got one nested too deeply")
        except ValueError as error:
            # The second family: integers of thousands of digits.
            reason = getattr(error, "msg", "a number that is too long")
            place = f" at character {error.pos + 1}" if hasattr(error, "pos") else ""
            self._refuse("", f"expected a JSON object, got something else: {reason}{place}")
        if not isinstance(value, dict):
            self._refuse("", f"expected a JSON object, got {_show(value)}")
        return value

    def _refuse_constant(self, constant: str) -> NoReturn:
        self._refuse("", f"expected finite numbers, got {constant}")

    def _refuse_field(self, value: object, error: Exception) -> NoReturn:
        field, expected = explain(error, value)
        self._refuse(field, expected)


class _Rest(io.RawIOBase):
    """A file of which the beginning was read already."""

    def __init__(self, first: bytes, file: BinaryIO) -> None:
        self._first = first
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._first[: len(buffer)] if self._first else self._file.read(len(buffer))
        self._first = self._first[len(data) :]
        buffer[: len(data)] = data
        return len(data)


_MESSAGE = re.compile(r"(?P<text>.*?)(?: - at (?:`key` in )?`\$\.?(?P<path>[^`]*)`)?", re.DOTALL)
_OBJECT = re.compile(r"Object (missing required|contains unknown) field `(.*)`", re.DOTALL)


def explain(error: Exception, value: object) -> tuple[str, str]:
    """The field that msgspec refused, and the expected value, in our words."""
    found = _MESSAGE.fullmatch(str(error))
    text, path = (found["text"], found["path"] or "") if found else (str(error), "")
    about = _OBJECT.fullmatch(text)
    if about is not None:
        field = ".".join(filter(None, (path, about[2])))
        needed = about[1].startswith("missing")
        return _printable(field), "expected a value, got none" if needed else "no such field"
    given = _at(value, path)
    if text.startswith("Invalid enum value"):
        words = CHOICES.get(re.sub(r"\[.*", "", path.rpartition(".")[2]), ())
        text = f"expected one of {', '.join(words)}"
    else:
        text = text[:1].lower() + text[1:].replace("`", "")
    return _printable(path), text + ("" if given is _UNKNOWN else f"; got {_show(given)}")


_UNKNOWN = object()


def _at(value: object, path: str) -> object:
    """The value that a path of msgspec leads to; keys of free objects are not in the path."""
    for step in re.findall(r"[^.\[\]]+", path):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return _UNKNOWN
    return value


def _show(value: object) -> str:
    try:
        text = json.dumps(value)
    except (ValueError, RecursionError):
        return "a value that is too large to show"
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


def _printable(name: str) -> str:
    name = name if name.isprintable() else ascii(name)[1:-1]
    return name if len(name) <= _SHOWN_CHARACTERS else name[: _SHOWN_CHARACTERS - 3] + "..."


# Plain values


def header_from_json(value: object) -> Header:
    """A header from plain values, as `to_json` gives them.

    Raises:
        TraceError: the field, and the expected value.
    """
    return _from_json(value, Header)


def event_from_json(value: object) -> Event:
    """An event from plain values, as `to_json` gives them.

    Raises:
        TraceError: the field, and the expected value.
    """
    event = _from_json(value, Event)
    odd = misfit(event)
    if odd is not None:
        raise TraceError("event", None, *odd)
    return event


def _from_json(value: object, line: type[T]) -> T:
    try:
        return msgspec.convert(value, line)
    except (msgspec.ValidationError, RecursionError) as error:
        field, expected = explain(error, value)
        raise TraceError(line.__name__.lower(), None, field, expected) from None
