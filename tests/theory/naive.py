"""A naive simulator of pipelines on endpoints, written from the conventions of the cases alone.

It shares no code with the simulator that it judges. Nothing here is fast: at each event every call
that runs is advanced by the time that has passed. A scenario is the data of a file, whose latencies
are constant or listed by row, so that nothing is drawn. What happens at one instant happens in
the order in which it was set up; calls that an endpoint ends go first.

It knows columns made cell by cell, three policies, workers and resources, row groups, endpoints
(speed by load, prefill, lines, room, limits, refusals, weather, cold start), throttles, time-outs
of calls, and the scheduler's own time.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Call", "Naive", "Run", "TooOften", "simulate"]

Data = Mapping[str, Any]
Ready = tuple[tuple[int, ...], str, int]
"""A cell that could start: its place in the order of the policy, its column, its row."""
EPSILON = 1e-9
"""What lacks less than this share of a bucket lacks nothing."""
TOGETHER_S = 1e-10
"""Calls whose ends are nearer than this end at one instant."""
BLURRED_S = 1e-7
"""Times nearer than this may change places, to see whether their order matters."""


@dataclass(eq=False, slots=True)
class Call:
    """One call of a run, with the times of what happened to it in seconds.

    Attributes:
        work: tokens, or seconds at full speed.
        left: of its work.
        limit_then: the limit of the throttle when it last went out.
        failed_s: when it timed out; it has no end then, and its cell gets another call.
        refused_s: when its client heard of each refusal; `waits_s`: the Retry-After of each.
    """

    column: str
    row: int
    prompt: float
    output: float
    most_output: float
    work: float
    left: float
    start_s: float = math.nan
    sent_s: float = math.nan
    serving_s: float = math.nan
    decoding_s: float = math.nan
    end_s: float = math.nan
    limit_then: int = 0
    sent: int = 0
    failed_s: float = math.nan
    refused_s: list[float] = field(default_factory=list)
    waits_s: list[float | None] = field(default_factory=list)

    @property
    def reserved(self) -> float:
        """Tokens of its prompt and of the longest answer that it may get."""
        return self.prompt + self.most_output


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a run.

    Attributes:
        calls: the one of each cell that ended.
        mean_limit: by resource that has a throttle.
        earlier: by cell, its calls that timed out.
    """

    calls: list[Call]
    makespan_s: float
    mean_limit: dict[str, float]
    earlier: dict[tuple[str, int], list[Call]] = field(default_factory=dict)

    @property
    def refused(self) -> int:
        return sum(len(call.refused_s) for call in self.calls)

    @property
    def refused_share(self) -> float:
        return self.refused / sum(call.sent for call in self.calls)

    @property
    def mean_call_s_end(self) -> float:
        return sum(call.end_s for call in self.calls) / len(self.calls)

    @property
    def rows_per_s(self) -> float:
        return len({call.row for call in self.calls}) / self.makespan_s

    def cost(self, price: Data) -> float:
        """Money for the tokens of all calls."""
        prompt = sum(call.prompt for call in self.calls) * price["prompt_per_million"]
        output = sum(call.output for call in self.calls) * price["output_per_million"]
        return float(prompt + output) / 1e6


class TooOften(Exception):  # noqa: N818 - the end of a run that this program does not know
    """A cell has had all its attempts; what becomes of its row is not simulated here."""


class Clock:
    """Time, and what is to be done later: of one instant, what was set up first goes first.

    If it is `blurred`, times that but for `BLURRED_S` are one instant are one; if it is
    `last_first`, what was set up last goes first.
    """

    def __init__(self, *, blurred: bool, last_first: bool) -> None:
        self.now = 0.0
        self._blurred = blurred
        self._order = itertools.count(0, -1 if last_first else 1)
        self._due: list[tuple[float, int, float, Callable[[], None]]] = []

    def at(self, t: float, action: Callable[[], None]) -> None:
        place = round(t / BLURRED_S) if self._blurred else t
        heapq.heappush(self._due, (place, next(self._order), t, action))

    def next_s(self) -> float:
        return max(self.now, self._due[0][2]) if self._due else math.inf

    def pop(self) -> Callable[[], None]:
        return heapq.heappop(self._due)[3]


