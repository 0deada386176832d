"""The text of a failure: in full, for the first cause of a run; in a line, for any other."""

from __future__ import annotations

from collections.abc import Sequence

from cellspec.clauses import clauses
from cellspec.conformance.campaign.results import Failure
from cellspec.conformance.campaign.scaling_shapes import COST_CLAUSES
from cellspec.conformance.campaign.shrink_workload import extent_of
from cellspec.conformance.campaign.smoke import SMOKE
from cellspec.conformance.campaign.suite import Suite
from cellspec.conformance.report.read_results import root_words
from cellspec.conformance.run.case import describe, python_test

__all__ = ["failure_text", "pasted_test", "root_line"]


def failure_text(suite: Suite, failure: Failure) -> str:
    """The text by which a person sees the violation, and runs it again."""
    clause = clauses().get(failure.clause)
    where = f"workload {failure.example} of profile {failure.profile}, seed {failure.seed}"
    if failure.profile == SMOKE:
        where = f"workload {failure.example} of the smoke test"
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
        _block("run it again", [suite.replay_command(failure)]),
        _block("as a test of your own", pasted_test(suite, failure).splitlines()),
    ]
    return "\n\n".join(part for part in parts if part)


def root_line(suite: Suite, number: int) -> str:
    """One root in a line: what broke, in how small a workload, how often, and how to see it again.

    Args:
        suite: the run.
        number: the number of the root, from 1.
    """
    root = suite.roots[number - 1]
    seeds = root.seeds if suite.options.seeds > 1 else ()
    words = root_words(root.failure.detail, extent_of(root.failure.workload), root.found, seeds)
    return f"root {number}: {root.failure.clause}: {words}: {suite.replay_command(root.failure)}"


def _which(failure: Failure) -> str:
    """The title of the workload of a failure."""
    if failure.clause in COST_CLAUSES:
        return "the workload, which is run with more and more rows"
    if not failure.is_smallest:
        return "a workload that breaks it; the run was interrupted before a smaller one was found"
    return "the smallest workload that breaks it"


def _explanation(failure: Failure) -> list[str]:
    """The explanation without the lines that the text has already."""
    clause = clauses().get(failure.clause)
    rule = f"{failure.clause}: {clause.text}" if clause is not None else ""
    return [line for line in failure.explanation if line not in (rule, f"found: {failure.detail}")]


def _block(title: str, lines: Sequence[str]) -> str:
    return "\n".join([title, *(f"    {line}".rstrip() for line in lines)]) if lines else ""


def pasted_test(suite: Suite, failure: Failure) -> str:
    return python_test(suite.case_of(failure), made_by_call=suite.made_by_call)
