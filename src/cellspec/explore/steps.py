"""States and steps of an exploration: one vocabulary for the masks and for the machine.

A step is called like the action of `cellspec.machine.machine.Machine` that it begins with. Some
steps are several actions:

==================  ================================================================================
step                actions of the machine
==================  ================================================================================
start               start
complete            complete
fail retryable      fail (retryable)
fail permanent      fail (permanent), and drop for each row that it gives up
checkpoint_begin    durable for each column that the claim reaches further in, checkpoint_begin
checkpoint_durable  checkpoint_durable
crash               crash, resume
stop_requested      stop_requested
interrupt           end (interrupted), resume
admit               admit
lose                worker_lost, lose
==================  ================================================================================

`cellspec.explore.actions` spells steps out as actions, and `cellspec.explore.equivalence` holds the
machine to them. A row group retires in the step that resolves its last cell, by the action retire.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["State", "Step"]


class State(NamedTuple):
    """One state: its base, and its history as the position of a bit."""

    base: int
    history: int


class Step(NamedTuple):
    """One step, by name.

    Attributes:
        kind: start, complete, fail, checkpoint_begin, checkpoint_durable, crash, stop_requested,
            interrupt, lose or admit.
        place: of start, complete, fail and lose: the node, by its bit; of checkpoints, crashes and
            interruptions: the claim, by its index; of admit: the row group, by its bit.
        outcome: of fail: retryable or permanent; of crash: the fate of the claim that was being
            written: old, new or torn.
    """

    kind: str
    place: int = -1
    outcome: str = ""
