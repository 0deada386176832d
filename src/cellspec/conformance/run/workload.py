"""A workload: the one value that decides a conformance run.

The suite judges engines on pipelines that it makes up: columns and rows, the time of each call,
the calls that fail and how, the cells that are skipped, the crashes of the process and the number
of rows that the next one is asked for. All of it is in one frozen value. Two runs of one workload
ask an engine for the same, so a failure can be found again: a workload is written to a *case file*
(`Workload.to_json`), and its `repr` is Python that makes it.

A call's time and fault are a function of the workload and of the call's number: the n-th call of
that cell, or barrier, in this run of the process. So a call takes as long and fails the same way
beside any other calls, a resumed process meets the same failures again, and more rows leave the
calls of the earlier rows unchanged.

An *incarnation* is one run of the process: it ends by a crash or by itself. Incarnation 0 begins
with an empty folder, each later one with the folder of its predecessor.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from copy import copy
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, Literal, Self, TypeAlias, get_args

import msgspec

from cellspec.conformance.run.foreign import FOREIGN, Reading
from cellspec.conformance.run.row_ids import RowId, RowIds, ids_of, row_of
from cellspec.conformance.run.values import Style, Texts
from cellspec.errors import SpecError
from cellspec.graph.columns import ColumnDescriptor
from cellspec.graph.graph import BarrierScope, ExecutionGraph
from cellspec.graph.plain import column_shape, descriptor_of
from cellspec.machine.machine import Failure, FailurePolicy, Limits
from cellspec.shapes import Column
from cellspec.text import listed_names

__all__ = [
    "CASE_FORMAT",
    "DEFAULT_LATENCY_S",
    "HANG_BOUNDS",
    "TICK_S",
    "End",
    "Fault",
    "StorageFault",
    "StorageWrite",
    "Visit",
    "Workload",
]

CASE_FORMAT = 1
"""The version of the case file that `Workload.to_json` writes and `Workload.from_json` reads."""

TICK_S = 1 / 16
"""Every latency is a multiple of this many seconds: a power of two, so that sums are exact."""

DEFAULT_LATENCY_S = 0.5
"""The mean latency of a column that the workload does not name, in seconds."""

Visit: TypeAlias = Literal["", "config", "batch_size", "pipeline"]
"""A process of somebody else that begins in a run's folder: what differs from the run's own."""

HANG_BOUNDS = 3
"""A call that hangs is in flight for so many times the bound, unless the engine ends it."""

_FAILURES = ("retryable", "backpressure", "permanent", "timeout")


@dataclass(frozen=True, slots=True)
class Fault:
    """One call that fails.

    Attributes:
        column: the column whose generator is called.
        position: the row; for a barrier, the number of its scope.
        call: which call of that cell or barrier in one incarnation fails, from 1. A call of a range
            counts for a row when it comes to that row: the rows before it have been given then.
        failure: ``"retryable"``, ``"backpressure"``, ``"permanent"``, or ``"timeout"`` for a call
            that hangs until the engine ends it (see `Workload.timeout_s`).
        answers: of a barrier, a list of another length than its input, in place of a failure:
            ``"short"`` or ``"long"``, by one value. The engine must refuse it; whether it then
            fails the call as permanent or as retryable is its choice (clause FAIL-09).
        raises: the name of a foreign exception (`cellspec.conformance.run.foreign.FOREIGN`) that
            the call raises, in place of one that names its kind; `failure` is how the workload
            reads it, `Workload.foreign`.
        cool_down_s: seconds before which the call must not be repeated, as a back-pressure answer
            says; None if the answer does not say. After another failure the engine decides how
            long to wait.
    """

    column: str
    position: int
    call: int = 1
    failure: Failure = "retryable"
    cool_down_s: float | None = 0.0
    answers: Literal["", "short", "long"] = ""
    raises: str = ""


StorageWrite: TypeAlias = Literal["data", "claim"]
"""What a write of storage holds."""


@dataclass(frozen=True, slots=True)
class StorageFault:
    """One write of storage that fails.

    Attributes:
        write: what it would write, ``"data"`` or ``"claim"``.
        number: which write of that kind in each incarnation, from 1.
        lands: it reports an error, and what it was to write is on storage all the same.
        lasts: every later write of the incarnation fails too, whatever it holds, and none of them
            lands: storage is full.
    """

    write: StorageWrite
    number: int = 1
    lands: bool = False
    lasts: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """One call that ends at a set time.

    Attributes:
        incarnation: the incarnation in which it is made, from 0.
        column: the column whose generator is called.
        position: the row; for a barrier, the number of its scope.
        call: which call of that cell or barrier in that incarnation, from 1.
        t: its end, in seconds since the run began; a call after that time ends at once.
    """

    incarnation: int
    column: str
    position: int
    call: int
    t: float


@dataclass(frozen=True, repr=False)
class Workload:
    """One run to judge an engine by. See `cellspec.conformance.run.workload`.

    Attributes:
        columns: the pipeline, in any order.
        rows: rows of the dataset, unless `targets` says otherwise.
        batch_size: rows of one batch; needed if a barrier has batch scope.
        barrier_scope: ``"declared"``, or ``"batch"`` for every barrier.
        seed: the seed of the latencies.
        limits: the calls that may run at once.
        failures: attempts, and when to stop early.
        latency_s: mean latency of a column's calls, in seconds; see `latency`.
        faults: the calls that fail.
        skips: (column, row) of the cells whose own condition says to skip them.
        checkpoint_every_rows: a checkpoint is due after so many rows; None for none before the end.
        checkpoint_version: the version of the checkpoint's payload: 1 claims rows, 2 the first
            rows of each column, 3 any cells.
        crashes: for each incarnation, the step at which the process dies, from 1; 0 for one that
            runs to its end, as those beyond the list do. A step is a call's start, a call's end, a
            report to the probe (but the end of the run), or a `Probe.storage_step`.
        targets: for each incarnation, how many rows it is asked for; those beyond the list are
            asked for as many as the last one.
        order_seed: permutes, on the virtual clock, the tasks that are ready at the same time.
        keep: a resume with another target keeps claimed rows of barriers whose scope changes,
            instead of being refused (clause CKPT-16).
        ends: calls whose end is set; the others take as long as `latency` says.
        worker_losses: for each incarnation, the step after which a worker is lost, from 1; 0 for
            none, as in those beyond the list. A result that was lost is made again without a fault.
        row_ids: how the ids look by which an engine is to name the rows: ``"shuffled"``,
            ``"gappy"``, ``"text"`` or ``"digits"``; "" for row numbers (see `ids`).
        killers: (column, row) of the cells whose call ends the process each time that it would end;
            no output of a barrier. The next process begins by itself.
        versions: by column, the version of its generator: its values are others in each version.
        texts: by column, how its values look: ``"empty"``, ``"null"``, ``"number"`` (like one),
            ``"lines"`` (of several lines), ``"long"`` or ``"same"`` (in every row); else digests.
        foreign: how a call is to be read that raises an exception which names no kind:
            ``"permanent"`` or ``"retryable"``. The engine is told so, as by a configuration.
        rejects: (column, row) of the cells whose answer is `cellspec.conformance.REJECTED`: their
            rows are dropped as filtered. Of a barrier, the rows that its answer leaves out.
        visits: for each incarnation, the process of somebody else that begins in the folder after
            it crashed, and must leave it as it is (clauses CKPT-20 and CKPT-21); "" for none, as
            after those beyond the list.
        torn: for each incarnation that crashes, the operation on a file, from 1 and from the crash
            step on, in whose middle the process dies instead (clause CKPT-28); 0 for the step
            itself, as beyond the list.
        stop_at: for each incarnation, the step after which the engine is asked to stop, counted as
            for `crashes`; 0 for none, as beyond the list. The next incarnation goes on from there.
        stop_twice: the engine is asked again two steps later.
        storage_s: how long each write of storage takes, in seconds; see `Probe.storage`.
        storage_faults: the writes of storage that fail.

    Raises:
        SpecError: a field that cannot be used; the message names it.
    """

    columns: tuple[ColumnDescriptor, ...]
    rows: int
    batch_size: int | None = None
    barrier_scope: BarrierScope = "declared"
    seed: int = 0
    limits: Limits = field(default_factory=Limits)
    failures: FailurePolicy = field(default_factory=FailurePolicy)
    latency_s: Mapping[str, float] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    skips: tuple[tuple[str, int], ...] = ()
    checkpoint_every_rows: int | None = None
    checkpoint_version: Literal[1, 2, 3] = 1
    crashes: tuple[int, ...] = ()
    targets: tuple[int, ...] = ()
    order_seed: int = 0
    keep: bool = False
    ends: tuple[End, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    visits: tuple[Visit, ...] = ()
    texts: Mapping[str, Texts] = field(default_factory=dict)
    stop_at: tuple[int, ...] = ()
    stop_twice: bool = False
    storage_s: float = 0.0
    storage_faults: tuple[StorageFault, ...] = ()
    rejects: tuple[tuple[str, int], ...] = ()
    foreign: Reading = "permanent"
    worker_losses: tuple[int, ...] = ()
    row_ids: RowIds = ""
    killers: tuple[tuple[str, int], ...] = ()
    torn: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        lists = ("columns", "faults", "skips", "rejects", "killers", "crashes", "targets", "ends")
        for name in (*lists, "visits", "stop_at", "storage_faults", "worker_losses", "torn"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _check_counts(self)
        # A workload that was made from another with the same columns has its graphs already.
        if "_graph_of" not in vars(self):
            object.__setattr__(self, "_graph_of", {})
        graph = self.graph(max(range(self.incarnations), key=self.rows_of))
        _check_columns(self, graph)
        _check_faults(self, graph)
        _check_ends(self, graph)
        _check_versions(self, graph)
        # Refused here rather than in the middle of a run: every incarnation has a graph.
        for incarnation in range(self.incarnations):
            self.graph(incarnation)
        made = {(fault.column, fault.position, fault.call): fault for fault in self.faults}
        if len(made) != len(self.faults):
            raise SpecError("workload: faults: two of them say how the same call fails")
        object.__setattr__(self, "_fault_of", made)
        object.__setattr__(self, "_skip_of", frozenset(self.skips))
        object.__setattr__(self, "_reject_of", frozenset(self.rejects))
        object.__setattr__(self, "_killer_of", frozenset(self.killers))
        ends = {(end.incarnation, end.column, end.position, end.call): end.t for end in self.ends}
        if len(ends) != len(self.ends):
            raise SpecError("workload: ends: two of them say when the same call ends")
        object.__setattr__(self, "_end_of", ends)
        _check_storage(self)

    # Incarnations

    @property
    def incarnations(self) -> int:
        """The most processes that the run can take.

        One more than crashes or stop requests, and one for each target. Those that follow a
        process which a killer ended are not counted.
        """
        return max(len(self.crashes) + 1, len(self.targets), len(self.stop_at) + 1)

    @property
    def timeout_s(self) -> float | None:
        """Seconds that each call may be in flight, by the failure policy; None without a bound."""
        return self.failures.timeout_s

    @property
    def lives(self) -> int:
        """`incarnations`, by its name up to version 0.1."""
        return self.incarnations

    @property
    def descriptors(self) -> list[ColumnDescriptor]:
        """The columns with their versions."""
        return [item.replace(version=self.versions.get(item.name)) for item in self.columns]

    def rows_of(self, incarnation: int) -> int:
        """The number of rows that an incarnation is asked for."""
        if not self.targets:
            return self.rows
        return self.targets[min(incarnation, len(self.targets) - 1)]

    @property
    def ids(self) -> tuple[RowId, ...]:
        """The ids of the rows, as many as any incarnation is asked for; the first ones are those of
        an incarnation with fewer rows."""
        return ids_of(self.row_ids, self.seed, self._most_rows)

    def row_of(self, one: object) -> int:
        """The number of the row with this id; −1 for one that no row has."""
        return row_of(self.row_ids, self.seed, self._most_rows, one)

    @property
    def _most_rows(self) -> int:
        return max(map(self.rows_of, range(self.incarnations)))

    def crash_step(self, incarnation: int) -> int:
        """The step at which an incarnation crashes, from 1; 0 if it runs to its end."""
        return self.crashes[incarnation] if incarnation < len(self.crashes) else 0

    def torn_operation(self, incarnation: int) -> int:
        """The operation on a file in whose middle an incarnation dies, from 1 and from its crash
        step on; 0 if it dies at no such operation."""
        return self.torn[incarnation] if incarnation < len(self.torn) else 0

    def stop_steps(self, incarnation: int) -> tuple[int, ...]:
        """The steps of an incarnation after which the engine is asked to stop, from 1."""
        step = self.stop_at[incarnation] if incarnation < len(self.stop_at) else 0
        if not step:
            return ()
        return (step, step + 2) if self.stop_twice else (step,)

    def loss_step(self, incarnation: int) -> int:
        """The step after which an incarnation loses a worker, from 1; 0 if it loses none."""
        steps = self.worker_losses
        return steps[incarnation] if incarnation < len(steps) else 0

    def graph(self, incarnation: int = 0) -> ExecutionGraph:
        """The graph of one incarnation.

        Raises:
            GraphError: columns that form no graph.
        """
        made: dict[int, ExecutionGraph] = self._graph_of  # type: ignore[attr-defined]
        rows = self.rows_of(incarnation)
        if rows not in made:
            made[rows] = ExecutionGraph(
                rows,
                self.descriptors,
                batch_size=self.batch_size,
                barrier_scope=self.barrier_scope,
            )
        return made[rows]

    # Calls

    def latency(self, column: str, position: int, call: int) -> float:
        """How long a call takes, in seconds: a multiple of `TICK_S`.

        A function of (seed, column, position, call) alone, spread evenly around the column's mean;
        a mean of 0 takes no time at all.
        """
        mean_s = self.latency_s.get(column, DEFAULT_LATENCY_S)
        ticks = round(mean_s / TICK_S)
        if mean_s <= 0:
            return 0.0
        if ticks <= 1:
            return TICK_S
        key = f"{self.seed}\n{column}\n{position}\n{call}".encode()
        drawn = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")
        return (1 + drawn % (2 * ticks - 1)) * TICK_S

    def end_s(self, incarnation: int, column: str, position: int, call: int) -> float | None:
        """The set end of the n-th call of a cell or barrier in an incarnation, in s, or None."""
        found: float | None = self._end_of.get((incarnation, column, position, call))  # type: ignore[attr-defined]
        return found

    def fault(self, column: str, position: int, call: int) -> Fault | None:
        """The fault of the n-th call of a cell or barrier in each incarnation, or None."""
        found: Fault | None = self._fault_of.get((column, position, call))  # type: ignore[attr-defined]
        return found

    def failure_of(self, column: str, position: int, call: int) -> Failure | None:
        """How the n-th call of a cell or barrier fails that no one cancels; None if it ends well.

        A call that takes longer than the bound times out, whatever it would have answered.
        """
        bound_s = self.timeout_s
        if bound_s is not None and self.latency(column, position, call) > bound_s:
            return "timeout"
        fault = self.fault(column, position, call)
        return None if fault is None else fault.failure

    def style(self, column: str) -> Style:
        """What the values of a column depend on beside their inputs."""
        return Style(self.versions.get(column, ""), self.texts.get(column, ""))

    def wants_skip(self, column: str, row: int) -> bool:
        """True if the column's own condition says to skip this cell."""
        return (column, row) in self._skip_of  # type: ignore[attr-defined]

    def is_rejected(self, column: str, row: int) -> bool:
        """True if the answer of this cell rejects its row, or that of the barrier leaves it out."""
        return (column, row) in self._reject_of  # type: ignore[attr-defined]

    def is_killer(self, column: str, row: int) -> bool:
        """True if the call of this cell ends the process."""
        return (column, row) in self._killer_of  # type: ignore[attr-defined]

    # Text

    def __repr__(self) -> str:
        """Python that makes this workload, without the fields that have their default."""
        parts = [f"columns=({', '.join(map(_column_text, self.columns))},)"]
        for item in fields(self)[1:]:
            value = getattr(self, item.name)
            if value != _default(item):
                parts.append(f"{item.name}={_short(value)}")
        return f"Workload({', '.join(parts)})"

    def to_dict(self) -> dict[str, Any]:
        """The workload as plain JSON data; `from_dict` reads it."""
        plain: dict[str, Any] = {"case": CASE_FORMAT}
        for item in fields(self):
            plain[item.name] = _plain(getattr(self, item.name))
        return plain

    @classmethod
    def from_dict(cls, data: object, source: str = "workload") -> Self:
        """The workload that plain JSON data describes.

        Args:
            data: the result of `to_dict`.
            source: the origin of the data; messages begin with it.

        Raises:
            SpecError: a field that is missing, unknown or cannot be used.
        """
        if not isinstance(data, dict):
            raise SpecError(f"{source}: expected an object, got {type(data).__name__}")
        # Imported here: pydantic costs a quarter of a second, and only a case file needs it.
        from cellspec.conformance.run.case_fields import read_fields

        given = read_fields(data, source)
        try:
            return cls(**_arguments(given))
        except SpecError as error:
            raise SpecError(f"{source}: {str(error).removeprefix('workload: ')}") from None

    def to_json(self) -> str:
        """The case file of this workload: JSON, one field a line."""
        items = (
            f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in self.to_dict().items()
        )
        return "{\n" + ",\n".join(items) + "\n}\n"

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "workload") -> Self:
        """The workload of a case file.

        Raises:
            SpecError: text that is not JSON (with the line), or a field that cannot be used.
        """
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise SpecError(f"{source}: line {error.lineno}: not JSON: {error.msg}") from None
        except (UnicodeDecodeError, RecursionError, ValueError) as error:
            raise SpecError(f"{source}: not JSON: {error}") from None
        return cls.from_dict(data, source)

    def replace(self, **changes: Any) -> Self:
        """The same workload with some fields changed.

        Raises:
            SpecError: as for the fields themselves.
        """
        if not changes.keys() <= _KEEPS_GRAPHS:
            return replace(self, **changes)
        made = copy(self)
        vars(made).update(changes)
        made.__post_init__()
        return made


