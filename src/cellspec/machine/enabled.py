"""Every step that the specification allows in a state, in a fixed order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from cellspec.graph.nodes import (
    NodeKey,
    barrier_key,
    column_of,
    is_barrier_key,
    place_of,
)
from cellspec.machine.actions import Action, Failure
from cellspec.machine.drops import unexplained
from cellspec.machine.losing import may_lose, may_lose_barrier
from cellspec.machine.row_groups import leads_nowhere, unresolved
from cellspec.machine.run_state import RunState
from cellspec.machine.saving import longest_claim
from cellspec.machine.taking_back import TAKEN_BACK_MAX
from cellspec.machine.unclaimed import unsaved
from cellspec.state.claims import (
    Claim,
    Rows,
    are_prefixes,
    as_rows,
    first_outside,
    join,
    meet,
    minus,
    prefix_of,
)
from cellspec.state.codes import (
    BACKOFF,
    READY,
    RUNNING,
    SKIP_READY,
)

__all__ = ["enabled", "key_of", "of_state", "skips", "starts", "waits_again"]


def enabled(run: RunState) -> Iterator[Action]:
    """Every action that the specification allows now, lazily, in a fixed order.

    Checkpoints are offered for version 1 and 2, each with its longest claim; data is offered
    to storage as a whole column prefix. A run whose claims have gaps is offered one of any rows,
    and one commit at a time. Ranges, and resumes with another target, from several commits, or from
    a claim whose write reported an error, are not offered. An end as failed, a time-out and an
    answer that rejects rows are left out too. A failure is offered as each other kind, without a
    backoff; of the calls that may be taken back, the first.
    """
    if run.ended:
        return
    if run.crashed:
        known = run.durable_claim
        new = (run.pending_claim, *(commit.cells for commit in run.commits.values()))
        found = (tuple(map(join, known, cells)) for cells in new if cells is not None)
        claims = dict.fromkeys((known, *found))
        yield from (Action("resume", claim=claim) for claim in claims)
        return
    yield from _starts_now(run)
    yield from of_state(run, "complete", RUNNING)
    if run.offers_failures:
        yield from _failures_of(run)
    yield from _ends_of_dropped(run)
    yield from skips(run)
    yield from _group_steps(run)
    for row, column in sorted(run.unrecorded.items()):
        yield Action("drop", run.name_of(column), (row, row + 1), cause=run.causes.get(row))
    if run.killers is not None:
        yield from _killers(run)
    yield from _storage_actions(run)
    if run.offers_losses:
        yield from _losses(run)
    yield Action("crash")
    if run.must_stop and not run.stopped:
        yield Action("stop")
    if not run.unrecorded and not run.counters.load:
        if run.stopped and not unsaved(run):
            yield Action("end", outcome="stopped")
        if run.stop_requested and not unsaved(run):
            yield Action("end", outcome="interrupted")


def _starts_now(run: RunState) -> Iterator[Action]:
    """The starts that are allowed; in a stop or a pause those of output cells, without a call."""
    if not (run.is_stopping or run.is_paused):
        yield from starts(run)
        return
    for rule in run.graph.rules.columns:
        if rule.is_barrier:
            for row in run.counters.iter_rows(rule.index, READY):
                yield Action("start", rule.name, (row, row + 1), attempt=1)


def starts(run: RunState) -> Iterator[Action]:
    """Starts of nodes that are ready, or whose backoff is over."""
    for state in (READY, BACKOFF):
        for action in of_state(run, "start", state):
            column = run.graph.rules.index[action.column]
            output = action.scope is None and run.barrier_flags[column]
            key = key_of(column, action)
            if state == BACKOFF and (run.backoffs.get(key) is not None or waits_again(run, key)):
                # It waits, or its backoff is not over: the clock ends one whose end is known.
                continue
            if run.killers is not None and key in run.killers.spent:
                continue
            if run.overtaking is not None and not run.overtaking.is_in_turn(key):
                continue
            if output or run.has_slot(run.group_of[column]):
                yield action._replace(attempt=1 + run.attempts.get(key, 0))


def waits_again(run: RunState, key: NodeKey) -> bool:
    """True for a node in backoff that waits for its turn, or for an input that is open."""
    if is_barrier_key(key):
        return bool(run.counters.missing[column_of(key)][place_of(key)])
    return bool(run.counters.open_inputs(*key))


def key_of(column: int, action: Action) -> NodeKey:
    """The key of the node of a column that an action names."""
    if action.scope is not None:
        return barrier_key(column, action.scope)
    assert action.rows is not None
    return column, action.rows[0]


def _failures_of(run: RunState) -> Iterator[Action]:
    """A failure of each kind for each call that runs."""
    kinds: tuple[Failure, ...] = ("retryable", "backpressure", "permanent")
    for action in of_state(run, "fail", RUNNING):
        if action.scope is not None or not run.barrier_flags[run.graph.rules.index[action.column]]:
            for kind in kinds:
                yield action._replace(failure=kind)


def _ends_of_dropped(run: RunState) -> Iterator[Action]:
    """Calls that run on for a dropped row end somehow."""
    for column, row in sorted(run.counters.abandoned):
        for ending in ("complete", "cancel"):
            yield Action(ending, run.name_of(column), (row, row + 1))


def skips(run: RunState) -> Iterator[Action]:
    """Cells that are to be skipped, or may be."""
    for rule in run.graph.rules.columns:
        if rule.skippable:
            states = (READY, SKIP_READY) if rule.may_skip else (SKIP_READY,)
            for state in states:
                for row in run.counters.iter_rows(rule.index, state):
                    if (rule.index, row) not in run.gone:
                        yield Action("skip", rule.name, (row, row + 1))


def _group_steps(run: RunState) -> Iterator[Action]:
    """Row groups that may be admitted, or retire."""
    size, total, most = run.limits.group_rows, run.graph.num_records, run.limits.groups
    if size is None:
        return
    room = (most is None or len(run.admitted) < most) and not run.is_stopping
    for start in range(0, total, size):
        span = (start, min(start + size, total))
        if start // size in run.admitted:
            if unresolved(run, *span) is None:
                yield Action("retire", rows=span)
        elif (
            room and start // size not in run.was_admitted and not leads_nowhere(run, start // size)
        ):
            yield Action("admit", rows=span)


def _storage_actions(run: RunState) -> Iterator[Action]:
    """Data and claims that may be saved, and the end in success."""
    for column in range(run.graph.num_columns):
        rows = run.counters.prefix(column)
        odd = unexplained(run, column, run.durable[column], rows)
        rows = odd if odd >= 0 else rows
        if rows > run.durable[column]:
            yield Action("durable", run.name_of(column), (0, rows))
    if run.pending_claim is not None:
        yield Action("checkpoint_durable")
        if run.offers_failures:
            yield Action("checkpoint_failed")
    else:
        known = run.durable_claim
        for claim in dict.fromkeys((longest_claim(run, 1), longest_claim(run, 2))):
            covered = all(
                rows <= run.durable[column] and unexplained(run, column, 0, rows) < 0
                for column, rows in enumerate(claim)
            )
            grows = all(first_outside(d, c) < 0 for c, d in zip(claim, known, strict=True))
            if covered and grows and claim != known:
                yield Action("checkpoint_begin", claim=claim)
    if run.claim_version == 3:
        yield from _set_actions(run)
    total = run.graph.num_records
    done = run.completed_rows == total and min(run.durable) == total and not run.unrecorded
    claimed = not run.makes_claims or min(run.claimed_rows()) == total
    if done and claimed and not run.stopped:
        yield Action("end")


def _killers(run: RunState) -> Iterator[Action]:
    """Rows that only this leads on with: a cell of theirs starts no more (clause DROP-06)."""
    assert run.killers is not None
    for column, row in sorted(run.killers.spent):
        if row < run.graph.num_records and not run.counters.is_resolved(column, row):
            yield Action("drop", run.name_of(column), (row, row + 1), cause="killer")


def _set_actions(run: RunState) -> Iterator[Action]:
    """A claim of any rows, a commit of all that nobody claimed, or the ends of open commits."""
    for number in run.commits:
        yield Action("committed", commit=number)
        if run.offers_failures:
            yield Action("commit_failed", commit=number)
    if run.unrecorded:
        return
    most, known = run.counters.claimable(), run.durable_claim
    if not run.commits:
        new = tuple(map(minus, most, known))
        if any(new):
            yield Action("commit_begin", claim=new)
    if run.pending_claim is None:
        claim = _stored_claim(run, most)
        grows = all(first_outside(d, c) < 0 for c, d in zip(claim, known, strict=True))
        if grows and claim != known and not are_prefixes(claim):
            yield Action("checkpoint_begin", claim=claim)


def _stored_claim(run: RunState, most: Claim) -> Claim:
    """What is durable of the largest claim, without gaps in ordered columns (CKPT-05, CKPT-10)."""
    found: list[Rows] = []
    for rule in run.graph.rules.columns:
        rows = meet(most[rule.index], as_rows(run.on_storage.ranges(rule.index)))
        for need in rule.needs:
            rows = meet(rows, found[need])
        found.append(prefix_of(rows) if rule.ordered else rows)
    return tuple(found)


def _losses(run: RunState) -> Iterator[Action]:
    """A call that is taken back, the loss of a worker, and of each result that may go with it."""
    yield from islice(_take_backs(run), 1)
    if run.since_loss is None:
        yield Action("worker_lost")
        return
    for rule in run.graph.rules.columns:
        for scope in range(run.graph.rules.scope_count(rule.index)):
            if may_lose_barrier(run, rule.index, scope):
                yield Action("lose", rule.name, scope=scope)
        for row in () if rule.is_barrier else range(run.graph.num_records):
            if may_lose(run, rule.index, row):
                yield Action("lose", rule.name, (row, row + 1))


def _take_backs(run: RunState) -> Iterator[Action]:
    """Calls in flight that were not taken back too often (clause FAIL-06)."""
    for action in of_state(run, "take_back", RUNNING):
        column = run.graph.rules.index[action.column]
        output = action.scope is None and run.barrier_flags[column]
        if not output and run.taken_back.get(key_of(column, action), 0) < TAKEN_BACK_MAX:
            yield action


def of_state(run: RunState, kind: str, state: int) -> Iterator[Action]:
    """An action of one kind for each node in a state."""
    counters = run.counters
    for rule in run.graph.rules.columns:
        scope = counters.barriers[rule.index].find(state)
        while scope >= 0:
            yield Action(kind, rule.name, scope=scope)
            scope = counters.barriers[rule.index].find(state, scope + 1)
        for row in counters.iter_rows(rule.index, state):
            yield Action(kind, rule.name, (row, row + 1))
