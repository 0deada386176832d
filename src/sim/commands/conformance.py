"""``cellspec conformance BACKEND``: the conformance suite, which pytest runs."""

from __future__ import annotations

import argparse
import importlib.util
from typing import Any

from cellspec.errors import MissingExtraError
from cellspec.exit_codes import sigterm_ends_at_once

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    conformance = commands.add_parser(
        "conformance",
        help="judge an engine: run the conformance suite on it",
        description="Run the conformance suite on an engine. This is short for pytest --pyargs "
        "cellspec.conformance --engine-backend=BACKEND, and takes all options of pytest and of the "
        "suite after the backend: --profile NAMES, --max-examples N, --seed N, --replay CASE, "
        "--conformance-first and others, which `pytest --help` lists under "
        '"conformance of engines".',
    )
    conformance.add_argument(
        "backend",
        metavar="BACKEND",
        help="the engine: a name that `cellspec backends` lists, or module:attribute",
    )
    options = conformance.add_argument(
        "options", metavar="...", nargs=argparse.REMAINDER, help="options of pytest"
    )
    # They may be absent: argparse would list "..." among the words that a usage error misses.
    options.required = False
    conformance.set_defaults(command=_conformance)


def _conformance(args: argparse.Namespace) -> int:
    if importlib.util.find_spec("pytest") is None:
        raise MissingExtraError("the conformance suite", "conformance")
    import pytest

    # pytest would like to rewrite the asserts of a plugin's package; cellspec is imported by now.
    quiet = "-Wignore:Module already imported so cannot be rewritten; cellspec"
    suite = [quiet, "--pyargs", "cellspec.conformance", f"--engine-backend={args.backend}"]
    sigterm_ends_at_once()
    return int(pytest.main([*suite, *args.options]))
