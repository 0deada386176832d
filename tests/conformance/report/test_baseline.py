"""The comparison of a run with an earlier one: which changes it names, and what it cannot use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cellspec.conformance.report.baseline import Baseline, comparison_lines, read_baseline
from cellspec.errors import SpecError

SUITE = {"version": "1", "sources": "a", "clauses": "3", "digest": "d"}


def backend(verdicts: dict[str, str], detail: str = "", **more: Any) -> dict[str, Any]:
    """The results of a backend, with these verdicts; what is violated broke in this way."""
    return {
        "name": "mine",
        "version": "1",
        "capabilities": ["core"],
        "command": "pytest --pyargs cellspec.conformance --engine-backend=m:B --seed=0",
        "clauses": {
            number: {
                "verdict": verdict,
                "reason": detail or verdict,
                "examples": 3,
                "failure": {"detail": detail} if verdict in ("violated", "xfail") else None,
            }
            for number, verdict in verdicts.items()
        },
        "evidence": {"smoke": "fine"},
        **more,
    }


def saved(tmp_path: Path, *backends: dict[str, Any], suite: Any = SUITE) -> Baseline:
    path = tmp_path / "base.json"
    path.write_text(json.dumps({"format": 2, "suite": suite, "backends": list(backends)}))
    return read_baseline(path, "base.json", "mine")


@pytest.mark.parametrize(
    ("before", "now", "change"),
    [
        ("pass", "violated", "broke"),
        ("inconclusive", "violated", "broke"),
        ("not claimed", "xfail", "broke"),
        (None, "violated", "broke"),
        ("violated", "violated", "still broken"),
        ("violated", "xfail", "still broken"),
        ("violated", "pass", "mended"),
        ("xfail", "pass", "mended"),
        ("violated", "inconclusive", "no longer judged"),
        ("pass", "inconclusive", "no longer judged"),
        ("pass", "not claimed", "no longer judged"),
        ("pass", None, "no longer judged"),
        ("inconclusive", "pass", "newly judged"),
        (None, "pass", "newly judged"),
        ("pass", "pass", None),
        ("inconclusive", "inconclusive", None),
        ("not claimed", "inconclusive", None),
        (None, "not claimed", None),
    ],
)
def test_each_change_of_a_verdict_has_its_word(
    tmp_path: Path, before: str | None, now: str | None, change: str | None
) -> None:
    then = backend({} if before is None else {"SCHED-01": before})
    compared = saved(tmp_path, then).compared(
        backend({} if now is None else {"SCHED-01": now}), SUITE
    )
    changes = compared["changes"]
    assert (changes["SCHED-01"]["change"] if changes else None) == change


@pytest.mark.parametrize(
    ("detail", "change"),
    [
        ("barrier 1 of 'v' reads rows 0–4, but of its scope row 5 is left", "still broken"),
        ("a call starts before its input", "broken in another way"),
    ],
)
def test_a_finding_in_other_columns_and_rows_is_the_same_finding(
    tmp_path: Path, detail: str, change: str
) -> None:
    then = backend(
        {"BARR-06": "violated"},
        "barrier 0 of 'a' reads rows 0–1, but of its scope row 3 is left",
    )
    compared = saved(tmp_path, then).compared(backend({"BARR-06": "violated"}, detail), SUITE)
    assert compared["changes"]["BARR-06"]["change"] == change


CAUSE = {
    "clause": "BARR-06",
    "detail": "so",
    "consequences": {"TABLE-03": {"workloads": 1, "detail": "so"}},
}


@pytest.mark.parametrize(
    ("found_in", "now", "mended"),
    [
        ("core", {"profiles": {"core": {"workloads": 3}}}, True),
        ("smoke", {"profiles": {}}, True),
        ("drops", {"profiles": {"core": {"workloads": 3}}}, False),
        ("drops", {"profiles": {"drops": {"not_run": "the run was interrupted"}}}, False),
        ("core", {"profiles": {"core": {"workloads": 3, "stopped_at": "BARR-01"}}}, False),
        ("", {"interrupted": True}, False),
        ("", {}, True),
    ],
)
def test_nothing_is_mended_that_was_not_looked_for_where_it_broke(
    tmp_path: Path, found_in: str, now: dict[str, Any], mended: bool
) -> None:
    clauses = ("BARR-06", "TABLE-03")
    then = backend(dict.fromkeys(clauses, "violated"), causes=[{**CAUSE, "profile": found_in}])
    compared = saved(tmp_path, then).compared(backend(dict.fromkeys(clauses, "pass"), **now), SUITE)
    changes = {number: one["change"] for number, one in compared["changes"].items()}
    assert changes == (dict.fromkeys(clauses, "mended") if mended else {})
    unsure = [note for note in compared["notes"] if note.endswith("mended: BARR-06, TABLE-03")]
    assert bool(unsure) != mended


def test_of_a_run_that_was_interrupted_nothing_inconclusive_is_accepted(tmp_path: Path) -> None:
    verdicts = {"BARR-06": "inconclusive", "SCHED-01": "violated"}
    assert saved(tmp_path, backend(verdicts)).knows_inconclusive("BARR-06")
    base = saved(tmp_path, backend(verdicts, interrupted=True))
    assert not base.knows_inconclusive("BARR-06")
    assert base.knows_broken("SCHED-01")
    notes = base.compared(backend(verdicts), SUITE)["notes"]
    assert notes == ["the run there was interrupted; what is inconclusive in it is not accepted"]


def test_a_second_cause_of_a_clause_that_was_broken_is_told(tmp_path: Path) -> None:
    detail = "barrier 0 of 'a' reads rows 0–1, but of its scope row 3 is left"
    one, other = {"clause": "BARR-06", "detail": detail}, {"clause": "BARR-06", "detail": "other"}
    then = backend({"BARR-06": "violated"}, detail, causes=[one])
    now = backend({"BARR-06": "violated"}, detail, causes=[one, other])
    compared = saved(tmp_path, then).compared(now, SUITE)
    assert list(comparison_lines(compared))[1:] == [
        "  broken in another way (was violated, is violated: other): BARR-06"
    ]
    back = saved(tmp_path, now).compared(then, SUITE)
    assert list(comparison_lines(back))[1:] == ["  still broken: BARR-06"]
    edited = saved(tmp_path, then).compared(now, {**SUITE, "sources": "b"})
    assert list(comparison_lines(edited))[2:] == ["  still broken: BARR-06"]
    assert edited["notes"][0].startswith("cellspec has other sources here than there")


def test_a_consequence_of_a_new_root_is_broken_in_another_way(tmp_path: Path) -> None:
    then = backend(dict.fromkeys(("BARR-06", "TABLE-03"), "violated"), "so", causes=[CAUSE])
    now = backend({"TABLE-03": "violated"}, "so", causes=[CAUSE], not_asked={"BARR-06": "so"})
    assert list(comparison_lines(saved(tmp_path, then).compared(now, SUITE)))[1:] == [
        "  still broken: TABLE-03"
    ]
    now["causes"] = [{**CAUSE, "detail": "other"}]
    assert list(comparison_lines(saved(tmp_path, then).compared(now, SUITE)))[1:] == [
        "  broken in another way (was violated, is violated: with BARR-06: other): TABLE-03"
    ]


def test_the_lines_name_each_change_with_its_clauses_and_why(tmp_path: Path) -> None:
    then = backend({"SCHED-01": "pass", "SCHED-02": "violated", "SCHED-03": "pass"})
    now = backend({"SCHED-01": "violated", "SCHED-02": "pass", "SCHED-03": "pass"}, "too soon")
    assert list(comparison_lines(saved(tmp_path, then).compared(now, SUITE))) == [
        "compared with base.json, of version 1:",
        "  broke (was pass, is violated: too soon): SCHED-01",
        "  mended: SCHED-02",
    ]
    assert list(comparison_lines(saved(tmp_path, now).compared(now, SUITE)))[1:] == [
        "  still broken: SCHED-01"
    ]
    now = backend({"SCHED-01": "pass"})
    assert list(comparison_lines(saved(tmp_path, now).compared(now, SUITE)))[1:] == [
        "  each clause has the verdict that it had"
    ]


def test_whatever_else_differs_between_the_runs_is_noted(tmp_path: Path) -> None:
    then = backend(
        {}, version="0", capabilities=["core", "drops"], command="pytest --seed=1 --profile=core"
    )
    before = saved(tmp_path, then, suite={**SUITE, "version": "0", "clauses": "2"})
    assert before.compared(backend({}), SUITE)["notes"] == [
        "mine was 0 there, and is 1 here",
        "cellspec was 0 there, and is 1 here",
        "the clause set was 2 there, and is 3 here",
        "no longer claimed: drops",
        "other options, which may find other things: --seed=1 --profile=core there, --seed=0 here",
    ]


def test_the_backend_is_found_among_others_by_its_name(tmp_path: Path) -> None:
    other = {**backend({"SCHED-01": "violated"}), "name": "other"}
    found = saved(tmp_path, other, backend({"SCHED-02": "violated", "SCHED-03": "inconclusive"}))
    assert [found.knows_broken(f"SCHED-0{n}") for n in (1, 2, 3)] == [False, True, False]
    assert [found.knows_inconclusive(f"SCHED-0{n}") for n in (1, 2, 3)] == [False, False, True]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (None, "there is no such file; a run with --conformance-json=FILE writes one"),
        ("{", "not JSON: "),
        ("[]", "expected an object; expected the results file of an earlier run"),
        (
            json.dumps(
                {"format": 2, "suite": {}, "backends": [backend({}, causes=[{"clause": 1}])]}
            ),
            "causes: 1: clause: expected a text, got 1",
        ),
        ('{"format": 9}', "format: expected 1 or 2, got 9"),
        ('{"format": 2, "suite": {}}', "backends: expected a list"),
        (
            json.dumps({"format": 2, "suite": {}, "backends": [{**backend({}), "name": "other"}]}),
            "these are results of other, and the backend of this run is mine",
        ),
        (
            json.dumps(
                {
                    "format": 2,
                    "suite": {},
                    "backends": [backend({}, evidence={"smoke": "your adapter is wrong"})],
                }
            ),
            "its smoke test failed (your adapter is wrong)",
        ),
    ],
)
def test_a_file_that_cannot_be_compared_with_is_refused_in_one_line(
    tmp_path: Path, text: str | None, line: str
) -> None:
    path = tmp_path / "base.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SpecError) as refused:
        read_baseline(path, "base.json", "mine")
    assert line in str(refused.value)
    assert str(refused.value).startswith("--conformance-baseline: base.json: ")
    assert "\n" not in str(refused.value)


def test_a_folder_is_no_results_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="Is a directory; expected a results file"):
        read_baseline(tmp_path, "out", "mine")
