"""The page of a run: one file, the same bytes each time, with the figures of the terminal."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from sim.cli import main

REFUSED = ("reviews_rate_limited", "--set", "rows=30", "--set", "crashes=[{at_time_s: 300}]")


def report(tmp_path: Path, *options: str) -> str:
    page = tmp_path / "page.html"
    assert main(["run", *options, "--report", str(page)]) == 0
    return page.read_text(encoding="utf-8")


def words_of(page: str) -> list[str]:
    """The texts of a page, in order."""
    body = page.partition("<body>")[2]
    return [unescape(text) for text in re.findall(r">([^<]+)<", body)]


def test_a_page_has_the_figures_of_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = report(tmp_path, *REFUSED)
    printed = capsys.readouterr().out
    words = words_of(page)
    # The summary, line by line.
    summary = printed.split("\n\n")[1].splitlines()
    assert len(summary) > 8
    for line in summary:
        label, value = re.split(r"  +", line)
        if label == "one seed":
            # The page says it above the figures.
            assert "One run is one draw: another seed gives other figures." in page
            continue
        assert words[words.index(label) + 1] == value
    # Tables: each line of the terminal is a row of the page.
    rows = [
        [unescape(re.sub("<[^>]+>", "", cell)) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", page)
    ]
    parts = printed.split("\n\n")[2:]
    found = 0
    for part in parts:
        for line in part.splitlines():
            cells = re.split(r"  +", line.strip())
            found += [cell for cell in cells if cell] in [[c for c in row if c] for row in rows]
    assert found >= 25
    for line in printed.splitlines()[-2:]:
        for value in re.findall(r"[0-9a-f]{32}", line):
            assert value in words


def test_a_page_shows_resources_rows_endpoints_and_parts(tmp_path: Path) -> None:
    page = report(tmp_path, *REFUSED)
    headings = re.findall(r"<h3>(.*?)</h3>", page)
    assert headings == [
        "Calls: endpoint",
        "Rows",
        "Calls at the endpoint: endpoint",
        "Refusals: endpoint",
        "Where a row&#x27;s time goes",
        "What held the run up",
    ]
    legends = set(re.findall(r"</span>([^<]+)</li>", page))
    assert {"complete", "in progress", "checkpoint durable", "crash"} <= legends
    assert {"limit of the throttle", "taken in by the endpoint", "refused"} <= legends
    # Each axis says what it shows, and its unit.
    labels = set(re.findall(r'class="label">([^<]+)<', page))
    assert labels == {
        "time, s",
        "place",
        "rows",
        "calls",
        "refused calls per second",
        "mean of a row, s",
        "share of the makespan, %",
    }


def test_a_page_asks_for_nothing_and_runs_nothing(tmp_path: Path) -> None:
    page = report(tmp_path, *REFUSED)
    assert "<script" not in page
    assert "default-src 'none'" in unescape(page)
    assert not re.findall(r'(?:src|href|action)="(?!#)', page)
    assert not re.findall(r"url\(|@import|https?:", page)


def test_names_in_a_page_are_text(tmp_path: Path) -> None:
    nasty = "<img src=x onerror=alert(1)>"
    data = {
        "name": nasty,
        "rows": 4,
        "columns": [
            {
                "name": nasty,
                "traits": ["START"],
                "resource": "<b>",
                "latency": {"model": "constant", "value_s": 2},
            }
        ],
        "limits": {"workers": 2, "resources": {"<b>": 1}},
    }
    path = tmp_path / "in.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    page = report(tmp_path, str(path))
    assert "<img" not in page
    assert "<b>" not in page
    assert "Calls: &lt;b&gt;" in page


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    pages = set()
    for seed in ("0", "1"):
        page = tmp_path / f"{seed}.html"
        command = [sys.executable, "-m", "sim", "run", *REFUSED, "--report", str(page)]
        env = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run(command, check=True, capture_output=True, env=env, timeout=60)
        pages.add(page.read_bytes())
    assert len(pages) == 1


def test_a_large_run_says_what_it_does_not_draw(tmp_path: Path) -> None:
    page = report(tmp_path, "text_to_sql", "--set", "rows=700", "--set", "crashes=[]")
    assert "Places in use: nvidia-text" in page
    assert re.search(r"Means over \d+ s. The run has 7,\d+ calls: too many to draw each.", page)
    assert len(page) < 150_000


def test_a_report_stands_beside_a_trace_and_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = tmp_path / "plain.html"
    few = ["run", "text_to_sql", "--set", "rows=20"]
    assert main([*few, "--report", str(plain)]) == 0
    out = capsys.readouterr().out
    page, trace, folder = (tmp_path / name for name in ("page.html", "run.jsonl", "out"))
    more = ["--report", str(page), "--trace", str(trace), "--out", str(folder)]
    assert main([*few, *more]) == 0
    assert capsys.readouterr().out == out
    assert page.read_bytes() == plain.read_bytes()
    assert main(["check", str(trace)]) == 0
    assert (folder / "result.json").is_file()


def test_a_report_replaces_no_other_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = str(tmp_path / "x")
    for more in (["--trace", same], ["--out", str(tmp_path)]):
        target = same if more[0] == "--trace" else str(tmp_path / "result.json")
        assert main(["run", "text_to_sql", "--report", target, *more]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err == f"error: {target}: cannot be written: two outputs have this name\n"
    assert list(tmp_path.iterdir()) == []
    assert main(["run", "text_to_sql", "--report", str(tmp_path)]) == 2
    assert "a folder" in capsys.readouterr().err


def test_pipelines_beside_each_other_have_a_part_of_the_page_each(tmp_path: Path) -> None:
    call = {"resource": "gpu", "latency": {"model": "constant", "value_s": 3}}
    one = {
        "name": "first",
        "rows": 6,
        "columns": [{"name": "a", "traits": ["START"], **call}],
        "limits": {"workers": 8, "resources": {"gpu": 4}},
    }
    path = tmp_path / "first.yaml"
    both = {**one, "endpoints": {"gpu": {"max_in_flight": 3}}, "beside": [{**one, "name": "b"}]}
    path.write_text(yaml.safe_dump(both), encoding="utf-8")
    page = report(tmp_path, str(path))
    assert re.findall(r"<h1>(.*?)</h1>", page) == ["first", "Pipeline first", "Pipeline b"]
    names = re.findall(r' id="([^"]+)"', page)
    assert len(names) == len(set(names))
    tables = page.partition("<h2>Pipelines</h2>")[2].partition("<h1>")[0]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in tables.split("<tr>")]
    pipelines = [row for row in rows if len(row) == 5]
    # Three at once, 3 s each: four calls of both at first, and so on; each has its seed.
    assert [row[0] for row in pipelines] == ["first", "b"]
    assert all(f"seed {row[4]}." in page for row in pipelines)
    (endpoint,) = [row for row in rows if len(row) == 9]
    assert endpoint[:5] == ["gpu", "2", "12", "12", "0"]
    titles = ["Rows complete, by pipeline", "Calls at the endpoint, by pipeline: gpu"]
    assert re.findall(r"<h3>(.*?)</h3>", page)[:2] == titles


def test_each_chart_of_a_run_is_written_as_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", *REFUSED, "--figures-format", "svg"]
    pages = []
    for name in ("one", "two"):
        folder = tmp_path / name
        assert main([*command, "--figures", str(folder)]) == 0
        pages.append({path.name: path.read_bytes() for path in folder.iterdir()})
    keys = {"resource-1", "rows", "endpoint-1", "endpoint-1-refusals", "row-time", "binding"}
    assert set(pages[0]) == {f"{key}.svg" for key in keys}
    assert pages[0] == pages[1]
    for content in pages[0].values():
        ElementTree.fromstring(content)
    capsys.readouterr()
    assert main([*command, "--figures", str(tmp_path / "three"), "--replications", "2"]) == 2
    assert capsys.readouterr().err.startswith("error: --figures: it shows one run")


def test_figures_of_a_run_take_an_extra_which_is_missed_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    options = ["--figures", str(tmp_path / "figures"), "--report", str(tmp_path / "page.html")]
    assert main(["run", *REFUSED, *options]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "pip install '.[report]'" in said.err
    assert list(tmp_path.iterdir()) == []


def test_a_page_says_what_its_charts_show(tmp_path: Path) -> None:
    page = report(tmp_path, "text_to_sql", "--set", "rows=2")
    said = [unescape(one) for one in re.findall(r"<p>([^<]*)</p>", page)]
    assert "2 of 2 rows complete; 1 checkpoint, 0 crashes." in said
    # Samplers take no time.
    assert "13 calls on 12 places, one bar each; 12 of them took no time and are not seen." in page
    busy = next(
        re.search(r"([\d.]+) of 4 places \(([\d.]+) %\)", one) for one in said if "of 4" in one
    )
    assert busy is not None
    cells = re.findall(r"<td>nvidia-text</td>(.*?)</tr>", page)[0]
    numbers = re.findall(r">([\d.,]+)<", cells)
    # Of the table of resources: limit, busy seconds, utilisation, mean in flight.
    assert float(busy[1]) == pytest.approx(float(numbers[3]), rel=0.01)
    assert float(busy[2]) == pytest.approx(float(numbers[2]), rel=0.01)
    # Rows are counted: no tick between two of them.
    rows = page.partition('id="chart-rows"')[2].partition("</figure>")[0]
    ticks = re.findall(r'class="tick">([^<]+)<', rows)
    assert ticks[-3:] == ["0", "1", "2"]
