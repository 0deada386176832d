"""Simulated endpoints that are wrong in one part, judged by the traces that they write.

Each run is a random scenario with an endpoint (`tests.check.endpoint_runs`). The simulator's own
checks are off: what is measured is what a trace alone shows.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from cellspec.check.checker import check_file
from sim.endpoints.client import Client
from sim.endpoints.conservation import ServerCounts
from sim.endpoints.memory import Memory
from sim.endpoints.plan import EndpointPlan, SpeedTable
from sim.endpoints.provider_limits import ProviderLimits
from sim.endpoints.request import Request
from sim.endpoints.server import Server
from sim.endpoints.sharing import Sharing
from sim.endpoints.throttle import Throttle
from sim.simulator.endpoint_counts import EndpointCounts
from sim.simulator.request_events import RequestEvents
from tests.check.endpoint_runs import draw
from tests.matrix.engine_measure import EngineRow
from tests.recompute.runner import run

RUNS_AT_ENDPOINTS = 100


@dataclass(frozen=True)
class EndpointMutant:
    """One part of the simulator replaced."""

    name: str
    wrong: str
    place: str
    part: Any


ENDPOINT_MUTANTS: list[EndpointMutant] = []


def mutant(wrong: str, place: str) -> Callable[[Any], Any]:
    """Register what stands at a place, named from its module on, for the length of a run."""

    def register(part: Any) -> Any:
        words = "".join(f" {c.lower()}" if c.isupper() else c for c in part.__name__)
        name = words.replace("_", " ").strip()
        ENDPOINT_MUTANTS.append(EndpointMutant(name, wrong, place, part))
        return part

    return register


_SERVER = "sim.endpoints.server"
_CLIENT = "sim.endpoints.client"
_REST_S: Any = vars(Client)["_rest_s"]


@mutant(
    "the call that is to be served next is counted as if it waited", "sim.simulator.routes.Server"
)
def serves_one_more(plan: EndpointPlan, *arguments: Any, **named: Any) -> Server:
    most = plan.max_in_flight
    # Of a server that refuses, the line would be too long as well.
    if most is not None and plan.queue is None:
        plan = replace(plan, max_in_flight=most + 1)
    return Server(plan, *arguments, **named)


@mutant("one place is left free, for a call that may be urgent", "sim.simulator.routes.Server")
def serves_one_less(plan: EndpointPlan, *arguments: Any, **named: Any) -> Server:
    most = plan.max_in_flight
    # Of a server that refuses, the line would be full too early.
    if most is not None and most > 1 and plan.queue is None:
        plan = replace(plan, max_in_flight=most - 1)
    return Server(plan, *arguments, **named)


@mutant("room is asked for the prompt, and taken for the answer too", f"{_SERVER}.Memory")
class AsksForThePrompt(Memory):
    def fits(self, request: Request) -> bool:
        return super().fits(replace(request, reserved_tokens=0.0))


@mutant("the call that came last is served first", f"{_SERVER}.OrderedDict")
class ServesTheLastFirst(OrderedDict[Request, None]):
    def popitem(self, last: bool = True) -> tuple[Request, None]:  # noqa: ARG002
        return super().popitem(last=True)


@mutant("the line is full when more than `queue` wait", "sim.simulator.routes.Server")
def queues_one_more(plan: EndpointPlan, *arguments: Any, **named: Any) -> Server:
    more = None if plan.queue is None else plan.queue + 1
    return Server(replace(plan, queue=more), *arguments, **named)


@mutant("a call that is cut off spent no time", "sim.simulator.routes.EndpointCounts")
class ForgetsTimeOfCallsCutOff(EndpointCounts):
    def cut_off(self, request: Request, column: int, t: float) -> None:
        if request.served_s < t:
            self.pay(request, column, 0, gives=False)


@mutant("the speed of a call is fixed when it starts", f"{_SERVER}.Sharing")
class FixesTheSpeed(Sharing):
    def __init__(self, env: Any, speed: SpeedTable | None, *others: Any, **named: Any) -> None:
        super().__init__(env, None, *others, **named)
        self.table = speed or SpeedTable(((1, 1.0),))

    def add(self, request: Request, t: float) -> None:
        work = request.work
        request.work *= self.table.unit_s(self.running + 1)
        super().add(request, t)
        request.work = work


@mutant("calls are served one after the other, each as if alone", f"{_SERVER}.Sharing")
class ServesOneAfterTheOther(Sharing):
    def __init__(self, env: Any, speed: SpeedTable | None, *others: Any, **named: Any) -> None:
        super().__init__(env, None, *others, **named)
        self.table, self.free_s = speed or SpeedTable(((1, 1.0),)), 0.0

    def add(self, request: Request, t: float) -> None:
        work = request.work
        self.free_s = max(self.free_s, t) + work * self.table.unit_s(1)
        request.work = self.free_s - t
        super().add(request, t)
        request.work = work


@mutant("a pause holds up answers, and no prompt", f"{_SERVER}.PrefillLine.stall")
def reads_on_in_a_pause(*arguments: Any) -> None:
    del arguments


@mutant("who waited for its Retry-After passes, whatever others took", f"{_SERVER}.ProviderLimits")
class LetsInWhoWaited(ProviderLimits):
    def ask(self, request: Request, t: float) -> float | None:
        wait_s = super().ask(request, t)
        return None if request.refusals else wait_s


@mutant("the buckets are empty at 0", "sim.endpoints.server.ProviderLimits")
class BeginsEmpty(ProviderLimits):
    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        for limit in self._limits:
            limit.take(limit.burst, limit.burst, 0.0)


@mutant(
    "what a lost or cancelled call reserved does not come back",
    "sim.endpoints.server.ProviderLimits",
)
class GivesNothingBack(ProviderLimits):
    def ended(self, request: Request, t: float) -> None:
        pass


@mutant(
    "a refused call is told when those refused before it have passed",
    "sim.endpoints.server.ProviderLimits",
)
class ReservesTurns(ProviderLimits):
    def __init__(self, limits: Any, **named: Any) -> None:
        super().__init__(limits, **named)
        self.each_s = limits[0].per_s / limits[0].amount
        self.until_s = 0.0

    def ask(self, request: Request, t: float) -> float | None:
        wait_s = super().ask(request, t)
        if wait_s is None:
            return None
        self.until_s = max(self.until_s + self.each_s, t + wait_s)
        return self.until_s - t


@mutant("a refused call comes back after half of its Retry-After", f"{_CLIENT}.Client._rest_s")
def comes_back_early(client: Any, request: Request, retry_after_s: float | None) -> float:
    rest_s: float = _REST_S(client, request, None if retry_after_s is None else retry_after_s / 2)
    return rest_s


@mutant("an outage refuses calls, and takes none", f"{_SERVER}.Server._fail")
def loses_nothing(*arguments: Any) -> None:
    del arguments


@mutant(
    "the throttle's limit is for calls that are sent at one moment", "sim.simulator.routes.Throttle"
)
class AllowsAnyNumber(Throttle):
    def may_go(self, t: float) -> bool:
        return t >= self.next_s


@mutant("each refusal cuts, also those of one burst", "sim.simulator.routes.Throttle")
class CutsAtEachRefusal(Throttle):
    def refused(self, t: float, went_at: int, retry_after_s: float | None) -> None:  # noqa: ARG002
        super().refused(t, self.limit, retry_after_s)


@mutant("successes count during the pause after a refusal", "sim.simulator.routes.Throttle")
class CountsInAPause(Throttle):
    def succeeded(self, t: float) -> None:
        super().succeeded(max(t, self.next_s))


@mutant("calls that are cut off are not charged", "sim.simulator.routes.EndpointCounts")
class ChargesNoLostCalls(EndpointCounts):
    def pay(self, request: Request, column: int, place: int, *, gives: bool) -> None:
        if gives:
            super().pay(request, column, place, gives=gives)


@mutant("the turn of a call that waited is not written down", "sim.simulator.routes.RequestEvents")
class ForgetsTheTurn(RequestEvents):
    def serving(self, request: Request, t: float) -> None:
        if request.accepted_s == t:
            super().serving(request, t)


@contextmanager
def _unchecked() -> Iterator[None]:
    """The simulator's own checks are off."""

    def nothing(*arguments: Any, **named: Any) -> None:
        del arguments, named

    with (
        patch.object(ServerCounts, "check", nothing),
        patch.object(ProviderLimits, "check", nothing),
        patch("sim.endpoints.provider_limits._check_room", nothing),
        patch("sim.simulation.judge_of", nothing),
    ):
        yield


def endpoint_breaks(mutant: EndpointMutant | None, number: int, waive: Collection[str] = ()) -> str:
    """The clause that a run of a mutant breaks; "" if none. None stands for the reference."""
    with TemporaryDirectory() as folder, _unchecked():
        if mutant is None:
            done = run(draw(number), Path(folder))
        else:
            with patch(mutant.place, mutant.part):
                done = run(draw(number), Path(folder))
        if done.code:
            return ""
        result = check_file(Path(folder, "run.jsonl"), waive=waive)
    return result.violations[0].clause if result.violations else ""


def measure_endpoint(mutant: EndpointMutant) -> EngineRow:
    """One mutant, judged, and judged again without the clause that caught it."""

    def first(waive: Collection[str]) -> tuple[str, int]:
        for number in range(1, RUNS_AT_ENDPOINTS + 1):
            clause = endpoint_breaks(mutant, number, waive)
            if clause:
                return clause, number
        return "", 0

    clause, number = first(())
    after = first((clause,))[0] if clause else ""
    return EngineRow(
        mutant.name, mutant.wrong, clause, number, f"then {after}" if after else "survives"
    )
