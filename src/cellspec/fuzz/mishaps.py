"""Mishaps of a fuzzed workload: what happens to calls, storage and processes beside plain failures.

Each kind is in a workload or not, by a coin of its own, and the knob `mishaps` says how many there
are of it. They are drawn from a stream of their own: with the knob at 0 a seed gives the workload
that it gave before there were any.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Literal, TypeAlias

from cellspec.conformance.run.workload import Fault, StorageFault, Workload

__all__ = ["with_mishaps"]

# Above every latency of a fuzzed workload, so that only calls that hang reach it.
_BOUND_S = 8.03125

_Mishap: TypeAlias = Callable[[Workload, random.Random, int], Workload]


def with_mishaps(
    work: Workload,
    dice: random.Random,
    known: Collection[str],
    *,
    amount: float,
    steps: Callable[[float], int],
) -> Workload:
    """The workload with mishaps, as many of each kind as the amount says.

    Args:
        work: as it was drawn.
        dice: the stream of the draws.
        known: the capabilities that it may use.
        amount: how many there are, from 0 to 1.
        steps: the step at a share of an incarnation.
    """
    count = round(6 * amount)
    if not count:
        return work

    def losses(work: Workload, dice: random.Random, count: int) -> Workload:
        shares = [dice.random() for _ in range(min(count, len(work.crashes) + 1))]
        return work.replace(worker_losses=tuple(map(steps, shares)))

    kinds: tuple[tuple[str, _Mishap], ...] = (
        ("timeouts", _time_outs),
        ("filters", _rejects),
        ("storage_faults", _storage),
        ("lost_workers", losses),
        ("killer_cells", _killers),
    )
    for capability, add in kinds:
        # The coin and the draws of one kind are the same whatever the engine knows of the others.
        own = random.Random(dice.random())
        if capability in known and own.random() < 0.3:
            work = add(work, own, count)
    return work


def _nodes(work: Workload, dice: random.Random, count: int) -> Iterator[tuple[str, int]]:
    """Some nodes that take a call and do not fail anyway."""
    rules = work.graph().rules
    taken = {(fault.column, fault.position) for fault in work.faults}
    for _ in range(count):
        rule = dice.choice(rules.columns)
        node = rule.name, dice.randrange(rules.scope_count(rule.index) or work.rows)
        if node not in taken:
            taken.add(node)
            yield node


def _cells(work: Workload, dice: random.Random, count: int) -> tuple[tuple[str, int], ...]:
    """Some cells, no output of a barrier among them."""
    names = [rule.name for rule in work.graph().rules.columns if not rule.is_barrier]
    cells = [(dice.choice(names), dice.randrange(work.rows)) for _ in range(count) if names]
    return tuple(dict.fromkeys(cells))


def _time_outs(work: Workload, dice: random.Random, count: int) -> Workload:
    """A bound of calls, and calls that hang for longer; none for its last attempt."""
    policy = work.failures
    if policy.max_attempts == 1:
        return work
    hanging = [
        Fault(column, position, 1, "timeout") for column, position in _nodes(work, dice, count)
    ]
    return work.replace(
        failures=replace(policy, timeout_s=_BOUND_S), faults=(*work.faults, *hanging)
    )


def _rejects(work: Workload, dice: random.Random, count: int) -> Workload:
    """Cells whose answer rejects their row."""
    return work.replace(rejects=_cells(work, dice, count))


def _storage(work: Workload, dice: random.Random, count: int) -> Workload:
    """Storage that takes its time, and writes that fail and may have landed."""
    if work.checkpoint_every_rows is None:
        return work
    faults: dict[tuple[str, int], StorageFault] = {}
    for _ in range(count):
        write: Literal["data", "claim"] = dice.choice(("data", "claim"))
        number = dice.randint(1, 2 * count)
        faults[write, number] = StorageFault(write, number, lands=dice.random() < 0.5)
    return work.replace(storage_s=dice.choice((0.0, 0.25)), storage_faults=tuple(faults.values()))


def _killers(work: Workload, dice: random.Random, count: int) -> Workload:
    """Cells that end the process each time; what they do to other targets is nobody's promise."""
    if work.targets or any(work.visits) or work.checkpoint_every_rows is None:
        return work
    return work.replace(killers=_cells(work, dice, min(count, 2)))
