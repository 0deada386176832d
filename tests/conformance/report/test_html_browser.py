"""The report's pages in a real browser: the grid at each event, keys, and the filter.

Headless Chromium loads a page from a file and prints the document that its scripts made of it. A
test that wants more than one look puts a *driver* into its copy of the page: a script that moves
the slider, presses keys and writes down the results. The copy is stripped of the content policy,
which forbids foreign scripts; another test shows that it does.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cellspec.conformance.report.html import INDEX, render, render_trace
from tests.conformance.report import report_samples as samples
from tests.conformance.report.test_html import Page

pytestmark = pytest.mark.chromium

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # for root, as in containers
    "--disable-gpu",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--window-size=1400,1200",
    "--virtual-time-budget=20000",
    "--dump-dom",
)

# What the grid shows, by its elements: a letter for each cell, row by row, and what is beside it.
LOOK = """
const LETTER = {
  pending: ".", running: "R", backoff: "~", failed: "F", complete: "V", claimed: "K",
  skipped: "S", dropped: "D", lost: "L", absent: " ",
};
const all = (selector) => [...document.querySelectorAll(selector)];
const textOf = (selector) => document.querySelector(selector)?.textContent ?? null;
const cellName = (td) => `${td.dataset.c}.${td.dataset.r}`;
function look() {
  const rows = [];
  for (const td of all("td.cell")) {
    rows[td.dataset.r] = (rows[td.dataset.r] || "") + LETTER[td.dataset.state];
  }
  const named = (name) => all(`td.cell.${name}`).map(cellName);
  return {
    number: textOf("#event-number"), text: textOf("#event-text"),
    incarnation: textOf("#incarnation"),
    clock: textOf("#clock"), broken: textOf("#violation"), status: textOf("#status"), rows,
    durable: named("durable"), now: named("now"), bad: named("bad"), claimed: named("claim-end"),
    claiming: named("pending-end"), symbols: Object.fromEntries(
      all("td.cell").map((td) => [cellName(td), td.textContent])),
    chips: all("th .chip").map((chip) => [chip.closest("th").dataset.c, chip.dataset.state]),
    rails: all("td.rail").map((td) =>
      [td.dataset.c, td.dataset.scope, td.dataset.state, td.classList.contains("unread")]),
    dropped: all('th.row[data-row-state="dropped"]').map((th) => [th.dataset.r, th.title]),
    groups: all("td.group").map((td) => td.dataset.group),
    load: Object.fromEntries(all("#in-flight [data-resource]").map((li) =>
      [li.dataset.resource, [li.dataset.used, li.dataset.limit]])),
    claim: textOf("#claim"), pending: textOf("#pending-claim"),
  };
}
function move(position) {
  const slider = document.getElementById("slider");
  slider.value = position;
  slider.dispatchEvent(new Event("input"));
}
function press(key, more = {}, target = document.body) {
  target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, ...more }));
}
"""


@pytest.fixture(scope="module")
def chromium(request: pytest.FixtureRequest) -> str:
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found:
        return found
    if "chromium" in request.config.option.markexpr:
        pytest.fail("the tests with Chromium were asked for, and Chromium is absent")
    pytest.skip("needs Chromium, which is absent: apt-get install chromium")


class Browser:
    """Loads pages, each in a process of its own.

    Args:
        program: Chromium.
        folder: for the page, and what the program leaves.
        more: options of the program beside `OPTIONS`.
    """

    def __init__(self, program: str, folder: Path, *more: str) -> None:
        self._program = program
        self._folder = folder
        self._options = (*OPTIONS, *more)

    def load(self, source: str, fragment: str = "") -> str:
        """The document that a page became, as HTML."""
        path = self._folder / "page.html"
        path.write_text(source, encoding="utf-8")
        profile = f"--user-data-dir={self._folder / 'profile'}"
        done = subprocess.run(
            [self._program, *self._options, profile, f"{path.as_uri()}#{fragment}"],
            capture_output=True,
            check=True,
            timeout=120,
        )
        return done.stdout.decode()

    def drive(self, source: str, driver: str, fragment: str = "") -> Any:
        """The results of a driver; an error of any script of the page fails the test."""
        source = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", source)
        errors = "<script>const errors=[];onerror=(m)=>{errors.push(String(m))};</script>"
        source = source.replace("<style>", f"{errors}<style>", 1)
        script = f"""<pre id="seen"></pre><script>{LOOK}
        (async () => {{
          let seen;
          try {{ seen = await (async () => {{ {driver} }})(); }}
          catch (error) {{ errors.push(String(error)); }}
          document.getElementById("seen").textContent = JSON.stringify([errors, seen ?? null]);
        }})();</script></body>"""
        end = source.rindex("</body>")
        page = Page(self.load(source[:end] + script + source[end + len("</body>") :], fragment))
        errors_seen, seen = json.loads(page.find("pre", id="seen")[0])
        assert errors_seen == []
        return seen


@pytest.fixture(scope="module")
def browser(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Browser:
    return Browser(chromium, tmp_path_factory.mktemp("browser"))


# What is done, in this order, with the page of `every_kind`.
TOUR = {
    "looks": """
    const looks = [], opened_at = look().number;
    for (let at = 0; at <= +document.getElementById("slider").max; at++) {
      move(at);
      looks.push({ ...look(), opened_at });
    }
    return looks;
    """,
    "keys": """
    const numbers = [];
    const go = (key, more) => { press(key, more); numbers.push(+look().number); };
    move(30);
    go("ArrowRight"); go("ArrowLeft"); go("ArrowRight", { shiftKey: true }); go("[");
    go("]"); go("Home"); go("ArrowLeft"); go("End"); go("ArrowRight"); go("v"); go(".");
    go("ArrowRight", { ctrlKey: true });
    move(21);
    const cell = document.querySelector('td.cell[data-c="1"][data-r="3"]');
    cell.focus();
    press("ArrowRight", {}, cell);
    const beside = cellName(document.activeElement);
    press("ArrowUp", {}, document.activeElement);
    const above = cellName(document.activeElement);
    press("Enter", {}, document.activeElement);
    return { numbers, beside, above, node: textOf("#node"), still: +look().number };
    """,
    "history": """
    move(46);
    const shown = () => [textOf("#node"), textOf("#inspector .facts"),
      all("#history .number").map((each) => +each.textContent)];
    document.querySelector('td.cell[data-c="1"][data-r="1"]').click();
    const cell = shown();
    document.querySelector('td.rail[data-c="2"][data-r="3"]').click();
    const node = shown();
    all("#history button")[0].click();
    return { cell, node, number: +look().number };
    """,
    "play": """
    move(50);
    press(" ");
    const playing = () => textOf(".buttons").includes("pause");
    const before = playing();
    await new Promise((done) => setTimeout(done, 5000));
    return [before, look().number, playing()];
    """,
}


@pytest.fixture(scope="module")
def tour(browser: Browser) -> dict[str, Any]:
    """The results of each driver of `TOUR`."""
    steps = ", ".join(f"{name}: await (async () => {{ {js} }})()" for name, js in TOUR.items())
    page = render_trace(
        samples.header(), samples.every_kind(), "every kind", violation=samples.BREAKS_AT
    )
    found: dict[str, Any] = browser.drive(page, f"return {{ {steps} }};")
    return found


@pytest.fixture(scope="module")
def seen(tour: dict[str, Any]) -> list[dict[str, Any]]:
    """The grid before the first event, and after each event of the hand-made trace."""
    looks: list[dict[str, Any]] = tour["looks"]
    assert len(looks) == 1 + len(samples.every_kind())
    return looks


AFTER = "V complete, R running, ~ backoff, F failed, K claimed, S skipped, D dropped, L lost"
EXPECTED = {
    # event: rows 0 to 5 (6 and 7 come into being with the last event), columns s a w v c d
    0: "...... ...... ...... ...... ...... ......",
    3: "R..... R..... R..... R..... R..... R.....",
    4: "V..... V..... V..... R..... R..... R.....",
    5: "VR.... V..... V..... R..... R..... R.....",
    9: "VV.... V~.... V..... V..... V..... V.....",
    11: "VV.... V~.... V~.... V..... V..... V.....",
    12: "VV.... VR.... V~.... V..... V..... V.....",
    15: "VV.... VV.... VV.... V..... V..... V.....",
    17: "VV.... VV.... VV.... V..... V..... V.....",
    18: "VVV... VVV... VV.... V..... V..... V.....",
    20: "VVV... VVV... VV.... VR..R. VR.... V.....",
    21: "VVV... VVV... VV.... VFDDDD VR.... V.....",
    23: "VVV... VVV... VV.... VFDDDD VR.... V.....",
    25: "VVV... VVV... VV.... VFDDDD VV.... VR....",
    26: "VVV... VVV... VV.... VFDDDD VV.... V.....",
    28: "VVV... VVV... VV.... VFDDDD VV.... VV....",
    31: "VVVV.. VVVV.. VV.V.. VFDDDD VV.... VV....",
    33: "VVVVSS VVVV.. VV.V.. VFDDDD VV.... VV....",
    35: "VVVVSS VVVVV. VV.V.. VFDDDD VV.... VV....",
    44: "VVVVSS VVVVVR VV.V.. VFDDDD VV.... VV....",
    46: "VVVVSS LVLLLL LV.L.. LLLLLL LL.... LL....",
    47: "KKKKSS .K.... .K.... ...... ...... ......",
    49: "KKKKSS RK.... RK.... R..... R..... R.....",
    50: "KKKKSS VK.... RK.... R..... R..... R.....",
    51: "KKKKSS VK.... ~K.... ~..... ~..... ~.....",
    53: "KKKKSS VK.... ~K.... DFDDDD ~..... ~.....",
    57: "KKKKSS VK.... ~K.... DFDDDD DDDDDD DDDDDD",
    61: "KKKKSS VK.... ~K.... DFDDDD DDDDDD DDDDDD",
    62: "KKKKKK ...... ...... DDDDDD DDDDDD DDDDDD ...... ......",
}


@pytest.mark.parametrize("event", EXPECTED)
def test_the_grid_shows_every_cell_as_it_is_after_the_event(
    seen: list[dict[str, Any]], event: int
) -> None:
    absent = [] if event == 62 else ["      ", "      "]
    assert seen[event]["rows"] == [*EXPECTED[event].split(), *absent], AFTER


def test_each_event_is_shown_in_words_with_its_number_time_and_incarnation(
    seen: list[dict[str, Any]],
) -> None:
    expected = {
        0: "before the first event",
        1: "the group of rows 0–3 is admitted",
        3: "s[0:6] starts",
        5: "a[0] starts, on endpoint",
        9: "a[1] fails: retryable; may start again at 3 s",
        11: "a[2] fails: back-pressure; may start again at 3.5 s",
        12: "a[1] starts, attempt 2",
        18: "w[0:2] is given by its barrier",
        21: "a[3] fails: permanent; for good",
        22: "row 3 dropped because of a",
        26: "a[5] is cancelled",
        29: "barrier 0 of 'v' starts, reads rows 0–2, 4–5",
        32: "c[0] is skipped",
        36: "row 0 durable in every column",
        37: "a[1:3] durable",
        38: "a claim is being written: 1 row of every column",
        39: "the claim could not be written",
        41: "the claim is durable",
        45: "a claim is being written: s 1, a 3, w 1, v 1, c 1, d 1",
        46: "crash: cells that are not durable are gone",
        47: "resume from s 1, a 3, w 1, v 1, c 1, d 1",
        56: "barrier 2 of 'w' starts, reads rows 4–5 (inferred)",
        59: "the group of rows 0–3 retires",
        60: "early stop: half of the last 4 calls failed",
        61: "the run ends: stopped",
        62: "resume from 1 row of every column; dropped rows 3–5; the target is now 8 rows; "
        "keeping claimed rows of barriers that change",
    }
    assert {event: seen[event]["text"] for event in expected} == expected
    assert [look["number"] for look in seen] == [str(n) for n in range(63)]
    assert (seen[9]["clock"], seen[9]["incarnation"]) == ("2.25 s", "incarnation 0")
    assert seen[47]["incarnation"] == "incarnation 1"
    assert seen[62]["incarnation"] == "incarnation 2"


def test_symbols_show_the_attempt_and_a_call_whose_row_is_dropped(
    seen: list[dict[str, Any]],
) -> None:
    assert seen[8]["symbols"]["1.1"] == "▸"
    assert seen[12]["symbols"]["1.1"] == "▸ 2"
    assert seen[21]["symbols"]["4.3"] == "×▸"
    assert seen[23]["symbols"]["4.3"] == "×"


def test_barrier_nodes_have_chips_and_bars_of_their_own(seen: list[dict[str, Any]]) -> None:
    def bars(event: int, column: int) -> dict[str, str]:
        return {scope: state for c, scope, state, _ in seen[event]["rails"] if c == str(column)}

    assert bars(16, 2) == {"0": "running", "1": "pending", "2": "pending", "3": "absent"}
    assert bars(18, 2)["0"] == "complete"
    assert bars(43, 2)["1"] == "backoff"
    assert bars(46, 2) == {"0": "lost", "1": "lost", "2": "pending", "3": "absent"}
    assert bars(57, 2)["2"] == "failed"
    assert ["3", "running"] in seen[29]["chips"]
    assert [chip for chip in seen[30]["chips"] if chip[0] == "2"] == [
        ["2", "complete"],
        ["2", "pending"],
        ["2", "pending"],
    ]
    unread = [at for at, rail in enumerate(r for r in seen[29]["rails"] if r[0] == "3") if rail[3]]
    assert 3 in unread
    assert not {0, 1, 2, 4, 5} & set(unread)


def test_a_barrier_is_restored_with_its_whole_scope_or_not_at_all(browser: Browser) -> None:
    claims = [dict.fromkeys(samples.COLUMNS, rows) for rows in (1, 2, 6)]
    events = samples.numbered(
        [step for claim in claims for step in ({"event": "crash"}, _resume(claim))]
    )
    driver = "return [2, 4, 6].map((at) => { move(at); return look().chips; })"
    looks = browser.drive(render_trace(samples.header(), events, "x"), driver)
    words = [[state for _, state in chips] for chips in looks]
    assert words[0] == ["pending"] * 4
    assert words[1] == ["claimed", "pending", "pending", "pending"]
    assert words[2] == ["claimed"] * 4


def _resume(claim: dict[str, int]) -> dict[str, Any]:
    return {"event": "resume", "claim": claim}


def test_dropped_rows_say_why_and_whether_it_is_recorded_and_safe(
    seen: list[dict[str, Any]],
) -> None:
    assert seen[21]["dropped"] == [["3", "dropped, not recorded yet"]]
    assert seen[22]["dropped"] == [["3", "dropped because of a"]]
    assert seen[46]["dropped"] == []
    assert seen[55]["dropped"] == [["3", "dropped because of a, on storage"]]
    assert [row for row, _ in seen[62]["dropped"]] == ["3", "4", "5"]


def test_calls_in_flight_are_counted_against_the_limits(seen: list[dict[str, Any]]) -> None:
    assert seen[2]["load"] == {
        "workers": ["0", "3"],
        "endpoint": ["0", "2"],
        "row groups": ["2", "2"],
    }
    # A streamed range is one call, a range of another column is one for each row.
    workers = {event: seen[event]["load"]["workers"][0] for event in (3, 5, 6, 19, 20, 21, 23, 46)}
    assert workers == {3: "1", 5: "2", 6: "1", 19: "2", 20: "3", 21: "2", 23: "1", 46: "0"}
    assert seen[20]["load"]["endpoint"] == ["2", "2"]
    assert seen[59]["load"]["row groups"] == ["0", "2"]


def test_groups_wait_are_admitted_and_retire(seen: list[dict[str, Any]]) -> None:
    assert seen[1]["groups"] == ["admitted"] * 4 + ["waiting"] * 4
    assert seen[46]["groups"] == ["waiting"] * 8
    assert seen[59]["groups"] == ["retired"] * 4 + ["waiting"] * 4


def test_durable_cells_and_claims_are_marked(seen: list[dict[str, Any]]) -> None:
    row = [f"{column}.0" for column in range(6)]
    assert seen[36]["durable"] == row
    assert sorted(seen[37]["durable"]) == sorted([*row, "1.1", "1.2"])
    assert (seen[38]["claiming"], seen[38]["claimed"]) == (row, [])
    assert (seen[39]["claiming"], seen[39]["claimed"]) == ([], [])
    assert (seen[41]["claiming"], seen[41]["claimed"]) == ([], row)
    assert seen[41]["claim"] == "1 row of every column"
    assert seen[45]["pending"] == "s 1, a 3, w 1, v 1, c 1, d 1"
    assert sorted(seen[47]["claimed"]) == ["0.0", "1.2", "2.0", "3.0", "4.0", "5.0"]
    assert sorted(seen[47]["durable"]) == sorted([*row, "1.1", "1.2"])


def test_crash_stop_and_end_are_said_until_the_next_incarnation(seen: list[dict[str, Any]]) -> None:
    expected = {event: seen[event]["status"] for event in (45, 46, 47, 60, 61, 62)}
    assert expected == {
        45: "",
        46: "✗ crashed: waiting to be resumed",
        47: "",
        60: "■ stopped early: half of the last 4 calls failed; nothing starts any more",
        61: "■ ended: stopped",
        62: "",
    }


def test_the_violating_event_is_marked_from_its_moment_on(seen: list[dict[str, Any]]) -> None:
    marked = {event: look["bad"] for event, look in enumerate(seen)}
    assert marked == {event: (["1.3"] if event >= 21 else []) for event in range(63)}
    assert [event for event, look in enumerate(seen) if look["broken"]] == [21]
    assert seen[19]["now"] == ["1.3", "1.4"]


def test_the_fragment_is_the_view_and_the_page_runs_under_its_own_policy(browser: Browser) -> None:
    page = render(samples.results())["failure-na-ve-engine-BARR-01.html"]
    intruder = '<script>document.title="taken"</script></body>'
    document = Page(browser.load(page.replace("</body>", intruder), "event=21&cell=c1r3"))
    assert document.find("b", id="event-number") == ["21"]
    assert document.find("strong", id="violation") == [
        " ✗ this breaks BARR-01: barrier 0 of 'v' starts although a[3] is not complete"
    ]
    assert document.find("b", id="node") == ["a[3]"]
    assert document.find("b", id="node-state") == ["failed"]
    assert document.find("title")[0] == "BARR-01 · naïve/engine"


def test_a_page_opens_at_the_violation_or_else_at_the_end(
    browser: Browser, seen: list[dict[str, Any]]
) -> None:
    assert seen[-1]["opened_at"] == "21"
    failure = samples.failure(clause="SCHED-12", detail="it never ends", seq=None)
    backend = {"name": "e", "clauses": {"SCHED-12": {"verdict": "violated", "failure": failure}}}
    page = render(samples.results(backends=[backend]))["failure-e-SCHED-12.html"]
    looks = browser.drive(page, "const last = look(); move(3); return [last, look()];")
    assert [look["number"] for look in looks] == ["62", "3"]
    assert [look["broken"] for look in looks] == [" ✗ after this SCHED-12: it never ends", None]


def test_keys_move_through_events_marks_and_cells(tour: dict[str, Any]) -> None:
    seen = tour["keys"]
    assert seen["numbers"] == [31, 30, 40, 39, 41, 0, 0, 62, 62, 21, 22, 22]
    assert (seen["beside"], seen["above"], seen["node"]) == ("2.3", "2.2", "w[2]")
    assert seen["still"] == 21


def test_a_cell_and_a_barrier_show_their_history_and_their_inputs(tour: dict[str, Any]) -> None:
    seen = tour["history"]
    name, facts, history = seen["cell"]
    assert (name, facts) == ("a[1]", "statecomplete, durableneeds s[1]lost")
    assert history == [1, 8, 9, 12, 13, 37, 46, 47, 48, 59, 62]
    name, facts, history = seen["node"]
    assert (name, facts) == ("barrier 1 of 'w'", "statelostneeds a[2:4]1 of 2 resolved")
    assert history == [42, 43, 46, 47, 62]
    assert seen["number"] == 42


def test_play_goes_to_the_end_and_stops(tour: dict[str, Any]) -> None:
    assert tour["play"] == [True, "62", False]


def many_events(rows: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Three columns, some events for each row, and a crash now and then."""
    header = samples.header(rows)
    header["graph"]["columns"] = [
        {"name": "a", "traits": ["START"], "needs": []},
        {"name": "b", "traits": ["BATCH_BARRIER"], "needs": ["a"]},
        {"name": "c", "traits": [], "needs": ["b"]},
    ]
    header["graph"]["batch_size"] = 100
    header["limits"] = {}
    steps: list[dict[str, Any]] = []
    for row in range(0, rows, 2):
        steps += [
            {"event": "start", "column": "a", "rows": row},
            {"event": "start", "column": "a", "rows": row + 1},
            {"event": "complete", "column": "a", "rows": row + 1},
            {"event": "complete", "column": "a", "rows": row},
            {"event": "durable", "column": "a", "rows": [0, row + 2]},
        ]
        if row % 200 == 198:
            claim = {"a": row, "b": 0, "c": 0}
            steps += [{"event": "crash"}, {"event": "resume", "claim": claim}]
    return header, samples.numbered(steps)


