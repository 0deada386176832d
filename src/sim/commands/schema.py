"""``cellspec schema``: the JSON Schema of scenario files."""

from __future__ import annotations

import argparse
from typing import Any

from cellspec.exit_codes import FINE, put

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    schema = commands.add_parser(
        "schema",
        help="print the JSON Schema of scenario files",
        description="Print the JSON Schema of scenario files, for editors and validators.",
    )
    schema.set_defaults(command=_schema)


def _schema(_args: argparse.Namespace) -> int:
    from sim.scenario.schema import schema_text

    put(schema_text())
    return FINE
