"""Smaller workloads: candidates that may break the same clause with less.

`shrunk_workload` takes away one thing at a time (`cellspec.conformance.campaign.shrink`): columns
before rows, then crashes, then faults and skips, and last each value that differs from the usual
one. It stops when every single thing that is left is needed. Of two kinds that do as well, it
takes one and the same, so that two workloads that show one bug come out alike more often.

A crash is given by the number of its step, and each cell that is taken away takes steps with it:
the same crash then has a lower number. So at the end the search takes cells away once again, each
time with the last crash a little earlier.

The candidates are JSON data (`Workload.to_dict`). So any case file can be made smaller, wherever it
came from, and a column can be left out without knowledge of its traits.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from cellspec.conformance.campaign.shrink import Tries, shrink
from cellspec.conformance.run.backend import Fit
from cellspec.conformance.run.workload import Fault, Workload
from cellspec.errors import SpecError

__all__ = ["extent_of", "shrunk_workload", "size_of"]

Json = dict[str, Any]

_LETTERS = "abcdefghijklmnopqrstuvwxyz"

_USUAL_FAILURE = Fault("", 0).failure

_STEPS = ("crashes", "stop_at", "worker_losses")
"""The fields that name steps of an incarnation."""

_STEPS_BACK = 24
"""How many earlier steps are tried for a crash when something before it was taken away."""


def extent_of(work: Workload) -> dict[str, int]:
    """How many there are of each thing in a workload, by the word for one of them."""
    return {
        "column": len(work.columns),
        "row": max(work.rows_of(incarnation) for incarnation in range(work.incarnations)),
        "crash": len(work.crashes),
        "other target": len(work.targets),
        "stop": len(work.stop_at),
        "lost worker": len(work.worker_losses),
        "fault": len(work.faults),
        "skip": len(work.skips),
        "killer": len(work.killers),
    }


def size_of(work: Workload) -> tuple[int, int, int, int, int, str]:
    """The size of a workload: columns, then rows, then crashes, then faults, then the rest."""
    columns, rows, *others = extent_of(work).values()
    text = repr(work)
    return columns, rows, sum(others[:4]), sum(others[4:]), len(text), text


def shrunk_workload(
    work: Workload,
    breaks: Callable[[Workload], bool],
    *,
    runs_max: int,
    fit: Fit | None = None,
) -> Workload:
    """The smallest workload found that still breaks the clause.

    Args:
        work: a workload of which `breaks` is true.
        breaks: runs a workload; true if it breaks the same clause.
        runs_max: how often `breaks` may be asked.
        fit: brings a workload to the nearest that the engine can be asked for; by default as it is.
    """
    tries = Tries(breaks, runs_max, Workload.to_json)
    tries.skip(work)
    # To look for moved crashes takes many runs, so it comes last.
    step = partial(_smaller, tries, fit)
    return shrink(work, [step, partial(step, move_crashes=True)])


def _smaller(
    tries: Tries[Workload], fit: Fit | None, work: Workload, *, move_crashes: bool = False
) -> Workload | None:
    """A workload that is smaller by one step; None if the candidates, or the runs, are used up."""
    size = size_of(work)
    for candidate, takes_steps in _candidates(work.to_dict()):
        if move_crashes and not takes_steps:
            continue
        made = _made(candidate)
        if made is not None and fit is not None:
            made = fit(made)
        if made is None:
            continue
        for tried in _earlier_crashes(made) if move_crashes else (made,):
            if tries.left <= 0:
                return None
            if size_of(tried) < size and tries.breaks(tried):
                return tried
    return None


def _made(plain: Json) -> Workload | None:
    try:
        return Workload.from_dict(_fitted(plain))
    except SpecError:
        return None


def _fitted(plain: Json) -> Json:
    """The workload without faults, ends and skips of cells and barriers that have gone."""
    bare = Workload.from_dict(
        {**plain, "faults": [], "skips": [], "rejects": [], "killers": [], "ends": []}
    )
    rules = bare.graph(max(range(bare.incarnations), key=bare.rows_of)).rules
    able = {item["name"] for item in plain["columns"] if item["may_skip"]}
    cells = {rule.name for rule in rules.columns if not rule.is_barrier}

    def is_there(column: str, position: int) -> bool:
        index = rules.index.get(column)
        if index is None:
            return False
        return position < (rules.scope_count(index) or rules.num_records)

    return {
        **plain,
        "faults": [f for f in plain["faults"] if is_there(f["column"], f["position"])],
        "ends": [e for e in plain["ends"] if is_there(e["column"], e["position"])],
        "skips": [s for s in plain["skips"] if s[0] in able and is_there(s[0], s[1])],
        "rejects": [
            s for s in plain["rejects"] if s[0] in rules.index and s[1] < rules.num_records
        ],
        "killers": [s for s in plain["killers"] if s[0] in cells and s[1] < rules.num_records],
    }


def _earlier_crashes(work: Workload) -> Iterator[Workload]:
    """The workload with its last crash, or stop, a little earlier, the nearest first."""
    for name in _STEPS:
        *before, step = getattr(work, name) or (0,)
        for earlier in range(step - 1, max(0, step - 1 - _STEPS_BACK), -1):
            yield work.replace(**{name: (*before, earlier)})


# Candidates. Each comes with whether steps of the run go with it.


_MANY_COLUMNS, _MANY_ROWS = 8, 16
"""From here on several are taken away at once, to begin with."""


def _candidates(plain: Json) -> Iterator[tuple[Json, bool]]:
    yield from ((candidate, True) for candidate in _much_smaller(plain))
    for place in range(len(plain["columns"])):
        yield _without_column(plain, place), True
    yield from _fewer_rows(plain)
    yield from _fewer_incarnations(plain)
    for name in ("faults", "skips", "rejects", "killers", "storage_faults"):
        for candidate in _without_each(plain, name):
            yield candidate, True
    yield from ((candidate, False) for candidate in _plainer_rules(plain))
    yield from ((candidate, True) for candidate in _plainer_columns(plain))
    yield from ((candidate, False) for candidate in _lower_numbers(plain))
    yield _renamed(plain), False


def _much_smaller(plain: Json) -> Iterator[Json]:
    """Half of the rows, or a run of columns: for workloads too large to read."""
    rows = plain["rows"]
    if rows > _MANY_ROWS:
        targets = [max(1, target - (rows - rows // 2)) for target in plain["targets"]]
        yield {**plain, "rows": rows // 2, "targets": targets}
    count = len(plain["columns"])
    size = count // 2 if count > _MANY_COLUMNS else 0
    while size > 1:
        for start in reversed(range(0, count, size)):
            smaller = plain
            for place in reversed(range(start, min(start + size, count))):
                smaller = _without_column(smaller, place)
            if smaller["columns"]:
                yield smaller
        size //= 2


def _without_column(plain: Json, place: int) -> Json:
    new = copy.deepcopy(plain)
    gone = new["columns"].pop(place)
    names = {gone["name"], *gone["side_effects"]}
    for item in new["columns"]:
        item["needs"] = [name for name in item["needs"] if name not in names]
    new["latency_s"].pop(gone["name"], None)
    new["versions"].pop(gone["name"], None)
    new["texts"].pop(gone["name"], None)
    new["limits"]["column_resource"].pop(gone["name"], None)
    return new


def _fewer_rows(plain: Json) -> Iterator[tuple[Json, bool]]:
    rows = plain["rows"]
    for fewer in dict.fromkeys((1, rows // 2, rows - 1)):
        if 1 <= fewer < rows:
            targets = [max(1, target - (rows - fewer)) for target in plain["targets"]]
            yield {**plain, "rows": fewer, "targets": targets}, True
    for incarnation, target in enumerate(plain["targets"]):
        for fewer in dict.fromkeys((1, target - 1)):
            if 1 <= fewer < target:
                targets = [
                    *plain["targets"][:incarnation],
                    fewer,
                    *plain["targets"][incarnation + 1 :],
                ]
                yield {**plain, "targets": targets}, True


def _fewer_incarnations(plain: Json) -> Iterator[tuple[Json, bool]]:
    if plain["targets"]:
        yield {**plain, "targets": [], "rows": plain["targets"][0]}, False
        yield {**plain, "targets": [], "rows": plain["targets"][-1]}, False
    for beside in ("targets", "torn"):
        for incarnation in range(min(len(plain["crashes"]), len(plain[beside]))):
            both = {
                name: [*plain[name][:incarnation], *plain[name][incarnation + 1 :]]
                for name in ("crashes", beside)
            }
            yield {**plain, **both}, True
    for name in ("crashes", "targets", "stop_at", "worker_losses"):
        for candidate in _without_each(plain, name):
            yield candidate, True


def _without_each(plain: Json, name: str) -> Iterator[Json]:
    items = plain[name]
    if len(items) > 2:
        yield {**plain, name: items[: len(items) // 2]}
        yield {**plain, name: items[len(items) // 2 :]}
    for place in reversed(range(len(items))):
        yield {**plain, name: [*items[:place], *items[place + 1 :]]}


def _plainer_rules(plain: Json) -> Iterator[Json]:
    """Each limit and each further option of a run put back to its usual value."""
    limits, failures = plain["limits"], plain["failures"]
    if limits["column_resource"] or limits["resources"]:
        yield {**plain, "limits": {**limits, "resources": {}, "column_resource": {}}}
    for column in list(limits["column_resource"]):
        users = {name: what for name, what in limits["column_resource"].items() if name != column}
        yield {**plain, "limits": {**limits, "column_resource": users}}
    for change in ({"workers": None}, {"group_rows": None, "groups": None}, {"groups": None}):
        if any(limits[name] is not None for name in change):
            yield {**plain, "limits": {**limits, **change}}
    policy: Json = {"max_attempts": 1, "stop_window": None, "stop_rate": 1.0}
    for name, value in policy.items():
        if failures[name] != value:
            yield {**plain, "failures": {**failures, name: value}}
    if failures.get("timeout_s") is not None:
        # Without a bound no call may hang.
        faults = [fault for fault in plain["faults"] if fault["failure"] != "timeout"]
        yield {**plain, "failures": {**failures, "timeout_s": None}, "faults": faults}
    usual: Json = {
        "barrier_scope": "declared",
        "foreign": "permanent",
        "batch_size": None,
        "checkpoint_every_rows": None,
        "checkpoint_version": 1,
        "keep": False,
        "latency_s": {},
        "seed": 0,
        "order_seed": 0,
        "ends": [],
        "versions": {},
        "texts": {},
        "row_ids": "",
        "visits": [],
        "torn": [],
        "stop_twice": False,
        "storage_s": 0.0,
        "storage_faults": [],
    }
    for name, value in usual.items():
        if plain[name] != value:
            yield {**plain, name: value}
    half = len(plain["ends"]) // 2
    for some in (plain["ends"][half:], plain["ends"][:half]):
        if half:
            yield {**plain, "ends": some}


def _plainer_columns(plain: Json) -> Iterator[Json]:
    """Each column with one need, trait or further property fewer."""

    def with_column(place: int, **changes: Any) -> Json:
        columns = list(plain["columns"])
        columns[place] = {**columns[place], **changes}
        return {**plain, "columns": columns}

    for place, item in enumerate(plain["columns"]):
        for name in ("needs", "traits", "side_effects"):
            for leave_out in item[name]:
                yield with_column(place, **{name: [one for one in item[name] if one != leave_out]})
        if "BATCH_BARRIER" in item["traits"]:
            traits = [one for one in item["traits"] if one != "BATCH_BARRIER"]
            yield with_column(place, traits=[*traits, "BARRIER"])
        if item["may_skip"]:
            yield with_column(place, may_skip=False)
        if not item["propagate_skip"]:
            yield with_column(place, propagate_skip=True)
        if item["name"] in plain["latency_s"]:
            others = {n: s for n, s in plain["latency_s"].items() if n != item["name"]}
            yield {**plain, "latency_s": others}


def _renamed(plain: Json) -> Json:
    """Columns called a, b, c … as they stand."""
    names: dict[str, str] = {}
    for letter, item in zip(_LETTERS, plain["columns"], strict=False):
        names[item["name"]] = letter
        for number, made in enumerate(item["side_effects"], 1):
            names[made] = f"{letter}_more" if number == 1 else f"{letter}_more{number}"

    def new(name: str) -> str:
        return names.get(name, name)

    limits = plain["limits"]
    users = {new(name): resource for name, resource in limits["column_resource"].items()}
    columns = [
        {
            **item,
            "name": new(item["name"]),
            "needs": [new(name) for name in item["needs"]],
            "side_effects": [new(name) for name in item["side_effects"]],
        }
        for item in plain["columns"]
    ]
    return {
        **plain,
        "columns": columns,
        "limits": {**limits, "column_resource": users},
        "latency_s": {new(name): seconds for name, seconds in plain["latency_s"].items()},
        "versions": {new(name): version for name, version in plain["versions"].items()},
        "texts": {new(name): texts for name, texts in plain["texts"].items()},
        "faults": [{**fault, "column": new(fault["column"])} for fault in plain["faults"]],
        "skips": [[new(name), row] for name, row in plain["skips"]],
        "rejects": [[new(name), row] for name, row in plain["rejects"]],
        "killers": [[new(name), row] for name, row in plain["killers"]],
        "ends": [{**end, "column": new(end["column"])} for end in plain["ends"]],
    }


def _lower_numbers(plain: Json) -> Iterator[Json]:
    """Numbers that mean something when they are lower."""
    steps = [(name, *item) for name in _STEPS for item in enumerate(plain[name])]
    for name, incarnation, step in steps:
        for lower in dict.fromkeys((0, 1, step // 2, step - 1)):
            if 0 <= lower < step:
                moved = [*plain[name][:incarnation], lower, *plain[name][incarnation + 1 :]]
                yield {**plain, name: moved}
    for incarnation, operation in enumerate(plain["torn"]):
        for lower in dict.fromkeys((0, 1, operation - 1)):
            if 0 <= lower < operation:
                torn = [*plain["torn"][:incarnation], lower, *plain["torn"][incarnation + 1 :]]
                yield {**plain, "torn": torn}
    for place, fault in enumerate(plain["faults"]):
        changes: list[Json] = [{"cool_down_s": 0.0}] if fault["cool_down_s"] != 0.0 else []
        changes += [{"raises": ""}] if fault.get("raises") else []
        changes += [{"failure": _USUAL_FAILURE}] if fault["failure"] != _USUAL_FAILURE else []
        changes += [{"call": fault["call"] - 1}] if fault["call"] > 1 else []
        changes += [{"position": 0}] if fault["position"] else []
        for change in changes:
            faults = [*plain["faults"][:place], {**fault, **change}, *plain["faults"][place + 1 :]]
            yield {**plain, "faults": faults}
    writes = plain["storage_faults"]
    for place, fault in enumerate(writes):
        changes = [{name: False} for name in ("lands", "lasts") if fault[name]]
        changes += [{"number": fault["number"] - 1}] if fault["number"] > 1 else []
        for change in changes:
            fewer = [*writes[:place], {**fault, **change}, *writes[place + 1 :]]
            yield {**plain, "storage_faults": fewer}
    for place, (name, row) in enumerate(plain["skips"]):
        for lower in dict.fromkeys((0, row // 2, row - 1)):
            if 0 <= lower < row and [name, lower] not in plain["skips"]:
                skips = [*plain["skips"][:place], [name, lower], *plain["skips"][place + 1 :]]
                yield {**plain, "skips": skips}
    for name in ("batch_size", "checkpoint_every_rows"):
        if plain[name] is not None and plain[name] > 1:
            yield {**plain, name: plain[name] - 1}
    for name in ("workers", "group_rows", "groups"):
        value = plain["limits"][name]
        if value is not None and value > 1:
            yield {**plain, "limits": {**plain["limits"], name: value - 1}}
    for name in ("seed", "order_seed"):
        for lower in dict.fromkeys((1, plain[name] // 2, plain[name] - 1)):
            if 0 <= lower < plain[name]:
                yield {**plain, name: lower}
