"""The manifest of a folder of results: what gives the same bytes again."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from typing import Any

from cellspec.clauses import clause_set_data

__all__ = ["manifest_text"]

_DEPENDENCIES = ("numpy", "pydantic", "PyYAML", "simpy")


def manifest_text(*, intervals: bool = False, **inputs: object) -> str:
    """The inputs and versions with which a run, or an experiment, gives the same bytes again.

    The set of clauses that judged the runs stands here alone: a result holds figures, and is equal
    for every set of clauses.

    Args:
        intervals: whether the results have any; their library is then named too.
        inputs: in their order: the digest of each scenario with its seed, the seed of its first
            run, how many runs, whether time was judged, and the fingerprint of the runs.

    Returns:
        JSON.
    """
    names = (*_DEPENDENCIES, "scipy") if intervals else _DEPENDENCIES
    found: dict[str, Any] = {"cellspec": version("cellspec"), "clauses": clause_set_data()}
    found |= inputs
    found |= {"python": platform.python_version(), "architecture": platform.machine()}
    found["dependencies"] = {name: version(name) for name in names}
    return json.dumps(found, indent=2) + "\n"
