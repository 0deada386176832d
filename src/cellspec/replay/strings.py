"""Replay strings: a trace or a case file as one line of text, to be pasted into a message."""

from __future__ import annotations

import base64
import binascii
import zlib

from cellspec.errors import SpecError

__all__ = ["PREFIX", "from_string", "to_string"]

PREFIX = "cellspec1."
"""What a replay string begins with; the number is that of its format."""

_STRING_BYTES_MAX = 1 << 22
"""A replay string that unpacks to more than this is refused: it is no small failure."""


def to_string(text: str) -> str:
    """One line of text that `cellspec.replay.source.read_source` takes in place of a file.

    Args:
        text: the file's content.
    """
    packed = base64.urlsafe_b64encode(zlib.compress(text.encode(), 9))
    return PREFIX + packed.decode().rstrip("=")


def from_string(line: str) -> bytes:
    """The content of the file that a replay string holds.

    Raises:
        SpecError: the string is damaged, or unpacks to more than 4 MiB.
    """
    body = line.removeprefix(PREFIX).strip()
    try:
        packed = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        unzip = zlib.decompressobj()
        data = unzip.decompress(packed, _STRING_BYTES_MAX)
    except (binascii.Error, ValueError, zlib.error):
        raise SpecError("replay string: is damaged; copy the whole line") from None
    if not unzip.eof:
        raise SpecError("replay string: is damaged or too long; copy the whole line, or the file")
    return data
