"""``cellspec sweep``: many points of a scenario, each run with seed after seed, in a folder."""

from __future__ import annotations

import argparse
import shlex
import time
from typing import TYPE_CHECKING, Any

from cellspec.exit_codes import BAD_INPUT, FINE, VIOLATED, complain, put
from cellspec.text import be, counted, listed_names
from sim.arguments import add_format, shard
from sim.commands.loading import memory
from sim.commands.options import DEFAULT_FIGURE, add_where
from sim.commands.progress import run_progress
from sim.terminal import note, say_cost

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from sim.commands.progress import RunProgress
    from sim.experiments.sweep.derived import PointRuns
    from sim.experiments.sweep.plan import Run, Runs
    from sim.experiments.sweep.points import Point, Sweep
    from sim.experiments.sweep.spec import SweepSpec
    from sim.experiments.sweep.store import SweepFolder

__all__ = ["add_parser"]

_COMPLAINTS = 10
"""Points whose errors are said; the files name all of them."""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    sweep = commands.add_parser(
        "sweep",
        help="run many points of a scenario, each with many seeds",
        description="Run the points of a sweep file, each with seed after seed, and print a figure "
        "of each with its interval. The folder keeps every run as soon as it is made: the same "
        "command again makes what is missing. simulations/sweeps.md says what a sweep file holds.",
    )
    sweep.add_argument(
        "sweep",
        metavar="SWEEP.yaml",
        nargs="?",
        help="the sweep file; or the name of one that `cellspec examples` lists",
    )
    sweep.add_argument(
        "--out",
        metavar="DIR",
        help="the folder of the sweep: manifest.json, points.jsonl, runs/, runs.csv, summary.csv",
    )
    sweep.add_argument(
        "--shard",
        metavar="I/N",
        type=shard,
        default=(1, 1),
        help="make only part I of N of the runs, as in 2/4; parts may be made at the same time, in "
        "one folder or in several",
    )
    sweep.add_argument(
        "--merge",
        metavar="DIR",
        nargs="+",
        help="instead of a sweep file: join the folders of shards in --out",
    )
    sweep.add_argument(
        "--dry-run",
        action="store_true",
        help="list the points, and how many runs each has and lacks; nothing is run or written",
    )
    add_where(sweep)
    sweep.add_argument(
        "--figure",
        metavar="NAME",
        help="the figure to print, named as by run --format csv (default: that of precision or "
        f"ladder in the sweep file, or else {DEFAULT_FIGURE}); summary.csv has all of them",
    )
    add_format(sweep, "table", csv=True)
    sweep.add_argument(
        "--parquet",
        action="store_true",
        help="also write runs.parquet and summary.parquet; needs the extra cellspec[parquet]",
    )
    sweep.set_defaults(command=_sweep, prog=sweep.prog)


def _sweep(args: argparse.Namespace) -> int:
    from cellspec.errors import SpecError

    if (args.sweep is None) == (args.merge is None):
        raise SpecError(
            f"expected a sweep file, or --merge and the folders to join (see {args.prog} --help)"
        )
    if args.out is None and not args.dry_run:
        raise SpecError("--out: expected the folder that keeps the runs")
    if not args.dry_run:
        _need_extras(args)
    return _merge(args) if args.sweep is None else _run(args)


def _need_extras(args: argparse.Namespace) -> None:
    """Refuse what cannot be finished before hours of runs.

    Raises:
        MissingExtraError: an optional dependency is absent.
    """
    from sim.experiments.intervals import mean_of
    from sim.experiments.sweep.derived import parquet_bytes

    mean_of([0.0, 1.0])
    if args.parquet:
        parquet_bytes([], [])


def _run(args: argparse.Namespace) -> int:
    from sim.experiments.sweep.plan import Shard
    from sim.experiments.sweep.points import load_sweep
    from sim.experiments.sweep.runner import make_missing
    from sim.experiments.sweep.store import SweepFolder, manifest_of

    sweep = load_sweep(_file(args.sweep), memory=memory())
    if sweep.repeated:
        note(f"note: {args.sweep}: {_repeated(sweep.repeated)}")
    if sweep.narrowed:
        note(f"note: {args.sweep}: {_narrowed(sweep.narrowed)}")
    for remark in sweep.kept_seeds:
        note(f"note: {args.sweep}: {remark}")
    manifest = manifest_of(sweep, checked=args.checked)
    if args.dry_run:
        return _show_points(args, sweep, manifest)
    folder = SweepFolder(args.out)
    part = Shard(*args.shard)
    folder.begin(manifest, sweep.points, part.name())
    start = time.perf_counter()
    with run_progress(go_on=f"they are kept; to go on: {_again(args)}") as progress:

        def expect(known: int) -> None:
            progress.expect(known, about=sweep.spec.is_adaptive)

        make_missing(
            sweep,
            folder,
            shard=part,
            jobs=args.jobs,
            cluster=args.backend,
            checked=args.checked,
            figures=[] if args.figure is None else [("--figure", args.figure)],
            on_run=progress.done,
            on_round=expect,
            on_point=_watching(progress, args.figure or _default_figure(sweep.spec)),
        )
    if progress.made:
        say_cost("runs", progress.made, time.perf_counter() - start)
    return _finish(args, folder, str(args.sweep))


