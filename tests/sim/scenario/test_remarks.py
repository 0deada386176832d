"""What is said of a scenario, or of a file, that does something else than one might think."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cellspec import ColumnDescriptor, SpecError
from cellspec.build import datadesigner
from cellspec.build.builder import BuildReport
from sim.cli import main
from sim.scenario.loader import load_scenario
from sim.scenario.remarks import load_notes, scope_changes_result

ROOT = Path(__file__).parents[3]
RECORDED = "seconds,status\n2.5,\n0,429\n1.5,0\n,500\n"


def write(folder: Path, *columns: dict[str, Any], **more: Any) -> Path:
    data = {"name": "s", "rows": 200, "limits": {"workers": 3}, "columns": list(columns), **more}
    path = folder / "s.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def replaying(folder: Path, text: str = RECORDED, **latency: Any) -> dict[str, Any]:
    (folder / "t.csv").write_text(text, encoding="utf-8")
    return {
        "name": "a",
        "latency": {"model": "trace", "file": "t.csv", "column_s": "seconds", **latency},
    }


def run(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[Any, str]:
    code = main(["run", str(path), "--format", "json", *options])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out), err


# Requests that failed


def test_requests_of_no_time_are_pointed_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, replaying(tmp_path, "seconds\n0\n1\n0\n"))
    _, err = run(path, capsys)
    assert "latency of 'a': 2 of 3 requests in 't.csv' took 0 s, and are replayed so" in err


def test_requests_that_failed_are_left_out_and_that_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, replaying(tmp_path, failed_column="status"))
    result, err = run(path, capsys)
    assert "latency of 'a': 2 of 4 requests in 't.csv' failed, and are left out" in err
    assert result["worker_busy_s"] == 100 * 2.5 + 100 * 1.5


def test_calls_fail_as_the_requests_that_they_replay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    column = replaying(tmp_path, failed_column="status", failed="fail", order="bootstrap")
    path = write(tmp_path, column, failures={"max_attempts": 100, "backoff": {"first_s": 0}})
    result, err = run(path, capsys, "--trace", str(tmp_path / "t.jsonl"))
    assert "2 of 4 requests in 't.csv' failed, 1 with 429: the calls that replay them fail" in err
    (failures,) = result["failures"]
    assert result["rows_delivered"] == 200
    # Of about 400 calls a quarter failed in each way; the standard error is 9 calls.
    assert abs(failures["backpressure"] - result["calls"] / 4) < 35
    assert abs(failures["retryable"] - result["calls"] / 4) < 35
    assert result["calls"] == 200 + failures["backpressure"] + failures["retryable"]
    assert main(["check", str(tmp_path / "t.jsonl")]) == 0


@pytest.mark.parametrize(
    ("text", "latency", "expected"),
    [
        (RECORDED, {"failed_column": "status", "failed": "fail"}, "failures: is missing; column"),
        (RECORDED, {"failed": "fail"}, "latency.failed: expected failed_column too"),
        (RECORDED, {"failed_column": "seconds"}, "failed_column: expected another column than"),
        (RECORDED, {"failed_column": "nobody"}, "has no column 'nobody'"),
        ("seconds,status\n1,429\n", {"failed_column": "status"}, "all its requests failed"),
        ("seconds,status\n,\n1,\n", {"failed_column": "status"}, "expected seconds from 0"),
    ],
)
def test_a_trace_that_cannot_be_replayed_is_refused_in_one_line(
    tmp_path: Path, text: str, latency: dict[str, Any], expected: str
) -> None:
    with pytest.raises(SpecError) as caught:
        load_scenario(write(tmp_path, replaying(tmp_path, text, **latency)))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_parts_of_a_mixture_cannot_fail(tmp_path: Path) -> None:
    part = replaying(tmp_path, failed_column="status", failed="fail")["latency"]
    mixture = {"model": "mixture", "components": [{"weight": 1, "latency": part}]}
    with pytest.raises(SpecError, match=r"components\[0\]\.latency\.failed: expected leave_out"):
        load_scenario(write(tmp_path, {"name": "a", "latency": mixture}, failures={}))


# What has no effect


def test_a_limit_that_no_column_takes_is_pointed_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, {"name": "a"}, limits={"workers": 1, "resources": {"gpu": 2}})
    _, err = run(path, capsys)
    assert f"note: {path}: limits.resources.gpu: no column takes it\n" in err


PIPELINE: dict[str, Any] = {
    "name": "p",
    "rows": 100,
    "pipeline": {"datadesigner": "p.yaml"},
    "limits": {"workers": 4},
}


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scenario of a pipeline with a condition; the reader of the configuration is replaced."""
    names = [("kind", []), ("text", ["kind"]), ("judge", ["text"]), ("tag", ["text"])]
    conditions = {"text": ("{{ kind == 'none' }}", True), "tag": (None, False)}

    def load(path: str | Path) -> datadesigner.Pipeline:
        columns = tuple(
            datadesigner.PipelineColumn(
                ColumnDescriptor(name, dependencies=needs),
                "",
                skip_when=conditions.get(name, (None, True))[0],
                propagate_skip=conditions.get(name, (None, True))[1],
            )
            for name, needs in names
        )
        return datadesigner.Pipeline("p", Path(path), columns, {}, (), BuildReport(()))

    monkeypatch.setattr(datadesigner, "load_pipeline", load)
    path = tmp_path / "p-scenario.yaml"
    path.write_text(yaml.safe_dump(PIPELINE), encoding="utf-8")
    (tmp_path / "p.yaml").touch()
    return path


