"""The reports of single nodes that an adapter makes: what becomes of one beside its calls.

A node waits after a failure, its call is abandoned or taken back, or it needs none: its cell is
skipped, or a cache knows its answer. Each is a step at which the process may die, but for the words
on a call in flight.
"""

from __future__ import annotations

from collections.abc import Sequence

from cellspec.conformance.run.arguments import Arguments, Inputs
from cellspec.conformance.run.calls import Calls
from cellspec.conformance.run.recorder import Recorder
from cellspec.conformance.run.values import Registry
from cellspec.graph.rowset import parts_touched
from cellspec.text import counted

__all__ = ["NodeReports"]


class NodeReports:
    """The part of a `Probe` that takes reports of single nodes.

    Args:
        recorder: records the events.
        arguments: checks what a report names.
        calls: the calls of the incarnation.
        registry: keeps every call for the table judge, and what a cache gave instead.
    """

    def __init__(
        self, recorder: Recorder, arguments: Arguments, calls: Calls, registry: Registry
    ) -> None:
        self._recorder = recorder
        self._arguments = arguments
        self._calls = calls
        self._registry = registry

    def cooling(self, column: str, position: int, until_s: float) -> None:
        """The node that just failed will be started again at `until_s`, and not before.

        Call it when the failure is caught. Without it the suite assumes that the node was in
        backoff until its next call.

        Args:
            column: the node's column.
            position: its row, a row of the range that failed, or its scope.
            until_s: the time, as `now` gives it.
        """
        self._calls.report_backoff(column, position, until_s)

    def abandon(self, column: str, position: int) -> None:
        """A call in flight is given up as timed out, although it goes on: a thread, say.

        Its late answer is nobody's, and the node may start again. A call that can be cancelled
        needs no report: one that is cancelled at or after `timeout_s` counts as timed out.

        Args:
            column: the node's column.
            position: its row, a row of the range, or its scope.
        """
        self._calls.abandon(column, position)

    def take_back(self, column: str, position: int, reason: str = "") -> None:
        """A call in flight is about to be cancelled, and made again by another worker.

        Say it just before the engine cancels the call: the cancellation then spends no attempt,
        and the node is ready again at once (clause FAIL-06). Until the cancellation has reached
        the call, it holds its slot (SCHED-11).

        Args:
            column: the node's column.
            position: its row, a row of the range, or its scope.
            reason: for people; it stands in the trace.
        """
        self._calls.mark_taken_back(column, position, reason)

    def skip(self, column: str, row: int) -> None:
        """The cell is skipped: by its own condition, or because an input was.

        Report it when the cell could start. An output cell of a barrier could when the barrier's
        call has ended, or when the barrier has no output to give (clauses SKIP-01 and BARR-08).
        """
        self._arguments.check_row(column, row)
        self._recorder.report("skip", column=column, rows=row)

    def recall(self, column: str, row: int, inputs: Inputs, value: str) -> None:
        """A cache gave the value of a cell, for these inputs and without a call (clause CKPT-25).

        Args:
            column: its column, which is no barrier; `recall_barrier` is for those.
            row: its row.
            inputs: the values of the columns that it needs, under which the cache keeps the answer.
            value: the value that a call gave for them.
        """
        self._arguments.check_row(column, row)
        if self._arguments.scope_count(column):
            self._recorder.refuse(f"recall: column {column!r} is a barrier; call recall_barrier")
        with self._recorder.lock:
            own = self._arguments.inputs(column, inputs)
            self._registry.note_inputs(column, row, own)
            self._registry.note_recall(column, row, own, value)
            self._recorder.report("recall", column=column, rows=row)

    def recall_barrier(
        self,
        column: str,
        scope: int,
        rows: Sequence[int],
        inputs: Sequence[Inputs],
        values: Sequence[str],
    ) -> None:
        """A cache gave what a barrier gave before, for exactly these rows and inputs (CKPT-25).

        It takes the place of `Probe.barrier`, and may come when that call could start. If one of
        the rows has other inputs now, was dropped, or is new, the barrier has to run.

        Args:
            column: the barrier's column.
            scope: the number of its scope; 0 if that is the dataset.
            rows: the rows that the barrier would read now, in order.
            inputs: for each of them, the values of the columns that the barrier needs.
            values: for each of them, the value that a run gave it.
        """
        arguments = self._arguments
        arguments.check_barrier("recall_barrier", column, scope, rows, inputs)
        if len(rows) != len(values):
            values_of = f"{counted(len(rows), 'row')}, {counted(len(values), 'value')}"
            self._recorder.refuse(f"recall_barrier: {column!r}: {values_of}")
        with self._recorder.lock:
            self._recorder.check_alive()
            reads = [(row, arguments.inputs(column, inputs[at])) for at, row in enumerate(rows)]
            for _, own in reads:
                self._registry.note_inputs(column, scope, own)
            given = dict(zip(rows, values, strict=True))
            self._registry.note_barrier_recall(column, scope, reads, given)
            self._recorder.record("recall", column=column, scope=scope)
            self._calls.give_output(column, scope, self._calls.wanted(column, rows))
            self._recorder.step()

    def lost(self, column: str, start: int, stop: int) -> None:
        """Values of rows ``[start, stop)`` of a column went with a worker, and are made again.

        Once `lose_worker` was called, for complete results that are not durable. Of a barrier they
        are rows to which it gave output; its node runs again for them.
        """
        self._arguments.check_column(column)
        rows = self._arguments.rows(start, stop)
        with self._recorder.lock:
            if not self._arguments.scope_count(column):
                self._recorder.report("lose", column=column, rows=rows)
                return
            scopes = parts_touched(start, stop, self._arguments.rule(column).scope_rows)
            for scope in self._calls.remade.lose_output(column, range(start, stop), scopes):
                self._recorder.report("lose", column=column, scope=scope)
