"""The checkpoint that a run starts from: given in the scenario itself, or in a file of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellspec.errors import SpecError
from cellspec.graph.graph import ExecutionGraph
from cellspec.state.checkpoint import read_payload
from cellspec.state.claims import Claim, are_prefixes
from sim.scenario.strict import Fault
from sim.scenario.words import given_words

__all__ = ["least_version", "read_start"]


def read_start(
    given: Any, folder: Path, graph: ExecutionGraph, version: int | None, faults: list[Fault]
) -> Claim | None:
    """What a run finds on storage; None if it is nothing, or cannot be used.

    Args:
        given: the checkpoint, or the name of its file.
        folder: where the file is looked for.
        graph: of the run.
        version: of the checkpoints that the run writes; None if it writes none.
        faults: receives why the checkpoint cannot be used.
    """

    try:
        claim = read_payload(_payload(given, folder), graph)
        least = least_version(claim)
        if version is not None and version < least:
            raise SpecError(
                f"holds cells that no checkpoint of version {version} keeps; checkpoint.version "
                f"must be at least {least}"
            )
    except SpecError as error:
        faults.append(Fault(("start_from",), str(error).removeprefix("checkpoint: ")))
        return None
    return claim if any(claim) else None


def _payload(given: Any, folder: Path) -> Any:
    """The checkpoint as plain data.

    Raises:
        SpecError: there is none.
    """
    payload = given
    if isinstance(given, str):
        try:
            payload = json.loads((folder / given).read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise SpecError(f"{given!r} cannot be read: {error.strerror or error}") from None
        except (ValueError, RecursionError):
            raise SpecError(f"{given!r} cannot be read: expected a checkpoint as JSON") from None
    if not isinstance(payload, Mapping):
        what = "a checkpoint, or the name of a file that holds one"
        raise SpecError(f"expected {what}, got {given_words(payload)}")
    return payload


def least_version(claim: Claim) -> int:
    """The lowest version of a checkpoint that can hold a claim."""
    if not are_prefixes(claim):
        return 3
    return 1 if len(set(claim)) == 1 else 2
