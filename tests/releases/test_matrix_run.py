"""A run of the release matrix: unattended, repeatable, and plain about runs that failed."""

from __future__ import annotations

import json
import shutil

import pytest

from cellspec.conformance.campaign.scaling_shapes import HISTORY, SHAPES
from cellspec.conformance.run.case import Case, differences, read_case
from cellspec.conformance.run.workload import Fault, Workload
from cellspec.engines.reference import ReferenceBackend
from cellspec.graph.columns import ColumnDescriptor
from simulations.releases import replay
from simulations.releases.environments import Workspace
from simulations.releases.outcome import Plan
from simulations.releases.replay import replayed
from simulations.releases.replay_runs import replay_cases
from simulations.releases.suite_runs import kept_outcome, run_suite
from tests.releases.toy import ENGINE, ROOT, SCRIPT, case, matrix_of, published


@pytest.mark.long
def test_a_matrix_runs_unattended_and_publishes_its_findings(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace.folder.parent / "lists" / "scripts" / "table_01_lost.py").write_text(SCRIPT)
    assert matrix_of(workspace) == 3  # 3.0 died, and the others went on
    files = published(workspace)
    page, data = files["toy.md"], json.loads(files["toy.json"])
    by_version = {one["version"]: one["entry_points"] for one in data["releases"]}
    assert [by_version[one]["inner"]["status"] for one in by_version] == ["ran", "ran", "died"]
    assert by_version["2.0"]["inner"]["clauses"]["SCHED-01"]["stands"] != "violated"
    assert "died: exit code" in page
    assert "Not judged: inner died; outer died." in page
    assert "Nothing breaks" not in page
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
    public = "**Through the public interface** the same clause breaks on 1.0."
    assert public in " ".join(page.split())
    assert "4 columns × 1 row" in page

    script = data["scripts"][0]
    assert script["shows"] == ["1.0"]
    assert script["says"] == {"1.0": "shows", "2.0": "fine", "3.0": "absent"}
    assert script["defect"] == "The last row is lost."
    assert "Fixed by change 7" in page
    assert any(name.startswith("toy/failure-1.0") for name in files)
    assert "toy/index.html" in files
    assert f'id="failure={defect["id"]}"' in files["toy.html"]
    assert f"(toy.html#failure={defect['id']})" in page
    for name, text in files.items():
        assert str(workspace.folder.parent) not in text, name
        assert str(ROOT) not in text, name

    # What is kept is not done again, and the pages are the same to the byte.
    capsys.readouterr()
    assert matrix_of(workspace, "--release=1.0", "--release=2.0") == 3
    progress = capsys.readouterr().err
    assert progress.count(": kept") == 4
    assert "replayed" not in progress
    assert published(workspace) == files
    assert matrix_of(workspace, "--page") == 3
    assert published(workspace) == files

    # The published JSON and the cases beside it are enough for every file; a page of the report
    # alone also shows the failure as a test to paste.
    shutil.rmtree(workspace.folder)
    for name in files:
        if not name.startswith("cases/") and name != "toy.json":
            (workspace.folder.parent / "lists" / name).unlink()
    assert matrix_of(workspace, "--published") == 0
    again = published(workspace)
    assert again.keys() == files.keys()
    assert [name for name in files if again[name] != files[name]] == [
        name for name in files if name.startswith("toy/failure-")
    ]


@pytest.mark.long
def test_a_run_may_be_done_twice_and_its_verdicts_compared(workspace: Workspace) -> None:
    release, entry_point = workspace.engine.releases[0], workspace.engine.entry_points[0]
    assert run_suite(workspace, release, entry_point, Plan(max_examples=1)).twice == ""
    outcome = run_suite(workspace, release, entry_point, Plan(max_examples=1, twice=True))
    assert outcome.twice == "equal"
    assert run_suite(workspace, release, entry_point, Plan(max_examples=1)) == outcome  # kept


def test_a_run_that_takes_too_long_is_ended_and_said_so(workspace: Workspace) -> None:
    (workspace.folder.parent / "toy_engine.py").write_text("import time\ntime.sleep(600)\n")
    release, entry_point = workspace.engine.releases[0], workspace.engine.entry_points[0]
    outcome = run_suite(workspace, release, entry_point, Plan(max_examples=1, limit_s=1))
    assert (outcome.status, outcome.detail) == ("out of time", "it was ended after 1 s")
    assert kept_outcome(workspace, release, entry_point, [0]).status == "out of time"


