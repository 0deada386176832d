"""The command line: ``python -m sim run scenario.yaml``.

A run has one reader who watches and perhaps one program that parses, so what is printed is split by
who it is for. *stdout* holds the result and nothing else, and is the same, byte for byte, for the
same scenario and seed, whatever the hash seed, the terminal, or the machine's speed. *stderr* holds
what differs from run to run: progress (on a terminal only), wall time, memory, and complaints.

A complaint is one line and an exit code (`cellspec.exit_codes`), never a traceback, unless it is
cellspec itself that failed.

Nothing is written before the run has ended well, and then each file is whole or not there.

Nothing heavy is imported at the top: ``--help`` must not wait for numpy.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from cellspec.exit_codes import (
    BAD_INPUT,
    FINE,
    INCONCLUSIVE,
    VIOLATED,
    Parser,
    Stdout,
    complain,
    put,
    run_command,
    say,
)
from sim.commands.explore import add_explore
from sim.figures import help_text

if TYPE_CHECKING:
    from pathlib import Path

    from sim.results import Result
    from sim.scenario.records import Crash
    from sim.scenario.scenario import Scenario
    from sim.simulator.simulator import Outcome, RunPlan

__all__ = ["main", "parser_of_commands", "run_plan"]

CRASH_SYNTAX = "EVENT, TIMEs or random:MEANs"
STDOUT = "-"
"""What --trace names stdout by."""
OUT_FILES = ("scenario.yaml", "manifest.json", "result.json", "fingerprint.txt")
DEPENDENCIES = ("numpy", "pydantic", "PyYAML", "simpy")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return the exit code of the process.

    Args:
        argv: the arguments after ``python -m sim``; by default those of the process.
    """

    def command() -> int:
        _plain_stdout()
        args = parser_of_commands().parse_args(argv)
        code: int = args.command(args)
        return code

    return run_command(command)


# Arguments


