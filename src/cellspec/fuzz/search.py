"""The search: runs in batches, an account of their situations, and the moment to stop.

Runs come in *batches*; each is a function of the seed and its number alone, so that batches may run
in other processes, or on other machines, and still give the same search. They are counted in order.

A run is new by a *situation* (`cellspec.conformance.run.coverage_goals.Sometimes`), or a pair of
situations in one run: a row dropped while a barrier was in flight, and a crash in that claim. A
search that meets no new pair for `Options.plateau` runs has come to a plateau, and stops.

One batch in four is *targeted*: there Hypothesis turns the knobs of the workload towards rare
situations, the number of calls whose results are in doubt when a process dies, and the number of
situations in one run.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import Any

from cellspec.conformance.campaign.shrink_workload import shrunk_workload
from cellspec.conformance.judge.coverage import coverage_of
from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.judge.profiles import DRAWN
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.backend import Backend, fit_of
from cellspec.conformance.run.case import Case
from cellspec.conformance.run.coverage_goals import Sometimes
from cellspec.conformance.run.loading import load_backend
from cellspec.conformance.run.registered import backend_path
from cellspec.conformance.run.workload import Workload
from cellspec.errors import MissingExtraError, SpecError
from cellspec.fuzz.schedules import SCHEDULES, schedule
from cellspec.fuzz.swarm import KNOBS, Knobs, Size, workload
from cellspec.replay import ends_of
from cellspec.trace import event_from_json

__all__ = [
    "BATCH",
    "METHODS",
    "Found",
    "Options",
    "Search",
    "Seen",
    "lacking_extra",
    "methods_of",
    "search",
]

BATCH = 20
"""Runs of a batch."""

METHODS = (*SCHEDULES, "targeted")
"""How runs of a batch are scheduled; a batch has one of them."""

SHRINK_RUNS_MAX = 600

IDLE_BATCHES = 10
"""Batches in a row without a run after which there is no sense in going on."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a search.

    Attributes:
        backend: the engine: a registered name, or ``module:attribute``.
        folder: modules are looked for there too.
        seed: the seed of all draws.
        methods: some of `METHODS`; batches take them in turn.
        examples: runs at most; None for no limit.
        seconds: wall seconds at most; None for no limit. A batch that was begun is ended.
        plateau: runs without anything new after which the search stops.
        size: how large workloads get.
        jobs: batches at once.
        cluster: where batches run, one of `cellspec.fuzz.parallel.CLUSTERS`.
        corpus: the folder of workloads that showed a new situation; None to keep them nowhere.
        shrink_runs: runs after a violation, in search of a smaller workload.
    """

    backend: str
    folder: Path
    seed: int = 0
    methods: tuple[str, ...] = METHODS
    examples: int | None = None
    seconds: float | None = None
    plateau: int = 400
    size: Size = field(default_factory=Size)
    jobs: int = 1
    cluster: str = "loky"
    corpus: Path | None = None
    shrink_runs: int = SHRINK_RUNS_MAX


@dataclass(frozen=True, slots=True)
class Found:
    """A clause that a run broke.

    Attributes:
        clause, detail: the violation.
        work: the workload, with the end of each call as the schedule chose it.
        method: how the run was scheduled.
    """

    clause: str
    detail: str
    work: Workload
    method: str


@dataclass(frozen=True, slots=True)
class Seen:
    """The result of one run, small enough to be sent between processes.

    Attributes:
        method: how it was scheduled.
        seed: of the workload.
        knobs: of the workload; None if they were drawn with it.
        sometimes: situations that it was in.
        events: its events.
        crashes: crashes among them.
        in_doubt: results of calls that were not claimed, at the crash with the most of them.
        trace: a digest of the order of events.
        refused: the engine refused the workload, as it must.
        found: the violation, if there is one.
    """

    method: str
    seed: int
    knobs: Knobs | None
    sometimes: tuple[Sometimes, ...]
    events: int
    crashes: int
    in_doubt: int
    trace: str
    refused: bool = False
    found: Found | None = None


@dataclass(slots=True)
class Search:
    """The account of a search.

    Attributes:
        options: the options of the search.
        capabilities: the engine's capabilities.
        unasked: situations that it cannot be asked to be in (see
        `cellspec.conformance.run.backend`). runs: by method, how many were counted.
        events, crashes, refused: in all of them.
        traces: different orders of events.
        in_doubt: the most results in doubt at one crash.
        sometimes: situations, with the number of runs that were in each.
        pairs: pairs of situations that some run was in at once.
        last_new: the run that showed the last new pair.
        stopped: why the search stopped.
        found: the first violation.
        case: it as a case, made small.
        comes_again: the case breaks the clause without the schedule that found it.
    """

    options: Options
    capabilities: frozenset[str]
    unasked: frozenset[str] = frozenset()
    runs: dict[str, int] = field(default_factory=dict)
    events: int = 0
    crashes: int = 0
    refused: int = 0
    traces: set[str] = field(default_factory=set)
    in_doubt: int = 0
    sometimes: dict[Sometimes, int] = field(default_factory=dict)
    pairs: set[tuple[Sometimes, Sometimes]] = field(default_factory=set)
    last_new: int = 0
    stopped: str = ""
    found: Found | None = None
    case: Case | None = None
    comes_again: bool = True

    @property
    def total(self) -> int:
        """Runs, of all methods."""
        return sum(self.runs.values())

    def owed(self) -> list[Sometimes]:
        """Situations that these capabilities allow, and that every run missed."""
        return [
            one.what
            for profile in DRAWN
            if profile.name in self.capabilities
            for one in profile.goals
            if one.needs <= self.capabilities
            and str(one.what) not in self.unasked
            and one.what not in self.sometimes
        ]

    def count(self, seen: Seen) -> bool:
        """Count a run; True if it showed something new."""
        self.runs[seen.method] = self.runs.get(seen.method, 0) + 1
        self.events += seen.events
        self.crashes += seen.crashes
        self.refused += seen.refused
        self.traces.add(seen.trace)
        self.in_doubt = max(self.in_doubt, seen.in_doubt)
        for one in seen.sometimes:
            self.sometimes[one] = self.sometimes.get(one, 0) + 1
        new = set(combinations(seen.sometimes, 2)) - self.pairs
        self.pairs |= new
        if new:
            self.last_new = self.total
        if seen.found is not None:
            self.found = seen.found
        return bool(new)


def search(options: Options, progress: Callable[[Search], object] = lambda _: None) -> Search:
    """Search until a clause breaks, the budget is spent, or new situations stop coming up.

    It also stops after `IDLE_BATCHES` batches in a row without a workload that the engine can be
    asked for.

    Args:
        options: the options of the search.
        progress: called after each batch.

    Raises:
        SpecError: a backend that cannot be used.
        MissingExtraError: several jobs, and joblib is not installed; or targeted runs, and
            Hypothesis is not.
    """
    if lacking_extra(options.methods):
        raise MissingExtraError("--methods targeted", "conformance")
    backend, _ = load_backend(options.backend, options.folder, "--backend")
    _expect_methods(backend, options)
    unasked = frozenset(map(str, getattr(backend, "unasked", ())))
    done = Search(options, frozenset(backend.capabilities), unasked)
    began_s = time.monotonic()
    idle = 0
    for batch in _batches(options):
        for seen in batch:
            fresh = done.count(seen)
            if fresh and options.corpus is not None:
                _keep(options.corpus, seen)
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


def _why_stop(done: Search) -> str:
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


# Batches


def _batches(options: Options) -> Iterator[Sequence[Seen]]:
    """The batches in order: the corpus first, then one after another without end."""
    kept = _corpus(options)
    if kept:
        yield kept
    if options.jobs == 1:
        number = 0
        while True:
            yield _batch(options, number)
            number += 1
    from cellspec.fuzz.parallel import in_parallel

    yield from in_parallel(_batch, options, jobs=options.jobs, cluster=options.cluster)


def _batch(options: Options, number: int) -> list[Seen]:
    backend, _ = load_backend(options.backend, options.folder)
    method = options.methods[number % len(options.methods)]
    if method == "targeted":
        return _targeted(backend, options, number)
    seen: list[Seen] = []
    for example in range(min(BATCH, options.examples or BATCH)):
        seed = _seed(options.seed, number, example)
        one = _run(backend, method, seed, None, options.size)
        if one is not None:
            seen.append(one)
            if one.found is not None:
                break
    return seen


def _seed(*parts: int) -> int:
    text = " ".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big")


def _run(backend: Backend, method: str, seed: int, knobs: Knobs | None, size: Size) -> Seen | None:
    """One run, judged; None if the engine cannot be asked for that workload."""
    work = fit_of(backend)(workload(seed, backend.capabilities, size, knobs))
    if work is None:
        return None
    # Targeted runs take the schedules in turn: it is the workload that is aimed.
    order = SCHEDULES[seed % len(SCHEDULES)] if method == "targeted" else method
    choose = schedule(order, seed, work.graph().num_nodes)
    result = run_workload(backend, work, choose=choose)
    shown = coverage_of(work, result.events, refused=bool(result.refused))
    return Seen(
        method,
        seed,
        knobs,
        tuple(sorted(shown.sometimes)),
        shown.events,
        shown.crashes,
        _in_doubt(result),
        shown.digest,
        bool(result.refused),
        _found(result, method, timed=choose is None),
    )


def _in_doubt(result: RunResult) -> int:
    """Results of calls since the last claim that became durable, at the worst crash."""
    most = since = 0
    for event in result.events:
        kind = event["event"]
        since = 0 if kind == "checkpoint_durable" else since + (kind == "complete")
        if kind == "crash":
            most = max(most, since)
            since = 0
    return most


def _found(result: RunResult, method: str, *, timed: bool) -> Found | None:
    if not result.violations:
        return None
    broken = result.violations[0]
    if timed:
        return Found(broken.clause, broken.detail, result.work, method)
    told = map(event_from_json, result.events)
    ends = tuple(end for end, _ in ends_of(told, result.work.graph()))
    return Found(broken.clause, broken.detail, replace(result.work, ends=ends), method)


def _targeted(backend: Backend, options: Options, number: int) -> list[Seen]:
    """A batch in which Hypothesis turns the knobs towards rare situations."""
    from hypothesis import HealthCheck, Phase, Verbosity, given, settings, target
    from hypothesis import seed as seeded
    from hypothesis import strategies as st

    from cellspec.conformance.campaign.campaign import draws_of_the_seed_alone

    seen: list[Seen] = []
    knob = st.floats(0, 1, width=32)

    @seeded(_seed(options.seed, number))
    @settings(
        max_examples=BATCH,
        database=None,
        deadline=None,
        verbosity=Verbosity.quiet,
        phases=(Phase.generate, Phase.target),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**31 - 1), st.tuples(*[knob] * len(KNOBS)))
    def aim(seed: int, knobs: tuple[float, ...]) -> None:
        if (seen and seen[-1].found is not None) or len(seen) >= 2 * BATCH:
            return
        one = _run(backend, "targeted", seed, Knobs(*knobs), options.size)
        if one is not None:
            seen.append(one)
            target(float(one.in_doubt), label="results in doubt at a crash")
            target(float(len(one.sometimes)), label="situations")

    with draws_of_the_seed_alone():
        aim()
    return seen


# What is kept


def _keep(folder: Path, seen: Seen) -> None:
    from cellspec.files import write_files

    plain: dict[str, Any] = {"corpus": 1, "method": seen.method, "seed": seen.seed}
    if seen.knobs is not None:
        plain["knobs"] = {name: getattr(seen.knobs, name) for name in KNOBS}
    text = json.dumps(plain, indent=2) + "\n"
    name = hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
    write_files(folder, {f"{name}.json": text})


def _corpus(options: Options) -> list[Seen]:
    """The runs of the workloads in a corpus."""
    if options.corpus is None or not options.corpus.is_dir():
        return []
    backend, _ = load_backend(options.backend, options.folder)
    seen = []
    for path in sorted(options.corpus.glob("*.json")):
        method, seed, knobs = _entry(path)
        one = _run(backend, method, seed, knobs, options.size)
        if one is not None:
            seen.append(one)
            if one.found is not None:
                break
    return seen


def _entry(path: Path) -> tuple[str, int, Knobs | None]:
    try:
        plain: Mapping[str, Any] = json.loads(path.read_bytes())
        knobs = plain.get("knobs")
        if plain["corpus"] != 1 or plain["method"] not in METHODS:
            raise ValueError
        seed = int(plain["seed"])
        if knobs is not None and not all(0 <= float(knob) <= 1 for knob in knobs.values()):
            raise ValueError
        return plain["method"], seed, None if knobs is None else Knobs(**knobs)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise SpecError(
            f"{path}: is no entry of a corpus; remove it, or name another folder"
        ) from None


def _small(backend: Backend, options: Options, found: Found) -> tuple[Case, bool]:
    """The case of a violation, made as small as possible, and whether it breaks again.

    The choices of a schedule are written down as ends of calls, so the case runs without a
    schedule.
    """
    best = found

    def breaks(work: Workload) -> bool:
        nonlocal best
        tried = run_workload(backend, work)
        if not tried.violations or tried.violations[0].clause != found.clause:
            return False
        best = Found(found.clause, tried.violations[0].detail, tried.work, found.method)
        return True

    again = breaks(found.work)
    if again:
        shrunk_workload(found.work, breaks, runs_max=options.shrink_runs, fit=fit_of(backend))
    path = backend_path(options.backend, "--backend")
    return Case(best.work, best.clause, best.detail, path), again


def lacking_extra(methods: Iterable[str]) -> tuple[str, ...]:
    """The methods that need an optional dependency which is not installed."""
    has_hypothesis = find_spec("hypothesis") is not None
    return tuple(name for name in methods if name == "targeted" and not has_hypothesis)


def methods_of(names: Iterable[str]) -> tuple[str, ...]:
    """The methods that are named, each once, in the order of `METHODS`.

    Raises:
        SpecError: an unknown method.
    """
    asked: Collection[str] = tuple(names)
    unknown = [name for name in asked if name not in METHODS]
    if unknown:
        raise SpecError(f"--methods: unknown {unknown[0]!r}; there are {', '.join(METHODS)}")
    return tuple(name for name in METHODS if name in asked)
