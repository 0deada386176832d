"""The pages of a campaign over releases: Markdown to read, HTML to look at, JSON for programs.

The Markdown page is for a maintainer of the engine. It begins with the matrix releases × clauses,
and under it says of each clause that broke: the rule, the smallest workload that breaks it, what
happened and the last events before, in which releases, whether the public interface leads there,
and the script that shows it without this package.

The HTML matrix is the one of the conformance suite (`cellspec.conformance.report.html`), with a
column for each release and door. It would have a page for every failure of every release, most of
them alike: here only the workload that the Markdown page shows has one.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cellspec.clauses import chapters, clauses
from cellspec.conformance.judge.verdict import Verdict, says_pass
from cellspec.conformance.report.html import INDEX, render
from cellspec.conformance.run.case import describe
from cellspec.files import write_files
from simulations.releases.findings import (
    CHANGED,
    NOT_REPEATED,
    REPLAYED,
    SHOWN,
    Defect,
    Findings,
    is_broken,
    rules_name,
)
from simulations.releases.script_files import Script

__all__ = ["markdown", "pages", "publish"]

_SUITE = "pytest --pyargs cellspec.conformance"
_STORY_LINES = 14
_SAYS = {
    "same": "✗",
    "another": "≠",
    "nothing": "✓",
    "refused": "✓",
    CHANGED: "≈",
    "none": "∅",
    "died": "!",
    "": "·",
}
_REPLAYS: Mapping[str, tuple[str, ...]] = {
    "✗ the same clause breaks": ("same",),
    "≠ another breaks first": ("another",),
    "✓ nothing breaks": ("nothing", "refused"),
    "≈ could not be asked": (CHANGED,),
    "∅ no way to ask": ("none",),
    "! did not end": ("died",),
}
"""How replays end, as the page says it, and the words of `simulations.releases.replay`."""

_WORDS = {
    "same": "the same clause breaks",
    "another": "another clause breaks first",
    "nothing": "nothing breaks",
    "refused": "nothing breaks",
    CHANGED: "it could not be asked (what ran instead is below, and broke nothing)",
    "none": "it cannot be asked for",
    "died": "the replay did not end",
}
_DID = {
    "another": "broke another clause",
    "nothing": "broke nothing",
    "refused": "was refused",
    CHANGED: "ran another workload",
    "none": "could not be asked for",
    "died": "did not end",
}

_SCRIPT = {"shows": "✗", "fine": "✓", "absent": "∅", "failed": "!", "": "·"}


def publish(found: Findings, folder: Path) -> list[Path]:
    """Write everything into a folder; what an earlier campaign left of the same engine goes.

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
    return [folder / f"{found.name}.md", folder / found.name / INDEX]


def pages(found: Findings) -> dict[str, str]:
    """All files by name: a function of what was found alone."""
    html = render(_results(found))
    return {
        f"{found.name}.md": markdown(found),
        f"{found.name}.json": found.to_json(),
        **{f"cases/{one.shown.name}": one.shown.case.to_json() for one in found.defects},
        **{f"{found.name}/{name}": text for name, text in html.items()},
    }


# Markdown


