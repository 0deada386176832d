"""``python -m tests.theory.validation``: what others measured and published, simulated.

Prints the page ``simulations/validation.md``, or the sections that are named; ``--write`` writes
the page, and ``--scenarios FOLDER`` each scenario that it ran, for ``cellspec run``. The measured
data lie beside the checkout in ``../shared/data`` and are read from there.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory
from typing import Any

from tests.recompute.runner import Run, run
from tests.theory.frame import ROOT, Frame, table

__all__ = ["DATA", "PAGE", "SECTIONS", "Sims", "page"]

DATA = ROOT.parent / "shared" / "data"
PAGE = ROOT / "simulations" / "validation.md"

Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sims:
    """Runs scenarios as files, and keeps what was run, by name."""

    folder: Path
    scenarios: dict[str, Data] = field(default_factory=dict)

    def run(self, name: str, data: Data, *, trace: bool = False) -> Run:
        """One run, by the command line.

        Raises:
            RuntimeError: the scenario was refused.
        """
        self.scenarios[name] = data = {"name": name, **data}
        done = run(data, self.folder, trace=trace)
        if done.code:
            raise RuntimeError(f"{name}: {done.said.strip()}")
        return done

    def makespan_s(self, name: str, data: Data) -> float:
        return float(self.run(name, data).printed["makespan_s"])


def call(latency: Data, name: str = "call", resource: str = "api", *needs: str) -> Data:
    """A column that is made cell by cell."""
    traits = ["CELL_BY_CELL"] if needs else ["START", "CELL_BY_CELL"]
    found = {"name": name, "traits": traits, "resource": resource, "latency": latency}
    return {**found, "dependencies": list(needs)} if needs else found


def off(got: float, published: float) -> str:
    """How far a figure is off, in percent."""
    return f"{(got / published - 1) * 100:+.1f} %"


# LLMPerf

LLMPERF = """\
Ray's LLMPerf measured 19 endpoints in December 2023: 150 requests each (145 of one), 5 at a
time. Its harness of the time started 5 requests and waited for all 5. The published wall time of a
run holds the harness's own time too, which is one constant in each model: the median of what the 19
lack. The time of each request is the one that was measured. Two models are simulated:

- *barrier*: `limits.row_groups: {{rows: 5, admitted: 1}}`, the next 5 when all 5 have ended;
- *stream*: `limits.resources: {{api: 5}}`, the next one when one has ended.

{table}

Mean absolute errors: of the barrier with {constant:.1f} s, {error:.1f} %; for each endpoint with
the constant of the other 18, {apart:.1f} %; of the stream with {stream_constant:.1f} s,
{stream_error:.1f} %.

