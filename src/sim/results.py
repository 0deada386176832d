"""The figures of a run, from its counters: plain numbers, each with its unit in its name.

`summarise` turns the counters of a run into a `Result`; `sim.output` shows it as a table, as JSON
or as CSV. A result does not depend on the machine's speed, so that equal runs give equal
bytes. `sim.figures` defines each figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import TYPE_CHECKING

from sim.endpoints.plan import EndpointPlan, SpeedTable
from sim.scenario.remarks import load_notes

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario
    from sim.simulator.endpoint_counts import EndpointOutcome
    from sim.simulator.outcome import Outcome

__all__ = [
    "BillFigures",
    "BindingFigures",
    "CallTimes",
    "ColumnFigures",
    "EndpointFigures",
    "IncarnationFigures",
    "ResourceFigures",
    "Result",
    "RowTime",
    "ratio",
    "summarise",
    "tidy",
]

SATISFIED = "every event satisfied the specification"
NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class ResourceFigures:
    """The figures of one resource; times in seconds.

    Attributes:
        resource: its name; None for the columns without one.
        limit: how many nodes may use it at once; None if that is unlimited.
        cells_done: of the columns that take it, those done again included, barriers left out.
        wait_calls: calls whose waits are looked at.
    """

    resource: str | None
    limit: int | None
    calls: int
    cells_done: int
    busy_s: float
    utilisation: float | None
    mean_in_flight: float | None
    wait_calls: int
    wait_s: float
    mean_wait_s: float | None
    wait_p50_s: float | None
    wait_p95_s: float | None
    wait_p99_s: float | None
    mean_wait_q1_s: float | None
    mean_wait_q2_s: float | None
    mean_wait_q3_s: float | None
    mean_wait_q4_s: float | None


@dataclass(frozen=True, slots=True)
class ColumnFigures:
    """The figures of one column; times in seconds. `cells_done` holds those done again."""

    column: str
    resource: str | None
    barrier: bool
    calls: int
    cells_done: int
    busy_s: float
    busy_s_per_cell: float | None
    call_p50_s: float | None
    call_p95_s: float | None
    call_p99_s: float | None


@dataclass(frozen=True, slots=True)
class IncarnationFigures:
    """One incarnation (one run of the process), from its start or resume to its crash or the end.

    Attributes:
        ended_by: ``"crash"`` or ``"end"``.
        claimed_rows: rows complete when it began.
        cells_lost: complete at its crash and not held by the claim: they are done again.
        in_flight_lost: calls that ran when it crashed.
        busy_lost_s: worker time of both.
    """

    incarnation: int
    start_s: float
    end_s: float
    ended_by: str
    claimed_rows: int
    cells_done: int
    cells_lost: int
    in_flight_lost: int
    busy_lost_s: float


@dataclass(frozen=True, slots=True)
class FailureFigures:
    """The failures, drops and skips of one column.

    Attributes:
        retryable, backpressure, permanent: calls that failed, by kind.
        rows_dropped: rows given up because of the column.
        skipped: cells of other rows that were skipped, by their own condition or because an input
            was.
    """

    column: str
    retryable: int
    backpressure: int
    permanent: int
    rows_dropped: int
    skipped: int


@dataclass(frozen=True, slots=True)
class EndpointFigures:
    """What went on at one endpoint, and at the client before it. Times in seconds.

    Attributes:
        endpoint: the resource that it is behind.
        sent: how often a call was sent, for the first time or again.
        accepted, refused: of these, the endpoint took in, or not.
        lost: calls that it lost.
        mean_in_flight: calls that it had taken in.
        mean_decoding: of these, whose answers came.
        as_much_with: the fewest of them that would have done as much work a second, but 1 %.
        mean_limit: of the client's throttle; None without one.
        cost: money.
    """

    endpoint: str
    sent: int
    accepted: int
    refused: int
    refused_share: float | None
    lost: int
    mean_in_flight: float | None
    mean_decoding: float | None
    as_much_with: int | None
    mean_limit: float | None
    prompt_tokens: float
    output_tokens: float
    cost: float


@dataclass(frozen=True, slots=True)
class CallTimes:
    """Where the time of a column's calls went, behind an endpoint. Times in seconds.

    Attributes:
        line_s: before they were first sent.
        refused_s: from there until they were accepted.
        queue_s: in the endpoint's line.
        prefill_s: until their prompt was read.
        decode_s: until they had their answer.
    """

    column: str
    endpoint: str
    line_s: float
    refused_s: float
    queue_s: float
    prefill_s: float
    decode_s: float


@dataclass(frozen=True, slots=True)
class BillFigures:
    """What the calls of a column came to that were paid for one cause.

    Attributes:
        cause: ``"first"``, ``"done again"`` or ``"lost"``.
        cost: money.
    """

    column: str
    endpoint: str
    cause: str
    calls: int
    prompt_tokens: float
    output_tokens: float
    cost: float


@dataclass(frozen=True, slots=True)
class RowTime:
    """A part of the time that rows took, in seconds a row, and its share of all."""

    part: str
    mean_s: float | None
    share: float | None


@dataclass(frozen=True, slots=True)
class BindingFigures:
    """What held the run up, and for which share of the makespan."""

    binding: str
    share: float | None


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of one run, as `sim.figures` defines them.

    Rates are None for a run without duration, and `first_row_s` for one without delivered rows.

    Attributes:
        crashes_planned: None if they come again and again, to the end of the run.
        notes: lines that a reader must know of the figures.
        cost, by_endpoint, call_times, bill, binding: of a scenario with endpoints, throttles or a
            scheduler that takes time; `cost` is None without these.
    """

    name: str
    scenario_digest: str
    seed: int
    policy: str
    rows: int
    columns: int
    cells: int
    workers: int
    makespan_s: float
    rows_tried: int
    rows_delivered: int
    rows_dropped: int
    cells_made: int
    rows_per_s: float | None
    cells_per_s: float | None
    first_row_s: float | None
    row_age_p50_s: float | None
    row_age_p95_s: float | None
    row_age_p99_s: float | None
    row_age_mean_s: float | None
    window_rows: int
    events: int
    calls: int
    worker_busy_s: float
    busy_lost_s: float
    busy_lost_share: float | None
    worker_utilisation: float | None
    mean_in_flight: float | None
    checkpoints: int
    checkpoint_bytes: int
    crashes_planned: int | None
    crashes: int
    cells_done: int
    cells_done_again: int
    cells_done_again_share: float | None
    in_flight_lost: int
    sampled_every: int
    checked: bool
    verdict: str
    outcome: str
    fingerprint: str
    by_resource: tuple[ResourceFigures, ...]
    by_column: tuple[ColumnFigures, ...]
    row_time: tuple[RowTime, ...]
    incarnations: tuple[IncarnationFigures, ...]
    failures: tuple[FailureFigures, ...]
    notes: tuple[str, ...]
    cost: float | None = None
    by_endpoint: tuple[EndpointFigures, ...] = ()
    call_times: tuple[CallTimes, ...] = ()
    bill: tuple[BillFigures, ...] = ()
    binding: tuple[BindingFigures, ...] | None = None


