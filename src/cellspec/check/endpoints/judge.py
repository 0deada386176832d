"""Every endpoint of a trace: which events are of which call, and what its client may do."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from cellspec.check.endpoints.call import Call, Key, Stage
from cellspec.check.endpoints.server import INSTANT_S, Break, Server
from cellspec.check.endpoints.throttle import Allowed
from cellspec.check.endpoints.words import EndpointWords, words_of
from cellspec.trace import Event, Header
from cellspec.trace.format import EndpointSums, RequestStep

__all__ = ["Breach", "EndpointJudge", "judge_of"]

_ENDS = ("fail", "cancel", "take_back")
"""The kinds of events by which a call ends without its value.

To lose a value ends none: the call that gave it is over, or goes on with the rows that it has left.
"""

_OF_SCHEDULERS = ("entered", "answered")
"""Steps that calls without an endpoint have too, where a scheduler takes time."""

_AFTER: Mapping[str, tuple[Stage, ...]] = {
    "sent": ("away",),
    "queued": ("sent",),
    "serving": ("sent", "line"),
    "decoding": ("prefill",),
    "turned_away": ("sent",),
    # Who is refused hears of it once, and goes out again after that.
    "refused": ("sent", "turned"),
    "lost": ("line", "prefill", "decode"),
    # Said again where a scheduler holds up its end.
    "answered": ("away", "sent", "turned", "line", "prefill", "decode", "over"),
}
"""By step, where its call may be before it."""


@dataclass(frozen=True, slots=True)
class Breach:
    """A clause that calls at an endpoint broke.

    Attributes:
        clause: its number.
        detail: how, in one line.
    """

    clause: str
    detail: str


def judge_of(
    header: Header, source: str = "trace", waived: Collection[str] = ()
) -> EndpointJudge | None:
    """The judge of a trace's endpoints; None if it does not claim to say all about them.

    In real time nobody knows when a call reached its endpoint, so nothing is judged there.

    Raises:
        TraceError: the header says something of an endpoint that no endpoint can be.
    """
    if "endpoints" not in header.claims or header.clock == "real":
        return None
    return EndpointJudge(header, source, waived)


class EndpointJudge:
    """Judges the calls at endpoints, event by event.

    Args:
        header: of the trace.
        source: its name in errors.
        waived: clauses not to judge.

    Attributes:
        unjudged: clauses that could not be judged to the end, with the reason.
    """

    def __init__(self, header: Header, source: str, waived: Collection[str]) -> None:
        self._waived = frozenset(waived)
        self._found: list[Breach] = []
        limits, self._words = header.limits, words_of(header, source)
        self._routes = {
            name: _Route(name, words, limits.resources.get(name, math.inf), self._break)
            for name, words in self._words.items()
            # Of an endpoint that others use too, a trace shows a part of the calls.
            if not words.shared_with
        }
        self._route_of = {
            column: self._routes[resource]
            for column, resource in limits.column_resource.items()
            if resource in self._routes
        }
        self._resource_of = limits.column_resource
        # The end of a call that was never sent.
        self._unsent: Event | None = None
        self.unjudged: dict[str, str] = {}

    @property
    def calls(self) -> int:
        """How many were taken in by an endpoint."""
        return sum(route.server.accepted for route in self._routes.values())

    def feed(self, event: Event) -> Breach | None:
        """Take the next event; the first clause that it shows to be broken."""
        kind, t = event.event, event.t
        if self._unsent is not None:
            self._expect_earlier_process(event, self._unsent)
        if kind == "request" or kind == "complete" or kind in _ENDS:
            route = self._route_of.get(event.column or "")
            if route is not None:
                route.server.at(t)
                if event.request is not None:
                    route.step(event, event.request)
                elif not route.ends(event, well=kind == "complete"):
                    self._unsent = self._unsent or event
            elif event.request is not None and event.request.step not in _OF_SCHEDULERS:
                self._expect_words(event.column or "")
        elif kind == "crash":
            for route in self._routes.values():
                route.server.at(t)
                route.crash(t)
        elif kind == "end":
            self._end(event, event.endpoints or {})
        return self._found.pop() if self._found else None

    def _end(self, event: Event, stated: Mapping[str, EndpointSums]) -> None:
        for name, route in self._routes.items():
            route.server.at(event.t)
            route.end(stated.get(name))
        silent = [name for name in self._routes if name not in stated]
        if silent and self.calls:
            reason = f"the end of the run does not state its sums of {silent[0]!r}: endpoints"
            self.unjudged |= dict.fromkeys(("ENDP-05", "ENDP-15"), reason)
        lost = [name for name, route in self._routes.items() if route.server.lost_count]
        if lost:
            reason = f"an answer of {lost[0]!r} took no time and gave back: judged up to then"
            self.unjudged |= dict.fromkeys(("ENDP-08", "ENDP-09", "ENDP-10"), reason)
        for name in sorted(stated.keys() - self._words.keys()):
            self._break("ENDP-05", f"endpoint {name!r}: sums of no endpoint of the header")

    def _expect_earlier_process(self, event: Event, unsent: Event) -> None:
        """Only the process that made the checkpoint of a start sends no call: it crashes at 0 s."""
        if event.event == "crash" and event.reason == "start_from":
            self._unsent = None
        elif event.t > unsent.t or event.event in ("crash", "end"):
            self._unsent = None
            column = unsent.column or ""
            text = f"{_call_of(unsent).name} ended at {unsent.t:g} s and was never sent"
            self._break("ENDP-16", f"endpoint {self._resource_of[column]!r}: {text}")

    def _expect_words(self, column: str) -> None:
        resource = self._resource_of.get(column)
        if resource not in self._words:
            taken = "no resource" if resource is None else f"{resource!r}"
            text = f"{column!r} takes {taken}, and the header names no endpoint of it"
            self._break("ENDP-16", f"a call is on its way to an endpoint: {text}")

    def _break(self, clause: str, detail: str) -> None:
        if clause not in self._waived and not self._found:
            self._found.append(Breach(clause, detail))


class _Route:
    """The calls of one resource: their client, and their server."""

    def __init__(self, name: str, words: EndpointWords, most: float, breaks: Break) -> None:
        self._name, self._breaks = name, breaks
        self.server = Server(name, words, breaks)
        self._calls: dict[Key, Call] = {}
        # By column with ranges under way, so many.
        self._ranges: dict[str, int] = {}
        self._allowed = None if words.throttle is None else Allowed(words.throttle, most)

    def step(self, event: Event, step: RequestStep) -> None:
        """A call comes a step further."""
        t, call = event.t, self._call(event)
        if step.step == "entered":
            return
        if (call.stage if call is not None else "away") not in _AFTER[step.step]:
            text = f"{step.step!r} does not follow its last step"
            where = "" if call is None else f"{call.name}: "
            self._breaks("ENDP-16", f"endpoint {self._name!r}: {where}{text}")
            return
        if call is None:
            call = self._new(event)
        if step.step == "answered":
            if call.stage == "over":
                return
            self._leaves(call, t, well=not step.failed, judged=not step.failed)
            self._expect_limit(call, step.limit, t)
        elif step.step == "sent":
            self._sent(call, step, t)
        elif step.step == "queued":
            self.server.queued(call, t)
        elif step.step == "serving":
            self.server.serving(call, t)
        elif step.step == "decoding":
            self.server.decoding(call, t)
        elif step.step == "turned_away":
            self.server.refused(call, step.by)
        elif step.step == "refused":
            self._refused(call, step, t)
        else:
            self.server.lost(call, t)
            if self._allowed is not None:
                self._allowed.left(t, well=False)
            # What comes again is another call: nothing of this one is left.
            self._forget(call)

    # Calls by their nodes

    def _call(self, event: Event) -> Call | None:
        """The call under way that an event is about."""
        column = event.column or ""
        if event.scope is not None:
            return self._calls.get((column, event.scope, True))
        assert event.rows is not None
        row = event.rows if isinstance(event.rows, int) else event.rows[0]
        found = self._calls.get((column, row, False))
        if found is None and self._ranges.get(column):
            for (other, start, is_scope), call in self._calls.items():
                if other == column and not is_scope and start <= row < call.stop:
                    return call
        return found

    def _new(self, event: Event) -> Call:
        call = _call_of(event)
        self._calls[call.key] = call
        self._count_range(call, 1)
        return call

    def _forget(self, call: Call) -> None:
        del self._calls[call.key]
        self._count_range(call, -1)

    def _count_range(self, call: Call, by: int) -> None:
        column, place, _ = call.key
        if call.stop > place + 1:
            self._ranges[column] = self._ranges.get(column, 0) + by

    # What its client does

    def _sent(self, call: Call, step: RequestStep, t: float) -> None:
        call.prompt, call.output = step.prompt_tokens or 0.0, step.output_tokens or 0.0
        call.reserved = call.output if step.reserved_tokens is None else step.reserved_tokens
        call.work = call.output if step.work is None else step.work
        if t < call.back_s - INSTANT_S:
            text = f"it was to come back at {call.back_s:g} s"
            self._breaks("ENDP-11", f"endpoint {self._name!r}: {call.name}: {text}")
        allowed = self._allowed
        if allowed is not None:
            if allowed.out >= allowed.limit:
                text = f"{allowed.out} are out, and the throttle allows {allowed.limit:g}"
                self._breaks("ENDP-13", f"endpoint {self._name!r}: {call.name}: {text}")
            if t < allowed.next_s - INSTANT_S:
                text = f"no call was to go out before {allowed.next_s:g} s"
                self._breaks("ENDP-11", f"endpoint {self._name!r}: {call.name}: {text}")
            allowed.out += 1
            call.limit_then, call.out = allowed.limit, True
        self.server.comes(call, t)

    def _refused(self, call: Call, step: RequestStep, t: float) -> None:
        """A client learns that a call was refused."""
        self.server.refused(call, step.by)
        call.stage = "away"
        self.server.expect_retry_after(call, step.retry_after_s)
        allowed = self._allowed
        if allowed is None:
            call.back_s = t + (step.retry_after_s or 0.0)
        elif call.out:
            allowed.refused(t, call.limit_then, step.retry_after_s)
            call.out = False
            self._expect_limit(call, step.limit, t)

    def _expect_limit(self, call: Call, stated: int | None, t: float) -> None:
        """Hold the limit that a client states to the one that follows from what it learnt."""
        allowed = self._allowed
        if allowed is not None and stated is not None and stated != allowed.limit:
            text = f"the throttle allows {allowed.limit:g} at {t:g} s, and {stated} is stated"
            self._breaks("ENDP-14", f"endpoint {self._name!r}: {call.name}: {text}")

    # The end

    def ends(self, event: Event, *, well: bool) -> bool:
        """A call ends, or gives values, if it has not left before; False if it was never sent."""
        call = self._call(event)
        if call is None:
            return not well
        if call.stage != "over":
            before = None if self._allowed is None else self._allowed.limit
            self._leaves(call, event.t, well=well, judged=well)
            if self._allowed is not None and self._allowed.limit != before:
                text = f"the throttle allows {self._allowed.limit:g} from here on, which is not"
                self._breaks("ENDP-14", f"endpoint {self._name!r}: {call.name}: {text} stated")
        rows = event.rows
        call.open -= rows[1] - rows[0] if isinstance(rows, tuple) else 1
        if not well or call.open <= 0:
            self._forget(call)
        return True

    def _leaves(self, call: Call, t: float, *, well: bool, judged: bool) -> None:
        self.server.ends(call, t, answered=judged)
        if self._allowed is not None and call.out:
            self._allowed.left(t, well=well)
            call.out = False
        call.stage = "over"

    def crash(self, t: float) -> None:
        """The process is gone."""
        self.server.crash([*self._calls.values()], t)
        self._calls.clear()
        self._ranges.clear()
        if self._allowed is not None:
            self._allowed.begin(t)

    def end(self, stated: EndpointSums | None) -> None:
        """The run ends; what still runs is given up."""
        self.server.close()
        if stated is not None:
            self.server.hold(stated, [*self._calls.values()])


def _call_of(event: Event) -> Call:
    """The call that an event is about, as one that nothing is known of."""
    column, rows = event.column or "", event.rows
    if event.scope is not None:
        return Call((column, event.scope, True), event.scope + 1, 1)
    assert rows is not None
    start, stop = (rows, rows + 1) if isinstance(rows, int) else rows
    return Call((column, start, False), stop, stop - start)
