"""Smaller traces: candidates in which the same clause is the first to break.

Columns and rows go first, then every step that is not a cause
(`cellspec.conformance.campaign.shrink`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import msgspec

from cellspec.conformance.campaign.shrink import Tries, fewest, shrink
from cellspec.errors import GraphError, SpecError, TraceError
from cellspec.replay.judging import judge
from cellspec.replay.source import Steps
from cellspec.state.claims import end_of
from cellspec.trace import Event, claimed_rows

__all__ = ["shrunk_trace"]


def shrunk_trace(steps: Steps, *, tries_max: int = 20_000) -> Steps:
    """The smallest trace found whose first step that is not allowed breaks the same clause.

    Columns and rows go first, then each step that the rest does without. The steps that are left
    are causes: without any one of them that clause is not the first to break.

    Args:
        steps: a trace that breaks a clause.
        tries_max: how many smaller ones may be looked at.

    Raises:
        SpecError: every step of the trace is allowed.
    """
    judged = judge(steps)
    if judged.finding is None:
        raise SpecError(f"{steps.source}: every step is allowed; there is nothing to shrink")
    search = _Search(judged.finding.clause, tries_max)
    return shrink(replace(steps, events=tuple(judged.events), unread=""), [search.smaller])


class _Search:
    """The pass over a trace: columns, then rows, then steps."""

    def __init__(self, clause: str, tries_max: int) -> None:
        self._clause = clause
        self._tries = Tries(self._breaks, tries_max)

    def smaller(self, steps: Steps) -> Steps | None:
        """A smaller trace that still breaks the clause; None if all of it is needed."""
        found = self._without_events(self._with_fewer_rows(self._without_columns(steps)))
        return None if found == steps else found

    def _breaks(self, steps: Steps) -> bool:
        """True if the trace still breaks the clause first, and at its last step."""
        try:
            judged = judge(steps)
        except (TraceError, GraphError):
            return False
        found = judged.finding
        return found is not None and found.clause == self._clause

    def _without_columns(self, steps: Steps) -> Steps:
        for column in reversed(steps.header.graph.columns):
            tried = _without_column(steps, column.name)
            if tried is not None and self._tries.breaks(tried):
                steps = tried
        return steps

    def _with_fewer_rows(self, steps: Steps) -> Steps:
        rows = steps.header.graph.rows
        for fewer in range(1, rows):
            if self._tries.left <= 0:
                break
            graph = msgspec.structs.replace(steps.header.graph, rows=fewer)
            tried = replace(steps, header=msgspec.structs.replace(steps.header, graph=graph))
            if all(_within(event, fewer) for event in steps.events) and self._tries.breaks(tried):
                return tried
        return steps

    def _without_events(self, steps: Steps) -> Steps:
        def with_only(events: Sequence[Event]) -> Steps:
            return replace(steps, events=_numbered(events))

        return with_only(fewest(steps.events, lambda events: self._tries.breaks(with_only(events))))


def _numbered(events: Iterable[Event]) -> tuple[Event, ...]:
    return tuple(
        msgspec.structs.replace(event, seq=number) for number, event in enumerate(events, 1)
    )


def _within(event: Event, rows: int) -> bool:
    spans = [(one, one + 1) if isinstance(one, int) else one for one in (event.rows,) if one]
    spans += [*(event.reads or ()), *(event.dropped or ())]
    claimed = tuple(map(claimed_rows, (event.claim or {"": 0}).values()))
    return all(stop <= rows for _, stop in spans) and end_of(claimed) <= rows


def _without_column(steps: Steps, name: str) -> Steps | None:
    """The trace as if a column had never been; None if another column needs it."""
    old = steps.header
    left = tuple(column for column in old.graph.columns if column.name != name)
    made = {name, *next(item.side_effects for item in old.graph.columns if item.name == name)}
    if not left or any(made & set(column.needs) for column in left):
        return None
    used = {key: value for key, value in old.limits.column_resource.items() if key != name}
    places = {key: value for key, value in (old.places or {}).items() if key != name}
    header = msgspec.structs.replace(
        old,
        places=places or None,
        graph=msgspec.structs.replace(old.graph, columns=left),
        limits=msgspec.structs.replace(old.limits, column_resource=used),
    )
    events = []
    for event in steps.events:
        if event.column == name:
            continue
        changed = event
        for field_name in ("claim", "skipped"):
            value = getattr(event, field_name)
            if value is not None:
                kept = {key: item for key, item in value.items() if key != name}
                changed = msgspec.structs.replace(changed, **{field_name: kept})
        events.append(changed)
    return Steps(steps.source, header, _numbered(events))
