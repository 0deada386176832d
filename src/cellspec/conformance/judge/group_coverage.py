"""The coverage of row groups: how many are in flight, and whether one waits for another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cellspec.conformance.judge.coverage_notes import Notes
from cellspec.conformance.judge.run_picture import span_of
from cellspec.conformance.run.coverage_goals import Sometimes

__all__ = ["GroupCoverage"]


class GroupCoverage:
    """What the moves of row groups are evidence for."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._run = notes.run

    def see_admit(self, event: Mapping[str, Any], _column: int) -> None:
        """A row group is admitted."""
        start, stop = span_of(event)
        self._notes.note("GROUP-03", "GROUP-05")
        self._run.admitted.add(start)
        groups = self._run.limits.groups
        if groups is not None:
            self._notes.note("GROUP-08")
            if len(self._run.admitted) >= groups:
                self._notes.note("GROUP-02")
                self._notes.was(Sometimes.GROUPS_FULL)
            if stop < self._run.rows and any(rule.ordered for rule in self._run.columns):
                self._notes.was(Sometimes.GROUP_OF_ORDER)
        if self._run.retired:
            self._notes.was(Sometimes.GROUP_TURN)
        if start and stop - start < (self._run.limits.group_rows or 0):
            self._notes.was(Sometimes.SHORT_GROUP)

    def see_retire(self, event: Mapping[str, Any], _column: int) -> None:
        """A row group leaves."""
        self._notes.note("GROUP-03", "GROUP-05")
        if len(self._run.admitted) > 1:
            self._notes.note("GROUP-07")
        self._run.admitted.discard(span_of(event)[0])
        self._run.retired += 1
