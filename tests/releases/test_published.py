"""The published scripts, cases and pages."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cellspec.conformance.run.case import read_case
from cellspec.errors import SpecError
from cellspec.text import counted
from cellspec.trace import event_from_json, graph_of, header_from_json
from simulations.releases import command
from simulations.releases.causes import Causes, read_causes
from simulations.releases.environments import checkout
from simulations.releases.failures_page import failures_page
from simulations.releases.markdown import markdown
from simulations.releases.published import FINDINGS_FORMAT, findings_json, read_findings
from simulations.releases.release_list import read_list
from simulations.releases.script_files import read_scripts, render_script
from tests.releases.toy import PUBLISHED, SCRIPT, row_of


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("# Defect: ", "# Fault: ", "header: Defect: is missing"),
        ("TABLE-01", "TABLE-99", "there is no clause 'TABLE-99'"),
        ("import os, sys", "import os, sys, cellspec", "imports cellspec"),
        ("import os, sys", "import os, sys\nfrom cellspec import graph", "imports cellspec"),
    ],
)
def test_a_script_that_is_not_self_contained_is_refused(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    (tmp_path / "_helper.py").write_text("no script")
    (tmp_path / "table_01.py").write_text(SCRIPT.replace(old, new, 1))
    with pytest.raises(SpecError, match=r"^table_01\.py: ") as caught:
        read_scripts(tmp_path, "toy")
    assert said in str(caught.value)


def test_every_published_script_needs_the_engine_and_nothing_of_ours() -> None:
    listed = read_list(PUBLISHED / "datadesigner.toml")
    known = {release.version for release in listed.releases}
    for script in read_scripts(PUBLISHED / "scripts", "data_designer"):
        number = script.clauses[0].lower().replace("-", "_")
        assert script.file.startswith(f"{number}_"), f"{script.file} does not begin with {number}"
        assert set(script.releases) <= known, script.file
        assert not script.needs or script.needs_release in known, script.file
        names = {node.name for node in ast.parse(script.text).body if hasattr(node, "name")}
        assert "main" in names or "exit(" in script.text, f"{script.file} is not a whole program"
        if script.public:
            assert len(script.text.splitlines()) < 60, f"{script.file} is too long to be read"


@pytest.fixture(scope="module")
def of_programs() -> dict[str, Any]:
    """The published file for programs."""
    found: dict[str, Any] = json.loads((PUBLISHED / "datadesigner.json").read_text("utf-8"))
    return found


SYMBOLS = {
    "pass": "✓",
    "violated": "✗",
    "xfail": "✗",
    "inconclusive": "?",
    "not claimed": "–",
    "not repeated": "↺",
    "shown by a replay": "R",
    "shown by a script": "S",
}


def test_the_published_file_describes_scripts_as_their_headers_do(
    of_programs: dict[str, Any],
) -> None:
    assert of_programs["format"] == FINDINGS_FORMAT
    headers = read_scripts(PUBLISHED / "scripts", "data_designer")
    programs = of_programs["scripts"]
    assert [one["file"] for one in programs] == [f"scripts/{script.file}" for script in headers]
    for one, script in zip(programs, headers, strict=True):
        assert tuple(one["clauses"]) == script.clauses
        assert (one["defect"], one["public"]) == (script.defect, script.public)
        assert set(one["shows"]) <= set(script.releases), script.file
        assert one["shows"] == [v for v, said in one["says"].items() if said == "shows"]


def test_no_published_release_passes_by_a_clause_that_a_script_shows_broken(
    of_programs: dict[str, Any],
) -> None:
    entry_points = {one["version"]: one["entry_points"] for one in of_programs["releases"]}
    shown = {
        (version, number): one["file"]
        for one in of_programs["scripts"]
        for version in one["shows"]
        for number in one["clauses"]
    }
    assert shown
    for (version, number), file in shown.items():
        for entry_point, outcome in entry_points[version].items():
            said = outcome.get("clauses", {}).get(number, {"stands": "not claimed"})["stands"]
            allowed = ("violated", "shown by a replay", "shown by a script", "not claimed")
            assert said in allowed, f"{file}: {version} {entry_point} {number}: {said}"


def test_the_published_matrix_agrees_with_the_file_for_programs(
    of_programs: dict[str, Any],
) -> None:
    page = (PUBLISHED / "datadesigner.md").read_text("utf-8")
    numbers = {
        number
        for one in of_programs["releases"]
        for outcome in one["entry_points"].values()
        for number in outcome.get("clauses", {})
    }
    for number in numbers:
        cells = [cell.strip() for cell in row_of(page, number).split("|")[2:-1]]
        for release, cell in zip(of_programs["releases"], cells, strict=True):
            for sign, outcome in zip(cell.split(), release["entry_points"].values(), strict=True):
                said = outcome.get("clauses", {}).get(number)
                if said is None:
                    assert sign in "·RS", (release["version"], number)
                    continue
                assert sign.removesuffix("†") == SYMBOLS[said["stands"]], (release, number)
                dagger = number in outcome["earlier_rules"] and sign[0] in "✓✗?↺"
                assert sign.endswith("†") == dagger, (release["version"], number)


def test_no_published_replay_of_another_workload_broke_nothing(
    of_programs: dict[str, Any],
) -> None:
    for defect in of_programs["defects"]:
        found = [tuple(place) for place in defect["found"]]
        replays = {(version, entry_point): said for version, entry_point, said in defect["replays"]}
        own = [replays[place]["changes"] for place in found if place in replays]
        for place, said in replays.items():
            if said["says"] in ("nothing", "refused"):
                assert said["changes"] == [] or said["changes"] in own, (defect["id"], place)
    assert of_programs["replayed"]["create"]["changed"] > 0


def test_scripts_that_drive_the_scheduler_differ_in_their_table_alone() -> None:
    shared = "# The same in every script from here on"
    template = (PUBLISHED / "scripts" / "_template.py").read_text(encoding="utf-8")
    texts = [one.text for one in read_scripts(PUBLISHED / "scripts", "data_designer")]
    rendered = [text.partition(shared)[2] for text in texts if shared in text]
    assert len(rendered) > 15
    assert set(rendered) == {template.partition(shared)[2]}


def test_a_rendered_script_is_printed_as_one_file(capsys: pytest.CaptureFixture[str]) -> None:
    name = "table_02_side_effects_are_lost.py"
    assert command.main(["--render", name]) == 0
    printed = capsys.readouterr().out
    assert printed == render_script(PUBLISHED / "scripts" / name)
    assert "_template" not in printed
    compile(printed, name, "exec")
    for word in (name.removesuffix(".py"), f"scripts/{name}"):
        assert command.main(["--render", word]) == 0
        assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("WAIT_S = ", "LIMIT_S = ", "expected 'WAIT_S = ' right after the imports"),
        ("from __future__ import annotations\n", "", "expected 'WAIT_S = ' right after"),
    ],
)
def test_a_script_whose_table_cannot_be_found_is_refused(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    name = "table_02_side_effects_are_lost.py"
    for each in ("_template.py", name):
        shutil.copy(PUBLISHED / "scripts" / each, tmp_path)
    text = (tmp_path / name).read_text(encoding="utf-8")
    (tmp_path / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SpecError, match=rf"^{name}: ") as caught:
        render_script(tmp_path / name)
    assert said in str(caught.value)


def test_the_list_of_datadesigner_has_its_newest_release_and_at_least_six_older() -> None:
    listed = read_list(checkout() / command.DEFAULT_LIST)
    assert listed.releases[-1].version == "0.9.7"
    assert len(listed.releases) > 6
    assert [entry_point.public for entry_point in listed.entry_points] == [False, True]


@pytest.mark.parametrize("path", sorted(PUBLISHED.glob("cases/*.json")), ids=lambda path: path.name)
def test_published_cases_can_be_read(path: Path) -> None:
    assert read_case(path).clause == path.name.split("_")[1]


def test_the_published_pages_are_written_again_from_the_published_file(
    of_programs: dict[str, Any],
) -> None:
    listed = read_list(PUBLISHED / "datadesigner.toml")
    scripts = read_scripts(PUBLISHED / "scripts", "data_designer")
    causes = read_causes(
        PUBLISHED / "datadesigner.causes.toml", listed, [one.file for one in scripts]
    )
    found = read_findings(PUBLISHED / "datadesigner.json", listed, scripts, causes)
    page = (PUBLISHED / "datadesigner.html").read_text("utf-8")
    text = (PUBLISHED / "datadesigner.md").read_text("utf-8")
    late = (
        "run `python -m simulations.releases --published`: the pages quote clauses, causes and "
        "headers of scripts as they were before"
    )
    assert findings_json(found) == (PUBLISHED / "datadesigner.json").read_text("utf-8"), late
    assert markdown(found) == text, late
    assert failures_page(found) == page, late
    shown = [one for one in of_programs["defects"] if one["repeated"] and not one["after"]]
    assert len(shown) == 58
    for one in shown:
        assert one["trace"], one["id"]
        assert f'id="failure={one["id"]}"' in page
        assert f"(datadesigner.html#failure={one['id']})" in text


def test_the_published_page_says_in_front_how_many_seeds_and_workloads_it_rests_on(
    of_programs: dict[str, Any],
) -> None:
    text = (PUBLISHED / "datadesigner.md").read_text("utf-8")
    front = " ".join(text[: text.index("\n## ")].split())
    assert "The verdicts rest on what was measured: " in front
    for release in of_programs["releases"]:
        ran = [one for one in release["entry_points"].values() if one["status"] == "ran"]
        seeds, examples = min((len(one["seeds"]), one["max_examples"]) for one in ran)
        assert f"{counted(seeds, 'seed')} of {counted(examples, 'workload')} a profile" in front


def test_every_published_trace_is_a_trace_file(of_programs: dict[str, Any]) -> None:
    for defect in of_programs["defects"]:
        if defect["trace"] is None:
            continue
        header, *events = map(json.loads, defect["trace"])
        graph = graph_of(header_from_json(header))
        case = read_case(PUBLISHED / defect["case"])
        assert graph.column_names == case.workload.graph().column_names
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        for event in events:
            event_from_json(event)


def test_a_published_file_of_another_format_is_refused(tmp_path: Path) -> None:
    listed = read_list(PUBLISHED / "datadesigner.toml")
    (tmp_path / "toy.json").write_text('{"format": 2}')
    with pytest.raises(SpecError, match=r"format: expected 3, got 2$"):
        read_findings(tmp_path / "toy.json", listed, [], Causes())
    with pytest.raises(SpecError, match=r"cannot be read: No such file"):
        read_findings(tmp_path / "none.json", listed, [], Causes())
