"""Which runs a sweep wants: fixed numbers, precision, ladders and shards; and the derived files."""

from __future__ import annotations

import csv
import io
import random
from itertools import chain, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.experiments.intervals import mean_of
from sim.experiments.sweep.derived import derived_files, ladder_ends, parquet_bytes, point_runs
from sim.experiments.sweep.plan import LadderEnd, Run, Shard, climb, missing, units
from sim.experiments.sweep.points import Point
from sim.experiments.sweep.spec import SweepSpec

Made = dict[str, dict[int, Run]]

FIXED: dict[str, Any] = {"replications": 4, "grid": {"rows": [1, 2, 3]}}
PRECISE: dict[str, Any] = {
    "precision": {"half_width": 0.1, "most": 40},
    "grid": {"rows": [1, 2, 3]},
}
LADDER: dict[str, Any] = {
    "replications": 5,
    "grid": {"policy": ["fifo", "row-first"]},
    "ladder": {"field": "rows", "most": 64, "gain": 0.2},
}
BOTH = PRECISE | {"grid": {"policy": ["fifo"]}, "ladder": LADDER["ladder"]}
KINDS = {"fixed": FIXED, "precise": PRECISE, "ladder": LADDER, "both": BOTH}


def spec_of(data: dict[str, Any]) -> SweepSpec:
    return SweepSpec.model_validate({"scenario": "text_to_sql", **data})


def points_of(spec: SweepSpec) -> list[Point]:
    return [
        Point(number, dict.fromkeys(spec.fields, number), f"digest {number}")
        for number in range(spec.size)
    ]


def run_of(digest: str, seed: int) -> Run:
    """Figures that are a function of the run; a ladder saturates at its third rung."""
    number = int(digest.split()[1])
    noise = random.Random(f"{digest} {seed}").gauss(0, 1 + number % 3)
    speed = min(2.0 ** (number % 7), 4.0)
    return Run({"seed": seed, "makespan_s": 10 + noise, "rows_per_s": speed + noise / 100})


def done(spec: SweepSpec, points: list[Point], rng: random.Random) -> Made:
    """All runs, made in any order, by shards whose number changes, a few at a time."""
    runs: Made = {}
    while missing(spec, points, runs):
        count = rng.randint(1, 5)
        mine = missing(spec, points, runs, Shard(rng.randint(1, count), count))
        rng.shuffle(mine)
        for digest, seed in mine[: rng.randint(0, 9)]:
            runs.setdefault(digest, {})[seed] = run_of(digest, seed)
    return runs


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_order_shards_and_stops_give_the_same_files(kind: str, seed: int) -> None:
    spec = spec_of(KINDS[kind])
    points = points_of(spec)
    straight = done(spec, points, random.Random(0))
    other = done(spec, points, random.Random(seed))
    files = [derived_files(spec, point_runs(spec, points, one)) for one in (straight, other)]
    assert files[0] == files[1]
    # A run that nobody wants, as of a point that was taken away, changes nothing.
    more = other | {"digest 99": {0: run_of("digest 99", 0)}}
    assert derived_files(spec, point_runs(spec, points, more)) == files[0]


def test_shards_share_the_runs_out_and_lose_none() -> None:
    spec = spec_of(FIXED)
    points = points_of(spec)
    parts = [missing(spec, points, {}, Shard(index, 5)) for index in range(1, 6)]
    assert sorted(chain(*parts)) == sorted(missing(spec, points, {}))
    assert {len(part) for part in parts} <= {2, 3}


@pytest.mark.parametrize("kind", ["precise", "ladder", "both"])
def test_an_adaptive_point_lives_whole_in_one_shard(kind: str) -> None:
    spec = spec_of(KINDS[kind])
    points = points_of(spec)
    runs: Made = {}
    owner: dict[int, int] = {}
    while wanted := missing(spec, points, runs):
        for index in (1, 2):
            mine = missing(spec, points, runs, Shard(index, 2))
            for digest, seed in mine:
                unit = int(digest.split()[1]) * len(units(spec, points)) // len(points)
                assert owner.setdefault(unit, index) == index
                runs.setdefault(digest, {})[seed] = run_of(digest, seed)
        assert wanted


