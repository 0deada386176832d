"""The page of failures in a real browser: one viewer, for the failure that the address names."""

from __future__ import annotations

import pytest

from tests.conformance.report.test_html_browser import Browser, browser, chromium
from tests.releases.toy import PUBLISHED

__all__ = ["browser", "chromium"]

pytestmark = pytest.mark.chromium

LOOK = """
const sections = all("section[data-failure]");
return {
  shown: sections.filter((each) => !each.hidden).map((each) => each.dataset.failure),
  all: sections.length,
  event: textOf("#event-number"),
  current: all("a[aria-current]").map((link) => link.dataset.shows),
  mounted: all("#replay").length,
  cells: all("td.cell").length,
};
"""


@pytest.fixture(scope="module")
def page() -> str:
    return (PUBLISHED / "datadesigner.html").read_text("utf-8")


def test_the_page_begins_with_the_list_of_failures_alone(browser: Browser, page: str) -> None:
    seen = browser.drive(page, LOOK)
    assert (seen["shown"], seen["all"], seen["mounted"]) == ([], 58, 0)


def test_the_address_chooses_the_failure_and_the_event(browser: Browser, page: str) -> None:
    name = "datadesigner_SCHED-02_d6793709"
    seen = browser.drive(page, LOOK, f"failure={name}&event=5")
    assert seen["shown"] == [name]
    # Two causes lead to it, and the list of failures.
    assert seen["current"] == [name, name, name]
    assert (seen["event"], seen["mounted"]) == ("5", 1)
    assert seen["cells"] > 0


def test_the_address_keeps_the_failure_while_the_slider_moves(
    browser: Browser,
    page: str,
) -> None:
    name = "datadesigner_SCHED-02_d6793709"
    driver = """
    move(3);
    await new Promise((resolve) => setTimeout(resolve, 900));
    return location.hash;
    """
    assert browser.drive(page, driver, f"failure={name}") == f"#failure={name}&event=3"
