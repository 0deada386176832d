"""A conversation with an engine: its process, started when it is needed, and messages both ways."""

from __future__ import annotations

import shlex
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cellspec.engines.lines import messages as m
from cellspec.engines.lines.process import EngineProcess, EngineSilent, Watch
from cellspec.errors import SpecError

__all__ = ["Conversation"]

_SILENCE_LEAST_S = 0.5
_SLOWEST_TIMES = 20


class Conversation:
    """Messages to and from the process of an engine, which is started again after its end.

    Args:
        command: the program and its arguments.
        folder: the working directory of the process; None for that of this process.
        silence_s: real seconds without a line after which the process is given up.
        watch: called with each line that passes.

    Attributes:
        protocol: the version that the engine speaks, as its last `hello` said.
    """

    def __init__(
        self, command: Sequence[str], folder: Path | None, silence_s: float, watch: Watch | None
    ) -> None:
        self.command = tuple(command)
        self._folder = folder
        self._silence_s = silence_s
        self._slowest_s = 0.0
        self._was_silent = False
        self._watch = watch
        self._process: EngineProcess | None = None
        self._last_stop: Callable[[], object] = lambda: None
        self.protocol = m.PROTOCOL_VERSION

    def begin(self) -> m.Hello:
        """Start the process; its first line.

        Raises:
            BadLine: the first line is not a `hello` of a version that is read here.
            EngineDied, EngineSilent: the process ends or stays silent instead.
            SpecError: the process cannot be started.
        """
        self._process = EngineProcess(self.command, self._folder, self._watch)
        # Nothing is left running at the end of the program, or of this object.
        self._last_stop = weakref.finalize(self, self._process.stop)
        hello = self._decoded(self._process.receive(self._silence_s))
        if not isinstance(hello, m.Hello):
            raise m.BadLine(f"line 1: expected hello, got {m.kind_of(hello)}")
        if hello.protocol not in m.VERSIONS_READ:
            spoken = ", ".join(map(str, m.VERSIONS_READ))
            raise m.BadLine(f"line 1: hello: protocol: expected {spoken}, got {hello.protocol}")
        self.protocol = hello.protocol
        return hello

    def ready(self) -> None:
        """Start the process unless it runs."""
        if self._process is None:
            self.begin()

    def close(self) -> None:
        """Kill the process, if it runs; `ready` starts another."""
        self._process = None
        self._last_stop()

    def send(self, message: m.Line) -> None:
        """Write a message to the engine.

        Raises:
            EngineSilent: the engine does not read it.
        """
        assert self._process is not None
        self._process.send(m.encode(message), self._limit_s())

    def receive(self) -> Any:
        """The next message of the engine.

        Raises:
            BadLine: the next line cannot be used; the text begins with its number.
            EngineDied, EngineSilent: the process ended or is silent.
        """
        assert self._process is not None
        began_s = time.monotonic()
        try:
            line = self._process.receive(self._limit_s())
        except EngineSilent:
            self._was_silent = True
            raise
        self._slowest_s = max(self._slowest_s, time.monotonic() - began_s)
        return self._decoded(line)

    def _decoded(self, line: bytes) -> Any:
        try:
            return m.decode(line)
        except m.BadLine as error:
            raise m.BadLine(f"line {self.line_number}: {error}") from None

    def _limit_s(self) -> float:
        """Seconds to wait for a line; fewer once the engine was silent.

        The search for a smaller workload would else wait for hours.
        """
        if not self._was_silent:
            return self._silence_s
        return min(self._silence_s, max(_SILENCE_LEAST_S, _SLOWEST_TIMES * self._slowest_s))

    @property
    def line_number(self) -> int:
        """The number of the last line that the process wrote."""
        return 0 if self._process is None else self._process.lines_received

    def recent(self) -> list[str]:
        """The last lines of both sides."""
        return [] if self._process is None else self._process.recent()

    def failed(self, what: str) -> SpecError:
        """An error about the command."""
        return SpecError(f"engine command {shlex.join(self.command)}: {what}")
