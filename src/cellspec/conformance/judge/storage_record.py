"""The record of storage: what claims a run made, by its events, for those who judge its tables.

It follows the reports of an engine and believes them; whether each was allowed is the checker's
question. A table judge asks it which cells are claimed, and which may be: those of a claim or of a
commit whose write was not seen to end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cellspec.state.claims import Rows, join, normal
from cellspec.trace import Event, claimed_rows

__all__ = ["StorageRecord"]

Cells = Mapping[str, Rows]


class StorageRecord:
    """The claims of a run so far.

    Attributes:
        claim: the last durable claim, by column, with the commits since then; None before any.
        committed: the cells of all commits that are known to be on storage.
        reported: the cells that were reported durable by themselves, since commits are used.
        in_doubt: the commits that were open at the end of the last incarnation, or had reported an
            error in it.
    """

    def __init__(self) -> None:
        self.claim: Cells | None = None
        self.committed: Cells = {}
        self.reported: Cells = {}
        self.in_doubt: tuple[Cells, ...] = ()
        self._pending: Cells | None = None
        self._failed: list[Cells] = []
        self._commits: dict[int | None, Cells] = {}
        self._failed_commits: list[Cells] = []

    @property
    def uses_commits(self) -> bool:
        """True if the run has begun a commit."""
        return bool(self.committed or self._commits or self._failed_commits or self.in_doubt)

    def possible(self, names: Iterable[str]) -> dict[str, Rows]:
        """By column, every cell that storage may give back as claimed."""
        parts = [self.claim or {}, self._pending or {}, *self._failed]
        parts += [*self._commits.values(), *self._failed_commits]
        found: dict[str, Rows] = dict.fromkeys(names, 0)
        for part in parts:
            found = {name: join(rows, part.get(name, 0)) for name, rows in found.items()}
        return found

    def note(self, event: Event, names: Iterable[str]) -> None:
        """Take the next event of the run, whose columns have these names."""
        kind = event.event
        if kind == "checkpoint_begin":
            self._pending = _cells(event.claim or {})
        elif kind == "checkpoint_durable" and self._pending is not None:
            self.claim = _joined(self._pending, self.committed)
            self._pending, self._failed = None, []
        elif kind == "checkpoint_failed" and self._pending is not None:
            self._failed.append(self._pending)
            self._pending = None
        elif kind == "commit_begin":
            self._commits[event.commit] = _cells_of(event, names)
        elif kind == "committed":
            cells = self._commits.pop(event.commit, {})
            self.claim = _joined(self.claim or dict.fromkeys(names, 0), cells)
            self.committed = _joined(self.committed, cells)
        elif kind == "commit_failed":
            self._failed_commits.append(self._commits.pop(event.commit, {}))
        elif kind == "durable" and self.uses_commits:
            self.reported = _joined(self.reported, _cells_of(event, names))
        elif kind == "resume":
            self.in_doubt = (*self._commits.values(), *self._failed_commits)
            self.claim = _cells(event.claim or {})
            self._pending, self._failed = None, []
            self._commits, self._failed_commits = {}, []


def _cells(claim: Mapping[str, int | tuple[tuple[int, int], ...]]) -> Cells:
    return {name: claimed_rows(rows) for name, rows in claim.items()}


def _cells_of(event: Event, names: Iterable[str]) -> Cells:
    """The cells that an event names: by column, or rows of one column or of every one."""
    if event.claim is not None:
        return _cells(event.claim)
    rows = (event.rows, event.rows + 1) if isinstance(event.rows, int) else event.rows
    span = normal([rows or (0, 0)])
    return {name: span for name in names if event.column in (None, name)}


def _joined(cells: Cells, more: Cells) -> Cells:
    return {
        name: join(cells.get(name, 0), more.get(name, 0)) for name in dict.fromkeys((*cells, *more))
    }
