"""Mends the causes in copies of the newest release, and looks what breaks no longer.

A cause of the curated file may have a *mend*: the smallest change of the engine's text after which
the cause is gone. That is a test of the cause. `try_mends` copies the engine's modules, changes the
text, puts the copy before the installed one, and runs there again

- the scripts of the cause: their defect must be gone;
- every workload that breaks a clause on the newest release, with the mend of one cause alone. If it
  breaks the clause no longer, that cause explains it.

The installed release stays as it is. Copies are hard links, so that one costs little space.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from cellspec.conformance.campaign.scaling_shapes import COST_CLAUSES
from cellspec.files import write_files
from simulations.releases.causes import Cause, mended_text
from simulations.releases.environments import Workspace, key_of
from simulations.releases.findings import Mended
from simulations.releases.processes import Json, at_once, read_object
from simulations.releases.release_list import EntryPoint, Release
from simulations.releases.replay_runs import replays_of
from simulations.releases.script_files import Script
from simulations.releases.script_runs import script_in

__all__ = ["Mends", "kept_mends", "packages_of", "try_mends"]


_TRIES = 4
"""Replays of one case with one mend: each waives the clause that broke before the case's own."""


@dataclass(frozen=True, slots=True)
class Mends:
    """What the mends of all causes do.

    Attributes:
        scripts: what the scripts of each cause show with its mend.
        blames: for each case that was tried, the ids of the causes whose mend alone makes it break
            its clause no longer, in the order of the curated file.
    """

    scripts: list[Mended] = field(default_factory=list)
    blames: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def packages_of(workspace: Workspace, release: Release) -> Path | None:
    """The folder of installed packages of a release's environment; None without one."""
    found = sorted((workspace.place(release) / "env").glob("lib*/python3.*/site-packages"))
    return found[0] if found else None


def try_mends(
    workspace: Workspace,
    release: Release,
    causes: Sequence[Cause],
    scripts: Sequence[Script],
    cases: Mapping[str, str],
    breaks: Mapping[str, Sequence[str]],
    limit_s: float,
    *,
    jobs: int,
    again: bool,
) -> Mends:
    """Try the mend of each cause on its scripts, and on all cases that break a clause.

    Args:
        workspace: where.
        release: the newest release.
        causes: the causes that it has; those without a mend are left out.
        scripts: all scripts.
        cases: the text of each case file, by name.
        breaks: for each entry point, the names of the cases that break their clause there.
        limit_s: seconds for one case.
        jobs: how many mends are tried at once.
        again: do it although the results are kept.
    """
    tasks = (
        partial(_try_one, workspace, release, cause, scripts, cases, breaks, limit_s, again=again)
        for cause in causes
        if cause.mends
    )
    at_once(jobs, tasks)
    return kept_mends(workspace, release, causes, breaks)


def _try_one(
    workspace: Workspace,
    release: Release,
    cause: Cause,
    scripts: Sequence[Script],
    cases: Mapping[str, str],
    breaks: Mapping[str, Sequence[str]],
    limit_s: float,
    *,
    again: bool,
) -> None:
    """Try the mend of one cause, and keep what it does."""
    place = workspace.place(release) / "mended" / cause.id
    key = _key(workspace, release, cause, scripts)
    kept = read_object(place / "kept.json")
    if again or kept.get("key") != key:
        shutil.rmtree(place, ignore_errors=True)
        kept = {"key": key, "error": "", "scripts": {}, "cases": {}}
        kept["error"] = _mend(workspace, release, cause, place / "packages")
        if not kept["error"]:
            kept["scripts"] = {
                one.file: script_in(workspace, release, one, place, place / "packages")["says"]
                for one in scripts
                if one.file in cause.scripts
            }
        _keep(place, kept)
    if kept["error"]:
        return
    for entry_point in workspace.engine.entry_points:
        known = kept["cases"].setdefault(entry_point.name, {})
        left = [
            name
            for name in breaks.get(entry_point.name, ())
            if name not in known and _may_mend(cause, cases[name])
        ]
        if not left:
            continue
        workspace.notify(f"{release.version} {entry_point.name}: {len(left)} cases, {cause.id}")
        texts = {name: cases[name] for name in left}
        known.update(_replayed(workspace, release, entry_point, texts, limit_s, place))
        _keep(place, kept)


def kept_mends(
    workspace: Workspace,
    release: Release,
    causes: Sequence[Cause],
    breaks: Mapping[str, Sequence[str]],
) -> Mends:
    """The kept results of the mends, also of an earlier suite."""
    scripts: list[Mended] = []
    blames: dict[str, list[str]] = {}
    for cause in causes:
        if not cause.mends:
            continue
        kept = read_object(workspace.place(release) / "mended" / cause.id / "kept.json")
        if not kept:
            continue
        scripts.append(Mended(cause.id, kept["error"], kept["scripts"]))
        for entry_point, names in breaks.items():
            said = kept["cases"].get(entry_point, {})
            for name in names:
                if name in said:
                    blamed = blames.setdefault(name, [])
                    if said[name] in ("nothing", "refused") and cause.id not in blamed:
                        blamed.append(cause.id)
    return Mends(scripts, {name: tuple(each) for name, each in blames.items()})


def _replayed(
    workspace: Workspace,
    release: Release,
    entry_point: EntryPoint,
    texts: Mapping[str, str],
    limit_s: float,
    place: Path,
) -> dict[str, str]:
    """What each case does with a mend; clauses that break before its own are waived."""
    packages = place / "packages"
    ends = replays_of(
        workspace, release, entry_point, texts, limit_s, place, packages, tries=_TRIES
    )
    return {name: each["says"] for name, each in ends.items()}


def _may_mend(cause: Cause, case: str) -> bool:
    """False for a case about cost, which takes long to replay, and a cause about something else."""
    about_cost = json.loads(case)["clause"] in COST_CLAUSES
    return not about_cost or any(number in COST_CLAUSES for number in cause.clauses)


def _keep(place: Path, kept: Json) -> None:
    write_files(place, {"kept.json": json.dumps(kept) + "\n"})


def _key(workspace: Workspace, release: Release, cause: Cause, scripts: Sequence[Script]) -> str:
    return key_of(
        workspace.environment_key(release),
        workspace.engine.variables,
        workspace.digest,
        [one.model_dump() for one in cause.mends],
        [one.text for one in scripts if one.file in cause.scripts],
    )


def _mend(workspace: Workspace, release: Release, cause: Cause, target: Path) -> str:
    """Make a copy of the modules with the mend in it; why that cannot be, or ""."""
    packages = packages_of(workspace, release)
    if packages is None:
        return "there is no environment"
    tops = {Path(one.file).parts[0] for one in cause.mends}
    target.mkdir(parents=True)
    for top in sorted(tops):
        if (packages / top).is_dir():
            # With the bytecode of the files that stay the same: it takes seconds to make.
            shutil.copytree(packages / top, target / top, copy_function=os.link)
        elif (packages / top).is_file():
            os.link(packages / top, target / top)
    for mend in cause.mends:
        path = target / mend.file
        text = mended_text(mend, path.read_text(encoding="utf-8")) if path.is_file() else None
        if text is None:
            return f"{mend.file}: the text to be changed is not there exactly once"
        path.unlink()  # a hard link: writing into it would change the installed file
        path.write_text(text, encoding="utf-8")
    return ""
