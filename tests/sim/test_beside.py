"""Pipelines beside each other, as a user's file says them: figures, traces, files and messages."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cellspec.check import check_file
from cellspec.errors import SpecError
from cellspec.state.checkpoint import make_payload
from sim.cli import main
from sim.scenario.loader import load_scenario
from sim.simulation import make_simulator
from tests.recompute.figures import differences, recompute
from tests.recompute.history import read
from tests.recompute.scenarios import Data, draw

PAGE = Path(__file__).parents[2] / "simulations" / "endpoints.md"

FIGURES = PAGE.with_name("figures.md")

SEED = 7
"""Of random scenarios."""


def pipeline(name: str, rows: int, **changes: Any) -> Data:
    latency = {"model": "constant", "value_s": 1.0}
    columns = [{"name": "call", "traits": ["START"], "resource": "chat", "latency": latency}]
    limits = {"workers": 4, "resources": {"chat": 4}}
    return {"name": name, "rows": rows, "columns": columns, "limits": limits, **changes}


def file_of(folder: Path, *beside: Any, **changes: Any) -> Path:
    """Ten rows, on an endpoint that does one second of work a second."""
    endpoint = {"work": {"full_speed": 1}}
    data = pipeline("nightly", 10, endpoints={"chat": endpoint}, beside=list(beside)) | changes
    path = folder / "s.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    code = main(["run", *arguments])
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


def test_each_pipeline_has_its_makespan_and_the_endpoint_its_own_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file_of(tmp_path, pipeline("reviews", 4))
    found = json.loads(printed(capsys, str(path), "--format", "json"))
    # Eight calls share the speed to 8 s; then four to 12 s, and two to 14 s.
    assert [(one["name"], one["makespan_s"]) for one in found["pipelines"]] == [
        ("nightly", 14.0),
        ("reviews", 8.0),
    ]
    assert found["makespan_s"] == 14.0
    (chat,) = found["common_endpoints"]
    assert chat == {
        "endpoint": "chat",
        "pipelines": 2,
        "sent": 14,
        "accepted": 14,
        "refused": 0,
        "refused_share": 0.0,
        "lost": 0,
        # 8 calls for 8 s, 4 for 4 s and 2 for 2 s.
        "mean_in_flight": 6.0,
        "utilisation": None,
        "cost": 0.0,
    }
    limited = ["--set", "endpoints.chat.max_in_flight=8"]
    found = json.loads(printed(capsys, str(path), "--format", "json", *limited))
    assert found["common_endpoints"][0]["utilisation"] == 0.75
    text = printed(capsys, str(path))
    assert text.startswith("nightly: 2 pipelines on 1 endpoint, seed 0\n")
    assert re.search(r"^reviews +8\.00 +4 ", text, re.MULTILINE)
    lines = list(csv.DictReader(io.StringIO(printed(capsys, str(path), "--format", "csv"))))
    assert [(line["name"], line["makespan_s"]) for line in lines] == [
        ("nightly", "14.0"),
        ("reviews", "8.0"),
    ]


def test_each_pipeline_writes_a_trace_that_passes_and_names_who_shares(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file_of(tmp_path, pipeline("reviews", 4, crashes=[{"at_time_s": 3.0}]))
    plain = printed(capsys, str(path), "--format", "json")
    traced = printed(capsys, str(path), "--format", "json", "--trace", str(tmp_path / "r.jsonl"))
    assert plain == traced
    for name, other in (("nightly", "reviews"), ("reviews", "nightly")):
        trace = tmp_path / f"r.{name}.jsonl"
        result = check_file(trace)
        assert (result.violations, result.outcome) == ([], "success")
        header = json.loads(trace.read_text(encoding="utf-8").splitlines()[0])
        assert header["endpoints"]["chat"]["shared_with"] == [other]


def test_a_pipelines_trace_needs_a_file_that_its_name_can_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file_of(tmp_path, pipeline("re/views", 4))
    assert main(["run", str(path), "--trace", "-"]) == 2
    assert "--trace: 2 pipelines write a trace each" in capsys.readouterr().err
    assert main(["run", str(path), "--trace", str(tmp_path / "r.jsonl.gz")]) == 2
    assert "a pipeline named 're/views' cannot name a file" in capsys.readouterr().err
    path = file_of(tmp_path, pipeline("reviews", 4))
    assert printed(capsys, str(path), "--trace", str(tmp_path / "r.jsonl.gz"))
    assert (tmp_path / "r.reviews.jsonl.gz").exists()


def test_a_folder_holds_the_scenario_and_the_figures_of_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = file_of(tmp_path, pipeline("reviews", 4)), tmp_path / "out"
    text = printed(capsys, str(path), "--format", "json", "--out", str(out))
    assert (out / "result.json").read_text(encoding="utf-8") == text
    again = printed(capsys, str(out / "scenario.yaml"), "--format", "json")
    assert again == text
    found = json.loads(text)
    assert (out / "fingerprint.txt").read_text(encoding="utf-8") == found["fingerprint"] + "\n"


def test_a_pipeline_draws_beside_others_what_it_draws_alone(tmp_path: Path) -> None:
    drawn = {"latency": {"model": "exponential", "mean_s": 1.0}}
    other = pipeline("reviews", 4)
    other["columns"][0] |= drawn
    again = {**other, "name": "again"}
    first, second, third = load_scenario(file_of(tmp_path, other, again, seed=7)).pipelines()
    assert first.seed == 7
    assert len({first.seed, second.seed, third.seed}) == 3
    # Its seed follows from the file's and its name, wherever it stands in the list.
    assert load_scenario(file_of(tmp_path, again, other, seed=7)).pipelines()[2].seed == second.seed
    assert load_scenario(file_of(tmp_path, other, seed=8)).pipelines()[1].seed != second.seed
    alone = {**other, "seed": second.seed, "endpoints": {"chat": {"work": {"full_speed": 1}}}}
    (tmp_path / "alone.yaml").write_text(yaml.safe_dump(alone), encoding="utf-8")
    plain = load_scenario(tmp_path / "alone.yaml")
    assert plain.digest() == second.digest()
    assert make_simulator(plain, None).run().fingerprint == (
        make_simulator(second, None).run().fingerprint
    )
    stated = load_scenario(file_of(tmp_path, {**other, "seed": 3})).pipelines()[1]
    assert stated.seed == 3


def test_an_endpoint_may_serve_others_alone(tmp_path: Path) -> None:
    other = pipeline("reviews", 4)
    other["columns"][0]["resource"] = "own"
    other["limits"]["resources"] = {"own": 2}
    endpoints = {"chat": {"work": {"full_speed": 1}}, "own": {"work": {"full_speed": 1}}}
    outages = [{"resource": "own", "from_s": 1.0, "to_s": 2.0}]
    path = file_of(tmp_path, other, endpoints=endpoints, outages=outages)
    first, second = load_scenario(path).pipelines()
    assert list(first.endpoint_plans()) == ["chat"]
    assert list(second.endpoint_plans()) == ["own"]
    assert second.endpoint_plans()["own"].outages
    assert first.digest() == load_scenario(file_of(tmp_path)).digest()


def test_remarks_name_the_pipeline_and_are_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = pipeline("reviews", 4, crashes=[{"at_time_s": 99.0}])
    other["limits"]["resources"]["idle"] = 3
    assert main(["run", str(file_of(tmp_path, other))]) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note:")]
    assert [line.split(": ", 2)[2] for line in notes] == [
        "beside 'reviews': limits.resources.idle: no column takes it",
        "beside 'reviews': crashes[0]: the crash at 99 s never came: the run ended at 8 s",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ([7], "beside[0]: expected a mapping, the fields of a scenario, got 7"),
        ([{**pipeline("r", 4), "rwos": 1}], "beside 'r': rwos: no such field; did you mean 'rows'"),
        ([pipeline("nightly", 4)], "beside 'nightly': name: expected a name of its own, got"),
        ([pipeline("r", 0)], "beside 'r': rows: expected at least 1, got 0"),
        (
            [pipeline("r", 4, endpoints={})],
            "beside 'r': endpoints: is said once for all pipelines, at the top of the file",
        ),
        ([pipeline("r", 4, outages=[])], "beside 'r': outages: is said once for all pipelines"),
        ([pipeline("r", 4, beside=[])], "beside 'r': beside: expected all pipelines in one list"),
        (
            [
                pipeline(
                    "r",
                    4,
                    limits={"workers": 4, "resources": {"chat": 4, "idle": 4}},
                    columns=[{"name": "x", "resource": "idle"}],
                )
            ],
            "beside 'r': expected a column that takes an endpoint of this file ('chat'), got none",
        ),
        (
            [
                pipeline(
                    "r",
                    4,
                    limits={"workers": 4, "resources": {"chat": {"max_requests_per_minute": 6}}},
                )
            ],
            "beside 'r': limits.resources.chat.max_requests_per_minute: is a limit of the endpoint",
        ),
    ],
)
def test_what_is_wrong_beside_is_named_in_one_line(tmp_path: Path, change: Any, said: str) -> None:
    path = file_of(tmp_path, *change)
    with pytest.raises(SpecError) as caught:
        load_scenario(path)
    (line,) = str(caught.value).splitlines()
    assert re.match(rf"{re.escape(str(path))}:\d+: {re.escape(said)}", line), line


GROUPS = {"workers": 4, "resources": {"chat": 4}, "row_groups": {"rows": 1, "admitted": 1}}
ENDLESS = {"crashes": [{"random": {"mean_s": 0.01}}], "redo": "fresh"}


def test_an_error_of_the_run_names_its_pipeline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sim.simulator.crashes.FRUITLESS_CRASHES", 500)
    other = pipeline("reviews", 4, limits=GROUPS)
    other["columns"].append({"name": "then", "dependencies": [other["columns"][0]["name"]]})
    alone = tmp_path / "alone.yaml"
    endpoints = {"chat": {"work": {"full_speed": 1}}}
    alone.write_text(yaml.safe_dump({**other, "endpoints": endpoints}), encoding="utf-8")
    graph = load_scenario(alone).graph()
    some = {**other, "start_from": make_payload(graph, (3, 0), 2)}
    cases: list[tuple[Data, Data, str]] = [
        (pipeline("reviews", 4, **ENDLESS), {}, "beside 'reviews': crashes: 500 crashes"),
        (pipeline("reviews", 4), ENDLESS, "crashes: 500 crashes in a row"),
        (some, {}, "beside 'reviews': start_from: its cells lie in more row groups"),
    ]
    for beside, changes, says in cases:
        path = file_of(tmp_path, beside, **changes)
        assert main(["run", str(path)]) == 2
        (line,) = (x for x in capsys.readouterr().err.splitlines() if not x.startswith("note:"))
        assert line.startswith(f"error: {path}: {says}")


def test_a_draw_that_no_common_limit_lets_pass_names_its_pipeline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def asking(name: str, tokens: Data) -> Data:
        latency = {"model": "request", "output_tokens": tokens}
        return pipeline(name, 40) | {
            "columns": [{"name": "a", "resource": "chat"} | {"latency": latency}]
        }

    top = asking("nightly", {"model": "constant", "value": 3})
    top["endpoints"] = {"chat": {"tpot_s": {1: 0.1}, "beyond": "hold"}}
    top["endpoints"]["chat"]["limits"] = [{"tokens": 100, "per_s": 1}]
    top["beside"] = [asking("reviews", {"model": "exponential", "mean": 90})]
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(top), encoding="utf-8")
    assert main(["run", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path}: endpoints.chat.limits[0]: ")
    assert line.endswith(" (for the pipeline 'reviews')")


def test_a_table_has_to_reach_as_far_as_all_pipelines_together(tmp_path: Path) -> None:
    other = pipeline("reviews", 4)
    short = {"chat": {"work": {1: 1.0, 7: 0.5}}}
    load_scenario(file_of(tmp_path, endpoints=short))
    with pytest.raises(SpecError, match="expected a point for 8 calls at once, got 7"):
        load_scenario(file_of(tmp_path, other, endpoints=short))
    load_scenario(file_of(tmp_path, other, endpoints={"chat": {"work": {1: 1.0, 8: 0.5}}}))
    for key in ("max_in_flight", "beyond"):
        more = {**short["chat"], key: 7 if key == "max_in_flight" else "hold"}
        load_scenario(file_of(tmp_path, other, endpoints={"chat": more}))


def test_what_pipelines_share_is_an_endpoint_and_its_limits_are_its_own(tmp_path: Path) -> None:
    other = pipeline("reviews", 4)
    with pytest.raises(SpecError, match="beside: pipelines run beside each other for the endp"):
        load_scenario(file_of(tmp_path, other, endpoints={}))
    limits = {"workers": 4, "resources": {"chat": {"max_requests_per_minute": 6}}}
    with pytest.raises(SpecError, match="max_requests_per_minute: is a limit of the endpoint"):
        load_scenario(file_of(tmp_path, other, limits=limits))


def test_a_file_that_is_too_large_names_the_pipeline(tmp_path: Path) -> None:
    path = file_of(tmp_path, pipeline("reviews", 2**33))
    with pytest.raises(SpecError, match=r"beside 'reviews': rows: 8,589,934,592 rows × 1 columns"):
        load_scenario(path, memory=2**30)


def test_the_example_of_the_page_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (text,) = [block for block in blocks if "beside:" in block]
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    found = json.loads(printed(capsys, str(tmp_path / "s.yaml"), "--format", "json"))
    assert [one["name"] for one in found["pipelines"]] == ["nightly", "reviews"]
    assert [one["rows_delivered"] for one in found["pipelines"]] == [1000, 300]
    assert found["pipelines"][1]["crashes"] > 0


def common(data: Data, pipelines: list[dict[str, Any]]) -> list[Any]:
    """What the figures of pipelines come to at each endpoint, as the page defines it."""
    makespan_s = max(one["makespan_s"] for one in pipelines)
    found = []
    for name, words in data["endpoints"].items():
        mine = [
            (one["makespan_s"], item)
            for one in pipelines
            for item in one["by_endpoint"]
            if item["endpoint"] == name
        ]
        served_s = sum(
            item["prefill_s"] + item["decode_s"]
            for one in pipelines
            for item in one["call_times"]
            if item["endpoint"] == name
        )
        sums = {
            key: sum(item[key] for _, item in mine)
            for key in ("sent", "accepted", "refused", "lost", "cost")
        }
        places = words.get("max_in_flight")
        in_flight_s = sum(seconds * (item["mean_in_flight"] or 0) for seconds, item in mine)
        found.append(
            {
                "endpoint": name,
                "pipelines": len(mine),
                **sums,
                "refused_share": sums["refused"] / sums["sent"] if sums["sent"] else None,
                "mean_in_flight": in_flight_s / makespan_s,
                "utilisation": served_s / (places * makespan_s) if places else None,
            }
        )
    return found


def test_the_page_defines_every_figure_that_is_common(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, text = FIGURES.read_text(encoding="utf-8").partition("## Several pipelines")
    keys = {
        f"{key.rpartition('.')[0]}.{name}".removeprefix(".")
        for key in re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)
        for name in key.rpartition(".")[2].split(", ")
    }
    path = file_of(tmp_path, pipeline("reviews", 4))
    found = json.loads(printed(capsys, str(path), "--format", "json"))
    assert keys == {
        "makespan_s",
        "pipelines",
        *(f"common_endpoints.{key}" for key in found["common_endpoints"][0] if key != "endpoint"),
    }


@pytest.mark.parametrize("number", [n for n in range(120) if draw(SEED, n).get("endpoints")][:16])
def test_figures_of_pipelines_that_share_follow_from_their_own_traces(
    number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any scenario twice: neither is what it was alone, and each trace still says all of it."""
    data = draw(SEED, number)
    words = ("endpoints", "outages", "name", "seed")
    other = {key: value for key, value in data.items() if key not in words} | {"name": "other"}
    path = tmp_path / "s.yaml"
    path.write_text(json.dumps({**data, "beside": [other]}), encoding="utf-8")
    trace = tmp_path / "r.jsonl"
    found = json.loads(printed(capsys, str(path), "--format", "json", "--trace", str(trace)))
    worked_out = []
    for one, mine in zip(found["pipelines"], (data, {**data, **other}), strict=True):
        file = tmp_path / f"r.{one['name']}.jsonl"
        assert check_file(file).violations == []
        history = read(file.read_text(encoding="utf-8").splitlines())
        worked_out.append(recompute({**mine, "seed": one["seed"]}, history))
        for item in worked_out[-1]["by_endpoint"]:
            # How few calls would do depends on those of the others.
            item["as_much_with"] = None
        assert differences(one, worked_out[-1]) == []
    for item, expected in zip(found["common_endpoints"], common(data, worked_out), strict=True):
        assert item == pytest.approx(expected)
