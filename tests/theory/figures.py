"""The figures of a case: of the printed result, or worked out here from the trace of the run."""

from __future__ import annotations

import json
import re
from statistics import fmean
from typing import Any

from tests.recompute.runner import Run

__all__ = ["FROM_TRACE", "figure"]

FROM_TRACE = re.compile(r"^(mean_call_s_end|\w+_end_s|refused|refused_share|retry_after_s)$")
"""The names of figures that follow from the trace, and do not stand in the printed result."""


def figure(name: str, done: Run) -> float:
    """A figure of one run, by its name in the table of cases."""
    if FROM_TRACE.search(name):
        return _of_trace(name, [json.loads(line) for line in done.trace])
    if name == "mean_limit":
        (endpoint,) = done.printed["by_endpoint"]
        return float(endpoint[name])
    return float(_of_result(name, done.printed))


def _of_result(name: str, printed: Any) -> Any:
    """A figure of the JSON form: items of lists are named by their first field."""
    for part in name.split("."):
        if isinstance(printed, list):
            printed = {next(iter(item.values())): item for item in printed}
        printed = printed[part]
    return printed


def _of_trace(name: str, events: list[dict[str, Any]]) -> float:
    requests = [event for event in events if event.get("event") == "request"]
    refusals = [event for event in requests if event["request"]["step"] == "refused"]
    if name == "refused":
        return len(refusals)
    if name == "refused_share":
        # Each request that was sent is refused or accepted.
        return float(len(refusals) / sum(event["request"]["step"] == "sent" for event in requests))
    if name == "retry_after_s":
        (refusal,) = refusals
        return float(refusal["request"]["retry_after_s"])
    ends = [event for event in events if event.get("event") == "complete"]
    if name == "mean_call_s_end":
        return fmean(event["t"] for event in ends)
    column = name.removesuffix("_end_s")
    return float(max(event["t"] for event in ends if event["column"] == column))
