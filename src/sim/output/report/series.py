"""Values over time in bounded memory.

How long a run is shows only at its end, so the width of a bin cannot be chosen before. `Bins`
begins with narrow ones and joins them in pairs each time that they no longer reach the present:
there are always between half of `BINS` and `BINS` of them, as wide as a power of two in seconds.

`Steps` keeps each change of a value as long as there are few, and means over bins beside: a short
run is drawn exactly, and a long one smoothly.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BINS", "MOST_CHANGES", "Bins", "Steps", "Thinned"]

BINS: Final = 320
"""At most so many bins; a chart has about 550 units of length."""

MOST_CHANGES: Final = 600
"""Up to so many changes a value is drawn exactly."""

MOST_MARKS: Final = 160
"""At most so many moments are marked."""


class Bins:
    """Sums by time: the share of each bin in what is added to a span.

    Attributes:
        width_s: of a bin, in seconds.
    """

    def __init__(self) -> None:
        self.width_s = 2.0**-20
        self._sums = [0.0] * BINS

    def add(self, start_s: float, stop_s: float, weight: float = 1.0) -> None:
        """Add so much per second of a span."""
        if stop_s <= start_s:
            return
        self._reach(stop_s)
        width, sums = self.width_s, self._sums
        first, last = int(start_s / width), min(int(stop_s / width), BINS - 1)
        if first == last:
            sums[first] += weight * (stop_s - start_s)
            return
        sums[first] += weight * ((first + 1) * width - start_s)
        for place in range(first + 1, last):
            sums[place] += weight * width
        sums[last] += weight * (stop_s - last * width)

    def count(self, t_s: float, amount: float = 1.0) -> None:
        """Add something that happened at a moment."""
        self._reach(t_s)
        self._sums[min(int(t_s / self.width_s), BINS - 1)] += amount

    def rates(self, end_s: float, joined: int = 1) -> list[tuple[float, float]]:
        """Of each bin its start and its sum by second, and the end of the run with the last.

        Args:
            end_s: the end of the run.
            joined: so many neighbours make one bin.
        """
        self._reach(end_s)
        found = []
        width_s, start = joined * self.width_s, 0.0
        for place in range(0, BINS, joined):
            if start < end_s:
                stop = min(start + width_s, end_s)
                found.append((start, sum(self._sums[place : place + joined]) / (stop - start)))
                start += width_s
        return [*found, (end_s, found[-1][1])] if found else []

    def total(self) -> float:
        """All that was added."""
        return sum(self._sums)

    def _reach(self, t_s: float) -> None:
        while t_s > self.width_s * BINS:
            pairs = self._sums
            self._sums = [pairs[k] + pairs[k + 1] for k in range(0, BINS, 2)] + [0.0] * (BINS // 2)
            self.width_s *= 2


class Steps:
    """A value that holds until it changes.

    Attributes:
        value: at present.
        bins: its integral over time.
    """

    def __init__(self, value: float = 0.0) -> None:
        self.value = value
        self.bins = Bins()
        self._since_s = 0.0
        self._changes: list[tuple[float, float]] | None = [(0.0, value)]

    def set(self, t_s: float, value: float) -> None:
        """The value from a time on, which is not before that of the last change."""
        if value == self.value:
            return
        self.bins.add(self._since_s, t_s, self.value)
        self.value, self._since_s = value, t_s
        if self._changes is None:
            return
        if self._changes[-1][0] == t_s:
            self._changes.pop()
        self._changes.append((t_s, value))
        if len(self._changes) > MOST_CHANGES:
            self._changes = None

    def add(self, t_s: float, by: float) -> None:
        """Change the value at a time."""
        self.set(t_s, self.value + by)

    @property
    def is_exact(self) -> bool:
        """Whether `points` has each change, and not means."""
        return self._changes is not None

    def points(self, end_s: float) -> tuple[tuple[float, float], ...]:
        """The value from each time on, to the end of the run: each change, or means over bins."""
        self.bins.add(self._since_s, end_s, self.value)
        self._since_s = max(self._since_s, end_s)
        if self._changes is None:
            return tuple(self.bins.rates(end_s))
        return (*self._changes, (end_s, self._changes[-1][1]))

    def mean(self, end_s: float) -> float:
        """The mean of the value over the run."""
        self.points(end_s)
        return self.bins.total() / end_s if end_s else self.value


class Thinned:
    """Moments, of which every second is left out whenever there are too many to be marked.

    Attributes:
        count: how many there were.
        every: one in so many is kept.
    """

    def __init__(self) -> None:
        self.count = 0
        self.every = 1
        self._kept: list[float] = []

    def add(self, t_s: float) -> None:
        """One more moment."""
        if self.count % self.every == 0:
            self._kept.append(t_s)
        self.count += 1
        if len(self._kept) > MOST_MARKS:
            self._kept = self._kept[::2]
            self.every *= 2

    @property
    def places(self) -> tuple[float, ...]:
        """Those that are kept."""
        return tuple(self._kept)
