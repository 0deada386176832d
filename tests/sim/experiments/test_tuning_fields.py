"""The fields that are searched, their values, and the settings that would give another result."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from cellspec.errors import SpecError
from sim.experiments.checkpoint_interval import (
    Formulas,
    daly_s,
    formulas_of,
    mean_between_crashes_s,
    young_s,
)
from sim.experiments.tuning_fields import (
    WORKERS,
    Choice,
    Field,
    dataset_barriers,
    default_fields,
    given_field,
    other_result,
    with_workers,
)
from sim.scenario.loader import load_scenario
from sim.scenario.scenario import Scenario

PAGES = Path(__file__).parents[3] / "simulations"


def load(name: str, **overrides: str) -> Scenario:
    changed = {key.replace("__", "."): value for key, value in overrides.items()}
    return load_scenario(PAGES / f"{name}.yaml", changed)


def labels(field: Field) -> list[str]:
    return [f"({choice.label})" if choice.is_own else choice.label for choice in field.choices]


def fields_of(scenario: Scenario, *allowed: str) -> tuple[dict[str, list[str]], list[str]]:
    fields, notes = default_fields(scenario, allowed)
    return {field.name: labels(field) for field in fields}, notes


POLICIES = ["fifo", "(row-first)", "column-first", "critical-path"]


def test_the_usual_fields_go_by_what_the_scenario_allows() -> None:
    fields, notes = fields_of(load("text_to_sql"))
    assert fields == {
        # To the 64 that the endpoint serves at once.
        "limits.resources.nvidia-text": ["1", "2", "(4)", "8", "16", "32", "64"],
        "batch_size": ["25", "50", "(100)", "200", "400"],
        "policy": POLICIES,
        "checkpoint.every_rows": ["25", "50", "(100)", "200", "400"],
    }
    assert notes == []


def test_a_limit_that_no_endpoint_states_goes_to_four_times_its_own() -> None:
    fields, _ = fields_of(load("reviews_rate_limited"))
    assert fields["limits.resources.endpoint"] == ["1", "2", "(5)", "10", "20"]
    assert "batch_size" not in fields


def test_workers_go_up_with_the_limits_that_take_them() -> None:
    own = load("text_to_sql", limits__workers="20")
    fields, notes = fields_of(own)
    assert fields["limits.resources.nvidia-text"] == ["1", "2", "(4)", "8", "16", "32", "64"]
    assert notes == []
    name = "limits.resources.nvidia-text"
    assert with_workers(own, {name: "16"}) == {name: "16"}
    assert with_workers(own, {name: "32"}) == {name: "32", WORKERS: "32"}
    assert with_workers(own, {name: "32", WORKERS: "24"}) == {name: "32", WORKERS: "32"}
    # A limit that is not raised leaves the workers as they are.
    few = load("text_to_sql", limits__workers="3")
    assert with_workers(few, {name: "4", "policy": "fifo"}) == {name: "4", "policy": "fifo"}
    fields, _ = fields_of(few)
    assert fields[WORKERS] == ["1", "2", "(3)", "4"]


def test_no_more_is_tried_than_there_are_workers_where_these_are_given() -> None:
    own = load("text_to_sql", limits__workers="20")
    fields, notes = default_fields(own, more_workers=False)
    assert labels(fields[0]) == ["1", "2", "(4)", "8", "16", "20"]
    assert notes[0].startswith("limits.resources.nvidia-text: no more than the 20 workers")


def test_a_ladder_goes_on_at_its_end() -> None:
    (field,) = (one for one in default_fields(load("text_to_sql"))[0] if one.name == "batch_size")
    assert labels(field.grown("400")) == ["25", "50", "(100)", "200", "400", "800"]
    assert labels(field.grown("25")) == ["12", "25", "50", "(100)", "200", "400"]
    assert field.grown("50") == field
    # No more than the rows, or than the endpoint serves; nothing beyond values that were given.
    small = load("text_to_sql", rows="500")
    (field,) = (one for one in default_fields(small)[0] if one.name == "batch_size")
    assert labels(field.grown("400"))[-1] == "500"
    calls = default_fields(load("text_to_sql"))[0][0]
    assert calls.grown("64") == calls
    found = given("checkpoint.every_rows", "25,100")
    assert found.grown("25") == found


def test_a_value_that_was_chosen_stays_a_choice() -> None:
    found = given("checkpoint.every_rows", "25,100")
    chosen = Choice("50", {"checkpoint.every_rows": "50"})
    assert labels(found.having(chosen)) == ["25", "50", "(100)"]
    assert found.having(None) == found
    assert found.having(found.choices[0]) == found


def test_without_crashes_or_writes_that_stop_the_run_the_interval_decides_nothing() -> None:
    fields, _ = fields_of(load("text_to_sql", crashes="[]"))
    assert "checkpoint.every_rows" not in fields
    fields, _ = fields_of(load("text_to_sql", crashes="[]", checkpoint__blocking="true"))
    assert "checkpoint.every_rows" in fields
    fields, notes = fields_of(load("text_to_sql", checkpoint="null"))
    assert "checkpoint.every_rows" not in fields
    assert notes == ["checkpoint: the scenario has none; --over checkpoint.every_rows=… tries some"]


def test_seconds_between_checkpoints_are_a_ladder_too() -> None:
    fields, _ = fields_of(load("text_to_sql", checkpoint="{every_s: 90.5}"))
    assert fields["checkpoint.every_s"] == ["22.6", "45.2", "(90.5)", "181", "362"]


# Barriers


BOTH = ("code_validity_result", "near_duplicate_of")


def test_batch_scope_is_left_out_where_it_changes_the_result() -> None:
    fields, notes = fields_of(load("barrier_option_a"))
    assert "barrier_scope" not in fields
    assert len(notes) == 1
    assert notes[0].startswith("barrier_scope=batch: 'code_validity_result', 'near_duplicate_of', ")
    assert "--allow-batch-scope near_duplicate_of" in notes[0]


def test_batch_scope_is_searched_if_each_barrier_may_read_batches() -> None:
    assert "barrier_scope" not in fields_of(load("barrier_option_a"), BOTH[0])[0]
    fields, notes = fields_of(load("barrier_option_a"), *BOTH)
    sizes = ["batch of 10", "batch of 25", "batch of 50", "batch of 100"]
    assert fields["barrier_scope"] == ["(declared)", *sizes]
    assert notes == []
    fields, _ = fields_of(load("barrier_option_b"), *BOTH)
    assert fields["barrier_scope"] == ["(batch)", "declared"]
    assert "batch_size" in fields


def test_a_scenario_that_reads_batches_keeps_its_batches() -> None:
    fields, notes = fields_of(load("barrier_option_b"))
    assert {"batch_size", "barrier_scope"}.isdisjoint(fields)
    assert [note.partition(":")[0] for note in notes] == ["batch_size", "barrier_scope=declared"]


def test_a_barrier_that_is_declared_to_work_by_batch_may_have_any_batch() -> None:
    fields, notes = fields_of(load("barrier_option_d"))
    assert fields["batch_size"] == ["25", "50", "(100)", "200", "400"]
    assert notes[0].startswith("barrier_scope=batch: 'near_duplicate_of', ")


def test_a_setting_that_reads_other_rows_gives_another_result() -> None:
    own, by_batch = load("barrier_option_a"), load("barrier_option_b")
    assert dataset_barriers(own) == list(BOTH)
    assert other_result(own, own) == ""
    assert other_result(own, load("barrier_option_a", policy="fifo")) == ""
    assert "would read 100 rows at a time and not all 500" in other_result(own, by_batch)
    assert "would read all 500 rows and not 100 rows at a time" in other_result(by_batch, own)
    assert "'near_duplicate_of' would read" in other_result(own, by_batch, BOTH[:1])
    assert other_result(own, by_batch, BOTH) == ""
    larger = load("barrier_option_b", batch_size="200")
    assert "200 rows at a time and not 100 rows" in other_result(by_batch, larger)
    assert other_result(own, load("barrier_option_a", rows="400")).startswith("rows: 400 and not")
    assert other_result(own, load("text_to_sql", rows="500")) == "the pipeline has other columns"
    # A batch as large as the table is the table.
    assert other_result(own, load("barrier_option_b", batch_size="500")) == ""


# Values of the command line


def given(name: str, values: str, file: str = "text_to_sql") -> Field:
    own = load_scenario(PAGES / f"{file}.yaml")
    return given_field(
        name, values, lambda settings: load_scenario(PAGES / f"{file}.yaml", settings), own
    )


def test_values_are_those_of_set_and_numbers_are_in_order() -> None:
    assert labels(given("policy", "row-first, fifo")) == ["(row-first)", "fifo"]
    found = given("checkpoint.every_rows", "400,25,100,25")
    assert labels(found) == ["25", "(100)", "400"]
    assert dict(found.choices[0].settings) == {"checkpoint.every_rows": "25"}
    assert [found.end(value) for value in ("25", "100", "400")] == ["smallest", "", "largest"]
    (crashes,) = given("crashes", "[{at_time_s: 5}]").choices
    assert crashes.settings == {"crashes": '[{"at_time_s": 5}]'}


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("policy", "", "expected policy=V1,V2,…"),
        ("seed", "1,2", "every candidate runs on the seeds 0, 1, …"),
        ("rows", "100", "--over rows=100: rows: 100 and not 2,000 would be made"),
        ("policy", "fif", "expected 'fifo'"),
        ("policy", "[", "line 1"),
        ("limits.resorces.x", "1", "resorces"),
        ("name", "one,two", "--over name: the runs are the same with each of these values"),
    ],
)
def test_values_that_cannot_be_used_are_refused(name: str, values: str, message: str) -> None:
    with pytest.raises(SpecError) as refused:
        given(name, values)
    assert message in str(refused.value)


def test_a_scope_of_the_command_line_that_changes_the_result_is_refused() -> None:
    with pytest.raises(SpecError, match=r"--over batch_size=50: .* may be another result"):
        given("batch_size", "50", "barrier_option_b")


# Young and Daly


def test_the_formulas_give_the_published_values() -> None:
    assert young_s(30, 1200) == pytest.approx(268.328, abs=0.001)
    assert daly_s(30, 1200) == pytest.approx(248.73, abs=0.05)
    # Daly's is √(2 δ M) − δ and more for short writes, and M for writes of 2 M.
    assert daly_s(1e-6, 1e4) == pytest.approx(young_s(1e-6, 1e4), rel=1e-4)
    assert daly_s(2000, 1000) == daly_s(5000, 1000) == 1000
    below = 2000 * (1 - 1e-9)
    assert daly_s(below, 1000) == pytest.approx(young_s(below, 1000) * (1 + 1 / 3 + 1 / 9) - below)


def test_the_formulas_hold_for_random_crashes_and_writes_that_stop_the_run() -> None:
    random = "[{random: {mean_s: 600}}, {random: {mean_s: 300}}, {at_time_s: 5}]"
    blocking = "{every_rows: 10, write_s: 2, blocking: true}"
    scenario = load("text_to_sql", crashes=random, checkpoint=blocking)
    assert mean_between_crashes_s(scenario) == pytest.approx(200)
    found = formulas_of(scenario, 0.5)
    assert found is not None
    assert found.crashes_s == pytest.approx(200)
    assert found.young_rows == pytest.approx(math.sqrt(2 * 2 * 200) / 2)
    assert formulas_of(load("text_to_sql", checkpoint=blocking), 0.5) is None
    beside = "{every_rows: 10, write_s: 2}"
    assert formulas_of(load("text_to_sql", crashes=random, checkpoint=beside), 0.5) is None
    assert formulas_of(load("text_to_sql", crashes=random, checkpoint="null"), 0.5) is None


def test_their_intervals_are_tried_beside_the_usual_ones() -> None:
    found = Formulas(30, 1200, 0.1, 268.3, 248.7)
    fields = {field.name: field for field in default_fields(load("text_to_sql"))[0]}
    tried = fields["checkpoint.every_rows"].with_formulas(found)
    assert labels(tried) == ["25", "27", "50", "(100)", "200", "400"]
    assert fields["batch_size"].with_formulas(found) == fields["batch_size"]
    by_time, _ = default_fields(load("text_to_sql", checkpoint="{every_s: 100}"))
    tried = {field.name: field for field in by_time}["checkpoint.every_s"].with_formulas(found)
    assert labels(tried) == ["25", "50", "(100)", "200", "249", "268", "400"]
