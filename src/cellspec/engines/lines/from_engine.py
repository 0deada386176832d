"""The lines that an engine writes.

They have the names and the fields of a trace's events (`cellspec.trace.format`), without number and
time, which are the suite's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from cellspec.engines.lines.line import CLAIM, Claimed, Line, Rows, Values
from cellspec.shapes import Count, Name, OutcomeWord, Positive, Range, Seconds
from cellspec.trace.format import Cause, SavingPolicy

__all__ = [
    "Abandon",
    "Admit",
    "Cancel",
    "CheckpointBegin",
    "CheckpointDurable",
    "CheckpointFailed",
    "CommitBegin",
    "CommitFailed",
    "Committed",
    "Cooling",
    "Drop",
    "Durable",
    "End",
    "Hello",
    "Lose",
    "Pause",
    "Recall",
    "Refuse",
    "Resume",
    "Retire",
    "Row",
    "Skip",
    "Start",
    "Step",
    "Stop",
    "Storage",
    "StorageWrite",
    "Table",
    "TakeBack",
    "Wait",
    "WriteBegin",
]

StorageWrite: TypeAlias = Literal["data", "claim"]
"""What a write of storage holds."""


class Hello(Line, frozen=True, tag="hello"):
    """The first line of a process: its name, version and capabilities."""

    protocol: Annotated[int, Meta(ge=1, description="The version of the protocol that it speaks.")]
    name: Annotated[str, Meta(min_length=1, description="The engine's name.")]
    version: Annotated[str, Meta(description="Its version, in its own words.")]
    capabilities: Annotated[
        tuple[Name, ...], Meta(description="Its capabilities, `core` at least.")
    ]
    idle_s: Annotated[
        Seconds,
        Meta(description="Seconds for which ready work may wait beside nothing in flight."),
    ] = 0.0
    bypass_bound: Annotated[
        Count | None,
        Meta(description="The most later nodes of its resource that overtake a ready node."),
    ] = None
    killer_tries: Annotated[
        Positive | None,
        Meta(
            description="Processes that may die with a cell in flight before its row is dropped "
            "as `killer`; with the capability `killer_cells`."
        ),
    ] = None
    saving: Annotated[
        SavingPolicy | None,
        Meta(
            description="When it promises to save, with the capability `prompt_saving`; left out, "
            "after every `checkpoint.every_rows` rows."
        ),
    ] = None
    unasked: Annotated[
        tuple[str, ...],
        Meta(
            description="Situations that its runs cannot come to, in the words of the report: they "
            "are no goals for it, and each report says so."
        ),
    ] = ()


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
    """A call in flight is given up; its result is not wanted any more."""

    column: Name
    rows: Rows | None = None
    scope: Count | None = None
    reason: str | None = None


class Abandon(Line, frozen=True, tag="abandon"):
    """A call in flight is given up as timed out, although it cannot be ended; it ends late."""

    column: Name
    rows: Rows | None = None
    scope: Count | None = None
    reason: str | None = None


class TakeBack(Line, frozen=True, tag="take_back"):
    """A call in flight is cancelled, and will be made again by another worker."""

    column: Name
    rows: Rows | None = None
    scope: Count | None = None
    reason: str | None = None


class Cooling(Line, frozen=True, tag="cooling"):
    """The node that just failed backs off: it is started again at `until` at the earliest."""

    column: Name
    until: Annotated[Seconds, Meta(description="The time, in seconds of the suite's clock.")]
    rows: Rows | None = None
    scope: Count | None = None


class Skip(Line, frozen=True, tag="skip"):
    """Cells are resolved without a value."""

    column: Name
    rows: Rows


class Recall(Line, frozen=True, tag="recall"):
    """A cache gave the value of a cell, or those of a barrier, for these inputs and without a call.

    A barrier is recalled for exactly the rows that it would read now.
    """

    column: Name
    rows: Annotated[Count | None, Meta(description="The row of the cell.")] = None
    value: Annotated[str | None, Meta(description="The value of the cell.")] = None
    inputs: Annotated[
        Values | tuple[Values, ...] | None,
        Meta(
            description="The values of the columns that it needs: one object for a cell, one for "
            "each row of a barrier. A skipped one is null or left out."
        ),
    ] = None
    scope: Annotated[Count | None, Meta(description="A barrier node, by number from 0.")] = None
    reads: Annotated[
        tuple[Range, ...] | None,
        Meta(description="The rows that the barrier reads, in the order of `inputs`."),
    ] = None
    values: Annotated[
        tuple[str, ...] | None, Meta(description="The value that it gives each of these rows.")
    ] = None


class Lose(Line, frozen=True, tag="lose"):
    """Values that were not durable went with a worker, and are made again.

    Of a barrier they are rows to which it gave output; its node runs again for them.
    """

    column: Name
    rows: Rows


class Drop(Line, frozen=True, tag="drop"):
    """Rows are dropped, because of a failure or an answer in a column."""

    column: Name
    rows: Rows
    reason: str | None = None
    cause: Annotated[
        Cause | None,
        Meta(
            description="`filtered` if the answer rejected the rows, `killer` if processes died of "
            "them; left out, `failed`."
        ),
    ] = None


class Admit(Line, frozen=True, tag="admit"):
    """A row group enters."""

    rows: Rows


class Retire(Line, frozen=True, tag="retire"):
    """A row group leaves: all its rows are resolved."""

    rows: Rows


class Step(Line, frozen=True, tag="step"):
    """The engine asks to change its folder; it waits for `go` before it does."""

    name: Annotated[str, Meta(description="The change that it is about to make, for people.")]


class Storage(Line, frozen=True, tag="storage"):
    """The engine asks how its next write of rows or of a claim goes; `go` answers at once."""

    write: Annotated[StorageWrite, Meta(description="What the write holds.")]


class WriteBegin(Line, frozen=True, tag="write_begin"):
    """Rows of a column, or of every column, are handed to storage, which takes its time."""

    rows: Rows
    column: Name | None = None


class Durable(Line, frozen=True, tag="durable"):
    """Rows of a column, or of every column, are safe in the folder."""

    rows: Rows
    column: Name | None = None


class CheckpointBegin(Line, frozen=True, tag="checkpoint_begin"):
    """A claim is being written."""

    claim: Annotated[Mapping[str, Claimed], CLAIM]


class CheckpointDurable(Line, frozen=True, tag="checkpoint_durable"):
    """That claim is safe in the folder."""


class CheckpointFailed(Line, frozen=True, tag="checkpoint_failed"):
    """That claim, or without one the rows for the next, could not be written."""

    reason: str | None = None


class CommitBegin(Line, frozen=True, tag="commit_begin"):
    """Data is being written together with the claim on it: a crash leaves both, or neither."""

    rows: Annotated[Rows | None, Meta(description="The rows that are new.")] = None
    column: Annotated[Name | None, Meta(description="Their column; left out, every one.")] = None
    claim: Annotated[
        Mapping[str, Claimed] | None, Meta(description="Instead of rows, what is new by column.")
    ] = None
    commit: Annotated[
        Count | None, Meta(description="Tells apart commits that are open at the same time.")
    ] = None


class Committed(Line, frozen=True, tag="committed"):
    """That commit is in the folder: its data, and the claim on it."""

    commit: Count | None = None


class CommitFailed(Line, frozen=True, tag="commit_failed"):
    """That commit reported an error; it may be in the folder all the same."""

    commit: Count | None = None
    reason: str | None = None


class Resume(Line, frozen=True, tag="resume"):
    """This run goes on from a claim that the folder gave back."""

    claim: Annotated[Mapping[str, Claimed], CLAIM]
    dropped: Annotated[
        tuple[Range, ...] | None,
        Meta(
            description="The dropped rows that the folder gave back; left out, the engine does not "
            "say (in version 1: none)."
        ),
    ] = None
    skipped: Annotated[
        dict[str, tuple[Range, ...]] | None,
        Meta(
            description="By column, the skipped cells that the folder gave back; left out, the "
            "engine does not say (in version 1: none)."
        ),
    ] = None
    config: Annotated[
        dict[str, str] | None,
        Meta(
            description="The configuration of this process, as `run` gave it; null: not compared."
        ),
    ] = None
    keep_config: Annotated[
        bool, Meta(description="Claimed cells of another configuration are kept on purpose.")
    ] = False


class Pause(Line, frozen=True, tag="pause"):
    """The engine starts no call until a time, because a call or a write failed."""

    until: Annotated[Seconds, Meta(description="The time, in seconds of the suite's clock.")]
    reason: str | None = None


class Stop(Line, frozen=True, tag="stop"):
    """The run stops early: it starts no further call."""

    reason: str | None = None


class Wait(Line, frozen=True, tag="wait"):
    """The end of a turn: the engine has done all that it can do now."""

    until: Annotated[
        Seconds | None,
        Meta(description="Wake it at this time if nothing happens before; left out, do not."),
    ] = None


class End(Line, frozen=True, tag="end"):
    """The end of the run, with its outcome."""

    outcome: OutcomeWord
    reason: str | None = None


class Refuse(Line, frozen=True, tag="refuse"):
    """The engine refuses the run, which is over."""

    reason: str


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of the table."""

    row: Count
    values: Annotated[Values, Meta(description="By column; null for a skipped cell.")]


class Table(Line, frozen=True, tag="table"):
    """The answer to `read`: the rows that a folder holds. The folder stays as it is."""

    rows: tuple[Row, ...]
    dropped: Annotated[
        tuple[Count, ...], Meta(description="The rows whose drop is recorded there.")
    ] = ()
