"""The corpus: a folder of workloads that showed a new situation, run again by the next search."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellspec.conformance.campaign.generator.size import KNOBS, Knobs
from cellspec.conformance.run.loading import load_backend
from cellspec.errors import SpecError
from cellspec.fuzz.account import RunSummary
from cellspec.fuzz.options import METHODS, Options
from cellspec.fuzz.runs import run_once

__all__ = ["keep", "run_corpus"]

_VERSION = 2
"""The version of an entry: a seed stands for other workloads in each."""


def keep(folder: Path, seen: RunSummary) -> None:
    """Put the workload of a run into the corpus."""
    from cellspec.files import write_files

    plain: dict[str, Any] = {"corpus": _VERSION, "method": seen.method, "seed": seen.seed}
    if seen.knobs is not None:
        plain["knobs"] = {name: getattr(seen.knobs, name) for name in KNOBS}
    text = json.dumps(plain, indent=2) + "\n"
    name = hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
    write_files(folder, {f"{name}.json": text})


def run_corpus(options: Options) -> list[RunSummary]:
    """The runs of the workloads in a corpus."""
    if options.corpus is None or not options.corpus.is_dir():
        return []
    backend, _ = load_backend(options.backend, options.folder)
    seen = []
    for path in sorted(options.corpus.glob("*.json")):
        method, seed, knobs = _entry(path)
        one = run_once(backend, method, seed, knobs, options.size)
        if one is not None:
            seen.append(one)
            if one.found is not None:
                break
    return seen


def _knobs(given: Mapping[str, Any]) -> Knobs:
    """The knobs of an entry; ValueError if one is no integer of its range."""
    for name, (low, high) in KNOBS.items():
        value = given.get(name, low)
        if type(value) is not int or not low <= value <= high:
            raise ValueError
    return Knobs(**given)


def _entry(path: Path) -> tuple[str, int, Knobs | None]:
    try:
        plain: Mapping[str, Any] = json.loads(path.read_bytes())
        knobs = plain.get("knobs")
        if plain["corpus"] != _VERSION or plain["method"] not in METHODS:
            raise ValueError
        seed = int(plain["seed"])
        return plain["method"], seed, None if knobs is None else _knobs(knobs)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise SpecError(
            f"{path}: is no entry of a corpus; remove it, or name another folder"
        ) from None
