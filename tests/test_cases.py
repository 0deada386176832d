"""Small inputs from public reports, each with what is right: `tests/cases/README.md` says why.

Traces go through ``python -m sim check``, scenarios through ``python -m sim run``, in this process.
A case that is still wrong is a strict xfail whose reason names what brings it: the first run in
which it is right fails here until its reason is taken away.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cellspec.clauses import clauses
from sim.cli import main

CASES = Path(__file__).parent / "cases"

ENDPOINT = "An endpoint that saturates"


@dataclass(frozen=True, slots=True)
class Judged:
    """What `check` must say of a trace.

    Attributes:
        clause: the one that is violated; "" for any.
        options: what else the command is given.
        brings: what brings the right answer; "" where it is right today.
    """

    verdict: str
    clause: str | None = None
    options: tuple[str, ...] = ()
    brings: str = ""


@dataclass(frozen=True, slots=True)
class Gives:
    """What `run` must print of a scenario.

    Attributes:
        figures: by their path in the JSON form. A pair is a range that holds the figure.
        says: words that stderr must hold.
        needs: an import that the scenario needs.
        brings: what brings the right answer; "" where it is right today.
    """

    figures: Mapping[str, Any] = field(default_factory=dict)
    says: tuple[str, ...] = ()
    needs: str = ""
    brings: str = ""


TRACES = {
    "zombie_completes_second_attempt": Judged("violated", "FAIL-05"),
    "attempt_on_complete_is_nonsense": Judged("violated", "FAIL-05"),
    "chord_body_never_failed": Judged("violated", "SCHED-14"),
    "order_overtakes": Judged("violated", "SCHED-13"),
    "hedged_request": Judged("violated", "SCHED-02"),
    "per_task_cache": Judged("pass"),
    "per_task_cache_as_set": Judged("pass"),
    "ctrl_c_cancel_then_resume": Judged("pass"),
    "slot_idle_real_clock": Judged("violated", "SCHED-09", ("--slack", "1s")),
    "judge_first_wait_from_zero": Judged("violated", "SCHED-15", ("--slack", "1s")),
    "judge_write_of_row_never_made": Judged("violated", "CKPT-08"),
    "judge_excuse_outlived": Judged("violated", "STOP-07"),
    "judge_misspelt_config": Judged("violated", "TRACE-02"),
    "judge_interrupted_in_flight": Judged("violated", "STOP-09"),
    "judge_no_claim_when_asked": Judged("violated", "STOP-07"),
    "judge_no_claim_when_stopped": Judged("violated", "STOP-08"),
    "judge_no_claim_after_resume": Judged("violated", "CKPT-22"),
    "judge_claim_behind_a_gap": Judged("violated", "STOP-07"),
    "judge_table_when_asked": Judged("violated", "STOP-07"),
    "judge_write_of_durable_row": Judged("violated", "SCHED-15"),
    "judge_late_call_in_real_time": Judged("violated", "FAIL-07", ("--slack", "1s")),
    "judge_unclaimed_batch_in_order": Judged("violated", "STOP-07"),
    "judge_pauses_for_an_earlier_process": Judged("violated", "SCHED-16"),
    "judge_loses_later_results": Judged("violated", "FAIL-08"),
    "judge_gives_up_what_ended_well": Judged("violated", "DROP-06"),
    "judge_gives_up_what_was_in_flight_beside": Judged("pass"),
    "judge_saves_behind_a_gap": Judged("violated", "CKPT-19"),
    "judge_saves_behind_an_earlier_save": Judged("violated", "CKPT-19"),
    "judge_streams_data_and_claims_at_the_end": Judged("violated", "CKPT-19"),
    "judge_commits_in_a_row_leave_rows_out": Judged("violated", "CKPT-19"),
    "judge_claims_nothing_again_and_again": Judged("violated", "CKPT-19"),
    "judge_saves_one_row_at_a_time": Judged("violated", "CKPT-19"),
    "judge_row_waits_after_a_write": Judged("violated", "CKPT-19"),
    "judge_one_write_takes_the_whole_run": Judged("pass"),
    "judge_idles_by_not_retiring": Judged("violated", "SCHED-15"),
    "judge_passes_a_skip_on_late": Judged("violated", "SCHED-15"),
    "judge_ready_at_once": Judged("pass"),
    "judge_claimed_of_dropped_row": Judged("pass"),
    "judge_group_waits_for_its_commit": Judged("pass"),
    "judge_recalls_dropped": Judged("violated", "CKPT-25"),
    "judge_recalls_skipped": Judged("violated", "CKPT-25"),
    "judge_recalls_rejected": Judged("violated", "CKPT-25"),
    "judge_recalls_of_other_rows": Judged("violated", "CKPT-25"),
}

SCENARIOS = {
    "d1_all_dropped": Gives({"rows_per_s": 0, "first_row_s": None}),
    # Both workers are busy for the one second that the run takes.
    "d2_util": Gives({"rows_per_s": 0, "worker_utilisation": 1.0, "worker_busy_s": 2.0}),
    "d3_stop": Gives({"rows_per_s": 0, "by_column.a.cells_done": 6, "by_column.b.cells_done": 0}),
    # Two calls of b start, after 24 s and 29 s.
    "d5_wait": Gives({"by_resource.r.wait_s": 53.0, "rows_per_s": 0}),
    "d6_again": Gives({"cells_done_again": 50, "failures.a.skipped": 100}),
    "dagster_pool_retry": Gives({"rows_per_s": 0, "first_row_s": None, "outcome": "success"}),
    # 8 cells of 600 s are kept of the 223,823 s that were paid for.
    "livelock": Gives({"busy_lost_share": (0.97854, 0.97856)}),
    # 86.67 % of about 37,500 calls; the error of the sample is 0.18 points.
    "bp": Gives(
        {"failures.a.backpressure": (31_500, 33_500), "by_column.a.cells_done": 5_000},
    ),
    "tutorial_2_structured_outputs_jinja": Gives(
        {"rows": 200, "columns": 5},
        says=("skip", "complaint_analysis"),
        needs="data_designer.engine",
    ),
    "rpm": Gives({"makespan_s": (999, 1_003), "cells_done": 10_000}),
    # 0.74 % of the calls take longer than 60 s.
    "timeout": Gives({"failures.answer.retryable": (1, 25)}),
    "arrivals": Gives({"makespan_s": (200, 400)}),
    # 20 rows before it, 80 after it.
    "outage": Gives({"makespan_s": 640}),
    "resume_from": Gives({"makespan_s": 30}),
}


def cases(table: Mapping[str, Judged] | Mapping[str, Gives]) -> list[Any]:
    """The parameters of a test: name and expectation, marked if it is not right yet."""
    return [
        pytest.param(
            name,
            case,
            id=name,
            marks=marks(case),
        )
        for name, case in table.items()
    ]


def marks(case: Judged | Gives) -> list[pytest.MarkDecorator]:
    found = [pytest.mark.xfail(reason=case.brings, strict=True)] if case.brings else []
    return [*found, pytest.mark.datadesigner] if isinstance(case, Gives) and case.needs else found


@pytest.mark.parametrize(("name", "case"), cases(TRACES))
def test_a_trace_is_judged_rightly(
    name: str, case: Judged, capsys: pytest.CaptureFixture[str]
) -> None:
    path = CASES / "traces" / f"{name}.jsonl"
    code = main(["check", str(path), "--format", "json", *case.options])
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], code) == (case.verdict, {"pass": 0, "violated": 1}[case.verdict])
    named = [one["clause"] for one in found["violations"]]
    assert named == ([] if case.clause is None else [case.clause or named[0]])
    assert set(named) <= set(clauses())


@pytest.mark.clause("CKPT-20", "TRACE-02")
@pytest.mark.parametrize(
    ("line", "config", "code", "says"),
    [
        (0, {"a": "x1", "b": "y1", "c": "z1"}, 1, "config.c: no such column"),
        (8, {"a": "x1"}, 0, "pass: "),
        (8, {"b": "y1"}, 0, "not compared: the configuration"),
    ],
)
def test_a_configuration_names_columns_and_each_claimed_one(
    line: int,
    config: dict[str, str],
    code: int,
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = (CASES / "traces" / "judge_misspelt_config.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(each) for each in given.splitlines()]
    lines[8]["config"] = {"a": "x1", "b": "y1"}
    lines[line]["config"] = config
    path = tmp_path / "run.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")
    assert main(["check", str(path)]) == code
    out = capsys.readouterr().out
    assert says in out
    assert ("not compared" in out) is ("not compared" in says)


@pytest.mark.parametrize(("name", "case"), cases(SCENARIOS))
def test_a_scenario_gives_the_right_figures(
    name: str, case: Gives, capsys: pytest.CaptureFixture[str]
) -> None:
    if case.needs:
        pytest.importorskip(case.needs)
    path = CASES / "scenarios" / f"{name}.yaml"
    code = main(["run", str(path), "--format", "json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    found = json.loads(out)
    got = {path: figure(found, path) for path in case.figures}
    wrong = {path: got[path] for path, want in case.figures.items() if not fits(got[path], want)}
    assert not wrong
    assert not [word for word in case.says if word not in err]


@pytest.mark.datadesigner
def test_a_condition_that_is_given_a_rate_skips_cells(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("data_designer.engine")
    path = CASES / "scenarios" / "tutorial_2_structured_outputs_jinja.yaml"
    rate = "pipeline.skip_rates={complaint_analysis: 0.5}"
    assert main(["run", str(path), "--set", rate, "--format", "json"]) == 0
    out, err = capsys.readouterr()
    assert "skip" not in err
    found = json.loads(out)
    skipped = figure(found, "failures.complaint_analysis.skipped")
    assert 70 <= skipped <= 130
    # What needs it is skipped with it, unless it says otherwise.
    assert figure(found, "failures.action_items.skipped") == skipped
    assert figure(found, "failures.review_summary.skipped") == 0


def figure(result: Any, path: str) -> Any:
    """A figure of the JSON form: items of lists are named by their first field."""
    for name in path.split("."):
        if isinstance(result, list):
            result = {next(iter(item.values())): item for item in result}
        result = result[name]
    return result


def fits(got: Any, want: Any) -> bool:
    """Whether a figure is what is wanted, to nine digits, or lies in the range that is."""
    if isinstance(want, tuple):
        low, high = want
        return bool(low <= got <= high)
    return bool(got == (pytest.approx(want, rel=1e-9) if isinstance(want, float) else want))


def test_every_case_is_in_a_table_and_every_entry_has_its_file() -> None:
    assert {path.stem for path in (CASES / "traces").iterdir()} == set(TRACES)
    assert {path.stem for path in (CASES / "scenarios").iterdir()} == set(SCENARIOS)
    page = (CASES / "README.md").read_text(encoding="utf-8")
    assert not [name for name in {**TRACES, **SCENARIOS} if f"| {name} |" not in page]
