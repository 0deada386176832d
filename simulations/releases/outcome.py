"""One run of the suite through one entry point of one release: how it was asked, how it ended."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cellspec.conformance.campaign.options import MAX_EXAMPLES, SLOW_CHOSEN_BELOW
from simulations.releases.release_list import Engine, Release

__all__ = ["Outcome", "Plan", "digest", "rules_name"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How the suite is run.

    Attributes:
        max_examples: workloads of each profile and seed for the newest releases.
        older: workloads of each profile for older releases, at most. The suite takes these for
            slow engines: it searches little for smaller workloads.
        seed: the first seed of their draws.
        seeds: how many seeds the newest releases get; older ones get one.
        newest: how many releases count as newest.
        limit_s: seconds after which the run through one entry point of one release is killed.
        jobs: how many runs, replays or scripts go at once.
        twice: run it a second time, with another hash seed, and compare.
        again: run it although its results are kept.
    """

    max_examples: int = MAX_EXAMPLES
    older: int = SLOW_CHOSEN_BELOW
    seed: int = 0
    seeds: int = 3
    newest: int = 2
    limit_s: float = 3600.0
    jobs: int = 2
    twice: bool = False
    again: bool = False

    def seeds_of(self, engine: Engine, release: Release) -> list[int]:
        """The seeds that a release of a list is judged with."""
        seeds = 1 if self.is_older(engine, release) else self.seeds
        return list(range(self.seed, self.seed + seeds))

    def examples_of(self, engine: Engine, release: Release) -> int:
        """The workloads of each profile and seed that a release of a list is judged with."""
        most = self.max_examples
        return min(most, self.older) if self.is_older(engine, release) else most

    def is_older(self, engine: Engine, release: Release) -> bool:
        """Whether a release of a list is judged by few workloads, as one before the newest is."""
        return release not in engine.releases[-self.newest :]


@dataclass(slots=True)
class Outcome:
    """How the suite's run through one entry point of one release ended.

    Attributes:
        status: ``"ran"``, ``"no environment"``, ``"died"``, ``"out of time"`` or ``"not run"``.
        detail: why it is not ``"ran"``, in one line.
        found: the suite's results, one backend's; None unless it ran.
        twice: the comparison with a second run: ``""`` without one, ``"equal"``, or the
            differences.
        suite: digest of the suite that ran.
        rules: the sentences of the clauses that the run was judged by, by number.
        rules_id: short name of those sentences; "" to compute it from `rules`.
        max_examples: workloads of each profile and seed.
        seeds: the seeds of their draws.
        seconds: how long it took.
        cpu_seconds: CPU time of its processes.
        key: digest of all that the outcome depends on.
    """

    status: str = "not run"
    detail: str = ""
    found: dict[str, Any] | None = None
    twice: str = ""
    suite: str = ""
    rules: dict[str, str] = field(default_factory=dict)
    rules_id: str = ""
    max_examples: int = 0
    seeds: list[int] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    key: str = ""

    @property
    def ran(self) -> bool:
        return self.status == "ran"

    @property
    def rules_name(self) -> str:
        """A short name for the sentences of all clauses in the run; "" if they are not known."""
        return self.rules_id or rules_name(self.rules)


def rules_name(rules: Mapping[str, str]) -> str:
    """A short name for the sentences of all clauses, by number; "" without any."""
    return digest(sorted(rules.items())) if rules else ""


def digest(*parts: object) -> str:
    """Eight hexadecimal digits that name these values."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=4).hexdigest()
