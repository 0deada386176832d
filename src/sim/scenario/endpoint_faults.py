"""What columns ask of an endpoint that it cannot do: more calls than its table knows, and so on.

The records of `sim.scenario.endpoints` check what one endpoint says of itself; here it meets the
columns, their latencies and the limits of their client.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from cellspec.graph.rules import ColumnRule, Rules
from sim.endpoints.provider_limits import NOTHING, too_large
from sim.scenario.distributions import LatencyModel
from sim.scenario.endpoints import (
    EndpointSpec,
    PauseSpec,
    ResourceOutage,
    overlap_faults,
)
from sim.scenario.strict import Fault
from sim.scenario.tokens import PARTS, Request

__all__ = ["Clients", "beyond_faults", "endpoint_faults", "token_faults"]

Place: TypeAlias = "tuple[int | str, ...]"


@dataclass(frozen=True, slots=True)
class Clients:
    """The columns of a scenario, as its endpoints see them.

    Attributes:
        rules: of the scenario's graph.
        latencies: by column, the model.
        places: by column, where the file gives its latency.
        column_resource: by column that takes one, its resource.
        column_places: by column whose calls take several places, how many of each resource.
        limits: by resource, the places that its client has.
        workers: calls at once in all.
        group_rows: rows that are admitted at once; None if all are.
    """

    rules: Rules
    latencies: Mapping[str, LatencyModel]
    places: Mapping[str, Place]
    column_resource: Mapping[str, str]
    column_places: Mapping[str, Mapping[str, int]]
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
        limit = self.limits.get(resource, self.workers)
        if self.column_places:
            limit = min(limit, sum(self._most_that_fit(rule.name, resource) for rule in mine))
        return min(cells + scopes, self.workers, limit)

    def _most_that_fit(self, column: str, resource: str) -> int:
        """How many calls of a column have all their places at once."""
        places = self.column_places.get(column, {resource: 1})
        return min(self.limits.get(name, self.workers) // n for name, n in places.items())


def endpoint_faults(
    endpoints: Mapping[str, EndpointSpec | None] | None,
    outages: Sequence[ResourceOutage | None],
    clients: Clients,
) -> list[Fault]:
    """All that keeps endpoints and their columns from fitting each other.

    Args:
        endpoints: by resource; None for one that is malformed, or for all if they are.
        outages: that stand beside the endpoints; None for one that is malformed.
        clients: the columns.
    """
    found: list[Fault] = []
    known = {name: item for name, item in (endpoints or {}).items() if item is not None}
    if endpoints is not None:
        found += _kinds_of_work(endpoints, clients)
    for name, item in known.items():
        if clients.columns(name):
            found += beyond_faults(name, item, clients.most_calls(name))
    for name in dict.fromkeys(item.resource for item in outages if item is not None):
        own = known[name].outages if name in known else ()
        times: dict[Place, PauseSpec] = {
            ("endpoints", name, "outages", place): item for place, item in enumerate(own)
        }
        for place, other in enumerate(outages):
            if other is not None and other.resource == name:
                times["outages", place] = other
        found += overlap_faults(times)
    return found


def _kinds_of_work(endpoints: Mapping[str, EndpointSpec | None], clients: Clients) -> list[Fault]:
    """The faults of columns whose calls are tokens at an endpoint of seconds, or the reverse."""
    # Columns may share a latency, and then its faults.
    found: dict[Fault, None] = {}
    for rule in clients.rules.columns:
        model, where = clients.latencies[rule.name], clients.places[rule.name]
        name = clients.column_resource.get(rule.name)
        item = None if name is None else endpoints.get(name)
        if name in endpoints and item is None:
            continue
        has_tpot = item is not None and item.tpot_s is not None
        if isinstance(model, Request) and not has_tpot:
            text = "a request has tokens, to which an endpoint gives time: expected "
            if name is None:
                text += f"a resource of column {rule.name!r}, and its endpoint with tpot_s"
            else:
                text += f"endpoints.{name} with tpot_s"
            found[Fault(where, text)] = None
        elif has_tpot and not isinstance(model, Request):
            text = (
                f"expected model: request, as endpoints.{name} has tpot_s; or give that work "
                "instead, and the latency stays in seconds"
            )
            found[Fault(where, text, (("endpoints", str(name)),))] = None
    return list(found)


def beyond_faults(name: str, item: EndpointSpec, most: int) -> Iterator[Fault]:
    """The faults of a table that ends before the calls that may run at once.

    Args:
        name: of the endpoint.
        item: the endpoint.
        most: calls that its clients have at once.
    """
    speed, table = item.speed(), item.table
    if speed is None or table is None:
        return
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


def token_faults(
    endpoints: Mapping[str, EndpointSpec | None] | None, clients: Clients
) -> list[Fault]:
    """The limits and KV rooms that could never hold a call of some column.

    Args:
        endpoints: by resource.
        clients: the columns, whose sums of tokens name columns before them.
    """
    found = []
    for name, item in (endpoints or {}).items():
        if item is None:
            continue
        asked = {
            rule.name: _most_asked(rule, clients)
            for rule in clients.columns(name)
            if isinstance(clients.latencies[rule.name], Request)
        }
        for place, limit in enumerate(item.limits):
            plan, where = limit.plan(), "tokens" if limit.burst is None else "burst"
            for column, (held, used) in asked.items():
                if limit.tokens is not None and too_large([plan], 0.0, used, held):
                    most = held if plan.charge == "reserved" else used
                    at: Place = ("endpoints", name, "limits", place, where)
                    found.append(_never_held(at, limit.holds, most, column, clients))
                    break
        for column, (held, _) in asked.items():
            if item.kv_tokens is not None and held > item.kv_tokens * (1 + NOTHING):
                at = ("endpoints", name, "kv_tokens")
                found.append(_never_held(at, item.kv_tokens, held, column, clients))
                break
    return found


def _never_held(place: Place, holds: float, asked: float, column: str, clients: Clients) -> Fault:
    text = (
        f"expected at least {asked:.15g}, which a call of column {column!r} may ask for and would "
        f"wait for without end, got {holds:.15g}"
    )
    return Fault(place, text, (clients.places[column],))


def _most_asked(rule: ColumnRule, clients: Clients) -> tuple[float, float]:
    """The most tokens that a call of a column reserves with its prompt, and that it uses.

    Of a count without a known bound only the least is taken, which each call has.

    Args:
        rule: of a column whose latency is a request.
        clients: all columns.
    """

    def count(column: int, part: str, place: int) -> float:
        """Of one of the `PARTS` of a column's call for a row, or a scope."""
        model = clients.latencies[clients.rules.columns[column].name]
        assert isinstance(model, Request)
        tokens = model.counts[PARTS.index(part)]
        cut = math.inf if model.max_output_tokens is None else model.max_output_tokens
        least, most = tokens.bounds(place)
        if part == "output_tokens":
            most = min(most, cut)
        others = tokens.references()
        found = (least if math.isinf(most) else most) + sum(
            count(clients.rules.index[name], its_part, place) for name, its_part in others
        )
        return min(found, cut) if part == "output_tokens" else found

    model = clients.latencies[rule.name]
    assert isinstance(model, Request)
    held = used = 0.0
    for place in range(_places_that_differ(rule, clients)):
        prompt, output = (count(rule.index, part, place) for part in PARTS)
        reserved = output if model.max_output_tokens is None else model.max_output_tokens
        held, used = max(held, prompt + reserved), max(used, prompt + output)
    return held, used


def _places_that_differ(rule: ColumnRule, clients: Clients) -> int:
    """How many rows, or scopes, of a column have to be looked at: all if a list is counted."""
    left, seen = [rule.name], set()
    while left:
        name = left.pop()
        model = clients.latencies[name]
        if name in seen or not isinstance(model, Request):
            continue
        seen.add(name)
        if any(count.known_rows() is not None for count in model.counts):
            rules = clients.rules
            return rules.scope_count(rule.index) if rule.is_barrier else rules.num_records
        left += [other for count in model.counts for other, _ in count.references()]
    return 1


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
