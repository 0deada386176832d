"""The losses of a crash: values that are to be made again, and the worker time that was in vain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cellspec.graph.rowset import RowSet
from cellspec.state.claims import Claim, holds, minus, prefix_of, spans
from cellspec.state.codes import DONE
from sim.simulator.calls import Calls
from sim.simulator.outcome import Incarnation
from sim.simulator.run_state import RunState

__all__ = ["lost_barriers_s", "lost_in_flight_s", "value_losses"]


def lost_in_flight_s(state: RunState, calls: Calls, now: float) -> float:
    """The time that calls in flight have taken."""
    return sum(calls.lost_s(task) - max(0.0, task.ends_s - now) for task in state.running)


def lost_barriers_s(state: RunState, calls: Calls, claim: Claim) -> float:
    """The time of barrier nodes that are complete, and will not be when `claim` is restored."""
    counters, lost_s = state.machine.counters, 0.0
    for rule in state.rules.columns:
        claimed = claim[rule.index]
        # The last scope may be short: a claim of all rows reaches its end too.
        if not rule.is_barrier or claimed == state.graph.num_records:
            continue
        first = prefix_of(claimed) // rule.scope_rows
        for scope in range(first, state.rules.scope_count(rule.index)):
            if holds(claimed, *state.rules.scope_bounds(rule.index, scope)):
                continue
            ran = counters.barrier_state(rule.index, scope) == DONE
            if ran and (rule.index, scope) not in counters.unrun:
                lost_s += calls.barrier_cost(rule.index, scope)
    return lost_s


def value_losses(
    state: RunState, calls: Calls, incarnation: Incarnation
) -> Callable[[Claim], None]:
    """Take note of the values before a resume.

    Returns:
        A function to call after the resume, with the claim: it adds to `incarnation` the values
        that the claim does not hold.
    """
    counters, total = state.machine.counters, state.graph.num_records
    nothing = RowSet(total)
    cells: Sequence[Any] = counters.cells
    valueless: Sequence[Mapping[int, RowSet]] = (counters.skipped, counters.lost)

    def add(claim: Claim) -> None:
        for column, rows in enumerate(claim):
            without = [sets.get(column, nothing) for sets in valueless]
            cost = calls.cell_cost(column)
            for start, stop in spans(minus(total, rows)):
                for row in _made(cells[column], without, start, stop):
                    # A row that stays dropped is not made again.
                    if row not in counters.dropped:
                        incarnation.cells_lost += 1
                        incarnation.busy_lost_s += cost(row)

    return add


def _made(states: Any, valueless: Sequence[RowSet], start: int, stop: int) -> Iterator[int]:
    """Rows ``[start, stop)`` of a column whose cell had a value, given the states of its cells."""
    if isinstance(states, bytearray):
        row = states.find(DONE, start, stop)
        while row >= 0:
            yield row
            row = states.find(DONE, row + 1, stop)
        return
    for row in range(start, stop):
        if not any(row in rows for rows in valueless):
            yield row
