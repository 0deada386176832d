"""One word for one thing: retired words are out of pages, clauses, help and output shown."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from cellspec.clauses import chapters, clauses
from cellspec.conformance.run.coverage_goals import Sometimes
from tests.pages import PAGES, ROOT, blocks_of

GLOSSARY = ROOT / "plans" / "glossary.md"

# Word, then its replacement. `plans/glossary.md` has the same table, with the words in one sense
# only ("claim" of a backend, "waiting" of tasks) beside these, which are wrong in every sense.
RETIRED = {
    r"li(?:fe|ves)": "incarnation, or run 2 of the process",
    r"obligations?": "coverage goal",
    r"witness(?:es)?": "coverage",
    r"occasions?": "exercised",
    r"stor(?:y|ies)": "explanation",
    r"lockstep": "equivalence check",
    r"sealed loop": "hermetic loop",
    r"cool(?:ing|s|ed)?[- ]?downs?|cooling": "backoff",
    r"fates?": "row outcome",
    r"doors?": "entry point",
    r"shops?": "workspace",
    r"tiers": "bounds",
    r"provenance table judge": "table judge",
}
WORDS = re.compile(rf"\b(?:{'|'.join(RETIRED)})\b", re.IGNORECASE)

# Pages that a command writes from recorded runs, which keep the words of their time.
RECORDED = {"simulations/releases/datadesigner.md", "simulations/results/benchmarks.md"}
ALLOWED: dict[str, set[str]] = {
    # Names of the published line protocol, format 1.
    "specs/protocol/README.md": {"life", "cooling"},
    # What changed, under the names of the time.
    "CHANGELOG.md": {"lockstep"},
}


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def shown(text: str) -> str:
    """A page's prose and what it shows of outputs; no code, and no names in code font."""
    for block in reversed(list(blocks_of(text))):
        kept = block.body if block.kind == "text" and block.prints else ""
        text = text[: block.at] + kept + text[block.at + len(block.body) :]
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    return re.sub(r"`[^`\n]+`|\]\([^)]*\)", "", text)


def retired_in(text: str, allowed: Collection[str] = ()) -> list[str]:
    return [word for word in WORDS.findall(text) if word.lower() not in allowed]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_uses_no_retired_word(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if page == GLOSSARY:
        text = text.partition("## Retired words")[0]
    if name(page) not in RECORDED:
        assert retired_in(shown(text), ALLOWED.get(name(page), ())) == []


@pytest.mark.parametrize("number", clauses())
def test_a_clause_uses_no_retired_word(number: str) -> None:
    clause = clauses()[number]
    assert retired_in(f"{clause.text} {clause.intent}") == []


# Scenarios that a reader opens: their comments are prose, too.
SCENARIOS = sorted(
    path
    for folder in ("simulations", "examples", "src/sim/examples")
    for path in (ROOT / folder).glob("*.yaml")
)


@pytest.mark.parametrize("path", SCENARIOS, ids=name)
def test_a_comment_of_a_scenario_uses_no_retired_word(path: Path) -> None:
    comments = re.findall(r"(?:^|\s)#(.*)", path.read_text(encoding="utf-8"))
    assert retired_in("\n".join(comments)) == []


ASSETS = sorted((ROOT / "src/cellspec/conformance/report/assets").iterdir())


@pytest.mark.parametrize("path", ASSETS, ids=name)
def test_an_asset_of_the_report_pages_uses_no_retired_word(path: Path) -> None:
    assert retired_in(path.read_text(encoding="utf-8")) == []


def errors_said(tree: ast.Module) -> Iterator[str]:
    """The texts in the statements that raise an error or refuse a report of an engine."""
    for node in ast.walk(tree):
        refuses = isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "refuse"
        if refuses or isinstance(node, ast.Raise):
            for part in ast.walk(node):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.value


def test_the_text_of_an_error_uses_no_retired_word() -> None:
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "src").rglob("*.py")):
        for text in errors_said(ast.parse(path.read_text(encoding="utf-8"))):
            if words := retired_in(text):
                found.setdefault(path.relative_to(ROOT / "src").as_posix(), []).extend(words)
    assert found == {}


def test_chapters_and_coverage_goals_use_no_retired_word() -> None:
    assert retired_in(" ".join(f"{one.title} {one.about}" for one in chapters())) == []
    assert retired_in(" ".join(Sometimes)) == []


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from parsers(sub)


def test_printed_help_uses_no_retired_word() -> None:
    from sim.cli import parser_of_commands

    for parser in parsers(parser_of_commands()):
        # An option keeps its old name beside the new one for a version.
        text = re.sub(r"--[\w-]+", "", parser.format_help())
        assert retired_in(text) == [], parser.prog


# Words of a name, and the names of published formats and old names that still hold one.
RETIRED_IN_NAMES = re.compile(
    r"(?:^|_)(?:life|lives|obligations?|witness(?:es)?|occasions?|stor(?:y|ies)|lockstep|cooling|"
    r"cool(?:ed)?_downs?|fates?|doors?|shops?|told|heard|tell|hear|growths?)(?:_|$)"
)
KEPT_NAMES = {
    # Fields of a case file, and of the line protocol.
    "cellspec/conformance/run/case_fields.py": {"cool_down_s", "life"},
    "cellspec/conformance/run/workload.py": {"cool_down_s", "lives"},
    "cellspec/engines/lines/from_engine.py": {"Cooling"},
    # Old names, for one version.
    "cellspec/check/checker.py": {"story"},
    "cellspec/conformance/judge/run_result.py": {"story"},
    # `probe.life` is the old name of `probe.incarnation`; adapters call `probe.cooling`.
    "cellspec/conformance/run/node_reports.py": {"cooling"},
    "cellspec/conformance/run/probe.py": {"life"},
    # A throttle's, which is no backoff of a node; DataDesigner's word.
    "cellspec/check/endpoints/words.py": {"cool_down_s"},
    "sim/endpoints/plan.py": {"cool_down_s"},
    "sim/scenario/endpoints.py": {"cool_down_s"},
}


def names_given(tree: ast.Module) -> Iterator[str]:
    """Names of classes, functions, arguments, variables and attributes, where they are given."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def test_names_in_the_code_use_no_retired_word() -> None:
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "src").rglob("*.py")):
        for given in names_given(ast.parse(path.read_text(encoding="utf-8"))):
            words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", given).lower()
            if RETIRED_IN_NAMES.search(words):
                found.setdefault(path.relative_to(ROOT / "src").as_posix(), set()).add(given)
    assert found == KEPT_NAMES


def test_the_glossary_has_every_retired_word_that_is_tested() -> None:
    table = GLOSSARY.read_text(encoding="utf-8").partition("## Retired words")[2]
    left = " ".join(row.split("|")[1] for row in table.splitlines() if row.startswith("| "))
    for pattern in RETIRED:
        assert re.search(rf"\b(?:{pattern})\b", left, re.IGNORECASE), pattern
