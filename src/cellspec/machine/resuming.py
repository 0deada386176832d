"""A crash, and the next incarnation: the state that a claim brings back."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Mapping
from functools import partial

from cellspec.graph.configuration import Config
from cellspec.graph.nodes import NodeKey, column_of, is_barrier_key, place_of
from cellspec.graph.rowset import Ranges, RowSet, ranges_of, rows_of
from cellspec.machine.commits import resumable
from cellspec.machine.explain_refusal import expect_running
from cellspec.machine.policy import changed_scopes
from cellspec.machine.prompt_saving import count_from_claim
from cellspec.machine.recalling import note_durable
from cellspec.machine.row_groups import open_groups
from cellspec.machine.run_state import RunState
from cellspec.state.claims import (
    Claim,
    Rows,
    are_prefixes,
    as_rows,
    covers,
    end_of,
    first_outside,
    meet,
    minus,
    normal,
    reaches,
    spans,
)
from cellspec.state.codes import RANGED, RUNNING
from cellspec.text import be, cell_words, counted, row_words

__all__ = [
    "covered_drops",
    "covered_skips",
    "crash",
    "expect_config",
    "halt",
    "restore",
    "resume",
]


def restore(
    run: RunState,
    claim: Claim,
    dropped: RowSet | None = None,
    skipped: Mapping[int, RowSet] | None = None,
    lost: Mapping[int, RowSet] | None = None,
) -> None:
    """Begin an incarnation in which exactly `claim` is resolved."""
    run.forget_calls()
    run.ranges = [[] for _ in claim]
    run.failed_claims.clear()
    run.commits.clear()
    run.failed_commits.clear()
    # Recorded drops, in the order in which they came: storage holds those before a claim.
    run.recorded = array("q", dropped or ())
    run.durable_drops = run.pending_drops = len(run.recorded)
    run.unsaved = run.lost_rows = False
    run.excused = run.lost_cells = run.lost_claims = None
    run.lost_writes.clear()
    run.paused_until = 0.0
    if run.overtaking is not None:
        run.overtaking.begin()
    if run.killers is not None:
        run.killers.begin()
    run.counters.restore(claim, dropped, skipped, lost)
    dropped_rows, total = run.counters.dropped, run.graph.num_records
    kept = ((row, why) for row, why in run.causes.items() if row < total)
    run.causes = {row: why for row, why in kept if row in dropped_rows}
    run.waiting_groups = open_groups(run)
    run.held = None
    run.saves.clear()
    run.waits.clear()
    count_from_claim(run)


def crash(run: RunState) -> None:
    """The process is gone, with all that runs.

    Raises:
        Violation: SCHED-07 (it had crashed or ended already).
    """
    if not expect_running(run, "crash"):
        return
    run.crashed = True
    run.cut_off = run.now <= run.stored_at + run.unheard_s
    if run.killers is not None:
        in_flight = filter(partial(_is_in_flight, run), run.killers.started)
        run.killers.process_died(in_flight, run.now)
    halt(run)


def _is_in_flight(run: RunState, key: NodeKey) -> bool:
    """True for a node with a call, alone or in a range; output of a barrier takes none."""
    if is_barrier_key(key):
        return run.counters.barrier_state(column_of(key), place_of(key)) == RUNNING
    column, row = column_of(key), place_of(key)
    if run.barrier_flags[column]:
        return False
    state = run.counters.cells[column][row]
    if state in (RUNNING, RANGED) or key in run.counters.abandoned:
        return True
    # A range goes on when one of its rows is dropped, and that row may be the one that kills it.
    return any(
        each.start <= row < each.stop and row not in each.given for each in run.ranges[column]
    )


def halt(run: RunState) -> None:
    """The process is gone, with its calls and backoffs."""
    run.counters.halt()
    run.strays.clear()
    run.ranges = [[] for _ in run.ranges]
    # The next process may know of a pause, or of a wait before a retry, and go on with it; of a
    # failure that asked for no wait it knows nothing.
    waits = any(until is not None for until in run.backoffs.values())
    run.unanswered = int(run.is_paused or waits)
    run.backoffs.clear()
    run.writes.clear()


def resume(
    run: RunState,
    claim: Claim,
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
        Violation: CKPT-09 (a claim without a cell that a commit brought), CKPT-12 (a claim that
            storage cannot have given back), CKPT-23 (less than was safe before a write failed),
            CKPT-16 (another
            target that the claimed rows do not allow), CKPT-17 (other drops than the claim
            covers), SKIP-03 (other skips), SCHED-07 (no crash or end came before).
    """
    if not run.crashed and not run.ended:
        run.breaks("SCHED-07", "resume without a crash or an end")
    recorded = resumable(run, claim)
    if recorded is None:
        clause, reason = _why_not_resumable(run, claim)
        run.breaks("CKPT-23" if _lost_by_failure(run, claim) else clause, reason)
        recorded = run.pending_drops
    drops = _covered_drops(run, claim, recorded)
    if dropped is not None:
        drops = list(rows_of(dropped))
        _check_drops(run, claim, frozenset(drops))
    skips = covered_skips(run, claim, frozenset(drops), skipped)
    lost = {
        column: [row for row in rows if covers(claim[column], row)]
        for column, rows in sorted(run.counters.lost.items())
    }
    _change_target(run, claim, records, frozenset(drops), keep=keep)
    total = run.graph.num_records
    # More than there are, if CKPT-16 is not judged.
    claim = tuple(meet(rows, total) for rows in claim)

    def kept(rows: Iterable[int]) -> RowSet:
        return RowSet(total, (row for row in rows if row < total))

    note_durable(run)
    run.durable_claim = claim
    run.pending_claim = None
    run.on_storage.clear(total)
    for column, rows in enumerate(claim):
        for start, stop in spans(rows):
            run.on_storage.add(column, start, stop)
    run.crashed = run.ended = False
    run.incarnation += 1
    restore(
        run,
        claim,
        kept(drops),
        {column: kept(rows) for column, rows in skips.items()},
        {column: kept(rows) for column, rows in lost.items()},
    )


