"""Random scenarios: what could make a printed figure wrong, in any combination, on few rows.

A scenario is plain data, as its YAML file would hold it, and depends on (seed, number) alone. What
is drawn together with what is left to chance; `tests.recompute.features` counts what came of it.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, TypeAlias

__all__ = ["Data", "draw"]

Data: TypeAlias = dict[str, Any]

POLICIES = ("fifo", "row-first", "column-first", "critical-path", "random")
ODD_RATES = (0.07, 0.14, 0.28, 0.29, 0.33, 0.55, 0.57, 0.58, 0.7, 1.0)


def draw(seed: int, number: int) -> Data:
    """The scenario with this number."""
    sources = (random.Random(f"{seed}/{number}{part}") for part in ("", "/sets"))
    data = _Draw(*sources).scenario(number)
    _add_runs(data, random.Random(f"{seed}/{number}/runs"))
    behind = random.Random(f"{seed}/{number}/endpoints")
    if behind.random() < 0.3:
        _Endpoints(behind).add(data)
    _take_several(data, random.Random(f"{seed}/{number}/places"))
    return data


def _is_odd(data: Data) -> bool:
    """A cell may be skipped, or a call makes several."""
    return any("skip_rate" in column or "range_rows" in column for column in data["columns"])


def _add_runs(data: Data, source: random.Random) -> None:
    """What came later, from a source of its own: all else is as it was without."""
    if "write_s" in data.get("checkpoint", {}) and source.random() < 0.2:
        data["checkpoint"]["blocking"] = True
    if "crashes" in data and source.random() < 0.5:
        data["redo"] = "fresh"
    # Runs in which nothing goes wrong but crashes are few, and stay as they are.
    if "failures" not in data and "row_groups" not in data["limits"] and not _is_odd(data):
        return
    if source.random() < 0.06:
        data["start_from"] = {"version": 1, "completed_rows": source.randint(0, data["rows"])}
    if source.random() < 0.1 and not any("skip_rate" in column for column in data["columns"]):
        rate = source.choice((0.3, 0.7, 1.0))
        data["accept"] = {"rows": source.randint(1, data["rows"]), "rate": rate}
    if "row_groups" not in data["limits"] and source.random() < 0.08:
        data["arrivals"] = {"model": "exponential", "mean_s": source.choice((0.2, 1.0, 4.0))}
    taken = Counter(column["resource"] for column in data["columns"] if "resource" in column)
    for resource, columns in sorted(taken.items()):
        if columns > 1 and source.random() < 0.2:
            names = [c["name"] for c in data["columns"] if c.get("resource") == resource]
            weights = {name: source.choice((0.5, 1, 3)) for name in names}
            data.setdefault("shares", {})[resource] = weights


def _take_several(data: Data, source: random.Random) -> None:
    """Let calls take several places, of the resource that is theirs and perhaps of another."""
    if source.random() >= 0.2:
        return
    limits, behind = (
        data["limits"]["resources"],
        {*data.get("endpoints", ()), *data.get("throttle", ())},
    )
    free = [name for name in limits if name not in data.get("shares", ())]
    for column in data["columns"]:
        if column.get("resource") not in free or source.random() < 0.4:
            continue
        own = column.pop("resource")
        others = [name for name in free if name != own and name not in behind]
        taken = [own, *(source.sample(others, 1) if others and source.random() < 0.6 else ())]
        source.shuffle(taken)
        column["resources"] = {name: source.randint(1, limits[name]) for name in taken}


class _Draw:
    """One scenario.

    Inclinations, each in a share of all scenarios, make likely what needs several things at once:
    work that goes on for rows that were given up (`abandons`), for each row and to the end of the
    run (`outlives`), a crash after a checkpoint that holds drops and skips (`restores`), and a run
    that gives up (`stops`). In another share of them nothing goes wrong but crashes (`plain`).
    """

    def __init__(self, source: random.Random, sets: random.Random) -> None:
        self.random, self.sets = source, sets
        self.outlives, self.restores, self.stops = map(self.yes, (0.14, 0.55, 0.38))
        self.plain = not self.outlives and self.yes(0.09)
        self.abandons = self.outlives or self.yes(0.3)

    def yes(self, share: float) -> bool:
        return self.random.random() < share

    def scenario(self, number: int) -> Data:
        pick = self.random
        rows = pick.choice(
            (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30)[: 7 if self.outlives else None]
        )
        batch = pick.randint(1, min(rows + 1, 12)) if self.yes(0.8) else None
        resources = {name: pick.randint(1, 3) for name in ("x", "y", "z")[: pick.randint(0, 3)]}
        # Half of all scenarios fail, and half of all skip: both must often be absent and together.
        failing = self.outlives or self.yes(0.9 if self.restores or self.stops else 0.6)
        skipping = not self.plain and self.yes(0.85 if self.restores else 0.6)
        columns = self.columns(batch, list(resources), skipping=skipping)
        if self.outlives:
            columns += self.race()
        if self.plain:
            failing = False
            for column in columns:
                column.pop("range_rows", None)
        data: Data = {
            "name": f"random {number}",
            "rows": rows,
            "seed": pick.randrange(1 << 16),
            "columns": columns,
            "limits": {"workers": self.workers(), "resources": resources},
            "policy": pick.choice(POLICIES),
        }
        if batch is not None:
            data["batch_size"] = batch
            if self.yes(0.4):
                data["barrier_scope"] = "batch"
        if not self.plain and self.yes(0.45):
            data["limits"]["row_groups"] = self.row_groups(data)
        if self.restores or self.yes(0.5):
            data["checkpoint"] = self.checkpoint(rows)
        if self.yes(0.95 if self.restores else 0.4):
            data["crashes"] = [self.crash(rows * len(columns)) for _ in range(pick.randint(1, 3))]
            if self.yes(0.5):
                data["restart_delay_s"] = pick.choice((0.5, 1.0, 2.75))
        if failing:
            data["failures"] = self.failures(data)
        if self.stops and self.restores and not self.plain and not self.outlives and self.yes(0.3):
            self.stop_after_resume(data)
        # From a source of its own: all else is as it was without claims of any cells.
        share = 0.8 if self.plain else 0.6
        if data.get("checkpoint", {}).get("version") == 2 and self.sets.random() < share:
            data["checkpoint"]["version"] = 3
            if self.sets.random() < 0.8:
                self.leave_gaps(data)
        return data

    def leave_gaps(self, data: Data) -> None:
        """Calls that overtake each other, saved often, and a crash among them."""
        if self.sets.random() < 0.3:
            data["policy"] = "random"
        else:
            data["limits"]["workers"] = max(4, data["limits"]["workers"])
        if "row_groups" not in data["limits"]:
            data["rows"] = max(3, data["rows"])
        every = self.sets.choice(({"every_s": 0.5}, {"every_rows": 1}))
        slow = self.sets.choice(({}, {}, {"write_s": 0.25}, {"write_s": 0.5}))
        data["checkpoint"] = {"version": 3, **every, **slow}
        crash = {"at_time_s": self.sets.choice((1.0, 2.0, 3.5))}
        data["crashes"] = [crash, *data.get("crashes", [])[:1]]
        for column in data["columns"]:
            if "START" in column["traits"] and column["traits"][1:2] != ["BARRIER"]:
                column["latency"] = {"model": "uniform", "low_s": 0.1, "high_s": 3.0}

    def stop_after_resume(self, data: Data) -> None:
        """Skips that a claim holds, a crash soon after it, and failures that go on until a stop."""
        pick = self.random
        data["rows"] = pick.randint(10, 30)
        data["limits"].pop("row_groups", None)
        data["columns"] = [
            {"name": "perhaps", "traits": ["START"], "skip_rate": 0.5},
            {
                "name": "fails",
                "traits": ["START"],
                "latency": {"model": "constant", "value_s": 1},
            },
            *data["columns"][:4],
        ]
        data["checkpoint"] = {"version": 2, "every_s": 0.5} | self.write_time()
        data["crashes"] = [{"at_time_s": pick.choice((1.0, 1.75, 2.0))}]
        failures = data.setdefault("failures", {})
        failures.pop("by_resource", None)
        failures["by_column"] = {"fails": {"permanent": 0.5}}
        failures["early_stop"] = {"window": pick.randint(6, 12), "rate": 0.29}

    def workers(self) -> int:
        if self.outlives:
            return self.random.choice((4, 6, 16, 16))
        return self.random.choice((2, 3, 4, 6, 16) if self.abandons else (1, 1, 1, 2, 2, 3, 16))

    # Columns

    def columns(self, batch: int | None, resources: list[str], *, skipping: bool) -> list[Data]:
        pick, made, names = self.random, [], list[str]()
        count = pick.randint(1, 2 if self.outlives else 6)
        barriers = pick.choice((0, 0, 1, 2, 2))
        at = set(pick.sample(range(count), min(barriers, count)))
        for place in range(count):
            column: Data = {"name": "abcdef"[place]}
            needs = pick.sample(names, pick.randint(0, min(2, len(names)))) if names else []
            if names and not needs and self.yes(0.3 if self.abandons else 0.7):
                needs = [pick.choice(names)]
            if needs:
                column["dependencies"] = needs
            column["traits"] = self.traits(column, batch, barrier=place in at)
            self.work(column, resources, barrier=place in at)
            if skipping:
                if self.yes(0.65 if self.restores else 0.4):
                    column["skip_rate"] = pick.choice((0.1, 0.3, 0.5, 1.0))
                if self.yes(0.6 if self.outlives else 0.45):
                    column["propagate_skip"] = False
            names.append(column["name"])
            if self.yes(0.2):
                column["side_effects"] = [f"{column['name']}_too"]
                names.append(f"{column['name']}_too")
            made.append(column)
        return made

    def race(self) -> list[Data]:
        """A column that takes long, and one of which each cell fails, perhaps before that."""
        mean = self.random.choice((1.0, 4.0, 4.0))
        skipping: list[Data] = [
            {"name": "perhaps", "traits": ["START"], "skip_rate": 0.5},
            {
                "name": "anyway",
                "traits": ["CELL_BY_CELL"],
                "dependencies": ["perhaps"],
                "propagate_skip": False,
            },
        ]
        return [
            *(skipping if self.yes(0.4) else ()),
            {"name": "slow", "traits": ["START"], "latency": {"model": "constant", "value_s": 25}},
            {
                "name": "doomed",
                "traits": ["START"],
                "latency": {"model": "exponential", "mean_s": mean},
            },
        ]

    def traits(self, column: Data, batch: int | None, *, barrier: bool) -> list[str]:
        traits = [] if "dependencies" in column else ["START"]
        if barrier:
            traits.append("BATCH_BARRIER" if batch is not None and self.yes(0.5) else "BARRIER")
        elif self.yes(0.4):
            traits.append("ROW_STREAMABLE")
            if self.yes(0.8):
                column["range_rows"] = self.random.randint(2, 6)
        else:
            traits.append("CELL_BY_CELL")
        if self.yes(0.25):
            traits.append("ORDERED")
        return traits

    def work(self, column: Data, resources: list[str], *, barrier: bool) -> None:
        """Who does the work of a column, and how long it takes."""
        pick = self.random
        if resources and self.yes(0.6):
            column["resource"] = pick.choice(resources)
        kind = pick.choice(("none", "same", "same", "uniform", "exponential"))
        if kind == "same":
            # Few values, so that much happens at one moment.
            column["latency"] = {"model": "constant", "value_s": pick.choice((0.5, 1, 1, 2, 7, 25))}
        elif kind == "uniform":
            column["latency"] = {"model": "uniform", "low_s": 0.1, "high_s": 3.0}
        elif kind == "exponential":
            column["latency"] = {"model": "exponential", "mean_s": 2.0}
        if barrier and self.yes(0.4):
            column["latency_per_row_s"] = 0.25

    def row_groups(self, data: Data) -> Data:
        """Groups under which each barrier's whole scope can be admitted (clause GROUP-04)."""
        pick, rows = self.random, data["rows"]
        size = pick.randint(1, min(rows, 8))
        whole = rows if self.dataset_barrier(data) else min(rows, data.get("batch_size") or 1)
        # A scope may begin and end inside a group.
        least = min(-(-rows // size), whole // size + 2)
        groups: Data = {"rows": size}
        if self.yes(0.7):
            groups["admitted"] = least + pick.choice((0, 0, 0, 1, 2))
        return groups

    def dataset_barrier(self, data: Data) -> bool:
        if data.get("barrier_scope") == "batch":
            return False
        return any("BARRIER" in column["traits"] for column in data["columns"])

    # What happens on the way

    def checkpoint(self, rows: int) -> Data:
        pick = self.random
        found: Data = {"version": pick.choice((1, 2, 2, 2) if self.restores else (1, 1, 2))}
        if self.yes(0.6):
            found["every_rows"] = 1 if self.restores else pick.randint(1, min(rows, 5))
        else:
            found["every_s"] = pick.choice((0.5, 1.0) if self.restores else (0.5, 1.0, 2.5, 6.0))
        return found | self.write_time()

    def write_time(self) -> Data:
        return {"write_s": self.random.choice((0.25, 0.5, 4.0))} if self.yes(0.6) else {}

    def crash(self, cells: int) -> Data:
        pick = self.random
        kind = pick.choice(("at_event", "at_time_s", "random"))
        if kind == "at_event":
            return {"at_event": pick.randint(cells if self.restores else 1, 3 * cells + 2)}
        if kind == "at_time_s":
            return {"at_time_s": pick.choice((0.0, 1.0, 2.0, 3.5, 7.0, 11.3))}
        return {"random": {"mean_s": pick.choice((2.0, 8.0)), "count": pick.randint(1, 2)}}

    def failures(self, data: Data) -> Data:
        pick = self.random
        found: Data = {"max_attempts": pick.choice((1, 2, 2, 3, 4))}
        found["default"] = self.rates()
        by_column = {
            column["name"]: self.rates()
            for column in data["columns"]
            if self.yes(0.2) or (column["traits"][0].endswith("BARRIER") and self.yes(0.5))
        }
        if self.abandons and self.yes(0.5):
            doomed = pick.choice(data["columns"])["name"]
            by_column[doomed] = {"permanent": pick.choice((0.5, 0.8, 1.0))}
        if self.outlives:
            by_column["doomed"] = {"permanent": 1.0}
        if by_column:
            found["by_column"] = by_column
        used = sorted({column["resource"] for column in data["columns"] if "resource" in column})
        if used and self.yes(0.3):
            found["by_resource"] = {pick.choice(used): self.rates()}
        if self.yes(0.8):
            found["backoff"] = self.backoff()
        if self.stops or self.yes(0.3):
            found["early_stop"] = self.early_stop()
        return found

    def early_stop(self) -> Data:
        """When a run gives up: often before any crash, or so late that a crash comes before."""
        pick = self.random
        if self.stops and self.restores and self.yes(0.6):
            return {"window": pick.randint(4, 9), "rate": pick.choice(ODD_RATES[:5])}
        window = pick.randint(1, 9) if self.yes(0.8) else pick.randint(10, 25)
        return {"window": window, "rate": pick.choice(ODD_RATES)}

    def rates(self) -> Data:
        pick, found = self.random, {}
        if self.yes(0.6):
            found["retryable"] = pick.choice((0.1, 0.2, 0.3))
        if self.yes(0.4):
            found["back_pressure"] = pick.choice((0.1, 0.2))
        if self.yes(0.85 if self.abandons or self.stops else 0.5):
            found["permanent"] = pick.choice((0.1, 0.3, 0.5) if self.abandons else (0.03, 0.1, 0.3))
        if self.yes(0.04):
            found = {"permanent": 1.0}
        return found

    def backoff(self) -> Data:
        pick = self.random
        found: Data = {"first_s": pick.choice((0.0, 0.0, 0.5, 1.0, 3.0))}
        if self.yes(0.5):
            found["most_s"] = pick.choice((1.0, 5.0))
        if self.yes(0.5):
            found["jitter"] = pick.choice((0.2, 0.5))
        return found


class _Endpoints:
    """Endpoints and throttles for the resources that columns of a scenario take."""

    def __init__(self, source: random.Random) -> None:
        self.random = source

    def yes(self, share: float) -> bool:
        return self.random.random() < share

    def add(self, data: Data) -> None:
        pick = self.random
        if not data["limits"]["resources"]:
            data["limits"]["resources"] = {"x": pick.randint(1, 4)}
        if not any("resource" in column for column in data["columns"]):
            pick.choice(data["columns"])["resource"] = pick.choice([*data["limits"]["resources"]])
        used = sorted({column["resource"] for column in data["columns"] if "resource" in column})
        name = pick.choice(used)
        data["limits"]["resources"][name] += pick.choice((0, 2, 4))
        mine = [column for column in data["columns"] if column.get("resource") == name]
        if self.yes(0.1):
            data["throttle"] = {name: self.throttle()}
            return
        if self.yes(0.6):
            endpoint: Data = {"tpot_s": {"1": 0.02, "3": 0.05}, "beyond": "line"}
            for column in mine:
                column["latency"] = self.request()
                column.pop("latency_per_row_s", None)
            if self.yes(0.5):
                endpoint["prefill_tokens_per_s"] = 100
                endpoint["prefill_stalls_decode"] = self.yes(0.5)
            if self.yes(0.3):
                endpoint["kv_tokens"] = 300
        else:
            endpoint = {"work": {"full_speed": pick.randint(1, 3)}}
        endpoint |= self.server()
        backoff = data.get("failures", {}).get("backoff", {})
        if "queue" in endpoint and not backoff.get("first_s", 1.0):
            # Who finds a full queue is not told when to come back, and must not ask at once.
            backoff["first_s"] = 0.5
        data["endpoints"] = {name: endpoint}
        if self.yes(0.4):
            data["throttle"] = {name: self.throttle()}
        if "failures" in data and self.yes(0.4):
            data["failures"]["timeout_s"] = pick.choice((0.5, 3.0, 8.0))
        if "failures" not in data and self.yes(0.5):
            data["scheduler"] = {"start_s": 0.125, "end_s": pick.choice((0.0, 0.0625))}

    def request(self) -> Data:
        counts = ({"model": "constant", "value": 40}, {"model": "exponential", "mean": 30})
        found: Data = {"model": "request", "max_output_tokens": 100}
        found["output_tokens"] = self.random.choice(counts)
        if self.yes(0.7):
            found["prompt_tokens"] = {"model": "constant", "value": self.random.choice((20, 150))}
        return found

    def throttle(self) -> Data:
        if self.yes(0.2):
            return {"pause_s": self.random.choice((0.5, 2.0))}
        return {"start": 1, "successes": self.random.randint(1, 3), "cool_down_s": 0.5}

    def server(self) -> Data:
        pick = self.random
        found: Data = {}
        if self.yes(0.4):
            found["max_in_flight"] = pick.randint(1, 2)
            if self.yes(0.6):
                found["queue"] = pick.randint(0, 2)
        if self.yes(0.5):
            limit: Data = {"requests": pick.choice((2, 10)), "per_s": pick.choice((1, 3))}
            found["limits"] = [limit | ({"window": "fixed"} if self.yes(0.3) else {})]
        if self.yes(0.4):
            running = pick.choice(("fail", "hang", "finish"))
            at_s = pick.choice((1.0, 2.5, 6.0))
            found["outages"] = [{"from_s": at_s, "to_s": at_s + 1.5, "running": running}]
        if found.keys() & {"queue", "limits", "outages"} and self.yes(0.4):
            found["refusal"] = {"latency_s": 0.125}
        if self.yes(0.2):
            found["pauses"] = [{"from_s": 3.0, "to_s": 3.75}]
        if self.yes(0.2):
            found["cold_start"] = {"first_s": 0.5, "idle_s": 2.0}
        if self.yes(0.7):
            found["price"] = {"prompt_per_million": 3.0, "output_per_million": 15.0}
        return found
