"""``cellspec explore``: every schedule and every crash of every small graph.

stdout holds the counts, the same bytes every time; a broken clause comes with the path to it, a
line a step, and the actions that replay it. Progress and speed go to stderr.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellspec.exit_codes import FINE, INTERNAL, VIOLATED, complain, put, put_line
from cellspec.progress_line import progress_line
from sim.arguments import add_format
from sim.terminal import Clock

if TYPE_CHECKING:
    from cellspec.explore.bounds import Configuration, Totals
    from cellspec.explore.relation import Faults
    from cellspec.explore.search import Search
    from cellspec.graph.graph import ExecutionGraph

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    explore = commands.add_parser(
        "explore",
        help="go through every state of every small graph, and judge each",
        description="Go through every graph of a small size, every schedule and every crash point, "
        "breadth first, and judge each state and step. A broken clause comes with the shortest way "
        "to it.",
    )
    what = explore.add_mutually_exclusive_group()
    what.add_argument(
        "--bounds",
        "--tier",
        type=int,
        choices=(0, 1, 2, 3),
        help="pipelines in scope: 0 single ones (a second), 1 half a minute (default), 2 for CI, "
        "3 for the night; --tier is the old name",
    )
    what.add_argument(
        "--graph",
        metavar="LINE|FILE",
        help="one graph, as in 'a v:barrier(a) c(v)'; or a file that holds such a line, or the "
        "header of a trace",
    )
    what.add_argument("--columns", metavar="C", type=_count, help="every graph of so many columns")
    explore.add_argument(
        "--kinds",
        metavar="NAMES",
        default="row,barrier",
        help="what a column may be, with --columns: row, barrier and batch, each perhaps with "
        "+ordered (default: row,barrier)",
    )
    explore.add_argument("--rows", metavar="R", type=_count, help="rows (default: 2)")
    explore.add_argument("--batch", metavar="B", type=_count, help="rows of a batch")
    _add_faults(explore)
    explore.add_argument(
        "--symmetry", action="store_true", help="count states that differ in the order of rows once"
    )
    explore.add_argument(
        "--equivalence",
        "--lockstep",
        action="store_true",
        help="also replay every step on the transition system, and compare: a millisecond a step; "
        "--lockstep is the old name",
    )
    explore.add_argument("--jobs", metavar="N", type=_count, default=1, help="default: 1")
    add_format(explore, "table")
    explore.add_argument(
        "--out",
        metavar="DIR",
        help="keep what is finished in explored.jsonl, and a failure in case.jsonl",
    )
    explore.add_argument(
        "--resume", action="store_true", help="go on from what --out holds of an earlier search"
    )
    explore.add_argument(
        "--page", metavar="FILE", help="write the counts of the bounds into this page"
    )
    explore.add_argument(
        "--expect", metavar="FILE", help="fail (1) if this page has other counts of the bounds"
    )
    explore.set_defaults(command=_explore)


_VERSIONS = {"1": (1,), "2": (2,), "both": (1, 2), "3": (3,), "each": (1, 2, 3)}


def _add_faults(explore: Any) -> None:
    explore.add_argument(
        "--crashes", metavar="N", type=_budget, help="crashes at most (default: 1)"
    )
    explore.add_argument(
        "--torn", action="store_true", help="an interrupted claim may be torn, too"
    )
    explore.add_argument(
        "--versions",
        choices=_VERSIONS,
        default="1",
        help="of checkpoints: claims of rows, of columns, or both; of any cells; or each of them "
        "(default: 1)",
    )
    explore.add_argument("--retries", metavar="N", type=_budget, default=0, help="default: 0")
    explore.add_argument("--drops", metavar="N", type=_budget, default=0, help="default: 0")
    explore.add_argument(
        "--stops", metavar="N", type=_budget, default=0, help="stops on request (default: 0)"
    )
    explore.add_argument(
        "--losses",
        metavar="N",
        type=_budget,
        default=0,
        help="results lost with a worker (default: 0)",
    )
    explore.add_argument("--workers", metavar="N", type=_count, help="default: no limit")
    explore.add_argument(
        "--group-rows", metavar="N", type=_count, help="rows of a row group (default: no groups)"
    )
    explore.add_argument(
        "--groups", metavar="N", type=_count, help="row groups admitted at once (default: no limit)"
    )


def _count(text: str) -> int:
    number = _budget(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return number


def _budget(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 3):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to 999, got {text!r}")
    return int(text)


def _explore(args: argparse.Namespace) -> int:
    _check(args)
    return _many(args) if args.graph is None else _one(args)


def _check(args: argparse.Namespace) -> None:
    from cellspec.errors import SpecError

    if args.resume and args.out is None:
        raise SpecError("--resume: needs --out, the folder of the earlier search")
    if args.symmetry and args.graph is None:
        raise SpecError("--symmetry: needs --graph")
    own = [args.rows, args.batch, args.crashes, args.workers, args.group_rows, args.groups]
    named = args.graph is None and args.columns is None
    own += [args.retries, args.drops, args.stops, args.losses, args.torn, args.versions != "1"]
    if named and any(own):
        raise SpecError(
            "--bounds brings its own rows and faults: give --graph or --columns with them"
        )
    if not named and (args.page or args.expect):
        raise SpecError("--page and --expect: need --bounds")


def _faults(args: argparse.Namespace) -> Faults:
    from cellspec.explore.relation import Faults

    return Faults(
        crashes=1 if args.crashes is None else args.crashes,
        torn=args.torn,
        retries=args.retries,
        drops=args.drops,
        stops=args.stops,
        losses=args.losses,
        workers=args.workers,
        group_rows=args.group_rows,
        groups=args.groups,
        versions=_VERSIONS[args.versions],
    )


# One graph


def _graph(args: argparse.Namespace) -> ExecutionGraph:
    """The graph that ``--graph`` names.

    Raises:
        SpecError: it cannot be read as a graph.
    """
    from cellspec.errors import SpecError
    from cellspec.explore.pipelines import parse_shape

    text, path = args.graph, Path(args.graph)
    try:
        if path.is_file():
            text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read: {error}") from None
    if text.lstrip().startswith("{"):
        return _header_graph(text, str(path), args)
    return parse_shape(text).graph(args.rows or 2, args.batch)


def _header_graph(text: str, source: str, args: argparse.Namespace) -> ExecutionGraph:
    import msgspec

    from cellspec.errors import SpecError
    from cellspec.trace import Header, graph_of

    try:
        header = msgspec.json.decode(text.splitlines()[0], type=Header)
    except msgspec.DecodeError as error:
        raise SpecError(f"{source}: expected the header of a trace: {error}") from None
    graph = graph_of(header, source)
    return graph if args.rows is None else graph.resized(args.rows)


NODES_MAX = 40
"""A graph with more nodes than this has too many states for any machine."""


def _one(args: argparse.Namespace) -> int:
    from cellspec.errors import SpecError
    from cellspec.explore.bounds import search_for
    from cellspec.explore.symmetry import may_reduce
    from sim.output import explore as output

    graph = _graph(args)
    if graph.num_nodes > NODES_MAX:
        raise SpecError(f"graph: {graph.num_nodes} nodes; at most {NODES_MAX} can be explored")
    search = search_for(graph, _faults(args))
    if args.symmetry:
        if not may_reduce(search.relation):
            raise SpecError(
                "--symmetry: rows are not alike here: it needs --crashes 0, no row groups, and no "
                "column that is ordered or a batch barrier"
            )
        search = search_for(graph, _faults(args), symmetric=True)
    clock = Clock()
    found = search.run()
    clock.say(found.states, alone=True)
    result: dict[str, Any] = {
        name: getattr(found, name) for name in ("states", "transitions", "depth", "ends", "clause")
    }
    if args.equivalence and not found.clause:
        replayed = _replay([search])
        if replayed is None:
            return INTERNAL
        result["replayed"] = replayed
    explanation = _explanation(graph, _faults(args), found.path, args.out) if found.clause else None
    render = output.one_as_json if args.format == "json" else output.one_as_table
    put(render(result, explanation))
    return VIOLATED if found.clause else FINE


def _replay(searches: Iterable[Search]) -> int | None:
    """Replay every step of some graphs on the transition system; None if the two disagree."""
    from cellspec.explore.equivalence import Difference, check_equivalence

    replayed = 0
    for search in searches:
        try:
            replayed += check_equivalence(search)[1]
        except Difference as difference:
            graph = search.relation.graph
            complain(f"error: relation and machine disagree: {graph}: {difference}", INTERNAL)
            return None
    return replayed


def _explanation(
    graph: ExecutionGraph, faults: Faults, path: Sequence[Any], out: str | None
) -> dict[str, Any]:
    """The lines that explain a path, and its actions; ``--out`` also gets it as a trace."""
    from importlib.metadata import version

    from cellspec.explore.actions import actions_of
    from cellspec.explore.bounds import search_for
    from cellspec.explore.counterexamples import counterexample_lines, explain_path
    from cellspec.files import write_files

    search = search_for(graph, faults)
    actions = actions_of(search, path)
    if out is not None:
        text = counterexample_lines(search.relation, actions, version("cellspec"))
        write_files(Path(out), {"case.jsonl": text})
    return {"story": explain_path(search, path), "actions": [str(action) for action in actions]}


# Many graphs


def _explanation_of(
    configuration: Configuration, totals: Totals, out: str | None
) -> dict[str, Any]:
    from cellspec.explore.pipelines import parse_shape

    graph = parse_shape(totals.shape).graph(configuration.rows, configuration.batch)
    return _explanation(graph, configuration.faults, totals.path, out)


def _configurations(args: argparse.Namespace) -> Sequence[Configuration]:
    from cellspec.errors import SpecError
    from cellspec.explore.bounds import BOUNDS, Configuration
    from cellspec.explore.pipelines import KINDS

    if args.columns is None:
        return BOUNDS[1 if args.bounds is None else args.bounds]
    kinds = tuple(args.kinds.split(","))
    for kind in kinds:
        if kind not in KINDS:
            raise SpecError(f"--kinds: unknown kind {kind!r}; known: {', '.join(KINDS)}")
        if kind.startswith("batch") and args.batch is None:
            raise SpecError("--kinds: a batch barrier needs --batch")
    if args.columns > 5:
        raise SpecError(f"--columns: expected at most 5, got {args.columns}")
    return [Configuration(args.rows or 2, _faults(args), args.columns, kinds, args.batch)]


def _many(args: argparse.Namespace) -> int:
    from cellspec.explore.bounds import Progress, explore, search_for
    from cellspec.explore.page import compare_page, write_page
    from cellspec.files import path_of
    from sim.output import explore as output

    configurations = _configurations(args)
    out = None if args.out is None else path_of(args.out)
    progress = Progress(None if out is None else out / "explored.jsonl", resume=args.resume)
    rows: list[tuple[Configuration, Totals]] = []
    clock = Clock()
    line = progress_line(every_s=0.2)

    def show(totals: Totals) -> None:
        if line is not None and line.is_due:
            counts = f"{totals.classes:,} graphs, {totals.states:,} states"
            line.show(f"{configurations[len(rows)]}: {counts}")

    try:
        for configuration in configurations:
            totals = explore(configuration, progress, jobs=args.jobs, tick=show)
            rows.append((configuration, totals))
            if totals.clause:
                break
    finally:
        progress.close()
        if line is not None:
            line.clear()
    clock.say(progress.fresh, alone=args.jobs == 1)
    explanation = _explanation_of(*rows[-1], args.out) if rows[-1][1].clause else None
    render = output.many_as_json if args.format == "json" else output.many_as_table
    put(render(rows, explanation))
    if explanation is not None:
        return VIOLATED
    if args.equivalence:
        replayed = _replay(
            search_for(shape.graph(one.rows, one.batch), one.faults)
            for one in configurations
            for shape in one.shapes()
        )
        if replayed is None:
            return INTERNAL
        put_line(f"{replayed:,} steps replayed on the transition system")
    bounds = 1 if args.bounds is None else args.bounds
    if args.page is not None:
        write_page(path_of(args.page), bounds, rows)
    if args.expect is not None:
        difference = compare_page(Path(args.expect), bounds, rows)
        if difference:
            return complain(f"{args.expect}: {difference}", VIOLATED)
    return FINE