class Limit:
    """A provider's limit: a bucket that refills all the time, or a quota for each window."""

    def __init__(self, data: Data) -> None:
        self.tokens = "tokens" in data
        self.limit = float(data["tokens"] if self.tokens else data["requests"])
        self.per_s = float(data["per_s"])
        self.fixed = data.get("window") == "fixed"
        self.full = self.limit if self.fixed else float(data.get("burst") or self.limit)
        self.reserves = data.get("charge", "reserved") == "reserved"
        self.gives_back = self.tokens and self.reserves and bool(data.get("give_back"))
        self.level, self.seen_s = self.full, 0.0

    def look(self, now: float) -> None:
        """Refill for the time since it was last looked at."""
        if self.fixed:
            if self.window(now) > self.window(self.seen_s):
                self.level = self.full
        else:
            gained = (now - self.seen_s) * self.limit / self.per_s
            self.level = min(self.full, self.level + gained)
        self.seen_s = now

    def window(self, t: float) -> int:
        """The number of the window at a time; a boundary, but for rounding, is in the new one."""
        return math.floor(t / self.per_s + EPSILON)

    def price(self, call: Call) -> float:
        if not self.tokens:
            return 1.0
        return call.reserved if self.reserves else call.prompt + call.output

    def wait_s(self, call: Call, now: float) -> float:
        """Retry-After; 0 if the call may pass."""
        self.look(now)
        lacks = self.price(call) - self.level
        if lacks <= EPSILON * self.full:
            return 0.0
        if self.fixed:
            return (self.window(now) + 1) * self.per_s - now
        return lacks * self.per_s / self.limit

    def ended(self, call: Call, now: float) -> None:
        if self.gives_back:
            self.look(now)
            self.level = min(self.full, self.level + call.most_output - call.output)


def seconds_per_unit(data: Data, calls: int) -> float:
    """Of one call, while `calls` run."""
    if "tpot_s" in data:
        points = sorted((int(n), float(s)) for n, s in data["tpot_s"].items())
    elif "work" not in data:
        return 1.0
    elif "full_speed" in data["work"]:
        return max(1.0, calls / float(data["work"]["full_speed"]))
    else:
        points = sorted((int(n), 1.0 / float(speed)) for n, speed in data["work"].items())
    before = max((p for p in points if p[0] <= calls), default=points[0])
    after = min((p for p in points if p[0] >= calls), default=None)
    if after is None:
        if data.get("beyond") == "line" and len(points) > 1:
            (n, low), (m, high) = points[-2:]
            return high + (high - low) / (m - n) * (calls - m)
        return points[-1][1]
    if after[0] == before[0] or calls < points[0][0]:
        return after[1]
    share = (calls - before[0]) / (after[0] - before[0])
    return before[1] + share * (after[1] - before[1])


