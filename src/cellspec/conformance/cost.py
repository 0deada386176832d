"""The older place of `judge_cost`, for version 0.1; loaded when it is asked for."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

_HOME_OF = {
    "CostCampaign": "cellspec.conformance.campaign.scaling",
    "judge_cost": "cellspec.conformance.campaign.scaling",
    "run_cost_campaign": "cellspec.conformance.campaign.scaling",
    "LIMIT": "cellspec.conformance.campaign.scaling_limits",
    "Part": "cellspec.conformance.campaign.scaling_limits",
    "function_text": "cellspec.conformance.campaign.scaling_limits",
    "rounded": "cellspec.conformance.campaign.scaling_limits",
    "COST_CLAUSES": "cellspec.conformance.campaign.scaling_shapes",
    "COST_PROFILE": "cellspec.conformance.campaign.scaling_shapes",
    "SHAPES": "cellspec.conformance.campaign.scaling_shapes",
    "Shape": "cellspec.conformance.campaign.scaling_shapes",
    "grown": "cellspec.conformance.campaign.scaling_shapes",
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
