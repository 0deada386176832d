"""Logs of requests: LiteLLM's, OpenTelemetry's, and CSV files, and what they lack.

`tests.sim.experiments.calibration.make_logs` let the libraries themselves write the logs.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from cellspec.errors import SpecError
from sim.experiments.calibration.calibration import calibrate
from sim.experiments.calibration.from_log import LogOptions, read_record
from sim.experiments.calibration.prediction import predict, scenario_of
from sim.experiments.calibration.record import Record
from sim.experiments.calibration.requests import ending_of
from sim.scenario.scenario import Scenario
from tests.sim.experiments.calibration.recording import FOLDER

DATA = Path(__file__).parents[4].parent / "shared" / "data"

LITELLM = ("litellm-payloads", "litellm-spend")


def log(name: str, options: LogOptions = LogOptions()) -> Record:  # noqa: B008 - frozen
    return read_record(FOLDER / f"{name}.jsonl.gz", None, options)


def failures(record: Record) -> dict[str, list[str]]:
    return {
        name: [call.failure for call in record.of_column(name) if call.failure is not None]
        for name in record.columns
    }


@pytest.mark.parametrize("name", LITELLM)
def test_both_logs_of_litellm_tell_models_tokens_and_failures(name: str) -> None:
    found = log(name)
    assert found.source == "litellm"
    assert len(found.calls) == 62
    assert failures(found) == {"gpt-4o-mini": ["back_pressure"], "gpt-4o": ["retryable"]}
    assert {call.tokens for call in found.calls if not call.failure} == {(10.0, 20.0)}
    assert found.scenario["limits"]["resources"] == {"gpt-4o-mini": 6, "gpt-4o": 6}


def test_the_two_logs_of_litellm_tell_the_same_calls() -> None:
    one, other = (log(name) for name in LITELLM)
    assert [call.seconds for call in one.calls] == pytest.approx(
        [call.seconds for call in other.calls], abs=1e-6
    )


@pytest.mark.parametrize("name", LITELLM)
def test_a_field_of_a_log_names_the_column(name: str) -> None:
    found = log(name, LogOptions(column_by="request_tags.0"))
    assert found.columns == ["draft", "judge"]
    assert found.resources == {"draft": "gpt-4o-mini", "judge": "gpt-4o"}
    assert not any("whose call" in text for text in found.lacks)


def test_spans_of_litellm_have_the_attributes_of_older_conventions() -> None:
    found = log("otel-litellm")
    assert found.source == "opentelemetry"
    assert len(found.calls) == 62
    assert {call.tokens for call in found.calls if not call.failure} == {(10.0, 20.0)}
    # A span with an error and without error.type does not say which.
    assert any("2 failures, which is not named" in text for text in found.left_out)


def test_spans_of_openais_client_are_told_apart_by_the_span_around_them() -> None:
    found = log("otel-openai", LogOptions(column_by="parent"))
    assert found.columns == ["draft", "judge"]
    assert len(found.calls) == 64
    assert sum(len(each) for each in failures(found).values()) == 4
    assert {kind for each in failures(found).values() for kind in each} == {"back_pressure"}
    assert {call.tokens for call in found.calls if not call.failure} == {(12.0, 3.0)}
    rows = log("otel-openai", LogOptions(column_by="pipeline.row"))
    assert len(rows.columns) == 30


def test_a_log_says_what_it_lacks_and_predicts_no_makespan() -> None:
    found = log("litellm-payloads")
    text = "\n".join(found.lacks)
    assert "--column-by" in text
    assert "--pipeline" in text
    assert "which calls repeat a failed one" in text
    figures = [one.figure for one in predict(calibrate(found, "x"), FOLDER, runs=2)]
    assert figures == ["gpt-4o-mini call_s", "gpt-4o call_s"]


PIPELINE: dict[str, Any] = {
    "name": "two",
    "rows": 30,
    "columns": [
        {"name": "draft", "traits": ["START", "CELL_BY_CELL"], "resource": "m"},
        {"name": "judge", "traits": ["CELL_BY_CELL"], "dependencies": ["draft"], "resource": "m"},
    ],
    "limits": {"workers": 6, "resources": {"m": 6}},
}


def test_a_pipeline_gets_its_latencies_from_a_log_and_its_makespan_is_predicted() -> None:
    found = log("otel-openai", LogOptions(column_by="parent"))
    made = calibrate(found, "x", Scenario.model_validate(PIPELINE))
    assert [item["latency"] for item in made.scenario["columns"]] == [
        one.seconds.model for one in made.columns if one.seconds is not None
    ]
    assert made.scenario["columns"][1]["dependencies"] == ("draft",)
    figures = {one.figure: one for one in predict(made, FOLDER, runs=5)}
    makespan = figures["makespan_s"]
    assert makespan.holds
    assert scenario_of(made.scenario, FOLDER).failures is not None


def test_answers_from_a_cache_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with gzip.open(FOLDER / "litellm-spend.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    rows[0]["cache_hit"] = "True"
    rows[1]["cache_hit"] = True
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_record(path, None, LogOptions())
    assert len(found.calls) == 60
    assert "2 requests answered from a cache" in found.left_out
    # The proxy's own interface gives one array.
    path.write_text(json.dumps(rows))
    assert len(read_record(path, None, LogOptions()).calls) == 60


def test_a_pipeline_of_other_names_is_refused_with_what_to_say() -> None:
    with pytest.raises(SpecError, match=r"no column and no resource named 'gpt-4o.*--column-by"):
        calibrate(log("litellm-spend"), "x", Scenario.model_validate(PIPELINE))


def test_tokens_alone_make_a_scenario_only_with_an_endpoint(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "x,100,10\nx,200,20\n" * 20)
    with pytest.raises(
        SpecError, match=r"log\.csv:2, column 'TIMESTAMP': expected a time, got 'x'"
    ):
        read_record(path, None, LogOptions())
    path.write_text(path.read_text().replace("x,", "2023-11-16 18:17:03.9799600,"))
    record = read_record(path, None, LogOptions())
    assert not record.timed
    data = json.loads(json.dumps(PIPELINE))
    del data["columns"][1]
    counts = {"model": "constant", "value": 1}
    data["columns"][0]["latency"] = {"model": "request", "output_tokens": counts}
    data["endpoints"] = {"m": {"tpot_s": {1: 0.03, 8: 0.04}}}
    made = calibrate(record, "x", Scenario.model_validate(data))
    latency = made.scenario["columns"][0]["latency"]
    assert latency["model"] == "request"
    assert latency["output_tokens"]["model"] in ("quantiles", "uniform", "gamma")
    scenario_of(made.scenario, tmp_path)


def test_columns_of_a_csv_are_known_by_name_or_said(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("begin_ms,took_ms,who,code\n0,1500,a,200\n500,2500,b,429\n600,100,a,500\n")
    with pytest.raises(SpecError, match=r"log.csv:2: no column is known to hold seconds.*--field"):
        read_record(path, None, LogOptions())
    fields = ["start=begin_ms", "seconds=took_ms", "column=who", "failure=code"]
    record = read_record(path, None, LogOptions.of(None, None, fields))
    assert [(call.column, call.start_s, call.end_s, call.failure) for call in record.calls] == [
        ("a", 0.6, pytest.approx(0.7), "retryable"),
        ("a", 0.0, 1.5, None),
        ("b", 0.5, 3.0, "back_pressure"),
    ]


@pytest.mark.parametrize(
    ("name", "requests", "tokens"),
    [
        ("azure2023/AzureLLMInferenceTrace_code", 8819, True),
        ("azure2023/AzureLLMInferenceTrace_conv", 19366, True),
        ("llmperf/llmperf_requests", 2845, False),
        ("mooncake/mooncake_conversation_tokens", 12031, True),
        ("mooncake/mooncake_synthetic_tokens", 3993, True),
    ],
)
def test_published_logs_are_read_as_they_are(name: str, requests: int, tokens: bool) -> None:
    if not DATA.exists():
        pytest.skip("the published data are not here: ../shared/data")
    record = read_record(DATA / f"{name}.csv.gz", None, LogOptions())
    assert len(record.calls) == requests
    assert record.timed is not tokens


def test_the_failures_of_llmperf_have_the_kinds_of_their_codes() -> None:
    if not DATA.exists():
        pytest.skip("the published data are not here: ../shared/data")
    path = DATA / "llmperf" / "llmperf_requests.csv.gz"
    record = read_record(path, None, LogOptions(column_by="provider"))
    with gzip.open(path, "rt") as lines:
        limited = sum(line.rstrip().endswith(",429") for line in lines)
    found = [call.failure for call in record.calls]
    assert found.count("back_pressure") == limited


@pytest.mark.parametrize(
    ("code", "name", "expected"),
    [
        (429, "", ("back_pressure", True)),
        ("429", "", ("back_pressure", True)),
        ("RateLimitError", "", ("back_pressure", True)),
        (503, "", ("retryable", True)),
        ("408", "", ("retryable", True)),
        ("timeout", "", ("retryable", True)),
        ("500", "InternalServerError", ("retryable", True)),
        (400, "BadRequestError", ("permanent", True)),
        (None, "AuthenticationError", ("permanent", True)),
        (-1, "", ("retryable", False)),
        (None, "", ("retryable", False)),
    ],
)
def test_a_failure_has_the_kind_that_its_code_or_its_name_tells(
    code: object, name: str, expected: tuple[str, bool]
) -> None:
    assert ending_of(code, name) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "expected a trace, a log of LiteLLM"),
        ("hello\n", "expected a trace, a log of LiteLLM"),
        ('{"startTime": 1, "endTime": 2}\n{"startTime"\n', ":2: expected a JSON object"),
        ('{"startTime": "soon", "endTime": 2}\n', "item 1: startTime: expected seconds since 1970"),
        ('{"resourceSpans": []}\n', "no request in it: expected spans of OpenTelemetry"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_line(
    content: str, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(content)
    with pytest.raises(SpecError) as caught:
        read_record(path, None, LogOptions())
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_field_that_no_request_has_is_refused_with_those_they_have() -> None:
    with pytest.raises(SpecError, match=r"--column-by request_tag: .*did you mean 'request_tags'"):
        log("litellm-spend", LogOptions(column_by="request_tag"))
