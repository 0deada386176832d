"""The promises of durable storage, as one body of checks that runs on any file system.

A small run lives on a file system of an *arm* (`tests.engine.storage.storage_arms`), which is
asked, between every two operations, in which states a crash would leave the files. From each of
them another incarnation begins, and crashes in its turn. In each one the load must give back the
last claim that was safe, or the one in flight, with every cell under it exactly as it was written.

The `StorageOracle` is independent of the storage: it writes down the rows that were handed over,
and the outcomes that a load may have. Values name the incarnation that made them, so that a cell
whose work was lost differs from the one that was made again.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits, SpecError
from cellspec.engine.calls import Drop, Restored, Save
from cellspec.engine.storage.durable import Storage
from cellspec.engine.storage.filesystem import FileSystem
from cellspec.engine.storage.model_filesystem import Fault
from cellspec.engine.storage.recovery import PREVIOUS
from cellspec.engine.storage.segments import (
    InDoubtError,
    InUseError,
    StorageError,
    StorageWriteError,
)
from cellspec.engine.values import SKIPPED
from cellspec.state.checkpoint import make_payload, read_payload
from cellspec.state.claims import as_prefixes
from tests.engine.storage.storage_arms import Arm, Faults, no_faults

COLUMNS = [
    ColumnDescriptor("a", traits=ExecutionTraits.START),
    ColumnDescriptor("b", dependencies=["a"]),
]
GRAPH = ExecutionGraph(3, COLUMNS)
RUN = "seed 7"
# The claims of a run, one after the other. Before the first, incarnation 0 drops row 2, which lies
# beyond it; on the way to the second, incarnation 1 drops row 1. Incarnation 0 skips b[0].
PLANS = {1: ((1, 1), (3, 3)), 2: ((2, 0), (3, 2), (3, 3))}

Make: TypeAlias = Callable[[FileSystem], Storage]
Claim: TypeAlias = tuple[int, ...]
Outcome: TypeAlias = tuple[Claim, tuple[tuple[int, str], ...], tuple[tuple[int, str, str], ...]]
"""A claim, the cells under it by row, and the dropped rows: what a load gives, to be compared."""

MOST_IN_A_ROW = 3

NOTHING: Outcome = ((0, 0), (), ())


def make_storage(files: FileSystem) -> Storage:
    return Storage(files, GRAPH, run=RUN)


# The oracle


def outcome_of(restored: Restored | None, graph: ExecutionGraph = GRAPH) -> Outcome:
    if restored is None:
        return NOTHING
    rows = tuple((row, repr(sorted(cells.items()))) for row, cells in restored.rows.items())
    assert len(restored.rows) == len(rows)
    drops = tuple((row, drop.column, drop.cause) for row, drop in restored.dropped.items())
    return as_prefixes(read_payload(restored.checkpoint, graph)), rows, drops


@dataclass
class StorageOracle:
    """The rows that were handed to the storage, and the outcomes that a load may have now."""

    allowed: tuple[Outcome, ...] = (NOTHING,)
    graph: ExecutionGraph = GRAPH
    cells: dict[tuple[str, int], Any] = field(default_factory=dict)
    dropped: dict[int, Drop] = field(default_factory=dict)

    def expected(self, claim: Claim) -> Outcome:
        dropped = {r: self.dropped[r] for r in sorted(self.dropped) if r < max(claim)}
        rows = []
        for row in range(max(claim)):
            if row not in dropped:
                named = zip(self.graph.column_names, claim, strict=True)
                cells = {name: self.cells[name, row] for name, stop in named if row < stop}
                rows.append((row, repr(sorted(cells.items()))))
        drops = tuple((row, drop.column, drop.cause) for row, drop in dropped.items())
        return claim, tuple(rows), drops

    def wrote(self, save: Save) -> None:
        for row, cells in save.rows.items():
            self.cells.update({(name, row): value for name, value in cells.items()})
        self.dropped.update(save.dropped)

    def loaded(self, restored: Restored | None, where: str) -> Claim:
        found = outcome_of(restored, self.graph)
        assert found in self.allowed, f"{where}: found {found}, allowed {self.allowed}"
        self.allowed = (found,)
        self.cells.clear()
        self.dropped.clear()
        if restored is not None:
            self.dropped.update(restored.dropped)
            for row, cells in restored.rows.items():
                self.cells.update({(name, row): value for name, value in cells.items()})
        return found[0]


# An incarnation


def saves(claim: Claim, target: Claim, number: int, dropped: Mapping[int, Drop]) -> Iterator[Save]:
    """The flushes from one claim to the next: first, out of order, rows beyond the target."""

    def value(name: str, row: int) -> Any:
        if (name, row, number) == ("b", 0, 0):
            return SKIPPED
        return {"of": f"{name}{row}", "incarnation": number}

    if target in (PLANS[1][0], PLANS[2][0]):
        if number == 0:
            yield Save((), {}, {2: Drop("a", "failed early, in incarnation 0")}, None, False)
        else:
            yield Save((("a", 2, 3),), {2: {"a": value("a", 2)}}, {}, None, False)
    ranges, rows, late = [], dict[int, dict[str, Any]](), dict[int, Drop]()
    if target[1] > 1 and number == 1:
        late[1] = Drop("b", "failed late, in incarnation 1")
    for name, start, stop in zip(GRAPH.column_names, claim, target, strict=True):
        if start < stop:
            ranges.append((name, start, stop))
        for row in range(start, stop):
            if row not in dropped and row not in late:
                rows.setdefault(row, {})[name] = value(name, row)
    yield Save(tuple(ranges), rows, late, None, False)


def begin_incarnation(storage: Storage, oracle: StorageOracle, where: str) -> Claim:
    """Load. A failed load is tried again; a refused one is a defect, since the files are whole."""
    for _ in range(MOST_IN_A_ROW):
        try:
            return oracle.loaded(storage.load(), where)
        except StorageError as error:
            if not isinstance(error.__cause__, OSError):
                raise AssertionError(f"{where}: {error}") from error
    return oracle.loaded(storage.load(), where)


def go_on(storage: Storage, oracle: StorageOracle, claim: Claim, number: int, version: int) -> None:
    """Work from a claim to the end."""
    for plan in PLANS[version]:
        target = tuple(map(max, claim, plan))
        if target != claim:
            for save in saves(claim, target, number, oracle.dropped):
                again(storage.write_rows, save)
                oracle.wrote(save)
            again(write_claim, storage, oracle, target, version)
        claim = target


def again(action: Callable[..., None], *arguments: object) -> None:
    """Do it, and once more if it fails, and so on."""
    for _ in range(MOST_IN_A_ROW):
        try:
            return action(*arguments)
        except StorageWriteError:
            pass
    return action(*arguments)


def write_claim(storage: Storage, oracle: StorageOracle, claim: Claim, version: int) -> None:
    safe, new = oracle.allowed[0], oracle.expected(claim)
    oracle.allowed = (safe, new)
    try:
        storage.write_checkpoint(make_payload(oracle.graph, claim, version))
    except StorageWriteError:
        oracle.allowed = (safe,)
        raise
    oracle.allowed = (new,)


# The body


@dataclass
class Explorer:
    """Incarnations from every state that a crash can leave, and crashes in them.

    Attributes:
        arm: the file system.
        make: the storage.
        version: of the checkpoints.
        evidence: how often a state was loaded, and the events on the way.
    """

    arm: Arm
    make: Make
    version: int
    evidence: Counter[str] = field(default_factory=Counter)
    _seen: set[object] = field(default_factory=set)

    def explore(
        self,
        state: Any,
        allowed: tuple[Outcome, ...],
        crashes: int,
        *,
        fail: Faults = no_faults,
        number: int = 0,
        where: str = "start",
    ) -> None:
        """Load `state`; then live, and load each state that up to `crashes` crashes leave."""
        left: dict[object, tuple[Any, tuple[Outcome, ...], str]] = {}
        oracle = StorageOracle(allowed)
        at = where

        def look(name: str) -> None:
            nonlocal at
            at = f"{where} > {name}"
            for each in self.arm.states(files) if crashes else ():
                key = (self.arm.key(each), oracle.allowed, crashes)
                if key not in self._seen:
                    self._seen.add(key)
                    left[key] = (each, oracle.allowed, at)

        files = self.arm.enter(state, look, fail)
        self.evidence["states"] += 1
        try:
            storage = self.make(files)
            claim = begin_incarnation(storage, oracle, where)
            if len(allowed) > 1:
                kept = oracle.allowed[0] == allowed[1]
                self.evidence["claim in flight " + ("kept" if kept else "lost")] += 1
            if crashes:
                go_on(storage, oracle, claim, number, self.version)
            look("end")
        except InDoubtError:
            self.evidence["in doubt"] += 1
            look("in doubt")
        except (OSError, SpecError) as error:
            raise AssertionError(f"{at}: {error}") from error
        self.arm.leave(files)
        for each, outcomes, place in left.values():
            self.explore(each, outcomes, crashes - 1, number=number + 1, where=place)


def check_crashes(arm: Arm, make: Make, crashes: int = 2) -> Counter[str]:
    """A crash between any two operations, in every state it may leave, and again."""
    evidence = Counter[str]()
    for version in PLANS:
        explorer = Explorer(arm, make, version, evidence)
        explorer.explore(arm.begin({}), (NOTHING,), crashes)
    return evidence


class FailFrom:
    """Lets some operations pass, and fails those that come next: no space, or an I/O error."""

    def __init__(self, first: int, count: int) -> None:
        self.first = first
        self.count = count
        self.asked = 0

    def __call__(self, operation: str, _: str) -> Fault | None:
        self.asked += 1
        if not self.first < self.asked <= self.first + self.count:
            return None
        return "ENOSPC" if operation == "write" else "EIO"

    @property
    def fired(self) -> bool:
        return self.asked > self.first


def check_faults(arm: Arm, make: Make, in_a_row: Sequence[int]) -> Counter[str]:
    """Operations fail, once or more times in a row; then a crash at any moment after that."""
    explorer = Explorer(arm, make, 2)
    for count in in_a_row:
        faults = FailFrom(0, count)
        explorer.explore(arm.begin({}), (NOTHING,), 1, fail=faults)
        while faults.fired:
            faults = FailFrom(faults.first + arm.stride, count)
            explorer.explore(arm.begin({}), (NOTHING,), 1, fail=faults)
    return explorer.evidence


def finished(arm: Arm, make: Make) -> Any:
    """The files of a run that ended."""
    files = arm.enter(arm.begin({}), lambda _: None, no_faults)
    storage, oracle = make(files), StorageOracle()
    go_on(storage, oracle, begin_incarnation(storage, oracle, "start"), 0, 2)
    return files


def outcomes_of(version: int) -> list[Outcome]:
    """The claims of an undisturbed run, one checkpoint after the other."""
    oracle, claim = StorageOracle(), NOTHING[0]
    found = [NOTHING]
    for target in PLANS[version]:
        for save in saves(claim, target, 0, oracle.dropped):
            oracle.wrote(save)
        claim = target
        found.append(oracle.expected(claim))
    return found


def damages(data: bytes, step: int) -> Iterator[bytes]:
    """The ways in which a file can be damaged: cut, emptied, zeros, a hole, a byte changed."""
    yield from (data[:length] for length in (0, 1, len(data) // 2, len(data) - 1))
    yield bytes(len(data))
    yield data[: len(data) // 2].ljust(len(data), b"\0")
    for place in range(0, len(data), step):
        yield data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def load_of(arm: Arm, make: Make, state: Any) -> tuple[Outcome | str, tuple[str, ...]]:
    """The result of a load of a state, or the line of its refusal; and its notes."""
    storage = make(arm.enter(state, lambda _: None, no_faults))
    try:
        return outcome_of(storage.load()), storage.notes
    except StorageError as error:
        return str(error), storage.notes


def check_damage(arm: Arm, make: Make) -> Counter[str]:
    """A file damaged or missing: the last outcome, the one before with a note, or a refusal."""
    evidence, image = Counter[str](), arm.image(finished(arm, make))
    *_, before, last = outcomes_of(2)
    for name in image:
        broken = [{**image, name: data} for data in damages(image[name], 7 * arm.stride)]
        broken.append({other: data for other, data in image.items() if other != name})
        for each in broken:
            found, notes = load_of(arm, make, arm.begin(each))
            if isinstance(found, str):
                # With a checkpoint that is whole, only lost rows can stand in the way.
                assert name.startswith("rows"), f"{name} damaged: {found}"
                assert "\n" not in found
                evidence["refused"] += 1
            elif found == last:
                assert name == PREVIOUS or not notes
                evidence["went on"] += 1
            else:
                assert found == before, f"{name} damaged: found {found}"
                assert notes or name not in each, f"{name} damaged: fell back without a word"
                if evidence["fell back"] % 8 == 0:
                    Explorer(arm, make, 2).explore(arm.begin(each), (before,), 1, number=1)
                evidence["fell back"] += 1
    return evidence


def check_foreign(arm: Arm, make: Make) -> None:
    """Files of an older run, with its checkpoint or without, stay out of this one."""
    image = arm.image(finished(arm, make))
    rows = {name: data for name, data in image.items() if name.startswith("rows")}
    other = {name: reseal(data.replace(b"seed 7", b"seed 6")) for name, data in image.items()}
    first = min(rows)
    for what, files in {
        "another run": other,
        "rows of another run, without a checkpoint": {name: other[name] for name in rows},
        "a file of another run among ours": {**image, first: other[first]},
        "rows of another run beside ours": {**image, "rows-000009-000001.jsonl": other[first]},
    }.items():
        found, _ = load_of(arm, make, arm.begin(files))
        refused = isinstance(found, str) and "run: expected 'seed 7', got 'seed 6'" in found
        assert refused, f"{what}: {found}"
    # Rows of this very run that nothing counts any more are no part of it either.
    Explorer(arm, make, 2).explore(arm.begin(rows), (NOTHING,), 1, number=1)


@dataclass
class Beside:
    """Two processes on one folder: both load; then one works, and the other inside a step of it.

    Attributes:
        step: the step of the first process in which the second does all that it does; 0 for none.
        asked: how many steps the first process took.
        let_in: the storage of each process that was not refused, with its oracle.
        refused: the messages to the others.
        after: the storage of a process that comes when both are gone.
    """

    arm: Arm
    make: Make
    version: int
    step: int
    asked: int = 0
    let_in: list[tuple[Storage, StorageOracle]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        files = self.arm.enter(self.arm.begin({}), self._before, no_faults)
        for each in (files, self.arm.beside(files)):
            storage, oracle = self.make(each), StorageOracle()
            try:
                oracle.loaded(storage.load(), "both look")
                self.let_in.append((storage, oracle))
            except InUseError as error:
                self.refused.append(str(error))
        self.asked = 0
        go_on(*self.let_in[0], NOTHING[0], 0, self.version)
        for storage, _ in self.let_in:
            storage.close()
        self.after = self.make(self.arm.beside(files))

    def _before(self, _: str) -> None:
        self.asked += 1
        if self.asked == self.step and self.let_in[1:]:
            go_on(*self.let_in[1], NOTHING[0], 1, self.version)


def beside_each_step(arm: Arm, make: Make) -> Iterator[Beside]:
    for version in PLANS:
        step = 0
        while True:
            both = Beside(arm, make, version, step)
            yield both
            if both.asked < step:
                break
            step += arm.stride


def check_two_processes(arm: Arm, make: Make) -> Counter[str]:
    """A process that was let in keeps all its safe rows beside any other process."""
    evidence = Counter[str]()
    for both in beside_each_step(arm, make):
        for message in both.refused:
            assert f"in use by process {os.getpid()} on " in message
            evidence["refused"] += 1
        try:
            found = outcome_of(both.after.load())
        except StorageError as error:
            raise AssertionError(f"refused for good: {error}") from error
        for _, oracle in both.let_in:
            assert found in oracle.allowed
    return evidence


def check_unmixed(arm: Arm, make: Make) -> Counter[str]:
    """Where locks are worthless, the files of two processes are still kept apart."""
    evidence = Counter[str]()
    for both in beside_each_step(arm, make):
        assert not both.refused
        try:
            found = outcome_of(both.after.load())
        except StorageError:
            evidence["refused for good"] += 1
            continue
        assert found in [one for _, oracle in both.let_in for one in oracle.allowed]
        evidence["of one process"] += 1
    return evidence


def reseal(data: bytes) -> bytes:
    """A file with the checksum that its lines should have; written out here a second time."""
    body = data[: data.rstrip(b"\n").rfind(b"\n") + 1]
    digest = hashlib.blake2b(body, digest_size=16).hexdigest()
    return body + b'{"checksum":"' + digest.encode() + b'"}\n'
