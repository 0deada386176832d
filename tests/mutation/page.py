"""The page `specs/mutation.md`: by module, what became of its mutants."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tests.mutation.faults import ROOMS, ROOT, faults, functions, modules
from tests.mutation.results import KINDS, SURVIVORS, Results, argued

__all__ = ["PAGE", "numbers_on", "page", "write_page"]

PAGE = ROOT / "specs" / "mutation.md"

_COLUMNS = ("functions", "mutants", *KINDS)

_HEAD = """# What the tests let through

One small fault at a time is put into the modules that the specification rests on: a comparison, a
condition, a number, a sum, a statement that was forgotten, a loop that ends after its first pass.
Each such *mutant* meets the tests that enter its function, in a process of its own, until one
fails: then it is *killed*. Time that runs out kills too. Of those that no test kills, some are
*argued*: nothing can tell them from the module, or nothing should, and
[a list](../tests/mutation_survivors.toml) says why. The others are *open*: a test is missing, or
code is dead. *Unfinished* are mutants that lived when the quickest of the tests that reach them
had run, and meet the others later; *not tried* are those that no run has come to since their
function changed.
Measured by

```sh
make mutation
```

which goes on where an earlier run stopped (`--minutes 20` makes a chunk of it), and writes this
page and [what it is made of](../tests/mutation_results.json), so that another clone tries no more
than what lived or has changed. [The tool](../tests/mutation/__init__.py) says why it is none of the
libraries for this.
"""


@dataclass(frozen=True)
class Numbers:
    """What became of the mutants of a module."""

    functions: int
    mutants: int
    killed: int
    argued: int
    open: int
    unfinished: int
    not_tried: int

    def row(self, name: str) -> str:
        """A line of the table."""
        numbers = " | ".join(f"{number:,}" for number in vars(self).values())
        return f"| {name} | {numbers} |"


def write_page(results: Results) -> None:
    """Write the page, and what it is made of for other clones."""
    results.share()
    PAGE.write_text(page(results), encoding="utf-8")


def page(results: Results) -> str:
    """The text of the page."""
    lines = [_HEAD, f"| module | {' | '.join(_COLUMNS)} |", f"| --- |{' --: |' * len(_COLUMNS)}"]
    every: list[Numbers] = []
    left: list[str] = []
    for room in ROOMS:
        rows = {module: _numbers(module, results) for module in modules([room])}
        left += [line for module in rows for line in _open(module, results)]
        lines.append(_sum(rows.values()).row(f"**{room}**"))
        lines += [numbers.row(f"`{name}`") for name, numbers in rows.items() if numbers.mutants]
        every += rows.values()
    lines.append(_sum(every).row("**all**"))
    lines += ["", "## Why survivors are argued", "", *_reasons(), "", "## Open", ""]
    return "\n".join([*lines, *(left or ["None."]), ""])


def numbers_on(text: str) -> dict[str, Numbers]:
    """By module, the numbers that a page shows."""
    rows = {}
    for line in text.splitlines():
        if line.startswith("| `"):
            name, *numbers = line.strip("| ").split(" | ")
            rows[name.strip("`")] = Numbers(*(int(one.replace(",", "")) for one in numbers))
    return rows


def _numbers(module: str, results: Results) -> Numbers:
    became = Counter(results.became(fault) for fault in faults(module))
    return Numbers(functions(module), len(faults(module)), *(became[kind] for kind in KINDS))


def _sum(rows: Iterable[Numbers]) -> Numbers:
    return Numbers(*map(sum, zip(*(vars(one).values() for one in rows), strict=True)))


def _reasons() -> list[str]:
    """The groups of reasons, and how many survivors have one of their own."""
    groups = tomllib.loads(SURVIVORS.read_text(encoding="utf-8")).get("reasons", {})
    every = [reason for reasons in argued().values() for reason in reasons.values()]
    lines = [f"- {_counted(every.count(text))}: {text}" for text in groups.values()]
    alone = sum(reason not in groups.values() for reason in every)
    return [*lines, f"- {_counted(alone)}: a reason of its own, in the list."]


def _counted(mutants: int) -> str:
    return f"{mutants} mutant{'s' if mutants != 1 else ''}"


def _open(module: str, results: Results) -> list[str]:
    """A line for each survivor that is not argued."""
    left = [fault.key for fault in faults(module) if results.became(fault) == "open"]
    return [f"- `{module}` {_code(key)}" for key in left]


def _code(text: str) -> str:
    return f"`` {text} ``" if "`" in text else f"`{text}`"
