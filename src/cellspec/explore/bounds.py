"""The bounds of an exploration: the pipelines in scope, and the faults in each.

A *configuration* states the number of columns and rows, the kinds of columns, and the faults. Its
graphs are independent, so they may run in any number of processes. The result of each is kept as
soon as it is finished: `Progress` is the file from which a search that was stopped goes on.

====  =============================================================================================
name  pipelines in scope
====  =============================================================================================
0     single graphs, each under rules that show one thing: what a model by hand is compared with
1     row columns and dataset barriers, one crash anywhere; half a minute
2     batch barriers too, with a short last batch, checkpoints of each version, a stop on
      request, a lost result, and row groups; for CI
3     failures, torn writes, two crashes, stops, losses, order, limits; for the night
====  =============================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from cellspec.errors import SpecError
from cellspec.explore.invariants import Invariants
from cellspec.explore.pipelines import Shape, distinct_shapes, parse_shape
from cellspec.explore.relation import Faults, Relation
from cellspec.explore.search import Search, SearchResult
from cellspec.explore.steps import Step
from cellspec.files import open_log, write_files
from cellspec.graph.graph import ExecutionGraph
from cellspec.machine.limits import Limits, check_limits
from cellspec.machine.policy import scopes_too_wide
from cellspec.text import noun

__all__ = ["BOUNDS", "Configuration", "Progress", "Totals", "drops_of", "explore", "search_for"]


_CLAIMS = {
    (1,): "rows",
    (2,): "columns",
    (3,): "cells",
    (1, 2): "both",
    (1, 3): "rows and cells",
    (2, 3): "columns and cells",
    (1, 2, 3): "each kind",
}


@dataclass(frozen=True, slots=True)
class Configuration:
    """All graphs of one size under one set of rules; or one graph.

    Attributes:
        rows: rows of each graph.
        faults: the faults, and the limits.
        columns: columns of each graph.
        kinds: the kinds of columns, names of `cellspec.explore.pipelines.KINDS`.
        batch: rows of a batch; None without batch barriers.
        graph: the one graph, on a line; then `columns` and `kinds` are unused.
    """

    rows: int
    faults: Faults
    columns: int = 0
    kinds: tuple[str, ...] = ()
    batch: int | None = None
    graph: str = ""

    def __str__(self) -> str:
        what = self.graph or f"{self.columns} columns of {'|'.join(self.kinds)}"
        batch = "" if self.batch is None else f" in batches of {self.batch}"
        return f"{what} × {self.rows} {noun(self.rows, 'row')}{batch}; {self.rules()}"

    def rules(self) -> str:
        """The faults and limits, in words."""
        faults, words = self.faults, []
        for count, name in (
            (faults.crashes, "crash"),
            (faults.retries, "retry"),
            (faults.drops, "drop"),
            (faults.stops, "stop"),
            (faults.losses, "loss"),
        ):
            if count:
                many = {"crash": "crashes", "retry": "retries", "loss": "losses"}.get(name, "")
                words.append(f"{count} {noun(count, name, many)}")
        if faults.torn:
            words.append("torn writes")
        if faults.saves:
            words.append("claims of " + _CLAIMS[faults.versions])
        if faults.workers is not None:
            words.append(f"{faults.workers} {noun(faults.workers, 'worker')}")
        if faults.group_rows is not None:
            most = "" if faults.groups is None else f", {faults.groups} at once"
            words.append(f"groups of {faults.group_rows} {noun(faults.group_rows, 'row')}{most}")
        return ", ".join(words) or "no fault"

    def shapes(self) -> dict[Shape, int]:
        """The graphs to explore, each with the number of graphs that it stands for."""
        if self.graph:
            return {parse_shape(self.graph): 1}
        found = distinct_shapes(self.columns, self.kinds)
        return {shape: count for shape, count in found.items() if not self._is_refused(shape)}

    def _is_refused(self, shape: Shape) -> bool:
        """True for a graph that the limit of row groups leaves out (clause GROUP-04)."""
        most, size = self.faults.groups, self.faults.group_rows
        if most is None:
            return False
        return any(scopes_too_wide(shape.graph(self.rows, self.batch).rules, size, most))


_BOTH = ("row", "barrier")
_ALL = ("row", "barrier", "batch")
_ORDER = ("row", "row+ordered", "batch", "batch+ordered")
_CHAIN = "a v:barrier(a) c(v)"


def _single(graph: str, rows: int, batch: int | None = None, **faults: object) -> Configuration:
    return Configuration(rows, Faults(**faults), batch=batch, graph=graph)  # type: ignore[arg-type]


def _every(
    columns: int, rows: int, kinds: Sequence[str], batch: int | None = None, **faults: object
) -> Configuration:
    return Configuration(rows, Faults(**faults), columns, tuple(kinds), batch)  # type: ignore[arg-type]


BOUNDS: Mapping[int, Sequence[Configuration]] = {
    0: (
        _single("a b(a) c(b)", 3),
        _single("a b", 2),
        _single("a v:barrier(a)", 3),
        _single(_CHAIN, 3),
        _single("a v:batch(a)", 4, 2),
        _single("a v:batch(a)", 3, 2),
        _single("a:row+ordered", 4),
        _single("a b(a)", 3, workers=1),
        _single("a b(a)", 3, workers=2),
        _single("a", 3, crashes=1),
        _single("a", 3, crashes=2, torn=True),
        _single(_CHAIN, 2, crashes=1),
        _single(_CHAIN, 3, crashes=1),
        _single(_CHAIN, 3, crashes=1, versions=(2,)),
        _single(_CHAIN, 2, crashes=2, torn=True, versions=(1, 2)),
        _single("a v:batch(a) c(v)", 3, 2, crashes=1),
        _single("a v:barrier(a) w:barrier(v)", 2, crashes=1),
        _single("a v:barrier(a) w:batch(v) c(a,w)", 3, 2, crashes=1),
        _single("a:row+ordered v:batch+ordered(a)", 3, 2, crashes=1),
        _single("a b(a)", 2, retries=1),
        _single("a b(a)", 2, drops=1),
        _single(_CHAIN, 2, retries=1, drops=1),
        _single(_CHAIN, 2, crashes=1, retries=1, drops=1),
        _single("a v:barrier(a) b(a)", 3, crashes=1, drops=1, workers=2),
        _single("a v:barrier(a) b(a)", 1, crashes=1, drops=1),
        _single("a b(a)", 2, crashes=1, drops=1, versions=(2,)),
        _single("a v:barrier(a) b(a)", 2, crashes=1, drops=1, versions=(1, 2)),
        _single("a v:batch(a) c(v)", 2, 1, crashes=2, torn=True, drops=1, versions=(2,)),
        _single("a:row+ordered b", 2, crashes=2, drops=2, versions=(2,)),
        _single(_CHAIN, 2, crashes=1, versions=(3,)),
        _single(_CHAIN, 2, crashes=2, torn=True, versions=(1, 2, 3)),
        _single("a:row+ordered v:batch+ordered(a)", 3, 2, crashes=1, versions=(3,)),
        _single(_CHAIN, 2, stops=1),
        _single("a v:barrier(a)", 2, stops=2, versions=(2,)),
        _single("a v:barrier(a)", 2, crashes=1, stops=1, versions=(3,)),
        _single("a:row+ordered v:batch+ordered(a)", 2, 1, drops=1, stops=1, workers=1),
        _single(_CHAIN, 2, crashes=1, stops=1, torn=True, versions=(1, 2, 3)),
        _single("a b(a)", 2, losses=2),
        _single("a v:barrier(a)", 2, crashes=1, losses=1, versions=(2,)),
        _single("a v:barrier(a)", 2, crashes=1, losses=1, versions=(3,)),
        _single("a:row+ordered v:batch+ordered(a)", 2, 1, stops=1, losses=1, workers=1),
        _single(_CHAIN, 2, crashes=1, losses=1, torn=True, versions=(1, 2, 3)),
        _single("a:row+ordered", 3, group_rows=1, groups=2),
        _single("a v:batch(a)", 4, 2, group_rows=1, groups=2),
        _single("v:batch", 5, 3, group_rows=1, groups=3),
        _single("a v:batch(a)", 3, 2, crashes=1, group_rows=1, groups=2),
        _single("a v:batch(a)", 2, 1, crashes=1, drops=1, versions=(2,), group_rows=1, groups=1),
        _single("a:row+ordered v:batch(a)", 2, 1, stops=1, group_rows=1, groups=1),
    ),
    1: (
        _every(4, 2, _BOTH, crashes=1),
        _every(3, 3, _BOTH, crashes=1),
    ),
    2: (
        _every(3, 3, _ALL, 2, crashes=1),
        _every(2, 3, _ALL, 2, crashes=1, versions=(1, 2)),
        _every(3, 2, _BOTH, crashes=1, versions=(1, 2)),
        _every(3, 2, _BOTH, crashes=1, versions=(3,)),
        _every(3, 2, _BOTH, stops=1, versions=(3,)),
        _every(3, 2, _BOTH, crashes=1, stops=1),
        _every(3, 2, _BOTH, crashes=1, losses=1),
        _every(2, 4, _ORDER, 2, crashes=1, group_rows=1, groups=2),
        _every(2, 4, _ORDER, 3, group_rows=1, groups=3),
        _every(3, 3, _ORDER, 2, group_rows=1, groups=2),
    ),
    3: (
        _every(2, 3, _ALL, 2, crashes=2, torn=True),
        _every(2, 2, _BOTH, crashes=2, torn=True, versions=(1, 2)),
        _every(3, 2, _BOTH, crashes=2, torn=True, retries=1, drops=1, workers=2),
        _every(3, 2, _BOTH, crashes=1, drops=2, workers=1),
        _every(2, 3, _ALL, 2, crashes=1, retries=2, drops=1),
        _every(3, 3, _ORDER, 2, crashes=1, workers=2),
        _every(3, 3, _ORDER, 2, crashes=1, workers=1),
        _every(2, 3, _ORDER, 2, crashes=1, drops=2),
        _every(4, 2, _BOTH, crashes=1, retries=1, drops=1),
        _every(3, 2, _BOTH, crashes=2, torn=True, versions=(1, 2)),
        _every(3, 3, _ALL, 2, crashes=2, torn=True),
        _every(3, 2, _BOTH, crashes=2, versions=(3,)),
        _every(3, 2, _BOTH, crashes=1, versions=(1, 2, 3)),
        _every(2, 3, _ORDER, 2, crashes=1, versions=(3,)),
        _every(3, 2, _BOTH, crashes=1, stops=1, versions=(1, 2, 3)),
        _every(2, 3, _ALL, 2, retries=1, drops=1, stops=2),
        _every(3, 2, _BOTH, crashes=1, losses=1, versions=(3,)),
        _every(3, 2, _BOTH, stops=1, losses=2),
        _every(2, 3, _ORDER, 2, crashes=1, losses=1, versions=(2,)),
        _every(3, 3, _ORDER, 2, crashes=1, group_rows=1, groups=2),
        _every(3, 3, _ORDER, 3, group_rows=2, groups=2),
        _every(2, 3, _ORDER, 2, crashes=1, drops=1, group_rows=1, groups=2),
        _every(2, 3, _ORDER, 2, crashes=1, versions=(3,), group_rows=1, groups=2),
    ),
}


@dataclass(slots=True)
class Totals:
    """The totals over the graphs of a configuration.

    Attributes:
        graphs: graphs that were explored, or stand for one that was.
        classes: graphs that were explored.
        states, transitions: of those that were explored.
        all_states: with those that they stand for.
        ends: states in which a run may report success.
        depth: steps to the state that is furthest away.
        clause: the clause that broke, or "".
        shape: of which graph.
        path: how.
    """

    graphs: int = 0
    classes: int = 0
    states: int = 0
    transitions: int = 0
    all_states: int = 0
    ends: int = 0
    depth: int = 0
    clause: str = ""
    shape: str = ""
    path: tuple[Step, ...] = ()

    def add(self, shape: str, count: int, found: SearchResult) -> None:
        """One more graph, that stands for `count`."""
        self.graphs += count
        self.classes += 1
        self.states += found.states
        self.transitions += found.transitions
        self.all_states += count * found.states
        self.ends += found.ends
        self.depth = max(self.depth, found.depth)
        if found.clause and not self.clause:
            self.clause, self.shape, self.path = found.clause, shape, found.path


@dataclass(slots=True)
class Progress:
    """The finished graphs, a line each, in a file that may be cut off anywhere.

    Args:
        path: the file; None keeps the results in memory alone.
        resume: use the results that it holds; otherwise it is begun anew.

    Attributes:
        known: the results, by configuration and graph.
        fresh: states that were found since, and not believed.

    Raises:
        SpecError: the file cannot be read or written.
    """

    path: Path | None
    resume: bool = False
    known: dict[tuple[str, str], SearchResult] = field(default_factory=dict)
    fresh: int = 0
    _file: BinaryIO | None = None

    def __post_init__(self) -> None:
        if self.path is None:
            return
        try:
            if self.resume and self.path.exists():
                self._read(self.path)
            text = "".join(_line(*key, found) for key, found in self.known.items())
            write_files(self.path.parent, {self.path.name: text})
            self._file = open_log(self.path)
        except OSError as error:
            raise SpecError(f"{self.path}: {error.strerror}") from None

    def _read(self, path: Path) -> None:
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            try:
                if line.endswith("\n"):
                    item = json.loads(line)
                    states, transitions, bases, depth, ends = map(int, item["counts"])
                    found = SearchResult(states, transitions, bases, depth, ends)
                    self.known[item["configuration"], item["graph"]] = found
            except (ValueError, KeyError, TypeError):
                raise SpecError(f"{path}: not what an explorer wrote: {line[:60]!r}") from None

    def keep(self, configuration: str, shape: str, found: SearchResult) -> None:
        """One graph is finished. One that breaks a clause is not kept: it will be found again."""
        self.fresh += found.states
        if self._file is not None and not found.clause:
            self._file.write(_line(configuration, shape, found).encode())
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _line(configuration: str, shape: str, found: SearchResult) -> str:
    counts = [found.states, found.transitions, found.bases, found.depth, found.ends]
    item = {"configuration": configuration, "graph": shape, "counts": counts}
    return json.dumps(item, ensure_ascii=False) + "\n"


def drops_of(relation: Relation) -> list[int] | None:
    """The dropped rows that each claim holds, as `Invariants` takes them."""
    return relation.claim_drops if relation.faults.claims_hold_drops else None


def search_for(graph: ExecutionGraph, faults: Faults, *, symmetric: bool = False) -> Search:
    """The search of one graph under the reference's own rules.

    Raises:
        SpecError: a barrier whose scope has rows in more row groups than may be admitted at once.
    """
    check_limits(Limits(group_rows=faults.group_rows, groups=faults.groups), graph.rules)
    relation = Relation(graph, faults)
    invariants = Invariants(
        graph,
        relation.claims,
        faults.workers,
        drops=drops_of(relation),
        losses=bool(faults.losses),
        group_rows=faults.group_rows,
        groups=faults.groups,
    )
    return Search(relation, invariants, symmetric=symmetric)


def _explore_shape(work: tuple[Shape, Configuration]) -> SearchResult:
    shape, configuration = work
    graph = shape.graph(configuration.rows, configuration.batch)
    return search_for(graph, configuration.faults).run()


def explore(
    configuration: Configuration,
    progress: Progress,
    *,
    jobs: int = 1,
    tick: Callable[[Totals], object] = lambda _: None,
) -> Totals:
    """Explore all graphs of a configuration; stops at the first that breaks a clause.

    Args:
        configuration: the configuration.
        progress: the results so far, and the file for further ones.
        jobs: processes.
        tick: called after each graph.
    """
    totals, name = Totals(), str(configuration)
    shapes = configuration.shapes()
    todo = [shape for shape in shapes if (name, str(shape)) not in progress.known]
    with ExitStack() as stack:
        results = _results(stack, [(shape, configuration) for shape in todo], jobs)
        for shape, count in shapes.items():
            found = progress.known.get((name, str(shape)))
            if found is None:
                found = next(results)
                progress.keep(name, str(shape), found)
            totals.add(str(shape), count, found)
            tick(totals)
            if totals.clause:
                break
    return totals


def _results(
    stack: ExitStack, work: Iterable[tuple[Shape, Configuration]], jobs: int
) -> Iterator[SearchResult]:
    if jobs == 1:
        return map(_explore_shape, work)
    pool = stack.enter_context(ProcessPoolExecutor(jobs))
    stack.callback(pool.shutdown, cancel_futures=True)
    return pool.map(_explore_shape, work, chunksize=4)
