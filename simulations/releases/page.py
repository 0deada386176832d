"""The published files of a release matrix, each a function of the findings alone.

==========================  ====================================================================
file                        for
==========================  ====================================================================
``NAME.md``                 a maintainer of the engine: the matrix, and each clause that broke
``NAME.html``               a look at the failures, event by event, in one page
``NAME.json``               programs, and for writing the other files again
``cases/NAME_*.json``       the workloads, to be replayed
``NAME/*.html``             the report of the conformance suite, with a column for each release
                            and entry point; it is large, and not kept in the repository
==========================  ====================================================================
"""

from __future__ import annotations

from pathlib import Path

from cellspec.conformance.report.html import render
from cellspec.files import write_files
from simulations.releases.failures_page import failures_page
from simulations.releases.findings import Findings
from simulations.releases.markdown import markdown
from simulations.releases.published import findings_json
from simulations.releases.suite_results import suite_results

__all__ = ["pages", "publish"]


def publish(found: Findings, folder: Path) -> list[Path]:
    """Write all files into a folder, and remove those of the same engine that are out of date.

    Returns:
        The files that a reader begins with.

    Raises:
        SpecError: a file cannot be written.
    """
    contents = pages(found)
    write_files(folder, contents)
    for old in (*folder.glob(f"{found.name}/*.html"), *folder.glob(f"cases/{found.name}_*.json")):
        if old.relative_to(folder).as_posix() not in contents:
            old.unlink()
    return [folder / f"{found.name}.md", folder / f"{found.name}.html"]


def pages(found: Findings) -> dict[str, str]:
    """The text of every file, by name."""
    report = render(suite_results(found))
    return {
        f"{found.name}.md": markdown(found),
        f"{found.name}.html": failures_page(found),
        f"{found.name}.json": findings_json(found),
        **{f"cases/{one.shown.name}": one.shown.case.to_json() for one in found.defects},
        **{f"{found.name}/{name}": text for name, text in report.items()},
    }
