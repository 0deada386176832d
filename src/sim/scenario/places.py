"""Columns whose calls take several places: of one resource, or of several."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from cellspec.text import counted, listed_names
from sim.scenario.records import ColumnSpec
from sim.scenario.strict import Fault

__all__ = ["place_faults", "share_place_faults"]


def place_faults(
    columns: Sequence[ColumnSpec | None], limits: Mapping[str, int], behind: Collection[str]
) -> Iterator[Fault]:
    """The calls that could never start, and those that would go through two endpoints.

    Args:
        columns: of the scenario; None for one that is malformed.
        limits: by resource, its places.
        behind: the resources whose calls go through an endpoint or a throttle.
    """
    for position, item in enumerate(columns):
        resources = item.resources if item is not None else None
        where = ("columns", position, "resources")
        for name, places in (resources or {}).items():
            if places > limits.get(name, places):
                text = (
                    f"a call takes {counted(places, 'place')} of {limits[name]}, and could never "
                    f"start; take fewer, or raise limits.resources.{name}"
                )
                yield Fault((*where, name), text, (("limits", "resources", name),))
        both = [name for name in resources or () if name in behind]
        if len(both) > 1:
            text = (
                f"{listed_names(both)} each have an endpoint or a throttle, and a call goes "
                "through one; leave the others to limits.resources"
            )
            yield Fault(where, text, tuple(("endpoints", name) for name in both))


def share_place_faults(
    shares: Mapping[str, Mapping[str, float]], column_places: Mapping[str, Mapping[str, int]]
) -> Iterator[Fault]:
    """The shares of a resource of which a call takes several places, or others beside it.

    Args:
        shares: by resource, the weights of its columns.
        column_places: by column whose calls take several places, how many of each resource.
    """
    for resource in shares:
        for column, places in column_places.items():
            if resource in places:
                others = listed_names([name for name in places if name != resource])
                several = counted(places[resource], "place") + f" of {resource!r}"
                what = several if places[resource] > 1 else f"places of {others} too"
                text = (
                    f"a call of column {column!r} takes {what}, and shares are of calls that take "
                    "one place and no other; leave these out"
                )
                yield Fault(("shares", resource), text)
                break
