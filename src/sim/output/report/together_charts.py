"""The charts of pipelines that ran beside each other: all of them over one time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sim.output.report.charts import Chart, Layer, Line, colour_of
from sim.output.report.recorder import RunRecorder
from sim.output.report.scale import Axis, linear, number, over_time
from sim.output.report.series import Steps
from sim.output.result_table import printable
from sim.results_together import TogetherResult

__all__ = ["charts_together"]


def charts_together(result: TogetherResult, records: Sequence[RunRecorder]) -> list[Chart]:
    """Rows of all pipelines, and their calls at each endpoint that several use.

    They carry the records on to the end of the last pipeline, so that the charts of each by itself
    must have been made before.

    Args:
        result: the figures of all.
        records: of each pipeline, closed.
    """
    time = over_time(result.makespan_s)
    names = [printable(run.name) for run in result.pipelines]
    rows = [record.complete for record in records]
    charts = [
        _beside(
            "all-rows",
            "Rows complete, by pipeline",
            "Rows complete over time, a line for each pipeline.",
            "rows",
            time,
            list(zip(names, rows, strict=True)),
        )
    ]
    for place, item in enumerate(result.common_endpoints):
        inside = [
            (name, record.endpoints[item.endpoint].inside)
            for name, record in zip(names, records, strict=True)
            if item.endpoint in record.endpoints
        ]
        if len(inside) > 1:
            charts.append(
                _beside(
                    f"all-endpoint-{place + 1}",
                    f"Calls at the endpoint, by pipeline: {printable(item.endpoint)}",
                    "Calls that the endpoint has taken in, a line for each pipeline.",
                    "calls",
                    time,
                    inside,
                )
            )
    return charts


def _beside(
    key: str, title: str, about: str, label: str, time: Axis, lines: Sequence[tuple[str, Steps]]
) -> Chart:
    layers: list[Layer] = []
    highest = 0.0
    for place, (name, steps) in enumerate(lines):
        points = steps.points(time.high)
        dotted = place % 2 == 1
        layers.append(Line(points, name, colour_of(place), stepped=True, dotted=dotted))
        highest = max(highest, *(value for _, value in points))
    axis = linear(label, [highest], whole=True)
    notes = (about, *_means(steps for _, steps in lines))
    return Chart(key, title, about, time, axis, tuple(layers), notes=notes)


def _means(all_steps: Iterator[Steps]) -> Iterator[str]:
    widths = [steps.bins.width_s for steps in all_steps if not steps.is_exact]
    if widths:
        yield f"Means over up to {number(max(widths))} s."
