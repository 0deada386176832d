"""Dispatch policies: the orders in which ready nodes are started, by name.

===============  ==========================================  =================================
policy           order                                       trade-off
===============  ==========================================  =================================
fifo             the moment of becoming ready                a node goes before all later ones;
                                                             early columns run far ahead
row-first        lowest row, then the later column           rows finish early, checkpoints
                                                             cover more; the default
column-first     earliest column, then the lowest row        like column-by-column engines
critical-path    longest mean latency to the end of the row  shortest makespan when a chain
                                                             dominates
random           uniform, from the seed                      finds faults that an order hides
===============  ==========================================  =================================

Under every policy but ``fifo`` and ``random`` a barrier node goes before cells: its whole scope
waits for it. ``fifo`` alone promises that a node is not overtaken, and its traces say so.
`sim.simulator.queues` has a queue for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

__all__ = ["BYPASS_BOUNDS", "POLICIES", "Policy"]

Policy = Literal["fifo", "row-first", "column-first", "critical-path", "random"]
BYPASS_BOUNDS: Final[Mapping[Policy, int]] = {"fifo": 0}
"""By policy, the most later nodes of its resource that overtake a ready one (clause SCHED-17); the
policies that are left out promise no bound."""
POLICIES: tuple[str, ...] = get_args(Policy)
