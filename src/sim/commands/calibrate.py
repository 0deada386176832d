"""``cellspec calibrate``: a scenario from a recorded run, and how well it predicts the run."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from cellspec.exit_codes import FINE, put
from sim.arguments import add_format, count

if TYPE_CHECKING:
    from sim.experiments.calibration.calibration import Calibration

__all__ = ["add_parser"]

_RUNS = 20
"""With other seeds the interval of a record is about 16 % wider or narrower; of 10 runs, 24 %."""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    calibrate = commands.add_parser(
        "calibrate",
        help="fit a scenario to a recorded run, and hold its prediction against the record",
        description="Fit latencies, failures, warm-up and the engine's own time to a trace of any "
        "engine, or to a log of requests: of LiteLLM, of OpenTelemetry (spans of gen_ai), or CSV. "
        "Show how well each fit does, write a scenario that run takes, simulate it with several "
        "seeds, and compare the runs with the record.",
    )
    calibrate.add_argument(
        "record", metavar="TRACE", help="the trace or log, perhaps compressed (gzip)"
    )
    calibrate.add_argument(
        "--out", metavar="FILE.yaml", help="write the scenario there, as run takes it"
    )
    calibrate.add_argument(
        "--against",
        metavar="TRACE",
        action="append",
        default=[],
        help="another trace of the same columns: predict its run, with its rows and limits; "
        "repeatable",
    )
    calibrate.add_argument(
        "--replications",
        metavar="N",
        type=count,
        default=_RUNS,
        help=f"runs of a prediction, and as many for its interval (default: {_RUNS})",
    )
    calibrate.add_argument(
        "--jobs", metavar="N", type=count, default=1, help="runs at once (default: 1)"
    )
    calibrate.add_argument(
        "--pipeline",
        metavar="SCENARIO.yaml",
        help="fill the latencies and failure rates of this scenario, instead of making one: for a "
        "log, which knows no dependencies",
    )
    calibrate.add_argument(
        "--column-by",
        metavar="FIELD",
        help="of a log: the field that says whose call a request is, as in metadata.column; of "
        "spans an attribute, name or parent (default: the model)",
    )
    calibrate.add_argument(
        "--column", metavar="NAME", help="of a log: all its calls are of this column"
    )
    calibrate.add_argument(
        "--field",
        metavar="ROLE=NAME",
        dest="fields",
        action="append",
        default=[],
        help="of a CSV: the file's column for start, end, seconds, column, failure, prompt_tokens "
        "or output_tokens, where its name does not tell; repeatable",
    )
    calibrate.add_argument(
        "--from",
        dest="kind",
        choices=("trace", "litellm", "opentelemetry", "csv"),
        help="the kind of file (default: what its beginning shows)",
    )
    add_format(calibrate, "table")
    calibrate.set_defaults(command=_calibrate)


def _calibrate(args: argparse.Namespace) -> int:
    from pathlib import Path

    from cellspec.errors import SpecError
    from cellspec.files import check_apart, path_of, write_files
    from sim.commands.progress import run_progress
    from sim.experiments.calibration.calibration import calibrate
    from sim.experiments.calibration.from_log import LogOptions, read_record
    from sim.experiments.calibration.from_trace import read_trace
    from sim.experiments.calibration.prediction import (
        predict,
        scenario_of,
        sized,
        why_no_makespan,
    )
    from sim.output.calibrate import render
    from sim.targets import check_targets

    options = LogOptions.of(args.column_by, args.column, args.fields)
    if args.out is not None:
        check_targets(args.record, args.out)
        read = [*args.against, *([args.pipeline] if args.pipeline else [])]
        check_apart([path_of(args.out)], list(map(Path, read)))
    record = read_record(args.record, args.kind, options)
    pipeline, folder = None, Path()
    if args.pipeline is not None:
        from sim.commands.loading import load, scenario_file

        file = scenario_file(args.pipeline)
        pipeline, folder = load(file, {}, prog="cellspec calibrate"), Path(file).parent
    name = Path(args.record).name
    made = calibrate(record, name, pipeline)
    others = {path: read_trace(path) for path in args.against if path != args.record}
    names = {path: Path(path).name for path in (args.record, *others)}
    if len(set(names.values())) < len(names):
        names = {path: path for path in names}
    predictions: dict[str, Any] = {}
    text = None
    if why := _no_scenario(made, args.pipeline):
        if args.out is not None or others:
            raise SpecError(f"{args.record}: {why}")
        made.remarks.append(why)
    else:
        scenario = scenario_of(made.scenario, folder)
        if args.out is not None:
            text = scenario.to_yaml(path_of(args.out).parent)
        runs: Any = {"runs": args.replications, "jobs": args.jobs}
        with run_progress(2 * args.replications * (1 + len(others))) as progress:
            for path, other in {args.record: None, **others}.items():
                found = predict(made, folder, against=other, on_run=progress.done, **runs)
                data = sized(made, other)
                predictions[names[path]] = data, found, why_no_makespan(made, data, other)
    put(render(made, name, predictions, args.format))
    if text is not None:
        target = path_of(args.out)
        write_files(target.parent, {target.name: text})
    return FINE


def _no_scenario(made: Calibration, pipeline: str | None) -> str:
    """Why no scenario can be made; "" if one can."""
    if made.record.timed or pipeline is not None:
        return ""
    return (
        "without the seconds of calls there is no scenario: give --pipeline SCENARIO.yaml, whose "
        "endpoints say how fast tokens are (tpot_s)"
    )
