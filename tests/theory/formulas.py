"""Closed forms and recursions of queueing theory, worked out apart from the simulator.

Each function gives the exact mean of a figure of a *finite* run that begins empty, as the simulator
makes it, or the steady state where its name says so. Nothing here knows of `sim`. Where
``../shared/theory/cases.json`` has the same number, a test holds the two to each other.

Citations:

- Erlang C, Pollaczek and Khinchine: Kleinrock, Queueing Systems I, 1975, sections 3.5 and 5.6.
- Spitzer's identity: Asmussen, Applied Probability and Queues, 2003, section VIII.4.
- Mean value analysis: Reiser and Lavenberg, Journal of the ACM 27 (1980), 313-322.
- List scheduling: Graham, SIAM Journal on Applied Mathematics 17 (1969), 416-429.
- Restarts and checkpoints: Young, Communications of the ACM 17 (1974), 530-531; Daly, Future
  Generation Computer Systems 22 (2006), 303-312.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from scipy import special

__all__ = [
    "MANY",
    "Station",
    "all_at_once_s",
    "checkpointed_s",
    "closed_s",
    "critical_path_s",
    "daly_s",
    "fresh_rows_s",
    "graham_bounds_s",
    "md1_wait_s",
    "mg1_steady_wait_s",
    "mgamma1_wait_s",
    "mmk_steady_wait_s",
    "mmk_wait_s",
    "mva_rows_per_s",
    "segment_s",
    "young_s",
]

MANY = 1 << 30
"""As many servers as there may be customers."""


# One line of customers


def mmk_wait_s(arrival_s: float, service_s: float, servers: int, customers: int) -> float:
    """The mean wait of the first customers of an M/M/k queue that begins empty.

    What the next customer meets is what this one met and made, less those who left meanwhile: in a
    race of the next arrival against as many services as there are customers at servers.
    """
    meets, total = [1.0], 0.0
    for _ in range(customers):
        waits = (
            chance * (met - servers + 1) * service_s / servers
            for met, chance in enumerate(meets)
            if met >= servers
        )
        total += sum(waits)
        after, coming = [0.0] * (len(meets) + 1), 0.0
        for here in range(len(meets), -1, -1):
            coming += meets[here - 1] if here else 0.0
            served = min(here, servers) / service_s
            stays = (1 / arrival_s) / (1 / arrival_s + served)
            after[here] = coming * stays
            coming *= 1 - stays
        while len(after) > 1 and after[-1] < 1e-18:
            after.pop()
        meets = after
    return total / customers


def mmk_steady_wait_s(arrival_s: float, service_s: float, servers: int) -> float:
    """The mean wait in a steady M/M/k queue: Erlang's formula C."""
    load = service_s / arrival_s
    terms = [load**n / math.factorial(n) for n in range(servers)]
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    return last / (sum(terms) + last) * service_s / (servers - load)


def md1_wait_s(arrival_s: float, service_s: float, customers: int) -> float:
    """The mean wait of the first customers of an M/D/1 queue that begins empty (Spitzer)."""

    def excess_s(n: int) -> float:
        # Of n services over n gaps, which are Erlang: E max(0, c - A).
        all_s = n * service_s
        in_time, one_more = special.gammainc([n, n + 1], all_s / arrival_s)
        return float(all_s * in_time - n * arrival_s * one_more)

    return _spitzer_s(excess_s, customers)


def mgamma1_wait_s(arrival_s: float, service_s: float, shape: float, customers: int) -> float:
    """The mean wait of the first customers of an M/G/1 queue with gamma services (Spitzer)."""
    scale_s = service_s / shape
    share = arrival_s / (arrival_s + scale_s)

    def excess_s(n: int) -> float:
        # Sums of gammas are gammas, and E[G; G > A] is E[G] times a chance of a gamma of one more.
        more_work = float(special.betaincc(n * shape + 1, n, share))
        more_gaps = float(special.betaincc(n * shape, n + 1, share))
        return n * service_s * more_work - n * arrival_s * more_gaps

    return _spitzer_s(excess_s, customers)


def _spitzer_s(excess_s: Callable[[int], float], customers: int) -> float:
    """The mean wait of the first customers; the wait of customer n is a sum over n - 1 walks."""
    wait_s = total = 0.0
    for n in range(1, customers):
        wait_s += excess_s(n) / n
        total += wait_s
    return total / customers


def mg1_steady_wait_s(arrival_s: float, service_s: float, squared_cv: float) -> float:
    """The mean wait in a steady M/G/1 queue (Pollaczek and Khinchine)."""
    load = service_s / arrival_s
    return load / (1 - load) * service_s * (1 + squared_cv) / 2


def all_at_once_s(calls: int, places: int, service_s: float) -> float:
    """The mean time in which exponential calls, all there from the start, are through.

    While calls wait, one ends every service / places; the last ones race each other.
    """
    races = sum(1 / n for n in range(1, places + 1))
    return ((calls - places) / places + races) * service_s


