"""The limits of a provider: buckets that refill all the time, and windows that begin again.

A call asks all limits at once. If each has room, each is charged; if one has not, none is, and the
call hears how long it lacks what it asks for: `retry_after_s`, as OpenAI's messages say it.

A *bucket* is full at 0 s, holds `burst`, and refills at ``amount / per_s``. Its level is worked out
when somebody asks; nothing happens in between. A *window* counts from 0, per_s, 2 per_s, …: a call
at a boundary is in the new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ulp
from typing import TypeAlias

from cellspec.errors import SpecError
from sim.endpoints.plan import LimitPlan
from sim.endpoints.request import Request

__all__ = ["ProviderLimits", "retry_after_s", "too_large"]

# Who comes back after a Retry-After lacks some 1e-16 s by rounding, and would wait again for that.
NOTHING = 1e-9


class _Bucket:
    """A bucket, by its level at the time of the last change.

    Attributes:
        taken, returned: in all, what was charged and what came back.
    """

    __slots__ = (
        "_amount",
        "_at_s",
        "_level",
        "_per_s",
        "_rate",
        "burst",
        "plan",
        "returned",
        "slack",
        "taken",
    )

    def __init__(self, plan: LimitPlan) -> None:
        self.plan = plan
        self.burst = plan.burst
        self._amount, self._per_s = plan.amount, plan.per_s
        self._rate = plan.amount / plan.per_s
        self.slack = NOTHING * plan.burst
        self.taken = self.returned = 0.0
        self._level, self._at_s = plan.burst, 0.0

    def room(self, t: float) -> float:
        """What may be taken at time t."""
        level = self._level + (t - self._at_s) * self._rate
        return level if level < self.burst else self.burst

    def wait_s(self, asked: float, room: float, t: float) -> float:
        """Seconds until so much is there if nobody else takes any; 0 if there is room for it.

        It is one step of the clock at least, so that time passes for who comes back.
        """
        lacks = asked - room
        if lacks <= self.slack:
            return 0.0
        if asked > self.burst + self.slack:
            _never(asked, self)
        wait_s = lacks / self._amount * self._per_s
        return wait_s if t + wait_s > t else ulp(t)

    def take(self, asked: float, room: float, t: float) -> None:
        """Charge so much of the room that there is, and that must do."""
        left = room - asked
        self.taken += asked
        if left < 0:
            _check_room(left, self, t)
            left = 0.0
        self._level, self._at_s = left, t

    def give_back(self, unused: float, t: float) -> None:
        """Return what was charged and not used; what would run over is gone."""
        self.returned += unused
        self._level, self._at_s = min(self.burst, self.room(t) + unused), t


class _Window:
    """A fixed window, by what was taken in the last one in which anything was.

    What a call gives back makes room in the window in which it ends, whichever it began in.

    Attributes:
        taken, returned: in all, what was charged and what came back.
    """

    __slots__ = ("_number", "_used", "burst", "plan", "returned", "slack", "taken")

    def __init__(self, plan: LimitPlan) -> None:
        self.plan = plan
        self.burst = plan.amount
        self.slack = NOTHING * plan.amount
        self.taken = self.returned = 0.0
        self._used, self._number = 0.0, 0

    def _enter(self, t: float) -> None:
        """Begin a new window if the last one is over."""
        number = int(t / self.plan.per_s + NOTHING)
        if number > self._number:
            self._number, self._used = number, 0.0

    def room(self, t: float) -> float:
        """What may be taken at time t."""
        self._enter(t)
        return self.burst - self._used

    def wait_s(self, asked: float, room: float, t: float) -> float:
        """The rest of the window if there is no room for so much; 0 if there is."""
        if asked - room <= self.slack:
            return 0.0
        if asked > self.burst + self.slack:
            _never(asked, self)
        return max((self._number + 1) * self.plan.per_s - t, ulp(t))

    def take(self, asked: float, room: float, t: float) -> None:
        """Charge so much of the room that there is, and that must do."""
        left = room - asked
        self.taken += asked
        if left < 0:
            _check_room(left, self, t)
            left = 0.0
        self._used = self.burst - left

    def give_back(self, unused: float, t: float) -> None:
        """Return what was charged and not used; what would run over is gone."""
        self.returned += unused
        self._enter(t)
        self._used = max(0.0, self._used - unused)


_Limit: TypeAlias = _Bucket | _Window


class ProviderLimits:
    """The limits of one endpoint; a call must pass all of them.

    Args:
        limits: in the order of the scenario.
        charged: a refused call takes one from each limit on requests that has one. It takes no part
            of one: clients that come back at different times would keep each other out for ever.
        name: of the endpoint, for messages.

    Attributes:
        refused_by: by limit, the refusals for which it stated the longest wait.
        last: the limit of the newest refusal, by its place in `limits`; -1 before the first.
    """

    def __init__(
        self, limits: Sequence[LimitPlan], *, charged: bool = False, name: str = ""
    ) -> None:
        self._limits: tuple[_Limit, ...] = tuple(
            _Window(each) if each.window == "fixed" else _Bucket(each) for each in limits
        )
        self._requests = tuple(each for each in self._limits if each.plan.counts == "requests")
        self._giving = tuple(
            each for each in self._limits if each.plan.give_back and _what(each.plan) == RESERVED
        )
        self._asks = tuple((each, _what(each.plan)) for each in self._limits)
        # The commonest case, without the work for several: one limit, and a refusal takes nothing.
        self._only = self._asks[0] if len(self._asks) == 1 and not charged else None
        self._charged, self._name = charged, name
        self.refused_by = [0] * len(self._limits)
        self.last = -1

    def ask(self, request: Request, t: float) -> float | None:
        """Charge a call that comes at time t, or say how long it has to wait.

        Returns:
            None if the call passes; else the seconds of its Retry-After, and nothing is charged.
        """
        if self._only is not None:
            only, what = self._only
            one = 1.0
            if what != ONE:
                of_answer = request.reserved_tokens if what == RESERVED else request.output_tokens
                one = request.prompt_tokens + of_answer
            room = only.room(t)
            if one - room <= only.slack:
                only.take(one, room, t)
                return None
            self.last = 0
            self.refused_by[0] += 1
            try:
                return only.wait_s(one, room, t)
            except SpecError as error:
                raise self._named(0, error) from None
        asked = (1.0, request.held_tokens, request.prompt_tokens + request.output_tokens)
        for limit, what in self._asks:
            if asked[what] - limit.room(t) > limit.slack:
                return self._refuse(asked, t)
        for limit, what in self._asks:
            limit.take(asked[what], limit.room(t), t)
        return None

    def wait_s(self, request: Request, t: float) -> float:
        """The Retry-After of a call that is not asked for now; 0 if it would pass."""
        asked = (1.0, request.held_tokens, request.prompt_tokens + request.output_tokens)
        return self._longest(asked, t)[0]

    def _refuse(self, asked: tuple[float, float, float], t: float) -> float:
        """The longest of the limits' waits."""
        if self._charged:
            self.refused(t)
        longest_s, place = self._longest(asked, t)
        self.last = place
        self.refused_by[place] += 1
        return longest_s

    def _longest(self, asked: tuple[float, float, float], t: float) -> tuple[float, int]:
        """The longest of the limits' waits, and the limit that has it."""
        longest_s, longest = -1.0, 0
        for place, (limit, what) in enumerate(self._asks):
            try:
                wait_s = limit.wait_s(asked[what], limit.room(t), t)
            except SpecError as error:
                raise self._named(place, error) from None
            if wait_s > longest_s:
                longest_s, longest = wait_s, place
        return longest_s, longest

    def _named(self, place: int, error: SpecError) -> SpecError:
        """An error about the limit in this place, with its field."""
        return SpecError(f"endpoints.{self._name}.limits[{place}]: {error}")

    def refused(self, t: float) -> None:
        """Take a refused call from the limits on requests; see `charged`."""
        for limit in self._requests:
            room = limit.room(t)
            if room >= 1.0:
                limit.take(1.0, room, t)

    def ended(self, request: Request, t: float) -> None:
        """Give back what a call reserved and did not use. It ended, or was lost, at time t."""
        if self._giving:
            unused = request.reserved_tokens - request.output_tokens
            for limit in self._giving:
                limit.give_back(unused, t)

    def rooms(self, t: float) -> list[float]:
        """By limit, what may be taken at time t."""
        return [limit.room(t) for limit in self._limits]

    def check(self, name: str, accepted: int, refused: int, held_tokens: float, t: float) -> None:
        """Hold what was charged up to time t to the calls that came.

        Args:
            name: of the endpoint, for the message.
            accepted, refused: calls that it took in, and that it did not.
            held_tokens: of those that it took in, prompts and what was reserved for answers.

        Raises:
            AssertionError: the limits are wrong, whatever the scenario.
        """
        near = NOTHING * max(held_tokens, 1.0)
        for place, (limit, what) in enumerate(self._asks):
            least = most = held_tokens
            if what == ONE:
                least, most = accepted, accepted + self._charged * refused
            elif what == USED:
                least = 0.0
            room = limit.room(t)
            right = least - near <= limit.taken <= most + near and limit.returned <= limit.taken
            if not (right and 0 <= room <= limit.burst):
                raise AssertionError(
                    f"endpoint {name!r}: limit {place} charged {limit.taken:g}, got back "
                    f"{limit.returned:g} and has {room:g} of {limit.burst:g} at {t:g} s; expected "
                    f"charges from {least:g} to {most:g}"
                )

    def charges(self) -> list[tuple[float, float]]:
        """By limit, what was charged and what was given back, from 0 s on."""
        return [(limit.taken, limit.returned) for limit in self._limits]


