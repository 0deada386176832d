"""What an event of a campaign costs against another revision of this project.

    git worktree add ../before REVISION
    python -m tests.benchmarks.campaigns ../before

Both sources run the same profiles on their reference engines, one after the other, in processes of
their own; of several turns the cheapest counts. Each draws its own workloads, and the time holds
drawing, running, judging and counting coverage: the CPU time of a campaign by its events.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.timing import ROOT

PROFILES = ("core", "skips", "groups", "drops", "retries", "resume")
TURNS = 3


def event_cost(profile: str, workloads: int) -> float:
    """The CPU time of a campaign of the reference engine by its events, in microseconds."""
    from cellspec.conformance.campaign.options import Options
    from cellspec.conformance.campaign.suite import Suite

    with tempfile.TemporaryDirectory() as folder:
        options = Options(
            backend="reference",
            folder=Path(folder),
            cases=Path(folder),
            profiles=profile,
            max_examples=workloads,
            seed=0,
        )
        suite = Suite.of(options)
        mine = next(one for one in suite.profiles if one.name == profile)
        began_s = time.process_time()
        campaign = suite.campaign(mine)
        assert campaign is not None
        return (time.process_time() - began_s) / campaign.evidence.events * 1e6


def _of_checkout(checkout: Path, profile: str, workloads: int) -> float:
    """`event_cost` of the source in a checkout, by this file."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.campaigns", "--part", profile, str(workloads)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{checkout / 'src'}:{ROOT}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(json.loads(done.stdout))


def main() -> None:
    """Print, for each profile, the cost of an event there and here, and the ratio."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.campaigns")
    parser.add_argument("checkout", type=Path, nargs="?", help="a checkout of another revision")
    parser.add_argument("--workloads", type=int, default=60)
    parser.add_argument("--part", nargs=2, metavar=("PROFILE", "N"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(event_cost(options.part[0], int(options.part[1]))))
        return
    if options.checkout is None or not (options.checkout / "src" / "cellspec").is_dir():
        parser.error("expected the folder of a checkout, with src/cellspec in it")
    print(f"{'profile':10s} {'there':>8s} {'here':>8s}  microseconds an event, and the ratio")
    checkouts = options.checkout.resolve(), ROOT
    for profile in PROFILES:
        turns = [
            [_of_checkout(checkout, profile, options.workloads) for checkout in checkouts]
            for _ in range(TURNS)
        ]
        there, here = map(min, zip(*turns, strict=True))
        print(f"{profile:10s} {there:8.0f} {here:8.0f}  {here / there:.2f}")


if __name__ == "__main__":
    main()
