"""The command line: ``cellspec run scenario.yaml``, or ``python -m sim run scenario.yaml``.

A person watches a run, and perhaps a program parses it, so each stream has a reader of its own.
*stdout* holds the result alone, and is the same, byte for byte, for the same scenario and seed, on
any machine and terminal and for any hash seed. *stderr* holds progress (on a terminal only), wall
time, memory, and complaints: they differ from run to run.

A complaint is one line and an exit code (`cellspec.exit_codes`). A traceback is printed only if
cellspec itself failed.

Files are written after the run has ended well, each of them whole or not at all.

Each subcommand has a module in `sim.commands`, with its parser and its function. They import heavy
libraries late: ``--help`` must not wait for numpy.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from cellspec.errors import MissingExtraError
from cellspec.exit_codes import FINE, Parser, put_line, run_command
from sim.commands import (
    backends,
    calibrate,
    check,
    compare,
    conformance,
    examples,
    explore,
    fuzz,
    new_backend,
    replay,
    report,
    run,
    schema,
    shrink,
    sweep,
    tune,
)
from sim.terminal import plain_stdout

__all__ = ["main", "parser_of_commands"]

PROGRAM = "python -m sim"

_COMMANDS = (
    run,
    compare,
    sweep,
    tune,
    calibrate,
    report,
    check,
    replay,
    shrink,
    fuzz,
    explore,
    new_backend,
    conformance,
    backends,
    examples,
    schema,
)
_SHELLS = ("bash", "zsh", "tcsh")


def main(argv: Sequence[str] | None = None, *, program: str = PROGRAM) -> int:
    """Run one command, and return the exit code of the process.

    Args:
        argv: the arguments after the program's name; by default those of the process.
        program: the program's name in usage lines: the way in which it was started.
    """

    def command() -> int:
        plain_stdout()
        args = parser_of_commands(program).parse_args(argv)
        code: int = args.command(args)
        return code

    return run_command(command, is_process=argv is None)


def parser_of_commands(program: str = PROGRAM) -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(
        prog=program,
        description="Simulate, explore and judge engines that generate synthetic datasets cell by "
        "cell.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version, and exit")
    parser.add_argument(
        "--print-completion",
        choices=_SHELLS,
        action=_Completion,
        help="print a script that completes the commands in a shell, and exit; needs the extra "
        "cellspec[completion]",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in _COMMANDS:
        module.add_parser(commands)
    return parser


class _Version(argparse.Action):
    """Prints the version, which is looked up only then: it takes as long as all imports here."""

    def __call__(self, parser: argparse.ArgumentParser, *_given: Any) -> None:
        import cellspec

        put_line(f"cellspec {cellspec.__version__}")
        parser.exit(FINE)


class _Completion(argparse.Action):
    """Prints a completion script that shtab makes of the parser."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        _namespace: argparse.Namespace,
        values: Any,
        _option: str | None = None,
    ) -> None:
        try:
            import shtab
        except ImportError:
            raise MissingExtraError("--print-completion", "completion") from None
        parser.prog = "cellspec"
        put_line(shtab.complete(parser, values))
        parser.exit(FINE)