def markdown(found: Findings) -> str:
    """The page, as Markdown."""
    lines = [
        *_intro(found),
        *_releases(found),
        *_matrix(found),
        *_broken(found),
        *_scripts(found),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _intro(found: Findings) -> Iterator[str]:
    engine = found.engine
    yield f"# {engine.engine} under the conformance suite"
    yield ""
    yield from _wrapped(
        f"Written by `python -m simulations.releases`, never by hand ([how](README.md)). The "
        f"suite {found.version} ran on {len(engine.releases)} releases of {engine.engine}, in an "
        f"environment of its own each, with {found.max_examples} workloads of every profile "
        f"and seed {found.seed}. {engine.about}"
    )
    yield ""
    yield from _wrapped(
        f"The same as a picture: [{found.name}/{INDEX}]({found.name}/{INDEX}). For programs: "
        f"[{found.name}.json]({found.name}.json)."
    )
    yield ""
    for entry_point in engine.entry_points:
        public = " (the public interface alone)" if entry_point.public else ""
        yield f"- Door **{entry_point.name}**: {entry_point.about}{public}."
    yield ""
    if engine.words:
        yield f"| this page says | in {engine.engine} that is |"
        yield "| --- | --- |"
        yield from (f"| {ours} | {theirs} |" for ours, theirs in engine.words.items())
        yield ""
    if found.troubles:
        yield "## What went wrong with the campaign itself"
        yield ""
        yield from (f"- {_cell(line)}" for line in found.troubles)
        yield ""


def _releases(found: Findings) -> Iterator[str]:
    yield "## Releases"
    yield ""
    words = [*(one.value for one in Verdict), NOT_REPEATED, REPLAYED, SHOWN]
    yield (
        f"| release | door | run | clauses as in | workloads | crashes | {' | '.join(words)} "
        "| run twice |"
    )
    yield "| --- | --- | --- | --- | ---: | ---: |" + " ---: |" * len(words) + " --- |"
    for release in found.engine.releases:
        for entry_point in found.engine.entry_points:
            outcome = found.outcomes[release.version, entry_point.name]
            why = f": {outcome.detail}" if outcome.detail else ""
            run = outcome.status if outcome.ran else f"**{outcome.status}**{why}"
            cells = [release.version, entry_point.name, _cell(run)]
            if outcome.found is None:
                cells += ["–"] * (len(words) + 4)
            else:
                evidence = outcome.found["evidence"]
                counts = Counter(
                    found.stands(release.version, entry_point.name, number)
                    for number in outcome.found["clauses"]
                )
                cells += [rules_name(outcome.rules) or "not known"]
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
    """Which sentences of clauses a run was judged by, where they are others now."""
    now = rules_name({number: clause.text for number, clause in clauses().items()})
    yield from _wrapped(
        f"*Clauses as in* names the sentences of all clauses when the run was judged; those of "
        f"this checkout are {now}. A verdict that follows from an earlier sentence has a † in the "
        "matrix."
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
        yield from _wrapped(f"- {number} was, for {whom}: {text}", indent="  ")
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
    yield from _wrapped(
        f"In each cell what may be said by door: {entry_points}. ✗ a run broke the clause, and the "
        "replay of its workload breaks it again; ↺ not repeated: a run broke it, and the replay "
        "did not; R shown by a replay: no run here broke it, or none again, and a workload that "
        "another release or door broke it with breaks it here too; S shown by a script: no run of "
        "the suite broke it, or none again, and a stand-alone script shows that this release "
        "breaks it, by whatever door; ✓ nothing broke it, and the evidence is complete; ? nothing "
        "broke it, and something is missing that a pass needs; – the backend does not claim what "
        "the clause is about; · the suite did not come to say. "
        "† judged by an earlier sentence of the clause. A number leads to the clause; what ✗, ↺, "
        "R and S stand for is told below."
    )
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


def _broken(found: Findings) -> Iterator[str]:
    yield "## What broke"
    yield ""
    shown = {number for script in found.scripts if found.shows(script) for number in script.clauses}
    if not found.defects and not shown:
        yield "No run broke a clause, and no script shows one broken."
        yield ""
        return
    yield from _wrapped(
        "Each workload that broke a clause was replayed on every release by every door. In the "
        "tables: ✗ the same clause breaks, ≠ another one breaks first, ✓ nothing breaks, ≈ the "
        "workload could not be asked for: the nearest one ran that can be, and broke nothing, "
        "which says nothing of this one; ∅ the door has no way to ask for anything like it, ! the "
        "replay did not end. Workloads of one clause that break it in the same places are told as "
        "one, the smallest. Where a workload breaks another clause before, it may show no more "
        "than a consequence of that, and is told in short; so is one that did not break its clause "
        "again."
    )
    yield ""
    yield from _replays(found)
    for number in found.judged:
        defects = [defect for defect in found.defects if defect.clause == number]
        if not defects and number not in shown:
            continue
        clause = clauses().get(number)
        yield f"### {number}"
        yield ""
        if clause is not None:
            yield from (f"> {line}" for line in _wrapped(clause.text, 98))
            yield ""
        for note in found.engine.notes:
            if note.clause == number:
                more = f" {note.reference}" if note.reference else ""
                yield from _wrapped(f"*Note:* {note.text}{more}")
                yield ""
        for script in found.scripts:
            if number in script.clauses:
                yield from _wrapped(_script_line(found, script))
                yield ""
        own = [defect for defect in defects if defect.repeated and not defect.after]
        for place, defect in enumerate(own, 1):
            yield from _defect(found, defect, place if len(own) > 1 else 0)
        yield from _consequences([one for one in defects if one.repeated and one.after])
        yield from _once(found, [defect for defect in defects if not defect.repeated])


def _replays(found: Findings) -> Iterator[str]:
    """How many replays ended how, by door."""
    if not any(found.replayed.values()):
        return
    yield f"| replays by door | {' | '.join(_REPLAYS)} |"
    yield "| --- |" + " ---: |" * len(_REPLAYS)
    for entry_point, counts in found.replayed.items():
        cells = [f"{sum(counts.get(word, 0) for word in each):,}" for each in _REPLAYS.values()]
        yield f"| {entry_point} | {' | '.join(cells)} |"
    yield ""


def _once(found: Findings, defects: Sequence[Defect]) -> Iterator[str]:
    """Workloads that broke a clause in a run of the suite, and did not when they were replayed."""
    for defect in defects:
        case = f"[{defect.identity}](cases/{defect.shown.name})"
        did = {
            _DID.get(defect.replays.get(place, {}).get("says", ""), "was not made")
            for place in defect.shown.places
        }
        earlier = any(defect.clause in found.wording(*place) for place in defect.shown.places)
        judged = " It was found by an earlier sentence of the clause." if earlier else ""
        yield from _wrapped(
            f"- Not repeated: found once ({_places(defect.found)}): "
            f"{_cell(str(defect.shown.failure['detail']))}. The replay of {case} where it was "
            f"found {' and '.join(sorted(did))}.{judged}",
            indent="  ",
        )
    if defects:
        yield ""


def _script_line(found: Findings, script: Script) -> str:
    shows = found.shows(script)
    where = f"shows in {', '.join(shows)}" if shows else "shows in no release"
    fixed = f" Fixed by {script.fixed}." if script.fixed else ""
    return f"*Script* [{script.file}](scripts/{script.file}) ({where}): {script.defect}{fixed}"


def _defect(found: Findings, defect: Defect, place: int) -> Iterator[str]:
    if place:
        yield f"#### {defect.clause}, workload {place}"
        yield ""
    yield from _where(found, defect)
    runs = f"Found by {_places(defect.found)}"
    alike = f"; {defect.cases} workloads that do the same" if defect.cases > 1 else ""
    yield from _wrapped(f"{runs}{alike}. {_reach(found, defect)}")
    yield ""
    yield from _changes(defect)
    yield "The smallest workload:"
    yield ""
    yield from _block(describe(defect.shown.case.workload))
    yield f"What happened: {_cell(str(defect.shown.failure['detail']))}"
    yield ""
    story = _story(defect)
    if story:
        yield from _block(story)
    waived = defect.shown.case.waived
    if waived:
        yield from _wrapped(f"Not judged in this run, for it broke before: {', '.join(waived)}.")
        yield ""
    yield from _block([_replay(defect)], "sh")


def _replay(defect: Defect) -> str:
    backend = defect.shown.case.backend
    case = f"simulations/releases/cases/{defect.shown.name}"
    return f"{_SUITE} --engine-backend={backend} --replay {case}"


def _where(found: Findings, defect: Defect) -> Iterator[str]:
    """What the shown workload does on every release, by every door."""
    engine = found.engine
    yield f"| door | {' | '.join(release.version for release in engine.releases)} |"
    yield "| --- |" + " :---: |" * len(engine.releases)
    for entry_point in engine.entry_points:
        cells = [
            _SAYS.get(
                defect.replays.get((release.version, entry_point.name), {}).get("says", ""), "·"
            )
            for release in engine.releases
        ]
        yield f"| {entry_point.name} | {' | '.join(cells)} |"
    yield ""


def _consequences(defects: Sequence[Defect]) -> Iterator[str]:
    """Workloads that break another clause before, in short: they may show nothing new."""
    for defect in defects:
        case = f"[{defect.identity}](cases/{defect.shown.name})"
        yield from _wrapped(
            f"- Where {defect.after} had broken and was not judged ({_places(defect.found)}): "
            f"{_cell(str(defect.shown.failure['detail']))}. The same workload, {case}, breaks "
            f"{defect.after} first.",
            indent="  ",
        )
    if defects:
        yield ""


def _places(places: Iterable[tuple[str, str]]) -> str:
    by_door: dict[str, list[str]] = {}
    for version, entry_point in places:
        by_door.setdefault(entry_point, []).append(version)
    return "; ".join(
        f"{entry_point} on {', '.join(versions)}" for entry_point, versions in by_door.items()
    )


def _reach(found: Findings, defect: Defect) -> str:
    """Whether the public interface leads there: what was measured, in a sentence."""
    public = [entry_point.name for entry_point in found.engine.entry_points if entry_point.public]
    if not public:
        return ""
    at: dict[str, list[str]] = {}
    for release in found.engine.releases:
        entry_points = [each["says"] for place, each in _of(defect, release.version)]
        if "same" not in entry_points:
            continue
        for (_, entry_point), said in _of(defect, release.version):
            if entry_point in public:
                at.setdefault(_WORDS[said["says"]], []).append(release.version)
    if not at:
        return "Whether the public interface leads there was not measured."
    told = "; ".join(f"{what} on {', '.join(versions)}" for what, versions in at.items())
    return f"**Through the public interface** {told}."


def _changes(defect: Defect) -> Iterator[str]:
    """What ran instead, where the workload itself could not be asked for."""
    at: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for (version, entry_point), said in defect.replays.items():
        if said.get("changes") and said["says"] in _WORDS:
            key = (entry_point, said["says"], tuple(said["changes"]))
            at.setdefault(key, []).append(version)
    for (entry_point, says, changes), versions in at.items():
        yield from _wrapped(
            f"- What {entry_point} was asked for instead on {', '.join(versions)} "
            f"({_SAYS[says]}): {_cell('; '.join(changes))}.",
            indent="  ",
        )
    if at:
        yield ""


def _of(defect: Defect, version: str) -> list[tuple[tuple[str, str], Mapping[str, Any]]]:
    return [(place, said) for place, said in defect.replays.items() if place[0] == version]


def _story(defect: Defect) -> list[str]:
    clause = clauses().get(defect.clause)
    rule = f"{defect.clause}: {clause.text}" if clause is not None else ""
    failure = defect.shown.failure
    lines = [str(line) for line in failure["story"]]
    kept = [line for line in lines if line not in (rule, f"found: {failure['detail']}")]
    return kept[-_STORY_LINES:]


def _scripts(found: Findings) -> Iterator[str]:
    yield "## Scripts"
    yield ""
    if not found.scripts:
        yield "There is no stand-alone script yet."
        return
    engine = found.engine
    yield from _wrapped(
        f"Each needs `{engine.package}` of that release and nothing of ours: ✗ it shows the "
        "defect, ✓ it does not, ∅ the release has nothing of the kind, ! it did not come to an end "
        "that says so."
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
        yield from _wrapped(f"- `{script.file}`: {script.defect}{fixed}{public}", indent="  ")


def _wrapped(text: str, width: int = 100, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        width,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _block(lines: Sequence[str], language: str = "text") -> list[str]:
    return [f"```{language}", *(line.replace("```", "'''") for line in lines), "```", ""]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


# HTML


def _results(found: Findings) -> dict[str, Any]:
    """What the suite's own matrix is made from: a backend for each release and door."""
    shown = {
        (*defect.shown.places[0], defect.clause): defect
        for defect in reversed(found.defects)
        if defect.repeated and not defect.after
    }
    backends = []
    for (version, entry_point), outcome in found.outcomes.items():
        if outcome.found is None:
            continue
        command = f"python -m simulations.releases --release {version} --door {entry_point}"
        entries = {
            number: _entry(found, (version, entry_point, number), entry, shown)
            for number, entry in outcome.found["clauses"].items()
        }
        backends.append(
            {
                **outcome.found,
                "name": f"{version} {entry_point}",
                "version": "",
                "command": command,
                "clauses": entries,
            }
        )
    return {
        "format": 1,
        "suite": {"version": found.version, "clauses": found.version},
        "backends": backends,
    }


def _entry(
    found: Findings,
    where: tuple[str, str, str],
    entry: Mapping[str, Any],
    shown: Mapping[tuple[str, str, str], Defect],
) -> dict[str, Any]:
    """What may be said; with a page of its own if the Markdown page shows its workload."""
    version, _, number = where
    word, reason = found.stands(*where), entry["reason"]
    if word == REPLAYED:
        against = ", ".join(one.identity for one in found.replays_against(*where))
        reason = f"the replay of {against} breaks it; the suite said {entry['verdict']}: {reason}"
    if word == SHOWN:
        files = ", ".join(script.file for script in found.scripts_against(version, number))
        reason = f"{files} shows it; the suite said {entry['verdict']}: {reason}"
    if word == NOT_REPEATED:
        did = _DID.get(found.unrepeated[where], "was not made")
        reason = f"a run broke it: {reason}; the replay of its workload {did}"
    defect = shown.get(where)
    said = {**entry, "verdict": word, "reason": reason, "failure": None}
    if defect is None:
        return said
    return {**said, "failure": {**defect.shown.failure, "replay": _replay(defect)}}
