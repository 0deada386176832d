"""The coverage of the lives of a process: its crashes and resumes, requests to stop, and ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cellspec.conformance.judge.coverage_notes import Notes
from cellspec.conformance.judge.kept_scopes import kept_scopes
from cellspec.conformance.judge.run_picture import Claimed, rows_of_claim
from cellspec.conformance.run.coverage_goals import Sometimes

__all__ = ["ProcessCoverage"]


class ProcessCoverage:
    """What the crashes, resumes, stops and ends of processes are evidence for."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._run = notes.run
        self._asked = self._interrupted = self._in_flight = False
        self._killed: set[tuple[str, int]] = set()

    def see_crash(self, _event: Mapping[str, Any], _column: int) -> None:
        """The process died."""
        self._notes.seen.crashes += 1
        self._notes.note("SCHED-07")
        if self._notes.seen.crashes > 1:
            self._notes.was(Sometimes.CRASH_TWICE)
        if not self._run.claim_durable:
            self._notes.was(Sometimes.CRASH_EARLY)
        if self._run.claim_pending or self._run.commits:
            self._notes.was(Sometimes.CRASH_IN_CLAIM)
        if any(node[1] for node in self._run.running):
            self._notes.was(Sometimes.CRASH_IN_BARRIER)
        if any(
            until is not None and until > self._notes.t for _, until in self._run.waiting.values()
        ):
            self._notes.was(Sometimes.CRASH_IN_BACKOFF)
        everything = [
            (rule.index, row) for rule in self._run.columns for row in range(self._run.rows)
        ]
        if all(self._run.is_resolved(*place) for place in everything):
            self._notes.was(Sometimes.CRASH_LATE)
        size = self._run.limits.group_rows or 0
        for start in sorted(self._run.admitted):
            mine = [
                self._run.is_resolved(*place)
                for place in everything
                if start <= place[1] < start + size
            ]
            if any(mine) and not all(mine):
                self._notes.was(Sometimes.CRASH_IN_GROUP)
        if self._notes.work.killers:
            self._see_killers()

    def _see_killers(self) -> None:
        """Cells that end the process are in flight at its death."""
        running = self._run.running.items()
        cells = {(self._run.columns[node[0]].name, row) for node, left in running for row in left}
        killers = cells.intersection(self._notes.work.killers)
        if killers & self._killed:
            self._notes.note("DROP-06")
            self._notes.was(Sometimes.KILLED_AGAIN)
        self._killed |= killers

    def see_resume(self, event: Mapping[str, Any], _column: int) -> None:
        """The next process begins."""
        self._notes.seen.incarnations += 1
        self._notes.note("CKPT-12", "SCHED-07")
        if self._interrupted:
            self._notes.was(Sometimes.INTERRUPTED_RESUMED)
            self._notes.note("TABLE-06")
        self._asked = self._interrupted = self._in_flight = False
        if self._notes.seen.crashes:
            self._notes.note("TABLE-06")
        claim: Mapping[str, Claimed] = event.get("claim") or {}
        self._see_landed(claim)
        rows = event.get("records") or self._run.rows
        if rows != self._run.rows:
            self._notes.was(Sometimes.MORE_ROWS if rows > self._run.rows else Sometimes.FEWER_ROWS)
        self._run.begin(self._notes.seen.incarnations - 1, claim)
        self._run.dropped.update(row for span in event.get("dropped") or () for row in range(*span))
        for name, spans in (event.get("skipped") or {}).items():
            column = self._run.rules.index.get(name, -1)
            self._run.skipped.update((column, row) for span in spans for row in range(*span))
        self._notes.seen.kept.update(
            kept_scopes(self._run.rules, self._run.claimed, self._run.dropped)
        )
        self._see_claim(claim, changed="records" in event)

    def _see_landed(self, claim: Mapping[str, Claimed]) -> None:
        """Which commits that a crash cut off the resume found."""
        if self._run.committed:
            self._notes.note("CKPT-09", "CKPT-18")
        for cells in (*self._run.commits.values(), *self._run.failed_commits):
            self._notes.note("CKPT-18")
            found = all(
                rows.issubset(rows_of_claim(claim.get(name, 0))) for name, rows in cells.items()
            )
            self._notes.was(Sometimes.COMMIT_LANDED if found else Sometimes.COMMIT_LOST)

    def _see_claim(self, claim: Mapping[str, Claimed], *, changed: bool) -> None:
        if not any(claim.values()):
            return
        self._notes.note("TABLE-05")
        held = [set(rows_of_claim(rows)) for rows in claim.values()]
        if set.intersection(*held):
            self._notes.note("TABLE-09")
        if changed:
            self._notes.note("CKPT-16")
        if any(0 < len(rows) < self._run.rows for rows in held):
            self._notes.was(Sometimes.CLAIM_PART)
        if any(rows and len(rows) <= max(rows) for rows in held):
            self._notes.was(Sometimes.CLAIM_GAP)
        if any(rows != held[0] for rows in held):
            self._notes.was(Sometimes.COLUMN_CLAIM)
        if self._run.dropped:
            self._notes.note("CKPT-17")
            self._notes.was(Sometimes.CLAIM_WITH_DROP)
        if self._run.skipped:
            self._notes.note("SKIP-03")
            self._notes.was(Sometimes.CLAIM_WITH_SKIP)

    def see_stop(self, _event: Mapping[str, Any], _column: int) -> None:
        """The run stops early."""
        self._notes.note("STOP-01", "STOP-02")
        self._notes.was(Sometimes.STOPPED)
        if self._run.running:
            self._in_flight = True
            self._notes.was(Sometimes.STOPPED_IN_FLIGHT)

    def see_stop_requested(self, _event: Mapping[str, Any], _column: int) -> None:
        """Somebody asks the run to end."""
        self._notes.note("STOP-05")
        if self._asked:
            self._notes.was(Sometimes.ASKED_TWICE)
        self._asked = True
        if self._run.running:
            self._in_flight = True
            self._notes.was(Sometimes.ASKED_IN_FLIGHT)
        if any(until is None or until > self._notes.t for _, until in self._run.waiting.values()):
            self._notes.was(Sometimes.ASKED_IN_BACKOFF)
        if self._run.claim_pending or self._run.commits:
            self._notes.was(Sometimes.ASKED_IN_CLAIM)
        size = self._run.limits.group_rows
        if size is not None and len(self._run.admitted) + self._run.retired < -(
            -self._run.rows // size
        ):
            self._notes.was(Sometimes.ASKED_IN_GROUP)

    def _has_row(self) -> bool:
        """True if row 0 is finished: the table of an engine without claims must have it."""
        return all(self._run.is_resolved(rule.index, 0) for rule in self._run.columns)

    def see_end(self, event: Mapping[str, Any], _column: int) -> None:
        """An incarnation ends."""
        self._notes.note(
            "SCHED-07", "SCHED-10", "SCHED-12", "SCHED-14", "STOP-04", "TABLE-01", "TABLE-04"
        )
        if event.get("outcome") == "success":
            if self._run.dropped:
                self._notes.note("TABLE-07")
            if any(rule.may_skip for rule in self._run.columns):
                self._notes.note("TABLE-08")
        if event.get("outcome") != "success" or self._run.dropped:
            self._notes.note("STOP-03")
        if self._asked:
            self._notes.note("STOP-06")
        if event.get("outcome") in ("interrupted", "stopped") and self._in_flight:
            # Calls were in flight when the run had to stop: an engine could have left them so.
            self._notes.note("STOP-09")
        if event.get("outcome") == "stopped" and self._has_row() and 0 not in self._run.dropped:
            self._notes.note("STOP-08")
        self._interrupted = event.get("outcome") == "interrupted"
        if self._interrupted:
            self._notes.was(Sometimes.INTERRUPTED)
            if self._run.claim_durable or self._has_row():
                self._notes.note("STOP-07")
        if self._notes.work.failures.stop_window is not None:
            self._notes.note("STOP-01", "STOP-02")
