"""``cellspec schema``: the JSON Schema of scenario files, or of sweep files."""

from __future__ import annotations

import argparse
from typing import Any

from cellspec.exit_codes import FINE, put

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    schema = commands.add_parser(
        "schema",
        help="print the JSON Schema of scenario files, or of sweep files",
        description="Print the JSON Schema of scenario files, or of sweep files, for editors and "
        "validators.",
    )
    schema.add_argument(
        "kind",
        metavar="KIND",
        nargs="?",
        choices=("scenario", "sweep"),
        default="scenario",
        help="scenario or sweep: of which files (default: scenario)",
    )
    schema.set_defaults(command=_schema)


def _schema(args: argparse.Namespace) -> int:
    from sim.experiments.sweep.spec import sweep_schema
    from sim.scenario.schema import scenario_schema, schema_text

    put(schema_text(scenario_schema() if args.kind == "scenario" else sweep_schema()))
    return FINE
