# Clause: SCHED-09
# Releases: 0.6.1 0.7.0 0.8.0
# Defect: A column that is alone in using a model does not get all of its places, because some
#   are kept for others who might come.
# Fixed by: https://github.com/NVIDIA-NeMo/DataDesigner/pull/810
# Public: no, it drives AsyncTaskScheduler
"""Four rows of one column, whose cells take a third of a second, and a model that takes four
calls at once. Nobody else wants a place: all four must start at once."""

from __future__ import annotations

import asyncio

from _template import Run, _engine

WAIT_S = 10.0


def table() -> Run:
    async def a(_row: int, _call: int) -> None:
        await asyncio.sleep(0.3)

    generator = _engine().ColumnGenerator
    if hasattr(generator, "get_scheduling_metadata"):
        from data_designer.config.scheduling import SchedulingMetadata

        model = SchedulingMetadata.model("provider", "model", "chat", weight=4)
        generator.get_scheduling_metadata = lambda _: model
    return Run([("a", [], a)], groups=[4], options={"max_model_task_admission": 4})


def defect(run: Run) -> str:
    starts = [run.at(f"start a[{row}]") for row in range(4)]
    waited_s = max(starts) - min(starts)
    return (
        "" if waited_s < 0.2 else f"the last of four calls started {waited_s:.1f} s after the first"
    )
