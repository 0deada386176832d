"""``cellspec examples``: the scenarios that come with cellspec, listed or printed."""

from __future__ import annotations

import argparse
from typing import Any

from cellspec.exit_codes import FINE, put, put_line

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    examples = commands.add_parser(
        "examples",
        help="list the scenarios that come with cellspec, or print one",
        description="List the scenarios that come with cellspec, a line each; or print one, for "
        "you to change: cellspec examples text_to_sql > my.yaml",
    )
    examples.add_argument("name", metavar="NAME", nargs="?", help="the scenario to print")
    examples.set_defaults(command=_examples)


def _examples(args: argparse.Namespace) -> int:
    from sim.examples import EXAMPLES, example_path

    if args.name is not None:
        put(example_path(args.name).read_text(encoding="utf-8"))
        return FINE
    from sim.scenario.loader import load_scenario

    width = max(map(len, EXAMPLES))
    for name in EXAMPLES:
        put_line(f"{name:{width}}  {load_scenario(example_path(name)).description}")
    return FINE
