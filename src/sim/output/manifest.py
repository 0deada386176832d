"""The manifest of a folder of results: what gives the same bytes again."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from typing import Any

from cellspec.clauses import clause_set_data

__all__ = ["manifest_text"]

_DEPENDENCIES = ("numpy", "pydantic", "PyYAML", "simpy")


def manifest_text(
    *, scenario_digest: str, seed: int, checked: bool, fingerprint: str, runs: int | None = None
) -> str:
    """The inputs and versions with which a run gives the same bytes again, as JSON.

    The set of clauses that judged the run stands here alone: a result holds figures, and is equal
    for every set of clauses.

    Args:
        scenario_digest: of the scenario, with its seed.
        seed: of the run; of several runs that of the first.
        checked: whether time was judged.
        fingerprint: of the run, or of all of them.
        runs: how many, if an experiment made them; their seeds follow the first.
    """
    many: dict[str, Any] = {} if runs is None else {"runs": runs}
    # Intervals come from it.
    names = _DEPENDENCIES if runs is None else (*_DEPENDENCIES, "scipy")
    return (
        json.dumps(
            {
                "cellspec": version("cellspec"),
                "clauses": clause_set_data(),
                "scenario_digest": scenario_digest,
                "seed": seed,
                **many,
                "checked": checked,
                "fingerprint": fingerprint,
                "python": platform.python_version(),
                "architecture": platform.machine(),
                "dependencies": {name: version(name) for name in names},
            },
            indent=2,
        )
        + "\n"
    )
