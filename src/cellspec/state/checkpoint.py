"""Checkpoint payloads: the record from which a run is resumed, how it is written and read.

A payload is a small JSON object that claims rows. Version 1 is exactly
``{"version": 1, "completed_rows": N}``: rows 0 to N−1 are complete. It is O(1), without a word of
the graph or the target; an engine that stores it stores those beside it. Version 2 adds, for
each column, how many of its rows are resolved without a gap, and the graph's fingerprint::

    {"version": 2, "completed_rows": 1000, "column_rows": {"a": 4000, "b": 1000}, "graph": "9c…"}

Version 3 claims any rows of a column, as ranges ``[start, stop)`` in order, none empty, none
touching the next. It may also say how each column is configured, and which earlier digests have
cells in it that were kept on purpose::

    {"version": 3, "completed_rows": 40, "column_rows": {"a": [[0, 40], [42, 50]], "b": [[0, 40]]},
     "graph": "9c…", "config": {"a": "5e…", "b": "07…"}, "kept": {"a": ["31…"]}}

In any version a payload means one *claim*: for each column, the rows that are resolved
(`cellspec.state.claims`). A payload is read whole or refused. One that is malformed, too new, of
another graph, or that claims more than there is, is refused with one line that names the field and
the expected value.
"""

from __future__ import annotations

import warnings
from collections.abc import Container, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from cellspec.errors import CheckpointError
from cellspec.graph.configuration import Config, changed_columns
from cellspec.graph.graph import ExecutionGraph
from cellspec.state.claims import (
    Claim,
    Prefixes,
    Rows,
    as_rows,
    first_outside,
    order_gap,
    prefix_of,
    spans,
)
from cellspec.text import cell_words, counted, listed_names

__all__ = [
    "CHECKPOINT_VERSION",
    "Checkpoint",
    "Kept",
    "Payload",
    "expect_config",
    "kept_digests",
    "make_payload",
    "make_prefix_payload",
    "parse_payload",
    "read_payload",
]

CHECKPOINT_VERSION = 1
"""The version that `to_checkpoint` writes by default."""

Checkpoint: TypeAlias = dict[str, Any]

Kept: TypeAlias = Mapping[str, tuple[str, ...]]
"""By column, the digests of earlier configurations whose cells were kept on purpose."""

_FIELDS = {
    1: frozenset({"version", "completed_rows"}),
    2: frozenset({"version", "completed_rows", "column_rows", "graph"}),
    3: frozenset({"version", "completed_rows", "column_rows", "graph"}),
}
_OPTIONAL = {1: frozenset[str](), 2: frozenset[str](), 3: frozenset({"config", "kept"})}


class Payload(NamedTuple):
    """What a payload says.

    Attributes:
        claim: for each column, by position, the rows that are resolved.
        config: of version 3, by column a digest of its configuration; None if it has none.
        kept: of version 3, by column the earlier digests whose cells were kept on purpose.
    """

    claim: Claim
    config: dict[str, str] | None = None
    kept: Kept = MappingProxyType({})


def make_payload(
    graph: ExecutionGraph,
    claim: Claim,
    version: int,
    config: Mapping[str, str] | None = None,
    kept: Kept = MappingProxyType({}),
) -> Checkpoint:
    """The payload of a claim. Version 1 keeps the rows that every column claims.

    Args:
        graph: the graph of the run.
        claim: the claim; of versions 1 and 2 only its first rows without a gap are kept.
        version: 1, 2 or 3.
        config: of version 3, by column a digest of its configuration.
        kept: of version 3, by column the earlier digests whose cells were kept on purpose.

    Raises:
        CheckpointError: for any other version.
    """
    if version != 3:
        return make_prefix_payload(graph, tuple(map(prefix_of, claim)), version)
    rows = (list(map(list, spans(rows))) for rows in claim)
    payload: Checkpoint = {
        "version": version,
        "completed_rows": min(map(prefix_of, claim)),
        "column_rows": dict(zip(graph.column_names, rows, strict=True)),
        "graph": graph.fingerprint,
    }
    if config is not None:
        payload["config"] = dict(config)
    if kept:
        payload["kept"] = {name: list(digests) for name, digests in kept.items()}
    return payload


