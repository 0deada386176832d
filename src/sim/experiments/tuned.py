"""`tune`: the settings of a scenario that serve a goal best, of those that were tried.

All settings run with the same seeds, and are put out round by round
(`sim.experiments.elimination`). Few combinations are all tried, at most `PRODUCT`. More are
searched *one field at a time*: the values of the first field, with the rest as the scenario has it;
then those of the second, with the best of the first; and so on, and again for each field whose
surroundings have changed since, until nothing changes or after `PASSES` passes. A value that was
chosen before stays unless another one is shown to be better, so that no pass undoes what an earlier
one gained. The result says nothing of combinations that were not tried. A setting that was run once
keeps its runs.

The best of many looks better than it is, because chance helped to choose it. So the winner and the
scenario as it is are run once more, with seeds that the search did not use: `Fresh`.

The error of 5 % that a search allows itself is that of each *stage*, the candidates that are
compared with each other.

Goals, figures and fields are those of the file's own pipeline; pipelines beside it run with it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Final

from cellspec.errors import FaultsError, SpecError
from sim.experiments.checkpoint_interval import Formulas, formulas_of, mean_between_crashes_s
from sim.experiments.elimination import Effort, Elimination, Kept, Limit, Standing, eliminate
from sim.experiments.experiment import Experiment
from sim.experiments.intervals import Difference, Mean, mean_of, paired
from sim.experiments.replication import Replication, replicate
from sim.experiments.tuning_fields import Choice, Field, Settings, merged, other_result
from sim.result_fields import Scalar
from sim.scenario.scenario import Scenario

__all__ = [
    "FRESH",
    "FURTHER",
    "GOALS",
    "PASSES",
    "PRODUCT",
    "Candidate",
    "Fresh",
    "Goal",
    "Stage",
    "Tuned",
    "Tuning",
    "figure_of",
]

PRODUCT = 24
"""So many combinations are all tried; more are searched one field at a time."""

FURTHER = 6
"""How often a stage is made again with one number more of a field whose end was the best."""

PASSES = 3
"""How often all fields are looked at, one after the other."""

FRESH = 20
"""So many runs with fresh seeds are made at least, where the cap allows them."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be as good as possible: the mean of a figure.

    Attributes:
        name: as ``--goal`` takes it.
        figure: as ``run --format csv`` names it.
        less_is_better: which way is good.
    """

    name: str
    figure: str
    less_is_better: bool


GOALS: Final[Mapping[str, Goal]] = {
    goal.name: goal
    for goal in (
        Goal("throughput", "rows_per_s", False),
        Goal("cost", "cost", True),
        Goal("loss", "busy_lost_share", True),
        Goal("first-rows", "first_row_s", True),
    )
}
"""By name. Of what crashes lose the share is taken, because busy seconds depend on the load."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Settings that are compared with others.

    Attributes:
        label: the values of the fields that are compared, in their order.
        settings: all that is set.
        changed: how many of the compared fields are not as the scenario has them.
        choices: of each compared field, its value.
    """

    label: str
    settings: Settings
    changed: int
    choices: tuple[Choice, ...] = ()


@dataclass(frozen=True, slots=True)
class Stage:
    """Candidates that were compared with each other.

    Attributes:
        number: the pass, from 1; 1 too if all combinations are tried.
        fields: that differ between the candidates.
        base: the settings that all of them have.
        candidates: in their order.
        found: how each stands, by its place.
        chosen: the place of the best, or, if all break a limit, of the one nearest to it; None if
            none can be run.
    """

    number: int
    fields: tuple[Field, ...]
    base: Settings
    candidates: tuple[Candidate, ...]
    found: Elimination
    chosen: int | None

    def beside(self) -> Iterator[tuple[Candidate, Standing]]:
        """The candidates that are not told apart from the chosen one."""
        held = None if self.found.held is None else self.found.held.place
        for one in self.found.left():
            if one.place not in (self.chosen, held):
                yield self.candidates[one.place], one


@dataclass(frozen=True, slots=True)
class Fresh:
    """Runs of the winner, and of the scenario as it is, with seeds that chose nothing.

    Intervals are of 95 %: nothing was chosen by these runs.

    Attributes:
        first_seed: of these runs.
        runs: of each of the two.
        best: the goal's figure of the winner; None if a run has none.
        own: that of the scenario as it is; None if it has none, or cannot be run.
        gain: the winner's less the own one, seed by seed; None if one of them has none.
        keeps: how the winner stands to each limit.
        makespan_s: of the winner, in seconds; None if a run has none.
        error: why a run of the winner cannot be made; "" if all can.
    """

    first_seed: int
    runs: int
    best: Mean | None = None
    own: Mean | None = None
    gain: Difference | None = None
    keeps: tuple[Kept, ...] = ()
    makespan_s: Mean | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was tried, and what came of it.

    Attributes:
        goal: with `figure` as the results name it.
        figure: its name in the runs; with pipelines beside it that of the file's own.
        limits: that are to be kept.
        effort: how sure and how long.
        one_at_a_time: whether fields were searched one after the other.
        stages: in order.
        settled: whether the last pass changed nothing.
        tried: how many different settings were compared.
        winner: the best settings; None if none can be run.
        fresh: runs of the winner with other seeds; None without a winner, or if they are not
            wanted.
        formulas: Young's and Daly's checkpoint interval for the winner; None where they say
            nothing.
    """

    goal: Goal
    figure: str
    limits: tuple[Limit, ...]
    effort: Effort
    one_at_a_time: bool
    stages: tuple[Stage, ...]
    settled: bool
    tried: int
    winner: Settings | None
    fresh: Fresh | None = None
    formulas: Formulas | None = None

    @property
    def breaks_limits(self) -> bool:
        """Whether the winner is only the one that is nearest to the limits."""
        return self.winner is not None and self.stages[-1].found.chosen is None

    @property
    def keeps_limits(self) -> bool:
        """Whether runs that chose nothing show the winner to keep all limits."""
        if self.winner is None or self.breaks_limits:
            return False
        if self.fresh is None or not self.limits:
            return True
        kept = self.fresh.keeps
        return len(kept) == len(self.limits) and all(one.meets for one in kept)

    def last_stages(self) -> list[Stage]:
        """Of each field the last stage: it compared what is beside the winner."""
        last = {tuple(one.name for one in stage.fields): stage for stage in self.stages}
        return [stage for stage in self.stages if stage in last.values()]