class Server:
    """The endpoint behind a resource; `ended` and `lost` are told of calls that leave it."""

    def __init__(self, data: Data, clock: Clock) -> None:
        self.data, self.clock = data, clock
        self.limits = [Limit(one) for one in data.get("limits", ())]
        self.line: deque[Call] = deque()
        self.prefills: deque[Call] = deque()
        self.prefill_left_s = 0.0
        self.decoding: list[Call] = []
        self.served = 0
        self.room = float(data.get("kv_tokens", math.inf))
        self.warm_s = math.inf if "cold_start" in data else 0.0
        self.ended: Callable[[Call], None] = lambda _: None
        self.lost: Callable[[Call], None] = lambda _: None
        for outage in data.get("outages", ()):
            if outage["running"] == "fail":
                clock.at(outage["from_s"], self._lose_all)
            else:
                clock.at(outage["from_s"], lambda: None)
            clock.at(outage["to_s"], lambda: None)
        for pause in data.get("pauses", ()):
            # So that no step of time goes over a boundary.
            clock.at(pause["from_s"], lambda: None)
            clock.at(pause["to_s"], lambda: None)

    # What comes

    def offer(self, call: Call) -> tuple[bool, float | None]:
        """Whether the call is taken, and if not, its Retry-After if it is told one."""
        now = self.clock.now
        told = self.data.get("refusal", {}).get("retry_after", "exact") == "exact"
        for outage in self.data.get("outages", ()):
            if outage["from_s"] <= now < outage["to_s"]:
                return False, outage["to_s"] - now if told else None
        wait_s = max((limit.wait_s(call, now) for limit in self.limits), default=0.0)
        if wait_s:
            return False, wait_s if told else None
        # Who waits for room alone is not refused; a cold endpoint has a place for those that it
        # will serve first.
        places = self.data.get("max_in_flight", math.inf)
        taken = self.served >= places or self.clock.now < self.warm_s != math.inf
        if taken and self.served + len(self.line) >= places + self.data.get("queue", math.inf):
            return False, None
        for limit in self.limits:
            limit.level -= limit.price(call)
        if self.warm_s == math.inf:
            self.warm_s = now + self.data["cold_start"]["first_s"]
            self.clock.at(self.warm_s, self._serve)
        self.line.append(call)
        self._serve()
        return True, None

    def _has_place(self, call: Call) -> bool:
        if self.served >= self.data.get("max_in_flight", math.inf):
            return False
        return "kv_tokens" not in self.data or call.reserved <= self.room

    def _serve(self) -> None:
        while self.line and self.clock.now >= self.warm_s and self._has_place(self.line[0]):
            call = self.line.popleft()
            call.serving_s = self.clock.now
            self.served += 1
            self.room -= call.reserved
            if "prefill_tokens_per_s" in self.data:
                self.prefills.append(call)
                if len(self.prefills) == 1:
                    self._begin_prefill()
            else:
                self._decode(call)

    def _begin_prefill(self) -> None:
        if self.prefills:
            self.prefill_left_s = self.prefills[0].prompt / self.data["prefill_tokens_per_s"]

    def _decode(self, call: Call) -> None:
        call.decoding_s = self.clock.now
        call.left = call.work
        self.decoding.append(call)

    # What runs

    def _stands(self) -> bool:
        """Whether nothing advances now."""
        now = self.clock.now
        hangs = [one for one in self.data.get("outages", ()) if one["running"] == "hang"]
        still = [*hangs, *self.data.get("pauses", ())]
        return any(one["from_s"] <= now < one["to_s"] for one in still)

    def _unit_s(self) -> float:
        """Seconds of a unit of what decodes now."""
        if self.prefills and self.data.get("prefill_stalls_decode"):
            return math.inf
        return seconds_per_unit(self.data, len(self.decoding))

    def next_s(self) -> float:
        """When the next prompt or call ends, if nothing changes before."""
        if self._stands():
            return math.inf
        after = [self.prefill_left_s] if self.prefills else []
        if self.decoding and self._unit_s() < math.inf:
            after.append(min(call.left for call in self.decoding) * self._unit_s())
        return self.clock.now + max(0.0, min(after)) if after else math.inf

    def advance(self, to_s: float) -> None:
        """Take all that runs to a time that is not after the next end."""
        if self._stands():
            return
        passed_s, unit_s = to_s - self.clock.now, self._unit_s()
        if self.prefills:
            self.prefill_left_s -= passed_s
        for call in self.decoding:
            call.left -= passed_s / unit_s

    def end_due(self) -> None:
        """End what is at its end."""
        if self._stands():
            return
        unit_s = self._unit_s()
        stalled = unit_s == math.inf
        over = [] if stalled else [c for c in self.decoding if c.left * unit_s <= TOGETHER_S]
        if self.prefills and self.prefill_left_s <= TOGETHER_S:
            self._decode(self.prefills.popleft())
            self._begin_prefill()
        for call in over:
            self.decoding.remove(call)
            self._leave(call)
            for limit in self.limits:
                limit.ended(call, self.clock.now)
        self._serve()
        for call in over:
            self.ended(call)

    def cancel(self, call: Call) -> bool:
        """Give up a call, wherever it is; False if it is not here."""
        if call in self.line:
            self.line.remove(call)
        elif call in self.prefills:
            was_first = call is self.prefills[0]
            self.prefills.remove(call)
            if was_first:
                self._begin_prefill()
            self._leave(call)
        elif call in self.decoding:
            self.decoding.remove(call)
            self._leave(call)
        else:
            return False
        for limit in self.limits:
            limit.ended(call, self.clock.now)
        self._serve()
        return True

    def _leave(self, call: Call) -> None:
        self.served -= 1
        self.room += call.reserved

    def _lose_all(self) -> None:
        gone = [*self.decoding, *self.prefills]
        self.decoding, self.prefills = [], deque()
        for call in sorted(gone, key=lambda call: call.serving_s):
            self._leave(call)
            self.lost(call)


