"""The page of a sweep: numbers as in its summary, and the charts that its fields support."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from html import unescape
from math import sqrt
from pathlib import Path
from statistics import stdev
from xml.etree import ElementTree

import pytest
import yaml

from sim.cli import main
from sim.experiments.intervals import mean_of, paired
from sim.output.report import scale
from sim.output.report.charts import Dots, Line
from sim.output.report.plots import FORMATS, plots
from sim.output.report.scale import measured
from sim.output.report.sweep_charts import against_best, best_point, charts_of_sweep
from sim.output.report.sweep_folder import Cell, SweepPoint, SweepTables, read_sweep
from tests.sim.output.report.sweeps import SCENARIO, sweep

GPU, SAVED = "limits.resources.gpu", "checkpoint.every_rows"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    grid = {GPU: [1, 4, 16], SAVED: [2, 12], "policy": ["fifo", "row-first"]}
    return sweep(tmp_path_factory.mktemp("swept"), grid=grid, replications=3)


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Throughput alone: without crashes, to saturation."""
    fixed = {"crashes": [], "rows": 64}
    return sweep(tmp_path_factory.mktemp("ladder"), set=fixed, grid={GPU: [1, 2, 4, 8, 16, 32]})


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Throughput of two series."""
    grid = {GPU: [1, 4, 16, 32], "policy": ["fifo", "row-first"]}
    return sweep(tmp_path_factory.mktemp("several"), set={"crashes": [], "rows": 64}, grid=grid)


@pytest.fixture(scope="module")
def page(out: Path) -> str:
    assert main(["report", str(out)]) == 0
    return (out / "report.html").read_text(encoding="utf-8")


def summary(folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    """Of each point and figure its line."""
    with (folder / "summary.csv").open(encoding="utf-8", newline="") as file:
        return {(line["point"], line["figure"]): line for line in csv.DictReader(file)}


def table(page: str, title: str) -> list[list[str]]:
    """The rows of a table, each cell as HTML; the first row are the labels."""
    part = page.partition(f"<h2>{title}</h2>")[2].partition("</section>")[0]
    return [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in part.split("<tr>")[1:]]


def test_each_number_of_a_point_is_the_one_of_the_summary(page: str, out: Path) -> None:
    known = summary(out)
    labels, *rows = table(page, "Points")
    assert labels[:5] == ["point", GPU, SAVED, "policy", "runs"]
    assert {"makespan_s", "rows_per_s", "cost", "busy_lost_s"} <= set(labels)
    assert len(rows) == 12
    for row in rows:
        for name, cell in zip(labels[5:], row[5:], strict=True):
            line = known[row[0], name]
            values = re.findall(r'<data value="([^"]*)">([^<]*)</data>', cell)
            assert [exact for exact, _ in values] == [line["mean"], line["half_width"]]
            for exact, shown in values:
                assert float(shown.replace(",", "")) == pytest.approx(float(exact), rel=0.006)
            assert row[1:5] == [*(line[f"field.{x}"] for x in labels[1:4]), line["runs"]]


def test_charts_show_the_numbers_of_the_summary(page: str, out: Path) -> None:
    known = summary(out)
    titles = [unescape(title) for title in re.findall(r"<title>(.*?)</title>", page)]
    said = [
        (number, figure, mean, half)
        for title in titles
        for number, figure, mean, half in re.findall(
            r"^point (\d+) .*: (\w+) (\S+) ± (\S+)$", title
        )
    ]
    # Throughput by one limit, and makespan by two fields.
    assert len(said) == 3 * 12
    for number, figure, mean, half in said:
        line = known[number, figure]
        assert (mean, half) == (line["mean"], line["half_width"])


def test_fields_decide_which_charts_there_are(page: str) -> None:
    assert re.findall(r"<h3>(.*?)</h3>", page) == [
        f"Throughput by {GPU}",
        f"Makespan by {GPU}",
        f"Makespan by {SAVED}",
        "Makespan against cost",
        "Paired differences from the best point",
    ]
    labels = set(re.findall(r'class="label">([^<]+)<', page))
    # The slowest of them takes far longer than the rest.
    assert {"throughput, rows/s", "makespan, s (log)", "cost, money of the scenario"} <= labels
    assert {f"{GPU}, calls at once (log)", f"{SAVED}, rows"} <= labels
    assert any(one.startswith("makespan more than the best, s (log beyond ") for one in labels)
    assert "policy=fifo" in page


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A field that is no number."""
    fields = {"grid": {"policy": ["fifo", "row-first"]}, "set": {"endpoints.gpu.price": {}}}
    return sweep(tmp_path_factory.mktemp("words"), **fields)


