"""What columns ask of an endpoint that it cannot do: more calls than its table knows, and so on.

The records of `sim.scenario.endpoints` check what one endpoint says of itself; here it meets the
columns, their latencies and the limits of their client.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from cellspec.graph.rules import ColumnRule, Rules
from sim.scenario.endpoints import (
    EndpointSpec,
    PauseSpec,
    ResourceOutage,
    ThrottleSpec,
    overlap_faults,
)
from sim.scenario.strict import Fault

__all__ = ["Clients", "endpoint_faults"]

Place: TypeAlias = "tuple[int | str, ...]"


@dataclass(frozen=True, slots=True)
class Clients:
    """The columns of a scenario, as its endpoints see them.

    Attributes:
        rules: of the scenario's graph.
        column_resource: by column that takes one, its resource.
        limits: by resource, the calls that its client has at once.
        workers: calls at once in all.
        group_rows: rows that are admitted at once; None if all are.
    """

    rules: Rules
    column_resource: Mapping[str, str]
    limits: Mapping[str, int]
    workers: int
    group_rows: int | None

    def columns(self, resource: str) -> list[ColumnRule]:
        """The columns that take a resource, in topological order."""
        taken = self.column_resource
        return [rule for rule in self.rules.columns if taken.get(rule.name) == resource]

    def most_calls(self, resource: str) -> int:
        """No more calls of a resource than this ever run at once."""
        mine = self.columns(resource)
        rows = self.rules.num_records
        if self.group_rows is not None:
            rows = min(rows, self.group_rows)
        scopes = sum(self.rules.scope_count(rule.index) for rule in mine if rule.is_barrier)
        in_rows = [rule.index for rule in mine if not rule.is_barrier]
        cells = rows * _most_together(self.rules, in_rows)
        return min(cells + scopes, self.workers, self.limits.get(resource, self.workers))


def endpoint_faults(
    endpoints: Mapping[str, EndpointSpec],
    throttle: Mapping[str, ThrottleSpec],
    outages: Sequence[ResourceOutage | None],
    clients: Clients,
) -> list[Fault]:
    """All that keeps endpoints and their clients from fitting each other.

    Args:
        endpoints: by resource, those that are well-formed.
        throttle: by resource, those that are well-formed.
        outages: that stand beside the endpoints; None for one that is malformed.
        clients: the columns.
    """
    found: list[Fault] = []
    for name, item in endpoints.items():
        if clients.columns(name):
            found += _beyond_the_table(name, item, clients)
    for name, client in throttle.items():
        most = clients.limits.get(name)
        if client.start is not None and most is not None and client.start > most:
            text = f"expected at most the limit of the resource ({most}), got {client.start}"
            found.append(Fault(("throttle", name, "start"), text, (("limits", "resources", name),)))
    for name in dict.fromkeys(item.resource for item in outages if item is not None):
        own = endpoints[name].outages if name in endpoints else ()
        times: dict[Place, PauseSpec] = {
            ("endpoints", name, "outages", place): item for place, item in enumerate(own)
        }
        for place, other in enumerate(outages):
            if other is not None and other.resource == name:
                times["outages", place] = other
        found += overlap_faults(times)
    return found


def _beyond_the_table(name: str, item: EndpointSpec, clients: Clients) -> Iterator[Fault]:
    """The faults of a table that ends before the calls that may run at once."""
    speed, table = item.speed(), item.table
    if speed is None or table is None:
        return
    most = clients.most_calls(name)
    if item.max_in_flight is not None:
        most = min(most, item.max_in_flight)
    last = max(table)
    if most <= last:
        return
    word = "work" if item.tpot_s is None else "tpot_s"
    place: Place = ("endpoints", name, word)
    about = (("endpoints", name), ("limits",))
    if item.beyond in (None, "refuse"):
        text = (
            f"expected a point for {most} calls at once, got {last} as the last one; give more, or "
            "beyond: line or hold, or a smaller max_in_flight"
        )
        yield Fault(place, text, about)
    elif speed.unit_s(most) <= 0:
        text = (
            f"expected more than 0 seconds at {most} calls at once, where the last line of {word} "
            "falls below 0; give a point nearer, or beyond: hold"
        )
        yield Fault(("endpoints", name, "beyond"), text, about)


def _most_together(rules: Rules, columns: Sequence[int]) -> int:
    """How many of some columns may have a cell of one row in flight at once.

    Cells of one row run together unless one needs the other: the largest set of columns without
    such a pair is as large as the smallest number of chains that hold them all (Dilworth), which
    is their number less a largest matching of each to a later one.
    """
    ancestors: dict[int, set[int]] = {}
    for rule in rules.columns:
        mine = set(rule.needs)
        for need in rule.needs:
            mine |= ancestors[need]
        ancestors[rule.index] = mine
    before = {column: [c for c in columns if c in ancestors[column]] for column in columns}
    matched: dict[int, int] = {}

    def match(column: int, seen: set[int]) -> bool:
        for other in before[column]:
            if other not in seen:
                seen.add(other)
                if other not in matched or match(matched[other], seen):
                    matched[other] = column
                    return True
        return False

    return len(columns) - sum(match(column, set()) for column in columns)