def rest_s(rest: Data, times: int) -> float:
    """How long a call rests that failed or was refused so many times."""
    longest: float = rest.get("most_s", math.inf)
    return min(float(rest["first_s"] * rest.get("factor", 2.0) ** (times - 1)), longest)


class Client:
    """Who sends the calls of a resource: at once, or as its throttle says."""

    def __init__(
        self, server: Server, clock: Clock, throttle: Data | None, most: float, failures: Data
    ) -> None:
        self.server, self.clock, self.throttle = server, clock, throttle
        self.most, self.rest = most, failures.get("cool_down", {})
        self.timeout_s = failures.get("timeout_s")
        self.line: deque[Call] = deque()
        self.out = self.successes = 0
        self.limit = min(throttle["start"], most) if throttle else math.inf
        self.cool_until_s = -math.inf
        self.limit_area, self.limit_since_s = 0.0, 0.0
        self.done: Callable[[Call], None] = lambda _: None
        self.late: Callable[[Call], None] = lambda _: None
        server.ended, server.lost = self._answered, self._lost

    def enter(self, call: Call) -> None:
        self.line.append(call)
        self._send()

    def _send(self) -> None:
        while self.line and self.out < self.limit and self.clock.now >= self.cool_until_s:
            call = self.line.popleft()
            self.out += 1
            call.sent += 1
            call.sent_s = self.clock.now
            call.limit_then = int(self.limit) if self.throttle else 0
            taken, wait_s = self.server.offer(call)
            if taken and self.timeout_s is not None:
                self.clock.at(self.clock.now + self.timeout_s, _later(self._late, call, call.sent))
            if not taken:
                heard_s = self.clock.now + self.server.data.get("refusal", {}).get("latency_s", 0)
                hear = _later(self._refused, call, wait_s)
                if heard_s > self.clock.now:
                    self.clock.at(heard_s, hear)
                else:
                    hear()

    def _refused(self, call: Call, wait_s: float | None) -> None:
        now = self.clock.now
        call.refused_s.append(now)
        call.waits_s.append(wait_s)
        self.out -= 1
        if self.throttle is None:
            if wait_s is None:
                wait_s = rest_s(self.rest, len(call.refused_s))
            self.clock.at(now + wait_s, _later(self.enter, call))
            return
        self.successes = 0
        self.cool_until_s = now + (self.throttle["cool_down_s"] if wait_s is None else wait_s)
        self.clock.at(self.cool_until_s, self._send)
        if call.limit_then <= self.limit:
            self._set_limit(max(1, math.floor(self.limit * self.throttle["decrease"])))
        self.line.append(call)

    def _answered(self, call: Call) -> None:
        self.out -= 1
        if self.throttle and self.clock.now >= self.cool_until_s:
            self.successes += 1
            if self.successes >= self.throttle["successes"]:
                self.successes = 0
                self._set_limit(min(self.most, self.limit + self.throttle["increase"]))
        self.done(call)
        self._send()

    def _late(self, call: Call, sent: int) -> None:
        if call.sent == sent and self.server.cancel(call):
            self.out -= 1
            self.late(call)
            self._send()

    def _lost(self, call: Call) -> None:
        self.out -= 1
        self.enter(call)

    def _set_limit(self, limit: float) -> None:
        self.limit_area += self.limit * (self.clock.now - self.limit_since_s)
        self.limit, self.limit_since_s = limit, self.clock.now

    def mean_limit(self, makespan_s: float) -> float:
        self._set_limit(self.limit)
        return self.limit_area / makespan_s