_KEEPS_GRAPHS = frozenset(item.name for item in fields(Workload)) - {
    "columns",
    "versions",
    "batch_size",
    "barrier_scope",
}
"""The fields of which the graphs, by number of rows, are independent."""


# Checks


def _check_counts(work: Workload) -> None:
    _expect("rows", work.rows, 1)
    _expect("order_seed", work.order_seed, 0)
    if work.foreign not in get_args(Reading):
        raise SpecError(f"workload: foreign: expected permanent or retryable, got {work.foreign!r}")
    if type(work.seed) is not int:
        raise SpecError(f"workload: seed: expected an integer, got {work.seed!r}")
    if work.checkpoint_every_rows is not None:
        _expect("checkpoint_every_rows", work.checkpoint_every_rows, 1)
    if work.checkpoint_version not in (1, 2, 3):
        raise SpecError(
            f"workload: checkpoint_version: expected 1, 2 or 3, got {work.checkpoint_version!r}"
        )
    steps = (("crashes", 0), ("targets", 1), ("stop_at", 0), ("worker_losses", 0), ("torn", 0))
    for name, least in steps:
        for incarnation, value in enumerate(getattr(work, name)):
            _expect(f"{name}[{incarnation}]", value, least)


def _check_columns(work: Workload, graph: ExecutionGraph) -> None:
    for column, mean_s in work.latency_s.items():
        _known(f"latency_s.{column}", column, graph)
        if not _is_seconds(mean_s):
            raise SpecError(
                f"workload: latency_s.{column}: expected seconds from 0 up, got {mean_s!r}"
            )
    if work.limits.column_places:
        raise SpecError("workload: limits.column_places: an engine is asked for one place a call")
    for column in work.limits.column_resource:
        _known(f"limits.column_resource.{column}", column, graph)
    for place, (column, row) in enumerate(work.skips):
        where = f"skips[{place}]"
        _known(where, column, graph)
        if not graph.rules.columns[graph.rules.index[column]].may_skip:
            raise SpecError(f"workload: {where}: column {column!r} has no skip condition")
        _within(where, row, graph.num_records)
    for place, (column, row) in enumerate(work.rejects):
        _known(f"rejects[{place}]", column, graph)
        _within(f"rejects[{place}]", row, graph.num_records)
    for place, (column, row) in enumerate(work.killers):
        _known(f"killers[{place}]", column, graph)
        _within(f"killers[{place}]", row, graph.num_records)
        if graph.rules.columns[graph.rules.index[column]].is_barrier:
            raise SpecError(f"workload: killers[{place}]: column {column!r} is a barrier")


