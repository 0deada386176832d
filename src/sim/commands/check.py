"""``cellspec check``: one trace, judged event by event."""

from __future__ import annotations

import argparse
import time
from typing import Any

from cellspec.exit_codes import BAD_INPUT, FINE, INCONCLUSIVE, VIOLATED, complain, put
from cellspec.progress_line import progress_line
from sim.arguments import add_format, seconds
from sim.terminal import note, say_cost

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    check = commands.add_parser(
        "check",
        help="judge a trace file, and say what broke and why",
        description="Judge each event of a trace against the specification. The first one that is "
        "not allowed is shown with its clause, its line, the state that mattered and the events "
        "before it.",
    )
    check.add_argument("trace", metavar="TRACE", help="the trace file, perhaps compressed (gzip)")
    add_format(check, "text")
    check.add_argument(
        "--waive",
        metavar="CLAUSE",
        action="append",
        default=[],
        help="a clause not to judge, to see what else breaks; the verdict is then inconclusive at "
        "best; repeatable",
    )
    check.add_argument(
        "--slack",
        metavar="SECONDS",
        type=seconds,
        default=0.0,
        help="in real time, how long work may wait that could start, as 0.05s or 50ms; without it "
        "no engine is judged there for being idle",
    )
    check.add_argument(
        "--chrome",
        metavar="OUT.json",
        help="also write the run as a Chrome trace, which Perfetto opens (ui.perfetto.dev)",
    )
    check.set_defaults(command=_check)


def _check(args: argparse.Namespace) -> int:
    from cellspec.check.checker import check_file
    from cellspec.conformance.judge.verdict import judge_trace
    from sim.hints import hint_for_check
    from sim.output.check import render_json, render_text
    from sim.targets import check_targets

    if args.chrome is not None:
        check_targets(args.trace, args.chrome)
    line = progress_line()

    def show(events: int) -> None:
        if line is not None and line.is_due:
            line.show(f"{events:,} events")

    start = time.perf_counter()
    try:
        result = check_file(
            args.trace,
            waive=args.waive,
            progress=None if line is None else show,
            slack_s=args.slack,
        )
    finally:
        if line is not None:
            line.clear()
    if result.header is None and not result.violations:
        hint = hint_for_check(args.trace)
        return complain(
            f"error: {args.trace}: {hint}" if hint else f"error: {result.unreadable}", BAD_INPUT
        )
    say_cost("events", result.events, time.perf_counter() - start)
    render = render_json if args.format == "json" else render_text
    put(render(result))
    judgement = judge_trace(result)
    code = FINE if judgement.passed else VIOLATED if judgement.broken else INCONCLUSIVE
    if args.chrome is not None and result.header is not None:
        _export_chrome(args.trace, args.chrome)
    return code


def _export_chrome(trace: str, output: str) -> None:
    """Write the Chrome trace; one that ends early gets a note, as its trace was judged already."""
    from cellspec.check.timeline import export_chrome

    unread = export_chrome(trace, output)
    if unread:
        note(f"{output} ends where the trace does: {unread}")
