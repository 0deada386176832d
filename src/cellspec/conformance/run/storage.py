"""The storage of an incarnation as its workload has it: slow, full, or failing at the n-th write.

An engine puts each of its writes inside `WorkloadStorage.write`, or `write_sync` in a thread. The
write takes as long as the workload says, and raises `OSError` if it is one that fails: before the
engine's own write, or, if the write lands all the same, after it.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from cellspec.conformance.run.clock import Clock
from cellspec.conformance.run.recorder import Recorder
from cellspec.conformance.run.workload import StorageFault, StorageWrite, Workload

__all__ = ["PlannedWrite", "WorkloadStorage"]


@dataclass(frozen=True, slots=True)
class PlannedWrite:
    """How one write goes.

    Attributes:
        latency_s: how long it takes, in seconds of the clock.
        error: what it reports; None if all is well.
        lands: it is done, whether it reports an error or not.
    """

    latency_s: float
    error: OSError | None = None
    lands: bool = True


class WorkloadStorage:
    """The time and the errors of the writes of one incarnation.

    Args:
        work: the workload.
        clock: the time of the incarnation.
        recorder: whether the process is still alive.
    """

    def __init__(self, work: Workload, clock: Clock, recorder: Recorder) -> None:
        self._latency_s = work.storage_s * clock.scale
        self._faults = {(fault.write, fault.number): fault for fault in work.storage_faults}
        self._clock = clock
        self._recorder = recorder
        self._counts: Counter[str] = Counter()
        self._full: StorageFault | None = None

    @asynccontextmanager
    async def write(self, what: StorageWrite) -> AsyncIterator[None]:
        """One write; see `Probe.storage`."""
        planned = self.next_write(what)
        if planned.latency_s:
            await self._clock.sleep(planned.latency_s, (f"write of {what}", self._counts[what]))
        self._begin(planned)
        yield
        _end(planned)

    @contextmanager
    def write_sync(self, what: StorageWrite) -> Iterator[None]:
        """`write`, for threads."""
        with self._recorder.lock:
            planned = self.next_write(what)
        if planned.latency_s:
            self._clock.wait(planned.latency_s, self._recorder.gone)
        self._begin(planned)
        yield
        _end(planned)

    def next_write(self, what: StorageWrite) -> PlannedWrite:
        """How the next write of this kind goes; see `Probe.next_write`."""
        self._recorder.check_alive()
        self._counts[what] += 1
        fault = self._full or self._faults.get((what, self._counts[what]))
        if fault is None:
            return PlannedWrite(self._latency_s)
        words = f"write {self._counts[what]} of {what}"
        if fault.lasts:
            self._full = fault
            error = OSError(errno.ENOSPC, f"{words} fails, as the workload says")
            return PlannedWrite(self._latency_s, error, lands=False)
        end = "is done, and reports an error" if fault.lands else "fails, as the workload says"
        return PlannedWrite(self._latency_s, OSError(errno.EIO, f"{words} {end}"), fault.lands)

    def _begin(self, planned: PlannedWrite) -> None:
        self._recorder.check_alive()
        if planned.error is not None and not planned.lands:
            raise planned.error


def _end(planned: PlannedWrite) -> None:
    if planned.error is not None:
        raise planned.error
