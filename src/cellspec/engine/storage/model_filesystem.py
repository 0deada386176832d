"""A model of a file system: its failures, and every state that a loss of power can leave on disk.

A program whose data must survive relies on the promises of a file system, and these are few. A
write goes to a cache, and from there to disk in blocks, in any order and at any time; the name of a
new file is data of its folder and needs a sync of its own. A test on a real disk hides all of this.
`ModelFileSystem` shows it: after any sequence of operations it gives every state in which a loss of
power might leave the disk.

=============================  ==================================================================
the model covers
=============================  ==================================================================
pending data                   data that was written and not synced survives, or not
torn write                     of one write any blocks may survive without the others: the rest
                               is zeros, or missing from the end on. Of four blocks every subset
                               is tried; of more the first so many, all but one, only the last
length without data            the file has its new length, and holds zeros
lost truncation                a file that is written over holds its old content, or is empty, or
                               holds some blocks of the new; blocks of both are left out
lost entry                     a new name, a rename or a removal is undone without the folder's
                               sync, each on its own, however the data fared
killed process                 the cache stays visible, and may still be lost by a later loss of
                               power (go on with the same object)
no space (ENOSPC)              a write ends early; the part that was written stays
I/O error (EIO)                an operation fails. After a failed *sync* pending data may be lost
                               for good, although it reads well and a later sync succeeds
short or stale read            a read gives the first half, or the content before the last write
=============================  ==================================================================

=============================  ==================================================================
the model leaves out
=============================  ==================================================================
damage at rest                 synced data stays; tests damage files by hand
a disk that lies               a sync that returns has happened
half a rename                  a rename happens whole or not at all
blocks of two versions         see *lost truncation*
folders within folders         one folder holds all; `RealFileSystem` makes it, durably
other processes                they see one cache, and one lock (`beside`); their operations follow
                               one another. Permissions, links and quotas are left out
time                           an operation takes 0 s
=============================  ==================================================================
"""

from __future__ import annotations

import copy
import errno
import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final, Literal, TypeAlias, TypeVar

from cellspec.engine.storage.filesystem import BeforeStep
from cellspec.machine.actions import Choose

__all__ = ["Fault", "Image", "ModelFileSystem", "every_choice"]

T = TypeVar("T")

Image: TypeAlias = Mapping[str, bytes]
"""What a disk holds: content by name, in the order of the names."""

Fault: TypeAlias = Literal["EIO", "ENOSPC", "short", "stale"]
"""How an operation of the model fails; "short" and "stale" are for reads, and raise nothing."""

_MAX_SUBSETS: Final = 4
"""Up to so many pending blocks every subset is tried; beyond, those that programs trip over."""


@dataclass(slots=True)
class _Write:
    """One block on its way to a file, or (data None) a truncation of the file to length 0."""

    offset: int
    data: bytes | None
    doomed: bool = False  # a sync of it failed: no later sync brings it to disk


@dataclass(slots=True, eq=False)
class _File:
    """A file: the content on disk, the writes on their way there, and the content for a reader."""

    durable: bytes = b""
    seen: bytes = b""
    pending: list[_Write] = field(default_factory=list)

    def put(self, data: bytes, block: int) -> None:
        """Add to the end, block by block."""
        at = len(self.seen)
        self.seen += data
        while at < len(self.seen):
            end = min(len(self.seen), at - at % block + block)
            self.pending.append(_Write(at, self.seen[at:end]))
            at = end

    def truncate(self) -> None:
        self.seen = b""
        self.pending.append(_Write(0, None))

    def sync(self) -> None:
        healthy = [write for write in self.pending if not write.doomed]
        last = max((i for i, write in enumerate(healthy) if write.data is None), default=-1)
        base = b"" if last >= 0 else self.durable
        self.durable = _overlaid(base, healthy[last + 1 :])
        # Doomed blocks are as uncertain as ever, unless a truncation that is on disk ended them.
        self.pending = [] if last >= 0 else [write for write in self.pending if write.doomed]

    def survivors(self) -> list[bytes]:
        """Every content in which a loss of power may leave this file, from empty to whole."""
        found: dict[bytes, None] = {}
        base, blocks = self.durable, list[_Write]()
        for write in [*self.pending, None]:
            if write is not None and write.data is not None:
                blocks.append(write)
                continue
            found.setdefault(base)
            found.setdefault(base.ljust(len(_overlaid(base, blocks)), b"\0"))
            for kept in _subsets(blocks):
                found.setdefault(_overlaid(base, kept))
            whole = _overlaid(base, blocks)
            base, blocks = b"", []
        # A content that came up before may be that of a file that lost nothing.
        found.pop(whole, None)
        return [*found, whole]


