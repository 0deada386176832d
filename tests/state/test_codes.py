"""The questions that may be asked of a state, for every state."""

from __future__ import annotations

from cellspec.state.codes import (
    BACKOFF,
    CLAIMED,
    DONE,
    DROPPED,
    DROPPED_BEHIND,
    LAST_WAIT,
    RANGED,
    READY,
    RUNNING,
    SKIP_READY,
    SKIPPED,
    has_begun,
    is_resolved,
    is_to_be_skipped,
    is_waiting,
    may_begin,
)

STATES = [RANGED, BACKOFF, RUNNING, DONE, CLAIMED, SKIPPED, DROPPED, DROPPED_BEHIND]


def test_each_byte_is_a_countdown_or_one_state() -> None:
    assert (READY, LAST_WAIT, SKIP_READY) == (0, 1, 128)
    assert list(range(RANGED, 256)) == STATES
    resolved = {DONE, CLAIMED, SKIPPED, DROPPED, DROPPED_BEHIND}
    for code in range(256):
        assert is_waiting(code) == (1 <= code <= 127)
        assert is_to_be_skipped(code) == (128 <= code <= 247)
        assert may_begin(code) == (code in {READY, BACKOFF})
        assert has_begun(code) == (code in {RANGED, RUNNING, *resolved})
        assert is_resolved(code) == (code in resolved)
