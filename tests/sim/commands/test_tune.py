"""``cellspec tune``: what it finds, what it says of it, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import yaml

from sim.cli import main
from sim.commands import tune
from sim.commands.progress import RunProgress
from sim.experiments.elimination import MOST_RUNS, PRECISION
from sim.experiments.intervals import paired
from sim.experiments.replication import replicate
from sim.experiments.tuned import GOALS
from sim.output.uncertain import apart
from sim.scenario.loader import ScenarioFile

SMALL: dict[str, Any] = {
    "name": "small",
    "rows": 24,
    "columns": [
        {"name": "topic", "traits": ["START", "ROW_STREAMABLE"]},
        {
            "name": "answer",
            "traits": ["CELL_BY_CELL"],
            "dependencies": ["topic"],
            "resource": "chat",
            "latency": {"model": "exponential", "mean_s": 2},
        },
    ],
    "limits": {"workers": 8, "resources": {"chat": 2}},
    "endpoints": {"chat": {"max_in_flight": 8}},
}

PAID: dict[str, Any] = SMALL | {
    "columns": [
        {
            "name": "answer",
            "traits": ["CELL_BY_CELL"],
            "resource": "chat",
            "latency": {
                "model": "request",
                "prompt_tokens": {"model": "constant", "value": 100},
                "output_tokens": {"model": "exponential", "mean": 100},
            },
        }
    ],
    "endpoints": {
        "chat": {
            "tpot_s": {1: 0.02, 8: 0.03},
            "max_in_flight": 8,
            "price": {"output_per_million": 5},
        }
    },
    "checkpoint": {"every_rows": 6},
    "crashes": [{"random": {"mean_s": 30}}],
    "restart_delay_s": 1,
    "redo": "fresh",
}


def write(folder: Path, data: dict[str, Any] = SMALL, **changes: Any) -> str:
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump({**data, **changes}, sort_keys=False), encoding="utf-8")
    return str(path)


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command: what it prints."""

    def run(*args: str, code: int = 0) -> str:
        found = main(["tune", *args])
        printed = capsys.readouterr()
        assert found == code, printed.err
        return printed.err if code else printed.out

    return run


def test_the_defaults_of_the_help_are_those_of_the_search() -> None:
    assert tuple(GOALS) == tune._GOALS
    assert (tune._PRECISION, tune._MOST) == (PRECISION, MOST_RUNS)


def test_a_terminal_shows_the_best_so_far_and_how_many_runs_are_left(
    tmp_path: Path, out: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[str, int]] = []
    monkeypatch.setattr(RunProgress, "say", lambda self, text: said.append((text, self.made)))
    out(write(tmp_path), "--goal", "throughput", "--over", "limits.resources.chat=6,7,8")
    (first, began), (second, made), *_, (last, _) = said
    assert first == "limits.resources.chat: 3 candidates"
    assert made == began + 30
    assert re.fullmatch(
        r"limits\.resources\.chat: [123] candidates? left, the best [\d.]+ ± [\d.]+", second
    )
    assert re.fullmatch(r"the winner: \d+ runs with fresh seeds", last)


def test_the_table_says_what_was_tried_and_the_command_that_runs_the_winner(
    tmp_path: Path, out: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path)
    text = out(path, "--goal", "throughput", "--set", "rows=30", "--over", "limits.resources.chat")
    assert "small: throughput (rows_per_s, more is better)" in text
    assert "4 settings tried, each on the seeds 0, 1, …\n" in text
    assert "out after 10 runs: −" in text
    assert "\n2 (as it is)  " in text
    assert "winner: limits.resources.chat=8\n" in text
    command = text.splitlines()[-1].strip()
    sets = "--set rows=30 --set limits.resources.chat=8"
    assert command == f"cellspec run {shlex.quote(path)} {sets}"
    assert main(shlex.split(command)[1:]) == 0
    assert "30 rows" in capsys.readouterr().out


