"""The bound of calls: how long one may be in flight, and which one was for too long (FAIL-07).

Only a run whose failure policy has a bound keeps the times of its starts. They are kept as long as
the bound lasts, so the memory is that of the calls which began within it.
"""

from __future__ import annotations

from cellspec.graph.nodes import NodeKey
from cellspec.machine.calls import runs
from cellspec.machine.run_state import RunState
from cellspec.text import instants

__all__ = ["expect_bound_reached", "expect_none_late", "note_start"]


def note_start(run: RunState, key: NodeKey) -> None:
    """A call of a node begins now; of a range, the node is that of its first row."""
    if run.bound_s is not None:
        run.began_at[key] = run.now
        run.begun.append((run.now, key))


def expect_none_late(run: RunState, t: float) -> None:
    """The clock moves to `t`: refuse that if a call is then in flight for longer than the bound.

    In real time a call may end later by the slack, and without a slack at any time.

    Raises:
        Violation: FAIL-07.
    """
    bound_s, begun = run.bound_s, run.begun
    assert bound_s is not None
    late = not run.real_time or run.slack_s > 0
    while begun and begun[0][0] + bound_s + run.slack_s < t:
        since, key = begun[0]
        # One that began again since then has a later place in the line.
        if run.began_at.get(key) == since:
            if late and runs(run, key):
                run.breaks(
                    "FAIL-07",
                    f"{run.where(key)} is in flight since t={since:g} s, and the bound of "
                    f"{bound_s:g} s ended at t={since + bound_s:g} s",
                )
            del run.began_at[key]
        begun.popleft()


def expect_bound_reached(run: RunState, key: NodeKey) -> None:
    """A call ends as timed out: refuse that before its bound has passed.

    In real time the engine's timer may have begun earlier than the call, by the slack; without a
    slack nobody can say by how much.

    Raises:
        Violation: FAIL-07.
    """
    since, bound_s = run.began_at.get(key), run.bound_s
    if since is None or (run.real_time and not run.slack_s):
        return
    assert bound_s is not None, "a start is kept for a bound"
    if run.now < since + bound_s - run.slack_s:
        lasted, bound = instants(run.now - since, bound_s)
        run.breaks(
            "FAIL-07",
            f"{run.where(key)} ends as timed out {lasted} after its start, and the bound is "
            f"{bound}",
        )