def _check_faults(work: Workload, graph: ExecutionGraph) -> None:
    for place, fault in enumerate(work.faults):
        where = f"faults[{place}]"
        if not isinstance(fault, Fault):
            raise SpecError(f"workload: {where}: expected a Fault, got {fault!r}")
        _known(where, fault.column, graph)
        column = graph.rules.index[fault.column]
        _within(where, fault.position, graph.rules.scope_count(column) or graph.num_records)
        _expect(f"{where}.call", fault.call, 1)
        if fault.failure not in _FAILURES:
            raise SpecError(
                f"workload: {where}.failure: expected one of {', '.join(_FAILURES)}, "
                f"got {fault.failure!r}"
            )
        if fault.failure == "timeout" and work.timeout_s is None:
            raise SpecError(
                f"workload: {where}.failure: a call that hangs needs failures.timeout_s"
            )
        if fault.raises:
            _check_raises(work, fault, where)
        if fault.answers not in ("", "short", "long"):
            raise SpecError(
                f"workload: {where}.answers: expected short or long, got {fault.answers!r}"
            )
        if fault.answers and not graph.rules.columns[column].is_barrier:
            raise SpecError(f"workload: {where}.answers: column {fault.column!r} is no barrier")
        if fault.cool_down_s is not None and not _is_seconds(fault.cool_down_s):
            raise SpecError(
                f"workload: {where}.cool_down_s: expected seconds from 0 up, "
                f"got {fault.cool_down_s!r}"
            )


