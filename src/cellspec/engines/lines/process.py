"""A process that speaks lines: started, written to, read from, and killed with its children.

An engine may do anything: die, print rubbish, write half a line, fall silent, leave children
behind. So a read waits for a bounded time of the real clock, a process is started as the leader of
a group of its own and killed as a group, and its stderr is kept, so that a report of its end shows
its last lines. This module knows lines, and leaves their meaning to others.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeAlias

from cellspec.errors import SpecError
from cellspec.trace.format import LINE_BYTES_MAX

__all__ = ["EngineDied", "EngineProcess", "EngineSilent", "Watch"]

_CHUNK_BYTES = 1 << 16
_ENDING_S = 1.0
_LAST_WORDS = 16
_KEPT_LINES = 12
# The beginnings of lines in which common languages report an error.
_TELLING = re.compile(r"\s*(?:[\w.]*(?:error|exception)\b|panic:|thread '.*' panicked)", re.I)
_SHOWN_CHARACTERS = 160

Watch: TypeAlias = Callable[[str, str], None]
"""Called with each line as it passes: ``"to"`` or ``"from"`` the engine, and its text."""


class EngineDied(RuntimeError):  # noqa: N818 - an event
    """The process ended by itself."""


class EngineSilent(TimeoutError):  # noqa: N818 - an event
    """The process is there, and was silent for too long."""


class EngineProcess:
    """One process of an engine.

    Args:
        command: the program and its arguments.
        folder: its working directory; None for that of this process.
        watch: called with each line.

    Attributes:
        lines_received: the number of lines that the process has written so far.

    Raises:
        SpecError: the process cannot be started.
    """

    def __init__(
        self, command: Sequence[str], folder: Path | None = None, watch: Watch | None = None
    ) -> None:
        self.lines_received = 0
        self._watch = watch
        self._left = b""
        self._reads = True
        self._recent: deque[str] = deque(maxlen=_KEPT_LINES)
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                cwd=folder,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            self._stderr.close()
            reason = error.strerror or str(error)
            raise SpecError(f"engine command {command[0]}: cannot be started: {reason}") from None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        # A process that does not read must not block this one.
        os.set_blocking(self._to, False)

    # Lines

    def send(self, line: bytes, limit_s: float) -> None:
        """Write a line.

        A process that ended, or closed its input, may have written lines before. So its end is no
        error here: `receive` gives those lines first, and reports the end after the last of them.
        Otherwise the report would depend on which of the two processes was faster.

        Raises:
            EngineSilent: the process does not read it.
        """
        self._note("to", line)
        until_s = time.monotonic() + limit_s
        while line:
            self._await(self._to, select.POLLOUT, until_s, "read nothing")
            try:
                line = line[os.write(self._to, line) :]
            except BlockingIOError:
                continue
            except OSError:
                self._reads = False
                return

    def receive(self, limit_s: float) -> bytes:
        """The next line that it writes, without its end.

        Raises:
            EngineDied: the process is gone.
            EngineSilent: it was silent for `limit_s` real seconds.
        """
        until_s = time.monotonic() + limit_s
        searched = 0
        while (end := self._left.find(b"\n", searched)) < 0:
            searched = len(self._left)
            if searched > LINE_BYTES_MAX:
                raise EngineDied(f"the engine wrote a line of more than {LINE_BYTES_MAX:,} bytes")
            if not self._reads and not _is_ready(self._from, select.POLLIN, _ENDING_S):
                self._died()
            self._await(self._from, select.POLLIN, until_s, "wrote no line")
            chunk = os.read(self._from, _CHUNK_BYTES)
            if not chunk:
                self._died()
            self._left += chunk
        line, self._left = self._left[:end], self._left[end + 1 :]
        self.lines_received += 1
        self._note("from", line)
        return line

    def _await(self, handle: int, event: int, until_s: float, what: str) -> None:
        limit_s = max(0.0, until_s - time.monotonic())
        if not _is_ready(handle, event, limit_s):
            raise EngineSilent(self._with_last_words(f"the engine {what} for {limit_s:.3g} s"))

    def _note(self, way: str, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        shown = text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."
        self._recent.append(f"{'→' if way == 'to' else '←'} {shown}")
        if self._watch is not None:
            self._watch(way, text)

    def recent(self) -> list[str]:
        """The last lines of both sides, for a person: ``→`` to the engine, ``←`` from it."""
        return list(self._recent)

    # Ends

    def last_words(self) -> list[str]:
        """The last lines that it wrote to stderr."""
        with contextlib.suppress(OSError, ValueError):
            size = self._stderr.seek(0, os.SEEK_END)
            self._stderr.seek(max(0, size - _CHUNK_BYTES))
            lines = self._stderr.read().decode("utf-8", "replace").splitlines()
            return [line.rstrip() for line in lines if line.strip()][-_LAST_WORDS:]
        return []

    def _with_last_words(self, what: str) -> str:
        """The event, with the line of stderr that explains most; then all its last lines."""
        words = self.last_words()
        if not words:
            return what
        telling = [line for line in words if _TELLING.match(line)] or words[-1:]
        first = f"{what}; it wrote to stderr: {telling[0].strip()}"
        return "\n".join([first, *(f"  {line}" for line in words)])

    def _died(self) -> NoReturn:
        ended = self._ending()
        if ended is None:
            how = "closed its output"
        elif ended.si_code == os.CLD_EXITED:
            how = f"ended with exit status {ended.si_status}"
        else:
            how = f"was killed by {signal.Signals(ended.si_status).name}"
        raise EngineDied(self._with_last_words(f"its process {how}"))

    def _ending(self) -> os.waitid_result | None:
        """The end of the process; None while it runs.

        `stop` waits for the process: until then its number stays its own, and the group that is
        killed is its group.
        """
        until_s = time.monotonic() + _ENDING_S
        while True:
            ended = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            if ended is not None or time.monotonic() > until_s:
                return ended
            time.sleep(0.001)

    def stop(self) -> None:
        """Kill it and all that it started, now."""
        if self._process.returncode is None:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._stderr):
            if file is not None:
                with contextlib.suppress(OSError):
                    file.close()


def _is_ready(handle: int, event: int, limit_s: float) -> bool:
    """True if a handle is ready, or at its end, within so many real seconds."""
    poll = select.poll()
    poll.register(handle, event)
    return bool(poll.poll(limit_s * 1000))
