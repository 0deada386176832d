"""The mutants, their names, and that the list of survivors and the page are about this code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutation import faults as made
from tests.mutation.faults import faults, functions, modules
from tests.mutation.page import numbers_on, page
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


def test_the_page_has_a_line_for_each_module_with_the_survivors_that_are_argued(
    keys: dict[str, set[str]],
) -> None:
    shown = numbers_on()
    assert set(shown) == {module for module in modules() if functions(module) or keys[module]}
    listed = {name: numbers[3] for name, numbers in shown.items() if numbers[3]}
    assert listed == {name: len(reasons) for name, reasons in argued().items() if reasons}


def test_a_page_without_results_says_that_nothing_was_tried(tmp_path: Path) -> None:
    text = page(Results(tmp_path / "nothing"))
    path = tmp_path / "page.md"
    path.write_text(text, encoding="utf-8")
    for name, numbers in numbers_on(path).items():
        assert numbers[2] == numbers[4] == 0, name
        assert numbers[1] == numbers[3] + numbers[5], name
