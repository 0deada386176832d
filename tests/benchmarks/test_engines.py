"""The cost of engines is measured, and its page says what was. No figure is judged here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from cellspec.errors import SpecError
from tests.benchmarks import engines
from tests.benchmarks.engines import Engine, measure, measure_socket, tree_cpu_s
from tests.benchmarks.engines_page import FINDINGS, render, write

REFERENCE = "cellspec.engines.reference:ReferenceBackend"
SECOND = "tests.conformance.second_engine:ColumnFirst"


@pytest.mark.parametrize("shape", engines.SHAPES)
@pytest.mark.parametrize("spec", [REFERENCE, SECOND])
def test_every_shape_is_run_to_its_end(spec: str, shape: str) -> None:
    found = measure(spec, shape, 60)
    # A dataset of 20 rows has one barrier.
    assert found["tasks"] == (61 if shape in ("barrier", "batches") else 60)
    assert all(us > 0 for us in [*found["us"], *found["unit_us"]])


def test_an_engine_is_not_asked_for_what_it_does_not_claim() -> None:
    assert measure("tests.tiny:TinyAsync", "groups", 40) == {"absent": "does not claim groups"}


def test_an_engine_in_real_time_is_measured_with_all_its_processes() -> None:
    before = tree_cpu_s()
    found = measure("cellspec.engines.reference:ThreadBackend", "cells", 40)
    assert found["tasks"] == 40
    assert tree_cpu_s() >= before


def test_the_socket_is_measured_apart() -> None:
    assert measure_socket(10)["us"] > 0


def test_an_engine_that_is_not_there_is_told_in_one_line() -> None:
    with pytest.raises(SpecError, match="nowhere:Backend"):
        measure("nowhere:Backend", "cells", 10)
    engine = Engine("nowhere", "nowhere:Backend", sys.executable)
    found = engines.child(engine, "load", engine.spec, "cells", "10")
    assert found == {"absent": "nowhere:Backend: No module named 'nowhere'"}
    with pytest.raises(SpecError, match="expected RELEASE=INTERPRETER"):
        engines.engines(["1.0=/no/such/python"])


def test_a_registered_engine_is_measured_by_its_name() -> None:
    found = engines.engines([f"{name}={sys.executable}" for name in engines.TITLES])[-2:]
    assert [(engine.name, engine.spec) for engine in found] == [
        ("Dask", "cellspec.engines.dask:DaskBackend"),
        ("Ray", "cellspec.engines.ray:RayBackend"),
    ]


def test_a_size_that_would_take_too_long_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    each = {1_000: 100.0, 10_000: 1_000.0}

    def child(_engine: Engine, *arguments: str, **_: Any) -> dict[str, Any]:
        return {"us": [each[int(arguments[-1])]]}

    monkeypatch.setattr(engines, "child", child)
    found = dict(engines._sizes(Engine("e", "e:E"), "cells", engines.SIZES))
    # Ten times as much for ten times as many: 10 ms each.
    assert found[100_000] == {"expected_s": 1_000}


def data() -> dict[str, Any]:
    detail = "an event costs more x: 1 lines a, 9 b; of them 1 and 8 in "

    def grew(clause: str, ratio: float, function_ratio: float, *, too_much: bool) -> dict[str, Any]:
        figures = {"ratio": ratio, "function_ratio": function_ratio}
        whole = {"whole_too_much": ratio >= 1.5}
        return {"clause": clause, **figures, "too_much": too_much, **whole}

    shapes = {
        "wide": grew("COST-01", 1.07, 4.0, too_much=True),
        "crowd": grew("COST-01", 1.3, 0.0, too_much=False),
        "history": grew("COST-02", 3.25, 0.0, too_much=True),
        "queue": grew("COST-03", 2.5, 2.7, too_much=True),
        "barrier": grew("COST-04", 1.0, 0.0, too_much=False),
    }
    place = "FairTaskQueue.select_next (scheduling/queue.py:93)"
    broken = {"COST-01": "an event costs more", "COST-02": f"{detail}{place}"}
    return {
        "machine": {"cores": "2"},
        "sizes": [1_000, 10_000],
        "cut_off_s": 120,
        "loads": {
            "cells": {
                "one": {
                    "1000": {"us": [20.0], "unit_us": [10.0]},
                    "10000": {"us": [80.0], "unit_us": [10.0]},
                },
                "two": {"1000": {"us": [5e4], "unit_us": [10.0]}, "10000": {"expected_s": 500}},
            },
            "barrier": {"one": {"1000": {"cut_off": 120}}},
            "groups": {"one": {"1000": {"absent": "does not claim groups"}}},
            "batches": {},
        },
        "costs": {
            "one": {"shapes": shapes, "broken": broken},
            "two": {"real_time": True},
        },
        "socket": {"us": 41.0},
    }


def test_the_page_says_what_was_measured(tmp_path: Path) -> None:
    page = render(data())
    assert "| one | 20 µs (2.0) | 80 µs (8.0) | × 4.0 |" in page
    assert "| two | 50,000 µs (5,000.0) | about 8 min | – |" in page
    assert "| one | cut off | – | – |" in page
    # A ratio below its limit is not bold, though another figure breaks the clause.
    assert "| one | 1.07, **4.0** | **3.25** | (2.50, 2.7) | 1.00 |" in page
    assert "1.5 for the whole, 2.5 for a function" in page
    assert "| two | real time | real time | real time | real time |" in page
    assert "41 µs" in page
    write(data(), tmp_path)
    assert json.loads((tmp_path / "engines.json").read_text()) == data()


def test_words_are_said_of_what_was_measured_alone() -> None:
    page = render(data())
    said = [words for words in FINDINGS.values() if words in page]
    assert said == [FINDINGS["FairTaskQueue.select_next"]]
    assert "1 and 8 in `FairTaskQueue.select_next (scheduling/queue.py:93)`." in page
