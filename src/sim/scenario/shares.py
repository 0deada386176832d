"""The names in the shares of a scenario."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sim.scenario.references import unknown_keys
from sim.scenario.strict import Fault

__all__ = ["share_faults"]


def share_faults(
    shares: Mapping[str, Mapping[str, float]], resource_of: Mapping[str, str]
) -> Iterator[Fault]:
    """The uses of names that no column gives.

    Args:
        shares: by resource, the weights of its columns.
        resource_of: by column that takes one, its resource.
    """
    resources = list(dict.fromkeys(resource_of.values()))
    yield from unknown_keys(("shares",), shares, resources, "no column takes {!r}", "there are")
    for resource, weights in shares.items():
        columns = [name for name, taken in resource_of.items() if taken == resource]
        if columns:
            text = f"no column {{!r}} takes {resource!r}"
            yield from unknown_keys(("shares", resource), weights, columns, text, "there are")
