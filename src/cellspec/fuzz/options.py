"""The options of a search: the engine, the methods, the size of workloads, and the budget."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from cellspec.conformance.campaign.generator.size import LARGE, Size
from cellspec.errors import SpecError
from cellspec.fuzz.schedules import SCHEDULES

__all__ = ["BATCH", "METHODS", "SHRINK_RUNS_MAX", "Options", "methods_of"]

BATCH = 20
"""Runs of a batch."""
METHODS = (*SCHEDULES, "targeted")
"""How runs of a batch are scheduled; a batch has one of them."""
SHRINK_RUNS_MAX = 600


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a search.

    Attributes:
        backend: the engine: a registered name, or ``module:attribute``.
        folder: modules are looked for there too.
        seed: the seed of all draws.
        methods: some of `METHODS`; batches take them in turn.
        examples: runs at most; None for no limit.
        seconds: wall seconds at most; None for no limit. A batch that was begun is ended.
        plateau: runs without anything new after which the search stops.
        size: how large workloads get.
        jobs: batches at once.
        cluster: where batches run, one of `cellspec.parallel.CLUSTERS`.
        corpus: the folder of workloads that showed a new situation; None to keep them nowhere.
        shrink_runs: runs after a violation, in search of a smaller workload.
    """

    backend: str
    folder: Path
    seed: int = 0
    methods: tuple[str, ...] = METHODS
    examples: int | None = None
    seconds: float | None = None
    plateau: int = 400
    size: Size = LARGE
    jobs: int = 1
    cluster: str = "loky"
    corpus: Path | None = None
    shrink_runs: int = SHRINK_RUNS_MAX


def methods_of(names: Iterable[str]) -> tuple[str, ...]:
    """The methods that are named, each once, in the order of `METHODS`.

    Raises:
        SpecError: an unknown method.
    """
    asked: Collection[str] = tuple(names)
    unknown = [name for name in asked if name not in METHODS]
    if unknown:
        raise SpecError(f"--methods: unknown {unknown[0]!r}; there are {', '.join(METHODS)}")
    return tuple(name for name in METHODS if name in asked)
