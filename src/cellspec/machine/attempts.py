"""The attempts of a node: which number a call has, and when the last one is spent."""

from __future__ import annotations

from cellspec.graph.nodes import (
    NodeKey,
    column_of,
    is_barrier_key,
    place_of,
)
from cellspec.machine.actions import Failure
from cellspec.machine.calls import is_in_flight
from cellspec.machine.policy import is_final
from cellspec.machine.run_state import FAILED, RunningRange, RunState
from cellspec.text import counted, noun

__all__ = [
    "expect_attempt",
    "expect_attempt_of_range",
    "fails_for_good",
    "is_wrong_attempt",
    "refuse_attempt",
]

_FORGET_ABOVE = 1024


def is_wrong_attempt(run: RunState, key: NodeKey, attempt: int | None) -> bool:
    """True if the engine numbers the next attempt of a node otherwise than it is."""
    spent = run.attempts.get(key, 0)
    if attempt is None or spent == FAILED:
        return False
    if key in run.uncounted:
        # It was lost, and its attempts were forgotten before: the engine's number is the right one.
        run.uncounted.discard(key)
        run.attempts[key] = max(attempt - 1, 0)
        return False
    return attempt != 1 + spent


def refuse_attempt(run: RunState, key: NodeKey, attempt: int | None) -> None:
    """Refuse a start with a wrong number (clause FAIL-01)."""
    assert attempt is not None
    spent = run.attempts.get(key, 0)
    run.breaks(
        "FAIL-01",
        f"{run.where(key)} starts as attempt {attempt}, but {counted(spent, 'attempt')} "
        f"{noun(spent, 'was', 'were')} spent in this incarnation: expected {spent + 1}",
    )
    # Not judged: then it is the engine's count that its next attempts go on from.
    run.attempts[key] = max(attempt - 1, 0)


def expect_attempt(run: RunState, key: NodeKey, attempt: int) -> None:
    """Refuse the end of another attempt than the one that is in flight (clause FAIL-05)."""
    spent = run.attempts.get(key, 0)
    expected = 1 + spent
    # After a start that broke a clause and was let pass, nobody can tell which call ends.
    if attempt != expected and spent != FAILED and key not in run.strays:
        run.breaks(
            "FAIL-05",
            f"attempt {attempt} of {run.where(key)} ends, but attempt {expected} is in flight",
        )


def expect_attempt_of_range(
    run: RunState, column: int, ranged: RunningRange, attempt: int | None
) -> None:
    """The same for all rows that a range has not given yet."""
    if attempt is None:
        return
    for row in range(ranged.start, ranged.stop):
        if row not in ranged.given:
            expect_attempt(run, (column, row), attempt)


def fails_for_good(run: RunState, key: NodeKey, failure: Failure) -> bool:
    """Count the failure of a node; True if it was its last."""
    if run.taken_back:
        run.taken_back.pop(key, None)
    if failure == "backpressure":
        return False
    if len(run.attempts) > _FORGET_ABOVE:
        _forget_attempts(run)
    before = run.attempts.get(key, 0)
    # A call beside the one that failed for good, which is not judged, changes nothing of that.
    final = before == FAILED or is_final(failure, before + 1, run.failures.max_attempts)
    run.attempts[key] = FAILED if final else before + 1
    run.failed_for_good = run.failed_for_good or final
    return final


def _forget_attempts(run: RunState) -> None:
    """Forget the attempts of nodes that are resolved, once they are the larger part."""
    if len(run.attempts) < run.forget_at:
        return
    kept = {
        key: spent
        for key, spent in run.attempts.items()
        if spent == FAILED or not _is_over(run, key)
    }
    run.attempts.clear()
    run.attempts.update(kept)
    # Above 0 whatever is kept: it says, too, that some were forgotten.
    run.forget_at = max(2 * len(kept), 1)


def _is_over(run: RunState, key: NodeKey) -> bool:
    """True if a node is resolved, and its calls have all ended."""
    if is_barrier_key(key):
        return run.counters.is_barrier_resolved(column_of(key), place_of(key))
    return run.counters.is_resolved(*key) and not is_in_flight(run, *key)
