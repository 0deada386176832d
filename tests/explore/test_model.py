"""Two models that share no code agree: the explorer, and the Murphi model under rumur."""

from __future__ import annotations

import functools
import re

import pytest

from cellspec.explore.bounds import Configuration
from cellspec.explore.relation import Faults
from cellspec.explore.search import SearchResult
from tests.explore.mutants import MUTANTS, Mutant
from tests.explore.rumur import (
    CONFIGURATIONS,
    INSTALLED,
    MODEL,
    ask,
    ask_all,
    broken_configuration,
    counts_of,
    drawn,
)

rumur = [
    pytest.mark.rumur,
    pytest.mark.skipif(not INSTALLED, reason="needs rumur and gcc (Debian packages)"),
]


@functools.cache
def all_drawn() -> dict[Configuration, SearchResult]:
    """The configurations drawn at random, once for all tests."""
    return drawn(44)


def names(text: str) -> list[str]:
    return re.findall(r"^  ([A-Z][a-z]\w+): \d+;$", text, re.M)


def test_the_model_knows_every_mistake_that_the_explorer_knows() -> None:
    text = (MODEL / "cellspec.m").read_text(encoding="utf-8")
    assert names(text) == [mutant.name for mutant in MUTANTS]


@pytest.mark.parametrize("one", CONFIGURATIONS, ids=str)
class TestCounts:
    pytestmark = rumur

    def test_states_and_transitions_are_those_of_the_explorer(self, one: Configuration) -> None:
        expected = counts_of(one)
        answer = ask(one, states=expected[0])
        assert answer.broken == ""
        assert (answer.states, answer.transitions) == expected


class TestDrawn:
    pytestmark = rumur

    def test_both_agree_on_configurations_drawn_at_random(self) -> None:
        expected = all_drawn()
        for one, answer in zip(expected, ask_all(expected), strict=True):
            found = expected[one]
            said = (answer.states, answer.transitions, answer.broken)
            assert said == (found.states, found.transitions, found.clause), str(one)

    @pytest.mark.clause("CKPT-07")
    def test_a_barrier_in_flight_whose_rows_were_dropped_may_be_claimed(self) -> None:
        one = Configuration(1, Faults(crashes=1, drops=1), graph="a v:barrier(a) b(a)")
        answer = ask(one)
        assert (answer.states, answer.transitions, answer.broken) == (71, 148, "")
        assert counts_of(one) == (71, 148)


def test_the_draws_differ_and_have_a_bit_of_everything() -> None:
    found = all_drawn()
    faults = [one.faults for one in found]
    assert {one.rows for one in found} == {1, 2, 3}
    assert {len(one.graph.split()) for one in found} == {1, 2, 3}
    assert {each.crashes for each in faults} == {each.drops for each in faults} == {0, 1, 2}
    assert {each.versions for each in faults} == {(1,), (2,), (1, 2), (3,), (1, 2, 3)}
    assert {each.workers for each in faults} == {None, 1, 2}
    assert {each.retries for each in faults} == {0, 1}
    assert {each.stops for each in faults} == {each.losses for each in faults} == {0, 1, 2}
    assert {each.torn for each in faults} == {False, True}
    assert {each.group_rows for each in faults} == {None, 1, 2, 3}
    assert {each.groups for each in faults} == {None, 1, 2}
    for word in ("row", "row+ordered", "barrier", "batch", "batch+ordered"):
        assert any(f":{word}" in one.graph for one in found), word
    assert {one.batch for one in found} >= {None, 1, 2, 3}
    assert not any(each.clause for each in found.values())
    assert list(drawn(9).items()) == list(found.items())[:9]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
class TestMistakes:
    pytestmark = rumur

    def test_a_mistake_is_found_in_as_few_steps_as_by_the_explorer(self, mutant: Mutant) -> None:
        answer = ask(broken_configuration(mutant), mutant.name)
        assert answer.broken
        if mutant.clause in ("SCHED-12", "GROUP-08"):
            # Of the states from which no end is reached, rumur shows any, and not the nearest.
            assert answer.broken == "SCHED-12"
            assert answer.steps >= mutant.steps
        else:
            assert answer.steps == mutant.steps
            assert answer.broken == mutant.clause
