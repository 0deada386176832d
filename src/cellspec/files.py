"""Writing files: whole or not at all, and only in place of files.

*Whole or not at all.* A reader must not meet half a file, even if the writer is killed at any
moment. So contents are first written to temporary names beside their targets and pushed to the
disk; when all of them are safe, each takes its name in one atomic step of the file system. A
failure before that point leaves the folder as it was. Between two of those steps the folder holds
files of two runs, each whole; a manifest that names the run's fingerprint shows the difference.
`write_files` does it for texts, `GrowingFile` for a file that is written while a run goes on.

*Only files are replaced.* A name that is a link, a pipe, a socket, a device or a folder is refused:
the user meant something else, and root can replace even ``/dev/null``. A temporary file is made
exclusively (``O_EXCL``, ``O_NOFOLLOW``), so that it cannot go through another user's file or link.

`open_log` is for a file that grows line by line, and may be cut off anywhere; `locked` keeps a
second process away from it.

Every wait for the disk is in this module. An output needs an order, its content before its name,
and `os.fsync` gives it; `sync_file` and `sync_folder` are for data that must survive a power cut.
Four writers take other steps than `write_files`, each for a reason:

===================================  =============================================================
writer                               why it is apart
===================================  =============================================================
``cellspec.engine.storage``          it survives a crash between any two steps, which the tests
                                     provoke on a model of a disk; it uses these two functions
``cellspec.engines.rows``            an adapter for task engines announces each step before it
                                     takes it, so that the suite can end it there; it uses them too
``simulations/releases``             it publishes a copy of a folder tree, a cache that may be lost
engines in ``plans`` and ``tests``   a user's engine and an independent one import nothing of ours
===================================  =============================================================
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO

from cellspec.errors import SpecError

__all__ = [
    "GrowingFile",
    "check_apart",
    "check_folder",
    "check_target",
    "is_same_file",
    "locked",
    "open_log",
    "path_of",
    "remove_leftovers",
    "sync_file",
    "sync_folder",
    "write_files",
]

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISLNK, "a link"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def path_of(given: str | Path) -> Path:
    """The path that a user gave; an empty text is refused, although `Path` reads it as ``.``.

    Raises:
        SpecError: the text is empty.
    """
    if given == "":
        raise SpecError("expected the name of a file or folder, got an empty text")
    return Path(given)


def check_folder(given: str | Path) -> None:
    """Refuse a folder that files cannot be written to, before the work is done.

    Args:
        given: the folder; it may be missing if a folder above it can hold it.

    Raises:
        SpecError: it, or one above it, is not a folder; it may not be written to; or the name is
            empty.
    """
    folder = path_of(given)
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
        _expect_to_hold_files(place)
    except OSError as error:
        raise SpecError(f"{folder}: cannot be written: {error.strerror}") from None


def check_target(given: str | Path) -> None:
    """Refuse a file that cannot be written, before the work is done.

    Raises:
        SpecError: its folder cannot be written to, its name is taken by something other than a
            file, or the name is empty; one line that says which.
    """
    path = path_of(given)
    check_folder(path.parent)
    try:
        _expect_file(path)
    except OSError as error:
        raise SpecError(f"{path}: cannot be written: {error.strerror}") from None


def check_apart(outputs: Sequence[Path], inputs: Sequence[Path] = ()) -> None:
    """Refuse an output that would replace an input, or another output.

    Raises:
        SpecError: one of them would; one line that names it.
    """
    for place, path in enumerate(outputs):
        if any(is_same_file(path, other) for other in inputs):
            raise SpecError(f"{path}: cannot be written: it is what is read")
        if any(is_same_file(path, other) for other in outputs[:place]):
            raise SpecError(f"{path}: cannot be written: two outputs have this name")


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, by links too; neither need be there yet."""
    try:
        return one.samefile(other)
    except OSError:
        # One of them is not there yet; both may be about to be.
        return os.path.realpath(one) == os.path.realpath(other)


def _expect_file(path: Path) -> None:
    """Refuse to replace, or to add to, anything but a regular file.

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


def _expect_to_hold_files(folder: Path) -> None:
    """Refuse a folder in which no file can be made, as ``/proc``, though its permissions allow it.

    Raises:
        OSError: none can be made; `strerror` says why.
    """
    probe = _temporary(folder / "probe")
    try:
        _create(probe).close()
        probe.unlink()
    except OSError as error:
        raise OSError(error.errno, f"no file can be made in {folder}: {error.strerror}") from None


def _create(path: Path) -> BinaryIO:
    """A new file, which must not be there, not even as a link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o666), "wb")


