"""The charts of a report as PNG or SVG files, drawn by matplotlib: the same data as on the page.

The same chart gives the same bytes: nothing is drawn on a screen, no file holds a date, and the
names inside an SVG come from a fixed salt.
"""

from __future__ import annotations

import importlib
import io
import textwrap
from collections.abc import Sequence
from typing import Any, Final

from cellspec.errors import MissingExtraError
from sim.output.report.charts import (
    COLOURS,
    NAMED,
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
from sim.output.report.scale import Axis, shortened

__all__ = ["FORMATS", "check_plots", "plots"]

FORMATS: Final = ("png", "svg")

_SHAPES = "osD^vP"
"""The markers of dots, in the order of a page's."""

_WIDTH_IN, _DPI = 7.0, 150
_LETTERS, _LETTERS_OF_TITLE, _LETTERS_OF_LEGEND = 100, 60, 28
_STYLE: Final[dict[str, Any]] = {
    "svg.hashsalt": "cellspec",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": NAMED["quiet"],
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "legend.frameon": False,
    # A name may hold a dollar sign.
    "text.parse_math": False,
}


def check_plots() -> None:
    """Whether `plots` can draw.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        importlib.import_module("matplotlib")
    except ImportError:
        raise MissingExtraError("a figure as a file", "report") from None


def plots(charts: Sequence[Chart], form: str) -> dict[str, bytes]:
    """Each chart as a file, by its name.

    Args:
        charts: what is drawn.
        form: one of `FORMATS`.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    check_plots()
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found: dict[str, bytes] = {}
    # The user's own settings must not change the bytes.
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        settings: Any = matplotlib.rcParams
        settings.update(_STYLE)
        for chart in charts:
            height = _WIDTH_IN * (chart.height / 640 + 0.12)
            figure = Figure(figsize=(_WIDTH_IN, height), dpi=_DPI, layout="constrained")
            FigureCanvasAgg(figure)
            _draw(figure.add_subplot(), chart)
            file = io.BytesIO()
            # Without these a file says when it was made, and by which version.
            metadata = {"Date": None} if form == "svg" else {"Software": None}
            figure.savefig(file, format=form, metadata=metadata)
            found[f"{chart.key}.{form}"] = file.getvalue()
    return found


def _draw(axes: Any, chart: Chart) -> None:
    axes.set_title(textwrap.fill(chart.title, _LETTERS_OF_TITLE))
    for axis, name in ((chart.x, "x"), (chart.y, "y")):
        _scale(axes, axis, name)
    if chart.down:
        axes.invert_yaxis()
    else:
        axes.grid(axis="y", color="#d9dee5", linewidth=0.7)
    axes.grid(axis="x", color="#d9dee5", linewidth=0.7)
    axes.set_axisbelow(True)
    for layer in chart.layers:
        _layer(axes, layer)
    handles: dict[str, Any] = {}
    for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
        handles.setdefault(label, handle)
    if handles:
        axes.legend(
            handles.values(),
            [textwrap.fill(label, _LETTERS_OF_LEGEND) for label in handles],
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
            fontsize=8,
        )
    lines = [textwrap.fill(line, _LETTERS) for line in (*chart.says, *chart.notes)]
    notes = "\n".join(lines)
    axes.annotate(
        notes,
        (0, 0),
        (0, -34),
        "axes fraction",
        "offset points",
        fontsize=7,
        color=NAMED["quiet"],
        va="top",
    )


def _scale(axes: Any, axis: Axis, name: str) -> None:
    if axis.is_log:
        getattr(axes, f"set_{name}scale")("log")
    elif axis.linear_to:
        # The part near 0 is as long as a factor of ten, as `Axis.place` has it.
        near = {"linthresh": axis.linear_to, "linscale": 1 - 1 / 10}
        getattr(axes, f"set_{name}scale")("symlog", **near)
    getattr(axes, f"set_{name}lim")(axis.low, axis.high)
    places, words = [at for at, _ in axis.ticks], [shortened(word) for _, word in axis.ticks]
    getattr(axes, f"set_{name}ticks")(places, words)
    getattr(axes, f"set_{name}ticks")([], minor=True)
    getattr(axes, f"set_{name}label")(axis.label)


def _layer(axes: Any, layer: Layer) -> None:
    colour, name = _colour(layer.colour), layer.name or None
    if isinstance(layer, Line):
        xs, ys = zip(*layer.points, strict=True) if layer.points else ((), ())
        how = {"drawstyle": "steps-post"} if layer.stepped else {}
        style = "--" if layer.dashed else ":" if layer.dotted else "-"
        axes.plot(xs, ys, style, color=colour, label=name, linewidth=1.4, **how)
    elif isinstance(layer, Band):
        xs, lows, highs = zip(*layer.points, strict=True) if layer.points else ((), (), ())
        step = "post" if layer.stepped else None
        alpha = 1.0 if layer.solid else 0.22
        axes.fill_between(xs, lows, highs, step=step, color=colour, alpha=alpha, linewidth=0)
        if layer.solid and name:
            axes.fill_between([], [], [], color=colour, label=name)
    elif isinstance(layer, Dots):
        _dots(axes, layer, colour)
    elif isinstance(layer, Spans):
        lanes: dict[int, list[tuple[float, float]]] = {}
        for lane, start, stop in layer.items:
            lanes.setdefault(lane, []).append((start, stop - start))
        for lane, bars in lanes.items():
            axes.broken_barh(bars, (lane + 0.14, 0.72), label=name, **_bar(layer.colour))
        for (lane, _, stop), word in zip(layer.items, layer.words, strict=False):
            axes.annotate(word, (stop, lane + 0.5), (3, 0), "data", "offset points", va="center")
    elif isinstance(layer, Marks):
        foot = 1.0 if layer.full else 0.04
        for place in layer.places:
            axes.axvline(place, 0, foot, color=colour, label=name, linestyle="--", linewidth=1.1)
    else:
        assert isinstance(layer, Level)
        axes.axhline(layer.value, color=colour, label=name, linestyle="--", linewidth=1.1)


def _bar(colour: Colour) -> dict[str, str]:
    """How a bar looks: what is lost is an outline, and not told by its colour alone."""
    inside = "white" if colour == "crash" else _colour(colour)
    return {"facecolor": inside, "edgecolor": _colour(colour)}


def _dots(axes: Any, layer: Dots, colour: str) -> None:
    if not layer.points:
        return
    xs, ys, lows, highs = zip(*layer.points, strict=True)
    centres = xs if layer.across else ys
    below = [centre - low for centre, low in zip(centres, lows, strict=True)]
    above = [high - centre for centre, high in zip(centres, highs, strict=True)]
    bars = {"xerr" if layer.across else "yerr": [below, above]}
    how = {"fmt": _SHAPES[layer.shape % len(_SHAPES)], "color": colour, "markersize": 4}
    how |= {"elinewidth": 1.2} | ({"markerfacecolor": "white"} if layer.hollow else {})
    axes.errorbar(xs, ys, label=layer.name or None, **bars, **how)


def _colour(colour: Colour) -> str:
    return COLOURS[colour] if isinstance(colour, int) else NAMED[colour]
