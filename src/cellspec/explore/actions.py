"""Steps of an exploration as actions of the machine.

The explorer's steps are coarser than the machine's, so one step may be several actions
(`cellspec.explore.steps`). `actions_of` spells a path out, and `machine_for` makes the `Machine`
that the path replays on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy

from cellspec.explore.relation import Relation, bits
from cellspec.explore.search import Search
from cellspec.explore.steps import State, Step
from cellspec.graph.nodes import CellNodeId
from cellspec.graph.rowset import part_of
from cellspec.machine.actions import Action
from cellspec.machine.limits import FailurePolicy, Limits
from cellspec.machine.machine import Machine
from cellspec.state.claims import join, minus, spans

__all__ = ["ActionsOfSteps", "actions_of", "limits_for", "machine_for", "policy_for"]


def machine_for(relation: Relation) -> Machine:
    """A machine under the same rules as the relation."""
    faults = relation.faults
    failing = faults.retries or faults.drops
    machine = Machine(
        relation.graph,
        limits_for(relation),
        failures=policy_for(relation) if failing else None,
    )
    if faults.stops:
        # The claims of a run show of which kind they are; here it is known before the first.
        machine.state.claim_version = max(faults.versions)
        machine.state.claims_by_column = max(faults.versions) > 1
    return machine


def limits_for(relation: Relation) -> Limits:
    """The limits of the relation."""
    faults = relation.faults
    return Limits(workers=faults.workers, group_rows=faults.group_rows, groups=faults.groups)


def policy_for(relation: Relation) -> FailurePolicy:
    """So many attempts that only a permanent failure is the last."""
    return FailurePolicy(max_attempts=relation.faults.retries + 1)


class ActionsOfSteps:
    """Steps as actions, one after the other: it remembers attempts, and what is on storage.

    Args:
        search: the search whose steps are translated.
    """

    def __init__(self, search: Search) -> None:
        self._relation, self._histories = search.relation, search.histories
        self.state = search.start()
        self._attempts: dict[int, int] = {}
        self._stored = list(self._relation.claims[0])

    def copy(self) -> ActionsOfSteps:
        """The same, for another way to go on from here."""
        other = copy(self)
        other._attempts, other._stored = dict(self._attempts), list(self._stored)
        return other

    def next(self, step: Step, after: State | None) -> list[Action]:
        """The actions of the next step.

        Args:
            step: the step.
            after: the state that it leads to; None if the step is not allowed.
        """
        actions = list(self._actions(step, after))
        if after is not None:
            if step.kind not in ("crash", "interrupt"):
                actions += self._retirements(after.base)
            self.state = after
        return actions

    def _actions(self, step: Step, after: State | None) -> Iterator[Action]:
        relation = self._relation
        if step.kind == "start":
            attempt = 1 + self._attempts.get(step.place, 0)
            yield self._on("start", step.place)._replace(attempt=attempt)
        elif step.kind == "complete":
            yield self._on("complete", step.place)
        elif step.outcome == "retryable":
            self._attempts[step.place] = 1 + self._attempts.get(step.place, 0)
            yield self._on("fail", step.place)._replace(failure="retryable")
        elif step.kind == "fail":
            failed = self._on("fail", step.place)._replace(failure="permanent")
            yield failed
            new = ((after or self.state).base & ~self.state.base) >> 2 * relation.size
            for row in bits(new):
                yield Action("drop", failed.column, (row, row + 1))
        elif step.kind == "checkpoint_begin":
            claim = relation.claims[step.place]
            for column, rows in enumerate(claim):
                for start, stop in spans(minus(rows, self._stored[column])):
                    yield Action("durable", relation.graph.column_names[column], (start, stop))
                self._stored[column] = join(rows, self._stored[column])
            yield Action("checkpoint_begin", claim=claim)
        elif step.kind == "checkpoint_durable":
            yield Action("checkpoint_durable")
        elif step.kind == "lose":
            yield Action("worker_lost")
            yield self._on("lose", step.place)
        elif step.kind == "admit":
            yield self._of_group("admit", step.place - len(relation.nodes))
        elif step.kind == "stop_requested":
            yield Action("stop_requested")
        else:
            claim = relation.claims[step.place]
            self._attempts.clear()
            self._stored = list(claim)
            over = Action("end", outcome="interrupted")
            yield Action("crash") if step.kind == "crash" else over
            yield Action("resume", claim=claim)

    def _retirements(self, base: int) -> Iterator[Action]:
        """Admitted row groups whose last open cells a step resolved."""
        for place, (group, cells, _) in enumerate(self._relation.groups):
            if group & self.state.base and cells & ~self.state.base and not cells & ~base:
                yield self._of_group("retire", place)

    def _of_group(self, kind: str, group: int) -> Action:
        relation = self._relation
        size = relation.faults.group_rows
        assert size is not None
        return Action(kind, rows=part_of(group, size, relation.graph.num_records))

    def _on(self, kind: str, place: int) -> Action:
        node = self._relation.nodes[place]
        if isinstance(node, CellNodeId):
            return Action(kind, node.column, (node.row, node.row + 1))
        return Action(kind, node.column, scope=node.batch or 0)


def actions_of(search: Search, path: Sequence[Step]) -> list[Action]:
    """A path as actions that `Machine` replays; a last step that is not allowed is spelled out."""
    steps, actions = ActionsOfSteps(search), []
    for step in path:
        after = next((other for one, other in search.steps(steps.state) if one == step), None)
        actions += steps.next(step, after)
    return actions
