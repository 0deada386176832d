"""The figures of a run that is over: its time, its waits, the rows and cells of its table."""

from __future__ import annotations

import math
from functools import reduce

from cellspec.state.claims import Claim, count_rows, covers, meet
from sim.simulator.calls import Calls
from sim.simulator.run_state import RunState

__all__ = ["add_up"]


def add_up(state: RunState, calls: Calls, durable_claim: Claim, makespan_s: float) -> None:
    """The figures of the run as a whole, in its outcome.

    Args:
        state: the run, at its end.
        calls: its calls.
        durable_claim: by column, the rows that are on storage.
        makespan_s: when it ended.
    """
    outcome, timings = state.outcome, state.timings
    outcome.makespan_s = makespan_s
    # The end itself is an event too.
    outcome.events = state.events + 1
    outcome.cells_done = sum(item.cells_done for item in outcome.incarnations)
    outcome.waits = timings.waits(makespan_s)
    outcome.sampled_every = timings.every
    _count_table(state, calls, durable_claim)
    outcome.fingerprint = state.digest.hexdigest()


def _count_table(state: RunState, calls: Calls, durable_claim: Claim) -> None:
    """Add up the rows and cells of the finished table."""
    outcome, counters, start = state.outcome, state.machine.counters, state.plan.start_from
    durable, dropped = reduce(meet, durable_claim), counters.dropped
    gone = sum(covers(durable, row) for row in dropped)
    outcome.tried = calls.tally.rows_tried()
    if calls.accepting is not None and outcome.outcome == "interrupted":
        outcome.tried = calls.accepting.accepted + len(dropped)
    outcome.dropped = len(dropped)
    outcome.delivered = count_rows(durable) - gone
    outcome.made = outcome.delivered * state.graph.num_columns - sum(
        covers(durable, row) and row not in dropped
        for rows in counters.skipped.values()
        for row in rows
    )
    if start is not None:
        found = [meet(rows, durable) for rows in start]
        rows, cells = reduce(meet, found), sum(map(count_rows, found))
        outcome.found_rows = count_rows(rows) - sum(covers(rows, row) for row in dropped)
        outcome.found_cells = cells - sum(covers(rows, row) for rows in found for row in dropped)
    outcome.ages = state.timings.ages(durable, dropped)
    if not outcome.delivered:
        outcome.first_row_s = math.inf
    calls.count_table()
