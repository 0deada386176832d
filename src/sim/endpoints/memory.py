"""The memory of a server: room for the tokens that the calls in service reserve."""

from __future__ import annotations

from cellspec.errors import SpecError
from sim.endpoints.conservation import ROUNDING
from sim.endpoints.request import Request

__all__ = ["Memory"]


class Memory:
    """Room for tokens, of which calls in service take what they hold.

    Args:
        name: of the endpoint, for messages.
        room: in tokens.

    Attributes:
        most: tokens taken at once, at most.
    """

    def __init__(self, name: str, room: float) -> None:
        self._name, self._room = name, room
        self._taken, self._takers = 0.0, 0
        self.most = 0.0

    def fits(self, request: Request) -> bool:
        """True if a call can take what it holds.

        Raises:
            SpecError: it never can.
        """
        held, room = request.held_tokens, self._room * (1 + ROUNDING)
        if held > room:
            raise SpecError(
                f"endpoints.{self._name}.kv_tokens: a call that reserves {held:g} tokens never "
                f"fits into {self._room:g}: give more, or a lower max_output_tokens"
            )
        return self._taken + held <= room

    def take(self, request: Request) -> None:
        """A call in service takes what it holds."""
        self._taken += request.held_tokens
        self._takers += 1
        self.most = max(self.most, self._taken)

    def give_back(self, request: Request) -> None:
        """A call leaves, and with it what it held."""
        self._takers -= 1
        # An empty memory is empty: nothing is left of what was rounded.
        self._taken = self._taken - request.held_tokens if self._takers else 0.0
