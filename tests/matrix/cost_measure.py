"""The measurement of engines that do too much: which clause about cost catches each first.

A mutant runs the shapes of `cellspec.conformance.campaign.scaling` in their order; the number of
the shape that caught it is published. It breaks no other clause: a test runs it on drawn workloads
too.
"""

from __future__ import annotations

from collections.abc import Collection

from cellspec.conformance.campaign.scaling import run_cost_campaign
from cellspec.conformance.campaign.scaling_shapes import SHAPES
from tests.matrix.engine_measure import EngineRow
from tests.matrix.engine_mutants import EngineMutant


def costly_clause(mutant: EngineMutant, number: int, waive: Collection[str] = ()) -> str:
    """The clause that a mutant breaks with the shape of this number, from 1; "" if none."""
    backend = mutant.backend()
    shape = SHAPES[number - 1 : number]
    found = run_cost_campaign(backend, backend.capabilities, waive=waive, shapes=shape)
    return next(iter(found.failures), "")


def first_costly(mutant: EngineMutant, waive: Collection[str] = ()) -> tuple[str, int]:
    """The first clause that a mutant breaks, and with which shape; ("", 0) if it survives."""
    for number in range(1, len(SHAPES) + 1):
        clause = costly_clause(mutant, number, waive)
        if clause:
            return clause, number
    return "", 0


def measure_cost(mutant: EngineMutant) -> EngineRow:
    """One mutant, judged, and judged again without the clause that caught it."""
    clause, number = first_costly(mutant)
    after = first_costly(mutant, (clause,))[0] if clause else ""
    without = f"then {after}" if after else "survives"
    return EngineRow(mutant.name, mutant.wrong, clause, number, without)
