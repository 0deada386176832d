"""Draws: each is a function of its key, the numbers are pinned, and one module makes them all."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

import sim
from sim.draws import sequence, stream, unit, units

SOURCES = sorted(Path(str(sim.__file__)).parent.rglob("*.py"))
MAKERS = {"Random", "Philox", "Generator", "default_rng", "SystemRandom", "seed"}


def test_the_numbers_of_each_form_are_pinned() -> None:
    """Another number here changes every published fingerprint."""
    draws = stream(7, "cell", "answer", 1)
    assert draws.at(3).rng.random(2).tolist() == [0.33227905149388903, 0.09988222757042442]
    assert draws.part(1).rng.random() == 0.14450280404129712
    assert draws.origin == 9778415298187766513
    assert unit(7, 1, 20, 1, 0) == 0.37373304072987634
    assert sequence(7, "crashes").random() == 0.8383087858530971
    assert sequence(7, 1, 0).random() == 0.9865501095623885


def test_a_block_of_a_stream_does_not_depend_on_what_was_drawn_before() -> None:
    one, other = stream(7, "cell", "answer", 2), stream(7, "cell", "answer", 2)
    one.at(0).rng.random(500)
    one.part(4).rng.random(3)
    assert one.at(9).rng.random(5).tolist() == other.at(9).rng.random(5).tolist()


@pytest.mark.parametrize(
    "other", [(8, "cell", "a", 1), (7, "barrier", "a", 1), (7, "cell", "b", 1)]
)
def test_streams_of_other_names_are_others(other: tuple[int, str, str, int]) -> None:
    assert stream(7, "cell", "a", 1).rng.random() != stream(*other).rng.random()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_one_module_alone_makes_random_numbers(path: Path) -> None:
    if path.name == "draws.py":
        return
    calls = [
        node.func
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]
    names = {f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in calls}
    assert not names & MAKERS


@pytest.mark.parametrize("seed", [0, 3, -5, 1 << 70])
def test_units_are_the_units_of_their_places(seed: int) -> None:
    places = np.arange(1024, 1324, dtype=np.uint64)
    found = units((seed, 2), places, (1, 0, 4)).tolist()
    assert found == [unit(seed, 2, place, 1, 0, 4) for place in range(1024, 1324)]
