"""Runs of random scenarios, each compared with what its own trace says, and what they covered."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.recompute.features import Coverage, features, is_plain
from tests.recompute.figures import count_figures, differences, figure_of, recompute
from tests.recompute.history import read
from tests.recompute.runner import run
from tests.recompute.scenarios import Data, draw

__all__ = ["Comparison", "compare", "compare_one", "starts_in_writes"]


@dataclass(slots=True)
class Comparison:
    """What came of some scenarios.

    Attributes:
        events, figures: of their traces, and compared.
        wrong: each scenario whose figures differ, with the differences.
    """

    coverage: Coverage = field(default_factory=Coverage)
    events: int = 0
    figures: int = 0
    wrong: list[tuple[Data, list[str]]] = field(default_factory=list)


def compare(
    scenarios: range,
    *,
    seed: int = 0,
    until: str = "",
    progress: Callable[[int], object] | None = None,
) -> Comparison:
    """Run and compare scenarios to the first one that differs; in the figure `until`, if given."""
    found = Comparison()
    with TemporaryDirectory() as folder:
        for number in scenarios:
            data = draw(seed, number)
            wrong = compare_one(data, Path(folder), found)
            if wrong:
                found.wrong.append((data, wrong))
                if not until or until in map(figure_of, wrong):
                    break
            if progress is not None:
                progress(number)
    return found


def starts_in_writes(trace: list[str]) -> list[str]:
    """The calls that started while a checkpoint was being written, each as one line."""
    found, writing = [], False
    for line in trace:
        event = json.loads(line)
        kind = event.get("event")
        if kind in ("checkpoint_begin", "checkpoint_durable", "crash"):
            writing = kind == "checkpoint_begin"
        elif kind == "start" and writing:
            found.append(f"event {event['seq']}: a call started in a write")
    return found


def compare_one(data: Data, folder: Path, found: Comparison) -> list[str]:
    """Run one scenario; returns the differences, and counts in `found` what was compared."""
    done = run(data, folder)
    if done.code:
        return [f"exit code {done.code}: {done.said.strip()}"]
    history = read(done.trace)
    worked_out = recompute(data, history)
    found.coverage.add(features(data, history))
    found.events += len(history.steps)
    found.figures += count_figures(worked_out)
    wrong = differences(done.printed, worked_out)
    if data.get("checkpoint", {}).get("blocking"):
        wrong += starts_in_writes(done.trace)
    if is_plain(data):
        # Without a trace a plainer simulator does the same run.
        untraced = run(data, folder, trace=False)
        wrong += [f"without --trace: {text}" for text in differences(untraced.printed, worked_out)]
    return wrong
