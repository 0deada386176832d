"""What a campaign over releases found, put together: cases, defects, scripts.

The suite hands over, for each release and door, verdicts and for each broken clause one small
workload. Many of these are one and the same thing seen again and again. So each workload, a *case*,
is replayed on every release by every door, and cases of one clause that break it in exactly the
same places are taken for one *defect*, of which the smallest case is shown. That is a guess, and a
safe one: two causes that always come together are told as one, and no cause is left out.

What is here is data and nothing else, the same for the same results. `cellspec.engines.
campaign_page` makes pages of it.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from cellspec.clauses import clauses
from cellspec.conformance.case import Case
from cellspec.conformance.workload import Workload
from cellspec.engines.campaign_list import Engine
from cellspec.engines.campaign_run import Outcome
from cellspec.errors import SpecError
from cellspec.verdict import Verdict

__all__ = ["Defect", "Findings", "Found", "Script", "cases_of", "findings", "read_scripts"]

FINDINGS_FORMAT = 1
"""The version of the file that `Findings.to_json` writes."""

Json = dict[str, Any]
Place: TypeAlias = tuple[str, str]
"""A release and a door, by name."""


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
            work.lives,
            len(work.faults) + len(work.skips),
            len(work.to_json()),
        )


def cases_of(engine: Engine, name: str, outcomes: Mapping[Place, Outcome]) -> list[Found]:
    """The cases of all runs, each once, by clause in the order of the registry."""
    backends = {door.name: door.backend for door in engine.doors}
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


# Scripts


@dataclass(frozen=True, slots=True)
class Script:
    """A stand-alone script that shows one defect, and what its header says.

    Attributes:
        file: its name.
        clauses: the clauses that the defect breaks.
        releases: those that it is said to show in.
        defect: the defect, in a sentence.
        public: whether it uses the public interface and nothing else.
        fixed: the change that fixed it; "" if that is not known.
    """

    file: str
    clauses: tuple[str, ...]
    releases: tuple[str, ...]
    defect: str
    public: bool = False
    fixed: str = ""


_FIELDS = ("Clause", "Releases", "Defect", "Public", "Fixed by")


def read_scripts(folder: Path, package: str) -> list[tuple[Script, Path]]:
    """The scripts of a folder, by name; names that begin with ``_`` are none.

    Args:
        folder: the folder; nothing is found in one that is not there.
        package: the import name of the engine: scripts import it and the standard library.

    Raises:
        SpecError: a script whose header cannot be used, or that imports anything else.
    """
    found = []
    for path in sorted(folder.glob("*.py")):
        if not path.name.startswith("_"):
            found.append((_read_script(path, package), path))
    return found


def _read_script(path: Path, package: str) -> Script:
    text = path.read_text(encoding="utf-8")
    header: dict[str, str] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        name, colon, value = line.removeprefix("#").strip().partition(": ")
        if colon and name in _FIELDS:
            header[name] = value.strip()
        elif header and line.startswith("#   "):
            header[list(header)[-1]] += f" {line.removeprefix('#').strip()}"
    for name in _FIELDS[:4]:
        if not header.get(name):
            raise SpecError(f"{path.name}: header: {name}: is missing")
    numbers = tuple(header["Clause"].split())
    for number in numbers:
        if number not in clauses():
            raise SpecError(f"{path.name}: header: Clause: there is no clause {number!r}")
    for module in _imports(text):
        if module not in sys.stdlib_module_names and module not in (package, "pandas"):
            raise SpecError(f"{path.name}: imports {module}; a script needs only {package}")
    releases = () if header["Releases"] == "none" else tuple(header["Releases"].split())
    public = header["Public"].startswith("yes")
    fixed = header.get("Fixed by", "")
    return Script(path.name, numbers, releases, header["Defect"], public, fixed)


def _imports(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or ".").partition(".")[0]


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
    """All that a campaign found. See `cellspec.engines.campaign_findings`."""

    engine: Engine
    name: str
    version: str
    outcomes: Mapping[Place, Outcome]
    defects: list[Defect]
    scripts: list[Script]
    ran: Mapping[tuple[str, str], Json]
    troubles: list[str] = field(default_factory=list)

    @property
    def max_examples(self) -> int:
        """Workloads of each profile; the fewest, if runs differ."""
        return min((one.max_examples for one in self.outcomes.values() if one.ran), default=0)

    @property
    def seed(self) -> int:
        """What workloads were drawn from."""
        return min((one.seed for one in self.outcomes.values() if one.ran), default=0)

    def verdict(self, version: str, door: str, clause: str) -> str:
        """The word for a clause; "" if the suite did not come to say one."""
        found = self.outcomes[version, door].found
        return "" if found is None else found["clauses"].get(clause, {}).get("verdict", "")

    @property
    def judged(self) -> list[str]:
        """Every clause that a run had something to say of, in the order of the registry."""
        said = {
            number
            for outcome in self.outcomes.values()
            for number in (outcome.found or {}).get("clauses", {})
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
            "doors": [door.model_dump() for door in self.engine.doors],
            "releases": [self._release(one.version) for one in self.engine.releases],
            "defects": [self._defect(defect) for defect in self.defects],
            "scripts": [self._script(script) for script in self.scripts],
            "troubles": self.troubles,
        }
        return json.dumps(data, ensure_ascii=False, indent=1) + "\n"

    def _release(self, version: str) -> Json:
        doors: Json = {}
        for door in self.engine.doors:
            outcome = self.outcomes[version, door.name]
            said: Json = {"status": outcome.status, "detail": outcome.detail}
            if outcome.found is not None:
                said |= {"twice": outcome.twice} if outcome.twice else {}
                said |= {
                    name: outcome.found[name]
                    for name in ("name", "version", "capabilities", "evidence", "sometimes")
                }
                said["clauses"] = {
                    number: [entry["verdict"], entry["reason"]]
                    for number, entry in outcome.found["clauses"].items()
                }
            doors[door.name] = said
        return {"version": version, "doors": doors}

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
    places = [(one.version, door.name) for one in engine.releases for door in engine.doors]
    every = {place: outcomes.get(place, Outcome()) for place in places}
    defects = _defects(engine, cases, replays, places)
    found = Findings(engine, name, version, every, defects, list(scripts), ran)
    found.troubles = [
        *_run_troubles(found),
        *_case_troubles(cases, replays),
        *_script_troubles(found),
    ]
    return found


def _defects(
    engine: Engine,
    cases: Sequence[Found],
    replays: Mapping[Place, Mapping[str, Json]],
    places: Sequence[Place],
) -> list[Defect]:
    public = {door.name for door in engine.doors if door.public}
    groups: dict[tuple[str, tuple[Place, ...]], list[Found]] = {}
    for one in cases:
        broken = tuple(
            place
            for place in places
            if replays.get(place, {}).get(one.name, {}).get("says") == "same"
        )
        # A case that was replayed nowhere stands for the runs that found it.
        groups.setdefault((one.case.clause, broken or one.places), []).append(one)
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
        for (_, door), each in replays.items()
        if door in public
    )


def _is_consequence(one: Found, replays: Mapping[Place, Mapping[str, Json]]) -> bool:
    """Whether the case breaks another clause first, where it was found."""
    firsts = (replays.get(place, {}).get(one.name, {}).get("first", "") for place in one.places)
    return any(first not in ("", one.case.clause) for first in firsts)


def _run_troubles(found: Findings) -> Iterator[str]:
    ran = [outcome for outcome in found.outcomes.values() if outcome.ran]
    if len({(one.max_examples, one.seed, one.suite) for one in ran}) > 1:
        yield "the releases were not all judged by the same suite with the same options"
    for (version, door), outcome in found.outcomes.items():
        where = f"{version} {door}"
        if outcome.status == "no environment":
            if door == found.engine.doors[0].name:
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
    cases: Sequence[Found], replays: Mapping[Place, Mapping[str, Json]]
) -> Iterator[str]:
    for one in cases:
        for place in one.places:
            said = replays.get(place, {}).get(one.name)
            if said is None:
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
