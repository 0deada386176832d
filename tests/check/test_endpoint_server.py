"""One endpoint, step by step: what it finds wrong, in which words and with which numbers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cellspec.check.endpoints.call import Call
from cellspec.check.endpoints.server import INSTANT_S, ROUNDING, Server
from cellspec.check.endpoints.words import EndpointWords
from cellspec.trace.format import EndpointSums

NEAR_S = 1e-8
"""Moments near 0 s that differ by so much may be one."""

SERVED = ("sent", "serving")
DECODES = ("sent", "serving", "decoding")
NO_REASON = "it is refused: no outage, no full line and no limit was in its way"


class Endpoint:
    """An endpoint with its calls, and what it finds wrong."""

    def __init__(self, **words: Any) -> None:
        self.found: list[str] = []
        self.server = Server("chat", msgspec.convert(words, EndpointWords), self._breaks)
        self._calls: dict[int, Call] = {}

    def does(self, t: float, row: int, *steps: str, **fields: Any) -> Call:
        """The call of a row takes steps at one time; it asks for a second of work."""
        server = self.server
        server.at(t)
        call = self._calls.setdefault(row, Call(("a", row, False), row + 1, 1, work=1.0))
        for name, value in fields.items():
            setattr(call, name, value)
        for step in steps:
            if step == "sent":
                server.comes(call, t)
            elif step == "queued":
                server.queued(call, t)
            elif step == "serving":
                server.serving(call, t)
            elif step == "decoding":
                server.decoding(call, t)
            elif step == "lost":
                server.lost(call, t)
            elif step == "refused":
                server.refused(call, None)
            else:
                server.ends(call, t, answered=step == "answered")
        return call

    def states(self, prompts: float = 0, answers: float = 0, **seconds: float) -> None:
        """The trace states its sums, of which those that are not given are 0."""
        none = {"queue_s": 0.0, "prefill_s": 0.0, "decode_s": 0.0}
        stated = EndpointSums(**none | seconds, prompt_tokens=prompts, output_tokens=answers)
        self.server.hold(stated, [*self._calls.values()])

    def _breaks(self, clause: str, detail: str) -> None:
        text = detail.removeprefix("endpoint 'chat': ")
        self.found.append(f"{clause} {text}")


def a_day(**limit: Any) -> dict[str, Any]:
    """A limit whose level only calls change."""
    return {"per_s": 1000, "window": "fixed", **limit}


# What is over with an instant


@pytest.mark.parametrize("later_s", [INSTANT_S, 2 * INSTANT_S])
def test_calls_that_are_served_are_counted_when_their_instant_is_over(later_s: float) -> None:
    chat = Endpoint(max_in_flight=1)
    chat.does(0, 0, *SERVED)
    chat.does(0, 1, *SERVED)
    chat.does(later_s, 0, "error")
    chat.server.close()
    many = ["ENDP-01 a[1]: 2 are served, and 1 may be"]
    assert chat.found == (many if later_s > INSTANT_S else [])


def test_everyone_who_overtakes_is_named_once() -> None:
    chat = Endpoint()
    for row in (0, 1):
        chat.does(0, row, "sent", "queued")
    for row in (2, 3):
        chat.does(0, row, *SERVED)
    chat.server.close()
    chat.server.close()
    assert chat.found == [
        f"ENDP-03 a[{row}]: a[0] came before it, and is in line" for row in (2, 3)
    ]


def test_nobody_is_overtaken_who_comes_again_after_a_crash() -> None:
    chat = Endpoint()
    first, second = chat.does(0, 0, "sent", "queued"), chat.does(0, 1, *SERVED)
    chat.server.crash([first, second], 0)
    chat.does(0, 0, "sent", "queued")
    chat.server.close()
    assert chat.found == []


@pytest.mark.parametrize("words", [{}, {"max_in_flight": 1, "kv_tokens": 100}])
def test_a_line_is_too_long_only_where_the_number_of_calls_alone_makes_them_wait(
    words: dict[str, Any],
) -> None:
    chat = Endpoint(queue=0, **words)
    chat.does(0, 0, *SERVED)
    chat.does(0, 1, "sent", "queued")
    chat.server.close()
    assert chat.found == []


# Room for tokens


@pytest.mark.parametrize(
    ("tokens", "too_many"), [(100, False), (100 * (1 + ROUNDING), False), (100.001, True)]
)
def test_calls_take_no_more_room_than_there_is_up_to_rounding(
    tokens: float, *, too_many: bool
) -> None:
    chat = Endpoint(kv_tokens=100)
    chat.does(0, 0, *SERVED, prompt=tokens)
    chat.server.close()
    taken = ["ENDP-02 a[0]: 100.001 tokens of 100 are taken"]
    assert chat.found == (taken if too_many else [])


def test_who_leaves_makes_room_for_others() -> None:
    chat = Endpoint(kv_tokens=100)
    chat.does(0, 0, *SERVED, prompt=60)
    chat.does(0, 1, *SERVED, prompt=40)
    chat.does(1, 0, "error")
    chat.does(1, 2, *SERVED, prompt=60)
    chat.server.close()
    assert chat.found == []


def test_an_endpoint_that_all_have_left_has_its_room_whatever_was_rounded_before() -> None:
    """Beside 1e30 tokens one token is lost in the sum."""
    chat = Endpoint(kv_tokens=100)
    chat.does(0, 0, *SERVED, prompt=1)
    chat.does(0, 1, *SERVED, prompt=1e30)
    chat.does(1, 1, "error")
    chat.does(1, 0, "error")
    chat.does(1, 2, *SERVED, prompt=101)
    chat.server.close()
    assert chat.found == [
        "ENDP-02 a[1]: 1e+30 tokens of 100 are taken",
        "ENDP-02 a[2]: 101 tokens of 100 are taken",
    ]


@pytest.mark.parametrize(("tokens", "fits"), [(100 * (1 - ROUNDING), True), (100, False)])
def test_who_fits_into_the_room_by_more_than_rounding_does_not_wait(
    tokens: float, *, fits: bool
) -> None:
    chat = Endpoint(kv_tokens=100)
    chat.does(0, 0, "sent", "queued", prompt=tokens)
    chat.server.at(1)
    waits = ["ENDP-17 a[0]: it waits in line from 0 s on, and 0 are served"]
    assert chat.found == (waits if fits else [])


# Outages


def test_an_outage_may_take_a_call_until_its_first_instant_is_over() -> None:
    chat = Endpoint(outages=[{"from_s": INSTANT_S, "to_s": 1}])
    chat.does(0, 0, *SERVED)
    chat.does(2 * INSTANT_S, 0, "lost")
    assert chat.found == []


def test_each_outage_takes_calls() -> None:
    chat = Endpoint(outages=[{"from_s": 1, "to_s": 2}, {"from_s": 3, "to_s": 4}])
    chat.does(0, 0, *SERVED)
    chat.does(1, 0, "lost")
    chat.does(2, 1, *SERVED)
    chat.does(3, 1, "lost")
    assert chat.found == []
    chat.does(4, 2, *SERVED)
    chat.does(5, 2, "lost")
    assert chat.found == ["ENDP-12 a[2]: it is lost, and no outage begins that takes what runs"]


def test_an_outage_takes_a_call_that_came_as_it_began() -> None:
    chat = Endpoint(outages=[{"from_s": 1, "to_s": 2}])
    chat.does(1, 0, *SERVED)
    chat.server.at(2)
    assert chat.found == [
        "ENDP-12 a[0]: it is taken in, in an outage",
        "ENDP-12 a[0]: it is here after an outage that began at 1 s and takes all",
    ]


@pytest.mark.parametrize("length_s", [INSTANT_S, 2 * INSTANT_S])
def test_an_outage_that_is_over_within_an_instant_refuses_nobody(length_s: float) -> None:
    chat = Endpoint(outages=[{"from_s": 0, "to_s": length_s}])
    chat.does(0, 0, "sent", "refused")
    assert chat.found == ([f"ENDP-09 a[0]: {NO_REASON}"] if length_s == INSTANT_S else [])


def test_the_last_instant_of_a_late_outage_takes_calls_in() -> None:
    chat = Endpoint(outages=[{"from_s": 1, "to_s": 1 + INSTANT_S / 2, "running": "finish"}])
    chat.does(1, 0, *SERVED)
    assert chat.found == []


# Limits that give back


GIVING = [
    a_day(requests=9),
    a_day(tokens=20, give_back=True),
    a_day(tokens=30, give_back=True),
]


def test_a_call_that_leaves_gives_back_what_it_did_not_use() -> None:
    chat = Endpoint(limits=GIVING)
    chat.does(0, 0, *DECODES, reserved=10, output=4)
    chat.does(0.5, 0, "error")
    chat.does(0.5, 1, *SERVED, reserved=17)
    assert chat.found == ["ENDP-08 a[1]: limit 2, of 1000 s, has 16, and the call takes 17"]


def test_all_that_are_due_give_back_before_another_comes_and_not_once_more() -> None:
    chat = Endpoint(limits=GIVING)
    for row in (0, 1):
        chat.does(0, row, *DECODES, reserved=10, output=4)
    chat.does(1, 2, *SERVED, reserved=12)
    assert chat.found == []
    for row in (0, 1):
        chat.does(1, row, "answered")
    chat.does(1, 3, *SERVED, reserved=1)
    assert chat.found == ["ENDP-08 a[3]: limit 2, of 1000 s, has 0, and the call takes 1"]


def test_a_call_that_was_lost_and_came_again_gives_back_once_when_it_is_due() -> None:
    """Its first try would have ended at the same progress of the endpoint."""
    chat = Endpoint(limits=GIVING, outages=[{"from_s": 1, "to_s": 2}])
    chat.does(0, 0, *DECODES, work=5.0)
    chat.does(1, 0, "lost")
    chat.does(2, 0, *DECODES, work=4.0, reserved=10, output=7)
    chat.does(6, 1, *SERVED, reserved=14)
    assert chat.found == ["ENDP-08 a[1]: limit 2, of 1000 s, has 13, and the call takes 14"]


@pytest.mark.parametrize(
    ("work", "gives", "lost"),
    [
        (0.0, True, True),
        (INSTANT_S, True, True),
        (2 * INSTANT_S, True, False),
        (0.5, True, False),
        (0.0, False, False),
    ],
)
def test_nothing_of_limits_is_judged_after_an_answer_that_took_no_time_and_gave_back(
    work: float, *, gives: bool, lost: bool
) -> None:
    chat = Endpoint(limits=[a_day(tokens=10, give_back=gives)])
    chat.does(0, 0, *DECODES, work=work)
    assert chat.server.lost_count == lost
    refused = chat.does(0, 1, "sent")
    chat.server.refused(refused, "queue")
    chat.does(0, 2, *SERVED, reserved=11)
    chat.server.expect_retry_after(refused, 3.0)
    judged = [
        f"ENDP-09 a[1]: {NO_REASON}",
        "ENDP-09 a[1]: it is refused by queue, and nothing was in its way",
        "ENDP-08 a[2]: limit 1, of 1000 s, has 10, and the call takes 11",
        "ENDP-10 a[1]: Retry-After says 3 s, and should say nothing",
    ]
    assert chat.found == ([] if lost else judged)


# Refusals


@pytest.mark.parametrize(
    ("charged", "requests", "wait_s"), [(False, 1, 4), (False, 2, None), (True, 2, 2)]
)
def test_who_meets_a_full_line_waits_for_the_limits_too(
    requests: int, wait_s: float | None, *, charged: bool
) -> None:
    """A refusal that is charged takes the last request, so the call lacks one more."""
    chat = Endpoint(
        max_in_flight=1,
        queue=0,
        limits=[{"requests": requests, "per_s": 4}],
        refusal={"charged": charged},
    )
    chat.does(0, 0, *SERVED)
    refused = chat.does(0, 1, "sent", "refused")
    assert refused.by == (("queue",) if wait_s is None else ("queue", "limit 1"))
    chat.server.expect_retry_after(refused, wait_s)
    assert chat.found == []
    chat.server.expect_retry_after(refused, 5.0)
    should = "nothing" if wait_s is None else f"{wait_s} s"
    assert chat.found == [f"ENDP-10 a[1]: Retry-After says 5 s, and should say {should}"]


def test_a_refusal_that_is_charged_takes_of_all_limits_on_requests_and_of_no_other() -> None:
    chat = Endpoint(
        max_in_flight=1,
        queue=0,
        limits=[a_day(tokens=10), a_day(requests=3)],
        refusal={"charged": True},
    )
    chat.does(0, 0, *SERVED, prompt=2)
    chat.does(0, 1, "sent", "refused", prompt=1)
    chat.does(0, 0, "error")
    chat.does(0, 2, *SERVED, prompt=8)
    chat.does(0, 2, "error")
    assert chat.found == []
    chat.does(0, 3, *SERVED)
    assert chat.found == ["ENDP-08 a[3]: limit 2, of 1000 s, has 0, and the call takes 1"]


@pytest.mark.parametrize(
    ("waits_s", "longest"),
    [
        ([2.5, 2.2], ("limit 1",)),
        ([2.2, 2.5], ("limit 2",)),
        ([100, 100], ("limit 1", "limit 2")),
        ([100, 100 * (1 - ROUNDING) - INSTANT_S], ("limit 1", "limit 2")),
        ([100, 100 * (1 - 2 * ROUNDING) - INSTANT_S], ("limit 1",)),
        ([INSTANT_S], ("limit 1",)),
    ],
)
def test_the_limits_in_the_way_are_those_with_the_longest_wait_up_to_rounding(
    waits_s: list[float], longest: tuple[str, ...]
) -> None:
    chat = Endpoint(limits=[{"requests": 1, "per_s": s, "window": "fixed"} for s in waits_s])
    chat.does(0, 0, *SERVED)
    assert chat.does(0, 1, "sent", "refused").by == longest


@pytest.mark.parametrize(
    ("due_s", "says_s", "wrong"),
    [
        # The difference is the whole allowance: 1e-8 s and a billionth of what is due.
        (NEAR_S + ROUNDING * NEAR_S, 0.0, False),
        (2 * NEAR_S, 0.0, True),
        (1000, 1000 + 5e-7, False),
        (1000, 1000 - 5e-7, False),
        (1000, 1000 + 2e-6, True),
    ],
)
def test_a_retry_after_may_be_rounded(due_s: float, says_s: float, *, wrong: bool) -> None:
    chat = Endpoint(outages=[{"from_s": 0, "to_s": due_s}])
    refused = chat.does(0, 0, "sent", "refused")
    chat.server.expect_retry_after(refused, says_s)
    text = f"Retry-After says {says_s:.9g} s, and should say {due_s:.9g} s"
    assert chat.found == ([f"ENDP-10 a[0]: {text}"] if wrong else [])


def test_the_later_it_is_the_more_a_moment_may_be_rounded() -> None:
    chat = Endpoint(outages=[{"from_s": 1e5, "to_s": 1e5 + 1}])
    refused = chat.does(1e5, 0, "sent", "refused")
    chat.server.expect_retry_after(refused, 1 + 5e-8)
    assert chat.found == []
    chat.server.expect_retry_after(refused, 1 + 2e-7)
    assert chat.found == ["ENDP-10 a[0]: Retry-After says 1.0000002 s, and should say 1 s"]


# Prompts and answers


@pytest.mark.parametrize("prompt", [NEAR_S, 2 * NEAR_S])
def test_a_prompt_may_be_read_as_much_too_early_as_moments_are_rounded(prompt: float) -> None:
    chat = Endpoint(prefill_tokens_per_s=1)
    chat.does(0, 0, *DECODES, prompt=prompt)
    early = ["ENDP-07 a[0]: its prompt was read 2e-08 s too early"]
    assert chat.found == (early if prompt > NEAR_S else [])


@pytest.mark.parametrize(
    ("t", "work", "how"),
    [
        (0, NEAR_S, ""),
        (0, 2 * NEAR_S, "2e-08 s too early"),
        (NEAR_S * (1 + 1e-12), 0, ""),
        (2 * NEAR_S, 0, "2e-08 s too late"),
    ],
)
def test_an_answer_may_end_as_far_off_as_moments_are_rounded(
    t: float, work: float, how: str
) -> None:
    chat = Endpoint()
    chat.does(0, 0, *DECODES, work=work)
    chat.does(t, 0, "answered")
    found = [f"ENDP-06 a[0]: it ends {how} for the speed that it shared"]
    assert chat.found == (found if how else [])


def test_an_instant_divides_by_no_speed_also_where_the_line_of_speeds_falls_to_0() -> None:
    chat = Endpoint(tpot_s={"1": 2.0, "2": 1.0}, beyond="line")
    for row in range(3):
        chat.does(0, row, *DECODES)
    for row in range(3):
        chat.does(0, row, "error")
    assert chat.found == []


# Sums


@pytest.mark.parametrize(
    ("steps", "work", "t", "charged"),
    [
        ((*DECODES, "answered"), 0, 0, True),
        # Who has an answer is charged, also for one that came too early.
        ((*DECODES, "answered"), 1, 0, True),
        # An error is an answer, also one that took no time; else who left at once is not charged.
        ((*DECODES, "error"), 0, 0, True),
        ((*DECODES, "error"), NEAR_S, 0, True),
        ((*DECODES, "error"), 1, 0, False),
        ((*SERVED, "error"), 1, 0, False),
        ((*DECODES, "lost"), 1, 0, False),
        (DECODES, 1, 0, False),
        (SERVED, 1, 0, False),
        (SERVED, 1, 0.5, True),
        (DECODES, 1, 0.5, True),
        (("sent", "queued"), 1, 0.5, False),
        (("sent", "queued", "error"), 1, 0.5, False),
    ],
)
def test_who_was_served_for_a_time_or_answered_is_charged(
    steps: tuple[str, ...], work: float, t: float, *, charged: bool
) -> None:
    """Its tokens, and those of a call before it that was answered."""
    chat = Endpoint(cold_start={"first_s": 0})
    chat.does(0, 0, *DECODES, "answered", work=0, prompt=40, output=2)
    chat.does(0, 1, *steps, work=work, prompt=5, output=3)
    chat.server.at(t)
    chat.found.clear()
    chat.states(-1, -1, queue_s=-1, prefill_s=-1, decode_s=-1)
    tokens = (45, 5) if charged else (40, 2)
    assert chat.found[-2:] == [
        f"ENDP-15 prompt tokens charged: -1 stated, {tokens[0]} counted",
        f"ENDP-15 output tokens charged: -1 stated, {tokens[1]} counted",
    ]


def test_the_sums_are_of_calls_that_left_and_of_all_that_run_yet() -> None:
    chat = Endpoint(cold_start={"first_s": 0}, prefill_tokens_per_s=10)
    chat.does(0, 0, *SERVED, prompt=10, output=3, work=9)
    chat.does(0, 1, *SERVED, prompt=100, output=4)
    chat.does(0, 2, "sent", "queued", prompt=1000, output=1000)
    chat.does(1, 0, "decoding")
    chat.server.at(3)
    chat.states(110, 7, queue_s=3, prefill_s=4, decode_s=2)
    assert chat.found == []


@pytest.mark.parametrize(
    ("counted", "more", "wrong"),
    [(0, 1e-9, False), (0, 2e-9, True), (0, 5e-10, False), (1000, 5e-7, False), (1000, 2e-6, True)],
)
def test_a_sum_may_differ_by_a_billionth_and_a_small_one_by_that_of_a_second(
    counted: float, more: float, *, wrong: bool
) -> None:
    chat = Endpoint(cold_start={"first_s": 0})
    chat.does(0, 0, "sent", "queued")
    chat.server.at(counted)
    chat.states(queue_s=counted + more)
    text = f"seconds in line: {counted + more:.9g} stated, {counted:g} counted"
    assert chat.found == ([f"ENDP-05 {text}"] if wrong else [])


def test_the_last_instant_is_over_when_the_sums_are_stated() -> None:
    chat = Endpoint(max_in_flight=1)
    for row in (0, 1):
        chat.does(0, row, *SERVED)
    chat.states()
    assert chat.found == ["ENDP-01 a[1]: 2 are served, and 1 may be"]
