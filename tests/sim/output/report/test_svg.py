"""Charts in a page: well-formed, named for those who cannot see them, readable in both modes."""

from __future__ import annotations

import itertools
import math
import re
import warnings
from importlib.resources import files
from xml.etree import ElementTree

import pytest

from cellspec.conformance.report.markup import asset
from sim.output.report.charts import (
    COLOURS,
    NAMED,
    Band,
    Chart,
    Dots,
    Level,
    Line,
    Marks,
    Spans,
    colour_of,
)
from sim.output.report.plots import plots
from sim.output.report.scale import lanes, linear
from sim.output.report.svg import figure, svg

STYLE = files("sim.output.report").joinpath("assets", "report.css").read_text(encoding="utf-8")

NASTY = '</svg><script>"&\ud800'

EVERY_KIND = Chart(
    "all",
    f"title {NASTY}",
    f"about {NASTY}",
    linear("time, s", [10]),
    linear("rows", [4]),
    (
        Band(((0, 0, 1), (5, 1, 2), (10, 1, 2)), "band", 0, stepped=True),
        Line(((0, 0), (5, 2), (10, 4)), NASTY, 1),
        Line(((0, 1), (5, 1), (10, 3)), "steps", 2, stepped=True, dashed=True),
        Dots(((2, 2, 1, 3), (4, 1, 1, 1)), "dots", 3, titles=("two", NASTY)),
        Marks((3, 4), "crash", "crash"),
        Marks((6,), "checkpoint", "checkpoint", full=False),
        Level(3, "limit", "limit"),
    ),
    notes=(NASTY,),
)


def test_a_chart_is_well_formed_and_lets_nothing_out() -> None:
    page = str(figure(EVERY_KIND))
    assert "<script" not in page
    assert "\ud800" not in page
    tree = ElementTree.fromstring(page)
    drawing = tree.find("svg")
    assert drawing is not None
    named = drawing.get("aria-labelledby", "").split()
    assert [child.tag for child in drawing][:2] == ["title", "desc"]
    assert [child.get("id") for child in drawing][:2] == named
    assert drawing.get("role") == "img"
    nasty = NASTY[:-1] + "\ufffd"
    dots = [one.find("title") for one in drawing.iter("circle")]
    assert [title.text for title in dots if title is not None] == ["two", nasty]
    # Each other layer says its name under the pointer.
    paths = [one.find("title") for one in drawing.iter("path")]
    names = [title.text for title in paths if title is not None]
    assert names == ["band", nasty, "steps", "crash", "checkpoint", "limit"]


def test_the_places_of_data_are_those_of_the_axes() -> None:
    chart = Chart(
        "place", "", "", linear("x, s", [10]), linear("y", [4]), (Line(((0, 0), (10, 4)), "", 0),)
    )
    drawing = ElementTree.fromstring(str(svg(chart)))
    paths = {path.get("class", ""): path.get("d", "") for path in drawing.iter("path")}
    left, top, bottom = re.findall(r"[\d.]+", paths["axis"])[:3]
    right = re.findall(r"H([\d.]+)", paths["axis"])[0]
    assert paths["line c0"] == f"M{left} {bottom}L{right} {top}"


def test_a_step_keeps_its_height_until_the_next() -> None:
    chart = Chart(
        "step",
        "",
        "",
        linear("", [2]),
        linear("", [2]),
        (Line(((0, 0), (1, 2), (2, 2)), "", 0, stepped=True),),
    )
    drawing = ElementTree.fromstring(str(svg(chart)))
    (path,) = (one.get("d", "") for one in drawing.iter("path") if "line" in one.get("class", ""))
    places = [tuple(map(float, pair.split())) for pair in re.split("[ML]", path)[1:]]
    for (x, y), (other_x, other_y) in itertools.pairwise(places):
        assert x == other_x or y == other_y


def test_bars_stand_in_their_lanes_and_say_their_values() -> None:
    chart = Chart(
        "bars",
        "",
        "",
        linear("mean, s", [4]),
        lanes(["a", "b" * 40]),
        (Spans(((0, 0, 4), (1, 0, 1)), "", 0, ("4 s", "1 s")),),
        down=True,
        height=150,
    )
    drawing = ElementTree.fromstring(str(svg(chart)))
    words = [text.text for text in drawing.iter("text")]
    assert {"a", "b" * 19 + "…", "4 s", "1 s", "mean, s"} <= set(words)
    # What is cut short stands there whole under the pointer.
    assert [title.text for text in drawing.iter("text") for title in text] == ["b" * 40]


