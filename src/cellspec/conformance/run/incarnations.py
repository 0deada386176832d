"""Incarnations: the engine's process is started, dies or ends, and is started again.

An *incarnation* is one run of the process. Each gets its own `Probe` and a folder that holds what
the one before it left. The backend then runs until it returns or until the probe kills it. This
module runs incarnations; `cellspec.conformance.judge.harness` decides how many, and judges each.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from cellspec.conformance.run.backend import Backend
from cellspec.conformance.run.bounds import Bounds
from cellspec.conformance.run.clock import Clock
from cellspec.conformance.run.clock_mode import ClockMode
from cellspec.conformance.run.probe import Probe
from cellspec.conformance.run.torn_writes import FileWatch, watched
from cellspec.conformance.run.values import Registry
from cellspec.conformance.run.workload import Workload
from cellspec.virtualtime import blocking_calls

__all__ = ["Cost", "Incarnation", "Incarnations", "scratch_folder"]


@dataclass(slots=True)
class Cost:
    """The cost of a run. It is reported, and breaks no clause.

    Attributes:
        cpu_s: CPU seconds of the process while the engine ran, with the probe's share.
        events: events in that time.
        graph_questions: the questions that the engine asked ``probe.graph``: one for each question
            and one for each node in an answer. Per event this must not grow with the number of
            rows.
    """

    cpu_s: float = 0.0
    events: int = 0
    graph_questions: int = 0


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One run of the process, after its end.

    Attributes:
        probe: its probe, with its events.
        error: the exception that came out of the backend; None if it returned.
        left: the folder as the process left it.
    """

    probe: Probe
    error: BaseException | None
    left: Path


class Incarnations:
    """Runs the next incarnation of a workload each time that it is asked.

    Args:
        backend: the engine.
        work: the workload.
        root: an empty folder; it will hold the folders of all incarnations.
        clock_mode: virtual time or real time.
        registry: keeps every call.
        keeps: each incarnation works on a copy of the folder, so that what the one before it left
            can be looked at afterwards.

    Attributes:
        cost: the cost of all incarnations so far.
        blocking: the calls of the engine that took real time inside virtual time.
    """

    def __init__(
        self,
        backend: Backend,
        work: Workload,
        root: Path,
        clock_mode: ClockMode,
        registry: Registry,
        *,
        keeps: bool,
    ) -> None:
        self.cost = Cost()
        self.blocking: dict[str, None] = {}
        self._backend = backend
        self._work = work
        self._root = root
        self._clock_mode = clock_mode
        self._registry = registry
        self._capabilities = frozenset(backend.capabilities)
        self._keeps = keeps
        # Recorded failures of engines show these names of folders.
        self._left = root / "life-0"
        self._left.mkdir()
        self._gone_at_s = 0.0

    def run_next(self, number: int, start_s: float) -> Incarnation:
        """Run the next incarnation to its end.

        Args:
            number: its number, from 0.
            start_s: the time at which it starts at the earliest, in seconds since the run began.
        """
        folder = self._left
        if number and self._keeps:
            folder = self._root / f"life-{number}"
            shutil.copytree(self._left, folder)
        left = self._root / f"life-{number}-left"
        probe, error = self._run_process(self._work, self._registry, number, folder, left, start_s)
        # Without a crash nothing was cut off: the folder is as the process left it.
        self._left = left if left.exists() else folder
        return Incarnation(probe, error, self._left)

    def visit(self, number: int, work: Workload, registry: Registry, start_s: float) -> Incarnation:
        """Run a process of somebody else in the folder that the last incarnation left.

        Args:
            number: the number of the incarnation that is next.
            work: the work of the other process; it does not crash.
            registry: keeps its calls.
            start_s: the time at which it starts at the earliest, in seconds since the run began.
        """
        left = self._root / f"visit-{number}-left"
        probe, error = self._run_process(work, registry, number, self._left, left, start_s)
        return Incarnation(probe, error, self._left)

    def _run_process(
        self,
        work: Workload,
        registry: Registry,
        number: int,
        folder: Path,
        left: Path,
        start_s: float,
    ) -> tuple[Probe, BaseException | None]:
        calls = work.graph(number).num_nodes + len(work.faults)
        torn = work.torn_operation(number) if "torn_writes" in self._capabilities else 0
        files = FileWatch(folder, torn) if torn else None

        def freeze() -> None:
            _copy_when_still(folder, left)
            if files is not None:
                files.tear(left)

        def make(clock: Clock) -> Probe:
            probe = Probe(
                work,
                number,
                folder,
                self._capabilities,
                clock,
                registry,
                freeze=freeze,
                bounds=Bounds.of(calls, self._clock_mode.part),
            )
            if files is not None:
                probe.disturbing.watch_files(files)
            return probe

        began_s = time.process_time()
        with watched(files), blocking_calls() as blocking:
            # No process begins before the one in front of it was gone.
            start_s = max(start_s, self._gone_at_s)
            probe, error = self._clock_mode.run(self._backend, make, start_s)
        self._gone_at_s = probe.left_at_s
        self.cost.cpu_s += time.process_time() - began_s
        self.blocking |= blocking
        self.cost.events += len(probe.log)
        self.cost.graph_questions += probe.graph.questions
        # An engine may end otherwise after that, or not at all.
        return probe, probe.endless or _innermost(error)


def _innermost(error: BaseException | None) -> BaseException | None:
    """The first error in a group of tasks, rather than the group that carries it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


# Folders


def scratch_folder() -> Path | None:
    """The place for folders that are removed after a run: in memory if there is such a place.

    A campaign makes thousands of folders, and on a disk each takes longer than the engine runs.
    Whether an engine's syncs work, and their time, is outside of the suite.

    Returns:
        None for the system's usual place; a variable that names another one is respected.
    """
    memory = Path("/dev/shm")
    asked = any(name in os.environ for name in ("TMPDIR", "TEMP", "TMP"))
    return memory if not asked and memory.is_dir() and os.access(memory, os.W_OK) else None


def _copy_when_still(folder: Path, to: Path) -> None:
    """Copy a folder as it is at one moment, although threads may still be writing to it."""
    for _ in range(20):
        before = _signature(folder)
        shutil.rmtree(to, ignore_errors=True)
        with contextlib.suppress(OSError, shutil.Error):
            shutil.copytree(folder, to)
            if _signature(folder) == before:
                return
        time.sleep(0.005)
    to.mkdir(exist_ok=True)


def _signature(folder: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of the last change of all that is in a folder."""
    found: list[tuple[str, int, int]] = []
    folders = [str(folder)]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    stat = entry.stat()
                    found.append((entry.path, stat.st_size, stat.st_mtime_ns))
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
    return sorted(found)
