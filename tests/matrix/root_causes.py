"""``python -m tests.matrix.root_causes``: are the roots that the suite tells the bugs of an engine?

Engines with one known bug, and with two, are judged as the suite does it. Of one bug there should
be one root. Of two bugs both should be roots: two different ones, of which one's smallest workload
breaks the engine with the first bug alone, and the other's the engine with the second alone.

The engines with one bug are a sample of the broken engines of the matrix, in an order that says
nothing about them; those with two have two bugs of this sample that are found alone and go
together.

``--write`` writes the measurement to ``plans/root-causes.md``; ``--singles N``, ``--pairs N`` and
``--examples N`` make it shorter or longer. Each engine that is judged is a line in the file of
``--kept``, and is not judged again: remove the file to measure afresh, as ``make causes`` does.
``--cost`` measures, in place of all this, the CPU time that an engine takes that fails nearly
always, by that of the right one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from time import process_time

from cellspec.conformance.campaign.campaign import campaign_workloads, run_campaign
from cellspec.conformance.campaign.causes import Causes, Place, Root
from cellspec.conformance.campaign.pairs import Pairs
from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.backend import Backend
from cellspec.conformance.run.workload import Workload
from cellspec.text import counted
from tests.matrix.combined_mutants import combined, pairs
from tests.matrix.engine_measure import PROFILES, beside
from tests.matrix.engine_mutants import ENGINE_MUTANTS, EngineMutant
from tests.matrix.power import ENGINES

PAGE = Path(__file__).parents[2] / "plans" / "root-causes.md"
EXAMPLES = 5
"""Workloads of each profile."""
SINGLES = 80
"""Engines with one bug; with so many each chapter is in that has clauses for drawn workloads."""
PAIRS = 40
PAIRED = 60
"""So many of these engines, the first, are taken in pairs."""
FAILS_OFTEN = (
    "queues the first only",
    "starts from snapshot",
    "swaps rows on write",
    "reports failure for drops",
    "drop holds barriers",
)
"""Bugs of an engine that fails in most workloads, and in many ways."""
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
        chapters: the chapters of the clauses that broke, as roots or as consequences.
    """

    mutants: tuple[str, ...]
    drawn: int
    runs: int
    failed: int
    roots: tuple[tuple[str, tuple[int, ...]], ...]
    chapters: tuple[str, ...]

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


def sample(number: int) -> list[EngineMutant]:
    """So many broken engines, in an order that says nothing about them."""
    return sorted(ENGINES, key=lambda one: hashlib.blake2b(one.name.encode()).digest())[:number]


def roots_of(mutant: EngineMutant, examples: int = EXAMPLES) -> tuple[list[Root], int, int, int]:
    """The roots of an engine: with the workloads drawn, the runs made, and the workloads that
    failed."""
    backend, runs, failed, drawn = mutant.backend(), 0, 0, 0

    def run(work: Workload, waived: Collection[str]) -> RunResult:
        nonlocal runs
        runs += 1
        return run_workload(backend, work, waive=waived)

    causes = Causes(run)
    for profile in (name for name in PROFILES if name in mutant.able):
        places = [Place(profile, example) for example in range(1, examples + 1)]
        of_pairs = Pairs(profile, beside(profile, mutant.able))
        for place, work in campaign_workloads(of_pairs, places):
            drawn += 1
            result = run(work, ())
            if result.violations:
                failed += 1
                causes.sort(result, place)
    return causes.roots, drawn, runs, failed


def measured(mutants: Sequence[EngineMutant], examples: int = EXAMPLES) -> Measured:
    """Judge an engine with these bugs."""
    made = combined(mutants)
    assert made is not None, "these mutants do not go together"
    roots, drawn, runs, failed = roots_of(made, examples)
    broken = {clause for root in roots for clause in (root.failure.clause, *root.consequences)}
    return Measured(
        tuple(each.name for each in mutants),
        drawn,
        runs,
        failed,
        tuple((root.failure.name, tuple(_bugs(root, mutants))) for root in roots),
        tuple(sorted({clause.partition("-")[0] for clause in broken})),
    )


def _bugs(root: Root, mutants: Sequence[EngineMutant]) -> Iterator[int]:
    for number, mutant in enumerate(mutants):
        failure = root.failure
        if run_workload(mutant.backend(), failure.workload, waive=failure.waived).violations:
            yield number


def cost(examples: int) -> str:
    """The CPU time of an engine that fails often, by that of the right one, in a line."""
    known = {mutant.name: mutant for mutant in ENGINES}
    failing = combined([known[name] for name in FAILS_OFTEN])
    assert failing is not None
    seconds, broken = {}, 0
    for mutant in (EngineMutant("reference", "nothing"), failing):
        run = partial(_run, mutant.backend())
        causes = Causes(run)
        before = process_time()
        for profile in (name for name in PROFILES if name in mutant.able):
            known_beside = beside(profile, mutant.able)
            run_campaign(run, profile, beside=known_beside, max_examples=examples, causes=causes)
        seconds[mutant.name] = process_time() - before
        broken = sum(root.found for root in causes.roots)
    right, wrong = seconds.values()
    return (
        f"CPU time with {counted(examples, 'workload')} of each profile: {wrong:.0f} s of an "
        f"engine whose {len(FAILS_OFTEN)} bugs show {broken:,} times as a root, {right:.0f} s of "
        f"the right one: × {wrong / right:.2f}"
    )