def make_prefix_payload(graph: ExecutionGraph, claim: Prefixes, version: int) -> Checkpoint:
    """The payload of version 1 or 2 of a claim without gaps.

    Raises:
        CheckpointError: for any other version.
    """
    _check_version(version)
    payload: Checkpoint = {"version": version, "completed_rows": min(claim)}
    if version == 2:
        payload["column_rows"] = dict(zip(graph.column_names, claim, strict=True))
        payload["graph"] = graph.fingerprint
    return payload


def read_payload(payload: object, graph: ExecutionGraph, dropped: Container[int] = ()) -> Claim:
    """The claim that a payload makes about `graph`.

    Args:
        payload: the payload, as it came from JSON.
        graph: the graph of the run.
        dropped: the dropped rows that storage gave back beside it.

    Raises:
        CheckpointError: clauses CKPT-03 to CKPT-05: not an object, a field missing or unknown, a
            count that is not an integer from 0 to the number of rows, rows that are not ranges in
            order, a version that this reader does not know, another graph, or a column that claims
            rows its inputs do not, or a cell without those that come before it in order.
    """
    return parse_payload(payload, graph, dropped).claim


def parse_payload(payload: object, graph: ExecutionGraph, dropped: Container[int] = ()) -> Payload:
    """All that a payload says about `graph`; arguments and errors as of `read_payload`."""
    if not isinstance(payload, Mapping):
        raise CheckpointError(f"checkpoint: expected an object, got {_show(payload)}")
    if "version" not in payload:
        raise CheckpointError("checkpoint: version: missing; expected 1, 2 or 3")
    version = payload["version"]
    _check_version(version)
    for name in sorted(_FIELDS[version] - payload.keys()):
        raise CheckpointError(f"checkpoint: {name}: missing; version {version} needs it")
    for name in sorted(map(_field, payload.keys() - _FIELDS[version] - _OPTIONAL[version])):
        raise CheckpointError(f"checkpoint: {name}: unknown in version {version}")
    rows = _count("completed_rows", payload["completed_rows"], graph.num_records)
    if version == 1:
        return Payload((rows,) * graph.num_columns)
    column_rows = _column_rows(payload, graph)
    total = graph.num_records
    read = _count if version == 2 else _ranges
    claim = tuple(
        read(f"column_rows.{name}", column_rows[name], total) for name in graph.column_names
    )
    _check_inputs(claim, graph)
    _check_order(claim, graph, dropped)
    whole = min(map(prefix_of, claim))
    if rows != whole:
        what = "the least of column_rows" if version == 2 else "the first rows of every column"
        raise CheckpointError(f"checkpoint: completed_rows: expected {whole}, {what}, got {rows}")
    return Payload(claim, _config(payload, graph), _kept(payload, graph))


def expect_config(graph: ExecutionGraph, claim: Claim, before: Config | None) -> None:
    """Refuse claimed cells that were made under another configuration than the graph's.

    Args:
        graph: the graph of the run.
        claim: the claim from which it resumes.
        before: by column, the digest under which claimed cells were made. A column that is left
            out here or has no version in the graph is not compared; a warning says so of one that
            has a configuration on one side alone.

    Raises:
        CheckpointError: clause CKPT-20; the column, and both digests.
    """
    after = graph.config
    for name in changed_columns(before, after):
        if claim[graph.rules.index[name]]:
            raise CheckpointError(
                f"checkpoint: config: {name!r} has claimed cells of configuration "
                f"{(before or {})[name]}, and is now {after[name]}; give this run another folder, "
                "or keep_config=True to keep those cells"
            )
    unknown = sorted(
        name
        for name in set(before or {}) ^ set(after)
        if name in graph.rules.index and claim[graph.rules.index[name]]
    )
    if unknown:
        warnings.warn(
            f"checkpoint: config: claimed cells of {listed_names(unknown)} are not compared: they "
            "were made without a version on record, or the column states none now",
            stacklevel=2,
        )