def test_runs_of_one_seed_stand_together() -> None:
    spec = spec_of(FIXED)
    found = missing(spec, points_of(spec), {"digest 1": {0: run_of("digest 1", 0)}})
    assert found[:3] == [("digest 0", 0), ("digest 2", 0), ("digest 0", 1)]


def test_a_precise_point_stops_at_the_first_look_that_is_enough() -> None:
    spec = spec_of(PRECISE)
    points = points_of(spec)
    for one in point_runs(spec, points, done(spec, points, random.Random(1))):
        mean = one.mean("makespan_s")
        assert mean is not None
        assert one.wanted == len(one.runs)
        assert one.wanted in (22, 28, 35, 40)
        values = [float(run.figures["makespan_s"] or 0) for run in one.runs.values()]
        assert (mean.relative or 0) <= 0.1 or one.wanted == 40
        sizes = [size for size in (10, 13, 17, 22, 28, 35) if size < one.wanted]
        looks = [mean_of(values[:size]) for size in sizes]
        assert not any(spec.stopping.is_enough(now, before) for before, now in pairwise(looks))


def test_a_ladder_ends_where_a_step_gains_too_little() -> None:
    spec = spec_of(LADDER)
    points = points_of(spec)
    runs = done(spec, points, random.Random(1))
    for place, end in enumerate(ladder_ends(spec, points, runs)):
        assert end is not None
        # The rungs are 1, 2, 4, 4, …: the fourth gains nothing, and that is shown.
        assert (end.point, end.why, end.shown) == (7 * place + 3, "gain", True)
        assert end.gain == pytest.approx(0, abs=0.02)
    assert [one.wanted for one in point_runs(spec, points, runs)] == [5, 5, 5, 5, 0, 0, 0] * 2


def end_of(spec: SweepSpec, speeds: dict[str, tuple[float, ...]]) -> LadderEnd:
    """Where the first ladder ends, given the rows per second of each run of its rungs."""
    runs = {
        digest: {seed: Run({"rows_per_s": speed}) for seed, speed in enumerate(values)}
        for digest, values in speeds.items()
    }
    assert spec.ladder is not None
    end = climb(spec, spec.ladder, units(spec, points_of(spec))[0], runs)[1]
    assert end is not None
    return end


def test_a_ladder_whose_last_step_is_within_the_noise_says_that_it_is_not_shown() -> None:
    spec = spec_of(LADDER | {"replications": 2})
    end = end_of(spec, {"digest 0": (1.0, 3.0), "digest 1": (2.9, 1.1)})
    assert (end.why, end.shown, end.gain) == ("gain", False, 0)


def test_what_a_step_gains_has_the_interval_of_a_share() -> None:
    # B is A and a hundredth of it: the difference varies with A, and its share does not.
    spec = spec_of(LADDER | {"replications": 3})
    end = end_of(spec, {"digest 0": (1.0, 2.0, 4.0), "digest 1": (1.01, 2.02, 4.04)})
    assert end.gain == pytest.approx(0.01)
    assert end.half_width == pytest.approx(0, abs=1e-9)
    assert end.shown


def test_a_ladder_of_what_is_better_when_lower_climbs_while_it_falls() -> None:
    ladder = LADDER["ladder"] | {"figure": "makespan_s", "better": "lower"}
    spec = spec_of(LADDER | {"replications": 1, "ladder": ladder})
    rungs = units(spec, points_of(spec))[0]
    runs = {f"digest {k}": {0: Run({"makespan_s": t})} for k, t in enumerate((9.0, 5.0, 4.9))}
    assert spec.ladder is not None
    end = climb(spec, spec.ladder, rungs, runs)[1]
    assert end is not None
    assert (end.point, end.why, end.shown) == (2, "gain", False)


