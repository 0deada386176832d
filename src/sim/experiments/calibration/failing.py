"""How often calls fail, by column and kind, and how long a failed one waits for its next try."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from sim.experiments.calibration.record import Call, Record
from sim.scenario.records import Backoff

__all__ = ["Failing", "backoff_of", "failing_of"]

_KINDS = ("retryable", "back_pressure", "permanent")


@dataclass(frozen=True, slots=True)
class Failing:
    """The failures of a column.

    Attributes:
        column: whose.
        calls: how many ended, well or not.
        counts: how many failed, by kind; those that timed out apart.
        timeout_s: when calls timed out; None if none did.
        seconds: the mean of the failed ones, time-outs left out; None where none is recorded.
    """

    column: str
    calls: int
    counts: Mapping[str, int]
    timeout_s: float | None
    seconds: float | None

    def rates(self) -> dict[str, float]:
        """The shares of calls that fail, as a scenario says them; time-outs are not among them."""
        return {
            kind: round(self.counts[kind] / self.calls, 6)
            for kind in _KINDS
            if self.counts.get(kind)
        }


def failing_of(record: Record) -> list[Failing]:
    """The failures of each column that has any."""
    found = []
    for name in record.columns:
        calls = [call for call in record.of_column(name) if not call.refused]
        failed = [call for call in calls if call.failure is not None]
        if failed:
            bounds = [call.seconds for call in failed if call.failure == "timeout"]
            others = [call.seconds for call in failed if call.failure != "timeout" and call.timed]
            counts = Counter(call.failure for call in failed if call.failure is not None)
            found.append(
                Failing(
                    name,
                    len(calls),
                    dict(sorted(counts.items())),
                    median(bounds) if bounds else None,
                    fmean(others) if others else None,
                )
            )
    return found


def backoff_of(calls: Sequence[Call]) -> dict[str, Any]:
    """The backoff of a scenario, from the waits that the calls were told."""
    waits: dict[int, list[float]] = {}
    for call in calls:
        if call.retry_s is not None and not call.refused:
            waits.setdefault(call.number, []).append(call.retry_s)
    if not waits:
        return {}
    means = {number: fmean(each) for number, each in sorted(waits.items())}
    first_s = means[min(means)]
    found: dict[str, Any] = {"first_s": float(f"{first_s:.6g}"), "factor": 1.0}
    if 1 in means and 2 in means and means[1] > 0:
        found["factor"] = float(f"{min(max(means[2] / means[1], 1.0), 100.0):.6g}")
    first = waits[min(waits)]
    if first_s > 0 and len(first) > 1:
        jitter = max(abs(wait / first_s - 1) for wait in first)
        found["jitter"] = round(min(jitter, 1.0), 6) if jitter > 1e-6 else 0.0
    found["most_s"] = _most_s(waits, found)
    return found


def _most_s(waits: Mapping[int, Sequence[float]], backoff: Mapping[str, float]) -> float:
    """The cap of the waits, where one is shown: a wait that is shorter than its number says.

    Else it is the longest wait, or the scenario's own default if that is longer: the waits of later
    failures than the record has go on growing.
    """
    first_s, factor = backoff["first_s"], backoff["factor"]
    capped = []
    for number, each in waits.items():
        # What a mean of so many waits is off by chance, with their jitter.
        slack = max(0.02, 2 * backoff.get("jitter", 0.0) / math.sqrt(3 * len(each)))
        if fmean(each) < (1 - slack) * first_s * factor ** (number - 1):
            capped.append(fmean(each))
    if capped and factor > 1:
        return max(*capped, first_s)
    return max(Backoff().most_s, *(max(each) for each in waits.values()))
