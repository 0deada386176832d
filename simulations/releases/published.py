"""The published file for programs: everything that a release matrix found, as JSON.

`findings_json` writes it and `read_findings` reads it back, with the list of releases, the scripts
and the case files beside it. The pages are a function of these files alone, so anybody can write
them again without an engine and without the work folder:

    python -m simulations.releases --published

The pages then show the clauses as they are now: a verdict that follows from an earlier sentence is
marked. The trace of a failure is kept as the lines of its trace file. Equal findings give equal
bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellspec.clauses import clauses
from cellspec.conformance.run.case import read_case
from cellspec.errors import SpecError
from simulations.releases.cases import FoundCase, Place, explanation_of
from simulations.releases.causes import Cause, Causes
from simulations.releases.explained import Told, explain
from simulations.releases.findings import REPLAYED, SHOWN, Defect, Findings, Mended, PlaceCheck
from simulations.releases.outcome import Outcome
from simulations.releases.processes import Json
from simulations.releases.release_list import Engine
from simulations.releases.script_files import Script

__all__ = ["FINDINGS_FORMAT", "findings_json", "read_findings"]

FINDINGS_FORMAT = 3
"""The version of the file. Version 2 said `doors` for `entry_points` and `story` for
`explanation`, and had neither traces nor the sentences of the clauses."""

_OF_RUN = ("name", "version", "capabilities", "evidence", "sometimes")
_IF_KNOWN = ("profiles", "unasked", "unclaimed", "consequences")


def findings_json(found: Findings) -> str:
    """The file's text."""
    data = {
        "format": FINDINGS_FORMAT,
        "engine": found.engine.engine,
        "suite": {
            "version": found.version,
            "seed": found.seed,
            "max_examples": found.max_examples,
        },
        "rules": _rules(found),
        "entry_points": [entry_point.model_dump() for entry_point in found.engine.entry_points],
        "releases": [_release(found, one.version) for one in found.engine.releases],
        "replayed": found.replayed,
        "defects": [_defect(defect) for defect in found.defects],
        "scripts": [_script(found, script) for script in found.scripts],
        "causes": [_cause(found, each) for each in explain(found).of_newest],
        "troubles": found.troubles,
    }
    return json.dumps(data, ensure_ascii=False, indent=1) + "\n"


def _cause(found: Findings, one: Told) -> Json:
    """How a cause of the newest release was checked; the curated file has the rest."""
    cause = one.entry
    assert isinstance(cause, Cause)
    said: Json = {"id": cause.id, "harm": cause.harm, "title": cause.title}
    said["not_shown"] = list(one.not_shown)
    said["places"] = [
        {"file": each.file, "line": each.line, "text": each.text, "now": each.now}
        for each in found.place_checks
        if each.cause == cause.id
    ]
    tried = next((each for each in found.mended if each.cause == cause.id), None)
    if tried is not None:
        said["mended"] = {"error": tried.error, "scripts": dict(tried.scripts)}
    return said


def _rules(found: Findings) -> dict[str, dict[str, str]]:
    """The sentences that runs were judged by, by the short name of their set and by number."""
    rules: dict[str, dict[str, str]] = {}
    for outcome in found.outcomes.values():
        judged = (outcome.found or {}).get("clauses", {})
        known = rules.setdefault(outcome.rules_name, {}) if judged else {}
        known.update(
            {number: outcome.rules[number] for number in judged if number in outcome.rules}
        )
    order = {number: at for at, number in enumerate(clauses())}
    return {
        name: dict(sorted(each.items(), key=lambda item: (order.get(item[0], len(order)), item[0])))
        for name, each in rules.items()
    }


def _release(found: Findings, version: str) -> Json:
    entry_points: Json = {}
    for entry_point in found.engine.entry_points:
        outcome = found.outcomes[version, entry_point.name]
        said: Json = {"status": outcome.status, "detail": outcome.detail}
        if outcome.found is not None:
            said |= {"twice": outcome.twice} if outcome.twice else {}
            said |= {"suite": outcome.suite, "rules": outcome.rules_name}
            said |= {"seeds": outcome.seeds, "max_examples": outcome.max_examples}
            said |= {"earlier_rules": list(found.wording(version, entry_point.name))}
            said |= {name: outcome.found[name] for name in _OF_RUN}
            said |= {name: outcome.found[name] for name in _IF_KNOWN if outcome.found.get(name)}
            said["clauses"] = {
                number: _clause(found, (version, entry_point.name), number, entry)
                for number, entry in outcome.found["clauses"].items()
            }
        entry_points[entry_point.name] = said
    return {"version": version, "entry_points": entry_points}


def _clause(found: Findings, place: Place, number: str, entry: Mapping[str, Any]) -> Json:
    said = {"verdict": entry["verdict"], "reason": entry["reason"]}
    if isinstance(entry.get("examples"), int):
        said["examples"] = entry["examples"]
    if entry.get("exercised"):
        said["exercised"] = entry["exercised"]
    said["stands"] = found.stands(*place, number)
    if (*place, number) in found.unrepeated:
        said["replay"] = found.unrepeated[(*place, number)]
    if said["stands"] == REPLAYED:
        said["replays"] = [defect.identity for defect in found.replays_against(*place, number)]
    if said["stands"] == SHOWN:
        said["scripts"] = [one.file for one in found.scripts_against(place[0], number)]
    return said


