"""Workloads in which a row that is dropped stops every other task of its row.

A failure stops the tasks that read it. Another task of the same row, which neither reads the failed
cell nor is read by it, runs on (clause DROP-03), and a driver that cancels it is too late as often
as not. So where a column may fail for good, `with_failures_in_line` makes the workload one in which
each other column is before that one or after it: then no task of a dropped row is left to run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from cellspec.conformance.run.workload import Workload
from cellspec.machine.policy import within_budget

__all__ = ["with_failures_in_line", "with_named_failures"]


def with_failures_in_line(work: Workload) -> Workload:
    """The workload, with every column before or after each one that may fail for good.

    A column that is neither needs that one from now on, or is needed by it, as they stand in the
    graph's order. A workload in which nothing fails for good stays as it is, and so does one that
    this has been done to.
    """
    names = work.graph().column_names
    needs = {item.name: list(item.dependencies) for item in work.columns}
    maker = {made: item.name for item in work.columns for made in item.all_produced_columns}
    for failing in [name for name in names if _may_fail_for_good(work, name)]:
        place = names.index(failing)
        for earlier in names[:place]:
            if earlier not in _ancestors(failing, needs, maker):
                needs[failing].append(earlier)
        for later in names[place + 1 :]:
            if failing not in _ancestors(later, needs, maker):
                needs[later].append(failing)
    columns = tuple(
        item
        if needs[item.name] == list(item.dependencies)
        else replace(item, dependencies=tuple(needs[item.name]))
        for item in work.columns
    )
    return work if columns == work.columns else replace(work, columns=columns)


def with_named_failures(work: Workload) -> Workload:
    """The workload without foreign exceptions: what these engines repeat is named by its type."""
    if not any(fault.raises for fault in work.faults):
        return work
    return work.replace(faults=tuple(replace(fault, raises="") for fault in work.faults))


def _may_fail_for_good(work: Workload, column: str) -> bool:
    mine = [fault.failure for fault in work.faults if fault.column == column]
    return len(within_budget(mine, work.failures.max_attempts)) < len(mine)


def _ancestors(
    column: str, needs: Mapping[str, Iterable[str]], maker: Mapping[str, str]
) -> frozenset[str]:
    found: set[str] = set()
    left = [column]
    while left:
        for need in needs[left.pop()]:
            if maker[need] not in found:
                found.add(maker[need])
                left.append(maker[need])
    return frozenset(found)