def test_a_sweep_of_words_has_differences_and_no_axis(words: Path) -> None:
    tables = read_sweep(words)
    keys = [chart.key for chart in charts_of_sweep(tables, against_best(tables))]
    assert keys == ["differences"]


def test_random_points_are_dots_without_lines(tmp_path: Path) -> None:
    fields = {
        "limits.workers": {"from": 2, "to": 64, "whole": True},
        GPU: {"from": 1, "to": 16, "whole": True},
    }
    folder = sweep(tmp_path, random={"points": 8, "seed": 1, "fields": fields}, replications=2)
    assert main(["report", str(folder)]) == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("Each dot is a point of the sweep; the other fields vary too.") == 4
    assert "N · X₁" not in page.partition("Paired differences")[0].replace("N · X₁,", "")


def test_throughput_has_both_bounds_and_their_knee(ladder: Path) -> None:
    tables = read_sweep(ladder)
    chart = charts_of_sweep(tables, [])[0]
    names = [layer.name for layer in chart.legend()]
    assert names == ["N · X₁", "Xmax", "knee, with its interval", "mean, with its interval"]
    (said,) = chart.says
    # Eight calls are served at once: so many times the throughput of one, when all is full.
    known = summary(ladder)
    each, most = (float(known[place, "rows_per_s"]["mean"]) for place in ("0", "3"))
    halves = [float(known[place, "rows_per_s"]["half_width"]) for place in ("0", "3")]
    numbers = re.findall(r"X₁ = (\S+) ± (\S+) rows/s, Xmax = (\S+) ± (\S+) rows/s", said)
    assert [float(x) for x in numbers[0]] == pytest.approx(
        [each, halves[0], most, halves[1]], rel=0.01
    )
    ((knee, half),) = re.findall(r"bounds meet at (\S+) ± (\S+) calls at once, the knee", said)
    assert float(knee) == pytest.approx(most / each, rel=0.01)
    assert most / each == pytest.approx(8, rel=0.2)
    # The interval of a ratio of two means over the same seeds.
    runs = read_sweep(ladder).points
    low, high = ([run["rows_per_s"] for run in runs[k].by_seed.values()] for k in (0, 3))
    rest = [b - most / each * a for a, b in zip(low, high, strict=True)]
    expected = 2.5706 * stdev(rest) / sqrt(len(rest)) / each
    assert float(half) == pytest.approx(expected, rel=0.01)


def point(number: int, calls: int, rates: list[float], policy: str = "fifo") -> SweepPoint:
    """A point by its throughput, run by run; a run takes as long as 100 rows do."""
    runs = {k: {"rows_per_s": rate, "makespan_s": 100 / rate} for k, rate in enumerate(rates)}
    figures = {}
    for name in ("rows_per_s", "makespan_s"):
        found = mean_of([run[name] for run in runs.values()])
        figures[name] = Cell(str(found.mean), str(found.half_width))
    return SweepPoint(number, {GPU: str(calls), "policy": policy}, len(rates), "", figures, runs)


