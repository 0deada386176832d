"""The hand-written Murphi model, run by rumur: counts, and shortest paths to a broken clause.

A configuration of the explorer becomes the constants and functions that ``specs/model/cellspec.m``
asks for; rumur turns the whole into C, and the compiled program searches it breadth first. The
configuration alone is handed over, without edges, claims or states.

``python -m tests.explore.rumur --write`` measures the tables of ``specs/model/README.md``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from cellspec.explore.bounds import BOUNDS, Configuration, search_for
from cellspec.explore.pipelines import parse_shape
from cellspec.explore.relation import Faults
from cellspec.explore.search import SearchResult
from cellspec.files import write_files
from cellspec.machine.policy import scopes_too_wide
from tests.explore.mutants import MUTANTS, Mutant

MODEL = Path(__file__).parents[2] / "specs" / "model"
INSTALLED = shutil.which("rumur") is not None and shutil.which("gcc") is not None

# Grown past what is counted singly, so that the two are compared where states are many too.
LARGER = (
    Configuration(3, Faults(crashes=1), graph="a b(a) v:barrier(a,b) c(v)"),
    Configuration(3, Faults(crashes=2, torn=True), batch=2, graph="a v:batch(a) c(v)"),
    Configuration(3, Faults(crashes=1, versions=(1, 2)), graph="a v:barrier(a) b(a)"),
    Configuration(
        2, Faults(crashes=2, torn=True, retries=1, drops=1, workers=2), graph="a v:barrier(a) c(v)"
    ),
)
CONFIGURATIONS = (*BOUNDS[0], *LARGER)

MISTAKES = [mutant.name for mutant in MUTANTS]
"""The model knows them by their places here."""

MANY_STATES = 1_500
"""From so many states on the compiler takes less time to optimise than the search then saves."""

_KINDS = {"row": 0, "barrier": 1, "batch": 2}


@dataclass(frozen=True)
class Answer:
    """The answer of rumur about a model.

    Attributes:
        states, transitions: how many there are; of a broken model, until it stopped.
        broken: the clause of the property that failed; "" if all hold.
        steps: how many steps lead there.
    """

    states: int
    transitions: int
    broken: str = ""
    steps: int = 0


def configuration_text(one: Configuration, broken: str = "") -> str:
    """The constants and functions that come before the model."""
    shape = parse_shape(one.graph)
    faults = one.faults
    size = faults.group_rows or one.rows
    constants = {
        "COLUMNS": len(shape.kinds),
        "ROWS": one.rows,
        "BATCH": one.batch or one.rows,
        "ADMITS": str(faults.group_rows is not None).lower(),
        "GROUP_ROWS": size,
        "GROUPS": faults.groups or 0,
        "SUBSETS": 2 ** len(range(0, one.rows, size)) if faults.groups else 1,
        "CRASHES": faults.crashes,
        "RETRIES": faults.retries,
        "DROPS": faults.drops,
        "STOPS": faults.stops,
        "LOSSES": faults.losses,
        "TORN": str(faults.torn).lower(),
        "WORKERS": faults.workers or 0,
        "CLAIM_ROWS": str(1 in faults.versions).lower(),
        "CLAIM_COLUMNS": str(2 in faults.versions).lower(),
        "CLAIM_CELLS": str(3 in faults.versions).lower(),
        "BROKEN": MISTAKES.index(broken) + 1 if broken else 0,
    }
    kinds = [
        (f"c = {index}", str(_KINDS[kind.partition("+")[0]]))
        for index, kind in enumerate(shape.kinds)
    ]
    ordered = [(f"c = {i}", "true") for i, kind in enumerate(shape.kinds) if "+" in kind]
    needs = [
        (f"c = {index} & d = {need}", "true")
        for index, found in enumerate(shape.needs)
        for need in found
    ]
    column = "0 .. COLUMNS - 1"
    return "\n".join(
        [
            "const",
            *(f"  {name}: {value};" for name, value in constants.items()),
            _function(f"kind(c: {column}): 0 .. 2", kinds, "0"),
            _function(f"ordered(c: {column}): boolean", ordered, "false"),
            _function(f"needs(c: {column}; d: {column}): boolean", needs, "false"),
            "",
        ]
    )


def _function(head: str, cases: list[tuple[str, str]], otherwise: str) -> str:
    lines = [f"  if {test} then return {value}; end;" for test, value in cases]
    return "\n".join([f"function {head};", "begin", *lines, f"  return {otherwise};", "end;"])


def ask(one: Configuration, broken: str = "", *, states: int = 0) -> Answer:
    """Check the model under one configuration, perhaps with a mistake in it.

    Args:
        one: a single graph, and its faults.
        broken: the name of a mistake that the model knows.
        states: how many states it may have. The answer does not depend on it, but the time does.
    """
    model = (MODEL / "cellspec.m").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model.m").write_text(configuration_text(one, broken) + model)
        _run("rumur", "model.m", "--output", "model.c", "--deadlock-detection=off", cwd=folder)
        level = "-O1" if states >= MANY_STATES else "-O0"
        compiler = ("gcc", "-std=c11", level, "-mcx16", "-w")
        _run(*compiler, "-o", "model", "model.c", "-lpthread", cwd=folder)
        found = subprocess.run(["./model"], cwd=folder, capture_output=True, text=True, check=False)
    return _read(found.stdout)


def _run(*command: str, cwd: Path) -> None:
    threads = ("--threads", "1") if command[0] == "rumur" else ()
    done = subprocess.run(
        [*command, *threads], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert not done.returncode, f"{command[0]}: {done.stdout}{done.stderr}"


def _read(text: str) -> Answer:
    counts = re.search(r"(\d+) states, (\d+) rules fired", text)
    assert counts is not None, text
    states, fired = map(int, counts.groups())
    if "No error found" in text:
        return Answer(states, fired)
    names = re.findall(r'"([A-Z]+-\d\d): [^"]*"', text) or re.findall(r"([A-Z]+-\d\d): ", text)
    assert names, text
    return Answer(states, fired, names[0], len(re.findall(r'^Rule ".*fired\.$', text, re.M)))


def broken_configuration(mutant: Mutant) -> Configuration:
    """Where a mutant of the explorer shows."""
    return Configuration(
        mutant.rows, Faults(**mutant.faults), batch=mutant.batch, graph=mutant.graph
    )


def found_of(one: Configuration) -> SearchResult:
    """The result of the explorer for a single graph."""
    shape = parse_shape(one.graph)
    return search_for(shape.graph(one.rows, one.batch), one.faults).run()


def counts_of(one: Configuration) -> tuple[int, int]:
    """The explorer's states and transitions."""
    found = found_of(one)
    return found.states, found.transitions


