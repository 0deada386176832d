"""The Markdown page of a release matrix, for a maintainer of the engine.

It begins with the releases and the matrix releases × clauses. Under it,
`simulations.releases.markdown_defects` describes each clause that broke, and a table shows the
scripts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from cellspec.clauses import chapters, clauses
from cellspec.conformance.judge.verdict import Verdict, says_pass
from simulations.releases.findings import (
    NOT_REPEATED,
    REPLAYED,
    SHOWN,
    Findings,
    is_broken,
)
from simulations.releases.markdown_defects import broken
from simulations.releases.markdown_text import cell, wrapped
from simulations.releases.outcome import rules_name

__all__ = ["markdown"]

_SCRIPT = {"shows": "✗", "fine": "✓", "absent": "∅", "failed": "!", "": "·"}


_MEANING = {
    "✗": "a run broke the clause, and the replay of its workload breaks it again",
    "↺": "not repeated: a run broke the clause, and the replay of its workload did not",
    "R": "shown by a replay: a workload that broke the clause on another release or entry point "
    "breaks it here; no run here did, or none again",
    "S": "shown by a script: a stand-alone script shows that this release breaks the clause, "
    "through whichever entry point; no run of the suite did, or none again",
    "✓": "nothing broke the clause, and the evidence is complete",
    "?": "nothing broke the clause, and something that a pass needs is missing",
    "–": "the backend does not have the capability that the clause is about",
    "·": "the suite gave no verdict",
    "†": "judged by an earlier sentence of the clause",
}


def markdown(found: Findings) -> str:
    """The page, as Markdown."""
    lines = [
        *_intro(found),
        *_releases(found),
        *_matrix(found),
        *broken(found),
        *_scripts(found),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _intro(found: Findings) -> Iterator[str]:
    engine = found.engine
    yield f"# {engine.engine} under the conformance suite"
    yield ""
    yield from wrapped(
        f"Written by `python -m simulations.releases`, never by hand ([how](README.md)). The "
        f"suite {found.version} ran on {len(engine.releases)} releases of {engine.engine}, in an "
        f"environment of its own each, with {found.max_examples} workloads of every profile "
        f"and seed {found.seed}. {engine.about}"
    )
    yield ""
    yield from wrapped(
        f"Failures event by event: [{found.name}.html]({found.name}.html). For programs: "
        f"[{found.name}.json]({found.name}.json)."
    )
    yield ""
    for entry_point in engine.entry_points:
        public = " (the public interface alone)" if entry_point.public else ""
        yield f"- Entry point **{entry_point.name}**: {entry_point.about}{public}."
    yield ""
    if engine.words:
        yield f"| this page says | in {engine.engine} that is |"
        yield "| --- | --- |"
        yield from (f"| {ours} | {theirs} |" for ours, theirs in engine.words.items())
        yield ""
    if found.troubles:
        yield "## What went wrong with the run of the matrix itself"
        yield ""
        yield from (f"- {cell(line)}" for line in found.troubles)
        yield ""


def _releases(found: Findings) -> Iterator[str]:
    yield "## Releases"
    yield ""
    words = [*(one.value for one in Verdict), NOT_REPEATED, REPLAYED, SHOWN]
    yield (
        "| release | entry point | run | clauses as in | workloads | crashes | "
        f"{' | '.join(words)} | run twice |"
    )
    yield "| --- | --- | --- | --- | ---: | ---: |" + " ---: |" * len(words) + " --- |"
    for release in found.engine.releases:
        for entry_point in found.engine.entry_points:
            outcome = found.outcomes[release.version, entry_point.name]
            why = f": {outcome.detail}" if outcome.detail else ""
            run = outcome.status if outcome.ran else f"**{outcome.status}**{why}"
            cells = [release.version, entry_point.name, cell(run)]
            if outcome.found is None:
                cells += ["–"] * (len(words) + 4)
            else:
                evidence = outcome.found["evidence"]
                counts = Counter(
                    found.stands(release.version, entry_point.name, number)
                    for number in outcome.found["clauses"]
                )
                cells += [outcome.rules_name or "not known"]
                cells += [f"{evidence['workloads']:,}", f"{evidence['crashes']:,}"]
                cells += [str(counts[word]) for word in words]
                cells += [outcome.twice or "–"]
            yield f"| {' | '.join(cells)} |"
    yield ""
    yield from _wordings(found)
    for release in found.engine.releases:
        if release.note:
            yield f"{release.version} is {release.note}."
            yield ""


def _wordings(found: Findings) -> Iterator[str]:
    """The sentences of clauses that runs were judged by and that have changed since."""
    now = rules_name({number: clause.text for number, clause in clauses().items()})
    yield from wrapped(
        "*Clauses as in* is a short digest of the sentences of all clauses when the run was "
        "judged, and no version of the clause set; the sentences of this checkout have the digest "
        f"{now}. A verdict that follows from an earlier sentence has a † in the matrix."
    )
    yield ""
    earlier: dict[tuple[str, str], list[str]] = {}
    for (version, entry_point), _ in found.outcomes.items():
        for number, text in found.wording(version, entry_point).items():
            versions = earlier.setdefault((number, text), [])
            if version not in versions:
                versions.append(version)
    for (number, text), versions in sorted(earlier.items()):
        every = len(versions) == len(found.engine.releases)
        whom = "every release" if every else ", ".join(versions)
        yield from wrapped(f"- {number} was, for {whom}: {text}", indent="  ")
    if earlier:
        yield ""


def _symbol(word: str) -> str:
    if says_pass(word):
        return "✓"
    if is_broken(word):
        return "✗"
    symbols = {Verdict.INCONCLUSIVE.value: "?", Verdict.NOT_CLAIMED.value: "–"}
    return {**symbols, NOT_REPEATED: "↺", REPLAYED: "R", SHOWN: "S"}.get(word, "·")


def _matrix(found: Findings) -> Iterator[str]:
    engine = found.engine
    entry_points = ", then ".join(entry_point.name for entry_point in engine.entry_points)
    yield "## Clauses and releases"
    yield ""
    yield f"A cell has a sign for each entry point: {entry_points}. A number leads to the clause."
    yield ""
    yield "| sign | meaning |"
    yield "| :---: | --- |"
    yield from (f"| {sign} | {meaning} |" for sign, meaning in _MEANING.items())
    yield ""
    yield f"| clause | {' | '.join(release.version for release in engine.releases)} |"
    yield "| --- |" + " :---: |" * len(engine.releases)
    chapter_of = {prefix: chapter.name for chapter in chapters() for prefix in chapter.prefixes}
    for number in found.judged:
        chapter = chapter_of.get(number.partition("-")[0])
        head = f"[{number}](../../specs/{chapter}.md)" if chapter else number
        cells = [
            " ".join(
                _sign(found, release.version, entry_point.name, number)
                for entry_point in engine.entry_points
            )
            for release in engine.releases
        ]
        yield f"| {head} | {' | '.join(cells)} |"
    yield ""


def _sign(found: Findings, version: str, entry_point: str, number: str) -> str:
    word = found.stands(version, entry_point, number)
    judged = word not in ("", Verdict.NOT_CLAIMED.value, REPLAYED, SHOWN)
    earlier = judged and number in found.wording(version, entry_point)
    return _symbol(word) + ("†" if earlier else "")


def _scripts(found: Findings) -> Iterator[str]:
    yield "## Scripts"
    yield ""
    if not found.scripts:
        yield "There is no stand-alone script yet."
        return
    engine = found.engine
    yield from wrapped(
        f"Each script needs `{engine.package}` of that release and nothing of ours; "
        "[how to get one](README.md#scripts). ✗ it shows the defect; ✓ it does not; ∅ the release "
        "lacks the part that the script is about; ! it did not end as a script does."
    )
    yield ""
    yield f"| script | clause | {' | '.join(release.version for release in engine.releases)} |"
    yield "| --- | --- |" + " :---: |" * len(engine.releases)
    for script in found.scripts:
        cells = [
            _SCRIPT[found.ran.get((release.version, script.file), {}).get("says", "")]
            for release in engine.releases
        ]
        name = f"[{script.file}](scripts/{script.file})"
        yield f"| {name} | {', '.join(script.clauses)} | {' | '.join(cells)} |"
    yield ""
    for script in found.scripts:
        public = " Public interface alone." if script.public else ""
        fixed = f" Fixed by {script.fixed}." if script.fixed else ""
        yield from wrapped(f"- `{script.file}`: {script.defect}{fixed}{public}", indent="  ")
