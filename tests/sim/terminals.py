"""A terminal on which a command of a test prints."""

from __future__ import annotations

import os

__all__ = ["rest_of"]


def rest_of(terminal: int) -> bytes:
    """What is still to be read of a terminal whose other end is closed; it is closed too."""
    text = b""
    while True:
        try:
            more = os.read(terminal, 1000)
        except OSError:
            # So Linux says that nobody writes to it any more.
            break
        if not more:
            break
        text += more
    os.close(terminal)
    return text
