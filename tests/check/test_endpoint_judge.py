"""The judge of endpoints, event by event: which call an event is of, what a client may do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits, Limits
from cellspec.check.endpoints import judge_of
from cellspec.check.endpoints.judge import EndpointJudge
from cellspec.check.endpoints.server import INSTANT_S
from cellspec.trace import Event, header_for
from cellspec.trace.format import Clock, EndpointSums, RequestStep, Step

T = ExecutionTraits
GRAPH = ExecutionGraph(
    12,
    [
        ColumnDescriptor("a", traits=T.START | T.ROW_STREAMABLE),
        ColumnDescriptor("b", traits=T.START | T.ROW_STREAMABLE),
        ColumnDescriptor("c", traits=T.START | T.ROW_STREAMABLE),
        ColumnDescriptor("all", traits=T.BARRIER, dependencies=["a"]),
    ],
)
LIMITS = Limits(
    resources={"chat": 4, "other": 4},
    column_resource={"a": "chat", "b": "chat", "c": "other", "all": "chat"},
)
FREE: Mapping[str, Mapping[str, Any]] = {"chat": {}, "other": {}}
TAKEN = ("sent", "serving", "decoding")
"""The steps of a call that is served at once."""

Place = int | tuple[int, int]


def judge(
    chat: Mapping[str, Any] | None = None,
    *,
    endpoints: Mapping[str, Mapping[str, Any]] | None = None,
    claims: Iterable[str] = ("core", "endpoints"),
    clock: Clock = "virtual",
) -> EndpointJudge | None:
    """The judge of a trace with one endpoint, or with those that are given."""
    if endpoints is None:
        endpoints = {"chat": chat or {}}
    header = header_for(
        GRAPH,
        engine="suite",
        version="1",
        limits=LIMITS,
        clock=clock,
        claims=claims,
        endpoints=endpoints,
    )
    return judge_of(header)


def happens(t: float, column: str, place: Place, *words: str, **request: Any) -> list[Event]:
    """What happens to a call at one time: steps, and kinds of events; its work is one second."""
    found = []
    node = {"scope": place} if column == "all" else {"rows": place}
    for word in words:
        kind: Any = word
        step = None
        if word not in ("complete", "fail", "cancel", "lose"):
            kind, step = "request", RequestStep(word, **({"work": 1.0} | request))  # type: ignore[arg-type]
        found.append(Event(1, t, kind, column, **node, request=step))  # type: ignore[arg-type]
    return found


def goes_well(t: float, column: str, place: Place) -> list[Event]:
    """A call that has the endpoint's whole speed and is answered after its second of work."""
    served = happens(t, column, place, *TAKEN)
    return [*served, *happens(t + 1, column, place, "answered", "complete")]


def sums(decode_s: float, queue_s: float = 0.0) -> EndpointSums:
    return EndpointSums(queue_s, 0.0, decode_s, 0.0, 0.0)


def the_end(t: float, **more: Any) -> Event:
    return Event(1, t, "end", outcome="success", **more)


def broken(judge: EndpointJudge | None, *events: Event | list[Event]) -> list[str]:
    """The clauses that are broken, each with the words about it, in turn."""
    assert judge is not None
    found = []
    for event in events:
        for one in event if isinstance(event, list) else [event]:
            breach = judge.feed(one)
            if breach is not None:
                found.append(f"{breach.clause} {breach.detail}")
    return found


# Which traces, and which endpoints


@pytest.mark.parametrize(
    ("claims", "clock", "judges"),
    [
        (("core", "endpoints"), "virtual", True),
        (("core",), "virtual", False),
        (("core", "endpoints"), "real", False),
        (("core",), "real", False),
    ],
)
def test_only_who_claims_endpoints_on_a_virtual_clock_is_judged(
    claims: tuple[str, ...], clock: Clock, judges: bool
) -> None:
    assert (judge(claims=claims, clock=clock) is not None) == judges


def test_the_calls_of_all_endpoints_are_counted() -> None:
    both = judge(endpoints=FREE)
    assert broken(both, goes_well(0, "a", 0), goes_well(1, "c", 0), goes_well(2, "c", 1)) == []
    assert both is not None
    assert both.calls == 3


@pytest.mark.parametrize("column", ["a", "c"])
def test_a_crash_ends_the_calls_at_every_endpoint(column: str) -> None:
    crash = Event(1, 0.5, "crash")
    served = happens(0, column, 0, *TAKEN)
    assert broken(judge(endpoints=FREE), served, crash, goes_well(0.5, column, 0)) == []


