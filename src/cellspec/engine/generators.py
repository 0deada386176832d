"""Generators: what an engine calls to make values, in each of the forms that it accepts.

=========  ====================================  ================================================
kind       called with                           gives
=========  ====================================  ================================================
cell       ``(row, inputs)``                     the value
range      ``(rows, inputs)``                    an iterator of (row, value): each of `rows` once
barrier    ``(rows, inputs)``                    the values, in the order of `rows`
=========  ====================================  ================================================

`inputs` is a mapping from names to values for a cell, and a list of such mappings, one for each of
`rows`, for the others. Each may be a plain function or a coroutine function; a range generator is a
generator function or an asynchronous one. Which kind a column needs follows from the graph: a
barrier column takes a barrier generator, and a range generator is only for columns that can run
several rows in one call. The kind is read off the function, or stated with `Generator`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from cellspec.engine.calls import BARRIER, CELL, RANGE, Kind
from cellspec.errors import SpecError
from cellspec.graph.graph import ExecutionGraph
from cellspec.text import listed_names

__all__ = ["Generator", "bind"]


@dataclass(frozen=True, slots=True)
class Generator:
    """A function that makes values, with what an engine must know to call it.

    Attributes:
        call: the function.
        kind: "cell", "range" or "barrier".
        is_async: it is a coroutine function, or for a range an asynchronous generator function.
    """

    call: Callable[..., Any]
    kind: Kind
    is_async: bool


def bind(graph: ExecutionGraph, given: Mapping[str, Any]) -> dict[str, Generator]:
    """The generators of every column of `graph`, by name.

    Raises:
        SpecError: a column without generator, a generator without column, or one whose kind does
            not fit its column.
    """
    unknown = sorted(set(given) - set(graph.column_names))
    if unknown:
        raise SpecError(
            f"generators: unknown column {unknown[0]!r}; the columns are "
            f"{listed_names(graph.column_names)}"
        )
    bound: dict[str, Generator] = {}
    for rule in graph.rules.columns:
        if rule.name not in given:
            raise SpecError(f"generators: column {rule.name!r} has none")
        made = given[rule.name]
        if not isinstance(made, Generator):
            made = _read(rule.name, made, is_barrier=rule.is_barrier)
        if rule.is_barrier != (made.kind == BARRIER):
            what = "a barrier" if rule.is_barrier else "no barrier"
            raise SpecError(f"generators: column {rule.name!r} is {what}, got a {made.kind}")
        if made.kind == RANGE and not rule.streamable:
            raise SpecError(
                f"generators: column {rule.name!r} runs one row in a call (it lacks the trait "
                "ROW_STREAMABLE), got a range generator"
            )
        bound[rule.name] = made
    return bound


def _read(column: str, given: Any, *, is_barrier: bool) -> Generator:
    if not callable(given):
        raise SpecError(f"generators: column {column!r}: expected a function, got {given!r}")
    code = _code(given)
    if is_barrier:
        # It may yield its values too, but needs all of its input before.
        return Generator(given, BARRIER, inspect.iscoroutinefunction(code))
    if inspect.isasyncgenfunction(code) or inspect.isgeneratorfunction(code):
        return Generator(given, RANGE, inspect.isasyncgenfunction(code))
    return Generator(given, CELL, inspect.iscoroutinefunction(code))


def _code(given: Any) -> Any:
    """What is called in the end: below partials, and the method of an object that is called."""
    while isinstance(given, partial):
        given = given.func
    if inspect.isfunction(given) or inspect.ismethod(given) or inspect.isbuiltin(given):
        return given
    return given if inspect.isclass(given) else type(given).__call__
