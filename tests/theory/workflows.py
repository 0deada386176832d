"""Real workflow executions in WfFormat 1.5, each as a scenario of one row: a task is a column.

The files lie beside the checkout in ``../shared/data/wf`` and are read from there: WfInstances of
the WfCommons project (doi 10.5281/zenodo.12510982, LGPL-3.0).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.theory.formulas import critical_path_s

__all__ = ["WORKFLOWS", "Workflow", "read_workflows", "tasks_as_columns"]

WORKFLOWS = Path(__file__).parents[3] / "shared" / "data" / "wf"

FILES = (
    "1000genome-chameleon-2ch-100k-001",
    "epigenomics-chameleon-ilmn-1seq-100k-001",
    "helloworld-chain-5-chameleon",
    "helloworld-forkjoin-10-chameleon",
    "montage-chameleon-dss-05d-001",
    "soykb-chameleon-10fastq-10ch-001",
    "srasearch-chameleon-10a-001",
    "srasearch-chameleon-10a-002",
    "srasearch-chameleon-10a-003",
    "srasearch-chameleon-10a-004",
    "srasearch-chameleon-10a-005",
)


@dataclass(frozen=True, slots=True)
class Workflow:
    """One execution.

    Attributes:
        seconds: that each task ran, each after those that it needs.
        needs: of each task.
        published_s: the makespan, with staging and queueing that the tasks' times do not hold.
    """

    name: str
    seconds: Mapping[str, float]
    needs: Mapping[str, Sequence[str]]
    published_s: float

    @property
    def work_s(self) -> float:
        return sum(self.seconds.values())

    @property
    def chain_s(self) -> float:
        return critical_path_s(self.seconds, self.needs)

    def scenario(self, workers: int, policy: str) -> dict[str, Any]:
        """Its tasks, each once, on so many workers."""
        return {
            "name": "workflow",
            "rows": 1,
            "columns": tasks_as_columns(self.seconds, self.needs),
            "limits": {"workers": workers, "resources": {}},
            "policy": policy,
        }


def tasks_as_columns(
    seconds: Mapping[str, float], needs: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    """A column for each task, of constant latency."""
    names = {task: f"task_{place}" for place, task in enumerate(seconds)}
    return [
        {
            "name": names[task],
            "traits": ["CELL_BY_CELL"] if needs[task] else ["START", "CELL_BY_CELL"],
            "dependencies": [names[need] for need in needs[task]],
            "latency": {"model": "constant", "value_s": takes_s},
        }
        for task, takes_s in seconds.items()
    ]


@cache
def read_workflows() -> tuple[Workflow, ...]:
    """All executions.

    Raises:
        OSError: a file is not there.
    """
    return tuple(_read(WORKFLOWS / f"{name}.json") for name in FILES)


def _read(path: Path) -> Workflow:
    data = json.loads(path.read_text(encoding="utf-8"))["workflow"]
    assert isinstance(data, dict)
    ran_s = {one["id"]: float(one["runtimeInSeconds"]) for one in data["execution"]["tasks"]}
    left = {one["id"]: list(one["parents"]) for one in data["specification"]["tasks"]}
    assert left.keys() == ran_s.keys()
    needs: dict[str, list[str]] = {}
    while left:
        ready = [task for task, parents in left.items() if needs.keys() >= set(parents)]
        assert ready, "a circle of tasks"
        needs |= {task: left.pop(task) for task in ready}
    seconds = {task: ran_s[task] for task in needs}
    return Workflow(path.stem, seconds, needs, float(data["execution"]["makespanInSeconds"]))
