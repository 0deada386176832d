"""``python -m simulations.barriers``: run the options A to D, and write what came of it."""

from __future__ import annotations

import argparse
import sys

from cellspec.exit_codes import BAD_INPUT, FINE, complain, run_command
from cellspec.progress_line import progress_line
from sim.experiments.replication import Replication
from simulations.barriers import campaign
from simulations.barriers.page import FIGURE, PAGE, Results, figure, page
from simulations.barriers.pipelines import GRAPHS, read_pipelines


def main() -> int:
    """Run, unless only the page is wanted, and write runs, page and figure."""
    parser = argparse.ArgumentParser(prog="python -m simulations.barriers", description=__doc__)
    parser.add_argument("--page", action="store_true", help="only write page and figure again")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once (default: 2)")
    args = parser.parse_args()
    if not GRAPHS.is_file():
        return complain(f"error: there is no {GRAPHS}", BAD_INPUT)
    pipelines = read_pipelines()
    if not args.page:
        wanted = campaign.points(pipelines)
        line, done = progress_line(), 0

        def show(_place: int, _run: Replication) -> None:
            nonlocal done
            done += 1
            if line is not None and line.is_due:
                line.show(f"{done:,} of {len(wanted) * campaign.SEEDS:,} runs")

        runs = campaign.made(pipelines, wanted, jobs=args.jobs, on_run=show)
        if line is not None:
            line.clear()
        campaign.RUNS.write_text(campaign.as_csv(runs), encoding="utf-8")
    results = Results(pipelines, campaign.from_csv(campaign.RUNS.read_text(encoding="utf-8")))
    PAGE.write_text("\n\n".join(page(results)) + "\n", encoding="utf-8")
    FIGURE.write_text(figure(results), encoding="utf-8")
    return FINE


if __name__ == "__main__":
    sys.exit(run_command(main))
