"""Torn writes: a process dies in the middle of an operation on a file of its folder.

A process is killed at any byte, and at no step that it announced. `FileWatch` sees the operations
that Python code does on files in the folder of an incarnation, as an audit hook of the interpreter,
so no part of the engine is replaced. At the operation that the workload names the process dies:

- a *write* is half there: of the bytes that were written since the watch last looked, the first
  half is in the folder that the next process finds. That may be half of a line that was appended,
  or half of a file that was opened anew, whatever it held before;
- a *rename*, a removal or another change of names is not done, and its temporary file is left over.

The watch looks at the files before each event of the run and before each operation, and what it saw
then stays: so bytes that were there before a report (`durable`, `committed`, `checkpoint_durable`)
are never torn, unless the engine opens the file anew and writes over them. Between two looks a
process does nothing else, so it may have died in the middle of what it wrote there. A write counts
if its order is known: exactly one file changed, from its end on or from its beginning. Files that
native code opens (a database, an exporter), and those of other processes, are left as they are.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

__all__ = ["FileWatch", "watched"]

_AT_ONCE = {
    "os.rename": (2, "rename to"),
    "os.remove": (1, "removal of"),
    "os.truncate": (1, "cut of"),
    "os.link": (2, "link to"),
    "os.mkdir": (1, "making of"),
    "os.rmdir": (1, "removal of"),
}
"""Audit events of operations that are done or not: how many paths they name, and words."""

_MOVES = frozenset(("os.rename", "os.remove"))
_TO_WRITE = os.O_WRONLY | os.O_RDWR
_RANDOM = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{8,}|(?<=tmp)\w{8}")
"""Parts of names that differ between two equal runs."""


@dataclass(slots=True)
class _Written:
    """A file that the process has opened to write: its content when the watch last looked.

    Attributes:
        anew: it was opened anew since then, and its old content is gone.
        inode: the file that had the name then; 0 for none.
    """

    content: bytes = b""
    anew: bool = False
    inode: int = 0


class FileWatch:
    """The operations on files of one incarnation. See `cellspec.conformance.run.torn_writes`.

    Args:
        folder: the folder of the incarnation.
        number: the operation in whose middle the process dies, from 1, once the watch is armed.

    Attributes:
        lock: held while the watch looks; the recorder's.
        die: ends the process, with the reason in words; it raises.
        died_at: the kind of operation in whose middle the process died: ``"write"``,
            ``"rename"`` …; "" if it did not.
        where: the same in words, with the name of the file.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self.lock = RLock()
        self.die: Callable[[str], object] = lambda _: None
        self.died_at = self.where = ""
        self._roots = tuple({f"{folder.absolute()}{os.sep}", f"{folder.resolve()}{os.sep}"})
        self._process = os.getpid()
        self._left = number
        self._armed = False
        self._files: dict[str, _Written] = {}
        self._torn: tuple[str, bytes] | None = None

    def arm(self) -> None:
        """Count operations from here on."""
        with self.lock:
            self._armed = True
            for path, file in self._files.items():
                _read(path, file)

    def disarm(self) -> None:
        """The process is gone, of this or of something else: what it still does counts no more."""
        self._armed = False

    def look(self) -> None:
        """Count the write that ended since the last look, if there was one; it may be the one."""
        if not self._armed or self.died_at:
            return
        with self.lock:
            changed = []
            for path, file in self._files.items():
                before, anew = file.content, file.anew
                if _read(path, file):
                    changed.append((path, file.content, b"" if anew else before))
            if len(changed) == 1:
                path, content, before = changed[0]
                if content.startswith(before):
                    self._torn = path, content[: (len(before) + len(content)) // 2]
                    self._count("write", "write to", path)
                    self._torn = None

    def tear(self, folder: Path) -> None:
        """Leave half of the last write in a copy of the folder, made when the process died."""
        if self._torn is not None:
            path, content = self._torn
            (folder / self._name(path)).write_bytes(content)

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take an audit event of the interpreter, before what it tells of is done."""
        count, words = _AT_ONCE.get(event, (1, ""))
        paths = [path for path in map(self._inside, arguments[:count]) if path]
        if not paths or (not words and not arguments[2] & _TO_WRITE):
            return
        if os.getpid() != self._process:
            # A child that was forked from it is another process, with another copy of the lock.
            return
        with self.lock:
            if self.died_at:
                # Other threads go on once the folder is copied as it was at the death.
                return
            self.look()
            if not words:
                self._note_open(paths[0], anew=bool(arguments[2] & os.O_TRUNC))
                return
            if self._armed:
                self._count(event.partition(".")[2], words, paths[-1])
            for path in paths if event in _MOVES else ():
                self._files.pop(path, None)

    def _note_open(self, path: str, *, anew: bool) -> None:
        if path not in self._files:
            self._files[path] = _Written()
            if self._armed:
                _read(path, self._files[path])
        if anew:
            self._files[path].anew = True

    def _count(self, kind: str, words: str, path: str) -> None:
        self._left -= 1
        if not self._left:
            self.died_at = kind
            self.where = f"in the middle of the {words} {_RANDOM.sub('…', self._name(path))}"
            self.die(self.where)

    def _inside(self, path: Any) -> str:
        """The path of a file in the folder; "" for any other."""
        if not isinstance(path, str | bytes | os.PathLike):
            return ""
        found = os.path.normpath(os.fsdecode(path))
        return found if found.startswith(self._roots) else ""

    def _name(self, path: str) -> str:
        root = next(root for root in self._roots if path.startswith(root))
        return path.removeprefix(root)


def _read(path: str, file: _Written) -> bool:
    """Take the content of a file as it is now; true if the process has written to it."""
    try:
        status = Path(path).stat()
        moved = file.inode not in (0, status.st_ino)
        # A change in the middle of a file leaves its size; in which order is not known.
        if status.st_size == len(file.content) and not moved and not file.anew:
            return False
        content = Path(path).read_bytes()
    except OSError:
        return False
    written = not moved and bool(content) and (file.anew or content != file.content)
    # What was opened anew and is empty so far is still to be written.
    file.anew = file.anew and not content
    file.content, file.inode = content, status.st_ino
    return written


_watches: list[FileWatch] = []
_hooked = False


@contextmanager
def watched(watch: FileWatch | None) -> Iterator[None]:
    """Let a watch see what this process does with files, while the block runs."""
    global _hooked
    if watch is None:
        yield
        return
    if not _hooked:
        # An audit hook stays for good, so there is one for all watches.
        sys.addaudithook(_audit)
        _hooked = True
    _watches.append(watch)
    try:
        yield
    finally:
        _watches.remove(watch)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _watches and (event == "open" or event in _AT_ONCE):
        for watch in tuple(_watches):
            watch.see(event, arguments)
