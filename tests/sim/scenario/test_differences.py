"""Where two scenarios differ, in the words of ``--set``."""

from __future__ import annotations

from pathlib import Path

from sim.scenario.differences import differences
from sim.scenario.loader import load_scenario
from sim.scenario.scenario import Scenario

TEXT = """\
name: small
rows: 4
columns:
  - {name: a, traits: [CELL_BY_CELL], latency: {model: constant, value_s: 1}}
  - {name: b, traits: [CELL_BY_CELL], dependencies: [a]}
limits: {workers: 2, resources: {chat: 1}}
"""


def load(folder: Path, text: str, **fields: str) -> Scenario:
    path = folder / "small.yaml"
    path.write_text(text, encoding="utf-8")
    return load_scenario(path, {name.replace("__", "."): value for name, value in fields.items()})


def test_names_and_seeds_make_no_difference(tmp_path: Path) -> None:
    other = TEXT.replace("name: small", "name: other\ndescription: what it is\nseed: 7")
    assert differences(load(tmp_path, TEXT), load(tmp_path, other)) == {}


def test_fields_differ_by_their_paths_and_columns_by_their_names(tmp_path: Path) -> None:
    other = TEXT.replace("value_s: 1", "value_s: 2").replace("name: b", "name: c")
    found = differences(
        load(tmp_path, TEXT), load(tmp_path, other, limits__resources__chat="3", batch_size="2")
    )
    assert found["limits.resources.chat"] == (1, 3)
    assert found["batch_size"] == (4, 2) or found["batch_size"] == (None, 2)
    assert found["columns.a.latency.value_s"] == (1, 2)
    assert [name for name in found if name.startswith("columns.")] == [
        "columns.a.latency.value_s",
        "columns.b",
        "columns.c",
    ]
    assert found["columns.b"][1] is None
    assert found["columns.c"][0] is None


def test_a_file_with_other_content_is_a_difference(tmp_path: Path) -> None:
    text = TEXT.replace(
        "{model: constant, value_s: 1}", "{model: trace, file: calls.csv, column_s: seconds}"
    )
    a, b = tmp_path / "a", tmp_path / "b"
    for folder, seconds in ((a, 1), (b, 2)):
        folder.mkdir()
        (folder / "calls.csv").write_text(f"seconds\n{seconds}\n", encoding="utf-8")
    mine, others = load(a, text), load(b, text)
    assert differences(mine, others) == {"content of files": (mine.digest(), others.digest())}
    assert differences(mine, load(a, text)) == {}
