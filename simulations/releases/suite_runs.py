"""Runs the conformance suite in the environment of a release, and keeps the outcome.

One run of the suite draws from all seeds of a release (``--seeds``). So each root cause is looked
for once, and not once for each seed: half of the time of a run may go into that search.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from cellspec.exit_codes import BAD_INPUT, FINE, INCONCLUSIVE, VIOLATED
from cellspec.files import write_files
from simulations.releases.environments import Workspace, key_of
from simulations.releases.outcome import Outcome, Plan
from simulations.releases.processes import Json, cpu_seconds, last_line, read_object
from simulations.releases.release_list import EntryPoint, Release

__all__ = ["gather_failures", "keep_missing_environment", "kept_outcome", "run_suite"]


def run_suite(
    workspace: Workspace, release: Release, entry_point: EntryPoint, plan: Plan
) -> Outcome:
    """Run the suite through one entry point of one release, unless its outcome is kept."""
    seeds = plan.seeds_of(workspace.engine, release)
    place = _place(workspace, release, entry_point, seeds)
    asked = _options(workspace, release, plan)
    key = key_of(
        workspace.environment_key(release),
        workspace.engine.variables,
        entry_point.backend,
        workspace.digest,
        asked,
    )
    kept = _kept(place)
    where = f"{release.version} {entry_point.name} {place.name}"
    if not plan.again and kept.ran and kept.key == key and (kept.twice or not plan.twice):
        workspace.notify(f"{where}: kept")
        return kept
    began, spent = time.monotonic(), cpu_seconds()
    command = [f"--engine-backend={entry_point.backend}", *asked]
    outcome = _run(workspace, release, command, plan.limit_s, place, hash_seed="0")
    if plan.twice and outcome.ran:
        again = place / "second"
        second = _run(workspace, release, command, plan.limit_s, again, hash_seed="1")
        outcome.twice = _difference(outcome, second)
    outcome.key, outcome.suite, outcome.rules = key, workspace.digest, workspace.rules
    outcome.max_examples = plan.examples_of(workspace.engine, release)
    outcome.seeds = seeds if outcome.ran else []
    outcome.seconds = round(time.monotonic() - began, 1)
    outcome.cpu_seconds = round(cpu_seconds() - spent, 1)
    _keep(place, outcome)
    workspace.notify(
        f"{where}: {_counts(outcome)} "
        f"in {outcome.seconds:.0f} s, {outcome.cpu_seconds:.0f} s of CPU"
        + (f", twice: {outcome.twice}" if outcome.twice else "")
    )
    return outcome


def kept_outcome(
    workspace: Workspace, release: Release, entry_point: EntryPoint, seeds: Sequence[int]
) -> Outcome:
    """The kept outcome of these seeds, also of an earlier suite."""
    return _kept(_place(workspace, release, entry_point, seeds))


def _place(
    workspace: Workspace, release: Release, entry_point: EntryPoint, seeds: Sequence[int]
) -> Path:
    last = f"-to-{seeds[-1]}" if len(seeds) > 1 else ""
    return workspace.place(release) / entry_point.name / f"seed-{seeds[0]}{last}"


def _options(workspace: Workspace, release: Release, plan: Plan) -> list[str]:
    """The options of the suite for a release."""
    engine = workspace.engine
    asked = [f"--max-examples={plan.examples_of(engine, release)}", f"--seed={plan.seed}"]
    if plan.is_older(engine, release):
        return [*asked, "--slow"]
    return [*asked, f"--seeds={plan.seeds}"]


def _kept(place: Path) -> Outcome:
    try:
        return Outcome(**read_object(place / "outcome.json"))
    except TypeError:
        return Outcome()


def keep_missing_environment(
    workspace: Workspace,
    release: Release,
    entry_point: EntryPoint,
    seeds: Sequence[int],
    why: str,
) -> None:
    """Keep the outcome of a run whose environment could not be made, like any other."""
    outcome = Outcome("no environment", why, suite=workspace.digest)
    _keep(_place(workspace, release, entry_point, seeds), outcome)


def _keep(place: Path, outcome: Outcome) -> None:
    text = json.dumps(asdict(outcome), ensure_ascii=False) + "\n"
    write_files(place, {"outcome.json": text})


def _run(
    workspace: Workspace,
    release: Release,
    asked: Sequence[str],
    limit_s: float,
    place: Path,
    *,
    hash_seed: str,
) -> Outcome:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    # Without a file of its own pytest would take the one of the checkout around this folder.
    write_files(place, {"pytest.ini": "[pytest]\n"})
    command = [
        str(workspace.python(release)),
        *("-m", "pytest", "-q", "-c", "pytest.ini", "-p", "no:cacheprovider"),
        *("--tb=no", "--pyargs", "cellspec.conformance"),
        *asked,
        "--conformance-report=report",
        "--conformance-json=results.json",
    ]
    log = place / "log.txt"
    code = workspace.run(command, place, log, limit_s, {"PYTHONHASHSEED": hash_seed})
    if code is None:
        return Outcome("out of time", f"it was ended after {limit_s:g} s")
    found = read_object(place / "results.json")
    if code not in (FINE, VIOLATED, BAD_INPUT, INCONCLUSIVE) or not found.get("backends"):
        why = last_line(log) or "it said nothing"
        return Outcome("died", workspace.plain(f"exit code {code}: {why}"))
    backend = found["backends"][0]
    cases = [read_object(path) for path in sorted((place / "report" / "cases").glob("*.json"))]
    gather_failures(backend, cases)
    return Outcome("ran", found=workspace.settled(backend))


def gather_failures(backend: Json, cases: Sequence[Json]) -> None:
    """Put all failures of a clause with it, each with its seed and the clauses that were waived.

    The first failure of a clause stands with the clause, later ones with their root cause. What was
    waived is in the root cause, and, in results without root causes, in the case file. A clause
    that broke as a consequence of roots alone has no failure of its own: ``consequences`` tells, by
    clause and by the clause of the root, in how many workloads.
    """
    waived = {case["clause"]: case["waived"] for case in cases if "waived" in case}
    seeds: dict[str, int] = {}
    more: dict[str, list[Json]] = {}
    consequences: dict[str, dict[str, int]] = {}
    for root in backend.get("causes", ()):
        for number, each in root.get("consequences", {}).items():
            of_root = consequences.setdefault(number, {})
            of_root[root["clause"]] = of_root.get(root["clause"], 0) + each["workloads"]
        if "failure" in root:
            failure = {**root["failure"], "waived": root["waived"], "seed": root["seed"]}
            more.setdefault(root["clause"], []).append(failure)
        else:
            waived[root["clause"]], seeds[root["clause"]] = root["waived"], root["seed"]
    for number, entry in backend["clauses"].items():
        if entry["failure"] is not None:
            entry["failure"]["waived"] = waived.get(number, [])
            if number in seeds:
                entry["failure"]["seed"] = seeds[number]
            entry["failures"] = [entry["failure"], *more.get(number, ())]
    if consequences:
        backend["consequences"] = consequences


def _difference(first: Outcome, second: Outcome) -> str:
    """``"equal"``, or which verdicts of two runs differ."""
    if not second.ran or first.found is None or second.found is None:
        return f"the second run: {second.status}"
    one, two = first.found["clauses"], second.found["clauses"]
    other = [
        f"{number} {one.get(number, {}).get('verdict')}, then {two.get(number, {}).get('verdict')}"
        for number in sorted({*one, *two})
        if one.get(number, {}).get("verdict") != two.get(number, {}).get("verdict")
    ]
    if other:
        return "; ".join(other)
    return "equal" if first.found == second.found else "equal verdicts"


def _counts(outcome: Outcome) -> str:
    """How many clauses have which verdict, for the progress; or why there are not any."""
    if outcome.found is None:
        return f"{outcome.status}: {outcome.detail}"
    words = [entry["verdict"] for entry in outcome.found["clauses"].values()]
    counts = {word: words.count(word) for word in sorted(set(words))}
    return ", ".join(f"{count} {word}" for word, count in counts.items())
