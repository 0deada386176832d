"""The naive simulator has the figures of theory: of exact cases, and of the others by law."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.theory.cases import CASES, Case, read_cases
from tests.theory.naive import Naive, Run, simulate

UNKNOWN = {
    "accept",
    "checkpoint.blocking",
    "failures.timeout_s",
    "redo: fresh",
    "row_effect",
    "shares",
    "tune",
}
"""Words of cases that the naive simulator does not know; nor does it know waits and crashes."""
LONG = 3_000
NOT_BY_LAW = ("E1", "E2", "F0")


def known() -> list[Any]:
    """A parameter for each case that the naive simulator can run."""
    cases = list(read_cases()) if CASES.is_file() else []
    return [
        pytest.param(case, id=case.id, marks=[pytest.mark.theory] if case.cells > LONG else [])
        for case in cases
        if not UNKNOWN.intersection(case.needs) and not case.id.startswith(NOT_BY_LAW)
    ]


def drawn(model: Mapping[str, Any], rng: np.random.Generator, rows: int) -> Mapping[str, Any]:
    """The model as a list of draws by row, made here and not by the simulator."""
    kind = model["model"]
    if kind == "exponential":
        values = rng.exponential(model.get("mean", model.get("mean_s")), rows)
    elif kind == "lognormal":
        spread = rng.standard_normal(rows) * model["sigma"]
        values = model.get("median", model.get("median_s")) * np.exp(spread)
    elif kind == "request":
        parts = {k: drawn(v, rng, rows) for k, v in model.items() if isinstance(v, Mapping)}
        return {**model, **parts}
    else:
        return model
    return {"model": "list", "values": values.tolist()}


def figure(name: str, case: Case, run: Run) -> float:
    """A figure of a run, by its name in the table of cases."""
    if name == "cost":
        return run.cost(case.scenario["endpoints"]["chat"]["price"])
    if name == "retry_after_s":
        (wait_s,) = [wait_s for call in run.calls for wait_s in call.waits_s]
        assert wait_s is not None
        return wait_s
    if name == "mean_limit":
        return run.mean_limit["chat"]
    return float(getattr(run, name))


@pytest.mark.parametrize("case", known())
def test_the_naive_simulator_has_the_figures_of_theory(case: Case) -> None:
    runs = []
    for seed in range(case.replications):
        rng = np.random.default_rng([seed, 7])
        columns = [
            {**column, "latency": drawn(column["latency"], rng, case.scenario["rows"])}
            for column in case.scenario["columns"]
        ]
        runs.append(simulate({**case.scenario, "columns": columns}))
    missed = [
        said
        for one in case.expected
        if (said := one.missed([figure(one.figure, case, run) for run in runs]))
    ]
    assert not missed, case.title


def test_an_order_that_no_convention_fixes_is_seen() -> None:
    """Two calls that end at one instant, and one place behind them."""
    seconds = {"a": [2.0, 2.0], "b": [3.0, 1.0]}
    columns = [
        {"name": "a", "latency": {"model": "list", "values": seconds["a"]}},
        {
            "name": "b",
            "dependencies": ["a"],
            "resource": "one",
            "latency": {"model": "list", "values": seconds["b"]},
        },
    ]
    limits = {"workers": 9, "resources": {"one": 1}}
    data = {"rows": 2, "columns": columns, "limits": limits, "policy": "fifo"}
    assert [call.end_s for call in Naive(data).run().calls] == [2.0, 2.0, 5.0, 6.0]
    assert [call.end_s for call in simulate(data, last_first=True).calls] == [2.0, 2.0, 6.0, 3.0]
