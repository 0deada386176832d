"""DataDesigner's engine in real time, as it was recorded: another limit and size are predicted.

`tests.sim.experiments.calibration.recording` made the recordings; ``make record`` makes new ones.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cellspec.check.checker import check_file
from sim.experiments.calibration.calibration import Calibration, calibrate
from sim.experiments.calibration.from_trace import read_trace
from sim.experiments.calibration.prediction import predict
from tests.sim.experiments.calibration import recording
from tests.sim.experiments.calibration.recording import COLUMNS, FOLDER, LIMITS, ROWS, path_of

WITHIN = 0.05


def fitted(rows: int, limit: int) -> Calibration:
    path = path_of(rows, limit)
    return calibrate(read_trace(path), path.name)


@pytest.fixture(scope="module")
def largest() -> Calibration:
    return fitted(ROWS[-1], LIMITS[0])


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("limit", LIMITS)
def test_a_fit_to_600_rows_at_8_calls_predicts_each_makespan_within_five_percent(
    largest: Calibration, rows: int, limit: int
) -> None:
    other = read_trace(path_of(rows, limit))
    found = predict(largest, FOLDER, runs=2, against=other)[0]
    assert found.figure == "makespan_s"
    assert found.error is not None
    assert abs(found.error) <= WITHIN


def test_so_does_a_fit_to_the_other_limit() -> None:
    made = fitted(ROWS[-1], LIMITS[1])
    found = predict(made, FOLDER, runs=2, against=read_trace(path_of(ROWS[1], LIMITS[0])))[0]
    assert found.error is not None
    assert abs(found.error) <= WITHIN


def test_the_recorded_engine_takes_a_millisecond_for_each_call(largest: Calibration) -> None:
    assert set(largest.overhead.gaps_s) == {"draft", "judge", "final"}
    assert all(0.0003 < gap < 0.003 for gap in largest.overhead.gaps_s.values())
    assert 0 < largest.overhead.start_s < 0.001


def test_the_recorded_engine_lets_its_columns_take_turns(largest: Calibration) -> None:
    assert largest.dispatch.order == "shares"
    assert largest.scenario["shares"] == {"model": dict.fromkeys(("draft", "judge", "final"), 1.0)}


def test_the_sleeps_of_the_generators_come_back(largest: Calibration) -> None:
    models = {one.column: one.seconds for one in largest.columns}
    assert list(models) == [item.name for item in COLUMNS]
    draft, final = models["draft"], models["final"]
    assert draft is not None
    assert final is not None
    assert draft.model["model"] == "lognormal"
    assert draft.model["median_s"] == pytest.approx(0.25, rel=0.05)
    assert draft.model["sigma"] == pytest.approx(0.25, rel=0.15)
    assert final.model["model"] == "gamma"
    assert final.model["mean_s"] == pytest.approx(0.2, rel=0.05)


@pytest.mark.datadesigner
def test_a_run_is_recorded_afresh_and_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("data_designer.engine", reason="needs the extra cellspec[datadesigner]")
    monkeypatch.setattr(recording, "FOLDER", tmp_path)
    seconds = recording.record(40, 8)
    made = calibrate(read_trace(recording.path_of(40, 8)), "afresh")
    found = predict(made, tmp_path, runs=4)[0]
    assert found.recorded <= seconds
    # A busy machine may hold sleeps up; `make record` and the tests above are about five percent.
    assert found.error is not None
    assert abs(found.error) <= 0.15


def test_a_recording_is_a_trace_without_a_finding() -> None:
    assert not check_file(path_of(ROWS[0], LIMITS[0])).violations
