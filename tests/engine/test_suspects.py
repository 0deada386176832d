"""Cells with which processes die are given up by the reference engine, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits, Limits, SpecError
from cellspec.conformance import Workload, run_workload
from cellspec.engine import AsyncioEngine
from cellspec.engine.calls import RANGE, Call
from cellspec.engine.suspects import SUSPECTS, Suspects
from cellspec.engines.reference import ReferenceBackend
from cellspec.rejected import REJECTED

GRAPH = ExecutionGraph(3, [ColumnDescriptor("a"), ColumnDescriptor("b", dependencies=["a"])])


class Death(BaseException):
    """The process is gone."""


def run(folder: Path, tries: int | None, killer: int | None = 1) -> Any:
    async def a(row: int, _: Any) -> str:
        await asyncio.sleep(0)
        return f"a{row}"

    async def b(row: int, inputs: Any) -> str:
        if row == killer:
            raise Death
        await asyncio.sleep(0)
        return f"{inputs['a']} b{row}"

    engine = AsyncioEngine(
        GRAPH, {"a": a, "b": b}, folder=folder, killer_tries=tries, limits=Limits(workers=1)
    )
    return asyncio.run(engine.run())


@pytest.mark.clause("DROP-06")
def test_a_cell_with_which_two_processes_died_is_given_up_and_its_row_alone(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(Death):
            run(tmp_path, 2)
    result = run(tmp_path, 2)
    assert result.outcome == "success"
    assert {row: drop.kind for row, drop in result.dropped.items()} == {1: "killer"}
    assert result.rows() == {row: {"a": f"a{row}", "b": f"a{row} b{row}"} for row in (0, 2)}


@pytest.mark.clause("DROP-06")
def test_a_cell_that_ended_well_is_no_suspect_any_more(tmp_path: Path) -> None:
    with pytest.raises(Death):
        run(tmp_path, 2)
    with (tmp_path / SUSPECTS).open("a", encoding="utf-8") as file:
        # A dying process may cut its last line.
        file.write('\n["well", "b", 1]\n["start", "b')
    with pytest.raises(Death):
        run(tmp_path, 2)
    assert run(tmp_path, 2, None).rows().keys() == {0, 1, 2}


@pytest.mark.clause("DROP-06")
def test_of_a_line_that_was_cut_short_no_row_is_a_suspect(tmp_path: Path) -> None:
    graph = ExecutionGraph(3, [ColumnDescriptor("b", traits=ExecutionTraits.START)])
    seen = Suspects(tmp_path, graph, 1)
    call = Call(0, "b", 0, RANGE, 0, 2, None, 1, range(2), [{}, {}], {0: None, 1: None})
    seen.started(call)
    seen.close()
    whole = (tmp_path / SUSPECTS).read_bytes()
    for size in range(len(whole)):
        (tmp_path / SUSPECTS).write_bytes(whole[:size])
        assert not Suspects(tmp_path, graph, 1).load(), whole[:size]
    (tmp_path / SUSPECTS).write_bytes(whole)
    assert len(Suspects(tmp_path, graph, 1).load()) == 2


@pytest.mark.clause("DROP-06")
def test_a_row_that_a_range_rejects_is_in_flight_no_more(tmp_path: Path) -> None:
    graph = ExecutionGraph(
        3, [ColumnDescriptor("a", traits=ExecutionTraits.START | ExecutionTraits.ROW_STREAMABLE)]
    )

    async def a(rows: list[int], _: Any) -> AsyncIterator[tuple[int, Any]]:
        for row in rows:
            yield row, REJECTED if row == 1 else f"a{row}"

    engine = AsyncioEngine(graph, {"a": a}, folder=tmp_path, killer_tries=1)
    assert asyncio.run(engine.run()).dropped.keys() == {1}
    assert not Suspects(tmp_path, graph, 1).load()


@pytest.mark.clause("DROP-06", "TABLE-06")
def test_a_row_that_processes_died_with_beside_no_killer_is_no_fault() -> None:
    """Processes 1 and 2 die with the cell in flight, and 3 before it says from what it goes on."""
    work = Workload(
        columns=(ColumnDescriptor("a"),), rows=1, checkpoint_version=1, crashes=(3, 4, 1)
    )
    assert not run_workload(ReferenceBackend(), work).violations


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"killer_tries": 2}, "killer_tries: expected a folder beside it, to count processes in"),
        ({"killer_tries": 0, "folder": "x"}, "killer_tries: expected an integer from 1, got 0"),
    ],
)
def test_tries_that_cannot_be_counted_are_refused(options: dict[str, Any], line: str) -> None:
    with pytest.raises(SpecError) as refused:
        AsyncioEngine(GRAPH, {"a": lambda *_: 1, "b": lambda *_: 1}, **options)
    assert str(refused.value) == f"engine: {line}"
