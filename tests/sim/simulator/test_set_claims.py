"""Checkpoints of any cells, in simulated runs: what they keep over a crash, and lawfully."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cellspec.check.checker import check_file
from tests.recompute.runner import run
from tests.recompute.scenarios import draw

pytestmark = pytest.mark.invariant


def scenario(number: int, version: int, **changes: Any) -> dict[str, Any]:
    """A random scenario that saves each half second, and crashes after 2 s and after 5 s."""
    data = draw(7, number)
    data.get("failures", {}).pop("early_stop", None)
    # These leave little to lose, end the run before a crash, or make other tables after it.
    for name in ("accept", "arrivals", "start_from", "redo"):
        data.pop(name, None)
    return {
        **data,
        "checkpoint": {"every_s": 0.5, "version": version},
        "crashes": [{"at_time_s": 2.0}, {"at_time_s": 5.0}],
        **changes,
    }


@pytest.mark.long
@pytest.mark.clause("CKPT-05", "CKPT-08", "CKPT-09", "CKPT-10", "CKPT-12")
def test_at_the_first_crash_the_larger_claim_loses_no_more_and_the_table_is_the_same(
    tmp_path: Path,
) -> None:
    """Up to the first crash the versions do the same, and save at the same times.

    From then on they have unlike work to do, and at a later crash a larger claim may lose more.
    """
    less = gaps = 0
    for number in range(70):
        by_version = [run(scenario(number, version), tmp_path) for version in (1, 2, 3)]
        assert not any(done.code for done in by_version), number
        printed = [done.printed for done in by_version]
        tables = [
            (p["outcome"], p["rows_delivered"], p["rows_dropped"], p["cells_made"]) for p in printed
        ]
        if not any("range_rows" in column for column in scenario(number, 3)["columns"]):
            # After a crash other rows make a range, which fails as a whole.
            assert len(set(tables)) == 1, (number, tables)
        if printed[0]["crashes"]:
            first = [p["incarnations"][0] for p in printed]
            for figure in ("cells_lost", "busy_lost_s"):
                rows, columns, sets = (item[figure] for item in first)
                assert rows >= columns - 1e-9 >= sets - 2e-9, (number, figure)
            less += first[1]["busy_lost_s"] > first[2]["busy_lost_s"]
        header, *events, _ = map(json.loads, by_version[2].trace)
        assert header["trace"] == 2
        gaps += any(
            isinstance(rows, list)
            for event in events
            if event["event"] == "resume"
            for rows in event["claim"].values()
        )
        (tmp_path / "run.jsonl").write_text("\n".join(by_version[2].trace) + "\n", encoding="utf-8")
        found = check_file(tmp_path / "run.jsonl")
        assert not found.violations, number
    assert less >= 2
    assert gaps >= 5
