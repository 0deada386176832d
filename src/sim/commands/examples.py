"""``cellspec examples``: the scenarios and sweeps that come with cellspec, listed or printed."""

from __future__ import annotations

import argparse
from typing import Any

from cellspec.exit_codes import FINE, put, put_line

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    examples = commands.add_parser(
        "examples",
        help="list the scenarios and sweeps that come with cellspec, or print one",
        description="List the scenarios and the sweeps that come with cellspec, a line each; or "
        "print one, for you to change: cellspec examples text_to_sql > my.yaml",
    )
    examples.add_argument("name", metavar="NAME", nargs="?", help="the scenario or sweep to print")
    examples.set_defaults(command=_examples)


def _examples(args: argparse.Namespace) -> int:
    from sim.examples import EXAMPLES, SWEEPS, example_path

    if args.name is not None:
        path = example_path(args.name, (*EXAMPLES, *SWEEPS))
        put(path.read_text(encoding="utf-8"))
        return FINE
    from sim.experiments.sweep.spec import load_spec
    from sim.scenario.loader import load_scenario

    lines = {name: load_scenario(example_path(name)).description for name in EXAMPLES}
    lines |= {
        name: f"sweep: {load_spec(example_path(name, SWEEPS)).description}" for name in SWEEPS
    }
    width = max(map(len, lines))
    for name, description in lines.items():
        put_line(f"{name:{width}}  {description}")
    return FINE
