"""The lines that an engine reads, and the workload within them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from cellspec.engines.lines.line import NOW, ROW_IDS, Line, RowIds, Rows
from cellspec.shapes import Count, FailureKind, Name, Positive, Range, Seconds

__all__ = [
    "Checkpoints",
    "Column",
    "Complete",
    "Fail",
    "Failures",
    "Go",
    "Limits",
    "Read",
    "Run",
    "StopRequested",
    "Wake",
    "WorkerLost",
]


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
        str | None,
        Meta(description="The resource that each call takes one of; see `limits.resources`."),
    ]
    ordered: Annotated[
        bool, Meta(description="A cell waits for all rows before, a barrier for all scopes before.")
    ]
    skip_rows: Annotated[
        tuple[Count, ...], Meta(description="Rows in which its own condition says to skip it.")
    ]
    passes_skips: Annotated[bool, Meta(description="A cell is skipped if one of its inputs was.")]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The calls and row groups at once; null is no limit."""

    workers: Annotated[Positive | None, Meta(description="Calls in flight.")]
    resources: Annotated[dict[str, Positive], Meta(description="Calls in flight, by resource.")]
    group_rows: Annotated[
        Positive | None, Meta(description="Rows of a row group; null: rows are not admitted.")
    ]
    groups: Annotated[Positive | None, Meta(description="Row groups admitted at once.")]


class Failures(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The rules for failures."""

    max_attempts: Annotated[Positive, Meta(description="Attempts that a node has in one run.")]
    stop_window: Annotated[
        Positive | None,
        Meta(description="Ended calls that an early stop looks at; null: no early stop."),
    ]
    stop_rate: Annotated[
        float, Meta(gt=0, le=1, description="Share of permanent failures at which to stop.")
    ]
    timeout_s: Annotated[
        Seconds | None,
        Meta(
            description="Seconds after which a call in flight is to be ended, by `cancel`; left "
            "out without such a bound."
        ),
    ] = None


class Checkpoints(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a checkpoint is due, and how much it claims."""

    every_rows: Annotated[
        Positive | None, Meta(description="After so many rows; null: at the end only.")
    ]
    version: Annotated[
        int,
        Meta(
            ge=1,
            le=3,
            description="1: one claim for all columns. 2: one for each. 3: any cells.",
        ),
    ]


class Run(Line, frozen=True, tag="run"):
    """A run of the workload begins."""

    t: Annotated[Seconds, NOW]
    incarnation: Annotated[
        Count, Meta(description="0 with an empty folder; later ones go on from it.")
    ] = msgspec.field(name="life")
    folder: Annotated[str, Meta(description="Where to keep the rows that must last.")]
    rows: Positive
    columns: Annotated[
        tuple[Column, ...], Meta(min_length=1, description="Each after those that it needs.")
    ]
    limits: Limits
    failures: Failures
    checkpoint: Checkpoints
    keep: Annotated[
        bool,
        Meta(description="With other rows, keep the output of barriers whose scope changes."),
    ]
    config: Annotated[
        dict[str, str],
        Meta(
            description="By column, a digest of what shapes its values, to be kept beside claims "
            "and compared; a column that is left out is not compared."
        ),
    ]
    row_ids: Annotated[RowIds, ROW_IDS] = ()


class Complete(Line, frozen=True, tag="complete"):
    """A call gives a value: for a cell, for the next row of a range, for all rows of a barrier."""

    t: Annotated[Seconds, NOW]
    column: Name
    rows: Annotated[Count | None, Meta(description="The row that the value is for.")] = None
    scope: Count | None = None
    value: Annotated[str | None, Meta(description="The value of that row.")] = None
    values: Annotated[
        tuple[str, ...] | None,
        Meta(
            description="Of a barrier: a value for each row that it read, in that order, without "
            "those in `rejected`. A list of another length is a mistake, to be refused."
        ),
    ] = None
    rejected: Annotated[
        tuple[Range, ...] | None,
        Meta(
            description="Rows that the answer rejects or leaves out, to be dropped as `filtered`; "
            "of a cell or a row of a range, that row, in place of a value."
        ),
    ] = None
    late: Annotated[
        bool, Meta(description="The end of a call that was abandoned: it is nobody's.")
    ] = False


class Fail(Line, frozen=True, tag="fail"):
    """A call fails; of a range, the rows that it has not given yet."""

    t: Annotated[Seconds, NOW]
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
    late: Annotated[
        bool, Meta(description="The end of a call that was abandoned: it is nobody's.")
    ] = False


class Wake(Line, frozen=True, tag="wake"):
    """The time has come that `wait` named."""

    t: Annotated[Seconds, NOW]


class StopRequested(Line, frozen=True, tag="stop_requested"):
    """The run is asked to stop; sent to an engine with the capability `interrupts` alone."""

    t: Annotated[Seconds, NOW]


class WorkerLost(Line, frozen=True, tag="worker_lost"):
    """A worker is lost; sent to an engine with the capability `lost_workers` alone."""

    t: Annotated[Seconds, NOW]


class Go(Line, frozen=True, tag="go"):
    """The answer to `step`: do it now; and to `storage`: the write goes like this."""

    t: Annotated[Seconds, NOW]
    until: Annotated[
        Seconds | None,
        Meta(description="Of a write: the time before which it is not to be done, if not now."),
    ] = None
    error: Annotated[
        Literal["EIO", "ENOSPC"] | None,
        Meta(description="Of a write: the error that it reports; `ENOSPC`: storage is full."),
    ] = None
    lands: Annotated[
        bool, Meta(description="Of a write with an error: it is to be done all the same.")
    ] = False


class Read(Line, frozen=True, tag="read"):
    """The suite asks for the table in a folder, which the process may not have seen before."""

    folder: str
    rows: Annotated[Positive, Meta(description="The most rows that it may hold.")]
    columns: Annotated[
        tuple[Column, ...], Meta(description="As in `run`, for an engine that does not keep them.")
    ]
    row_ids: Annotated[RowIds, ROW_IDS] = ()
