"""What the words about an endpoint mean: which have sense, its speed, its weather, its client."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits
from cellspec.check.endpoints.throttle import Allowed
from cellspec.check.endpoints.words import (
    ColdStartWords,
    EndpointWords,
    LimitWords,
    RefusalWords,
    Span,
    Speed,
    ThrottleWords,
    outage_end_s,
    stalls_of,
    words_of,
)
from cellspec.errors import TraceError
from cellspec.trace import Header, header_for
from sim.scenario.endpoints import (
    ColdStartSpec,
    EndpointSpec,
    LimitSpec,
    OutageSpec,
    RefusalSpec,
    ThrottleSpec,
)

GRAPH = ExecutionGraph(1, [ColumnDescriptor("a", traits=ExecutionTraits.START)])


def header(endpoints: dict[str, Any] | None) -> Header:
    made = header_for(GRAPH, engine="suite", version="1", endpoints=endpoints)
    return msgspec.structs.replace(made, endpoints=endpoints)


def words(**fields: Any) -> EndpointWords:
    return msgspec.convert(fields, EndpointWords)


# Sense


def test_a_header_may_say_nothing_of_endpoints() -> None:
    assert words_of(header(None), "trace") == {}


REQUESTS = {"requests": 1, "per_s": 1}


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"tpot_s": {"0": 1.0}}, "tpot_s: expected numbers of calls, from 1, got '0'"),
        ({"tpot_s": {"1": 1.0, "x": 1.0}}, "tpot_s: expected numbers of calls, from 1, got 'x'"),
        ({"tpot_s": {}}, "tpot_s: expected at least one number of calls"),
        ({"work": {"00": 1.0}}, "work: expected numbers of calls, from 1, got '00'"),
        ({"work": {"2": 1.0, "-1": 1.0}}, "work: expected numbers of calls, from 1, got '-1'"),
        ({"work": {}}, "work: expected at least one number of calls"),
        ({"limits": [{"per_s": 1}]}, "limits.0: expected either requests or tokens"),
        ({"limits": [REQUESTS, {"per_s": 1}]}, "limits.1: expected either requests or tokens"),
    ],
)
def test_words_without_sense_are_refused_by_their_place(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(TraceError) as refused:
        words_of(header({"chat": fields}), "trace")
    assert f"endpoints.chat.{where}" in str(refused.value)


WORDS_OF_SCENARIOS = [
    (ColdStartWords, ColdStartSpec),
    (EndpointWords, EndpointSpec),
    (LimitWords, LimitSpec),
    (RefusalWords, RefusalSpec),
    (Span, OutageSpec),
    (ThrottleWords, ThrottleSpec),
]


@pytest.mark.parametrize(("words", "spec"), WORDS_OF_SCENARIOS)
def test_a_word_that_is_left_out_means_what_it_means_in_a_scenario(words: Any, spec: Any) -> None:
    defaults = {field.name: field.default for field in msgspec.structs.fields(words)}
    compared = 0
    for name, field in spec.model_fields.items():
        if name in defaults and not field.is_required() and name != "refusal":
            assert defaults[name] == field.default, name
            compared += 1
    assert compared


@pytest.mark.parametrize("words", [words for words, _ in WORDS_OF_SCENARIOS])
def test_what_a_header_said_does_not_change(words: type[msgspec.Struct]) -> None:
    made = msgspec.convert({"per_s": 1, "from_s": 0, "to_s": 1, "first_s": 1}, words)
    field = msgspec.structs.fields(words)[0].name
    with pytest.raises(AttributeError):
        setattr(made, field, getattr(made, field))


# Speed


@pytest.mark.parametrize(
    ("beyond", "table", "units_s"),
    [
        (None, {}, [1, 1, 1, 1, 1]),
        ("line", {"2": 3}, [3, 3, 3, 3, 3]),
        ("hold", {"2": 3, "4": 5}, [3, 3, 4, 5, 5]),
        ("line", {"2": 3, "4": 5}, [3, 3, 4, 5, 6]),
        # Beyond the last point the line through the last two goes on.
        ("line", {"1": 1, "2": 2, "3": 4}, [1, 2, 4, 6, 8]),
        (None, {"1": 1, "2": 2, "3": 4}, [1, 2, 4, 4, 4]),
    ],
)
def test_the_seconds_of_a_unit_lie_on_lines_between_the_points_of_the_table(
    beyond: str | None, table: dict[str, float], units_s: list[float]
) -> None:
    speed = Speed(words(tpot_s=table or None, beyond=beyond))
    assert [speed.unit_s(calls) for calls in range(1, 6)] == units_s


# Weather


@pytest.mark.parametrize(
    ("pauses", "hangs", "stalls"),
    [
        ([(5, 9), (0, 1)], [(2, 3)], [(0, 1), (2, 3), (5, 9)]),
        ([], [(5, 9), (0, 1)], [(0, 1), (5, 9)]),
        # Those that touch are one.
        ([(0, 1), (5, 9)], [(9, 10)], [(0, 1), (5, 10)]),
        ([(0, 1), (5, 9), (9, 9)], [(6, 7)], [(0, 1), (5, 9)]),
        ([(0, 1), (5, 9)], [(6, 11), (12, 13)], [(0, 1), (5, 11), (12, 13)]),
        # One that takes no time is none.
        ([(0, 0), (3, 3)], [(4, 4)], []),
    ],
)
def test_the_times_in_which_nothing_advances_are_in_order_and_apart(
    pauses: list[tuple[float, float]],
    hangs: list[tuple[float, float]],
    stalls: list[tuple[float, float]],
) -> None:
    other = Span(2, 20, "finish"), Span(1, 20, "fail")
    hanging = [Span(*times, "hang") for times in hangs]
    paused = tuple(Span(*times) for times in pauses)
    assert stalls_of(EndpointWords(pauses=paused, outages=(*other, *hanging))) == stalls


@pytest.mark.parametrize(
    ("t", "end_s"),
    [(0.5, None), (1, 4), (2, 4), (3, 8), (4, 8), (5, 8), (8, None), (9, 10), (10, None)],
)
def test_an_outage_lasts_until_the_last_of_those_that_run_ends(t: float, end_s: int | None) -> None:
    outages = [Span(1, 4), Span(3, 8), Span(5, 6), Span(9, 10)]
    assert outage_end_s(outages, t) == (-float("inf") if end_s is None else end_s)


# The client


@pytest.mark.parametrize(
    ("fields", "limit"), [({}, 8), ({"start": 3}, 3), ({"start": 9}, 8), ({"start": 1}, 1)]
)
@pytest.mark.parametrize("pause_s", [None, 1.0])
def test_a_throttle_starts_at_its_own_limit_unless_it_pauses(
    fields: dict[str, int], limit: int, pause_s: float | None
) -> None:
    allowed = Allowed(msgspec.convert(fields | {"pause_s": pause_s}, ThrottleWords), 8)
    assert allowed.limit == (limit if pause_s is None else 8)
