# Clause: SCHED-12
# Releases: none
# Defect: One sentence that says when something goes wrong, and how. Here all is well.
# Public: no, it drives AsyncTaskScheduler
"""Two rows of one column, one call at a time. The first call of row 0 times out once and is
repeated, so both rows must be saved. This file is the template of the scripts that drive the
scheduler. A script keeps its own header, docstring, `WAIT_S`, `table` (the pipeline and its
failures) and `defect` (one sentence about a wrong run, or ""), and imports the rest from here.
Rendered as one file, a script ends with exit code 1, after a line that begins with DEFECT, if the
defect shows, with 0 if it does not, and with 2, after a line that begins with ABSENT, if a release
lacks the part of the engine that the script is about."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

WAIT_S = 10.0


def table() -> Run:
    async def a(row: int, call: int) -> None:
        if row == 0 and call == 1:
            raise failure("ModelTimeoutError")
        await asyncio.sleep(0.1)

    return Run([("a", [], a)], groups=[2], options={"max_in_flight_tasks": 1})


def defect(run: Run) -> str:
    return "" if run.saved == [0, 1] else f"saved are {run.saved}"


# The same in every script from here on: a small table, with functions as its generators.

Function = Callable[[int, int], Awaitable[None]]
"""Called with the row (-1: all of them) and which call of it this is, from 1; it may raise."""


@dataclass
class Run:
    """One run of AsyncTaskScheduler, in real time.

    Attributes:
        columns: name, what it needs, and its function. A name in capitals is a full column; one
            that needs None is made from scratch, as by a sampler or a seed dataset, and if it is
            called SEED it depends on the order of its calls. Whoever needs ``a_more`` needs the
            side effect of that name of ``a``.
        groups: how many rows each row group has.
        options: arguments of the scheduler; those that this release does not have are left out.
        log: seconds and what happened.
        saved: the rows that were saved.
        ended: whether the run came to an end in time.
        error: what it died of; "" if it did not.
    """

    columns: list[tuple[str, list[str] | None, Function]]
    groups: list[int]
    options: dict[str, Any]
    log: list[tuple[float, str]] = field(default_factory=list)
    saved: list[int] = field(default_factory=list)
    ended: bool = False
    error: str = ""

    def calls(self, what: str) -> int:
        """How often something happened: ``"start a[0]"``."""
        return sum(text == what for _, text in self.log)

    def at(self, what: str) -> float:
        """When something happened first, in seconds; a moment that never comes if it did not."""
        return next((when for when, text in self.log if text == what), float("inf"))

    async def go(self, wait_s: float) -> None:
        """Run it, for so many seconds at most."""
        dd = _engine()
        began = time.monotonic()

        def note(text: str) -> None:
            self.log.append((time.monotonic() - began, text))

        scheduler, storage = self._scheduler(dd, note)
        running = asyncio.ensure_future(scheduler.run())
        await asyncio.wait({running}, timeout=wait_s)
        self.ended = running.done()
        running.cancel()
        try:
            await running
        except asyncio.CancelledError:
            pass
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"
        self.saved = sorted(row for frame in storage.frames for row in frame["row"].tolist())

    def _scheduler(self, dd: SimpleNamespace, note: Callable[[str], None]) -> tuple[Any, Any]:
        first = iter(range(sum(self.groups)))
        counts: Counter[str] = Counter()
        asked = {need for _, needs, _ in self.columns for need in needs or []}

        def make(base: type, name: str, strategy: Any, **methods: Any) -> Any:
            made = type(name, (base,), {"get_generation_strategy": lambda _: strategy, **methods})
            made.__abstractmethods__ = frozenset()
            generator = made.__new__(made)
            more = [f"{name}_more"] if f"{name}_more" in asked else []
            generator._config = SimpleNamespace(name=name, side_effect_columns=more)
            generator._resource_provider = None
            return generator

        async def seeds(_: Any, count: int) -> Any:
            return dd.DataFrame({"row": [next(first) for _ in range(count)]})

        def caller(name: str, needs: list[str], function: Function) -> Any:
            async def agenerate(_: Any, data: Any) -> Any:
                row = data["row"] if isinstance(data, dict) else -1
                cell = f"{name}[{row}]" if isinstance(data, dict) else name
                counts[cell] += 1
                absent = [need for need in needs if need not in data]
                note(f"start {cell}" + (f" without {', '.join(absent)}" if absent else ""))
                try:
                    await function(row, counts[cell])
                except Exception:
                    note(f"fail {cell}")
                    raise
                note(f"end {cell}")
                made = dict.fromkeys([name, *({f"{name}_more"} & asked)], 1)
                return {**data, **made} if isinstance(data, dict) else data.assign(**made)

            return agenerate

        def maker(name: str, function: Function) -> Any:
            async def agenerate_from_scratch(_: Any, count: int) -> Any:
                counts[name] += 1
                note(f"start {name} for {count} rows")
                try:
                    await function(-1, counts[name])
                except Exception:
                    note(f"fail {name} for {count} rows")
                    raise
                note(f"end {name} for {count} rows")
                return dd.DataFrame({name: [1] * count})

            return agenerate_from_scratch

        whole, cells = dd.GenerationStrategy.FULL_COLUMN, dd.GenerationStrategy.CELL_BY_CELL
        scratch = make(dd.FromScratch, "row", whole, agenerate_from_scratch=seeds)
        generators = {"row": scratch}
        graph = dd.ExecutionGraph()
        graph.add_column("row", whole)
        for name, needs, function in self.columns:
            strategy = whole if name.isupper() else cells
            graph.add_column(name, strategy)
            if needs is None:
                ordered = property(lambda generator: generator._config.name == "SEED")
                generators[name] = make(
                    dd.FromScratch,
                    name,
                    strategy,
                    agenerate_from_scratch=maker(name, function),
                    agenerate=caller(name, [], function),
                    is_order_dependent=ordered,
                )
                continue
            for need in ["row", *needs]:
                graph.add_edge(upstream=need.removesuffix("_more"), downstream=name)
            agenerate = caller(name, needs, function)
            generators[name] = make(dd.ColumnGenerator, name, strategy, agenerate=agenerate)
        groups = list(enumerate(self.groups))
        storage = _Storage(note)
        buffers = dd.RowGroupBufferManager(storage)
        known = inspect.signature(dd.AsyncTaskScheduler).parameters
        wanted = {
            "on_finalize_row_group": buffers.checkpoint_row_group,
            "disable_early_shutdown": True,
            **self.options,
        }
        if "max_in_flight_tasks" not in known and "max_in_flight_tasks" in wanted:
            wanted["max_submitted_tasks"] = wanted["max_in_flight_tasks"]
        scheduler = dd.AsyncTaskScheduler(
            generators,
            graph,
            dd.CompletionTracker.with_graph(graph, groups),
            groups,
            buffers,
            **{name: value for name, value in wanted.items() if name in known},
        )
        return scheduler, storage


def failure(name: str) -> Exception:
    """An error of this name, as DataDesigner's models raise it."""
    _engine()
    from data_designer.engine.models import errors

    error: Exception = getattr(errors, name)("from the script")
    return error


