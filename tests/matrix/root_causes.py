"""``python -m tests.matrix.root_causes``: are the roots that the suite tells the bugs of an engine?

Engines with one known bug, and with two, are judged as the suite does it. Of one bug there should
be one root. Of two bugs both should be roots: two different ones, of which one's smallest workload
breaks the engine with the first bug alone, and the other's the engine with the second alone.

``--write`` writes the measurement to ``plans/root-causes.md``; ``--pairs N`` and ``--examples N``
make it shorter. Each engine that is judged is a line in the file of ``--kept``, and is not judged
again: remove the file to measure afresh, as ``make causes`` does.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path

from cellspec.conformance.campaign.causes import Causes, Place, Root
from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.workload import Workload
from cellspec.text import counted
from tests.matrix.combined_mutants import combined, pairs
from tests.matrix.engine_measure import PROFILES, workload
from tests.matrix.engine_mutants import ENGINE_MUTANTS, EngineMutant

PAGE = Path(__file__).parents[2] / "plans" / "root-causes.md"
EXAMPLES = 5
"""Workloads of each profile."""
PAIRS = 48
KEPT = Path(".cellspec/root-causes.jsonl")
_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"


@dataclass(frozen=True)
class Measured:
    """What the suite tells of an engine.

    Attributes:
        mutants: the names of its bugs.
        drawn: workloads that were drawn.
        runs: runs in all.
        failed: how many of the drawn workloads broke a clause.
        roots: for each root, its clause, and by which of the bugs alone its workload breaks.
    """

    mutants: tuple[str, ...]
    drawn: int
    runs: int
    failed: int
    roots: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def names_all(self) -> bool:
        """Whether each bug has a root of its own."""
        return _matched(0, len(self.mutants), [set(bugs) for _, bugs in self.roots])


def _matched(bug: int, bugs: int, roots: Sequence[set[int]]) -> bool:
    """Whether each bug from this one on can have one of these roots for itself."""
    if bug == bugs:
        return True
    return any(
        bug in root and _matched(bug + 1, bugs, [*roots[:at], *roots[at + 1 :]])
        for at, root in enumerate(roots)
    )


def roots_of(mutant: EngineMutant, examples: int = EXAMPLES) -> tuple[list[Root], int, int, int]:
    """The roots of an engine: with the workloads drawn, the runs made, and the workloads that
    failed."""
    backend, runs, failed = mutant.backend(), 0, 0

    def run(work: Workload, waived: Collection[str]) -> RunResult:
        nonlocal runs
        runs += 1
        return run_workload(backend, work, waive=waived)

    causes = Causes(run)
    drawn = examples * sum(name in mutant.able for name in PROFILES)
    for number in range(1, drawn + 1):
        result = run(workload(number, mutant.able), ())
        if result.violations:
            failed += 1
            causes.sort(result, Place(example=number))
    return causes.roots, drawn, runs, failed


def measured(mutants: Sequence[EngineMutant], examples: int = EXAMPLES) -> Measured:
    """Judge an engine with these bugs."""
    made = combined(mutants)
    assert made is not None, "these mutants do not go together"
    roots, drawn, runs, failed = roots_of(made, examples)
    return Measured(
        tuple(each.name for each in mutants),
        drawn,
        runs,
        failed,
        tuple((root.failure.name, tuple(_bugs(root, mutants))) for root in roots),
    )


def _bugs(root: Root, mutants: Sequence[EngineMutant]) -> Iterator[int]:
    for number, mutant in enumerate(mutants):
        failure = root.failure
        if run_workload(mutant.backend(), failure.workload, waive=failure.waived).violations:
            yield number


@cache
def is_found(mutant: EngineMutant, examples: int = EXAMPLES) -> bool:
    """Whether so many workloads show the bug when it is the only one."""
    drawn = examples * sum(name in mutant.able for name in PROFILES)
    return any(
        run_workload(mutant.backend(), workload(number, mutant.able)).violations
        for number in range(1, drawn + 1)
    )


def report(singles: Sequence[Measured], doubles: Sequence[Measured], examples: int) -> str:
    """The measurement as Markdown."""
    found = [one for one in singles if one.failed]
    one_root = sum(len(one.roots) == 1 for one in found)
    both = [pair for pair in doubles if pair.names_all]
    exact = sum(len(pair.roots) == 2 for pair in both)
    cost = max((one.runs / one.drawn for one in (*singles, *doubles)), default=0.0)
    lines = [
        f"With {counted(examples, 'workload')} of each profile from seed 0:",
        "",
        f"- {counted(len(singles), 'engine')} with one bug: {len(found)} are found, and "
        f"**{one_root} of them have exactly one root** ({_share(one_root, len(found))});",
        f"- {counted(len(doubles), 'engine')} with two bugs, each of which is found alone: "
        f"**{len(both)} have a root for both** ({_share(len(both), len(doubles))}), and {exact} "
        "of these have no third;",
        f"- the most runs that one engine took, for each workload drawn: {cost:.1f}, most of them "
        "of small workloads.",
        "",
        "Engines with one bug and more than one root:",
        "",
        *_table([one for one in found if len(one.roots) > 1]),
        "",
        "Engines with two bugs that have no root for both, or a third root:",
        "",
        *_table([pair for pair in doubles if not pair.names_all or len(pair.roots) != 2]),
    ]
    return "\n".join(lines) + "\n"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "none"


def _table(measured: Sequence[Measured]) -> Iterator[str]:
    if not measured:
        yield "none."
        return
    yield "| bugs | workloads that failed | roots, and the bugs that break their workload alone |"
    yield "| --- | --- | --- |"
    for one in measured:
        roots = ", ".join(
            f"{clause} ({' and '.join(str(bug + 1) for bug in bugs) or 'none'})"
            for clause, bugs in one.roots
        )
        yield f"| {' + '.join(one.mutants)} | {one.failed} of {one.drawn} | {roots} |"


def _judged(names: tuple[str, ...], examples: int) -> Measured | None:
    """An engine with these bugs, judged; None if one of several bugs is not found alone."""
    known = {mutant.name: mutant for mutant in ENGINE_MUTANTS}
    mutants = [known[name] for name in names]
    if len(mutants) > 1 and not all(is_found(mutant, examples) for mutant in mutants):
        return None
    return measured(mutants, examples)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.matrix.root_causes", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write plans/root-causes.md")
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="workloads of each profile")
    parser.add_argument("--singles", type=int, default=len(ENGINE_MUTANTS), help="engines, one bug")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="engines tried with two bugs")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--kept", type=Path, default=KEPT, help="a line for each judged engine")
    asked = parser.parse_args(arguments)
    names: list[tuple[str, ...]] = [
        (one.name, two.name) for one, two in islice(pairs(ENGINE_MUTANTS), asked.pairs)
    ]
    names += [(one.name,) for one in ENGINE_MUTANTS[: asked.singles]]
    asked.kept.parent.mkdir(parents=True, exist_ok=True)
    done = _kept(asked.kept, asked.examples)
    left = [each for each in names if each not in done]
    with ProcessPoolExecutor(asked.jobs) as pool, asked.kept.open("a", encoding="utf-8") as kept:
        for each, one in zip(
            left, pool.map(partial(_judged, examples=asked.examples), left), strict=True
        ):
            done[each] = one
            found = None if one is None else [one.drawn, one.runs, one.failed, one.roots]
            print(json.dumps([asked.examples, each, found]), file=kept, flush=True)
    judged = [one for each in names if (one := done[each]) is not None]
    singles = [one for one in judged if len(one.mutants) == 1]
    text = report(singles, [one for one in judged if len(one.mutants) > 1], asked.examples)
    if asked.write:
        page = PAGE.read_text(encoding="utf-8")
        before, after = page.partition(_BEGIN)[0], page.partition(_END)[2]
        PAGE.write_text(f"{before}{_BEGIN}\n\n{text}\n{_END}{after}", encoding="utf-8")
    else:
        print(text, end="")
    return 0


def _kept(path: Path, examples: int) -> dict[tuple[str, ...], Measured | None]:
    """The engines that were judged already."""
    done: dict[tuple[str, ...], Measured | None] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        size, names, found = json.loads(line)
        if size == examples and found is not None:
            drawn, runs, failed, roots = found
            roots = tuple((clause, tuple(bugs)) for clause, bugs in roots)
            done[tuple(names)] = Measured(tuple(names), drawn, runs, failed, roots)
        elif size == examples:
            done[tuple(names)] = None
    return done


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
