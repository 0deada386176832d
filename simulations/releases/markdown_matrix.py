"""The part of the Markdown page with the matrix clauses × releases, and what its signs rest on."""

from __future__ import annotations

from collections.abc import Iterator

from cellspec.conformance.judge.verdict import says_pass
from cellspec.text import counted
from simulations.releases.findings import Findings
from simulations.releases.markdown_causes import clause_link
from simulations.releases.markdown_text import wrapped
from simulations.releases.matrix_cells import MEANING, sign, why_none

__all__ = ["matrix"]


def matrix(found: Findings) -> Iterator[str]:
    """The lines of this part."""
    engine = found.engine
    entry_points = ", then ".join(entry_point.name for entry_point in engine.entry_points)
    yield "## Clauses and releases"
    yield ""
    yield f"A cell has a sign for each entry point: {entry_points}. A number leads to the clause."
    yield ""
    yield f"| clause | {' | '.join(release.version for release in engine.releases)} |"
    yield "| --- |" + " :---: |" * len(engine.releases)
    for number in found.judged:
        cells = [
            " ".join(
                sign(found, release.version, entry_point.name, number)
                for entry_point in engine.entry_points
            )
            for release in engine.releases
        ]
        yield f"| {clause_link(number)} | {' | '.join(cells)} |"
    yield ""
    yield "| sign | meaning |"
    yield "| :---: | --- |"
    yield from (f"| {each} | {meaning} |" for each, meaning in MEANING.items())
    yield ""
    yield from _without_verdict(found)
    yield from _rests_on(found)


def _without_verdict(found: Findings) -> Iterator[str]:
    """Why there are cells without a verdict, each reason once."""
    reasons: dict[str, dict[str, list[str]]] = {}
    for number in found.judged:
        for release in found.engine.releases:
            for entry_point in found.engine.entry_points:
                place = (release.version, entry_point.name)
                if sign(found, *place, number) == "·":
                    cells = reasons.setdefault(why_none(found, *place, number), {})
                    versions = cells.setdefault(number, [])
                    if release.version not in versions:
                        versions.append(release.version)
    for reason, cells in reasons.items():
        listed = "; ".join(
            f"{number} on {versions[0]}" + (f" to {versions[-1]}" if len(versions) > 1 else "")
            for number, versions in cells.items()
        )
        yield from wrapped(f"- `·` because {reason}: {listed}.", indent="  ")
    if reasons:
        yield ""


def _rests_on(found: Findings) -> Iterator[str]:
    """How many workloads each ✓ rests on, as a table that can be unfolded."""
    engine = found.engine
    yield "<details><summary>What each ✓ rests on: workloads and seeds</summary>"
    yield ""
    yield from wrapped(
        "For each ✓: in how many workloads the clause could have failed, of how many that were run "
        f"to test it, through {', then '.join(one.name for one in engine.entry_points)}. The "
        "workloads are those of all seeds in the head of the column together."
    )
    yield ""
    heads = []
    for release in engine.releases:
        seeds = max(
            len(found.outcomes[release.version, one.name].seeds) for one in engine.entry_points
        )
        heads.append(f"{release.version}, {counted(seeds, 'seed')}")
    yield f"| clause | {' | '.join(heads)} |"
    yield "| --- |" + " :---: |" * len(engine.releases)
    for number in found.judged:
        cells = [
            ", ".join(
                _workloads(found, release.version, entry_point.name, number)
                for entry_point in engine.entry_points
            )
            for release in engine.releases
        ]
        yield f"| {number} | {' | '.join(cells)} |"
    yield ""
    yield "</details>"
    yield ""


def _workloads(found: Findings, version: str, entry_point: str, number: str) -> str:
    """``12 of 40`` for a pass; ``–`` for anything else."""
    outcome = found.outcomes[version, entry_point]
    entry = (outcome.found or {}).get("clauses", {}).get(number, {})
    if not says_pass(found.stands(version, entry_point, number)) or not entry.get("examples"):
        return "–"
    exercised = entry.get("exercised")
    return f"{exercised:,} of {entry['examples']:,}" if exercised else f"? of {entry['examples']:,}"
