"""The coverage of a run: the clauses that it exercised, and the situations that it was in.

The harness finds the clause that a run broke. Any other run is evidence for the clauses that could
have failed in it, and for those alone. `coverage_of` reads the events of a run once, keeps a small
picture of it (the nodes in flight, resolved, dropped, skipped and claimed), and notes two things:

- clauses that were *exercised*: a run exercises a clause at an event that could have broken it. A
  run exercises the clause on workers when every worker is busy. Clauses exercised by an event that
  the adapter inferred are kept apart;
- *situations* that were covered (`cellspec.conformance.run.coverage_goals.Sometimes`).

The picture serves these notes alone, and is independent of the judges. An event that does not fit
into it is passed over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from cellspec.conformance.judge.call_coverage import CallCoverage
from cellspec.conformance.judge.coverage_notes import Coverage, Notes
from cellspec.conformance.judge.group_coverage import GroupCoverage
from cellspec.conformance.judge.kept_scopes import Kept, kept_scopes
from cellspec.conformance.judge.process_coverage import ProcessCoverage
from cellspec.conformance.judge.run_result import RunResult, Torn
from cellspec.conformance.judge.silent_resume import (
    OF_CALLS,
    SilentResume,
    exercised_by,
    situations_of,
)
from cellspec.conformance.judge.storage_coverage import StorageCoverage
from cellspec.conformance.judge.visits import CLAUSE_OF
from cellspec.conformance.judge.write_coverage import WriteCoverage
from cellspec.conformance.run.coverage_goals import Sometimes
from cellspec.conformance.run.workload import Visit, Workload

__all__ = ["Coverage", "coverage_of", "run_coverage"]

Look: TypeAlias = Callable[[Mapping[str, Any], int], None]
"""Looks at an event, given the number of its column."""

_VISITS: Mapping[Visit, Sometimes] = {
    "config": Sometimes.OTHER_CONFIG,
    "batch_size": Sometimes.OTHER_BATCHES,
    "pipeline": Sometimes.OTHER_PIPELINE,
}


def run_coverage(result: RunResult) -> Coverage:
    """The coverage of a judged run."""
    return coverage_of(
        result.work,
        result.events,
        refused=bool(result.refused) and result.refusal_is_due,
        visits=result.visits,
        torn=result.torn,
        silent=result.silent,
        due_saves=result.due_saves,
    )


def coverage_of(
    work: Workload,
    events: Iterable[Mapping[str, Any]],
    *,
    refused: bool = False,
    silent: Iterable[SilentResume] = (),
    visits: Iterable[Visit] = (),
    torn: Iterable[Torn] = (),
    due_saves: int = 0,
) -> Coverage:
    """The coverage of a run, from its events in order.

    Args:
        work: the workload of the run.
        events: its events, as JSON objects.
        refused: the engine refused a workload that must be refused.
        silent: the incarnations that reported no claim, whose events are not among them.
        visits: the processes of somebody else that began in the run's folder.
        torn: the crashes in the middle of an operation on a file.
        due_saves: how many saves were begun when they were due; the machine knows.
    """
    observer = _Observer(work)
    notes = observer.notes
    writes = WriteCoverage()
    order = []
    for event in events:
        observer.take(event)
        writes.take(event, calls=bool(notes.run.running))
        order.append((event["event"], event.get("column"), event.get("rows"), event.get("scope")))
    if refused:
        # In the first incarnation only limits can be out of reach; in a later one, the target.
        notes.note("CKPT-16" if work.targets else "GROUP-04")
    if work.row_ids == "digits" and work.rows_of(0) > 1:
        notes.was(Sometimes.ALIKE_IDS)
    if work.row_ids and notes.seen.incarnations > 1:
        notes.was(Sometimes.IDS_RESUMED)
    for crash in torn:
        notes.note("CKPT-28")
        if crash.kind == "write":
            notes.was(Sometimes.WRITE_TORN)
    for visit in visits:
        notes.note(CLAUSE_OF[visit])
        notes.was(_VISITS[visit])
    for resume in silent:
        notes.inferred = False
        notes.note(*exercised_by(resume))
        notes.seen.sometimes.update(situations_of(resume))
        beside = _Observer(work)
        beside.notes.run.begin(resume.incarnation, {})
        for event in resume.log:
            beside.take(event)
        notes.seen.sometimes.update(OF_CALLS & beside.notes.seen.sometimes)
        found = [resume.whole] * len(resume.columns)
        notes.seen.kept |= {Kept.ANY} & set(kept_scopes(beside.notes.run.rules, found, ()))
    notes.inferred = False
    if due_saves:
        notes.note("CKPT-19")
        notes.was(Sometimes.SAVE_DUE)
    notes.note(*writes.exercised)
    notes.seen.sometimes.update(writes.sometimes)
    notes.seen.digest = hashlib.blake2b(repr(order).encode(), digest_size=8).hexdigest()
    return notes.seen


class _Observer:
    """Reads the events of a run: each goes to the part that looks at its kind.

    Args:
        work: the workload of the run.

    Attributes:
        notes: what the parts noted.
    """

    def __init__(self, work: Workload) -> None:
        self.notes = Notes(work)
        parts = (CallCoverage, GroupCoverage, StorageCoverage, ProcessCoverage)
        self._parts = [part(self.notes) for part in parts]
        self._looks: dict[str, list[Look]] = {}

    def take(self, event: Mapping[str, Any]) -> None:
        """Note the coverage of one event."""
        notes, kind = self.notes, event["event"]
        notes.inferred = bool(event.get("inferred"))
        notes.seen.events += 1
        notes.seen.inferred += notes.inferred
        notes.note("TRACE-01", "TRACE-02", "SCHED-08")
        t = float(event["t"])
        if t > notes.t:
            if notes.run.running:
                notes.note("SCHED-09")
            if notes.run.admitted:
                notes.note("GROUP-06")
        notes.t = t
        if kind == "pause":
            notes.note("SCHED-16")
        column = event.get("column")
        if column is not None and column not in notes.run.rules.index:
            return
        position = -1 if column is None else notes.run.rules.index[column]
        if kind not in self._looks:
            found = (getattr(part, f"see_{kind}", None) for part in self._parts)
            self._looks[kind] = [look for look in found if look is not None]
        for look in self._looks[kind]:
            look(event, position)