def test_a_release_that_cannot_be_installed_is_a_row_of_the_page(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [["sh", "-c", "echo no such version; exit 3"]]
    monkeypatch.setattr(Workspace, "install_steps", lambda *_: steps)
    release = workspace.engine.releases[0]
    shutil.rmtree(workspace.place(release))
    assert matrix_of(workspace, "--release=1.0") == 3
    assert "**no environment**: no such version" in published(workspace)["toy.md"]


def test_a_replay_that_never_ends_does_not_stop_the_others(workspace: Workspace) -> None:
    entry_point = workspace.folder.parent / "toy_engine.py"
    loops = "class Slow(Backend):\n    async def run(self, probe):\n"
    loops += "        while probe.work.rows == 2: pass\n        await super().run(probe)\n"
    entry_point.write_text(
        ENGINE.replace("class Outer", loops + "\n\nclass Outer") + "\nBackend = Slow\n"
    )
    cases = {f"{rows}.json": case(rows).to_json() for rows in (2, 3)}
    said = replay_cases(
        workspace,
        workspace.engine.releases[0],
        workspace.engine.entry_points[0],
        cases,
        2.0,
        again=False,
    )
    assert (said["2.json"]["says"], said["2.json"]["detail"]) == ("died", "no end")
    assert said["3.json"]["says"] == "nothing"


class Unable(ReferenceBackend):
    """An engine that has no word for more than two rows."""

    def fit(self, work: Workload) -> Workload | None:
        return work if work.rows <= 2 else None


def test_a_replay_describes_the_end_of_its_case() -> None:
    assert replayed(ReferenceBackend(), case(2))["says"] == "nothing"
    assert replayed(Unable(), case(3))["says"] == "none"


class Fewer(ReferenceBackend):
    """An engine that has no word for more than two rows, and is asked for two instead."""

    def fit(self, work: Workload) -> Workload | None:
        return work.replace(rows=min(work.rows, 2))


def test_a_replay_lists_the_changes_of_its_workload() -> None:
    said = replayed(Fewer(), case(3))
    assert (said["says"], said["changes"]) == (
        "nothing",
        ["without 1 column × 3 rows", "with 1 column × 2 rows"],
    )
    assert replayed(Fewer(), case(2))["changes"] == []


@pytest.mark.parametrize(
    ("verdict", "exercised", "rows", "says"),
    [
        ("violated", 1, 25, "same"),
        ("pass", 1, 25, "nothing"),
        ("pass", 0, 25, "died"),
        ("inconclusive", 0, 25, "died"),
        ("pass", 1, 24, "died"),
    ],
)
def test_a_case_about_cost_is_replayed_only_if_the_suite_did_not_judge_its_workload(
    monkeypatch: pytest.MonkeyPatch, verdict: str, exercised: int, rows: int, says: str
) -> None:
    monkeypatch.setattr(replay, "judge_cost", None)
    (shape,) = (shape for shape in SHAPES if shape.clause == HISTORY)
    about = Case(shape.work.replace(rows=rows), HISTORY, "it costs more", "reference", ())
    failure = {"workload": shape.work.to_dict(), "detail": "it costs more here"}
    entry: dict[str, object] = {"verdict": verdict, "exercised": exercised}
    suite = {HISTORY: entry | ({"failures": [failure]} if verdict == "violated" else {})}
    said = replayed(ReferenceBackend(), about, suite)
    assert said["says"] == says
    if says == "same":
        assert (said["clause"], said["first"], said["detail"]) == (
            *(HISTORY, HISTORY),
            "it costs more here",
        )


def test_differences_are_listed_by_column_line_and_field() -> None:
    work = Workload((ColumnDescriptor("a"),), rows=2, faults=(Fault("a", 1),), batch_size=2)
    assert differences(work, work) == []
    assert differences(work, work.replace(latency_s={"a": 2.0}, faults=())) == [
        "'a': cell, takes about 0.5 s → cell, takes about 2 s",
        "without call 1 of a[1] fails: retryable",
    ]
    assert differences(work, work.replace(batch_size=None)) == ["without batches of 2 rows"]
    assert differences(work, work.replace(checkpoint_version=2)) == ["another checkpoint_version"]


@pytest.mark.parametrize(
    ("tries", "says", "runs"), [(1, "another", 1), (2, "another", 2), (4, "same", 3)]
)
def test_a_replay_waives_what_breaks_before_the_clause_of_the_case(
    monkeypatch: pytest.MonkeyPatch, tries: int, says: str, runs: int
) -> None:
    before = ["SCHED-02", "SCHED-03"]
    waived: list[tuple[str, ...]] = []

    def once(_backend: object, one: Case, _suite: object) -> dict[str, str]:
        waived.append(one.waived)
        first = next((clause for clause in before if clause not in one.waived), one.clause)
        return {"says": "same" if first == one.clause else "another", "clause": first}

    monkeypatch.setattr("simulations.releases.replay._once", once)
    said = replayed(ReferenceBackend(), case(2), tries=tries)
    assert (said["says"], len(waived)) == (says, runs)
    assert waived == [tuple(before[:number]) for number in range(runs)]