def summarise(scenario: Scenario, outcome: Outcome, *, checked: bool) -> Result:
    """The figures of a run that ended well.

    Args:
        scenario: the scenario of the run.
        outcome: the counters of the simulator.
        checked: whether every event was judged; else the verdict does not claim it.

    Raises:
        SpecError: a file of the scenario cannot be read any more.
    """
    graph = scenario.graph()
    cells = graph.num_records * graph.num_columns
    makespan, busy = outcome.makespan_s, sum(outcome.busy_s)
    again = sum(incarnation.cells_lost for incarnation in outcome.incarnations)
    lost = sum(incarnation.busy_lost_s for incarnation in outcome.incarnations)
    ages = _all_tidy(outcome.ages.percentiles)
    plans = scenario.endpoint_plans()
    return Result(
        name=scenario.name,
        scenario_digest=scenario.digest(),
        seed=scenario.seed,
        policy=scenario.policy,
        rows=graph.num_records,
        columns=graph.num_columns,
        cells=cells,
        workers=scenario.limits.workers,
        makespan_s=tidy(makespan),
        rows_tried=outcome.tried,
        rows_delivered=outcome.delivered,
        rows_dropped=outcome.dropped,
        cells_made=outcome.made,
        rows_per_s=ratio(outcome.delivered - outcome.found_rows, makespan),
        cells_per_s=ratio(outcome.made - outcome.found_cells, makespan),
        first_row_s=tidy(outcome.first_row_s) if isfinite(outcome.first_row_s) else None,
        row_age_p50_s=ages[0],
        row_age_p95_s=ages[1],
        row_age_p99_s=ages[2],
        row_age_mean_s=ratio(outcome.ages.total_s, outcome.ages.rows),
        window_rows=outcome.window_rows,
        events=outcome.events,
        calls=sum(outcome.calls),
        worker_busy_s=tidy(busy),
        busy_lost_s=tidy(lost),
        busy_lost_share=ratio(lost, busy),
        worker_utilisation=ratio(busy, scenario.limits.workers * makespan),
        mean_in_flight=ratio(busy, makespan),
        checkpoints=outcome.checkpoints,
        checkpoint_bytes=outcome.checkpoint_bytes,
        crashes_planned=_planned(scenario),
        crashes=sum(incarnation.crashed for incarnation in outcome.incarnations),
        cells_done=outcome.cells_done,
        cells_done_again=again,
        cells_done_again_share=ratio(again, outcome.cells_done),
        in_flight_lost=sum(incarnation.in_flight_lost for incarnation in outcome.incarnations),
        sampled_every=outcome.sampled_every,
        checked=checked,
        verdict=SATISFIED if checked else NOT_CHECKED,
        outcome=outcome.outcome,
        fingerprint=outcome.fingerprint,
        by_resource=_resources(scenario, outcome),
        by_column=_columns(scenario, outcome),
        row_time=tuple(
            RowTime(
                part,
                ratio(seconds, outcome.ages.rows),
                ratio(seconds, outcome.ages.total_s),
            )
            for part, seconds in outcome.ages.parts_s.items()
            if seconds > 0
        ),
        incarnations=_incarnations(outcome),
        failures=() if scenario.is_plain else _failures(scenario, outcome),
        notes=tuple(load_notes(scenario)),
        cost=tidy(sum(item.cost for item in outcome.endpoints))
        if outcome.binding is not None
        else None,
        binding=None if outcome.binding is None else _binding(outcome.binding, makespan),
        by_endpoint=tuple(
            _endpoint(item, makespan, plans.get(item.name)) for item in outcome.endpoints
        ),
        call_times=tuple(
            CallTimes(graph.column_names[column], item.name, *map(tidy, parts_s))
            for item in outcome.endpoints
            for column, parts_s in sorted(item.parts_s.items())
        ),
        bill=tuple(
            BillFigures(
                column=graph.column_names[line.column],
                endpoint=item.name,
                cause=line.cause,
                calls=line.calls,
                prompt_tokens=tidy(line.prompt_tokens),
                output_tokens=tidy(line.output_tokens),
                cost=tidy(line.money),
            )
            for item in outcome.endpoints
            for line in item.bill
        ),
    )


