"""``PYTHON -m …make_logs FOLDER``: logs that LiteLLM and OpenTelemetry themselves write.

Needs an environment with ``litellm[proxy]==1.74.9``, ``opentelemetry-exporter-otlp==1.37.0`` and
``opentelemetry-instrumentation-openai-v2==2.1b0``, and nothing of cellspec. LiteLLM answers its
calls itself (``mock_response``), and OpenAI's client asks a server in this process, so that no
provider is asked. Two columns, 30 rows, at most 6 calls at once; a few calls fail. Four files come
out:

- ``litellm-payloads.jsonl.gz``: the `StandardLoggingPayload` of each call, as a logger gets it;
- ``litellm-spend.jsonl.gz``: the row of the table of spend logs that LiteLLM's proxy makes of it;
- ``otel-litellm.jsonl.gz``: the spans of LiteLLM's OpenTelemetry logger, as OTLP in JSON;
- ``otel-openai.jsonl.gz``: those of OpenTelemetry's instrumentation of OpenAI's client, each within
  a span of the pipeline that is named as its column.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import os
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROWS = 30
AT_ONCE = 6
COLUMNS = {"draft": (0.06, "openai/gpt-4o-mini"), "judge": (0.03, "openai/gpt-4o")}
FAILS = {("draft", 4): "litellm.RateLimitError", ("judge", 9): "litellm.InternalServerError"}


def main(folder: Path) -> None:
    os.environ["OTEL_SERVICE_NAME"] = "pipeline"
    import litellm
    from litellm.integrations.custom_logger import CustomLogger
    from litellm.integrations.opentelemetry import OpenTelemetry, OpenTelemetryConfig
    from litellm.proxy.spend_tracking.spend_tracking_utils import get_logging_payload
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    payloads: list[Any] = []
    spend: list[Any] = []

    class Logger(CustomLogger):  # type: ignore[misc]
        async def async_log_success_event(
            self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
        ) -> None:
            payloads.append(kwargs["standard_logging_object"])
            spend.append(get_logging_payload(kwargs, response_obj, start_time, end_time))

        async def async_log_failure_event(
            self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
        ) -> None:
            payload = kwargs["standard_logging_object"]
            # It names folders of the machine.
            payload["error_information"]["traceback"] = ""
            payloads.append(payload)
            # As the proxy's own hook says it of a failure.
            params = kwargs["litellm_params"]
            failed = {"status": "failure", "error_information": payload["error_information"]}
            params = {**params, "metadata": {**(params["metadata"] or {}), **failed}}
            kwargs = {**kwargs, "litellm_params": params, "completion_start_time": end_time}
            spend.append(get_logging_payload(kwargs, response_obj or {}, start_time, end_time))

    exporter = InMemorySpanExporter()
    litellm.callbacks = [Logger(), OpenTelemetry(OpenTelemetryConfig(exporter=exporter))]
    litellm.num_retries = 0
    asyncio.run(_pipeline(litellm))
    _write(folder / "litellm-payloads.jsonl.gz", payloads)
    _write(folder / "litellm-spend.jsonl.gz", spend)
    _write(folder / "otel-litellm.jsonl.gz", [_otlp(encode_spans(exporter.get_finished_spans()))])
    _write(folder / "otel-openai.jsonl.gz", [_otlp(encode_spans(_openai_spans()))])


async def _pipeline(litellm: Any) -> None:
    places, rng = asyncio.Semaphore(AT_ONCE), random.Random(7)
    delays = {
        (name, row): median_s * rng.lognormvariate(0, 0.4)
        for name, (median_s, _) in COLUMNS.items()
        for row in range(ROWS)
    }

    async def call(name: str, row: int, answer: str) -> None:
        async with places:
            await litellm.acompletion(
                model=COLUMNS[name][1],
                messages=[{"role": "user", "content": f"{name} of row {row}"}],
                mock_response=answer,
                mock_delay=delays[name, row],
                metadata={"tags": [name], "row": row},
            )

    async def make(row: int) -> None:
        for name in COLUMNS:
            if (name, row) in FAILS:
                try:
                    await call(name, row, FAILS[name, row])
                except Exception as error:
                    print(f"{name}[{row}]: {type(error).__name__}", file=sys.stderr)
            await call(name, row, "words " * (5 + row % 7))

    await asyncio.gather(*map(make, range(ROWS)))
    await asyncio.sleep(2)


class _Server(BaseHTTPRequestHandler):
    """A provider that answers after a while; every 15th request is one too many."""

    count = 0

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        _Server.count += 1
        time.sleep(random.Random(_Server.count).lognormvariate(0, 0.4) * 0.04)
        status, answer = 200, _ANSWER | {"model": body["model"]}
        if _Server.count % 15 == 0:
            status, answer = 429, {"error": {"message": "slow down", "type": "rate_limit"}}
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_given: Any) -> None:
        """Keep stderr clean."""


_ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}
    ],
    "usage": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15},
}


def _openai_spans() -> Any:
    """The spans of a pipeline of the same shape, on OpenAI's client."""
    import openai
    from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    tracer = provider.get_tracer("pipeline")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    client = openai.OpenAI(api_key="none", base_url=url, max_retries=0)

    def make(row: int) -> None:
        for name, (_, model) in COLUMNS.items():
            done = False
            while not done:
                with tracer.start_as_current_span(name, attributes={"pipeline.row": row}):
                    try:
                        client.chat.completions.create(
                            model=model.removeprefix("openai/"),
                            messages=[{"role": "user", "content": f"{name} of row {row}"}],
                        )
                        done = True
                    except openai.RateLimitError:
                        pass

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(make, range(ROWS)))
    server.shutdown()
    return exporter.get_finished_spans()


def _otlp(message: Any) -> Any:
    """The spans in OTLP's JSON: as protobuf's, but with ids in hexadecimal and enums as numbers."""
    from google.protobuf.json_format import MessageToDict

    found = MessageToDict(message, use_integers_for_enums=True)
    for resource in found["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for name in ("traceId", "spanId", "parentSpanId"):
                    if name in span:
                        span[name] = base64.b64decode(span[name]).hex()
    return found


def _write(path: Path, lines: list[Any]) -> None:
    text = "".join(json.dumps(line, default=str) + "\n" for line in lines)
    with path.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
        packed.write(text.encode())
    print(f"{path.name}: {len(lines)} lines, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