def tables_of(rates: dict[int, list[float]]) -> SweepTables:
    points = tuple(point(k, calls, runs) for k, (calls, runs) in enumerate(rates.items()))
    return SweepTables(Path("out"), "made", (GPU, "policy"), points)


NOISE = [0.5, 0.8, 1.0, 1.3, 1.6]
"""Of each seed, in every point alike: its crashes fall well or badly."""


def by_noise(rate: float, more: float) -> list[float]:
    return [rate * by + more * (k % 2) for k, by in enumerate(NOISE)]


def test_the_page_says_where_throughput_still_grows_although_intervals_overlap() -> None:
    runs = {2: by_noise(1, 0), 16: by_noise(6, 0.02), 32: by_noise(8, 0.1)}
    chart = charts_of_sweep(tables_of(runs), [])[0]
    (said,) = chart.says
    found = paired(runs[16], runs[32])
    assert found.relative is not None
    assert found.relative_half_width is not None
    gain = measured(found.difference.mean, found.difference.half_width)
    share = measured(100 * found.relative, 100 * found.relative_half_width)
    assert (
        "throughput still grows at the most calls: from 16 to 32 calls at once "
        f"+{gain} rows/s (+{share} %)" in said
    )
    assert "the knee lies further on" in said
    assert "knee, with its interval" not in [layer.name for layer in chart.legend()]


def test_the_page_says_what_is_gained_beyond_the_knee() -> None:
    rates = {8: 0.8, 16: 1.07, 32: 1.25, 64: 1.3, 128: 1.31}
    chart = charts_of_sweep(tables_of({n: by_noise(x, 0) for n, x in rates.items()}), [])[0]
    (said,) = chart.says
    assert "the two bounds meet at 13.1 calls at once, the knee." in said
    assert re.search(
        r"beyond it: from 8 to 128 calls at once \+0.530 ± \S+ rows/s \(\+63.7 %\), "
        r"from 16 to 128 calls at once \+0.250 ± \S+ rows/s \(\+22.4 %\)\.",
        said,
    )
    assert any("X₁ is too low, and the knee lies at fewer calls" in note for note in chart.notes)


def test_a_point_above_its_bound_is_named_and_the_line_is_called_no_bound() -> None:
    runs = {2: by_noise(1, 0), 8: by_noise(4.4, 0.1), 16: by_noise(5, 0), 32: by_noise(5, 0)}
    chart = charts_of_sweep(tables_of(runs), [])[0]
    (said,) = chart.says
    found = mean_of([b - 4 * a for a, b in zip(runs[2], runs[8], strict=True)])
    excess = measured(found.mean, found.half_width)
    assert (
        "N · X₁ is no bound here, and there is no knee: run by run on the same seeds, throughput "
        f"is above it by {excess} rows/s with 8 calls at once. This can be: " in said
    )
    names = [layer.name for layer in chart.legend()]
    assert names[:2] == ["N · X₁, which points exceed", "Xmax"]


def test_one_far_point_leaves_the_differences_of_others_to_be_seen() -> None:
    rates = {calls + 1: 10 - 0.1 * calls for calls in range(12)} | {99: 0.01}
    tables = tables_of({n: [x, 1.01 * x, 0.99 * x] for n, x in rates.items()})
    against = against_best(tables)
    chart = next(one for one in charts_of_sweep(tables, against) if one.key == "differences")
    assert chart.x.label == "makespan more than the best, s (log beyond 0.1)"
    dots = [dot for one in chart.layers if isinstance(one, Dots) for dot in one.points]
    assert len(dots) == 12
    zero = chart.x.place(0.0)
    # A twentieth of the width is ten times a dot's radius.
    assert all(chart.x.place(at) - zero > 0.05 for at, *_ in dots)
    makespan = next(one for one in charts_of_sweep(tables, []) if one.key.startswith("makespan"))
    assert makespan.y.label == "makespan, s (log)"


