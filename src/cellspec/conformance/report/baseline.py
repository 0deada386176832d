"""The comparison with an earlier run: what broke since, what was mended, what is judged no more.

The *baseline* is the results file of an earlier run of the same backend. What is broken in both
runs in the same way is known: it is told, and it fails no run unless the user asks for that. A
clause that is broken now and was not broken then has *broken*, and fails the run, whatever the
verdict was. So does one that is *broken in another way*, by a root cause that is new.

======================  ==========================================================================
change                  when
======================  ==========================================================================
broke                   it is broken, and the baseline does not show it broken
broken in another way   it was broken and still is, by a root cause with a new finding or behind it
still broken            it was broken and still is
no longer judged        it was judged then, and is inconclusive, not claimed or absent now
mended                  it was broken, and was judged again without a finding, by the campaigns that
                        had found it
newly judged            it was not judged then, and now it is, without a finding
======================  ==========================================================================

Two findings are one if they have the same symptom (`cellspec.conformance.campaign.symptoms`): two
runs that draw other workloads find one cause in other columns and rows. What broke in the baseline
as a consequence alone is not known by its finding, for that finding came with another root. One bug
may show as another root where other workloads are drawn, or threads run otherwise: compare runs of
the same seeds and size. Other sources of cellspec may put a finding in other words, so to a
baseline of such each finding of a clause is known that was broken.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cellspec.check.checker import Finding
from cellspec.conformance.campaign.smoke import SMOKE
from cellspec.conformance.campaign.symptoms import Symptom, symptom_of
from cellspec.conformance.judge.verdict import Verdict, says_pass
from cellspec.conformance.report.read_results import (
    BackendResults,
    CauseResult,
    ClauseResult,
    field,
    read_backend,
    updated,
)
from cellspec.errors import SpecError

__all__ = ["Baseline", "comparison_lines", "read_baseline"]

_OPTION = "--conformance-baseline"
_BROKEN = (Verdict.VIOLATED.value, Verdict.XFAIL.value)

_BROKE, _OTHERWISE, _STILL = "broke", "broken in another way", "still broken"
_LOST, _MENDED, _NEW = "no longer judged", "mended", "newly judged"
_CHANGES = (_BROKE, _OTHERWISE, _STILL, _LOST, _MENDED, _NEW)
"""The changes in the order of reports."""

_OF_ITS_OWN = ("--conformance-allow-inconclusive",)
"""Words of a command that change no verdict."""


@dataclass(frozen=True)
class Baseline:
    """The results of an earlier run of the backend.

    Attributes:
        shown: its file, as the user named it.
        backend: the results.
        suite: the suite of that run: version, sources, clause set, digest.
    """

    shown: str
    backend: BackendResults
    suite: Mapping[str, Any]

    def knows_broken(self, clause: str) -> bool:
        """Whether the clause was broken then."""
        return _verdict(self.backend.results.get(clause)) in _BROKEN

    def knows(self, clause: str, detail: str, sources: object) -> bool:
        """Whether the clause was broken then, in this way.

        Args:
            clause: the clause.
            detail: the finding.
            sources: the digest of the sources of cellspec that found it.
        """
        if self.suite.get("sources") != sources:
            return self.knows_broken(clause)
        return symptom_of(Finding(clause, detail)) in self._known

    @cached_property
    def _known(self) -> set[Symptom]:
        return {symptom_of(Finding(*found)) for found in _findings(self.backend)}

    def knows_inconclusive(self, clause: str) -> bool:
        """Whether the clause was inconclusive then, in a run that came to its end."""
        if self.backend.interrupted:
            return False
        return _verdict(self.backend.results.get(clause)) == Verdict.INCONCLUSIVE.value

    def compared(self, backend: Mapping[str, Any], suite: Mapping[str, Any]) -> dict[str, Any]:
        """The comparison of a run with this one, as JSON data.

        Args:
            backend: the results of the backend now, as `cellspec.conformance.report.results` has
                them.
            suite: the suite now.
        """
        now = read_backend(backend, "results", set())
        changes = {}
        unsure: list[str] = []
        # Of a run that was asked for a few clauses, the others are not lost.
        few = "not_asked" in backend
        earlier = () if few else self.backend.results
        unknown = {
            clause: detail
            for clause, detail in reversed(_findings(now))
            if not self.knows(clause, detail, suite.get("sources"))
        }
        for clause, root in _only_behind(now).items():
            if not self.knows(root.clause, root.detail, suite.get("sources")):
                unknown.setdefault(clause, f"with {root.clause}: {root.detail}")
        for clause in dict.fromkeys((*now.results, *earlier)):
            before, after = self.backend.results.get(clause), now.results.get(clause)
            change = _change(before, after, unknown.get(clause, ""))
            if change == _MENDED and not self._looked_again(clause, now):
                unsure.append(clause)
            elif change:
                why = after.reason if after is not None else ""
                changes[clause] = {
                    "change": change,
                    "before": _verdict(before) or "no result",
                    "now": _verdict(after) or "no result",
                    "why": unknown[clause] if change == _OTHERWISE else why,
                }
        return {
            "file": self.shown,
            "version": self.backend.version,
            "notes": [*self._notes(now, suite), *_unsure(unsure)],
            "changes": changes,
        }

    def _looked_again(self, clause: str, now: BackendResults) -> bool:
        """Whether a run has run to their ends all campaigns that had found this clause broken."""
        ran = {
            name
            for name, one in now.profiles.items()
            if one.get("workloads") and not one.get("stopped_at")
        }
        found_in = {
            cause.profile
            for cause in self.backend.causes
            if clause in (cause.clause, *cause.consequences) and cause.profile
        }
        return found_in <= {*ran, SMOKE} if found_in else not now.interrupted

    def _notes(self, now: BackendResults, suite: Mapping[str, Any]) -> Iterator[str]:
        """What differs between the two runs beside the verdicts, and may be a reason for them."""
        then = self.backend
        if then.interrupted:
            yield "the run there was interrupted; what is inconclusive in it is not accepted"
        if now.interrupted:
            yield "this run was interrupted"
        if then.version != now.version:
            yield f"{now.name} was {then.version} there, and is {now.version} here"
        for what, key in (("cellspec", "version"), ("the clause set", "clauses")):
            if self.suite.get(key) != suite.get(key):
                yield f"{what} was {self.suite.get(key)} there, and is {suite.get(key)} here"
        if self.suite.get("sources") != suite.get("sources"):
            yield (
                "cellspec has other sources here than there, and perhaps other words for findings; "
                "a clause that was broken there is not told to be broken in another way"
            )
        gone = [name for name in then.capabilities if name not in now.capabilities]
        come = [name for name in now.capabilities if name not in then.capabilities]
        for names, what in ((gone, "no longer claimed"), (come, "claimed now, and not there")):
            if names:
                yield f"{what}: {', '.join(names)}"
        there, here = _options(then.command), _options(now.command)
        if there != here:
            yield (
                f"other options, which may find other things: {' '.join(there) or 'none'} there, "
                f"{' '.join(here) or 'none'} here"
            )


def read_baseline(path: Path, shown: str, name: str) -> Baseline:
    """Read the results of an earlier run of a backend.

    Args:
        path: a results file.
        shown: its name in messages.
        name: the name of the backend.

    Raises:
        SpecError: the file cannot be read or used, or holds nothing of this backend.
    """
    where = f"{_OPTION}: {shown}"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SpecError(
            f"{where}: cannot be read: there is no such file; a run with --conformance-json=FILE "
            "writes one"
        ) from None
    except OSError as error:
        raise SpecError(
            f"{where}: cannot be read: {error.strerror}; expected a results file, as "
            "--conformance-json=FILE writes it"
        ) from None
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{where}: not JSON: {error}") from None
    try:
        if not isinstance(found, Mapping):
            raise SpecError("results: expected an object")
        found = updated(found)
        suite = field(found, "suite", "an object", "results")
        backends = [
            read_backend(item, f"results: backends[{place}]", set())
            for place, item in enumerate(field(found, "backends", "a list", "results"))
        ]
    except SpecError as error:
        raise SpecError(f"{where}: {error}; expected the results file of an earlier run") from None
    mine = next((one for one in backends if one.name == name), None)
    if mine is None:
        raise SpecError(
            f"{where}: these are results of {', '.join(one.name for one in backends) or 'nothing'},"
            f" and the backend of this run is {name}; give the results of an earlier run of {name}"
        )
    smoke = mine.evidence.get("smoke", "fine")
    if smoke != "fine":
        raise SpecError(
            f"{where}: nothing was judged in it, for its smoke test failed ({smoke}); give the "
            "results of a run that judged clauses"
        )
    return Baseline(shown, mine, suite)


def comparison_lines(compared: Mapping[str, Any]) -> Iterator[str]:
    """A comparison in lines for people."""
    yield f"compared with {compared['file']}, of version {compared['version']}:"
    for note in compared["notes"]:
        yield f"  note: {note}"
    changes = compared["changes"]
    for kind in _CHANGES:
        alike: dict[str, list[str]] = {}
        for number, one in changes.items():
            if one["change"] == kind:
                alike.setdefault(_more(one), []).append(number)
        for more, numbers in alike.items():
            yield f"  {kind}{more}: {', '.join(numbers)}"
    if not changes:
        yield "  each clause has the verdict that it had"


def _more(change: Mapping[str, Any]) -> str:
    """What a reader needs to know of a change beside its kind."""
    if change["change"] not in (_BROKE, _OTHERWISE, _LOST):
        return ""
    why = f": {change['why']}" if change["why"] else ""
    return f" (was {change['before']}, is {change['now']}{why})"


def _unsure(clauses: Collection[str]) -> Iterator[str]:
    """A note of clauses that were broken, and are not looked for where they broke."""
    if clauses:
        yield (
            "broken there by a campaign that this run did not run to its end, so not known to be "
            f"mended: {', '.join(clauses)}"
        )


def _verdict(result: ClauseResult | None) -> str:
    return "" if result is None else result.verdict


def _change(before: ClauseResult | None, now: ClauseResult | None, unknown: str) -> str:
    """The change of a clause; "" if there is nothing to tell.

    Args:
        before: its result in the baseline.
        now: its result.
        unknown: a finding that broke it now and that the baseline does not have; "" if none.
    """
    was, is_now = _verdict(before), _verdict(now)
    if is_now in _BROKEN:
        if was not in _BROKEN:
            return _BROKE
        return _OTHERWISE if unknown else _STILL
    judged_before = was in _BROKEN or says_pass(was)
    if says_pass(is_now):
        if was in _BROKEN:
            return _MENDED
        return "" if judged_before else _NEW
    return _LOST if judged_before else ""


def _findings(backend: BackendResults) -> list[tuple[str, str]]:
    """The findings of a run, each with its clause: of what broke, and of the root causes."""
    broken = [
        (number, str(result.failure.get("detail", "")))
        for number, result in backend.results.items()
        if result.failure is not None
    ]
    return [*broken, *((one.clause, one.detail) for one in backend.causes)]


def _only_behind(backend: BackendResults) -> dict[str, CauseResult]:
    """The clauses that broke only as consequences, each with its first root."""
    found: dict[str, CauseResult] = {}
    for root in backend.causes:
        for clause in root.consequences:
            found.setdefault(clause, root)
    return {
        clause: found[clause] for clause in found.keys() - {one.clause for one in backend.causes}
    }


def _options(command: str) -> list[str]:
    """The options of a command that have a say in verdicts; the backend is known."""
    words = [word for word in command.split() if word.startswith("--")]
    return [
        word
        for word in words
        if word not in _OF_ITS_OWN and not word.startswith(("--pyargs", "--engine-backend"))
    ]
