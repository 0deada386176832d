"""The page `specs/mutation.md`: by module, what became of its mutants."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.mutation.faults import ROOMS, ROOT, Fault, faults, functions, modules
from tests.mutation.judging import PROFILES
from tests.mutation.results import SURVIVORS, Results, argued

__all__ = ["PAGE", "numbers_on", "page", "write_page"]

PAGE = ROOT / "specs" / "mutation.md"

_COLUMNS = ("functions", "mutants", "killed", "argued", "open", "not tried")

_HEAD = """# What the tests let through

One small fault at a time is put into the modules that the specification rests on: a comparison, a
condition, a number, a sum, a statement that was forgotten, a loop that ends after its first pass.
Each such *mutant* meets the tests that enter its function, in a process of its own, until one
fails: then it is *killed*. Time that runs out kills too. Of those that no test kills, some are
*argued*: nothing can tell them from the module, or nothing should, and
[a list](../tests/mutation_survivors.toml) says why. The others are *open*: a test is missing, or
code is dead. *Not tried* are mutants that no run has come to since their function changed.
Measured by

```sh
make mutation
```

which goes on where an earlier run stopped (`--minutes 20` makes a chunk of it), and writes this
page. [The tool](../tests/mutation/__init__.py) says why it is none of the libraries for this.
"""


@dataclass(frozen=True)
class Numbers:
    """What became of the mutants of a module."""

    functions: int
    mutants: int
    killed: int
    argued: int
    open: int
    not_tried: int

    def row(self, name: str) -> str:
        """A line of the table."""
        numbers = " | ".join(f"{number:,}" for number in vars(self).values())
        return f"| {name} | {numbers} |"


def write_page(results: Results) -> None:
    """Write the page from what is kept."""
    PAGE.write_text(page(results), encoding="utf-8")


def page(results: Results) -> str:
    """The text of the page."""
    by_room = {room: {name: _numbers(name, results) for name in modules([room])} for room in ROOMS}
    lines = [_HEAD, f"| module | {' | '.join(_COLUMNS)} |", f"| --- |{' --: |' * len(_COLUMNS)}"]
    for room, rows in by_room.items():
        lines.append(_sum(rows).row(f"**{room}**"))
        lines += [numbers.row(f"`{name}`") for name, numbers in rows.items() if numbers.mutants]
    every = {name: numbers for rows in by_room.values() for name, numbers in rows.items()}
    lines.append(_sum(every).row("**all**"))
    lines += ["", "## Why survivors are argued", "", *_reasons(), "", "## Open", ""]
    lines += _open(results)
    return "\n".join([*lines, ""])


def numbers_on(path: Path = PAGE) -> dict[str, list[int]]:
    """By module, the numbers that the page shows."""
    rows = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            name, *numbers = line.strip("| ").split(" | ")
            rows[name.strip("`")] = [int(number.replace(",", "")) for number in numbers]
    return rows


def _numbers(module: str, results: Results) -> Numbers:
    became = Counter(_became(fault, results) for fault in faults(module))
    of = [became[name] for name in ("killed", "argued", "open", "not tried")]
    return Numbers(functions(module), len(faults(module)), *of)


def _sum(rows: Mapping[str, Numbers]) -> Numbers:
    return Numbers(*map(sum, zip(*(vars(one).values() for one in rows.values()), strict=True)))


def _became(fault: Fault, results: Results) -> str:
    if results.killer(fault):
        return "killed"
    if fault.key in argued().get(fault.module, {}):
        return "argued"
    return "open" if any(results.met(fault, profile) for profile in PROFILES) else "not tried"


def _reasons() -> list[str]:
    """The groups of reasons, and how many survivors have one of their own."""
    groups = tomllib.loads(SURVIVORS.read_text(encoding="utf-8")).get("reasons", {})
    every = [reason for reasons in argued().values() for reason in reasons.values()]
    lines = [f"- {every.count(text)} mutants: {text}" for text in groups.values()]
    alone = sum(reason not in groups.values() for reason in every)
    return [*lines, f"- {alone} mutants: a reason of their own, in the list."]


def _open(results: Results) -> list[str]:
    """A line for each survivor that is not argued."""
    return [
        f"- `{module}` {_code(fault.key)}"
        for module in modules()
        for fault in faults(module)
        if _became(fault, results) == "open"
    ] or ["None."]


def _code(text: str) -> str:
    return f"`` {text} ``" if "`" in text else f"`{text}`"
