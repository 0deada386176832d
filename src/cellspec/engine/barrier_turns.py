"""`BarrierTurns`: the nodes that are held back until a running barrier call has ended."""

from __future__ import annotations

from cellspec.engine.call_states import RUNNING
from cellspec.engine.calls import Call
from cellspec.engine.progress import Progress
from cellspec.graph.nodes import NodeKey, barrier_key, cell_key

__all__ = ["BarrierTurns"]


class BarrierTurns:
    """Counts the barrier calls in flight of each column, and holds back the nodes behind them."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._running = [0] * progress.column_count
        # By column, barrier nodes; by barrier node, output cells that are to be skipped.
        self._barriers: dict[int, list[NodeKey]] = {}
        self._outputs: dict[NodeKey, list[NodeKey]] = {}

    def started(self, call: Call) -> None:
        """A call took its slot."""
        self._running[call.index] += call.scope is not None

    def ended(self, call: Call) -> list[NodeKey]:
        """A call gave its slot back.

        Returns:
            The nodes that were held back until then; each is to be looked at again.
        """
        if call.scope is None:
            return []
        self._running[call.index] -= 1
        barrier = barrier_key(call.index, call.scope)
        return [*self._barriers.pop(call.index, ()), *self._outputs.pop(barrier, ())]

    def hold_barrier(self, column: int, scope: int) -> bool:
        """Hold a barrier node back if an earlier batch of an ordered column is in flight.

        The rows of that batch may have been dropped meanwhile, so that its output is not wanted any
        more; barriers of one column still run one at a time.

        Returns:
            True if it is held back.
        """
        if not self._progress.rules.columns[column].ordered or not self._running[column]:
            return False
        barrier = barrier_key(column, scope)
        self._barriers.setdefault(column, []).append(barrier)
        return True

    def hold_skip(self, column: int, row: int) -> bool:
        """Hold an output cell back that is to be skipped, if its barrier still runs.

        A cell is skipped at the moment at which it could start (clause SKIP-01): when that call has
        ended.

        Returns:
            True if it is held back.
        """
        rule = self._progress.rules.columns[column]
        if not rule.is_barrier:
            return False
        barrier = barrier_key(column, row // rule.scope_rows)
        if self._progress.state[barrier] != RUNNING:
            return False
        self._outputs.setdefault(barrier, []).append(cell_key(column, row))
        return True
