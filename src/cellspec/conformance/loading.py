"""The backend that a name means. Whoever gave the name gets its code run."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from cellspec.conformance.backend import Backend, check_capabilities
from cellspec.errors import SpecError

__all__ = ["load_backend"]


def load_backend(spec: str, folder: Path, option: str = "--engine-backend") -> tuple[Backend, bool]:
    """The backend that ``module:attribute`` names, and whether it was made by calling that.

    Args:
        spec: the name. The attribute may be a class, a function that takes nothing, or a backend.
        folder: modules are looked for here too, after all other places.
        option: where the name comes from; messages begin with it.

    Raises:
        SpecError: there is no such thing, or it is no backend.
    """
    module_name, colon, path = spec.partition(":")
    if not module_name or not colon or not path:
        raise SpecError(f"{option}: expected module:attribute, got {spec!r}")
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
