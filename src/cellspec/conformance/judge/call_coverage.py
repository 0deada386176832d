"""The coverage of calls: their starts, ends and failures, and the rows that are dropped or lost."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from cellspec.conformance.judge.coverage_notes import Notes
from cellspec.conformance.judge.run_picture import Node, span_of
from cellspec.conformance.run.coverage_goals import Sometimes
from cellspec.machine.policy import is_final, spends_attempt

__all__ = ["CallCoverage"]


_MANY_ROWS = 64
"""Rows after which a number of rows is large: beyond the word of a mask or a page."""


class CallCoverage:
    """What calls, and the rows that they make and lose, are evidence for."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._run = notes.run
        self._misshapen = {
            (item.column, item.position) for item in notes.work.faults if item.answers
        }

    # Starts

    def see_start(self, event: Mapping[str, Any], column: int) -> None:
        """A call starts."""
        if not self._run.running:
            self._notes.note("SCHED-15")
            if self._run.moment:
                self._notes.was(Sometimes.WENT_ON)
        else:
            self._notes.note("SCHED-17")
        if self._run.failed:
            self._notes.note("SCHED-16")
        node = self._run.node_of(event, column)
        rows = range(0) if node[1] else range(*span_of(event))
        self._notes.note("SCHED-02", "SCHED-03", "SCHED-07", "FAIL-01")
        if self._run.limits.group_rows is not None:
            self._notes.note("GROUP-01")
        if self._run.dropped:
            self._notes.note("DROP-03", "FAIL-02")
        if any(self._run.claimed):
            self._notes.note("SCHED-05")
        if self._notes.work.failures.stop_window is not None:
            self._notes.note("STOP-01")
        self._see_again(node, rows)
        if node[1]:
            self._see_barrier(node)
        for row in rows:
            self._see_cell(column, row)
        if len(rows) > 1:
            self._notes.note("RANGE-01")
            self._notes.was(Sometimes.RANGE_STARTED)
        self._run.running[node] = set(rows)
        self._see_slots(column)

    def _see_slots(self, column: int) -> None:
        workers = self._run.limits.workers
        if workers is not None and len(self._run.running) >= workers:
            self._notes.note("SCHED-06")
            self._notes.was(Sometimes.WORKERS_FULL)
        resource = self._run.limits.column_resource.get(self._run.columns[column].name)
        if resource is not None:
            self._run.busy_of[resource] += 1
            if self._run.busy_of[resource] >= self._run.limits.resources[resource]:
                self._notes.note("SCHED-11")
                self._notes.was(Sometimes.RESOURCE_FULL)

    def _see_again(self, node: Node, rows: Iterable[int]) -> None:
        """A node that failed is tried again."""
        nodes = [node] if node[1] else [(node[0], False, row) for row in rows]
        waited = [self._run.waiting.pop(each) for each in nodes if each in self._run.waiting]
        for failed_at, until in waited:
            self._notes.note("FAIL-06")
            self._notes.was(Sometimes.BARRIER_RETRIED if node[1] else Sometimes.RETRIED)
            if until is not None and until > failed_at:
                self._notes.note("FAIL-03")
                self._notes.was(Sometimes.BACKOFF_ENDED)

    def _see_cell(self, column: int, row: int) -> None:
        rule = self._run.columns[column]
        if rule.needs:
            self._notes.note("SCHED-01", "TABLE-02")
        if len(rule.needs) > 1:
            self._notes.was(Sometimes.JOIN)
        if self._run.skipped and rule.needs:
            self._notes.note("SKIP-02")
        if self._run.skips_input(column, row):
            self._notes.was(Sometimes.SKIP_HELD)
        if any((need, row) in self._run.recalled for need in rule.needs):
            self._notes.was(Sometimes.RECALLED_UNDER)
        if any((need, row) in self._run.streamed for need in rule.needs):
            self._notes.was(Sometimes.RANGE_FED)
        if rule.ordered and row > 0:
            self._notes.note("SCHED-13")
            there, inputs_before = (self._run.inputs_moment(column, r) for r in (row, row - 1))
            before = self._run.resolved[column].get(row - 1)
            if there is not None and before is not None and there < before:
                self._notes.was(Sometimes.ORDER_HELD)
            if there is not None and inputs_before is not None and there < inputs_before:
                self._notes.was(Sometimes.ORDER_INVERTED)

    def _see_barrier(self, node: Node) -> None:
        rule, rows = self._run.columns[node[0]], self._run.rows_of(node)
        self._notes.note("BARR-01", "BARR-06", "TABLE-03")
        self._notes.was(Sometimes.BARRIER_RAN)
        if any(self._run.rules.columns[need].is_barrier for need in rule.needs):
            self._notes.was(Sometimes.BARRIER_CHAIN)
        if rule.batched and len(rows) < rule.scope_rows:
            self._notes.was(Sometimes.SHORT_BATCH)
        if rule.ordered and node[2] > 0:
            self._notes.note("SCHED-13")
        size = self._run.limits.group_rows
        if size is not None and rows[0] // size != rows[-1] // size:
            self._notes.was(Sometimes.SCOPE_OVER_GROUPS)
        if self._run.dropped.intersection(rows):
            self._notes.was(Sometimes.BARRIER_WITHOUT_ROW)
        if rule.propagates and any(self._run.skips_input(rule.index, row) for row in rows):
            self._notes.was(Sometimes.BARRIER_WITHOUT_SKIP)
        claimed = self._run.claimed[rule.index].intersection(rows)
        if claimed:
            self._notes.was(Sometimes.BARRIER_AGAIN)
            if any(row not in claimed for row in range(rows[0], max(claimed))):
                self._notes.was(Sometimes.BARRIER_BETWEEN)

    # Ends

    def see_complete(self, event: Mapping[str, Any], column: int) -> None:
        """A call gave its value, or its values."""
        self._notes.note("SCHED-04")
        node = self._run.node_of(event, column)
        if node[1]:
            self._notes.note("BARR-02")
            self._see_last_attempt(node)
            self._run.free(node)
        else:
            for row in range(*span_of(event)):
                self._see_given(column, row)
        rejected = [row for span in event.get("rejected") or () for row in range(*span)]
        if rejected:
            self._notes.was(Sometimes.LEFT_OUT if node[1] else Sometimes.FILTERED)
            if self._notes.work.failures.stop_window is not None:
                self._notes.was(Sometimes.FILTERED_IN_WINDOW)
            self._see_dropped(rejected)

    def _see_text(self, column: int, row: int) -> None:
        texts = self._notes.work.style(self._run.rules.columns[column].name).texts
        if texts:
            self._notes.was(Sometimes.ODD_TEXTS)
        if texts == "same" and row:
            self._notes.was(Sometimes.EQUAL_TEXTS)
        if row > _MANY_ROWS:
            self._notes.was(Sometimes.MANY_ROWS)

    def _see_given(self, column: int, row: int) -> None:
        self._see_last_attempt((column, False, row))
        self._see_text(column, row)
        if self._run.first_open(column) < row:
            self._notes.was(Sometimes.OVERTAKING)
        if (column, row) in self._run.lost:
            self._notes.was(Sometimes.REMADE)
        self._run.resolve(column, (row,))
        for node, left in self._run.running.items():
            if node[:2] == (column, False) and row in left:
                break
        else:
            return
        left.discard(row)
        if left:
            self._notes.note("RANGE-02")
            self._notes.was(Sometimes.RANGE_PART)
            self._run.streamed.add((column, row))
        else:
            self._run.free(node)

    def _see_last_attempt(self, node: Node) -> None:
        spent = self._run.spent[node]
        if spent and is_final("retryable", spent + 1, self._notes.work.failures.max_attempts):
            self._notes.was(Sometimes.LAST_ATTEMPT)

    def see_emit(self, event: Mapping[str, Any], column: int) -> None:
        """An answer gave rows without a call."""
        rows = range(*span_of(event))
        self._notes.note("BARR-02")
        if self._run.dropped or self._run.skipped:
            self._notes.note("BARR-07")
        self._run.resolve(column, rows)

    def see_cancel(self, event: Mapping[str, Any], column: int) -> None:
        """A call was cancelled."""
        self._notes.note("FAIL-04")
        self._run.free(self._run.held_by(self._run.node_of(event, column)))

    def see_take_back(self, event: Mapping[str, Any], column: int) -> None:
        """A call was handed to another worker."""
        self._notes.note("FAIL-06")
        self._run.free(self._run.held_by(self._run.node_of(event, column)))

    def see_recall(self, event: Mapping[str, Any], column: int) -> None:
        """A cache answered for cells, or for a barrier, whose output is given as after a call."""
        self._notes.note("CKPT-25")
        self._notes.was(Sometimes.RECALLED)
        node = self._run.node_of(event, column)
        rows = self._run.rows_of(node) if node[1] else range(*span_of(event))
        self._run.recalled.update((column, row) for row in rows)
        if not node[1]:
            self._run.resolve(column, rows)

    # Failures and drops

    def see_fail(self, event: Mapping[str, Any], column: int) -> None:
        """A call failed."""
        self._notes.note("FAIL-04", "FAIL-05")
        self._run.failed = True
        node = self._run.held_by(self._run.node_of(event, column))
        left = self._run.running.get(node, set())
        failure = event["failure"]
        if not node[1] and any(place[0] == column for place in self._run.streamed):
            self._notes.was(Sometimes.RANGE_RETRIED)
        self._run.free(node)
        if failure == "backpressure":
            self._notes.was(Sometimes.PUSHED_BACK)
        if node[1] and (self._run.columns[column].name, node[2]) in self._misshapen:
            self._notes.note("FAIL-09")
            self._notes.was(Sometimes.ANSWER_REFUSED)
        if failure == "timeout":
            self._notes.note("FAIL-07")
            self._notes.was(Sometimes.TIMED_OUT)
            if node[1]:
                self._notes.was(Sometimes.BARRIER_TIMED_OUT)
        nodes = [node] if node[1] else [(column, False, row) for row in sorted(left)]
        lost = []
        for each in nodes:
            final = is_final(
                failure, self._run.spent[each] + 1, self._notes.work.failures.max_attempts
            )
            self._run.spent[each] += spends_attempt(failure)
            if final:
                lost.append(each)
            else:
                self._run.waiting[each] = (self._notes.t, event.get("until"))
        if lost:
            self._lose(lost, failure)

    def _lose(self, nodes: Sequence[Node], failure: str) -> None:
        """Nodes failed for good: their rows are dropped at this moment."""
        self._notes.note("FAIL-02", "DROP-01")
        how = {"permanent": Sometimes.DROPPED, "timeout": Sometimes.SPENT_BY_TIMEOUT}
        self._notes.was(how.get(failure, Sometimes.SPENT))
        if nodes[0][1]:
            self._notes.was(Sometimes.BARRIER_FAILED)
            column = nodes[0][0]
            scope = self._run.rows_of(nodes[0])
            rows = [row for row in scope if not self._run.is_resolved(column, row)]
        else:
            rows = [node[2] for node in nodes]
        self._see_dropped(rows)

    def _see_dropped(self, rows: Collection[int]) -> None:
        """Rows are dropped at this moment."""
        for node, left in self._run.running.items():
            if node[1] and any(row in self._run.rows_of(node) for row in rows):
                self._notes.was(Sometimes.DROP_DURING_BARRIER)
            elif not node[1] and left.intersection(rows):
                self._notes.was(Sometimes.DROP_BESIDE_CALL)
        self._run.dropped.update(rows)
        self._run.waiting = {
            node: when for node, when in self._run.waiting.items() if node[1] or node[2] not in rows
        }
        self._see_scopes(rows)

    def _see_scopes(self, rows: Collection[int]) -> None:
        """These rows were dropped or skipped: a barrier may have no row left to run for."""
        for column, scope in self._run.scopes_of(rows):
            if self._run.dropped.issuperset(scope):
                self._notes.note("BARR-08")
                self._notes.was(Sometimes.SCOPE_DROPPED)
            elif self._run.columns[column].propagates and all(
                row in self._run.dropped or self._run.skips_input(column, row) for row in scope
            ):
                self._notes.note("BARR-08")
                self._notes.was(Sometimes.SCOPE_SKIPPED)

    def see_drop(self, event: Mapping[str, Any], _column: int) -> None:
        """Rows are recorded as dropped."""
        self._notes.note("DROP-01", "DROP-02", "DROP-04", "DROP-05")
        if event.get("cause") == "killer":
            self._notes.note("DROP-06")
            self._notes.was(Sometimes.KILLER_DROPPED)
        self._run.dropped.update(range(*span_of(event)))

    def see_skip(self, event: Mapping[str, Any], column: int) -> None:
        """Cells are skipped."""
        self._notes.note("SKIP-01")
        rows = range(*span_of(event))
        for row in rows:
            inherited = self._run.columns[column].propagates and self._run.skips_input(column, row)
            self._notes.was(Sometimes.SKIP_SPREAD if inherited else Sometimes.SKIPPED)
            self._run.skipped.add((column, row))
            if not inherited:
                self._notes.note("SKIP-04")
        self._run.resolve(column, rows)
        self._see_scopes(rows)

    # The loss of a worker

    def see_worker_lost(self, _event: Mapping[str, Any], _column: int) -> None:
        """A worker went."""
        self._notes.note("FAIL-08")
        if self._run.durable_rows:
            self._notes.was(Sometimes.LOST_BESIDE_DURABLE)

    def see_lose(self, event: Mapping[str, Any], column: int) -> None:
        """Values went with a worker."""
        self._notes.note("FAIL-08")
        node = self._run.node_of(event, column)
        rows = self._run.rows_of(node) if node[1] else range(*span_of(event))
        if node[1]:
            self._notes.was(Sometimes.LOST_BARRIER)
        rule = self._run.columns[column]
        for other in (*rule.cell_dependents, *rule.barrier_dependents):
            made = [self._run.is_resolved(other, row) for row in rows]
            if any(made):
                self._notes.was(Sometimes.LOST_UNDER)
            if not all(made):
                self._notes.was(Sometimes.LOST_NEEDED)
        self._run.lose(column, rows)
