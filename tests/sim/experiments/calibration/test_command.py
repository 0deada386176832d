"""``cellspec calibrate``: its output, its files, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cellspec.exit_codes import BAD_INPUT, FINE
from sim.cli import main
from sim.scenario.loader import load_scenario
from tests.sim.experiments.calibration.recording import FOLDER, path_of

RECORD = str(path_of(150, 8))
LOG = str(FOLDER / "otel-openai.jsonl.gz")


def test_the_scenario_that_it_writes_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "fitted.yaml"
    assert main(["calibrate", RECORD, "--out", str(out), "--replications", "2"]) == FINE
    assert main(["run", str(out), "--set", "rows=20"]) == FINE
    assert "20 rows × 4 columns" in capsys.readouterr().out
    scenario = load_scenario(out)
    assert scenario.limits.measured_at == {"model": 8}
    assert scenario.source.startswith("cellspec calibrate datadesigner-150-rows-8-calls.jsonl.gz")


def test_json_and_table_say_the_same_and_jobs_change_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    printed = []
    for more in (["--format", "json"], ["--format", "json", "--jobs", "2"], []):
        assert main(["calibrate", LOG, "--column-by", "parent", "--replications", "2", *more]) == 0
        printed.append(capsys.readouterr().out)
    one, other, table = printed
    assert one == other
    data = json.loads(one)
    assert data["kind"] == "opentelemetry"
    assert [item["column"] for item in data["columns"]] == ["draft", "judge"]
    assert data["columns"][1]["seconds"]["model"] == data["scenario"]["columns"][1]["latency"]
    assert data["lacks"]
    assert all(text in table for text in data["lacks"])
    (prediction,) = data["predictions"]
    figure = prediction["figures"][0]
    assert figure["figure"] == "draft call_s"
    assert f"{figure['recorded']:.4f}" in table
    assert figure["error"] == pytest.approx(figure["predicted"] / figure["recorded"] - 1)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nope.jsonl"], "nope.jsonl: cannot be read: No such file"),
        (["simulations/text_to_sql.yaml"], "expected a trace, a log of LiteLLM"),
        ([RECORD, "--column", "a"], "a trace names its columns"),
        ([LOG, "--column", "a", "--column-by", "b"], "leave --column-by out"),
        ([LOG, "--field", "begin=x"], "no role 'begin'"),
        ([LOG, "--field", "x"], "expected ROLE=NAME"),
        ([LOG, "--column-by", "nam"], "did you mean 'name'?"),
        ([LOG, "--against", RECORD], "expected a run of the columns"),
        ([LOG, "--pipeline", "nope"], "no example is called 'nope'"),
        ([LOG, "--pipeline", "text_to_sql"], "no column and no resource named"),
        ([LOG, "--from", "csv"], "no request in it: expected a CSV file"),
        ([RECORD, "--out", RECORD], "it is what is read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_it_cannot_use_is_refused_in_one_line(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", *arguments, "--replications", "2"]) == BAD_INPUT
    printed = capsys.readouterr()
    assert expected in printed.err
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1


def test_tokens_alone_write_no_scenario(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, out = tmp_path / "log.csv", tmp_path / "out.yaml"
    log.write_text("ContextTokens,GeneratedTokens\n" + "100,10\n250,25\n" * 10)
    assert main(["calibrate", str(log), "--out", str(out)]) == BAD_INPUT
    assert "--pipeline SCENARIO.yaml" in capsys.readouterr().err
    assert not out.exists()
    assert main(["calibrate", str(log)]) == FINE
    assert "only its tokens are fitted" in capsys.readouterr().out


def test_a_log_of_one_call_has_failure_bounds_that_are_shares(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "one.csv"
    path.write_text("start,seconds\n1,2\n")
    assert main(["calibrate", str(path), "--replications", "1"]) == FINE
    # 0.05 = (1 - share) ** 1
    assert "none of 1 call, so at most 95 % fail" in capsys.readouterr().out


def test_a_pipeline_of_datadesigner_or_tokens_has_other_fits_in_the_interval(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, scenario = tmp_path / "log.csv", tmp_path / "two.yaml"
    rows = [f"{place},{100 + 10 * (place % 9)},{20 + place % 13}" for place in range(60)]
    log.write_text("start,prompt_tokens,output_tokens\n" + "\n".join(rows) + "\n")
    scenario.write_text(
        "name: two\nrows: 60\n"
        "columns: [{name: call, traits: [START, CELL_BY_CELL], resource: m, latency:"
        " {model: request, output_tokens: {model: constant, value: 1}}}]\n"
        "limits: {workers: 4, resources: {m: 4}}\n"
        "endpoints: {m: {tpot_s: {1: 0.03, 8: 0.04}}}\n"
    )
    arguments = [str(log), "--pipeline", str(scenario), "--replications", "3"]
    assert main(["calibrate", *arguments, "--format", "json"]) == FINE
    data = json.loads(capsys.readouterr().out)
    assert data["scenario"]["columns"][0]["latency"]["output_tokens"]["model"] != "constant"


def test_records_of_one_name_are_told_apart_by_their_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / Path(RECORD).name
    other.write_bytes(path_of(150, 16).read_bytes())
    arguments = [RECORD, "--against", str(other), "--against", RECORD, "--replications", "1"]
    assert main(["calibrate", *arguments, "--format", "json"]) == FINE
    found = json.loads(capsys.readouterr().out)["predictions"]
    assert [one["record"] for one in found] == [RECORD, str(other)]
    assert [one["limits"]["resources"]["model"] for one in found] == [8, 16]


def test_few_calls_are_said_to_make_intervals_too_narrow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "few.csv"
    path.write_text("seconds,column\n" + "1.5,a\n" * 3 + "2.5,b\n" * 8)
    assert main(["calibrate", str(path), "--replications", "1"]) == FINE
    assert "fewer than 8 calls of 'a' (3) say little" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["litellm-payloads", "litellm-spend", "otel-litellm"])
def test_thirty_calls_with_a_long_tail_are_no_pareto_without_a_variance(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["calibrate", str(FOLDER / f"{name}.jsonl.gz"), "--format", "json"]
    assert main(arguments) == FINE
    data = json.loads(capsys.readouterr().out)
    assert all(one["seconds"]["model"]["model"] != "pareto" for one in data["columns"])
    assert any("pareto with alpha 1.37 has 2.7 less BIC" in text for text in data["remarks"])
    for figure in data["predictions"][0]["figures"]:
        assert abs(figure["error"]) < 0.1
        assert 0 < figure["low"] <= figure["predicted"] <= figure["high"]


def test_a_column_whose_calls_waited_for_the_loop_is_said_not_to_be_trusted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = str(path_of(150, 16))
    assert main(["calibrate", RECORD, "--against", other, "--replications", "2"]) == FINE
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if " call_s  " in line]
    assert len(rows) == 8
    for line in rows:
        assert line.endswith("not to be trusted") == line.startswith("topic")
    assert "topic call_s is not to be trusted" in printed


def test_a_makespan_that_is_not_compared_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "crashed.jsonl"
    column = (
        "{name: a, traits: [START, CELL_BY_CELL], latency: {model: gamma, mean_s: 1, shape: 9}}"
    )
    scenario = tmp_path / "crashed.yaml"
    scenario.write_text(
        f"name: crashed\nrows: 60\ncolumns: [{column}]\nlimits: {{workers: 4}}\n"
        "checkpoint: {every_rows: 10}\ncrashes: [{at_time_s: 7}]\n"
    )
    assert main(["run", str(scenario), "--trace", str(trace)]) == FINE
    capsys.readouterr()
    assert main(["calibrate", str(trace), "--replications", "2"]) == FINE
    printed = capsys.readouterr().out
    assert "\nmakespan_s  " not in printed
    expected = "makespan_s: not compared: it holds what 1 crash cost, and the scenario has none"
    assert expected in printed.splitlines()
