"""The options that commands of many runs share, and the loading of their scenario."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellspec.errors import FaultsError, SpecError
from cellspec.exit_codes import Parser
from sim.commands.loading import add_scenario, load
from sim.commands.options import add_how_many, add_where, stopping
from sim.experiments.intervals import Mean
from sim.experiments.stopping import MOST_RUNS, FixedRuns, Precision, Stopping, run_until

PLAIN = Path(__file__).parents[3] / "simulations" / "text_to_sql.yaml"


def read(*given: str, default: int | None = None) -> Stopping | None:
    parser = Parser(prog="cellspec")
    add_how_many(parser)
    add_where(parser)
    return stopping(parser.parse_args(given), default)


def test_a_command_says_how_many_runs_it_makes() -> None:
    assert read("--replications", "7") == FixedRuns(7)
    assert read("--precision", "0.02") == Precision(0.02, MOST_RUNS)
    assert read("--precision", "2%", "--most", "50") == Precision(0.02, 50)
    assert read() is None
    assert read(default=30) == FixedRuns(30)


@pytest.mark.parametrize("share", ["0", "1", "100%", "-0.1", "nan", "two", "%"])
def test_a_precision_is_a_share(share: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read(f"--precision={share}")
    assert f"expected a share above 0 and below 1, as 0.02 or 2%, got {share!r}" in (
        capsys.readouterr().err
    )


def test_a_number_of_runs_and_a_precision_exclude_each_other() -> None:
    with pytest.raises(SystemExit):
        read("--replications", "7", "--precision", "0.02")


def test_a_cap_without_a_precision_is_refused() -> None:
    with pytest.raises(SpecError, match=r"^--most: it caps the runs of --precision"):
        read("--replications", "7", "--most", "50")


def test_so_many_runs_are_made_at_once() -> None:
    sizes: list[int] = []
    found, met = run_until(FixedRuns(7), sizes.append, lambda: Mean(sizes[-1], 1.0, 1.0, 1.0))
    assert (sizes, found.runs, met) == ([7], 7, True)


@pytest.mark.parametrize(
    ("narrow", "most", "sizes_made", "met"),
    [
        # Narrow from the first look: not with fewer than 20 runs.
        (set(range(10, 99)), 99, [10, 13, 17, 22], True),
        # Narrow twice in a row.
        ({28, 35}, 99, [10, 13, 17, 22, 28, 35], True),
        # By chance at first: the next look says no.
        ({22, 35, 44}, 99, [10, 13, 17, 22, 28, 35, 44], True),
        # At the cap the last look decides.
        ({25}, 25, [10, 13, 17, 22, 25], True),
        (set(range(10, 15)), 13, [10, 13], True),
        ({22}, 25, [10, 13, 17, 22, 25], False),
    ],
)
def test_runs_are_added_until_two_intervals_are_narrow_or_the_cap_is_reached(
    narrow: set[int], most: int, sizes_made: list[int], met: bool
) -> None:
    sizes: list[int] = []

    def look() -> Mean:
        return Mean(sizes[-1], 1.0, 1.0, 0.01 if sizes[-1] in narrow else 0.5)

    found, is_met = run_until(Precision(0.1, most_runs=most), sizes.append, look)
    assert sizes == sizes_made
    assert (found.runs, is_met) == (sizes[-1], met)


def test_a_later_option_replaces_the_fields_of_an_earlier_one() -> None:
    sets = {"--set": ["rows=7", "seed=3"], "--set-b": ["rows=9"]}
    found = load(str(PLAIN), sets, prog="cellspec compare")
    assert (found.rows, found.seed) == (9, 3)
    assert load(str(PLAIN), sets, prog="cellspec compare", seed=4).seed == 4


def test_a_text_that_sets_nothing_names_its_option() -> None:
    with pytest.raises(FaultsError) as found:
        load(str(PLAIN), {"--set-b": ["rows"]}, prog="cellspec compare")
    assert found.value.lines == (
        "argument --set-b: expected FIELD=VALUE, got 'rows' (see cellspec compare --help)",
    )


def test_a_scenario_and_its_changes_are_arguments() -> None:
    parser = Parser(prog="cellspec")
    add_scenario(parser)
    args = parser.parse_args(["text_to_sql", "--set", "rows=7", "--set", "seed=3"])
    assert (args.scenario, args.overrides) == ("text_to_sql", ["rows=7", "seed=3"])
