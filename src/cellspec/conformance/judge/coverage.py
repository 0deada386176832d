"""The coverage of a run: the clauses that it exercised, and the situations that it was in.

The harness finds the clause that a run broke. A run that broke none is evidence only for the
clauses that could have failed in it. `coverage_of` reads the events of a run once, keeps a small
picture of it (the nodes in flight, resolved, dropped, skipped and claimed), and notes two things:

- clauses that were *exercised*: a run exercises a clause at an event that could have broken it. A
  run that never reached its limit on workers does not exercise the clause on that limit. Clauses
  exercised by an event that the adapter inferred are kept apart;
- *situations* that were covered (`cellspec.conformance.run.coverage_goals.Sometimes`).

The picture serves these notes alone. It judges nothing and shares no code with the judges. An
event that makes no sense in it is passed over.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from cellspec.conformance.run.coverage_goals import Sometimes
from cellspec.conformance.run.workload import Workload
from cellspec.machine.policy import is_final

__all__ = ["Coverage", "coverage_of"]

Node: TypeAlias = tuple[int, bool, int]
"""A column by position, whether it is a barrier node, and the row or scope."""


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
    work: Workload, events: Iterable[Mapping[str, Any]], *, refused: bool = False
) -> Coverage:
    """The coverage of a run, from its events in order.

    Args:
        work: what the run was asked for.
        events: its events, as JSON objects.
        refused: the engine refused a workload that must be refused.
    """
    observer = _Observer(work)
    order = hashlib.blake2b(digest_size=8)
    for event in events:
        observer.take(event)
        step = (event["event"], event.get("column"), event.get("rows"), event.get("scope"))
        order.update(repr(step).encode())
    if refused:
        # In the first life only limits can be out of reach; in a later one, another target.
        observer.note("CKPT-16" if work.targets else "GROUP-04")
    observer.seen.digest = order.hexdigest()
    return observer.seen


class _Observer:
    """The picture of a run. One method for each kind of event that shows something."""

    def __init__(self, work: Workload) -> None:
        self.work = work
        self.limits = work.limits
        self.seen = Coverage()
        self.t = 0.0
        self.inferred = False
        self.claim_durable = False
        self._begin(0, {})

    def _begin(self, incarnation: int, claim: Mapping[str, int]) -> None:
        """A life begins, and exactly what is claimed is there."""
        self.rules = self.work.graph(min(incarnation, self.work.incarnations - 1)).rules
        self.columns = self.rules.columns
        self.rows = self.rules.num_records
        self.claimed = [min(claim.get(rule.name, 0), self.rows) for rule in self.columns]
        # When each cell was resolved, by a count of its own; claimed cells before all others.
        self.moment = 0
        self.resolved = [dict.fromkeys(range(count), 0) for count in self.claimed]
        self.dropped: set[int] = set()
        self.skipped: set[tuple[int, int]] = set()
        # Calls in flight, each with the rows that it has still to give; barriers with none.
        self.running: dict[Node, set[int]] = {}
        self.streamed: set[tuple[int, int]] = set()
        self.busy_of: Counter[str] = Counter()
        # Nodes that wait to be tried again: when they failed, and until when they wait.
        self.waiting: dict[Node, tuple[float, float | None]] = {}
        self.spent: Counter[Node] = Counter()
        self.admitted: set[int] = set()
        self.retired = 0
        self.claim_pending = False

    # Notes

    def note(self, *clauses: str) -> None:
        """These clauses could have failed at this event."""
        into = self.seen.exercised_inferred if self.inferred else self.seen.exercised
        into.update(clauses)

    def was(self, situation: Sometimes) -> None:
        """The run was in this situation."""
        self.seen.sometimes.add(situation)

    def take(self, event: Mapping[str, Any]) -> None:
        """Look at one event."""
        self.inferred = bool(event.get("inferred"))
        self.seen.events += 1
        self.seen.inferred += self.inferred
        self.note("TRACE-01", "TRACE-02", "SCHED-08")
        t = float(event["t"])
        if t > self.t:
            if self.running:
                self.note("SCHED-09")
            if self.admitted:
                self.note("GROUP-06")
        self.t = t
        look = getattr(self, f"_see_{event['event']}", None)
        column = event.get("column")
        if look is not None and (column is None or column in self.rules.index):
            look(event, -1 if column is None else self.rules.index[column])

    # What is where

    def _node(self, event: Mapping[str, Any], column: int) -> Node:
        scope = event.get("scope")
        return (column, False, _span(event)[0]) if scope is None else (column, True, scope)

    def _rows_of(self, node: Node) -> range:
        """The rows of a barrier's scope."""
        return range(*self.rules.scope_bounds(node[0], node[2]))

    def _scopes(self, rows: Collection[int]) -> Iterator[tuple[int, range]]:
        """Each barrier, by column, whose scope holds one of the rows, and the rows of the scope."""
        for rule in self.columns:
            for scope in range(self.rules.scope_count(rule.index)):
                scope_rows = self._rows_of((rule.index, True, scope))
                if any(row in scope_rows for row in rows):
                    yield rule.index, scope_rows

    def _resolve(self, column: int, rows: Iterable[int]) -> None:
        for row in rows:
            self.moment += 1
            self.resolved[column].setdefault(row, self.moment)

    def _is_resolved(self, column: int, row: int) -> bool:
        return row in self.resolved[column] or row in self.dropped

    def _inputs_moment(self, column: int, row: int) -> int | None:
        """When the last input of a cell came; None if one is missing."""
        moments = [self.resolved[need].get(row) for need in self.columns[column].needs]
        known = [moment for moment in moments if moment is not None]
        return max(known, default=0) if len(known) == len(moments) else None

    def _skips(self, column: int, row: int) -> bool:
        """True if an input of this cell was skipped."""
        return any((need, row) in self.skipped for need in self.columns[column].needs)

    # Starts

    def _see_start(self, event: Mapping[str, Any], column: int) -> None:
        node = self._node(event, column)
        rows = range(0) if node[1] else range(*_span(event))
        self.note("SCHED-02", "SCHED-03", "SCHED-07", "FAIL-01")
        if self.limits.group_rows is not None:
            self.note("GROUP-01")
        if self.dropped:
            self.note("DROP-03", "FAIL-02")
        if any(self.claimed):
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
        self.running[node] = set(rows)
        self._see_slots(column)

    def _see_slots(self, column: int) -> None:
        workers = self.limits.workers
        if workers is not None and len(self.running) >= workers:
            self.note("SCHED-06")
            self.was(Sometimes.WORKERS_FULL)
        resource = self.limits.column_resource.get(self.columns[column].name)
        if resource is not None:
            self.busy_of[resource] += 1
            if self.busy_of[resource] >= self.limits.resources[resource]:
                self.note("SCHED-11")
                self.was(Sometimes.RESOURCE_FULL)

    def _free(self, node: Node) -> None:
        self.streamed -= {place for place in self.streamed if place[0] == node[0]}
        if self.running.pop(node, None) is not None:
            resource = self.limits.column_resource.get(self.columns[node[0]].name)
            if resource is not None:
                self.busy_of[resource] -= 1

    def _see_again(self, node: Node, rows: Iterable[int]) -> None:
        """A node that failed is tried again."""
        nodes = [node] if node[1] else [(node[0], False, row) for row in rows]
        waited = [self.waiting.pop(each) for each in nodes if each in self.waiting]
        for failed_at, until in waited:
            self.was(Sometimes.BARRIER_RETRIED if node[1] else Sometimes.RETRIED)
            if until is not None and until > failed_at:
                self.note("FAIL-03")
                self.was(Sometimes.COOLED_DOWN)

    def _see_cell(self, column: int, row: int) -> None:
        rule = self.columns[column]
        if rule.needs:
            self.note("SCHED-01", "TABLE-02")
        if len(rule.needs) > 1:
            self.was(Sometimes.JOIN)
        if self.skipped and rule.needs:
            self.note("SKIP-02")
        if self._skips(column, row):
            self.was(Sometimes.SKIP_HELD)
        if any((need, row) in self.streamed for need in rule.needs):
            self.was(Sometimes.RANGE_FED)
        if rule.ordered and row > 0:
            self.note("SCHED-13")
            there, inputs_before = (self._inputs_moment(column, r) for r in (row, row - 1))
            before = self.resolved[column].get(row - 1)
            if there is not None and before is not None and there < before:
                self.was(Sometimes.ORDER_HELD)
            if there is not None and inputs_before is not None and there < inputs_before:
                self.was(Sometimes.ORDER_INVERTED)

    def _see_barrier(self, node: Node) -> None:
        rule, rows = self.columns[node[0]], self._rows_of(node)
        self.note("BARR-01", "BARR-06", "TABLE-03")
        self.was(Sometimes.BARRIER_RAN)
        if any(self.rules.columns[need].is_barrier for need in rule.needs):
            self.was(Sometimes.BARRIER_CHAIN)
        if rule.batched and len(rows) < rule.scope_rows:
            self.was(Sometimes.SHORT_BATCH)
        if rule.ordered and node[2] > 0:
            self.note("SCHED-13")
        size = self.limits.group_rows
        if size is not None and rows[0] // size != rows[-1] // size:
            self.was(Sometimes.SCOPE_OVER_GROUPS)
        if self.dropped.intersection(rows):
            self.was(Sometimes.BARRIER_WITHOUT_ROW)
        if rule.propagates and any(self._skips(rule.index, row) for row in rows):
            self.was(Sometimes.BARRIER_WITHOUT_SKIP)
        if self.claimed[rule.index] > rows[0]:
            self.was(Sometimes.BARRIER_AGAIN)

    # Ends

    def _see_complete(self, event: Mapping[str, Any], column: int) -> None:
        self.note("SCHED-04")
        node = self._node(event, column)
        if node[1]:
            self.note("BARR-02")
            self._see_last_attempt(node)
            self._free(node)
            return
        for row in range(*_span(event)):
            self._see_given(column, row)

    def _see_given(self, column: int, row: int) -> None:
        self._see_last_attempt((column, False, row))
        if any(not self._is_resolved(column, earlier) for earlier in range(row)):
            self.was(Sometimes.OVERTAKING)
        self._resolve(column, (row,))
        for node, left in self.running.items():
            if node[:2] == (column, False) and row in left:
                break
        else:
            return
        left.discard(row)
        if left:
            self.note("RANGE-02")
            self.was(Sometimes.RANGE_PART)
            self.streamed.add((column, row))
        else:
            self._free(node)

    def _see_last_attempt(self, node: Node) -> None:
        spent = self.spent[node]
        if spent and is_final("retryable", spent + 1, self.work.failures.max_attempts):
            self.was(Sometimes.LAST_ATTEMPT)

    def _see_emit(self, event: Mapping[str, Any], column: int) -> None:
        rows = range(*_span(event))
        self.note("BARR-02")
        if self.dropped or self.skipped:
            self.note("BARR-07")
        self._resolve(column, rows)

    def _see_cancel(self, event: Mapping[str, Any], column: int) -> None:
        self.note("FAIL-04")
        self._free(self._held(self._node(event, column)))

    def _held(self, node: Node) -> Node:
        """The call in flight that has this cell still to give."""
        for running, left in self.running.items():
            if running[:2] == node[:2] and node[2] in left:
                return running
        return node

    # Failures and drops

    def _see_fail(self, event: Mapping[str, Any], column: int) -> None:
        self.note("FAIL-04", "FAIL-05")
        node = self._held(self._node(event, column))
        left = self.running.get(node, set())
        failure = event["failure"]
        if not node[1] and any(place[0] == column for place in self.streamed):
            self.was(Sometimes.RANGE_RETRIED)
        self._free(node)
        if failure == "backpressure":
            self.was(Sometimes.PUSHED_BACK)
        nodes = [node] if node[1] else [(column, False, row) for row in sorted(left)]
        lost = []
        for each in nodes:
            final = is_final(failure, self.spent[each] + 1, self.work.failures.max_attempts)
            self.spent[each] += failure == "retryable"
            if final:
                lost.append(each)
            else:
                self.waiting[each] = (self.t, event.get("until"))
        if lost:
            self._lose(lost, failure)

    def _lose(self, nodes: Sequence[Node], failure: str) -> None:
        """Nodes failed for good: their rows are dropped at this moment."""
        self.note("FAIL-02", "DROP-01")
        self.was(Sometimes.DROPPED if failure == "permanent" else Sometimes.SPENT)
        if nodes[0][1]:
            self.was(Sometimes.BARRIER_FAILED)
            column = nodes[0][0]
            scope = self._rows_of(nodes[0])
            rows = [row for row in scope if not self._is_resolved(column, row)]
        else:
            rows = [node[2] for node in nodes]
        for node, left in self.running.items():
            if node[1] and any(row in self._rows_of(node) for row in rows):
                self.was(Sometimes.DROP_DURING_BARRIER)
            elif not node[1] and left.intersection(rows):
                self.was(Sometimes.DROP_BESIDE_CALL)
        self.dropped.update(rows)
        self.waiting = {
            node: when for node, when in self.waiting.items() if node[1] or node[2] not in rows
        }
        self._see_scopes(rows)

    def _see_scopes(self, rows: Collection[int]) -> None:
        """These rows were dropped or skipped: perhaps nobody is left for a barrier to run for."""
        for column, scope in self._scopes(rows):
            if self.dropped.issuperset(scope):
                self.note("BARR-08")
                self.was(Sometimes.SCOPE_DROPPED)
            elif self.columns[column].propagates and all(
                row in self.dropped or self._skips(column, row) for row in scope
            ):
                self.note("BARR-08")
                self.was(Sometimes.SCOPE_SKIPPED)

    def _see_drop(self, event: Mapping[str, Any], _column: int) -> None:
        self.note("DROP-01", "DROP-02", "DROP-04")
        self.dropped.update(range(*_span(event)))

    def _see_skip(self, event: Mapping[str, Any], column: int) -> None:
        self.note("SKIP-01")
        rows = range(*_span(event))
        for row in rows:
            inherited = self.columns[column].propagates and self._skips(column, row)
            self.was(Sometimes.SKIP_SPREAD if inherited else Sometimes.SKIPPED)
            self.skipped.add((column, row))
        self._resolve(column, rows)
        self._see_scopes(rows)

    # Row groups

    def _see_admit(self, event: Mapping[str, Any], _column: int) -> None:
        start, stop = _span(event)
        self.note("GROUP-03", "GROUP-05")
        self.admitted.add(start)
        if self.limits.groups is not None and len(self.admitted) >= self.limits.groups:
            self.note("GROUP-02")
            self.was(Sometimes.GROUPS_FULL)
        if self.retired:
            self.was(Sometimes.GROUP_TURN)
        if start and stop - start < (self.limits.group_rows or 0):
            self.was(Sometimes.SHORT_GROUP)

    def _see_retire(self, event: Mapping[str, Any], _column: int) -> None:
        self.note("GROUP-03", "GROUP-05")
        self.admitted.discard(_span(event)[0])
        self.retired += 1

    # Storage, crash and resume

    def _see_durable(self, _event: Mapping[str, Any], _column: int) -> None:
        self.note("CKPT-08", "DROP-04")

    def _see_checkpoint_begin(self, _event: Mapping[str, Any], _column: int) -> None:
        self.note("CKPT-05", "CKPT-08", "CKPT-09", "CKPT-10", "CKPT-11")
        self.claim_pending = True

    def _see_checkpoint_durable(self, _event: Mapping[str, Any], _column: int) -> None:
        self.claim_pending = False
        self.claim_durable = True

    def _see_checkpoint_failed(self, _event: Mapping[str, Any], _column: int) -> None:
        self.claim_pending = False

    def _see_crash(self, _event: Mapping[str, Any], _column: int) -> None:
        self.seen.crashes += 1
        self.note("SCHED-07")
        if self.seen.crashes > 1:
            self.was(Sometimes.CRASH_TWICE)
        if not self.claim_durable:
            self.was(Sometimes.CRASH_EARLY)
        if self.claim_pending:
            self.was(Sometimes.CRASH_IN_CLAIM)
        if any(node[1] for node in self.running):
            self.was(Sometimes.CRASH_IN_BARRIER)
        if any(until is not None and until > self.t for _, until in self.waiting.values()):
            self.was(Sometimes.CRASH_IN_COOL_DOWN)
        everything = [(rule.index, row) for rule in self.columns for row in range(self.rows)]
        if all(self._is_resolved(*place) for place in everything):
            self.was(Sometimes.CRASH_LATE)
        size = self.limits.group_rows or 0
        for start in sorted(self.admitted):
            mine = [
                self._is_resolved(*place)
                for place in everything
                if start <= place[1] < start + size
            ]
            if any(mine) and not all(mine):
                self.was(Sometimes.CRASH_IN_GROUP)

    def _see_resume(self, event: Mapping[str, Any], _column: int) -> None:
        self.seen.incarnations += 1
        self.note("CKPT-12", "SCHED-07")
        if self.seen.crashes:
            self.note("TABLE-06")
        claim: Mapping[str, int] = event.get("claim") or {}
        rows = event.get("records") or self.rows
        if rows != self.rows:
            self.was(Sometimes.MORE_ROWS if rows > self.rows else Sometimes.FEWER_ROWS)
        self._begin(self.seen.incarnations - 1, claim)
        self.dropped.update(row for span in event.get("dropped") or () for row in range(*span))
        for name, spans in (event.get("skipped") or {}).items():
            column = self.rules.index.get(name, -1)
            self.skipped.update((column, row) for span in spans for row in range(*span))
        self._see_claim(claim, changed="records" in event)

    def _see_claim(self, claim: Mapping[str, int], *, changed: bool) -> None:
        if not any(claim.values()):
            return
        self.note("TABLE-05")
        if changed:
            self.note("CKPT-16")
        if any(0 < count < self.rows for count in claim.values()):
            self.was(Sometimes.CLAIM_PART)
        if len(set(claim.values())) > 1:
            self.was(Sometimes.COLUMN_CLAIM)
        if self.dropped:
            self.note("CKPT-17")
            self.was(Sometimes.CLAIM_WITH_DROP)
        if self.skipped:
            self.note("SKIP-03")
            self.was(Sometimes.CLAIM_WITH_SKIP)

    def _see_stop(self, _event: Mapping[str, Any], _column: int) -> None:
        self.note("STOP-01", "STOP-02")
        self.was(Sometimes.STOPPED)
        if self.running:
            self.was(Sometimes.STOPPED_IN_FLIGHT)

    def _see_end(self, event: Mapping[str, Any], _column: int) -> None:
        self.note("SCHED-07", "SCHED-10", "SCHED-12", "SCHED-14", "STOP-04", "TABLE-01", "TABLE-04")
        if event.get("outcome") == "success":
            if self.dropped:
                self.note("TABLE-07")
            if any(rule.may_skip for rule in self.columns):
                self.note("TABLE-08")
        if event.get("outcome") != "success" or self.dropped:
            self.note("STOP-03")
        if self.work.failures.stop_window is not None:
            self.note("STOP-01", "STOP-02")


def _span(event: Mapping[str, Any]) -> tuple[int, int]:
    """The rows ``[start, stop)`` of an event; none if it names none."""
    rows = event.get("rows")
    if rows is None:
        return 0, 0
    return (rows, rows + 1) if isinstance(rows, int) else (int(rows[0]), int(rows[1]))
