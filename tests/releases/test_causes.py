"""The curated causes: the file, places in the newest release, mends, and what they explain."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cellspec.errors import SpecError
from simulations.releases.causes import (
    Causes,
    Mend,
    Place,
    check_place,
    mended_text,
    read_causes,
)
from simulations.releases.explained import cause_troubles, explain
from simulations.releases.findings import Findings, Mended, PlaceCheck
from simulations.releases.gather import Known, gather
from simulations.releases.mended_runs import Mends
from simulations.releases.outcome import Outcome
from simulations.releases.page import pages
from simulations.releases.published import findings_json, read_findings
from tests.releases.toy import PUBLISHED, engine, found_in, outcome

FILE = """
[[causes]]
id = "stands-still"
harm = "hang"
title = "The run stands still"
public = false
since = "1.0"
expected = "it ends"
actual = "it waits"
scripts = ["sched_12_x.py"]
clauses = ["SCHED-12"]

[[causes.places]]
file = "toy/loop.py"
line = 2
text = "while True:"

[[causes]]
id = "slow"
harm = "speed"
title = "It is slow"
public = true
since = "1.0"
mended = "2.0"
expected = "it is fast"
actual = "it is slow"
clauses = ["COST-01"]

[[questions]]
id = "how-long"
title = "How long?"
text = "Nobody says how long a run may take."
clauses = ["SCHED-01"]
"""


def causes_of(tmp_path: Path, text: str = FILE) -> Causes:
    path = tmp_path / "toy.causes.toml"
    path.write_text(text)
    return read_causes(path, engine(tmp_path), ["sched_12_x.py"])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('harm = "hang"', 'harm = "bad"', "causes.0.harm: Input should be 'hang', 'lost or"),
        ('title = "It is slow"', "", "causes.1.title: Field required (cause 'slow')"),
        ('id = "slow"', 'id = "stands-still"', "id 'stands-still' is listed twice"),
        ('since = "1.0"', 'since = "1.1"', "stands-still: there is no release '1.1'"),
        ('mended = "2.0"', 'mended = "1.0"', "slow: mended: expected a release after 1.0"),
        ('mended = "2.0"\n', "", "cause 'slow' is not mended, and so needs [[causes.places]]"),
        ('"COST-01"', '"COST-99"', "slow: there is no clause 'COST-99'"),
        ('"sched_12_x.py"', '"sched_12_y.py"', "no script 'sched_12_y.py'; did you mean"),
        ("line = 2", "line = 0", "causes.0.places.0.line: "),
        ("clauses = ", "claus = ", "(cause 'stands-still')"),
        ("[[questions]]", "[[questions", "not TOML"),
    ],
)
def test_causes_that_cannot_be_used_are_refused_in_one_line(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in FILE
    with pytest.raises(SpecError) as caught:
        causes_of(tmp_path, FILE.replace(old, new, 1))
    assert str(caught.value).startswith(f"{tmp_path / 'toy.causes.toml'}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_list_without_a_file_of_causes_has_none(tmp_path: Path) -> None:
    assert read_causes(tmp_path / "none.toml", engine(tmp_path), []) == Causes()


def test_causes_are_sorted_by_harm_and_then_by_who_can_meet_them(tmp_path: Path) -> None:
    entries = [
        ("slow", "speed", "true"),
        ("twice", "wasted calls", "false"),
        ("lost", "lost or corrupt rows", "false"),
        ("lost-too", "lost or corrupt rows", "true"),
        ("stuck", "hang", "false"),
    ]
    text = "".join(
        f'[[causes]]\nid = "{name}"\nharm = "{harm}"\ntitle = "T"\npublic = {public}\n'
        'since = "1.0"\nexpected = "e"\nactual = "a"\nclauses = ["SCHED-12"]\n'
        '[[causes.places]]\nfile = "f"\nline = 1\ntext = "t"\n'
        for name, harm, public in entries
    )
    ids = [one.id for one in causes_of(tmp_path, text).live]
    assert ids == ["stuck", "lost-too", "lost", "twice", "slow"]


@pytest.mark.parametrize(
    ("text", "now"),
    [
        ("import this\n  while True:\n", 2),
        ("import this\n\n\nwhile True:\n", 4),
        ("while True:\nimport this\n\nwhile True:\n", 1),  # the nearest of two
        ("while False:\n", 0),
    ],
)
def test_a_place_is_found_again_when_its_line_moved(tmp_path: Path, text: str, now: int) -> None:
    (tmp_path / "loop.py").write_text(text)
    place = Place(file="loop.py", line=2, text="while True:")
    assert check_place(place, tmp_path) == now
    assert check_place(Place(file="none.py", line=2, text="while True:"), tmp_path) == 0


def test_a_mend_is_made_only_where_its_text_is_there_once() -> None:
    mend = Mend(file="loop.py", old="while True", new="while go_on")
    assert mended_text(mend, "while True: pass") == "while go_on: pass"
    assert mended_text(mend, "while False: pass") is None
    assert mended_text(mend, "while True: pass\nwhile True: pass") is None


SAME: dict[tuple[str, str], dict[str, Any]] = {
    ("1.0", "inner"): {"says": "same"},
    ("3.0", "inner"): {"says": "same"},
}


def told_of(found: Findings) -> dict[str, Any]:
    """What each cause and question explains, and what nothing does."""
    told = explain(found)
    said = {one.entry.id: (len(one.scripts), len(one.defects)) for one in told.told}
    rest = [len(told.scripts), len(told.defects), len(told.once), len(told.older)]
    return {**{name: each for name, each in said.items() if each != (0, 0)}, "rest": rest}


def test_a_workload_belongs_to_the_one_cause_that_lists_its_clause(tmp_path: Path) -> None:
    known = Known(causes_of(tmp_path))
    found = found_in(tmp_path, SAME, known, v3_0="shows")
    assert told_of(found) == {"stands-still": (1, 1), "rest": [0, 0, 0, 0]}


def test_what_no_cause_lists_is_not_explained_and_never_hidden(tmp_path: Path) -> None:
    found = found_in(tmp_path, SAME, v3_0="shows")
    assert told_of(found) == {"rest": [1, 1, 0, 0]}
    page = pages(found)["toy.md"]
    head = page.partition("## Clauses and releases")[0]
    assert "### Not yet explained" in head
    assert "sched_12_x.py](scripts/sched_12_x.py) shows SCHED-12 broken" in head
    assert f"cases/{found.defects[0].shown.name}" in head


def test_a_clause_that_two_causes_list_says_nothing_of_a_workload(tmp_path: Path) -> None:
    place = '[[causes.places]]\nfile = "f"\nline = 1\ntext = "t"\n\n[[questions]]'
    text = FILE.replace('mended = "2.0"\n', "").replace('"COST-01"', '"SCHED-12"')
    text = text.replace("[[questions]]", place)
    found = found_in(tmp_path, SAME, Known(causes_of(tmp_path, text)))
    assert told_of(found) == {"rest": [0, 1, 0, 0]}
    name = found.defects[0].shown.name
    named = text.replace('clauses = ["SCHED-12"]', f'clauses = ["SCHED-12"]\ncases = ["{name}"]', 1)
    found = found_in(tmp_path, SAME, Known(causes_of(tmp_path, named)))
    assert told_of(found) == {"stands-still": (0, 1), "rest": [0, 0, 0, 0]}


def test_a_mend_that_was_tried_decides_before_names_and_clauses(tmp_path: Path) -> None:
    causes = causes_of(tmp_path)
    name = found_in(tmp_path, SAME).defects[0].shown.name
    in_vain = Known(causes, Mends([Mended("stands-still")], {name: ()}))
    assert told_of(found_in(tmp_path, SAME, in_vain)) == {"rest": [0, 1, 0, 0]}
    healed = Known(causes, Mends([Mended("stands-still")], {name: ("stands-still",)}))
    found = found_in(tmp_path, SAME, healed)
    assert told_of(found) == {"stands-still": (0, 1), "rest": [0, 0, 0, 0]}


def test_a_clause_without_a_workload_is_a_consequence_or_not_explained(tmp_path: Path) -> None:
    found = found_in(tmp_path, {("1.0", "inner"): {"says": "same"}})
    broken = found.outcomes["3.0", "outer"].found
    assert broken is not None
    broken["clauses"]["SCHED-03"] = {"verdict": "violated", "reason": "", "failure": None}
    assert explain(found).unexplained == 1
    assert (
        "- SCHED-03: a run through outer broke it and kept no workload." in pages(found)["toy.md"]
    )
    broken["consequences"] = {"SCHED-03": {"SCHED-02": 4}}
    assert explain(found).unexplained == 0
    assert "- SCHED-03, through outer: after SCHED-02 (4 workloads)." in pages(found)["toy.md"]


def test_what_breaks_on_earlier_releases_alone_is_told_apart(tmp_path: Path) -> None:
    does = {("1.0", "inner"): {"says": "same"}, ("3.0", "inner"): {"says": "nothing"}}
    assert told_of(found_in(tmp_path, does)) == {"rest": [0, 0, 0, 1]}
    once = found_in(tmp_path, {("1.0", "inner"): {"says": "nothing"}})
    assert told_of(once) == {"rest": [0, 0, 0, 0]}


def test_the_page_begins_with_the_causes_of_the_newest_release(tmp_path: Path) -> None:
    check = PlaceCheck("stands-still", "toy/loop.py", 2, "while True:", 5)
    mends = Mends([Mended("stands-still", "", {"sched_12_x.py": "fine"})])
    found = found_in(tmp_path, SAME, Known(causes_of(tmp_path), mends, [check]), v3_0="shows")
    page = pages(found)["toy.md"]
    lines = page.splitlines()
    row = next(line for line in lines[:20] if line.startswith("| **hang** |"))
    cells = "1 workload (inner) | [script](scripts/sched_12_x.py) | SCHED-12 |"
    assert f"| – | 1.0 | `loop.py:5` | {cells}" in row
    heads = [line for line in lines if line.startswith("## ")]
    assert heads == [
        "## Broken in 3.0, the newest release",
        "## The causes in 3.0, one by one",
        "## Clauses and releases",
        "## Mended before 3.0",
        "## What broke",
        "## Scripts",
        "## How the runs were made",
        "## What went wrong with the run of the matrix itself",
    ]
    assert "- `toy/loop.py`, line 5 (line 2 when it was read): `while True:`" in page
    assert "- Mended in a copy of 3.0: sched_12_x.py shows nothing any more." in page
    assert "*Cause:* [The run stands still](#stands-still)." in page


def test_the_page_of_failures_has_the_same_order_and_tells_what_a_sign_rests_on(
    tmp_path: Path,
) -> None:
    html = pages(found_in(tmp_path, SAME, Known(causes_of(tmp_path)), v3_0="shows"))["toy.html"]
    heads = re.findall("<h2>(.*?)</h2>", html)
    assert heads[:4] == [
        "Broken in 3.0, the newest release",
        "Clauses and releases",
        "Mended before 3.0",
        "Failures",
    ]
    first = html.partition("Clauses and releases")[0]
    assert "<strong>hang</strong></td><td>The run stands still (SCHED-12)" in first
    assert "<code>loop.py:2</code></td><td>it ends</td><td>it waits</td>" in first
    assert 'href="scripts/sched_12_x.py"' in first
    assert re.search(r'href="#failure=toy_SCHED-12_\w+"', first)
    assert '<span title="outer: sched_12_x.py">S</span>' in html
    assert '<span title="inner: ; 1 seed">✗</span>' in html


def test_a_pass_says_how_many_workloads_it_rests_on_and_no_verdict_says_why(
    tmp_path: Path,
) -> None:
    listed = engine(tmp_path)
    passed = outcome(None)
    assert passed.found is not None
    passed.found["clauses"]["SCHED-12"] |= {"exercised": 12, "examples": 40}
    passed.seeds = [0, 1, 2]
    outcomes = {("1.0", "inner"): passed, ("2.0", "inner"): Outcome("died", "exit code 9")}
    page = pages(gather(listed, "toy", "0", outcomes, [], {}, [], {}))["toy.md"]
    assert "| clause | 1.0, 3 seeds | 2.0, 0 seeds | 3.0, 0 seeds |" in page
    assert "| SCHED-12 | 12 of 40, – | –, – | –, – |" in page
    assert "- `·` because died: exit code 9: SCHED-12 on 2.0." in page
    assert "- `·` because not run: SCHED-12 on 1.0 to 3.0." in page


def test_what_an_entry_point_cannot_be_asked_for_is_told_last_with_its_reason(
    tmp_path: Path,
) -> None:
    made = outcome(None)
    assert made.found is not None
    lacks = {"verdict": "not claimed", "reason": "", "examples": 0, "failure": None}
    made.found["clauses"] |= {"FAIL-09": lacks, "STOP-01": lacks}
    made.found["capabilities"] = ["core", "drops"]
    made.found["unclaimed"] = {"filters": "no answer rejects a row"}
    made.found["unasked"] = {"a row waited": "rows never wait"}
    made.found["profiles"] = {"core": {"unasked": ["a row waited", "a run stopped"]}}
    found = gather(engine(tmp_path), "toy", "0", {("3.0", "inner"): made}, [], {}, [], {})
    again = read_findings_of(found, tmp_path)
    for each in (found, again):
        page = pages(each)["toy.md"]
        told = page.partition("## What an entry point of 3.0 cannot be asked for\n")[2]
        assert told.splitlines()[3:] == [
            "- inner: *filters* (FAIL-09): no answer rejects a row.",
            "- inner: *early_stop* (STOP-01).",
            "- inner: that a row waited, because rows never wait.",
            "- inner: that a run stopped.",
        ]


def read_findings_of(found: Findings, folder: Path) -> Findings:
    """The findings as they are read back from their published file."""
    (folder / "toy.json").write_text(findings_json(found))
    return read_findings(folder / "toy.json", found.engine, found.scripts, found.causes)


def test_what_the_causes_say_and_the_results_do_not_is_a_trouble(tmp_path: Path) -> None:
    causes = causes_of(tmp_path)
    checks = [PlaceCheck("stands-still", "toy/loop.py", 2, "while True:", 5)]
    mended = Mends([Mended("stands-still", "", {"sched_12_x.py": "shows"})])
    does = {**SAME, ("3.0", "outer"): {"says": "same"}}
    found = found_in(tmp_path, does, Known(causes, mended, checks))
    assert list(cause_troubles(found)) == [
        f"cause stands-still: public = false, and {found.defects[0].identity} shows it through "
        "the public interface",
        "cause stands-still: toy/loop.py:2: this is line 5 of 3.0; write that into the causes",
        "cause stands-still: mended, and sched_12_x.py does not end well: shows",
    ]
    gone = Known(causes, Mends(), [PlaceCheck("stands-still", "toy/loop.py", 2, "while True:", 0)])
    none = {("1.0", "inner"): {"says": "same"}}
    assert list(cause_troubles(found_in(tmp_path, none, gone)))[-1] == (
        "cause stands-still: toy/loop.py:2: this line is no longer in 3.0: while True:"
    )
    nothing = {("1.0", "inner"): {"says": "nothing"}}
    assert list(cause_troubles(found_in(tmp_path, nothing, Known(causes)))) == [
        "cause stands-still: nothing shows it in 3.0; is it mended there?"
    ]


def test_a_clause_of_a_cause_that_nothing_measured_shows_is_named_as_such(tmp_path: Path) -> None:
    two = FILE.replace('clauses = ["SCHED-12"]', 'clauses = ["SCHED-12", "TABLE-04"]')
    two = two.replace("public = false", "public = true")
    found = found_in(tmp_path, SAME, Known(causes_of(tmp_path, two)), v3_0="shows")
    made = pages(found)
    head = made["toy.md"].partition("## The causes in 3.0")[0]
    assert "[script](scripts/sched_12_x.py) | SCHED-12; not shown: TABLE-04 |" in head
    assert "*Not shown*: the source says that the cause breaks this clause" in head
    link = "[TABLE-04](../../specs/table.md)"
    assert f"measured on 3.0 shows it to break: {link}." in " ".join(made["toy.md"].split())
    assert "The run stands still (SCHED-12; not shown: TABLE-04)" in made["toy.html"]
    assert json.loads(made["toy.json"])["causes"][0]["not_shown"] == ["TABLE-04"]
    trouble = "cause stands-still: nothing in 3.0 shows that it breaks TABLE-04"
    assert list(cause_troubles(found)) == [trouble]
    # What broke only where a clause of the cause had broken is a sign of it.
    broken = found.outcomes["3.0", "inner"].found
    assert broken is not None
    broken["clauses"]["TABLE-04"] = {"verdict": "violated", "reason": "", "failure": None}
    broken["consequences"] = {"TABLE-04": {"SCHED-12": 1}}
    assert list(cause_troubles(found)) == []
    broken["consequences"] = {"TABLE-04": {"SCHED-02": 1}}
    assert list(cause_troubles(found)) == [trouble]
    # So is what a workload of it breaks before the clause that it is about.
    does = {place: {**said, "first": "TABLE-04"} for place, said in SAME.items()}
    known = Known(causes_of(tmp_path, two))
    assert list(cause_troubles(found_in(tmp_path, does, known, v3_0="shows"))) == []


@pytest.mark.parametrize(
    ("does", "by", "read"),
    [
        ({("3.0", "outer"): {"says": "same"}}, "1 workload (outer)", (0, 0)),
        (SAME, "1 workload (inner)", (0, 1)),
        ({("3.0", "inner"): {"says": "nothing"}}, "reading", (1, 1)),
    ],
)
def test_a_cause_says_whether_a_workload_or_reading_found_it(
    tmp_path: Path, does: dict[tuple[str, str], dict[str, Any]], by: str, read: tuple[int, int]
) -> None:
    """And whether a workload, or reading alone, says that the public interface leads there."""
    known = Known(causes_of(tmp_path, FILE.replace("public = false", "public = true")))
    found = found_in(tmp_path, does, known, v3_0="shows")
    inside = replace(found, scripts=[replace(script, public=False) for script in found.scripts])
    page = " ".join(pages(inside)["toy.md"].split())
    assert f"| yes | 1.0 | `loop.py:2` | {by} | *[script](scripts/sched_12_x.py)* |" in page
    assert (
        page.count("- Found by reading the source: no workload"),
        page.count("- That the public interface leads there was read in the source"),
    ) == read
    page = " ".join(pages(found)["toy.md"].split())
    assert "| [script](scripts/sched_12_x.py) |" in page
    assert "- That the public interface leads there was read in the source" not in page


@pytest.mark.parametrize("does", [{}, {("1.0", "inner"): {"says": "same"}}])
def test_a_cause_that_nothing_measured_shows_stands_apart(
    tmp_path: Path, does: dict[tuple[str, str], dict[str, Any]]
) -> None:
    """Also if a workload shows it on an older release."""
    does = does or {("1.0", "inner"): {"says": "nothing"}}
    made = pages(found_in(tmp_path, does, Known(causes_of(tmp_path))))
    page = made["toy.md"]
    front = " ".join(page.partition("\n## ")[0].split())
    assert "0 root causes in 3.0, of 3 releases judged. " in front
    assert "Read in its source, and shown by nothing measured: 1 further cause." in front
    before, apart, after = page.partition("### Read in the source, and not shown\n")
    assert apart
    assert "| **hang** |" not in before
    assert "| not shown: SCHED-12 |" in after.partition("\n## ")[0]
    html, apart, rest = made["toy.html"].partition("Read in the source, and not shown in 3.0")
    assert apart
    assert "The run stands still" not in html
    assert "The run stands still" in rest.partition("Clauses and releases")[0]


def test_the_causes_of_datadesigner_explain_every_script_that_shows_its_newest_release() -> None:
    listed = (PUBLISHED / "datadesigner.causes.toml").read_text(encoding="utf-8")
    for path in (PUBLISHED / "scripts").glob("[a-z]*.py"):
        assert f'"{path.name}"' in listed, path.name
