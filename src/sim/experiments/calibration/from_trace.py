"""The record of a run from its trace, whichever engine wrote it.

One pass over the events. Beside the calls it works out since when each could have started: from the
moment at which its inputs are resolved, its row is admitted, its backoff is over, and a place of
its resource and a worker are free. What an engine lets pass from then on is its own time
(`sim.experiments.calibration.overhead`).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellspec.errors import SpecError
from cellspec.graph.rules import ColumnRule
from cellspec.text import counted
from cellspec.trace import Event, Header, TraceReader, graph_of, limits_of
from sim.experiments.calibration.record import Call, Ending, Record

__all__ = ["read_trace"]

_ENDINGS: dict[str, Ending] = {
    "retryable": "retryable",
    "backpressure": "back_pressure",
    "permanent": "permanent",
    "timeout": "timeout",
}


def read_trace(path: str | Path) -> Record:
    """The record of the run that a trace shows.

    Args:
        path: the trace, perhaps compressed.

    Raises:
        TraceError: it cannot be read.
        SpecError: no call of it has ended.
    """
    with TraceReader(path) as reader:
        replay = _Replay(reader.header, str(path))
        for event in reader:
            replay.take(event)
    if not replay.calls:
        raise SpecError(f"{path}: no call of this run has ended: there is nothing to fit")
    return replay.record()


@dataclass(slots=True)
class _Open:
    """A call in flight."""

    start_s: float
    number: int
    ready_s: float
    free_s: float
    before_s: tuple[float, float]
    column: int
    reads: int
    rows: int = 1
    refused: bool = False
    entered_s: float = math.nan
    answered_s: float = math.nan
    tokens: tuple[float | None, float | None] = (None, None)


class _Replay:
    """The state of a run as far as its events have come."""

    def __init__(self, header: Header, source: str) -> None:
        self.header = header
        graph, limits = graph_of(header, source), limits_of(header, source)
        self.rules, self.limits = graph.rules, limits
        self.calls: list[Call] = []
        self._open: dict[tuple[int, int], _Open] = {}
        self._resolved = [[math.inf] * graph.num_records for _ in graph.column_names]
        self._skips: set[tuple[int, int]] = set()
        self._skipped: dict[str, int] = {}
        self._failed: dict[tuple[int, int], tuple[Call, float]] = {}
        self._failures: dict[tuple[int, int], int] = {}
        self._dropped: set[int] = set()
        self._admitted: dict[int, float] = {}
        self._places = {
            name: deque([0.0] * count) for name, count in limits.resources.items() if count < 10**6
        }
        self._workers = deque([0.0] * (limits.workers or 0)) if self._few_workers() else None
        self._begin_s, self._first_s = 0.0, math.nan
        self._before_s = (0.0, 0.0)
        self._writes: list[float] = []
        self._write_s = math.nan
        self._ranges: dict[str, int] = {}
        self._outcome, self._last_s = "", 0.0
        self._crashes = self._cut = self._rejected = 0

    def _few_workers(self) -> bool:
        workers = self.limits.workers
        return workers is not None and workers < 10**6

    def take(self, event: Event) -> None:
        """The next event."""
        if math.isnan(self._first_s):
            # What the engine did before is not of the run.
            self._first_s = self._begin_s = event.t
            self._before_s = (event.t, event.t)
        self._last_s = event.t
        handler = getattr(self, f"_on_{event.event}", None)
        if handler is not None:
            handler(event)

    # Calls

    def _nodes(self, event: Event) -> Iterator[tuple[int, int, int]]:
        """Of each call that an event names: its column, its first row or ~scope, and its rows."""
        column = self.rules.index[event.column or ""]
        if event.scope is not None:
            yield column, ~event.scope, 1
            return
        start, stop = _span(event)
        if self.rules.columns[column].streamable:
            yield column, start, stop - start
        else:
            for row in range(start, stop):
                yield column, row, 1

    def _on_start(self, event: Event) -> None:
        for column, place, rows in self._nodes(event):
            rule = self.rules.columns[column]
            ready_s = self._ready_s(rule, place, rows)
            free_s = max(ready_s, self._take_places(rule.name, event.t))
            reads = sum(stop - start for start, stop in event.reads or ())
            number, before_s = self._failures.get((column, place), 0) + 1, self._before_s
            made = _Open(event.t, number, ready_s, free_s, before_s, column, reads, rows)
            for row in range(place, place + rows):
                self._open[column, row] = made
            if rows > 1:
                self._ranges[rule.name] = max(rows, self._ranges.get(rule.name, 1))
            self._before_s = (event.t, self._before_s[0])

    def _ready_s(self, rule: ColumnRule, place: int, rows: int) -> float:
        """When the inputs of a call were there."""
        found = self._begin_s
        if place < 0:
            start, stop = self.rules.scope_bounds(rule.index, ~place)
        else:
            start, stop = place, place + rows
        live = [row for row in range(start, stop) if row not in self._dropped]
        for need in rule.needs:
            times = (self._resolved[need][row] for row in live)
            found = max(found, max((t for t in times if t < math.inf), default=0.0))
        if rule.ordered and place > 0:
            before = self._resolved[rule.index][place - 1]
            found = max(found, before if before < math.inf else 0.0)
        if self.limits.group_rows is not None and place >= 0:
            found = max(found, self._admitted.get(place // self.limits.group_rows, 0.0))
        call, until = self._failed.pop((rule.index, place), (None, math.nan))
        if call is not None:
            found = max(found, call.end_s if math.isnan(until) else until)
        return found

    def _take_places(self, column: str, t: float) -> float:
        """Take the places of a call; gives the time since which they were free."""
        found = 0.0
        queues = [
            (self._places[name], count)
            for name, count in self.limits.places_of(column).items()
            if name in self._places
        ]
        if self._workers is not None:
            queues.append((self._workers, 1))
        for queue, count in queues:
            for _ in range(count):
                found = max(found, queue.popleft() if queue else t)
        return found

    def _give_places(self, column: str, t: float) -> None:
        for name, count in self.limits.places_of(column).items():
            if name in self._places:
                self._places[name].extend([t] * count)
        if self._workers is not None:
            self._workers.append(t)

    def _end(self, event: Event, *, counts: bool = True) -> None:
        """A call has ended, well or not."""
        for column, place, rows in self._nodes(event):
            done = self._open.pop((column, place), None)
            if done is None:
                continue
            name = self.rules.columns[column].name
            if counts:
                self._add(event, done, column, place)
            for row in range(place + 1, place + rows):
                self._open.pop((column, row), None)
            ended = event.event != "complete"
            done.rows -= rows
            if ended and done.rows > 0:
                for key in [key for key, one in self._open.items() if one is done]:
                    del self._open[key]
            if ended or done.rows <= 0:
                self._give_places(name, event.t)
            else:
                done.start_s = event.t

    def _add(self, event: Event, done: _Open, column: int, place: int) -> None:
        failure = None if event.failure is None else _ENDINGS[event.failure]
        call = Call(
            self.rules.columns[column].name,
            done.start_s,
            event.t,
            failure,
            done.number,
            place if place >= 0 else ~place,
            done.ready_s,
            done.free_s,
            done.before_s,
            None if math.isnan(done.entered_s) else (done.entered_s, done.answered_s),
            done.reads,
            refused=done.refused,
            tokens=done.tokens,
        )
        self.calls.append(call)
        if failure is not None:
            until = math.nan if event.until is None else event.until
            call.retry_s = None if event.until is None else max(0.0, event.until - event.t)
            self._failed[column, place] = call, until
            self._failures[column, place] = call.number

    def _on_complete(self, event: Event) -> None:
        self._end(event)
        if event.rejected:
            self._rejected += sum(stop - start for start, stop in event.rejected)
        if event.scope is None:
            self._resolve(event)

    def _on_emit(self, event: Event) -> None:
        self._resolve(event)

    def _on_fail(self, event: Event) -> None:
        self._end(event)

    def _on_cancel(self, event: Event) -> None:
        self._cut += 1
        self._end(event, counts=False)

    _on_take_back = _on_cancel

    def _on_request(self, event: Event) -> None:
        step = event.request
        assert step is not None
        column = self.rules.index[event.column or ""]
        place = ~event.scope if event.scope is not None else _span(event)[0]
        found = self._open.get((column, place))
        if found is None:
            return
        if step.step == "entered":
            found.entered_s = event.t
        elif step.step == "answered":
            found.answered_s = event.t
        elif step.step == "refused":
            found.refused = True
        elif step.step == "sent" and step.prompt_tokens is not None:
            found.tokens = step.prompt_tokens, step.output_tokens

    # Rows

    def _resolve(self, event: Event) -> None:
        column = self.rules.index[event.column or ""]
        times = self._resolved[column]
        start, stop = _span(event)
        times[start:stop] = [event.t] * (stop - start)

    def _on_skip(self, event: Event) -> None:
        self._resolve(event)
        rule = self.rules.columns[self.rules.index[event.column or ""]]
        for row in range(*_span(event)):
            self._skips.add((rule.index, row))
            by_input = any((need, row) in self._skips for need in rule.needs)
            if rule.may_skip and not (rule.propagates and by_input):
                self._skipped[rule.name] = self._skipped.get(rule.name, 0) + 1

    def _on_drop(self, event: Event) -> None:
        self._dropped.update(range(*_span(event)))

    def _on_admit(self, event: Event) -> None:
        start, stop = _span(event)
        size = self.limits.group_rows or 1
        for group in range(start // size, -(-stop // size)):
            self._admitted[group] = event.t

    # The run

    def _on_checkpoint_begin(self, event: Event) -> None:
        self._write_s = event.t

    def _on_checkpoint_durable(self, event: Event) -> None:
        self._writes.append(event.t - self._write_s)

    def _on_crash(self, event: Event) -> None:
        # What a checkpoint holds from before the run is no crash of it.
        if event.reason != "start_from":
            self._crashes += 1
        self._cut += len(set(map(id, self._open.values())))

    def _on_resume(self, event: Event) -> None:
        self._open.clear()
        self._failed.clear()
        self._failures.clear()
        self._begin_s = event.t
        self._before_s = (event.t, event.t)
        for times in self._resolved:
            # The next process may read another clock.
            times[:] = [event.t if t < math.inf else t for t in times]
        for name, queue in self._places.items():
            queue.clear()
            queue.extend([event.t] * self.limits.resources[name])
        if self._workers is not None:
            self._workers = deque([event.t] * (self.limits.workers or 0))

    def _on_end(self, event: Event) -> None:
        self._outcome = event.outcome or ""

    # What comes of it

    def record(self) -> Record:
        """The record, when the last event has been taken."""
        header = self.header
        found = Record(
            "trace",
            f"{header.engine.name} {header.engine.version}".strip(),
            self.calls,
            self._scenario(),
            dict(self.limits.column_resource),
            skipped=self._skip_counts(),
        )
        if self._crashes:
            words = counted(self._crashes, "crash", "crashes")
            found.left_out.append(
                f"{words}: the scenario has none; say them under crashes. The makespan holds what "
                "they cost, and is not compared"
            )
            found.no_makespan = f"it holds what {words} cost, and the scenario has none"
        else:
            found.makespan_s = self._last_s - self._first_s
        if self._outcome == "success":
            found.rows = header.graph.rows - len(self._dropped)
        else:
            how = f"ended as {self._outcome}" if self._outcome else "has no end"
            found.lacks.append(f"the run {how}: its makespan is not that of all rows")
            found.makespan_s = None
            found.no_makespan = found.no_makespan or f"the run {how}"
        if self._rejected:
            words = counted(self._rejected, "row")
            found.left_out.append(f"{words} that an answer rejected: say them under accept")
        if self._writes and "checkpoint" not in found.scenario:
            words = counted(len(self._writes), "checkpoint")
            found.left_out.append(
                f"{words}: the header does not say when one is due; say it under checkpoint"
            )
        if self._cut:
            words = counted(self._cut, "call")
            found.left_out.append(f"{words} cut off, whose length nobody knows")
        self._take_endpoints(found)
        return found

    def _take_endpoints(self, found: Record) -> None:
        """Take the endpoints that the header describes, where the calls' tokens are known."""
        given = self.header.endpoints or {}
        by_resource: dict[str, list[Call]] = {}
        for call in found.calls:
            by_resource.setdefault(found.resources.get(call.column, ""), []).append(call)
        described = {
            name: dict(words)
            for name, words in given.items()
            if "tpot_s" in words
            and "shared_with" not in words
            and all(None not in call.tokens for call in by_resource.get(name, ()))
        }
        throttles = {
            name: words.pop("throttle") for name, words in described.items() if "throttle" in words
        }
        for words in described.values():
            words["tpot_s"] = {int(calls): each for calls, each in words["tpot_s"].items()}
        if described:
            found.described = frozenset(described)
            found.scenario["endpoints"] = described
        if throttles:
            found.scenario["throttle"] = throttles
        for call in found.calls:
            call.refused &= found.resources.get(call.column, "") in described
        tokens = any(
            None not in call.tokens and name not in described
            for name, calls in by_resource.items()
            for call in calls
        )
        if given.keys() - described.keys() or tokens:
            found.left_out.append(
                "the speed of endpoints by calls in flight, their lines and their limits: a "
                "call's seconds are those at the load of this run; say them under endpoints"
            )

    def _skip_counts(self) -> dict[str, tuple[int, int]]:
        made: dict[str, int] = {}
        for call in self.calls:
            if call.failure is None:
                made[call.column] = made.get(call.column, 0) + 1
        return {name: (own, own + made.get(name, 0)) for name, own in self._skipped.items()}

    def _scenario(self) -> dict[str, Any]:
        """The fields of the scenario that the header gives."""
        graph = self.header.graph
        data: dict[str, Any] = {
            "name": self.header.engine.name,
            "rows": graph.rows,
            "columns": [self._column(item) for item in graph.columns],
            "limits": self._limits(),
        }
        if graph.batch_size is not None:
            data["batch_size"] = graph.batch_size
        if graph.barrier_scope != "declared":
            data["barrier_scope"] = graph.barrier_scope
        saving, version = self.header.saving, self.header.claim_version
        if saving is not None and self._writes and version:
            write_s = math.fsum(self._writes) / len(self._writes)
            due = {"every_rows": saving.rows} if saving.rows else {"every_s": saving.seconds}
            if saving.rows or saving.seconds:
                data["checkpoint"] = {**due, "version": version, "write_s": write_s}
        rules = self.header.failures
        if any(call.failure is not None for call in self.calls):
            data["failures"] = {"max_attempts": rules.max_attempts}
            if rules.stop_window is not None:
                stop = {"window": rules.stop_window, "rate": rules.stop_rate}
                data["failures"]["early_stop"] = stop
        return data

    def _column(self, item: Any) -> dict[str, Any]:
        found: dict[str, Any] = {"name": item.name, "traits": list(item.traits)}
        if item.needs:
            found["dependencies"] = list(item.needs)
        if item.side_effects:
            found["side_effects"] = list(item.side_effects)
        if not item.propagate_skip:
            found["propagate_skip"] = False
        places = dict(self.limits.places_of(item.name))
        if list(places.values()) == [1]:
            found["resource"] = next(iter(places))
        elif places:
            found["resources"] = places
        if item.name in self._ranges:
            found["range_rows"] = self._ranges[item.name]
        return found

    def _limits(self) -> dict[str, Any]:
        limits, graph = self.limits, self.header.graph
        # Without a limit of workers none must hold a call up.
        found: dict[str, Any] = {"workers": limits.workers or graph.rows * len(graph.columns)}
        if limits.resources:
            found["resources"] = dict(limits.resources)
        if limits.group_rows is not None:
            found["row_groups"] = {"rows": limits.group_rows}
            if limits.groups is not None:
                found["row_groups"]["admitted"] = limits.groups
        return found


def _span(event: Event) -> tuple[int, int]:
    rows = event.rows
    assert rows is not None
    return (rows, rows + 1) if isinstance(rows, int) else (rows[0], rows[1])
