"""``python -m sim.scenario`` prints the JSON Schema of a scenario file."""

import sys

from sim.scenario.schema import main

if __name__ == "__main__":
    sys.exit(main())
