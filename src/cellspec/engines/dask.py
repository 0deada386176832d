"""Dask under the conformance suite: the workload as a task graph of Dask's own.

``pytest --pyargs cellspec.conformance --engine-backend=cellspec.engines.dask:DaskBackend``

What is judged is Dask's distributed scheduler, used the way somebody would who has a pipeline to
run and no scheduler of their own. Each cell is one key of a Dask graph, and so is each barrier and
each output cell of a barrier; each column is one layer. What a cell needs is a Dask dependency. The
whole of what is left to do is handed over in one piece, and from then on Dask alone decides what
runs when. The rest of this page is what Dask is asked for, and what it has no word for.

*Order.* Which of the tasks that could run runs first is Dask's choice, and left to itself it takes
the last row first as often as not. What is claimed is rows without a gap from the first one on, so
a layer's annotation gives earlier rows a higher priority.

*Limits.* As many calls at once as workers have threads. A resource is one of Dask's worker
resources, and a layer's annotation says that each of its tasks takes one unit.

*Retries.* A layer's annotation tells Dask how often it may run a task again, one time fewer than
there are attempts; a task that fails and may be repeated raises, and Dask runs it again, at once. A
task cannot ask Dask which attempt it is, so failures are counted beside the probe, and the last one
does not raise. A call that is turned away (back-pressure) is no failure to Dask. The task sleeps
for as long as it was told and calls again, as clients of a rate-limited endpoint do; it keeps its
thread and its unit while it sleeps, which costs throughput and breaks no limit.

*Rows that are given up.* Dask knows tasks, not rows; a task that raises for good takes all with it
that depends on it, every barrier first of all. So one that fails for good gives a marker in place
of a value (`Dropped`), tasks that are given the marker hand it on, and a barrier leaves that row
out. What runs in the same row and reads nothing of the failure runs on, for nobody could tell it;
`fit` asks for workloads without such columns (`with_failures_in_line`). A skip is a marker too.

*What outlives a crash.* The driver takes results as Dask gives them (``as_completed``), writes the
rows that are complete without a gap to the folder, and claims them (`cellspec.engines.rows`). A
life that resumes gives Dask only the rest of the graph: what is claimed stands in it as a value. A
barrier that an unclaimed row needs is in it again, over all rows of its scope.

*A worker that is killed.* Dask runs its tasks again, and not only those that were running: results
are kept in the memory of workers and nowhere else. A cell that was paid for would be paid for
twice (clause SCHED-03). So where workers may die the driver remembers what each call gave, and a
task that Dask runs again is given that, as anybody would have a cache before an endpoint that costs
money. A call that its worker did not live to see the end of was given to nobody, and is made again.

*Where it runs.* By default in threads of this process, on one cluster for each pair of limits,
which later workloads use again. `ProcessBackend` has workers that are processes, each with a nanny,
and serves the probe to them (`cellspec.engines.remote`). With the environment variable
``DASK_SCHEDULER_ADDRESS``, or the argument `address`, the tasks go to a cluster that is there
already. Its workers must run on this machine, because the probe is served on loopback only, and
must be able to import `cellspec`. Their threads and resources are what they were started with, so
workloads are fitted to them: ``dask worker $ADDRESS --nworkers 2 --nthreads 1 --resources r=1``.

*What is not claimed.* Row groups, ranges and early stops: Dask has no word for them. That nothing
waits for no reason (``work_conserving``): in real time nobody can say so.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import secrets
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

from cellspec.conformance.run.probe import Crash, IsLost, Probe
from cellspec.conformance.run.values import SKIPPED, Table
from cellspec.conformance.run.workload import Workload
from cellspec.engines import rows as storage
from cellspec.engines.remote import Gone, ProbeServer, RemoteProbe
from cellspec.engines.rows import DriverState, Dropped, Result, with_failures_in_line
from cellspec.errors import SpecError, how_to_install
from cellspec.faults import BackPressure, Permanent, Retryable
from cellspec.graph.rules import ColumnRule
from cellspec.machine.machine import Limits
from cellspec.machine.policy import is_final

__all__ = ["CallBroker", "DaskBackend", "Driver", "ProcessBackend", "stop_clusters"]

ADDRESS = "DASK_SCHEDULER_ADDRESS"
"""The environment variable that names the scheduler of a cluster that is there already."""

THREADS = 16
"""Threads of the workers where the workload sets no limit."""

_CONNECT_S = 10

_QUIET = {
    # Each cluster would look at its threads a hundred times a second, for a page that nobody opens.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "10s",
}

Row: TypeAlias = Mapping[str, Result]
"""What a cell is given: the results of the columns that it needs, by column."""


# What tasks ask for


class Calls(Protocol):
    """What a task has in its hand: the generators, as far away as they may be."""

    def cell(self, column: str, row: int, inputs: Row) -> Result:
        """What a cell of a column gives."""

    def barrier(
        self, column: str, scope: int, wanted: Sequence[int], inputs: Mapping[int, Row]
    ) -> dict[int, Result]:
        """What a barrier gives to each of the rows that want its output."""


class CallBroker:
    """The generators beside the probe, and what is known of their calls. Any thread may call.

    Args:
        probe: the life.
        remembers: a task that is run again is given what it gave before, if it had come to an end.

    Attributes:
        crash: the crash, once it has come.
    """

    def __init__(self, probe: Probe, *, remembers: bool) -> None:
        self.probe = probe
        self.crash: Crash | None = None
        self._remembers = remembers
        self._given: dict[tuple[str, int], Any] = {}
        self._turns: defaultdict[tuple[str, int], threading.Lock] = defaultdict(threading.Lock)
        self._spent: Counter[tuple[str, int]] = Counter()

    def cell(self, column: str, row: int, inputs: Row, lost: IsLost | None = None) -> Result:
        """Make a cell, skip it, or hand on why there is none.

        Raises:
            Gone: the process crashed.
            GeneratorError: the call failed, and may be made again.
        """

        def make() -> Result:
            for given in inputs.values():
                if isinstance(given, Dropped):
                    return given
            if self._skips(column, inputs) or self.probe.wants_skip(column, row):
                self.probe.skip(column, row)
                return SKIPPED
            try:
                return self.probe.cell_sync(column, row, _made(inputs), lost=lost)
            except (Permanent, Retryable) as failure:
                self._expect_last(column, row, failure)
            return self._drop([row], column)[row]

        found: Result = self._once((column, row), make)
        return found

    def barrier(
        self,
        column: str,
        scope: int,
        wanted: Sequence[int],
        inputs: Mapping[int, Row],
        lost: IsLost | None = None,
    ) -> dict[int, Result]:
        """Run a barrier, if a row wants its output and is there to be read.

        Raises:
            Gone, GeneratorError: as `cell`.
        """

        def run() -> dict[int, Result]:
            results = self._lost_rows(inputs)
            reads = self._reads(column, inputs)
            asked = [row for row in reads if row in wanted]
            if asked:
                results |= self._barrier_call(column, scope, reads, asked, inputs, lost)
            for row in wanted:
                if row not in results:
                    self.probe.skip(column, row)
                    results[row] = SKIPPED
            return {row: results[row] for row in wanted}

        found: dict[int, Result] = self._once((column, scope), run)
        return found

    def _lost_rows(self, inputs: Mapping[int, Row]) -> dict[int, Result]:
        return {
            row: next(given for given in mine.values() if isinstance(given, Dropped))
            for row, mine in inputs.items()
            if _is_lost(mine)
        }

    def _reads(self, column: str, inputs: Mapping[int, Row]) -> list[int]:
        """The rows that a barrier reads: those that are there and will not be skipped."""
        return [
            row
            for row, mine in inputs.items()
            if not _is_lost(mine) and not self._skips(column, mine)
        ]

    def _barrier_call(
        self,
        column: str,
        scope: int,
        reads: Sequence[int],
        asked: Sequence[int],
        inputs: Mapping[int, Row],
        lost: IsLost | None,
    ) -> dict[int, Result]:
        made = [_made(inputs[row]) for row in reads]
        try:
            values = self.probe.barrier_sync(column, scope, reads, made, lost=lost)
        except (Permanent, Retryable) as failure:
            self._expect_last(column, scope, failure)
            return self._drop(asked, column)
        return {row: value for row, value in zip(reads, values, strict=True) if row in asked}

    def _skips(self, column: str, inputs: Row) -> bool:
        rules = self.probe.graph.rules
        rule = rules.columns[rules.index[column]]
        return rule.propagates and any(given is SKIPPED for given in inputs.values())

    def _expect_last(self, column: str, position: int, failure: Exception) -> None:
        """Let a failure out that Dask is to repeat."""
        if isinstance(failure, Retryable):
            self._spent[column, position] += 1
            attempt = self._spent[column, position]
            if not is_final("retryable", attempt, self.probe.work.failures.max_attempts):
                raise failure

    def _drop(self, rows: Iterable[int], column: str) -> dict[int, Result]:
        for row in rows:
            # Before the task ends: what waits for it must not start while the row seems to live.
            self.probe.drop(row, row + 1, column)
        return {row: Dropped(column) for row in rows}

    def _once(self, node: tuple[str, int], make: Callable[[], Any]) -> Any:
        if not self._remembers:
            return self._guarded(make)
        # Dask may learn sooner than the probe that a worker has died, and run its task elsewhere.
        with self._turns[node]:
            if node not in self._given:
                self._given[node] = self._guarded(make)
            return self._given[node]

    def _guarded(self, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except Crash as crash:
            # A worker is not to be torn down by what is no Exception; the driver raises it.
            self.crash = self.crash or crash
            raise Gone(str(crash)) from None


def _made(inputs: Row) -> dict[str, str]:
    """The inputs that have a value."""
    return {name: given for name, given in inputs.items() if isinstance(given, str)}


def _is_lost(inputs: Row) -> bool:
    return any(isinstance(given, Dropped) for given in inputs.values())


_desks: dict[str, CallBroker] = {}
"""The desks of this process, by name: Dask copies what it hands to a task, also to a thread."""


@dataclass(frozen=True, slots=True)
class _Here:
    """The desk, for tasks in threads of this process."""

    name: str

    def cell(self, column: str, row: int, inputs: Row) -> Result:
        return self._desk().cell(column, row, inputs)

    def barrier(
        self, column: str, scope: int, wanted: Sequence[int], inputs: Mapping[int, Row]
    ) -> dict[int, Result]:
        return self._desk().barrier(column, scope, wanted, inputs)

    def _desk(self) -> CallBroker:
        if self.name not in _desks:
            raise Gone("the life that this task belongs to is over")
        return _desks[self.name]


@dataclass(frozen=True, slots=True)
class _There:
    """The desk, for tasks in other processes."""

    remote: RemoteProbe

    def cell(self, column: str, row: int, inputs: Row) -> Result:
        found: Result = self.remote.ask("cell", column, row, inputs)
        return found

    def barrier(
        self, column: str, scope: int, wanted: Sequence[int], inputs: Mapping[int, Row]
    ) -> dict[int, Result]:
        found: dict[int, Result] = self.remote.ask("barrier", column, scope, wanted, inputs)
        return found


# Tasks


@dataclass(frozen=True, slots=True)
class _Job:
    """What a task is told beside the results that Dask gives it."""

    calls: Calls
    column: str
    position: int
    needs: tuple[str, ...]
    rows: tuple[int, ...] = ()
    wanted: tuple[int, ...] = ()


def make_cell(job: _Job, inputs: Sequence[Result], _after: Sequence[Any]) -> Result:
    """The task of a cell: `inputs` in the order of what it needs, and what it comes after."""
    given = dict(zip(job.needs, inputs, strict=True))
    found: Result = _patiently(lambda: job.calls.cell(job.column, job.position, given))
    return found


def run_barrier(
    job: _Job, inputs: Sequence[Sequence[Result]], _after: Sequence[Any]
) -> dict[int, Result]:
    """The task of a barrier: for each row of its scope what `make_cell` is given for one."""
    given = {
        row: dict(zip(job.needs, mine, strict=True))
        for row, mine in zip(job.rows, inputs, strict=True)
    }
    found: dict[int, Result] = _patiently(
        lambda: job.calls.barrier(job.column, job.position, job.wanted, given)
    )
    return found


def output_of(results: Mapping[int, Result], row: int) -> Result:
    """The task of an output cell of a barrier."""
    return results[row]


def _patiently(call: Callable[[], Any]) -> Any:
    """Call until it is not turned away any more."""
    while True:
        try:
            return call()
        except BackPressure as busy:
            time.sleep(busy.retry_after_s or 0)


# The driver

Key: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True)
class _EarlierFirst:
    """The priority of a key: the earlier its first row, the higher. Dask asks for it by key."""

    rows_of_one: int

    def __call__(self, key: Key) -> int:
        return -key[1] * self.rows_of_one


class _Ledger(DriverState):
    """What the driver knows; that rows were dropped was reported where that happened."""

    def drop(self, row: int, column: str) -> None:
        self.dropped[row] = column
        self.tracker.mark_dropped(row)


class Driver:
    """Gives one life to Dask as a graph, and keeps what comes back.

    Each method is one decision, so that a test can override one to make an engine that is wrong.

    Args:
        probe: the life.
        elsewhere: tasks run in other processes, which may die.
    """

    ledger_class: type[DriverState] = _Ledger
    desk_class: type[CallBroker] = CallBroker

    def __init__(self, probe: Probe, *, elsewhere: bool) -> None:
        self.probe = probe
        self.ledger = self.ledger_class(probe)
        self.desk = self.desk_class(probe, remembers=elsewhere)
        self.rules = probe.work.graph(probe.incarnation).rules
        self._mark = secrets.token_hex(4)
        self._arrived: dict[Key, Any] = {}

    def drive(self, client: Any, calls: Calls) -> None:
        """Have Dask run all that is left to do.

        Raises:
            Crash: the process is gone.
            Exception: what a task raised, when Dask would not run it again.
        """
        from distributed import as_completed

        graph, nodes = self.graph(calls)
        futures = client.get(graph, list(nodes), sync=False)
        try:
            done = as_completed(futures, loop=client.loop, with_results=True, raise_errors=False)
            for batch in done.batches():
                self._check_crash()
                for future, result in batch:
                    if future.status != "finished":
                        self._give_up(future, result)
                    self._arrived[nodes[future.key]] = result
                self._settle()
                self.ledger.save_if_due()
        finally:
            for future in futures:
                # What nobody holds a future of is not run any more.
                future.release()

    def _check_crash(self) -> None:
        if self.desk.crash is not None:
            raise self.desk.crash

    def _give_up(self, future: Any, result: Any) -> None:
        error = result[1] if future.status == "error" else None
        if isinstance(error, Exception):
            raise error
        raise RuntimeError(f"{future.key}: Dask ended it as {future.status}")

    # The graph

    def graph(self, calls: Calls) -> tuple[Any, dict[Key, Key]]:
        """What is left to do: a Dask graph, and the node of each key that the driver waits for."""
        from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

        layers: dict[str, Any] = {}
        waits: dict[str, set[str]] = {}
        nodes: dict[Key, Key] = {}
        for rule in self.rules.columns:
            tasks = self.barriers(rule, calls) if rule.is_barrier else self.cells(rule, calls)
            kind = "barrier" if rule.is_barrier else "cell"
            layers[self._layer(rule.name, kind)] = MaterializedLayer(
                tasks, annotations=self.annotations(rule)
            )
            waits[self._layer(rule.name, kind)] = {
                self._layer(self.rules.columns[need].name, "cell") for need in rule.needs
            }
            nodes |= {key: (rule.name, key[1]) for key in tasks}
            if rule.is_barrier:
                outputs = self.outputs(rule)
                layers[self._layer(rule.name, "cell")] = MaterializedLayer(
                    outputs, annotations={"priority": _EarlierFirst(1)}
                )
                waits[self._layer(rule.name, "cell")] = {self._layer(rule.name, "barrier")}
        return HighLevelGraph(layers, waits), nodes

    def cells(self, rule: ColumnRule, calls: Calls) -> dict[Key, Any]:
        """The tasks of a column whose cells are made one by one."""
        return {
            self._key(rule.name, "cell", row): (
                make_cell,
                _Job(calls, rule.name, row, self.needs(rule)),
                self.inputs(rule, row),
                self.before(rule, row),
            )
            for row in range(self.rules.num_records)
            if self.ledger.result(rule.name, row) is None
        }

    def before(self, rule: ColumnRule, row: int) -> list[Any]:
        """What a cell waits for although it is not given it: in order, the live row before."""
        row = self.ledger.row_before(row) if rule.ordered else -1
        return [self.result(rule.name, row)] if row >= 0 else []

    def barriers(self, rule: ColumnRule, calls: Calls) -> dict[Key, Any]:
        """The tasks of a barrier's scopes, as far as their output is wanted."""
        tasks: dict[Key, Any] = {}
        before: list[Key] = []
        for scope, rows in self._scopes(rule):
            wanted = self.wanted(rule, rows)
            if not wanted:
                continue
            live = tuple(row for row in rows if row not in self.ledger.dropped)
            key = self._key(rule.name, "barrier", scope)
            tasks[key] = (
                run_barrier,
                _Job(calls, rule.name, scope, self.needs(rule), live, wanted),
                [self.inputs(rule, row) for row in live],
                before,
            )
            before = [key] if rule.ordered else []
        return tasks

    def outputs(self, rule: ColumnRule) -> dict[Key, Any]:
        """The tasks of a barrier's output cells."""
        return {
            self._key(rule.name, "cell", row): (
                output_of,
                self._key(rule.name, "barrier", scope),
                row,
            )
            for scope, rows in self._scopes(rule)
            for row in self.wanted(rule, rows)
        }

    def needs(self, rule: ColumnRule) -> tuple[str, ...]:
        """The columns whose results a task of this column is given."""
        return tuple(self.rules.columns[need].name for need in rule.needs)

    def inputs(self, rule: ColumnRule, row: int) -> list[Any]:
        """Those results in one row, or the keys of the tasks that make them."""
        return [self.result(name, row) for name in self.needs(rule)]

    def result(self, column: str, row: int) -> Any:
        """The result of a cell, or the key of the task that makes it."""
        known = self.ledger.result(column, row)
        return self._key(column, "cell", row) if known is None else known

    def wanted(self, rule: ColumnRule, rows: Iterable[int]) -> tuple[int, ...]:
        """Those of the rows that a barrier has still to give its output to."""
        return self.ledger.wanted(rule.name, rows)

    def annotations(self, rule: ColumnRule) -> dict[str, Any]:
        """What Dask is to know of a column's tasks: what they take, how often they are repeated."""
        found: dict[str, Any] = {
            "retries": self.retries(),
            "priority": _EarlierFirst(rule.scope_rows or 1),
        }
        resource = self.probe.work.limits.column_resource.get(rule.name)
        if resource is not None:
            found["resources"] = {resource: 1}
        return found

    def retries(self) -> int:
        """How often Dask may run a task again."""
        return self.probe.work.failures.max_attempts - 1

    def _scopes(self, rule: ColumnRule) -> Iterator[tuple[int, range]]:
        for scope in range(self.rules.scope_count(rule.index)):
            yield scope, range(*self.rules.scope_bounds(rule.index, scope))

    def _layer(self, column: str, kind: str) -> str:
        return f"{column}-{kind}-{self._mark}"

    def _key(self, column: str, kind: str, position: int) -> Key:
        return (self._layer(column, kind), position)

    # What comes back

    def _settle(self) -> None:
        """Take over what has arrived, no node before what it needs.

        Dask ends tasks in the order of their dependencies, and tells of those that end together in
        any order.
        """
        for rule in self.rules.columns:
            mine = sorted(at for name, at in self._arrived if name == rule.name)
            for position in mine:
                if self._has_needs(rule, position):
                    self._take(rule, position, self._arrived.pop((rule.name, position)))

    def _has_needs(self, rule: ColumnRule, position: int) -> bool:
        rows: Sequence[int] = (position,)
        if rule.is_barrier:
            rows = range(*self.rules.scope_bounds(rule.index, position))
        before = self.ledger.row_before(rows[0]) if rule.ordered else -1
        if before >= 0 and self.ledger.result(rule.name, before) is None:
            return False
        return all(
            self.ledger.result(name, row) is not None for name in self.needs(rule) for row in rows
        )

    def _take(self, rule: ColumnRule, position: int, result: Any) -> None:
        if rule.is_barrier:
            node = self.ledger.graph.barrier_node(rule.index, position)
            self.ledger.settle_barrier(node, result)
        else:
            self.ledger.settle(rule.name, position, result)


