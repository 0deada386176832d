"""The limits of a run, and its policies: chosen once, when the run is set up.

`Limits` bounds the work in flight, `FailurePolicy` the attempts of a node and the failures that a
run bears before it stops early, `SavePolicy` the work that a crash may cost; `ClaimKind` says what
claims hold. `check_limits` refuses limits that a graph cannot run under.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from cellspec.errors import SpecError
from cellspec.graph.rules import Rules
from cellspec.machine.policy import scopes_too_wide, stop_threshold
from cellspec.text import listed_names

__all__ = ["ClaimKind", "FailurePolicy", "Limits", "SavePolicy", "check_limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits on the work in flight.

    Attributes:
        workers: nodes in flight in all; None if unlimited.
        resources: nodes in flight by resource (a model endpoint, say).
        column_resource: the resource that each node of a column takes; other columns do without.
        column_places: of a column whose nodes take several places, how many of each resource; its
            `column_resource` is one of these. A node of any other takes one place.
        group_rows: rows of a row group; None if rows are not admitted in groups.
        groups: row groups that may be admitted at once; None if unlimited.

    Raises:
        SpecError: a limit below 1, a column whose resource has no limit or fewer places than a
            node takes, or a limit of groups without their size.
    """

    workers: int | None = None
    resources: Mapping[str, int] = field(default_factory=dict)
    column_resource: Mapping[str, str] = field(default_factory=dict)
    group_rows: int | None = None
    groups: int | None = None
    column_places: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

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
        for column, places in self.column_places.items():
            self._check_places(column, places)

    def _check_places(self, column: str, places: Mapping[str, int]) -> None:
        where = f"limits: column_places: {column}"
        if self.column_resource.get(column) not in places:
            raise SpecError(f"{where}: expected its column_resource among {listed_names(places)}")
        for name, count in places.items():
            most = self.resources.get(name)
            if most is None:
                raise SpecError(f"{where}: resource {name!r} has no limit")
            if type(count) is not int or not 1 <= count <= most:
                raise SpecError(
                    f"{where}: {name}: expected from 1 to {most} places, the limit of the "
                    f"resource, got {count!r}"
                )

    @property
    def takes(self) -> list[Mapping[str, int]]:
        """By group of columns, the places that a node takes; see `group_of`.

        The first groups take one place of a resource, in the order of `resources`.
        """
        several = dict.fromkeys(tuple(sorted(each.items())) for each in self.column_places.values())
        return [*({name: 1} for name in self.resources), *map(dict, several)]

    def group_of(self, column: str) -> int:
        """The group of the columns that take the same places; the last takes none."""
        takes, mine = self.takes, self.places_of(column)
        return takes.index(mine) if mine else len(takes)

    def places_of(self, column: str) -> Mapping[str, int]:
        """The places that a node of a column takes, by resource."""
        resource = self.column_resource.get(column)
        return self.column_places.get(column, {} if resource is None else {resource: 1})


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """The policy of a run for failures.

    Attributes:
        max_attempts: attempts that a node has in an incarnation; the last one that fails is final.
        stop_window: an early stop looks at this many ended calls, the latest ones: completions and
            permanent failures, also those of rows that were dropped meanwhile; retries do
            not count. None without an early stop.
        stop_rate: the share of permanent failures among them at which starts are refused, as
            the decimal number that it is written as.
        timeout_s: seconds that a call may be in flight (clause FAIL-07); None without a bound.

    Raises:
        SpecError: a count below 1, a rate that is not above 0 and at most 1, or a bound that is
            not above 0.
    """

    max_attempts: int = 1
    stop_window: int | None = None
    stop_rate: float = 1.0
    timeout_s: float | None = None

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
        bound = self.timeout_s
        if bound is not None and (
            isinstance(bound, bool)
            or not isinstance(bound, int | float)
            or not 0 < bound < math.inf
        ):
            raise SpecError(f"failures: timeout_s: expected seconds above 0, got {bound!r}")

    @property
    def stop_failures(self) -> int | None:
        """So many permanent failures among the last `stop_window` calls stop the run, or None."""
        window = self.stop_window
        return None if window is None else stop_threshold(window, self.stop_rate)


@dataclass(frozen=True, slots=True)
class SavePolicy:
    """When an engine promises to save (clause CKPT-19); one of the three.

    Attributes:
        rows: a save is due when this many rows more could be claimed than at the last save.
        group: a save is due when the rows of a further row group could be claimed.
        seconds: a save is due this long after a row could be claimed that no save holds.

    Raises:
        SpecError: none of the three, or several.
    """

    rows: int | None = None
    group: bool = False
    seconds: float | None = None

    def __post_init__(self) -> None:
        if (self.rows is not None) + self.group + (self.seconds is not None) != 1:
            raise SpecError("saving: expected one of rows, group and seconds")


@dataclass(frozen=True, slots=True)
class ClaimKind:
    """What the claims of a run hold, as far as it is known before the first of them.

    Attributes:
        version: 1 whole rows without a gap; 2 the first rows of each column; 3 any rows.
        by_column: a claim may hold a cell of a row and leave out another.
    """

    version: int
    by_column: bool


def check_limits(limits: Limits, rules: Rules) -> None:
    """Refuse limits under which a barrier of a graph could wait for ever (clause GROUP-04).

    Raises:
        SpecError: a barrier whose scope has rows in more groups than may be admitted at once.
    """
    for wide in scopes_too_wide(rules, limits.group_rows, limits.groups):
        start, stop = rules.scope_bounds(wide.column, wide.scope)
        raise SpecError(
            f"limits: groups: barrier {rules.columns[wide.column].name!r} waits for rows {start} "
            f"to {stop - 1}, which are {len(wide.groups)} row groups of {limits.group_rows}; only "
            f"{limits.groups} may be admitted at once"
        )
