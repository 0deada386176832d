"""``python -m cellspec.trace`` prints the JSON Schema of a trace's lines."""

import sys

from cellspec.exit_codes import FINE, put, run_command
from cellspec.trace.schema import schema_text


def main() -> int:
    """Print it; an exit code of `cellspec.exit_codes`."""

    def command() -> int:
        put(schema_text())
        return FINE

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
