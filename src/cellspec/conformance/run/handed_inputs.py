"""The inputs that calls are handed, and the adapter that never hands any on."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from cellspec.conformance.run.arguments import Arguments, Inputs
from cellspec.conformance.run.values import Registry, Value

__all__ = ["HandedInputs"]


class HandedInputs:
    """The inputs of the calls of one incarnation.

    An engine that loses an input breaks a clause. Where no call of a run ever got one, although the
    cells were made, it is the adapter that passes none, or names them wrongly.

    Args:
        arguments: picks the inputs that a column needs.
        registry: knows which cells were made.
        refuse: called with the mistake, in one line; it must raise.
        incarnation: the number of the incarnation, from 0; only the first is looked at.
    """

    def __init__(
        self,
        arguments: Arguments,
        registry: Registry,
        refuse: Callable[[str], NoReturn],
        incarnation: int,
    ) -> None:
        self._arguments = arguments
        self._registry = registry
        self._refuse = refuse
        self._looks = not incarnation

    def inputs(self, column: str, row: int, inputs: Inputs) -> dict[str, Value]:
        """The inputs of a row that a column needs, by producing column."""
        own = self._arguments.inputs(column, inputs)
        if own:
            self._looks = False
        elif self._looks:
            certain = self._arguments.certain_inputs(column)
            lost = [name for name in certain if self._registry.was_made(name, row)]
            if lost:
                self._refuse(self._arguments.words_of_lost(column, row, lost, inputs))
        return own