class _Storage:
    """Keeps the rows that are saved."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self.note = note
        self.frames: list[Any] = []

    def write_batch_to_parquet_file(self, **batch: Any) -> None:
        self.frames.append(batch["dataframe"])
        self.note(f"save group {batch['batch_number']}")

    def move_partial_result_to_final_file_path(self, batch: int) -> str:
        return f"batch {batch}"


def _engine() -> SimpleNamespace:
    """DataDesigner's classes, wherever this release has them."""
    import pandas
    from data_designer.config.column_configs import GenerationStrategy
    from data_designer.engine.column_generators.generators.base import (
        ColumnGenerator,
        FromScratchColumnGenerator,
    )
    from data_designer.engine.dataset_builders.async_scheduler import AsyncTaskScheduler
    from data_designer.engine.dataset_builders.utils.execution_graph import ExecutionGraph
    from data_designer.engine.dataset_builders.utils.row_group_buffer import RowGroupBufferManager

    try:
        from data_designer.engine.dataset_builders.scheduling.completion import CompletionTracker
    except ImportError:
        from data_designer.engine.dataset_builders.utils.completion_tracker import CompletionTracker
    logging.getLogger("data_designer").setLevel(logging.CRITICAL)
    return SimpleNamespace(
        AsyncTaskScheduler=AsyncTaskScheduler,
        ColumnGenerator=ColumnGenerator,
        CompletionTracker=CompletionTracker,
        DataFrame=pandas.DataFrame,
        ExecutionGraph=ExecutionGraph,
        FromScratch=FromScratchColumnGenerator,
        GenerationStrategy=GenerationStrategy,
        RowGroupBufferManager=RowGroupBufferManager,
    )


def main() -> int:
    run = table()
    asyncio.run(run.go(WAIT_S))
    print(f"{__doc__}\n")
    shown = [f"{when:6.2f} s  {text}" for when, text in run.log]
    print("\n".join(shown if len(shown) <= 60 else [*shown[:20], "     …", *shown[-20:]]))
    how = f"died of {run.error}" if run.error else "ended" if run.ended else "did not end"
    print(f"rows saved: {run.saved}; the run {how}")
    wrong = defect(run)
    print(f"DEFECT: {wrong}" if wrong else "as expected")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
