"""The tasks of Dask: what runs in its workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cellspec.engines.dask.calls import Calls
from cellspec.engines.rows.results import Result, patiently

__all__ = ["Job", "make_cell", "output_of", "run_barrier"]


@dataclass(frozen=True, slots=True)
class Job:
    """The arguments of a task beside the results that Dask gives it."""

    calls: Calls
    column: str
    position: int
    needs: tuple[str, ...]
    rows: tuple[int, ...] = ()
    wanted: tuple[int, ...] = ()


def make_cell(job: Job, inputs: Sequence[Result], _after: Sequence[Any]) -> Result:
    """The task of a cell: `inputs` in the order of its needs, and the keys that it comes after."""
    given = dict(zip(job.needs, inputs, strict=True))
    found: Result = patiently(lambda: job.calls.cell(job.column, job.position, given))
    return found


def run_barrier(
    job: Job, inputs: Sequence[Sequence[Result]], _after: Sequence[Any]
) -> dict[int, Result]:
    """The task of a barrier: for each row of its scope the inputs as in `make_cell`."""
    given = {
        row: dict(zip(job.needs, mine, strict=True))
        for row, mine in zip(job.rows, inputs, strict=True)
    }
    found: dict[int, Result] = patiently(
        lambda: job.calls.barrier(job.column, job.position, job.wanted, given)
    )
    return found


def output_of(results: Mapping[int, Result], row: int) -> Result:
    """The task of an output cell of a barrier."""
    return results[row]