def _run(backend: Backend, work: Workload, waived: Collection[str]) -> RunResult:
    return run_workload(backend, work, waive=waived)


def report(singles: Sequence[Measured], doubles: Sequence[Measured], examples: int) -> str:
    """The measurement as Markdown."""
    found = [one for one in singles if one.failed]
    lost = [one.mutants[0] for one in singles if not one.failed]
    one_root = sum(len(one.roots) == 1 for one in found)
    both = [pair for pair in doubles if pair.names_all]
    exact = sum(len(pair.roots) == 2 for pair in both)
    costs = [one.runs / one.drawn for one in (*found, *doubles)]
    chapters = sorted({chapter for one in found for chapter in one.chapters})
    lines = [
        f"With {counted(examples, 'workload')} of each profile from seed 0, as the suite draws "
        f"them, and {counted(len(singles), 'engine')} of the matrix:",
        "",
        f"- One bug: {len(found)} break a clause in so few workloads, and **{one_root} of them "
        f"have exactly one root** ({_share(one_root, len(found))}). They break clauses of the "
        f"chapters {', '.join(chapters)}.",
        f"- Two bugs, each found alone: {counted(len(doubles), 'engine')}. **{len(both)} have a "
        f"root for both** ({_share(len(both), len(doubles))}), and {exact} of these have no third. "
        f"In the other {len(doubles) - len(both)} one bug hides the other "
        f"({_share(len(doubles) - len(both), len(doubles))}).",
        f"- Not judged: {counted(len(lost), 'engine')} that break no clause in so few workloads"
        + (f" ({', '.join(lost)})." if lost else "."),
        f"- Runs for each workload drawn: {median(costs or [0]):.1f} in the median, "
        f"{max(costs, default=0):.1f} at most, most of them of small workloads.",
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


def _judged(names: tuple[str, ...], examples: int) -> Measured:
    """An engine with the bugs of these names, judged."""
    known = {mutant.name: mutant for mutant in ENGINES}
    return measured([known[name] for name in names], examples)


class Judged:
    """The engines that are judged, each once: the file that keeps them, and the processes.

    Args:
        path: a line for each engine that was judged.
        examples: workloads of each profile.
        jobs: processes.
    """

    def __init__(self, path: Path, examples: int, jobs: int) -> None:
        self._path, self._examples, self._jobs = path, examples, jobs
        path.parent.mkdir(parents=True, exist_ok=True)
        self._done = dict(self._kept())

    def __call__(self, names: Sequence[tuple[str, ...]]) -> list[Measured]:
        """The engines with the bugs of these names."""
        left = [each for each in names if each not in self._done]
        judge = partial(_judged, examples=self._examples)
        with (
            ProcessPoolExecutor(self._jobs) as pool,
            self._path.open("a", encoding="utf-8") as file,
        ):
            for one in pool.map(judge, left):
                self._done[one.mutants] = one
                line = {"examples": self._examples, **asdict(one)}
                print(json.dumps(line), file=file, flush=True)
        return [self._done[each] for each in names]

    def _kept(self) -> Iterator[tuple[tuple[str, ...], Measured]]:
        if not self._path.exists():
            return
        for line in self._path.read_text(encoding="utf-8").splitlines():
            plain = json.loads(line)
            if plain.pop("examples") == self._examples:
                plain["roots"] = tuple((clause, tuple(bugs)) for clause, bugs in plain["roots"])
                plain |= {name: tuple(plain[name]) for name in ("mutants", "chapters")}
                yield plain["mutants"], Measured(**plain)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.matrix.root_causes", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write plans/root-causes.md")
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="workloads of each profile")
    parser.add_argument("--singles", type=int, default=SINGLES, help="engines, one bug")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="engines with two bugs")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--kept", type=Path, default=KEPT, help="a line for each judged engine")
    parser.add_argument("--cost", action="store_true", help="what an engine that fails costs")
    asked = parser.parse_args(arguments)
    if asked.cost:
        print(cost(asked.examples))
        return 0
    judged = Judged(asked.kept, asked.examples, asked.jobs)
    singles = judged([(one.name,) for one in sample(asked.singles)])
    found = {one.mutants[0] for one in singles if one.failed}
    paired = {mutant.name for mutant in sample(PAIRED)} & found
    able = [mutant for mutant in ENGINE_MUTANTS if mutant.name in paired]
    both = [(one.name, two.name) for one, two in islice(pairs(able), asked.pairs)]
    text = report(singles, judged(both), asked.examples)
    if asked.write:
        page = PAGE.read_text(encoding="utf-8")
        before, after = page.partition(_BEGIN)[0], page.partition(_END)[2]
        PAGE.write_text(f"{before}{_BEGIN}\n\n{text}\n{_END}{after}", encoding="utf-8")
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
