"""Elimination: what is put out, by what, and how seldom the best is."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from math import inf

import pytest

from cellspec.errors import SpecError
from sim.experiments.elimination import Effort, Elimination, Kept, Limit, eliminate
from sim.experiments.intervals import Mean

Draw = Callable[[int, int], float]
"""The figure of a candidate with a seed."""


class Made:
    """Runs whose figures are drawn by functions; `asked` has how many were made of each."""

    def __init__(self, candidates: int, figures: dict[str, Draw]) -> None:
        self.asked = [0] * candidates
        self._figures = figures

    def grow(self, size: int, places: Iterable[int] | None = None) -> None:
        for place in range(len(self.asked)) if places is None else places:
            self.asked[place] = max(self.asked[place], size)

    def values(self, figure: str, place: int = 0) -> list[float] | None:
        found = [self._figures[figure](place, seed) for seed in range(self.asked[place])]
        return None if any(value == inf for value in found) else found


def common(seed: int) -> float:
    """What the runs of one seed have in common."""
    return random.Random(seed).gauss(0, 10)


def own_part(place: int, seed: int, sd: float = 1.0) -> float:
    return random.Random(f"{place}:{seed}").gauss(0, sd)


def search(
    means: Sequence[float], *, more_is_better: bool = False, **options: object
) -> tuple[Elimination, Made]:
    made = Made(
        len(means), {"x": lambda place, seed: means[place] + common(seed) + own_part(place, seed)}
    )
    found = eliminate(made, len(means), "x", less_is_better=not more_is_better, **options)  # type: ignore[arg-type]
    return found, made


def test_one_that_is_far_better_is_left_after_the_first_round() -> None:
    found, made = search([100, 60, 90])
    assert (found.chosen, found.ended, found.sizes) == (1, "one left", (10,))
    assert made.asked == [10, 10, 10]
    out = found.standings[0].out
    assert out is not None
    assert out.against is not None
    assert (out.reason, out.runs, out.against.place) == ("worse", 10, 1)
    assert out.against.found.difference.mean == pytest.approx(40, abs=2)


def test_more_may_be_better() -> None:
    assert search([100, 60, 90], more_is_better=True)[0].chosen == 0


def test_what_is_out_makes_no_more_runs() -> None:
    found, made = search([100, 60, 60.5], effort=Effort(precision=0.001, most_runs=44))
    assert made.asked[0] == 10
    assert made.asked[1] == made.asked[2] > 10
    assert found.standings[0].out is not None


def test_those_that_cannot_be_better_by_more_than_is_wished_are_not_told_apart() -> None:
    found, _ = search([60, 60.1, 90], effort=Effort(precision=0.1))
    assert found.ended == "precise"
    assert [one.place for one in found.left()] == [0, 1]
    beside = found.standings[1 - (found.chosen or 0)].against
    assert beside is not None
    assert not beside.found.is_shown


def test_a_search_that_cannot_tell_ends_at_the_cap() -> None:
    found, made = search([60, 60], effort=Effort(precision=1e-6, most_runs=30))
    assert (found.ended, found.sizes, made.asked) == ("cap", (10, 13, 17, 22, 28, 30), [30, 30])


def test_the_scenario_as_it_is_stays_unless_a_change_is_worth_it() -> None:
    assert search([60, 59.9], changes=[0, 1], effort=Effort(precision=0.2))[0].chosen == 0
    assert search([60, 59.9], changes=[1, 0], effort=Effort(precision=0.2))[0].chosen == 1
    assert search([60, 40], changes=[0, 1])[0].chosen == 1


def test_of_equal_ones_the_one_with_fewest_changes_is_best_and_else_the_first() -> None:
    made = Made(3, {"x": lambda _place, seed: common(seed)})
    found = eliminate(made, 3, "x", less_is_better=True, changes=[1, 1, 0])
    assert (found.chosen, found.ended) == (2, "precise")
    assert eliminate(made, 3, "x", less_is_better=True).chosen == 0


def test_a_difference_of_float_sums_is_none() -> None:
    made = Made(2, {"x": lambda place, _seed: 0.1 + 0.2 if place else 0.3})
    found = eliminate(made, 2, "x", less_is_better=True, changes=[1, 0])
    assert found.standings[1].out is None
    assert found.chosen == 1


# Limits


def limited(
    means: Sequence[float], spans: Sequence[float], most: float, **options: object
) -> Elimination:
    figures: dict[str, Draw] = {
        "x": lambda place, seed: means[place] + own_part(place, seed),
        "span": lambda place, seed: spans[place] + own_part(place, -1 - seed),
    }
    limits = [Limit("span", most)]
    made = Made(len(means), figures)
    return eliminate(made, len(means), "x", less_is_better=True, limits=limits, **options)  # type: ignore[arg-type]


def test_what_breaks_a_limit_is_out_however_good_it_is() -> None:
    found = limited([10, 50], [200, 50], 100)
    out = found.standings[0].out
    assert out is not None
    assert out.limit is not None
    assert (out.reason, out.limit.meets, out.limit.over) == ("limit", False, 10)
    assert found.chosen == 1
    assert found.standings[1].limits[0].meets is True


def test_what_is_at_the_limit_puts_nothing_out() -> None:
    """The better one may break the limit: its interval holds it."""
    found = limited([10, 50], [100, 50], 100, effort=Effort(precision=1e-9, most_runs=20))
    assert found.standings[0].limits[0].meets is None
    assert found.standings[1].out is None
    assert found.chosen == 1


def test_a_mean_at_the_limit_ends_the_search_as_undetermined() -> None:
    found = limited([10, 50], [100, 50], 100, effort=Effort(precision=0.05))
    assert found.sizes[-1] < 200
    assert found.standings[0].limits[0].meets is None
    assert found.chosen == 1


def test_if_all_break_the_limit_the_nearest_is_known() -> None:
    found = limited([10, 50, 20], [200, 150, 170], 100)
    assert found.chosen is None
    assert found.nearest() == 1


# What cannot be compared


def test_a_candidate_that_cannot_be_run_is_out_and_the_others_go_on() -> None:
    class Breaking(Made):
        def grow(self, size: int, places: Iterable[int] | None = None) -> None:
            if places == [1]:
                raise SpecError("the run may never end")
            super().grow(size, places)

    made = Breaking(3, {"x": lambda place, seed: 60 + 20 * place + own_part(place, seed)})
    found = eliminate(made, 3, "x", less_is_better=True)
    out = found.standings[1].out
    assert out is not None
    assert (out.reason, out.runs, out.text) == ("refused", 0, "the run may never end")
    assert found.chosen == 0


def test_a_candidate_with_a_run_without_the_figure_is_out() -> None:
    def draw(place: int, seed: int) -> float:
        return inf if (place, seed) == (0, 7) else 50 + place + own_part(place, seed)

    found = eliminate(Made(2, {"x": draw}), 2, "x", less_is_better=True)
    out = found.standings[0].out
    assert out is not None
    assert (out.reason, out.text) == ("no figure", "x")
    assert found.chosen == 1


def test_a_figure_that_nobody_has_chooses_nobody() -> None:
    found = eliminate(Made(2, {"x": lambda *_: inf}), 2, "x", less_is_better=True)
    assert (found.chosen, found.nearest(), found.left()) == (None, None, [])


# Rare crashes


def crashing(came: Draw, most_runs: int = 22) -> Elimination:
    """Candidates 3 % apart, and one that is far worse; crashes come as the function says."""
    spans = [100.0, 97.0, 400.0]
    made = Made(3, {"x": lambda place, _seed: spans[place], "crashes": came})
    effort = Effort(precision=0.001, most_runs=most_runs)
    return eliminate(
        made,
        3,
        "x",
        less_is_better=True,
        limits=[Limit("x", 110.0)],
        effort=effort,
        crashes="crashes",
    )


def test_runs_without_a_crash_do_not_show_what_crashes_cost() -> None:
    found = crashing(lambda _place, _seed: 0)
    assert [one.out is None for one in found.standings] == [True, True, False]
    assert found.ended == "cap"
    assert found.chosen == 1
    assert found.standings[1].saw_few_crashes
    # 97 is below 110, and may be above with the crashes that did not come.
    assert found.standings[1].limits[0].meets is None


def test_ten_runs_with_a_crash_are_enough() -> None:
    found = crashing(lambda _place, _seed: 2)
    assert (found.chosen, found.ended, found.sizes) == (1, "one left", (10,))
    assert found.standings[1].crashed == 10
    assert found.standings[1].limits[0].meets is True


def test_it_is_the_better_one_that_may_be_worse_than_it_looks() -> None:
    """Crashes that the worse one did not meet could only make it worse still."""
    found = crashing(lambda place, _seed: place == 1)
    out = found.standings[0].out
    assert out is not None
    assert out.reason == "worse"
    assert found.chosen == 1


def test_a_share_may_be_lost_whole() -> None:
    shares = [0.0, 0.01]
    figures: dict[str, Draw] = {
        "lost_share": lambda place, _seed: shares[place],
        "crashes": lambda _place, seed: seed < 3,
    }
    effort = Effort(most_runs=13)
    found = eliminate(
        Made(2, figures), 2, "lost_share", less_is_better=True, effort=effort, crashes="crashes"
    )
    assert found.left() == list(found.standings)


# How sure


def test_the_error_is_divided_by_looks_and_by_what_could_put_the_best_out() -> None:
    effort = Effort(most_runs=17)
    assert effort.sizes() == (10, 13, 17)
    assert effort.level(5, 0) == pytest.approx(1 - 2 * 0.05 / (4 * 3))
    # Two limits: 4 others that are better, 2 broken limits, 8 limits of others that look kept.
    assert effort.level(5, 2) == pytest.approx(1 - 2 * 0.05 / ((4 + 2 + 8) * 3))
    assert Effort(most_runs=4).sizes() == (4,)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["normal", "skewed"])
def test_the_best_is_seldom_put_out(kind: str) -> None:
    """All candidates are equal, and any of them counts as the best: the hardest case there is."""
    lost, searches, candidates = 0, 100, 4
    for number in range(searches):
        rng = random.Random(f"{kind}:{number}")
        table = [
            [rng.gauss(0, 1) if kind == "normal" else rng.expovariate(1) for _ in range(candidates)]
            for _ in range(28)
        ]
        made = Made(candidates, {"x": lambda place, seed, table=table: 50 + table[seed][place]})  # type: ignore[misc]
        found = eliminate(
            made, candidates, "x", less_is_better=True, effort=Effort(precision=1e-9, most_runs=28)
        )
        lost += found.standings[number % candidates].out is not None
    # 5 % are allowed; with so many more than 11 of 100 come up with probability 0.004.
    assert lost <= 11


# What was chosen before


def rare(place: int, seed: int) -> float:
    """Equal in the first runs; later the one with place 0 is worse now and then."""
    return 100.0 + (400.0 if place == 0 and seed > 20 and seed % 10 == 0 else seed % 3)


def test_what_was_chosen_before_stays_unless_another_is_better_in_all_of_its_runs() -> None:
    made = Made(2, {"x": rare})
    made.grow(200, [1])
    alone = eliminate(made, 2, "x", less_is_better=True)
    assert alone.chosen == 0
    assert alone.held is None
    found = eliminate(made, 2, "x", less_is_better=True, before=1)
    assert found.chosen == 1
    assert found.held is not None
    assert found.held.place == 0
    assert found.held.found.a.runs == 200
    assert found.held.found.difference.mean > 0
    assert found.standings[0].against is not None
    assert found.standings[0].against.place == 1


def test_what_was_chosen_before_goes_if_another_is_better() -> None:
    made = Made(2, {"x": rare})
    made.grow(200, [0])
    found = eliminate(made, 2, "x", less_is_better=True, before=0, changes=[1, 0])
    assert (found.chosen, found.held) == (1, None)


def test_a_limit_is_judged_by_its_interval() -> None:
    assert Kept(Limit("x", 10.0), Mean(10, 9.0, 1.0, 0.5), 0).meets is True
    assert Kept(Limit("x", 10.0), Mean(10, 9.0, 1.0, 1.5), 0).meets is None
    assert Kept(Limit("x", 10.0), Mean(10, 12.0, 1.0, 1.5), 0).meets is False
    assert Kept(Limit("x", 10.0), Mean(1, 9.0, None, None), 0).meets is None
    assert Kept(Limit("x", 10.0), Mean(10, 10.0, 1.0, 0.09), 0).is_settled(0.01)
    assert not Kept(Limit("x", 10.0), Mean(10, 10.0, 1.0, 0.11), 0).is_settled(0.01)
