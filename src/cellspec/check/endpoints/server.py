"""One endpoint, worked out from the events of a trace: who is where, and what must hold there."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from cellspec.check.endpoints.call import Call
from cellspec.check.endpoints.limits import Level
from cellspec.check.endpoints.progress import Advance, Decoding, Reading
from cellspec.check.endpoints.words import EndpointWords, outage_end_s
from cellspec.trace.format import EndpointSums

__all__ = ["INSTANT_S", "Break", "Server"]

INSTANT_S = 2e-9
"""Moments that are so few seconds apart are one: sums of times are rounded."""

ROUNDING = 1e-9
"""The share by which sums may differ because they are rounded."""

Break: TypeAlias = Callable[[str, str], None]
"""Takes a clause that is broken, and how."""


class Server:
    """One endpoint, through all incarnations of its client.

    Args:
        name: of its resource.
        words: of the header.
        breaks: receives each clause that is broken.

    Attributes:
        accepted: how many calls were taken in.
        lost_count: a call ended at the instant at which it began, and gave back what it reserved,
            before or after what else came then: from there on nobody knows the limits' levels.
    """

    def __init__(self, name: str, words: EndpointWords, breaks: Break) -> None:
        self._name, self._words, self._breaks = name, words, breaks
        self._advance = Advance(words)
        self._levels = [Level(limit) for limit in words.limits]
        self._giving = [level for level in self._levels if level.words.give_back]
        self._decoding, self._reading = Decoding(words), Reading(words)
        self._line: dict[Call, None] = {}
        self.lost_count = False
        self.accepted = 0
        # All calls that were taken in and have not left.
        self._here: dict[Call, None] = {}
        self._t = 0.0
        self._held, self._holders = 0.0, 0
        self._sent: Call | None = None
        # What must hold when this instant is over, each with the event after which it must.
        self._served: Call | None = None
        self._queued: Call | None = None
        self._overtaken: list[tuple[Call, Call]] = []
        # Outages that take what runs and have not begun.
        fails = sorted(one.from_s for one in words.outages if one.running == "fail")
        self._takes, self._taken_s = fails, -math.inf
        self._line_s = self._prefill_s = self._decode_s = 0.0
        self._prompts = self._answers = 0.0

    @property
    def in_flight(self) -> int:
        """Calls that are served."""
        return len(self._reading) + self._decoding.calls

    # Time

    def at(self, t: float) -> None:
        """Time moves on to t in seconds."""
        passed = t - self._t
        if passed <= 0:
            return
        if passed > INSTANT_S:
            self.close()
            if self._line and self._words.cold_start is None:
                self._expect_full(next(iter(self._line)))
            while self._takes and self._takes[0] < t - INSTANT_S:
                self._expect_taken(self._takes.pop(0))
        self._line_s += len(self._line) * passed
        self._prefill_s += len(self._reading) * passed
        self._decode_s += self._decoding.calls * passed
        if self.in_flight:
            counted = self._advance.seconds(self._t, t)
            if not (self._words.prefill_stalls_decode and self._reading):
                self._decoding.pass_(counted)
            self._reading.pass_(counted)
        self._t = t

    def close(self) -> None:
        """An instant is over."""
        self._settle_sent()
        words, most, room = self._words, self._words.max_in_flight, self._words.kv_tokens
        if self._served is not None:
            if most is not None and self.in_flight > most:
                self._say(
                    "ENDP-01", self._served, f"{self.in_flight} are served, and {most} may be"
                )
            if room is not None and self._held > room * (1 + ROUNDING):
                self._say("ENDP-02", self._served, f"{self._held:g} tokens of {room:g} are taken")
            self._served = None
        if self._queued is not None:
            if most is not None and words.queue is not None and room is None:
                here = self.in_flight + len(self._line)
                if here > most + words.queue:
                    text = f"{here} calls are here, and {most} with {words.queue} in line may be"
                    self._say("ENDP-04", self._queued, text)
            self._queued = None
        for call, before in self._overtaken:
            if before in self._line:
                self._say("ENDP-03", call, f"{before.name} came before it, and is in line")
        self._overtaken.clear()

    def _expect_full(self, first: Call) -> None:
        """Time passes, in which a call is the first in line."""
        most, room = self._words.max_in_flight, self._words.kv_tokens
        if most is not None and self.in_flight >= most:
            return
        if room is not None and self._held + first.held > room * (1 - ROUNDING):
            return
        text = f"it waits in line from {self._t:g} s on, and {self.in_flight} are served"
        self._say("ENDP-17", first, text if most is None else f"{text} of {most} that may be")

    def _expect_taken(self, begins_s: float) -> None:
        """An outage began that takes all that was here."""
        self._taken_s = begins_s
        for call in self._here:
            if call.joined_s <= begins_s:
                text = f"it is here after an outage that began at {begins_s:g} s and takes all"
                self._say("ENDP-12", call, text)
                return

    # A call comes

    def comes(self, call: Call, t: float) -> None:
        """A call is sent."""
        self._settle_sent()
        if self._giving:
            self._return_due(t)
        call.stage, call.sent_s = "sent", t
        self._sent = call
        self._expect_answer(call, t)

    def _return_due(self, t: float) -> None:
        """What leaves at an instant makes room first."""
        for call in self._decoding.due(INSTANT_S):
            if call.stage == "decode" and not call.returned:
                self._return(call, t)
                call.returned = True

    def _expect_answer(self, call: Call, t: float) -> None:
        """Note if a call is to be refused at time t, why, and the Retry-After that is due."""
        words, call.why, call.due_retry_s, call.by = self._words, "", None, ()
        end_s = outage_end_s(words.outages, t)
        if end_s - t > INSTANT_S:
            call.why, call.due_retry_s, call.by = "outage", end_s - t, ("outage",)
        elif self._is_full():
            # Of what leaves at this moment not all has left, so it may be a limit after all.
            waits = self._waits_s(call, t)
            call.why, call.due_retry_s = "queue", max(waits) or None
            call.by = ("queue", *_longest(waits))
        elif self._levels and any(
            level.lacks(self._asked(level, call), t) for level in self._levels
        ):
            waits = self._waits_s(call, t)
            call.why, call.due_retry_s = "limits", max(waits)
            call.by = _longest(waits)
        if words.refusal.retry_after == "none":
            call.due_retry_s = None

    def _is_full(self) -> bool:
        words = self._words
        if words.queue is None or words.max_in_flight is None:
            return False
        full = self.in_flight >= words.max_in_flight or words.cold_start is not None
        return full and self.in_flight + len(self._line) >= words.max_in_flight + words.queue

    def _waits_s(self, call: Call, t: float) -> list[float]:
        """0, and by limit its Retry-After, after the refusal was counted by them."""
        waits = [0.0]
        for level in self._levels:
            asked = self._asked(level, call)
            if self._counts_refusals(level) and level.left(t) >= 1:
                asked += 1
            waits.append(level.wait_s(asked, t))
        return waits

    def _counts_refusals(self, level: Level) -> bool:
        return self._words.refusal.charged and level.words.requests is not None

    def _asked(self, level: Level, call: Call) -> float:
        return level.asked(call.prompt, call.output, call.reserved)

    def _settle_sent(self) -> None:
        """A call that was sent and not taken in was refused."""
        call = self._sent
        if call is None:
            return
        self._sent = None
        call.stage = "turned"
        if not call.why and not self.lost_count:
            text = "no outage, no full line and no limit was in its way"
            self._say("ENDP-09", call, f"it is refused: {text}")
        elif call.why != "outage":
            for level in self._levels:
                if self._counts_refusals(level) and level.left(call.sent_s) >= 1:
                    level.take(1.0, call.sent_s)

    def _accept(self, call: Call, t: float) -> None:
        self._sent = None
        self.accepted += 1
        self._here[call] = None
        call.joined_s, call.returned = t, False
        if call.why == "outage":
            self._say("ENDP-12", call, "it is taken in, in an outage")
        for place, level in enumerate(self._levels, 1):
            asked = self._asked(level, call)
            if level.lacks(asked, t) and not self.lost_count:
                limit = f"limit {place}, of {level.words.per_s:g} s,"
                self._say(
                    "ENDP-08", call, f"{limit} has {level.left(t):g}, and the call takes {asked:g}"
                )
            level.take(asked, t)

    def refused(self, call: Call, by: str | None) -> None:
        """A call was refused, and perhaps it is said by what."""
        if call is self._sent:
            self._settle_sent()
        if by is not None and by not in call.by and not self.lost_count:
            should = " or ".join(call.by) or "nothing"
            self._say("ENDP-09", call, f"it is refused by {by}, and {should} was in its way")

    def expect_retry_after(self, call: Call, retry_after_s: float | None) -> None:
        """Hold a Retry-After to the one that follows from what a call met when it was sent."""
        due_retry_s = call.due_retry_s
        if self.lost_count:
            return
        if (due_retry_s is None) != (retry_after_s is None) or (
            due_retry_s is not None
            and retry_after_s is not None
            and abs(due_retry_s - retry_after_s) > self._near_s() + ROUNDING * due_retry_s
        ):
            should = "nothing" if due_retry_s is None else f"{due_retry_s:.9g} s"
            says = "nothing" if retry_after_s is None else f"{retry_after_s:.9g} s"
            self._say("ENDP-10", call, f"Retry-After says {says}, and should say {should}")

    # A call is served

    def queued(self, call: Call, t: float) -> None:
        """A call was taken in, and waits in line."""
        self._accept(call, t)
        call.stage = "line"
        self._line[call] = None
        self._queued = call

    def serving(self, call: Call, t: float) -> None:
        """A call is out of the line, and its prompt is to be read."""
        if call.stage == "line":
            first = next(iter(self._line))
            del self._line[call]
        else:
            self._accept(call, t)
            first = next(iter(self._line), call)
        if first is not call:
            self._overtaken.append((call, first))
        call.stage, call.served_s = "prefill", t
        self._reading.join(call)
        self._held += call.held
        self._holders += 1
        self._served = call

    def decoding(self, call: Call, t: float) -> None:  # noqa: ARG002
        """The prompt of a call was read, and its answer begins."""
        rest_s = self._reading.rest_s(call)
        if rest_s is None:
            self._say("ENDP-07", call, "the prompt before it is being read")
        elif abs(rest_s) > self._near_s():
            how = f"{rest_s:g} s too early" if rest_s > 0 else f"{-rest_s:g} s too late"
            self._say("ENDP-07", call, f"its prompt was read {how}")
        self._reading.leave(call)
        call.stage = "decode"
        self._decoding.join(call, watched=bool(self._giving))
        if self._giving and call.work * self._decoding.unit_s <= INSTANT_S:
            self.lost_count = True

    # A call leaves

    def ends(self, call: Call, t: float, *, answered: bool) -> None:
        """A call leaves, with its answer or without."""
        if call is self._sent:
            self._settle_sent()
        if answered and call.stage != "decode":
            self._say("ENDP-06", call, "it has an answer that did not begin")
        elif call.stage == "decode":
            lacks_s = (call.work - self._decoding.received(call)) * self._decoding.unit_s
            if lacks_s < -self._near_s() or (answered and lacks_s > self._near_s()):
                how = f"{lacks_s:g} s too early" if lacks_s > 0 else f"{-lacks_s:g} s too late"
                self._say("ENDP-06", call, f"it ends {how} for the speed that it shared")
            # An error is an answer, also one that took no time.
            answered = answered or lacks_s <= self._near_s()
        self._leave(call, t, answered=answered)

    def _near_s(self) -> float:
        """By how much moments may differ that are sums of rounded ones."""
        return 1e-8 + 1e-12 * self._t

    def _leave(self, call: Call, t: float, *, answered: bool = False) -> None:
        if call.stage == "line":
            del self._line[call]
        elif call.stage == "prefill":
            self._reading.leave(call)
        elif call.stage == "decode":
            self._decoding.leave()
        if call.stage in ("prefill", "decode"):
            if answered or _is_charged(call, t):
                self._prompts += call.prompt
                self._answers += call.output
            self._holders -= 1
            self._held = self._held - call.held if self._holders else 0.0
        if call in self._here:
            del self._here[call]
            if not call.returned:
                self._return(call, t)
        call.stage = "away"

    def _return(self, call: Call, t: float) -> None:
        for level in self._giving:
            level.return_(call.reserved - call.output, t)

    def lost(self, call: Call, t: float) -> None:
        """The endpoint lost a call."""
        begins = [one.from_s for one in self._words.outages if one.running == "fail"]
        if not any(abs(t - from_s) <= INSTANT_S for from_s in begins):
            self._say("ENDP-12", call, "it is lost, and no outage begins that takes what runs")
        self._leave(call, t)

    def crash(self, calls: list[Call], t: float) -> None:
        """The process of the client is gone, and with it all its calls."""
        self._sent = self._served = self._queued = None
        self._overtaken.clear()
        for call in calls:
            self._leave(call, t)

    # The end

    def hold(self, stated: EndpointSums, calls: list[Call]) -> None:
        """Hold the sums that the trace states at its end to those of the events."""
        self.close()
        served = (call for call in calls if call.stage in ("prefill", "decode"))
        running = [call for call in served if _is_charged(call, self._t)]
        prompts = self._prompts + math.fsum(call.prompt for call in running)
        answers = self._answers + math.fsum(call.output for call in running)
        for clause, what, said, counted in (
            ("ENDP-05", "seconds in line", stated.queue_s, self._line_s),
            ("ENDP-05", "seconds at prompts", stated.prefill_s, self._prefill_s),
            ("ENDP-05", "seconds at answers", stated.decode_s, self._decode_s),
            ("ENDP-15", "prompt tokens charged", stated.prompt_tokens, prompts),
            ("ENDP-15", "output tokens charged", stated.output_tokens, answers),
        ):
            if abs(said - counted) > ROUNDING * max(1.0, counted):
                text = f"{what}: {said:.9g} stated, {counted:.9g} counted"
                self._breaks(clause, f"endpoint {self._name!r}: {text}")

    def _say(self, clause: str, call: Call, text: str) -> None:
        self._breaks(clause, f"endpoint {self._name!r}: {call.name}: {text}")


def _is_charged(call: Call, t: float) -> bool:
    """True if a call that is given up at time t was served for a time."""
    return call.served_s < t


def _longest(waits: list[float]) -> tuple[str, ...]:
    """The limits whose wait is the longest, up to rounding; none if nobody waits."""
    longest = max(waits)
    if not longest:
        return ()
    near = longest * (1 - ROUNDING) - INSTANT_S
    return tuple(f"limit {place}" for place, wait in enumerate(waits) if place and wait >= near)
