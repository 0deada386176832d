"""What calls receive of an endpoint: of its shared speed, and of the reading of prompts.

Both are integrals over time of counts that the events give, and of the words of the header.
"""

from __future__ import annotations

from heapq import heappop, heappush

from cellspec.check.endpoints.call import Call
from cellspec.check.endpoints.words import EndpointWords, Speed, stalls_of

__all__ = ["Advance", "Decoding", "Reading"]


class Advance:
    """How much of the time that passes counts: none of a pause, nor of an outage that hangs."""

    def __init__(self, words: EndpointWords) -> None:
        self._stalls = stalls_of(words)
        self._at = 0

    def seconds(self, since_s: float, t: float) -> float:
        """Seconds of ``[since_s, t]`` that count; asked for times that follow one another."""
        stalls, counted = self._stalls, t - since_s
        while self._at < len(stalls) and stalls[self._at][1] <= since_s:
            self._at += 1
        for start, stop in stalls[self._at :]:
            if start >= t:
                break
            counted -= min(stop, t) - max(start, since_s)
        return counted


class Decoding:
    """The calls that share the speed of an endpoint.

    Progress, the work of a call that had been there from the beginning, is kept in whole units and
    a rest, so that it is as exact after a million units as after one.

    Attributes:
        calls: so many decode.
        unit_s: what a unit of work takes now.
    """

    def __init__(self, words: EndpointWords) -> None:
        self._speed = Speed(words)
        self._units: list[float] = []
        self._whole, self._rest = 0, 0.0
        self.calls = 0
        self.unit_s = self._unit_of(0)
        # Who is due next, asked only where that matters.
        self._due: list[tuple[int, float, int, Call]] = []
        self._number = 0

    def pass_(self, seconds: float) -> None:
        """So many seconds pass in which calls advance."""
        if self.calls:
            self._rest += seconds / self.unit_s
            if self._rest >= 1:
                more = int(self._rest)
                self._whole += more
                self._rest -= more

    def join(self, call: Call, *, watched: bool) -> None:
        """A call begins to decode; `watched` if somebody asks when it is due."""
        self._change(1)
        call.whole, call.rest = self._whole, self._rest
        if watched:
            self._number += 1
            end = call.rest + call.work
            entry = call.whole + int(end), end - int(end), self._number, call
            heappush(self._due, entry)

    def leave(self) -> None:
        """A call decodes no more."""
        self._change(-1)

    def received(self, call: Call) -> float:
        """The work that a call has received since it began to decode."""
        return (self._whole - call.whole) + (self._rest - call.rest)

    def due(self, within_s: float) -> list[Call]:
        """Take out the calls that have received their work, or will within so many seconds."""
        found = []
        while self._due:
            whole, rest, _, call = self._due[0]
            if (whole - self._whole) + (rest - self._rest) > within_s / self.unit_s:
                break
            heappop(self._due)
            found.append(call)
        return found

    def _change(self, by: int) -> None:
        self.calls += by
        self.unit_s = self._unit_of(self.calls)

    def _unit_of(self, calls: int) -> float:
        units = self._units
        while len(units) <= calls:
            units.append(self._speed.unit_s(len(units)))
        return units[calls]


class Reading:
    """The prompts that an endpoint reads, one at a time, in the order in which they came."""

    def __init__(self, words: EndpointWords) -> None:
        self._speed = words.prefill_tokens_per_s
        self._line: dict[Call, None] = {}
        self._rest_s = 0.0

    def __len__(self) -> int:
        return len(self._line)

    def pass_(self, seconds: float) -> None:
        """So many seconds pass in which the first prompt is read."""
        if self._line:
            self._rest_s -= seconds

    def join(self, call: Call) -> None:
        """A prompt is to be read."""
        self._line[call] = None
        if len(self._line) == 1:
            self._begin()

    def rest_s(self, call: Call) -> float | None:
        """Seconds that a prompt is to be read yet; None if another one is being read."""
        return self._rest_s if next(iter(self._line), None) is call else None

    def leave(self, call: Call) -> None:
        """A prompt was read, or its call is gone."""
        first = next(iter(self._line), None) is call
        del self._line[call]
        if first and self._line:
            self._begin()

    def _begin(self) -> None:
        prompt = next(iter(self._line)).prompt
        self._rest_s = prompt / self._speed if self._speed else 0.0
