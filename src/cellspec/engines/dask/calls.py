"""The generators' calls, as the tasks of Dask make them."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from cellspec.conformance.run.probe import Crash, IsLost, Probe
from cellspec.conformance.run.values import SKIPPED
from cellspec.engines.remote import Gone, ProbeServer, RemoteProbe
from cellspec.engines.rows.results import (
    Dropped,
    Result,
    Row,
    first_dropped,
    has_skipped,
    values_of,
)
from cellspec.faults import Permanent, Retryable
from cellspec.machine.policy import is_final

__all__ = ["CallBroker", "Calls", "serve_elsewhere", "serve_here"]


class Calls(Protocol):
    """The generators' calls, for a task in this process or in another."""

    def cell(self, column: str, row: int, inputs: Row) -> Result:
        """Make a cell; its result."""

    def barrier(
        self, column: str, scope: int, wanted: Sequence[int], inputs: Mapping[int, Row]
    ) -> dict[int, Result]:
        """Run a barrier; its result for each of the wanted rows."""


class CallBroker:
    """Makes the generators' calls beside the probe, and counts attempts. Any thread may call.

    A task gives or makes one of three results: the value of the probe's call, a skip, or the marker
    of a dropped row.

    Args:
        probe: the probe of this run of the process.
        remembers: give a task that is run again the result of its earlier run, if that had ended.

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
        """Make a cell, skip it, or pass on that its row is dropped.

        Raises:
            Gone: the process crashed.
            GeneratorError: the call failed, and may be made again.
        """

        def make() -> Result:
            dropped = first_dropped(inputs)
            if dropped is not None:
                return dropped
            if self._skips(column, inputs) or self.probe.wants_skip(column, row):
                self.probe.skip(column, row)
                return SKIPPED
            try:
                made = self.probe.cell_sync(column, row, values_of(inputs), lost=lost)
                return cast("str", made)
            except (Permanent, Retryable) as failure:
                self.expect_last(column, row, failure)
            return self.drop([row], column)[row]

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
        """Run a barrier, if it can read a row that wants its output.

        Raises:
            Gone, GeneratorError: as `cell`.
        """

        def run() -> dict[int, Result]:
            results = _dropped_rows(inputs)
            reads = self.reads(column, inputs)
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

    def reads(self, column: str, inputs: Mapping[int, Row]) -> list[int]:
        """The rows that a barrier reads: the live ones that it will not skip."""
        return [
            row
            for row, mine in inputs.items()
            if first_dropped(mine) is None and not self._skips(column, mine)
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
        made = [values_of(inputs[row]) for row in reads]
        try:
            values = self.probe.barrier_sync(column, scope, reads, made, lost=lost)
        except (Permanent, Retryable) as failure:
            self.expect_last(column, scope, failure)
            return self.drop(asked, column)
        given = zip(reads, cast("list[str]", values), strict=True)
        return {row: value for row, value in given if row in asked}

    def _skips(self, column: str, inputs: Row) -> bool:
        rules = self.probe.graph.rules
        rule = rules.columns[rules.index[column]]
        return rule.propagates and has_skipped(inputs)

    def expect_last(self, column: str, position: int, failure: Exception) -> None:
        """Raise a failure that Dask must repeat; return on the last one."""
        if isinstance(failure, Retryable):
            self._spent[column, position] += 1
            attempt = self._spent[column, position]
            if not is_final("retryable", attempt, self.probe.work.failures.max_attempts):
                raise failure

    def drop(self, rows: Iterable[int], column: str) -> dict[int, Result]:
        for row in rows:
            # Before the task ends: its dependents must not start while the row counts as live.
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
            # A crash is no Exception and would tear down the worker; the driver raises it.
            self.crash = self.crash or crash
            raise Gone(str(crash)) from None


def _dropped_rows(inputs: Mapping[int, Row]) -> dict[int, Result]:
    found = ((row, first_dropped(mine)) for row, mine in inputs.items())
    return {row: dropped for row, dropped in found if dropped is not None}


_brokers: dict[str, CallBroker] = {}
"""The brokers of this process, by name: Dask copies the arguments of a task, also for a thread."""


@dataclass(frozen=True, slots=True)
class CallsHere:
    """The broker's calls, for tasks in threads of this process."""

    name: str

    def cell(self, column: str, row: int, inputs: Row) -> Result:
        return self._broker().cell(column, row, inputs)

    def barrier(
        self, column: str, scope: int, wanted: Sequence[int], inputs: Mapping[int, Row]
    ) -> dict[int, Result]:
        return self._broker().barrier(column, scope, wanted, inputs)

    def _broker(self) -> CallBroker:
        if self.name not in _brokers:
            raise Gone("the run that this task belongs to is over")
        return _brokers[self.name]


@contextlib.contextmanager
def serve_here(broker: CallBroker) -> Iterator[Calls]:
    """Serve a broker to tasks in threads of this process."""
    here = CallsHere(secrets.token_hex(8))
    _brokers[here.name] = broker
    try:
        yield here
    finally:
        del _brokers[here.name]


@dataclass(frozen=True, slots=True)
class CallsElsewhere:
    """The broker's calls, for tasks in other processes."""

    remote: RemoteProbe

    def cell(self, column: str, row: int, inputs: Row) -> Result:
        found: Result = self.remote.ask("cell", column, row, inputs)
        return found

    def barrier(
        self, column: str, scope: int, wanted: Sequence[int], inputs: Mapping[int, Row]
    ) -> dict[int, Result]:
        found: dict[int, Result] = self.remote.ask("barrier", column, scope, wanted, inputs)
        return found


@contextlib.contextmanager
def serve_elsewhere(broker: CallBroker) -> Iterator[Calls]:
    """Serve a broker to tasks in other processes of this machine."""
    more: dict[str, Callable[..., Any]] = {"cell": broker.cell, "barrier": broker.barrier}
    with ProbeServer(broker.probe, more) as server:
        yield CallsElsewhere(server.remote)