def test_a_condition_without_a_rate_is_pointed_out(
    pipeline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result, err = run(pipeline, capsys)
    assert "column 'text' skips cells when \"{{ kind == 'none' }}\"; none is skipped here" in err
    assert "pipeline.skip_rates.text says how many" in err
    assert (result["cells_made"], result["failures"]) == (400, [])


def test_a_rate_skips_cells_of_a_pipeline_and_those_that_need_them(
    pipeline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result, err = run(pipeline, capsys, "--set", "pipeline.skip_rates.text=0.3")
    assert "note" not in err
    skipped = {item["column"]: item["skipped"] for item in result["failures"]}
    assert 15 < skipped["text"] < 45
    # The tag is made although its input was skipped.
    assert skipped == {"kind": 0, "text": skipped["text"], "judge": skipped["text"], "tag": 0}


def test_a_rate_for_a_column_without_a_condition_is_refused(pipeline: Path) -> None:
    with pytest.raises(SpecError, match=r"skip_rates\.judge: no column 'judge' has a condition"):
        load_scenario(pipeline, {"pipeline.skip_rates.judge": "0.5"})


def test_output_cells_of_a_barrier_are_skipped_by_its_own_condition(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    barrier = {"name": "v", "traits": ["BARRIER"], "dependencies": ["a"], "skip_rate": 0.5}
    path = write(tmp_path, {"name": "a", "traits": ["START"]}, barrier)
    result, _ = run(path, capsys, "--trace", str(tmp_path / "t.jsonl"))
    skipped = result["failures"][1]["skipped"]
    assert 70 < skipped < 130
    assert result["cells_made"] == 400 - skipped
    assert main(["check", str(tmp_path / "t.jsonl")]) == 0


def test_an_option_that_replaces_itself_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result, err = run(write(tmp_path, {"name": "a"}), capsys, "--seed", "1", "--seed", "2")
    assert result["seed"] == 2
    assert "note: --seed is given twice; 2 counts\n" in err


def test_a_cluster_without_jobs_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["fuzz", "--methods", "latency", "--examples", "1", "--cluster", "dask"])
    assert "note: --cluster dask does nothing without --jobs of 2 or more\n" in (
        capsys.readouterr().err
    )


# Latencies and load


def test_another_limit_than_the_measured_load_is_said_beside_the_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    column = {"name": "a", "resource": "gpu", "latency": {"model": "constant", "value_s": 1}}
    limits = {"workers": 9, "resources": {"gpu": 4}, "measured_at": {"gpu": 4}}
    path = write(tmp_path, column, limits=limits)
    same, _ = run(path, capsys)
    assert same["notes"] == []
    more, _ = run(path, capsys, "--set", "limits.resources.gpu=16")
    assert more["notes"] == [
        "gpu: latencies were measured at 4 in flight and do not depend on the load; at the limit "
        "of 16 a real endpoint answers more slowly"
    ]
    assert main(["run", str(path), "--set", "limits.resources.gpu=2"]) == 0
    assert "at the limit of 2 a real endpoint answers at another speed\n" in capsys.readouterr().out


def test_fewer_workers_than_a_limit_are_the_limit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    column = {"name": "a", "resource": "gpu", "latency": {"model": "constant", "value_s": 1}}
    limits = {"workers": 3, "resources": {"gpu": 16}, "measured_at": {"gpu": 3}}
    path = write(tmp_path, column, limits=limits)
    same, err = run(path, capsys)
    assert same["notes"] == []
    assert f"note: {path}: limits.resources.gpu: 16 is never reached with 3 workers\n" in err
    fewer, _ = run(path, capsys, "--set", "limits.measured_at.gpu=16")
    (note,) = fewer["notes"]
    assert note.endswith("with 3 workers a real endpoint answers at another speed")


def test_the_load_of_a_token_model_is_its_batch(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("p,o\n100,10\n", encoding="utf-8")
    tokens = {
        "model": "tokens",
        "file": "t.csv",
        "prompt_tokens": "p",
        "output_tokens": "o",
        "ttft_s": {1: 0.1},
        "tpot_by_batch_s": {1: 0.01, 8: 0.02},
        "batch": 4,
    }
    limits = {"workers": 9, "resources": {"gpu": 8}}
    column = {"name": "a", "resource": "gpu", "latency": tokens}
    (note,) = load_notes(load_scenario(write(tmp_path, column, limits=limits)))
    assert "measured at 4 in flight" in note


def test_a_measured_load_is_of_a_resource_and_decides_nothing(tmp_path: Path) -> None:
    limits: dict[str, Any] = {"workers": 9, "resources": {"gpu": 8}}
    column = {"name": "a", "resource": "gpu"}
    without = load_scenario(write(tmp_path, column, limits=limits)).digest()
    path = write(tmp_path, column, limits={**limits, "measured_at": {"gpu": 8}})
    assert load_scenario(path).digest() == without
    with pytest.raises(SpecError, match=r"limits\.measured_at\.cpu: no resource 'cpu' has a limit"):
        load_scenario(path, {"limits.measured_at.cpu": "4"})


# Files for another command


@pytest.mark.parametrize(
    ("command", "text", "expected"),
    [
        ("run", '{"trace":1,"engine":{"name":"x"}}\n{"seq":1}\n', "cellspec check"),
        ("run", "data_designer:\n  columns:\n  - column_type: sampler\n", "under pipeline:"),
        ("run", '{"columns": [{"column_type": "sampler"}]}', "under pipeline:"),
        ("run", '{\n "failure": 1,\n "workload": {}\n}\n', "cellspec replay"),
        ("run", '{"traceEvents": [\n{"ph": "M"}]}', "made for looking at"),
        ("check", '{\n  "resourceSpans": [\n  ]\n}\n', "OpenTelemetry"),
        ("check", '{"resource_spans":[{"scope_spans":[]}]}\n', "OpenTelemetry"),
        ("check", '{"displayTimeUnit": "ms", "traceEvents": [\n{"ph":"M"}]}\n', "Chrome trace"),
        ("check", '[\n{"ph":"M","pid":0}\n]\n', "Chrome trace"),
        ("run", '{"resourceSpans": []}', "cellspec calibrate"),
        ("check", "name: a\nrows: 3\nlimits: {workers: 1}\n", "cellspec run"),
        ("check", '{"name": "a", "rows": 3, "limits": {"workers": 1}}', "cellspec run"),
        ("check", "data_designer:\n  columns:\n  - column_type: sampler\n", "under pipeline:"),
        ("check", '{\n "failure": 1,\n "workload": {}\n}\n', "cellspec replay"),
        ("replay", "name: a\nrows: 3\nlimits: {workers: 1}\n", "cellspec run"),
        ("replay", '{"name": "a", "rows": 3, "limits": {"workers": 1}}', "cellspec run"),
        ("shrink", "name: a\nrows: 3\nlimits: {workers: 1}\n", "cellspec run"),
        ("replay", "data_designer:\n  columns:\n  - column_type: sampler\n", "under pipeline:"),
        ("replay", '{"traceEvents": [\n{"ph": "M"}]}', "made for looking at"),
        ("replay", '{"resourceSpans": []}', "replay takes a cellspec trace"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_for_another_command_is_named_with_what_to_do(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    text: str,
    expected: str,
    *,
    packed: bool,
) -> None:
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    assert main([command, str(path)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {path}: this is") or err.startswith(f"error: {path}: these are")
    assert expected in err
    assert err.count("\n") == 1


def test_a_file_of_no_known_kind_keeps_its_own_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file"
    path.write_text("rows: many\n", encoding="utf-8")
    assert main(["run", str(path)]) == 2
    assert "this is" not in capsys.readouterr().err


# Words that change nothing


CONSTANT = {"name": "a", "latency": {"model": "constant", "value_s": 1.0}}
DRAWN = {"name": "b", "latency": {"model": "exponential", "mean_s": 1.0}}
ASKS = {
    "name": "c",
    "resource": "chat",
    "latency": {
        "model": "request",
        "prompt_tokens": {"model": "exponential", "mean": 100},
        "output_tokens": {"model": "exponential", "mean": 10},
    },
}


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (["a", "b"], ["nothing of column 'a' is drawn", "one number of a row is drawn by these"]),
        (["b"], ["one number of a row is drawn by these"]),
        (["b", "b"], ["one number of a row is drawn by these"]),
        (["b", "c"], []),
        # The prompt and the answer of a call go together too.
        (["c"], []),
        (["aligned"], ["nothing of column 'aligned' is drawn"]),
    ],
)
def test_a_row_effect_that_changes_nothing_is_pointed_out(
    columns: list[str], says: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    aligned = {**replaying(tmp_path, "seconds\n1\n2\n", from_start=True), "name": "aligned"}
    path = write(
        tmp_path,
        *(CONSTANT, DRAWN, ASKS, aligned),
        endpoints={"chat": {"tpot_s": {1: 0.01, 3: 0.02}}},
        limits={"workers": 3, "resources": {"chat": 3}},
        row_effect={"columns": columns, "correlation": 0.5},
    )
    _, err = run(path, capsys)
    notes = [line for line in err.splitlines() if "row_effect" in line]
    assert len(notes) == len(says)
    for note, words in zip(notes, says, strict=True):
        assert note.startswith(f"note: {path}: row_effect.columns: {words}")


@pytest.mark.parametrize("write_s", [0.0, 0.5])
def test_writes_that_block_for_no_time_are_pointed_out(
    write_s: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saving = {"every_rows": 5, "write_s": write_s, "blocking": True}
    _, err = run(write(tmp_path, CONSTANT, checkpoint=saving), capsys)
    assert ("checkpoint.blocking: a write takes no time without" in err) == (write_s == 0)


def test_gaps_of_requests_that_failed_are_pointed_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gaps = replaying(tmp_path, failed_column="status")["latency"]
    _, err = run(write(tmp_path, CONSTANT, arrivals=gaps), capsys)
    assert "arrivals: 2 of 4 requests in 't.csv' failed, and are left out" in err


# Barriers of batch scope

TEXT = {"name": "text", "traits": ["START", "CELL_BY_CELL"]}
READERS = (
    {"name": "search", "traits": ["BARRIER"], "dependencies": ["text"]},
    {"name": "check", "traits": ["BATCH_BARRIER"], "dependencies": ["text"]},
    {"name": "draw", "traits": ["START", "BARRIER"]},
)


def test_a_barrier_of_the_dataset_that_reads_a_batch_is_pointed_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = ({**column, "latency": {"model": "constant", "value_s": 1}} for column in READERS)
    first = {**TEXT, "latency": {"model": "constant", "value_s": 1}}
    path = write(tmp_path, first, *columns, batch_size=50)
    assert scope_changes_result(load_scenario(path)) == ()
    assert "barrier_scope" not in run(path, capsys)[1]
    by_batch = load_scenario(path, {"barrier_scope": "batch"})
    # What draws from nothing reads no rows, and a batch of all rows is the dataset.
    assert scope_changes_result(by_batch) == ("search",)
    whole = load_scenario(path, {"barrier_scope": "batch", "batch_size": "200"})
    assert scope_changes_result(whole) == ()
    _, err = run(path, capsys, "--set", "barrier_scope=batch")
    said = (
        "barrier_scope: 'search' reads 50 rows at a time, and not all 200 as declared: the result "
        "may be another one; a column that gives the same result by batch is declared BATCH_BARRIER"
    )
    assert err.count(said) == 1


def test_of_the_barrier_options_only_b_changes_the_result() -> None:
    changed = {
        option: scope_changes_result(
            load_scenario(ROOT / "simulations" / f"barrier_option_{option}.yaml")
        )
        for option in "abcd"
    }
    assert changed.pop("b") == ("code_validity_result", "near_duplicate_of")
    assert not any(changed.values())