Data: ray-project/llmperf-leaderboard, December 2023 (Apache-2.0)."""


def llmperf(sims: Sims) -> str:
    """The wall times of 19 runs, by a barrier of 5 and by a stream."""
    with gzip.open(DATA / "llmperf" / "llmperf_requests.csv.gz", "rt", encoding="utf-8") as file:
        times: dict[tuple[str, str], list[float]] = defaultdict(list)
        for row in csv.DictReader(file):
            times[row["provider"], row["model_size"]].append(float(row["end_to_end_latency_s"]))
    with (DATA / "llmperf" / "llmperf_closed_loop_check.csv").open(encoding="utf-8") as file:
        walls = {
            (row["provider"], row["model_size"]): float(row["published_wall_s"])
            for row in csv.DictReader(file)
        }
    barrier, stream = {}, {}
    for (provider, size), wall in walls.items():
        seconds, name = times[provider, size], f"llmperf-{provider}-{size}"
        data: Data = {
            "rows": len(seconds),
            "columns": [call({"model": "list", "values_s": seconds})],
            "limits": {"workers": 5, "resources": {"api": 5}},
            "policy": "fifo",
        }
        groups = {**data["limits"], "row_groups": {"rows": 5, "admitted": 1}}
        barrier[provider, size] = (
            wall,
            sims.makespan_s(f"{name}-barrier", {**data, "limits": groups}),
        )
        stream[provider, size] = wall, sims.makespan_s(f"{name}-stream", data)
    constant, stream_constant = fitted(barrier.values()), fitted(stream.values())
    rows = [
        [
            provider,
            size,
            f"{wall:.2f}",
            f"{barrier[provider, size][1] + constant:.2f}",
            off(barrier[provider, size][1] + constant, wall),
            f"{stream[provider, size][1] + stream_constant:.2f}",
            off(stream[provider, size][1] + stream_constant, wall),
        ]
        for (provider, size), wall in walls.items()
    ]
    left_out = [
        abs(made + fitted(pair for other, pair in barrier.items() if other != name) - wall) / wall
        for name, (wall, made) in barrier.items()
    ]
    head = ["provider", "Llama 2", "wall s", "barrier s", "off", "stream s", "off"]
    return LLMPERF.format(
        table=table(head, rows, 2),
        constant=constant,
        error=mape(barrier.values(), constant),
        apart=fmean(left_out) * 100,
        stream_constant=stream_constant,
        stream_error=mape(stream.values(), stream_constant),
    )


def fitted(pairs: Iterable[tuple[float, float]]) -> float:
    """The constant between what was published and what was made: the median of the differences."""
    return median(wall - made for wall, made in pairs)


def mape(pairs: Iterable[tuple[float, float]], constant: float) -> float:
    """The mean absolute error of pairs (published, made), in percent of what was published."""
    return fmean(abs(made + constant - wall) / wall for wall, made in pairs) * 100


# NeMo Curator

CURATOR = """\
The documentation of NVIDIA NeMo Curator has an example: 1,000 tasks go through stages of 2, 1 and
10 s, with 2, 1 and 10 replicas. One after the other that is 13,000 s; streamed, it says, about
1,000 s.

{table}

By hand the stream takes 2 + 1,000 + 10 s: from 2 s on the second stage passes one task a second."""


def curator(sims: Sims) -> str:
    """A tandem of three stages, streamed and one task at a time."""
    stages = [("read", 2.0, 2), ("embed", 1.0, 1), ("write", 10.0, 10)]
    columns: list[Data] = []
    before: tuple[str, ...] = ()
    for name, seconds, _ in stages:
        latency = {"model": "constant", "value_s": seconds}
        columns.append(call(latency, name, name, *before))
        before = (name,)
    limits = {"workers": 13, "resources": {name: replicas for name, _, replicas in stages}}
    data = {"rows": 1000, "columns": columns, "limits": limits, "policy": "fifo"}
    streamed = sims.makespan_s("curator-streamed", data)
    alone = {**data, "limits": {**limits, "workers": 1}}
    in_sequence = sims.makespan_s("curator-in-sequence", alone)
    rows = [
        ["in sequence", "13,000", f"{in_sequence:,.0f}", off(in_sequence, 13_000)],
        ["streamed", "1,000", f"{streamed:,.0f}", off(streamed, 1_000)],
    ]
    return CURATOR.format(table=table(["run", "published s", "simulated s", "off"], rows, 1))


# OpenAI's messages

MESSAGES = """\
A provider that refuses says when to come back. Each line is a message of OpenAI's API that a user
quoted in a public issue. The simulated endpoint has the limit of the message (`charge: used`), a
first call used so much of it, and a second one asks: what does the refusal say? Of requests a
message may name the limit alone: then all of it is used, and one more is asked for.

