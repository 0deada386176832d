"""The steps of a run, by name.

An `Action` is one step; it names its column, so a recorded list of actions replays on any driver.
`cellspec.machine.machine` holds the meaning of each step, and the conditions that allow it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from cellspec.graph.rowset import Ranges
from cellspec.state.claims import Claim

__all__ = [
    "Action",
    "Cause",
    "Choose",
    "Failure",
    "Outcome",
]

T = TypeVar("T")

Failure: TypeAlias = Literal["retryable", "backpressure", "permanent", "timeout"]
Outcome: TypeAlias = Literal["success", "stopped", "failed", "interrupted"]
Cause: TypeAlias = Literal["failed", "filtered", "killer"]


class Choose(Protocol):
    """How a driver makes a choice that a run leaves open: picks one of `options`.

    The label names the question ("action", "claim after crash"), so that a recorded answer can be
    read, and an enumerator can treat kinds of question differently.
    """

    def __call__(self, label: str, options: Sequence[T], /) -> T: ...


class Action(NamedTuple):
    """One step of a run, by name, as traces and case files hold it.

    Attributes:
        kind: see the table there.
        column: the column, or "" for actions of the whole run.
        rows: rows ``[start, stop)`` of cells.
        scope: a barrier node's scope number; None for cells.
        attempt: of a start, the number that the engine gives it, 1 for a node's first try in an
            incarnation; of a complete, a fail or a cancel, the attempt that ended. None if the
            engine does not say: of an end, the one in flight is meant.
        claim: rows claimed, by column position; of a commit, those that are new.
        failure: of a fail: "retryable", "backpressure", "permanent" or "timeout".
        until: of a fail: the time in seconds at which the node may start again; None if the engine
            leaves it open. Of a pause: when calls may start again.
        reads: of a barrier's start: the rows it read, as ranges in row order.
        dropped: of a resume: the dropped rows that storage read back, as ranges.
        skipped: of a resume: for each column the skipped rows that storage read back, as ranges.
        records: of a resume: the number of rows from now on, if it is another one.
        keep: of a resume with another number of rows: keep claimed rows of barriers that change.
        outcome: of an end: "success", "stopped", "failed" or "interrupted".
        reason: of a stop or an end, for people.
        commit: the number of a commit, where several are open at once.
        abandoned: of a fail or a cancel: the call goes on, and its end is nobody's any more.
        rejected: of a complete: the rows that the answer rejects or leaves out.
        cause: of a drop: "failed" if None, "filtered" or "killer".
        config: of a resume: by column, a digest of what shapes its values.
        keep_config: of a resume: keep claimed cells although their configuration changed.
    """

    kind: str
    column: str = ""
    rows: tuple[int, int] | None = None
    scope: int | None = None
    attempt: int | None = None
    claim: Claim | None = None
    failure: Failure | None = None
    until: float | None = None
    reads: Ranges | None = None
    dropped: Ranges | None = None
    skipped: Mapping[str, Ranges] | None = None
    records: int | None = None
    keep: bool = False
    outcome: Outcome | None = None
    reason: str | None = None
    commit: int | None = None
    abandoned: bool = False
    rejected: Ranges | None = None
    cause: Cause | None = None
    config: Mapping[str, str] | None = None
    keep_config: bool = False

    def __str__(self) -> str:
        where = self.column
        if self.scope is not None:
            where += f" barrier {self.scope}"
        elif self.rows is not None:
            start, stop = self.rows
            where += f"[{start}]" if stop == start + 1 else f"[{start}:{stop}]"
        claim = "" if self.claim is None else f" {list(self.claim)}"
        return f"{self.kind} {where}".rstrip() + claim
