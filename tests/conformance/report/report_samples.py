"""Hand-made traces and results for the tests of the report's pages.

`every_kind` has an event of every kind, in an order that a reader can follow by hand: it is there
to be drawn, not judged, so it may do forbidden things.
"""

from __future__ import annotations

from typing import Any

COLUMNS = ("s", "a", "w", "v", "c", "d")
BREAKS_AT = 21
"""The event of `every_kind` that the sample results blame."""


def header(rows: int = 6) -> dict[str, Any]:
    """Six columns: a stream, a cell, a batch barrier, a barrier, one that may skip, a last."""
    columns = [
        {"name": "s", "traits": ["START", "ROW_STREAMABLE"], "needs": []},
        {"name": "a", "traits": ["CELL_BY_CELL"], "needs": ["s"]},
        {"name": "w", "traits": ["BATCH_BARRIER"], "needs": ["a"]},
        {"name": "v", "traits": ["BARRIER"], "needs": ["a"], "side_effects": ["v_score"]},
        {"name": "c", "traits": [], "needs": ["v_score"], "may_skip": True},
        {"name": "d", "traits": [], "needs": ["c", "w"]},
    ]
    return {
        "trace": 1,
        "engine": {"name": "hand", "version": "1"},
        "graph": {
            "rows": rows,
            "columns": columns,
            "batch_size": 2,
            "barrier_scope": "declared",
        },
        "limits": {
            "workers": 3,
            "resources": {"endpoint": 2},
            "column_resource": {"a": "endpoint", "d": "endpoint"},
            "group_rows": 4,
            "groups": 2,
        },
        "failures": {"max_attempts": 2, "stop_window": 4, "stop_rate": 0.5},
        "seed": 7,
        "clock": "virtual",
        "claims": ["core"],
        "clauses": "1",
    }