# The backend


class DaskBackend:
    """Dask in threads of this process, or on a cluster that is there already.

    See `cellspec.engines.dask`.

    Args:
        address: the scheduler of a cluster to use; by default what ``DASK_SCHEDULER_ADDRESS``
            names, or a cluster of its own.

    Raises:
        SpecError: Dask is not installed, or nothing answers at the address.
    """

    name = "dask"
    capabilities = frozenset(
        {"core", "batch_barriers", "ordered", "retries", "drops", "skips", "resume", "targets"}
        | {"column_checkpoints", "storage_steps"}
    )
    driver_class: type[Driver] = Driver

    def __init__(self, address: str | None = None) -> None:
        try:
            import distributed
        except ImportError:
            raise SpecError(f"{type(self).__name__} needs Dask; {how_to_install('dask')}") from None
        self.version: str = distributed.__version__
        # Asked once: a worker that is being started again is missed, and fit must not depend on it.
        self._there = self._connect(address or os.environ.get(ADDRESS, ""))
        self._has = Limits() if self._there is None else _limits_of(self._there)

    def _connect(self, address: str) -> Any:
        """A client of the cluster that every workload runs on; None if each has one of its own."""
        return _connect(address) if address else None

    def fit(self, work: Workload) -> Workload:
        """The nearest workload that Dask has words for."""
        work = with_failures_in_line(work)
        if self._there is None:
            return work
        has, asked = self._has.resources, work.limits
        takes = {column: name for column, name in asked.column_resource.items() if name in has}
        resources = {name: has[name] for name in asked.resources if name in has}
        limits = replace(
            asked, workers=self._has.workers, resources=resources, column_resource=takes
        )
        return work if limits == asked else work.replace(limits=limits)

    def run(self, probe: Probe) -> None:
        """Run one life of a workload."""
        driver = self.driver_class(probe, elsewhere=self._there is not None)
        driver.ledger.restore()
        if not driver.ledger.complete:
            with self._serving(driver.desk) as calls:
                driver.drive(self.client(probe.work), calls)
        driver.ledger.save()
        probe.end("success" if driver.ledger.complete else "failed")

    def table(self, probe: Probe) -> Table:
        """What is durable."""
        return storage.table(probe.folder)

    def client(self, work: Workload) -> Any:
        """A client of the cluster that a workload runs on."""
        if self._there is not None:
            return self._there
        resources = tuple(sorted(work.limits.resources.items()))
        return _client(_Shape(work.limits.workers or THREADS, resources))

    def close(self) -> None:
        """Leave the cluster that was there already."""
        if self._there is not None:
            self._there.close()

    @contextlib.contextmanager
    def _serving(self, desk: CallBroker) -> Iterator[Calls]:
        """Have tasks find the desk."""
        if self._there is not None:
            more: dict[str, Callable[..., Any]] = {"cell": desk.cell, "barrier": desk.barrier}
            with ProbeServer(desk.probe, more) as server:
                yield _There(server.remote)
            return
        here = _Here(secrets.token_hex(8))
        _desks[here.name] = desk
        try:
            yield here
        finally:
            del _desks[here.name]


