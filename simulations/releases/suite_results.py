"""The findings as results of the conformance suite, for its own report.

The report (`cellspec.conformance.report.html`) has a column for each backend; here that is each
release and entry point. It would have a page for every failure of every release, most of them
alike: only the workload that the Markdown page shows has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cellspec.conformance.report.read_results import RESULTS_FORMAT
from simulations.releases.cases import explanation_of
from simulations.releases.findings import NOT_REPEATED, REPLAYED, SHOWN, Defect, Findings
from simulations.releases.markdown_defects import DID, replay_command

__all__ = ["suite_results"]


def suite_results(found: Findings) -> dict[str, Any]:
    """The results, with a backend for each release and entry point."""
    shown = {
        (*defect.shown.places[0], defect.clause): defect
        for defect in reversed(found.defects)
        if defect.repeated and not defect.after
    }
    backends = []
    for (version, entry_point), outcome in found.outcomes.items():
        if outcome.found is None:
            continue
        command = f"python -m simulations.releases --release {version} --entry-point {entry_point}"
        entries = {
            number: _entry(found, (version, entry_point, number), entry, shown)
            for number, entry in outcome.found["clauses"].items()
        }
        # The roots of one run name case files of its own; the page tells those of all runs.
        told = {name: value for name, value in outcome.found.items() if name != "causes"}
        backends.append(
            {
                **told,
                "name": f"{version} {entry_point}",
                "version": "",
                "command": command,
                "clauses": entries,
            }
        )
    return {
        "format": RESULTS_FORMAT,
        "suite": {"version": found.version},
        "backends": backends,
    }


def _entry(
    found: Findings,
    where: tuple[str, str, str],
    entry: Mapping[str, Any],
    shown: Mapping[tuple[str, str, str], Defect],
) -> dict[str, Any]:
    """A clause's result, with its failure if the Markdown page shows that workload."""
    version, _, number = where
    word, reason = found.stands(*where), entry["reason"]
    if word == REPLAYED:
        against = ", ".join(one.identity for one in found.replays_against(*where))
        reason = f"the replay of {against} breaks it; the suite said {entry['verdict']}: {reason}"
    if word == SHOWN:
        files = ", ".join(script.file for script in found.scripts_against(version, number))
        reason = f"{files} shows it; the suite said {entry['verdict']}: {reason}"
    if word == NOT_REPEATED:
        did = DID.get(found.unrepeated[where], "was not made")
        reason = f"a run broke it: {reason}; the replay of its workload {did}"
    defect = shown.get(where)
    said = {**entry, "verdict": word, "reason": reason, "failure": None}
    if defect is None:
        return said
    failure = {**defect.shown.failure, "story": explanation_of(defect.shown.failure)}
    return {**said, "failure": {**failure, "replay": replay_command(defect)}}