class _FiguresBelow(argparse.HelpFormatter):
    """Keeps the lines of the table of figures; all other text is filled as usual."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return text
        return super()._fill_text(text, width, indent)


def parser_of_commands() -> argparse.ArgumentParser:
    """The parser of ``python -m sim``."""
    parser = Parser(
        prog="python -m sim",
        description="Simulate engines that generate synthetic datasets cell by cell.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(commands)
    _add_check(commands)
    _add_replay(commands)
    _add_fuzz(commands)
    add_explore(commands)
    schema = commands.add_parser(
        "schema",
        help="print the JSON Schema of scenario files",
        description="Print the JSON Schema of scenario files, for editors and validators.",
    )
    schema.set_defaults(command=_schema)
    return parser


def _add_run(commands: Any) -> None:
    run = commands.add_parser(
        "run",
        help="simulate one run of a scenario, and print what it came to",
        description="Simulate one run of a scenario in virtual time, through its crashes, with "
        "every event judged against the specification, and print the figures.",
        epilog=help_text(),
        formatter_class=_FiguresBelow,
    )
    run.add_argument("scenario", metavar="SCENARIO.yaml", help="the scenario file")
    run.add_argument(
        "--set",
        metavar="A.B=V",
        dest="overrides",
        action="append",
        default=[],
        type=_override,
        help="replace a field of the scenario, as in columns.sql.latency.median_s=2; the value is "
        "YAML, an item of a list is named by its name or position; repeatable",
    )
    run.add_argument(
        "--seed", metavar="N", type=_seed, help="another seed than the scenario's, from 0"
    )
    run.add_argument(
        "--crash-at",
        metavar="WHEN",
        dest="crashes",
        action="append",
        default=[],
        type=_crash,
        help="one more crash than the scenario has: 5000 = just after event number 5000, 300s = "
        "at 300 s of virtual time, random:600s = at a random time, 600 s after the start or the "
        "last resume on average; repeatable",
    )
    run.add_argument(
        "--format",
        choices=("table", "json", "csv"),
        default="table",
        help="of stdout; csv is a header and one line (default: table)",
    )
    run.add_argument(
        "--out",
        metavar="DIR",
        help="also write scenario.yaml (as it was run), manifest.json, result.json and "
        "fingerprint.txt into this folder, each whole or not at all; a second run replaces them",
    )
    run.add_argument(
        "--no-check",
        dest="checked",
        action="store_false",
        help="do not judge time while running (for timing); the verdict then says so",
    )
    run.add_argument(
        "--trace",
        metavar="FILE",
        help="write every event as a trace, for `python -m sim check`; .gz is compressed. - is "
        "stdout, and the figures then go to stderr",
    )
    run.set_defaults(command=_run)


def _add_check(commands: Any) -> None:
    check = commands.add_parser(
        "check",
        help="judge a trace file, and say what broke and why",
        description="Judge each event of a trace against the specification. The first one that is "
        "not allowed is told with its clause, its line, the state that mattered and the events "
        "before it.",
    )
    check.add_argument("trace", metavar="TRACE", help="the trace file, perhaps compressed (gzip)")
    check.add_argument(
        "--format", choices=("text", "json"), default="text", help="of stdout (default: text)"
    )
    check.add_argument(
        "--waive",
        metavar="CLAUSE",
        action="append",
        default=[],
        help="a clause not to judge, to see what else breaks; the verdict is then inconclusive at "
        "best; repeatable",
    )
    check.add_argument(
        "--chrome",
        metavar="OUT.json",
        help="also write the run as a Chrome trace, which Perfetto opens (ui.perfetto.dev)",
    )
    check.set_defaults(command=_check)


def _add_replay(commands: Any) -> None:
    replay = commands.add_parser(
        "replay",
        help="run a failure again, step by step, on any engine",
        description="Run a failure again: a trace on the transition system, a case file on the "
        "reference engine, or either on the engine that --backend names. The engine that a case "
        "file names is never imported without that. Prints each event in a line, what "
        "broke and why, and ways to take the failure along.",
    )
    shrink = commands.add_parser(
        "shrink",
        help="make a failure small, and say what its causes are",
        description="Make a failure small: columns and rows that it does without are taken away, "
        "then every step that is not a cause.",
    )
    for parser in (replay, shrink):
        parser.add_argument(
            "case", metavar="CASE", help="a trace, a case file, or a line that begins cellspec1."
        )
        parser.add_argument("--backend", metavar="MODULE:NAME", help="the engine to run it on")
        parser.add_argument(
            "--format", choices=("text", "json"), default="text", help="of stdout (default: text)"
        )
    replay.add_argument(
        "--until", metavar="N", type=_event_number, help="stop after event N, and show the table"
    )
    replay.add_argument("--pytest", action="store_true", help="print a test to paste, too")
    replay.add_argument(
        "--trace",
        metavar="FILE",
        help="write the events as a trace; - is stdout, and all else then goes to stderr",
    )
    replay.add_argument("--html", metavar="FILE", help="write a page with a slider over the events")
    replay.set_defaults(command=_replay)
    shrink.add_argument("--out", metavar="FILE", help="where to write the smaller failure")
    shrink.set_defaults(command=_shrink)


def _add_fuzz(commands: Any) -> None:
    fuzz = commands.add_parser(
        "fuzz",
        help="run an engine on large random workloads, until nothing new comes up",
        description="Run an engine on random workloads of hundreds of rows and tens of columns, "
        "with failures, crashes and resumes, under several kinds of schedules. Stops when a clause "
        "breaks, when the budget is spent, or when nothing new has come up for a while.",
    )
    fuzz.add_argument(
        "--backend",
        metavar="MODULE:NAME",
        default="cellspec.engines.reference:ReferenceBackend",
        help="the engine (default: the reference engine)",
    )
    fuzz.add_argument("--seed", metavar="N", type=_seed, default=0, help="default: 0")
    fuzz.add_argument("--examples", metavar="N", type=_event_number, help="runs at most")
    fuzz.add_argument(
        "--time", metavar="SECONDS", dest="seconds", type=_seconds, help="wall seconds at most"
    )
    fuzz.add_argument(
        "--plateau",
        metavar="N",
        type=_event_number,
        default=400,
        help="stop after so many runs without anything new (default: 400)",
    )
    fuzz.add_argument(
        "--methods",
        metavar="NAMES",
        help="how runs are scheduled, with commas between (default: latency,random,pct,targeted; "
        "the last needs the extra cellspec[conformance], and is left out without it)",
    )
    fuzz.add_argument(
        "--jobs", metavar="N", type=_event_number, default=1, help="batches at once (default: 1)"
    )
    fuzz.add_argument(
        "--cluster",
        choices=("loky", "dask", "ray"),
        help="where the jobs run: processes here, a Dask or a Ray cluster (default: loky)",
    )
    fuzz.add_argument("--corpus", metavar="DIR", help="keep workloads that showed something new")
    fuzz.add_argument(
        "--case", metavar="FILE", default="fuzz-case.json", help="where a failure is written"
    )
    fuzz.add_argument(
        "--format", choices=("text", "json"), default="text", help="of stdout (default: text)"
    )
    fuzz.set_defaults(command=_fuzz)


def _seconds(text: str) -> float:
    try:
        value = float(text.removesuffix("s"))
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e9:
        raise argparse.ArgumentTypeError(f"expected more than 0 to 1e9 seconds, got {text!r}")
    return value


def _event_number(text: str) -> int:
    if not _is_digits(text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an event number from 1, got {text!r}")
    return int(text)


def _override(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"expected FIELD=VALUE, got {text!r}")
    return name, value


def _seed(text: str) -> int:
    if not _is_digits(text):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text!r}")
    return int(text)


def _is_digits(text: str) -> bool:
    # `int` also takes signs, blanks, underscores and other scripts' digits.
    return text.isascii() and text.isdigit() and len(text) <= 4000


def _crash(text: str) -> dict[str, Any]:
    """The fields of a scenario's crash, from what ``--crash-at`` was given."""
    kind, _, seconds = text.rpartition(":")
    if _is_digits(text):
        if int(text) < 1:
            raise argparse.ArgumentTypeError(f"expected an event number from 1, got {text!r}")
        return {"at_event": int(text)}
    try:
        if not seconds.endswith("s") or kind not in ("", "random"):
            raise ValueError
        value = float(seconds[:-1])
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected {CRASH_SYNTAX}, got {text!r}") from None
    low = "more than 0" if kind else "0"
    if not (0 < value <= 1e9 or (value == 0 and not kind)):
        raise argparse.ArgumentTypeError(f"expected {low} to 1e9 seconds, got {text!r}")
    return {"random": {"mean_s": value}} if kind else {"at_time_s": value}


