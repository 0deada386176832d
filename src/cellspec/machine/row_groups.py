"""Row groups: when one is admitted, when it retires, and which ones wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cellspec.errors import SpecError
from cellspec.graph.rowset import part_of, parts_touched
from cellspec.machine.explain_refusal import expect_running, expect_starts
from cellspec.machine.lost_writes import has_lost_write
from cellspec.machine.policy import admission_leads_nowhere
from cellspec.machine.run_state import RunState, is_over
from cellspec.state.claims import as_rows, meet, minus, spans
from cellspec.state.codes import DONE
from cellspec.state.counters import UNLIMITED
from cellspec.text import instants

__all__ = [
    "admit",
    "are_open",
    "compile_at_rest",
    "count_waiting",
    "expect_retired",
    "finished_group",
    "leads_nowhere",
    "may_admit",
    "open_groups",
    "retire",
    "unresolved",
    "way_of_groups",
]


def open_groups(run: RunState) -> int:
    """How many row groups have something left to do, and are not admitted."""
    size, total = run.limits.group_rows, run.graph.num_records
    if size is None:
        return 0
    return sum(
        start // size not in run.was_admitted
        and not run.counters.is_range_resolved(start, min(start + size, total))
        for start in range(0, total, size)
    )


def unresolved(run: RunState, start: int, stop: int) -> str | None:
    """One cell of rows ``[start, stop)`` that is not resolved, in words."""
    for rule in run.graph.rules.columns:
        row = run.counters.find_unresolved(rule.index, start, stop)
        if row >= 0:
            return f"{rule.name}[{row}]"
    return None


def may_admit(run: RunState) -> bool:
    """True if a row group waits, as far as is counted, and the limit would admit it."""
    most = run.limits.groups
    return bool(run.waiting_groups) and (most is None or len(run.admitted) < most)


def count_waiting(run: RunState) -> int:
    """How many row groups wait, counted anew: O(groups)."""
    # A group whose last cells were skipped needs no admission any more.
    run.waiting_groups = open_groups(run)
    return run.waiting_groups


def expect_retired(run: RunState, t: float) -> None:
    """Time moves on to `t`: a group whose rows are all resolved must have retired.

    Raises:
        Violation: GROUP-07.
    """
    if are_open(run):
        return
    if run.is_over or run.is_stopping or run.gives_up():
        return
    if not run.stores:
        run.in_line.clear()
    finished = _finished_groups(run) if run.judges_idleness else _held_up(run, t)
    for start, stop in finished:
        if not (_waits_for_storage(run, start, stop) or has_lost_write(run)):
            now, later = instants(run.now, t)
            run.breaks(
                "GROUP-07",
                f"every row of row group [{start}:{stop}] is resolved at t={now}, and the "
                f"group did not retire before t={later}",
            )


def are_open(run: RunState) -> bool:
    """True if the cell that is remembered of each admitted group is open: none is finished."""
    known, cells = run.open_cells, run.counters.cells
    if len(known) != len(run.admitted):
        return False
    for column, row in known.values():
        if column == len(cells) or cells[column][row] >= DONE:
            return False
    return True


def compile_at_rest(run: RunState) -> Callable[[], bool]:
    """A function that says if no row group may come or go, for one incarnation of a run.

    The last cell of a row to be resolved is one that no other waits for. So as long as no further
    one of these is, no further group is finished.
    """
    admitted, known, counters = run.admitted, run.open_cells, run.counters
    most, open_cells = run.limits.groups or UNLIMITED, counters.open_cells
    sinks = [rule.index for rule in run.graph.rules.columns if rule.is_sink]
    first, others = sinks[0], sinks[1:]
    were_open = -1

    def are_at_rest() -> bool:
        nonlocal were_open
        count = len(admitted)
        if run.waiting_groups and count < most:
            return False
        left = open_cells[first]
        for column in others:
            left += open_cells[column]
        if left == were_open and count == len(known) and not counters.watched:
            return True
        if not are_open(run):
            return False
        were_open = left
        return True

    return are_at_rest


def _held_up(run: RunState, t: float) -> list[tuple[int, int]]:
    """The finished groups of an engine without `work_conserving` that wait for another at `t`.

    Nothing else explains a wait: not storage, not a pause, not idleness as long as is declared; and
    another group is in flight that is not finished.
    """
    finished, size = list(_finished_groups(run)), run.limits.group_rows
    since = max(run.now, run.paused_until)
    if len(finished) == len(_admitted(run)) or run.stores or since >= t:
        run.finished_since.clear()
        return []
    assert size is not None
    if not run.waits_s:
        return finished
    known, groups = run.finished_since, [start // size for start, _ in finished]
    known = {each: max(known.get(each, since), run.paused_until) for each in groups}
    run.finished_since = known
    allowed = run.idle_s + run.slack_s
    return [span for span in finished if is_over(t, known[span[0] // size], allowed)]


def _admitted(run: RunState) -> list[int]:
    """The admitted groups, without rows that are none: that is not judged, nor what they do."""
    return [group for group in run.admitted if group >= 0]


def finished_group(run: RunState) -> tuple[int, int] | None:
    """The rows of an admitted group that could give its place to one that waits, if there is one.

    Groups that wait are counted as by `may_admit`.
    """
    return next(_finished_groups(run), None) if run.waiting_groups else None


def _finished_groups(run: RunState) -> Iterator[tuple[int, int]]:
    """The rows of each admitted group whose rows are all resolved.

    For each admitted group one open cell is remembered, from which the search goes on when it is
    resolved: O(admitted groups) a moment, and every cell once.
    """
    size, total = run.limits.group_rows, run.graph.num_records
    columns = run.graph.num_columns
    assert size is not None
    for group in _admitted(run):
        start, stop = part_of(group, size, total)
        column, row = run.open_cells.get(group, (0, start))
        while column < columns:
            row = run.counters.find_unresolved(column, row, stop)
            if row >= 0:
                break
            column, row = column + 1, start
        run.open_cells[group] = (column, row)
        if column == columns and unresolved(run, start, stop) is None:
            yield start, stop


def _waits_for_storage(run: RunState, start: int, stop: int) -> bool:
    """True if the group of rows ``[start, stop)`` may wait for its turn at storage, which is busy.

    It waits in line if a cell of it was not safe yet. Another group's write may make that cell safe
    meanwhile, of which it learns in its turn: when storage has nothing else to do, at the latest.
    """
    if not run.stores:
        return False
    if start not in run.in_line and _is_at_risk(run, start, stop):
        run.in_line.add(start)
    return start in run.in_line


def _is_at_risk(run: RunState, start: int, stop: int) -> bool:
    """True if a cell of rows ``[start, stop)`` is not safe.

    A cell is safe that is on storage, and claimed if the run makes claims; that of a dropped row
    need not be.
    """
    claim = run.durable_claim if run.makes_claims else None
    for column in range(run.graph.num_columns):
        safe = as_rows(run.on_storage.within(column, start, stop))
        if claim is not None:
            safe = meet(safe, claim[column])
        for first, last in spans(minus(as_rows(((start, stop),)), safe)):
            if any(row not in run.counters.dropped for row in range(first, last)):
                return True
    return False


def admit(run: RunState, start: int, stop: int) -> None:
    """A row group begins: from now on its rows may run.

    Raises:
        Violation: GROUP-02 (too many at once), GROUP-03 (it was admitted before), GROUP-05
            (these rows are no group), GROUP-08 (the groups would wait for each other), SCHED-07,
            STOP-01.
    """
    _expect_groups(run, start, stop)
    if not expect_starts(run, f"row group [{start}:{stop}]", "is admitted"):
        return
    group = _group_of_span(run, start, stop)
    if group in run.admissions:
        run.breaks("GROUP-03", f"row group {group} is admitted again")
        return
    most = run.limits.groups
    if most is not None and len(run.admitted) >= most:
        run.breaks(
            "GROUP-02",
            f"row group {group} is admitted with {len(run.admitted)} admitted of {most}",
        )
    elif leads_nowhere(run, group):
        run.breaks(
            "GROUP-08",
            f"row group {group} is admitted with {len(run.admitted)} admitted of {most}, and then "
            "each of them would wait for rows of a group that gets no place",
        )
    if run.waits_s:
        run.note_start(run.output_group + 1)
    run.admitted.add(group)
    run.admissions.add(group)
    size, total = run.limits.group_rows, run.graph.num_records
    assert size is not None
    # It is one, unless it is none, which is not judged.
    for each in parts_touched(start, stop, size):
        if each not in run.was_admitted:
            span = part_of(each, size, total)
            run.waiting_groups -= unresolved(run, *span) is not None
            run.was_admitted.add(each)
            run.counters.admit(*span)


def leads_nowhere(run: RunState, group: int) -> bool:
    """True if the admission of a group would fill the limit with groups that wait for others."""
    most, size = run.limits.groups, run.limits.group_rows
    if most is None or not run.groups_depend or group < 0:
        return False
    assert size is not None
    return admission_leads_nowhere(
        group,
        _admitted(run),
        most,
        lambda each: _waits_for(run, each, size),
        lambda each: _is_outside(run, each, size),
    )


def _is_outside(run: RunState, group: int, size: int) -> bool:
    """True if a group has work left and was not admitted."""
    start, stop = part_of(group, size, run.graph.num_records)
    return group not in run.was_admitted and not run.counters.is_range_resolved(start, stop)


def _waits_for(run: RunState, group: int, size: int) -> range:
    """The groups from the first to the last on whose rows open rows of a group depend."""
    rules, counters = run.graph.rules, run.counters
    start, stop = part_of(group, size, run.graph.num_records)
    first, last = group, group
    for rule in rules.columns:
        column = rule.index
        if rule.is_barrier:
            # A barrier node waits until every group of its scope was admitted.
            for scope in {start // rule.scope_rows, (stop - 1) // rule.scope_rows}:
                low, high = rules.scope_bounds(column, scope)
                mine = max(start, low), min(stop, high)
                if not counters.is_barrier_resolved(column, scope) and (
                    counters.find_unresolved(column, *mine) >= 0
                ):
                    first, last = min(first, low // size), max(last, (high - 1) // size)
        if rule.ordered and counters.find_unresolved(column, start, stop) >= 0:
            first = min(first, counters.prefix(column) // size)
    return range(first, last + 1)


def retire(run: RunState, start: int, stop: int) -> None:
    """A row group ends: each of its rows is resolved.

    Raises:
        Violation: GROUP-03 (a row of it is not resolved, or it was not admitted), GROUP-05.
    """
    _expect_groups(run, start, stop)
    if not expect_running(run, f"end of row group [{start}:{stop}]"):
        return
    group = _group_of_span(run, start, stop)
    if group not in run.admitted:
        run.breaks("GROUP-03", f"row group {group} retires, but is not admitted")
    left = unresolved(run, start, stop)
    if left is not None:
        run.breaks("GROUP-03", f"row group {group} retires although {left} is not resolved")
    run.admitted.discard(group)
    run.open_cells.pop(group, None)


def _expect_groups(run: RunState, start: int, stop: int) -> None:
    """Refuse a row group of a run without row groups."""
    if run.limits.group_rows is None:
        raise SpecError(f"row group [{start}:{stop}]: this run has no row groups")


def _group_of_span(run: RunState, start: int, stop: int) -> int:
    """The number of the row group with these rows."""
    size = run.limits.group_rows
    assert size is not None
    if start % size or stop != min(start + size, run.graph.num_records):
        first = start - start % size
        last = min(first + size, run.graph.num_records)
        run.breaks(
            "GROUP-05",
            f"rows [{start}:{stop}] are no row group; row {start} is in [{first}:{last}]",
        )
        # Not judged: a name of its own, which no group has.
        return -1 - start
    return start // size


def way_of_groups(run: RunState) -> str:
    """One row group that could be admitted or retired, in words; "" if there is none."""
    size, total, most = run.limits.group_rows, run.graph.num_records, run.limits.groups
    if size is None:
        return ""
    every = [(start, min(start + size, total)) for start in range(0, total, size)]
    waiting = [s for s in every if s[0] // size not in run.was_admitted and _is_left(run, s)]
    if not waiting:
        return ""
    if most is None or len(run.admitted) < most:
        return f"row group [{waiting[0][0]}:{waiting[0][1]}] may be admitted"
    over = [s for s in every if s[0] // size in run.admitted and not _is_left(run, s)]
    return f"row group [{over[0][0]}:{over[0][1]}] may retire" if over else ""


def _is_left(run: RunState, span: tuple[int, int]) -> bool:
    """True if a row of a span is not resolved."""
    return unresolved(run, *span) is not None
