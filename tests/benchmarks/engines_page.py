"""The page about what engines cost: ``simulations/results/engines.md``, from measured data alone.

What is said of an engine in words is here by the function that it is about, and is printed only if
that function was measured to grow, in that release.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cellspec.clauses import clauses
from cellspec.conformance.campaign.scaling_limits import FUNCTION_LIMIT, LIMIT
from cellspec.conformance.campaign.scaling_shapes import COST_CLAUSES
from tests.benchmarks.engines import SHAPES
from tests.benchmarks.weightless import WORKERS

__all__ = ["render", "write"]

Data = Mapping[str, Any]

FINDINGS: Mapping[str, str] = {
    "FairTaskQueue.select_next": (
        "`FairTaskQueue.commit` takes a group's entry out of its table of active entries, and "
        "leaves it in the heap; the group's next task pushes another. `select_next` copies the "
        "heap for each task that it looks for, and pops from the copy whatever is not active any "
        "more: an entry for each task that was ever dispatched. The keys of groups are frozen "
        "dataclasses, so each look-up hashes and compares in Python. A run costs the square of its "
        "tasks. A later release keeps active entries alone and sorts those."
    ),
    "CompletionTracker._are_cell_ups_complete": (
        "When a cell is complete and a full column needs its column, the tracker asks whether that "
        "is ready now, and looks at the rows of the row group from the first one up to the first "
        "that is not complete. If rows end in about their order, that is all rows before: the "
        "square of a row group's size. A count of the rows that are missing would do."
    ),
    "CompletionTracker.get_ready_tasks": (
        "Each turn of the scheduler's loop asks for the tasks that are ready, and gets them from a "
        "look at the whole frontier, with a hash of each task, which is a frozen dataclass, in "
        "Python. A task that was dispatched stays in the frontier until it is complete, so what "
        "runs or waits for a slot is looked at again in each turn."
    ),
    "CompletionTracker.is_row_group_complete": (
        "Each turn of the scheduler's loop asks of each admitted row group whether it is complete, "
        "and that looks at its rows from the first one up to the first with a column missing."
    ),
    "_Incarnation.": (
        "This engine has no queue: after each event it looks at every cell. It is there to be "
        "right in another way than the reference, says of itself that it is far too slow, and "
        "does not claim `counted_work`."
    ),
}
"""What is known of a function that grows; by the beginning of its name."""


def write(data: Data, folder: Path) -> None:
    """Write the page and its raw figures."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(data, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    (folder / "engines.json").write_text(text, encoding="utf-8")
    (folder / "engines.md").write_text(render(data), encoding="utf-8")


def render(data: Data) -> str:
    """The whole page."""
    lines = [
        "# What engines cost",
        "",
        "Made by `python -m tests.benchmarks.engines`, with `--python` for each engine of another "
        "environment; do not edit. Raw figures: `engines.json`.",
        "",
        "CPU time of an engine for one task (a call of a cell or of a barrier), with calls that "
        f"cost nothing and {WORKERS} of them at once: microseconds, and in brackets how many times "
        "that is what the *unit* takes, which is an asyncio program that makes the same calls "
        "with a task and a semaphore and no scheduler. The unit runs in the same process before "
        "each measurement, and what a call costs in the probe is in both. Medians of up to three "
        "rounds. Engines on a loop run in virtual time; Dask and Ray in real time, where CPU time "
        "is that of the process and of all that descend from it. What an engine writes to storage "
        "is in its figures. Where its first column is made by one call for all rows (the first "
        "releases of DataDesigner), there are fewer tasks.",
        "",
        f"*Cut off* means after {data['cut_off_s']} s of CPU time. *About N min* was not run: it "
        "is what the sizes before lead to expect.",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in data["machine"].items()),
        "",
    ]
    for shape, about in SHAPES.items():
        lines += [f"## {shape.capitalize()}", "", f"{about.capitalize()}.", ""]
        lines += [*_loads(data, data["loads"][shape]), ""]
    lines += _socket(data)
    lines += ["## Counted work", "", *_costs(data), "", "## Findings", "", *_findings(data)]
    return "\n".join(lines).rstrip() + "\n"


