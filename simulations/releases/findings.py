"""What a campaign over releases found, put together: cases, defects, scripts.

The suite hands over, for each release and door, verdicts and for each broken clause one small
workload. Many of these are one and the same thing seen again and again. So each workload, a *case*,
is replayed on every release by every door, and cases of one clause that break it in exactly the
same places are taken for one *defect*, of which the smallest case is shown. That is a guess, and a
safe one: two causes that always come together are told as one, and no cause is left out.

What may be said follows three rules:

- *A replay of another workload clears nobody.* Where a door cannot be asked for a case, the nearest
  workload runs that it can be asked for. If that breaks nothing, the case could not be asked there
  (`CHANGED`).
- *What does not come again is no violation.* A clause counts as broken if the case of that run
  breaks it again where it was found; otherwise it is `NOT_REPEATED`.
- *A script counts.* Where a stand-alone script shows the harm, no release passes by that clause,
  whatever the runs of the suite met (`SHOWN`).

What is here is data and nothing else, the same for the same results. `cellspec.engines.
campaign_page` makes pages of it.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from cellspec.clauses import clauses
from cellspec.conformance.judge.verdict import Verdict
from cellspec.conformance.run.case import Case
from cellspec.conformance.run.workload import Workload
from simulations.releases.environments import Outcome
from simulations.releases.release_list import Engine
from simulations.releases.script_files import Script

__all__ = [
    "CHANGED",
    "FINDINGS_FORMAT",
    "NOT_REPEATED",
    "REPLAYED",
    "SHOWN",
    "Defect",
    "Findings",
    "Found",
    "cases_of",
    "findings",
    "is_broken",
    "rules_name",
]

FINDINGS_FORMAT = 2
"""The version of the file that `Findings.to_json` writes."""

Json = dict[str, Any]
Place: TypeAlias = tuple[str, str]
"""A release and a door, by name."""

NOT_REPEATED = "not repeated"
"""Said of a clause that a run broke, and the replay of its case did not."""

REPLAYED = "shown by a replay"
"""No run on this release and door broke the clause, and the workload of another one breaks it."""

SHOWN = "shown by a script"
"""Said of a clause that no run broke, or none again, and that a stand-alone script shows broken."""

CHANGED = "changed"
"""Said of a replay that ran another workload than the case, and broke nothing."""


# Cases


@dataclass(frozen=True, slots=True)
class Found:
    """A case, and who found it.

    Attributes:
        name: its file.
        case: the case.
        failure: what the suite says of it.
        places: the releases and doors whose run of the suite found it.
    """

    name: str
    case: Case
    failure: Json
    places: tuple[Place, ...]

    @property
    def size(self) -> tuple[int, ...]:
        """Smaller is easier to read."""
        work = self.case.workload
        return (
            len(work.columns) * work.rows,
            len(work.columns),
            work.incarnations,
            len(work.faults) + len(work.skips),
            len(work.to_json()),
        )


def cases_of(engine: Engine, name: str, outcomes: Mapping[Place, Outcome]) -> list[Found]:
    """The cases of all runs, each once, by clause in the order of the registry."""
    backends = {entry_point.name: entry_point.backend for entry_point in engine.entry_points}
    found: dict[str, Found] = {}
    for place, outcome in outcomes.items():
        for number, entry in ((outcome.found or {}).get("clauses") or {}).items():
            failure = entry["failure"]
            if failure is None:
                continue
            waived = tuple(failure.get("waived", ()))
            work = Workload.from_dict(failure["workload"], f"{place}: {number}")
            case = Case(work, number, failure["detail"], backends[place[1]], waived)
            key = f"{name}_{number}_{_digest(work.to_json(), waived)}.json"
            known = found.get(key)
            before = () if known is None else known.places
            found[key] = Found(
                key,
                case if known is None else known.case,
                failure if known is None else known.failure,
                (*before, place),
            )
    order = {number: at for at, number in enumerate(clauses())}
    return sorted(
        found.values(), key=lambda one: (order.get(one.case.clause, len(order)), one.size, one.name)
    )


def _digest(*parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=4).hexdigest()


# Together


@dataclass(frozen=True, slots=True)
class Defect:
    """Cases of one clause that break it in the same places, as one thing.

    Attributes:
        shown: the smallest of them.
        cases: how many they are.
        found: every release and door whose run of the suite found one of them.
        replays: what the shown case does, by release and door.
    """

    shown: Found
    cases: int
    found: tuple[Place, ...]
    replays: Mapping[Place, Json]

    @property
    def clause(self) -> str:
        return self.shown.case.clause

    @property
    def repeated(self) -> bool:
        """Whether a replay broke the clause again, anywhere; True if there was no replay."""
        said = [each["says"] for each in self.replays.values()]
        return not said or "same" in said

    @property
    def after(self) -> str:
        """The clause that the same workload breaks before this one; "" if there is none."""
        for place in self.shown.places:
            first = self.replays.get(place, {}).get("first", "")
            if first not in ("", self.clause):
                return str(first)
        return ""

    @property
    def identity(self) -> str:
        return self.shown.name.removesuffix(".json")


@dataclass(slots=True)
class Findings:
    """All that a campaign found. See `simulations.releases.findings`.

    Attributes:
        engine: the list.
        name: the name of its files.
        version: the suite's version.
        outcomes: what became of each run, by release and door.
        defects: what broke.
        scripts: the stand-alone scripts.
        ran: what each said, by release and file.
        unrepeated: by release, door and clause: what the replay of a case did that breaks the
            clause no more where it was found.
        replayed: by door: how many replays ended how, all cases and releases together.
        troubles: what went wrong with the campaign itself.
    """

    engine: Engine
    name: str
    version: str
    outcomes: Mapping[Place, Outcome]
    defects: list[Defect]
    scripts: list[Script]
    ran: Mapping[tuple[str, str], Json]
    unrepeated: Mapping[tuple[str, str, str], str] = field(default_factory=dict)
    replayed: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)

    @property
    def max_examples(self) -> int:
        """Workloads of each profile; the fewest, if runs differ."""
        return min((one.max_examples for one in self.outcomes.values() if one.ran), default=0)

    @property
    def seed(self) -> int:
        """What workloads were drawn from."""
        return min((one.seed for one in self.outcomes.values() if one.ran), default=0)

    def verdict(self, version: str, entry_point: str, clause: str) -> str:
        """The word for a clause; "" if the suite did not come to say one."""
        found = self.outcomes[version, entry_point].found
        return "" if found is None else found["clauses"].get(clause, {}).get("verdict", "")

    def stands(self, version: str, entry_point: str, clause: str) -> str:
        """What may be said of a clause when replays and scripts are heard too.

        The verdict, but for `NOT_REPEATED`, `REPLAYED` and `SHOWN`; "" if nothing may be said.
        """
        word = self.verdict(version, entry_point, clause)
        unrepeated = (version, entry_point, clause) in self.unrepeated
        if word == Verdict.NOT_CLAIMED.value or (is_broken(word) and not unrepeated):
            return word
        if self.replays_against(version, entry_point, clause):
            return REPLAYED
        if self.scripts_against(version, clause):
            return SHOWN
        return NOT_REPEATED if unrepeated else word

    def replays_against(self, version: str, entry_point: str, clause: str) -> list[Defect]:
        """The defects whose workload breaks the clause when it is replayed here."""
        return [
            defect
            for defect in self.defects
            if defect.clause == clause
            and defect.replays.get((version, entry_point), {}).get("says") == "same"
        ]

    def scripts_against(self, version: str, clause: str) -> list[Script]:
        """The scripts that show on this release that it breaks the clause."""
        return [
            script
            for script in self.scripts
            if clause in script.clauses and version in self.shows(script)
        ]

    def wording(self, version: str, entry_point: str) -> dict[str, str]:
        """The sentences that a run judged by and that are others now, by clause."""
        outcome = self.outcomes[version, entry_point]
        judged = {} if outcome.found is None else outcome.found["clauses"]
        now = {number: clause.text for number, clause in clauses().items()}
        return {
            number: text
            for number, text in outcome.rules.items()
            if number in judged and now.get(number) != text
        }

    @property
    def judged(self) -> list[str]:
        """Every clause that a run, or a script, says something of, in the registry's order."""
        said = {
            number
            for outcome in self.outcomes.values()
            for number in (outcome.found or {}).get("clauses", {})
        }
        said |= {
            number for script in self.scripts if self.shows(script) for number in script.clauses
        }
        known = [number for number in clauses() if number in said]
        return [*known, *sorted(said - set(known))]

    def shows(self, script: Script) -> tuple[str, ...]:
        """The releases on which a script was seen to show its defect."""
        return tuple(
            release.version
            for release in self.engine.releases
            if self.ran.get((release.version, script.file), {}).get("says") == "shows"
        )

    def to_json(self) -> str:
        """Everything but traces, for programs: the same for the same results."""
        data = {
            "format": FINDINGS_FORMAT,
            "engine": self.engine.engine,
            "suite": {
                "version": self.version,
                "seed": self.seed,
                "max_examples": self.max_examples,
            },
            "doors": [entry_point.model_dump() for entry_point in self.engine.entry_points],
            "releases": [self._release(one.version) for one in self.engine.releases],
            "replayed": self.replayed,
            "defects": [self._defect(defect) for defect in self.defects],
            "scripts": [self._script(script) for script in self.scripts],
            "troubles": self.troubles,
        }
        return json.dumps(data, ensure_ascii=False, indent=1) + "\n"

    def _release(self, version: str) -> Json:
        entry_points: Json = {}
        for entry_point in self.engine.entry_points:
            outcome = self.outcomes[version, entry_point.name]
            said: Json = {"status": outcome.status, "detail": outcome.detail}
            if outcome.found is not None:
                said |= {"twice": outcome.twice} if outcome.twice else {}
                said |= {"suite": outcome.suite, "rules": rules_name(outcome.rules)}
                said |= {"earlier_rules": self.wording(version, entry_point.name)}
                said |= {
                    name: outcome.found[name]
                    for name in ("name", "version", "capabilities", "evidence", "sometimes")
                }
                said["clauses"] = {
                    number: self._clause(version, entry_point.name, number, entry)
                    for number, entry in outcome.found["clauses"].items()
                }
            entry_points[entry_point.name] = said
        return {"version": version, "doors": entry_points}

    def _clause(
        self, version: str, entry_point: str, number: str, entry: Mapping[str, Any]
    ) -> Json:
        said = {"verdict": entry["verdict"], "reason": entry["reason"]}
        said["stands"] = self.stands(version, entry_point, number)
        if (version, entry_point, number) in self.unrepeated:
            said["replay"] = self.unrepeated[version, entry_point, number]
        if said["stands"] == REPLAYED:
            against = self.replays_against(version, entry_point, number)
            said["replays"] = [defect.identity for defect in against]
        if said["stands"] == SHOWN:
            said["scripts"] = [one.file for one in self.scripts_against(version, number)]
        return said

    def _defect(self, defect: Defect) -> Json:
        failure = defect.shown.failure
        return {
            "id": defect.identity,
            "clause": defect.clause,
            "case": f"cases/{defect.shown.name}",
            "detail": failure["detail"],
            "story": failure["story"],
            "waived": list(defect.shown.case.waived),
            "after": defect.after,
            "repeated": defect.repeated,
            "cases": defect.cases,
            "found": [list(place) for place in defect.found],
            "replays": [[*place, said] for place, said in defect.replays.items()],
        }

    def _script(self, script: Script) -> Json:
        return {
            "file": f"scripts/{script.file}",
            "clauses": list(script.clauses),
            "defect": script.defect,
            "public": script.public,
            "fixed": script.fixed,
            "shows": list(self.shows(script)),
            "says": {
                version: said["says"]
                for (version, file), said in self.ran.items()
                if file == script.file
            },
        }


