"""The Markdown page of a release matrix, for a maintainer of the engine.

It begins with the root causes of what breaks in the newest release
(`simulations.releases.markdown_causes`). Then come the matrix releases × clauses, the causes that
are mended since, each clause that broke with its workloads
(`simulations.releases.markdown_defects`), and the scripts. Last is how the runs were made, and what
was wrong with them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from cellspec.clauses import clauses
from cellspec.conformance.judge.verdict import Verdict
from cellspec.text import counted
from simulations.releases.explained import Explanation, cause_troubles, explain
from simulations.releases.findings import NOT_REPEATED, REPLAYED, SHOWN, Findings
from simulations.releases.markdown_causes import broken_now, mended_since
from simulations.releases.markdown_defects import broken
from simulations.releases.markdown_matrix import matrix
from simulations.releases.markdown_text import cell, wrapped
from simulations.releases.outcome import Outcome, Plan, rules_name

__all__ = ["markdown"]

_SCRIPT = {"shows": "✗", "fine": "✓", "absent": "∅", "failed": "!", "": "·"}


def markdown(found: Findings) -> str:
    """The page, as Markdown."""
    told = explain(found)
    lines = [
        *_intro(found, told),
        *broken_now(found, told),
        *matrix(found),
        *mended_since(found, told),
        *broken(found, told),
        *_scripts(found),
        *_runs(found),
        *_troubles(found),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _intro(found: Findings, told: Explanation) -> Iterator[str]:
    engine = found.engine
    yield f"# {engine.engine} under the conformance suite"
    yield ""
    signs = counted(told.unexplained, "more sign")
    more = f", and {signs} of a defect" if told.unexplained else ""
    further = counted(len(told.unshown), "further cause")
    read = f" Read in its source, and shown by nothing measured: {further}." if told.unshown else ""
    yield from wrapped(
        f"{counted(len(told.live), 'root cause').capitalize()}{more} in {found.newest}, of "
        f"{counted(len(engine.releases), 'release')} judged.{read} Below: [the matrix]"
        f"(#clauses-and-releases), [each workload](#what-broke), event by event in "
        f"[{found.name}.html]({found.name}.html), for programs in "
        f"[{found.name}.json]({found.name}.json), and [how the runs were made]"
        "(#how-the-runs-were-made). Written by `python -m simulations.releases`, never by hand "
        "([how](README.md))."
    )
    yield ""
    yield from wrapped(_rests_on(found))
    yield ""


def _rests_on(found: Findings) -> str:
    """The number of seeds and workloads behind the verdicts, and whether a usual run has more."""
    groups: dict[tuple[int, int], list[str]] = {}
    for release in found.engine.releases:
        ran = [
            outcome
            for entry_point in found.engine.entry_points
            if (outcome := found.outcomes[release.version, entry_point.name]).ran
        ]
        if ran:
            least = min((len(outcome.seeds), outcome.max_examples) for outcome in ran)
            groups.setdefault(least, []).append(release.version)
    if not groups:
        return "No release was judged."
    parts = [
        f"those of {', '.join(versions)} on {_amount(*amount)}"
        for amount, versions in groups.items()
    ]
    words = "; ".join(parts)
    if len(groups) == 1:
        words = f"those of each release on {_amount(*next(iter(groups)))}"
    usual, (seeds, examples) = Plan(), list(groups)[-1]
    more = ""
    if seeds < usual.seeds or examples < usual.max_examples:
        more = (
            f" That is less than `make engines` takes for the newest {usual.newest}, "
            f"{_amount(usual.seeds, usual.max_examples)}: what this page does not name may be "
            "broken all the same."
        )
    return f"The verdicts rest on what was measured: {words}, through each entry point.{more}"


def _amount(seeds: int, examples: int) -> str:
    return f"{counted(seeds, 'seed')} of {counted(examples, 'workload')} a profile"


def _runs(found: Findings) -> Iterator[str]:
    engine = found.engine
    yield "## How the runs were made"
    yield ""
    yield from wrapped(
        f"The suite {found.version} ran on each release in an environment of its own, through "
        f"each entry point. {engine.about}"
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
    yield from _releases(found)


def _troubles(found: Findings) -> Iterator[str]:
    """What was wrong with the runs, and what they could not ask."""
    troubles = [*found.troubles, *cause_troubles(found)]
    if troubles:
        yield "## What went wrong with the run of the matrix itself"
        yield ""
        yield from (f"- {cell(line)}" for line in troubles)
        yield ""
    yield from _unasked(found)


def _unasked(found: Findings) -> Iterator[str]:
    """What each entry point of the newest release cannot be asked for, with the reason."""
    asked = [
        (entry_point.name, found.outcomes[found.newest, entry_point.name].found)
        for entry_point in found.engine.entry_points
        if (found.newest, entry_point.name) in found.outcomes
    ]
    lines = [line for name, said in asked if said is not None for line in _unasked_of(name, said)]
    if not lines:
        return
    yield f"## What an entry point of {found.newest} cannot be asked for"
    yield ""
    yield "Of this the runs say nothing: it is not known whether it breaks."
    yield ""
    yield from lines
    yield ""


def _unasked_of(name: str, said: Mapping[str, Any]) -> Iterator[str]:
    """A line for each capability that an entry point has not, and for each situation."""
    reasons = said.get("unclaimed") or {}
    able = set(said["capabilities"])
    lacks: dict[str, list[str]] = {}
    for number, entry in said["clauses"].items():
        clause = clauses().get(number)
        if clause is not None and entry["verdict"] == Verdict.NOT_CLAIMED.value:
            for capability in sorted(({clause.profile} | clause.needs) - able):
                lacks.setdefault(capability, []).append(number)
    for capability, numbers in lacks.items():
        why = f": {reasons[capability]}" if capability in reasons else ""
        yield from wrapped(f"- {name}: *{capability}* ({', '.join(numbers)}){why}.", indent="  ")
    of_reason: dict[str, list[str]] = {}
    for each in (said.get("profiles") or {}).values():
        for what in each.get("unasked", ()):
            situations = of_reason.setdefault((said.get("unasked") or {}).get(what, ""), [])
            if what not in situations:
                situations.append(what)
    for why, situations in of_reason.items():
        because = f", because {why}" if why else ""
        yield from wrapped(f"- {name}: that {'; or that '.join(situations)}{because}.", indent="  ")


def _releases(found: Findings) -> Iterator[str]:
    words = [*(one.value for one in Verdict), NOT_REPEATED, REPLAYED, SHOWN]
    yield (
        "| release | entry point | run | clauses as in | seeds | workloads | crashes | "
        f"{' | '.join(words)} | run twice |"
    )
    yield "| --- | --- | --- | --- | --- | ---: | ---: |" + " ---: |" * len(words) + " --- |"
    for release in found.engine.releases:
        for entry_point in found.engine.entry_points:
            outcome = found.outcomes[release.version, entry_point.name]
            why = f": {outcome.detail}" if outcome.detail else ""
            run = outcome.status if outcome.ran else f"**{outcome.status}**{why}"
            cells = [release.version, entry_point.name, cell(run)]
            if outcome.found is None:
                cells += ["–"] * (len(words) + 5)
            else:
                evidence = outcome.found["evidence"]
                counts = Counter(
                    found.stands(release.version, entry_point.name, number)
                    for number in outcome.found["clauses"]
                )
                cells += [outcome.rules_name or "not known", _seeds(outcome)]
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


def _seeds(outcome: Outcome) -> str:
    """Seeds and workloads of a profile: ``0–2 × 250``."""
    seeds = outcome.seeds
    return f"{', '.join(map(str, seeds))} × {outcome.max_examples}"


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
        needs = f" Needs {script.needs}." if script.needs else ""
        yield from wrapped(f"- `{script.file}`: {script.defect}{fixed}{public}{needs}", indent="  ")