{table}"""

TOKENS = (
    ("FoundationAgents/MetaGPT#523", 10_000, 8_554, 3_082, 9.816),
    ("BuilderIO/micro-agent#86", 30_000, 29_937, 385, 0.644),
    ("semanser/codel#72", 30_000, 14_567, 24_754, 18.642),
    ("continuedev/continue#9563", 30_000, 22_343, 10_955, 6.596),
)
"""Where, and of what it says: the limit of tokens a minute, used, requested, seconds to wait."""
REQUESTS = (("datawhalechina/llm-cookbook#8", 3, 20.0), ("nearform/reviewbot#18", 20, 3.0))
"""Where, and of what it says: the limit of requests a minute, seconds to wait."""


def messages(sims: Sims) -> str:
    """What refusals say, to the millisecond."""
    rows = []
    for where, limit, used, asked, said in TOKENS:
        latency: Data = {
            "model": "request",
            "output_tokens": {"model": "list", "values": [used, asked]},
        }
        data = refusing(2, latency, {"tokens": limit, "per_s": 60, "charge": "used"})
        got = retry_after_s(sims.run(f"message-{limit}-{used}", data, trace=True))
        counts = [f"{limit:,} tokens", f"{used:,}", f"{asked:,}"]
        rows.append(
            [where, *counts, f"{said:.3f}", f"{got:.3f}", f"{abs(got - said) * 1000:.1f} ms"]
        )
    for where, limit, said in REQUESTS:
        latency = {"model": "constant", "value_s": 1.0}
        data = refusing(limit + 1, latency, {"requests": limit, "per_s": 60})
        got = retry_after_s(sims.run(f"message-{limit}-requests", data, trace=True))
        counts = [f"{limit} requests", str(limit), "1"]
        rows.append(
            [where, *counts, f"{said:.3f}", f"{got:.3f}", f"{abs(got - said) * 1000:.1f} ms"]
        )
    head = ["issue", "limit a minute", "used", "asked", "said s", "simulated s", "off"]
    return MESSAGES.format(table=table(head, rows, 1))


def refusing(rows: int, latency: Data, limit: Data) -> Data:
    """Calls that all go out at once to an endpoint with a limit."""
    refusal = {"latency_s": 0, "retry_after": "exact"}
    endpoint: Data = {"limits": [limit], "refusal": refusal}
    if latency["model"] == "request":
        endpoint["tpot_s"] = {1: 0.001, rows: 0.001}
    return {
        "rows": rows,
        "columns": [call(latency)],
        "limits": {"workers": rows, "resources": {"api": rows}},
        "policy": "fifo",
        "endpoints": {"api": endpoint},
    }


def retry_after_s(done: Run) -> float:
    """What the first refusal of a run says."""
    return next(float(event["retry_after_s"]) for event in requests_of(done, "refused"))


def requests_of(done: Run, *steps: str) -> Iterator[Data]:
    """The events of requests in the trace of a run, of some steps."""
    for line in done.trace:
        event = json.loads(line)
        if event.get("event") == "request" and event["request"]["step"] in steps:
            yield {"t": event["t"], **event["request"]}


# DataDesigner's throttle

AIMD = """\
NVIDIA NeMo DataDesigner's client lowers its limit to 3/4 when it is refused, once for each burst,
and waits 2 s before the next; its worked example goes {published}. The simulated endpoint serves 8
at once and refuses others, the client begins with 20, and every call takes 60 s. So many calls were
out at most before each refusal, counted in the trace: {found}."""


def aimd(sims: Sims) -> str:
    """The limits of a client that is refused three times."""
    data = {
        "rows": 40,
        "columns": [call({"model": "constant", "value_s": 60.0})],
        "limits": {"workers": 40, "resources": {"api": 20}},
        "policy": "fifo",
        "endpoints": {
            "api": {
                "max_in_flight": 8,
                "queue": 0,
                "refusal": {"latency_s": 0.1, "retry_after": "none"},
            }
        },
        "throttle": {
            "api": {
                "start": 20,
                "decrease": 0.75,
                "increase": 1,
                "successes": 25,
                "cool_down_s": 2,
            }
        },
    }
    done = sims.run("aimd", data, trace=True)
    out, most, bursts = 0, 0, list[int]()
    for event in requests_of(done, "sent", "refused"):
        if event["t"] >= 60.0:
            break
        if event["step"] == "sent":
            out += 1
            most = max(most, out)
        else:
            if most:
                bursts.append(most)
            out, most = out - 1, 0
    found = " → ".join(map(str, bursts))
    return AIMD.format(published="20 → 15 → 11", found=found)


# Splitwise

SPLITWISE = """\
Splitwise measured the seconds of a token while 1 to 64 requests are served together. A scenario
whose latency does not depend on load takes the times of fewer: by how much does it overstate the
throughput of 64 in flight? There are 640 requests of 512 prompt and 128 output tokens to
llama2-70b, and an endpoint takes `tpot_s` as measured.

