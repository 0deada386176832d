"""The loop of a run in which each call makes one cell, and is one event.

Calls may fail, and rows may be admitted in groups. A call behind a bare server
(`sim.simulator.bare_route`) is no event: of the calls that run there only the next end is one, and
the loop takes the call from it.

It does what the clock, the completion of `sim.simulator.ending`, the settling of
`sim.simulator.simulator` and the dispatch of `sim.simulator.starting` do together, without a call
from each to the next. It states no rule: the machine's functions judge time, ends and starts, and
the queues say which node is next. All that is not the end of a cell's call goes to the parts that
know it: barriers, checkpoints, timers, crashes, the end of a call that fails, and calls of an
endpoint that end together.

The two are held against each other by `tests/sim/simulator/test_plain_loop.py`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cellspec.graph.nodes import column_of
from cellspec.machine.clock import compile_at
from cellspec.state.codes import READY, RUNNING
from sim.endpoints.request import Request
from sim.endpoints.timer import Taken, Wake
from sim.simulator.bare_route import BareRoute
from sim.simulator.binding import WhenBusy
from sim.simulator.call_times import CallTimes
from sim.simulator.claim_schedule import ClaimSchedule
from sim.simulator.ending import Ends
from sim.simulator.failing import Failing
from sim.simulator.picking import Picker, pick_in_loop
from sim.simulator.queues import ReadyQueue
from sim.simulator.row_groups import RowGroups
from sim.simulator.run_state import FLUSHED_EVERY, RunState, Settle, Task
from sim.simulator.starting import NEVER, Starts
from sim.simulator.tally import Tally
from sim.simulator.timings import SAMPLED
from sim.simulator.tries import MANY

__all__ = ["run_plain"]


def put_again(queue: list[Any], entry: tuple[Any, ...]) -> None:
    """`heappush` of an entry whose task was behind an endpoint, and is no more in the queue."""
    heapq.heappush(queue, entry)


def run_plain(
    state: RunState,
    tally: Tally,
    groups: RowGroups | None,
    failing: Failing | None,
    starts: Starts,
    ends: Ends,
    bare: Mapping[int, BareRoute],
    when_busy: WhenBusy | None,
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
        groups: its row groups; None if it has none.
        failing: its failures; None if every call ends well.
        bare: by column that has a route, that route.
        when_busy: what holds the run up at most moments; None if nobody asks.
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
    coming, pick, most, parked, heads = pick_in_loop(picker, queues, state.capacity, counters)
    workers, group_of, rows = min(state.workers, most), counters.groups, state.graph.num_records
    start, resolve, open_cells = counters.start, counters.resolve, counters.open_cells
    readers, fails, begun_cells = starts.readers(), failing is not None, timings.begun
    held_at, held_s = timings.held_at.append, timings.held_s.append
    rests, tried = ([], []) if failing is None else (failing.rests, failing.tries.counts)
    later, rested, is_failing = starts.later, starts.rested, CallTimes.fails
    cells, given_up, ready, run = counters.cells, tally.given_up, READY, RUNNING
    made, unmade = [0] * len(cells), [0] * len(cells)
    ends_rows = [rule.is_sink for rule in state.rules.columns]
    flags, ends_s, every, ended = timings.flags, timings.ends, timings.every, timings.ended
    begun, begun_s, sampled = begun_cells.append, timings.begun_s.append, SAMPLED
    busy_s, works, emissions, log = outcome.busy_s, state.works, state.emissions, state.log.append
    open_before, taken_over = [*open_cells], [0] * len(open_cells)
    watch = env.watch
    waiting, line, binds, bound_s = when_busy or WhenBusy([0], 0, "", {})
    # It is one sum, which is here as long as nobody else adds to it.
    busy_bound_s = bound_s.get(binds, 0.0)
    columns = range(len(cells))
    joins: list[Any] = [bare[c].join if c in bare else None for c in columns]
    tokens_of: list[Any] = [bare[c].tokens_of[c] if c in bare else None for c in columns]
    has_tokens = any(tokens_of)
    # Whose next end, at `next_s`, is the next event of all; it has no place in the queue.
    sharing: Taken | None = None
    next_s = never_s = math.inf
    seen, due_cells = state.rows_seen, claims.cells
    t, done, furthest, unflushed = env.now, state.done, state.furthest, FLUSHED_EVERY - 1
    try:
        while queue or sharing is not None:
            # With another than `push` the next call gets `task`, which has ended.
            put: Callable[[Any, Any], object] = push
            if sharing is None:
                # It stays in the heap until another takes its place: half the work of two steps.
                t, _, task, column, row, number = queue[0]
                if watch is not None and t > env.now:
                    if busy_bound_s:
                        bound_s[binds] = busy_bound_s
                    watch(t - env.now)
                    busy_bound_s = bound_s.get(binds, 0.0)
                if column >= 0:
                    put = replace
                elif task.__class__ is kind and task.details is None:
                    put = replace
                    column, row = task.column, task.row
                    number = column * rows + row
                    taken_over[column] += 1
                else:
                    pop(queue)
                    env.now, state.done, state.furthest = t, done, furthest
                    if task.__class__ is not Wake or task.sharing is None:
                        env.happen(task)
                        done, furthest = state.done, state.furthest
                        seen, due_cells = state.rows_seen, claims.cells
                        continue
                    sharing = task.sharing
                    request: Any = sharing.take(task)
            else:
                # Of all that is to come, the end of a call at its endpoint is the next.
                if watch is not None and next_s > t:
                    if waiting[line]:
                        busy_bound_s += next_s - t
                    else:
                        if busy_bound_s:
                            bound_s[binds] = busy_bound_s
                        watch(next_s - t)
                        busy_bound_s = bound_s.get(binds, 0.0)
                t = next_s
            if sharing is not None:
                if request is None or (task := request.call).column < 0:
                    if request is not None:
                        env.now, state.done, state.furthest = t, done, furthest
                        bare[~task.column].end(request, t)
                        sharing.resume(t)
                    done, furthest, sharing = state.done, state.furthest, None
                    seen, due_cells = state.rows_seen, claims.cells
                    continue
                column, row = task.column, task.row
                number = column * rows + row
                put = put_again
                if has_tokens and tokens_of[column] is not None:
                    bare[column].pay_tokens(column, request)
                busy_s[column] += t - task.start_s
            env.now = t
            if timed:
                at(t)
            if number < 0 and cells[column][row] == run and failing is not None:
                failing.fail_cell(column, row, -number, t)
                unmade[column] += 1
            elif number < 0 or (given_up and cells[column][row] != run):
                ends.end_unwanted(column, row)
                unmade[column] += 1
            else:
                resolve[column](row)
                done += 1
                if fails:
                    made[column] += 1
                flag = flags[row]
                if flag == sampled:
                    ends_s[column][row // every] = t
                elif flag:
                    ended(column, row, t)
                if groups is not None:
                    if emissions:
                        groups.touch(row, row + 1)
                    elif ends_rows[column]:
                        groups.touch_last(row)
                if row > furthest and works[column]:
                    furthest = row
                    if row - counters.rows >= outcome.window_rows:
                        outcome.window_rows = row + 1 - counters.rows
                if done & unflushed:
                    log(number)
                else:
                    ends.log_and_flush(number, t)
            if emissions or (groups is not None and groups.may_move):
                if put is not push:
                    if put is replace:
                        pop(queue)
                    spare.append(task)
                state.done, state.furthest = done, furthest
                settle(t)
                if sharing is not None:
                    sharing.resume(t)
                done, furthest, sharing = state.done, state.furthest, None
                seen, due_cells = state.rows_seen, claims.cells
                continue
            if parked and group_of[column] in parked:
                push(heads, parked.pop(group_of[column]))
            while counters.load < workers:
                if coming and coming[-1] >= 0:
                    number = coming.pop()
                    column = number // rows
                    row = number - column * rows
                else:
                    node = pick()
                    if node is None:
                        if rests and failing is not None:
                            failing.wake()
                        break
                    column, row = node
                    if column < 0:
                        if put is not push:
                            if put is replace:
                                pop(queue)
                            spare.append(task)
                            put = push
                        starts.begin_barrier(column_of(node), row, t)
                        continue
                    number = column * rows + row
                # What waited in a queue may be dropped by now.
                if given_up and cells[column][row] != ready:
                    if group_of[column] in parked:
                        push(heads, parked.pop(group_of[column]))
                    continue
                start[column](row)
                if flags[row]:
                    begun(number)
                    begun_s(t)
                join = joins[column]
                if join is not None:
                    if put is not put_again:
                        if put is push:
                            task = spare.pop() if spare else starts.new_task()
                        else:
                            pop(queue)
                        task.ends_s, request = NEVER, task.request
                        if request is None:
                            request = task.request = Request(task)
                    put = push
                    task.column, task.row, task.start_s = column, row, t
                    if not has_tokens or tokens_of[column] is None:
                        request.work = readers[column](row)
                    else:
                        request.prompt_tokens, request.work, _ = tokens_of[column](row)
                    join(request, t)
                    continue
                if not fails:
                    seconds = readers[column](row)
                else:
                    # As `Starts.look_closer`, inlined.
                    call = 1 + tried[column][row]
                    if call == 1:
                        seconds = readers[column](row)
                    else:
                        if call > MANY and failing is not None:
                            call = 1 + failing.tries.of((column, row))
                        seconds = later[column](row, call)
                        if flags[row] and (until := rested.pop((column, row), 0.0)):
                            # As `Timings.held`, inlined.
                            held_at(len(begun_cells) - 1)
                            held_s(until)
                    if seconds < 0.0 or (seconds == 0.0 and is_failing(seconds)):
                        # In place of the cell's number, that of its call.
                        number, seconds = -call, -seconds
                busy_s[column] += seconds
                if put is push:
                    task = spare.pop() if spare else starts.new_task()
                put(queue, (t + seconds, next(order), task, column, row, number))
                put = push
            if put is not push:
                if put is replace:
                    pop(queue)
                spare.append(task)
            if counters.rows != seen or done >= due_cells:
                state.done, state.furthest = done, furthest
                follow(t)
                seen, due_cells = state.rows_seen, claims.cells
            if sharing is not None:
                request = sharing.take_next(t, queue[0][0] if queue else never_s)
                if request is None:
                    sharing = None
                else:
                    next_s = sharing.counted_s
        state.done, state.furthest = done, furthest
    finally:
        if busy_bound_s:
            bound_s[binds] = busy_bound_s
        running = [item for item in queue if item[3] >= 0]
        for at_s, _, task, column, row, number in running:
            task.column, task.row, task.ends_s = column, row, at_s
            if number < 0 and failing is not None:
                task.details = failing.call(-number)
        for column, rule in enumerate(state.rules.columns):
            # Output of barriers is no call, and is counted where it is given.
            if rule.is_barrier:
                continue
            gave = open_before[column] - open_cells[column]
            if column in bare:
                # All that began have ended, once each; who ended with others is paid already.
                bare[column].pay_calls(column, gave - tally.made[column])
                tally.made[column] = outcome.calls[column] = gave
            else:
                # Cells of rows that are dropped are not open any more either.
                gave = made[column] if fails else gave
                tally.made[column] += gave
                outcome.calls[column] += gave + unmade[column] - taken_over[column]
        for item in running:
            outcome.calls[item[3]] += 1
