"""The summary in the terminal: lines made from the results alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from cellspec.conformance.campaign.options import MAX_EXAMPLES
from cellspec.conformance.judge.verdict import Verdict, says_pass
from cellspec.conformance.report.baseline import comparison_lines
from cellspec.conformance.report.read_results import root_words
from cellspec.exit_codes import INCONCLUSIVE
from cellspec.text import counted, table_lines

__all__ = ["summary"]

_FEWEST = 5
"""How many clauses are named that the fewest workloads exercised."""


def summary(found: Mapping[str, Any]) -> list[str]:
    """The summary of a run, in lines; from its results alone."""
    lines: list[str] = []
    for backend in found["backends"]:
        lines += _summary(backend, found["suite"]["clauses"])
    return lines


def _summary(backend: Mapping[str, Any], clause_set: str) -> Iterator[str]:
    evidence = backend["evidence"]
    first, seeds = backend["seed"], backend.get("seeds", 1)
    drawn = f"seed {first}" if seeds == 1 else f"seeds {first} to {first + seeds - 1}"
    yield f"{backend['name']} {backend['version']}, {drawn}, clause set {clause_set}"
    yield f"capabilities {', '.join(backend['capabilities'])}"
    if evidence["smoke"] != "fine":
        yield f"smoke: {evidence['smoke']}"
    if backend.get("interrupted"):
        yield "interrupted: what was not judged by then is inconclusive"
    yield ""
    yield from _table(_profile_rows(backend))
    spoken = Counter(entry["verdict"] for entry in backend["clauses"].values())
    order = sorted(spoken, key=_urgency)
    yield ""
    verdicts = "clauses: " + ", ".join(f"{spoken[verdict]} {verdict}" for verdict in order)
    yield verdicts
    for reason, names in _by_reason(backend):
        yield f"  {reason}: {', '.join(names)}"
    for number, detail in backend.get("not_asked", {}).items():
        yield f"  broken too, and not asked for: {number} ({detail})"
    yield from _thin(backend)
    yield from _inconclusive(backend)
    if "baseline" in backend:
        yield from comparison_lines(backend["baseline"])
    if "pins" in backend:
        yield from _pins(backend["pins"], backend["clauses"])
    for name, profile in backend["profiles"].items():
        for what in [] if profile.get("stopped_at") else profile.get("owed", ()):
            yield f"  not covered in {name}: {what}"
        for what in profile.get("unasked", ()):
            why = backend.get("unasked", {}).get(what, "")
            yield (
                f"  not asked for in {name}, as `unasked` in the backend says: {what}"
                + (f" ({why})" if why else "")
            )
        for what in profile.get("out_of_reach", ()):
            yield f"  not asked for in {name}, nothing that the engine keeps leads to it: {what}"
        if profile.get("unequal"):
            yield f"  not deterministic in {name}: {profile['unequal']}"
    for name, why in backend.get("unclaimed", {}).items():
        yield f"  cannot be asked for {name}: {why}"
    alone = evidence.get("by_table_alone", 0)
    if alone:
        yield (
            f"{counted(alone, 'incarnation')} without a known claim: judged by tables, and by what "
            "calls show without one"
        )
    for call in evidence.get("real_time_in_virtual_time", ()):
        yield f"real time inside virtual time: {call}"
    if evidence["cost"]:
        cost = evidence["cost"]
        asked = cost["question_ratio"]
        yield (
            f"cost of an event with {cost['rows'][1]} rows, by that with {cost['rows'][0]}: "
            f"CPU time × {cost['cpu_ratio']:.2f}"
            + (f", questions to the graph × {asked:.2f}" if asked else "")
        )
        yield from _counted(cost.get("counted", {}))
    others = {} if Verdict.VIOLATED.value in spoken else backend.get("not_asked", {})
    yield from _causes(backend.get("causes", ()), verdicts, others)


def _causes(
    causes: Sequence[Mapping[str, Any]], verdicts: str, not_asked: Collection[str]
) -> Iterator[str]:
    """The roots, one line each, with what broke as a consequence.

    They come last, where a reader of a terminal looks first, with the verdicts once more.
    """
    if not causes:
        return
    others = all(cause["clause"] in not_asked for cause in causes)
    which = ", of clauses that were not asked for, which fail no run" if others else ""
    yield f"root causes: {len(causes)}{which} ({verdicts})"
    for number, cause in enumerate(causes, 1):
        words = root_words(
            cause["detail"], cause["size"], cause["workloads"], cause.get("seeds", ())
        )
        yield f"  {number}. {cause['clause']}: {words}"
        if cause["consequences"]:
            yield f"     and with it {', '.join(cause['consequences'])}"
        yield f"     {cause['replay']}"


def _thin(backend: Mapping[str, Any]) -> Iterator[str]:
    """The passes that rest on the fewest workloads, and how many pairs of features met."""
    passed = [
        (entry["exercised"], entry["examples"], number)
        for number, entry in backend["clauses"].items()
        if says_pass(entry["verdict"]) and entry.get("exercised")
    ]
    few = ", ".join(f"{number} by {n:,} of {of:,}" for n, of, number in sorted(passed)[:_FEWEST])
    if few:
        yield f"exercised by the fewest workloads: {few}"
    of = {name: one["pairs"] for name, one in backend["profiles"].items() if "pairs" in one}
    if any(pairs["possible"] for pairs in of.values()):
        met, possible = (sum(one[key] for one in of.values()) for key in ("met", "possible"))
        yield f"pairs of features in one workload, over all profiles: {met:,} of {possible:,}"
    for name, pairs in of.items():
        if pairs["unmet"] and not backend["profiles"][name]["stopped_at"]:
            yield f"  never together in {name}: {', '.join(pairs['unmet'])}"


def _inconclusive(backend: Mapping[str, Any]) -> Iterator[str]:
    """The consequence of judged clauses that are inconclusive, and what helps."""
    found = backend.get("inconclusive", {"clauses": ()})
    number = len(found["clauses"])
    if not number:
        return
    these = "1 judged clause is" if number == 1 else f"{number} judged clauses are"
    these += f" inconclusive{_not_counted(backend, found['clauses'])}"
    worse = found.get("worse", False)
    if found["fails"]:
        remedies = [*found.get("remedies", ()), "--conformance-allow-inconclusive, which allows it"]
        ends = "" if worse else f": exit code {INCONCLUSIVE}"
        yield f"{these}{ends}. What helps: {'; '.join(remedies)}"
    elif worse:
        yield these
    elif found["allowed"]:
        yield f"{these}, which --conformance-allow-inconclusive allows"
    else:
        yield (
            f"{these}; with {MAX_EXAMPLES} workloads of each profile or more that "
            f"ends with exit code {INCONCLUSIVE}"
        )


def _not_counted(backend: Mapping[str, Any], counted_ones: Collection[str]) -> str:
    """The inconclusive clauses that have no say in the exit code, in words; "" for none."""
    others = [
        number
        for number, entry in backend["clauses"].items()
        if entry["verdict"] == Verdict.INCONCLUSIVE.value and number not in counted_ones
    ]
    behind = {number for cause in backend.get("causes", ()) for number in cause["consequences"]}
    consequences = sum(number in behind for number in others)
    rest = len(others) - consequences
    why = "accepted" if {"baseline", "pins"} & backend.keys() else "without a test in this run"
    words = [f"{counted(consequences, 'consequence')} of root causes"] if consequences else []
    words += [f"{rest} {why}"] if rest else []
    return f" (not counting {', '.join(words)})" if words else ""


def _pins(pins: Mapping[str, Any], clauses: Mapping[str, Any]) -> Iterator[str]:
    """The clauses that are other than the user has pinned them; a strict run fails by them too."""
    file = pins["file"]
    if not any(pins[key] for key in ("new", "changed", "removed", "goals")):
        yield f"clauses: as pinned in {file}"
        return
    counts = "fail no run"
    if pins.get("strict"):
        counts = "fail this run as others do (--conformance-strict)"
    yield f"clauses that are not as pinned in {file} (clause set {pins['version']}), and {counts}:"
    for number, verdict in pins["new"].items():
        reason = "" if says_pass(verdict) else f" ({clauses[number]['reason']})"
        yield f"  new: {number}: {verdict}{reason}"
    for number, one in pins["changed"].items():
        reason = "" if says_pass(one["verdict"]) else f" ({clauses[number]['reason']})"
        yield f"  changed: {number}: {one['verdict']}{reason}"
        if one["was"] != one["is"]:
            yield f"    was: {one['was']}"
            yield f"    is: {one['is']}"
        else:
            yield "    its sentence is the same; its level, profile or capabilities are others"
    for number, reason in pins["removed"].items():
        yield f"  removed: {number}: {reason}"
    for goal in pins["goals"]:
        yield f"  new coverage goal: {goal}"
    yield f"  to judge by them from now on, remove {file}: the next run pins this clause set"


def _counted(shapes: Mapping[str, Any]) -> Iterator[str]:
    """For each clause about cost the scaling of the shape that grew most."""
    worst: dict[str, Any] = {}
    for shape in sorted(shapes.values(), key=lambda shape: float(shape["ratio"])):
        worst[shape["clause"]] = shape
    if worst:
        found = (f"{clause} × {worst[clause]['ratio']:.2f}" for clause in sorted(worst))
        yield f"lines of the engine's code for an event, as runs grow: {', '.join(found)}"


def _by_reason(backend: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Clauses that did not pass, those with the same reason together."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for number, entry in backend["clauses"].items():
        if not says_pass(entry["verdict"]):
            grouped.setdefault((entry["verdict"], entry["reason"]), []).append(number)
    for verdict, reason in sorted(grouped, key=lambda key: _urgency(key[0])):
        yield f"{verdict} ({reason})", grouped[verdict, reason]


def _urgency(verdict: str) -> int:
    """The place of a verdict in a list: the most urgent first."""
    order = ("violated", "xfail", "inconclusive")
    return order.index(verdict) if verdict in order else len(order) + (not says_pass(verdict))


def _profile_rows(backend: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    yield (
        "profile",
        "workloads",
        "pipelines",
        "schedules",
        "crashes",
        "events",
        "coverage goals",
        "",
    )
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
    for line in table_lines(cells, left=(0, len(cells[0]) - 1)):
        yield line.rstrip()
