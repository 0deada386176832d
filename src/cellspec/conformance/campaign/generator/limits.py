"""The limits of a workload: how many calls may run at once, and how many row groups."""

from __future__ import annotations

from collections.abc import Collection

from cellspec.conformance.campaign.choices import Choices
from cellspec.conformance.campaign.generator.columns import Shape
from cellspec.conformance.campaign.generator.size import Knobs
from cellspec.machine.limits import Limits

__all__ = ["draw_limits"]

_FEW_ROWS = 8


def draw_limits(choices: Choices, shape: Shape, knobs: Knobs, has: Collection[str]) -> Limits:
    """Limits under which every barrier can run; or, now and then, ones that must be refused."""
    workers = choices.sample((None, knobs.slots, knobs.slots, knobs.slots))
    resources, column_resource = _resources(choices, shape, max(2, knobs.slots // 2))
    if "groups" not in has:
        return Limits(workers, resources, column_resource)
    group_rows = choices.integer(1, 4) * max(1, shape.rows // 32)
    # A barrier waits for every row of its scope, so as many groups as it touches must fit. Seldom
    # one fewer is asked for, and an engine must refuse to run that (clause GROUP-04); to draw a
    # large workload for it would be a waste.
    touched = shape.groups_of_a_scope(group_rows)
    spare = choices.sample((None, 0, 0, 0, 1, -1))
    if spare == -1 and (touched == 1 or "resume" in has or shape.rows > _FEW_ROWS):
        spare = 0
    return Limits(
        workers, resources, column_resource, group_rows, None if spare is None else touched + spare
    )


def _resources(choices: Choices, shape: Shape, most: int) -> tuple[dict[str, int], dict[str, str]]:
    """In half of the workloads some resources, and the columns that use them."""
    if not choices.chance(1, 2):
        return {}, {}
    names = choices.sample(("r", "r", "rs", "rst"))
    used = {item.name: choices.sample(names) for item in shape.columns if choices.chance(1, 2)}
    return {name: choices.integer(1, most) for name in sorted(set(used.values()))}, used