def kept_digests(graph: ExecutionGraph, payload: Payload) -> Kept:
    """By column, the digests whose claimed cells are kept although the graph has others now.

    Those that the payload had kept before come first. What is kept on purpose (CKPT-20) stays on
    record, for the table holds cells of several configurations from then on.
    """
    found, before = dict(payload.kept), payload.config
    if before is None:
        return found
    for name in changed_columns(before, graph.config):
        if payload.claim[graph.rules.index[name]]:
            found[name] = (*found.get(name, ()), before[name])
    return found


def _column_rows(payload: Mapping[str, Any], graph: ExecutionGraph) -> Mapping[str, Any]:
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
    return column_rows


def _check_inputs(claim: Claim, graph: ExecutionGraph) -> None:
    """Refuse a claim of a cell without its inputs."""
    names = graph.column_names
    for rule in graph.rules.columns:
        mine = claim[rule.index]
        for need in rule.needs:
            row = first_outside(mine, claim[need])
            if row < 0:
                continue
            theirs = claim[need]
            if isinstance(mine, int) and isinstance(theirs, int):
                claims = f"{counted(mine, 'row')}, but its input {names[need]!r} claims {theirs}"
            else:
                claims = f"{cell_words(rule.name, row)}, but its input {names[need]!r} does not"
            raise CheckpointError(f"checkpoint: column_rows.{rule.name}: claims {claims}")


def _check_order(claim: Claim, graph: ExecutionGraph, dropped: Container[int]) -> None:
    """Refuse a claim of a cell without those that come before it in order."""
    gap = order_gap(claim, graph.rules, dropped)
    if gap is not None:
        name = graph.column_names[gap[0]]
        raise CheckpointError(
            f"checkpoint: column_rows.{name}: claims {cell_words(name, gap[1])}, but not every "
            "cell that comes before it in order"
        )


def _config(payload: Mapping[str, Any], graph: ExecutionGraph) -> dict[str, str] | None:
    if "config" not in payload:
        return None
    config = _by_column("config", payload, graph)
    for name, digest in config.items():
        if not isinstance(digest, str):
            raise CheckpointError(
                f"checkpoint: config.{name}: expected a string, got {_show(digest)}"
            )
    return dict(config)


def _kept(payload: Mapping[str, Any], graph: ExecutionGraph) -> Kept:
    if "kept" not in payload:
        return {}
    kept = _by_column("kept", payload, graph)
    for name, digests in kept.items():
        is_list = isinstance(digests, list | tuple) and len(digests) > 0
        if not is_list or not all(isinstance(digest, str) for digest in digests):
            raise CheckpointError(
                f"checkpoint: kept.{name}: expected a list of strings, not empty, got "
                f"{_show(digests)}"
            )
    return {name: tuple(digests) for name, digests in kept.items()}


def _by_column(field: str, payload: Mapping[str, Any], graph: ExecutionGraph) -> Mapping[str, Any]:
    """A field with a value for some columns."""
    found = payload[field]
    if not isinstance(found, Mapping):
        raise CheckpointError(f"checkpoint: {field}: expected an object, got {_show(found)}")
    for name in found:
        if name not in graph.rules.index:
            raise CheckpointError(
                f"checkpoint: {field}: expected columns of the graph, got {_show(name)}"
            )
    return found


def _check_version(version: object) -> None:
    # `True == 1`, so the type is part of the question.
    if type(version) is not int or version not in _FIELDS:
        raise CheckpointError(
            f"Incompatible checkpoint version: {_show(version)}, expected 1, 2 or 3"
        )


def _ranges(field: str, value: object, limit: int) -> Rows:
    if not isinstance(value, list | tuple):
        raise CheckpointError(f"checkpoint: {field}: expected a list of ranges, got {_show(value)}")
    found: list[tuple[int, int]] = []
    least = 0
    for span in value:
        try:
            start, stop = span
            fits = type(start) is int and type(stop) is int and least <= start < stop
        except (TypeError, ValueError):
            fits = False
        if not fits or stop > limit:
            raise CheckpointError(
                f"checkpoint: {field}: expected ranges [start, stop) of integers within 0 to "
                f"{limit}, in order, none empty, none touching the next; got {_show(span)}"
            )
        found.append((start, stop))
        least = stop + 1
    return as_rows(found)


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
