"""Which root cause explains what: the curated causes, and the findings of a release matrix.

Whatever breaks on the newest release is a *sign*: a workload whose replay breaks a clause there, a
script that shows its defect there, a clause that a run broke once and no replay again. `explain`
gives each sign to the causes that explain it:

1. a workload to the causes whose mend alone makes it break the clause no longer, if the mends were
   tried (`simulations.releases.mended_runs`);
2. else a workload, or a script, to the cause or question that lists it by name;
3. else a workload to the one cause that lists its clause, that a release has which it breaks on,
   and whose mend was not tried in vain. If there are several, it is not known which; if there is
   none, to the one question that lists the clause.

Signs that nothing explains are listed as such and never left out. The other way round, a cause of
the newest release stands apart if no sign there belongs to it, and so does each clause of it that
no sign of it shows: what was only read must not look like what was measured. Releases before the
newest go by rules 2 and 3: mends are tried on the newest alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from simulations.releases.causes import Cause, Question
from simulations.releases.findings import Defect, Findings, is_broken
from simulations.releases.script_files import Script

__all__ = ["Explanation", "Told", "cause_troubles", "explain", "releases_with"]


@dataclass(frozen=True, slots=True)
class Told:
    """A cause, or a question, with what shows it.

    Attributes:
        entry: the cause or the question.
        scripts: the scripts of it that show it, on the newest release for a live cause.
        defects: the workloads that it explains.
        not_shown: of a live cause: its clauses that no script, no workload and no consequence of
            it breaks on the newest release.
    """

    entry: Cause | Question
    scripts: list[Script] = field(default_factory=list)
    defects: list[Defect] = field(default_factory=list)
    not_shown: tuple[str, ...] = ()

    @property
    def shown_clauses(self) -> list[str]:
        return [number for number in self.entry.clauses if number not in self.not_shown]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What broke, by cause. See `simulations.releases.explained`.

    Attributes:
        live: the causes that something shows in the newest release, by harm.
        unshown: those that are said to be in the newest release, and that nothing shows there.
        mended: those that it has no longer, by harm.
        questions: the questions.
        scripts: scripts that show a defect of the newest release, and that no cause lists.
        defects: workloads that break a clause on the newest release, and that nothing explains.
        once: clauses that a run on the newest release broke with a workload whose replay there did
            not, with the entry point.
        consequences: clauses that runs on the newest release broke only where another clause had
            broken, with the entry point, and the workloads by that other clause; without any, the
            run kept no workload.
        older: workloads that break a clause on earlier releases alone, and that nothing explains.
    """

    live: list[Told]
    unshown: list[Told]
    mended: list[Told]
    questions: list[Told]
    scripts: list[Script]
    defects: list[Defect]
    once: list[tuple[str, str]]
    consequences: list[tuple[str, str, Mapping[str, int]]]
    older: list[Defect]

    @property
    def unexplained(self) -> int:
        """How many signs of the newest release nothing explains."""
        alone = [each for each in self.consequences if not each[2]]
        return len(self.scripts) + len(self.defects) + len(self.once) + len(alone)

    @property
    def of_newest(self) -> list[Told]:
        """The causes that the newest release has, those last that nothing shows there."""
        return [*self.live, *self.unshown]

    @property
    def told(self) -> list[Told]:
        return [*self.of_newest, *self.mended, *self.questions]

    def of(self, defect: Defect) -> list[Told]:
        """The causes and questions that explain a workload."""
        return [one for one in self.told if defect in one.defects]


def explain(found: Findings) -> Explanation:
    """Give every workload and script that breaks a clause to the causes that explain it."""
    causes = found.causes
    told = {one.id: Told(one) for one in (*causes.live, *causes.mended)}
    told |= {one.id: Told(one) for one in causes.questions}
    newest = found.newest
    lost: list[Defect] = []
    older: list[Defect] = []
    for defect in found.defects:
        if not defect.repeated:
            continue
        names = _causes_of(found, defect)
        for name in names:
            told[name].defects.append(defect)
        if not names:
            (lost if newest in defect.breaks_on else older).append(defect)
    listed = {name for one in told.values() for name in one.entry.scripts}
    for one in told.values():
        live = not isinstance(one.entry, Cause) or not one.entry.mended
        for name in one.entry.scripts:
            script = next((each for each in found.scripts if each.file == name), None)
            if script is not None and (newest in found.shows(script) or not live):
                one.scripts.append(script)
    consequences = list(_consequences(found))
    now = [_with_not_shown(newest, told[one.id], consequences) for one in causes.live]
    return Explanation(
        [one for one in now if _is_shown(newest, one)],
        [one for one in now if not _is_shown(newest, one)],
        [told[one.id] for one in causes.mended],
        [told[one.id] for one in causes.questions],
        [
            script
            for script in found.scripts
            if newest in found.shows(script) and script.file not in listed
        ],
        lost,
        _once(found),
        consequences,
        older,
    )


def _once(found: Findings) -> list[tuple[str, str]]:
    """The clauses that a run on the newest release broke with a workload that does not repeat."""
    seen = list(found.unrepeated)
    seen += [(*place, one.clause) for one in found.defects for place in one.differs]
    newest = [(number, name) for version, name, number in seen if version == found.newest]
    return list(dict.fromkeys(newest))


