"""The page of results: what was promised, what was measured, and by how much a promise is missed.

Every figure comes from one run. The tables show the median over the rounds and, in brackets, the
least and the most; where two things are compared, the ratio is that of the same round.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tests.benchmarks.claiming import LIMITS, PREFIX
from tests.benchmarks.kinds import KINDS
from tests.benchmarks.timing import Figure

Data = dict[str, Any]
Budget = tuple[str, str, str, bool | None, str]


def _figure(values: Iterable[float]) -> Figure:
    return Figure(tuple(values))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return [*lines, ""]


def _more(measured: float, budget: float) -> str:
    return "" if measured <= budget else f"{(measured / budget - 1) * 100:.0f} % over"


def budgets(data: Data) -> list[Budget]:
    """What is promised, with what was measured, whether it is met, and why not."""
    return [
        *_cell_budgets(data),
        *_kind_budgets(data),
        *_scale_budgets(data),
        *_tracker_budgets(data),
        *_call_budgets(data),
        *_claim_budgets(data),
        *_trace_budgets(data),
    ]


def _cell_budgets(data: Data) -> list[Budget]:
    found: list[Budget] = []
    for cell in data["cells"]["cells"]:
        if cell["shape"] != "chain of 10" or not cell["checked"]:
            continue
        if cell["policy"] not in ("fifo", "row-first"):
            continue
        ratio = _figure(cell["ratio"])
        unchecked = next(
            _figure(other["ratio"]).median
            for other in data["cells"]["cells"]
            if not other["checked"]
            and (other["shape"], other["policy"]) == (cell["shape"], cell["policy"])
        )
        met = ratio.median <= 2
        why = (
            f"{_more(ratio.median, 2)}. Without the clock's judge it is {unchecked:.2f} ×, so "
            "checks are not where it goes: a bare event is one kernel step, one callback and "
            "one heap push; a cell is those, and a look-up, a queue push and pop, two moves of "
            "state, a latency and a line of the fingerprint"
        )
        found.append(
            (
                f"simulate one cell, checked, 10 columns, 64 in flight, {cell['policy']}",
                "≤ 2 × a bare SimPy event",
                f"{ratio.show()} ×",
                met,
                "" if met else why,
            )
        )
    return found


_PLAIN = (
    "Clock, completion, settling and dispatch are one loop. In it the judge of time, the end, the "
    "start, the queue and the latency of a cell are a call each: inlined, they would be rules "
    "stated twice. Beside these, time goes to the sample whose waits and ages are shown, and to "
    "the fingerprint"
)
_RESOURCES = (
    "As a plain cell; and each resource has a queue, whose nodes have stamps, a heap holds the "
    "heads of these, and at each event the judge looks at every resource that is free"
)
_WHY = {
    "plain, fifo": _PLAIN,
    "plain, row-first": _PLAIN,
    "1 resource": _PLAIN,
    "3 resources": _RESOURCES,
    "10 resources": _RESOURCES,
    "an endpoint with a speed by load": "Two thirds of it are the loop with one resource. The "
    "rest is the shared speed: a second heap in which each call has its place until it ends, and "
    "the integral of the calls in flight",
}
"""Of a kind whose budget is missed, where its time goes."""

_WHY_MEMORY = {
    "50 % refusals": "A byte a cell counts its failed calls, the times of later calls are kept, 8 "
    "bytes each and at most 64 MiB, and so are the nodes in backoff and in the queue"
}
"""Of a kind whose memory is more, what it is."""


def _kind_budgets(data: Data) -> list[Budget]:
    found: list[Budget] = []
    for kind in data["kinds"]["kinds"]:
        if kind["budget"] is None:
            continue
        ratio = _figure(kind["ratio"])
        met, over = ratio.median <= kind["budget"], _more(ratio.median, kind["budget"])
        found.append(
            (
                f"simulate one {kind['each']}, checked: {kind['kind']}",
                f"≤ {kind['budget']:g} × a bare SimPy event",
                f"{ratio.show()} ×",
                met,
                "" if met else ". ".join(filter(None, (over, _WHY.get(kind["kind"])))),
            )
        )
    return found


def _scale_budgets(data: Data) -> list[Budget]:
    found: list[Budget] = []
    for policy in sorted({run["policy"] for run in data["scale"]}):
        runs = [run for run in data["scale"] if run["policy"] == policy]
        least, most = runs[0], runs[-1]
        span = f"from {least['rows']:,} to {most['rows']:,} rows, {policy}"
        growth = max(run["us"] for run in runs) / least["us"]
        why = _more(growth, 1.2)
        each = KINDS[policy].each if policy in KINDS else "cell"
        found.append((f"µs per {each} {span}", "within 1.2 ×", f"{growth:.2f} ×", not why, why))
        size = most["bytes_per_cell"]
        why = f"{_more(size, 2)} at {most['rows']:,} rows"
        if policy in _WHY_MEMORY:
            why = f"{why}. {_WHY_MEMORY[policy]}"
        found.append(
            (
                f"memory beyond the interpreter, {most['rows']:,} rows, {policy}",
                "≤ 2 bytes a cell",
                f"{size:.2f} bytes a cell",
                size <= 2,
                "" if size <= 2 else why,
            )
        )
    return found


def _tracker_budgets(data: Data) -> list[Budget]:
    sizes = data["trackers"]["sizes"]
    found: list[Budget] = []
    for name, what in (
        ("tracker", "tracker + frontier: mark each node that `iter_ready_nodes` yields"),
        ("counters", "counters + frontier: start, resolve, hear what became ready"),
    ):
        worst = max((_figure(size[name]) for size in sizes), key=lambda figure: figure.median)
        met = worst.median <= 1
        why = f"{_more(worst.median, 1)}: a node id is made, checked and looked up for each mark"
        found.append(
            (
                f"{what}, per cell",
                "≤ 1 µs",
                f"{worst.show()} µs",
                met,
                "" if met else why if name == "tracker" else _more(worst.median, 1),
            )
        )
        first, last = _figure(sizes[0][name]).median, _figure(sizes[-1][name]).median
        growth = last / first
        found.append(
            (
                f"the same from {sizes[0]['rows']:,} to {sizes[-1]['rows']:,} rows",
                "flat (within 1.2 ×)",
                f"{growth:.2f} ×",
                growth <= 1.2,
                "",
            )
        )
    theirs = sizes[-1].get("datadesigner")
    what = f"tracker against DataDesigner's, barrier, {sizes[-1]['rows']:,} rows"
    if theirs is None:
        found.append((what, "≥ 20 × cheaper", "package absent", None, "not installed"))
    else:
        ratio = _figure(theirs).over(_figure(sizes[-1]["tracker"]))
        met = ratio.median >= 20
        why = "" if met else f"{ratio.median:.1f} × of 20 ×"
        found.append((what, "≥ 20 × cheaper", f"{ratio.show(1)} ×", met, why))
    return found


def _call_budgets(data: Data) -> list[Budget]:
    found: list[Budget] = []
    first, last = data["checkpoints"][0], data["checkpoints"][-1]
    for name in ("to_checkpoint v1", "to_checkpoint v2", "get_completed_row_count"):
        before, after = _figure(first[name]).median, _figure(last[name]).median
        found.append(
            (
                f"`{name}`, {first['rows']:,} to {last['rows']:,} rows",
                "O(columns): within 1.5 ×",
                f"{before:.1f} to {after:.1f} µs",
                after <= 1.5 * before,
                "",
            )
        )
    for name, values in data["start"].items():
        least = min(values)
        found.append((f"`{name}`", "≤ 0.3 s", f"{least:.3f} s", least <= 0.3, _more(least, 0.3)))
    return found


def _claim_budgets(data: Data) -> list[Budget]:
    """A claim with gaps against one without: what was measured before it was built is kept to."""
    found: list[Budget] = []
    claims = data.get("claims", {}).get("claims", {})
    for name, limits in LIMITS.items() if claims else ():
        for what, limit in zip(("restore", "from_checkpoint"), limits, strict=True):
            if limit is None:
                continue
            ratio = _figure(claims[name][what]).over(_figure(claims[PREFIX][what]))
            met = ratio.median <= limit
            found.append(
                (
                    f"`{what}` of a claim of {name}, against {PREFIX}",
                    f"≤ {limit} ×",
                    f"{ratio.show()} ×",
                    met,
                    "" if met else _more(ratio.median, limit),
                )
            )
    return found


def _trace_budgets(data: Data) -> list[Budget]:
    if "check" not in data:
        return []
    run = data["check"]
    rate = run["events_per_s"]
    return [
        (
            f"check a recorded trace of {run['events']:,} events",
            "≥ 300,000 events/s",
            f"{rate:,.0f} events/s",
            rate >= 300_000,
            "" if rate >= 300_000 else f"{(1 - rate / 300_000) * 100:.0f} % short",
        )
    ]


def render(data: Data) -> str:
    """The whole page."""
    lines = ["# Benchmarks", ""]
    lines += [
        f"Made by `{data['command']}`; do not edit. Medians of {data['rounds']} rounds in which "
        "everything that is compared ran in turn, with the least and the most in brackets; a "
        "ratio is taken within each round. The collector of cyclic garbage is off during each "
        "measurement, for all alike. Raw figures: `benchmarks.json`.",
        "",
        "## Machine",
        "",
    ]
    lines += _table(["", ""], [[k, v] for k, v in {**data["machine"], **data["versions"]}.items()])
    lines += ["## Budgets", ""]
    words = {True: "yes", False: "**no**", None: "–"}
    lines += _table(
        ["what", "budget", "measured", "met?", "by how much not, and why"],
        [[what, promised, got, words[met], why] for what, promised, got, met, why in budgets(data)],
    )
    lines += _cells_section(data) + _kinds_section(data)
    lines += _scale_section(data) + _tracker_section(data)
    lines += (
        _checkpoint_section(data)
        + _claim_section(data)
        + _trace_section(data)
        + _million_section(data)
    )
    return "\n".join(lines).rstrip() + "\n"


def _cells_section(data: Data) -> list[str]:
    cells = data["cells"]
    unit = _figure(cells["unit_us"])
    lines = [
        "## One simulated cell",
        "",
        f"The unit, one bare SimPy event (`timeout` with a shared callback, 64 in flight), took "
        f"{unit.show()} µs. {cells['rows']:,} rows, 64 workers, exponential latencies. *Unchecked* "
        "switches off the judge of time; all other clauses are how the state moves.",
        "",
    ]
    return lines + _table(
        ["graph", "policy", "checks", "µs a cell", "× bare event"],
        [
            [
                cell["shape"],
                cell["policy"],
                "on" if cell["checked"] else "off",
                _figure(cell["us"]).show(),
                _figure(cell["ratio"]).show(),
            ]
            for cell in cells["cells"]
        ],
    )


def _kinds_section(data: Data) -> list[str]:
    kinds = data["kinds"]
    lines = [
        "## Kinds of runs",
        "",
        f"Scenarios that differ in one thing each: a chain of 10 columns, {kinds['rows']:,} rows, "
        "64 workers, fifo, exponential latencies, checked. Resources share the 64 places. A cell "
        "whose calls fail half of the time takes two calls. The unit took "
        f"{_figure(kinds['unit_us']).show()} µs.",
        "",
    ]
    return lines + _table(
        ["run", "of each", "µs", "× bare event"],
        [
            [kind["kind"], kind["each"], _figure(kind["us"]).show(), _figure(kind["ratio"]).show()]
            for kind in kinds["kinds"]
        ],
    )


def _scale_section(data: Data) -> list[str]:
    lines = [
        "## Growth",
        "",
        "Checked runs of a chain of 10 columns, each in a process of its own, by the policy of a "
        "plain run or by the kind of a run in the order fifo, whose time is by the call. Memory is "
        "the "
        "process's peak less what it had in use after its imports; it has a fixed part, so bytes a "
        "cell mean something at the largest size only. The smaller sizes are medians of several "
        "processes.",
        "",
    ]
    return lines + _table(
        ["rows", "policy or kind", "seconds", "µs", "× bare event", "MB", "bytes a cell"],
        [
            [
                f"{run['rows']:,}",
                run["policy"],
                f"{run['wall_s']:.2f}",
                f"{run['us']:.2f}",
                f"{run['ratio']:.2f}",
                f"{(run['peak_bytes'] - run['imports_bytes']) / 1e6:.1f}",
                f"{run['bytes_per_cell']:.2f}",
            ]
            for run in data["scale"]
        ],
    )


def _tracker_section(data: Data) -> list[str]:
    found = data["trackers"]
    version = found["datadesigner"]
    lines = [
        "## Trackers",
        "",
        "µs per completed cell: marks, and asking what is ready. Two cell columns, a dataset "
        "barrier that needs the second, a cell column after it; all trackers meet the same "
        "completions in the same order. DataDesigner's is "
        + (
            f"version {version}; it gets its cheapest way of asking (the tasks that a mark "
            "returns), and marks a full column in one call."
            if version
            else "absent: its package is not installed."
        ),
        "",
    ]
    rows = []
    for size in found["sizes"]:
        row = [f"{size['rows']:,}", _figure(size["tracker"]).show()]
        row.append(_figure(size["counters"]).show())
        if "datadesigner" in size:
            theirs = _figure(size["datadesigner"])
            row += [theirs.show(1), f"{theirs.over(_figure(size['tracker'])).show(1)} ×"]
            row.append(f"{theirs.over(_figure(size['counters'])).show(1)} ×")
        else:
            row += ["absent", "–", "–"]
        rows.append(row)
    head = ["rows", "tracker", "counters", "DataDesigner's", "to our tracker", "to our counters"]
    lines += _table(head, rows)
    back = found["backwards"]
    if "datadesigner" in back:
        ours, theirs = _figure(back["counters"]), _figure(back["datadesigner"])
        lines += [
            "That order is the dear one for a tracker that looks for the first open row of a "
            f"barrier's input. With the last row first, {back['rows']:,} rows, DataDesigner's "
            f"takes {theirs.show()} µs a cell and our counters {ours.show()}: "
            f"{theirs.over(ours).show(1)} ×.",
            "",
        ]
    lines += [
        "Asked afresh for one ready node after each completion: a plain set must look at every "
        "node again, the tracker looks at counters.",
        "",
    ]
    return lines + _table(
        ["rows", "set, µs a cell", "tracker, µs a cell"],
        [
            [f"{x['rows']:,}", _figure(x["naive"]).show(), _figure(x["tracker"]).show()]
            for x in found["afresh"]
        ],
    )


def _checkpoint_section(data: Data) -> list[str]:
    names = [name for name in data["checkpoints"][0] if name != "rows"]
    lines = [
        "## Checkpoints",
        "",
        "µs a call, 10 columns, each call right after one more mark out of order. Reading a "
        "checkpoint lays out the bytes of every open cell (here half of them), so it grows with "
        "rows, at the speed of `memset`.",
        "",
    ]
    return lines + _table(
        ["rows", *(f"`{name}`" for name in names)],
        [[f"{x['rows']:,}", *(_figure(x[n]).show(1) for n in names)] for x in data["checkpoints"]],
    )


def _claim_section(data: Data) -> list[str]:
    if "claims" not in data:
        return []
    found = data["claims"]
    lines = [
        "## Claims with gaps",
        "",
        f"{found['columns']} columns × {found['rows']:,} rows, the same rows claimed of each; ms "
        "of processor time. `restore` is of the counters alone, `from_checkpoint` reads the "
        "payload too. A gap costs the tracker one bit a cell of its column.",
        "",
    ]
    return lines + _table(
        [
            "claim",
            "ranges",
            "`restore`",
            "`from_checkpoint`",
            "`to_checkpoint`",
            "payload",
            "memory",
        ],
        [
            [
                name,
                f"{x['ranges']:,}",
                _figure([1e3 * value for value in x["restore"]]).show(1),
                _figure([1e3 * value for value in x["from_checkpoint"]]).show(1),
                f"{1e3 * x['to_checkpoint']:.1f}",
                f"{x['payload_bytes']:,} B",
                f"{x['memory_bytes'] / 1e6:.1f} MB",
            ]
            for name, x in found["claims"].items()
        ],
    )


def _trace_section(data: Data) -> list[str]:
    if "traces" not in data or "check" not in data:
        return []
    found, run = data["traces"], data["check"]
    lines = [
        "## Traces",
        "",
        f"µs an event, all of one trace of {found['events']:,} events "
        f"({found['bytes_per_event']:.0f} bytes each), read from memory: a chain of 10 columns, 64 "
        "workers. The unit is `json.loads` of each line. *Read* is lines, decoding, numbering and "
        "fields; *read and check* is all that `python -m sim check` does; *write* reads each line "
        "back and ends with the file on the disk.",
        "",
    ]
    lines += _table(
        ["what", "µs an event", "× `json.loads`"],
        [
            [name, _figure(case["us"]).show(), _figure(case["ratio"]).show()]
            for name, case in found["cases"].items()
        ],
    )
    return [
        *lines,
        f"A trace file of {run['events']:,} events ({run['rows']:,} rows × 10 columns), checked in "
        f"a process of its own: {run['wall_s']:.2f} s, {run['events_per_s']:,.0f} events/s; memory "
        f"{run['before_bytes'] / 1e6:.0f} MB before and {run['peak_bytes'] / 1e6:.0f} MB at its "
        f"peak, {run['bytes_per_cell']:.2f} bytes a cell.",
        "",
    ]


def _million_section(data: Data) -> list[str]:
    run = data["million"]
    if run is None:
        return ["## A million rows", "", "Left out by `--quick`.", ""]
    return [
        "## A million rows",
        "",
        f"`{run['how']}`: a dataset barrier, a crash and a resume, every clause checked: "
        f"{run['wall_s']:.1f} s, peak memory {run['peak_bytes'] / 1e6:.0f} MB with the "
        "interpreter.",
        "",
        "```text",
        *run["output"].rstrip().splitlines(),
        "```",
        "",
    ]
