"""Histories: the half of a state that holds claims on storage and spent faults, as one bit.

The phase of a history says how often a stop was requested and obeyed: 2n after n stops, and 2n + 1
while the run is stopping for the next one.
"""

from __future__ import annotations

from collections.abc import Sequence

from cellspec.explore.relation import Relation

__all__ = ["Histories"]


class Histories:
    """The numbering of histories, and the moves that steps make."""

    def __init__(self, relation: Relation) -> None:
        faults = relation.faults
        self.claims = len(relation.claims)
        self.crashes = faults.crashes
        # Without a crash to come, one slot would do, but one size is simpler.
        self.block = self.claims * (self.claims + 1)
        self.of_crash = self.block
        self.of_retry = self.of_crash * (faults.crashes + 1)
        self.of_fail = self.of_retry * (faults.retries + 1)
        self.of_stop = self.of_fail * (faults.drops + 1)
        self.of_loss = self.of_stop * (2 * faults.stops + 1)
        self.total = self.of_loss * (faults.losses + 1)
        every = range(0, self.total, self.block)
        plain = (1 << self.claims) - 1
        whole = (1 << self.block) - 1
        self.may_crash = sum(whole << x for x in every if self.spent(x)[0] < faults.crashes)
        self.may_retry = sum(whole << x for x in every if self.spent(x)[1] < faults.retries)
        self.may_fail = sum(whole << x for x in every if self.spent(x)[2] < faults.drops)
        self.may_lose = sum(whole << x for x in every if x // self.of_loss < faults.losses)
        last = 2 * faults.stops
        self.stopping = sum(whole << x for x in every if self.phase(x) % 2)
        self.may_request = sum(
            whole << x for x in every if self.phase(x) < last and not self.phase(x) % 2
        )
        # A claim is begun if a crash or a stop to come may read it.
        self._blocks = [
            x for x in every if self.spent(x)[0] < faults.crashes or self.phase(x) < last
        ]
        self.may_save = sum(whole << x for x in self._blocks)
        self.idle = sum(plain << x for x in every)
        self.writing = ((1 << self.total) - 1) & ~self.idle
        self._every = list(every)

    def spent(self, history: int) -> tuple[int, int, int]:
        """The crashes, retries and drops of a history."""
        return (
            history % self.of_retry // self.of_crash,
            history % self.of_fail // self.of_retry,
            history % self.of_stop // self.of_fail,
        )

    def phase(self, history: int) -> int:
        """Twice the number of stops that are over; one more while the run is stopping."""
        return history % self.of_loss // self.of_stop

    def claims_of(self, history: int) -> tuple[int, int | None]:
        """The last durable claim and the one being written, by index."""
        slot, durable = divmod(history % self.block, self.claims)
        return durable, slot - 1 if slot else None

    def with_durable(self, claims: int) -> int:
        """All histories whose durable claim is one of these (a mask of claims)."""
        slots = sum(claims << slot for slot in range(0, self.block, self.claims))
        return sum(slots << x for x in self._every)

    def may_begin(self, claims: int) -> int:
        """Histories that may begin a claim: idle, with one of these durable claims, and one that
        is begun may be read."""
        return sum(claims << x for x in self._blocks)

    def may_interrupt(self, claims: int, *, stopping: bool) -> int:
        """Histories with one of these durable claims and none being written, before or in a stop.

        Args:
            claims: a mask of claims.
            stopping: in a stop; otherwise those before one that may be requested.
        """
        asked = self.stopping if stopping else self.may_request
        return sum(claims << x for x in self._every) & asked

    def by_safe(self, claimed: Sequence[int]) -> list[tuple[int, int]]:
        """The histories that may lose a result, by what their claims hold of some cells.

        Args:
            claimed: by claim, those of the cells that it holds.
        """
        found: dict[int, int] = {}
        for place in range(self.block):
            durable, pending = self.claims_of(place)
            safe = claimed[durable] | (0 if pending is None else claimed[pending])
            found[safe] = found.get(safe, 0) | 1 << place
        return [
            (safe, sum(mask << x for x in self._every) & self.may_lose)
            for safe, mask in found.items()
        ]

    def resumed(self, history: int, claim: int, *, crash: bool) -> int:
        """The history of the next incarnation, which resumes from a claim."""
        history -= history % self.block
        if crash:
            history += self.of_crash
        if self.phase(history) % 2 or not crash:
            history += self.of_stop
        return history + claim

    def written(self, histories: int) -> int:
        """Where histories go whose claim becomes durable."""
        moved = 0
        left = histories & self.writing
        plain = (1 << self.claims) - 1
        while left:
            place = (left & -left).bit_length() - 1
            within = place % self.block
            slot = within // self.claims
            left &= ~(plain << place - within % self.claims)
            moved |= 1 << place - within + slot - 1
        return moved
