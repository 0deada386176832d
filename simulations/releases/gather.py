"""Puts the results of a release matrix together: runs, replays and scripts become `Findings`.

`gather` groups the cases into defects, notes which violations did not come again, and lists the
*troubles*: errors of the run of the matrix itself, such as a release that could not be judged or a
script whose header names other releases than the script shows. They are published first, so that a
matrix with a hole in it is not taken for a success.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from simulations.releases.cases import FoundCase, Place
from simulations.releases.causes import Causes
from simulations.releases.findings import CHANGED, Defect, Findings, PlaceCheck
from simulations.releases.mended_runs import Mends
from simulations.releases.outcome import Outcome
from simulations.releases.processes import Json
from simulations.releases.release_list import Engine
from simulations.releases.script_files import Script

__all__ = ["NOTHING_KNOWN", "Known", "gather"]


@dataclass(frozen=True, slots=True)
class Known:
    """The curated causes of an engine, and how they were checked.

    Attributes:
        causes: the causes.
        mends: what their mends do on the newest release.
        place_checks: their places, as they were looked for in the newest release.
    """

    causes: Causes = field(default_factory=Causes)
    mends: Mends = field(default_factory=Mends)
    place_checks: Sequence[PlaceCheck] = ()


NOTHING_KNOWN = Known()
"""No cause at all."""


def gather(
    engine: Engine,
    name: str,
    version: str,
    outcomes: Mapping[Place, Outcome],
    cases: Sequence[FoundCase],
    replays: Mapping[Place, Mapping[str, Json]],
    scripts: Sequence[Script],
    ran: Mapping[tuple[str, str], Json],
    known: Known = NOTHING_KNOWN,
) -> Findings:
    """Put runs, replays and scripts together, with the troubles of the run of the matrix.

    Args:
        engine: the list.
        name: the name of its files.
        version: the suite's version.
        outcomes: for every release and entry point of the list.
        cases: of `cases_of`.
        replays: the result of each case, by release and entry point, and name.
        scripts: of `read_scripts`.
        ran: the result of each script, by release and file.
        known: the curated causes, and how they were checked.
    """
    places = [
        (one.version, entry_point.name)
        for one in engine.releases
        for entry_point in engine.entry_points
    ]
    every = {place: outcomes.get(place, Outcome()) for place in places}
    replays = _with_changes(cases, replays)
    found = Findings(
        engine,
        name,
        version,
        every,
        _defects(engine, cases, replays, places, known.mends.blames),
        list(scripts),
        ran,
        _unrepeated(cases, replays),
        _counted(engine, replays),
        known.causes,
        list(known.place_checks),
        list(known.mends.scripts),
    )
    found.troubles = [
        *_run_troubles(found),
        *_case_troubles(found, cases, replays),
        *_script_troubles(found),
    ]
    return found


def _with_changes(
    cases: Sequence[FoundCase], replays: Mapping[Place, Mapping[str, Json]]
) -> dict[Place, dict[str, Json]]:
    """The replays, with `CHANGED` for those that ran another workload and broke nothing.

    A change that `fit` makes where the case was found too does not count: a case about cost is kept
    as it was asked for.
    """
    marked: dict[Place, dict[str, Json]] = {place: dict(each) for place, each in replays.items()}
    for one in cases:
        own = [
            replays[place][one.name].get("changes", [])
            for place in one.places
            if one.name in replays.get(place, {})
        ]
        for each in marked.values():
            said = each.get(one.name)
            if said is None or said["says"] not in ("nothing", "refused"):
                continue
            changes = said.get("changes", [])
            if changes and changes not in own:
                each[one.name] = {**said, "says": CHANGED}
    return marked


def _unrepeated(
    cases: Sequence[FoundCase], replays: Mapping[Place, Mapping[str, Json]]
) -> dict[tuple[str, str, str], str]:
    said = [
        ((*place, one.case.clause), replays.get(place, {}).get(one.name, {}).get("says"))
        for one in cases
        for place in one.places
    ]
    # One case of a run that breaks the clause again is enough, whatever its other cases do.
    again = {where for where, says in said if says == "same"}
    return {where: str(says or "not replayed") for where, says in said if where not in again}


def _counted(
    engine: Engine, replays: Mapping[Place, Mapping[str, Json]]
) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {
        entry_point.name: Counter() for entry_point in engine.entry_points
    }
    for (_, entry_point), each in replays.items():
        counts[entry_point].update(said["says"] for said in each.values())
    return {entry_point: dict(sorted(each.items())) for entry_point, each in counts.items()}


def _defects(
    engine: Engine,
    cases: Sequence[FoundCase],
    replays: Mapping[Place, Mapping[str, Json]],
    places: Sequence[Place],
    blames: Mapping[str, tuple[str, ...]],
) -> list[Defect]:
    public = {entry_point.name for entry_point in engine.entry_points if entry_point.public}
    groups: dict[tuple[object, ...], list[FoundCase]] = {}
    for one in cases:
        broken = tuple(
            place
            for place in places
            if replays.get(place, {}).get(one.name, {}).get("says") == "same"
        )
        # A case that breaks nothing again stands for the runs that found it, and for no other case.
        # What other causes explain is not the same thing, wherever it breaks.
        key = (one.case.clause, bool(broken), broken or one.places, blames.get(one.name))
        groups.setdefault(key, []).append(one)
    made = []
    for group in groups.values():
        shown = min(
            group,
            key=lambda one: (
                _is_consequence(one, replays),
                not _is_seen_by(public, one, replays),
                one.size,
            ),
        )
        seen = {place for one in group for place in one.places}
        said = {
            place: replays[place][shown.name]
            for place in places
            if shown.name in replays.get(place, {})
        }
        where = tuple(place for place in places if place in seen)
        made.append(Defect(shown, len(group), where, said, blames.get(shown.name)))
    return made


def _is_seen_by(
    public: set[str], one: FoundCase, replays: Mapping[Place, Mapping[str, Json]]
) -> bool:
    return any(
        each.get(one.name, {}).get("says") == "same"
        for (_, entry_point), each in replays.items()
        if entry_point in public
    )


def _is_consequence(one: FoundCase, replays: Mapping[Place, Mapping[str, Json]]) -> bool:
    """True if the case breaks another clause first, where it was found."""
    firsts = (replays.get(place, {}).get(one.name, {}).get("first", "") for place in one.places)
    return any(first not in ("", one.case.clause) for first in firsts)


def _run_troubles(found: Findings) -> Iterator[str]:
    ran = [outcome for outcome in found.outcomes.values() if outcome.ran]
    if len({one.suite for one in ran}) > 1:
        yield "the releases were not all judged by the same suite"
    for (version, entry_point), outcome in found.outcomes.items():
        where = f"{version} {entry_point}"
        if outcome.status == "no environment":
            if entry_point == found.engine.entry_points[0].name:
                yield f"{version}: {outcome.status}: {outcome.detail}"
        elif not outcome.ran:
            yield f"{where}: {outcome.status}: {outcome.detail}".removesuffix(": ")
        elif outcome.detail:
            yield f"{where}: {outcome.detail}"
        if outcome.twice not in ("", "equal", "equal verdicts"):
            yield f"{where}: two runs differ: {outcome.twice}"
        if outcome.found is not None and outcome.found["evidence"]["smoke"] != "fine":
            yield f"{where}: smoke: {outcome.found['evidence']['smoke']}"
        for profile, said in ((outcome.found or {}).get("profiles") or {}).items():
            if str(said.get("not_run", "")).startswith("the suite itself failed"):
                yield f"{where}: {profile}: {said['not_run']}"


def _case_troubles(
    found: Findings, cases: Sequence[FoundCase], replays: Mapping[Place, Mapping[str, Json]]
) -> Iterator[str]:
    for one in cases:
        for place in one.places:
            said = replays.get(place, {}).get(one.name)
            # What broke an earlier sentence of a clause need not break the one that is there now.
            if said is None or one.case.clause in found.wording(*place):
                continue
            if said["says"] != "same":
                yield f"{' '.join(place)}: {one.name}: replayed where it was found: {said['says']}"
            elif said["adapter"]:
                yield f"{' '.join(place)}: {one.name}: the adapter: {said['adapter']}"


def _script_troubles(found: Findings) -> Iterator[str]:
    for script in found.scripts:
        tried = {version for version, file in found.ran if file == script.file}
        for version in sorted(tried):
            said = found.ran[version, script.file]
            if said["says"] == "failed":
                yield f"{version}: scripts/{script.file}: {said['detail']}"
        meant = [one for one in script.releases if one in tried]
        shows = list(found.shows(script))
        if sorted(meant) != sorted(shows):
            yield (
                f"scripts/{script.file}: its header says that it shows in "
                f"{', '.join(meant) or 'none'}, and it shows in {', '.join(shows) or 'none'}"
            )
