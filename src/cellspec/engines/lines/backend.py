"""`LineBackend`: an engine in any language under the suite, in virtual time.

The engine is a process that reads and writes lines (`cellspec.engines.lines.messages`). It takes
*turns* with the suite. It receives one message: a workload, the value of a call, a failure, or word
that a time has come. Then it writes a line for each thing that it does about it, and ``wait``. A
turn takes no virtual time; when the engine waits, the clock of the suite moves to the next end of a
call, or to the time that the engine asked for. So an engine that thinks for a millisecond, or for a
second, is judged alike, and two runs are equal to the byte.

A ``start`` line is the call of a generator: here it becomes a call of the probe, which records it,
lets its time pass, and gives the result for the engine. Each end of a call is recorded at the
moment at which the engine receives it, so the engine is judged by its own knowledge.

When the probe says that the process dies, the process is killed with its whole group, and the next
run is a process of its own. The folder is kept as it was at that step, and so an engine asks
(``step``) before it changes anything there.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import msgspec

from cellspec.conformance.run.coverage_goals import Sometimes
from cellspec.conformance.run.probe import Probe, Refused
from cellspec.conformance.run.values import SKIPPED, Table, Value
from cellspec.engines.lines import messages as m
from cellspec.engines.lines.conversation import Conversation
from cellspec.engines.lines.process import Watch
from cellspec.engines.lines.turns import Incarnation
from cellspec.engines.lines.workload_lines import read_message
from cellspec.errors import SpecError
from cellspec.machine.limits import SavePolicy

__all__ = ["COMMAND_VARIABLE", "SILENCE_S", "LineBackend"]

COMMAND_VARIABLE = "CELLSPEC_ENGINE"
"""The environment variable that holds the command of an engine, as a shell would read it."""

SILENCE_S = 10.0
"""Real seconds without a line after which an engine that should write one is given up."""

NOT_BY_LINES = {
    "counted_work": "the work of another process cannot be counted from here",
    "torn_writes": "the writes of another process are not seen from here",
}
"""Capabilities that an engine in a process of its own cannot name, each with the reason."""

_WORDS_OF_2 = ("storage_faults", "cache", "lost_workers", "killer_cells")
"""Capabilities that an engine cannot have without lines that version 1 does not have."""


class LineBackend:
    """An engine that speaks the line protocol.

    Its process is started when the backend is made, because its first line gives its name and its
    capabilities. It serves one run after the other, and is started again after a crash.

    Args:
        command: the program and its arguments; by default those in ``CELLSPEC_ENGINE``.
        folder: the working directory of the process; None for that of this process.
        silence_s: real seconds without a line after which the process is given up.
        watch: called with each line that passes.

    Raises:
        SpecError: no command, one that cannot be started, or one that does not begin with `hello`.
    """

    # A claim is written within a turn, and the engine is asked between two.
    unasked: tuple[Sometimes, ...] = (Sometimes.ASKED_IN_CLAIM,)
    # `fail` names the kind as which the workload reads an exception.
    reads_foreign = True
    saving: SavePolicy | None = None

    def __init__(
        self,
        command: Sequence[str] | None = None,
        *,
        folder: Path | None = None,
        silence_s: float = SILENCE_S,
        watch: Watch | None = None,
    ) -> None:
        self._running: Incarnation | None = None
        self.command = tuple(_command_of_environment() if command is None else command)
        if not self.command:
            raise SpecError("engine command: expected a program and its arguments, got nothing")
        self._conversation = Conversation(self.command, folder, silence_s, watch)
        try:
            hello = self._conversation.begin()
        except (m.BadLine, RuntimeError, TimeoutError) as error:
            self.close()
            raise self._conversation.failed(str(error).partition("\n")[0]) from None
        odd = _odd_hello(hello)
        if odd is not None:
            self.close()
            raise self._conversation.failed(f"hello: {odd}")
        self.name = hello.name
        self.version = hello.version
        self.capabilities = frozenset(hello.capabilities)
        self.protocol = hello.protocol
        self.idle_s = hello.idle_s
        self.bypass_bound = hello.bypass_bound
        self.killer_tries = hello.killer_tries
        if hello.saving is not None:
            self.saving = SavePolicy(*msgspec.structs.astuple(hello.saving))
        self.unasked = tuple(dict.fromkeys((*self.unasked, *map(Sometimes, hello.unasked))))

    def close(self) -> None:
        """Kill the process, if there is one; the next run starts another."""
        self._conversation.close()

    async def run(self, probe: Probe) -> None:
        """Run the workload for one run of the process."""
        over = False
        try:
            self._running = Incarnation(self._conversation, probe)
            await self._running.run()
            over = True
        except Refused:
            over = True
            raise
        finally:
            if not over:
                self.close()

    def request_stop(self, probe: Probe) -> None:  # noqa: ARG002 - the run that goes on
        """Ask the engine to stop."""
        assert self._running is not None
        self._running.request_stop()

    def lose_worker(self, probe: Probe) -> None:  # noqa: ARG002 - the run that goes on
        """Have the engine lose a worker."""
        assert self._running is not None
        self._running.lose_worker()

    def table(self, probe: Probe) -> Table:
        """The table in the folder, as the engine reads it."""
        try:
            self._conversation.ready()
            self._conversation.send(read_message(probe))
            answer = self._conversation.receive()
            if not isinstance(answer, m.Table):
                raise m.BadLine(
                    f"line {self._conversation.line_number}: expected table, the answer to read, "
                    f"got {m.kind_of(answer)}"
                )
        except BaseException:
            self.close()
            raise
        return Table.from_records(
            ((row.row, _values(row.values)) for row in answer.rows), answer.dropped
        )


def _odd_hello(hello: m.Hello) -> str | None:
    """What in a hello contradicts the rest of it or names nothing, and what to do; None if nothing.

    The suite checks the names of capabilities, as those of any backend.
    """
    for name, reason in NOT_BY_LINES.items():
        if name in hello.capabilities:
            return f"capabilities: {name!r} is not possible: {reason}"
    newer = [name for name in _WORDS_OF_2 if name in hello.capabilities]
    if hello.protocol < 2 and newer:
        return f"capabilities: {newer[0]!r} needs lines of protocol 2; this hello says 1"
    if "killer_cells" in hello.capabilities and hello.killer_tries is None:
        return (
            "killer_tries: expected a number of processes, which the capability 'killer_cells' "
            "needs; got none"
        )
    odd = [words for words in hello.unasked if words not in set(Sometimes)]
    if odd:
        return (
            f"unasked: expected a situation as reports word it, such as "
            f"{Sometimes.BARRIER_RAN.value!r}, got {odd[0]!r}"
        )
    return None


def _command_of_environment() -> list[str]:
    text = os.environ.get(COMMAND_VARIABLE, "")
    if not text.strip():
        raise SpecError(
            f"{COMMAND_VARIABLE}: expected the command that starts your engine, "
            "such as 'node examples/node/engine.mjs'"
        )
    try:
        return shlex.split(text)
    except ValueError as error:
        raise SpecError(f"{COMMAND_VARIABLE}: cannot be read: {error}") from None


def _values(values: m.Values) -> dict[str, Value]:
    return {name: SKIPPED if value is None else value for name, value in values.items()}
