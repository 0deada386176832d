"""A model endpoint: it takes calls in or refuses them, and serves those that it took in.

A call that is accepted waits in line for a place among `max_in_flight`, for room in memory, and for
a server that is cold; then its prompt is read (`sim.endpoints.prefill`), and its answer comes at a
speed that all who decode share (`sim.endpoints.sharing`). The line is first come first served: a
call whose reservation does not fit holds those behind it.

At one instant, what leaves makes room first; then the line moves; then what comes is looked at.
"""

from __future__ import annotations

import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias

import simpy

from sim.endpoints.conservation import ServerCounts
from sim.endpoints.gate import Gate
from sim.endpoints.memory import Memory
from sim.endpoints.plan import EndpointPlan
from sim.endpoints.prefill import PrefillLine
from sim.endpoints.provider_limits import ProviderLimits
from sim.endpoints.request import Refusal, Request
from sim.endpoints.sharing import Sharing
from sim.endpoints.timer import SAME_S, Timer
from sim.endpoints.warmth import Warmth
from sim.endpoints.weather import Weather

__all__ = ["Handler", "Server"]

Handler: TypeAlias = Callable[[Request, float], object]
"""Gets a request, and the time in seconds."""

Offer: TypeAlias = Callable[[Request, float], Refusal | None]
"""Gets a call that comes, and the time in seconds; None if it is taken in."""


