"""The folder of a sweep: whose it is, what a kill leaves of it, and who may add to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cellspec.errors import SpecError
from sim.experiments.sweep.plan import Run
from sim.experiments.sweep.store import SweepFolder, manifest_of
from tests.sim.experiments.sweep.small import GRID, SCENARIO, begun, sweep_of

RUN = Run({"seed": 0, "makespan_s": 1.5, "checked": True, "first_row_s": None})


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return begun(sweep_of(tmp_path), tmp_path / "out")


def add(folder: SweepFolder, *keys: tuple[str, int], shard: str = "1-of-1", run: Run = RUN) -> None:
    with folder.adding(shard) as add_run:
        for digest, seed in keys:
            add_run(digest, seed, run)


def test_what_was_added_is_read_from_all_shards(folder: SweepFolder) -> None:
    add(folder, ("a", 0), ("a", 1))
    add(folder, ("b", 0), ("a", 1), shard="2-of-4")
    failed = Run({}, "SCHED-01: late", violated=True)
    add(folder, ("c", 0), run=failed)
    assert folder.runs() == {"a": {0: RUN, 1: RUN}, "b": {0: RUN}, "c": {0: failed}}


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_torn_last_line_is_dropped_and_its_place_taken(folder: SweepFolder, cut: int) -> None:
    add(folder, ("a", 0), ("a", 1))
    path = folder.path / "runs" / "1-of-1.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    assert folder.runs() == {"a": {0: RUN}}
    add(folder, ("a", 2))
    assert folder.runs() == {"a": {0: RUN, 2: RUN}}
    assert path.read_bytes().count(b"\n") == 2


def test_a_damaged_line_among_others_is_named(folder: SweepFolder) -> None:
    add(folder, ("a", 0), ("a", 1))
    path = folder.path / "runs" / "1-of-1.jsonl"
    path.write_bytes(b"x" + path.read_bytes())
    with pytest.raises(SpecError, match=rf"^{path}:1: is no run of a sweep; take the line away"):
        folder.runs()


def test_one_process_at_a_time_adds_to_a_shard(folder: SweepFolder) -> None:
    with folder.adding("1-of-1"):
        with pytest.raises(SpecError, match=r"another process adds to it; wait for its end, or"):
            add(folder, ("a", 0))
        add(folder, ("a", 0), shard="1-of-2")
    add(folder, ("b", 0))
    assert set(folder.runs()) == {"a", "b"}


def test_who_is_refused_changes_nothing(folder: SweepFolder, tmp_path: Path) -> None:
    before = folder.manifest()
    with folder.adding("1-of-1"):
        with pytest.raises(SpecError, match=r"another process adds to it"):
            again(folder, tmp_path, grid=GRID, replications=9)
        assert folder.manifest() == before
    again(folder, tmp_path, grid=GRID, replications=9)
    assert folder.manifest() != before


def test_a_run_that_was_made_twice_must_be_the_same(folder: SweepFolder) -> None:
    add(folder, ("a", 0))
    add(folder, ("a", 0), shard="1-of-2", run=Run({"makespan_s": 2.0}))
    with pytest.raises(SpecError, match=r"1: seed 0 of a was made twice, with different figures"):
        folder.runs()


def again(folder: SweepFolder, tmp_path: Path, *, checked: bool = True, **given: Any) -> None:
    sweep = sweep_of(tmp_path, **given)
    folder.begin(manifest_of(sweep, checked=checked), sweep.points)


def test_points_and_replications_may_be_added_and_taken_away(
    folder: SweepFolder, tmp_path: Path
) -> None:
    for chat in ([1, 2, 4, 8], [2]):
        grid = GRID | {"limits.resources.chat": chat}
        again(folder, tmp_path, replications=7, grid=grid)
        assert len(folder.points()) == 2 * len(chat)
        assert folder.spec().replications == 7


def test_the_same_sweep_writes_nothing_again(folder: SweepFolder, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.path.glob("*.json*")}
    again(folder, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in folder.path.glob("*.json*")} == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scenario": SCENARIO.replace("mean_s: 2", "mean_s: 3")}, "holds runs of another scen"),
        ({"set": {"rows": 4}, "grid": GRID, "replications": 3}, "or of other fields under set"),
        ({"grid": {"rows": [1]}, "replications": 3}, "is a sweep over other fields (limits."),
        ({"checked": False}, "was made with time judged, and this sweep is with --no-check"),
    ],
)
def test_another_sweep_is_refused_in_one_line(
    given: dict[str, Any], message: str, folder: SweepFolder, tmp_path: Path
) -> None:
    with pytest.raises(SpecError) as found:
        again(folder, tmp_path, **given)
    assert str(found.value).startswith(f"{folder.path}: ")
    assert message in str(found.value)
    assert str(found.value).endswith("; give --out another folder")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("cellspec", "was made by another version of cellspec (0.0.9; this is "),
        ("clauses", "was judged by another set of clauses (0.0.9; this is version "),
        ("format", "was written in another format"),
    ],
)
def test_another_version_is_refused(
    key: str, message: str, folder: SweepFolder, tmp_path: Path
) -> None:
    path = folder.path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: "0.0.9"}))
    with pytest.raises(SpecError) as found:
        again(folder, tmp_path)
    assert f"{folder.path}: {message}" in str(found.value)


def test_a_file_of_the_scenario_that_changed_is_noticed(tmp_path: Path) -> None:
    recorded = SCENARIO.replace(
        "{model: exponential, mean_s: 2}", "{model: trace, file: calls.csv, column_s: s}"
    )
    (tmp_path / "calls.csv").write_text("s\n1\n2\n")
    folder = begun(sweep_of(tmp_path, recorded), tmp_path / "out")
    (tmp_path / "calls.csv").write_text("s\n1\n3\n")
    with pytest.raises(SpecError, match=r"point 0 \(.*\) is another scenario now: digest \w+, and"):
        again(folder, tmp_path, scenario=recorded)


@pytest.mark.parametrize("name", ["manifest.json", "points.jsonl", "summary.csv"])
def test_what_a_killed_writer_left_is_cleared_away(name: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    left = tmp_path / "out" / f".{name}.0123456789ab.tmp"
    left.write_text("half")
    folder = begun(sweep_of(tmp_path), tmp_path / "out")
    assert not left.exists()
    left.write_text("half")
    folder.write(dict)
    assert not left.exists()


def test_points_of_another_manifest_are_noticed(folder: SweepFolder, tmp_path: Path) -> None:
    spec, points = folder.whole()
    assert (spec.size, len(points)) == (6, 6)
    file = folder.path / "points.jsonl"
    text = file.read_text()
    for other in ("", text.partition("\n")[2], text.replace("row-first", "random")):
        file.write_text(other)
        with pytest.raises(SpecError, match=r"points\.jsonl: its points are not those of manifest"):
            folder.whole()
    again(folder, tmp_path)
    assert folder.whole() == (spec, points)


def test_values_are_the_same_when_they_are_read_again(tmp_path: Path) -> None:
    values: list[Any] = [None, {"every_rows": 5, "write_s": None}, {"every_rows": 5}]
    grid = {"checkpoint": values, "limits.resources.chat": [1, 2]}
    sweep = sweep_of(tmp_path, grid=grid, set={"redo": None}, replications=1)
    folder = begun(sweep, tmp_path / "out")
    assert folder.spec() == sweep.spec
    assert folder.manifest()["sweep"]["set"] == {"redo": None}


def test_a_folder_can_be_read_where_it_cannot_be_written_to(
    folder: SweepFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add(folder, ("a", 0))
    # Root may write everywhere.
    monkeypatch.setattr("cellspec.files.os.access", lambda *_: False)
    other = SweepFolder(folder.path)
    assert (len(other.points()), other.runs()) == (6, {"a": {0: RUN}})
    with pytest.raises(SpecError, match=r"cannot be written: no permission"):
        again(other, tmp_path)


def test_a_folder_with_files_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("precious")
    with pytest.raises(SpecError, match=r"holds files, and no manifest\.json of a sweep; give"):
        begun(sweep_of(tmp_path), tmp_path / "out")
    assert [one.name for one in (tmp_path / "out").iterdir() if one.name[0] != "."] == [
        "thesis.txt"
    ]
