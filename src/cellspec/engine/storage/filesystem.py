"""The few file operations that storage needs, and their implementation on a real folder.

A file system is one folder of files; names have no separators. Each operation is a step: before
it, `before_step` is called with a name such as ``"sync checkpoint.json"``. An exception of that
call takes the place of the operation, so a harness can stop a program between any two operations,
or make any of them fail. `cellspec.engine.storage.model_filesystem` has the same operations on a
model of the states that a crash can leave behind.
"""

from __future__ import annotations

import os
import secrets
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final, Protocol, TypeAlias

from cellspec.files import sync_file, sync_folder

__all__ = ["LOCK", "BeforeStep", "FileSystem", "RealFileSystem"]

LOCK: Final = "lock"
"""The file that names the process that works on a folder; empty if the folder is free."""

BeforeStep: TypeAlias = Callable[[str], object]
"""Called with the name of the operation that comes next."""


class FileSystem(Protocol):
    """One folder of files, as one process sees it. Every operation may raise `OSError`.

    Attributes:
        writer: a text in the names of new files that differs between processes; "" where there is
            one process alone.
    """

    writer: str

    def lock(self, owner: str) -> str | None:
        """Keep every other process out, until `unlock` or the death of this one.

        It is outside of the steps, since a lock need not survive a crash.

        Args:
            owner: how messages of other processes name this one.

        Returns:
            The name of the process that has the folder; None if this one has it now.
        """
        ...

    def unlock(self) -> None:
        """Let other processes in, if this one has the lock."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Make a file with this content, or give a file that is there this content."""
        ...

    def append(self, name: str, data: bytes) -> None:
        """Add to the end of a file that is there."""
        ...

    def read(self, name: str) -> bytes:
        """The whole content of a file."""
        ...

    def replace(self, source: str, target: str) -> None:
        """Rename a file, in place of one that had the name before, in one atomic step."""
        ...

    def remove(self, name: str) -> None:
        """Take a name away."""
        ...

    def sync_file(self, name: str) -> None:
        """Return when the content of the file is durable. Its name is not part of it."""
        ...

    def sync_folder(self) -> None:
        """Return when the names of the folder are durable: new, renamed and removed ones."""
        ...

    def names(self) -> list[str]:
        """All names, sorted, without that of the lock."""
        ...

    def exists(self, name: str) -> bool:
        """True if there is a file of this name."""
        ...


_OWNER_MAX = 1_000


class RealFileSystem:
    """A folder of the operating system (POSIX).

    A file that was written stays open until it is synced: an error that the system met while
    writing back is reported for certain only to a handle that was open at the time.

    The lock is `flock` on a file that stays: the system releases it with the process that holds it,
    however that dies, so a dead owner's lock is simply free. A process that is forked from it lets
    go of its copy of the lock at once, and cannot free it. A folder on a file system without locks
    is refused.

    Args:
        root: the folder. If it is missing it is made, with its parents, and made durable.
        before_step: called before each operation.
    """

    def __init__(self, root: Path, *, before_step: BeforeStep | None = None) -> None:
        self.root = root
        self._before = before_step or (lambda _: None)
        self.writer = secrets.token_hex(4)
        self._open: dict[str, BinaryIO] = {}
        self._lock: BinaryIO | None = None
        if not root.is_dir():
            missing = [folder for folder in (root, *root.parents) if not folder.exists()]
            root.mkdir(parents=True, exist_ok=True)
            for folder in missing:
                sync_folder(folder.parent)

    def close(self) -> None:
        """Close what was written and not synced, and let other processes in."""
        while self._open:
            self._open.popitem()[1].close()
        self.unlock()

    def lock(self, owner: str) -> str | None:
        import fcntl

        if self._lock is not None:
            return None
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        file = os.fdopen(os.open(self.root / LOCK, flags, 0o666), "r+b", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with file:
                return file.read(_OWNER_MAX).decode(errors="replace") or "a process without a name"
        except OSError:
            file.close()
            raise
        file.truncate(0)
        file.write(owner.encode())
        self._lock = file
        _LOCKED.add(self)
        return None

    def unlock(self) -> None:
        if self._lock is not None:
            file, self._lock = self._lock, None
            with file:
                file.truncate(0)

    def _forked(self) -> None:
        """In a child: the lock is the parent's, and must end with it."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def write(self, name: str, data: bytes) -> None:
        self._before(f"write {name}")
        self._forget(name)
        # Kept open on purpose; see the class. Unbuffered, so that an error shows here.
        file = (self.root / name).open("wb", buffering=0)
        self._open[name] = file
        self._write_all(name, data)

    def append(self, name: str, data: bytes) -> None:
        self._before(f"append {name}")
        if name not in self._open:
            file = (self.root / name).open("r+b", buffering=0)
            file.seek(0, os.SEEK_END)
            self._open[name] = file
        self._write_all(name, data)

    def _write_all(self, name: str, data: bytes) -> None:
        view = memoryview(data)
        while view:
            # The system may take less than it was given; what it left is offered again.
            view = view[self._open[name].write(view) :]

    def read(self, name: str) -> bytes:
        self._before(f"read {name}")
        return (self.root / name).read_bytes()

    def replace(self, source: str, target: str) -> None:
        self._before(f"replace {target}")
        self._forget(source)
        self._forget(target)
        (self.root / source).replace(self.root / target)

    def remove(self, name: str) -> None:
        self._before(f"remove {name}")
        self._forget(name)
        (self.root / name).unlink()

    def sync_file(self, name: str) -> None:
        self._before(f"sync {name}")
        if name in self._open:
            with self._open.pop(name) as file:
                sync_file(file)
        else:
            with (self.root / name).open("r+b", buffering=0) as file:
                sync_file(file)

    def sync_folder(self) -> None:
        self._before("sync folder")
        sync_folder(self.root)

    def names(self) -> list[str]:
        self._before("list folder")
        with os.scandir(self.root) as entries:
            return sorted(entry.name for entry in entries if entry.is_file() and entry.name != LOCK)

    def exists(self, name: str) -> bool:
        self._before(f"look for {name}")
        return (self.root / name).is_file()

    def _forget(self, name: str) -> None:
        if name in self._open:
            self._open.pop(name).close()


_LOCKED: Final[weakref.WeakSet[RealFileSystem]] = weakref.WeakSet()
"""Folders that this process has locked, or had."""


def _let_go_in_child() -> None:
    for files in list(_LOCKED):
        files._forked()
    _LOCKED.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)
