"""Names that one part of a scenario file uses and another part gives.

The check reads plain data, so that it works on a file with other faults too. If a part is missing
or malformed, the names that it would give are unknown, and the uses of them are not judged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from sim.scenario.strict import Fault
from sim.scenario.words import unknown_name

__all__ = ["Names", "reference_faults", "resources_taken", "unknown_keys"]


class Names(NamedTuple):
    """The names that a scenario may use; None for names that are unknown.

    Attributes:
        columns: all columns.
        resources: the resources that columns take.
        limited: the resources that have a limit.
    """

    columns: Collection[str] | None
    resources: Collection[str] | None
    limited: Collection[str] | None

    @classmethod
    def of(
        cls,
        data: Mapping[str, Any],
        resource_of: Mapping[str, str | None] | None,
        limits: Mapping[str, int] | None,
    ) -> Names:
        """The names of a scenario.

        Args:
            data: the scenario as plain data.
            resource_of: the columns of its pipeline, each with its resource; None for a scenario
                that lists its columns.
            limits: of the pipeline's own.
        """
        if resource_of is None:
            items = _items(data.get("columns"))
            taken = [name for item in items for name in _taken(item)]
            names: list[Any] | None = [item.get("name") for item in items]
            if not items or not all(isinstance(name, str) for name in names or ()):
                names = None
        else:
            names, taken = list(resource_of), list(resource_of.values())
        resources = sorted({name for name in taken if isinstance(name, str)})
        return cls(names, None if names is None else resources, _limited(data, limits or {}))


def reference_faults(data: Mapping[str, Any], names: Names) -> Iterator[Fault]:
    """The uses of unknown names, by part of the file.

    Args:
        data: a scenario as plain data.
        names: those that may be used.
    """
    yield from _of_columns(_items(data.get("columns")), names.limited)
    for part, key, known, text, what in (
        ("limits", "measured_at", names.limited, "no resource {!r} has a limit", "those with one"),
        ("failures", "by_resource", names.resources, "no column takes {!r}", "columns take"),
        ("failures", "by_column", names.columns, "no column {!r}", "there are"),
    ):
        holder = data.get(part)
        given = holder.get(key) if isinstance(holder, Mapping) else None
        if known is not None and isinstance(given, Mapping):
            yield from unknown_keys((part, key), given, known, text, what)
    served = names.resources
    if served is not None:
        # An endpoint may serve pipelines beside this one alone.
        served = sorted(
            {*served, *(x for one in _items(data.get("beside")) for x in resources_taken(one))}
        )
    for part, known in (("endpoints", served), ("throttle", names.resources)):
        given = data.get(part)
        if known is not None and isinstance(given, Mapping):
            text, what = "no column takes {!r}", "columns take"
            yield from unknown_keys((part,), given, known, text, what)
    effect = data.get("row_effect")
    given = effect.get("columns") if isinstance(effect, Mapping) else None
    for place, name in enumerate(given if isinstance(given, list | tuple) else ()):
        if names.columns is not None and isinstance(name, str) and name not in names.columns:
            text = unknown_name(f"no column {name!r}", name, names.columns, "there are")
            yield Fault(("row_effect", "columns", place), text)
    for position, item in enumerate(_items(data.get("outages"))):
        name, known = item.get("resource"), served
        if known is not None and isinstance(name, str) and name not in known:
            text = unknown_name(f"no column takes {name!r}", name, known, "columns take")
            yield Fault(("outages", position, "resource"), text)


def resources_taken(data: Mapping[str, Any]) -> set[str]:
    """The resources that the columns of a scenario take, as far as it is well-formed.

    Those of a DataDesigner pipeline are the ones whose limit the scenario states.
    """
    taken = {name for item in _items(data.get("columns")) for name in _taken(item)}
    if "pipeline" in data:
        taken.update(_limited(data, {}) or ())
    return {name for name in taken if isinstance(name, str)}


def unknown_keys(
    where: tuple[int | str, ...],
    given: Iterable[str],
    known: Collection[str],
    text: str,
    what: str,
) -> Iterator[Fault]:
    """Faults of a mapping whose keys are to be known names.

    Args:
        where: the mapping.
        given: its keys.
        known: the names.
        text: says of ``{}`` that it is unknown.
        what: introduces the list of known names.
    """
    for name in given:
        if isinstance(name, str) and name not in known:
            yield Fault((*where, name), unknown_name(text.format(name), name, known, what))


def _of_columns(items: list[Mapping[str, Any]], limited: Collection[str] | None) -> Iterator[Fault]:
    produced = _produced(items)
    for position, item in enumerate(items):
        needs, resource = item.get("dependencies"), item.get("resource")
        for place, need in enumerate(needs if isinstance(needs, list | tuple) else ()):
            if produced is not None and isinstance(need, str) and need and need not in produced:
                text = f"no column or side effect {need!r}"
                # A column that needs itself would be a cycle.
                own = {item.get("name"), *item.get("side_effects", ())}
                others = [name for name in produced if name not in own]
                yield Fault(
                    ("columns", position, "dependencies", place),
                    unknown_name(text, need, others, "there are"),
                )
        if limited is not None and isinstance(resource, str) and resource not in limited:
            text = f"no resource {resource!r} in limits.resources"
            yield Fault(
                ("columns", position, "resource"),
                unknown_name(text, resource, limited, "those with a limit"),
            )
        several = item.get("resources")
        if limited is not None and isinstance(several, Mapping):
            where, text = ("columns", position, "resources"), "no resource {!r} in limits.resources"
            yield from unknown_keys(where, several, limited, text, "those with a limit")


def _taken(item: Mapping[str, Any]) -> list[Any]:
    """The resources that a column names, in either field."""
    several = item.get("resources")
    return [item.get("resource"), *(several if isinstance(several, Mapping) else ())]


def _produced(items: list[Mapping[str, Any]]) -> dict[str, None] | None:
    """Every name that a column may depend on; None if a column is malformed."""
    found: dict[str, None] = {}
    for item in items:
        effects = item.get("side_effects", ())
        names = [item.get("name"), *(effects if isinstance(effects, list | tuple) else [None])]
        if not all(isinstance(name, str) for name in names):
            return None
        found |= dict.fromkeys(names)
    return found


def _items(given: Any) -> list[Mapping[str, Any]]:
    """The items of a list in plain data, one that is malformed as an empty mapping."""
    if not isinstance(given, list | tuple):
        return []
    return [item if isinstance(item, Mapping) else {} for item in given]


def _limited(data: Mapping[str, Any], others: Mapping[str, int]) -> list[str] | None:
    """The resources that have a limit; None if the file's limits are missing or malformed."""
    limits = data.get("limits")
    resources = limits.get("resources", {}) if isinstance(limits, Mapping) else None
    if not isinstance(resources, Mapping):
        return None
    return list(dict.fromkeys([*others, *(name for name in resources if isinstance(name, str))]))
