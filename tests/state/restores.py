"""Restores of random runs against the law for sets of rows: as many as you like.

``python -m tests.state.restores --runs 10000`` draws that many pipelines with ordered columns and
batches, barriers, skips and drops, takes each through several incarnations with claims of every
version between them, and compares every answer of the tracker with `tests.state.tracker_oracle`,
which knows only sets and loops. It prints how often it met each situation, and stops at the first
difference with the number of the run.
"""

from __future__ import annotations

import argparse
import random
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from cellspec import (
    CellNodeId,
    ColumnDescriptor,
    CompletionTracker,
    ExecutionTraits,
    ThreadSafeCompletionTracker,
)
from cellspec.graph.graph import BarrierScope
from cellspec.state import restoring_sets
from tests.state.tracker_pair import TrackerPair
from tests.strategies import Case

__all__ = ["main", "run"]

T = ExecutionTraits
KINDS = (T.CELL_BY_CELL, T.CELL_BY_CELL, T.BARRIER, T.BATCH_BARRIER)


def draw_case(draw: random.Random) -> Case:
    """A pipeline of up to six columns and ten rows."""
    columns: list[ColumnDescriptor] = []
    skips = draw.random() < 0.5
    for name in "abcdef"[: draw.randint(2, 6)]:
        before = [item.name for item in columns]
        traits = draw.choice(KINDS)
        if draw.random() < 0.35:
            traits |= T.ORDERED
        columns.append(
            ColumnDescriptor(
                name,
                traits=traits,
                dependencies=draw.sample(before, draw.randint(0, min(2, len(before)))),
                may_skip=skips and draw.random() < 0.3,
                propagate_skip=draw.random() < 0.8,
            )
        )
    scope: BarrierScope = "batch" if draw.random() < 0.2 else "declared"
    return Case(draw.randint(1, 10), tuple(columns), draw.randint(1, 5), scope)


@contextmanager
def limits_on_pieces(draw: random.Random) -> Iterator[None]:
    """Half of all runs restore as if their claims had many ranges."""
    before = restoring_sets.FEW_EDGES, restoring_sets.FEW_RANGES
    few = draw.random() < 0.5
    if few:
        restoring_sets.FEW_EDGES = restoring_sets.FEW_RANGES = 0
    try:
        yield
    finally:
        restoring_sets.FEW_EDGES, restoring_sets.FEW_RANGES = before


def take_steps(draw: random.Random, pair: TrackerPair, dropping: float) -> None:
    """Steps of one incarnation: most as an engine takes them, a few in any order."""
    for _ in range(draw.randint(0, 2 * len(pair.nodes) // 3)):
        chance = draw.random()
        before = pair.model.notified() if pair.notified is not None else set()
        if chance < dropping:
            pair.drop(draw.randrange(pair.graph.num_records))
        elif chance < dropping + 0.03:
            pair.mark(draw.choice(pair.nodes))
        elif chance < dropping + 0.06:
            may_skip = [c for c in pair.cells if pair.model.definition.column(c.column).may_skip]
            if may_skip:
                pair.skip(draw.choice(may_skip))
        else:
            # Odd picks take any ready node: that is how a set of rows comes about.
            if not pair.go_on(2 * draw.randrange(1000) + (draw.random() < 0.9)):
                return
            continue
        pair.check_notified(before)


def restore_other(draw: random.Random, pair: TrackerPair) -> None:
    """From a claim of any rows that the clauses allow, and any drops and skips that it covers."""
    model, total = pair.model, pair.graph.num_records
    model.dropped = {row for row in range(total) if draw.random() < 0.2}
    claim: dict[str, set[int]] = {}
    density = draw.choice((0.3, 0.6, 0.9))
    for name in pair.graph.column_names:
        rows = {row for row in range(total) if draw.random() < density}
        rows = rows.intersection(*(claim[need] for need in model.definition.inputs(name)))
        claim[name] = model.in_order(name, rows)
    skips = [cell for cell in pair.cells if draw.random() < 0.1]
    pair.restore(pair.payload_of(claim, 3), claim, set(model.dropped), skips)


def note_situations(pair: TrackerPair, seen: Counter[str]) -> None:
    """Count what the restored claim is like."""
    model = pair.model
    seen["restores"] += 1
    for name, rows in model.claimed.items():
        gap = bool(rows) and max(rows) >= len(rows)
        ordered = model.definition.is_ordered(name)
        barriers = model.definition.barriers(name)
        touched = [{row in rows for row in model.definition.scope(barrier)} for barrier in barriers]
        seen["columns with a gap"] += gap
        seen["ordered columns with a gap, of dropped rows"] += gap and ordered and not barriers
        seen["ordered batches with a gap"] += gap and ordered and len(barriers) > 1
        seen["partly claimed scopes"] += sum(len(found) == 2 for found in touched)
        seen["skipped cells claimed"] += sum(model.is_skipped(CellNodeId(r, name)) for r in rows)
    seen["dropped rows"] += len(model.dropped)


def run(seed: int, seen: Counter[str]) -> None:
    """One random run of several incarnations; the first difference is an AssertionError."""
    draw = random.Random(seed)
    cls = ThreadSafeCompletionTracker if draw.random() < 0.1 else CompletionTracker
    pair = TrackerPair(draw_case(draw), cls, bare=False)
    dropping = draw.choice((0.0, 0.03, 0.1))
    with limits_on_pieces(draw):
        for _ in range(draw.randint(2, 4)):
            if draw.random() < 0.3:
                restore_other(draw, pair)
            else:
                pair.restore_own(draw.choice((1, 2, 3, 3, 3)))
            note_situations(pair, seen)
            pair.check()
            if draw.random() < 0.5:
                pair.listen()
            take_steps(draw, pair, dropping)
            pair.check()


def main() -> int:
    """Compare, print what was met, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.state.restores")
    parser.add_argument("--runs", type=int, default=10_000, help="how many (default: 10000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first (default: 0)")
    args = parser.parse_args()
    seen: Counter[str] = Counter()
    for seed in range(args.first, args.first + args.runs):
        try:
            run(seed, seen)
        except AssertionError:
            traceback.print_exc()
            print(f"run {seed} differs from the law; again: --runs 1 --first {seed}")
            return 1
    print(f"{args.runs:,} runs, no difference")
    for what, count in seen.items():
        print(f"  {what}: {count:,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
