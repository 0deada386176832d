"""The command ``python -m tests.mutation``: mutate modules, and tell what survives."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from tests.mutation.faults import ROOMS, ROOT, Fault, faults, modules, path_of
from tests.mutation.judging import NEAR, ROUNDS, Learned, Round, Tests
from tests.mutation.page import write_page
from tests.mutation.results import FOLDER, KINDS, Results, argued, digests_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Mutate modules, and tell what survives."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation", description="What do the tests let through?"
    )
    parser.add_argument(
        "modules", nargs="*", default=ROOMS, help="rooms, or modules such as state.checkpoint"
    )
    parser.add_argument("--list", action="store_true", help="list the mutants, and run nothing")
    parser.add_argument("--open", action="store_true", help="list what survives and is not argued")
    parser.add_argument("--write", action="store_true", help="write specs/mutation.md at the end")
    parser.add_argument(
        "--only", metavar="WORDS", nargs="+", default=(), help="those whose name holds one of these"
    )
    parser.add_argument(
        "--rounds",
        metavar="ROUND",
        choices=[one.name for one in ROUNDS],
        nargs="+",
        default=[one.name for one in ROUNDS],
        help="first, second, third, quick, full: how hard the tests look (default: all in turn)",
    )
    parser.add_argument(
        "--tests", metavar="NAME", nargs="+", default=NEAR, help="files and folders of tests/"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes at once (default: 1)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--keep", metavar="FOLDER", type=Path, default=FOLDER, help="results")
    options = parser.parse_args(arguments)
    os.chdir(ROOT)
    chosen = modules(options.modules)
    if missing := [module for module in chosen if not path_of(module).is_file()]:
        parser.error(f"no such module: {', '.join(missing)}")
    found = [fault for module in chosen for fault in faults(module)]
    found = [fault for fault in found if not options.only or _holds(fault, options.only)]
    results = Results(options.keep)
    if options.list:
        print(*(f"{fault.module} {fault.key}" for fault in found), sep="\n")
        return 0
    if not options.open:
        until = time.monotonic() + 60 * options.minutes
        rounds = [one for one in ROUNDS if one.name in options.rounds]
        for _, together in groupby(rounds, key=lambda one: one.profile):
            tests = Tests(options.tests, list(together), options.jobs, until=until)
            _Campaign(tests, results).run(found)
    if options.write:
        write_page(results)
    return _tell(found, results, every=options.open)


def _holds(fault: Fault, words: Sequence[str]) -> bool:
    return any(word in fault.key for word in words)


class _Campaign:
    """Rounds of one profile: the mutants that are alive meet the tests."""

    def __init__(self, tests: Tests, results: Results) -> None:
        self.tests, self.results = tests, results
        self.digests = digests_of(tests.names)

    def run(self, chosen: Sequence[Fault]) -> None:
        """Go through them, and keep what becomes of each."""
        now, left = set(self.digests.items()), []
        for fault in chosen:
            killer = self.results.killer(fault)
            if killer is not None:
                self.tests.note(fault, killer)
            elif any(not now <= self.results.met(fault, one.name) for one in self.tests.rounds):
                left.append(fault)
        if not left or time.monotonic() > self.tests.until:
            return
        self.tests.learned = self._learned()
        self.tests.has_met = self._has_met
        self.tests.judge([fault for fault in left if fault.in_body], self._found)
        if ROUNDS[0] in self.tests.rounds:
            self.tests.judge_anew([fault for fault in left if not fault.in_body], self._found)

    def _learned(self) -> Learned:
        learned = self.results.learned(self.digests)
        if missing := sorted(self.digests.keys() - learned.files):
            new = self.tests.learn(missing)
            for file in missing:
                learned.add(file, new.of(file))
            self.results.keep_learned(self.digests, learned)
        return learned

    def _has_met(self, fault: Fault, file: str, one: Round) -> bool:
        return (file, self.digests.get(file, "")) in self.results.met(fault, one.name)

    def _found(self, fault: Fault, round_name: str, test: str | None) -> None:
        self.results.add(fault, round_name, test, self.digests)
        if test is None and fault.key not in argued().get(fault.module, {}):
            print(f"survives ({round_name}): {fault.module} {fault.key}", flush=True)


def _tell(chosen: Sequence[Fault], results: Results, *, every: bool) -> int:
    """Print what became of mutants, by module, and what the list says wrongly; the exit code."""
    odd = 0
    for module in dict.fromkeys(fault.module for fault in chosen):
        here = [fault for fault in chosen if fault.module == module]
        became = Counter(results.became(fault) for fault in here)
        words = ", ".join(f"{became[kind]} {kind}" for kind in KINDS)
        print(f"{module}: {len(here)} mutants, {words}")
        odd += len(here) - became["killed"] - became["argued"]
        for fault in here:
            killer = results.killer(fault)
            if every and results.became(fault) == "open":
                print(f"  {fault.key}")
            if killer and fault.key in argued().get(module, {}):
                print(f"  listed, and {killer} kills it: {fault.key}")
                odd += 1
    return 1 if odd else 0


if __name__ == "__main__":
    sys.exit(main())
