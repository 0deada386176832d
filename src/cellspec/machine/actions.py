"""The steps of a run, by name, and the rules that a run is given: limits, and what failures do.

An `Action` is one step; it names its column, so a recorded list of actions replays on any driver.
`Limits` and `FailurePolicy` are chosen by whoever starts the run. What a step means, and when it is
allowed, is the business of `cellspec.machine.machine`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from cellspec.errors import SpecError
from cellspec.graph.rowset import Ranges
from cellspec.graph.rules import Rules
from cellspec.machine.policy import stop_threshold
from cellspec.state.counters import Claim

__all__ = [
    "Action",
    "Choose",
    "Failure",
    "FailurePolicy",
    "Limits",
    "Outcome",
    "check_limits",
]

T = TypeVar("T")

Failure: TypeAlias = Literal["retryable", "backpressure", "permanent"]
Outcome: TypeAlias = Literal["success", "stopped", "failed"]


class Choose(Protocol):
    """How a driver answers what a run leaves open: picks one of `options`, which is not empty.

    The label says what is asked ("action", "claim after crash"), so that a recorded answer can be
    read, and an enumerator can treat kinds of question differently.
    """

    def __call__(self, label: str, options: Sequence[T], /) -> T: ...


class Action(NamedTuple):
    """One step of a run, by name; what a trace publishes and a case file stores.

    Attributes:
        kind: see the table there.
        column: the column, or "" for actions of the whole run.
        rows: rows ``[start, stop)`` of cells.
        scope: a barrier node's scope number; None for cells.
        attempt: of a start, the number that the engine gives it, 1 for a node's first try in an
            incarnation; of a complete, a fail or a cancel, the attempt that ended. None if the
            engine does not say: of an end, the one in flight is meant.
        claim: rows claimed, by column position.
        failure: of a fail: "retryable", "backpressure" or "permanent".
        until: of a fail: the time in seconds at which the node may start again; None if the engine
            leaves it open.
        reads: of a barrier's start: the rows it read, as ranges in row order.
        dropped: of a resume: the dropped rows that storage read back, as ranges.
        skipped: of a resume: for each column the skipped rows that storage read back, as ranges.
        records: of a resume: the number of rows from now on, if it is another one.
        keep: of a resume with another number of rows: keep claimed rows of barriers that change.
        outcome: of an end: "success", "stopped" or "failed".
        reason: of a stop or an end, for people.
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

    def __str__(self) -> str:
        where = self.column
        if self.scope is not None:
            where += f" barrier {self.scope}"
        elif self.rows is not None:
            start, stop = self.rows
            where += f"[{start}]" if stop == start + 1 else f"[{start}:{stop}]"
        claim = "" if self.claim is None else f" {list(self.claim)}"
        return f"{self.kind} {where}".rstrip() + claim


@dataclass(frozen=True, slots=True)
class Limits:
    """What may run at once.

    Attributes:
        workers: nodes in flight in all; None for no limit.
        resources: nodes in flight by resource (a model endpoint, say).
        column_resource: the resource that each node of a column takes; columns not named take none.
        group_rows: rows of a row group; None if rows are not admitted in groups.
        groups: row groups that may be admitted at once; None for no limit.

    Raises:
        SpecError: a limit below 1, a column whose resource has no limit, or a limit of groups
            without their size.
    """

    workers: int | None = None
    resources: Mapping[str, int] = field(default_factory=dict)
    column_resource: Mapping[str, str] = field(default_factory=dict)
    group_rows: int | None = None
    groups: int | None = None

    def __post_init__(self) -> None:
        own = (
            ("workers", self.workers),
            ("group_rows", self.group_rows),
            ("groups", self.groups),
        )
        if self.groups is not None and self.group_rows is None:
            raise SpecError("limits: groups: needs group_rows, the rows of a row group")
        for name, limit in (*own, *self.resources.items()):
            if limit is not None and (type(limit) is not int or limit < 1):
                raise SpecError(f"limits: {name}: expected a positive integer, got {limit!r}")
        for column, resource in self.column_resource.items():
            if resource not in self.resources:
                raise SpecError(
                    f"limits: column {column!r} uses resource {resource!r}, which has no limit"
                )


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """What a run does about failures.

    Attributes:
        max_attempts: attempts that a node has in an incarnation; the last one that fails is final.
        stop_window: an early stop looks at this many ended calls, the latest ones: completions and
            permanent failures, also those of rows that were dropped meanwhile; not what is tried
            again. None for no early stop.
        stop_rate: the share of permanent failures among them at which nothing starts any more, as
            the decimal number that it is written as.

    Raises:
        SpecError: a count below 1, or a rate that is not above 0 and at most 1.
    """

    max_attempts: int = 1
    stop_window: int | None = None
    stop_rate: float = 1.0

    def __post_init__(self) -> None:
        counts = (("max_attempts", self.max_attempts), ("stop_window", self.stop_window))
        for name, count in counts:
            if name == "stop_window" and count is None:
                continue
            if type(count) is not int or count < 1:
                raise SpecError(f"failures: {name}: expected a positive integer, got {count!r}")
        rate = self.stop_rate
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= 1:
            raise SpecError(
                f"failures: stop_rate: expected a number above 0 and at most 1, got {rate!r}"
            )

    @property
    def stop_failures(self) -> int | None:
        """So many permanent failures among the last `stop_window` calls stop the run, or None."""
        window = self.stop_window
        return None if window is None else stop_threshold(window, self.stop_rate)


def check_limits(limits: Limits, rules: Rules) -> None:
    """Refuse limits under which a barrier of a graph could wait for ever (clause GROUP-04).

    Raises:
        SpecError: a barrier whose scope has rows in more groups than may be admitted at once.
    """
    size, most = limits.group_rows, limits.groups
    if size is None or most is None:
        return
    for rule in rules.columns:
        for scope in range(rules.scope_count(rule.index)):
            start, stop = rules.scope_bounds(rule.index, scope)
            wanted = -(-stop // size) - start // size
            if wanted > most:
                raise SpecError(
                    f"limits: groups: barrier {rule.name!r} waits for rows {start} to {stop - 1}, "
                    f"which are {wanted} row groups of {size}; only {most} may be admitted at once"
                )