def _check_storage(work: Workload) -> None:
    if not _is_seconds(work.storage_s):
        raise SpecError(f"workload: storage_s: expected seconds from 0 up, got {work.storage_s!r}")
    for place, fault in enumerate(work.storage_faults):
        where = f"storage_faults[{place}]"
        if not isinstance(fault, StorageFault) or fault.write not in get_args(StorageWrite):
            raise SpecError(
                f"workload: {where}: expected a StorageFault of data or claim, got {fault!r}"
            )
        _expect(f"{where}.number", fault.number, 1)
    if len({(fault.write, fault.number) for fault in work.storage_faults}) < len(
        work.storage_faults
    ):
        raise SpecError("workload: storage_faults: two of them say how the same write fails")


def _check_raises(work: Workload, fault: Fault, where: str) -> None:
    if fault.raises not in FOREIGN:
        known = ", ".join(FOREIGN)
        raise SpecError(f"workload: {where}.raises: expected one of {known}, got {fault.raises!r}")
    if fault.failure != work.foreign:
        raise SpecError(
            f"workload: {where}.failure: expected {work.foreign}, as foreign exceptions are read, "
            f"got {fault.failure!r}"
        )
    if fault.raises == "TimeoutError" and work.foreign == "permanent":
        raise SpecError(
            f"workload: {where}.raises: a TimeoutError is worth another attempt; give it to a "
            "workload with foreign='retryable'"
        )


