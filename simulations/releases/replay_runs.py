"""Replays cases in the environment of a release, and keeps the results.

Every case that a release broke is replayed on each release, through each entry point. One process
(`simulations.releases.replay`) replays many cases and writes a line for each. A case that kills the
process, or takes too long, is without a line: it counts as ``died``, and a new process replays the
others.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cellspec.exit_codes import BAD_INPUT
from cellspec.files import write_files
from simulations.releases.environments import REPLAY, Workspace, key_of
from simulations.releases.processes import Json, last_line, read_object
from simulations.releases.release_list import EntryPoint, Release

__all__ = ["kept_replays", "replay_cases", "replays_of"]

_NO_END = 124
"""Exit code of a process that ended itself because one case took too long."""


def replay_cases(
    workspace: Workspace,
    release: Release,
    entry_point: EntryPoint,
    cases: Mapping[str, str],
    limit_s: float,
    *,
    again: bool,
    suite: Json | None = None,
) -> dict[str, Json]:
    """Replay cases through one entry point of one release.

    Args:
        workspace: where.
        release: the release.
        entry_point: the entry point.
        cases: the text of each case file, by name.
        limit_s: seconds for one case; a longer one is ended and the others go on.
        again: replay although the results are kept.
        suite: the results of this suite's run here, if there are any.

    Returns:
        The result of each case, by its name; see `simulations.releases.replay`.
    """
    place = workspace.place(release) / "replays"
    stem = f"{entry_point.name}.json"
    key = key_of(
        workspace.environment_key(release),
        workspace.engine.variables,
        entry_point.backend,
        workspace.digest,
    )
    kept = read_object(place / stem)
    done: dict[str, Json] = {}
    if kept.get("key") == key and not again:
        done = {name: each for name, each in kept["cases"].items() if name in cases}
    left = [name for name in cases if name not in done]
    if not left:
        return done
    began = time.monotonic()
    texts = {name: cases[name] for name in left}
    verdicts = place / f"{entry_point.name}-suite.json"
    write_files(place, {verdicts.name: json.dumps((suite or {}).get("clauses", {})) + "\n"})
    done |= replays_of(workspace, release, entry_point, texts, limit_s, place, verdicts=verdicts)
    write_files(place, {stem: json.dumps({"key": key, "cases": done}) + "\n"})
    took_s = time.monotonic() - began
    workspace.notify(
        f"{release.version} {entry_point.name}: {len(left)} cases replayed in {took_s:.0f} s"
    )
    return done


def replays_of(
    workspace: Workspace,
    release: Release,
    entry_point: EntryPoint,
    cases: Mapping[str, str],
    limit_s: float,
    place: Path,
    packages: Path | None = None,
    verdicts: Path | None = None,
    tries: int = 1,
) -> dict[str, Json]:
    """Replay cases and keep nothing; the result of each, by name.

    Args:
        workspace: where.
        release: the release.
        entry_point: the entry point.
        cases: the text of each case file, by name.
        limit_s: seconds for one case.
        place: a folder for the case files and the output.
        packages: a folder of modules that go before the installed ones.
        verdicts: the file of the suite's verdicts here, which spare replays of cases about cost.
        tries: runs of a case at most, each with one more clause waived; see
            `simulations.releases.replay`.
    """
    write_files(place / "cases", dict(cases))
    replay = _Replay(workspace, release, entry_point, limit_s, place, packages, verdicts, tries)
    return replay.results_of(cases)


def kept_replays(
    workspace: Workspace, release: Release, entry_point: EntryPoint, cases: Mapping[str, str]
) -> dict[str, Json]:
    """The kept results of these cases, also of an earlier suite."""
    kept = read_object(workspace.place(release) / "replays" / f"{entry_point.name}.json")
    return {name: each for name, each in kept.get("cases", {}).items() if name in cases}


@dataclass(frozen=True, slots=True)
class _Replay:
    """Replays of many cases on one release, in as many processes as it takes."""

    workspace: Workspace
    release: Release
    entry_point: EntryPoint
    limit_s: float
    place: Path
    packages: Path | None
    verdicts: Path | None
    tries: int

    def results_of(self, names: Iterable[str]) -> dict[str, Json]:
        workspace, place = self.workspace, self.place
        out = place / f"{self.entry_point.name}.jsonl"
        out.unlink(missing_ok=True)
        log = place / f"{self.entry_point.name}.log"
        done: dict[str, Json] = {}
        left = list(names)
        while left:
            command = [
                str(workspace.python(self.release)),
                *("-P", str(workspace.source / REPLAY.name)),
                f"--backend={self.entry_point.backend}",
                f"--out={out}",
                f"--limit-s={self.limit_s}",
                f"--tries={self.tries}",
                *([] if self.verdicts is None else [f"--suite={self.verdicts}"]),
                *(str(place / "cases" / name) for name in left),
            ]
            limit_s = 60 + self.limit_s * len(left)
            more = {"PYTHONHASHSEED": "0"}
            code = workspace.run(command, place, log, limit_s, more, self.packages)
            lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
            for line in lines:
                each = json.loads(line)
                each["detail"] = workspace.plain(each["detail"])
                done[each.pop("case")] = each
            left = [name for name in left if name not in done]
            if code == BAD_INPUT:
                # The backend cannot be made, or a case cannot be read: another process would fail.
                why = workspace.plain(last_line(log))
                return done | {name: _died(why) for name in left}
            if left:
                # The process died of the first case that has no line.
                ended = code in (None, _NO_END)
                why = "no end" if ended else f"exit code {code}: {last_line(log)}"
                done[left.pop(0)] = _died(workspace.plain(why))
        return done


def _died(why: str) -> Json:
    said = {"says": "died", "clause": "", "detail": why, "adapter": "", "first": ""}
    return {**said, "changes": []}
