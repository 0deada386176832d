"""The report's pages, without a browser: their content, their escaping, and refused results."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from cellspec.clauses import chapters, clauses
from cellspec.conformance.report import grid_page
from cellspec.conformance.report.html import INDEX, render, render_trace
from cellspec.conformance.report.markup import asset, tag, text
from cellspec.errors import SpecError
from tests.conformance.report import report_samples as samples

ROOT = Path(__file__).parents[3]
VOID = {"br", "hr", "img", "input", "link", "meta", "col"}
VERDICTS = {"pass": "✓", "violated": "✗", "inconclusive": "?", "not claimed": "–", "xfail": "△"}


class Page(HTMLParser):
    """A page taken apart: its elements in order, and the text of each."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[int] = []
        self.feed(source)
        self.close()
        assert not self.open, f"left open: {[self.elements[at][0] for at in self.open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag}: an attribute twice"
        self.elements.append((tag, dict(attrs)))
        self.texts.append("")
        if tag not in VOID:
            self.open.append(len(self.elements) - 1)

    def handle_endtag(self, tag: str) -> None:
        assert self.elements[self.open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        for at in self.open:
            self.texts[at] += data

    def find(self, name: str, **attributes: str) -> list[str]:
        """The texts of the elements of a name with these attributes."""
        wanted = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
        return [
            self.texts[at]
            for at, (each, has) in enumerate(self.elements)
            if each == name and wanted.items() <= has.items()
        ]

    def values(self, attribute: str) -> list[str]:
        return [has[attribute] or "" for _, has in self.elements if attribute in has]


def failure_pages(pages: dict[str, str]) -> dict[str, Page]:
    return {name: Page(source) for name, source in pages.items() if name != INDEX}


def with_failure(**changes: Any) -> dict[str, Any]:
    """Results of one backend with one failure."""
    entry = {"verdict": "violated", "reason": "", "examples": 1}
    backend = {
        "name": "engine",
        "version": "1",
        "clauses": {"BARR-01": entry | {"failure": samples.failure(**changes)}},
    }
    return samples.results(backends=[backend])


EVERY_PAGE = {
    **render(samples.results()),
    "trace": render_trace(samples.header(), samples.every_kind(), "every kind of event"),
}
each_page = pytest.mark.parametrize("source", EVERY_PAGE.values(), ids=EVERY_PAGE)


def test_each_verdict_stands_in_its_cell_as_symbol_word_and_colour() -> None:
    page = Page(render(samples.results())[INDEX])
    for backend in samples.results()["backends"]:
        for entry in backend["clauses"].values():
            verdict = entry["verdict"]
            cells = page.find("td", class_="result", data_verdict=verdict)
            assert any(cell.startswith(f"{VERDICTS[verdict]} {verdict}") for cell in cells)
            assert f'[data-verdict="{verdict}"] .verdict' in asset("page.css")


def test_the_matrix_has_each_clause_with_its_sentence_under_its_chapter() -> None:
    page = Page(render(samples.results())[INDEX])
    heads = page.find("th", scope="row", class_="clause")
    assert heads == [f"{n}{clauses()[n].text}" for n in ("SCHED-01", "BARR-01", "CKPT-12")]
    titles = page.find("th", class_="chapter")
    of_page = {"schedule", "barrier", "checkpoint"}
    assert titles == [f"{one.title}{one.about}" for one in chapters() if one.name in of_page]


def test_a_clause_without_a_result_of_some_backend_is_not_taken_for_anything() -> None:
    given = samples.results()
    del given["backends"][1]["clauses"]["SCHED-01"]
    assert "no result" in Page(render(given)[INDEX]).find("td", class_="result")


def test_a_clause_that_the_registry_does_not_know_is_shown_all_the_same() -> None:
    given = samples.results()
    given["backends"][0]["clauses"]["FUTURE-01"] = {"verdict": "pass", "examples": 2}
    page = Page(render(given)[INDEX])
    assert "FUTURE-01(a clause that this report does not know)" in page.find(
        "th", class_="clause", scope="row"
    )
    assert any(head.startswith("Other clauses") for head in page.find("th", class_="chapter"))


def test_evidence_coverage_goals_seed_and_command_stand_beside_the_matrix() -> None:
    page = Page(render(samples.results())[INDEX])
    everything = page.texts[0]
    for part in ("1,200", "crash points", "310", "--seed=7", "--engine-backend=naive:Engine"):
        assert part in everything


def test_the_page_shows_each_campaign_and_the_goals_that_it_missed() -> None:
    page = Page(render(samples.results())[INDEX])
    rows = [page.texts[at] for at, (name, _) in enumerate(page.elements) if name == "tr"]
    for row in (
        "core1,200 workloads · 0 crashes · 0 of 1 coverage goalsno result",
        "drops40 workloads · 2 crashes · 1 of 1 coverage goals ✗ stopped at CKPT-12no result",
        "groupsthe backend lacks the capability 'groups'no result",
        "every worker was busy✗ neverno goal",
        "a row was dropped while a barrier was in flight12✗ never",
    ):
        assert row in rows


def test_each_failure_has_a_page_that_its_cell_links_to() -> None:
    pages = render(samples.results())
    links = [link for link in Page(pages[INDEX]).values("href") if not link.startswith("#")]
    assert sorted(links) == sorted(set(pages) - {INDEX})
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+\.html", name) for name in pages)


def test_the_page_lists_each_root_cause_with_the_way_to_its_failure() -> None:
    found = with_failure()
    cause = {
        "clause": "BARR-01",
        "detail": "barrier 0 of 'v' is early",
        "size": {"column": 2, "row": 3, "crash": 0},
        "workloads": 7,
        "seeds": [0, 2],
        "replay": "pytest --replay one.json",
        "consequences": {"TABLE-06": {"workloads": 1, "detail": "a row is odd"}},
    }
    of_its_own = samples.failure(detail="a second bug", replay="pytest --replay two.json")
    second = {"clause": "BARR-01", "detail": "a second bug", "workloads": 1, "failure": of_its_own}
    found["backends"][0]["causes"] = [cause, second]
    pages = render(found)
    page = Page(pages[INDEX])
    (section,) = page.find("section", aria_label="Root causes: engine 1")
    assert (
        "BARR-01: barrier 0 of 'v' is early (2 columns, 3 rows; in 7 workloads of seeds 0, 2) "
        "and with it TABLE-06" in section
    )
    assert "pytest --replay one.json" in section
    of_causes = [
        name for name in dict.fromkeys(page.values("href")) if name in pages and name != INDEX
    ]
    assert len(of_causes) == 2
    assert "a second bug" in pages[of_causes[1]]


def test_names_that_a_file_system_would_confuse_get_pages_of_their_own() -> None:
    given = with_failure()
    names = ("a b", "a/b", "A?B", "é", "/", "..")
    given["backends"] = [given["backends"][0] | {"name": name} for name in names]
    pages = render(given)
    assert len({name.lower() for name in pages}) == 1 + len(names)
    assert len(set(Page(pages[INDEX]).values("id"))) == len(Page(pages[INDEX]).values("id"))


def test_a_failure_page_has_clause_explanation_workload_and_how_to_see_it_again() -> None:
    page = failure_pages(render(with_failure()))["failure-engine-BARR-01.html"]
    everything = page.texts[0]
    failure = samples.failure()
    for part in (clauses()["BARR-01"].text, failure["detail"], failure["story"][2]):
        assert part in everything
    assert page.find("code", id="again-replay") == [failure["replay"]]
    assert page.find("code", id="again-pytest") == [failure["pytest"]]
    assert json.loads(page.find("code", id="case")[0]) == failure["workload"]
    assert page.find("a", href="#event=21") == ["event 21"]


def test_an_explanation_links_to_the_events_that_it_names() -> None:
    lines = ["event 3 (line 4): start", "5: t=1 s durable", " #6 t=2 end", "row 7: x", "a[8]"]
    given = with_failure(story=lines)
    page = failure_pages(render(given))["failure-engine-BARR-01.html"]
    links = [link for link in page.values("href") if link.startswith("#event=")]
    assert links == ["#event=3", "#event=5", "#event=6"]
    assert page.find("a", href="#event=6") == ["#6"]
    assert page.find("li")[: len(lines)] == lines


def test_the_workload_is_a_table_of_columns_limits_faults_crashes_and_targets() -> None:
    given = with_failure(workload=samples.workload() | {"something_new": [1, 2]})
    page = failure_pages(render(given))["failure-engine-BARR-01.html"]
    everything = page.texts[0]
    for part in (
        "row_streamable",
        "v_score",
        "by its own condition",
        "3 workers; 2 of endpoint; row groups of 4 rows, at most 2 admitted",
        "2 attempts; early stop when 0.5 of the last 4 calls failed permanently",
        "incarnation 0 at step 46; incarnation 1 not",
        "incarnation 0: 6 rows; incarnation 1: 6 rows; incarnation 2: 8 rows",
        "every row, version 2",
        "something_new",
    ):
        assert part in everything, part
    rows = [page.texts[at] for at, (name, _) in enumerate(page.elements) if name == "tr"]
    assert "a31permanent0.25 s" in rows
    assert "c0" in rows


@pytest.mark.parametrize(
    ("trace", "why"),
    [
        ({"header": {}, "events": []}, "trace header: graph: expected an object, got None"),
        ({"header": samples.header()}, "the trace has no header, or no events"),
        ({"header": samples.header(), "events": [3]}, "an event is no object: 3"),
        ({"header": samples.header(10**9), "events": []}, "more than a page can show"),
    ],
)
def test_a_trace_that_cannot_be_drawn_leaves_the_rest_of_its_page(trace: Any, why: str) -> None:
    page = failure_pages(render(with_failure(trace=trace)))["failure-engine-BARR-01.html"]
    assert why in page.texts[0]
    assert samples.failure()["detail"] in page.texts[0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "results: format: expected 1 or 2, got None"),
        (samples.results(format=3), "results: format: expected 1 or 2, got 3"),
        (samples.results(suite=None), "results: suite: expected an object, got None"),
        (samples.results(backends={}), "results: backends: expected a list, got {}"),
        (samples.results(backends=["x"]), "results: backends[0]: expected an object, got 'x'"),
        (samples.results(backends=[{}]), "results: backends[0]: name: expected a text, got None"),
        (
            samples.results(backends=[{"name": "e", "clauses": {"BARR-01": 1}}]),
            "results: backend 'e': BARR-01: expected an object, got 1",
        ),
        (
            samples.results(backends=[{"name": "e", "clauses": {"BARR-01": {"verdict": "fine"}}}]),
            "results: backend 'e': BARR-01: verdict: expected one of pass, violated, inconclusive, "
            "not claimed, xfail, not repeated, shown by a replay, shown by a script, got 'fine'",
        ),
    ],
)
def test_results_that_cannot_be_read_are_refused_in_one_line(given: Any, message: str) -> None:
    with pytest.raises(SpecError) as refused:
        render(given)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (None, "trace header: graph: expected an object, got None"),
        ({"rows": 1}, "trace header: graph: columns: expected a list, got None"),
        (
            {"rows": 1, "columns": [{"name": 3}]},
            "trace header: graph: columns[0]: expected an object with a name, got {'name': 3}",
        ),
        (
            {"rows": True, "columns": [{"name": "a"}]},
            "trace header: graph: rows: expected a number of rows, got True",
        ),
    ],
)
def test_a_header_without_a_grid_is_refused_in_one_line(graph: Any, message: str) -> None:
    with pytest.raises(SpecError) as refused:
        render_trace({"graph": graph}, [], "x")
    assert str(refused.value) == message


