"""The levels of a provider's limits, worked out from the calls that were accepted.

A bucket is full at 0 s and refills all the time; a window counts from 0, per_s, 2 per_s, …. What
lacks a billionth of a limit, or less, lacks nothing.
"""

from __future__ import annotations

import math

from cellspec.check.endpoints.words import LimitWords

__all__ = ["Level"]

NOTHING = 1e-9


class Level:
    """What is left of one limit.

    Attributes:
        words: the limit.
        holds: at most so much is there.
    """

    def __init__(self, words: LimitWords) -> None:
        self.words = words
        self._amount = words.tokens if words.requests is None else words.requests
        assert self._amount is not None
        self._fixed = words.window == "fixed"
        self.holds = self._amount if self._fixed or words.burst is None else words.burst
        # There was so much left at `_at_s`, in the window of this number.
        self._left, self._at_s, self._window = self.holds, 0.0, 0

    def asked(self, prompt: float, output: float, reserved: float) -> float:
        """What a call with these tokens asks for."""
        if self.words.requests is not None:
            return 1.0
        return prompt + (output if self.words.charge == "used" else reserved)

    def left(self, t: float) -> float:
        """What may be taken at time t in seconds; below 0 if more was taken than was there."""
        if self._fixed:
            window = math.floor(t / self.words.per_s + NOTHING)
            if window > self._window:
                self._window, self._left = window, self.holds
            return self._left
        assert self._amount is not None
        came = (t - self._at_s) * self._amount / self.words.per_s
        return min(self.holds, self._left + came)

    def lacks(self, asked: float, t: float) -> float:
        """What a call lacks that asks for so much; 0 if it lacks nothing to speak of."""
        lack = asked - self.left(t)
        return lack if lack > NOTHING * self.holds else 0.0

    def wait_s(self, asked: float, t: float) -> float:
        """The Retry-After of such a call: its own deficit, or the rest of the window."""
        lack = self.lacks(asked, t)
        if not lack:
            return 0.0
        if self._fixed:
            return max(0.0, (self._window + 1) * self.words.per_s - t)
        assert self._amount is not None
        return lack / self._amount * self.words.per_s

    def take(self, asked: float, t: float) -> None:
        """A call is accepted."""
        left = self.left(t) - asked
        # A lack of nothing is none; else it would wait to be asked about.
        self._left = 0.0 if -2 * NOTHING * self.holds <= left < 0 else left
        self._at_s = t

    def return_(self, unused: float, t: float) -> None:
        """A call left that had reserved more than it used."""
        self._left, self._at_s = min(self.holds, self.left(t) + unused), t