class Loop:
    """The scheduler's own loop: one thing at a time, ends before starts, each in order."""

    def __init__(self, data: Data, clock: Clock) -> None:
        self.clock = clock
        self.costs_s = {"end": float(data.get("end_s", 0)), "start": float(data.get("start_s", 0))}
        self.waiting: dict[str, deque[Callable[[], None]]] = {"end": deque(), "start": deque()}
        self.busy = False

    def do(self, kind: str, action: Callable[[], None]) -> None:
        """Do it when its turn has come and its time is over."""
        self.waiting[kind].append(action)
        self._next()

    def _next(self) -> None:
        for kind, waiting in self.waiting.items():
            if waiting and not self.busy:
                self.busy = True
                action = waiting.popleft()
                self.clock.at(self.clock.now + self.costs_s[kind], _later(self._over, action))

    def _over(self, action: Callable[[], None]) -> None:
        self.busy = False
        action()
        self._next()


def _later_of(loop: Loop | None, action: Callable[[Call], None]) -> Callable[[Call], None]:
    """The action, when the loop of a scheduler has time for it."""
    return action if loop is None else lambda call: loop.do("end", _later(action, call))


def _later(function: Callable[..., None], *args: Any) -> Callable[[], None]:
    return lambda: function(*args)


class Naive:
    """One run of a scenario.

    Args:
        data: the scenario, as a file has it.
        blurred: times that but for rounding are one instant are one.
        last_first: of one instant, what was set up last goes first. A run that differs by either
            depends on an order that no convention fixes.
    """

    def __init__(self, data: Data, *, blurred: bool = False, last_first: bool = False) -> None:
        self.data, self.clock = data, Clock(blurred=blurred, last_first=last_first)
        limits = data["limits"]
        self.resources: dict[str, int] = dict(limits.get("resources", {}))
        self.workers: int = limits["workers"]
        self.busy: dict[str | None, int] = dict.fromkeys((*self.resources, None), 0)
        self.columns: dict[str, Data] = {column["name"]: column for column in data["columns"]}
        self.ready: dict[str | None, deque[Ready]] = {name: deque() for name in self.busy}
        self.stamps = itertools.count()
        self.calls: dict[tuple[str, int], Call] = {}
        self.loop = Loop(data["scheduler"], self.clock) if "scheduler" in data else None
        self.servers: list[Server] = []
        self.clients: dict[str, Client] = {}
        throttles, self.failures = data.get("throttle", {}), data.get("failures", {})
        self.earlier: dict[tuple[str, int], list[Call]] = {}
        for name in {**data.get("endpoints", {}), **throttles}:
            server = Server(data.get("endpoints", {}).get(name, {}), self.clock)
            most = self.resources[name]
            client = Client(server, self.clock, throttles.get(name), most, self.failures)
            client.done = self._through
            client.late = _later_of(self.loop, self._fail)
            self.servers.append(server)
            self.clients[name] = client

        groups = limits.get("row_groups") or {"rows": data["rows"], "admitted": 1}
        self.group_rows: int = groups["rows"]
        self.admitted, self.live, self.most_live = 0, 0, groups["admitted"]
        self.left_in_group: dict[int, int] = {}
        self.cells_left = len(self.columns) * data["rows"]

    def run(self) -> Run:
        """To the end of the last call."""
        self._admit()
        self._start_ready()
        while self.cells_left:
            self._step()
        calls = [self.calls[name, r] for name in self.columns for r in range(self.data["rows"])]
        makespan_s = max(call.end_s for call in calls)
        means = {
            name: client.mean_limit(makespan_s)
            for name, client in self.clients.items()
            if client.throttle
        }
        return Run(calls, makespan_s, means, self.earlier)

    def _step(self) -> None:
        """To the next moment at which something happens."""
        ends = [server.next_s() for server in self.servers]
        t = min([self.clock.next_s(), *ends])
        if t == math.inf:
            raise RuntimeError("nothing can happen any more, and calls are left")
        for server in self.servers:
            server.advance(t)
        self.clock.now = t
        due = [server for server, end in zip(self.servers, ends, strict=True) if end <= t]
        for server in due:
            server.end_due()
        if not due:
            self.clock.pop()()

    def _admit(self) -> None:
        """Admit the row groups for which there is room."""
        rows = self.data["rows"]
        while self.live < self.most_live and self.admitted < rows:
            first, stop = self.admitted, min(rows, self.admitted + self.group_rows)
            self.left_in_group[first // self.group_rows] = (stop - first) * len(self.columns)
            self.admitted, self.live = stop, self.live + 1
            for name, column in self.columns.items():
                if not column.get("dependencies"):
                    for row in range(first, stop):
                        self._is_ready(name, row)

    def _is_ready(self, name: str, row: int) -> None:
        order = {
            "fifo": (next(self.stamps),),
            "column-first": (list(self.columns).index(name), row),
            "row-first": (row, -list(self.columns).index(name)),
        }[self.data.get("policy", "row-first")]
        waiting = self.ready[self.columns[name].get("resource")]
        waiting.append((order, name, row))
        if len(order) > 1:
            self.ready[self.columns[name].get("resource")] = deque(sorted(waiting))

    def _start_ready(self) -> None:
        """Start what may start, in the order of the policy."""
        while sum(self.busy.values()) < self.workers:
            heads = [
                (waiting[0], resource)
                for resource, waiting in self.ready.items()
                if waiting and self.busy[resource] < self.resources.get(resource or "", math.inf)
            ]
            if not heads:
                break
            (_, name, row), resource = min(heads)
            self.ready[resource].popleft()
            self.busy[resource] += 1
            self.calls[name, row] = call = self._call(name, row)
            call.start_s = self.clock.now
            if self.loop is None:
                self._begin(call)
            else:
                self.loop.do("start", _later(self._begin, call))

    def _begin(self, call: Call) -> None:
        resource = self.columns[call.column].get("resource")
        if resource in self.clients:
            self.clients[resource].enter(call)
        else:
            self.clock.at(self.clock.now + call.work, _later(self._through, call))

    def _through(self, call: Call) -> None:
        if self.loop is None:
            self._complete(call)
        else:
            self.loop.do("end", _later(self._complete, call))

    def _fail(self, call: Call) -> None:
        call.failed_s = self.clock.now
        earlier = self.earlier.setdefault((call.column, call.row), [])
        earlier.append(call)
        if len(earlier) >= self.failures["max_attempts"]:
            raise TooOften(f"{call.column}[{call.row}]")
        self.busy[self.columns[call.column].get("resource")] -= 1
        again_s = self.clock.now + rest_s(self.failures["cool_down"], len(earlier))
        self.clock.at(again_s, _later(self._again, call))
        self._start_ready()

    def _again(self, call: Call) -> None:
        self._is_ready(call.column, call.row)
        self._start_ready()

    def _complete(self, call: Call) -> None:
        call.end_s = self.clock.now
        self.busy[self.columns[call.column].get("resource")] -= 1
        for name, column in self.columns.items():
            needs = column.get("dependencies", [])
            if call.column in needs and all(self._ended(need, call.row) for need in needs):
                self._is_ready(name, call.row)
        self.cells_left -= 1
        group = call.row // self.group_rows
        self.left_in_group[group] -= 1
        if not self.left_in_group[group]:
            self.live -= 1
            self._admit()
        self._start_ready()

    def _ended(self, column: str, row: int) -> bool:
        return (column, row) in self.calls and self.calls[column, row].end_s >= 0

    def _call(self, column: str, row: int) -> Call:
        latency = self.columns[column]["latency"]
        if latency["model"] != "request":
            seconds = self._value(latency, row)
            return Call(column, row, 0.0, 0.0, 0.0, seconds, seconds)
        prompt = self._value(latency.get("prompt_tokens", {"model": "constant", "value": 0}), row)
        output = self._value(latency["output_tokens"], row)
        most = latency.get("max_output_tokens")
        output = output if most is None else min(output, most)
        return Call(column, row, prompt, output, most or output, output, output)

    def _value(self, model: Data, row: int) -> float:
        """What a constant, a list or a sum is in a row."""
        if model["model"] == "sum":
            parts: Sequence[str] = [name.removesuffix(".output_tokens") for name in model["of"]]
            return float(sum(self.calls[name, row].output for name in parts) + model.get("plus", 0))
        if model["model"] == "list":
            return float(model["values" if "values" in model else "values_s"][row])
        return float(model["value"] if "value" in model else model["value_s"])


def simulate(data: Data, *, blurred: bool = False, last_first: bool = False) -> Run:
    """A run of a scenario, to its end."""
    return Naive(data, blurred=blurred, last_first=last_first).run()
