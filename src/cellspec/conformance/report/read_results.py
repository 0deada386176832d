"""The results of a run as read from JSON: each field checked, and refused in one line."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cellspec.conformance.report.page_parts import SYMBOLS
from cellspec.errors import SpecError
from cellspec.text import counted

__all__ = [
    "INDEX",
    "RESULTS_FORMAT",
    "BackendResults",
    "CauseResult",
    "ClauseResult",
    "field",
    "read_backend",
    "root_words",
    "updated",
]

RESULTS_FORMAT = 2
"""The version of the results file. Format 1 is read too: see `updated`."""

_RENAMED = {
    "a call was tried again after its cool-down": "a call was tried again after its backoff"
}
"""Coverage goals by their names in format 1."""

INDEX = "index.html"
"""The matrix page."""

_KINDS: Mapping[str, tuple[type, ...]] = {
    "an object": (Mapping,),
    "a list": (list, tuple),
    "a text": (str,),
}


@dataclass(frozen=True, slots=True)
class ClauseResult:
    """The result of one clause; `page` is the file of its failure, if it has one."""

    verdict: str
    reason: str
    examples: int | None
    failure: Mapping[str, Any] | None
    page: str | None
    exercised: int | None = None
    """In how many of the examples it could have broken."""


@dataclass(frozen=True, slots=True)
class CauseResult:
    """A root cause.

    Attributes:
        clause: the clause that stands for it.
        detail: the finding in one line.
        words: the finding, the size of its smallest workload and how often it was found.
        consequences: the other clauses that broke with it.
        replay: the command that runs its workload again.
        failure: its failure, where the clause has another one; else None.
        page: the page of its failure, if there is one.
        profile: the profile whose campaign found it first; "" if the results do not say it.
    """

    clause: str
    detail: str
    words: str
    consequences: tuple[str, ...]
    replay: str
    failure: Mapping[str, Any] | None
    page: str | None
    profile: str = ""


@dataclass(frozen=True, slots=True)
class BackendResults:
    """One column of the matrix; `interrupted` if its run ended early."""

    name: str
    version: str
    capabilities: tuple[str, ...]
    seed: object
    command: str
    results: Mapping[str, ClauseResult]
    evidence: Mapping[str, Any]
    sometimes: Mapping[str, Any]
    profiles: Mapping[str, Mapping[str, Any]]
    causes: tuple[CauseResult, ...] = ()
    interrupted: bool = False


def updated(results: Mapping[str, Any]) -> dict[str, Any]:
    """Results of format 1 or 2 as results of format 2.

    Format 1 gave the version of the package as that of the clauses, which says nothing of them; so
    it is left out. Names of coverage goals are mapped where they are read, since a file may have
    been put together from files of both formats.

    Raises:
        SpecError: results of another format.
    """
    found = results.get("format")
    if found == RESULTS_FORMAT:
        return dict(results)
    if found != 1:
        raise SpecError(f"results: format: expected 1 or {RESULTS_FORMAT}, got {found!r}")
    suite = dict(field(results, "suite", "an object", "results"))
    if suite.get("clauses") == suite.get("version"):
        suite.pop("clauses", None)
    return {**results, "format": RESULTS_FORMAT, "suite": suite}


def read_backend(item: object, where: str, taken: set[str]) -> BackendResults:
    if not isinstance(item, Mapping):
        raise SpecError(f"{where}: expected an object, got {item!r:.80}")
    name = field(item, "name", "a text", where)
    where = f"results: backend {name!r}"
    found: dict[str, ClauseResult] = {}
    for number, entry in field(item, "clauses", "an object", where).items():
        if not isinstance(entry, Mapping):
            raise SpecError(f"{where}: {number}: expected an object, got {entry!r:.80}")
        found[str(number)] = _read_result(name, str(number), entry, f"{where}: {number}", taken)
    profiles = _optional(item, "profiles", where)
    profiles = {str(key): field(profiles, key, "an object", where) for key in profiles}
    # A coverage goal that the campaign missed is as much a result as one that it met.
    owed = {what: 0 for each in profiles.values() for what in _goals(each, where)}
    return BackendResults(
        name=name,
        version=str(item.get("version", "")),
        capabilities=tuple(map(str, item.get("capabilities") or ())),
        seed=item.get("seed"),
        command=str(item.get("command") or ""),
        results=found,
        evidence=_optional(item, "evidence", where),
        sometimes={**owed, **_goals(item, where)},
        profiles=profiles,
        causes=tuple(_causes(item, name, found, where, taken)),
        interrupted=item.get("interrupted") is True,
    )


def _causes(
    item: Mapping[str, Any],
    backend: str,
    found: Mapping[str, ClauseResult],
    where: str,
    taken: set[str],
) -> Iterator[CauseResult]:
    """The root causes of a backend; results of before have none."""
    if item.get("causes") is None:
        return
    for number, cause in enumerate(field(item, "causes", "a list", where), 1):
        here = f"{where}: causes: {number}"
        if not isinstance(cause, Mapping):
            raise SpecError(f"{here}: expected an object, got {cause!r:.80}")
        clause = field(cause, "clause", "a text", here)
        own = cause.get("failure")
        if own is not None and not isinstance(own, Mapping):
            raise SpecError(f"{here}: failure: expected an object or null, got {own!r:.80}")
        page = found[clause].page if clause in found else None
        detail = field(cause, "detail", "a text", here)
        yield CauseResult(
            clause=clause,
            detail=detail,
            words=root_words(
                detail,
                _optional(cause, "size", here),
                cause.get("workloads", 0),
                [] if cause.get("seeds") is None else field(cause, "seeds", "a list", here),
            ),
            consequences=tuple(_optional(cause, "consequences", here)),
            replay=str(cause.get("replay") or ""),
            failure=own,
            page=page if own is None else _page_name(backend, f"{clause}-root-{number}", taken),
            profile=str(cause.get("profile") or ""),
        )


def root_words(
    detail: str, size: Mapping[str, Any], found: int, seeds: Collection[int] = ()
) -> str:
    """A root in words: the finding, the size of its smallest workload, and how often it was found.

    Args:
        detail: the finding in one line.
        size: how many there are of each thing in the workload, by the word for one.
        found: in how many workloads it showed.
        seeds: the seeds of these workloads, if the run had more than one.
    """
    things = ", ".join(counted(number, thing) for thing, number in size.items() if number)
    word = "seed" if len(seeds) == 1 else "seeds"
    of = f" of {word} {', '.join(map(str, sorted(seeds)))}" if seeds else ""
    return f"{detail} ({things}; in {counted(found, 'workload')}{of})"


def _read_result(
    backend: str, number: str, entry: Mapping[str, Any], where: str, taken: set[str]
) -> ClauseResult:
    verdict = entry.get("verdict")
    if verdict not in SYMBOLS:
        raise SpecError(f"{where}: verdict: expected one of {', '.join(SYMBOLS)}, got {verdict!r}")
    failure = entry.get("failure")
    if failure is not None and not isinstance(failure, Mapping):
        raise SpecError(f"{where}: failure: expected an object or null, got {failure!r:.80}")
    examples, exercised = entry.get("examples"), entry.get("exercised")
    return ClauseResult(
        verdict=str(verdict),
        reason=str(entry.get("reason") or ""),
        examples=examples if isinstance(examples, int) else None,
        failure=failure,
        page=None if failure is None else _page_name(backend, number, taken),
        exercised=exercised if isinstance(exercised, int) else None,
    )


def _page_name(backend: str, number: str, taken: set[str]) -> str:
    """``failure-<backend>-<clause>.html``, in characters that every file system has, once."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{backend}-{number}").strip("-.") or "page"
    names = (
        f"failure-{plain[:120]}{mark}.html" for mark in ("", *(f"-{n}" for n in range(2, 999)))
    )
    # File systems that ignore case would take two names for one.
    name = next(name for name in names if name.lower() not in taken)
    taken.add(name.lower())
    return name


def field(holder: Mapping[str, Any], key: str, words: str, where: str) -> Any:
    value = holder.get(key)
    if not isinstance(value, _KINDS[words]):
        raise SpecError(f"{where}: {key}: expected {words}, got {value!r:.80}")
    return value


def _goals(holder: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The coverage goals of a backend or a profile, by the names that they have now."""
    goals = _optional(holder, "sometimes", where)
    return {_RENAMED.get(what, what): times for what, times in goals.items()}


def _optional(holder: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value: Mapping[str, Any] = (
        {} if holder.get(key) is None else field(holder, key, "an object", where)
    )
    return value
