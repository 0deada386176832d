"""Two models that share no code agree: the explorer, and the Murphi model under rumur."""

from __future__ import annotations

import re

import pytest

from sim.explore.tiers import Configuration
from tests.explore_mutants import MUTANTS, Mutant
from tests.rumur import CONFIGURATIONS, INSTALLED, MODEL, ask, broken_configuration, counts_of

rumur = [
    pytest.mark.rumur,
    pytest.mark.skipif(not INSTALLED, reason="needs rumur and gcc (Debian packages)"),
]


def names(text: str) -> list[str]:
    return re.findall(r"^  ([A-Z][a-z]\w+): \d+;$", text, re.M)


def test_the_model_knows_every_mistake_that_the_explorer_knows() -> None:
    text = (MODEL / "cellspec.m").read_text(encoding="utf-8")
    assert names(text) == [mutant.name for mutant in MUTANTS]


@pytest.mark.parametrize("one", CONFIGURATIONS, ids=str)
class TestCounts:
    pytestmark = rumur

    def test_states_and_transitions_are_those_of_the_explorer(self, one: Configuration) -> None:
        answer = ask(one)
        assert answer.broken == ""
        assert (answer.states, answer.transitions) == counts_of(one)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
class TestMistakes:
    pytestmark = rumur

    def test_a_mistake_is_found_in_as_few_steps_as_by_the_explorer(self, mutant: Mutant) -> None:
        answer = ask(broken_configuration(mutant), mutant.name)
        assert answer.broken
        if mutant.clause == "SCHED-12":
            # Of the states from which no end is reached, rumur shows any, and not the nearest.
            assert answer.broken == "SCHED-12"
            assert answer.steps >= mutant.steps
        else:
            assert answer.steps == mutant.steps
