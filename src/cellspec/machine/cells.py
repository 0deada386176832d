"""Cells: they start, alone or as a range, they complete, and they are skipped."""

from __future__ import annotations

from cellspec.graph.nodes import (
    cell_key,
)
from cellspec.machine.attempts import expect_attempt, is_wrong_attempt, refuse_attempt
from cellspec.machine.call_bound import note_start
from cellspec.machine.calls import (
    begin_range,
    end_range,
    end_stray,
    is_in_flight,
    range_of,
    start_stray,
)
from cellspec.machine.drops import drop_row
from cellspec.machine.early_stop import call_ended
from cellspec.machine.explain_refusal import (
    expect_no_pause,
    expect_running,
    expect_starts,
    is_open_to,
    judge_start,
    may_retry,
    note_made,
    refuse_complete,
    refuse_limit,
    refuse_range,
    state_of,
    unadmitted_group,
)
from cellspec.machine.killers import Killers
from cellspec.machine.run_state import RunningRange, RunState
from cellspec.state.codes import (
    BACKOFF,
    LAST_WAIT,
    RANGED,
    READY,
    RUNNING,
    SKIP_READY,
    has_begun,
    may_begin,
)
from cellspec.text import counted

__all__ = ["CellJudge", "complete_cell", "reject_cell", "skip_cell", "start_cell", "start_range"]


def start_cell(run: RunState, column: int, row: int, attempt: int | None) -> None:
    """A cell starts. Without a bound of calls ``counters.start[column](row)`` is the same.

    Args:
        column: by position.
        row: of the cell.
        attempt: the number that the engine gives it, from 1; None if it says none.

    Raises:
        Violation: SCHED-01 to SCHED-07, SCHED-11, SCHED-13, BARR-02, FAIL-01 to FAIL-03,
            DROP-03, DROP-06, SKIP-02, GROUP-01, STOP-01.
    """
    if is_wrong_attempt(run, (column, row), attempt):
        if not _expect_starts(run, column, row):
            return
        if not may_begin(run.counters.cells[column][row]):
            judge_start(run, column, row)
        refuse_attempt(run, (column, row), attempt)
    if run.overtaking is not None:
        run.overtaking.expect_turn((column, row))
    if run.killers is not None:
        _expect_tries(run, run.killers, column, row, row + 1)
    run.counters.start[column](row)
    if run.bound_s is not None and not run.barrier_flags[column]:
        note_start(run, (column, row))
    if run.waits_s or run.overtaking is not None or run.killers is not None:
        run.begin_call((column, row))


def _expect_tries(run: RunState, killers: Killers, column: int, start: int, stop: int) -> None:
    """Refuse cells that were in flight when so many processes died as is promised (DROP-06)."""
    for row in range(start, stop):
        if (column, row) not in killers.spent or row in run.counters.dropped:
            continue
        if _expect_starts(run, column, row):
            run.breaks(
                "DROP-06",
                f"{run.where((column, row))} starts again although it was in flight when "
                f"{counted(killers.tries, 'process', 'processes')} died; the engine promises to "
                "give its row up",
            )


def _expect_starts(run: RunState, column: int, row: int) -> bool:
    """`expect_starts` for a cell; the output of a barrier that has run takes no call."""
    where = f"{run.name_of(column)}[{row}]"
    if run.barrier_flags[column]:
        return expect_running(run, f"start of {where}")
    return expect_starts(run, where)


def complete_cell(run: RunState, column: int, row: int, attempt: int | None) -> None:
    """A running cell ends well; of one whose row was dropped only the call counts (STOP-01).

    Without early stop, lost worker or attempt it is the same as ``counters.resolve[column](row)``.

    Args:
        column: by position.
        row: of the cell.
        attempt: the attempt that ended; None for the one in flight.

    Raises:
        Violation: SCHED-04 (it was not running), RANGE-02 (its range had given it), FAIL-05
            (another attempt is in flight), SCHED-07.
    """
    if attempt is not None and is_in_flight(run, column, row):
        expect_attempt(run, (column, row), attempt)
    single = run.counters.cells[column][row] == RUNNING
    run.counters.resolve[column](row)
    if run.killers is not None:
        run.killers.ended(((column, row),), run.now, well=True, again=False)
    if run.since_loss is not None and not run.barrier_flags[column]:
        run.since_loss.add(column, row, row + 1)
    if single and not run.barrier_flags[column]:
        call_ended(run, failed=False)


def reject_cell(run: RunState, column: int, row: int, attempt: int | None) -> None:
    """A running cell ends well, and its answer rejects the row: that is dropped as filtered.

    Raises:
        Violation: as `complete_cell`.
    """
    if not run.barrier_flags[column] and is_in_flight(run, column, row):
        if attempt is not None:
            expect_attempt(run, (column, row), attempt)
        ranged = range_of(run, column, row)
        if ranged is not None:
            _expect_in_turn(run, column, row, ranged)
        if row not in run.counters.dropped:
            drop_row(run, row, column, "filtered")
    complete_cell(run, column, row, attempt)


def _expect_in_turn(run: RunState, column: int, row: int, ranged: RunningRange) -> None:
    """Refuse a row that the range of an ordered column gives before the row before it."""
    if run.graph.rules.columns[column].ordered and row - ranged.start != len(ranged.given):
        run.breaks(
            "RANGE-02",
            f"{run.name_of(column)}[{row}] is given before the row before it, in an ordered column",
        )


def _complete_unbooked(run: RunState, column: int, row: int) -> bool:
    """A cell that does not run ends well; True if that has no effect."""
    if end_stray(run, (column, row)):
        note_made(run, column, row)
        call_ended(run, failed=False)
        return True
    state = state_of(run, column, row)
    alive = refuse_complete(run, f"{run.name_of(column)}[{row}]", state)
    if not alive or (has_begun(state)):
        return True
    # Not judged: it is complete from now on, for those that wait for it too.
    run.backoffs.pop((column, row), None)
    run.counters.offer(column, row)
    run.counters.ready[run.cell_group(column)] -= 1
    return False


