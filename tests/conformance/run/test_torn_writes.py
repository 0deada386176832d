"""Torn writes: a process dies in the middle of an operation on a file of its folder."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import pytest

from cellspec import ColumnDescriptor, ExecutionTraits, Limits
from cellspec.conformance import Workload, run_workload
from cellspec.conformance.judge.coverage import coverage_of
from cellspec.conformance.report.workload_table import workload_section
from cellspec.conformance.run.case import describe
from cellspec.conformance.run.coverage_goals import Sometimes
from cellspec.conformance.run.recorder import Crash
from cellspec.conformance.run.torn_writes import FileWatch, watched
from cellspec.engines.reference import ReferenceBackend
from tests.conformance.journal_engine import Claims, CommitJournal, Commits, Tables
from tests.conformance.odd.saves_seldom import SavesByGroup
from tests.conformance.second_engine import ColumnFirst
from tests.matrix.journal_mutants import JOURNAL_MUTANTS

Writes = Callable[[Path, FileWatch], None]
WORK = Workload(
    (
        ColumnDescriptor("a"),
        ColumnDescriptor("b", traits=ExecutionTraits.BARRIER, dependencies=["a"]),
    ),
    rows=3,
    checkpoint_every_rows=1,
    crashes=(4, 6),
    torn=(1, 2),
)


def die(where: str) -> NoReturn:
    raise Crash(where)


def left(tmp_path: Path, number: int, writes: Writes) -> tuple[str, dict[str, str]]:
    """Where a process died that works in a folder with two old files, and what it left."""
    folder, copy = tmp_path / "folder", tmp_path / "copy"
    folder.mkdir()
    (folder / "journal").write_text("one\n")
    (folder / "claim").write_text("1111")
    watch = FileWatch(folder, number)
    watch.die = die
    where = ""
    with watched(watch):
        watch.arm()
        try:
            writes(folder, watch)
            watch.look()
        except Crash as crash:
            where = str(crash)
    shutil.copytree(folder, copy)
    watch.tear(copy)
    return where, {path.name: path.read_text(errors="replace") for path in sorted(copy.iterdir())}


def appends(folder: Path, watch: FileWatch) -> None:
    with (folder / "journal").open("a") as file:
        for line in ("two", "three"):
            file.write(f"{line}\n")
            file.flush()
            watch.look()


def renames(folder: Path, _: FileWatch) -> None:
    (folder / "claim.new").write_text("2222")
    (folder / "claim.new").replace(folder / "claim")
    os.truncate(folder / "journal", 2)
    (folder / "journal").unlink()


def writes_in_place(folder: Path, _: FileWatch) -> None:
    (folder / "claim").write_text("2222")


@pytest.mark.parametrize(
    ("number", "writes", "where", "journal", "others"),
    [
        (1, appends, "write to journal", "one\ntw", {"claim": "1111"}),
        (2, appends, "write to journal", "one\ntwo\nthr", {"claim": "1111"}),
        (3, appends, "", "one\ntwo\nthree\n", {"claim": "1111"}),
        (1, renames, "write to claim.new", "one\n", {"claim": "1111", "claim.new": "22"}),
        (2, renames, "rename to claim", "one\n", {"claim": "1111", "claim.new": "2222"}),
        (3, renames, "cut of journal", "one\n", {"claim": "2222"}),
        (4, renames, "removal of journal", "on", {"claim": "2222"}),
        (1, writes_in_place, "write to claim", "one\n", {"claim": "22"}),
    ],
)
def test_a_process_dies_in_the_middle_of_the_operation_that_was_asked_for(
    tmp_path: Path,
    number: int,
    writes: Writes,
    where: str,
    journal: str,
    others: dict[str, str],
) -> None:
    found, files = left(tmp_path, number, writes)
    assert found == (where and f"in the middle of the {where}")
    assert files == {"journal": journal, **others}


def two_files(folder: Path, _: FileWatch) -> None:
    with (folder / "journal").open("a") as one, (folder / "claim").open("a") as other:
        one.write("two\n")
        other.write("2")


def in_the_middle(folder: Path, _: FileWatch) -> None:
    with (folder / "journal").open("r+") as file:
        file.write("ONE")


def database(folder: Path, _: FileWatch) -> None:
    with closing(sqlite3.connect(folder / "cells.db")) as base:
        base.execute("CREATE TABLE cells (row INTEGER)")
        base.commit()


@pytest.mark.parametrize("writes", [two_files, in_the_middle, database])
def test_a_write_whose_order_is_not_known_is_not_torn(tmp_path: Path, writes: Writes) -> None:
    assert left(tmp_path, 1, writes)[0] == ""


def test_a_child_process_does_not_die_of_the_writes_that_its_parent_is_watched_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_a_child(folder: Path, watch: FileWatch) -> None:
        monkeypatch.setattr(os, "getpid", lambda: -1)
        appends(folder, watch)
        renames(folder, watch)

    assert left(tmp_path, 1, in_a_child)[0] == ""


def test_parts_of_names_that_are_drawn_are_not_told(tmp_path: Path) -> None:
    def writes(folder: Path, _: FileWatch) -> None:
        (folder / "rows-000001-1a2b3c4d.jsonl").write_text("row")

    assert left(tmp_path, 1, writes)[0] == "in the middle of the write to rows-000001-….jsonl"


# Runs


@pytest.mark.clause("CKPT-28")
@pytest.mark.parametrize("backend", [ReferenceBackend(), Commits(), Tables()])
def test_a_right_engine_goes_on_from_what_a_torn_write_left(backend: Commits) -> None:
    first, second = run_workload(backend, WORK), run_workload(backend, WORK)
    assert first.violations == []
    assert first.outcomes == ["crash", "crash", "success"]
    assert [crash.incarnation for crash in first.torn] == [0, 1]
    assert (first.torn, first.events) == (second.torn, second.events)
    seen = coverage_of(WORK, first.events, torn=first.torn)
    assert "CKPT-28" in seen.exercised
    assert Sometimes.WRITE_TORN in seen.sometimes


@pytest.mark.clause("CKPT-28")
def test_no_step_and_no_operation_costs_what_was_reported_durable() -> None:
    for step in range(1, 30):
        for operation in (1, 2, 3):
            work = WORK.replace(crashes=(step,), torn=(operation,))
            for backend in (ReferenceBackend(), Claims()):
                assert run_workload(backend, work).violations == []


@pytest.mark.clause("CKPT-28")
def test_an_engine_that_cannot_read_half_a_line_is_told_so() -> None:
    broken = next(one for one in JOURNAL_MUTANTS if one.name == "reads half a line").backend()
    result = run_workload(broken, WORK)
    assert [found.clause for found in result.violations] == ["CKPT-28"]
    assert "JSONDecodeError" in result.violations[0].detail
    died = "run 1 of the process died in the middle of the write to journal"
    assert died in result.explanation
    within = "in operation 1 on a file from step 4 on"
    assert f"run 1 of the process: crashes {within}" in describe(WORK)
    assert f"incarnation 0 {within}" in str(workload_section(WORK.to_dict()))


def test_without_the_capability_or_a_file_the_process_does_not_die_of_a_file() -> None:
    class Plain(Commits):
        capabilities = Commits.capabilities - {"torn_writes"}
        incarnation = CommitJournal

    result = run_workload(Plain(), WORK)
    assert (result.torn, result.outcomes) == ([], ["crash", "crash", "success"])
    # A database writes by itself, and the watch sees nothing of it.
    by_base = SavesByGroup()
    by_base.capabilities |= {"torn_writes"}
    assert run_workload(by_base, WORK).outcomes == ["success"]


def test_a_process_that_its_call_ended_dies_no_second_time_at_a_file() -> None:
    # The cell ends the process between the crash step and the operation that would be torn; what
    # the engine still writes down on its way out is lost.
    work = Workload(
        (ColumnDescriptor("a"),),
        rows=5,
        limits=Limits(group_rows=3),
        crashes=(7,),
        killers=(("a", 3),),
        torn=(3,),
        latency_s={"a": 0.0},
        order_seed=7,
    )
    result = run_workload(ColumnFirst(), work)
    assert result.violations == []
    assert result.torn == []
