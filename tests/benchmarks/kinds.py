"""What a simulated call costs in each kind of run, measured in events of bare SimPy.

Each kind is a scenario, a chain of 10 columns with 64 workers, and differs in one thing from the
plain one. A kind whose calls make one cell each is measured by the cell, one in which calls fail
half of the time by the call, and one whose endpoint refuses calls by the sending.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from sim.scenario.scenario import Scenario
from sim.simulation import make_simulator
from sim.simulator.outcome import Outcome
from tests.benchmarks.simulating import UNIT, WORKERS, bare_event, measure_growth
from tests.benchmarks.timing import interleave, seconds

__all__ = ["KINDS", "Kind", "measure_kind_scale", "measure_kinds"]

COLUMNS = 10


class Kind(NamedTuple):
    """One kind of run.

    Attributes:
        budget: in events of bare SimPy; None where none is promised.
        each: what is counted: "cell", "call", or "sending": a call that an endpoint refuses is
            sent again.
        column: fields of every column.
        fields: of the scenario.
        resources: how many its columns share, in turn.
    """

    budget: float | None
    each: str = "cell"
    column: dict[str, Any] = {}  # noqa: RUF012  # nobody changes it
    fields: dict[str, Any] = {}  # noqa: RUF012
    resources: int = 0

    def scenario(self, rows: int) -> Scenario:
        """The scenario with so many rows."""
        data: dict[str, Any] = {
            "name": "kind",
            "rows": rows,
            "seed": 1,
            "columns": [self._column(place) for place in range(COLUMNS)],
            "policy": "fifo",
            **self.fields,
        }
        share = -(-WORKERS // max(1, self.resources))
        limits = {"workers": WORKERS, **self.fields.get("limits", {})}
        data["limits"] = limits | {"resources": {f"r{n}": share for n in range(self.resources)}}
        return Scenario.model_validate(data)

    def number(self, outcome: Outcome, rows: int) -> int:
        """How many of `each` a run had."""
        if self.each == "sending":
            return sum(item.accepted + item.refused for item in outcome.endpoints)
        return sum(outcome.calls) if self.each == "call" else rows * COLUMNS

    def _column(self, place: int) -> dict[str, Any]:
        column: dict[str, Any] = {
            "name": f"c{place}",
            "traits": [*([] if place else ["START"]), "ROW_STREAMABLE"],
            "latency": {"model": "exponential", "mean_s": 1.0},
            **self.column,
        }
        if place:
            column["dependencies"] = [f"c{place - 1}"]
        if self.resources:
            column["resource"] = f"r{place % self.resources}"
        return column


def _failures(**rates: float) -> dict[str, Any]:
    backoff = {"first_s": 0.5, "factor": 1.0}
    return {"failures": {"max_attempts": 100, "default": rates, "backoff": backoff}}


TOKENS: dict[str, Any] = {
    "model": "request",
    "prompt_tokens": {"model": "exponential", "mean": 500},
    "output_tokens": {"model": "exponential", "mean": 100},
}


def _endpoint(**fields: Any) -> dict[str, Any]:
    """An endpoint whose 64 calls take 2 s a hundred tokens: 32 calls and 19,200 tokens a second."""
    return {"endpoints": {"r0": {"tpot_s": {1: 0.01, 64: 0.02}, **fields}}}


LIMITS: dict[str, Any] = {
    "limits": [{"tokens": 15_000, "per_s": 1, "burst": 100_000, "charge": "used"}],
    "refusal": {"latency_s": 0.05},
}

KINDS: dict[str, Kind] = {
    "plain, fifo": Kind(2.0),
    "plain, row-first": Kind(2.3, fields={"policy": "row-first"}),
    "1 resource": Kind(2.5, resources=1),
    "3 resources": Kind(2.8, resources=3),
    "10 resources": Kind(3.0, resources=10),
    "1 % retries": Kind(4.0, fields=_failures(retryable=0.01)),
    "50 % retries": Kind(None, "call", fields=_failures(retryable=0.5)),
    "50 % refusals": Kind(5.0, "call", fields=_failures(back_pressure=0.5)),
    "row groups": Kind(4.0, fields={"limits": {"row_groups": {"rows": 100, "admitted": 3}}}),
    "ranges of 10 rows": Kind(None, column={"range_rows": 10}),
    "5 % skipped": Kind(None, column={"skip_rate": 0.05}),
    "an endpoint with a speed by load": Kind(
        4.0, fields={"endpoints": {"r0": {"work": {"full_speed": 32}}}}, resources=1
    ),
    "an endpoint with tokens": Kind(
        None, column={"latency": TOKENS}, fields=_endpoint(), resources=1
    ),
    "limits that refuse": Kind(
        None, "sending", {"latency": TOKENS}, _endpoint(**LIMITS), resources=1
    ),
    "limits, with a throttle": Kind(
        None,
        column={"latency": TOKENS},
        fields=_endpoint(**LIMITS) | {"throttle": {"r0": {"start": WORKERS}}},
        resources=1,
    ),
}


def _run(kind: Kind, rows: int, counts: dict[str, int], name: str) -> Callable[[], float]:
    """Measures one run; the number of what is counted is noted."""

    def measure() -> float:
        simulator = make_simulator(kind.scenario(rows), None)
        took_s = seconds(simulator.run)
        counts[name] = kind.number(simulator.outcome, rows)
        return took_s * 1e6

    return measure


def measure_kind_scale(rows: int, name: str, unit_tasks: int = 100_000) -> dict[str, Any]:
    """One run of a kind, for a process of its own: time of each, and memory by cell."""
    kind = KINDS[name]
    return measure_growth(
        name,
        lambda n: make_simulator(kind.scenario(n), None),
        rows,
        unit_tasks,
        lambda outcome: kind.number(outcome, rows),
    )


def measure_kinds(rows: int, rounds: int) -> dict[str, Any]:
    """Microseconds for each cell, or call, by kind, with the unit in every round."""
    counts: dict[str, int] = {}
    cases = {name: _run(kind, rows, counts, name) for name, kind in KINDS.items()}
    found = interleave({UNIT: lambda: bare_event(rows * COLUMNS), **cases}, rounds)
    unit = found.pop(UNIT)
    return {
        "rows": rows,
        "unit_us": list(unit.values),
        "kinds": [
            {
                "kind": name,
                "each": KINDS[name].each,
                "budget": KINDS[name].budget,
                "us": [value / count for value in figure.values],
                "ratio": [value / count for value in figure.over(unit).values],
            }
            for name, figure in found.items()
            for count in [counts[name]]
        ],
    }
