"""The coverage of storage: claims and commits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cellspec.conformance.judge.coverage_notes import Notes
from cellspec.conformance.judge.run_picture import rows_of_claim, span_of

__all__ = ["StorageCoverage"]


class StorageCoverage:
    """What claims and commits are evidence for."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._run = notes.run

    def see_durable(self, _event: Mapping[str, Any], _column: int) -> None:
        """Rows are safe on storage."""
        self._notes.note("CKPT-08", "DROP-04")
        self._run.durable_rows = True

    def see_checkpoint_begin(self, _event: Mapping[str, Any], _column: int) -> None:
        """A claim is being written."""
        self._notes.note("CKPT-05", "CKPT-08", "CKPT-09", "CKPT-10", "CKPT-11")
        self._run.claim_pending = True

    def see_checkpoint_durable(self, _event: Mapping[str, Any], _column: int) -> None:
        """A claim is safe."""
        self._run.claim_pending = False
        self._run.claim_durable = True

    def see_checkpoint_failed(self, _event: Mapping[str, Any], _column: int) -> None:
        """A claim could not be written."""
        self._run.claim_pending = False

    def see_commit_begin(self, event: Mapping[str, Any], _column: int) -> None:
        """Data and claim are being written in one."""
        self._notes.note("CKPT-05", "CKPT-08", "CKPT-10", "CKPT-11")
        names = [rule.name for rule in self._run.columns]
        if "claim" in event:
            cells = {name: set(rows_of_claim(rows)) for name, rows in event["claim"].items()}
        else:
            mine = [event["column"]] if event.get("column") else names
            cells = {name: set(range(*span_of(event))) for name in mine}
        self._run.commits[event.get("commit")] = cells

    def see_committed(self, event: Mapping[str, Any], _column: int) -> None:
        """A commit is safe."""
        self._notes.note("CKPT-11")
        self._run.commits.pop(event.get("commit"), None)
        self._run.claim_durable = self._run.committed = True

    def see_commit_failed(self, event: Mapping[str, Any], _column: int) -> None:
        """A commit reported an error."""
        commit = self._run.commits.pop(event.get("commit"), None)
        if commit is not None:
            self._run.failed_commits.append(commit)
