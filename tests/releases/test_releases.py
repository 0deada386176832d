"""The campaign over releases: unattended, repeatable, and honest about what did not run.

No release is installed here. The environments are made of wrappers around this interpreter that
tell a small backend which release it is: 1.0 loses the last row of tables of four columns, 2.0 is
right, 3.0 dies.
"""

from __future__ import annotations

import ast
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cellspec.clauses import clauses
from cellspec.conformance.run.case import Case, differences, read_case
from cellspec.conformance.run.workload import Fault, Workload
from cellspec.engines.reference import ReferenceBackend
from cellspec.errors import SpecError
from cellspec.graph.columns import ColumnDescriptor
from simulations.releases import command, environments
from simulations.releases.environments import Outcome, Plan, Workspace, checkout
from simulations.releases.findings import (
    FINDINGS_FORMAT,
    Findings,
    Found,
    cases_of,
    findings,
)
from simulations.releases.page import pages
from simulations.releases.release_list import Engine, read_list
from simulations.releases.replay import replayed
from simulations.releases.script_files import Script, read_scripts, render_script

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "simulations" / "releases"

LIST = """
engine = "Toy"
package = "toy"

[words]
"a row" = "a record"

[variables]
PYTHONPATH = "{here}"

[[entry_points]]
name = "inner"
backend = "toy_door:Backend"
about = "its inside"

[[entry_points]]
name = "outer"
backend = "toy_door:Outer"
about = "what users call"
public = true

[[releases]]
version = "1.0"

[[releases]]
version = "2.0"

[[releases]]
version = "3.0"
"""

DOOR = """
import os
from dataclasses import replace

from cellspec.conformance.run.backend import Table
from cellspec.engines.reference import ReferenceBackend

if os.environ["TOY"] == "3.0":
    os._exit(9)


class Backend(ReferenceBackend):
    capabilities = frozenset({"core"})

    def table(self, probe):
        table = super().table(probe)
        if os.environ["TOY"] != "1.0" or len(probe.work.columns) < 4:
            return table
        rows = dict(table.rows)
        rows.pop(max(rows, default=None), None)
        return replace(table, rows=rows)


class Outer(Backend):
    def fit(self, work):
        return work if work.batch_size is None else None
"""

