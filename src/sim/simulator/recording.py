"""The recorder of a simulated run: each step of a machine, as an event of a trace.

`record` returns an observer for `cellspec.machine.machine.Machine.on_step`. The observer passes
each step on as ``notify(event, t, **fields)``, whose arguments are those of
`cellspec.trace.TraceWriter.add`. A refused step has no event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from cellspec.machine.machine import Action, Machine
from cellspec.trace.format import EndpointSums

__all__ = ["Notify", "record"]


Notify: TypeAlias = Callable[..., object]
"""Receives every step: ``notify(event, t, **fields)``, with the time in seconds."""

_SPANS = frozenset(("admit", "retire", "emit", "durable"))
"""Steps whose rows are written as a range also if there is one."""

_STOP_REASON = "too many of the last calls failed"
_ENOUGH = "enough rows are accepted"


def record(
    machine: Machine,
    notify: Notify,
    *,
    starts_from: bool = False,
    sums: Callable[[float], Mapping[str, EndpointSums]] | None = None,
) -> Callable[[Action], None]:
    """An observer of the steps of `machine` that passes them on to `notify`.

    Args:
        machine: of the run.
        notify: receives the steps.
        starts_from: the first incarnation is the process before the run, which leaves it a
            checkpoint; its crash says so.
        sums: by endpoint, what was counted there up to a time; None without endpoints.
    """

    def on_step(action: Action) -> None:
        fields: dict[str, Any] = {}
        kind, rows = action.kind, action.rows
        if action.column:
            fields["column"] = action.column
        if rows is not None:
            whole = kind in _SPANS or rows[1] != rows[0] + 1
            fields["rows"] = rows if whole else rows[0]
        if action.scope is not None:
            fields["scope"] = action.scope
            fields["reads"] = action.reads
        # The first start of a node is recorded without a number.
        if action.attempt is not None and not (kind == "start" and action.attempt == 1):
            fields["attempt"] = action.attempt
        if kind == "fail":
            fields["failure"] = action.failure
            fields["until"] = action.until
        elif action.claim is not None:
            fields["claim"] = dict(zip(machine.graph.column_names, action.claim, strict=True))
            if kind == "resume":
                fields["incarnation"] = machine.incarnation
        elif kind == "stop":
            fields["reason"] = _STOP_REASON
        elif kind == "stop_requested":
            fields["reason"] = _ENOUGH
        elif action.rejected is not None:
            fields["rejected"] = action.rejected
        elif action.cause is not None:
            fields["cause"] = action.cause
        elif kind == "end":
            fields["outcome"] = action.outcome
            if sums is not None:
                fields["endpoints"] = sums(machine.now)
        elif kind == "crash" and starts_from and machine.incarnation == 0:
            fields["reason"] = "start_from"
        notify(kind, machine.now, **fields)

    return on_step
