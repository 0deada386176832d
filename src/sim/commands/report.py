"""``cellspec report``: the page of a sweep, and its charts as files."""

from __future__ import annotations

import argparse
from typing import Any

from cellspec.exit_codes import FINE, put_line

__all__ = ["add_parser"]

PAGE = "report.html"


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    report = commands.add_parser(
        "report",
        help="draw the charts of a sweep as a page, or as PNG or SVG files",
        description="Read the folder of a sweep and write a page about it: throughput by "
        "concurrency with its bounds and the knee, makespan by each field, makespan against cost, "
        "paired differences from the best point, and a table of all points. Which charts there are "
        "follows from the fields that the sweep varies. `cellspec run --report` writes the page of "
        "one run.",
    )
    report.add_argument("folder", metavar="OUT", help="the folder that `cellspec sweep` wrote")
    report.add_argument(
        "--html",
        metavar="FILE.html",
        help=f"the page: one file, which asks for nothing from elsewhere (default: OUT/{PAGE})",
    )
    report.add_argument(
        "--figures",
        metavar="DIR",
        help="also write each chart as a file into this folder; needs the extra cellspec[report]",
    )
    report.add_argument(
        "--format",
        choices=("png", "svg"),
        default="png",
        help="of the files of --figures (default: png)",
    )
    report.set_defaults(command=_report)


def _report(args: argparse.Namespace) -> int:
    from cellspec.files import check_folder, path_of, write_files
    from cellspec.text import counted
    from sim.output.report.plots import plots
    from sim.output.report.sweep_charts import against_best, charts_of_sweep
    from sim.output.report.sweep_folder import MANIFEST, RUNS, SUMMARY, read_sweep
    from sim.output.report.sweep_page import sweep_page
    from sim.targets import check_targets

    folder = path_of(args.folder)
    html = folder / PAGE if args.html is None else path_of(args.html)
    sweep = read_sweep(folder)
    for name in (MANIFEST, RUNS, SUMMARY):
        check_targets(folder / name, html)
    if args.figures is not None:
        check_folder(args.figures)
    against = against_best(sweep)
    charts = charts_of_sweep(sweep, against)
    files = {} if args.figures is None else plots(charts, args.format)
    write_files(html.parent, {html.name: sweep_page(sweep, charts, against)})
    size = f"{counted(len(sweep.points), 'point')}, {counted(len(charts), 'chart')}"
    put_line(f"wrote {html}: {size}")
    if args.figures is not None:
        write_files(path_of(args.figures), files)
        put_line(f"wrote {counted(len(files), 'file')} into {args.figures}")
    return FINE
