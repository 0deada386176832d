"""The files of a report: results and pages, each file whole or not at all.

A folder of reports keeps the newest results of each backend: a run replaces its own and leaves the
others, so that the matrix shows all backends side by side.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellspec.conformance.report.html import INDEX, render
from cellspec.conformance.report.read_results import updated
from cellspec.errors import SpecError
from cellspec.files import write_files

__all__ = ["RESULTS_NAME", "merged", "write_reports"]

RESULTS_NAME = "results.json"
"""The name of the results in a folder of reports."""
Json = dict[str, Any]


def merged(found: Json, path: Path) -> Json:
    """The results with those of other backends that the file holds; each backend once, by name.

    A file counts as empty if it is missing, holds something else than results, or comes from
    another version of the suite or of its clauses.
    """
    try:
        before = updated(json.loads(path.read_text(encoding="utf-8")))
        same = before["suite"] == found["suite"]
        others = [dict(one) for one in before["backends"]] if same else []
        mine = {one["name"]: one for one in found["backends"]}
        kept = [mine.pop(one["name"], one) for one in others]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SpecError):
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