def figure_of(scenario: Scenario, figure: str) -> str:
    """A figure of the file's own pipeline, as runs name it.

    Args:
        scenario: perhaps with others beside it.
        figure: as one pipeline alone has it.
    """
    return f"pipeline.{scenario.name}.{figure}" if scenario.beside else figure


@dataclass
class Tuning:
    """A search for the best settings.

    Attributes:
        load: gives the scenario with settings.
        fields: that are searched.
        goal: of the search.
        limits: what must be kept.
        effort: how sure and how long.
        allowed: barriers that may read other rows; see `other_result`.
        completed: gives settings with what they bring with them, as `with_workers` does.
        first_seed: of all runs.
        jobs, cluster, checked: as of `Experiment`.
        on_run: called after each run; for progress.
        confirm: whether the winner is run again with fresh seeds.
        on_stage: called before each stage, with its number, the fields and the candidates.
        on_round: called between two rounds of a stage, as of `eliminate`.
        on_fresh: called before the runs with fresh seeds, with how many each of them is to have.
    """

    load: Callable[[Settings], Scenario]
    fields: Sequence[Field]
    goal: Goal
    limits: Sequence[Limit] = ()
    effort: Effort = field(default_factory=Effort)
    allowed: Collection[str] = ()
    completed: Callable[[Settings], Settings] = lambda settings: settings
    first_seed: int = 0
    jobs: int = 1
    cluster: str = "loky"
    checked: bool = True
    on_run: Callable[[Replication], object] = lambda _run: None
    confirm: bool = True
    on_stage: Callable[[int, Sequence[Field], int], object] = lambda *_what: None
    on_round: Callable[[Mean | None, int, int], object] = lambda *_what: None
    on_fresh: Callable[[int], object] = lambda _runs: None

    def __post_init__(self) -> None:
        # Without the packages of the extra no run is made.
        mean_of((0.0, 1.0))
        self._own = self.load({})
        self._figure = figure_of(self._own, self.goal.figure)
        drawn = mean_between_crashes_s(self._own) is not None
        self._crashes = figure_of(self._own, "crashes") if drawn else None
        self._experiments: dict[tuple[tuple[str, str], ...], Experiment | SpecError] = {}
        self._stages: list[Stage] = []

    def own_figures(self) -> Mapping[str, Scalar]:
        """The figures of one run of the scenario as it is.

        Raises:
            SpecError: it cannot be run.
            Violation: an event of the run breaks a clause.
        """
        own = self._experiment({})
        if isinstance(own, SpecError):
            raise own
        own.grow(1)
        return own.runs[0][0].figures

    def result(self) -> Tuned:
        """Search, and say what was found.

        Raises:
            MissingExtraError: a package of the extra `experiments` is not installed.
            Violation: an event of a run breaks a clause.
            KeyError: no run has a figure of a limit's name.
        """
        combinations = 1
        for one in self.fields:
            combinations *= len(one.choices)
        together = combinations <= PRODUCT
        if together:
            fields = tuple(self._with_formulas(one, {}) for one in self.fields)
            found, settled = self._compare(1, fields, (), {}), True
        else:
            found, settled = self._one_at_a_time()
        return self._ended(found, settled, one_at_a_time=not together)

    def _one_at_a_time(self) -> tuple[Candidate | None, bool]:
        """Each field after the other, until nothing changes."""
        chosen: dict[str, Choice] = {}
        surroundings: dict[str, Settings] = {}
        found: Candidate | None = None
        for number in range(1, PASSES + 1):
            changed = False
            for one in self.fields:
                rest = [choice for name, choice in chosen.items() if name != one.name]
                around = self._merged(rest)
                if surroundings.get(one.name) == around:
                    continue
                surroundings[one.name], changed = around, True
                field = self._with_formulas(one.having(chosen.get(one.name)), around)
                found = self._compare(number, (field,), rest, self._merged(chosen.values()))
                if found is None:
                    return None, True
                (chosen[one.name],) = found.choices
            if not changed:
                return found, True
        return found, all(
            surroundings[one.name]
            == self._merged(choice for name, choice in chosen.items() if name != one.name)
            for one in self.fields
        )

    def _compare(
        self, number: int, fields: Sequence[Field], rest: Sequence[Choice], kept: Settings
    ) -> Candidate | None:
        """Compare all combinations of some fields; the best one, None if none can be run.

        Where the end of a ladder is shown to be better than what is next to it, all are compared
        anew with one number more; runs are not made twice.

        Args:
            number: of the pass.
            fields: that are compared.
            rest: the choices of the other fields.
            kept: the best settings so far: they stay unless others are better.
        """
        found = self._stage(number, fields, rest, kept)
        for _ in range(FURTHER):
            more = fields if found is None else self._grown(fields, found)
            if more == fields:
                break
            fields = more
            self._stages.pop()
            found = self._stage(number, fields, rest, kept)
        return found

    def _grown(self, fields: Sequence[Field], found: Candidate) -> Sequence[Field]:
        """The fields, with one number more where the chosen one leads beyond its neighbour."""
        stage, more = self._stages[-1], list(fields)
        for place, one in enumerate(fields):
            labels = [choice.label for choice in one.choices]
            at = labels.index(found.choices[place].label)
            near = one.choices[min(1, len(labels) - 1) if at == 0 else at - 1]
            beside = (*found.choices[:place], near, *found.choices[place + 1 :])
            is_shown = any(
                candidate.choices == beside and standing.out is not None
                for candidate, standing in zip(stage.candidates, stage.found.standings, strict=True)
            )
            if is_shown:
                more[place] = one.grown(labels[at])
        return more if more != list(fields) else fields

    def _stage(
        self, number: int, fields: Sequence[Field], rest: Sequence[Choice], kept: Settings
    ) -> Candidate | None:
        """One elimination of `_compare`."""
        candidates = tuple(self._combined(fields, rest))
        self.on_stage(number, fields, len(candidates))
        runs = _Runs([self._experiment(one.settings) for one in candidates])
        before = [
            place for place, one in enumerate(candidates) if self._stages and one.settings == kept
        ]
        found = eliminate(
            runs,
            len(candidates),
            self._figure,
            less_is_better=self.goal.less_is_better,
            limits=self.limits,
            effort=self.effort,
            changes=[0 if one.settings == kept else 1 + one.changed for one in candidates],
            crashes=self._crashes,
            before=before[0] if before else None,
            on_round=self.on_round,
        )
        chosen = found.chosen if found.chosen is not None else found.nearest()
        base = self._merged(rest)
        self._stages.append(Stage(number, tuple(fields), base, candidates, found, chosen))
        return None if chosen is None else candidates[chosen]

    def _combined(self, fields: Sequence[Field], rest: Sequence[Choice]) -> Iterator[Candidate]:
        """All combinations of the choices of some fields, the last field's fastest; each once.

        Of labels for the same settings that one stands which changes least.
        """
        found: dict[tuple[tuple[str, str], ...], Candidate] = {}
        for choices in product(*(one.choices for one in fields)):
            changed = sum(not choice.is_own for choice in choices)
            label = ", ".join(choice.label for choice in choices)
            one = Candidate(label, self._merged((*rest, *choices)), changed, choices)
            key = tuple(one.settings.items())
            if key not in found or changed < found[key].changed:
                found[key] = one
        return iter(found.values())

    def _merged(self, choices: Iterable[Choice]) -> Settings:
        """What some choices set and bring with them, in the order of the fields."""
        settings = self.completed(merged(choices))
        places = {each.name: place for place, each in enumerate(self.fields)}
        names = sorted(settings, key=lambda name: places.get(name, len(places)))
        return {name: settings[name] for name in names}

    def _experiment(self, settings: Settings) -> Experiment | SpecError:
        """The runs of these settings, or why there are none."""
        key = tuple(sorted(settings.items()))
        if key not in self._experiments:
            self._experiments[key] = self._new(settings)
        return self._experiments[key]

    def _new(self, settings: Settings) -> Experiment | SpecError:
        try:
            scenario = self.load(settings)
        except FaultsError as error:
            return SpecError(error.lines[0])
        except SpecError as error:
            return error
        if why := other_result(self._own, scenario, self.allowed):
            return SpecError(why)
        return self._of([scenario], self.first_seed)

    def _of(self, scenarios: Sequence[Scenario], first_seed: int) -> Experiment:
        return Experiment(
            scenarios,
            first_seeds=[first_seed] * len(scenarios),
            jobs=self.jobs,
            cluster=self.cluster,
            checked=self.checked,
            on_run=lambda _place, run: self.on_run(run),
        )

    def _with_formulas(self, one: Field, base: Settings) -> Field:
        return one.with_formulas(self._formulas(base)) if one.is_interval else one

    def _formulas(self, settings: Settings) -> Formulas | None:
        """Young's and Daly's interval at the speed of one run without crashes and writes."""
        try:
            scenario = self.load(settings)
            if formulas_of(scenario, 1.0) is None:
                return None
            calm = self.load({**settings, "crashes": "[]", "checkpoint.write_s": "0"})
            run = replicate(calm, self.first_seed, checked=self.checked)
        except SpecError:
            return None
        speed = run.value(figure_of(self._own, "rows_per_s"))
        return None if speed is None else formulas_of(scenario, speed)

    def _ended(self, found: Candidate | None, settled: bool, *, one_at_a_time: bool) -> Tuned:
        winner = None if found is None else found.settings
        tried = {
            tuple(sorted(one.settings.items()))
            for stage in self._stages
            for one in stage.candidates
        }
        return Tuned(
            self.goal,
            self._figure,
            tuple(self.limits),
            self.effort,
            one_at_a_time,
            tuple(self._stages),
            settled,
            sum(isinstance(self._experiments[one], Experiment) for one in tried),
            winner,
            fresh=None if winner is None or not self.confirm else self._fresh(winner),
            formulas=None if winner is None else self._formulas(winner),
        )

    def _fresh(self, winner: Settings) -> Fresh:
        """Run the winner and the scenario as it is with seeds that no candidate has had."""
        best = self._experiment(winner)
        assert isinstance(best, Experiment)
        most = self.effort.most_runs
        facts = Fresh(self.first_seed + most, max(len(best.runs[0]), min(FRESH, most)))
        self.on_fresh(facts.runs)
        scenarios = best.scenarios if not winner else (*best.scenarios, self._own)
        fresh = self._of(scenarios, facts.first_seed)
        try:
            fresh.grow(facts.runs, [0])
        except SpecError as error:
            return replace(facts, error=str(error))
        values = fresh.values(self._figure)
        keeps = []
        for limit in self.limits:
            at_most = fresh.values(limit.figure)
            if at_most is not None:
                over = sum(value > limit.most for value in at_most)
                keeps.append(Kept(limit, mean_of(at_most), over))
        took = fresh.values(figure_of(self._own, "makespan_s"))
        facts = replace(
            facts,
            best=None if values is None else mean_of(values),
            keeps=tuple(keeps),
            makespan_s=None if took is None else mean_of(took),
        )
        if not winner:
            return facts
        try:
            fresh.grow(facts.runs, [1])
        except SpecError:
            return facts
        before = fresh.values(self._figure, 1)
        if before is None:
            return facts
        gain = None if values is None else paired(before, values)
        return replace(facts, own=mean_of(before), gain=gain)


class _Runs:
    """The experiments of a stage's candidates, as `eliminate` takes them."""

    def __init__(self, experiments: Sequence[Experiment | SpecError]) -> None:
        self._experiments = experiments

    def grow(self, size: int, places: Iterable[int] | None = None) -> None:
        for place in range(len(self._experiments)) if places is None else places:
            one = self._experiments[place]
            if isinstance(one, SpecError):
                raise one
            one.grow(size)

    def values(self, figure: str, place: int = 0) -> list[float] | None:
        one = self._experiments[place]
        assert isinstance(one, Experiment)
        return one.values(figure)
