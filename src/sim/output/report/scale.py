"""Axes of charts: ticks at round numbers, and the words beside them.

A linear axis has its ticks at multiples of 1, 2 or 5 times a power of ten, of which the finest is
taken whose labels do not touch. A logarithmic axis has them at powers of ten, and at twice and five
times these where there is room; an axis of a swept field at the values that were run. A symmetric
axis has values on both sides of 0: it is linear near 0, and logarithmic further out. The label of
an axis says where it is logarithmic. A time axis is in seconds up to two hours, in hours up to two
days, and in days from there on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

__all__ = [
    "ROOM",
    "ROOM_BESIDE_WORDS",
    "Axis",
    "lanes",
    "linear",
    "logarithmic",
    "measured",
    "number",
    "of_values",
    "over_time",
    "shortened",
    "symmetric",
]

ROOM = 52
"""How many characters of labels fit along a chart, the space between two of them included."""

ROOM_BESIDE_WORDS = 32
"""The same where lanes have names."""

_PARTS = 5
"""Parts of a linear axis that is not cramped."""

_GAP = 2
"""The space between two labels, in characters."""

_LONGEST_WORD = 20
"""Letters of a word beside a tick."""

_LOG = " (log)"
"""What the label of a logarithmic axis ends with."""

_MOST_POWERS = 6
"""Powers of ten along a symmetric axis, on each side."""

_ROUNDING = 1e-12
"""The share of a number that its computation may be off by."""

_HOUR_S, _DAY_S = 3_600.0, 86_400.0


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a chart.

    Attributes:
        label: what it shows, and the unit: ``"time, s"``.
        low, high: its ends.
        ticks: of each its place on the axis and its word.
        is_log: places are the logarithms of values.
        linear_to: if above 0, places are logarithms beyond this value on both sides of 0, and
            proportional to values between; that part is as long as a factor of ten.
    """

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    is_log: bool = False
    linear_to: float = 0.0

    def place(self, value: float) -> float:
        """Where a value lies between the ends: 0 at the low one, 1 at the high one."""
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.is_log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        elif self.linear_to:
            low, high, value = (_both_sides(x / self.linear_to) for x in (low, high, value))
        return (value - low) / (high - low)


def number(value: float, step: float | None = None) -> str:
    """A number in a chart: with as many decimals as its step has, or three significant digits."""
    if step is None:
        digits = _digits(value)
        rounded = round(value, digits)
        text = f"{rounded:,.{digits}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:,.{_decimals(step)}f}"


def shortened(word: str) -> str:
    """A word beside a tick, cut short where it would leave the chart no room."""
    return word if len(word) <= _LONGEST_WORD else f"{word[: _LONGEST_WORD - 1]}…"


def measured(value: float, half_width: float | None) -> str:
    """A number with the half-width of its interval, both with as many decimals; or without.

    A half-width that is no more than the rounding of the value is none.
    """
    if not half_width or half_width < _ROUNDING * abs(value):
        return number(value)
    digits = max(_digits(half_width), _digits(value))
    return f"{value:,.{digits}f} ± {half_width:,.{digits}f}"


