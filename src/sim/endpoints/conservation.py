"""What must come out even at a server: calls, their time, and their tokens."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ServerCounts"]

ROUNDING = 1e-9
"""Sums that differ by less than this share of them differ by rounding."""


@dataclass(frozen=True, slots=True)
class ServerCounts:
    """A server's own counts, from 0 s to now.

    Attributes:
        accepted: calls that it took in.
        ended, lost, cancelled, crashed: how those that left did so: they ended, an outage took
            them, their client gave them up, or died.
        inside: calls that are here.
        refused_by_limits, refused_by_queue, refused_by_outage: calls that it did not take in.
        call_s: the integral of the calls that were here over time.
        sojourn_s: the time that those spent here that left.
        inside_s: the time that those have spent here that are here.
        most_in_flight: calls served at once, at most.
        max_in_flight: as many may be; None if any number.
        most_kv_tokens, kv_tokens: what calls that were served reserved at most, and may reserve.
        tokens_in: what accepted calls hold, prompts and what is reserved for answers; of a server
            without limits on tokens, and with memory for all, these three are 0.
        tokens_out, tokens_inside: of calls that left, and of those that are here.
    """

    accepted: int
    ended: int
    inside: int
    call_s: float
    sojourn_s: float
    inside_s: float
    max_in_flight: int | None
    lost: int = 0
    cancelled: int = 0
    crashed: int = 0
    refused_by_limits: int = 0
    refused_by_queue: int = 0
    refused_by_outage: int = 0
    most_in_flight: int = 0
    most_kv_tokens: float = 0.0
    kv_tokens: float | None = None
    tokens_in: float = 0.0
    tokens_out: float = 0.0
    tokens_inside: float = 0.0

    @property
    def left(self) -> int:
        """Calls that left, whichever way."""
        return self.ended + self.lost + self.cancelled + self.crashed

    @property
    def refused(self) -> int:
        """Calls that it did not take in."""
        return self.refused_by_limits + self.refused_by_queue + self.refused_by_outage

    def check(self, name: str) -> None:
        """Hold the counts to each other.

        Args:
            name: of the endpoint, for the message.

        Raises:
            AssertionError: they differ: the simulator is wrong.
        """
        same = (
            ("calls accepted", self.accepted, "left or still here", self.left + self.inside),
            # Little's law: over a whole run it is an equation, whatever is random.
            (
                "calls in the server over time",
                self.call_s,
                "their time there",
                self.sojourn_s + self.inside_s,
            ),
            (
                "tokens charged",
                self.tokens_in,
                "of calls that left or are here",
                self.tokens_out + self.tokens_inside,
            ),
        )
        for what, one, of, other in same:
            if abs(one - other) > ROUNDING * max(1.0, abs(one)):
                raise AssertionError(f"endpoint {name!r}: {what} {one!r}, {of} {other!r}")
        within = (
            ("calls in flight", self.most_in_flight, self.max_in_flight),
            ("tokens in memory", self.most_kv_tokens, self.kv_tokens),
        )
        for what, most, may in within:
            if may is not None and most > may * (1 + ROUNDING):
                raise AssertionError(f"endpoint {name!r}: {most:g} {what}, and {may:g} may be")
