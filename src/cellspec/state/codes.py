"""The state of a cell or barrier node as one byte, and the questions that may be asked of it.

A byte below `RANGED` is a countdown: how many of the nodes that this node waits for are still open,
so 0 is *ready*. Its high bit says that an input was skipped, so that the cell will be skipped and
not run: `SKIP_READY` is that bit and a count of 0. A byte from `RANGED` up is a state.

A barrier node that waits is `LAST_WAIT`; the number of cells that it waits for is kept beside it.

The codes are plain integers, because the steps of the machine and of the trackers compare them at
every event. They are compared in `cellspec.state` and `cellspec.machine`, and by a part outside
only if a function below does not answer its question; always by name.
"""

from __future__ import annotations

__all__ = [
    "BACKOFF",
    "CLAIMED",
    "DONE",
    "DROPPED",
    "DROPPED_BEHIND",
    "LAST_WAIT",
    "RANGED",
    "READY",
    "RUNNING",
    "SKIPPED",
    "SKIP_READY",
    "has_begun",
    "is_resolved",
    "is_to_be_skipped",
    "is_waiting",
    "may_begin",
]

READY = 0
LAST_WAIT = 1
"""One node is left to wait for; the next one that is resolved makes this one ready."""
SKIP_READY = 128
RANGED = 248
"""Part of a range in flight, which has not given it yet."""
BACKOFF = 249
"""Its last call failed or was cancelled, and it may be tried again."""
RUNNING = 250
DONE = 251
CLAIMED = 252
SKIPPED = 253
DROPPED = 254
DROPPED_BEHIND = 255
"""Dropped in an ordered column before its turn: the turn, when it comes, is handed to the next."""


def is_waiting(code: int) -> bool:
    """True if the node waits for others, and all its inputs so far have values."""
    return READY < code < SKIP_READY


def is_to_be_skipped(code: int) -> bool:
    """True if the cell is open, and will be skipped because an input of it was."""
    return SKIP_READY <= code < RANGED


def may_begin(code: int) -> bool:
    """True if the node could start: it is ready, or in backoff."""
    return code in (READY, BACKOFF)


def has_begun(code: int) -> bool:
    """True if the node runs or is resolved."""
    return code >= RANGED and code != BACKOFF


def is_resolved(code: int) -> bool:
    """True if the node is complete, claimed, skipped or dropped."""
    return code >= DONE
