"""Row groups, which Ray does not know: the driver admits and retires them."""

from __future__ import annotations

from collections.abc import Iterable

from cellspec.conformance.run.probe import Probe
from cellspec.engines.rows import DriverState

__all__ = ["RowGroups"]


class RowGroups:
    """Admits row groups in order and retires them, if the workload has any.

    Args:
        probe: receives each admission and retirement.
        state: the driver's state.
    """

    def __init__(self, probe: Probe, state: DriverState) -> None:
        self._probe = probe
        self._state = state
        self._size = probe.work.limits.group_rows
        self._most = probe.work.limits.groups
        self._next = 0
        self._admitted: list[int] = []

    def admit(self) -> None:
        """Admit, in order, as many groups as the limit allows; resolved ones are passed over."""
        if self._size is None:
            return
        while self._next * self._size < self._probe.rows:
            if not self._is_resolved(self._next):
                if self._most is not None and len(self._admitted) >= self._most:
                    return
                self._probe.admit(self._next)
                self._admitted.append(self._next)
            self._next += 1

    def admits(self, rows: Iterable[int]) -> bool:
        """True if the groups of all these rows are admitted, or resolved already."""
        return self._size is None or all(row // self._size < self._next for row in rows)

    def retire(self) -> bool:
        """Retire the groups whose rows are resolved; True if there were any."""
        done = [group for group in self._admitted if self._is_resolved(group)]
        for group in done:
            self._probe.retire(group)
            self._admitted.remove(group)
        return bool(done)

    def _is_resolved(self, group: int) -> bool:
        assert self._size is not None
        stop = min((group + 1) * self._size, self._probe.rows)
        graph, tracker = self._state.graph, self._state.tracker
        return all(graph.is_row_complete(row, tracker) for row in range(group * self._size, stop))
