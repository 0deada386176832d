"""``cellspec compare``: is one scenario better than another, and by how much?"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from cellspec.exit_codes import BAD_INPUT, complain
from sim.arguments import add_format, seed
from sim.commands.loading import (
    SCENARIO_HELP,
    add_crash_at,
    add_set,
    load,
    refuse_seed,
    say_missed,
    say_remarks,
    scenario_file,
)
from sim.commands.options import DEFAULT_FIGURE, add_how_many, add_where, stopping
from sim.terminal import note, say_cost

if TYPE_CHECKING:
    from collections.abc import Callable

    from sim.commands.progress import RunProgress
    from sim.experiments.experiment import Experiment
    from sim.experiments.replication import Replication
    from sim.experiments.stopping import Stopping
    from sim.output.compare import Report
    from sim.scenario.scenario import Scenario

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    compare = commands.add_parser(
        "compare",
        help="run two scenarios with the same seeds, and say which is better, and how sure that is",
        description="Run two scenarios, A and B, with the same seeds, and compare their figures "
        "pair by pair: the difference with its interval (95 %), or that no difference is shown. "
        "Without --replications or --precision there are 30 pairs.",
    )
    compare.add_argument("a", metavar="A.yaml", help=SCENARIO_HELP)
    compare.add_argument(
        "b",
        metavar="B.yaml",
        nargs="?",
        help="the other scenario; if it is left out, A with the values of --set-b",
    )
    add_set(compare)
    for letter in "ab":
        add_set(
            compare,
            f"--set-{letter}",
            f"overrides_{letter}",
            f"as --set, for scenario {letter.upper()} alone; it counts after --set; repeatable",
        )
    compare.add_argument(
        "--seed", metavar="N", type=seed, default=0, help="the seed of the first pair (default: 0)"
    )
    add_crash_at(compare, "one more crash than the scenarios have, in every run of both")
    add_how_many(compare, "A's mean", "pairs of runs")
    compare.add_argument(
        "--independent",
        action="store_true",
        help="give B other seeds than A, from 1,000,000 on (and --seed more): nothing is common to "
        "the runs of a pair",
    )
    add_where(compare)
    add_format(
        compare,
        "table",
        csv=True,
        about="the table shows the figures that decide most, json and csv all",
    )
    compare.add_argument(
        "--out",
        metavar="DIR",
        help="also write a.yaml, b.yaml, manifest.json, comparison.json, comparison.csv and "
        "runs.csv (every run) into this folder, each whole or not at all",
    )
    compare.set_defaults(command=_compare, prog=compare.prog)


def _compare(args: argparse.Namespace) -> int:
    from cellspec.errors import SpecError
    from cellspec.files import check_apart, path_of
    from sim.output.compare import OUT_FILES, files_of_compare, render_compare
    from sim.targets import check_targets, put_result

    rule = _rule(args)
    refuse_seed({"--set": args.overrides, **dict(_sets(args))})
    if args.b is None and not (args.overrides_a or args.overrides_b):
        raise SpecError(
            f"{args.a}: expected a second scenario to compare it with, or --set-b FIELD=VALUE for "
            "what differs in B"
        )
    given = args.a, args.a if args.b is None else args.b
    files = [scenario_file(one) for one in given]
    folder = None if args.out is None else path_of(args.out)
    outputs = [] if folder is None else [folder / name for name in OUT_FILES]
    for file in files:
        check_targets(file, *outputs)
    labels = [_label(one, sets) for one, (_, sets) in zip(given, _sets(args), strict=True)]
    try:
        a, b = (
            load(
                file,
                {"--set": args.overrides, option: sets},
                prog=args.prog,
                seed=args.seed,
                crashes=args.crashes,
            )
            for file, (option, sets) in zip(files, _sets(args), strict=True)
        )
        for scenario in (a, b):
            check_apart(outputs, list(scenario.files().values()))
        _say_remarks(files, [a, b])
        report, made = _run(args, rule, labels, a, b)
        for label, runs in zip(labels, made.runs, strict=True):
            say_missed(label, runs, f"of `{args.prog.replace('compare', 'run')}` alone says why")
        text = render_compare(report, args.format)
        contents = {} if folder is None else files_of_compare(report, a, b, made, folder)
    except MemoryError:
        return complain(f"error: {' or '.join(files)}: rows: no memory is left", BAD_INPUT)
    return put_result(text, [] if folder is None else [(folder, contents)])


def _rule(args: argparse.Namespace) -> Stopping:
    """When there are enough pairs; it takes two for an interval.

    Raises:
        SpecError: an option cannot be used.
    """
    from cellspec.errors import SpecError
    from sim.experiments.compared import INDEPENDENT_SEED, PAIRS

    rule = stopping(args, PAIRS)
    assert rule is not None
    most = INDEPENDENT_SEED if args.independent else None
    for option, number in (("--replications", args.replications), ("--most", args.most)):
        if number == 1:
            raise SpecError(f"{option}: expected at least 2 pairs of runs, got 1")
        if number is not None and most is not None and number > most:
            raise SpecError(
                f"{option}: expected at most {most:,} with --independent, got {number:,}: A would "
                "come to the seeds of B"
            )
    return rule


def _sets(args: argparse.Namespace) -> list[tuple[str, list[str]]]:
    """By scenario the option for it alone, and its texts."""
    return [("--set-a", args.overrides_a), ("--set-b", args.overrides_b)]


def _label(given: str, sets: list[str]) -> str:
    """How a scenario is named: as it was given, with what is set in it alone."""
    return ", ".join([given, *sets])


def _say_remarks(files: list[str], scenarios: list[Scenario]) -> None:
    """Remarks on both scenarios, as notes; what is said of both is said once."""
    from sim.scenario.remarks import kept_seeds, remarks

    seen: set[str] = set()
    for file, scenario in zip(files, scenarios, strict=True):
        runs = scenario.pipelines()
        said = [[one for one in remarks(run) if one not in seen] for run in runs]
        say_remarks(file, runs, said)
        for kept in kept_seeds(scenario):
            if kept not in seen:
                note(f"note: {file}: {kept}")
        seen.update(*said, kept_seeds(scenario))


def _run(
    args: argparse.Namespace, rule: Stopping, names: list[str], a: Scenario, b: Scenario
) -> tuple[Report, Experiment]:
    """Make the runs, with progress on a terminal, and compare them.

    Args:
        args: the command line.
        rule: when there are enough pairs.
        names: of the scenarios, as the user gave them.
        a, b: the scenarios.

    Raises:
        SpecError, MissingExtraError, Violation: as of `sim.experiments.compared.compare`.
    """
    from sim.commands.progress import begin_again, run_progress, runs_ahead
    from sim.experiments.compared import compare
    from sim.experiments.stopping import Precision
    from sim.output.compare import Report

    figure = args.figure or DEFAULT_FIGURE
    start = time.perf_counter()
    with run_progress(
        2 * runs_ahead(rule),
        about=isinstance(rule, Precision),
        go_on=lambda made: begin_again(rule, made // 2),
    ) as progress:
        found, made = compare(
            a,
            b,
            rule,
            figure=figure,
            first_seed=args.seed,
            independent=args.independent,
            jobs=args.jobs,
            cluster=args.backend,
            checked=args.checked,
            files=names,
            on_run=_watching(progress, figure, rule),
        )
    say_cost("runs", 2 * found.pairs, time.perf_counter() - start)
    wished = rule if isinstance(rule, Precision) else None
    return Report(found, names[0], names[1], figure, wished), made


def _watching(
    progress: RunProgress, figure: str, rule: Stopping
) -> Callable[[int, Replication], None]:
    """What counts a run, and shows how sure the difference is so far."""
    from sim.commands.progress import show_interval
    from sim.experiments.compared import as_share, compared
    from sim.experiments.replication import Replication

    runs: tuple[list[Replication], list[Replication]] = ([], [])

    def on_run(place: int, run: Replication) -> None:
        progress.done(place, run)
        # A figure is worked out of what it takes alone: a run has a hundred of them.
        named = {name: run.figures[name] for name in (figure, "checked") if name in run.figures}
        runs[place].append(Replication(run.seed, named))
        pairs = min(map(len, runs))
        if not progress.is_due or pairs < 2 or place == 0:
            return
        # Of a pipeline that is alone in A or in B the figure has another name there.
        if any(figure not in one[0].figures for one in runs):
            return
        found = as_share(compared(runs[0][:pairs], runs[1][:pairs], only=figure).of(figure))
        show_interval(progress, found, rule, f"{figure} {{}} of A", each=2)

    return on_run
