"""Ray as an engine: the pipeline is Ray's own task graph, and Ray orders it.

``pytest --pyargs cellspec.conformance --engine-backend=cellspec.engines.ray:RayBackend`` runs the
suite on Ray. Each cell and each barrier is one Ray task. What a task needs it is given as object
references, so that Ray's scheduler, and nothing of ours, decides when it may start; a barrier gives
one object for each row, and what reads it in that row waits for that object. An ordered column's
task is given the one of the live row before as well, and makes nothing of it.

====================  =========================================================================
the specification's   is in Ray
====================  =========================================================================
worker, resource      a custom resource, of which a task takes one part in as many as the limit
attempts              ``max_retries`` with ``retry_exceptions``; Ray counts workers that died on
                      the same budget, so a call whose worker was killed has spent an attempt
back-pressure         nothing: the task waits in its place, as a client library would
a dropped row         a value, `Dropped`, that tasks pass on and barriers leave out; where Ray
                      itself gives up, the driver puts it in the place of the error, and gives Ray
                      again what was to read it
a skipped cell        a value, `SKIPPED`
row groups            the driver gives Ray the tasks of a row group when it admits the group
checkpoints           nothing: the driver waits with ``ray.wait``, and keeps a `DriverState`
====================  =========================================================================

Ray repeats a task about a second after it failed: it looks once a second at what is to be repeated.
A worker that dies after its call has ended, and before Ray has what it gave, has the call made and
paid for twice (clause SCHED-03): Ray promises a task at least once. A worker that dies in the last
attempt that ``max_retries`` allows costs the row, although no call failed; Ray counts it as a
failure, and so no clause is broken. The suite kills no workers, so its workloads meet neither.

Ray knows no rows, so nothing stops a task of a dropped row that does not read the failure: see
`cellspec.engines.rows`. It knows neither calls that give row after row to tasks that were there
before, nor a share of failures at which to stop. None of that is claimed; nor is work conservation,
which nobody can judge in real time.

*Where it runs.* By itself a backend starts one local instance of Ray for its process: no dashboard,
no usage reports, loopback only, its files in a temporary folder that is removed at exit. A limit is
a fraction of a resource, so the one instance serves workloads with any limits. To use a cluster
instead, start its nodes, one of them with the resources that limits are parts of,

``ray start --head --resources='{"cellspec_workers": 1, "cellspec_0": 1, "cellspec_1": 1}'``

and set ``RAY_ADDRESS``, as for any Ray program. What is limited runs on the node that has these
resources, all else anywhere; every node needs cellspec installed, and must reach the machine that
runs the suite, whose address is ``CELLSPEC_PROBE_HOST`` (the loopback interface, if it is not set).

*What real time hides.* A task asks the probe, across processes, for the time of its call. The probe
sees the call end before Ray does, and Ray starts nothing because of it before: order, limits and
retries are judged as they are. But when the driver learns of it is up to the machine, so what is
durable at a crash differs from run to run, and that something was started *too late* is not judged.
And a claim of some columns of a row may come after the probe saw the row fail, and before the
driver heard of it (clause DROP-04); so ``column_checkpoints`` is not claimed. A claim of whole rows
cannot: a row that is complete does not fail any more.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import itertools
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from cellspec.conformance.run.probe import Crash, Probe, Refused
from cellspec.conformance.run.values import SKIPPED, Table
from cellspec.conformance.run.workload import Workload
from cellspec.engines.remote import Gone, ProbeServer, RemoteProbe
from cellspec.engines.rows import DriverState, Dropped, Result, table, with_failures_in_line
from cellspec.errors import SpecError, how_to_install
from cellspec.faults import BackPressure, Permanent, Retryable
from cellspec.graph.nodes import BarrierNodeId, CellNodeId, NodeId
from cellspec.graph.rules import ColumnRule
from cellspec.machine.limits import check_limits

__all__ = ["Driver", "Key", "RayBackend", "Spec"]

CPUS = 4
"""Logical processors of the local instance: worker processes, and so the most calls at once."""

RESOURCES_MAX = 8
"""How many limited resources a workload may have beside its limit of workers."""

PARTS_MAX = 99
"""The highest limit that a part of a resource can express; a higher one is taken for this one."""

OBJECT_STORE_BYTES = 100 * 2**20

_WORKERS = "cellspec_workers"
_RESOURCES = tuple(f"cellspec_{number}" for number in range(RESOURCES_MAX))
_STARTS = 3
"""How often the local instance is started before that is given up."""

_BACK_OFF_S = 0.004
_PROBE_LOOKS_S = 5.0
_LEAVES_S = 5.0
_LAST_LINES_S = 0.5
_WINDOW = 1000
"""References that the driver waits for at once: of those that are open, the first."""

Ref: TypeAlias = Any
Key: TypeAlias = tuple[str, int]
"""A cell: its column and its row."""


class RayBackend:
    """Ray, through its tasks and object references. See `cellspec.engines.ray`.

    Attributes:
        driver_class: what gives Ray its tasks; one that is wrong on purpose is put in here.

    Raises:
        SpecError: Ray is not installed, or the cluster that ``RAY_ADDRESS`` names has none of the
            resources that limits are parts of.
    """

    name = "ray"
    capabilities = frozenset(
        {
            "core",
            "batch_barriers",
            "groups",
            "ordered",
            "retries",
            "drops",
            "skips",
            "resume",
            "targets",
            "storage_steps",
        }
    )
    driver_class: type[Driver]

    def __init__(self) -> None:
        self.ray = _started()
        self.version: str = self.ray.__version__

    def fit(self, work: Workload) -> Workload | None:
        """The nearest workload that Ray can be asked for; None if it limits too many resources."""
        if len(work.limits.resources) > RESOURCES_MAX:
            return None
        return with_failures_in_line(work)

    def run(self, probe: Probe) -> None:
        """Run one life of the workload.

        Raises:
            Refused: limits under which a barrier could never run, or a resume that does not fit.
        """
        try:
            check_limits(probe.work.limits, probe.work.graph(probe.incarnation).rules)
        except SpecError as error:
            raise Refused(str(error)) from None
        # Ray counts a worker that died on the budget of the exceptions that it repeats a task for.
        probe.lost_as = "retryable"
        more = {"skip": lambda column, row, lost: probe.skip(column, row)}  # noqa: ARG005
        host = os.environ.get("CELLSPEC_PROBE_HOST", "127.0.0.1")
        with ProbeServer(probe, more, host=host) as server:
            self.driver_class(self.ray, probe, server.remote).run()

    def table(self, probe: Probe) -> Table:
        """What is durable."""
        return table(probe.folder)


# The driver


class Driver:
    """Gives Ray the tasks of one life, and keeps what it hears of them.

    Args:
        ray: the module.
        probe: the life.
        call: the probe, as tasks take it along.
    """

    ledger_class: type[DriverState] = DriverState

    def __init__(self, ray: Any, probe: Probe, call: RemoteProbe) -> None:
        self.ray = ray
        self.probe = probe
        self.call = call
        self.ledger = self.ledger_class(probe)
        self.rules = self.ledger.graph.rules
        self.groups = _Groups(probe, self.ledger)
        self.refs: dict[Key, Ref] = {}
        self.given: dict[NodeId, _Given] = {}
        """The nodes that Ray has and the driver has not heard of, none before what it needs."""
        self.left: list[NodeId] = []
        """The nodes that Ray was not given yet, in the same order."""
        self._remote: dict[tuple[str, int], Any] = {}

    def run(self) -> None:
        """Run to the end.

        Raises:
            Crash: the process is gone.
            Refused: a resume that does not fit.
        """
        self.ledger.restore()
        self.left = [node for node in self.ledger.graph.iter_nodes() if self._is_task(node)]
        self._admit()
        while not self.ledger.complete:
            self._hear()
            self.ledger.save_if_due()
            if self.groups.retire():
                self._admit()
        self.ledger.save()
        self.probe.end("success")

    # Tasks

    def rule_of(self, node: NodeId) -> ColumnRule:
        """The rule of a node's column."""
        return self.rules.columns[self.rules.index[node.column]]

    def rows_of(self, node: NodeId) -> list[int]:
        """The row of a cell; the rows of a barrier's scope that are live."""
        if isinstance(node, CellNodeId):
            return [node.row]
        start, stop = self.rules.scope_bounds(self.rule_of(node).index, node.batch or 0)
        return [row for row in range(start, stop) if row not in self.ledger.dropped]

    def needs_of(self, node: NodeId) -> list[Key]:
        """The cells whose values a node's call is given, row by row."""
        needs = [self.rules.columns[need].name for need in self.rule_of(node).needs]
        return [(need, row) for row in self.rows_of(node) for need in needs]

    def after(self, node: NodeId) -> list[Key]:
        """The cell of an ordered column that has to be there, although no call is given it."""
        rule, rows = self.rule_of(node), self.rows_of(node)
        if not rule.ordered or not rows:
            return []
        if isinstance(node, CellNodeId):
            row = self.ledger.row_before(node.row)
            return [(node.column, row)] if row >= 0 else []
        before = range((node.batch or 0) * rule.scope_rows)
        keys = [(node.column, row) for row in before]
        # Any row of the scope before has to wait for its barrier, if it is not given up.
        waiting = [key for key in keys if key in self.refs and self.ledger.result(*key) is None]
        return waiting[-1:]

    def options_of(self, node: NodeId) -> dict[str, Any]:
        """How Ray is to run a node's task: what it takes, and how often it is repeated."""
        limits = self.probe.work.limits
        taken = {} if limits.workers is None else {_WORKERS: _part(limits.workers)}
        resource = limits.column_resource.get(node.column)
        if resource is not None:
            place = list(limits.resources).index(resource)
            taken[_RESOURCES[place]] = _part(limits.resources[resource])
        return {
            "num_cpus": 1,
            "resources": taken,
            "max_retries": self.probe.work.failures.max_attempts - 1,
            "retry_exceptions": [Retryable],
        }

    def spec_of(self, node: NodeId, rows: Iterable[int], *, gave_up: bool) -> Spec:
        """What a node's task is to make, for these rows."""
        rule = self.rule_of(node)
        return Spec(
            node.column,
            tuple(rows),
            tuple(self.rules.columns[need].name for need in rule.needs),
            may_skip=rule.may_skip,
            propagates=rule.propagates,
            gave_up=gave_up,
        )

    def _is_task(self, node: NodeId) -> bool:
        """Whether a node is left to be run by a task of its own."""
        if isinstance(node, BarrierNodeId):
            return bool(self.ledger.wanted(node.column, self.rows_of(node)))
        rule = self.rule_of(node)
        if rule.is_barrier:
            return False
        return self.ledger.result(node.column, node.row) is None

    def _admit(self) -> None:
        """Admit what row groups may be, and give Ray all tasks that it can be given now."""
        self.groups.admit()
        left, self.left = self.left, []
        for node in left:
            inputs = [*self.needs_of(node), *self.after(node)]
            if not self._is_task(node):
                continue
            if self.groups.admits(self.rows_of(node)) and all(map(self._is_there, inputs)):
                self._submit(node)
            else:
                self.left.append(node)

    def _is_there(self, key: Key) -> bool:
        return key in self.refs or self.ledger.result(*key) is not None

    def _input(self, key: Key) -> Any:
        """What a task is given for a cell: the value, if it was there before, or a reference."""
        known = self.ledger.result(*key)
        return self.refs[key] if known is None else known

    def _submit(self, node: NodeId, *, gave_up: bool = False) -> None:
        """Give Ray the task of a node."""
        rows = self.rows_of(node)
        spec = self.spec_of(node, rows, gave_up=gave_up)
        keys = [*self.needs_of(node), *self.after(node)]
        inputs = [self._input(key) for key in keys]
        if isinstance(node, BarrierNodeId):
            wanted = self.ledger.wanted(node.column, rows)
            task = self._task(_run_barrier, node, len(rows))
            refs = task.remote(self.call, spec, node.batch or 0, wanted, *inputs)
        else:
            refs = self._task(_run_cell, node, 1).remote(self.call, spec, *inputs)
        refs = refs if isinstance(refs, list) else [refs]
        for key in self.given[node].keys(node) if node in self.given else ():
            del self.refs[key]
        self.given[node] = _Given(rows, keys, refs)
        self.refs.update(zip(self.given[node].keys(node), refs, strict=True))

    def _task(self, function: Callable[..., Any], node: NodeId, rows: int) -> Any:
        known = self._remote.get((node.column, rows))
        if known is None:
            options = {"name": node.column, "num_returns": rows, **self.options_of(node)}
            known = self._remote[node.column, rows] = self.ray.remote(**options)(function)
        return known

    # Results

    def _hear(self) -> None:
        """Wait until a task has ended, and take what all that have ended gave."""
        open_now = list(itertools.islice(self.given.items(), _WINDOW))
        firsts = [given.refs[0] for _, given in open_now]
        self.ray.wait(firsts, num_returns=1)
        ended = set(self.ray.wait(firsts, num_returns=len(firsts), timeout=0)[0])
        for node, given in open_now:
            # Of two tasks the later may have been seen to end and the earlier not; and a task that
            # was given to Ray again has not ended.
            if given.refs[0] not in ended or self.given.get(node) is not given:
                continue
            if all(self.ledger.result(*key) is not None for key in given.inputs):
                self._take(node, given)

    def _take(self, node: NodeId, given: _Given) -> None:
        try:
            values: list[Result] = self.ray.get(given.refs)
        except Exception as error:
            self._failed(node, error)
            return
        self._forget(node)
        if isinstance(node, CellNodeId):
            self.ledger.settle(node.column, node.row, values[0])
        else:
            wanted = set(self.ledger.wanted(node.column, given.rows))
            every = zip(given.rows, values, strict=True)
            self.ledger.settle_barrier(node, {row: value for row, value in every if row in wanted})

    def _forget(self, node: NodeId) -> None:
        for key in self.given.pop(node).keys(node):
            del self.refs[key]

    def _failed(self, node: NodeId, error: Exception) -> None:
        """Ray gave up a task, and with it all that would have read it: those are given again."""
        if isinstance(error, Gone):
            raise Crash("the process is gone") from None
        errors = self.ray.exceptions
        in_task = isinstance(error, errors.RayTaskError)
        if not isinstance(error, Retryable) and (in_task or not isinstance(error, errors.RayError)):
            raise error
        self._wait_for_probe(node)
        stale = set(self.given[node].keys(node))
        if isinstance(node, CellNodeId):
            self._forget(node)
            self.ledger.settle(node.column, node.row, Dropped(node.column))
        else:
            self._submit(node, gave_up=True)
        for other, given in list(self.given.items()):
            if not stale.intersection(given.inputs):
                continue
            stale.update(given.keys(other))
            if self._is_task(other):
                self._submit(other)
            else:
                self._forget(other)

    def _wait_for_probe(self, node: NodeId) -> None:
        """Wait until the probe has seen the call of a node end.

        Ray may learn that a worker is dead before the probe looks at its connection again.
        """
        place = "rows" if isinstance(node, CellNodeId) else "scope"
        position = node.row if isinstance(node, CellNodeId) else node.batch or 0
        until = time.monotonic() + _PROBE_LOOKS_S
        while time.monotonic() < until:
            mine = [
                entry["event"]
                for entry in list(self.probe.log)
                if entry.get("column") == node.column and entry.get(place) == position
            ]
            if mine[-1:] != ["start"]:
                return
            time.sleep(_BACK_OFF_S)


