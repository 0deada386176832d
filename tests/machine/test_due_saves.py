"""When a save is due (clause CKPT-19): long runs by each policy, beside the model of a run.

What the machine says of a save that is late names its counts, which are compared too.
"""

from __future__ import annotations

import math
import random

import pytest

from cellspec import Action, ColumnDescriptor, ExecutionTraits, Limits, Violation
from cellspec.machine.limits import FailurePolicy, SavePolicy
from cellspec.state.claims import Claim
from tests.pair import Pair
from tests.strategies import Case, Plan

pytestmark = pytest.mark.invariant

T = ExecutionTraits
ROWS = 8

A, B = ColumnDescriptor("a", traits=T.START), ColumnDescriptor("b", traits=T.START)
IN_ORDER = ColumnDescriptor("o", traits=T.START | T.ORDERED)
POLICIES = (
    SavePolicy(rows=1),
    SavePolicy(rows=3),
    SavePolicy(group=True),
    SavePolicy(seconds=0.0),
    SavePolicy(seconds=2.0),
)


class Storing:
    """A run of which rows are made, written, claimed and lost, in any order."""

    def __init__(self, saving: SavePolicy, kind: str, drawn: random.Random) -> None:
        columns = (A, IN_ORDER) if kind == "ordered" else (A, B)
        limits, failures = Limits(group_rows=3), FailurePolicy(1)
        case = Case(ROWS, columns)
        stated = kind in ("any", "ordered")
        self.pair = Pair(Plan(case, limits, failures, saving=saving, states=stated))
        self.machine, self.model = self.pair.machine, self.pair.model
        self.saving, self.drawn, self.gaps = saving, drawn, kind != "prefixes"
        # Work may wait: only saves are judged here.
        self.machine.state.judges_progress = self.machine.state.judges_idleness = False
        self.begun, begin_save = 0, self.model.begin_save

        def note(name: object, *, claims: bool = False) -> None:
            self.begun += 1
            begin_save(name, claims=claims)

        self.model.begin_save = note  # type: ignore[method-assign]
        self.admit()

    def admit(self) -> None:
        for start in range(0, ROWS, 3):
            self.attempt(Action("admit", rows=(start, min(start + 3, ROWS))))

    def attempt(self, action: Action) -> None:
        """A step is taken if the model allows it; saves that it begins, and were due, count."""
        if self.pair.broken(action):
            return
        due, state = self.is_due(), self.machine.state
        before = state.due_saves
        self.begun = 0
        self.pair.take(action)
        assert state.due_saves - before == (self.begun and due), action
        assert state.saved_rows + state.held_rows - state.held_before == self.model.held_rows()

    def is_due(self) -> bool:
        """A save that begins now is due, whatever is being written, and rows are left to finish."""
        model, kept = self.model, (self.model.open_saves, self.model.unwritten)
        if model.over() or model.completed_rows() == ROWS:
            return False
        model.open_saves, model.unwritten = {}, set()
        due = bool(model.save_breaks(math.nextafter(model.now, math.inf)))
        model.open_saves, model.unwritten = kept
        return due

    def wait(self, t: float) -> None:
        """Time moves on: refused if the model finds a save that is late, in the model's numbers."""
        broken, model = self.model.save_breaks(t), self.model
        if broken:
            total, before = model.claimable_rows(), model.held_rows()
            since = next((mark for _, mark in model.open_saves.values()), None)
            rows = (
                total if since is None or model.rules.save_s is not None else min(total, since[1])
            )
            rows -= model.held_beside(before, rows)
            with pytest.raises(Violation) as late:
                self.machine.at(t)
            words = str(late.value)
            unit = "row group" if model.rules.save_groups and model.counts_anywhere() else "row"
            expected = f"CKPT-19: {rows} {unit}{'s' * (rows != 1)} could be claimed at t="
            assert words.startswith(expected), words
            assert f", {before} at the last save; a save is due " in words
            assert ("none was begun" in words) == (since is None)
            waived, self.machine.state.waived = self.machine.state.waived, frozenset(["CKPT-19"])
            self.machine.at(t)
            self.machine.state.waived = waived
        else:
            self.machine.at(t)
        self.model.pass_to(t)

    def span(self) -> tuple[int, int]:
        start, stop = sorted(self.drawn.sample(range(ROWS + 1), 2))
        return start, min(stop, start + self.drawn.choice((1, 2, 2, 3, 8)))

    def writes_what_it_brings(self, number: int | None) -> bool:
        """True if cells of an open commit are being written too: who ends what is left out here."""
        new = self.model.open_commits.get(number, {})
        return any(
            new.get(name, frozenset()) & rows for names, rows in self.model.writes for name in names
        )

    def any_claim(self) -> Claim:
        longest = self.machine.claim(self.drawn.choice((1, 1, 2)))
        if not self.gaps or self.drawn.random() < 0.3:
            return longest
        return self.pair.claim(self.model.closed(self.model.stored_claim()))

    def step(self) -> None:
        drawn, now, state = self.drawn, self.machine.now, self.machine.state
        name, span = drawn.choice(("", "", "a", self.machine.graph.column_names[1])), self.span()
        number = drawn.choice((None, 1, 2))
        kind = drawn.choices(list(KINDS), list(KINDS.values()))[0]
        if kind == "wait":
            self.wait(now + drawn.choice((0.5, 1.0, 2.0)))
        elif kind == "make":
            for row in range(*span):
                for each in (name,) if name else self.machine.graph.column_names:
                    for step in ("start", "complete"):
                        self.attempt(Action(step, each, (row, row + 1)))
        elif kind == "lose":
            # What rises and falls within a moment is noted by a save that begins in between.
            self.wait(now + 0.5)
            self.attempt(Action("worker_lost"))
            self.attempt(Action("lose", name or "a", (span[0], span[0] + 1)))
            self.wait(now + 1.0)
        elif kind == "fail":
            cell = (span[0], span[0] + 1)
            self.attempt(Action("start", name or "a", cell))
            self.attempt(Action("fail", name or "a", cell, failure="permanent"))
        elif kind == "drop":
            for row, column in sorted(state.unrecorded.items()):
                where = self.machine.graph.column_names[column]
                self.attempt(Action("drop", where, (row, row + 1)))
        elif kind == "save":
            if self.machine.completed_rows:
                self.attempt(Action("durable", "", (0, self.machine.completed_rows)))
            self.attempt(Action("checkpoint_begin", claim=self.machine.claim(1)))
        elif kind == "checkpoint_begin":
            self.attempt(Action(kind, claim=self.any_claim()))
        elif kind in ("write_begin", "durable"):
            self.attempt(Action(kind, name, span))
        elif kind == "commit_begin" and self.gaps:
            self.attempt(Action(kind, name, span, commit=number))
        elif kind in ("committed", "commit_failed") and not self.writes_what_it_brings(number):
            self.attempt(Action(kind, commit=number))
        elif kind == "pause" and state.unanswered and not self.gaps:
            self.attempt(Action(kind, until=now + drawn.choice((1.0, 3.0))))
        elif kind == "crash":
            self.attempt(Action("crash"))
            self.attempt(Action("resume", claim=state.durable_claim))
            self.admit()
        elif kind in ("checkpoint_durable", "checkpoint_failed"):
            self.attempt(Action(kind))


KINDS = {
    "wait": 6,
    "make": 5,
    "durable": 3,
    "write_begin": 3,
    "save": 1,
    "checkpoint_begin": 3,
    "checkpoint_durable": 3,
    "checkpoint_failed": 0.6,
    "commit_begin": 3,
    "committed": 3,
    "commit_failed": 0.6,
    "pause": 1,
    "lose": 0.5,
    "fail": 0.3,
    "drop": 0.5,
    "crash": 0.4,
}
"""How likely each kind of step is."""


@pytest.mark.clause("CKPT-19")
@pytest.mark.parametrize("kind", ["prefixes", "gaps", "any", "ordered"])
@pytest.mark.parametrize("saving", POLICIES, ids=str)
def test_a_save_is_due_when_the_model_says_so(saving: SavePolicy, kind: str) -> None:
    for seed in range(2):
        run = Storing(saving, kind, random.Random(seed))
        for _ in range(150):
            run.step()
