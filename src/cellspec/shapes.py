"""The JSON shapes that several formats share: a column, the limits, the rules for failures.

Shared are the shapes that are the same, field by field:

- *numbers and names* (`Count`, `Positive`, `Seconds`, `Name`, `Range`): in traces
  (`cellspec.trace.format`) and in the line protocol (`cellspec.engines.lines.messages`);
- *words* (`Trait`, `Scope`, `FailureKind`, `OutcomeWord`): in both, and in case files;
- `Column`, `RunLimits`, `FailureRules`: in a trace's header and in a case file
  (`cellspec.conformance.run.case_fields`). A case file has other error messages, so it is read by
  strict models; they are made from these shapes.

Apart on purpose:

- the line protocol's ``Column``, ``Limits`` and ``Failures``: an engine in another language gets
  the *compiled* rules of a column (its kind, the rows of a scope) with its resource beside it, and
  every field is required, so that such an engine needs no defaults;
- scenario files (`sim.scenario`): people write them, in other words and with other defaults;
- a trace's ``Graph``: a case file holds rows, columns and batches at its top level.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

__all__ = [
    "INTEGER_MAX",
    "SECONDS_MAX",
    "Column",
    "Count",
    "FailureKind",
    "FailureRules",
    "JsonObject",
    "Name",
    "OutcomeWord",
    "Positive",
    "Range",
    "RunLimits",
    "Scope",
    "Seconds",
    "Trait",
]

INTEGER_MAX = 2**53 - 1
"""The largest integer that every JSON reader keeps exact."""

SECONDS_MAX = 1e15

Count: TypeAlias = Annotated[int, Meta(ge=0, le=INTEGER_MAX)]
Positive: TypeAlias = Annotated[int, Meta(ge=1, le=INTEGER_MAX)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=SECONDS_MAX)]
Name: TypeAlias = Annotated[str, Meta(min_length=1)]
Range: TypeAlias = tuple[Count, Count]

Trait: TypeAlias = Literal[
    "START", "CELL_BY_CELL", "ROW_STREAMABLE", "BARRIER", "BATCH_BARRIER", "ORDERED"
]
Scope: TypeAlias = Literal["declared", "batch"]
FailureKind: TypeAlias = Literal["retryable", "backpressure", "permanent", "timeout"]
OutcomeWord: TypeAlias = Literal["success", "stopped", "failed", "interrupted"]


class JsonObject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value that is written as a JSON object; a field that it does not have is refused."""


class Column(JsonObject, frozen=True):
    """One column of the graph; see `cellspec.graph.columns.ColumnDescriptor`."""

    name: Annotated[str, Meta(min_length=1, description="The column's name, unique in the graph.")]
    traits: Annotated[
        tuple[Trait, ...], Meta(description="Facts about the column's generator.")
    ] = ()
    needs: Annotated[
        tuple[Name, ...],
        Meta(description="Columns, or side effects of columns, that a cell needs in its row."),
    ] = ()
    side_effects: Annotated[
        tuple[Name, ...], Meta(description="Further names that the column produces.")
    ] = ()
    may_skip: Annotated[
        bool, Meta(description="The column has a condition of its own by which cells are skipped.")
    ] = False
    propagate_skip: Annotated[
        bool, Meta(description="A cell is skipped if one of its inputs was.")
    ] = True


class RunLimits(JsonObject, frozen=True):
    """What may run at once; see `cellspec.machine.machine.Limits`."""

    workers: Annotated[Positive | None, Meta(description="Calls in flight; null: no limit.")] = None
    resources: Annotated[dict[str, Positive], Meta(description="Calls in flight, by resource.")] = (
        msgspec.field(default_factory=dict)
    )
    column_resource: Annotated[
        dict[str, str], Meta(description="The resource that each call of a column takes.")
    ] = msgspec.field(default_factory=dict)
    group_rows: Annotated[
        Positive | None, Meta(description="Rows of a row group; null: rows are not admitted.")
    ] = None
    groups: Annotated[
        Positive | None, Meta(description="Row groups admitted at once; null: no limit.")
    ] = None


class FailureRules(JsonObject, frozen=True):
    """What the run does about failures; see `cellspec.machine.machine.FailurePolicy`."""

    max_attempts: Annotated[
        int, Meta(ge=1, le=INTEGER_MAX, description="Attempts that a node has in an incarnation.")
    ] = 1
    stop_window: Annotated[
        Positive | None,
        Meta(description="Ended calls that an early stop looks at; null: no early stop."),
    ] = None
    stop_rate: Annotated[
        float,
        Meta(gt=0, le=1, description="Share of permanent failures at which the run stops."),
    ] = 1.0
