"""``python -m tests.coverage``: measure how often intervals hold the truth."""

from __future__ import annotations

import sys

from cellspec.exit_codes import FINE, Parser, put, run_command
from sim.arguments import count
from tests.coverage.page import CAMPAIGNS, PAGE, page


def main() -> int:
    """Run the campaigns, and print or write the page."""
    parser = Parser(prog="python -m tests.coverage", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="CAMPAIGN", help=", ".join(CAMPAIGNS))
    parser.add_argument("--write", action="store_true", help="write simulations/coverage.md")
    parser.add_argument("--jobs", metavar="N", type=count, default=2, help="default: 2")
    args = parser.parse_args()
    for name in args.names:
        if name not in CAMPAIGNS:
            parser.error(f"no campaign is called {name!r}; there are {', '.join(CAMPAIGNS)}")
    before = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    text = page(args.names or CAMPAIGNS, before, args.jobs)
    if args.write:
        PAGE.write_text(text, encoding="utf-8")
    else:
        put(text)
    return FINE


if __name__ == "__main__":
    sys.exit(run_command(main))
