"""What the suite has to say, in the forms in which it is wanted.

==============  ================================================================================
form            for
==============  ================================================================================
failure text    whoever broke a clause: the rule, what happened, the smallest workload, the
                explanation, a line that runs it again, and a test to paste
summary         the terminal: what was tried, and what may be said, by profile
results         programs: one JSON object, the input of the HTML matrix
JUnit           properties of each test case, put there by the tests themselves
==============  ================================================================================

All but the first are made from `results`, so that they cannot differ, and so that a run spread over
processes can be reported by the one that did not do it. The verdicts in it are spelled by
`cellspec.conformance.judge.verdict`; nothing here decides one.

A folder of reports keeps the newest results of each backend: a run replaces its own and leaves the
others, so that the matrix shows all of them side by side.
"""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cellspec.clauses import clause_set, clause_set_version, clauses
from cellspec.conformance.campaign.failures import Failure
from cellspec.conformance.campaign.scaling import COST_CLAUSES
from cellspec.conformance.campaign.suite import MAX_EXAMPLES, Suite
from cellspec.conformance.judge.profiles import Profile
from cellspec.conformance.judge.verdict import says_pass
from cellspec.conformance.report.html import INDEX, render
from cellspec.conformance.run.case import describe, python_test
from cellspec.exit_codes import INCONCLUSIVE
from cellspec.files import write_files

__all__ = [
    "RESULTS_FORMAT",
    "RESULTS_NAME",
    "failure_text",
    "merged",
    "results",
    "summary",
    "write_reports",
]

RESULTS_FORMAT = 1
"""The version of the results file."""

RESULTS_NAME = "results.json"
"""What the results are called in a folder of reports."""

Json = dict[str, Any]


# A failure


def failure_text(suite: Suite, failure: Failure) -> str:
    """All that a person needs to see what broke, and to see it again."""
    clause = clauses().get(failure.clause)
    where = f"workload {failure.example} of profile {failure.profile}, seed {suite.options.seed}"
    if suite.case is not None and suite.options.replay is not None:
        about = suite.case.clause
        other = f", which was about {about}" if about not in ("", failure.clause) else ""
        where = f"replay of {suite.shown(suite.options.replay)}{other}"
    parts = [
        f"{failure.clause} is broken by {suite.backend.name} {suite.backend.version} ({where})",
        _block("the rule", [clause.text] if clause is not None else []),
        _block("what happened", [failure.detail]),
        _block(_which(failure), describe(failure.workload)),
        _block("not judged in it", [", ".join(failure.waived)] if failure.waived else []),
        _block("how it came about", _explanation(failure)),
        _block("run it again", [suite.replay_command(failure.clause)]),
        _block("as a test of your own", _pasted(suite, failure).splitlines()),
    ]
    return "\n\n".join(part for part in parts if part)


def _which(failure: Failure) -> str:
    """What the workload of a failure is."""
    if failure.clause in COST_CLAUSES:
        return "the workload, which is run with more and more rows"
    return "the smallest workload that breaks it"


def _explanation(failure: Failure) -> list[str]:
    """The explanation without the lines that the text has already."""
    clause = clauses().get(failure.clause)
    rule = f"{failure.clause}: {clause.text}" if clause is not None else ""
    return [line for line in failure.explanation if line not in (rule, f"found: {failure.detail}")]


def _block(title: str, lines: Sequence[str]) -> str:
    return "\n".join([title, *(f"    {line}".rstrip() for line in lines)]) if lines else ""


def _pasted(suite: Suite, failure: Failure) -> str:
    return python_test(suite.case_of(failure), made_by_call=suite.made_by_call)


# Results


def results(suite: Suite) -> Json:
    """The results of a run, as JSON data: the same for the same seed, but for the cost."""
    return {
        "format": RESULTS_FORMAT,
        "suite": {
            "version": _version(),
            "clauses": clause_set_version(),
            "digest": clause_set(),
        },
        "backends": [_backend(suite)],
    }


def _version() -> str:
    try:
        return version("cellspec")
    except PackageNotFoundError:
        return "unknown"


def _backend(suite: Suite) -> Json:
    judged: Json = {}
    for profile, clause, judgement in suite.judgements():
        done = suite.campaigns.get(profile.name)
        failure = suite.failures.get(clause.number)
        judged[clause.number] = {
            "verdict": judgement.verdict.value,
            "reason": judgement.reason,
            "examples": 0 if done is None else done.evidence.workloads,
            "failure": None if failure is None else _failure(suite, failure),
        }
    for failure in suite.other_failures():
        judgement = suite.broken(failure)
        judged[failure.clause] = {
            "verdict": judgement.verdict.value,
            "reason": judgement.reason,
            "examples": failure.example,
            "failure": _failure(suite, failure),
        }
    sometimes: Counter[str] = Counter()
    for campaign in suite.campaigns.values():
        sometimes.update({str(what): n for what, n in campaign.evidence.sometimes.items()})
    return {
        "name": suite.backend.name,
        "version": suite.backend.version,
        "capabilities": list(suite.claims),
        "seed": suite.options.seed,
        "command": suite.command,
        "clauses": judged,
        "inconclusive": {
            "clauses": dict(suite.inconclusive),
            "allowed": suite.options.allow_inconclusive,
            "fails": suite.fails_inconclusive,
        },
        "evidence": _evidence(suite),
        "sometimes": {what: sometimes[what] for what in sorted(sometimes)},
        "profiles": {profile.name: _profile(suite, profile) for profile in suite.profiles},
    }


