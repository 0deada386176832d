"""``cellspec shrink``: a failure made small."""

from __future__ import annotations

import argparse
from typing import Any

from cellspec.exit_codes import FINE, put
from sim.arguments import add_case

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    shrink = commands.add_parser(
        "shrink",
        help="make a failure small, and say what its causes are",
        description="Make a failure small: columns and rows that it does without are taken away, "
        "then every step that is not a cause.",
    )
    add_case(shrink)
    shrink.add_argument("--out", metavar="FILE", help="where to write the smaller failure")
    shrink.set_defaults(command=_shrink)


def _shrink(args: argparse.Namespace) -> int:
    from pathlib import Path

    from cellspec.files import write_files
    from cellspec.replay.shrink import shrink
    from sim.hints import hinting_at_replay
    from sim.output.replay import render_json, render_text
    from sim.targets import check_targets

    if args.out is not None:
        check_targets(args.case, args.out)
    with hinting_at_replay(args.case):
        text, done = shrink(args.case, folder=Path.cwd(), backend=args.backend)
    if args.out is not None:
        path = Path(args.out)
        write_files(path.parent, {path.name: text})
    render = render_json if args.format == "json" else render_text
    put(render(done))
    return FINE
