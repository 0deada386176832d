"""The result of a release matrix: the defects, and a verdict on each clause.

The suite gives, for each release and entry point, verdicts and for each broken clause one small
workload. Many of these show the same thing again and again. So each workload, a *case*, is replayed
on every release through every entry point, and cases of one clause that break it in exactly the
same places are taken for one *defect*, of which the smallest case is shown. That is a guess, and a
safe one: two causes that always come together are described as one, and each cause stays in.

Three rules decide the verdict on a clause:

- *A replay of another workload leaves the case open.* Some entry points cannot be asked for a case.
  They run the nearest workload that they can be asked for. If it breaks nothing, the result is
  `CHANGED`: the case could not be asked there.
- *A violation must come again.* A clause counts as broken if the case of that run breaks it again
  where it was found; otherwise it is `NOT_REPEATED`.
- *A script counts.* A release whose defect a stand-alone script shows does not pass by that clause,
  even if the runs of the suite missed it (`SHOWN`).

These are data, the same for the same results. `simulations.releases.gather` puts them together,
`simulations.releases.published` writes and reads the file for programs, and
`simulations.releases.page` makes pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cellspec.clauses import clauses
from cellspec.conformance.judge.verdict import Verdict
from simulations.releases.cases import FoundCase, Place
from simulations.releases.causes import Causes
from simulations.releases.causes import Place as SourcePlace
from simulations.releases.outcome import Outcome
from simulations.releases.processes import Json
from simulations.releases.release_list import Engine
from simulations.releases.script_files import Script

__all__ = [
    "CHANGED",
    "NOT_REPEATED",
    "REPLAYED",
    "SHOWN",
    "Defect",
    "Findings",
    "Mended",
    "PlaceCheck",
    "is_broken",
]

NOT_REPEATED = "not repeated"
"""Of a clause: a run broke it, and the replay of its case did not."""

REPLAYED = "shown by a replay"
"""Of a clause: no run on this release and entry point broke it, the case of another one does."""

SHOWN = "shown by a script"
"""Of a clause: no run broke it, or none again, and a stand-alone script shows it broken."""

CHANGED = "changed"
"""Of a replay: it ran another workload than the case, and broke nothing."""


@dataclass(frozen=True, slots=True)
class Defect:
    """Cases of one clause that break it in the same places, as one thing.

    Attributes:
        shown: the smallest of them.
        cases: how many they are.
        found: every release and entry point whose run of the suite found one of them.
        replays: the replay of the shown case, by release and entry point.
        blames: the causes whose mend makes the shown case break its clause no longer on the newest
            release, by id; None if no mend was tried on it.
    """

    shown: FoundCase
    cases: int
    found: tuple[Place, ...]
    replays: Mapping[Place, Json]
    blames: tuple[str, ...] | None = None

    @property
    def clause(self) -> str:
        return self.shown.case.clause

    @property
    def broken_at(self) -> list[Place]:
        """The releases and entry points where the replay breaks the clause again."""
        return [place for place, said in self.replays.items() if said.get("says") == "same"]

    @property
    def breaks_on(self) -> list[str]:
        """The releases of those; without any replay, the releases whose runs found a case."""
        places = self.broken_at if self.replays else self.found
        return list(dict.fromkeys(version for version, _ in places))

    @property
    def repeated(self) -> bool:
        """True if a replay broke the clause again anywhere, or the case was not replayed."""
        said = [each["says"] for each in self.replays.values()]
        return not said or "same" in said

    @property
    def differs(self) -> dict[Place, str]:
        """Where a run found it and the replay does not break the clause: what the replay did."""
        said = {place: self.replays[place]["says"] for place in self.found if place in self.replays}
        return {place: says for place, says in said.items() if says != "same"}

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


@dataclass(frozen=True, slots=True)
class PlaceCheck:
    """A place of a cause, looked for in the newest release as it is installed.

    Attributes:
        cause: the id of the cause.
        file: the file.
        line: the line, as the curated file says.
        text: its text.
        now: the line at which the text is; 0 if it is nowhere in the file.
    """

    cause: str
    file: str
    line: int
    text: str
    now: int


@dataclass(frozen=True, slots=True)
class Mended:
    """What the scripts of a cause show once it is mended in a copy of the newest release.

    Attributes:
        cause: the id of the cause.
        error: why the mend could not be tried; "" if it was.
        scripts: what each script says then: ``"fine"`` if the defect is gone.
    """

    cause: str
    error: str = ""
    scripts: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Findings:
    """The result of a release matrix. See `simulations.releases.findings`.

    Attributes:
        engine: the list.
        name: the name of its files.
        version: the suite's version.
        outcomes: the outcome of each run, by release and entry point.
        defects: the defects, by clause.
        scripts: the stand-alone scripts.
        ran: the result of each script, by release and file.
        unrepeated: by release, entry point and clause: the result of replaying a case where it was
            found, if no case that was found there breaks the clause again.
        replayed: by entry point: how many replays ended how, all cases and releases together.
        causes: the curated causes.
        place_checks: the places of the causes, as they were looked for in the newest release.
        mended: what the scripts of each cause show once it is mended.
        troubles: errors of the run of the matrix itself, a line each.
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
    causes: Causes = field(default_factory=Causes)
    place_checks: list[PlaceCheck] = field(default_factory=list)
    mended: list[Mended] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    def unjudged(self, version: str) -> list[str]:
        """The entry points through which a release was not judged, each with the reason."""
        runs = (
            (entry_point.name, self.outcomes.get((version, entry_point.name)))
            for entry_point in self.engine.entry_points
        )
        return [
            f"{name} {'did not run' if run is None else run.status}"
            for name, run in runs
            if run is None or not run.ran
        ]

    @property
    def newest(self) -> str:
        """The newest release of the list."""
        return self.engine.releases[-1].version

    def place_now(self, cause: str, place: SourcePlace) -> int | None:
        """The line of a cause's place in the newest release; 0 if it is gone, None if not known."""
        for each in self.place_checks:
            if (each.cause, each.file, each.text) == (cause, place.file, place.text):
                return each.now
        return None

    @property
    def max_examples(self) -> int:
        """Workloads of each profile; the fewest, if runs differ."""
        return min((one.max_examples for one in self.outcomes.values() if one.ran), default=0)

    @property
    def seed(self) -> int:
        """The first seed that workloads were drawn from."""
        return min((min(one.seeds) for one in self.outcomes.values() if one.seeds), default=0)

    def verdict(self, version: str, entry_point: str, clause: str) -> str:
        """The suite's verdict on a clause; "" without one."""
        found = self.outcomes[version, entry_point].found
        return "" if found is None else found["clauses"].get(clause, {}).get("verdict", "")

    def stands(self, version: str, entry_point: str, clause: str) -> str:
        """The verdict on a clause when replays and scripts count too.

        It is the suite's verdict, or `NOT_REPEATED`, `REPLAYED` or `SHOWN`; "" without any
        of these.
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
        """The scripts that show this release breaking the clause."""
        return [
            script
            for script in self.scripts
            if clause in script.clauses and version in self.shows(script)
        ]

    def wording(self, version: str, entry_point: str) -> dict[str, str]:
        """The sentences that a run was judged by and that have changed since, by clause."""
        outcome = self.outcomes[version, entry_point]
        judged = {} if outcome.found is None else outcome.found["clauses"]
        now = {number: clause.text for number, clause in clauses().items()}
        changed = [
            number
            for number, text in outcome.rules.items()
            if number in judged and now.get(number) != text
        ]
        order = {number: at for at, number in enumerate(now)}
        changed.sort(key=lambda number: order.get(number, len(order)))
        return {number: outcome.rules[number] for number in changed}

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
        """The releases on which a script showed its defect."""
        return tuple(
            release.version
            for release in self.engine.releases
            if self.ran.get((release.version, script.file), {}).get("says") == "shows"
        )


def is_broken(word: str) -> bool:
    """True if the word says that a run broke the clause."""
    return word in (Verdict.VIOLATED.value, Verdict.XFAIL.value)
