"""The part of the Markdown page that tells root causes: of the newest release, and mended ones.

A maintainer reads this part first: a table with a line for each root cause that the newest release
has, the worst harm first; what nothing explains yet; questions; and then each cause with its place,
what was expected, what happens, and what shows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cellspec.clauses import chapters
from cellspec.text import counted
from simulations.releases.causes import Cause
from simulations.releases.explained import Explanation, Told, releases_with
from simulations.releases.findings import Defect, Findings
from simulations.releases.markdown_text import cell, places, wrapped

__all__ = ["broken_now", "clause_link", "clauses_of", "mended_since"]


def broken_now(found: Findings, told: Explanation) -> Iterator[str]:
    """The lines about the newest release."""
    yield f"## Broken in {found.newest}, the newest release"
    yield ""
    yield from _table(found, told.live)
    if told.live:
        yield from wrapped(
            f"*Found by*: so many workloads of the suite break a clause by it in {found.newest}, "
            "through these entry points; or *reading* the source, and no workload shows it. A "
            "script in *italics* does not go through the public interface."
        )
        yield ""
    if any(one.not_shown for one in told.live):
        yield from wrapped(
            f"*Not shown*: the source says that the cause breaks this clause, and nothing that was "
            f"measured on {found.newest} shows it."
        )
        yield ""
    unjudged = found.unjudged(found.newest)
    if unjudged:
        yield f"Not judged: {'; '.join(unjudged)}."
        yield ""
    elif not told.live and not told.unexplained:
        yield "Nothing breaks that was found."
        yield ""
    yield from _unshown(found, told)
    yield from _unexplained(found, told)
    yield from _consequences(told)
    yield from _questions(found, told)
    if told.of_newest:
        yield f"## The causes in {found.newest}, one by one"
        yield ""
        for one in told.of_newest:
            yield from _cause(found, one)


def clause_link(number: str) -> str:
    """A clause's number, with a link to its page if there is one."""
    chapter = {prefix: one.name for one in chapters() for prefix in one.prefixes}.get(
        number.partition("-")[0]
    )
    return f"[{number}](../../specs/{chapter}.md)" if chapter else number


def _table(found: Findings, causes: Sequence[Told]) -> Iterator[str]:
    if not causes:
        return
    yield "| harm | root cause | public | since | where | found by | script | clauses |"
    yield "| --- | --- | :---: | --- | --- | --- | --- | --- |"
    yield from (_line(found, one) for one in causes)
    yield ""


def _unshown(found: Findings, told: Explanation) -> Iterator[str]:
    """The causes that were read in the newest release, and that nothing measured shows there."""
    if not told.unshown:
        return
    yield "### Read in the source, and not shown"
    yield ""
    yield from wrapped(
        f"No workload and no script showed these in {found.newest}: the runs missed them, or they "
        "are mended there."
    )
    yield ""
    yield from _table(found, told.unshown)


def _line(found: Findings, one: Told) -> str:
    cause = _is_cause(one)
    cells = [
        f"**{cause.harm}**",
        f"[{cell(cause.title)}](#{cause.id})",
        "yes" if cause.public else "–",
        cause.since,
        _where(found, cause),
        _found_by(found, one),
        _script_link(found, cause),
        clauses_of(one),
    ]
    return f"| {' | '.join(cells)} |"


def clauses_of(one: Told) -> str:
    """The clauses of a cause, those apart that nothing measured on the newest release shows."""
    shown = ", ".join(one.shown_clauses)
    apart = f"not shown: {', '.join(one.not_shown)}" if one.not_shown else ""
    return "; ".join(each for each in (shown, apart) if each)


def _where(found: Findings, cause: Cause) -> str:
    if not cause.places:
        return "–"
    first = cause.places[0]
    return f"`{first.file.rpartition('/')[2]}:{found.place_now(cause.id, first) or first.line}`"


def _found_by(found: Findings, one: Told) -> str:
    """What found a cause in the newest release: workloads of the suite, or reading alone."""
    shown = _shown(found, one)
    if not shown:
        return "reading"
    return f"{counted(len(shown), 'workload')} ({', '.join(_ways(found, one))})"