def hostile(value: Any) -> Any:
    """The same data with something nasty at the end of every text and key that is free."""
    fixed = {"verdict", "clause", "event", "traits", "name", "needs", "column"}
    if isinstance(value, dict):
        return {key: item if key in fixed else hostile(item) for key, item in value.items()}
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return value + samples.HOSTILE if isinstance(value, str) else value


def test_nothing_that_an_engine_says_becomes_markup() -> None:
    given = hostile(samples.results())
    given["backends"][0]["name"] += samples.HOSTILE
    given["backends"][1]["clauses"][samples.HOSTILE] = {"verdict": "pass"}
    trace = given["backends"][1]["clauses"]["BARR-01"]["failure"]["trace"]
    trace["header"]["graph"]["columns"][0]["name"] = samples.HOSTILE
    trace["events"][0][samples.HOSTILE] = samples.HOSTILE
    calm, nasty = render(samples.results()), render(given)
    for source in nasty.values():
        page = Page(source)
        assert not page.find("img")
        assert not [name for _, has in page.elements for name in has if name.startswith("on")]
        source.encode("utf-8")
        assert "\u2028" not in "".join(page.find("script"))
    kinds = [Counter(name for name, _ in Page(page).elements) for page in calm.values()]
    scripts = [Counter(name for name, _ in Page(page).elements) for page in nasty.values()]
    assert [kind["script"] for kind in kinds] == [kind["script"] for kind in scripts]


