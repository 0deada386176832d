"""Makes the missing runs of a sweep: in this process, in others, or on a cluster.

One task is one replication, and holds its scenario: a worker reads no file and writes none. Only
this process adds runs to the folder, one as soon as it is there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from cellspec.errors import SpecError, Violation
from cellspec.parallel import in_parallel
from sim.experiments.deciding import check_figure
from sim.experiments.replication import Task, made
from sim.experiments.sweep.plan import WHOLE, Run, Shard, missing
from sim.experiments.sweep.points import Sweep
from sim.experiments.sweep.store import SweepFolder

__all__ = ["make_missing"]


def make_missing(
    sweep: Sweep,
    folder: SweepFolder,
    *,
    shard: Shard = WHOLE,
    jobs: int = 1,
    cluster: str = "loky",
    checked: bool = True,
    figures: Sequence[tuple[str, str]] = (),
    on_run: Callable[[int], object] = lambda _known: None,
    on_round: Callable[[int], object] = lambda _known: None,
    on_point: Callable[[str, Mapping[int, Run]], object] = lambda _digest, _runs: None,
) -> None:
    """Make the runs of a sweep that its folder lacks.

    Args:
        sweep: the sweep; `SweepFolder.begin` has found that the folder is its own.
        folder: takes the runs, each as soon as it is made.
        shard: the part of the sweep that is made here.
        jobs: runs at once.
        cluster: one of `cellspec.parallel.CLUSTERS`.
        checked: judge time too.
        figures: further figures that are asked for: who asks, and the name.
        on_run: called after each run, with the number of runs that this call makes as far as is
            known: a precision or a ladder may ask for more.
        on_round: called with that number before runs are made, and each time when it has grown.
        on_point: called with the digest of a point and its runs by seed: before the first run if
            the folder has some, and after each.

    Raises:
        MissingExtraError: an interval is asked for without scipy, or several jobs without joblib.
        SpecError: another process makes this shard, storage refuses, a figure is unknown, or a
            cluster or a process was lost.
    """
    asked = [(f"{sweep.path}: {where}", name) for where, name in sweep.spec.asked_figures()]
    asked += figures
    with folder.adding(shard.name()) as add:
        runs = folder.runs()
        good = (run for those in runs.values() for run in those.values() if run.error is None)
        _check_figures(asked, next(good, None))
        for digest, there in runs.items():
            on_point(digest, there)
        done = 0
        while wanted := missing(sweep.spec, sweep.points, runs, shard):
            tasks = _tasks(sweep, wanted, checked)
            results = in_parallel(attempt, tasks, jobs=jobs, cluster=cluster, ordered=False)
            known = done + len(wanted)
            on_round(known)
            with contextlib.closing(results):
                for place, run in _going_on(results):
                    digest, seed = wanted[place]
                    add(digest, seed, run)
                    runs.setdefault(digest, {})[seed] = run
                    done += 1
                    on_run(known)
                    on_point(digest, runs[digest])
                    if run.error is None and asked:
                        _check_figures(asked, run)
                        asked = []


def _tasks(sweep: Sweep, wanted: Sequence[tuple[str, int]], checked: bool) -> Iterator[Task]:
    for place, (digest, seed) in enumerate(wanted):
        yield Task(place, sweep.scenarios[digest], seed, checked)


def _going_on(results: Iterator[tuple[int, Run]]) -> Iterator[tuple[int, Run]]:
    """Results, until whatever makes them is lost: then the error says that the sweep goes on.

    A run that fails is a result, so that any other error is one of processes or of a cluster.
    """
    try:
        yield from results
    except SpecError as error:
        kept = "the runs that were made are kept, and the same command goes on"
        raise SpecError(f"{error}; {kept}") from None


def attempt(task: Task) -> tuple[int, Run]:
    """The place of a task, and its run, which may have failed: the others go on."""
    try:
        place, found = made(task)
    except Violation as violation:
        return task.place, Run({}, _one_line(violation), violated=True)
    except SpecError as error:
        return task.place, Run({}, _one_line(error))
    return place, Run(found.figures)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _check_figures(asked: Sequence[tuple[str, str]], run: Run | None) -> None:
    for where, name in asked if run is not None else ():
        assert run is not None
        check_figure(name, run.figures, where)
