"""Durable storage in use: the rows that it gives back, and the words of its refusals."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellspec import (
    CheckpointError,
    ColumnDescriptor,
    ExecutionGraph,
    ExecutionTraits,
    SpecError,
)
from cellspec.engine.calls import Drop, Save
from cellspec.engine.storage.durable import InDoubtError, Storage, StorageError, StorageWriteError
from cellspec.engine.storage.filesystem import LOCK, RealFileSystem
from cellspec.engine.storage.model_filesystem import Fault, ModelFileSystem
from cellspec.engine.storage.recovery import CURRENT, INCOMING, PREVIOUS, RunDirectory
from cellspec.engine.storage.segments import Layers
from cellspec.engine.values import SKIPPED
from cellspec.state.checkpoint import Checkpoint, make_payload
from tests.engine.storage.storage_body import COLUMNS, GRAPH, RUN, reseal


def v1(rows: int) -> Checkpoint:
    return {"version": 1, "completed_rows": rows}


def save(
    rows: Mapping[int, Mapping[str, Any]],
    *ranges: tuple[str, int, int],
    dropped: Mapping[int, Drop] | None = None,
) -> Save:
    return Save(ranges, rows, dropped or {}, None, False)


def storage_on(files: ModelFileSystem, rows: int = 3, run: str = RUN) -> Storage:
    storage = Storage(files, ExecutionGraph(rows, COLUMNS), run=run)
    storage.load()
    return storage


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(SpecError) as caught:
        action()
    return str(caught.value)


def done(rows: int, files: ModelFileSystem | None = None) -> ModelFileSystem:
    """The files of a run in which `rows` rows are claimed."""
    files = files or ModelFileSystem()
    storage = storage_on(files)
    storage.write_rows(save({row: {"a": row, "b": -row} for row in range(rows)}, ("", 0, rows)))
    storage.write_checkpoint(v1(rows))
    return files


# What is given back


def test_a_new_folder_is_empty_and_the_first_incarnation_is_number_0() -> None:
    storage = Storage(ModelFileSystem(), GRAPH)
    assert storage.load() is None
    assert storage.incarnation == 0
    assert storage.table() == ({}, {})


def test_a_load_gives_the_payload_as_it_was_written_the_target_and_the_claimed_cells() -> None:
    files = ModelFileSystem()
    storage = storage_on(files)
    rows: dict[int, dict[str, Any]] = {
        0: {"a": [1.5, None], "b": SKIPPED},
        1: {"a": "x"},
        2: {"a": "beyond"},
    }
    drops = {1: Drop("b", "said no"), 2: Drop("b", "beyond")}
    storage.write_rows(save(rows, ("a", 0, 2), dropped=drops))
    storage.write_checkpoint(v1(2))
    restored = Storage(files, ExecutionGraph(5, COLUMNS), run=RUN).load()
    assert restored is not None
    assert restored.checkpoint == v1(2)
    assert restored.records == 3
    assert dict(restored.rows) == {0: {"a": [1.5, None], "b": SKIPPED}}
    assert restored.rows[0]["b"] is SKIPPED
    assert len(restored.rows) == 1
    assert 1 not in restored.rows
    assert restored.dropped == {1: Drop("b", "said no")}


def test_the_table_is_the_rows_claimed_in_every_column() -> None:
    storage = storage_on(ModelFileSystem())
    storage.write_rows(save({r: {"a": r} for r in range(3)}, ("a", 0, 3)))
    storage.write_rows(save({0: {"b": 0}}, ("b", 0, 1)))
    columns = {"a": 3, "b": 1}
    payload = {"version": 2, "completed_rows": 1, "column_rows": columns}
    storage.write_checkpoint({**payload, "graph": GRAPH.fingerprint})
    rows, dropped = storage.table()
    assert (dict(rows), dropped) == ({0: {"a": 0, "b": 0}}, {})


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(value=JSON)
def test_any_json_value_comes_back_as_it_was(value: Any) -> None:
    files = ModelFileSystem()
    storage = storage_on(files)
    storage.write_rows(save({0: {"a": value, "b": value}}, ("", 0, 1)))
    storage.write_checkpoint(v1(1))
    restored = Storage(files, GRAPH, run=RUN).load()
    assert restored is not None
    assert repr(restored.rows[0]) == repr({"a": value, "b": value})


def test_a_flush_of_many_megabytes_is_written_in_pieces_and_read_back(tmp_path: Path) -> None:
    steps: list[str] = []
    files = RealFileSystem(tmp_path / "new" / "folder", before_step=steps.append)
    storage = Storage(files, GRAPH)
    storage.load()
    storage.write_rows(save({r: {"a": "x" * 1_500_000, "b": r} for r in range(3)}, ("", 0, 3)))
    storage.write_checkpoint(v1(3))
    assert steps.count(f"append rows-000000-{files.writer}-000001.jsonl") == 3
    rows, _ = storage.table()
    assert [row["b"] for row in rows.values()] == [0, 1, 2]


def test_the_steps_of_a_flush_and_a_checkpoint_are_in_the_order_that_makes_them_safe() -> None:
    steps: list[str] = []
    files = done(1)
    files.before_step = steps.append
    storage = storage_on(files)
    steps.clear()
    storage.write_rows(save({1: {"a": 1, "b": 1}}, ("", 1, 2)))
    storage.write_checkpoint(v1(2))
    assert steps == [
        "write rows-000001-000001.jsonl",
        "sync rows-000001-000001.jsonl",
        "sync folder",
        f"write {INCOMING}",
        f"sync {INCOMING}",
        f"look for {CURRENT}",
        f"replace {PREVIOUS}",
        f"replace {CURRENT}",
        "sync folder",
    ]


def test_the_files_are_lines_that_a_person_can_read() -> None:
    rows, checkpoint = (
        [json.loads(line) for line in data.splitlines()]
        for name, data in sorted(done(1).image().items(), reverse=True)
    )
    mine = {"run": RUN, "graph": GRAPH.fingerprint}
    cells = {"a": [[0, 1]], "b": [[0, 1]]}
    number = {"incarnation": 0, "number": 1}
    assert rows[0] == {"rows_file": 1, **mine, **number, "cells": cells, "dropped": []}
    assert rows[1] == {"row": 0, "cells": {"a": 0, "b": 0}}
    incarnation = {"incarnation": 0, "segments": 1, "failed": [], "claim": [1, 1]}
    assert checkpoint[0] == {
        "checkpoint_file": 1,
        **mine,
        "records": 3,
        "serial": 1,
        "lives": [incarnation],
        "checkpoint": v1(1),
    }
    assert [list(lines[-1]) for lines in (rows, checkpoint)] == [["checksum"]] * 2


# Another process

WORKING = """
import asyncio, sys, time
from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits, SpecError
from cellspec.engine import AsyncioEngine

