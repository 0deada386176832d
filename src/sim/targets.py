"""The target paths of a command, checked before the run: a typo must not lose its result."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

from cellspec.errors import SpecError
from cellspec.files import check_apart, check_target, path_of

__all__ = ["STDOUT", "check_targets", "check_trace_target", "stream_beside"]

STDOUT = "-"
"""The name of stdout on the command line, as in ``--trace -``."""


def stream_beside(trace: str | None) -> TextIO | None:
    """The stream for the result: stderr if the trace has stdout; None means stdout."""
    return sys.stderr if trace == STDOUT else None


def check_targets(source: str | Path, *outputs: str | Path) -> None:
    """Refuse outputs that cannot be written, or would replace the input or one another.

    Raises:
        SpecError: one of them; one line that says why.
    """
    paths = [path_of(output) for output in outputs]
    for path in paths:
        check_target(path)
    check_apart(paths, [Path(source)])


def check_trace_target(path: str | None) -> None:
    """Refuse a trace that cannot be written before anything is run.

    Raises:
        SpecError: it cannot; one line that says why.
    """
    if path is None or path == STDOUT:
        return
    try:
        check_target(path)
    except SpecError as error:
        raise SpecError(f"--trace: {error}; - writes to stdout") from None