def expect_config(run: RunState, claim: Claim, config: Config | None, *, keep: bool) -> None:
    """A new process states its configuration, and takes over cells that another one made.

    Args:
        claim: the claim from which it resumes.
        config: by column, the digest of what shapes its values; None if the engine does not say.
        keep: it is told to keep claimed cells whose configuration changed.

    Raises:
        Violation: CKPT-20 (the claim holds cells of another configuration).
    """
    after = config or {}
    made = {
        rule.name: _made_under(run, rule.index, claim[rule.index])
        for rule in run.graph.rules.columns
        if after or run.config or run.made_under
    }
    changes = [
        (name, theirs, after[name])
        for name, parts in made.items()
        for theirs, _ in parts
        if theirs is not None and name in after and theirs != after[name]
    ]
    for change in () if keep else changes:
        if change not in run.kept_config:
            name, theirs, mine = change
            run.breaks(
                "CKPT-20",
                f"resumed with configuration {mine} of {name!r}, of which claimed cells were made "
                f"with {theirs}",
            )
    run.config, run.made_under = after, made
    run.kept_config.update(changes if keep else ())


def _made_under(run: RunState, column: int, claimed: Rows) -> list[tuple[str | None, Rows]]:
    """The claimed rows of a column by the configuration of the process that made them.

    A drop leaves cells unmade.
    """
    left = minus(claimed, as_rows(ranges_of(run.counters.lost.get(column, ()))))
    name, parts = run.name_of(column), list[tuple[str | None, Rows]]()
    for config, rows in run.made_under.get(name, ()):
        parts.append((config, meet(rows, left)))
        left = minus(left, rows)
    parts.append((run.config.get(name), left))
    return [(config, rows) for config, rows in parts if rows]


def covered_drops(run: RunState, claim: Claim) -> list[int]:
    """The drops that storage holds with a claim: recorded before it was begun, not beyond it.

    And, if DROP-04 was not judged, those of cells that the claim holds and a drop left unmade.
    """
    recorded = resumable(run, claim)
    return _covered_drops(run, claim, run.pending_drops if recorded is None else recorded)


def _covered_drops(run: RunState, claim: Claim, recorded: int) -> list[int]:
    unmade = _unmade(run, claim)
    if not are_prefixes(claim):
        # Which rows storage knows of shows in the claim: it holds a cell that was lost to the drop.
        return sorted(unmade)
    covered = end_of(claim)
    return sorted({*(row for row in run.recorded[:recorded] if row < covered), *unmade})


def _unmade(run: RunState, claim: Claim) -> set[int]:
    """The dropped rows of which a claim holds a cell that was not made."""
    if are_prefixes(claim):
        return {
            row
            for column, rows in run.counters.lost.items()
            for row in rows.within(0, claim[column])
        }
    return {
        row
        for column, rows in run.counters.lost.items()
        for start, stop in spans(claim[column])
        for row in rows.within(start, stop)
    }


