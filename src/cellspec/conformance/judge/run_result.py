"""The result of one run: its events, its tables, and the first clause that it broke."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cellspec.check.checker import Finding
from cellspec.conformance.judge.silent_resume import SilentResume
from cellspec.conformance.run.incarnations import Cost
from cellspec.conformance.run.values import Registry, Table
from cellspec.conformance.run.workload import Visit, Workload

__all__ = ["Interrupted", "RunResult", "Torn"]


class Torn(NamedTuple):
    """A crash in the middle of an operation on a file.

    Attributes:
        incarnation: that of the process that died.
        kind: of the operation: ``"write"``, ``"rename"`` …
        where: in words, with the name of the file.
    """

    incarnation: int
    kind: str
    where: str = ""


@dataclass(slots=True)
class RunResult:
    """One run, with the first clause that it broke.

    Attributes:
        work: the workload.
        header: the first line of its trace.
        events: its events, as a trace writes them.
        rest: the events of that incarnation after the violation, up to its end; not judged.
        violations: the first violation, if there was one.
        outcomes: how each incarnation ended: ``"crash"``, or the reported outcome.
        tables: the table at the end of each incarnation.
        refused: why the engine refused the workload, where it must; "" if it ran it.
        refusal_is_due: it had to; False if that is not known, for its storage is not reported.
        adapter: the mistake of the adapter, if it made one; "" else.
        due_saves: how many saves were begun when they were due by the declared policy.
        by_table_alone: incarnations whose events were not judged, but for what calls show without a
            claim, because the claim that they resumed from is unknown.
        torn: the crashes that came in the middle of an operation on a file.
        visits: the processes of somebody else that began in the run's folder, by what differed.
        silent: the incarnations that went on from a table, and reported no claim.
        stood_still_s: in real time, for how many seconds nothing happened until the run was given
            up; 0 if it was not. In virtual time, the seconds that a run counts as that turned in
            circles.
        in_haste: it was given up sooner than it would have been at first.
        part_used: in virtual time, the part that it needed of what a run may do, from 0 to 1.
        runs_on: the user ended the run, for the engine did not come back to its event loop.
        blocking: the calls that took real time inside virtual time, each with file and line.
        calls: every call of the run.
        cost: the cost of the run.
    """

    work: Workload
    header: Mapping[str, Any]
    events: list[Mapping[str, Any]] = field(default_factory=list)
    rest: list[Mapping[str, Any]] = field(default_factory=list)
    violations: list[Finding] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    refused: str = ""
    refusal_is_due: bool = True
    adapter: str = ""
    due_saves: int = 0
    by_table_alone: int = 0
    silent: list[SilentResume] = field(default_factory=list)
    torn: list[Torn] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)
    stood_still_s: float = 0.0
    in_haste: bool = False
    part_used: float = 0.0
    runs_on: bool = False
    blocking: Mapping[str, None] = field(default_factory=dict)
    calls: Registry = field(default_factory=Registry)
    cost: Cost = field(default_factory=Cost)

    @property
    def explanation(self) -> tuple[str, ...]:
        """The explanation of the violation, a line each; empty without one."""
        return self.violations[0].explanation if self.violations else ()

    @property
    def story(self) -> tuple[str, ...]:
        """`explanation`, by its name up to version 0.1."""
        return self.explanation

    @property
    def evidence(self) -> dict[str, int]:
        """How much was judged: incarnations, crashes, calls, and events by kind."""
        kinds = Counter(event["event"] for event in self.events)
        return {
            "lives": len(self.outcomes),
            "crashes": self.outcomes.count("crash"),
            "calls": self.calls.calls,
            **{kind: kinds[kind] for kind in sorted(kinds)},
        }


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in a run that was judged all the same: its engine hung, and the user had been told.

    Attributes:
        result: the run; it broke a clause.
        example: the number of its workload, from 1, where several are run; 0 if that is not known.
    """

    example = 0

    def __init__(self, result: RunResult) -> None:
        super().__init__()
        self.result = result
