"""Random workloads of a campaign, drawn by Hypothesis.

`workloads("drops")` gives pipelines, limits, faults and crashes that put the clauses of one profile
to the test. The draws keep three promises.

*Every draw is valid.* A fault names a node of the graph, limits let every barrier run (or the
engine must refuse them, clause GROUP-04), and a retry budget lasts where it must. So every example
counts, and none is filtered out.

*It shrinks.* The draws are small integers and lists of them; a workload is read off them afterwards
(`_Shape`, and the functions below it). A number out of range is taken modulo the range. So when
Hypothesis takes away a column, the faults and crashes drawn after it stay meaningful, and the first
choice of everything is the dullest: a workload without barrier, limit, fault or crash.

*It gets there.* Each profile has coverage goals (`cellspec.conformance.run.coverage_goals`), and
the weights below are chosen so that a campaign of the default size covers all of them.

Profiles are drawn *swarm* fashion: besides its own feature a workload has each of the features in
`beside` or not, so that every pair of features meets, and each is also seen alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, TypeVar, cast

from hypothesis import strategies as st

from cellspec.conformance.campaign.variations import step_count, varied
from cellspec.conformance.judge.profiles import DRAWN
from cellspec.conformance.run.workload import Fault, StorageFault, Workload
from cellspec.graph.columns import ColumnDescriptor, ExecutionTraits
from cellspec.graph.rowset import parts_touched
from cellspec.machine.actions import Failure
from cellspec.machine.limits import FailurePolicy, Limits
from cellspec.machine.policy import within_budget

__all__ = ["workloads"]

_T = ExecutionTraits
_NAMES = "abcdefghijkl"
_FEATURES = tuple(profile.name for profile in DRAWN if profile.mixed)

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
_BACKOFFS_S = (0.0, 0.25, 1.0, 3.0, 3.0)
_LATENCIES_S = (0.5, 0.0625, 0.25, 2.0, 0.0)


_Value = TypeVar("_Value")
_Make = TypeVar("_Make", bound=Callable[..., Any])


def _once(make: _Make) -> _Make:
    """The function, which makes each strategy once: to make one takes longer than to draw."""
    return cast(_Make, lru_cache(maxsize=256, typed=True)(make))


@_once
def _any_of(*values: _Value) -> st.SearchStrategy[_Value]:
    """One of the values, each as often as it is given; it shrinks to the first."""
    return st.sampled_from(values)


@_once
def _either(few: tuple[int, int], many: tuple[int, int]) -> st.SearchStrategy[int]:
    """An integer of one of two ranges, which may overlap; bounds are included."""
    return st.integers(*few) | st.integers(*many)


def _often(value: bool = True) -> st.SearchStrategy[bool]:
    """True two times in three, and shrinks to the opposite of `value`."""
    return _any_of(not value, value, value)


def _sometimes() -> st.SearchStrategy[bool]:
    """True one time in three."""
    return _any_of(False, False, True)


def _seldom() -> st.SearchStrategy[bool]:
    """True one time in six."""
    return _any_of(*(False,) * 5, True)


def _mostly_several(most: int) -> st.SearchStrategy[int]:
    """1 to `most`, and 1 half as often as the others: with one of a thing little can go wrong."""
    return _either((1, most), (min(2, most), most))


@dataclass(frozen=True, slots=True)
class _Column:
    """The draws of one column. `needs` has a bit for each column before it, nearest first."""

    kind: str
    needs: int
    start: bool
    makes_more: bool
    by_side_effect: bool
    ordered: bool
    may_skip: bool
    keeps_skip: bool
    latency_s: float


@dataclass(slots=True)
class _Shape:
    """A pipeline read off its drawn columns; later draws refer to columns by number."""

    rows: int
    columns: list[ColumnDescriptor]
    barriers: list[int]
    streams: list[int]
    batch_size: int | None
    barrier_scope: Literal["declared", "batch"]
    latency_s: dict[str, float]
    most_rows: int = 0

    def scope_rows(self, column: int) -> int:
        """Rows of one scope of a barrier, over the largest dataset that is asked for."""
        batched = _T.BATCH_BARRIER in self.columns[column].traits
        if self.batch_size is not None and (batched or self.barrier_scope == "batch"):
            return self.batch_size
        return self.most_rows

    def positions(self, column: int) -> int:
        """How many nodes of a column can fail: its rows, or its scopes."""
        if column not in self.barriers:
            return self.most_rows
        return -(-self.most_rows // self.scope_rows(column))

    def step_count(self, every: int | None, known: Collection[str]) -> int:
        """Steps of a run, about, with a save after so many rows."""
        calls = map(self.positions, range(len(self.columns)))
        return step_count(calls, self.most_rows, every, known)


@st.composite
def workloads(
    draw: st.DrawFn,
    profile: str = "core",
    *,
    beside: Collection[str] = (),
    max_columns: int = 5,
    max_rows: int = 6,
) -> Workload:
    """Workloads that put one profile to the test.

    Args:
        profile: the feature that every workload has.
        beside: further capabilities that a workload may use: other profiles, and capabilities
            without a profile, as ``batch_barriers``. Give only capabilities of the engine.
        max_columns: of the pipeline, at most 12.
        max_rows: of the dataset.
    """
    known = frozenset(beside) | {profile}
    if profile == "killer_cells":
        # Which rows are given up depends on what else was in flight.
        known -= {"targets", "config"}
    # A crash, or a stop, is interesting by the work that it interrupts, a loss by what is durable.
    often = ("resume", "interrupts", "lost_workers")
    mixed_in = st.booleans() if profile in often else _sometimes()
    has = {profile} | {
        name for name in _FEATURES if name in known and name != profile and draw(mixed_in)
    }
    if profile in ("storage_faults", "torn_writes"):
        # What storage loses shows in what the next process finds.
        has.add("resume")
    if profile in ("cache", "killer_cells"):
        # Only what a crash leaves can be recalled.
        has.add("resume")
    rows = draw(_mostly_several(max_rows))
    column = _column(frozenset(has), known, max_columns)
    shape = _read_columns(
        rows,
        [draw(column) for _ in range(draw(_mostly_several(max_columns)))],
        draw(st.integers(1, max_rows + 1)),
        batch_scope="batch_barriers" in known and draw(_seldom()),
    )
    crashes, targets, keep = draw(_incarnations(shape, has, known, max_rows))
    shape.most_rows = max((rows, *targets))
    policy = draw(_policy(has, known))
    resuming = "resume" in has
    every = draw(_any_of(None, 1, 1, 1, 2, 3)) if resuming else None
    steps = shape.step_count(every, known)
    work = Workload(
        columns=tuple(shape.columns),
        rows=rows,
        batch_size=shape.batch_size,
        barrier_scope=shape.barrier_scope,
        limits=draw(_limits(shape, has)),
        failures=policy,
        latency_s=shape.latency_s,
        faults=draw(_faults(shape, has, policy)),
        skips=draw(_skips(shape)),
        checkpoint_every_rows=every,
        checkpoint_version=_version(
            known, rows, by_column=resuming and "column_checkpoints" in known and draw(_often())
        )
        if resuming
        else 1,
        crashes=tuple(1 + crash * steps // 64 for crash in crashes),
        targets=targets,
        keep=keep,
        seed=draw(st.integers(0, 255)),
        order_seed=draw(st.integers(0, 15)),
    )
    # Drawn last, so that it changes no draw of another profile.
    if profile == "timeouts":
        work = draw(_timeouts(work, shape, drops="drops" in known))
    if profile == "storage_faults":
        work = draw(_storage(work))
    if profile == "filters":
        work = draw(_filters(work, shape))
    if profile == "interrupts":
        work = draw(_asked_to_stop(work, steps))
    if profile == "lost_workers":
        losses = draw(_losses(len(crashes) + 1))
        work = work.replace(worker_losses=tuple(1 + loss * steps // 64 for loss in losses))
    if profile == "torn_writes":
        work = draw(_torn(work, steps))
    if profile == "killer_cells":
        work = draw(_killers(work, shape))
    return varied(work, known)


def _version(known: Collection[str], rows: int, *, by_column: bool) -> Literal[1, 2, 3]:
    """The version of the checkpoints: an engine that claims any cells is asked for no less.

    One that also claims the first rows of each column is asked for every version.
    """
    if {"set_claims", "commits"}.intersection(known):
        if by_column or "column_checkpoints" not in known:
            return 3
        return 2 if rows % 2 else 1
    return 2 if by_column else 1


# Columns


@_once
def _column(
    has: frozenset[str], known: frozenset[str], max_columns: int
) -> st.SearchStrategy[_Column]:
    kinds = ["cell", "cell", "cell", "barrier"]
    if "batch_barriers" in known:
        kinds.append("batch")
    if "drops" in has or "skips" in has or "resume" in has:
        kinds += kinds[3:]
    if "streaming" in has:
        kinds += ["stream"] * 3
    never = st.just(False)
    return st.builds(
        _Column,
        kind=_any_of(*kinds),
        needs=st.integers(0, 2 ** (max_columns - 1) - 1),
        start=st.booleans(),
        makes_more=_sometimes(),
        by_side_effect=st.booleans(),
        ordered=st.booleans() if "ordered" in has else never,
        may_skip=st.booleans() if "skips" in has else never,
        keeps_skip=_sometimes() if "skips" in has else never,
        latency_s=_any_of(*_LATENCIES_S),
    )


def _read_columns(
    rows: int, drawn: Sequence[_Column], batch_size: int, *, batch_scope: bool
) -> _Shape:
    shape = _Shape(rows, [], [], [], None, "batch" if batch_scope else "declared", {}, rows)
    for place, item in enumerate(drawn):
        name = _NAMES[place]
        traits = _T.START if item.start else _T.NONE
        if item.kind == "barrier":
            traits |= _T.BARRIER
        elif item.kind == "batch":
            traits |= _T.BATCH_BARRIER
        elif item.kind == "stream":
            traits |= _T.ROW_STREAMABLE
            shape.streams.append(place)
        elif place % 2:
            traits |= _T.CELL_BY_CELL
        if item.kind in ("barrier", "batch"):
            shape.barriers.append(place)
        if item.kind == "batch" or batch_scope:
            shape.batch_size = batch_size
        needs = []
        for distance in range(place):
            if item.needs >> distance & 1:
                made = shape.columns[place - 1 - distance].all_produced_columns
                needs.append(made[-1] if item.by_side_effect else made[0])
        shape.columns.append(
            ColumnDescriptor(
                name,
                traits=traits | (_T.ORDERED if item.ordered else _T.NONE),
                dependencies=needs,
                side_effects=[f"{name}_more"] if item.makes_more else [],
                may_skip=item.may_skip and place not in shape.barriers,
                propagate_skip=not item.keeps_skip,
            )
        )
        if item.latency_s != _LATENCIES_S[0]:
            shape.latency_s[name] = item.latency_s
    return shape


# Limits, failures and skips


@st.composite
def _limits(draw: st.DrawFn, shape: _Shape, has: Collection[str]) -> Limits:
    workers = draw(_any_of(None, 1, 2, 3))
    resources: dict[str, int] = {}
    column_resource: dict[str, str] = {}
    users = draw(st.integers(0, 2 ** len(shape.columns) - 1)) if draw(st.booleans()) else 0
    if users:
        resources["r"] = draw(st.integers(1, 2))
        column_resource = {
            item.name: "r" for place, item in enumerate(shape.columns) if users >> place & 1
        }
    if "groups" not in has:
        return Limits(workers, resources, column_resource)
    group_rows = draw(st.integers(1, 4))
    # A barrier waits for every row of its scope, so as many groups as it touches must fit. Seldom
    # one fewer is asked for, and an engine must refuse to run that (clause GROUP-04).
    touched = 1
    for column in shape.barriers:
        size = shape.scope_rows(column)
        for start in range(0, shape.most_rows, size):
            stop = min(start + size, shape.most_rows)
            touched = max(touched, len(parts_touched(start, stop, group_rows)))
    spare = draw(_any_of(None, 0, 0, 0, 1, -1))
    if spare == -1 and (touched == 1 or "resume" in has):
        spare = 0
    groups = None if spare is None else touched + spare
    return Limits(workers, resources, column_resource, group_rows, groups)


@st.composite
def _policy(draw: st.DrawFn, has: set[str], known: Collection[str]) -> FailurePolicy:
    attempts = draw(st.integers(2, 3)) if has & {"retries", "timeouts"} else 1
    if has & {"drops", "filters"} and "early_stop" in known and draw(_sometimes()):
        window = draw(_any_of(4, 3, 2, 1))
        # A rate need not be a simple fraction, nor a whole number of calls.
        odd = st.integers(1, 100).map(lambda percent: percent / 100)
        return FailurePolicy(attempts, window, draw(_any_of(1.0, 0.5, 0.25) | odd))
    return FailurePolicy(attempts)


@st.composite
def _faults(
    draw: st.DrawFn, shape: _Shape, has: Collection[str], policy: FailurePolicy
) -> tuple[Fault, ...]:
    chains: tuple[tuple[Failure, ...], ...] = ()
    if "retries" in has:
        chains += _RETRY + _PUSH_BACK
    if "drops" in has:
        chains += _FOR_GOOD * (3 if chains else 1)
        chains += _LATE_FOR_GOOD if "retries" in has else ()
    if not chains:
        return ()
    drawn = draw(_failing(len(shape.columns), shape.most_rows, chains))
    # Now and then a whole column fails, and with it every row of a barrier's scope.
    whole = "drops" in has and draw(_seldom())
    made: dict[tuple[str, int], tuple[Fault, ...]] = {}
    for column, place, chain, backoff_s in drawn:
        count = shape.positions(column)
        for position in range(count) if whole else (place % count,):
            name = shape.columns[column].name
            answers = chain if "drops" in has else within_budget(chain, policy.max_attempts)
            made.setdefault(
                (name, position),
                tuple(
                    Fault(name, position, call, failure, backoff_s)
                    for call, failure in enumerate(answers, 1)
                ),
            )
        whole = False
    return tuple(fault for faults in made.values() for fault in faults)


@_once
def _failing(
    columns: int, rows: int, chains: tuple[tuple[Failure, ...], ...]
) -> st.SearchStrategy[list[tuple[int, int, tuple[Failure, ...], float]]]:
    """Nodes that fail: each a column, a place in it, the chain of its answers, and a backoff."""
    return st.lists(
        st.tuples(
            st.integers(0, columns - 1),
            _either((0, 1), (0, 2 * rows - 1)),
            _any_of(*chains),
            _any_of(*_BACKOFFS_S),
        ),
        min_size=1,
        max_size=4,
    )


@st.composite
def _timeouts(draw: st.DrawFn, work: Workload, shape: _Shape, *, drops: bool) -> Workload:
    """A bound of calls, and calls that hang; without drops no node times out more than once."""
    bound_s = draw(_any_of(*(_BOUNDS_S if drops else _BOUNDS_S[:1])))
    taken = {(fault.column, fault.position) for fault in work.faults}
    hanging: dict[tuple[str, int], int] = {}
    for column, place, calls in draw(
        st.lists(
            st.tuples(
                st.integers(0, len(shape.columns) - 1),
                st.integers(0, 2 * shape.most_rows - 1),
                st.integers(1, work.failures.max_attempts if drops else 1),
            ),
            min_size=1,
            max_size=3,
        )
    ):
        node = shape.columns[column].name, place % shape.positions(column)
        if node not in taken:
            hanging.setdefault(node, calls)
    made = (
        Fault(name, position, call, "timeout")
        for (name, position), calls in hanging.items()
        for call in range(1, calls + 1)
    )
    policy = replace(work.failures, timeout_s=bound_s)
    return work.replace(failures=policy, faults=(*work.faults, *made))


@st.composite
def _filters(draw: st.DrawFn, work: Workload, shape: _Shape) -> Workload:
    """Cells whose answer rejects their row, and barriers that answer with a wrong length."""
    places = st.tuples(
        st.integers(0, len(shape.columns) - 1), st.integers(0, 2 * shape.most_rows - 1)
    )
    rejects = dict.fromkeys(
        (shape.columns[column].name, place % shape.most_rows)
        for column, place in draw(st.lists(places, min_size=1, max_size=4))
    )
    taken = {(fault.column, fault.position) for fault in work.faults}
    odd: dict[tuple[str, int], Fault] = {}
    # How an engine fails such a call is its choice, and would decide whether the run stops early.
    if shape.barriers and work.failures.stop_window is None and draw(_sometimes()):
        column = draw(_any_of(*shape.barriers))
        node = shape.columns[column].name, draw(st.integers(0, shape.positions(column) - 1))
        if node not in taken:
            how: Literal["short", "long"] = draw(_any_of("short", "long"))
            odd[node] = Fault(*node, answers=how)
    return work.replace(rejects=tuple(rejects), faults=(*work.faults, *odd.values()))


@st.composite
def _skips(draw: st.DrawFn, shape: _Shape) -> tuple[tuple[str, int], ...]:
    able = [item.name for item in shape.columns if item.may_skip]
    if not able:
        return ()
    every = 2**shape.most_rows - 1
    mask = st.integers(0, every)
    # Whole columns too: a barrier of which no row is left is a case of its own.
    whole = st.just(every)
    masks = [draw(mask if draw(_often()) else whole) for _ in able]
    return tuple(
        (name, row)
        for name, bits in zip(able, masks, strict=True)
        for row in range(shape.most_rows)
        if bits >> row & 1
    )


@st.composite
def _killers(draw: st.DrawFn, work: Workload, shape: _Shape) -> Workload:
    """The workload with cells that end the process."""
    able = [place for place in range(len(shape.columns)) if place not in shape.barriers]
    if not able:
        return work
    cells = st.tuples(_any_of(*able), st.integers(0, work.rows - 1))
    drawn = draw(st.lists(cells, min_size=1, max_size=2, unique=True))
    return work.replace(killers=tuple((shape.columns[place].name, row) for place, row in drawn))


# Stop requests


@st.composite
def _asked_to_stop(draw: st.DrawFn, work: Workload, steps: int) -> Workload:
    """The workload with stop requests in 64ths of an incarnation, which has so many steps."""
    # Nearly always, and more of them early than late: the interest is in what is left to do.
    if not draw(_any_of(False, *(True,) * 5)):
        return work
    stop = _either((0, 63), (6, 36))
    stops = draw(st.lists(stop, min_size=1, max_size=len(work.crashes) + 1))
    return work.replace(
        stop_at=tuple(1 + stop * steps // 64 for stop in stops), stop_twice=draw(_sometimes())
    )


# Storage


@_once
def _storage_faults() -> st.SearchStrategy[list[StorageFault]]:
    fault = st.builds(
        StorageFault,
        write=_any_of("data", "claim", "claim"),
        number=_either((1, 2), (1, 5)),
        lands=st.booleans(),
        lasts=_seldom(),
    )
    return st.lists(fault, min_size=1, max_size=4)


@st.composite
def _storage(draw: st.DrawFn, work: Workload) -> Workload:
    """The workload with storage that is slow, and fails now and then or from some write on."""
    drawn = draw(_storage_faults())
    return work.replace(
        checkpoint_every_rows=work.checkpoint_every_rows or draw(st.integers(1, 2)),
        storage_s=draw(_any_of(0.0, 0.25, 1.0)),
        storage_faults={(one.write, one.number): one for one in drawn}.values(),
    )


@st.composite
def _torn(draw: st.DrawFn, work: Workload, steps: int) -> Workload:
    """The workload with crashes in the middle of an operation on a file; it has one at least."""
    crashes = work.crashes or (1 + draw(st.integers(0, 63)) * steps // 64,)
    # An engine makes a claim by some four of them.
    operations = [draw(_either((1, 2), (0, 6))) for _ in crashes]
    return work.replace(
        crashes=crashes,
        torn=[operations[0] or 1, *operations[1:]],
        checkpoint_every_rows=work.checkpoint_every_rows or draw(st.integers(1, 2)),
    )


# Crashes, and other targets


@_once
def _losses(most: int) -> st.SearchStrategy[list[int]]:
    """Where incarnations lose a worker, in 64ths of one; early there is little to lose."""
    return st.lists(_either((4, 63), (16, 48)), min_size=1, max_size=most)


@_once
def _crashes() -> st.SearchStrategy[list[int]]:
    """Crash points; more of them late than early, for claims come late."""
    return st.lists(_either((0, 63), (24, 71)), max_size=3)


@st.composite
def _incarnations(
    draw: st.DrawFn, shape: _Shape, has: Collection[str], known: Collection[str], max_rows: int
) -> tuple[list[int], tuple[int, ...], bool]:
    """Crash points in 64ths of an incarnation, its rows, and whether claimed rows are kept."""
    if "resume" not in has:
        return [], (), False
    crashes = draw(_crashes())
    if "targets" not in known or not draw(_sometimes()):
        return crashes, (), False
    later = draw(st.lists(st.integers(1, max_rows + 2), min_size=1, max_size=2))
    if later[0] < shape.rows and draw(_often()):
        # Fewer rows than are durable are refused, so the crash must come before they are.
        crashes = [draw(st.integers(0, 31)), *crashes[1:]]
    return crashes, (shape.rows, *later), draw(st.booleans())