def _watching(progress: RunProgress, figure: str) -> Callable[[str, Mapping[int, Run]], None]:
    """What is done when a point has a run more: the widest interval of all points is shown."""
    from sim.experiments.intervals import mean_of
    from sim.experiments.sweep.plan import values_of
    from sim.output.uncertain import significant

    changed: dict[str, Mapping[int, Run]] = {}
    widths: dict[str, float] = {}

    def on_point(digest: str, runs: Mapping[int, Run]) -> None:
        changed[digest] = runs
        if not progress.is_due:
            return
        for one, there in changed.items():
            values = values_of(there, max(there) + 1, figure)
            width = mean_of(values).relative if values else None
            if width is not None:
                widths[one] = width
        changed.clear()
        if widths:
            widest = significant(100 * max(widths.values()), 2)
            progress.say(f"{figure} ± {widest} %{' at the widest' * (len(widths) > 1)}")

    return on_point


def _file(given: str) -> Path:
    """The sweep file that the command line names: a path, or the name of an example."""
    from pathlib import Path

    from sim.examples import SWEEPS, example_path, is_path

    return Path(given) if is_path(given) else example_path(given, SWEEPS)


def _again(args: argparse.Namespace) -> str:
    """The command that goes on."""
    words = [*args.prog.split(), args.sweep, "--out", args.out]
    if args.shard != (1, 1):
        words += ["--shard", "/".join(map(str, args.shard))]
    words += ["--jobs", str(args.jobs)] if args.jobs != 1 else []
    words += ["--backend", args.backend] if args.backend != "loky" else []
    words += [] if args.checked else ["--no-check"]
    words += ["--figure", args.figure] if args.figure is not None else []
    words += ["--format", args.format] if args.format != "table" else []
    words += ["--parquet"] if args.parquet else []
    return shlex.join(words)


def _repeated(count: int) -> str:
    draws = counted(count, "draw")
    return f"random: {draws} gave a point that was drawn before, and {be(count)} left out"


def _narrowed(narrowed: Mapping[int, Sequence[str]]) -> str:
    names = list(dict.fromkeys(name for columns in narrowed.values() for name in columns))
    return (
        f"barrier_scope: in {counted(len(narrowed), 'point')} a batch is read at a time by "
        f"{listed_names(names)}, and not all rows as declared: the result may be another one"
    )


def _show_points(args: argparse.Namespace, sweep: Sweep, manifest: Mapping[str, Any]) -> int:
    """List the points of a sweep, and which runs of a shard its folder lacks."""
    from collections import Counter

    from sim.experiments.sweep.derived import point_runs
    from sim.experiments.sweep.plan import Shard, missing
    from sim.experiments.sweep.store import SweepFolder
    from sim.output.sweep import render_points

    runs: Mapping[str, Any] = {}
    folder = None if args.out is None else SweepFolder(args.out)
    if folder is not None and folder.is_begun:
        folder.check(manifest, sweep.points)
        runs = folder.runs()
    points = point_runs(sweep.spec, sweep.points, runs)
    lacking = missing(sweep.spec, sweep.points, runs, Shard(*args.shard))
    put(render_points(sweep.spec, points, Counter(digest for digest, _ in lacking)))
    return _code(points, args.sweep)


def _merge(args: argparse.Namespace) -> int:
    from sim.experiments.sweep.merge import merge
    from sim.experiments.sweep.store import SweepFolder

    target = SweepFolder(args.out)
    added = merge([SweepFolder(one) for one in args.merge], target)
    note(f"{counted(added, 'run')} added to {args.out}")
    return _finish(args, target, args.out)


def _finish(args: argparse.Namespace, folder: SweepFolder, name: str) -> int:
    """Write the files that follow from the runs, and print the points."""
    from sim.experiments.deciding import check_figure
    from sim.experiments.sweep.derived import derived_files, ladder_ends, point_runs
    from sim.experiments.sweep.plan import missing
    from sim.output.sweep import render_sweep

    read: list[tuple[SweepSpec, list[Point], Runs]] = []

    def contents() -> dict[str, str | bytes]:
        # All of it while no other process writes, for one may have begun with more points by now.
        spec, points = folder.whole()
        read.append((spec, points, folder.runs()))
        return derived_files(spec, point_runs(*read[0]), parquet=args.parquet)

    folder.write(contents)
    spec, points, runs = read[0]
    made = point_runs(spec, points, runs)
    figure = args.figure or _default_figure(spec)
    good = next((run for one in made for run in one.good.values()), None)
    if good is not None:
        check_figure(figure, good.figures)
    ends = ladder_ends(spec, points, runs)
    title = folder.manifest()["name"]
    put(render_sweep(title, spec, made, ends, figure=figure, form=args.format))
    lacking = len(missing(spec, points, runs))
    if lacking and args.merge is not None:
        note(
            f"note: {counted(lacking, 'run')} of the sweep {be(lacking)} missing: the sweep file "
            f"with --out {args.out} makes {'it' if lacking == 1 else 'them'}"
        )
    return _code(made, name)


def _default_figure(spec: SweepSpec) -> str:
    return next((figure for _, figure in spec.asked_figures()), DEFAULT_FIGURE)


def _code(points: Sequence[PointRuns], name: str) -> int:
    """Say which points cannot be run, and give the exit code."""
    code = FINE
    failed = [one for one in points if one.error is not None]
    for place, one in enumerate(failed):
        mine = VIOLATED if one.violated else BAD_INPUT
        code = VIOLATED if VIOLATED in (code, mine) else BAD_INPUT
        if place < _COMPLAINTS:
            point = f"point {one.point.number} ({one.point.words()})"
            complain(f"error: {name}: {point}: {one.error}", mine)
    if len(failed) > _COMPLAINTS:
        more = len(failed) - _COMPLAINTS
        complain(f"error: {name}: {counted(more, 'more point')} cannot be run", code)
    return code