def _check_drops(run: RunState, claim: Claim, given_back: Collection[int]) -> None:
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
        if not reaches(claim, row) or row not in run.counters.dropped or row in run.unrecorded
    ]
    if made_up:
        run.breaks(
            "CKPT-17",
            f"resumed with the drop of {row_words(ranges_of(sorted(made_up)))}, which the "
            "claim does not reach, or which nobody recorded",
        )


def covered_skips(
    run: RunState,
    claim: Claim,
    dropped: Collection[int],
    given_back: Mapping[str, Ranges] | None,
) -> dict[int, list[int]]:
    """By column, the skipped cells that a claim covers; compared with those of storage.

    Skips of a dropped row are not kept.
    """
    skips = {
        column: [row for row in rows if covers(claim[column], row) and row not in dropped]
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
                skips[column] = [row for row in rows_of(found) if covers(claim[column], row)]
    return {column: rows for column, rows in skips.items() if rows}


def _change_target(
    run: RunState, claim: Claim, records: int | None, dropped: Collection[int], *, keep: bool
) -> None:
    """Resume with another number of rows (clause CKPT-16)."""
    if records is None or records == run.graph.num_records:
        return
    if records < end_of(claim):
        run.breaks("CKPT-16", _beyond_words(run, claim, records))
    before = run.graph.num_records
    for changed in changed_scopes(run.graph.rules, before, records):
        rows = claim[changed.column]
        inside = spans(meet(rows, normal([(changed.start, changed.before)])))
        if not keep and any(row not in dropped for row in rows_of(inside)):
            held = counted(rows, "row") if isinstance(rows, int) else row_words(inside)
            run.breaks(
                "CKPT-16",
                f"resumed with {counted(records, 'row')} instead of {before}: the barrier of "
                f"{run.name_of(changed.column)!r} had {held} claimed, and its scope changes",
            )
    before_counters = run.counters
    run.set_graph(run.graph.resized(records))
    run.counters.subscribe_as(before_counters)


def _beyond_words(run: RunState, claim: Claim, records: int) -> str:
    """The reason why a claim does not fit fewer rows."""
    asked = f"resumed with {counted(records, 'row')}"
    if are_prefixes(claim):
        return f"{asked}, but {max(claim)} {be(max(claim))} claimed"
    column = next(column for column, rows in enumerate(claim) if end_of((rows,)) > records)
    row = next(row for row in rows_of(spans(claim[column])) if row >= records)
    return f"{asked}, but {cell_words(run.name_of(column), row)} is claimed"


def _lost_by_failure(run: RunState, claim: Claim) -> bool:
    """True if a claim is less than the last durable one, after which a write failed."""
    failed = run.unsaved or run.lost_rows
    pairs = zip(claim, run.durable_claim, strict=True)
    return failed and all(first_outside(*rows) < 0 for rows in pairs)


def _why_not_resumable(run: RunState, claim: Claim) -> tuple[str, str]:
    """The clause that a claim breaks which storage cannot have given back, and the reason."""
    known, pending = run.durable_claim, run.pending_claim
    if run.committed is None and are_prefixes(claim) and are_prefixes(known) and not run.commits:
        return "CKPT-12", (
            f"resumed from a claim of {_claim_words(run, claim)}; the last durable one is of "
            f"{_claim_words(run, known)}, and being written was "
            + ("none" if pending is None else f"one of {_claim_words(run, pending)}")
        )
    for column, rows in enumerate(known):
        row = first_outside(rows, claim[column])
        if row >= 0:
            where = cell_words(run.name_of(column), row)
            # Each commit adds to the claim before it: one that was on storage is not gone.
            clause = "CKPT-12" if run.committed is None else "CKPT-09"
            return clause, f"resumed without {where}, which the last durable claim holds"
    # There is one: the run may resume from the last durable claim itself.
    column, row = next(
        (column, row)
        for column, rows in enumerate(claim)
        if (row := first_outside(rows, known[column])) >= 0
    )
    return "CKPT-12", (
        f"resumed with {cell_words(run.name_of(column), row)}, which the last durable claim does "
        "not hold, and which no claim or commit that may have landed brings whole"
    )


def _claim_words(run: RunState, claim: Claim) -> str:
    """A claim in words."""
    if len(set(claim)) == 1 and isinstance(claim[0], int):
        return f"{counted(claim[0], 'row')} of every column"
    rows = zip(run.graph.column_names, claim, strict=True)
    return ", ".join(
        f"{count} of {name!r}" if isinstance(count, int) else f"{row_words(count)} of {name!r}"
        for name, count in rows
    )
