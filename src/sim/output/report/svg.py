"""Charts as inline SVG, without scripts: a title and a description, axes, layers.

The drawing is 640 units wide, and its width on the page follows the page's. On a phone a unit is
half a pixel; the style sheet then doubles the size of the letters, and the margins have room for
that. What must be read as prose (heading, legend, notes) is HTML beside the drawing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from cellspec.conformance.report.markup import Markup, tag
from sim.output.report.charts import (
    Band,
    Chart,
    Colour,
    Dots,
    Layer,
    Level,
    Line,
    Marks,
    Spans,
)
from sim.output.report.scale import shortened

__all__ = ["figure", "svg"]

WIDTH = 640
_RIGHT, _TOP, _BOTTOM = 30, 36, 58
_LETTER = 10.6
"""The width of a letter at the size that a phone shows."""

_SHAPES = (
    "",
    "m-4.2 -4.2h8.4v8.4h-8.4z",
    "m0 -6l6 6l-6 6l-6 -6z",
    "m0 -5.5l5.8 10h-11.6z",
    "m0 5.5l5.8 -10h-11.6z",
    "m-6 -2h4v-4h4v4h4v4h-4v4h-4v-4h-4z",
)
"""The outlines of dots about their middle, as paths; the first is a circle."""

_FILLED, _HOLLOW = "●■◆▲▼✚", "○□◇△▽✛"
"""Letters that look like them, for the legend."""


def figure(chart: Chart) -> Markup:
    """A chart with its heading, its legend and its notes."""
    named = list(chart.legend())
    keys = [tag("li", _key(layer), layer.name) for layer in named]
    notes = [tag("p", sentence) for sentence in chart.says]
    notes += [tag("p", note, class_="quiet") for note in chart.notes]
    return tag(
        "figure",
        tag("h3", chart.title),
        tag("ul", *keys, class_="keys") if keys else None,
        svg(chart),
        tag("figcaption", *notes) if notes else None,
        id=f"chart-{chart.key}",
        class_="chart",
    )


def svg(chart: Chart) -> Markup:
    """The drawing alone."""
    frame = _Frame(chart)
    drawn = [piece for layer in chart.layers for piece in frame.layer(layer)]
    title, about = f"{chart.key}-title", f"{chart.key}-about"
    return tag(
        "svg",
        tag("title", chart.title, id=title),
        tag("desc", chart.about, id=about),
        *frame.grid(),
        *drawn,
        *frame.words(),
        viewBox=f"0 0 {WIDTH} {chart.height}",
        role="img",
        aria_labelledby=f"{title} {about}",
    )


class _Frame:
    """The places of a chart's axes in the drawing."""

    def __init__(self, chart: Chart) -> None:
        self._chart = chart
        longest = max((len(shortened(word)) for _, word in chart.y.ticks), default=1)
        self.left = max(34.0, longest * _LETTER + 12)
        # Half of the last label stands beyond its tick.
        last = max((len(word) for _, word in chart.x.ticks), default=0)
        self.right, self.top = WIDTH - max(_RIGHT, last * _LETTER / 2 + 4), _TOP
        self.bottom = chart.height - _BOTTOM

    def x(self, value: float) -> float:
        return self.left + self._chart.x.place(value) * (self.right - self.left)

    def y(self, value: float) -> float:
        place = self._chart.y.place(value)
        return self.top + (place if self._chart.down else 1 - place) * (self.bottom - self.top)

    # Axes

    def grid(self) -> Iterator[Markup]:
        """The lines behind the data."""
        x, y = self._chart.x, self._chart.y
        steps = [f"M{_n(self.x(at))} {_n(self.top)}V{_n(self.bottom)}" for at, _ in x.ticks]
        if not self._chart.down:
            steps += [f"M{_n(self.left)} {_n(self.y(at))}H{_n(self.right)}" for at, _ in y.ticks]
        yield tag("path", class_="grid", d="".join(steps))
        foot = f"M{_n(self.left)} {_n(self.top)}V{_n(self.bottom)}H{_n(self.right)}"
        yield tag("path", class_="axis", d=foot)

    def words(self) -> Iterator[Markup]:
        """What stands along the axes."""
        x, y = self._chart.x, self._chart.y
        for at, word in x.ticks:
            yield _text(self.x(at), self.bottom + 20, word, "middle", "tick")
        for at, word in y.ticks:
            yield _text(self.left - 6, self.y(at) + 5, word, "end", "tick")
        yield _text(self.right, self.bottom + 46, x.label, "end", "label")
        if y.label:
            yield _text(4, 18, y.label, "start", "label")

    # Layers

    def layer(self, layer: Layer) -> Iterator[Markup]:
        """One layer, as one element or a few."""
        if isinstance(layer, Line):
            points = [(self.x(x), self.y(y)) for x, y in layer.points]
            how = "dashed " * layer.dashed + "dotted " * layer.dotted
            kind = f"line {how}{_class(layer.colour)}"
            if points:
                yield _shown(layer.name, kind, _path(points, stepped=layer.stepped))
        elif isinstance(layer, Band):
            yield self._band(layer)
        elif isinstance(layer, Dots):
            yield from self._dots(layer)
        elif isinstance(layer, Spans):
            yield from self._spans(layer)
        elif isinstance(layer, Marks):
            top = self.top if layer.full else self.bottom - 9
            steps = [f"M{_n(self.x(at))} {_n(top)}V{_n(self.bottom)}" for at in layer.places]
            kind = "mark" if layer.full else "foot"
            yield _shown(layer.name, f"{kind} {_class(layer.colour)}", "".join(steps))
        else:
            at = f"M{_n(self.left)} {_n(self.y(layer.value))}H{_n(self.right)}"
            yield _shown(layer.name, f"line dashed {_class(layer.colour)}", at)

    def _band(self, band: Band) -> Markup:
        high = [(self.x(x), self.y(top)) for x, _, top in band.points]
        low = [(self.x(x), self.y(foot)) for x, foot, _ in band.points]
        back = _path(low, stepped=band.stepped, backwards=True)
        path = f"{_path(high, stepped=band.stepped)}L{back[1:]}Z" if high else ""
        kind = "area" if band.solid else "band"
        return _shown(band.name, f"{kind} {_class(band.colour)}", path)

    def _dots(self, dots: Dots) -> Iterator[Markup]:
        colour = _class(dots.colour)
        bars = []
        for x, y, low, high in dots.points:
            if low != high and dots.across:
                bars.append(f"M{_n(self.x(low))} {_n(self.y(y))}H{_n(self.x(high))}")
            elif low != high:
                bars.append(f"M{_n(self.x(x))} {_n(self.y(low))}V{_n(self.y(high))}")
        if bars:
            yield tag("path", class_=f"bar {colour}", d="".join(bars))
        kind = f"{'dot hollow' if dots.hollow else 'dot'} {colour}"
        for place, (x, y, _, _) in enumerate(dots.points):
            title = tag("title", dots.titles[place]) if dots.titles else None
            at_x, at_y = _n(self.x(x)), _n(self.y(y))
            if dots.shape % len(_SHAPES) == 0:
                yield tag("circle", title, class_=kind, cx=at_x, cy=at_y, r="4.5")
            else:
                outline = f"M{at_x} {at_y}{_SHAPES[dots.shape % len(_SHAPES)]}"
                yield tag("path", title, class_=kind, d=outline)

    def _spans(self, spans: Spans) -> Iterator[Markup]:
        steps = []
        for lane, start, stop in spans.items:
            top, foot = sorted((self.y(lane), self.y(lane + 1)))
            gap = (foot - top) * 0.14
            left, width = self.x(start), max(self.x(stop) - self.x(start), 0.6)
            height = _n(foot - top - 2 * gap)
            steps.append(f"M{_n(left)} {_n(top + gap)}h{_n(width)}v{height}h-{_n(width)}z")
        yield _shown(spans.name, f"span {_class(spans.colour)}", "".join(steps))
        for (lane, _, stop), word in zip(spans.items, spans.words, strict=False):
            yield _text(self.x(stop) + 5, self.y(lane + 0.5) + 5, word, "start", "value")