def findings(
    engine: Engine,
    name: str,
    version: str,
    outcomes: Mapping[Place, Outcome],
    cases: Sequence[Found],
    replays: Mapping[Place, Mapping[str, Json]],
    scripts: Sequence[Script],
    ran: Mapping[tuple[str, str], Json],
) -> Findings:
    """Put together what was found, and say what went wrong with finding it.

    Args:
        engine: the list.
        name: the name of its files.
        version: the suite's version.
        outcomes: for every release and door of the list.
        cases: of `cases_of`.
        replays: what each case did, by release and door and name.
        scripts: of `read_scripts`.
        ran: what each script said, by release and file.
    """
    places = [
        (one.version, entry_point.name)
        for one in engine.releases
        for entry_point in engine.entry_points
    ]
    every = {place: outcomes.get(place, Outcome()) for place in places}
    replays = _told(cases, replays)
    found = Findings(
        engine,
        name,
        version,
        every,
        _defects(engine, cases, replays, places),
        list(scripts),
        ran,
        _unrepeated(cases, replays),
        _counted(engine, replays),
    )
    found.troubles = [
        *_run_troubles(found),
        *_case_troubles(found, cases, replays),
        *_script_troubles(found),
    ]
    return found


def _told(
    cases: Sequence[Found], replays: Mapping[Place, Mapping[str, Json]]
) -> dict[Place, dict[str, Json]]:
    """The replays, with `CHANGED` said of those that ran another workload and broke nothing.

    What `fit` changes where a case was found, it changes in the case's own run too: a case about
    cost is kept as it was asked for.
    """
    told: dict[Place, dict[str, Json]] = {place: dict(each) for place, each in replays.items()}
    for one in cases:
        own = [
            replays[place][one.name].get("changes", [])
            for place in one.places
            if one.name in replays.get(place, {})
        ]
        for each in told.values():
            said = each.get(one.name)
            if said is None or said["says"] not in ("nothing", "refused"):
                continue
            changes = said.get("changes", [])
            if changes and changes not in own:
                each[one.name] = {**said, "says": CHANGED}
    return told


