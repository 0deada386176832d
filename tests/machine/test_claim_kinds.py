"""The kind of claims of a run, which its header states, or its capabilities, or its claims show."""

from __future__ import annotations

import pytest

from cellspec import Action, ColumnDescriptor, ExecutionGraph, Machine, Violation
from cellspec.check.checker import Checker
from cellspec.conformance.run.backend import claim_version_of
from cellspec.conformance.run.workload import Workload
from cellspec.engines.reference import ReferenceBackend
from cellspec.machine.limits import ClaimKind
from cellspec.trace import Header, claims_of, header_for

GRAPH = ExecutionGraph(3, [ColumnDescriptor("a"), ColumnDescriptor("b", dependencies=["a"])])
SETS = ("core", "resume", "set_claims", "interrupts")


def header(*claims: str, version: int | None = None) -> Header:
    return header_for(GRAPH, engine="e", version="1", claims=claims, claim_version=version)


def interrupted(machine: Machine, cells: list[tuple[int, int]]) -> str:
    """What is said of a run that made these cells (column, row), claimed nothing and was asked."""
    for column, row in cells:
        machine.start_cell(column, row)
        machine.complete_cell(column, row)
    machine.apply(Action("stop_requested"))
    try:
        machine.apply(Action("end", outcome="interrupted"))
    except Violation as broken:
        return str(broken)
    return ""


def test_a_header_names_the_kind_of_claims_wherever_claims_are_asked_for() -> None:
    for version, trace, said in ((None, 1, None), (0, 1, None), (1, 2, 1), (2, 2, 2)):
        found = header("core", "resume", "column_checkpoints", version=version)
        assert (found.trace, found.claim_version) == (trace, said)
    # Without claims of any rows it would be taken to make them.
    assert header("core", "resume", "commits", version=0).claim_version == 0


def test_the_kind_of_claims_is_that_of_the_header_or_that_of_the_capabilities() -> None:
    assert claims_of(header(*SETS)) == ClaimKind(3, by_column=False)
    assert claims_of(header(*SETS, "column_checkpoints")) == ClaimKind(3, by_column=True)
    assert claims_of(header(*SETS, version=1)) == ClaimKind(1, by_column=False)
    assert claims_of(header(*SETS, version=0)) is None
    assert claims_of(header("core", "resume", "interrupts")) is None


@pytest.mark.clause("STOP-07")
@pytest.mark.parametrize(
    ("claims", "cells", "left"),
    [
        (SETS, [(0, 1), (1, 1)], "a[1] could be claimed, and is not"),
        # Batch files hold whole rows.
        (SETS, [(0, 1)], ""),
        ((*SETS, "column_checkpoints"), [(0, 1)], "a[1] could be claimed, and is not"),
    ],
)
def test_a_run_that_never_claimed_is_judged_by_its_kind_of_claims(
    claims: tuple[str, ...], cells: list[tuple[int, int]], left: str
) -> None:
    found = interrupted(Checker(header(*claims)).machine, cells)
    assert found == (left and f"STOP-07: the run ends as interrupted, but {left}")


@pytest.mark.clause("CKPT-22")
def test_every_process_of_a_run_that_claims_needs_a_claim_of_everything() -> None:
    for stated, breaks in ((ClaimKind(1, by_column=False), True), (None, False)):
        machine = Machine(GRAPH, claims=stated)
        machine.apply(Action("crash"))
        machine.apply(Action("resume", claim=(0, 0)))
        for column in (0, 1):
            for row in range(3):
                machine.start_cell(column, row)
                machine.complete_cell(column, row)
            machine.durable_rows(column, 3)
        if breaks:
            with pytest.raises(Violation, match=r"^CKPT-22: success with 0 of 3 rows of 'a'"):
                machine.apply(Action("end", outcome="success"))
        else:
            machine.apply(Action("end", outcome="success"))


@pytest.mark.parametrize(
    ("capabilities", "asked", "version"),
    [
        ({"core"}, 1, 0),
        # It may claim whole rows, or leave a table alone.
        ({"core", "resume"}, 1, None),
        ({"core", "resume", "column_checkpoints"}, 2, 2),
        ({"core", "resume", "column_checkpoints"}, 3, 2),
        ({"core", "resume", "set_claims"}, 3, 3),
        ({"core", "resume", "commits"}, 2, 1),
    ],
)
def test_the_harness_states_what_it_asks_for(
    capabilities: set[str], asked: int, version: int | None
) -> None:
    backend = ReferenceBackend()
    backend.capabilities = frozenset(capabilities)
    work = Workload((ColumnDescriptor("a"),), rows=1, checkpoint_version=asked)  # type: ignore[arg-type]
    assert claim_version_of(backend, work) == version
