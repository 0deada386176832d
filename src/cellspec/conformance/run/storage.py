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

from cellspec.conformance.run.clock import Clock
from cellspec.conformance.run.recorder import Recorder
from cellspec.conformance.run.workload import StorageFault, StorageWrite, Workload

__all__ = ["WorkloadStorage"]


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
        fault = self._next(what)
        if self._latency_s:
            await self._clock.sleep(self._latency_s, (f"write of {what}", self._counts[what]))
        self._before(what, fault)
        yield
        self._after(what, fault)

    @contextmanager
    def write_sync(self, what: StorageWrite) -> Iterator[None]:
        """`write`, for threads."""
        with self._recorder.lock:
            fault = self._next(what)
        if self._latency_s:
            self._clock.wait(self._latency_s, self._recorder.gone)
        self._before(what, fault)
        yield
        self._after(what, fault)

    def _next(self, what: StorageWrite) -> StorageFault | None:
        self._recorder.check_alive()
        self._counts[what] += 1
        fault = self._full or self._faults.get((what, self._counts[what]))
        if fault is not None and fault.lasts:
            self._full = fault
        return fault

    def _before(self, what: StorageWrite, fault: StorageFault | None) -> None:
        self._recorder.check_alive()
        if fault is None or (fault.lands and not fault.lasts):
            return
        reason = errno.ENOSPC if fault.lasts else errno.EIO
        raise OSError(reason, f"{self._words(what)} fails, as the workload says")

    def _after(self, what: StorageWrite, fault: StorageFault | None) -> None:
        if fault is not None:
            raise OSError(errno.EIO, f"{self._words(what)} is done, and reports an error")

    def _words(self, what: StorageWrite) -> str:
        return f"write {self._counts[what]} of {what}"