# Commands


def _schema(_args: argparse.Namespace) -> int:
    from sim.scenario.schema import schema_text

    put(schema_text())
    return FINE


def _check(args: argparse.Namespace) -> int:
    from cellspec.check.checker import check_file
    from cellspec.conformance.judge.verdict import judge_trace
    from sim.commands import check as check_command
    from sim.commands.hints import hint_for_check

    if args.chrome is not None:
        _check_targets(args.trace, args.chrome)
    progress = None
    if sys.stderr is not None and sys.stderr.isatty():
        progress = _Progress(0)
    start = time.perf_counter()
    try:
        result = check_file(
            args.trace,
            waive=args.waive,
            progress=None if progress is None else progress.count_events,
        )
    finally:
        if progress is not None:
            progress.clear()
    if result.header is None and not result.violations:
        hint = hint_for_check(args.trace)
        return complain(
            f"error: {args.trace}: {hint}" if hint else f"error: {result.unreadable}", BAD_INPUT
        )
    _say_cost("events", result.events, time.perf_counter() - start)
    render = check_command.render_json if args.format == "json" else check_command.render_text
    put(render(result))
    judgement = judge_trace(result)
    code = FINE if judgement.passed else VIOLATED if judgement.broken else INCONCLUSIVE
    if args.chrome is not None and result.header is not None:
        _export_chrome(args.trace, args.chrome)
    return code


def _replay(args: argparse.Namespace) -> int:
    from pathlib import Path

    from sim.commands import replay as replay_command

    _check_trace_target(args.trace)
    traces = [] if args.trace in (None, STDOUT) else [args.trace]
    _check_targets(args.case, *traces, *([] if args.html is None else [args.html]))
    told = replay_command.replay(
        args.case, folder=Path.cwd(), backend=args.backend, until=args.until
    )
    if args.trace == STDOUT:
        put(replay_command.trace_text(told))
    replay_command.write_outputs(
        told,
        trace=None if args.trace in (None, STDOUT) else Path(args.trace),
        html=None if args.html is None else Path(args.html),
    )
    if args.format == "json":
        text = replay_command.render_json(told)
    else:
        text = replay_command.render_text(told, test=args.pytest)
    put(text, _beside(args.trace))
    if told.finding is not None:
        return VIOLATED
    return INCONCLUSIVE if told.is_cut_off else FINE


