"""A campaign over releases: the conformance suite on one release of an engine after another.

``python -m simulations.releases`` answers *which release of that engine keeps which rule*. It
reads a list of releases (`simulations.releases.release_list`) and then, without anybody watching:

1. makes an environment for each release, with this checkout of cellspec in it;
2. runs the suite there, by each *door* of the engine, one at a time;
3. replays every workload that broke a clause on every release, by every door;
4. runs the stand-alone scripts, which show a defect without cellspec, on every release;
5. writes the page, the HTML matrix, the case files, and everything as JSON.

A release that cannot be installed, or whose run dies or takes too long, is a row of the page that
says so, and the others go on. What was done is kept in the work folder, so that a campaign that was
interrupted goes on where it was, and one that is complete only writes its pages again.

It ends with a code of `cellspec.exit_codes`. 0 says that every release was judged: what its runs
broke is the result, and no failure of ours. 3 says that one was not, because something of the
campaign itself went wrong; the page lists it first.

stdout has the names of the files that were written; progress and timings are on stderr.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
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
from simulations.releases.environments import Outcome, Plan, Workspace, checkout
from simulations.releases.findings import (
    Found,
    Place,
    cases_of,
    findings,
)
from simulations.releases.page import publish
from simulations.releases.release_list import EntryPoint, Release, read_list
from simulations.releases.script_files import read_scripts, render_script

__all__ = ["main", "run"]

DEFAULT_LIST = Path("simulations/releases/datadesigner.toml")
_STAGES = ("suite", "replays", "scripts", "page")
_CASE_LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for.

    Attributes:
        list: the file of the list.
        releases: releases to work on.
        entry_point: entry points to work on.
        out: the folder of the pages.
        plan: how to run the suite.
        stages: what to do: the end of ``"suite"``, ``"replays"``, ``"scripts"``, ``"page"``.
    """

    list: Path
    releases: tuple[Release, ...]
    entry_points: tuple[EntryPoint, ...]
    out: Path
    plan: Plan
    stages: tuple[str, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a campaign, and return the exit code of the process."""
    return run_command(lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    began = time.monotonic()

    def tell(text: str) -> None:
        say(f"[{time.monotonic() - began:7.1f} s] {text}")

    try:
        root = checkout()
        path = args.list or root / DEFAULT_LIST
        if args.render:
            sys.stdout.write(render_script(path.parent / "scripts" / Path(args.render).name))
            return FINE
        engine = read_list(path)
        out = args.out or path.parent
        check_folder(out)
        stages = _STAGES[_STAGES.index(args.start) :]
        asked = Asked(
            path,
            engine.chosen_releases(args.release),
            engine.chosen_doors(args.entry_point),
            out,
            Plan(args.max_examples, args.seed, args.limit_s, args.twice, args.again),
            stages,
        )
        work = args.work or root / ".engines"
        workspace = Workspace(engine, path.stem, work, root, tell)
        return run(workspace, asked)
    except KeyboardInterrupt:
        return complain("interrupted; what was done is kept", INTERRUPTED)


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
        help="work by this entry point alone; repeatable",
    )
    parser.add_argument("--work", type=Path, metavar="DIR", help="what is kept (.engines)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the pages (beside the list)")
    parser.add_argument(
        "--max-examples",
        type=_at_least(1),
        default=plan.max_examples,
        metavar="N",
        help=f"workloads of each profile ({plan.max_examples})",
    )
    parser.add_argument("--seed", type=_at_least(0), default=0, metavar="N", help="of the draws")
    parser.add_argument(
        "--limit-s",
        type=_at_least(1),
        default=plan.limit_s,
        metavar="S",
        help=f"seconds for one door of one release ({plan.limit_s:g})",
    )
    parser.add_argument("--twice", action="store_true", help="run it twice and compare")
    parser.add_argument("--again", action="store_true", help="do again what is kept")
    parser.add_argument(
        "--render", metavar="SCRIPT", help="print this stand-alone script as one file, and end"
    )
    start = parser.add_mutually_exclusive_group()
    start.set_defaults(start=_STAGES[0])
    for stage, text in (
        ("replays", "leave out the suite: replay what it found, run the scripts, write pages"),
        ("scripts", "run the scripts, then write pages"),
        ("page", "run nothing, and write pages"),
    ):
        start.add_argument(f"--{stage}", dest="start", action="store_const", const=stage, help=text)
    return parser


def _at_least(least: int) -> Any:
    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"expected an integer from {least} up, got {text}")
        return value

    return number


def run(workspace: Workspace, asked: Asked) -> int:
    """Run a campaign to its end, and publish it; the exit code.

    Raises:
        SpecError: a script whose header cannot be used, or pages that cannot be written.
    """
    engine = workspace.engine
    package = engine.package.replace("-", "_")
    scripts = read_scripts(asked.list.parent / "scripts", package)
    usable = _environments(workspace, asked)
    if "suite" in asked.stages:
        for release in usable:
            for entry_point in asked.entry_points:
                with workspace.at(release):
                    workspace.suite(release, entry_point, asked.plan)
    outcomes = {
        (release.version, entry_point.name): workspace.kept(release, entry_point)
        for release in engine.releases
        for entry_point in engine.entry_points
    }
    cases = cases_of(engine, workspace.name, outcomes)
    replays = _replays(workspace, asked, usable, cases)
    ran: dict[tuple[str, str], Any] = {}
    for release in engine.releases:
        for script in scripts:
            again = asked.plan.again and "scripts" in asked.stages and release in usable
            if "scripts" in asked.stages and release in usable:
                with workspace.at(release):
                    ran[release.version, script.file] = workspace.script(
                        release, script, again=again
                    )
            elif kept := workspace.kept_script(release, script):
                ran[release.version, script.file] = kept
    found = findings(
        engine,
        workspace.name,
        _suite_version(),
        outcomes,
        cases,
        replays,
        scripts,
        ran,
    )
    for path in publish(found, asked.out):
        put_line(path)
    for trouble in found.troubles:
        workspace.tell(f"trouble: {trouble}")
    _tell_times(workspace, outcomes)
    return INCONCLUSIVE if found.troubles else FINE


def _environments(workspace: Workspace, asked: Asked) -> list[Release]:
    """The releases whose environment is ready; what cannot be made is kept as the outcome."""
    usable: list[Release] = []
    if asked.stages == ("page",):
        return usable
    for release in asked.releases:
        with workspace.at(release):
            why = workspace.environment(release)
        if not why:
            usable.append(release)
            continue
        workspace.tell(f"{release.version}: no environment: {why}")
        for entry_point in workspace.engine.entry_points:
            workspace.without_environment(release, entry_point, why)
    return usable


def _replays(
    workspace: Workspace, asked: Asked, usable: Sequence[Release], cases: Sequence[Found]
) -> Mapping[Place, Mapping[str, Any]]:
    texts = {one.name: one.case.to_json() for one in cases}
    said: dict[Place, Mapping[str, Any]] = {}
    for release in workspace.engine.releases:
        for entry_point in workspace.engine.entry_points:
            place = (release.version, entry_point.name)
            if "replays" in asked.stages and release in usable:
                again = asked.plan.again
                with workspace.at(release):
                    said[place] = workspace.replays(
                        release, entry_point, texts, _CASE_LIMIT_S, again=again
                    )
            else:
                said[place] = workspace.kept_replays(release, entry_point, texts)
    return said


def _suite_version() -> str:
    try:
        return version("cellspec")
    except PackageNotFoundError:
        return "unknown"


def _tell_times(workspace: Workspace, outcomes: Mapping[Place, Outcome]) -> None:
    for release in workspace.engine.releases:
        parts = []
        for entry_point in workspace.engine.entry_points:
            one = outcomes[release.version, entry_point.name]
            parts.append(f"{entry_point.name} {one.seconds:.0f} s ({one.cpu_seconds:.0f} s of CPU)")
        workspace.tell(f"{release.version}: {', '.join(parts)}")


if __name__ == "__main__":
    sys.exit(main())
