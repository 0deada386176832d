"""``cellspec new-backend NAME``: the files with which somebody begins to test an engine."""

from __future__ import annotations

import argparse
from typing import Any

from cellspec.exit_codes import FINE, put_line

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    new = commands.add_parser(
        "new-backend",
        help="begin to test an engine: write a backend to fill in",
        description="Write the files with which you begin to test an engine: a backend to fill in, "
        "a test, and conformance.ini for pytest. The suite runs on them at once, and says what to "
        "fill in next. No file is overwritten.",
    )
    new.add_argument("name", metavar="NAME", help="the name of your engine, as my-engine")
    new.add_argument(
        "--kind",
        metavar="KIND",
        default="async",
        choices=("async", "threads", "process"),
        help="async: coroutines, in virtual time; threads: in real time; process: any language, "
        "over JSON lines (default: async)",
    )
    new.add_argument("--out", metavar="DIR", default=".", help="where they go (default: here)")
    new.set_defaults(command=_new_backend)


def _new_backend(args: argparse.Namespace) -> int:
    import os
    from pathlib import Path

    from cellspec.conformance.starter import starter_files
    from cellspec.errors import SpecError
    from cellspec.files import check_folder, path_of, write_files

    texts = starter_files(args.name, args.kind)
    folder: Path = path_of(args.out)
    check_folder(folder)
    for name in texts:
        if os.path.lexists(folder / name):
            # Its name is the same for every engine.
            other = "--out DIR" if name == "conformance.ini" else "another NAME or --out DIR"
            raise SpecError(
                f"{folder / name}: is there already, and nothing is overwritten; move it away, or "
                f"give {other}"
            )
    write_files(folder, texts)
    for name in texts:
        put_line(f"written: {folder / name}")
    put_line("")
    put_line(f"next, in {folder}: pytest -c conformance.ini --profile=core --max-examples=40")
    return FINE