def _loads(data: Data, by_engine: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    sizes = [str(size) for size in data["sizes"]]
    yield "| engine | " + " | ".join(f"{int(size):,} tasks" for size in sizes) + " | growth |"
    yield "| --- |" + " --- |" * (len(sizes) + 1)
    for name, by_size in by_engine.items():
        cells = [_load(by_size[size]) if size in by_size else "–" for size in sizes]
        each = [_us(found) for found in by_size.values() if "us" in found]
        growth = f"× {each[-1] / each[0]:.1f}" if len(each) > 1 else "–"
        yield f"| {name} | " + " | ".join([*cells, growth]) + " |"


def _us(found: Mapping[str, Any]) -> float:
    return float(statistics.median(found["us"]))


def _load(found: Mapping[str, Any]) -> str:
    if "us" in found:
        times = _us(found) / statistics.median(found["unit_us"])
        return f"{_us(found):,.0f} µs ({times:,.1f})"
    if "cut_off" in found:
        return "cut off"
    if "expected_s" in found:
        return f"about {found['expected_s'] / 60:,.0f} min"
    return str(found["absent"])


def _socket(data: Data) -> list[str]:
    if "us" not in data.get("socket", {}):
        return []
    us = data["socket"]["us"]
    return [
        "Ray's tasks are in other processes and reach the probe through a socket; a call costs "
        f"{us:,.0f} µs of CPU at both ends together, which is in Ray's figures and no doing of "
        "its own.",
        "",
    ]


def _costs(data: Data) -> Iterator[str]:
    numbers = sorted(COST_CLAUSES)
    yield (
        "Lines of the engine's code that are executed for an event, as runs grow "
        "(`specs/cost.md`): how many times as much the whole costs, and after a comma how many "
        "times as much the function costs that grows worst, if one grows too much. 1 is constant, "
        "up to 1.3 a logarithm, 4 linear. "
        f"**Bold** is beyond its limit and breaks the clause: {LIMIT:g} for the whole, "
        f"{FUNCTION_LIMIT:g} for a function. What is in brackets grows by what another clause "
        "names. Of several workloads about one clause the one that breaks it, or else grows most."
    )
    yield ""
    for number in numbers:
        yield f"- {number}: {clauses()[number].text}"
    yield ""
    yield "| engine | " + " | ".join(numbers) + " |"
    yield "| --- |" + " --- |" * len(numbers)
    for name, found in data["costs"].items():
        yield f"| {name} | " + " | ".join(_cost(found, number) for number in numbers) + " |"


def _cost(found: Mapping[str, Any], number: str) -> str:
    if "shapes" not in found:
        return "real time" if found.get("real_time") else "–"
    mine = [shape for shape in found["shapes"].values() if shape["clause"] == number]
    if not mine:
        return "–"
    shape = max(mine, key=lambda shape: (shape["too_much"], shape["ratio"]))
    figures = [(f"{shape['ratio']:.2f}", shape["whole_too_much"])]
    if shape["function_ratio"]:
        figures.append((f"{shape['function_ratio']:.1f}", True))
    if number in found["broken"]:
        return ", ".join(f"**{figure}**" if beyond else figure for figure, beyond in figures)
    said = ", ".join(figure for figure, _ in figures)
    return f"({said})" if shape["too_much"] else said


def _findings(data: Data) -> Iterator[str]:
    none = True
    for name, found in data["costs"].items():
        for number, detail in sorted(found.get("broken", {}).items()):
            none = False
            yield f"**{name}, {number}.** {_code(detail)}."
            yield ""
            words = _words(detail)
            if words:
                yield words
                yield ""
    if none:
        yield "None."


def _code(detail: str) -> str:
    head, found, place = detail.rpartition(" in ")
    said = f"{head}{found}`{place}`" if "; of them" in head else detail
    return said[:1].upper() + said[1:]


def _words(detail: str) -> str:
    return next((words for name, words in FINDINGS.items() if f" in {name}" in detail), "")
