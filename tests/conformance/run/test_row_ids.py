"""Row ids: what a workload gives, and what an engine that names rows by them writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from cellspec.conformance import Workload, run_workload
from cellspec.conformance.run.clock import WallClock
from cellspec.conformance.run.probe import Probe
from cellspec.conformance.run.row_ids import RowIds, ids_of
from cellspec.conformance.run.values import Registry
from cellspec.engines.lines.workload_lines import read_message, run_message
from cellspec.errors import SpecError
from cellspec.graph.columns import ColumnDescriptor
from tests.conformance.second_engine import ColumnFirst

KINDS: tuple[RowIds, ...] = get_args(RowIds)
CLOCK = WallClock(1.0, 0.0)
COLUMNS = (ColumnDescriptor("a"), ColumnDescriptor("b", dependencies=["a"]))


def work_of(kind: RowIds, seed: int = 0, rows: int = 40) -> Workload:
    return Workload(COLUMNS, rows, seed=seed, row_ids=kind)


@pytest.mark.parametrize("kind", KINDS)
def test_each_row_has_an_id_of_its_own_that_leads_back_to_it(kind: RowIds) -> None:
    for seed in range(50):
        work = work_of(kind, seed, 200)
        assert len({*work.ids}) == 200
        assert [*map(work.row_of, json.loads(json.dumps(work.ids)))] == [*range(200)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_larger_target_later_leaves_the_ids_of_the_rows_as_they_are(kind: RowIds) -> None:
    work = work_of(kind, rows=5).replace(crashes=(3, 3), targets=(5, 9, 3))
    for incarnation, rows in enumerate(work.targets):
        probe = Probe(work, incarnation, Path(), frozenset(), CLOCK, Registry())
        assert probe.row_ids == work.ids[:rows]
        # A folder may hold rows of an incarnation that was asked for more.
        assert [*map(probe.row_of, work.ids)] == [*range(9)]


def test_the_ids_are_of_four_kinds() -> None:
    assert ids_of("", 0, 4) == (0, 1, 2, 3)
    shuffled, gappy = work_of("shuffled").ids, work_of("gappy").ids
    assert [*shuffled] != sorted(shuffled, key=int)
    assert {*shuffled} == {*range(40)}
    assert [*gappy] == sorted(gappy, key=int) != sorted(gappy, key=str)
    assert not any(str(one).isdigit() for one in work_of("text").ids)
    digits = work_of("digits", rows=2).ids
    assert all(isinstance(one, str) and one.isdigit() for one in digits)
    assert len({*digits}) == 2
    assert len({*map(int, digits)}) == 1


def test_an_id_that_no_row_has_is_no_row() -> None:
    digits = work_of("digits")
    assert [*map(digits.row_of, [*map(int, digits.ids)])] == [-1] * 40
    assert [*map(work_of("").row_of, (40, -1, True, None, "1"))] == [-1] * 5


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(SpecError, match="row_ids: expected one of shuffled, gappy, text, digits"):
        Workload(COLUMNS, 2, row_ids="names")  # type: ignore[arg-type]


def test_an_engine_that_speaks_lines_is_told_the_ids() -> None:
    work = work_of("gappy", rows=3).replace(targets=(2, 3))
    probe = Probe(work, 0, Path(), frozenset(), CLOCK, Registry())
    assert run_message(probe).row_ids == work.ids[:2]
    assert read_message(probe).row_ids == work.ids
    plain = Probe(work_of(""), 0, Path(), frozenset(), CLOCK, Registry())
    assert run_message(plain).row_ids == read_message(plain).row_ids == ()


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_engine_names_rows_by_their_ids(kind: RowIds) -> None:
    work = work_of(kind, rows=7).replace(checkpoint_every_rows=2, crashes=(30,), targets=(5, 7))
    result = run_workload(ColumnFirst(), work)
    assert (result.violations, result.adapter, result.outcomes) == ([], "", ["crash", "success"])
