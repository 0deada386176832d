"""The client of an endpoint: calls that wait to go out, are refused, come back, and time out."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from math import isnan
from typing import Any, Protocol, TypeAlias

import simpy

from cellspec.errors import SpecError
from sim.endpoints.deadlines import Deadlines
from sim.endpoints.plan import EndpointPlan
from sim.endpoints.request import Refusal, Request
from sim.endpoints.throttle import Throttle
from sim.endpoints.timer import Timer, Wake

__all__ = ["BackOff", "Client", "Endpoint", "Through", "Watch"]

Through: TypeAlias = Callable[[Request, float], object]
"""Takes a call at a time in seconds."""

BackOff: TypeAlias = Callable[[Request, int], float]
"""The seconds that a call rests after its n-th refusal, n from 1, if it is not told."""

NORMAL = simpy.events.NORMAL
REFUSALS = 1 << 20
"""Where so many refusals in a row let no call pass, none ever would."""


class Endpoint(Protocol):
    """What a client sends its calls to; `sim.endpoints.server.Server` is one."""

    def offer(self, request: Request, t: float) -> Refusal | None:
        """Take a call in, or refuse it."""

    def cancel(self, request: Request, t: float) -> bool:
        """The client gives up a call that was taken in; False if it ends now, and is answered."""

    def crash(self, t: float) -> None:
        """The client's process died, and its calls with it."""

    def attach(self, env: simpy.Environment) -> None:
        """A new incarnation of the client, with a clock of its own."""


class Watch(Protocol):
    """Who is told of what happens to calls on their way; it changes nothing."""

    def sent(self, request: Request, t: float) -> None:
        """A call goes out, for the first time or again."""

    def accepted(self, request: Request, t: float) -> None:
        """The endpoint took in the call that was sent."""

    def turned_away(self, request: Request, t: float) -> None:
        """The endpoint refused the call that was sent; the client hears of it later."""

    def refused(self, request: Request, retry_after_s: float | None, t: float) -> None:
        """The client hears that a call was refused."""

    def lost(self, request: Request, t: float) -> None:
        """The endpoint lost a call that ran; it is tried again."""


class _Turn(Wake):
    """A call that hears of its refusal, or comes back after one: an event that is used again.

    Attributes:
        request: the call.
        retry_after_s: what it was told.
    """

    request: Request
    retry_after_s: float | None


_Callbacks: TypeAlias = list[Callable[[Any], None]]