def _shown(found: Findings, one: Told) -> list[Defect]:
    """The workloads that break a clause by it on the newest release."""
    return [each for each in one.defects if found.newest in each.breaks_on]


def _ways(found: Findings, one: Told) -> list[str]:
    """The entry points through which a workload breaks a clause by it on the newest release."""
    broken = {place for each in one.defects for place in each.broken_at or each.found}
    names = [each.name for each in found.engine.entry_points]
    return [name for name in names if (found.newest, name) in broken]


def _is_public_by_reading(found: Findings, one: Told) -> bool:
    """True if the public interface is said to lead there, and nothing that was run says so."""
    ways = _ways(found, one)
    measured = any(each.public and each.name in ways for each in found.engine.entry_points)
    return _is_cause(one).public and not measured and not any(each.public for each in one.scripts)


def _script_link(found: Findings, cause: Cause) -> str:
    if not cause.scripts:
        return "–"
    first = cause.scripts[0]
    public = any(script.public for script in found.scripts if script.file == first)
    return f"{'' if public else '*'}[script](scripts/{first}){'' if public else '*'}"


def _unexplained(found: Findings, told: Explanation) -> Iterator[str]:
    if not told.unexplained:
        return
    yield "### Not yet explained"
    yield ""
    for script in told.scripts:
        yield from wrapped(
            f"- [{script.file}](scripts/{script.file}) shows {', '.join(script.clauses)} broken: "
            f"{script.defect}",
            indent="  ",
        )
    yield from _defects(told.defects, found.newest)
    for number, entry_point in told.once:
        yield from wrapped(
            f"- {number}: a run through {entry_point} broke it, and the replay of its workload "
            "did not.",
            indent="  ",
        )
    for number, entry_point, of_root in told.consequences:
        if not of_root:
            yield f"- {number}: a run through {entry_point} broke it and kept no workload."
    yield ""


def _consequences(told: Explanation) -> Iterator[str]:
    """Clauses that broke only after another one had in the same workload."""
    after = [each for each in told.consequences if each[2]]
    if not after:
        return
    yield "### Consequences"
    yield ""
    yield "These clauses broke only in workloads that had broken another clause before."
    yield ""
    for number, entry_point, of_root in after:
        roots = ", ".join(
            f"{root} ({counted(workloads, 'workload')})" for root, workloads in of_root.items()
        )
        yield from wrapped(f"- {number}, through {entry_point}: after {roots}.", indent="  ")
    yield ""


def _defects(defects: Sequence[Defect], release: str = "") -> Iterator[str]:
    """A line for each workload, with the places where it breaks: of one release, or of all."""
    for one in defects:
        broken = [each for each in one.broken_at or one.found if release in ("", each[0])]
        after = f" (after {one.after} had broken)" if one.after else ""
        yield from wrapped(
            f"- {one.clause}{after}: {cell(str(one.shown.failure['detail']))}: "
            f"[case](cases/{one.shown.name}), {places(broken)}.",
            indent="  ",
        )


def _questions(found: Findings, told: Explanation) -> Iterator[str]:
    if not told.questions:
        return
    yield "### Questions"
    yield ""
    for one in told.questions:
        assert not isinstance(one.entry, Cause)
        shows = _cases(found, one)
        yield from wrapped(
            f"- **{one.entry.title}** {one.entry.text}{' ' + shows if shows else ''}", indent="  "
        )
    yield ""


def _cause(found: Findings, one: Told) -> Iterator[str]:
    cause = _is_cause(one)
    yield f"### {cause.id}"
    yield ""
    yield from wrapped(f"**{cause.title}.**")
    yield ""
    reach = f" {cause.reach}" if cause.reach else ""
    how = (
        "The public interface leads there." if cause.public else "Not through the public interface."
    )
    yield from wrapped(f"Harm: {cause.harm}. {how}{reach} Since {cause.since}.")
    yield ""
    for place in cause.places:
        line = found.place_now(cause.id, place) or place.line
        was = "" if line == place.line else f" (line {place.line} when it was read)"
        yield from wrapped(f"- `{place.file}`, line {line}{was}: `{place.text}`", indent="  ")
    yield from wrapped(f"- Expected: {cause.expected}.", indent="  ")
    yield from wrapped(f"- Actual: {cause.actual}.", indent="  ")
    yield from _shown_by(found, one)
    yield ""


