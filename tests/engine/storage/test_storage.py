"""Durable storage survives a crash at any moment, on the model of a file system and a real one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellspec import ColumnDescriptor, ExecutionGraph
from cellspec.engine.calls import Drop, Save
from cellspec.engine.storage.durable import InUseError, Storage, StorageError, StorageWriteError
from cellspec.engine.storage.filesystem import RealFileSystem
from cellspec.engine.storage.model_filesystem import Fault, ModelFileSystem
from cellspec.engine.storage.recovery import CURRENT, FolderState
from cellspec.engine.storage.segments import Incarnation, Record
from cellspec.engine.values import SKIPPED
from cellspec.state.checkpoint import Checkpoint, make_payload
from tests.engine.storage.storage_arms import Arm, ModelArm, RealArm
from tests.engine.storage.storage_body import (
    COLUMNS,
    GRAPH,
    MOST_IN_A_ROW,
    RUN,
    Make,
    StorageOracle,
    check_crashes,
    check_damage,
    check_faults,
    check_foreign,
    check_two_processes,
    check_unmixed,
    finished,
    make_storage,
    outcome_of,
    outcomes_of,
    write_claim,
)

TORN = 128  # bytes of a block: files of a test run have three or four
WHOLE = 4096


# The body, on both arms


@pytest.fixture(params=["model", "real"])
def arm(request: pytest.FixtureRequest, tmp_path: Path) -> Arm:
    return ModelArm(TORN) if request.param == "model" else RealArm(tmp_path)


def met(evidence: Counter[str], *obligations: str) -> None:
    """The events that a campaign must have met to show anything about them."""
    assert not [each for each in obligations if not evidence[each]], evidence


@pytest.mark.clause("CKPT-06", "CKPT-10", "CKPT-12", "CKPT-17")
def test_a_crash_anywhere_and_another_one_lose_no_claim_and_no_claimed_cell(arm: Arm) -> None:
    evidence = check_crashes(arm, make_storage)
    met(evidence, "states", "claim in flight kept", "claim in flight lost")
    if isinstance(arm, ModelArm):
        # Fewer would mean that the model, or the body, has become blind to something.
        assert evidence["states"] == 2732


@pytest.mark.clause("CKPT-06", "CKPT-12")
def test_a_failed_operation_is_reported_and_leaves_safe_data_safe(tmp_path: Path) -> None:
    once = check_faults(RealArm(tmp_path), make_storage, [1])
    met(once, "states", "claim in flight kept", "claim in flight lost")
    often = check_faults(ModelArm(WHOLE), make_storage, [1, MOST_IN_A_ROW])
    met(often, "states", "claim in flight kept", "claim in flight lost", "in doubt")


def test_damage_is_never_taken_for_data(arm: Arm) -> None:
    met(check_damage(arm, make_storage), "refused", "fell back", "went on")


def test_files_of_another_run_are_refused(arm: Arm) -> None:
    check_foreign(arm, make_storage)


def test_of_two_processes_one_is_refused_and_the_other_loses_nothing(arm: Arm) -> None:
    met(check_two_processes(arm, make_storage), "refused")


def test_names_keep_two_processes_apart_where_locks_are_worth_nothing(arm: Arm) -> None:
    evidence = check_unmixed(arm, lambda files: LockIgnored(files, GRAPH, run=RUN))
    met(evidence, "of one process")


def test_the_lock_of_a_process_that_is_gone_is_free(arm: Arm) -> None:
    files = arm.enter(arm.begin({}), lambda _: None, lambda *_: None)
    assert make_storage(files).load() is None
    # What is left of it is what any crash leaves, and no lock.
    (state, *_) = arm.states(files)
    assert make_storage(arm.enter(state, lambda _: None, lambda *_: None)).load() is None


def test_a_load_that_fails_leaves_the_folder_to_others(arm: Arm) -> None:
    files = arm.enter(arm.begin({}), lambda _: None, lambda *_: None)
    storage = make_storage(files)
    storage.load()
    storage.write_checkpoint(make_payload(GRAPH, (0,) * len(GRAPH.column_names), 1))
    storage.close()
    other = Storage(files, GRAPH, run="another")
    with pytest.raises(StorageError, match="another"):
        other.load()
    assert make_storage(files).load() is not None


FORKED = """
import os, sys, time
from pathlib import Path
from cellspec import ColumnDescriptor, ExecutionGraph
from cellspec.engine.storage.filesystem import RealFileSystem
from cellspec.engine.storage.durable import InUseError, Storage

graph = ExecutionGraph(1, [ColumnDescriptor("a")])
storage = Storage(RealFileSystem(Path(sys.argv[1])), graph)
storage.load()
if os.fork():
    sys.stdin.readline()
    os._exit(1)
try:
    storage.write_checkpoint({"version": 1, "completed_rows": 0})
except InUseError:
    storage.close()
    print("refused", flush=True)