def _check_ends(work: Workload, graph: ExecutionGraph) -> None:
    for place, end in enumerate(work.ends):
        where = f"ends[{place}]"
        if not isinstance(end, End):
            raise SpecError(f"workload: {where}: expected an End, got {end!r}")
        _known(where, end.column, graph)
        column = graph.rules.index[end.column]
        _within(where, end.position, graph.rules.scope_count(column) or graph.num_records)
        _expect(f"{where}.incarnation (life in a case file)", end.incarnation, 0)
        _expect(f"{where}.call", end.call, 1)
        if not _is_seconds(end.t):
            raise SpecError(f"workload: {where}.t: expected seconds from 0 up, got {end.t!r}")


def _check_versions(work: Workload, graph: ExecutionGraph) -> None:
    for item in work.columns:
        if item.version is not None:
            raise SpecError(
                f"workload: columns: {item.name!r} has a version; give it in `versions`"
            )
    for column, version in work.versions.items():
        _known(f"versions.{column}", column, graph)
        if not isinstance(version, str):
            raise SpecError(f"workload: versions.{column}: expected a text, got {version!r}")
    for column, texts in work.texts.items():
        _known(f"texts.{column}", column, graph)
        if texts not in get_args(Texts):
            raise SpecError(
                f"workload: texts.{column}: expected one of {', '.join(get_args(Texts)[1:])}, or "
                f"'' for plain digests, got {texts!r}"
            )
    if work.row_ids not in get_args(RowIds):
        raise SpecError(
            f"workload: row_ids: expected one of {', '.join(get_args(RowIds)[1:])}, or '' for row "
            f"numbers, got {work.row_ids!r}"
        )
    for place, visit in enumerate(work.visits):
        if visit not in get_args(Visit):
            raise SpecError(
                f"workload: visits[{place}]: expected one of {', '.join(get_args(Visit)[1:])}, or "
                f"'' for none, got {visit!r}"
            )


