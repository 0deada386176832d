"""A sweep of 100 points on a local Dask and a local Ray cluster: the same bytes.

``make test-clusters`` runs each point with three seeds, ``make sweeps`` with twenty.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.sim.experiments.sweep.campaign import POINTS, derived, lines, sweep_file
from tests.sim.experiments.sweep.small import write_sweep
from tests.test_parallel import DIES

ROWS = 20
SEEDS = int(os.environ.get("CELLSPEC_SWEEP_SEEDS", "3"))


def each(name: str, package: str) -> Any:
    absent = importlib.util.find_spec(package) is None
    marks = [
        getattr(pytest.mark, name),
        pytest.mark.skipif(absent, reason=f"needs the extra cellspec[{name}], which is absent"),
    ]
    return pytest.param(name, marks=marks)


on_each = pytest.mark.parametrize("cluster", [each("dask", "distributed"), each("ray", "ray")])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sweep_file(tmp_path_factory.mktemp("sweep"), ROWS, SEEDS)


@pytest.fixture(scope="module")
def straight(file: Path) -> dict[str, bytes]:
    """The files of the sweep, made in one process on this machine."""
    swept(file, file.parent / "straight")
    return derived(file.parent / "straight")


def swept(file: Path, out: Path, *options: str) -> None:
    command = [sys.executable, "-m", "sim", "sweep", str(file), "--out", str(out), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr


@on_each
def test_a_sweep_on_a_cluster_gives_the_bytes_of_one_on_this_machine(
    cluster: str, file: Path, straight: dict[str, bytes], tmp_path: Path
) -> None:
    swept(file, tmp_path / "out", "--backend", cluster, "--jobs", "2")
    assert lines(tmp_path / "out") == POINTS * SEEDS
    assert derived(tmp_path / "out") == straight


PARTS = """
import itertools, sys
from cellspec.errors import SpecError
from cellspec.parallel import in_parallel

def squared(number):
    if number == 7:
        raise SpecError("seven")
    return number * number

if __name__ == "__main__":
    where = {"jobs": 2, "cluster": sys.argv[1]}
    assert list(in_parallel(squared, range(6), **where)) == [0, 1, 4, 9, 16, 25]
    assert sorted(in_parallel(squared, range(6), ordered=False, **where)) == [0, 1, 4, 9, 16, 25]
    endless = in_parallel(squared, itertools.count(8), **where)
    assert [next(endless) for _ in range(3)] == [64, 81, 100]
    endless.close()
    try:
        list(in_parallel(squared, [1, 7], **where))
    except SpecError as error:
        print(repr(error))
"""


@on_each
def test_parts_on_a_cluster_are_as_in_this_process(cluster: str, tmp_path: Path) -> None:
    program = tmp_path / "parts.py"
    program.write_text(PARTS)
    done = subprocess.run(
        [sys.executable, str(program), cluster], capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stdout) == (0, "SpecError('seven')\n"), done.stderr


OF_DASK = """
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        input()
"""
OF_RAY = """
import ray

found = ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
print(found.address_info["gcs_address"], flush=True)
input()
"""


@on_each
def test_a_sweep_runs_on_the_cluster_that_an_address_names(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "cluster.py"
    program.write_text({"dask": OF_DASK, "ray": OF_RAY}[cluster])
    small = write_sweep(tmp_path)
    swept(small, tmp_path / "here")
    # Where a token of Ray's lies in the home folder, a cluster that starts here would ask for it.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with subprocess.Popen(
        [sys.executable, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        monkeypatch.setenv(SILENT[cluster][0], process.stdout.readline().strip())
        swept(small, tmp_path / "there", "--backend", cluster, "--jobs", "2")
        process.communicate("\n", timeout=60)
    assert derived(tmp_path / "there") == derived(tmp_path / "here")


SILENT = {
    "dask": ("DASK_SCHEDULER_ADDRESS", "tcp://127.0.0.1:9", "no Dask scheduler answers at"),
    "ray": ("RAY_ADDRESS", "127.0.0.1:9", "no Ray cluster answers at"),
}


@on_each
def test_a_cluster_that_does_not_answer_is_said_in_one_line(
    cluster: str, file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name, address, message = SILENT[cluster]
    monkeypatch.setenv(name, address)
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "1s")
    command = [sys.executable, "-m", "sim", "sweep", str(file), "--backend", cluster]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message} {address}: ")
    assert done.stderr.count("\n") == 1
    assert "the runs that were made are kept, and the same command goes on" in done.stderr


@on_each
def test_a_task_whose_worker_dies_each_time_is_said_in_one_line(
    cluster: str, tmp_path: Path
) -> None:
    program = tmp_path / "dies.py"
    program.write_text(DIES)
    done = subprocess.run(
        [sys.executable, str(program), cluster], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    # Ray says more, in lines of its own, whose end it may write later.
    message = rf"{cluster.title()} lost a task: [^\n]+ died [^\n.]+$"
    assert re.search(message, done.stdout, re.MULTILINE), done.stdout
