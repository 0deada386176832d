"""Runs stand-alone scripts in the environment of a release, and keeps the results."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

from cellspec.files import write_files
from simulations.releases.environments import Workspace, key_of
from simulations.releases.processes import Json, last_line, read_object
from simulations.releases.release_list import Release
from simulations.releases.script_files import Script

__all__ = ["kept_script", "run_script", "script_in"]

_SCRIPT_LIMIT_S = 120.0


def run_script(workspace: Workspace, release: Release, script: Script, *, again: bool) -> Json:
    """Run a script in a release's environment, unless its result is kept.

    A script that shows its defect ends with exit code 1 *and* prints a line that begins with
    ``DEFECT``; any error gives exit code 1 without that line. Exit code 2 with a line that begins
    with ``ABSENT`` says that the release lacks the part that the script is about.

    Returns:
        ``says``: ``"shows"``, ``"fine"``, ``"absent"`` or ``"failed"``; and ``detail``.
    """
    place = workspace.place(release) / "scripts"
    place.mkdir(parents=True, exist_ok=True)
    stem = Path(script.file).stem
    key = key_of(workspace.environment_key(release), workspace.engine.variables, script.text)
    kept = read_object(place / f"{stem}.json")
    if kept.get("key") == key and not again:
        return {name: kept[name] for name in ("says", "detail")}
    began = time.monotonic()
    result = script_in(workspace, release, script, place)
    write_files(place, {f"{stem}.json": json.dumps({"key": key, **result}) + "\n"})
    took_s = time.monotonic() - began
    workspace.notify(f"{release.version} {script.file}: {result['says']} in {took_s:.1f} s")
    return result


def script_in(
    workspace: Workspace,
    release: Release,
    script: Script,
    place: Path,
    packages: Path | None = None,
) -> Json:
    """Run a script in a folder, and keep nothing; its result as `run_script` gives it.

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
    alone = {"PYTHONHASHSEED": "0", "PYTHONPATH": "" if packages is None else str(packages)}
    code = workspace.run(command, place, log, _SCRIPT_LIMIT_S, alone)
    return _result(workspace, code, log)


def kept_script(workspace: Workspace, release: Release, script: Script) -> Json:
    """The kept result of a script's last run; empty if it never ran."""
    stem = Path(script.file).stem
    kept = read_object(workspace.place(release) / "scripts" / f"{stem}.json")
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