def _expect(where: str, value: object, least: int) -> None:
    if type(value) is not int or value < least:
        raise SpecError(f"workload: {where}: expected an integer from {least} up, got {value!r}")


def _within(where: str, position: object, stop: int) -> None:
    if type(position) is not int or not 0 <= position < stop:
        raise SpecError(
            f"workload: {where}: position {position!r} is out of range; expected 0 to {stop - 1}"
        )


def _known(where: str, column: str, graph: ExecutionGraph) -> None:
    if column not in graph.rules.index:
        known = listed_names(graph.column_names)
        raise SpecError(f"workload: {where}: unknown column {column!r}; the columns are {known}")


def _is_seconds(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and value >= 0
    )


# Python text


def _default(item: Any) -> Any:
    if item.default_factory is not MISSING:
        return item.default_factory()
    return item.default


def _column_text(item: ColumnDescriptor) -> str:
    parts = [repr(item.name)]
    names = column_shape(item).traits
    if names:
        parts.append("traits=" + " | ".join(f"ExecutionTraits.{name}" for name in names))
    if item.dependencies:
        parts.append(f"dependencies={list(item.dependencies)!r}")
    if item.side_effects:
        parts.append(f"side_effects={list(item.side_effects)!r}")
    if item.may_skip:
        parts.append("may_skip=True")
    if not item.propagate_skip:
        parts.append("propagate_skip=False")
    return f"ColumnDescriptor({', '.join(parts)})"


