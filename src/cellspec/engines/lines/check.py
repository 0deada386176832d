"""``python -m cellspec.engines.lines COMMAND…``: is my engine wired up?

The author of an engine in another language runs this on the first day, and after each change. It
starts the command and runs the workloads of the smoke test on it; then one for each capability that
has lines of its own, and says if none of them came up. If something is wrong it says,
with the lines that led to it, whether the engine or its protocol is at fault; ``--verbose`` shows
every line that passes. The suite judges the rest, and the last lines say how to run it.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import TextIO

from cellspec.conformance.campaign.smoke import SmokeFailure, failure_of, smoke
from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.backend import CAPABILITIES, check_capabilities, fit_of
from cellspec.conformance.run.case import describe
from cellspec.conformance.run.workload import Fault, StorageFault, Workload
from cellspec.engines.lines.backend import COMMAND_VARIABLE, SILENCE_S, LineBackend
from cellspec.engines.lines.messages import PROTOCOL_VERSION
from cellspec.exit_codes import FINE, VIOLATED, Parser, put_line, run_command
from cellspec.graph.columns import ColumnDescriptor
from cellspec.machine.limits import FailurePolicy

__all__ = ["main"]

_ARROWS = {"to": "→", "from": "←"}
_TWO = Workload(
    (
        ColumnDescriptor("a"),
        ColumnDescriptor("b", dependencies=["a"]),
    ),
    rows=4,
    checkpoint_every_rows=2,
)
_BOUND = FailurePolicy(max_attempts=2, timeout_s=1.0)
_CALLED_FOR: dict[str, tuple[Workload, tuple[str, ...]]] = {
    "commits": (_TWO.replace(checkpoint_version=3), ("commit_begin",)),
    "timeouts": (
        _TWO.replace(failures=_BOUND, faults=(Fault("a", 1, failure="timeout"),)),
        ("cancel", "abandon"),
    ),
    "filters": (_TWO.replace(rejects=(("a", 1),)), ("drop",)),
    "cache": (_TWO.replace(crashes=(12,)), ("recall",)),
    "lost_workers": (_TWO.replace(worker_losses=(8,)), ("lose", "take_back")),
    "killer_cells": (_TWO.replace(killers=(("a", 1),)), ("drop",)),
    "storage_faults": (
        _TWO.replace(storage_s=0.5, storage_faults=(StorageFault("claim", 1),)),
        ("storage",),
    ),
}
"""By capability, a workload that calls for lines of it, and lines of which one is to come up."""


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
    written: list[str] = []

    def watch(way: str, text: str) -> None:
        lines[way] += 1
        if way == "from":
            written.append(text)
        if options.verbose:
            put_line(f"{_ARROWS[way]} {text}", out)

    backend = LineBackend(options.command, silence_s=options.silence, watch=watch)
    try:
        check_capabilities(backend)
        capabilities = ", ".join(name for name in CAPABILITIES if name in backend.capabilities)
        put_line(f"{backend.name} {backend.version}: capabilities {capabilities}", out)
        for promise in _promises(backend):
            put_line(f"    {promise}", out)
        found = _smoke(backend, out) or _called_for(backend, written, out)
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


def _promises(backend: LineBackend) -> Iterator[str]:
    """What else the first line of the engine says, a line each."""
    if backend.protocol < PROTOCOL_VERSION:
        yield (
            f"it speaks protocol {backend.protocol}, which this suite reads; "
            f"{PROTOCOL_VERSION} has more lines: specs/protocol/README.md"
        )
    for name in ("idle_s", "bypass_bound", "killer_tries"):
        value = getattr(backend, name)
        if value:
            yield f"{name}: {value}"
    if backend.saving is not None:
        rows, seconds = backend.saving.rows, backend.saving.seconds
        due = f"{rows} rows" if rows else f"{seconds} s" if seconds is not None else "row group"
        yield f"saving: every {due}"
    for situation in backend.unasked:
        yield f"never asked for: {situation}"


def _called_for(backend: LineBackend, written: list[str], out: TextIO) -> SmokeFailure | None:
    """Run a workload for each capability that has lines of its own."""
    fit = fit_of(backend)
    for name, (drawn, words) in _CALLED_FOR.items():
        work = fit(drawn) if name in backend.capabilities else None
        if work is None:
            continue
        first, *rest = describe(work)
        put_line(f"\n{name}: {first}: {'; '.join(map(str.strip, rest))}", out)
        written.clear()
        found = failure_of(work, run_workload(backend, work))
        if found is not None:
            return found
        if not any(json.loads(line)["event"] in words for line in written):
            known = " or ".join(words)
            put_line(f"    no line {known} came up, so nothing is known of {name} yet", out)
    return None


def _print_failure(found: SmokeFailure, out: TextIO) -> None:
    put_line(f"\n{found}", out)
    for line in found.explanation:
        put_line(f"    {line}", out)
    if found.blames == "adapter":
        put_line("\nThe protocol, line by line: specs/protocol/README.md", out)
