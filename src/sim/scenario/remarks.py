"""Remarks on a scenario: fields without the effect that a reader of the file may expect."""

from __future__ import annotations

from collections.abc import Sequence

from cellspec.graph.rules import compile_rules
from cellspec.text import counted, listed_names
from sim.endpoints.plan import EndpointPlan, RefusalPlan
from sim.scenario.scenario import Scenario
from sim.scenario.tokens import Request

__all__ = [
    "kept_seeds",
    "load_notes",
    "missed_crashes",
    "missed_rows",
    "remarks",
    "scope_changes_result",
]


def remarks(scenario: Scenario) -> list[str]:
    """The fields that have less effect than a reader may expect, and those that are left out."""
    found = []
    used: dict[str, int] = {}
    for item in scenario.latencies():
        for name, places in scenario.takes(item.name).items():
            used[name] = max(places, used.get(name, 0))
    for name in scenario.limits.resources:
        if name not in used:
            found.append(f"limits.resources.{name}: no column takes it")
        elif scenario.resource_limits[name] > scenario.limits.workers * used[name]:
            workers = counted(scenario.limits.workers, "worker")
            found.append(
                f"limits.resources.{name}: {scenario.resource_limits[name]} is never reached with "
                f"{workers}"
            )
    found += _of_endpoints(scenario)
    found += _of_scope(scenario)
    if scenario.crashes and scenario.redo is None:
        drawn = [item.name for item in scenario.latencies() if item.latency.is_drawn]
        if drawn:
            found.append(
                "redo is not given: a call that a crash cuts off takes the same time when it runs "
                f"again, as in column {drawn[0]!r}; redo: fresh draws it anew, redo: same does not"
            )
    checkpoint = scenario.checkpoint
    if checkpoint is not None and checkpoint.blocking and not checkpoint.write_s:
        found.append("checkpoint.blocking: a write takes no time without checkpoint.write_s")
    found += _of_row_effect(scenario)
    by_text: dict[str, list[str]] = {}
    for item in scenario.latencies():
        if text := item.latency.remark():
            by_text.setdefault(text, []).append(item.name)
    for text, names in by_text.items():
        found.append(f"latency of {listed_names(names)}: {text}")
    if scenario.arrivals is not None and (text := scenario.arrivals.remark()):
        found.append(f"arrivals: {text}")
    for name, when in scenario.conditions.items():
        if name not in scenario.skip_rates():
            found.append(
                f"column {name!r} skips cells when {when!r}; none is skipped here unless "
                f"pipeline.skip_rates.{name} says how many"
            )
    return found


def kept_seeds(scenario: Scenario) -> list[str]:
    """The pipelines beside a scenario that draw the same in all of its runs, each as a line.

    An experiment gives each run another seed; a pipeline that states one of its own keeps it.

    Args:
        scenario: the file's own.
    """
    return [
        f"beside {one.name!r}: it states seed {one.seed}, and draws the same in every run; without "
        "seed: its draws vary from run to run like those of the others"
        for given, one in zip(scenario.beside, scenario.pipelines()[1:], strict=True)
        if "seed" in given
    ]


def scope_changes_result(scenario: Scenario) -> tuple[str, ...]:
    """The columns whose result ``barrier_scope: batch`` changes, in the graph's order; often none.

    They are the barriers that are declared to read the dataset, and read a batch at a time. What
    one column makes of fewer rows nobody but its author knows, who declares ``BATCH_BARRIER`` where
    it is the same. A barrier that needs no column reads no rows, and is left out. A search for good
    settings must not choose batch scope for a scenario that has such columns.

    Args:
        scenario: as it would be run; pipelines beside it are not looked at.
    """
    graph = scenario.graph()
    columns = [graph.get_column_descriptor(name) for name in graph.column_names]
    declared = compile_rules(
        graph.num_records, columns, batch_size=graph.batch_size, barrier_scope="declared"
    )
    return tuple(
        rule.name
        for rule in declared.columns
        if rule.needs and declared.scope_count(rule.index) < graph.rules.scope_count(rule.index)
    )


def _of_scope(scenario: Scenario) -> list[str]:
    """The barriers that read a batch where they are declared to read the dataset."""
    names = scope_changes_result(scenario)
    if not names:
        return []
    reads = "reads" if len(names) == 1 else "read"
    text = (
        f"barrier_scope: {listed_names(names)} {reads} {counted(scenario.batch_size or 0, 'row')} "
        f"at a time, and not all {scenario.rows:,} as declared: the result may be another one"
    )
    if scenario.pipeline is None:
        text += "; a column that gives the same result by batch is declared BATCH_BARRIER"
    return [text]


def missed_crashes(
    scenario: Scenario,
    makespan_s: float,
    events: int,
    down: Sequence[tuple[float, float]] = (),
    spent: Sequence[tuple[str, float, bool]] = (),
) -> list[str]:
    """The crashes of a scenario that never came, each as a line.

    Args:
        scenario: with all changes of the command line.
        makespan_s: how long its run took, in seconds.
        events: how many events it had.
        down: from when to when the process was not there, in seconds: a crash, and the resume.
        spent: of each crash at an event or a time whose moment came, the field, its value, and
            whether it struck, or another one did.
    """
    found, left = [], list(spent)
    for place, crash in enumerate(scenario.crashes):
        if crash.random is not None:
            continue
        at_s, at_event = crash.at_time_s, crash.at_event
        asked = ("at_event", at_event) if at_s is None else ("at_time_s", at_s)
        when = f"after event {at_event:,}" if at_s is None else f"at {at_s:g} s"
        # Of several at one moment one strikes, whichever: the first in the scenario.
        if (*asked, True) in left:
            left.remove((*asked, True))
            continue
        gone = next((g for g in down if at_s is not None and g[0] < at_s < g[1]), None)
        if gone is not None:
            why = f"the process was down from {gone[0]:g} to {gone[1]:g} s"
        elif (*asked, False) in left:
            why = "another crash came at that moment"
        elif at_s is None:
            # The last event is the end itself.
            why = f"the run ended with event {events:,}"
        else:
            why = f"the run ended at {makespan_s:g} s"
        found.append(f"crashes[{place}]: the crash {when} never came: {why}")
    return found


