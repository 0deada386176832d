"""`Engine`: the arguments and first steps of every engine, and the `Result` of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cellspec.engine.calls import Backoff, CheckpointPlan, Drop, Ending, Order, Restored
from cellspec.engine.generators import Generator, bind
from cellspec.engine.observer import Observer, Observers, ProgressBar
from cellspec.engine.scheduler import Scheduler, WantsSkip
from cellspec.engine.storage.durable import Storage
from cellspec.engine.storage.filesystem import RealFileSystem
from cellspec.engine.storage.stores import MemoryStore, Store
from cellspec.engine.suspects import Suspects
from cellspec.errors import SpecError
from cellspec.graph.graph import ExecutionGraph
from cellspec.machine.actions import Outcome
from cellspec.machine.limits import FailurePolicy, Limits
from cellspec.state.checkpoint import expect_config, read_payload
from cellspec.state.tracker import CompletionTracker

__all__ = ["Engine", "Result"]


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a run.

    Attributes:
        outcome: "success" (every row is safe, or was dropped), "stopped" (too many calls failed),
            "interrupted" (a stop was requested; what is finished is safe) or "failed" (rows are
            open, or could not be saved).
        reason: the same in words.
        dropped: the rows given up, with the column that failed and its error.
        store: the place of the rows.
    """

    outcome: Outcome
    reason: str
    dropped: Mapping[int, Drop]
    store: Store

    def rows(self) -> dict[int, dict[str, Any]]:
        """The finished rows by number, each with its values by column; read from the store.

        A skipped cell holds `SKIPPED`. Of a run that did not succeed these are the rows from row 0
        to the first gap, with dropped ones left out.
        """
        rows, _ = self.store.table()
        return {row: dict(rows[row]) for row in rows}


class RunBrokeOff(BaseException):
    """Ends a task or thread whose run broke off while it made a call."""


def _suspects(folder: str | Path | None, graph: ExecutionGraph, tries: int) -> Suspects:
    if folder is None:
        raise SpecError("engine: killer_tries: expected a folder beside it, to count processes in")
    if type(tries) is not int or tries < 1:
        raise SpecError(f"engine: killer_tries: expected an integer from 1, got {tries!r}")
    return Suspects(Path(folder), graph, tries)


