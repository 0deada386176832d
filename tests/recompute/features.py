"""What a scenario asks for and what came of it, as named features, and which pairs were seen.

A thing that is drawn proves little if it never happens. So whatever a run may or may not come to
is read from its trace: a row that was dropped, a call that a crash lost. The rest is read from the
scenario. `Coverage` counts pairs; `APART` says which can never be seen together, and why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import combinations, pairwise
from typing import Any

from tests.recompute.history import Claim, History, Incarnation

__all__ = ["APART", "FEATURES", "Coverage", "features", "is_plain"]

_POLICIES = ("fifo", "row-first", "column-first", "critical-path", "random")

FEATURES: dict[str, str] = {
    **{f"policy {name}": f"dispatch policy {name}" for name in _POLICIES},
    "one worker": "a single worker",
    "few workers": "fewer workers than the resources in use allow calls",
    "many workers": "more workers than cells can ever be in flight",
    "one resource": "exactly one resource is taken",
    "two resources": "two resources or more are taken",
    "shared resource": "two columns take one resource",
    "idle resource": "a resource with a limit that no column takes",
    "time drawn": "a latency that differs from cell to cell",
    "no time": "a column whose cells take no time",
    "time per row": "a barrier that takes longer the more rows it reads",
    "dataset barrier": "a barrier over the dataset",
    "batch barrier": "a barrier over a batch",
    "scope batch": "barrier_scope: batch",
    "short batch": "the last batch is shorter than the others",
    "chained barriers": "a barrier that waits for a barrier",
    "ordered": "an ORDERED column of cells",
    "ordered barrier": "an ORDERED barrier",
    "side effect": "a column that needs another one's side effect",
    "range": "a call of several rows",
    "groups limited": "row groups, so many at once",
    "groups unlimited": "row groups without a limit",
    "version 1": "checkpoints of version 1",
    "version 2": "checkpoints of version 2",
    "version 3": "checkpoints of version 3",
    "every rows": "a checkpoint after so many rows",
    "every seconds": "a checkpoint after so many seconds",
    "write time": "storage that takes time",
    "restart delay": "a resume some time after the crash",
    "retryable": "a call failed and may be tried again",
    "back-pressure": "a call was answered with back-pressure",
    "permanent": "a call failed for good",
    "barrier failed": "a barrier node failed, in whatever way",
    "attempts spent": "a node failed in a way that allows another try, and had none left",
    "backoff": "a node rested after a failure",
    "range failed": "a range failed after it had given rows",
    "drop": "a row was dropped",
    "all dropped": "no row was delivered",
    "late end": "a call ended when a row of it had been dropped",
    "unfinished call": "a call still ran when the run ended",
    "condition": "a cell was skipped by its column's condition",
    "passed on": "a cell was skipped because an input was",
    "not passed on": "a cell was made although an input was skipped",
    "stop asked": "the run may stop early",
    "stopped": "the run stopped early",
    "crash": "a crash",
    "crash at event": "a crash was asked for after an event",
    "crash at time": "a crash was asked for at a time",
    "crash at random": "a crash was asked for at a random time",
    "crashes": "two crashes or more",
    "lost in flight": "a call was lost in a crash",
    "lost cell": "a crash lost a cell that had been made",
    "lost write": "a crash came while a checkpoint was being written",
    "gap restored": "a resume that keeps a cell behind one that it does not keep",
    "restored drop": "a resume found a row dropped",
    "restored skip": "a resume found a cell skipped",
    "few rows": "three rows or fewer",
    "plain": "no failures, skips, row groups or ranges: without a trace another simulator runs it",
}
"""Each feature, and what has it."""


def features(data: dict[str, Any], history: History) -> set[str]:
    """The features of one scenario and its run."""
    found = {name for name, there in _asked(data, history) if there}
    found |= {name for name, there in _happened(history) if there}
    assert found <= FEATURES.keys()
    return found


def is_plain(data: dict[str, Any]) -> bool:
    """True if nothing fails, is skipped or rejected, comes later, in groups or in ranges."""
    return (
        "accept" not in data
        and "arrivals" not in data
        and "failures" not in data
        and "row_groups" not in data["limits"]
        and not any(c.get("skip_rate") or c.get("range_rows", 1) > 1 for c in data["columns"])
    )


def _asked(data: dict[str, Any], history: History) -> Iterator[tuple[str, bool]]:
    columns, limits = list(history.columns.values()), history.limits
    taken = Counter(column.resource for column in columns if column.resource is not None)
    workers, most = limits["workers"], sum(limits["resources"][name] for name in taken)
    yield f"policy {data['policy']}", True
    yield "one worker", workers == 1
    yield "few workers", bool(taken) and workers < most
    yield "many workers", workers >= 16
    yield "one resource", len(taken) == 1
    yield "two resources", len(taken) >= 2
    yield "shared resource", max(taken.values(), default=0) >= 2
    yield "idle resource", len(taken) < len(limits["resources"])
    models = [item.get("latency", {}).get("model") for item in data["columns"]]
    yield "time drawn", "uniform" in models or "exponential" in models
    yield "no time", None in models
    yield "time per row", any("latency_per_row_s" in item for item in data["columns"])
    yield from _shapes(history)
    groups = data["limits"].get("row_groups")
    yield "groups limited", groups is not None and "admitted" in groups
    yield "groups unlimited", groups is not None and "admitted" not in groups
    checkpoint = data.get("checkpoint", {})
    yield "version 1", checkpoint.get("version") == 1
    yield "version 2", checkpoint.get("version") == 2
    yield "version 3", checkpoint.get("version") == 3
    yield "every rows", "every_rows" in checkpoint
    yield "every seconds", "every_s" in checkpoint
    yield "write time", "write_s" in checkpoint
    yield "plain", is_plain(data)
    yield "stop asked", "early_stop" in data.get("failures", {})
    for kind, name in (("at_event", "event"), ("at_time_s", "time"), ("random", "random")):
        yield f"crash at {name}", any(kind in crash for crash in data.get("crashes", ()))


def _shapes(history: History) -> Iterator[tuple[str, bool]]:
    graph, columns = history.header["graph"], history.columns
    barriers = {name for name, column in columns.items() if column.scope_rows}
    declared = graph["barrier_scope"] == "declared"
    over_all = {
        item["name"] for item in graph["columns"] if declared and "BARRIER" in item["traits"]
    }
    size = graph["batch_size"]
    yield "few rows", history.rows <= 3
    yield "dataset barrier", bool(over_all)
    yield "batch barrier", bool(barriers - over_all)
    yield "scope batch", bool(barriers) and not declared
    yield (
        "short batch",
        bool(barriers - over_all) and history.rows > size and history.rows % size != 0,
    )
    yield "chained barriers", any(barriers & set(columns[name].needs) for name in barriers)
    yield "ordered", any(c.ordered for name, c in columns.items() if name not in barriers)
    yield "ordered barrier", any(columns[name].ordered for name in barriers)
    yield "side effect", any(set(item["needs"]) - columns.keys() for item in graph["columns"])


def _happened(history: History) -> Iterator[tuple[str, bool]]:
    incarnations = history.incarnations
    calls = [call for incarnation in incarnations for call in incarnation.calls]
    kinds = {call.outcome for call in calls}
    last = incarnations[-1]
    yield "retryable", "retryable" in kinds
    yield "back-pressure", "backpressure" in kinds
    yield "permanent", "permanent" in kinds
    failed = {"retryable", "backpressure", "permanent"}
    yield "barrier failed", any(c.scope is not None and c.outcome in failed for c in calls)
    yield (
        "backoff",
        any(until > t for incarnation in incarnations for *_, t, until in incarnation.backoffs),
    )
    yield "range", any(c.scope is None and len(c.rows) > 1 for c in calls)
    yield "range failed", any(c.scope is None and c.gave and c.outcome in failed for c in calls)
    yield "attempts spent", any(_spent(incarnation) for incarnation in incarnations)
    yield "drop", any(incarnation.dropped for incarnation in incarnations)
    yield "all dropped", all(last.is_dropped(row) for row in range(history.rows))
    yield "late end", any(_is_late(incarnation) for incarnation in incarnations)
    yield "unfinished call", "running" in kinds
    yield "stopped", last.outcome == "stopped"
    yield "crash", len(incarnations) > 1
    yield "crashes", len(incarnations) > 2
    yield "restart delay", any(b.start_s > a.end_s for a, b in pairwise(incarnations))
    yield "lost in flight", "lost" in kinds
    pairs = list(pairwise(incarnations))
    yield "lost cell", any(cell not in b.restored for a, b in pairs for cell in a.made)
    yield "lost write", any(incarnation.pending is not None for incarnation, _ in pairs)
    yield "gap restored", any(map(_has_gap, (item.claim for item in incarnations)))
    yield "restored drop", any(incarnation.restored_drops for incarnation in incarnations)
    restored = [what for incarnation in incarnations for what, _ in incarnation.restored.values()]
    yield "restored skip", "skipped" in restored
    yield from _skips(history)


def _has_gap(claim: Claim) -> bool:
    return any(rows and max(rows) >= len(rows) for rows in claim.values())


def _spent(incarnation: Incarnation) -> bool:
    """A row was dropped at the moment of a failure, and no failure of then was for good."""
    permanent = {t for _, kind, t in incarnation.failures if kind == "permanent"}
    return any(t not in permanent for _, t in incarnation.dropped.values())


def _is_late(incarnation: Incarnation) -> bool:
    return any(
        call.end_s is not None
        and any(
            row in incarnation.dropped
            and incarnation.dropped[row][1] < dict(call.gave).get(row, call.end_s)
            for row in call.rows
        )
        for call in incarnation.calls
        if call.scope is None
    )


def _skips(history: History) -> Iterator[tuple[str, bool]]:
    own = passed = ignored = False
    for incarnation in history.incarnations:
        for name, column in history.columns.items():
            for row in range(history.rows):
                inputs = any(incarnation.was_skipped((need, row)) for need in column.needs)
                if (name, row) in incarnation.skipped:
                    passed |= inputs and column.propagates
                    own |= not (inputs and column.propagates)
                elif (name, row) in incarnation.made:
                    ignored |= inputs
    yield "condition", own
    yield "passed on", passed
    yield "not passed on", ignored


APART: dict[frozenset[str], str] = {}
"""Pairs that cannot be seen together, each with the reason."""


def _apart(one: str, *others: str, why: str) -> None:
    for other in others:
        APART[frozenset((one, other))] = why


for _one, _other in combinations(_POLICIES, 2):
    _apart(f"policy {_one}", f"policy {_other}", why="a scenario has one policy")
_apart("one worker", "many workers", why="one number of workers")
_apart("few workers", "many workers", why="one number of workers")
_apart("one resource", "two resources", why="one number of resources")
_apart("groups limited", "groups unlimited", why="groups have a limit or none")
for _one, _other in combinations(("version 1", "version 2", "version 3"), 2):
    _apart(_one, _other, why="checkpoints have one version")
_apart("gap restored", "version 1", "version 2", why="these versions claim first rows only")
_apart("every rows", "every seconds", why="checkpoints have one interval")
_apart("dataset barrier", "scope batch", why="that setting leaves no barrier over the dataset")
_apart(
    "one worker",
    "late end",
    "unfinished call",
    why="with one worker nothing else can end while a call runs",
)
_apart(
    "plain",
    *("range", "range failed", "groups limited", "groups unlimited"),
    *("retryable", "back-pressure", "permanent", "barrier failed", "attempts spent", "backoff"),
    *("drop", "all dropped", "late end", "unfinished call", "stop asked", "stopped"),
    *("condition", "passed on", "not passed on", "restored drop", "restored skip"),
    why="a plain run has no such thing",
)
_apart("stopped", "unfinished call", why="a run that stops early waits for its calls")


class Coverage:
    """How often each pair of features was seen."""

    def __init__(self) -> None:
        self.scenarios = 0
        self.single: Counter[str] = Counter()
        self.pairs: Counter[frozenset[str]] = Counter()

    def add(self, found: set[str]) -> None:
        self.scenarios += 1
        self.single.update(found)
        self.pairs.update(map(frozenset, combinations(sorted(found), 2)))

    def counts(self) -> dict[frozenset[str], int]:
        """Of every pair that can be seen, how often it was."""
        every = map(frozenset, combinations(FEATURES, 2))
        return {pair: self.pairs[pair] for pair in every if pair not in APART}

    def contradictions(self) -> list[frozenset[str]]:
        """Pairs that were seen although they are said to exclude each other."""
        return [pair for pair in APART if self.pairs[pair]]
