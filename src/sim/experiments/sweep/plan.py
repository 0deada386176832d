"""Which runs a sweep wants, given those that are there: a function of the two alone.

A point with a fixed number of replications wants all of them. One with a precision wants ten, then
a quarter more, until the rule of `sim.experiments.stopping` says that they are enough. A ladder
wants a rung only when the one before is complete, and ends when a step gains too little: the
difference is taken seed by seed, and its interval says whether that is shown.

So it does not matter who made which run, and when: whoever asks with the same runs gets the same
answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from sim.experiments.intervals import Mean, mean_of, paired
from sim.experiments.sweep.points import Point
from sim.experiments.sweep.spec import LadderSpec, SweepSpec
from sim.result_fields import Scalar

__all__ = [
    "WHOLE",
    "LadderEnd",
    "Run",
    "Runs",
    "Shard",
    "Wish",
    "climb",
    "missing",
    "units",
    "values_of",
    "wishes",
]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a sweep.

    Attributes:
        figures: by name, as ``cellspec run --format csv`` gives them; empty if it failed.
        error: why it failed, on one line; None if it did not.
        violated: it failed because an event broke a clause.
    """

    figures: Mapping[str, Scalar]
    error: str | None = None
    violated: bool = False


Runs: TypeAlias = Mapping[str, Mapping[int, Run]]
"""By the digest of a point, its runs by seed."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How many runs of a point are wanted, seeds from 0.

    Attributes:
        point: the point.
        size: 0 for a point that cannot be run, or that a ladder has not come to.
        reached: whether a ladder has come to it; it has to a point without a ladder.
    """

    point: Point
    size: int
    reached: bool = True


@dataclass(frozen=True, slots=True)
class LadderEnd:
    """Where a ladder ended.

    Attributes:
        point: the number of the last rung that was run.
        why: the step gained too little, the ladder has no further rung, or a rung failed or lacks
            the figure.
        gain: of the last step, as a share of the figure before it; None if there is none.
        half_width: of the interval of `gain`; None if there is none.
        shown: the whole interval is below the gain that was asked for.
    """

    point: int
    why: Literal["gain", "top", "failed"]
    gain: float | None = None
    half_width: float | None = None
    shown: bool = False


@dataclass(frozen=True, slots=True)
class Shard:
    """The part of a sweep that one process makes: shard i of n.

    Attributes:
        index: from 1.
        count: of all shards.
    """

    index: int = 1
    count: int = 1

    def has(self, place: int) -> bool:
        """Whether the run, or the adaptive point, at this place is of the shard."""
        return place % self.count == self.index - 1

    def name(self) -> str:
        """The stem of its file."""
        return f"{self.index}-of-{self.count}"


WHOLE = Shard()
"""All of a sweep."""


def units(spec: SweepSpec, points: Sequence[Point]) -> list[Sequence[Point]]:
    """The points that depend on each other: the rungs of each ladder, or each point alone."""
    size = 1 if spec.ladder is None else len(spec.ladder.rungs())
    return [points[start : start + size] for start in range(0, len(points), size)]


def wishes(spec: SweepSpec, unit: Sequence[Point], runs: Runs) -> list[Wish]:
    """How many runs of each point of a unit are wanted now."""
    if spec.ladder is None:
        return [Wish(point, _size(spec, point, runs)) for point in unit]
    return climb(spec, spec.ladder, unit, runs)[0]


def missing(
    spec: SweepSpec, points: Sequence[Point], runs: Runs, shard: Shard = WHOLE
) -> list[tuple[str, int]]:
    """The runs of a shard that are wanted and not there: each by its digest and seed.

    Runs of one seed stand together, so that a sweep which is stopped has about as many of each
    point.
    """
    fixed = not spec.is_adaptive
    found: dict[tuple[str, int], int] = {}
    for place, unit in enumerate(units(spec, points)):
        if not fixed and not shard.has(place):
            continue
        for wish in wishes(spec, unit, runs):
            there = runs.get(wish.point.digest or "", {})
            for seed in range(wish.size):
                mine = not fixed or shard.has(place * wish.size + seed)
                if mine and seed not in there:
                    assert wish.point.digest is not None
                    found.setdefault((wish.point.digest, seed), wish.point.number)
    return sorted(found, key=lambda run: (run[1], found[run]))


def climb(
    spec: SweepSpec, ladder: LadderSpec, rungs: Sequence[Point], runs: Runs
) -> tuple[list[Wish], LadderEnd | None]:
    """How far a ladder has come.

    Returns:
        The wish of each rung, and where the ladder ended; None if it has not ended yet.
    """
    found: list[Wish] = []
    end: LadderEnd | None = None
    before: list[float] | None = None
    for point in rungs:
        if point.error is not None:
            end = LadderEnd(point.number, "failed")
            found.append(Wish(point, 0))
            break
        size = _size(spec, point, runs)
        found.append(Wish(point, size))
        there = runs.get(point.digest or "", {})
        if any(seed not in there for seed in range(size)):
            break
        values = values_of(there, size, ladder.figure)
        if values is None:
            end = LadderEnd(point.number, "failed")
            break
        if before is not None:
            end = _last_step(ladder, point.number, before, values)
            if end is not None:
                break
        before = values
    else:
        end = LadderEnd(rungs[-1].number, "top")
    found += [Wish(point, 0, reached=False) for point in rungs[len(found) :]]
    return found, end


def _last_step(
    ladder: LadderSpec, number: int, before: Sequence[float], after: Sequence[float]
) -> LadderEnd | None:
    """The end of a ladder if a step gains too little; None if it gains enough."""
    pairs = min(len(before), len(after))
    step = paired(before[:pairs], after[:pairs])
    share, wide = step.relative, step.relative_half_width
    if share is None:
        return None
    gain = share if ladder.better == "higher" else -share
    if gain >= ladder.gain:
        return None
    return LadderEnd(number, "gain", gain, wide, wide is not None and gain + wide < ladder.gain)


def _size(spec: SweepSpec, point: Point, runs: Runs) -> int:
    """How many runs of a point are wanted now."""
    if point.digest is None:
        return 0
    there, rule = runs.get(point.digest, {}), spec.stopping
    size = rule.next_size(0)
    if spec.precision is None:
        return size
    before: Mean | None = None
    while all(seed in there for seed in range(size)):
        values = values_of(there, size, spec.precision.figure)
        # Of a point that fails, or lacks the figure, more runs would say no more.
        if values is None:
            break
        found, following = mean_of(values), rule.next_size(size)
        if rule.is_enough(found, before) or following == size:
            break
        size, before = following, found
    return size


def values_of(runs: Mapping[int, Run], size: int, figure: str) -> list[float] | None:
    """A figure of the runs with seeds below `size` that are there; None if one of them has none."""
    found = list(_numbers((runs[seed] for seed in range(size) if seed in runs), figure))
    known = [value for value in found if value is not None]
    return known if found and len(known) == len(found) else None


def _numbers(runs: Iterator[Run], figure: str) -> Iterator[float | None]:
    for run in runs:
        value = run.figures.get(figure)
        yield None if isinstance(value, bool | str) or value is None else float(value)
