"""The exit codes of every command of cellspec, in one table.

====  ========================================================================================
code  meaning
====  ========================================================================================
0     fine: the command did its work, and found all right
1     violated: a rule was broken; the output names it and the event
2     bad usage or input; a line for each fault names the file, the field, and the expected value
3     inconclusive: too little was seen to say that all is right
70    a mistake of cellspec itself; please report it
130   interrupted (SIGINT, Ctrl-C)
141   the reader of stdout stopped reading, as in ``| head``
143   ended from outside (SIGTERM)
====  ========================================================================================

`run_command` surrounds every command, so that a mistake of cellspec cannot look like a verdict
about an engine. It prints the traceback for its developers, and then one line for the user.

This module imports the standard library alone: ``--help`` prints the table, and must not wait for
numpy.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final, NoReturn

from cellspec.console import (
    OutputError,
    Stdout,
    complain,
    flush,
    forget_stream,
    put,
    put_line,
    say,
)
from cellspec.errors import FaultsError, MissingExtraError, SpecError, Violation

__all__ = [
    "BAD_INPUT",
    "CODES",
    "FINE",
    "INCONCLUSIVE",
    "INTERNAL",
    "INTERRUPTED",
    "NO_READER",
    "TERMINATED",
    "VIOLATED",
    "Parser",
    "Stdout",
    "bound_exit",
    "complain",
    "exit_codes_text",
    "leave_threads",
    "put",
    "put_line",
    "run_command",
    "say",
    "sigterm_ends_at_once",
]

FINE: Final = 0
VIOLATED: Final = 1
BAD_INPUT: Final = 2
INCONCLUSIVE: Final = 3
INTERNAL: Final = 70
INTERRUPTED: Final = 130
NO_READER: Final = 141
TERMINATED: Final = 143

CODES: Final = {
    FINE: "fine",
    VIOLATED: "violated: a rule was broken, and the output names it",
    BAD_INPUT: "bad usage or input",
    INCONCLUSIVE: "inconclusive: too little was seen to say that nothing is wrong",
    INTERNAL: "a mistake of cellspec itself; please report it",
    INTERRUPTED: "interrupted (Ctrl-C)",
    NO_READER: "nobody reads stdout any more",
    TERMINATED: "ended by SIGTERM",
}
"""Every exit code, with its meaning in a few words."""

EXIT_S = 10.0
"""Real seconds in which a process ends once its exit code is known, if an engine hung in it."""


def exit_codes_text() -> str:
    """The table, as ``--help`` ends with it."""
    lines = (f"  {code:<3}  {meaning}\n" for code, meaning in CODES.items())
    return "exit codes:\n" + "".join(lines)


class _StoreOnce(argparse._StoreAction):
    """Stores a value; a second one replaces the first, and a note says so."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        given = vars(namespace).setdefault("_given", set())
        if option_string is not None and self.dest in given:
            complain(f"note: {option_string} is given twice; {values} counts", FINE)
        given.add(self.dest)
        super().__call__(parser, namespace, values, option_string)


class Parser(argparse.ArgumentParser):
    """Arguments of a command: complains in one line, and ends ``--help`` with the exit codes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})
        for action in (None, "store"):
            self.register("action", action, _StoreOnce)

    def format_help(self) -> str:
        return f"{super().format_help()}\n{exit_codes_text()}"

    def error(self, message: str) -> NoReturn:
        self.exit(complain(f"error: {message} (see {self.prog} --help)", BAD_INPUT))


def run_command(command: Callable[[], int], *, is_process: bool = False) -> int:
    """Run a command to its exit code, which is always one of the table.

    A command may raise `SpecError`, `MissingExtraError` and `Violation`: each is printed as a line,
    a `FaultsError` as a line for each fault.

    Args:
        command: does the work, and returns its exit code.
        is_process: whether the process is this command's own, and ends with it.
    """
    _PROCESS.is_command = is_process
    code = _ended(command)
    if is_process:
        bound_exit(code)
    return code


@dataclass
class _Process:
    """What is so of this process."""

    is_command: bool = False
    """It is the command's own, and ends with it."""
    hangs: bool = False
    terminated: bool = False
    """SIGTERM came."""


_PROCESS: Final = _Process()


def leave_threads() -> None:
    """Know that an engine hangs, and that threads of it were left that may never end."""
    _PROCESS.hangs = True


def bound_exit(code: int) -> None:
    """Have this process, which is at its end, end with this code, also if an engine hangs in it.

    Python waits for the threads of executors, whether they are daemons or not. A process in which
    no engine hung takes the time that it needs.
    """
    if _PROCESS.hangs and threading.active_count() > 1:
        end = threading.Timer(EXIT_S, os._exit, (code,))
        end.daemon = True
        end.start()


def _ended(command: Callable[[], int]) -> int:
    _PROCESS.terminated = False
    try:
        with _sigterm_raises():
            code = _code_of(command)
            flush()
        if _PROCESS.terminated:
            # Code that it was raised in took it for Ctrl-C, and went on.
            return complain("ended by SIGTERM", TERMINATED)
    except _TerminatedError:
        return complain("ended by SIGTERM", TERMINATED)
    except KeyboardInterrupt:
        return complain("interrupted", INTERRUPTED)
    except OutputError as error:
        name = "stderr" if error.stream is sys.stderr else "stdout"
        forget_stream(error.stream)
        if isinstance(error.reason, BrokenPipeError):
            return NO_READER
        return complain(f"error: {name}: {error.reason.strerror or error.reason}", BAD_INPUT)
    return code


def _code_of(command: Callable[[], int]) -> int:
    try:
        return command()
    except SystemExit as stop:
        # That is how argparse ends, and it has said why.
        return stop.code if isinstance(stop.code, int) else FINE if stop.code is None else BAD_INPUT
    except FaultsError as error:
        return max(complain(f"error: {line}", BAD_INPUT) for line in error.lines)
    except (SpecError, MissingExtraError) as error:
        return complain(f"error: {error}", BAD_INPUT)
    except Violation as violation:
        return complain(f"violated: {violation}", VIOLATED)
    except OutputError:
        raise
    except Exception as error:
        # Without a debugger in this process its module is not loaded.
        if isinstance(error, getattr(sys.modules.get("bdb"), "BdbQuit", ())):
            return complain("the debugger was quit", INTERRUPTED)
        return _internal(error)


def _internal(error: Exception) -> int:
    say("".join(traceback.format_exception(error)), end="")
    return complain(
        f"internal error: {type(error).__name__}: {error}: this is a mistake of cellspec, and says "
        "nothing about what it was given; please report it, with the command, its input, and the "
        "lines above",
        INTERNAL,
    )


# Signals


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM: raised so that half-written files are cleaned up.

    It may come out of the code of an engine. There, as Ctrl-C, it says nothing of the engine.
    """


def sigterm_ends_at_once() -> None:
    """Have SIGTERM end this process at once, until the command is over, if it is the command's own.

    By a handler: the first process of a container is not ended by a signal that has none.
    """
    if _PROCESS.is_command and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(TERMINATED))


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Turn SIGTERM into an exception, where this process and thread may decide that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def handler(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != owner:
            # A child that was forked from here, by a pool for instance, dies as it always would.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        _PROCESS.terminated = True
        # Whoever goes on all the same is ended by the next one.
        signal.signal(number, signal.SIG_DFL)
        raise _TerminatedError

    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