def _shrink(args: argparse.Namespace) -> int:
    from pathlib import Path

    from cellspec.files import write_files
    from sim.commands import replay as replay_command

    if args.out is not None:
        _check_targets(args.case, args.out)
    text, told = replay_command.shrink(args.case, folder=Path.cwd(), backend=args.backend)
    if args.out is not None:
        path = Path(args.out)
        write_files(path.parent, {path.name: text})
    render = replay_command.render_json if args.format == "json" else replay_command.render_text
    put(render(told))
    return FINE


def _fuzz(args: argparse.Namespace) -> int:
    from pathlib import Path

    from cellspec.files import check_folder, check_target, write_files
    from cellspec.fuzz.search import METHODS, Options, Search, lacking_extra, methods_of, search
    from sim.commands import fuzz as command
    from sim.commands.replay import replay_line

    methods = METHODS if args.methods is None else methods_of(args.methods.split(","))
    if args.methods is None and (lacking := lacking_extra(methods)):
        methods = tuple(name for name in methods if name not in lacking)
        _say(f"without {', '.join(lacking)} runs: they need the extra cellspec[conformance]")

    def progress(done: Search) -> None:
        if sys.stderr is not None and sys.stderr.isatty():
            text = f"{done.total:,} runs, {len(done.pairs):,} pairs, last new {done.last_new:,}"
            say(f"\r{text}", end="")

    if args.jobs == 1 and args.cluster is not None:
        _say(f"note: --cluster {args.cluster} does nothing without --jobs of 2 or more")
    case = Path(args.case)
    start = time.perf_counter()
    check_target(case)
    if args.corpus is not None:
        check_folder(Path(args.corpus))
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
        progress,
    )
    if done.case is not None:
        write_files(case.parent, {case.name: done.case.to_json()})
    _say_cost("events", done.events, time.perf_counter() - start)
    if args.format == "json":
        put(command.render_json(done))
    else:
        put(command.render_text(done, again=replay_line(str(case), args.backend)))
    if done.case is not None:
        return VIOLATED
    return FINE if done.total else INCONCLUSIVE


def _export_chrome(trace: str, output: str) -> None:
    """Write the picture; a picture that ends early is said, and is no error of its own."""
    from cellspec.check.timeline import export_chrome

    unread = export_chrome(trace, output)
    if unread:
        _say(f"{output} ends where the trace does: {unread}")


def _run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from cellspec.errors import SpecError
    from cellspec.files import check_apart, write_files
    from sim.scenario.remarks import remarks

    folder = None if args.out is None else Path(args.out)
    _check_trace_target(args.trace)
    try:
        traces = [] if args.trace in (None, STDOUT) else [args.trace]
        in_folder = [] if folder is None else [folder / name for name in OUT_FILES]
        outputs = [Path(one) for one in (*traces, *in_folder)]
        _check_targets(args.scenario, *outputs)
        scenario = _load(args)
        check_apart(outputs, list(scenario.files().values()))
        for remark in remarks(scenario):
            _say(f"note: {args.scenario}: {remark}")
        outcome = _simulate(scenario, checked=args.checked, trace=args.trace)
        result = _summarise(scenario, outcome, checked=args.checked)
        text = _render(result, args.format)
        contents = _contents(scenario, result, folder) if folder is not None else {}
    except MemoryError:
        return complain(f"error: {args.scenario}: rows: no memory is left", BAD_INPUT)
    code = FINE
    if folder is not None:
        try:
            write_files(folder, contents)
        except SpecError as error:
            code = complain(f"error: {error}", BAD_INPUT)
    # Even if the folder could not be written: the run may have taken an hour.
    put(text, _beside(args.trace))
    return code


def _load(args: argparse.Namespace) -> Scenario:
    """The scenario with everything that the command line changes: what ``--out`` writes down.

    Raises:
        SpecError: it cannot be used.
    """
    from cellspec.errors import SpecError
    from sim.commands.hints import hint_for_run
    from sim.scenario.loader import load_scenario
    from sim.scenario.records import Crash

    overrides = dict(args.overrides)
    if args.seed is not None:
        overrides["seed"] = str(args.seed)
    try:
        scenario = load_scenario(args.scenario, overrides)
    except SpecError:
        if hint := hint_for_run(args.scenario):
            raise SpecError(f"{args.scenario}: {hint}") from None
        raise
    _check_memory(args.scenario, scenario)
    if args.crashes:
        more = [Crash.model_validate(fields) for fields in args.crashes]
        scenario = scenario.model_copy(update={"crashes": (*scenario.crashes, *more)})
    return scenario


