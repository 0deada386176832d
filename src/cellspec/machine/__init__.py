"""The machine and its parts: steps, limits, failures, saving, row groups, diagnosis."""

from cellspec.machine.machine import (
    Action,
    Choose,
    Failure,
    FailurePolicy,
    Limits,
    Machine,
    Outcome,
    Ranges,
)

__all__ = ["Action", "Choose", "Failure", "FailurePolicy", "Limits", "Machine", "Outcome", "Ranges"]
