"""The command ``python -m tests.mutation``: mutate modules, and tell what survives."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutation.faults import ROOMS, ROOT, Fault, faults, modules, path_of
from tests.mutation.judging import NEAR, PROFILES, Learned, Tests
from tests.mutation.page import write_page
from tests.mutation.results import FOLDER, Results, argued, digests_of


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
    parser.add_argument("--write", action="store_true", help="write specs/mutation.md from results")
    parser.add_argument(
        "--only", metavar="WORDS", nargs="+", default=(), help="those whose name holds one of these"
    )
    parser.add_argument(
        "--profile", choices=PROFILES, nargs="+", default=PROFILES, help="how hard tests look"
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
    if options.write:
        write_page(results)
        return 0
    if not options.open:
        until = time.monotonic() + 60 * options.minutes
        for profile in options.profile:
            tests = Tests(options.tests, profile, options.jobs, until=until)
            _Round(tests, results).run(found)
    return _tell(found, results, whole=not options.only)


def _holds(fault: Fault, words: Sequence[str]) -> bool:
    return any(word in fault.key for word in words)


class _Round:
    """The mutants that are alive meet the tests in one profile."""

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
            elif not now <= self.results.met(fault, self.tests.profile):
                left.append(fault)
        if not left:
            return
        self.tests.learned = self._learned()
        self.tests.only_again = self.tests.profile != PROFILES[0]
        self.tests.skip = self._has_met
        self.tests.judge([fault for fault in left if fault.in_body], self._found)
        if not self.tests.only_again:
            self.tests.judge_anew([fault for fault in left if not fault.in_body], self._found)

    def _learned(self) -> Learned:
        learned = self.results.learned(self.tests.profile, self.digests)
        if learned is None:
            learned = self.tests.learn()
            self.results.keep_learned(self.tests.profile, self.digests, learned)
        return learned

    def _has_met(self, fault: Fault, test: str) -> bool:
        file = test.split("::")[0]
        met = self.results.met(fault, self.tests.profile)
        return (file, self.digests.get(file, "")) in met

    def _found(self, fault: Fault, test: str | None) -> None:
        self.results.add(fault, self.tests.profile, test, self.digests)
        if test is None and fault.key not in argued().get(fault.module, {}):
            print(f"survives ({self.tests.profile}): {fault.module} {fault.key}", flush=True)


def _tell(chosen: Sequence[Fault], results: Results, *, whole: bool) -> int:
    """Print what is open, and what is argued though a test kills it; the exit code."""
    odd = 0
    for fault in chosen:
        listed = fault.key in argued().get(fault.module, {})
        killer = results.killer(fault)
        if listed and killer:
            print(f"listed, and {killer} kills it: {fault.module} {fault.key}")
            odd += 1
        elif not listed and not killer:
            tried = any(results.met(fault, profile) for profile in PROFILES)
            print(f"{'survives' if tried else 'not tried'}: {fault.module} {fault.key}")
            odd += 1
    if whole:
        names = {(fault.module, fault.key) for fault in chosen}
        for module in {fault.module for fault in chosen}:
            for key in sorted(argued().get(module, {})):
                if (module, key) not in names:
                    print(f"listed, and no mutant has this name: {module} {key}")
                    odd += 1
    return 1 if odd else 0


if __name__ == "__main__":
    sys.exit(main())
