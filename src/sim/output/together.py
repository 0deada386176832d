"""The result of pipelines that ran beside each other: as a table, as JSON, and as CSV."""

from __future__ import annotations

import json

from cellspec.text import counted
from sim.output.result_data import csv_of
from sim.output.result_table import Columns, decimals, integers, printable, render_table
from sim.result_fields import plain
from sim.results_together import TogetherResult

__all__ = [
    "common_endpoints_table",
    "csv_together",
    "json_together",
    "pipelines_table",
    "table_together",
]


def json_together(result: TogetherResult) -> str:
    """One JSON object, whose `pipelines` are each as a run alone prints it."""
    return json.dumps(plain(result), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def csv_together(result: TogetherResult) -> str:
    """A header, and a line for each pipeline."""
    return csv_of(result.pipelines)


def pipelines_table(result: TogetherResult) -> Columns:
    """What each pipeline did."""
    runs = result.pipelines
    return Columns(
        [
            ("pipeline", [printable(run.name) for run in runs]),
            ("makespan s", decimals([run.makespan_s for run in runs])),
            ("rows delivered", integers([run.rows_delivered for run in runs])),
            ("rows/s", decimals([run.rows_per_s for run in runs])),
            ("seed", [str(run.seed) for run in runs]),
        ],
        words=1,
    )


def common_endpoints_table(result: TogetherResult) -> Columns:
    """What each endpoint did for all pipelines."""
    endpoints = result.common_endpoints
    shares = [[item.refused_share for item in endpoints], [item.utilisation for item in endpoints]]
    refused, used = ([None if x is None else 100 * x for x in column] for column in shares)
    return Columns(
        [
            ("endpoint", [printable(item.endpoint) for item in endpoints]),
            ("pipelines", integers([item.pipelines for item in endpoints])),
            ("sent", integers([item.sent for item in endpoints])),
            ("accepted", integers([item.accepted for item in endpoints])),
            ("refused", integers([item.refused for item in endpoints])),
            ("refused %", decimals(refused)),
            ("lost", integers([item.lost for item in endpoints])),
            ("mean in flight", decimals([item.mean_in_flight for item in endpoints])),
            ("utilisation %", decimals(used)),
        ],
        words=1,
    )


def table_together(result: TogetherResult) -> str:
    """What is common, and then the table of each pipeline."""
    runs, endpoints = result.pipelines, result.common_endpoints
    lines = [
        f"{printable(result.name)}: {counted(len(runs), 'pipeline')} on "
        f"{counted(len(endpoints), 'endpoint')}, seed {result.seed}",
        "",
        *pipelines_table(result).lines(),
        "",
        *common_endpoints_table(result).lines(),
    ]
    parts = ["".join(f"{line.rstrip()}\n" for line in lines), *map(render_table, runs)]
    end = f"all pipelines: fingerprint {result.fingerprint}  scenario {result.scenario_digest}\n"
    return "\n".join([*parts, end])
