"""Loading a backend: its module is imported, so its name comes from the command line alone.

A case file, or a line of text that somebody sent, names the engine that it was found on. That is a
hint for a person. No file makes cellspec import anything.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

from cellspec.conformance.run.backend import Backend, check_capabilities
from cellspec.conformance.run.case import Case
from cellspec.conformance.run.registered import backend_path
from cellspec.errors import SpecError

__all__ = ["expect_named", "load_backend"]


# A path, or a registered name: nothing else is repeated in a message that a shell may be given.
_NAME = re.compile(r"[\w.]+:[\w.]+|[\w.-]+")


def expect_named(named: str | None, case: Case, source: str, option: str) -> str:
    """The name of the engine to run a case on, which the user has given.

    Args:
        named: what the command line names, if anything.
        case: the case; of its own name nothing but the message is made.
        source: where the case comes from.
        option: the option that names an engine.

    Raises:
        SpecError: nothing is named. The message repeats what the case says, as a hint.
    """
    if named:
        return named
    if not case.backend:
        raise SpecError(f"{source}: names no engine; name one with {option} BACKEND")
    if _NAME.fullmatch(case.backend) is None:
        raise SpecError(f"{source}: backend: expected module:attribute, got {case.backend!r}")
    raise SpecError(
        f"{source}: was found on {case.backend}, and no file's own word is run: name it with "
        f"{option} {case.backend} to run it there, if you trust that code"
    )


def load_backend(spec: str, folder: Path, option: str = "--engine-backend") -> tuple[Backend, bool]:
    """The backend that a user named, and whether it was made by a call.

    Args:
        spec: a registered name, or ``module:attribute``, as the user gave it. The attribute may be
            a class, a function that takes nothing, or a backend.
        folder: modules are looked for here too, after all other places.
        option: where the name comes from; messages begin with it.

    Raises:
        SpecError: there is no such thing, or it is no backend.
    """
    module_name, _, path = backend_path(spec, option).partition(":")
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    try:
        found: Any = importlib.import_module(module_name)
    # A module that leaves the process, as a script does, is no reason to.
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise SpecError(f"{option}: {module_name}: cannot be imported: {what}") from None
    for name in path.split("."):
        if not hasattr(found, name):
            raise SpecError(f"{option}: {module_name} has no attribute {path!r}")
        found = getattr(found, name)
    made = isinstance(found, type) or not hasattr(found, "run")
    if made:
        try:
            found = found()
        except (Exception, SystemExit) as error:
            what = f"{type(error).__name__}: {error}"
            raise SpecError(f"{option}: {spec}() cannot be made: {what}") from None
    try:
        check_capabilities(found)
    except SpecError as error:
        raise SpecError(f"{option}: {error}") from None
    backend: Backend = found
    return backend, made
