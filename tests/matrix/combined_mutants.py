"""Two or three engine mutants in one engine: engines of which all bugs are known.

`combined` puts the broken parts of several mutants together, where each breaks a part of its own:
another class, or other methods of the same class.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from itertools import combinations
from typing import Any

from cellspec.conformance.run.probe import Probe
from cellspec.conformance.run.values import Table
from cellspec.engine.aio import AsyncioEngine
from cellspec.engine.scheduler import Scheduler
from tests.matrix.engine_mutants import EngineMutant

__all__ = ["combined", "pairs"]


def combined(mutants: Sequence[EngineMutant]) -> EngineMutant | None:
    """The engine with the faults of all these mutants; None if two of them break one method."""
    first, *others = mutants
    made = first
    for other in others:
        scheduler = _both_schedulers(made.scheduler, other.scheduler)
        engine = _both(made.engine, other.engine, AsyncioEngine)
        if scheduler is None or engine is None:
            return None
        made = EngineMutant(
            f"{made.name} + {other.name}",
            f"{made.wrong}; {other.wrong}",
            scheduler=scheduler,
            engine=engine,
            export=_both_exports(made, other),
            lacks=tuple(sorted({*made.lacks, *other.lacks})),
            wide=made.wide or other.wide,
        )
    return made


def pairs(mutants: Sequence[EngineMutant]) -> Iterator[tuple[EngineMutant, EngineMutant]]:
    """Every two mutants that go together, in an order that says nothing about them."""

    def shuffled(pair: tuple[EngineMutant, EngineMutant]) -> bytes:
        return hashlib.blake2b(f"{pair[0].name} + {pair[1].name}".encode()).digest()

    for pair in sorted(combinations(mutants, 2), key=shuffled):
        if combined(pair) is not None:
            yield pair


def _both_schedulers(one: type[Scheduler], two: type[Scheduler]) -> type[Scheduler] | None:
    made = _both(one, two, Scheduler, ignored=("parts",))
    if made is None:
        return None
    parts: dict[str, Any] = {}
    for field in fields(Scheduler.parts):
        right = getattr(Scheduler.parts, field.name)
        part = _both(getattr(one.parts, field.name), getattr(two.parts, field.name), right)
        if part is None:
            return None
        parts[field.name] = part
    name = f"{one.__name__}And{two.__name__}"
    return type(name, (made,), {"parts": replace(Scheduler.parts, **parts)})


def _both(one: type, two: type, right: Any, *, ignored: Sequence[str] = ()) -> Any:
    """A class with what both change in a class; None if both change the same."""
    if two is right or one is two:
        return one if one is not two or one is right else None
    if one is right:
        return two
    mine, others = (_changed(each, right, ignored) for each in (one, two))
    if mine & others:
        return None
    return type(f"{one.__name__}And{two.__name__}", (one, two), {})


def _changed(broken: type, right: type, ignored: Sequence[str]) -> set[str]:
    own = {name for base in broken.__mro__ if base not in right.__mro__ for name in vars(base)}
    usual = {"__module__", "__doc__", "__qualname__", "__annotations__", "__firstlineno__"}
    return own - usual - {"__static_attributes__", "__slots__"} - set(ignored)


def _both_exports(one: EngineMutant, two: EngineMutant) -> Any:
    made = [each.export for each in (one, two) if each.export is not None]
    if len(made) < 2:
        return made[0] if made else None

    def export(table: Table, probe: Probe) -> Table:
        return made[1](made[0](table, probe), probe)

    return export