def _binding(seconds_of: Mapping[str, float], makespan_s: float) -> tuple[BindingFigures, ...]:
    """What held the run up; the most first, and of shares that are printed alike by name."""
    found = [BindingFigures(name, ratio(s, makespan_s)) for name, s in seconds_of.items()]
    return tuple(sorted(found, key=lambda item: (-(item.share or 0.0), item.binding)))


def _endpoint(
    item: EndpointOutcome, makespan_s: float, plan: EndpointPlan | None
) -> EndpointFigures:
    sent = item.accepted + item.refused
    decoding = ratio(sum(parts[-1] for parts in item.parts_s.values()), makespan_s)
    enough = None
    if plan is not None and decoding is not None:
        enough = (plan.speed or SpeedTable(((1, 1.0),))).as_much_with(decoding)
    return EndpointFigures(
        endpoint=item.name,
        sent=sent,
        accepted=item.accepted,
        refused=item.refused,
        refused_share=ratio(item.refused, sent),
        lost=item.lost,
        mean_in_flight=ratio(item.call_s, makespan_s),
        mean_decoding=decoding,
        as_much_with=enough,
        mean_limit=None if item.mean_limit is None else tidy(item.mean_limit),
        prompt_tokens=tidy(sum(line.prompt_tokens for line in item.bill)),
        output_tokens=tidy(sum(line.output_tokens for line in item.bill)),
        cost=tidy(item.cost),
    )