def test_series_that_are_not_drawn_do_not_stretch_the_axis() -> None:
    rates = {f"policy {k}": 1 + k / 10 for k in range(6)} | {"slow": 0.01}
    each = [(name, n, rate) for name, rate in rates.items() for n in (1, 2, 3)]
    points = [point(k, n, [rate, 1.1 * rate], name) for k, (name, n, rate) in enumerate(each)]
    tables = SweepTables(Path("out"), "made", (GPU, "policy"), tuple(points))
    chart = next(one for one in charts_of_sweep(tables, []) if one.title == f"Makespan by {GPU}")
    assert chart.y.label == "makespan, s"
    assert chart.y.high < 1000


def test_several_series_have_bounds_and_a_knee_each(several: Path) -> None:
    tables = read_sweep(several)
    chart = charts_of_sweep(tables, [])[0]
    dashed = [one for one in chart.layers if isinstance(one, Line) and one.dashed and one.points]
    knees = [one for one in chart.layers if isinstance(one, Dots) and one.across]
    assert [one.colour for one in dashed] == [one.colour for one in knees] == [0, 1]
    assert [words.partition(":")[0] for words in chart.says] == ["policy=fifo", "policy=row-first"]
    for line, knee in zip(dashed, knees, strict=True):
        (at, most, low, high), *_ = knee.points
        assert low < at < high
        # Each line rises to its knee, and is level from there on.
        bend = [y for x, y in line.points if x >= at * (1 - 1e-9)]
        assert bend == pytest.approx([most] * len(bend))
        assert line.points[0][1] < most / 4
    assert len({dots.shape for dots in chart.layers if isinstance(dots, Dots) and dots.name}) == 2


def test_of_many_series_the_best_are_drawn(tmp_path: Path) -> None:
    many = {"grid": {"limits.workers": [1, 2, 3, 4, 5, 6, 7, 8], GPU: [1, 2, 4]}}
    folder = sweep(tmp_path, **many, replications=2)
    tables = read_sweep(folder)
    by_gpu = next(one for one in charts_of_sweep(tables, []) if GPU in one.title)
    assert "The 6 best of 8 series; the rest is in the table." in by_gpu.notes
    drawn = {layer.name for layer in by_gpu.layers if isinstance(layer, Dots)}
    known = summary(folder)
    best = {
        workers: max(
            float(line["mean"])
            for (_, figure), line in known.items()
            if figure == "rows_per_s" and line["field.limits.workers"] == str(workers)
        )
        for workers in range(1, 9)
    }
    worst = sorted(best, key=lambda workers: best[workers])[:2]
    assert not drawn & {f"limits.workers={workers}" for workers in worst}


def test_a_single_run_a_point_claims_no_interval(tmp_path: Path) -> None:
    folder = sweep(tmp_path, grid={GPU: [1, 4, 16]}, replications=1)
    assert main(["report", str(folder)]) == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "with its interval" not in page
    assert "with intervals" not in page
    assert " ± " not in page
    assert "One run a point, which is one draw" in page
    assert "With one run a point no difference from another can be shown." in page


def test_a_single_point_is_compared_with_nothing(tmp_path: Path) -> None:
    folder = sweep(tmp_path, grid={GPU: [4]}, replications=2)
    assert main(["report", str(folder)]) == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "least" not in page
    assert "Point 0 (limits.resources.gpu=4) alone has figures" in page


def test_points_that_a_ladder_did_not_reach_are_in_the_table(tmp_path: Path) -> None:
    rungs = {"field": GPU, "from": 8, "factor": 2, "most": 128, "gain": 0.05}
    folder = sweep(tmp_path, set={"crashes": []}, ladder=rungs, grid={"policy": ["fifo"]})
    with (folder / "summary.csv").open(encoding="utf-8", newline="") as file:
        run = {line["point"] for line in csv.DictReader(file)}
    planned = len((folder / "points.jsonl").read_text(encoding="utf-8").splitlines())
    assert len(run) < planned
    assert main(["report", str(folder)]) == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert f"{planned} points, " in page
    assert f"{planned - len(run)} points without runs" in page
    assert [row[0] for row in table(page, "Points")[1:]] == [str(k) for k in range(planned)]


