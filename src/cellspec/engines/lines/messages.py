"""The lines of the protocol as values: what an engine writes, and what it reads.

Each line is one JSON object, and its field ``event`` says which. What an engine writes has the
names and the fields of a trace's events (`cellspec.trace.format`), without number and time, which
are the suite's. Types and bounds are annotations here; the decoder checks them, and the JSON
Schemas in ``specs/protocol`` are made from them (`cellspec.engines.lines.schema`).

What must fit together within one line (a barrier lists the rows that it reads, a cell does not) is
checked by `misfit`. What a line says about the workload (is there such a column?) is checked by the
probe.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NoReturn, TypeAlias, TypeVar, get_args

import msgspec
from msgspec import Meta

from cellspec.conformance.run.probe import Probe
from cellspec.conformance.run.workload import Workload
from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.rules import ColumnRule
from cellspec.shapes import (
    INTEGER_MAX,
    Count,
    FailureKind,
    Name,
    OutcomeWord,
    Positive,
    Range,
    Seconds,
)
from cellspec.trace.format import CHOICES
from cellspec.trace.reader import explain

__all__ = [
    "FROM_ENGINE",
    "PROTOCOL_VERSION",
    "TO_ENGINE",
    "VERSIONS_READ",
    "BadLine",
    "FromEngine",
    "ToEngine",
    "decode",
    "encode",
    "kind_of",
    "read_message",
    "run_message",
]

PROTOCOL_VERSION = 1
"""The version of the protocol that is spoken here."""

VERSIONS_READ = tuple(range(max(1, PROTOCOL_VERSION - 1), PROTOCOL_VERSION + 1))
"""The versions that an engine may speak: this one and the one before."""

_SHOWN_CHARACTERS = 80

# Without bounds on the single row, for the reason that `cellspec.trace.format` gives.
Rows: TypeAlias = Annotated[int | Range, Meta(description="One row, or rows [start, stop).")]
Values: TypeAlias = dict[str, str | None]

_NOW = Meta(description="The time, in seconds: the suite's clock, which is virtual.")


class Line(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    tag_field="event",
):
    """One line; a field that it does not have is refused."""


# What an engine writes


class Hello(Line, frozen=True, tag="hello"):
    """The first line of a process: who it is, before it is asked for anything."""

    protocol: Annotated[int, Meta(ge=1, description="The version of the protocol that it speaks.")]
    name: Annotated[str, Meta(min_length=1, description="The engine's name.")]
    version: Annotated[str, Meta(description="Its version, in its own words.")]
    capabilities: Annotated[
        tuple[Name, ...], Meta(description="What it claims to do, `core` at least.")
    ]


class Start(Line, frozen=True, tag="start"):
    """The call of a generator begins: for a cell, a range of rows, or a barrier node."""

    column: Name
    rows: Rows | None = None
    scope: Annotated[Count | None, Meta(description="A barrier node, by number from 0.")] = None
    reads: Annotated[
        tuple[Range, ...] | None,
        Meta(description="The rows that a barrier reads, in the order of `inputs`."),
    ] = None
    inputs: Annotated[
        Values | tuple[Values, ...] | None,
        Meta(
            description="The values that the call is given, by column: one object for a cell, one "
            "for each row else. A skipped input is null or left out."
        ),
    ] = None
    attempt: Annotated[
        Positive | None,
        Meta(description="Which attempt this is, from 1; left out, the suite counts."),
    ] = None


class Cancel(Line, frozen=True, tag="cancel"):
    """A call in flight is given up; it gives nothing any more."""

    column: Name
    rows: Rows | None = None
    scope: Count | None = None
    reason: str | None = None


class Cooling(Line, frozen=True, tag="cooling"):
    """What just failed will be started again at `until`, and not before."""

    column: Name
    until: Annotated[Seconds, Meta(description="The time, in seconds of the suite's clock.")]
    rows: Rows | None = None
    scope: Count | None = None


class Skip(Line, frozen=True, tag="skip"):
    """Cells are resolved without a value."""

    column: Name
    rows: Rows


class Drop(Line, frozen=True, tag="drop"):
    """Rows are given up, because of what failed in a column."""

    column: Name
    rows: Rows
    reason: str | None = None


class Admit(Line, frozen=True, tag="admit"):
    """A row group enters."""

    rows: Rows


class Retire(Line, frozen=True, tag="retire"):
    """A row group leaves: all its rows are resolved."""

    rows: Rows


class Step(Line, frozen=True, tag="step"):
    """The engine asks to change its folder; it does so when it has read `go`, and not before."""

    name: Annotated[str, Meta(description="What it is about to do, for people.")]


class Durable(Line, frozen=True, tag="durable"):
    """Rows of a column, or of every column, are safe in the folder."""

    rows: Rows
    column: Name | None = None


class CheckpointBegin(Line, frozen=True, tag="checkpoint_begin"):
    """A claim is being written."""

    claim: Annotated[
        dict[str, Count],
        Meta(description="For each column the rows from 0 on that are claimed as resolved."),
    ]


class CheckpointDurable(Line, frozen=True, tag="checkpoint_durable"):
    """That claim is safe in the folder."""


class CheckpointFailed(Line, frozen=True, tag="checkpoint_failed"):
    """That claim, or without one the rows for the next, could not be written."""

    reason: str | None = None


class Resume(Line, frozen=True, tag="resume"):
    """This life goes on from a claim that the folder gave back."""

    claim: dict[str, Count]
    dropped: Annotated[
        tuple[Range, ...], Meta(description="The dropped rows that the folder gave back.")
    ] = ()
    skipped: Annotated[
        dict[str, tuple[Range, ...]],
        Meta(description="By column, the skipped cells that the folder gave back."),
    ] = msgspec.field(default_factory=dict)


class Stop(Line, frozen=True, tag="stop"):
    """The run stops early: nothing starts any more."""

    reason: str | None = None


class Wait(Line, frozen=True, tag="wait"):
    """The end of a turn: the engine has done all that it can do now."""

    until: Annotated[
        Seconds | None,
        Meta(description="Wake it at this time if nothing happens before; left out, do not."),
    ] = None


class End(Line, frozen=True, tag="end"):
    """The end of a life: how it went."""

    outcome: OutcomeWord
    reason: str | None = None


class Refuse(Line, frozen=True, tag="refuse"):
    """The engine refuses what it is asked for; the life is over."""

    reason: str


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of the table."""

    row: Count
    values: Annotated[Values, Meta(description="By column; null for a skipped cell.")]


