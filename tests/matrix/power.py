"""The power of the suite: in which share of seeds does its default size kill each broken engine?

A user runs the suite once, at its default size and with one seed. So a broken engine that dies at
workload 249 of 250 has hardly been found: with the next seed it survives. Each engine mutant is
here put to the workloads of the default run of many seeds, one of each profile in turn, until one
breaks a clause. ``python -m tests.matrix.power --write`` measures, and writes ``specs/power.md``.

It takes an hour or so. With ``--keep FILE`` what was measured is not measured again while the
package and the mutants stay as they are, so a run that was stopped goes on.

The workloads of a seed are the same for every mutant with the same capabilities. So a part of the
work is a seed and a set of capabilities: its workloads are drawn once, and each mutant is put to
them. Where one breaks a clause the right engine that it was made from is put to that workload, too:
a verdict that blames both is a mistake of the judge, and ends the measurement.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from itertools import count
from pathlib import Path
from statistics import median

from cellspec.conformance.campaign.campaign import campaign_workloads
from cellspec.conformance.campaign.causes import Place
from cellspec.conformance.campaign.options import MAX_EXAMPLES
from cellspec.conformance.campaign.pairs import Pairs
from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.run.workload import Workload
from cellspec.errors import SpecError
from cellspec.files import write_files
from tests.matrix.engine_measure import PROFILES, beside
from tests.matrix.engine_mutants import ENGINE_MUTANTS, EngineMutant
from tests.matrix.journal_mutants import JOURNAL_MUTANTS
from tests.matrix.second_mutants import SECOND_MUTANTS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "specs" / "power.md"

SEEDS = 20
LEAST_SHARE = 0.95
"""A mutant that dies in fewer seeds needs a reason in `REASONS`."""

ENGINES: tuple[EngineMutant, ...] = (*ENGINE_MUTANTS, *JOURNAL_MUTANTS, *SECOND_MUTANTS)

REASONS: dict[str, str] = {}
"""Why a mutant dies in too few seeds, by its name."""


@dataclass(frozen=True)
class Death:
    """One mutant under one seed.

    Attributes:
        mutant: its name.
        seed: the seed of the run.
        clause: the clause that broke; "" if it survived.
        profile: the profile whose workload broke it.
        example: which workload of that profile, from 1; 0 if it survived.
        runs: workloads that were run, of all profiles.
    """

    mutant: str
    seed: int
    clause: str
    profile: str
    example: int
    runs: int


class Drawn:
    """The workloads of a run with one seed, drawn when they are first asked for.

    Args:
        able: the capabilities of the engine.
        seed: the seed of the run.
    """

    def __init__(self, able: frozenset[str], seed: int) -> None:
        profiles = [name for name in PROFILES if name in able]
        self._of = {name: (_workloads(name, able, seed), list[Workload]()) for name in profiles}

    def in_turn(self, size: int) -> Iterator[tuple[str, int, Workload]]:
        """The first workload of each profile, then the second of each, with its number."""
        for example in range(1, size + 1):
            for profile, (more, drawn) in self._of.items():
                while len(drawn) < example:
                    drawn.append(next(more))
                yield profile, example, drawn[example - 1]


def _workloads(profile: str, able: frozenset[str], seed: int) -> Iterator[Workload]:
    places = (Place(profile, example, seed) for example in count(1))
    pairs = Pairs(profile, beside(profile, able))
    return (work for _, work in campaign_workloads(pairs, places))


def put_to(mutant: EngineMutant, seed: int, size: int, drawn: Drawn) -> Death:
    """One mutant, put to the workloads of one seed until it breaks a clause.

    Raises:
        SpecError: the right engine that it was made from breaks one there, too.
    """
    backend, runs = mutant.backend(), 0
    for profile, example, work in drawn.in_turn(size):
        runs += 1
        result = run_workload(backend, work)
        if result.violations:
            clause = result.violations[0].clause
            right = run_workload(mutant.as_right().backend(), work)
            if right.violations:
                raise SpecError(
                    f"seed {seed}, workload {example} of profile {profile}: the right engine "
                    f"behind {mutant.name!r} breaks {right.violations[0].clause}, too"
                )
            return Death(mutant.name, seed, clause, profile, example, runs)
    return Death(mutant.name, seed, "", "", 0, runs)


def _promised(mutant: EngineMutant) -> frozenset[str]:
    """The capabilities that a mutant declares: it is asked for nothing else."""
    return frozenset(mutant.backend().capabilities)


@cache
def _of_this_code() -> str:
    """A digest of the package and of the mutants: with other code, all is measured again."""
    digest = hashlib.blake2b(digest_size=8)
    sources = [*(ROOT / "src" / "cellspec").rglob("*.py"), *Path(__file__).parent.glob("*.py")]
    for path in sorted(path for path in sources if path != Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _part(names: Sequence[str], seed: int, size: int) -> list[Death]:
    """Mutants with the same capabilities under one seed, whose workloads are drawn once."""
    mutants = [mutant for mutant in ENGINES if mutant.name in names]
    drawn = Drawn(_promised(mutants[0]), seed)
    return [put_to(mutant, seed, size, drawn) for mutant in mutants]


def measure(seeds: int, size: int, keep: Path | None = None) -> list[Death]:
    """Every mutant under seeds 0, 1, …; progress goes to stderr.

    Args:
        seeds: how many.
        size: workloads of each profile.
        keep: a file of deaths, a JSON line each; those that it has are not measured again.
    """
    kept = {} if keep is None else _kept(keep, size)
    parts = []
    for seed in range(seeds):
        for able in sorted(set(map(_promised, ENGINES)), key=sorted):
            names = [
                mutant.name
                for mutant in ENGINES
                if _promised(mutant) == able and (mutant.name, seed) not in kept
            ]
            # A few at a time, so that a run that is stopped loses little.
            parts += [(names[start : start + 24], seed) for start in range(0, len(names), 24)]
    with ProcessPoolExecutor() as pool:
        done = pool.map(_part, *zip(*parts, strict=True), [size] * len(parts)) if parts else ()
        for number, deaths in enumerate(done, 1):
            kept.update({(one.mutant, one.seed): one for one in deaths})
            print(f"\r{number}/{len(parts)} parts", end="", file=sys.stderr, flush=True)
            if keep is not None:
                keep.parent.mkdir(parents=True, exist_ok=True)
                with keep.open("a", encoding="utf-8") as file:
                    file.writelines(_line(one, size) + "\n" for one in deaths)
    return [kept[mutant.name, seed] for mutant in ENGINES for seed in range(seeds)]


def _line(one: Death, size: int) -> str:
    return json.dumps({"code": _of_this_code(), "size": size, **asdict(one)})


def _kept(keep: Path, size: int) -> dict[tuple[str, int], Death]:
    found: dict[tuple[str, int], Death] = {}
    for line in keep.read_text(encoding="utf-8").splitlines() if keep.exists() else ():
        plain = json.loads(line)
        if (plain.pop("code"), plain.pop("size")) == (_of_this_code(), size):
            one = Death(**plain)
            found[one.mutant, one.seed] = one
    return found


# The page


TEXT = """\
# Power