time.sleep(60)
"""


def test_a_child_that_was_forked_neither_writes_nor_holds_nor_frees_the_lock(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", FORKED, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "refused\n"
            graph = ExecutionGraph(1, [ColumnDescriptor("a")])
            storage = Storage(RealFileSystem(tmp_path), graph)
            with pytest.raises(InUseError, match=f"in use by process {process.pid} on "):
                storage.load()
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.wait(timeout=60) == 1
            # The child is there still.
            assert storage.load() is None
            storage.close()
        finally:
            os.killpg(process.pid, signal.SIGKILL)


# The body catches what is wrong


class CheckpointBeforeRows(Storage):
    """Writes the claim, and its rows after it."""

    def load(self) -> Any:
        self.late: list[Save] = []
        return super().load()

    def write_rows(self, save: Save) -> None:
        self.late.append(save)

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        super().write_checkpoint(checkpoint)
        while self.late:
            super().write_rows(self.late.pop(0))

    def _check_covered(self, claim: Any) -> None:
        pass


class NoFolderSync(Storage):
    """Syncs files without the folder that names them."""

    def sync_folder(self) -> None:
        pass


class NoFileSync(Storage):
    """Syncs the names without the contents of the files."""

    def _sync_file(self, name: str) -> None:
        pass


class NoAtomicReplace(Storage):
    """Writes the checkpoint over the one before."""

    def _replace_checkpoint(self, record: Record) -> None:
        self._write_file(CURRENT, [record.encode()])
        self.sync_folder()


class ChecksumNotVerified(Storage):
    """Believes what it reads."""

    def _verified(self, name: str, data: bytes) -> bytes:  # noqa: ARG002 - believes anyone
        return data[: data.rstrip(b"\n").rfind(b"\n") + 1]


class WriteErrorSwallowed(Storage):
    """Says that rows and checkpoints are safe even if the file system failed."""

    def _write_segment(self, name: str, pieces: Iterable[bytes]) -> None:
        with suppress(StorageWriteError):
            super()._write_segment(name, pieces)

    def _replace_checkpoint(self, record: Record) -> None:
        with suppress(StorageWriteError):
            super()._replace_checkpoint(record)


class OlderRunMixedIn(Storage):
    """Takes every file in the folder for its own."""

    def _check_identity(self, name: str, run: str, graph: str) -> None:
        pass


class UnclaimedRowsCount(Storage):
    """Counts all that an earlier incarnation wrote, also beyond what it had claimed."""

    def _make_record(
        self, checkpoint: Checkpoint, serial: int, incarnations: tuple[Incarnation, ...]
    ) -> Record:
        return super()._make_record(
            checkpoint,
            serial,
            tuple(replace(incarnation, claim=(3, 3)) for incarnation in incarnations),
        )


class TrustsTheCache(Storage):
    """Builds on the files of a killed process, without making them durable."""

    def _settle(self) -> None:
        pass


class SyncsAgain(Storage):
    """Tries a failed sync again, and believes the second."""

    def _sync_file(self, name: str) -> None:
        try:
            super()._sync_file(name)
        except OSError:
            super()._sync_file(name)

    def sync_folder(self) -> None:
        try:
            super().sync_folder()
        except OSError:
            super().sync_folder()


class FailedClaimLeftInPlace(Storage):
    """Tells that a checkpoint failed, and leaves it there."""

    def _take_back(self, error: StorageWriteError) -> None:
        pass


class PreviousNotKept(Storage):
    """Keeps the newest checkpoint only."""

    def _replace_checkpoint(self, record: Record) -> None:
        self._keeps_current = False
        super()._replace_checkpoint(record)


class FailedNumberUsedAgain(Storage):
    """Writes over the file whose write failed."""

    def write_rows(self, save: Save) -> None:
        failed = len(self._failed)
        try:
            super().write_rows(save)
        finally:
            if len(self._failed) > failed:
                self._failed.pop()
                self._number -= 1


class DamagedKeptAsPrevious(Storage):
    """Keeps the damaged checkpoint as the one before, in place of the whole one."""

    def load(self) -> Any:
        restored = super().load()
        self._keeps_current = True
        return restored


class SeesOnce(Storage):
    """Believes the first look."""

    def look(self) -> FolderState:
        return self._look()


class LockIgnored(Storage):
    """Works on a folder at which another process is."""

    def _lock(self, owner: str) -> str | None:
        super()._lock(owner)
        return None


class NamesShared(LockIgnored):
    """Gives files the names that every other process would give them, too."""

    def load(self) -> Any:
        self.files.writer = ""
        return super().load()


def two_processes(make: Make) -> None:
    check_two_processes(ModelArm(WHOLE), make)


def unmixed(make: Make) -> None:
    check_unmixed(ModelArm(WHOLE), make)


def crashes(make: Make) -> None:
    # What is never synced may be torn in so many ways that large blocks have to do.
    check_crashes(ModelArm(WHOLE), make)


def faults(make: Make) -> None:
    check_faults(ModelArm(WHOLE), make, [1])


def damage(make: Make) -> None:
    check_damage(ModelArm(TORN), make)


def foreign(make: Make) -> None:
    check_foreign(ModelArm(TORN), make)


def odd_reads(make: Make) -> None:
    """One read of the load is short, or stale: it gives the whole content all the same."""
    ended = finished(ModelArm(TORN), make)
    kinds: tuple[Fault, ...] = ("short", "stale")
    for kind in kinds:
        for odd in range(1_000):
            read = 0

            def fail(operation: str, _: str, kind: Fault = kind, odd: int = odd) -> Fault | None:
                nonlocal read
                read += operation == "read"
                return kind if operation == "read" and read == odd + 1 else None

            files = ended.fork()
            files.fault = fail
            storage = make(files)
            try:
                found = outcome_of(storage.load())
            except StorageError as error:
                raise AssertionError(f"{kind} read {odd}: {error}") from error
            assert (found, storage.notes) == (outcomes_of(2)[-1], ()), f"{kind} read {odd}"
            if read <= odd:
                break


def test_a_read_that_is_short_or_stale_once_changes_nothing() -> None:
    odd_reads(make_storage)


CAUGHT: list[tuple[type[Storage], Callable[[Make], None]]] = [
    (CheckpointBeforeRows, crashes),
    (NoFolderSync, crashes),
    (NoFileSync, crashes),
    (NoAtomicReplace, crashes),
    (UnclaimedRowsCount, crashes),
    (TrustsTheCache, crashes),
    (WriteErrorSwallowed, faults),
    (SyncsAgain, faults),
    (FailedClaimLeftInPlace, faults),
    (FailedNumberUsedAgain, faults),
    (ChecksumNotVerified, damage),
    (PreviousNotKept, damage),
    (DamagedKeptAsPrevious, damage),
    (OlderRunMixedIn, foreign),
    (SeesOnce, odd_reads),
    (LockIgnored, two_processes),
    (NamesShared, unmixed),
]


@pytest.mark.parametrize(("wrong", "check"), CAUGHT, ids=lambda each: each.__name__)
def test_the_body_catches_the_classic_mistakes(
    wrong: type[Storage], check: Callable[[Make], None]
) -> None:
    with pytest.raises(AssertionError):
        check(lambda files: wrong(files, GRAPH, run=RUN))


# Longer runs


PAIR = ExecutionGraph(8, COLUMNS)


@given(data=st.data())
def test_a_run_of_any_shape_survives_any_number_of_crashes(data: st.DataObject) -> None:
    """Row groups in any order, claims of any size, drops, kills and losses of power."""

    def choose(label: str, options: Any, /) -> Any:
        return data.draw(st.sampled_from(options), label=label)

    files = ModelFileSystem(block=64)
    oracle = StorageOracle(graph=PAIR)
    for incarnation in range(data.draw(st.integers(1, 4), label="incarnations")):
        storage = Storage(files, PAIR, run=RUN)
        claim = oracle.loaded(storage.load(), f"incarnation {incarnation}")
        assert storage.incarnation <= incarnation
        for _ in range(data.draw(st.integers(0, 5), label="flushes")):
            rows = data.draw(st.sets(st.integers(0, 7), max_size=4), label="rows")
            flush = some_save(sorted(rows), claim, oracle.dropped, incarnation, choose)
            storage.write_rows(flush)
            oracle.wrote(flush)
            if choose("checkpoint", (False, True)):
                claim = some_claim(oracle, claim, choose)
                write_claim(storage, oracle, claim, version=2)
        if choose("loss of power", (False, True)):
            files = ModelFileSystem(files.crash(choose), block=64)


def some_save(
    rows: list[int],
    claim: tuple[int, ...],
    dropped: Mapping[int, Drop],
    incarnation: int,
    choose: Any,
) -> Save:
    cells: dict[int, dict[str, Any]] = {}
    drops: dict[int, Drop] = {}
    for row in (row for row in rows if row not in dropped):
        what = choose(f"row {row}", ("a", "both", "both", "skip", "drop"))
        if what == "drop":
            drops[row] = Drop("b", f"failed in incarnation {incarnation}")
            continue
        value = f"{row} of incarnation {incarnation}"
        made: dict[str, Any] = {"a": value} if what == "a" else {"a": value, "b": value}
        if what == "skip":
            made["b"] = SKIPPED
        made = {name: v for name, v in made.items() if row >= claim["ab".index(name)]}
        if made:
            cells[row] = made
    return Save((), cells, drops, None, False)


def some_claim(oracle: StorageOracle, claim: tuple[int, ...], choose: Any) -> tuple[int, ...]:
    """A claim on the rows that this incarnation has written, or found, without a gap."""
    found: list[int] = []
    for name, rows in zip("ab", claim, strict=True):
        most = rows
        while most < 8 and (most in oracle.dropped or (name, most) in oracle.cells):
            most += 1
        found.append(choose(f"claim of {name}", range(rows, min([most, *found]) + 1)))
    return tuple(found)
