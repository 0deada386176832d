"""The one place where outputs are written: whole or not at all, and to no place but their own.

*Whole or not at all.* A reader must never meet half a file, whatever kills the writer and whenever.
So contents are first written to temporary names beside their targets and pushed to the disk; only
when every one of them is safe does each take its name, in one atomic step of the file system. A
failure before that point leaves the folder as it was. Between two of those steps the folder holds
files of two runs, each whole; a manifest that names the run's fingerprint shows the difference.
`write_files` does it for texts, `GrowingFile` for what is written while a run goes on.

*To no place but their own.* What is replaced is a file, or nothing: a name that is a link, a pipe,
a socket, a device or a folder is refused, for whoever gave it meant something else, and root can
replace even ``/dev/null``. A temporary file is made exclusively (``O_EXCL``, ``O_NOFOLLOW``), so
that nobody else's file or link is ever written through.

`open_log` is for what is only added to, line by line, and may be cut off anywhere.

What an engine keeps while it runs, which must survive worse, is `cellspec.engine.storage.durable`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from cellspec.errors import SpecError

__all__ = ["GrowingFile", "check_apart", "check_folder", "check_target", "open_log", "write_files"]

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISLNK, "a link"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_folder(folder: Path) -> None:
    """Say now, and not after an hour's run, that files cannot be written to `folder`.

    Raises:
        SpecError: it, or what should hold it, is no folder, or may not be written to.
    """
    # Stat, not exists(): a folder that cannot be looked into must not count as absent.
    place = folder
    try:
        while not os.path.lexists(place) and place != place.parent:
            place = place.parent
        if not place.is_dir():
            what = "it" if place == folder else str(place)
            raise SpecError(f"{folder}: expected a folder, but {what} is no folder")
        if not os.access(place, os.W_OK | os.X_OK):
            raise SpecError(f"{folder}: cannot be written: no permission in {place}")
    except OSError as error:
        raise SpecError(f"{folder}: cannot be written: {error.strerror}") from None


def check_target(path: Path) -> None:
    """Say now that a file cannot be written, because of its folder or of what has its name.

    Raises:
        SpecError: it cannot; one line that says why.
    """
    check_folder(path.parent)
    try:
        _expect_file(path)
    except OSError as error:
        raise SpecError(f"{path}: cannot be written: {error.strerror}") from None


def check_apart(outputs: Sequence[Path], inputs: Sequence[Path] = ()) -> None:
    """Say now that an output would replace what is read, or another output.

    Raises:
        SpecError: it would; one line that names it.
    """
    for place, path in enumerate(outputs):
        if any(_is_same(path, other) for other in inputs):
            raise SpecError(f"{path}: cannot be written: it is what is read")
        if any(_is_same(path, other) for other in outputs[:place]):
            raise SpecError(f"{path}: cannot be written: two outputs have this name")


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        # One of them is not there yet; both may be about to be.
        return os.path.realpath(one) == os.path.realpath(other)


def _expect_file(path: Path) -> None:
    """Refuse to replace, or to add to, what is no regular file.

    Raises:
        OSError: something else has the name; `strerror` says what.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    for is_one, what in _KINDS:
        if is_one(mode):
            why = "" if is_one is stat.S_ISDIR else ", and only files are replaced"
            raise OSError(errno.EEXIST, f"it is {what}{why}")


def _create(path: Path) -> BinaryIO:
    """A new file, which must not be there, not even as a link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o666), "wb")


def _temporary(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")


def write_files(folder: Path, contents: Mapping[str, str]) -> None:
    """Write text files into a folder, which is made if it is not there; each whole or not at all.

    Args:
        folder: where they go. Files of the same name are replaced, others are left alone.
        contents: name to text, written as UTF-8 with the newlines that it has; a name may lead into
            a folder below.

    Raises:
        SpecError: storage refused, or a name is taken by something that is no file; one line that
            says what. No temporary file is left.
    """
    for name in contents:
        try:
            _expect_file(folder / name)
        except OSError as error:
            raise SpecError(f"{folder / name}: cannot be written: {error.strerror}") from None
    written: dict[Path, Path] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            written[target] = temporary = _temporary(target)
            with _create(temporary) as file:
                file.write(text.encode("utf-8"))
                file.flush()
                os.fsync(file.fileno())
        for target, temporary in written.items():
            temporary.replace(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SpecError(f"{folder}: cannot be written: {reason}") from None
    finally:
        for temporary in written.values():
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
    for place in dict.fromkeys((folder, *(target.parent for target in written))):
        _sync_folder(place)


class GrowingFile:
    """A file that grows under another name, and takes its own when it is whole.

    Args:
        path: its name. What has it is replaced at the end, if it is a file.
        partial: the name under which it grows, if that is to be found when the writer dies; what
            an earlier writer left there is removed. By default nobody knows it.

    Attributes:
        file: to be written to.

    Raises:
        OSError: it cannot be written; `strerror` says why.
    """

    def __init__(self, path: Path, *, partial: Path | None = None) -> None:
        self.path = path
        self.partial = _temporary(path) if partial is None else partial
        _expect_file(path)
        if partial is not None:
            _expect_file(partial)
            partial.unlink(missing_ok=True)
        self.file = _create(self.partial)

    def publish(self) -> None:
        """Put all of it on the disk, and give the file its name.

        Raises:
            OSError: storage refused, or another process took one of the names meanwhile. What was
                written stays under the partial name.
        """
        self.file.flush()
        os.fsync(self.file.fileno())
        mine, there = os.fstat(self.file.fileno()), self.partial.lstat()
        self.file.close()
        if (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino):
            raise OSError(errno.EBUSY, "another process writes it too")
        _expect_file(self.path)
        self.partial.replace(self.path)
        _sync_folder(self.path.parent)

    def abandon(self, *, keep: bool = False) -> None:
        """Give up. What was written goes, or stays under the partial name.

        Args:
            keep: whether it stays.
        """
        with contextlib.suppress(OSError):
            self.file.close()
        if not keep:
            with contextlib.suppress(OSError):
                self.partial.unlink(missing_ok=True)


def open_log(path: Path) -> BinaryIO:
    """Open a file to add to its end; it is made if it is not there.

    Raises:
        OSError: it cannot be opened, or the name is taken by something that is no file.
    """
    _expect_file(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o666), "ab")


def _sync_folder(folder: Path) -> None:
    """Make the new names durable; file systems that cannot are not asked twice."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
