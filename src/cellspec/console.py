"""The two streams of a command: results on stdout, and notes for a person on stderr.

`put` and `Stdout` write results; a stdout that is full, or has lost its reader, raises
`OutputError`, which `cellspec.exit_codes.run_command` turns into an exit code. `say` writes for a
person, and passes over a stderr that takes nothing.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TextIO

__all__ = ["OutputError", "Stdout", "complain", "flush", "forget_stream", "put", "put_line", "say"]


def say(text: str, end: str = "\n") -> None:
    """Write for a person on stderr; text that stderr does not take is left out.

    A stderr that is full, or has lost its reader, changes no verdict.
    """
    if sys.stderr is not None:
        try:
            print(text, end=end, file=sys.stderr, flush=True)
        except OSError:
            forget_stream(sys.stderr)


def complain(line: str, code: int) -> int:
    """Say a text as one line, and return the code."""
    say(" ".join(line.split()))
    return code


def put(text: str, out: TextIO | None = None) -> None:
    """Write the result of a command, or a part of it, to stdout or to `out`.

    Raises:
        OutputError: the stream is full, or has lost its reader.
    """
    stream = sys.stdout if out is None else out
    if stream is not None:
        with _of(stream):
            stream.write(text)


def put_line(line: object = "", out: TextIO | None = None) -> None:
    """Write a line, as `put` does."""
    put(f"{line}\n", out)


class Stdout:
    """Stdout as a stream of bytes, with the errors of `put`."""

    name = "stdout"

    def write(self, data: bytes | bytearray) -> None:
        """Write all of it.

        Raises:
            OutputError: stdout is full, or has lost its reader.
        """
        if sys.stdout is not None:
            with _of(sys.stdout):
                sys.stdout.flush()
                sys.stdout.buffer.write(data)

    def flush(self) -> None:
        """Do nothing: `cellspec.exit_codes.run_command` flushes at the end."""


def flush() -> None:
    """Flush stdout.

    Raises:
        OutputError: it is full, or has lost its reader.
    """
    if sys.stdout is not None:
        with _of(sys.stdout):
            sys.stdout.flush()


class OutputError(Exception):
    """A stream of results did not take a text.

    Attributes:
        reason: the error of the system.
        stream: the stream.
    """

    def __init__(self, reason: OSError, stream: TextIO) -> None:
        super().__init__(reason)
        self.reason = reason
        self.stream = stream


@contextlib.contextmanager
def _of(stream: TextIO) -> Iterator[None]:
    """Turn an error of the stream into one that differs from the errors of files."""
    try:
        yield
    except OSError as error:
        raise OutputError(error, stream) from error


def forget_stream(stream: TextIO) -> None:
    """Keep the interpreter from flushing a stream without a reader once more at its end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, stream.fileno())
        os.close(sink)
