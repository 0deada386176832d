"""The older place of `MachineBackend`, for version 0.1; loaded when it is asked for."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

_HOME_OF = {
    "MachineBackend": "cellspec.engines.machine",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOME_OF[name]
    warnings.warn(
        f"{__name__}.{name} is now {home}.{name}; the older place goes after version 0.1",
        DeprecationWarning,
        stacklevel=2,
    )
    return getattr(importlib.import_module(home), name)