class ProcessBackend(DaskBackend):
    """Dask with two workers that are processes, each with a nanny that starts it again if it dies.

    They are started with the backend, for that takes seconds. Each has one thread, and one unit of
    the resource that the suite's workloads use; workloads are fitted to that.
    """

    name = "dask-processes"

    def _connect(self, _address: str) -> Any:
        return _client(_Shape(1, (("r", 1),), processes=2))


# Clusters


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a cluster's workers have, each; one in this process, or so many that are processes."""

    threads: int
    resources: tuple[tuple[str, int], ...]
    processes: int = 0


_clients: dict[_Shape, Any] = {}
_starting = threading.Lock()


def _client(shape: _Shape) -> Any:
    """A client of a cluster of this shape; it is started once, and stopped when Python ends."""
    with _starting:
        if not _clients:
            # Registered after Dask's own, and so called before them.
            atexit.register(stop_clusters)
        if shape not in _clients:
            _clients[shape] = _start(shape)
        return _clients[shape]


def _start(shape: _Shape) -> Any:
    import dask
    from distributed import Client, Nanny, Scheduler, SpecCluster, Worker

    where: dict[str, Any] = {"protocol": "inproc://"}
    if shape.processes:
        where = {"protocol": "tcp://", "host": "127.0.0.1"}
    # There is no dashboard; without an address its server would still ask for a port of its own.
    where |= {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
    has = {"nthreads": shape.threads, "resources": dict(shape.resources), "memory_limit": None}
    worker = {
        "cls": Nanny if shape.processes else Worker,
        "options": where | has | {"silence_logs": logging.CRITICAL},
    }
    with dask.config.set(_QUIET):
        cluster = SpecCluster(
            scheduler={"cls": Scheduler, "options": where | {"port": 0}},
            workers=dict.fromkeys(range(shape.processes or 1), worker),
            silence_logs=logging.CRITICAL,
        )
        return Client(cluster, set_as_default=False)


def stop_clusters() -> None:
    """Stop every cluster that was started here; workloads that follow start them again."""
    while _clients:
        _, client = _clients.popitem()
        with contextlib.suppress(Exception):
            cluster = client.cluster
            client.close()
            cluster.close()


def _connect(address: str) -> Any:
    from distributed import Client

    try:
        return Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise SpecError(f"no Dask scheduler answers at {address}: {error}") from None


def _limits_of(client: Any) -> Limits:
    """What the workers of a cluster have between them.

    Raises:
        SpecError: there are none.
    """
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    if not workers:
        raise SpecError(f"the Dask scheduler at {client.scheduler.address} has no workers")
    has: Counter[str] = Counter()
    for worker in workers:
        has.update({name: int(most) for name, most in worker["resources"].items()})
    return Limits(
        sum(worker["nthreads"] for worker in workers),
        {name: most for name, most in sorted(has.items()) if most},
    )