def test_the_slider_may_jump_anywhere_and_shows_the_same_as_stepping(browser: Browser) -> None:
    driver = """
    const last = +document.getElementById("slider").max;
    const key = () => JSON.stringify([all("td.cell, td.rail").map((td) =>
      td.dataset.state + td.className), textOf("#claim"), textOf("#event-text")]);
    const places = [];
    for (let at = 0; at <= last; at += 61) places.push(at);
    const forward = new Map(places.map((at) => { move(at); return [at, key()]; }));
    const there = all("td.cell").length;
    const jumps = places.map((at, index) => places[(index * 7 + 3) % places.length]);
    const wrong = jumps.filter((at) => { move(at); return key() !== forward.get(at); });
    return { jumps: jumps.length, wrong, there };
    """
    header, events = many_events(600)
    seen = browser.drive(render_trace(header, events, "many"), driver)
    assert seen["wrong"] == []
    assert seen["jumps"] >= 15
    assert seen["there"] == 3 * 600


def test_a_large_table_shows_a_window_of_rows_that_follows_the_events(browser: Browser) -> None:
    header, events = many_events(2000)
    columns = header["graph"]["columns"]
    extra = [{"name": f"x{n}", "traits": [], "needs": ["a"]} for n in range(27)]
    header["graph"]["columns"] = columns + extra
    driver = """
    const rows = () => all("th.row .row-number").map((each) => +each.textContent);
    const seen = [];
    for (const at of [1, +document.getElementById("slider").max - 3]) {
      move(at);
      const here = rows();
      seen.push([here[0], here.length, all("td.cell").length]);
    }
    const buttons = all(".pager button");
    buttons[0].click();
    seen.push([rows()[0]]);
    return seen;
    """
    first, last, before = browser.drive(render_trace(header, events, "many"), driver)
    assert first == [0, 400, 12000]
    assert last == [1600, 400, 12000]
    assert before == [1200]


