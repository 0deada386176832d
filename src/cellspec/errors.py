"""Every error that cellspec raises on purpose, and its meaning.

There are two families, for two causes. A `SpecError` means that an *input* cannot be used: a graph,
a checkpoint, a scenario, a node. Its message is one line that names the thing, the field and the
expected value. A `Violation` means that an *event* breaks a numbered clause of the specification:
it names the clause, and a program that drives an engine reports it rather than repairs it.

Each goes through `pickle` as it is, so that one that is raised in another process is the same here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = [
    "CheckpointError",
    "FaultsError",
    "GraphError",
    "MissingExtraError",
    "NodeError",
    "SpecError",
    "TraceError",
    "Violation",
    "how_to_install",
]


def _pickled(error: Exception) -> tuple[Any, ...]:
    """An error as it is: its own arguments are others than those of the message."""
    return type(error).__new__, (type(error), *error.args), vars(error)


class SpecError(ValueError):
    """Input that cannot be used. The message is one line for its author."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _pickled(self)


class FaultsError(SpecError):
    """Several faults of one input, a line for each.

    Attributes:
        lines: the faults, in the order in which they are to be read.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


class GraphError(SpecError):
    """Columns that do not form a graph: an unknown dependency, a cycle, a name used twice.

    Attributes:
        positions: the columns at fault, by position in the sequence that was checked, the one to
            change first; empty if the fault is not of certain columns.
    """

    def __init__(self, message: str, positions: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.positions = tuple(positions)


class NodeError(SpecError):
    """A node that a graph or tracker does not have: an unknown column, a row out of range."""


class UnknownColumnError(NodeError, KeyError):
    """A column that a graph does not have: as for a mapping, it is a `KeyError` too."""

    def __str__(self) -> str:
        # A KeyError shows its key, in quotes; this is a message.
        return str(self.args[0])


class CheckpointError(SpecError):
    """A checkpoint payload that is malformed, too new, of another graph, or claims too much."""


class TraceError(SpecError):
    """A trace that cannot be read, or not to its end.

    Attributes:
        line: the line of the file, from 1; None if the error is about the file as a whole.
        field: the field of that line, or "" if it is the line as a whole.
        expected: the expected value, and the value that was found.
        clause: the clause that the file breaks, if it is well formed but not the trace of one run:
            ``TRACE-01`` or ``TRACE-02``. None for a file that is cut off, damaged, or in a newer
            format: its writer may be right.
    """

    def __init__(
        self,
        source: str,
        line: int | None,
        field: str,
        expected: str,
        *,
        clause: str | None = None,
    ) -> None:
        where = [source, f"line {line}" if line is not None else "", field]
        super().__init__(": ".join([*filter(None, where), expected]))
        self.line = line
        self.field = field
        self.expected = expected
        self.clause = clause


def how_to_install(extra: str) -> str:
    """How to install an extra from a checkout; the package is not published."""
    return f"in a checkout of cellspec: pip install '.[{extra}]'"


class MissingExtraError(ImportError):
    """An optional dependency is absent. The message names the extra that brings it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional dependency; {how_to_install(extra)}")
        self.extra = extra

    def __reduce__(self) -> tuple[Any, ...]:
        return _pickled(self)


class Violation(Exception):  # noqa: N818 - the field's word for a broken rule is not "error"
    """A clause of the specification was broken.

    Attributes:
        clause: the clause's number, such as ``SCHED-01``.
        detail: the event and its node, in one line.
    """

    def __init__(self, clause: str, detail: str) -> None:
        super().__init__(f"{clause}: {detail}")
        self.clause = clause
        self.detail = detail

    def __reduce__(self) -> tuple[Any, ...]:
        return _pickled(self)
