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
    # How long failed calls wait is not in a log, but may be in the scenario.
    assert any("failures.backoff" in text for text in made.remarks)
    told = PIPELINE | {"failures": {"backoff": {"first_s": 2.0}}}
    again = calibrate(found, "x", Scenario.model_validate(told))
    assert again.scenario["failures"]["backoff"]["first_s"] == 2.0
    assert not any("failures.backoff" in text for text in again.remarks)


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
        ("", "the file is empty: expected a trace, a log of LiteLLM"),
        ("hello\n", "expected a trace, a log of LiteLLM"),
        (
            '{"startTime": 1, "endTime": 2}\n{"startTime"\n{"startTime": 3}\n',
            ":2: expected a JSON object",
        ),
        ('{"startTime": "soon", "endTime": 2}\n', ":1: startTime: expected seconds since 1970"),
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


# What logs may hold besides

PAYLOAD = {"startTime": 10.0, "endTime": 12.0, "model": "m", "status": "success"}


def payloads(path: Path, *changes: dict[str, Any], ending: str = "\n") -> Record:
    path.write_text("\n".join(json.dumps({**PAYLOAD, **one}) for one in changes) + ending)
    return read_record(path, None, LogOptions())


def test_requests_without_a_time_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    found = payloads(path, {"endTime": None}, {}, {"startTime": ""}, {"endTime": None})
    assert len(found.calls) == 1
    assert found.left_out == [
        f"2 requests without endTime, the first at {path}:1",
        f"1 request without startTime, at {path}:3",
    ]
    with pytest.raises(SpecError, match="no request in it: 1 request without endTime"):
        payloads(path, {"endTime": None})


def test_a_copy_of_a_request_counts_once_and_a_second_try_counts_again(tmp_path: Path) -> None:
    tries = {"id": "x"}, {"id": "x"}, {"id": "x", "startTime": 11.0}, {"id": "y"}
    found = payloads(tmp_path / "log.jsonl", *tries)
    assert len(found.calls) == 3
    assert "1 copy of another request, at" in found.left_out[0]
    # Without an id nobody knows.
    assert len(payloads(tmp_path / "log.jsonl", {}, {}).calls) == 2


def test_a_last_line_that_is_cut_off_is_left_out(tmp_path: Path) -> None:
    found = payloads(tmp_path / "log.jsonl", {}, {}, ending='\n{"startTime": 1, "end')
    assert len(found.calls) == 2
    assert "1 line that is cut off, at" in found.left_out[0]


def test_an_end_before_its_start_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"log\.jsonl:2: expected an end after its start, got -1 s"):
        payloads(tmp_path / "log.jsonl", {}, {"endTime": 9.0})


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (1764400000123, 1764400002123),
        ("1764400000123000", "1764400002123000"),
        (1764400000123000000, 1764400002123000000),
        ("2025-11-29T09:06:40.123+02:00", "2025-11-29T07:06:42.1230000Z"),
        ("2025-11-29 07:06:40.123", "2025-11-29 07:06:42.123000 UTC"),
    ],
)
def test_moments_are_seconds_whatever_their_unit_and_zone(
    start: object, end: object, tmp_path: Path
) -> None:
    found = payloads(tmp_path / "log.jsonl", {"startTime": start, "endTime": end}, {})
    assert sorted(call.seconds for call in found.calls) == pytest.approx([2.0, 2.0], abs=1e-4)
    csv = tmp_path / "log.csv"
    csv.write_text(f"timestamp,end_time\n{start},{end}\n")
    assert read_record(csv, None, LogOptions()).calls[0].seconds == pytest.approx(2.0, abs=1e-4)