def test_names_that_look_like_markup_are_shown_as_they_are(browser: Browser) -> None:
    header, name = samples.header(), samples.HOSTILE.replace("\ud800", "")
    header["graph"]["columns"][0] |= {"name": name}
    header["graph"]["columns"][1] |= {"name": "__proto__", "needs": [name]}
    header["graph"]["columns"][2] |= {"needs": ["__proto__"]}
    header["graph"]["columns"][3] |= {"needs": ["__proto__"]}
    events = samples.numbered(
        [
            {"event": "start", "column": name, "rows": [0, 6], "reason": name},
            {"event": "crash"},
            {"event": "resume", "claim": {"__proto__": 2}},
            {"event": "constructor", "column": "toString", name: name},
            {"event": "stop", "reason": name},
        ]
    )
    driver = """
    const texts = [1, 3, 4, 5].map((at) => { move(at); return look(); });
    const heads = all("th.head .name").map((each) => each.textContent);
    return [texts.map((each) => each.text), heads, texts[1].rows[1], all("img").length];
    """
    texts, heads, row, images = browser.drive(render_trace(header, events, name), driver)
    assert texts[0] == f"{name}[0:6] starts"
    assert texts[2] == "constructor toString (an event of no known kind)"
    assert texts[3] == f"early stop: {name}"
    assert heads[:2] == [name, "__proto__"]
    assert (row, images) == (".K....", 0)


