"""Calls that take several places, of one resource or of two, against a program of a few lines."""

from __future__ import annotations

import heapq
import json
import random
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

import sim.simulator.simulator
from cellspec.check import check_file
from cellspec.errors import Violation
from cellspec.graph.columns import ColumnDescriptor, ExecutionTraits
from cellspec.graph.graph import ExecutionGraph
from cellspec.machine.limits import Limits
from cellspec.machine.machine import Machine
from sim.cli import main
from sim.simulator.picking import pick_of
from tests.recompute.runner import Run, run
from tests.recompute.scenarios import Data


def scenario(columns: list[Data], limits: dict[str, int], **changes: Any) -> Data:
    """Columns that each take their seconds and places; those of the first row are ready at 0 s."""
    return {
        "name": "places",
        "rows": 10,
        "columns": columns,
        "limits": {"workers": 4096, "resources": limits},
        "policy": "fifo",
        **changes,
    }


def column(name: str, value_s: float, *needs: str, **more: Any) -> Data:
    traits = ["CELL_BY_CELL"] if needs else ["START"]
    latency = {"model": "constant", "value_s": value_s}
    needs_list = {"dependencies": list(needs)} if needs else {}
    return {"name": name, "traits": traits, "latency": latency, **needs_list, **more}


def judged(data: Data, folder: Path) -> Run:
    """A run whose trace, read by the checker, holds to the specification."""
    done = run(data, folder)
    assert done.code == 0, done.said
    assert check_file(folder / "run.jsonl").violations == []
    return done


# Closed forms


