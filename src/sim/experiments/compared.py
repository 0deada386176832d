"""Two scenarios compared, figure by figure, on runs that are paired by their seeds.

Run number k of scenario A and run number k of scenario B have the same seed, so that they meet the
same draws where both ask for them (*common random numbers*; `sim.draws` says of what a draw is a
function). What a slow call adds to both then cancels out, and far fewer runs show a difference.
*Independent* runs have other seeds for B; the interval is worked out in the same way, and is as
wide as that of unrelated runs.

`compare` runs both scenarios, and `compared` looks at runs that are there. A **figure** is what a
run gives; a **setting**, such as the policy or a limit, is what the scenario says. Names, seeds and
digests are neither: a scenario is identical to a copy of it with another name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from cellspec.errors import SpecError
from sim.experiments.deciding import GIVEN, check_figure, deciding, numbers
from sim.experiments.experiment import Experiment
from sim.experiments.intervals import NO_MEAN, Difference, Mean, mean_of, paired
from sim.experiments.replication import Replication
from sim.experiments.stopping import FixedRuns, Stopping, run_until
from sim.result_fields import Scalar
from sim.scenario.differences import differences
from sim.scenario.scenario import Scenario

__all__ = [
    "INDEPENDENT_SEED",
    "PAIRS",
    "Compared",
    "Comparison",
    "Outcomes",
    "Setting",
    "Verdict",
    "as_share",
    "compare",
    "compared",
]

PAIRS = 30
"""Pairs of runs, if nothing else is said."""

INDEPENDENT_SEED = 1_000_000
"""What B's seeds have more than A's where the runs are independent."""

_NOT_COMPARED = frozenset(
    {"name", "scenario_digest", "seed", "checked", "verdict", "fingerprint", "notes", *GIVEN}
)

_Figures: TypeAlias = Mapping[str, Scalar]

Verdict = Literal["identical", "lower", "higher", "no difference shown", "lacking"]


@dataclass(frozen=True, slots=True)
class Compared:
    """A number that runs of both scenarios give.

    Attributes:
        figure: its name.
        found: the difference; None if a run lacks the figure.
        identical: both runs of each pair have the same, or both lack it.
        lacking_a, lacking_b: runs of each scenario that lack it, such as the time of the first
            row in a run that delivers none.
    """

    figure: str
    found: Difference | None
    identical: bool
    lacking_a: int = 0
    lacking_b: int = 0

    @property
    def verdict(self) -> Verdict:
        """What the runs show of B beside A."""
        if self.identical:
            return "identical"
        if self.found is None:
            return "lacking"
        if not self.found.is_shown:
            return "no difference shown"
        return "lower" if self.found.difference.mean < 0 else "higher"


@dataclass(frozen=True, slots=True)
class Outcomes:
    """A figure that is a word, such as how a run ended: how many runs of each scenario say what.

    Attributes:
        figure: its name.
        a, b: by word, the runs of each; words in the order of the alphabet.
        identical: the runs of each pair say the same.
    """

    figure: str
    a: Mapping[str, int]
    b: Mapping[str, int]
    identical: bool


@dataclass(frozen=True, slots=True)
class Setting:
    """A field in which the scenarios differ.

    Attributes:
        name: as `--set` has it.
        a, b: what each has, as JSON has it; None if it lacks the field.
    """

    name: str
    a: Any
    b: Any


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two scenarios, compared.

    Attributes:
        pairs: runs of each.
        first_seed_a, first_seed_b: the seed of the first run of each.
        figures: those that both have, in the order of A's.
        outcomes: the figures that are words.
        settings: the fields in which the scenarios differ; none of runs alone (`compared`).
        only_a, only_b: figures that only one of the scenarios has.
        shown: names of the figures that decide most, among those that both have.
        checked: every event of each run was judged.
        same_scenario: A and B differ in names and descriptions alone.
        is_alike: all pairs have the same figures: nothing in the scenarios is random.
    """

    pairs: int
    first_seed_a: int
    first_seed_b: int
    figures: tuple[Compared, ...]
    outcomes: tuple[Outcomes, ...]
    settings: tuple[Setting, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    shown: tuple[str, ...]
    checked: bool
    same_scenario: bool
    is_alike: bool

    @property
    def independent(self) -> bool:
        """Whether the runs of a pair have nothing in common."""
        return self.first_seed_a != self.first_seed_b

    @property
    def identical(self) -> bool:
        """Whether every figure is the same in both runs of each pair."""
        return (
            not (self.only_a or self.only_b)
            and all(one.identical for one in self.figures)
            and all(one.identical for one in self.outcomes)
        )

    def of(self, figure: str) -> Compared:
        """A number by its name.

        Raises:
            KeyError: it is none that both scenarios have.
        """
        for one in self.figures:
            if one.figure == figure:
                return one
        raise KeyError(figure)


def compare(
    a: Scenario,
    b: Scenario,
    rule: Stopping = FixedRuns(PAIRS),  # noqa: B008 - it cannot be changed
    *,
    figure: str = "makespan_s",
    first_seed: int = 0,
    independent: bool = False,
    jobs: int = 1,
    cluster: str = "loky",
    checked: bool = True,
    files: Sequence[str] = (),
    on_run: Callable[[int, Replication], object] = lambda _place, _run: None,
) -> tuple[Comparison, Experiment]:
    """Run two scenarios with the same seeds, and compare their figures.

    Args:
        a, b: the scenarios.
        rule: when there are enough pairs. A precision is about the difference of the figure, as a
            share of A's mean.
        figure: the one that the rule looks at.
        first_seed: of the first pair; those of the others follow it.
        independent: give B other seeds.
        jobs: runs at once.
        cluster: one of `cellspec.parallel.CLUSTERS`.
        checked: judge time too.
        files: those of the scenarios, for the errors of their runs.
        on_run: called after each run, with 0 for A or 1 for B, and the run.

    Returns:
        The comparison, and the runs that it is of.

    Raises:
        SpecError: there is no such figure; a run may never end, or draws what an endpoint can never
            hold.
        MissingExtraError: scipy is not installed, or several jobs and joblib is not.
        Violation: an event breaks a clause.
    """
    # What is not installed shows itself before hours of runs.
    mean_of((0.0, 1.0))
    first_b = first_seed + INDEPENDENT_SEED * independent
    made = Experiment(
        (a, b),
        first_seeds=(first_seed, first_b),
        jobs=jobs,
        cluster=cluster,
        checked=checked,
        names=files,
        on_run=on_run,
    )
    names = a.name, b.name
    # A name that is spelled wrong must not cost the runs.
    made.grow(1)
    _check_figure(compared(*made.runs, names=names), figure, made.runs[0][0])

    def look() -> Mean:
        return as_share(compared(*made.runs, names=names, only=figure).of(figure))

    run_until(rule, made.grow, look)
    settings = tuple(Setting(name, *values) for name, values in differences(a, b).items())
    found = compared(*made.runs, names=names)
    return replace(found, settings=settings, same_scenario=not settings), made


def as_share(found: Compared) -> Mean:
    """What a rule looks at: A's mean, with the interval of the difference as a share of it.

    Without an interval no precision is met.
    """
    if found.found is None:
        return NO_MEAN
    difference, share = found.found.difference, found.found.relative_half_width
    mean = found.found.a.mean
    half = difference.half_width if share is None else share * abs(mean)
    return Mean(difference.runs, mean, None, half)


def _check_figure(found: Comparison, name: str, run: Replication) -> None:
    """Refuse the name of a figure that cannot be compared.

    Args:
        found: one pair of runs, compared.
        name: as a user gave it.
        run: the one of A.

    Raises:
        SpecError: it is none; one line that says what could be meant.
    """
    if name in {one.figure for one in found.figures}:
        return
    for letter, names in (("A", found.only_a), ("B", found.only_b)):
        if name in names:
            raise SpecError(f"--figure: only scenario {letter} has the figure {name!r}")
    check_figure(name, run.figures)
    near = [one.figure for one in found.figures if one.figure.endswith(f".{name}")]
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise SpecError(f"--figure: not both scenarios have the figure {name!r}{hint}")


def compared(
    a: Sequence[Replication],
    b: Sequence[Replication],
    *,
    names: tuple[str, str] = ("", ""),
    only: str | None = None,
) -> Comparison:
    """Compare runs, each run of A with the run of B at the same place.

    Args:
        a, b: the runs of each scenario, as many of each, and at least one.
        names: of the scenarios; figures of B's own pipeline are compared with those of A's own,
            whatever they are called. Of pipelines beside them those of one name are compared.
        only: the one figure that is wanted; None for all.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    here, there = _alike_named([run.figures for run in a], [run.figures for run in b], *names)
    shared = [name for name in here[0] if name in there[0]]
    figures, outcomes = [], []
    for name in shared:
        last = name.rpartition(".")[2]
        if last in _NOT_COMPARED or only not in (None, name):
            continue
        mine, others = [one[name] for one in here], [one[name] for one in there]
        if any(isinstance(value, str) for value in (*mine, *others)):
            outcomes.append(_words(name, mine, others))
        else:
            figures.append(_numbers(name, mine, others))
    known = {one.figure for one in figures}
    return Comparison(
        pairs=len(here),
        first_seed_a=a[0].seed,
        first_seed_b=b[0].seed,
        figures=tuple(figures),
        outcomes=tuple(outcomes),
        settings=(),
        only_a=_only(here[0], there[0]),
        only_b=_only(there[0], here[0]),
        shown=tuple(name for name in deciding([*here, *there]) if name in known),
        checked=all(one["checked"] is True for one in (*here, *there)),
        same_scenario=all(
            one.get("scenario_digest") == other.get("scenario_digest") is not None
            for one, other in zip(here, there, strict=True)
        ),
        is_alike=len(here) > 1 and all(_is_alike(runs) for runs in (here, there)),
    )


def _is_alike(runs: Sequence[Mapping[str, Scalar]]) -> bool:
    """Whether all runs have the same numbers."""
    return all(numbers(run) == numbers(runs[0]) for run in runs)


def _numbers(name: str, a: Sequence[Scalar], b: Sequence[Scalar]) -> Compared:
    mine = [float(value) for value in a if value is not None]
    others = [float(value) for value in b if value is not None]
    lacking = len(a) - len(mine), len(b) - len(others)
    found = None if any(lacking) else paired(mine, others)
    return Compared(name, found, list(a) == list(b), *lacking)


def _words(name: str, a: Sequence[Scalar], b: Sequence[Scalar]) -> Outcomes:
    mine, others = (dict(sorted(Counter(map(str, values)).items())) for values in (a, b))
    return Outcomes(name, mine, others, list(a) == list(b))


def _only(here: Iterable[str], there: Mapping[str, Scalar]) -> tuple[str, ...]:
    return tuple(
        name for name in here if name not in there and name.rpartition(".")[2] not in GIVEN
    )


def _alike_named(
    a: Sequence[_Figures], b: Sequence[_Figures], ours: str, theirs: str
) -> tuple[Sequence[_Figures], Sequence[_Figures]]:
    """The figures of both with equal names for those of the file's own pipeline.

    Beside others it is a ``pipeline.NAME``, and where only one scenario has others that of the
    other scenario is called so too: what is beside it then shows itself in its figures.
    """
    beside_a, beside_b = (any(name.startswith("pipeline.") for name in runs[0]) for runs in (a, b))
    own = f"pipeline.{ours}."
    if beside_a and not beside_b:
        return a, _as_pipeline(b, own, a[0])
    b = _with_own_name(b, own, f"pipeline.{theirs}.")
    return (_as_pipeline(a, own, b[0]), b) if beside_b and not beside_a else (a, b)


def _as_pipeline(runs: Sequence[_Figures], own: str, beside: _Figures) -> Sequence[_Figures]:
    """The figures of a pipeline alone: those that a run of several has, and its own."""
    return [
        {name: value for name, value in run.items() if name in beside}
        | {own + name: value for name, value in run.items()}
        for run in runs
    ]


def _with_own_name(runs: Sequence[_Figures], own: str, old: str) -> Sequence[_Figures]:
    """Figures with another name for the file's own pipeline; nothing changes where it is taken."""
    if old == own or any(name.startswith(own) for name in runs[0]):
        return runs
    return [
        {
            own + name.removeprefix(old) if name.startswith(old) else name: value
            for name, value in run.items()
        }
        for run in runs
    ]
