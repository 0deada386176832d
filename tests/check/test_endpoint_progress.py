"""What an endpoint gives: levels of its limits, its shared speed, the reading of prompts."""

from __future__ import annotations

from typing import Any

import pytest

from cellspec.check.endpoints.call import Call
from cellspec.check.endpoints.limits import Level
from cellspec.check.endpoints.progress import Decoding, Reading
from cellspec.check.endpoints.words import EndpointWords, LimitWords

SECOND_A_UNIT = EndpointWords()


def call(row: int, **fields: Any) -> Call:
    return Call(("a", row, False), row + 1, 1, **fields)


# Limits


def test_a_fixed_window_has_no_burst() -> None:
    fixed = Level(LimitWords(per_s=4, requests=2, burst=3, window="fixed"))
    bucket = Level(LimitWords(per_s=4, requests=2, burst=3))
    assert (fixed.left(0), bucket.left(0)) == (2, 3)


@pytest.mark.parametrize("holds", [1, 100])
def test_what_lacks_no_more_than_a_billionth_of_a_limit_lacks_nothing(holds: float) -> None:
    level = Level(LimitWords(per_s=4, tokens=holds))
    level.take(holds, 0)
    assert level.lacks(1e-9 * holds, 0) == 0
    assert level.lacks(2e-9 * holds, 0) == 2e-9 * holds


@pytest.mark.parametrize(
    ("more", "left"), [(0, 0), (1e-9, 0), (2e-9, 0), (2.5e-9, -2.5e-9), (0.5, -0.5), (50, -50)]
)
def test_only_what_was_taken_too_much_by_a_rounding_is_forgotten(more: float, left: float) -> None:
    level = Level(LimitWords(per_s=4, tokens=1))
    level.take(1, 0)
    level.take(more, 0)
    assert level.left(0) == left


# The shared speed


def test_an_endpoint_that_all_have_left_is_as_fast_as_a_new_one() -> None:
    decoding = Decoding(EndpointWords(work={"full_speed": 0.5}))
    new = decoding.unit_s
    decoding.join(call(0), watched=False)
    assert decoding.unit_s != new
    decoding.leave()
    assert decoding.unit_s == new


@pytest.mark.parametrize("units", [1, 2, 1_000_000])
def test_progress_is_as_exact_after_whole_units_as_at_first(units: int) -> None:
    decoding, late = Decoding(SECOND_A_UNIT), call(1)
    decoding.join(call(0), watched=False)
    decoding.pass_(units)
    decoding.join(late, watched=False)
    decoding.pass_(0.1)
    assert decoding.received(late) == 0.1


def test_calls_are_due_when_they_received_their_work_in_the_order_in_which_they_began() -> None:
    """Quarters of seconds, so that all sums are exact."""
    decoding = Decoding(SECOND_A_UNIT)
    early, unwatched = call(0, work=2.75), call(1, work=0.5)
    decoding.join(early, watched=True)
    decoding.join(unwatched, watched=False)
    decoding.pass_(1.5)
    late, last = call(2, work=1.25), call(3, work=1.5)
    decoding.join(late, watched=True)
    decoding.join(last, watched=True)
    assert decoding.due(1) == []
    decoding.pass_(0.75)
    assert decoding.due(0.25) == []
    assert decoding.due(0.5) == [early, late]
    assert decoding.due(0.5) == []
    assert decoding.due(0.75) == [last]
    decoding.pass_(9)
    assert decoding.due(0) == []


# The reading of prompts


def test_who_waits_and_leaves_does_not_hold_up_the_prompt_that_is_read() -> None:
    reading = Reading(EndpointWords(prefill_tokens_per_s=10))
    first, second = call(0, prompt=20), call(1, prompt=50)
    reading.join(first)
    reading.join(second)
    reading.pass_(1.5)
    reading.leave(second)
    assert reading.rest_s(first) == 0.5