SCRIPT = """\
# Clause: TABLE-01
# Releases: 1.0
# Defect: The last row is
#   lost.
# Public: yes
# Fixed by: change 7
import os, sys
if os.environ["TOY"] == "1.0":
    print("DEFECT: lost")
    sys.exit(1)
if os.environ["TOY"] == "3.0":
    print("ABSENT: no rows")
    sys.exit(2)
"""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workshop with environments that are ready, and a suite that nobody edits meanwhile."""
    monkeypatch.setattr(environments, "suite_digest", lambda _: "0123")
    listed = tmp_path / "lists" / "toy.toml"
    (listed.parent / "scripts").mkdir(parents=True)
    listed.write_text(LIST.format(here=tmp_path))
    (tmp_path / "toy_door.py").write_text(DOOR)
    workspace = Workspace(read_list(listed), "toy", tmp_path / "work", ROOT)
    for release in workspace.engine.releases:
        python = workspace.python(release)
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\nTOY={release.version} exec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        ready = {"key": workspace._environment_key(release)}
        (workspace.place(release) / "ready.json").write_text(json.dumps(ready))
    return workspace


def campaign_of(workspace: Workspace, *arguments: str) -> int:
    lists = workspace.folder.parent / "lists"
    return command.main(
        [str(lists / "toy.toml"), f"--work={workspace.folder}", "--max-examples=4", *arguments]
    )


def published(workspace: Workspace) -> dict[str, str]:
    lists = workspace.folder.parent / "lists"
    made = [path for path in sorted(lists.rglob("*")) if path.suffix in (".md", ".json", ".html")]
    return {path.relative_to(lists).as_posix(): path.read_text() for path in made}


def test_a_campaign_runs_unattended_and_publishes_what_it_found(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace.folder.parent / "lists" / "scripts" / "table_01_lost.py").write_text(SCRIPT)
    assert campaign_of(workspace) == 3  # 3.0 died, and the others went on
    files = published(workspace)
    page, data = files["toy.md"], json.loads(files["toy.json"])
    by_version = {one["version"]: one["doors"] for one in data["releases"]}
    assert [by_version[one]["inner"]["status"] for one in by_version] == ["ran", "ran", "died"]
    assert by_version["2.0"]["inner"]["clauses"]["SCHED-01"]["stands"] != "violated"
    assert "died: exit code" in page
    assert any(line.startswith("3.0 inner: died") for line in data["troubles"])

    defect = data["defects"][0]
    assert f"### {defect['clause']}" in page
    assert read_case(workspace.folder.parent / "lists" / defect["case"]).clause == defect["clause"]
    says = {
        (version, entry_point): said["says"] for version, entry_point, said in defect["replays"]
    }
    assert says["1.0", "inner"] == says["1.0", "outer"] == "same"
    assert says["2.0", "inner"] == "nothing"
    assert says["3.0", "inner"] == "died"
    assert "**Through the public interface** the same clause breaks on 1.0." in page
    assert "4 columns × 1 row" in page

    script = data["scripts"][0]
    assert script["shows"] == ["1.0"]
    assert script["says"] == {"1.0": "shows", "2.0": "fine", "3.0": "absent"}
    assert script["defect"] == "The last row is lost."
    assert "Fixed by change 7" in page
    assert any(name.startswith("toy/failure-1.0") for name in files)
    assert "toy/index.html" in files
    for name, text in files.items():
        assert str(workspace.folder.parent) not in text, name
        assert str(ROOT) not in text, name

    # What is kept is not done again, and the pages are the same to the byte.
    capsys.readouterr()
    assert campaign_of(workspace, "--release=1.0", "--release=2.0") == 3
    told = capsys.readouterr().err
    assert told.count(": kept") == 4
    assert "replayed" not in told
    assert published(workspace) == files
    assert campaign_of(workspace, "--page") == 3
    assert published(workspace) == files


def test_a_run_may_be_done_twice_and_its_verdicts_compared(workspace: Workspace) -> None:
    release, entry_point = workspace.engine.releases[0], workspace.engine.entry_points[0]
    assert workspace.suite(release, entry_point, Plan(max_examples=1)).twice == ""
    outcome = workspace.suite(release, entry_point, Plan(max_examples=1, twice=True))
    assert outcome.twice == "equal"
    assert workspace.suite(release, entry_point, Plan(max_examples=1)) == outcome  # kept


def test_a_run_that_takes_too_long_is_ended_and_said_so(workspace: Workspace) -> None:
    (workspace.folder.parent / "toy_door.py").write_text("import time\ntime.sleep(600)\n")
    release, entry_point = workspace.engine.releases[0], workspace.engine.entry_points[0]
    outcome = workspace.suite(release, entry_point, Plan(max_examples=1, limit_s=1))
    assert (outcome.status, outcome.detail) == ("out of time", "it was ended after 1 s")
    assert workspace.kept(release, entry_point).status == "out of time"


def test_a_release_that_cannot_be_installed_is_a_row_of_the_page(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [["sh", "-c", "echo no such version; exit 3"]]
    monkeypatch.setattr(Workspace, "_install_steps", lambda *_: steps)
    release = workspace.engine.releases[0]
    shutil.rmtree(workspace.place(release))
    assert campaign_of(workspace, "--release=1.0") == 3
    assert "**no environment**: no such version" in published(workspace)["toy.md"]


def test_a_replay_that_never_ends_does_not_stop_the_others(workspace: Workspace) -> None:
    entry_point = workspace.folder.parent / "toy_door.py"
    loops = "class Slow(Backend):\n    async def run(self, probe):\n"
    loops += "        while probe.work.rows == 2: pass\n        await super().run(probe)\n"
    entry_point.write_text(
        DOOR.replace("class Outer", loops + "\n\nclass Outer") + "\nBackend = Slow\n"
    )
    cases = {f"{rows}.json": case(rows).to_json() for rows in (2, 3)}
    said = workspace.replays(
        workspace.engine.releases[0], workspace.engine.entry_points[0], cases, 2.0, again=False
    )
    assert (said["2.json"]["says"], said["2.json"]["detail"]) == ("died", "no end")
    assert said["3.json"]["says"] == "nothing"


def case(rows: int, clause: str = "TABLE-01") -> Case:
    return Case(Workload((ColumnDescriptor("a"),), rows=rows), clause, "lost", "toy_door:Backend")


class Unable(ReferenceBackend):
    """An engine that has no word for more than two rows."""

    def fit(self, work: Workload) -> Workload | None:
        return work if work.rows <= 2 else None


def test_a_replay_says_what_a_case_does() -> None:
    assert replayed(ReferenceBackend(), case(2))["says"] == "nothing"
    assert replayed(Unable(), case(3))["says"] == "none"


class Fewer(ReferenceBackend):
    """An engine that has no word for more than two rows, and is asked for two instead."""

    def fit(self, work: Workload) -> Workload | None:
        return work.replace(rows=min(work.rows, 2))


def test_a_replay_says_what_was_changed() -> None:
    said = replayed(Fewer(), case(3))
    assert (said["says"], said["changes"]) == (
        "nothing",
        ["without 1 column × 3 rows", "with 1 column × 2 rows"],
    )
    assert replayed(Fewer(), case(2))["changes"] == []


def test_differences_are_told_by_column_line_and_field() -> None:
    work = Workload((ColumnDescriptor("a"),), rows=2, faults=(Fault("a", 1),), batch_size=2)
    assert differences(work, work) == []
    assert differences(work, work.replace(latency_s={"a": 2.0}, faults=())) == [
        "'a': cell, takes about 0.5 s → cell, takes about 2 s",
        "without call 1 of a[1] fails: retryable",
    ]
    assert differences(work, work.replace(batch_size=None)) == ["without batches of 2 rows"]
    assert differences(work, work.replace(checkpoint_version=2)) == ["another checkpoint_version"]


# What was found, put together


def failure(rows: int) -> dict[str, Any]:
    return {
        "clause": "SCHED-12",
        "detail": f"{rows} rows stand still",
        "seq": None,
        "story": ["#1 t=0 start a[0]"],
        "workload": case(rows).workload.to_dict(),
        "trace": None,
        "waived": [],
    }


def outcome(rows: int | None) -> Outcome:
    broken: dict[str, Any] = {"verdict": "violated", "reason": "", "examples": 1}
    entry = {"verdict": "pass", "reason": "", "examples": 1, "failure": None}
    clauses = {"SCHED-12": {**broken, "failure": failure(rows)} if rows else entry}
    found = {
        "name": "toy",
        "version": "1",
        "capabilities": ["core"],
        "seed": 0,
        "clauses": clauses,
        "evidence": {"smoke": "fine", "workloads": 4, "crashes": 0},
        "sometimes": {},
        "profiles": {},
    }
    return Outcome("ran", found=found, suite="s", max_examples=4)


def engine(tmp_path: Path) -> Engine:
    listed = tmp_path / "toy.toml"
    listed.write_text(LIST)
    return read_list(listed)


def test_cases_that_break_a_clause_in_the_same_places_are_told_once(tmp_path: Path) -> None:
    listed = engine(tmp_path)
    outcomes = {
        ("1.0", "inner"): outcome(2),
        ("1.0", "outer"): outcome(5),
        ("2.0", "inner"): outcome(3),
        ("2.0", "outer"): outcome(None),
        ("3.0", "inner"): outcome(2),
        ("3.0", "outer"): outcome(None),
    }
    cases = cases_of(listed, "toy", outcomes)
    assert [one.case.workload.rows for one in cases] == [2, 3, 5]
    assert cases[0].places == (("1.0", "inner"), ("3.0", "inner"))

    def does(one: Found, place: tuple[str, str]) -> Mapping[str, Any]:
        everywhere = one.case.workload.rows != 5
        shows = everywhere or place == ("1.0", "outer")
        return {"says": "same" if shows else "none", "clause": "", "detail": "", "adapter": ""}

    replays = {place: {one.name: dict(does(one, place)) for one in cases} for place in outcomes}
    found = findings(listed, "toy", "0", outcomes, cases, replays, [], {})
    assert [(one.shown.case.workload.rows, one.cases) for one in found.defects] == [(2, 2), (5, 1)]
    assert found.defects[0].found == (("1.0", "inner"), ("2.0", "inner"), ("3.0", "inner"))
    assert not found.troubles
    page = pages(found)["toy.md"]
    assert "#### SCHED-12, workload 2" in page


def test_what_the_campaign_itself_got_wrong_is_never_a_silent_success(tmp_path: Path) -> None:
    listed = engine(tmp_path)
    outcomes = {
        ("1.0", "inner"): outcome(2),
        ("1.0", "outer"): Outcome("out of time", "it was ended after 1 s"),
        ("2.0", "inner"): outcome(None),
        ("2.0", "outer"): outcome(None),
    }
    outcomes["2.0", "inner"].twice = "SCHED-12 pass, then violated"
    outcomes["2.0", "outer"].seed = 7
    cases = cases_of(listed, "toy", outcomes)
    said = {"says": "nothing", "clause": "", "detail": "", "adapter": ""}
    replays = {("1.0", "inner"): {cases[0].name: said}}
    script = Script("sched_12_x.py", ("SCHED-12",), ("1.0",), "It stands still.")
    ran = {
        ("1.0", script.file): {"says": "fine", "detail": ""},
        ("2.0", script.file): {"says": "failed", "detail": "exit code 1: ImportError"},
    }
    found = findings(listed, "toy", "0", outcomes, cases, replays, [script], ran)
    assert [line.partition(" (")[0] for line in found.troubles] == [
        "the releases were not all judged by the same suite with the same options",
        "1.0 outer: out of time: it was ended after 1 s",
        "2.0 inner: two runs differ: SCHED-12 pass, then violated",
        "3.0 inner: not run",
        "3.0 outer: not run",
        f"1.0 inner: {cases[0].name}: replayed where it was found: nothing",
        "2.0: scripts/sched_12_x.py: exit code 1: ImportError",
        "scripts/sched_12_x.py: its header says that it shows in 1.0, and it shows in none",
    ]


# What may be said

SAID: dict[str, Any] = {"clause": "", "detail": "", "adapter": "", "first": "", "changes": []}


def found_in(
    tmp_path: Path, does: Mapping[tuple[str, str], Mapping[str, Any]], **scripts: str
) -> Findings:
    """Findings of one case that 1.0 broke by the inner door, and of what replays and scripts say.

    Args:
        tmp_path: where the list is written.
        does: what the replay does, by release and door; the rest of `SAID` is added.
        scripts: what a script about the clause says, by release: ``v1_0="shows"``.
    """
    listed = engine(tmp_path)
    places = [
        (one.version, entry_point.name)
        for one in listed.releases
        for entry_point in listed.entry_points
    ]
    outcomes = {place: outcome(2 if place == ("1.0", "inner") else None) for place in places}
    cases = cases_of(listed, "toy", outcomes)
    replays = {place: {cases[0].name: {**SAID, **said}} for place, said in does.items()}
    script = Script("sched_12_x.py", ("SCHED-12",), (), "It stands still.", public=True)
    ran = {
        (version.removeprefix("v").replace("_", "."), script.file): {"says": says, "detail": ""}
        for version, says in scripts.items()
    }
    return findings(listed, "toy", "0", outcomes, cases, replays, [script], ran)


def row_of(page: str, clause: str) -> str:
    """The line of the matrix for a clause."""
    return next(line for line in page.splitlines() if line.startswith(f"| [{clause}]("))


def test_a_clause_that_a_replay_breaks_is_never_passed(tmp_path: Path) -> None:
    found = found_in(
        tmp_path, {("1.0", "inner"): {"says": "same"}, ("2.0", "inner"): {"says": "same"}}
    )
    assert found.verdict("2.0", "inner", "SCHED-12") != "violated"
    assert found.stands("2.0", "inner", "SCHED-12") == "shown by a replay"
    assert found.stands("1.0", "inner", "SCHED-12") == "violated"
    (case,) = json.loads(found.to_json())["releases"][1]["doors"]["inner"]["clauses"]["SCHED-12"][
        "replays"
    ]
    assert case == found.defects[0].identity
    assert " R " in row_of(pages(found)["toy.md"], "SCHED-12")


def test_a_replay_of_a_changed_workload_is_never_nothing_breaks(tmp_path: Path) -> None:
    does: dict[tuple[str, str], dict[str, Any]] = {
        ("1.0", "inner"): {"says": "same"},
        ("1.0", "outer"): {"says": "nothing", "changes": ["without 2 attempts"]},
        ("2.0", "inner"): {"says": "nothing"},
        ("2.0", "outer"): {"says": "refused", "changes": ["with 1 row"]},
        ("3.0", "inner"): {"says": "another", "changes": ["with 1 row"]},
    }
    found = found_in(tmp_path, does)
    (defect,) = found.defects
    says = {place: each["says"] for place, each in defect.replays.items()}
    assert says["1.0", "outer"] == says["2.0", "outer"] == "changed"
    assert says["2.0", "inner"] == "nothing"
    assert says["3.0", "inner"] == "another"
    data = json.loads(found.to_json())
    assert data["replayed"] == {
        "inner": {"another": 1, "nothing": 1, "same": 1},
        "outer": {"changed": 2},
    }
    page = pages(found)["toy.md"]
    assert "| outer | ≈ | ≈ | · |" in page
    assert "| outer | 0 | 0 | 0 | 2 | 0 | 0 |" in page
    page = " ".join(page.split())
    assert "it could not be asked (what ran instead is below, and broke nothing) on 1.0." in page
    assert "- What outer was asked for instead on 1.0 (≈): without 2 attempts." in page
    assert "nothing breaks on" not in page


def test_what_is_changed_where_a_case_was_found_too_is_no_other_workload(tmp_path: Path) -> None:
    """A case about cost is kept as it was asked for, and brought to the engine at each size."""
    does: dict[tuple[str, str], dict[str, Any]] = {
        ("1.0", "inner"): {"says": "same", "changes": ["with 2 attempts"]},
        ("2.0", "inner"): {"says": "nothing", "changes": ["with 2 attempts"]},
        ("2.0", "outer"): {"says": "nothing", "changes": ["with 3 attempts"]},
    }
    (defect,) = found_in(tmp_path, does).defects
    assert [each["says"] for each in defect.replays.values()] == ["same", "nothing", "changed"]


def test_what_does_not_come_again_is_no_violation(tmp_path: Path) -> None:
    found = found_in(tmp_path, {("1.0", "inner"): {"says": "nothing"}})
    assert found.verdict("1.0", "inner", "SCHED-12") == "violated"
    assert found.stands("1.0", "inner", "SCHED-12") == "not repeated"
    said = json.loads(found.to_json())["releases"][0]["doors"]["inner"]["clauses"]["SCHED-12"]
    assert (said["verdict"], said["stands"], said["replay"]) == (
        "violated",
        "not repeated",
        "nothing",
    )
    files = pages(found)
    assert "| ↺ ✓ | ✓ ✓ | ✓ ✓ |" in row_of(files["toy.md"], "SCHED-12")
    assert "- Not repeated: found once (inner on 1.0): 2 rows stand still. " in files["toy.md"]
    assert "was found broke nothing." in files["toy.md"].replace("\n  ", " ")
    assert "↺ not repeated" in files["toy/index.html"]
    assert not any("/failure-" in name for name in files)
    once = found_in(tmp_path, {("1.0", "inner"): {"says": "same"}})
    assert "| ✗ ✓ | ✓ ✓ | ✓ ✓ |" in row_of(pages(once)["toy.md"], "SCHED-12")


def test_no_release_passes_by_a_clause_that_a_script_shows_broken(tmp_path: Path) -> None:
    does = {("1.0", "inner"): {"says": "same"}}
    found = found_in(tmp_path, does, v1_0="shows", v2_0="shows", v3_0="fine")
    stands = {
        (version, entry_point): found.stands(version, entry_point, "SCHED-12")
        for version, entry_point in found.outcomes
    }
    assert stands["1.0", "inner"] == "violated"
    assert stands["1.0", "outer"] == stands["2.0", "inner"] == stands["2.0", "outer"]
    assert stands["2.0", "inner"] == "shown by a script"
    assert stands["3.0", "inner"] == found.verdict("3.0", "inner", "SCHED-12")
    files = pages(found)
    assert "| ✗ S | S S | ✓ ✓ |" in row_of(files["toy.md"], "SCHED-12")
    assert "S shown by a script" in files["toy/index.html"]
    data = json.loads(found.to_json())
    assert data["releases"][1]["doors"]["outer"]["clauses"]["SCHED-12"] == {
        "verdict": found.verdict("2.0", "outer", "SCHED-12"),
        "reason": "",
        "stands": "shown by a script",
        "scripts": ["sched_12_x.py"],
    }


def test_a_verdict_says_which_sentence_of_its_clause_it_follows_from(tmp_path: Path) -> None:
    listed = engine(tmp_path)
    old, new = outcome(None), outcome(None)
    new.rules = {number: clause.text for number, clause in clauses().items()}
    old.rules = {**new.rules, "SCHED-12": "A run ends."}
    outcomes = {("1.0", "inner"): old, ("2.0", "inner"): new}
    found = findings(listed, "toy", "0", outcomes, [], {}, [], {})
    page = pages(found)["toy.md"]
    assert "| ✓† · | ✓ · | · · |" in row_of(page, "SCHED-12")
    assert "- SCHED-12 was, for 1.0: A run ends." in page
    said = [one["doors"]["inner"] for one in json.loads(found.to_json())["releases"]]
    assert said[0]["earlier_rules"] == {"SCHED-12": "A run ends."}
    assert said[1]["earlier_rules"] == {}
    assert said[0]["rules"] != said[1]["rules"]
    assert f"| 1.0 | inner | ran | {said[0]['rules']} |" in page


def test_what_broke_an_earlier_sentence_need_not_break_the_one_of_now(tmp_path: Path) -> None:
    listed = engine(tmp_path)
    outcomes = {("1.0", "inner"): outcome(2)}
    cases = cases_of(listed, "toy", outcomes)
    replays = {("1.0", "inner"): {cases[0].name: {**SAID, "says": "nothing"}}}
    late = f"1.0 inner: {cases[0].name}: replayed where it was found: nothing"
    assert late in findings(listed, "toy", "0", outcomes, cases, replays, [], {}).troubles
    outcomes["1.0", "inner"].rules = {"SCHED-12": "A run ends."}
    found = findings(listed, "toy", "0", outcomes, cases, replays, [], {})
    assert late not in found.troubles
    page = " ".join(pages(found)["toy.md"].split())
    assert "broke nothing. It was found by an earlier sentence of the clause." in page
    assert "| ↺† · |" in page


# Bad input


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('version = "2.0"', 'version = "1.0"', "release '1.0' is listed twice"),
        ('version = "2.0"', 'version = "../2"', "releases.1.version: "),
        ('name = "outer"', 'name = "inner"', "door 'inner' is listed twice"),
        ("public = true", "publik = true", "entry_points.1.publik: "),
        ('package = "toy"', "", "package: Field required"),
        ("[[entry_points]]", "[entry_points", "not TOML"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_in_one_line(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    listed = tmp_path / "toy.toml"
    listed.write_text(LIST.replace(old, new, 1))
    with pytest.raises(SpecError) as caught:
        read_list(listed)
    assert str(caught.value).startswith(f"{listed}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("arguments", [["--release=9.9"], ["--door=back"], ["/nowhere/list.toml"]])
def test_a_command_line_that_cannot_be_used_ends_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


# Scripts, and what is published


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
        names = {node.name for node in ast.parse(script.text).body if hasattr(node, "name")}
        assert "main" in names, f"{script.file} is not a whole program"


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


def test_the_published_file_for_programs_says_of_scripts_what_their_headers_say(
    of_programs: dict[str, Any],
) -> None:
    assert of_programs["format"] == FINDINGS_FORMAT
    headers = read_scripts(PUBLISHED / "scripts", "data_designer")
    told = of_programs["scripts"]
    assert [one["file"] for one in told] == [f"scripts/{script.file}" for script in headers]
    for one, script in zip(told, headers, strict=True):
        assert tuple(one["clauses"]) == script.clauses
        assert (one["defect"], one["public"]) == (script.defect, script.public)
        assert set(one["shows"]) <= set(script.releases), script.file
        assert one["shows"] == [v for v, said in one["says"].items() if said == "shows"]


def test_no_published_release_passes_by_a_clause_that_a_script_shows_broken(
    of_programs: dict[str, Any],
) -> None:
    entry_points = {one["version"]: one["doors"] for one in of_programs["releases"]}
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


def test_the_published_matrix_shows_what_the_file_for_programs_says(
    of_programs: dict[str, Any],
) -> None:
    page = (PUBLISHED / "datadesigner.md").read_text("utf-8")
    numbers = {
        number
        for one in of_programs["releases"]
        for outcome in one["doors"].values()
        for number in outcome.get("clauses", {})
    }
    for number in numbers:
        cells = [cell.strip() for cell in row_of(page, number).split("|")[2:-1]]
        for release, cell in zip(of_programs["releases"], cells, strict=True):
            for sign, outcome in zip(cell.split(), release["doors"].values(), strict=True):
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
