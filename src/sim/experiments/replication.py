"""One replication: a run of a scenario with one seed, as plain figures.

It is what an experiment consists of, and a function of its task alone, so that it may run in any
process. A `Task` holds the scenario as bytes, which a process reads once and keeps.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from cellspec.errors import SpecError
from cellspec.parallel import in_parallel
from sim.result_fields import Scalar, flat
from sim.results_together import result_of
from sim.scenario.scenario import Scenario
from sim.simulation import simulate

__all__ = ["Replication", "Task", "fingerprint_of", "made", "packed", "replicate", "replications"]


@dataclass(frozen=True, slots=True)
class Replication:
    """The figures of one run.

    Attributes:
        seed: of the run.
        figures: by name, as ``cellspec run --format csv`` gives them; `sim.figures` defines them.
    """

    seed: int
    figures: Mapping[str, Scalar]

    def value(self, figure: str) -> float | None:
        """A figure that is a number; None if the run has none.

        Raises:
            KeyError: no run of the scenario has a figure of this name.
        """
        found = self.figures[figure]
        return None if isinstance(found, bool | str) or found is None else float(found)


@dataclass(frozen=True, slots=True)
class Task:
    """A run to be made.

    Attributes:
        place: of the scenario among those of the experiment; it comes back with the run.
        scenario: as `packed` gives it.
        seed: of the run.
        checked: judge time too.
        name: of the scenario's file, for the errors of the run; "" if it has none.
    """

    place: int
    scenario: bytes
    seed: int
    checked: bool = True
    name: str = ""


def replicate(scenario: Scenario, seed: int, *, checked: bool = True) -> Replication:
    """Run a scenario with a seed.

    Args:
        scenario: what is run; pipelines beside it are run with it.
        seed: in place of the scenario's.
        checked: judge time too.

    Raises:
        Violation: an event breaks a clause.
        SpecError: the run may never end, or draws what an endpoint can never hold.
    """
    mine = scenario.with_seed(seed)
    return Replication(
        seed, flat(result_of(mine, simulate(mine, checked=checked), checked=checked))
    )


def fingerprint_of(runs: Iterable[Replication]) -> str:
    """The fingerprint of several runs, from those of each in their order."""
    prints = "\n".join(str(run.figures["fingerprint"]) for run in runs)
    return hashlib.blake2b(prints.encode(), digest_size=16).hexdigest()


def packed(scenario: Scenario) -> bytes:
    """A scenario as a `Task` takes it: with all that it read, so that no process needs its files.

    Raises:
        SpecError: a file of it cannot be read any more.
    """
    return pickle.dumps(scenario.without_files())


def replications(
    tasks: Iterable[Task], *, jobs: int = 1, cluster: str = "loky", ordered: bool = True
) -> Iterator[tuple[int, Replication]]:
    """Make many runs, several at once.

    Args:
        tasks: the runs; each is taken when a process is about to be free.
        jobs, cluster, ordered: as of `cellspec.parallel.in_parallel`.

    Yields:
        The place of each task, and its run.

    Raises:
        MissingExtraError: several jobs, and joblib or the cluster's package is not installed.
        Violation, SpecError: as of `replicate`.
    """
    return in_parallel(made, tasks, jobs=jobs, cluster=cluster, ordered=ordered)


def made(task: Task) -> tuple[int, Replication]:
    """The place of a task, and its run.

    Raises:
        Violation, SpecError: as of `replicate`; the second with the task's name, if it has one.
    """
    try:
        return task.place, replicate(_read(task.scenario), task.seed, checked=task.checked)
    except SpecError as error:
        if not task.name:
            raise
        # Whoever reads it runs that seed alone, to look at it.
        raise SpecError(f"{task.name}: seed {task.seed}: {error}") from None


@lru_cache(maxsize=64)
def _read(scenario: bytes) -> Scenario:
    found = pickle.loads(scenario)
    assert isinstance(found, Scenario)
    return found
