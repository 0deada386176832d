"""The figures of endpoints, worked out from a trace by what simulations/figures.md says they are.

As `tests.recompute.figures`: plain arithmetic, to be compared with the page sentence by sentence.
Nothing is taken from the simulator's own sums, so that Little's law is worked out here: calls in
flight are counted by the time that each was there.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

from tests.recompute.history import Call, History, Incarnation
from tests.recompute.ready import ready_spans

__all__ = ["PARTS", "endpoint_figures", "stays"]

Figures: TypeAlias = dict[str, Any]

PARTS = ("line_s", "refused_s", "queue_s", "prefill_s", "decode_s")
CAUSES = ("first", "done again", "lost")


def endpoint_figures(scenario: dict[str, Any], history: History) -> Figures:
    """What the result holds of a scenario with endpoints or throttles; empty without them."""
    given = history.header.get("endpoints") or {}
    if not given and "scheduler" not in scenario:
        return {}
    found = [_Endpoint(name, scenario, history) for name in _order(scenario, given)]
    return {
        "cost": math.fsum(one.figures()["cost"] for one in found),
        "by_endpoint": [one.figures() for one in found],
        "call_times": [item for one in found for item in one.times()],
        "bill": [item for one in found for item in one.bill()],
        "binding": _binding(scenario, history, found),
    }


def _order(scenario: dict[str, Any], given: dict[str, Any]) -> list[str]:
    """Endpoints in the order of the scenario, then throttles of other resources."""
    names = [*scenario.get("endpoints", {}), *given]
    return list(dict.fromkeys(name for name in names if name in given))


class _Stay(NamedTuple):
    """A call on its way, from its start or from a loss to its end or to the next loss.

    Attributes:
        steps: what happened to it, and when.
        lost: the endpoint lost it.
    """

    call: Call
    start_s: float
    end_s: float
    steps: list[tuple[float, dict[str, Any]]]
    lost: bool

    def sent(self) -> Iterator[tuple[float, dict[str, Any], bool]]:
        """Each `sent`, and whether it was accepted."""
        for place, (t, step) in enumerate(self.steps):
            if step["step"] == "sent":
                then = self.steps[place + 1] if place + 1 < len(self.steps) else (math.nan, {})
                yield t, step, then[0] == t and then[1].get("step") in ("queued", "serving")

    def when(self, step: str) -> float | None:
        return next((t for t, found in self.steps if found["step"] == step), None)

    def is_paid(self) -> bool:
        """It was served, and not given up at the moment at which its turn came."""
        served = self.when("serving")
        if served is None or served < self.end_s:
            return served is not None
        *_, (_, last, _) = self.sent()
        asks = any(last.get(word) for word in ("prompt_tokens", "output_tokens", "work"))
        answers = [step for _, step in self.call.way if step["step"] == "answered"]
        if self.lost or not (answers or self.call.gave or self.call.outcome == "complete"):
            return False
        # The end of a call whose row was dropped meanwhile is a `complete` in any case.
        failed = any(step.get("failed") for step in answers)
        return not asks or (self.call.outcome == "complete" and not failed)

    def moments(self) -> Iterator[tuple[str, float]]:
        """The parts that it came to, and when each was over."""
        sent = list(self.sent())
        moments = [
            sent[0][0] if sent else None,
            next((t for t, _, accepted in sent if accepted), None),
            self.when("serving"),
            self.when("decoding"),
        ]
        for part, moment in zip(PARTS, [*moments, self.end_s], strict=True):
            yield part, self.end_s if moment is None else moment
            if moment is None:
                break

    def parts(self) -> dict[str, float]:
        """The seconds in each part; they add up to all of it."""
        found, since = dict.fromkeys(PARTS, 0.0), self.start_s
        for part, moment in self.moments():
            found[part] = moment - since
            since = moment
        return found


def _speed(endpoint: dict[str, Any]) -> Callable[[float], float]:
    """The work a second that so many calls at once do together."""
    work = endpoint.get("work", {1: 1.0})
    if "full_speed" in work:
        return lambda calls: min(calls, work["full_speed"])
    seconds = endpoint.get("tpot_s") or {n: 1 / speed for n, speed in work.items()}
    points = sorted((int(n), float(s)) for n, s in seconds.items())

    def speed(calls: float) -> float:
        if calls <= points[0][0]:
            return calls / points[0][1]
        last = len(points) - 1
        at = next((i for i, (n, _) in enumerate(points) if calls <= n), last)
        if calls > points[-1][0] and (endpoint.get("beyond") == "hold" or not last):
            return calls / points[-1][1]
        (n, low), (m, high) = points[at - 1], points[at]
        return calls / (low + (high - low) * (calls - n) / (m - n))

    return speed


class _Endpoint:
    def __init__(self, name: str, scenario: dict[str, Any], history: History) -> None:
        self.name, self.scenario, self.history = name, scenario, history
        self.columns = [c for c, column in history.columns.items() if column.resource == name]
        self.makespan = history.incarnations[-1].end_s
        self.stays = [
            stay
            for incarnation in history.incarnations
            for call in incarnation.calls
            if call.column in self.columns
            for stay in stays(incarnation, call)
            # With a scheduler a call may end before it comes here.
            if "scheduler" not in scenario or call.way
        ]

    def figures(self) -> Figures:
        sent = [accepted for stay in self.stays for _, _, accepted in stay.sent()]
        bill, times = self.bill(), self.times()
        there = math.fsum(item[part] for item in times for part in PARTS[2:])
        refused = sent.count(False)
        return {
            "endpoint": self.name,
            "sent": len(sent),
            "accepted": sent.count(True),
            "refused": refused,
            "refused_share": refused / len(sent) if sent else None,
            "lost": sum(stay.lost for stay in self.stays),
            "mean_in_flight": there / self.makespan if self.makespan else None,
            **self.load(times),
            "mean_limit": self.mean_limit(),
            **{
                key: math.fsum(item[key] for item in bill)
                for key in ("prompt_tokens", "output_tokens", "cost")
            },
        }

    def load(self, times: list[Figures]) -> Figures:
        if not self.makespan:
            return {"mean_decoding": None, "as_much_with": None}
        mean = math.fsum(item["decode_s"] for item in times) / self.makespan
        endpoint = self.scenario.get("endpoints", {}).get(self.name)
        most = None
        if endpoint is not None or self.name in self.rated():
            speed = _speed(endpoint or {})
            most = next(n for n in itertools.count() if n >= mean or speed(n) >= 0.99 * speed(mean))
        return {"mean_decoding": mean, "as_much_with": most}

    def rated(self) -> set[str]:
        """Resources with an endpoint by other words."""
        limits = self.scenario["limits"]["resources"]
        rates = {n for n, one in limits.items() if isinstance(one, dict) and len(one) > 1}
        return rates | {one["resource"] for one in self.scenario.get("outages", ())}

    def times(self) -> list[Figures]:
        found = []
        for column in self.columns:
            parts = [stay.parts() for stay in self.stays if stay.call.column == column]
            sums = {part: math.fsum(item[part] for item in parts) for part in PARTS}
            if parts:
                found.append({"column": column, "endpoint": self.name, **sums})
        return found

    def mean_limit(self) -> float | None:
        """The time integral of the limit, from the moments at which it is stated."""
        throttle = self.scenario.get("throttle", {}).get(self.name)
        if throttle is None:
            return None
        most = self.history.limits["resources"][self.name]
        first = most if "pause_s" in throttle else min(throttle.get("start", most), most)
        moments = [(0.0, first)]
        for incarnation in self.history.incarnations:
            stated = [
                (step["seq"], t, step["limit"])
                for call in incarnation.calls
                if call.column in self.columns
                for t, step in call.way
                if "limit" in step
            ]
            moments += [(t, limit) for _, t, limit in sorted(stated)]
            if incarnation.stop_asked_s is not None:
                moments.append((incarnation.stop_asked_s, first))
            if incarnation.ended_by == "crash":
                moments.append((incarnation.end_s, first))
        ends = [t for t, _ in moments[1:]] + [self.makespan]
        if not self.makespan:
            return float(moments[-1][1])
        pairs = zip(moments, ends, strict=True)
        return math.fsum(limit * (end - t) for (t, limit), end in pairs) / self.makespan

    def bill(self) -> list[Figures]:
        sums: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
        paid: set[tuple[str, bool, int]] = set()
        for stay in sorted(self.stays, key=lambda stay: stay.end_s):
            if not stay.is_paid():
                continue
            call = stay.call
            node = call.column, call.scope is None, call.rows[0]
            cause = "done again" if node in paid else "first"
            if stay.lost or call.outcome != "complete" or call.unwanted:
                cause = "lost"
            else:
                paid.add(node)
            *_, (_, last, _) = stay.sent()
            line = sums[call.column, cause]
            line[0] += 1
            line[1] += last.get("prompt_tokens", 0.0)
            line[2] += last.get("output_tokens", 0.0)
        return [
            {
                "column": column,
                "endpoint": self.name,
                "cause": cause,
                "calls": int(sums[column, cause][0]),
                "prompt_tokens": sums[column, cause][1],
                "output_tokens": sums[column, cause][2],
                "cost": self.money(*sums[column, cause][1:]),
            }
            for column in self.columns
            for cause in CAUSES
            if (column, cause) in sums
        ]

    def money(self, prompt: float, output: float) -> float:
        price = self.scenario.get("endpoints", {}).get(self.name, {}).get("price") or {}
        charged = prompt * (1 - price.get("cached_share", 0.0))
        found: float = (
            charged * price.get("prompt_per_million", 0.0)
            + output * price.get("output_per_million", 0.0)
        ) / 1_000_000
        return found


def stays(incarnation: Incarnation, call: Call) -> Iterator[_Stay]:
    """A call from its start, and from each loss, to the next loss or to its end."""
    end_s = incarnation.end_s if call.end_s is None else call.end_s
    start_s, steps = call.start_s, list[tuple[float, dict[str, Any]]]()
    for t, step in call.way:
        if step["step"] == "entered":
            start_s = t
        elif step["step"] == "answered":
            end_s = t
        elif step["step"] == "lost":
            yield _Stay(call, start_s, t, steps, lost=True)
            start_s, steps = t, []
        else:
            steps.append((t, step))
    yield _Stay(call, start_s, end_s, steps, lost=False)


# What held the run up


class _Holder(NamedTuple):
    """What may hold a run up: it does if of each state there are so many calls at once."""

    name: str
    least: dict[str, int]


def _binding(
    scenario: dict[str, Any], history: History, endpoints: list[_Endpoint]
) -> list[Figures]:
    """Counts of calls in each state, as they change from moment to moment."""
    holders: list[_Holder] = []
    changes: list[tuple[float, str, int]] = []

    def add(state: str, spans: Iterable[tuple[float, float]], count: int = 1) -> None:
        for start, end in spans:
            changes.append((start, state, count))
            changes.append((end, state, -count))

    for one in endpoints:
        held, spans = _at_endpoint(scenario, history, one)
        holders += held
        for state, found in spans.items():
            add(state, found)
    calls = [
        (incarnation, call) for incarnation in history.incarnations for call in incarnation.calls
    ]
    if "scheduler" in scenario:
        holders.append(_Holder("scheduler", {"scheduler": 2}))
        for incarnation, call in calls:
            add("scheduler", _in_loop(call, _end_s(incarnation, call)))
    for column, span in ready_spans(history):
        add("ready", [span])
        add(f"ready {column}", [span])
    if scenario.get("checkpoint", {}).get("blocking"):
        holders.append(_Holder("checkpoint", {"writes": 1, "ready": 1}))
        for incarnation in history.incarnations:
            add("writes", [(t, min(end, incarnation.end_s)) for t, end in incarnation.writes])
    for resource, limit in history.limits["resources"].items():
        for item in history.columns.values():
            if (places := item.places.get(resource)) is not None:
                least = {f"resource {resource}": limit + 1 - places, f"ready {item.name}": 1}
                holders.append(_Holder(f"resource {resource}", least))
    holders.append(_Holder("workers", {"workers": history.limits["workers"], "ready": 1}))
    for incarnation, call in calls:
        span = call.start_s, _end_s(incarnation, call)
        add("workers", [span])
        for resource, places in history.columns[call.column].places.items():
            add(f"resource {resource}", [span], places)
    for incarnation in history.incarnations:
        add("runs", [(incarnation.start_s, incarnation.end_s)])
    sums = _sweep(changes, holders)
    makespan = history.incarnations[-1].end_s
    shares = [(name, seconds / makespan) for name, seconds in sums.items() if seconds > 0]
    # Shares that are printed alike, to twelve digits, are in the order of their names.
    shares.sort(key=lambda item: (-float(f"{item[1]:.12g}"), item[0]))
    return [{"binding": name, "share": share} for name, share in shares]


def _sweep(changes: list[tuple[float, str, int]], holders: list[_Holder]) -> dict[str, float]:
    counts: dict[str, int] = defaultdict(int)
    parts: dict[str, list[float]] = defaultdict(list)
    since = 0.0
    for t, state, change in sorted(changes, key=lambda item: item[0]):
        if t > since:
            held = "pipeline" if counts["runs"] else "restart"
            for name, least in holders if counts["runs"] else ():
                if all(counts[which] >= most for which, most in least.items()):
                    held = name
                    break
            parts[held].append(t - since)
            since = t
        counts[state] += change
    return {name: math.fsum(found) for name, found in parts.items()}


_Spans: TypeAlias = dict[str, list[tuple[float, float]]]


def _at_endpoint(
    scenario: dict[str, Any], history: History, one: _Endpoint
) -> tuple[list[_Holder], _Spans]:
    """What at one endpoint may hold a run up, the first that applies first; and when it may."""
    throttle = scenario.get("throttle", {}).get(one.name)
    given = scenario.get("endpoints", {}).get(one.name, {})
    names = {"outage": f"outage {one.name}", "queue": f"endpoint {one.name}"}
    for number, limit in enumerate(given.get("limits", []), 1):
        kind = "tokens" if "tokens" in limit else "requests"
        names[f"limit {number}"] = f"limit {number} ({kind}) {one.name}"
    spans: _Spans = defaultdict(list)
    spans[f"queued {one.name}"] = [span for stay in one.stays for span in _in_queue(stay)]
    for by, start, end in _first_refused(one.stays, throttled=throttle is not None):
        spans[f"{by} refuses {one.name}"].append((start, end))
    holders = [_Holder(f"endpoint {one.name}", {f"queued {one.name}": 1})]
    holders += [_Holder(name, {f"{by} refuses {one.name}": 1}) for by, name in names.items()]
    if throttle is None:
        return holders, spans
    line = f"line {one.name}"
    spans[line] = [span for stay in one.stays for span in _in_line(stay)]
    for by, start, end in _pauses(history, one, throttle):
        spans[f"{by} pauses {one.name}"].append((start, end))
    holders += [
        _Holder(name, {line: 1, f"{by} pauses {one.name}": 1}) for by, name in names.items()
    ]
    return [*holders, _Holder(f"throttle {one.name}", {line: 1})], spans


def _end_s(incarnation: Incarnation, call: Call) -> float:
    return incarnation.end_s if call.end_s is None else call.end_s


def _in_queue(stay: _Stay) -> Iterator[tuple[float, float]]:
    since = stay.when("queued")
    if since is not None:
        served = stay.when("serving")
        yield since, stay.end_s if served is None else served


def _first_refused(stays: list[_Stay], *, throttled: bool) -> Iterator[tuple[str, float, float]]:
    """What refused the call that is refused longest, from when to when it is that call.

    A call is refused until it is told, or without a throttle sent again.
    """
    refused = []
    for stay in stays:
        for place, (t, step) in enumerate(stay.steps):
            then = stay.steps[place + 1 :]
            if step["step"] == "sent" and then and "by" in then[0][1]:
                until = "refused" if throttled else "sent"
                end_s = next((at for at, later in then if later["step"] == until), stay.end_s)
                refused.append((t, step["seq"], end_s, then[0][1]["by"]))
    covered = 0.0
    for t, _, end_s, by in sorted(refused):
        if end_s > covered:
            yield by, max(t, covered), end_s
            covered = end_s


def _pauses(
    history: History, one: _Endpoint, throttle: dict[str, Any]
) -> Iterator[tuple[str, float, float]]:
    """What refused the call that was told last, and how long no call goes out for that."""
    for incarnation in history.incarnations:
        told = [
            (step["seq"], t, step)
            for call in incarnation.calls
            if call.column in one.columns
            for t, step in call.way
            if step["step"] == "refused"
        ]
        told.sort(key=lambda item: item[0])
        ends = [*(t for _, t, _ in told), incarnation.end_s][1:]
        for (_, t, step), end in zip(told, ends, strict=True):
            wait_s = throttle.get("pause_s")
            if wait_s is None:
                wait_s = step.get("retry_after_s", throttle.get("cool_down_s", 2.0))
            if wait_s > 0 and end > t:
                yield step["by"], t, min(t + wait_s, end)


def _in_line(stay: _Stay) -> Iterator[tuple[float, float]]:
    since: float | None = stay.start_s
    for t, step in stay.steps:
        if step["step"] == "sent" and since is not None:
            yield since, t
            since = None
        elif step["step"] == "refused":
            since = t
    if since is not None:
        yield since, stay.end_s


def _in_loop(call: Call, end_s: float) -> Iterator[tuple[float, float]]:
    """Before it was let go, and after it was answered."""
    entered = next((t for t, step in call.way if step["step"] == "entered"), end_s)
    yield call.start_s, entered
    answered = [t for t, step in call.way if step["step"] == "answered"]
    if answered:
        yield answered[-1], end_s