@pytest.mark.parametrize(("chat", "other"), [(1, 0), (1, 2), (3, 1)])
def test_the_sums_of_every_endpoint_are_those_of_its_calls(chat: float, other: float) -> None:
    stated = {"chat": sums(chat), "other": sums(other)}
    events = goes_well(0, "a", 0), goes_well(1, "c", 0), the_end(2, endpoints=stated)
    (found,) = broken(judge(endpoints=FREE), *events)
    name, said = ("chat", chat) if chat != 1 else ("other", other)
    assert found == (f"ENDP-05 endpoint {name!r}: seconds at answers: {said:g} stated, 1 counted")


def test_of_several_sums_of_no_endpoint_the_first_by_name_is_told() -> None:
    """Whatever order a set of names has in this process."""
    stated = {name: sums(0) for name in "hgfedcb"}
    (found,) = broken(judge(), the_end(0, endpoints=stated))
    assert found == "ENDP-05 endpoint 'b': sums of no endpoint of the header"


@pytest.mark.parametrize("left_out", ["chat", "other"])
def test_an_endpoint_without_sums_is_named(left_out: str) -> None:
    both = judge(endpoints=FREE)
    stated = {name: sums(1) for name in FREE if name != left_out}
    end = the_end(2, endpoints=stated)
    assert broken(both, goes_well(0, "a", 0), goes_well(1, "c", 0), end) == []
    assert both is not None
    reason = f"the end of the run does not state its sums of {left_out!r}: endpoints"
    assert both.unjudged == {"ENDP-05": reason, "ENDP-15": reason}


def test_a_run_that_called_no_endpoint_needs_no_sums() -> None:
    both = judge(endpoints=FREE)
    assert broken(both, the_end(2)) == []
    assert both is not None
    assert both.unjudged == {}


@pytest.mark.parametrize("column", ["a", "c"])
def test_the_endpoint_whose_levels_nobody_knows_is_named(column: str) -> None:
    words = {"limits": [{"tokens": 10, "per_s": 1, "give_back": True}]}
    both = judge(endpoints={"chat": words, "other": words})
    instant = happens(0, column, 0, *TAKEN, "answered", "complete", work=0.0)
    assert broken(both, instant, the_end(1)) == []
    name = LIMITS.column_resource[column]
    assert both is not None
    reason = f"an answer of {name!r} took no time and gave back: judged up to then"
    assert [both.unjudged[clause] for clause in ("ENDP-08", "ENDP-09", "ENDP-10")] == [reason] * 3


def test_the_last_instant_of_a_run_is_judged_without_its_sums_too() -> None:
    two = happens(1, "a", 0, *TAKEN), happens(1, "a", 1, *TAKEN)
    (found,) = broken(judge({"max_in_flight": 1}), *two, the_end(1))
    assert found.startswith("ENDP-01 endpoint 'chat': a[1]: 2 are served")


def test_a_call_is_counted_in_line_and_until_the_run_ends() -> None:
    first, second = happens(0, "a", 0, *TAKEN), happens(0, "a", 1, "sent", "queued")
    after = happens(1, "a", 0, "answered", "complete"), happens(1, "a", 1, "serving", "decoding")
    end = the_end(1.5, endpoints={"chat": sums(1.5, queue_s=1)})
    assert broken(judge({"max_in_flight": 1}), first, second, *after, end) == []


# Calls that were never sent


def test_the_first_of_the_calls_that_were_never_sent_is_named() -> None:
    values = happens(0, "a", 0, "complete"), happens(0, "a", 1, "complete")
    (found,) = broken(judge(), *values, goes_well(1, "a", 2))
    assert found == "ENDP-16 endpoint 'chat': a[0] ended at 0 s and was never sent"


@pytest.mark.parametrize(
    ("event", "excused"),
    [
        (Event(1, 0, "crash", reason="start_from"), True),
        (Event(1, 0, "crash", reason="power"), False),
        (Event(1, 0, "end", outcome="success", reason="start_from"), False),
    ],
)
def test_only_the_crash_of_the_process_before_a_start_excuses_a_call(
    event: Event, excused: bool
) -> None:
    found = broken(judge(), happens(0, "a", 0, "complete"), event)
    assert (found == []) == excused


# Which call an event is of