def _failure(suite: Suite, failure: Failure) -> Json:
    return {
        "clause": failure.clause,
        "detail": failure.detail,
        "seq": failure.seq,
        "story": list(failure.explanation),
        "workload": failure.workload.to_dict(),
        "trace": {"header": dict(failure.header), "events": [dict(e) for e in failure.events]},
        "replay": suite.replay_command(failure.clause),
        "pytest": _pasted(suite, failure),
    }


def _profile(suite: Suite, profile: Profile) -> Json:
    done = suite.campaigns.get(profile.name)
    if done is None:
        return {"not_run": suite.not_run(profile)}
    return {
        **done.evidence.to_json(),
        "sometimes": {
            str(one.what): done.evidence.sometimes[one.what]
            for one in profile.goals
            if one.needs <= frozenset(suite.claims)
        },
        "owed": [str(what) for what in done.evidence.uncovered(profile, suite.claims)],
    }


def _evidence(suite: Suite) -> Json:
    """What was tried in all campaigns, in figures that can be added up."""
    all_of_them = [campaign.evidence for campaign in suite.campaigns.values()]
    graphs = {digest for evidence in all_of_them for digest in evidence.graphs}
    traces = {digest for evidence in all_of_them for digest in evidence.traces}
    smoke = suite.smoke
    return {
        "smoke": "fine" if smoke is None else str(smoke),
        "workloads": sum(evidence.workloads for evidence in all_of_them),
        "pipelines": len(graphs),
        "schedules": len(traces),
        "lives": sum(evidence.incarnations for evidence in all_of_them),
        "crashes": sum(evidence.crash_points for evidence in all_of_them),
        "events": sum(evidence.events for evidence in all_of_them),
        "run_twice": sum(evidence.repeated for evidence in all_of_them),
        "deterministic": suite.deterministic,
        "cost": suite.cost(),
    }


# The terminal


def summary(found: Mapping[str, Any]) -> list[str]:
    """The summary of a run, in lines; from its results alone."""
    lines: list[str] = []
    for backend in found["backends"]:
        lines += _summary(backend, found["suite"]["clauses"])
    return lines


def _summary(backend: Mapping[str, Any], clause_set: str) -> Iterator[str]:
    evidence = backend["evidence"]
    yield f"{backend['name']} {backend['version']}, seed {backend['seed']}, clause set {clause_set}"
    yield f"claims {', '.join(backend['capabilities'])}"
    if evidence["smoke"] != "fine":
        yield f"smoke: {evidence['smoke']}"
    yield ""
    yield from _table(_profile_rows(backend))
    spoken = Counter(entry["verdict"] for entry in backend["clauses"].values())
    order = sorted(spoken, key=_urgency)
    yield ""
    yield "clauses: " + ", ".join(f"{spoken[verdict]} {verdict}" for verdict in order)
    for reason, names in _by_reason(backend):
        yield f"  {reason}: {', '.join(names)}"
    yield from _inconclusive(backend.get("inconclusive", {"clauses": ()}))
    for name, profile in backend["profiles"].items():
        for what in [] if profile.get("stopped_at") else profile.get("owed", ()):
            yield f"  never seen in {name}: {what}"
        for what in profile.get("unasked", ()):
            yield f"  not asked for in {name}, the engine has no word for it: {what}"
        if profile.get("unequal"):
            yield f"  not deterministic in {name}: {profile['unequal']}"
    if evidence["cost"]:
        cost = evidence["cost"]
        asked = cost["question_ratio"]
        yield (
            f"cost of an event with {cost['rows'][1]} rows, by that with {cost['rows'][0]}: "
            f"CPU time × {cost['cpu_ratio']:.2f}"
            + (f", questions to the graph × {asked:.2f}" if asked else "")
        )
        yield from _counted(cost.get("counted", {}))


def _inconclusive(found: Mapping[str, Any]) -> Iterator[str]:
    """What claimed clauses that are inconclusive mean for the run."""
    number = len(found["clauses"])
    if not number:
        return
    told = "1 claimed clause is" if number == 1 else f"{number} claimed clauses are"
    if found["fails"]:
        yield (
            f"{told} inconclusive: exit code {INCONCLUSIVE}. Give more workloads (--max-examples), "
            "or allow it (--conformance-allow-inconclusive)"
        )
    elif found["allowed"]:
        yield f"{told} inconclusive, which --conformance-allow-inconclusive allows"
    else:
        yield (
            f"{told} inconclusive; with {MAX_EXAMPLES} workloads of each profile or more that ends "
            f"with exit code {INCONCLUSIVE}"
        )


