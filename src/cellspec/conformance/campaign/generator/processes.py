"""What befalls the processes of a workload: crashes, stop requests, lost workers, visitors."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cellspec.conformance.campaign.choices import Choices
from cellspec.conformance.campaign.generator.columns import Shape
from cellspec.conformance.campaign.generator.size import Knobs
from cellspec.conformance.run.workload import Visit

__all__ = [
    "Incarnations",
    "draw_incarnations",
    "draw_killers",
    "draw_losses",
    "draw_stops",
    "draw_torn",
    "draw_visits",
]

_VISITS: tuple[Visit, ...] = ("", "", "", "config", "batch_size", "pipeline")


@dataclass(frozen=True, slots=True)
class Incarnations:
    """The incarnations of a workload.

    Attributes:
        crashes: where they crash, in 64ths of an incarnation.
        targets, keep: as of the workload.
    """

    crashes: Sequence[int] = ()
    targets: tuple[int, ...] = ()
    keep: bool = False


def draw_incarnations(
    choices: Choices, shape: Shape, knobs: Knobs, has: Collection[str], *, must: bool
) -> Incarnations:
    """The crashes, and the rows that each process is asked for.

    Args:
        choices: the source of choices.
        shape: the pipeline.
        knobs: how late crashes come.
        has: the features of the workload.
        must: there is a crash in any case.
    """
    if "resume" not in has:
        return Incarnations()
    # Few crashes leave a gap in what is claimed.
    several = (1, 2, 2, 3, 3, 3) if "set_claims" in has else (1, 1, 1, 2, 2, 3)
    many = choices.sample(several if must or "set_claims" in has else (0, 0, 1, 1, 2, 2, 3))
    # More of them late than early, for claims come late.
    crashes = [choices.either((0, 63), (knobs.lateness, 71)) for _ in range(many)]
    if "targets" not in has:
        if shape.many and "interrupts" not in has and choices.chance(3, 4):
            # Much is claimed late. An engine that claims its first rows at the very end goes on
            # from nothing after the first of these crashes, and the second one finds it there.
            crashes = [choices.integer(36, 55), choices.integer(54, 73)]
        return Incarnations(crashes)
    most = shape.rows + max(2, shape.rows // 2)
    # Fewer rows than are durable are refused, and of a long run that would be a waste.
    least = 1 if shape.rows <= 8 else shape.rows // 2 if choices.chance(1, 4) else shape.rows
    later = [choices.integer(least, most) for _ in range(choices.integer(1, 2))]
    if later[0] < shape.rows and choices.chance(2, 3):
        # So the crash must come before they are.
        crashes = [choices.integer(0, 31), *crashes[1:]]
    return Incarnations(crashes, (shape.rows, *later), choices.chance(1, 2))


def draw_stops(choices: Choices, crashes: int) -> list[int]:
    """Stop requests, in 64ths of an incarnation.

    There are more of them early than late: the interest is in what is left to do.
    """
    return [choices.either((0, 63), (6, 36)) for _ in range(choices.integer(1, crashes + 1))]


def draw_losses(choices: Choices, crashes: int) -> list[int]:
    """Where incarnations lose a worker, in 64ths of one; early there is little to lose."""
    return [choices.either((4, 63), (16, 48)) for _ in range(choices.integer(1, crashes + 1))]


def draw_torn(choices: Choices, crashes: int) -> tuple[int, ...]:
    """The operations on a file in whose middle the process dies; an engine makes a claim by some
    four of them."""
    operations = [choices.either((1, 2), (0, 6)) for _ in range(crashes)]
    return (operations[0] or 1, *operations[1:])


def draw_killers(choices: Choices, shape: Shape, count: int) -> tuple[tuple[str, int], ...]:
    """The cells that end the process; no output of a barrier is one."""
    able = [place for place in range(len(shape.columns)) if place not in shape.barriers]
    if not able:
        return ()
    cells = (
        (shape.name(choices.sample(able)), choices.integer(0, shape.rows - 1))
        for _ in range(min(2, count))
    )
    return tuple(dict.fromkeys(cells))


def draw_visits(choices: Choices, crashes: int) -> tuple[Visit, ...]:
    """The processes of somebody else that begin in the folder after some of the crashes."""
    visits = tuple(choices.sample(_VISITS) for _ in range(crashes))
    if visits and not any(visits):
        return (choices.sample(_VISITS[3:]), *visits[1:])
    return visits
