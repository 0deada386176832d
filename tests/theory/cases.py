"""The cases with known answers, which lie beside the checkout in ``../shared/theory``.

Each has a scenario, the figures of its run, and how these are known. `failures_of` runs a case as
a user would, seed after seed, and says which figures are missed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from tests.recompute.runner import run, run_tune
from tests.theory.figures import FROM_TRACE, figure

__all__ = ["CASES", "FOLDER", "Case", "Expected", "failures_of", "read_cases"]

FOLDER = Path(__file__).parents[3] / "shared" / "theory"
CASES = FOLDER / "cases.json"

SURE = 3.5
"""A mean may differ from what it should be by so many of its standard errors."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What one figure must be.

    Attributes:
        kind: ``exact``: each seed within `margin` of `value`; ``mean``: the mean of all seeds
            within `SURE` standard errors of it, and `rel` of it more; ``bounds``: each seed from
            `low` to `high`.
        sd: the standard deviation of one seed.
    """

    figure: str
    kind: str
    value: float = math.nan
    margin: float = 0.0
    sd: float = 0.0
    rel: float = 0.0
    low: float = -math.inf
    high: float = math.inf

    def missed(self, got: Sequence[float]) -> str:
        """Why the figure of these seeds is not what it must be; "" if it is."""
        if self.kind == "mean":
            mean, most = fmean(got), SURE * self.sd / math.sqrt(len(got)) + self.rel * self.value
            off = mean - self.value
            said = f"mean {mean:.9g} of {len(got)}, expected {self.value:.9g} ± {most:.3g}"
            return "" if abs(off) <= most else f"{self.figure}: {said}"
        if self.kind == "exact":
            wrong = [one for one in got if abs(one - self.value) > self.margin]
            said = f"expected {self.value!r} ± {self.margin:.3g}"
        else:
            wrong = [one for one in got if not self.low <= one <= self.high]
            said = f"expected {self.low!r} to {self.high!r}"
        return f"{self.figure}: {wrong[0]!r}, {said}" if wrong else ""


@dataclass(frozen=True, slots=True)
class Case:
    """A scenario and what its run must give.

    Attributes:
        needs: the words of the scenario that were new when it was written.
        replications: how many seeds are run, from 0 on.
        scenario: as in a file; empty if the case has none.
    """

    id: str
    title: str
    needs: tuple[str, ...]
    replications: int
    scenario: Mapping[str, Any]
    expected: tuple[Expected, ...]

    @property
    def cells(self) -> int:
        """How many cells all its runs have: what it costs."""
        rows: int = self.scenario.get("rows", 0)
        return rows * len(self.scenario.get("columns", ())) * self.replications


def read_cases() -> Iterator[Case]:
    """All cases of the file, in order.

    Raises:
        OSError: the file cannot be read.
    """
    cases = json.loads(CASES.read_text(encoding="utf-8"))["cases"]
    for data in cases:
        if "tune" in data["needs"]:
            # "F1's scenario": of the three the one whose own interval is not among the best.
            (data["scenario"],) = (one["scenario"] for one in cases if one["id"] == "F1-80")
        expected = tuple(_expected(one) for one in data["expect"])
        scenario = _of_a_message(data) if "used" in data else data["scenario"] or {}
        needs, replications = tuple(data["needs"]), data["replications"]
        yield Case(data["id"], data["title"], needs, replications, scenario, expected)


def _expected(data: Mapping[str, Any]) -> Expected:
    given = {name: data[name] for name in ("value", "sd", "rel", "low", "high") if name in data}
    return Expected(data["figure"], data["kind"], margin=data.get("abs", 0.0), **given)


def _of_a_message(data: Mapping[str, Any]) -> dict[str, Any]:
    """A scenario of the two calls behind a provider's message: one that used, one that asks."""
    tokens = {"model": "list", "values": [data["used"], data["asked"]]}
    limit = {"tokens": data["limit"], "per_s": data["per_s"], "charge": "used"}
    return {
        "name": "message",
        "rows": 2,
        "columns": [
            {
                "name": "call",
                "traits": ["START", "CELL_BY_CELL"],
                "resource": "chat",
                "latency": {"model": "request", "output_tokens": tokens},
            }
        ],
        "limits": {"workers": 2, "resources": {"chat": 2}},
        "policy": "fifo",
        "endpoints": {
            "chat": {
                "tpot_s": {"1": 0.01, "2": 0.01},
                "limits": [limit],
                "refusal": {"latency_s": 0, "retry_after": "exact"},
            }
        },
    }


def failures_of(case: Case, folder: Path) -> list[str]:
    """A line for each figure of the case that its runs miss; empty if all are right."""
    if not case.scenario:
        return ["the case has no scenario"]
    if "tune" in case.needs:
        return _failures_of_tune(case, folder)
    traced = any(FROM_TRACE.search(one.figure) for one in case.expected)
    got: dict[str, list[float]] = {one.figure: [] for one in case.expected}
    for seed in range(case.replications):
        done = run({**case.scenario, "seed": seed}, folder, trace=traced)
        if done.code:
            return [f"seed {seed}: exit code {done.code}: {done.said.strip()}"]
        for name, values in got.items():
            values.append(figure(name, done))
    return [said for one in case.expected if (said := one.missed(got[one.figure]))]


def _failures_of_tune(case: Case, folder: Path) -> list[str]:
    """The same of a case whose figure is the interval that ``tune`` finds best."""
    done = run_tune(
        case.scenario,
        folder,
        *("--goal", "throughput", "--over", "checkpoint.every_rows"),
        *("--most", str(case.replications)),
    )
    if done.code:
        return [f"exit code {done.code}: {done.said.strip()}"]
    winner = done.printed["winner"]
    own = case.scenario["checkpoint"]["every_rows"]
    best = float(winner["settings"].get("checkpoint.every_rows", own))
    (expected,) = case.expected
    said = [expected.missed([best])]
    if winner["figure"]["runs"] != case.replications:
        said.append(f"{winner['figure']['runs']} runs of the best")
    return [line for line in said if line]
