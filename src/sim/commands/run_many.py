"""``cellspec run --replications`` and ``--precision``: many runs of a scenario, seed after seed."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cellspec.errors import SpecError
from cellspec.exit_codes import BAD_INPUT, complain
from sim.commands.loading import load, refuse_seed, say_missed, say_remarks, scenario_file
from sim.commands.options import DEFAULT_FIGURE, stopping
from sim.commands.progress import (
    RunProgress,
    begin_again,
    run_progress,
    runs_ahead,
    show_interval,
)
from sim.terminal import note, say_cost

if TYPE_CHECKING:
    from sim.experiments.replicated import Replicated
    from sim.experiments.replication import Replication
    from sim.experiments.stopping import Stopping
    from sim.scenario.scenario import Scenario

__all__ = ["rule_of", "run_many"]


def rule_of(args: argparse.Namespace) -> Stopping | None:
    """How many runs the command line asks for; None for one run, as without the options.

    Raises:
        SpecError: an option has nothing to act on.
    """
    rule = stopping(args)
    if rule is None:
        for option, is_given in (
            ("--figure", args.figure is not None),
            ("--jobs", args.jobs != 1),
            ("--backend", args.backend != "loky"),
        ):
            if is_given:
                raise SpecError(
                    f"{option}: it is about several runs; give --replications or --precision too"
                )
    else:
        one_run = {"--trace": args.trace, "--report": args.report, "--figures": args.figures}
        shown = [name for name, given in one_run.items() if given is not None]
        if not shown:
            return rule
        raise SpecError(
            f"{shown[0]}: it shows one run; to look into one of several, give its seed instead of "
            f"--replications or --precision, as in --seed {args.seed or 0}"
        )
    return rule


def run_many(args: argparse.Namespace, rule: Stopping) -> int:
    """Run the scenario until `rule` is met, and print the figures of all runs.

    Args:
        args: the command line.
        rule: how many runs are enough.
    """
    from cellspec.files import check_apart, path_of
    from sim.output.replicated import files_of_runs, render_runs
    from sim.output.run import OUT_FILES
    from sim.scenario.remarks import kept_seeds, remarks
    from sim.targets import check_targets, put_result

    refuse_seed({"--set": args.overrides})
    file = scenario_file(args.scenario)
    folder = None if args.out is None else path_of(args.out)
    outputs = [] if folder is None else [folder / name for name in OUT_FILES]
    try:
        check_targets(file, *outputs)
        scenario = load(
            file,
            {"--set": args.overrides},
            prog=args.prog,
            seed=args.seed or 0,
            crashes=args.crashes,
        )
        check_apart(outputs, list(scenario.files().values()))
        pipelines = scenario.pipelines()
        say_remarks(file, pipelines, map(remarks, pipelines))
        for remark in kept_seeds(scenario):
            note(f"note: {file}: {remark}")
        made = _made(args, scenario, rule, file)
        say_missed(file, made.runs, "without --replications says why")
        text = render_runs(made, rule, args.format)
        contents = {} if folder is None else files_of_runs(scenario, made, rule, folder)
    except MemoryError:
        return complain(f"error: {file}: rows: no memory is left", BAD_INPUT)
    return put_result(text, [] if folder is None else [(folder, contents)])


def _made(args: argparse.Namespace, scenario: Scenario, rule: Stopping, file: str) -> Replicated:
    """All runs, with their progress on a terminal.

    Raises:
        SpecError: a run cannot be made, or has no such figure.
    """
    from sim.experiments.replicated import replicated
    from sim.experiments.stopping import Precision

    figure = args.figure or DEFAULT_FIGURE
    start = time.perf_counter()
    values: list[float] = []

    def go_on(made: int) -> str:
        return _so_far(figure, values, made) + begin_again(rule, made)

    with run_progress(runs_ahead(rule), about=isinstance(rule, Precision), go_on=go_on) as progress:
        made = replicated(
            scenario,
            rule,
            figure=figure,
            first_seed=scenario.seed,
            jobs=args.jobs,
            cluster=args.backend,
            checked=args.checked,
            name=file,
            on_run=_watching(progress, figure, rule, values),
        )
    events = sum(
        value
        for run in made.runs
        for name, value in run.figures.items()
        if name.rpartition(".")[2] == "events" and isinstance(value, int)
    )
    say_cost("events", events, time.perf_counter() - start)
    return made


def _so_far(figure: str, values: Sequence[float], made: int) -> str:
    """How sure a figure was when the runs were interrupted."""
    from sim.experiments.intervals import mean_of
    from sim.output.uncertain import known

    if made < 2 or len(values) < made:
        return ""
    found = mean_of(values)
    mean, half = known([found.mean, found.half_width], found.half_width)
    return f"{figure} {mean} ± {half} so far; "


def _watching(
    progress: RunProgress, figure: str, rule: Stopping, values: list[float]
) -> Callable[[int, Replication], None]:
    """What counts a run, keeps its value, and shows how sure the figure is so far."""
    from sim.experiments.intervals import mean_of

    def on_run(place: int, run: Replication) -> None:
        progress.done(place, run)
        value = run.value(figure)
        values.extend([] if value is None else [value])
        # Where a run lacks the figure there is no interval of all.
        if progress.is_due and len(values) == progress.made:
            show_interval(progress, mean_of(values), rule, f"{figure} {{}}")

    return on_run