- *answers*: prompts take no time, here or there. The constant speed is that of one request; or *of
  8*, as somebody measures it who has 8 in flight.
- *batch*: 64 prompts are read together at their measured speed, then the 64 are answered together,
  then come the next 64 (`limits.row_groups: {{rows: 64, admitted: 1}}`): what was measured.
- *beside* and *stand still*: prompts are read one at a time, at the measured speed of one, beside
  the answers or so that they stand still (`prefill_stalls_decode`).

Of the last three the constant is a request that is alone, its prompt included. With eight H100, the
endpoint of [text_to_sql](text_to_sql.yaml), a constant speed overstates 64 in flight
{least} times (of 8, answers) to {most} times (of one request, batch). Prompts that are read one
at a time while answers stand still cost more: that is no batch that was measured.

{table}

On 2 GPUs the measured prompts of 64 requests took less time than those of 32; these lines of the
data are doubtful.

Data: Splitwise, Patel et al., ISCA 2024 (Mutinifni/splitwise-sim, MIT)."""

PROMPT, OUTPUT, IN_FLIGHT, FEW = 512, 128, 64, 8
OVERSTATED = ("answers, of 8", "answers", "batch", "beside", "stand still")


def splitwise(sims: Sims) -> str:
    """How much a constant speed overstates 64 in flight."""
    rows, shipped = [], ("", "")
    for (hardware, parallel), measured in sorted(measured_ms().items()):
        times = {n: (prompt / 1000, token / 1000) for n, (prompt, token) in measured.items()}
        overstated = overstatements(sims, f"splitwise-{hardware}-tp{parallel}", times)
        tokens = [f"{measured[n][1]:.1f}" for n in (1, FEW, IN_FLIGHT)]
        rows.append([hardware, parallel, *tokens, *(f"{each:.2f}" for each in overstated)])
        if (hardware, parallel) == ("h100-80gb", "8"):
            shipped = f"{overstated[0]:.2f}", f"{overstated[2]:.2f}"
    head = ["GPU", "of them", "token ms of 1", "of 8", "of 64", *OVERSTATED]
    least, most = shipped
    return SPLITWISE.format(table=table(head, rows, 1), least=least, most=most)


def overstatements(
    sims: Sims, name: str, times: Mapping[int, tuple[float, float]]
) -> tuple[float, float, float, float, float]:
    """How many times as long as at a constant speed the requests take at an endpoint.

    Args:
        name: of the scenarios.
        times: by batch size, the seconds of its prompts and of a token of each answer.
    """
    limits: Data = {"workers": IN_FLIGHT, "resources": {"api": IN_FLIGHT}}
    tpot_s = {n: token_s for n, (_, token_s) in sorted(times.items())}

    def run_s(of: str, latency: Data, endpoint: Data | None = None, **more: Any) -> float:
        data: Data = {
            "rows": 10 * IN_FLIGHT,
            "columns": [call(latency)],
            "limits": {**limits, **more},
            "policy": "fifo",
        }
        if endpoint is not None:
            data["endpoints"] = {"api": {"tpot_s": tpot_s, **endpoint}}
        return sims.makespan_s(f"{name}-{of}", data)

    def constant_s(of: str, seconds: float) -> float:
        return run_s(of, {"model": "constant", "value_s": seconds})

    answer: Data = {
        "model": "request",
        "output_tokens": {"model": "constant", "value": OUTPUT},
    }
    whole = {**answer, "prompt_tokens": {"model": "constant", "value": PROMPT}}
    answers_s = run_s("answers", answer, {})
    of_one_s = constant_s("constant-answers", OUTPUT * tpot_s[1])
    of_few_s = constant_s(f"constant-answers-of-{FEW}", OUTPUT * tpot_s[FEW])
    alone_s = constant_s("constant", times[1][0] + OUTPUT * tpot_s[1])
    # While a prompt is read no answer goes on, so that the 64 are answered together.
    together = {
        "prefill_tokens_per_s": IN_FLIGHT * PROMPT / times[IN_FLIGHT][0],
        "prefill_stalls_decode": True,
    }
    groups = {"rows": IN_FLIGHT, "admitted": 1}
    batch_s = run_s("batch", whole, together, row_groups=groups)
    one_at_a_time = {"prefill_tokens_per_s": PROMPT / times[1][0]}
    beside_s = run_s("beside", whole, one_at_a_time)
    stalls = {**one_at_a_time, "prefill_stalls_decode": True}
    stalled_s = run_s("stands-still", whole, stalls)
    return (
        answers_s / of_few_s,
        answers_s / of_one_s,
        batch_s / alone_s,
        beside_s / alone_s,
        stalled_s / alone_s,
    )


def measured_ms() -> dict[tuple[str, str], dict[int, tuple[float, float]]]:
    """By hardware and tensor parallelism: by batch size, the prompt's ms and each token's."""
    found: dict[tuple[str, str], dict[int, tuple[float, float]]] = defaultdict(dict)
    with (DATA / "splitwise" / "median_table.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            # Rows of capped power were computed and not measured.
            if row["model"] != "llama2-70b" or row["hardware"].endswith("-pcap"):
                continue
            if int(row["prompt_size"]) == PROMPT:
                times = float(row["prompt_time_ms_p50"]), float(row["token_time_ms_p50"])
                found[row["hardware"], row["tensor_parallel"]][int(row["batch_size"])] = times
    return found


# The page

SECTIONS: Mapping[str, tuple[str, Callable[[Sims], str]]] = {
    "llmperf": ("LLMPerf: 19 wall times", llmperf),
    "curator": ("NeMo Curator: a pipeline of three stages", curator),
    "aimd": ("DataDesigner: a throttle that is refused", aimd),
    "messages": ("OpenAI: when to come back", messages),
    "splitwise": ("Splitwise: 64 in flight at a constant speed", splitwise),
}

TOP = """\
# What others measured, simulated

Each section takes something that others measured, published or documented, and simulates it. What
is simulated is a `cellspec run` of a scenario that
`python -m tests.theory.validation --scenarios FOLDER` writes; below each heading stands the command
that prints its section. The data are read from `../shared/data`, beside the checkout.

`make validation` wrote this page, and the tests compare it."""


FRAME = Frame[Sims]("tests.theory.validation", PAGE, TOP, SECTIONS, (DATA,))


def page(sims: Sims, names: Sequence[str] = ()) -> Iterator[str]:
    """The sections of these names, or the page."""
    return FRAME.parts(sims, names)


def main() -> int:
    """Print, write or compare what is asked for."""
    parser = FRAME.parser(__doc__)
    parser.add_argument("--scenarios", type=Path, help="also write each scenario into this folder")
    args = FRAME.asked(parser)
    with TemporaryDirectory() as folder:
        sims = Sims(Path(folder))
        code = FRAME.answer(args, sims)
    if args.scenarios is not None:
        args.scenarios.mkdir(parents=True, exist_ok=True)
        for name, data in sims.scenarios.items():
            (args.scenarios / f"{name}.yaml").write_text(json.dumps(data), encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