def _is_shown(newest: str, one: Told) -> bool:
    """True if a script or a workload shows a live cause on the newest release."""
    return bool(one.scripts) or any(newest in each.breaks_on for each in one.defects)


def _with_not_shown(
    newest: str, one: Told, consequences: Sequence[tuple[str, str, Mapping[str, int]]]
) -> Told:
    """A live cause, with its clauses that nothing measured on the newest release shows."""
    shown = {number for script in one.scripts for number in script.clauses}
    broken = [each for each in one.defects if newest in each.breaks_on]
    shown |= {number for each in broken for number in (each.clause, each.after) if number}
    shown |= {number for number, _, of_root in consequences if shown & set(of_root)}
    return replace(one, not_shown=tuple(each for each in one.entry.clauses if each not in shown))


def _consequences(found: Findings) -> Iterator[tuple[str, str, Mapping[str, int]]]:
    """The clauses that the newest release broke without a workload of their own."""
    for entry_point in found.engine.entry_points:
        place = (found.newest, entry_point.name)
        said = found.outcomes[place].found if place in found.outcomes else None
        known = {one.clause for one in found.defects if place in one.found}
        for number, entry in (said or {}).get("clauses", {}).items():
            if is_broken(entry["verdict"]) and number not in known:
                of_root = (said or {}).get("consequences", {}).get(number, {})
                yield number, entry_point.name, of_root


def _causes_of(found: Findings, defect: Defect) -> list[str]:
    """The ids of the causes and questions that explain a workload."""
    causes, questions = found.causes.causes, found.causes.questions
    if defect.blames:
        return [one.id for one in causes if one.id in defect.blames]
    # A cause whose mend was tried in vain does not explain the workload.
    tried = {each.cause for each in found.mended if defect.blames is not None and not each.error}
    left = [one for one in causes if one.id not in tried]
    named = [one.id for one in (*left, *questions) if defect.shown.name in one.cases]
    if named:
        return named
    for entries in (left, questions):
        can_be = [one.id for one in entries if _can_be(found, one, defect)]
        if can_be:
            return can_be if len(can_be) == 1 else []
    return []


def _can_be(found: Findings, entry: Cause | Question, defect: Defect) -> bool:
    """True if the entry lists the clause, and a release that has it is among those that break."""
    if defect.clause not in entry.clauses:
        return False
    if isinstance(entry, Question):
        return True
    return bool(set(releases_with(found, entry)) & set(defect.breaks_on))


def releases_with(found: Findings, cause: Cause) -> Sequence[str]:
    """The releases of the list that have a cause, as the curated file says."""
    versions = [one.version for one in found.engine.releases]
    end = versions.index(cause.mended) if cause.mended else len(versions)
    return versions[versions.index(cause.since) : end]


def cause_troubles(found: Findings) -> Iterator[str]:
    """What the curated causes say, and the results do not, or the other way round."""
    newest = found.newest
    told = explain(found)
    for one in told.unshown:
        yield f"cause {one.entry.id}: nothing shows it in {newest}; is it mended there?"
    for one in told.live:
        if one.not_shown:
            yield (
                f"cause {one.entry.id}: nothing in {newest} shows that it breaks "
                f"{', '.join(one.not_shown)}"
            )
        yield from _reach_troubles(found, told, one)
    for one in told.of_newest + told.mended:
        assert isinstance(one.entry, Cause)
        has = releases_with(found, one.entry)
        for script in one.scripts:
            other = [each for each in found.shows(script) if each not in has]
            if other:
                yield (
                    f"cause {one.entry.id}: {script.file} shows it in {', '.join(other)}, too; "
                    f"the file says {has[0]} to {has[-1]}"
                )
    for cause in found.causes.live:
        for place in cause.places:
            now = found.place_now(cause.id, place)
            where = f"cause {cause.id}: {place.file}:{place.line}"
            if now == 0:
                yield f"{where}: this line is no longer in {newest}: {place.text}"
            elif now not in (None, place.line):
                yield f"{where}: this is line {now} of {newest}; write that into the causes"
    for each in found.mended:
        if each.error:
            yield f"cause {each.cause}: its mend cannot be tried: {each.error}"
        for name, says in each.scripts.items():
            if says != "fine":
                yield f"cause {each.cause}: mended, and {name} does not end well: {says}"


def _reach_troubles(found: Findings, told: Explanation, one: Told) -> Iterator[str]:
    """A cause that is said not to be reachable through the public interface, and is."""
    assert isinstance(one.entry, Cause)
    if one.entry.public:
        return
    public = {each.name for each in found.engine.entry_points if each.public}
    by = [script.file for script in one.scripts if script.public]
    by += [
        each.identity
        for each in one.defects
        # What the mend of another cause heals too may belong to that one alone.
        if len(told.of(each)) == 1
        and any(version == found.newest and name in public for version, name in each.broken_at)
    ]
    if by:
        yield (
            f"cause {one.entry.id}: public = false, and {by[0]} shows it through the public "
            "interface"
        )
