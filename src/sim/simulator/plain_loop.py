"""The loop of a plain run: each call makes one cell, ends well, and is one event.

It does what the clock, the completion of `sim.simulator.ending`, the settling of
`sim.simulator.simulator` and the dispatch of `sim.simulator.starting` do together, without a call
from each to the next. It states no rule: the machine's functions judge time, ends and starts, and
the queues say which node is next. All that is not the end of a cell's call goes to the parts that
know it: barriers, checkpoints, timers, crashes.

The two are held against each other by `tests/sim/simulator/test_plain_loop.py`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any

from cellspec.graph.nodes import column_of
from cellspec.machine.clock import compile_at
from sim.simulator.claim_schedule import ClaimSchedule
from sim.simulator.ending import Ends
from sim.simulator.picking import Picker, pick_in_loop
from sim.simulator.queues import ReadyQueue
from sim.simulator.run_state import FLUSHED_EVERY, RunState, Settle, Task
from sim.simulator.starting import Starts
from sim.simulator.tally import Tally
from sim.simulator.timings import SAMPLED

__all__ = ["run_plain"]


def run_plain(
    state: RunState,
    tally: Tally,
    starts: Starts,
    ends: Ends,
    picker: Picker,
    queues: Sequence[ReadyQueue],
    claims: ClaimSchedule,
    settle: Settle,
    follow: Settle,
) -> None:
    """Let all events of an incarnation happen, until none is left or one raises.

    It is one function on purpose, and longer than others: each name that its loop uses is local,
    and a call fewer for each cell is what it is for.

    Args:
        state: the run.
        tally, starts, ends: its parts.
        picker, queues: of this incarnation.
        claims: when one is due.
        settle: follows an event, at its time.
        follow: the last part of it, after nodes have started.
    """
    env, outcome, counters, timings = state.env, state.outcome, state.counters, state.timings
    queue, order, pop, push = env.queue, env.order, heapq.heappop, heapq.heappush
    replace: Callable[[Any, Any], object] = heapq.heapreplace
    kind, spare = Task, state.spare
    at, timed = compile_at(state.machine.state), state.timed
    coming, pick, freed, most = pick_in_loop(picker, queues, state.capacity, counters)
    workers, group_of, rows = min(state.workers, most), counters.groups, state.graph.num_records
    start, resolve, open_cells = counters.start, counters.resolve, counters.open_cells
    readers = [state.latency.reader(column) for column in range(state.graph.num_columns)]
    flags, ends_s, every, ended = timings.flags, timings.ends, timings.every, timings.ended
    begun, begun_s, sampled = timings.begun.append, timings.begun_s.append, SAMPLED
    busy_s, works, emissions, log = outcome.busy_s, state.works, state.emissions, state.log.append
    open_before, taken_over = [*open_cells], [0] * len(open_cells)
    t, done, furthest, unflushed = env.now, state.done, state.furthest, FLUSHED_EVERY - 1
    try:
        while queue:
            # It stays in the heap until another takes its place: half the work of two steps.
            t, _, task, column, row, number = queue[0]
            if column < 0:
                if task.__class__ is not kind or task.details is not None:
                    pop(queue)
                    env.now, state.done, state.furthest = t, done, furthest
                    env.happen(task)
                    done, furthest = state.done, state.furthest
                    continue
                column, row = task.column, task.row
                number = column * rows + row
                taken_over[column] += 1
            env.now = t
            if timed:
                at(t)
            resolve[column](row)
            done += 1
            flag = flags[row]
            if flag == sampled:
                ends_s[column][row // every] = t
            elif flag:
                ended(column, row, t)
            if row > furthest and works[column]:
                furthest = row
                if row - counters.rows >= outcome.window_rows:
                    outcome.window_rows = row + 1 - counters.rows
            if done & unflushed:
                log(number)
            else:
                ends.log_and_flush(number, t)
            if emissions:
                pop(queue)
                spare.append(task)
                state.done, state.furthest = done, furthest
                settle(t)
                done, furthest = state.done, state.furthest
                continue
            if freed is not None:
                freed(group_of[column])
            put: Callable[[Any, Any], object] = replace
            while counters.load < workers:
                if coming and coming[-1] >= 0:
                    number = coming.pop()
                    column = number // rows
                    row = number - column * rows
                else:
                    node = pick()
                    if node is None:
                        break
                    column, row = node
                    if column < 0:
                        if put is replace:
                            pop(queue)
                            spare.append(task)
                            put = push
                        starts.begin_barrier(column_of(node), row, t)
                        continue
                    number = column * rows + row
                start[column](row)
                seconds = readers[column](row)
                busy_s[column] += seconds
                if flags[row]:
                    begun(number)
                    begun_s(t)
                if put is push:
                    task = spare.pop() if spare else starts.new_task()
                put(queue, (t + seconds, next(order), task, column, row, number))
                put = push
            if put is replace:
                pop(queue)
                spare.append(task)
            if counters.rows != state.rows_seen or done >= claims.cells:
                state.done, state.furthest = done, furthest
                follow(t)
        state.done, state.furthest = done, furthest
    finally:
        running = [item for item in queue if item[3] >= 0]
        for at_s, _, task, column, row, _ in running:
            task.column, task.row, task.ends_s = column, row, at_s
        for column, rule in enumerate(state.rules.columns):
            # Output of barriers is no call, and is counted where it is given.
            if not rule.is_barrier:
                gave = open_before[column] - open_cells[column]
                tally.made[column] += gave
                outcome.calls[column] += gave - taken_over[column]
        for item in running:
            outcome.calls[item[3]] += 1