@dataclass(slots=True)
class _Entry:
    """A change of the folder: `name` now means `file`; of a rename it was called `source`."""

    name: str
    file: _File | None
    source: str = ""
    doomed: bool = False

    def apply(self, folder: dict[str, _File]) -> None:
        if self.file is None:
            folder.pop(self.name, None)
            return
        if folder.get(self.source) is self.file:
            del folder[self.source]
        folder[self.name] = self.file

    def __str__(self) -> str:
        verb = "remove" if self.file is None else "rename to" if self.source else "create"
        return f"{verb} {self.name}"


class ModelFileSystem:
    """A file system that lists the states a loss of power would leave; the module has the model.

    Args:
        image: the files at the start, durable.
        block: bytes of one block, the unit in which a write is torn.
        before_step: called before each operation.
        fault: asked, with an operation's name and its file, whether and how it fails.
    """

    def __init__(
        self,
        image: Image | None = None,
        *,
        block: int = 512,
        before_step: BeforeStep | None = None,
        fault: Callable[[str, str], Fault | None] | None = None,
    ) -> None:
        self.block = block
        self.writer = ""
        self.before_step = before_step or (lambda _: None)
        self.fault = fault or (lambda *_: None)
        self._disk = {name: _File(data, data) for name, data in (image or {}).items()}
        self._cache = dict(self._disk)
        self._entries: list[_Entry] = []
        self._holder: list[tuple[ModelFileSystem, str]] = []
        self._older: dict[str, bytes | None] = {}

    def fork(self) -> ModelFileSystem:
        """The same state, cache and all, without hooks: the one that a killed process leaves.

        Its lock is free.
        """
        twin = ModelFileSystem(block=self.block)
        state = (self._disk, self._cache, self._entries, self._older)
        # In one go, so that a file that several of them hold stays one file.
        twin._disk, twin._cache, twin._entries, twin._older = copy.deepcopy(state)
        return twin

    def beside(self, writer: str) -> ModelFileSystem:
        """The same folder as another process sees it: one cache, one disk, and one lock for both.

        Args:
            writer: the text that the other process puts into the names of its files.
        """
        other = ModelFileSystem(block=self.block)
        other.writer = writer
        other._disk, other._cache = self._disk, self._cache
        other._entries, other._older, other._holder = self._entries, self._older, self._holder
        return other

    def lock(self, owner: str) -> str | None:
        if not self._holder:
            self._holder.append((self, owner))
        holder, name = self._holder[0]
        return None if holder is self else name

    def unlock(self) -> None:
        if self._holder and self._holder[0][0] is self:
            self._holder.clear()

    # What a loss of power leaves

    def crash(self, choose: Choose) -> Image:
        """The disk after a loss of power at this moment, as `choose` decides."""
        folder = dict(self._disk)
        for entry in self._entries:
            if choose(f"entry: {entry}", (False, True)):
                entry.apply(folder)
        return {
            name: choose(f"content: {name}", folder[name].survivors()) for name in sorted(folder)
        }

    def survivors(self) -> list[Image]:
        """Every different state in which a loss of power may leave the disk; for small programs."""
        found = {tuple(image.items()): image for image in every_choice(self.crash)}
        return list(found.values())

    def key(self) -> Hashable:
        """A key that is equal for states which behave alike from here on."""
        files = list(dict.fromkeys([*self._disk.values(), *self._cache.values()]))
        files += [e.file for e in self._entries if e.file is not None and e.file not in files]
        place = {file: index for index, file in enumerate(files)}
        return (
            tuple((file.durable, file.seen, tuple(map(repr, file.pending))) for file in files),
            tuple((name, place[file]) for name, file in self._disk.items()),
            tuple((name, place[file]) for name, file in self._cache.items()),
            tuple((str(e), e.source, e.doomed, e.file and place[e.file]) for e in self._entries),
        )

    def image(self) -> Image:
        """The content of each file, as a reader sees it."""
        return {name: self._cache[name].seen for name in sorted(self._cache)}

    # Operations

    def write(self, name: str, data: bytes) -> None:
        fault = self._step("write", name)
        self._older[name] = self._seen(name)
        if name in self._cache:
            self._cache[name].truncate()
        else:
            self._cache[name] = file = _File()
            self._entries.append(_Entry(name, file))
        self._put(name, data, fault)

    def append(self, name: str, data: bytes) -> None:
        fault = self._step("append", name)
        self._find(name)
        self._older[name] = self._seen(name)
        self._put(name, data, fault)

    def _put(self, name: str, data: bytes, fault: Fault | None) -> None:
        self._cache[name].put(data[: len(data) // 2] if fault else data, self.block)
        _raise(fault, name)

    def read(self, name: str) -> bytes:
        fault = self._step("read", name)
        data = self._find(name).seen
        if fault == "short":
            return data[: len(data) // 2]
        if fault == "stale":
            older = self._older.get(name, data)
            if older is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
            return older
        _raise(fault, name)
        return data

    def replace(self, source: str, target: str) -> None:
        _raise(self._step("replace", target), target)
        file = self._find(source)
        self._older[target] = self._seen(target)
        self._older[source] = file.seen
        if source != target:
            self._change(_Entry(target, file, source))

    def remove(self, name: str) -> None:
        _raise(self._step("remove", name), name)
        self._find(name)
        self._change(_Entry(name, None))

    def _change(self, entry: _Entry) -> None:
        entry.apply(self._cache)
        self._entries.append(entry)

    def sync_file(self, name: str) -> None:
        fault = self._step("sync", name)
        file = self._find(name)
        for write in file.pending:
            write.doomed |= fault is not None
        _raise(fault, name)
        file.sync()

    def sync_folder(self) -> None:
        fault = self._step("sync", "folder")
        for entry in self._entries:
            entry.doomed |= fault is not None
        _raise(fault, "folder")
        kept: list[_Entry] = []
        for entry in self._entries:
            if entry.doomed:
                kept.append(entry)
            else:
                # What is on disk now ends the uncertainty about earlier changes of the name.
                kept = [other for other in kept if other.name not in (entry.name, entry.source)]
                entry.apply(self._disk)
        self._entries[:] = kept

    def names(self) -> list[str]:
        _raise(self._step("list", "folder"), "folder")
        return sorted(self._cache)

    def exists(self, name: str) -> bool:
        _raise(self._step("look for", name), name)
        return name in self._cache

    def _step(self, operation: str, name: str) -> Fault | None:
        self.before_step(f"{operation} {name}")
        return self.fault(operation, name)

    def _find(self, name: str) -> _File:
        if name not in self._cache:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return self._cache[name]

    def _seen(self, name: str) -> bytes | None:
        return self._cache[name].seen if name in self._cache else None


def _raise(fault: Fault | None, name: str) -> None:
    if fault is not None:
        number = errno.ENOSPC if fault == "ENOSPC" else errno.EIO
        raise OSError(number, os.strerror(number), name)


def _overlaid(base: bytes, blocks: list[_Write]) -> bytes:
    """`base` with some blocks written over it; a gap between them reads as zeros."""
    data = bytearray(base)
    for write in blocks:
        piece = write.data or b""
        data.extend(bytes(max(0, write.offset - len(data))))
        data[write.offset : write.offset + len(piece)] = piece
    return bytes(data)


def _subsets(blocks: list[_Write]) -> Iterator[list[_Write]]:
    """Which blocks survive: every subset of a few; of many, all but one, and the first so many."""
    count = len(blocks)
    if count <= _MAX_SUBSETS:
        for size in range(count + 1):
            yield from map(list, combinations(blocks, size))
        return
    for size in range(count + 1):
        yield blocks[:size]
    for lost in range(count):
        yield blocks[:lost] + blocks[lost + 1 :]
    yield blocks[-1:]


def every_choice(run: Callable[[Choose], T]) -> Iterator[T]:
    """The results of `run` for every sequence of answers that its questions allow.

    `run` must ask the same questions for the same answers. The last question varies fastest.
    """
    path: list[int] = []
    while True:
        asked: list[tuple[int, int]] = []
        yield run(_Replay(path, asked))
        while asked and asked[-1][0] + 1 == asked[-1][1]:
            asked.pop()
        if not asked:
            return
        path = [answer for answer, _ in asked]
        path[-1] += 1


@dataclass(slots=True)
class _Replay:
    """Answers a run's questions along a path, and then with the first option."""

    path: list[int]
    asked: list[tuple[int, int]]

    def __call__(self, label: str, options: Sequence[T], /) -> T:  # noqa: ARG002 - of the protocol
        place = len(self.asked)
        answer = self.path[place] if place < len(self.path) else 0
        self.asked.append((answer, len(options)))
        return options[answer]