def _unrepeated(
    cases: Sequence[Found], replays: Mapping[Place, Mapping[str, Json]]
) -> dict[tuple[str, str, str], str]:
    found = {}
    for one in cases:
        for place in one.places:
            said = replays.get(place, {}).get(one.name, {}).get("says", "not replayed")
            if said != "same":
                found[(*place, one.case.clause)] = str(said)
    return found


def _counted(
    engine: Engine, replays: Mapping[Place, Mapping[str, Json]]
) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {
        entry_point.name: Counter() for entry_point in engine.entry_points
    }
    for (_, entry_point), each in replays.items():
        counts[entry_point].update(said["says"] for said in each.values())
    return {entry_point: dict(sorted(each.items())) for entry_point, each in counts.items()}


def rules_name(rules: Mapping[str, str]) -> str:
    """A short name for the sentences of all clauses; "" if they are not known."""
    return _digest(sorted(rules.items())) if rules else ""


def _defects(
    engine: Engine,
    cases: Sequence[Found],
    replays: Mapping[Place, Mapping[str, Json]],
    places: Sequence[Place],
) -> list[Defect]:
    public = {entry_point.name for entry_point in engine.entry_points if entry_point.public}
    groups: dict[tuple[str, bool, tuple[Place, ...]], list[Found]] = {}
    for one in cases:
        broken = tuple(
            place
            for place in places
            if replays.get(place, {}).get(one.name, {}).get("says") == "same"
        )
        # A case that breaks nothing again stands for the runs that found it, and for no other case.
        key = (one.case.clause, bool(broken), broken or one.places)
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
        made.append(Defect(shown, len(group), where, said))
    return made


