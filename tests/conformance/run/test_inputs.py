"""Inputs of calls: an adapter that never hands any on is told so, and not the engine."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from cellspec import ColumnDescriptor, ExecutionTraits
from cellspec.conformance import Probe, Table, Workload, run_workload

T = ExecutionTraits
A = ColumnDescriptor("a", traits=T.START)
B = ColumnDescriptor("b", dependencies=["a"])
V = ColumnDescriptor("v", traits=T.BARRIER, dependencies=["a"])


class HandsOn:
    """Runs two columns, row by row; `given` says what the second gets of the first."""

    name = "hands-on"
    version = "1"
    capabilities = frozenset({"core"})

    def __init__(self, *given: str) -> None:
        self.given = given

    def inputs(self, row: int, value: str) -> Mapping[str, str]:
        name = self.given[min(row, len(self.given) - 1)]
        return {name: value} if name else {}

    async def run(self, probe: Probe) -> None:
        rows = range(probe.rows)
        values = [str(await probe.cell("a", row, {})) for row in rows]
        inputs = [self.inputs(row, value) for row, value in zip(rows, values, strict=True)]
        if probe.work.columns[1].name == "v":
            await probe.barrier("v", 0, list(rows), inputs)
        else:
            for row in rows:
                await probe.cell("b", row, inputs[row])
        probe.durable("", 0, probe.rows)
        probe.end("success")

    def table(self, probe: Probe) -> Table:  # noqa: ARG002
        return Table({})


@pytest.mark.parametrize(
    ("second", "given", "mistake"),
    [
        (B, [""], "'b': row 0: inputs: 'a' is missing, and was made; got none"),
        (B, ["A"], "'b': row 0: inputs: 'a' is missing, and was made; got 'A'"),
        (V, [""], "'v': row 0: inputs: 'a' is missing, and was made; got none"),
        # It can hand inputs on: to lose one is a fault of the engine, which a clause finds.
        (B, ["a", ""], ""),
    ],
)
def test_inputs_that_are_never_handed_on_are_a_mistake_of_the_adapter(
    second: ColumnDescriptor, given: list[str], mistake: str
) -> None:
    result = run_workload(HandsOn(*given), Workload((A, second), rows=2))
    assert result.adapter == mistake
    assert [one.clause for one in result.violations] == ["TRACE-02" if mistake else "TABLE-04"]


def test_an_input_that_may_be_skipped_may_be_left_out() -> None:
    maybe = ColumnDescriptor("a", traits=T.START, may_skip=True)
    assert run_workload(HandsOn(""), Workload((maybe, B), rows=2)).adapter == ""
