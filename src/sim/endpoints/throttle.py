"""A client's own limit on the calls that are out, which refusals lower and successes raise.

The rules are those of DataDesigner's throttle: additive increase, multiplicative decrease, once for
the calls of one burst. A pause of all calls after a refusal is the same with a limit that stays;
see `ThrottlePlan.pausing`.
"""

from __future__ import annotations

import math

from sim.endpoints.plan import ThrottlePlan

__all__ = ["Throttle"]


class Throttle:
    """Says when a call may go out. It knows no call and no clock, and is told of both.

    A call is *out* from `went` until its client has an answer (`succeeded`, `left`) or a refusal
    (`refused`).

    Attributes:
        limit: so many calls may be out at once.
        out: so many are.
        next_s: no call goes out before.
        cuts: how often a refusal lowered the limit.
    """

    __slots__ = ("_counted", "_limit_s", "_plan", "_since_s", "cuts", "limit", "next_s", "out")

    def __init__(self, plan: ThrottlePlan) -> None:
        self._plan = plan
        self._limit_s = self._since_s = 0.0
        self.limit = self._within(plan.start)
        self.cuts = 0
        self.begin(0.0)

    def begin(self, t: float) -> None:
        """Begin anew at time t: nothing is out, and what was learnt is gone."""
        self._move(self._within(self._plan.start), t)
        self._counted = 0
        self.out = 0
        self.next_s = t

    def may_go(self, t: float) -> bool:
        """True if a call may go out at time t."""
        return self.out < self.limit and t >= self.next_s

    def went(self) -> int:
        """A call goes out.

        Returns:
            The limit of now, by which `refused` tells calls of one burst.
        """
        self.out += 1
        return self.limit

    def refused(self, t: float, went_at: int, retry_after_s: float | None) -> None:
        """The client hears at time t that a call was refused.

        Args:
            went_at: what `went` returned for the call. If it was above the limit of now, a refusal
                of its burst has lowered the limit already.
            retry_after_s: what the refusal said; None if it said nothing.
        """
        plan = self._plan
        self.out -= 1
        self._counted = 0
        wait_s = plan.cool_down_s
        if retry_after_s is not None and plan.heeds_retry_after:
            wait_s = retry_after_s
        self.next_s = t + wait_s
        if went_at <= self.limit:
            lower = self._within(math.floor(self.limit * plan.decrease))
            if lower < self.limit:
                self.cuts += 1
                self._move(lower, t)

    def succeeded(self, t: float) -> None:
        """A call ended well at time t. It counts if no cool-down runs."""
        self.out -= 1
        if t < self.next_s:
            return
        self._counted += 1
        if self._counted >= self._plan.successes:
            self._counted = 0
            self._move(self._within(self.limit + self._plan.increase), t)

    def left(self) -> None:
        """A call that was out is not any more, and neither ended well nor was refused."""
        self.out -= 1

    def mean_limit(self, t: float) -> float:
        """The mean of the limit over ``[0, t]``, as it stands if t is 0."""
        return (self._limit_s + self.limit * (t - self._since_s)) / t if t else self.limit

    def _within(self, limit: int) -> int:
        return max(1, min(limit, self._plan.most))

    def _move(self, limit: int, t: float) -> None:
        self._limit_s += self.limit * (t - self._since_s)
        self._since_s = t
        self.limit = limit
