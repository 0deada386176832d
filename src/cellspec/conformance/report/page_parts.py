"""The parts that pages share: verdicts with symbol and meaning, clause texts, blocks of code."""

from __future__ import annotations

from cellspec.clauses import clauses
from cellspec.conformance.report.markup import Child, Markup, tag

__all__ = ["BEYOND", "GENERATOR", "MEANINGS", "OPEN", "SYMBOLS", "badge", "code_block", "sentence"]

SYMBOLS = {
    "pass": "✓",
    "violated": "✗",
    "inconclusive": "?",
    "not claimed": "–",
    "xfail": "△",
    "not repeated": "↺",
    "shown by a replay": "R",
    "shown by a script": "S",
}
MEANINGS = {
    "pass": "nothing broke it, and the evidence is complete",
    "violated": "a run broke it",
    "inconclusive": "nothing broke it, and something is missing that a pass needs",
    "not claimed": "the backend lacks a capability that the clause is about",
    "xfail": "a run broke it, as the list of expected failures says",
    "not repeated": "a run broke it, and the replay of its workload did not",
    "shown by a replay": "no run here broke it, and the workload of another release breaks it",
    "shown by a script": "no run broke it, or none again, and a stand-alone script shows it broken",
}
BEYOND = ("not repeated", "shown by a replay", "shown by a script")
"""Further words of the release matrix (`simulations.releases.findings`)."""

GENERATOR = "cellspec conformance"
"""The generator that each page of a report names: a page without it is somebody else's."""

OPEN = frozenset({"violated", "inconclusive", "xfail", *BEYOND})
"""The words that a reader who looks for trouble wants to see."""


def badge(verdict: str, *more: Child) -> Markup:
    """A verdict as symbol, word and colour; the element around it says the colour."""
    return tag("span", f"{SYMBOLS[verdict]} {verdict}", *more, class_="verdict")


def sentence(number: str) -> str:
    """The text of a clause."""
    clause = clauses().get(number)
    return clause.text if clause else "(a clause that this report does not know)"


def code_block(title: str, code: str, identity: str) -> Markup:
    """Code with a title, and a button that copies it."""
    return tag(
        "div",
        tag(
            "div",
            tag("h3", title),
            tag("button", "copy", type="button", data_copy=identity, aria_label=f"copy: {title}"),
            class_="code-head",
        ),
        tag("pre", tag("code", code, id=identity), class_="code"),
    )