def test_a_barrier_is_a_call_and_may_be_made_again_when_its_result_is_lost() -> None:
    lost = happens(1, "all", 0, "lose")
    assert broken(judge(), goes_well(0, "all", 0), lost, goes_well(1, "all", 0)) == []
    (found,) = broken(judge(), happens(0, "all", 0, "sent", "decoding"))
    assert found == "ENDP-16 endpoint 'chat': all/0: 'decoding' does not follow its last step"


@pytest.mark.parametrize(
    "values", [[3, 2], [(2, 4)], [5, 4, 3, 2], [(2, 4), (4, 6)], [4, (2, 4), 5], [2, (3, 6)]]
)
def test_a_range_is_one_call_until_all_its_rows_have_values(values: list[Place]) -> None:
    rows = 2, max(place + 1 if isinstance(place, int) else place[1] for place in values)
    events = [*happens(0, "a", rows, *TAKEN), *happens(1, "a", rows, "answered")]
    for place in values:
        events += happens(1, "a", place, "complete")
    # When its results are lost, with others, it is made again: nothing is left of the first call.
    events += [*happens(2, "a", (0, rows[1]), "lose"), *goes_well(2, "a", rows)]
    assert broken(judge(), events, the_end(3, endpoints={"chat": sums(2)})) == []


def test_a_value_that_went_with_its_worker_does_not_end_the_call_that_gave_it() -> None:
    first = happens(0, "a", (0, 4), *TAKEN), happens(1, "a", (0, 2), "complete")
    lost = happens(1.25, "a", 1, "lose")
    rest = happens(1.5, "a", (2, 4), "complete")
    assert broken(judge(), *first, lost, rest, goes_well(2, "a", 1)) == []


@pytest.mark.parametrize("named", [(1, 4), (2, 3), 2])
def test_a_range_fails_as_a_whole_whichever_of_its_rows_is_named(named: Place) -> None:
    first = happens(0, "a", (0, 4), *TAKEN), happens(1, "a", 0, "complete")
    failed = happens(1, "a", named, "fail")
    assert broken(judge(), *first, failed, goes_well(1, "a", (1, 4))) == []


def test_the_rows_of_a_range_that_its_endpoint_lost_may_be_called_one_by_one() -> None:
    words = {"outages": [{"from_s": 0.5, "to_s": 1, "running": "fail"}]}
    lost = [*happens(0, "a", (0, 2), *TAKEN), *happens(0.5, "a", (0, 2), "lost")]
    both = happens(1, "a", 0, "sent", "serving"), happens(1, "a", 1, "sent", "serving")
    assert broken(judge(words), lost, *both) == []


def test_ranges_of_two_columns_are_told_apart() -> None:
    ranges = happens(0, "a", (0, 4), *TAKEN), happens(0, "b", (4, 8), *TAKEN)
    assert broken(judge(), *ranges, happens(0, "b", 1, *TAKEN)) == []


def test_rows_of_the_column_of_a_barrier_are_no_barrier_node() -> None:
    node = happens(0, "all", 1, *TAKEN)
    steps: list[tuple[Place, Step]] = [((4, 6), "sent"), (1, "decoding")]
    rows = [Event(1, 0, "request", "all", at, request=RequestStep(step)) for at, step in steps]
    (found,) = broken(judge(), node, rows)
    assert found == "ENDP-16 endpoint 'chat': 'decoding' does not follow its last step"


# Answers and refusals


def test_an_answer_frees_its_place_before_its_values_come() -> None:
    answered = happens(1, "a", 0, "answered", "answered")
    values = happens(3, "a", 0, "complete")
    events = happens(0, "a", 0, *TAKEN), answered, goes_well(1, "a", 1), values
    end = the_end(3, endpoints={"chat": sums(2)})
    assert broken(judge({"max_in_flight": 1}), *events, end) == []


def test_an_error_may_come_before_the_work_is_done_and_an_answer_may_not() -> None:
    taken = happens(0, "a", 0, *TAKEN)
    assert broken(judge(), taken, happens(0.5, "a", 0, "answered", failed=True)) == []
    (found,) = broken(judge(), taken, happens(0.5, "a", 0, "answered"))
    assert found.startswith("ENDP-06 endpoint 'chat': a[0]: it ends 0.5 s too early")