def test_a_ladder_ends_at_a_rung_that_cannot_be_run() -> None:
    spec = spec_of(LADDER)
    rungs = units(spec, points_of(spec))[0]
    bad = [rungs[0], Point(1, {}, None, "too many"), *rungs[2:]]
    runs = {"digest 0": {seed: run_of("digest 0", seed) for seed in range(5)}}
    assert spec.ladder is not None
    found, end = climb(spec, spec.ladder, bad, runs)
    assert end is not None
    assert (end.point, end.why) == (1, "failed")
    assert [wish.size for wish in found] == [5, 0, 0, 0, 0, 0, 0]
    assert [wish.reached for wish in found] == [True, True] + [False] * 5


def test_a_rung_that_is_not_reached_may_be_one_that_cannot_be_run() -> None:
    spec = spec_of(LADDER | {"grid": {"policy": ["fifo"]}})
    points = points_of(spec)
    bad = [*points[:5], *(Point(one.number, one.fields, None, "too many") for one in points[5:])]
    made = point_runs(spec, bad, done(spec, bad, random.Random(1)))
    assert [one.reached for one in made] == [True] * 4 + [False] * 3
    assert not any(one.error for one in made)
    assert not any("too many" in str(text) for text in derived_files(spec, made).values())


def test_a_point_that_fails_has_no_mean_and_says_why() -> None:
    spec = spec_of(FIXED)
    points = [*points_of(spec)[:2], Point(2, {"rows": -1}, None, "s.yaml: rows: too few")]
    runs = done(spec, points, random.Random(2))
    runs["digest 1"][2] = Run({}, "SCHED-01: late", violated=True)
    good, broken, never = point_runs(spec, points, runs)
    assert good.mean("makespan_s") is not None
    assert (good.error, good.violated) == (None, False)
    assert broken.mean("makespan_s") is None
    assert (broken.error, broken.violated) == ("seed 2: SCHED-01: late", True)
    assert never.error == "s.yaml: rows: too few"
    files = derived_files(spec, [good, broken, never])
    lines = list(csv.DictReader(io.StringIO(str(files["summary.csv"]))))
    assert [(one["point"], one["runs"], one["error"]) for one in lines if one["error"]] == [
        ("1", "3", "seed 2: SCHED-01: late"),
        ("2", "0", "s.yaml: rows: too few"),
    ]
    of_runs = list(csv.DictReader(io.StringIO(str(files["runs.csv"]))))
    assert [(one["point"], one["seed"]) for one in of_runs][-5:] == [
        ("1", "0"),
        ("1", "1"),
        ("1", "2"),
        ("1", "3"),
        ("2", ""),
    ]


def test_a_precise_point_that_fails_is_not_tried_for_ever() -> None:
    spec = spec_of(PRECISE)
    points = points_of(spec)[:1]
    runs = {"digest 0": {seed: Run({}, "it may never end") for seed in range(10)}}
    assert missing(spec, points, runs) == []


def test_a_parquet_file_holds_the_table_of_the_csv_file() -> None:
    import pyarrow.parquet as parquet

    spec = spec_of(FIXED)
    points = points_of(spec)
    made = point_runs(spec, points, done(spec, points, random.Random(3)))
    files = derived_files(spec, made, parquet=True)
    assert files == derived_files(spec, made, parquet=True)
    for name in ("runs", "summary"):
        read: Any = parquet.ParquetFile
        content = files[f"{name}.parquet"]
        assert isinstance(content, bytes)
        table = read(io.BytesIO(content)).read().to_pylist()
        lines = list(csv.DictReader(io.StringIO(str(files[f"{name}.csv"]))))
        texts = [{k: "" if v is None else str(v) for k, v in one.items()} for one in table]
        assert texts == lines


def test_a_column_of_several_types_is_text_in_parquet() -> None:
    import pyarrow.parquet as parquet

    read: Any = parquet.ParquetFile
    content = parquet_bytes(["a", "b"], [{"a": 1, "b": 1}, {"a": "x", "b": 2.5}, {"a": True}])
    table = read(io.BytesIO(content)).read().to_pydict()
    assert table == {"a": ["1", "x", "true"], "b": [1, 2.5, None]}
