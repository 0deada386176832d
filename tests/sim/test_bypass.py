"""The bypass bound of a dispatch policy is kept, and is what a count by definition finds."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec
import pytest

from cellspec.check.checker import check_file
from cellspec.machine.machine import Machine
from cellspec.trace import TraceReader, TraceWriter, action_of, failures_of, graph_of, limits_of
from sim.cli import main
from sim.policies import BYPASS_BOUNDS, POLICIES, Policy

pytestmark = pytest.mark.clause("SCHED-17")


def trace_of(policy: str, folder: Path, name: str = "text_to_sql") -> Path:
    path = folder / "run.jsonl"
    small = ["--set", "rows=40", "--set", f"policy={policy}"]
    assert main(["run", name, *small, "--trace", str(path)]) == 0
    return path


def most_overtaken(path: Path) -> int:
    """By definition: of all ready nodes, how often the worst was overtaken in its resource.

    Nodes that one event makes ready are no later ones of each other.
    """
    with TraceReader(path) as reader:
        graph, limits = graph_of(reader.header), limits_of(reader.header)
        machine = Machine(graph, limits, failures=failures_of(reader.header))
        waiting: dict[tuple[str, str | None, object], int] = {}
        since: dict[tuple[str, str | None, object], int] = {}
        step = 0

        def ready(kind: str, column: int, place: int) -> None:
            name = graph.column_names[column]
            if kind == "barrier" or not graph.rules.columns[column].is_barrier:
                key = (limits.column_resource.get(name, ""), name, place)
                waiting[key], since[key] = 0, step

        def cells(column: int, start: int, stop: int) -> None:
            for row in range(start, stop):
                ready("cell", column, row)

        machine.listen(
            [partial(ready, "cell", column) for column in range(graph.num_columns)],
            cells,
            partial(ready, "barrier"),
        )
        worst = 0
        # Between its start and its end a call is the endpoint's: its requests are no steps.
        steps = (event for event in reader if event.event != "request")
        for step, event in enumerate(steps, 1):  # noqa: B007  # `ready` reads it
            if event.event == "start":
                place = event.scope if event.scope is not None else event.rows
                key = (limits.column_resource.get(event.column or "", ""), event.column, place)
                for other in list(waiting):
                    if other == key:
                        del waiting[other]
                        break
                    waiting[other] += other[0] == key[0] and since[other] < since[key]
                    worst = max(worst, waiting[other])
            machine.at(event.t)
            machine.apply(action_of(event, graph))
    return worst


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_keeps_the_bound_that_it_promises(policy: Policy, tmp_path: Path) -> None:
    path = trace_of(policy, tmp_path)
    assert not check_file(path).violations
    with TraceReader(path) as reader:
        assert reader.header.bypass == BYPASS_BOUNDS.get(policy)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_bound_is_broken_exactly_where_a_count_by_definition_passes_it(
    policy: Policy, tmp_path: Path
) -> None:
    path = trace_of(policy, tmp_path)
    worst = most_overtaken(path)
    for bound in {worst, worst - 1} - {-1}:
        promised = tmp_path / f"{bound}.jsonl"
        with TraceReader(path) as reader:
            header = msgspec.structs.replace(reader.header, trace=2, bypass=bound)
            with TraceWriter(promised, header) as writer:
                for event in reader:
                    writer.write(event)
        found = [one.clause for one in check_file(promised).violations]
        assert found == (["SCHED-17"] if bound < worst else [])
