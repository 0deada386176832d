"""Calls that are taken back: which call it is, how often, and what becomes of its node."""

from __future__ import annotations

import pytest

from tests.machine.test_refusals import machine, made, ran, refusal, take

AGAIN = 8
"""How often a node may be taken back in a row."""


@pytest.mark.clause("FAIL-05")
@pytest.mark.parametrize("attempt", [1, 2])
@pytest.mark.parametrize("dropped", [True, False])
def test_the_attempt_that_is_taken_back_is_the_one_in_flight(dropped: bool, attempt: int) -> None:
    run = machine("az")
    take(run, "start a 0")
    if dropped:
        take(run, "start z 0", "fail z 0 failure=permanent")
    found = refusal(run, f"take_back a 0 attempt={attempt}")
    told = f"FAIL-05: attempt {attempt} of a[0] ends, but attempt 1 is in flight"
    assert found == ("" if attempt == 1 else told)


@pytest.mark.clause("FAIL-05")
@pytest.mark.parametrize("attempt", [1, 2])
def test_a_range_is_taken_back_by_the_attempt_of_its_rows(attempt: int) -> None:
    run = machine("ao")
    found = refusal(run, *made("a", 0, 1), "start o 0:2", f"take_back o 0 attempt={attempt}")
    told = f"FAIL-05: attempt {attempt} of o[0] ends, but attempt 1 is in flight"
    assert found == ("" if attempt == 1 else told)


@pytest.mark.clause("FAIL-06")
def test_output_of_a_barrier_is_no_call_that_could_be_taken_back() -> None:
    run = machine("akv", 2)
    take(run, *made("a", 0, 1), *made("k", 0, 1), *ran("v", 0), "start v 0")
    assert refusal(run, "take_back v 0").startswith("FAIL-06: v[0] is taken back")


@pytest.mark.clause("FAIL-06")
def test_a_barrier_is_taken_back_only_so_often_in_a_row() -> None:
    run = machine("akv", 2)
    take(run, *made("a", 0, 1), *made("k", 0, 1), *["start v /0", "take_back v /0"] * AGAIN)
    assert refusal(run, "start v /0", "take_back v /0") == (
        f"FAIL-06: barrier 0 of 'v' is taken back again, after {AGAIN} times in a row"
    )


@pytest.mark.clause("FAIL-06", "BARR-08")
def test_a_barrier_that_is_taken_back_when_no_row_wants_it_is_over() -> None:
    run = machine("azu", 2)
    take(run, *made("a", 0, 1), "start u /0")
    for row in (0, 1):
        take(run, f"start z {row}", f"fail z {row} failure=permanent", f"drop z {row}")
    assert not run.counters.is_barrier_resolved(2, 0)
    take(run, "take_back u /0")
    assert run.counters.is_barrier_resolved(2, 0)
    assert refusal(run, "start u /0").startswith("BARR-08: ")


@pytest.mark.clause("FAIL-06")
@pytest.mark.parametrize("often", [0, 1])
def test_a_range_is_taken_back_no_oftener_than_the_row_of_it_that_was_most_often(
    often: int,
) -> None:
    """Its rows were taken back before: the last one, or the first two, in other ranges."""
    run = machine("ao")
    take(run, *made("a", 0, 1, 2), *["start o 0:2", "take_back o 0"] * AGAIN)
    if often:
        # The end of a call of its own: the first row begins anew, and the second does not.
        take(run, "start o 0", "fail o 0 failure=retryable")
    assert refusal(run, f"start o 0:{3 - often}", "take_back o 0") == (
        f"FAIL-06: o[0] is taken back again, after {AGAIN} times in a row"
    )
