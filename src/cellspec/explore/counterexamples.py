"""Counterexamples: a path to a broken clause, in words and as a trace.

A counterexample is kept as a trace (`cellspec.trace`) that ends with the step that broke the
clause. It lacks a footer, because the run lacks an end; ``cellspec replay`` and
``cellspec check`` read it.
All its events are at time 0: a schedule is an order, without durations.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from cellspec.explore.actions import limits_for, policy_for
from cellspec.explore.relation import Relation, bits
from cellspec.explore.search import Search
from cellspec.explore.steps import Step
from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.nodes import CellNodeId
from cellspec.machine.actions import Action
from cellspec.state.claims import Claim
from cellspec.text import noun, row_words
from cellspec.trace import event_of, header_for, to_json

__all__ = ["counterexample_lines", "explain_path"]


_VERBS = {
    ("start", ""): "{} starts",
    ("complete", ""): "{} ends",
    ("fail", "retryable"): "{} fails, and will be tried again",
    ("lose", ""): "a worker is lost, and with it the result of {}",
    ("fail", "permanent"): "{} fails for good",
}


def explain_path(search: Search, path: Sequence[Step]) -> list[str]:
    """A path in words, a line a step."""
    relation, lines = search.relation, []
    state = search.start()
    for step in path:
        after = next((other for one, other in search.steps(state) if one == step), None)
        line = _line(relation, step)
        if step.outcome == "permanent" and after is not None:
            rows = list(bits((after.base & ~state.base) >> 2 * relation.size))
            line += f"; dropped: {_rows(rows)}"
        lines.append(line)
        if after is not None:
            state = after
    return lines


def _rows(rows: Sequence[int]) -> str:
    return f"{noun(len(rows), 'row')} {', '.join(map(str, rows)) or 'none'}"


def _line(relation: Relation, step: Step) -> str:
    verb = _VERBS.get((step.kind, step.outcome))
    if verb is not None:
        node = relation.nodes[step.place]
        cell = isinstance(node, CellNodeId)
        name = f"{node.column}[{node.row}]" if isinstance(node, CellNodeId) else ""
        if not cell:
            batches = relation.graph.rules.scope_count(relation.graph.rules.index[node.column])
            which = f" {node.batch or 0}" if batches > 1 else ""  # type: ignore[union-attr]  # no cell
            name = f"barrier {node.column}{which}"
        return verb.format(name)
    if step.kind == "admit":
        return f"row group {step.place - len(relation.nodes)} is admitted"
    if step.kind == "stop_requested":
        return "a stop is requested"
    claim = _claim(relation.graph, relation.claims[step.place])
    if step.kind == "checkpoint_begin":
        return f"data is durable, and a claim of {claim} is begun"
    if step.kind == "checkpoint_durable":
        return f"the claim of {claim} is durable"
    if step.kind == "interrupt":
        return f"the run ends as interrupted, and the next process resumes from {claim}"
    what = {"old": "", "new": ", which had just become durable", "torn": "; the newest was torn"}
    return f"the process dies, and resumes from {claim}{what[step.outcome]}"


def _claim(graph: ExecutionGraph, claim: Claim) -> str:
    if len(set(claim)) == 1 and isinstance(claim[0], int):
        return f"{claim[0]} {noun(claim[0], 'row')}"
    return ", ".join(
        f"{name} {rows if isinstance(rows, int) else row_words(rows)}"
        for name, rows in zip(graph.column_names, claim, strict=True)
    )


def counterexample_lines(relation: Relation, actions: Iterable[Action], version: str) -> str:
    """The text of a counterexample: the header of a trace, and an event for each action."""
    header = header_for(
        relation.graph,
        engine="explorer",
        version=version,
        limits=limits_for(relation),
        failures=policy_for(relation),
    )
    events = [
        event_of(action, relation.graph, seq=seq, t=0.0)
        for seq, action in enumerate(actions, start=1)
    ]
    lines = [to_json(header), *map(to_json, events)]
    return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
