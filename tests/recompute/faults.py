"""Wrong definitions, planted in the code that counts: the recomputation must notice each of them.

Each is a definition that somebody could have meant, and several are ones that were printed once.
A fault changes one method for the length of a test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest

import cellspec.state.checkpoint
import sim.results
import sim.results_together
import sim.simulator.endpoint_counts
import sim.simulator.losses
import sim.simulator.simulator
import sim.simulator.table
import sim.simulator.timings
from cellspec.graph.nodes import column_of
from cellspec.machine.limits import Limits
from cellspec.state.claims import minus, prefix_of
from cellspec.state.codes import READY
from sim.endpoints.client import Client
from sim.endpoints.throttle import Throttle
from sim.simulator.consequences import Consequences
from sim.simulator.ending import Ends
from sim.simulator.endpoint_counts import EndpointCounts, parts_s
from sim.simulator.failing import Failing
from sim.simulator.ready_times import ReadyTimes
from sim.simulator.routes import EndpointRoute
from sim.simulator.row_times import RowTimes
from sim.simulator.run_state import RunState
from sim.simulator.simulator import Simulator
from sim.simulator.tally import Tally
from sim.simulator.timings import Timings

__all__ = ["FAULTS", "Fault"]


class Fault(NamedTuple):
    """A wrong definition.

    Attributes:
        says: the definition.
        figure: one that it falsifies, as a difference names it, without positions.
        plant: puts it into the code.
    """

    says: str
    figure: str
    plant: Callable[[pytest.MonkeyPatch], None]


FAULTS: list[Fault] = []


def _fault(says: str, figure: str) -> Callable[[Callable[[pytest.MonkeyPatch], None]], None]:
    return lambda plant: FAULTS.append(Fault(says, figure, plant))


def _after(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, then: Callable[..., object]
) -> None:
    """Let ``then(self, *arguments)`` follow each call of a method."""
    method = getattr(owner, name)

    def both(self: Any, *arguments: Any, **named: Any) -> Any:
        found = method(self, *arguments, **named)
        then(self, *arguments)
        return found

    monkeypatch.setattr(owner, name, both)


def _instead(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, other: Callable[..., Any]
) -> None:
    """Let ``other(method, self, *arguments)`` stand for a method."""
    method = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda self, *arguments: other(method, self, *arguments))


def _after_table(monkeypatch: pytest.MonkeyPatch, then: Callable[[RunState], object]) -> None:
    """Let `then` follow the count of the finished table."""
    add_up = sim.simulator.table.add_up

    def both(state: RunState, *arguments: Any) -> None:
        add_up(state, *arguments)
        then(state)

    monkeypatch.setattr(sim.simulator.simulator, "add_up", both)


# Endpoints


@_fault("calls in an endpoint's queue are not in flight there", "by_endpoint.mean_in_flight")
def _queue_not_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    def then(_: Any, outcome: Any) -> None:
        for item in outcome.endpoints:
            item.call_s -= sum(parts[2] for parts in item.parts_s.values())

    _after(monkeypatch, EndpointRoute, "add_up", then)


@_fault("a call that was refused is in the client's line again", "call_times.refused_s")
def _refused_in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def parts(request: Any, t: float) -> tuple[float, ...]:
        line_s, refused_s, *rest = parts_s(request, t)
        return (line_s + refused_s, 0.0, *rest)

    monkeypatch.setattr(sim.simulator.endpoint_counts, "parts_s", parts)


@_fault("what is cut off costs nothing", "cost")
def _cut_off_free(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(method: Any, counts: Any, request: Any, column: int, t: float) -> None:  # noqa: ARG001
        counts.parts_s.setdefault(column, [0.0] * 5)
        for place, seconds in enumerate(parts_s(request, t)):
            counts.parts_s[column][place] += seconds

    _instead(monkeypatch, EndpointCounts, "cut_off", cut_off)


@_fault("a call whose answer is an error is paid for its values", "bill.cause")
def _errors_first(monkeypatch: pytest.MonkeyPatch) -> None:
    method = EndpointCounts.pay

    def pay(counts: Any, *arguments: Any, **_: Any) -> None:
        method(counts, *arguments, gives=True)

    monkeypatch.setattr(EndpointCounts, "pay", pay)


@_fault("the limit of a throttle counts from its first change on", "by_endpoint.mean_limit")
def _limit_from_change(monkeypatch: pytest.MonkeyPatch) -> None:
    def move(method: Any, throttle: Any, limit: int, t: float) -> None:
        method(throttle, limit, t)
        if throttle.cuts == 1:
            throttle._limit_s = 0.0

    _instead(monkeypatch, Throttle, "_move", move)


@_fault("workers that are all busy hold a run up, whatever they wait for", "binding.binding")
def _workers_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def holds_up(method: Any, route: Any) -> str:
        name: str = method(route)
        return "workers" if name.startswith("endpoint") else name

    _instead(monkeypatch, EndpointRoute, "holds_up", holds_up)


@_fault("a call that a refusal lets wait waits for the throttle", "binding.binding")
def _throttle_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def waits_for(method: Any, client: Client, t: float) -> str | None:
        return "" if client.waiting else method(client, t)

    _instead(monkeypatch, Client, "waits_for", waits_for)


@_fault("a call is busy once, whatever places it takes", "by_resource.busy_s")
def _one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def places_of(method: Any, limits: Limits, column: str) -> dict[str, int]:
        return dict.fromkeys(method(limits, column), 1)

    summarise = sim.results.summarise

    def wrong(*arguments: Any, **named: Any) -> Any:
        with monkeypatch.context() as inner:
            _instead(inner, Limits, "places_of", places_of)
            return summarise(*arguments, **named)

    monkeypatch.setattr(sim.results_together, "summarise", wrong)


# Rows and cells


@_fault("dropped rows are delivered", "rows_delivered")
def _dropped_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    _after_table(
        monkeypatch, lambda state: setattr(state.outcome, "delivered", min(state.machine.durable))
    )


@_fault("throughput counts all rows of the dataset", "rows_per_s")
def _all_rows_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    summarise = sim.results.summarise

    def wrong(scenario: Any, outcome: Any, *, checked: bool) -> Any:
        found = summarise(scenario, outcome, checked=checked)
        rate = found.rows / found.makespan_s if found.makespan_s else None
        return replace(found, rows_per_s=rate)

    monkeypatch.setattr(sim.results_together, "summarise", wrong)


@_fault("skipped cells are made", "cells_made")
def _skipped_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def then(state: RunState) -> None:
        state.outcome.made = state.outcome.delivered * state.graph.num_columns

    _after_table(monkeypatch, then)


@_fault("a row is tried when it is finished", "rows_tried")
def _finished_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tally, "rows_tried", lambda self: self._state.machine.completed_rows)


@_fault("the value of a row that was dropped meanwhile is done", "cells_done")
def _late_value_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def then(ends: Any, column: int, _: int) -> None:
        ends._tally.made[column] += 1

    _after(monkeypatch, Ends, "end_unwanted", then)


@_fault("the first row is complete when some incarnation first completes it", "first_row_s")
def _first_row_of_any_incarnation(monkeypatch: pytest.MonkeyPatch) -> None:
    def instead(begin: Callable[[Any, float], None], simulator: Any, start_s: float) -> None:
        before_s = simulator.outcome.first_row_s
        begin(simulator, start_s)
        simulator.outcome.first_row_s = min(before_s, simulator.outcome.first_row_s)

    _instead(monkeypatch, Simulator, "begin", instead)


@_fault("the first row that is finished is the first one, also if it was dropped", "first_row_s")
def _dropped_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tally, "has_live_row", lambda _, rows: rows > 0)


@_fault("the window is that of all columns", "window_rows")
def _window_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def then(state: Any, *_: Any) -> None:
        state.works = [True] * state.graph.num_columns

    _after(monkeypatch, RunState, "__init__", then)


@_fault("a row is as old as its first start, of whatever column", "row_age_p50_s")
def _age_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def then(timings: Any, *_: Any) -> None:
        timings._works = [True] * len(timings._works)

    _after(monkeypatch, Timings, "__init__", then)


@_fault("dropped rows have an age", "row_age_p99_s")
def _age_of_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    _instead(monkeypatch, Timings, "ages", lambda method, self, rows, _: method(self, rows, ()))


@_fault("drops of earlier incarnations are drops", "failures.rows_dropped")
def _old_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    def instead(method: Any, tally: Any) -> None:
        before = [list(rows) for rows in tally._blamed]
        method(tally)
        for blamed, rows in zip(tally._blamed, before, strict=True):
            for row in rows:
                blamed.add(row)

    _instead(monkeypatch, Tally, "resumed", instead)


@_fault("skips are summed over the incarnations", "failures.skipped")
def _all_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    def count(consequences: Any, column: int, _: int) -> None:
        tally = consequences._tally
        tally.__dict__.setdefault("_all", [0] * len(tally.made))[column] += 1

    def then(tally: Any) -> None:
        outcome = tally._state.outcome
        outcome.skipped = tally.__dict__.get("_all", outcome.skipped)

    _after(monkeypatch, Consequences, "skip", count)
    _after(monkeypatch, Tally, "count_table", then)


@_fault("a claim keeps no value behind its first gap", "cells_done_again")
def _lost_behind_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(rows: Any, others: Any) -> Any:
        return minus(rows, prefix_of(others))

    monkeypatch.setattr(sim.simulator.losses, "minus", wrong)


# Time


@_fault("makespan leaves restarts out", "makespan_s")
def _no_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    def instead(method: Any, simulator: Any) -> Any:
        outcome = method(simulator)
        outcome.makespan_s = sum(
            incarnation.end_s - incarnation.start_s for incarnation in outcome.incarnations
        )
        return outcome

    _instead(monkeypatch, Simulator, "run", instead)


@_fault("utilisation is that of the time in which a process lived", "worker_utilisation")
def _utilisation_of_incarnations(monkeypatch: pytest.MonkeyPatch) -> None:
    summarise = sim.results.summarise

    def wrong(scenario: Any, outcome: Any, *, checked: bool) -> Any:
        found = summarise(scenario, outcome, checked=checked)
        lived = sum(incarnation.end_s - incarnation.start_s for incarnation in found.incarnations)
        share = found.worker_busy_s / (found.workers * lived) if lived else None
        return replace(found, worker_utilisation=share)

    monkeypatch.setattr(sim.results_together, "summarise", wrong)


@_fault("utilisation is that of the workers, also for a resource", "by_resource.utilisation")
def _utilisation_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    summarise = sim.results.summarise

    def wrong(scenario: Any, outcome: Any, *, checked: bool) -> Any:
        found = summarise(scenario, outcome, checked=checked)
        items = tuple(
            replace(item, utilisation=item.utilisation and found.worker_utilisation)
            for item in found.by_resource
        )
        return replace(found, by_resource=items)

    monkeypatch.setattr(sim.results_together, "summarise", wrong)


@_fault("a call is busy in full, though its incarnation ends before it", "worker_busy_s")
def _busy_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    def instead(method: Any, state: Any) -> None:
        before = list(state.outcome.busy_s)
        method(state)
        state.outcome.busy_s[:] = before

    _instead(monkeypatch, RunState, "stop_tasks", instead)


@_fault("a range that fails half-way is busy in full", "by_column.busy_s")
def _range_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    def then(failing: Any, key: Any, details: Any, t: float) -> None:
        left = max(0.0, details.start_s + details.seconds - t)
        failing._state.outcome.busy_s[column_of(key)] += left

    _after(monkeypatch, Failing, "fail", then)


@_fault("only the first attempt of a node is a call", "by_column.calls")
def _no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    add_up = sim.simulator.table.add_up

    def instead(state: Any, *others: Any) -> None:
        add_up(state, *others)
        for column, failed in enumerate(state.outcome.failures):
            state.outcome.calls[column] -= failed.get("retryable", 0)

    monkeypatch.setattr(sim.simulator.simulator, "add_up", instead)


# Crashes


@_fault("a crash loses nothing of what is in flight", "busy_lost_s")
def _in_flight_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim.simulator.simulator, "lost_in_flight_s", lambda *_: 0.0)


@_fault("a crash loses no run of a barrier", "incarnations.busy_lost_s")
def _barriers_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim.simulator.simulator, "lost_barriers_s", lambda *_: 0.0)


@_fault("whatever is not claimed is done again, skipped and dropped cells too", "cells_done_again")
def _open_cells_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def instead(method: Any, simulator: Any, incarnation: Any, t: float) -> None:
        before = sum(simulator.machine.counters.open_cells)
        method(simulator, incarnation, t)
        incarnation.cells_lost = sum(simulator.machine.counters.open_cells) - before

    _instead(monkeypatch, Simulator, "_resume", instead)


@_fault("a payload is as long as one of version 1", "checkpoint_bytes")
def _first_version(monkeypatch: pytest.MonkeyPatch) -> None:
    make = cellspec.state.checkpoint.make_payload
    monkeypatch.setattr(
        sim.simulator.simulator,
        "make_payload",
        lambda graph, claim, version: make(graph, claim, 1),  # noqa: ARG005
    )


# Waits


@_fault("a wait goes on during a backoff", "by_resource.wait_s")
def _backoffs_are_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReadyTimes, "rests", lambda *_: None)


@_fault("what never started waited to the end of its incarnation", "by_resource.wait_calls")
def _never_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def instead(end: Callable[[Any], Any], simulator: Any) -> Any:
        state, timings = simulator.state, simulator.state.timings
        columns, now = state.graph.num_columns, state.env.now
        for column in range(columns):
            for row in range(state.graph.num_records):
                if state.machine.counters.cells[column][row] == READY:
                    timings.begun.append(row * columns + column)
                    timings.begun_s.append(now)
        return end(simulator)

    _instead(monkeypatch, Simulator, "end", instead)


# The time of rows


@_fault("a row waits at a barrier until the last row is there", "row_time.mean_s")
def _barrier_until_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    def divide(method: Any, times: Any, span: Any, column: int, places: Any) -> None:
        if times._columns[column].is_barrier:
            # Until the last row of all is there, whatever its scope.
            (need, *_) = times._columns[column].needs or (column,)
            span.take("waiting", span.end_s * 0 + max(times._ends[need]))
        method(times, span, column, places)

    _instead(monkeypatch, RowTimes, "_divide", divide)


@_fault("what a crash took is waiting", "row_time.part")
def _redone_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    _instead(monkeypatch, RowTimes, "resumed", lambda *_: None)


@_fault("a cell waits for the first of those that it needs", "row_time.mean_s")
def _first_need(monkeypatch: pytest.MonkeyPatch) -> None:
    def parts_s(method: Any, times: Any, places: Any, first_s: Any) -> Any:
        rules = times._columns
        times._columns = [replace(rule, needs=rule.needs[:1]) for rule in rules]
        return method(times, places, first_s)

    _instead(monkeypatch, RowTimes, "parts_s", parts_s)


@_fault("a call is what its last attempt and all before it took", "by_column.call_p99_s")
def _all_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    def call_s(method: Any, times: Any, column: int, places: Any) -> Any:
        if "try" in times._moments:
            starts = times._moments["start"]
            times._moments["start"] = np.minimum(starts, times._moments["try"])
        return method(times, column, places)

    _instead(monkeypatch, RowTimes, "call_s", call_s)


@_fault("the time after an outage that took a call is the outage's", "row_time.mean_s")
def _outage_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    def went(method: Any, times: Any, column: int, start: int, stop: int, request: Any) -> None:
        first_s = request.first_sent_s
        entered_s, request.entered_s = request.entered_s, max(request.entered_s, request.sent_s)
        method(times, column, start, stop, request)
        request.entered_s, request.first_sent_s = entered_s, first_s

    _instead(monkeypatch, RowTimes, "went", went)


@_fault("a percentile is the value after the one at its place", "by_resource.wait_p50_s")
def _percentile_after(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(percent: int, count: int) -> int:
        return min(percent * count // 100, count - 1)

    monkeypatch.setattr(sim.simulator.timings, "place_of", wrong)


@_fault(
    "a start on the boundary of two quarters is in the earlier one", "by_resource.mean_wait_q1_s"
)
def _earlier_quarter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim.simulator.timings, "BOUNDARY", "left")
