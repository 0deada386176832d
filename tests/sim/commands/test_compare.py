"""``cellspec compare``: the words of a comparison, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sim.cli import main
from sim.experiments.compared import compared
from sim.experiments.intervals import paired
from sim.experiments.stopping import MOST_RUNS
from sim.output.compare import gain_words, verdict_words
from tests.sim.experiments.test_compared import runs
from tests.sim.experiments.test_replicated import FIXED
from tests.sim.experiments.test_replication import BESIDE, SMALL


class Done(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(SMALL)
    return "a.yaml"


@pytest.fixture
def compare(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> Done:
        code = main(["compare", *arguments])
        return Done(code, *capsys.readouterr())

    return run


def test_a_scenario_is_identical_to_a_copy(small: str, compare: Run) -> None:
    Path("b.yaml").write_text(
        SMALL.replace("name: small", "name: other\ndescription: a copy\nseed: 8", 1)
    )
    done = compare(small, "b.yaml", "--replications", "4")
    assert done.code == 0
    assert done.out == (
        "A  a.yaml\n"
        "B  b.yaml\n"
        "4 pairs of runs on common random numbers: seeds 0 to 3\n"
        "\n"
        "identical: all 44 figures are equal in each of 4 pairs; A and B are the same scenario\n"
        "\n"
        "every event satisfied the specification\n"
    )
    assert "8 runs" in done.err or "runs/s" in done.err


def test_the_table_says_what_differs_by_how_much_and_how_sure(small: str, compare: Run) -> None:
    options = ("--replications", "12", "--set-b", "limits.resources.chat=5")
    done = compare(small, *options)
    lines = done.out.splitlines()
    assert lines[:5] == [
        "A  a.yaml",
        "B  a.yaml, limits.resources.chat=5",
        "12 pairs of runs on common random numbers: seeds 0 to 11",
        "setting limits.resources.chat: A 4, B 5",
        "",
    ]
    assert lines[5].startswith("makespan_s: B lower by ")
    figures = json.loads(compare(small, *options, "--format", "json").out)
    one = of(figures, "makespan_s")
    share, half = 100 * -one["relative"], 100 * one["relative_half_width"]
    assert f"B lower by {share:.0f} % ± {half:.0f} %; gain {one['gain']:.0f} x" in lines[5]
    header, first, *_ = lines[7:]
    assert header.split() == ["figure", "A", "B", "B", "-", "A", "±", "gain", "verdict"]
    a, b, difference = (one[name]["mean"] for name in ("a", "b", "difference"))
    half = one["difference"]["half_width"]
    words = first.split()
    assert words[:5] == ["makespan_s", *(f"{x:.2f}" for x in (a, b, difference, half))]
    assert any(line.startswith("identical: ") and " rows_delivered" in line for line in lines)
    assert "for each figure by itself;" in done.out
    assert "--format json, or csv" in done.out
    assert done.out.endswith("\nevery event satisfied the specification\n")


def of(data: dict[str, Any], figure: str) -> dict[str, Any]:
    (found,) = [one for one in data["figures"] if one["figure"] == figure]
    return dict(found)


def test_json_and_csv_hold_the_paired_runs(small: str, compare: Run) -> None:
    options = (small, "--replications", "5", "--set-b", "limits.resources.chat=5")
    data = json.loads(compare(*options, "--format", "json", "--out", "out").out)
    runs = list(csv.DictReader(io.StringIO(Path("out/runs.csv").read_text())))
    assert [(run["scenario"], run["seed"]) for run in runs] == [
        (letter, str(seed)) for letter in "AB" for seed in range(5)
    ]
    for name in ("makespan_s", "resource.chat.utilisation"):
        a, b = ([float(run[name]) for run in runs if run["scenario"] == x] for x in "AB")
        found, one = paired(a, b), of(data, name)
        assert one["difference"]["mean"] == found.difference.mean
        assert one["difference"]["half_width"] == found.difference.half_width
        assert one["relative_half_width"] == found.relative_half_width
        assert one["gain"] == found.gain
    assert (data["pairs"], data["level"], data["common_random_numbers"]) == (5, 0.95, True)
    sheet = compare(*options, "--format", "csv").out
    lines = list(csv.DictReader(io.StringIO(sheet)))
    assert [line["figure"] for line in lines] == [one["figure"] for one in data["figures"]]
    for line, one in zip(lines, data["figures"], strict=True):
        assert line["verdict"] == one["verdict"]
        if "difference" in one:
            assert float(line["difference"]) == one["difference"]["mean"]
            assert float(line["half_width"]) == one["difference"]["half_width"]
    assert Path("out/comparison.csv").read_text() == sheet
    assert json.loads(Path("out/comparison.json").read_text()) == data


def test_the_folder_gives_the_same_again(small: str, compare: Run) -> None:
    options = ("--replications", "3", "--format", "csv")
    sets = ("--set", "rows=9", "--set-b", "limits.resources.chat=2")
    first = compare(small, *sets, *options, "--out", "out").out
    names = ["a.yaml", "b.yaml", "comparison.csv", "comparison.json", "manifest.json", "runs.csv"]
    assert sorted(path.name for path in Path("out").iterdir()) == names
    manifest = json.loads(Path("out/manifest.json").read_text())
    assert (manifest["pairs"], manifest["first_seed_b"], manifest["checked"]) == (3, 0, True)
    assert manifest["scenario_digest_a"] != manifest["scenario_digest_b"]
    assert compare("out/a.yaml", "out/b.yaml", *options).out == first
    assert compare(small, *sets, *options, "--jobs", "2").out == first


def test_a_precision_says_what_was_reached(small: str, compare: Run) -> None:
    sets = (small, "--set-b", "limits.resources.chat=5")
    done = compare(*sets, "--precision", "20%")
    assert "22 pairs" in done.out
    assert "\nprecision: 20 % of A's mean wished, " in done.out
    assert "at the cap" not in done.out
    done = compare(*sets, "--precision", "0.01%", "--most", "11")
    assert "11 pairs" in done.out
    assert "\nprecision: 0.01 % of A's mean wished, " in done.out
    assert re.search(r" % reached, at the cap; --most [\d,]+00 may be enough\n", done.out)
    options = ("--precision", "0.01%", "--most", "11", "--format", "json")
    data = json.loads(compare(*sets, *options).out)
    assert data["precision"] == {"half_width": 0.0001, "most_runs": 11, "met": False}
    assert MOST_RUNS == 1000


def test_no_precision_is_a_share_of_zero(small: str, compare: Run) -> None:
    given = ("--set", "redo=same", "--set-b", "crashes=[{at_time_s: 10}]", "--figure", "crashes")
    done = compare(small, *given, "--precision", "5%", "--most", "10")
    assert "\ncrashes: B higher by " in done.out
    assert "\nprecision: 5 % of A's mean wished, which is 0\n" in done.out


def test_independent_runs_are_said_to_be_so(small: str, compare: Run) -> None:
    done = compare(small, small, "--independent", "--replications", "10")
    assert (
        "10 pairs of independent runs: seeds 0 to 9 of A, 1,000,000 to 1,000,009 of B" in done.out
    )
    assert "makespan_s: no difference shown (-" in done.out
    assert "\nA and B are the same scenario: whatever differs is chance\n" in done.out
    (headline,) = [line for line in done.out.splitlines() if line.startswith("makespan_s: ")]
    assert " gain " not in headline
    data = json.loads(
        compare(small, small, "--independent", "--replications", "10", "--format", "json").out
    )
    assert (data["common_random_numbers"], data["first_seed_b"]) == (False, 1_000_000)


def test_the_seed_of_the_first_pair_can_be_given(small: str, compare: Run) -> None:
    sets = (small, "--set-b", "limits.resources.chat=5", "--replications", "4", "--format", "csv")
    # The same runs, from another place on.
    assert compare(*sets, "--out", "first").code == compare(*sets, "--seed", "2", "--out", "l").code
    first, later = (Path(folder, "runs.csv").read_text().splitlines() for folder in ("first", "l"))
    assert first[3:5] == later[1:3]
    done = compare(small, small, "--seed", "2", "--independent", "--replications", "3")
    assert "seeds 2 to 4 of A, 1,000,002 to 1,000,004 of B" in done.out
    given = ("--seed", "2", "--replications", "3", "--format", "json")
    data = json.loads(compare(small, small, *given).out)
    assert (data["first_seed_a"], data["first_seed_b"]) == (2, 2)
    assert data["identical"]
    assert data["same_scenario"]


def test_a_crash_of_the_command_line_is_in_every_run_of_both(small: str, compare: Run) -> None:
    given = ("--set-b", "limits.resources.chat=5", "--set", "redo=same", "--replications", "3")
    data = json.loads(compare(small, *given, "--crash-at", "4s", "--format", "json").out)
    crashes = of(data, "crashes")
    assert (crashes["a"]["mean"], crashes["b"]["mean"]) == (1, 1)
    done = compare(small, *given, "--crash-at", "100000s")
    late = "crashes: not all of them came in 3 of 3 runs; --seed 0 of `"
    assert f"note: a.yaml: {late}" in done.err
    assert f"note: a.yaml, limits.resources.chat=5: {late}" in done.err


def test_scenarios_without_draws_say_so(small: str, compare: Run) -> None:
    Path("fixed.yaml").write_text(FIXED)
    done = compare("fixed.yaml", "--set-b", "rows=6", "--replications", "3")
    assert "\nevery pair has the same figures: no draw of A or B depends on the seed\n" in done.out
    assert re.search(r"^rows_delivered +4 +6 +2 +0 +– ", done.out, re.MULTILINE)
    done = compare(small, "--set-b", "rows=6", "--replications", "3")
    assert "every pair has" not in done.out


def test_another_figure_has_the_headline(small: str, compare: Run) -> None:
    sets = (small, "--set-b", "limits.resources.chat=5", "--replications", "6")
    done = compare(*sets, "--figure", "resource.chat.mean_wait_s")
    headline, _, _, first, *_ = done.out.splitlines()[5:]
    assert headline.startswith("resource.chat.mean_wait_s: B lower by ")
    assert first.startswith("resource.chat.mean_wait_s ")


def test_scenarios_with_other_parts_say_what_only_one_has(small: str, compare: Run) -> None:
    # It has the busier resource.
    Path("b.yaml").write_text(SMALL.replace("chat: 4", "chat: 2").replace("chat", "big"))
    done = compare(small, "b.yaml", "--replications", "3")
    assert "only in A: resource.chat (15 figures)\nonly in B: resource.big (15 figures)" in done.out
    assert "identical" not in done.out.splitlines()[4]
    done = compare("b.yaml", small, "--replications", "3")
    assert done.code == 0
    assert "only in A: resource.big (15 figures)\nonly in B: resource.chat (15 figures)" in done.out


def test_a_pipeline_alone_is_compared_with_itself_beside_others(
    small: str,
    compare: Run,
) -> None:
    Path("b.yaml").write_text(BESIDE)
    done = compare("b.yaml", small, "--replications", "2")
    assert re.search(r"^pipeline\.day\.makespan_s +[\d.]+ +[\d.]+ ", done.out, re.MULTILINE)
    assert "only in B" not in done.out
    assert "pipeline.fixed" not in done.out.partition("only in A")[0]
    other = compare(small, "b.yaml", "--replications", "2")
    assert re.search(r"^pipeline\.\w+\.makespan_s +[\d.]+ +[\d.]+ ", other.out, re.MULTILINE)
    assert "only in A" not in other.out
    done = compare(small, "b.yaml", "--replications", "2", "--figure", "first_row_s")
    assert done.code == 2
    assert "did you mean 'pipeline.small.first_row_s'?" in done.err


def test_what_only_one_has_is_counted_by_pipeline(small: str, compare: Run) -> None:
    Path("b.yaml").write_text(BESIDE)
    done = compare("b.yaml", small, "--replications", "2")
    assert re.search(r"^only in A: .*pipeline\.night \(\d+ figures\)", done.out, re.MULTILINE)
    assert "pipeline.night.resource" not in done.out


def test_a_figure_that_runs_lack_is_said(small: str, compare: Run) -> None:
    fails = "failures: {max_attempts: 1, by_resource: {chat: {permanent: %s}}}\n"
    Path("a.yaml").write_text(SMALL.replace("rows: 20", "rows: 2") + fails % 0.4)
    done = compare(small, "--figure", "first_row_s", "--set-b", "rows=1", "--replications", "12")
    assert "first_row_s: " in done.out
    assert " of 12 runs of B have none" in done.out.splitlines()[5]


def test_pipelines_beside_each_other_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compare: Run
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(BESIDE)
    done = compare("a.yaml", "--set-b", "name=other", "--replications", "2")
    assert "\nidentical: all " in done.out
    assert done.err.count("beside 'fixed': it states seed 7") == 1
    done = compare("a.yaml", "--set-b", "beside.night.rows=20", "--replications", "4")
    assert "pipeline.night.makespan_s" in done.out
    assert "pipeline.fixed.makespan_s" in done.out
    assert "setting beside.night.rows: A 10, B 20" in done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.yaml"], "a.yaml: expected a second scenario to compare it with, or --set-b FIELD=VAL"),
        (["a.yaml", "b.yaml"], "b.yaml: cannot be read: No such file or directory"),
        (["a.yaml", "--set-b", "rows"], "argument --set-b: expected FIELD=VALUE, got 'rows'"),
        (["a.yaml", "--set-b", "rows=0"], "a.yaml: --set-b rows: rows: expected"),
        (["a.yaml", "--set", "rows=0", "--set-b", "rows=1"], "a.yaml: --set rows: rows: expected"),
        (
            ["a.yaml", "--set-b", "seed=1"],
            "--set-b seed: it would change nothing, for the runs",
        ),
        (["a.yaml", "a.yaml", "--set", "seed = 1"], "--set seed: it would change nothing"),
        (["a.yaml", "a.yaml", "--crash-at", "soon"], "argument --crash-at: expected"),
        (["a.yaml", "a.yaml", "--replications", "1"], "--replications: expected at least 2 pairs"),
        (["a.yaml", "a.yaml", "--precision", "1%", "--most", "1"], "--most: expected at least 2"),
        (["a.yaml", "a.yaml", "--most", "9"], "--most: it caps the runs of --precision"),
        (["a.yaml", "a.yaml", "--precision", "2"], "argument --precision: expected a share"),
        (
            ["a.yaml", "a.yaml", "--independent", "--replications", "1000001"],
            "--replications: expected at most 1,000,000 with --independent, got 1,000,001",
        ),
        (["a.yaml", "a.yaml", "--figure", "makespan"], "did you mean 'makespan_s'?"),
        (["a.yaml", "a.yaml", "--out", "a.yaml"], "a.yaml: expected a folder, but it is no folder"),
        (["a.yaml", "a.yaml", "--out", "."], "a.yaml: cannot be written: it is what is read"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_bad_input_is_one_line(
    small: str,  # noqa: ARG001 - its folder
    compare: Run,
    arguments: list[str],
    said: str,
) -> None:
    done = compare(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert said in done.err
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1


def test_a_difference_that_is_not_shown_has_zero_in_its_range() -> None:
    # Of B, a share of A, the share is known better than the difference.
    a = runs(*({"x": value} for value in (1.0, 1.0, 2.0, 40.0)))
    b = runs(*({"x": value / 2} for value in (1.0, 1.0, 2.0, 40.0)))
    one = compared(a, b).of("x")
    assert verdict_words(one, 4) == "no difference shown (-190 % to 90 %)"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([(10.0, 9.0), (12.0, 11.0), (11.0, 10.2)], "B lower by 8 % ± 3 %"),
        ([(0.0, 9.0), (0.0, 9.5), (0.0, 10.0)], "B higher by 10 ± 1"),
        ([(10.0, 11.0), (10.0, 11.0)], "B higher by 10 % ± 0 %"),
        # A's mean is known so badly that the share says nothing of what the difference shows.
        ([(1.0, 5.0), (5.0, 8.2), (9.0, 12.9)], "B higher by 4 ± 1"),
        # With fewer digits they would look alike.
        ([(100.0, 102.5), (100.0, 104.0), (100.0, 105.5)], "B higher by 4.0 % ± 3.7 %"),
        ([(0.0, 0.0), (0.0, 0.0)], "identical"),
        ([(None, 1.0), (None, 1.0), (3.0, None)], "2 of 3 runs of A have none; 1 of 3 runs of B"),
        ([(None, None), (None, None)], "identical"),
    ],
)
def test_a_verdict_has_the_digits_of_its_interval(
    values: list[tuple[float | None, float | None]], words: str
) -> None:
    a, b = (runs(*({"x": pair[side]} for pair in values)) for side in (0, 1))
    assert verdict_words(compared(a, b).of("x"), len(values)).startswith(words)


def test_a_gain_is_said_with_two_digits() -> None:
    said = [gain_words(gain) for gain in (0.94, 2.04, 35.4, 1234.0, 1e9)]
    assert said == ["0.9 x", "2.0 x", "35 x", "1,200 x", "> 1,000,000 x"]
