"""Runs stand-alone scripts in the environment of a release, and keeps the results.

All scripts of a release run one after the other, in processes forked from one that has imported
what they import (`simulations.releases.forked_scripts`): most of a script's time are imports.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from cellspec.files import write_files
from simulations.releases.environments import Workspace, key_of
from simulations.releases.processes import Json, cpu_seconds, last_line, read_object
from simulations.releases.release_list import Engine, Release
from simulations.releases.script_files import Script

__all__ = ["absent_from", "kept_script", "run_scripts", "script_in"]

_SCRIPT_LIMIT_S = 120.0
_HOST = Path(__file__).with_name("forked_scripts.py")
_ALONE = {"PYTHONHASHSEED": "0", "PYTHONPATH": ""}
"""Variables of a process that sees nothing of ours."""


def absent_from(engine: Engine, release: Release, scripts: Sequence[Script]) -> dict[str, Json]:
    """The results of the scripts whose headers need a later release: they are not run on this."""
    later = [one.version for one in engine.releases[engine.releases.index(release) + 1 :]]
    return {
        script.file: {"says": "absent", "detail": f"ABSENT: needs {script.needs}"}
        for script in scripts
        if script.needs_release in later
    }


def run_scripts(
    workspace: Workspace, release: Release, scripts: Sequence[Script], *, again: bool
) -> dict[str, Json]:
    """Run scripts in a release's environment, unless their results are kept.

    A script that shows its defect ends with exit code 1 *and* prints a line that begins with
    ``DEFECT``; any error gives exit code 1 without that line. Exit code 2 with a line that begins
    with ``ABSENT`` says that the release lacks the part that the script is about.

    Returns:
        By script ``says``: ``"shows"``, ``"fine"``, ``"absent"`` or ``"failed"``; and ``detail``.
    """
    place = workspace.place(release) / "scripts"
    place.mkdir(parents=True, exist_ok=True)
    host = _HOST.read_text(encoding="utf-8")
    begin = (workspace.environment_key(release), workspace.engine.variables, host)
    keys = {script.file: key_of(*begin, script.text) for script in scripts}
    said: dict[str, Json] = {}
    left: list[Script] = []
    for script in scripts:
        kept = read_object(_result_of(place, script))
        if kept.get("key") == keys[script.file] and not again:
            said[script.file] = {name: kept[name] for name in ("says", "detail")}
        else:
            left.append(script)
    if not left:
        return said
    began, spent = time.monotonic(), cpu_seconds()
    write_files(place, {_HOST.name: host, **{script.file: script.text for script in left}})
    codes, why = _codes(workspace, release, left, place)
    for script in left:
        if script.file not in codes:
            said[script.file] = {"says": "failed", "detail": workspace.plain(why)}
            continue
        log = place / f"{Path(script.file).stem}.log"
        result = said[script.file] = _result(workspace, codes[script.file], log)
        kept = {"key": keys[script.file], **result}
        write_files(place, {_result_of(place, script).name: json.dumps(kept) + "\n"})
    shows = sum(said[script.file]["says"] == "shows" for script in left)
    workspace.notify(
        f"{release.version}: {len(left)} scripts, of which {shows} show their defect, in "
        f"{time.monotonic() - began:.0f} s, {cpu_seconds() - spent:.0f} s of CPU"
    )
    return said


def _codes(
    workspace: Workspace, release: Release, scripts: Sequence[Script], place: Path
) -> tuple[dict[str, int | None], str]:
    """The exit codes of the scripts that ran, and why others did not: what the host said last."""
    out, log, home = place / "codes.jsonl", place / f"{_HOST.stem}.log", place / "home"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    for path in (out, log, *(place / f"{Path(script.file).stem}.log" for script in scripts)):
        path.unlink(missing_ok=True)
    code = workspace.run(
        [
            *(str(workspace.python(release)), "-P", "-s", str(place / _HOST.name)),
            *(str(out), f"{_SCRIPT_LIMIT_S:g}"),
            *(str(place / script.file) for script in scripts),
        ],
        place,
        log,
        60 + _SCRIPT_LIMIT_S * len(scripts),
        {**_ALONE, "HOME": str(home)},
    )
    lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    codes = {Path(said["script"]).name: said["code"] for said in map(json.loads, lines)}
    return codes, f"{_HOST.name} ended with exit code {code}: {last_line(log)}"


def _result_of(place: Path, script: Script) -> Path:
    return place / f"{Path(script.file).stem}.json"


def script_in(
    workspace: Workspace,
    release: Release,
    script: Script,
    place: Path,
    packages: Path | None = None,
) -> Json:
    """Run a script in a process of its own and keep nothing; its result as of `run_scripts`.

    Args:
        workspace: where.
        release: the release.
        script: the script.
        place: a folder for the script and its output.
        packages: a folder of modules that go before the installed ones.
    """
    write_files(place, {script.file: script.text})
    log = place / f"{Path(script.file).stem}.log"
    log.unlink(missing_ok=True)
    command = [str(workspace.python(release)), "-P", "-s", str(place / script.file)]
    alone = _ALONE if packages is None else {**_ALONE, "PYTHONPATH": str(packages)}
    code = workspace.run(command, place, log, _SCRIPT_LIMIT_S, alone)
    return _result(workspace, code, log)


def kept_script(workspace: Workspace, release: Release, script: Script) -> Json:
    """The kept result of a script's last run; empty if it never ran."""
    kept = read_object(_result_of(workspace.place(release) / "scripts", script))
    return {name: kept[name] for name in ("says", "detail") if name in kept}


def _result(workspace: Workspace, code: int | None, log: Path) -> Json:
    output = log.read_text(encoding="utf-8", errors="replace")
    said = re.findall(r"^(?:DEFECT|ABSENT).*", output, re.MULTILINE) or [""]
    if code == 1 and said[-1].startswith("DEFECT"):
        return {"says": "shows", "detail": said[-1]}
    if code == 2 and said[-1].startswith("ABSENT"):
        return {"says": "absent", "detail": said[-1]}
    if code == 0:
        return {"says": "fine", "detail": ""}
    why = "no end" if code is None else f"exit code {code}: {last_line(log)}"
    return {"says": "failed", "detail": workspace.plain(why)}
