"""What may happen next: the transition system of a run, and the clause that forbids a step."""

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
