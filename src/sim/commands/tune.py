"""``cellspec tune``: the settings that serve a goal best, of those that are tried."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cellspec.exit_codes import FINE, INCONCLUSIVE, put
from sim.arguments import add_format, from_two, override, share
from sim.commands.loading import add_scenario, load, refuse_seed, say_remarks, scenario_file
from sim.commands.options import add_where
from sim.terminal import note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sim.commands.progress import RunProgress
    from sim.experiments.elimination import Limit
    from sim.experiments.intervals import Mean
    from sim.experiments.tuning_fields import Field, Settings
    from sim.result_fields import Scalar
    from sim.scenario.loader import ScenarioFile
    from sim.scenario.scenario import Scenario

__all__ = ["add_parser"]

_GOALS = ("throughput", "cost", "loss", "first-rows")
"""As `sim.experiments.tuned.GOALS`, whose module is imported late; a test compares them."""

_PRECISION = 0.01
_MOST = 200
"""As in `sim.experiments.elimination`; a test compares them."""

_UNITS = {"%": 0.01, "ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
"""What may stand behind the number of ``--within``; all but the % behind a time alone."""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    tune = commands.add_parser(
        "tune",
        help="find the best concurrency, batch, policy and checkpoint interval of a scenario",
        description="Run a scenario with other limits, batches, policies and checkpoint intervals "
        "on the same seeds, put out what is shown to be worse, round by round, and print what was "
        "tried, what was put out when and why, the winner, and the command that runs it.",
    )
    add_scenario(tune)
    tune.add_argument(
        "--goal",
        choices=_GOALS,
        required=True,
        help="throughput: most rows_per_s; cost: least money for tokens; loss: least "
        "busy_lost_share, the share of the paid worker time that crashes lose; first-rows: least "
        "first_row_s",
    )
    tune.add_argument(
        "--within",
        metavar="FIGURE=MOST",
        action="append",
        default=[],
        help="the mean of a figure of run --format csv is to be at most this, as in makespan_s=6h; "
        "a time may end in ms, s, m, h or d, a share in %%; repeatable",
    )
    tune.add_argument(
        "--over",
        metavar="FIELD=V1,V2,…",
        action="append",
        default=[],
        help="search this field alone, over these values, each YAML as in --set; FIELD alone: over "
        "its usual values; repeatable",
    )
    tune.add_argument(
        "--allow-batch-scope",
        metavar="COLUMN",
        dest="allowed",
        action="append",
        default=[],
        help="a barrier over the dataset whose value of each row is the same whatever rows are "
        "read with it, so that it may work by batch; repeatable",
    )
    tune.add_argument(
        "--precision",
        metavar="SHARE",
        type=share,
        default=_PRECISION,
        help="end when no candidate can be better than the best by more than this share, as in "
        f"0.02 or 2%% (default: {_PRECISION})",
    )
    tune.add_argument(
        "--most",
        metavar="N",
        type=from_two,
        default=_MOST,
        help="runs of each candidate after which it ends all the same, at least 2: a single run "
        f"has no interval (default: {_MOST})",
    )
    add_where(tune)
    add_format(tune, "table", csv=True, about="csv is a line for each candidate")
    tune.set_defaults(command=_tune, prog=tune.prog)


def _tune(args: argparse.Namespace) -> int:
    from functools import partial

    from sim.commands.progress import run_progress
    from sim.experiments.elimination import Effort
    from sim.experiments.tuned import GOALS, Tuning
    from sim.experiments.tuning_fields import with_workers
    from sim.output.tune import Report, render
    from sim.scenario.loader import ScenarioFile
    from sim.scenario.remarks import kept_seeds, remarks

    given = args.scenario
    path = scenario_file(given)
    refuse_seed({"--set": args.overrides}, first="")
    own = load(path, {"--set": args.overrides}, prog=args.prog)
    goal = GOALS[args.goal]
    limits = [_limit(text) for text in args.within]
    _check_goal(path, own, [goal.figure, *(limit.figure for limit in limits)])
    _check_allowed(own, args.allowed)
    pipelines = own.pipelines()
    say_remarks(path, pipelines, map(remarks, pipelines))
    for remark in kept_seeds(own):
        note(f"note: {path}: {remark}")
    file, sets = ScenarioFile(path), dict(map(override, args.overrides))
    more_workers = _more_workers(args, sets)
    fields, not_searched = _fields(args, file, own, sets, more_workers=more_workers)
    if args.over:
        _say_unreached(path, fields, lambda settings: file.load({**sets, **settings}), own)
    again = "nothing of a search is kept, and the same command begins again"
    sooner = "fewer values in --over, or a smaller --most, end sooner"
    with run_progress(go_on=f"{again}; {sooner}") as progress:
        shown = _Shown(progress)
        tuning = Tuning(
            lambda settings: file.load({**sets, **settings}, option=""),
            fields,
            goal,
            limits=limits,
            effort=Effort(args.precision, args.most),
            allowed=args.allowed,
            completed=partial(with_workers, own) if more_workers else dict,
            jobs=args.jobs,
            cluster=args.backend,
            checked=args.checked,
            on_run=progress.done,
            on_stage=shown.on_stage,
            on_round=shown.on_round,
            on_fresh=shown.on_fresh,
        )
        _check_figures(path, tuning.own_figures(), limits, args.within)
        tuned = tuning.result()
    report = Report(tuned, own.name, given, args.overrides, not_searched, _of_crashes(own))
    put(render(report, args.format))
    return FINE if tuned.keeps_limits else INCONCLUSIVE


class _Shown:
    """What a terminal shows of a search: the stage, the best so far, and about how many runs.

    Args:
        progress: where it is shown.
    """

    def __init__(self, progress: RunProgress) -> None:
        self._progress, self._names = progress, ""

    def on_stage(self, number: int, fields: Sequence[Field], candidates: int) -> None:
        from sim.experiments.stopping import FIRST_ROUND

        self._names = ", ".join(field.name for field in fields)
        again = f", pass {number}" * (number > 1)
        self._say(f"{self._names}: {candidates} candidates{again}", candidates * FIRST_ROUND)

    def on_round(self, best: Mean | None, left: int, runs: int) -> None:
        from cellspec.text import counted
        from sim.output.uncertain import known

        words = f"{self._names}: {counted(left, 'candidate')} left"
        if best is not None:
            mean, half = known([best.mean, best.half_width], best.half_width)
            words += f", the best {mean} ± {half}"
        self._say(words, runs)

    def on_fresh(self, runs: int) -> None:
        from cellspec.text import counted

        # The scenario as it is has as many.
        self._say(f"the winner: {counted(runs, 'run')} with fresh seeds", 2 * runs)

    def _say(self, words: str, runs: int) -> None:
        self._progress.say(words)
        self._progress.expect(self._progress.made + runs, about=True)


def _limit(text: str) -> Limit:
    """A limit of ``--within``.

    Raises:
        SpecError: it is none.
    """
    from cellspec.errors import SpecError
    from sim.experiments.elimination import Limit

    figure, equals, most = text.partition("=")
    value = _amount(most)
    if not equals or not figure or value is None:
        raise SpecError(
            "--within: expected FIGURE=MOST, a number above 0, as in makespan_s=6h or cost=25, "
            f"got {text!r}"
        )
    return Limit(figure, value)


def _amount(text: str) -> float | None:
    """A number above 0, with a unit of time or a % behind it; None if it is none."""
    unit = _unit(text)
    try:
        value = float(text.removesuffix(unit)) * _UNITS.get(unit, 1.0)
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None


def _unit(text: str) -> str:
    """The unit behind a number; "" if it has none."""
    return max((one for one in _UNITS if text.endswith(one)), key=len, default="")


def _check_goal(path: str, scenario: Scenario, figures: Sequence[str]) -> None:
    """Refuse a figure that would be 0 whatever the settings.

    Raises:
        SpecError: cost without a price, or loss without a crash.
    """
    from cellspec.errors import SpecError

    prices = [one.price for one in scenario.endpoints.values() if one.price is not None]
    paid = any(price.prompt_per_million or price.output_per_million for price in prices)
    if "cost" in figures and not paid:
        raise SpecError(
            f"{path}: cost: no endpoint states a price; say endpoints.NAME.price, as in --set "
            "endpoints.NAME.price.output_per_million=2"
        )
    if "busy_lost_share" in figures and not scenario.crashes:
        raise SpecError(
            f"{path}: loss: no crash strikes the scenario; say crashes, as in --set "
            "'crashes=[{random: {mean_s: 3600}}]'"
        )


def _check_allowed(scenario: Scenario, allowed: Sequence[str]) -> None:
    """Refuse names that are no barriers over the dataset.

    Raises:
        SpecError: as above.
    """
    from cellspec.errors import SpecError
    from cellspec.text import did_you_mean, listed_names
    from sim.experiments.tuning_fields import dataset_barriers

    known = dataset_barriers(scenario)
    for name in allowed:
        if name not in known:
            near = did_you_mean(name, known) or f"; there are: {listed_names(known)}"
            raise SpecError(
                f"--allow-batch-scope: {name!r} is no barrier that reads the dataset{near}"
            )


def _check_figures(
    path: str, figures: Mapping[str, Scalar], limits: Sequence[Limit], texts: Sequence[str]
) -> None:
    """Refuse limits of figures that a run does not have, and units that a figure does not have.

    Args:
        path: of the scenario.
        figures: of one run.
        limits: that are to be kept.
        texts: of ``--within``, one for each limit.

    Raises:
        SpecError: as above.
    """
    from cellspec.errors import SpecError
    from sim.experiments.deciding import check_figure

    for limit, text in zip(limits, texts, strict=True):
        try:
            check_figure(limit.figure, figures, "--within")
        except SpecError as error:
            raise SpecError(f"{path}: {error}") from None
        unit, name = _unit(text), limit.figure
        is_time = name.endswith("_s") and not name.endswith("_per_s")
        if unit and is_time != (unit != "%"):
            kind = "a time in seconds" if is_time else "no time"
            raise SpecError(f"--within: {text!r}: {limit.figure} is {kind}, and has no {unit!r}")


def _more_workers(args: argparse.Namespace, sets: Settings) -> bool:
    """Whether workers go up with the usual values of a limit: nothing says how many there are."""
    from sim.experiments.tuning_fields import WORKERS

    over = [text.partition("=") for text in args.over]
    usual = not over or any(not equals for _, equals, _ in over)
    return usual and WORKERS not in {*sets, *(name for name, _, _ in over)}


def _fields(
    args: argparse.Namespace,
    file: ScenarioFile,
    own: Scenario,
    sets: Settings,
    *,
    more_workers: bool,
) -> tuple[list[Field], list[str]]:
    """The fields that are searched, and notes on those that are not.

    Raises:
        SpecError: a field or a value of ``--over`` cannot be used.
    """
    from cellspec.errors import SpecError
    from cellspec.text import did_you_mean
    from sim.experiments.tuning_fields import default_fields, given_field

    usual, notes = default_fields(own, args.allowed, more_workers=more_workers)
    if not args.over:
        if not usual:
            raise SpecError(f"{file.path}: nothing to search: give --over FIELD=V1,V2,…")
        return usual, notes
    by_name = {field.name: field for field in usual}
    found: dict[str, Field] = {}
    for text in args.over:
        name, equals, values = text.partition("=")
        if name in found:
            raise SpecError(f"--over: {name} is given twice")
        if equals and name:
            _check_resource(name, own)
            found[name] = given_field(
                name,
                values,
                lambda settings: file.load({**sets, **settings}, option="--over "),
                own,
                args.allowed,
            )
        elif name in by_name:
            found[name] = by_name[name]
        else:
            near = did_you_mean(name, by_name) or f"; those that have are {', '.join(by_name)}"
            raise SpecError(f"--over: {name!r} has no usual values here{near}; or FIELD=V1,V2,…")
    return list(found.values()), []


def _check_resource(name: str, own: Scenario) -> None:
    """Refuse the limit of a resource that no column takes: it decides nothing.

    Raises:
        SpecError: as above.
    """
    from cellspec.errors import SpecError
    from cellspec.text import did_you_mean, listed_names

    start = "limits.resources."
    resource = name.removeprefix(start)
    taken = sorted({one for item in own.latencies() for one in own.takes(item.name)})
    if name.startswith(start) and resource not in taken:
        near = did_you_mean(resource, taken)
        if taken and not near:
            near = f"; columns take: {listed_names(taken)}"
        raise SpecError(f"--over {name}: no column takes {resource!r}{near}")


def _say_unreached(
    path: str, fields: Sequence[Field], load: Callable[[Settings], Scenario], own: Scenario
) -> None:
    """Say of which values a run would remark that they have no effect, as of too few workers."""
    from sim.scenario.remarks import remarks

    said = set(remarks(own))
    for field in fields:
        for choice in field.choices:
            for remark in remarks(load(choice.settings)):
                if remark.startswith(field.name) and remark not in said:
                    note(f"note: {path}: {remark}")
                    said.add(remark)


def _of_crashes(scenario: Scenario) -> list[str]:
    """A remark on crashes that are not drawn."""
    if not any(crash.random is None for crash in scenario.crashes):
        return []
    return [
        "crashes come at fixed moments: what is best is best for these, and a run may end before "
        "them; random crashes are drawn anew for each seed"
    ]
