"""The target paths of a command, checked before the run: a typo must not lose its result."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from cellspec.errors import SpecError
from cellspec.exit_codes import BAD_INPUT, FINE, complain, put
from cellspec.files import check_apart, check_target, path_of, write_files

__all__ = [
    "STDOUT",
    "check_targets",
    "check_trace_target",
    "put_result",
    "stream_beside",
    "trace_paths",
]

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


def trace_paths(given: str | None, names: Sequence[str]) -> list[str]:
    """The trace of each pipeline: of one alone as given, of several with its name before the end.

    Args:
        given: as on the command line; None if no trace is wanted, which gives none.
        names: of the pipelines.

    Raises:
        SpecError: several traces cannot be written there, or a name cannot be part of a file's.
    """
    if given is None or len(names) == 1:
        return [] if given is None else [given]
    if given == STDOUT:
        raise SpecError(
            f"--trace: {len(names)} pipelines write a trace each, and not to stdout: give a file, "
            f"as run.jsonl for run.{names[0]}.jsonl and so on"
        )
    path = path_of(given)
    ends = path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:]
    end = "".join(ends)
    stem = path.name.removesuffix(end)
    for name in names:
        if not name.isprintable() or "/" in name or "\\" in name:
            raise SpecError(f"--trace: a pipeline named {name!r} cannot name a file; rename it")
    return [str(path.with_name(f"{stem}.{name}{end}")) for name in names]


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


def put_result(
    text: str, files: Iterable[tuple[Path, Mapping[str, str | bytes]]], stream: TextIO | None = None
) -> int:
    """Write the files of a result, and print it, even if they could not be written.

    The runs may have taken an hour.

    Args:
        text: what is printed.
        files: by folder, the contents of its files.
        stream: where it is printed; None means stdout.

    Returns:
        The exit code.
    """
    code = FINE
    for folder, texts in files:
        try:
            write_files(folder, texts)
        except SpecError as error:
            code = complain(f"error: {error}", BAD_INPUT)
    put(text, stream)
    return code