def test_few_combinations_are_all_tried(tmp_path: Path, out: Any) -> None:
    options = ("--over", "limits.resources.chat=4,8", "--over", "policy=fifo,row-first")
    found = json.loads(out(write(tmp_path), "--goal", "throughput", *options, "--format", "json"))
    (stage,) = found["stages"]
    assert not found["one_field_at_a_time"]
    assert [one["candidate"] for one in stage["candidates"]] == [
        "4, fifo",
        "4, row-first",
        "8, fifo",
        "8, row-first",
    ]
    # Both policies are the same where nothing waits for a choice.
    assert found["winner"]["settings"] == {"limits.resources.chat": "8"}
    (beside,) = found["winner"]["not_told_apart"]
    assert beside["settings"] == {"limits.resources.chat": "8", "policy": "row-first"}
    worse = stage["candidates"][0]
    assert worse["out"]["reason"] == "worse"
    assert worse["out"]["against"]["difference"] < 0
    assert found["winner"]["difference"]["mean"] > found["winner"]["difference"]["half_width"]


def test_many_are_searched_one_field_at_a_time_until_nothing_changes(
    tmp_path: Path, out: Any
) -> None:
    path = write(
        tmp_path,
        endpoints={"chat": {"work": {1: 1, 4: 1, 8: 0.4}, "max_in_flight": 8}},
        batch_size=4,
    )
    many = ",".join(map(str, range(1, 9)))
    options = [f"limits.resources.chat={many}", f"limits.workers={many},16"]
    over = [word for one in options for word in ("--over", one)]
    found = json.loads(out(path, "--goal", "throughput", *over, "--format", "json", "--no-check"))
    assert found["one_field_at_a_time"]
    assert found["settled"]
    assert [(stage["cycle"], *stage["fields"]) for stage in found["stages"]] == [
        (1, "limits.resources.chat"),
        (1, "limits.workers"),
    ]
    # With more than 4 at once the endpoint slows down.
    assert found["winner"]["settings"] == {"limits.resources.chat": "4"}
    assert found["stages"][1]["with"] == {"limits.resources.chat": "4"}


def test_the_cheapest_within_a_time_is_found(tmp_path: Path, out: Any) -> None:
    path = write(tmp_path, PAID)
    options = ("--goal", "cost", "--over", "limits.resources.chat", "--format", "json")
    found = json.loads(out(path, *options, "--within", "makespan_s=0.4min", "--most", "30"))
    winner = found["winner"]
    assert winner["limits"][0]["most"] == 24
    assert winner["limits"][0]["mean"] < 24
    # One call at a time loses least to crashes, and takes too long.
    first = found["stages"][0]["candidates"][0]
    assert first["figure"]["mean"] < winner["figure"]["mean"]
    assert (first["out"]["reason"], first["out"]["limit"]) == ("limit", "makespan_s")


def test_a_limit_that_nothing_keeps_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, options = write(tmp_path), ("--goal", "throughput", "--over", "policy", "--most", "10")
    assert main(["tune", path, *options, "--within", "makespan_s=1s"]) == 3
    text = capsys.readouterr().out
    assert "run it" not in text
    assert "\nthe nearest, which breaks the limit:\n  cellspec run " in text
    assert "no candidate keeps the limits; the nearest: " in text
    assert " above 1; above it in 10 of 10 runs\n" in text
    assert "winner" not in text


