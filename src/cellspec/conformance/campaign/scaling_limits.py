"""Lines of the engine's code for an event at two sizes, and how many times as many are too many.

A shape is run with 25, 100 and 400 rows. The lines that the rows from 25 to 100 add are divided by
the events that they add; likewise from 100 to 400. So the fixed cost of a run is in neither. An
engine with constant work per event has a ratio of 1, an engine with a heap up to about 1.3 (the
logarithm of four times as many), and an engine that looks at all rows each time tends to 4. History
is judged within the run of 400 rows: the work of an event when most of the last column is done, by
the work when little of it is.

An event costs too much if its whole work grows more than a logarithm does (`LIMIT`), or if a single
function that an event calls does so (`FUNCTION_LIMIT`): a search through all rows is small at first
beside the rest of a large engine, and dominates in the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cellspec.check.checker import Finding

__all__ = [
    "FUNCTION_LIMIT",
    "FUNCTION_LINES",
    "LIMIT",
    "Part",
    "Scaling",
    "function_text",
    "ratio_text",
    "rounded",
]

LIMIT = 1.5
"""From this ratio on an event costs too much: for four times as many rows the logarithm grows 1.3
times, the square root 2 times."""
FUNCTION_LIMIT = 2.5
"""From this ratio on a function grows: more than a square root, and more than another mix of events
explains."""
FUNCTION_LINES = 10
"""The lines that a function must add to an event to be named: with a thousand times the rows it
adds a thousand times as many."""
_CULPRITS = 3


@dataclass(frozen=True)
class Part:
    """A part of a run, or the difference of two runs: so much work for so many events."""

    about: str
    lines: int
    events: int
    by_function: Mapping[str, int]

    @property
    def each(self) -> float:
        """Lines for an event."""
        return self.lines / self.events

    def of(self, name: str) -> float:
        """Lines of one function for an event."""
        return self.by_function.get(name, 0) / self.events


@dataclass(frozen=True)
class Scaling:
    """Lines of the engine's code for an event, at a small size and at a larger one.

    Attributes:
        clause: the clause that it is judged by.
        what: the respect in which the workload grows, as in `Shape`.
        before, after: the two parts that are compared.
        cpu_ratio: CPU time of an event with the most rows, divided by that with a quarter of them;
            a figure to look at, which breaks no clause. 0 if that was not measured.
    """

    clause: str
    what: str
    before: Part
    after: Part
    cpu_ratio: float = 0.0

    @property
    def ratio(self) -> float:
        """How many times as much an event costs."""
        return self.after.each / self.before.each if self.before.lines else 1.0

    @property
    def is_too_much(self) -> bool:
        """True if an event, or a function that it calls, costs more than it may."""
        return self.ratio >= LIMIT or bool(self.growing)

    @property
    def function_ratio(self) -> float:
        """How many times as much an event costs in the function that grows worst; 0 without one."""
        worst = next(iter(self.growing), "")
        return self.after.of(worst) / self.before.of(worst) if worst else 0.0

    @property
    def growing(self) -> dict[str, float]:
        """The functions that grow, each with the lines that it adds to an event, the worst first.

        A function that an event with few rows never called is left out: it was switched on, and
        may be constant.
        """
        found = {}
        for name in self.after.by_function:
            few, many = self.before.of(name), self.after.of(name)
            if many - few >= FUNCTION_LINES and 0 < FUNCTION_LIMIT * few <= many:
                found[name] = many - few
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def finding(self) -> Finding:
        """The violation, with the functions to look at."""
        before, after = self.before, self.after
        detail = (
            f"an event costs more {self.what}: {before.each:,.0f} lines {before.about}, "
            f"{after.each:,.0f} {after.about}, {ratio_text(self.ratio)}"
        )
        if self.growing:
            worst = next(iter(self.growing))
            of_it = f"{before.of(worst):,.0f} and {after.of(worst):,.0f}"
            detail += f"; of them {of_it}, {function_text(self.function_ratio)}, in {worst}"
        lines = [
            f"  {name}: {self.before.of(name):,.1f} and {self.after.of(name):,.1f}"
            for name in list(self.growing)[:_CULPRITS]
        ]
        head = f"lines for an event, {before.about} and {after.about}, of what grows most:"
        return Finding(self.clause, detail, explanation=(head, *lines) if lines else ())


def ratio_text(ratio: float) -> str:
    """How many times as much an event costs, and how many times is too much."""
    return f"{rounded(ratio):.2f} times as much (limit {LIMIT:g})"


def rounded(ratio: float) -> float:
    """The ratio in hundredths; one below the limit is not rounded up to it."""
    near = round(ratio, 2)
    return near if (near >= LIMIT) == (ratio >= LIMIT) else near - 0.01


def function_text(ratio: float) -> str:
    """The same for one function that an event calls."""
    return f"{ratio:.1f} times as much (limit {FUNCTION_LIMIT:g})"
