"""The cells of the matrix clauses × releases: a sign, and in words what it rests on.

Both pages show them: the Markdown page as signs with tables beside them, the HTML page with the
words under the pointer.
"""

from __future__ import annotations

from cellspec.conformance.judge.verdict import Verdict, says_pass
from cellspec.text import counted
from simulations.releases.findings import NOT_REPEATED, REPLAYED, SHOWN, Findings, is_broken

__all__ = ["MEANING", "sign", "why", "why_none"]

MEANING = {
    "✗": "a run broke the clause, and the replay of its workload breaks it again",
    "↺": "not repeated: a run broke the clause, and the replay of its workload did not",
    "R": "shown by a replay: a workload that broke the clause on another release or entry point "
    "breaks it here; no run here did, or none again",
    "S": "shown by a script: a stand-alone script shows that this release breaks the clause, "
    "through whichever entry point; no run of the suite did, or none again",
    "✓": "nothing broke the clause, and the evidence is complete; how many workloads could have "
    "broken it is under the matrix",
    "?": "nothing broke the clause, and something that a pass needs is missing",
    "–": "the backend does not have the capability that the clause is about",
    "·": "the suite gave no verdict; the reasons are under the matrix",
    "†": "judged by an earlier sentence of the clause",
}
"""What each sign says."""


def sign(found: Findings, version: str, entry_point: str, number: str) -> str:
    """The sign of a clause on one release, through one entry point."""
    word = found.stands(version, entry_point, number)
    judged = word not in ("", Verdict.NOT_CLAIMED.value, REPLAYED, SHOWN)
    earlier = judged and number in found.wording(version, entry_point)
    return _symbol(word) + ("†" if earlier else "")


def _symbol(word: str) -> str:
    if says_pass(word):
        return "✓"
    if is_broken(word):
        return "✗"
    symbols = {Verdict.INCONCLUSIVE.value: "?", Verdict.NOT_CLAIMED.value: "–"}
    return {**symbols, NOT_REPEATED: "↺", REPLAYED: "R", SHOWN: "S"}.get(word, "·")


def why(found: Findings, version: str, entry_point: str, number: str) -> str:
    """What a sign rests on, in words."""
    outcome = found.outcomes[version, entry_point]
    word = found.stands(version, entry_point, number)
    entry = (outcome.found or {}).get("clauses", {}).get(number, {})
    seeds = counted(len(outcome.seeds), "seed")
    if word == REPLAYED:
        return ", ".join(
            one.identity for one in found.replays_against(version, entry_point, number)
        )
    if word == SHOWN:
        return ", ".join(one.file for one in found.scripts_against(version, number))
    if not entry:
        return why_none(found, version, entry_point, number)
    return f"{entry['reason']}; {seeds}"


def why_none(found: Findings, version: str, entry_point: str, number: str) -> str:
    """Why the suite gave no verdict on a clause."""
    outcome = found.outcomes[version, entry_point]
    if outcome.found is None:
        return f"{outcome.status}: {outcome.detail}".removesuffix(": ")
    if number not in outcome.rules:
        return "the clauses of that run did not have it yet"
    return "that run did not judge it"
