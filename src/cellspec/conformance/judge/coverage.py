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
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cellspec.conformance.judge.run_picture import (
    Claimed,
    Node,
    RunPicture,
    rows_of_claim,
    span_of,
)
from cellspec.conformance.judge.silent_resume import (
    OF_CALLS,
    SilentResume,
    exercised_by,
    situations_of,
)
from cellspec.conformance.judge.visits import CLAUSE_OF
from cellspec.conformance.judge.write_coverage import WriteCoverage
from cellspec.conformance.run.coverage_goals import Sometimes
from cellspec.conformance.run.workload import Visit, Workload
from cellspec.machine.policy import is_final, spends_attempt

__all__ = ["Coverage", "coverage_of"]


_MANY_ROWS = 64
"""Rows after which a number of rows is large: beyond the word of a mask or a page."""

_VISITS: Mapping[Visit, Sometimes] = {
    "config": Sometimes.OTHER_CONFIG,
    "batch_size": Sometimes.OTHER_BATCHES,
    "pipeline": Sometimes.OTHER_PIPELINE,
}


@dataclass(slots=True)
class Coverage:
    """The coverage of one run.

    Attributes:
        exercised: clauses that could have failed at an observed event.
        exercised_inferred: clauses that could have failed at an event that the adapter inferred.
        sometimes: situations that the run was in.
        incarnations: runs of the process.
        crashes: crashes among their ends.
        events: events.
        inferred: how many of them were inferred.
        digest: of the order of events, without their times.
    """

    exercised: set[str] = field(default_factory=set)
    exercised_inferred: set[str] = field(default_factory=set)
    sometimes: set[Sometimes] = field(default_factory=set)
    incarnations: int = 1
    crashes: int = 0
    events: int = 0
    inferred: int = 0
    digest: str = ""


def coverage_of(
    work: Workload,
    events: Iterable[Mapping[str, Any]],
    *,
    refused: bool = False,
    silent: Iterable[SilentResume] = (),
    visits: Iterable[Visit] = (),
) -> Coverage:
    """The coverage of a run, from its events in order.

    Args:
        work: the workload of the run.
        events: its events, as JSON objects.
        refused: the engine refused a workload that must be refused.
        silent: the incarnations that reported no claim, whose events are not among them.
        visits: the processes of somebody else that began in the run's folder.
    """
    observer = _Observer(work)
    writes = WriteCoverage()
    order = hashlib.blake2b(digest_size=8)
    for event in events:
        observer.take(event)
        writes.take(event, calls=bool(observer.run.running))
        step = (event["event"], event.get("column"), event.get("rows"), event.get("scope"))
        order.update(repr(step).encode())
    if refused:
        # In the first incarnation only limits can be out of reach; in a later one, the target.
        observer.note("CKPT-16" if work.targets else "GROUP-04")
    for visit in visits:
        observer.note(CLAUSE_OF[visit])
        observer.was(_VISITS[visit])
    for resume in silent:
        observer.inferred = False
        observer.note(*exercised_by(resume))
        observer.seen.sometimes.update(situations_of(resume))
        beside = _Observer(work)
        beside.run.begin(resume.incarnation, {})
        for event in resume.log:
            beside.take(event)
        observer.seen.sometimes.update(OF_CALLS & beside.seen.sometimes)
    observer.inferred = False
    observer.note(*writes.exercised)
    observer.seen.sometimes.update(writes.sometimes)
    observer.seen.digest = order.hexdigest()
    return observer.seen