# Drawn at random


def drawn(count: int, seed: int = 0, states_max: int = 30_000) -> dict[Configuration, SearchResult]:
    """Small configurations beyond the page, each once, with the result of the explorer.

    Args:
        count: how many.
        seed: the seed of the draws.
        states_max: one with more states is left out: each is compiled and searched by both.
    """
    random, stops = Random(seed), Random(f"stops and losses of {seed}")
    groups = Random(f"row groups of {seed}")
    found: dict[Configuration, SearchResult] = {}
    while len(found) < count:
        one = _draw(random)
        if stops.random() < 0.35:
            one = _stopped(one, stops)
        if not one.faults.drops and stops.random() < 0.35:
            one = replace(one, faults=replace(one.faults, losses=stops.choice((1, 1, 2))))
        if not one.faults.losses and groups.random() < 0.35:
            one = _grouped(one, groups)
        if one in found or one in CONFIGURATIONS:
            continue
        says = found_of(one)
        if says.states <= states_max:
            found[one] = says
    return found


def _draw(random: Random) -> Configuration:
    rows, names = random.randint(1, 3), "abc"[: random.randint(1, 3)]
    kinds, words = [], []
    for place, name in enumerate(names):
        kind = random.choice(("row", "row", "row+ordered", "barrier", "batch", "batch+ordered"))
        needs = [other for other in names[:place] if random.random() < 0.6]
        kinds.append(kind)
        needed = f"({','.join(needs)})" if needs else ""
        words.append(f"{name}:{kind}{needed}")
    crashes, drops = random.choice((0, 1, 1, 2)), random.choice((0, 1, 1, 2))
    versions: tuple[tuple[int, ...], ...] = ((1,), (1,), (2,), (1, 2))
    if not drops:
        versions += ((3,), (3,), (1, 2, 3))
    faults = Faults(
        crashes=crashes,
        torn=bool(crashes) and random.random() < 0.4,
        retries=random.choice((0, 0, 1)),
        drops=drops,
        workers=random.choice((None, None, 1, 2)),
        versions=random.choice(versions) if crashes else (1,),
    )
    batch = random.randint(1, rows) if any("batch" in kind for kind in kinds) else None
    return Configuration(rows, faults, batch=batch, graph=" ".join(words))


