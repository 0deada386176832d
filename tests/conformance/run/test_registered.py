"""Registered backends: found by the metadata of distributions, listed without their engines."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cellspec import ColumnDescriptor, ExecutionTraits, SpecError
from cellspec.conformance.run.case import Case
from cellspec.conformance.run.loading import load_backend
from cellspec.conformance.run.registered import (
    REFERENCE,
    backend_path,
    declared_capabilities,
    registered_backends,
)
from cellspec.conformance.run.workload import Workload
from cellspec.engines.machine import MachineBackend
from cellspec.engines.reference import ReferenceBackend, ThreadBackend
from sim.cli import main
from tests.pages import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NAMES = sorted(PYPROJECT["project"]["entry-points"]["cellspec.backends"])

WORK = Workload((ColumnDescriptor("a", traits=ExecutionTraits.START),), rows=1)

ADAPTER = """
from cellspec.engines.reference import ReferenceBackend

class Backend(ReferenceBackend):
    name = "a stranger's"
    capabilities = frozenset({"core", "resume"})
"""


def install(folder: Path, distribution: str, *lines: str, requires: str = "") -> None:
    """Put the metadata of a distribution that registers backends into a folder."""
    info = folder / f"{distribution.replace('-', '_')}-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n{requires}"
    )
    (info / "entry_points.txt").write_text("\n".join(["[cellspec.backends]", *lines, ""]))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed distributions, one of which has an adapter."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "stranger_adapter.py").write_text(ADAPTER)
    return tmp_path


def test_every_backend_of_cellspec_is_registered() -> None:
    found = [one.name for one in registered_backends()]
    assert found == NAMES, "pyproject.toml changed: install the package again (pip install -e .)"
    for one in registered_backends():
        module, _, attribute = one.path.partition(":")
        assert module.startswith("cellspec.engines.")
        assert attribute.endswith("Backend")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("reference", ReferenceBackend),
        ("reference-threads", ThreadBackend),
        ("machine", MachineBackend),
    ],
)
def test_a_name_without_a_colon_is_a_registered_one(
    tmp_path: Path, name: str, expected: type
) -> None:
    backend, made = load_backend(name, tmp_path)
    assert type(backend) is expected
    assert made


@pytest.mark.parametrize(
    ("old", "expected"),
    [
        ("cellspec.conformance.reference:ReferenceBackend", ReferenceBackend),
        ("cellspec.conformance.reference:ThreadBackend", ThreadBackend),
        ("sim.fuzz.machine:MachineBackend", MachineBackend),
    ],
)
def test_a_path_of_version_0_1_still_loads_its_backend(
    tmp_path: Path, old: str, expected: type
) -> None:
    backend, _ = load_backend(old, tmp_path)
    assert type(backend) is expected


def test_a_distribution_of_somebody_else_registers_a_backend(site: Path) -> None:
    install(site, "strange-engine", "strange = stranger_adapter:Backend")
    (found,) = [one for one in registered_backends() if one.name == "strange"]
    assert found.path == "stranger_adapter:Backend"
    assert found.distribution == "strange-engine 1.5"
    backend, _ = load_backend("strange", site)
    assert backend.name == "a stranger's"


def test_a_name_that_is_registered_twice_is_refused_with_both(site: Path) -> None:
    install(site, "strange-engine", "strange = stranger_adapter:Backend")
    install(site, "other-engine", "strange = other_adapter:Backend", "dask = other_adapter:Dask")
    with pytest.raises(SpecError, match="--engine-backend: 'strange' is registered twice") as info:
        load_backend("strange", site)
    assert "stranger_adapter:Backend of strange-engine 1.5" in str(info.value)
    assert "other_adapter:Backend of other-engine 1.5" in str(info.value)
    with pytest.raises(SpecError, match=r"cellspec\.engines\.dask:DaskBackend of cellspec"):
        backend_path("dask", "--backend")
    # A path is what it was.
    assert backend_path("stranger_adapter:Backend", "--backend") == "stranger_adapter:Backend"


def test_an_unknown_name_is_refused_with_the_nearest_and_all() -> None:
    with pytest.raises(SpecError) as info:
        backend_path("refrence", "--backend")
    assert str(info.value) == (
        "--backend: expected module:attribute, got 'refrence', which no distribution registers: "
        f"did you mean 'reference'? registered are {', '.join(NAMES)}"
    )


@pytest.mark.parametrize("spec", [":", "module:", ":Backend"])
def test_half_a_path_is_refused(spec: str) -> None:
    with pytest.raises(SpecError, match="expected module:attribute, got"):
        backend_path(spec, "--backend")


def test_what_a_backend_needs_is_read_from_metadata(site: Path) -> None:
    install(
        site,
        "strange-engine",
        "strange = stranger_adapter:Backend [fast]",
        "heavy = does_not_import:Backend [heavy]",
        requires="Requires-Dist: pytest; extra == 'fast'\n"
        "Requires-Dist: no-such-distribution>=2; extra == 'heavy'\n"
        "Requires-Dist: not-of-this-extra; extra == 'other'\n",
    )
    found = {one.name: one for one in registered_backends()}
    assert (found["strange"].extras, found["strange"].missing) == (("fast",), ())
    assert found["heavy"].missing == ("no-such-distribution",)
    assert declared_capabilities(found["strange"]) == frozenset({"core", "resume"})
    # It is not even tried.
    assert declared_capabilities(found["heavy"]) is None
    assert "does_not_import" not in sys.modules


def test_a_module_that_cannot_be_imported_leaves_the_list_whole(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (site / "leaves_at_once.py").write_text("raise SystemExit(0)\n")
    install(site, "strange-engine", "strange = leaves_at_once:Backend")
    assert main(["backends", "--format", "json"]) == 0
    listed = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert list(listed) == [*NAMES, "strange"]
    assert listed["strange"]["capabilities"] is None
    assert "counted_work" in listed["reference"]["capabilities"]
    assert listed["ray"]["extras"] == ["ray"]


def test_listing_imports_no_engine_and_nothing_of_the_simulator(tmp_path: Path) -> None:
    heavy = ("distributed", "ray", "data_designer", "numpy", "simpy", "pydantic", "yaml")
    code = (
        "import sys; from sim.cli import main; code = main(['backends']); "
        f"sys.exit(code or [name for name in {heavy!r} if name in sys.modules] or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "\n  needs: cellspec[dask]" in done.stdout
    assert f"reference: {REFERENCE}, of cellspec" in done.stdout


def test_the_suite_runs_on_a_registered_name(tmp_path: Path) -> None:
    command = ["-m", "sim", "conformance", "reference", "--profile", "core", "--max-examples", "2"]
    done = subprocess.run(
        [sys.executable, *command, "--conformance-allow-inconclusive"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cellspec: cellspec-asyncio " in done.stdout
    assert "warning" not in done.stdout


def test_a_case_that_names_a_backend_by_its_old_path_is_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = Case(WORK, backend="cellspec.conformance.reference:ReferenceBackend")
    (tmp_path / "case.json").write_text(case.to_json())
    assert main(["replay", str(tmp_path / "case.json")]) == 0
    assert "no clause broke" in capsys.readouterr().out


def test_a_file_may_name_a_registered_backend_and_it_is_not_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "case.json").write_text(Case(WORK, backend="machine").to_json())
    assert main(["replay", str(tmp_path / "case.json")]) == 2
    assert "was found on machine" in capsys.readouterr().err
    assert main(["replay", str(tmp_path / "case.json"), "--backend", "machine"]) == 0
    out = capsys.readouterr().out
    assert "cellspec-machine" in out
    assert "cellspec replay --backend cellspec.engines.machine:MachineBackend cellspec1." in out


def test_the_listing_marks_names_that_cannot_be_used(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(site, "one", "same = stranger_adapter:Backend", "fine = stranger_adapter:Backend")
    install(site, "two", "same = stranger_adapter:Other", "gone = no_such_module:Backend")
    assert main(["backends"]) == 0
    out = capsys.readouterr().out
    both = "stranger_adapter:Backend of one 1.5 and stranger_adapter:Other of two 1.5"
    twice = f"'same' is registered twice: {both}; give module:attribute"
    assert out.count(f"  unusable: {twice}\n") == 2
    assert out.count("  unusable: module no_such_module is not found\n") == 1
    assert out.count("unusable") == 3
    assert main(["backends", "--format", "json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    found = {one["name"]: one["unusable"] for one in listed}
    assert (found["same"], found["fine"]) == (twice, None)
