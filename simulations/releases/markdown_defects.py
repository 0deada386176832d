"""The part of the Markdown page that describes each clause that broke.

For each clause: its sentence, the scripts that show it broken, and its defects. A defect is the
smallest workload that breaks the clause, the detail and the last events before, its replays on all
releases, and whether the public interface leads there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cellspec.clauses import clauses
from cellspec.conformance.run.case import describe
from simulations.releases.cases import Place, explanation_of
from simulations.releases.causes import Cause
from simulations.releases.explained import Explanation, Told
from simulations.releases.findings import CHANGED, Defect, Findings
from simulations.releases.markdown_text import block, cell, places, wrapped
from simulations.releases.processes import Json
from simulations.releases.script_files import Script

__all__ = ["DID", "broken", "replay_command"]

_SUITE = "pytest --pyargs cellspec.conformance"
_EXPLANATION_LINES = 14
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
"""The ends of replays on the page, and their words in `simulations.releases.replay`."""

_WORDS = {
    "same": "the same clause breaks",
    "another": "another clause breaks first",
    "nothing": "nothing breaks",
    "refused": "nothing breaks",
    CHANGED: "it could not be asked (what ran instead is below, and broke nothing)",
    "none": "it cannot be asked for",
    "died": "the replay did not end",
}
DID: Mapping[str, str] = {
    "another": "broke another clause",
    "nothing": "broke nothing",
    "refused": "was refused",
    CHANGED: "ran another workload",
    "none": "could not be asked for",
    "died": "did not end",
}
"""The end of a replay, as a verb: the replay *broke nothing*."""


def broken(found: Findings, told: Explanation) -> Iterator[str]:
    """The lines of this part."""
    yield "## What broke"
    yield ""
    shown = {number for script in found.scripts if found.shows(script) for number in script.clauses}
    if not found.defects and not shown:
        yield "No run broke a clause, and no script shows one broken."
        yield ""
        return
    yield from wrapped(
        "Each workload that broke a clause was replayed on every release through every entry "
        "point. In the tables: ✗ the same clause breaks; ≠ another clause breaks first; ✓ nothing "
        "breaks; ≈ the entry point cannot be asked for this workload, and the nearest one that it "
        "can be asked for broke nothing, so this workload is still open there; ∅ the entry point "
        "cannot be asked for anything like it; ! the replay did not end. Of the workloads that "
        "break one clause in the same places, the smallest is shown. A workload that breaks "
        "another clause before may show a consequence of that alone: it is listed in one line, as "
        "is a workload that did not break its clause again."
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
            yield from (f"> {line}" for line in wrapped(clause.text, 98))
            yield ""
        for note in found.engine.notes:
            if note.clause == number:
                more = f" {note.reference}" if note.reference else ""
                yield from wrapped(f"*Note:* {note.text}{more}")
                yield ""
        for script in found.scripts:
            if number in script.clauses:
                yield from wrapped(_script_line(found, script))
                yield ""
        own = [defect for defect in defects if defect.repeated and not defect.after]
        for place, defect in enumerate(own, 1):
            yield from _defect(found, defect, place if len(own) > 1 else 0, told.of(defect))
        yield from _consequences([one for one in defects if one.repeated and one.after])
        yield from _once(found, [defect for defect in defects if not defect.repeated])


def _replays(found: Findings) -> Iterator[str]:
    """The number of replays by their end, for each entry point."""
    if not any(found.replayed.values()):
        return
    yield f"| replays by entry point | {' | '.join(_REPLAYS)} |"
    yield "| --- |" + " ---: |" * len(_REPLAYS)
    for entry_point, counts in found.replayed.items():
        cells = [f"{sum(counts.get(word, 0) for word in each):,}" for each in _REPLAYS.values()]
        yield f"| {entry_point} | {' | '.join(cells)} |"
    yield ""


def _once(found: Findings, defects: Sequence[Defect]) -> Iterator[str]:
    """Workloads that broke a clause in a run of the suite, but not in a replay."""
    for defect in defects:
        case = f"[{defect.identity}](cases/{defect.shown.name})"
        did = {
            DID.get(defect.replays.get(place, {}).get("says", ""), "was not made")
            for place in defect.shown.places
        }
        earlier = any(defect.clause in found.wording(*place) for place in defect.shown.places)
        judged = " It was found by an earlier sentence of the clause." if earlier else ""
        yield from wrapped(
            f"- Not repeated: found once ({places(defect.found)}): "
            f"{cell(str(defect.shown.failure['detail']))}. The replay of {case} where it was "
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


def _defect(found: Findings, defect: Defect, place: int, causes: Sequence[Told]) -> Iterator[str]:
    if place:
        yield f"#### {defect.clause}, workload {place}"
        yield ""
    if causes:
        yield from wrapped(f"*Cause:* {'; '.join(_cause_link(one) for one in causes)}.")
        yield ""
    yield from _where(found, defect)
    runs = f"Found by {places(defect.found)}"
    alike = f"; {defect.cases} workloads that do the same" if defect.cases > 1 else ""
    seed = defect.shown.failure.get("seed")
    drawn = "" if seed is None else f"; drawn from seed {seed}"
    yield from wrapped(f"{runs}{alike}{drawn}. {_reach(found, defect)}")
    yield ""
    yield from _differs(defect)
    yield from _changes(defect)
    yield "The smallest workload:"
    yield ""
    yield from block(describe(defect.shown.case.workload))
    yield f"What happened: {cell(str(defect.shown.failure['detail']))}"
    yield ""
    explanation = _explanation(defect)
    if explanation:
        yield from block(explanation)
    waived = defect.shown.case.waived
    if waived:
        yield from wrapped(f"Waived in this run, because they broke before: {', '.join(waived)}.")
        yield ""
    yield from block([replay_command(defect)], "sh")
    if defect.shown.failure.get("trace"):
        page = f"{found.name}.html"
        yield f"[Event by event]({page}#failure={defect.identity})"
        yield ""


def _differs(defect: Defect) -> Iterator[str]:
    """The places where a run found it, and where its replay does not show it."""
    if defect.differs:
        yield from wrapped(f"**Not repeated everywhere**: {_not_again(defect)}.")
        yield ""


def _not_again(defect: Defect) -> str:
    """What replays did where a run found the workload, if they did not break the clause."""
    by: dict[str, list[Place]] = {}
    for place, says in defect.differs.items():
        by.setdefault(DID.get(says, "was not made"), []).append(place)
    found = (f"found by {places(where)}, where the replay {did}" for did, where in by.items())
    return "; ".join(found)


def _cause_link(one: Told) -> str:
    entry = one.entry
    live = isinstance(entry, Cause) and not entry.mended
    return f"[{entry.title}](#{entry.id})" if live else entry.title


def replay_command(defect: Defect) -> str:
    """The command that replays the shown case where it was found."""
    backend = defect.shown.case.backend
    case = f"simulations/releases/cases/{defect.shown.name}"
    return f"{_SUITE} --engine-backend={backend} --replay {case}"


def _where(found: Findings, defect: Defect) -> Iterator[str]:
    """The ends of the shown workload's replays, as a table of releases and entry points."""
    engine = found.engine
    yield f"| entry point | {' | '.join(release.version for release in engine.releases)} |"
    yield "| --- |" + " :---: |" * len(engine.releases)
    for entry_point in engine.entry_points:
        said = (defect.replays.get((one.version, entry_point.name), {}) for one in engine.releases)
        cells = [_SAYS.get(each.get("says", ""), "·") for each in said]
        yield f"| {entry_point.name} | {' | '.join(cells)} |"
    yield ""