# Two stations


class Station(NamedTuple):
    """Servers in parallel, each of which serves one customer in an exponential time."""

    service_s: float
    servers: int = 1

    def rate(self, here: int) -> float:
        """Customers a second with so many here."""
        return min(here, self.servers) / self.service_s


def closed_s(first: Station, second: Station, rows: int, admitted: int) -> float:
    """The mean makespan of rows through two stations, so many under way at once.

    All of `rows` admitted is a tandem that begins with all of them at the first station.
    """
    admitted = min(admitted, rows)
    left: dict[tuple[int, int], float] = {(0, 0): 0.0}

    def solved(one: int, other: int, after_first: float, after_second: float) -> float:
        rates = first.rate(one), second.rate(other)
        both = rates[0] + rates[1]
        return (1 + rates[0] * after_first + rates[1] * after_second) / both

    for here in range(1, admitted + 1):
        for one in range(here + 1):
            other = here - one
            left[one, other] = solved(
                one,
                other,
                left[one - 1, other + 1] if one else 0.0,
                left[one, other - 1] if other else 0.0,
            )
    full = [left[one, admitted - one] for one in range(admitted + 1)]
    for _ in range(rows - admitted):
        fuller: list[float] = []
        for one in range(admitted + 1):
            fuller.append(
                solved(
                    one,
                    admitted - one,
                    fuller[one - 1] if one else 0.0,
                    full[one + 1] if one < admitted else 0.0,
                )
            )
        full = fuller
    return full[admitted]


def mva_rows_per_s(stations: Sequence[Station], customers: int) -> float:
    """The throughput of a steady closed network: mean value analysis with several servers."""
    holds = [[1.0] for _ in stations]
    rows_per_s = 0.0
    for n in range(1, customers + 1):
        passes = [
            sum(
                j * station.service_s / min(j, station.servers) * chances[j - 1]
                for j in range(1, n + 1)
            )
            for station, chances in zip(stations, holds, strict=True)
        ]
        rows_per_s = n / sum(passes)
        for place, station in enumerate(stations):
            chances = holds[place]
            more = [
                rows_per_s * station.service_s / min(j, station.servers) * chances[j - 1]
                for j in range(1, n + 1)
            ]
            holds[place] = [1 - sum(more), *more]
    return rows_per_s


# Schedules of tasks


def critical_path_s(seconds: Mapping[str, float], needs: Mapping[str, Iterable[str]]) -> float:
    """The longest chain of tasks, each of which begins when those that it needs have ended.

    Args:
        seconds: of each task, each after those that it needs.
        needs: of each task.
    """
    ends: dict[str, float] = {}
    for task, takes_s in seconds.items():
        ends[task] = takes_s + max((ends[need] for need in needs[task]), default=0.0)
    return max(ends.values())


def graham_bounds_s(work_s: float, chain_s: float, workers: int) -> tuple[float, float]:
    """Between what a schedule ends that leaves no worker idle beside a task that could start."""
    return max(chain_s, work_s / workers), work_s / workers + (1 - 1 / workers) * chain_s


# Crashes at exponential distances


def segment_s(work_s: float, between_s: float, restart_s: float, write_s: float = 0.0) -> float:
    """The mean time until a piece of work is done and saved; a crash before that loses it.

    Args:
        work_s: the piece.
        between_s: the mean time to the next crash.
        restart_s: after a crash nothing happens for so long, not even a crash.
        write_s: after the work, of the save; a crash during it keeps the save in one case of two.
    """
    all_s = work_s + write_s
    crashes = -math.expm1(-all_s / between_s)
    kept = (math.exp(-work_s / between_s) - math.exp(-all_s / between_s)) / 2
    return (between_s + restart_s) * crashes / (1 - crashes + kept)


def checkpointed_s(
    rows: int, every: int, row_s: float, between_s: float, restart_s: float, write_s: float = 0.0
) -> float:
    """The mean makespan of rows one after the other, saved every so many rows, and at the end."""
    segments = [every] * (rows // every) + ([rows % every] if rows % every else [])
    return sum(segment_s(n * row_s, between_s, restart_s, write_s) for n in segments)


def fresh_rows_s(rows: int, row_s: float, between_s: float, restart_s: float) -> float:
    """The mean makespan of exponential rows, saved one by one, drawn anew after each crash.

    A row that begins anew is as far as one that went on: only restarts cost.
    """
    return rows * (row_s + restart_s * row_s / between_s)


def young_s(write_s: float, between_s: float) -> float:
    """Young's best work between two saves."""
    return math.sqrt(2 * write_s * between_s)


def daly_s(write_s: float, between_s: float) -> float:
    """Daly's best work between two saves, of higher order."""
    if write_s >= 2 * between_s:
        return between_s
    ratio = write_s / (2 * between_s)
    return young_s(write_s, between_s) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - write_s
