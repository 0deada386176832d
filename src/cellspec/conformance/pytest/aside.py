"""Lines to the user past pytest's capture: what cannot wait for the end of a test.

A conformance run is a few long tests, and an engine that hangs makes one of them far longer. pytest
keeps what is printed in a test until it is over. So the file descriptor of stderr is copied before
pytest captures it, as pytest itself does for its dumps of a process that hangs.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys

__all__ = ["Aside"]


class Aside:
    """Stderr as it was when this object was made; without one, lines are dropped."""

    def __init__(self) -> None:
        self._fd: int | None = None
        with contextlib.suppress(AttributeError, OSError, io.UnsupportedOperation):
            self._fd = os.dup(sys.stderr.fileno())

    def say(self, line: str) -> None:
        """Write a line at once; it begins a new one, for pytest leaves its own unfinished."""
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.write(self._fd, f"\ncellspec: {line}\n".encode(errors="backslashreplace"))

    def close(self) -> None:
        """Write nothing more."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