def _stopped(one: Configuration, random: Random) -> Configuration:
    """The same with stops on request, and claims of some kind for the end to read."""
    versions = one.faults.versions
    if not one.faults.crashes:
        versions = random.choice(((1,), (2,)) if one.faults.drops else ((1,), (2,), (3,)))
    stops = random.choice((1, 1, 2))
    return replace(one, faults=replace(one.faults, stops=stops, versions=versions))


def _grouped(one: Configuration, random: Random) -> Configuration:
    """The same with rows admitted in groups, under a limit that each scope allows, or none."""
    size = random.randint(1, one.rows)
    rules = parse_shape(one.graph).graph(one.rows, one.batch).rules
    fitting = [most for most in (1, 1, 2) if not any(scopes_too_wide(rules, size, most))]
    limits = replace(one.faults, group_rows=size, groups=random.choice((*fitting, None)))
    return replace(one, faults=limits)


def ask_all(found: Mapping[Configuration, SearchResult]) -> list[Answer]:
    """The answers of rumur, two at a time: models are compiled and run in processes."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda one: ask(one, states=found[one].states), found))


# The page


def tables() -> tuple[str, str]:
    """Counts of both, and the mistakes that both reject, as two tables."""
    counts = [
        "| graph | rows | batch | rules | states | transitions | the explorer's |",
        "| --- | --: | --: | --- | --: | --: | --- |",
    ]
    for one in CONFIGURATIONS:
        expected = counts_of(one)
        answer = ask(one, states=expected[0])
        same = (answer.states, answer.transitions) == expected
        print(f"{one}: {answer}", file=sys.stderr)
        counts.append(
            f"| `{one.graph}` | {one.rows} | {one.batch or '–'} | {one.rules()} | "
            f"{answer.states:,} | {answer.transitions:,} | {'the same' if same else 'DIFFERENT'} |"
        )
    mistakes = [
        "| mistake | where | rumur says | steps | the explorer says | steps |",
        "| --- | --- | --- | --: | --- | --: |",
    ]
    for mutant in MUTANTS:
        answer = ask(broken_configuration(mutant), mutant.name)
        print(f"{mutant.name}: {answer}", file=sys.stderr)
        words = (mutant.relation.__doc__ or "").splitlines()[0].rstrip(".")
        mistakes.append(
            f"| {words} | `{mutant.graph}` | {answer.broken} | {answer.steps} | {mutant.clause} | "
            f"{mutant.steps} |"
        )
    return "\n".join(counts), "\n".join(mistakes)


def page(counts: str, mistakes: str) -> str:
    """The model's page with these tables in their places."""
    text = (MODEL / "README.md").read_text(encoding="utf-8")
    for name, table in (("counts", counts), ("mistakes", mistakes)):
        before, found, rest = text.partition(f"<!-- {name} -->\n")
        assert found, name
        _, end, after = rest.partition(f"<!-- end of {name} -->")
        text = f"{before}{found}\n{table}\n\n{end}{after}"
    return text


def main() -> None:
    """Measure, and write the page."""
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m tests.explore.rumur --write")
    write_files(MODEL, {"README.md": page(*tables())})


if __name__ == "__main__":
    main()