def start_range(run: RunState, column: int, start: int, stop: int, attempt: int | None) -> None:
    """Rows ``[start, stop)`` of a streamable column start as one task.

    Raises:
        Violation: RANGE-01 (a row is not ready), FAIL-01, and as `start_cell`.
    """
    if not expect_starts(run, f"{run.name_of(column)}[{start}:{stop}]"):
        return
    expect_no_pause(run, f"{run.name_of(column)}[{start}:{stop}]")
    body = run.counters.cells[column]
    ordered = run.graph.rules.columns[column].ordered
    whole = True
    for row in range(start, stop):
        behind = ordered and row > start
        waits = behind and body[row] == LAST_WAIT and unadmitted_group(run, row) is None
        if (
            body[row] != READY
            and not waits
            and not may_retry(run, (column, row), body[row], in_turn=behind)
        ):
            refuse_range(run, column, row, (start, stop))
            whole = False
        if is_wrong_attempt(run, (column, row), attempt):
            refuse_attempt(run, (column, row), attempt)
    group = run.group_of[column]
    if not run.has_slot(group):
        refuse_limit(run, group, f"{run.name_of(column)}[{start}:{stop}]")
    if run.overtaking is not None:
        run.overtaking.expect_turn(*((column, row) for row in range(start, stop)))
    if run.killers is not None:
        _expect_tries(run, run.killers, column, start, stop)
    for row in range(start, stop) if run.backoffs else ():
        run.backoffs.pop((column, row), None)
    if whole:
        run.counters.start_range(column, start, stop)
    else:
        # Not judged: a row that is resolved, or runs, changes nothing when the range gives it.
        run.counters.take_slot(column)
        for row in range(start, stop):
            if not has_begun(body[row]):
                run.counters.join_range(column, row, row + 1)
    begin_range(run, column, start, stop)
    note_start(run, (column, start))
    if run.waits_s or run.overtaking is not None or run.killers is not None:
        run.begin_call(*((column, row) for row in range(start, stop)))


def skip_cell(run: RunState, column: int, row: int) -> None:
    """A cell is resolved without a value.

    Raises:
        Violation: SKIP-01 (it is not ready, or there is no reason to skip it), SCHED-07.
    """
    where = f"{run.name_of(column)}[{row}]"
    if not expect_running(run, f"skip of {where}"):
        return
    state = run.counters.cells[column][row]
    if is_open_to(run, column, row):
        note_made(run, column, row)
        return
    if (column, row) in run.gone and state in (READY, SKIP_READY):
        run.breaks("FAIL-08", f"{where} is skipped although it was made, and lost with a worker")
    if state == READY and not run.graph.rules.columns[column].may_skip:
        run.breaks(
            "SKIP-01",
            f"{where} is skipped although no input of it was, and its column has no condition",
        )
    elif state not in (READY, SKIP_READY):
        waits = state < RANGED
        why = "waits for others" if waits else "has started, or is resolved"
        held = unadmitted_group(run, row) if waits else None
        if held is not None:
            why = f"waits for row group {held}, which is not admitted"
        run.breaks("SKIP-01", f"{where} is skipped although it {why}")
        if not waits and state != BACKOFF:
            return
        run.backoffs.pop((column, row), None)
    run.counters.skip(column, row)
    run.idle_since = None


class CellJudge:
    """The judge of the counters: it refuses cell steps that are out of order."""

    def __init__(self, run: RunState) -> None:
        self._run = run

    def not_ready(self, column: int, row: int) -> bool:
        """Refuse to start a cell that is not ready, with the clause that says why.

        Returns:
            True if the start, which is not judged, is booked as a stray: the cell itself does not
            run. Else the cell is ready now.
        """
        run = self._run
        if not _expect_starts(run, column, row):
            return True
        if not run.barrier_flags[column]:
            expect_no_pause(run, f"{run.name_of(column)}[{row}]")
        judge_start(run, column, row)
        if not run.barrier_flags[column] and not run.has_slot(run.group_of[column]):
            self.no_slot(column, row)
        state = run.counters.cells[column][row]
        if has_begun(state):
            start_stray(run, cell_key(column, row))
            return True
        run.backoffs.pop((column, row), None)
        run.counters.offer(column, row)
        return False

    def no_slot(self, column: int, row: int) -> None:
        """Refuse to start a cell beyond a limit."""
        run = self._run
        refuse_limit(run, run.group_of[column], f"{run.name_of(column)}[{row}]")

    def not_running(self, column: int, row: int) -> bool | None:
        """A cell ends that does not run by itself: of a dropped row, of a range, or wrong.

        Raises:
            Violation: SCHED-04, RANGE-02, SCHED-07.
        """
        run = self._run
        slot = run.counters.abandoned.pop((column, row), None)
        if slot is not None:
            note_made(run, column, row)
            if slot:
                run.counters.free_slot(column)
                call_ended(run, failed=False)
            return True
        ranged = range_of(run, column, row)
        if ranged is None:
            return _complete_unbooked(run, column, row)
        if row in ranged.given:
            where = f"{run.name_of(column)}[{row}]"
            run.breaks("RANGE-02", f"{where} is given again by its range")
            return True
        _expect_in_turn(run, column, row, ranged)
        ignored = run.counters.cells[column][row] != RANGED
        ranged.given.add(row)
        if run.news:
            note_made(run, column, row)
        ranged.left -= 1
        if not ranged.left:
            end_range(run, column, ranged)
            call_ended(run, failed=False)
        return ignored