How often does a run of the suite find a bug? Measured by

```sh
make power
```

{count} broken engines of [the matrix](matrix.md) were each put to the workloads that
`cellspec conformance` runs at its default size, {size} of each profile that the engine claims, with
each of {seeds} seeds. *Killed* is the number of seeds in which some workload broke a clause. A
workload's number counts one of each profile in turn. Mutants of what an event costs are left out:
they are judged by fixed shapes, with the same verdict under every seed.

{summary}

## Not in every seed

{tail}

## Every broken engine

*Median* and *worst* are workload numbers, over the seeds in which it died. *Clauses* names each
clause that caught it first, and in how many seeds.

{table}
"""


def page(deaths: Iterable[Death], seeds: int, size: int) -> str:
    """The page, from what was measured."""
    of: dict[str, list[Death]] = {}
    for one in deaths:
        of.setdefault(one.mutant, []).append(one)
    killed = {name: sum(bool(one.clause) for one in mine) for name, mine in of.items()}
    always = sum(died == seeds for died in killed.values())
    seldom = [name for name, died in killed.items() if died < LEAST_SHARE * seeds]
    runs = [one.runs for mine in of.values() for one in mine if one.clause]
    summary = (
        f"Of {len(of)} broken engines {always} died in every seed, and {len(of) - len(seldom)} in "
        f"at least {LEAST_SHARE:.0%} of them. One run with one seed kills "
        f"{sum(killed.values()) / (len(of) * seeds):.2%} of them on average, the median one at "
        f"workload {median(runs):,.0f}."
    )
    return TEXT.format(
        count=len(of),
        size=size,
        seeds=seeds,
        summary=summary,
        tail="\n".join(_tail(of, killed, seeds)),
        table="\n".join(_table(of, killed)),
    )


def _tail(of: dict[str, list[Death]], killed: dict[str, int], seeds: int) -> list[str]:
    names = sorted((name for name in of if killed[name] < seeds), key=lambda name: killed[name])
    if not names:
        return ["None: each died in every seed."]
    lines = ["| broken engine | killed | survived with seed | why |", "| --- | --: | --- | --- |"]
    for name in names:
        seeds_of = ", ".join(str(one.seed) for one in of[name] if not one.clause)
        why = REASONS.get(name, "")
        lines.append(f"| {name} | {killed[name]} of {seeds} | {seeds_of} | {why} |")
    return lines


def _table(of: dict[str, list[Death]], killed: dict[str, int]) -> Iterator[str]:
    yield "| broken engine | killed | median | worst | clauses |"
    yield "| --- | --: | --: | --: | --- |"
    for name, mine in of.items():
        runs = [one.runs for one in mine if one.clause]
        clauses = Counter(one.clause for one in mine if one.clause)
        named = ", ".join(
            f"{clause} {times}"
            for clause, times in sorted(clauses.items(), key=lambda item: (-item[1], item[0]))
        )
        numbers = f"{median(runs):,.0f} | {max(runs):,}" if runs else "– | –"
        yield f"| {name} | {killed[name]} | {numbers} | {named or '–'} |"


def main() -> int:
    """Measure; the exit code is 1 if a mutant dies in too few seeds, without a reason."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix.power", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write specs/power.md")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--size", type=int, default=MAX_EXAMPLES, help="workloads of a profile")
    parser.add_argument("--keep", type=Path, help="go on with what this file has, and add to it")
    args = parser.parse_args()
    deaths = measure(args.seeds, args.size, args.keep)
    print(file=sys.stderr)
    text = page(deaths, args.seeds, args.size)
    if args.write:
        write_files(PAGE.parent, {PAGE.name: text})
    else:
        print(text)
    seldom = too_seldom(deaths, args.seeds)
    for name in sorted(seldom - REASONS.keys()):
        print(f"{name} dies too seldom, without a reason", file=sys.stderr)
    return 1 if seldom - REASONS.keys() else 0


def too_seldom(deaths: Iterable[Death], seeds: int) -> set[str]:
    """The mutants that die in fewer seeds than `LEAST_SHARE` asks for."""
    killed = Counter(one.mutant for one in deaths if one.clause)
    return {mutant.name for mutant in ENGINES if killed[mutant.name] < LEAST_SHARE * seeds}


if __name__ == "__main__":
    sys.exit(main())
