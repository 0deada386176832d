"""The state of a run as a grid: a line a column, a character a cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cellspec.check.explain import how
from cellspec.graph.nodes import BarrierNodeId, CellNodeId
from cellspec.machine.machine import Machine
from cellspec.replay.judging import judge
from cellspec.replay.source import Steps
from cellspec.trace import event_from_json, header_from_json

__all__ = ["grid", "state_after"]

_ROWS_MAX = 60

_SYMBOLS = {
    "waiting": ".",
    "ready": "o",
    "to be skipped": "o",
    "running": ">",
    "running, in a range": ">",
    "failed, to be tried again": "!",
    "complete": "#",
    "claimed by a checkpoint": "=",
    "skipped": "-",
    "dropped": "x",
}
_LEGEND = (
    ". waiting   o ready   > running   # complete   = claimed   - skipped   x dropped   "
    "! failed, to be tried again"
)


def state_after(header: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The table after the last of some events, a line a column."""
    steps = Steps("", header_from_json(header), tuple(map(event_from_json, events)))
    return tuple(grid(judge(steps).checker.machine))


def grid(machine: Machine) -> Iterator[str]:
    """The table, a line a column; barrier nodes stand before their output cells."""
    graph = machine.graph
    shown = min(graph.num_records, _ROWS_MAX)
    width = max(map(len, graph.column_names))
    for rule in graph.rules.columns:
        nodes: list[CellNodeId | BarrierNodeId] = [
            CellNodeId(row, rule.name) for row in range(shown)
        ]
        cells = "".join(_SYMBOLS[how(node, machine)] for node in nodes)
        barriers = [
            BarrierNodeId(rule.name, scope if rule.batched else None)
            for scope in range(graph.rules.scope_count(rule.index))
        ]
        more = "" if shown == graph.num_records else " …"
        own = "".join(_SYMBOLS[how(node, machine)] for node in barriers)
        yield f"{rule.name:{width}}  {cells}{more}" + (f"  barrier {own}" if own else "")
    yield _LEGEND
    if machine.crashed:
        yield "crashed: what storage gives back is open"
