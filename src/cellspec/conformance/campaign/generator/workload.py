"""Random workloads: each is valid, and has the features that it is asked to have.

`workload` draws pipelines, limits, faults and crashes that put the clauses of one profile to the
test. The draws keep three promises.

*Every draw is valid.* A fault names a node of the graph, limits let every barrier run (or the
engine must refuse them, clause GROUP-04), and a retry budget lasts where it must. So every workload
counts, and none is filtered out.

*The dullest is the smallest.* The dullest answer to every question gives a workload without
barrier, limit or crash, and with no more than its profile asks for.

*It gets there.* Each profile has coverage goals (`cellspec.conformance.run.coverage_goals`), and
the weights are chosen so that a campaign of the default size covers all of them.

Each kind of thing is drawn from a part of the choices of its own: what is drawn of one kind
changes nothing that is drawn of the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from cellspec.conformance.campaign.choices import Choices
from cellspec.conformance.campaign.generator.calls import (
    draw_faults,
    draw_ids,
    draw_odd_answers,
    draw_policy,
    draw_reading,
    draw_rejects,
    draw_skips,
    draw_texts,
    draw_timeouts,
)
from cellspec.conformance.campaign.generator.columns import Shape, draw_shape
from cellspec.conformance.campaign.generator.features import MISHAPS, mixed
from cellspec.conformance.campaign.generator.limits import draw_limits
from cellspec.conformance.campaign.generator.processes import (
    Incarnations,
    draw_incarnations,
    draw_killers,
    draw_losses,
    draw_stops,
    draw_torn,
    draw_visits,
)
from cellspec.conformance.campaign.generator.saving import (
    claim_version,
    draw_storage_faults,
    rows_between_saves,
)
from cellspec.conformance.campaign.generator.size import SMALL, Knobs, Size, usual_knobs
from cellspec.conformance.run.workload import Fault, Workload

__all__ = ["workload"]

_INTERRUPTING = ("resume", "interrupts", "lost_workers")
"""A crash, or a stop, is interesting by the work that it interrupts, a loss by what is durable."""


def workload(
    choices: Choices,
    profile: str = "core",
    known: Collection[str] = (),
    *,
    forced: Iterable[str] = (),
    size: Size = SMALL,
    knobs: Knobs | None = None,
) -> Workload:
    """A workload that puts one profile to the test.

    Args:
        choices: the source of choices.
        profile: the feature that every workload has.
        known: further capabilities that it may use: other profiles, and capabilities without a
            profile, as ``batch_barriers``. Give only capabilities of the engine.
        forced: further features that it is to have.
        size: how large it gets.
        knobs: how much of each thing is in it; by default as a campaign has it.
    """
    known = frozenset(known) | {profile}
    mixing = size.mixing * 3 // 2 if profile in _INTERRUPTING else size.mixing
    must = {profile, *forced}
    has = mixed(choices.part("features"), profile, known, forced, mixing)
    knobs = knobs or usual_knobs(choices.part("knobs"), has)
    if not knobs.mishaps:
        has -= MISHAPS
    shape = draw_shape(choices.part("columns"), size, knobs, has, must)
    order = choices.part("order")
    fields: dict[str, Any] = {"seed": order.integer(0, 255), "order_seed": order.integer(0, 15)}
    incarnations = _processes(choices, shape, size, knobs, has, must, known, fields)
    fields |= {
        "columns": tuple(shape.columns),
        "rows": shape.rows,
        "batch_size": shape.batch_size,
        "barrier_scope": shape.barrier_scope,
        "latency_s": shape.latency_s,
        "targets": incarnations.targets,
        "keep": incarnations.keep,
        "limits": draw_limits(choices.part("limits"), shape, knobs, has),
        "skips": draw_skips(choices.part("skips"), shape, must="skips" in must),
    }
    _calls(choices, shape, size, knobs, has, must, known, fields)
    if "any_text" in has:
        fields["texts"] = draw_texts(choices.part("texts"), shape)
    if "row_ids" in has:
        fields["row_ids"] = draw_ids(choices.part("ids"))
    return Workload(**fields)


def _calls(
    choices: Choices,
    shape: Shape,
    size: Size,
    knobs: Knobs,
    has: Collection[str],
    must: Collection[str],
    known: Collection[str],
    fields: dict[str, Any],
) -> None:
    """Draw what calls do into the fields of the workload."""
    policy = draw_policy(choices.part("policy"), shape, has)
    faults: list[Fault] = [*draw_faults(choices.part("faults"), shape, knobs, has, must, policy)]
    if "timeouts" in has:
        taken = {(fault.column, fault.position) for fault in faults}
        policy, hanging = draw_timeouts(
            choices.part("timeouts"), shape, size, knobs, policy, taken, drops="drops" in known
        )
        faults += hanging
    if "filters" in has:
        own = choices.part("filters")
        fields["rejects"] = draw_rejects(own, shape, knobs)
        # How an engine fails a call whose answer has a wrong length is its choice, and would
        # decide whether the run stops early.
        if policy.stop_window is None:
            taken = {(fault.column, fault.position) for fault in faults}
            faults += draw_odd_answers(own, shape, taken)
    # An engine that cannot be told how to read an exception does not know filters either: it takes
    # one that it does not know for permanent.
    foreign, read = draw_reading(
        choices.part("exceptions"), tuple(faults), readable="filters" in known
    )
    fields |= {"failures": policy, "faults": read, "foreign": foreign}


def _processes(
    choices: Choices,
    shape: Shape,
    size: Size,
    knobs: Knobs,
    has: Collection[str],
    must: Collection[str],
    known: Collection[str],
    fields: dict[str, Any],
) -> Incarnations:
    """Draw what befalls processes into the fields of the workload, and give its incarnations."""
    needs_crash = not {"resume", "targets", "config", "cache", "torn_writes"}.isdisjoint(must)
    incarnations = draw_incarnations(
        choices.part("crashes"), shape, knobs, has, must=needs_crash or "torn_writes" in has
    )
    shape.most_rows = max((shape.rows, *incarnations.targets))
    every = rows_between_saves(shape, knobs, size) if "resume" in has else None
    if {"storage_faults", "torn_writes"}.intersection(has) and every is None:
        every = choices.part("saves").integer(1, 2)
    steps = shape.step_count(every, known)
    count = len(incarnations.crashes)

    def at(places: Iterable[int]) -> tuple[int, ...]:
        return tuple(1 + place * steps // 64 for place in places)

    fields |= {
        "checkpoint_every_rows": every,
        "checkpoint_version": claim_version(choices.part("claims"), known, has),
        "crashes": at(incarnations.crashes),
    }
    if "interrupts" in has:
        own = choices.part("stops")
        fields["stop_at"] = at(draw_stops(own, count))
        fields["stop_twice"] = own.chance(1, 3)
    if "lost_workers" in has:
        fields["worker_losses"] = at(draw_losses(choices.part("losses"), count))
    if "torn_writes" in has:
        fields["torn"] = draw_torn(choices.part("torn"), count)
    if "storage_faults" in has:
        slow_s, writes = draw_storage_faults(choices.part("storage"), knobs)
        fields |= {"storage_s": slow_s, "storage_faults": writes}
    if "killer_cells" in has:
        fields["killers"] = draw_killers(choices.part("killers"), shape, knobs.mishaps)
    if "config" in has:
        visits = draw_visits(choices.part("visits"), count)
        # A version that is not stated is not compared.
        if "config" in visits:
            fields["versions"] = {item.name: "1" for item in shape.columns}
        fields["visits"] = visits
    return incarnations