NONSENSE: list[dict[str, Any]] = [
    {"event": "start", "column": "ghost", "rows": 3},
    {"event": "start", "column": "a", "rows": [4, 900]},
    {"event": "complete", "column": "a", "rows": 5},
    {"event": "complete", "column": "a", "rows": [5, 2]},
    {"event": "start", "column": "v", "scope": 99, "reads": "all"},
    {"event": "complete", "column": "v", "scope": 0},
    {"event": "fail", "column": "c", "rows": 1, "failure": "permanent"},
    {"event": "fail", "column": "w", "scope": 1},
    {"event": "drop", "rows": [4, 900]},
    {"event": "emit"},
    {"event": "durable", "column": "ghost", "rows": [0, 4]},
    {"event": "checkpoint_durable"},
    {"event": "checkpoint_begin", "claim": {"a": -3, "b": "x", "c": 10**9}},
    {"event": "resume", "claim": 3, "dropped": [[1], "x", [-5, 2], [3, 2]], "records": -1},
    {"event": "cancel", "column": "a", "rows": 0},
    {"event": "admit"},
    {"event": "stop"},
    {"event": "end", "outcome": 7},
    {"event": None},
    {},
]


def test_events_that_make_no_sense_are_drawn_without_a_fuss(browser: Browser) -> None:
    events = [{"seq": 2 * n, "t": "late", **step} for n, step in enumerate(NONSENSE)]
    looks = browser.drive(render_trace(samples.header(), events, "nonsense"), TOUR["looks"])
    assert len(looks) == 1 + len(NONSENSE)
    assert looks[0]["opened_at"] == str(2 * len(NONSENSE) - 2)
    assert looks[2]["rows"][4:6] == [".R....", ".R...."]
    assert looks[3]["rows"][4:6] == [".R....", ".V...."]
    assert looks[7]["rows"][1] == "......"
    assert looks[14]["rows"][0] == "DDDDDD"
    assert looks[-1]["text"] == "None nothing (an event of no known kind)"


def test_the_matrix_can_be_narrowed_to_words_and_to_open_clauses(browser: Browser) -> None:
    driver = """
    const shown = () => all("#matrix tr.clause").filter((row) =>
      row.checkVisibility()).map((row) => row.id);
    const box = document.getElementById("filter-text");
    const open = document.getElementById("filter-open");
    const seen = [shown()];
    const type = (text) => { box.value = text; box.dispatchEvent(new Event("input")); };
    type("barrier"); seen.push(shown());
    type("no such words"); seen.push(shown());
    type(""); open.click(); seen.push(shown());
    return seen;
    """
    seen = browser.drive(render(samples.results())[INDEX], driver)
    assert seen == [
        ["SCHED-01", "BARR-01", "CKPT-12"],
        ["BARR-01"],
        [],
        ["BARR-01", "CKPT-12"],
    ]