def _planned(scenario: Scenario) -> int | None:
    """How many crashes a scenario has; None if they come again and again."""
    counts = [crash.random.count if crash.random else 1 for crash in scenario.crashes]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _resources(scenario: Scenario, outcome: Outcome) -> tuple[ResourceFigures, ...]:
    """One entry a resource, in the scenario's order, then one for columns without one."""
    rules, takes = scenario.graph().rules.columns, scenario.run_limits().places_of
    found = []
    limits: list[tuple[str | None, int | None]] = [*scenario.resource_limits.items(), (None, None)]
    for (name, limit), waits in zip(limits, outcome.waits, strict=True):
        mine = [rule for rule in rules if name in (takes(rule.name) or (None,))]
        if name is None and not mine:
            continue
        done = sum(outcome.done[rule.index] for rule in mine if not rule.is_barrier)
        places = [1 if name is None else takes(rule.name)[name] for rule in mine]
        busy = sum(outcome.busy_s[c.index] * n for c, n in zip(mine, places, strict=True))
        by_rank, by_quarter = _all_tidy(waits.percentiles), _all_tidy(waits.by_quarter)
        found.append(
            ResourceFigures(
                resource=name,
                limit=limit,
                calls=sum(outcome.calls[rule.index] for rule in mine),
                cells_done=done,
                busy_s=tidy(busy),
                utilisation=ratio(busy, limit * outcome.makespan_s) if limit else None,
                mean_in_flight=ratio(busy, outcome.makespan_s),
                wait_calls=waits.calls,
                wait_s=tidy(waits.total_s),
                mean_wait_s=ratio(waits.total_s, waits.calls),
                wait_p50_s=by_rank[0],
                wait_p95_s=by_rank[1],
                wait_p99_s=by_rank[2],
                mean_wait_q1_s=by_quarter[0],
                mean_wait_q2_s=by_quarter[1],
                mean_wait_q3_s=by_quarter[2],
                mean_wait_q4_s=by_quarter[3],
            )
        )
    return tuple(found)


def _columns(scenario: Scenario, outcome: Outcome) -> tuple[ColumnFigures, ...]:
    rules = scenario.graph().rules.columns
    return tuple(
        ColumnFigures(
            column=rule.name,
            resource=scenario.column_resource.get(rule.name),
            barrier=rule.is_barrier,
            calls=outcome.calls[rule.index],
            cells_done=outcome.done[rule.index],
            busy_s=tidy(outcome.busy_s[rule.index]),
            busy_s_per_cell=ratio(outcome.busy_s[rule.index], outcome.done[rule.index]),
            call_p50_s=ranks[0],
            call_p95_s=ranks[1],
            call_p99_s=ranks[2],
        )
        for rule, ranks in zip(rules, map(_all_tidy, outcome.ages.calls), strict=True)
    )


def _incarnations(outcome: Outcome) -> tuple[IncarnationFigures, ...]:
    return tuple(
        IncarnationFigures(
            incarnation=incarnation.number,
            start_s=tidy(incarnation.start_s),
            end_s=tidy(incarnation.end_s),
            ended_by="crash" if incarnation.crashed else "end",
            claimed_rows=incarnation.claimed_rows,
            cells_done=incarnation.cells_done,
            cells_lost=incarnation.cells_lost,
            in_flight_lost=incarnation.in_flight_lost,
            busy_lost_s=tidy(incarnation.busy_lost_s),
        )
        for incarnation in outcome.incarnations
    )


def _failures(scenario: Scenario, outcome: Outcome) -> tuple[FailureFigures, ...]:
    return tuple(
        FailureFigures(
            column=rule.name,
            retryable=outcome.failures[rule.index]["retryable"],
            backpressure=outcome.failures[rule.index]["backpressure"],
            permanent=outcome.failures[rule.index]["permanent"],
            rows_dropped=outcome.rows_dropped[rule.index],
            skipped=outcome.skipped[rule.index],
        )
        for rule in scenario.graph().rules.columns
    )


def tidy(value: float) -> float:
    """A float sum without its last digits, which are noise."""
    return float(f"{value:.12g}") + 0.0


def _all_tidy(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None else tidy(value) for value in values]


def ratio(part: float, whole: float) -> float | None:
    """A share, tidied; None of nothing, and where a float cannot hold it."""
    found = part / whole if whole > 0 else inf
    return tidy(found) if isfinite(found) else None
