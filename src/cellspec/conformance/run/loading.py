"""Loading a backend: its module is imported, so its name comes from the command line alone.

A case file, or a line of text that a stranger sent, names the engine that it was found on. That
name is a hint for a person; cellspec imports an engine only if the user names it too.
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
from cellspec.conformance.run.users_exit import pass_on
from cellspec.errors import SpecError

__all__ = ["expect_named", "load_backend"]


# A path, or a registered name: nothing else is repeated in a message that a shell may be given.
_NAME = re.compile(r"[\w.]+:[\w.]+|[\w.-]+")


def expect_named(named: str | None, case: Case, source: str, option: str) -> str:
    """The user's name for the engine to run a case on.

    Args:
        named: the name on the command line, if there is one.
        case: the case; its own name is for the message alone.
        source: where the case comes from.
        option: the option that names an engine.

    Raises:
        SpecError: the command line names no engine; the message repeats the case's name, as a hint.
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
            a class, a function without arguments, or a backend.
        folder: modules are looked for here too, after all other places.
        option: where the name comes from; messages begin with it.

    Raises:
        SpecError: the name or path is unknown, or its value is no backend.
    """
    module_name, _, path = backend_path(spec, option).partition(":")
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    try:
        found: Any = importlib.import_module(module_name)
    # A module that leaves the process, as a script does, is no reason to.
    except (Exception, SystemExit) as error:
        pass_on(error)
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
            pass_on(error)
            what = f"{type(error).__name__}: {error}"
            raise SpecError(f"{option}: {spec}() cannot be made: {what}") from None
    try:
        check_capabilities(found)
    except SpecError as error:
        raise SpecError(f"{option}: {error}") from None
    backend: Backend = found
    return backend, made