def test_differences_are_those_of_the_runs(page: str, out: Path) -> None:
    tables = read_sweep(out)
    best = best_point(tables)
    assert best is not None
    with (out / "runs.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    spans: dict[str, dict[str, float]] = {}
    for line in lines:
        spans.setdefault(line["point"], {})[line["seed"]] = float(line["makespan_s"])
    assert str(best.number) == min(spans, key=lambda k: sum(spans[k].values()))
    for one in against_best(tables):
        mine, theirs = spans[str(best.number)], spans[str(one.point.number)]
        assert one.difference == paired(list(mine.values()), list(theirs.values()))
    rows = table(page, "Makespan against the best point")[1:]
    assert len(rows) == 11
    shown = {row[0]: row[-1] for row in rows}
    for one in against_best(tables):
        found = one.difference
        equal, shows = found.identical, found.is_shown
        word = "identical" if equal else "longer" if shows else "no difference shown"
        assert shown[str(one.point.number)] == word
        # A share without an interval that agrees with the verdict is left out.
        (row,) = (row for row in rows if row[0] == str(one.point.number))
        cells = [scale.number(100 * part) for part in found.share or ()]
        assert row[5:7] == (cells or ["–", "–"])
    assert any(one.difference.share for one in against_best(tables))
    longer = list(shown.values()).count("longer")
    assert f"Shown to take longer: {longer} of 11 other points" in page


def test_a_point_that_cannot_be_run_says_why(tmp_path: Path) -> None:
    folder = tmp_path / "swept"
    folder.mkdir()
    grid = {GPU: [1, 2, -3]}
    with pytest.raises(AssertionError):
        sweep(folder, grid=grid, replications=2)
    assert main(["report", str(folder / "out")]) == 0
    page = (folder / "out" / "report.html").read_text(encoding="utf-8")
    assert "1 point could not be run to the end" in page
    row = table(page, "Points")[3]
    assert row[:4] == ["2", "-3", "0", "–"]
    ((point, fields, why),) = table(page, "Points that could not be run")[1:]
    assert (point, fields) == ("2", f"{GPU}=-3")
    assert "limits.resources.gpu: expected at least 1, got -3" in why


def test_names_hold_what_ends_a_line_elsewhere(tmp_path: Path) -> None:
    name = "gpu\u2028\x85<b>"
    moved = json.loads(json.dumps(SCENARIO).replace('"gpu"', json.dumps(name)))
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(moved), encoding="utf-8")
    grid = {"scenario": "./small.yaml", "replications": 2, "grid": {"limits.workers": [1, 4]}}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(grid), encoding="utf-8")
    out = tmp_path / "out"
    assert main(["sweep", str(tmp_path / "s.yaml"), "--out", str(out)]) == 0
    (first, _) = read_sweep(out).points
    assert f"resource.{name}.utilisation" in first.figures
    assert main(["report", str(out)]) == 0
    assert "<b>" not in (out / "report.html").read_text(encoding="utf-8")


def test_a_page_is_the_same_bytes_again_and_asks_for_nothing(page: str, out: Path) -> None:
    again = out.parent / "again.html"
    assert main(["report", str(out), "--html", str(again)]) == 0
    assert again.read_text(encoding="utf-8") == page
    assert "<script" not in page
    assert not re.findall(r"url\(|@import|https?:", page)