def _of_row_effect(scenario: Scenario) -> list[str]:
    """The columns of which a row effect changes nothing."""
    if scenario.row_effect is None:
        return []
    latencies = {item.name: item.latency for item in scenario.latencies()}
    found, drawn = [], 0
    for name in dict.fromkeys(scenario.row_effect.columns):
        latency = latencies[name]
        parts = latency.counts if isinstance(latency, Request) else (latency,)
        of_column = sum(part.is_drawn for part in parts)
        if not of_column:
            text = f"nothing of column {name!r} is drawn, so that nothing of it changes"
            found.append(f"row_effect.columns: {text}")
        drawn += of_column
    if drawn == 1:
        text = "one number of a row is drawn by these columns, and goes together with no other"
        found.append(f"row_effect.columns: {text}")
    return found


def _of_endpoints(scenario: Scenario) -> list[str]:
    """The words of endpoints and their clients that nothing comes of."""
    found = []
    plans = scenario.endpoint_plans()
    for name, plan in plans.items():
        served_late = (plan.max_in_flight, plan.kv_tokens, plan.cold_start)
        if plan.queue is not None and served_late == (None, None, None):
            text = "no call waits without max_in_flight, kv_tokens or cold_start"
            found.append(f"endpoints.{name}.queue: {text}")
        if plan.refusal != RefusalPlan() and not _refuses(plan):
            text = "no call is refused without limits, outages or queue"
            found.append(f"endpoints.{name}.refusal: {text}")
        of_tokens = {
            "prefill_tokens_per_s": plan.prefill_tokens_per_s,
            "kv_tokens": plan.kv_tokens,
            "limits": any(limit.counts == "tokens" for limit in plan.limits) or None,
            "price": plan.price,
        }
        words = [word for word, value in of_tokens.items() if value is not None]
        if words and not _has_requests(scenario, name):
            text = "no column that takes it has tokens (latency of model request)"
            found += [f"endpoints.{name}.{word}: {text}" for word in words]
    for name, client in scenario.throttle.items():
        if name not in plans:
            found.append(f"throttle.{name}: nothing refuses its calls without endpoints.{name}")
        elif not _refuses(plans[name]):
            text = f"nothing refuses its calls without limits, outages or queue of endpoints.{name}"
            found.append(f"throttle.{name}: {text}")
        most = scenario.resource_limits[name]
        if client.start is not None and client.start > most:
            text = f"{client.start} is above limits.resources.{name} ({most}), which holds"
            found.append(f"throttle.{name}.start: {text}")
    return found


def _refuses(plan: EndpointPlan) -> bool:
    """Whether an endpoint may refuse a call at all."""
    return bool(plan.limits or plan.outages) or plan.queue is not None


def _has_requests(scenario: Scenario, resource: str) -> bool:
    taken = scenario.column_resource
    return any(
        isinstance(item.latency, Request)
        for item in scenario.latencies()
        if taken.get(item.name) == resource
    )


def missed_rows(scenario: Scenario, outcome: str, delivered: int, kept: int) -> list[str]:
    """A line if rows ran out before enough were accepted, or accepted ones are not delivered.

    Args:
        scenario: of the run.
        outcome: how it ended.
        delivered: rows, at its end.
        kept: rows that were finished and not dropped, at its end.
    """
    accept = scenario.accept
    if accept is None:
        return []
    if outcome == "interrupted" and delivered < kept:
        return [
            f"accept.rows: of the {kept:,} rows that were accepted only {delivered:,} are "
            "delivered: a checkpoint holds no row behind one that is not finished, unless "
            "checkpoint.version is 3"
        ]
    if outcome != "success" or delivered >= accept.rows:
        return []
    return [
        f"accept.rows: {counted(accept.rows, 'row')} were wanted, and of all {scenario.rows:,} "
        f"only {delivered:,} were accepted"
    ]


def load_notes(scenario: Scenario) -> list[str]:
    """Of each resource whose limit is not the load at which its latencies were measured.

    Fewer workers than that are the limit. Where an endpoint says how fast calls run by their
    number, latencies depend on the load.
    """
    found = []
    plans = scenario.endpoint_plans()
    for name, limit in scenario.resource_limits.items():
        if name in plans and plans[name].speed is not None:
            continue
        mine = [x for x in scenario.latencies() if scenario.column_resource.get(x.name) == name]
        calls = limit // min((scenario.takes(item.name)[name] for item in mine), default=1)
        most = min(calls, scenario.limits.workers)
        loads = sorted({load for item in mine for load in item.latency.loads()})
        if name in scenario.limits.measured_at:
            loads = [scenario.limits.measured_at[name]]
        if mine and any(load != most for load in loads):
            slower = most > max(loads)
            where = f"at the limit of {limit}"
            if most < limit and not slower:
                where = f"with {counted(most, 'worker' if most < calls else 'call')}"
            at = " and ".join(map(str, loads))
            found.append(
                f"{name}: latencies were measured at {at} in flight and do not depend on the "
                f"load; {where} a real endpoint answers "
                f"{'more slowly' if slower else 'at another speed'}"
            )
    return found
