"""Explanations: what the reader of a violation is told of the state, each fact once."""

from __future__ import annotations

import pytest

from cellspec import ColumnDescriptor, ExecutionGraph, Machine
from cellspec.check.explain import explain
from cellspec.trace import Event


@pytest.mark.parametrize("clause", ["DROP-04", "CKPT-20", "SCHED-14"])
def test_the_explanation_of_an_end_says_once_what_is_on_storage(clause: str) -> None:
    machine = Machine(ExecutionGraph(2, [ColumnDescriptor("a")]))
    end = Event(1, 0.0, "end", outcome="failed")
    state = [line for line in explain(clause, "", end, machine, []) if line.startswith("state: ")]
    assert state == [
        "state: 0 of 2 rows resolved without a gap",
        "state: rows resolved without a gap: 0 of every column",
        "state: rows on storage: 0 of every column",
        "state: last durable claim: 0 of every column",
    ]
