"""`Experiment`: scenarios that are run with the same seeds, as many times as it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from sim.experiments.replication import Replication, Task, packed, replications
from sim.scenario.scenario import Scenario

__all__ = ["Experiment"]


class Experiment:
    """Runs of one scenario or of several, with the seeds 0, 1, 2, … for each.

    Runs of one seed are on common random numbers: a draw is a function of the seed, the column, the
    row and the attempt, so that scenarios which have these in common meet the same draws. Of two
    that are the same in all a run is made once.

    Attributes:
        scenarios: what is run.
        runs: of each scenario, its runs, in the order of their seeds.

    Args:
        scenarios: what is run.
        first_seeds: by scenario, the seed that its first run has; none given: 0 for all.
        jobs: runs at once.
        cluster: one of `cellspec.parallel.CLUSTERS`.
        checked: judge time too.
        names: by scenario, its file, for the errors of its runs.
        on_run: called after each run, with the place of its scenario and the run; for progress.

    Raises:
        SpecError: a file of a scenario cannot be read any more.
    """

    def __init__(
        self,
        scenarios: Sequence[Scenario],
        *,
        first_seeds: Sequence[int] | None = None,
        jobs: int = 1,
        cluster: str = "loky",
        checked: bool = True,
        names: Sequence[str] = (),
        on_run: Callable[[int, Replication], object] = lambda _place, _run: None,
    ) -> None:
        self.scenarios = tuple(scenarios)
        self.runs: tuple[list[Replication], ...] = tuple([] for _ in self.scenarios)
        self._first_seeds = first_seeds or (0,) * len(self.scenarios)
        self._same = self._same_ones()
        # Runs of the first of those that are the same, which may have more than each was asked for.
        self._made: dict[int, list[Replication]] = {place: [] for place in self._same}
        self._sent = [packed(scenario) for scenario in self.scenarios]
        self._jobs, self._cluster, self._checked = jobs, cluster, checked
        self._names = names or ("",) * len(self.scenarios)
        self._on_run = on_run

    def grow(self, size: int, places: Iterable[int] | None = None) -> None:
        """Run scenarios until they have so many runs.

        Args:
            size: how many runs each is to have; one that has more keeps them.
            places: of the scenarios; none given: all of them.

        Raises:
            MissingExtraError: several jobs, and joblib or the cluster's package is not installed.
            Violation: an event breaks a clause.
            SpecError: a run may never end, or draws what an endpoint can never hold.
        """
        wanted = range(len(self.scenarios)) if places is None else sorted(places)
        self._share(wanted, size)
        tasks = self._tasks(size, sorted({self._same[place] for place in wanted}))
        for place, run in replications(tasks, jobs=self._jobs, cluster=self._cluster):
            self._made[place].append(run)
            if place in wanted:
                self._keep(place, run)
        self._share(wanted, size)

    def _share(self, places: Iterable[int], size: int) -> None:
        """Give scenarios the runs, up to `size`, that the same one has elsewhere."""
        for place in places:
            for run in self._made[self._same[place]][len(self.runs[place]) : size]:
                self._keep(place, run)

    def _keep(self, place: int, run: Replication) -> None:
        self.runs[place].append(run)
        self._on_run(place, run)

    def _same_ones(self) -> list[int]:
        """By scenario, the place of the first one that is the same, name and all, on its seeds."""
        places: dict[object, int] = {}
        keys = (
            (one.with_seed(first).digest(), *(run.name for run in one.pipelines()), first)
            for one, first in zip(self.scenarios, self._first_seeds, strict=True)
        )
        return [places.setdefault(key, place) for place, key in enumerate(keys)]

    def _tasks(self, size: int, places: Iterable[int]) -> Iterator[Task]:
        """The missing runs, seed by seed: what is stopped has about as many runs of each."""
        done = {place: len(self._made[place]) for place in places}
        for number in range(size):
            for place, there in done.items():
                if number >= there:
                    seed = self._first_seeds[place] + number
                    yield Task(place, self._sent[place], seed, self._checked, self._names[place])

    def values(self, figure: str, place: int = 0) -> list[float] | None:
        """A figure of every run of a scenario; None if one of the runs has none.

        Args:
            figure: its name, as in `Replication.figures`.
            place: of the scenario.

        Raises:
            KeyError: no run has a figure of this name.
        """
        found = [run.value(figure) for run in self.runs[place]]
        known = [value for value in found if value is not None]
        return known if len(known) == len(found) else None