def _is_seen_by(public: set[str], one: Found, replays: Mapping[Place, Mapping[str, Json]]) -> bool:
    return any(
        each.get(one.name, {}).get("says") == "same"
        for (_, entry_point), each in replays.items()
        if entry_point in public
    )


def _is_consequence(one: Found, replays: Mapping[Place, Mapping[str, Json]]) -> bool:
    """Whether the case breaks another clause first, where it was found."""
    firsts = (replays.get(place, {}).get(one.name, {}).get("first", "") for place in one.places)
    return any(first not in ("", one.case.clause) for first in firsts)


def _run_troubles(found: Findings) -> Iterator[str]:
    ran = [outcome for outcome in found.outcomes.values() if outcome.ran]
    if len({(one.max_examples, one.seed, one.suite) for one in ran}) > 1:
        yield "the releases were not all judged by the same suite with the same options"
    for (version, entry_point), outcome in found.outcomes.items():
        where = f"{version} {entry_point}"
        if outcome.status == "no environment":
            if entry_point == found.engine.entry_points[0].name:
                yield f"{version}: {outcome.status}: {outcome.detail}"
        elif not outcome.ran:
            yield f"{where}: {outcome.status}: {outcome.detail}".removesuffix(": ")
        elif outcome.twice not in ("", "equal", "equal verdicts"):
            yield f"{where}: two runs differ: {outcome.twice}"
        if outcome.found is not None and outcome.found["evidence"]["smoke"] != "fine":
            yield f"{where}: smoke: {outcome.found['evidence']['smoke']}"
        for profile, said in ((outcome.found or {}).get("profiles") or {}).items():
            if str(said.get("not_run", "")).startswith("the suite itself failed"):
                yield f"{where}: {profile}: {said['not_run']}"


def _case_troubles(
    found: Findings, cases: Sequence[Found], replays: Mapping[Place, Mapping[str, Json]]
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


def is_broken(word: str) -> bool:
    """True if the word says that a run broke the clause."""
    return word in (Verdict.VIOLATED.value, Verdict.XFAIL.value)
