"""The marker of a skipped cell is one object, whoever imports it and however it travels."""

from __future__ import annotations

import copy
import importlib
import pickle

import pytest

from cellspec.skipped import SKIPPED, Skipped

PLACES = (
    "cellspec.conformance",
    "cellspec.conformance.run.backend",
    "cellspec.conformance.run.values",
    "cellspec.engine",
    "cellspec.engine.values",
)


@pytest.mark.parametrize("place", PLACES)
def test_every_module_that_offers_the_marker_offers_the_same_object(place: str) -> None:
    assert importlib.import_module(place).SKIPPED is SKIPPED


@pytest.mark.parametrize("place", ["cellspec.conformance.run.backend", "cellspec.engine.values"])
def test_the_type_of_the_marker_is_found_where_it_was(place: str) -> None:
    assert importlib.import_module(place).Skipped is Skipped


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_the_marker_is_the_same_object_after_pickling(protocol: int) -> None:
    assert pickle.loads(pickle.dumps(SKIPPED, protocol)) is SKIPPED
    assert copy.deepcopy(SKIPPED) is SKIPPED


def test_the_marker_is_shown_by_its_name() -> None:
    assert (repr(SKIPPED), SKIPPED.value) == ("SKIPPED", "skipped")
