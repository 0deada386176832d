"""Figures with an interval as text: as many digits as are known.

The second digit of a half-width is the last one that says anything of the figure beside it, so all
figures of one line end there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sim.output.result_table import decimals, integers

__all__ = ["apart", "estimated", "known", "percent", "rounded", "significant", "telling"]

_MOST_DECIMALS = 9


def known(values: Sequence[float | None], half_width: float | None, *, more: int = 1) -> list[str]:
    """Figures of one unit, with the digits that are known.

    Args:
        values: a figure that is None is a dash.
        half_width: of the interval of one of them; None or 0 gives no hint of the digits.
        more: digits of the half-width after its first.
    """
    if half_width:
        there = [value for value in values if value is not None]
        texts = iter(rounded(*there, by=half_width, more=more))
        return ["–" if value is None else next(texts) for value in values]
    if all(value is None or value == int(value) for value in values):
        return integers([None if value is None else int(value) for value in values])
    return decimals(values)


def rounded(*values: float, by: float, more: int = 0) -> list[str]:
    """Figures with the decimals of the first digit of `by`, and so many more."""
    if by < 10.0**-_MOST_DECIMALS:
        return [f"{value:,.4g}" for value in values]
    digits = min(max(more - math.floor(math.log10(by)), 0), _MOST_DECIMALS)
    texts = [f"{value:,.{digits}f}" for value in values]
    return [text if text.strip("-0.,") else text.lstrip("-") for text in texts]


def apart(size: float, half: float, least: int = 0) -> list[str]:
    """A difference and its half-width: with digits that show whether zero is left out.

    Args:
        size: how large the difference is, whichever way.
        half: its half-width.
        least: digits of the half-width after its first, if these are enough.
    """
    return rounded(size, half, by=half, more=telling(size, half, least))


def telling(size: float, half: float, least: int = 0) -> int:
    """The digits of a half-width after its first that show whether it leaves zero out."""
    more = least
    while half > 0 and more < least + 6:
        one, other = rounded(abs(size), half, by=half, more=more)
        if one != other or abs(size) == half:
            break
        more += 1
    return more


def percent(share: float) -> str:
    """A share as a percentage, with three digits at most: "2 %"."""
    return f"{significant(100 * share, 3)} %"


def significant(value: float, digits: int) -> str:
    """A number with so many digits at most, and never with an exponent: "470", "0.00001"."""
    short = float(f"{value:.{digits}g}")
    if short == 0:
        return "0"
    decimals = digits - 1 - math.floor(math.log10(abs(short)))
    text = f"{short:,.{max(decimals, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def estimated(runs: int) -> str:
    """A number of runs that is only an estimate, rounded up to two digits."""
    step = int(10 ** max(len(str(runs)) - 2, 0))
    return f"{-(-runs // step) * step:,}"