def _defect(defect: Defect) -> Json:
    failure = defect.shown.failure
    return {
        "id": defect.identity,
        "clause": defect.clause,
        "case": f"cases/{defect.shown.name}",
        "detail": failure["detail"],
        "explanation": explanation_of(failure),
        "seq": failure.get("seq"),
        "waived": list(defect.shown.case.waived),
        **({"seed": failure["seed"]} if "seed" in failure else {}),
        "after": defect.after,
        "repeated": defect.repeated,
        "cases": defect.cases,
        "places": [list(place) for place in defect.shown.places],
        "found": [list(place) for place in defect.found],
        "replays": [[*place, said] for place, said in defect.replays.items()],
        **({} if defect.blames is None else {"blames": list(defect.blames)}),
        "trace": _trace_lines(failure.get("trace")),
    }


def _trace_lines(trace: Mapping[str, Any] | None) -> list[str] | None:
    if trace is None:
        return None
    lines = [trace["header"], *trace["events"]]
    return [json.dumps(line, ensure_ascii=False, separators=(",", ":")) for line in lines]


def _script(found: Findings, script: Script) -> Json:
    return {
        "file": f"scripts/{script.file}",
        "clauses": list(script.clauses),
        "defect": script.defect,
        "public": script.public,
        "fixed": script.fixed,
        "shows": list(found.shows(script)),
        "says": {
            version: said["says"]
            for (version, file), said in found.ran.items()
            if file == script.file
        },
    }


def read_findings(path: Path, engine: Engine, scripts: list[Script], causes: Causes) -> Findings:
    """The findings in a published file.

    Args:
        path: the file; its cases are in the folder ``cases`` beside it.
        engine: the list of releases.
        scripts: the stand-alone scripts.
        causes: the curated causes, as they are now.

    Raises:
        SpecError: the file, or a case, cannot be read, or is of another version.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise SpecError(f"{path}: not JSON: {error}") from None
    if not isinstance(data, dict) or data.get("format") != FINDINGS_FORMAT:
        version = data.get("format") if isinstance(data, dict) else None
        raise SpecError(f"{path}: format: expected {FINDINGS_FORMAT}, got {version!r}")
    places = [(one["version"], name) for one in data["releases"] for name in one["entry_points"]]
    runs = {
        (one["version"], name): said
        for one in data["releases"]
        for name, said in one["entry_points"].items()
    }
    return Findings(
        engine,
        path.stem,
        data["suite"]["version"],
        {place: _read_outcome(runs[place], data) for place in places},
        [_read_defect(each, path.parent) for each in data["defects"]],
        scripts,
        {
            (version, each["file"].removeprefix("scripts/")): {"says": says, "detail": ""}
            for each in data["scripts"]
            for version, says in each["says"].items()
        },
        {
            (*place, number): entry["replay"]
            for place in places
            for number, entry in runs[place].get("clauses", {}).items()
            if "replay" in entry
        },
        data["replayed"],
        causes,
        [
            PlaceCheck(each["id"], place["file"], place["line"], place["text"], place["now"])
            for each in data.get("causes", ())
            for place in each["places"]
        ],
        [
            Mended(each["id"], each["mended"]["error"], each["mended"]["scripts"])
            for each in data.get("causes", ())
            if "mended" in each
        ],
        data["troubles"],
    )


def _read_outcome(said: Json, data: Json) -> Outcome:
    outcome = Outcome(said["status"], said["detail"])
    if "clauses" not in said:
        return outcome
    names = (*_OF_RUN, *_IF_KNOWN)
    outcome.found = {name: said[name] for name in names if name in said}
    outcome.seeds = said.get("seeds", [data["suite"]["seed"]])
    outcome.found["seed"] = min(outcome.seeds)
    outcome.found["clauses"] = {
        number: {
            "verdict": entry["verdict"],
            "reason": entry["reason"],
            "examples": entry.get("examples"),
            "exercised": entry.get("exercised", 0),
            "failure": None,
        }
        for number, entry in said["clauses"].items()
    }
    outcome.twice, outcome.suite = said.get("twice", ""), said["suite"]
    outcome.rules_id, outcome.rules = said["rules"], data["rules"].get(said["rules"], {})
    outcome.max_examples = said.get("max_examples", data["suite"]["max_examples"])
    return outcome


def _read_defect(each: Json, folder: Path) -> Defect:
    case = read_case(folder / each["case"])
    trace = None
    if each["trace"] is not None:
        header, *events = map(json.loads, each["trace"])
        trace = {"header": header, "events": events}
    failure = {
        "clause": each["clause"],
        "detail": each["detail"],
        "seq": each["seq"],
        "explanation": each["explanation"],
        "workload": case.workload.to_dict(),
        "trace": trace,
        "waived": each["waived"],
        **({"seed": each["seed"]} if "seed" in each else {}),
    }
    found = FoundCase(Path(each["case"]).name, case, failure, _places(each["places"]))
    replays = {(version, entry_point): said for version, entry_point, said in each["replays"]}
    blames = None if each.get("blames") is None else tuple(each["blames"])
    return Defect(found, each["cases"], _places(each["found"]), replays, blames)


def _places(listed: list[list[str]]) -> tuple[Place, ...]:
    return tuple((version, entry_point) for version, entry_point in listed)