def test_children_and_attributes_are_escaped_once() -> None:
    inner = tag("b", "<&>")
    assert tag("p", inner, title='"', hidden=True, lang=None) == (
        '<p title="&quot;" hidden><b>&lt;&amp;&gt;</b></p>'
    )
    assert text("\x00\ud800 ok\n") == "\ufffd\ufffd ok\n"


@each_page
def test_a_page_asks_nothing_of_any_network(source: str) -> None:
    page = Page(source)
    links = page.values("href") + page.values("src")
    assert all(re.fullmatch(r"#event=\d+|[\w.-]+\.html(#[\w-]+)?", link) for link in links)
    styles = "".join(page.find("style"))
    assert "url(" not in styles
    assert "@import" not in styles
    words = "".join(page.find("script"))
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|EventSource|import)\b\s*\(", words)


@each_page
def test_a_page_allows_its_own_script_and_no_other(source: str) -> None:
    page = Page(source)
    script = next(
        page.texts[at]
        for at, (name, has) in enumerate(page.elements)
        if name == "script" and not has
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(has["content"] or "" for _, has in page.elements if "http-equiv" in has)
    assert policy.startswith("default-src 'none'; ")
    assert policy.endswith(f"script-src 'sha256-{digest}'")


@each_page
def test_a_page_is_well_formed_and_its_parts_have_names(source: str) -> None:
    page = Page(source)
    identities = page.values("id")
    assert len(set(identities)) == len(identities)
    assert page.elements[0] == ("html", {"lang": "en"})
    assert len(page.find("h1")) == len(page.find("main")) == 1
    for name, has in page.elements:
        if name == "section":
            assert has.get("aria-label"), has
        if name == "th":
            assert has.get("scope") in {"row", "col", "rowgroup"}, has
    assert set(page.values("data-copy")) <= set(identities)


def test_equal_results_give_equal_bytes_whatever_the_hash_seed() -> None:
    code = (
        "import hashlib; from cellspec.conformance.report.html import render; from "
        "tests.conformance.report import report_samples as s; p = render(s.results()); "
        "print(hashlib.sha256(repr(sorted(p.items())).encode()).hexdigest())"
    )
    prints = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            timeout=60,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(prints) == 1


def luminance(colour: str) -> float:
    def linear(part: int) -> float:
        share = part / 255
        return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(int(colour[at : at + 2], 16)) for at in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_every_state_and_verdict_can_be_read_in_both_themes(theme: int) -> None:
    css = asset("page.css")
    block = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[theme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
    states = [name.removesuffix("-bg") for name in colours if name.endswith("-bg")]
    assert len(states) == 15
    for state in states:
        assert contrast(colours[f"{state}-bg"], colours[f"{state}-ink"]) >= 4.5, state
    for ink in ("ink", "quiet", "link", "bad"):
        for paper in ("paper", "panel"):
            assert contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)


def test_every_state_of_a_cell_has_a_symbol_and_a_colour() -> None:
    listed = re.search(r"const STATES = \[(.*?)\];", asset("replay.js"), re.DOTALL)
    symbols = re.search(r"const SYMBOL = \{(.*?)\};", asset("grid.js"), re.DOTALL)
    assert listed
    assert symbols
    for state in re.findall(r'"(\w+)"', listed.group(1)):
        assert f'[data-state="{state}"] {{ background' in asset("page.css")
        assert f'{state}: "' in symbols.group(1)


def test_every_kind_of_event_has_its_effect_and_its_words() -> None:
    script = asset("replay.js")
    actions, words = script.split("const WORDS = {")
    for kind in {event["event"] for event in samples.every_kind()}:
        assert re.search(rf"^  {kind}\(", actions, re.MULTILINE), kind
        assert re.search(rf"^  {kind}[(:]", words, re.MULTILINE), kind


def test_events_are_packed_small_and_lose_nothing() -> None:
    events = [
        {"seq": 1, "t": 0, "event": "start", "column": "a", "rows": 3, "attempt": 1},
        {"seq": 2, "t": 0.5, "event": "fail", "column": "a", "rows": 3, "failure": "retryable"},
        {"seq": 3, "t": 1.5, "event": "durable", "rows": [0, 2]},
        {"seq": 4, "t": 2, "event": "start", "column": "v", "scope": 0, "reads": [[0, 6]]},
    ]
    data = grid_page.encode(samples.header(), events)
    assert data["kinds"] == ["start", "fail", "durable"]
    assert data["names"] == list(samples.COLUMNS)
    assert data["events"] == [
        [0, 0, 1, 3, 4, -1],
        [1, 0.5, 1, 3, 4, -1, {"failure": "retryable"}],
        [2, 1.5, -1, 0, 2, -1],
        [0, 2, 3, -1, -1, 0, {"reads": [[0, 6]]}],
    ]
    assert "seq" not in data
    assert [column["scope"] > 0 for column in data["columns"]] == [0, 0, 1, 1, 0, 0]
    assert data["columns"][4]["needs"] == [3]  # through a side effect


def test_events_that_make_no_sense_are_packed_as_they_are() -> None:
    events: list[dict[str, Any]] = [
        {"seq": 1, "t": float("nan"), "event": "start", "column": "ghost", "rows": -4},
        {"seq": 9, "t": True, "event": "explode", "column": 3, "rows": "all", "scope": 1.5},
        {"t": float("inf"), "claim": {"a": float("inf"), "b": 2**80}},
    ]
    data = grid_page.encode(samples.header(), events)
    assert data["seq"] == [1, 9, None]
    assert data["kinds"] == ["start", "explode", "None"]
    assert data["names"] == [*samples.COLUMNS, "ghost", "3"]
    assert data["events"][2][-1] == {"claim": {"a": "inf", "b": str(2**80)}}
    json.dumps(data, allow_nan=False)


def test_columns_that_form_no_graph_are_drawn_as_columns_and_no_more() -> None:
    header = samples.header()
    header["graph"]["columns"] = [{"name": "a", "traits": ["BARRIER"], "needs": ["a"]}] * 2
    data = grid_page.encode(header, [])
    assert [column["scope"] for column in data["columns"]] == [0, 0]
    assert data["names"] == ["a", "a"]


def test_a_trace_page_has_room_for_the_largest_target_of_any_incarnation() -> None:
    resume = {"seq": 1, "t": 0, "event": "resume", "claim": {}, "records": 9}
    assert grid_page.encode(samples.header(), [resume])["mostRows"] == 9
    nonsense = resume | {"records": 10**12}
    assert grid_page.encode(samples.header(), [nonsense])["mostRows"] == 6


def old_results() -> dict[str, Any]:
    """A small file of format 1, as the suite wrote it."""
    return {
        "format": 1,
        "suite": {"version": "0.1.0", "clauses": "0.1.0"},
        "backends": [
            {
                "name": "old",
                "version": "1",
                "clauses": {"FAIL-03": {"verdict": "pass", "reason": "", "examples": 3}},
                "sometimes": {"a call was tried again after its cool-down": 7},
                "profiles": {
                    "core": {"sometimes": {"a call was tried again after its cool-down": 7}}
                },
            }
        ],
    }


def test_results_of_format_1_are_read_with_their_names_of_coverage_goals() -> None:
    page = render(old_results())["index.html"]
    assert "a call was tried again after its backoff" in page
    assert "cool-down" not in page
    # Format 1 had the version of the package where that of the clauses stands now.
    assert "version 0.1.0" in page
    assert "clause set" not in page


@pytest.mark.parametrize("number", [1, 2])
def test_an_old_and_a_new_backend_share_one_row_for_one_goal(number: int) -> None:
    old = old_results()
    goal = "a call was tried again after its backoff"
    new = {**old["backends"][0], "name": "new", "sometimes": {goal: 5}, "profiles": {}}
    page = render({**old, "format": number, "backends": [*old["backends"], new]})["index.html"]
    assert page.count("a call was tried again after its") == 1
