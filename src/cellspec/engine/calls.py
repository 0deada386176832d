"""The records between a scheduler and its driver: calls to make, rows to save, restored rows.

A `Call` is one call of a generator: a cell, a range of rows, or a barrier over its scope. A `Save`
is one write of rows followed by one checkpoint on them. A `Restored` holds the rows and claims of
earlier incarnations. How a call is made, and where rows are written, is the driver's part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from cellspec.machine.actions import Cause, Failure, Outcome
from cellspec.state.checkpoint import Checkpoint

__all__ = [
    "Backoff",
    "Call",
    "CheckpointPlan",
    "Drop",
    "Failed",
    "Kind",
    "Order",
    "Restored",
    "Save",
    "StoreWrite",
]

Kind: TypeAlias = Literal["cell", "range", "barrier"]
Order: TypeAlias = Literal["row-first", "fifo"]
StoreWrite: TypeAlias = Literal["data", "claim"]

CELL: Final = "cell"
RANGE: Final = "range"
BARRIER: Final = "barrier"


@dataclass(slots=True, eq=False)
class Call:
    """One call of a generator, from the moment it takes its slot until it ends.

    Attributes:
        number: calls of one incarnation count from 0, in the order in which they start.
        column: the column's name; `index` is its position in the graph.
        kind: a single cell, a range of rows, or a barrier node.
        start, stop: the rows ``[start, stop)``; of a barrier, those of its scope.
        scope: a barrier's scope number; None for cells.
        attempt: 1, and one more after each failure that spends an attempt (clause FAIL-01).
        rows: the rows that the generator is given: of a barrier the live ones (clause BARR-06).
        inputs: for each of `rows`, the values that it needs, by name.
        left: of a cell or range, the rows that have not been given yet, in order.
    """

    number: int
    column: str
    index: int
    kind: Kind
    start: int
    stop: int
    scope: int | None
    attempt: int
    rows: Sequence[int]
    inputs: Sequence[Mapping[str, Any]]
    left: dict[int, None] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.kind == BARRIER:
            return f"{self.column} barrier {self.scope}"
        if self.kind == CELL:
            return f"{self.column}[{self.start}]"
        return f"{self.column}[{self.start}:{self.stop}]"


@dataclass(frozen=True, slots=True)
class Failed:
    """How a call failed, and whether it is made again.

    Attributes:
        failure: "retryable", "backpressure", "permanent" or "timeout".
        final: the call is not made again in this incarnation (clause FAIL-02).
        until_s: the moment, on the engine's clock, before which it is not made again; None if it
            is final.
        cause: the exception of the generator.
    """

    failure: Failure
    final: bool
    until_s: float | None
    cause: BaseException


@dataclass(frozen=True, slots=True)
class Drop:
    """Why a row was given up.

    Attributes:
        column: the column that failed for good, or whose answer rejected the row, or whose calls
            ran when processes died.
        cause: its error, in words.
        kind: "filtered" if an answer rejected the row; "killer" if processes died.
    """

    column: str
    cause: str
    kind: Cause = "failed"


@dataclass(frozen=True, slots=True)
class CheckpointPlan:
    """When progress is saved.

    Attributes:
        every_rows: rows finished between two checkpoints, or, in versions 2 and 3, as many rows'
            worth of cells; None to save at the end only.
        version: 1 claims finished rows; 2 claims each column as far as it got; 3 claims any cells.
    """

    every_rows: int | None = 100
    version: int = 1


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a node waits after a failure that is worth another try.

    The n-th backoff in a row lasts ``first_s * factor ** (n - 1)`` seconds, at most `most_s`. A
    generator that says how long to wait (``BackPressure(retry_after_s=…)``) is believed instead.
    There is no jitter: two runs of an engine under test are alike.
    """

    first_s: float = 0.5
    factor: float = 2.0
    most_s: float = 60.0

    def backoff_s(self, count: int) -> float:
        """Seconds to wait after `count` failures in a row, counted from 1."""
        # A large count must not overflow a float before `most_s` can cut it.
        return min(self.most_s, self.first_s * self.factor ** min(count - 1, 60))


@dataclass(frozen=True, slots=True)
class Save:
    """Rows to be made safe, and the claim to be made on them afterwards (clause CKPT-10).

    Attributes:
        ranges: the (column, start, stop) that are safe once `rows` and `dropped` are; column ""
            means every column.
        rows: by row, the values to write, by column; skipped cells hold `SKIPPED`.
        dropped: the rows given up that the claim covers, with the reason.
        checkpoint: the payload to write after that; None if it would repeat the last claim.
        final: it is the last save of this incarnation.
    """

    ranges: tuple[tuple[str, int, int], ...]
    rows: Mapping[int, Mapping[str, Any]]
    dropped: Mapping[int, Drop]
    checkpoint: Checkpoint | None
    final: bool

    @property
    def has_data(self) -> bool:
        """False for a claim that is written again, on data that is safe."""
        return bool(self.ranges or self.rows or self.dropped)


@dataclass(frozen=True, slots=True)
class Restored:
    """The rows and the claim that storage gave back of earlier incarnations.

    Attributes:
        checkpoint: the newest payload that is whole.
        records: the number of rows that the earlier incarnation wanted.
        rows: by row, the values of claimed cells, by column; skipped cells hold `SKIPPED`.
        dropped: the rows given up that the claim covers.
        config: by column, the digest of the configuration that made its claimed cells, as far as
            it is known.
    """

    checkpoint: Checkpoint
    records: int
    rows: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    dropped: Mapping[int, Drop] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ending:
    """How an incarnation ended, and why, in words for people."""

    outcome: Outcome
    reason: str