def test_the_proxys_answer_is_read_and_so_is_the_text_of_an_error(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    failed = {"status": "failure", "error_str": "litellm.RateLimitError: no auth to go on"}
    path.write_text(json.dumps({"data": [PAYLOAD, {**PAYLOAD, **failed}]}, indent=1))
    found = read_record(path, None, LogOptions())
    assert [call.failure for call in found.calls] == [None, "back_pressure"]


def span(number: int, name: str, parent: int | None = None, **attributes: Any) -> dict[str, Any]:
    """A span of two seconds, with attributes of gen_ai."""
    given = [
        {"key": f"gen_ai.{key.replace('_', '.', 1)}", "value": {"stringValue": value}}
        for key, value in attributes.items()
    ]
    times = {"startTimeUnixNano": f"{number}000000000", "endTimeUnixNano": f"{number + 2}000000000"}
    above = {} if parent is None else {"parentSpanId": f"{parent:x}"}
    return (
        {"traceId": "a", "spanId": f"{number:x}", "name": name, "attributes": given} | times | above
    )


CHAT: Any = {"operation_name": "chat", "request_model": "m"}


def test_a_call_that_two_libraries_tell_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "spans.json"
    given = [
        span(1, "agent", operation_name="invoke_agent", request_model="m"),
        span(2, "chat m", 1, **CHAT),
        span(3, "chat m", 2, **CHAT),
        span(4, "search", 2, operation_name="embeddings", request_model="e"),
        span(5, "chat m", **CHAT),
    ]
    path.write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": given}]}]}))
    found = read_record(path, None, LogOptions())
    assert sorted(call.start_s + 3 for call in found.calls) == [3.0, 4.0, 5.0]
    assert any("1 span around another one of the same call, at" in x for x in found.left_out)
    path.write_text(f"{path.read_text()}\n{path.read_text()}\n")
    again = read_record(path, None, LogOptions())
    assert len(again.calls) == len(found.calls)
    assert any("copies of other spans, the first at" in text for text in again.left_out)


def test_a_call_needs_no_model_and_an_unfinished_one_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "spans.json"
    open_one = span(3, "chat", operation_name="chat")
    open_one["endTimeUnixNano"] = "0"
    given = [span(1, "chat", operation_name="chat"), span(2, "tool"), open_one]
    path.write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": given}]}]}))
    found = read_record(path, None, LogOptions())
    assert [call.column for call in found.calls] == ["call"]
    assert any("1 span without its start or its end, at" in text for text in found.left_out)
    path.write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": given[1:2]}]}]}))
    with pytest.raises(
        SpecError, match=r"none of 1 span calls a model: expected gen_ai\.operation"
    ):
        read_record(path, None, LogOptions())


def test_spans_as_the_sdk_prints_them_are_read(tmp_path: Path) -> None:
    def printed(number: int, parent: str | None, **more: Any) -> str:
        one = {
            "name": f"span {number}",
            "context": {"trace_id": "0xa", "span_id": f"0x{number}"},
            "parent_id": parent,
            "start_time": f"2025-11-29T10:00:0{number}.000000Z",
            "end_time": f"2025-11-29T10:00:0{number + 1}.500000Z",
            "status": {"status_code": "UNSET"},
            "attributes": {},
        }
        return json.dumps(one | more, indent=4)

    chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
    failed = {"status_code": "ERROR", "description": "Error code: 429"}
    path = tmp_path / "spans.json"
    path.write_text(
        "\n".join(
            [
                printed(1, None),
                printed(2, "0x1", attributes=chat | {"gen_ai.usage.input_tokens": 7}),
                printed(3, "0x1", attributes=chat, status=failed),
            ]
        )
    )
    found = read_record(path, None, LogOptions(column_by="parent"))
    assert [(call.column, call.seconds, call.failure) for call in found.calls] == [
        ("span 1", 1.5, None),
        ("span 1", 1.5, "back_pressure"),
    ]
    assert found.calls[0].tokens == (7.0, None)


@pytest.mark.parametrize(
    "text",
    [
        "Latency (ms),Status Code\n1500,200\n300,429\n",
        "latencyMs;statusCode\n1500;200\n300;429\n",
        "duration_s\tstatus\n1.5\tok\n0.3\trate_limit\n",
        "elapsed_us,error,status_code\n1500000,,200\n300000,,429\n",
        "response time [ms],error\n1500,False\n300,Too many requests\n",
    ],
)
def test_names_units_and_separators_of_a_csv_vary(text: str, tmp_path: Path) -> None:
    path = tmp_path / ("log.tsv" if "\t" in text else "log.csv")
    path.write_text(text)
    found = read_record(path, None, LogOptions())
    calls = {call.failure: call.seconds for call in found.calls}
    assert calls == {None: pytest.approx(1.5), "back_pressure": pytest.approx(0.3)}


def test_rows_of_a_csv_without_a_time_are_left_out_unless_they_failed(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("start,seconds,error,prompt_tokens\n1,2,,5\n2,,,6\n,,timeout,\n4,3,,\n")
    found = read_record(path, None, LogOptions())
    assert [(call.start_s, call.timed) for call in found.calls] == [
        (0.0, False),
        (0.0, True),
        (3.0, True),
    ]
    assert found.left_out == [f"1 request without its times, at {path}:3"]
    made = calibrate(found, "x")
    assert not any("failed calls took" in text for text in made.remarks)
