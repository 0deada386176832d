"""Pipelines beside each other against one pipeline, which the naive program judges.

Where everything may be out at once, columns of one pipeline that do not need each other are served
as those of two pipelines are. `tests.theory.differential` holds runs of such pipelines to a program
that shares nothing with the simulator.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.recompute.runner import run
from tests.theory.differential import (
    Data,
    calls,
    endpoints,
    listed,
    most_of,
    numbers,
    same,
    traced,
)

LIMITS: Data = {"workers": 64, "resources": {"chat": 64}}
OWN: Mapping[str, tuple[str, ...]] = {"one": ("a", "c"), "two": ("b",)}
"""By pipeline, its columns; c needs a."""


@st.composite
def columns_at_one_endpoint(draw: st.DrawFn) -> Data:
    """One pipeline of two parts that have nothing but an endpoint in common."""
    # A table of speeds reaches to eight calls at once.
    rows, tokens = draw(st.integers(1, 4)), draw(st.booleans())
    columns: list[Data] = []
    for place, name in enumerate(["a", "b", "c"][: draw(st.integers(2, 3))]):
        latency: Data = {"model": "list", "values_s": draw(listed(rows, place, 0, 20))}
        if tokens:
            latency = draw(calls(rows, place, []))
        column = {"name": name, "resource": "chat", "latency": latency}
        needs = {"dependencies": ["a"], "traits": ["CELL_BY_CELL"]}
        columns.append(
            {**column, **(needs if name == "c" else {"traits": ["START", "CELL_BY_CELL"]})}
        )
    most_tokens = max([1.0, *(most_of(column["latency"]) for column in columns)])
    endpoint = draw(endpoints(tokens=tokens, most_tokens=most_tokens))
    if {"limits", "queue", "outages"}.intersection(endpoint):
        endpoint["refusal"] = {
            "latency_s": draw(st.sampled_from([0, 0.137])),
            "retry_after": draw(st.sampled_from(["exact", "none"])),
        }
    failures: Data = {"cool_down": {"first_s": 1.7, "factor": 2.0, "most_s": 9.0}}
    if draw(st.integers(0, 3)) == 0:
        failures |= {"max_attempts": 9, "timeout_s": draw(numbers(21, 60))}
    return {
        "name": "whole",
        "rows": rows,
        "columns": columns,
        "limits": LIMITS,
        "policy": "column-first",
        "endpoints": {"chat": endpoint},
        "failures": failures,
    }


def split(data: Data) -> Data:
    """The same as two pipelines."""
    one, two = (
        {
            **data,
            "name": name,
            "columns": [column for column in data["columns"] if column["name"] in own],
        }
        for name, own in OWN.items()
    )
    del two["endpoints"]
    return {**one, "beside": [two]}


@pytest.mark.long
@settings(max_examples=80)
@given(columns_at_one_endpoint())
def test_two_pipelines_are_served_as_the_columns_of_one(data: Data) -> None:
    for word in data["endpoints"]["chat"]:
        event(word)
    with TemporaryDirectory() as name:
        folder = Path(name)
        whole = run(data, folder)
        assert whole.code == 0, whole.said
        together = run(split(data), folder)
        assert together.code == 0, together.said
        texts = [(folder / f"run.{one}.jsonl").read_text(encoding="utf-8") for one in OWN]
    expected = traced(whole.trace)
    got = {key: times for text in texts for key, times in traced(text.splitlines()).items()}
    assert got.keys() == expected.keys()
    ends: dict[str, float] = {}
    for (column, row), times in expected.items():
        assert same(times, got[column, row]), f"{column}[{row}]"
        ends[column] = max(ends.get(column, 0.0), *times["complete"])
    for one in together.printed["pipelines"]:
        last_s = max(ends.get(column, 0.0) for column in OWN[one["name"]])
        assert abs(one["makespan_s"] - last_s) <= 1e-9 * (1 + last_s)
