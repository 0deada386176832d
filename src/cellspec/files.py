"""Files that are whole or not there: how results and reports reach a folder.

A reader must never meet half a file, whatever kills the writer and whenever. So all contents are
first written to temporary names beside their targets and pushed to the disk; only when every one of
them is safe does each take its name, in one atomic step of the file system. A failure before that
point leaves the folder as it was. Between two of those steps the folder holds files of two runs,
each whole; a manifest that names the run's fingerprint shows the difference.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from cellspec.errors import SpecError

__all__ = ["check_folder", "write_files"]


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


def write_files(folder: Path, contents: Mapping[str, str]) -> None:
    """Write text files into a folder, which is made if it is not there; each whole or not at all.

    Args:
        folder: where they go. Files of the same name are replaced, others are left alone.
        contents: name to text, written as UTF-8 with the newlines that it has; a name may lead into
            a folder below.

    Raises:
        SpecError: storage refused; one line that says what. No temporary file is left.
    """
    written: dict[Path, Path] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            target = folder / name
            if target.is_dir():
                raise SpecError(f"{target}: cannot be written: it is a folder")
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
            written[target] = temporary
            with temporary.open("xb") as file:
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


def _sync_folder(folder: Path) -> None:
    """Make the new names durable; file systems that cannot are not asked twice."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
