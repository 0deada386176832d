"""The page on the power of the suite: it names each broken engine, and leaves none unexplained."""

from __future__ import annotations

import re

import pytest

from cellspec.conformance.campaign.options import MAX_EXAMPLES
from cellspec.errors import SpecError
from tests.matrix import power
from tests.matrix.engine_mutants import EngineMutant
from tests.matrix.power import (
    ENGINES,
    LEAST_SHARE,
    PAGE,
    SEEDS,
    Death,
    Drawn,
    page,
    put_to,
    too_seldom,
)

ANY = ENGINES[0].name


def deaths(survived: dict[str, int]) -> list[Death]:
    """Every broken engine under every seed; of these, so many first seeds did not kill them."""
    return [
        Death(mutant.name, seed, "", "", 0, 99)
        if seed < survived.get(mutant.name, 0)
        else Death(mutant.name, seed, "SCHED-12", "core", seed + 1, 10 * (seed + 1))
        for mutant in ENGINES
        for seed in range(SEEDS)
    ]


def test_the_page_names_every_broken_engine_with_its_seeds_and_workloads() -> None:
    text = page(deaths({}), SEEDS, MAX_EXAMPLES)
    for mutant in ENGINES:
        assert f"| {mutant.name} | {SEEDS} | 105 | 200 | SCHED-12 {SEEDS} |" in text
    assert "None: each died in every seed." in text


def test_a_broken_engine_that_dies_too_seldom_needs_a_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert too_seldom(deaths({ANY: 1}), SEEDS) == set()
    few = deaths({ANY: 2})
    assert too_seldom(few, SEEDS) == {ANY}
    monkeypatch.setitem(power.REASONS, ANY, "it is rare")
    assert f"| {ANY} | 18 of {SEEDS} | 0, 1 | it is rare |" in page(few, SEEDS, MAX_EXAMPLES)


def test_the_published_page_leaves_no_broken_engine_unexplained() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert f"its default size, {MAX_EXAMPLES} of each profile" in text
    assert f"each of {SEEDS} seeds" in text, "`make power` is due"
    _, _, table = text.partition("## Every broken engine")
    rows = re.findall(r"^\| (.+?) \| (\d+) \| ", table, re.MULTILINE)
    killed = {name: int(seeds) for name, seeds in rows}
    assert killed.keys() == {mutant.name for mutant in ENGINES}, "`make power` is due"
    few = {name for name, seeds in killed.items() if seeds < LEAST_SHARE * SEEDS}
    assert few <= power.REASONS.keys()


def test_the_reasons_are_those_of_broken_engines() -> None:
    assert power.REASONS.keys() <= {mutant.name for mutant in ENGINES}


def test_what_the_right_engine_breaks_too_is_no_death(monkeypatch: pytest.MonkeyPatch) -> None:
    mutant = next(one for one in ENGINES if one.name == "dispatches after stop")
    drawn = Drawn(mutant.able, 0)
    assert put_to(mutant, 0, 2, drawn) == Death(mutant.name, 0, "STOP-01", "skips", 2, 20)
    monkeypatch.setattr(type(mutant), "as_right", lambda self: self)
    with pytest.raises(SpecError, match="workload 2 of profile skips: the right engine behind"):
        put_to(mutant, 0, 2, drawn)


@pytest.mark.parametrize("mutant", ENGINES, ids=lambda one: one.name.replace(" ", "-"))
def test_the_right_engine_has_the_capabilities_of_the_broken_one(
    mutant: EngineMutant,
) -> None:
    right = mutant.as_right()
    assert right.wrong == "nothing"
    assert right.backend().capabilities == mutant.backend().capabilities
