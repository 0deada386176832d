"""Files of the suite: each is whole or not there, whatever stops the writer and whenever."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from cellspec.errors import SpecError

__all__ = ["write_whole"]


def write_whole(folder: Path, contents: Mapping[str, str]) -> None:
    """Write text files into a folder, which is made if it is not there.

    All are written beside their places and pushed to the disk before the first takes its name.

    Args:
        folder: where they go.
        contents: name to text; a name may lead into a folder below.

    Raises:
        SpecError: storage refused; one line that says what. No temporary file is left.
    """
    written: dict[Path, Path] = {}
    try:
        for name, text in contents.items():
            target = folder / name
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
        raise SpecError(f"{folder}: cannot be written: {error.strerror}") from None
    finally:
        for temporary in written.values():
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
