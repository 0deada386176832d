"""``cellspec run``: one run of a scenario, simulated and judged."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from cellspec.exit_codes import BAD_INPUT, complain
from cellspec.progress_line import progress_line
from sim.arguments import add_format, seed
from sim.commands.loading import add_crash_at, add_scenario, load, say_remarks, scenario_file
from sim.commands.options import add_how_many, add_where
from sim.figures import help_text
from sim.terminal import say_cost

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sim.output.report.recorder import RunRecorder
    from sim.scenario.scenario import Scenario
    from sim.simulator.outcome import Outcome

__all__ = ["add_parser"]


class _FiguresBelow(argparse.HelpFormatter):
    """A formatter of help that keeps the lines of the table of figures."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return text
        return super()._fill_text(text, width, indent)


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    run = commands.add_parser(
        "run",
        help="simulate one run of a scenario, and print its figures",
        description="Simulate one run of a scenario in virtual time, through its crashes, with "
        "every event judged against the specification, and print the figures.",
        epilog=help_text(),
        formatter_class=_FiguresBelow,
    )
    add_scenario(run)
    run.add_argument(
        "--seed",
        metavar="N",
        type=seed,
        help="another seed than the scenario's, from 0; of several runs that of the first",
    )
    add_crash_at(run, "one more crash than the scenario has")
    add_format(run, "table", csv=True, about="csv is a header and one line")
    run.add_argument(
        "--out",
        metavar="DIR",
        help="also write scenario.yaml (as it was run), manifest.json, result.json, "
        "fingerprint.txt and runs.csv (a line for each run) into this folder, each whole or not "
        "at all; a second run replaces them",
    )
    run.add_argument(
        "--trace",
        metavar="FILE",
        help="write every event as a trace, for `cellspec check`; .gz is compressed. - is "
        "stdout, and the figures then go to stderr; of pipelines beside each other each writes a "
        "trace, as run.NAME.jsonl for run.jsonl",
    )
    run.add_argument(
        "--report",
        metavar="FILE.html",
        help="write a page about the run: resources, rows and endpoints over time, where a row's "
        "time goes, and the figures; one file, which asks for nothing from elsewhere",
    )
    run.add_argument(
        "--figures",
        metavar="DIR",
        help="write each chart of that page as a file into this folder; needs the extra "
        "cellspec[report]",
    )
    run.add_argument(
        "--figures-format",
        choices=("png", "svg"),
        default="png",
        help="of the files of --figures (default: png)",
    )
    add_how_many(run)
    add_where(run)
    run.set_defaults(command=_run, prog=run.prog)


def _run(args: argparse.Namespace) -> int:
    from sim.commands.run_many import rule_of, run_many

    rule = rule_of(args)
    return _run_once(args) if rule is None else run_many(args, rule)


def _run_once(args: argparse.Namespace) -> int:
    from pathlib import Path

    from cellspec.files import check_apart, path_of
    from sim.commands.reporting import check_reporting, files_of_report, recorders
    from sim.output.run import OUT_FILES, files_of_run, render
    from sim.results_together import result_of
    from sim.scenario.remarks import missed_crashes, missed_rows, remarks
    from sim.targets import (
        STDOUT,
        check_targets,
        check_trace_target,
        put_result,
        stream_beside,
        trace_paths,
    )

    args.scenario = scenario_file(args.scenario)
    folder = None if args.out is None else path_of(args.out)
    check_trace_target(args.trace)
    check_reporting(args)
    try:
        traces = [] if args.trace in (None, STDOUT) else [args.trace]
        in_folder = [] if folder is None else [folder / name for name in OUT_FILES]
        reports = [] if args.report is None else [path_of(args.report)]
        outputs = [Path(one) for one in (*traces, *in_folder, *reports)]
        check_targets(args.scenario, *outputs)
        scenario = load(
            args.scenario,
            {"--set": args.overrides},
            prog=args.prog,
            seed=args.seed,
            crashes=args.crashes,
        )
        runs = scenario.pipelines()
        paths = trace_paths(args.trace, [run.name for run in runs])
        if len(runs) > 1:
            outputs = [*map(Path, paths), *in_folder, *reports]
            check_targets(args.scenario, *outputs)
        check_apart(outputs, list(scenario.files().values()))
        say_remarks(args.scenario, runs, map(remarks, runs))
        records = recorders(scenario) if args.report or args.figures else []
        outcomes = _simulate(
            scenario, args.scenario, checked=args.checked, traces=paths, records=records
        )
        say_remarks(
            args.scenario,
            runs,
            (
                missed_crashes(
                    run,
                    outcome.makespan_s,
                    outcome.events,
                    outcome.down(),
                    outcome.spent_crashes,
                )
                + missed_rows(
                    run, outcome.outcome, outcome.delivered, outcome.tried - outcome.dropped
                )
                for run, outcome in zip(runs, outcomes, strict=True)
            ),
        )
        result = result_of(scenario, outcomes, checked=args.checked)
        text = render(result, args.format)
        contents = {} if folder is None else files_of_run(scenario, result, folder)
        drawn = files_of_report(args, result, records)
    except MemoryError:
        return complain(f"error: {args.scenario}: rows: no memory is left", BAD_INPUT)
    written = [] if folder is None else [(folder, contents)]
    return put_result(text, [*written, *drawn], stream_beside(args.trace))


def _simulate(
    scenario: Scenario,
    name: str,
    *,
    checked: bool,
    traces: Sequence[str],
    records: Sequence[RunRecorder] = (),
) -> list[Outcome]:
    """Run a scenario, all of its pipelines at once, and say on stderr how long it took.

    Args:
        scenario: the scenario to run.
        name: its file, for errors.
        checked: judge time too.
        traces: of each pipeline, the file to write its trace to; none if none is wanted.
        records: of each pipeline, what records its run for a report; none if none is wanted.

    Raises:
        Violation: an event breaks a clause.
        TraceError: the trace cannot be written.
        SpecError: the run may never end, or draws what an endpoint can never hold.
    """
    from contextlib import ExitStack

    from cellspec.errors import SpecError, TraceError
    from sim.commands.reporting import also
    from sim.simulation import judging, simulate, trace_writer

    line, runs = progress_line(), scenario.pipelines()

    def show(t: float, rows: int) -> None:
        if line is not None and line.is_due:
            done = 100 * rows // scenario.rows
            of_rows = f"{done:3} %  {rows:,} of {scenario.rows:,} rows  "
            line.show(f"{of_rows if len(runs) == 1 else ''}t = {t:,.0f} s")

    start = time.perf_counter()
    with ExitStack() as stack:
        if line is not None:
            stack.callback(line.clear)
        on_events: list[Callable[..., object] | None] = [None] * len(runs)
        for place, path in enumerate(traces):
            others = [*runs[:place], *runs[place + 1 :]]
            writer = trace_writer(runs[place], path, others)
            stack.enter_context(writer)
            on_events[place] = judging(writer) if checked else writer.add
        for place, record in enumerate(records):
            on_events[place] = also(on_events[place], record.add)
        options: Any = {"checked": checked, "progress": None if line is None else show}
        try:
            outcomes = simulate(scenario, on_events, **options)
        except TraceError:
            raise
        except SpecError as error:
            # What shows itself only in a run is of this file as well.
            raise SpecError(f"{name}: {error}") from None
    events = sum(outcome.events for outcome in outcomes)
    say_cost("events", events, time.perf_counter() - start)
    return outcomes
