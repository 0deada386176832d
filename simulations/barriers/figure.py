"""The figure of the page: makespan by crashes a run, under each option, with intervals (SVG)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sim.experiments.intervals import Mean

__all__ = ["lines_svg"]

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 70, 130, 36, 50
COLOURS = ("#b3261e", "#b26a00", "#1f6feb", "#1a7f37")
DASHES = ("", "7 4", "", "2 4")

STYLE = """\
text { font: 13px sans-serif; fill: #24292f; }
.axis { stroke: #57606a; stroke-width: 1; fill: none; }
.grid { stroke: #d0d7de; stroke-width: 1; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .axis { stroke: #9198a1; }
  .grid { stroke: #3d444d; }
}"""


Series = tuple[str, Sequence[Mean]]


def lines_svg(
    title: str, x_title: str, y_title: str, xs: Sequence[float], series: Sequence[Series]
) -> str:
    """A line for each series, with a bar for each interval.

    Args:
        title: what is shown.
        x_title, y_title: what the axes are, with their units.
        xs: the places of the means, from 0 on.
        series: at most four, each with its name and a mean for each place.
    """
    most = max(one.mean + (one.half_width or 0.0) for _, means in series for one in means)
    scale = _Scale(max(xs), _step(most), most)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{title}">',
        f"<style>{STYLE}</style>",
        f'<text x="{LEFT}" y="20">{title}</text>',
        *_axes(scale, x_title, y_title, xs),
    ]
    for number, (name, means) in enumerate(series):
        parts += _line(scale, number, name, xs, means)
    return "\n".join([*parts, "</svg>"]) + "\n"


class _Scale:
    """Where values lie on the picture."""

    def __init__(self, most_x: float, step: float, most_y: float) -> None:
        self._most_x = most_x
        self.ticks = [step * n for n in range(int(-(-most_y // step)) + 1)]

    def x(self, value: float) -> str:
        return f"{LEFT + (WIDTH - LEFT - RIGHT) * value / self._most_x:.1f}"

    def y(self, value: float, below: float = 0.0) -> str:
        height = (HEIGHT - TOP - BOTTOM) * value / self.ticks[-1]
        return f"{HEIGHT - BOTTOM - height + below:.1f}"


def _axes(scale: _Scale, x_title: str, y_title: str, xs: Sequence[float]) -> Iterator[str]:
    for tick in scale.ticks:
        yield f'<path class="grid" d="M{LEFT} {scale.y(tick)}H{WIDTH - RIGHT}"/>'
        place = f'x="{LEFT - 8}" y="{scale.y(tick, 4)}"'
        yield f'<text {place} text-anchor="end">{tick:,.0f}</text>'
    for x in xs:
        place = f'x="{scale.x(x)}" y="{HEIGHT - BOTTOM + 18}"'
        yield f'<text {place} text-anchor="middle">{x:g}</text>'
    yield f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>'
    across, down = (LEFT + WIDTH - RIGHT) // 2, (TOP + HEIGHT - BOTTOM) // 2
    yield f'<text x="{across}" y="{HEIGHT - 10}" text-anchor="middle">{x_title}</text>'
    place = f'x="16" y="{down}" text-anchor="middle" transform="rotate(-90 16 {down})"'
    yield f"<text {place}>{y_title}</text>"


def _line(
    scale: _Scale, number: int, name: str, xs: Sequence[float], means: Sequence[Mean]
) -> Iterator[str]:
    colour = COLOURS[number]
    stroke = f'fill="none" stroke="{colour}" stroke-width="2"'
    dashed = f'{stroke} stroke-dasharray="{DASHES[number]}"' if DASHES[number] else stroke
    places = [f"{scale.x(x)} {scale.y(one.mean)}" for x, one in zip(xs, means, strict=True)]
    yield f'<path {dashed} d="M{"L".join(places)}"/>'
    for x, one in zip(xs, means, strict=True):
        half = one.half_width or 0.0
        bar = f"M{scale.x(x)} {scale.y(one.mean - half)}V{scale.y(one.mean + half)}"
        yield f'<path {stroke} d="{bar}"/>'
        place = f'cx="{scale.x(x)}" cy="{scale.y(one.mean)}"'
        yield f'<circle {place} r="3" fill="{colour}"/>'
    start, y = WIDTH - RIGHT + 14, TOP + 16 + 22 * number
    yield f'<path {dashed} d="M{start} {y - 4}h28"/>'
    yield f'<text x="{start + 34}" y="{y}">{name}</text>'


def _step(most: float) -> float:
    """The distance of grid lines, so that there are about five."""
    power = 1.0
    while power * 10 <= most / 4:
        power *= 10
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= most / 6)
