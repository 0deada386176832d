"""The options that commands of many runs share: how many runs, how sure, and where they run.

`add_how_many` declares ``--replications``, ``--precision``, ``--most`` and ``--figure``, and
`stopping` reads them; `add_where` declares ``--jobs``, ``--backend`` and ``--no-check``.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from cellspec.parallel import CLUSTERS
from sim.arguments import count, share

if TYPE_CHECKING:
    from sim.experiments.stopping import Stopping

__all__ = ["DEFAULT_FIGURE", "add_how_many", "add_no_check", "add_where", "stopping"]

DEFAULT_FIGURE = "makespan_s"
"""The figure that a precision is about, if nothing else is said."""

_MOST = 1000
"""As `sim.experiments.stopping.MOST_RUNS`, whose module is imported late; a test compares them."""


def add_how_many(parser: Any, about: str = "its mean", things: str = "runs") -> None:
    """Add the options that say how many runs an experiment makes.

    Args:
        parser: of the command.
        about: what ``--precision`` is a share of, in words.
        things: what ``--replications`` counts.
    """
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--replications", metavar="N", type=count, help=f"{things}, with the seeds 0, 1, 2, …"
    )
    group.add_argument(
        "--precision",
        metavar="SHARE",
        type=share,
        help="go on with seed after seed until the interval of --figure (95 %%) is so narrow: its "
        f"half-width as a share of {about}, as in 0.02 or 2%%",
    )
    parser.add_argument(
        "--most",
        metavar="N",
        type=count,
        help=f"with --precision: {things} after which it ends all the same (default: {_MOST:,})",
    )
    parser.add_argument(
        "--figure",
        metavar="NAME",
        help="the figure that is shown first, and that --precision is about, named as by run "
        "--format csv (default: "
        f"{DEFAULT_FIGURE})",
    )


def add_where(parser: Any) -> None:
    """Add the options that say where runs are made, and whether time is judged."""
    parser.add_argument(
        "--jobs", metavar="N", type=count, default=1, help="runs at once (default: 1)"
    )
    parser.add_argument(
        "--backend",
        choices=CLUSTERS,
        default="loky",
        help="where they run: processes here, a Dask or a Ray cluster (default: loky)",
    )
    add_no_check(parser)


def add_no_check(parser: Any) -> None:
    """Add ``--no-check``, as ``checked``."""
    parser.add_argument(
        "--no-check",
        dest="checked",
        action="store_false",
        help="do not judge time while running (for timing); the verdict then says so",
    )


def stopping(args: argparse.Namespace, default: int | None = None) -> Stopping | None:
    """When an experiment has enough runs, by the options of `add_how_many`.

    Args:
        args: the command line.
        default: the number of runs if it says nothing; None for a command that then makes one run.

    Raises:
        SpecError: an option has nothing to act on.
    """
    from cellspec.errors import SpecError
    from sim.experiments.stopping import FixedRuns, Precision

    if args.precision is not None:
        return Precision(args.precision, args.most or _MOST)
    if args.most is not None:
        raise SpecError("--most: it caps the runs of --precision, which is not given")
    runs = args.replications or default
    return None if runs is None else FixedRuns(runs)
