"""The simulation of a scenario: the plan of its run, its simulator, and its trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any

from cellspec.check.endpoints import judge_of
from cellspec.errors import SpecError, Violation
from cellspec.exit_codes import Stdout
from cellspec.machine.limits import FailurePolicy
from cellspec.trace import Header, Kind, TraceWriter, header_for
from sim.endpoints.plan import EndpointPlan
from sim.policies import BYPASS_BOUNDS
from sim.scenario.arrivals import longest_gap_s
from sim.scenario.records import Crash
from sim.scenario.sampler import LatencySource
from sim.scenario.scenario import Scenario
from sim.scenario.start_from import least_version
from sim.simulator.call_outcomes import ColumnRates, DrawnOutcomes
from sim.simulator.composition import is_even
from sim.simulator.outcome import Outcome
from sim.simulator.plan import AcceptPlan, CheckpointPlan, CrashPlan, RunPlan
from sim.simulator.routes import OpenDesk, make_routes
from sim.simulator.simulator import Simulator
from sim.simulator.together import Together
from sim.targets import STDOUT

__all__ = [
    "judging",
    "make_simulator",
    "make_together",
    "run_plan",
    "simulate",
    "trace_header",
    "trace_writer",
]


def simulate(
    scenario: Scenario,
    on_events: Sequence[Callable[..., object] | None] | None = None,
    **options: Any,
) -> list[Outcome]:
    """Run a scenario, and all pipelines beside it.

    Args:
        scenario: what is run.
        on_events: of each pipeline, called with each event of its run; None if nobody listens.
        options: `checked` and `progress` of the simulator.

    Returns:
        Of each pipeline, the counters of its run.

    Raises:
        Violation: an event breaks a clause.
        SpecError: the run may never end, or the scenario says what the simulator cannot do.
    """
    runs = scenario.pipelines()
    listeners = on_events or [None] * len(runs)
    if len(runs) == 1:
        return [make_simulator(scenario, listeners[0], **options).run()]
    return make_together(runs, scenario.endpoint_plans(), listeners, **options).run()


def make_together(
    scenarios: Sequence[Scenario],
    endpoints: Mapping[str, EndpointPlan],
    on_events: Sequence[Callable[..., object] | None],
    **options: Any,
) -> Together:
    """The runs of several scenarios at once, on common endpoints.

    Args:
        scenarios: what each runs; the first is the file's own.
        endpoints: by resource, the server behind it, whoever takes it.
        on_events: of each scenario, called with each event of its run, as a trace writes it.
        options: as of `make_simulator`.

    Raises:
        SpecError: a scenario says what the simulator cannot do.
    """
    together = Together(endpoints, traced=any(on_events))
    for place, (scenario, on_event) in enumerate(zip(scenarios, on_events, strict=True)):
        name = scenario.name if place else None
        together.join(partial(make_simulator, scenario, on_event, **options), name)
    return together


def run_plan(scenario: Scenario) -> RunPlan:
    """The plan of a run: all that decides it beside the scenario's graph and latencies."""
    return RunPlan(
        seed=scenario.seed,
        limits=scenario.run_limits(),
        policy=scenario.policy,
        checkpoint=_checkpoint_plan(scenario),
        crashes=[_crash_plan(crash) for crash in scenario.crashes],
        restart_delay_s=scenario.restart_delay_s,
        failures=_failure_policy(scenario),
        range_rows=scenario.range_rows(),
        endpoints=scenario.endpoint_plans(),
        throttles=scenario.throttle_plans(),
        serial=scenario.serial_plan(),
        timeouts=scenario.timeouts(),
        start_from=scenario.start_claim,
        accept=_accept_plan(scenario),
        shares=scenario.shares,
        arrivals=scenario.arrival_times(),
    )


def _failure_policy(scenario: Scenario) -> FailurePolicy | None:
    """The policy for failures, with the bound of calls (clause FAIL-07) where they share one.

    A scheduler that takes time, or an endpoint, holds a call for longer than its bound.
    """
    policy, bounds = scenario.failure_policy(), scenario.timeouts()
    shared = len(bounds) == scenario.graph().num_columns and len(set(bounds.values())) == 1
    held = scenario.endpoint_plans() or scenario.throttle_plans() or scenario.serial_plan()
    if policy is None or not shared or held:
        return policy
    return replace(policy, timeout_s=next(iter(bounds.values())))


def _checkpoint_plan(scenario: Scenario) -> CheckpointPlan | None:
    """When a run saves; whoever starts from a checkpoint has to write one at its end."""
    checkpoint, start = scenario.checkpoint, scenario.start_claim
    if checkpoint is None:
        return None if start is None else CheckpointPlan(version=least_version(start))
    return CheckpointPlan(
        every_rows=checkpoint.every_rows,
        every_s=checkpoint.every_s,
        version=checkpoint.version,
        write_s=checkpoint.write_s,
        blocking=checkpoint.blocking,
    )


def _accept_plan(scenario: Scenario) -> AcceptPlan | None:
    accept = scenario.accept
    if accept is None:
        return None
    return AcceptPlan(accept.rows, accept.rate, draws_anew=scenario.redo == "fresh")


def _crash_plan(crash: Crash) -> CrashPlan:
    if crash.random is not None:
        return CrashPlan(mean_s=crash.random.mean_s, count=crash.random.count)
    return CrashPlan(at_event=crash.at_event, at_time_s=crash.at_time_s)


