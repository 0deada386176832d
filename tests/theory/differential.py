"""``python -m tests.theory.differential``: random scenarios, here and by the naive program.

Each is a small scenario whose latencies are listed by row, so that nothing is drawn. Both must
agree on each call: when it started, was refused and what it was told, was served, timed out or
ended, to a billionth. Exit code 0 if they do in all of them, 1 if not: then the smallest scenario
that was found, as YAML that ``python -m sim run`` takes, and the differences.

What no convention fixes is left out: scenarios in which the order within one instant matters, and a
cold start that meets a pause, or an outage that meets calls in line.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis import strategies as st

from tests.recompute.runner import run
from tests.theory.naive import Call, Run, TooOften, simulate

__all__ = ["differences", "scenarios", "settled"]

Data = dict[str, Any]
Times = dict[str, list[float]]
NEAR = 1e-9


def numbers(least: int, most: int) -> st.SearchStrategy[float]:
    """Numbers with three decimals, which seldom add up to one another."""
    return st.integers(least * 1000, most * 1000).map(lambda n: n / 1000)


@st.composite
def listed(draw: st.DrawFn, rows: int, place: int, least: int, most: int) -> list[float]:
    """A number for each row, none a round one: so that few things happen at one instant."""
    odd = [((place * 17 + row + 1) * 0.6180339887 % 1.0) / 7 for row in range(rows)]
    return [round(draw(numbers(least, most)) + part, 9) for part in odd]


@st.composite
def endpoints(draw: st.DrawFn, *, tokens: bool, most_tokens: float) -> Data:
    """An endpoint; `tokens` if the calls that it serves count them."""
    found: Data = {}
    if tokens:
        found["tpot_s"] = draw(tables())
        if draw(st.booleans()):
            found["prefill_tokens_per_s"] = draw(numbers(2, 20))
            found["prefill_stalls_decode"] = draw(st.booleans())
    else:
        work = draw(st.sampled_from(["", "full_speed", "table"]))
        if work == "full_speed":
            found["work"] = {"full_speed": draw(st.integers(1, 4))}
        elif work == "table":
            speeds = sorted(draw(st.lists(numbers(1, 3), min_size=3, max_size=3)), reverse=True)
            found["work"] = dict(zip((1, 2, 8), speeds, strict=True))
    kinds = st.sampled_from(["line", "room", "cold", "pause", "outage", "limits", "limits"])
    kind = draw(st.sets(kinds, max_size=3))
    if "room" in kind and tokens:
        found["kv_tokens"] = most_tokens * draw(numbers(1, 3)) + 1
    if "line" in kind:
        found["max_in_flight"] = draw(st.integers(1, 4))
        if draw(st.booleans()):
            found["queue"] = draw(st.integers(0, 3))
    if "cold" in kind:
        found["cold_start"] = {"first_s": draw(numbers(1, 9))}
    if "pause" in kind and "cold" not in kind:
        found["pauses"] = [draw(spans(1))]
    if "outage" in kind and not kind & {"line", "room", "cold"}:
        running = draw(st.sampled_from(["fail", "hang", "finish"]))
        found["outages"] = [
            {
                **draw(spans(40 if "pauses" in found else 1)),
                "running": running,
                "refuse": "until end",
            }
        ]
    if "limits" in kind:
        found["limits"] = draw(
            st.lists(limits(tokens=tokens, most_tokens=most_tokens), min_size=1, max_size=2)
        )
    return found


@st.composite
def tables(draw: st.DrawFn) -> dict[int, float]:
    """Seconds of a token by the calls at once, up to more than there can be."""
    places = sorted(draw(st.sets(st.integers(1, 20), min_size=1, max_size=3)) | {24})
    return {n: draw(numbers(0, 1)) + 0.05 for n in places}


@st.composite
def spans(draw: st.DrawFn, first: int) -> Data:
    """A time from somewhere after `first` seconds."""
    start = round(draw(numbers(first, first + 20)) + 0.000123, 6)
    return {"from_s": start, "to_s": round(start + draw(numbers(1, 15)), 6)}


@st.composite
def limits(draw: st.DrawFn, *, tokens: bool, most_tokens: float) -> Data:
    """A limit that lets each call pass at some time."""
    per_s = draw(st.sampled_from([1.013, 7.1, 30.7]))
    if tokens and draw(st.booleans()):
        found: Data = {"tokens": round(most_tokens * draw(numbers(1, 3)) + 1, 3), "per_s": per_s}
        found["charge"] = draw(st.sampled_from(["reserved", "used"]))
        if found["charge"] == "reserved":
            found["give_back"] = draw(st.booleans())
        return found
    found = {"requests": draw(st.integers(1, 4)), "per_s": per_s}
    if draw(st.booleans()):
        found["window"] = "fixed"
    elif draw(st.booleans()):
        found["burst"] = draw(st.integers(1, 8))
    return found


@st.composite
def scenarios(draw: st.DrawFn) -> Data:
    """A scenario that the naive program knows."""
    rows, names = draw(st.integers(1, 7)), ["a", "b", "c"][: draw(st.integers(1, 3))]
    tokens = draw(st.booleans())
    columns: list[Data] = []
    for place, name in enumerate(names):
        needs = sorted(draw(st.sets(st.sampled_from(names[:place])))) if place else []
        column: Data = {"name": name, "traits": ["CELL_BY_CELL"] if needs else ["START"]}
        column["traits"] = ["CELL_BY_CELL"] if needs else ["START", "CELL_BY_CELL"]
        if needs:
            column["dependencies"] = needs
        resource = draw(st.sampled_from(["chat", "chat", "other", None]))
        resource = "chat" if place == 0 else resource
        if resource:
            column["resource"] = resource
        seconds = {"model": "list", "values_s": draw(listed(rows, place, 0, 20))}
        column["latency"] = seconds
        if resource == "chat" and tokens:
            counted = [c["name"] for c in columns if c["latency"]["model"] == "request"]
            column["latency"] = draw(calls(rows, place, [n for n in needs if n in counted]))
        columns.append(column)
    most_tokens = max(
        [1.0, *(most_of(c["latency"]) for c in columns if c.get("resource") == "chat")]
    )
    endpoint = draw(endpoints(tokens=tokens, most_tokens=most_tokens))
    at_once = {"chat": draw(st.integers(1, 6)), "other": draw(st.integers(1, 3))}
    data: Data = {
        "name": "random",
        "rows": rows,
        "columns": columns,
        "limits": {"workers": draw(st.integers(1, 9)), "resources": at_once},
        "policy": draw(st.sampled_from(["fifo", "fifo", "column-first", "row-first"])),
        "endpoints": {"chat": endpoint},
    }
    refuses = {"limits", "queue", "outages"}.intersection(endpoint)
    if refuses:
        endpoint["refusal"] = {"latency_s": draw(st.sampled_from([0, 0.137]))}
        endpoint["refusal"]["retry_after"] = draw(st.sampled_from(["exact", "none"]))
        if draw(st.booleans()):
            data["throttle"] = {"chat": draw(throttles(at_once["chat"]))}
    data["failures"] = {"cool_down": {"first_s": 1.7, "factor": 2.0, "most_s": 9.0}}
    if draw(st.integers(0, 3)) == 0:
        data["failures"] |= {"max_attempts": 9, "timeout_s": draw(numbers(21, 60))}
    if draw(st.integers(0, 4)) == 0:
        data["scheduler"] = {"start_s": draw(numbers(0, 1)), "end_s": draw(numbers(0, 1))}
    if draw(st.integers(0, 4)) == 0:
        groups = {"rows": draw(st.integers(1, 3)), "admitted": draw(st.integers(1, 3))}
        data["limits"]["row_groups"] = groups
    return data


@st.composite
def calls(draw: st.DrawFn, rows: int, place: int, before: list[str]) -> Data:
    """Work that is counted in tokens; a prompt may hold answers of columns `before` it."""
    found: Data = {
        "model": "request",
        "output_tokens": {"model": "list", "values": draw(listed(rows, place, 1, 20))},
    }
    if draw(st.booleans()) and before:
        of = [f"{name}.output_tokens" for name in before]
        found["prompt_tokens"] = {"model": "sum", "of": of, "plus": draw(st.integers(0, 9))}
    elif draw(st.booleans()):
        prompts = draw(listed(rows, place + 3, 1, 30))
        found["prompt_tokens"] = {"model": "list", "values": prompts}
    if draw(st.booleans()):
        found["max_output_tokens"] = draw(st.integers(8, 30))
    return found


@st.composite
def throttles(draw: st.DrawFn, most: int) -> Data:
    """A client that lowers its limit when it is refused."""
    return {
        "start": draw(st.integers(1, most)),
        "decrease": draw(st.sampled_from([0.5, 0.75])),
        "increase": draw(st.integers(1, 2)),
        "successes": draw(st.integers(1, 4)),
        # Without one, a call that is refused at once would come back for ever.
        "cool_down_s": draw(numbers(0, 3)) + 0.05,
    }


def most_of(latency: Data) -> float:
    """The most tokens that a call may be charged."""
    if latency["model"] != "request":
        return 0.0
    # An answer has less than 21 tokens.
    prompt = latency.get("prompt_tokens", {"values": [0.0]})
    prompts = prompt.get("values") or [21 * len(prompt["of"]) + prompt["plus"]]
    outputs = latency["output_tokens"]["values"]
    return float(max(prompts) + max(*outputs, latency.get("max_output_tokens", 0), 0))


def settled(data: Data) -> Run | None:
    """The naive run; None if it depends on an order within one instant."""
    try:
        first = simulate(data)
        others = [simulate(data, blurred=True, last_first=last) for last in (False, True)]
    except TooOften:
        return None
    for other in others:
        for one, two in zip(first.calls, other.calls, strict=True):
            if not same(times_of(first, one), times_of(other, two), near=1e-5):
                return None
    return first


def times_of(run: Run, call: Call) -> Times:
    """What happened to a cell's calls, by step; of service only what led to its end."""
    calls = [*run.earlier.get((call.column, call.row), []), call]
    return {
        "start": [one.start_s for one in calls],
        "refused": [t for one in calls for t in one.refused_s],
        "Retry-After": [t for one in calls for t in one.waits_s if t is not None],
        "serving": [] if math.isnan(call.serving_s) else [call.serving_s],
        "decoding": [] if math.isnan(call.decoding_s) else [call.decoding_s],
        "fail": [one.failed_s for one in calls[:-1]],
        "complete": [call.end_s],
    }


