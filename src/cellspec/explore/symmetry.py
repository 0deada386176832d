"""The symmetry of rows: states that differ in the order of interchangeable rows count once."""

from __future__ import annotations

from cellspec.explore.relation import Relation

__all__ = ["may_reduce", "sorted_rows"]


def may_reduce(relation: Relation) -> bool:
    """True if rows are interchangeable: without claims, losses, groups, batches and order."""
    if relation.faults.saves or relation.faults.losses or relation.groups:
        return False
    total = relation.graph.num_records
    return not any(
        rule.ordered or rule.scope_rows not in (0, total) for rule in relation.graph.rules.columns
    )


def sorted_rows(relation: Relation, base: int) -> int:
    """The same state with its rows sorted: one for all orders of rows."""
    size = relation.size
    width = relation.graph.num_columns
    mask = (1 << width) - 1
    rows = sorted(
        (
            base >> row * width & mask,
            base >> size + row * width & mask,
            base >> 2 * size + row & 1,
        )
        for row in range(len(relation.row_cells))
    )
    cells = relation.cells
    sorted_base = base & ~(cells | cells << size) & (1 << 2 * size) - 1
    for row, (done, flight, dropped) in enumerate(rows):
        sorted_base |= done << row * width | flight << size + row * width
        sorted_base |= dropped << 2 * size + row
    return sorted_base
