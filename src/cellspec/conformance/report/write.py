"""The files of a report: results and pages, each file whole or not at all.

A folder of reports holds one run: its results, its pages, and the case files of the clauses that it
broke. The next run replaces all of them, also those that it has no file of the same name for. The
results go first and come last, so that a folder without them is no report, and a folder with them
is the report of one run. Other files in the folder are left alone: a file is a report's by its name
and by what it holds, and a file of somebody else that has a name of ours is refused before the run.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellspec.conformance.report.html import INDEX, render
from cellspec.conformance.report.page_parts import GENERATOR
from cellspec.errors import SpecError
from cellspec.files import write_files

__all__ = [
    "CASES",
    "INDEX",
    "RESULTS_NAME",
    "check_page",
    "check_report_folder",
    "check_results_file",
    "clear_report",
    "write_reports",
]

RESULTS_NAME = "results.json"
"""The name of the results in a folder of reports."""
CASES = "cases"
"""The folder of case files in a folder of reports."""
_OF_A_CLAUSE = re.compile(r"-[A-Z]+-\d+(-\d+)?\.[a-z]+$")
"""The end of the name of a page or a case; a copy that somebody named otherwise is theirs."""
_HEAD_BYTES = 2_000
"""The generator of a page stands within so many bytes."""
Json = dict[str, Any]


def check_report_folder(folder: Path, where: str) -> None:
    """Refuse a folder in which a report would replace a file that no run of the suite wrote.

    Args:
        folder: a folder of reports, which may be missing.
        where: the beginning of messages, which names the folder.

    Raises:
        SpecError: it holds such a file.
    """
    for name, is_ours in ((RESULTS_NAME, _is_results), (INDEX, _is_page)):
        if not is_ours(folder / name):
            raise SpecError(
                f"{where}: its {name} was written by no run of the suite, and a report would "
                "replace it; give another folder"
            )


def check_results_file(path: Path, where: str) -> None:
    """Refuse to replace a file with results that is there and holds none.

    Args:
        path: where results are to go.
        where: the beginning of messages, which names the file.

    Raises:
        SpecError: it holds something else, such as pinned clauses.
    """
    if not _is_results(path):
        raise SpecError(
            f"{where}: is there already and was written by no run of the suite as its results; "
            "they would replace it; give another file"
        )


def check_page(path: Path, where: str) -> None:
    """Refuse to replace a file with a page that is there and is no page of a report.

    Args:
        path: where the page is to go.
        where: the beginning of messages, which names the file.

    Raises:
        SpecError: it holds something else.
    """
    if not _is_page(path):
        raise SpecError(
            f"{where}: is there already and was written by no run of the suite as a page; "
            "a page would replace it; give another file"
        )


def _is_results(path: Path) -> bool:
    """Whether results may replace a file: it holds some, is empty, or is no regular file."""
    text = _text_of(path)
    if not text:
        return True
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and {"format", "backends"} <= found.keys()


def _is_page(path: Path) -> bool:
    """Whether a page may replace a file: it is one, is empty, or is no regular file."""
    text = _text_of(path)
    return not text or f'content="{GENERATOR}"'.encode() in text[:_HEAD_BYTES]


def _is_case(path: Path) -> bool:
    """Whether a file is a case file of a failure."""
    return _text_of(path).lstrip(b"{\n ").startswith(b'"failure"')


def _text_of(path: Path) -> bytes:
    """What a file holds; nothing of what cannot be read, of which writing will say so."""
    try:
        return path.read_bytes() if path.is_file() else b""
    except OSError:
        return b""


def clear_report(folder: Path) -> None:
    """Remove the report of an earlier run from a folder, its results first.

    Raises:
        SpecError: a file cannot be removed.
    """
    for name in _report_files(folder):
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise SpecError(f"{folder / name}: cannot be removed: {error.strerror}") from None


def _report_files(folder: Path) -> list[str]:
    """The files of a report that a folder holds, by their names from there; the results first."""
    found = [
        path
        for pattern, is_ours in (("failure-*.html", _is_page), (f"{CASES}/*.json", _is_case))
        for path in sorted(folder.glob(pattern))
        if _OF_A_CLAUSE.search(path.name) and is_ours(path)
    ]
    files = (folder / RESULTS_NAME, folder / INDEX, *found)
    return [str(path.relative_to(folder)) for path in files if path.is_file()]


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
        folder: a folder of reports: the results and the HTML pages of this run alone.
        json_file: a file for the results of this run.
        html_file: a file for the HTML matrix of this run; pages of failures go beside it.

    Returns:
        The files that a reader begins with.

    Raises:
        SpecError: a file cannot be written.
    """
    written: list[Path] = []
    if folder is not None:
        pages = render(found)
        cases = {f"{CASES}/{name}" for one in found["backends"] for name in one.get("cases", ())}
        # The results come last, as the sign that all is there.
        texts = {**pages, RESULTS_NAME: _text(found)}
        stale = [name for name in _report_files(folder) if name not in {*pages, *cases}]
        write_files(folder, texts, instead_of=stale)
        written += [folder / name for name in (RESULTS_NAME, INDEX)]
    if json_file is not None:
        write_files(json_file.parent, {json_file.name: _text(found)})
        written.append(json_file)
    if html_file is not None:
        pages = render(found)
        # Pages of failures lead back to the matrix by the name of its file.
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
