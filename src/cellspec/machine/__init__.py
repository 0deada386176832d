"""The transition system of a run: which steps are allowed, and which clause forbids another."""

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