def test_series_differ_by_the_shape_of_their_dots_and_the_legend_shows_it() -> None:
    layers = tuple(
        Dots(((1, 1, 1, 1),), f"s{k}", k, shape=k, hollow=k == 2) for k in range(len(COLOURS))
    )
    chart = Chart("x", "", "", linear("", [2]), linear("", [2]), layers, says=("A.", "B."))
    tree = ElementTree.fromstring(str(figure(chart)))
    letters = [item.findtext("span") for item in tree.iter("li")]
    assert letters == list("●■◇▲▼✚")
    drawing = tree.find("svg")
    assert drawing is not None
    dots = [one for one in drawing.iter() if "dot" in one.get("class", "").split()]
    # A circle, and five outlines that differ.
    shapes = [re.sub(r"^M[\d.]+ [\d.]+", "", one.get("d", "circle")) for one in dots]
    assert len(shapes) == len(set(shapes)) == len(COLOURS)
    assert ["hollow" in one.get("class", "") for one in dots] == [
        k == 2 for k in range(len(COLOURS))
    ]
    said = [one.text for one in tree.iter("p")]
    assert said == ["A.", "B."]


def test_long_names_leave_a_drawn_file_room() -> None:
    long = "a name of very many letters, " * 8
    chart = Chart(
        "long",
        long,
        "",
        linear(long[:60], [4]),
        lanes([long, "b"]),
        (Spans(((0, 0, 4),), long, 0),),
        says=(long,),
        down=True,
        height=150,
    )
    with warnings.catch_warnings():
        # matplotlib warns where a figure has no room left.
        warnings.simplefilter("error")
        assert set(plots([chart], "png")) == {"long.png"}


def test_a_name_stands_in_the_legend_once() -> None:
    layers = (Line((), "a", 0), Band((), "a", 0), Line((), "", 1), Marks((), "b", "crash"))
    chart = Chart("x", "", "", linear("", []), linear("", []), layers)
    assert [layer.name for layer in chart.legend()] == ["a", "b"]


# Colours


def colours(dark: bool) -> dict[str, str]:
    """The colours of a mode, from both style sheets."""
    found: dict[str, str] = {}
    for text in (asset("page.css"), STYLE):
        light, _, rest = text.partition("@media (prefers-color-scheme: dark) {")
        parts = (light, rest.partition("}\n}")[0]) if dark else (light,)
        for part in parts:
            found |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", part))
    return found


def linear_light(colour: str) -> list[float]:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, contrast ratio."""
    low, high = sorted(
        sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear_light(x), strict=True))
        for x in (one, other)
    )
    return (high + 0.05) / (low + 0.05)


# Machado, Oliveira and Fernandes 2009: what the colour-blind see, in linear light.
VISION = {
    "usual": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}


def lab(light: list[float]) -> tuple[float, float, float]:
    """CIE L*a*b*, whose distances are about what an eye tells apart."""
    r, g, b = (min(max(c, 0.0), 1.0) for c in light)
    x, y, z = (
        (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505,
        0.2126 * r + 0.7152 * g + 0.0722 * b,
        (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089,
    )
    fx, fy, fz = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


@pytest.mark.parametrize("dark", [False, True])
def test_marks_and_words_stand_out_from_the_page(dark: bool) -> None:
    known = colours(dark)
    for name, colour in known.items():
        if re.fullmatch(r"c\d|c-\w+", name):
            assert contrast(colour, known["paper"]) >= 3, name
    for name in ("ink", "quiet", "link"):
        assert contrast(known[name], known["paper"]) >= 4.5, name


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("vision", VISION)
def test_colours_of_series_differ_for_every_eye(dark: bool, vision: str) -> None:
    known = [colours(dark)[f"c{k}"] for k in range(len(COLOURS))]
    seen = [
        lab(
            [
                sum(w * c for w, c in zip(row, linear_light(x), strict=True))
                for row in VISION[vision]
            ]
        )
        for x in known
    ]
    for (one, a), (other, b) in itertools.combinations(zip(known, seen, strict=True), 2):
        assert math.dist(a, b) >= 15, (one, other)


def test_files_and_pages_have_the_same_colours() -> None:
    known = colours(dark=False)
    assert tuple(known[f"c{k}"] for k in range(len(COLOURS))) == COLOURS
    assert {name: known[f"c-{name}"] for name in NAMED} == NAMED
    assert colour_of(len(COLOURS)) == "other"
