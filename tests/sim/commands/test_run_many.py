"""``cellspec run --replications`` and ``--precision``: what it prints, writes and refuses."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sim.cli import main
from sim.experiments.intervals import mean_of
from tests.sim.experiments.test_replicated import CRASHING, FIXED, LUCKY
from tests.sim.experiments.test_replication import BESIDE, SMALL
from tests.sim.terminals import rest_of

FILES = ["fingerprint.txt", "manifest.json", "result.json", "runs.csv", "scenario.yaml"]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return written(tmp_path, SMALL)


def written(folder: Path, text: str) -> Path:
    path = folder / "in.yaml"
    path.write_text(text)
    return path


def run(
    capsys: pytest.CaptureFixture[str], file: Path, *options: str | Path, code: int = 0
) -> tuple[str, str]:
    assert main(["run", str(file), *map(str, options)]) == code
    return capsys.readouterr()


def data_of(capsys: pytest.CaptureFixture[str], file: Path, *options: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(capsys, file, *options, "--format", "json")[0])
    return found


def single(capsys: pytest.CaptureFixture[str], file: Path, seed: int) -> dict[str, str]:
    out, _ = run(capsys, file, "--seed", str(seed), "--format", "csv")
    return next(csv.DictReader(out.splitlines()))


def test_the_table_shows_means_with_intervals_and_what_is_not_determined(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, err = run(capsys, small, "--replications", "12")
    spans = [float(single(capsys, small, seed)["makespan_s"]) for seed in range(12)]
    found = mean_of(spans)
    assert found.half_width is not None
    assert found.relative is not None
    lines = out.splitlines()
    assert lines[0] == "small: 12 runs, seeds 0 to 11"
    assert " ".join(lines[2].split()) == "figure mean ± (95 %) ± % sd least greatest"
    assert lines[3].split() == [
        "makespan_s",
        *(
            f"{number:.1f}" if place != 2 else f"{100 * found.relative:.2g}"
            for place, number in enumerate(
                [found.mean, found.half_width, 0.0, found.sd or 0.0, min(spans), max(spans)]
            )
        ),
    ]
    assert re.search(r"^over runs +p50 +95 % interval$", out, re.MULTILINE)
    assert "p95 over runs: not determined; an interval of it takes 59 runs\n" in out
    assert "p99 over runs: not determined; an interval of it takes 299 runs\n" in out
    assert "every event satisfied the specification\n" in out
    assert err.startswith("wall time ")


def test_a_precision_that_is_reached_says_how_far(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = run(capsys, small, "--precision", "20%")
    assert re.search(
        r"^makespan_s: ± 20 % was wished; reached ± 1?\d(\.\d+)? % with 22 runs$",
        out,
        re.MULTILINE,
    )


def test_a_precision_that_the_cap_ends_says_how_far(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--precision", "0.002", "--most", "11", "--figure", "rows_per_s")
    out, _ = run(capsys, small, *given)
    found = re.search(
        r"^rows_per_s: ± 0.2 % was wished; reached ± ([\d.]+) % with 11 runs, the most that were "
        r"allowed; --most ([\d,]+) may be enough$",
        out,
        re.MULTILINE,
    )
    assert found is not None
    reached, enough = float(found[1]), int(found[2].replace(",", ""))
    # A quarter more than are narrow by the law of the square root, for the look that confirms it.
    assert enough == pytest.approx(1.25 * 11 * (reached / 0.2) ** 2, rel=0.1)
    data = data_of(capsys, small, *given)
    assert data["precision"] == {
        "figure": "rows_per_s",
        "half_width": 0.002,
        "most_runs": 11,
        "reached": pytest.approx(reached / 100, rel=0.01),
        "met": False,
    }
    # What was asked for stands first.
    assert data["figures"][0]["figure"] == "rows_per_s"


def test_a_precision_of_a_figure_that_runs_lack_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, LUCKY)
    given = ("--precision", "2%", "--figure", "first_row_s")
    out, _ = run(capsys, file, *given)
    found = re.search(
        r"^first_row_s: ± 2 % was wished, and not reached with 10 runs: (\d) of them have none$",
        out,
        re.MULTILINE,
    )
    assert found is not None
    assert f"first_row_s: {found[1]} runs had none, so there is no mean of all\n" in out
    data = data_of(capsys, file, *given)
    assert (data["precision"]["reached"], data["precision"]["met"]) == (None, False)


def test_runs_that_were_stopped_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stops = "failures: {default: {permanent: 0.2}, early_stop: {window: 4, rate: 0.5}}\n"
    file = written(tmp_path, CRASHING + stops)
    out, _ = run(capsys, file, "--replications", "8")
    found = re.search(
        r"^outcome: stopped in (\d) runs?, success in (\d) runs?; the figures are of all of them "
        r"together$",
        out,
        re.MULTILINE,
    )
    assert found is not None
    (outcomes,) = data_of(capsys, file, "--replications", "8")["outcomes"]
    assert outcomes == {
        "figure": "outcome",
        "runs": {"stopped": int(found[1]), "success": int(found[2])},
    }
    assert sum(outcomes["runs"].values()) == 8
    # What went as it should is no news.
    assert "outcome" not in run(capsys, written(tmp_path, CRASHING), "--replications", "2")[0]


def test_one_run_is_no_interval(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run(capsys, small, "--precision", "0.02", "--most", "1")
    assert out.startswith("small: 1 run, one seed (0)\n")
    assert "± 2 % was wished, and not reached with 1 run: one run has no interval\n" in out


def test_a_single_run_says_that_it_is_one_seed(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = run(capsys, small)
    assert re.search(r"^one seed +no intervals: --replications 30 gives them$", out, re.MULTILINE)


def test_json_and_csv_hold_every_figure(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = data_of(capsys, small, "--replications", "7")
    assert (data["runs"], data["first_seed"], data["precision"]) == (7, 0, None)
    figures = {one["figure"]: one for one in data["figures"]}
    assert figures["events"]["sd"] == 0
    assert figures["makespan_s"]["p95"] is None
    p50 = figures["makespan_s"]["p50"]
    assert p50["low"] < p50["value"] < p50["high"]
    out, _ = run(capsys, small, "--replications", "7", "--format", "csv")
    lines = {line["figure"]: line for line in csv.DictReader(out.splitlines())}
    assert set(lines) == set(figures)
    line = lines["makespan_s"]
    assert [float(line[key]) for key in ("mean", "half_width", "p50", "p50_low", "p50_high")] == [
        figures["makespan_s"]["mean"],
        figures["makespan_s"]["half_width"],
        *(p50[key] for key in ("value", "low", "high")),
    ]
    assert (line["runs"], line["lacking"], line["p99"]) == ("7", "0", "")


def test_out_holds_every_run(
    tmp_path: Path, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    data = data_of(capsys, small, "--replications", "3", "--seed", "4", "--out", out)
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert json.loads((out / "result.json").read_text()) == data
    rows = list(csv.DictReader((out / "runs.csv").read_text().splitlines()))
    assert rows == [single(capsys, small, seed) for seed in (4, 5, 6)]
    manifest = json.loads((out / "manifest.json").read_text())
    assert [manifest[key] for key in ("seed", "runs", "fingerprint")] == [
        4,
        3,
        data["fingerprint"],
    ]
    assert "scipy" in manifest["dependencies"]
    assert single(capsys, out / "scenario.yaml", 4)["fingerprint"] == rows[0]["fingerprint"]
    assert manifest["scenario_digest"] == rows[0]["scenario_digest"]


def test_a_single_run_replaces_the_sheet_of_many(
    tmp_path: Path, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run(capsys, small, "--replications", "3", "--out", out)
    sheet, _ = run(capsys, small, "--seed", "2", "--out", out, "--format", "csv")
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert (out / "runs.csv").read_text() == sheet


def test_jobs_change_nothing_that_is_printed(
    tmp_path: Path, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for jobs in ("1", "2"):
        out = tmp_path / jobs
        given = ("--precision", "0.2", "--jobs", jobs, "--out", out)
        text, _ = run(capsys, small, *given)
        found.append(
            (text, [(out / name).read_bytes() for name in FILES if name != "scenario.yaml"])
        )
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (
            ["--jobs", "2"],
            "--jobs: it is about several runs; give --replications or --precision too",
        ),
        (["--figure", "cost"], "--figure: it is about several runs; give --replications or"),
        (["--backend", "ray"], "--backend: it is about several runs; give --replications or"),
        (["--most", "9"], "--most: it caps the runs of --precision, which is not given"),
        (
            ["--replications", "2", "--seed", "3", "--trace", "t.jsonl"],
            "--trace: it shows one run; to look into one of several, give its seed instead of "
            "--replications or --precision, as in --seed 3",
        ),
        (
            ["--replications", "2", "--figure", "makespan"],
            "--figure: no figure of this scenario is called 'makespan'; did you mean 'makespan_s'?",
        ),
        (["--replications", "2", "--set", "rows=0"], "in.yaml: --set rows: rows: expected"),
        (["--replications", "2", "--set", "seed=3"], "--set seed: it would change nothing, for"),
        (["--precision", "2%", "--figure", "rows"], "--figure: rows is what the scenario says"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    small: Path, capsys: pytest.CaptureFixture[str], given: list[str], error: str
) -> None:
    out, err = run(capsys, small, *given, code=2)
    assert out == ""
    assert err.count("\n") == 1
    assert error in err


def test_a_crash_of_the_command_line_is_in_every_run(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--replications", "3", "--set", "redo=same")
    data = data_of(capsys, small, *given, "--crash-at", "4s")
    crashes = next(one for one in data["figures"] if one["figure"] == "crashes")
    assert (crashes["least"], crashes["greatest"]) == (1, 1)


def test_a_crash_that_comes_too_late_for_some_runs_is_said(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--replications", "8", "--set", "redo=same", "--crash-at", "10s")
    _, err = run(capsys, small, *given)
    found = re.search(
        r"^note: \S+in.yaml: crashes: not all of them came in ([1-7]) of 8 runs; --seed (\d) "
        r"without --replications says why$",
        err,
        re.MULTILINE,
    )
    assert found is not None
    _, why = run(capsys, small, *given[2:], "--seed", found[2])
    assert "crashes[0]: the crash at 10 s never came: the run ended at" in why


def test_a_pipeline_that_keeps_its_seed_is_remarked_on_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, BESIDE)
    out, err = run(capsys, file, "--replications", "2")
    assert err.count("it states seed 7, and draws the same in every run") == 1
    assert "beside 'fixed': it states" in err
    assert "pipeline.night.makespan_s" in out


def test_runs_that_are_all_alike_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run(capsys, written(tmp_path, FIXED), "--precision", "0.02")
    assert "every run has the same figures: no draw of the scenario depends on the seed\n" in out
    assert "± 2 % was wished; all 22 runs have the same; of what comes less often" in out
    assert "fixed: 22 runs" in out


def test_runs_that_are_not_judged_say_so(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run(capsys, small, "--replications", "2", "--no-check")
    assert "not checked: clauses of time were off\n" in out


def test_without_scipy_no_run_is_made(
    small: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sim.experiments import intervals

    intervals._t.cache_clear()
    monkeypatch.setitem(sys.modules, "scipy", None)
    out, err = run(capsys, small, "--replications", "2", code=2)
    assert (out, err.count("\n")) == ("", 1)
    assert "pip install '.[experiments]'" in err


def test_ctrl_c_says_how_to_go_on_and_leaves_nothing(tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    file = written(tmp_path, CRASHING)
    terminal, end = pty.openpty()
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "sim", "run", str(file), "--replications", "100000"),
            *("--out", str(tmp_path / "out")),
        ],
        stdout=subprocess.PIPE,
        stderr=end,
    )
    signal.signal(signal.SIGINT, handler)
    os.close(end)
    text = b""
    while not re.search(rb"\d\d of 100,000 runs  makespan_s \xc2\xb1 [\d.]+ %  ", text):
        text += os.read(terminal, 1000)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] == b""
    text += rest_of(terminal)
    assert process.returncode == 130
    assert b"Traceback" not in text
    assert re.search(
        rb"\n?(\d+) of 100,000 runs made; makespan_s [\d.,]+ \xc2\xb1 [\d.]+ so far; "
        rb"nothing is kept, and the same command begins again; --replications \1 ends with as "
        rb"many; a sweep \(`cellspec sweep`\) keeps each run, and goes on\r\ninterrupted\r\n$",
        text,
    )
    assert not (tmp_path / "out").exists()