def traced(lines: list[str]) -> Mapping[tuple[str, int], Times]:
    """What a trace says happened to each call."""
    found: Mapping[tuple[str, int], Times] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        event = json.loads(line)
        if event.get("event") not in ("start", "fail", "complete", "request"):
            continue
        times, request = found[event["column"], event["rows"]], event.get("request", {})
        times[request.get("step", event["event"])].append(event["t"])
        if request.get("retry_after_s") is not None:
            times["Retry-After"].append(request["retry_after_s"])
    return found


def same(
    one: Mapping[str, list[float]], two: Mapping[str, list[float]], near: float = NEAR
) -> bool:
    """Whether two runs agree on a call."""
    return all(
        len(one[step]) == len(two[step])
        and all(
            abs(a - b) <= near * (1 + abs(a)) for a, b in zip(one[step], two[step], strict=True)
        )
        for step in one
    )


def differences(data: Data, expected: Run, folder: Path) -> list[str]:
    """A line for each call on which the simulator and the naive program differ."""
    done = run(data, folder)
    if done.code:
        return [f"exit code {done.code}: {done.said.strip()}"]
    got, found = traced(done.trace), []
    for call in expected.calls:
        wanted, times = times_of(expected, call), got[call.column, call.row]
        if (call.column, "chat") not in {(c["name"], c.get("resource")) for c in data["columns"]}:
            wanted = {step: wanted[step] for step in ("start", "fail", "complete")}
        # Each time that a call is served counts, where an outage lost it: the last is compared.
        for step in ("serving", "decoding"):
            times[step] = times[step][-1:]
        if not same(wanted, times):
            found.append(f"{call.column}[{call.row}]: naive {wanted}, simulator {dict(times)}")
    makespan_s = done.printed["makespan_s"]
    if abs(makespan_s - expected.makespan_s) > NEAR * (1 + makespan_s):
        found.append(f"makespan: naive {expected.makespan_s!r}, simulator {makespan_s!r}")
    return found


