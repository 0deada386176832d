"""The page of a sweep: numbers as in its summary, and the charts that its fields support."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sim.cli import main
from sim.experiments.intervals import paired
from sim.output.report.plots import FORMATS, plots
from sim.output.report.sweep_charts import against_best, best_point, charts_of_sweep
from sim.output.report.sweep_folder import read_sweep
from tests.sim.output.report.sweeps import sweep

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
    titles = [unescape(title) for title in re.findall(r"<circle[^>]*><title>(.*?)</title>", page)]
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
    assert {"throughput, rows/s", "makespan, s", "cost, money of the scenario"} <= labels
    assert {f"{GPU}, calls at once", f"{SAVED}, rows", "makespan more than the best, s"} <= labels
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
    assert names == ["N · X₁", "Xmax", "knee", "mean, with its interval"]
    (said,) = (note for note in chart.notes if "knee at" in note)
    # Eight calls are served at once: so many times the throughput of one, when all is full.
    known = summary(ladder)
    each, most = (float(known[place, "rows_per_s"]["mean"]) for place in ("0", "3"))
    assert f"X₁ = {each:.4g} rows/s, Xmax = {most:.4g} rows/s" in said
    assert float(re.findall(r"knee at (\S+) calls", said)[0]) == pytest.approx(
        most / each, rel=0.01
    )
    assert most / each == pytest.approx(8, rel=0.2)


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
        word = "identical" if found.identical else "longer" if found.is_shown else "not shown"
        assert shown[str(one.point.number)] == word


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
    assert row[0] == "2"
    assert "expected" in unescape(row[3])


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
