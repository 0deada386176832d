"""``cellspec fuzz``: one engine on large random workloads."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from cellspec.exit_codes import FINE, INCONCLUSIVE, VIOLATED, put
from cellspec.parallel import CLUSTERS
from cellspec.progress_line import progress_line
from sim.arguments import add_format, count, seconds, seed
from sim.terminal import note, say_cost

if TYPE_CHECKING:
    from cellspec.fuzz.account import Account

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    fuzz = commands.add_parser(
        "fuzz",
        help="run an engine on large random workloads, until nothing new comes up",
        description="Run an engine on random workloads of hundreds of rows and tens of columns, "
        "with failures, crashes and resumes, under several kinds of schedules. Stops when a clause "
        "breaks, when the budget is spent, or when nothing new has come up for a while.",
    )
    fuzz.add_argument(
        "--backend",
        metavar="BACKEND",
        default="cellspec.engines.reference:ReferenceBackend",
        help="the engine: a name that `cellspec backends` lists, or module:attribute (default: the "
        "reference engine)",
    )
    fuzz.add_argument("--seed", metavar="N", type=seed, default=0, help="default: 0")
    fuzz.add_argument("--examples", metavar="N", type=count, help="runs at most")
    fuzz.add_argument(
        "--time", metavar="SECONDS", dest="seconds", type=seconds, help="wall seconds at most"
    )
    fuzz.add_argument(
        "--plateau",
        metavar="N",
        type=count,
        default=400,
        help="stop after so many runs without anything new (default: 400)",
    )
    fuzz.add_argument(
        "--methods",
        metavar="NAMES",
        help="how runs are scheduled, with commas between (default: latency,random,pct,targeted)",
    )
    fuzz.add_argument(
        "--jobs", metavar="N", type=count, default=1, help="batches at once (default: 1)"
    )
    fuzz.add_argument(
        "--cluster",
        choices=CLUSTERS,
        help="where the jobs run: processes here, a Dask or a Ray cluster (default: loky)",
    )
    fuzz.add_argument("--corpus", metavar="DIR", help="keep workloads that showed something new")
    fuzz.add_argument(
        "--case", metavar="FILE", default="fuzz-case.json", help="where a failure is written"
    )
    add_format(fuzz, "text")
    fuzz.set_defaults(command=_fuzz)


def _fuzz(args: argparse.Namespace) -> int:
    from pathlib import Path

    from cellspec.files import check_folder, check_target, path_of, write_files
    from cellspec.fuzz.options import METHODS, Options, methods_of
    from cellspec.fuzz.search import search
    from sim.output.fuzz import render_json, render_text
    from sim.output.replay import replay_line

    methods = METHODS if args.methods is None else methods_of(args.methods.split(","))

    line = progress_line(every_s=0.0)

    def show(done: Account) -> None:
        if line is not None:
            line.show(f"{done.total:,} runs, {len(done.pairs):,} pairs, last new {done.last_new:,}")

    if args.jobs == 1 and args.cluster is not None:
        note(f"note: --cluster {args.cluster} does nothing without --jobs of 2 or more")
    case = path_of(args.case)
    start = time.perf_counter()
    check_target(case)
    if args.corpus is not None:
        check_folder(args.corpus)
    done = search(
        Options(
            backend=args.backend,
            folder=Path.cwd(),
            seed=args.seed,
            methods=methods,
            examples=args.examples,
            seconds=args.seconds,
            plateau=args.plateau,
            jobs=args.jobs,
            cluster=args.cluster or "loky",
            corpus=None if args.corpus is None else Path(args.corpus),
        ),
        show,
    )
    if line is not None:
        line.clear()
    if done.case is not None:
        write_files(case.parent, {case.name: done.case.to_json()})
    say_cost("events", done.events, time.perf_counter() - start)
    if args.format == "json":
        put(render_json(done))
    else:
        put(render_text(done, again=replay_line(str(case), args.backend)))
    if done.case is not None:
        return VIOLATED
    return FINE if done.total else INCONCLUSIVE
