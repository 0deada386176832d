"""Targeted runs: a batch in which the knobs of workloads are turned towards rare situations.

It climbs: each run turns a knob or two of the best one so far, or takes another seed with the same
knobs, and one in four begins anew. The best run is, by turns from batch to batch, the one with the
most calls whose results were in doubt when a process died, or with the most situations.
"""

from __future__ import annotations

from dataclasses import replace

from cellspec.conformance.campaign.choices import Choices, SeededChoices
from cellspec.conformance.campaign.generator.size import KNOBS, Knobs, any_knobs
from cellspec.conformance.run.backend import Backend
from cellspec.fuzz.account import RunSummary
from cellspec.fuzz.options import BATCH, Options
from cellspec.fuzz.runs import run_once

__all__ = ["targeted_runs"]


def targeted_runs(backend: Backend, options: Options, number: int) -> list[RunSummary]:
    """The runs of one targeted batch."""
    choices = SeededChoices(f"targeted {options.seed} {number}")
    by_doubt = number // len(options.methods) % 2 == 0

    def height(run: RunSummary) -> int:
        return run.in_doubt if by_doubt else len(run.sometimes)

    seen: list[RunSummary] = []
    best: RunSummary | None = None
    for _ in range(2 * BATCH):
        if len(seen) == BATCH or (seen and seen[-1].found is not None):
            break
        seed, knobs = choices.integer(0, 2**31 - 1), any_knobs(choices)
        if best is not None and best.knobs is not None and not choices.chance(1, 4):
            knobs = best.knobs
            if choices.chance(1, 2):
                seed, knobs = best.seed, _turned(choices, best.knobs)
        one = run_once(backend, "targeted", seed, knobs, options.size)
        if one is None:
            continue
        seen.append(one)
        if best is None or height(one) >= height(best):
            best = one
    return seen


def _turned(choices: Choices, knobs: Knobs) -> Knobs:
    """The knobs, one or two of them turned."""
    names = [choices.sample(tuple(KNOBS)) for _ in range(choices.integer(1, 2))]
    return replace(knobs, **{name: choices.integer(*KNOBS[name]) for name in names})