class _Observer:
    """Notes the coverage of a run: one method for each kind of event that can add to it."""

    def __init__(self, work: Workload) -> None:
        self.work = work
        self.seen = Coverage()
        self.t = 0.0
        self.inferred = False
        self.asked = False
        self.interrupted = False
        self.run = RunPicture(work)
        self.misshapen = {(item.column, item.position) for item in work.faults if item.answers}

    # Notes

    def note(self, *clauses: str) -> None:
        """These clauses could have failed at this event."""
        into = self.seen.exercised_inferred if self.inferred else self.seen.exercised
        into.update(clauses)

    def was(self, situation: Sometimes) -> None:
        """The run was in this situation."""
        self.seen.sometimes.add(situation)

    def take(self, event: Mapping[str, Any]) -> None:
        """Note the coverage of one event."""
        self.inferred = bool(event.get("inferred"))
        self.seen.events += 1
        self.seen.inferred += self.inferred
        self.note("TRACE-01", "TRACE-02", "SCHED-08")
        t = float(event["t"])
        if t > self.t:
            if self.run.running:
                self.note("SCHED-09")
            if self.run.admitted:
                self.note("GROUP-06")
        self.t = t
        look = getattr(self, f"_see_{event['event']}", None)
        column = event.get("column")
        if look is not None and (column is None or column in self.run.rules.index):
            look(event, -1 if column is None else self.run.rules.index[column])

    # Starts

    def _see_start(self, event: Mapping[str, Any], column: int) -> None:
        if not self.run.running:
            self.note("SCHED-15")
            if self.run.moment:
                self.was(Sometimes.WENT_ON)
        else:
            self.note("SCHED-17")
        if self.run.failed:
            self.note("SCHED-16")
        node = self.run.node_of(event, column)
        rows = range(0) if node[1] else range(*span_of(event))
        self.note("SCHED-02", "SCHED-03", "SCHED-07", "FAIL-01")
        if self.run.limits.group_rows is not None:
            self.note("GROUP-01")
        if self.run.dropped:
            self.note("DROP-03", "FAIL-02")
        if any(self.run.claimed):
            self.note("SCHED-05")
        if self.work.failures.stop_window is not None:
            self.note("STOP-01")
        self._see_again(node, rows)
        if node[1]:
            self._see_barrier(node)
        for row in rows:
            self._see_cell(column, row)
        if len(rows) > 1:
            self.note("RANGE-01")
            self.was(Sometimes.RANGE_STARTED)
        self.run.running[node] = set(rows)
        self._see_slots(column)

    def _see_slots(self, column: int) -> None:
        workers = self.run.limits.workers
        if workers is not None and len(self.run.running) >= workers:
            self.note("SCHED-06")
            self.was(Sometimes.WORKERS_FULL)
        resource = self.run.limits.column_resource.get(self.run.columns[column].name)
        if resource is not None:
            self.run.busy_of[resource] += 1
            if self.run.busy_of[resource] >= self.run.limits.resources[resource]:
                self.note("SCHED-11")
                self.was(Sometimes.RESOURCE_FULL)

    def _see_again(self, node: Node, rows: Iterable[int]) -> None:
        """A node that failed is tried again."""
        nodes = [node] if node[1] else [(node[0], False, row) for row in rows]
        waited = [self.run.waiting.pop(each) for each in nodes if each in self.run.waiting]
        for failed_at, until in waited:
            self.note("FAIL-06")
            self.was(Sometimes.BARRIER_RETRIED if node[1] else Sometimes.RETRIED)
            if until is not None and until > failed_at:
                self.note("FAIL-03")
                self.was(Sometimes.BACKOFF_ENDED)

    def _see_cell(self, column: int, row: int) -> None:
        rule = self.run.columns[column]
        if rule.needs:
            self.note("SCHED-01", "TABLE-02")
        if len(rule.needs) > 1:
            self.was(Sometimes.JOIN)
        if self.run.skipped and rule.needs:
            self.note("SKIP-02")
        if self.run.skips_input(column, row):
            self.was(Sometimes.SKIP_HELD)
        if any((need, row) in self.run.recalled for need in rule.needs):
            self.was(Sometimes.RECALLED_UNDER)
        if any((need, row) in self.run.streamed for need in rule.needs):
            self.was(Sometimes.RANGE_FED)
        if rule.ordered and row > 0:
            self.note("SCHED-13")
            there, inputs_before = (self.run.inputs_moment(column, r) for r in (row, row - 1))
            before = self.run.resolved[column].get(row - 1)
            if there is not None and before is not None and there < before:
                self.was(Sometimes.ORDER_HELD)
            if there is not None and inputs_before is not None and there < inputs_before:
                self.was(Sometimes.ORDER_INVERTED)

    def _see_barrier(self, node: Node) -> None:
        rule, rows = self.run.columns[node[0]], self.run.rows_of(node)
        self.note("BARR-01", "BARR-06", "TABLE-03")
        self.was(Sometimes.BARRIER_RAN)
        if any(self.run.rules.columns[need].is_barrier for need in rule.needs):
            self.was(Sometimes.BARRIER_CHAIN)
        if rule.batched and len(rows) < rule.scope_rows:
            self.was(Sometimes.SHORT_BATCH)
        if rule.ordered and node[2] > 0:
            self.note("SCHED-13")
        size = self.run.limits.group_rows
        if size is not None and rows[0] // size != rows[-1] // size:
            self.was(Sometimes.SCOPE_OVER_GROUPS)
        if self.run.dropped.intersection(rows):
            self.was(Sometimes.BARRIER_WITHOUT_ROW)
        if rule.propagates and any(self.run.skips_input(rule.index, row) for row in rows):
            self.was(Sometimes.BARRIER_WITHOUT_SKIP)
        claimed = self.run.claimed[rule.index].intersection(rows)
        if claimed:
            self.was(Sometimes.BARRIER_AGAIN)
            if any(row not in claimed for row in range(rows[0], max(claimed))):
                self.was(Sometimes.BARRIER_BETWEEN)

    # Ends

    def _see_complete(self, event: Mapping[str, Any], column: int) -> None:
        self.note("SCHED-04")
        node = self.run.node_of(event, column)
        if node[1]:
            self.note("BARR-02")
            self._see_last_attempt(node)
            self.run.free(node)
        else:
            for row in range(*span_of(event)):
                self._see_given(column, row)
        rejected = [row for span in event.get("rejected") or () for row in range(*span)]
        if rejected:
            self.was(Sometimes.LEFT_OUT if node[1] else Sometimes.FILTERED)
            if self.work.failures.stop_window is not None:
                self.was(Sometimes.FILTERED_IN_WINDOW)
            self._see_dropped(rejected)

    def _see_text(self, column: int, row: int) -> None:
        texts = self.work.style(self.run.rules.columns[column].name).texts
        if texts:
            self.was(Sometimes.ODD_TEXTS)
        if texts == "same" and row:
            self.was(Sometimes.EQUAL_TEXTS)
        if row > _MANY_ROWS:
            self.was(Sometimes.MANY_ROWS)

    def _see_given(self, column: int, row: int) -> None:
        self._see_last_attempt((column, False, row))
        self._see_text(column, row)
        if any(not self.run.is_resolved(column, earlier) for earlier in range(row)):
            self.was(Sometimes.OVERTAKING)
        if (column, row) in self.run.lost:
            self.was(Sometimes.REMADE)
        self.run.resolve(column, (row,))
        for node, left in self.run.running.items():
            if node[:2] == (column, False) and row in left:
                break
        else:
            return
        left.discard(row)
        if left:
            self.note("RANGE-02")
            self.was(Sometimes.RANGE_PART)
            self.run.streamed.add((column, row))
        else:
            self.run.free(node)

    def _see_last_attempt(self, node: Node) -> None:
        spent = self.run.spent[node]
        if spent and is_final("retryable", spent + 1, self.work.failures.max_attempts):
            self.was(Sometimes.LAST_ATTEMPT)

    def _see_emit(self, event: Mapping[str, Any], column: int) -> None:
        rows = range(*span_of(event))
        self.note("BARR-02")
        if self.run.dropped or self.run.skipped:
            self.note("BARR-07")
        self.run.resolve(column, rows)

    def _see_cancel(self, event: Mapping[str, Any], column: int) -> None:
        self.note("FAIL-04")
        self.run.free(self.run.held_by(self.run.node_of(event, column)))

    def _see_take_back(self, event: Mapping[str, Any], column: int) -> None:
        self.note("FAIL-06")
        self.run.free(self.run.held_by(self.run.node_of(event, column)))

    # Failures and drops

    def _see_fail(self, event: Mapping[str, Any], column: int) -> None:
        self.note("FAIL-04", "FAIL-05")
        self.run.failed = True
        node = self.run.held_by(self.run.node_of(event, column))
        left = self.run.running.get(node, set())
        failure = event["failure"]
        if not node[1] and any(place[0] == column for place in self.run.streamed):
            self.was(Sometimes.RANGE_RETRIED)
        self.run.free(node)
        if failure == "backpressure":
            self.was(Sometimes.PUSHED_BACK)
        if node[1] and (self.run.columns[column].name, node[2]) in self.misshapen:
            self.note("FAIL-09")
            self.was(Sometimes.ANSWER_REFUSED)
        if failure == "timeout":
            self.note("FAIL-07")
            self.was(Sometimes.TIMED_OUT)
            if node[1]:
                self.was(Sometimes.BARRIER_TIMED_OUT)
        nodes = [node] if node[1] else [(column, False, row) for row in sorted(left)]
        lost = []
        for each in nodes:
            final = is_final(failure, self.run.spent[each] + 1, self.work.failures.max_attempts)
            self.run.spent[each] += spends_attempt(failure)
            if final:
                lost.append(each)
            else:
                self.run.waiting[each] = (self.t, event.get("until"))
        if lost:
            self._lose(lost, failure)

    def _lose(self, nodes: Sequence[Node], failure: str) -> None:
        """Nodes failed for good: their rows are dropped at this moment."""
        self.note("FAIL-02", "DROP-01")
        how = {"permanent": Sometimes.DROPPED, "timeout": Sometimes.SPENT_BY_TIMEOUT}
        self.was(how.get(failure, Sometimes.SPENT))
        if nodes[0][1]:
            self.was(Sometimes.BARRIER_FAILED)
            column = nodes[0][0]
            scope = self.run.rows_of(nodes[0])
            rows = [row for row in scope if not self.run.is_resolved(column, row)]
        else:
            rows = [node[2] for node in nodes]
        self._see_dropped(rows)

    def _see_dropped(self, rows: Collection[int]) -> None:
        """Rows are dropped at this moment."""
        for node, left in self.run.running.items():
            if node[1] and any(row in self.run.rows_of(node) for row in rows):
                self.was(Sometimes.DROP_DURING_BARRIER)
            elif not node[1] and left.intersection(rows):
                self.was(Sometimes.DROP_BESIDE_CALL)
        self.run.dropped.update(rows)
        self.run.waiting = {
            node: when for node, when in self.run.waiting.items() if node[1] or node[2] not in rows
        }
        self._see_scopes(rows)

    def _see_scopes(self, rows: Collection[int]) -> None:
        """These rows were dropped or skipped: a barrier may have no row left to run for."""
        for column, scope in self.run.scopes_of(rows):
            if self.run.dropped.issuperset(scope):
                self.note("BARR-08")
                self.was(Sometimes.SCOPE_DROPPED)
            elif self.run.columns[column].propagates and all(
                row in self.run.dropped or self.run.skips_input(column, row) for row in scope
            ):
                self.note("BARR-08")
                self.was(Sometimes.SCOPE_SKIPPED)

    def _see_drop(self, event: Mapping[str, Any], _column: int) -> None:
        self.note("DROP-01", "DROP-02", "DROP-04", "DROP-05")
        self.run.dropped.update(range(*span_of(event)))

    def _see_recall(self, event: Mapping[str, Any], column: int) -> None:
        self.note("CKPT-25")
        self.was(Sometimes.RECALLED)
        rows = range(*span_of(event))
        self.run.recalled.update((column, row) for row in rows)
        self.run.resolve(column, rows)

    # The loss of a worker

    def _see_worker_lost(self, _event: Mapping[str, Any], _column: int) -> None:
        self.note("FAIL-08")
        if self.run.durable_rows:
            self.was(Sometimes.LOST_BESIDE_DURABLE)

    def _see_lose(self, event: Mapping[str, Any], column: int) -> None:
        self.note("FAIL-08")
        node = self.run.node_of(event, column)
        rows = self.run.rows_of(node) if node[1] else range(*span_of(event))
        if node[1]:
            self.was(Sometimes.LOST_BARRIER)
        rule = self.run.columns[column]
        for other in (*rule.cell_dependents, *rule.barrier_dependents):
            made = [self.run.is_resolved(other, row) for row in rows]
            if any(made):
                self.was(Sometimes.LOST_UNDER)
            if not all(made):
                self.was(Sometimes.LOST_NEEDED)
        self.run.lose(column, rows)

    def _see_skip(self, event: Mapping[str, Any], column: int) -> None:
        self.note("SKIP-01")
        rows = range(*span_of(event))
        for row in rows:
            inherited = self.run.columns[column].propagates and self.run.skips_input(column, row)
            self.was(Sometimes.SKIP_SPREAD if inherited else Sometimes.SKIPPED)
            self.run.skipped.add((column, row))
            if not inherited:
                self.note("SKIP-04")
        self.run.resolve(column, rows)
        self._see_scopes(rows)

    # Row groups

    def _see_admit(self, event: Mapping[str, Any], _column: int) -> None:
        start, stop = span_of(event)
        self.note("GROUP-03", "GROUP-05")
        self.run.admitted.add(start)
        if self.run.limits.groups is not None and len(self.run.admitted) >= self.run.limits.groups:
            self.note("GROUP-02")
            self.was(Sometimes.GROUPS_FULL)
        if self.run.limits.groups is not None:
            self.note("GROUP-08")
            if stop < self.run.rows and any(rule.ordered for rule in self.run.columns):
                self.was(Sometimes.GROUP_OF_ORDER)
        if self.run.retired:
            self.was(Sometimes.GROUP_TURN)
        if start and stop - start < (self.run.limits.group_rows or 0):
            self.was(Sometimes.SHORT_GROUP)

    def _see_retire(self, event: Mapping[str, Any], _column: int) -> None:
        self.note("GROUP-03", "GROUP-05", *(["GROUP-07"] if len(self.run.admitted) > 1 else []))
        self.run.admitted.discard(span_of(event)[0])
        self.run.retired += 1

    # Pauses

    def _see_pause(self, _event: Mapping[str, Any], _column: int) -> None:
        self.note("SCHED-16")

    # Storage, crash and resume

    def _see_durable(self, _event: Mapping[str, Any], _column: int) -> None:
        self.note("CKPT-08", "DROP-04")
        self.run.durable_rows = True

    def _see_checkpoint_begin(self, _event: Mapping[str, Any], _column: int) -> None:
        self.note("CKPT-05", "CKPT-08", "CKPT-09", "CKPT-10", "CKPT-11")
        self.run.claim_pending = True
        _note_save(self)

    def _see_checkpoint_durable(self, _event: Mapping[str, Any], _column: int) -> None:
        self.run.saved_rows = self.run.finished_rows()
        self.run.claim_pending = False
        self.run.claim_durable = True

    def _see_checkpoint_failed(self, _event: Mapping[str, Any], _column: int) -> None:
        self.run.claim_pending = False

    def _see_commit_begin(self, event: Mapping[str, Any], _column: int) -> None:
        self.note("CKPT-05", "CKPT-08", "CKPT-10", "CKPT-11")
        names = [rule.name for rule in self.run.columns]
        if "claim" in event:
            cells = {name: set(rows_of_claim(rows)) for name, rows in event["claim"].items()}
        else:
            mine = [event["column"]] if event.get("column") else names
            cells = {name: set(range(*span_of(event))) for name in mine}
        self.run.commits[event.get("commit")] = cells
        _note_save(self)

    def _see_committed(self, event: Mapping[str, Any], _column: int) -> None:
        self.note("CKPT-11")
        self.run.commits.pop(event.get("commit"), None)
        self.run.claim_durable = self.run.committed = True
        self.run.saved_rows = self.run.finished_rows()

    def _see_commit_failed(self, event: Mapping[str, Any], _column: int) -> None:
        commit = self.run.commits.pop(event.get("commit"), None)
        if commit is not None:
            self.run.failed_commits.append(commit)

    def _see_crash(self, _event: Mapping[str, Any], _column: int) -> None:
        self.seen.crashes += 1
        self.note("SCHED-07")
        if self.seen.crashes > 1:
            self.was(Sometimes.CRASH_TWICE)
        if not self.run.claim_durable:
            self.was(Sometimes.CRASH_EARLY)
        if self.run.claim_pending or self.run.commits:
            self.was(Sometimes.CRASH_IN_CLAIM)
        if any(node[1] for node in self.run.running):
            self.was(Sometimes.CRASH_IN_BARRIER)
        if any(until is not None and until > self.t for _, until in self.run.waiting.values()):
            self.was(Sometimes.CRASH_IN_BACKOFF)
        everything = [
            (rule.index, row) for rule in self.run.columns for row in range(self.run.rows)
        ]
        if all(self.run.is_resolved(*place) for place in everything):
            self.was(Sometimes.CRASH_LATE)
        size = self.run.limits.group_rows or 0
        for start in sorted(self.run.admitted):
            mine = [
                self.run.is_resolved(*place)
                for place in everything
                if start <= place[1] < start + size
            ]
            if any(mine) and not all(mine):
                self.was(Sometimes.CRASH_IN_GROUP)

    def _see_resume(self, event: Mapping[str, Any], _column: int) -> None:
        self.seen.incarnations += 1
        self.note("CKPT-12", "SCHED-07")
        if self.interrupted:
            self.was(Sometimes.INTERRUPTED_RESUMED)
            self.note("TABLE-06")
        self.asked = self.interrupted = False
        if self.seen.crashes:
            self.note("TABLE-06")
        claim: Mapping[str, Claimed] = event.get("claim") or {}
        self._see_landed(claim)
        rows = event.get("records") or self.run.rows
        if rows != self.run.rows:
            self.was(Sometimes.MORE_ROWS if rows > self.run.rows else Sometimes.FEWER_ROWS)
        self.run.begin(self.seen.incarnations - 1, claim)
        self.run.dropped.update(row for span in event.get("dropped") or () for row in range(*span))
        for name, spans in (event.get("skipped") or {}).items():
            column = self.run.rules.index.get(name, -1)
            self.run.skipped.update((column, row) for span in spans for row in range(*span))
        self._see_claim(claim, changed="records" in event)

    def _see_landed(self, claim: Mapping[str, Claimed]) -> None:
        """Which commits that a crash cut off the resume found."""
        if self.run.committed:
            self.note("CKPT-09", "CKPT-18")
        for cells in (*self.run.commits.values(), *self.run.failed_commits):
            self.note("CKPT-18")
            found = all(
                rows.issubset(rows_of_claim(claim.get(name, 0))) for name, rows in cells.items()
            )
            self.was(Sometimes.COMMIT_LANDED if found else Sometimes.COMMIT_LOST)

    def _see_claim(self, claim: Mapping[str, Claimed], *, changed: bool) -> None:
        if not any(claim.values()):
            return
        self.note("TABLE-05")
        held = [set(rows_of_claim(rows)) for rows in claim.values()]
        if set.intersection(*held):
            self.note("TABLE-09")
        if changed:
            self.note("CKPT-16")
        if any(0 < len(rows) < self.run.rows for rows in held):
            self.was(Sometimes.CLAIM_PART)
        if any(rows and len(rows) <= max(rows) for rows in held):
            self.was(Sometimes.CLAIM_GAP)
        if any(rows != held[0] for rows in held):
            self.was(Sometimes.COLUMN_CLAIM)
        if self.run.dropped:
            self.note("CKPT-17")
            self.was(Sometimes.CLAIM_WITH_DROP)
        if self.run.skipped:
            self.note("SKIP-03")
            self.was(Sometimes.CLAIM_WITH_SKIP)

    def _see_stop(self, _event: Mapping[str, Any], _column: int) -> None:
        self.note("STOP-01", "STOP-02")
        self.was(Sometimes.STOPPED)
        if self.run.running:
            self.was(Sometimes.STOPPED_IN_FLIGHT)

    def _see_stop_requested(self, _event: Mapping[str, Any], _column: int) -> None:
        self.note("STOP-05")
        if self.asked:
            self.was(Sometimes.ASKED_TWICE)
        self.asked = True
        if self.run.running:
            self.was(Sometimes.ASKED_IN_FLIGHT)
        if any(until is None or until > self.t for _, until in self.run.waiting.values()):
            self.was(Sometimes.ASKED_IN_BACKOFF)
        if self.run.claim_pending:
            self.was(Sometimes.ASKED_IN_CLAIM)
        size = self.run.limits.group_rows
        if size is not None and len(self.run.admitted) + self.run.retired < -(
            -self.run.rows // size
        ):
            self.was(Sometimes.ASKED_IN_GROUP)

    def _see_end(self, event: Mapping[str, Any], _column: int) -> None:
        self.note("SCHED-07", "SCHED-10", "SCHED-12", "SCHED-14", "STOP-04", "TABLE-01", "TABLE-04")
        if event.get("outcome") == "success":
            if self.run.dropped:
                self.note("TABLE-07")
            if any(rule.may_skip for rule in self.run.columns):
                self.note("TABLE-08")
        if event.get("outcome") != "success" or self.run.dropped:
            self.note("STOP-03")
        if self.asked:
            self.note("STOP-06")
        self.interrupted = event.get("outcome") == "interrupted"
        if self.interrupted:
            self.was(Sometimes.INTERRUPTED)
            if self.run.claim_durable:
                self.note("STOP-07")
        if self.work.failures.stop_window is not None:
            self.note("STOP-01", "STOP-02")


def _note_save(observer: _Observer) -> None:
    """A save begins: was it due, while there was something left that a later one could lose?"""
    run, every = observer.run, observer.work.checkpoint_every_rows
    rows = run.finished_rows()
    if every is not None and rows < run.rows and rows - run.saved_rows >= every:
        observer.note("CKPT-19")
        observer.was(Sometimes.SAVE_DUE)
