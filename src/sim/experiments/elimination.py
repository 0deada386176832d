"""The best of several scenarios, found by paired elimination.

All candidates run with the same seeds, round by round: 10 runs of each, then a quarter more. After
each round those that are left are compared with the best of them, seed by seed, and one whose
interval shows it to be worse makes no more runs. It ends when one is left, when none of the others
can be better than the chosen one by more than the wished precision, or at a cap.

*How sure.* Each round looks at the same runs again, and at several candidates, so that one interval
of 95 % for each look would put the truly best one out far more often than once in twenty searches.
The error that is allowed in all, 5 %, is divided by the number of looks and of comparisons
(Bonferroni): whichever candidate is truly best, all events that could put it out have at most this
probability together. These are: another is shown to be better, one that breaks a limit is
taken for one that keeps it, and the best is shown to break a limit. Each comparison is one-sided,
and the intervals are those of Student, so that it holds as far as means of ten or more differences
follow his distribution.

*Rare crashes.* Runs in which no crash came say nothing of what one costs, and their differences
may not vary at all: an interval of them would be narrow, and wrong. So while crashes are random and
came in fewer than `ENOUGH` runs of a candidate, it counts as worse than it looks: by 1 - p^(1/n) of
its figure, where p is the probability of error of one comparison and n the runs. If crashes come in
a larger share of runs, all n miss them with a probability below p; and a crash is taken to double
the figure at most, or to make a share 1.

*What was chosen before.* A search may follow another one, whose choice is among its candidates and
has more runs than these. It stays unless it is put out, or another one has the better mean over all
of its runs.

*Limits.* A candidate is out when its interval lies above a limit, and puts others out only if its
interval lies below all limits. In between, the limit is *undetermined*.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from cellspec.errors import SpecError
from sim.experiments.intervals import LEVEL, Difference, Mean, mean_of, paired
from sim.experiments.stopping import next_size

__all__ = [
    "ENOUGH",
    "Against",
    "Effort",
    "Elimination",
    "Kept",
    "Limit",
    "Out",
    "Standing",
    "eliminate",
]

PRECISION = 0.01
"""What is not worth more runs, as a share of the best figure, if nothing else is said."""

MOST_RUNS = 200
"""Runs of each candidate after which a search ends, if nothing else is said."""

ENOUGH = 10
"""So many runs with a crash show what crashes cost."""

_ROUNDING = 1e-9
"""Relative differences below this are those of sums of floats, whatever their interval says."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What the mean of a figure may be at most.

    Attributes:
        figure: its name, as in `Replication.figures`.
        most: in the unit of the figure.
    """

    figure: str
    most: float


@dataclass(frozen=True, slots=True)
class Effort:
    """How sure a search is to be, and how long it may take.

    Attributes:
        precision: a gain that is not worth more runs, as a share of the figure.
        most_runs: of each candidate.
        error: the probability, at most, that the best candidate is put out.
    """

    precision: float = PRECISION
    most_runs: int = MOST_RUNS
    error: float = 1 - LEVEL

    def sizes(self) -> tuple[int, ...]:
        """How many runs each candidate has at each look."""
        found = [min(next_size(0), self.most_runs)]
        while found[-1] < self.most_runs:
            found.append(min(next_size(found[-1]), self.most_runs))
        return tuple(found)

    def level(self, candidates: int, limits: int) -> float:
        """The level of each interval that decides."""
        others = max(candidates - 1, 0)
        events = others + limits + others * limits
        return 1 - 2 * self.error / (max(events, 1) * len(self.sizes()))


@dataclass(frozen=True, slots=True)
class Kept:
    """A candidate and a limit.

    Attributes:
        limit: which.
        mean: of the figure, with its interval at the level of the search.
        over: how many of the runs are above the limit.
        unseen: what crashes that did not come might add to the mean, in the unit of the figure.
    """

    limit: Limit
    mean: Mean
    over: int
    unseen: float = 0.0

    @property
    def meets(self) -> bool | None:
        """Whether the interval lies below the limit; None if the limit lies in it."""
        half = self.mean.half_width
        if half is None:
            return None
        slack = _ROUNDING * abs(self.limit.most)
        if self.mean.mean + half + self.unseen <= self.limit.most + slack:
            return True
        return False if self.mean.mean - half > self.limit.most + slack else None

    def is_settled(self, precision: float) -> bool:
        """Whether more runs are not worth while: it is known, or the mean is at the limit."""
        half = self.mean.half_width
        if half is None or self.meets is not None:
            return half is not None
        return half + self.unseen <= precision * abs(self.limit.most)


@dataclass(frozen=True, slots=True)
class Against:
    """A candidate's figure less that of another one.

    Attributes:
        place: of the other one.
        found: the difference, its interval at the level of the search.
    """

    place: int
    found: Difference


@dataclass(frozen=True, slots=True)
class Out:
    """Why a candidate makes no more runs.

    Attributes:
        reason: it is worse than another one; it breaks a limit; a run of it lacks a figure; it
            is refused, or cannot be run.
        runs: how many it had made.
        against: the better one, where it is worse.
        limit: the one that it breaks.
        text: the error, or the figure that is missing.
    """

    reason: Literal["worse", "limit", "no figure", "refused"]
    runs: int
    against: Against | None = None
    limit: Kept | None = None
    text: str = ""


@dataclass(slots=True)
class Standing:
    """How a candidate stands.

    Attributes:
        place: among the candidates.
        mean: of the goal's figure, with its interval of 95 %; None if it has none.
        limits: how it stands to each limit.
        out: why it is out; None if it is left.
        against: of those left beside the chosen one, the difference from that one.
        crashed: in how many of its runs a crash came; None where crashes are not random.
    """

    place: int
    mean: Mean | None = None
    limits: tuple[Kept, ...] = ()
    out: Out | None = None
    against: Against | None = None
    crashed: int | None = None

    @property
    def saw_few_crashes(self) -> bool:
        """Whether crashes are random, and so few came that it is not known what they cost."""
        return self.crashed is not None and self.crashed < ENOUGH

    @property
    def meets(self) -> bool:
        """Whether it is shown to keep all limits."""
        return all(kept.meets for kept in self.limits)


@dataclass(frozen=True, slots=True)
class Elimination:
    """What came of a search.

    Attributes:
        standings: of all candidates, in their order.
        level: of the intervals that decide.
        sizes: the runs of those left at each look.
        chosen: the place of the best; None if all are out.
        ended: one was left; the others cannot be better by more than the precision; or the cap
            was reached first.
        held: the one that these runs alone would choose, less the one that was chosen before and
            stays, over all runs of the latter; None if these runs alone decide.
    """

    standings: tuple[Standing, ...]
    level: float
    sizes: tuple[int, ...]
    chosen: int | None
    ended: Literal["one left", "precise", "cap"]
    held: Against | None = None

    def left(self) -> list[Standing]:
        """Those that are not out."""
        return [one for one in self.standings if one.out is None]

    def nearest(self) -> int | None:
        """Of those that break a limit, the one that breaks it by the smallest factor."""
        excess = {
            one.place: max(kept.mean.mean / kept.limit.most for kept in one.limits)
            for one in self.standings
            if one.out is not None and one.out.reason == "limit"
        }
        return min(excess, key=lambda place: (excess[place], place)) if excess else None


class Runs(Protocol):
    """The part of an `Experiment` that a search uses."""

    def grow(self, size: int, places: Iterable[int] | None = None) -> None:
        """Make runs until each of these candidates has so many."""

    def values(self, figure: str, place: int = 0) -> list[float] | None:
        """A figure of every run of a candidate; None if one of the runs has none."""


def eliminate(
    runs: Runs,
    candidates: int,
    figure: str,
    *,
    less_is_better: bool,
    limits: Sequence[Limit] = (),
    effort: Effort | None = None,
    changes: Sequence[int] = (),
    crashes: str | None = None,
    before: int | None = None,
    on_round: Callable[[Mean | None, int, int], object] = lambda *_what: None,
) -> Elimination:
    """Find the best candidate.

    Args:
        runs: makes them; may hold runs already.
        candidates: how many there are.
        figure: that is to be as good as possible, by its mean.
        less_is_better: which way is good.
        limits: what must be kept.
        effort: how sure and how long.
        changes: of each candidate, how much of the scenario it changes: of those than which none
            can be better by more than the precision, the one with the fewest is chosen. None
            given: no candidate changes more than another.
        crashes: the figure that counts the crashes of a run, where these are random.
        before: the place of the candidate that was chosen before; None if none was.
        on_round: called when a round is over and another one follows, with the figure of the best
            one (95 %), how many candidates are left, and how many runs the next round makes.

    Raises:
        MissingExtraError: a package of the extra `experiments` is not installed.
        Violation: an event of a run breaks a clause.
        KeyError: no run has a figure of this name.
    """
    search = _Search(
        runs, candidates, figure, less_is_better, limits, effort or Effort(), changes, crashes
    )
    return search.result(before, on_round)


class _Search:
    """One search, from round to round."""

    def __init__(
        self,
        runs: Runs,
        candidates: int,
        figure: str,
        less_is_better: bool,
        limits: Sequence[Limit],
        effort: Effort,
        changes: Sequence[int],
        crashes: str | None,
    ) -> None:
        self._runs, self._figure, self._limits = runs, figure, limits
        self._changes, self._crashes = changes or (0,) * candidates, crashes
        self._effort, self._sign = effort, 1.0 if less_is_better else -1.0
        self._level = effort.level(candidates, len(limits))
        self._all = tuple(Standing(place) for place in range(candidates))
        self._values: dict[int, list[float]] = {}

    def result(
        self, before: int | None, on_round: Callable[[Mean | None, int, int], object]
    ) -> Elimination:
        made: list[int] = []
        sizes = self._effort.sizes()
        chosen: int | None = None
        ended: Literal["one left", "precise", "cap"] = "cap"
        for size, following in zip(sizes, (*sizes[1:], sizes[-1]), strict=True):
            made.append(size)
            self._grow(size)
            self._judge_limits(size)
            self._put_out_worse(size)
            chosen, sure = self._choice()
            left = self._left()
            if sure and all(self._is_settled(one) for one in left):
                ended = "one left" if len(left) <= 1 else "precise"
                break
            best = None if chosen is None else mean_of(self._values[chosen])
            on_round(best, len(left), len(left) * (following - size))
        held = None if before is None or chosen is None else self._held(before, chosen)
        if held is not None:
            chosen = before
        for one in self._left():
            if chosen is not None and one.place != chosen:
                one.against = Against(chosen, self._less(chosen, one.place))
        return Elimination(self._all, self._level, tuple(made), chosen, ended, held)

    def _held(self, before: int, chosen: int) -> Against | None:
        """How the chosen one stands to the one chosen before; None if it takes its place."""
        kept = self._all[before]
        if before == chosen or kept.out is not None or self._all[chosen].meets > kept.meets:
            return None
        values = self._runs.values(self._figure, before)
        if values is None:
            return None
        try:
            self._runs.grow(len(values), [chosen])
        except SpecError:
            values = values[: len(self._values[before])]
        others = self._runs.values(self._figure, chosen)
        if others is None:
            return None
        size = min(len(values), len(others))
        found = paired(values[:size], others[:size], self._level)
        is_better = self._worse_by(found) < -self._noise(found)
        return None if is_better else Against(chosen, found)

    def _left(self) -> list[Standing]:
        return [one for one in self._all if one.out is None]

    def _grow(self, size: int) -> None:
        """Make runs, candidate by candidate: an error puts out the one that it is of."""
        for one in self._left():
            try:
                self._runs.grow(size, [one.place])
            except SpecError as error:
                one.out = Out("refused", 0 if one.mean is None else one.mean.runs, text=str(error))
                continue
            values = self._of(self._figure, one, size)
            if values is not None:
                self._values[one.place] = values
                one.mean = mean_of(values)
            if self._crashes is not None and one.out is None:
                came = self._of(self._crashes, one, size) or []
                one.crashed = sum(count > 0 for count in came)

    def _of(self, figure: str, one: Standing, size: int) -> list[float] | None:
        """A figure of a candidate's runs; one that lacks it is out."""
        values = self._runs.values(figure, one.place)
        if values is None:
            one.out = Out("no figure", size, text=figure)
            return None
        return values[:size]

    def _judge_limits(self, size: int) -> None:
        for one in self._left():
            found = []
            for limit in self._limits:
                values = self._of(limit.figure, one, size)
                if values is not None:
                    over = sum(value > limit.most for value in values)
                    mean = mean_of(values, self._level)
                    unseen = self._unseen(one, limit.figure, mean.mean)
                    found.append(Kept(limit, mean, over, unseen))
            one.limits = tuple(found)
            broken = next((kept for kept in found if kept.meets is False), None)
            if one.out is None and broken is not None:
                one.out = Out("limit", size, limit=broken)

    def _put_out_worse(self, size: int) -> None:
        """Compare those left with the best of those that keep all limits."""
        best = self._best([one for one in self._left() if one.meets])
        if best is None:
            return
        for one in self._left():
            if one.place == best:
                continue
            found = self._less(best, one.place)
            if self._worse_by(found) > self._slack(best, found) + self._noise(found):
                one.out = Out("worse", size, against=Against(best, found))

    def _choice(self) -> tuple[int | None, bool]:
        """The best of those left, and whether none of them can be better by more than is wished.

        Those that keep all limits go before those of which that is not known. A change must be
        worth it: what changes least is asked first.
        """
        left = self._left()
        known = [one for one in left if one.meets] or left
        best = self._best(known)
        if best is None:
            return None, True
        rivals = [one.place for one in left if one.meets or not self._is_settled(one)]
        for one in sorted(known, key=self._order):
            if all(self._is_enough(one.place, place) for place in rivals):
                return one.place, True
        return best, False

    def _best(self, among: Sequence[Standing]) -> int | None:
        """The one with the best mean; of equal ones that which changes least, then the first."""
        if not among:
            return None
        return min(among, key=lambda one: (self._good(one), *self._order(one))).place

    def _order(self, one: Standing) -> tuple[int, float, int]:
        return self._changes[one.place], self._good(one), one.place

    def _good(self, one: Standing) -> float:
        """The mean, the smaller the better."""
        assert one.mean is not None, "who has no figure is out"
        return self._sign * one.mean.mean

    def _is_settled(self, one: Standing) -> bool:
        return all(kept.is_settled(self._effort.precision) for kept in one.limits)

    def _is_enough(self, pivot: int, other: int) -> bool:
        """Whether a candidate cannot be better than the pivot by more than the precision."""
        if pivot == other:
            return True
        found = self._less(pivot, other)
        gain = self._slack(pivot, found) - self._worse_by(found)
        return gain <= self._effort.precision * abs(found.a.mean) + self._noise(found)

    def _slack(self, good: int, found: Difference) -> float:
        """What a difference may be off by, to the harm of the candidate that looks better."""
        return _half(found) + self._unseen(self._all[good], self._figure, found.a.mean)

    def _unseen(self, one: Standing, figure: str, mean: float) -> float:
        """How much worse than it looks a candidate may be, for crashes that did not come."""
        if not one.saw_few_crashes or one.mean is None:
            return 0.0
        missed = 1 - math.pow((1 - self._level) / 2, 1 / one.mean.runs)
        return missed * (1.0 if figure.endswith("_share") else abs(mean))

    def _less(self, a: int, b: int) -> Difference:
        return paired(self._values[a], self._values[b], self._level)

    def _worse_by(self, found: Difference) -> float:
        return self._sign * found.difference.mean

    def _noise(self, found: Difference) -> float:
        return _ROUNDING * max(abs(found.a.mean), abs(found.b.mean))


def _half(found: Difference) -> float:
    half = found.difference.half_width
    return float("inf") if half is None else half