class Client:
    """Sends calls to one endpoint until each has its answer.

    Without a throttle a call goes out as soon as it starts, and after a refusal comes back when it
    was told to. With one, calls go out first come first served, as `Throttle` lets them; one that
    was refused goes to the end of the line.

    For its driver a call begins at `enter` and ends at `finish` or `timed_out`. What lies between
    is no step of the run, and spends no attempt.

    Args:
        plan: of the endpoint.
        env: the clock.
        serve: makes the endpoint, given what takes a call that was answered, and one that it lost.
        finish: the call has its answer; the driver knows if that is an error (`Request.fails`).
        throttle: None if each call looks after itself.
        timed_out: the call had no answer within its `timeout_s`; None if no call has a bound.
        back_off: for a refusal that does not say when to come back; a throttle needs none.
        watch: is told of each sending, refusal and loss.

    Attributes:
        enter: takes a call that starts.
        endpoint: what `serve` made.
        accepted, refused: how many sendings the endpoint took in, and how many it refused.
    """

    def __init__(
        self,
        plan: EndpointPlan,
        env: simpy.Environment,
        serve: Callable[[Through, Through], Endpoint],
        finish: Through,
        *,
        throttle: Throttle | None = None,
        timed_out: Through | None = None,
        back_off: BackOff | None = None,
        watch: Watch | None = None,
    ) -> None:
        # Who is refused because the line is full hears nothing in any case.
        silent = plan.refusal.retry_after == "none" or plan.queue is not None
        if silent and throttle is None and back_off is None:
            raise ValueError("a refusal that says nothing needs a throttle or a back-off")
        self.accepted = self.refused = 0
        self._accepted_before = -1
        self._name, self._latency_s = plan.name, plan.refusal.latency_s
        self._finish, self._timed_out = finish, timed_out
        self._throttle, self._back_off, self._watch = throttle, back_off, watch
        self._line: deque[Request] = deque()
        # Calls that were refused, and are not yet told or, without a throttle, sent again.
        self._away: OrderedDict[Request, None] = OrderedDict()
        self._paused_by = ""
        self._deadlines = None if timed_out is None else Deadlines(env, self._give_up)
        # The commonest client, without the work for more: each call looks after itself.
        self._alone = throttle is None and timed_out is None and watch is None
        self.endpoint = serve(finish if self._alone else self.served, self.lost)
        self._offer = self.endpoint.offer
        self._send_again: Through = self._send_alone if self._alone else self._send
        self.enter = self._send_again if throttle is None else self._join
        self._on_back: _Callbacks = [self._back]
        self._on_learnt: _Callbacks = [self._learnt]
        self._on_late: _Callbacks = [self._late]
        self._begin(env)

    def _begin(self, env: simpy.Environment) -> None:
        self._env = env
        self._spare: list[_Turn] = []
        self._timer = Timer(env, self._go)

    def attach(self, env: simpy.Environment) -> None:
        """A new incarnation begins, with a clock of its own and no calls."""
        self._begin(env)
        if self._deadlines is not None:
            self._deadlines.attach(env)
        self.endpoint.attach(env)

    def crash(self, t: float) -> None:
        """The process died at time t: its calls are gone, and what its throttle had learnt."""
        self._line.clear()
        self._away.clear()
        if self._throttle is not None:
            self._throttle.begin(t)
        self.endpoint.crash(t)

    @property
    def waiting(self) -> int:
        """How many calls wait for the throttle."""
        return len(self._line)

    @property
    def waits_for_limit(self) -> bool:
        """True if the call at the head of the line waits for one that is out, and for no pause."""
        throttle = self._throttle
        return throttle is not None and throttle.out >= throttle.limit

    def waits_for(self, t: float) -> str | None:
        """What the call that has waited longest to be sent waits for at time t.

        Returns:
            What refused it, as `Refusal.by`, or brought about the pause that it is in; ``""`` if
            other calls have to end first; None if no call waits.
        """
        for request in self._away:
            return request.refused_by
        if not self._line:
            return None
        assert self._throttle is not None
        return self._paused_by if t < self._throttle.next_s else ""

    # A call on its way

    def _join(self, request: Request, t: float) -> None:
        """A call gets in line at time t."""
        self._line.append(request)
        self._go(t)

    def _go(self, t: float) -> None:
        """Send what may go out of the line."""
        throttle, line = self._throttle, self._line
        assert throttle is not None
        while line:
            if throttle.may_go(t):
                request = line.popleft()
                request.went_at = throttle.went()
                self._send(request, t)
            else:
                if t < throttle.next_s:
                    self._timer.at(throttle.next_s)
                return

    def _send_alone(self, request: Request, t: float) -> None:
        """`_send` of a call that looks after itself, and that nobody watches."""
        request.sent_s = t
        refusal = self._offer(request, t)
        if refusal is None:
            self.accepted += 1
            return
        self._count_refusal(request, refusal, t)
        rest_s = refusal.retry_after_s
        if rest_s is None:
            rest_s = self._rest_s(request, None)
        self._schedule(request, self._on_back, self._latency_s + rest_s)

    def _send(self, request: Request, t: float) -> None:
        request.sent_s = t
        if self._watch is not None:
            self._watch.sent(request, t)
        refusal = self._offer(request, t)
        if refusal is None:
            self.accepted += 1
            if self._watch is not None:
                self._watch.accepted(request, t)
            if self._deadlines is not None:
                self._deadlines.start(request, t)
            return
        self._count_refusal(request, refusal, t)
        self._refused(request, refusal.retry_after_s, t)

    def _count_refusal(self, request: Request, refusal: Refusal, t: float) -> None:
        self.refused += 1
        request.refusals += 1
        if isnan(request.first_sent_s):
            request.first_sent_s = t
        if not self.refused % REFUSALS:
            self._check_progress()
        request.refused_by = refusal.by
        if self._throttle is None or self._latency_s:
            self._away[request] = None

    def _refused(self, request: Request, after_s: float | None, t: float) -> None:
        """A call is refused at time t, and others than itself want to know."""
        latency_s = self._latency_s
        if latency_s and self._watch is not None:
            self._watch.turned_away(request, t)
        if self._deadlines is not None and request.timeout_s < latency_s:
            self._schedule(request, self._on_late, request.timeout_s)
        elif self._throttle is not None:
            if latency_s:
                self._schedule(request, self._on_learnt, latency_s, after_s)
            else:
                self._learn(request, after_s, t)
        else:
            if self._watch is not None:
                self._schedule(request, self._on_learnt, latency_s, after_s)
            self._schedule(request, self._on_back, latency_s + self._rest_s(request, after_s))

    def _check_progress(self) -> None:
        """Raise an error if no call has passed since the last look."""
        if self.accepted == self._accepted_before:
            raise SpecError(
                f"endpoints.{self._name}: it refused {REFUSALS:,} calls in a row and would for "
                "ever; let clients wait longer, or fewer calls be out at once"
            )
        self._accepted_before = self.accepted

    def _rest_s(self, request: Request, retry_after_s: float | None) -> float:
        if retry_after_s is not None:
            return retry_after_s
        assert self._back_off is not None
        return self._back_off(request, request.refusals)

    def _schedule(
        self,
        request: Request,
        callbacks: _Callbacks,
        delay: float,
        retry_after_s: float | None = None,
    ) -> None:
        spare = self._spare
        turn = spare.pop() if spare else _Turn(self._env)
        turn.request = request
        turn.retry_after_s = retry_after_s
        turn.callbacks = callbacks
        self._env.schedule(turn, NORMAL, delay)

    def _back(self, turn: _Turn) -> None:
        self._spare.append(turn)
        del self._away[turn.request]
        self._send_again(turn.request, self._env.now)

    def _learnt(self, turn: _Turn) -> None:
        self._spare.append(turn)
        t = self._env.now
        self._learn(turn.request, turn.retry_after_s, t)
        if self._throttle is not None:
            self._go(t)

    def _learn(self, request: Request, retry_after_s: float | None, t: float) -> None:
        """The client learns of a refusal; who calls it lets the line go on."""
        if self._throttle is not None:
            self._throttle.refused(t, request.went_at, retry_after_s)
            self._paused_by = request.refused_by
            if self._latency_s:
                del self._away[request]
            self._line.append(request)
        if self._watch is not None:
            self._watch.refused(request, retry_after_s, t)

    # What comes back

    def served(self, request: Request, t: float) -> None:
        """The endpoint answered a call."""
        if self._deadlines is not None:
            self._deadlines.stop(request)
        throttle = self._throttle
        if throttle is None:
            self._finish(request, t)
            return
        if request.fails:
            throttle.left()
        else:
            throttle.succeeded(t)
        # What follows from this answer is in the line, at its end, before the line moves.
        self._finish(request, t)
        self._go(t)

    def lost(self, request: Request, t: float) -> None:
        """The endpoint lost a call that it had taken in; it starts again, as the same attempt."""
        if self._watch is not None:
            self._watch.lost(request, t)
        if self._deadlines is not None:
            self._deadlines.stop(request)
        if self._throttle is not None:
            self._throttle.left()
        self.enter(request, t)

    def _give_up(self, request: Request, t: float) -> None:
        """A call that was taken in has no answer in time, unless it comes at this very moment."""
        if self.endpoint.cancel(request, t):
            self._end_late(request, t)

    def _late(self, turn: _Turn) -> None:
        """A refusal that takes longer than the call may: nobody hears of it."""
        self._spare.append(turn)
        del self._away[turn.request]
        self._end_late(turn.request, self._env.now)

    def _end_late(self, request: Request, t: float) -> None:
        assert self._timed_out is not None
        if self._throttle is None:
            self._timed_out(request, t)
        else:
            self._throttle.left()
            self._timed_out(request, t)
            self._go(t)