@pytest.mark.parametrize("step", ["turned_away", "refused"])
def test_who_is_refused_is_told_by_what(step: str) -> None:
    words = {"limits": [{"requests": 1, "per_s": 2}], "refusal": {"retry_after": "none"}}
    first, sent = happens(0, "a", 0, *TAKEN), happens(0, "a", 1, "sent")
    assert broken(judge(words), first, sent, happens(0, "a", 1, step, by="limit 1")) == []
    (found,) = broken(judge(words), first, sent, happens(0, "a", 1, step, by="queue"))
    text = "it is refused by queue, and limit 1 was in its way"
    assert found == f"ENDP-09 endpoint 'chat': a[1]: {text}"


# What a client may do


@pytest.mark.parametrize("early_s", [0, INSTANT_S, 2 * INSTANT_S])
def test_who_was_refused_comes_back_at_its_moment_and_no_sooner(early_s: float) -> None:
    first = happens(0, "a", 0, *TAKEN)
    refused = happens(0, "a", 1, "sent", "refused", retry_after_s=2.0)
    again = happens(2 - early_s, "a", 1, "sent")
    limit = {"requests": 1, "per_s": 2}
    found = broken(judge({"limits": [limit]}), first, refused, again)
    early = ["ENDP-11 endpoint 'chat': a[1]: it was to come back at 2 s"]
    assert found == (early if early_s > INSTANT_S else [])


@pytest.mark.parametrize("early_s", [0, INSTANT_S, 2 * INSTANT_S])
def test_nobody_goes_out_in_the_pause_of_a_throttle(early_s: float) -> None:
    words = {
        "limits": [{"requests": 1, "per_s": 2}],
        "refusal": {"retry_after": "none"},
        "throttle": {"pause_s": 1.0},
    }
    first = happens(0, "a", 0, *TAKEN)
    refused = happens(0, "a", 1, "sent", "refused")
    found = broken(judge(words), first, refused, happens(1 - early_s, "a", 2, "sent"))
    early = ["ENDP-11 endpoint 'chat': a[2]: no call was to go out before 1 s"]
    assert found == (early if early_s > INSTANT_S else [])


def test_a_limit_that_is_stated_without_a_throttle_is_not_judged() -> None:
    events = happens(0, "a", 0, *TAKEN), happens(1, "a", 0, "answered", limit=3)
    assert broken(judge(), *events) == []


def test_a_call_that_its_endpoint_lost_is_no_success_of_a_throttle() -> None:
    words = {
        "outages": [{"from_s": 0.5, "to_s": 1, "running": "fail"}],
        "throttle": {"start": 1, "successes": 1},
    }
    lost = [*happens(0, "a", 0, *TAKEN), *happens(0.5, "a", 0, "lost")]
    served = happens(1, "a", 0, *TAKEN)
    answered = happens(2, "a", 0, "answered", limit=2)
    assert broken(judge(words), lost, served, answered) == []


def test_the_limit_that_is_stated_with_an_answer_is_that_of_the_throttle() -> None:
    words = {"throttle": {"start": 1, "successes": 1}}
    taken = happens(0, "a", 0, *TAKEN)
    assert broken(judge(words), taken, happens(1, "a", 0, "answered", limit=2)) == []
    (found,) = broken(judge(words), taken, happens(1, "a", 0, "answered", limit=3))
    text = "the throttle allows 2 at 1 s, and 3 is stated"
    assert found == f"ENDP-14 endpoint 'chat': a[0]: {text}"


def test_a_call_that_timed_out_before_it_was_sent_makes_no_room_in_a_throttle() -> None:
    late = happens(0, "a", 0, "answered", failed=True)
    sent = happens(0, "a", 1, "sent"), happens(0, "a", 2, "sent")
    (found,) = broken(judge({"throttle": {"start": 1}}), late, *sent)
    assert found == "ENDP-13 endpoint 'chat': a[2]: 1 are out, and the throttle allows 1"


def test_a_call_takes_room_for_its_prompt_and_for_what_its_answer_may_have() -> None:
    tokens = {"prompt_tokens": 40.0, "output_tokens": 5.0, "reserved_tokens": 20.0}
    two = [one for row in (0, 1) for one in happens(0, "a", row, "sent", "serving", **tokens)]
    (found,) = broken(judge({"kv_tokens": 100}), two, the_end(0))
    assert found == "ENDP-02 endpoint 'chat': a[1]: 120 tokens of 100 are taken"
    assert broken(judge({"kv_tokens": 120}), two, the_end(0)) == []
