"""The lines of the protocol as values: decoded with a check, and encoded.

Each line is one JSON object, and its field ``event`` names its kind. The lines of either side are
in `cellspec.engines.lines.from_engine` and `cellspec.engines.lines.to_engine`. Types and bounds are
annotations there; the decoder checks them, and the JSON Schemas in ``specs/protocol`` are made from
them (`cellspec.engines.lines.schema`).

`misfit` checks the fields of one line against each other (a barrier lists the rows that it reads, a
cell does not). The probe checks a line against the workload (is there such a column?).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn, TypeAlias, TypeVar, get_args

import msgspec

from cellspec.engines.lines.from_engine import (
    Abandon,
    Admit,
    Cancel,
    CheckpointBegin,
    CheckpointDurable,
    CheckpointFailed,
    CommitBegin,
    CommitFailed,
    Committed,
    Cooling,
    Drop,
    Durable,
    End,
    Hello,
    Lose,
    Pause,
    Recall,
    Refuse,
    Resume,
    Retire,
    Row,
    Skip,
    Start,
    Step,
    Stop,
    Storage,
    StorageWrite,
    Table,
    TakeBack,
    Wait,
    WriteBegin,
)
from cellspec.engines.lines.line import Claimed, Line, Rows, Values
from cellspec.engines.lines.to_engine import (
    Checkpoints,
    Column,
    Complete,
    Fail,
    Failures,
    Go,
    Limits,
    Read,
    Run,
    StopRequested,
    Wake,
    WorkerLost,
)
from cellspec.shapes import INTEGER_MAX
from cellspec.trace.format import CHOICES
from cellspec.trace.reader import explain

__all__ = [
    "FROM_ENGINE",
    "PROTOCOL_VERSION",
    "TO_ENGINE",
    "VERSIONS_READ",
    "Abandon",
    "Admit",
    "BadLine",
    "Cancel",
    "CheckpointBegin",
    "CheckpointDurable",
    "CheckpointFailed",
    "Checkpoints",
    "Claimed",
    "Column",
    "CommitBegin",
    "CommitFailed",
    "Committed",
    "Complete",
    "Cooling",
    "Drop",
    "Durable",
    "End",
    "Fail",
    "Failures",
    "FromEngine",
    "Go",
    "Hello",
    "Limits",
    "Line",
    "Lose",
    "Pause",
    "Read",
    "Recall",
    "Refuse",
    "Resume",
    "Retire",
    "Row",
    "Rows",
    "Run",
    "Skip",
    "Start",
    "Step",
    "Stop",
    "StopRequested",
    "Storage",
    "StorageWrite",
    "Table",
    "TakeBack",
    "ToEngine",
    "Values",
    "Wait",
    "Wake",
    "WorkerLost",
    "WriteBegin",
    "decode",
    "encode",
    "kind_of",
    "misfit",
]

PROTOCOL_VERSION = 2
"""The version of the protocol that is spoken here."""

VERSIONS_READ = tuple(range(max(1, PROTOCOL_VERSION - 1), PROTOCOL_VERSION + 1))
"""The versions that an engine may speak: this one and the one before."""

_SHOWN_CHARACTERS = 80
_WORDS = {**CHOICES, "write": get_args(StorageWrite)}

FromEngine: TypeAlias = (
    Hello
    | Start
    | Cancel
    | Abandon
    | TakeBack
    | Cooling
    | Skip
    | Drop
    | Recall
    | Lose
    | Admit
    | Retire
    | Step
    | Storage
    | WriteBegin
    | Durable
    | CheckpointBegin
    | CheckpointDurable
    | CheckpointFailed
    | CommitBegin
    | Committed
    | CommitFailed
    | Resume
    | Pause
    | Stop
    | Wait
    | End
    | Refuse
    | Table
)
ToEngine: TypeAlias = Run | Complete | Fail | Wake | StopRequested | WorkerLost | Go | Read

L = TypeVar("L", bound=Line)


def kind_of(message: Line | type[Line]) -> str:
    """The kind of a message: its field ``event``."""
    return str(message.__struct_config__.tag)


FROM_ENGINE: Mapping[str, type[Line]] = {kind_of(one): one for one in get_args(FromEngine)}
"""The lines that an engine writes, by ``event``."""

TO_ENGINE: Mapping[str, type[Line]] = {kind_of(one): one for one in get_args(ToEngine)}
"""The lines that an engine reads, by ``event``."""

_ENCODER = msgspec.json.Encoder()
_DECODERS = {
    id(FROM_ENGINE): msgspec.json.Decoder(FromEngine),
    id(TO_ENGINE): msgspec.json.Decoder(ToEngine),
}


class BadLine(Exception):  # noqa: N818 - its subject
    """A line that cannot be used; the text says why, in one line."""


def encode(message: Line) -> bytes:
    """A message as it is sent, with the end of its line."""
    return _ENCODER.encode(message) + b"\n"


def decode(line: bytes, known: Mapping[str, type[Line]] = FROM_ENGINE) -> Any:
    """The message that a line holds.

    Args:
        line: the line, with or without its end.
        known: `FROM_ENGINE` or `TO_ENGINE`.

    Raises:
        BadLine: the line holds no message.
    """
    try:
        message = _DECODERS[id(known)].decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadLine(_explain(line, known, error)) from None
    odd = misfit(message)
    if odd is not None:
        raise BadLine(f"{kind_of(message)}: {odd[0]}: {odd[1]}")
    return message


def _explain(line: bytes, known: Mapping[str, type[Line]], error: Exception) -> str:
    shown = repr(line.decode("utf-8", "replace").rstrip("\r\n"))
    if len(shown) > _SHOWN_CHARACTERS:
        shown = f"{shown[: _SHOWN_CHARACTERS - 3]}..."
    try:
        value = json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return f"expected a JSON object, got {shown}"
    if not isinstance(value, dict):
        return f"expected a JSON object, got {shown}"
    kind = value.get("event")
    if not isinstance(kind, str) or kind not in known:
        got = "got none" if "event" not in value else f"got {json.dumps(kind)}"
        return f"event: expected one of {', '.join(known)}; {got}"
    try:
        msgspec.convert(value, known[kind])
    except msgspec.ValidationError as wrong:
        error = wrong
    field, expected = explain(error, value)
    if "invalid enum value" in expected.lower():
        expected = f"expected one of {', '.join(_WORDS.get(field, ()))}"
    return ": ".join(filter(None, (kind, field, expected)))


def _no_number(word: str) -> NoReturn:
    """Refuse NaN and the infinities, which Python reads and JSON lacks."""
    raise ValueError(word)


# Fields that must fit together

_OF_NODES = Start | Cancel | Abandon | TakeBack | Cooling | Complete | Fail | Recall


def misfit(message: Line) -> tuple[str, str] | None:
    """A field of a message that does not fit the others, and the expected value; None if all do."""
    if isinstance(
        message, Start | Cancel | Abandon | TakeBack | Cooling | Complete | Fail | Recall
    ):
        if (message.rows is None) == (message.scope is None):
            return "rows", "expected either rows, of cells, or scope, of a barrier"
        if isinstance(message, Start | Recall):
            return _misfit_of_inputs(message) or _odd_rows(message.rows)
        if isinstance(message, Complete):
            return _misfit_of_complete(message) or _odd_rows(message.rows)
    if isinstance(message, Hello) and message.saving is not None:
        rows, group, seconds = msgspec.structs.astuple(message.saving)
        if (rows is not None) + group + (seconds is not None) != 1:
            return "saving", "expected one of rows, group and seconds"
    if isinstance(message, CommitBegin) and (message.rows is None) == (message.claim is None):
        return "rows", "expected either rows, or a claim of what is new"
    if isinstance(message, CommitBegin) and message.claim and message.column is not None:
        return "column", "no such field beside a claim, which names columns"
    if isinstance(message, CheckpointBegin | CommitBegin | Resume):
        for name, rows in (message.claim or {}).items():
            if isinstance(rows, int) and not 0 <= rows <= INTEGER_MAX:
                return f"claim.{name}", f"expected a number of rows from 0, or ranges, got {rows}"
            if isinstance(rows, tuple) and any(start >= stop for start, stop in rows):
                return f"claim.{name}", "expected ranges [start, stop) that are not empty"
    return _odd_rows(getattr(message, "rows", None))


def _misfit_of_complete(ended: Complete) -> tuple[str, str] | None:
    given, others = "values", ["value"]
    if ended.scope is None:
        given, others = ("value" if ended.rejected is None else "rejected"), ["values"]
        others += ["value"] * (given == "rejected")
    for other in others:
        if getattr(ended, given) is None or getattr(ended, other) is not None:
            return given, f"expected {given}, and no {other}"
    return None


def _misfit_of_inputs(given: Start | Recall) -> tuple[str, str] | None:
    if (given.scope is None) != (given.reads is None):
        return "reads", "expected the rows that a barrier reads; a cell has no such field"
    if any(first >= stop for first, stop in given.reads or ()):
        return "reads", "expected ranges [start, stop) that are not empty"
    one = isinstance(given.rows, int)
    if given.inputs is not None and isinstance(given.inputs, dict) != one:
        what = "an object, of the values by column" if one else "a list, of an object for each row"
        return "inputs", f"expected {what}"
    if isinstance(given, Recall):
        answer, other = ("value", "values") if one else ("values", "value")
        if getattr(given, answer) is None or getattr(given, other) is not None:
            return answer, f"expected {answer}, and no {other}"
    return None


def _odd_rows(rows: object) -> tuple[str, str] | None:
    if isinstance(rows, int) and not 0 <= rows <= INTEGER_MAX:
        return "rows", f"expected a row, which is an integer from 0, got {rows}"
    if isinstance(rows, tuple) and len(rows) == 2 and isinstance(rows[0], int):
        start, stop = rows
        if start >= stop:
            return "rows", f"expected rows [start, stop), at least one, got [{start}, {stop}]"
    return None
