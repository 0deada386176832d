"""Bugs per CPU-minute: which method earns its keep.

Every broken engine is put to each method that can be put to an engine, with the same budget of CPU
time, and every broken relation to the exhaustive search. What is measured is the CPU time and the
number of runs until something breaks. ``python -m tests.matrix.methods --write`` measures and
writes ``specs/methods.md``; it takes CPU minutes, and numbers of runs are the same on every machine
while seconds are not.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from cellspec.conformance.campaign.generator.size import Size
from cellspec.conformance.judge.harness import run_workload
from cellspec.engines.reference import ReferenceBackend
from cellspec.files import write_files
from cellspec.fuzz.options import METHODS, Options
from cellspec.fuzz.search import search
from tests.explore.mutants import MUTANTS, search_of
from tests.matrix.engine_measure import workload
from tests.matrix.engine_mutants import ENGINE_MUTANTS, EngineMutant

PAGE = Path(__file__).parent.parent.parent / "specs" / "methods.md"

BUDGET_S = 4.0
"""CPU seconds that a method has for one broken engine."""


@dataclass(frozen=True)
class Attempt:
    """One method on one broken engine."""

    method: str
    mutant: str
    killed: bool
    runs: int
    cpu_s: float


def by_conformance(mutant: EngineMutant) -> Attempt:
    """Small workloads, as the conformance suite draws them."""
    backend, began_s = mutant.backend(), time.process_time()
    number = 0
    while time.process_time() - began_s < BUDGET_S:
        number += 1
        if run_workload(backend, workload(number, mutant.able)).violations:
            return Attempt("suite", mutant.name, True, number, time.process_time() - began_s)
    return Attempt("suite", mutant.name, False, number, time.process_time() - began_s)


def by_fuzzing(mutant: EngineMutant, method: str, size: Size) -> Attempt:
    """Large workloads, by one of the fuzzer's methods."""
    began_s = time.process_time()
    name = "".join(word.capitalize() for word in mutant.name.split())
    done = search(
        Options(
            backend=f"tests.matrix.fuzzed:{name}",
            folder=Path.cwd(),
            methods=(method,),
            size=size,
            seconds=BUDGET_S,
            plateau=1_000_000,
            shrink_runs=0,
        )
    )
    cpu_s = time.process_time() - began_s
    return Attempt(f"fuzz {method}", mutant.name, done.found is not None, done.total, cpu_s)


def attempts() -> Iterator[Attempt]:
    """Every method on every broken engine."""
    methods: list[Callable[[EngineMutant], Attempt]] = [by_conformance]
    for name in METHODS:
        methods.append(lambda mutant, name=name: by_fuzzing(mutant, name, Size()))  # type: ignore[misc]
    for mutant in ENGINE_MUTANTS:
        for method in methods:
            yield method(mutant)


def summary(found: list[Attempt]) -> list[str]:
    """A line for each method."""
    lines = [
        "| method | killed | of | CPU s in all | bugs per CPU-minute | median runs | only it |",
        "| --- | --: | --: | --: | --: | --: | --: |",
    ]
    killers: dict[str, set[str]] = {}
    for one in found:
        if one.killed:
            killers.setdefault(one.mutant, set()).add(one.method)
    for method in dict.fromkeys(one.method for one in found):
        mine = [one for one in found if one.method == method]
        killed = [one for one in mine if one.killed]
        cpu_s = sum(one.cpu_s for one in mine)
        runs = median([one.runs for one in killed] or [0])
        alone = sum(killers[one.mutant] == {method} for one in killed)
        lines.append(
            f"| {method} | {len(killed)} | {len(mine)} | {cpu_s:,.0f} | "
            f"{60 * len(killed) / cpu_s:.1f} | {runs:g} | {alone} |"
        )
    return lines


def by_mutant(found: list[Attempt]) -> list[str]:
    """A line for each broken engine: runs and CPU seconds to kill, by method."""
    methods = list(dict.fromkeys(one.method for one in found))
    lines = [
        f"| broken engine | {' | '.join(methods)} |",
        f"| --- |{' --: |' * len(methods)}",
    ]
    for mutant in dict.fromkeys(one.mutant for one in found):
        cells = []
        for method in methods:
            one = next(one for one in found if (one.mutant, one.method) == (mutant, method))
            cells.append(f"{one.runs:,} ({one.cpu_s:.1f} s)" if one.killed else "–")
        lines.append(f"| {mutant} | {' | '.join(cells)} |")
    return lines


def by_exploring() -> list[str]:
    """A line for each broken relation: states and CPU seconds to the shortest counterexample."""
    lines = [
        "| broken rule | states to the counterexample | steps | CPU ms |",
        "| --- | --: | --: | --: |",
    ]
    for mutant in MUTANTS:
        began_s = time.process_time()
        found = search_of(mutant).run()
        cpu_s = time.process_time() - began_s
        lines.append(f"| {mutant.name} | {found.states:,} | {mutant.steps} | {1000 * cpu_s:.1f} |")
    return lines


TEXT = """\
# Methods

Which method finds how many bugs in a minute of CPU time? Measured by

```sh
python -m tests.matrix.methods --write
```

on 2 cores, of which it uses one. Each broken engine of [the matrix](matrix.md) is put to each
method for {budget:g} CPU seconds, or until something breaks. *suite* runs small workloads, as
`pytest --pyargs cellspec.conformance` draws them, a profile in turn; the others are the methods of
`cellspec fuzz`, which run pipelines of up to 24 columns and 300 rows. *only it* counts the
broken engines that no other method killed within its budget.

{summary}

{reading}

## The exhaustive search

The explorer has no engine before it but the rules themselves, so it is measured on rules that are
broken on purpose, each on the smallest graph that shows it. Making the graph's tables is part of
the time.

{exploring}

## By broken engine

Runs until something broke, and the CPU time that they took; – is not within the budget.

{mutants}
"""


def reading(found: list[Attempt], reference_runs: int) -> str:
    """What the numbers say, as far as numbers can say it."""
    missed = sorted({one.mutant for one in found} - {one.mutant for one in found if one.killed})
    killed = len({one.mutant for one in found}) - len(missed)
    text = f"Together the methods killed {killed} of {killed + len(missed)}."
    if missed:
        text += f" Not killed by any within its budget: {', '.join(missed)}."
    return (
        f"{text} The unbroken reference was run {reference_runs:,} times by the same methods, and "
        "nothing broke."
    )


def reference_runs() -> int:
    """Runs of the unbroken reference by every fuzzing method; none may break."""
    runs = 0
    for method in METHODS:
        done = search(
            Options(
                backend=f"{ReferenceBackend.__module__}:{ReferenceBackend.__name__}",
                folder=Path.cwd(),
                methods=(method,),
                seconds=BUDGET_S,
                plateau=1_000_000,
            )
        )
        assert done.found is None, done.found
        runs += done.total
    return runs


def main() -> None:
    """Measure, and write the page."""
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m tests.matrix.methods --write")
    found = []
    for one in attempts():
        found.append(one)
        word = "killed" if one.killed else "missed"
        print(f"{one.mutant}: {one.method}: {word}, {one.runs} runs", file=sys.stderr)
    text = TEXT.format(
        budget=BUDGET_S,
        summary="\n".join(summary(found)),
        reading=reading(found, reference_runs()),
        exploring="\n".join(by_exploring()),
        mutants="\n".join(by_mutant(found)),
    )
    write_files(PAGE.parent, {PAGE.name: text})


if __name__ == "__main__":
    main()