def _counted(shapes: Mapping[str, Any]) -> Iterator[str]:
    """What was counted for each clause about cost: the shape that grew most."""
    worst: dict[str, Any] = {}
    for shape in sorted(shapes.values(), key=lambda shape: float(shape["ratio"])):
        worst[shape["clause"]] = shape
    if worst:
        found = (f"{clause} × {worst[clause]['ratio']:.2f}" for clause in sorted(worst))
        yield f"lines of the engine's code for an event, as runs grow: {', '.join(found)}"


def _by_reason(backend: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Clauses of which more is to be said, those with the same reason together."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for number, entry in backend["clauses"].items():
        if not says_pass(entry["verdict"]):
            grouped.setdefault((entry["verdict"], entry["reason"]), []).append(number)
    for verdict, reason in sorted(grouped, key=lambda key: _urgency(key[0])):
        yield f"{verdict} ({reason})", grouped[verdict, reason]


def _urgency(verdict: str) -> int:
    """Where a verdict stands in a list: what somebody must act on first."""
    order = ("violated", "xfail", "inconclusive")
    return order.index(verdict) if verdict in order else len(order) + (not says_pass(verdict))


def _profile_rows(backend: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    yield ("profile", "workloads", "pipelines", "schedules", "crashes", "events", "obligations", "")
    for name, profile in backend["profiles"].items():
        if name not in backend["capabilities"]:
            # Its clauses are listed as not claimed, and there is no more to say.
            continue
        if "not_run" in profile:
            yield (name, "–", "–", "–", "–", "–", "–", profile["not_run"])
            continue
        met = [count > 0 for count in profile["sometimes"].values()]
        stopped = f"stopped at {profile['stopped_at']}" if profile["stopped_at"] else ""
        yield (
            name,
            f"{profile['workloads']:,} of {profile['planned']:,}",
            f"{profile['distinct_graphs']:,}",
            f"{profile['distinct_traces']:,}",
            f"{profile['crash_points']:,}",
            f"{profile['events']:,}",
            f"{sum(met)} of {len(met)}",
            stopped,
        )


def _table(rows: Iterator[Sequence[str]]) -> Iterator[str]:
    """Columns of text: the first and the last to the left, numbers to the right."""
    cells = list(rows)
    widths = [max(len(row[place]) for row in cells) for place in range(len(cells[0]))]
    for row in cells:
        parts = [
            text.ljust(width) if place in (0, len(row) - 1) else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(parts).rstrip()


# Files


def merged(found: Json, path: Path) -> Json:
    """The results with those of other backends that the file holds; each backend once, by name.

    A file that is not there, is no results file, or is of another version of the suite, holds
    nothing that could stand beside them.
    """
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        same = before["format"] == found["format"] and before["suite"] == found["suite"]
        others = [dict(one) for one in before["backends"]] if same else []
        mine = {one["name"]: one for one in found["backends"]}
        kept = [mine.pop(one["name"], one) for one in others]
    except (OSError, ValueError, KeyError, TypeError):
        return found
    return {**found, "backends": [*kept, *mine.values()]}


def write_reports(
    found: Json,
    *,
    folder: Path | None = None,
    json_file: Path | None = None,
    html_file: Path | None = None,
) -> list[Path]:
    """Write results where they are wanted; each file whole or not at all.

    Args:
        found: the results of this run.
        folder: a folder of reports: the results of all backends, and the HTML pages.
        json_file: a file for the results of this run.
        html_file: a file for the HTML matrix of this run; pages of failures go beside it.

    Returns:
        The files that a reader begins with.

    Raises:
        SpecError: a file cannot be written.
    """
    written: list[Path] = []
    if folder is not None:
        everything = merged(found, folder / RESULTS_NAME)
        pages = render(everything)
        write_files(folder, {RESULTS_NAME: _text(everything), **pages})
        written += [folder / name for name in (RESULTS_NAME, INDEX)]
    if json_file is not None:
        write_files(json_file.parent, {json_file.name: _text(found)})
        written.append(json_file)
    if html_file is not None:
        pages = render(found)
        # Pages of failures lead back to the matrix, whatever it is called.
        name = html.escape(html_file.name)
        links = {
            page: text.replace(f'href="{INDEX}', f'href="{name}') for page, text in pages.items()
        }
        named = {html_file.name: links.pop(INDEX), **links}
        write_files(html_file.parent, named)
        written.append(html_file)
    return written


def _text(found: Mapping[str, Any]) -> str:
    return json.dumps(found, ensure_ascii=False, indent=1) + "\n"