def _encoded(content: str | bytes) -> bytes:
    """The bytes of a file; half of a pair of code units, which UTF-8 cannot hold, as its escape."""
    return content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")


def _temporary(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")


def remove_leftovers(folder: Path, names: Iterable[str]) -> None:
    """Remove the temporary files that writers left who were killed; none may be at work.

    Args:
        folder: as of `write_files`.
        names: of the files that were to be written.

    Raises:
        OSError: storage refuses.
    """
    for name in names:
        for left in folder.glob(f".{name}.{'[0-9a-f]' * 12}.tmp"):
            left.unlink(missing_ok=True)


def write_files(
    folder: Path, contents: Mapping[str, str | bytes], *, instead_of: Iterable[str] = ()
) -> None:
    """Write files into a folder, which is made if it is not there; each whole or not at all.

    Args:
        folder: where they go. Files of the same name are replaced, others are left alone.
        contents: name to bytes, or to text, which is written as UTF-8 with the newlines that it
            has; a name may lead into a folder below.
        instead_of: names of files that are removed, as soon as the new ones are on the disk and
            before they take their names.

    Raises:
        SpecError: storage refused, or a name is taken by something other than a file; one line
            says which. Temporary files are removed.
    """
    for name in contents:
        try:
            _expect_file(folder / name)
        except OSError as error:
            raise SpecError(f"{folder / name}: cannot be written: {error.strerror}") from None
    written: dict[Path, Path] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            written[target] = temporary = _temporary(target)
            with _create(temporary) as file:
                file.write(_encoded(content))
                file.flush()
                os.fsync(file.fileno())
        for name in instead_of:
            (folder / name).unlink(missing_ok=True)
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
        _sync_names(place)


class GrowingFile:
    """A file that grows under another name, and takes its own when it is whole.

    Args:
        path: its name. A file that has it is replaced at the end.
        partial: the name under which it grows, if it is to be found when the writer dies; a file
            that an earlier writer left there is removed. The default is a random name.

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
            OSError: storage refused, or another process took one of the names meanwhile. The
                contents stay under the partial name.
        """
        self.file.flush()
        os.fsync(self.file.fileno())
        mine, there = os.fstat(self.file.fileno()), self.partial.lstat()
        self.file.close()
        if (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino):
            raise OSError(errno.EBUSY, "another process writes it too")
        _expect_file(self.path)
        self.partial.replace(self.path)
        _sync_names(self.path.parent)

    def abandon(self, *, keep: bool = False) -> None:
        """Give up. The contents are removed, or stay under the partial name.

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
        OSError: it cannot be opened, or the name is taken by something other than a file.
    """
    _expect_file(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o666), "ab")


@contextlib.contextmanager
def locked(file: IO[Any], *, wait: bool = False) -> Iterator[None]:
    """Hold a file that is open: no other process that asks in this way holds it meanwhile.

    The lock ends with the process, however that ends.

    Args:
        file: an open file.
        wait: until another process lets it go.

    Raises:
        OSError: another process holds it (`errno.EWOULDBLOCK`), or the file system has no locks.
    """
    import fcntl

    fcntl.flock(file.fileno(), fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    try:
        yield
    finally:
        fcntl.flock(file.fileno(), fcntl.LOCK_UN)


def sync_file(file: IO[Any]) -> None:
    """Return when the content of a file is durable; its name is not part of it.

    Args:
        file: an open file whose buffer is flushed.

    Raises:
        OSError: storage refused.
    """
    _sync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder are durable: new, renamed and removed ones.

    Raises:
        OSError: storage refused, or the file system cannot do it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        _sync(handle)
    finally:
        os.close(handle)


def _sync(handle: int) -> None:
    if sys.platform == "darwin":
        import fcntl

        # There fsync hands the data to the disk and does not wait until it is written.
        fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
    else:
        os.fsync(handle)


def _sync_names(folder: Path) -> None:
    """Make new names durable where the file system can; they are whole in any case."""
    with contextlib.suppress(OSError):
        sync_folder(folder)
