"""``python -m simulations.releases``: see `simulations.releases.command`."""

import sys

from simulations.releases.command import main

if __name__ == "__main__":
    sys.exit(main())