def linear(
    label: str,
    values: Iterable[float],
    *,
    zero: bool = True,
    room: int | None = None,
    whole: bool = False,
) -> Axis:
    """An axis that holds all values, and ends at ticks.

    Args:
        label: what it shows, and the unit.
        values: none, or some; none at all give an axis from 0 to 1.
        zero: it begins at 0 if no value is below.
        room: of an axis along a chart, the characters that fit there; None for one upwards.
        whole: it counts things, so that its ticks are whole numbers.
    """
    known = [value for value in values if math.isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        low, high = (low - abs(low) / 10, high + abs(high) / 10) if low else (0.0, 1.0)
    for parts in range(_PARTS, 0, -1):
        step = _step((high - low) / parts)
        step = max(step, 1.0) if whole else step
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        ticks = tuple((k * step, number(k * step + 0.0, step)) for k in range(first, last + 1))
        if room is None or _fits(ticks, room):
            break
    return Axis(label, first * step, last * step, ticks)


def over_time(end_s: float) -> Axis:
    """The axis of a run's time from 0 to its end; its places are seconds, whatever its unit."""
    end_s = end_s if end_s > 0 else 1.0
    unit, factor = "s", 1.0
    if end_s > 2 * _DAY_S:
        unit, factor = "days", _DAY_S
    elif end_s > 2 * _HOUR_S:
        unit, factor = "h", _HOUR_S
    for most in range(9, 1, -1):
        step = _step(end_s / factor / most)
        count = math.floor(end_s / factor / step + 1e-9)
        ticks = tuple((k * step * factor, number(k * step, step)) for k in range(count + 1))
        if _fits(ticks, ROOM):
            break
    return Axis(f"time, {unit}", 0.0, end_s, ticks)


def logarithmic(label: str, values: Iterable[float], *, room: int | None = None) -> Axis:
    """A logarithmic axis that holds all values, which are above 0.

    Args:
        label: what it shows, and the unit.
        values: at least one.
        room: as of `linear`.

    Raises:
        ValueError: a value is not above 0, or there is none.
    """
    known = list(values)
    if not known or min(known) <= 0:
        raise ValueError("a logarithmic axis needs values above 0")
    low, high = min(known), max(known)
    if low == high:
        low, high = low / 2, high * 2
    ticks: tuple[tuple[float, str], ...] = ()
    for digits in ((1,), (1, 5), (1, 2, 5)):
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        places = [digit * 10.0**k for k in range(first, last + 1) for digit in digits]
        inside = [x for x in places if low <= x * (1 + 1e-9) and x <= high * (1 + 1e-9)]
        finer = tuple((x, number(x)) for x in inside)
        if not ticks or len(finer) <= _PARTS + 1:
            ticks = finer
    if len(ticks) < 2:
        ticks = tuple((x, number(x)) for x in (low, high))
    while len(ticks) > _PARTS + 1:
        ticks = ticks[::2]
    axis = Axis(f"{label}{_LOG}", low, high, ticks, is_log=True)
    return axis if room is None else _thinned(axis, ticks, room)


def of_values(label: str, values: Iterable[float]) -> Axis:
    """The axis of a field that was run at these values, with ticks at them where there is room.

    It is logarithmic if the values are above 0 and the largest is at least eight times the least.
    """
    known = sorted(set(values))
    is_log = len(known) > 2 and known[0] > 0 and known[-1] >= 8 * known[0]
    if not is_log:
        return linear(label, known, zero=bool(known) and known[0] >= 0, room=ROOM)
    margin = (known[-1] / known[0]) ** 0.03
    bare = Axis(f"{label}{_LOG}", known[0] / margin, known[-1] * margin, (), is_log=True)
    return _thinned(bare, [(value, number(value)) for value in known], ROOM)


def symmetric(label: str, values: Iterable[float], least: float, *, room: int) -> Axis:
    """An axis on both sides of 0, on which values of several magnitudes can be told from 0.

    It is logarithmic from the power of ten at or below ``least``, and linear nearer to 0.

    Args:
        label: what it shows, and the unit.
        values: at least one that is ``least`` or further from 0.
        least: the size of the least value that must be told from 0, above 0.
        room: as of `linear`.
    """
    known = [0.0, *(value for value in values if math.isfinite(value))]
    # Within so many powers of ten there is a tick with room at each or at every second.
    power = max(
        math.floor(math.log10(least) + 1e-9),
        math.ceil(math.log10(max(map(abs, known)))) - _MOST_POWERS,
    )
    to = float(f"1e{power}")
    low, high = min(known), max(known)
    name = f"{label} (log beyond {'±' if low < -to else ''}{number(to)})"
    bare = Axis(name, low, high, (), linear_to=to)
    ticks: list[tuple[float, str]] = []
    for end, sign in ((low, -1), (high, 1)):
        sizes = [float(f"1e{k}") for k in range(power, power + _MOST_POWERS + 1)]
        inside = [sign * size for size in sizes if size <= sign * end * (1 + 1e-9)]
        outwards = [(value, number(value)) for value in (0.0, *inside)]
        # From 0 on, so that 0 has a tick whatever else has room.
        ticks += _thinned(bare, outwards, room).ticks
    return replace(bare, ticks=tuple(sorted(set(ticks))))


def lanes(words: Sequence[str], label: str = "") -> Axis:
    """An axis of lanes, the first on top; lane k is from k to k + 1."""
    count = len(words)
    ticks = tuple((place + 0.5, word) for place, word in enumerate(words) if word)
    return Axis(label, 0.0, float(max(count, 1)), ticks)


def _step(least: float) -> float:
    """The least of 1, 2 or 5 times a power of ten that is not below a width."""
    power = 10.0 ** math.floor(math.log10(least))
    for digit in (1.0, 2.0, 5.0, 10.0):
        if digit * power >= least * (1 - 1e-9):
            return float(f"{digit * power:.6g}")
    raise AssertionError("ten times a power of ten is at least the next one")


def _both_sides(value: float) -> float:
    """A value as it is between -1 and 1; beyond, its logarithm to the base of ten, and one."""
    size = abs(value)
    return value if size <= 1 else math.copysign(1 + math.log10(size), value)


def _decimals(step: float) -> int:
    return max(0, -math.floor(math.log10(step) + 1e-9))


def _digits(value: float) -> int:
    """Decimals that show three significant digits."""
    return 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value)) + 1e-9))


def _fits(ticks: Sequence[tuple[float, str]], room: int) -> bool:
    return sum(len(word) + _GAP for _, word in ticks) <= room


def _thinned(axis: Axis, ticks: Iterable[tuple[float, str]], room: int) -> Axis:
    """An axis with those of some ticks whose labels have space after the one before."""
    kept: list[tuple[float, str]] = []
    for tick in ticks:
        if not kept or _apart(axis, kept[-1], tick, room):
            kept.append(tick)
    return replace(axis, ticks=tuple(kept))


def _apart(axis: Axis, one: tuple[float, str], other: tuple[float, str], room: int) -> bool:
    """Whether the labels of two ticks have space between them."""
    between = abs(axis.place(other[0]) - axis.place(one[0])) * room
    return between >= (len(one[1]) + len(other[1])) / 2 + _GAP / 2