RayBackend.driver_class = Driver


@dataclass(frozen=True, slots=True)
class _Given:
    """A node that Ray was given: its rows, what it waits for, and what it gives to each row."""

    rows: list[int]
    inputs: list[Key]
    refs: list[Ref]

    def keys(self, node: NodeId) -> list[Key]:
        """The cells that it gives."""
        return [(node.column, row) for row in self.rows]


class _Groups:
    """Which row groups are admitted, if rows are admitted in groups.

    Args:
        probe: told of each group that enters and leaves.
        ledger: what is resolved.
    """

    def __init__(self, probe: Probe, ledger: DriverState) -> None:
        self._probe = probe
        self._ledger = ledger
        self._size = probe.work.limits.group_rows
        self._most = probe.work.limits.groups
        self._next = 0
        self._admitted: list[int] = []

    def admit(self) -> None:
        """Admit, in order, as many groups as the limit allows, but none that is resolved."""
        if self._size is None:
            return
        while self._next * self._size < self._probe.rows:
            if not self._is_resolved(self._next):
                if self._most is not None and len(self._admitted) >= self._most:
                    return
                self._probe.admit(self._next)
                self._admitted.append(self._next)
            self._next += 1

    def admits(self, rows: Iterable[int]) -> bool:
        """Whether the groups of all these rows have been admitted, or needed not to be."""
        return self._size is None or all(row // self._size < self._next for row in rows)

    def retire(self) -> bool:
        """Let groups leave whose rows are resolved; True if any did."""
        done = [group for group in self._admitted if self._is_resolved(group)]
        for group in done:
            self._probe.retire(group)
            self._admitted.remove(group)
        return bool(done)

    def _is_resolved(self, group: int) -> bool:
        assert self._size is not None
        stop = min((group + 1) * self._size, self._probe.rows)
        graph, tracker = self._ledger.graph, self._ledger.tracker
        return all(graph.is_row_complete(row, tracker) for row in range(group * self._size, stop))


# Tasks: what runs in Ray's worker processes


@dataclass(frozen=True, slots=True)
class Spec:
    """What a task is to make.

    Attributes:
        column: the column.
        rows: the row of a cell, or the rows that a barrier may read.
        needs: the columns whose values it is given, for each row in this order.
        may_skip: the column has a condition of its own.
        propagates: the column passes skips on.
        gave_up: Ray has given up the call: it is not made, and has failed for good.
    """

    column: str
    rows: tuple[int, ...]
    needs: tuple[str, ...]
    may_skip: bool
    propagates: bool
    gave_up: bool

    def by_row(self, inputs: Sequence[Result]) -> Iterator[tuple[int, dict[str, Result]]]:
        """Each row with its inputs; what comes after them is there for the order alone."""
        width = len(self.needs)
        for place, row in enumerate(self.rows):
            mine = inputs[place * width : (place + 1) * width]
            yield row, dict(zip(self.needs, mine, strict=True))


def _run_cell(call: RemoteProbe, spec: Spec, *inputs: Result) -> Result:
    """The task of a cell."""
    ((row, mine),) = spec.by_row(inputs)
    dropped = _dropped(mine)
    if dropped is not None:
        return dropped
    if (spec.propagates and SKIPPED in mine.values()) or (
        spec.may_skip and call.wants_skip(spec.column, row)
    ):
        call.ask("skip", spec.column, row)
        return SKIPPED
    if spec.gave_up:
        return Dropped(spec.column)
    attempt = _attempt()
    try:
        value: str = _patiently(lambda: call.cell(spec.column, row, _values(mine), attempt))
    except Permanent:
        return Dropped(spec.column)
    return value


def _run_barrier(
    call: RemoteProbe, spec: Spec, scope: int, wanted: Sequence[int], *inputs: Result
) -> Any:
    """The task of a barrier: for each of its rows what it gives to it; None if it is not wanted."""
    given = dict(spec.by_row(inputs))
    results: dict[int, Result | None] = {row: _dropped(given[row]) for row in spec.rows}
    live = [row for row in spec.rows if results[row] is None]
    skips = [row for row in live if spec.propagates and SKIPPED in given[row].values()]
    reads = [row for row in live if row not in skips]
    if any(row in wanted for row in reads):
        results.update(_barrier_values(call, spec, scope, reads, given))
    for row in skips:
        if row in wanted:
            call.ask("skip", spec.column, row)
            results[row] = SKIPPED
    values = [results[row] for row in spec.rows]
    return values if len(values) > 1 else values[0]


def _barrier_values(
    call: RemoteProbe,
    spec: Spec,
    scope: int,
    reads: Sequence[int],
    given: Mapping[int, Mapping[str, Result]],
) -> Mapping[int, Result]:
    failed = dict.fromkeys(reads, Dropped(spec.column))
    if spec.gave_up:
        return failed
    attempt = _attempt()
    mine = [_values(given[row]) for row in reads]
    try:
        values = _patiently(lambda: call.barrier(spec.column, scope, reads, mine, attempt))
    except Permanent:
        return failed
    return dict(zip(reads, values, strict=True))


def _patiently(call: Callable[[], Any]) -> Any:
    """Make a call, and wait where it is turned away, for as long as that is asked for."""
    while True:
        try:
            return call()
        except BackPressure as busy:
            time.sleep(_BACK_OFF_S if busy.retry_after_s is None else busy.retry_after_s)


def _attempt() -> int | None:
    """Which of Ray's tries at a task this is, from 1; None if this release does not say."""
    # Ray has no public name for it.
    worker = importlib.import_module("ray._private.worker").global_worker
    number = getattr(worker.core_worker, "get_current_task_attempt_number", None)
    return None if number is None else int(number()) + 1


def _dropped(inputs: Mapping[str, Result]) -> Dropped | None:
    return next((value for value in inputs.values() if isinstance(value, Dropped)), None)


def _values(inputs: Mapping[str, Result]) -> dict[str, str]:
    return {name: value for name, value in inputs.items() if isinstance(value, str)}


def _part(limit: int) -> float:
    """What a task takes of a resource of which there is one, so that `limit` of them fit.

    Ray counts in ten-thousandths.
    """
    return (10_000 // min(limit, PARTS_MAX)) / 10_000


# Ray itself


def _started() -> Any:
    """Ray, connected to the cluster that the environment names or to a local instance.

    Raises:
        SpecError: it is not installed, does not start, or lacks the resources.
    """
    # They are read when Ray is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A call after the end is a mistake, and no reason to start Ray once more.
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    # A task that Ray repeats is what was asked for.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "Task _run_(cell|barrier) failed")
    if not os.environ.get("RAY_ADDRESS"):
        # Elsewhere than on Linux this is the default, and what it is good for is the loopback.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise SpecError(f"the Ray backend needs Ray; {how_to_install('ray')}") from None
    if not ray.is_initialized():
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            if os.environ.get("RAY_ADDRESS"):
                ray.init(**quiet)
            else:
                _start_local(ray, quiet)
        except Exception as error:
            why = (str(error).splitlines() or [type(error).__name__])[0]
            raise SpecError(f"Ray does not start: {why}") from None
    missing = [name for name in (_WORKERS, _RESOURCES[0]) if name not in ray.cluster_resources()]
    if missing:
        raise SpecError(
            f"Ray: the cluster has no resource {missing[0]!r}; start one node with "
            f'--resources=\'{{"{_WORKERS}": 1, "{_RESOURCES[0]}": 1}}\''
        )
    return ray


def _start_local(ray: Any, quiet: Mapping[str, Any]) -> None:
    """Start a local instance, and see to it that it ends with this process."""
    for left in reversed(range(_STARTS)):
        # Not where TMPDIR says: the paths of sockets must be short.
        folder = tempfile.mkdtemp(prefix="cellspec-ray-", dir="/tmp")
        atexit.register(_stop_local, ray, folder)
        try:
            ray.init(
                address="local",
                num_cpus=CPUS,
                num_gpus=0,
                resources=dict.fromkeys((_WORKERS, *_RESOURCES), 1),
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                _temp_dir=folder,
                # Other programs on the machine are no reason to kill a task.
                _system_config={"memory_monitor_refresh_ms": 0},
                **quiet,
            )
        except Exception:
            # Ray waits 30 s for its own processes, which a busy machine may need longer to start.
            # It stops them at exit, and so the folder stays until then.
            if not left:
                raise
        else:
            # A worker that is still starting when it is wanted makes a run look as if it stood.
            warm_up = ray.remote(num_cpus=1)(_warm_up)
            ray.get([warm_up.remote() for _ in range(CPUS)])
            return


def _warm_up() -> None:
    """Import this module in a worker, and leave the other workers what is left to warm up."""
    time.sleep(0.1)


def _stop_local(ray: Any, folder: str) -> None:
    with contextlib.suppress(Exception):
        ray.shutdown()
    until = time.monotonic() + _LEAVES_S
    while Path(folder).exists() and time.monotonic() < until:
        shutil.rmtree(folder, ignore_errors=True)
        # What is being stopped may still write its last lines, and make the folder again.
        time.sleep(_LAST_LINES_S)
