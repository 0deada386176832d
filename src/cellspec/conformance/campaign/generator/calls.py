"""What the calls of a workload do: fail, hang, reject their row, skip, and give odd values."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TypeAlias, get_args

from cellspec.conformance.campaign.choices import Choices
from cellspec.conformance.campaign.generator.columns import Shape
from cellspec.conformance.campaign.generator.size import Knobs, Size
from cellspec.conformance.run.foreign import FOREIGN, Reading
from cellspec.conformance.run.row_ids import RowIds
from cellspec.conformance.run.values import Texts
from cellspec.conformance.run.workload import Fault
from cellspec.machine.actions import Failure
from cellspec.machine.limits import FailurePolicy
from cellspec.machine.policy import within_budget

__all__ = [
    "draw_faults",
    "draw_ids",
    "draw_odd_answers",
    "draw_policy",
    "draw_reading",
    "draw_rejects",
    "draw_skips",
    "draw_texts",
    "draw_timeouts",
]

# Chains of answers that one node gives to its calls, by kind of failure.
_RETRY: tuple[tuple[Failure, ...], ...] = (
    ("retryable",),
    ("retryable", "retryable"),
    ("retryable", "retryable", "retryable"),
)
_PUSH_BACK: tuple[tuple[Failure, ...], ...] = (
    ("backpressure",),
    ("backpressure", "retryable"),
    ("retryable", "backpressure", "retryable"),
    ("backpressure", "backpressure", "backpressure"),
)
_FOR_GOOD: tuple[tuple[Failure, ...], ...] = (("permanent",),)
_LATE_FOR_GOOD: tuple[tuple[Failure, ...], ...] = (
    ("retryable", "permanent"),
    ("retryable", "retryable", "retryable", "retryable"),
    ("backpressure", "permanent"),
)
# No latency is equal to a bound, and the first is above every latency.
_BOUNDS_S = (4.03125, 1.03125, 0.53125, 0.53125)
_FEW_ROWS = 8
_BACKOFFS_S = (0.0, 0.25, 1.0, 3.0, 3.0)


def draw_policy(choices: Choices, shape: Shape, has: Collection[str]) -> FailurePolicy:
    """How many attempts a node has, how long a call may take, and when the run stops early."""
    attempts = choices.integer(2, 3) if "retries" in has or "timeouts" in has else 1
    if "early_stop" not in has:
        return FailurePolicy(attempts)
    # A rate need not be a simple fraction, nor a whole number of calls.
    rate = choices.sample((1.0, 0.5, 0.5, 0.25, 0.25, 0.0)) or choices.integer(1, 100) / 100
    window = choices.sample((4, 3, 2, 2, 1)) * max(1, shape.rows // 12)
    return FailurePolicy(attempts, window, rate)


def _place(choices: Choices, count: int) -> int:
    """A node of a column: often one of the first two, and of many now and then one at the end."""
    place = choices.either((0, min(1, count - 1)), (0, count - 1))
    return count - 1 - place if count > 8 and choices.chance(1, 3) else place


_Chains: TypeAlias = "tuple[tuple[Failure, ...], ...]"


def _chains(has: Collection[str], must: Collection[str]) -> tuple[_Chains, list[_Chains]]:
    """The chains that nodes fail by, and those of the first nodes, which have to be there."""
    chains: _Chains = ()
    first: list[_Chains] = []
    if "retries" in has:
        chains += _RETRY + _PUSH_BACK
        first += [chains] if "retries" in must else []
    if "drops" in has:
        for_good = _FOR_GOOD * (3 if chains else 1) + (_LATE_FOR_GOOD if chains else ())
        chains += for_good
        # A run that may stop early has to have something to stop by.
        first += [for_good] if "drops" in must or "early_stop" in has else []
    return chains, first


def draw_faults(
    choices: Choices,
    shape: Shape,
    knobs: Knobs,
    has: Collection[str],
    must: Collection[str],
    policy: FailurePolicy,
) -> tuple[Fault, ...]:
    """The calls that fail."""
    chains, first = _chains(has, must)
    if not chains or not knobs.faults:
        return ()
    # Now and then a whole column fails, and with it every row of a barrier's scope; or each of its
    # cells fails once, all about together. Where a run may stop early that is more often so: then
    # it does stop, and cells wait to be tried again.
    stops = "early_stop" in has
    whole = "drops" in has and choices.chance(3 if stops else 1, 6)
    once = "retries" in has and choices.chance(4 if stops else 1, 8)
    made: dict[tuple[str, int], tuple[Fault, ...]] = {}
    for number in range(max(knobs.faults, len(first))):
        column = choices.integer(0, len(shape.columns) - 1)
        count = shape.positions(column)
        place = _place(choices, count)
        chain = choices.sample(first[number] if number < len(first) else chains)
        backoff_s = choices.sample(_BACKOFFS_S)
        answers = chain if "drops" in has else within_budget(chain, policy.max_attempts)
        for position in range(count) if whole else (place,):
            node = shape.name(column), position
            made.setdefault(
                node,
                tuple(
                    Fault(*node, call, failure, backoff_s)
                    for call, failure in enumerate(answers, 1)
                ),
            )
        whole = False
    if once:
        column = choices.integer(0, len(shape.columns) - 1)
        away = stops and choices.chance(1, 2)
        for position in range(shape.positions(column)):
            node = shape.name(column), position
            fault = Fault(*node, 1, "backpressure", 3.0) if away else Fault(*node, cool_down_s=0.25)
            made.setdefault(node, (fault,))
    return tuple(fault for faults in made.values() for fault in faults)


def _free_nodes(
    choices: Choices, shape: Shape, count: int, taken: Collection[tuple[str, int]]
) -> dict[tuple[str, int], None]:
    """Some nodes that take a call and are not taken."""
    found: dict[tuple[str, int], None] = {}
    for _ in range(count):
        column = choices.integer(0, len(shape.columns) - 1)
        node = shape.name(column), _place(choices, shape.positions(column))
        if node not in taken:
            found[node] = None
    return found


def draw_timeouts(
    choices: Choices,
    shape: Shape,
    size: Size,
    knobs: Knobs,
    policy: FailurePolicy,
    taken: Collection[tuple[str, int]],
    *,
    drops: bool,
) -> tuple[FailurePolicy, list[Fault]]:
    """A bound of calls, and calls that hang; without drops no node times out more than once."""
    drops = drops and not size.scheduled
    bound_s = choices.sample(_BOUNDS_S) if drops else _BOUNDS_S[0]
    made = [
        Fault(*node, call, "timeout")
        for node in _free_nodes(choices, shape, min(3, knobs.mishaps), taken)
        for call in range(1, 1 + (choices.integer(1, policy.max_attempts) if drops else 1))
    ]
    return replace(policy, timeout_s=bound_s), made


def draw_odd_answers(
    choices: Choices, shape: Shape, taken: Collection[tuple[str, int]]
) -> list[Fault]:
    """Now and then a barrier that answers with a list of another length."""
    if not shape.barriers or not choices.chance(1, 3):
        return []
    column = choices.sample(shape.barriers)
    node = shape.name(column), choices.integer(0, shape.positions(column) - 1)
    short = choices.chance(1, 2)
    return [] if node in taken else [Fault(*node, answers="long" if short else "short")]


def draw_rejects(choices: Choices, shape: Shape, knobs: Knobs) -> tuple[tuple[str, int], ...]:
    """The cells whose answer rejects their row; of a barrier, the rows that its answer leaves
    out."""
    cells: dict[tuple[str, int], None] = {}
    for _ in range(knobs.mishaps):
        column = choices.integer(0, len(shape.columns) - 1)
        cells[shape.name(column), choices.integer(0, shape.most_rows - 1)] = None
    return tuple(cells)


def draw_skips(choices: Choices, shape: Shape, *, must: bool) -> tuple[tuple[str, int], ...]:
    """The cells whose own condition says to skip them; at least one, if some must be."""
    able = [item.name for item in shape.columns if item.may_skip]
    every = 2**shape.most_rows - 1
    skips: list[tuple[str, int]] = []
    for name in able:
        # Few of its rows, half of them, or all: a barrier of which no row is left is a case of its
        # own.
        bits = every
        for _ in range(choices.sample((2, 1, 1, 0, 0))):
            bits &= choices.integer(0, every)
        if must and name == able[-1] and not (bits or skips):
            bits = 1 << choices.integer(0, shape.most_rows - 1)
        skips += [(name, row) for row in range(shape.most_rows) if bits >> row & 1]
    return tuple(skips)


def draw_reading(
    choices: Choices, faults: tuple[Fault, ...], *, readable: bool
) -> tuple[Reading, tuple[Fault, ...]]:
    """How exceptions are read that name no kind, and the faults, some of which raise such ones.

    They are permanent, unless the engine can be told otherwise. Half of the calls that are turned
    away until no time in particular do not say when to come back, as many a 429 has no such header.
    """
    if not faults or not choices.chance(1, 2):
        return "permanent", faults
    reading: Reading = "retryable" if readable and choices.chance(1, 2) else "permanent"
    names = [name for name in FOREIGN if reading == "retryable" or name != "TimeoutError"]

    def varied(fault: Fault) -> Fault:
        if fault.failure == reading and not fault.answers:
            return replace(fault, raises=choices.sample(names)) if choices.chance(2, 3) else fault
        if fault.failure == "backpressure" and not fault.cool_down_s and choices.chance(1, 2):
            return replace(fault, cool_down_s=None)
        return fault

    return reading, tuple(map(varied, faults))


def draw_texts(choices: Choices, shape: Shape) -> Mapping[str, Texts]:
    """Values that look like something else, in half of the columns, and in one at least."""
    looks: tuple[Texts, ...] = get_args(Texts)[1:]
    if shape.most_rows > _FEW_ROWS:
        # Long ones take a hundred times as long as others, and show in a few rows what they show.
        looks = tuple(one for one in looks if one != "long")
    chosen = {item.name: choices.sample(looks) for item in shape.columns if choices.chance(1, 2)}
    return chosen or {choices.sample(shape.columns).name: choices.sample(looks)}


def draw_ids(choices: Choices) -> RowIds:
    """How the ids of rows look that have ids of their own."""
    kinds: tuple[RowIds, ...] = get_args(RowIds)[1:]
    return choices.sample(kinds)
