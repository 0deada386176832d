"""What a client's throttle must allow, worked out from the refusals and answers that it got."""

from __future__ import annotations

import math

from cellspec.check.endpoints.words import ThrottleWords

__all__ = ["Allowed"]


class Allowed:
    """The limit of a client that lowers it after refusals and raises it after successes.

    Args:
        words: of the throttle.
        most: the client's own limit of the resource.

    Attributes:
        limit: so many calls may be out.
        out: so many are.
        next_s: none may go out before.
    """

    def __init__(self, words: ThrottleWords, most: float) -> None:
        self._words, self._most = words, most
        self.begin(0.0)

    def begin(self, t: float) -> None:
        """A process begins that knows nothing."""
        start = self._words.start
        first = self._most if start is None or self._words.pause_s is not None else start
        self.limit: float = min(first, self._most)
        self.out = 0
        self._successes = 0
        self.next_s = t

    def refused(self, t: float, limit_then: float, retry_after_s: float | None) -> None:
        """A call is refused that went out when the limit was `limit_then`."""
        words = self._words
        self.out -= 1
        self._successes = 0
        if words.pause_s is not None:
            self.next_s = t + words.pause_s
            return
        self.next_s = t + (words.cool_down_s if retry_after_s is None else retry_after_s)
        # Whoever went out under a higher limit is of a burst for which it was cut already.
        if limit_then <= self.limit:
            self.limit = max(1, math.floor(self.limit * words.decrease))

    def left(self, t: float, *, well: bool) -> None:
        """A call is not out any more; it counts if it ended well and no cool-down runs."""
        self.out -= 1
        if not well or t < self.next_s:
            return
        self._successes += 1
        if self._words.pause_s is None and self._successes >= self._words.successes:
            self._successes = 0
            self.limit = min(self.limit + self._words.increase, self._most)
