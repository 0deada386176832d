"""``python -m tests.theory.validation``: what others measured and published, simulated.

Prints the page ``simulations/validation.md``, or the sections that are named; ``--write`` writes
the page, and ``--scenarios FOLDER`` each scenario that it ran, for ``cellspec run``. The measured
data lie beside the checkout in ``../shared/data`` and are read from there.
"""

from __future__ import annotations

import argparse
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

__all__ = ["DATA", "PAGE", "SECTIONS", "Sims", "page"]

ROOT = Path(__file__).parents[2]
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


def table(head: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> str:
    """A table in Markdown, whose first columns hold words."""
    line = [" --- " if place < words else " ---: " for place in range(len(head))]
    return "\n".join(
        [f"| {' | '.join(head)} |", f"|{'|'.join(line)}|"] + [f"| {' | '.join(r)} |" for r in rows]
    )


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


# The page

SECTIONS: Mapping[str, tuple[str, Callable[[Sims], str]]] = {
    "llmperf": ("LLMPerf: 19 wall times", llmperf),
    "curator": ("NeMo Curator: a pipeline of three stages", curator),
}

TOP = """\
# What others measured, simulated

Each section takes something that others measured, published or documented, and simulates it. Each
number is of `cellspec run` on a scenario that
`python -m tests.theory.validation --scenarios FOLDER` writes; below each heading stands the command
that prints its section. The data are read from `../shared/data`, beside the checkout.

`make validation` wrote this page, and the tests compare it."""


def page(sims: Sims, names: Sequence[str] = ()) -> Iterator[str]:
    """The sections of these names, or the page."""
    if not names:
        yield TOP
    for name in names or SECTIONS:
        title, section = SECTIONS[name]
        yield f"## {title}\n\n`python -m tests.theory.validation {name}`\n\n{section(sims)}"


def main() -> int:
    """Print or write what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.theory.validation", description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], help="default: the page")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    parser.add_argument("--scenarios", type=Path, help="also write each scenario into this folder")
    args = parser.parse_args()
    if not DATA.is_dir():
        print("error: there is no folder ../shared/data", file=sys.stderr)
        return 2
    with TemporaryDirectory() as folder:
        sims = Sims(Path(folder))
        text = "\n\n".join(page(sims, args.sections)) + "\n"
    if args.scenarios is not None:
        args.scenarios.mkdir(parents=True, exist_ok=True)
        for name, data in sims.scenarios.items():
            (args.scenarios / f"{name}.yaml").write_text(json.dumps(data), encoding="utf-8")
    if args.write:
        PAGE.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