def _shown_by(found: Findings, one: Told) -> Iterator[str]:
    cause = _is_cause(one)
    for script in one.scripts:
        lines = len(script.text.splitlines())
        public = "through the public interface" if script.public else "driving the scheduler"
        yield from wrapped(
            f"- Script, {public}, {lines} lines: [{script.file}](scripts/{script.file}); "
            f"`python -m simulations.releases --render {script.file}` prints it as one file.",
            indent="  ",
        )
    links = ", ".join(clause_link(number) for number in one.shown_clauses)
    if links:
        yield from wrapped(f"- Clauses: {links}.", indent="  ")
    links = ", ".join(clause_link(number) for number in one.not_shown)
    if links:
        yield from wrapped(
            f"- Clauses that nothing measured on {found.newest} shows it to break: {links}.",
            indent="  ",
        )
    cases = _cases(found, one) or (
        "Found by reading the source: no workload of the suite breaks a clause by it."
    )
    yield from wrapped(f"- {cases}", indent="  ")
    if _is_public_by_reading(found, one):
        yield from wrapped(
            "- That the public interface leads there was read in the source: no workload and no "
            "script went that way.",
            indent="  ",
        )
    yield from _mend(found, cause)


def _cases(found: Findings, one: Told) -> str:
    """The workloads that break for it on the newest release, as links; "" without any."""
    shown = _shown(found, one)
    if not shown:
        return ""
    links = ", ".join(f"[{each.identity}](cases/{each.shown.name})" for each in shown)
    return f"{counted(len(shown), 'workload').capitalize()} of the suite: {links}."


def _mend(found: Findings, cause: Cause) -> Iterator[str]:
    """What a local mend of the cause does."""
    tried = next((each for each in found.mended if each.cause == cause.id), None)
    if tried is None or tried.error:
        return
    fine = [name for name, says in tried.scripts.items() if says == "fine"]
    other = [name for name, says in tried.scripts.items() if says != "fine"]
    if fine:
        yield from wrapped(
            f"- Mended in a copy of {found.newest}: {', '.join(fine)} "
            f"{'shows' if len(fine) == 1 else 'show'} nothing any more.",
            indent="  ",
        )
    if other:
        yield from wrapped(
            f"- Mended in a copy of {found.newest}: {', '.join(other)} still "
            f"{'shows' if len(other) == 1 else 'show'} it.",
            indent="  ",
        )


def mended_since(found: Findings, told: Explanation) -> Iterator[str]:
    """The lines about causes that the newest release has no longer."""
    if not told.mended and not told.older:
        return
    yield f"## Mended before {found.newest}"
    yield ""
    if told.mended:
        yield "| harm | root cause | in | public | script | clauses | mended by |"
        yield "| --- | --- | --- | :---: | --- | --- | --- |"
    for one in told.mended:
        cause = _is_cause(one)
        has = releases_with(found, cause)
        fixed = next((script.fixed for script in one.scripts if script.fixed), "")
        cells = [
            cause.harm,
            f"{cell(cause.title)}: expected {cell(cause.expected)}; {cell(cause.actual)}",
            has[0] if len(has) == 1 else f"{has[0]} to {has[-1]}",
            "yes" if cause.public else "–",
            _script_link(found, cause),
            ", ".join(cause.clauses),
            f"[{fixed.rpartition('/')[2]}]({fixed})" if fixed.startswith("http") else fixed or "–",
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""
    if told.older:
        yield "Not explained, in earlier releases alone:"
        yield ""
        yield from _defects(told.older)
        yield ""


def _is_cause(one: Told) -> Cause:
    assert isinstance(one.entry, Cause)
    return one.entry