def _consequences(defects: Sequence[Defect]) -> Iterator[str]:
    """Workloads that break another clause before, one line each: they may be consequences of it."""
    for defect in defects:
        case = f"[{defect.identity}](cases/{defect.shown.name})"
        again = f" Not repeated everywhere: {_not_again(defect)}." if defect.differs else ""
        yield from wrapped(
            f"- Where {defect.after} had broken and was not judged ({places(defect.found)}): "
            f"{cell(str(defect.shown.failure['detail']))}. The same workload, {case}, breaks "
            f"{defect.after} first.{again}",
            indent="  ",
        )
    if defects:
        yield ""


def _reach(found: Findings, defect: Defect) -> str:
    """A sentence: does the public interface lead there, as far as that was measured."""
    public = [entry_point.name for entry_point in found.engine.entry_points if entry_point.public]
    if not public:
        return ""
    at: dict[str, list[str]] = {}
    for release in found.engine.releases:
        if all(said["says"] != "same" for _, said in _of(defect, release.version)):
            continue
        for (_, entry_point), said in _of(defect, release.version):
            if entry_point in public:
                at.setdefault(_WORDS[said["says"]], []).append(release.version)
    if not at:
        return "Whether the public interface leads there was not measured."
    ends = "; ".join(f"{what} on {', '.join(versions)}" for what, versions in at.items())
    return f"**Through the public interface** {ends}."


def _changes(defect: Defect) -> Iterator[str]:
    """The workloads that ran instead where an entry point cannot be asked for this one."""
    at: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for (version, entry_point), said in defect.replays.items():
        if said.get("changes") and said["says"] in _WORDS:
            key = (entry_point, said["says"], tuple(said["changes"]))
            at.setdefault(key, []).append(version)
    for (entry_point, says, changes), versions in at.items():
        yield from wrapped(
            f"- What {entry_point} was asked for instead on {', '.join(versions)} "
            f"({_SAYS[says]}): {cell('; '.join(changes))}.",
            indent="  ",
        )
    if at:
        yield ""


def _of(defect: Defect, version: str) -> list[tuple[Place, Json]]:
    return [(place, said) for place, said in defect.replays.items() if place[0] == version]


def _explanation(defect: Defect) -> list[str]:
    clause = clauses().get(defect.clause)
    rule = f"{defect.clause}: {clause.text}" if clause is not None else ""
    failure = defect.shown.failure
    lines = explanation_of(failure)
    kept = [line for line in lines if line not in (rule, f"found: {failure['detail']}")]
    return kept[-_EXPLANATION_LINES:]
