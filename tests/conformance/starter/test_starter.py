"""The files of `cellspec new-backend`: they run at once, and lead from one gap to the next."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cellspec import ColumnDescriptor, ExecutionTraits
from cellspec.conformance import Workload, run_workload
from cellspec.conformance.campaign.options import Options
from cellspec.conformance.campaign.suite import Suite
from cellspec.conformance.starter import KINDS, starter_files
from cellspec.exit_codes import BAD_INPUT, FINE
from sim.cli import main

# By kind, what somebody with a simple engine writes into each gap.
RUN = """\
        cells = {{}}
        for column in columns_of(probe):
            rows = list(range(probe.rows))
            for each in [rows] if column["is_barrier"] else [[row] for row in rows]:
                inputs = [{{need: cells[need, row] for need in column["needs"]}} for row in each]
                for row, value in zip(each, {wait}column["make"](each, inputs)):
                    cells[column["name"], row] = value
"""
SCOPES = """\
        cells, dropped = {{}}, set()
        for column in columns_of(probe):
            size = column["scope_rows"] or 1
            for scope in range(-(-probe.rows // size)):
                rows = range(scope * size, min((scope + 1) * size, probe.rows))
                each = [row for row in rows if row not in dropped]
                if not each:
                    continue
                inputs = [{{need: cells[need, row] for need in column["needs"]}} for row in each]
                values = {wait}column["make"](each, inputs, scope)
                given = values if isinstance(values, dict) else dict(zip(each, values))
                cells |= {{(column["name"], row): value for row, value in given.items()}}
                for row in set(each) - set(given):
                    dropped.add(row)
                    probe.drop(row, row + 1, column["name"], "filtered")
        cells = {{node: value for node, value in cells.items() if node[1] not in dropped}}
"""
SAVE = """\
        import json
        table = {}
        for (name, row), value in cells.items():
            table.setdefault(row, {})[name] = value
        (probe.folder / "table.json").write_text(json.dumps(table))
"""
READ = """\
        import json
        path = probe.folder / "table.json"
        rows = json.loads(path.read_text()) if path.exists() else {}
        return Table({int(row): values for row, values in rows.items()})
"""


def filled(text: str, gap: int, with_: str) -> str:
    """The text with one gap filled: from its TODO up to the end of what it raises."""
    return re.sub(
        rf"( *for column in columns_of\(probe\):\n)? *# TODO {gap}:.*?"
        r"raise NotImplementedError\((?:[^()]|\([^()]*\))*\)\n(?: *return Table.*?\n)?",
        lambda _: with_,
        text,
        count=1,
        flags=re.DOTALL,
    )


def smoke_of(folder: Path, attribute: str) -> str:
    """What the smoke test says of the backend in a folder; "" if nothing."""
    sys.modules.pop("mine_backend", None)
    suite = Suite.of(Options(f"mine_backend:{attribute}", folder))
    return "" if suite.smoke is None else str(suite.smoke)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    # A module that is written twice within a second would be read from its cache.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


@pytest.mark.parametrize("kind", ["async", "threads"])
def test_the_smoke_test_leads_from_one_gap_to_the_next(kind: str, folder: Path) -> None:
    path = folder / "mine_backend.py"
    text = starter_files("mine", kind)[path.name]
    path.write_text(text)
    assert "TODO 1, run: give your engine the column a" in smoke_of(folder, "MineBackend")
    text = filled(text, 1, RUN.format(wait="await " if kind == "async" else ""))
    path.write_text(text)
    assert "TODO 2, run: run your engine on 1 rows" in smoke_of(folder, "MineBackend")
    text = filled(text, 2, SAVE)
    path.write_text(text)
    assert "TODO 3, table: read the table in " in smoke_of(folder, "MineBackend")
    path.write_text(filled(text, 3, READ))
    assert smoke_of(folder, "MineBackend") == ""


def test_the_process_says_what_to_fill_in_too(folder: Path) -> None:
    texts = starter_files("mine", "process")
    for name, text in texts.items():
        (folder / name).write_text(text)
    assert "TODO 1, begin: start the cells of the columns" in smoke_of(folder, "backend")
    text = texts["mine_backend_process.py"]
    text = re.sub(r'sys.exit\("TODO 1.*', 'say("start", column="a", rows=0, inputs={})', text)
    (folder / "mine_backend_process.py").write_text(text)
    assert "TODO 2, ended: keep the value of a" in smoke_of(folder, "backend")
    end = 'say("end", outcome="success"); self.is_over = True'
    text = re.sub(r'sys.exit\(f"TODO 2.*', end, text)
    (folder / "mine_backend_process.py").write_text(text)
    assert "TODO 3, table_of: read the table in " in smoke_of(folder, "backend")


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_compile_and_carry_the_names_of_the_engine(kind: str) -> None:
    texts = starter_files("row-wise2_X", kind)
    assert next(iter(texts)) == "row_wise2_x_backend.py"
    for name, text in texts.items():
        assert not re.search(r"my.backend|my-engine", text, re.IGNORECASE), name
        assert max(map(len, text.splitlines())) <= 106, name
        if name.endswith(".py"):
            compile(text, name, "exec")
    attribute = "backend" if kind == "process" else "RowWise2XBackend"
    assert f"--engine-backend=row_wise2_x_backend:{attribute}\n" in texts["conformance.ini"]
    assert ("\n    --slack=200ms\n" in texts["conformance.ini"]) == (kind == "threads")
    assert ("`unasked`" in texts["row_wise2_x_backend.py"]) == (kind != "process")


def test_the_clauses_about_waiting_are_judged_as_the_configuration_of_threads_says(
    folder: Path,
) -> None:
    texts = starter_files("mine", "threads")
    text = filled(texts["mine_backend.py"], 1, RUN.format(wait=""))
    texts["mine_backend.py"] = filled(filled(text, 2, SAVE), 3, READ)
    for name, content in texts.items():
        (folder / name).write_text(content)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", "conformance.ini", "--max-examples=1"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == FINE, done.stdout
    assert "real time" not in done.stdout


@pytest.mark.parametrize("kind", ["async", "threads"])
def test_make_serves_each_scope_of_a_barrier_and_one_that_leaves_rows_out(
    kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = starter_files("mine", kind)["mine_backend.py"]
    text = filled(text, 1, SCOPES.format(wait="await " if kind == "async" else ""))
    read = READ.replace("items()})", "items()}, frozenset({2}))")
    (folder / "mine_backend.py").write_text(filled(filled(text, 2, SAVE), 3, read))
    monkeypatch.delitem(sys.modules, "mine_backend", raising=False)
    backend = importlib.import_module("mine_backend").MineBackend()
    backend.capabilities = frozenset({"core", "batch_barriers", "filters"})
    columns = (
        ColumnDescriptor("a", traits=ExecutionTraits.START),
        ColumnDescriptor("v", traits=ExecutionTraits.BATCH_BARRIER, dependencies=["a"]),
        ColumnDescriptor("b", dependencies=["v"]),
    )
    work = Workload(columns, rows=5, batch_size=2, rejects=(("v", 2),))
    result = run_workload(backend, work)
    assert not result.adapter
    assert result.violations == []
    assert sorted(result.tables[0].rows) == [0, 1, 3, 4]


@pytest.mark.parametrize("name", ["", "2fast", "my engine", "a/b", "-x", "x-", "é"])
def test_a_name_that_makes_no_module_is_refused(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new-backend", "--", name]) == BAD_INPUT
    assert "expected a name of letters and digits" in capsys.readouterr().err


def test_the_command_writes_files_that_pytest_runs_and_overwrites_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new-backend", "mine"]) == FINE
    names = ["mine_backend.py", "test_mine_backend.py", "conformance.ini"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert capsys.readouterr().out.splitlines()[:3] == [f"written: {name}" for name in names]
    assert main(["new-backend", "other"]) == BAD_INPUT
    assert "nothing is overwritten; move it away, or give --out DIR\n" in capsys.readouterr().err
    (tmp_path / "mine_backend.py").unlink()
    (tmp_path / "conformance.ini").write_text("mine")
    assert main(["new-backend", "mine"]) == BAD_INPUT
    assert "test_mine_backend.py: is there already, and nothing is overwritten" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "mine_backend.py").exists()
    assert main(["new-backend", "mine", "--out", "new"]) == FINE
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", "conformance.ini", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path / "new",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == BAD_INPUT
    assert "smoke: your adapter is wrong: the engine died of NotImplementedError: TODO 1" in (
        done.stdout
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_test_says_what_to_fill_in_as_the_suite_does(
    kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in starter_files("mine", kind).items():
        (folder / name).write_text(text)
    for name in ("mine_backend", "test_mine_backend"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module("test_mine_backend")
    with pytest.raises(pytest.fail.Exception, match="TODO 1, ") as failed:
        module.test_two_columns_and_a_barrier_between_them()
    assert not failed.value.pytrace
    assert "RunResult(" not in str(failed.value)
