"""Walks through the machine: random steps, allowed ones and wrong ones, on random pipelines.

`tests.check.verdicts` keeps checksums of what the machine made of each. A walk knows no rule: it
takes what `Machine.enabled` offers, changes some of it at random, and notes what the machine says
and what it is like afterwards. So it comes where no engine goes, and it costs far less than a
comparison with the model, which `test_stateful` makes. One rule it checks: what is offered is not
refused.

``python -m tests.machine.walks 17`` prints the walk with this number: each step, what the machine
answered, and a checksum of all that it can be asked then.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial

from cellspec import (
    Action,
    ColumnDescriptor,
    ExecutionGraph,
    ExecutionTraits,
    FailurePolicy,
    Limits,
    Machine,
    SpecError,
    Violation,
)
from cellspec.graph.graph import BarrierScope
from cellspec.graph.rowset import ranges_of
from cellspec.machine.actions import Failure
from cellspec.machine.killers import Killers
from cellspec.machine.limits import ClaimKind, SavePolicy, check_limits
from cellspec.state.claims import Claim, Rows, covers, normal
from cellspec.state.codes import READY
from tests.pair import snapshot

__all__ = ["A_GROUP", "in_short", "walk"]

T = ExecutionTraits
A_GROUP = 3
"""Walks of one theme that follow each other, and are judged together."""

STEPS = 160
A_LINE = 20
"""Steps that one checksum of the short form tells of."""

_BARRIERS = (T.BARRIER, T.BATCH_BARRIER, T.BATCH_BARRIER)
_KINDS = (T.NONE, T.NONE, T.NONE, T.ROW_STREAMABLE, *_BARRIERS)
_WEIGHTS = {
    "start": 3.0,
    "complete": 3.0,
    "crash": 0.05,
    "end": 0.1,
    "stop": 0.3,
    "worker_lost": 0.3,
    "take_back": 0.3,
    "fail": 0.4,
}
"""How likely a kind of step is, where it is not 1."""

_LOSSES = {
    "worker_lost": 2.0,
    "lose": 12.0,
    "complete": 6.0,
    "crash": 0.02,
    "durable": 0.05,
    "commit_begin": 0.05,
}

_COMMITS = {
    "complete": 6.0,
    "crash": 0.3,
    "durable": 0.3,
    "commit_begin": 2.0,
    "committed": 3.0,
    "commit_failed": 0.3,
    "checkpoint_failed": 0.3,
}

_RANGES = {"range": 1.0, "take_back": 0.8, "complete": 5.0, "durable": 0.3, "crash": 0.1}
"""Ranges are not offered: `_range_from` makes them of starts."""

_THEMES: tuple[dict[str, float], ...] = (
    {},
    _LOSSES,
    _LOSSES | {"fail": 1.0, "drop": 2.0, "durable": 0.2},
    {"fail": 2.0, "drop": 2.0, "durable": 0.3, "checkpoint_begin": 0.3},
    {"skip": 3.0, "durable": 0.3, "checkpoint_begin": 0.3},
    _RANGES,
    _RANGES | {"worker_lost": 1.0, "lose": 8.0, "fail": 1.0},
    _COMMITS,
    _COMMITS | {"worker_lost": 1.0, "lose": 12.0, "fail": 0.8, "drop": 2.0},
    _COMMITS | {"skip": 3.0, "fail": 0.8, "drop": 2.0},
    {"take_back": 2.0, "admit": 2.0, "retire": 2.0, "checkpoint_begin": 0.3},
    {
        "crash": 0.4,
        "complete": 6.0,
        "skip": 2.0,
        "fail": 0.8,
        "drop": 2.0,
        "checkpoint_failed": 0.3,
    },
)
"""What a walk has more of, or less."""

_FAILURES: tuple[Failure, ...] = ("retryable", "retryable", "backpressure", "timeout", "permanent")


def walk(number: int) -> Iterator[tuple[str, str]]:
    """The steps of the walk with this number, in words, each with a checksum of all up to it."""
    dice, theme = random.Random(f"walk {number}"), _THEMES[number // A_GROUP % len(_THEMES)]
    machine = _machine(dice, theme)
    told = hashlib.blake2b(digest_size=3)

    def note(*news: object) -> None:
        told.update(repr(news).encode())

    columns = range(machine.graph.num_columns)
    machine.listen([partial(note, column) for column in columns], note, note, note)
    machine.on_step = note
    for _ in range(STEPS):
        step = _step(dice, machine, _WEIGHTS | theme)
        told.update(repr((step, _state(machine))).encode())
        yield step, told.hexdigest()
        if machine.ended and dice.random() < 0.3:
            return


def in_short(number: int) -> str:
    """The checksums after every few steps of a walk, and after the last one."""
    checks = [check for _, check in walk(number)]
    return " ".join([*checks[A_LINE - 1 : -1 : A_LINE], checks[-1]])


def _state(machine: Machine) -> object:
    """All that the machine can be asked."""
    claims = [machine.claim(1), machine.claim(2), machine.counters.claimable()]
    rows = [machine.completed_rows, machine.in_flight, list(machine.state.claimed_rows())]
    return sorted(snapshot(machine).items()), claims, rows, list(machine.enabled())


# Pipelines


def _machine(dice: random.Random, theme: Mapping[str, float]) -> Machine:
    def maybe(chance: float) -> bool:
        return dice.random() < chance

    columns: list[ColumnDescriptor] = []
    kinds: tuple[ExecutionTraits, ...] = _KINDS
    if "committed" in theme:
        kinds = (*_KINDS, *_BARRIERS)
    elif "range" in theme:
        kinds = (*_KINDS, *[T.ROW_STREAMABLE] * 5)
    skips, order = maybe(0.8 if "skip" in theme else 0.3), dice.choice((0.1, 0.5))
    for name in "abcde"[: dice.randint(1, 5)]:
        before = [item.name for item in columns]
        traits = dice.choice(kinds) | (T.ORDERED if maybe(order) else T.NONE)
        if T.ORDERED in traits and T.ROW_STREAMABLE in traits:
            traits = T.ROW_STREAMABLE
        needs = dice.sample(before, dice.randint(min(1, len(before)), min(2, len(before))))
        columns.append(
            ColumnDescriptor(
                name,
                traits=traits,
                dependencies=needs,
                may_skip=skips and maybe(0.4),
                propagate_skip=maybe(0.7),
            )
        )
    scope: BarrierScope = "batch" if maybe(0.15) else "declared"
    size = dice.randint(1, 4)
    graph = ExecutionGraph(dice.randint(1, 10), columns, batch_size=size, barrier_scope=scope)
    taking = {item.name: dice.choice("xy") for item in columns if maybe(0.4)}
    limits = Limits(
        workers=dice.choice((None, 1, 2, 4)),
        resources={"x": 1, "y": dice.randint(1, 3)},
        column_resource=taking,
        group_rows=dice.randint(1, 3) if maybe(0.8 if "admit" in theme else 0.25) else None,
    )
    failures = FailurePolicy(
        1 if "drop" in theme else dice.randint(1, 3),
        stop_window=dice.randint(1, 4) if maybe(0.2) else None,
        stop_rate=dice.choice((0.3, 0.5, 1.0)),
        timeout_s=2.0 if maybe(0.15) else None,
    )
    saving = dice.choice((SavePolicy(rows=2), SavePolicy(seconds=2.0))) if maybe(0.2) else None
    with suppress(SpecError):
        # A barrier may need more groups at once than that.
        check = replace(limits, groups=dice.choice((None, 1, 2, 3)) if limits.group_rows else None)
        check_limits(check, graph.rules)
        limits = check
    machine = Machine(
        graph,
        limits,
        failures=failures,
        drops=maybe(0.75),
        waive=dice.sample(("SCHED-09", "GROUP-06", "CKPT-19", "SCHED-15"), dice.randint(0, 4)),
        config={item.name: "1" for item in columns if maybe(0.5)} if maybe(0.2) else None,
        real_time=maybe(0.1),
        saving=saving,
        idle_s=dice.choice((0.0, 0.0, 1.0)),
        slack_s=0.5 if maybe(0.1) else 0.0,
        bypass=dice.choice((0, 1, 2)) if maybe(0.2) else None,
        claims=ClaimKind(3, by_column=maybe(0.8)) if "committed" in theme or maybe(0.3) else None,
        hears_late=maybe(0.2),
    )
    machine.state.offers_losses = "lose" in theme or maybe(0.3)
    if maybe(0.5 if "range" in theme else 0.2):
        machine.state.killers = Killers(dice.randint(1, 2))
    if maybe(0.3):
        machine.state.once_read = {}
    machine.state.resumes = maybe(0.8)
    return machine


# Steps


def _step(dice: random.Random, machine: Machine, weights: Mapping[str, float]) -> str:
    """What was tried, and what the machine said to it."""
    if dice.random() < 0.12:
        t = machine.now + dice.choice((0.0, 0.5, 0.5, 1.0, 1.0, 3.0, 3.0, -0.5))
        return _answer(f"wait until {t}", partial(machine.at, t))
    offered = action = _likely(dice, machine, weights)
    if action is None or dice.random() < 0.15:
        action = _odd(dice, machine, action)
    if action.kind == "start" and action == offered and "range" in weights:
        action = _range_from(dice, machine, action)
    if action.kind == "resume" and dice.random() < 0.6:
        action = _given_back(dice, machine, action)
    words = _words(action)
    answer = _answer(words, partial(machine.apply, action))
    assert answer == words or action != offered, f"offered, and refused: {answer}"
    return answer


def _range_from(dice: random.Random, machine: Machine, action: Action) -> Action:
    """The start of a range of a streamable column, from the row of another start on."""
    rule = machine.graph.rules.columns[machine.graph.rules.index[action.column]]
    if action.rows is None or not rule.streamable or dice.random() < 0.2:
        return action
    start, cells = action.rows[0], machine.counters.cells[rule.index]
    stop, most = start + 1, min(machine.graph.num_records, start + dice.randint(2, 6))
    # Now and then a row more than is ready.
    while stop < most and (cells[stop] == READY or dice.random() < 0.1):
        stop += 1
    return action._replace(rows=(start, stop))


def _given_back(dice: random.Random, machine: Machine, action: Action) -> Action:
    """A resume that says what storage gave back beside the claim, and with what configuration."""
    names, counters, claim = machine.graph.column_names, machine.counters, action.claim or ()
    drops = [row for row in counters.dropped if any(covers(rows, row) for rows in claim)]
    skipped = {
        names[column]: ranges_of(row for row in sorted(rows) if covers(claim[column], row))
        for column, rows in sorted(counters.skipped.items())
    }
    if dice.random() < 0.7:
        named = {name: rows for name, rows in skipped.items() if rows}
        action = action._replace(dropped=ranges_of(drops), skipped=named)
    if dice.random() < 0.3:
        config = {name: dice.choice("112") for name in names if dice.random() < 0.7}
        action = action._replace(config=config, keep_config=dice.random() < 0.4)
    if dice.random() < 0.3:
        more = dice.choice((-1, 1, 2))
        records = max(1, machine.graph.num_records + more)
        action = action._replace(records=records, keep=dice.random() < 0.6)
    return action


def _answer(words: str, step: Callable[[], object]) -> str:
    try:
        step()
    except (Violation, SpecError) as refused:
        return f"{words}: {refused}"
    return words


def _words(action: Action) -> str:
    plain = Action(action.kind)
    said = zip(action._fields, action, plain, strict=True)
    more = [f"{name}={value}" for name, value, other in said if value != other]
    return " ".join([action.kind, *more])


def _likely(dice: random.Random, machine: Machine, weights: Mapping[str, float]) -> Action | None:
    """A step that is allowed, of a kind by its weight."""
    by_kind: dict[str, list[Action]] = defaultdict(list)
    for action in machine.enabled():
        by_kind[action.kind].append(action)
    if not by_kind:
        return None
    if "lose" in weights and not machine.crashed and dice.random() < 0.06:
        # Only the first loss of a worker is offered.
        return Action("worker_lost")
    (kind,) = dice.choices(list(by_kind), [weights.get(kind, 1.0) for kind in by_kind])
    return dice.choice(by_kind[kind])


def _odd(dice: random.Random, machine: Machine, action: Action | None) -> Action:
    """A step that is like an allowed one, or any; most of them are wrong."""
    graph = machine.graph
    rows = graph.num_records
    start = dice.randrange(rows)
    span = start, min(rows + (dice.random() < 0.05), start + dice.choice((1, 1, 2, 3)))
    name = dice.choice(graph.column_names)
    if action is None:
        claim = machine.claim(dice.choice((1, 2)))
        more = dice.choice((None, rows + 1, rows + 2, max(1, rows - 1)))
        keep = dice.random() < 0.5
        return Action("resume", claim=claim, records=more, keep=keep)
    of_node = bool(action.column)
    changes: list[dict[str, object]] = [
        {"kind": dice.choice(("complete", "fail", "cancel", "take_back", "recall", "start"))},
        {"kind": dice.choice(("durable", "emit", "drop", "skip", "lose"))},
        {"rows": span if action.scope is None and (of_node or action.rows) else action.rows},
        {"column": name if of_node else action.column},
        {"attempt": dice.choice((1, 2, 3))},
        {"rejected": ranges_of(row for row in range(rows) if dice.random() < 0.5)},
        {"abandoned": True},
    ]
    if action.kind == "resume":
        changes = [
            {"records": max(1, rows + dice.choice((-2, -1, 1, 2, 3)))},
            {"records": rows + dice.choice((1, 2, 5)), "keep": True},
            {"records": rows + dice.choice((0, 1)), "keep_config": True},
            {"dropped": (span,)},
            {"skipped": {name: (span,)}},
            {"claim": _other_claim(dice, action.claim or (), rows)},
            {"config": {name: dice.choice("12") for name in graph.column_names}},
        ]
    elif action.claim is not None:
        changes = [
            {"claim": _other_claim(dice, action.claim, rows)},
            {"kind": dice.choice(("commit_begin", "checkpoint_begin"))},
            {"commit": dice.choice((0, 1))},
        ]
    changed = action._replace(**dice.choice(changes))  # type: ignore[arg-type]
    if dice.random() < 0.2:
        changed = _any(dice, machine, name, span)
    if changed.kind == "fail" and changed.failure is None:
        rest_s = dice.choice((None, 0.0, 1.0))
        until = None if rest_s is None else machine.now + rest_s
        changed = changed._replace(failure=dice.choice(_FAILURES), until=until)
    return changed


def _any(dice: random.Random, machine: Machine, name: str, span: tuple[int, int]) -> Action:
    scope = dice.choice((0, 0, 1, 2))
    return dice.choice(
        (
            Action("stop_requested"),
            Action("stop"),
            Action("pause", until=machine.now + dice.choice((0.0, 1.0, 5.0))),
            Action("pause"),
            Action("write_begin", dice.choice(("", name)), span),
            Action("durable", "", span),
            Action("durable", name, span),
            Action("admit", rows=span),
            Action("retire", rows=span),
            Action("checkpoint_failed"),
            Action("committed"),
            Action("commit_failed"),
            Action("worker_lost"),
            Action("recall", name, scope=scope),
            Action("recall", name, span),
            Action("lose", name, scope=scope),
            Action("lose", name, span),
            Action("drop", name, span, cause=dice.choice((None, "filtered", "killer"))),
            Action("complete", name, span, rejected=(span,)),
            Action("complete", name, scope=scope, rejected=(span,)),
            Action("start", name, scope=scope, reads=(span,)),
            Action("start", name, span),
            Action("start", name, span),
            Action("emit", name, span),
            Action("complete", name, span),
            Action("cancel", name, span),
            Action("take_back", name, span),
            Action("fail", name, span),
            Action("fail", name, scope=scope),
            Action("commit_begin", dice.choice(("", name)), span, commit=dice.choice((None, 1))),
            Action("end", outcome=dice.choice(("success", "stopped", "failed", "interrupted"))),
        )
    )


def _other_claim(dice: random.Random, claim: Claim, rows: int) -> Claim:
    """A claim that differs in one column."""
    if not claim:
        return claim
    place = dice.randrange(len(claim))
    first = dice.randrange(rows)
    other: Rows = dice.choice((first, normal([(first, rows)]), 0, rows))
    return tuple(other if at == place else each for at, each in enumerate(claim))


def main() -> int:
    """Print walks, by their numbers."""
    for number in sys.argv[1:]:
        for step, check in walk(int(number)):
            print(check, step)
    return 0


if __name__ == "__main__":
    sys.exit(main())