class Server:
    """One endpoint, through all incarnations of its client.

    Args:
        plan: what it is.
        env: the clock.
        on_served: gets a call that ended; others may be offered before it returns. It is never
            called while `offer` or `cancel` runs.
        on_lost: gets a call that an outage took.
        on_serving: gets a call that left the line.
        on_decoding: gets a call whose answer begins.

    Attributes:
        in_flight: calls that are served.
        line: calls that wait to be served; the first to come is the first to go.
        offer: a call comes; a SpecError if it reserves more memory than there is.
    """

    def __init__(
        self,
        plan: EndpointPlan,
        env: simpy.Environment,
        on_served: Handler,
        on_lost: Handler,
        *,
        on_serving: Handler | None = None,
        on_decoding: Handler | None = None,
    ) -> None:
        self.plan = plan
        self._on_served, self._on_lost = on_served, on_lost
        self._on_serving, self._on_decoding = on_serving, on_decoding
        self._sharing = Sharing(env, plan.speed, self._ended, self._ended_alone)
        self._prefill: PrefillLine | None = None
        if plan.prefill_tokens_per_s is not None:
            stalled = self._sharing if plan.prefill_stalls_decode else None
            self._prefill = PrefillLine(env, plan.prefill_tokens_per_s, self._decode, stalled)
        self._warmth: Warmth | None = None
        if plan.cold_start is not None:
            self._warmth = Warmth(plan.cold_start, env, self._warm)
        self._weather: Weather | None = None
        if plan.pauses or plan.outages:
            self._weather = Weather(
                env,
                plan.pauses,
                plan.outages,
                stall=self._stall,
                go_on=self._go_on,
                fail=self._fail,
            )
        self.limits: ProviderLimits | None = None
        if plan.limits:
            self.limits = ProviderLimits(plan.limits, charged=plan.refusal.charged, name=plan.name)
        self._most = plan.max_in_flight or sys.maxsize
        # Calls that are served and that wait, at most.
        self._room = None if plan.queue is None else self._most + plan.queue
        self._gate: Gate | None = None
        if plan.queue is not None or self._weather is not None or self.limits is not None:
            self._gate = Gate(plan, self._weather, self.limits)
        self._memory: Memory | None = None
        if plan.kv_tokens is not None:
            self._memory = Memory(plan.name, plan.kv_tokens)
        self._counts_tokens = self._memory is not None or any(
            limit.counts == "tokens" for limit in plan.limits
        )
        # There is more to wait for than a place.
        self._holds = self._memory is not None or self._warmth is not None
        # What is served decodes, and there is nothing else to do.
        self._straight = not (
            self._holds
            or self._prefill is not None
            or self._weather is not None
            or on_serving is not None
            or on_decoding is not None
        )
        # What is not asked for is not on the way of a call.
        simple = self._straight and self._gate is None
        self.offer: Offer = self._take_straight if simple else self._offer
        self.line: OrderedDict[Request, None] = OrderedDict()
        # Calls that left their place, and whose client is not told yet; True if they ended.
        self._leaving: deque[tuple[Request, bool]] = deque()
        self.in_flight = self._most_in_flight = 0
        self._inside = 0
        # The integral of `_inside` over time, up to `_at_s`.
        self._call_s = self._at_s = self._sojourn_s = 0.0
        self._tokens_in = self._tokens_out = 0.0
        self._accepts = self._ends = self._losses = self._cancels = self._crashes = 0
        self._later = Timer(env, self._notify)

    def attach(self, env: simpy.Environment) -> None:
        """A new incarnation of the client begins, with a clock of its own and without calls."""
        if self._inside:
            raise AssertionError(
                f"endpoint {self.plan.name!r}: {self._inside} calls of a clock that is gone"
            )
        self._sharing.attach(env)
        if self._prefill is not None:
            self._prefill.attach(env)
        self._later = Timer(env, self._notify)
        if self._weather is not None:
            self._weather.attach(env)
            self._weather.catch_up(env.now)
        if self._warmth is not None:
            self._warmth.attach(env)
        self._look_out()

    # What comes

    def _offer(self, request: Request, t: float) -> Refusal | None:
        """`offer` of a server with a gate, or with more to do than to decode."""
        if self._sharing.due_s <= t + SAME_S:
            self._free(t)
        if self._gate is not None:
            if self._weather is not None and self._weather.next_s <= t:
                self._weather.catch_up(t)
            full = self._room is not None and self._is_full(self._room)
            refusal = self._gate.refusal(request, t, full=full)
            if refusal is not None:
                return refusal
        if self._straight:
            self._take_straight(request, t)
        else:
            self._take_in(request, t)
        return None

    def _take_in(self, request: Request, t: float) -> None:
        """A call that comes at time t is accepted."""
        inside = self._inside
        self._inside = inside + 1
        self._accepts += 1
        if inside:
            self._call_s += inside * (t - self._at_s)
            self._at_s = t
        else:
            self._at_s = t
            self._begin(t)
        request.accepted_s = t
        if self._counts_tokens:
            self._tokens_in += request.held_tokens
        if (
            self.line
            or self.in_flight >= self._most
            or (self._holds and self.waits_for(request) is not None)
        ):
            self.line[request] = None
        else:
            self._serve(request, t)

    def _take_straight(self, request: Request, t: float) -> None:
        """`_take_in` where a call that finds a place decodes: this is the hot path."""
        sharing = self._sharing
        if sharing.due_s <= t + SAME_S:
            self._free(t)
        inside = self._inside
        self._inside = inside + 1
        self._accepts += 1
        if t > self._at_s:
            self._call_s += inside * (t - self._at_s)
            self._at_s = t
        request.accepted_s = t
        if self._counts_tokens:
            self._tokens_in += request.prompt_tokens + request.reserved_tokens
        in_flight = self.in_flight
        if in_flight < self._most:
            self.in_flight = in_flight = in_flight + 1
            if in_flight > self._most_in_flight:
                self._most_in_flight = in_flight
            request.served_s = request.decoding_s = t
            sharing.add(request, t)
        else:
            self.line[request] = None

    def waits_for(self, request: Request) -> Literal["warmth", "place", "memory"] | None:
        """What a call at the head of the line has to wait for; None if it can be served."""
        if self.in_flight >= self._most:
            return "place"
        if self._warmth is not None and not self._warmth.warm:
            return "warmth"
        if self._memory is not None and not self._memory.fits(request):
            return "memory"
        return None

    @property
    def waiting(self) -> int:
        """Calls in line."""
        return len(self.line)

    def _is_full(self, room: int) -> bool:
        """All places are taken, and all in line; who waits for memory alone is not refused."""
        cold = self._warmth is not None and not self._warmth.warm
        return (self.in_flight >= self._most or cold) and (self.in_flight + len(self.line) >= room)

    def _begin(self, t: float) -> None:
        """A call came to a server that had none."""
        if self._warmth is not None:
            self._warmth.called(t)
        if self._weather is not None:
            self._weather.watch()

    # What is served

    def _admit(self, t: float) -> None:
        """Serve from the line, while its head can be served."""
        line = self.line
        while line and self.in_flight < self._most:
            if self._holds and self.waits_for(next(iter(line))) is not None:
                return
            request, _ = line.popitem(last=False)
            self._serve(request, t)

    def _serve(self, request: Request, t: float) -> None:
        self.in_flight = in_flight = self.in_flight + 1
        if in_flight > self._most_in_flight:
            self._most_in_flight = in_flight
        request.served_s = t
        if self._straight:
            request.decoding_s = t
            self._sharing.add(request, t)
            return
        if self._memory is not None:
            self._memory.take(request)
        if self._on_serving is not None:
            self._on_serving(request, t)
        if self._prefill is None:
            self._decode(request, t)
            return
        self._prefill.add(request, t)

    def _decode(self, request: Request, t: float) -> None:
        request.decoding_s = t
        if self._on_decoding is not None:
            self._on_decoding(request, t)
        self._sharing.add(request, t)

    # What leaves

    def _ended(self, requests: list[Request], t: float) -> None:
        """Calls end: all leave their places, then the line moves, then their client is told."""
        for request in requests:
            self._release(request, t)
        self._admit(t)
        # The client may crash while it hears of them.
        self._leaving.extend((request, True) for request in requests)
        self._notify(t)

    def _ended_alone(self, request: Request, t: float) -> None:
        """A call ends, and no other with it."""
        if self._leaving:
            self._ended([request], t)
            return
        if self._counts_tokens:
            self._release(request, t)
            self._tokens_out += request.prompt_tokens + request.reserved_tokens
        else:
            self.in_flight -= 1
        if self.line:
            self._admit(t)
        # As `_left`, without a call: this is the hot path.
        inside = self._inside
        self._call_s += inside * (t - self._at_s)
        self._at_s = t
        self._sojourn_s += t - request.accepted_s
        self._inside = inside = inside - 1
        if not inside:
            self._emptied(t)
        self._ends += 1
        self._on_served(request, t)

    def _free(self, t: float) -> None:
        """Make room by the calls that end now, and tell their client later in this instant."""
        due_s = self._sharing.due_s
        requests = self._sharing.free(t)
        for request in requests:
            self._release(request, t)
            self._leaving.append((request, True))
        if requests:
            self._later.at(max(due_s, t))
            self._admit(t)

    def _notify(self, t: float) -> None:
        """Tell the client of calls that left their places."""
        leaving = self._leaving
        while leaving:
            request, ended = leaving.popleft()
            self._left(request, t)
            if ended:
                self._ends += 1
                self._on_served(request, t)
            else:
                self._losses += 1
                self._on_lost(request, t)

    def _release(self, request: Request, t: float) -> None:
        """A call leaves its place."""
        self.in_flight -= 1
        if not self._counts_tokens:
            return
        if self._memory is not None:
            self._memory.give_back(request)
        if self.limits is not None:
            self.limits.ended(request, t)

    def _left(self, request: Request, t: float) -> None:
        """A call leaves the server."""
        self._call_s += self._inside * (t - self._at_s)
        self._at_s = t
        self._sojourn_s += t - request.accepted_s
        if self._counts_tokens:
            self._tokens_out += request.held_tokens
        self._inside -= 1
        if not self._inside:
            self._emptied(t)

    def _emptied(self, t: float) -> None:
        """The last call left the server."""
        if self._warmth is not None:
            self._warmth.left(t)
        self._look_out()

    def _look_out(self) -> None:
        """Watch the weather if it could meet anything here."""
        if self._weather is None:
            return
        if self._inside or (self._warmth is not None and self._warmth.becoming):
            self._weather.watch()
        else:
            self._weather.look_away()

    def _members(self) -> list[Request]:
        """The calls that have a place, or one in line, in the order in which they came."""
        read = [] if self._prefill is None else self._prefill.members()
        return [*self._sharing.members(), *read, *self.line]

    def cancel(self, request: Request, t: float) -> bool:
        """The client gives a call up at time t.

        Returns:
            False if the call is not here any more, or ends at this very instant: then its end
            counts, and `on_served` gets it.
        """
        if self._weather is not None:
            self._weather.catch_up(t)
        if self._sharing.due_s <= t + SAME_S:
            self._free(t)
        if not self._take_out(request, t):
            return False
        self._cancels += 1
        self._left(request, t)
        self._admit(t)
        return True

    def _take_out(self, request: Request, t: float) -> bool:
        """A call leaves its place, or the line; False if it has neither."""
        prefill = self._prefill
        if self._sharing.remove(request, t) or (prefill and prefill.remove(request, t)):
            self._release(request, t)
        elif request not in self.line:
            return False
        else:
            del self.line[request]
            if self.limits is not None:
                self.limits.ended(request, t)
        return True

    def crash(self, t: float) -> None:
        """The client's process died at time t: its calls are gone; limits and warmth stay."""
        self.leave([*self._members(), *(request for request, _ in self._leaving)], t)

    def leave(self, requests: Iterable[Request], t: float) -> None:
        """One of several clients is gone at time t, with all of its calls; the others go on."""
        gone = dict.fromkeys(requests)
        # They are gone before anything else happens: none moves up, or ends, at this very moment.
        for request in gone:
            self._take_out(request, t)
            self._crashes += 1
            self._left(request, t)
        for item in [item for item in self._leaving if item[0] in gone]:
            self._leaving.remove(item)
        self._admit(t)

    # Weather

    def _stall(self, t: float) -> None:
        self._free(t)
        if self._prefill is not None:
            self._prefill.stall(t)
        if self._warmth is not None:
            self._warmth.stall(t)
        self._sharing.stall(t)

    def _go_on(self, t: float) -> None:
        self._sharing.go_on(t)
        if self._warmth is not None:
            self._warmth.go_on(t)
        if self._prefill is not None:
            self._prefill.go_on(t)

    def _fail(self, t: float) -> None:
        """What is here is lost; what ends at this very instant has ended."""
        self._free(t)
        lost = self._members()
        for request in lost:
            self._take_out(request, t)
        self._leaving.extend((request, False) for request in lost)
        if lost:
            self._later.at(t)

    def _warm(self, t: float) -> None:
        self._admit(t)
        self._look_out()

    # What comes out even

    def counts(self, t: float) -> ServerCounts:
        """The server's counts up to time t; `check` holds them to each other."""
        refused = {} if self._gate is None else self._gate.refused
        inside = [*self._members(), *(request for request, _ in self._leaving)]
        return ServerCounts(
            accepted=self._accepts,
            ended=self._ends,
            lost=self._losses,
            cancelled=self._cancels,
            crashed=self._crashes,
            inside=self._inside,
            refused_by_limits=refused.get("limits", 0),
            refused_by_queue=refused.get("queue", 0),
            refused_by_outage=refused.get("outage", 0),
            call_s=self._call_s + self._inside * (t - self._at_s),
            sojourn_s=self._sojourn_s,
            inside_s=sum(t - request.accepted_s for request in inside),
            most_in_flight=self._most_in_flight,
            max_in_flight=self.plan.max_in_flight,
            most_kv_tokens=0.0 if self._memory is None else self._memory.most,
            kv_tokens=self.plan.kv_tokens,
            tokens_in=self._tokens_in,
            tokens_out=self._tokens_out,
            tokens_inside=sum(request.held_tokens for request in inside) * self._counts_tokens,
        )