def _path(points: Sequence[tuple[float, float]], *, stepped: bool, backwards: bool = False) -> str:
    """A path through points; a stepped one keeps the height of a point until the next."""
    if not points:
        return ""
    whole = list(_corners(points)) if stepped else list(points)
    if backwards:
        whole.reverse()
    first, *rest = whole
    return f"M{_n(first[0])} {_n(first[1])}" + "".join(f"L{_n(x)} {_n(y)}" for x, y in rest)


def _corners(points: Sequence[tuple[float, float]]) -> Iterable[tuple[float, float]]:
    yield points[0]
    for (_, before), (x, y) in pairwise(points):
        yield x, before
        if y != before:
            yield x, y


def _shown(name: str, kind: str, path: str) -> Markup:
    """A path, which says its name under the pointer."""
    return tag("path", tag("title", name) if name else None, class_=kind, d=path)


def _text(x: float, y: float, words: str, anchor: str, kind: str) -> Markup:
    """A text; one that is cut short says all of it under the pointer."""
    short = shortened(words) if kind == "tick" else words
    whole = None if short == words else tag("title", words)
    return tag("text", short, whole, x=_n(x), y=_n(y), text_anchor=anchor, class_=kind)


def _n(value: float) -> str:
    """A place in the drawing, to a tenth of a unit."""
    text = f"{value:.1f}"
    return text.removesuffix(".0") if text != "-0.0" else "0"


def _class(colour: Colour) -> str:
    return f"c{colour}" if isinstance(colour, int) else f"c-{colour}"


def _key(layer: Layer) -> Markup:
    """How a layer looks in the legend."""
    colour = _class(layer.colour)
    if isinstance(layer, Dots):
        # A drawing of its own would be one more image to those who have the page read to them.
        letter = (_HOLLOW if layer.hollow else _FILLED)[layer.shape % len(_SHAPES)]
        return tag("span", letter, class_=f"key glyph {colour}", aria_hidden="true")
    return tag("span", class_=f"key {_shape(layer)} {colour}")


def _shape(layer: Layer) -> str:
    if isinstance(layer, Line):
        return "dashed" if layer.dashed else "dotted" if layer.dotted else "line"
    if isinstance(layer, Level):
        return "dashed"
    if isinstance(layer, Marks):
        return "mark" if layer.full else "foot"
    if isinstance(layer, Band):
        return "area" if layer.solid else "band"
    return "area"