# What a limit asks of a call: a place in the tuple that `ProviderLimits.ask` makes.
ONE, RESERVED, USED = range(3)


def _what(plan: LimitPlan) -> int:
    if plan.counts == "requests":
        return ONE
    return RESERVED if plan.charge == "reserved" else USED


def _never(asked: float, limit: _Limit) -> None:
    raise SpecError(
        f"{asked:g} {limit.plan.counts} never pass a limit of {limit.burst:g}: ask for fewer, or "
        f"raise the limit's {'amount' if limit.plan.window == 'fixed' else 'burst'}"
    )


def _check_room(left: float, limit: _Limit, t: float) -> None:
    if left < -limit.slack:
        raise AssertionError(
            f"a limit of {limit.burst:g} {limit.plan.counts} has {left:g} at {t:g} s: "
            "it was charged without being asked"
        )


def retry_after_s(*, limit: float, used: float, asked: float, per_s: float = 60.0) -> float:
    """The Retry-After of a call that asks a bucket of `limit` of which `used` is gone.

    It is (used + asked - limit) / limit x per_s, and 0 if the call passes; in OpenAI's words:
    "Limit 10000, Used 8554, Requested 3082. Please try again in 9.816s."

    Args:
        limit: tokens or requests that come back in `per_s` seconds.
    """
    bucket = _Bucket(LimitPlan("tokens", limit, per_s, burst=limit))
    bucket.take(used, limit, 0.0)
    return bucket.wait_s(asked, bucket.room(0.0), 0.0)


def too_large(
    limits: Sequence[LimitPlan], prompt_tokens: float, output_tokens: float, reserved_tokens: float
) -> LimitPlan | None:
    """The first limit that could never let such a call pass, however long it waits."""
    asked = (1.0, prompt_tokens + reserved_tokens, prompt_tokens + output_tokens)
    for plan in limits:
        most = plan.amount if plan.window == "fixed" else plan.burst
        if asked[_what(plan)] > most * (1 + NOTHING):
            return plan
    return None
