"""The search: batches of runs until a clause breaks, the budget is spent, or a plateau is reached.

Runs come in *batches*; each is a function of the seed and its number alone, so that batches may run
in other processes, or on other machines, and still give the same search. They are counted in order.

A run is new by a *situation* (`cellspec.conformance.run.coverage_goals.Sometimes`), or a pair of
situations in one run: a row dropped while a barrier was in flight, and a crash in that claim. A
search without a new pair for `Options.plateau` runs has come to a plateau, and stops.

One batch in four is *targeted*: there the knobs of workloads are turned towards rare situations
(`cellspec.fuzz.targeted`).
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count

from cellspec.conformance.campaign.smallest_run import smallest_run
from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.run.backend import Backend, fit_of
from cellspec.conformance.run.case import Case
from cellspec.conformance.run.loading import load_backend
from cellspec.conformance.run.registered import backend_path
from cellspec.errors import SpecError
from cellspec.fuzz.account import Account, FoundViolation, RunSummary
from cellspec.fuzz.corpus import keep, run_corpus
from cellspec.fuzz.options import BATCH, Options
from cellspec.fuzz.runs import run_once, seed_of
from cellspec.fuzz.targeted import targeted_runs
from cellspec.parallel import in_parallel

__all__ = ["IDLE_BATCHES", "search"]

IDLE_BATCHES = 10
"""Batches in a row without a run after which there is no sense in going on."""


def search(options: Options, progress: Callable[[Account], object] = lambda _: None) -> Account:
    """Account until a clause breaks, the budget is spent, or new situations stop coming up.

    It also stops after `IDLE_BATCHES` batches in a row without a workload that the engine can be
    asked for.

    Args:
        options: the options of the search.
        progress: called after each batch.

    Raises:
        SpecError: a backend that cannot be used.
        MissingExtraError: several jobs, and joblib is not installed.
    """
    backend, _ = load_backend(options.backend, options.folder, "--backend")
    _expect_methods(backend, options)
    unasked = frozenset(map(str, getattr(backend, "unasked", ())))
    done = Account(options, frozenset(backend.capabilities), unasked)
    began_s = time.monotonic()
    idle = 0
    for batch in _batches(options):
        for seen in batch:
            fresh = done.count(seen)
            if fresh and options.corpus is not None:
                keep(options.corpus, seen)
            done.stopped = _why_stop(done)
            if done.stopped:
                break
        idle = 0 if batch else idle + 1
        if idle == IDLE_BATCHES:
            done.stopped = f"the engine cannot be asked for any of {idle * BATCH:,} workloads"
        progress(done)
        over = options.seconds is not None and time.monotonic() - began_s >= options.seconds
        if over and not done.stopped:
            done.stopped = f"{options.seconds:g} s are over"
        if done.stopped:
            break
    if done.found is not None:
        done.case, done.comes_again = _small(backend, options, done.found)
    return done


def _expect_methods(backend: Backend, options: Options) -> None:
    """Refuse schedules for an engine in real time, where calls end by themselves."""
    chosen = [name for name in options.methods if name != "latency"]
    if chosen and not inspect.iscoroutinefunction(backend.run):
        raise SpecError(
            f"--methods: {options.backend} runs in real time, where {chosen[0]!r} cannot choose "
            "which call ends next; use --methods latency"
        )


def _why_stop(done: Account) -> str:
    options = done.options
    if done.found is not None:
        return f"a clause broke in run {done.total:,}"
    if options.examples is not None and done.total >= options.examples:
        return f"{done.total:,} runs were asked for"
    if done.total - done.last_new >= options.plateau:
        return (
            f"nothing new in {options.plateau:,} runs: {len(done.sometimes)} situations and "
            f"{len(done.pairs):,} pairs of them, the last new one in run {done.last_new:,}"
        )
    return ""


def _batches(options: Options) -> Iterator[Sequence[RunSummary]]:
    """The batches in order: the corpus first, then one after another without end."""
    kept = run_corpus(options)
    if kept:
        yield kept
    part, cluster = partial(_batch, options), options.cluster if options.jobs > 1 else "loky"
    yield from in_parallel(part, count(), jobs=options.jobs, cluster=cluster)


def _batch(options: Options, number: int) -> list[RunSummary]:
    backend, _ = load_backend(options.backend, options.folder)
    method = options.methods[number % len(options.methods)]
    if method == "targeted":
        return targeted_runs(backend, options, number)
    seen: list[RunSummary] = []
    for example in range(min(BATCH, options.examples or BATCH)):
        seed = seed_of(options.seed, number, example)
        one = run_once(backend, method, seed, None, options.size)
        if one is not None:
            seen.append(one)
            if one.found is not None:
                break
    return seen


def _small(backend: Backend, options: Options, found: FoundViolation) -> tuple[Case, bool]:
    """The case of a violation, made as small as possible, and whether it breaks again.

    The choices of a schedule are written down as ends of calls, so the case runs without a
    schedule.
    """
    path = backend_path(options.backend, "--backend")
    run = partial(run_workload, backend)
    again = run(found.work)
    if not again.violations or again.violations[0].clause != found.clause:
        return Case(found.work, found.clause, found.detail, path), False
    best = smallest_run(run, again, runs_max=options.shrink_runs, fit=fit_of(backend))
    return Case(best.work, found.clause, best.violations[0].detail, path), True
