"""Checkpoint payloads: the record from which a run is resumed, how it is written and read.

A payload is a small JSON object that claims rows. Version 1 is exactly
``{"version": 1, "completed_rows": N}``: rows 0 to N−1 are complete. It is O(1), without a word of
the graph or the target; an engine that stores it stores those beside it. Version 2 adds, for
each column, how many of its rows are resolved without a gap, and the graph's fingerprint::

    {"version": 2, "completed_rows": 1000, "column_rows": {"a": 4000, "b": 1000}, "graph": "9c…"}

Either way a payload means one *claim*: for each column, the rows from 0 on that are resolved.
A payload is read whole or refused. One that is malformed, too new, of another graph, or that claims
more than there is, is refused with one line that names the field and the expected value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from cellspec.errors import CheckpointError
from cellspec.graph.graph import ExecutionGraph
from cellspec.state.claims import Prefixes
from cellspec.text import counted

__all__ = ["CHECKPOINT_VERSION", "Checkpoint", "make_payload", "read_payload"]

CHECKPOINT_VERSION = 1
"""The version that `to_checkpoint` writes by default."""

Checkpoint: TypeAlias = dict[str, Any]

_FIELDS = {
    1: frozenset({"version", "completed_rows"}),
    2: frozenset({"version", "completed_rows", "column_rows", "graph"}),
}


def make_payload(graph: ExecutionGraph, claim: Prefixes, version: int) -> Checkpoint:
    """The payload of a claim. Version 1 keeps the rows that every column claims.

    Raises:
        CheckpointError: for a version other than 1 and 2.
    """
    _check_version(version)
    payload: Checkpoint = {"version": version, "completed_rows": min(claim)}
    if version == 2:
        payload["column_rows"] = dict(zip(graph.column_names, claim, strict=True))
        payload["graph"] = graph.fingerprint
    return payload


def read_payload(payload: object, graph: ExecutionGraph) -> Prefixes:
    """The claim that a payload makes about `graph`.

    Raises:
        CheckpointError: clauses CKPT-03 to CKPT-05: not an object, a field missing or unknown, a
            count that is not an integer from 0 to the number of rows, a version that this reader
            does not know, another graph, or a column that claims rows its inputs do not.
    """
    if not isinstance(payload, Mapping):
        raise CheckpointError(f"checkpoint: expected an object, got {_show(payload)}")
    if "version" not in payload:
        raise CheckpointError("checkpoint: version: missing; expected 1 or 2")
    version = payload["version"]
    _check_version(version)
    for name in sorted(_FIELDS[version] - payload.keys()):
        raise CheckpointError(f"checkpoint: {name}: missing; version {version} needs it")
    for name in sorted(map(_field, payload.keys() - _FIELDS[version])):
        raise CheckpointError(f"checkpoint: {name}: unknown in version {version}")
    rows = _count("completed_rows", payload["completed_rows"], graph.num_records)
    if version == 1:
        return (rows,) * graph.num_columns
    claim = _column_claim(payload, graph)
    if rows != min(claim):
        raise CheckpointError(
            f"checkpoint: completed_rows: expected {min(claim)}, the least of column_rows, "
            f"got {rows}"
        )
    return claim


def _column_claim(payload: Mapping[str, Any], graph: ExecutionGraph) -> Prefixes:
    if payload["graph"] != graph.fingerprint:
        raise CheckpointError(
            f"checkpoint: graph: this run's graph is {graph.fingerprint}, the checkpoint is of "
            f"{_show(payload['graph'])}"
        )
    column_rows = payload["column_rows"]
    if not isinstance(column_rows, Mapping):
        raise CheckpointError(
            f"checkpoint: column_rows: expected an object, got {_show(column_rows)}"
        )
    names = graph.column_names
    if set(column_rows) != set(names):
        odd = sorted(map(_show, set(column_rows) ^ set(names)))
        raise CheckpointError(
            f"checkpoint: column_rows: expected the columns of the graph; differs in {odd[0]}"
        )
    claim = tuple(
        _count(f"column_rows.{name}", column_rows[name], graph.num_records) for name in names
    )
    for rule in graph.rules.columns:
        for need in rule.needs:
            if claim[rule.index] > claim[need]:
                raise CheckpointError(
                    f"checkpoint: column_rows.{rule.name}: claims "
                    f"{counted(claim[rule.index], 'row')}, but its input {names[need]!r} "
                    f"claims {claim[need]}"
                )
    return claim


def _check_version(version: object) -> None:
    # `True == 1`, so the type is part of the question.
    if type(version) is not int or version not in _FIELDS:
        raise CheckpointError(f"Incompatible checkpoint version: {_show(version)}, expected 1 or 2")


def _count(field: str, value: object, limit: int) -> int:
    if type(value) is not int or not 0 <= value <= limit:
        raise CheckpointError(
            f"checkpoint: {field}: expected an integer from 0 to {limit}, got {_show(value)}"
        )
    return value


def _field(name: object) -> str:
    """A field's name as it is, unless it would spoil the line."""
    if isinstance(name, str) and name.isprintable() and len(name) <= 60:
        return name
    return _show(name)


def _show(value: object) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        # An integer of thousands of digits, or thousands of lists in each other.
        return f"a value of type {type(value).__name__} that is too large to show"
    return text if len(text) <= 60 else f"{text[:57]}..."
