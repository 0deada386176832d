"""A machine that tells what it did: every step that was allowed, as an event of a trace.

`RecordingMachine` is `cellspec.machine.machine.Machine` with one thing more: after each step it
calls ``tell(event, t, **fields)``, whose arguments are those of `cellspec.trace.TraceWriter.add`.
What is told has happened; a step that is refused is never told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from cellspec.machine.machine import Failure, Machine, Outcome, Ranges
from cellspec.state.counters import Claim

__all__ = ["RecordingMachine", "Tell"]


Tell: TypeAlias = Callable[..., object]
"""Hears of every step: ``tell(event, t, **fields)``, with the time in seconds."""


def _told(attempt: int | None) -> int | None:
    """The number of a start as a trace holds it: the first one is left out."""
    return None if attempt == 1 else attempt


class RecordingMachine(Machine):
    """A transition system whose steps are told; only steps taken by its own methods are."""

    tell: Tell

    def _tell(self, event: str, column: int | None = None, **fields: Any) -> None:
        if column is not None:
            fields["column"] = self.graph.rules.columns[column].name
        self.tell(event, self.now, **fields)

    def _tell_claim(self, event: str, claim: Claim, **fields: Any) -> None:
        names = self.graph.column_names
        self._tell(event, claim=dict(zip(names, claim, strict=True)), **fields)

    def start_cell(self, column: int, row: int, attempt: int | None = None) -> None:
        super().start_cell(column, row, attempt)
        self._tell("start", column, rows=row, attempt=_told(attempt))

    def complete_cell(self, column: int, row: int, attempt: int | None = None) -> None:
        super().complete_cell(column, row, attempt)
        self._tell("complete", column, rows=row, attempt=attempt)

    def start_range(self, column: int, start: int, stop: int, attempt: int | None = None) -> None:
        super().start_range(column, start, stop, attempt)
        self._tell("start", column, rows=(start, stop), attempt=_told(attempt))

    def fail_cell(
        self,
        column: int,
        row: int,
        failure: Failure,
        until: float | None = None,
        attempt: int | None = None,
    ) -> None:
        super().fail_cell(column, row, failure, until, attempt)
        self._tell("fail", column, rows=row, failure=failure, until=until, attempt=attempt)

    def record_drop(self, column: int, start: int, stop: int) -> None:
        super().record_drop(column, start, stop)
        self._tell("drop", column, rows=start if stop == start + 1 else (start, stop))

    def skip_cell(self, column: int, row: int) -> None:
        super().skip_cell(column, row)
        self._tell("skip", column, rows=row)

    def admit(self, start: int, stop: int) -> None:
        super().admit(start, stop)
        self._tell("admit", rows=(start, stop))

    def retire(self, start: int, stop: int) -> None:
        super().retire(start, stop)
        self._tell("retire", rows=(start, stop))

    def start_barrier(
        self,
        column: int,
        scope: int,
        reads: Ranges | None = None,
        attempt: int | None = None,
    ) -> None:
        reads = self.counters.reads(column, scope) if reads is None else reads
        super().start_barrier(column, scope, reads, attempt)
        self._tell("start", column, scope=scope, attempt=_told(attempt), reads=reads)

    def complete_barrier(self, column: int, scope: int, attempt: int | None = None) -> None:
        super().complete_barrier(column, scope, attempt)
        self._tell("complete", column, scope=scope, attempt=attempt)

    def fail_barrier(
        self,
        column: int,
        scope: int,
        failure: Failure,
        until: float | None = None,
        attempt: int | None = None,
    ) -> None:
        super().fail_barrier(column, scope, failure, until, attempt)
        self._tell("fail", column, scope=scope, failure=failure, until=until, attempt=attempt)

    def emit(self, column: int, start: int, stop: int) -> None:
        super().emit(column, start, stop)
        self._tell("emit", column, rows=(start, stop))

    def durable_rows(self, column: int, stop: int, start: int = 0) -> None:
        start = max(start, self.durable[column])
        super().durable_rows(column, stop, start)
        self._tell("durable", column, rows=(start, stop))

    def checkpoint_begin(self, claim: Claim) -> None:
        super().checkpoint_begin(claim)
        self._tell_claim("checkpoint_begin", claim)

    def checkpoint_durable(self) -> None:
        super().checkpoint_durable()
        self._tell("checkpoint_durable")

    def crash(self) -> None:
        super().crash()
        self._tell("crash")

    def resume(
        self,
        claim: Claim,
        *,
        dropped: Ranges | None = None,
        skipped: Mapping[str, Ranges] | None = None,
        records: int | None = None,
        keep: bool = False,
    ) -> None:
        super().resume(claim, dropped=dropped, skipped=skipped, records=records, keep=keep)
        self._tell_claim("resume", claim, incarnation=self.incarnation)

    def stop(self) -> None:
        super().stop()
        self._tell("stop", reason="too many of the last calls failed")

    def end(self, outcome: Outcome = "success") -> None:
        super().end(outcome)
        self._tell("end", outcome=outcome)