class Engine:
    """Arguments and first steps of every engine; see `cellspec.engine` for an example.

    Args:
        graph: the columns and rows to generate.
        generators: by column, a function or a `Generator`; see `cellspec.engine.generators`.
        folder: where finished rows and checkpoints are kept, and found again by the next run; None
            keeps them in memory.
        run_name: a text that tells this run from others of the same graph, such as its seed; a
            folder that holds another run is refused.
        store: another place for them, in place of `folder`.
        limits: how much may run at once.
        failures: attempts of a node, and when to stop early.
        skip_when: conditions of columns with ``may_skip``: called with (row, inputs), True skips
            the cell. An exception in a condition ends the run: it is not a failure of a call.
        order: which ready node goes first: "row-first" or "fifo".
        range_rows: most rows in one call of a range generator.
        checkpoint_every_rows: rows between two checkpoints; None for one at the end.
        checkpoint_version: 1 (finished rows), 2 (each column as far as it got) or 3 (any cells).
        keep_config: go on over claimed cells of a column whose version has changed, and keep them;
            without it such a folder is refused (clause CKPT-20).
        killer_tries: how many processes may die with a cell in flight before its row is given up
            (clause DROP-06); None for any number. It needs a folder.
        backoff: how long a node waits after a failure.
        foreign: how to read an exception of a generator that is no `GeneratorError`: as permanent,
            or as retryable. A `TimeoutError` always spends an attempt, and is worth another.
        timeout_s: seconds after which a call is ended as timed out, which spends an attempt; None
            without a bound. The call of a plain function goes on in its thread, and its late
            answer is thrown away.
        observer: is notified of every step.
        progress: draw a progress bar, if standard error is a terminal.
        scheduler_class: the class that decides; for engines that decide otherwise.

    Raises:
        SpecError: an argument that cannot be used.
    """

    tracker_class: type[CompletionTracker] = CompletionTracker

    def __init__(
        self,
        graph: ExecutionGraph,
        generators: Mapping[str, Callable[..., Any] | Generator],
        *,
        folder: str | Path | None = None,
        run_name: str = "",
        store: Store | None = None,
        limits: Limits | None = None,
        failures: FailurePolicy | None = None,
        skip_when: Mapping[str, WantsSkip] | None = None,
        order: Order = "row-first",
        range_rows: int = 32,
        checkpoint_every_rows: int | None = 100,
        checkpoint_version: int = 1,
        keep_config: bool = False,
        killer_tries: int | None = None,
        backoff: Backoff | None = None,
        timeout_s: float | None = None,
        foreign: Literal["permanent", "retryable"] = "permanent",
        observer: Observer | None = None,
        progress: bool = False,
        scheduler_class: type[Scheduler] = Scheduler,
    ) -> None:
        if folder is not None and store is not None:
            raise SpecError("engine: folder and store: give one of them")
        if timeout_s is not None and not 0 < timeout_s < math.inf:
            raise SpecError(f"engine: timeout_s: expected seconds above 0, got {timeout_s!r}")
        self.graph = graph
        self.timeout_s = timeout_s
        self.generators = bind(graph, generators)
        self._check_conditions(skip_when or {})
        watching = [observer] if observer is not None else []
        if progress:
            watching.append(ProgressBar(graph.num_records))
        self._suspects: Suspects | None = None
        if killer_tries is not None:
            self._suspects = _suspects(folder, graph, killer_tries)
            watching.append(self._suspects)
        self.keep_config = keep_config
        self.observer = watching[0] if len(watching) == 1 else Observers(*watching)
        self.store = store if store is not None else self._open_store(folder, run_name)
        self.scheduler = scheduler_class(
            graph,
            limits=limits,
            failures=failures,
            order=order,
            range_rows=range_rows,
            ranged=[name for name, made in self.generators.items() if made.kind == "range"],
            plan=CheckpointPlan(checkpoint_every_rows, checkpoint_version),
            backoff=backoff,
            foreign=foreign,
            wants_skip=skip_when,
            observer=self.observer,
            tracker_class=self.tracker_class,
        )

    @property
    def tracker(self) -> CompletionTracker:
        """The resolved nodes of this incarnation; of a thread engine, readable from any thread."""
        return self.scheduler.tracker

    def _check_conditions(self, given: Mapping[str, WantsSkip]) -> None:
        for name in sorted(given):
            rule = self.graph.rules.columns[self.graph.rules.index.get(name, 0)]
            if rule.name != name or not rule.may_skip:
                raise SpecError(f"skip_when: no column {name!r} with may_skip=True")

    def _open_store(self, folder: str | Path | None, run: str) -> Store:
        if folder is None:
            return MemoryStore(self.graph.num_records)
        files = RealFileSystem(Path(folder), before_step=self.observer.storage_step)
        return Storage(files, self.graph, run=run)

    def close(self) -> None:
        """Close what the engine holds open on storage."""
        try:
            if self._suspects is not None:
                self._suspects.close()
        finally:
            self.store.close()

    def begin(self, now: float, *, resume: bool, keep: bool) -> None:
        """Load what the store holds, and begin the scheduler with it.

        Args:
            now: seconds on the engine's clock.
            resume: go on from a run that the store holds.
            keep: with another number of rows, keep the output of barriers whose scope has changed.

        Raises:
            SpecError: the store holds a run, and `resume` is false.
            CheckpointError: it holds cells of another configuration (clause CKPT-20).
        """
        restored: Restored | None = self.store.load()
        if restored is not None and not resume:
            raise SpecError("run: there is a run to resume here; give it another folder")
        if restored is not None and not self.keep_config:
            self.expect_config(restored)
        self.scheduler.now = now
        if self._suspects is not None:
            self.scheduler.spent = self._suspects.load()
        self.scheduler.begin(restored, keep=keep)

    def expect_config(self, restored: Restored) -> None:
        """Refuse claimed cells of another version of their column (clause CKPT-20).

        Raises:
            CheckpointError: the column, and both digests.
        """
        claim = read_payload(restored.checkpoint, self.graph, restored.dropped)
        expect_config(self.graph, claim, restored.config)

    def result_of(self, ending: Ending) -> Result:
        """The value that a run returns."""
        return Result(ending.outcome, ending.reason, dict(self.scheduler.dropped), self.store)
