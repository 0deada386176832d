"""A release matrix: the conformance suite on one release of an engine after another.

``python -m simulations.releases`` answers *which release of that engine keeps which clause*. It
reads a list of releases (`simulations.releases.release_list`) and then, unattended:

1. makes an environment for each release, with this checkout of cellspec in it;
2. runs the suite there, through each *entry point* of the engine, one at a time;
3. replays every workload that broke a clause on every release, through every entry point;
4. runs the stand-alone scripts, which show a defect without cellspec, on every release;
5. mends the known root causes one by one in copies of the newest release, and sees what breaks
   there no longer;
6. writes the pages, the case files, and everything as JSON.

A release that cannot be installed, or whose run dies or takes too long, is a row of the page with
the reason, and the others go on. Results are kept in the work folder: an interrupted run continues,
and a complete one only writes its pages again. ``--published`` writes the pages again from the
published file alone.

The exit code is one of `cellspec.exit_codes`. 0 says that every release was judged; the violations
of a release are the result, not an error. 3 says that a release was not judged because of an error
of the run itself, which the page lists first.

stdout has the names of the files that were written; progress and timings are on stderr.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import Any

from cellspec.exit_codes import (
    FINE,
    INCONCLUSIVE,
    INTERRUPTED,
    Parser,
    complain,
    put_line,
    run_command,
    say,
)
from cellspec.files import check_folder
from simulations.releases.cases import FoundCase, Place, cases_of
from simulations.releases.causes import Causes, check_place, read_causes
from simulations.releases.environments import Workspace, checkout
from simulations.releases.explained import cause_troubles
from simulations.releases.findings import PlaceCheck
from simulations.releases.gather import Known, gather
from simulations.releases.mended_runs import kept_mends, packages_of, try_mends
from simulations.releases.outcome import Outcome, Plan
from simulations.releases.page import publish
from simulations.releases.processes import at_once
from simulations.releases.published import read_findings
from simulations.releases.release_list import Engine, EntryPoint, Release, read_list
from simulations.releases.replay_runs import kept_replays, replay_cases
from simulations.releases.script_files import Script, read_scripts, render_script
from simulations.releases.script_runs import absent_from, kept_script, run_scripts
from simulations.releases.suite_runs import keep_missing_environment, kept_outcome, run_suite

__all__ = ["main", "run"]

DEFAULT_LIST = Path("simulations/releases/datadesigner.toml")
_STAGES = ("suite", "replays", "scripts", "mends", "page")
_CASE_LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of the command line.

    Attributes:
        list: the file of the list.
        releases: releases to work on.
        entry_points: entry points to work on.
        out: the folder of the pages.
        plan: how to run the suite.
        stages: the stages to do: a tail of ``"suite"``, ``"replays"``, ``"scripts"``, ``"mends"``,
            ``"page"``.
    """

    list: Path
    releases: tuple[Release, ...]
    entry_points: tuple[EntryPoint, ...]
    out: Path
    plan: Plan
    stages: tuple[str, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a release matrix, and return the exit code of the process."""
    return run_command(lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    began = time.monotonic()

    def notify(text: str) -> None:
        say(f"[{time.monotonic() - began:7.1f} s] {text}")

    try:
        root = checkout()
        path = args.list or root / DEFAULT_LIST
        if args.render:
            sys.stdout.write(render_script(_script(path.parent / "scripts", args.render)))
            return FINE
        engine = read_list(path)
        out = args.out or path.parent
        check_folder(out)
        if args.start == "published":
            return _publish_again(engine, path, out)
        asked = Asked(
            path,
            engine.chosen_releases(args.release),
            engine.chosen_entry_points(args.entry_point),
            out,
            Plan(
                max_examples=args.max_examples,
                seed=args.seed,
                seeds=args.seeds,
                limit_s=args.limit_s,
                jobs=args.jobs,
                twice=args.twice,
                again=args.again,
            ),
            _STAGES[_STAGES.index(args.start) :],
        )
        work = args.work or root / ".engines"
        workspace = Workspace(engine, path.stem, work, root, notify)
        return run(workspace, asked)
    except KeyboardInterrupt:
        return complain("interrupted; the results so far are kept", INTERRUPTED)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m simulations.releases",
        description="Run the conformance suite on releases of an engine, and publish the matrix.",
    )
    plan = Plan()
    several: dict[str, Any] = {"action": "append", "default": [], "metavar": "NAME"}
    parser.add_argument("list", nargs="?", type=Path, help="the list (DataDesigner's)")
    parser.add_argument("--release", **several, help="work on this release alone; repeatable")
    parser.add_argument(
        *("--entry-point", "--door"),
        **several,
        help="use this entry point alone; repeatable",
    )
    parser.add_argument("--work", type=Path, metavar="DIR", help="the work folder (.engines)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the pages (beside the list)")
    parser.add_argument(
        "--max-examples",
        type=_at_least(1),
        default=plan.max_examples,
        metavar="N",
        help=f"workloads of each profile and seed ({plan.max_examples}); "
        f"for releases before the newest {plan.newest} at most {plan.older}",
    )
    parser.add_argument(
        "--seed", type=_at_least(0), default=plan.seed, metavar="N", help="the first of the draws"
    )
    parser.add_argument(
        "--seeds",
        type=_at_least(1),
        default=plan.seeds,
        metavar="K",
        help=f"seeds for the newest {plan.newest} releases ({plan.seeds}); older ones get one",
    )
    parser.add_argument(
        "--jobs",
        type=_at_least(1),
        default=plan.jobs,
        metavar="N",
        help=f"runs at once ({plan.jobs}); the scripts go beside the suite, one at a time",
    )
    parser.add_argument(
        "--limit-s",
        type=_at_least(1),
        default=plan.limit_s,
        metavar="S",
        help=f"seconds for one entry point of one release ({plan.limit_s:g})",
    )
    parser.add_argument("--twice", action="store_true", help="run it twice and compare")
    parser.add_argument("--again", action="store_true", help="do again what is kept")
    parser.add_argument(
        "--render",
        metavar="SCRIPT",
        help="print this stand-alone script as one file, and end: its name, with .py or not, "
        "or its path",
    )
    start = parser.add_mutually_exclusive_group()
    start.set_defaults(start=_STAGES[0])
    for stage, text in (
        ("replays", "leave out the suite: replay what it found, run the scripts, write pages"),
        ("scripts", "run the scripts, try the mends, then write pages"),
        ("mends", "try the mends of the causes, then write pages"),
        ("page", "run nothing, and write pages of the work folder"),
        ("published", "run nothing, and write pages from the published JSON"),
    ):
        start.add_argument(f"--{stage}", dest="start", action="store_const", const=stage, help=text)
    return parser


def _script(folder: Path, word: str) -> Path:
    """The script that a word names: by its name, with ``.py`` or without, or by a path."""
    return folder / Path(word).with_suffix(".py").name


def _at_least(least: int) -> Any:
    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"expected an integer from {least} up, got {text}")
        return value

    return number


def _scripts_of(engine: Engine, path: Path) -> list[Script]:
    return read_scripts(path.parent / "scripts", engine.package.replace("-", "_"))


def _causes_of(engine: Engine, path: Path, scripts: Sequence[Script]) -> Causes:
    return read_causes(path.with_suffix(".causes.toml"), engine, [one.file for one in scripts])


def _publish_again(engine: Engine, path: Path, out: Path) -> int:
    """Write the pages again from the published file beside a list."""
    scripts = _scripts_of(engine, path)
    causes = _causes_of(engine, path, scripts)
    published = path.with_suffix(".json")
    for file in publish(read_findings(published, engine, scripts, causes), out):
        put_line(file)
    return FINE


def run(workspace: Workspace, asked: Asked) -> int:
    """Run a release matrix to its end, and publish it; the exit code.

    Raises:
        SpecError: a script whose header cannot be used, causes that cannot be, or pages that cannot
            be written.
    """
    engine = workspace.engine
    scripts = _scripts_of(engine, asked.list)
    causes = _causes_of(engine, asked.list, scripts)
    usable = _environments(workspace, asked)
    ran = _suites(workspace, asked, usable, scripts) if "suite" in asked.stages else None
    outcomes = {
        (release.version, entry_point.name): kept_outcome(
            workspace, release, entry_point, asked.plan.seeds_of(engine, release)
        )
        for release in engine.releases
        for entry_point in engine.entry_points
    }
    cases = cases_of(engine, workspace.name, outcomes)
    replays = _replays(workspace, asked, usable, cases, outcomes)
    ran = _scripts(workspace, asked, usable, scripts) if ran is None else ran
    known = _known(workspace, asked, usable, causes, scripts, cases, replays)
    found = gather(
        engine, workspace.name, _suite_version(), outcomes, cases, replays, scripts, ran, known
    )
    for path in publish(found, asked.out):
        put_line(path)
    for trouble in (*found.troubles, *cause_troubles(found)):
        workspace.notify(f"trouble: {trouble}")
    _notify_times(workspace, outcomes)
    return INCONCLUSIVE if found.troubles else FINE


def _environments(workspace: Workspace, asked: Asked) -> list[Release]:
    """The releases whose environment is ready; the outcome of the others is kept as such."""
    usable: list[Release] = []
    if asked.stages == ("page",):
        return usable
    for release in asked.releases:
        with workspace.at(release):
            why = workspace.make_environment(release)
        if not why:
            usable.append(release)
            continue
        workspace.notify(f"{release.version}: no environment: {why}")
        seeds = asked.plan.seeds_of(workspace.engine, release)
        for entry_point in workspace.engine.entry_points:
            keep_missing_environment(workspace, release, entry_point, seeds, why)
    return usable


def _suites(
    workspace: Workspace, asked: Asked, usable: Sequence[Release], scripts: Sequence[Script]
) -> dict[tuple[str, str], Any]:
    """Run the suite: every release through every entry point. The results of the scripts.

    What takes longest comes first, so that no process goes on alone at the end: the newest
    releases, through the public interface. A script waits most of its time, so the scripts have a
    place of their own beside the suite, one after the other.
    """

    def run_one(release: Release, entry_point: EntryPoint) -> None:
        with workspace.at(release):
            run_suite(workspace, release, entry_point, asked.plan)

    def takes(one: tuple[Release, EntryPoint]) -> tuple[bool, bool]:
        return asked.plan.is_older(workspace.engine, one[0]), not one[1].public

    beside = replace(asked, plan=replace(asked.plan, jobs=1))
    suites = sorted(product(reversed(usable), asked.entry_points), key=takes)
    tasks: list[Callable[[], Any]] = [partial(_scripts, workspace, beside, usable, scripts)]
    tasks += [partial(run_one, *one) for one in suites]
    ran: dict[tuple[str, str], Any] = at_once(asked.plan.jobs + 1, tasks)[0]
    return ran


def _replays(
    workspace: Workspace,
    asked: Asked,
    usable: Sequence[Release],
    cases: Sequence[FoundCase],
    outcomes: Mapping[Place, Outcome],
) -> Mapping[Place, Mapping[str, Any]]:
    texts = {one.name: one.case.to_json() for one in cases}

    def replay(release: Release, entry_point: EntryPoint) -> Mapping[str, Any]:
        if "replays" not in asked.stages or release not in usable:
            return kept_replays(workspace, release, entry_point, texts)
        outcome = outcomes[release.version, entry_point.name]
        with workspace.at(release):
            return replay_cases(
                *(workspace, release, entry_point, texts, _CASE_LIMIT_S),
                again=asked.plan.again,
                suite=outcome.found if outcome.suite == workspace.digest else None,
            )

    engine = workspace.engine
    pairs = [(one, entry_point) for one in engine.releases for entry_point in engine.entry_points]
    said = at_once(asked.plan.jobs, (partial(replay, *pair) for pair in pairs))
    return {
        (release.version, entry_point.name): each
        for (release, entry_point), each in zip(pairs, said, strict=True)
    }


def _scripts(
    workspace: Workspace, asked: Asked, usable: Sequence[Release], scripts: Sequence[Script]
) -> dict[tuple[str, str], Any]:
    def run_all(release: Release) -> dict[str, Any]:
        said = absent_from(workspace.engine, release, scripts)
        left = [script for script in scripts if script.file not in said]
        if "scripts" not in asked.stages or release not in usable:
            return said | {one.file: kept_script(workspace, release, one) for one in left}
        with workspace.at(release):
            return said | run_scripts(workspace, release, left, again=asked.plan.again)

    releases = workspace.engine.releases
    said = at_once(asked.plan.jobs, (partial(run_all, release) for release in releases))
    return {
        (release.version, script.file): results[script.file]
        for release, results in zip(releases, said, strict=True)
        for script in scripts
        if results[script.file]
    }


def _known(
    workspace: Workspace,
    asked: Asked,
    usable: Sequence[Release],
    causes: Causes,
    scripts: Sequence[Script],
    cases: Sequence[FoundCase],
    replays: Mapping[Place, Mapping[str, Any]],
) -> Known:
    """The causes, with their mends tried and their places looked for on the newest release."""
    newest = workspace.engine.releases[-1]
    breaks = {
        entry_point.name: [
            name
            for name, said in replays.get((newest.version, entry_point.name), {}).items()
            if said["says"] == "same"
        ]
        for entry_point in workspace.engine.entry_points
    }
    if "mends" in asked.stages and newest in usable:
        texts = {one.name: one.case.to_json() for one in cases}
        again = asked.plan.again
        with workspace.at(newest):
            mends = try_mends(
                *(workspace, newest, causes.live, scripts, texts, breaks, _CASE_LIMIT_S),
                jobs=asked.plan.jobs,
                again=again,
            )
    else:
        mends = kept_mends(workspace, newest, causes.live, breaks)
    packages = packages_of(workspace, newest)
    checks = [
        PlaceCheck(cause.id, place.file, place.line, place.text, check_place(place, packages))
        for cause in causes.live
        for place in cause.places
        if packages is not None
    ]
    return Known(causes, mends, checks)


def _suite_version() -> str:
    try:
        return version("cellspec")
    except PackageNotFoundError:
        return "unknown"


def _notify_times(workspace: Workspace, outcomes: Mapping[Place, Outcome]) -> None:
    for release in workspace.engine.releases:
        parts = []
        for entry_point in workspace.engine.entry_points:
            one = outcomes[release.version, entry_point.name]
            parts.append(f"{entry_point.name} {one.seconds:.0f} s ({one.cpu_seconds:.0f} s of CPU)")
        workspace.notify(f"{release.version}: {', '.join(parts)}")


if __name__ == "__main__":
    sys.exit(main())
