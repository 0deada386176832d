"""The mutants, their names, and that the list of survivors and the page are about this code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cellspec import ThreadSafeCompletionTracker
from tests.mutation import faults as made
from tests.mutation.faults import faults, modules
from tests.mutation.judging import codes_in
from tests.mutation.page import PAGE, numbers_on, page
from tests.mutation.results import Results, argued

TOY = '''
LIMIT = 3


def first(rows, most=1):
    """Docstrings are left alone."""
    for row in rows:
        if row > most and row != 7:
            return row
    raise ValueError(f"no row above {most + 1}")


class Counter:
    def add(self, number):
        self.total += number
'''


def toy(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> list[made.Fault]:
    (folder / "toy.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(made, "PACKAGE", folder)
    made._source.cache_clear()
    try:
        found = faults("toy")
        for fault in found:
            fault.code()
        return found
    finally:
        made._source.cache_clear()


def test_each_fault_is_named_by_its_function_and_what_it_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert [fault.key for fault in toy(monkeypatch, tmp_path, TOY)] == [
        "3 -> 4",
        "first: 1 -> 2",
        "first: for row in rows -> the first alone",
        "first: row > most and row != 7 -> row > most or row != 7",
        "first: row > most and row != 7 -> row != 7",
        "first: row > most and row != 7 -> row > most",
        "first: row > most -> row >= most",
        "first: row != 7 -> row == 7",
        "first: 7 -> 8",
        "first: raise ValueError(f'no row above {most + 1}') -> nothing",
        "Counter.add: self.total += number -> self.total -= number",
        "Counter.add: self.total += number -> nothing",
    ]


def test_an_edit_renames_the_faults_of_no_other_function(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = toy(monkeypatch, tmp_path, TOY)
    edited = TOY.replace("LIMIT = 3", "import os\n\nLIMIT = 4").replace("row != 7", "row < 9")
    after = toy(monkeypatch, tmp_path, edited)
    names = [
        [(fault.key, fault.digest) for fault in found if fault.unit == "Counter.add"]
        for found in (before, after)
    ]
    assert names[0] == names[1]
    assert {fault.digest for fault in before if fault.unit == "first"}.isdisjoint(
        fault.digest for fault in after
    ), "what was found of a function does not hold when the function says something else"


def test_a_method_that_forgets_super_has_code_that_can_stand_for_its_own() -> None:
    found = [one for one in faults("state.tracker") if "super().mark_complete" in one.key]
    assert [one.unit for one in found] == ["ThreadSafeCompletionTracker.mark_complete"]
    name = found[0].unit
    (code,) = (code for code in codes_in(found[0].code()) if code.co_qualname == name)
    own = ThreadSafeCompletionTracker.mark_complete.__code__
    assert code.co_freevars == own.co_freevars == ("__class__",)
    assert code.co_code != own.co_code


@pytest.fixture(scope="module")
def keys() -> dict[str, set[str]]:
    return {module: {fault.key for fault in faults(module)} for module in modules()}


def test_each_survivor_that_is_argued_is_a_mutant(keys: dict[str, set[str]]) -> None:
    gone = [
        f"{module}: {key}"
        for module, reasons in argued().items()
        for key in sorted(reasons.keys() - keys.get(module, set()))
    ]
    assert gone == [], "`python -m tests.mutation MODULE --list` names the mutants"


def test_the_page_shows_modules_that_exist_and_counts_the_survivors_that_are_argued() -> None:
    shown = numbers_on(PAGE.read_text(encoding="utf-8"))
    assert set(shown) <= set(modules())
    listed = {name: numbers.argued for name, numbers in shown.items() if numbers.argued}
    assert listed == {name: len(reasons) for name, reasons in argued().items() if reasons}, (
        "`python -m tests.mutation MODULE --write` writes the page again"
    )


def test_what_a_clone_keeps_for_others_is_what_they_know(tmp_path: Path) -> None:
    (fault, *others) = [
        one for one in faults("state.slots") if one.unit == faults("state.slots")[0].unit
    ]
    one = Results(tmp_path / "one", tmp_path / "shared.json")
    assert {one.became(other) for other in faults("state.slots")} == {"not tried"}
    one.add(fault, "first", "tests/some.py::test", {})
    for other in others:
        one.add(other, "second", None, {"tests/some.py": "digest"})
    one.share()
    two = Results(tmp_path / "two", tmp_path / "shared.json")
    assert page(two) == page(one)
    assert two.killer(fault) == "tests/some.py::test"
    assert all(two.became(other) == "unfinished" for other in others)
    assert all(two.met(other, "second") == set() for other in others), "they are tried again"


def test_what_is_kept_of_a_function_that_has_changed_is_forgotten(tmp_path: Path) -> None:
    shared = tmp_path / "shared.json"
    Results(tmp_path / "one", shared).share()
    text = shared.read_text(encoding="utf-8")
    first = faults("state.slots")[0]
    unit = [one for one in faults("state.slots") if one.unit == first.unit]
    row = json.loads(text)["state.slots"]
    for changed in (
        [first.digest, len(unit), "test", {}],
        [first.digest, len(unit) + 1, "test", {}],
        ["other", len(unit), "test", {}],
    ):
        row[first.unit] = changed
        shared.write_text(json.dumps({"state.slots": row, "state.gone": row}), encoding="utf-8")
        known = Results(tmp_path / "two", shared).killer(first)
        assert known == ("test" if changed[:2] == [first.digest, len(unit)] else None)