def test_a_limit_that_nothing_keeps_is_said_where_the_winner_varies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its interval of 95 % over a few runs may hold a limit that it was put out for."""
    path = write(tmp_path, PAID)
    options = ("--goal", "throughput", "--within", "makespan_s=20s", "--over", "policy=fifo")
    assert main(["tune", path, *options, "--most", "60", "--format", "json"]) == 3
    found = json.loads(capsys.readouterr().out)
    (one,) = found["stages"][0]["candidates"]
    assert one["out"]["reason"] == "limit"
    assert found["winner"] is None
    assert not found["nearest"]["keeps_limits"]
    assert main(["tune", path, *options, "--most", "60"]) == 3
    assert "no candidate keeps the limits; the nearest: " in capsys.readouterr().out


def test_a_limit_that_the_winner_is_not_shown_to_keep_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, options = write(tmp_path), ("--goal", "throughput", "--over", "policy", "--most", "10")
    assert main(["tune", path, *options, "--format", "json"]) == 0
    mean = json.loads(capsys.readouterr().out)["winner"]["makespan_s"]["mean"]
    assert main(["tune", path, *options, "--within", f"makespan_s={mean}"]) == 3
    text = capsys.readouterr().out
    assert f"not shown to be within {mean:.4g}; above it in" in text
    assert "\nrun it, though it is not shown to keep the limit:\n  cellspec run " in text


def test_the_winner_is_run_again_with_seeds_that_chose_nothing(tmp_path: Path, out: Any) -> None:
    path = write(tmp_path)
    options = ("--goal", "throughput", "--over", "limits.resources.chat=2,8", "--most", "30")
    winner = json.loads(out(path, *options, "--format", "json"))["winner"]
    assert winner["first_seed"] == 30
    assert winner["figure"]["runs"] == 20
    own = ScenarioFile(Path(path))
    best = own.load({"limits.resources.chat": "8"})
    speeds = [
        (one.value("rows_per_s") or 0, other.value("rows_per_s") or 0)
        for seed in range(30, 50)
        for one, other in [(replicate(best, seed), replicate(own.load(), seed))]
    ]
    assert winner["figure"]["mean"] == pytest.approx(fmean(one for one, _ in speeds))
    assert winner["as_it_is"]["mean"] == pytest.approx(fmean(other for _, other in speeds))
    more = fmean(one - other for one, other in speeds)
    assert winner["difference"]["mean"] == pytest.approx(more)
    assert winner["difference"]["level"] == 0.95
    gain = paired([other for _, other in speeds], [one for one, _ in speeds])
    assert gain.relative_half_width is not None
    for name in ("relative", "relative_half_width"):
        assert winner["difference"][name] == pytest.approx(getattr(gain, name))
    took = fmean(replicate(best, seed).value("makespan_s") or 0 for seed in range(30, 50))
    assert winner["makespan_s"]["mean"] == pytest.approx(took)
    text = out(path, *options)
    assert "  on 20 runs with seeds that chose nothing, 30 to 49\n" in text
    size, half = apart(100 * (gain.relative or 0), 100 * gain.relative_half_width, 1)
    assert f"  difference  +{size} % ± {half} %\n" in text


def test_a_search_goes_on_beyond_an_end_that_is_the_best(tmp_path: Path, out: Any) -> None:
    path = write(tmp_path, endpoints={}, limits={"workers": 64, "resources": {"chat": 1}})
    options = ("--goal", "throughput", "--over", "limits.resources.chat", "--format", "json")
    found = json.loads(out(path, *options, "--no-check"))
    (stage,) = found["stages"]
    # To four times its own, and as far as twice is shown to be better: 24 rows, one call each.
    tried = [one["candidate"] for one in stage["candidates"]]
    assert tried[:5] == ["1", "2", "4", "8", "16"]
    assert int(found["winner"]["settings"]["limits.resources.chat"]) >= 16
    text = out(path, "--goal", "throughput", "--over", "limits.resources.chat=1,2,4")
    assert "winner: limits.resources.chat=4\n" in text


def test_workers_go_up_with_a_limit_of_which_nothing_more_is_said(tmp_path: Path, out: Any) -> None:
    path = write(tmp_path, limits={"workers": 3, "resources": {"chat": 2}})
    text = out(path, "--goal", "throughput", "--over", "limits.resources.chat")
    assert "\n8 (limits.workers=8)  " in text
    assert "winner: limits.resources.chat=8, limits.workers=8\n" in text
    text = out(
        path, "--goal", "throughput", "--over", "limits.resources.chat", "--set", "limits.workers=3"
    )
    assert "winner: limits.resources.chat=3\n" in text


def test_a_value_that_too_few_workers_keep_from_any_effect_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path)
    options = ("--goal", "throughput", "--over", "limits.resources.chat=8,20,30", "--most", "2")
    assert main(["tune", path, *options]) == 0
    said = capsys.readouterr().err
    for value in (20, 30):
        assert f"limits.resources.chat: {value} is never reached with 8 workers\n" in said
    assert "chat: 8 is" not in said


def test_a_later_pass_keeps_what_an_earlier_one_gained(tmp_path: Path, out: Any) -> None:
    """Workers do not show in the few runs of a pass, and were chosen in more of them before."""
    path = write(
        tmp_path,
        {
            "name": "line",
            "rows": 100,
            "columns": [
                {"name": "a", "traits": ["START"], "latency": {"model": "constant", "value_s": 10}}
            ],
            "limits": {"workers": 1},
            "checkpoint": {"every_rows": 80, "write_s": 30, "blocking": True},
            "crashes": [{"random": {"mean_s": 1200, "count": 1000}}],
            "restart_delay_s": 60,
        },
    )
    options = ("--goal", "first-rows", "--most", "40", "--format", "json", "--no-check")
    found = json.loads(out(path, *options))
    tried = [
        (one["settings"], one["figure"]["mean"])
        for stage in found["stages"]
        for one in stage["candidates"]
        if one["figure"]["runs"] == 40
    ]
    held = [stage["held_against"] for stage in found["stages"] if stage["held_against"]]
    assert held
    assert all(one["difference"] >= 0 for one in held)
    winner = found["winner"]["settings"]
    (mean,) = {mean for settings, mean in tried if settings == winner}
    assert mean == min(mean for _, mean in tried)


def test_without_a_winner_the_output_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = {"default": {"permanent": 1.0}, "max_attempts": 1}
    path = write(tmp_path, failures=failing)
    assert main(["tune", path, "--goal", "first-rows", "--over", "policy"]) == 3
    text = capsys.readouterr().out
    assert "\nfifo (as it is)    10 " in text
    assert "out after 10 runs: a run has no first_row_s\n" in text
    assert text.endswith(
        "\nno winner: no candidate has every figure that is asked for in each of its runs\n"
    )
    assert main(["tune", path, "--goal", "first-rows", "--over", "policy", "--format", "json"]) == 3
    assert json.loads(capsys.readouterr().out)["winner"] is None


def test_the_loss_to_crashes_and_the_first_rows_are_goals(tmp_path: Path, out: Any) -> None:
    path = write(tmp_path, PAID)
    few = ("--over", "checkpoint.every_rows=1,24", "--format", "json")
    found = json.loads(out(path, "--goal", "loss", *few))
    assert found["figure"] == "busy_lost_share"
    assert found["winner"]["settings"] == {"checkpoint.every_rows": "1"}
    found = json.loads(out(path, "--goal", "first-rows", *few))
    assert found["figure"] == "first_row_s"


def test_formulas_stand_beside_the_winner_and_are_tried(tmp_path: Path, out: Any) -> None:
    path = write(
        tmp_path,
        {
            "name": "line",
            "rows": 60,
            "columns": [
                {"name": "a", "traits": ["START"], "latency": {"model": "constant", "value_s": 10}}
            ],
            "limits": {"workers": 1},
            "checkpoint": {"every_rows": 40, "write_s": 30, "blocking": True},
            "crashes": [{"random": {"mean_s": 1200}}],
        },
    )
    text = out(path, "--goal", "throughput", "--over", "checkpoint.every_rows", "--most", "10")
    assert "\nYoung 1974           268.3  26.83\nDaly 2006            248.7  24.87\n" in text
    assert "\n25 " in text
    assert "\n27 " in text
    # With values of the command line these alone are tried.
    text = out(path, "--goal", "throughput", "--over", "checkpoint.every_rows=30,40", "--most", "5")
    assert "\n27 " not in text
    assert "Young 1974" in text


def test_a_barrier_that_reads_the_dataset_keeps_it(tmp_path: Path, out: Any) -> None:
    """And does not where its author allows it."""
    columns = [
        *SMALL["columns"],
        {"name": "check", "traits": ["BARRIER"], "dependencies": ["answer"]},
    ]
    path = write(tmp_path, SMALL, columns=columns, batch_size=6)
    text = out(path, "--goal", "first-rows", "--most", "10")
    assert "not searched: barrier_scope=batch: 'check', declared BARRIER, would read a b" in text
    refused = out(path, "--goal", "first-rows", "--over", "barrier_scope=batch", code=2)
    assert (
        "--over barrier_scope=batch: 'check' would read 6 rows at a time and not all 24" in refused
    )
    allowed = ("--allow-batch-scope", "check", "--over", "barrier_scope", "--most", "10")
    text = out(path, "--goal", "first-rows", *allowed)
    assert "winner: barrier_scope=batch\n" in text


def test_a_pipeline_beside_is_run_with_it(tmp_path: Path, out: Any) -> None:
    night = {**SMALL, "name": "night"}
    del night["endpoints"]
    path = write(tmp_path, SMALL, beside=[night])
    options = ("--over", "limits.resources.chat=2,4", "--format", "json")
    found = json.loads(out(path, "--goal", "throughput", *options))
    assert found["figure"] == "pipeline.small.rows_per_s"
    assert found["winner"]["settings"] == {"limits.resources.chat": "4"}


def test_the_output_is_the_same_for_any_number_of_jobs(tmp_path: Path, out: Any) -> None:
    options = ("--goal", "throughput", "--over", "limits.resources.chat=2,4", "--format", "json")
    args = (write(tmp_path), *options)
    assert out(*args) == out(*args, "--jobs", "2")


def test_csv_has_a_line_for_each_candidate(tmp_path: Path, out: Any) -> None:
    options = ("--goal", "throughput", "--over", "limits.resources.chat=2,4", "--format", "csv")
    lines = list(csv.DictReader(io.StringIO(out(write(tmp_path), *options))))
    assert [(line["candidate"], line["chosen"], line["out"]) for line in lines] == [
        ("2", "False", "worse"),
        ("4", "True", ""),
    ]
    assert float(lines[0]["mean"]) < float(lines[1]["mean"])


GIVEN = ("--goal", "throughput")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--goal", "cost"), "cost: no endpoint states a price"),
        (("--goal", "loss"), "loss: no crash strikes the scenario"),
        ((*GIVEN, "--within", "makespan_s"), "--within: expected FIGURE=MOST"),
        ((*GIVEN, "--within", "makespan_s=-1"), "--within: expected FIGURE=MOST"),
        ((*GIVEN, "--within", "makespan_s=6 hours"), "--within: expected FIGURE=MOST"),
        ((*GIVEN, "--within", "cost=1"), "cost: no endpoint states a price"),
        ((*GIVEN, "--within", "makespan=6h"), "'makespan'; did you mean 'makespan_s'?"),
        ((*GIVEN, "--within", "rows_dropped=6h"), "rows_dropped is no time, and has no 'h'"),
        ((*GIVEN, "--within", "rows_per_s=6h"), "rows_per_s is no time, and has no 'h'"),
        ((*GIVEN, "--within", "makespan_s=6%"), "makespan_s is a time in seconds, and has no '%'"),
        ((*GIVEN, "--over", "limits.resources.chats=1,2"), "'chats'; did you mean 'chat'?"),
        ((*GIVEN, "--over", "limits.resources.x=1,2"), "takes 'x'; columns take: 'chat'"),
        ((*GIVEN, "--most", "1"), "a whole number from 2, as a single run has no interval, got"),
        ((*GIVEN, "--within", "makespan=9"), "'makespan'; did you mean 'makespan_s'?"),
        (
            (*GIVEN, "--within", "verdict=9"),
            "verdict is 'every event satisfied the specification', and no number",
        ),
        ((*GIVEN, "--over", "polcy"), "'polcy' has no usual values here; did you mean 'policy'?"),
        ((*GIVEN, "--over", "policy", "--over", "policy=fifo"), "policy is given twice"),
        ((*GIVEN, "--over", "policy=fifi"), "--over policy: policy: expected 'fifo'"),
        (
            (*GIVEN, "--over", "limits.resources.chat=0"),
            "--over limits.resources.chat: limits.resources.chat: exp",
        ),
        ((*GIVEN, "--allow-batch-scope", "answer"), "'answer' is no barrier that reads the data"),
        ((*GIVEN, "--precision", "2"), "expected a share above 0 and below 1"),
        ((*GIVEN, "--set", "policy"), "--set: expected FIELD=VALUE"),
        ((*GIVEN, "--set", "seed=4"), "--set seed: it would change nothing"),
        (("--goal", "speed"), "invalid choice"),
        ((), "--goal"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    tmp_path: Path, out: Any, options: tuple[str, ...], message: str
) -> None:
    said = out(write(tmp_path), *options, code=2)
    assert said.count("\n") == 1
    assert said.startswith("error: ")
    assert message in said


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("6h", 21600.0),
        ("90m", 5400.0),
        ("2min", 120.0),
        ("1.5d", 129600.0),
        ("250ms", 0.25),
        ("30s", 30.0),
        ("30", 30.0),
        ("2%", 0.02),
        ("25", 25.0),
        ("0", None),
        ("inf", None),
        ("nan", None),
        ("", None),
    ],
)
def test_a_limit_has_a_unit(text: str, value: float | None) -> None:
    found = tune._amount(text)
    assert found == (None if value is None else pytest.approx(value))
