"""``python -m tests.recompute``: print whether every figure follows from its trace.

Exit code 0 if no figure of any scenario differs (and, from 10,000 scenarios on, each pair of
features was seen 50 times), 1 if one does: then the scenario, as YAML that ``python -m sim run``
takes, and each figure with both values.
"""

from __future__ import annotations

import argparse
import sys
import time

import yaml

from tests.recompute.comparison import Comparison, compare
from tests.recompute.features import APART, FEATURES

ALL, LEAST = 10_000, 50
"""From so many scenarios on, each pair of features must be seen so often."""


def main() -> int:
    """Compare, print, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.recompute", description=__doc__)
    parser.add_argument("--scenarios", type=int, default=ALL, help=f"how many (default: {ALL})")
    parser.add_argument("--first", type=int, default=0, help="number of the first (default: 0)")
    parser.add_argument("--seed", type=int, default=0, help="of the scenarios (default: 0)")
    args = parser.parse_args()
    start = time.perf_counter()
    numbers = range(args.first, args.first + args.scenarios)
    found = compare(numbers, seed=args.seed, progress=_progress)
    text, right = report(found)
    print(text)
    print(f"{time.perf_counter() - start:.0f} seconds")
    return 0 if right else 1


def _progress(number: int) -> None:
    if sys.stderr.isatty() and number % 100 == 0:
        print(f"\r{number:,}", end="", file=sys.stderr)


def report(found: Comparison) -> tuple[str, bool]:
    """What is printed, and whether all is as it must be."""
    coverage, lines = found.coverage, []
    for data, wrong in found.wrong:
        lines += [yaml.safe_dump(data, sort_keys=False, width=100), *wrong, ""]
    lines.append(f"{coverage.scenarios:,} scenarios, {found.events:,} events")
    counts = coverage.counts()
    least = min(counts, key=lambda pair: (counts[pair], sorted(pair)))
    first, second = sorted(least)
    lines.append(
        f"{len(FEATURES)} features, {len(counts):,} pairs ({len(APART)} more exclude each other); "
        f"the rarest, {first!r} with {second!r}, {counts[least]:,} times"
    )
    right = not found.wrong
    if coverage.scenarios >= ALL and counts[least] < LEAST:
        lines += [
            f"too rare: {' with '.join(sorted(pair))}, {n} times"
            for pair, n in counts.items()
            if n < LEAST
        ]
        right = False
    for pair in coverage.contradictions():
        lines.append(f"seen together: {' and '.join(sorted(pair))}, yet said to exclude each other")
        right = False
    differing = sum(len(wrong) for _, wrong in found.wrong)
    lines.append(f"{found.figures:,} figures compared, {differing} differences")
    return "\n".join(lines), right


if __name__ == "__main__":
    sys.exit(main())
