"""Where the time of a row went, worked out from a trace by what simulations/figures.md says.

As `tests.recompute.figures`: one row after the other, one cell after the other, to be compared with
the page sentence by sentence.
"""

from __future__ import annotations

import math
from typing import Any

from tests.recompute.endpoints import stays
from tests.recompute.history import Call, Cell, History, Incarnation

__all__ = ["CHAIN_PARTS", "chain", "giving_call"]

CHAIN_PARTS = (
    "redone",
    "order",
    "waiting",
    "retries",
    "scheduler",
    "outage",
    "line",
    "refused",
    "queue",
    "prefill",
    "decode",
    "running",
    "barrier",
)


def _home(history: History, cell: Cell) -> Incarnation | None:
    """The incarnation in which a cell got the value that it has at the end, or was skipped."""
    for incarnation in reversed(history.incarnations):
        if cell in incarnation.made or cell in incarnation.skipped:
            return incarnation
        if cell not in incarnation.restored:
            break
    return None


def giving_call(history: History, cell: Cell) -> Call | None:
    """The call that gave a cell the value that it has at the end."""
    column, row = cell
    home = _home(history, cell)
    if home is None or cell not in home.made:
        return None
    for call in home.calls:
        if call.column == column and call.scope is None:
            for given, t in call.gave:
                if given == row and t == home.made[cell]:
                    return call
    return None


def chain(scenario: dict[str, Any], history: History, row: int, begin: float) -> dict[str, float]:
    """The seconds of a row in each part, from its first start on."""
    last, names = history.incarnations[-1], list(history.columns)
    parts = dict.fromkeys(CHAIN_PARTS, 0.0)
    ends = {name: last.since_s((name, row)) for name in names}
    name: str | None = max(names, key=lambda one: ends[one])
    while name is not None:
        needs = [need for need in names if need in history.columns[name].needs]
        needs = [need for need in needs if ends[need] <= ends[name]]
        before = max(needs, key=lambda one: ends[one]) if needs else None
        since = begin if before is None else max(begin, ends[before])
        for part, moment in _moments(scenario, history, (name, row), ends[name]):
            until = min(max(moment, since), max(ends[name], begin))
            parts[part] += until - since
            since = until
        name = before
    return parts


def _moments(
    scenario: dict[str, Any], history: History, cell: Cell, end_s: float
) -> list[tuple[str, float]]:
    """Up to when each part of a cell's time goes."""
    column = history.columns[cell[0]]
    home = _home(history, cell)
    if home is None:
        return [("waiting", end_s)]
    found = [("redone", home.start_s)]
    if column.scope_rows:
        return [*found, ("barrier", end_s)]
    calls = [
        call
        for call in home.calls
        if call.column == cell[0] and call.scope is None and cell[1] in call.rows
    ]
    tried_s = calls[0].start_s if calls else math.inf
    if column.ordered:
        turn_s = _turn(history, cell)
        if turn_s <= tried_s:
            found.append(("order", turn_s))
    found.append(("waiting", min(tried_s, end_s)))
    call = giving_call(history, cell)
    if call is None:
        return found
    found.append(("retries", call.start_s))
    serial = "scheduler" in scenario
    stay = list(stays(home, call))[-1]
    through_s = stay.end_s if serial else end_s
    if serial:
        found.append(("scheduler", next(t for t, s in call.way if s["step"] == "entered")))
    if column.resource in (history.header.get("endpoints") or {}):
        found.append(("outage", stay.start_s))
        parts = [(part.removesuffix("_s"), moment) for part, moment in stay.moments()]
        found += [*parts[:-1], (parts[-1][0], through_s)]
    else:
        found.append(("running", through_s))
    return [*found, ("scheduler", end_s)]


def _turn(history: History, cell: Cell) -> float:
    """The last time at which the cell of the row before got its value, or was skipped."""
    before = cell[0], cell[1] - 1
    times = [
        times[before]
        for incarnation in history.incarnations
        for times in (incarnation.made, incarnation.skipped)
        if before in times
    ]
    return max(times, default=-math.inf)