def make_simulator(
    scenario: Scenario,
    on_event: Callable[..., object] | None,
    desks: Mapping[str, OpenDesk] | None = None,
    **options: Any,
) -> Simulator:
    """The simulator of a scenario.

    Args:
        scenario: the scenario to run.
        on_event: called with each event, as a trace writes it.
        desks: by resource whose endpoint other runs share, what makes the desk of this one.
        options: `checked` and `progress` of the simulator.

    Raises:
        SpecError: the scenario says what the simulator cannot do.
    """
    # The random policy visits rows in any order, and would draw each block again and again. Rows
    # that were tried unlike often are under way in places far apart.
    blocks = None if scenario.policy == "random" else 8 if scenario.failures is None else 32
    graph, plan = scenario.graph(), run_plan(scenario)
    latency = scenario.latency_source(blocks_per_column=blocks)
    behind = {*plan.endpoints, *plan.throttles}
    for column, name in enumerate(graph.column_names):
        if latency.is_request(column) and scenario.column_resource.get(name) not in behind:
            raise SpecError(
                f"column {name!r}: latency: a request takes its time at an endpoint; give the "
                "column a resource, and the resource an endpoint"
            )
    drawn: list[LatencySource | DrawnOutcomes] = [latency]
    if scenario.redo == "fresh":
        options["on_resume"] = lambda incarnation: [one.begin(incarnation) for one in drawn]
    outcomes = None
    if not scenario.is_plain:
        skip = scenario.skip_rates()
        columns = []
        for name in graph.column_names:
            rates = scenario.failure_rates(name)
            columns.append(
                ColumnRates(
                    rates.retryable, rates.back_pressure, rates.permanent, skip.get(name, 0.0)
                )
            )
        backoff = scenario.failures.backoff.model_dump() if scenario.failures else {}
        recorded = latency.failure if latency.has_failures else None
        outcomes = DrawnOutcomes(scenario.seed, columns, recorded=recorded, **backoff)
    # A refused call that is not told when to come back rests as one that failed.
    resting = outcomes or DrawnOutcomes(scenario.seed, [ColumnRates()] * graph.num_columns)
    drawn.append(resting)
    routes = make_routes(
        graph, latency, plan, resting, on_event, desks, even=is_even(graph, plan, outcomes)
    )
    return Simulator(
        graph, latency, plan, outcomes=outcomes, notify=on_event, routes=routes, **options
    )


def _bypass_bound(scenario: Scenario) -> int | None:
    """The most later nodes that overtake a ready one, as a trace promises it; None for no promise.

    The process before a run that starts from a checkpoint makes what is claimed, and leaves out
    what was ready before. A range takes rows that were ready later than another column's, and so
    does a column that is below its share.
    """
    overtakes = scenario.start_claim is not None or scenario.range_rows() or scenario.shares
    return None if overtakes else BYPASS_BOUNDS.get(scenario.policy)


def trace_writer(scenario: Scenario, path: str, beside: Sequence[Scenario] = ()) -> TraceWriter:
    """The writer of a run's trace, with its header.

    Args:
        scenario: the scenario that is run.
        path: the file; `STDOUT` stands for stdout.
        beside: the other pipelines, whose calls its endpoints serve too.

    Raises:
        TraceError: the file cannot be written.
    """
    return TraceWriter(Stdout() if path == STDOUT else path, trace_header(scenario, beside))


def trace_header(scenario: Scenario, beside: Sequence[Scenario] = ()) -> Header:
    """Line 1 of a run's trace.

    Args:
        scenario: the scenario that is run.
        beside: the other pipelines, whose calls its endpoints serve too.
    """
    capabilities = ["core", "resume"]
    # Whoever starts nothing during a write is idle beside work; a write excuses that of SCHED-15.
    # A row that has not come yet is one that is not admitted: for so long work may wait.
    blocks = scenario.checkpoint is not None and scenario.checkpoint.blocking
    if not blocks and scenario.arrivals is None:
        capabilities.append("work_conserving")
    checkpoint = _checkpoint_plan(scenario)
    if checkpoint is not None and checkpoint.version == 3:
        capabilities += ["column_checkpoints", "set_claims"]
    if not scenario.is_plain:
        capabilities += ["groups", "streaming", "retries", "drops", "skips", "early_stop"]
    if scenario.accept is not None:
        capabilities += ["filters", "interrupts"]
    if scenario.timeouts():
        capabilities.append("timeouts")
    if scenario.endpoints_as_given() or scenario.serial_plan() is not None:
        capabilities.append("requests")
    endpoints = scenario.endpoints_as_given()
    for name, words in endpoints.items():
        others = [one.name for one in beside if name in one.endpoint_plans()]
        if others:
            words["shared_with"] = others
    if endpoints:
        # The header says all that decides how they answer, and the events where each call is.
        capabilities.append("endpoints")
    return header_for(
        scenario.graph(),
        engine="cellspec simulator",
        version=version("cellspec"),
        limits=scenario.run_limits(),
        failures=_failure_policy(scenario),
        seed=scenario.seed,
        claims=capabilities,
        bypass=_bypass_bound(scenario),
        idle_s=longest_gap_s(scenario.arrival_times()),
        endpoints=endpoints or None,
    )


def judging(writer: TraceWriter) -> Callable[..., object]:
    """Writes events, and judges calls at endpoints by them while the run goes on.

    It raises `Violation` at the first event that shows a clause (ENDP) to be broken.
    """
    judge = judge_of(writer.header)
    if judge is None:
        return writer.add

    def add(event: Kind, t: float, **fields: Any) -> None:
        breach = judge.feed(writer.add(event, t, **fields))
        if breach is not None:
            raise Violation(breach.clause, breach.detail)

    return add