def test_each_chart_is_written_as_a_file(
    words: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, folder = str(tmp_path / "x.html"), tmp_path / "figures"
    capsys.readouterr()
    command = ["report", str(words), "--html", page, "--figures", str(folder), "--format", "svg"]
    assert main(command) == 0
    assert capsys.readouterr().out == (
        f"wrote {page}: 2 points, 1 chart\nwrote 1 file into {folder}\n"
    )
    assert [path.name for path in folder.iterdir()] == ["differences.svg"]
    ElementTree.parse(folder / "differences.svg")


@pytest.mark.parametrize("form", FORMATS)
def test_files_of_charts_are_the_same_bytes_again(ladder: Path, form: str) -> None:
    charts = charts_of_sweep(read_sweep(ladder), [])[:1]
    found = plots(charts, form)
    assert plots(charts, form) == found
    (content,) = found.values()
    assert content.startswith(b"\x89PNG" if form == "png" else b"<?xml")
    assert b"<dc:date>" not in content


def test_files_take_an_extra_and_nothing_is_half_written_without_it(
    words: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page, folder = tmp_path / "x.html", tmp_path / "figures"
    capsys.readouterr()
    assert main(["report", str(words), "--html", str(page), "--figures", str(folder)]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "pip install '.[report]'" in said.err
    assert list(tmp_path.iterdir()) == []
    assert main(["report", str(words), "--html", str(page)]) == 0


def broken(out: Path, tmp_path: Path, name: str, old: str, new: str) -> Path:
    """A copy of a folder with one text changed."""
    folder = tmp_path / "copy"
    shutil.copytree(out, folder)
    path = folder / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("manifest.json", "{", "[", "manifest.json: cannot be read: "),
        ("manifest.json", '"sweep"', '"swept"', "manifest.json: is no manifest of a sweep"),
        ("summary.csv", "figure", "figures", "summary.csv: line 1: expected a column 'figure'"),
        ("summary.csv", "\n0,", "\nx,", "summary.csv: line 2: point: expected a whole number"),
        ("summary.csv", "24.0", "many", "summary.csv: line 2: mean: expected a number, got 'many'"),
        ("runs.csv", "seed", "sead", "runs.csv: line 1: expected a column 'seed', got none"),
        ("runs.csv", "\n0,", "\n", "runs.csv: line 2: expected as many cells as there are columns"),
    ],
)
def test_a_folder_that_cannot_be_read_is_named_in_one_line(
    out: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    old: str,
    new: str,
    says: str,
) -> None:
    folder = broken(out, tmp_path, name, old, new)
    (folder / "report.html").unlink(missing_ok=True)
    capsys.readouterr()
    assert main(["report", str(folder)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("error: ")
    assert says in printed.err
    assert not (folder / "report.html").exists()


def test_a_folder_without_a_sweep_and_a_page_in_place_of_its_source_are_refused(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (out / "summary.csv").read_bytes()
    cases = {
        (str(tmp_path),): "is no folder of a sweep: it has no manifest.json",
        (str(tmp_path / "none"),): "is no folder of a sweep: it has no manifest.json",
        (str(out), "--html", str(out / "summary.csv")): "it is what is read",
        (str(out), "--html", str(tmp_path)): "a folder",
        (str(out), "--figures", str(out / "runs.csv")): "expected a folder",
    }
    for given, says in cases.items():
        capsys.readouterr()
        assert main(["report", *given]) == 2, given
        printed = capsys.readouterr().err
        assert says in printed
        assert printed.count("\n") == 1
    assert (out / "summary.csv").read_bytes() == before
    run = tmp_path / "run"
    assert main(["run", "text_to_sql", "--set", "rows=5", "--out", str(run)]) == 0
    capsys.readouterr()
    assert main(["report", str(run)]) == 2
    said = f"it is that of a run, which `cellspec run {run / 'scenario.yaml'} --report FILE.html`"
    assert said in capsys.readouterr().err
    (tmp_path / "manifest.json").write_text(json.dumps({"sweep": {}}), encoding="utf-8")
    assert main(["report", str(tmp_path)]) == 2
    assert "has no summary.csv; run `cellspec sweep` to its end" in capsys.readouterr().err