class Table(Line, frozen=True, tag="table"):
    """The answer to `read`: all that a folder holds. It changes nothing there."""

    rows: tuple[Row, ...]
    dropped: Annotated[
        tuple[Count, ...], Meta(description="The rows whose drop is recorded there.")
    ] = ()


# What an engine reads


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A column of the workload, in plain words."""

    name: Name
    kind: Annotated[
        Literal["cell", "range", "barrier"],
        Meta(
            description="`cell`: a call makes one cell. `range`: a call makes one or more rows in "
            "a row. `barrier`: a call reads every row of its scope."
        ),
    ]
    needs: Annotated[tuple[Name, ...], Meta(description="Columns whose values it is given.")]
    scope_rows: Annotated[
        Count,
        Meta(description="Of a barrier: scope k holds rows [k × this, (k + 1) × this). Else 0."),
    ]
    batched: Annotated[
        bool,
        Meta(description="A barrier over batches: with more rows it has more scopes, not longer."),
    ]
    resource: Annotated[
        str | None, Meta(description="What each call takes one of; see `limits.resources`.")
    ]
    ordered: Annotated[
        bool, Meta(description="A cell waits for all rows before, a barrier for all scopes before.")
    ]
    skip_rows: Annotated[
        tuple[Count, ...], Meta(description="Rows in which its own condition says to skip it.")
    ]
    passes_skips: Annotated[bool, Meta(description="A cell is skipped if one of its inputs was.")]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may run at once; null is no limit."""

    workers: Annotated[Positive | None, Meta(description="Calls in flight.")]
    resources: Annotated[dict[str, Positive], Meta(description="Calls in flight, by resource.")]
    group_rows: Annotated[
        Positive | None, Meta(description="Rows of a row group; null: rows are not admitted.")
    ]
    groups: Annotated[Positive | None, Meta(description="Row groups admitted at once.")]


