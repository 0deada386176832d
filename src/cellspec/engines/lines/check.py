"""``python -m cellspec.engines.lines COMMAND…``: is my engine wired up?

What somebody who writes an engine in another language runs on the first day, and after each change.
It starts the command, runs the workloads of the smoke test on it, and says what is wrong and whose
fault it is, in one line and with the lines that led to it; with ``--verbose`` every line that
passes is shown. It judges no more than that: the suite does, and what to run then is printed last.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import TextIO

from cellspec.conformance.backend import CAPABILITIES, check_capabilities
from cellspec.conformance.case import describe
from cellspec.conformance.harness import RunResult, run_workload
from cellspec.conformance.smoke import SmokeFailure, smoke
from cellspec.conformance.workload import Workload
from cellspec.engines.lines.backend import COMMAND_VARIABLE, SILENCE_S, LineBackend
from cellspec.engines.lines.messages import PROTOCOL_VERSION
from cellspec.errors import SpecError

__all__ = ["main"]

_ARROWS = {"to": "→", "from": "←"}


def main(arguments: Sequence[str] | None = None, out: TextIO | None = None) -> int:
    """Check a command.

    Args:
        arguments: of the command line; None for those of this process.
        out: where to print; None for stdout.

    Returns:
        0 if nothing is wrong, 1 if something is, 2 if there is nothing that could be checked.
    """
    options = _parser().parse_args(arguments)
    out = out or sys.stdout
    lines = {"to": 0, "from": 0}

    def watch(way: str, text: str) -> None:
        lines[way] += 1
        if options.verbose:
            print(f"{_ARROWS[way]} {text}", file=out)

    try:
        backend = LineBackend(options.command, silence_s=options.silence, watch=watch)
        check_capabilities(backend)
    except SpecError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        claims = ", ".join(name for name in CAPABILITIES if name in backend.capabilities)
        print(f"{backend.name} {backend.version} claims {claims}", file=out)
        found = _smoke(backend, out)
    finally:
        backend.close()
    if found is not None:
        _tell(found, out)
        return 1
    told, heard = lines["to"], lines["from"]
    print(f"\nnothing is wrong so far: {told} lines told, {heard} heard. Next:\n", file=out)
    print(f"    export {COMMAND_VARIABLE}={shlex.quote(shlex.join(options.command))}", file=out)
    print("    pytest --pyargs cellspec.conformance \\", file=out)
    print("        --engine-backend=cellspec.engines.lines:LineBackend --profile=core", file=out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
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
        print(f"\n{first}: {'; '.join(map(str.strip, rest))}", file=out)
        return run_workload(backend, work)

    return smoke(run)


def _tell(found: SmokeFailure, out: TextIO) -> None:
    print(f"\n{found}", file=out)
    for line in found.story:
        print(f"    {line}", file=out)
    if found.blames == "adapter":
        print("\nThe protocol, line by line: specs/protocol/README.md", file=out)
