"""The command line of the line protocol: see `cellspec.engines.lines.check`."""

import sys

from cellspec.engines.lines.check import main

if __name__ == "__main__":
    sys.exit(main())
