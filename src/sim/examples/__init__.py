"""The scenarios and sweep files that come with cellspec, each known by a name.

They have one source, the folder ``simulations`` of the repository. The wheel holds copies of them
beside this module (``force-include`` in ``pyproject.toml``); in a checkout they are read from their
source. Each is complete in itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cellspec.errors import SpecError
from cellspec.text import closest

__all__ = ["EXAMPLES", "SWEEPS", "example_path", "is_path"]

EXAMPLES = ("text_to_sql", "reviews_rate_limited", "barrier_option_c")
"""The names, in the order in which a reader meets them."""

SWEEPS = ("concurrency_sweep",)
"""The names of sweep files, which vary the examples."""

_FOLDERS = (Path(__file__).parent, Path(__file__).parents[3] / "simulations")


def is_path(word: str) -> bool:
    """Whether a word on the command line is a path: it has a suffix or a separator."""
    return any(mark in word for mark in "./\\")


def example_path(name: str, names: Sequence[str] = EXAMPLES) -> Path:
    """The file of an example.

    Args:
        name: of the example.
        names: those that may be meant.

    Raises:
        SpecError: the name is unknown.
    """
    if name not in names:
        near = closest(name, names, 0.6)
        hint = f"did you mean {near}? " if near else ""
        own = (
            f"./{name} is a file here: give ./{name} to take that"
            if Path(name).is_file()
            else f"a path to a file of your own has a suffix or a folder, as in ./{name}"
        )
        raise SpecError(f"no example is called {name!r}: {hint}there are {', '.join(names)}; {own}")
    for folder in _FOLDERS:
        path = folder / f"{name}.yaml"
        if path.is_file():
            return path
    raise SpecError(f"example {name!r}: its file is missing from this installation of cellspec")
