"""Rows, for engines that know tasks only: their results, their storage, and dropped rows.

Dask and Ray run graphs of tasks. They order tasks, limit them and repeat them. Of *rows* they
are ignorant, and of folders in which rows outlive the process. An adapter for such an engine has a
*driver*: the part that submits the tasks, learns of each that has ended, and writes down the rows
that must last. The modules:

- `results`: the results of tasks, and the markers for skipped cells and dropped rows;
- `state`: `DriverState`, the driver's knowledge. It takes results one at a time, each node after
  those that it needs, and leaves it to the engine to decide what runs;
- `storage`: the folder;
- `in_line`: workloads in which a dropped row leaves no task of its row to run, and no failure is
  of a type that says nothing.
"""

from cellspec.engines.rows.in_line import with_failures_in_line, with_named_failures
from cellspec.engines.rows.results import Dropped, Result
from cellspec.engines.rows.state import DriverState
from cellspec.engines.rows.storage import table

__all__ = [
    "DriverState",
    "Dropped",
    "Result",
    "table",
    "with_failures_in_line",
    "with_named_failures",
]
