"""The digest of what shapes a column's values, and the columns that it tells to have changed."""

from __future__ import annotations

from typing import Any

import pytest

from cellspec import GraphError
from cellspec.graph.configuration import Config, changed_columns, config_digest


def test_a_digest_follows_from_the_data_and_not_from_the_order_of_its_keys() -> None:
    assert config_digest({"model": "é", "prompt": [1, 2.5]}) == "d43fd13fe3d75553"
    assert config_digest({"prompt": [1, 2.5], "model": "é"}) == "d43fd13fe3d75553"
    assert config_digest({"model": "é", "prompt": [1, 2]}) != "d43fd13fe3d75553"


@pytest.mark.parametrize("data", [{"prompt": object()}, float("nan"), {1: "a", "b": 2}])
def test_data_that_json_does_not_have_has_no_digest(data: Any) -> None:
    with pytest.raises(GraphError, match="configuration: expected JSON data: "):
        config_digest(data)


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ({"a": "1", "b": "1", "d": "1"}, {"d": "2", "a": "2", "b": "1", "c": "2"}, ("d", "a")),
        (None, {"a": "2"}, ()),
        ({"a": "2"}, None, ()),
        ({}, {"a": "2"}, ()),
    ],
)
def test_only_what_is_known_on_both_sides_is_compared(
    before: Config | None, after: Config | None, changed: tuple[str, ...]
) -> None:
    assert changed_columns(before, after) == changed
