"""Charts as data: what is drawn, apart from how.

A `Chart` has two axes and layers, which are drawn in order. `sim.output.report.svg` draws it into a
page, and `sim.output.report.plots` into a file; both show the same data.

A colour is a number from 0 to 5, or a name: six colours tell series apart for colour-blind readers
too, in light and in dark, and a seventh series is part of ``"other"``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from sim.output.report.scale import Axis

__all__ = [
    "COLOURS",
    "MOST_SERIES",
    "Band",
    "Chart",
    "Colour",
    "Dots",
    "Layer",
    "Level",
    "Line",
    "Marks",
    "Spans",
    "colour_of",
]

COLOURS: Final = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#8526f0",
    "#5d2c11",
    "#392162",
)
"""On white; the style sheet has those on a dark page."""

NAMED: Final = {
    "other": "#6a737f",
    "limit": "#1a1f27",
    "crash": "#c11b17",
    "checkpoint": "#6d28d9",
    "quiet": "#59626f",
}
"""Colours with a meaning, on white."""

MOST_SERIES: Final = len(COLOURS)

Colour: TypeAlias = int | str


def colour_of(place: int) -> Colour:
    """The colour of a series, by its place among its likes."""
    return place if place < MOST_SERIES else "other"


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points.

    Attributes:
        stepped: each value holds until the next point.
        dashed: a bound or a model, not a measurement.
        dotted: another of several lines without dots.
    """

    points: tuple[tuple[float, float], ...]
    name: str
    colour: Colour
    stepped: bool = False
    dashed: bool = False
    dotted: bool = False


@dataclass(frozen=True, slots=True)
class Band:
    """The area between two lines; points are x, low, high.

    Attributes:
        solid: the area is the thing itself, and not what is around a line.
    """

    points: tuple[tuple[float, float, float], ...]
    name: str
    colour: Colour
    stepped: bool = False
    solid: bool = False


@dataclass(frozen=True, slots=True)
class Dots:
    """Points; each is x, y, and the ends of its interval (equal to y if it has none).

    Attributes:
        titles: of each point, what it is in words; a page shows it under the pointer.
        across: the intervals are along x.
        shape: by which series differ where colours cannot be told apart, as a colour's number.
        hollow: an outline alone.
    """

    points: tuple[tuple[float, float, float, float], ...]
    name: str
    colour: Colour
    titles: tuple[str, ...] = ()
    across: bool = False
    shape: int = 0
    hollow: bool = False


@dataclass(frozen=True, slots=True)
class Spans:
    """Bars along x, each in a lane of the y axis: lane, start, end.

    Attributes:
        words: of each bar a text behind its end; none at all if there are none.
    """

    items: tuple[tuple[int, float, float], ...]
    name: str
    colour: Colour
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Marks:
    """Moments on the x axis.

    Attributes:
        full: lines over the whole height; else ticks at the foot.
    """

    places: tuple[float, ...]
    name: str
    colour: Colour
    full: bool = True


@dataclass(frozen=True, slots=True)
class Level:
    """A line across at one value."""

    value: float
    name: str
    colour: Colour


Layer: TypeAlias = Line | Band | Dots | Spans | Marks | Level


@dataclass(frozen=True, slots=True)
class Chart:
    """One figure.

    Attributes:
        key: its name in file names and anchors; letters, digits and hyphens.
        title: the heading.
        about: what it shows, in a sentence, for those who cannot see it.
        says: what it means here, sentences that stand by themselves.
        notes: lines under it: how it was made, and what to mind.
        down: the y axis runs downwards, as for lanes.
        height: of the drawing, in 640ths of its width.
    """

    key: str
    title: str
    about: str
    x: Axis
    y: Axis
    layers: tuple[Layer, ...]
    notes: tuple[str, ...] = ()
    down: bool = False
    height: int = 300
    says: Sequence[str] = ()

    def legend(self) -> Iterator[Layer]:
        """Of each name the first layer that bears it; what has no name is not in it."""
        seen: set[str] = set()
        for layer in self.layers:
            if layer.name and layer.name not in seen:
                seen.add(layer.name)
                yield layer
