"""``python -m cellspec.engines.lines COMMAND…``: is my engine wired up?

The author of an engine in another language runs this on the first day, and after each change. It
starts the command and runs the workloads of the smoke test on it. If something is wrong it says,
with the lines that led to it, whether the engine or its protocol is at fault; ``--verbose`` shows
every line that passes. The suite judges the rest, and the last lines say how to run it.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import TextIO

from cellspec.conformance.campaign.smoke import SmokeFailure, smoke
from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.backend import CAPABILITIES, check_capabilities
from cellspec.conformance.run.case import describe
from cellspec.conformance.run.workload import Workload
from cellspec.engines.lines.backend import COMMAND_VARIABLE, SILENCE_S, LineBackend
from cellspec.engines.lines.messages import PROTOCOL_VERSION
from cellspec.exit_codes import FINE, VIOLATED, Parser, put_line, run_command

__all__ = ["main"]

_ARROWS = {"to": "→", "from": "←"}


def main(arguments: Sequence[str] | None = None, out: TextIO | None = None) -> int:
    """Check a command.

    Args:
        arguments: of the command line; None for those of this process.
        out: where to print; None for stdout.

    Returns:
        An exit code of `cellspec.exit_codes`: 1 if the engine breaks a clause or the protocol.
    """
    return run_command(lambda: _check(arguments, out or sys.stdout))


def _check(arguments: Sequence[str] | None, out: TextIO) -> int:
    options = _parser().parse_args(arguments)
    lines = {"to": 0, "from": 0}

    def watch(way: str, text: str) -> None:
        lines[way] += 1
        if options.verbose:
            put_line(f"{_ARROWS[way]} {text}", out)

    backend = LineBackend(options.command, silence_s=options.silence, watch=watch)
    try:
        check_capabilities(backend)
        capabilities = ", ".join(name for name in CAPABILITIES if name in backend.capabilities)
        put_line(f"{backend.name} {backend.version}: capabilities {capabilities}", out)
        found = _smoke(backend, out)
    finally:
        backend.close()
    if found is not None:
        _print_failure(found, out)
        return VIOLATED
    sent, received = lines["to"], lines["from"]
    put_line(f"\nnothing is wrong so far: {sent} lines sent, {received} received. Next:\n", out)
    put_line(f"    export {COMMAND_VARIABLE}={shlex.quote(shlex.join(options.command))}", out)
    put_line("    pytest --pyargs cellspec.conformance \\", out)
    put_line("        --engine-backend=cellspec.engines.lines:LineBackend --profile=core", out)
    return FINE


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m cellspec.engines.lines",
        usage="%(prog)s [--help] [--verbose] [--silence SECONDS] COMMAND ...",
        description="Check that an engine speaks the line protocol "
        f"(version {PROTOCOL_VERSION}), on a few tiny workloads.",
    )
    parser.add_argument("--verbose", "-v", action="store_true", help="show every line that passes")
    parser.add_argument(
        "--silence",
        type=_seconds,
        default=SILENCE_S,
        metavar="SECONDS",
        help="give up when no line comes for so long (default: %(default)g)",
    )
    parser.add_argument(
        "command",
        nargs=argparse.REMAINDER,
        metavar="COMMAND",
        help="what starts the engine, with its arguments",
    )
    return parser


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"expected seconds, more than 0, got {text!r}")
    return value


def _smoke(backend: LineBackend, out: TextIO) -> SmokeFailure | None:
    def run(work: Workload) -> RunResult:
        first, *rest = describe(work)
        put_line(f"\n{first}: {'; '.join(map(str.strip, rest))}", out)
        return run_workload(backend, work)

    return smoke(run)


def _print_failure(found: SmokeFailure, out: TextIO) -> None:
    put_line(f"\n{found}", out)
    for line in found.explanation:
        put_line(f"    {line}", out)
    if found.blames == "adapter":
        put_line("\nThe protocol, line by line: specs/protocol/README.md", out)
