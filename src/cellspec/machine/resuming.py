"""A crash, and the next incarnation: the state that a claim brings back."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Mapping

from cellspec.graph.rowset import Ranges, RowSet, ranges_of, rows_of
from cellspec.machine.explain_refusal import expect_running
from cellspec.machine.policy import changed_scopes
from cellspec.machine.row_groups import open_groups
from cellspec.machine.run_state import RunState
from cellspec.state.claims import Prefixes
from cellspec.text import be, counted, row_words

__all__ = ["covered_drops", "covered_skips", "crash", "halt", "restore", "resume"]


def restore(
    run: RunState,
    claim: Prefixes,
    dropped: RowSet | None = None,
    skipped: Mapping[int, RowSet] | None = None,
    lost: Mapping[int, RowSet] | None = None,
) -> None:
    """Begin an incarnation in which exactly `claim` is resolved."""
    run.forget_calls()
    run.ranges = [[] for _ in claim]
    run.stored = [[] for _ in claim]
    # Recorded drops, in the order in which they came: storage holds those before a claim.
    run.recorded = array("q", dropped or ())
    run.durable_drops = run.pending_drops = len(run.recorded)
    run.unsaved = run.lost_rows = False
    run.counters.restore(claim, dropped, skipped, lost)
    run.waiting_groups = open_groups(run)


def crash(run: RunState) -> None:
    """The process is gone, with all that runs.

    Raises:
        Violation: SCHED-07 (it had crashed or ended already).
    """
    if not expect_running(run, "crash"):
        return
    run.crashed = True
    halt(run)


def halt(run: RunState) -> None:
    """The process is gone, with its calls and backoffs."""
    run.counters.halt()
    run.strays.clear()
    run.ranges = [[] for _ in run.ranges]
    run.backoffs.clear()
    run.due.clear()


def resume(
    run: RunState,
    claim: Prefixes,
    dropped: Ranges | None,
    skipped: Mapping[str, Ranges] | None,
    records: int | None,
    *,
    keep: bool,
) -> None:
    """A new process begins from `claim`; exactly the claimed cells are complete.

    Args:
        claim: for each column the rows that storage gave back.
        dropped: the dropped rows that it gave back, if the engine says so.
        skipped: by column, the skipped rows that it gave back, if the engine says so.
        records: the number of rows from now on; None for the same as before.
        keep: keep claimed rows of barriers whose scope changes with the number of rows.

    Raises:
        Violation: CKPT-12 (a claim that storage cannot have given back), CKPT-16 (another
            target that the claimed rows do not allow), CKPT-17 (other drops than the claim
            covers), SKIP-03 (other skips), SCHED-07 (no crash or end came before).
    """
    if not run.crashed and not run.ended:
        run.breaks("SCHED-07", "resume without a crash or an end")
    if claim != run.durable_claim and claim != run.pending_claim:
        run.breaks(
            "CKPT-12",
            f"resumed from a claim of {_claim_words(run, claim)}; the last durable one is of "
            f"{_claim_words(run, run.durable_claim)}, and being written was "
            + (
                "none"
                if run.pending_claim is None
                else f"one of {_claim_words(run, run.pending_claim)}"
            ),
        )
    drops = covered_drops(run, claim)
    if dropped is not None:
        drops = list(rows_of(dropped))
        _check_drops(run, claim, frozenset(drops))
    skips = covered_skips(run, claim, frozenset(drops), skipped)
    lost = {
        column: [row for row in rows if row < claim[column]]
        for column, rows in sorted(run.counters.lost.items())
    }
    _change_target(run, claim, records, keep=keep)
    total = run.graph.num_records
    # More than there are, if CKPT-16 is not judged.
    claim = tuple(min(rows, total) for rows in claim)

    def kept(rows: Iterable[int]) -> RowSet:
        return RowSet(total, (row for row in rows if row < total))

    run.durable_claim = claim
    run.pending_claim = None
    run.durable[:] = claim
    run.crashed = run.ended = False
    run.incarnation += 1
    restore(
        run,
        claim,
        kept(drops),
        {column: kept(rows) for column, rows in skips.items()},
        {column: kept(rows) for column, rows in lost.items()},
    )


def covered_drops(run: RunState, claim: Prefixes) -> list[int]:
    """The drops that storage holds with a claim: recorded before it was begun, not beyond it.

    And, if DROP-04 was not judged, those of cells that the claim holds and a drop left unmade.
    """
    durable = claim == run.durable_claim
    before = run.recorded[: run.durable_drops if durable else run.pending_drops]
    covered = max(claim)
    return sorted({*(row for row in before if row < covered), *_unmade(run, claim)})


def _unmade(run: RunState, claim: Prefixes) -> set[int]:
    """The dropped rows of which a claim holds a cell that was not made."""
    return {
        row for column, rows in run.counters.lost.items() for row in rows.within(0, claim[column])
    }


def _check_drops(run: RunState, claim: Prefixes, given_back: Collection[int]) -> None:
    """Storage gave back these dropped rows: exactly those that the claim rests on."""
    lost = _unmade(run, claim).difference(given_back)
    if lost:
        run.breaks(
            "CKPT-17",
            f"resumed without the drop of {row_words(ranges_of(sorted(lost)))}, of which the "
            "claim covers cells that were never made",
        )
    made_up = [
        row
        for row in given_back
        if row >= max(claim) or row not in run.counters.dropped or row in run.unrecorded
    ]
    if made_up:
        run.breaks(
            "CKPT-17",
            f"resumed with the drop of {row_words(ranges_of(sorted(made_up)))}, which the "
            "claim does not reach, or which nobody recorded",
        )


def covered_skips(
    run: RunState,
    claim: Prefixes,
    dropped: Collection[int],
    given_back: Mapping[str, Ranges] | None,
) -> dict[int, list[int]]:
    """By column, the skipped cells that a claim covers; compared with those of storage.

    Skips of a dropped row are not kept.
    """
    skips = {
        column: [row for row in rows if row < claim[column] and row not in dropped]
        for column, rows in sorted(run.counters.skipped.items())
    }
    if given_back is not None:
        mine = {run.name_of(column): ranges_of(rows) for column, rows in skips.items()}
        for name in dict.fromkeys((*mine, *given_back)):
            given = (row for row in rows_of(given_back.get(name, ())) if row not in dropped)
            found, expected = ranges_of(given), mine.get(name, ())
            if found != expected:
                run.breaks(
                    "SKIP-03",
                    f"resumed with {row_words(found)} of {name!r} skipped; the claim covers "
                    f"skips of {row_words(expected)}",
                )
                # Not judged: the engine goes on from what it read.
                column = run.graph.rules.index[name]
                skips[column] = [row for row in rows_of(found) if row < claim[column]]
    return {column: rows for column, rows in skips.items() if rows}


def _change_target(run: RunState, claim: Prefixes, records: int | None, *, keep: bool) -> None:
    """Resume with another number of rows (clause CKPT-16)."""
    if records is None or records == run.graph.num_records:
        return
    if records < max(claim):
        run.breaks(
            "CKPT-16",
            f"resumed with {counted(records, 'row')}, but {max(claim)} {be(max(claim))} claimed",
        )
    before = run.graph.num_records
    for changed in changed_scopes(run.graph.rules, before, records):
        rows = claim[changed.column]
        if rows > changed.start and not keep:
            run.breaks(
                "CKPT-16",
                f"resumed with {counted(records, 'row')} instead of {before}: the barrier of "
                f"{run.name_of(changed.column)!r} had {counted(rows, 'row')} claimed, and its "
                "scope changes",
            )
    before_counters = run.counters
    run.set_graph(run.graph.resized(records))
    run.counters.subscribe_as(before_counters)


def _claim_words(run: RunState, claim: Prefixes) -> str:
    """A claim in words."""
    if len(set(claim)) == 1:
        return f"{counted(claim[0], 'row')} of every column"
    rows = zip(run.graph.column_names, claim, strict=True)
    return ", ".join(f"{count} of {name!r}" for name, count in rows)