def _check_memory(path: str, scenario: Scenario) -> None:
    """Refuse a typo in ``rows`` before the machine swaps: a run holds a byte a cell at its start.

    Raises:
        SpecError: that alone is more than all memory.
    """
    from cellspec.errors import SpecError

    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return
    columns = scenario.graph().num_columns
    if scenario.rows * columns > memory > 0:
        raise SpecError(
            f"{path}: rows: {scenario.rows:,} rows × {columns:,} columns need at least "
            f"{scenario.rows * columns // 2**30:,} GiB; this machine has {memory // 2**30:,} GiB"
        )


def run_plan(scenario: Scenario) -> RunPlan:
    """What decides a run of a scenario beside its graph and its latencies."""
    from sim.simulator.simulator import CheckpointPlan, RunPlan

    checkpoint = scenario.checkpoint
    return RunPlan(
        seed=scenario.seed,
        limits=scenario.run_limits(),
        policy=scenario.policy,
        checkpoint=None
        if checkpoint is None
        else CheckpointPlan(
            every_rows=checkpoint.every_rows,
            every_s=checkpoint.every_s,
            version=checkpoint.version,
            write_s=checkpoint.write_s,
        ),
        crashes=[_crash_plan(crash) for crash in scenario.crashes],
        restart_delay_s=scenario.restart_delay_s,
        failures=scenario.failure_policy(),
        range_rows=scenario.range_rows(),
    )


def _crash_plan(crash: Crash) -> Any:
    from sim.simulator.simulator import CrashPlan

    if crash.random is not None:
        return CrashPlan(mean_s=crash.random.mean_s, count=crash.random.count)
    return CrashPlan(at_event=crash.at_event, at_time_s=crash.at_time_s)


def _simulate(scenario: Scenario, *, checked: bool, trace: str | None = None) -> Outcome:
    """Run a scenario, and say on stderr how long it took.

    Args:
        scenario: what to run.
        checked: judge time too.
        trace: the file to write the trace to.

    Raises:
        Violation: an event breaks a clause.
        TraceError: the trace cannot be written.
    """
    from contextlib import ExitStack

    progress = None
    if sys.stderr is not None and sys.stderr.isatty():
        progress = _Progress(scenario.rows)
    # The random policy visits rows in any order, and would draw each block again and again.
    blocks = None if scenario.policy == "random" else 8
    start = time.perf_counter()
    with ExitStack() as stack:
        if progress is not None:
            stack.callback(progress.clear)
        tell = None if trace is None else stack.enter_context(_trace_writer(scenario, trace)).add
        simulator = _make_simulator(
            scenario, tell, blocks=blocks, checked=checked, progress=progress
        )
        outcome: Outcome = simulator.run()
    _say_cost("events", outcome.events, time.perf_counter() - start)
    return outcome


def _make_simulator(scenario: Scenario, tell: Any, *, blocks: int | None, **options: Any) -> Any:
    """The plain simulator where it will do; it is faster, and does the same."""
    from sim.simulator.simulator import Simulator
    from sim.simulator.stepwise import ColumnFates, DrawnFates, StepwiseSimulator

    graph, plan = scenario.graph(), run_plan(scenario)
    latency = scenario.latency_source(blocks_per_column=blocks)
    if scenario.is_plain and tell is None:
        return Simulator(graph, latency, plan, **options)
    row_outcomes = None
    if not scenario.is_plain:
        skip = scenario.skip_rates()
        columns = []
        for name in graph.column_names:
            rates = scenario.failure_rates(name)
            columns.append(
                ColumnFates(
                    rates.retryable, rates.back_pressure, rates.permanent, skip.get(name, 0.0)
                )
            )
        rest = scenario.failures.cool_down.model_dump() if scenario.failures else {}
        row_outcomes = DrawnFates(scenario.seed, columns, recorded=latency.failure, **rest)
    return StepwiseSimulator(graph, latency, plan, row_outcomes=row_outcomes, tell=tell, **options)


