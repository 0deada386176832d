"""``cellspec replay``: a failure run again, step by step, on any engine."""

from __future__ import annotations

import argparse
from typing import Any

from cellspec.exit_codes import FINE, INCONCLUSIVE, VIOLATED, put
from sim.arguments import add_case, event_number

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    replay = commands.add_parser(
        "replay",
        help="run a failure again, step by step, on any engine",
        description="Run a failure again: a trace on the transition system, a case file on the "
        "reference engine, or either on the engine that --backend names. The engine that a case "
        "file names is never imported without that. Prints each event in a line, what "
        "broke and why, and ways to take the failure along.",
    )
    add_case(replay)
    replay.add_argument(
        "--until", metavar="N", type=event_number, help="stop after event N, and show the table"
    )
    code = replay.add_mutually_exclusive_group()
    code.add_argument("--pytest", action="store_true", help="print a test to paste, too")
    code.add_argument(
        "--script",
        action="store_true",
        help="print nothing but a Python script that runs the case, as for python -m pdb",
    )
    replay.add_argument(
        "--trace",
        metavar="FILE",
        help="write the events as a trace; - is stdout, and all else then goes to stderr",
    )
    replay.add_argument("--html", metavar="FILE", help="write a page with a slider over the events")
    replay.set_defaults(command=_replay)


def _replay(args: argparse.Namespace) -> int:
    from pathlib import Path

    from cellspec.replay.rerun import replay
    from sim.hints import hinting_at_replay
    from sim.output.replay import render_json, render_text, script_text, trace_text, write_outputs
    from sim.targets import STDOUT, check_targets, check_trace_target, stream_beside

    check_trace_target(args.trace)
    traces = [] if args.trace in (None, STDOUT) else [args.trace]
    check_targets(args.case, *traces, *([] if args.html is None else [args.html]))
    with hinting_at_replay(args.case):
        done = replay(args.case, folder=Path.cwd(), backend=args.backend, until=args.until)
    if args.trace == STDOUT:
        put(trace_text(done))
    write_outputs(
        done,
        trace=None if args.trace in (None, STDOUT) else Path(args.trace),
        html=None if args.html is None else Path(args.html),
    )
    if args.script:
        put(script_text(done), stream_beside(args.trace))
        return FINE
    text = render_json(done) if args.format == "json" else render_text(done, test=args.pytest)
    put(text, stream_beside(args.trace))
    if done.finding is not None:
        return VIOLATED
    return INCONCLUSIVE if done.is_cut_off else FINE
