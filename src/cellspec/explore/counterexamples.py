"""A way through the states, in the words of the specification: actions, a story, a case file.

The explorer's steps are coarser than the machine's, so one step may be several actions: *begin* is
the data that becomes durable, and then the claim; a *crash* is the crash and the resume; a *fail*
is the failure and the record of each drop. `actions_of` spells a path out, and `machine_for` makes
the `Machine` that it replays on.

A case file is a trace (`cellspec.trace`) that ends with the step that broke the clause. It has no
footer, because the run has no end; ``python -m sim replay`` and ``python -m sim check`` read it.
All its events are at time 0: a schedule is an order, and no time passes between its steps.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from cellspec.explore.relation import Relation, bits
from cellspec.explore.search import Search, State, Step
from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.nodes import CellNodeId
from cellspec.machine.actions import Action
from cellspec.machine.limits import FailurePolicy, Limits
from cellspec.machine.machine import Machine
from cellspec.trace import event_of, header_for, to_json

__all__ = ["Teller", "actions_of", "case_lines", "machine_for", "story_of"]


def machine_for(relation: Relation) -> Machine:
    """A machine under the same rules as the relation."""
    faults = relation.faults
    failing = faults.retries or faults.drops
    return Machine(
        relation.graph,
        Limits(workers=faults.workers),
        failures=_policy(relation) if failing else None,
    )


def _policy(relation: Relation) -> FailurePolicy:
    # So many attempts that only a permanent failure is the last.
    return FailurePolicy(max_attempts=relation.faults.retries + 1)


class Teller:
    """Steps as actions, one after the other: it remembers attempts, and what is on storage.

    Args:
        search: what the steps are of.
    """

    def __init__(self, search: Search) -> None:
        self._relation, self._histories = search.relation, search.histories
        self.state = search.start()
        self._attempts: dict[int, int] = {}
        self._stored = list(self._relation.claims[0])

    def tell(self, step: Step, after: State | None) -> list[Action]:
        """The actions of the next step.

        Args:
            step: what happens.
            after: the state that it leads to; None if it is not allowed and leads nowhere.
        """
        actions = list(self._actions(step, after))
        if after is not None:
            self.state = after
        return actions

    def _actions(self, step: Step, after: State | None) -> Iterator[Action]:
        relation = self._relation
        if step.kind == "start":
            attempt = 1 + self._attempts.get(step.place, 0)
            yield self._on("start", step.place)._replace(attempt=attempt)
        elif step.kind == "end":
            yield self._on("complete", step.place)
        elif step.kind == "retry":
            self._attempts[step.place] = 1 + self._attempts.get(step.place, 0)
            yield self._on("fail", step.place)._replace(failure="retryable")
        elif step.kind == "fail":
            failed = self._on("fail", step.place)._replace(failure="permanent")
            yield failed
            new = ((after or self.state).base & ~self.state.base) >> 2 * relation.size
            for row in bits(new):
                yield Action("drop", failed.column, (row, row + 1))
        elif step.kind == "begin":
            claim = relation.claims[step.place]
            for column, rows in enumerate(claim):
                if rows > self._stored[column]:
                    self._stored[column] = rows
                    yield Action("durable", relation.graph.column_names[column], (0, rows))
            yield Action("checkpoint_begin", claim=claim)
        elif step.kind == "durable":
            yield Action("checkpoint_durable")
        else:
            claim = relation.claims[step.place]
            self._attempts.clear()
            self._stored = list(claim)
            yield Action("crash")
            yield Action("resume", claim=claim)

    def _on(self, kind: str, place: int) -> Action:
        node = self._relation.nodes[place]
        if isinstance(node, CellNodeId):
            return Action(kind, node.column, (node.row, node.row + 1))
        return Action(kind, node.column, scope=node.batch or 0)


def actions_of(search: Search, path: Sequence[Step]) -> list[Action]:
    """A path as actions that `Machine` replays; a last step that is not allowed is spelled out."""
    teller, actions = Teller(search), []
    for step in path:
        after = next((other for one, other in search.steps(teller.state) if one == step), None)
        actions += teller.tell(step, after)
    return actions


_VERBS = {
    "start": "{} starts",
    "end": "{} ends",
    "retry": "{} fails, and will be tried again",
    "fail": "{} fails for good",
}


def story_of(search: Search, path: Sequence[Step]) -> list[str]:
    """A path for people, a line a step."""
    relation, lines = search.relation, []
    state = search.start()
    for step in path:
        after = next((other for one, other in search.steps(state) if one == step), None)
        line = _line(relation, step)
        if step.kind == "fail" and after is not None:
            rows = list(bits((after.base & ~state.base) >> 2 * relation.size))
            line += f"; dropped: {_rows(rows)}"
        lines.append(line)
        if after is not None:
            state = after
    return lines


def _rows(rows: Sequence[int]) -> str:
    return ("row " if len(rows) == 1 else "rows ") + (", ".join(map(str, rows)) or "none")


def _line(relation: Relation, step: Step) -> str:
    if step.kind in _VERBS:
        node = relation.nodes[step.place]
        cell = isinstance(node, CellNodeId)
        name = f"{node.column}[{node.row}]" if isinstance(node, CellNodeId) else ""
        if not cell:
            batches = relation.graph.rules.scope_count(relation.graph.rules.index[node.column])
            which = f" {node.batch or 0}" if batches > 1 else ""  # type: ignore[union-attr]  # no cell
            name = f"barrier {node.column}{which}"
        return _VERBS[step.kind].format(name)
    claim = _claim(relation.graph, relation.claims[step.place])
    if step.kind == "begin":
        return f"data is durable, and a claim of {claim} is begun"
    if step.kind == "durable":
        return f"the claim of {claim} is durable"
    what = {"old": "", "new": ", which had just become durable", "torn": "; the newest was torn"}
    return f"the process dies, and resumes from {claim}{what[step.outcome]}"


def _claim(graph: ExecutionGraph, claim: Sequence[int]) -> str:
    if len(set(claim)) == 1:
        return f"{claim[0]} row" + ("" if claim[0] == 1 else "s")
    return ", ".join(f"{name} {rows}" for name, rows in zip(graph.column_names, claim, strict=True))


def case_lines(relation: Relation, actions: Iterable[Action], version: str) -> str:
    """The text of a case file: the header of a trace, and an event for each action."""
    header = header_for(
        relation.graph,
        engine="explorer",
        version=version,
        limits=Limits(workers=relation.faults.workers),
        failures=_policy(relation),
    )
    events = [
        event_of(action, relation.graph, seq=seq, t=0.0)
        for seq, action in enumerate(actions, start=1)
    ]
    lines = [to_json(header), *map(to_json, events)]
    return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
