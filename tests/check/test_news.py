"""An engine hears late: what the end of a call forbids binds it once it may know of that end."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits, FailurePolicy, Limits
from cellspec.trace.format import Event, Header
from tests.check.test_checker import header, judged, steps
from tests.traces import EVERYTHING_LIMITS, Dice, everything, renumbered, toy_run

INSTANT_S = 4.0

failing_runs = st.builds(
    toy_run,
    st.builds(everything, st.integers(1, 9)),
    st.sampled_from([EVERYTHING_LIMITS, Limits(), Limits(workers=2, group_rows=2)]),
    st.sampled_from([FailurePolicy(), FailurePolicy(2)]),
    seed=st.integers(0, 10**6),
    dice=st.sampled_from([Dice(fail=0.4), Dice(fail=0.2)]),
)


def in_instants(events: Sequence[Event]) -> list[Event]:
    """The same steps on a clock that reads whole instants, so that much happens at each."""

    def read(t: float) -> float:
        return t // INSTANT_S * INSTANT_S

    return [
        replace(event, t=read(event.t), until=None if event.until is None else read(event.until))
        for event in events
    ]


def rows_of(event: Event) -> set[int]:
    rows = event.rows
    return set(range(*rows)) if isinstance(rows, tuple) else {rows or 0}


def is_of_the_call(event: Event, end: Event) -> bool:
    same = (event.column, event.scope) == (end.column, end.scope)
    return same and (end.scope is not None or bool(rows_of(event) & rows_of(end)))


def earliest(events: Sequence[Event], place: int) -> int:
    """The first place that the end of a call could have, in the instant in which it is."""
    end, first = events[place], place
    while first and events[first - 1].t == end.t:
        before = events[first - 1]
        if before.event in ("resume", "crash") or is_of_the_call(before, end):
            break
        first -= 1
    return first


@given(run=failing_runs, data=st.data())
def test_whoever_watches_may_hear_of_a_failure_before_the_engine(
    run: tuple[Header, list[Event]], data: st.DataObject
) -> None:
    of, given_events = run
    events = in_instants(given_events)
    places = [
        place
        for place, event in enumerate(events)
        if event.event == "fail" and earliest(events, place) < place
    ]
    assume(places)
    for place in places:
        to = data.draw(st.integers(earliest(events, place), place))
        events.insert(to, events.pop(place))
    result = judged((of, renumbered(events)))
    assert not result.violations, result.violations[0].explanation


COLUMNS = [
    ColumnDescriptor("a"),
    ColumnDescriptor("k"),
    ColumnDescriptor("b", dependencies=["a"]),
    ColumnDescriptor("v", traits=ExecutionTraits.BARRIER, dependencies=["a"]),
    ColumnDescriptor("c", dependencies=["v"]),
]
CHAIN = ExecutionGraph(3, COLUMNS)
HEADER = header(failures=FailurePolicy(2), graph=CHAIN)
LEFT = ["start a 1", "start k 0"]
"""A call that goes on, so that time may pass; and one that fails."""
FAILS = "fail k 0 failure=permanent"
ALL_A = [word for row in range(3) for word in (f"start a {row}", f"complete a {row}")]
ONE = header(
    graph=ExecutionGraph(1, [*COLUMNS, ColumnDescriptor("z")]),
)


def first_broken(*words: str, of: Header = HEADER) -> str | None:
    found = judged((of, steps(*words))).violations
    return found[0].clause if found else None


@pytest.mark.clause("DROP-03")
@pytest.mark.parametrize(
    ("before", "start"),
    [
        ([], "start a 0"),
        (["start a 0", "fail a 0 failure=retryable"], "start a 0 attempt=2"),
        (["start a 0", "complete a 0"], "start b 0"),
    ],
)
def test_what_could_start_may_in_the_moment_of_the_failure(before: list[str], start: str) -> None:
    assert first_broken(*LEFT, *before, FAILS, start) is None
    assert first_broken(*LEFT, *before, FAILS, f"{start} t=1") == "DROP-03"
    assert first_broken(*LEFT, *before, FAILS, "drop k 0", start) == "DROP-03"
    patient = replace(HEADER, trace=2, idle_s=1.0)
    assert first_broken(*LEFT, *before, FAILS, f"{start} t=1", of=patient) is None
    assert first_broken(*LEFT, *before, FAILS, f"{start} t=1.5", of=patient) == "DROP-03"


@pytest.mark.clause("DROP-03", "SCHED-02", "FAIL-02", "FAIL-01")
@pytest.mark.parametrize(
    ("words", "clause"),
    [
        (["start a 0", FAILS, "start a 0"], "DROP-03"),
        (["start a 0", "complete a 0", FAILS, "start a 0"], "DROP-03"),
        (["start a 0", FAILS, "complete a 0", "start a 0"], "DROP-03"),
        ([FAILS, "start b 0"], "DROP-03"),
        ([FAILS, "start k 0"], "FAIL-02"),
        ([FAILS, "start a 0 attempt=2"], "FAIL-01"),
        (["start a 0", "fail a 0 failure=retryable until=2", FAILS, "start a 0"], "DROP-03"),
    ],
)
def test_nothing_else_may(words: list[str], clause: str) -> None:
    found = judged((HEADER, steps(*LEFT, *words))).violations
    assert clause in [each.clause for each in found]


@pytest.mark.clause("DROP-03", "DROP-01", "CKPT-08")
def test_an_engine_that_does_not_know_goes_on_from_what_it_makes() -> None:
    words = ["start a 0", FAILS, "complete a 0", "start b 0", "complete b 0"]
    assert first_broken(*LEFT, *words, "drop k 0") is None
    # Two calls of a row fail: it may hear of either first.
    fails = ["start a 0", FAILS, "fail a 0 failure=permanent"]
    for column in "ka":
        assert first_broken(*LEFT, *fails, f"drop {column} 0") is None
    ignorant = [FAILS, "start a 0", "fail a 0 failure=permanent", "drop a 0"]
    assert first_broken(*LEFT, *ignorant) is None


@pytest.mark.clause("BARR-06", "BARR-07", "BARR-08")
def test_a_barrier_may_read_run_and_give_in_the_moment_of_a_failure() -> None:
    begun = [*ALL_A, "start k 0", "start k 1"]
    ends = ["complete v scope=0", "emit v 0:3"]
    assert first_broken(*begun, FAILS, "start v scope=0", *ends) is None
    for reads in (((0, 3),), ((1, 3),)):
        start = {"event": "start", "column": "v", "scope": 0, "reads": reads}
        assert not judged((HEADER, steps(*begun, FAILS, start))).violations
        late = {**start, "t": 1.0}
        found = judged((HEADER, steps(*begun, FAILS, late))).violations
        assert [each.clause for each in found] == (["BARR-06"] if reads == ((0, 3),) else [])
    assert first_broken(*begun, "start v scope=0", FAILS, *ends, "start c 0") is None
    assert first_broken(*begun, "start v scope=0", FAILS, "drop k 0", *ends) == "BARR-07"
    one = ["start a 0", "complete a 0", "start z 0", "start k 0", FAILS]
    assert first_broken(*one, "start v scope=0", "complete v scope=0", "drop k 0", of=ONE) is None
    assert first_broken(*one, "start v scope=0 t=1", of=ONE) == "BARR-08"
    assert first_broken(*one, "drop k 0", "start v scope=0", of=ONE) == "BARR-08"


@pytest.mark.clause("STOP-01", "GROUP-01")
def test_an_early_stop_binds_once_time_moves_on_or_it_is_recorded() -> None:
    stops = FailurePolicy(1, stop_window=1, stop_rate=1.0)
    for limits, start in ((Limits(), "start a 2"), (Limits(group_rows=2), "admit 2:3")):
        of = header(limits, failures=stops, graph=CHAIN)
        begun = [*(["admit 0:2"] if limits.group_rows else []), *LEFT, FAILS]
        assert first_broken(*begun, start, of=of) is None
        assert first_broken(*begun, f"{start} t=1", of=of) == "STOP-01"
        assert first_broken(*begun, "stop", start, of=of) == "STOP-01"
