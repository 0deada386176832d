"""The equivalence check: the explorer's relation and the machine allow the same steps.

`cellspec.explore.relation` is a second interpreter of the rules. It asks the graph and the tracker
for dependencies, and works out with bit masks which of the steps on the page
``specs/exploration.md`` they allow. The simulator and the checker ask the first interpreter,
`cellspec.machine.machine.Machine`. This check holds the two equal. It visits
every state of one pipeline and replays the way to it on a machine. There the machine must allow
exactly the steps that the relation allows, and each step must lead both to the same state.
`_offered` alone says which actions of the machine are left out or taken together.

The check replays from the first step for every transition. So it is some thousand times slower than
the search, and made for small pipelines.
"""

from __future__ import annotations

import contextlib
from collections import deque

from cellspec.errors import Violation
from cellspec.explore.actions import ActionsOfSteps, machine_for
from cellspec.explore.relation import Relation
from cellspec.explore.search import Search
from cellspec.explore.steps import State, Step
from cellspec.graph.nodes import BarrierNodeId
from cellspec.machine.actions import Action
from cellspec.machine.losing import may_lose, may_lose_barrier
from cellspec.machine.machine import Machine
from cellspec.state.claims import Prefixes, as_prefixes
from cellspec.state.codes import RUNNING, is_resolved

__all__ = ["Difference", "check_equivalence"]


class Difference(Exception):  # noqa: N818 - the search looks for it
    """Relation and machine disagree; the message says where and how."""


def check_equivalence(search: Search) -> tuple[int, int]:
    """Hold every state of a graph against the machine; gives the numbers of states and transitions.

    Raises:
        Difference: the machine allows other steps in a state, or a step leads it elsewhere.
    """
    start = search.start()
    came: dict[State, tuple[State, Step] | None] = {start: None}
    queue = deque([start])
    transitions = 0
    may_claim_sets = 3 in search.relation.faults.versions
    while queue:
        state = queue.popleft()
        path = _path(came, state)
        way = ActionsOfSteps(search)
        actions = [action for step, after in path for action in way.next(step, after)]
        expected: set[Step] = set()
        for step, other in search.steps(state):
            expected.add(step)
            transitions += 1
            more = way.copy().next(step, other)
            _check_step(search, [*path, (step, other)], [*actions, *more], other)
            if other not in came:
                came[other] = (state, step)
                queue.append(other)
        machine = _replayed(search, path, actions)
        try:
            offered = _offered(search, machine, state)
            if may_claim_sets and 1 << state.history & search.histories.may_save:
                offered |= _set_claims(search, _replayed(search, path, actions), state)
        except Difference as odd:
            raise Difference(f"{_words(path)}: {odd}") from None
        if offered != expected:
            steps = sorted(map(str, offered ^ expected))
            raise Difference(f"{_words(path)}: only one of them allows {steps}")
    return len(came), transitions


def _path(came: dict[State, tuple[State, Step] | None], state: State) -> list[tuple[Step, State]]:
    path: list[tuple[Step, State]] = []
    link = came[state]
    while link is not None:
        before, step = link
        path.append((step, state))
        state, link = before, came[before]
    path.reverse()
    return path


def _words(path: list[tuple[Step, State]]) -> str:
    return "after " + (
        ", ".join(f"{s.kind} {s.place} {s.outcome}".rstrip() for s, _ in path) or "0"
    )


def _replayed(search: Search, path: list[tuple[Step, State]], actions: list[Action]) -> Machine:
    """A machine that took the actions of a path."""
    machine = machine_for(search.relation)
    for action in actions:
        try:
            machine.apply(action)
        except Violation as broken:
            what = f"the machine refuses {action}: {broken}"
            raise Difference(f"{_words(path)}: {what}") from None
    return machine


def _check_step(
    search: Search, path: list[tuple[Step, State]], actions: list[Action], target: State
) -> None:
    machine = _replayed(search, path, actions)
    odd = _base_of(search, machine) != target.base or not _same_claims(search, machine, target)
    taken = search.relation.places_taken(target.base & search.relation.every)
    if odd or len(machine.admitted) != taken:
        raise Difference(f"{_words(path)}: the step leads the machine elsewhere")


def _same_claims(search: Search, machine: Machine, state: State) -> bool:
    durable, pending = search.histories.claims_of(state.history)
    claims = search.relation.claims
    return machine.durable_claim == claims[durable] and machine.pending_claim == (
        None if pending is None else claims[pending]
    )


def _base_of(search: Search, machine: Machine) -> int:
    """The done, running and dropped nodes of a machine, as masks."""
    relation, counters = search.relation, machine.counters
    index = relation.graph.rules.index
    base = 0
    for place, node in enumerate(relation.nodes):
        column = index[node.column]
        if isinstance(node, BarrierNodeId):
            code, abandoned = counters.barrier_state(column, node.batch or 0), False
        else:
            code = counters.cells[column][node.row]
            abandoned = (column, node.row) in counters.abandoned
        base |= is_resolved(code) << place
        base |= (code == RUNNING or abandoned) << place + relation.size
    for row in counters.dropped:
        base |= 1 << 2 * relation.size + row
    for place, (group, cells, _) in enumerate(relation.groups):
        # One that has nothing open needs no admission.
        if place in machine.state.was_admitted or not cells & ~base:
            base |= group
    return base


