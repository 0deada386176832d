"""The simulator of cellspec and its command line.

`load`, `run`, `compare` and `sweep` are for Python; `sim.api` documents them, and their results.

>>> from sim import load, run
>>> runs = run(load("barrier_option_c", {"rows": 20, "crashes": []}), replications=3)
>>> runs["rows_delivered"].tolist()
[20.0, 20.0, 20.0]

They are loaded when they are first asked for, so that the command line starts at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sim.api import compare, load, run, sweep

__all__ = ["compare", "load", "run", "sweep"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("sim.api"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