def _trace_writer(scenario: Scenario, path: str) -> Any:
    from importlib.metadata import version

    from cellspec.trace import TraceWriter, header_for

    claims = ["core", "resume", "work_conserving"]
    if not scenario.is_plain:
        claims += ["groups", "streaming", "retries", "drops", "skips", "early_stop"]
    header = header_for(
        scenario.graph(),
        engine="cellspec simulator",
        version=version("cellspec"),
        limits=scenario.run_limits(),
        failures=scenario.failure_policy(),
        seed=scenario.seed,
        claims=claims,
    )
    return TraceWriter(Stdout() if path == STDOUT else path, header)


def _summarise(scenario: Scenario, outcome: Outcome, *, checked: bool) -> Result:
    from sim.results import summarise

    return summarise(scenario, outcome, checked=checked)


def _render(result: Result, form: str) -> str:
    from sim import results

    render: Callable[[Result], str] = getattr(results, f"render_{form}")
    return render(result)


def _contents(scenario: Scenario, result: Result, folder: Path) -> dict[str, str]:
    """The files of ``--out``: name to text."""
    import json

    return {
        "scenario.yaml": scenario.to_yaml(folder),
        "manifest.json": json.dumps(_manifest(result), indent=2) + "\n",
        "result.json": _render(result, "json"),
        "fingerprint.txt": result.fingerprint + "\n",
    }


def _manifest(result: Result) -> dict[str, Any]:
    """What a run must be repeated with to give the same bytes."""
    import platform
    from importlib.metadata import version

    return {
        "cellspec": version("cellspec"),
        "scenario_digest": result.scenario_digest,
        "seed": result.seed,
        "checked": result.checked,
        "fingerprint": result.fingerprint,
        "python": platform.python_version(),
        "architecture": platform.machine(),
        "dependencies": {name: version(name) for name in DEPENDENCIES},
    }


# Streams


def _plain_stdout() -> None:
    """Make stdout's bytes independent of the locale and the platform."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")


def _beside(trace: str | None) -> TextIO | None:
    """Where the result goes: to stderr if the trace has stdout."""
    return sys.stderr if trace == STDOUT else None


def _check_targets(source: str, *outputs: str | Path) -> None:
    """Refuse outputs that cannot be written, or would replace the input or one another.

    Raises:
        SpecError: one of them; one line that says why.
    """
    from pathlib import Path

    from cellspec.files import check_apart, check_target

    paths = [Path(output) for output in outputs]
    for path in paths:
        check_target(path)
    check_apart(paths, [Path(source)])


def _check_trace_target(path: str | None) -> None:
    """Refuse a trace that cannot be written before anything is run.

    Raises:
        SpecError: it cannot; one line that says why.
    """
    from pathlib import Path

    from cellspec.errors import SpecError
    from cellspec.files import check_target

    if path is None or path == STDOUT:
        return
    try:
        check_target(Path(path))
    except SpecError as error:
        raise SpecError(f"--trace: {error}; - writes to stdout") from None


def _say(line: str) -> None:
    complain(line, FINE)


def _say_cost(what: str, count: int, seconds: float) -> None:
    """Wall time and memory, which differ from run to run."""
    memory = _peak_memory_mib()
    _say(
        f"wall time {seconds:.2f} s, {count / max(seconds, 1e-9):,.0f} {what}/s"
        + (f", peak memory {memory:,.0f} MiB" if memory else "")
    )


def _peak_memory_mib() -> float | None:
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


class _Progress:
    """One line on a terminal that is written over, ten times a second at most."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._next = 0.0
        self._width = 0

    def __call__(self, t: float, rows: int) -> None:
        if self._is_due():
            done = 100 * rows // self._rows
            self._show(f"{done:3} %  {rows:,} of {self._rows:,} rows  t = {t:,.0f} s")

    def count_events(self, events: int) -> None:
        """Of a trace nobody knows the length."""
        if self._is_due():
            self._show(f"{events:,} events")

    def _is_due(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + 0.1
        return True

    def _show(self, line: str) -> None:
        self._put(line.ljust(self._width))
        self._width = len(line)

    def clear(self) -> None:
        """Leave the line as if nothing had been there."""
        if self._width:
            self._put(" " * self._width)
            self._put("")

    def _put(self, text: str) -> None:
        say(f"\r{text}", end="")
