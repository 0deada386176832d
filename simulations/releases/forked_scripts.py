"""Runs stand-alone scripts one after the other, each in a process forked from this one.

A script of a release spends most of its time on imports. This process imports once what they
import, so that each script finds it imported: libraries, and the engine. Modules of the standard
library that no script asks for stay out of it. So a forked script does what it does in a process of
its own: it runs as ``__main__``, and what it prints, its exit code and all that happens at the exit
are its own. Only variables that it sets before it imports the engine come too late: those that an
engine reads then belong into the list of its releases, and its files into the home directory, which
is an empty folder here.

``python forked_scripts.py OUT LIMIT_S SCRIPT…`` writes a line of JSON for each script to
OUT: its path and its exit code, which is null if it was ended after LIMIT_S seconds. What a script
prints is in the file of its name that ends in ``.log``.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["main"]


def main() -> None:
    """Run the scripts on the command line; in the process of a script, do what it does."""
    out, limit_s, *paths = sys.argv[1:]
    learned = Path(f"{out}.modules")
    if not os.fork():
        learned.write_text("\n".join(_imported(paths)))
        os._exit(0)
    os.wait()
    for name in learned.read_text().split() if learned.exists() else ():
        # A module may be made by another one, and cannot be found by its name.
        with suppress(Exception):
            importlib.import_module(name)
    # Else each script, as it ends, copies all that was imported to look for garbage in it.
    gc.collect()
    gc.freeze()
    for path in paths:
        sys.stdout.flush()
        child = os.fork()
        if not child:
            _become(path)
            return
        said = {"script": path, "code": _exit_code(child, float(limit_s))}
        with Path(out).open("a") as lines:
            lines.write(json.dumps(said) + "\n")


def _imported(paths: Sequence[str]) -> list[str]:
    """The modules that the imports of these scripts load, in the order of loading."""
    import ast

    known = set(sys.modules)
    for path in paths:
        for node in ast.walk(ast.parse(Path(path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                # Some releases lack some modules.
                with suppress(Exception):
                    exec(compile(ast.Module([node], []), path, "exec"), {})
    return [name for name in sys.modules if name not in known and name != "ast"]


def _become(path: str) -> None:
    """Be the process of a script."""
    log = os.open(Path(path).with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    sys.argv[:] = [path]
    runpy.run_path(path, run_name="__main__")


def _exit_code(child: int, limit_s: float) -> int | None:
    """The exit code of a process; None if it was ended because its time was up."""
    began = time.monotonic()
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() - began > limit_s:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        time.sleep(0.02)


if __name__ == "__main__":
    main()
