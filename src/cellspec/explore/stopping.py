"""The steps of a run that is asked to stop: what may still start, and how the run ends.

A request is a step that may be taken at any time. From then on only output cells start, what is in
flight ends, and claims are made; when nothing is in flight and everything that can be claimed is,
the run ends as interrupted, and a new process resumes from that claim in the same step.

Each of these steps brings the run nearer to that end, so every schedule of them is finite. So there
is no trap if in none of these states, without an end, the run stands still.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cellspec.explore.histories import Histories
from cellspec.explore.invariants import Invariants
from cellspec.explore.relation import Relation, bits
from cellspec.explore.resuming import Resumes
from cellspec.explore.steps import Step

__all__ = ["Broken", "Stopping"]


class Broken(NamedTuple):
    """A clause that a step from a state breaks; without a step, that the state breaks itself."""

    clause: str
    history: int
    step: Step | None


class Stopping:
    """The steps of requests, stops and interruptions of one graph.

    Args:
        relation: the steps.
        invariants: the judge of them.
        histories: the numbering of histories.
        resumes: the processes that come after it.
    """

    def __init__(
        self,
        relation: Relation,
        invariants: Invariants,
        histories: Histories,
        resumes: Resumes,
    ) -> None:
        self._resumes = resumes
        self.relation, self.invariants, self.histories = relation, invariants, histories
        self._version = max(relation.faults.versions)
        self._nodes: dict[int, tuple[list[int], Broken | None]] = {}
        self._ends: dict[int, list[tuple[int, str]]] = {}

    def interruptible(self, done: int, dropped: int) -> list[tuple[int, str]]:
        """Histories with which a run may end as interrupted, and the clause that it then breaks.

        It may if nothing is in flight.
        """
        key = done | dropped << self.relation.size
        found = self._ends.get(key)
        if found is None:
            found = self._ends[key] = list(self._interruptible(done, dropped))
        return found

    def _interruptible(self, done: int, dropped: int) -> Iterator[tuple[int, str]]:
        relation, version = self.relation, self._version
        for durable, cells in enumerate(relation.claimed_cells):
            if cells & ~done:
                continue
            claim = relation.claim_after(version, done, dropped, durable)
            for asked in (True, False):
                if relation.may_interrupt(claim, durable, stopping=asked):
                    clause = self.invariants.interruption(
                        version, done, dropped, durable, stopping=asked
                    )
                    yield self.histories.may_interrupt(1 << durable, stopping=asked), clause

    def nodes(self, base: int, ready: int) -> Iterator[tuple[Step, int]]:
        """The steps of nodes while the run is stopping: output cells start, and calls end."""
        relation = self.relation
        flight = base >> relation.size & relation.every
        for place in bits(relation.startable_in_stop(ready, flight)):
            yield Step("start", place), base | 1 << place + relation.size
        for place in bits(relation.endable(base & relation.every, flight)):
            yield Step("complete", place), relation.complete(base, place)

    def advance(
        self, base: int, ready: int, begins: int, found: int
    ) -> tuple[list[tuple[int, int]], int, Broken | None]:
        """The steps from a base with some histories.

        Args:
            base: the nodes.
            ready: the nodes that are ready.
            begins: histories that may begin a claim.
            found: the histories that the base was reached with.

        Returns:
            Where they lead, as bases with histories; how many steps these are; and what is wrong.
        """
        histories, relation = self.histories, self.relation
        asked = found & histories.may_request
        moves, count = [(base, asked << histories.of_stop)], asked.bit_count()
        stopping = found & histories.stopping
        if stopping:
            if base not in self._nodes:
                steps = list(self.nodes(base, ready))
                place = self.invariants.starts_in_stop(
                    step.place for step, _ in steps if step.kind == "start"
                )
                wrong = None if place < 0 else Broken("STOP-05", -1, Step("start", place))
                self._nodes[base] = [other for _, other in steps], wrong
            others, wrong = self._nodes[base]
            if wrong is not None:
                return moves, count, wrong._replace(history=_first(stopping))
            count += len(others) * stopping.bit_count()
            moves += [(other, stopping) for other in others]
        if base >> relation.size & relation.every:
            return moves, count, None
        dropped = base >> 2 * relation.size
        ended = 0
        for mask, clause in self.interruptible(base & relation.every, dropped):
            ended |= mask
            for history in bits(mask & found):
                for step, other, odd in self._resumes.after("interrupt", history, dropped):
                    if clause or odd:
                        return moves, count, Broken(clause or odd, history, step)
                    moves.append((other.base, 1 << other.history))
                    count += 1
        still = stopping & ~(ended | begins | histories.writing)
        if still and not self._nodes[base][0] and self.invariants.trap():
            return moves, count, Broken(self.invariants.trap(), _first(still), None)
        return moves, count, None


def _first(histories: int) -> int:
    return (histories & -histories).bit_length() - 1
