"""The result of one run: its events, its tables, and the first clause that it broke."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cellspec.check.checker import Finding
from cellspec.conformance.run.incarnations import Cost
from cellspec.conformance.run.values import Registry, Table
from cellspec.conformance.run.workload import Workload

__all__ = ["RunResult"]


@dataclass(slots=True)
class RunResult:
    """What one run did, and the first thing that was wrong with it.

    Attributes:
        work: the workload.
        header: the first line of its trace.
        events: its events, as a trace writes them.
        rest: what that life did after the event that broke a clause, up to its end; not judged.
        violations: the clause that it broke; none, or one.
        outcomes: how each life ended: ``"crash"``, or what the engine reported.
        tables: what storage held at the end of each life.
        refused: why the engine refused the workload, where it must; "" if it did not.
        adapter: what the adapter did wrong, if that is what went wrong; "" else.
        by_table_alone: lives whose events were not judged, because nobody knows what they resumed.
        calls: every call of the run.
        cost: what it cost.
    """

    work: Workload
    header: Mapping[str, Any]
    events: list[Mapping[str, Any]] = field(default_factory=list)
    rest: list[Mapping[str, Any]] = field(default_factory=list)
    violations: list[Finding] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    refused: str = ""
    adapter: str = ""
    by_table_alone: int = 0
    calls: Registry = field(default_factory=Registry)
    cost: Cost = field(default_factory=Cost)

    @property
    def explanation(self) -> tuple[str, ...]:
        """The explanation of the violation, a line each; empty if there was none."""
        return self.violations[0].explanation if self.violations else ()

    @property
    def story(self) -> tuple[str, ...]:
        """`explanation`, by its name up to version 0.1."""
        return self.explanation

    @property
    def evidence(self) -> dict[str, int]:
        """How much was seen: lives, crashes, calls, and events by kind."""
        kinds = Counter(event["event"] for event in self.events)
        return {
            "lives": len(self.outcomes),
            "crashes": self.outcomes.count("crash"),
            "calls": self.calls.calls,
            **{kind: kinds[kind] for kind in sorted(kinds)},
        }
