"""What is judged: the classes that an engine would be built from, one of them perhaps broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cellspec import (
    ColumnDescriptor,
    CompletionTracker,
    ExecutionGraph,
    Limits,
    ThreadSafeCompletionTracker,
)
from cellspec.build.inference import infer
from cellspec.graph.rules import Rules
from cellspec.machine.limits import check_limits
from sim.simulator.simulator import Simulator
from tests.matrix.examples import Example


@dataclass(frozen=True)
class Subject:
    """The reference, or a mutant: one class or function of it replaced."""

    descriptor: type[ColumnDescriptor] = ColumnDescriptor
    graph: type[ExecutionGraph] = ExecutionGraph
    tracker: type[CompletionTracker] = CompletionTracker
    thread_safe: type[ThreadSafeCompletionTracker] = ThreadSafeCompletionTracker
    simulator: type[Simulator] = Simulator
    infer: Callable[[type, str, type], Any] = infer
    check_limits: Callable[[Limits, Rules], None] = check_limits

    def graph_of(self, example: Example) -> ExecutionGraph:
        """The subject's graph of an example."""
        return self.graph(
            example.rows,
            [self.descriptor(*column) for column in example.columns],
            batch_size=example.batch_size,
            barrier_scope=example.scope,
        )