def met(data: Data, done: Run) -> Iterator[str]:
    """What a scenario has, and what happened in it."""
    yield "scenarios"
    yield from (f"endpoints.{word}" for word in data["endpoints"]["chat"])
    yield from (word for word in ("throttle", "scheduler") if word in data)
    yield from (
        f"running: {one['running']}" for one in data["endpoints"]["chat"].get("outages", ())
    )
    if "row_groups" in data["limits"]:
        yield "limits.row_groups"
    if '"sum"' in json.dumps(data):
        yield "prompts that hold answers"
    if done.refused:
        yield "calls that were refused"
    if done.earlier:
        yield "calls that timed out"
    if any(call.sent > 1 + len(call.refused_s) for call in done.calls):
        yield "calls that were lost"


def main() -> int:
    """Compare, print, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.theory.differential")
    parser.add_argument("--scenarios", type=int, default=10_000, help="default: 10000")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    args = parser.parse_args()
    compared, smallest = Counter[str](), list[Data]()

    with TemporaryDirectory() as name:
        folder = Path(name)

        @seed(args.seed)
        @settings(
            max_examples=args.scenarios,
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        @given(scenarios())
        def agree(data: Data) -> None:
            expected = settled(data)
            assume(expected is not None)
            assert expected is not None
            compared.update(met(data, expected))
            if differences(data, expected, folder):
                smallest[:] = [data]
                raise AssertionError

        try:
            agree()
        except AssertionError:
            (data,) = smallest
            print(yaml.safe_dump(data, sort_keys=False))
            print("\n".join(differences(data, simulate(data), folder)))
            return 1
    print(f"{compared.pop('scenarios'):,} scenarios, no difference; of them with")
    for word, count in compared.most_common():
        print(f"{count:7,}  {word}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