class Failures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to do about failures."""

    max_attempts: Annotated[Positive, Meta(description="Attempts that a node has in one life.")]
    stop_window: Annotated[
        Positive | None,
        Meta(description="Ended calls that an early stop looks at; null: no early stop."),
    ]
    stop_rate: Annotated[
        float, Meta(gt=0, le=1, description="Share of permanent failures at which to stop.")
    ]


class Checkpoints(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a checkpoint is due, and how much it claims."""

    every_rows: Annotated[
        Positive | None, Meta(description="After so many rows; null: at the end only.")
    ]
    version: Annotated[
        int, Meta(ge=1, le=2, description="1: one claim for all columns. 2: one for each.")
    ]


class Run(Line, frozen=True, tag="run"):
    """One life of a workload begins."""

    t: Annotated[Seconds, _NOW]
    incarnation: Annotated[
        Count, Meta(description="0 with an empty folder; later ones go on from it.")
    ] = msgspec.field(name="life")
    folder: Annotated[str, Meta(description="Where to keep what must last.")]
    rows: Positive
    columns: Annotated[
        tuple[Column, ...], Meta(min_length=1, description="Each after those that it needs.")
    ]
    limits: Limits
    failures: Failures
    checkpoint: Checkpoints
    keep: Annotated[
        bool,
        Meta(
            description="With another number of rows, keep what barriers gave whose scope changes."
        ),
    ]


class Complete(Line, frozen=True, tag="complete"):
    """A call gives a value: for a cell, for the next row of a range, for all rows of a barrier."""

    t: Annotated[Seconds, _NOW]
    column: Name
    rows: Annotated[Count | None, Meta(description="The row that the value is for.")] = None
    scope: Count | None = None
    value: Annotated[str | None, Meta(description="The value of that row.")] = None
    values: Annotated[
        tuple[str, ...] | None,
        Meta(description="Of a barrier: a value for each row that it read, in that order."),
    ] = None


class Fail(Line, frozen=True, tag="fail"):
    """A call fails; of a range, the rows that it has not given yet."""

    t: Annotated[Seconds, _NOW]
    column: Name
    failure: Annotated[
        FailureKind,
        Meta(description="Spends an attempt; spends none; can never succeed."),
    ]
    rows: Rows | None = None
    scope: Count | None = None
    retry_after: Annotated[
        Seconds | None, Meta(description="Seconds from now before which it must not be repeated.")
    ] = None


class Wake(Line, frozen=True, tag="wake"):
    """The time has come that `wait` named."""

    t: Annotated[Seconds, _NOW]


class Go(Line, frozen=True, tag="go"):
    """The answer to `step`: do it now."""

    t: Annotated[Seconds, _NOW]


class Read(Line, frozen=True, tag="read"):
    """What does this folder hold? Asked of a process that may never have seen it."""

    folder: str
    rows: Annotated[Positive, Meta(description="The most rows that it may hold.")]
    columns: Annotated[
        tuple[Column, ...], Meta(description="As in `run`, for an engine that does not keep them.")
    ]


FromEngine: TypeAlias = (
    Hello
    | Start
    | Cancel
    | Cooling
    | Skip
    | Drop
    | Admit
    | Retire
    | Step
    | Durable
    | CheckpointBegin
    | CheckpointDurable
    | CheckpointFailed
    | Resume
    | Stop
    | Wait
    | End
    | Refuse
    | Table
)
ToEngine: TypeAlias = Run | Complete | Fail | Wake | Go | Read

L = TypeVar("L", bound=Line)


def kind_of(message: Line | type[Line]) -> str:
    """What the field ``event`` of a message says."""
    return str(message.__struct_config__.tag)


FROM_ENGINE: Mapping[str, type[Line]] = {kind_of(one): one for one in get_args(FromEngine)}
"""What an engine writes, by ``event``."""

TO_ENGINE: Mapping[str, type[Line]] = {kind_of(one): one for one in get_args(ToEngine)}
"""What an engine reads, by ``event``."""

_ENCODER = msgspec.json.Encoder()
_DECODERS = {
    id(FROM_ENGINE): msgspec.json.Decoder(FromEngine),
    id(TO_ENGINE): msgspec.json.Decoder(ToEngine),
}


class BadLine(Exception):  # noqa: N818 - what it is about
    """A line that is no message; the text says what is wrong with it, in one line."""


def encode(message: Line) -> bytes:
    """A message as it is sent, with the end of its line."""
    return _ENCODER.encode(message) + b"\n"