def numbered(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events of a trace, a quarter of a second apart."""
    return [{"seq": n, "t": n / 4, **step} for n, step in enumerate(steps, 1)]


def _step(event: str, column: str = "", rows: Any = None, **more: Any) -> dict[str, Any]:
    step: dict[str, Any] = {"event": event}
    if column:
        step["column"] = column
    if rows is not None:
        step["rows"] = rows
    return step | more


def every_kind() -> list[dict[str, Any]]:
    """Events of every kind; the comments number them."""
    claim = dict.fromkeys(COLUMNS, 1)
    steps = [
        _step("admit", rows=[0, 4]),
        _step("admit", rows=[4, 6]),
        _step("start", "s", [0, 6]),
        _step("complete", "s", [0, 3]),
        _step("start", "a", 0, resource="endpoint"),  # 5
        _step("complete", "s", [3, 6]),
        _step("complete", "a", 0),
        _step("start", "a", 1),
        _step("fail", "a", 1, failure="retryable", until=3.0),
        _step("start", "a", 2),  # 10
        _step("fail", "a", 2, failure="backpressure", until=3.5),
        _step("start", "a", 1, attempt=2),
        _step("complete", "a", 1, attempt=2),
        _step("start", "a", 2),
        _step("complete", "a", 2),  # 15
        _step("start", "w", scope=0, reads=[[0, 2]]),
        _step("complete", "w", scope=0),
        _step("emit", "w", [0, 2]),
        _step("start", "a", [3, 5]),
        _step("start", "c", 3),  # 20
        _step("fail", "a", 3, failure="permanent"),
        _step("drop", "a", 3),
        _step("complete", "c", 3),
        _step("complete", "a", 4),
        _step("start", "a", 5),  # 25
        _step("cancel", "a", 5),
        _step("start", "a", 5),
        _step("complete", "a", 5),
        _step("start", "v", scope=0, reads=[[0, 3], [4, 6]]),
        _step("complete", "v", scope=0),  # 30
        _step("emit", "v", [0, 3]),
        _step("skip", "c", 0),
        _step("skip", "d", 0),
        _step("start", "c", 1),
        _step("complete", "c", 1),  # 35
        _step("durable", rows=[0, 1]),
        _step("durable", "a", [1, 3]),
        _step("checkpoint_begin", claim=claim),
        _step("checkpoint_failed"),
        _step("checkpoint_begin", claim=claim),  # 40
        _step("checkpoint_durable"),
        _step("start", "w", scope=1, reads=[[2, 3]]),
        _step("fail", "w", scope=1, failure="retryable", until=20.0),
        _step("start", "d", 1),
        _step("checkpoint_begin", claim=claim | {"a": 3}),  # 45
        _step("crash"),
        _step(
            "resume", claim=claim | {"a": 3}, skipped={"c": [[0, 1]], "d": [[0, 1]]}, incarnation=1
        ),
        _step("admit", rows=[0, 4]),
        _step("start", "s", [1, 6]),
        _step("complete", "s", [1, 2]),  # 50
        _step("fail", "s", [1, 6], failure="retryable"),
        _step("start", "a", 3),
        _step("fail", "a", 3, failure="permanent"),
        _step("drop", "a", 3),
        _step("durable", rows=[3, 4]),  # 55
        _step("start", "w", scope=2, reads=[[4, 6]], inferred=True),
        _step("fail", "w", scope=2, failure="permanent"),
        _step("drop", "w", [4, 6]),
        _step("retire", rows=[0, 4]),
        _step("stop", reason="half of the last 4 calls failed"),  # 60
        _step("end", outcome="stopped"),
        _step("resume", claim=claim, dropped=[[3, 6]], records=8, keep=True),
    ]
    return numbered(steps)


HOSTILE = "</script><img src=x onerror=alert(1)>\"'&\u2028\ud800é"
"""What an engine might call itself, a column or a value."""


def workload() -> dict[str, Any]:
    """The data of a case file with something in every field."""
    graph, limits = header()["graph"], header()["limits"]
    return {
        "case": 1,
        "columns": graph["columns"],
        "rows": 6,
        "batch_size": 2,
        "barrier_scope": "declared",
        "seed": 7,
        "limits": limits,
        "failures": header()["failures"],
        "latency_s": {"a": 0.5},
        "faults": [
            {
                "column": "a",
                "position": 3,
                "call": 1,
                "failure": "permanent",
                "cool_down_s": 0.25,
            }
        ],
        "skips": [["c", 0]],
        "checkpoint_every_rows": 1,
        "checkpoint_version": 2,
        "crashes": [46, 0],
        "targets": [6, 6, 8],
        "order_seed": 3,
        "keep": True,
    }


def failure(**changes: Any) -> dict[str, Any]:
    """A failure as the suite writes it."""
    return {
        "clause": "BARR-01",
        "detail": "barrier 0 of 'v' starts although a[3] is not complete",
        "seq": BREAKS_AT,
        "story": ["event 19: a[3] starts", "event 21: a[3] fails for good", "then nothing"],
        "workload": workload(),
        "trace": {"header": header(), "events": every_kind()},
        "replay": "python -m sim replay case.json",
        "pytest": "def test_it():\n    assert run('<case>')\n",
    } | changes


def results(**changes: Any) -> dict[str, Any]:
    """Two backends: one right, one wrong, with every verdict between them."""
    good: dict[str, Any] = {
        "name": "reference",
        "version": "0.2.0",
        "capabilities": ["core", "resume", "drops"],
        "seed": 7,
        "clauses": {
            "SCHED-01": {"verdict": "pass", "reason": "", "examples": 200, "failure": None},
            "BARR-01": {"verdict": "pass", "reason": "", "examples": 1, "failure": None},
            "CKPT-12": {
                "verdict": "inconclusive",
                "reason": "never: a crash came while a claim was being written",
                "examples": 200,
                "failure": None,
            },
        },
        "evidence": {"workloads": 1200, "crash_points": 310, "deterministic": True},
        "sometimes": {"a row was dropped while a barrier was in flight": 12},
        "profiles": {
            "core": {
                "workloads": 1200,
                "crash_points": 0,
                "sometimes": {"every worker was busy": 0},
                "stopped_at": "",
            },
            "drops": {
                "workloads": 40,
                "crash_points": 2,
                "sometimes": {"a row was dropped while a barrier was in flight": 12},
                "stopped_at": "CKPT-12",
            },
            "groups": {"not_run": "the backend lacks the capability 'groups'"},
        },
    }
    bad: dict[str, Any] = {
        "name": "naïve/engine",
        "version": "3",
        "capabilities": [],
        "seed": None,
        "command": "pytest --pyargs cellspec.conformance --engine-backend=naive:Engine",
        "clauses": {
            "SCHED-01": {"verdict": "not claimed", "reason": "", "examples": 0, "failure": None},
            "BARR-01": {
                "verdict": "violated",
                "reason": "",
                "examples": 17,
                "failure": failure(),
            },
            "CKPT-12": {
                "verdict": "xfail",
                "reason": "known",
                "examples": 3,
                "failure": failure(clause="CKPT-12", trace=None, seq=None),
            },
        },
        "evidence": {},
        "sometimes": {"a row was dropped while a barrier was in flight": 0},
    }
    return {
        "format": 2,
        "suite": {"version": "0.2.0", "clauses": "1"},
        "backends": [good, bad],
    } | changes
