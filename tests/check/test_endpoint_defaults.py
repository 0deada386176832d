"""The words of a header about an endpoint: what they mean where they are left out."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from cellspec import ColumnDescriptor, ExecutionGraph
from cellspec.check.endpoints.words import EndpointWords, words_of
from cellspec.trace import header_for

GIVEN: dict[str, Any] = {
    "limits": [{"per_s": 60, "requests": 5}],
    "outages": [{"from_s": 1, "to_s": 2}],
    "cold_start": {"first_s": 3},
    "throttle": {},
}
UNSAID: dict[str, Any] = {
    "tpot_s": None,
    "work": None,
    "beyond": None,
    "prefill_tokens_per_s": None,
    "prefill_stalls_decode": False,
    "max_in_flight": None,
    "queue": None,
    "kv_tokens": None,
    "limits": [],
    "refusal": {"latency_s": 0.0, "retry_after": "exact", "charged": False},
    "outages": [],
    "pauses": [],
    "cold_start": None,
    "throttle": None,
    "shared_with": [],
}


def words(given: dict[str, Any]) -> EndpointWords:
    graph = ExecutionGraph(1, [ColumnDescriptor("a")])
    header = header_for(graph, engine="suite", version="1", endpoints={"chat": given})
    return words_of(header, "trace")["chat"]


def plain(given: EndpointWords) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(msgspec.json.encode(given))
    return said


def test_a_word_that_is_left_out_means_what_it_does_in_a_scenario_file() -> None:
    assert plain(words({})) == UNSAID
    said = plain(words(GIVEN))
    (limit,) = said["limits"]
    assert limit == {
        **{"per_s": 60, "requests": 5, "tokens": None, "burst": None},
        **{"window": "bucket", "charge": "reserved", "give_back": False},
    }
    assert said["outages"] == [{"from_s": 1, "to_s": 2, "running": "fail"}]
    assert said["cold_start"] == {"first_s": 3, "idle_s": None}
    assert said["throttle"] == {
        **{"start": None, "decrease": 0.75, "increase": 1, "successes": 25},
        **{"cool_down_s": 2.0, "pause_s": None},
    }


def test_nobody_changes_what_a_header_says() -> None:
    given = words(GIVEN)
    parts = (given, given.limits[0], given.refusal, given.outages[0], given.cold_start)
    for part in (*parts, given.throttle):
        assert part is not None
        with pytest.raises(AttributeError, match="immutable"):
            setattr(part, part.__struct_fields__[0], None)
