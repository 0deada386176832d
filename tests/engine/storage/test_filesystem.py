"""The model of a file system: its behaviour while a program runs, and after a crash."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellspec.engine.storage.filesystem import FileSystem, RealFileSystem
from cellspec.engine.storage.model_filesystem import Fault, Image, ModelFileSystem, every_choice
from cellspec.machine.actions import Choose

ZERO = b"\0"


@pytest.fixture(params=["model", "real"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FileSystem]:
    if request.param == "model":
        yield ModelFileSystem()
    else:
        real = RealFileSystem(tmp_path)
        yield real
        real.close()


def contents(files: FileSystem) -> Image:
    return {name: files.read(name) for name in files.names()}


def left(files: ModelFileSystem) -> list[Image]:
    return sorted(files.survivors(), key=lambda image: sorted(image.items()))


# What a program sees, on both arms


def test_a_read_gives_the_content_that_was_written(files: FileSystem) -> None:
    files.write("a", b"one")
    files.append("a", b", two")
    files.sync_file("a")
    files.append("a", b", three")
    files.write("b", b"first")
    files.write("b", b"second")
    files.sync_folder()
    assert files.names() == ["a", "b"]
    assert contents(files) == {"a": b"one, two, three", "b": b"second"}


def test_a_rename_replaces_the_file_that_had_the_name(files: FileSystem) -> None:
    files.write("a", b"new")
    files.write("b", b"old")
    files.replace("a", "b")
    assert contents(files) == {"b": b"new"}
    assert not files.exists("a")
    assert files.exists("b")
    files.append("b", b"er")
    files.replace("b", "b")
    assert contents(files) == {"b": b"newer"}
    files.remove("b")
    assert files.names() == []


@pytest.mark.parametrize(
    "operation",
    [
        lambda files: files.read("x"),
        lambda files: files.append("x", b""),
        lambda files: files.replace("x", "y"),
        lambda files: files.remove("x"),
        lambda files: files.sync_file("x"),
    ],
    ids=["read", "append", "replace", "remove", "sync"],
)
def test_a_missing_file_is_an_error(
    files: FileSystem, operation: Callable[[FileSystem], object]
) -> None:
    with pytest.raises(FileNotFoundError):
        operation(files)
    assert files.names() == []


NAMES = st.sampled_from(["x", "y", "z"])
DATA = st.binary(max_size=9)
OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["write", "append"]), NAMES, DATA)
    | st.tuples(st.sampled_from(["read", "remove", "sync_file", "exists"]), NAMES)
    | st.tuples(st.just("replace"), NAMES, NAMES)
    | st.tuples(st.sampled_from(["names", "sync_folder"])),
    max_size=25,
)


@given(operations=OPERATIONS)
def test_the_model_and_a_real_folder_behave_alike_without_a_crash(
    operations: list[tuple[Any, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    model, real = ModelFileSystem(block=4), RealFileSystem(tmp_path_factory.mktemp("folder"))
    for name, *arguments in operations:
        assert answer_of(model, name, arguments) == answer_of(real, name, arguments)
    assert contents(model) == contents(real) == model.image()
    assert model.crash(everything) == model.image()
    real.close()


@pytest.mark.parametrize("data", [b"", b"old"])
def test_a_crash_without_a_loss_leaves_the_last_content(data: bytes) -> None:
    model = ModelFileSystem()
    model.write("x", b"old")
    model.write("x", b"new")
    model.write("x", data)
    assert model.crash(everything) == {"x": data}


def everything(_: str, options: Sequence[Any], /) -> Any:
    """All data survives."""
    return options[-1]


def answer_of(files: FileSystem, name: str, arguments: list[Any]) -> object:
    try:
        return getattr(files, name)(*arguments)
    except OSError as error:
        return error.errno


def test_each_operation_is_a_step_that_can_be_stopped_before_it_happens(tmp_path: Path) -> None:
    steps: list[str] = []

    def before(step: str) -> None:
        steps.append(step)
        if len(steps) > 9:
            raise KeyboardInterrupt(step)

    answers: list[list[str]] = []
    for files in (
        ModelFileSystem(before_step=before),
        RealFileSystem(tmp_path, before_step=before),
    ):
        files.write("a", b"1")
        files.append("a", b"2")
        files.sync_file("a")
        files.read("a")
        files.replace("a", "b")
        files.write("c", b"3")
        files.remove("c")
        files.sync_folder()
        files.exists("b")
        with pytest.raises(KeyboardInterrupt):
            files.names()
        with pytest.raises(KeyboardInterrupt):
            files.remove("b")
        with pytest.raises(KeyboardInterrupt):
            files.write("b", b"")
        answers.append(list(steps))
        steps.clear()
        assert files.read("b") == b"12"
        steps.clear()
    assert answers[0] == answers[1]
    assert answers[0] == [
        "write a",
        "append a",
        "sync a",
        "read a",
        "replace b",
        "write c",
        "remove c",
        "sync folder",
        "look for b",
        "list folder",
        "remove b",
        "write b",
    ]


def test_a_real_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    files = RealFileSystem(tmp_path / "new" / "folder")
    assert files.names() == []
    (tmp_path / "new" / "folder" / "inner").mkdir()
    assert files.names() == []


# What a loss of power leaves


def test_unsynced_data_may_survive_or_be_lost() -> None:
    files = ModelFileSystem()
    files.write("a", b"data")
    assert left(files) == [{}, {"a": b""}, {"a": ZERO * 4}, {"a": b"data"}]
    files.sync_folder()
    assert left(files) == [{"a": b""}, {"a": ZERO * 4}, {"a": b"data"}]
    files.sync_file("a")
    assert left(files) == [{"a": b"data"}]


def test_a_synced_file_without_a_synced_name_may_be_lost() -> None:
    files = ModelFileSystem()
    files.write("a", b"data")
    files.sync_file("a")
    assert left(files) == [{}, {"a": b"data"}]


def test_of_one_write_any_block_may_be_lost() -> None:
    files = ModelFileSystem({"a": b"12"}, block=4)
    files.append("a", b"345678")
    assert [image["a"] for image in left(files)] == [
        b"12",
        b"12" + ZERO * 6,
        b"12" + ZERO * 2 + b"5678",
        b"1234",
        b"12345678",
    ]


def test_of_many_blocks_the_losses_that_programs_trip_over_are_tried() -> None:
    files = ModelFileSystem({"a": b""}, block=1)
    files.append("a", b"abcdef")
    found = [image["a"] for image in files.survivors()]
    assert {b"", b"abc", b"abcde", b"abcdef", ZERO + b"bcdef", b"ab" + ZERO + b"def"} <= {*found}
    assert ZERO * 5 + b"f" in found
    assert ZERO * 6 in found
    assert len(found) == len(set(found)) == 14


def test_a_file_written_over_holds_the_old_or_the_new_or_neither() -> None:
    files = ModelFileSystem({"a": b"old"})
    files.write("a", b"new")
    assert [image["a"] for image in left(files)] == [b"", ZERO * 3, b"new", b"old"]


def test_renames_removals_and_new_names_are_lost_each_on_its_own() -> None:
    files = ModelFileSystem({"a": b"1", "b": b"2", "c": b"3"})
    files.replace("a", "b")
    files.remove("c")
    one, two, three = b"1", b"2", b"3"
    assert left(files) == [
        {"a": one, "b": two},
        {"a": one, "b": two, "c": three},
        {"b": one},
        {"b": one, "c": three},
    ]
    files.sync_folder()
    assert left(files) == [{"b": one}]


def test_a_rename_may_be_durable_before_the_content_of_the_file() -> None:
    files = ModelFileSystem({"a": b"old"})
    files.write("new", b"new")
    files.replace("new", "a")
    files.sync_folder()
    assert [image["a"] for image in left(files)] == [b"", ZERO * 3, b"new"]


def test_the_next_process_sees_the_writes_of_a_killed_one_although_they_are_not_safe() -> None:
    files = ModelFileSystem({"a": b"old"})
    files.write("a", b"new")
    after = files.fork()
    assert after.read("a") == b"new"
    assert {"a": b"old"} in after.survivors()
    assert after.key() == files.key()
    after.sync_file("a")
    assert after.survivors() == [{"a": b"new"}]
    assert {"a": b"old"} in files.survivors()
    assert after.key() != files.key()


def test_the_outcome_of_a_crash_is_decided_by_the_given_function() -> None:
    asked: list[tuple[str, int]] = []

    def last(label: str, options: Sequence[Any], /) -> Any:
        asked.append((label, len(options)))
        return options[-1]

    files = ModelFileSystem({"a": b"1"})
    files.write("b", b"2")
    files.remove("a")
    assert files.crash(last) == {"b": b"2"}
    assert asked == [("entry: create b", 2), ("entry: remove a", 2), ("content: b", 3)]


def test_every_choice_is_every_sequence_of_answers() -> None:
    def run(choose: Choose) -> str:
        first = choose("first", "ab")
        return first + (choose("second", "xyz") if first == "a" else "")

    assert list(every_choice(run)) == ["ax", "ay", "az", "b"]
    assert list(every_choice(lambda _: 7)) == [7]


# Faults


def failing(operation: str, kind: Fault) -> Callable[[str, str], Fault | None]:
    return lambda asked, _: kind if asked == operation else None


@pytest.mark.parametrize(("kind", "number"), [("ENOSPC", errno.ENOSPC), ("EIO", errno.EIO)])
def test_a_write_that_fails_leaves_its_first_half(kind: Fault, number: int) -> None:
    files = ModelFileSystem({"a": b"old"}, fault=failing("write", kind))
    with pytest.raises(OSError, match="a") as caught:
        files.write("a", b"abcdef")
    assert caught.value.errno == number
    assert files.read("a") == b"abc"
    files.fault = failing("append", kind)
    with pytest.raises(OSError, match="a"):
        files.append("a", b"1234")
    assert files.read("a") == b"abc12"


def test_after_a_failed_sync_a_second_one_proves_nothing() -> None:
    files = ModelFileSystem({"a": b""}, fault=failing("sync", "EIO"))
    files.append("a", b"lost?")
    with pytest.raises(OSError, match="Input/output error"):
        files.sync_file("a")
    files.fault = lambda *_: None
    files.append("a", b" safe")
    files.sync_file("a")
    assert files.read("a") == b"lost? safe"
    assert [image["a"] for image in left(files)] == [ZERO * 5 + b" safe", b"lost? safe"]
    files.write("a", b"again")
    files.sync_file("a")
    assert left(files) == [{"a": b"again"}]


def test_after_a_failed_sync_of_the_folder_a_name_is_safe_only_if_it_is_given_again() -> None:
    files = ModelFileSystem(fault=failing("sync", "EIO"))
    files.write("a", b"")
    with pytest.raises(OSError, match="folder"):
        files.sync_folder()
    files.fault = lambda *_: None
    files.sync_folder()
    assert left(files) == [{}, {"a": b""}]
    files.write("b", b"")
    files.replace("b", "a")
    files.sync_folder()
    assert left(files) == [{"a": b""}]


def test_other_operations_that_fail_change_nothing() -> None:
    files = ModelFileSystem({"a": b"1", "b": b"2"})
    before = files.key()
    files.fault = lambda *_: "EIO"
    operations: list[Callable[[], object]] = [
        lambda: files.replace("a", "b"),
        lambda: files.remove("a"),
        lambda: files.read("a"),
        files.names,
        lambda: files.exists("a"),
    ]
    for operation in operations:
        with pytest.raises(OSError, match="Input/output error"):
            operation()
    assert files.key() == before


def test_a_read_may_be_short_or_stale() -> None:
    files = ModelFileSystem({"a": b"old"})
    files.write("new", b"newer!")
    files.replace("new", "a")
    files.fault = failing("read", "short")
    assert files.read("a") == b"new"
    files.fault = failing("read", "stale")
    assert files.read("a") == b"old"
    files.write("b", b"first")
    with pytest.raises(FileNotFoundError):
        files.read("b")
    files.append("b", b", second")
    assert files.read("b") == b"first"
