"""The models of the page of theory: what each is, as a scenario, and the mean that it must have.

A `Model` whose `case` is not empty is a case of ``../shared/theory/cases.json``, and its scenario
is read from there; the mean is worked out by `tests.theory.formulas` again. All others are here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.theory.cases import Case
from tests.theory.formulas import (
    MANY,
    Station,
    all_at_once_s,
    checkpointed_s,
    closed_s,
    fresh_rows_s,
    md1_wait_s,
    mg1_steady_wait_s,
    mgamma1_wait_s,
    mmk_steady_wait_s,
    mmk_wait_s,
    mva_rows_per_s,
    segment_s,
)
from tests.theory.workflows import tasks_as_columns

__all__ = [
    "CHECKPOINTS",
    "GRAHAM",
    "HAIR_S",
    "Model",
    "closed_networks",
    "crashes",
    "lines",
    "saves",
    "tandems",
]

Data = dict[str, Any]

WAIT = "resource.desk.mean_wait_s"
RUNS = 40


@dataclass(frozen=True, slots=True)
class Model:
    """A figure whose mean is known.

    Attributes:
        label: what it is, for the page.
        mean: what theory says, in seconds.
        figure: of a run.
        scenarios: one; or two, and then the figure is that of the second less that of the first,
            for each of so many rows as lie between them.
        runs: how many seeds.
        case: its name in the table of cases.
        margin: in seconds, how far the known mean may be off itself.
        steady: the mean in the steady state, of which a finite run that begins empty has less; 0
            where there is none.
    """

    label: str
    mean: float
    figure: str
    scenarios: tuple[Mapping[str, Any], ...]
    runs: int = RUNS
    case: str = ""
    margin: float = 0.0
    steady: float = 0.0

    @property
    def rows_between(self) -> int:
        """By how many rows a difference is divided; 1 for a figure of one run."""
        if len(self.scenarios) == 1:
            return 1
        less, more = (int(scenario["rows"]) for scenario in self.scenarios)
        return more - less


def of_case(case: Case, label: str, mean: float, figure: str = "", steady: float = 0.0) -> Model:
    """The model of a case, which has one expected figure; a mean of its own has no margin."""
    (expected,) = case.expected
    return Model(
        label,
        mean,
        figure or expected.figure,
        (case.scenario,),
        case.replications,
        case.id,
        expected.rel * expected.value if mean == expected.value else 0.0,
        steady,
    )


def exponential(mean_s: float) -> Data:
    return {"model": "exponential", "mean_s": mean_s}


def cells(name: str, latency: Data, resource: str | None = None, *needs: str) -> Data:
    """A column that is made cell by cell."""
    traits = ["CELL_BY_CELL"] if needs else ["START", "CELL_BY_CELL"]
    found: Data = {"name": name, "traits": traits, "latency": latency}
    if resource is not None:
        found["resource"] = resource
    return {**found, "dependencies": list(needs)} if needs else found


def scenario(rows: int, columns: Sequence[Data], resources: Mapping[str, int], **more: Any) -> Data:
    limits = {"workers": 4096, "resources": dict(resources), **more.pop("limits", {})}
    data = {"name": "theory", "rows": rows, "columns": list(columns), "limits": limits}
    return {**data, "policy": "fifo", **more}


# Waiting lines


def lines(cases: Mapping[str, Case]) -> list[Model]:
    """Customers come one by one to a desk, and wait."""

    def desk(customers: int, gap_s: float, service: Data, servers: int) -> tuple[Data]:
        columns = [cells("serve", service, "desk")]
        return (scenario(customers, columns, {"desk": servers}, arrivals=exponential(gap_s)),)

    def case(name: str, label: str, mean: float, steady: float) -> Model:
        return of_case(cases[name], label, mean, WAIT, steady)

    def of(model: str, gap_s: float, service_s: float, customers: int) -> str:
        return f"{model}: gap {gap_s:.5g} s, m {service_s:g} s, first {customers:,}"

    def mmk(name: str, gap_s: float, service_s: float, servers: int, customers: int) -> Model:
        label = of(f"M/M/{servers}", gap_s, service_s, customers)
        mean = mmk_wait_s(gap_s, service_s, servers, customers)
        steady = mmk_steady_wait_s(gap_s, service_s, servers)
        if name:
            return case(name, label, mean, steady)
        scenarios = desk(customers, gap_s, exponential(service_s), servers)
        return Model(label, mean, WAIT, scenarios, steady=steady)

    lognormal = cases["E2-lognormal"]
    squared_cv = math.e - 1
    gamma: Data = {"model": "gamma", "mean_s": 2.0, "shape": 4.0}
    return [
        mmk("E1-0", 5 / 3, 1, 1, 2000),
        mmk("E1-1", 2 / 3, 1, 2, 3000),
        mmk("", 0.5, 1.6, 4, 1000),
        case(
            "E2-constant",
            of("M/D/1", 2, 1, 2000),
            md1_wait_s(2, 1, 2000),
            mg1_steady_wait_s(2, 1, 0),
        ),
        case(
            "E2-gamma",
            of("M/G/1, gamma of shape 0.5", 2, 1, 2000),
            mgamma1_wait_s(2, 1, 0.5, 2000),
            mg1_steady_wait_s(2, 1, 2),
        ),
        case(
            "E2-lognormal",
            of("M/G/1, lognormal of sigma 1", 2, 1, 2000),
            lognormal.expected[0].value,
            mg1_steady_wait_s(2, 1, squared_cv),
        ),
        Model(
            of("M/G/1, gamma of shape 4", 2.5, 2, 1000),
            mgamma1_wait_s(2.5, 2, 4, 1000),
            WAIT,
            desk(1000, 2.5, gamma, 1),
            steady=mg1_steady_wait_s(2.5, 2, 0.25),
        ),
    ]


# All rows at once


def tandems(cases: Mapping[str, Case]) -> list[Model]:
    """All rows are there from the start."""

    def two(first: Station, second: Station, rows: int) -> tuple[Data]:
        columns = [
            cells("a", exponential(first.service_s), "a"),
            cells("b", exponential(second.service_s), "b", "a"),
        ]
        return (scenario(rows, columns, {"a": first.servers, "b": second.servers}),)

    uneven = Station(0.5), Station(2.0, 3)
    return [
        of_case(cases["E0"], "one station, 16 of 2 s, 200 rows", all_at_once_s(200, 16, 2)),
        of_case(
            cases["E4"],
            "tandem, 2 of 1 s and 4 of 2.5 s, 60 rows",
            closed_s(Station(1, 2), Station(2.5, 4), 60, 60),
        ),
        Model(
            "tandem, 1 of 0.5 s and 3 of 2 s, 300 rows",
            closed_s(*uneven, 300, 300),
            "makespan_s",
            two(*uneven, 300),
        ),
    ]


# Closed networks


def closed_networks(cases: Mapping[str, Case]) -> list[Model]:
    """As many rows are under way as are admitted: the next one begins when one is finished."""

    def network(stations: Sequence[Station], customers: int) -> tuple[Data, Data]:
        columns: list[Data] = []
        for place, station in enumerate(stations):
            alone = station.servers < MANY
            before = () if not columns else (columns[-1]["name"],)
            name = f"station_{place}"
            latency = exponential(station.service_s)
            columns.append(cells(name, latency, name if alone else None, *before))
        resources = {
            f"station_{place}": station.servers
            for place, station in enumerate(stations)
            if station.servers < MANY
        }
        groups = {"row_groups": {"rows": 1, "admitted": customers}}
        less, more = (
            scenario(rows, columns, resources, limits=dict(groups)) for rows in (200, 600)
        )
        return less, more

    def by_mva(label: str, stations: Sequence[Station], customers: int) -> Model:
        rows_per_s = mva_rows_per_s(stations, customers)
        return Model(label, 1 / rows_per_s, "makespan_s", network(stations, customers))

    think, servers = (Station(3, MANY), Station(1)), (Station(1, 2), Station(2.5, 4))
    return [
        of_case(
            cases["A1"], "think 3 s, then 1 of 1 s; 8 admitted, 250 rows", closed_s(*think, 250, 8)
        ),
        of_case(
            cases["E3"],
            "2 of 1 s, then 4 of 2.5 s; 6 admitted, 200 rows",
            closed_s(*servers, 200, 6),
        ),
        by_mva("a row: think 3 s, then 1 of 1 s; 8 admitted", think, 8),
        by_mva("a row: 2 of 1 s, then 4 of 2.5 s; 6 admitted", servers, 6),
        by_mva(
            "a row: think 5 s, 1 of 0.4 s, 3 of 2 s; 10 admitted",
            (Station(5, MANY), Station(0.4), Station(2, 3)),
            10,
        ),
    ]


# Crashes


def one_by_one(rows: int, latency: Data, between_s: float, restart_s: float, **more: Any) -> Data:
    """Rows on one worker, which crashes at exponential distances."""
    crash = {"random": {"mean_s": between_s, "count": 100_000}}
    found = scenario(rows, [cells("call", latency)], {}, limits={"workers": 1})
    return {**found, "crashes": [crash], "restart_delay_s": restart_s, "redo": "same", **more}


def crashes(cases: Mapping[str, Case]) -> list[Model]:
    """A run that crashes again and again, until it is through."""

    def of(rows: str, between_s: float, restart_s: float) -> str:
        return f"{rows}; M {between_s:,g} s, D {restart_s:g} s"

    def saved(name: str, every: int) -> Model:
        rows = f"400 rows of 10 s, saved every {every}, C 30 s"
        return of_case(
            cases[name], of(rows, 1200, 60), checkpointed_s(400, every, 10, 1200, 60, 30)
        )

    row: Data = {"model": "constant", "value_s": 1.0}
    return [
        Model(
            of("60 rows of 1 s, nothing is saved", 50, 3),
            segment_s(60, 50, 3),
            "makespan_s",
            (one_by_one(60, row, 50, 3),),
            120,
        ),
        of_case(
            cases["F0"],
            of("200 rows of 1 s, saved every 10", 40, 2),
            checkpointed_s(200, 10, 1, 40, 2),
        ),
        of_case(
            cases["F3"],
            of("300 exponential rows of 1 s, saved one by one", 5, 0.5),
            fresh_rows_s(300, 1, 5, 0.5),
        ),
        *(saved(f"F1-{every}", every) for every in (20, 25, 80)),
    ]


class Saves:
    """Work of 2,400 s in rows of 5 s, and its crashes and writes."""

    rows, row_s, write_s = 480, 5.0, 20.0
    between_s, restart_s = 900.0, 30.0
    every = (10, 20, 30, 40, 60, 80, 120, 240)
    runs = 80


CHECKPOINTS = Saves()


def saves() -> list[Model]:
    """A run that is saved every so many rows."""
    one = CHECKPOINTS
    row: Data = {"model": "constant", "value_s": one.row_s}
    return [
        Model(
            f"{every}",
            checkpointed_s(one.rows, every, one.row_s, one.between_s, one.restart_s, one.write_s),
            "makespan_s",
            (
                one_by_one(
                    one.rows,
                    row,
                    one.between_s,
                    one.restart_s,
                    checkpoint={"every_rows": every, "write_s": one.write_s, "blocking": True},
                ),
            ),
            one.runs,
        )
        for every in one.every
    ]


# Graham's example

HAIR_S = 0.001


def graham(less_s: int = 0, workers: int = 3, order: str = "", free: Sequence[str] = ()) -> Data:
    """The nine tasks of Graham's figures, on three machines if nothing else is said.

    Task 4 takes `HAIR_S` less than his, so that it ends before what ends with it: who is first
    of two at one moment he does not say.

    Args:
        less_s: each task takes so many seconds less.
        workers: machines.
        order: the list, if another one.
        free: the tasks that do not wait for task 4 any more.
    """
    seconds = dict(zip("123456789", (3, 2, 2, 2, 4, 4, 4, 4, 9), strict=True))
    needs = {"9": ["1"], **{task: ["4"] for task in "5678" if task not in free}}
    listed = {task: float(seconds[task] - less_s) for task in order or seconds}
    listed["4"] -= HAIR_S
    columns = tasks_as_columns(listed, {task: needs.get(task, []) for task in listed})
    data = scenario(1, columns, {}, limits={"workers": workers})
    return {**data, "policy": "column-first"}


GRAHAM: tuple[tuple[str, int, Data], ...] = (
    ("nine tasks on three machines", 12, graham()),
    ("the list in another order: 1, 2, 4, 5, 6, 3, 9, 7, 8", 14, graham(order="124563978")),
    ("four machines", 15, graham(workers=4)),
    ("each task takes a second less", 13, graham(less_s=1)),
    ("tasks 5 and 6 do not wait for task 4 any more", 16, graham(free="56")),
)
"""What is changed, the makespan that Graham has for it in seconds, and the scenario."""
