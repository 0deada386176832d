"""What a trace costs: to write, to read, to check, against what decoding its JSON costs anyway.

The trace is of a run with 64 workers on a chain of ten columns: half of its events are starts, half
are ends of cells, and time moves at every other event. All cases read the same file from memory.
"""

from __future__ import annotations

import heapq
import io
import json
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from cellspec import ExecutionGraph, Limits, Machine
from cellspec.check.checker import check_file
from cellspec.machine.machine import FailurePolicy
from cellspec.trace import Event, Header, TraceReader, TraceWriter, header_for
from tests.benchmarks.graphs import chain
from tests.benchmarks.timing import Figure, interleave, memory, seconds

WORKERS = 64
BARE = "json.loads"


def run_events(graph: ExecutionGraph) -> Iterator[Event]:
    """The events of a run, first in first out; latencies are a fixed function of the cell."""
    machine = Machine(graph, Limits(workers=WORKERS), failures=FailurePolicy())
    names = graph.column_names
    ready: deque[tuple[int, int, int]] = deque()

    def on_cell(column: int) -> Callable[[int], None]:
        return lambda row: ready.append((column, row, row + 1))

    machine.listen(
        list(map(on_cell, range(len(names)))), lambda *rows: ready.append(rows), lambda *_: None
    )
    running: list[tuple[float, int, int]] = []
    seq, now = 0, 0.0
    while ready or running:
        while ready and machine.in_flight < WORKERS:
            column, row, stop = ready.popleft()
            if row + 1 < stop:
                ready.appendleft((column, row + 1, stop))
            machine.start_cell(column, row)
            seq += 1
            yield Event(seq, now, "start", names[column], row)
            latency_s = (1 + (row * 7919 + column * 104_729) % 256) / 64
            heapq.heappush(running, (now + latency_s, column, row))
        now, column, row = heapq.heappop(running)
        machine.complete_cell(column, row)
        seq += 1
        yield Event(seq, now, "complete", names[column], row)
    yield Event(seq + 1, now, "durable", rows=(0, graph.num_records))
    yield Event(seq + 2, now, "end", outcome="success")


def header(graph: ExecutionGraph) -> Header:
    return header_for(
        graph,
        engine="benchmark",
        version="1",
        limits=Limits(workers=WORKERS),
        claims=("core", "work_conserving"),
    )


def write(path: Path, graph: ExecutionGraph, events: Iterator[Event] | list[Event]) -> int:
    with TraceWriter(path, header(graph)) as writer:
        for event in events:
            writer.write(event)
    return writer.events


def write_chain(path: Path, rows: int) -> int:
    """Write the trace that is checked; the number of its events."""
    graph = chain(rows)
    return write(path, graph, run_events(graph))


def _decode_all(decode: Callable[[bytes], object], lines: list[bytes]) -> None:
    for line in lines:
        decode(line)


def _encode_all(encode: Callable[[Any], object], values: list[Any]) -> None:
    for value in values:
        encode(value)


def _read(data: bytes) -> None:
    with TraceReader(io.BytesIO(data)) as reader:
        for _ in reader:
            pass


def _check(source: Path | io.BytesIO) -> None:
    found = check_file(source)
    assert not found.violations, found.violations[0]
    assert found.ended, found.unreadable


def measure_traces(rows: int, rounds: int) -> dict[str, Any]:
    """Microseconds an event, with the bare decoder in every round."""
    graph = chain(rows)
    events = list(run_events(graph))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "run.jsonl"
        count = write(path, graph, events)
        data = path.read_bytes()
        lines = data.splitlines()[1:-1]
        values = [json.loads(line) for line in lines]
        typed = msgspec.json.Decoder(Event).decode
        work: dict[str, Callable[[], object]] = {
            BARE: lambda: _decode_all(json.loads, lines),
            "msgspec, untyped": lambda: _decode_all(msgspec.json.decode, lines),
            "msgspec, typed": lambda: _decode_all(typed, lines),
            "read": lambda: _read(data),
            "read and check": lambda: _check(io.BytesIO(data)),
            "json.dumps": lambda: _encode_all(json.dumps, values),
            "msgspec encode": lambda: _encode_all(msgspec.json.Encoder().encode, events),
            "write": lambda: write(path, graph, events),
        }
        cases = {name: _per_event(each, count) for name, each in work.items()}
        found = interleave(cases, rounds)
    unit = found[BARE]
    return {
        "rows": rows,
        "events": count,
        "bytes_per_event": len(data) / count,
        "cases": {
            name: {"us": list(figure.values), "ratio": list(figure.over(unit).values)}
            for name, figure in found.items()
        },
    }


def _per_event(work: Callable[[], object], count: int) -> Callable[[], float]:
    return lambda: seconds(work) / count * 1e6


def measure_check(rows: int) -> dict[str, Any]:
    """One check of a file, for a process of its own: events a second, and memory."""
    graph = chain(rows)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "run.jsonl"
        # Everything that is loaded lazily is loaded before memory is read for the first time.
        small = chain(8)
        write(path, small, run_events(small))
        _check(path)
        _write_elsewhere(path, rows)
        before = memory("VmRSS")
        wall_s = seconds(lambda: _check(path))
        peak = memory("VmHWM")
        with TraceReader(path) as reader:
            count = sum(1 for _ in reader)
    cells = rows * graph.num_columns
    return {
        "rows": rows,
        "events": count,
        "wall_s": wall_s,
        "events_per_s": count / wall_s,
        "before_bytes": before,
        "peak_bytes": peak,
        "bytes_per_cell": (peak - before) / cells,
    }


def _write_elsewhere(path: Path, rows: int) -> None:
    """Write the trace in another process, so that its memory is not in this one's peak."""
    from tests.benchmarks.timing import child

    child("trace-file", str(rows), str(path))


def show(data: dict[str, Any]) -> str:
    """The figures as a table, for a terminal."""
    lines = [
        f"{data['events']:,} events, {data['bytes_per_event']:.0f} bytes an event",
        f"{'':24}{'µs an event':>22}   × {BARE}",
    ]
    for name, case in data["cases"].items():
        us, ratio = Figure(tuple(case["us"])), Figure(tuple(case["ratio"]))
        lines.append(f"{name:24}{us.show():>22}   {ratio.show()}")
    return "\n".join(lines)


def main() -> None:
    """``python -m tests.benchmarks.tracing``: this part alone."""
    from tests.benchmarks.timing import child

    print(show(measure_traces(2_000, 5)))
    alone = child("check", "50000")
    print(
        f"check of {alone['events']:,} events: {alone['wall_s']:.2f} s, "
        f"{alone['events_per_s']:,.0f} events/s, peak {alone['peak_bytes'] / 2**20:.0f} MiB "
        f"({alone['before_bytes'] / 2**20:.0f} MiB before it)"
    )


if __name__ == "__main__":
    main()
