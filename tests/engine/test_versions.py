"""The version of a column, kept beside its claimed cells and compared at a resume."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from cellspec import CheckpointError, ColumnDescriptor, ExecutionGraph
from cellspec.engine import AsyncioEngine
from cellspec.errors import Violation
from cellspec.graph.configuration import Config
from cellspec.machine.machine import Action, Machine


def pipeline(rows: int = 4, **versions: str) -> ExecutionGraph:
    columns = [
        ColumnDescriptor("topic", version=versions.get("topic")),
        ColumnDescriptor("text", dependencies=["topic"], version=versions.get("text")),
    ]
    return ExecutionGraph(rows, columns)


async def topic(row: int, _: object) -> int:
    return row


def run(folder: Path, graph: ExecutionGraph, *, keep_config: bool = False) -> str:
    """A run of two columns with a claim of each."""
    engine = AsyncioEngine(
        graph,
        {"topic": topic, "text": topic},
        folder=folder,
        checkpoint_version=2,
        keep_config=keep_config,
    )
    return asyncio.run(engine.run()).outcome


def test_a_version_changes_the_configuration_and_not_the_fingerprint() -> None:
    assert pipeline(topic="1").fingerprint == pipeline(topic="2").fingerprint
    assert pipeline(topic="1").config != pipeline(topic="2").config
    assert pipeline().config == {}
    assert pipeline(topic="1").resized(9).config == pipeline(topic="1").config


@pytest.mark.clause("CKPT-20")
def test_a_folder_with_cells_of_another_version_is_refused_unless_told_to_keep_them(
    tmp_path: Path,
) -> None:
    assert run(tmp_path, pipeline(topic="1", text="1")) == "success"
    with pytest.raises(CheckpointError, match="'text' has claimed cells of configuration"):
        run(tmp_path, pipeline(topic="1", text="2"))
    assert run(tmp_path, pipeline(topic="1")) == "success"
    # A process that says nothing leaves the digest of the claimed cells as it is.
    with pytest.raises(CheckpointError):
        run(tmp_path, pipeline(topic="1", text="2"))
    # The next checkpoint records what was kept.
    assert run(tmp_path, pipeline(6, topic="1", text="2"), keep_config=True) == "success"
    assert run(tmp_path, pipeline(6, topic="1", text="2")) == "success"
    saved = json.loads((tmp_path / "checkpoint.json").read_text().splitlines()[0])
    assert saved["config"] == pipeline(topic="1", text="2").config
    assert saved["kept"] == {"text": [pipeline(text="1").config["text"]]}


def crashed(claim: tuple[int, int], config: Config | None = None) -> Machine:
    stated = {"topic": "1", "text": "1"} if config is None else config
    machine = Machine(pipeline(), config=stated)
    for column, rows in enumerate(claim):
        for row in range(rows):
            machine.start_cell(column, row)
            machine.complete_cell(column, row)
    machine.apply(Action("durable", rows=(0, min(claim))))
    machine.checkpoint_begin((min(claim),) * 2)
    machine.checkpoint_durable()
    machine.crash()
    return machine


@pytest.mark.clause("CKPT-20")
def test_a_resume_over_claimed_cells_of_another_configuration_breaks_a_clause() -> None:
    with pytest.raises(Violation, match=r"CKPT-20.*configuration 2 of 'text'"):
        crashed((2, 2)).resume((2, 2), config={"topic": "1", "text": "2"})
    crashed((2, 2)).resume((2, 2), config={"text": "2"}, keep_config=True)
    crashed((2, 2)).resume((2, 2))


@pytest.mark.clause("CKPT-20")
def test_without_claimed_cells_any_configuration_may_follow_and_counts_from_then_on() -> None:
    machine = Machine(pipeline(), config={"topic": "1"})
    machine.crash()
    machine.resume((0, 0), config={"topic": "2"})
    assert machine.state.config == {"topic": "2"}


def taken_up(
    machine: Machine, topic: str | None, *, keep: bool = False, makes: bool = False
) -> None:
    """A process that goes on from what is claimed, perhaps makes row 2, and dies."""
    config = None if topic is None else {"topic": topic}
    machine.resume(machine.durable_claim, config=config, keep_config=keep)
    if makes:
        for column in (0, 1):
            machine.start_cell(column, 2)
            machine.complete_cell(column, 2)
        machine.apply(Action("durable", rows=(2, 3)))
        machine.checkpoint_begin((3, 3))
        machine.checkpoint_durable()
    machine.crash()


@pytest.mark.clause("CKPT-20")
@pytest.mark.parametrize("makes", [False, True])
def test_cells_count_for_the_configuration_under_which_they_were_made(makes: bool) -> None:
    machine = crashed((2, 2))
    taken_up(machine, "2", keep=True, makes=makes)
    taken_up(machine, "2")
    if makes:
        with pytest.raises(Violation, match="of which claimed cells were made with 2"):
            taken_up(machine, "1")
    else:
        taken_up(machine, "1")
    with pytest.raises(Violation, match="CKPT-20"):
        taken_up(machine, "3")


@pytest.mark.clause("CKPT-20")
def test_cells_of_a_process_that_states_no_configuration_are_not_compared() -> None:
    machine = crashed((2, 2), config={})
    taken_up(machine, "2")
    taken_up(machine, "3")
    taken_up(machine, None, makes=True)
    taken_up(machine, "4")


def test_a_store_says_which_cells_it_cannot_compare(tmp_path: Path) -> None:
    assert run(tmp_path, pipeline(2)) == "success"
    with pytest.warns(UserWarning, match="cells of 'topic' are not compared"):
        assert run(tmp_path, pipeline(4, topic="2")) == "success"