def _offered(search: Search, machine: Machine, state: State) -> set[Step]:
    """The steps that the machine allows.

    Left out: back-pressure (it is like a retry), a claim that cannot be written, the admission of a
    row group with nothing open, and what the explorer takes together with another step: data that
    becomes durable, and the end.
    """
    relation, histories = search.relation, search.histories
    mask = 1 << state.history
    offered: set[Step] = set()
    storing: list[Action] = []
    for action in machine.enabled():
        kind = action.kind
        if kind in ("start", "complete", "cancel"):
            name = "start" if kind == "start" else "complete"
            offered.add(Step(name, _place(relation, action)))
        elif kind == "fail":
            may = {"retryable": histories.may_retry, "permanent": histories.may_fail}
            outcome = str(action.failure)
            if mask & may.get(outcome, 0):
                offered.add(Step("fail", _place(relation, action), outcome))
        elif kind == "durable":
            storing.append(action)
        elif kind == "checkpoint_durable":
            pending = histories.claims_of(state.history)[1]
            assert pending is not None
            offered.add(Step("checkpoint_durable", pending))
        elif action.outcome == "interrupted":
            # Output that a barrier is giving is no call; the explorer waits for it all the same.
            if not state.base >> relation.size & relation.every:
                durable = histories.claims_of(state.history)[0]
                offered.add(Step("interrupt", durable))
        elif kind == "admit":
            group = _group_of(relation, action)
            if not relation.groups[group][0] & state.base:
                offered.add(Step("admit", len(relation.nodes) + group))
        elif kind == "drop":
            raise Difference("a drop is not recorded")
        elif kind == "retire":
            raise Difference("a row group did not retire")
    if mask & histories.may_lose:
        offered |= _losses(relation, machine)
    for action in storing:
        machine.apply(action)
    if _may_end(machine) != relation.is_end(state.base & relation.every):
        raise Difference("only one of them may report success")
    if mask & histories.may_request:
        offered.add(Step("stop_requested"))
    if mask & histories.may_save:
        offered |= _claims(search, machine)
    if mask & histories.may_crash:
        offered |= _crashes(search, machine, state)
    return offered


def _group_of(relation: Relation, action: Action) -> int:
    """The number of the row group of an action."""
    assert action.rows is not None
    assert relation.faults.group_rows is not None
    return action.rows[0] // relation.faults.group_rows


def _may_end(machine: Machine) -> bool:
    """The machine offers the end, or first the claim of every row that it needs (CKPT-22)."""
    over = machine.completed_rows == machine.graph.num_records
    kinds = {"end", "checkpoint_begin", "checkpoint_durable"} if over else {"end"}
    return any(
        action.kind in kinds and action.outcome != "interrupted" for action in machine.enabled()
    )


def _place(relation: Relation, action: Action) -> int:
    column = relation.graph.rules.index[action.column]
    if action.scope is not None:
        node = relation.graph.barrier_node(column, action.scope)
        return relation.nodes.index(node)
    assert action.rows is not None
    return relation.nodes.index(relation.graph.cell_node(column, action.rows[0]))


def _losses(relation: Relation, machine: Machine) -> set[Step]:
    """The results that a worker may take with it, as far as data is durable now."""
    found: set[Step] = set()
    # Each step of the explorer is a loss of its own, of what was made up to now.
    machine.apply(Action("worker_lost"))
    for place, node in enumerate(relation.nodes):
        column = relation.graph.rules.index[node.column]
        if isinstance(node, BarrierNodeId):
            lost = may_lose_barrier(machine.state, column, node.batch or 0)
        else:
            lost = bool(relation.calls >> place & 1) and may_lose(machine.state, column, node.row)
        if lost:
            found.add(Step("lose", place))
    return found


def _claims(search: Search, machine: Machine) -> set[Step]:
    relation = search.relation
    versions = relation.faults.versions
    wanted = [machine.claim(version) for version in versions if version < 3]
    found: set[Step] = set()
    for action in machine.enabled():
        claim = action.claim
        if action.kind == "checkpoint_begin" and claim is not None and claim in wanted:
            mine = as_prefixes(claim)
            index = relation.claim_index[mine, _drops_of(relation, machine, mine)]
            found.add(Step("checkpoint_begin", index))
    return found


def _set_claims(search: Search, machine: Machine, state: State) -> set[Step]:
    """The largest claim of any cells that the machine lets begin; the machine is used up.

    The machine offers claims without gaps; of the others it is asked for each.
    """
    relation, durable = search.relation, search.histories.claims_of(state.history)[0]
    for column, name in enumerate(relation.graph.column_names):
        for row in range(relation.graph.num_records):
            if is_resolved(machine.counters.cells[column][row]):
                machine.apply(Action("durable", name, (row, row + 1)))
    held = relation.claimed_cells[durable]
    larger = [
        index
        for index, cells in enumerate(relation.claimed_cells)
        if cells != held and not held & ~cells
    ]
    for index in sorted(larger, key=lambda index: -relation.claimed_cells[index].bit_count()):
        with contextlib.suppress(Violation):
            machine.apply(Action("checkpoint_begin", claim=relation.claims[index]))
            return {Step("checkpoint_begin", index)}
    return set()


def _drops_of(relation: Relation, machine: Machine, claim: Prefixes) -> int:
    """The dropped rows that a claim holds if it is begun now."""
    return relation.drops_below(claim, sum(1 << row for row in machine.counters.dropped))


def _crashes(search: Search, machine: Machine, state: State) -> set[Step]:
    """The crashes that a machine may take, with the claims to resume from; they use the machine up.

    With which drops it resumes is seen when the step is taken.
    """
    old, new = search.histories.claims_of(state.history)
    durable, pending = machine.durable_claim, machine.pending_claim
    machine.crash()
    found: set[Step] = set()
    for action in machine.enabled():
        if action.claim == durable:
            found.add(Step("crash", old, "old"))
            if pending is not None and search.relation.faults.torn:
                found.add(Step("crash", old, "torn"))
        if action.claim == pending and new is not None:
            found.add(Step("crash", new, "new"))
    return found