def slow(row, cells):
    if row == 2 and "hangs" in sys.argv:
        print("in row 2", flush=True)
        time.sleep(60)
    return row

graph = ExecutionGraph(4, [ColumnDescriptor("a", traits=ExecutionTraits.START)])
engine = AsyncioEngine(graph, {"a": slow}, folder=sys.argv[1], checkpoint_every_rows=1)
try:
    print(asyncio.run(engine.run()).reason)
except SpecError as error:
    sys.exit(str(error))
"""


def working(folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKING, str(folder), *more]
    return subprocess.Popen(command, stdout=-1, stderr=-1, text=True)


def test_a_second_process_is_refused_by_name_and_a_dead_one_is_no_obstacle(
    tmp_path: Path,
) -> None:
    first = working(tmp_path, "hangs")
    assert first.stdout is not None
    assert first.stdout.readline() == "in row 2\n"
    second = working(tmp_path)
    assert second.communicate(timeout=60)[0] == ""
    message = working(tmp_path).communicate(timeout=60)[1]
    assert re.fullmatch(
        rf"{re.escape(str(tmp_path))}: in use by process {first.pid} on {os.uname().nodename}, "
        r"since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00; let it end, or give this run a "
        r"folder of its own\n",
        message,
    )
    first.kill()
    first.communicate(timeout=60)
    # The owner is named in the file of the lock, and dead.
    assert str(first.pid) in (tmp_path / LOCK).read_text()
    assert working(tmp_path).communicate(timeout=60) == ("4 of 4 rows saved, 0 dropped\n", "")
    assert (tmp_path / LOCK).read_text() == ""


def test_a_folder_may_be_read_while_another_process_is_at_it(tmp_path: Path) -> None:
    storage = Storage(RealFileSystem(tmp_path), GRAPH, run=RUN)
    storage.load()
    storage.write_rows(save({0: {"a": 1, "b": 1}}, ("", 0, 1)))
    storage.write_checkpoint(v1(1))
    found = RunDirectory(RealFileSystem(tmp_path), GRAPH, run=RUN).read()
    assert found is not None
    assert dict(found.rows) == {0: {"a": 1, "b": 1}}


def test_a_closed_storage_writes_no_more_and_can_be_read(tmp_path: Path) -> None:
    storage = Storage(RealFileSystem(tmp_path), GRAPH, run=RUN)
    storage.load()
    storage.write_rows(save({0: {"a": 1, "b": 1}}, ("", 0, 1)))
    storage.write_checkpoint(v1(1))
    storage.close()
    assert refusal(lambda: storage.write_rows(save({}))).startswith("storage: load it first")
    assert dict(storage.table()[0]) == {0: {"a": 1, "b": 1}}
    assert Storage(RealFileSystem(tmp_path), GRAPH, run=RUN).load() is not None


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "folder" / LOCK).symlink_to(tmp_path / "precious")
    storage = Storage(RealFileSystem(tmp_path / "folder"), GRAPH, run=RUN)
    assert refusal(storage.load).startswith("lock: could not be locked: ")
    assert (tmp_path / "precious").read_text() == "kept"


# Another incarnation


def test_a_run_goes_on_with_more_rows_or_with_fewer_that_hold_every_claimed_one() -> None:
    for total in (2, 3, 50):
        restored = Storage(done(2), ExecutionGraph(total, COLUMNS), run=RUN).load()
        assert restored is not None
        assert len(restored.rows) == 2
    with pytest.raises(CheckpointError) as caught:
        Storage(done(2), ExecutionGraph(1, COLUMNS), run=RUN).load()
    assert str(caught.value) == (
        "checkpoint: completed_rows: expected an integer from 0 to 1, got 2"
    )


def test_the_first_write_of_an_incarnation_removes_files_without_a_claim() -> None:
    files = done(1)
    storage_on(files).write_rows(save({2: {"a": "lost"}}, ("a", 2, 3)))
    files.write(INCOMING, b"torn")
    files.write("notes.txt", b"not ours")
    storage = storage_on(files)
    assert storage.incarnation == 2
    storage.write_rows(save({}))
    assert files.names() == [CURRENT, "notes.txt", "rows-000000-000001.jsonl"]


def test_a_row_that_an_earlier_incarnation_dropped_beyond_its_claim_is_tried_again() -> None:
    files = ModelFileSystem()
    storage = storage_on(files)
    drops = {1: Drop("b", "bad day")}
    storage.write_rows(save({0: {"a": 0, "b": 0}}, ("", 0, 1), dropped=drops))
    storage.write_checkpoint(v1(1))
    storage = storage_on(files)
    storage.write_rows(save({1: {"a": 1, "b": 1}}, ("", 1, 2)))
    storage.write_checkpoint(v1(2))
    rows, dropped = storage.table()
    assert (list(rows), dropped) == ([0, 1], {})


def test_of_a_cell_that_is_written_again_the_later_value_counts_and_a_tombstone_above_all() -> None:
    files = ModelFileSystem()
    storage = storage_on(files)
    for value in ("early", "late"):
        storage.write_rows(save({r: {"a": value, "b": value} for r in (0, 1)}, ("", 0, 2)))
    storage.write_rows(save({1: {"a": "too late"}}, dropped={1: Drop("b", "given up")}))
    storage.write_rows(save({1: {"a": "much too late"}}, ("", 0, 2)))
    storage.write_checkpoint(v1(2))
    rows, dropped = storage.table()
    assert (dict(rows), list(dropped)) == ({0: {"a": "late", "b": "late"}}, [1])


# What is refused


def test_another_graph_is_refused() -> None:
    other = ExecutionGraph(3, [*COLUMNS, ColumnDescriptor("c")])
    assert refusal(lambda: Storage(done(1), other, run=RUN).load()) == (
        f"{CURRENT}: graph: expected {other.fingerprint!r}, got {GRAPH.fingerprint!r}; "
        f"give each run a folder of its own"
    )


def test_nothing_is_written_before_the_folder_was_read() -> None:
    storage = Storage(ModelFileSystem(), GRAPH)
    for action in (lambda: storage.write_rows(save({})), lambda: storage.write_checkpoint(v1(0))):
        assert refusal(action) == "storage: load it first, to see the rows of earlier incarnations"


@pytest.mark.clause("CKPT-10")
def test_a_claim_on_cells_that_were_not_written_is_refused() -> None:
    storage = storage_on(ModelFileSystem())
    storage.write_rows(save({0: {"a": 0, "b": 0}, 1: {"a": 1}}, ("a", 0, 2)))
    assert refusal(lambda: storage.write_checkpoint(v1(2))) == (
        "b[1]: a checkpoint claims 2 rows of 'b', but this one was not written"
    )
    assert refusal(lambda: storage.write_checkpoint({"version": 3})) == (
        "checkpoint: column_rows: missing; version 3 needs it"
    )
    with_gap = make_payload(GRAPH, (((1, 3),), 0), 3)
    assert refusal(lambda: storage.write_checkpoint(with_gap)) == (
        "a[2]: a checkpoint claims 2 rows of 'a', but this one was not written"
    )
    storage.write_checkpoint(v1(1))


def test_a_promise_without_a_value_is_refused() -> None:
    storage = storage_on(ModelFileSystem())
    flush = save({0: {"a": 0}, 2: {"a": 2}}, ("a", 0, 3))
    assert refusal(lambda: storage.write_rows(flush)) == (
        "a[1]: promised as safe, but has no value"
    )


@pytest.mark.clause("TABLE-05")
def test_a_cell_that_an_earlier_incarnation_claimed_is_not_written_again() -> None:
    storage = storage_on(done(2))
    assert refusal(lambda: storage.write_rows(save({1: {"b": "other"}}))) == (
        "b[1]: an earlier incarnation claimed it; it cannot be written again"
    )


def test_cells_that_the_graph_does_not_have_are_refused() -> None:
    storage = storage_on(ModelFileSystem())
    assert refusal(lambda: storage.write_rows(save({0: {"z": 1}}))) == (
        "unknown column 'z'; this graph has 'a', 'b'"
    )
    for row in (3, -1):
        flush = save({row: {"a": 1}})
        assert refusal(lambda flush=flush: storage.write_rows(flush)) == (  # type: ignore[misc]
            f"row {row}: expected a row from 0 to 2"
        )


DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), {1, 2}, (1, 2), {1: 2}, b"x", object(), DEEP, 10**5000],
    ids=["nan", "inf", "set", "tuple", "key that is no text", "bytes", "object", "deep", "huge"],
)
def test_a_value_that_json_would_not_give_back_is_refused_by_name(value: Any) -> None:
    storage = storage_on(ModelFileSystem())
    flush = save({0: {"a": 0, "b": 0}, 1: {"a": 1, "b": value}}, ("", 0, 2))
    assert refusal(lambda: storage.write_rows(flush)) == (
        "column 'b', row 1: expected a value that JSON gives back as it was, got a "
        + type(value).__name__
    )
    storage.write_rows(save({0: {"a": 0, "b": 0}}, ("", 0, 1)))
    storage.write_checkpoint(v1(1))
    assert list(storage.table()[0]) == [0]


def test_a_folder_that_cannot_be_read_is_refused_and_can_be_tried_again() -> None:
    files = done(2)
    files.fault = lambda operation, _: "EIO" if operation == "read" else None
    storage = Storage(files, GRAPH, run=RUN)
    before = files.image()
    assert refusal(storage.load) == f"{CURRENT}: could not be read: Input/output error"
    files.fault = lambda *_: None
    assert files.image() == before
    assert storage.load() is not None


def test_damage_is_reported_with_the_file_and_the_expected_content() -> None:
    files = done(2)
    files.write("rows-000000-000001.jsonl", b"junk\n")
    assert refusal(Storage(files, GRAPH, run=RUN).load) == (
        "rows-000000-000001.jsonl: damaged: expected the checksum "
        "cae66941d9efbd404e4d88758ea67670 after 0 bytes, got b'junk\\n'; "
        "and there is no earlier checkpoint to fall back to"
    )
    files.remove("rows-000000-000001.jsonl")
    assert refusal(Storage(files, GRAPH, run=RUN).load) == (
        "rows-000000-000001.jsonl: missing; and there is no earlier checkpoint to fall back to"
    )


@pytest.mark.parametrize("line", [b"[]", b"7", b"{", b"{}", b'{"checkpoint_file":2}', b"\xff"])
def test_a_whole_file_of_another_format_is_refused_in_one_line(line: bytes) -> None:
    for name, kind in ((CURRENT, "checkpoint"), ("rows-000000-000001.jsonl", "file of rows")):
        files = done(2)
        files.write(name, reseal(line + b"\n{}\n"))
        found = refusal(Storage(files, GRAPH, run=RUN).load)
        assert found.startswith(f"{name}: no {kind} of format 1: ")
        assert "\n" not in found


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (CURRENT, '"claim":[2,2]', '"claim":[2]'),
        (CURRENT, '"claim":[2,2]', '"claim":["x","y"]'),
        (CURRENT, '"segments":1', '"segments":"one"'),
        ("rows-000000-000001.jsonl", '"cells":{"a":', '"cells":{"z":'),
        ("rows-000000-000001.jsonl", '"cells":{"a":[[0,2]]', '"cells":{"a":[["x","y"]]'),
    ],
)
def test_a_whole_file_that_does_not_fit_the_graph_is_refused_in_one_line(
    name: str, old: str, new: str
) -> None:
    files = done(2)
    data = files.read(name)
    assert old.encode() in data
    files.write(name, reseal(data.replace(old.encode(), new.encode())))
    found = refusal(Storage(files, GRAPH, run=RUN).load)
    graph, form = (
        "files of incarnation 0: do not fit the graph: ",
        f"{CURRENT}: no checkpoint of format 1: ",
    )
    assert found.startswith((graph, form))
    assert "\n" not in found


def test_a_file_that_vanishes_under_a_reader_is_reported() -> None:
    files = done(2)
    restored = Storage(files, GRAPH, run=RUN).load()
    assert restored is not None
    files.remove("rows-000000-000001.jsonl")
    assert refusal(lambda: restored.rows[0]) == (
        "rows-000000-000001.jsonl: missing; it was whole when the folder was read"
    )


# What fails


def failing(*names: str, kind: Fault = "EIO") -> Callable[[str, str], Fault | None]:
    return lambda operation, name: kind if f"{operation} {name}" in names else None


@pytest.mark.parametrize("step", [f"write {INCOMING}", f"sync {INCOMING}", f"replace {CURRENT}"])
def test_a_checkpoint_that_fails_leaves_the_one_before_and_can_be_tried_again(step: str) -> None:
    files = done(1)
    storage = storage_on(files)
    storage.write_rows(save({1: {"a": 1, "b": 1}}, ("", 1, 2)))
    failures: Iterator[Fault] = iter(["EIO"])
    files.fault = lambda operation, name: (
        next(failures, None) if f"{operation} {name}" == step else None
    )
    assert refusal(lambda: storage.write_checkpoint(v1(2))) == (
        f"{CURRENT}: could not be written: Input/output error"
    )
    assert list(storage.table()[0]) == [0]
    storage.write_checkpoint(v1(2))
    assert list(storage.table()[0]) == [0, 1]


def test_a_write_that_fails_is_an_error_of_the_system_and_one_in_doubt_is_not() -> None:
    files = done(1)
    storage = storage_on(files)
    files.fault = failing("write rows-000001-000001.jsonl", kind="ENOSPC")
    with pytest.raises(OSError, match=r"^rows-.*: could not be written: No space left on device$"):
        storage.write_rows(save({1: {"a": 1, "b": 1}}))
    files.fault = lambda *_: None
    storage.write_rows(save({1: {"a": 1, "b": 1}}))
    files.fault = failing("sync folder")
    with pytest.raises(InDoubtError) as caught:
        storage.write_checkpoint(v1(2))
    assert not isinstance(caught.value, OSError)
    files.fault = lambda *_: None
    assert refusal(lambda: storage.write_checkpoint(v1(2))).startswith("storage: load it first")
    assert issubclass(StorageWriteError, StorageError)


# Parts


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(1, 6), st.integers(0, 2)), max_size=12),
    st.sets(st.integers(0, 20)),
)
def test_layers_hold_the_last_value_of_each_row(
    laid: list[tuple[int, int, int]], dropped: set[int]
) -> None:
    layers, plain = Layers(), dict[int, int]()
    for start, length, item in laid:
        layers.lay(start, start + length, item)
        plain.update(dict.fromkeys(range(start, start + length), item))
    assert {row: layers.find(row) for row in range(20)} == {r: plain.get(r) for r in range(20)}
    gaps = [row for row in range(20) if row not in plain and row not in dropped]
    assert layers.gap(20, dropped) == (gaps[0] if gaps else None)


@pytest.mark.clause("CKPT-06", "CKPT-10", "TABLE-05")
def test_a_claim_of_any_cells_gives_back_exactly_those() -> None:
    files = ModelFileSystem()
    first = storage_on(files)
    first.write_rows(save({0: {"a": 0, "b": 0}, 2: {"a": 2, "b": 2}}, ("a", 0, 1), ("a", 2, 3)))
    first.write_checkpoint(make_payload(GRAPH, (((0, 1), (2, 3)), ((2, 3),)), 3))
    # These come after the claim, and do not count.
    first.write_rows(save({1: {"a": "lost"}}, ("a", 1, 2)))
    first.close()
    second = Storage(files, GRAPH, run=RUN)
    restored = second.load()
    assert restored is not None
    assert {row: dict(cells) for row, cells in restored.rows.items()} == {
        0: {"a": 0},
        2: {"a": 2, "b": 2},
    }
    assert 1 not in restored.rows
    assert refusal(lambda: second.write_rows(save({2: {"b": "again"}}))) == (
        "b[2]: an earlier incarnation claimed it; it cannot be written again"
    )
    second.write_rows(save({0: {"b": "anew"}, 1: {"a": 1, "b": 1}}, ("", 0, 3)))
    second.write_checkpoint(make_payload(GRAPH, (3, 3), 3))
    rows, _ = second.table()
    assert dict(rows[0]) == {"a": 0, "b": "anew"}
    assert dict(rows[1]) == {"a": 1, "b": 1}


def test_a_cell_behind_a_gap_in_an_ordered_column_is_taken_if_its_row_was_dropped() -> None:
    columns = [ColumnDescriptor("a", traits=ExecutionTraits.START | ExecutionTraits.ORDERED)]
    graph, files = ExecutionGraph(3, columns), ModelFileSystem()
    first = Storage(files, graph, run=RUN)
    first.load()
    first.write_rows(Save((), {0: {"a": 0}}, {2: Drop("a", "failed")}, None, False))
    first.write_checkpoint(make_payload(graph, (((0, 1), (2, 3)),), 3))
    first.close()
    restored = Storage(files, graph, run=RUN).load()
    assert restored is not None
    assert (list(restored.rows), list(restored.dropped)) == ([0], [2])