def decode(line: bytes, known: Mapping[str, type[Line]] = FROM_ENGINE) -> Any:
    """The message that a line holds.

    Args:
        line: the line, with or without its end.
        known: `FROM_ENGINE` or `TO_ENGINE`.

    Raises:
        BadLine: it holds none.
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
        told = "got none" if "event" not in value else f"got {json.dumps(kind)}"
        return f"event: expected one of {', '.join(known)}; {told}"
    try:
        msgspec.convert(value, known[kind])
    except msgspec.ValidationError as wrong:
        error = wrong
    field, expected = explain(error, value)
    if "invalid enum value" in expected.lower():
        expected = f"expected one of {', '.join(CHOICES.get(field, ()))}"
    return ": ".join(filter(None, (kind, field, expected)))


def _no_number(word: str) -> NoReturn:
    """NaN and the infinities, which Python reads and JSON does not have."""
    raise ValueError(word)


# What must fit together


def misfit(message: Line) -> tuple[str, str] | None:
    """A field of a message that does not go with the others, and what was expected."""
    if isinstance(message, Start | Cancel | Cooling | Complete | Fail):
        if (message.rows is None) == (message.scope is None):
            return "rows", "expected either rows, of cells, or scope, of a barrier"
        if isinstance(message, Start):
            return _misfit_of_start(message) or _odd_rows(message.rows)
        if isinstance(message, Complete):
            given, other = ("value", "values") if message.scope is None else ("values", "value")
            if getattr(message, given) is None or getattr(message, other) is not None:
                return given, f"expected {given}, and no {other}"
    return _odd_rows(getattr(message, "rows", None))


def _misfit_of_start(start: Start) -> tuple[str, str] | None:
    if (start.scope is None) != (start.reads is None):
        return "reads", "expected the rows that a barrier reads; a cell has no such field"
    if any(first >= stop for first, stop in start.reads or ()):
        return "reads", "expected ranges [start, stop) that are not empty"
    one = isinstance(start.rows, int)
    if start.inputs is not None and isinstance(start.inputs, dict) != one:
        what = "an object, of the values by column" if one else "a list, of an object for each row"
        return "inputs", f"expected {what}"
    return None


def _odd_rows(rows: object) -> tuple[str, str] | None:
    if isinstance(rows, int) and not 0 <= rows <= INTEGER_MAX:
        return "rows", f"expected a row, which is an integer from 0, got {rows}"
    if isinstance(rows, tuple) and len(rows) == 2 and isinstance(rows[0], int):
        start, stop = rows
        if start >= stop:
            return "rows", f"expected rows [start, stop), at least one, got [{start}, {stop}]"
    return None


# The workload, in plain words


def run_message(probe: Probe) -> Run:
    """What a probe asks for."""
    work = probe.work
    limits, failures = work.limits, work.failures
    return Run(
        t=probe.now(),
        incarnation=probe.incarnation,
        folder=str(probe.folder),
        rows=probe.rows,
        columns=columns_of(work, probe.graph),
        limits=Limits(limits.workers, dict(limits.resources), limits.group_rows, limits.groups),
        failures=Failures(failures.max_attempts, failures.stop_window, failures.stop_rate),
        checkpoint=Checkpoints(work.checkpoint_every_rows, work.checkpoint_version),
        keep=work.keep,
    )


def read_message(probe: Probe) -> Read:
    """Asks for the table in a probe's folder.

    A life that was asked for fewer rows than are there may have died before it could refuse, so
    this names the most rows that any life was asked for.
    """
    work = probe.work
    graph = work.graph(max(range(work.incarnations), key=work.rows_of))
    return Read(folder=str(probe.folder), rows=graph.num_records, columns=columns_of(work, graph))


def columns_of(work: Workload, graph: ExecutionGraph) -> tuple[Column, ...]:
    """The columns of a workload, for one life of it."""
    rules = graph.rules

    def column(rule: ColumnRule) -> Column:
        return Column(
            name=rule.name,
            kind="barrier" if rule.is_barrier else "range" if rule.streamable else "cell",
            needs=tuple(rules.columns[need].name for need in rule.needs),
            scope_rows=rule.scope_rows,
            batched=rule.is_barrier and rule.batched,
            resource=work.limits.column_resource.get(rule.name),
            ordered=rule.ordered,
            skip_rows=tuple(
                row
                for row in range(graph.num_records if rule.may_skip else 0)
                if work.wants_skip(rule.name, row)
            ),
            passes_skips=rule.propagates,
        )

    return tuple(map(column, rules.columns))
