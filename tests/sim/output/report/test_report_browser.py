"""Reports in a real browser: on a phone and on a desk, in light and in dark.

A page is shown in a frame as wide as the screen that is meant: a window of Chromium without a head
is never as narrow as a phone. The frame has the page's own content policy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sim.cli import main
from tests.conformance.report.test_html_browser import Browser, browser, chromium
from tests.sim.output.report.sweeps import sweep

__all__ = ["browser", "chromium"]

pytestmark = pytest.mark.chromium

WIDTHS = {"phone": 360, "desk": 1280}

DARK = ("--blink-settings=preferredColorScheme=0", "--force-dark-mode")

MEASURE = """
const source = JSON.parse(document.getElementById("source").textContent);
const measured = {};
for (const [name, width] of Object.entries(WIDTHS)) {
  const frame = document.createElement("iframe");
  frame.style.cssText = `width: ${width}px; height: 900px; border: 0`;
  frame.srcdoc = source;
  const loaded = new Promise((resolve) => { frame.onload = resolve; });
  document.body.append(frame);
  await loaded;
  const inside = frame.contentDocument, view = frame.contentWindow;
  const blocked = [];
  inside.addEventListener("securitypolicyviolation", (event) => blocked.push(event.blockedURI));
  const root = inside.documentElement;
  const boxes = (svg) => [...svg.querySelectorAll("text")].map((text) => {
    const box = text.getBoundingClientRect();
    return [text.textContent, box.left, box.top, box.right, box.bottom];
  });
  measured[name] = {
    width: root.clientWidth, needs: root.scrollWidth,
    requests: view.performance.getEntriesByType("resource").length, blocked,
    paper: view.getComputedStyle(inside.body).backgroundColor,
    ink: view.getComputedStyle(inside.body).color,
    letters: Math.min(...[...inside.querySelectorAll("svg text")].map((text) => {
      const svg = text.ownerSVGElement;
      const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
      return scale * parseFloat(view.getComputedStyle(text).fontSize);
    })),
    charts: [...inside.querySelectorAll("figure svg")].map((svg) => {
      const box = svg.getBoundingClientRect();
      return {
        title: svg.querySelector("title").textContent,
        box: ["", box.left, box.top, box.right, box.bottom],
        texts: boxes(svg),
        labels: [...svg.querySelectorAll("text.label")].map((text) => text.textContent),
      };
    }),
  };
}
return measured;
"""


def measured(browser: Browser, page: str) -> Mapping[str, Any]:
    """What a page looks like on each screen."""
    source = json.dumps(page).replace("<", "\\u003c")
    block = f'<script type="application/json" id="source">{source}</script>'
    outer = f"<!DOCTYPE html><html><head><style></style></head><body>{block}</body></html>"
    found: Mapping[str, Any] = browser.drive(
        outer, f"const WIDTHS = {json.dumps(WIDTHS)};{MEASURE}"
    )
    return found


def overlap(one: list[Any], other: list[Any]) -> bool:
    """Whether two boxes have more than a pixel in common, in both directions."""
    width: float = min(one[3], other[3]) - max(one[1], other[1])
    height: float = min(one[4], other[4]) - max(one[2], other[2])
    # The box of a line of text is higher than its letters.
    return width > 1 and height > 5


def check(page: Mapping[str, Any]) -> None:
    """What holds of each page on each screen."""
    assert page["needs"] <= page["width"]
    assert (page["requests"], page["blocked"]) == (0, [])
    assert page["letters"] >= 9
    assert page["charts"]
    for chart in page["charts"]:
        _, left, top, right, bottom = chart["box"]
        for text in chart["texts"]:
            inside = left - 1 <= text[1] and text[3] <= right + 1
            assert inside, (chart["title"], text, chart["box"])
            assert top - 1 <= text[2], (chart["title"], text)
            assert text[4] <= bottom + 1, (chart["title"], text)
        for place, text in enumerate(chart["texts"]):
            for other in chart["texts"][:place]:
                assert not overlap(text, other), (chart["title"], text, other)
        assert chart["labels"], chart["title"]


RUNS = {
    "beside": ("simulations/two_pipelines.yaml", "--set", "rows=12"),
    "bands": ("text_to_sql", "--set", "rows=700"),
    "lanes": ("text_to_sql", "--set", "rows=12"),
    "refusals": ("reviews_rate_limited", "--set", "rows=60"),
}


@pytest.fixture(scope="module", params=RUNS)
def run_page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("run") / "page.html"
    assert main(["run", *RUNS[request.param], "--report", str(path)]) == 0
    return path.read_text(encoding="utf-8")


def test_the_page_of_a_run_fits_on_every_screen(browser: Browser, run_page: str) -> None:
    for page in measured(browser, run_page).values():
        check(page)
        assert page["paper"] == "rgb(255, 255, 255)"


SWEEPS: dict[str, dict[str, Any]] = {
    "fields": {
        "grid": {
            "policy": ["fifo", "row-first"],
            "checkpoint.every_rows": [2, 12],
            "limits.resources.gpu": [1, 4, 16],
        }
    },
    "ladder": {"set": {"crashes": []}, "grid": {"limits.resources.gpu": [1, 2, 4, 8, 16, 32]}},
}


@pytest.mark.parametrize("name", SWEEPS)
def test_the_page_of_a_sweep_fits_on_every_screen(
    browser: Browser, tmp_path: Path, name: str
) -> None:
    folder = sweep(tmp_path, **SWEEPS[name], replications=3)
    assert main(["report", str(folder)]) == 0
    source = (folder / "report.html").read_text(encoding="utf-8")
    for page in measured(browser, source).values():
        check(page)


def test_the_page_of_a_run_is_dark_where_that_is_wished(
    chromium: str, tmp_path: Path, run_page: str
) -> None:
    page = measured(Browser(chromium, tmp_path, *DARK), run_page)["desk"]
    assert page["paper"] == "rgb(20, 23, 28)"
    assert page["ink"] == "rgb(228, 232, 238)"
