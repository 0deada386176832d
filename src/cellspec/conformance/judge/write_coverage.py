"""The coverage of writes: those that fail, are slow, land all the same, or are made good."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cellspec.conformance.run.coverage_goals import Sometimes

__all__ = ["WriteCoverage"]


class WriteCoverage:
    """Notes which clauses about writes a run exercised, and which situations it was in.

    Attributes:
        exercised: clauses that could have failed at an event.
        sometimes: situations that the run was in.
    """

    def __init__(self) -> None:
        self.exercised: set[str] = set()
        self.sometimes: set[Sometimes] = set()
        self._t = 0.0
        self._calls = False
        self._writing: list[Any] = []
        self._claims = self._begun = False
        self._pending: Mapping[str, Any] | None = None
        self._perhaps: list[Mapping[str, Any]] = []
        self._failed = False

    def take(self, event: Mapping[str, Any], *, calls: bool) -> None:
        """Note one event, after which calls are in flight or not."""
        kind, t = event["event"], float(event["t"])
        if t > self._t and self._calls and (self._writing or self._pending is not None):
            self.sometimes.add(Sometimes.SLOW_WRITE)
        self._t, self._calls = t, calls
        self._begun |= kind in ("checkpoint_begin", "commit_begin")
        if kind == "write_begin":
            self._writing.append(event.get("rows"))
        elif kind == "checkpoint_begin":
            self._pending = event["claim"]
        elif kind == "checkpoint_failed":
            self._fail()
        elif kind in ("durable", "checkpoint_durable", "committed"):
            self._succeed(event)
        elif kind in ("crash", "end"):
            self._end(event.get("outcome", ""))
        elif kind == "resume":
            self._resume(event.get("claim") or {})

    def _fail(self) -> None:
        self._failed = True
        self._writing.clear()
        if self._pending is None:
            self.sometimes.add(Sometimes.ROWS_FAILED)
            return
        self.sometimes.add(Sometimes.CLAIM_FAILED)
        self._perhaps.append(self._pending)
        self._pending = None

    def _succeed(self, event: Mapping[str, Any]) -> None:
        if self._failed:
            self.sometimes.add(Sometimes.MADE_GOOD)
        if event["event"] == "durable":
            if event.get("rows") in self._writing:
                self._writing.remove(event.get("rows"))
            return
        self._claims = True
        self._pending = None
        self._perhaps.clear()

    def _end(self, outcome: str) -> None:
        if self._failed:
            self.exercised.add("CKPT-23")
        if self._begun and outcome == "success":
            self.exercised.add("CKPT-22")
        if self._claims and outcome == "stopped":
            self.exercised.add("STOP-08")

    def _resume(self, claim: Mapping[str, Any]) -> None:
        if claim in self._perhaps and any(claim.values()):
            self.sometimes.add(Sometimes.LANDED)
        self._pending, self._failed = None, False
        self._perhaps.clear()
        self._writing.clear()