def _short(value: object) -> str:
    """`repr`, without the fields of our own values that have their default."""
    if isinstance(value, Limits | FailurePolicy | Fault | End | StorageFault):
        parts = []
        for item in fields(value):
            mine = getattr(value, item.name)
            if item.default is MISSING and item.default_factory is MISSING:
                parts.append(repr(mine))
            elif mine != _default(item):
                parts.append(f"{item.name}={mine!r}")
        return f"{type(value).__name__}({', '.join(parts)})"
    if isinstance(value, tuple):
        inside = ", ".join(map(_short, value))
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    return repr(dict(value)) if isinstance(value, Mapping) else repr(value)


# The case file


# The word of the format for a field of `End`.
_NAMES = {"incarnation": "life"}
# Fields of parts that a file without them is read as; files from before stay as they were.
_NEWER = frozenset({"timeout_s", "answers", "raises", "column_places"})


def _plain(value: Any) -> Any:
    """JSON data of a field; `cellspec.conformance.run.case_fields` reads it."""
    if isinstance(value, ColumnDescriptor):
        shape = msgspec.structs.asdict(column_shape(value))
        return {name: _plain(field) for name, field in shape.items()}
    if isinstance(value, Limits | FailurePolicy | Fault | End | StorageFault):
        return {
            _NAMES.get(item.name, item.name): _plain(getattr(value, item.name))
            for item in fields(value)
            if item.name not in _NEWER or getattr(value, item.name) != _default(item)
        }
    if isinstance(value, Mapping):
        return dict(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `Workload` that the fields of a case file stand for."""
    own = {name: value for name, value in given.items() if name != "case"}
    own["columns"] = [descriptor_of(Column(**item)) for item in given["columns"]]
    own["limits"] = Limits(**given["limits"])
    own["failures"] = FailurePolicy(**given["failures"])
    own["faults"] = [Fault(**item) for item in given["faults"]]
    own["storage_faults"] = [StorageFault(**item) for item in given["storage_faults"]]
    own["ends"] = [
        End(item["life"], item["column"], item["position"], item["call"], item["t"])
        for item in given["ends"]
    ]
    return own
