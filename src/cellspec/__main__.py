"""``cellspec`` and ``python -m cellspec``: the command line of `sim.cli`, after one check.

``python -m`` looks for modules in the user's folder first. A file ``sim.py`` there would take the
place of the simulator, and could end with "fine" for any run. So the place of `sim` is checked
before it is imported: it stands beside this package, or nothing is run.

This is the one module of `cellspec` that knows the simulator.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cellspec.errors import SpecError
from cellspec.exit_codes import run_command

__all__ = ["main"]

_HERE = Path(__file__).resolve().parent


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return the exit code of the process.

    Args:
        argv: the arguments after ``cellspec``; by default those of the process.
    """
    as_module = Path(sys.argv[0]).name == "__main__.py"
    program = "python -m cellspec" if as_module else "cellspec"
    return run_command(lambda: _command_line()(argv, program=program))


def _command_line() -> Callable[..., int]:
    """The function of `sim.cli`.

    Raises:
        SpecError: another module has the name ``sim`` here.
    """
    found = importlib.util.find_spec("sim")
    place = None if found is None or found.origin is None else Path(found.origin).resolve()
    if place is None or place != _HERE.parent / "sim" / "__init__.py":
        raise SpecError(
            f"{place or 'sim'}: expected the simulator of cellspec in {_HERE.parent / 'sim'}; "
            "another module of that name hides it: rename that file, or start in another folder"
        )
    from sim.cli import main as main_of_commands

    return main_of_commands


if __name__ == "__main__":
    sys.exit(main())
