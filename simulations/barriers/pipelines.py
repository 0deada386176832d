"""Real pipelines as scenarios, each under the four options for barriers and checkpoints.

The pipelines are 13 of the 14 DataDesigner configurations that lie beside the checkout in
``../shared/data/configs`` (NVIDIA-NeMo/DataDesigner 0.9.6, Apache-2.0), whose graphs DataDesigner
itself compiled; the 14th calls no model. Each call has the tokens of published requests, at the
endpoint of ``simulations/text_to_sql.yaml``, which says where both come from.

Assumptions, the same for all pipelines:

- code and structured answers are as long as those of Mooncake's conversations, other answers as
  those of Azure's; an embedding has no answer;
- a prompt has 200 tokens beside the answers that it holds; those in the shipped scenarios have 152
  to 869;
- an expression takes 1 ms a row, a validator 20 ms a row and 0.5 s to start;
- expressions and validators look at one row at a time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

from sim.scenario.loader import load_scenario
from sim.scenario.scenario import Scenario

__all__ = ["GRAPHS", "OPTIONS", "SEARCH", "Option", "Pipeline", "Setting", "read_pipelines"]

ROOT = Path(__file__).parents[2]
GRAPHS = ROOT.parent / "shared" / "data" / "configs" / "graphs.json"

Data: TypeAlias = dict[str, Any]
Option = Literal["A", "B", "C", "D"]
OPTIONS: tuple[Option, ...] = ("A", "B", "C", "D")

SEARCH = "near_duplicate_of"
"""The column that is added where a pipeline has a barrier that needs the dataset."""

LOCAL = ("expression", "validation")
LONG = ("llm-code", "llm-structured")


@dataclass(frozen=True, slots=True)
class Setting:
    """What a run is under, beside its pipeline and option.

    Attributes:
        crash_s: the mean time to a crash, in seconds; 0 for none.
        batch: rows of a batch.
        cost: the times of the barriers are multiplied by it.
        rows: of the dataset.
    """

    crash_s: int = 0
    batch: int = 40
    cost: float = 1.0
    rows: int = 200


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The columns of one configuration, in an order in which each comes after those it needs."""

    name: str
    columns: tuple[Data, ...]
    places: tuple[tuple[str, int], ...]

    @property
    def barriers(self) -> list[str]:
        """Columns whose generator takes a table at once, and needs other columns."""
        return [one["name"] for one in self.columns if _is_barrier(one)]

    @property
    def calls(self) -> int:
        """Calls of a model in a row."""
        return sum(one["model_alias"] is not None for one in self.columns)

    def scenario(self, option: Option, setting: Setting, *, search: bool) -> Scenario:
        """The pipeline under an option.

        Args:
            option: A: each barrier waits for the dataset, checkpoints count rows; B: each waits
                for a batch; C: as A, and checkpoints count the rows of each column; D: as C, and
                those that look at one row at a time wait for a batch.
            setting: of the run.
            search: a search for near duplicates is added, which needs the dataset.
        """
        columns = [_column(one, option, setting) for one in self.columns]
        if search:
            last = [one["name"] for one in self.columns if one["model_alias"] is not None][-1]
            columns.append(_barrier(SEARCH, "BARRIER", [last], 1.0, 0.002, setting))
        data: Data = {
            "name": self.name,
            "rows": setting.rows,
            "batch_size": setting.batch,
            "barrier_scope": "batch" if option == "B" else "declared",
            "columns": columns,
            "limits": {"workers": 256, "resources": dict(self.places)},
            "policy": "row-first",
            "checkpoint": {
                "every_s": 60,
                "version": 1 if option in ("A", "B") else 2,
                "write_s": 0.1,
            },
            "restart_delay_s": 60,
            "redo": "fresh",
            "endpoints": {name: _shipped()["endpoint"] for name, _ in self.places},
        }
        if setting.crash_s:
            data["crashes"] = [{"random": {"mean_s": setting.crash_s}}]
        return Scenario.model_validate(data)


def read_pipelines() -> list[Pipeline]:
    """The pipelines that call a model, in the order of their file.

    Raises:
        OSError: the file cannot be read.
    """
    found = []
    for graph in json.loads(GRAPHS.read_text(encoding="utf-8")):
        places = tuple((name, most) for name, (*_, most) in sorted(graph["models_used"].items()))
        models = {one["name"] for one in graph["columns"] if one["model_alias"] is not None}
        columns = tuple(
            {**one, "held": [need for need in one["upstream"] if need in models]}
            for one in graph["columns"]
        )
        pipeline = Pipeline(graph["config"], columns, places)
        if pipeline.calls:
            found.append(pipeline)
    return found


def _is_barrier(column: Data) -> bool:
    return column["strategy"] == "full_column" and bool(column["upstream"])


def _column(column: Data, option: Option, setting: Setting) -> Data:
    name, needs, kind = column["name"], column["upstream"], column["type"]
    if column["model_alias"] is not None:
        found: Data = {
            "name": name,
            "traits": ["CELL_BY_CELL"] if needs else ["START", "CELL_BY_CELL"],
            "resource": column["model_alias"],
            "latency": _request(column),
        }
        return {**found, "dependencies": needs} if needs else found
    if not _is_barrier(column):
        return {"name": name, "traits": ["START", "ROW_STREAMABLE"]}
    assert kind in LOCAL, kind
    by_batch = "BATCH_BARRIER" if option in ("B", "D") else "BARRIER"
    start_s, row_s = (0.0, 0.001) if kind == "expression" else (0.5, 0.02)
    return _barrier(name, by_batch, needs, start_s, row_s, setting)


def _barrier(
    name: str, trait: str, needs: list[str], start_s: float, row_s: float, setting: Setting
) -> Data:
    return {
        "name": name,
        "traits": [trait],
        "dependencies": needs,
        "latency": {"model": "constant", "value_s": start_s * setting.cost},
        "latency_per_row_s": row_s * setting.cost,
    }


def _request(column: Data) -> Data:
    held = [f"{need}.output_tokens" for need in column["held"]]
    prompt: Data = {"model": "constant", "value": 200}
    if held:
        prompt = {"model": "sum", "of": held, "plus": 200}
    kind = column["type"]
    answer = _shipped()["long" if kind in LONG else "short"]
    if kind == "embedding":
        answer = {"model": "constant", "value": 0}
    return {"model": "request", "prompt_tokens": prompt, "output_tokens": answer}


@cache
def _shipped() -> Data:
    """The endpoint and the two lengths of answers of ``simulations/text_to_sql.yaml``."""
    shipped = load_scenario(ROOT / "simulations" / "text_to_sql.yaml")
    data = shipped.model_dump(by_alias=True, exclude_unset=True)
    by_name = {one["name"]: one for one in data["columns"]}
    return {
        "endpoint": data["endpoints"]["nvidia-text"],
        "long": by_name["sql_context"]["latency"]["output_tokens"],
        "short": by_name["sql"]["latency"]["output_tokens"],
    }
