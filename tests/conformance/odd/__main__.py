"""The long campaign of the odd engines: every profile of every adapter, in the suite's usual size.

``python -m tests.conformance.odd [--max-examples N] [--seed N] [--first] [NAME …]``
prints a line for each adapter and profile, and each violation with the case that replays it. A
violation is a false alarm until the documents say that the engine is wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from cellspec.conformance.campaign.options import MAX_EXAMPLES, Options
from cellspec.conformance.campaign.suite import Suite
from cellspec.conformance.judge.verdict import Verdict
from cellspec.errors import SpecError
from tests.conformance.odd.adapters import ADAPTERS


def main(arguments: list[str]) -> int:
    """Run the campaigns; 1 if a clause broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.odd")
    parser.add_argument("names", nargs="*", choices=[*ADAPTERS, []], metavar="NAME")
    parser.add_argument("--max-examples", type=int, default=MAX_EXAMPLES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", action="store_true")
    parser.add_argument("--profile", default="all")
    parser.add_argument("--cases", type=Path, default=Path(".cellspec/odd"))
    asked = parser.parse_args(arguments)
    os.fsync = lambda _: None  # type: ignore[assignment]  # No machine dies here.
    failed = False
    for name in asked.names or ADAPTERS:
        failed |= judged(name, asked)
    return int(failed)


def judged(name: str, asked: argparse.Namespace) -> bool:
    """Judge one adapter; True if a clause broke."""
    options = Options(
        ADAPTERS[name],
        Path.cwd(),
        asked.profile,
        max_examples=asked.max_examples,
        seed=asked.seed,
        first=asked.first,
        cases=asked.cases / name,
    )
    try:
        suite = Suite.of(options)
    except SpecError as error:
        print(f"{name}: {error}", flush=True)
        return True
    if suite.smoke is not None:
        print(f"{name}: smoke: {suite.smoke}", flush=True)
        return True
    for profile in suite.profiles:
        began = time.process_time()
        campaign = suite.campaign(profile)
        if campaign is not None:
            spent = time.process_time() - began
            print(f"{name}  {profile.name}: {spent:.0f} s", flush=True)
    for root in suite.roots:
        failure = root.failure
        print(f"  {failure.name} broken; case {suite.saved.get(failure.name)}", flush=True)
        print("\n".join(f"    {line}" for line in failure.explanation), flush=True)
    for item in suite.errors.items():
        print(f"  {item}", flush=True)
    verdicts = {clause.number: result for _, clause, result in suite.judgements()}
    open_ones: dict[str, list[str]] = {}
    for number, result in verdicts.items():
        if result.verdict is Verdict.INCONCLUSIVE:
            open_ones.setdefault(result.reason, []).append(number)
    for reason, numbers in open_ones.items():
        print(f"  inconclusive ({reason}): {', '.join(numbers)}", flush=True)
    passed = sum(result.verdict is Verdict.PASS for result in verdicts.values())
    print(f"{name}: {passed} clauses pass", flush=True)
    return bool(suite.failures) or bool(suite.errors)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