@pytest.mark.parametrize(
    ("rows", "takes", "limit", "at_once"),
    [(8, 2, 4, 2), (9, 2, 4, 2), (9, 2, 5, 2), (7, 3, 5, 1), (10, 4, 4, 1), (12, 1, 5, 5)],
)
def test_so_many_calls_run_at_once_as_their_places_fit(
    rows: int, takes: int, limit: int, at_once: int, tmp_path: Path
) -> None:
    a = column("a", 3.0, resources={"gpu": takes})
    found = judged(scenario([a], {"gpu": limit}, rows=rows), tmp_path).printed
    makespan = 3.0 * -(-rows // at_once)
    assert found["makespan_s"] == makespan
    (gpu,) = found["by_resource"]
    assert (gpu["calls"], gpu["busy_s"]) == (rows, rows * takes * 3.0), "place-seconds"
    assert gpu["utilisation"] == pytest.approx(rows * takes * 3.0 / (limit * makespan))


@pytest.mark.parametrize("policy", ["fifo", "row-first", "column-first", "critical-path"])
def test_two_places_of_five_are_one_of_two(policy: str, tmp_path: Path) -> None:
    """The M/M/c queue of half the places: the same calls at the same times."""
    found = []
    for takes, limit in (({"resource": "gpu"}, 2), ({"resources": {"gpu": 2}}, 5)):
        a, b = column("a", 1.0, **takes), column("b", 1.0, "a", **takes)
        for each in (a, b):
            each["latency"] = {"model": "exponential", "mean_s": 1.5}
        arrivals = {"model": "exponential", "mean_s": 2.0}
        data = scenario([a, b], {"gpu": limit}, rows=60, policy=policy, arrivals=arrivals)
        found.append(judged(data, tmp_path).printed)
    for figures in found:
        del figures["scenario_digest"]
        del figures["by_resource"][0]["limit"]
    (one,), (two,) = (figures.pop("by_resource") for figures in found)
    for key in ("busy_s", "mean_in_flight"):
        assert two.pop(key) == pytest.approx(2 * one.pop(key))
    assert two.pop("utilisation") == pytest.approx(one.pop("utilisation") * 4 / 5)
    assert one == two
    assert found[0] == found[1]


def test_who_needs_more_places_than_are_free_is_passed_over(tmp_path: Path) -> None:
    """Of 4 places one column takes 1 for 2 s and another 4: it waits until the other is through."""
    narrow = column("narrow", 2.0, resource="gpu")
    wide = column("wide", 1.0, resources={"gpu": 4})
    data = scenario([wide, narrow], {"gpu": 4}, rows=9, policy="fifo")
    starts = starts_of(judged(data, tmp_path))
    # The wide calls were there first; after the first of them ended all are in line again.
    assert [starts["wide", row] for row in range(9)] == [float(row) for row in range(9)]
    assert [starts["narrow", row] for row in range(9)] == [9.0] * 4 + [11.0] * 4 + [13.0]
    data["columns"] = [narrow, wide]
    starts = starts_of(judged(data, tmp_path))
    assert [starts["narrow", row] for row in range(9)] == [0.0] * 4 + [2.0] * 4 + [4.0]
    assert [starts["wide", row] for row in range(9)] == [float(6 + row) for row in range(9)]


def test_a_call_holds_its_places_of_two_resources_to_its_end(tmp_path: Path) -> None:
    """Two gpus and one chat: a call that takes both keeps the chat from the others, for 5 s."""
    both = column("both", 5.0, resources={"chat": 1, "gpu": 2})
    chats = column("chats", 1.0, resource="chat")
    gpus = column("gpus", 1.0, resource="gpu")
    limits = {"chat": 1, "gpu": 3}
    found = judged(scenario([both, chats, gpus], limits, rows=3), tmp_path)
    starts = starts_of(found)
    assert [starts["both", row] for row in range(3)] == [0.0, 5.0, 10.0]
    assert [starts["chats", row] for row in range(3)] == [15.0, 16.0, 17.0]
    assert [starts["gpus", row] for row in range(3)] == [0.0, 1.0, 2.0], "one place is left"
    chat, gpu = found.printed["by_resource"]
    assert (chat["busy_s"], gpu["busy_s"]) == (15.0 + 3.0, 2 * 15.0 + 3.0)


def test_an_endpoint_gets_as_many_calls_as_have_their_other_places(tmp_path: Path) -> None:
    """Of 8 chats 2 run, as a call takes 2 of 4 gpus: at two thirds of their speed, 3 s for 2 s."""
    a = column("a", 2.0, resources={"gpu": 2, "chat": 1})
    endpoints = {"chat": {"work": {1: 1.0, 2: 2 / 3, 8: 0.1}}}
    data = scenario([a], {"chat": 8, "gpu": 4}, endpoints=endpoints)
    found = judged(data, tmp_path).printed
    assert found["makespan_s"] == pytest.approx(5 * 3.0)
    assert found["by_endpoint"][0]["mean_in_flight"] == pytest.approx(2.0)
    held = {item["binding"]: item["share"] for item in found["binding"]}
    assert held == pytest.approx({"resource gpu": 4 / 5, "pipeline": 1 / 5}), (
        "nothing waits at last"
    )
    assert found["by_column"][0]["resource"] == "chat", "the one with the endpoint"


# A program of a few lines


class Naive(NamedTuple):
    """Columns that need the one before them, each with its seconds by row and its places."""

    seconds: list[list[float]]
    places: list[dict[str, int]]
    limits: dict[str, int]
    workers: int
    policy: str

    def starts(self) -> dict[tuple[int, int], float]:
        rows = len(self.seconds[0])
        ready = [(0, row) for row in range(rows)]
        running: list[tuple[float, int, int]] = []
        found: dict[tuple[int, int], float] = {}
        t = 0.0
        while ready or running:
            while (node := self.next(ready, running)) is not None:
                ready.remove(node)
                found[node] = t
                heapq.heappush(running, (t + self.seconds[node[0]][node[1]], *node))
            t, at, row = heapq.heappop(running)
            if at + 1 < len(self.seconds):
                ready.append((at + 1, row))
        return found

    def next(
        self, ready: list[tuple[int, int]], running: list[tuple[float, int, int]]
    ) -> tuple[int, int] | None:
        """The first in order of those whose places are all free."""
        if len(running) >= self.workers:
            return None
        free = dict(self.limits)
        for _, at, _ in running:
            for name, count in self.places[at].items():
                free[name] -= count
        fits = [n for n in ready if all(free[k] >= c for k, c in self.places[n[0]].items())]
        if self.policy == "row-first":
            fits.sort(key=lambda node: (node[1], -node[0]))
        elif self.policy == "column-first":
            fits.sort()
        return fits[0] if fits else None


@pytest.mark.parametrize("seed", range(40))
def test_every_call_starts_when_the_naive_program_starts_it(seed: int, tmp_path: Path) -> None:
    pick = random.Random(seed)
    limits = {name: pick.randint(1, 6) for name in ("x", "y", "z")}
    rows, names = pick.randint(1, 25), "abcd"[: pick.randint(1, 4)]
    places = []
    for _ in names:
        taken = pick.sample(sorted(limits), pick.randint(1, 3))
        places.append({name: pick.randint(1, limits[name]) for name in taken})
    seconds = [[pick.uniform(0.1, 3.0) for _ in range(rows)] for _ in names]
    policy = pick.choice(["fifo", "row-first", "column-first"])
    columns = []
    for at, name in enumerate(names):
        latency = {"model": "list", "values_s": seconds[at]}
        needs = names[at - 1 : at] if at else ""
        columns.append(column(name, 0.0, *needs, resources=places[at]) | {"latency": latency})
    workers = pick.choice([2, 5, 100])
    data = scenario(columns, limits, rows=rows, policy=policy)
    data["limits"]["workers"] = workers
    found = starts_of(judged(data, tmp_path))
    naive = Naive(seconds, places, limits, workers, policy).starts()
    assert found == {(names[at], row): pytest.approx(t) for (at, row), t in naive.items()}


def starts_of(done: Run) -> dict[tuple[str, int], float]:
    events = (json.loads(line) for line in done.trace)
    return {(e["column"], e["rows"]): e["t"] for e in events if e.get("event") == "start"}


# The judge


def machine() -> Machine:
    """Of 3 places of x a call of `a` takes 2, and one of `b` takes 1; `c` takes 1 of each."""
    start = ExecutionTraits.START
    graph = ExecutionGraph(3, [ColumnDescriptor(name, traits=start) for name in "abc"])
    places = {"a": {"x": 2}, "c": {"x": 1, "y": 1}}
    resource = {"a": "x", "b": "x", "c": "y"}
    return Machine(graph, Limits(8, {"x": 3, "y": 1}, resource, column_places=places))


def test_a_start_beyond_the_places_is_refused_and_says_what_is_taken() -> None:
    one = machine()
    one.start_cell(0, 0)
    with pytest.raises(Violation, match=r"a\[1\] takes 2 places of 'x', .* 2 places taken of 3"):
        one.start_cell(0, 1)
    one.start_cell(2, 0)
    with pytest.raises(Violation, match=r"b\[0\] takes 1 place of 'x', .* 3 places taken of 3"):
        one.start_cell(1, 0)


def test_time_stands_still_while_a_call_fits_and_not_for_one_that_does_not() -> None:
    one = machine()
    one.start_cell(0, 0)
    with pytest.raises(Violation, match=r"SCHED-09"):
        one.at(1.0)
    two = machine()
    two.start_cell(0, 0)
    two.start_cell(1, 0)
    two.at(1.0)
    two.complete_cell(1, 0)
    with pytest.raises(Violation, match="SCHED-09"):
        two.at(2.0)
    two.start_cell(2, 0)
    two.at(2.0)
    # One place of x is free, none of y; a needs two.
    two.complete_cell(0, 0)
    two.start_cell(1, 1)
    two.start_cell(1, 2)
    two.at(3.0)
    two.complete_cell(1, 1)
    two.at(4.0)


# What a file may not say


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"resources": {"gpu": 5}},
            "columns 'a': resources.gpu: a call takes 5 places of 4, and could never start; take "
            "fewer, or raise limits.resources.gpu",
        ),
        ({"resources": {"gpus": 1}}, "columns 'a': resources.gpus: no resource 'gpus'"),
        ({"resources": {}}, "columns 'a': resources: "),
        ({"resources": {"gpu": 0}}, "columns 'a': resources.gpu: "),
        (
            {"resource": "gpu", "resources": {"gpu": 1}},
            "columns 'a': resources: resource is given too, and means one place of it; leave one",
        ),
        (
            {"resources": {"chat": 1, "embed": 1}},
            "columns 'a': resources: 'chat', 'embed' each have an endpoint or a throttle, and a "
            "call goes through one; leave the others to limits.resources",
        ),
    ],
)
def test_places_that_cannot_be_taken_are_one_line(
    changes: Data, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoints: Data = {"chat": {"max_in_flight": 2}, "embed": {}}
    others = [column("b", 1.0, resource="chat"), column("c", 1.0, resource="embed")]
    limits = {"gpu": 4, "chat": 2, "embed": 2}
    data = scenario([column("a", 1.0, **changes), *others], limits, endpoints=endpoints)
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    assert main(["run", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize(
    ("taken", "says"),
    [({"gpu": 2}, "2 places of 'gpu'"), ({"gpu": 1, "disk": 1}, "places of 'disk' too")],
)
def test_shares_are_of_calls_that_take_one_place(
    taken: dict[str, int], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = [column("a", 1.0, resource="gpu"), column("b", 1.0, resources=taken)]
    data = scenario(columns, {"gpu": 4, "disk": 2}, shares={"gpu": {"a": 2}})
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    assert main(["run", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"shares.gpu: a call of column 'b' takes {says}, and shares are of" in line


def test_one_place_of_one_resource_is_that_resource(tmp_path: Path) -> None:
    one = scenario([column("a", 1.0, resource="gpu")], {"gpu": 2})
    two = scenario([column("a", 1.0, resources={"gpu": 1})], {"gpu": 2})
    found = [judged(data, tmp_path) for data in (one, two)]
    assert found[0].trace == found[1].trace


def test_what_runs_at_once_is_what_has_all_its_places(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table up to 2 calls does where 2 calls take all gpus, and not where 3 do."""
    for gpus, code in ((2, 0), (1, 2)):
        a = column("a", 2.0, resources={"gpu": gpus, "chat": 1})
        endpoints = {"chat": {"work": {1: 1.0, 2: 0.5}}}
        data = scenario([a], {"chat": 8, "gpu": 4}, endpoints=endpoints)
        path = tmp_path / "scenario.yaml"
        path.write_text(yaml.safe_dump(data), encoding="utf-8")
        assert main(["run", str(path)]) == code
    assert "endpoints.chat" in capsys.readouterr().err


def test_workers_reach_a_limit_by_the_places_of_their_calls(tmp_path: Path) -> None:
    for places, said in ((2, ""), (1, "limits.resources.gpu: 4 is never reached with 2 workers")):
        data = scenario([column("a", 1.0, resources={"gpu": places})], {"gpu": 4})
        data["limits"]["workers"] = 2
        assert said in run(data, tmp_path).said
        assert said or "never reached" not in run(data, tmp_path).said


# Simulators that are wrong


def _takes_one_place(queues: Any, _: Any, counters: Any) -> Any:
    return pick_of(queues, [3, 3, 3, 1 << 40], counters)


def _waits_for_the_head(queues: Any, capacity: Any, counters: Any) -> Any:
    def pick() -> Any:
        first = min(range(len(queues)), key=lambda group: queues[group].head_key())
        fits = counters.busy[first] < capacity[first]
        return queues[first].pop() if fits else None

    return pick


@pytest.mark.parametrize(
    ("wrong", "clause"), [(_takes_one_place, "SCHED-11"), (_waits_for_the_head, "SCHED-09")]
)
def test_a_simulator_that_counts_or_keeps_places_wrongly_is_caught(
    wrong: Any, clause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = [column("a", 2.0, resources={"gpu": 2}), column("b", 1.0, resource="gpu")]
    data = scenario(columns, {"gpu": 3}, rows=6)
    assert run(data, tmp_path).code == 0
    monkeypatch.setattr(sim.simulator.simulator, "pick_of", wrong)
    done = run(data, tmp_path)
    assert done.code != 0
    assert clause in done.said


def test_a_trace_is_judged_by_the_places_that_its_header_states(tmp_path: Path) -> None:
    data = scenario([column("a", 1.0, resources={"gpu": 2})], {"gpu": 5})
    lines = judged(data, tmp_path).trace
    for places, clause in ((3, "SCHED-11"), (1, "SCHED-09"), (6, "TRACE-02")):
        header = json.loads(lines[0])
        header["places"] = {"a": {"gpu": places}}
        path = tmp_path / "other.jsonl"
        path.write_text("\n".join([json.dumps(header), *lines[1:]]) + "\n", encoding="utf-8")
        assert [found.clause for found in check_file(path).violations] == [clause]
